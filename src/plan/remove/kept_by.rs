//! Finds what keeps an image whose last name is removed.
//!
//! *Promise*: the reasons are those of marking: a kept root that references the document of the image, with the same cuts.
//! The search starts at the image, and its work is bounded.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;

use crate::graph::{BlobSet, Root, RootSource};
use crate::layout::{BlobId, SecondIndex};
use crate::model::entries::EntryFacts;
use crate::model::snapshot::Snapshot;
use crate::oci::{Digest, Role};
use crate::plan::Plan;

use super::holds_on;
use super::selection::{RemovalSet, docker_elements};

/// The maximum number of images that are explained.
const MAX_IMAGES: usize = 20;

/// The maximum number of reasons for an image.
const MAX_KEEPERS: usize = 3;

/// The maximum number of documents above an image that are visited.
const MAX_VISITED: usize = 10_000;

/// An image that loses its last name and whose document is kept, with the reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptImage {
    /// The image, or a platform of one.
    pub digest: Digest,
    /// Bytes of its document.
    pub size: u64,
    /// At most three reasons.
    pub by: Vec<Keeper>,
    /// The number of further reasons.
    pub more: usize,
}

/// Something that keeps an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Keeper {
    /// An entry of `index.json` without a name.
    Untagged,
    /// A hold, by name.
    Hold(String),
    /// A hold on something below the image: its name, and the short digest of the held blob.
    HoldBelow(String, String),
    /// Another file that lists it.
    List(String),
    /// It is the subject of this image.
    Subject(String),
    /// It is listed by this image index.
    Child(String),
    /// It is a referrer of this image.
    Referrer(String),
    /// It is referenced by this image in another way.
    Part(String),
}

impl Keeper {
    /// Reasons that another command or tool has to remove come first; an entry without a name is often only a remnant of the
    /// removal.
    const fn rank(&self) -> u8 {
        match self {
            Self::Hold(_) | Self::HoldBelow(..) => 0,
            Self::List(_) => 1,
            Self::Subject(_) | Self::Child(_) | Self::Referrer(_) | Self::Part(_) => 2,
            Self::Untagged => 3,
        }
    }
}

impl fmt::Display for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untagged => f.write_str("listed without a name"),
            Self::Hold(name) => write!(f, "hold \"{name}\""),
            Self::HoldBelow(name, part) => write!(f, "hold \"{name}\" on its part {part}"),
            Self::List(file) => write!(f, "also listed in {file}"),
            Self::Subject(name) => write!(f, "subject of {name}"),
            Self::Child(name) => write!(f, "child of {name}"),
            Self::Referrer(name) => write!(f, "referrer of {name}"),
            Self::Part(name) => write!(f, "part of {name}"),
        }
    }
}

/// How a blob is referenced by the document above it, as a variant of [`Keeper`].
type Relation = fn(String) -> Keeper;

/// Returns the images whose last name is removed and whose document is not deleted, at most [`MAX_IMAGES`], and how many
/// more there are.
pub(in crate::plan) fn kept_by(
    snapshot: &Snapshot,
    entries: &[EntryFacts],
    gone: &RemovalSet,
    plan: &Plan,
) -> (Vec<KeptImage>, usize) {
    let graph = &snapshot.graph;
    let mut kept = kept_images(snapshot, entries, gone, plan);
    let more = kept.len().saturating_sub(MAX_IMAGES);
    kept.truncate(MAX_IMAGES);
    if kept.is_empty() {
        return (Vec::new(), 0);
    }
    let search = Search::of(snapshot, gone);
    let images = kept.into_iter().filter_map(|id| {
        let mut by = search.keepers(id);
        if !gone.images.contains(&id) {
            // Only names were removed, because of such a hold.
            by.extend(holds_below(snapshot, id));
            by.sort_by_key(Keeper::rank);
        }
        let more = by.len().saturating_sub(MAX_KEEPERS);
        by.truncate(MAX_KEEPERS);
        (!by.is_empty()).then(|| KeptImage {
            digest: graph.digest(id).clone(),
            size: graph.node(id).map_or(0, |node| node.len),
            by,
            more,
        })
    });
    (images.collect(), more)
}

/// Returns the holds on parts of an image.
fn holds_below(snapshot: &Snapshot, id: BlobId) -> impl Iterator<Item = Keeper> {
    let own = snapshot.graph.digest(id).clone();
    let holds = holds_on(snapshot, id).into_iter();
    let holds = holds.filter_map(|(position, _)| snapshot.state.holds.holds.get(position));
    let below = holds.filter(move |hold| hold.digest != own);
    below.map(|hold| Keeper::HoldBelow(hold.name.clone(), hold.digest.short()))
}

/// Returns the images that lose their last name and are not deleted.
fn kept_images(
    snapshot: &Snapshot,
    entries: &[EntryFacts],
    gone: &RemovalSet,
    plan: &Plan,
) -> Vec<BlobId> {
    let has_name = |entry: &&EntryFacts| {
        let mut names = entry.names.iter();
        names.any(|name| !gone.annotations.contains(&(entry.position, name.key)))
    };
    let named: HashSet<BlobId> = entries
        .iter()
        .filter(|entry| !gone.entries.contains(&entry.position))
        .filter(has_name)
        .filter_map(|entry| entry.id)
        .collect();
    let positions = gone.annotations.iter().map(|(position, _)| position);
    let touched = gone
        .entries
        .iter()
        .chain(positions)
        .filter_map(|position| entries.get(*position)?.id);
    // Blobs that are kept for their age are reported with the other orphans.
    let settled: BlobSet = plan
        .sweep
        .ids()
        .iter()
        .copied()
        .chain(plan.kept.iter().map(|kept| kept.id))
        .chain(gone.hollowed.iter().copied())
        .collect();
    let mut seen = HashSet::new();
    gone.images
        .iter()
        .copied()
        .chain(touched)
        .filter(|id| seen.insert(*id))
        .filter(|id| {
            !named.contains(id) && !settled.contains(*id) && snapshot.graph.is_present(*id)
        })
        .collect()
}

