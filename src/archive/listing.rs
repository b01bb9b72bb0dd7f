//! Reads `index.json` of an archive without unpacking it.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rustix::fs::{CWD, FileType};

use super::input::{Compression, FileInput, FromStart, peek};
use super::tar::{EntryKind, Members};
use crate::fs::{Links, open_file, stat_of};

/// The maximum number of members whose headers are read.
const MAX_MEMBERS: usize = 100_000;

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Returns the bytes of `index.json` in an uncompressed archive. Only headers and that file are read, and nothing is
/// written. The archive is not verified, so no deletion may depend on the result.
///
/// Returns `None` for everything else: a compressed archive, one with several layouts or more than 100,000 members, a damaged one,
/// a pipe.
#[must_use]
pub fn index_of_plain(path: &Path) -> Option<Vec<u8>> {
    member_of_plain(path, b"index.json")
}

/// Returns the bytes of docker save's `manifest.json` in an uncompressed archive, under the same conditions as
/// [`index_of_plain`]. Archives of docker before version 25 have no `index.json`.
#[must_use]
pub fn docker_save_of_plain(path: &Path) -> Option<Vec<u8>> {
    member_of_plain(path, b"manifest.json")
}

fn member_of_plain(path: &Path, name: &[u8]) -> Option<Vec<u8>> {
    let file = File::from(open_file(CWD, path, Links::Follow).ok()?);
    let stat = stat_of(&file).ok()?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return None;
    }
    let (head, _) = peek(FromStart { file: &file, at: 0 }).ok()?;
    if Compression::of(&head) != Some(Compression::None) {
        return None;
    }
    let mut input = FileInput::new(&file, u64::try_from(stat.st_size).ok()?);
    let mut members = Members::new(&mut input);
    let mut found = None;
    for _ in 0..MAX_MEMBERS {
        let Some(entry) = members.next().ok()? else {
            return found;
        };
        let mut names = entry.path.rsplit(|byte| *byte == b'/');
        let is_wanted = names.next() == Some(name)
            && !names.any(|name| name == b"blobs" || name == b".ocisweep");
        if entry.kind != EntryKind::File || !is_wanted {
            continue;
        }
        if found.is_some() || entry.len > MAX_FILE_BYTES {
            return None;
        }
        let mut bytes = Vec::new();
        (&mut members)
            .take(entry.len)
            .read_to_end(&mut bytes)
            .ok()?;
        found = Some(bytes);
    }
    None
}
