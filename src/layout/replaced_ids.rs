//! A note of the image IDs that a rewrite replaced.
//!
//! `rm --platform` writes a new index, and its digest is the new image ID. A script that has only the old ID, from
//! `ls -q` or an earlier run, is told what the image is now. *Failure*: without the note, or where it cannot be read,
//! the old ID is only unknown.

use serde::{Deserialize, Serialize};

use crate::layout::Layout;
use crate::oci::Digest;

/// The number of replacements that are kept, the latest ones.
const MAX_REPLACED: usize = 256;

/// Image IDs that were replaced, the latest last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MovedIds {
    replaced: Vec<ReplacedId>,
}

/// An image ID and the one that took its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplacedId {
    /// The image ID before.
    pub from: Digest,
    /// The image ID after.
    pub to: Digest,
}

#[derive(Serialize, Deserialize)]
struct RawFile {
    schema_version: u32,
    moved: Vec<RawReplaced>,
}

#[derive(Serialize, Deserialize)]
struct RawReplaced {
    from: String,
    to: String,
}

impl MovedIds {
    /// The path of the note, relative to the layout.
    pub(crate) const FILE: &str = ".ocisweep/moved.json";

    /// Reads the note of a layout. One that does not exist or cannot be read names nothing.
    pub(crate) fn read(layout: &Layout) -> Self {
        layout
            .read_note(Self::FILE)
            .and_then(|bytes| Self::parse(&bytes))
            .unwrap_or_default()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let file: RawFile = serde_json::from_slice(bytes).ok()?;
        let replaced = file.moved.iter().filter_map(|raw| {
            let from = Digest::parse(&raw.from).ok()?;
            let to = Digest::parse(&raw.to).ok()?;
            Some(ReplacedId { from, to })
        });
        (file.schema_version == 1).then(|| Self {
            replaced: replaced.collect(),
        })
    }

    /// Adds replacements, and drops the oldest beyond the limit.
    pub(crate) fn extend(&mut self, new: &[ReplacedId]) {
        self.replaced
            .retain(|known| !new.iter().any(|new| new.from == known.from));
        self.replaced.extend(new.iter().cloned());
        let surplus = self.replaced.len().saturating_sub(MAX_REPLACED);
        self.replaced.drain(..surplus);
    }

    /// Returns what the images whose old IDs pass `is_meant` are now, over any number of rewrites, each once.
    pub(crate) fn latest(&self, is_meant: impl Fn(&Digest) -> bool) -> Vec<Digest> {
        let mut found: Vec<Digest> = Vec::new();
        let first = self
            .replaced
            .iter()
            .filter(|replaced| is_meant(&replaced.from));
        for replaced in first {
            let mut latest = &replaced.to;
            // An image that gets back what it had closes a cycle.
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

    /// Returns the text of the note.
    pub(crate) fn to_json(&self) -> String {
        let file = RawFile {
            schema_version: 1,
            moved: self
                .replaced
                .iter()
                .map(|replaced| RawReplaced {
                    from: replaced.from.to_string(),
                    to: replaced.to.to_string(),
                })
                .collect(),
        };
        let mut text = serde_json::to_string_pretty(&file).expect("strings always serialise");
        text.push('\n');
        text
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
    fn reads_back_what_it_writes_and_takes_nothing_else_for_a_note() {
        let mut moved = MovedIds::default();
        moved.extend(&[replaced(1, 2), replaced(3, 4)]);
        assert_eq!(MovedIds::parse(moved.to_json().as_bytes()), Some(moved));
        for text in ["", "{}", r#"{"schema_version":2,"moved":[]}"#] {
            assert_eq!(MovedIds::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn follows_several_rewrites_and_ends_in_a_cycle() {
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
    fn keeps_the_latest_ones_only() {
        let mut moved = MovedIds::default();
        for number in 0..MAX_REPLACED + 10 {
            moved.extend(&[replaced(number, number + 100_000)]);
        }
        assert_eq!(moved.replaced.len(), MAX_REPLACED);
        assert_eq!(moved.replaced.first(), Some(&replaced(10, 100_010)));
    }
}
