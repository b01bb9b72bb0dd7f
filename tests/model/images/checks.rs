//! Runs one command and compares its effects with the required ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::ask::{Ask, Extent, What, Word, cut};
use super::disk::{Disk, Entry, Reading, Set};
use super::judge::{Expected, Pair, expected, followers, passes_glob};
use crate::model::{changes, ensure};
use crate::support::snapshot::{self, snapshot};
use crate::support::{Cmd, LayoutBuilder, Run, Snapshot, differences};

const GRACE: Duration = Duration::from_secs(3600);

/// One command on a layout.
pub(crate) struct Step<'a> {
    pub(crate) layout: &'a LayoutBuilder,
    pub(crate) ignored: &'a [String],
    pub(crate) ask: &'a Ask,
    pub(crate) before: Disk,
    /// Blobs that earlier commands released.
    pub(crate) released: &'a Released,
}

/// Blobs that commands released beside a writer and kept: they are kept while a writer is visible.
#[derive(Default)]
pub(crate) struct Released {
    /// Surely.
    sure: Set,
    /// Perhaps: if it is debatable what is live, or whether a writer was visible.
    maybe: Set,
}

/// The items of a report: kind, action, digest, names, size.
type Said = BTreeSet<(String, String, Option<String>, Vec<String>)>;

impl Step<'_> {
    fn cmd(&self, more: &[&str]) -> Run {
        let path = self
            .layout
            .path()
            .to_str()
            .expect("paths of the tests are UTF-8");
        Cmd::new(self.ask.args(path, self.ignored)).args(more).run()
    }

    fn tell(&self, words: &[&str]) -> Value {
        let run = Cmd::new([words[0]])
            .arg(self.layout.path())
            .args(&words[1..])
            .args(["--format", "json"])
            .run();
        run.ok().json()
    }

    fn now(&self) -> Snapshot {
        snapshot(self.layout.path())
    }

    /// Runs the command dry and for real, and returns its result and the released blobs, or what went wrong.
    pub(crate) fn run(&self) -> Result<(String, Released), String> {
        let picture = self.now();
        let expected = expected(&self.before, self.ask);
        let promised = self.promised();
        let dangling = matches!(self.ask.what, What::Prune).then(|| self.dangling());
        let dry = self
            .ask
            .reports()
            .then(|| self.cmd(&["-n", "--format", "json"]));
        if let Some(dry) = &dry {
            let changed = differences(&picture, &self.now());
            ensure(changed.is_empty(), || {
                format!("the dry run changes\n{changed}\n{}", dry.all())
            })?;
        }
        let run = self.cmd(if self.ask.reports() {
            &["--format", "json"]
        } else {
            &[]
        });
        let after = Disk::read(self.layout.path(), self.ignored);
        let trial = Trial {
            step: self,
            picture,
            expected,
            after,
            run: &run,
        };
        let verdict = trial.check(dry.as_ref(), promised, dangling);
        let code = run.code.unwrap_or(-1);
        let what = if trial.gone().is_empty() {
            "nothing"
        } else {
            "blobs"
        };
        verdict
            .map(|()| (format!("exit {code}, {what} deleted"), trial.released()))
            .map_err(|error| {
                let dry = dry.map(|dry| brief(&dry)).unwrap_or_default();
                let index = String::from_utf8_lossy(&self.before.index);
                format!(
                    "{error}\n{}\n{dry}\n{}\n{index}",
                    trial.expected,
                    brief(&run)
                )
            })
    }

    /// Returns the bytes that `df` promises for this command, if it does.
    fn promised(&self) -> Option<u64> {
        // There is no promise for a list that may have lost its entries.
        if !self.ignored.is_empty() || self.before.entries.is_empty() {
            return None;
        }
        match &self.ask.what {
            What::Prune => {
                let grace: &[&str] = if self.ask.alone {
                    &["df", "--grace", "0"]
                } else {
                    &["df"]
                };
                let df = self.tell(grace);
                df.pointer("/layouts/0/total/reclaimable_bytes")?.as_u64()
            }
            What::Rm(words) if self.ask.force && self.ask.extent == Extent::All => {
                let [Word::Id(prefix)] = words.as_slice() else {
                    return None;
                };
                let df = self.tell(&["df", "-v"]);
                let items = df.pointer("/layouts/0/items")?.as_array()?;
                let is_it = |item: &&Value| {
                    let digest = item
                        .get("digest")
                        .and_then(Value::as_str)
                        .unwrap_or_default();
                    digest
                        .split_once(':')
                        .is_some_and(|(_, hex)| hex.starts_with(prefix.as_str()))
                };
                let item = items.iter().find(is_it)?;
                item.get("unique_bytes")?.as_u64()
            }
            _ => None,
        }
    }

    /// Returns the images that `ls` calls dangling.
    fn dangling(&self) -> Set {
        if !self.ignored.is_empty() {
            return Set::new();
        }
        let ls = self.tell(&["ls", "-f", "dangling=true"]);
        let images = ls
            .pointer("/layouts/0/images")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        images
            .iter()
            .filter_map(|image| Some(image.get("digest")?.as_str()?.to_owned()))
            .collect()
    }
}

