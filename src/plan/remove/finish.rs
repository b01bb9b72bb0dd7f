//! Makes the plan of a removal: what is written and deleted, in order.

use std::collections::{BTreeSet, HashSet};

use crate::error::{Error, Result};
use crate::graph::{Cut, Edge, EmptyIndex, MarkOptions, MissingDocuments, Root};
use crate::layout::{BlobId, IndexTime};
use crate::model::entries::EntryFacts;
use crate::model::snapshot::Snapshot;
use crate::oci::reference::canonical;
use crate::oci::{Digest, Edit, Kind, Role};
use crate::plan::{KeepReason, Kept, Known, Order, Plan, SweepOptions, sweep};

use super::Removal;
use super::saved::edit_lists;
use super::selection::{RemovalSet, SweepExtent, docker_elements};

/// The maximum lag of file timestamps behind the system clock, in nanoseconds. Linux uses the time of the last tick; network
/// file systems are worse.
const CLOCK_MARGIN: i128 = 1_000_000_000;

/// Makes the plan: edits of the documents, and the sweep of what they release.
pub(in crate::plan) fn finish(
    snapshot: &Snapshot,
    entries: &[EntryFacts],
    gone: &RemovalSet,
    missing: MissingDocuments,
    extent: SweepExtent,
    sweep_options: &SweepOptions,
    files: Known<'_>,
) -> Result<Removal> {
    let Snapshot {
        layout,
        state,
        graph,
    } = snapshot;
    let elements = docker_elements(snapshot, gone);
    let keep = |root: &Root| gone.keeps(root, &elements);
    let mut plan = if gone.releases_nothing() && extent == SweepExtent::Released {
        Plan::empty(snapshot)
    } else {
        release(snapshot, gone, missing, extent, &keep, sweep_options, files)?
    };
    let edits = edits(gone);
    plan.writes.blobs.extend(gone.nested.iter().cloned());
    plan.writes.blobs.extend(gone.replaced.values().cloned());
    plan.writes.blobs.dedup();
    // An image that is referenced from now on is kept, even if it was to be removed along with another.
    let new = plan.writes.blobs.iter();
    let new: BTreeSet<BlobId> = new.filter_map(|blob| graph.id(&blob.digest)).collect();
    for deletions in [&mut plan.sweep, &mut plan.spare] {
        deletions.retain(|id| !new.contains(&id));
    }
    if !plan.unread.is_empty() {
        let deleted = plan.sweep.set();
        let is_deleted = |digest: &Digest| graph.id(digest).is_some_and(|id| deleted.contains(id));
        plan.unread.retain(|(digest, _)| is_deleted(digest));
    }
    // A blob of another image is not written again: its time is the age of that image.
    plan.writes.blobs.retain(|blob| {
        graph
            .id(&blob.digest)
            .is_none_or(|id| !graph.is_rooted(id) || graph.node(id).is_none())
    });
    // A blob that an interrupted run wrote is replaced by the same bytes.
    let added = plan.writes.blobs.iter();
    let added = added.filter(|blob| graph.blobs().id(&blob.digest).is_none());
    plan.written = added.map(|blob| blob.bytes.len() as u64).sum();
    let file = |name: &str| layout.path().join(name);
    if !edits.is_empty() {
        let edited = state.index.edited(&edits).map_err(|why| Error::Edit {
            path: file("index.json"),
            why,
        })?;
        plan.writes.emptied = edited.entries().is_empty();
        plan.writes.index = Some(edited);
    }
    edit_lists(snapshot, entries, gone, &elements, &mut plan.writes)?;
    if !plan.sweep.is_empty() {
        let hollowed = gone.hollowed.iter();
        plan.writes.hollow = hollowed.map(|id| graph.digest(*id).clone()).collect();
    }
    plan.writes.replaced_ids = gone.replaced_ids.clone();
    plan.is_sparse = gone.cut != Cut::default();
    let is_untagged = plan.writes.index.is_some() || plan.writes.manifest_json.is_some();
    if is_untagged && graph.writer().is_some() {
        // A blob that is kept for another reason now may lose that reason before the writer ends.
        let released = plan.kept.iter().filter(|kept| graph.is_rooted(kept.id));
        plan.writes.released = released.map(|kept| graph.digest(kept.id).clone()).collect();
    }
    plan.writes.index_time = if graph.has_in_flight() {
        IndexTime::AsBefore
    } else {
        IndexTime::At(sweep_options.started - CLOCK_MARGIN)
    };
    let mut untagged: Vec<String> = gone.names.iter().cloned().collect();
    untagged.sort_by_cached_key(|name| canonical(name));
    Ok(Removal {
        plan,
        untagged,
        left_referrers: Vec::new(),
        left_companions: Vec::new(),
        conflicts: Vec::new(),
        images: gone
            .images
            .iter()
            .chain(&gone.hollowed)
            .map(|id| graph.digest(*id).clone())
            .collect(),
        moved: gone.moved.clone(),
        dropped: gone.dropped.clone(),
        kept_by: Vec::new(),
        more_kept: 0,
    })
}

