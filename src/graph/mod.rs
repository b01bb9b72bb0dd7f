//! The references between the blobs of a layout.
//!
//! The graph contains every document that a root reaches, and every unlisted manifest whose `subject` is live. Blobs are numbers
//! ([`BlobId`]): first those in the layout, then those that are only referenced.
//!
//! *Promise*: only [`mark`](Graph::mark) creates a [`LiveSet`], and only if every document that the roots reach could be read. A
//! blob that is reached by any path is live; there is one visited set, no recursion over input, and cycles cost nothing.

mod blob_set;
mod content;
mod describe;
mod file_table;
mod mark;
pub(crate) mod reachability;
mod read;
mod reference_paths;
mod unlisted_referrers;
mod walk;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::error::Result;
use crate::layout::blob_list::DigestTable;
use crate::layout::released::Noted;
use crate::layout::{BlobId, BlobList, Layout, State};
use crate::oci::descriptor::Details;
use crate::oci::index_json::Entry;
use crate::oci::media_type::DOCKER_ATTESTATION;
use crate::oci::{Digest, Kind, Role, Shape};
use crate::progress::Progress;

pub use blob_set::BlobSet;
pub use describe::{is_attestation, kind_of};
pub use file_table::Orphan;
pub(crate) use file_table::{FileTable, FileTables};
pub use mark::{Cut, EmptyIndex, LiveSet, MarkOptions, MissingDocuments, PlannedChange};
pub use reference_paths::{PathStep, ReferencePath, ReferencePaths, Remaining};
pub use unlisted_referrers::{GracePolicy, InFlight, Writer};
pub(crate) use walk::Walk;
pub(crate) use walk::reached_by;
pub use walk::{content_of, lacks_layers};

/// The origin of a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RootSource {
    /// The entry of `index.json` at this position.
    Entry(usize),
    /// A further descriptor inside the entry at this position.
    InsideEntry(usize),
    /// A descriptor in `index.json` outside `manifests`.
    IndexField,
    /// The hold at this position of the holds file.
    Hold(usize),
    /// The element at this position of docker save's `manifest.json`.
    DockerSave(usize),
    /// The second index at this position of [`State::second_indexes`].
    SecondIndex(usize),
}

/// A reference that keeps a blob and everything below it.
#[derive(Debug, Clone)]
pub struct Root {
    /// Its origin.
    pub source: RootSource,
    /// The blob, or why an entry of `index.json` has no valid digest.
    pub target: Result<BlobId, Box<str>>,
    /// The kind that its descriptor declares.
    pub kind: Kind,
}

impl Root {
    /// Returns the blob, if the root names one.
    #[must_use]
    pub fn id(&self) -> Option<BlobId> {
        self.target.as_ref().ok().copied()
    }
}

/// One reference of a document.
#[derive(Debug, Clone)]
pub struct Edge {
    /// The referenced blob.
    pub to: BlobId,
    /// The place of the reference.
    pub role: Role,
    /// The kind that the descriptor declares.
    pub kind: Kind,
    /// The blob is fetched from elsewhere and does not have to be present: a foreign layer.
    pub is_foreign: bool,
    /// Further parts of the descriptor, for children of an index.
    pub details: Option<Box<Details>>,
    /// The declared size in bytes, if there is one. Not an `Option`, which takes 8 bytes more: there can be millions.
    size: u64,
    has_size: bool,
}

impl Edge {
    /// Returns the declared size in bytes.
    #[must_use]
    pub const fn size(&self) -> Option<u64> {
        if self.has_size { Some(self.size) } else { None }
    }
}

/// A document that was read.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its references.
    pub edges: Box<[Edge]>,
    /// Its type, by its content.
    pub shape: Shape,
    /// Its `artifactType`.
    pub artifact_type: Option<Box<str>>,
    /// `org.opencontainers.image.base.digest` among its annotations.
    pub base_digest: Option<Digest>,
    /// The digests that its own annotations call its subject.
    pub annotated_subjects: Box<[Digest]>,
    /// Its length in bytes.
    pub len: u64,
}

impl Node {
    /// Returns `true` if the document is kept with its `subject`.
    fn counts_as_referrer(&self) -> bool {
        !is_listed_attestation(self.artifact_type.as_deref())
    }
}

/// Returns `true` for attestation manifests of BuildKit. It always lists them in their index, so an unlisted one is stale.
fn is_listed_attestation(artifact_type: Option<&str>) -> bool {
    artifact_type.is_some_and(|text| text.eq_ignore_ascii_case(DOCKER_ATTESTATION))
}

