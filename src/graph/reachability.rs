//! Who needs which blobs: from the roots down, once for all that is asked for.
//!
//! Asked blob by blob from the bottom up it would take as many steps as there are documents above each,
//! which in a forged layout is all of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::graph::Walk;
use crate::graph::{BlobSet, Graph, RootSource};
use crate::layout::{BlobId, State};

/// The number of the empty set of targets.
const EMPTY: u32 = 0;

/// Which roots lead to some blobs.
///
/// Many blobs are reached from the same roots: the children of one index, from each of its names. Such blobs share
/// one set, so that `n` names of an image with `m` missing children take `n + m` steps.
#[derive(Debug)]
pub(crate) struct Reachability<'a> {
    graph: &'a Graph,
    state: &'a State,
    /// Positions of roots in ascending order, by target.
    positions: BTreeMap<BlobId, Vec<usize>>,
    /// For each wanted blob the number of the set of targets that reach it.
    set_of: HashMap<BlobId, u32>,
    /// Each set as another one and a further target. The first set is the empty one.
    sets: Vec<(u32, Option<BlobId>)>,
}

/// What the roots of a blob are called, computed once for each set of roots.
pub(crate) struct Labels<'a, 'v, W> {
    needs: &'a Reachability<'v>,
    wanted: W,
    /// What is cut off the beginning of each label.
    prefix: &'static str,
    known: HashMap<u32, Arc<[String]>>,
}

impl<'v> Reachability<'v> {
    /// Finds the roots that lead to the wanted blobs.
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

    /// Returns the names of the wanted roots that lead to a blob, each once: names or short IDs of images,
    /// `hold NAME`, `manifest.json NAME`.
    pub(crate) fn labels<W: Fn(RootSource) -> bool>(&self, wanted: W) -> Labels<'_, 'v, W> {
        Labels {
            needs: self,
            wanted,
            prefix: "",
            known: HashMap::new(),
        }
    }

    /// Returns what to give to `rm` so that nothing refers to a blob any more: a name or short ID of
    /// each image that references it.
    pub(crate) fn images(&self) -> Labels<'_, 'v, impl Fn(RootSource) -> bool + use<>> {
        self.labels(|source| matches!(source, RootSource::Entry(_) | RootSource::InsideEntry(_)))
    }

    /// Returns the second indexes that lead to a blob, by file name.
    pub(crate) fn second_indexes(&self) -> Labels<'_, 'v, impl Fn(RootSource) -> bool + use<>> {
        self.labels(|source| matches!(source, RootSource::SecondIndex(_)))
    }

    /// Returns the holds that lead to a blob, by name.
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
        let set = self.needs.set_of.get(&id).copied().unwrap_or(EMPTY);
        if let Some(known) = self.known.get(&set) {
            return Arc::clone(known);
        }
        let labels: Arc<[String]> = self.compute(set).into();
        self.known.insert(set, Arc::clone(&labels));
        labels
    }

    fn compute(&self, set: u32) -> Vec<String> {
        let (graph, state) = (self.needs.graph, self.needs.state);
        let short = |target: BlobId| graph.digest(target).short();
        let labels: Vec<(Option<BlobId>, String)> = self
            .needs
            .positions(set)
            .into_iter()
            .filter_map(|position| graph.roots().get(position))
            .filter(|root| (self.wanted)(root.source))
            .map(|root| {
                (
                    root.target.as_ref().ok().copied(),
                    graph.root_label(state, root),
                )
            })
            .collect();
        let named: HashSet<BlobId> = labels
            .iter()
            .filter_map(|(target, label)| target.filter(|target| *label != short(*target)))
            .collect();
        let mut seen = HashSet::new();
        labels
            .into_iter()
            // An ID stands for an entry without a name, and says nothing beside a name of the same image.
            .filter(|(target, label)| {
                target.is_none_or(|target| !named.contains(&target) || *label != short(target))
            })
            .map(|(_, label)| match label.strip_prefix(self.prefix) {
                Some(rest) if !self.prefix.is_empty() => rest.to_owned(),
                _ => label,
            })
            .filter(|label| seen.insert(label.clone()))
            .collect()
    }
}
