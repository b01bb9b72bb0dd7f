//! The lock on the trash of a shared store.
//!
//! Whoever changes that trash holds it: a run that fills it, beside the locks of its layouts and after them, `undo`, and
//! `trash empty`, which knows no layout.

use std::time::{Duration, Instant};

use super::PAUSE;
use super::file::LockFile;
use crate::error::{Error, Result};
use crate::layout::blob_list::STORE_LOCK;
use crate::layout::trash::Trash;
use crate::progress::Progress;

/// Proof that nobody else changes the trash of a store.
#[derive(Debug)]
#[must_use = "the trash is unlocked when this is dropped"]
pub struct LockedStore<'a> {
    _lock: LockFile<'a>,
}

impl<'a> LockedStore<'a> {
    /// Locks the trash of a store, waiting up to `wait`.
    ///
    /// # Errors
    /// [`Error::Busy`] when another process still works on it then, [`Error::Write`] when the lock
    /// file cannot be made, [`Error::Interrupted`].
    pub(crate) fn acquire(
        trash: Trash<'a>,
        wait: Duration,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let start = Instant::now();
        loop {
            let by = match LockFile::acquire(trash.home(), STORE_LOCK, trash.owner())? {
                Ok(lock) => return Ok(Self { _lock: lock }),
                Err(by) => by,
            };
            let waited = start.elapsed();
            if waited >= wait {
                return Err(Error::Busy {
                    path: trash.owner().to_owned(),
                    by,
                    waited,
                });
            }
            if progress.is_cancelled() {
                return Err(Error::Interrupted);
            }
            std::thread::sleep(PAUSE.min(wait - waited));
        }
    }
}
