//! From a blob up to the roots: who references it, and over which documents.
//!
//! *Promise*: what is found here is what marking follows, no more and no less: references of documents,
//! `subject` included, and from a subject to its referrers. A way visits no document twice. How many ways
//! there are can grow without bounds in a forged layout; the work is bounded, and it is said when more
//! were not looked for.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::paths::numbers;
use super::{Graph, Root};
use crate::graph::kind_of;
use crate::layout::BlobId;
use crate::layout::State;
use crate::oci::Kind;

/// How many ways are counted at most, shown or not.
const MAX_WAYS: usize = 10_000;

/// How many comparisons the search for ways may take: well below a second, and some 100 MB at worst.
const MAX_WORK: usize = 4_000_000;

/// How many names of one image begin a way that is shown in short.
const MAX_ROOTS: usize = 5;

/// How many steps of a long way are shown at each end.
const ENDS: usize = 4;

/// How a blob is reached from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Via {
    /// It stands at this position of that document's references, and is the how manyth of so many of
    /// its role there.
    Part(u32, (u32, u32)),
    /// That blob is its `subject`.
    Subject,
}

/// Everything that leads to something, from the bottom up.
#[derive(Debug)]
pub struct ReferencePaths<'a> {
    graph: &'a Graph,
    state: &'a State,
    /// From whom a blob is reached, each once, and how.
    parents: HashMap<BlobId, Vec<(BlobId, Via)>>,
    /// The positions of the roots that are a blob.
    roots: HashMap<BlobId, Vec<usize>>,
    /// How many steps the shortest way from a root has.
    distance: HashMap<BlobId, usize>,
    /// The blob at which the beginning of a long shortest way ends that is shown.
    anchors: HashMap<BlobId, BlobId>,
    /// What the roots that are a blob are called, once that was asked.
    labels: Mutex<HashMap<BlobId, Arc<[String]>>>,
}

/// One way from a root to a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferencePath {
    /// What it begins with: names of images, `hold NAME`, `manifest.json`. All of them are the first step.
    pub roots: Arc<[String]>,
    /// The blobs, the one that was asked for last.
    pub steps: Vec<PathStep>,
}

/// One blob of a way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStep {
    /// The blob.
    pub id: BlobId,
    /// What it is to the step before: `linux/arm64`, `config`, `layer 3/5`.
    pub what: String,
}

/// How many ways there are beside those that were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remaining {
    /// So many.
    Exactly(usize),
    /// So many, and then the counting was given up.
    AtLeast(usize),
}

impl Remaining {
    /// Returns `true` if there are none.
    #[must_use]
    pub const fn is_none(self) -> bool {
        matches!(self, Self::Exactly(0))
    }
}

/// A way that does not yet begin at a root: its first blob, and where the rest of it stands.
#[derive(Debug, Clone, Copy)]
struct Tail {
    id: BlobId,
    /// How the blob after this one is reached, and where its own tail stands.
    next: Option<(usize, Via)>,
    len: usize,
}

impl<'a> ReferencePaths<'a> {
    /// Finds out who references whom, once for a whole layout.
    #[must_use]
    pub fn of(graph: &'a Graph, state: &'a State) -> Self {
        Self::from_roots(graph, state, |_| true)
    }

    /// Does the same from some of the roots.
    pub(super) fn from_roots(
        graph: &'a Graph,
        state: &'a State,
        wanted: impl Fn(&Root) -> bool,
    ) -> Self {
        let mut ways = Self {
            graph,
            state,
            parents: HashMap::new(),
            roots: HashMap::new(),
            distance: HashMap::new(),
            anchors: HashMap::new(),
            labels: Mutex::default(),
        };
        let mut queue = VecDeque::new();
        for (position, root) in graph.roots().iter().enumerate() {
            let Ok(id) = root.target else { continue };
            if !wanted(root) {
                continue;
            }
            ways.roots.entry(id).or_default().push(position);
            if ways.distance.insert(id, 0).is_none() {
                queue.push_back(id);
            }
        }
        let mut seen = HashSet::new();
        while let Some(id) = queue.pop_front() {
            let steps = ways.distance.get(&id).copied().unwrap_or_default() + 1;
            let node = graph.node(id);
            let edges = node.map_or(&[][..], |node| &node.edges);
            let numbers = node.map_or_else(Vec::new, numbers);
            let parts = (0..).zip(edges).zip(numbers).map(|((at, edge), number)| {
                let number = (short(number.0), short(number.1));
                (edge.to, Via::Part(at, number))
            });
            let referrers = graph.referrers(id).iter().map(|&to| (to, Via::Subject));
            seen.clear();
            for (to, via) in parts.chain(referrers) {
                if !seen.insert(to) {
                    continue;
                }
                ways.parents.entry(to).or_default().push((id, via));
                if ways.distance.contains_key(&to) {
                    continue;
                }
                ways.distance.insert(to, steps);
                queue.push_back(to);
                if steps + 1 == ENDS {
                    ways.anchors.insert(to, to);
                } else if let Some(anchor) = ways.anchors.get(&id) {
                    ways.anchors.insert(to, *anchor);
                }
            }
        }
        ways
    }

