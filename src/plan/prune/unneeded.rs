//! Entries that nothing needs once the selected images are removed.

use std::collections::{BTreeSet, HashSet};

use crate::layout::BlobId;
use crate::model::entries::{EntryFacts, EntryRole};
use crate::model::snapshot::Snapshot;
use crate::plan::dangling::unneeded;

use super::{Judged, RemovalSet};

/// Returns referrers that only share a name with their image, if images lose that name and are kept under others: they no
/// longer belong to an image, and the next prune would remove them by that name.
pub(super) fn without_image<'a>(
    entries: &'a [EntryFacts],
    judged: &[Judged<'_>],
) -> Vec<&'a EntryFacts> {
    let lost: BTreeSet<&str> = judged
        .iter()
        .flat_map(|judged| &judged.untagged)
        .map(String::as_str)
        .collect();
    if lost.is_empty() {
        return Vec::new();
    }
    let kept: BTreeSet<&str> = judged
        .iter()
        .flat_map(|judged| {
            let names = judged.image.names.iter().map(|name| &*name.text);
            names.filter(|name| judged.keeps(name))
        })
        .collect();
    let is_alone = |entry: &&EntryFacts| {
        let mut names = entry.name_texts();
        entry.role == EntryRole::KindReferrer
            && names.all(|name| lost.contains(name) && !kept.contains(name))
    };
    entries.iter().filter(is_alone).collect()
}

/// Adds entries without a name of their own that only removed images referenced: they become dangling, and the next prune
/// would remove them. Those that do not pass the filters are kept, as they would be then. Returns their images.
pub(super) fn take_unneeded(
    snapshot: &Snapshot,
    entries: &[EntryFacts],
    passes: &mut dyn FnMut(BlobId) -> bool,
    gone: &mut RemovalSet,
) -> Vec<BlobId> {
    let is_gone = |entry: &EntryFacts| gone.entries.contains(&entry.position);
    let change = gone.change();
    let mut spared: HashSet<BlobId> = HashSet::new();
    let unneeded = loop {
        let is_spared = |entry: &EntryFacts| entry.id.is_some_and(|id| spared.contains(&id));
        let found = unneeded(
            snapshot,
            entries,
            &is_gone,
            &is_spared,
            &gone.survivors,
            &change,
        );
        let untagged = found
            .iter()
            .filter(|entry| entry.role == EntryRole::Untagged);
        let kept: Vec<BlobId> = untagged
            .filter_map(|entry| entry.id)
            .filter(|id| !passes(*id))
            .collect();
        if kept.is_empty() {
            break found;
        }
        spared.extend(kept);
    };
    let mut images = Vec::new();
    for entry in &unneeded {
        gone.take_entry(entry);
        images.extend(entry.id);
    }
    gone.images.extend(&images);
    images
}
