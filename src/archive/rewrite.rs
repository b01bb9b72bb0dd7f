//! Writing the new archive: the members of the old one without what is gone, with the edited documents in their places.
//!
//! *Order*: what changed is found by comparing the scratch layout with the members; the new archive is written beside the old one
//! and flushed to disk; then it is renamed over it, if the old one is still the file that was read. A crash leaves the old archive or
//! the new one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use super::input::{BUFFER_BYTES, Compression, FromStart};
use super::tar::{BLOCK_LEN, edited_header, padded, path_header};
use super::{Archive, ArchiveOptions, STANDARD, Source, digest_of_file};
use crate::error::{ArchiveProblem, Error, Result};
use crate::fs::{
    FileTime, FileVersion, LargeFile, Links, Placed, copy_range, open_file, open_output, stat_at,
};
use crate::layout::archive_change::ArchiveChange;
use crate::layout::packed::{NAME, Packed};
use crate::layout::temp_files::LOCK_FILE;
use crate::oci::Digest;
use crate::oci::index_json::MAX_INDEX_BYTES;
use crate::progress::{Phase, Progress, Running, Total};

/// What became of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is written, or nothing was to be written. By how many bytes it is shorter than the old one, where neither is
    /// compressed.
    Yes(Option<i128>),
    /// Another program has replaced the old one since it was read. Nothing was changed.
    Changed,
}

/// A part of the new archive.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// As many bytes of the old archive, as they are.
    Copy(u64),
    /// As many bytes of the old archive are left out.
    Drop(u64),
    /// A file takes the place of a member: of its extended headers, its header, its content, each of this many bytes.
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

impl Archive {
    /// Refuses to write an archive that cannot be written, before anything is done.
    ///
    /// # Errors
    /// [`Error::Archive`].
    pub(crate) fn refuse_unless_writable(&self, options: &ArchiveOptions) -> Result<()> {
        let refuse = |what| {
            Err(Error::Archive {
                path: self.path.clone(),
                what,
            })
        };
        if let Some(why) = self.packed.read_only {
            return refuse(ArchiveProblem::Unsupported(why));
        }
        let compression = self.new_compression(options);
        if !compression.can_be_written() {
            return refuse(ArchiveProblem::NoEncoder(compression.name()));
        }
        match (&self.source, &options.output) {
            (Source::Gone, _) | (Source::Held(_), None) => refuse(ArchiveProblem::NeedsOutput),
            _ => Ok(()),
        }
    }

    fn new_compression(&self, options: &ArchiveOptions) -> Compression {
        options.compression.unwrap_or(self.compression)
    }

    /// Returns `true` if neither the old archive nor the new one is compressed: then lengths of files tell what is freed.
    pub(crate) fn stays_plain(&self, options: &ArchiveOptions) -> bool {
        self.compression == Compression::None && self.new_compression(options) == Compression::None
    }

    /// Returns by how many bytes the archive gets shorter by a change; `None`: its blobs tell.
    pub(crate) fn shorter_by(
        &self,
        change: &ArchiveChange,
        options: &ArchiveOptions,
    ) -> Option<i128> {
        let packed = &self.packed;
        if self.stays_plain(options) {
            return Some(i128::from(packed.len) - i128::from(packed.length_after(change)));
        }
        // The layout that was made of it has manifests that are not in the archive.
        packed.classic.as_ref().map(|_| {
            let dropped = change.dropped.iter().filter_map(|it| packed.member(*it));
            dropped.map(|member| i128::from(member.len)).sum()
        })
    }

    pub(crate) fn packed(&self) -> &Packed {
        &self.packed
    }

    /// Writes the new archive after a run has changed the scratch layout. `planned`: what the run was to change; `rewritten`: blobs that the run has written.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Write`]; the old archive is as it was then.
    pub(crate) fn write(
        &self,
        planned: &ArchiveChange,
        rewritten: &[Digest],
        time: FileTime,
        options: &ArchiveOptions,
        progress: &dyn Progress,
    ) -> Result<Written> {
        match self.write_once(planned, rewritten, time, options, progress) {
            // It can be read again, and nothing was put into its place.
            Err(Error::Unstable { .. }) if matches!(self.source, Source::Path(_)) => {
                Ok(Written::Changed)
            }
            written => written,
        }
    }

