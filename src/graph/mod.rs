//! What refers to what in a layout.
//!
//! The graph holds every document that a root reaches, and every manifest that no root reaches but
//! whose `subject` something live is. Blobs are numbers ([`BlobId`]): those that lie in the layout
//! first, then those that are only referred to.
//!
//! *Promise*: [`mark`](Graph::mark) is the only maker of a [`LiveSet`], and makes one only when
//! everything that the roots reach could be read. What is reached by any path counts; there is one
//! visited set, no recursion over input, and a cycle costs nothing.

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
use crate::oci::media_type::DOCKER_ATTESTATION;
use crate::oci::{Digest, Kind, Role, Shape};
use crate::progress::Progress;

pub use blob_set::BlobSet;
pub(crate) use content::MAX_PLAUSIBLE_MANIFEST_BYTES;
pub use describe::{is_attestation, kind_of};
pub(crate) use file_table::FileTable;
pub use file_table::Orphan;
pub use mark::{Change, Cut, EmptyIndex, LiveSet, MarkOptions, MissingDocuments};
pub use reference_paths::{PathStep, ReferencePath, ReferencePaths, Remaining};
pub use unlisted_referrers::{GracePolicy, InFlight, Writer};
pub(crate) use walk::Walk;
pub use walk::{content_of, lacks_layers};

/// Where a root stands.
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

/// Something that is kept for its own sake, with everything below it.
#[derive(Debug, Clone)]
pub struct Root {
    /// Where it stands.
    pub source: RootSource,
    /// The blob; or why an entry of `index.json` names none.
    pub target: Result<BlobId, Box<str>>,
    /// What its descriptor promises.
    pub kind: Kind,
}

/// One reference of a document.
#[derive(Debug, Clone)]
pub struct Edge {
    /// The blob that is referred to.
    pub to: BlobId,
    /// Where the reference stands.
    pub role: Role,
    /// What the descriptor promises.
    pub kind: Kind,
    /// The declared size in bytes.
    pub size: Option<u64>,
    /// The blob is fetched from elsewhere and need not lie here: a foreign layer.
    pub is_foreign: bool,
    /// More of the descriptor, for children of an index.
    pub details: Option<Box<Details>>,
}

/// A document that was read.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it refers to.
    pub edges: Box<[Edge]>,
    /// What it is, by its content.
    pub shape: Shape,
    /// Its `artifactType`.
    pub artifact_type: Option<Box<str>>,
    /// `org.opencontainers.image.base.digest` among its annotations.
    pub base_digest: Option<Digest>,
    /// Its length in bytes.
    pub len: u64,
}

impl Node {
    /// Returns `true` if the document lives as long as its `subject`. BuildKit always lists its attestation
    /// manifests in their index, so that an unlisted one is left from an earlier export.
    fn counts_as_referrer(&self) -> bool {
        !self
            .artifact_type
            .as_deref()
            .is_some_and(|artifact_type| artifact_type.eq_ignore_ascii_case(DOCKER_ATTESTATION))
    }
}

/// What becomes of documents when they were followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Documents {
    /// They are remembered.
    Remember,
    /// What they say is forgotten, which leaves a million blobs a fifth less memory. That is for a sweep of what no root
    /// references, and for nothing else: what the roots reach is known, and [`Graph::mark`] finds all of it live, whatever
    /// it is asked.
    Forget,
}

/// What was found when a blob was to be read as a document.
#[derive(Debug)]
enum Looked {
    /// The document of this number.
    Document(u32),
    /// It is not a document.
    Leaf,
    /// It is not there.
    Missing,
    /// It is there and cannot be used.
    Damaged(Box<str>),
}

/// What refers to what.
#[derive(Debug)]
pub struct Graph {
    blobs: Arc<BlobList>,
    /// Digests that are referred to and were not listed; numbered behind the blobs.
    extra: DigestTable,
    roots: Vec<Root>,
    looked: HashMap<BlobId, Looked>,
    nodes: Vec<Node>,
    /// How many documents were forgotten; the numbers of the others go on from there.
    forgotten: u32,
    /// Blobs that are not there, but whose bytes a descriptor carries.
    embedded: HashSet<BlobId>,
    /// Documents whose digest is that of the payload in them, and its length in bytes.
    signed: HashMap<BlobId, u64>,
    /// Manifests by their subject, listed or not. BuildKit's attestations are left out.
    referrers: BTreeMap<BlobId, Vec<BlobId>>,
    /// Everything that all roots together lead to.
    reached: BlobSet,
    /// `reached` as it was before in-flight orphans were followed.
    rooted: BlobSet,
    orphans: FileTable,
    /// Orphans that cannot be read, and why: each may be a referrer of something live.
    unreadable: Vec<(BlobId, String)>,
    /// Referrers among the orphans that do not match their digest.
    unverified: HashSet<BlobId>,
    in_flight: BlobSet,
    in_flight_reach: BlobSet,
    /// Orphans that were released while a writer was at work, and what they reference, as long as a writer is visible.
    released: BlobSet,
    /// What the notes say of released blobs.
    noted: Noted,
    /// What second indexes list. No command changes those, so what they list stays whole.
    listed_elsewhere: HashSet<BlobId>,
    /// A document was listed and was gone when it was to be read.
    has_vanished: bool,
    /// The time as of which it was read: holds that had ended by then are no roots.
    now: Timestamp,
    /// The rule by which orphans are protected. `None`: they are not, so that no sweep can be planned.
    flight: Option<GracePolicy>,
    /// The sign of a writer at work.
    writer: Option<Writer>,
}

