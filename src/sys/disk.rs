//! The real file system, through directory descriptors.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::{Fs, Removed};
use crate::graph::FileFacts;
use crate::oci::digest::VictimName;

/// Linux's system calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Fs for Disk {
    fn look(&self, dir: BorrowedFd<'_>, name: &VictimName) -> io::Result<Option<FileFacts>> {
        match rustix::fs::statat(dir, name.file(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(FileFacts::of(&stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn remove(&self, dir: BorrowedFd<'_>, name: &VictimName) -> io::Result<Removed> {
        removed(rustix::fs::unlinkat(dir, name.file(), AtFlags::empty()))
    }

    fn remove_temporary(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        is_dir: bool,
    ) -> io::Result<Removed> {
        let flags = if is_dir {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        removed(rustix::fs::unlinkat(dir, name, flags))
    }

    fn sync(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        loop {
            match rustix::fs::fsync(file) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn removed(result: rustix::io::Result<()>) -> io::Result<Removed> {
    match result {
        Ok(()) => Ok(Removed::Yes),
        Err(Errno::NOENT) => Ok(Removed::Gone),
        Err(error) => Err(error.into()),
    }
}
