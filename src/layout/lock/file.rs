//! A file that is locked while it is at its path.
//!
//! *Failure*: a killed process leaves at worst an unlocked file, which the next one takes and removes.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::error::{Error, Result};
use crate::fs::{Links, changed_of, stat_at, stat_of};

/// A locked file, which is removed when this is dropped.
#[derive(Debug)]
pub(super) struct LockFile<'a> {
    dir: &'a OwnedFd,
    name: &'static str,
    /// The path of the directory.
    path: &'a Path,
    /// Held for its flock. `None`: the disk is so full that the file cannot be made, by nobody.
    file: Option<OwnedFd>,
}

impl<'a> LockFile<'a> {
    /// Tries once. The inner error says who holds the lock.
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
        // A second round is needed when the file was unlinked between open and flock.
        for _ in 0..16 {
            let mode = Mode::from_raw_mode(0o644);
            #[expect(clippy::disallowed_methods, reason = "a lock needs a file to lie on")]
            let opened = retry_on_intr(|| rustix::fs::openat(dir, name, flags, mode));
            let file = match opened {
                Ok(file) => file,
                // Measured on xfs: with no block free no file can be made, but files can be deleted. A
                // sweep is the way out, and nobody else can make the file to lock it.
                Err(Errno::NOSPC | Errno::DQUOT) if !lock.is_there()? => return Ok(Ok(lock)),
                Err(error) => return Err(Error::write(&file_path)(error.into())),
            };
            let exclusive = FlockOperation::NonBlockingLockExclusive;
            match retry_on_intr(|| rustix::fs::flock(&file, exclusive)) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    return Ok(Err(format!(
                        "`{}` is locked by another process",
                        file_path.display()
                    )));
                }
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

    /// Returns the lock of a disk that is too full for the file.
    #[cfg(test)]
    pub(super) const fn without_file(dir: &'a OwnedFd, name: &'static str, path: &'a Path) -> Self {
        Self {
            dir,
            name,
            path,
            file: None,
        }
    }

    /// Returns `true` if whoever wants the lock now finds this one in his way.
    ///
    /// # Errors
    /// [`Error::Read`] when the file cannot be looked at.
    pub(super) fn is_in_force(&self) -> Result<bool> {
        match &self.file {
            Some(file) => self.is_at_path(file),
            None => Ok(!self.is_there()?),
        }
    }

    /// Returns when the file was made, in nanoseconds since 1970.
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
            Ok(there) => Ok((held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(Error::read(path())(error.into())),
        }
    }
}

impl Drop for LockFile<'_> {
    fn drop(&mut self) {
        // Removed while still held: whoever opened the same file meanwhile finds, after he gets the
        // lock, that it is no longer the file at that path, and tries again.
        let Some(file) = &self.file else { return };
        if self.is_at_path(file).unwrap_or(false) {
            // Left behind, the file is as harmless as after a crash.
            #[expect(
                clippy::disallowed_methods,
                reason = "the lock file is removed by its holder"
            )]
            let _ = retry_on_intr(|| rustix::fs::unlinkat(self.dir, self.name, AtFlags::empty()));
        }
    }
}
