//! Reading documents, in parallel, and following them.

use std::fs::File;
use std::io::{self, Read};

use jiff::Timestamp;
use rayon::prelude::*;
use rustix::fs::FileType;

use super::{Edge, Graph, Looked, Node, Root, RootSource};
use crate::error::{Error, Result};
use crate::layout::{BlobId, Layout, State, stat_of};
use crate::observe::{Observer, Phase};
use crate::oci::digest::Hasher;
use crate::oci::document::{Link, decode_data};
use crate::oci::{Digest, Document, Kind, Role, Shape};

/// The largest document of a known type that is read, in bytes. Registries accept 4 MiB; an index of
/// 100,000 children takes some 40 MB.
pub(super) const MAX_DOCUMENT_BYTES: u64 = 64 << 20;

/// A blob of unknown type up to this size is checked against its digest before it is taken for
/// something that refers to nothing: a manifest that a crash left empty or full of zeros looks so.
/// No registry takes a larger manifest.
pub(super) const MAX_PLAUSIBLE_MANIFEST_BYTES: u64 = 4 << 20;

/// How many documents are read before their references are followed: bounds the memory of a wide
/// index.
const BATCH: usize = 1024;

/// A document that has to be read.
struct Request {
    id: BlobId,
    digest: Digest,
    kind: Kind,
    data: Option<Box<str>>,
    /// What it means when the file is not there although the directory lists it.
    vanished: Option<&'static str>,
}

/// A blob that has to be visited, and what led to it.
pub(super) struct Step {
    pub(super) id: BlobId,
    pub(super) kind: Kind,
    pub(super) data: Option<Box<str>>,
    pub(super) via: Via,
}

/// How a blob was reached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    /// A document or a root refers to it.
    Reference,
    /// It refers to its subject, and nothing refers to it.
    Subject,
}

impl Step {
    fn to(id: BlobId, kind: Kind, data: Option<Box<str>>) -> Self {
        Self {
            id,
            kind,
            data,
            via: Via::Reference,
        }
    }

    pub(super) fn referrer(id: BlobId) -> Self {
        Self {
            id,
            kind: Kind::Manifest,
            data: None,
            via: Via::Subject,
        }
    }

    pub(super) fn unknown(id: BlobId) -> Self {
        Self::to(id, Kind::Unknown, None)
    }

    fn along(edge: &Edge) -> Self {
        let data = edge
            .details
            .as_ref()
            .and_then(|details| details.data.clone());
        Self::to(edge.to, edge.kind, data)
    }
}

/// What reading one blob brought.
enum Found {
    Document(Document, u64),
    /// The document stands in the descriptor only.
    Embedded(Option<(Document, u64)>),
    Leaf,
    Missing,
    Damaged(String),
}

impl Graph {
    /// Reads what the roots lead to.
    pub(super) fn add_roots(
        &mut self,
        layout: &Layout,
        state: &State,
        now: Timestamp,
        observer: &dyn Observer,
    ) -> Result<()> {
        observer.begin(Phase::Reading, None);
        let mut queue = Vec::new();
        for (position, entry) in state.index.entries().iter().enumerate() {
            let source = RootSource::Entry(position);
            match &entry.digest {
                Ok(digest) => {
                    let data = entry
                        .has_data
                        .then(|| state.index.details(entry).data)
                        .flatten();
                    let id = self.add_root(source, digest, entry.kind);
                    queue.push(Step::to(id, entry.kind, data));
                }
                Err(why) => self.roots.push(Root {
                    source,
                    target: Err(why.clone()),
                    kind: Kind::Unknown,
                }),
            }
            for link in &entry.others {
                let id = self.add_root(RootSource::InsideEntry(position), &link.digest, link.kind);
                queue.push(Step::to(id, link.kind, data_of(link)));
            }
        }
        for link in state.index.other_links() {
            let id = self.add_root(RootSource::IndexField, &link.digest, link.kind);
            queue.push(Step::to(id, link.kind, data_of(link)));
        }
        for (position, hold) in state.holds.holds.iter().enumerate() {
            if hold.is_active(now) {
                let id = self.add_root(RootSource::Hold(position), &hold.digest, Kind::Unknown);
                queue.push(Step::to(id, Kind::Unknown, None));
            }
        }
        let elements = state.docker_save.iter().flat_map(|save| &save.elements);
        for (position, element) in elements.enumerate() {
            for digest in &element.blobs {
                // `Config` and `Layers` are leaves by definition of the format.
                let id = self.add_root(RootSource::DockerSave(position), digest, Kind::Layer);
                queue.push(Step::to(id, Kind::Layer, None));
            }
        }
        self.follow(layout, queue, observer)
    }

    fn add_root(&mut self, source: RootSource, digest: &Digest, kind: Kind) -> BlobId {
        let id = self.intern(digest.clone());
        self.roots.push(Root {
            source,
            target: Ok(id),
            kind,
        });
        id
    }

