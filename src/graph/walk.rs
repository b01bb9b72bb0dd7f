//! Walks over the graph from one or many documents.

use std::collections::HashSet;

use super::{Graph, is_attestation};
use crate::layout::BlobId;
use crate::oci::Role;

/// Walks from many images one after another without clearing a set for each.
#[derive(Default)]
pub(crate) struct Walk {
    /// The walk in which a blob was seen last.
    seen: Vec<u32>,
    walk: u32,
}

impl Walk {
    pub(crate) fn reach(&mut self, graph: &Graph, from: Vec<BlobId>) -> Vec<BlobId> {
        self.walk += 1;
        let mut found = Vec::new();
        let mut queue = from;
        while let Some(id) = queue.pop() {
            let index = id as usize;
            if index >= self.seen.len() {
                self.seen.resize(index + 1, 0);
            }
            match self.seen.get_mut(index) {
                Some(last) if *last != self.walk => *last = self.walk,
                _ => continue,
            }
            found.push(id);
            let edges = graph.edges(id);
            queue.extend(edges.iter().map(|edge| edge.to));
            queue.extend(graph.referrers(id));
        }
        found
    }
}

/// Returns what an image consists of, each blob once, with the declared size: everything that its
/// documents lead to but for what they are about.
#[must_use]
pub fn content_of(graph: &Graph, id: BlobId, declared: Option<u64>) -> Vec<(BlobId, Option<u64>)> {
    // Not `BlobSet`: this is asked for every image of a layout, and a bit for each blob of the layout is quadratic.
    let mut seen = HashSet::from([id]);
    let mut content = vec![(id, declared)];
    let mut next = 0;
    while let Some(&(id, _)) = content.get(next) {
        next += 1;
        for edge in graph.edges(id) {
            if edge.role != Role::Subject && seen.insert(edge.to) {
                content.push((edge.to, edge.size));
            }
        }
    }
    content
}

/// Returns `true` if manifests of an image are here and none of their layers is. Foreign layers do not count.
///
/// A copy that leaves all layers out looks exactly like one that lost them, so this is reported and is not damage.
#[must_use]
pub fn lacks_layers(graph: &Graph, id: BlobId) -> bool {
    let mut seen = HashSet::from([id]);
    let mut queue = vec![id];
    let mut is_listed = false;
    while let Some(id) = queue.pop() {
        for edge in graph.edges(id) {
            // An attestation is not part of what runs, and its layers are small.
            if is_attestation(edge) {
                continue;
            }
            let is_layer = match edge.role {
                Role::Layer | Role::Blob => true,
                // BuildKit's caches list their layers in an index.
                Role::Child => edge.kind.is_leaf(),
                Role::Config | Role::Subject | Role::Annotation | Role::Other => false,
            };
            if is_layer && !edge.is_foreign {
                if graph.is_present(edge.to) || graph.is_carried_by(edge) {
                    return false;
                }
                is_listed = true;
            } else if edge.role == Role::Child && !is_layer && seen.insert(edge.to) {
                queue.push(edge.to);
            }
        }
    }
    is_listed
}
