//! The contents of a layout on disk, parsed without the program: entries, names, holds, docker's list, second indexes,
//! blobs.
//!
//! The judge of [`super`] reasons from this. Documents are parsed with `serde_json`, which shares nothing with the readers of
//! the program, and everything is repeated over sets until nothing changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::json::{IMAGE_NAME, REF_NAME};
use crate::support::media;
use crate::world::layout::BASE_NAME;

/// A set of digests.
pub(crate) type Set = BTreeSet<String>;

const KIND: &str = "kind";

/// Annotations that describe and reference nothing.
const DESCRIBING: [&str; 2] = [
    "org.opencontainers.image.base.digest",
    "vnd.docker.reference.digest",
];

/// How references are counted if the contract allows two interpretations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Like [`Strict`](Self::Strict), without the subjects of documents.
    WithoutSubjects,
    /// Only certain references.
    Strict,
    /// All possible references.
    Generous,
}

/// A layout as it is on disk.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// The bytes of `index.json`.
    pub(crate) index: Vec<u8>,
    /// The entries of `index.json`.
    pub(crate) entries: Vec<Entry>,
    /// The holds: name and digest.
    pub(crate) holds: BTreeMap<String, String>,
    /// The elements of docker's `manifest.json`.
    pub(crate) elements: Vec<Element>,
    /// The names of `repositories`, as `repository:tag`.
    pub(crate) repositories: BTreeSet<String>,
    /// The second indexes: file name and digests.
    pub(crate) second: BTreeMap<String, Set>,
    /// The blobs.
    pub(crate) blobs: BTreeMap<String, Blob>,
    /// Writers' temporary files, with their age.
    pub(crate) temporary: BTreeMap<String, Duration>,
    /// References that do not count, as parent and child: those cut by a sparse or hollow drop.
    pub(crate) cut: BTreeSet<(String, String)>,
    /// Documents that were removed by name; their live subject does not have to keep them.
    pub(crate) removed: Set,
}

/// One entry of `index.json`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The digest.
    pub(crate) digest: String,
    /// The whole descriptor.
    pub(crate) value: Value,
    /// The names of the entry, digest tags included.
    pub(crate) names: BTreeSet<String>,
}

/// One element of docker's `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Element {
    /// The digest of the config.
    pub(crate) config: String,
    /// The digests of the layers.
    pub(crate) layers: Vec<String>,
    /// `RepoTags`.
    pub(crate) tags: Vec<String>,
}

/// One blob.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    /// Length in bytes.
    pub(crate) size: u64,
    /// Time since the modification.
    pub(crate) age: Duration,
    /// Modification time.
    pub(crate) modified: SystemTime,
    /// Whether the file has another name outside the layout, so that deleting it frees nothing.
    pub(crate) is_linked: bool,
    /// The JSON in it, if it is an object or array.
    pub(crate) json: Option<Value>,
}

impl Disk {
    /// Parses the layout in `dir`; a file in `ignored` is not a second index.
    pub(crate) fn read(dir: &Path, ignored: &[String]) -> Self {
        let index = fs::read(dir.join("index.json")).expect("the layout has an index");
        let json: Value = serde_json::from_slice(&index).expect("the index is JSON");
        let entries = list(json.get("manifests")).iter().map(Entry::new).collect();
        let mut disk = Self {
            index,
            entries,
            holds: holds(dir),
            elements: list(parse(&dir.join("manifest.json")).as_ref())
                .iter()
                .map(Element::new)
                .collect(),
            repositories: repositories(&dir.join("repositories")),
            second: BTreeMap::new(),
            blobs: blobs(dir),
            temporary: BTreeMap::new(),
            cut: BTreeSet::new(),
            removed: Set::new(),
        };
        for item in fs::read_dir(dir.join("blobs/sha256")).expect("the blobs can be listed") {
            let path = item.expect("the blobs can be listed").path();
            if path.to_string_lossy().contains(".tmp-") {
                let name = path
                    .strip_prefix(dir)
                    .expect("it is inside")
                    .to_string_lossy();
                disk.temporary
                    .insert(name.into_owned(), age(&modified(&path)));
            }
        }
        for item in fs::read_dir(dir).expect("the layout can be listed") {
            let item = item.expect("the layout can be listed");
            let name = item.file_name().to_string_lossy().into_owned();
            if name.starts_with("oci-put-blob") {
                disk.temporary.insert(name, age(&modified(&item.path())));
            } else if name.ends_with(".json")
                && !["index.json", "manifest.json"].contains(&name.as_str())
                && !ignored.contains(&name)
                && let Some(json) = parse(&item.path())
            {
                let mut found = Set::new();
                let lists = json.get("manifests").map_or(&json, |list| list);
                for value in members(lists) {
                    if value.get("size").is_some() && value.get("mediaType").is_some() {
                        found.extend(digest(value));
                    }
                }
                if !found.is_empty() {
                    disk.second.insert(name, found);
                }
            }
        }
        disk
    }

