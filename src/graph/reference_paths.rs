//! Reference paths from the roots to a blob.
//!
//! *Promise*: the paths consist of exactly the references that marking follows: those of documents, including `subject`, and
//! from a subject to its referrers. A path contains no document twice. The number of paths is not bounded in a forged
//! layout; the work is, and the result records whether the search was stopped.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::describe::numbers;
use super::{Graph, Root, kind_of};
use crate::layout::{BlobId, State};
use crate::oci::Kind;

/// The maximum number of paths that are counted, shown or not.
const MAX_PATHS: usize = 10_000;

/// The maximum number of comparisons in a search: well below a second, and some 100 MB at worst.
const MAX_WORK: usize = 4_000_000;

/// The maximum number of root labels at the beginning of a shortened path.
const MAX_ROOTS: usize = 5;

/// The number of steps that a shortened path has at each end.
const ENDS: usize = 4;

/// How a blob is reached from another blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReachedBy {
    /// By the reference at this position in that document, with its position among the references of the same role
    /// (1-based), and their number.
    Part(u32, (u32, u32)),
    /// That blob is its `subject`.
    Subject,
}

/// The references of a layout from the blobs up to the roots.
#[derive(Debug)]
pub struct ReferencePaths<'a> {
    graph: &'a Graph,
    state: &'a State,
    /// The blobs from which a blob is reached, each once, and how.
    parents: HashMap<BlobId, Vec<(BlobId, ReachedBy)>>,
    /// The positions of the roots whose target is a blob.
    roots: HashMap<BlobId, Vec<usize>>,
    /// The number of steps of the shortest path from a root.
    distance: HashMap<BlobId, usize>,
    /// The last blob of the shown beginning of a long shortest path.
    anchors: HashMap<BlobId, BlobId>,
    /// The known labels of the roots whose target is a blob.
    labels: Mutex<HashMap<BlobId, Arc<[String]>>>,
}

/// One path from a root to a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferencePath {
    /// The labels of its root: names of images, `hold NAME`, `manifest.json`. All of them are the first step.
    pub roots: Arc<[String]>,
    /// The blobs, the requested one last.
    pub steps: Vec<PathStep>,
}

/// One blob of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStep {
    /// The blob.
    pub id: BlobId,
    /// Its role in the previous step: `linux/arm64`, `config`, `layer 3/5`.
    pub role: String,
}

/// The number of paths in addition to the returned ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remaining {
    /// Exactly N.
    Exactly(usize),
    /// At least N: the search was stopped.
    AtLeast(usize),
}

impl Remaining {
    /// Returns `true` if there are no more paths.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        matches!(self, Self::Exactly(0))
    }
}

/// The end of a path: its first blob, and the position of the shorter end after it.
#[derive(Debug, Clone, Copy)]
struct Tail {
    id: BlobId,
    /// The position of the tail that begins at the next blob, and how that blob is reached.
    next: Option<(usize, ReachedBy)>,
    len: usize,
}

impl<'a> ReferencePaths<'a> {
    /// Collects the references of a layout.
    #[must_use]
    pub fn of(graph: &'a Graph, state: &'a State) -> Self {
        Self::from_roots(graph, state, |_| true)
    }

    /// Like [`Self::of`], from some of the roots.
    pub(super) fn from_roots(
        graph: &'a Graph,
        state: &'a State,
        wanted: impl Fn(&Root) -> bool,
    ) -> Self {
        let mut paths = Self {
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
            paths.roots.entry(id).or_default().push(position);
            if paths.distance.insert(id, 0).is_none() {
                queue.push_back(id);
            }
        }
        let mut seen = HashSet::new();
        while let Some(id) = queue.pop_front() {
            let steps = paths.distance.get(&id).copied().unwrap_or_default() + 1;
            let edges = graph.keeping_edges(id);
            let parts = (0..)
                .zip(edges)
                .zip(numbers(edges))
                .map(|((at, edge), number)| {
                    let number = (short(number.0), short(number.1));
                    (edge.to, ReachedBy::Part(at, number))
                });
            let referrers = graph
                .referrers(id)
                .iter()
                .map(|&to| (to, ReachedBy::Subject));
            seen.clear();
            for (to, via) in parts.chain(referrers) {
                if !seen.insert(to) {
                    continue;
                }
                paths.parents.entry(to).or_default().push((id, via));
                if paths.distance.contains_key(&to) {
                    continue;
                }
                paths.distance.insert(to, steps);
                queue.push_back(to);
                if steps + 1 == ENDS {
                    paths.anchors.insert(to, to);
                } else if let Some(anchor) = paths.anchors.get(&id) {
                    paths.anchors.insert(to, *anchor);
                }
            }
        }
        paths
    }

