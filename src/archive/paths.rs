//! Paths of members: which of them are blobs, and which may be edited. Bytes, with single slashes and without `./`.

use crate::oci::{Algorithm, Digest};

/// Returns the directory of a path, with a trailing slash or empty, and its name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let cut = path.iter().rposition(|byte| *byte == b'/');
    path.split_at(cut.map_or(0, |at| at + 1))
}

/// Returns the parent directory of `blobs`, for `blobs` itself and everything below.
pub(super) fn owner_of_blob(path: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    for part in path.split(|byte| *byte == b'/') {
        if part == b"blobs" {
            return path.get(..at);
        }
        at += part.len() + 1;
    }
    None
}

/// Returns `true` for `blobs` in a layout and everything below, by path in the layout.
pub(super) fn inside_blobs(path: &[u8]) -> bool {
    owner_of_blob(path).is_some_and(<[u8]>::is_empty)
}

/// Returns the digest in the path of a blob.
pub(super) fn digest_of(path: &[u8]) -> Option<Digest> {
    let (directory, name) = split(path);
    let (_, algorithm) = split(directory.strip_suffix(b"/")?);
    let algorithm = Algorithm::from_name(std::str::from_utf8(algorithm).ok()?)?;
    Digest::from_hex(algorithm, name)
}

/// Returns `true` for the files of a layout that a run may edit, by path in the layout.
pub(super) fn may_be_edited(path: &[u8]) -> bool {
    matches!(path, b"index.json" | b"manifest.json" | b"repositories")
        || path.starts_with(b".ocisweep/")
}