    /// Returns the digests of the entries.
    pub(crate) fn listed(&self) -> Set {
        self.entries
            .iter()
            .map(|entry| entry.digest.clone())
            .collect()
    }

    /// Returns every root: entries, holds, docker's elements and second indexes.
    pub(crate) fn roots(&self) -> Set {
        let mut roots = self.listed();
        roots.extend(self.other_roots());
        roots
    }

    /// Returns the roots that are not entries.
    pub(crate) fn other_roots(&self) -> Set {
        let mut roots: Set = self.holds.values().cloned().collect();
        for element in &self.elements {
            roots.insert(element.config.clone());
            roots.extend(element.layers.iter().cloned());
        }
        roots.extend(self.second.values().flatten().cloned());
        roots
    }

    /// Returns the names of an image: those of its entries and those that docker's list gives it.
    pub(crate) fn names(&self, digest: &str) -> BTreeSet<String> {
        let of_digest = self.entries.iter().filter(|entry| entry.digest == digest);
        let mut names: BTreeSet<String> = of_digest.flat_map(|entry| entry.names.clone()).collect();
        for element in &self.elements {
            if self.is_named_by(element, digest) {
                names.extend(element.tags.iter().cloned());
            }
        }
        names
    }

    /// Returns every name with the image that it names.
    pub(crate) fn all_names(&self) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for digest in self.listed() {
            let names = self.names(&digest);
            found.extend(names.into_iter().map(|name| (digest.clone(), name)));
        }
        for element in self.unlisted_elements() {
            let tags = element.tags.iter();
            found.extend(tags.map(|name| (element.config.clone(), name.clone())));
        }
        found
    }

    /// Returns docker's elements whose manifest no entry lists. Their config represents the image.
    pub(crate) fn unlisted_elements(&self) -> Vec<&Element> {
        let listed = self.listed();
        let elements = self.elements.iter();
        elements
            .filter(|element| !listed.iter().any(|it| self.is_named_by(element, it)))
            .collect()
    }

    /// Returns `true` if docker's element describes this listed manifest and names no other image: its names are those of an index
    /// that has a name and lists the manifest, if the entry of the manifest has none.
    fn is_named_by(&self, element: &Element, digest: &str) -> bool {
        let own = self.entries.iter().filter(|entry| entry.digest == digest);
        let is_named = own.flat_map(|entry| &entry.names).next().is_some();
        let mut others = self
            .entries
            .iter()
            .filter(|entry| entry.digest != digest && !entry.names.is_empty());
        let lists = |entry: &Entry| {
            let mut open = vec![entry.digest.clone()];
            let mut seen = Set::new();
            while let Some(next) = open.pop() {
                let children = self
                    .json(&next)
                    .and_then(|json| json["manifests"].as_array());
                let children = children.into_iter().flatten().filter_map(self::digest);
                open.extend(children.filter(|child| seen.insert(child.clone())));
            }
            seen.contains(digest)
        };
        self.is_of(element, digest) && (is_named || !others.any(lists))
    }

    /// Returns `true` if docker's element describes this manifest.
    pub(crate) fn is_of(&self, element: &Element, digest: &str) -> bool {
        let config = self.json(digest).and_then(|json| json.get("config"));
        config.and_then(self::digest).as_deref() == Some(element.config.as_str())
            || element.config == digest
    }

    /// Returns the JSON of a blob.
    pub(crate) fn json(&self, digest: &str) -> Option<&Value> {
        self.blobs.get(digest)?.json.as_ref()
    }

    /// Returns the names that people chose: no digest tags, and none of a signature that shares its image's name.
    pub(crate) fn human_names(&self, digest: &str) -> BTreeSet<String> {
        if self.is_kind_referrer(digest) {
            return BTreeSet::new();
        }
        let names = self.names(digest);
        names
            .into_iter()
            .filter(|name| digest_tag(name).is_none())
            .collect()
    }

    /// Returns `true` if the entries of an image call it a signature, an attestation or an SBOM by their `kind`, and another
    /// image has one of its names.
    pub(crate) fn is_kind_referrer(&self, digest: &str) -> bool {
        let mut of_digest = self.entries.iter().filter(|entry| entry.digest == digest);
        of_digest.any(|entry| {
            let mut others = self.entries.iter();
            entry.has_referrer_kind()
                && others.any(|other| {
                    !other.has_referrer_kind() && !other.names.is_disjoint(&entry.names)
                })
        })
    }

    /// Returns every descriptor's digest in a document, with `subject`.
    pub(crate) fn down(&self, digest: &str, reading: Reading) -> Set {
        let mut found = Set::new();
        let mut open: Vec<&Value> = self.json(digest).into_iter().collect();
        if reading == Reading::WithoutSubjects
            && let Some(object) = self.json(digest).and_then(Value::as_object)
        {
            let fields = object.iter().filter(|(key, _)| *key != "subject");
            open = fields.map(|(_, value)| value).collect();
        }
        while let Some(value) = open.pop() {
            if value.get("mediaType").is_some() && value.get("size").is_some() {
                found.extend(self::digest(value));
            }
            found.extend(self.annotated(value.get("annotations"), reading));
            open.extend(members(value));
        }
        found.retain(|child| {
            child != digest && !self.cut.contains(&(digest.to_owned(), child.clone()))
        });
        found
    }

    /// Returns the blobs that annotations name by their digest.
    fn annotated(&self, annotations: Option<&Value>, reading: Reading) -> Set {
        let pairs = annotations.and_then(Value::as_object);
        let pairs = pairs.into_iter().flatten();
        pairs
            .filter(|(key, _)| !DESCRIBING.contains(&key.as_str()))
            // A referrer does not have to keep its subject.
            .filter(|(key, _)| reading == Reading::Generous || !key.ends_with("subject"))
            .filter_map(|(_, value)| value.as_str())
            .filter(|value| self.blobs.contains_key(*value))
            .map(str::to_owned)
            .collect()
    }

    /// Returns the digest in `subject` of a document.
    pub(crate) fn subject(&self, digest: &str) -> Option<String> {
        self.json(digest)?.get("subject").and_then(self::digest)
    }

    /// Returns `true` if a manifest is an attestation as BuildKit lists them.
    pub(crate) fn is_attestation(&self, digest: &str) -> bool {
        let artifact = self.json(digest).and_then(|json| json.get("artifactType"));
        artifact.and_then(Value::as_str) == Some(media::ATTESTATION)
    }

    /// Returns the live blobs for these roots and entries.
    pub(crate) fn live(&self, roots: &Set, entries: &[Entry], reading: Reading) -> Set {
        let mut live = roots.clone();
        for entry in entries {
            live.extend(self.annotated(entry.value.get("annotations"), reading));
        }
        self.close(live, reading, |_, _| Set::new())
    }

    /// Adds references and referrers of live blobs until nothing changes.
    pub(crate) fn close(
        &self,
        mut live: Set,
        reading: Reading,
        more: impl Fn(&Self, &Set) -> Set,
    ) -> Set {
        loop {
            let mut next = live.clone();
            for digest in &live {
                next.extend(self.down(digest, reading));
            }
            for digest in self.blobs.keys() {
                let subject = self.subject(digest);
                if subject.is_some_and(|subject| live.contains(&subject))
                    && !self.is_attestation(digest)
                    && !(self.removed.contains(digest) && reading != Reading::Generous)
                {
                    next.insert(digest.clone());
                }
            }
            next.extend(more(self, &next));
            if next == live {
                return live;
            }
            live = next;
        }
    }

    /// Returns the digests of entries that refer to one of `live` by subject, annotation, digest tag or kind.
    pub(crate) fn referrers(&self, live: &Set) -> Set {
        let mut found = Set::new();
        for entry in &self.entries {
            let by_subject = self.subject(&entry.digest);
            let by_note = entry.subjects();
            let is_subject = |digest: &String| live.contains(digest);
            let by_tag = entry.names.iter().filter_map(|name| digest_tag(name));
            let by_tag =
                by_tag.flat_map(|cut| live.iter().filter(move |digest| digest.starts_with(&cut)));
            let by_kind = entry.has_referrer_kind()
                && self.entries.iter().any(|other| {
                    live.contains(&other.digest)
                        && !other.has_referrer_kind()
                        && !other.names.is_disjoint(&entry.names)
                });
            if by_subject.iter().any(is_subject)
                || by_note.iter().any(is_subject)
                || by_tag.count() > 0
                || by_kind
            {
                found.insert(entry.digest.clone());
            }
        }
        found
    }

    /// Returns the bytes that are freed with these blobs.
    pub(crate) fn bytes<'a>(&self, digests: impl IntoIterator<Item = &'a String>) -> u64 {
        let sizes = digests
            .into_iter()
            .filter_map(|digest| self.blobs.get(digest));
        sizes
            .filter(|blob| !blob.is_linked)
            .map(|blob| blob.size)
            .sum()
    }

    /// Returns the orphans according to this interpretation.
    pub(crate) fn orphans(&self, reading: Reading) -> Set {
        let live = self.live(&self.roots(), &self.entries, reading);
        let all = self.blobs.keys();
        all.filter(|digest| !live.contains(*digest))
            .cloned()
            .collect()
    }

    /// Returns the age of a blob.
    pub(crate) fn age(&self, digest: &str) -> Duration {
        self.blobs
            .get(digest)
            .map_or(Duration::ZERO, |blob| blob.age)
    }
}

