//! Which entries of `index.json` are dangling.
//!
//! Overwriting a tag with skopeo, buildah or oras leaves the old image in `index.json` without a name.
//! But most untagged entries are alive: oras lists every child of an index again, referrers have no
//! names, and crane, ko or cosign name nothing at all.

use std::collections::BTreeSet;

use crate::entries::{EntryRole, entries};
use crate::graph::RootSource;
use crate::layout::BlobId;
use crate::view::View;

/// Returns the positions of the dangling entries: untagged, and neither a child nor a referrer of
/// anything that stays. A layout in which no entry has a name has none.
#[must_use]
pub fn dangling(view: &View) -> BTreeSet<usize> {
    let (mut untagged, named): (Vec<_>, Vec<_>) = entries(view)
        .into_iter()
        .partition(|entry| entry.role == EntryRole::Untagged);
    // A digest tag is no name: it only says what it is about.
    if !named.iter().any(|entry| entry.role == EntryRole::Named) {
        return BTreeSet::new();
    }
    // Entries without a digest that could be followed lead nowhere, and are not removed either.
    untagged.retain(|entry| entry.id.is_some());
    let others = view.graph.roots().iter().filter(|root| match root.source {
        RootSource::Entry(_) | RootSource::InsideEntry(_) => false,
        RootSource::IndexField | RootSource::Hold(_) | RootSource::DockerSave(_) => true,
    });
    let mut stays: Vec<BlobId> = named
        .iter()
        .filter_map(|entry| entry.id)
        .chain(others.filter_map(|root| root.target.as_ref().ok().copied()))
        .collect();
    loop {
        // A referrer that stays keeps what it leads to, which may be the subject of the next one.
        let live = view.graph.reach(stays.iter().copied());
        let is_live = |id: &BlobId| live.contains(*id);
        let before = stays.len();
        untagged.retain(|entry| {
            let is_kept = entry.id.iter().any(is_live) || entry.about.iter().any(is_live);
            if is_kept {
                stays.extend(entry.id);
            }
            !is_kept
        });
        if stays.len() == before {
            break;
        }
    }
    untagged.into_iter().map(|entry| entry.position).collect()
}
