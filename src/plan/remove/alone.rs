//! What is freed if one image alone is removed, for every image of a layout.
//!
//! *Promise*: it is what `rm -f` of the image by its ID releases: its entries with what goes along ([`cascade`]), less what
//! a root that is kept still references. The rules are those of [`cascade`] and [`docker_elements`]; they are applied here
//! from the image up, because a plan of its own for each of 10,000 images would visit all documents 10,000 times.
//!
//! [`cascade`]: fn@super::cascade
//! [`docker_elements`]: super::selection::docker_elements

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::graph::RootSource;
use crate::graph::content_of;
use crate::layout::BlobId;
use crate::model::entries::{EntryFacts, EntryRole, config_owners};
use crate::model::images::Image;
use crate::model::snapshot::Snapshot;
use crate::oci::Role;
use crate::oci::reference::canonical;

/// What references what, from below.
pub(crate) struct Alone<'a> {
    view: &'a Snapshot,
    entries: &'a [EntryFacts],
    /// The documents that reference a blob.
    parents: HashMap<BlobId, Vec<BlobId>>,
    roots: HashMap<BlobId, Vec<RootSource>>,
    /// What else than its blob stands in an entry.
    inside: HashMap<usize, Vec<BlobId>>,
    /// Untagged entries by their blob.
    untagged: HashMap<BlobId, Vec<usize>>,
    /// Untagged entries and digest tags by what they are referrers of.
    about: HashMap<BlobId, Vec<usize>>,
    /// Entries that share the name of the image which they belong to.
    namesakes: HashMap<&'a str, Vec<usize>>,
    /// Entries of images by their names, if signatures and the like may share those.
    bearers: HashMap<&'a str, Vec<usize>>,
    /// Root documents by the image that they were built upon.
    built_upon: HashMap<BlobId, Vec<BlobId>>,
    /// Elements of docker save by their config.
    by_config: HashMap<BlobId, Vec<usize>>,
    /// Elements without a config.
    without_config: Vec<usize>,
    /// The entries that lead to the config of an element, by config.
    owners: HashMap<BlobId, Vec<usize>>,
}

/// What a removal takes, while it is worked out.
#[derive(Default)]
struct Taken<'a> {
    entries: HashSet<usize>,
    images: Vec<BlobId>,
    names: HashSet<&'a str>,
    elements: HashSet<usize>,
}

impl<'a> Alone<'a> {
    pub(crate) fn of(view: &'a Snapshot, entries: &'a [EntryFacts]) -> Self {
        let graph = &view.graph;
        let mut found = Self {
            view,
            entries,
            parents: HashMap::new(),
            roots: HashMap::new(),
            inside: HashMap::new(),
            untagged: HashMap::new(),
            about: HashMap::new(),
            namesakes: HashMap::new(),
            bearers: HashMap::new(),
            built_upon: HashMap::new(),
            by_config: HashMap::new(),
            without_config: Vec::new(),
            owners: config_owners(view),
        };
        for id in graph.ids() {
            let edges = graph.edges(id);
            let below = edges.iter().map(|edge| edge.to);
            for to in below.chain(graph.referrers(id).iter().copied()) {
                let parents = found.parents.entry(to).or_default();
                if parents.last() != Some(&id) {
                    parents.push(id);
                }
            }
        }
        for root in graph.roots() {
            let Ok(id) = root.target else { continue };
            found.roots.entry(id).or_default().push(root.source);
            if let RootSource::InsideEntry(position) = root.source {
                found.inside.entry(position).or_default().push(id);
            }
        }
        for &target in found.roots.keys() {
            for base in found.bases(target) {
                found.built_upon.entry(base).or_default().push(target);
            }
        }
        for entry in entries {
            let Some(id) = entry.id else { continue };
            let position = entry.position;
            if entry.role == EntryRole::Untagged {
                found.untagged.entry(id).or_default().push(position);
            }
            match entry.role {
                EntryRole::Untagged | EntryRole::DigestTag => {
                    for about in &entry.about {
                        found.about.entry(*about).or_default().push(position);
                    }
                }
                EntryRole::KindReferrer => {
                    for name in &entry.names {
                        found
                            .namesakes
                            .entry(&name.text)
                            .or_default()
                            .push(position);
                    }
                }
                EntryRole::Named | EntryRole::Saved => {}
            }
        }
        if !found.namesakes.is_empty() {
            let images = entries.iter();
            for entry in images.filter(|entry| entry.role != EntryRole::KindReferrer) {
                for name in &entry.names {
                    let bearers = found.bearers.entry(&name.text).or_default();
                    bearers.push(entry.position);
                }
            }
        }
        let save = view.state.docker_save.iter();
        for (number, element) in save.flat_map(|save| &save.elements).enumerate() {
            match &element.config {
                Some(config) => {
                    if let Some(id) = graph.id(config) {
                        found.by_config.entry(id).or_default().push(number);
                    }
                }
                None if !element.repo_tags.is_empty() => found.without_config.push(number),
                None => {}
            }
        }
        found
    }

