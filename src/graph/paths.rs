//! How a root reaches a blob, in words.

use std::collections::HashMap;

use super::{Edge, Graph, Node, Root, RootSource};
use crate::graph::is_attestation;
use crate::layout::{BlobId, SecondIndex, State};
use crate::oci::entry_names;
use crate::oci::{Kind, Role, Shape};

impl Graph {
    /// Returns how a root is called: its first name, else its short ID, else its place.
    #[must_use]
    pub fn root_label(&self, state: &State, root: &Root) -> String {
        match root.source {
            RootSource::Entry(position) | RootSource::InsideEntry(position) => {
                let entry = state.index.entries().get(position);
                let name = entry
                    .and_then(|entry| entry_names(&state.index.details(entry)).into_iter().next());
                // What else stands in an entry is no label of it.
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
                let tag = save
                    .and_then(|save| save.elements.get(position))
                    .and_then(|element| element.repo_tags.first());
                match tag {
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

    /// Says of everything that a document refers to what it is there, in one go.
    pub(crate) fn parts_in_words(&self, node: &Node) -> Vec<String> {
        let edges = node.edges.iter().zip(numbers(node));
        edges
            .map(|(edge, number)| self.edge_in_words(edge, number))
            .collect()
    }

    /// Says what a reference is; `number`: the how manyth of its role it is, and how many there are.
    pub(super) fn edge_in_words(&self, edge: &Edge, number: (usize, usize)) -> String {
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
                    self.what(edge.to).to_owned()
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

    /// Says what a blob is, by its content.
    pub(super) fn what(&self, id: BlobId) -> &'static str {
        match self.node(id).map(|node| node.shape) {
            Some(Shape::Index) => "index",
            Some(Shape::Manifest) => "manifest",
            Some(Shape::Other) => "document",
            None => "blob",
        }
    }
}

/// Returns for each reference of a document the how manyth of its role it is, and how many there are.
pub(super) fn numbers(node: &Node) -> Vec<(usize, usize)> {
    let mut totals: HashMap<Role, usize> = HashMap::new();
    let firsts: Vec<usize> = node
        .edges
        .iter()
        .map(|edge| {
            let total = totals.entry(edge.role).or_default();
            *total += 1;
            *total
        })
        .collect();
    let total = |edge: &Edge| totals.get(&edge.role).copied().unwrap_or_default();
    node.edges
        .iter()
        .zip(firsts)
        .map(|(edge, number)| (number, total(edge)))
        .collect()
}