/// Whether documents are stored after their references were followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Documents {
    /// Store them.
    Remember,
    /// Discard them.
    Forget,
}

/// The result of reading a blob as a document.
#[derive(Debug)]
enum ReadState {
    /// The document of this number.
    Document(u32),
    /// It is not a document.
    Leaf,
    /// It does not exist.
    Missing,
    /// It exists and cannot be used.
    Damaged(Box<str>),
}

/// The references of a layout.
#[derive(Debug)]
pub struct Graph {
    blobs: Arc<BlobList>,
    /// Referenced digests without a blob in the list; numbered after the blobs.
    extra: DigestTable,
    roots: Vec<Root>,
    states: HashMap<BlobId, ReadState>,
    nodes: Vec<Node>,
    /// The number of discarded documents; the numbers of the others follow.
    forgotten: u32,
    /// Blobs that do not exist, but are embedded in the `data` of a descriptor.
    embedded: HashSet<BlobId>,
    /// Those of them whose bytes match the digest.
    proved: HashSet<BlobId>,
    /// Documents whose digest matches their payload, with the length of the payload in bytes.
    signed: HashMap<BlobId, u64>,
    /// Manifests by their subject, listed or not, without BuildKit's attestations.
    referrers: BTreeMap<BlobId, Vec<BlobId>>,
    /// Damaged documents by their subject. They do not count while something that is kept references them; without that they are
    /// unlisted referrers.
    damaged_referrers: BTreeMap<BlobId, Vec<BlobId>>,
    /// The references of those.
    damaged_edges: HashMap<BlobId, Box<[Edge]>>,
    /// Everything that the roots reach.
    reached: BlobSet,
    /// `reached` before in-flight orphans were followed.
    rooted: BlobSet,
    orphans: Arc<FileTable>,
    /// Orphans that do not begin like JSON.
    leaves: BlobSet,
    /// Orphans that cannot be read, and why: each may be a referrer of a live image.
    unreadable: Vec<(BlobId, String)>,
    /// Referrers among the orphans that do not match their digest.
    unverified: HashSet<BlobId>,
    in_flight: BlobSet,
    in_flight_reach: BlobSet,
    /// Orphans that were released while a writer was at work, and everything that they reference, while a writer is visible.
    released: BlobSet,
    /// The records of released blobs.
    noted: Noted,
    /// Blobs that second indexes list. No command changes those files, so the blobs are kept completely.
    listed_elsewhere: HashSet<BlobId>,
    /// A listed document no longer existed when it was read.
    has_vanished: bool,
    /// The time at which it was read: holds that had ended by then are not roots.
    now: Timestamp,
    /// The rule that protects orphans; `None` if they are not protected, so that no sweep can be planned.
    flight: Option<GracePolicy>,
    /// The sign of a writer at work.
    writer: Option<Writer>,
}

impl Graph {
    /// Reads every document that can be live.
    ///
    /// Damage is not an error here: a damaged image can still be listed and removed. Only [`Graph::mark`] refuses it.
    ///
    /// # Errors
    /// [`Error::Interrupted`](crate::Error::Interrupted); nothing else.
    pub fn read(
        layout: &Layout,
        state: &State,
        blobs: Arc<BlobList>,
        now: Timestamp,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let mut graph = Self::new(blobs, now);
        let roots = graph.add_roots(state, now);
        graph.follow_roots(layout, roots, progress, Documents::Remember)?;
        graph.add_orphans(layout, progress)?;
        Ok(graph)
    }

    /// Like [`Self::read`], but with as little memory as possible: documents are discarded once their references were
    /// followed, and the entries of `index.json` before that. Only a sweep of unreferenced blobs can use this:
    /// [`Graph::mark`] then marks everything that any root reaches, whatever its options.
    pub(crate) fn read_to_sweep(
        layout: &Layout,
        state: &mut State,
        blobs: Arc<BlobList>,
        now: Timestamp,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let mut graph = Self::new(blobs, now);
        let roots = graph.add_roots(state, now);
        // An index that lists nothing may be refused later, by its content.
        if !state.index.entries().is_empty() {
            state.forget_index();
        }
        graph.follow_roots(layout, roots, progress, Documents::Forget)?;
        graph.add_orphans(layout, progress)?;
        Ok(graph)
    }

