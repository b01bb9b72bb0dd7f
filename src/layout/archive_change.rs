//! How an archive is to differ from what was read of it.

use std::collections::{BTreeMap, BTreeSet};

/// How an archive is to differ from what was read.
#[derive(Debug, Default)]
pub(crate) struct ArchiveChange {
    /// The members that are left out, by number.
    pub(crate) dropped: BTreeSet<u32>,
    /// The new lengths of members, by number.
    pub(crate) edited: BTreeMap<u32, u64>,
    /// New files, by path: their lengths.
    pub(crate) added: BTreeMap<Vec<u8>, u64>,
    /// The new contents of members that are not in the scratch directory, by number.
    pub(crate) texts: BTreeMap<u32, Vec<u8>>,
}

impl ArchiveChange {
    /// Gives a member another content.
    pub(crate) fn edit(&mut self, number: u32, text: Vec<u8>) {
        self.edited.insert(number, text.len() as u64);
        self.texts.insert(number, text);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.dropped.is_empty() && self.edited.is_empty() && self.added.is_empty()
    }
}
