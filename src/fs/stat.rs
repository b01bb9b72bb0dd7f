//! The stat of a file.

use rustix::fs::{FileType, Stat};

use super::modified_of;

/// The stat of a file. The file is compared with it before it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// Bytes; 0 for a symbolic link, which frees nothing.
    pub len: u64,
    /// The mtime, in nanoseconds since 1970.
    pub modified: i64,
    /// Its device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// The number of names of the inode.
    pub links: u32,
}

impl FileStat {
    /// Converts the stat of a name that was not followed; `None` unless it is a regular file or a symbolic link.
    #[must_use]
    pub(crate) fn of(stat: &Stat) -> Option<Self> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let len = match kind {
            FileType::RegularFile => u64::try_from(stat.st_size).ok()?,
            FileType::Symlink => 0,
            _ => return None,
        };
        let modified = modified_of(stat).clamp(i64::MIN.into(), i64::MAX.into());
        Some(Self {
            len,
            modified: i64::try_from(modified).unwrap_or_default(),
            device: stat.st_dev,
            inode: stat.st_ino,
            links: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        })
    }
}
