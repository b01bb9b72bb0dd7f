//! Unpacks an archive into a scratch layout.
//!
//! *Promise*: the scratch layout has every file and directory of the archive with its length and time. Files that a command
//! reads are complete: those up to [`SMALL_BYTES`], and larger ones that begin like JSON or have such a name, up to one byte
//! more than the limit for documents, so that a document that is too large is recognised. All others have their first block,
//! then zeros that take no space. At most [`MAX_SCRATCH_BYTES`] are written in total. No link is created, and nothing
//! outside of the scratch directory.
//!
//! *Failure*: anything doubtful (two members of one path, a link in place of a blob) is an error, since another reader might
//! interpret it differently.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::classic::Archived;
use super::failure::{Failure, bad};
use super::links::{ArchiveLink, LinkKind, LinkTable};
use super::paths::{digest_of, may_be_edited, owner_of_blob, split};
use super::tar::{EntryKind, Input, Members, TarEntry, shown};
use crate::fs::{Scratch, ScratchWriter, set_length, set_modified};
use crate::layout::MAX_SMALL_FILE_BYTES;
use crate::layout::classic::DIRECTORY;
use crate::layout::packed::{MemberKind, Packed, PackedMember};
use crate::layout::second_indexes::is_json_name;
use crate::oci::Digest;
use crate::oci::digest::Hasher;
use crate::oci::index_json::MAX_INDEX_BYTES;
use crate::oci::second_index::may_become_json;
use crate::progress::Progress;

/// Files up to this number of bytes are always unpacked.
const SMALL_BYTES: u64 = 64 << 10;

/// The maximum number of bytes that are written for one archive. Documents of 100,000 images take less.
const MAX_SCRATCH_BYTES: u64 = 4 << 30;

/// The maximum number of bytes that are written to memory.
const MAX_MEMORY_BYTES: u64 = 32 << 20;

/// The maximum number of files and directories in memory: each takes about a kilobyte there.
const MAX_MEMORY_FILES: usize = 10_000;

/// The maximum number of members of an archive: each takes some 200 bytes of memory.
const MAX_MEMBERS: usize = 2_000_000;

/// The maximum number of directories that are created from its paths, which do not have to be members.
const MAX_DIRECTORIES: usize = 2_000_000;

/// The longest path of a member, in bytes: the limit of Linux.
const MAX_PATH_BYTES: usize = 4096;

/// Whether blobs are compared with their digests while they are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compare {
    /// They are not: in a seekable archive, layers are not even read.
    #[default]
    No,
    /// They are.
    Yes,
}

/// Unpacks an archive into a scratch directory: this one in memory, or one in the directory for temporary files.
///
/// # Errors
/// [`Failure::TooLarge`] if its documents or its members do not fit in memory.
pub(super) fn unpack(
    memory: Option<Scratch>,
    input: &mut dyn Input,
    compare: Compare,
    progress: &dyn Progress,
) -> Result<Packed, Failure> {
    let is_in_memory = memory.is_some();
    let scratch = match memory {
        Some(memory) => memory,
        None => Scratch::new().map_err(Failure::Scratch)?,
    };
    let room = if is_in_memory {
        MAX_MEMORY_BYTES
    } else {
        MAX_SCRATCH_BYTES
    };
    let mut unpacking = Unpacking {
        writer: scratch.writer().map_err(Failure::Scratch)?,
        compare,
        progress,
        room,
        is_in_memory,
        buffer: vec![0; super::ahead::BUFFER_BYTES],
        found: ArchiveContents::default(),
    };
    let mut members = Members::new(input);
    while let Some(entry) = members.next()? {
        if progress.is_cancelled() {
            return Err(Failure::Interrupted);
        }
        unpacking.member(&entry, &mut members)?;
        let files = unpacking.writer.made_dirs() + unpacking.found.members.len();
        if is_in_memory && files > MAX_MEMORY_FILES {
            return Err(Failure::TooLarge);
        }
        if unpacking.writer.made_dirs() > MAX_DIRECTORIES {
            return Err(bad(format!(
                "its paths need more than {MAX_DIRECTORIES} directories"
            )));
        }
    }
    let len = members.position();
    let Unpacking {
        mut writer, found, ..
    } = unpacking;
    // Last, and the innermost first: whatever is created in a directory changes its time.
    for (path, modified) in found.directories.iter().rev() {
        let set = writer.set_dir_modified(path, *modified);
        set.map_err(Failure::Scratch)?;
    }
    found.finish(scratch, &mut writer, len)
}