    fn new(blobs: Arc<BlobList>, now: Timestamp) -> Self {
        Self {
            reached: BlobSet::new(blobs.len()),
            blobs,
            extra: DigestTable::default(),
            roots: Vec::new(),
            states: HashMap::new(),
            nodes: Vec::new(),
            forgotten: 0,
            embedded: HashSet::new(),
            proved: HashSet::new(),
            signed: HashMap::new(),
            referrers: BTreeMap::new(),
            damaged_referrers: BTreeMap::new(),
            damaged_edges: HashMap::new(),
            rooted: BlobSet::default(),
            orphans: Arc::default(),
            leaves: BlobSet::default(),
            unreadable: Vec::new(),
            unverified: HashSet::new(),
            in_flight: BlobSet::default(),
            in_flight_reach: BlobSet::default(),
            released: BlobSet::default(),
            noted: Noted::default(),
            listed_elsewhere: HashSet::new(),
            has_vanished: false,
            now,
            flight: None,
            writer: None,
        }
    }

    /// Scans the blobs that the roots do not reach.
    fn add_orphans(&mut self, layout: &Layout, progress: &dyn Progress) -> Result<()> {
        self.find_unlisted_referrers(layout, progress)?;
        self.sort_referrers();
        self.rooted = self.reached.clone();
        Ok(())
    }

    /// Sorts the referrers of each subject by digest. The order of a directory differs between file systems.
    fn sort_referrers(&mut self) {
        let mut referrers = std::mem::take(&mut self.referrers);
        for several in referrers.values_mut() {
            several.sort_by(|a, b| self.digest(*a).cmp(self.digest(*b)));
        }
        self.referrers = referrers;
    }

    /// Returns the roots.
    #[must_use]
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// Returns the blobs of the layout.
    #[must_use]
    pub fn blobs(&self) -> &Arc<BlobList> {
        &self.blobs
    }

    /// Returns the blobs that no root reaches, in the order of the directories.
    pub fn orphans(&self) -> impl ExactSizeIterator<Item = Orphan> {
        self.orphans.iter().map(|(id, file)| Orphan { id, file })
    }

    /// Returns the files of the orphans, which plans share.
    pub(crate) const fn orphan_files(&self) -> &Arc<FileTable> {
        &self.orphans
    }

    /// Discards the documents. Reached blobs and orphans are kept.
    pub(crate) fn forget_documents(&mut self) {
        self.forget_nodes();
        self.roots = Vec::new();
    }

    fn forget_nodes(&mut self) {
        self.forgotten += u32::try_from(self.nodes.len()).expect("documents fit into 32 bits");
        self.nodes = Vec::new();
    }

    /// Returns a document, if the blob is one and was read.
    #[must_use]
    pub fn node(&self, id: BlobId) -> Option<&Node> {
        match self.states.get(&id)? {
            ReadState::Document(number) => {
                let position = number.checked_sub(self.forgotten)?;
                self.nodes.get(position as usize)
            }
            ReadState::Leaf | ReadState::Missing | ReadState::Damaged(_) => None,
        }
    }

    /// Returns the references of a document; none if the blob was not read as one.
    #[must_use]
    pub fn edges(&self, id: BlobId) -> &[Edge] {
        self.node(id).map_or(&[], |node| &node.edges)
    }

    /// Returns the references that keep blobs: those of a document, or of a damaged one that would be a referrer if nothing
    /// listed it.
    fn keeping_edges(&self, id: BlobId) -> &[Edge] {
        match self.damaged_edges.get(&id) {
            Some(edges) => edges,
            None => self.edges(id),
        }
    }

    /// Returns `true` if the blob is an image index that was read.
    #[must_use]
    pub fn is_index(&self, id: BlobId) -> bool {
        self.node(id).is_some_and(|node| node.shape == Shape::Index)
    }

    /// Returns why a blob cannot be used, if it exists and is damaged.
    #[must_use]
    pub fn damage(&self, id: BlobId) -> Option<&str> {
        match self.states.get(&id)? {
            ReadState::Damaged(why) => Some(why),
            ReadState::Document(_) | ReadState::Leaf | ReadState::Missing => None,
        }
    }

    /// Returns `true` if the blob exists in the layout.
    #[must_use]
    pub fn is_present(&self, id: BlobId) -> bool {
        if (id as usize) < self.blobs.len() {
            return true;
        }
        // Blobs of unknown algorithms are not listed; one that was read exists.
        match self.states.get(&id) {
            Some(ReadState::Document(_) | ReadState::Damaged(_) | ReadState::Leaf) => {
                !self.embedded.contains(&id)
            }
            Some(ReadState::Missing) | None => false,
        }
    }

