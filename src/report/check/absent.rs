//! Decides whether an absent blob was omitted from a copy, or lost.
//!
//! A layout may lack blobs that its documents reference, often on purpose (image-spec `image-layout.md`:
//! "a blob MAY be missing"): `ctr image export` and `skopeo copy --multi-arch index-only` write an index
//! without its platforms, `docker image rm --platform` and `ocisweep rm --platform` remove platforms,
//! buildpacks write images without layers, and foreign layers are never copied. Such an image is *sparse*.
//!
//! A blob is *missing*, which is damage, if no such copy explains its absence:
//!
//! - an entry of `index.json`, a hold or docker save's `manifest.json` names it;
//! - it is the configuration or a layer of a manifest that has other layers present. Tools that omit layers omit all of
//!   them. A manifest that an index lists may keep layers that other images reference as well, as with
//!   `rm --platform --platform-mode hollow`, so those do not count. Once those other images are removed, only the record of
//!   [`Hollow`] distinguishes such a platform from one that lost a layer.
//!
//! A blob that is embedded in the `data` of a descriptor is present for that descriptor only: a tool that follows another
//! descriptor reads the file.

use std::collections::HashMap;

use super::read::BlobState;
use crate::graph::{BlobSet, Edge, Graph, Node, RootSource};
use crate::layout::BlobId;
use crate::layout::hollow::Hollow;
use crate::model::snapshot::Snapshot;
use crate::oci::{Role, Shape};

/// Why a blob is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Absence {
    /// Each of its descriptors embeds it.
    Carried,
    /// It is a foreign layer, which is fetched from elsewhere; the initial state of each live blob.
    Foreign,
    /// Nothing of its image, or of this platform, was copied.
    Sparse,
    /// Other layers of the same manifest are present.
    Torn,
    /// A root names it.
    Listed,
}

/// Classifies all absent blobs of a layout.
pub(super) fn absences(
    snapshot: &Snapshot,
    live: &[BlobId],
    states: &[BlobState],
) -> HashMap<BlobId, Absence> {
    let graph = &snapshot.graph;
    let mut found: HashMap<BlobId, Absence> = live
        .iter()
        .zip(states)
        .filter_map(|(id, state)| match state {
            BlobState::Absent => Some((*id, Absence::Foreign)),
            BlobState::Carried => Some((*id, Absence::Carried)),
            BlobState::Here(..) | BlobState::Unreadable(_) => None,
        })
        .collect();
    if found.is_empty() {
        return found;
    }
    let mut here = BlobSet::default();
    for (id, state) in live.iter().zip(states) {
        if matches!(state, BlobState::Here(..) | BlobState::Unreadable(_)) {
            here.insert(*id);
        }
    }
    let shares = Shares::of(graph, live);
    let hollow = Hollow::read(&snapshot.layout);
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
            // For unknown algorithms only documents are read, and this one was.
            RootSource::Entry(position) => !is_carried_by_entry(snapshot, position, id),
            RootSource::Hold(_) => !graph.is_embedded(id),
            // docker save lists foreign layers like others but omits them.
            RootSource::DockerSave(_) => !foreign.contains(id),
            // The lists of other tools may be outdated.
            RootSource::InsideEntry(_) | RootSource::IndexField | RootSource::SecondIndex(_) => {
                false
            }
        };
        if is_named {
            *worst = Absence::Listed;
        } else if !graph.is_embedded(id) && !foreign.contains(id) {
            *worst = (*worst).max(Absence::Sparse);
        }
    }
    found
}

/// Returns `true` if an entry of `index.json` embeds the bytes of its blob.
fn is_carried_by_entry(snapshot: &Snapshot, position: usize, id: BlobId) -> bool {
    let entry = snapshot.state.index.entries().get(position);
    let data = entry.and_then(|entry| snapshot.state.index.details(entry).data);
    snapshot.graph.is_embedded(id) && data.is_some()
}

/// Returns `true` if a reference is to content of that document, and not to another image.
fn is_part(edge: &Edge) -> bool {
    match edge.role {
        Role::Config | Role::Layer | Role::Blob => true,
        // BuildKit's caches list their layers in an index.
        Role::Child => edge.kind.is_leaf(),
        Role::Subject | Role::Annotation | Role::Other => false,
    }
}

/// Returns `true` if a reference is to content other than the configuration, which is small, and kept when layers are
/// omitted.
fn is_layer(edge: &Edge) -> bool {
    is_part(edge) && edge.role != Role::Config
}

/// Finds which layers several documents use, and which documents are platforms.
struct Shares {
    /// The number of documents that use a layer.
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

    /// Returns `true` if the document has a present layer that is not kept for another image.
    fn has_own_layer(&self, id: BlobId, node: &Node, here: &BlobSet) -> bool {
        let is_platform = self.platforms.contains(id);
        node.edges.iter().any(|edge| {
            let is_shared = self.users.get(&edge.to).is_some_and(|users| *users > 1);
            is_layer(edge) && here.contains(edge.to) && !(is_platform && is_shared)
        })
    }
}