/// The state after one command.
struct Trial<'a> {
    step: &'a Step<'a>,
    picture: Snapshot,
    expected: Expected,
    after: Disk,
    run: &'a Run,
}

impl Trial<'_> {
    fn before(&self) -> &Disk {
        &self.step.before
    }

    fn what(&self) -> &What {
        &self.step.ask.what
    }

    fn gone(&self) -> Set {
        let all = self.before().blobs.keys();
        all.filter(|digest| !self.after.blobs.contains_key(*digest))
            .cloned()
            .collect()
    }

    fn check(
        &self,
        dry: Option<&Run>,
        promised: Option<u64>,
        dangling: Option<Set>,
    ) -> Result<(), String> {
        let code = self.run.code.unwrap_or(-1);
        ensure(dry.is_none_or(|dry| dry.code == self.run.code), || {
            "dry run and run end differently".to_owned()
        })?;
        self.check_blobs()?;
        ensure(self.expected.codes.contains(&code), || {
            format!("it ends with {code}")
        })?;
        if code != 0 && self.expected.untag.is_empty() && self.expected.may_go.is_empty() {
            let changed = changes(&self.picture, &self.step.now());
            ensure(changed.is_empty(), || {
                format!("refused and changed\n{changed}")
            })?;
        }
        self.check_other_files()?;
        self.check_entries(code)?;
        self.check_docker()?;
        self.check_garbage(code)?;
        let Some(dry) = dry else {
            return Ok(());
        };
        self.check_report(dry)?;
        self.check_reasons()?;
        let gone: u64 = self.before().bytes(&self.gone());
        if let Some(promised) = promised.filter(|_| code == 0) {
            let freed = match self.what() {
                What::Prune => self.run.json()["totals"]["reclaimed_bytes"]
                    .as_u64()
                    .unwrap_or_default(),
                _ => gone,
            };
            let writer = matches!(self.what(), What::Rm(_)) && self.writer() != Some(false);
            ensure(freed == promised || writer, || {
                format!("df promises {promised}, freed are {freed}")
            })?;
        }
        if let Some(dangling) = dangling {
            let items = self.removed();
            ensure(dangling == items || !self.step.ignored.is_empty(), || {
                format!("ls calls {dangling:?} dangling, and prune says {items:?}")
            })?;
        }
        // Beside a writer as well: the first run has recorded the released blobs.
        let is_sure = self.writer().is_some();
        if is_sure && matches!(self.what(), What::Prune | What::PruneAll { .. } | What::Gc) {
            let again = self.step.cmd(&["--format", "json"]);
            let now = Disk::read(self.step.layout.path(), self.step.ignored);
            let same = now.index == self.after.index && now.blobs.len() == self.after.blobs.len();
            ensure(again.code == Some(0) && same, || {
                format!("the second run does something\n{}", again.all())
            })?;
        }
        Ok(())
    }

    /// The images that the report calls removed.
    fn removed(&self) -> Set {
        let said = said(self.run);
        let images = said
            .iter()
            .filter(|(kind, action, _, _)| kind == "image" && action == "remove");
        images
            .filter_map(|(_, _, digest, _)| digest.clone())
            .collect()
    }

    /// The documents of before and after together.
    fn all(&self) -> Disk {
        let mut all = self.after.clone();
        all.blobs.extend(self.before().blobs.clone());
        all.removed = self
            .before()
            .listed()
            .difference(&self.after.listed())
            .cloned()
            .collect();
        if let What::Platform {
            digest,
            dropped,
            mode,
            ..
        } = self.what()
            && *mode != "rewrite"
            && self.run.code == Some(0)
        {
            all.cut = cut(self.before(), digest, dropped, mode);
        }
        all
    }

    /// The reason for a kept image is true after the run, and the name in it exists.
    fn check_reasons(&self) -> Result<(), String> {
        let json = self.run.json();
        let items = json.pointer("/layouts/0/items").and_then(Value::as_array);
        for item in items.into_iter().flatten() {
            if item["action"] != "keep" || item["kind"] != "blob" {
                continue;
            }
            let digest = item["digest"].as_str().unwrap_or_default();
            let reasons = item["reasons"].as_array().into_iter().flatten();
            for reason in reasons.filter_map(Value::as_str) {
                ensure(self.is_true(digest, reason), || {
                    format!("{digest} is not kept as `{reason}`")
                })?;
            }
        }
        Ok(())
    }

    fn is_true(&self, digest: &str, reason: &str) -> bool {
        let after = &self.after;
        if reason == "listed without a name" {
            let mut own = after.entries.iter().filter(|it| it.digest == digest);
            return own.any(|entry| entry.names.is_empty());
        }
        let relations = [
            "child of ",
            "subject of ",
            "referrer of ",
            "part of ",
            "named by an annotation of ",
            "reachable from ",
        ];
        let mut found = relations.iter();
        let found = found.find_map(|words| Some((*words, reason.strip_prefix(words)?)));
        let Some((relation, label)) = found else {
            return true;
        };
        let is_labelled = |entry: &&Entry| {
            let (_, hex) = entry.digest.split_once(':').unwrap_or_default();
            let is_id = label.len() == 12 && hex.starts_with(label);
            is_id || after.names(&entry.digest).contains(label) || label.starts_with('@')
        };
        let roots = after.entries.iter().filter(is_labelled);
        let roots: Set = roots.map(|entry| entry.digest.clone()).collect();
        let is_subject = |of: &str, by: &str| {
            let of = Set::from([of.to_owned()]);
            after
                .subject(by)
                .is_some_and(|subject| of.contains(&subject))
                || after.referrers(&of).contains(by)
        };
        !roots.is_empty()
            && match relation {
                "child of " => self.children(roots).contains(digest),
                "subject of " => roots.iter().any(|root| is_subject(digest, root)),
                "referrer of " => roots.iter().any(|root| is_subject(root, digest)),
                _ => true,
            }
    }

    /// Returns the children of indexes, at any depth.
    fn children(&self, mut open: Set) -> Set {
        let mut found = Set::new();
        while let Some(index) = open.pop_first() {
            let listed = self
                .after
                .json(&index)
                .and_then(|json| json.get("manifests"));
            let listed = listed.and_then(Value::as_array).into_iter().flatten();
            let listed = listed.filter_map(|it| Some(it.get("digest")?.as_str()?.to_owned()));
            open.extend(listed.filter(|child| found.insert(child.clone())));
        }
        found
    }

    /// The released blobs: earlier ones, and those that this command untagged and kept.
    fn released(&self) -> Released {
        let (before, after) = (self.before(), &self.after);
        let live = |disk: &Disk, reading| disk.live(&disk.roots(), &disk.entries, reading);
        let mut released = Released {
            sure: self.step.released.sure.clone(),
            maybe: self.step.released.maybe.clone(),
        };
        let now = after.orphans(Reading::Strict);
        let was = live(before, Reading::Generous);
        if self.writer() != Some(false) {
            released.maybe.extend(was.intersection(&now).cloned());
        }
        let untags = matches!(
            self.what(),
            What::Rm(_) | What::Prune | What::PruneAll { .. }
        );
        let may_live = live(after, Reading::Generous);
        if untags && self.run.code == Some(0) && self.writer() == Some(true) {
            let was = live(before, Reading::Strict);
            let now = after.orphans(Reading::Generous);
            released.sure.extend(was.intersection(&now).cloned());
        }
        // Blobs that are listed again, or held, are no longer released.
        released
            .sure
            .retain(|digest| after.blobs.contains_key(digest) && !may_live.contains(digest));
        released
    }

    /// Nothing that is reachable may be deleted.
    fn check_blobs(&self) -> Result<(), String> {
        let all = self.all();
        let mut live = all.live(&self.after.roots(), &self.after.entries, Reading::Strict);
        if !all.cut.is_empty() {
            // The drop of a platform takes its attestation and its referrers with it.
            let What::Platform { dropped, .. } = self.what() else {
                return Err("only a drop cuts".to_owned());
            };
            let follow = followers(&all, dropped);
            live.retain(|digest| !follow.contains(digest) || self.after.listed().contains(digest));
        }
        let gone = self.gone();
        let lost: Vec<&String> = gone.intersection(&live).collect();
        ensure(lost.is_empty(), || format!("LOST: {lost:?} are reachable"))
    }

    /// Whether a writer is visible: its temporary file or a recent orphan; `None` if that is debatable.
    fn writer(&self) -> Option<bool> {
        let before = self.before();
        if self.step.ask.alone && !matches!(self.what(), What::Rm(_) | What::Platform { .. }) {
            return Some(false);
        }
        let fresh = |orphans: Set| orphans.iter().any(|digest| before.age(digest) < GRACE);
        if before.temporary.values().any(|age| *age < GRACE)
            || fresh(before.orphans(Reading::Generous))
        {
            return Some(true);
        }
        if fresh(before.orphans(Reading::Strict)) {
            None
        } else {
            Some(false)
        }
    }

    /// Unreferenced blobs are deleted once they are old enough, and not before.
    fn check_garbage(&self, code: i32) -> Result<(), String> {
        let before = self.before();
        let all = self.all();
        let gone = self.gone();
        let may_live = all.live(&self.after.roots(), &self.after.entries, Reading::Generous);
        let was_dead = before.orphans(Reading::Generous);
        let was_live = before.live(&before.roots(), &before.entries, Reading::Strict);
        let grace = if self.step.ask.alone {
            Duration::ZERO
        } else {
            GRACE
        };
        let sweeps = matches!(self.what(), What::Gc | What::Prune | What::PruneAll { .. });
        if !sweeps {
            let old: Vec<&String> = gone.intersection(&was_dead).collect();
            ensure(old.is_empty(), || {
                format!("{old:?} were orphans before, which is the business of gc")
            })?;
        }
        let kept = |blobs: &Set, reading| {
            let dead: Set = &before.orphans(reading) & blobs;
            before.live(&dead, &[], reading)
        };
        let (mut sure, mut maybe) = (Set::new(), Set::new());
        if self.writer() != Some(false) {
            maybe = kept(&self.step.released.maybe, Reading::Generous);
        }
        if self.writer() == Some(true) {
            sure = kept(&self.step.released.sure, Reading::Strict);
        }
        for digest in &was_dead {
            let stays = self.after.blobs.contains_key(digest);
            if before.age(digest) < grace {
                ensure(stays, || {
                    format!("the orphan {digest} is fresh and was deleted")
                })?;
            } else if sweeps && code == 0 {
                ensure(stays || !sure.contains(digest), || {
                    format!("{digest} was released beside a writer, and swept beside it")
                })?;
                let shielded = may_live.contains(digest) || maybe.contains(digest);
                ensure(!stays || shielded, || {
                    format!("the orphan {digest} was kept")
                })?;
            }
        }
        if code != 0
            || matches!(
                self.what(),
                What::HoldAdd { .. } | What::HoldRm(_) | What::Gc | What::Platform { .. }
            )
        {
            return Ok(());
        }
        for digest in before.blobs.keys() {
            if !was_live.contains(digest) || may_live.contains(digest) {
                continue;
            }
            let stays = self.after.blobs.contains_key(digest);
            match self.writer() {
                Some(true) => ensure(stays, || {
                    format!("{digest} was released beside a writer and deleted")
                })?,
                Some(false) => ensure(!stays, || format!("{digest} was released and kept"))?,
                None => {}
            }
        }
        Ok(())
    }

    /// Second indexes, holds and everything else that is not a list of names are unchanged.
    fn check_other_files(&self) -> Result<(), String> {
        let now = self.step.now();
        for (path, stat) in &self.picture {
            let text = path.to_string_lossy();
            let blob = text
                .strip_prefix("blobs/")
                .map(|blob| blob.replacen('/', ":", 1));
            let is_blob = text == "blobs"
                || blob.is_some_and(|blob| {
                    stat.what != snapshot::What::File || self.before().blobs.contains_key(&blob)
                });
            let is_list = ["index.json", "manifest.json", "repositories", ""].contains(&&*text);
            if is_blob
                || is_list
                || text.starts_with(".ocisweep")
                || self.before().temporary.contains_key(&*text)
            {
                continue;
            }
            ensure(now.get(path) == Some(stat), || {
                format!("{text} has changed")
            })?;
        }
        let day = Duration::from_secs(24 * 3600);
        for (name, age) in &self.before().temporary {
            let sweeps = matches!(self.what(), What::Gc | What::Prune | What::PruneAll { .. });
            let stays = self.after.temporary.contains_key(name);
            let goes = sweeps && *age > day && self.run.code == Some(0);
            ensure(stays != goes, || {
                format!("the temporary file {name}: kept {stays}")
            })?;
        }
        let mut holds = self.before().holds.clone();
        match self.what() {
            What::HoldAdd { name, image } if self.run.code == Some(0) => {
                holds.insert((*name).to_owned(), image.clone());
            }
            What::HoldRm(name) => {
                holds.remove(name);
            }
            _ => {}
        }
        ensure(holds == self.after.holds, || {
            format!("holds are {:?}", self.after.holds)
        })
    }

    fn check_entries(&self, code: i32) -> Result<(), String> {
        let before = self.before();
        if matches!(
            self.what(),
            What::Gc | What::HoldAdd { .. } | What::HoldRm(_)
        ) {
            let same = self.picture.get(std::path::Path::new("index.json"))
                == self.step.now().get(std::path::Path::new("index.json"));
            return ensure(same, || "index.json was touched".to_owned());
        }
        if let What::Platform {
            mode: "rewrite", ..
        } = self.what()
            && code == 0
            && self.before().index != self.after.index
        {
            return self.check_rewrite();
        }
        ensure(is_subsequence(&self.after.index, &before.index), || {
            format!(
                "index.json is not what it was less some spans\n{}",
                String::from_utf8_lossy(&self.after.index)
            )
        })?;
        let (was, is) = (before.listed(), self.after.listed());
        let gone: Set = was.difference(&is).cloned().collect();
        let kept = self.expected.must_go.difference(&gone);
        let kept: Vec<&String> = kept.filter(|digest| was.contains(*digest)).collect();
        ensure(
            code != 0 && self.expected.untag.is_empty() || kept.is_empty(),
            || format!("{kept:?} had to go and are listed"),
        )?;
        let extra: Vec<&String> = gone.difference(&self.expected.may_go).collect();
        ensure(extra.is_empty(), || {
            format!("{extra:?} were removed without being selected")
        })?;
        let lost = self.lost_names();
        let left: Vec<&Pair> = self.expected.untag.difference(&lost).collect();
        ensure(left.is_empty(), || {
            format!("{left:?} were selected but kept")
        })?;
        let more: Vec<&Pair> = lost
            .iter()
            .filter(|pair| {
                let with_image = self.expected.may_go.contains(&pair.0) && gone.contains(&pair.0);
                let selected =
                    self.expected.untag.contains(pair) || self.expected.may_untag.contains(pair);
                // A signature that something else keeps loses the name of its image.
                let mut others = lost.iter().filter(|(on, _)| *on != pair.0);
                let with_kin =
                    before.is_kind_referrer(&pair.0) && others.any(|(_, name)| *name == pair.1);
                // Names that only docker's list has are removed with their image.
                let with_whole = !before.listed().contains(&pair.0)
                    && before.blobs.contains_key(&pair.0)
                    && !self.after.blobs.contains_key(&pair.0);
                !selected && !with_image && !with_kin && !with_whole
            })
            .collect();
        ensure(more.is_empty(), || {
            format!("names {more:?} went and were not selected")
        })?;
        let new: Vec<Pair> = self
            .after
            .all_names()
            .difference(&before.all_names())
            .cloned()
            .collect();
        ensure(new.is_empty(), || format!("names {new:?} are new"))?;
        // Kept entries are unchanged, except for removed names.
        for entry in &self.after.entries {
            let of_digest = before
                .entries
                .iter()
                .filter(|other| other.digest == entry.digest);
            let same = |other: &Entry| {
                other.value == entry.value
                    || (other.without_names() == entry.without_names()
                        && entry.names.is_subset(&other.names))
            };
            ensure(of_digest.clone().any(same), || {
                format!("an entry has changed: {}", entry.value)
            })?;
        }
        // An entry without a name is removed only with its image.
        let count = |disk: &Disk, digest: &str| {
            disk.entries
                .iter()
                .filter(|entry| entry.digest == digest && entry.names.is_empty())
                .count()
        };
        for digest in &is {
            ensure(
                count(&self.after, digest) >= count(before, digest).min(1),
                || format!("the entry without a name of {digest} went"),
            )?;
        }
        Ok(())
    }

    fn lost_names(&self) -> BTreeSet<Pair> {
        self.before()
            .all_names()
            .difference(&self.after.all_names())
            .cloned()
            .collect()
    }

    /// The new index is the old one without what was dropped, and the names have moved to it.
    fn check_rewrite(&self) -> Result<(), String> {
        let What::Platform {
            digest,
            dropped,
            image,
            ..
        } = self.what()
        else {
            return Ok(());
        };
        let new: Set = self
            .after
            .listed()
            .difference(&self.before().listed())
            .cloned()
            .collect();
        if new.is_empty() {
            // The last platform was removed, and the image with it.
            let may = self.expected.may_go.contains(digest);
            return ensure(may && !self.after.listed().contains(digest), || {
                "no new index is listed".to_owned()
            });
        }
        ensure(new.len() == 1, || format!("{new:?} are new"))?;
        let id = new.first().expect("there is one");
        let mut old = self.before().json(digest).cloned().unwrap_or_default();
        if let Some(list) = old.get_mut("manifests").and_then(Value::as_array_mut) {
            list.retain(|child| {
                let digest = child
                    .get("digest")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                !dropped.contains(digest)
            });
        }
        ensure(self.after.json(id) == Some(&old), || {
            format!(
                "the new index is not the old one without {dropped:?}: {:?}",
                self.after.json(id)
            )
        })?;
        if let Word::Name(name) = image {
            // A pinned name follows the digest, by force.
            let plain = |name: &str| name.split('@').next().unwrap_or_default().to_owned();
            let moved = self
                .after
                .names(id)
                .iter()
                .any(|new| plain(new) == plain(name));
            ensure(moved, || format!("{name} does not stand on the new index"))?;
        }
        let gone: Set = self
            .before()
            .listed()
            .difference(&self.after.listed())
            .cloned()
            .collect();
        let extra: Vec<&String> = gone.difference(&self.expected.may_go).collect();
        ensure(extra.is_empty(), || {
            format!("{extra:?} were removed without being selected")
        })?;
        let names = |disk: &Disk| {
            disk.all_names()
                .into_iter()
                .filter(|(on, _)| on != digest && on != id && !gone.contains(on))
                .collect::<BTreeSet<Pair>>()
        };
        ensure(names(self.before()) == names(&self.after), || {
            "names of other images have changed".to_owned()
        })?;
        ensure(self.before().second == self.after.second, || {
            "a second index has changed".to_owned()
        })
    }

    /// docker's lists name existing images, and no removed ones.
    fn check_docker(&self) -> Result<(), String> {
        let before = self.before();
        let lost: BTreeSet<String> = self
            .lost_names()
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        let listed = |disk: &Disk| -> BTreeSet<String> {
            disk.elements
                .iter()
                .flat_map(|element| element.tags.clone())
                .collect()
        };
        let (was, is) = (listed(before), listed(&self.after));
        for name in was.difference(&is) {
            ensure(lost.contains(name), || format!("manifest.json lost {name}"))?;
        }
        for name in before.repositories.difference(&self.after.repositories) {
            ensure(!is.contains(name), || format!("repositories lost {name}"))?;
        }
        for name in &self.after.repositories {
            ensure(is.contains(name), || {
                format!("repositories still names {name}")
            })?;
        }
        let lost_pairs = self.lost_names();
        let mut elements = BTreeMap::new();
        for element in &self.after.elements {
            elements.insert(
                (element.config.clone(), element.layers.clone()),
                element.tags.clone(),
            );
        }
        let gone: Set = before
            .listed()
            .difference(&self.after.listed())
            .cloned()
            .collect();
        let after = &self.after;
        let live = after.live(&after.roots(), &after.entries, Reading::Generous);
        let was_live = before.live(&before.roots(), &before.entries, Reading::Generous);
        for element in &before.elements {
            let mut tags = element.tags.iter();
            let is_untagged = self.step.ask.extent != Extent::Nothing
                && !element.tags.is_empty()
                && before.unlisted_elements().contains(&element)
                && tags.all(|name| lost_pairs.contains(&(element.config.clone(), name.clone())));
            let of_gone = is_untagged || gone.iter().any(|digest| before.is_of(element, digest));
            let stands = elements.contains_key(&(element.config.clone(), element.layers.clone()));
            // The element of an image that is only a part of another one may be kept or not.
            let is_part = [(before, &was_live), (after, &live)]
                .into_iter()
                .any(|(disk, live)| {
                    let mut parts = live.iter().filter(|digest| before.is_of(element, digest));
                    parts.any(|digest| !disk.listed().contains(digest))
                });
            ensure(stands != of_gone || is_part, || {
                format!("an element of manifest.json: kept {stands}, its image gone {of_gone}")
            })?;
        }
        Ok(())
    }

    fn check_report(&self, dry: &Run) -> Result<(), String> {
        let (run, dry_report) = (self.run.report(), dry.report());
        let gone: Set = self.gone();
        let deleted: Set = run.deleted().into_keys().collect();
        ensure(deleted == gone, || {
            format!("the run tells {deleted:?}, and {gone:?} went")
        })?;
        ensure(dry_report.deleted() == run.deleted(), || {
            "the dry run tells other blobs".to_owned()
        })?;
        ensure(dry_report.freed_bytes == run.freed_bytes, || {
            "the dry run tells other bytes".to_owned()
        })?;
        let bytes = self.before().bytes(&gone);
        let temporary = run.freed_bytes.checked_sub(bytes).unwrap_or(u64::MAX);
        ensure(temporary <= 100, || {
            format!("the run tells {} bytes, and {bytes} went", run.freed_bytes)
        })?;
        ensure(said(dry) == said(self.run), || {
            format!(
                "the dry run says something else\n{:?}\n{:?}",
                said(dry),
                said(self.run)
            )
        })?;
        if matches!(self.what(), What::Rm(_)) {
            let told: BTreeSet<String> = said(self.run)
                .into_iter()
                .filter(|(kind, ..)| kind == "name")
                .flat_map(|(.., names)| names)
                .collect();
            // A signature is reported under the name of its image.
            let lost = self.lost_names().into_iter();
            let lost = lost.filter(|(digest, name)| {
                told.contains(name) || !self.before().is_kind_referrer(digest)
            });
            let lost: BTreeSet<String> = lost.map(|(_, name)| name).collect();
            ensure(told == lost, || {
                format!("the run tells names {told:?}, and {lost:?} went")
            })?;
        }
        if let What::PruneAll { .. } | What::Prune = self.what() {
            let shown = self.removed();
            let gone: Set = self
                .before()
                .listed()
                .difference(&self.after.listed())
                .cloned()
                .collect();
            let lost: Set = self
                .lost_names()
                .into_iter()
                .map(|(digest, _)| digest)
                .collect();
            let wrong: Vec<&String> = shown
                .iter()
                .filter(|digest| !gone.contains(*digest) && !lost.contains(*digest))
                .collect();
            ensure(wrong.is_empty(), || format!("{wrong:?} are shown and stay"))?;
            let follow = followers(self.before(), &shown);
            let silent: Vec<&String> = gone
                .iter()
                .filter(|digest| !follow.contains(*digest))
                .collect();
            ensure(silent.is_empty(), || {
                format!("{silent:?} went and were not shown")
            })?;
        }
        if let What::PruneAll {
            reference: Some(glob),
            ..
        } = self.what()
        {
            let lost = self.lost_names();
            let foreign: Vec<&Pair> = lost
                .iter()
                .filter(|(digest, name)| {
                    !passes_glob(glob, name) && self.after.listed().contains(digest)
                })
                .collect();
            ensure(foreign.is_empty(), || {
                format!("{foreign:?} do not match {glob}")
            })?;
        }
        Ok(())
    }
}

