//! The contents of a layout as candidates: names, IDs, platforms, labels, holds, runs, digests.
//!
//! *Promises*: nothing is written, locked or unpacked. Only `index.json`, the files beside it, and at most [`MAX_DOCUMENTS`]
//! documents are read. A layout that is damaged or too large has no candidates.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use ocisweep::Layout;
use ocisweep::archive::{docker_save_of_plain, index_of_plain};
use ocisweep::layout::holds::Holds;
use ocisweep::layout::shared_blobs::SharedStore;
use ocisweep::layout::trash::{Trash, TrashedRun};
use ocisweep::model::images::ImageConfig;
use ocisweep::oci::descriptor::Details;
use ocisweep::oci::digest::is_hex;
use ocisweep::oci::platform::Platform;
use ocisweep::oci::reference::{Reference, digest_tag};
use ocisweep::oci::{
    BASE_NAME, CONTAINERD_NAME, Digest, DockerSave, Document, EntryName, REF_NAME, Role,
    entry_names,
};
use serde::Deserialize;

use super::candidates::{CompletionCandidate, sort};
use crate::cli::quote::quote;
use crate::cli::render::time::ago;

/// The maximum number of documents that are read for platforms and labels.
const MAX_DOCUMENTS: usize = 256;

/// The largest document that is read, in bytes.
const MAX_DOCUMENT_BYTES: u64 = 8 << 20;

/// The largest file beside the blobs that is read, in bytes: an `index.json` of some 180,000 entries.
const MAX_STATE_BYTES: u64 = 64 << 20;

/// The fewest digits by which a command finds a blob or an image.
const MIN_DIGITS: usize = 3;

/// One layout, or an archive of one.
#[derive(Debug, Clone)]
pub struct CompletionSource {
    /// Its path.
    pub path: PathBuf,
    /// The directory of blobs that it shares with others.
    pub store: Option<PathBuf>,
}

/// The entries of a layout.
#[derive(Debug)]
pub struct Contents {
    source: CompletionSource,
    entries: Vec<CompletionEntry>,
    /// Names in docker save's list.
    saved: Vec<String>,
    holds: Holds,
}

/// An entry of `index.json`.
#[derive(Debug)]
struct CompletionEntry {
    digest: String,
    names: Vec<EntryName>,
    media_type: Box<str>,
    artifact_type: Option<Box<str>>,
    platform: Option<Platform>,
}

/// The parts of `index.json` that are needed. The parser of the library keeps every byte for an edit, which takes three
/// times as long.
#[derive(Deserialize)]
struct WrittenIndex {
    manifests: Option<Vec<WrittenEntry>>,
}

#[derive(Deserialize)]
struct WrittenEntry {
    digest: String,
    #[serde(default, rename = "mediaType")]
    media_type: Box<str>,
    #[serde(rename = "artifactType")]
    artifact_type: Option<Box<str>>,
    platform: Option<WrittenPlatform>,
    annotations: Option<WrittenNames>,
}

#[derive(Deserialize)]
struct WrittenNames {
    #[serde(rename = "io.containerd.image.name")]
    full: Option<Box<str>>,
    #[serde(rename = "org.opencontainers.image.ref.name")]
    reference: Option<Box<str>>,
    #[serde(rename = "org.opencontainers.image.base.name")]
    base: Option<Box<str>>,
}

#[derive(Deserialize)]
struct WrittenPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
    #[serde(rename = "os.version")]
    os_version: Option<String>,
    #[serde(rename = "os.features")]
    os_features: Option<Vec<String>>,
}

impl From<WrittenPlatform> for Platform {
    fn from(written: WrittenPlatform) -> Self {
        Self {
            os: written.os,
            architecture: written.architecture,
            variant: written.variant,
            os_version: written.os_version,
            os_features: written.os_features.unwrap_or_default(),
        }
    }
}

