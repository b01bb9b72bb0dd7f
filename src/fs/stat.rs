//! What is known of a file without opening it.

use rustix::fs::{FileType, Stat};

use super::modified_of;

/// A file as it was when it was looked at. Before it is deleted it is compared with this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// Bytes; 0 for a symbolic link, which frees nothing.
    pub len: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub modified: i64,
    /// The device that it lies on.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// How many names the inode has.
    pub links: u32,
}

impl FileStat {
    /// Takes over what `stat` said of a name, without following it.
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
