//! The contents of a layout as candidates: names, IDs, platforms, labels, holds, runs, digests.
//!
//! *Promises*: nothing is written, locked or unpacked. Only `index.json` and the files beside it are read, and as many documents
//! as [`MAX_DOCUMENTS`]. A layout that is damaged or too large has no candidates.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use ocisweep::Layout;
use ocisweep::archive::index_of_plain;
use ocisweep::layout::holds::Holds;
use ocisweep::layout::shared_blobs::SharedStore;
use ocisweep::layout::trash::{Trash, TrashedRun};
use ocisweep::oci::descriptor::Details;
use ocisweep::oci::platform::Platform;
use ocisweep::oci::reference::{Reference, digest_tag};
use ocisweep::oci::{Digest, Document, IndexDoc, Role, entry_names};
use serde::Deserialize;

use super::candidates::{Candidate, sort};
use crate::cli::quote::quote;
use crate::cli::render::time::ago;

/// The most documents that are read for platforms and labels.
const MAX_DOCUMENTS: usize = 256;

/// The largest document that is read, in bytes.
const MAX_DOCUMENT_BYTES: u64 = 8 << 20;

/// The largest JSON files beside the blobs that are read, in bytes together: some 180,000 entries.
const MAX_STATE_BYTES: u64 = 64 << 20;

/// The fewest digits by which a command finds a blob or an image.
const MIN_DIGITS: usize = 3;

/// One layout, or an archive of one.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its path.
    pub path: PathBuf,
    /// The directory of blobs that it shares with others.
    pub store: Option<PathBuf>,
}

/// An image with one of its names.
struct Named {
    text: String,
    digest: Digest,
}

/// The entries of a layout.
#[derive(Debug)]
pub struct Contents {
    source: Source,
    index: IndexDoc,
    /// Names in docker save's list.
    saved: Vec<String>,
    holds: Holds,
}

impl Source {
    /// Reads `index.json` and the files beside it. `None`: it is not a layout, damaged, or too large.
    pub fn read(&self) -> Option<Contents> {
        if std::fs::metadata(&self.path).ok()?.is_file() {
            return Some(Contents {
                source: self.clone(),
                index: index_of_plain(&self.path)?,
                saved: Vec::new(),
                holds: Holds::default(),
            });
        }
        if self.is_too_large() {
            return None;
        }
        let state = Layout::open(&self.path).ok()?.read_state().ok()?;
        let elements = state.docker_save.into_iter().flat_map(|save| save.elements);
        let saved = elements.flat_map(|element| element.repo_tags);
        Some(Contents {
            source: self.clone(),
            index: state.index,
            saved: saved.collect(),
            holds: state.holds,
        })
    }

    /// Returns `true` if the JSON files of the layout are too large to be read for an answer.
    fn is_too_large(&self) -> bool {
        let Ok(entries) = std::fs::read_dir(&self.path) else {
            return true;
        };
        let is_json = |name: &Path| {
            name.extension()
                .is_some_and(|extension| extension == "json")
        };
        let files = entries
            .flatten()
            .filter(|entry| is_json(entry.file_name().as_ref()));
        let lens = files.filter_map(|entry| Some(std::fs::metadata(entry.path()).ok()?.len()));
        lens.fold(0, u64::saturating_add) > MAX_STATE_BYTES
    }

    /// Returns the directory of its blobs.
    fn blobs(&self) -> PathBuf {
        let store = self.store.clone();
        store.unwrap_or_else(|| self.path.join("blobs"))
    }

    /// Reads a document that is not too large.
    fn document(&self, digest: &Digest) -> Option<Vec<u8>> {
        let name = digest.blob_name();
        let path = self.blobs().join(name.directory()).join(name.file());
        let found = std::fs::metadata(&path).ok()?;
        if !found.is_file() || found.len() > MAX_DOCUMENT_BYTES {
            return None;
        }
        let mut bytes = Vec::new();
        let file = File::open(path).ok()?;
        file.take(MAX_DOCUMENT_BYTES).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Returns the digests of the blobs that begin with `word`: as a whole behind `sha256:`, else their first 12 digits.
    pub fn blob_digests(&self, word: &str) -> Vec<Candidate> {
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
            found.extend(digest.map(|digest| Candidate::new(shown(&digest, word), "")));
        }
        sort(&mut found);
        found
    }

