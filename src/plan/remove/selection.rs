//! What is to go, while it is worked out, and what is left then.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::graph::content_of;
use crate::graph::{BlobSet, Change, Cut, EmptyIndex, Root, RootSource};
use crate::layout::replaced_ids::ReplacedId;
use crate::layout::{BlobId, NewBlob};
use crate::model::entries::config_owners;
use crate::model::snapshot::Snapshot;
use crate::oci::docker_archive::Element;
use crate::oci::reference::canonical;
use crate::oci::{Digest, Role};

use super::{Dropped, Moved, Referrers};

/// What is to go, while it is worked out.
#[derive(Debug, Default)]
pub(in crate::plan) struct RemovalSet {
    pub(in crate::plan) entries: BTreeSet<usize>,
    /// Names that are cut from entries which stay.
    pub(in crate::plan) annotations: Vec<(usize, &'static str)>,
    /// Names that only docker save's list has, of entries that stay.
    pub(in crate::plan) saved: BTreeSet<(usize, String)>,
    /// Elements of docker save that no entry references, by position.
    pub(in crate::plan) elements: BTreeSet<usize>,
    /// Annotations of entries that stay which get another value: pinned names of a rewritten index.
    pub(in crate::plan) renamed: Vec<(usize, &'static str, String)>,
    pub(in crate::plan) names: BTreeSet<String>,
    /// Images that go, in the order in which they were asked for; platforms that go, too.
    pub(in crate::plan) images: Vec<BlobId>,
    /// Those of them that somebody asked for, not those that go along, and what is dropped or superseded
    /// with a platform. As referrers they are not kept by their subject.
    pub(in crate::plan) unwanted: BTreeSet<BlobId>,
    /// Platforms that go.
    pub(in crate::plan) dropped: Vec<Dropped>,
    /// Entries that refer to a new index from now on.
    pub(in crate::plan) replaced: BTreeMap<usize, NewBlob>,
    /// Indexes that make room for new ones. Their referrers go with them, their children do not.
    pub(in crate::plan) superseded: Vec<BlobId>,
    /// What the new indexes list.
    pub(in crate::plan) survivors: Vec<BlobId>,
    /// Nested indexes to write, before the ones that entries refer to.
    pub(in crate::plan) nested: Vec<NewBlob>,
    /// References that do not count any more.
    pub(in crate::plan) cut: Cut,
    /// Platforms whose layers go, while their documents stay.
    pub(in crate::plan) hollowed: Vec<BlobId>,
    /// What an image is now, by the names that moved.
    pub(in crate::plan) moved: Vec<Moved>,
    /// Image IDs that a rewrite replaces, of images that were given by ID.
    pub(in crate::plan) replaced_ids: Vec<ReplacedId>,
}

/// What is swept after a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum SweepExtent {
    /// What the removal releases. Older orphans are the business of `gc` and `prune`, unless the disk
    /// is full.
    Released,
    /// Everything that nothing references.
    Everything {
        /// Accept that `index.json` lists nothing to begin with.
        empty: EmptyIndex,
    },
}

impl RemovalSet {
    /// Returns everything that is live afterwards.
    pub(in crate::plan) fn live(&self, view: &Snapshot) -> BlobSet {
        let elements = docker_elements(view, self);
        let ids = view
            .graph
            .roots()
            .iter()
            .filter(|root| match root.source {
                RootSource::DockerSave(position) => !elements.contains(&position),
                _ => stays(self, root),
            })
            .filter_map(|root| root.target.as_ref().ok().copied());
        view.graph
            .reach_after(ids.chain(self.survivors.iter().copied()), &self.change())
    }

    /// Returns what is different from now on.
    pub(in crate::plan) const fn change(&self) -> Change<'_> {
        Change {
            unwanted: &self.unwanted,
            cut: &self.cut,
        }
    }
}

/// Returns the roots that a removal leaves, before docker-save elements are looked at.
pub(super) fn roots_that_stay<'a>(
    view: &'a Snapshot,
    gone: &'a RemovalSet,
) -> impl Iterator<Item = &'a Root> {
    view.graph.roots().iter().filter(|root| match root.source {
        // An element goes with its image.
        RootSource::DockerSave(_) => false,
        _ => stays(gone, root),
    })
}

