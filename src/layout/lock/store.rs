//! The lock on the trash of a shared store.
//!
//! It is held while that trash is changed: by a run that moves blobs into it, after the locks of its layouts, by `undo`, and
//! by `trash empty`, which opens no layout.

use std::time::Duration;

use super::file::LockFile;
use super::retry;
use crate::error::Result;
use crate::layout::blob_list::STORE_LOCK;
use crate::layout::trash::Trash;
use crate::progress::Progress;

/// Proof that the trash of a store is locked.
#[derive(Debug)]
#[must_use = "the trash is unlocked when this is dropped"]
pub struct LockedStore<'a> {
    _lock: LockFile<'a>,
}

impl<'a> LockedStore<'a> {
    /// Locks the trash of a store, waiting up to `wait`.
    ///
    /// # Errors
    /// [`Error::Busy`](crate::Error::Busy) if another process still uses it after that,
    /// [`Error::Write`](crate::Error::Write) if the lock file cannot be created,
    /// [`Error::Interrupted`](crate::Error::Interrupted).
    pub(crate) fn acquire(
        trash: Trash<'a>,
        wait: Duration,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let lock = retry(trash.owner(), wait, progress, || {
            LockFile::acquire(trash.home(), STORE_LOCK, trash.owner())
        });
        Ok(Self { _lock: lock? })
    }
}
