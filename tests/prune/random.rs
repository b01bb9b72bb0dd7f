//! Random layouts and random options: every promise is checked for each of them.
//!
//! The cases are the same in every run. `OCISWEEP_PRUNE_CASES` sets their number, `OCISWEEP_PRUNE_FIRST` the number of the
//! first, and `OCISWEEP_PRUNE_SEED` runs the case of a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use arbtest::arbtest;
use serde_json::Value;

use crate::prune::output::sum;
use crate::support::dated::{NOW, days_ago};
use crate::support::files::references_of;
use crate::support::pruned::{prune_call, prune_once};
use crate::support::{Cmd, LayoutBuilder, Pruned, blobs, panic_message, prune};
use crate::world::cases::{Failures, assert_kinds, each_seed};
use crate::world::draw;
use crate::world::features::{Features, Names};
use crate::world::judge::{DeleteResult, Judge};
use crate::world::layout::{Note, World};
use crate::world::wish::{Wish, wish};
use crate::world::write::{describe, write_to};

/// Cases for the test; some seconds in a debug build.
const CASES: u64 = 80;

/// The beginning of the variables that choose cases.
pub(crate) const PREFIX: &str = "OCISWEEP_PRUNE";

/// The features that the oracle can predict exactly.
const FEATURES: Features = Features {
    // The names for the patterns of the options.
    names: Names::Tags,
    // Which of several manifests decides about labels and dates, and what a missing one leaves unknown.
    platforms: false,
    odd_referrers: false,
    // Those keep blobs that this oracle does not follow.
    lists: false,
    ignored_indexes: false,
    // Blobs released beside a writer are kept.
    writers: false,
    // The runs are compared with those on a copy, whose files have one name.
    links: false,
    ..Features::TOOLS
};

#[test]
fn random_layouts_keep_every_promise() {
    let mut failures = Failures::default();
    let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
    let mut total = 0_u32;
    let attempt = |seed: u64| {
        let run = |u: &mut arbtest::arbitrary::Unstructured<'_>| {
            let mut world = draw::world(u, &FEATURES)?;
            if world.names().is_empty() {
                // This test does not decide whether a digest tag alone makes a layout with names.
                for entry in &mut world.entries {
                    entry
                        .notes
                        .retain(|(_, note)| !matches!(note, Note::DigestTag { .. }));
                }
            }
            let wish = wish(u)?;
            total += 1;
            let tried = std::panic::catch_unwind(|| check(&world, &wish));
            match tried {
                Ok(seen) => {
                    for kind in seen {
                        *kinds.entry(kind).or_default() += 1;
                    }
                }
                Err(payload) => {
                    let text = panic_message(&*payload);
                    failures.add(world.nodes.len(), seed, format!("{text}\n{wish:?}"));
                }
            }
            Ok(())
        };
        arbtest(run).seed(seed).run();
    };
    each_seed(PREFIX, CASES, |_| 1024, attempt);
    failures.assert_none(PREFIX);
    assert_kinds(&KINDS, &kinds, total, 100);
}

/// What must occur.
const KINDS: [&str; 10] = [
    "images go",
    "nothing goes",
    "refused",
    "budget reached by images",
    "budget missed",
    "a follower goes",
    "a hold decides",
    "a rule decides",
    "no names",
    "names go",
];

/// Tests one case and returns its features.
fn check(world: &World, wish: &Wish) -> Vec<&'static str> {
    let written = write_to(world, LayoutBuilder::new(), days_ago(0));
    let layout = &written.layout;
    let judge = Judge {
        world,
        wish,
        digests: &written.digests,
    };
    let story = describe(world, &written.digests);
    plain_is_what_df_says(layout.path());
    if judge.all().count() <= 5 {
        crate::prune::unique::check(layout.path());
    }
    let list = layout.outside().join("list");
    let lines = wish.keep_from.clone().unwrap_or_default().join("\n");
    fs::write(&list, lines).expect("the list can be written");
    let args = wish.args(list.to_str().expect("paths of the tests are UTF-8"));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let sizes = blobs(layout.path());
    let refs = references_of(layout.path());
    // Where nothing has a name, an image that only a removed index listed is one like any other in the second run.
    let pruned = if judge.has_names() && !wish.allow_empty || !wish.all {
        prune(layout.path(), &args)
    } else {
        prune_once(layout.path(), &args)
    };
    let case = Case {
        judge,
        layout,
        story,
        pruned: &pruned,
        sizes,
        refs,
    };
    case.check()
}

