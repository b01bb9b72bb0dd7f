//! Archives: image layouts in a tar file.
//!
//! An archive is unpacked as a layout into a scratch directory, so that one engine decides what is removed: the code that
//! lists, measures, plans and deletes works on the scratch layout as on any other. After a run, the new archive is written
//! from the members of the old one, without those that were removed from the scratch layout, and with the documents that the
//! run has edited.
//!
//! ```text
//! archive ─► unpack ─► scratch layout ─► plan, execute ─► compare with the members ─► rewrite ─► rename over the archive
//! ```
//!
//! *Promise*: the old archive is unchanged until the new one is complete and flushed to disk; then it is replaced by a
//! rename, and only if it is still the one that was read. Members that are kept are copied with their headers, byte by byte
//! and in their order.

mod ahead;
mod classic;
mod failure;
mod input;
mod links;
mod listing;
mod paths;
mod rewrite;
mod tar;
mod unpack;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use rustix::fs::{CWD, FileType};

use crate::error::{ArchiveProblem, Error, Result};
use crate::fs::{FileRevision, Links, Scratch, open_file, stat_of, unnamed_file};
use crate::layout::Layout;
use crate::layout::packed::Packed;
use crate::oci::digest::Hasher;
use crate::oci::{Algorithm, Digest};
use crate::progress::{Phase, Progress, Running, Total};

pub use input::Compression;
pub use listing::{docker_save_of_plain, index_of_plain};
pub(crate) use rewrite::Written;
pub use unpack::Compare;

use ahead::BUFFER_BYTES;
use failure::Failure;
use input::{FileInput, FromStart, StreamInput, peek};
use tar::TarProblem;
use unpack::unpack;

/// The path of standard input and standard output.
pub const STANDARD: &str = "-";

/// The number of archives that are unpacked in memory at a time. They are kept until they are processed.
const MAX_IN_MEMORY: usize = 8;

/// Options for archives.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ArchiveOptions {
    /// Whether blobs are compared with their digests while they are read.
    pub compare: Compare,
    /// Whether a command writes: piped input is then kept, since it is read twice.
    pub writes: bool,
    /// Whether archives of docker before version 25 are accepted: they are converted to a layout, which only supports
    /// listing images and removing them by name.
    pub accepts_classic: bool,
    /// A directory in memory, such as `/dev/shm`. Archives with at most 32 MiB of documents and 10,000 members are unpacked
    /// there, if it has 1 GiB free: on a disk, creating and removing the files takes most of the time. `None`: all are
    /// unpacked into the directory for temporary files, like larger ones.
    pub memory: Option<PathBuf>,
    /// The path of the new archive; `None`: it replaces the old one.
    pub output: Option<PathBuf>,
    /// The compression of the new archive; `None`: that of the old one.
    pub compression: Option<Compression>,
}

/// The archives of a run, each read once.
///
/// Functions that take the path of a layout accept that of an archive if they are given this.
#[derive(Debug, Clone)]
pub struct Archives(Arc<Inner>);

impl Default for Archives {
    fn default() -> Self {
        Self::new(ArchiveOptions::default())
    }
}

#[derive(Debug)]
struct Inner {
    options: ArchiveOptions,
    open: Mutex<HashMap<PathBuf, Arc<ArchiveSlot>>>,
    /// Stale scratch directories are removed once.
    clean: Once,
}

/// The slot of an archive: two threads do not read the same one, and others can be read at the same time.
type ArchiveSlot = Mutex<Option<Arc<Archive>>>;

/// An archive that was read.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    source: Source,
    compression: Compression,
    packed: Arc<Packed>,
}

/// How an archive can be read again.
#[derive(Debug)]
enum Source {
    /// At its path, while it is still this file.
    Path(FileRevision),
    /// From an open file: standard input, while it is still this file, or a copy of piped input.
    Held(File, Option<FileRevision>),
    /// Not at all: it was read from a pipe.
    Gone,
}

impl Source {
    /// Returns the version of the file, which other programs may change.
    const fn version(&self) -> Option<FileRevision> {
        match self {
            Self::Path(version) => Some(*version),
            Self::Held(_, version) => *version,
            Self::Gone => None,
        }
    }
}

