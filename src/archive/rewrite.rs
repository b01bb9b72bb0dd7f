//! Writes the new archive: the members of the old one without the removed ones, and with the edited documents in place.
//!
//! *Order*: changes are found by comparing the scratch layout with the members; the new archive is written beside the old
//! one and flushed to disk; then it is renamed over it, if the old one is still the file that was read. A crash leaves the
//! old archive or the new one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Stat};

use super::ahead::BUFFER_BYTES;
use super::input::{Compression, FromStart};
use super::tar::{BLOCK_LEN, edited_header, padded, path_header};
use super::{Archive, ArchiveOptions, STANDARD, Source, digest_of_file};
use crate::error::{ArchiveProblem, Error, Result};
use crate::fs::{
    FileRevision, FileTime, LargeFile, Links, Placed, copy_range, open_file, open_output, stat_at,
    stat_of,
};
use crate::layout::archive_change::ArchiveChange;
use crate::layout::packed::{MemberKind, NAME, Packed};
use crate::layout::temp_files::LOCK_FILE;
use crate::oci::Digest;
use crate::oci::index_json::MAX_INDEX_BYTES;
use crate::progress::{Phase, Progress, Running, Total};

/// The result for an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// It was written, or there was nothing to write. The number of bytes by which it is shorter than the old one, if
    /// neither is compressed.
    Yes(Option<i128>),
    /// Another program has replaced the old one since it was read. Nothing was changed.
    Changed,
}

/// A part of the new archive.
#[derive(Debug, PartialEq, Eq)]
enum ArchivePart {
    /// This number of bytes of the old archive, unchanged.
    Copy(u64),
    /// This number of bytes of the old archive is omitted.
    Drop(u64),
    /// A file replaces a member: its extended headers, its header and its content, with these numbers of bytes.
    Edit {
        extended: u64,
        old: u64,
        path: Vec<u8>,
        text: Option<Vec<u8>>,
        keeps_extended: bool,
    },
    /// A new file.
    Add { path: Vec<u8> },
}

/// The target of a new archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Destination<'a> {
    Stdout,
    /// A device or a FIFO.
    Stream(&'a Path),
    /// A file, written beside the target and renamed. With a version: it replaces the archive that was read.
    File(&'a Path, Option<FileRevision>),
}

impl Destination<'_> {
    /// Returns the path for messages.
    fn path(&self) -> &Path {
        match self {
            Self::Stdout => Path::new(STANDARD),
            Self::Stream(path) | Self::File(path, _) => path,
        }
    }

    /// Returns `true` if the new archive replaces the old one.
    const fn is_of_old_one(&self) -> bool {
        matches!(self, Self::File(_, Some(_)))
    }
}

impl Archive {
    /// Refuses operations that are impossible, and for a run that `writes`, an archive that cannot be written.
    ///
    /// # Errors
    /// [`Error::Archive`].
    pub(crate) fn refuse_unless_writable(
        &self,
        options: &ArchiveOptions,
        writes: bool,
    ) -> Result<()> {
        let refuse = |what| {
            Err(Error::Archive {
                path: self.path.clone(),
                what,
            })
        };
        if let Some(why) = self.packed.read_only {
            return refuse(ArchiveProblem::Unsupported(why));
        }
        if !writes {
            return Ok(());
        }
        let compression = self.new_compression(options);
        if !compression.can_be_written() {
            return refuse(ArchiveProblem::NoEncoder(compression.name()));
        }
        match (&self.source, &options.output) {
            (Source::Gone, _) | (Source::Held(..), None) => refuse(ArchiveProblem::NeedsOutput),
            _ if self.place(options) == Destination::Stdout
                && self.is_own_file(stat_of(io::stdout())) =>
            {
                refuse(ArchiveProblem::Unsupported(
                    "standard output is this archive itself, which is still being read",
                ))
            }
            _ => Ok(()),
        }
    }

    fn new_compression(&self, options: &ArchiveOptions) -> Compression {
        options.compression.unwrap_or(self.compression)
    }

    /// Returns the target of the new archive.
    fn place<'a>(&'a self, options: &'a ArchiveOptions) -> Destination<'a> {
        match options.output.as_deref() {
            None => Destination::File(&self.path, self.source.version()),
            Some(path) if path == Path::new(STANDARD) => Destination::Stdout,
            Some(path) if is_special(path) => Destination::Stream(path),
            Some(path) => {
                let is_own = self.is_own_file(stat_at(CWD, path, Links::Follow));
                Destination::File(path, self.source.version().filter(|_| is_own))
            }
        }
    }

