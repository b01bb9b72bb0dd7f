//! `why`: resolves an argument to a blob or image, and finds what references each of its blobs.
//!
//! The paths from the roots to a blob are [`ReferencePaths`](crate::graph::ReferencePaths); what a sweep would do with it is
//! in a [`Plan`](crate::plan::Plan).

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::Result;
use crate::graph::kind_of;
use crate::graph::reachability::Reachability;
use crate::graph::{BlobSet, RootSource};
use crate::layout::BlobId;
use crate::model::entries::{EntryFacts, list_entries};
use crate::model::images::{Image, ImageInspector};
use crate::model::snapshot::Snapshot;
use crate::oci::digest::is_hex;
use crate::oci::{Algorithm, Kind, Role};
use crate::plan::{Alone, Force, Pick, SelectError, Selector, whole_digest};

/// The minimum number of hex digits in a prefix of a digest.
const MIN_PREFIX: usize = 3;

/// The maximum number of candidates in an error.
const MAX_CANDIDATES: usize = 10;

/// The maximum length of a document's description, in bytes, that is repeated in those of its parts.
const MAX_WORDS_BYTES: usize = 100;

/// Why an argument selects no blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// No blob and no reference has such a digest.
    #[error("cannot find {text}: no blob and no reference has such a digest")]
    NotHere {
        /// The argument.
        text: String,
    },
    /// Several digests have this prefix.
    #[error("ambiguous blob `{text}`: it could be {}{}", candidates.join(", "), and_more(*more))]
    Ambiguous {
        /// The argument.
        text: String,
        /// Digests, at most ten.
        candidates: Vec<String>,
        /// The number of further ones.
        more: usize,
    },
    /// An entry of `index.json` without a valid digest.
    #[error("cannot explain `{text}`: it names no blob")]
    NoBlob {
        /// The argument.
        text: String,
    },
    /// It is neither a digest nor an image.
    #[error(transparent)]
    Image(#[from] SelectError),
}

fn and_more(more: usize) -> String {
    match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

/// Returns the blobs that an argument selects: an image by name, else any blob by digest or by a prefix
/// of one, else what `rm` would select. A pattern may select several.
///
/// # Errors
/// [`FindError`].
pub fn find(
    snapshot: &Snapshot,
    entries: &[EntryFacts],
    text: &str,
) -> Result<Vec<BlobId>, FindError> {
    let selector = Selector::new(snapshot, entries, Force::No);
    if let Some(picked) = selector.pick_name(text) {
        return blobs_of(picked?, text);
    }
    let graph = &snapshot.graph;
    let is_known = |id: BlobId| graph.is_present(id) || graph.is_rooted(id);
    let not_here = || FindError::NotHere {
        text: text.to_owned(),
    };
    // `name:tag` reads like a digest of an unknown algorithm.
    if let Some(digest) = whole_digest(text)
        && (digest.algorithm().is_some() || graph.id(&digest).is_some())
    {
        let id = graph.id(&digest).filter(|id| is_known(*id));
        return id.map(|id| vec![id]).ok_or_else(not_here);
    }
    let Some((algorithm, hex)) = prefix_of(text) else {
        return blobs_of(selector.pick(text)?, text);
    };
    let found: Vec<BlobId> = graph
        .ids()
        .filter(|id| {
            let digest = graph.digest(*id);
            algorithm.is_none_or(|algorithm| digest.algorithm() == Some(algorithm))
                && digest.encoded().starts_with(hex)
                && is_known(*id)
        })
        .collect();
    match found.as_slice() {
        [] => Err(not_here()),
        [id] => Ok(vec![*id]),
        several => {
            let digests = several.iter().map(|id| graph.digest(*id).to_string());
            let mut candidates: Vec<String> = digests.collect();
            candidates.sort();
            let more = candidates.len().saturating_sub(MAX_CANDIDATES);
            candidates.truncate(MAX_CANDIDATES);
            Err(FindError::Ambiguous {
                text: text.to_owned(),
                candidates,
                more,
            })
        }
    }
}

fn blobs_of(pick: Pick, text: &str) -> Result<Vec<BlobId>, FindError> {
    let mut ids: Vec<BlobId> = pick.names.into_keys().chain(pick.images).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Err(FindError::NoBlob {
            text: text.to_owned(),
        });
    }
    Ok(ids)
}

