//! What one blob or reference is, in the words that people see.

use super::{Edge, Graph};
use crate::layout::BlobId;
use crate::oci::descriptor::Details;
use crate::oci::{Kind, REFERENCE_TYPE, Shape};

/// Returns `true` if a child of an index is an attestation of another child.
#[must_use]
pub fn is_attestation(edge: &Edge) -> bool {
    edge.details
        .as_ref()
        .is_some_and(|details| is_attestation_details(details))
}

fn is_attestation_details(details: &Details) -> bool {
    details.annotations.get(REFERENCE_TYPE).map(AsRef::as_ref) == Some("attestation-manifest")
}

/// Returns the kind of an image in one word, for people and JSON.
#[must_use]
pub fn kind_of(graph: &Graph, id: BlobId, promised: Kind) -> &'static str {
    match graph.node(id).map(|node| node.shape) {
        Some(Shape::Index) => "index",
        Some(Shape::Manifest) => "manifest",
        Some(Shape::Other) => "document",
        None => match promised {
            Kind::Index => "index",
            Kind::Manifest => "manifest",
            Kind::Config => "config",
            Kind::Layer => "layer",
            Kind::Unknown => "blob",
        },
    }
}
