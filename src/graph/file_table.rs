//! What is known of many files, in little memory: there can be a million.
//!
//! Nearly all of them can be looked into and lie on one device. What is the same everywhere is kept once, and
//! the others as they are.

use std::collections::HashMap;

use crate::fs::FileStat;
use crate::layout::BlobId;

/// A blob that no root reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orphan {
    /// The blob.
    pub id: BlobId,
    /// The file; `None` when it could not be looked into, so that nobody knows whether it is a
    /// referrer of something live. Such an orphan stays.
    pub file: Option<FileStat>,
}

/// Blobs with their files, in the order in which they were added: 32 bytes each instead of 56.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileTable {
    rows: Vec<Row>,
    /// The device of nearly all of them.
    device: Option<u64>,
    /// Those that a row cannot tell.
    others: HashMap<BlobId, Option<FileStat>>,
}

/// What differs from one file to the next.
#[derive(Debug, Clone, Copy)]
struct Row {
    len: u64,
    modified: i64,
    inode: u64,
    id: BlobId,
    /// 0: the file is among the others.
    links: u32,
}

impl FileTable {
    /// Returns an empty table with room for so many blobs.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            rows: Vec::with_capacity(capacity),
            ..Self::default()
        }
    }

    /// Adds a blob that is not in the table yet.
    pub(crate) fn push(&mut self, id: BlobId, file: Option<FileStat>) {
        let mut row = Row {
            len: 0,
            modified: 0,
            inode: 0,
            id,
            links: 0,
        };
        match file {
            Some(file)
                if file.links > 0 && *self.device.get_or_insert(file.device) == file.device =>
            {
                row.len = file.len;
                row.modified = file.modified;
                row.inode = file.inode;
                row.links = file.links;
            }
            other => drop(self.others.insert(id, other)),
        }
        self.rows.push(row);
    }

    /// Returns how many blobs there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns the blob at a position, with its file.
    pub(crate) fn get(&self, position: usize) -> Option<(BlobId, Option<FileStat>)> {
        self.rows.get(position).map(|row| self.told(row))
    }

    /// Returns the blobs with their files.
    pub(crate) fn iter(
        &self,
    ) -> impl ExactSizeIterator<Item = (BlobId, Option<FileStat>)> + Clone + use<'_> {
        self.rows.iter().map(|row| self.told(row))
    }

    /// Takes those out that are not wanted.
    pub(crate) fn retain(&mut self, mut wanted: impl FnMut(BlobId, Option<FileStat>) -> bool) {
        let mut rows = std::mem::take(&mut self.rows);
        rows.retain(|row| {
            let (id, file) = self.told(row);
            let stays = wanted(id, file);
            if !stays && row.links == 0 {
                self.others.remove(&id);
            }
            stays
        });
        self.rows = rows;
    }

    fn told(&self, row: &Row) -> (BlobId, Option<FileStat>) {
        let file = if row.links == 0 {
            self.others.get(&row.id).copied().flatten()
        } else {
            Some(FileStat {
                len: row.len,
                modified: row.modified,
                device: self.device.unwrap_or_default(),
                inode: row.inode,
                links: row.links,
            })
        };
        (row.id, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_put_in() {
        let file = |device, links| FileStat {
            len: 5,
            modified: -7,
            device,
            inode: 9,
            links,
        };
        let blobs: Vec<(BlobId, Option<FileStat>)> = (3..)
            .zip([
                Some(file(1, 2)),
                Some(file(1, 1)),
                None,
                Some(file(2, 1)),
                Some(file(1, 0)),
                Some(file(1, 1)),
                Some(file(3, 1)),
            ])
            .collect();
        let mut table = FileTable::with_capacity(blobs.len());
        for (id, file) in &blobs {
            table.push(*id, *file);
        }
        assert_eq!(table.len(), blobs.len());
        assert_eq!(table.iter().collect::<Vec<_>>(), blobs);
        for (position, blob) in blobs.iter().enumerate() {
            assert_eq!(table.get(position), Some(*blob));
        }
        assert_eq!(table.get(blobs.len()), None);
        let mut seen = Vec::new();
        table.retain(|id, file| {
            seen.push((id, file));
            id % 2 == 0
        });
        assert_eq!(seen, blobs);
        let left: Vec<_> = blobs.into_iter().filter(|(id, _)| id % 2 == 0).collect();
        assert_eq!(table.iter().collect::<Vec<_>>(), left);
        assert_eq!(table.others.len(), 1, "what went is forgotten");
    }
}