struct Unpacking<'a> {
    writer: ScratchWriter,
    compare: Compare,
    progress: &'a dyn Progress,
    /// The number of bytes that may still be written.
    room: u64,
    is_in_memory: bool,
    buffer: Vec<u8>,
    found: ArchiveContents,
}

/// The contents of an archive.
#[derive(Default)]
struct ArchiveContents {
    members: Vec<PackedMember>,
    by_path: HashMap<Box<[u8]>, u32>,
    compared: HashMap<Digest, bool>,
    directories: BTreeMap<Vec<u8>, i128>,
    links: Vec<ArchiveLink>,
    /// Directories that have `index.json`, and those that have `blobs` or `oci-layout`, each with a trailing slash.
    indexes: BTreeSet<Vec<u8>>,
    layouts: BTreeSet<Vec<u8>>,
    /// The times of files, while no layout was found: an archive of docker before version 25 is converted to one.
    modified: BTreeMap<u32, i128>,
    /// The last file in `blobs` of each directory that has `blobs`.
    templates: HashMap<Vec<u8>, (u32, Box<[u8; 512]>)>,
}

impl Unpacking<'_> {
    fn member(&mut self, entry: &TarEntry, content: &mut Members<'_>) -> Result<(), Failure> {
        let number = self.found.add(entry)?;
        let path = entry.path.as_slice();
        match entry.kind {
            EntryKind::Directory => {
                self.writer
                    .make_dir(path)
                    .map_err(|error| unwritable(path, error))?;
                self.found
                    .directories
                    .insert(entry.path.clone(), entry.modified);
            }
            EntryKind::HardLink | EntryKind::SymbolicLink | EntryKind::Special => {
                let kind = match entry.kind {
                    EntryKind::HardLink => LinkKind::Hard,
                    EntryKind::SymbolicLink => LinkKind::Symbolic,
                    _ => LinkKind::Special,
                };
                let link = ArchiveLink::new(entry.path.clone(), entry.link.clone(), kind);
                self.found.links.push(link);
            }
            EntryKind::File => {
                if self.found.indexes.is_empty() {
                    self.found.modified.insert(number, entry.modified);
                }
                if let Some(owner) = owner_of_blob(path) {
                    let header = Box::new(*content.header());
                    self.found
                        .templates
                        .insert(owner.to_owned(), (number, header));
                }
                self.file(entry, content)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, entry: &TarEntry, content: &mut Members<'_>) -> Result<(), Failure> {
        let path = entry.path.as_slice();
        let file = self.writer.create(path);
        let mut file = file.map_err(|error| unwritable(path, error))?;
        let head = entry.len.min(SMALL_BYTES);
        // Files of this size are read at once, to inspect their beginning.
        let mut first = usize::try_from(head).unwrap_or_default();
        if entry.len > SMALL_BYTES {
            first = first.min(super::tar::BLOCK_LEN);
        }
        let mut left = entry.len;
        self.fill(content, first)?;
        left -= first as u64;
        let begin = self.buffer.get(..first).unwrap_or_default();
        let most = read_of(path, begin);
        // Enough of a document that is too large is kept for its reader to recognise that.
        let mut kept = most.map_or(0, |most| left.min(most.saturating_add(1)));
        let is_kept = kept == left;
        let digest = digest_of(path).filter(|_| !is_kept && self.compare == Compare::Yes);
        let algorithm = digest.as_ref().and_then(Digest::algorithm);
        let mut hasher = algorithm.map(Hasher::new);
        if let Some(hasher) = &mut hasher {
            hasher.update(begin);
        }
        write(&mut file, begin, (&mut self.room, self.is_in_memory))?;
        if !is_kept && let Some(member) = self.found.members.last_mut() {
            member.is_hole = true;
        }
        while left > 0 {
            if self.progress.is_cancelled() {
                return Err(Failure::Interrupted);
            }
            if kept == 0 && hasher.is_none() {
                content.skip(left)?;
                break;
            }
            let most = if kept > 0 { kept } else { left };
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let len = most.min(self.buffer.len());
            self.fill(content, len)?;
            let bytes = self.buffer.get(..len).unwrap_or_default();
            if kept > 0 {
                write(&mut file, bytes, (&mut self.room, self.is_in_memory))?;
                kept -= len as u64;
            }
            if let Some(hasher) = &mut hasher {
                hasher.update(bytes);
            }
            self.progress.advance(0, len as u64);
            left -= len as u64;
        }
        if !is_kept {
            // Only now is it known to be that long.
            set_length(&file, entry.len).map_err(Failure::Scratch)?;
        }
        if let (Some(hasher), Some(digest)) = (hasher, digest) {
            let is_right = hasher.finish() == digest;
            self.found.compared.insert(digest, is_right);
        }
        set_modified(&file, entry.modified).map_err(Failure::Scratch)
    }

    /// Reads this number of bytes of a member into the buffer.
    fn fill(&mut self, content: &mut Members<'_>, len: usize) -> Result<(), Failure> {
        let buffer = self.buffer.get_mut(..len).unwrap_or_default();
        Ok(content.read_exact(buffer)?)
    }
}

fn write(
    file: &mut File,
    bytes: &[u8],
    (room, is_in_memory): (&mut u64, bool),
) -> Result<(), Failure> {
    match room.checked_sub(bytes.len() as u64) {
        Some(left) => *room = left,
        None if is_in_memory => return Err(Failure::TooLarge),
        None => {
            return Err(bad(format!(
                "its documents take more than {MAX_SCRATCH_BYTES} bytes"
            )));
        }
    }
    file.write_all(bytes).map_err(Failure::Scratch)
}

/// Returns the number of bytes of a file that are read if it is a document; `None`: according to its first bytes it is not
/// one.
///
/// The rule must include every file that is read as a list of blobs, see [`crate::layout::second_indexes`], and every blob
/// that may be a manifest.
fn read_of(path: &[u8], begin: &[u8]) -> Option<u64> {
    let (_, name) = split(path);
    let most = match name {
        b"index.json" => MAX_INDEX_BYTES,
        _ => MAX_SMALL_FILE_BYTES,
    };
    let is_json = is_json_name(Path::new(std::ffi::OsStr::from_bytes(name)));
    (is_json || may_become_json(begin)).then_some(most)
}

/// Explains why a member cannot be created: in most cases the archive is at fault.
fn unwritable(path: &[u8], error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::AlreadyExists
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory => bad(format!(
            "two of its members have the path `{}`, or one is below another that is a file",
            shown(path)
        )),
        io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput => bad(format!(
            "the path of its member `{}` cannot be used",
            shown(path)
        )),
        _ => Failure::Scratch(error),
    }
}