    /// Returns the blobs that are freed with an image. A hold on it keeps all of them.
    pub(crate) fn freed(&self, image: &Image) -> HashSet<BlobId> {
        let Some(taken) = self.taken(image) else {
            return HashSet::new();
        };
        let graph = &self.view.graph;
        let mut search = Search::new(self, image.id, &taken, true);
        let mut targets: Vec<BlobId> = taken.images.clone();
        for position in &taken.entries {
            targets.extend(self.inside.get(position).into_iter().flatten());
        }
        let save = self.view.state.docker_save.iter();
        for (number, element) in save.flat_map(|save| &save.elements).enumerate() {
            if taken.elements.contains(&number) {
                targets.extend(element.blobs.iter().filter_map(|blob| graph.id(blob)));
            }
        }
        if targets.iter().all(|id| search.is_live(*id)) {
            return HashSet::new();
        }
        let mut freed = self.below(targets, |_| true);
        freed.retain(|id| {
            graph.is_rooted(*id) && graph.in_flight(*id).is_none() && !search.is_live(*id)
        });
        freed
    }

    /// Returns the entries that are removed with an image, and the elements of docker save; its own entries where a hold
    /// keeps it.
    pub(crate) fn removed(&self, image: &Image) -> (HashSet<usize>, HashSet<usize>) {
        match self.taken(image) {
            Some(taken) => (taken.entries, taken.elements),
            None => (image.entries.iter().copied().collect(), HashSet::new()),
        }
    }

    /// Returns what a removal takes; `None` if a hold is on the image.
    fn taken(&self, image: &Image) -> Option<Taken<'a>> {
        let is_held = |id: &BlobId| {
            let mut roots = self.roots.get(id).into_iter().flatten();
            roots.any(|source| matches!(source, RootSource::Hold(_)))
        };
        let mut content = content_of(&self.view.graph, image.id, None).into_iter();
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

