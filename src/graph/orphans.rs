//! What is known of orphans, in little memory: there can be a million.
//!
//! Nearly all of them are files with one name on the device that all others lie on. What is the same
//! everywhere is kept once, and the others as they are.

use std::collections::HashMap;

use super::FileFacts;
use crate::layout::BlobId;

/// A blob that no root leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orphan {
    /// The blob.
    pub id: BlobId,
    /// The file; `None` when it could not be looked into, so that nobody knows whether it is a
    /// referrer of something live. Such an orphan stays.
    pub file: Option<FileFacts>,
}

/// Orphans in the order in which they were added: 28 bytes each instead of 56.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    ids: Vec<BlobId>,
    rows: Vec<Row>,
    /// The device of nearly all of them.
    device: Option<u64>,
    /// Those that a row cannot tell.
    others: HashMap<BlobId, Option<FileFacts>>,
}

/// What differs from one file with a single name to the next.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    len: u64,
    modified: i64,
    inode: u64,
}

impl Orphans {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            ids: Vec::with_capacity(capacity),
            rows: Vec::with_capacity(capacity),
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, orphan: Orphan) {
        let mut row = Row::default();
        match orphan.file {
            Some(file)
                if file.links == 1 && *self.device.get_or_insert(file.device) == file.device =>
            {
                row = Row {
                    len: file.len,
                    modified: file.modified,
                    inode: file.inode,
                };
            }
            other => drop(self.others.insert(orphan.id, other)),
        }
        self.ids.push(orphan.id);
        self.rows.push(row);
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = Orphan> {
        self.ids.iter().zip(&self.rows).map(|(&id, row)| {
            let other = if self.others.is_empty() {
                None
            } else {
                self.others.get(&id).copied()
            };
            let file = other.unwrap_or_else(|| {
                Some(FileFacts {
                    len: row.len,
                    modified: row.modified,
                    device: self.device.unwrap_or_default(),
                    inode: row.inode,
                    links: 1,
                })
            });
            Orphan { id, file }
        })
    }

    /// Takes those out that are not wanted.
    pub(super) fn retain(&mut self, wanted: impl Fn(BlobId) -> bool) {
        let mut keep = self.ids.iter().map(|id| wanted(*id));
        self.rows.retain(|_| keep.next().unwrap_or_default());
        drop(keep);
        self.ids.retain(|id| wanted(*id));
        self.others.retain(|id, _| wanted(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_put_in() {
        let file = |device, links| FileFacts {
            len: 5,
            modified: -7,
            device,
            inode: 9,
            links,
        };
        let orphans: Vec<Orphan> = [
            Some(file(1, 2)),
            Some(file(1, 1)),
            None,
            Some(file(2, 1)),
            Some(file(1, 0)),
            Some(file(1, 1)),
        ]
        .into_iter()
        .zip(3..)
        .map(|(file, id)| Orphan { id, file })
        .collect();
        let mut table = Orphans::with_capacity(orphans.len());
        for orphan in &orphans {
            table.push(*orphan);
        }
        assert_eq!(table.iter().len(), orphans.len());
        assert_eq!(table.iter().collect::<Vec<_>>(), orphans);
        table.retain(|id| id % 2 == 0);
        let left: Vec<_> = orphans.into_iter().filter(|o| o.id % 2 == 0).collect();
        assert_eq!(table.iter().collect::<Vec<_>>(), left);
    }
}
