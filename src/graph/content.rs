//! Reading one blob: what it is, and what it refers to.

use std::fs::File;
use std::io::{self, Read};

use rustix::fs::FileType;

use crate::fs::stat_of;
use crate::layout::{BlobId, Layout};
use crate::oci::descriptor::{ScanError, decode_data};
use crate::oci::digest::Hasher;
use crate::oci::signed::{Identity, MAX_MANIFEST_BYTES, identify};
use crate::oci::{Digest, Document, Kind, Shape};

/// The largest document of a known type that is read, in bytes. Registries accept 4 MiB; an index of
/// 100,000 children takes some 40 MB.
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;

/// A blob of unknown type up to this size is checked against its digest before it is taken for
/// something that refers to nothing: a manifest that a crash left empty or full of zeros looks so.
pub(crate) const MAX_PLAUSIBLE_MANIFEST_BYTES: u64 = MAX_MANIFEST_BYTES;

/// A document that has to be read.
pub(super) struct Request {
    pub(super) id: BlobId,
    pub(super) digest: Digest,
    pub(super) kind: Kind,
    pub(super) data: Option<Box<str>>,
    /// What it means when the file is not there although the directory lists it.
    pub(super) absent: Absent,
}

impl Request {
    /// Takes over what another descriptor of the same blob promises, and what it carries.
    pub(super) fn improve(&mut self, kind: Kind, data: Option<Box<str>>) {
        if kind.is_document() {
            self.kind = kind;
        }
        if self.data.is_none() {
            self.data = data;
        }
    }
}

/// How long a document is, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Length {
    /// Its file.
    pub(super) file: u64,
    /// What its digest is of, where that is not the file: the payload of a signed manifest.
    pub(super) payload: Option<u64>,
}

impl Length {
    const fn of(file: u64) -> Self {
        Self {
            file,
            payload: None,
        }
    }
}

/// What it means when the file of a blob is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// Nobody said that it is.
    Missing,
    /// The directory listed it a moment ago: the layout changed.
    Vanished,
    /// It is a link.
    LeadsNowhere,
}

/// What reading one blob brought.
pub(super) enum Found {
    Document(Document, Length),
    /// The document stands in the descriptor only.
    Embedded(Option<(Document, Length)>),
    Leaf,
    Missing,
    /// It was listed, and is gone.
    Vanished,
    Damaged(String),
}

/// Reads one blob, as its descriptor promises or as its content tells.
pub(super) fn read(layout: &Layout, request: &Request) -> Found {
    let file = match layout.open_blob(&request.digest) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Taking what was listed a moment ago for a sparse image would make garbage of what it refers to.
            return match (request.absent, &request.data) {
                (Absent::Vanished, _) => Found::Vanished,
                (Absent::LeadsNowhere, _) => {
                    Found::Damaged("is a symbolic link without a target".to_owned())
                }
                (Absent::Missing, Some(text)) => embedded(text),
                (Absent::Missing, None) => Found::Missing,
            };
        }
        Err(error) => return Found::Damaged(format!("cannot be read: {error}")),
    };
    let stat = match stat_of(&file) {
        Ok(stat) => stat,
        Err(error) => return Found::Damaged(format!("cannot be read: {error}")),
    };
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Found::Damaged("is not a regular file".to_owned());
    }
    let len = u64::try_from(stat.st_size).unwrap_or_default();
    let file = File::from(file);
    if request.kind.is_document() {
        read_document(&request.digest, file, len)
    } else {
        read_unknown(&request.digest, file, len)
    }
}

fn read_document(digest: &Digest, file: File, len: u64) -> Found {
    if len > MAX_DOCUMENT_BYTES {
        return Found::Damaged(format!(
            "is {len} bytes long, which no manifest or index is"
        ));
    }
    let bytes = match read_all(file, len) {
        Ok(bytes) => bytes,
        Err(error) => return Found::Damaged(format!("cannot be read: {error}")),
    };
    let length = match verify(digest, &bytes) {
        Ok(length) => length,
        Err(why) => return Found::Damaged(why),
    };
    match Document::scan(&bytes) {
        Ok(document) => whole(document, length, Strict::Always),
        Err(error) => Found::Damaged(format!("is not valid JSON: {error}")),
    }
}

/// Compares bytes with their digest; says why they are not what it names.
fn verify(digest: &Digest, bytes: &[u8]) -> Result<Length, String> {
    let file = bytes.len() as u64;
    match identify(digest, bytes) {
        Identity::Whole => Ok(Length::of(file)),
        Identity::Payload(payload) => Ok(Length {
            file,
            payload: Some(payload),
        }),
        Identity::Other if bytes.is_empty() => Err("is empty".to_owned()),
        Identity::Other => Err("does not match its digest".to_owned()),
    }
}

/// When what is wrong inside a document makes it damaged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strict {
    /// Its descriptor says that it is an index or a manifest.
    Always,
    /// Only if its content says so.
    ByShape,
}

fn whole(document: Document, length: Length, strict: Strict) -> Found {
    match &document.damage {
        Some(why) if strict == Strict::Always || document.shape != Shape::Other => {
            Found::Damaged(format!("has {why}"))
        }
        _ => Found::Document(document, length),
    }
}