    /// Returns the shortest path to a blob; `None` if no root reaches it.
    #[must_use]
    pub fn shortest(&self, target: BlobId) -> Option<ReferencePath> {
        let left = *self.distance.get(&target)?;
        Some(self.describe(&self.last_steps(target, left + 1)))
    }

    /// Returns a description of the shortest path to a blob, without the middle of a long one; empty if no root reaches it.
    /// No real image is nested that deeply, and in a forged layout the paths to all blobs would fill the memory.
    #[must_use]
    pub fn shortest_abbreviated(&self, target: BlobId) -> Vec<String> {
        let parts = |id, steps| self.describe(&self.last_steps(id, steps)).parts(self.graph);
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
                // The first part names the root, which these steps do not begin with.
                short.extend(last.into_iter().skip(1));
                short
            }
        }
    }

    /// Returns the last steps of the shortest path to a blob, at most N.
    fn last_steps(
        &self,
        target: BlobId,
        steps: usize,
    ) -> Vec<(BlobId, Option<(BlobId, ReachedBy)>)> {
        let mut found = Vec::new();
        let mut at = target;
        while found.len() < steps {
            let is_root = self.distance.get(&at) == Some(&0);
            // The blob was first found from its first parent.
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

    /// Returns at most `limit` paths to a blob, the shortest first, and the number of further ones. Returns no path if no root
    /// reaches it.
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
        let mut paths = Vec::new();
        let mut count = 0;
        let mut work = 0;
        // By the least possible length of the whole path; then by the distance from a root, or every tail would be extended
        // before the first path is complete; then in the order in which they were found.
        let mut queue = BinaryHeap::from([Reverse((0, 0, 0))]);
        while let Some(Reverse((_, _, position))) = queue.pop() {
            let Some(&tail) = tails.get(position) else {
                continue;
            };
            if self.roots.contains_key(&tail.id) {
                if count < limit {
                    paths.push(self.whole(&tails, position));
                }
                count += 1;
            }
            let parents = self.parents.get(&tail.id).map_or(&[][..], Vec::as_slice);
            work += (parents.len() + 1) * tail.len;
            if count >= MAX_PATHS.max(limit) || work > MAX_WORK {
                if paths.is_empty() {
                    paths.push(shortest);
                    count = 1;
                }
                return (paths, Remaining::AtLeast(count.saturating_sub(limit)));
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
        (paths, Remaining::Exactly(count.saturating_sub(limit)))
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
        self.describe(&steps)
    }

    fn describe(&self, steps: &[(BlobId, Option<(BlobId, ReachedBy)>)]) -> ReferencePath {
        let first = steps.first().map(|(id, _)| *id);
        ReferencePath {
            roots: first.map_or_else(Arc::default, |id| self.labels(id)),
            steps: steps
                .iter()
                .map(|&(id, from)| PathStep {
                    id,
                    role: self.describe_step(id, from),
                })
                .collect(),
        }
    }

    fn describe_step(&self, id: BlobId, from: Option<(BlobId, ReachedBy)>) -> String {
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
            Some((_, ReachedBy::Subject)) => "referrer".to_owned(),
            Some((from, ReachedBy::Part(position, (number, total)))) => {
                let number = (number as usize, total as usize);
                match graph.keeping_edges(from).get(position as usize) {
                    Some(edge) => graph.describe_edge(edge, number),
                    None => kind_of(graph, id, Kind::Unknown).to_owned(),
                }
            }
        }
    }

    /// Returns the labels of the roots whose target is this blob.
    fn labels(&self, id: BlobId) -> Arc<[String]> {
        let mut known = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = known.entry(id).or_insert_with(|| {
            let positions = self.roots.get(&id).into_iter().flatten();
            let roots = positions.filter_map(|position| self.graph.roots().get(*position));
            self.graph.root_labels(self.state, roots).into()
        });
        Arc::clone(labels)
    }
}

/// No document has more references: they would not fit into the largest one that is read.
fn short(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl ReferencePath {
    /// Returns the parts of the path as text: `app:1.4`, `index ab12…`, `linux/arm64 0b77…`, `layer 3/5 …`. If there are
    /// many roots, only the first ones are included.
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
                .map(|step| format!("{} {}", step.role, graph.digest(step.id).short())),
        );
        parts
    }
}
