//! A scratch directory for the unpacked parts of an archive.
//!
//! *Promise*: nothing is written outside of it. Every path is walked component by component from its root, no component is
//! `.`, `..` or absolute, and no link is ever created in it, so none can be followed. Content that is not needed takes no
//! space: a file can have a length without bytes.
//!
//! *Failure*: it is removed when it is dropped. A killed process leaves it behind, and a later run removes it: while its
//! process runs, the directory is locked (`flock`).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::{Errno, retry_on_intr};

use super::own_names::{SCRATCH_PREFIX, is_scratch};
use super::{FileSystem, Links, Space, is_same_file, open_dir, stat_at, stat_of, try_lock};

/// The minimum free space of a directory in memory, in bytes. Containers often have 64 MiB in `/dev/shm`, which their
/// programs need.
const ROOM_BYTES: u64 = 1 << 30;

/// A directory that is removed with everything in it when it is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    /// The directory, open for its lock.
    locked: OwnedFd,
}

/// The maximum number of attempts to create a directory: another process may consider it stale before it is locked.
const MAX_MADE: u32 = 8;

/// The number of attempts to remove one: errors of network file systems are transient, and a leftover directory takes space
/// that nothing else frees.
const ATTEMPTS: u32 = 3;

impl Drop for Scratch {
    fn drop(&mut self) {
        let gone = |result: io::Result<()>| match result {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        (0..ATTEMPTS).any(|_| gone(std::fs::remove_dir_all(&self.path)));
    }
}

/// Writes into a scratch directory.
#[derive(Debug)]
pub(crate) struct ScratchWriter {
    root: OwnedFd,
    /// The directory that was written to last, with its path.
    last: Option<(Vec<u8>, OwnedFd)>,
    /// The number of created directories.
    made: usize,
}

/// Creates directories that only this user can read: an archive may be private.
fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder
        .prefix(SCRATCH_PREFIX)
        .permissions(std::fs::Permissions::from_mode(0o700));
    builder
}

impl Scratch {
    /// Creates a new one in the directory for temporary files (`TMPDIR`). The search for layouts recognises it by its name.
    pub(crate) fn new() -> io::Result<Self> {
        Self::make(&std::env::temp_dir())
    }

