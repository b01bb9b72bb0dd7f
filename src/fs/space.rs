//! The space of a file system.

use std::io;
use std::path::Path;

use rustix::io::retry_on_intr;

/// The space of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// The space that unprivileged users can write, as `df` prints it.
    pub available: u64,
}

impl Space {
    /// Returns the space of the file system that a path is on.
    ///
    /// # Errors
    /// Those of `statvfs`.
    pub fn of(path: &Path) -> io::Result<Self> {
        let stat = retry_on_intr(|| rustix::fs::statvfs(path))?;
        Ok(Self {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            available: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }
}