impl ArchiveContents {
    fn add(&mut self, entry: &TarEntry) -> Result<u32, Failure> {
        if self.members.len() >= MAX_MEMBERS {
            return Err(bad(format!("it has more than {MAX_MEMBERS} members")));
        }
        if entry.path.len() > MAX_PATH_BYTES {
            return Err(bad(format!(
                "the path of its member `{}…` is longer than {MAX_PATH_BYTES} bytes",
                shown(entry.path.get(..64).unwrap_or_default())
            )));
        }
        if entry.path.starts_with(DIRECTORY)
            || entry.path == DIRECTORY.strip_suffix(b"/").unwrap_or(DIRECTORY)
        {
            return Err(bad(format!(
                "the path of its member `{}` cannot be used",
                shown(&entry.path)
            )));
        }
        let number = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        self.members.push(PackedMember {
            start: entry.start,
            end: entry.end(),
            header: entry.header,
            len: entry.len,
            kind: match entry.kind {
                EntryKind::File => MemberKind::File,
                EntryKind::Directory => MemberKind::Directory,
                EntryKind::HardLink | EntryKind::SymbolicLink | EntryKind::Special => {
                    MemberKind::Other
                }
            },
            has_extended_size: entry.has_extended_size,
            is_hole: false,
        });
        let path = entry.path.as_slice();
        let is_new = self.by_path.insert(path.into(), number).is_none();
        // A directory may occur several times.
        let may_repeat = entry.kind == EntryKind::Directory && self.directories.contains_key(path);
        if !(is_new || may_repeat) {
            return Err(bad(format!(
                "two of its members have the path `{}`",
                shown(path)
            )));
        }
        let (directory, name) = split(path);
        if let Some(owner) = owner_of_blob(path) {
            if !self.layouts.contains(owner) {
                self.layouts.insert(owner.to_owned());
            }
        } else if name == b"index.json" {
            self.indexes.insert(directory.to_owned());
        } else if name == b"oci-layout" {
            self.layouts.insert(directory.to_owned());
        }
        Ok(number)
    }

