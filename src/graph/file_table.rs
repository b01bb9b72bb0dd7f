//! A compact table of the files of blobs: there can be a million.
//!
//! Nearly all of them can be read and are on one device. The common values are stored once, and the exceptions in full.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::fs::FileStat;
use crate::layout::BlobId;

/// A blob that no root reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orphan {
    /// The blob.
    pub id: BlobId,
    /// The file; `None` if it could not be read, so that it may be a referrer of a live image. Such an orphan is kept.
    pub file: Option<FileStat>,
}

/// Blobs with their files, in the order in which they were added: 32 bytes each instead of 56.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileTable {
    rows: Vec<Row>,
    /// The device of nearly all files.
    device: Option<u64>,
    /// The files that a row cannot represent.
    others: HashMap<BlobId, Option<FileStat>>,
}

/// The values that differ between files.
#[derive(Debug, Clone, Copy)]
struct Row {
    len: u64,
    modified: i64,
    inode: u64,
    id: BlobId,
    /// 0 if the file is in `others`.
    links: u32,
}

impl FileTable {
    /// Returns an empty table with room for this number of blobs.
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

    /// Returns the number of blobs.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns the blob at a position, with its file.
    pub(crate) fn get(&self, position: usize) -> Option<(BlobId, Option<FileStat>)> {
        self.rows.get(position).map(|row| self.unpack(row))
    }

    /// Returns the blobs with their files.
    pub(crate) fn iter(
        &self,
    ) -> impl ExactSizeIterator<Item = (BlobId, Option<FileStat>)> + Clone + use<'_> {
        self.rows.iter().map(|row| self.unpack(row))
    }

    /// Removes the blobs for which `wanted` returns `false`.
    pub(crate) fn retain(&mut self, mut wanted: impl FnMut(BlobId, Option<FileStat>) -> bool) {
        let mut rows = std::mem::take(&mut self.rows);
        rows.retain(|row| {
            let (id, file) = self.unpack(row);
            let is_kept = wanted(id, file);
            if !is_kept && row.links == 0 {
                self.others.remove(&id);
            }
            is_kept
        });
        self.rows = rows;
    }

    /// Sorts the blobs by this order of their numbers, which must differ for different blobs.
    pub(crate) fn sort_by(&mut self, mut compare: impl FnMut(BlobId, BlobId) -> Ordering) {
        self.rows.sort_unstable_by(|a, b| compare(a.id, b.id));
    }

    fn unpack(&self, row: &Row) -> (BlobId, Option<FileStat>) {
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
    fn files_are_stored_and_removed_exactly() {
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
        assert_eq!(table.others.len(), 1, "a removed file is still stored");
        table.sort_by(|a, b| b.cmp(&a));
        let reversed: Vec<_> = left.into_iter().rev().collect();
        assert_eq!(table.iter().collect::<Vec<_>>(), reversed);
    }
}
