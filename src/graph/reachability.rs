//! The roots that reach given blobs, computed from the roots down for all blobs at once.
//!
//! Walking up from each blob would take as many steps as there are documents above it, which in a forged layout is all of
//! them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{BlobSet, Graph, RootSource, Walk};
use crate::layout::{BlobId, State};

/// The number of the empty set of targets.
const EMPTY: u32 = 0;

/// The roots that reach some blobs.
///
/// Many blobs are reached from the same roots: the children of one index, from each of its names. Such blobs share one set, so
/// that `n` names of an image with `m` missing children take `n + m` steps.
#[derive(Debug)]
pub(crate) struct Reachability<'a> {
    graph: &'a Graph,
    state: &'a State,
    /// Positions of roots in ascending order, by target.
    positions: BTreeMap<BlobId, Vec<usize>>,
    /// The number of the set of targets that reach each wanted blob.
    set_of: HashMap<BlobId, u32>,
    /// Each set is another set plus one target. The first set is empty.
    sets: Vec<(u32, Option<BlobId>)>,
}

/// The labels of the roots that reach a blob, computed once for each set of roots.
pub(crate) struct Labels<'a, 'v, W> {
    reachability: &'a Reachability<'v>,
    wanted: W,
    /// The prefix that is removed from each label.
    prefix: &'static str,
    known: HashMap<u32, Arc<[String]>>,
}

impl<'v> Reachability<'v> {
    /// Finds the roots that reach the wanted blobs.
    pub(crate) fn of(graph: &'v Graph, state: &'v State, wanted: &BlobSet) -> Self {
        let mut positions: BTreeMap<BlobId, Vec<usize>> = BTreeMap::new();
        for (position, root) in graph.roots().iter().enumerate() {
            if let Ok(id) = root.target {
                positions.entry(id).or_default().push(position);
            }
        }
        let mut set_of: HashMap<BlobId, u32> = HashMap::new();
        let mut sets = vec![(EMPTY, None)];
        let mut next: HashMap<(u32, BlobId), u32> = HashMap::new();
        let mut walk = Walk::default();
        for &target in positions.keys() {
            for id in walk.reach(graph, vec![target]) {
                if wanted.contains(id) {
                    let set = set_of.entry(id).or_insert(EMPTY);
                    *set = *next.entry((*set, target)).or_insert_with(|| {
                        sets.push((*set, Some(target)));
                        u32::try_from(sets.len() - 1).unwrap_or(u32::MAX)
                    });
                }
            }
        }
        Self {
            graph,
            state,
            positions,
            set_of,
            sets,
        }
    }

    /// Returns the positions of the roots in a set, in ascending order.
    fn positions(&self, set: u32) -> Vec<usize> {
        let mut found = Vec::new();
        let mut at = set;
        while let Some(&(before, Some(target))) = self.sets.get(at as usize) {
            found.extend(self.positions.get(&target).into_iter().flatten());
            at = before;
        }
        found.sort_unstable();
        found
    }

    /// Returns the labels of the wanted roots that reach a blob, each once: names or short IDs of images, `hold NAME`,
    /// `manifest.json NAME`.
    pub(crate) fn labels<W: Fn(RootSource) -> bool>(&self, wanted: W) -> Labels<'_, 'v, W> {
        Labels {
            reachability: self,
            wanted,
            prefix: "",
            known: HashMap::new(),
        }
    }

    /// Returns the arguments of an `rm` after which no image references a blob: a name or short ID of each image.
    pub(crate) fn images(&self) -> Labels<'_, 'v, impl Fn(RootSource) -> bool + use<>> {
        self.labels(|source| matches!(source, RootSource::Entry(_) | RootSource::InsideEntry(_)))
    }

    /// Returns the second indexes that reference a blob, by file name.
    pub(crate) fn second_indexes(&self) -> Labels<'_, 'v, impl Fn(RootSource) -> bool + use<>> {
        self.labels(|source| matches!(source, RootSource::SecondIndex(_)))
    }

    /// Returns the holds that reference a blob, by name.
    pub(crate) fn holds(&self) -> Labels<'_, 'v, impl Fn(RootSource) -> bool + use<>> {
        Labels {
            prefix: "hold ",
            ..self.labels(|source| matches!(source, RootSource::Hold(_)))
        }
    }
}

impl<W: Fn(RootSource) -> bool> Labels<'_, '_, W> {
    /// Returns the labels of one blob.
    pub(crate) fn of(&mut self, id: BlobId) -> Arc<[String]> {
        let set = self.reachability.set_of.get(&id).copied().unwrap_or(EMPTY);
        if let Some(known) = self.known.get(&set) {
            return Arc::clone(known);
        }
        let labels: Arc<[String]> = self.compute(set).into();
        self.known.insert(set, Arc::clone(&labels));
        labels
    }

    fn compute(&self, set: u32) -> Vec<String> {
        let (graph, state) = (self.reachability.graph, self.reachability.state);
        let positions = self.reachability.positions(set);
        let roots = positions
            .iter()
            .filter_map(|position| graph.roots().get(*position))
            .filter(|root| (self.wanted)(root.source));
        let labels = graph.root_labels(state, roots).into_iter();
        labels
            .map(|label| match label.strip_prefix(self.prefix) {
                Some(rest) => rest.to_owned(),
                None => label,
            })
            .collect()
    }
}