impl From<WrittenEntry> for CompletionEntry {
    fn from(written: WrittenEntry) -> Self {
        let mut details = Details::default();
        if let Some(names) = written.annotations {
            let names = [
                (CONTAINERD_NAME, names.full),
                (REF_NAME, names.reference),
                (BASE_NAME, names.base),
            ];
            let names = names.into_iter();
            let names = names.filter_map(|(key, name)| Some((key, name?)));
            details.annotations = names.collect();
        }
        Self {
            digest: written.digest,
            names: entry_names(&details),
            media_type: written.media_type,
            artifact_type: written.artifact_type,
            platform: written.platform.map(Platform::from),
        }
    }
}

impl CompletionEntry {
    /// Returns the digits of its digest, if it has this algorithm.
    fn digits_of(&self, algorithm: &str) -> Option<&str> {
        self.digest.strip_prefix(algorithm)?.strip_prefix(':')
    }

    /// Returns the first 12 digits of its digest, as `ls` shows them.
    fn short(&self) -> &str {
        let digits = self.digest.split_once(':').map_or("", |(_, digits)| digits);
        digits.get(..12).unwrap_or(digits)
    }
}

/// Returns the entries of an `index.json`.
fn entries_of(bytes: &[u8]) -> Option<Vec<CompletionEntry>> {
    let index: WrittenIndex = serde_json::from_slice(bytes).ok()?;
    let entries = index.manifests.unwrap_or_default().into_iter();
    Some(entries.map(CompletionEntry::from).collect())
}

/// Returns the names in docker save's list.
fn names_of(saved: Option<DockerSave>) -> Vec<String> {
    let elements = saved.into_iter().flat_map(|save| save.elements);
    elements.flat_map(|element| element.repo_tags).collect()
}

