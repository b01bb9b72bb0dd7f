//! Reading documents, in parallel, and following them.

use std::collections::HashMap;

use jiff::Timestamp;
use rayon::prelude::*;

use super::content::{Absent, Found, Length, MAX_PLAUSIBLE_MANIFEST_BYTES, Request, read};
use super::{Documents, Edge, Graph, Looked, Node, Root, RootSource};
use crate::error::{Error, Result};
use crate::layout::{BlobId, Layout, State};
use crate::oci::descriptor::Link;
use crate::oci::{Digest, Document, Kind, Role};
use crate::progress::{Phase, Progress, Running, Total};

/// How many documents are read before their references are followed: bounds the memory of a wide
/// index.
const BATCH: usize = 1024;

/// How many bytes the documents of a batch may declare together.
const BATCH_BYTES: u64 = 64 << 20;

/// A blob that has to be visited, and what led to it.
pub(super) struct Step {
    pub(super) id: BlobId,
    pub(super) kind: Kind,
    pub(super) data: Option<Box<str>>,
    pub(super) via: Via,
    /// The declared length in bytes; 0 if there is none.
    pub(super) len: u64,
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
            len: 0,
        }
    }

    /// Adds the declared length. What is too long for a manifest is held by nobody, unless it is promised to be a document.
    fn of_len(mut self, len: Option<u64>) -> Self {
        let is_held = |len: &u64| self.kind.is_document() || *len <= MAX_PLAUSIBLE_MANIFEST_BYTES;
        self.len = len.filter(is_held).unwrap_or_default();
        self
    }

    pub(super) fn referrer(id: BlobId) -> Self {
        Self {
            id,
            kind: Kind::Manifest,
            data: None,
            via: Via::Subject,
            len: 0,
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
        Self::to(edge.to, edge.kind, data).of_len(edge.size)
    }
}

impl Graph {
    /// Reads what the roots reach.
    pub(super) fn add_roots(
        &mut self,
        layout: &Layout,
        state: &State,
        now: Timestamp,
        progress: &dyn Progress,
        documents: Documents,
    ) -> Result<()> {
        let _reading = Running::begin(progress, Phase::Reading, Total::default());
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
                    queue.push(Step::to(id, entry.kind, data).of_len(entry.size));
                }
                Err(why) => self.roots.push(Root {
                    source,
                    target: Err(why.clone()),
                    kind: Kind::Unknown,
                }),
            }
            for link in &entry.others {
                if !self.is_needed(link) {
                    continue;
                }
                let id = self.add_root(RootSource::InsideEntry(position), &link.digest, link.kind);
                queue.push(Step::to(id, link.kind, data_of(link)));
            }
        }
        for link in state.index.other_links() {
            if !self.is_needed(link) {
                continue;
            }
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
        for (position, index) in state.second_indexes.iter().enumerate() {
            for link in index.links.iter().flatten() {
                let source = RootSource::SecondIndex(position);
                let id = self.add_root(source, &link.digest, link.kind);
                self.listed_elsewhere.insert(id);
                queue.push(Step::to(id, link.kind, data_of(link)));
            }
        }
        self.follow_and(layout, queue, progress, documents)
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
        queue: Vec<Step>,
        progress: &dyn Progress,
    ) -> Result<()> {
        self.follow_and(layout, queue, progress, Documents::Remember)
    }

    fn follow_and(
        &mut self,
        layout: &Layout,
        mut queue: Vec<Step>,
        progress: &dyn Progress,
        documents: Documents,
    ) -> Result<()> {
        let mut requests: Vec<Request> = Vec::new();
        let mut asked: HashMap<BlobId, usize> = HashMap::new();
        loop {
            let mut declared = 0_u64;
            while let Some(step) = queue.pop() {
                let Step {
                    id,
                    kind,
                    data,
                    via,
                    len,
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
                if let Some(request) = asked.get(&id).and_then(|at| requests.get_mut(*at)) {
                    // It is about to be read.
                    request.improve(kind, data);
                    continue;
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
                    declared = declared.saturating_add(len);
                    self.looked.insert(id, Looked::Missing);
                    asked.insert(id, requests.len());
                    requests.push(Request {
                        id,
                        digest: self.digest(id).clone(),
                        kind,
                        data,
                        absent: self.absent(id),
                    });
                }
                if requests.len() >= BATCH || declared >= BATCH_BYTES {
                    break;
                }
            }
            if requests.is_empty() {
                return Ok(());
            }
            if progress.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let found: Vec<_> = requests
                .par_iter()
                .with_max_len(32)
                .map(|request| read(layout, request))
                .collect();
            progress.advance(requests.len() as u64, 0);
            asked.clear();
            for (request, found) in requests.drain(..).zip(found) {
                self.look(request.id, found, &mut queue);
            }
            if documents == Documents::Forget {
                // What they refer to is in the queue.
                self.forget_nodes();
            }
        }
    }

    /// Returns what it means when a blob is not there.
    fn absent(&self, id: BlobId) -> Absent {
        if (id as usize) >= self.blobs.len() {
            Absent::Missing
        } else if self.blobs.is_link(id) {
            Absent::LeadsNowhere
        } else {
            Absent::Vanished
        }
    }

    /// Takes over what reading one blob brought.
    fn look(&mut self, id: BlobId, found: Found, queue: &mut Vec<Step>) {
        let looked = match found {
            Found::Document(document, length) => self.add_node(id, document, length, queue),
            Found::Embedded(document) => {
                self.embedded.insert(id);
                match document {
                    Some((document, length)) => self.add_node(id, document, length, queue),
                    None => Looked::Leaf,
                }
            }
            Found::Leaf => Looked::Leaf,
            Found::Missing => Looked::Missing,
            Found::Vanished => {
                self.has_vanished = true;
                Looked::Damaged("vanished while it was read".into())
            }
            Found::Damaged(why) => Looked::Damaged(why.into()),
        };
        self.looked.insert(id, looked);
    }

    fn add_node(
        &mut self,
        id: BlobId,
        document: Document,
        length: Length,
        queue: &mut Vec<Step>,
    ) -> Looked {
        if let Some(payload) = length.payload {
            self.signed.insert(id, payload);
        }
        let node = self.node_of(document, length.file, |edge| queue.push(Step::along(edge)));
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
        Looked::Document(self.forgotten + position)
    }

    /// Returns `false` for what an annotation names and is not here. Many annotations hold digests of something else, so
    /// that their absence means nothing, and they would take memory.
    pub(super) fn is_needed(&self, link: &Link) -> bool {
        link.role != Role::Annotation || self.blobs.id(&link.digest).is_some()
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
        let count = document.links.iter().filter(|link| self.is_needed(link));
        let mut edges = Vec::with_capacity(count.count());
        for link in document.links {
            if !self.is_needed(&link) {
                continue;
            }
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
