//! The entries of `index.json` with their names and subjects.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::graph::{Graph, content_of};
use crate::layout::BlobId;
use crate::model::snapshot::Snapshot;
use crate::oci::descriptor::{Details, is_subject_key};
use crate::oci::docker_archive::{DockerSave, Element};
use crate::oci::reference::{canonical, digest_tag};
use crate::oci::{Digest, EntryName, REFERENCE_DIGEST, Role, SAVED_NAME, entry_names, split_name};

/// The annotation that names the subject of an entry (docker save, ctr export).
pub const CONTAINERD_SUBJECT: &str = "io.containerd.manifest.subject";

/// One entry of `index.json`.
#[derive(Debug, Clone)]
pub struct EntryFacts {
    /// Its position.
    pub position: usize,
    /// The blob; `None` if its digest is invalid.
    pub id: Option<BlobId>,
    /// Its names.
    pub names: Vec<EntryName>,
    /// Its subjects.
    pub about: Vec<BlobId>,
    /// What annotations of its own document, and not of the entry, call its subject. No known tool writes them, and no reader is
    /// known: it is not dangling while these are live, and is not removed with them.
    pub annotated: Vec<BlobId>,
    /// The meaning of its name.
    pub role: EntryRole,
    /// Further parts of the entry. Plans copy entries to change their role.
    pub details: Arc<Details>,
}

impl EntryFacts {
    /// Returns its names as strings.
    pub(crate) fn name_texts(&self) -> impl Iterator<Item = &str> + Clone {
        self.names.iter().map(|name| &*name.text)
    }
}

/// The meaning of the name of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryRole {
    /// It is an image with a name.
    Named,
    /// Its name only identifies its subject: `sha256-<hex>` or `sha256-<hex>.sig`.
    DigestTag,
    /// It shares the name of an image, and its `kind` is signature, attestation or SBOM (cosign, hauler).
    KindReferrer,
    /// It has no name in `index.json`; docker save's own list names its content.
    Saved,
    /// It has no name.
    Untagged,
}

impl EntryRole {
    /// Returns `true` if it has no name in `index.json`.
    pub(crate) const fn is_nameless(self) -> bool {
        matches!(self, Self::Saved | Self::Untagged)
    }
}

/// Returns the entries in the order of `index.json`.
#[must_use]
pub fn list_entries(snapshot: &Snapshot) -> Vec<EntryFacts> {
    let Snapshot { state, graph, .. } = snapshot;
    let mut cut_digests = None;
    // Many entries may share one document with many references: the names of a large index.
    let mut subjects: HashMap<BlobId, Vec<BlobId>> = HashMap::new();
    let mut entries: Vec<EntryFacts> = state
        .index
        .entries()
        .iter()
        .zip(state.index.all_details())
        .enumerate()
        .map(|(position, (entry, details))| {
            let names = entry_names(details);
            let id = graph.entry_id(entry);
            let subjects_in = subjects_in(details).filter_map(|digest| graph.id(&digest));
            let mut about: Vec<BlobId> = subjects_in.collect();
            if let Some(id) = id {
                let subjects = subjects.entry(id).or_insert_with(|| {
                    let edges = graph.edges(id).iter();
                    let subjects = edges.filter(|edge| edge.role == Role::Subject);
                    subjects.map(|edge| edge.to).collect()
                });
                about.extend_from_slice(subjects);
            }
            let node = id.and_then(|id| graph.node(id));
            let annotated = node.iter().flat_map(|node| &node.annotated_subjects);
            let annotated = annotated.filter_map(|digest| graph.id(digest)).collect();
            let tagged: Vec<Vec<BlobId>> = names
                .iter()
                .filter_map(|name| subjects_of(graph, name, &mut cut_digests))
                .collect();
            let role = if names.is_empty() {
                EntryRole::Untagged
            } else if tagged.len() == names.len() {
                EntryRole::DigestTag
            } else if is_kind_referrer(details) {
                EntryRole::KindReferrer
            } else {
                EntryRole::Named
            };
            about.extend(tagged.into_iter().flatten());
            EntryFacts {
                position,
                id,
                names,
                about,
                annotated,
                role,
                details: Arc::clone(details),
            }
        })
        .collect();
    if let Some(save) = &state.docker_save {
        mark_saved(graph, save, &mut entries);
        for (position, names) in saved_names(snapshot) {
            if let Some(entry) = entries.get_mut(position) {
                entry.names.extend(names);
            }
        }
    }
    entries
}