    /// Creates a new one in a directory, and locks it.
    fn make(parent: &Path) -> io::Result<Self> {
        for _ in 0..MAX_MADE {
            let path = builder().tempdir_in(parent)?.keep();
            let Ok(dir) = open_dir(CWD, &*path, Links::Refuse) else {
                continue;
            };
            // If locks are not supported, no run considers a directory stale.
            if try_lock(&dir) == Err(Errno::WOULDBLOCK) {
                continue;
            }
            let scratch = Self { path, locked: dir };
            if scratch.is_in_place() {
                return Ok(scratch);
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Returns `true` if it has not been removed.
    fn is_in_place(&self) -> bool {
        let own = stat_of(&self.locked);
        let found = stat_at(CWD, &*self.path, Links::Refuse);
        matches!((own, found), (Ok(own), Ok(found)) if is_same_file(&own, &found))
    }

    /// Creates a new one in a directory that must be in memory with enough space; `None`: it is not in memory, has not
    /// enough space, or cannot be written to.
    pub(crate) fn in_memory(parent: &Path) -> Option<Self> {
        let is_in_memory =
            FileSystem::of(open_dir(CWD, parent, Links::Follow).ok()?) == FileSystem::Tmpfs;
        if !is_in_memory || Space::of(parent).ok()?.available < ROOM_BYTES {
            return None;
        }
        Self::make(parent).ok()
    }

    /// Removes directories that killed processes of this user left behind, from a directory in memory and from the one for
    /// temporary files. A directory that cannot be removed is skipped.
    pub(crate) fn remove_stale(memory: Option<&Path>, in_temporary: bool) {
        let temporary = in_temporary.then(std::env::temp_dir);
        for parent in memory.into_iter().chain(temporary.as_deref()) {
            drop(remove_stale_in(parent));
        }
    }

    /// Returns its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Starts to write into it.
    pub(crate) fn writer(&self) -> io::Result<ScratchWriter> {
        Ok(ScratchWriter {
            root: open_dir(CWD, &*self.path, Links::Refuse)?,
            last: None,
            made: 0,
        })
    }
}

fn remove_stale_in(parent: &Path) -> io::Result<()> {
    let dir = open_dir(CWD, parent, Links::Follow)?;
    // On a network file system, a process of another host may use it, whose lock is not visible here.
    if FileSystem::of(&dir) == FileSystem::Other {
        return Ok(());
    }
    for entry in std::fs::read_dir(parent)? {
        let name = entry?.file_name();
        if !name.to_str().is_some_and(is_scratch) {
            continue;
        }
        let Ok(found) = open_dir(&dir, &*name, Links::Refuse) else {
            continue;
        };
        let stat = stat_of(&found)?;
        let is_own = stat.st_uid == rustix::process::geteuid().as_raw()
            && FileType::from_raw_mode(stat.st_mode).is_dir();
        // The lock is held until it is removed, so that no other process removes one of the same name.
        if is_own && try_lock(&found).is_ok() {
            drop(std::fs::remove_dir_all(parent.join(name)));
        }
    }
    Ok(())
}

/// Returns a file without a name in the directory for temporary files.
pub(crate) fn unnamed_file() -> io::Result<File> {
    tempfile::tempfile()
}

impl ScratchWriter {
    /// Creates a directory and its parents, and opens it. Components are separated by single slashes.
    fn directory(&mut self, path: &[u8]) -> io::Result<&OwnedFd> {
        let is_last = |last: &(Vec<u8>, OwnedFd)| last.0 == path;
        if !self.last.as_ref().is_some_and(is_last) {
            let mut dir = open_dir(&self.root, ".", Links::Refuse)?;
            for name in path.split(|byte| *byte == b'/') {
                if name.is_empty() {
                    continue;
                }
                if matches!(name, b"." | b"..") {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                dir = match open_dir(&dir, name, Links::Refuse) {
                    Err(Errno::NOENT) => {
                        let mode = Mode::from_raw_mode(0o700);
                        retry_on_intr(|| rustix::fs::mkdirat(&dir, name, mode))?;
                        self.made += 1;
                        open_dir(&dir, name, Links::Refuse)?
                    }
                    opened => opened?,
                };
            }
            self.last = Some((path.to_owned(), dir));
        }
        let last = self.last.as_ref();
        Ok(&last.expect("it was just opened").1)
    }

    /// Creates a directory and its parents.
    ///
    /// # Errors
    /// `ENOTDIR` if a file has the name of one of them.
    pub(crate) fn make_dir(&mut self, path: &[u8]) -> io::Result<()> {
        self.directory(path).map(drop)
    }

    /// Creates a file and its parent directories.
    ///
    /// # Errors
    /// `EEXIST` if the name is taken.
    pub(crate) fn create(&mut self, path: &[u8]) -> io::Result<File> {
        let cut = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = match cut {
            Some(at) => (
                path.get(..at).unwrap_or_default(),
                path.get(at + 1..).unwrap_or_default(),
            ),
            None => (&[][..], path),
        };
        if matches!(name, b"" | b"." | b"..") {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let dir = self.directory(parent)?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o600);
        let file = retry_on_intr(|| rustix::fs::openat(dir, name, flags, mode))?;
        Ok(File::from(file))
    }

    /// Returns the number of created directories.
    pub(crate) const fn made_dirs(&self) -> usize {
        self.made
    }

    /// Sets the time of a directory, in nanoseconds since 1970.
    pub(crate) fn set_dir_modified(&mut self, path: &[u8], modified: i128) -> io::Result<()> {
        let dir = self.directory(path)?;
        set_modified(dir, modified)
    }
}

/// Sets the length of a file; missing bytes are zeros that take no space.
pub(crate) fn set_length(file: &File, len: u64) -> io::Result<()> {
    file.set_len(len)
}

/// Sets the time of an open file, in nanoseconds since 1970. The access time is now: programs that clean up temporary files
/// remove those that were not accessed for long.
pub(crate) fn set_modified(file: impl std::os::fd::AsFd, modified: i128) -> io::Result<()> {
    let stamp = Timespec {
        tv_sec: i64::try_from(modified.div_euclid(1_000_000_000)).unwrap_or_default(),
        tv_nsec: i64::try_from(modified.rem_euclid(1_000_000_000)).unwrap_or_default(),
    };
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_NOW,
        },
        last_modification: stamp,
    };
    Ok(retry_on_intr(|| {
        rustix::fs::futimens(file.as_fd(), &times)
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_created_outside() {
        let scratch = Scratch::new().expect("a directory");
        let mut writer = scratch.writer().expect("a writer");
        for path in [&b".."[..], b"../x", b"a/../../x", b".", b"", b"a/."] {
            assert!(writer.create(path).is_err(), "{path:?}");
        }
        for path in [&b".."[..], b"../x", b"a/../../x"] {
            assert!(writer.make_dir(path).is_err(), "{path:?}");
        }
        writer.create(b"a/b/c").expect("a file");
        assert!(writer.create(b"a/b/c").is_err(), "it is there");
        assert!(writer.create(b"a/b/c/d").is_err(), "that is a file");
        assert!(scratch.path().join("a/b/c").is_file());
    }

    #[test]
    fn only_directories_that_no_process_uses_are_stale() {
        use std::os::unix::fs::symlink;

        let parent = tempfile::tempdir().expect("a directory");
        let held = Scratch::make(parent.path()).expect("a directory");
        let left = Scratch::make(parent.path()).expect("a directory");
        left.writer()
            .expect("a writer")
            .create(b"a/b")
            .expect("a file");
        let Scratch { path, locked } = &left;
        let (left_path, outside) = (path.clone(), parent.path().join("outside"));
        rustix::fs::flock(locked, rustix::fs::FlockOperation::Unlock).expect("it was locked");
        std::mem::forget(left);
        std::fs::create_dir(&outside).expect("a directory");
        let link = parent.path().join(".ocisweep-scratch-abcdef");
        symlink(&outside, &link).expect("a link");
        let others = [
            ".ocisweep-aB3dE6",
            ".ocisweep-scratch-",
            ".ocisweep-scratch-abc",
        ];
        for name in others {
            std::fs::create_dir(parent.path().join(name)).expect("a directory");
        }
        remove_stale_in(parent.path()).expect("it can be searched");
        assert!(!left_path.exists(), "nobody has it");
        assert!(held.path().is_dir(), "it is in use");
        assert!(held.is_in_place() && outside.is_dir() && link.is_symlink());
        for name in others {
            assert!(parent.path().join(name).is_dir(), "{name}");
        }
    }

    #[test]
    fn a_length_takes_no_space_and_a_time_is_kept() {
        use std::os::unix::fs::MetadataExt as _;

        let scratch = Scratch::new().expect("a directory");
        let mut writer = scratch.writer().expect("a writer");
        let file = writer.create(b"hole").expect("a file");
        set_length(&file, 8 << 30).expect("a length");
        set_modified(&file, -1_500_000_000).expect("a time");
        let found = file.metadata().expect("it is there");
        assert_eq!(found.len(), 8 << 30);
        assert!(found.blocks() < 64, "{} blocks", found.blocks());
        assert_eq!((found.mtime(), found.mtime_nsec()), (-2, 500_000_000));
    }
}
