//! Labels of roots and descriptions of references and blobs, as users see them.

use std::collections::{HashMap, HashSet};

use super::{Edge, Graph, Root, RootSource};
use crate::layout::{BlobId, SecondIndex, State};
use crate::oci::{Kind, REFERENCE_TYPE, Role, Shape, entry_names};

/// Returns `true` if a child of an index is an attestation of another child.
#[must_use]
pub fn is_attestation(edge: &Edge) -> bool {
    let details = edge.details.as_ref();
    details.is_some_and(|details| {
        details.annotations.get(REFERENCE_TYPE).map(AsRef::as_ref) == Some("attestation-manifest")
    })
}

/// Returns the kind of a blob as one word: by its content, else as its descriptor declares.
#[must_use]
pub fn kind_of(graph: &Graph, id: BlobId, declared: Kind) -> &'static str {
    match graph.node(id).map(|node| node.shape) {
        Some(Shape::Index) => "index",
        Some(Shape::Manifest) => "manifest",
        Some(Shape::Other) => "document",
        None => match declared {
            Kind::Index => "index",
            Kind::Manifest => "manifest",
            Kind::Config => "config",
            Kind::Layer => "layer",
            Kind::Unknown => "blob",
        },
    }
}

impl Graph {
    /// Returns the label of a root: its first name, else its short ID, else its position.
    #[must_use]
    pub fn root_label(&self, state: &State, root: &Root) -> String {
        match root.source {
            RootSource::Entry(position) | RootSource::InsideEntry(position) => {
                let entry = state.index.entries().get(position);
                let name = entry
                    .and_then(|entry| entry_names(&state.index.details(entry)).into_iter().next());
                // A further descriptor in an entry does not get its label.
                match (name, entry.map(|entry| &entry.digest)) {
                    (Some(name), _) => name.text.into(),
                    (None, Some(Ok(digest))) => digest.short(),
                    (None, _) => format!("@{position}"),
                }
            }
            RootSource::IndexField => "index.json".to_owned(),
            RootSource::Hold(position) => {
                let hold = state.holds.holds.get(position);
                format!("hold {}", hold.map_or("", |hold| hold.name.as_str()))
            }
            RootSource::DockerSave(position) => {
                let save = state.docker_save.as_ref();
                let element = save.and_then(|save| save.elements.get(position));
                match element.and_then(|element| element.repo_tags.first()) {
                    Some(tag) => format!("manifest.json {tag}"),
                    None => "manifest.json".to_owned(),
                }
            }
            RootSource::SecondIndex(position) => {
                let index = state.second_indexes.get(position);
                index.map_or_else(String::new, SecondIndex::label)
            }
        }
    }

    /// Returns the labels of roots, each once. A short ID is the label of an entry without a name, and is omitted beside a name
    /// of the same image.
    pub(super) fn root_labels<'a>(
        &self,
        state: &State,
        roots: impl Iterator<Item = &'a Root>,
    ) -> Vec<String> {
        let labels: Vec<(Option<BlobId>, String)> = roots
            .map(|root| {
                let target = root.id();
                (target, self.root_label(state, root))
            })
            .collect();
        let is_id = |target: BlobId, label: &str| label == self.digest(target).short();
        let named: HashSet<BlobId> = labels
            .iter()
            .filter_map(|(target, label)| target.filter(|target| !is_id(*target, label)))
            .collect();
        let mut seen = HashSet::new();
        labels
            .into_iter()
            .filter(|(target, label)| {
                target.is_none_or(|target| !named.contains(&target) || !is_id(target, label))
            })
            .map(|(_, label)| label)
            .filter(|label| seen.insert(label.clone()))
            .collect()
    }

    /// Describes each reference of a document.
    pub(crate) fn describe_edges(&self, edges: &[Edge]) -> Vec<String> {
        let numbered = edges.iter().zip(numbers(edges));
        numbered
            .map(|(edge, number)| self.describe_edge(edge, number))
            .collect()
    }

    /// Describes a reference; `number` is its position among the references with the same role (1-based), and their number.
    pub(super) fn describe_edge(&self, edge: &Edge, number: (usize, usize)) -> String {
        let numbered = |noun: &str| format!("{noun} {}/{}", number.0, number.1);
        match edge.role {
            Role::Child if is_attestation(edge) => "attestation".to_owned(),
            Role::Child => {
                let details = edge.details.as_deref();
                if let Some(platform) = details.and_then(|details| details.platform.as_ref())
                    && !platform.os.is_empty()
                    && platform.os != "unknown"
                {
                    let mut text = format!("{}/{}", platform.os, platform.architecture);
                    if let Some(variant) = &platform.variant {
                        text.push('/');
                        text.push_str(variant);
                    }
                    return text;
                }
                if edge.kind == Kind::Layer {
                    "layer".to_owned()
                } else {
                    kind_of(self, edge.to, Kind::Unknown).to_owned()
                }
            }
            Role::Config => "config".to_owned(),
            Role::Layer => numbered("layer"),
            Role::Blob => numbered("blob"),
            Role::Subject => "subject".to_owned(),
            Role::Annotation => "annotation".to_owned(),
            Role::Other => "descriptor".to_owned(),
        }
    }
}

/// Returns for each reference its position among the references with the same role (1-based), and their number.
pub(super) fn numbers(edges: &[Edge]) -> Vec<(usize, usize)> {
    let mut totals: HashMap<Role, usize> = HashMap::new();
    let positions: Vec<usize> = edges
        .iter()
        .map(|edge| {
            let total = totals.entry(edge.role).or_default();
            *total += 1;
            *total
        })
        .collect();
    let total = |edge: &Edge| totals.get(&edge.role).copied().unwrap_or_default();
    let numbered = edges.iter().zip(positions);
    numbered
        .map(|(edge, position)| (position, total(edge)))
        .collect()
}
