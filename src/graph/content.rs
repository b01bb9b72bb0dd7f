//! Reads one blob: its type and its references.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::FileType;

use super::is_listed_attestation;
use crate::fs::stat_of;
use crate::layout::{BlobId, Layout};
use crate::oci::descriptor::{ScanError, decode_data};
use crate::oci::digest::Hasher;
use crate::oci::signed::{Identity, MAX_MANIFEST_BYTES, identify};
use crate::oci::{Digest, Document, Kind, Shape};

/// The largest document of a known type that is read, in bytes. Registries accept 4 MiB; an index of 100,000 children takes some
/// 40 MB.
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;

/// A document to read.
pub(super) struct Request {
    pub(super) id: BlobId,
    pub(super) digest: Digest,
    pub(super) kind: Kind,
    /// The bytes in its descriptors (`data`), in base64: any of them may be wrong.
    pub(super) data: Vec<Box<str>>,
    /// The meaning of a file that does not exist.
    pub(super) absent: Absent,
}

impl Request {
    /// Adds the kind and the data of another descriptor of the same blob.
    pub(super) fn improve(&mut self, kind: Kind, data: Option<Box<str>>) {
        if kind.is_document() {
            self.kind = kind;
        }
        self.data.extend(data);
    }
}

/// The length of a document, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Length {
    /// Of its file.
    pub(super) file: u64,
    /// Of the payload, if it is a signed manifest.
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

/// What it means if the file of a blob does not exist.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// It was not listed.
    Missing,
    /// The directory listed it: the layout changed.
    Vanished,
    /// It is a symbolic link.
    BrokenLink,
}

/// The result of reading one blob.
pub(super) enum ReadResult {
    Document(Document, Length),
    /// The bytes exist only in a descriptor.
    Embedded(Embedded),
    Leaf,
    Missing,
    /// It was listed and no longer exists.
    Vanished,
    Damaged(String),
    /// It is damaged, and its content is that of a referrer.
    DamagedReferrer(Box<Document>, String),
}

/// The contents of the `data` of descriptors.
pub(super) struct Embedded {
    /// The references of all data that is JSON; `None` if none is.
    pub(super) document: Option<(Document, Length)>,
    /// The bytes match the digest, so no other descriptor can add anything.
    pub(super) is_proved: bool,
}

/// Reads one blob by the kind that its descriptor declares, or by its content. A blob that the system cannot read is read
/// once more: on network file systems errors are transient, and without it the references of an image would be unknown.
pub(super) fn read(layout: &Layout, request: &Request) -> ReadResult {
    match read_once(layout, request) {
        ReadResult::Damaged(why) if why.starts_with(UNREADABLE) => read_once(layout, request),
        result => result,
    }
}

fn read_once(layout: &Layout, request: &Request) -> ReadResult {
    match layout.open_blob(&request.digest) {
        Ok(file) => read_file(request, file).unwrap_or_else(ReadResult::Damaged),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // If a document that was just listed were treated as sparse, everything that it references would become garbage.
            match request.absent {
                Absent::Vanished => ReadResult::Vanished,
                Absent::BrokenLink => {
                    ReadResult::Damaged("is a symbolic link without a target".to_owned())
                }
                Absent::Missing => embedded(&request.digest, &request.data)
                    .map_or(ReadResult::Missing, ReadResult::Embedded),
            }
        }
        Err(error) => ReadResult::Damaged(unreadable(error)),
    }
}

/// The beginning of reasons that do not concern the content of the blob.
const UNREADABLE: &str = "cannot be read: ";

fn unreadable(error: impl std::fmt::Display) -> String {
    format!("{UNREADABLE}{error}")
}

/// Reads an open blob. The error is the reason why it is damaged.
fn read_file(request: &Request, file: OwnedFd) -> Result<ReadResult, String> {
    let stat = stat_of(&file).map_err(unreadable)?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err("is not a regular file".to_owned());
    }
    let len = u64::try_from(stat.st_size).unwrap_or_default();
    let file = File::from(file);
    if request.kind.is_document() {
        read_document(&request.digest, file, len)
    } else {
        read_unknown(&request.digest, file, len)
    }
}

