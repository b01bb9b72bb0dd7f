//! Companion tags: names that another tool derives from a name beside them.
//!
//! `ctr-remote image convert --estargz-external-toc` writes the tables of contents of `app:1` as the image `app:1-esgztoc`, which the
//! lazy-pulling snapshotter reads. Acceleration services write converted images as `app:1-nydus` with the digest of the original
//! in an annotation. The companion is useless without its owner.
//!
//! *Promise*: the relation is certain. The tag is another tag with a suffix, and either the suffix is known, or the image has
//! the digest or the name of the other one in an annotation. An image that is only built on another one is not a companion.

use std::collections::{HashMap, HashSet};

use crate::graph::Graph;
use crate::layout::BlobId;
use crate::model::entries::{EntryFacts, EntryRole};
use crate::model::snapshot::Snapshot;
use crate::oci::REFERENCE_DIGEST;
use crate::oci::reference::Reference;
use crate::oci::{BASE_NAME, CONTAINERD_NAME, REF_NAME, split_name};
use crate::oci::{Digest, Role};

/// Suffixes that a tool writes only for this relation.
const KNOWN_SUFFIXES: [&str; 1] = ["-esgztoc"];

/// The characters that a suffix begins with.
const SEPARATORS: [char; 2] = ['-', '_'];

/// The prefix of annotations that name the base of an image, which is an independent image.
const BASE_KEYS: &str = "org.opencontainers.image.base.";

/// A name that was derived from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Companion<'a> {
    /// The position of its entry.
    pub(crate) entry: usize,
    /// The name.
    pub(crate) name: &'a str,
    /// The image whose name it was derived from.
    pub(crate) owner: BlobId,
    /// That name.
    pub(crate) owner_name: &'a str,
}

/// The images of a repository by tag, with the name as written.
type Tags<'a> = HashMap<&'a str, Vec<(BlobId, &'a str)>>;

/// Returns the companions among the entries, in the order of `index.json`; one for each image that has the other name.
pub(crate) fn companions<'a>(snapshot: &Snapshot, entries: &'a [EntryFacts]) -> Vec<Companion<'a>> {
    let named = || {
        entries
            .iter()
            .filter(|entry| matches!(entry.role, EntryRole::Named | EntryRole::Saved))
            .flat_map(|entry| entry.names.iter().map(move |name| (entry, &*name.text)))
    };
    // Usually there is no such tag, and nothing has to be compared.
    let has_suffix = |(_, name): (_, &str)| {
        let (_, tag) = split_name(name);
        tag.is_some_and(|tag| tag.contains(SEPARATORS))
    };
    if !named().any(has_suffix) {
        return Vec::new();
    }
    let mut repositories: HashMap<Option<String>, Tags<'a>> = HashMap::new();
    for (entry, name) in named() {
        if let (Some((repository, tag)), Some(id)) = (parts(name), entry.id) {
            let tags = repositories.entry(repository).or_default();
            let images = tags.entry(tag).or_default();
            if images.last().is_none_or(|(last, _)| *last != id) {
                images.push((id, name));
            }
        }
    }
    let mut found = Vec::new();
    let mut carried: HashMap<BlobId, Vec<BlobId>> = HashMap::new();
    for (entry, name) in named() {
        let Some((repository, tag)) = parts(name) else {
            continue;
        };
        let Some(tags) = repositories.get(&repository) else {
            continue;
        };
        // It was derived from the longest matching tag.
        for (end, _) in tag.rmatch_indices(SEPARATORS) {
            let (Some(stem), Some(suffix)) = (tag.get(..end), tag.get(end..)) else {
                continue;
            };
            let owners = tags.get(stem).into_iter().flatten();
            let before = found.len();
            for &(owner, owner_name) in owners {
                if KNOWN_SUFFIXES.contains(&suffix)
                    || carries(&snapshot.graph, &mut carried, entry, owner, owner_name)
                {
                    found.push(Companion {
                        entry: entry.position,
                        name,
                        owner,
                        owner_name,
                    });
                }
            }
            if found.len() > before {
                break;
            }
        }
    }
    found
}

/// Splits a name into its repository with docker's defaults, `None` for a bare tag, and its tag.
fn parts(name: &str) -> Option<(Option<String>, &str)> {
    let (repository, tag) = split_name(name);
    let repository = repository.map(|repository| {
        Reference::parse_normalized(repository).map_or_else(
            |_| repository.to_owned(),
            |reference| reference.canonical_name(),
        )
    });
    Some((repository, tag?))
}

/// Returns `true` if an entry or its document has the digest or the name of another image.
fn carries(
    graph: &Graph,
    carried: &mut HashMap<BlobId, Vec<BlobId>>,
    entry: &EntryFacts,
    owner: BlobId,
    owner_name: &str,
) -> bool {
    let Some(id) = entry.id.filter(|id| *id != owner) else {
        return false;
    };
    let annotations = entry.details.annotations.iter().filter(|(key, _)| {
        let names_itself = [CONTAINERD_NAME, REF_NAME, BASE_NAME].contains(key);
        !names_itself && *key != REFERENCE_DIGEST && !key.starts_with(BASE_KEYS)
    });
    let mut ids: Vec<BlobId> = entry.about.clone();
    for (_, value) in annotations {
        if value == owner_name {
            return true;
        }
        ids.extend(
            Digest::parse(value)
                .ok()
                .and_then(|digest| graph.id(&digest)),
        );
    }
    let of_document = carried
        .entry(id)
        .or_insert_with(|| carried_by_document(graph, id));
    ids.extend(of_document.iter());
    if ids.is_empty() {
        return false;
    }
    let ids: HashSet<BlobId> = ids.into_iter().collect();
    ids.contains(&owner) || children(graph, owner).any(|child| ids.contains(&child))
}

/// Returns the blobs that a document names in annotations or as its subject, and those that its children name.
fn carried_by_document(graph: &Graph, id: BlobId) -> Vec<BlobId> {
    std::iter::once(id)
        .chain(children(graph, id))
        .flat_map(|document| graph.edges(document))
        .filter(|edge| matches!(edge.role, Role::Annotation | Role::Subject))
        .map(|edge| edge.to)
        .collect()
}

fn children(graph: &Graph, id: BlobId) -> impl Iterator<Item = BlobId> {
    let edges = graph.edges(id).iter();
    edges
        .filter(|edge| edge.role == Role::Child)
        .map(|edge| edge.to)
}