/// Returns what a run printed, a line for each item of its report.
fn brief(run: &Run) -> String {
    let Ok(json) = serde_json::from_str::<Value>(&run.stdout) else {
        return run.all();
    };
    let items = json.pointer("/layouts/0/items").and_then(Value::as_array);
    let items = items.into_iter().flatten().map(|item| {
        format!(
            "  {} {} {} {} {}",
            item["action"], item["kind"], item["digest"], item["names"], item["reasons"]
        )
    });
    let items: Vec<String> = items.collect();
    format!(
        "$ {}\n-- exit {:?}\n{}\n{}\n{}",
        run.line,
        run.code,
        items.join("\n"),
        json["totals"],
        run.stderr
    )
}

/// Returns the items of a report, dry or not.
fn said(run: &Run) -> Said {
    let mut found = Said::new();
    let json = run.json();
    let items = json.pointer("/layouts/0/items").and_then(Value::as_array);
    for item in items.into_iter().flatten() {
        let text = |key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
        let action = text("action").unwrap_or_default();
        let action = action.strip_prefix("would-").unwrap_or(&action).to_owned();
        let names = item.get("names").and_then(Value::as_array);
        let names = names
            .into_iter()
            .flatten()
            .filter_map(|name| Some(name.as_str()?.to_owned()));
        found.insert((
            text("kind").unwrap_or_default(),
            action,
            text("digest"),
            names.collect(),
        ));
    }
    found
}

fn is_subsequence(part: &[u8], whole: &[u8]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|byte| rest.any(|other| other == byte))
}
