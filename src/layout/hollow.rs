//! A record of the platforms whose layers were intentionally deleted.
//!
//! `rm --platform-mode hollow` deletes the layers of a platform that nothing else uses, and keeps its documents. A layer
//! that another image uses as well is kept, and when that image is removed later, the platform looks like one that lost a
//! layer: the documents and the files are the same in both cases. The record distinguishes them. *Failure*: without it, or
//! if it cannot be read, `check` reports damage.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::note::{self, SchemaVersion};
use crate::layout::Layout;
use crate::oci::Digest;

/// The manifests whose layers were deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hollow {
    schema_version: SchemaVersion,
    manifests: BTreeSet<Digest>,
}

impl Hollow {
    /// The path of the record, relative to the layout.
    pub(crate) const FILE: &str = ".ocisweep/hollow.json";

    /// Reads the record of a layout. A missing or unreadable one is empty.
    pub(crate) fn read(layout: &Layout) -> Self {
        note::read(layout, Self::FILE)
    }

    /// Adds manifests.
    pub(crate) fn extend(&mut self, manifests: &[Digest]) {
        self.manifests.extend(manifests.iter().cloned());
    }

    /// Returns `true` if the layers of this manifest were deleted.
    pub(crate) fn contains(&self, manifest: &Digest) -> bool {
        self.manifests.contains(manifest)
    }

    /// Returns `true` if it is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.manifests.is_empty()
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
        let mut hollow = Hollow::default();
        hollow.extend(&[digest(b"b"), digest(b"a"), digest(b"b")]);
        let parse = |text: &str| serde_json::from_str::<Hollow>(text).ok();
        assert_eq!(parse(&hollow.to_json()), Some(hollow.clone()));
        assert!(hollow.contains(&digest(b"a")) && !hollow.contains(&digest(b"c")));
        for text in ["", "{}", r#"{"schema_version":2,"manifests":[]}"#] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
