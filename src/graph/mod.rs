//! What refers to what in a layout.
//!
//! The graph holds every document that a root leads to, and every manifest that no root leads to but
//! whose `subject` something live is. Blobs are numbers ([`BlobId`]): those that lie in the layout
//! first, then those that are only referred to.
//!
//! *Promise*: [`mark`](Graph::mark) is the only maker of a [`LiveSet`], and makes one only when
//! everything that the roots lead to could be read. What is reached by any path counts; there is one
//! visited set, no recursion over input, and a cycle costs nothing.

mod bits;
mod content;
mod files;
mod names;
mod paths;
mod read;
mod sniff;
mod ways;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::error::{Broken, Error, Result};
use crate::layout::blobs::DigestTable;
use crate::layout::{BlobId, BlobList, Layout, State};
use crate::observe::Observer;
use crate::oci::document::Details;
use crate::oci::media_type::DOCKER_ATTESTATION;
use crate::oci::{Digest, Kind, Role, Shape};

pub use bits::Bits;
pub(crate) use files::FileTable;
pub use files::Orphan;
pub use names::{BASE_NAME, CONTAINERD_NAME, EntryName, REF_NAME, entry_names, split_name};
pub use sniff::{FileFacts, Flight, InFlight};
pub use ways::{More, Way, WayStep, Ways};

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
    /// Says whether the document lives as long as its `subject`. BuildKit always lists its attestation
    /// manifests in their index, so that an unlisted one is a left-over of an earlier export.
    fn counts_as_referrer(&self) -> bool {
        !self
            .artifact_type
            .as_deref()
            .is_some_and(|artifact_type| artifact_type.eq_ignore_ascii_case(DOCKER_ATTESTATION))
    }
}

/// What was found when a blob was to be read as a document.
#[derive(Debug)]
enum Looked {
    /// The document at this position of the arena.
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
    /// Blobs that are not there, but whose bytes a descriptor carries.
    embedded: HashSet<BlobId>,
    /// Manifests by their subject, listed or not. BuildKit's attestations are left out.
    referrers: BTreeMap<BlobId, Vec<BlobId>>,
    /// Everything that all roots together lead to.
    reached: Bits,
    /// `reached` as it was before in-flight orphans were followed.
    rooted: Bits,
    orphans: FileTable,
    /// Orphans that cannot be read, and why: each may be a referrer of something live.
    unreadable: Vec<(BlobId, String)>,
    /// Referrers among the orphans that do not match their digest.
    unverified: HashSet<BlobId>,
    in_flight: Bits,
    in_flight_reach: Bits,
}

impl Graph {
    /// Reads every document that matters.
    ///
    /// Damage is not an error here: a damaged image can still be shown and removed. Only
    /// [`Graph::mark`] refuses it.
    ///
    /// # Errors
    /// [`Error::Interrupted`]; nothing else.
    pub fn read(
        layout: &Layout,
        state: &State,
        blobs: Arc<BlobList>,
        now: Timestamp,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let mut graph = Self {
            reached: Bits::new(blobs.len()),
            blobs,
            extra: DigestTable::default(),
            roots: Vec::new(),
            looked: HashMap::new(),
            nodes: Vec::new(),
            embedded: HashSet::new(),
            referrers: BTreeMap::new(),
            rooted: Bits::default(),
            orphans: FileTable::default(),
            unreadable: Vec::new(),
            unverified: HashSet::new(),
            in_flight: Bits::default(),
            in_flight_reach: Bits::default(),
        };
        graph.add_roots(layout, state, now, observer)?;
        graph.sniff_orphans(layout, observer)?;
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

    /// Returns the blobs that no root leads to, in the order of the directories.
    pub fn orphans(&self) -> impl ExactSizeIterator<Item = Orphan> {
        self.orphans.iter().map(|(id, file)| Orphan { id, file })
    }

    /// Hands the orphans over to a plan: nobody can ask for them here any more.
    pub(crate) fn take_orphans(&mut self) -> FileTable {
        std::mem::take(&mut self.orphans)
    }

    /// Forgets what the documents say. What is reached and what is an orphan stays known.
    pub(crate) fn forget_documents(&mut self) {
        self.nodes = Vec::new();
        self.roots = Vec::new();
    }

    /// Returns a document, if the blob is one and was read.
    #[must_use]
    pub fn node(&self, id: BlobId) -> Option<&Node> {
        match self.looked.get(&id)? {
            Looked::Document(position) => self.nodes.get(*position as usize),
            Looked::Leaf | Looked::Missing | Looked::Damaged(_) => None,
        }
    }

    /// Returns why a blob cannot be used, if it is there and damaged.
    #[must_use]
    pub fn damage(&self, id: BlobId) -> Option<&str> {
        match self.looked.get(&id)? {
            Looked::Damaged(why) => Some(why),
            Looked::Document(_) | Looked::Leaf | Looked::Missing => None,
        }
    }

    /// Says whether the blob lies in the layout.
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

    /// Says whether a descriptor carries the bytes of this blob, which is not there itself.
    #[must_use]
    pub fn is_embedded(&self, id: BlobId) -> bool {
        self.embedded.contains(&id)
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

    /// Returns the numbers of everything that is live, here or not.
    pub fn live_ids<'a>(&self, live: &'a LiveSet) -> impl Iterator<Item = BlobId> + use<'a> {
        self.ids().filter(|id| live.contains(*id))
    }