impl Graph {
    /// Reads every document that matters.
    ///
    /// Damage is not an error here: a damaged image can still be shown and removed. Only
    /// [`Graph::mark`] refuses it.
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
        Self::read_and(layout, state, blobs, now, progress, Documents::Remember)
    }

    /// Does the same, with a choice.
    pub(crate) fn read_and(
        layout: &Layout,
        state: &State,
        blobs: Arc<BlobList>,
        now: Timestamp,
        progress: &dyn Progress,
        documents: Documents,
    ) -> Result<Self> {
        crate::threads::start();
        let mut graph = Self {
            reached: BlobSet::new(blobs.len()),
            blobs,
            extra: DigestTable::default(),
            roots: Vec::new(),
            looked: HashMap::new(),
            nodes: Vec::new(),
            forgotten: 0,
            embedded: HashSet::new(),
            signed: HashMap::new(),
            referrers: BTreeMap::new(),
            rooted: BlobSet::default(),
            orphans: FileTable::default(),
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
        };
        graph.add_roots(layout, state, now, progress, documents)?;
        graph.find_unlisted_referrers(layout, progress)?;
        graph.sort_referrers();
        graph.rooted = graph.reached.clone();
        Ok(graph)
    }

    /// Orders the referrers of each subject by digest. Found in the order of a directory, they would be shown, and
    /// go, in another order on every file system.
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

    /// Hands the orphans over to a plan: nobody can ask for them here any more.
    pub(crate) fn take_orphans(&mut self) -> FileTable {
        std::mem::take(&mut self.orphans)
    }

    /// Forgets what the documents say. What is reached and what is an orphan stays known.
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
        match self.looked.get(&id)? {
            Looked::Document(number) => {
                let position = number.checked_sub(self.forgotten)?;
                self.nodes.get(position as usize)
            }
            Looked::Leaf | Looked::Missing | Looked::Damaged(_) => None,
        }
    }

    /// Returns the references of a document; none if the blob was not read as one.
    #[must_use]
    pub fn edges(&self, id: BlobId) -> &[Edge] {
        self.node(id).map_or(&[], |node| &node.edges)
    }

    /// Returns why a blob cannot be used, if it is there and damaged.
    #[must_use]
    pub fn damage(&self, id: BlobId) -> Option<&str> {
        match self.looked.get(&id)? {
            Looked::Damaged(why) => Some(why),
            Looked::Document(_) | Looked::Leaf | Looked::Missing => None,
        }
    }

    /// Returns `true` if the blob lies in the layout.
    #[must_use]
    pub fn is_present(&self, id: BlobId) -> bool {
        if (id as usize) < self.blobs.len() {
            return true;
        }
        // Blobs of unknown algorithms are not listed; one that was read is there.
        match self.looked.get(&id) {
            Some(Looked::Document(_) | Looked::Damaged(_) | Looked::Leaf) => {
                !self.embedded.contains(&id)
            }
            Some(Looked::Missing) | None => false,
        }
    }

    /// Returns `true` if a descriptor carries the bytes of this blob, which is not there itself.
    #[must_use]
    pub fn is_embedded(&self, id: BlobId) -> bool {
        self.embedded.contains(&id)
    }

    /// Returns whether the blob is not there, and this descriptor of it carries its bytes.
    #[must_use]
    pub fn is_carried_by(&self, edge: &Edge) -> bool {
        let details = edge.details.as_ref();
        self.is_embedded(edge.to) && details.is_some_and(|details| details.data.is_some())
    }

    /// Returns the digest of a number.
    ///
    /// # Panics
    /// When the number is not one of this graph.
    #[must_use]
    pub fn digest(&self, id: BlobId) -> &Digest {
        let listed = self.blobs.len();
        if (id as usize) < listed {
            self.blobs.digest(id)
        } else {
            let offset = u32::try_from(listed).expect("numbers of blobs fit into 32 bits");
            self.extra.digest(id - offset)
        }
        .expect("numbers come from this graph")
    }

    /// Returns the number of a digest that lies in the layout or is referred to.
    #[must_use]
    pub fn id(&self, digest: &Digest) -> Option<BlobId> {
        let offset = u32::try_from(self.blobs.len()).ok()?;
        self.blobs
            .id(digest)
            .or_else(|| self.extra.get(digest).map(|number| number + offset))
    }

    /// Returns the numbers of all digests, those that are only referred to included.
    pub(crate) fn ids(&self) -> impl Iterator<Item = BlobId> + use<> {
        let count = self.blobs.len() + self.extra.len();
        0..u32::try_from(count).expect("numbers of blobs fit into 32 bits")
    }

    /// Returns the digests of what a root references and what is not here.
    pub(crate) fn missing(&self) -> impl Iterator<Item = Digest> {
        let first = u32::try_from(self.blobs.len()).expect("numbers of blobs fit into 32 bits");
        let absent = self.ids().skip(first as usize);
        let absent = absent.filter(|id| self.rooted.contains(*id) && !self.is_present(*id));
        absent.map(|id| self.digest(id).clone())
    }

    /// Returns the numbers of everything that is live, here or not.
    pub fn live_ids<'a>(&self, live: &'a LiveSet) -> impl Iterator<Item = BlobId> + use<'a> {
        self.ids().filter(|id| live.contains(*id))
    }

    /// Returns the length of a blob that was read as a document and compared with its digest.
    pub(crate) fn verified_len(&self, id: BlobId) -> Option<u64> {
        let is_known = self.digest(id).algorithm().is_some();
        let node = self.node(id).filter(|_| is_known)?;
        (!self.unverified.contains(&id)).then_some(node.len)
    }

    /// Returns the time that decided which holds are active.
    pub(crate) const fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns `true` if a document was gone when it was to be read, although the directory had listed it: the layout changed
    /// in between.
    pub(crate) const fn has_vanished(&self) -> bool {
        self.has_vanished
    }

    /// Returns the positions of the entries of `index.json` whose document is not here. What it would refer to is unknown, so
    /// that any untagged entry may be a child of it.
    pub fn missing_listed(&self) -> impl Iterator<Item = usize> {
        self.roots.iter().filter_map(|root| {
            let RootSource::Entry(position) = root.source else {
                return None;
            };
            let id = *root.target.as_ref().ok()?;
            let is_missing = !root.kind.is_leaf() && self.is_missing_root(id, root);
            is_missing.then_some(position)
        })
    }

    /// Returns `true` if an image index is not here that a second index lists, or another index that an entry references:
    /// untagged entries may be children of it. `is_left` gives the positions of the entries that count. A manifest that is
    /// not here references no entry.
    pub(crate) fn misses_an_index(&self, is_left: impl Fn(usize) -> bool) -> bool {
        let is_missing = |kind: Kind, id: BlobId| {
            let is_missing = matches!(self.looked.get(&id), Some(Looked::Missing));
            matches!(kind, Kind::Index | Kind::Unknown) && is_missing
        };
        if !self
            .looked
            .values()
            .any(|looked| matches!(looked, Looked::Missing))
        {
            return false;
        }
        let listed = self.roots.iter().any(|root| {
            matches!(root.source, RootSource::SecondIndex(_))
                && root
                    .target
                    .as_ref()
                    .is_ok_and(|id| is_missing(root.kind, *id))
        });
        if listed {
            return true;
        }
        let counts = |root: &&Root| match root.source {
            RootSource::Entry(position) | RootSource::InsideEntry(position) => is_left(position),
            _ => true,
        };
        let roots = self.roots.iter().filter(counts);
        let live = self.reach(roots.filter_map(|root| root.target.as_ref().ok().copied()));
        let documents = self.looked.keys().filter(|id| live.contains(**id));
        let edges = documents
            .filter_map(|id| self.node(*id))
            .flat_map(|node| &node.edges);
        let mut children = edges.filter(|edge| edge.role == Role::Child);
        children.any(|edge| is_missing(edge.kind, edge.to))
    }

    /// Returns the length of what the digest of a signed manifest is computed over; `None` for every other blob. Some
    /// descriptors declare this length, others that of the file.
    pub(crate) fn payload_len(&self, id: BlobId) -> Option<u64> {
        self.signed.get(&id).copied()
    }

    /// Returns the orphans that cannot be read, and why: each may be a referrer of something live.
    #[must_use]
    pub fn unreadable_orphans(&self) -> &[(BlobId, String)] {
        &self.unreadable
    }

    /// Returns the manifests whose `subject` is this blob, whether an entry lists them or not, by digest.
    #[must_use]
    pub fn referrers(&self, id: BlobId) -> &[BlobId] {
        self.referrers.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Returns `true` if some root references the blob, so that it is no orphan yet.
    #[must_use]
    pub fn is_rooted(&self, id: BlobId) -> bool {
        self.rooted.contains(id)
    }

    /// Returns everything that the given roots lead to, whether it could be read or not.
    #[must_use]
    pub fn reach(&self, roots: impl IntoIterator<Item = BlobId>) -> BlobSet {
        self.reach_after(roots, &Change::none())
    }

    /// As [`Graph::reach`], with a change in mind.
    #[must_use]
    pub fn reach_after(
        &self,
        roots: impl IntoIterator<Item = BlobId>,
        change: &Change<'_>,
    ) -> BlobSet {
        let (cut, whole): (Vec<BlobId>, Vec<BlobId>) = roots
            .into_iter()
            .partition(|id| change.cut.images.contains(id) && !self.listed_elsewhere.contains(id));
        let none = BTreeSet::new();
        let mut live = self.walk(whole, change.unwanted, &none);
        if !cut.is_empty() {
            // A walk of its own: what another image references is never cut, and what this image
            // cannot reach any more must not look visited.
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
            let edges = self.edges(id);
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
}
