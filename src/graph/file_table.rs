//! A compact table of the files of blobs: there can be a million.
//!
//! Nearly all of them can be read, are on one device and have inodes that are close together. The common values are stored once, and
//! the exceptions in full.

use std::sync::Arc;

use super::BlobSet;
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

/// Blobs with their files, by ascending number: 20 bytes each, and 1.5 bits for each number up to the last.
#[derive(Debug, Default)]
pub(crate) struct FileTable {
    ids: SortedIds,
    rows: Vec<FileRow>,
    /// The device of nearly all files.
    device: Option<u64>,
    /// The inode that rows are relative to.
    first_inode: u64,
    /// The files that a row cannot represent.
    others: Vec<Option<FileStat>>,
}

/// The values that differ between files.
#[derive(Debug, Clone, Copy)]
struct FileRow {
    modified: [u32; 2],
    /// For a file in `others`: its position there.
    len: u32,
    inode: u32,
    /// 0 if the file is in `others`.
    links: u16,
    /// The high bits of `len` and `inode`.
    high: [u8; 2],
}

/// The limits of what a row represents, exclusive: 1 TiB, and as many inodes.
const ROW_LIMIT: u64 = 1 << 40;

impl FileRow {
    /// Returns the row of a file on the usual device; `None` if it does not fit.
    fn of(file: &FileStat, first_inode: u64) -> Option<Self> {
        let inode = file.inode.checked_sub(first_inode)?;
        let links = u16::try_from(file.links).ok().filter(|links| *links > 0)?;
        let (len, len_high) = split(file.len)?;
        let (inode, inode_high) = split(inode)?;
        let [a, b, c, d, e, f, g, h] = file.modified.to_le_bytes();
        Some(Self {
            modified: [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes),
            len,
            inode,
            links,
            high: [len_high, inode_high],
        })
    }

    /// Returns the row that refers to `others`.
    const fn at(position: u32) -> Self {
        Self {
            modified: [0; 2],
            len: position,
            inode: 0,
            links: 0,
            high: [0; 2],
        }
    }

    fn file(&self, device: u64, first_inode: u64) -> FileStat {
        let [low, high] = self.modified.map(u32::to_le_bytes);
        let ([a, b, c, d], [e, f, g, h]) = (low, high);
        let [len_high, inode_high] = self.high;
        FileStat {
            len: join(self.len, len_high),
            modified: i64::from_le_bytes([a, b, c, d, e, f, g, h]),
            device,
            inode: first_inode + join(self.inode, inode_high),
            links: self.links.into(),
        }
    }
}

/// Splits a number into its low bits and the others; `None` if it is too large.
fn split(number: u64) -> Option<(u32, u8)> {
    let low = u32::try_from(number & u64::from(u32::MAX)).ok()?;
    Some((low, u8::try_from(number >> 32).ok()?))
}

fn join(low: u32, high: u8) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

impl FileTable {
    /// Returns an empty table with room for this number of blobs.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            rows: Vec::with_capacity(capacity),
            ..Self::default()
        }
    }

    /// Adds a blob.
    ///
    /// # Panics
    /// If its number is not above all others.
    pub(crate) fn push(&mut self, id: BlobId, file: Option<FileStat>) {
        self.ids.push(id);
        if let (Some(file), None) = (file, self.device) {
            self.device = Some(file.device);
            // Files that are older may have lower inodes.
            self.first_inode = file.inode.saturating_sub(ROW_LIMIT / 2);
        }
        let usual = file.filter(|file| Some(file.device) == self.device);
        let row = usual.and_then(|file| FileRow::of(&file, self.first_inode));
        let row = row.unwrap_or_else(|| {
            let position = u32::try_from(self.others.len()).expect("blobs fit into 32 bits");
            self.others.push(file);
            FileRow::at(position)
        });
        self.rows.push(row);
    }

    /// Returns the number of blobs.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns the file of a blob; `None` if it is not in the table or could not be read.
    pub(crate) fn get(&self, id: BlobId) -> Option<FileStat> {
        self.unpack(self.rows.get(self.ids.rank(id)?)?)
    }

    /// Returns the blobs with their files, by number.
    pub(crate) fn iter(
        &self,
    ) -> impl ExactSizeIterator<Item = (BlobId, Option<FileStat>)> + Clone + use<'_> {
        // A row takes no bytes for its number.
        let mut ids = self.ids.iter();
        self.rows.iter().map(move |row| {
            let id = ids.next().expect("each row has a number");
            (id, self.unpack(row))
        })
    }

    /// Removes the blobs of a set.
    pub(crate) fn remove_all(&mut self, removed: &BlobSet) {
        let ids = std::mem::take(&mut self.ids);
        let mut old = ids.iter();
        self.rows.retain(|_| {
            let id = old.next().expect("each row has a number");
            let is_kept = !removed.contains(id);
            if is_kept {
                self.ids.push(id);
            }
            is_kept
        });
    }

    fn unpack(&self, row: &FileRow) -> Option<FileStat> {
        match row.links {
            0 => self.others.get(row.len as usize).copied().flatten(),
            _ => Some(row.file(self.device.unwrap_or_default(), self.first_inode)),
        }
    }
}

/// Ascending numbers, with the position of each.
#[derive(Debug, Default)]
struct SortedIds {
    /// A bit for each number.
    words: Vec<u64>,
    /// The number of numbers before each word.
    before: Vec<u32>,
    count: u32,
}

