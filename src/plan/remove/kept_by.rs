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
use super::saved::SavedNames;
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
    /// An annotation of this image names it.
    Annotation(String),
    /// It is kept with this image over several references of different kinds: as the subject of a child, for example.
    Reachable(String),
}

impl Keeper {
    /// Reasons that another command or tool has to remove come first; an entry without a name is often only a remnant of the
    /// removal.
    const fn rank(&self) -> u8 {
        match self {
            Self::Hold(_) | Self::HoldBelow(..) => 0,
            Self::List(_) => 1,
            Self::Subject(_)
            | Self::Child(_)
            | Self::Referrer(_)
            | Self::Part(_)
            | Self::Annotation(_)
            | Self::Reachable(_) => 2,
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
            Self::Annotation(name) => write!(f, "named by an annotation of {name}"),
            Self::Reachable(name) => write!(f, "reachable from {name}"),
        }
    }
}

/// How a blob is referenced by the document above it, or by one further up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Subject,
    Child,
    Referrer,
    Part,
    Annotation,
    Reachable,
}

impl Relation {
    const fn of(role: Role) -> Self {
        match role {
            Role::Child => Self::Child,
            Role::Subject => Self::Subject,
            Role::Annotation => Self::Annotation,
            Role::Config | Role::Layer | Role::Blob | Role::Other => Self::Part,
        }
    }

    /// Returns the relation to the document above the one that `below` is the relation to.
    const fn above(self, below: Option<Self>) -> Self {
        match (below, self) {
            (None, step) => step,
            (Some(Self::Child), Self::Child) => Self::Child,
            (Some(Self::Child | Self::Part), Self::Child | Self::Part) => Self::Part,
            // The subject of a child is not the subject of the index.
            _ => Self::Reachable,
        }
    }

    fn to(self, name: String) -> Keeper {
        match self {
            Self::Subject => Keeper::Subject(name),
            Self::Child => Keeper::Child(name),
            Self::Referrer => Keeper::Referrer(name),
            Self::Part => Keeper::Part(name),
            Self::Annotation => Keeper::Annotation(name),
            Self::Reachable => Keeper::Reachable(name),
        }
    }
}

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
    let search = KeeperSearch::of(snapshot, entries, gone);
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
        names.any(|name| gone.keeps_name(entry, name))
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
struct KeeperSearch<'a> {
    snapshot: &'a Snapshot,
    entries: &'a [EntryFacts],
    gone: &'a RemovalSet,
    /// `None`: docker save has no list here.
    saved: Option<SavedNames<'a>>,
    parents: HashMap<BlobId, Vec<(BlobId, Relation)>>,
    roots: HashMap<BlobId, Vec<&'a Root>>,
}

