//! Reads documents in parallel and follows their references.

use std::collections::HashMap;

use jiff::Timestamp;

use super::content::{Absent, Length, ReadResult, Request, read};
use super::{Documents, Edge, Graph, Node, ReadState, Root, RootSource};
use crate::error::{Error, Result};
use crate::layout::{BlobId, Layout, State};
use crate::oci::descriptor::Link;
use crate::oci::signed::MAX_MANIFEST_BYTES;
use crate::oci::{Digest, Document, Kind, Role, Shape};
use crate::progress::{Phase, Progress, Running, Total};
use crate::threads::{first_batch, read_each};

/// The maximum number of documents that are read before their references are followed: bounds the memory of a wide index.
const BATCH: usize = 1024;

/// The maximum declared bytes of a batch of documents.
const BATCH_BYTES: u64 = 64 << 20;

/// A blob to visit, and how it was reached.
pub(super) struct Step {
    pub(super) id: BlobId,
    pub(super) kind: Kind,
    pub(super) data: Option<Box<str>>,
    pub(super) via: Via,
    /// The declared length in bytes, or 0.
    pub(super) len: u64,
}

/// How a blob was reached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    /// A document or a root references it.
    Reference,
    /// Only as a referrer of its subject.
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

    /// Adds the declared length. A blob of unknown type that is too long for a manifest is not kept in memory; a shorter one
    /// must match its digest: a manifest that a crash left empty or filled with zeros looks like a leaf.
    fn of_len(mut self, len: Option<u64>) -> Self {
        let is_held = |len: &u64| self.kind.is_document() || *len <= MAX_MANIFEST_BYTES;
        self.len = len.filter(is_held).unwrap_or_default();
        self
    }

    pub(super) fn referrer(id: BlobId) -> Self {
        Self {
            via: Via::Subject,
            ..Self::to(id, Kind::Manifest, None)
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
        Self::to(edge.to, edge.kind, data).of_len(edge.size())
    }
}

