//! Computes for every image of a layout what is freed if only that image is removed.
//!
//! *Promise*: the result is what `rm -f` of the image by its ID releases: its entries with those that are removed along with
//! them ([`cascade`]), less what a kept root still references. The rules are those of [`cascade`] and [`docker_elements`];
//! they are applied here from the image up, because a plan for each of 10,000 images would visit all documents 10,000 times.
//!
//! [`cascade`]: fn@super::cascade
//! [`docker_elements`]: super::selection::docker_elements

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::graph::{Graph, RootSource, content_of, reached_by};
use crate::layout::BlobId;
use crate::model::entries::{EntryFacts, EntryRole, config_owners};
use crate::model::images::Image;
use crate::model::snapshot::Snapshot;
use crate::oci::Role;
use crate::oci::docker_archive::Element;
use crate::oci::reference::canonical;
use crate::plan::grouped;

use super::cascade::bases;
use super::selection::is_part;

/// References, from the referenced blob to the referencing one.
pub(crate) struct Alone<'a> {
    graph: &'a Graph,
    entries: &'a [EntryFacts],
    /// The elements of docker save.
    elements: &'a [Element],
    /// The documents that reference a blob.
    parents: HashMap<BlobId, Vec<BlobId>>,
    roots: HashMap<BlobId, Vec<RootSource>>,
    /// Blobs that an entry references besides its own.
    inside: HashMap<usize, Vec<BlobId>>,
    /// Untagged entries by their blob.
    untagged: HashMap<BlobId, Vec<usize>>,
    /// Untagged entries and digest tags by their subjects.
    by_subject: HashMap<BlobId, Vec<usize>>,
    /// Entries that share the name of the image that they belong to.
    namesakes: HashMap<&'a str, Vec<usize>>,
    /// Entries of images by their names, if referrers may share those.
    bearers: HashMap<&'a str, Vec<usize>>,
    /// Root documents by the image that they were built upon.
    built_upon: HashMap<BlobId, Vec<BlobId>>,
    /// Elements of docker save by their config.
    by_config: HashMap<BlobId, Vec<usize>>,
    /// The elements with names and without a configuration.
    without_config: Vec<usize>,
    /// The entries that reference the config of an element, by config.
    owners: HashMap<BlobId, Vec<usize>>,
}

/// The entries and elements of a removal.
#[derive(Default)]
struct Taken<'a> {
    entries: HashSet<usize>,
    images: Vec<BlobId>,
    names: HashSet<&'a str>,
    elements: HashSet<usize>,
}

