//! A record of the image IDs that a rewrite replaced.
//!
//! `rm --platform` writes a new index, and its digest is the new image ID. If only the old ID is known, from `ls -q` or an
//! earlier run, the error names the new one. *Failure*: without the record, or if it cannot be read, the old ID is unknown.

use serde::{Deserialize, Serialize};

use super::note::{self, SchemaVersion};
use crate::layout::Layout;
use crate::oci::Digest;

/// The number of replacements that are kept, the latest ones.
const MAX_REPLACED: usize = 256;

/// Image IDs that were replaced, the latest last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MovedIds {
    schema_version: SchemaVersion,
    #[serde(rename = "moved")]
    replaced: Vec<ReplacedId>,
}

/// An image ID and the one that replaced it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedId {
    /// The image ID before.
    pub from: Digest,
    /// The image ID after.
    pub to: Digest,
}

impl MovedIds {
    /// The path of the record, relative to the layout.
    pub(crate) const FILE: &str = ".ocisweep/moved.json";

    /// Reads the record of a layout. A missing or unreadable one is empty.
    pub(crate) fn read(layout: &Layout) -> Self {
        note::read(layout, Self::FILE)
    }

    /// Adds replacements, and drops the oldest beyond the limit.
    pub(crate) fn extend(&mut self, new: &[ReplacedId]) {
        self.replaced
            .retain(|known| !new.iter().any(|new| new.from == known.from));
        self.replaced.extend(new.iter().cloned());
        let surplus = self.replaced.len().saturating_sub(MAX_REPLACED);
        self.replaced.drain(..surplus);
    }

    /// Returns the current IDs of the images whose old IDs pass `is_meant`, after any number of rewrites, each once.
    pub(crate) fn latest(&self, is_meant: impl Fn(&Digest) -> bool) -> Vec<Digest> {
        let mut found: Vec<Digest> = Vec::new();
        let first = self
            .replaced
            .iter()
            .filter(|replaced| is_meant(&replaced.from));
        for replaced in first {
            let mut latest = &replaced.to;
            // An image whose dropped platform is restored closes a cycle.
            for _ in 0..self.replaced.len() {
                let mut later = self.replaced.iter();
                match later.find(|replaced| replaced.from == *latest) {
                    Some(later) => latest = &later.to,
                    None => break,
                }
            }
            if !found.contains(latest) {
                found.push(latest.clone());
            }
        }
        found
    }

    /// Returns the text of the record.
    pub(crate) fn to_json(&self) -> String {
        note::to_json(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(seed: usize) -> Digest {
        Digest::of(crate::oci::Algorithm::Sha256, seed.to_string().as_bytes())
    }

    fn replaced(from: usize, to: usize) -> ReplacedId {
        ReplacedId {
            from: digest(from),
            to: digest(to),
        }
    }

    #[test]
    fn reads_its_own_text_and_nothing_else() {
        let mut moved = MovedIds::default();
        moved.extend(&[replaced(1, 2), replaced(3, 4)]);
        let parse = |text: &str| serde_json::from_str::<MovedIds>(text).ok();
        assert_eq!(parse(&moved.to_json()), Some(moved));
        for text in ["", "{}", r#"{"schema_version":2,"moved":[]}"#] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn follows_several_rewrites_and_stops_in_a_cycle() {
        let mut moved = MovedIds::default();
        moved.extend(&[replaced(1, 2)]);
        moved.extend(&[replaced(2, 3)]);
        let latest = |moved: &MovedIds, id| moved.latest(|from| *from == digest(id));
        assert_eq!(latest(&moved, 1), [digest(3)]);
        assert_eq!(latest(&moved, 2), [digest(3)]);
        assert_eq!(latest(&moved, 3), []);
        moved.extend(&[replaced(3, 1)]);
        assert_eq!(latest(&moved, 1).len(), 1);
    }

    #[test]
    fn keeps_only_the_latest() {
        let mut moved = MovedIds::default();
        for number in 0..MAX_REPLACED + 10 {
            moved.extend(&[replaced(number, number + 100_000)]);
        }
        assert_eq!(moved.replaced.len(), MAX_REPLACED);
        assert_eq!(moved.replaced.first(), Some(&replaced(10, 100_010)));
    }
}