    /// Returns `true` if the new archive replaces the old one.
    pub(crate) fn is_replaced(&self, options: &ArchiveOptions) -> bool {
        self.place(options).is_of_old_one()
    }

    /// Returns `true` if this is the file of the archive.
    fn is_own_file(&self, found: rustix::io::Result<Stat>) -> bool {
        let found = found.ok().map(|stat| FileRevision::from(&stat));
        matches!((found, self.source.version()), (Some(a), Some(b)) if a.is_same_file(&b))
    }

    /// Returns `true` if neither the old archive nor the new one is compressed: the freed bytes are then the difference of
    /// the file lengths.
    pub(crate) fn stays_plain(&self, options: &ArchiveOptions) -> bool {
        self.compression == Compression::None && self.new_compression(options) == Compression::None
    }

    /// Returns the number of bytes by which a change shortens the archive; `None`: use the bytes of its blobs.
    pub(crate) fn shorter_by(
        &self,
        change: &ArchiveChange,
        options: &ArchiveOptions,
    ) -> Option<i128> {
        let packed = &self.packed;
        if self.stays_plain(options) {
            return Some(i128::from(packed.len) - i128::from(packed.length_after(change)));
        }
        // The converted layout has manifests that are not in the archive.
        packed.classic.as_ref().map(|_| {
            let dropped = change.dropped.iter().filter_map(|it| packed.member(*it));
            dropped.map(|member| i128::from(member.len)).sum()
        })
    }

    pub(crate) fn packed(&self) -> &Packed {
        &self.packed
    }

    /// Writes the new archive after a run has changed the scratch layout. `planned` are the changes of the plan; `rewritten`
    /// are blobs that the run has written.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Write`], and [`Error::Changed`] if another program has changed the old archive and it
    /// cannot be read again, or part of the new one was already written to a pipe or device. The old archive is then
    /// unchanged.
    pub(crate) fn write(
        &self,
        planned: &ArchiveChange,
        rewritten: &[Digest],
        time: FileTime,
        options: &ArchiveOptions,
        progress: &dyn Progress,
    ) -> Result<Written> {
        let change = change_in(&self.packed, rewritten);
        let mut change = change.map_err(|error| self.scratch(&error))?;
        self.refuse_unplanned(planned, &mut change)?;
        let compression = self.new_compression(options);
        let place = self.place(options);
        if change.is_empty() && place.is_of_old_one() && compression == self.compression {
            return Ok(Written::Yes(Some(0)));
        }
        let job = Job {
            archive: self,
            change: &change,
            compression,
            place,
            time,
            progress,
        };
        // It can be read again, and nothing was put in place.
        let can_repeat = matches!(
            (&self.source, place),
            (Source::Path(_), Destination::File(..))
        );
        match job.write() {
            Ok(Placed::Yes) => Ok(Written::Yes(self.shorter_by(&change, options))),
            Ok(Placed::Changed) | Err(Error::Changed { .. }) if can_repeat => Ok(Written::Changed),
            Ok(Placed::Changed) => Err(self.changed()),
            Err(error) => Err(error),
        }
    }

    /// Refuses a change that was not planned: another program has removed files from the scratch directory, such as one that
    /// cleans up temporary files. A file that is missing there must not be omitted from the new archive.
    fn refuse_unplanned(&self, planned: &ArchiveChange, change: &mut ArchiveChange) -> Result<()> {
        // A lock file is removed with the lock.
        if let Some((lock, _)) = self.packed.in_layout(LOCK_FILE.as_bytes()) {
            change
                .dropped
                .retain(|number| *number != lock || planned.dropped.contains(number));
        }
        let is_edit_planned = |number: &u32| planned.edited.contains_key(number);
        let why = if !change.dropped.is_subset(&planned.dropped) {
            "files vanished from it"
        } else if !change.edited.keys().all(is_edit_planned) {
            "another program changed files in it"
        } else if change
            .edited
            .keys()
            .any(|number| change.dropped.contains(number))
        {
            "a file in it is to be both edited and removed"
        } else {
            return Ok(());
        };
        Err(self.scratch(&io::Error::other(why)))
    }

    fn scratch(&self, error: &io::Error) -> Error {
        Error::Archive {
            path: self.path.clone(),
            what: ArchiveProblem::Scratch(error.to_string()),
        }
    }

    /// Opens the old archive again, if it is still the file that was read.
    fn reopen(&self) -> Result<File> {
        let file = match &self.source {
            Source::Held(file, _) => file.try_clone().map_err(Error::read(&self.path))?,
            Source::Path(_) => {
                let file = open_file(CWD, &self.path, Links::Follow);
                File::from(file.map_err(|error| Error::read(&self.path)(error.into()))?)
            }
            Source::Gone => return Err(self.changed()),
        };
        self.refuse_changed(&file)?;
        Ok(file)
    }