impl Archives {
    /// Returns an empty set.
    #[must_use]
    pub fn new(options: ArchiveOptions) -> Self {
        Self(Arc::new(Inner {
            options,
            open: Mutex::default(),
            clean: Once::new(),
        }))
    }

    /// Returns the options.
    #[must_use]
    pub fn options(&self) -> &ArchiveOptions {
        &self.0.options
    }

    /// Opens a layout: a directory, or an archive, which is read if it was not yet.
    ///
    /// # Errors
    /// Those of [`Layout::open`], and [`Error::Archive`].
    pub fn open(&self, path: &Path, progress: &dyn Progress) -> Result<Layout> {
        let (slot, others) = {
            let mut open = self.lock();
            let others = open.len() - usize::from(open.contains_key(path));
            let slot = open.entry(path.to_owned()).or_default();
            (Arc::clone(slot), others)
        };
        let mut found = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let archive = match &*found {
            Some(archive) => Arc::clone(archive),
            None => match self.read(path, others < MAX_IN_MEMORY, progress) {
                Ok(Some(archive)) => {
                    // It may have been dropped by then.
                    let mut open = self.lock();
                    open.entry(path.to_owned())
                        .or_insert_with(|| Arc::clone(&slot));
                    drop(open);
                    Arc::clone(found.insert(Arc::new(archive)))
                }
                read => {
                    self.forget(path);
                    drop(found);
                    return read.and_then(|_| Layout::open(path));
                }
            },
        };
        drop(found);
        Layout::open_packed(archive.path.clone(), Arc::clone(&archive.packed))
    }

    /// Returns `true` if there is an archive at a path, or something else that is not a directory.
    #[must_use]
    pub fn may_be(path: &Path) -> bool {
        path == Path::new(STANDARD) || std::fs::metadata(path).is_ok_and(|found| !found.is_dir())
    }

    /// Returns `true` for input that can only be read once: standard input and pipes.
    #[must_use]
    pub fn is_stream(path: &Path) -> bool {
        path == Path::new(STANDARD)
            || std::fs::metadata(path).is_ok_and(|found| !found.is_dir() && !found.is_file())
    }