fn read_document(digest: &Digest, file: File, len: u64) -> Result<ReadResult, String> {
    if len > MAX_DOCUMENT_BYTES {
        return Err(format!(
            "is {len} bytes long, which no manifest or index is"
        ));
    }
    let bytes = read_all(file, len).map_err(unreadable)?;
    let scanned = verify(digest, &bytes).and_then(|length| {
        let document = Document::scan(&bytes);
        let document = document.map_err(|error| format!("is not valid JSON: {error}"))?;
        whole(document, length, Strict::Always)
    });
    Ok(scanned.unwrap_or_else(|why| damaged(digest, &bytes, why)))
}

/// Returns the result for a document that cannot be used. As an unlisted referrer it would be kept with its subject; it must
/// not be treated as less while something lists it.
fn damaged(digest: &Digest, bytes: &[u8], why: String) -> ReadResult {
    let is_small = bytes.len() as u64 <= MAX_MANIFEST_BYTES;
    let referrer = is_small.then(|| referrer(digest, bytes)).flatten();
    match referrer {
        Some(referrer) => ReadResult::DamagedReferrer(Box::new(referrer.document), why),
        None => ReadResult::Damaged(why),
    }
}

/// Compares bytes with their digest. The error describes the difference.
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

/// When damage inside a document counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strict {
    /// Its descriptor declares an index or a manifest.
    Always,
    /// Only if its content is an index or a manifest.
    ByShape,
}

fn whole(document: Document, length: Length, strict: Strict) -> Result<ReadResult, String> {
    match &document.damage {
        Some(why) if strict == Strict::Always || document.shape != Shape::Other => {
            Err(format!("has {why}"))
        }
        _ => Ok(ReadResult::Document(document, length)),
    }
}

/// Reads a blob with an unknown media type. One that does not begin like JSON is a leaf; any other is scanned, whatever its size,
/// and objects with the shape of a descriptor are followed.
fn read_unknown(digest: &Digest, mut file: File, len: u64) -> Result<ReadResult, String> {
    if len <= MAX_MANIFEST_BYTES {
        let bytes = read_all(file, len).map_err(unreadable)?;
        let scanned = verify(digest, &bytes).and_then(|length| {
            if !begins_like_json(&bytes) {
                return Ok(ReadResult::Leaf);
            }
            let (document, result) = Document::scan_values(bytes.as_slice());
            unknown(document, result, length)
        });
        return Ok(scanned.unwrap_or_else(|why| damaged(digest, &bytes, why)));
    }
    let mut head = Vec::with_capacity(512);
    let read = file.by_ref().take(512).read_to_end(&mut head);
    read.map_err(unreadable)?;
    if !begins_like_json(&head) {
        return Ok(ReadResult::Leaf);
    }
    let mut hashing = Hashing {
        inner: io::Cursor::new(head).chain(file),
        hasher: digest.algorithm().map(Hasher::new),
    };
    let (document, result) = Document::scan_stream(&mut hashing);
    if let Err(error) = &result
        && error.is_io()
    {
        return Err(unreadable(error));
    }
    // The hash covers the whole blob, even if the scan ended early.
    io::copy(&mut hashing, &mut io::sink()).map_err(unreadable)?;
    let found = hashing.hasher.map(Hasher::finish);
    if found.is_some_and(|found| found != *digest) {
        return Err("does not match its digest".to_owned());
    }
    unknown(document, result, Length::of(len))
}

fn unknown(
    document: Document,
    result: Result<(), ScanError>,
    length: Length,
) -> Result<ReadResult, String> {
    match result {
        Ok(()) => whole(document, length, Strict::ByShape),
        // Text that only begins like JSON. The references before the error count.
        Err(_) if document.links.is_empty() => Ok(ReadResult::Leaf),
        Err(_) => Ok(ReadResult::Document(document, length)),
    }
}