    /// Returns the shortest way to a blob; `None` if no root references it.
    #[must_use]
    pub fn shortest(&self, target: BlobId) -> Option<ReferencePath> {
        let left = *self.distance.get(&target)?;
        Some(self.in_words(&self.last_steps(target, left + 1)))
    }

    /// Returns the shortest way to a blob in words, without the middle of a long one; nothing if no
    /// root references it. No real image is nested so deep, and in a forged layout the ways to all blobs
    /// would fill the memory.
    #[must_use]
    pub fn shortest_in_short(&self, target: BlobId) -> Vec<String> {
        let parts = |id, steps| self.in_words(&self.last_steps(id, steps)).parts(self.graph);
        let Some(&distance) = self.distance.get(&target) else {
            return Vec::new();
        };
        match (distance + 1).checked_sub(2 * ENDS) {
            None | Some(0) => parts(target, distance + 1),
            Some(left_out) => {
                let anchor = self.anchors.get(&target).copied().unwrap_or(target);
                let mut short = parts(anchor, ENDS);
                short.push(format!("{left_out} more"));
                let last = parts(target, ENDS);
                // Before these steps stands no root.
                short.extend(last.into_iter().skip(1));
                short
            }
        }
    }

    /// Returns the last steps of the shortest way to a blob, at most N.
    fn last_steps(&self, target: BlobId, steps: usize) -> Vec<(BlobId, Option<(BlobId, Via)>)> {
        let mut found = Vec::new();
        let mut at = target;
        while found.len() < steps {
            let is_root = self.distance.get(&at) == Some(&0);
            // The first parent is the one over which it was found first.
            let parents = self.parents.get(&at).filter(|_| !is_root);
            let from = parents.and_then(|parents| parents.first()).copied();
            found.push((at, from));
            match from {
                Some((from, _)) => at = from,
                None => break,
            }
        }
        found.reverse();
        found
    }

    /// Returns ways to a blob, the shortest first, at most `limit` of them, and how many more there
    /// are. None at all: no root references it.
    #[must_use]
    pub fn to(&self, target: BlobId, limit: usize) -> (Vec<ReferencePath>, Remaining) {
        let Some(shortest) = self.shortest(target) else {
            return (Vec::new(), Remaining::Exactly(0));
        };
        let mut tails = vec![Tail {
            id: target,
            next: None,
            len: 1,
        }];
        let mut ways = Vec::new();
        let mut count = 0;
        let mut work = 0;
        // By the length that the way will have at least; among equals the one that is nearest to a root,
        // or every beginning would be tried before the first end; then in the order of their finding.
        let mut queue = BinaryHeap::from([Reverse((0, 0, 0))]);
        while let Some(Reverse((_, _, position))) = queue.pop() {
            let Some(&tail) = tails.get(position) else {
                continue;
            };
            if self.roots.contains_key(&tail.id) {
                if count < limit {
                    ways.push(self.whole(&tails, position));
                }
                count += 1;
            }
            let parents = self.parents.get(&tail.id).map_or(&[][..], Vec::as_slice);
            work += (parents.len() + 1) * tail.len;
            if count >= MAX_WAYS.max(limit) || work > MAX_WORK {
                if ways.is_empty() {
                    ways.push(shortest);
                    count = 1;
                }
                return (ways, Remaining::AtLeast(count.saturating_sub(limit)));
            }
            for &(from, via) in parents {
                if self.is_on(&tails, position, from) {
                    continue;
                }
                let len = tail.len + 1;
                let ahead = self.distance.get(&from).copied().unwrap_or_default();
                queue.push(Reverse((len + ahead, ahead, tails.len())));
                tails.push(Tail {
                    id: from,
                    next: Some((position, via)),
                    len,
                });
            }
        }
        (ways, Remaining::Exactly(count.saturating_sub(limit)))
    }

