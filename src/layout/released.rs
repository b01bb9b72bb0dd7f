//! A record of the blobs that were released and kept while a writer was active.
//!
//! Many writers read `index.json` at their start and write it at their end, and do not write a blob again that exists. Blobs
//! that `rm`, `prune` and `apply` release while a writer is visible are kept, because the writer may list them again. To a
//! second sweep such a blob is an orphan like any other, and old by its modification time. The record distinguishes it:
//! while a writer is visible, every sweep keeps the recorded blobs and what they reference.
//!
//! *Order*: the record is written before `index.json`. A crash in between leaves a record of live blobs, which is harmless:
//! the next run that deletes something drops them from it. *Failure*: if the record cannot be read or parsed, every sweep is
//! refused while a writer is active, since it is unknown what must be kept.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::note::{self, SchemaVersion};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::oci::Digest;

/// The blobs that were released while a writer was active.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Released {
    schema_version: SchemaVersion,
    blobs: BTreeSet<Digest>,
}

/// The records of all layouts that use the same blobs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Noted {
    /// The blobs.
    pub(crate) released: Released,
    /// The path of a record that cannot be read, and why.
    pub(crate) unknown: Option<(PathBuf, String)>,
}

impl Noted {
    /// Reads the records of some layouts.
    pub(crate) fn read<'a>(layouts: impl IntoIterator<Item = &'a Layout>) -> Self {
        let mut noted = Self::default();
        for layout in layouts {
            match Released::read(layout) {
                Ok((released, _)) => {
                    noted.released.extend(released.iter());
                }
                Err(error) => {
                    let why = match &error {
                        Error::ReleasedNote { why, .. } => why.clone(),
                        other => other.source().unwrap_or(other).to_string(),
                    };
                    noted.unknown = Some((layout.path().join(Released::FILE), why));
                }
            }
        }
        noted
    }
}

impl Released {
    /// The path of the record, relative to the layout.
    pub(crate) const FILE: &str = ".ocisweep/released.json";

    /// Reads the record of a layout, and returns its bytes as well. A missing one is empty.
    ///
    /// # Errors
    /// [`Error::Read`], and [`Error::ReleasedNote`] if it cannot be parsed completely.
    pub(crate) fn read(layout: &Layout) -> Result<(Self, Option<Vec<u8>>)> {
        let note = |why| Error::ReleasedNote {
            path: layout.path().join(Self::FILE),
            why,
        };
        let bytes = match layout.read_own_file(Self::FILE) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok((Self::default(), None)),
            Err(Error::Malformed { why, .. }) => return Err(note(why)),
            Err(error) => return Err(error),
        };
        let parsed = Self::parse(&bytes).map_err(note)?;
        Ok((parsed, Some(bytes)))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes)
            .map_err(|error| format!("not a record of released blobs: {error}"))
    }

    /// Returns the digests in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Digest> {
        self.blobs.iter()
    }

    /// Returns `true` if it is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Adds blobs. Returns `true` if any of them is new.
    pub(crate) fn extend<'a>(&mut self, blobs: impl IntoIterator<Item = &'a Digest>) -> bool {
        let before = self.blobs.len();
        self.blobs.extend(blobs.into_iter().cloned());
        self.blobs.len() > before
    }

    /// Keeps only some of the blobs. Returns `true` if any was dropped.
    pub(crate) fn retain(&mut self, is_wanted: impl FnMut(&Digest) -> bool) -> bool {
        let before = self.blobs.len();
        self.blobs.retain(is_wanted);
        self.blobs.len() < before
    }

    /// Returns the text of the record.
    pub(crate) fn to_json(&self) -> String {
        note::to_json(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_text_and_nothing_else() {
        let digest = |seed: &[u8]| Digest::of(crate::oci::Algorithm::Sha256, seed);
        let mut released = Released::default();
        assert!(released.extend(&[digest(b"b"), digest(b"a"), digest(b"b")]));
        assert!(!released.extend(&[digest(b"a")]));
        let read = Released::parse(released.to_json().as_bytes());
        assert_eq!(read, Ok(released.clone()));
        assert!(released.retain(|blob| *blob == digest(b"a")));
        assert_eq!(released.iter().collect::<Vec<_>>(), [&digest(b"a")]);
        for text in [
            "",
            "{}",
            r#"{"schema_version":2,"blobs":[]}"#,
            r#"{"schema_version":1,"blobs":["sha256:../../x"]}"#,
        ] {
            assert!(Released::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
