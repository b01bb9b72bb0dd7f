//! Which entries of `index.json` are dangling.
//!
//! Overwriting a tag with skopeo, buildah or oras leaves the old image in `index.json` without a name.
//! But most untagged entries are alive: oras lists every child of an index again, referrers have no
//! names, and crane, ko or cosign name nothing at all.
//!
//! *Promise*: this is the only place that decides it. `prune`, `ls`, `df` and the question ask here.

use std::collections::BTreeSet;

use crate::graph::{BlobSet, Change, RootSource};
use crate::layout::BlobId;
use crate::model::entries::{EntryFacts, EntryRole, list_entries};
use crate::model::snapshot::Snapshot;

/// Returns the positions of the dangling entries: untagged, and neither a child nor a referrer of
/// anything that stays. A layout in which no entry has a name has none, nor has one that lists a document which is missing.
#[must_use]
pub fn dangling(view: &Snapshot) -> BTreeSet<usize> {
    dangling_among(view, &list_entries(view))
}

/// Does the same where the entries are known already.
pub(crate) fn dangling_among(view: &Snapshot, entries: &[EntryFacts]) -> BTreeSet<usize> {
    let is_untagged = |entry: &&EntryFacts| entry.role == EntryRole::Untagged;
    let untagged = dangling_with_tags(view, entries);
    let untagged = untagged.into_iter().filter(is_untagged);
    untagged.map(|entry| entry.position).collect()
}

/// Returns the dangling entries and the digest tags that go along with them.
pub(crate) fn dangling_with_tags<'a>(
    view: &Snapshot,
    entries: &'a [EntryFacts],
) -> Vec<&'a EntryFacts> {
    // A digest tag is no name: it only says what it is about.
    if !entries.iter().any(|entry| entry.role == EntryRole::Named) {
        return Vec::new();
    }
    let nothing = |_: &EntryFacts| false;
    unneeded(view, entries, &nothing, &nothing, &[], &Change::none())
}

/// Returns the entries without a name of their own that nothing references once `is_gone` entries are removed:
/// untagged ones that are neither a child nor a referrer of anything that stays, and the digest tags of those. A
/// digest tag names the referrers of its subject: it follows the subject, and does not keep it. `is_spared` entries stay, with
/// all that they reference.
pub(super) fn unneeded<'a>(
    view: &Snapshot,
    entries: &'a [EntryFacts],
    is_gone: &dyn Fn(&EntryFacts) -> bool,
    is_spared: &dyn Fn(&EntryFacts) -> bool,
    survivors: &[BlobId],
    change: &Change<'_>,
) -> Vec<&'a EntryFacts> {
    // The children of a document that is listed and not here are unknown: any untagged entry may be one of them.
    let is_left = |position: usize| entries.get(position).is_some_and(|entry| !is_gone(entry));
    let has_unknown_children =
        view.graph.missing_listed().any(is_left) || view.graph.misses_an_index(is_left);
    let is_follower = |entry: &&EntryFacts| match entry.role {
        EntryRole::Untagged => entry.id.is_some() && !has_unknown_children && !is_spared(entry),
        EntryRole::DigestTag => entry.id.is_some(),
        _ => false,
    };
    let left = entries.iter().filter(|entry| !is_gone(entry));
    // Entries without a digest that could be followed lead nowhere, and are not removed either.
    let (mut followers, others): (Vec<&EntryFacts>, Vec<&EntryFacts>) = left.partition(is_follower);
    let roots = view.graph.roots().iter().filter(|root| match root.source {
        RootSource::Entry(_) => false,
        // What else stands in an entry is doubtful, and keeps as long as the entry is there.
        RootSource::InsideEntry(position) => {
            entries.get(position).is_some_and(|entry| !is_gone(entry))
        }
        _ => true,
    });
    let mut stays: Vec<BlobId> = roots
        .filter_map(|root| root.target.as_ref().ok().copied())
        .chain(others.iter().filter_map(|entry| entry.id))
        .chain(survivors.iter().copied())
        .collect();
    loop {
        // A referrer that stays keeps what it references, which may be the subject of the next one.
        let live = view.graph.reach_after(stays.iter().copied(), change);
        let before = stays.len();
        followers.retain(|entry| keep_if(entry, &live, &mut stays));
        if stays.len() > before {
            continue;
        }
        // A digest tag whose subject is not removed here, and which is no part of what is, may be somebody's name for it.
        let untagged = followers
            .iter()
            .copied()
            .filter(|entry| entry.role == EntryRole::Untagged);
        let removed = entries.iter().filter(|entry| is_gone(entry));
        let going = untagged.chain(removed).filter_map(|entry| entry.id);
        let going = view.graph.reach(going);
        followers.retain(|entry| {
            let follows = entry.role == EntryRole::Untagged
                || entry
                    .id
                    .iter()
                    .chain(&entry.about)
                    .any(|id| going.contains(*id));
            if !follows {
                stays.extend(entry.id);
            }
            follows
        });
        if stays.len() == before {
            return followers;
        }
    }
}

/// Returns `false` for an entry that something live needs, which stays then.
fn keep_if(entry: &EntryFacts, live: &BlobSet, stays: &mut Vec<BlobId>) -> bool {
    let is_needed = entry
        .id
        .iter()
        .chain(&entry.about)
        .any(|id| live.contains(*id));
    if is_needed {
        stays.extend(entry.id);
    }
    !is_needed
}