impl Entry {
    fn new(value: &Value) -> Self {
        let note = |key: &str| {
            let note = value.pointer("/annotations")?.get(key)?.as_str()?;
            Some(note.to_owned())
        };
        let names = match (note(IMAGE_NAME), note(REF_NAME)) {
            (Some(full), Some(short)) if agrees(&full, &short) => vec![full],
            (Some(full), Some(short)) => vec![full, short],
            (Some(name), None) | (None, Some(name)) => vec![name],
            (None, None) => note(BASE_NAME).into_iter().collect(),
        };
        Self {
            digest: digest(value).expect("entries of the model have digests"),
            value: value.clone(),
            names: names.into_iter().collect(),
        }
    }

    pub(crate) fn has_referrer_kind(&self) -> bool {
        let kind = self
            .value
            .pointer("/annotations")
            .and_then(|notes| notes.get(KIND));
        let kind = kind.and_then(Value::as_str).unwrap_or_default();
        ["sigs", "atts", "sboms"]
            .iter()
            .any(|word| kind.ends_with(word))
    }

    /// Returns the digests in annotations that end in `.subject`.
    pub(crate) fn subjects(&self) -> Set {
        let notes = self
            .value
            .pointer("/annotations")
            .and_then(Value::as_object);
        let notes = notes.into_iter().flatten();
        notes
            .filter(|(key, _)| key.ends_with(".subject"))
            .filter_map(|(_, value)| Some(value.as_str()?.to_owned()))
            .collect()
    }

