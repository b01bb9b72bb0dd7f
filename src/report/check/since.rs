//! The record of blobs that earlier runs verified.

use std::fmt::Debug;

use jiff::Timestamp;
use rustix::fs::Stat;

use crate::fs::{changed_of, modified_of};
use crate::oci::Digest;

/// A version of a file. A file that is written has another version afterwards; damage by the disk itself leaves it unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileVersion {
    /// Bytes.
    pub len: u64,
    /// The mtime, in nanoseconds since 1970.
    pub modified: i64,
    /// The ctime, in nanoseconds since 1970.
    pub changed: i64,
    /// Its device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

impl FileVersion {
    pub(super) fn of(stat: &Stat) -> Self {
        let nanoseconds = |time: i128| {
            let time = time.clamp(i64::MIN.into(), i64::MAX.into());
            i64::try_from(time).unwrap_or_default()
        };
        Self {
            len: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: nanoseconds(modified_of(stat)),
            changed: nanoseconds(changed_of(stat)),
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

/// A record of the blobs that were read and match their digests. Its methods are called from several threads at once.
pub trait Verified: Sync + Debug {
    /// Returns when a run verified this version of a blob; `None` if none did.
    fn when(&self, digest: &Digest, file: &FileVersion) -> Option<Timestamp>;

    /// A blob was read: it matches its digest, or is damaged or cannot be read to its end.
    fn add(&self, digest: &Digest, file: &FileVersion, is_intact: bool);
}
