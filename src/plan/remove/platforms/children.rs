//! The children of an image that `--platform` can drop: their platforms, presence, and selectors.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};

use crate::graph::is_attestation;
use crate::graph::{Edge, Graph};
use crate::layout::BlobId;
use crate::layout::hollow::Hollow;
use crate::model::images::ImageInspector;
use crate::model::snapshot::Snapshot;
use crate::oci::descriptor::Details;
use crate::oci::platform::{Platform, PlatformSelector};
use crate::oci::{Digest, Role, Shape};

/// A child of an image that is or can be a platform.
pub(in crate::plan) struct Child<'a> {
    pub(in crate::plan) id: BlobId,
    pub(super) parent: BlobId,
    pub(in crate::plan) platform: Option<Platform>,
    pub(super) edge: Option<&'a Edge>,
    /// The entry of `index.json` that lists it, for an image that is one manifest.
    pub(super) entry: Option<usize>,
}

impl Child<'_> {
    /// Returns `true` if a flag selects this child. A child that is neither a manifest nor of a platform, such
    /// as a layer that the index of a BuildKit cache lists, cannot be selected.
    pub(super) fn is_named(&self, graph: &Graph, wanted: &PlatformSelector) -> bool {
        (self.platform.is_some() || self.is_manifest(graph))
            && wanted.selects(graph.digest(self.id), self.platform.as_ref())
    }

    fn is_manifest(&self, graph: &Graph) -> bool {
        match (graph.node(self.id), self.edge) {
            (Some(node), _) => node.shape == Shape::Manifest,
            // Missing: its media type decides.
            (None, Some(edge)) => edge.kind.is_document(),
            (None, None) => false,
        }
    }

    /// Returns the platform in the descriptor of a child.
    pub(super) fn written(&self) -> Option<Platform> {
        written(self.edge?.details.as_deref()?)
    }

    /// Returns the platform for display.
    pub(super) fn shown(&self) -> String {
        self.platform
            .as_ref()
            .map_or_else(|| "unknown".to_owned(), ToString::to_string)
    }
}

/// Returns the children of an image that are or can be platforms, in nested indexes too: everything
/// but attestations and indexes. An image that is a single manifest is its own child, once for each of
/// `listed_as`: the entries of `index.json` that list it, each with its platform.
pub(in crate::plan) fn children<'a>(
    snapshot: &'a Snapshot,
    cache: &mut ImageInspector<'a>,
    image: BlobId,
    listed_as: &[(usize, Option<Platform>)],
) -> Vec<Child<'a>> {
    let graph = &snapshot.graph;
    if !graph.is_index(image) {
        let child = |(position, platform): &(usize, Option<Platform>)| Child {
            id: image,
            parent: image,
            platform: platform
                .clone()
                .filter(|platform| !platform.os.is_empty())
                .or_else(|| cache.platform(image, None)),
            edge: None,
            entry: Some(*position),
        };
        return listed_as.iter().map(child).collect();
    }
    let mut found = Vec::new();
    for (parent, edge) in listed(graph, image) {
        if graph.is_index(edge.to) || is_attestation(edge) {
            continue;
        }
        let platform = cache
            .platform(edge.to, Some(edge))
            .filter(|platform| platform.os != "unknown");
        found.push(Child {
            id: edge.to,
            parent,
            platform,
            edge: Some(edge),
            entry: None,
        });
    }
    found
}

/// Returns the platform in a descriptor.
pub(in crate::plan) fn written(details: &Details) -> Option<Platform> {
    details.platform.clone()
}

/// Returns everything that an image's indexes list, nested ones included, with the index that lists it.
pub(super) fn listed(graph: &Graph, image: BlobId) -> Vec<(BlobId, &Edge)> {
    let mut seen = BTreeSet::from([image]);
    let mut queue = vec![image];
    let mut found = Vec::new();
    while let Some(index) = queue.pop() {
        let edges = graph.edges(index);
        for edge in edges.iter().filter(|edge| edge.role == Role::Child) {
            found.push((index, edge));
            if graph.is_index(edge.to) && seen.insert(edge.to) {
                queue.push(edge.to);
            }
        }
    }
    found
}

