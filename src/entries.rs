//! The entries of `index.json` with what they are called and what they are about.

use std::collections::HashSet;

use crate::graph::{EntryName, Graph, entry_names, split_name};
use crate::images::content_of;
use crate::layout::BlobId;
use crate::oci::docker_save::DockerSave;
use crate::oci::document::Details;
use crate::oci::reference::digest_tag;
use crate::oci::{Digest, Role};
use crate::view::View;

/// The annotation that ties an entry to the image it is about (docker save, ctr export).
pub const CONTAINERD_SUBJECT: &str = "io.containerd.manifest.subject";

/// The annotation of BuildKit's attestation manifests that tells them apart.
pub const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// The annotation that names the platform manifest which an attestation belongs to.
pub const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// One entry of `index.json`.
#[derive(Debug, Clone)]
pub struct EntryFacts {
    /// Its position.
    pub position: usize,
    /// The blob; `None` if its digest is invalid.
    pub id: Option<BlobId>,
    /// Its names.
    pub names: Vec<EntryName>,
    /// What it is a referrer of.
    pub about: Vec<BlobId>,
    /// What its name says of it.
    pub role: EntryRole,
    /// More of the entry.
    pub details: Details,
}

/// What a name says of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryRole {
    /// Somebody gave it a name.
    Named,
    /// Its name only tells what it is about: `sha256-<hex>` or `sha256-<hex>.sig`.
    DigestTag,
    /// It shares the name of an image, and its `kind` says signature, attestation or SBOM (cosign,
    /// hauler).
    KindReferrer,
    /// It has no name in `index.json`; docker save's own list names its content.
    Saved,
    /// It has no name.
    Untagged,
}

impl EntryRole {
    /// Says whether `index.json` gives it no name.
    pub(crate) const fn is_nameless(self) -> bool {
        matches!(self, Self::Saved | Self::Untagged)
    }
}

/// Returns the entries in the order of `index.json`.
#[must_use]
pub fn entries(view: &View) -> Vec<EntryFacts> {
    let View { state, graph, .. } = view;
    let mut entries: Vec<EntryFacts> = state
        .index
        .entries()
        .iter()
        .enumerate()
        .map(|(position, entry)| {
            let details = state.index.details(entry);
            let names = entry_names(&details);
            let id = entry
                .digest
                .as_ref()
                .ok()
                .and_then(|digest| graph.id(digest));
            let mut about: Vec<BlobId> = [CONTAINERD_SUBJECT, REFERENCE_DIGEST]
                .into_iter()
                .filter_map(|key| details.annotations.get(key))
                .filter_map(|text| Digest::parse(text).ok())
                .filter_map(|digest| graph.id(&digest))
                .collect();
            let node = id.and_then(|id| graph.node(id));
            about.extend(
                node.iter()
                    .flat_map(|node| &node.edges)
                    .filter(|edge| edge.role == Role::Subject)
                    .map(|edge| edge.to),
            );
            let tagged: Vec<Digest> = names.iter().filter_map(subject_of).collect();
            let role = if names.is_empty() {
                EntryRole::Untagged
            } else if tagged.len() == names.len() {
                EntryRole::DigestTag
            } else if details
                .annotations
                .get("kind")
                .is_some_and(|kind| is_referrer_kind(kind))
            {
                EntryRole::KindReferrer
            } else {
                EntryRole::Named
            };
            about.extend(tagged.iter().filter_map(|digest| graph.id(digest)));
            EntryFacts {
                position,
                id,
                names,
                about,
                role,
                details,
            }
        })
        .collect();
    if let Some(save) = &state.docker_save {
        mark_saved(graph, save, &mut entries);
    }
    entries
}

/// Finds the entries without a name that docker save's own list names. What `index.json` names as well is named
/// there: an untagged index over it is as dangling as any.
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

/// Returns what a digest tag is about.
fn subject_of(name: &EntryName) -> Option<Digest> {
    let (_, tag) = split_name(&name.text);
    let tag = digest_tag(tag?)?;
    if tag.is_cut() {
        return None;
    }
    Digest::parse(&format!("{}:{}", tag.algorithm, tag.hex)).ok()
}

/// `dev.cosignproject.cosign/sigs`, `dev.hauler/atts`, `dev.hauler/referrers/<hex>` and the like.
fn is_referrer_kind(kind: &str) -> bool {
    let (_, what) = kind.split_once('/').unwrap_or(("", kind));
    matches!(
        what,
        "sig" | "sigs" | "att" | "atts" | "attestation" | "attestations" | "sbom" | "sboms"
    ) || what == "signature"
        || what == "signatures"
        || what.starts_with("referrers/")
}
