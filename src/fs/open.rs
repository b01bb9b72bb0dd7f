//! Opening files and reading their stat, by name relative to an open directory.
//!
//! A signal may interrupt any of these calls on file systems that wait for a server (NFS, FUSE). They are retried.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

/// Whether a symbolic link as the last component of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    Follow,
    Refuse,
}

impl Links {
    const fn flag(self) -> OFlags {
        match self {
            Self::Follow => OFlags::empty(),
            Self::Refuse => OFlags::NOFOLLOW,
        }
    }

    const fn at_flag(self) -> AtFlags {
        match self {
            Self::Follow => AtFlags::empty(),
            Self::Refuse => AtFlags::SYMLINK_NOFOLLOW,
        }
    }
}

pub(crate) fn open_dir(
    parent: impl AsFd,
    name: impl rustix::path::Arg + Copy,
    links: Links,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | links.flag();
    retry_on_intr(|| rustix::fs::openat(&parent, name, flags, Mode::empty()))
}

/// Opens a file for reading. `O_NONBLOCK` prevents a FIFO from blocking for ever.
pub(crate) fn open_file(
    parent: impl AsFd,
    name: impl rustix::path::Arg + Copy,
    links: Links,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | links.flag();
    retry_on_intr(|| rustix::fs::openat(&parent, name, flags, Mode::empty()))
}

/// Returns the stat of a name in a directory.
pub(crate) fn stat_at(
    parent: impl AsFd,
    name: impl rustix::path::Arg + Copy,
    links: Links,
) -> rustix::io::Result<Stat> {
    retry_on_intr(|| rustix::fs::statat(&parent, name, links.at_flag()))
}

/// Returns the stat of an open file.
pub(crate) fn stat_of(file: impl AsFd) -> rustix::io::Result<Stat> {
    retry_on_intr(|| rustix::fs::fstat(&file))
}

/// Returns the mtime in nanoseconds since 1970.
pub(crate) fn modified_of(stat: &Stat) -> i128 {
    i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec)
}

/// Returns the ctime in nanoseconds since 1970.
pub(crate) fn changed_of(stat: &Stat) -> i128 {
    i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec)
}

/// Returns a path without symbolic links.
pub(crate) fn real_path(path: &Path) -> io::Result<PathBuf> {
    loop {
        match std::fs::canonicalize(path) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Returns `true` if the name exists. Any doubt is an error.
pub(crate) fn exists(dir: &OwnedFd, name: &str) -> io::Result<bool> {
    match stat_at(dir, name, Links::Refuse) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Returns `true` if an error means that there is no file: no name, a link without a target or to itself, or a directory.
pub(crate) fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ISDIR)
    ) || error.kind() == io::ErrorKind::NotFound
}