impl<'a> Alone<'a> {
    pub(crate) fn of(snapshot: &'a Snapshot, entries: &'a [EntryFacts]) -> Self {
        let graph = &snapshot.graph;
        let save = snapshot.state.docker_save.as_ref();
        let elements: &[Element] = save.map_or(&[], |save| &save.elements);
        let mut parents: HashMap<BlobId, Vec<BlobId>> = HashMap::new();
        for id in graph.ids() {
            let below = graph.edges(id).iter().map(|edge| edge.to);
            for to in below.chain(graph.referrers(id).iter().copied()) {
                let parents = parents.entry(to).or_default();
                if parents.last() != Some(&id) {
                    parents.push(id);
                }
            }
        }
        let roots = graph.roots().iter();
        let roots = grouped(roots.filter_map(|root| Some((root.id()?, root.source))));
        let inside = graph.roots().iter().filter_map(|root| match root.source {
            RootSource::InsideEntry(position) => Some((position, root.id()?)),
            _ => None,
        });
        let built_upon = roots.keys().flat_map(|target| {
            let bases = bases(graph, *target).into_iter();
            bases.map(|base| (base, *target))
        });
        let listed = |roles: &'static [EntryRole]| {
            let entries = entries.iter().filter(|entry| entry.id.is_some());
            entries.filter(|entry| roles.contains(&entry.role))
        };
        let untagged = listed(&[EntryRole::Untagged]);
        let by_subject = listed(&[EntryRole::Untagged, EntryRole::DigestTag]).flat_map(|entry| {
            let subjects = entry.about.iter();
            subjects.map(|subject| (*subject, entry.position))
        });
        let names = |entry: &'a EntryFacts| entry.name_texts().map(|name| (name, entry.position));
        let namesakes = grouped(listed(&[EntryRole::KindReferrer]).flat_map(names));
        let bearers = entries
            .iter()
            .filter(|entry| !namesakes.is_empty() && entry.role != EntryRole::KindReferrer);
        let by_config = elements.iter().enumerate().filter_map(|(number, element)| {
            let config = element.config.as_ref()?;
            Some((graph.id(config)?, number))
        });
        let without_config = elements.iter().enumerate().filter_map(|(number, element)| {
            (element.config.is_none() && !element.repo_tags.is_empty()).then_some(number)
        });
        Self {
            graph,
            entries,
            elements,
            parents,
            inside: grouped(inside),
            untagged: grouped(untagged.filter_map(|entry| Some((entry.id?, entry.position)))),
            by_subject: grouped(by_subject),
            bearers: grouped(bearers.flat_map(names)),
            namesakes,
            built_upon: grouped(built_upon),
            roots,
            by_config: grouped(by_config),
            without_config: without_config.collect(),
            owners: config_owners(snapshot),
        }
    }

    /// Returns the blobs that are freed with an image. A hold on it keeps all of them.
    pub(crate) fn freed(&self, image: &Image) -> HashSet<BlobId> {
        let Some(taken) = self.taken(image) else {
            return HashSet::new();
        };
        let graph = self.graph;
        let mut search = RootSearch::new(self, image.id, &taken, true);
        let mut targets: Vec<BlobId> = taken.images.clone();
        for position in &taken.entries {
            targets.extend(self.inside.get(position).into_iter().flatten());
        }
        for number in &taken.elements {
            let element = self.elements.get(*number).into_iter();
            let blobs = element.flat_map(|element| &element.blobs);
            targets.extend(blobs.filter_map(|blob| graph.id(blob)));
        }
        if targets.iter().all(|id| search.is_live(*id)) {
            return HashSet::new();
        }
        let mut freed = reached_by(targets, |id| self.next(id, |_| true));
        freed.retain(|id| {
            graph.is_rooted(*id) && graph.in_flight(*id).is_none() && !search.is_live(*id)
        });
        freed
    }

    /// Returns the entries that are removed with an image, and the elements of docker save; its own entries if a hold
    /// keeps it.
    pub(crate) fn removed(&self, image: &Image) -> (HashSet<usize>, HashSet<usize>) {
        match self.taken(image) {
            Some(taken) => (taken.entries, taken.elements),
            None => (image.entries.iter().copied().collect(), HashSet::new()),
        }
    }

    /// Returns the entries and elements that a removal includes; `None` if a hold is on the image.
    fn taken(&self, image: &Image) -> Option<Taken<'a>> {
        let is_held = |id: &BlobId| {
            let mut roots = self.roots.get(id).into_iter().flatten();
            roots.any(|source| matches!(source, RootSource::Hold(_)))
        };
        let mut content = content_of(self.graph, image.id, None).into_iter();
        if content.any(|(id, _)| is_held(&id)) {
            return None;
        }
        let mut taken = Taken {
            entries: image.entries.iter().copied().collect(),
            images: vec![image.id],
            names: self.own_names(image),
            ..Taken::default()
        };
        while self.take_along(image.id, &mut taken) {}
        self.take_elements(image.id, &mut taken);
        Some(taken)
    }

    /// Returns the names that are removed with an image. Names that it shares with its image by its `kind` are not.
    fn own_names(&self, image: &Image) -> HashSet<&'a str> {
        let own = image.entries.iter();
        let own: Vec<&EntryFacts> = own.filter_map(|place| self.entries.get(*place)).collect();
        let kin = own.iter().filter(|own| own.role == EntryRole::KindReferrer);
        let shared: HashSet<&str> = kin.flat_map(|entry| entry.name_texts()).collect();
        let names = own.iter().flat_map(|entry| entry.name_texts());
        names.filter(|name| !shared.contains(name)).collect()
    }

    /// Adds entries that are removed along with those so far. Returns `false` if there are none.
    fn take_along(&self, image: BlobId, taken: &mut Taken<'a>) -> bool {
        let images = taken.images.iter();
        let bases: HashSet<BlobId> = images.flat_map(|id| bases(self.graph, *id)).collect();
        let mut candidates: BTreeSet<usize> = BTreeSet::new();
        let mut add = |positions: Option<&Vec<usize>>, queue: &mut Vec<BlobId>| {
            for &position in positions.into_iter().flatten() {
                if !taken.entries.contains(&position) && candidates.insert(position) {
                    queue.extend(self.entries.get(position).and_then(|entry| entry.id));
                }
            }
        };
        let mut queue = taken.images.clone();
        for base in &bases {
            add(self.untagged.get(base), &mut queue);
        }
        for name in &taken.names {
            add(self.namesakes.get(name), &mut queue);
        }
        let mut below = HashSet::new();
        while let Some(id) = queue.pop() {
            if !below.insert(id) {
                continue;
            }
            queue.extend(self.next(id, is_part));
            add(self.untagged.get(&id), &mut queue);
            add(self.by_subject.get(&id), &mut queue);
        }
        let own = taken.entries.clone();
        loop {
            taken.entries = own
                .union(&candidates.iter().copied().collect())
                .copied()
                .collect();
            let before = candidates.len();
            let mut search = RootSearch::new(self, image, taken, false);
            // Blobs that a candidate references besides its own are kept until the candidate is added.
            search.undecided = own.clone();
            candidates.retain(|position| {
                let Some(entry) = self.entries.get(*position) else {
                    return false;
                };
                let is_kept = entry.id.is_some_and(|id| {
                    search.is_live(id) || (bases.contains(&id) && search.is_base_in_use(id))
                }) || if entry.role == EntryRole::KindReferrer {
                    self.has_bearer_left(entry, taken)
                } else {
                    entry.about.iter().any(|about| search.is_live(*about))
                };
                !is_kept
            });
            if candidates.len() == before {
                break;
            }
        }
        let candidates = candidates.iter();
        let mut any = false;
        for entry in candidates.filter_map(|position| self.entries.get(*position)) {
            any = true;
            taken.names.extend(entry.name_texts());
            if let Some(id) = entry.id.filter(|id| !taken.images.contains(id)) {
                taken.images.push(id);
            }
        }
        any
    }

    /// Returns `true` if a kept image has a name that this entry shares by its `kind`.
    fn has_bearer_left(&self, entry: &EntryFacts, taken: &Taken<'_>) -> bool {
        let names = entry.name_texts();
        let mut bearers = names.filter_map(|name| self.bearers.get(name)).flatten();
        bearers.any(|position| !taken.entries.contains(position))
    }

    /// Adds the elements of docker save whose config belongs to the removal, and which thereby lose a blob or are left
    /// without a name and an entry.
    fn take_elements(&self, image: BlobId, taken: &mut Taken<'a>) {
        if self.elements.is_empty() {
            return;
        }
        let graph = self.graph;
        let mut search = RootSearch::new(self, image, taken, false);
        let parts = reached_by(taken.images.clone(), |id| self.next(id, is_part));
        let names: HashSet<String> = taken.names.iter().map(|name| canonical(name)).collect();
        let has_no_name_left = |element: &Element| {
            let mut tags = element.repo_tags.iter();
            tags.all(|tag| names.contains(&canonical(tag)))
        };
        let has_entry = |config: BlobId| {
            let mut owners = self.owners.get(&config).into_iter().flatten();
            owners.any(|position| !taken.entries.contains(position))
        };
        let mut elements = HashSet::new();
        for &config in parts.iter().filter(|id| self.by_config.contains_key(id)) {
            let is_left_alone = graph.is_present(config) && !has_entry(config);
            for &number in self.by_config.get(&config).into_iter().flatten() {
                let Some(element) = self.elements.get(number) else {
                    continue;
                };
                let mut blobs = element.blobs.iter().filter_map(|blob| graph.id(blob));
                let is_lost = blobs.any(|id| graph.is_present(id) && !search.is_live(id));
                if is_lost || (is_left_alone && has_no_name_left(element)) {
                    elements.insert(number);
                }
            }
        }
        for &number in &self.without_config {
            if self.elements.get(number).is_some_and(has_no_name_left) {
                elements.insert(number);
            }
        }
        taken.elements = elements;
    }

    /// Returns what a document references in a role that counts, and its referrers.
    fn next(&self, id: BlobId, counts: impl Fn(Role) -> bool) -> Vec<BlobId> {
        let edges = self.graph.edges(id).iter();
        let below = edges.filter(|edge| counts(edge.role)).map(|edge| edge.to);
        below
            .chain(self.graph.referrers(id).iter().copied())
            .collect()
    }
}

