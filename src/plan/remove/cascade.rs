//! Finds what is removed along with the selected images.

use std::collections::{BTreeSet, HashSet};

use crate::graph::{BlobSet, Graph, RootSource, content_of};
use crate::layout::BlobId;
use crate::model::entries::{EntryFacts, EntryRole};
use crate::model::snapshot::Snapshot;

use super::selection::{RemovalSet, below, extend_below, kept_roots};
use super::{Referrers, RemoveOptions, take_names};

/// Adds what is removed along with the removed entries: untagged entries that were their children, their untagged and
/// digest-tag referrers, those that share their name by `kind`, and untagged images that they were built upon; repeated
/// until nothing new is found. Anything that a kept entry still references is kept. Returns the named referrers that are
/// kept.
pub(in crate::plan) fn cascade(
    snapshot: &Snapshot,
    entries: &[EntryFacts],
    options: &RemoveOptions,
    gone: &mut RemovalSet,
) -> Vec<String> {
    let mut known: HashSet<BlobId> = gone.images.iter().copied().collect();
    loop {
        let mut below = below(snapshot, gone, options.referrers);
        let mut candidates: Vec<&EntryFacts> = Vec::new();
        let mut kept_ids: Vec<BlobId> = kept_roots(snapshot, gone)
            .filter(|root| !matches!(root.source, RootSource::Entry(_)))
            .filter_map(|root| root.id())
            .collect();
        let images = gone.images.iter();
        let bases: BTreeSet<BlobId> = images.flat_map(|id| bases(&snapshot.graph, *id)).collect();
        let mut others: Vec<&EntryFacts> = entries
            .iter()
            .filter(|entry| {
                entry.id.is_some()
                    && !gone.entries.contains(&entry.position)
                    && !gone.replaced.contains_key(&entry.position)
            })
            .collect();
        let in_use = names_in_use(entries, gone);
        // A referrer may itself have referrers that only a digest tag connects to it: they are candidates together, or each
        // would keep the other.
        loop {
            let before = candidates.len();
            others.retain(|entry| {
                let is_removed_along =
                    is_removed_along(entry, options, gone, &below, &bases, &in_use);
                if is_removed_along {
                    candidates.push(entry);
                }
                !is_removed_along
            });
            let Some(new) = candidates.get(before..).filter(|new| !new.is_empty()) else {
                break;
            };
            let ids = new.iter().filter_map(|entry| entry.id).collect();
            extend_below(snapshot, ids, options.referrers, &mut below);
        }
        kept_ids.extend(others.iter().filter_map(|entry| entry.id));
        // A kept entry keeps its children and its referrers; those keep theirs.
        loop {
            let ids = kept_ids.iter().chain(&gone.survivors).copied();
            let live = snapshot.graph.reach_after(ids, &gone.change());
            let before = candidates.len();
            // An image that other images were built upon as well is in use.
            let kept = kept_ids.iter().filter(|_| !bases.is_empty());
            let used: BTreeSet<BlobId> = kept
                .flat_map(|id| self::bases(&snapshot.graph, *id))
                .collect();
            candidates.retain(|entry| {
                let is_kept = entry
                    .id
                    .is_some_and(|id| live.contains(id) || used.contains(&id))
                    || (entry.role != EntryRole::KindReferrer
                        && entry.about.iter().any(|about| live.contains(*about)));
                if is_kept {
                    kept_ids.extend(entry.id);
                }
                !is_kept
            });
            if candidates.len() == before {
                break;
            }
        }
        if candidates.is_empty() {
            if options.referrers == Referrers::Follow {
                untag_kept_kin(entries, gone);
            }
            return left_referrers(entries, gone, &below);
        }
        for entry in candidates {
            gone.take_entry(entry);
            gone.images.extend(entry.id.filter(|id| known.insert(*id)));
        }
    }
}

/// Removes the removed names from signatures that share them by their `kind` and are kept by something else: otherwise the
/// name would still be listed, for the entry of the signature.
fn untag_kept_kin(entries: &[EntryFacts], gone: &mut RemovalSet) {
    let in_use = names_in_use(entries, gone);
    let is_kin = |entry: &&EntryFacts| {
        entry.role == EntryRole::KindReferrer && !gone.entries.contains(&entry.position)
    };
    let kin: Vec<&EntryFacts> = entries.iter().filter(is_kin).collect();
    for entry in kin {
        let removed = entry
            .names
            .iter()
            .filter(|name| gone.names.contains(&*name.text) && !in_use.contains(&*name.text));
        let removed: Vec<_> = removed.collect();
        take_names(entry, &removed, gone);
    }
}

/// Returns the names that images keep. An entry that shares one of them by its `kind` belongs to those images.
fn names_in_use<'a>(entries: &'a [EntryFacts], gone: &RemovalSet) -> HashSet<&'a str> {
    let is_kept = |entry: &&EntryFacts| {
        entry.role != EntryRole::KindReferrer && !gone.entries.contains(&entry.position)
    };
    let kept = entries.iter().filter(is_kept);
    let names = kept.flat_map(|entry| {
        let names = entry.names.iter();
        names.filter(|name| gone.keeps_name(entry, name))
    });
    names.map(|name| &*name.text).collect()
}

/// Returns `true` if an entry belongs to a removed image, whatever keeps it.
fn is_removed_along(
    entry: &EntryFacts,
    options: &RemoveOptions,
    gone: &RemovalSet,
    below: &BlobSet,
    bases: &BTreeSet<BlobId>,
    in_use: &HashSet<&str>,
) -> bool {
    let Some(id) = entry.id else { return false };
    let is_untagged = entry.role == EntryRole::Untagged;
    if is_untagged && (below.contains(id) || bases.contains(&id)) {
        return true;
    }
    options.referrers == Referrers::Follow
        && match entry.role {
            EntryRole::Untagged | EntryRole::DigestTag => {
                entry.about.iter().any(|about| below.contains(*about))
            }
            EntryRole::KindReferrer => {
                let mut names = entry.names.iter().map(|name| &*name.text);
                // Another image may have the name as well.
                names.clone().any(|name| gone.names.contains(name))
                    && !names.any(|name| in_use.contains(name))
            }
            // An image that docker save's list names is not part of another one.
            EntryRole::Named | EntryRole::Saved => false,
        }
}

/// Returns the images that one was built upon, according to the annotations of its manifests.
pub(super) fn bases(graph: &Graph, id: BlobId) -> Vec<BlobId> {
    let content = content_of(graph, id, None).into_iter();
    content
        .filter_map(|(id, _)| graph.node(id)?.base_digest.as_ref())
        .filter_map(|digest| graph.id(digest))
        .collect()
}

fn left_referrers(entries: &[EntryFacts], gone: &RemovalSet, below: &BlobSet) -> Vec<String> {
    let left: BTreeSet<String> = entries
        .iter()
        .filter(|entry| {
            entry.role == EntryRole::Named
                && !gone.entries.contains(&entry.position)
                && entry.about.iter().any(|about| below.contains(*about))
        })
        .filter_map(|entry| entry.names.first())
        .map(|name| name.text.to_string())
        .collect();
    left.into_iter().collect()
}
