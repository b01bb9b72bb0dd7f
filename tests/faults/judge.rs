//! What a layout must be like after any fault, found by a walk that shares no code with the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::sha256;

/// The lock file, which a killed run leaves behind.
pub(crate) const LOCK: &str = "index.json.lock";

/// The files that say what is live. Each is the old one or the new one at every moment, whatever happens.
const DECIDING: [&str; 4] = [
    "index.json",
    "manifest.json",
    "repositories",
    ".ocisweep/holds.json",
];

/// Only a convenience: without the note the next `gc` asks for `--allow-empty`.
const NOTE: &str = ".ocisweep/emptied";

/// Every file of a layout with its bytes, by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    /// Reads them.
    pub(crate) fn of(layout: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut open = vec![PathBuf::new()];
        while let Some(relative) = open.pop() {
            let path = layout.join(&relative);
            if path.is_dir() {
                let names = fs::read_dir(&path).expect("a directory can be listed");
                open.extend(
                    names.map(|name| relative.join(name.expect("a name can be read").file_name())),
                );
            } else {
                let bytes = fs::read(&path).expect("a file can be read");
                files.insert(relative.to_string_lossy().into_owned(), bytes);
            }
        }
        Self(files)
    }

    /// Reads a layout whose blobs lie in a pool as if they were its own.
    pub(crate) fn in_pool(layout: &Path, pool: &Path) -> Self {
        let mut files = Self::of(layout).0;
        let blobs = Self::of(pool).0;
        files.extend(
            blobs
                .into_iter()
                .map(|(path, bytes)| (format!("blobs/{path}"), bytes)),
        );
        Self(files)
    }

    /// Returns the bytes of a file.
    pub(crate) fn get(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path).map(Vec::as_slice)
    }

    /// Returns the paths.
    pub(crate) fn paths(&self) -> BTreeSet<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Returns the files without the lock, which is harmless when it cannot be removed.
    pub(crate) fn without_lock(&self) -> Self {
        let mut files = self.0.clone();
        files.remove(LOCK);
        Self(files)
    }

    /// Returns the files without these blobs.
    pub(crate) fn without_blobs(&self, digests: &BTreeSet<String>) -> Self {
        let mut files = self.0.clone();
        files.retain(|path, _| !digests.contains(&path.replace("blobs/sha256/", "sha256:")));
        Self(files)
    }

    /// Returns the files without these blobs, and without what is only a convenience.
    pub(crate) fn without(&self, digests: &BTreeSet<String>) -> Self {
        let mut files = self.without_blobs(digests);
        files.0.remove(NOTE);
        files
    }

    /// Returns what is other than in `expected`, a line each.
    pub(crate) fn differences(&self, expected: &Self) -> String {
        let mut lines = Vec::new();
        for (path, bytes) in &expected.0 {
            match self.0.get(path) {
                None => lines.push(format!("  gone:  {path}")),
                Some(found) if found != bytes => lines.push(format!(
                    "  other: {path}: {:?} instead of {:?}",
                    String::from_utf8_lossy(found),
                    String::from_utf8_lossy(bytes)
                )),
                Some(_) => {}
            }
        }
        for path in self.0.keys().filter(|path| !expected.0.contains_key(*path)) {
            lines.push(format!("  more:  {path}"));
        }
        lines.join("\n")
    }

    fn json(&self, path: &str) -> Option<Value> {
        serde_json::from_slice(self.get(path)?).ok()
    }

    /// Returns the bytes of a blob, if it is there and of its digest.
    fn blob(&self, digest: &str) -> Option<&[u8]> {
        let (algorithm, hex) = digest.split_once(':')?;
        let bytes = self.get(&format!("blobs/{algorithm}/{hex}"))?;
        (sha256(bytes) == digest).then_some(bytes)
    }

    /// Returns what something that stands in `index.json`, in docker's `manifest.json` or under a hold needs and does not
    /// find, a line each.
    pub(crate) fn broken(&self) -> BTreeMap<String, String> {
        let mut wanted: Vec<(String, String)> = Vec::new();
        let mut broken = BTreeMap::new();
        match self
            .json("index.json")
            .as_ref()
            .and_then(|index| index["manifests"].as_array())
        {
            None => {
                broken.insert(String::new(), "index.json cannot be read".to_owned());
            }
            Some(entries) => {
                for entry in entries {
                    wanted.push((text(&entry["digest"]), format!("index.json: {entry}")));
                }
            }
        }
        for element in self.json("manifest.json").iter().flat_map(array) {
            let paths = std::iter::once(&element["Config"]).chain(array(&element["Layers"]));
            for path in paths {
                let digest = text(path).replace("blobs/sha256/", "sha256:");
                wanted.push((digest, format!("manifest.json: {element}")));
            }
        }
        for hold in self
            .json(".ocisweep/holds.json")
            .iter()
            .flat_map(|file| array(&file["holds"]))
        {
            wanted.push((text(&hold["digest"]), format!("hold: {hold}")));
        }
        let referrers = self.referrers();
        let mut seen = BTreeSet::new();
        while let Some((digest, why)) = wanted.pop() {
            if !seen.insert(digest.clone()) {
                continue;
            }
            let Some(bytes) = self.blob(&digest) else {
                broken.insert(
                    digest.clone(),
                    format!("{digest} is missing or damaged, wanted by {why}"),
                );
                continue;
            };
            for referrer in referrers.get(&digest).into_iter().flatten() {
                wanted.push((referrer.clone(), format!("the referrer {referrer}")));
            }
            // Layers of these tests do not parse.
            let Ok(document) = serde_json::from_slice::<Value>(bytes) else {
                continue;
            };
            let below = std::iter::once(&document["config"])
                .chain(array(&document["layers"]))
                .chain(array(&document["manifests"]));
            for descriptor in below.filter(|descriptor| descriptor["digest"].is_string()) {
                wanted.push((text(&descriptor["digest"]), format!("{why} > {digest}")));
            }
        }
        broken
    }

    /// Returns, by subject, the manifests that refer to it.
    fn referrers(&self) -> BTreeMap<String, Vec<String>> {
        let mut referrers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (path, bytes) in &self.0 {
            let document: Option<Value> = serde_json::from_slice(bytes).ok();
            let subject = document
                .as_ref()
                .and_then(|document| document["subject"]["digest"].as_str());
            if let (Some(hex), Some(subject)) = (path.strip_prefix("blobs/sha256/"), subject) {
                let digest = format!("sha256:{hex}");
                referrers
                    .entry(subject.to_owned())
                    .or_default()
                    .push(digest);
            }
        }
        referrers
    }
}