    /// Returns the number of a digest, a new one if it has none.
    pub(super) fn intern(&mut self, digest: Digest) -> BlobId {
        if let Some(id) = self.blobs.id(&digest) {
            return id;
        }
        let offset = u32::try_from(self.blobs.len()).expect("numbers of blobs fit into 32 bits");
        offset + self.extra.insert(digest)
    }

    /// Reads the given blobs and everything below them.
    pub(super) fn follow(
        &mut self,
        layout: &Layout,
        mut queue: Vec<Step>,
        observer: &dyn Observer,
    ) -> Result<()> {
        let mut requests = Vec::new();
        loop {
            while let Some(step) = queue.pop() {
                let Step {
                    id,
                    kind,
                    data,
                    via,
                } = step;
                if self.reached.insert(id) {
                    let referrers = self.referrers(id).to_vec();
                    queue.extend(referrers.into_iter().map(Step::referrer));
                    // A referrer that was sniffed is read already, but not yet followed.
                    if let Some(node) = self.node(id) {
                        queue.extend(node.edges.iter().map(Step::along));
                    }
                }
                // What a descriptor carries is followed whatever it is called there: another descriptor
                // may call the same blob a document, and carry nothing.
                let is_carried = data.is_some() && (id as usize) >= self.blobs.len();
                if kind.is_leaf() && !is_carried {
                    continue;
                }
                if via == Via::Reference && self.unverified.contains(&id) {
                    // As an unlisted referrer it was taken as found. A document that another one
                    // refers to has to be what its digest says.
                    let why = "does not match its digest".into();
                    self.looked.insert(id, Looked::Damaged(why));
                }
                let is_open = match self.looked.get(&id) {
                    None => true,
                    // Another descriptor of the same blob may carry its bytes.
                    Some(Looked::Missing) => data.is_some(),
                    // Taken for no document because a descriptor of unknown type led to it; one
                    // that promises a document has to be kept to its word.
                    Some(Looked::Leaf) => kind.is_document(),
                    Some(Looked::Document(_) | Looked::Damaged(_)) => false,
                };
                if is_open {
                    self.looked.insert(id, Looked::Missing);
                    requests.push(Request {
                        id,
                        digest: self.digest(id).clone(),
                        kind,
                        data,
                        vanished: self.vanished(id),
                    });
                }
                if requests.len() >= BATCH {
                    break;
                }
            }
            if requests.is_empty() {
                return Ok(());
            }
            if observer.stop() {
                return Err(Error::Interrupted);
            }
            let found: Vec<_> = requests
                .par_iter()
                .with_max_len(32)
                .map(|request| read(layout, request))
                .collect();
            observer.advance(requests.len() as u64, 0);
            for (request, found) in requests.drain(..).zip(found) {
                self.look(request.id, found, &mut queue);
            }
        }
    }

    /// Says what it means when a blob is not there.
    fn vanished(&self, id: BlobId) -> Option<&'static str> {
        if (id as usize) >= self.blobs.len() {
            None
        } else if self.blobs.is_link(id) {
            Some("is a symbolic link that leads nowhere")
        } else {
            Some("vanished while it was read")
        }
    }

    /// Takes over what reading one blob brought.
    fn look(&mut self, id: BlobId, found: Found, queue: &mut Vec<Step>) {
        let looked = match found {
            Found::Document(document, len) => self.add_node(id, document, len, queue),
            Found::Embedded(document) => {
                self.embedded.insert(id);
                match document {
                    Some((document, len)) => self.add_node(id, document, len, queue),
                    None => Looked::Leaf,
                }
            }
            Found::Leaf => Looked::Leaf,
            Found::Missing => Looked::Missing,
            Found::Damaged(why) => Looked::Damaged(why.into()),
        };
        self.looked.insert(id, looked);
    }

    fn add_node(
        &mut self,
        id: BlobId,
        document: Document,
        len: u64,
        queue: &mut Vec<Step>,
    ) -> Looked {
        let node = self.node_of(document, len, |edge| queue.push(Step::along(edge)));
        if node.counts_as_referrer() {
            for edge in node.edges.iter().filter(|edge| edge.role == Role::Subject) {
                self.referrers.entry(edge.to).or_default().push(id);
            }
        }
        self.push_node(node)
    }

    pub(super) fn push_node(&mut self, node: Node) -> Looked {
        let position = u32::try_from(self.nodes.len()).expect("documents fit into 32 bits");
        self.nodes.push(node);
        Looked::Document(position)
    }

    /// Turns a document into a node, with numbers for digests.
    pub(super) fn node_of(
        &mut self,
        document: Document,
        len: u64,
        mut each: impl FnMut(&Edge),
    ) -> Node {
        // Of exact size, on this thread. Collecting would reuse the larger list of links, and leave what
        // is over scattered through the memory of the thread that made it.
        let mut edges = Vec::with_capacity(document.links.len());
        for link in document.links {
            let edge = Edge {
                to: self.intern(link.digest),
                role: link.role,
                kind: link.kind,
                size: link.size,
                is_foreign: link.is_foreign,
                details: link.details,
            };
            each(&edge);
            edges.push(edge);
        }
        Node {
            edges: edges.into_boxed_slice(),
            shape: document.shape,
            artifact_type: document.artifact_type,
            base_digest: document.base_digest,
            len,
        }
    }
}

