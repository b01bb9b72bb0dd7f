//! Which entries of `index.json` are dangling.
//!
//! Overwriting a tag with skopeo, buildah or oras leaves the old image in `index.json` without a name.
//! But most untagged entries are alive: oras lists every child of an index again, referrers have no
//! names, and crane, ko or cosign name nothing at all.

use std::collections::BTreeSet;

use crate::graph::{Bits, RootSource, entry_names};
use crate::images::{CONTAINERD_SUBJECT, REFERENCE_DIGEST};
use crate::layout::BlobId;
use crate::oci::{Digest, Role};
use crate::view::View;

/// Returns the positions of the dangling entries: untagged, and neither a child nor a referrer of
/// anything that stays. A layout in which no entry has a name has none.
#[must_use]
pub fn dangling(view: &View) -> BTreeSet<usize> {
    let View { state, graph, .. } = view;
    let mut untagged: Vec<Untagged> = Vec::new();
    let mut has_names = false;
    let mut stays: Vec<BlobId> = Vec::new();
    for root in graph.roots() {
        let Ok(id) = root.target else { continue };
        let RootSource::Entry(position) = root.source else {
            stays.push(id);
            continue;
        };
        let Some(entry) = state.index.entries().get(position) else {
            continue;
        };
        let details = state.index.details(entry);
        if !entry_names(&details).is_empty() {
            has_names = true;
            stays.push(id);
            continue;
        }
        let about = [CONTAINERD_SUBJECT, REFERENCE_DIGEST]
            .into_iter()
            .filter_map(|key| details.annotations.get(key))
            .filter_map(|text| Digest::parse(text).ok())
            .filter_map(|digest| graph.id(&digest));
        let subjects = graph.node(id).map_or(&[][..], |node| &node.edges);
        let subjects = subjects
            .iter()
            .filter(|edge| edge.role == Role::Subject)
            .map(|edge| edge.to);
        untagged.push(Untagged {
            position,
            id,
            about: about.chain(subjects).collect(),
        });
    }
    if !has_names {
        return BTreeSet::new();
    }
    // A referrer that stays keeps what it leads to, which may be the subject of the next one.
    let mut live = graph.reach(stays.iter().copied());
    loop {
        let (kept, rest): (Vec<_>, Vec<_>) =
            untagged.into_iter().partition(|entry| entry.stays(&live));
        untagged = rest;
        if kept.is_empty() {
            break;
        }
        stays.extend(kept.iter().map(|entry| entry.id));
        live = graph.reach(stays.iter().copied());
    }
    untagged.into_iter().map(|entry| entry.position).collect()
}

struct Untagged {
    position: usize,
    id: BlobId,
    /// What it is a referrer of.
    about: Vec<BlobId>,
}

impl Untagged {
    fn stays(&self, live: &Bits) -> bool {
        live.contains(self.id) || self.about.iter().any(|&id| live.contains(id))
    }
}
