//! The selection of what a command removes, and what is live afterwards.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::graph::content_of;
use crate::graph::{BlobSet, Cut, EmptyIndex, PlannedChange, Root, RootSource};
use crate::layout::replaced_ids::ReplacedId;
use crate::layout::{BlobId, NewBlob};
use crate::model::entries::{EntryFacts, config_owners};
use crate::model::images::Image;
use crate::model::snapshot::Snapshot;
use crate::oci::docker_archive::Element;
use crate::oci::reference::canonical;
use crate::oci::{Digest, EntryName, Role};

use super::{Dropped, Moved, Referrers};

/// The removal.
#[derive(Debug, Default)]
pub(in crate::plan) struct RemovalSet {
    /// Entries, by position.
    pub(in crate::plan) entries: BTreeSet<usize>,
    /// Names that are removed from entries that are kept.
    pub(in crate::plan) annotations: BTreeSet<(usize, &'static str)>,
    /// Names that only docker save's list has, of entries that are kept.
    pub(in crate::plan) saved: BTreeSet<(usize, String)>,
    /// Elements of docker save that no entry references, by position.
    pub(in crate::plan) elements: BTreeSet<usize>,
    /// Annotations of kept entries that get another value: pinned names of a rewritten index.
    pub(in crate::plan) renamed: Vec<(usize, &'static str, String)>,
    pub(in crate::plan) names: BTreeSet<String>,
    /// Images, in the order in which they were given, and platforms.
    pub(in crate::plan) images: Vec<BlobId>,
    /// Images that were named by the user, and documents that are dropped or superseded with a platform. As referrers they
    /// are not kept by their subject.
    pub(in crate::plan) unwanted: BTreeSet<BlobId>,
    /// Platforms.
    pub(in crate::plan) dropped: Vec<Dropped>,
    /// Entries that reference a new index from now on.
    pub(in crate::plan) replaced: BTreeMap<usize, NewBlob>,
    /// Indexes that are replaced by new ones. Their referrers are removed with them, their children are not.
    pub(in crate::plan) superseded: Vec<BlobId>,
    /// The blobs that the new indexes reference.
    pub(in crate::plan) survivors: Vec<BlobId>,
    /// How they reference it.
    pub(super) relisted: Vec<Relisted>,
    /// Nested indexes to write, before those that entries reference.
    pub(in crate::plan) nested: Vec<NewBlob>,
    /// References that no longer count.
    pub(in crate::plan) cut: Cut,
    /// Platforms whose layers are deleted and whose documents are kept.
    pub(in crate::plan) hollowed: Vec<BlobId>,
    /// The new image of each name that moved.
    pub(in crate::plan) moved: Vec<Moved>,
    /// Image IDs that a rewrite replaces, of images that were given by ID.
    pub(in crate::plan) replaced_ids: Vec<ReplacedId>,
}

/// A reference of a new index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Relisted {
    pub(super) id: BlobId,
    pub(super) role: Role,
    /// The position of the image in [`RemovalSet::moved`].
    pub(super) moved: usize,
}

/// The scope of the sweep after a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum SweepExtent {
    /// Blobs that the removal releases. Older orphans are left to `gc` and `prune`, unless the disk is full.
    Released,
    /// Everything unreferenced.
    Everything {
        /// Accept that `index.json` lists nothing to begin with.
        empty: EmptyIndex,
    },
}

impl RemovalSet {
    /// Returns `true` if no file of the layout is edited.
    pub(super) fn edits_nothing(&self) -> bool {
        self.releases_nothing()
            && self.annotations.is_empty()
            && self.saved.is_empty()
            && self.renamed.is_empty()
            && self.nested.is_empty()
            && self.replaced_ids.is_empty()
    }

    /// Returns `true` if every entry and element is kept, perhaps with fewer names.
    pub(super) fn releases_nothing(&self) -> bool {
        self.entries.is_empty()
            && self.elements.is_empty()
            && self.replaced.is_empty()
            && self.cut == Cut::default()
    }

    /// Removes an entry with its names.
    pub(in crate::plan) fn take_entry(&mut self, entry: &EntryFacts) {
        self.entries.insert(entry.position);
        self.names.extend(entry.name_texts().map(str::to_owned));
    }

    /// Removes a selected image, with all entries and all names.
    pub(in crate::plan) fn take_image(&mut self, image: &Image) {
        self.names.extend(image.name_list());
        self.take_image_but_names(image);
    }

    /// Removes a selected image, with all entries.
    pub(super) fn take_image_but_names(&mut self, image: &Image) {
        self.entries.extend(&image.entries);
        self.images.push(image.id);
        self.unwanted.insert(image.id);
    }

    /// Returns `true` if an entry that is kept keeps this name.
    pub(super) fn keeps_name(&self, entry: &EntryFacts, name: &EntryName) -> bool {
        if name.is_annotation() {
            !self.annotations.contains(&(entry.position, name.key))
        } else {
            let name = (entry.position, name.text.to_string());
            !self.saved.contains(&name)
        }
    }

    /// Returns everything that is live afterwards.
    pub(in crate::plan) fn live(&self, snapshot: &Snapshot) -> BlobSet {
        let elements = docker_elements(snapshot, self);
        let roots = snapshot.graph.roots().iter();
        self.reach(snapshot, roots.filter(|root| self.keeps(root, &elements)))
    }