    /// Returns what `then` makes of the trash.
    fn with_trash<T>(&self, then: impl FnOnce(Trash<'_>) -> Option<T>) -> Option<T> {
        match &self.store {
            Some(store) => then(SharedStore::open(store).ok()?.trash()),
            None => then(Layout::open(&self.path).ok()?.trash()),
        }
    }

    /// Returns the runs in the trash, the newest first. `to_undo`: without those that cannot be undone.
    pub fn runs(&self, now: Timestamp, to_undo: bool) -> Vec<Candidate> {
        let runs = self
            .with_trash(|trash| trash.runs().ok())
            .unwrap_or_default();
        let runs = runs.into_iter().rev();
        let wanted = runs.filter(|run| run.can_be_undone() || !to_undo);
        wanted
            .map(|run| Candidate::new(run.name.clone(), described(&run, now)))
            .collect()
    }

    /// Returns the digests of the blobs in the trash.
    pub fn trashed_digests(&self) -> Vec<Candidate> {
        let blobs = self
            .with_trash(|trash| trash.blobs().ok())
            .unwrap_or_default();
        let digests = blobs.into_iter().map(|(digest, _)| digest.to_string());
        let mut found: Vec<Candidate> = digests.map(|text| Candidate::new(text, "")).collect();
        sort(&mut found);
        found
    }
}

impl Contents {
    fn entries(&self) -> impl Iterator<Item = (&Digest, Details)> {
        let entries = self.index.entries().iter();
        entries.filter_map(|entry| Some((entry.digest.as_ref().ok()?, self.index.details(entry))))
    }

    fn names(&self) -> impl Iterator<Item = Named> {
        self.entries().flat_map(|(digest, details)| {
            let names = entry_names(&details).into_iter();
            names.map(|name| Named {
                text: name.text.into(),
                digest: digest.clone(),
            })
        })
    }

    /// Returns the images that begin with `word`, as `rm` takes them: by name, in docker's short form as `ls` shows it or as it is
    /// written; if none has such a name, and `word` is the beginning of one, by ID.
    pub fn images(&self, word: &str) -> Vec<Candidate> {
        let wants_tags = word.starts_with("sha256-");
        let is_offered = |text: &str| {
            // Signatures are removed with their image.
            let tag = text.rsplit([':', '/']).next().unwrap_or_default();
            wants_tags || digest_tag(tag).is_none()
        };
        let names = self.names().map(|name| (name.text, name.digest.short()));
        let names: Vec<(String, String)> = names.filter(|(text, _)| is_offered(text)).collect();
        let written: HashSet<&str> = names.iter().map(|(text, _)| text.as_str()).collect();
        let mut found = Vec::new();
        for (text, id) in &names {
            // A short form that is the exact name of another image selects that image.
            let short = short(text).filter(|short| !written.contains(short.as_str()));
            let short = short.filter(|short| short.starts_with(word));
            if let Some(short) = short {
                found.push(Candidate::new(short, id));
            } else if text.starts_with(word) {
                found.push(Candidate::new(text, id));
            }
        }
        // After those of `index.json`: of equal candidates the first is kept.
        let saved = self.saved.iter().filter(|text| text.starts_with(word));
        found.extend(saved.map(|text| Candidate::new(text, "")));
        if let (true, Some((algorithm, digits))) = (found.is_empty(), digits(word)) {
            for (digest, details) in self.entries() {
                if digest.algorithm_name() == algorithm && digest.encoded().starts_with(digits) {
                    let names = entry_names(&details);
                    let name = names.first().map_or("<none>", |name| &*name.text);
                    found.push(Candidate::new(shown(digest, word), name));
                }
            }
        }
        sort(&mut found);
        found
    }

    /// Returns the names of the holds.
    pub fn holds(&self) -> Vec<Candidate> {
        let holds = self.holds.holds.iter();
        let mut found: Vec<Candidate> = holds
            .map(|hold| {
                let image = hold.image.clone().unwrap_or_else(|| hold.digest.short());
                let reason = hold.reason.as_ref().map(|reason| format!(": {reason}"));
                Candidate::new(&hold.name, image + &reason.unwrap_or_default())
            })
            .collect();
        sort(&mut found);
        found
    }

    /// Returns the media types of the entries.
    pub fn media_types(&self) -> Vec<Candidate> {
        let types = self.entries().map(|(_, details)| details.media_type);
        values(types.collect())
    }