/// Returns the value for `--platform` that selects only this child: its platform, or its
/// digest if the platform selects others as well or cannot be written as a value.
pub(in crate::plan) fn value_of(
    graph: &Graph,
    children: &[Child<'_>],
    child: &Child<'_>,
) -> String {
    if let Some(platform) = &child.platform {
        let text = platform.to_string();
        let read = PlatformSelector::parse(&text, &Platform::host());
        if let Ok(wanted @ PlatformSelector::Platform(_)) = read
            // A single word is completed from the host, which may differ; a comma separates values.
            && text.contains('/')
            && !text.contains(',')
            && children
                .iter()
                .all(|other| other.is_named(graph, &wanted) == (other.id == child.id))
        {
            return text;
        }
    }
    graph.digest(child.id).to_string()
}

/// Returns what can be selected of these children, for an error that lists it: platforms, and with a short
/// digest those that are equal, missing, or cannot be written as a value.
pub(super) fn available(graph: &Graph, children: &[&Child<'_>]) -> Vec<String> {
    let mut ids: HashMap<String, BTreeSet<BlobId>> = HashMap::new();
    let can_be_named = |child: &&&Child<'_>| child.platform.is_some() || child.is_manifest(graph);
    for child in children.iter().filter(can_be_named) {
        ids.entry(child.shown()).or_default().insert(child.id);
    }
    let mut found: BTreeSet<(String, Option<&Digest>)> = BTreeSet::new();
    for child in children.iter().filter(can_be_named) {
        let shown = child.shown();
        let is_alone = ids.get(&shown).is_some_and(|ids| ids.len() == 1);
        let can_be_typed = child.platform.as_ref().is_some_and(|_| {
            let read = PlatformSelector::parse(&shown, &Platform::host());
            read.is_ok_and(|wanted| child.is_named(graph, &wanted)) && shown.contains('/')
        });
        let digest = (!is_alone || !can_be_typed).then(|| graph.digest(child.id));
        found.insert((shown, digest));
    }
    found
        .into_iter()
        .map(|(shown, digest)| match digest {
            Some(digest) => format!("{shown} {}", digest.short()),
            None => shown,
        })
        .collect()
}

/// Decides whether a platform is present: a partial copy or an earlier drop may have omitted it.
pub(super) struct Here<'a> {
    snapshot: &'a Snapshot,
    /// The platforms whose layers earlier commands deleted (`hollow`).
    hollow: OnceCell<Hollow>,
    /// The number of documents that use a layer; 2 for two or more.
    users: OnceCell<HashMap<BlobId, u8>>,
}

impl<'a> Here<'a> {
    pub(super) const fn new(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot,
            hollow: OnceCell::new(),
            users: OnceCell::new(),
        }
    }

    /// Returns `true` if the platform is present. It is absent without its manifest, and if layers are missing and the
    /// others are used by another image as well, as after `--platform-mode hollow`. A platform that lost some of its own
    /// layers is present: its other bytes are.
    pub(super) fn has(&self, child: &Child<'_>) -> bool {
        let graph = &self.snapshot.graph;
        if !graph.is_present(child.id) && !graph.is_embedded(child.id) {
            return false;
        }
        let is_here = |layer: &Edge| graph.is_present(layer.to) || graph.is_carried_by(layer);
        let edges = graph.edges(child.id);
        let layers = || edges.iter().filter(|edge| edge.role == Role::Layer);
        if layers().all(|layer| layer.is_foreign || is_here(layer)) {
            return true;
        }
        let hollow = || Hollow::read(&self.snapshot.layout);
        let is_hollow = self
            .hollow
            .get_or_init(hollow)
            .contains(graph.digest(child.id));
        !is_hollow
            && layers().any(|layer| {
                let users = self.users.get_or_init(|| users(graph)).get(&layer.to);
                is_here(layer) && users.is_none_or(|users| *users == 1)
            })
    }
}

fn users(graph: &Graph) -> HashMap<BlobId, u8> {
    let mut users: HashMap<BlobId, u8> = HashMap::new();
    for node in graph.ids().filter_map(|id| graph.node(id)) {
        let layers = node.edges.iter().filter(|edge| edge.role == Role::Layer);
        let layers: BTreeSet<BlobId> = layers.map(|edge| edge.to).collect();
        for layer in layers {
            let users = users.entry(layer).or_default();
            *users = users.saturating_add(1).min(2);
        }
    }
    users
}