    fn write_once(
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
        if change.is_empty() && options.output.is_none() && compression == self.compression {
            return Ok(Written::Yes(Some(0)));
        }
        let saved = self.shorter_by(&change, options);
        let written = match options.output.as_deref() {
            Some(path) if path == Path::new(STANDARD) => {
                let stdout = io::stdout().lock();
                let mut out = io::BufWriter::with_capacity(BUFFER_BYTES, stdout);
                self.compressed_to(&change, compression, &mut out, progress)?;
                out.flush().map_err(Error::write(path))?;
                Written::Yes(saved)
            }
            Some(path) if is_special(path) => {
                let mut out = open_output(path).map_err(Error::write(path))?;
                self.compressed_to(&change, compression, &mut out, progress)?;
                Written::Yes(saved)
            }
            output => {
                let path = output.unwrap_or(&self.path);
                let mut new = LargeFile::begin(path).map_err(Error::write(path))?;
                if compression == Compression::None {
                    self.plain_to_file(&change, new.file(), progress)?;
                } else {
                    self.compressed_to(&change, compression, new.file(), progress)?;
                }
                let expected = match self.source {
                    Source::Path(version) if output.is_none() => Some(version),
                    _ => None,
                };
                let placed = new.place(expected, time);
                match placed.map_err(Error::write(path))? {
                    Placed::Yes => Written::Yes(saved),
                    Placed::Changed => Written::Changed,
                }
            }
        };
        Ok(written)
    }

    /// Refuses a change that was not planned: another program has removed files from the scratch directory, as programs do that clean up
    /// directories for temporary files. What is gone there is no reason to leave anything out of the new archive.
    fn refuse_unplanned(&self, planned: &ArchiveChange, change: &mut ArchiveChange) -> Result<()> {
        // A lock file is removed with the lock.
        if let Some((lock, _)) = self.packed.in_layout(LOCK_FILE.as_bytes()) {
            change
                .dropped
                .retain(|number| *number != lock || planned.dropped.contains(number));
        }
        if change.dropped.is_subset(&planned.dropped) {
            return Ok(());
        }
        Err(self.scratch(&io::Error::other("files vanished from it")))
    }

    fn scratch(&self, error: &io::Error) -> Error {
        Error::Archive {
            path: self.path.clone(),
            what: ArchiveProblem::Scratch(error.to_string()),
        }
    }

    /// Opens the old archive again, if it is still the file that was read.
    fn reopen(&self) -> Result<File> {
        match &self.source {
            Source::Held(file) => file.try_clone().map_err(Error::read(&self.path)),
            Source::Path(version) => {
                let file = open_file(CWD, &self.path, Links::Follow);
                let file = File::from(file.map_err(|error| Error::read(&self.path)(error.into()))?);
                let now = FileVersion::of(&file).map_err(Error::read(&self.path))?;
                if now == *version {
                    Ok(file)
                } else {
                    Err(self.changed())
                }
            }
            Source::Gone => Err(self.changed()),
        }
    }

    fn changed(&self) -> Error {
        Error::Unstable {
            path: self.path.clone(),
            times: 1,
        }
    }

    /// Writes to a file from a file: the kernel copies.
    fn plain_to_file(
        &self,
        change: &ArchiveChange,
        out: &mut File,
        progress: &dyn Progress,
    ) -> Result<()> {
        if self.compression != Compression::None {
            return self.compressed_to(change, Compression::None, out, progress);
        }
        let file = self.reopen()?;
        let mut at = 0;
        let read = |error| Error::read(&self.path)(error);
        let parts = self.parts(change);
        let total = Total::of(1).with_bytes(self.packed.length_after(change));
        let _packing = Running::begin(progress, Phase::Packing, total);
        for part in parts {
            match part {
                Part::Copy(len) => {
                    let end = at + len;
                    while at < end {
                        if progress.is_cancelled() {
                            return Err(Error::Interrupted);
                        }
                        let copied = copy_range(&file, at, end - at, out)
                            .map_err(|error| self.write_error(error))?;
                        if copied == 0 {
                            return Err(self.changed());
                        }
                        progress.advance(0, copied);
                        at += copied;
                    }
                }
                Part::Drop(len) => at += len,
                Part::Edit { .. } | Part::Add { .. } => {
                    let mut input = FromStart { file: &file, at };
                    self.special(&part, &mut input, out)?;
                    at = input.at;
                }
            }
        }
        self.refuse_other_source(&file)
            .map_err(read)?
            .then_some(())
            .ok_or_else(|| self.changed())
    }

    /// Returns `true` if the file that was copied from is as it was.
    fn refuse_other_source(&self, file: &File) -> io::Result<bool> {
        match &self.source {
            Source::Path(version) => Ok(FileVersion::of(file)? == *version),
            Source::Held(_) | Source::Gone => Ok(true),
        }
    }

