//! Who needs which blobs: from the roots down, once for all that is asked for.
//!
//! Asked blob by blob from the bottom up it would take as many steps as there are documents above each,
//! which in a forged layout is all of them.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::graph::{Bits, Graph, RootSource};
use crate::layout::{BlobId, State};
use crate::usage::Walk;
use crate::view::View;

/// Which roots lead to some blobs.
#[derive(Debug)]
pub(crate) struct Needs<'a> {
    graph: &'a Graph,
    state: &'a State,
    /// Positions of roots in ascending order, by blob.
    roots: HashMap<BlobId, Vec<usize>>,
}

impl<'a> Needs<'a> {
    /// Finds the roots that lead to the wanted blobs.
    pub(crate) fn of(view: &'a View, wanted: &Bits) -> Self {
        Self::in_graph(&view.graph, &view.state, wanted)
    }

    /// Does the same where there is no view yet.
    pub(crate) fn in_graph(graph: &'a Graph, state: &'a State, wanted: &Bits) -> Self {
        let mut by_target: BTreeMap<BlobId, Vec<usize>> = BTreeMap::new();
        for (position, root) in graph.roots().iter().enumerate() {
            if let Ok(id) = root.target {
                by_target.entry(id).or_default().push(position);
            }
        }
        let mut roots: HashMap<BlobId, Vec<usize>> = HashMap::new();
        let mut walk = Walk::default();
        for (target, positions) in by_target {
            for id in walk.reach(graph, vec![target]) {
                if wanted.contains(id) {
                    roots.entry(id).or_default().extend(&positions);
                }
            }
        }
        for positions in roots.values_mut() {
            positions.sort_unstable();
        }
        Self {
            graph,
            state,
            roots,
        }
    }

    /// Returns how the wanted roots are called that lead to a blob, each label once: names or short IDs
    /// of images, `hold NAME`, `manifest.json NAME`.
    pub(crate) fn labels(&self, id: BlobId, wanted: impl Fn(RootSource) -> bool) -> Vec<String> {
        let (graph, state) = (self.graph, self.state);
        let short = |target: BlobId| graph.digest(target).short();
        let labels: Vec<(Option<BlobId>, String)> = self
            .roots
            .get(&id)
            .into_iter()
            .flatten()
            .filter_map(|position| graph.roots().get(*position))
            .filter(|root| wanted(root.source))
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
            .map(|(_, label)| label)
            .filter(|label| seen.insert(label.clone()))
            .collect()
    }

    /// Returns what to give to `rm` so that nothing refers to a blob any more: a name or short ID of
    /// each image that leads to it.
    pub(crate) fn images(&self, id: BlobId) -> Vec<String> {
        let is_entry = |source| matches!(source, RootSource::Entry(_) | RootSource::InsideEntry(_));
        self.labels(id, is_entry)
    }

    /// Returns the second indexes that lead to a blob, by file name.
    pub(crate) fn second_indexes(&self, id: BlobId) -> Vec<String> {
        self.labels(id, |source| matches!(source, RootSource::SecondIndex(_)))
    }

    /// Returns the holds that lead to a blob, by name.
    pub(crate) fn holds(&self, id: BlobId) -> Vec<String> {
        let (graph, state) = (self.graph, self.state);
        self.roots
            .get(&id)
            .into_iter()
            .flatten()
            .filter_map(|position| match graph.roots().get(*position)?.source {
                RootSource::Hold(hold) => state.holds.holds.get(hold),
                _ => None,
            })
            .map(|hold| hold.name.clone())
            .collect()
    }
}