/// Returns the edits of `index.json`.
fn edits(gone: &RemovalSet) -> Vec<Edit> {
    let entries = gone.entries.iter();
    let entries = entries.map(|&position| Edit::RemoveEntry { position });
    let annotations = gone.annotations.iter();
    let annotations = annotations.map(|&(position, key)| Edit::RemoveAnnotation {
        position,
        key: key.into(),
    });
    let renamed = gone.renamed.iter();
    let renamed = renamed.map(|(position, key, value)| Edit::ReplaceAnnotation {
        position: *position,
        key: (*key).into(),
        value: value.as_str().into(),
    });
    let replaced = gone.replaced.iter();
    let replaced = replaced.map(|(position, blob)| Edit::ReplaceDigest {
        position: *position,
        digest: blob.digest.clone(),
        size: blob.bytes.len() as u64,
    });
    let edits = entries.chain(annotations).chain(renamed);
    edits.chain(replaced).collect()
}

/// Plans the deletion of what a removal releases, in docker's order: each image, its other
/// documents, then its layers from the top down.
fn release(
    snapshot: &Snapshot,
    gone: &RemovalSet,
    missing: MissingDocuments,
    extent: SweepExtent,
    keep: &dyn Fn(&Root) -> bool,
    sweep_options: &SweepOptions,
    files: Known<'_>,
) -> Result<Plan> {
    let Snapshot {
        layout,
        state,
        graph,
    } = snapshot;
    // An entry that is removed while another entry of the same image is kept releases nothing.
    let live = gone.reach(snapshot, graph.roots().iter().filter(|root| keep(root)));
    let removed = graph.roots().iter().filter(|root| !keep(root));
    let releases = removed
        .filter_map(|root| root.id())
        .any(|id| !live.contains(id));
    let is_everything = extent != SweepExtent::Released;
    if !releases && !is_everything && gone.cut == Cut::default() {
        return Ok(Plan::empty(snapshot));
    }
    layout.refuse_shared_blobs()?;
    let live = graph.mark(
        layout,
        state,
        &MarkOptions {
            keep,
            change: gone.change(),
            extra: &gone.survivors,
            missing,
            empty: match extent {
                SweepExtent::Released => EmptyIndex::Allow,
                SweepExtent::Everything { empty } => empty,
            },
        },
    )?;
    let mut plan = sweep(snapshot, &live, files, sweep_options);
    let is_orphan = |id: BlobId| !graph.is_rooted(id);
    // On a full disk the older orphans make room for the new index. Without one there is nothing to make room for.
    if !gone.edits_nothing() {
        plan.spare = plan.sweep.subset(is_orphan);
    }
    // A blob that an interrupted run of this program wrote, and this one lists, does not indicate a writer.
    let new = gone.nested.iter().chain(gone.replaced.values());
    let new = new.filter_map(|blob| graph.id(&blob.digest)).collect();
    if let Some(writer) = graph.writer_besides(&new) {
        // Many writers read `index.json` at their start and write it at their end: they list again what was removed in
        // between, and do not write a blob again that they have seen.
        let released = plan.sweep.iter().filter(|deletion| !is_orphan(deletion.id));
        let before = plan.kept.len();
        plan.kept.extend(released.map(|deletion| Kept {
            id: deletion.id,
            len: deletion.file.len,
            because: KeepReason::WriterAtWork,
        }));
        if plan.kept.len() > before {
            plan.writer = Some(writer);
            plan.sweep.retain(is_orphan);
        }
    }
    if !is_everything {
        plan.leaves_orphans |= plan.sweep.iter().any(|deletion| is_orphan(deletion.id));
        plan.temporary = Vec::new();
        plan.sweep.retain(|id| !is_orphan(id));
        plan.kept.retain(|kept| graph.is_rooted(kept.id));
    }
    // First the blobs that the removal releases, in docker's order, then everything else.
    plan.order = Order::Docker;
    let ranks = docker_order(snapshot, gone);
    let place = |id: BlobId| {
        let rank = ranks.get(id as usize).copied().unwrap_or(UNRANKED);
        (rank, graph.digest(id))
    };
    plan.sweep.sort_by(|a, b| place(a).cmp(&place(b)));
    Ok(plan)
}

/// The rank of blobs that no image contains.
const UNRANKED: u32 = u32::MAX;

/// Ranks blobs, by number: each image, its other documents in the order of their parents, then its layers from the top down.
fn docker_order(snapshot: &Snapshot, gone: &RemovalSet) -> Vec<u32> {
    let graph = &snapshot.graph;
    let mut ranks = vec![UNRANKED; graph.ids().len()];
    let mut next_rank = 0;
    let mut rank = |id: BlobId| {
        if let Some(rank) = ranks.get_mut(id as usize).filter(|it| **it == UNRANKED) {
            *rank = next_rank;
            next_rank += 1;
        }
    };
    for &image in gone.superseded.iter().chain(&gone.images) {
        let mut layers = Vec::new();
        // Not a `BlobSet`: one bit for each blob of the layout for each image would be quadratic.
        let mut seen = HashSet::from([image]);
        let mut documents = vec![image];
        let mut next = 0;
        while let Some(&id) = documents.get(next) {
            next += 1;
            let edges = graph.edges(id).iter();
            let content = edges.filter(|edge| edge.role != Role::Subject && seen.insert(edge.to));
            let (own, below): (Vec<&Edge>, Vec<_>) = content.partition(|edge| {
                matches!(edge.role, Role::Layer | Role::Blob) || edge.kind == Kind::Layer
            });
            layers.extend(own.iter().rev().map(|edge| edge.to));
            documents.extend(below.iter().map(|edge| edge.to));
            let referrers = graph.referrers(id).iter().copied();
            documents.extend(referrers.filter(|id| seen.insert(*id)));
        }
        documents.into_iter().chain(layers).for_each(&mut rank);
    }
    ranks
}