/// Panics unless `df` agrees with a prune without options.
fn plain_is_what_df_says(layout: &Path) {
    let df = Cmd::new(["df", "--format", "json", "--now", NOW])
        .arg(layout)
        .run();
    let mut promised = 0;
    sum(&df.ok().json()["layouts"][0], &mut promised);
    let plain = prune_call(layout).args(["-n", "--format", "json"]).run();
    let said = plain.json()["totals"]["reclaimed_bytes"].as_u64();
    assert_eq!(said, Some(promised), "{}{}", df.all(), plain.all());
}

struct Case<'a> {
    judge: Judge<'a>,
    layout: &'a LayoutBuilder,
    /// A description of the layout.
    story: String,
    pruned: &'a Pruned,
    /// The blobs before, with their length.
    sizes: BTreeMap<String, u64>,
    /// What each document mentions.
    refs: BTreeMap<String, BTreeSet<String>>,
}

impl Case<'_> {
    fn check(&self) -> Vec<&'static str> {
        let said = format!("{}{}", self.pruned.run.all(), self.story);
        let mut kinds = Vec::new();
        let fates = self.judge.fates();
        let going: BTreeSet<usize> = positions(&fates, |fate| fate.goes);
        let left = self.judge.left(&going);
        let entries = self.entries();
        let named_left = left.iter().any(|position| self.judge.is_named(*position));
        let is_last =
            !going.is_empty() && (left.is_empty() || (self.judge.has_names() && !named_left));
        let wish = self.judge.wish;
        if (is_last || entries.is_empty()) && !wish.allow_empty {
            assert_eq!(
                self.pruned.run.code,
                Some(3),
                "the last image is removed\n{said}"
            );
            return vec!["refused"];
        }
        assert!(matches!(self.pruned.run.code, Some(0 | 5)), "{said}");
        let going = self.compare(&fates);
        // What is left in `index.json`, and what of the blobs.
        let left: BTreeSet<&String> = self
            .judge
            .left(&going)
            .into_iter()
            .map(|position| &self.judge.digests[position])
            .collect();
        let listed: BTreeSet<&String> = self.pruned.entries.iter().collect();
        assert_eq!(listed, left, "entries left\n{said}");
        self.check_names(&fates);
        let here: BTreeSet<String> = blobs(self.layout.path()).into_keys().collect();
        let wanted = self.blobs_of(&going, self.saved());
        let lost: Vec<&String> = wanted.difference(&here).collect();
        let spare: Vec<&String> = here.difference(&wanted).collect();
        assert!(
            lost.is_empty() && spare.is_empty(),
            "lost {lost:?}, left over {spare:?}, of {:#?}\n{said}",
            self.judge.digests
        );
        if let Some(max_size) = wish.max_size {
            kinds.extend(self.check_budget(&fates, &going, max_size));
        }
        let gone = |position: &usize| !listed.contains(&self.judge.digests[*position]);
        let followers = self.judge.followers();
        let why = |text: &str| {
            let mut reasons = fates.values().flat_map(|fate| &fate.reasons);
            reasons.any(|reason| reason.starts_with(text))
        };
        let facts = [
            ("images go", !going.is_empty()),
            ("nothing goes", going.is_empty()),
            ("a follower goes", followers.iter().any(gone)),
            ("a hold decides", why("held by")),
            (
                "a rule decides",
                why("last ") || why("daily ") || why("weekly ") || why("monthly ") || why("within"),
            ),
            ("no names", !self.judge.has_names()),
            (
                "names go",
                fates.values().any(|fate| !fate.loses.is_empty()),
            ),
        ];
        kinds.extend(
            facts
                .iter()
                .filter(|(_, holds)| *holds)
                .map(|(kind, _)| *kind),
        );
        kinds
    }

    /// Panics unless the kept images have the expected names.
    fn check_names(&self, fates: &BTreeMap<usize, DeleteResult>) {
        for position in self.judge.all() {
            let is_left = self.pruned.entries.contains(&self.judge.digests[position]);
            let lost = fates.get(&position).map_or(&[][..], |fate| &fate.loses);
            for name in &self.judge.chosen(position) {
                assert_eq!(
                    self.pruned.names.contains(name),
                    is_left && !lost.contains(name),
                    "{name} of {position}\n{}",
                    self.pruned.run.all()
                );
            }
        }
    }

    fn entries(&self) -> BTreeSet<usize> {
        let all = self.judge.all();
        all.filter(|position| self.judge.is_entry(*position))
            .collect()
    }

    /// Panics unless the program reports the expected result for each image; returns the removed images.
    fn compare(&self, fates: &BTreeMap<usize, DeleteResult>) -> BTreeSet<usize> {
        let said = format!("{}{}", self.pruned.run.all(), self.story);
        let mut going = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for verdict in &self.pruned.verdicts {
            let position = self
                .judge
                .digests
                .iter()
                .position(|digest| *digest == verdict.digest);
            let position = position.expect("a digest of this layout");
            if verdict.reasons == ["dangling once the others are removed"] {
                let follows = self.judge.followers().contains(&position);
                assert!(verdict.goes && follows, "{position} stands alone\n{said}");
                continue;
            }
            seen.insert(position);
            let fate = fates.get(&position);
            let fate = fate.unwrap_or_else(|| panic!("{position} follows another\n{said}"));
            let reasons: Vec<String> = verdict
                .reasons
                .iter()
                .map(|reason| match reason.strip_prefix("within ") {
                    Some(_) => "within".to_owned(),
                    None => reason.clone(),
                })
                .collect();
            let is_trimmed = matches!(reasons.as_slice(), [reason]
                if reason.starts_with("over the size budget, and the oldest"));
            if is_trimmed {
                assert!(
                    !fate.is_safe && !fate.goes,
                    "{position} has to stay: {fate:?}\n{said}"
                );
                assert!(verdict.goes && self.judge.wish.max_size.is_some(), "{said}");
            } else {
                assert_eq!(
                    (verdict.goes, &reasons),
                    (fate.goes, &fate.reasons),
                    "image {position}\n{said}"
                );
            }
            if verdict.goes {
                going.insert(position);
            }
        }
        let standing: BTreeSet<usize> = fates.keys().copied().collect();
        assert_eq!(seen, standing, "images that are judged\n{said}");
        going
    }

    /// The blobs that are live when these are removed, with what docker's elements name.
    fn blobs_of(&self, going: &BTreeSet<usize>, saved: BTreeSet<String>) -> BTreeSet<String> {
        let live = self.judge.live_after(going);
        let mut found = saved;
        for position in live {
            let digest = &self.judge.digests[position];
            found.insert(digest.clone());
            found.extend(self.refs.get(digest).into_iter().flatten().cloned());
        }
        found
    }

    /// What docker's elements name now.
    fn saved(&self) -> BTreeSet<String> {
        let Ok(text) = fs::read(self.layout.join("manifest.json")) else {
            return BTreeSet::new();
        };
        let json: Value = serde_json::from_slice(&text).expect("manifest.json is JSON");
        let elements = json.as_array().expect("a list").iter();
        elements
            .flat_map(|element| {
                let layers = element["Layers"].as_array().into_iter().flatten();
                layers.chain([&element["Config"]])
            })
            .filter_map(Value::as_str)
            .map(|path| {
                let name = Path::new(path).file_name().expect("a path of a blob");
                format!("sha256:{}", name.to_string_lossy())
            })
            .collect()
    }

    fn bytes(&self, digests: &BTreeSet<String>) -> u64 {
        digests
            .iter()
            .filter_map(|digest| self.sizes.get(digest))
            .sum()
    }

    /// Panics unless the budget was reached with the oldest images, and no more than necessary.
    fn check_budget(
        &self,
        fates: &BTreeMap<usize, DeleteResult>,
        going: &BTreeSet<usize>,
        max_size: u64,
    ) -> Option<&'static str> {
        let said = format!("{}{}", self.pruned.run.all(), self.story);
        let live: u64 = blobs(self.layout.path()).values().sum();
        assert_eq!(
            live <= max_size,
            self.pruned.run.code == Some(0),
            "{live} live\n{said}"
        );
        let trimmed: Vec<usize> = going
            .iter()
            .copied()
            .filter(|position| !fates[position].goes)
            .collect();
        let newest = trimmed
            .iter()
            .copied()
            .max_by_key(|position| self.judge.budget_key(*position));
        let candidates: Vec<usize> = fates
            .iter()
            .filter(|(position, fate)| !fate.is_safe && !going.contains(position))
            .map(|(position, _)| *position)
            .collect();
        if let Some(newest) = newest {
            let key = self.judge.budget_key(newest);
            for left in &candidates {
                assert!(
                    self.judge.budget_key(*left) > key,
                    "{left} is older than {newest}\n{said}"
                );
            }
            let mut without = going.clone();
            without.remove(&newest);
            // With it an element of docker's is kept as well, so this is the least that would be live.
            let more = self.bytes(&self.blobs_of(&without, self.saved()));
            assert!(more > max_size, "{newest} need not go: {more} fit\n{said}");
        }
        if live > max_size {
            // The last one may be kept.
            assert!(
                candidates.len() <= 1 && !self.judge.wish.allow_empty || candidates.is_empty(),
                "{candidates:?} could go\n{said}"
            );
            return Some("budget missed");
        }
        newest.map(|_| "budget reached by images")
    }
}

fn positions(
    fates: &BTreeMap<usize, DeleteResult>,
    wanted: impl Fn(&DeleteResult) -> bool,
) -> BTreeSet<usize> {
    let chosen = fates.iter().filter(|(_, fate)| wanted(fate));
    chosen.map(|(position, _)| *position).collect()
}