impl<'a> KeeperSearch<'a> {
    fn of(snapshot: &'a Snapshot, entries: &'a [EntryFacts], gone: &'a RemovalSet) -> Self {
        let graph = &snapshot.graph;
        let save = snapshot.state.docker_save.as_ref();
        let mut parents: HashMap<BlobId, Vec<(BlobId, Relation)>> = HashMap::new();
        for id in graph.ids() {
            for edge in graph.edges(id) {
                let above = parents.entry(edge.to).or_default();
                above.push((id, Relation::of(edge.role)));
            }
            for &referrer in graph.referrers(id) {
                // A referrer that the user removes is not kept by its subject.
                if !gone.unwanted.contains(&referrer) {
                    let above = parents.entry(referrer).or_default();
                    above.push((id, Relation::Referrer));
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
            entries,
            gone,
            saved: save.map(|_| SavedNames::of(snapshot, entries, gone)),
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
                        found.push(self.keeper(image, root, relation));
                    }
                }
                if !is_cut {
                    let listed = self.gone.relisted.iter().filter(|listed| listed.id == id);
                    found.extend(listed.filter_map(|listed| {
                        let moved = self.gone.moved.get(listed.moved)?;
                        let name = moved.names.first().cloned();
                        let name = name.unwrap_or_else(|| moved.digest.short());
                        Some(Relation::of(listed.role).above(relation).to(name))
                    }));
                }
                for &(parent, step) in self.parents.get(&id).into_iter().flatten() {
                    let is_left_out = is_cut && cut.edges.contains(&(parent, id));
                    if is_left_out || seen.len() >= MAX_VISITED || !seen.insert(parent) {
                        continue;
                    }
                    queue.push_back((parent, Some(step.above(relation))));
                }
            }
        }
        let mut known = HashSet::new();
        found.retain(|keeper| known.insert(keeper.clone()));
        found.sort_by_key(Keeper::rank);
        found
    }

    /// `relation` is the relation to the image itself; `None` if a root names it.
    fn keeper(&self, image: BlobId, root: &Root, relation: Option<Relation>) -> Keeper {
        let state = &self.snapshot.state;
        let label = || self.label(root);
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
            RootSource::Entry(position) => {
                let entry = self.entries.get(position);
                // A digest tag lists the referrers of its subject in an index.
                let is_subject = || entry.is_some_and(|entry| entry.about.contains(&image));
                match relation {
                    None => Keeper::Untagged,
                    Some(Relation::Reachable) if is_subject() => Keeper::Subject(label()),
                    Some(relation) => relation.to(label()),
                }
            }
            RootSource::InsideEntry(position) => {
                let entry = state.index.entries().get(position);
                let digest = root.id().map(|id| self.snapshot.graph.digest(id));
                let mut links = entry.into_iter().flat_map(|entry| &entry.others);
                let is_annotation =
                    links.any(|link| link.role == Role::Annotation && Some(&link.digest) == digest);
                let step = match is_annotation {
                    true => Relation::Annotation,
                    false => Relation::Part,
                };
                step.above(relation).to(label())
            }
        }
    }

    /// Returns the label of a root after the removal: no name that is removed.
    fn label(&self, root: &Root) -> String {
        let Snapshot { graph, state, .. } = self.snapshot;
        match root.source {
            RootSource::Entry(position) | RootSource::InsideEntry(position) => {
                self.entry_label(position)
            }
            RootSource::DockerSave(position) => match self.saved_name(position) {
                Some(tag) => format!("manifest.json {tag}"),
                None => "manifest.json".to_owned(),
            },
            RootSource::IndexField | RootSource::Hold(_) | RootSource::SecondIndex(_) => {
                graph.root_label(state, root)
            }
        }
    }

    /// Returns the first name that an element of docker save's list keeps.
    fn saved_name(&self, position: usize) -> Option<&'a str> {
        self.saved.as_ref()?.first_left(position)
    }

    fn entry_label(&self, position: usize) -> String {
        let entry = self.entries.get(position);
        let mut names = entry.into_iter().flat_map(|entry| &entry.names);
        let left = names.find(|name| entry.is_some_and(|entry| self.gone.keeps_name(entry, name)));
        let written = self.snapshot.state.index.entries().get(position);
        let written = written.and_then(|entry| entry.digest.as_ref().ok());
        let new = self.gone.replaced.get(&position).map(|new| &new.digest);
        match (left, new.or(written)) {
            (Some(name), _) => {
                let mut renamed = self.gone.renamed.iter();
                let renamed = renamed.find(|(at, key, _)| *at == position && *key == name.key);
                renamed.map_or_else(|| name.text.to_string(), |(_, _, new)| new.clone())
            }
            (None, Some(digest)) => digest.short(),
            (None, None) => format!("@{position}"),
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
            (
                Keeper::Annotation(name()),
                "named by an annotation of app:1",
            ),
            (Keeper::Reachable(name()), "reachable from app:1"),
        ] {
            assert_eq!(keeper.to_string(), text);
        }
    }

    #[test]
    fn a_relation_over_several_documents_is_no_more_than_true() {
        use Relation::{Child, Part, Reachable, Referrer, Subject};
        for (below, step, expected) in [
            (None, Subject, Subject),
            (None, Referrer, Referrer),
            (Some(Child), Child, Child),
            (Some(Part), Child, Part),
            (Some(Child), Part, Part),
            (Some(Subject), Child, Reachable),
            (Some(Child), Subject, Reachable),
            (Some(Subject), Subject, Reachable),
            (Some(Child), Referrer, Reachable),
            (Some(Reachable), Child, Reachable),
        ] {
            assert_eq!(step.above(below), expected, "{below:?} {step:?}");
        }
    }
}