/// Reads a regular file of at most `max` bytes.
fn read(path: &Path, max: u64) -> Option<Vec<u8>> {
    let found = std::fs::metadata(path).ok()?;
    if !found.is_file() || found.len() > max {
        return None;
    }
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(max).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

impl CompletionSource {
    /// Reads `index.json` and the files beside it. `None`: it is not a layout, damaged, or too large.
    pub fn read(&self) -> Option<Contents> {
        if std::fs::metadata(&self.path).ok()?.is_file() {
            let index = index_of_plain(&self.path);
            let saved = match &index {
                Some(_) => None,
                // docker save before version 25.
                None => DockerSave::parse(&docker_save_of_plain(&self.path)?).ok()?,
            };
            return Some(Contents {
                source: self.clone(),
                entries: index.map_or(Some(Vec::new()), |index| entries_of(&index))?,
                saved: names_of(saved),
                holds: Holds::default(),
            });
        }
        Layout::open(&self.path).ok()?;
        let own = |name: &str| {
            let path = self.path.join(name);
            let is_there = path.symlink_metadata().is_ok();
            is_there.then(|| read(&path, MAX_STATE_BYTES))
        };
        let saved = match own("manifest.json") {
            Some(bytes) => DockerSave::parse(&bytes?).ok()?,
            None => None,
        };
        let holds = match own(Holds::FILE) {
            Some(bytes) => Holds::parse(&bytes?).ok()?,
            None => Holds::default(),
        };
        Some(Contents {
            source: self.clone(),
            entries: entries_of(&own("index.json")??)?,
            saved: names_of(saved),
            holds,
        })
    }

    /// Returns the directory of its blobs.
    fn blobs(&self) -> PathBuf {
        let store = self.store.clone();
        store.unwrap_or_else(|| self.path.join("blobs"))
    }

    /// Reads a document that is not too large.
    fn document(&self, digest: &Digest) -> Option<Vec<u8>> {
        let name = digest.blob_name();
        read(&self.blobs().join(name.path()), MAX_DOCUMENT_BYTES)
    }

    /// Returns the digests of the blobs that begin with `word`: in full after `sha256:`, else their first 12 digits.
    pub fn blob_digests(&self, word: &str) -> Vec<CompletionCandidate> {
        let mut found = Vec::new();
        let Some((algorithm, digits)) = digits(word) else {
            return found;
        };
        let Ok(entries) = std::fs::read_dir(self.blobs().join(algorithm)) else {
            return found;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_str().filter(|name| name.starts_with(digits));
            let digest = name.and_then(|name| Digest::parse(&format!("{algorithm}:{name}")).ok());
            found.extend(digest.map(|digest| CompletionCandidate::new(shown(&digest, word), "")));
        }
        sort(&mut found);
        found
    }

    /// Returns the result of `then` for the trash.
    fn with_trash<T>(&self, then: impl FnOnce(Trash<'_>) -> Option<T>) -> Option<T> {
        match &self.store {
            Some(store) => then(SharedStore::open(store).ok()?.trash()),
            None => then(Layout::open(&self.path).ok()?.trash()),
        }
    }

    /// Returns the runs in the trash, the newest first. `to_undo`: without those that cannot be undone.
    pub fn runs(&self, now: Timestamp, to_undo: bool) -> Vec<CompletionCandidate> {
        let runs = self
            .with_trash(|trash| trash.runs().ok())
            .unwrap_or_default();
        let runs = runs.into_iter().rev();
        let wanted = runs.filter(|run| run.can_be_undone() || !to_undo);
        wanted
            .map(|run| CompletionCandidate::new(run.name.clone(), described(&run, now)))
            .collect()
    }

    /// Returns the digests of the blobs in the trash.
    pub fn trashed_digests(&self) -> Vec<CompletionCandidate> {
        let blobs = self
            .with_trash(|trash| trash.blobs().ok())
            .unwrap_or_default();
        let digests = blobs.into_iter().map(|(digest, _)| digest.to_string());
        let mut found: Vec<CompletionCandidate> = digests
            .map(|text| CompletionCandidate::new(text, ""))
            .collect();
        sort(&mut found);
        found
    }
}

impl Contents {
    /// Returns every name with its entry.
    fn names(&self) -> impl Iterator<Item = (&str, &CompletionEntry)> {
        let entries = self.entries.iter();
        entries.flat_map(|entry| entry.names.iter().map(move |name| (&*name.text, entry)))
    }

    /// Returns the images that begin with `word`, as `rm` accepts them: by name, in docker's short form as `ls` shows it or
    /// as written; if there is no such name and `word` is the beginning of an ID, by ID.
    pub fn images(&self, word: &str) -> Vec<CompletionCandidate> {
        let wants_tags = word.starts_with("sha256-");
        let is_offered = |text: &str| {
            // Signatures are removed with their image.
            let tag = text.rsplit([':', '/']).next().unwrap_or_default();
            wants_tags || digest_tag(tag).is_none()
        };
        let written: HashSet<&str> = self.names().map(|(text, _)| text).collect();
        let mut found = Vec::new();
        for (text, entry) in self.names().filter(|(text, _)| is_offered(text)) {
            // A short form that is the exact name of another image selects that image.
            let short = short(text, word).filter(|short| !written.contains(short.as_str()));
            if let Some(short) = short {
                found.push(CompletionCandidate::new(short, entry.short()));
            } else if text.starts_with(word) {
                found.push(CompletionCandidate::new(text, entry.short()));
            }
        }
        // After those of `index.json`: the first of equal candidates is kept.
        let saved = self.saved.iter().filter(|text| text.starts_with(word));
        found.extend(saved.map(|text| CompletionCandidate::new(text, "")));
        if let (true, Some((algorithm, digits))) = (found.is_empty(), digits(word)) {
            for entry in &self.entries {
                let own = entry.digits_of(algorithm);
                let digest = Digest::parse(&entry.digest).ok();
                let digest = digest.filter(|_| own.is_some_and(|own| own.starts_with(digits)));
                let name = entry.names.first().map_or("<none>", |name| &*name.text);
                found.extend(
                    digest.map(|digest| CompletionCandidate::new(shown(&digest, word), name)),
                );
            }
        }
        sort(&mut found);
        found
    }

    /// Returns the names of the holds.
    pub fn holds(&self) -> Vec<CompletionCandidate> {
        let holds = self.holds.holds.iter();
        let mut found: Vec<CompletionCandidate> = holds
            .map(|hold| {
                let image = hold.image.clone().unwrap_or_else(|| hold.digest.short());
                let reason = hold.reason.as_ref().map(|reason| format!(": {reason}"));
                CompletionCandidate::new(&hold.name, image + &reason.unwrap_or_default())
            })
            .collect();
        sort(&mut found);
        found
    }

    /// Returns the media types of the entries.
    pub fn media_types(&self) -> Vec<CompletionCandidate> {
        let types = self.entries.iter().map(|entry| entry.media_type.clone());
        values(types.collect())
    }

    /// Returns the artifact types of the entries.
    pub fn artifact_types(&self) -> Vec<CompletionCandidate> {
        let types = self.entries.iter();
        let types = types.filter_map(|entry| entry.artifact_type.clone());
        values(types.collect())
    }

    /// Returns the platforms of these images, or of all if none of the words is one.
    pub fn platforms(&self, images: &[String]) -> Vec<CompletionCandidate> {
        let is_chosen = |entry: &&CompletionEntry| {
            images.iter().any(|word| {
                let digits = entry.digits_of("sha256").unwrap_or_default();
                let names = &entry.names;
                word.len() >= MIN_DIGITS && digits.starts_with(word.as_str())
                    || names.iter().any(|name| is_short_for(&name.text, word))
            })
        };
        let chosen: Vec<&CompletionEntry> = self.entries.iter().filter(is_chosen).collect();
        let mut seen = Seen::new(&self.source);
        match chosen.is_empty() {
            true => seen.images(self.entries.iter()),
            false => seen.images(chosen.into_iter()),
        }
        values(seen.platforms)
    }

    /// Returns the labels of the images: each as `key`, or as `key=value` once `word` has a `=`.
    pub fn labels(&self, word: &str) -> Vec<CompletionCandidate> {
        let mut seen = Seen::new(&self.source);
        seen.images(self.entries.iter());
        let labels = seen.labels.into_iter();
        let texts = labels.map(|(key, value)| match word.contains('=') {
            true => format!("{key}={value}").into(),
            false => key.into(),
        });
        values(texts.collect())
    }
}

/// The platforms and labels of the documents that were read.
struct Seen<'a> {
    source: &'a CompletionSource,
    read: BTreeSet<Digest>,
    platforms: BTreeSet<Box<str>>,
    labels: BTreeSet<(String, String)>,
}

impl<'a> Seen<'a> {
    const fn new(source: &'a CompletionSource) -> Self {
        Self {
            source,
            read: BTreeSet::new(),
            platforms: BTreeSet::new(),
            labels: BTreeSet::new(),
        }
    }

    /// Adds images, as long as more documents may be read.
    fn images<'e>(&mut self, entries: impl Iterator<Item = &'e CompletionEntry>) {
        for entry in entries {
            if self.read.len() >= MAX_DOCUMENTS {
                break;
            }
            if let Ok(digest) = Digest::parse(&entry.digest) {
                self.image(&digest, entry.platform.clone());
            }
        }
    }

    /// Adds an image: its platform, or those of the images that its index lists.
    fn image(&mut self, digest: &Digest, platform: Option<Platform>) {
        let mut open = vec![(digest.clone(), platform)];
        while let Some((digest, platform)) = open.pop() {
            let is_known = platform.is_some();
            if let Some(platform) = platform.filter(|platform| platform.os != "unknown") {
                self.platforms.insert(platform.to_string().into());
            }
            let Some(document) = self.document(&digest) else {
                continue;
            };
            for link in document.links {
                match link.role {
                    Role::Child => {
                        let platform = link.details.and_then(|details| details.platform);
                        open.push((link.digest, platform));
                    }
                    Role::Config => self.config(&link.digest, is_known),
                    _ => {}
                }
            }
        }
    }

    fn document(&mut self, digest: &Digest) -> Option<Document> {
        if self.read.len() >= MAX_DOCUMENTS || !self.read.insert(digest.clone()) {
            return None;
        }
        Document::scan(&self.source.document(digest)?).ok()
    }

    fn config(&mut self, digest: &Digest, has_platform: bool) {
        if self.read.len() >= MAX_DOCUMENTS || !self.read.insert(digest.clone()) {
            return;
        }
        let bytes = self.source.document(digest).unwrap_or_default();
        let Some(config) = ImageConfig::parse(&bytes) else {
            return;
        };
        let platform = config.platform.filter(|_| !has_platform);
        if let Some(platform) = platform.filter(|platform| platform.os != "unknown") {
            self.platforms.insert(platform.to_string().into());
        }
        self.labels.extend(config.labels);
    }
}

