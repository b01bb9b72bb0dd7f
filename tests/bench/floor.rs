//! The floor: the system calls that no collector can avoid, and nothing else.
//!
//! It lists the blobs, reads `index.json` and the documents that have to be read, reads every orphan (any of them may be a
//! manifest that refers to something live and is listed nowhere), and deletes the names in a list. It hashes, parses and
//! compares nothing: the time of a collector above the floor is the cost of finding out which names belong in the list.
//!
//! The lists are made beforehand and are in the order in which the directory lists its names, which is
//! the best order for all file systems that were measured.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::layout::to_hex;
use crate::parallel;

/// The number of names that a thread takes at a time: few enough that a small list occupies all threads.
const CHUNK: usize = 64;

/// The task of the floor.
#[derive(Debug)]
pub(crate) enum Task {
    /// List, read and delete.
    Sweep {
        /// The layout.
        layout: PathBuf,
        /// A file with the names of the orphans, one a line: all are read, all are deleted.
        list: PathBuf,
        /// A file with the names of the documents that are reachable, one a line.
        documents: Option<PathBuf>,
        /// The number of threads that delete. Reading uses one thread per core.
        threads: usize,
        /// Whether the orphans are deleted after they were read.
        ending: Ending,
    },
    /// List, and stat each blob: the minimum for a command that prints sizes.
    Stat {
        /// The layout.
        layout: PathBuf,
        /// The number of threads that inspect files.
        threads: usize,
    },
    /// Read `index.json` and the documents, and parse them: the minimum for a command that shows images.
    Parse {
        /// The layout.
        layout: PathBuf,
        /// A file with the names of the documents, one a line.
        documents: PathBuf,
    },
    /// List, read and hash each blob: the minimum for a command that compares contents.
    Hash {
        /// The layout.
        layout: PathBuf,
        /// The number of threads that hash.
        threads: usize,
    },
}

/// The end of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As a dry run.
    Keep,
    /// The list is deleted.
    Delete,
}

/// Runs the task.
///
/// # Errors
/// The error of any system call: a floor that did not do all of its work is not a reference.
pub(crate) fn run(task: &Task) -> io::Result<()> {
    match task {
        Task::Sweep {
            layout,
            list,
            documents,
            threads,
            ending,
        } => {
            let blobs = open_blobs(layout)?;
            each_name(blobs.as_fd(), |_| ())?;
            fs::read(layout.join("index.json"))?;
            if let Some(documents) = documents {
                let text = fs::read_to_string(documents)?;
                read_all(blobs.as_fd(), &text.lines().collect::<Vec<_>>())?;
            }
            let text = fs::read_to_string(list)?;
            let names: Vec<_> = text.lines().collect();
            read_all(blobs.as_fd(), &names)?;
            match ending {
                Ending::Keep => Ok(()),
                Ending::Delete => delete_all(blobs.as_fd(), &names, *threads),
            }
        }
        Task::Stat { layout, threads } => look_at_each(&open_blobs(layout)?, *threads),
        Task::Parse { layout, documents } => {
            let parse = |bytes: &[u8]| {
                let value: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(bytes);
                value.map(drop).map_err(io::Error::other)
            };
            parse(&fs::read(layout.join("index.json"))?)?;
            let text = fs::read_to_string(documents)?;
            let names: Vec<_> = text.lines().collect();
            read_each(open_blobs(layout)?.as_fd(), &names, parse)
        }
        Task::Hash { layout, threads } => hash_all(&open_blobs(layout)?, *threads),
    }
}

/// Lists the blobs, and stats each.
pub(crate) fn look_at_each(blobs: &OwnedFd, threads: usize) -> io::Result<()> {
    let mut names = Vec::new();
    each_name(blobs.as_fd(), |name| names.push(name.to_owned()))?;
    parallel::in_chunks(names.len(), CHUNK, threads, |(): &mut (), range| {
        for name in names.get(range).unwrap_or_default() {
            rustix::fs::statat(blobs, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Hashes every blob, the largest first, so that all threads finish together; one that does not match its name is an error.
fn hash_all(blobs: &OwnedFd, threads: usize) -> io::Result<()> {
    let mut names = Vec::new();
    each_name(blobs.as_fd(), |name| names.push(name.to_owned()))?;
    let mut sized = Vec::with_capacity(names.len());
    for name in names {
        let stat = rustix::fs::statat(blobs, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        sized.push((stat.st_size, name));
    }
    sized.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    parallel::in_chunks(sized.len(), 1, threads, |buffer: &mut Vec<u8>, range| {
        buffer.resize(1 << 17, 0);
        for (_, name) in sized.get(range).unwrap_or_default() {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = rustix::fs::openat(blobs, name.as_c_str(), flags, Mode::empty())?;
            let mut hasher = Sha256::new();
            loop {
                let read = rustix::io::read(&file, &mut buffer[..])?;
                if read == 0 {
                    break;
                }
                hasher.update(buffer.get(..read).unwrap_or_default());
            }
            if to_hex(&hasher.finalize().into()).as_bytes() != name.as_bytes() {
                return Err(io::Error::other(format!("{name:?} is damaged")));
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// Opens the directory that holds a layout's blobs.
pub(crate) fn open_blobs(layout: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(
        CWD,
        layout.join("blobs/sha256"),
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Calls `visit` for each name in a directory, in the directory's own order.
pub(crate) fn each_name(
    dir: BorrowedFd<'_>,
    mut visit: impl FnMut(&std::ffi::CStr),
) -> io::Result<()> {
    // The position in a directory belongs to the open file: it gets one of its own.
    let own = rustix::fs::openat(
        dir,
        c".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut buffer = [MaybeUninit::uninit(); 1 << 16];
    let mut entries = RawDir::new(own, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            visit(name);
        }
    }
    Ok(())
}

/// Opens, measures, reads and closes each of the files: four calls a file.
pub(crate) fn read_all(dir: BorrowedFd<'_>, names: &[&str]) -> io::Result<()> {
    read_each(dir, names, |_| Ok(()))
}

/// Like [`read_all`], and uses the bytes.
fn read_each(
    dir: BorrowedFd<'_>,
    names: &[&str],
    with: impl Fn(&[u8]) -> io::Result<()> + Sync,
) -> io::Result<()> {
    parallel::in_chunks(
        names.len(),
        CHUNK,
        parallel::cores(),
        |buffer: &mut Vec<u8>, range| {
            for name in names.get(range).unwrap_or_default() {
                let file = rustix::fs::openat(
                    dir,
                    *name,
                    OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
                    Mode::empty(),
                )?;
                let len = usize::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or_default();
                buffer.resize(buffer.len().max(len), 0);
                let read = rustix::io::read(&file, buffer.get_mut(..len).unwrap_or_default())?;
                with(buffer.get(..read).unwrap_or_default())?;
            }
            Ok(())
        },
    )?;
    Ok(())
}

/// Deletes the files. One that no longer exists counts as deleted.
pub(crate) fn delete_all(dir: BorrowedFd<'_>, names: &[&str], threads: usize) -> io::Result<()> {
    parallel::in_chunks(names.len(), CHUNK, threads, |(): &mut (), range| {
        for name in names.get(range).unwrap_or_default() {
            match rustix::fs::unlinkat(dir, *name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    })?;
    Ok(())
}