    /// Refuses a file that has changed since it was read.
    fn refuse_changed(&self, file: &File) -> Result<()> {
        let Some(version) = self.source.version() else {
            return Ok(());
        };
        let now = FileRevision::of(file).map_err(Error::read(&self.path))?;
        if now == version {
            Ok(())
        } else {
            Err(self.changed())
        }
    }

    fn changed(&self) -> Error {
        Error::changed(&self.path)
    }
}

/// The writer of a new archive.
struct Job<'a> {
    archive: &'a Archive,
    change: &'a ArchiveChange,
    compression: Compression,
    place: Destination<'a>,
    time: FileTime,
    progress: &'a dyn Progress,
}

impl Job<'_> {
    fn write(&self) -> Result<Placed> {
        match self.place {
            Destination::Stdout => {
                let stdout = io::stdout().lock();
                let mut out = io::BufWriter::with_capacity(BUFFER_BYTES, stdout);
                self.compressed_to(&mut out)?;
                out.flush().map_err(|error| self.write_error(error))?;
                Ok(Placed::Yes)
            }
            Destination::Stream(path) => {
                let out = open_output(path);
                let mut out = out.map_err(|error| self.write_error(error))?;
                self.compressed_to(&mut out)?;
                Ok(Placed::Yes)
            }
            Destination::File(path, expected) => {
                // If others could not read the old file, they must not be able to read the new one.
                let mode = self.archive.source.version().map(|old| old.mode);
                let new = LargeFile::begin(path, mode);
                let mut new = new.map_err(|error| self.write_error(error))?;
                if self.compression == Compression::None {
                    self.plain_to_file(new.file())?;
                } else {
                    self.compressed_to(new.file())?;
                }
                let placed = new.place(expected, self.time);
                placed.map_err(|error| self.write_error(error))
            }
        }
    }

    fn read_error(&self, error: io::Error) -> Error {
        Error::read(&self.archive.path)(error)
    }

    fn write_error(&self, error: io::Error) -> Error {
        Error::write(self.place.path())(error)
    }

    fn refuse_if_cancelled(&self) -> Result<()> {
        if self.progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        Ok(())
    }

    /// Starts to report progress.
    fn packing(&self) -> Running<'_> {
        let bytes = self.archive.packed.length_after(self.change);
        Running::begin(
            self.progress,
            Phase::Packing,
            Total::of(1).with_bytes(bytes),
        )
    }

    /// Writes to a file from a file: the kernel copies.
    fn plain_to_file(&self, out: &mut File) -> Result<()> {
        if self.archive.compression != Compression::None {
            return self.compressed_to(out);
        }
        let file = self.archive.reopen()?;
        let mut at = 0;
        let _packing = self.packing();
        for part in self.parts() {
            match part {
                ArchivePart::Copy(len) => {
                    let end = at + len;
                    while at < end {
                        self.refuse_if_cancelled()?;
                        let copied = copy_range(&file, at, end - at, out)
                            .map_err(|error| self.write_error(error))?;
                        if copied == 0 {
                            return Err(self.archive.changed());
                        }
                        self.progress.advance(0, copied);
                        at += copied;
                    }
                }
                ArchivePart::Drop(len) => at += len,
                ArchivePart::Edit { .. } | ArchivePart::Add { .. } => {
                    let mut input = FromStart { file: &file, at };
                    self.special(&part, &mut input, out)?;
                    at = input.at;
                }
            }
        }
        self.archive.refuse_changed(&file)
    }

    /// Writes to a stream, compressed as requested.
    fn compressed_to(&self, out: &mut dyn Write) -> Result<()> {
        let archive = self.archive;
        let file = archive.reopen()?;
        let len = FileRevision::of(&file).map(|version| version.len);
        let from_start = file.try_clone().map(|file| FromStart { file, at: 0 });
        let from_start = from_start.map_err(|error| self.read_error(error))?;
        let stream = BufReader::with_capacity(BUFFER_BYTES, from_start);
        let decoder = archive.compression.decoder(stream, len.ok());
        let decoder = decoder.map_err(|error| self.read_error(error))?;
        let mut input = decoder.ok_or_else(|| archive.changed())?;
        let _packing = self.packing();
        let write = |out: &mut dyn Write| self.stream_to(&mut *input, out);
        self.compression
            .encode(out, write, |error| self.write_error(error))?;
        archive.refuse_changed(&file)
    }

    fn stream_to(&self, mut input: &mut dyn BufRead, out: &mut dyn Write) -> Result<()> {
        for part in self.parts() {
            let (mut left, is_copied) = match part {
                ArchivePart::Copy(len) => (len, true),
                ArchivePart::Drop(len) => (len, false),
                part @ (ArchivePart::Edit { .. } | ArchivePart::Add { .. }) => {
                    self.special(&part, &mut input, out)?;
                    continue;
                }
            };
            while left > 0 {
                self.refuse_if_cancelled()?;
                let found = match input.fill_buf() {
                    Ok([]) => return Err(self.read_error(io::ErrorKind::UnexpectedEof.into())),
                    Ok(found) => found,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(self.read_error(error)),
                };
                let most = usize::try_from(left).unwrap_or(usize::MAX);
                let bytes = found.get(..most).unwrap_or(found);
                if is_copied {
                    let written = out.write_all(bytes);
                    written.map_err(|error| self.write_error(error))?;
                    self.progress.advance(0, bytes.len() as u64);
                }
                let len = bytes.len();
                input.consume(len);
                left -= len as u64;
            }
        }
        Ok(())
    }

    /// Writes a part that is not a copy of the old archive.
    fn special(&self, part: &ArchivePart, input: &mut dyn Read, out: &mut dyn Write) -> Result<()> {
        let read = |error| self.read_error(error);
        let write = |error| self.write_error(error);
        let archive = self.archive;
        match part {
            ArchivePart::Copy(_) | ArchivePart::Drop(_) => {}
            ArchivePart::Edit {
                extended,
                old,
                path,
                text,
                keeps_extended,
            } => {
                let mut before = Vec::new();
                input
                    .take(*extended)
                    .read_to_end(&mut before)
                    .map_err(read)?;
                let mut header = [0; BLOCK_LEN];
                input.read_exact(&mut header).map_err(read)?;
                let skipped = io::copy(&mut input.take(padded(*old)), &mut io::sink());
                if skipped.map_err(read)? != padded(*old) {
                    return Err(archive.changed());
                }
                let content = match text {
                    Some(text) => text.clone(),
                    None => archive.content(path)?,
                };
                let len = content.len() as u64;
                if *keeps_extended {
                    out.write_all(&before).map_err(write)?;
                    out.write_all(&edited_header(&header, len, None))
                        .map_err(write)?;
                } else {
                    named_header(&header, path, len, out).map_err(write)?;
                }
                write_padded(&content, out).map_err(write)?;
            }
            ArchivePart::Add { path } => {
                let content = archive.content(path)?;
                let template = archive.packed.template.as_ref();
                let (_, header) = template.ok_or_else(|| archive.changed())?;
                let style: &[u8] = if header.starts_with(b"./") {
                    b"./"
                } else {
                    b""
                };
                let name = [style, path].concat();
                let name = if name.len() <= NAME { &name } else { path };
                named_header(header, name, content.len() as u64, out).map_err(write)?;
                write_padded(&content, out).map_err(write)?;
            }
        }
        Ok(())
    }

    /// Returns the parts of the new archive, in their order.
    fn parts(&self) -> Vec<ArchivePart> {
        let (packed, change) = (&*self.archive.packed, self.change);
        let paths: BTreeMap<u32, &[u8]> = packed
            .by_path
            .iter()
            .filter(|(_, number)| change.edited.contains_key(number))
            .map(|(path, number)| (*number, &**path))
            .collect();
        let mut parts = Vec::new();
        let mut at = 0;
        for (number, member) in (0..).zip(&packed.members) {
            push(&mut parts, ArchivePart::Copy(member.start - at));
            at = member.end;
            if change.dropped.contains(&number) {
                push(&mut parts, ArchivePart::Drop(member.span()));
            } else if let Some(path) = paths.get(&number) {
                parts.push(ArchivePart::Edit {
                    extended: member.header - member.start,
                    old: member.len,
                    path: path.to_vec(),
                    text: change.texts.get(&number).cloned(),
                    keeps_extended: !member.has_extended_size,
                });
            } else {
                push(&mut parts, ArchivePart::Copy(member.span()));
            }
            if packed
                .template
                .as_ref()
                .is_some_and(|(it, _)| *it == number)
            {
                let added = change.added.keys();
                parts.extend(added.map(|path| ArchivePart::Add { path: path.clone() }));
            }
        }
        push(&mut parts, ArchivePart::Copy(packed.len - at));
        parts
    }
}