    /// Returns the keys of the annotations.
    pub(crate) fn without_names(&self) -> Value {
        let mut value = self.value.clone();
        if let Some(notes) = value.get_mut("annotations").and_then(Value::as_object_mut) {
            for key in [IMAGE_NAME, REF_NAME, BASE_NAME] {
                notes.remove(key);
            }
            if notes.is_empty()
                && let Some(object) = value.as_object_mut()
            {
                object.remove("annotations");
            }
        }
        value
    }
}

impl Element {
    fn new(value: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let blob = |path: String| {
            let (algorithm, hex) = path.strip_prefix("blobs/")?.split_once('/')?;
            Some(format!("{algorithm}:{hex}"))
        };
        let config = value.get("Config").and_then(text).and_then(blob);
        let layers = list(value.get("Layers"));
        Self {
            config: config.expect("elements of the model have a config"),
            layers: layers.iter().filter_map(text).filter_map(blob).collect(),
            tags: list(value.get("RepoTags"))
                .iter()
                .filter_map(text)
                .collect(),
        }
    }
}

/// Returns `true` if a full name has this tag.
fn agrees(full: &str, short: &str) -> bool {
    full == short
        || full
            .strip_suffix(short)
            .is_some_and(|rest| rest.ends_with(':'))
}

/// Returns what the digest of the subject begins with, where a name is a digest tag.
pub(crate) fn digest_tag(name: &str) -> Option<String> {
    let tag = name.rsplit('/').next()?.rsplit(':').next()?;
    let (algorithm, rest) = tag.split_once('-')?;
    let (hex, suffix) = rest
        .split_once('.')
        .map_or((rest, None), |(hex, rest)| (hex, Some(rest)));
    let length = match algorithm {
        "sha256" => 64,
        "sha512" => 128,
        _ => return None,
    };
    let digits = hex
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let fits = (hex.len() == 64 || hex.len() == length) && digits && suffix != Some("");
    fits.then(|| format!("{algorithm}:{hex}"))
}