    /// The names that go with an image. That of an image which it belongs to by its `kind` does not.
    fn own_names(&self, image: &Image) -> HashSet<&'a str> {
        let own = image.entries.iter();
        let own: Vec<&EntryFacts> = own.filter_map(|place| self.entries.get(*place)).collect();
        let kin = own.iter().filter(|own| own.role == EntryRole::KindReferrer);
        let shared: HashSet<&str> = kin
            .flat_map(|entry| &entry.names)
            .map(|name| &*name.text)
            .collect();
        let names = own.iter().flat_map(|entry| &entry.names);
        names
            .map(|name| &*name.text)
            .filter(|name| !shared.contains(name))
            .collect()
    }

    /// Takes what goes along with what was taken so far. Returns `false` if nothing does.
    fn take_along(&self, image: BlobId, taken: &mut Taken<'a>) -> bool {
        let bases: HashSet<BlobId> = taken.images.iter().flat_map(|id| self.bases(*id)).collect();
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
            queue.extend(self.next(id, |role| !matches!(role, Role::Subject | Role::Annotation)));
            add(self.untagged.get(&id), &mut queue);
            add(self.about.get(&id), &mut queue);
        }
        let own = taken.entries.clone();
        loop {
            taken.entries = own
                .union(&candidates.iter().copied().collect())
                .copied()
                .collect();
            let before = candidates.len();
            let mut search = Search::new(self, image, taken, false);
            // What else stands in a candidate keeps as long as that is not taken.
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
        for position in &candidates {
            let Some(entry) = self.entries.get(*position) else {
                continue;
            };
            taken
                .names
                .extend(entry.names.iter().map(|name| &*name.text));
            if let Some(id) = entry.id.filter(|id| !taken.images.contains(id)) {
                taken.images.push(id);
            }
        }
        !candidates.is_empty()
    }

    /// Returns `true` if an image that stays has a name of what shares one by its `kind`.
    fn has_bearer_left(&self, entry: &EntryFacts, taken: &Taken<'_>) -> bool {
        let bearers = entry
            .names
            .iter()
            .filter_map(|name| self.bearers.get(&*name.text));
        let mut bearers = bearers.flatten();
        bearers.any(|position| !taken.entries.contains(position))
    }

    /// Takes the elements of docker save whose config belongs to what is taken, and which lose a blob by that or are left
    /// without a name and without an entry.
    fn take_elements(&self, image: BlobId, taken: &mut Taken<'a>) {
        let Some(save) = &self.view.state.docker_save else {
            return;
        };
        let graph = &self.view.graph;
        let mut elements = HashSet::new();
        let mut search = Search::new(self, image, taken, false);
        let parts = self.below(taken.images.clone(), |role| {
            !matches!(role, Role::Subject | Role::Annotation)
        });
        let gone: HashSet<String> = taken.names.iter().map(|name| canonical(name)).collect();
        let has_no_name_left = |number: usize| {
            let tags = save.elements.get(number).map(|element| &element.repo_tags);
            let mut tags = tags.into_iter().flatten();
            tags.all(|tag| gone.contains(&canonical(tag)))
        };
        let has_entry = |config: BlobId| {
            let mut owners = self.owners.get(&config).into_iter().flatten();
            owners.any(|position| !taken.entries.contains(position))
        };
        for &config in parts.iter().filter(|id| self.by_config.contains_key(id)) {
            let is_left_alone = graph.is_present(config) && !has_entry(config);
            for &number in self.by_config.get(&config).into_iter().flatten() {
                let blobs = save.elements.get(number).map(|element| &element.blobs);
                let mut blobs = blobs.into_iter().flatten();
                let is_lost = blobs.any(|blob| {
                    graph
                        .id(blob)
                        .is_some_and(|id| graph.is_present(id) && !search.is_live(id))
                });
                if is_lost || (is_left_alone && has_no_name_left(number)) {
                    elements.insert(number);
                }
            }
        }
        for &number in &self.without_config {
            if has_no_name_left(number) {
                elements.insert(number);
            }
        }
        taken.elements = elements;
    }

    /// Returns what a document references in a role that counts, and its referrers.
    fn next(&self, id: BlobId, counts: impl Fn(Role) -> bool) -> Vec<BlobId> {
        let graph = &self.view.graph;
        let edges = graph.edges(id);
        let edges = edges.iter().filter(|edge| counts(edge.role));
        let below = edges.map(|edge| edge.to);
        below.chain(graph.referrers(id).iter().copied()).collect()
    }

    fn below(&self, mut queue: Vec<BlobId>, counts: impl Fn(Role) -> bool) -> HashSet<BlobId> {
        let mut below = HashSet::new();
        while let Some(id) = queue.pop() {
            if below.insert(id) {
                queue.extend(self.next(id, &counts));
            }
        }
        below
    }

    /// Returns the images that one was built upon.
    fn bases(&self, id: BlobId) -> Vec<BlobId> {
        let graph = &self.view.graph;
        let content = content_of(graph, id, None).into_iter();
        content
            .filter_map(|(id, _)| graph.node(id)?.base_digest.as_ref())
            .filter_map(|digest| graph.id(digest))
            .collect()
    }
}

/// Looks for a root that is kept, from blobs up.
struct Search<'s, 'a> {
    alone: &'s Alone<'a>,
    /// What is removed: as a referrer it is not kept by its subject.
    unwanted: BlobId,
    taken: &'s Taken<'a>,
    /// Elements of docker save keep what they name.
    with_elements: bool,
    /// Where it is not decided yet which entries are taken: those that are in any case.
    undecided: HashSet<usize>,
    /// What no root that is kept references.
    dead: HashSet<BlobId>,
}

impl<'s, 'a> Search<'s, 'a> {
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

    /// Returns `true` if an image that is kept was built upon this one.
    fn is_base_in_use(&self, base: BlobId) -> bool {
        let mut upon = self.alone.built_upon.get(&base).into_iter().flatten();
        upon.any(|root| self.is_root(*root))
    }

    /// Returns `true` if a root that is kept references a blob. What is shared by many is found at the first of them.
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
            let graph = &self.alone.view.graph;
            if *id == self.unwanted && !references(graph, parent, *id) {
                // Only its subject has it, as a referrer.
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

fn references(graph: &crate::graph::Graph, document: BlobId, id: BlobId) -> bool {
    graph.edges(document).iter().any(|edge| edge.to == id)
}
