//! The blobs to delete, stored compactly.

use std::cmp::Ordering;

use crate::fs::FileStat;
use crate::graph::FileTable;
use crate::layout::BlobId;

/// A blob to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// The blob.
    pub id: BlobId,
    /// The file at the time of the decision; another file of that name is kept.
    pub file: FileStat,
}

/// Blobs to delete, in order, each once: 32 bytes per blob.
#[derive(Debug, Default)]
pub struct Deletions(FileTable);

impl Deletions {
    /// Chooses among files, and keeps their table. A file that could not be inspected is not deleted.
    pub(super) fn among(
        mut files: FileTable,
        mut is_wanted: impl FnMut(BlobId, Option<FileStat>) -> bool,
    ) -> Self {
        files.retain(|id, file| is_wanted(id, file) && file.is_some());
        Self(files)
    }

    /// Collects blobs in their order. Not `FromIterator`: only this crate makes a list of what is deleted.
    pub(crate) fn of(deletions: impl IntoIterator<Item = Deletion>) -> Self {
        let deletions = deletions.into_iter();
        let mut list = Self(FileTable::with_capacity(deletions.size_hint().0));
        for deletion in deletions {
            list.push(deletion);
        }
        list
    }

    /// Adds a blob at the end.
    pub(crate) fn push(&mut self, deletion: Deletion) {
        self.0.push(deletion.id, Some(deletion.file));
    }

    /// Returns the number of blobs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns `true` if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the blob at a position.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<Deletion> {
        let (id, file) = self.0.get(position)?;
        Some(Deletion { id, file: file? })
    }

    /// Returns the blobs in their order.
    pub fn iter(&self) -> impl Iterator<Item = Deletion> + Clone + use<'_> {
        // Each has a file.
        self.0
            .iter()
            .filter_map(|(id, file)| Some(Deletion { id, file: file? }))
    }

    /// Returns at most `most` blobs, from a position on.
    #[must_use]
    pub fn batch(&self, from: usize, most: usize) -> Vec<Deletion> {
        (from..self.len())
            .take(most)
            .filter_map(|position| self.get(position))
            .collect()
    }

    /// Sorts the blobs by this order of their numbers, which must differ for different blobs.
    pub(super) fn sort_by(&mut self, compare: impl FnMut(BlobId, BlobId) -> Ordering) {
        self.0.sort_by(compare);
    }

    /// Keeps only the blobs that are wanted.
    pub(crate) fn retain(&mut self, mut is_wanted: impl FnMut(&Deletion) -> bool) {
        self.0
            .retain(|id, file| file.is_some_and(|file| is_wanted(&Deletion { id, file })));
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
        let mut list = Deletions::of([7, 3, 5].map(deletion));
        assert_eq!(list.len(), 3);
        assert!(!list.is_empty());
        assert_eq!(list.iter().collect::<Vec<_>>(), [7, 3, 5].map(deletion));
        assert_eq!(list.get(1), Some(deletion(3)));
        assert_eq!(list.get(3), None);
        assert_eq!(list.batch(0, 2), [7, 3].map(deletion));
        assert_eq!(list.batch(2, 2), [deletion(5)]);
        assert_eq!(list.batch(3, 2), []);
        list.retain(|deletion| deletion.id != 3);
        list.push(deletion(1));
        assert_eq!(list.iter().collect::<Vec<_>>(), [7, 5, 1].map(deletion));
        assert!(Deletions::default().is_empty());
    }

    #[test]
    fn an_uninspected_file_is_not_deleted() {
        let mut files = FileTable::default();
        files.push(1, None);
        files.push(2, Some(deletion(2).file));
        let list = Deletions::among(files, |_, _| true);
        assert_eq!(list.iter().collect::<Vec<_>>(), [deletion(2)]);
        assert_eq!(list.len(), 1);
    }
}