    /// Returns `true` if the blob does not exist, but a descriptor embeds its bytes.
    #[must_use]
    pub fn is_embedded(&self, id: BlobId) -> bool {
        self.embedded.contains(&id)
    }

    /// Returns `true` if the blob does not exist, but this descriptor embeds its bytes.
    #[must_use]
    pub fn is_carried_by(&self, edge: &Edge) -> bool {
        let details = edge.details.as_ref();
        self.is_embedded(edge.to) && details.is_some_and(|details| details.data.is_some())
    }

    /// Returns the digest of a number.
    ///
    /// # Panics
    /// If the number is not one of this graph.
    #[must_use]
    pub fn digest(&self, id: BlobId) -> &Digest {
        let listed = self.blobs.ids();
        if listed.contains(&id) {
            self.blobs.digest(id)
        } else {
            self.extra.digest(id - listed.end)
        }
        .expect("numbers come from this graph")
    }

    /// Returns the number of a digest that is present or referenced.
    #[must_use]
    pub fn id(&self, digest: &Digest) -> Option<BlobId> {
        let offset = self.blobs.ids().end;
        self.blobs
            .id(digest)
            .or_else(|| self.extra.get(digest).map(|number| number + offset))
    }

    /// Returns the blob of an entry of `index.json`; `None` if its digest is invalid.
    pub(crate) fn entry_id(&self, entry: &Entry) -> Option<BlobId> {
        self.id(entry.digest.as_ref().ok()?)
    }

    /// Returns the numbers of all digests, including those that are only referenced.
    pub(crate) fn ids(&self) -> impl ExactSizeIterator<Item = BlobId> + use<> {
        let count = self.blobs.len() + self.extra.len();
        0..u32::try_from(count).expect("numbers of blobs fit into 32 bits")
    }

    /// Returns the digests of missing blobs that a root reaches.
    pub(crate) fn missing(&self) -> impl Iterator<Item = Digest> {
        let absent = self.ids().skip(self.blobs.len());
        let absent = absent.filter(|id| self.rooted.contains(*id) && !self.is_present(*id));
        absent.map(|id| self.digest(id).clone())
    }