    /// Writes to a stream, compressed as asked.
    fn compressed_to(
        &self,
        change: &ArchiveChange,
        compression: Compression,
        out: &mut dyn Write,
        progress: &dyn Progress,
    ) -> Result<()> {
        let file = self.reopen()?;
        let from_start = FromStart { file: &file, at: 0 };
        let stream = BufReader::with_capacity(BUFFER_BYTES, from_start);
        let decoder = self.compression.decoder(stream);
        let decoder = decoder.map_err(Error::read(&self.path))?;
        let mut input = decoder.ok_or_else(|| self.changed())?;
        let total = Total::of(1).with_bytes(self.packed.length_after(change));
        let _packing = Running::begin(progress, Phase::Packing, total);
        let write = |out: &mut dyn Write| self.stream_to(change, &mut *input, out, progress);
        compression.encode(out, write, |error| self.write_error(error))?;
        match self.refuse_other_source(&file) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.changed()),
            Err(error) => Err(Error::read(&self.path)(error)),
        }
    }

    fn stream_to(
        &self,
        change: &ArchiveChange,
        mut input: &mut dyn Read,
        out: &mut dyn Write,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        for part in self.parts(change) {
            let (mut left, is_copied) = match part {
                Part::Copy(len) => (len, true),
                Part::Drop(len) => (len, false),
                part @ (Part::Edit { .. } | Part::Add { .. }) => {
                    self.special(&part, &mut input, out)?;
                    continue;
                }
            };
            while left > 0 {
                if progress.is_cancelled() {
                    return Err(Error::Interrupted);
                }
                let most = usize::try_from(left).unwrap_or(usize::MAX);
                let len = most.min(buffer.len());
                let bytes = buffer.get_mut(..len).unwrap_or_default();
                input.read_exact(bytes).map_err(Error::read(&self.path))?;
                if is_copied {
                    out.write_all(bytes)
                        .map_err(|error| self.write_error(error))?;
                    progress.advance(0, len as u64);
                }
                left -= len as u64;
            }
        }
        Ok(())
    }

    fn write_error(&self, error: io::Error) -> Error {
        Error::write(&self.path)(error)
    }

    /// Writes a part that is no copy of the old archive.
    fn special(&self, part: &Part, input: &mut dyn Read, out: &mut dyn Write) -> Result<()> {
        let read = |error| Error::read(&self.path)(error);
        let write = |error| Error::write(&self.path)(error);
        match part {
            Part::Copy(_) | Part::Drop(_) => {}
            Part::Edit {
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
                    return Err(self.changed());
                }
                let content = match text {
                    Some(text) => text.clone(),
                    None => self.content(path)?,
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
            Part::Add { path } => {
                let content = self.content(path)?;
                let template = self.packed.template.as_ref();
                let (_, header) = template.ok_or_else(|| self.changed())?;
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
            .map_err(|error| self.scratch(&error))?;
        Ok(content)
    }

    /// Returns the parts of the new archive, in their order.
    fn parts(&self, change: &ArchiveChange) -> Vec<Part> {
        let packed = &*self.packed;
        let paths: BTreeMap<u32, &[u8]> = packed
            .by_path
            .iter()
            .filter(|(_, number)| change.edited.contains_key(number))
            .map(|(path, number)| (*number, &**path))
            .collect();
        let mut parts = Vec::new();
        let mut at = 0;
        for (number, member) in (0..).zip(&packed.members) {
            push(&mut parts, Part::Copy(member.start - at));
            at = member.end;
            if change.dropped.contains(&number) {
                push(&mut parts, Part::Drop(member.span()));
            } else if let Some(path) = paths.get(&number) {
                parts.push(Part::Edit {
                    extended: member.header - member.start,
                    old: member.len,
                    path: path.to_vec(),
                    text: change.texts.get(&number).cloned(),
                    keeps_extended: !member.has_extended_size,
                });
            } else {
                push(&mut parts, Part::Copy(member.span()));
            }
            if packed
                .template
                .as_ref()
                .is_some_and(|(it, _)| *it == number)
            {
                let added = change.added.keys();
                parts.extend(added.map(|path| Part::Add { path: path.clone() }));
            }
        }
        push(&mut parts, Part::Copy(packed.len - at));
        parts
    }
}

/// Adds a part, or makes the last one longer.
fn push(parts: &mut Vec<Part>, part: Part) {
    match (parts.last_mut(), part) {
        (_, Part::Copy(0) | Part::Drop(0)) => {}
        (Some(Part::Copy(last)), Part::Copy(len)) | (Some(Part::Drop(last)), Part::Drop(len)) => {
            *last += len;
        }
        (_, part) => parts.push(part),
    }
}

/// Writes the header of a file under a name, which may need a header of its own.
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

/// Returns where a member is in the scratch directory.
fn place(packed: &Packed, path: &[u8]) -> PathBuf {
    let inside = Path::new(std::ffi::OsStr::from_bytes(path));
    packed.scratch.path().join(inside)
}

/// Returns `true` if something is written to that cannot be replaced: a device or a FIFO.
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
        if !path.starts_with(&packed.prefix) || member.is_none_or(|member| member.is_other) {
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
        let name = digest.blob_name();
        let path = format!("blobs/{}/{}", name.directory(), name.file());
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
