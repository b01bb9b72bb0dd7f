//! Traversals of the graph from one or more documents.

use std::collections::HashSet;

use super::{Graph, is_attestation};
use crate::layout::BlobId;
use crate::oci::Role;

/// Traverses the graph from many images one after another without clearing a set for each.
#[derive(Default)]
pub(crate) struct Walk {
    /// The last walk in which each blob was seen.
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
            let edges = graph.keeping_edges(id);
            queue.extend(edges.iter().map(|edge| edge.to));
            queue.extend(graph.referrers(id));
        }
        found
    }
}

/// Returns these blobs and everything that `next` finds from them.
pub(crate) fn reached_by<I: IntoIterator<Item = BlobId>>(
    mut queue: Vec<BlobId>,
    next: impl Fn(BlobId) -> I,
) -> HashSet<BlobId> {
    let mut seen: HashSet<BlobId> = queue.iter().copied().collect();
    while let Some(id) = queue.pop() {
        queue.extend(next(id).into_iter().filter(|id| seen.insert(*id)));
    }
    seen
}

/// Returns the blobs of an image, each once, with the declared size: everything that its documents reference, without
/// subjects.
#[must_use]
pub fn content_of(graph: &Graph, id: BlobId, declared: Option<u64>) -> Vec<(BlobId, Option<u64>)> {
    // Not a `BlobSet`: one bit for each blob of the layout for each image would be quadratic.
    let mut seen = HashSet::from([id]);
    let mut content = vec![(id, declared)];
    let mut next = 0;
    while let Some(&(id, _)) = content.get(next) {
        next += 1;
        for edge in graph.edges(id) {
            if edge.role != Role::Subject && seen.insert(edge.to) {
                content.push((edge.to, edge.size()));
            }
        }
    }
    content
}

/// Returns `true` if manifests of an image are present and none of their layers is. Foreign layers do not count.
///
/// A copy without layers looks exactly like one that lost them, so this is reported but is not damage.
#[must_use]
pub fn lacks_layers(graph: &Graph, id: BlobId) -> bool {
    let mut seen = HashSet::from([id]);
    let mut queue = vec![id];
    let mut is_listed = false;
    while let Some(id) = queue.pop() {
        for edge in graph.edges(id) {
            // An attestation is not part of the running image, and its layers are small.
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
