//! Keeping other writers out, as far as they can be kept out.
//!
//! Only BuildKit has a lock that others can take: an exclusive flock on `index.json.lock`, a file
//! that it unlinks afterwards. So does this program. umoci holds a flock on its temporary directory
//! and podman a POSIX lock on `index.lock` while they work; those are respected, not taken. skopeo,
//! oras, crane and regctl lock nothing.
//!
//! *Failure*: a killed process leaves at worst an unlocked `index.json.lock`, which is harmless: the
//! kernel drops the lock, and the next run takes the file and removes it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};

use super::blobs::each_entry;
use super::temp::{self, TempName};
use super::{Layout, Links, open_dir, open_file};
use crate::error::{Error, Result};
use crate::observe::Observer;

/// BuildKit's lock file (moby/buildkit `client/ociindex`).
const LOCK_FILE: &str = "index.json.lock";

/// How long to sleep between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// Proof that the layout is locked.
#[derive(Debug)]
#[must_use = "the layout is unlocked when this is dropped"]
pub struct Locked<'a> {
    layout: &'a Layout,
    // Held for its flock.
    file: File,
}

impl<'a> Locked<'a> {
    /// Locks a layout, waiting up to `wait`.
    ///
    /// # Errors
    /// [`Error::Busy`] when another process still works on it then, [`Error::Write`] when the lock
    /// file cannot be made, [`Error::Interrupted`].
    pub fn acquire(layout: &'a Layout, wait: Duration, observer: &dyn Observer) -> Result<Self> {
        let start = Instant::now();
        loop {
            let by = match try_lock(layout)? {
                Ok(file) => {
                    let locked = Self { layout, file };
                    // Looked at after the lock is taken: who starts later meets the lock, if he
                    // respects one.
                    match writer_at_work(layout)? {
                        None => return Ok(locked),
                        Some(by) => by,
                    }
                }
                Err(by) => by,
            };
            let waited = start.elapsed();
            if waited >= wait {
                return Err(Error::Busy {
                    path: layout.path().to_owned(),
                    by,
                    waited,
                });
            }
            if observer.stop() {
                return Err(Error::Interrupted);
            }
            std::thread::sleep(PAUSE.min(wait - waited));
        }
    }

    /// Returns the layout.
    #[must_use]
    pub const fn layout(&self) -> &'a Layout {
        self.layout
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Removed while still held: whoever opened the same file meanwhile finds, after he gets the
        // lock, that it is no longer the file at that path, and tries again.
        if is_at_path(self.layout, &self.file) {
            // Left behind, the file is as harmless as after a crash.
            let _ = rustix::fs::unlinkat(self.layout.dir(), LOCK_FILE, AtFlags::empty());
        }
    }
}

/// Tries once. The inner error says who holds the lock.
fn try_lock(layout: &Layout) -> Result<Result<File, String>> {
    let path = layout.path().join(LOCK_FILE);
    // A second round is needed when the file was unlinked between open and flock.
    for _ in 0..16 {
        let file = rustix::fs::openat(
            layout.dir(),
            LOCK_FILE,
            OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK,
            Mode::from_raw_mode(0o644),
        )
        .map_err(|error| Error::write(&path)(error.into()))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Ok(Err(format!(
                    "`{}` is locked by another process",
                    path.display()
                )));
            }
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(Error::write(&path)(error.into())),
        }
        let file = File::from(file);
        if is_at_path(layout, &file) {
            return Ok(Ok(file));
        }
    }
    Ok(Err(format!(
        "`{}` changes hands all the time",
        path.display()
    )))
}

/// Says whether the open file is the one at the lock's path.
fn is_at_path(layout: &Layout, file: &File) -> bool {
    let (Ok(held), Ok(there)) = (
        rustix::fs::fstat(file),
        rustix::fs::statat(layout.dir(), LOCK_FILE, AtFlags::SYMLINK_NOFOLLOW),
    ) else {
        return false;
    };
    (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)
}

/// Looks for writers that hold locks of their own.
fn writer_at_work(layout: &Layout) -> Result<Option<String>> {
    let mut umoci = Vec::new();
    each_entry(layout.dir(), layout.path(), |entry| {
        if let Ok(name) = std::str::from_utf8(entry.name)
            && name.starts_with(".umoci-")
            && temp::in_root(name, true) == Some(TempName::Unmistakable)
        {
            umoci.push(name.to_owned());
        }
    })?;
    for name in umoci {
        if let Ok(dir) = open_dir(layout.dir(), name.as_str(), Links::Refuse)
            && is_flocked(&dir)
        {
            let path = layout.path().join(name);
            return Ok(Some(format!("umoci holds `{}`", path.display())));
        }
    }
    // containers/storage locks with fcntl, podman's artifact store does so on this file.
    if let Ok(file) = open_file(layout.dir(), "index.lock", Links::Refuse) {
        let is_posix_locked = rustix::process::fcntl_getlk(
            &file,
            &rustix::process::Flock::from(rustix::process::FlockType::WriteLock),
        )
        .is_ok_and(|lock| lock.is_some());
        if is_posix_locked || is_flocked(&file) {
            let path = layout.path().join("index.lock");
            return Ok(Some(format!(
                "`{}` is locked by another process",
                path.display()
            )));
        }
    }
    Ok(None)
}

/// Says whether somebody holds an exclusive flock on the file or directory. Asked with a shared
/// lock, which disturbs nobody who asks the same.
pub(crate) fn is_flocked(file: &OwnedFd) -> bool {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            // The descriptor is closed soon after in any case.
            let _ = rustix::fs::flock(file, FlockOperation::Unlock);
            false
        }
        Err(error) => error == rustix::io::Errno::WOULDBLOCK,
    }
}
