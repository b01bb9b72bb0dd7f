//! How `prune` is called in these tests, and what every call is checked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::prune::shelf::NOW;
use crate::support::{
    Cmd, Run, Snapshot, assert_same, blobs, differences, snapshot, without_directory_times,
};

/// Begins a call of `prune` on a layout at the current time.
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

/// What a prune said of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) digest: String,
    pub(crate) names: Vec<String>,
    pub(crate) goes: bool,
    pub(crate) reasons: Vec<String>,
}

/// A prune that was done.
#[derive(Clone, Debug)]
pub(crate) struct Pruned {
    /// The real run, in JSON.
    pub(crate) run: Run,
    /// What it said of each image.
    pub(crate) verdicts: Vec<Verdict>,
    /// The blobs that went, with their length.
    pub(crate) deleted: BTreeMap<String, u64>,
    /// The names that are left.
    pub(crate) names: BTreeSet<String>,
    /// The digests of the entries that are left, in order.
    pub(crate) entries: Vec<String>,
}

impl Pruned {
    /// Panics unless exactly these names are left.
    #[track_caller]
    pub(crate) fn leaves(&self, names: &[&str]) -> &Self {
        let wanted: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(self.names, wanted, "names left\n{}", self.run.all());
        self
    }

    /// Panics unless it ended with 0.
    #[track_caller]
    pub(crate) fn ok(&self) -> &Self {
        self.run.ok();
        self
    }

    /// Returns what was said of the image that has this name or digest.
    #[track_caller]
    pub(crate) fn verdict(&self, image: &str) -> &Verdict {
        let found = self.verdicts.iter().find(|verdict| {
            verdict.digest == image || verdict.names.iter().any(|name| name == image)
        });
        found.unwrap_or_else(|| panic!("nothing is said of {image}\n{}", self.run.all()))
    }

    /// Panics unless the image goes or stays for exactly these reasons.
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
            "what is said of {image}\n{}",
            self.run.all()
        );
        self
    }

    /// Panics unless exactly these blobs went.
    #[track_caller]
    pub(crate) fn deletes<'a>(&self, digests: impl IntoIterator<Item = &'a String>) -> &Self {
        let wanted: BTreeSet<&String> = digests.into_iter().collect();
        let gone: BTreeSet<&String> = self.deleted.keys().collect();
        assert_eq!(gone, wanted, "blobs deleted\n{}", self.run.all());
        self
    }
}

/// Prunes a layout with `-n`, with `-f`, and with `-f` again, and panics unless
/// - the dry run changes nothing and says the same as the run, in every item and byte;
/// - what went is what was said, and nothing else changed but `index.json` and docker's two files;
/// - every image that is still listed or held has every blob that it had;
/// - every image has a reason;
/// - the second run changes nothing.
#[track_caller]
pub(crate) fn prune(layout: &Path, args: &[&str]) -> Pruned {
    let pruned = prune_once(layout, args);
    let after = snapshot(layout);
    let again = prune_call(layout)
        .args(args)
        .args(["-f", "--format", "json"])
        .run();
    let said = format!("{}{}", pruned.run.all(), again.all());
    assert_eq!(
        again.code, pruned.run.code,
        "the second run ends otherwise\n{said}"
    );
    assert_eq!(
        again.report().deleted(),
        BTreeMap::new(),
        "the second run deletes\n{said}"
    );
    let changed = differences(
        &without_directory_times(&after),
        &without_directory_times(&snapshot(layout)),
    );
    assert!(
        changed.is_empty(),
        "the second run changed\n{changed}\n{said}"
    );
    pruned
}

/// As [`prune`], without the second run.
#[track_caller]
pub(crate) fn prune_once(layout: &Path, args: &[&str]) -> Pruned {
    let before = snapshot(layout);
    let refs = references(layout);
    let call = |flag: &str| {
        prune_call(layout)
            .args(args)
            .args([flag, "--format", "json"])
            .run()
    };
    let dry = call("-n");
    assert_same(&before, &snapshot(layout), &dry.all());
    let run = call("-f");
    let said = format!("{}{}", dry.all(), run.all());
    assert_eq!(dry.code, run.code, "the dry run ends otherwise\n{said}");
    assert_eq!(
        as_if_run(&dry),
        as_if_run(&run),
        "the dry run says other things\n{said}"
    );
    let after = snapshot(layout);
    if run.code == Some(3) {
        assert_same(&before, &after, &said);
    }
    let deleted = run.report().deleted();
    check_disk(&before, &after, &run, &deleted);
    let entries = listed(layout);
    check_whole(layout, &refs, &before, &entries, &said);
    let verdicts = verdicts(&run);
    for verdict in &verdicts {
        assert!(
            !verdict.reasons.is_empty() && verdict.reasons.iter().all(|reason| !reason.is_empty()),
            "no reason for {verdict:?}\n{said}"
        );
        let is_left = entries.iter().any(|(digest, _)| *digest == verdict.digest);
        assert_eq!(
            is_left, !verdict.goes,
            "{verdict:?} is not what happened\n{said}"
        );
    }
    Pruned {
        verdicts,
        deleted,
        names: entries
            .iter()
            .flat_map(|(_, names)| names.clone())
            .collect(),
        entries: entries.into_iter().map(|(digest, _)| digest).collect(),
        run,
    }
}