/// What a command may turn a layout into.
#[derive(Debug)]
pub(crate) struct Judge {
    /// The layout before.
    pub(crate) before: Files,
    /// The layout after an undisturbed run.
    pub(crate) after: Files,
    /// The layout after that and a sweep of everything.
    pub(crate) settled: Files,
    /// Digests that may be missing although an index lists them, since dropping a platform means just that.
    pub(crate) sparse: BTreeSet<String>,
}

impl Judge {
    /// Returns the same judge for a run in which the disk is full: what nothing refers to may make room.
    pub(crate) fn of_full_disk(&self, orphans: &BTreeSet<String>) -> Self {
        Self {
            before: self.before.clone(),
            after: self.after.without_blobs(orphans),
            settled: self.settled.clone(),
            sparse: self.sparse.clone(),
        }
    }

    /// Panics unless the layout is one that a fault may leave.
    #[track_caller]
    pub(crate) fn check(&self, layout: &Path, context: &str) {
        self.check_files(&Files::of(layout), context);
    }

    /// The same for files that were read already.
    #[track_caller]
    pub(crate) fn check_files(&self, now: &Files, context: &str) {
        for path in DECIDING {
            let (old, found, new) = (self.before.get(path), now.get(path), self.after.get(path));
            assert!(
                found == old || found == new,
                "{path} is neither the old nor the new one: {:?}\n{context}",
                found.map(String::from_utf8_lossy)
            );
        }
        let mut broken = now.broken();
        broken.retain(|digest, _| !self.sparse.contains(digest));
        let broken: Vec<_> = broken.into_values().collect();
        assert!(broken.is_empty(), "{}\n{context}", broken.join("\n"));
        for (path, bytes) in &now.0 {
            if path == LOCK || is_own_temporary(path) {
                continue;
            }
            let known = [&self.before, &self.after];
            assert!(
                known.iter().any(|files| files.get(path) == Some(bytes)),
                "{path} was made or changed: {:?}\n{context}",
                String::from_utf8_lossy(bytes)
            );
        }
        let lost = self.before.paths();
        for path in lost.intersection(&self.after.paths()) {
            assert!(now.get(path).is_some(), "{path} is gone\n{context}");
        }
    }
}

/// Returns `true` if a file is one that the program writes before it renames it.
fn is_own_temporary(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_prefix(".ocisweep-")
        .is_some_and(|rest| rest.len() == 6 || rest.starts_with("swap-"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