/// Searches from documents up to the kept roots.
struct Search<'a> {
    snapshot: &'a Snapshot,
    gone: &'a RemovalSet,
    parents: HashMap<BlobId, Vec<(BlobId, Relation)>>,
    roots: HashMap<BlobId, Vec<&'a Root>>,
}

impl<'a> Search<'a> {
    fn of(snapshot: &'a Snapshot, gone: &'a RemovalSet) -> Self {
        let graph = &snapshot.graph;
        let mut parents: HashMap<BlobId, Vec<(BlobId, Relation)>> = HashMap::new();
        for id in graph.ids() {
            for edge in graph.edges(id) {
                let relation = match edge.role {
                    Role::Child => Keeper::Child as Relation,
                    Role::Subject => Keeper::Subject,
                    Role::Config | Role::Layer | Role::Blob | Role::Annotation | Role::Other => {
                        Keeper::Part
                    }
                };
                parents.entry(edge.to).or_default().push((id, relation));
            }
            for &referrer in graph.referrers(id) {
                // A referrer that the user removes is not kept by its subject.
                if !gone.unwanted.contains(&referrer) {
                    let above = parents.entry(referrer).or_default();
                    above.push((id, Keeper::Referrer));
                }
            }
        }
        let elements = docker_elements(snapshot, gone);
        let mut roots: HashMap<BlobId, Vec<&Root>> = HashMap::new();
        for root in graph.roots() {
            if let Some(id) = root.id().filter(|_| gone.keeps(root, &elements)) {
                roots.entry(id).or_default().push(root);
            }
        }
        Self {
            snapshot,
            gone,
            parents,
            roots,
        }
    }

    fn keepers(&self, image: BlobId) -> Vec<Keeper> {
        let mut found: Vec<Keeper> = Vec::new();
        let cut = &self.gone.cut;
        // References to a part do not count from images that lose the part. From all others they do.
        for is_cut in [false, true] {
            if is_cut && cut.images.is_empty() {
                break;
            }
            let mut seen = HashSet::from([image]);
            let mut queue = VecDeque::from([(image, None)]);
            while let Some((id, relation)) = queue.pop_front() {
                for root in self.roots.get(&id).into_iter().flatten() {
                    let loses = cut.images.contains(&id)
                        && !matches!(root.source, RootSource::SecondIndex(_));
                    if loses == is_cut {
                        found.push(self.keeper(root, relation));
                    }
                }
                if self.gone.survivors.contains(&id) && !is_cut {
                    let names = self.gone.moved.iter().flat_map(|moved| &moved.names);
                    let name = names.map(String::as_str).next().unwrap_or("the new index");
                    found.push(Keeper::Child(name.to_owned()));
                }
                for &(parent, step) in self.parents.get(&id).into_iter().flatten() {
                    let is_left_out = is_cut && cut.edges.contains(&(parent, id));
                    if is_left_out || seen.len() >= MAX_VISITED || !seen.insert(parent) {
                        continue;
                    }
                    queue.push_back((parent, relation.or(Some(step))));
                }
            }
        }
        let mut known = HashSet::new();
        found.retain(|keeper| known.insert(keeper.clone()));
        found.sort_by_key(Keeper::rank);
        found
    }

    /// `relation` is the relation to the image itself; `None` if a root names it.
    fn keeper(&self, root: &Root, relation: Option<Relation>) -> Keeper {
        let Snapshot { graph, state, .. } = self.snapshot;
        let label = || graph.root_label(state, root);
        match root.source {
            RootSource::Hold(position) => {
                let hold = state.holds.holds.get(position);
                Keeper::Hold(hold.map_or_else(String::new, |hold| hold.name.clone()))
            }
            RootSource::SecondIndex(position) => {
                let index = state.second_indexes.get(position);
                Keeper::List(index.map_or_else(String::new, SecondIndex::label))
            }
            RootSource::IndexField | RootSource::DockerSave(_) => Keeper::List(label()),
            RootSource::Entry(_) => relation.map_or(Keeper::Untagged, |relation| relation(label())),
            RootSource::InsideEntry(_) => Keeper::Part(label()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_short() {
        let name = || "app:1".to_owned();
        for (keeper, text) in [
            (Keeper::Untagged, "listed without a name"),
            (Keeper::Hold("release".to_owned()), "hold \"release\""),
            (
                Keeper::HoldBelow("release".to_owned(), "ab12".to_owned()),
                "hold \"release\" on its part ab12",
            ),
            (
                Keeper::List("hauler-index.json".to_owned()),
                "also listed in hauler-index.json",
            ),
            (Keeper::Subject(name()), "subject of app:1"),
            (Keeper::Child(name()), "child of app:1"),
            (Keeper::Referrer(name()), "referrer of app:1"),
            (Keeper::Part(name()), "part of app:1"),
        ] {
            assert_eq!(keeper.to_string(), text);
        }
    }
}
