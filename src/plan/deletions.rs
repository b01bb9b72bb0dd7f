//! The blobs to delete, stored compactly.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::fs::FileStat;
use crate::graph::{BlobSet, FileTable, FileTables};
use crate::layout::BlobId;

/// A blob to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// The blob.
    pub id: BlobId,
    /// The file at the time of the decision; another file of that name is kept.
    pub file: FileStat,
}

/// Blobs to delete, in order, each once: 4 bytes per blob beside the record of its file, which several lists share.
#[derive(Debug, Default)]
pub struct Deletions {
    files: FileTables,
    /// Each of these has a file.
    ids: Vec<BlobId>,
}

impl Deletions {
    /// Chooses among blobs whose files are known. One whose file could not be inspected is not deleted.
    pub(super) fn among(files: FileTables, ids: impl IntoIterator<Item = BlobId>) -> Self {
        let known = ids.into_iter().filter(|id| files.get(*id).is_some());
        let mut ids: Vec<BlobId> = known.collect();
        if ids.is_empty() {
            // No blob needs the files any more.
            return Self::default();
        }
        ids.shrink_to_fit();
        Self { files, ids }
    }

    /// Collects blobs by ascending number. Not `FromIterator`: only this crate creates a list of deletions.
    ///
    /// # Panics
    /// If the numbers do not ascend.
    pub(crate) fn of(deletions: impl IntoIterator<Item = Deletion>) -> Self {
        let deletions = deletions.into_iter();
        let mut files = FileTable::with_capacity(deletions.size_hint().0);
        let mut ids = Vec::with_capacity(deletions.size_hint().0);
        for Deletion { id, file } in deletions {
            files.push(id, Some(file));
            ids.push(id);
        }
        Self {
            files: FileTables::new(Arc::default(), Arc::new(files)),
            ids,
        }
    }

    /// Returns the given blobs, in this order.
    pub(super) fn in_order(&self, ids: Vec<BlobId>) -> Self {
        Self::among(self.files.clone(), ids)
    }

    /// Returns the wanted blobs.
    pub(super) fn subset(&self, mut is_wanted: impl FnMut(BlobId) -> bool) -> Self {
        let wanted = self.ids.iter().copied().filter(|id| is_wanted(*id));
        Self::among(self.files.clone(), wanted)
    }

    /// Returns the number of blobs.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns `true` if there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the blob at a position.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<Deletion> {
        self.find(*self.ids.get(position)?)
    }

    /// Returns the deletion of one of these blobs.
    pub(super) fn find(&self, id: BlobId) -> Option<Deletion> {
        let file = self.files.get(id)?;
        Some(Deletion { id, file })
    }

    /// Returns the numbers of the blobs in their order.
    #[must_use]
    pub fn ids(&self) -> &[BlobId] {
        &self.ids
    }

    /// Returns the same numbers as a set.
    pub(crate) fn set(&self) -> BlobSet {
        self.ids.iter().copied().collect()
    }

    /// Returns the blobs in their order.
    pub fn iter(&self) -> impl Iterator<Item = Deletion> + Clone + use<'_> {
        // Each has a file.
        self.ids.iter().filter_map(|id| self.find(*id))
    }

    /// Returns at most `most` blobs, from a position on.
    #[must_use]
    pub(crate) fn batch(&self, from: usize, most: usize) -> Vec<Deletion> {
        (from..self.len())
            .take(most)
            .filter_map(|position| self.get(position))
            .collect()
    }

    /// Sorts the blobs by this order of their numbers, which must differ for different blobs.
    pub(super) fn sort_by(&mut self, mut compare: impl FnMut(BlobId, BlobId) -> Ordering) {
        self.ids.sort_unstable_by(|a, b| compare(*a, *b));
    }

    /// Keeps only the wanted blobs.
    pub(crate) fn retain(&mut self, mut is_wanted: impl FnMut(BlobId) -> bool) {
        self.ids.retain(|id| is_wanted(*id));
        if self.ids.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deletion(id: BlobId) -> Deletion {
        Deletion {
            id,
            file: crate::plan::tests::file(1, u64::from(id), 1),
        }
    }

    #[test]
    fn keeps_order_and_content() {
        let mut list = Deletions::of([3, 5, 7].map(deletion));
        list.sort_by(|a, b| (a % 7).cmp(&(b % 7)));
        assert_eq!(list.len(), 3);
        assert!(!list.is_empty());
        assert_eq!(list.ids(), [7, 3, 5]);
        assert_eq!(list.iter().collect::<Vec<_>>(), [7, 3, 5].map(deletion));
        assert_eq!(list.get(1), Some(deletion(3)));
        assert_eq!(list.get(3), None);
        assert_eq!(list.batch(0, 2), [7, 3].map(deletion));
        assert_eq!(list.batch(2, 2), [deletion(5)]);
        assert_eq!(list.batch(3, 2), []);
        let subset = list.subset(|id| id > 3);
        assert_eq!(subset.iter().collect::<Vec<_>>(), [7, 5].map(deletion));
        list.retain(|id| id != 3);
        assert_eq!(list.iter().collect::<Vec<_>>(), [7, 5].map(deletion));
        list.retain(|_| false);
        assert!(list.is_empty() && Deletions::default().is_empty());
        assert!(subset.subset(|_| false).is_empty());
    }

    #[test]
    fn lists_of_the_same_blobs_share_the_records_of_their_files() {
        let files = FileTables::new(Arc::default(), Arc::default());
        assert_eq!(files.shared_by(), 2, "this list and nothing else");
        let list = Deletions::of([3, 5, 7].map(deletion));
        let spare = list.subset(|id| id > 3);
        let ordered = list.in_order(vec![7, 3]);
        assert_eq!(list.files.shared_by(), 6, "three lists of two tables");
        drop((spare, ordered));
        // A list without blobs holds no records.
        let empty = list.subset(|_| false);
        assert_eq!(list.files.shared_by(), 2);
        drop(empty);
    }

    #[test]
    fn an_uninspected_file_is_not_deleted() {
        let mut files = FileTable::default();
        files.push(1, None);
        files.push(2, Some(deletion(2).file));
        let files = FileTables::new(Arc::new(files), Arc::default());
        let list = Deletions::among(files, 0..4);
        assert_eq!(list.iter().collect::<Vec<_>>(), [deletion(2)]);
        assert_eq!(list.len(), 1);
    }
}
