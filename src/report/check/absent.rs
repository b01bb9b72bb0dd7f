//! What it means that a blob is not there: a copy that was made without it, or a loss.
//!
//! A layout may lack what its documents refer to, and much of that is meant (image-spec `image-layout.md`:
//! "a blob MAY be missing"): `ctr image export` and `skopeo copy --multi-arch index-only` write an index
//! without its platforms, `docker image rm --platform` and `ocisweep rm --platform` take platforms away,
//! buildpacks write images without layers, and foreign layers are never copied. Such an image is *sparse*.
//!
//! A blob is *missing*, which is damage, when no such copy explains its absence:
//!
//! - an entry of `index.json`, a hold or docker save's `manifest.json` names it;
//! - it is the configuration or a layer of a manifest of which other layers are here. Whoever leaves
//!   layers out on purpose leaves out all of them. A manifest that an index lists may keep those that
//!   other images need as well, as `rm --platform --platform-mode hollow` does, so those do not count.
//!   Once those other images are removed nothing in the documents tells such a platform from one that
//!   lost a layer; then the note of [`Hollow`] does.
//!
//! A blob that a descriptor carries in `data` is here for what that descriptor belongs to, and for
//! nothing else: a tool that follows a descriptor without `data` looks for the file.

use std::collections::HashMap;

use super::read::Look;
use crate::graph::{BlobSet, Edge, Graph, Node, RootSource};
use crate::layout::BlobId;
use crate::layout::hollow::Hollow;
use crate::model::snapshot::Snapshot;
use crate::oci::{Role, Shape};

/// Why a blob is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Absence {
    /// Each descriptor of it carries it.
    Carried,
    /// Nobody expects it here: the descriptor says from where it comes.
    Foreign,
    /// Nothing of its image, or of this platform, was copied.
    Sparse,
    /// Other layers of the same manifest are here.
    Torn,
    /// A root names it.
    Listed,
}

/// Judges all absent blobs of a layout.
pub(super) fn absences(
    view: &Snapshot,
    live: &[BlobId],
    looks: &[Look],
) -> HashMap<BlobId, Absence> {
    let graph = &view.graph;
    let mut found: HashMap<BlobId, Absence> = live
        .iter()
        .zip(looks)
        .filter_map(|(id, look)| match look {
            Look::Absent => Some((*id, Absence::Foreign)),
            Look::Carried => Some((*id, Absence::Carried)),
            Look::Here(..) | Look::Unreadable(_) => None,
        })
        .collect();
    if found.is_empty() {
        return found;
    }
    let mut here = BlobSet::default();
    for (id, look) in live.iter().zip(looks) {
        if matches!(look, Look::Here(..) | Look::Unreadable(_)) {
            here.insert(*id);
        }
    }
    let shares = Shares::of(graph, live);
    let hollow = Hollow::read(&view.layout);
    let mut foreign = BlobSet::default();
    for id in live {
        let Some(node) = graph.node(*id) else {
            continue;
        };
        let mut torn = None;
        for edge in &node.edges {
            let Some(worst) = found.get_mut(&edge.to) else {
                continue;
            };
            let absence = if graph.is_carried_by(edge) {
                Absence::Carried
            } else if edge.is_foreign {
                foreign.insert(edge.to);
                Absence::Foreign
            } else if is_part(edge)
                && *torn.get_or_insert_with(|| {
                    let is_hollow = !hollow.is_empty() && hollow.contains(graph.digest(*id));
                    !is_hollow && shares.has_own_layer(*id, node, &here)
                })
            {
                Absence::Torn
            } else {
                Absence::Sparse
            };
            *worst = (*worst).max(absence);
        }
    }
    for root in graph.roots() {
        let Ok(id) = root.target else { continue };
        let Some(worst) = found.get_mut(&id) else {
            continue;
        };
        let is_named = match root.source {
            // Of an unknown algorithm only documents are looked for; this one was looked for here.
            RootSource::Entry(position) => !is_carried_by_entry(view, position, id),
            RootSource::Hold(_) => !graph.is_embedded(id),
            // docker save lists foreign layers like others and leaves them out.
            RootSource::DockerSave(_) => !foreign.contains(id),
            // What another tool lists it may have moved on without.
            RootSource::InsideEntry(_) | RootSource::IndexField | RootSource::SecondIndex(_) => {
                false
            }
        };
        if !is_named && graph.is_embedded(id) {
            continue;
        }
        let absence = if is_named {
            Absence::Listed
        } else {
            Absence::Sparse
        };
        if is_named || !foreign.contains(id) {
            *worst = (*worst).max(absence);
        }
    }
    found
}

/// Returns whether an entry of `index.json` carries the bytes of the blob that it names.
fn is_carried_by_entry(view: &Snapshot, position: usize, id: BlobId) -> bool {
    let entry = view.state.index.entries().get(position);
    let data = entry.and_then(|entry| view.state.index.details(entry).data);
    view.graph.is_embedded(id) && data.is_some()
}

/// Returns `true` if what is referred to is content of that document: not an image of its own.
fn is_part(edge: &Edge) -> bool {
    match edge.role {
        Role::Config | Role::Layer | Role::Blob => true,
        // BuildKit's caches list their layers in an index.
        Role::Child => edge.kind.is_leaf(),
        Role::Subject | Role::Annotation | Role::Other => false,
    }
}

/// Returns `true` if it is content that takes room: configurations are small, alike, and kept by those who
/// leave layers out.
fn is_layer(edge: &Edge) -> bool {
    is_part(edge) && edge.role != Role::Config
}

/// Which layers several documents use, and which documents are platforms.
struct Shares {
    /// How many documents use a layer: 1, or 2 for more.
    users: HashMap<BlobId, u8>,
    platforms: BlobSet,
}

impl Shares {
    fn of(graph: &Graph, live: &[BlobId]) -> Self {
        let mut shares = Self {
            users: HashMap::new(),
            platforms: BlobSet::default(),
        };
        let mut last: HashMap<BlobId, BlobId> = HashMap::new();
        for id in live {
            let Some(node) = graph.node(*id) else {
                continue;
            };
            for edge in &node.edges {
                if is_layer(edge) && last.insert(edge.to, *id) != Some(*id) {
                    let users = shares.users.entry(edge.to).or_default();
                    *users = users.saturating_add(1);
                }
                if edge.role == Role::Child && !edge.kind.is_leaf() && node.shape == Shape::Index {
                    shares.platforms.insert(edge.to);
                }
            }
        }
        shares
    }

    /// Returns `true` if a layer of the document is here that nobody left there for another image.
    fn has_own_layer(&self, id: BlobId, node: &Node, here: &BlobSet) -> bool {
        let is_platform = self.platforms.contains(id);
        node.edges.iter().any(|edge| {
            let is_shared = self.users.get(&edge.to).is_some_and(|users| *users > 1);
            is_layer(edge) && here.contains(edge.to) && !(is_platform && is_shared)
        })
    }
}
