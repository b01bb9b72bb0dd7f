//! What is to be deleted, in little memory.

use crate::fs::FileStat;
use crate::graph::FileTable;
use crate::layout::BlobId;

/// A blob to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// The blob.
    pub id: BlobId,
    /// The file as it was when the decision was made; another file of that name stays.
    pub file: FileStat,
}

/// Blobs to delete, in the order in which they go: 32 bytes each. A blob is in it once.
#[derive(Debug, Default)]
pub struct Deletions(FileTable);

impl Deletions {
    /// Returns an empty list.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Chooses among files, and keeps their table. What could not be looked into is no victim, whatever is chosen.
    pub(super) fn among(
        mut files: FileTable,
        mut goes: impl FnMut(BlobId, Option<FileStat>) -> bool,
    ) -> Self {
        files.retain(|id, file| goes(id, file) && file.is_some());
        Self(files)
    }

    /// Adds a blob at the end.
    pub(crate) fn push(&mut self, victim: Deletion) {
        self.0.push(victim.id, Some(victim.file));
    }

    /// Returns how many blobs go.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns `true` if none goes.
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
        // Every one of them has a file.
        self.0
            .iter()
            .filter_map(|(id, file)| Some(Deletion { id, file: file? }))
    }

    /// Returns the blobs from a position on, at most N.
    #[must_use]
    pub fn batch(&self, from: usize, most: usize) -> Vec<Deletion> {
        (from..self.len())
            .take(most)
            .filter_map(|position| self.get(position))
            .collect()
    }

    /// Takes those out that are not wanted.
    pub(crate) fn retain(&mut self, mut wanted: impl FnMut(&Deletion) -> bool) {
        self.0
            .retain(|id, file| file.is_some_and(|file| wanted(&Deletion { id, file })));
    }
}

impl Deletions {
    /// Collects blobs in their order. No trait does it: a list of what is deleted is made in this crate only.
    pub(crate) fn of(victims: impl IntoIterator<Item = Deletion>) -> Self {
        let victims = victims.into_iter();
        let mut list = Self(FileTable::with_capacity(victims.size_hint().0));
        for victim in victims {
            list.push(victim);
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn victim(id: BlobId) -> Deletion {
        Deletion {
            id,
            file: FileStat {
                len: u64::from(id),
                modified: 1,
                device: 1,
                inode: 1,
                links: 1,
            },
        }
    }

    #[test]
    fn keeps_the_order_and_what_was_put_in() {
        let mut list = Deletions::of([7, 3, 5].map(victim));
        assert_eq!(list.len(), 3);
        assert!(!list.is_empty());
        assert_eq!(list.iter().collect::<Vec<_>>(), [7, 3, 5].map(victim));
        assert_eq!(list.get(1), Some(victim(3)));
        assert_eq!(list.get(3), None);
        assert_eq!(list.batch(0, 2), [7, 3].map(victim));
        assert_eq!(list.batch(2, 2), [victim(5)]);
        assert_eq!(list.batch(3, 2), []);
        list.retain(|victim| victim.id != 3);
        list.push(victim(1));
        assert_eq!(list.iter().collect::<Vec<_>>(), [7, 5, 1].map(victim));
        assert!(Deletions::new().is_empty());
    }

    #[test]
    fn what_could_not_be_looked_into_is_no_victim() {
        let mut files = FileTable::default();
        files.push(1, None);
        files.push(2, Some(victim(2).file));
        let list = Deletions::among(files, |_, _| true);
        assert_eq!(list.iter().collect::<Vec<_>>(), [victim(2)]);
        assert_eq!(list.len(), 1);
    }
}
