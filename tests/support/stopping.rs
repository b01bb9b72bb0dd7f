//! A file system that fails at call N, or runs something else there.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ocisweep::fs::FileStat;
use ocisweep::fs::{Disk, FileTime, Fs, Removed, Renamed};
use ocisweep::oci::Digest;
use ocisweep::oci::digest::DeletableName;

/// The fault at the chosen call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// This call and every later one fail, as if the process had died.
    Dies,
    /// Only this call fails.
    Fails,
    /// It succeeds and reports a failure.
    Lies,
    /// It panics.
    Panics,
    /// Only this call fails, with a full disk.
    Fills,
    /// The disk is full for this call and for all later writes.
    StaysFull,
    /// It succeeds and reports a full disk.
    FillsLate,
    /// Other code runs right before it.
    Meets(fn(&Path)),
    /// Other code runs right after it.
    Then(fn(&Path)),
    /// Other code runs, and then the disk is full.
    MeetsFull(fn(&Path)),
}

/// The real file system, until the fault.
#[derive(Debug)]
pub(crate) struct Stopping {
    way: Way,
    /// Counted from 1; 0 for never.
    at: usize,
    layout: PathBuf,
    calls: Mutex<Vec<String>>,
}

impl Stopping {
    /// `layout` is the one that another program writes to.
    pub(crate) fn new(way: Way, at: usize, layout: &Path) -> Self {
        Self {
            way,
            at,
            layout: layout.to_owned(),
            calls: Mutex::new(Vec::new()),
        }
    }

    /// Records a call, and decides whether it is executed.
    fn pass<T>(&self, call: String, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let writes = call.starts_with("replace ") || call.starts_with("make ");
        let number = {
            let mut calls = self
                .calls
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            calls.push(call);
            calls.len()
        };
        let fault = || Err(io::Error::other("the test stops here"));
        match self.way {
            Way::Dies if self.at > 0 && number >= self.at => fault(),
            Way::Fails if number == self.at => fault(),
            Way::Lies if number == self.at => work().and_then(|_| fault()),
            Way::Panics if number == self.at => panic!("the test stops here"),
            Way::Fills if number == self.at => Err(io::ErrorKind::StorageFull.into()),
            Way::StaysFull if number >= self.at && writes => Err(io::ErrorKind::StorageFull.into()),
            Way::FillsLate if number == self.at => {
                work().and_then(|_| Err(io::ErrorKind::StorageFull.into()))
            }
            Way::MeetsFull(other) if number == self.at => {
                other(&self.layout);
                Err(io::ErrorKind::StorageFull.into())
            }
            Way::Meets(other) if number == self.at => {
                other(&self.layout);
                work()
            }
            Way::Then(other) if number == self.at => {
                let done = work();
                other(&self.layout);
                done
            }
            _ => work(),
        }
    }

    /// Returns the calls made so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

impl Fs for Stopping {
    fn stat(&self, dir: BorrowedFd<'_>, name: &DeletableName) -> io::Result<Option<FileStat>> {
        self.pass(format!("look {}", name.file()), || Disk.stat(dir, name))
    }

    fn remove(&self, dir: BorrowedFd<'_>, name: &DeletableName) -> io::Result<Removed> {
        self.pass(format!("remove {}", name.file()), || Disk.remove(dir, name))
    }

    fn move_blob(
        &self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &DeletableName,
    ) -> io::Result<Renamed> {
        self.pass(format!("move {}", name.file()), || {
            Disk.move_blob(from, to, name)
        })
    }

    fn copy_blob(
        &self,
        source: BorrowedFd<'_>,
        dir: BorrowedFd<'_>,
        digest: &Digest,
    ) -> io::Result<bool> {
        self.pass(format!("replace {digest}"), || {
            Disk.copy_blob(source, dir, digest)
        })
    }

    fn remove_file(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<Removed> {
        self.pass(format!("temporary {name}"), || Disk.remove_file(dir, name))
    }

    fn remove_empty_dir(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<Removed> {
        self.pass(format!("temporary {name}"), || {
            Disk.remove_empty_dir(dir, name)
        })
    }

    fn replace(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        bytes: &[u8],
        time: FileTime,
    ) -> io::Result<()> {
        self.pass(format!("replace {name}"), || {
            Disk.replace(dir, name, bytes, time)
        })
    }

    fn replace_expected(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        expected: Option<&[u8]>,
        bytes: &[u8],
        time: FileTime,
    ) -> io::Result<bool> {
        self.pass(format!("replace {name}"), || {
            Disk.replace_expected(dir, name, expected, bytes, time)
        })
    }

    fn remove_expected(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        expected: &[u8],
    ) -> io::Result<bool> {
        self.pass(format!("remove {name}"), || {
            Disk.remove_expected(dir, name, expected)
        })
    }

    fn restore(&self, dir: BorrowedFd<'_>, parked: &str) -> io::Result<Option<String>> {
        self.pass(format!("restore {parked}"), || Disk.restore(dir, parked))
    }

    fn make_dir(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        self.pass(format!("make {name}"), || Disk.make_dir(dir, name))
    }

    fn sync(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        self.pass("sync".to_owned(), || Disk.sync(file))
    }

    fn sync_dir(&self, dir: BorrowedFd<'_>) -> io::Result<()> {
        self.pass("sync_dir".to_owned(), || Disk.sync_dir(dir))
    }

    fn sync_all(&self, dir: BorrowedFd<'_>) -> io::Result<()> {
        self.pass("sync_all".to_owned(), || Disk.sync_all(dir))
    }
}
