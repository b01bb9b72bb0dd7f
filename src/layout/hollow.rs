//! A note of the platforms whose layers were left out on purpose.
//!
//! `rm --platform-mode hollow` deletes the layers of a platform that nothing else uses, and leaves its
//! documents. A layer that another image used as well is left, and when that image is removed later, the
//! platform looks like one that lost a layer: the documents and the files are the same in both cases.
//! The note tells them apart. *Failure*: without it, or where it cannot be read, `check` reports damage.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::layout::Layout;
use crate::oci::Digest;

/// The manifests whose layers were left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hollow {
    manifests: BTreeSet<Digest>,
}

#[derive(Serialize, Deserialize)]
struct RawFile {
    schema_version: u32,
    manifests: Vec<String>,
}

impl Hollow {
    /// The path of the note, relative to the layout.
    pub(crate) const FILE: &str = ".ocisweep/hollow.json";

    /// Reads the note of a layout. One that is not there or cannot be read names nothing.
    pub(crate) fn read(layout: &Layout) -> Self {
        layout
            .read_note(Self::FILE)
            .and_then(|bytes| Self::parse(&bytes))
            .unwrap_or_default()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let file: RawFile = serde_json::from_slice(bytes).ok()?;
        let manifests = file.manifests.iter();
        (file.schema_version == 1).then(|| Self {
            manifests: manifests
                .filter_map(|text| Digest::parse(text).ok())
                .collect(),
        })
    }

    /// Adds manifests.
    pub(crate) fn extend(&mut self, manifests: &[Digest]) {
        self.manifests.extend(manifests.iter().cloned());
    }

    /// Returns whether the layers of this manifest were left out.
    pub(crate) fn contains(&self, manifest: &Digest) -> bool {
        self.manifests.contains(manifest)
    }

    /// Returns whether it names nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.manifests.is_empty()
    }

    /// Returns the text of the note.
    pub(crate) fn to_json(&self) -> String {
        let file = RawFile {
            schema_version: 1,
            manifests: self.manifests.iter().map(ToString::to_string).collect(),
        };
        let mut text =
            serde_json::to_string_pretty(&file).expect("strings and numbers always serialise");
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes_and_takes_nothing_else_for_a_note() {
        let digest = |seed: &[u8]| Digest::of(crate::oci::Algorithm::Sha256, seed);
        let mut hollow = Hollow::default();
        hollow.extend(&[digest(b"b"), digest(b"a"), digest(b"b")]);
        let read = Hollow::parse(hollow.to_json().as_bytes());
        assert_eq!(read, Some(hollow.clone()));
        assert!(hollow.contains(&digest(b"a")) && !hollow.contains(&digest(b"c")));
        for text in ["", "{}", r#"{"schema_version":2,"manifests":[]}"#] {
            assert_eq!(Hollow::parse(text.as_bytes()), None, "{text}");
        }
    }
}
