//! Images as users see them: the entries of `index.json` that share a digest, with their names, sizes and platforms.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use rustix::fs::Stat;

use crate::error::{Error, Result};
use crate::fs::{FileStat, modified_of};
use crate::graph::{BlobSet, Edge, content_of, is_attestation, reached_by};
use crate::layout::BlobId;
use crate::model::config;
pub use crate::model::config::ImageConfig;
use crate::model::entries::{EntryFacts, is_kind_referrer, saved_names, subjects_in};
use crate::model::inventory::Files;
use crate::model::snapshot::Snapshot;
use crate::oci::platform::Platform;
use crate::oci::{Digest, EntryName, Role, Shape, entry_names};
use crate::threads;

/// The time that counts as the age of an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TimeSource {
    /// When it was added to the layout: the mtime of its root document.
    #[default]
    Added,
    /// When it was built: `created` of its config. A missing time or 1970 never counts as old.
    Created,
}

/// The maximum number of files that are read before the results are stored.
const BATCH: usize = 8192;

/// The entries of `index.json` that share one digest.
#[derive(Debug, Clone)]
pub struct Image {
    /// The image ID.
    pub digest: Digest,
    /// Its number in the graph.
    pub id: BlobId,
    /// Its names, each once, in the order of the entries.
    pub names: Vec<EntryName>,
    /// Those of its names that are the name of another image, which it shares as its signature, attestation or SBOM (`kind`).
    pub shared_names: Vec<Box<str>>,
    /// `true` if it has no name, and everything that it refers to is missing: as a subject, or in an annotation that names a
    /// subject.
    pub is_stale_referrer: bool,
    /// The positions of its entries.
    pub entries: Vec<usize>,
    /// Its media type, as in the first entry.
    pub media_type: Box<str>,
    /// Its artifact type, as in the entry or the manifest.
    pub artifact_type: Option<Box<str>>,
    /// The holds that protect it, by name.
    pub holds: Vec<String>,
    /// The second indexes that also list it, by file name.
    pub second_indexes: Vec<String>,
}

impl Image {
    /// Returns its entries among those of the layout.
    pub(crate) fn own_entries<'a>(
        &'a self,
        entries: &'a [EntryFacts],
    ) -> impl Iterator<Item = &'a EntryFacts> + Clone {
        let own = self.entries.iter();
        own.filter_map(|position| entries.get(*position))
    }

    /// Returns its names as strings.
    #[must_use]
    pub fn name_list(&self) -> Vec<String> {
        let names = self.names.iter();
        names.map(|name| name.text.to_string()).collect()
    }
}

/// Sizes in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the blobs that exist, each once.
    pub disk: u64,
    /// Bytes that the descriptors declare, each blob once.
    pub content: u64,
}

/// Whether an image or a platform exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// With everything below it.
    Whole,
    /// Something below it is missing.
    Partial,
    /// Its document is missing.
    Missing,
    /// Its document is damaged.
    Damaged,
}

/// Reads sizes and configs, each at most once.
#[derive(Debug)]
pub struct ImageInspector<'a> {
    snapshot: &'a Snapshot,
    lens: HashMap<BlobId, u64>,
    /// The files that were inspected before.
    files: Files,
    configs: HashMap<BlobId, Option<ImageConfig>>,
    error: Option<Error>,
}