    /// Returns what is live afterwards if these roots are kept.
    pub(super) fn reach<'a>(
        &self,
        snapshot: &Snapshot,
        roots: impl Iterator<Item = &'a Root>,
    ) -> BlobSet {
        let ids = roots.filter_map(|root| root.id());
        let ids = ids.chain(self.survivors.iter().copied());
        snapshot.graph.reach_after(ids, &self.change())
    }

    /// Returns the changes for marking.
    pub(in crate::plan) const fn change(&self) -> PlannedChange<'_> {
        PlannedChange {
            unwanted: &self.unwanted,
            cut: &self.cut,
        }
    }

    /// Returns `true` if a root is kept. `elements`: the [elements](docker_elements) of docker save that are removed.
    pub(super) fn keeps(&self, root: &Root, elements: &BTreeSet<usize>) -> bool {
        match root.source {
            RootSource::DockerSave(position) => !elements.contains(&position),
            _ => keeps_root(self, root),
        }
    }
}

/// Returns the roots that are kept, without docker-save elements.
pub(super) fn kept_roots<'a>(
    snapshot: &'a Snapshot,
    gone: &'a RemovalSet,
) -> impl Iterator<Item = &'a Root> {
    snapshot
        .graph
        .roots()
        .iter()
        .filter(|root| match root.source {
            // An element is removed with its image.
            RootSource::DockerSave(_) => false,
            _ => keeps_root(gone, root),
        })
}

/// Returns `true` if a root is kept, docker-save elements aside.
pub(in crate::plan) fn keeps_root(gone: &RemovalSet, root: &Root) -> bool {
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

/// Returns the elements of docker save's `manifest.json` that are removed: those whose config belongs to a removed image,
/// and which thereby lose a blob, or are left without a name and an entry.
pub(super) fn docker_elements(snapshot: &Snapshot, gone: &RemovalSet) -> BTreeSet<usize> {
    let Some(save) = &snapshot.state.docker_save else {
        return BTreeSet::new();
    };
    // docker save writes short names in its list and full ones in `index.json`.
    let names: HashSet<String> = gone.names.iter().map(|name| canonical(name)).collect();
    let mut below = below(snapshot, gone, Referrers::Follow);
    for &id in &gone.hollowed {
        for (id, _) in content_of(&snapshot.graph, id, None) {
            below.insert(id);
        }
    }
    let live = gone.reach(snapshot, kept_roots(snapshot, gone));
    let is_lost = |digest: &Digest| {
        snapshot
            .graph
            .id(digest)
            .is_some_and(|id| snapshot.graph.is_present(id) && !live.contains(id))
    };
    let owners = config_owners(snapshot);
    let has_no_name_left = |element: &Element| {
        let mut tags = element.repo_tags.iter();
        tags.all(|tag| names.contains(&canonical(tag)))
    };
    // An element whose config is missing does not belong to the removed image.
    let is_here = |id: BlobId| snapshot.graph.is_present(id);
    let has_entry = |config: BlobId| {
        let mut positions = owners.get(&config).into_iter().flatten();
        positions.any(|position| !gone.entries.contains(position))
    };
    let is_removed = |element: &Element| match &element.config {
        Some(config) => snapshot.graph.id(config).is_some_and(|id| {
            below.contains(id)
                && (element.blobs.iter().any(is_lost)
                    || (has_no_name_left(element) && is_here(id) && !has_entry(id)))
        }),
        None => !element.repo_tags.is_empty() && has_no_name_left(element),
    };
    let elements = save.elements.iter().enumerate();
    let removed = elements.filter(|(_, element)| is_removed(element));
    let removed = removed.map(|(position, _)| position);
    removed.chain(gone.elements.iter().copied()).collect()
}

/// Returns everything below the removed documents: their content and, if they follow, its referrers. Their subjects are not
/// included.
pub(super) fn below(snapshot: &Snapshot, gone: &RemovalSet, referrers: Referrers) -> BlobSet {
    let mut found = BlobSet::default();
    let mut queue = gone.images.clone();
    for &id in &gone.superseded {
        found.insert(id);
        queue.extend(following(snapshot, id, referrers));
    }
    extend_below(snapshot, queue, referrers, &mut found);
    found
}

/// Adds what is below these.
pub(super) fn extend_below(
    snapshot: &Snapshot,
    mut queue: Vec<BlobId>,
    referrers: Referrers,
    found: &mut BlobSet,
) {
    while let Some(id) = queue.pop() {
        if !found.insert(id) {
            continue;
        }
        let edges = snapshot.graph.edges(id).iter();
        let parts = edges.filter(|edge| is_part(edge.role));
        queue.extend(parts.map(|edge| edge.to));
        queue.extend(following(snapshot, id, referrers));
    }
}

/// Returns `true` if a reference in this role is part of an image. A blob that only an annotation names is not, and its
/// entry is not removed along with the image.
pub(super) const fn is_part(role: Role) -> bool {
    !matches!(role, Role::Subject | Role::Annotation)
}

/// Returns the referrers of a blob, if they follow it.
fn following(snapshot: &Snapshot, id: BlobId, referrers: Referrers) -> &[BlobId] {
    match referrers {
        Referrers::Follow => snapshot.graph.referrers(id),
        Referrers::Keep => &[],
    }
}
