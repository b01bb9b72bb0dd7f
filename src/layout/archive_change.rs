//! Changes to an archive.

use std::collections::{BTreeMap, BTreeSet};

/// The changes to an archive since it was read.
#[derive(Debug, Default)]
pub(crate) struct ArchiveChange {
    /// The members to remove, by number.
    pub(crate) dropped: BTreeSet<u32>,
    /// The new lengths of members, by number.
    pub(crate) edited: BTreeMap<u32, u64>,
    /// New files, by path: their lengths.
    pub(crate) added: BTreeMap<Vec<u8>, u64>,
    /// The new contents of members that are not in the scratch directory, by number.
    pub(crate) texts: BTreeMap<u32, Vec<u8>>,
}

impl ArchiveChange {
    /// Replaces the content of a member.
    pub(crate) fn edit(&mut self, number: u32, text: Vec<u8>) {
        self.edited.insert(number, text.len() as u64);
        self.texts.insert(number, text);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.dropped.is_empty() && self.edited.is_empty() && self.added.is_empty()
    }
}