/// Reads a blob from the `data` of its descriptors; `None` if none decodes. Data that does not decode or parse has no
/// references that any reader could find. If no data matches the digest, the references of all count: following too many
/// only keeps too much.
fn embedded(digest: &Digest, texts: &[Box<str>]) -> Option<Embedded> {
    let mut found: Option<Embedded> = None;
    for text in texts {
        let Some(bytes) = decode_data(text) else {
            continue;
        };
        let document = begins_like_json(&bytes)
            .then(|| Document::scan_values(bytes.as_slice()).0)
            .map(|document| (document, Length::of(bytes.len() as u64)));
        let is_proved = digest.algorithm().is_some() && verify(digest, &bytes).is_ok();
        let read = Embedded {
            document,
            is_proved,
        };
        if is_proved {
            return Some(read);
        }
        match &mut found {
            Some(Embedded {
                document: Some((all, _)),
                ..
            }) => all
                .links
                .extend(read.document.into_iter().flat_map(|(more, _)| more.links)),
            found => *found = Some(read),
        }
    }
    found
}

/// A manifest with a subject.
pub(super) struct Referrer {
    pub(super) document: Document,
    pub(super) matches_digest: bool,
}

/// Returns the document if it has a `subject` that counts. A file that does not parse is not a referrer for any reader.
///
/// A referrer that does not match its digest is kept anyway, with its references: no document depends on it, so there is no reason
/// to refuse the sweep, and doubt keeps.
pub(super) fn referrer(digest: &Digest, bytes: &[u8]) -> Option<Box<Referrer>> {
    let document = Document::scan_deep(bytes).ok()?;
    let is_stale = is_listed_attestation(document.artifact_type.as_deref());
    (!is_stale && document.subjects().next().is_some()).then(|| {
        Box::new(Referrer {
            document,
            matches_digest: identify(digest, bytes) != Identity::Other,
        })
    })
}

/// Returns `true` for JSON white space.
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

pub(super) fn begins_like_json(bytes: &[u8]) -> bool {
    let first = bytes.iter().find(|byte| !is_space(**byte));
    matches!(first, Some(b'{' | b'['))
}

/// Reads a file of known length with as few calls as possible; a file of another length is read as well.
fn read_all(mut file: impl Read, len: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(len.min(MAX_DOCUMENT_BYTES)).unwrap_or_default();
    let mut bytes = Vec::new();
    // One byte more than expected: if it remains empty, the file has ended, without another call.
    fill(&mut file, len, len.saturating_add(1), &mut bytes)?;
    if bytes.len() > len {
        // The file has grown since its length was read.
        let limit = (MAX_DOCUMENT_BYTES + 1).saturating_sub(bytes.len() as u64);
        file.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Reads on until the buffer has `enough` bytes or the file ends; a call may read up to `most`.
pub(super) fn fill(
    file: &mut impl Read,
    enough: usize,
    most: usize,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    let mut filled = buffer.len();
    buffer.resize(most, 0);
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if filled == enough {
            break;
        }
    }
    buffer.truncate(filled);
    Ok(())
}

/// Hashes the bytes that are read through it.
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

    /// Returns a few bytes at a time, with interruptions.
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
    fn a_file_is_read_completely_whatever_length_is_expected() {
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
    fn a_file_of_the_expected_length_is_read_without_a_further_call() {
        for len in 1..6 {
            let text = vec![b'x'; len];
            let mut slow = Slow::new(&text);
            let calls = [1, 1, 1, 3, 3][len - 1];
            assert_eq!(read_all(&mut slow, len as u64).expect("no error"), text);
            assert_eq!(slow.asked, calls, "{len}");
        }
    }

    #[test]
    fn a_read_error_is_returned() {
        struct BrokenReader;
        impl Read for BrokenReader {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::PermissionDenied.into())
            }
        }
        let error = read_all(BrokenReader, 5).expect_err("it is broken");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