    /// Returns the artifact types of the entries.
    pub fn artifact_types(&self) -> Vec<Candidate> {
        let types = self
            .entries()
            .filter_map(|(_, details)| details.artifact_type);
        values(types.collect())
    }

    /// Returns the platforms of these images, or of all if none of the words is one.
    pub fn platforms(&self, images: &[String]) -> Vec<Candidate> {
        let mut seen = Seen::new(&self.source);
        let mut chosen: BTreeSet<Digest> = BTreeSet::new();
        for Named { text, digest } in self.names() {
            let is_chosen = |word: &String| text == *word || is_short_for(&text, word);
            if images.iter().any(is_chosen) {
                chosen.insert(digest);
            }
        }
        for (digest, details) in self.entries() {
            let id = digest.encoded();
            let is_id = |word: &String| word.len() >= MIN_DIGITS && id.starts_with(word.as_str());
            if chosen.is_empty() || chosen.contains(digest) || images.iter().any(is_id) {
                seen.image(digest, details.platform);
            }
        }
        values(
            seen.platforms
                .into_iter()
                .map(String::into_boxed_str)
                .collect(),
        )
    }

    /// Returns the labels of the images: each as `key`, or as `key=value` once `word` has a `=`.
    pub fn labels(&self, word: &str) -> Vec<Candidate> {
        let mut seen = Seen::new(&self.source);
        for (digest, details) in self.entries() {
            seen.image(digest, details.platform);
        }
        let labels = seen.labels.into_iter();
        let texts = labels.map(|(key, value)| match word.contains('=') {
            true => format!("{key}={value}"),
            false => key,
        });
        values(texts.map(String::into_boxed_str).collect())
    }
}

/// The platforms and labels of the documents that were read.
struct Seen<'a> {
    source: &'a Source,
    read: BTreeSet<Digest>,
    platforms: BTreeSet<String>,
    labels: BTreeSet<(String, String)>,
}

/// The parts of an image configuration that are offered.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
    config: Option<Runtime>,
}

#[derive(Deserialize)]
struct Runtime {
    #[serde(rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

impl<'a> Seen<'a> {
    const fn new(source: &'a Source) -> Self {
        Self {
            source,
            read: BTreeSet::new(),
            platforms: BTreeSet::new(),
            labels: BTreeSet::new(),
        }
    }

    /// Takes an image: its platform, or those of the images that its index lists.
    fn image(&mut self, digest: &Digest, platform: Option<Platform>) {
        let mut open = vec![(digest.clone(), platform)];
        while let Some((digest, platform)) = open.pop() {
            let is_known = platform.is_some();
            if let Some(platform) = platform.filter(|platform| platform.os != "unknown") {
                self.platforms.insert(platform.to_string());
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
        let Ok(config) = serde_json::from_slice::<Config>(&bytes) else {
            return;
        };
        if !has_platform && !config.os.is_empty() && config.os != "unknown" {
            let platform = Platform {
                os: config.os,
                architecture: config.architecture,
                variant: config.variant,
                ..Platform::default()
            };
            self.platforms.insert(platform.to_string());
        }
        let labels = config.config.and_then(|config| config.labels);
        self.labels.extend(labels.unwrap_or_default());
    }
}

fn values(texts: BTreeSet<Box<str>>) -> Vec<Candidate> {
    let texts = texts.into_iter();
    texts.map(|text| Candidate::new(text, "")).collect()
}

/// Returns the form in which docker shows a name of Docker Hub.
fn short(name: &str) -> Option<String> {
    if !name.starts_with("docker.io/") {
        return None;
    }
    let name = Reference::parse_normalized(name).ok()?;
    Some(name.with_default_tag().familiar())
}

/// Returns `true` if docker reads both names as the same one.
fn is_short_for(name: &str, word: &str) -> bool {
    let canonical = |text: &str| {
        let name = Reference::parse_normalized(text).ok()?;
        Some(name.with_default_tag().canonical())
    };
    name.ends_with(word) && canonical(word).is_some_and(|word| canonical(name) == Some(word))
}

/// Returns the algorithm and the digits, if a word is the beginning of a digest: at least three digits, or any behind `sha256:`.
fn digits(word: &str) -> Option<(&str, &str)> {
    let (algorithm, digits) = match word.split_once(':') {
        Some((algorithm, digits)) => (algorithm, digits),
        None if word.len() < MIN_DIGITS => return None,
        None => ("sha256", word),
    };
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
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