    /// Returns the numbers of all live blobs, present or not.
    pub fn live_ids<'a>(&self, live: &'a LiveSet) -> impl Iterator<Item = BlobId> + use<'a> {
        self.ids().filter(|id| live.contains(*id))
    }

    /// Returns the length of a blob that was read as a document and compared with its digest.
    pub(crate) fn verified_len(&self, id: BlobId) -> Option<u64> {
        let is_known = self.digest(id).algorithm().is_some();
        let node = self.node(id).filter(|_| is_known)?;
        (!self.unverified.contains(&id)).then_some(node.len)
    }

    /// Returns the time at which holds were active.
    pub(crate) const fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns `true` if a listed document no longer existed when it was read: the layout changed in between.
    pub(crate) const fn has_vanished(&self) -> bool {
        self.has_vanished
    }

    /// Returns the positions of the entries of `index.json` whose document is missing. Its references are unknown, so that any
    /// untagged entry may be a child of it.
    pub fn missing_listed(&self) -> impl Iterator<Item = usize> {
        self.roots.iter().filter_map(|root| {
            let RootSource::Entry(position) = root.source else {
                return None;
            };
            let id = root.id()?;
            let is_missing = !root.kind.is_leaf() && self.is_missing_root(id, root);
            is_missing.then_some(position)
        })
    }

    /// Returns `true` if an image index is missing that a second index lists, or that another index of an entry references:
    /// untagged entries may be children of it. `is_left` returns `true` for the positions of the entries that count. A
    /// missing manifest references no entry.
    pub(crate) fn misses_an_index(&self, is_left: impl Fn(usize) -> bool) -> bool {
        let is_missing = |kind: Kind, id: BlobId| {
            let is_missing = matches!(self.states.get(&id), Some(ReadState::Missing));
            matches!(kind, Kind::Index | Kind::Unknown) && is_missing
        };
        let mut states = self.states.values();
        if !states.any(|state| matches!(state, ReadState::Missing)) {
            return false;
        }
        let is_missing_root = |root: &Root| root.id().is_some_and(|id| is_missing(root.kind, id));
        let is_second = |root: &&Root| matches!(root.source, RootSource::SecondIndex(_));
        if self.roots.iter().filter(is_second).any(is_missing_root) {
            return true;
        }
        let counts = |root: &&Root| match root.source {
            RootSource::Entry(position) | RootSource::InsideEntry(position) => is_left(position),
            _ => true,
        };
        let roots = self.roots.iter().filter(counts);
        let live = self.reach(roots.filter_map(Root::id));
        let documents = self.states.keys().filter(|id| live.contains(**id));
        let mut edges = documents.flat_map(|id| self.edges(*id));
        edges.any(|edge| edge.role == Role::Child && is_missing(edge.kind, edge.to))
    }

    /// Returns the length of the payload of a signed manifest; `None` for any other blob. Some descriptors declare this length,
    /// others that of the file.
    pub(crate) fn payload_len(&self, id: BlobId) -> Option<u64> {
        self.signed.get(&id).copied()
    }

    /// Returns the orphans that cannot be read, and why: each may be a referrer of a live image.
    #[must_use]
    pub fn unreadable_orphans(&self) -> &[(BlobId, String)] {
        &self.unreadable
    }

    /// Returns the manifests whose `subject` is this blob, listed or not, by digest.
    #[must_use]
    pub fn referrers(&self, id: BlobId) -> &[BlobId] {
        self.referrers.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Returns `true` if a root reaches the blob, so that it is not an orphan.
    #[must_use]
    pub fn is_rooted(&self, id: BlobId) -> bool {
        self.rooted.contains(id)
    }

    /// Returns everything that the given roots reach, readable or not.
    #[must_use]
    pub fn reach(&self, roots: impl IntoIterator<Item = BlobId>) -> BlobSet {
        self.reach_after(roots, &PlannedChange::none())
    }

    /// Like [`Graph::reach`], after a planned change.
    #[must_use]
    pub fn reach_after(
        &self,
        roots: impl IntoIterator<Item = BlobId>,
        change: &PlannedChange<'_>,
    ) -> BlobSet {
        let (cut, whole): (Vec<BlobId>, Vec<BlobId>) = roots
            .into_iter()
            .partition(|id| change.cut.images.contains(id) && !self.listed_elsewhere.contains(id));
        let mut live = self.walk(whole, change.unwanted, &BTreeSet::new());
        if !cut.is_empty() {
            // A separate walk: references of another image are never cut, and a blob that this image no longer reaches must not
            // count as visited.
            live.merge(&self.walk(cut, change.unwanted, &change.cut.edges));
        }
        live
    }

    fn walk(
        &self,
        mut queue: Vec<BlobId>,
        unwanted: &BTreeSet<BlobId>,
        cut: &BTreeSet<(BlobId, BlobId)>,
    ) -> BlobSet {
        let mut bits = BlobSet::new(self.blobs.len() + self.extra.len());
        queue.retain(|id| bits.insert(*id));
        while let Some(id) = queue.pop() {
            let edges = self.keeping_edges(id);
            let next = edges
                .iter()
                .map(|edge| edge.to)
                .filter(|to| cut.is_empty() || !cut.contains(&(id, *to)));
            let referrers = self.referrers(id).iter().copied();
            for to in next.chain(referrers.filter(|id| !unwanted.contains(id))) {
                if bits.insert(to) {
                    queue.push(to);
                }
            }
        }
        bits
    }

    /// Adds the damaged referrers of what is live, with everything that they reference.
    fn add_damaged_referrers(&self, live: &mut BlobSet, unwanted: &BTreeSet<BlobId>) {
        let of_live = |(subject, _): &(&BlobId, &Vec<BlobId>)| live.contains(**subject);
        let found = self.damaged_referrers.iter().filter(of_live);
        let mut queue: Vec<BlobId> = found.flat_map(|(_, ids)| ids).copied().collect();
        queue.retain(|id| !unwanted.contains(id) && live.insert(*id));
        while let Some(id) = queue.pop() {
            let edges = self.keeping_edges(id).iter().map(|edge| edge.to);
            let damaged = self.damaged_referrers.get(&id).into_iter().flatten();
            let referrers = self.referrers(id).iter().chain(damaged).copied();
            for to in edges.chain(referrers.filter(|id| !unwanted.contains(id))) {
                if live.insert(to) {
                    queue.push(to);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_takes_24_bytes() {
        assert_eq!(size_of::<Edge>(), 24);
        let edge = |size: Option<u64>| Edge {
            to: 0,
            role: Role::Layer,
            kind: Kind::Layer,
            is_foreign: false,
            details: None,
            size: size.unwrap_or_default(),
            has_size: size.is_some(),
        };
        for size in [None, Some(0), Some(u64::MAX)] {
            assert_eq!(edge(size).size(), size);
        }
    }
}