    /// Says whether the blob is a document that was compared with its digest when it was read.
    pub(crate) fn is_verified(&self, id: BlobId) -> bool {
        self.node(id).is_some()
            && self.digest(id).algorithm().is_some()
            && !self.embedded.contains(&id)
            && !self.unverified.contains(&id)
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

    /// Says whether some root leads to the blob, so that it is no orphan yet.
    #[must_use]
    pub fn is_rooted(&self, id: BlobId) -> bool {
        self.rooted.contains(id)
    }

    /// Returns everything that the given roots lead to, whether it could be read or not.
    #[must_use]
    pub fn reach(&self, roots: impl IntoIterator<Item = BlobId>) -> Bits {
        self.reach_after(roots, &Change::none())
    }

    /// As [`Graph::reach`], with a change in mind.
    #[must_use]
    pub fn reach_after(
        &self,
        roots: impl IntoIterator<Item = BlobId>,
        change: &Change<'_>,
    ) -> Bits {
        let (cut, whole): (Vec<BlobId>, Vec<BlobId>) = roots
            .into_iter()
            .partition(|id| change.cut.images.contains(id));
        let none = BTreeSet::new();
        let mut live = self.walk(whole, change.unwanted, &none);
        if !cut.is_empty() {
            // A walk of its own: what another image leads to is never cut, and what this image
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
    ) -> Bits {
        let mut bits = Bits::new(self.blobs.len() + self.extra.len());
        queue.retain(|id| bits.insert(*id));
        while let Some(id) = queue.pop() {
            let edges = self.node(id).map_or(&[][..], |node| &node.edges);
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

    /// Marks what the chosen roots lead to.
    ///
    /// # Errors
    /// [`Error::Incomplete`] when a document among that is damaged, or listed in `index.json` and
    /// missing: what it refers to is unknown, so nothing may be swept. [`Error::Empty`] when
    /// `index.json` lists nothing.
    pub fn mark(
        &self,
        layout: &Layout,
        state: &State,
        options: &MarkOptions<'_>,
    ) -> Result<LiveSet> {
        if state.index.entries().is_empty()
            && self.roots.is_empty()
            && !self.blobs.is_empty()
            && options.empty == Accept::No
            && !layout.was_emptied(state)
        {
            return Err(Error::Empty {
                path: layout.path().to_owned(),
                blobs: self.blobs.len(),
            });
        }
        let chosen: Vec<&Root> = self
            .roots
            .iter()
            .filter(|root| (options.keep)(root))
            .collect();
        let targets = chosen
            .iter()
            .filter_map(|root| root.target.as_ref().ok().copied());
        let live = self.reach_after(
            targets.chain(options.extra.iter().copied()),
            &options.change,
        );
        let mut broken = Vec::new();
        for root in &chosen {
            match &root.target {
                Err(why) => broken.push(self.broken_entry(state, root, why)),
                Ok(id) => {
                    let is_entry = matches!(root.source, RootSource::Entry(_));
                    if is_entry && options.missing == Accept::No && self.is_missing_root(*id, root)
                    {
                        broken.push(self.broken_blob(state, *id, "is missing", true, &chosen));
                    }
                }
            }
        }
        let mut damaged: Vec<_> = self
            .looked
            .iter()
            .filter_map(|(id, looked)| match looked {
                Looked::Damaged(why) if live.contains(*id) => Some((*id, why)),
                _ => None,
            })
            .collect();
        damaged.sort_unstable_by_key(|(id, _)| self.digest(*id));
        for (id, why) in damaged {
            broken.push(self.broken_blob(state, id, why, false, &chosen));
        }
        let mut unreadable: Vec<_> = self.unreadable.iter().collect();
        unreadable.sort_unstable_by_key(|(id, _)| self.digest(*id));
        for (id, error) in unreadable {
            if !live.contains(*id) {
                // Kept alone it would be worthless: what it refers to is unknown.
                broken.push(Broken {
                    digest: Some(self.digest(*id).clone()),
                    why: format!(
                        "cannot be read, and may be a signature of something live: {error}"
                    )
                    .into(),
                    missing: false,
                    path: Vec::new(),
                    images: Vec::new(),
                });
            }
        }
        if broken.is_empty() {
            Ok(LiveSet(live))
        } else {
            broken.dedup_by(|a, b| a.digest.is_some() && a.digest == b.digest);
            Err(Error::Incomplete {
                path: layout.path().to_owned(),
                broken,
            })
        }
    }

    /// Says whether an entry of `index.json` names a blob that is not there. Of an unknown algorithm
    /// only documents are looked for, so nothing is known of its leaves.
    fn is_missing_root(&self, id: BlobId, root: &Root) -> bool {
        let is_here = self.is_present(id) || self.is_embedded(id);
        let is_unknown = root.kind.is_leaf() && self.digest(id).algorithm().is_none();
        !is_here && !is_unknown
    }

    fn broken_entry(&self, state: &State, root: &Root, why: &str) -> Broken {
        let name = self.root_label(state, root);
        Broken {
            digest: None,
            why: why.into(),
            missing: false,
            path: vec![name.clone()],
            images: if matches!(root.source, RootSource::Entry(_)) {
                vec![name]
            } else {
                Vec::new()
            },
        }
    }

    fn broken_blob(
        &self,
        state: &State,
        id: BlobId,
        why: &str,
        missing: bool,
        chosen: &[&Root],
    ) -> Broken {
        let path = self.path_to(state, id, chosen);
        Broken {
            digest: Some(self.digest(id).clone()),
            why: why.into(),
            missing,
            path,
            // All that hold it, also those that are about to go: removing one of several helps nobody.
            images: self.holders(state, id),
        }
    }
}

/// Whether something doubtful is accepted, because the user said so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Accept {
    /// Refuse.
    #[default]
    No,
    /// Go on.
    Yes,
}

/// What is to be different from what the documents say.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// Referrers that somebody asked to remove: what they are about does not keep them.
    pub unwanted: &'a BTreeSet<BlobId>,
    /// References that do not count any more.
    pub cut: &'a Cut,
}

/// References that do not count any more when one starts from certain images. From everywhere else
/// they count as before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// The images.
    pub images: BTreeSet<BlobId>,
    /// The references: from which document to what.
    pub edges: BTreeSet<(BlobId, BlobId)>,
}

impl Change<'static> {
    /// Nothing is different.
    #[must_use]
    pub fn none() -> Self {
        static UNWANTED: BTreeSet<BlobId> = BTreeSet::new();
        static CUT: Cut = Cut {
            images: BTreeSet::new(),
            edges: BTreeSet::new(),
        };
        Self {
            unwanted: &UNWANTED,
            cut: &CUT,
        }
    }
}

/// What to mark, and what to accept.
pub struct MarkOptions<'a> {
    /// Says which roots stay.
    pub keep: &'a dyn Fn(&Root) -> bool,
    /// What is to be different from now on.
    pub change: Change<'a>,
    /// What stays beside the roots: the children of an index that is about to be written.
    pub extra: &'a [BlobId],
    /// Accept that documents which `index.json` lists are missing.
    pub missing: Accept,
    /// Accept that `index.json` lists nothing.
    pub empty: Accept,
}

impl std::fmt::Debug for MarkOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MarkOptions")
            .field("missing", &self.missing)
            .field("empty", &self.empty)
            .finish_non_exhaustive()
    }
}

/// Everything that has to stay. Only [`Graph::mark`] makes one.
#[derive(Debug)]
pub struct LiveSet(Bits);

impl LiveSet {
    /// Says whether the blob is live.
    #[must_use]
    pub fn contains(&self, id: BlobId) -> bool {
        self.0.contains(id)
    }
}