    fn is_on(&self, tails: &[Tail], position: usize, id: BlobId) -> bool {
        let mut at = Some(position);
        while let Some(tail) = at.and_then(|at| tails.get(at)) {
            if tail.id == id {
                return true;
            }
            at = tail.next.map(|(next, _)| next);
        }
        false
    }

    fn whole(&self, tails: &[Tail], position: usize) -> ReferencePath {
        let mut steps = Vec::new();
        let mut from = None;
        let mut at = Some(position);
        while let Some(tail) = at.and_then(|at| tails.get(at)) {
            steps.push((tail.id, from));
            from = tail.next.map(|(_, via)| (tail.id, via));
            at = tail.next.map(|(next, _)| next);
        }
        self.in_words(&steps)
    }

    fn in_words(&self, steps: &[(BlobId, Option<(BlobId, Via)>)]) -> ReferencePath {
        let first = steps.first().map(|(id, _)| *id);
        ReferencePath {
            roots: first.map_or_else(Arc::default, |id| self.labels(id)),
            steps: steps
                .iter()
                .map(|&(id, from)| PathStep {
                    id,
                    what: self.step_in_words(id, from),
                })
                .collect(),
        }
    }

    fn step_in_words(&self, id: BlobId, from: Option<(BlobId, Via)>) -> String {
        let graph = self.graph;
        match from {
            None => {
                let promised = self
                    .roots
                    .get(&id)
                    .and_then(|roots| graph.roots().get(*roots.first()?))
                    .map_or(Kind::Unknown, |root| root.kind);
                kind_of(graph, id, promised).to_owned()
            }
            Some((_, Via::Subject)) => "referrer".to_owned(),
            Some((from, Via::Part(position, (number, total)))) => {
                let edge = graph
                    .node(from)
                    .and_then(|node| node.edges.get(position as usize));
                let number = (number as usize, total as usize);
                edge.map_or_else(
                    || graph.what(id).to_owned(),
                    |edge| graph.edge_in_words(edge, number),
                )
            }
        }
    }

    /// Returns how the roots that are this blob are called, each once. An ID stands for an entry without
    /// a name, and says nothing beside a name of the same image.
    fn labels(&self, id: BlobId) -> Arc<[String]> {
        let mut known = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = known
            .entry(id)
            .or_insert_with(|| self.compute_labels(id).into());
        Arc::clone(labels)
    }

    fn compute_labels(&self, id: BlobId) -> Vec<String> {
        let (graph, state) = (self.graph, self.state);
        let mut seen = HashSet::new();
        let mut labels: Vec<String> = self
            .roots
            .get(&id)
            .into_iter()
            .flatten()
            .filter_map(|position| graph.roots().get(*position))
            .map(|root| graph.root_label(state, root))
            .filter(|label| seen.insert(label.clone()))
            .collect();
        if labels.len() > 1 {
            let short = graph.digest(id).short();
            labels.retain(|label| *label != short);
        }
        labels
    }
}

/// No document has more references than this; they would not fit into the largest that is read.
fn short(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl ReferencePath {
    /// Returns the way as one writes it: `app:1.4`, `index ab12…`, `linux/arm64 0b77…`, `layer 3/5 …`. Of many roots
    /// the first are written.
    #[must_use]
    pub fn parts(&self, graph: &Graph) -> Vec<String> {
        let mut roots = self
            .roots
            .get(..MAX_ROOTS)
            .unwrap_or(&self.roots)
            .join(", ");
        if self.roots.len() > MAX_ROOTS {
            roots.push_str(&format!(" and {} more", self.roots.len() - MAX_ROOTS));
        }
        let mut parts = vec![roots];
        parts.extend(
            self.steps
                .iter()
                .map(|step| format!("{} {}", step.what, graph.digest(step.id).short())),
        );
        parts
    }
}