/// Searches for a kept root, from blobs up.
struct RootSearch<'s, 'a> {
    alone: &'s Alone<'a>,
    /// The image that is removed: as a referrer it is not kept by its subject.
    unwanted: BlobId,
    taken: &'s Taken<'a>,
    /// Elements of docker save keep what they name.
    with_elements: bool,
    /// If the entries are not decided yet: those that are removed in any case.
    undecided: HashSet<usize>,
    /// Blobs that no kept root references.
    dead: HashSet<BlobId>,
}

impl<'s, 'a> RootSearch<'s, 'a> {
    fn new(
        alone: &'s Alone<'a>,
        unwanted: BlobId,
        taken: &'s Taken<'a>,
        with_elements: bool,
    ) -> Self {
        Self {
            alone,
            unwanted,
            taken,
            with_elements,
            undecided: HashSet::new(),
            dead: HashSet::new(),
        }
    }

    fn is_kept(&self, source: RootSource) -> bool {
        match source {
            RootSource::Entry(position) => !self.taken.entries.contains(&position),
            RootSource::InsideEntry(position) if !self.undecided.is_empty() => {
                !self.undecided.contains(&position)
            }
            RootSource::InsideEntry(position) => !self.taken.entries.contains(&position),
            RootSource::DockerSave(number) => {
                self.with_elements && !self.taken.elements.contains(&number)
            }
            RootSource::Hold(_) | RootSource::IndexField | RootSource::SecondIndex(_) => true,
        }
    }