impl SortedIds {
    fn push(&mut self, id: BlobId) {
        let word = id as usize / 64;
        let is_last = word + 1 >= self.words.len();
        while self.words.len() <= word {
            self.words.push(0);
            self.before.push(self.count);
        }
        let bit = 1_u64 << (id % 64);
        let last = self.words.last_mut().filter(|last| is_last && **last < bit);
        *last.expect("numbers ascend") |= bit;
        self.count += 1;
    }

    /// Returns the number of smaller numbers, if this one is in the set.
    fn rank(&self, id: BlobId) -> Option<usize> {
        let at = id as usize / 64;
        let (word, bit) = (self.words.get(at)?, 1_u64 << (id % 64));
        let below = (word & (bit - 1)).count_ones();
        let rank = self.before.get(at)? + below;
        (word & bit != 0).then_some(rank as usize)
    }

    fn iter(&self) -> impl Iterator<Item = BlobId> + Clone + use<'_> {
        (0..).zip(&self.words).flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(at * 64 + bit)
            })
        })
    }
}

/// The files of orphans and of other blobs. Cheap to clone: several lists of blobs share one record of each file.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileTables {
    orphans: Arc<FileTable>,
    others: Arc<FileTable>,
}

impl FileTables {
    pub(crate) const fn new(orphans: Arc<FileTable>, others: Arc<FileTable>) -> Self {
        Self { orphans, others }
    }

    /// Returns the number of lists that share either table, summed.
    #[cfg(test)]
    pub(crate) fn shared_by(&self) -> usize {
        Arc::strong_count(&self.orphans) + Arc::strong_count(&self.others)
    }

    /// Returns the file of a blob; `None` if it is not known.
    pub(crate) fn get(&self, id: BlobId) -> Option<FileStat> {
        self.others.get(id).or_else(|| self.orphans.get(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(inode: u64, links: u32) -> FileStat {
        FileStat {
            len: 5,
            modified: -7,
            device: 1,
            inode,
            links,
        }
    }

    #[test]
    fn files_are_stored_and_removed_exactly() {
        let first = ROW_LIMIT;
        let usual = file(first, 1);
        let files = [
            Some(usual),
            Some(file(first, 2)),
            None,
            Some(FileStat { device: 2, ..usual }),
            Some(file(first, 0)),
            Some(file(first, u32::MAX)),
            Some(file(first - ROW_LIMIT / 2, 65_535)),
            Some(file(first - ROW_LIMIT / 2 - 1, 1)),
            Some(file(first + ROW_LIMIT / 2 - 1, 1)),
            Some(file(first + ROW_LIMIT / 2, 1)),
            Some(file(u64::MAX, 1)),
            Some(FileStat {
                len: ROW_LIMIT - 1,
                modified: i64::MAX,
                ..usual
            }),
            Some(FileStat {
                len: ROW_LIMIT,
                modified: i64::MIN,
                ..usual
            }),
            Some(FileStat {
                len: u64::MAX,
                ..usual
            }),
        ];
        let ids = [0, 1, 3, 5, 62, 63, 64, 65, 127, 128, 200, 641, 1000, 1001];
        let blobs: Vec<(BlobId, Option<FileStat>)> = ids.into_iter().zip(files).collect();
        let mut table = FileTable::with_capacity(blobs.len());
        for (id, file) in &blobs {
            table.push(*id, *file);
        }
        assert_eq!(table.len(), blobs.len());
        assert_eq!(table.iter().collect::<Vec<_>>(), blobs);
        assert_eq!(table.others.len(), 9);
        for id in 0..1100 {
            let blob = blobs.iter().find(|(known, _)| *known == id);
            assert_eq!(table.get(id), blob.and_then(|(_, file)| *file), "{id}");
        }
        let removed: BlobSet = [0, 3, 63, 641, 1001, 5000].into_iter().collect();
        table.remove_all(&removed);
        let left = blobs.iter().filter(|(id, _)| !removed.contains(*id));
        assert_eq!(
            table.iter().collect::<Vec<_>>(),
            left.copied().collect::<Vec<_>>()
        );
        for (id, file) in &blobs {
            assert_eq!(table.get(*id), file.filter(|_| !removed.contains(*id)));
        }
    }

    #[test]
    fn the_first_file_that_can_be_read_sets_the_usual_values() {
        let mut table = FileTable::default();
        for (id, file) in [(0, None), (1, Some(file(7, 1))), (2, Some(file(3, 1)))] {
            table.push(id, file);
            assert_eq!(table.get(id), file);
        }
        assert_eq!(table.others.len(), 1);
    }

    #[test]
    fn a_file_takes_20_bytes() {
        assert_eq!(size_of::<FileRow>(), 20);
    }

    #[test]
    fn the_files_of_two_tables_are_found() {
        let mut tables = [FileTable::default(), FileTable::default()];
        let files = [(2, Some(file(1, 1))), (9, None)];
        for (table, files) in tables
            .iter_mut()
            .zip([&files[..], &[(9, Some(file(4, 1)))]])
        {
            files.iter().for_each(|(id, file)| table.push(*id, *file));
        }
        let [orphans, others] = tables.map(Arc::new);
        let tables = FileTables::new(orphans, others);
        assert_eq!(tables.get(2), Some(file(1, 1)));
        assert_eq!(tables.get(9), Some(file(4, 1)));
        assert_eq!(tables.get(3), None);
    }
}