/// Returns the images of a layout in the order of `index.json`.
#[must_use]
pub fn list_images(snapshot: &Snapshot, now: Timestamp) -> Vec<Image> {
    let mut found: Vec<Image> = Vec::new();
    let mut by_id: HashMap<BlobId, usize> = HashMap::new();
    let elsewhere = listed_elsewhere(snapshot);
    let mut saved = saved_names(snapshot);
    let mut known: HashSet<(usize, Box<str>)> = HashSet::new();
    let mut held: HashMap<&Digest, Vec<String>> = HashMap::new();
    for hold in snapshot.state.holds.active(now) {
        held.entry(&hold.digest)
            .or_default()
            .push(hold.name.clone());
    }
    let entries = snapshot.state.index.entries().iter();
    for (position, (entry, details)) in entries.zip(snapshot.state.index.all_details()).enumerate()
    {
        let Ok(digest) = &entry.digest else { continue };
        let Some(id) = snapshot.graph.id(digest) else {
            continue;
        };
        let mut names = entry_names(details);
        names.extend(saved.remove(&position).into_iter().flatten());
        let index = *by_id.entry(id).or_insert_with(|| {
            found.push(Image {
                digest: digest.clone(),
                id,
                names: Vec::new(),
                shared_names: Vec::new(),
                is_stale_referrer: false,
                entries: Vec::new(),
                media_type: details.media_type.clone(),
                artifact_type: details.artifact_type.clone().or_else(|| {
                    snapshot
                        .graph
                        .node(id)
                        .and_then(|node| node.artifact_type.clone())
                }),
                holds: held.get(digest).cloned().unwrap_or_default(),
                second_indexes: elsewhere.get(digest).cloned().unwrap_or_default(),
            });
            found.len() - 1
        });
        if let Some(image) = found.get_mut(index) {
            push(&mut image.entries, position);
            let is_shared = is_kind_referrer(details);
            for name in names {
                let is_new = known.insert((index, name.text.clone()));
                if !is_shared || !name.is_annotation() {
                    image.shared_names.retain(|shared| *shared != name.text);
                } else if is_new {
                    push(&mut image.shared_names, name.text.clone());
                }
                if is_new {
                    push(&mut image.names, name);
                }
            }
        }
    }
    for image in found.iter_mut().filter(|image| image.names.is_empty()) {
        image.is_stale_referrer = is_stale_referrer(snapshot, image);
    }
    found
}

/// Returns `true` if an image refers to something, and all of it is missing.
fn is_stale_referrer(snapshot: &Snapshot, image: &Image) -> bool {
    let graph = &snapshot.graph;
    let edges = graph.edges(image.id).iter();
    let subjects = edges.filter(|edge| edge.role == Role::Subject);
    let all = snapshot.state.index.all_details();
    let details = image.entries.iter().filter_map(|at| all.get(*at));
    let named = details.flat_map(|details| subjects_in(details));
    let mut ids = subjects
        .map(|edge| Some(edge.to))
        .chain(named.map(|digest| graph.id(&digest)))
        .peekable();
    let refers = ids.peek().is_some();
    refers && !ids.flatten().any(|id| graph.is_present(id))
}

/// Adds to a list that usually has one element: a list that grows gets a capacity of four.
fn push<T>(list: &mut Vec<T>, item: T) {
    if list.is_empty() {
        list.reserve_exact(1);
    }
    list.push(item);
}

/// Returns for each digest the second indexes that list it, each once.
fn listed_elsewhere(snapshot: &Snapshot) -> HashMap<&Digest, Vec<String>> {
    let mut found: HashMap<&Digest, Vec<String>> = HashMap::new();
    for index in &snapshot.state.second_indexes {
        let label = index.label();
        for digest in index.digests() {
            let files = found.entry(digest).or_default();
            if files.last() != Some(&label) {
                files.push(label.clone());
            }
        }
    }
    found
}

/// Applies a function that reads one file to each blob, and returns what it found.
fn in_batches<T: Send>(
    ids: &[BlobId],
    read: impl Fn(BlobId) -> Option<T> + Sync,
) -> Vec<(BlobId, T)> {
    let mut found = Vec::with_capacity(ids.len());
    for batch in ids.chunks(BATCH) {
        found.extend(
            threads::read_each(batch, |id| Some((*id, read(*id)?)))
                .into_iter()
                .flatten(),
        );
    }
    found
}

