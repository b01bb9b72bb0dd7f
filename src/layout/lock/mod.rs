//! Locks a layout against other writers, as far as they respect locks.
//!
//! Only BuildKit has a lock that others can take: an exclusive flock on `index.json.lock`, a file that it unlinks
//! afterwards. This program does the same. umoci holds a flock on its temporary directory, podman and linuxkit a POSIX lock
//! on `index.lock` and `.lock` while they work, and zot a flock on its database while it runs; those are respected, not
//! taken. skopeo, oras, crane and regctl lock nothing.
//!
//! BuildKit unlocks the file before it unlinks it. A process that gets the lock in between holds a file that
//! no other process will open, so the path is compared with the file again right before changes:
//! [`Locked::is_in_force`].
//!
//! *Failure*: a killed process leaves at worst an unlocked `index.json.lock`, which is harmless: the
//! kernel drops the lock, and the next run takes the file and removes it. Doubt counts as a lock: if a
//! file cannot be checked for locks, the run fails.

mod file;
mod holder;
mod store;
mod zot;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::{Errno, retry_on_intr};

use super::Layout;
use super::entries::each_entry;
use super::temp_files::LOCK_FILE;
use super::temp_files::{self, TempName};
use crate::error::{Error, Result};
use crate::fs::{Links, open_dir, open_file};
use crate::progress::Progress;

use file::LockFile;
use holder::locked_by_another;
pub use store::LockedStore;

/// Files on which writers hold a POSIX lock while they work: podman's artifact store (containers/storage locks with
/// fcntl), and the cache of linuxkit.
const POSIX_LOCKS: [&str; 2] = ["index.lock", ".lock"];

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// After this time the user sees a message about the wait.
const PATIENCE: Duration = Duration::from_millis(500);

/// Proof that the layout is locked.
#[derive(Debug)]
#[must_use = "the layout is unlocked when this is dropped"]
pub struct Locked<'a> {
    layout: &'a Layout,
    lock: LockFile<'a>,
}

impl<'a> Locked<'a> {
    /// Locks a layout, waiting up to `wait`.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process still uses it after that, [`Error::Write`] if the lock file cannot be created,
    /// [`Error::Interrupted`].
    pub fn acquire(layout: &'a Layout, wait: Duration, progress: &dyn Progress) -> Result<Self> {
        let path = layout.path();
        retry(path, wait, progress, || {
            let lock = match LockFile::acquire(layout.dir(), LOCK_FILE, path)? {
                Ok(lock) => lock,
                Err(by) => return Ok(Err(by)),
            };
            // Checked after the lock is taken: a process that starts later will see the lock, if it respects it.
            let by = writer_at_work(layout)?;
            Ok(by.map_or(Ok(Self { layout, lock }), Err))
        })
    }

    /// Returns `true` while the lock file at the path is the one that is held.
    ///
    /// # Errors
    /// [`Error::Read`] if the lock file cannot be inspected.
    pub fn is_in_force(&self) -> Result<bool> {
        self.lock.is_in_force()
    }

    /// Returns when the lock file was created, by the clock of the file system, in nanoseconds since 1970.
    pub(crate) fn since(&self) -> Option<i128> {
        self.lock.since()
    }

    /// Returns the layout.
    #[must_use]
    pub const fn layout(&self) -> &'a Layout {
        self.layout
    }
}

/// Tries to take a lock until it succeeds, waiting up to `wait`. The inner error names the holder.
///
/// # Errors
/// [`Error::Busy`], [`Error::Interrupted`], and those of `attempt`.
fn retry<T>(
    path: &Path,
    wait: Duration,
    progress: &dyn Progress,
    attempt: impl Fn() -> Result<Result<T, String>>,
) -> Result<T> {
    let start = Instant::now();
    let mut is_told = false;
    loop {
        let by = match attempt()? {
            Ok(lock) => return Ok(lock),
            Err(by) => by,
        };
        let waited = start.elapsed();
        if waited >= wait {
            return Err(Error::Busy {
                path: path.to_owned(),
                by,
                // The duration of one attempt does not matter.
                waited: if wait.is_zero() { wait } else { waited },
            });
        }
        if progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        if waited >= PATIENCE && !std::mem::replace(&mut is_told, true) {
            progress.waiting(path, &by);
        }
        std::thread::sleep(PAUSE.min(wait - waited));
    }
}

