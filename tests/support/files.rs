//! [`Files`]: a layout in memory, and which blobs its roots reach, found by a walk that shares no code with the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use serde_json::value::RawValue;

use super::digest_of;

/// Every file of a layout with its bytes, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    /// Reads them; links are followed, and anything that is neither a file nor a directory is omitted.
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
            } else if path.is_file() {
                let bytes = fs::read(&path).expect("a file can be read");
                files.insert(relative.to_string_lossy().into_owned(), bytes);
            }
        }
        Self(files)
    }

    /// Reads a layout whose blobs are in a pool as if they were its own.
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
        files.remove("index.json.lock");
        Self(files)
    }

    /// Returns the files without these blobs.
    pub(crate) fn without_blobs(&self, digests: &BTreeSet<String>) -> Self {
        let mut files = self.0.clone();
        files.retain(|path, _| !digests.contains(&path.replace("blobs/sha256/", "sha256:")));
        Self(files)
    }

    /// Returns the files without one of them.
    pub(crate) fn without_file(mut self, path: &str) -> Self {
        self.0.remove(path);
        self
    }

    /// Returns paths and bytes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        self.0.iter()
    }

    /// Returns the differences from `expected`, one per line.
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

    /// Returns the bytes of a blob, damaged or not.
    pub(crate) fn blob(&self, digest: &str) -> Option<&[u8]> {
        self.get(&format!("blobs/{}", digest.replacen(':', "/", 1)))
    }

    /// Returns the reachable blobs that are missing or damaged: digests with one line each.
    pub(crate) fn broken(&self) -> BTreeMap<String, String> {
        let is_whole = |digest: &str| {
            let algorithm = digest.split(':').next().unwrap_or_default();
            self.blob(digest)
                .is_some_and(|bytes| digest_of(algorithm, bytes) == digest)
        };
        let mut broken: BTreeMap<String, String> = self
            .reachable(&Self::default(), |_| true)
            .into_iter()
            .filter(|(digest, _)| !is_whole(digest))
            .map(|(digest, path)| {
                let line = format!("{digest} is missing or damaged, referenced by {path}");
                (digest, line)
            })
            .collect();
        let index = self.json("index.json").unwrap_or_default();
        if !index["manifests"].is_array() {
            broken.insert(String::new(), "index.json cannot be read".to_owned());
        }
        broken
    }

    /// Returns the digests that `index.json`, the holds and docker's `manifest.json` reference, directly or not, and their
    /// referrers, each with a reference path. Documents that are missing now are read from `earlier`; a hold counts if
    /// `is_active`.
    pub(crate) fn reachable(
        &self,
        earlier: &Self,
        is_active: impl Fn(&Value) -> bool,
    ) -> BTreeMap<String, String> {
        let referrers = self.referrers();
        let mut open = self.roots(is_active);
        let mut reached = BTreeMap::new();
        while let Some((digest, path)) = open.pop() {
            if reached.contains_key(&digest) {
                continue;
            }
            let bytes = self.blob(&digest).or_else(|| earlier.blob(&digest));
            let below = bytes.map(references).unwrap_or_default();
            open.extend(
                below
                    .into_iter()
                    .map(|it| (it, format!("{path} > {digest}"))),
            );
            for referrer in referrers.get(&digest).into_iter().flatten() {
                open.push((referrer.clone(), format!("the referrer {referrer}")));
            }
            reached.insert(digest, path);
        }
        reached
    }

    /// Returns the digests that are referenced from outside the blobs, each with the place of the reference.
    fn roots(&self, is_active: impl Fn(&Value) -> bool) -> Vec<(String, String)> {
        let mut roots = Vec::new();
        let index = self.json("index.json").unwrap_or_default();
        for entry in array(&index["manifests"]) {
            // Random layouts write keys in odd case, which Go reads.
            let mut fields = entry.as_object().into_iter().flatten();
            let digest = fields.find(|(key, _)| key.eq_ignore_ascii_case("digest"));
            let digest = digest.map_or_else(String::new, |(_, digest)| text(digest));
            roots.push((digest, format!("index.json: {entry}")));
        }
        for element in self.json("manifest.json").iter().flat_map(array) {
            let paths = std::iter::once(&element["Config"]).chain(array(&element["Layers"]));
            for path in paths {
                let path = text(path);
                if let Some(blob) = path.strip_prefix("blobs/") {
                    let digest = blob.replacen('/', ":", 1);
                    roots.push((digest, format!("manifest.json: {element}")));
                }
            }
        }
        let holds = self.json(".ocisweep/holds.json").unwrap_or_default();
        for hold in array(&holds["holds"]).filter(|hold| is_active(hold)) {
            roots.push((text(&hold["digest"]), format!("hold: {hold}")));
        }
        roots
    }

    /// Returns, by subject, the documents that refer to it.
    fn referrers(&self) -> BTreeMap<String, Vec<String>> {
        let mut referrers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (path, bytes) in &self.0 {
            let Some(blob) = path.strip_prefix("blobs/") else {
                continue;
            };
            let document = document(bytes);
            let subject = document.pointer("/subject/digest").and_then(Value::as_str);
            if let Some(subject) = subject {
                let digest = blob.replacen('/', ":", 1);
                referrers
                    .entry(subject.to_owned())
                    .or_default()
                    .push(digest);
            }
        }
        referrers
    }
}

/// Returns every `digest` of every object in a document; none for other bytes.
pub(crate) fn references(bytes: &[u8]) -> BTreeSet<String> {
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
    let mut found = BTreeSet::new();
    collect(&document(bytes), &mut found);
    found
}

/// Parses a JSON object; anything else is `null`.
fn document(bytes: &[u8]) -> Value {
    if bytes.first() == Some(&b'{') {
        serde_json::from_slice(bytes).unwrap_or_default()
    } else {
        Value::Null
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Returns the path of a blob.
pub(crate) fn blob_path(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replacen(':', "/", 1))
}

/// Returns the entries of `index.json` as they are written.
pub(crate) fn entries(layout: &Path) -> Vec<String> {
    let text = fs::read_to_string(layout.join("index.json")).expect("index.json can be read");
    let fields: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(&text).expect("index.json is an object");
    let manifests = fields.get("manifests").expect("index.json has entries");
    let list: Option<Vec<Box<RawValue>>> =
        serde_json::from_str(manifests.get()).expect("the entries are an array");
    let list = list.unwrap_or_default();
    list.iter().map(|entry| entry.get().to_owned()).collect()
}

/// Returns a string field of a JSON object.
pub(crate) fn field(entry: &str, key: &str) -> Option<String> {
    let entry: Value = serde_json::from_str(entry).ok()?;
    Some(entry.get(key)?.as_str()?.to_owned())
}

/// Returns the references of each document of a layout.
pub(crate) fn references_of(layout: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let files = Files::of(layout);
    let blobs = files.paths().into_iter();
    blobs
        .filter_map(|path| path.strip_prefix("blobs/"))
        .map(|blob| blob.replacen('/', ":", 1))
        .map(|digest| (references(files.blob(&digest).unwrap_or_default()), digest))
        .map(|(found, digest)| (digest, found))
        .collect()
}
