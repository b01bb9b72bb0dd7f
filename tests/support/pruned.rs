//! [`prune`]: a prune with every check, and [`Pruned`], its result.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::dated::NOW;
use super::invariants::Invariants;
use super::{Cmd, Run, differences, snapshot, without_directory_times};

/// Creates a call of `prune` on a layout at the current time.
pub(crate) fn prune_call(layout: &Path) -> Cmd {
    Cmd::new(["prune", "--now", NOW]).arg(layout)
}

/// Returns the strings of a field.
pub(crate) fn strings(value: &Value, key: &str) -> Vec<String> {
    let items = value.get(key).and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// The report of a prune on one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) digest: String,
    pub(crate) names: Vec<String>,
    pub(crate) goes: bool,
    pub(crate) reasons: Vec<String>,
}

/// A completed prune.
#[derive(Clone, Debug)]
pub(crate) struct Pruned {
    /// The real run, in JSON.
    pub(crate) run: Run,
    /// The report on each image.
    pub(crate) verdicts: Vec<Verdict>,
    /// The deleted blobs, with their length.
    pub(crate) deleted: BTreeMap<String, u64>,
    /// The remaining names.
    pub(crate) names: BTreeSet<String>,
    /// The digests of the remaining entries, in order.
    pub(crate) entries: Vec<String>,
}

impl Pruned {
    /// Panics unless exactly these names remain.
    #[track_caller]
    pub(crate) fn leaves(&self, names: &[&str]) -> &Self {
        let wanted: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(self.names, wanted, "names left\n{}", self.run.all());
        self
    }

    /// Panics unless it exited with 0.
    #[track_caller]
    pub(crate) fn ok(&self) -> &Self {
        self.run.ok();
        self
    }

    /// Returns the report on the image with this name or digest.
    #[track_caller]
    pub(crate) fn verdict(&self, image: &str) -> &Verdict {
        let found = self.verdicts.iter().find(|verdict| {
            verdict.digest == image || verdict.names.iter().any(|name| name == image)
        });
        found.unwrap_or_else(|| panic!("{image} is not reported\n{}", self.run.all()))
    }

    /// Panics unless the image is removed or kept for exactly these reasons.
    #[track_caller]
    pub(crate) fn because(&self, image: &str, goes: bool, reasons: &[&str]) -> &Self {
        let verdict = self.verdict(image);
        assert_eq!(
            (
                verdict.goes,
                verdict
                    .reasons
                    .iter()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
            ),
            (goes, reasons.to_vec()),
            "report on {image}\n{}",
            self.run.all()
        );
        self
    }

    /// Panics unless exactly these blobs were deleted.
    #[track_caller]
    pub(crate) fn deletes<'a>(&self, digests: impl IntoIterator<Item = &'a String>) -> &Self {
        let wanted: BTreeSet<&String> = digests.into_iter().collect();
        let gone: BTreeSet<&String> = self.deleted.keys().collect();
        assert_eq!(gone, wanted, "blobs deleted\n{}", self.run.all());
        self
    }
}

/// Prunes a layout with all checks of [`checked`](super::checked), and again. It panics also unless
/// - every image has a reason;
/// - an image is listed afterwards if and only if its verdict says so;
/// - the second run changes nothing.
#[track_caller]
pub(crate) fn prune(layout: &Path, args: &[&str]) -> Pruned {
    let pruned = prune_once(layout, args);
    let after = snapshot(layout);
    let again = prune_call(layout)
        .args(args)
        .args(["-f", "--format", "json"])
        .run();
    let all = format!("{}{}", pruned.run.all(), again.all());
    assert_eq!(again.code, pruned.run.code, "the second run\n{all}");
    let deleted = again.report().deleted();
    assert!(deleted.is_empty(), "the second run deletes\n{all}");
    let changed = differences(
        &without_directory_times(&after),
        &without_directory_times(&snapshot(layout)),
    );
    assert!(
        changed.is_empty(),
        "the second run changed\n{changed}\n{all}"
    );
    pruned
}

/// As [`prune`], without the second run.
#[track_caller]
pub(crate) fn prune_once(layout: &Path, args: &[&str]) -> Pruned {
    let call = prune_call(layout).args(args);
    let checked = Invariants::of(layout, &call).execute(&["-f"]).in_json();
    let checked = checked.check();
    let entries = listed(layout);
    let verdicts = verdicts(&checked.run);
    for verdict in &verdicts {
        assert!(
            !verdict.reasons.is_empty() && verdict.reasons.iter().all(|reason| !reason.is_empty()),
            "no reason for {verdict:?}\n{}",
            checked.all
        );
        let is_left = entries.iter().any(|(digest, _)| *digest == verdict.digest);
        assert_eq!(is_left, !verdict.goes, "{verdict:?}\n{}", checked.all);
    }
    Pruned {
        verdicts,
        deleted: checked.run.report().deleted(),
        names: entries
            .iter()
            .flat_map(|(_, names)| names.clone())
            .collect(),
        entries: entries.into_iter().map(|(digest, _)| digest).collect(),
        run: checked.run,
    }
}

/// Returns digest and names of each entry of `index.json`.
pub(crate) fn listed(layout: &Path) -> Vec<(String, Vec<String>)> {
    let text = fs::read(layout.join("index.json")).expect("index.json can be read");
    let json: Value = serde_json::from_slice(&text).expect("index.json is JSON");
    let entries = json.get("manifests").and_then(Value::as_array);
    entries
        .into_iter()
        .flatten()
        .map(|entry| {
            // Random layouts have keys in odd case, which Go accepts.
            let mut fields = entry.as_object().into_iter().flatten();
            let digest = fields.find(|(key, _)| key.eq_ignore_ascii_case("digest"));
            let digest = digest.and_then(|(_, value)| value.as_str());
            let names: BTreeSet<String> = [
                "org.opencontainers.image.ref.name",
                "io.containerd.image.name",
            ]
            .iter()
            .filter_map(|key| entry.get("annotations")?.get(key)?.as_str())
            .map(str::to_owned)
            .collect();
            (
                digest.unwrap_or_default().to_owned(),
                names.into_iter().collect(),
            )
        })
        .collect()
}

/// Returns the report of a run on each image of its layouts.
#[track_caller]
pub(crate) fn verdicts(run: &Run) -> Vec<Verdict> {
    let json = run.json();
    let layouts = json.get("layouts").and_then(Value::as_array);
    layouts
        .into_iter()
        .flatten()
        .filter_map(|layout| layout.get("items")?.as_array())
        .flatten()
        .filter(|item| item.get("kind").and_then(Value::as_str) == Some("image"))
        .map(|item| {
            let text = |key| item.get(key).and_then(Value::as_str).unwrap_or_default();
            let goes = match text("action") {
                "remove" | "would-remove" => true,
                "keep" => false,
                other => panic!("an image cannot be to {other:?}\n{}", run.all()),
            };
            Verdict {
                digest: text("digest").to_owned(),
                names: strings(item, "names"),
                goes,
                reasons: strings(item, "reasons"),
            }
        })
        .collect()
}