    /// Returns `true` if a regular file begins like an archive, compressed or not.
    #[must_use]
    pub fn begins_like_one(path: &Path) -> bool {
        let Ok(file) = open_file(CWD, path, Links::Refuse) else {
            return false;
        };
        let is_file = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode).is_file();
        stat_of(&file).is_ok_and(is_file)
            && peek(File::from(file)).is_ok_and(|(head, _)| Compression::of(&head).is_some())
    }

    /// Returns an archive that was opened.
    pub(crate) fn get(&self, path: &Path) -> Option<Arc<Archive>> {
        let slot = self.lock().get(path).cloned()?;
        let found = slot.lock().unwrap_or_else(PoisonError::into_inner);
        found.clone()
    }

    /// Drops an archive, so that it is read again. Its scratch directory is removed with the last layout that was opened
    /// from it.
    pub fn forget(&self, path: &Path) {
        let slot = self.lock().remove(path);
        // Not under the lock: removing a scratch directory takes long.
        drop(slot);
    }

    /// Drops a plain archive until it is processed, if many others are unpacked: reading it again is fast. Compressed
    /// archives and piped input are kept.
    pub fn forget_until_needed(&self, path: &Path) {
        if self.lock().len() <= MAX_IN_MEMORY {
            return;
        }
        let is_cheap = |archive: Arc<Archive>| {
            matches!(archive.source, Source::Path(_)) && archive.compression == Compression::None
        };
        if self.get(path).is_some_and(is_cheap) {
            self.forget(path);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Arc<ArchiveSlot>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads an archive; `None`: a directory, or something that cannot be an archive.
    fn read(
        &self,
        path: &Path,
        may_use_memory: bool,
        progress: &dyn Progress,
    ) -> Result<Option<Archive>> {
        let file = if path == Path::new(STANDARD) {
            let stdin = io::stdin();
            let own = stdin.as_fd().try_clone_to_owned();
            File::from(own.map_err(Error::read(path))?)
        } else {
            // Opening it as a directory reports the error.
            match open_file(CWD, path, Links::Follow) {
                Ok(file) => File::from(file),
                Err(_) => return Ok(None),
            }
        };
        let stat = stat_of(&file).map_err(|error| Error::read(path)(error.into()))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let archive = match kind {
            FileType::Directory => Ok(None),
            FileType::RegularFile => {
                let memory = self.0.options.memory.as_deref().filter(|_| may_use_memory);
                self.read_file(path, file, memory, progress).map(Some)
            }
            // A device could be read for ever.
            FileType::Fifo | FileType::Socket => self.read_stream(path, file, progress).map(Some),
            _ => Ok(None),
        }?;
        let is_refused =
            |archive: &Archive| archive.packed.classic.is_some() && !self.0.options.accepts_classic;
        if archive.as_ref().is_some_and(is_refused) {
            return Err(Error::Archive {
                path: path.to_owned(),
                what: ArchiveProblem::Classic,
            });
        }
        Ok(archive)
    }

    fn read_file(
        &self,
        path: &Path,
        file: File,
        memory: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<Archive> {
        let version = FileRevision::of(&file).map_err(Error::read(path))?;
        let from_start = FromStart { file: &file, at: 0 };
        let (head, _) = peek(from_start).map_err(Error::read(path))?;
        let compression = Compression::of(&head).ok_or_else(|| not_an_archive(path))?;
        // Listing the directory for temporary files can take as long as reading a small archive: commands that only read,
        // and unpack in memory, skip it.
        let is_elsewhere = !self.0.options.writes && memory.is_some();
        self.0.clean.call_once(|| {
            Scratch::remove_stale(self.0.options.memory.as_deref(), !is_elsewhere);
        });
        let total = Total::of(1).with_bytes(version.len);
        let _unpacking = Running::begin(progress, Phase::Unpacking, total);
        let read = |scratch: Option<Scratch>| {
            if compression == Compression::None {
                let mut input = FileInput::new(&file, version.len);
                return Ok(unpack(
                    scratch,
                    &mut input,
                    self.0.options.compare,
                    progress,
                ));
            }
            let file = file.try_clone().map_err(Error::read(path))?;
            let stream = io::BufReader::with_capacity(BUFFER_BYTES, FromStart { file, at: 0 });
            let decoder = compression.decoder(stream, Some(version.len));
            self.read_decoded(path, compression, decoder, scratch, progress)
        };
        let on_disk = || {
            if is_elsewhere {
                Scratch::remove_stale(None, true);
            }
            read(None)
        };
        let result = match memory.and_then(Scratch::in_memory) {
            None => on_disk()?,
            small => match read(small)? {
                // It can be read again.
                Err(Failure::TooLarge | Failure::Scratch(_)) => on_disk()?,
                result => result,
            },
        };
        let mut packed = result.map_err(|failure| failed(path, failure))?;
        packed.is_plain = compression == Compression::None;
        let source = if path == Path::new(STANDARD) {
            Source::Held(file, Some(version))
        } else {
            Source::Path(version)
        };
        Ok(Archive {
            path: path.to_owned(),
            source,
            compression,
            packed: Arc::new(packed),
        })
    }

    fn read_stream(&self, path: &Path, file: File, progress: &dyn Progress) -> Result<Archive> {
        // The flag was for opening it without waiting for a writer; reading must wait.
        set_blocking(&file).map_err(Error::read(path))?;
        wait_for_writer(&file, progress).map_err(|failure| failed(path, failure))?;
        if self.0.options.writes {
            let held = copy_of(file, progress).map_err(|failure| failed(path, failure))?;
            let copy = held.try_clone().map_err(Error::read(path))?;
            let memory = self.0.options.memory.as_deref();
            let mut archive = self.read_file(path, copy, memory, progress)?;
            archive.source = Source::Held(held, None);
            return Ok(archive);
        }
        let (head, stream) = peek(file).map_err(Error::read(path))?;
        let compression = Compression::of(&head).ok_or_else(|| not_an_archive(path))?;
        let _unpacking = Running::begin(progress, Phase::Unpacking, Total::of(1));
        let stream = io::BufReader::with_capacity(BUFFER_BYTES, stream);
        let decoder = compression.decoder(stream, None);
        let result = self.read_decoded(path, compression, decoder, None, progress)?;
        let mut packed = result.map_err(|failure| failed(path, failure))?;
        packed.is_plain = compression == Compression::None;
        Ok(Archive {
            path: path.to_owned(),
            source: Source::Gone,
            compression,
            packed: Arc::new(packed),
        })
    }

    fn read_decoded(
        &self,
        path: &Path,
        compression: Compression,
        decoder: io::Result<Option<Box<dyn io::BufRead>>>,
        scratch: Option<Scratch>,
        progress: &dyn Progress,
    ) -> Result<Result<Packed, Failure>> {
        let decoder = decoder.map_err(Error::read(path))?;
        let decoder = decoder.ok_or_else(|| Error::Archive {
            path: path.to_owned(),
            what: ArchiveProblem::NoDecoder(compression.name()),
        })?;
        let mut input = StreamInput(decoder);
        Ok(unpack(
            scratch,
            &mut input,
            self.0.options.compare,
            progress,
        ))
    }
}

fn not_an_archive(path: &Path) -> Error {
    Error::NotALayout {
        path: path.to_owned(),
        what: crate::error::NotALayout::NotADirectory,
    }
}

fn failed(path: &Path, failure: Failure) -> Error {
    let path = path.to_owned();
    let what = match failure {
        Failure::Interrupted => return Error::Interrupted,
        Failure::Archive(TarProblem::Io(source)) => return Error::Read { path, source },
        Failure::Archive(TarProblem::Bad(why)) => ArchiveProblem::Malformed(why),
        Failure::Scratch(error) => ArchiveProblem::Scratch(error.to_string()),
        // It was already retried on a disk.
        Failure::TooLarge => ArchiveProblem::Scratch(io::ErrorKind::StorageFull.to_string()),
        Failure::Several(layouts) => {
            let layouts: Vec<String> = layouts
                .iter()
                .map(|path| match path.trim_end_matches('/') {
                    "" => "`.`".to_owned(),
                    path => format!("`{path}`"),
                })
                .collect();
            ArchiveProblem::Several(layouts.join(", "))
        }
    };
    Error::Archive { path, what }
}

/// Makes reading a pipe wait for its writer.
fn set_blocking(file: &File) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    rustix::fs::fcntl_setfl(file, flags - rustix::fs::OFlags::NONBLOCK)?;
    Ok(())
}

/// Waits until a pipe has data or its writer has exited: a FIFO without a writer appears to be at its end.
fn wait_for_writer(file: &File, progress: &dyn Progress) -> Result<(), Failure> {
    use rustix::event::{PollFd, PollFlags, poll};

    let pause = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    loop {
        if progress.is_cancelled() {
            return Err(Failure::Interrupted);
        }
        let mut fds = [PollFd::new(file, PollFlags::IN)];
        match poll(&mut fds, Some(&pause)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
}

/// Copies piped input into an unnamed file.
fn copy_of(mut stream: File, progress: &dyn Progress) -> Result<File, Failure> {
    use std::io::Write as _;

    let _unpacking = Running::begin(progress, Phase::Unpacking, Total::of(1));
    let mut copy = unnamed_file().map_err(Failure::Scratch)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        if progress.is_cancelled() {
            return Err(Failure::Interrupted);
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(copy),
            Ok(read) => {
                let bytes = buffer.get(..read).unwrap_or_default();
                copy.write_all(bytes).map_err(Failure::Scratch)?;
                progress.advance(0, read as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Computes the digest of a file in the scratch directory.
fn digest_of_file(path: &Path) -> io::Result<Digest> {
    let mut file = File::from(open_file(CWD, path, Links::Refuse)?);
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => hasher.update(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
