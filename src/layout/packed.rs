//! The archive that a layout was unpacked from.
//!
//! The layout itself is in a scratch directory: documents unchanged, blobs that no command reads as holes of the right
//! length. So code that only lists, measures and decides needs no special case. Three kinds do: code that reads a blob
//! completely checks [`Packed::is_hole`], code that computes the new length calls [`Packed::length_after`], and code that
//! writes records or waits for other writers does nothing for an archive.

use std::collections::{BTreeMap, HashMap};

use super::archive_change::ArchiveChange;
use super::classic::Classic;
use crate::fs::Scratch;
use crate::oci::Digest;

/// A member of an archive.
#[derive(Debug, Clone)]
pub(crate) struct PackedMember {
    /// The offsets of its first header and of the next member in the archive.
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// The offset of its own header.
    pub(crate) header: u64,
    /// Bytes of its content.
    pub(crate) len: u64,
    pub(crate) kind: MemberKind,
    /// An extended header has its length.
    pub(crate) has_extended_size: bool,
    /// Only its beginning was unpacked.
    pub(crate) is_hole: bool,
}

/// The kind of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A link or a device, which is not in the scratch directory.
    Other,
}

impl PackedMember {
    /// Returns `true` if it was unpacked completely.
    pub(crate) fn is_in_scratch(&self) -> bool {
        self.kind == MemberKind::File && !self.is_hole
    }

    /// Returns the space that it takes in the archive, in bytes.
    pub(crate) const fn span(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// A header of the archive.
pub(crate) type TarHeader = Box<[u8; 512]>;

/// An archive that was read into a scratch directory.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) scratch: Scratch,
    /// The members in their order.
    pub(crate) members: Vec<PackedMember>,
    /// The files and directories among them, by path.
    pub(crate) by_path: HashMap<Box<[u8]>, u32>,
    /// The directory of the layout in the archive, with a trailing slash; empty for its root.
    pub(crate) prefix: Vec<u8>,
    /// The holes that were compared with their digests while they were read.
    pub(crate) compared: HashMap<Digest, bool>,
    /// The digests of the files that a run may edit, by number of the member.
    pub(crate) documents: BTreeMap<u32, Digest>,
    /// The header of a blob, used as the template for a new one, with the number of its member.
    pub(crate) template: Option<(u32, TarHeader)>,
    /// Bytes of the uncompressed archive.
    pub(crate) len: u64,
    /// The archive is not compressed.
    pub(crate) is_plain: bool,
    /// An archive of docker before version 25, which was converted to a layout.
    pub(crate) classic: Option<Classic>,
    /// Why it cannot be rewritten.
    pub(crate) read_only: Option<&'static str>,
}

impl Packed {
    /// Returns `true` if a blob cannot be read, since only its beginning was unpacked.
    pub(crate) fn is_hole(&self, digest: &Digest) -> bool {
        let path = digest.path_in_layout();
        let member = self.in_layout(path.as_bytes());
        member.is_some_and(|(_, member)| member.is_hole)
    }

    /// Returns whether a hole matches its digest; `None` if it was not compared.
    pub(crate) fn has_digest(&self, digest: &Digest) -> Option<bool> {
        self.compared.get(digest).copied()
    }

    /// Returns a member of the layout by its path in the layout.
    pub(crate) fn in_layout(&self, path: &[u8]) -> Option<(u32, &PackedMember)> {
        let number = if self.prefix.is_empty() {
            self.by_path.get(path)
        } else {
            self.by_path.get([&self.prefix, path].concat().as_slice())
        };
        let number = *number?;
        Some((number, self.member(number)?))
    }

    pub(crate) fn member(&self, number: u32) -> Option<&PackedMember> {
        self.members.get(number as usize)
    }

    /// Returns a path in the layout as a path in the archive.
    pub(crate) fn whole(&self, path: &[u8]) -> Vec<u8> {
        [&self.prefix, path].concat()
    }

    /// Returns the space that a new file takes in an archive.
    pub(crate) const fn room(path: &[u8], len: u64) -> u64 {
        let header = if path.len() > NAME { 3 } else { 1 };
        header * BLOCK + len.div_ceil(BLOCK) * BLOCK
    }

    /// Returns the space that a member takes with content of another length.
    fn edited_room(&self, number: u32, member: &PackedMember, len: u64) -> u64 {
        let content = len.div_ceil(BLOCK) * BLOCK;
        if !member.has_extended_size {
            return member.header.saturating_sub(member.start) + BLOCK + content;
        }
        // Its extended headers are removed, since one of them has its old length.
        let mut paths = self.by_path.iter();
        let path = paths.find(|(_, it)| **it == number);
        Self::room(path.map_or(&[], |(path, _)| path), len)
    }

    /// Returns the length of the archive after a change, in bytes, if it is not compressed.
    pub(crate) fn length_after(&self, change: &ArchiveChange) -> u64 {
        let spans = change.dropped.iter().filter_map(|it| self.member(*it));
        let dropped: u64 = spans.map(PackedMember::span).sum();
        let mut len = self.len.saturating_sub(dropped);
        for (number, new) in &change.edited {
            if let Some(member) = self.member(*number) {
                len = len.saturating_sub(member.span()) + self.edited_room(*number, member, *new);
            }
        }
        let added = change.added.iter();
        len + added.map(|(path, len)| Self::room(path, *len)).sum::<u64>()
    }
}

/// The unit of an archive, and the longest path in a header, in bytes.
const BLOCK: u64 = 512;
pub(crate) const NAME: usize = 100;