/// Parses a prefix of a digest, with or without its algorithm.
fn prefix_of(text: &str) -> Option<(Option<Algorithm>, &str)> {
    let (algorithm, hex) = match text.split_once(':') {
        Some((name, hex)) => (Some(Algorithm::from_name(name)?), hex),
        None => (None, text),
    };
    (hex.len() >= MIN_PREFIX && hex.bytes().all(is_hex)).then_some((algorithm, hex))
}

/// A blob of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The blob.
    pub id: BlobId,
    /// Its role in the image: `manifest`, `linux/arm64 layer 2/3`.
    pub what: String,
    /// Its length in bytes; `None` if it is absent.
    pub len: Option<u64>,
    /// Other references to it: names of images, `hold NAME`, `manifest.json`. Empty if it is unique.
    pub shared_with: Arc<[String]>,
}

/// Returns the blobs of an image, each once, in the order of its documents, with what else
/// references them. Its subject and its referrers are other images.
///
/// # Errors
/// [`Error::Read`](crate::Error::Read) if it is unknown whether a blob is present.
pub fn parts(snapshot: &Snapshot, image: &Image) -> Result<Vec<Part>> {
    let graph = &snapshot.graph;
    let mut images = ImageInspector::new(snapshot);
    let mut seen = HashSet::from([image.id]);
    let kind = kind_of(graph, image.id, Kind::of(&image.media_type));
    let mut queue = vec![(image.id, kind.to_owned())];
    let mut parts = Vec::new();
    while let Some((id, what)) = queue.pop() {
        let before = queue.len();
        if let Some(node) = graph.node(id) {
            for (edge, own) in node.edges.iter().zip(graph.describe_edges(&node.edges)) {
                if edge.role != Role::Subject && seen.insert(edge.to) {
                    queue.push((edge.to, part_in_words(image, id, &what, own)));
                }
            }
        }
        // The order of the document: the last one pushed comes first.
        if let Some(pushed) = queue.get_mut(before..) {
            pushed.reverse();
        }
        parts.push(Part {
            id,
            what,
            len: images.len(id),
            shared_with: [].into(),
        });
    }
    images.take_error()?;
    let wanted: BlobSet = parts.iter().map(|part| part.id).collect();
    let reachability = Reachability::of(&snapshot.graph, &snapshot.state, &wanted);
    let entries = list_entries(snapshot);
    let (own, along) = Alone::of(snapshot, &entries).removed(image);
    let mut others = reachability.labels(|source| is_other(&own, &along, source));
    for part in &mut parts {
        part.shared_with = others.of(part.id);
    }
    Ok(parts)
}

/// Returns the role of a blob in an image, from those of its document and of the blob in its document.
fn part_in_words(image: &Image, parent: BlobId, what: &str, own: String) -> String {
    if parent == image.id {
        own
    } else if what.len() > MAX_WORDS_BYTES {
        // Real images are not nested this deeply; a forged one must not fill the memory.
        format!("… {own}")
    } else {
        format!("{what} {own}")
    }
}

/// Returns `true` for a root other than the entries and elements of docker save that are removed with an image.
fn is_other(own: &HashSet<usize>, along: &HashSet<usize>, source: RootSource) -> bool {
    match source {
        RootSource::Entry(position) | RootSource::InsideEntry(position) => !own.contains(&position),
        RootSource::DockerSave(position) => !along.contains(&position),
        RootSource::IndexField | RootSource::Hold(_) | RootSource::SecondIndex(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_prefixes_of_digests() {
        for (text, want) in [
            ("abc", Some((None, "abc"))),
            ("0123456789abcdef", Some((None, "0123456789abcdef"))),
            ("sha256:abc", Some((Some(Algorithm::Sha256), "abc"))),
            ("sha512:abc", Some((Some(Algorithm::Sha512), "abc"))),
            ("ab", None),
            ("ABC", None),
            ("abg", None),
            ("app:abc", None),
            ("sha256:", None),
            ("", None),
        ] {
            assert_eq!(prefix_of(text), want, "{text}");
        }
    }
}