impl Archive {
    /// Reads a document of the scratch directory.
    fn content(&self, path: &[u8]) -> Result<Vec<u8>> {
        let file = place(&self.packed, path);
        let mut content = Vec::new();
        open_file(CWD, &file, Links::Refuse)
            .map_err(io::Error::from)
            .and_then(|file| {
                let mut file = File::from(file).take(MAX_INDEX_BYTES + 1);
                file.read_to_end(&mut content)
            })
            .and_then(|len| match len as u64 {
                0..=MAX_INDEX_BYTES => Ok(()),
                _ => Err(io::Error::other("a document in it is too large")),
            })
            .map_err(|error| self.scratch(&error))?;
        Ok(content)
    }
}

/// Adds a part, or makes the last one longer.
fn push(parts: &mut Vec<ArchivePart>, part: ArchivePart) {
    match (parts.last_mut(), part) {
        (_, ArchivePart::Copy(0) | ArchivePart::Drop(0)) => {}
        (Some(ArchivePart::Copy(last)), ArchivePart::Copy(len))
        | (Some(ArchivePart::Drop(last)), ArchivePart::Drop(len)) => {
            *last += len;
        }
        (_, part) => parts.push(part),
    }
}

/// Writes the header of a file, with an extended header if its name needs one.
fn named_header(
    header: &[u8; BLOCK_LEN],
    path: &[u8],
    len: u64,
    out: &mut dyn Write,
) -> io::Result<()> {
    if path.len() > NAME {
        out.write_all(&path_header(header, path))?;
    }
    let name = path.get(..NAME).unwrap_or(path);
    out.write_all(&edited_header(header, len, Some(name)))
}