impl Graph {
    /// Adds the roots, and returns the blobs to follow.
    pub(super) fn add_roots(&mut self, state: &State, now: Timestamp) -> Vec<Step> {
        let entries = state.index.entries().len();
        self.roots.reserve_exact(entries);
        let mut queue = Vec::with_capacity(entries);
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
                if self.is_needed(link) {
                    queue.push(self.add_link(RootSource::InsideEntry(position), link));
                }
            }
        }
        for link in state.index.other_links() {
            if self.is_needed(link) {
                queue.push(self.add_link(RootSource::IndexField, link));
            }
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
                // `Config` and `Layers` are leaves by the definition of the format.
                let id = self.add_root(RootSource::DockerSave(position), digest, Kind::Layer);
                queue.push(Step::to(id, Kind::Layer, None));
            }
        }
        for (position, index) in state.second_indexes.iter().enumerate() {
            for link in index.links.iter().flatten() {
                let step = self.add_link(RootSource::SecondIndex(position), link);
                self.listed_elsewhere.insert(step.id);
                queue.push(step);
            }
        }
        queue
    }

    /// Reads everything that the roots reach.
    pub(super) fn follow_roots(
        &mut self,
        layout: &Layout,
        roots: Vec<Step>,
        progress: &dyn Progress,
        documents: Documents,
    ) -> Result<()> {
        let _reading = Running::begin(progress, Phase::Reading, Total::default());
        self.follow_and(layout, roots, progress, documents)
    }

    fn add_link(&mut self, source: RootSource, link: &Link) -> Step {
        let id = self.add_root(source, &link.digest, link.kind);
        let details = link.details.as_ref();
        let data = details.and_then(|details| details.data.clone());
        Step::to(id, link.kind, data)
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

    /// Returns the number of a digest, and assigns one if necessary.
    pub(super) fn intern(&mut self, digest: Digest) -> BlobId {
        if let Some(id) = self.blobs.id(&digest) {
            return id;
        }
        self.blobs.ids().end + self.extra.insert(digest)
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
        let mut most = first_batch(BATCH);
        let mut asked: HashMap<BlobId, usize> = HashMap::new();
        // Further references of documents that are embedded in descriptors, added once: one document may have as many
        // descriptors with different data as there are documents.
        let mut more: HashMap<BlobId, Vec<Edge>> = HashMap::new();
        loop {
            let mut declared = 0_u64;
            while let Some(step) = queue.pop() {
                let (id, kind, data) = (step.id, step.kind, step.data);
                if self.reached.insert(id) {
                    let referrers = self.referrers(id).to_vec();
                    queue.extend(referrers.into_iter().map(Step::referrer));
                    // An unlisted referrer was read already, but not yet followed.
                    if let Some(node) = self.node(id) {
                        queue.extend(node.edges.iter().map(Step::along));
                    }
                }
                // The data of a descriptor is followed whatever kind it declares: another descriptor may declare the same
                // blob as a document, and have no data.
                let is_carried = data.is_some() && (id as usize) >= self.blobs.len();
                if kind.is_leaf() && !is_carried {
                    continue;
                }
                if step.via == Via::Reference && self.unverified.contains(&id) {
                    // An unlisted referrer is accepted even if it does not match. A referenced document must match its
                    // digest.
                    let why = "does not match its digest".into();
                    self.states.insert(id, ReadState::Damaged(why));
                }
                if let Some(request) = asked.get(&id).and_then(|at| requests.get_mut(*at)) {
                    // It is in the current batch.
                    request.improve(kind, data);
                    continue;
                }
                // Unless the digest proves the data that was read, that of another descriptor may be the right one.
                let tells_more = is_carried && !self.proved.contains(&id);
                let is_open = match self.states.get(&id) {
                    None => true,
                    // Another descriptor of the same blob may have its data.
                    Some(ReadState::Missing) => data.is_some(),
                    // It was reached with an unknown type; now it is declared a document and must be one.
                    Some(ReadState::Leaf) => kind.is_document() || tells_more,
                    Some(ReadState::Document(_)) => tells_more && self.embedded.contains(&id),
                    Some(ReadState::Damaged(_)) => false,
                };
                if is_open {
                    declared = declared.saturating_add(step.len);
                    self.states.entry(id).or_insert(ReadState::Missing);
                    asked.insert(id, requests.len());
                    requests.push(Request {
                        id,
                        digest: self.digest(id).clone(),
                        kind,
                        data: data.into_iter().collect(),
                        absent: self.absent(id),
                    });
                }
                if requests.len() >= most || declared >= BATCH_BYTES {
                    break;
                }
            }
            if requests.is_empty() {
                self.add_edges(more);
                return Ok(());
            }
            if progress.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let found = read_each(&requests, |request| read(layout, request));
            most = BATCH;
            progress.advance(requests.len() as u64, 0);
            asked.clear();
            for (request, found) in requests.drain(..).zip(found) {
                self.record(request.id, found, &mut queue, &mut more);
            }
            if documents == Documents::Forget {
                // Their references are in the queue.
                self.forget_nodes();
            }
        }
    }

    /// Returns the meaning of a blob file that does not exist.
    fn absent(&self, id: BlobId) -> Absent {
        if (id as usize) >= self.blobs.len() {
            Absent::Missing
        } else if self.blobs.is_link(id) {
            Absent::BrokenLink
        } else {
            Absent::Vanished
        }
    }

    /// Records the result of reading one blob.
    fn record(
        &mut self,
        id: BlobId,
        found: ReadResult,
        queue: &mut Vec<Step>,
        more: &mut HashMap<BlobId, Vec<Edge>>,
    ) {
        let state = match found {
            ReadResult::Document(document, length) => self.add_node(id, document, length, queue),
            ReadResult::Embedded(found) => {
                self.embedded.insert(id);
                if found.is_proved {
                    self.proved.insert(id);
                }
                match found.document {
                    Some((document, length)) => {
                        let more = more.entry(id).or_default();
                        self.add_embedded(id, document, length, queue, more)
                    }
                    None if self.node(id).is_some() => return,
                    None => ReadState::Leaf,
                }
            }
            ReadResult::Leaf => ReadState::Leaf,
            // Another descriptor had data that can be decoded.
            ReadResult::Missing if self.embedded.contains(&id) => return,
            ReadResult::Missing => ReadState::Missing,
            ReadResult::Vanished => {
                self.has_vanished = true;
                ReadState::Damaged("vanished while it was read".into())
            }
            ReadResult::Damaged(why) => ReadState::Damaged(why.into()),
            ReadResult::DamagedReferrer(document, why) => {
                let node = self.node_of(*document, 0, |edge| queue.push(Step::along(edge)));
                for edge in node.edges.iter().filter(|edge| edge.role == Role::Subject) {
                    self.damaged_referrers.entry(edge.to).or_default().push(id);
                }
                self.damaged_edges.insert(id, node.edges);
                ReadState::Damaged(why.into())
            }
        };
        self.states.insert(id, state);
    }

    fn add_node(
        &mut self,
        id: BlobId,
        document: Document,
        length: Length,
        queue: &mut Vec<Step>,
    ) -> ReadState {
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

    /// Adds a document from the `data` of a descriptor. If an earlier descriptor had other data, the references of both
    /// count, and those of the earlier one are moved to `more`.
    fn add_embedded(
        &mut self,
        id: BlobId,
        document: Document,
        length: Length,
        queue: &mut Vec<Step>,
        more: &mut Vec<Edge>,
    ) -> ReadState {
        let before = match self.states.get(&id) {
            Some(ReadState::Document(number)) => number.checked_sub(self.forgotten),
            _ => None,
        };
        let before = before.and_then(|position| self.nodes.get_mut(position as usize));
        let shape = before.map(|node| {
            more.append(&mut std::mem::take(&mut node.edges).into_vec());
            node.shape
        });
        let state = self.add_node(id, document, length, queue);
        if let (Some(shape), Some(node)) = (shape, self.nodes.last_mut())
            && node.shape == Shape::Other
        {
            node.shape = shape;
        }
        state
    }

    /// Adds references to documents that were read.
    fn add_edges(&mut self, more: HashMap<BlobId, Vec<Edge>>) {
        for (id, mut edges) in more {
            let Some(ReadState::Document(number)) = self.states.get(&id) else {
                continue;
            };
            let position = number.checked_sub(self.forgotten);
            if let Some(node) = position.and_then(|at| self.nodes.get_mut(at as usize)) {
                edges.append(&mut std::mem::take(&mut node.edges).into_vec());
                node.edges = edges.into_boxed_slice();
            }
        }
    }

    pub(super) fn push_node(&mut self, node: Node) -> ReadState {
        let position = u32::try_from(self.nodes.len()).expect("documents fit into 32 bits");
        self.nodes.push(node);
        ReadState::Document(self.forgotten + position)
    }

    /// Returns `false` if an annotation names a missing blob. Many annotations are digests of other things: a missing blob
    /// means nothing, and storing them would take memory.
    pub(super) fn is_needed(&self, link: &Link) -> bool {
        link.role != Role::Annotation || self.blobs.id(&link.digest).is_some()
    }

    /// Converts a document to a node, with numbers instead of digests.
    pub(super) fn node_of(
        &mut self,
        document: Document,
        len: u64,
        mut each: impl FnMut(&Edge),
    ) -> Node {
        // Allocated with the exact size on this thread. Collecting would reuse the larger list of links, and fragment the
        // memory of the thread that allocated it.
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
                size: link.size.unwrap_or_default(),
                has_size: link.size.is_some(),
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
            annotated_subjects: document.annotated_subjects.into_boxed_slice(),
            len,
        }
    }
}
