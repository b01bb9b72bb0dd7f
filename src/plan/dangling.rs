//! Finds the dangling entries of `index.json`.
//!
//! Overwriting a tag with skopeo, buildah or oras leaves the old image in `index.json` without a name.
//! But most untagged entries are in use: oras lists every child of an index again, referrers have no
//! names, and crane, ko and cosign name nothing at all.
//!
//! *Promise*: `prune`, its confirmation, `ls` and `df` all use this definition.

use std::collections::BTreeSet;

use crate::graph::{BlobSet, PlannedChange, RootSource};
use crate::layout::BlobId;
use crate::model::entries::{EntryFacts, EntryRole, list_entries};
use crate::model::snapshot::Snapshot;

/// Returns the positions of the dangling entries: untagged, and neither a child nor a referrer of
/// anything that is kept. There are none if no entry has a name, or if a listed document is missing.
#[must_use]
pub fn dangling(snapshot: &Snapshot, entries: &[EntryFacts]) -> BTreeSet<usize> {
    let is_untagged = |entry: &&EntryFacts| entry.role == EntryRole::Untagged;
    let untagged = dangling_with_tags(snapshot, entries);
    let untagged = untagged.into_iter().filter(is_untagged);
    untagged.map(|entry| entry.position).collect()
}

/// Returns the number of dangling images: entries with the same digest count once.
#[must_use]
pub(crate) fn dangling_images(snapshot: &Snapshot) -> usize {
    let entries = list_entries(snapshot);
    let dangling = dangling(snapshot, &entries);
    let ids = dangling
        .iter()
        .filter_map(|&position| entries.get(position)?.id);
    ids.collect::<BTreeSet<BlobId>>().len()
}

/// Returns the dangling entries and the digest tags that are removed along with them.
pub(crate) fn dangling_with_tags<'a>(
    snapshot: &Snapshot,
    entries: &'a [EntryFacts],
) -> Vec<&'a EntryFacts> {
    // A digest tag names only the subject of its entry.
    if !entries.iter().any(|entry| entry.role == EntryRole::Named) {
        return Vec::new();
    }
    let nothing = |_: &EntryFacts| false;
    unneeded(
        snapshot,
        entries,
        &nothing,
        &nothing,
        &[],
        &PlannedChange::none(),
    )
}

/// Returns the entries without a name of their own that are unreferenced once `is_gone` entries are removed:
/// untagged ones that are neither a child nor a referrer of anything that is kept, and the digest tags of those. A
/// digest tag follows its subject, and does not keep it. `is_spared` entries are kept, with all that they reference.
pub(super) fn unneeded<'a>(
    snapshot: &Snapshot,
    entries: &'a [EntryFacts],
    is_gone: &dyn Fn(&EntryFacts) -> bool,
    is_spared: &dyn Fn(&EntryFacts) -> bool,
    survivors: &[BlobId],
    change: &PlannedChange<'_>,
) -> Vec<&'a EntryFacts> {
    // The children of a listed document that is missing are unknown: any untagged entry may be one of them.
    let is_left = |position: usize| entries.get(position).is_some_and(|entry| !is_gone(entry));
    let has_unknown_children =
        snapshot.graph.missing_listed().any(is_left) || snapshot.graph.misses_an_index(is_left);
    let is_follower = |entry: &&EntryFacts| match entry.role {
        EntryRole::Untagged => entry.id.is_some() && !has_unknown_children && !is_spared(entry),
        EntryRole::DigestTag => entry.id.is_some(),
        _ => false,
    };
    let left = entries.iter().filter(|entry| !is_gone(entry));
    // Entries without a valid digest reference nothing, and are not removed either.
    let (mut followers, others): (Vec<&EntryFacts>, Vec<&EntryFacts>) = left.partition(is_follower);
    let roots = snapshot
        .graph
        .roots()
        .iter()
        .filter(|root| match root.source {
            RootSource::Entry(_) => false,
            // Whatever an entry references besides its blob is doubtful, and is kept as long as the entry.
            RootSource::InsideEntry(position) => is_left(position),
            _ => true,
        });
    let mut kept: Vec<BlobId> = roots
        .filter_map(|root| root.id())
        .chain(others.iter().filter_map(|entry| entry.id))
        .chain(survivors.iter().copied())
        .collect();
    loop {
        // A referrer that is kept keeps what it references, which may be the subject of the next one.
        let live = snapshot.graph.reach_after(kept.iter().copied(), change);
        let before = kept.len();
        followers.retain(|entry| {
            let mut annotated = entry.annotated.iter();
            let is_kept = is_in(entry, &live) || annotated.any(|id| live.contains(*id));
            kept.extend(entry.id.filter(|_| is_kept));
            !is_kept
        });
        if kept.len() > before {
            continue;
        }
        // A digest tag is kept if its subject is not removed here and it is not part of a removed image: it may be a name.
        let untagged = followers
            .iter()
            .copied()
            .filter(|entry| entry.role == EntryRole::Untagged);
        let removed = entries.iter().filter(|entry| is_gone(entry));
        let removed = untagged.chain(removed).filter_map(|entry| entry.id);
        let removed = snapshot.graph.reach(removed);
        followers.retain(|entry| {
            let follows = entry.role == EntryRole::Untagged || is_in(entry, &removed);
            kept.extend(entry.id.filter(|_| !follows));
            follows
        });
        if kept.len() == before {
            return followers;
        }
    }
}

/// Returns `true` if a set has the blob of an entry or one of its subjects.
fn is_in(entry: &EntryFacts, set: &BlobSet) -> bool {
    let mut ids = entry.id.iter().chain(&entry.about);
    ids.any(|id| set.contains(*id))
}