fn write_padded(content: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let len = content.len() as u64;
    let padding = usize::try_from(padded(len) - len).unwrap_or_default();
    out.write_all(content)?;
    out.write_all([0; BLOCK_LEN].get(..padding).unwrap_or_default())
}

/// Returns the path of a member in the scratch directory.
fn place(packed: &Packed, path: &[u8]) -> PathBuf {
    let inside = Path::new(std::ffi::OsStr::from_bytes(path));
    packed.scratch.path().join(inside)
}

/// Returns `true` if the target cannot be replaced: a device or a FIFO.
fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

fn digest_of_text(text: &str) -> Digest {
    Digest::of(crate::oci::Algorithm::Sha256, text.as_bytes())
}

/// Compares the scratch layout with the members of the archive.
fn change_in(packed: &Packed, rewritten: &[Digest]) -> io::Result<ArchiveChange> {
    if let Some(classic) = &packed.classic {
        let read = |name: &str| {
            let text = std::fs::read(place(packed, &packed.whole(name.as_bytes())));
            text.map(|text| String::from_utf8_lossy(&text).into_owned())
        };
        let lists = read("manifest.json")?;
        let repositories = classic.repositories.map(|number| {
            let text = read("repositories")?;
            let is_old = packed.documents.get(&number) == Some(&digest_of_text(&text));
            Ok::<_, io::Error>((!is_old).then_some(text))
        });
        let repositories = repositories.transpose()?.flatten();
        let is_gone = |path: &str| !place(packed, &packed.whole(path.as_bytes())).exists();
        let change = classic.change(
            &packed.by_path,
            is_gone,
            Some(&lists),
            repositories.as_deref(),
        );
        return change.map_err(io::Error::other);
    }
    let mut change = ArchiveChange::default();
    for (path, number) in &packed.by_path {
        let member = packed.member(*number);
        if !path.starts_with(&packed.prefix)
            || member.is_none_or(|member| member.kind == MemberKind::Other)
        {
            continue;
        }
        let place = place(packed, path);
        match stat_at(CWD, &place, Links::Refuse) {
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
                change.dropped.insert(*number);
                continue;
            }
            Err(error) => return Err(error.into()),
            Ok(stat) => {
                let old = packed.documents.get(number);
                if old.is_some_and(|old| digest_of_file(&place).ok().as_ref() != Some(old)) {
                    let len = u64::try_from(stat.st_size).unwrap_or_default();
                    change.edited.insert(*number, len);
                }
            }
        }
    }
    for digest in rewritten {
        let path = digest.path_in_layout();
        let whole = packed.whole(path.as_bytes());
        let stat = match stat_at(CWD, &place(packed, &whole), Links::Refuse) {
            Ok(stat) => stat,
            // The run has deleted it again.
            Err(rustix::io::Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        let len = u64::try_from(stat.st_size).unwrap_or_default();
        match packed.by_path.get(&*whole) {
            Some(number) => {
                change.edited.insert(*number, len);
            }
            None => {
                change.added.insert(whole, len);
            }
        }
    }
    Ok(change)
}