impl<'a> ImageInspector<'a> {
    /// Returns an empty cache of a layout.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot) -> Self {
        Self::with_inventory(snapshot, &Files::default())
    }

    /// Returns an empty cache of a layout whose files were inspected before.
    pub(crate) fn with_inventory(snapshot: &'a Snapshot, files: &Files) -> Self {
        Self {
            snapshot,
            lens: HashMap::new(),
            files: files.clone(),
            configs: HashMap::new(),
            error: None,
        }
    }

    /// Returns and clears the first error of a blob that exists and could not be read. A caller that decides by labels, dates or
    /// platforms must check it: an image whose config cannot be read looks like one without them.
    ///
    /// # Errors
    /// The first [`Error::Read`].
    pub fn take_error(&mut self) -> Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }

    /// Returns the digest of a number.
    pub(crate) fn digest(&self, id: BlobId) -> &'a Digest {
        self.snapshot.graph.digest(id)
    }

    fn stat(&mut self, id: BlobId) -> Option<Stat> {
        let found = self.snapshot.layout.look_at_blob(self.digest(id));
        found.unwrap_or_else(|error| {
            self.error.get_or_insert(error);
            None
        })
    }

    /// Returns the sizes of an image or a platform. Its subject and its referrers are other images.
    pub fn sizes(&mut self, id: BlobId, declared: Option<u64>) -> Sizes {
        let mut sizes = Sizes::default();
        for (id, declared) in content_of(&self.snapshot.graph, id, declared) {
            let len = self.len(id);
            sizes.disk = sizes.disk.saturating_add(len.unwrap_or_default());
            sizes.content = sizes
                .content
                .saturating_add(declared.or(len).unwrap_or_default());
        }
        sizes
    }

    /// Returns the length of a blob's file, or of the target of a link; `None` if it does not exist.
    pub fn len(&mut self, id: BlobId) -> Option<u64> {
        if !self.snapshot.graph.is_present(id) {
            return None;
        }
        if let Some(node) = self.snapshot.graph.node(id) {
            return Some(node.len);
        }
        if let Some(file) = self.known(id) {
            return Some(file.len);
        }
        if let Some(len) = self.lens.get(&id) {
            return Some(*len);
        }
        let len = u64::try_from(self.stat(id)?.st_size).ok()?;
        self.lens.insert(id, len);
        Some(len)
    }

    /// Returns the known stat of a blob's file. That of a link does not describe its target.
    fn known(&self, id: BlobId) -> Option<FileStat> {
        let file = self.files.get(id)?;
        (!self.snapshot.graph.blobs().is_link(id)).then_some(file)
    }

    /// Returns when an image was added to the layout or built; `None` if that is unknown.
    pub fn time(&mut self, id: BlobId, source: TimeSource) -> Option<Timestamp> {
        match source {
            // Archives without times result in 1970 or before, which is not a time.
            TimeSource::Added => {
                let modified = match self.known(id) {
                    Some(file) => i128::from(file.modified),
                    None => modified_of(&self.stat(id)?),
                };
                Timestamp::from_nanosecond(modified)
                    .ok()
                    .filter(|time| time.as_second() > 0)
            }
            TimeSource::Created => self.config(id)?.created,
        }
    }

    /// Returns whether an image or a platform exists, with everything below it.
    #[must_use]
    pub fn presence(&self, id: BlobId) -> Presence {
        let graph = &self.snapshot.graph;
        if graph.damage(id).is_some() {
            return Presence::Damaged;
        }
        if !graph.is_present(id) && !graph.is_embedded(id) {
            return Presence::Missing;
        }
        // Bytes in a descriptor of another image do not count for this one.
        let content = content_of(graph, id, None);
        let absent: Vec<BlobId> = content
            .iter()
            .map(|(part, _)| *part)
            .filter(|part| *part != id && !graph.is_present(*part))
            .collect();
        let mut carried = BlobSet::default();
        if !absent.is_empty() {
            let nodes = content.iter().filter_map(|(part, _)| graph.node(*part));
            for edge in nodes.flat_map(|node| &node.edges) {
                if edge.role != Role::Subject && graph.is_carried_by(edge) {
                    carried.insert(edge.to);
                }
            }
        }
        if absent.iter().all(|part| carried.contains(*part)) {
            Presence::Whole
        } else {
            Presence::Partial
        }
    }

    /// Returns the config of an image: its own, or that of the best present platform, which is the host's or else the first.
    pub fn config(&mut self, id: BlobId) -> Option<ImageConfig> {
        let manifest = self.best_manifest(id)?;
        self.own_config(manifest)
    }

    /// Returns the config of one manifest.
    pub fn own_config(&mut self, manifest: BlobId) -> Option<ImageConfig> {
        let mut edges = self.snapshot.graph.edges(manifest).iter();
        let config = edges.find(|edge| edge.role == Role::Config)?.to;
        if let Some(known) = self.configs.get(&config) {
            return known.clone();
        }
        let read = config::read(self.snapshot, config).unwrap_or_else(|error| {
            self.error.get_or_insert(error);
            None
        });
        self.configs.insert(config, read.clone());
        read
    }

    /// Reads in parallel what [`sizes`](Self::sizes) and [`config`](Self::config) of these images need: read one after
    /// another, each file of a cold disk would have to be waited for. Files that cannot be read are left to these functions.
    pub fn prefetch<'i>(&mut self, images: impl Iterator<Item = &'i Image> + Clone) {
        let graph = &self.snapshot.graph;
        // The content of all images at once: many share it.
        let content = reached_by(images.clone().map(|image| image.id).collect(), |id| {
            let edges = graph.edges(id).iter();
            let content = edges.filter(|edge| edge.role != Role::Subject);
            content.map(|edge| edge.to)
        });
        let is_needed = |id: &BlobId| {
            let is_known = graph.node(*id).is_some() || self.known(*id).is_some();
            !is_known && graph.is_present(*id)
        };
        let mut files: Vec<BlobId> = content.into_iter().filter(is_needed).collect();
        // In the order of the directory.
        files.sort_unstable();
        let snapshot = self.snapshot;
        let lens = in_batches(&files, |id| {
            let found = snapshot.layout.look_at_blob(snapshot.graph.digest(id));
            u64::try_from(found.ok()??.st_size).ok()
        });
        self.lens.extend(lens);
        let configs: BTreeSet<BlobId> = images
            .filter_map(|image| self.likely_config(image.id))
            .filter(|id| graph.is_present(*id))
            .collect();
        let configs: Vec<BlobId> = configs.into_iter().collect();
        let read = in_batches(&configs, |id| config::read(snapshot, id).ok());
        self.configs.extend(read);
    }

    /// Frees the memory of the configs. They are read again if they are needed again.
    pub(crate) fn drop_configs(&mut self) {
        self.configs = HashMap::new();
    }

    /// Returns the config that [`config`](Self::config) needs, as far as the documents determine it: an index may leave
    /// platforms to the configs.
    fn likely_config(&self, id: BlobId) -> Option<BlobId> {
        let host = Platform::host();
        let manifests = self.manifests(id);
        let of_host = manifests.iter().find(|(_, edge)| {
            let details = edge.and_then(|edge| edge.details.as_ref());
            let platform = details.and_then(|details| details.platform.as_ref());
            platform.is_some_and(|platform| platform.matches_strict(&host))
        });
        let (manifest, _) = of_host.or_else(|| manifests.first())?;
        let mut edges = self.snapshot.graph.edges(*manifest).iter();
        Some(edges.find(|edge| edge.role == Role::Config)?.to)
    }

    /// Returns the present manifests of the platforms of an image, with their edge in the index: the image itself if it is a
    /// manifest.
    #[must_use]
    pub fn manifests(&self, id: BlobId) -> Vec<(BlobId, Option<&'a Edge>)> {
        let graph = &self.snapshot.graph;
        let mut found = Vec::new();
        let mut seen = BTreeSet::from([id]);
        let mut queue = vec![(id, None)];
        while let Some((id, edge)) = queue.pop() {
            let Some(node) = graph.node(id) else { continue };
            match node.shape {
                Shape::Index => {
                    for child in node.edges.iter().rev() {
                        if child.role == Role::Child
                            && !is_attestation(child)
                            && seen.insert(child.to)
                        {
                            queue.push((child.to, Some(child)));
                        }
                    }
                }
                Shape::Manifest | Shape::Other => found.push((id, edge)),
            }
        }
        found
    }

    fn best_manifest(&mut self, id: BlobId) -> Option<BlobId> {
        let host = Platform::host();
        let manifests = self.manifests(id);
        let of_host = manifests.iter().copied().find(|(manifest, edge)| {
            self.platform(*manifest, *edge)
                .is_some_and(|platform| platform.matches_strict(&host))
        });
        of_host
            .or_else(|| manifests.first().copied())
            .map(|(manifest, _)| manifest)
    }

    /// Returns the platform of a manifest: that in its index, else that in its config.
    pub fn platform(&mut self, manifest: BlobId, edge: Option<&Edge>) -> Option<Platform> {
        edge.and_then(|edge| edge.details.as_ref())
            .and_then(|details| details.platform.as_ref())
            .filter(|platform| !platform.os.is_empty() || !platform.architecture.is_empty())
            .cloned()
            .or_else(|| self.own_config(manifest)?.platform)
    }
}