/// Returns the writer that holds a lock of its own, if any.
fn writer_at_work(layout: &Layout) -> Result<Option<String>> {
    let mut umoci = Vec::new();
    each_entry(layout.dir(), layout.path(), |entry| {
        if let Ok(name) = std::str::from_utf8(entry.name)
            && name.starts_with(".umoci-")
            && temp_files::in_root(name, true) == Some(TempName::Unmistakable)
        {
            umoci.push(name.to_owned());
        }
    })?;
    for name in umoci {
        let path = layout.path().join(&name);
        let dir = match open_dir(layout.dir(), name.as_str(), Links::Refuse) {
            Ok(dir) => dir,
            // Deleted, or of another kind. A directory that cannot be opened belongs to another user, and cannot be checked;
            // the blobs of that writer are recent, which protects them.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => continue,
            Err(error) => return Err(Error::read(path)(error.into())),
        };
        if is_flocked(&dir).map_err(Error::read(&path))? {
            return Ok(Some(format!("umoci holds `{}`", path.display())));
        }
    }
    for name in POSIX_LOCKS {
        if let Some(by) = held(layout, name)? {
            return Ok(Some(by));
        }
    }
    zot::at_work(layout)
}

/// Returns the message if a process holds a lock of either kind on a file of the layout.
fn held(layout: &Layout, name: &str) -> Result<Option<String>> {
    let path = layout.path().join(name);
    let file = match open_file(layout.dir(), name, Links::Refuse) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::ACCESS) => return Ok(None),
        Err(error) => return Err(Error::read(path)(error.into())),
    };
    let probe = rustix::process::Flock::from(rustix::process::FlockType::WriteLock);
    let posix = match retry_on_intr(|| rustix::process::fcntl_getlk(&file, &probe)) {
        Ok(posix) => posix,
        // A directory has no such locks.
        Err(Errno::BADF | Errno::INVAL | Errno::ISDIR) => None,
        Err(error) => return Err(Error::read(&path)(error.into())),
    };
    let is_locked = posix.is_some() || is_flocked(&file).map_err(Error::read(&path))?;
    Ok(is_locked.then(|| locked_by_another(&path, &file)))
}

/// Returns `true` if a process holds an exclusive flock on the file or directory. Checked with a shared
/// lock, which does not conflict with other checks.
pub(crate) fn is_flocked(file: &OwnedFd) -> io::Result<bool> {
    match retry_on_intr(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockShared)) {
        Ok(()) => {
            // Closing the descriptor releases it in any case.
            let _ = rustix::fs::flock(file, FlockOperation::Unlock);
            Ok(false)
        }
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    fn layout(dir: &std::path::Path) -> Layout {
        std::fs::create_dir(dir.join("blobs")).expect("a directory");
        std::fs::write(dir.join("index.json"), "{}").expect("a file");
        Layout::open(dir).expect("a layout")
    }

    #[test]
    fn a_lock_is_in_force_while_its_file_is_at_its_path() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let layout = layout(temp.path());
        let path = temp.path().join(LOCK_FILE);
        let locked = Locked::acquire(&layout, Duration::ZERO, &Silent).expect("it is not locked");
        let is_in_force = || locked.is_in_force().expect("it can be inspected");
        assert!(is_in_force());
        // BuildKit unlinks the file after unlocking it.
        std::fs::remove_file(&path).expect("the lock file");
        assert!(!is_in_force());
        std::fs::write(&path, "").expect("the lock of another process");
        assert!(!is_in_force());
        drop(locked);
        assert!(path.exists(), "the lock of another process is removed");
    }

    #[test]
    fn without_a_file_the_lock_is_in_force_until_one_is_created() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let layout = layout(temp.path());
        let locked = Locked {
            layout: &layout,
            lock: LockFile::without_file(layout.dir(), LOCK_FILE, layout.path()),
        };
        assert!(locked.is_in_force().expect("it can be inspected"));
        std::fs::write(temp.path().join(LOCK_FILE), "").expect("the lock of another process");
        assert!(!locked.is_in_force().expect("it can be inspected"));
    }
}