/// Returns `true` if a root stays, docker-save elements aside.
pub(in crate::plan) fn stays(gone: &RemovalSet, root: &Root) -> bool {
    match root.source {
        RootSource::Entry(position) => {
            !gone.entries.contains(&position) && !gone.replaced.contains_key(&position)
        }
        RootSource::InsideEntry(position) => !gone.entries.contains(&position),
        // Only `hold rm` ends a hold.
        RootSource::Hold(_)
        | RootSource::IndexField
        | RootSource::DockerSave(_)
        | RootSource::SecondIndex(_) => true,
    }
}

/// Returns the elements of docker save's `manifest.json` that go: those whose config belongs to what goes, and which lose
/// a blob by that, or are left without a name and without an entry.
pub(super) fn docker_elements(view: &Snapshot, gone: &RemovalSet) -> BTreeSet<usize> {
    let Some(save) = &view.state.docker_save else {
        return BTreeSet::new();
    };
    let gone_names = GoneNames::of(gone);
    let mut below = below(view, gone, Referrers::Follow);
    for &id in &gone.hollowed {
        for (id, _) in content_of(&view.graph, id, None) {
            below.insert(id);
        }
    }
    let stays = roots_that_stay(view, gone).filter_map(|root| root.target.as_ref().ok().copied());
    let live = view
        .graph
        .reach_after(stays.chain(gone.survivors.iter().copied()), &gone.change());
    let is_lost = |digest: &Digest| {
        view.graph
            .id(digest)
            .is_some_and(|id| view.graph.is_present(id) && !live.contains(id))
    };
    let owners = config_owners(view);
    let has_no_name_left = |element: &Element| {
        let mut tags = element.repo_tags.iter();
        tags.all(|tag| gone_names.contains(tag))
    };
    // One that describes nothing here is not of the image that goes.
    let is_here = |id: BlobId| view.graph.is_present(id);
    let has_entry = |config: BlobId| {
        let mut positions = owners.get(&config).into_iter().flatten();
        positions.any(|position| !gone.entries.contains(position))
    };
    save.elements
        .iter()
        .enumerate()
        .filter(|(_, element)| match &element.config {
            Some(config) => view.graph.id(config).is_some_and(|id| {
                below.contains(id)
                    && (element.blobs.iter().any(is_lost)
                        || (has_no_name_left(element) && is_here(id) && !has_entry(id)))
            }),
            None => !element.repo_tags.is_empty() && has_no_name_left(element),
        })
        .map(|(position, _)| position)
        .chain(gone.elements.iter().copied())
        .collect()
}

/// The names that are removed, as docker completes them: docker save writes short names in its list and full ones in
/// `index.json`.
struct GoneNames(HashSet<String>);

impl GoneNames {
    fn of(gone: &RemovalSet) -> Self {
        Self(gone.names.iter().map(|name| canonical(name)).collect())
    }

    /// Returns `true` if a name of docker save is removed.
    fn contains(&self, name: &str) -> bool {
        self.0.contains(&canonical(name))
    }
}

/// Returns everything below what goes: its content, and if they follow also the referrers of that. What
/// it is itself about is not below it.
pub(super) fn below(view: &Snapshot, gone: &RemovalSet, referrers: Referrers) -> BlobSet {
    let about = |id: BlobId| match referrers {
        Referrers::Follow => view.graph.referrers(id),
        Referrers::Stay => &[],
    };
    let mut bits = BlobSet::default();
    let mut queue = gone.images.clone();
    for &id in &gone.superseded {
        bits.insert(id);
        queue.extend(about(id));
    }
    extend_below(view, queue, referrers, &mut bits);
    bits
}

/// Adds what is below these.
pub(super) fn extend_below(
    view: &Snapshot,
    mut queue: Vec<BlobId>,
    referrers: Referrers,
    bits: &mut BlobSet,
) {
    let about = |id: BlobId| match referrers {
        Referrers::Follow => view.graph.referrers(id),
        Referrers::Stay => &[],
    };
    while let Some(id) = queue.pop() {
        if !bits.insert(id) {
            continue;
        }
        let edges = view.graph.edges(id);
        queue.extend(
            edges
                .iter()
                // What only an annotation names is no part of an image, and its entry does not go along.
                .filter(|edge| !matches!(edge.role, Role::Subject | Role::Annotation))
                .map(|edge| edge.to),
        );
        queue.extend(about(id));
    }
}
