//! Keeping other writers out, as far as they can be kept out.
//!
//! Only BuildKit has a lock that others can take: an exclusive flock on `index.json.lock`, a file
//! that it unlinks afterwards. So does this program. umoci holds a flock on its temporary directory
//! and podman and linuxkit a POSIX lock on `index.lock` and `.lock` while they work, and zot holds its database as long as it runs;
//! those are respected, not taken. skopeo, oras, crane and regctl lock nothing.
//!
//! BuildKit unlocks the file before it unlinks it. Who gets the lock between the two holds a file that
//! nobody else will meet, so the path is compared with the file again at the last moment:
//! [`Locked::is_in_force`].
//!
//! *Failure*: a killed process leaves at worst an unlocked `index.json.lock`, which is harmless: the
//! kernel drops the lock, and the next run takes the file and removes it. Doubt counts as a lock: a
//! file that cannot be asked stops the run.

mod zot;

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::Layout;
use super::entries::each_entry;
use super::temp_files::LOCK_FILE;
use super::temp_files::{self, TempName};
use crate::error::{Error, Result};
use crate::fs::{Links, changed_of, open_dir, open_file, stat_at, stat_of};
use crate::progress::Progress;

/// Files on which writers hold a POSIX lock while they work: podman's artifact store (containers/storage locks with fcntl), and
/// the cache of linuxkit.
const POSIX_LOCKS: [&str; 2] = ["index.lock", ".lock"];

/// How long to sleep between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// Proof that the layout is locked.
#[derive(Debug)]
#[must_use = "the layout is unlocked when this is dropped"]
pub struct Locked<'a> {
    layout: &'a Layout,
    /// Held for its flock. `None`: the disk is so full that the file cannot be made, by nobody.
    file: Option<OwnedFd>,
}

impl<'a> Locked<'a> {
    /// Locks a layout, waiting up to `wait`.
    ///
    /// # Errors
    /// [`Error::Busy`] when another process still works on it then, [`Error::Write`] when the lock
    /// file cannot be made, [`Error::Interrupted`].
    pub fn acquire(layout: &'a Layout, wait: Duration, progress: &dyn Progress) -> Result<Self> {
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
            if progress.is_cancelled() {
                return Err(Error::Interrupted);
            }
            std::thread::sleep(PAUSE.min(wait - waited));
        }
    }

    /// Returns `true` if whoever wants the lock now finds this one in his way.
    ///
    /// # Errors
    /// [`Error::Read`] when the lock file cannot be looked at.
    pub fn is_in_force(&self) -> Result<bool> {
        match &self.file {
            Some(file) => is_at_path(self.layout, file),
            None => Ok(!is_there(self.layout)?),
        }
    }

    /// Returns a time at or before now, by the clock of the file system: when the lock file was made.
    /// In nanoseconds since 1970.
    pub(crate) fn since(&self) -> Option<i128> {
        let stat = stat_of(self.file.as_ref()?).ok()?;
        Some(changed_of(&stat))
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
        let Some(file) = &self.file else { return };
        if is_at_path(self.layout, file).unwrap_or(false) {
            // Left behind, the file is as harmless as after a crash.
            #[expect(
                clippy::disallowed_methods,
                reason = "the lock file is removed by its holder"
            )]
            let _ = retry_on_intr(|| {
                rustix::fs::unlinkat(self.layout.dir(), LOCK_FILE, AtFlags::empty())
            });
        }
    }
}

/// Tries once. The inner error says who holds the lock.
fn try_lock(layout: &Layout) -> Result<Result<Option<OwnedFd>, String>> {
    let path = layout.path().join(LOCK_FILE);
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    // A second round is needed when the file was unlinked between open and flock.
    for _ in 0..16 {
        let mode = Mode::from_raw_mode(0o644);
        #[expect(clippy::disallowed_methods, reason = "a lock needs a file to lie on")]
        let opened = retry_on_intr(|| rustix::fs::openat(layout.dir(), LOCK_FILE, flags, mode));
        let file = match opened {
            Ok(file) => file,
            // Measured on xfs: with no block free no file can be made, but files can be deleted. A
            // sweep is the way out, and nobody else can make the file to lock it.
            Err(Errno::NOSPC | Errno::DQUOT) if !is_there(layout)? => return Ok(Ok(None)),
            Err(error) => return Err(Error::write(&path)(error.into())),
        };
        let lock = FlockOperation::NonBlockingLockExclusive;
        match retry_on_intr(|| rustix::fs::flock(&file, lock)) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Ok(Err(format!(
                    "`{}` is locked by another process",
                    path.display()
                )));
            }
            Err(error) => return Err(Error::write(&path)(error.into())),
        }
        if is_at_path(layout, &file)? {
            return Ok(Ok(Some(file)));
        }
    }
    Ok(Err(format!(
        "`{}` was replaced repeatedly while locking",
        path.display()
    )))
}

/// Returns `true` if there is a lock file.
fn is_there(layout: &Layout) -> Result<bool> {
    match stat_at(layout.dir(), LOCK_FILE, Links::Refuse) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(Error::read(layout.path().join(LOCK_FILE))(error.into())),
    }
}

/// Returns `true` if the open file is the one at the lock's path.
fn is_at_path(layout: &Layout, file: &OwnedFd) -> Result<bool> {
    let path = || layout.path().join(LOCK_FILE);
    let held = stat_of(file).map_err(|error| Error::read(path())(error.into()))?;
    match stat_at(layout.dir(), LOCK_FILE, Links::Refuse) {
        Ok(there) => Ok((held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(Error::read(path())(error.into())),
    }
}

/// Looks for writers that hold locks of their own.
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
            // Gone, or of another kind. One that may not be opened is of another user, who cannot be
            // asked; his blobs are young, which protects them.
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

/// Returns who holds a lock of either kind on a file of the layout, if there is such a file.
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
    if posix.is_some() || is_flocked(&file).map_err(Error::read(&path))? {
        return Ok(Some(format!(
            "`{}` is locked by another process",
            path.display()
        )));
    }
    Ok(None)
}

/// Returns `true` if somebody holds an exclusive flock on the file or directory. Asked with a shared
/// lock, which disturbs nobody who asks the same.
pub(crate) fn is_flocked(file: &OwnedFd) -> io::Result<bool> {
    match retry_on_intr(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockShared)) {
        Ok(()) => {
            // The descriptor is closed soon after in any case.
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
    fn a_lock_is_in_force_only_while_its_file_is_at_its_path() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let layout = layout(temp.path());
        let path = temp.path().join(LOCK_FILE);
        let locked = Locked::acquire(&layout, Duration::ZERO, &Silent).expect("nobody else");
        assert!(locked.is_in_force().expect("it can be looked at"));
        // BuildKit unlinks what it has unlocked before.
        std::fs::remove_file(&path).expect("the lock file");
        assert!(!locked.is_in_force().expect("it can be looked at"));
        std::fs::write(&path, "").expect("a lock of somebody else");
        assert!(!locked.is_in_force().expect("it can be looked at"));
        drop(locked);
        assert!(path.exists(), "the lock of somebody else goes");
    }

    #[test]
    fn without_a_file_the_lock_is_in_force_until_there_is_one() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let layout = layout(temp.path());
        let locked = Locked {
            layout: &layout,
            file: None,
        };
        assert!(locked.is_in_force().expect("it can be looked at"));
        std::fs::write(temp.path().join(LOCK_FILE), "").expect("a lock of somebody else");
        assert!(!locked.is_in_force().expect("it can be looked at"));
    }
}
