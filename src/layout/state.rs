//! The state of a layout, which decides which blobs are live, and the changes to it.

use std::fs::File;
use std::io::{self, Read as _};

use super::SecondIndex;
use crate::layout::holds::Holds;
use crate::layout::replaced_ids::ReplacedId;
use crate::oci::digest::Hasher;
use crate::oci::{Algorithm, Digest, DockerSave, IndexDoc};

/// The files that decide which blobs are live, at one moment.
#[derive(Debug, Clone)]
pub struct State {
    /// `index.json`.
    pub index: IndexDoc,
    /// When `index.json` was last written, in nanoseconds since 1970.
    pub index_modified: i128,
    /// `manifest.json` of docker save, if there is one.
    pub docker_save: Option<DockerSave>,
    /// `repositories` of docker save, if there is one.
    pub repositories: Option<String>,
    /// The holds.
    pub holds: Holds,
    /// Other files that list descriptors, by name.
    pub second_indexes: Vec<SecondIndex>,
    texts: Texts,
    fingerprint: Digest,
}

/// The other files that a state depends on; `None` if they do not exist.
#[derive(Debug, Clone, Default)]
pub(super) struct Texts {
    pub(super) manifest_json: Option<Vec<u8>>,
    pub(super) repositories: Option<Vec<u8>>,
    pub(super) holds: Option<Vec<u8>>,
    /// Name and content of each second index.
    pub(super) second_indexes: Vec<(Vec<u8>, Digest)>,
}

impl Texts {
    fn fingerprint(&self, index: &str) -> Digest {
        let mut hashing = Fingerprint::default();
        for text in [
            Some(index.as_bytes()),
            self.manifest_json.as_deref(),
            self.repositories.as_deref(),
            self.holds.as_deref(),
        ] {
            hashing.text(text);
        }
        for (name, content) in &self.second_indexes {
            hashing.second_index(name, content);
        }
        hashing.finish()
    }
}

/// Computes the fingerprint of a state, file by file.
#[derive(Debug)]
pub(super) struct Fingerprint(Hasher);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(Hasher::new(Algorithm::Sha256))
    }
}

impl Fingerprint {
    /// Adds the content of a file; `None` if there is no such file.
    pub(super) fn text(&mut self, text: Option<&[u8]>) {
        // The length before each content makes different lists hash differently.
        let length = text.map_or(u64::MAX, |bytes| bytes.len() as u64);
        self.0.update(&length.to_be_bytes());
        self.0.update(text.unwrap_or_default());
    }

    /// Adds a second index.
    pub(super) fn second_index(&mut self, name: &[u8], content: &Digest) {
        self.text(Some(name));
        self.text(Some(content.to_string().as_bytes()));
    }

    /// Adds a file of the given length without keeping it in memory. Returns `false` if it has another length.
    pub(super) fn file(&mut self, file: File, len: u64) -> io::Result<bool> {
        self.0.update(&len.to_be_bytes());
        let mut file = file.take(len.saturating_add(1));
        let mut buffer = vec![0; 1 << 16];
        let mut found = 0_u64;
        loop {
            let read = match file.read(&mut buffer) {
                Ok(0) => return Ok(found == len),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.0.update(buffer.get(..read).unwrap_or_default());
            found = found.saturating_add(read as u64);
        }
    }

    pub(super) fn finish(self) -> Digest {
        self.0.finish()
    }
}

impl State {
    pub(super) fn new(
        index: IndexDoc,
        index_modified: i128,
        docker_save: Option<DockerSave>,
        repositories: Option<String>,
        holds: Holds,
        second_indexes: Vec<SecondIndex>,
        mut texts: Texts,
    ) -> Self {
        texts.second_indexes = second_indexes
            .iter()
            .map(|index| (index.name().to_owned(), index.content.clone()))
            .collect();
        Self {
            fingerprint: texts.fingerprint(index.text()),
            index,
            index_modified,
            docker_save,
            repositories,
            holds,
            second_indexes,
            texts,
        }
    }

    /// Returns a digest of the state, by which a plan detects changes.
    #[must_use]
    pub const fn fingerprint(&self) -> &Digest {
        &self.fingerprint
    }

    /// Returns a file other than `index.json` as it was read; `None` if it did not exist, or is not part of the state.
    pub(crate) fn text_of(&self, name: &str) -> Option<&[u8]> {
        match name {
            "manifest.json" => self.texts.manifest_json.as_deref(),
            "repositories" => self.texts.repositories.as_deref(),
            Holds::FILE => self.texts.holds.as_deref(),
            _ => None,
        }
    }

    /// Drops the content of `index.json`, but not its fingerprint.
    pub(crate) fn forget_index(&mut self) {
        self.index = IndexDoc::empty();
    }

    /// Returns the fingerprint of the state after these writes, without concurrent ones.
    pub(crate) fn fingerprint_after(&self, writes: &Writes) -> Digest {
        let mut texts = self.texts.clone();
        if let Some(text) = &writes.manifest_json {
            texts.manifest_json = Some(text.clone().into_bytes());
        }
        if let Some(text) = &writes.repositories {
            texts.repositories = Some(text.clone().into_bytes());
        }
        let index = writes.index.as_ref().unwrap_or(&self.index);
        texts.fingerprint(index.text())
    }
}

/// The files to write, in this order, before anything is deleted.
#[derive(Debug, Default)]
pub struct Writes {
    /// New documents, each before those that reference it.
    pub blobs: Vec<NewBlob>,
    /// docker save's `manifest.json`.
    pub manifest_json: Option<String>,
    /// docker save's `repositories`.
    pub repositories: Option<String>,
    /// The new `index.json`.
    pub index: Option<IndexDoc>,
    /// The new `index.json` lists nothing, because the user removed the last image.
    pub emptied: bool,
    /// The time that the new `index.json` gets.
    pub index_time: IndexTime,
    /// Blobs that become unreferenced, and are kept because a writer is active.
    pub released: Vec<Digest>,
    /// Platforms whose layers are deleted while their documents are kept.
    pub hollow: Vec<Digest>,
    /// Image IDs that a rewrite replaces, of images that were given by ID.
    pub replaced_ids: Vec<ReplacedId>,
}

impl Writes {
    /// Returns `true` if there is nothing to write.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.blobs.is_empty()
            && self.manifest_json.is_none()
            && self.repositories.is_none()
            && self.index.is_none()
            && self.hollow.is_empty()
            && self.released.is_empty()
    }
}

/// The time that a new `index.json` gets.
///
/// Writers write blobs first and the index last, and are recognised by blobs that are newer than the
/// index. An index written in between must not make those blobs seem old.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IndexTime {
    /// The time of the old one: newer orphans already exist.
    #[default]
    AsBefore,
    /// The time at which the blobs were listed, in nanoseconds since 1970: files written later are newer.
    At(i128),
}

/// A document to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl NewBlob {
    /// Returns a document with a digest of the given algorithm.
    #[must_use]
    pub fn new(algorithm: Algorithm, bytes: Vec<u8>) -> Self {
        Self {
            digest: Digest::of(algorithm, &bytes),
            bytes,
        }
    }
}