    /// Finds the layout, and refuses links that matter to it.
    fn finish(
        mut self,
        scratch: Scratch,
        writer: &mut ScratchWriter,
        len: u64,
    ) -> Result<Packed, Failure> {
        let mut layouts = self.indexes.intersection(&self.layouts);
        let mut classic = None;
        let prefix = match (layouts.next(), layouts.next()) {
            (None, _) => {
                classic = super::classic::make(Archived {
                    scratch: &scratch,
                    writer,
                    members: &self.members,
                    by_path: &self.by_path,
                    links: LinkTable::new(&self.links, &self.by_path),
                    modified: &self.modified,
                })?;
                match &classic {
                    Some(_) => DIRECTORY.to_owned(),
                    None => Vec::new(),
                }
            }
            (Some(one), None) => one.clone(),
            (Some(_), Some(_)) => {
                let all = self.indexes.intersection(&self.layouts);
                return Err(Failure::Several(all.map(|path| shown(path)).collect()));
            }
        };
        let is_layout = classic.is_some() || self.indexes.contains(&prefix);
        let links = LinkTable::new(&self.links, &self.by_path);
        if is_layout {
            links.refuse_members_below()?;
        }
        if is_layout && classic.is_none() {
            links.refuse_in(&prefix)?;
        }
        // In a classic archive its own files are edited, not those of the converted layout.
        let root = if classic.is_some() { &b""[..] } else { &prefix };
        let mut documents = BTreeMap::new();
        for (path, number) in &self.by_path {
            let is_editable = path.strip_prefix(root).is_some_and(may_be_edited);
            let member = self.members.get(*number as usize);
            if is_editable && member.is_some_and(PackedMember::is_in_scratch) {
                let inside = Path::new(std::ffi::OsStr::from_bytes(path));
                let file = scratch.path().join(inside);
                let content = super::digest_of_file(&file).map_err(Failure::Scratch)?;
                documents.insert(*number, content);
            }
        }
        let has = |name: &[u8]| self.by_path.contains_key(name);
        let is_listed = has(b"zarf.yaml") && has(b"checksums.txt");
        Ok(Packed {
            scratch,
            template: self.templates.remove(&prefix),
            prefix,
            compared: self.compared,
            documents,
            len,
            is_plain: false,
            classic,
            read_only: is_listed.then_some(
                "its `checksums.txt` lists its members, so the new archive would be damaged",
            ),
            members: self.members,
            by_path: self.by_path,
        })
    }
}
