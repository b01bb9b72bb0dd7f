//! What kind of file system something lies on, where that makes a difference.

use std::os::fd::AsFd;

use rustix::io::retry_on_intr;

use super::stat_of;

/// A kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
    Btrfs,
    Tmpfs,
    Overlay,
    Other,
}

impl FileSystem {
    /// Returns the kind that a file or directory lies on; [`Self::Other`] where that cannot be told.
    pub(crate) fn of(file: impl AsFd) -> Self {
        let Ok(stat) = retry_on_intr(|| rustix::fs::fstatfs(&file)) else {
            return Self::Other;
        };
        #[expect(
            clippy::useless_conversion,
            reason = "the type of f_type differs between architectures"
        )]
        let magic = i64::try_from(stat.f_type).unwrap_or_default();
        match magic {
            0xEF53 => Self::Ext4,
            0x5846_5342 => Self::Xfs,
            0x9123_683E => Self::Btrfs,
            0x0102_1994 => Self::Tmpfs,
            0x794C_7630 => Self::Overlay,
            _ => Self::Other,
        }
    }

    /// Returns how many threads delete files fastest.
    ///
    /// Measured: four threads halve the time on ext4, whose journal makes an unlink wait; on tmpfs it is one
    /// for each core, up to four, and more of them only wait for one another; on xfs and btrfs a second
    /// thread costs time. What is unknown gets one.
    pub(crate) fn unlink_threads(self) -> usize {
        match self {
            Self::Ext4 => 4,
            Self::Tmpfs => {
                std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4))
            }
            Self::Xfs | Self::Btrfs | Self::Overlay | Self::Other => 1,
        }
    }

    /// Returns `true` if nobody can choose the time of a file's last change (`st_ctime`). On FAT it is the
    /// mtime, which a copy takes over; what is unknown may do the same.
    pub(crate) const fn keeps_change_times(self) -> bool {
        match self {
            Self::Ext4 | Self::Xfs | Self::Btrfs | Self::Tmpfs => true,
            Self::Overlay | Self::Other => false,
        }
    }

    /// Returns whether a directory is merged from several layers of an overlay, so that a file which is deleted in it may
    /// be one of a lower layer: a whiteout hides it then, and not a byte is freed.
    ///
    /// No call says of which layer a file is. Linux gives merged directories one link (`ovl_getattr`), and a directory of a
    /// lower layer becomes one by the first deletion. A directory of the upper layer alone has its own number of links,
    /// except on btrfs, where all have one.
    pub(crate) fn merges_layers(dir: impl AsFd) -> bool {
        Self::of(&dir) == Self::Overlay && stat_of(&dir).is_ok_and(|stat| stat.st_nlink == 1)
    }
}