/// Returns the names that are only in docker save's list, by the position of their entry: one that references the config of the
/// element, preferably one with a name. `docker load` restores them.
pub(crate) fn saved_names(snapshot: &Snapshot) -> HashMap<usize, Vec<EntryName>> {
    let Snapshot { state, graph, .. } = snapshot;
    let Some(save) = &state.docker_save else {
        return HashMap::new();
    };
    let owners = config_owners(snapshot);
    let named = |position: &usize| -> Vec<EntryName> {
        let details = state.index.all_details().get(*position);
        details.map_or_else(Vec::new, |details| entry_names(details))
    };
    let mut found: HashMap<usize, Vec<EntryName>> = HashMap::new();
    for element in save
        .elements
        .iter()
        .filter(|element| !element.repo_tags.is_empty())
    {
        let config = element.config.as_ref().and_then(|config| graph.id(config));
        let Some(owners) = config.and_then(|config| owners.get(&config)) else {
            continue;
        };
        let mut known: HashSet<String> = HashSet::new();
        let mut of_names = None;
        for position in owners {
            let names = named(position);
            if !names.is_empty() {
                of_names.get_or_insert(*position);
            }
            known.extend(names.iter().map(|name| canonical(&name.text)));
        }
        let Some(position) = of_names.or_else(|| owners.first().copied()) else {
            continue;
        };
        let names = found.entry(position).or_default();
        known.extend(names.iter().map(|name| canonical(&name.text)));
        for tag in &element.repo_tags {
            if !tag.is_empty() && known.insert(canonical(tag)) {
                names.push(EntryName {
                    text: tag.as_str().into(),
                    key: SAVED_NAME,
                });
            }
        }
    }
    found
}

/// Returns the elements of docker save's list whose config no entry references, with their positions: archives of old versions have
/// no entries, and other tools remove only the entry.
pub(crate) fn unlisted_elements(snapshot: &Snapshot) -> Vec<(usize, &Element)> {
    let owners = config_owners(snapshot);
    let elements = snapshot.state.docker_save.iter();
    let elements = elements.flat_map(|save| &save.elements).enumerate();
    let has_entry = |config: &Digest| {
        let config = snapshot.graph.id(config);
        config.is_some_and(|config| owners.get(&config).is_some_and(|own| !own.is_empty()))
    };
    elements
        .filter(|(_, element)| !element.config.as_ref().is_some_and(has_entry))
        .collect()
}

/// Returns the positions of the entries that reference the config of an element of docker save's list, by config.
pub(crate) fn config_owners(snapshot: &Snapshot) -> HashMap<BlobId, Vec<usize>> {
    let Snapshot { state, graph, .. } = snapshot;
    let elements = state.docker_save.iter().flat_map(|save| &save.elements);
    let mut owners: HashMap<BlobId, Vec<usize>> = elements
        .filter_map(|element| graph.id(element.config.as_ref()?))
        .map(|config| (config, Vec::new()))
        .collect();
    if owners.is_empty() {
        return owners;
    }
    for (position, entry) in state.index.entries().iter().enumerate() {
        let content = graph.entry_id(entry).map(|id| content_of(graph, id, None));
        for (id, _) in content.into_iter().flatten() {
            if let Some(positions) = owners.get_mut(&id) {
                positions.push(position);
            }
        }
    }
    owners
}

/// Returns the subjects that the annotations of an entry name.
pub(super) fn subjects_in(details: &Details) -> impl Iterator<Item = Digest> {
    let annotations = details.annotations.iter();
    let subjects = annotations.filter(|(key, _)| names_subject(key));
    subjects.filter_map(|(_, text)| Digest::parse(text).ok())
}