    fn is_root(&self, id: BlobId) -> bool {
        let mut roots = self.alone.roots.get(&id).into_iter().flatten();
        roots.any(|source| self.is_kept(*source))
    }

    /// Returns `true` if a kept image was built upon this one.
    fn is_base_in_use(&self, base: BlobId) -> bool {
        let mut upon = self.alone.built_upon.get(&base).into_iter().flatten();
        upon.any(|root| self.is_root(*root))
    }

    /// Returns `true` if a kept root references a blob. For a blob shared by many images, the first root ends the search.
    fn is_live(&mut self, id: BlobId) -> bool {
        if self.dead.contains(&id) {
            return false;
        }
        if self.is_root(id) {
            return true;
        }
        let mut seen = HashSet::from([id]);
        let mut path = vec![(id, 0)];
        while let Some((id, next)) = path.last_mut() {
            let parents = self.alone.parents.get(id).map_or(&[][..], Vec::as_slice);
            let Some(&parent) = parents.get(*next) else {
                path.pop();
                continue;
            };
            *next += 1;
            let mut edges = self.alone.graph.edges(parent).iter();
            if *id == self.unwanted && !edges.any(|edge| edge.to == *id) {
                // Only its subject reaches it, as a referrer.
                continue;
            }
            if self.dead.contains(&parent) || !seen.insert(parent) {
                continue;
            }
            if self.is_root(parent) {
                return true;
            }
            path.push((parent, 0));
        }
        self.dead.extend(seen);
        false
    }
}