/// Returns what a run said with the words of a run that did it.
fn as_if_run(run: &Run) -> Value {
    fn done(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    match (key.as_str(), value.as_str()) {
                        ("action", Some(action)) => {
                            *value = action.trim_start_matches("would-").into();
                        }
                        ("dry_run", _) => *value = false.into(),
                        _ => done(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(done),
            _ => {}
        }
    }
    let mut json = run.json();
    done(&mut json);
    json
}

/// Panics unless the files that went are those that were said, and nothing else changed but the files that list images.
#[track_caller]
fn check_disk(before: &Snapshot, after: &Snapshot, run: &Run, deleted: &BTreeMap<String, u64>) {
    let gone: BTreeMap<PathBuf, u64> = before
        .iter()
        .filter(|(path, _)| !after.contains_key(*path))
        .map(|(path, stat)| (path.clone(), stat.size))
        .collect();
    let mut said: BTreeMap<PathBuf, u64> = deleted
        .iter()
        .map(|(digest, size)| {
            let path = format!("blobs/{}", digest.replacen(':', "/", 1));
            (PathBuf::from(path), *size)
        })
        .collect();
    let json = run.json();
    let items = json.pointer("/layouts/0/items").and_then(Value::as_array);
    for item in items.into_iter().flatten() {
        let is_temporary = item.get("kind").and_then(Value::as_str) == Some("temporary");
        let path = item.get("path").and_then(Value::as_str);
        if let Some(path) = path.filter(|_| is_temporary) {
            let size = item.get("size").and_then(Value::as_u64);
            said.insert(path.into(), size.expect("an item has a size"));
        }
    }
    assert_eq!(gone, said, "what went and what was said\n{}", run.all());
    let total = json
        .pointer("/totals/reclaimed_bytes")
        .and_then(Value::as_u64);
    let linked = json.pointer("/totals/linked_bytes").and_then(Value::as_u64);
    if linked == Some(0) {
        assert_eq!(total, Some(gone.values().sum()), "bytes\n{}", run.all());
    }
    let rest = |picture: &Snapshot| {
        let mut picture = without_directory_times(picture);
        picture.retain(|path, _| {
            let lists = ["index.json", "manifest.json", "repositories"].map(Path::new);
            !gone.contains_key(path)
                && !lists.contains(&path.as_path())
                && !path.starts_with(".ocisweep")
        });
        picture
    };
    let changed = differences(&rest(before), &rest(after));
    assert!(
        changed.is_empty(),
        "what stays changed\n{changed}\n{}",
        run.all()
    );
}

/// Panics unless everything that the entries and holds lead to is there as far as it was before.
#[track_caller]
fn check_whole(
    layout: &Path,
    refs: &BTreeMap<String, BTreeSet<String>>,
    before: &Snapshot,
    entries: &[(String, Vec<String>)],
    said: &str,
) {
    let mut open: Vec<String> = entries.iter().map(|(digest, _)| digest.clone()).collect();
    open.extend(held(layout));
    let here = blobs(layout);
    let mut seen = BTreeSet::new();
    while let Some(digest) = open.pop() {
        if !seen.insert(digest.clone()) {
            continue;
        }
        let path = PathBuf::from(format!("blobs/{}", digest.replacen(':', "/", 1)));
        assert!(
            here.contains_key(&digest) || !before.contains_key(&path),
            "{digest} is lost\n{said}"
        );
        open.extend(refs.get(&digest).into_iter().flatten().cloned());
    }
}

/// Returns which digests each document of a layout mentions as such.
pub(crate) fn references(layout: &Path) -> BTreeMap<String, BTreeSet<String>> {
    fn collect(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                let digest = fields.get("digest").and_then(Value::as_str);
                found.extend(digest.map(str::to_owned));
                fields.values().for_each(|value| collect(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut refs = BTreeMap::new();
    for digest in blobs(layout).into_keys() {
        let path = layout.join("blobs").join(digest.replacen(':', "/", 1));
        let bytes = fs::read(path).expect("a blob of the test can be read");
        if bytes.first() != Some(&b'{') {
            continue;
        }
        let Ok(document) = serde_json::from_slice(&bytes) else {
            continue;
        };
        let mut found = BTreeSet::new();
        collect(&document, &mut found);
        refs.insert(digest, found);
    }
    refs
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
            // Drawn layouts write keys in odd case, which Go reads.
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

fn held(layout: &Path) -> Vec<String> {
    let Ok(text) = fs::read(layout.join(".ocisweep/holds.json")) else {
        return Vec::new();
    };
    let json: Value = serde_json::from_slice(&text).expect("the holds are JSON");
    let holds = json.get("holds").and_then(Value::as_array);
    holds
        .into_iter()
        .flatten()
        .filter_map(|hold| hold.get("digest")?.as_str())
        .map(str::to_owned)
        .collect()
}

/// Returns what a run said of each image of its layouts.
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