/// A blob whose media type says nothing. What does not begin like JSON refers to nothing; the rest
/// is scanned, whatever its size, and what looks like a descriptor in it is followed.
fn read_unknown(digest: &Digest, mut file: File, len: u64) -> Found {
    let cannot = |error: io::Error| Found::Damaged(format!("cannot be read: {error}"));
    if len <= MAX_PLAUSIBLE_MANIFEST_BYTES {
        let bytes = match read_all(file, len) {
            Ok(bytes) => bytes,
            Err(error) => return cannot(error),
        };
        let length = match verify(digest, &bytes) {
            Ok(length) => length,
            Err(why) => return Found::Damaged(why),
        };
        if !begins_like_json(&bytes) {
            return Found::Leaf;
        }
        let (document, result) = Document::scan_values(bytes.as_slice());
        return unknown(document, result, length);
    }
    let mut head = Vec::with_capacity(512);
    if let Err(error) = file.by_ref().take(512).read_to_end(&mut head) {
        return cannot(error);
    }
    if !begins_like_json(&head) {
        return Found::Leaf;
    }
    let mut hashing = Hashing {
        inner: io::Cursor::new(head).chain(file),
        hasher: digest.algorithm().map(Hasher::new),
    };
    let (document, result) = Document::scan_stream(&mut hashing);
    if let Err(error) = &result
        && error.is_io()
    {
        return Found::Damaged(format!("cannot be read: {error}"));
    }
    // The hash is over the whole blob, also when the scan ended early.
    if let Err(error) = io::copy(&mut hashing, &mut io::sink()) {
        return cannot(error);
    }
    if hashing
        .hasher
        .map(Hasher::finish)
        .is_some_and(|found| found != *digest)
    {
        return Found::Damaged("does not match its digest".to_owned());
    }
    unknown(document, result, Length::of(len))
}

fn unknown(document: Document, result: Result<(), ScanError>, length: Length) -> Found {
    match result {
        Ok(()) => whole(document, length, Strict::ByShape),
        // Text that only begins like JSON. What was found before it stopped making sense counts.
        Err(_) if document.links.is_empty() => Found::Leaf,
        Err(_) => Found::Document(document, length),
    }
}

/// The descriptor carries the blob. What does not decode or parse refers to nothing that anybody
/// could read; the digest is not compared, since following too much only keeps too much.
fn embedded(text: &str) -> Found {
    let Some(bytes) = decode_data(text) else {
        return Found::Missing;
    };
    let document = begins_like_json(&bytes)
        .then(|| Document::scan_values(bytes.as_slice()).0)
        .map(|document| (document, Length::of(bytes.len() as u64)));
    Found::Embedded(document)
}

pub(super) fn begins_like_json(bytes: &[u8]) -> bool {
    let first = bytes
        .iter()
        .find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    matches!(first, Some(b'{' | b'['))
}

/// Reads a file of known length without asking for more than that, but not less than what is there.
fn read_all(mut file: impl Read, len: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(len.min(MAX_DOCUMENT_BYTES)).unwrap_or_default();
    // One byte more than there should be: that it stays empty says that the file has ended, without
    // another call to ask.
    let mut bytes = vec![0; len.saturating_add(1)];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if filled == len {
            break;
        }
    }
    bytes.truncate(filled);
    if filled > len {
        // It grew since it was measured.
        file.take((MAX_DOCUMENT_BYTES + 1).saturating_sub(filled as u64))
            .read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Hashes what is read through it.
struct Hashing<R> {
    inner: R,
    hasher: Option<Hasher>,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if let (Some(hasher), Some(bytes)) = (&mut self.hasher, buffer.get(..read)) {
            hasher.update(bytes);
        }
        Ok(read)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Gives a few bytes at a time, and is interrupted in between.
    pub(in crate::graph) struct Slow<'a> {
        pub(in crate::graph) left: &'a [u8],
        asked: usize,
    }

    impl<'a> Slow<'a> {
        pub(in crate::graph) const fn new(left: &'a [u8]) -> Self {
            Self { left, asked: 0 }
        }
    }

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.asked += 1;
            if self.asked.is_multiple_of(2) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let most = buffer.len().min(3);
            self.left.read(buffer.get_mut(..most).unwrap_or_default())
        }
    }

    #[test]
    fn reads_everything_whatever_length_was_announced() {
        let text = b"more than three bytes";
        for len in 0..text.len() + 5 {
            let mut quick = &text[..];
            assert_eq!(read_all(&mut quick, len as u64).expect("no error"), text);
        }
        for len in text.len()..text.len() + 5 {
            assert_eq!(
                read_all(Slow::new(text), len as u64).expect("no error"),
                text
            );
        }
    }

    #[test]
    fn does_not_ask_again_for_what_has_the_announced_length() {
        for len in 1..6 {
            let text = vec![b'x'; len];
            let mut slow = Slow::new(&text);
            let calls = [1, 1, 1, 3, 3][len - 1];
            assert_eq!(read_all(&mut slow, len as u64).expect("no error"), text);
            assert_eq!(slow.asked, calls, "{len}");
        }
    }

    #[test]
    fn an_error_is_an_error() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::PermissionDenied.into())
            }
        }
        let error = read_all(Broken, 5).expect_err("it is broken");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