fn members(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn digest(value: &Value) -> Option<String> {
    let digest = value.get("digest")?.as_str()?;
    digest.contains(':').then(|| digest.to_owned())
}

fn parse(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn holds(dir: &Path) -> BTreeMap<String, String> {
    let json = parse(&dir.join(".ocisweep/holds.json")).unwrap_or_default();
    let text = |hold: &Value, key: &str| Some(hold.get(key)?.as_str()?.to_owned());
    list(json.get("holds"))
        .iter()
        .filter_map(|hold| Some((text(hold, "name")?, text(hold, "digest")?)))
        .collect()
}

fn repositories(path: &Path) -> BTreeSet<String> {
    let json = parse(path).unwrap_or_default();
    let mut names = BTreeSet::new();
    for (repository, tags) in json.as_object().into_iter().flatten() {
        for tag in tags.as_object().into_iter().flat_map(|tags| tags.keys()) {
            names.insert(format!("{repository}:{tag}"));
        }
    }
    names
}

fn blobs(dir: &Path) -> BTreeMap<String, Blob> {
    let mut found = BTreeMap::new();
    for (digest, size) in crate::support::blobs(dir) {
        let path = dir.join(PathBuf::from(format!(
            "blobs/{}",
            digest.replacen(':', "/", 1)
        )));
        let modified = modified(&path);
        let blob = Blob {
            size,
            age: age(&modified),
            modified,
            is_linked: fs::metadata(&path).is_ok_and(|stat| stat.nlink() > 1),
            json: parse(&path).filter(|json| json.is_object() || json.is_array()),
        };
        found.insert(digest, blob);
    }
    found
}

fn modified(path: &Path) -> SystemTime {
    let stat = fs::symlink_metadata(path).expect("a file of the layout has a time");
    stat.modified().expect("a file of the layout has a time")
}

fn age(time: &SystemTime) -> Duration {
    SystemTime::now().duration_since(*time).unwrap_or_default()
}