fn values(texts: BTreeSet<Box<str>>) -> Vec<CompletionCandidate> {
    let texts = texts.into_iter();
    texts
        .map(|text| CompletionCandidate::new(text, ""))
        .collect()
}

/// Returns the form in which docker shows a name of Docker Hub, if it begins with `word`.
fn short(name: &str, word: &str) -> Option<String> {
    let rest = name.strip_prefix("docker.io/")?;
    let rest = rest.strip_prefix("library/").unwrap_or(rest);
    // Most are excluded without a parser. An omitted tag is added at the end.
    if !rest.starts_with(word) && !word.starts_with(rest) {
        return None;
    }
    let name = Reference::parse_normalized(name).ok()?;
    let short = name.with_default_tag().familiar();
    short.starts_with(word).then_some(short)
}

/// Returns `true` if a word is a name, or docker reads both as the same one.
fn is_short_for(name: &str, word: &str) -> bool {
    let canonical = |text: &str| {
        let name = Reference::parse_normalized(text).ok()?;
        Some(name.with_default_tag().canonical())
    };
    let may_be = || {
        let path = word.split([':', '@']).next().unwrap_or_default();
        name.contains(path) && canonical(word).is_some_and(|word| canonical(name) == Some(word))
    };
    name == word || may_be()
}