/// Returns `true` if an annotation of an entry names its subject:
/// `io.containerd.manifest.subject`, `org.olareg.referrer.subject`, `org.opencontainers.image.referrer.subject`
/// (image-spec pull request 1171), and BuildKit's `vnd.docker.reference.digest`.
fn names_subject(key: &str) -> bool {
    is_subject_key(key) || key == REFERENCE_DIGEST
}

/// Marks the untagged entries that docker save's list names. A config that also has a name in `index.json` is named there: an
/// untagged index of it is dangling.
fn mark_saved(graph: &Graph, save: &DockerSave, entries: &mut [EntryFacts]) {
    let content = |entry: &EntryFacts| {
        let id = entry.id.into_iter();
        id.flat_map(|id| content_of(graph, id, None))
            .map(|(id, _)| id)
    };
    let named: HashSet<BlobId> = entries
        .iter()
        .filter(|entry| entry.role == EntryRole::Named)
        .flat_map(content)
        .collect();
    let listed: HashSet<BlobId> = save
        .elements
        .iter()
        .filter(|element| !element.repo_tags.is_empty())
        .filter_map(|element| graph.id(element.config.as_ref()?))
        .filter(|config| !named.contains(config))
        .collect();
    for entry in entries {
        if entry.role == EntryRole::Untagged && content(entry).any(|id| listed.contains(&id)) {
            entry.role = EntryRole::Saved;
        }
    }
}

/// Blobs by algorithm and the first 64 digits of their digest, for tags with shortened digests.
type CutDigests = HashMap<(String, String), Vec<BlobId>>;

/// Returns the subjects of a digest tag, present or not; `None` for any other name.
fn subjects_of(
    graph: &Graph,
    name: &EntryName,
    cut_digests: &mut Option<CutDigests>,
) -> Option<Vec<BlobId>> {
    let (_, tag) = split_name(&name.text);
    let tag = digest_tag(tag?)?;
    let digest = Digest::parse(&format!("{}:{}", tag.algorithm, tag.hex)).ok();
    let mut subjects: Vec<BlobId> = digest
        .and_then(|digest| graph.id(&digest))
        .into_iter()
        .collect();
    if tag.is_cut() {
        let known = cut_digests.get_or_insert_with(|| digests_longer_than(graph, tag.hex.len()));
        let key = (tag.algorithm.to_owned(), tag.hex.to_owned());
        subjects.extend(known.get(&key).into_iter().flatten());
    }
    (tag.has_known_algorithm() || !subjects.is_empty()).then_some(subjects)
}

/// Returns the digests with more than `digits` hexadecimal digits, by their first digits. It is computed once for all entries: a
/// search for each tag would be quadratic.
fn digests_longer_than(graph: &Graph, digits: usize) -> CutDigests {
    let mut known = CutDigests::new();
    for id in graph.ids() {
        let digest = graph.digest(id);
        if matches!(digest, Digest::Sha256(_)) {
            continue;
        }
        let encoded = digest.encoded();
        if let Some(start) = encoded.get(..digits)
            && encoded.len() > digits
        {
            let key = (digest.algorithm_name().to_owned(), start.to_owned());
            known.entry(key).or_default().push(id);
        }
    }
    known
}

/// Returns `true` if the `kind` of an entry marks it as the signature, attestation or SBOM of the image whose name it has.
pub(super) fn is_kind_referrer(details: &Details) -> bool {
    details
        .annotations
        .get("kind")
        .is_some_and(is_referrer_kind)
}

/// `dev.cosignproject.cosign/sigs`, `dev.hauler/atts`, `dev.hauler/referrers/<hex>` and the like.
fn is_referrer_kind(kind: &str) -> bool {
    let kind = kind.split_once('/').map_or(kind, |(_, kind)| kind);
    let singular = kind.strip_suffix('s').unwrap_or(kind);
    let kinds = ["sig", "signature", "att", "attestation", "sbom"];
    kinds.contains(&singular) || kind.starts_with("referrers/")
}