fn data_of(link: &Link) -> Option<Box<str>> {
    link.details
        .as_ref()
        .and_then(|details| details.data.clone())
}

/// Reads one blob, as its descriptor promises or as its content tells.
fn read(layout: &Layout, request: &Request) -> Found {
    let file = match layout.open_blob(&request.digest) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // It was listed a moment ago. Taking it for a sparse image would make garbage of what it
            // refers to.
            if let Some(why) = request.vanished {
                return Found::Damaged(why.to_owned());
            }
            return match &request.data {
                Some(text) => embedded(text),
                None => Found::Missing,
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
    if digest.matches(&bytes) == Some(false) {
        return Found::Damaged(mismatch(&bytes));
    }
    match Document::scan(&bytes) {
        Ok(document) => whole(document, bytes.len() as u64, Strict::Always),
        Err(error) => Found::Damaged(format!("is not valid JSON: {error}")),
    }
}

fn mismatch(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        "is empty".to_owned()
    } else {
        "does not match its digest".to_owned()
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

fn whole(document: Document, len: u64, strict: Strict) -> Found {
    match &document.damage {
        Some(why) if strict == Strict::Always || document.shape != Shape::Other => {
            Found::Damaged(format!("has {why}"))
        }
        _ => Found::Document(document, len),
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
        if digest.matches(&bytes) == Some(false) {
            return Found::Damaged(mismatch(&bytes));
        }
        if !begins_like_json(&bytes) {
            return Found::Leaf;
        }
        let (document, result) = Document::scan_stream(bytes.as_slice());
        return unknown(document, result, len);
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
    unknown(document, result, len)
}

fn unknown(document: Document, result: serde_json::Result<()>, len: u64) -> Found {
    match result {
        Ok(()) => whole(document, len, Strict::ByShape),
        // JSON for other readers, but not for this one: what it refers to is unknown.
        Err(error) if is_json_elsewhere(&error) => {
            Found::Damaged(format!("cannot be followed: {error}"))
        }
        // Text that only begins like JSON. What was found before it stopped making sense counts.
        Err(_) if document.links.is_empty() => Found::Leaf,
        Err(_) => Found::Document(document, len),
    }
}

/// Says whether a text that does not parse here may well parse elsewhere: Go reads numbers of any
/// size, replaces what is not Unicode, and nests deeper. `serde_json` has no kinds for these, only
/// words, which a test holds on to.
pub(super) fn is_json_elsewhere(error: &serde_json::Error) -> bool {
    let text = error.to_string();
    [
        "recursion limit",
        "number out of range",
        "invalid unicode code point",
        "lone leading surrogate",
        "unexpected end of hex escape",
    ]
    .iter()
    .any(|words| text.contains(words))
}

/// The descriptor carries the blob. What does not decode or parse refers to nothing that anybody
/// could read; the digest is not compared, since following too much only keeps too much.
fn embedded(text: &str) -> Found {
    let Some(bytes) = decode_data(text) else {
        return Found::Missing;
    };
    let document = begins_like_json(&bytes)
        .then(|| Document::scan_stream(bytes.as_slice()).0)
        .map(|document| (document, bytes.len() as u64));
    Found::Embedded(document)
}

pub(super) fn begins_like_json(bytes: &[u8]) -> bool {
    let first = bytes
        .iter()
        .find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    matches!(first, Some(b'{' | b'['))
}

/// Reads a file of known length without asking for more than that, but not less than what is there.
fn read_all(mut file: File, len: u64) -> io::Result<Vec<u8>> {
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
mod tests {
    use super::*;

    #[test]
    fn knows_what_only_other_readers_accept() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        let elsewhere: [&[u8]; 5] = [
            deep.as_bytes(),
            b"{\"x\":1e400}",
            b"{\"x\":\"\\ud800\"}",
            b"{\"x\":\"\\ud800y\"}",
            b"{\"x\":\"\xff\"}",
        ];
        for bytes in elsewhere {
            let error = Document::scan(bytes).expect_err("not for serde_json");
            assert!(is_json_elsewhere(&error), "{error}");
            let (_, result) = Document::scan_stream(bytes);
            let error = result.expect_err("not for serde_json");
            assert!(is_json_elsewhere(&error), "{error}");
        }
        for text in ["{", "{x}", "{}x", "[1,]", "{\"a\" 1}"] {
            let error = Document::scan(text.as_bytes()).expect_err("not JSON");
            assert!(!is_json_elsewhere(&error), "{error}");
        }
    }
}
