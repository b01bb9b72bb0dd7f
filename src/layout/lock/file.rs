//! A file that is locked while it is at its path.
//!
//! *Failure*: a killed process leaves at worst an unlocked file, which the next one takes and removes.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::locked_by_another;
use crate::error::{Error, Result};
use crate::fs::{Links, changed_of, is_same_file, stat_at, stat_of, try_lock};

/// A locked file, which is removed when this is dropped.
#[derive(Debug)]
pub(super) struct LockFile<'a> {
    dir: &'a OwnedFd,
    name: &'static str,
    /// The path of the directory.
    path: &'a Path,
    /// Open for its flock. `None` if the disk is so full that no process can create the file.
    file: Option<OwnedFd>,
}

impl<'a> LockFile<'a> {
    /// Tries once. The inner error names the holder of the lock.
    pub(super) fn acquire(
        dir: &'a OwnedFd,
        name: &'static str,
        path: &'a Path,
    ) -> Result<Result<Self, String>> {
        let mut lock = Self {
            dir,
            name,
            path,
            file: None,
        };
        let file_path = path.join(name);
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        // Another attempt is needed if the file was unlinked between open and flock.
        for _ in 0..16 {
            let mode = Mode::from_raw_mode(0o644);
            #[expect(clippy::disallowed_methods, reason = "a lock needs a file")]
            let opened = retry_on_intr(|| rustix::fs::openat(dir, name, flags, mode));
            let file = match opened {
                Ok(file) => file,
                // On xfs without a free block no file can be created, but files can be deleted. A
                // sweep frees space, and no other process can create the file to lock it.
                Err(Errno::NOSPC | Errno::DQUOT) if !lock.is_there()? => return Ok(Ok(lock)),
                Err(error) => return Err(Error::write(&file_path)(error.into())),
            };
            match try_lock(&file) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(Err(locked_by_another(&file_path, &file))),
                Err(error) => return Err(Error::write(&file_path)(error.into())),
            }
            if lock.is_at_path(&file)? {
                lock.file = Some(file);
                return Ok(Ok(lock));
            }
        }
        Ok(Err(format!(
            "`{}` was replaced repeatedly while locking",
            file_path.display()
        )))
    }

    /// Returns the lock for a disk that is too full for the file.
    #[cfg(test)]
    pub(super) const fn without_file(dir: &'a OwnedFd, name: &'static str, path: &'a Path) -> Self {
        Self {
            dir,
            name,
            path,
            file: None,
        }
    }

    /// Returns `true` while the lock file at the path is the one that is held.
    ///
    /// # Errors
    /// [`Error::Read`] if the file cannot be inspected.
    pub(super) fn is_in_force(&self) -> Result<bool> {
        match &self.file {
            Some(file) => self.is_at_path(file),
            None => Ok(!self.is_there()?),
        }
    }

    /// Returns when the file was created, in nanoseconds since 1970.
    pub(super) fn since(&self) -> Option<i128> {
        let stat = stat_of(self.file.as_ref()?).ok()?;
        Some(changed_of(&stat))
    }

    /// Returns `true` if there is a lock file.
    fn is_there(&self) -> Result<bool> {
        match stat_at(self.dir, self.name, Links::Refuse) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(Error::read(self.path.join(self.name))(error.into())),
        }
    }

    /// Returns `true` if the open file is the one at the lock's path.
    fn is_at_path(&self, file: &OwnedFd) -> Result<bool> {
        let path = || self.path.join(self.name);
        let held = stat_of(file).map_err(|error| Error::read(path())(error.into()))?;
        match stat_at(self.dir, self.name, Links::Refuse) {
            Ok(there) => Ok(is_same_file(&held, &there)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(Error::read(path())(error.into())),
        }
    }
}

impl Drop for LockFile<'_> {
    fn drop(&mut self) {
        // Removed while still held: a process that opened the same file concurrently finds, once it gets the
        // lock, that it is no longer the file at that path, and tries again.
        let Some(file) = &self.file else { return };
        if self.is_at_path(file).unwrap_or(false) {
            // If this fails, the file is as harmless as after a crash.
            #[expect(
                clippy::disallowed_methods,
                reason = "the lock file is removed by its holder"
            )]
            let _ = retry_on_intr(|| rustix::fs::unlinkat(self.dir, self.name, AtFlags::empty()));
        }
    }
}