/// Returns the algorithm and the digits, if a word is the beginning of a digest: at least three digits, or any number after
/// `sha256:`.
fn digits(word: &str) -> Option<(&str, &str)> {
    let (algorithm, digits) = match word.split_once(':') {
        Some((algorithm, digits)) => (algorithm, digits),
        None if word.len() < MIN_DIGITS => return None,
        None => ("sha256", word),
    };
    let is_name =
        !algorithm.is_empty() && algorithm.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_name && digits.bytes().all(is_hex)).then_some((algorithm, digits))
}

/// Returns a digest in the form in which `word` begins it.
fn shown(digest: &Digest, word: &str) -> String {
    if word.contains(':') {
        return digest.to_string();
    }
    let hex = digest.encoded();
    let len = digest.short().len().max(word.len());
    hex.get(..len).unwrap_or(&hex).to_owned()
}

/// Returns when a run began, and its command.
fn described(run: &TrashedRun, now: Timestamp) -> String {
    let Ok(Some(record)) = &run.record else {
        return String::new();
    };
    let when = record.started().map(|time| ago(now, time));
    let when = when.unwrap_or_default();
    let names: Vec<String> = record.names().iter().map(|name| quote(name)).collect();
    match names.as_slice() {
        _ if !record.command.is_empty() => format!("{when}: ocisweep {}", record.command),
        [] => when,
        names => format!("{when}: {}", names.join(" ")),
    }
}
