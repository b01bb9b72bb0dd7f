//! Locks on open files.

use std::os::fd::AsFd;

use rustix::fs::{FlockOperation, Stat};
use rustix::io::retry_on_intr;

/// Locks an open file or directory against other processes until it is closed, without waiting.
///
/// # Errors
/// Those of `flock`; `EWOULDBLOCK` if another process has locked it.
pub(crate) fn try_lock(file: impl AsFd) -> rustix::io::Result<()> {
    retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive))
}

/// Returns `true` if both are the same file: a name may now belong to another file than the one that was opened.
pub(crate) fn is_same_file(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}
