//! Images that are not judged separately: they follow the image that they are a part or a referrer of.

use std::collections::{BTreeSet, HashSet};

use crate::graph::{RootSource, reached_by};
use crate::layout::BlobId;
use crate::model::entries::{EntryFacts, EntryRole};
use crate::model::images::Image;
use crate::model::snapshot::Snapshot;
use crate::oci::Role;

use super::{has_names, is_name};

/// Returns the images that are parts or referrers of others and follow them. An image with its own hold does not.
pub(super) fn followers(
    snapshot: &Snapshot,
    images: &[Image],
    entries: &[EntryFacts],
    dangling: &BTreeSet<usize>,
) -> BTreeSet<BlobId> {
    let has_names = has_names(entries);
    let listed: BTreeSet<BlobId> = images.iter().map(|image| image.id).collect();
    let below = below(snapshot, images);
    // A named or held image also keeps its subject, listed or not, with everything that belongs to that.
    let anchors = images.iter().filter(|image| {
        let mut own = image.own_entries(entries);
        !image.holds.is_empty() || own.any(|entry| is_name(entry.role))
    });
    // So does a blob that a hold or another file references without an entry.
    let others = snapshot.graph.roots().iter().filter(|root| {
        !matches!(
            root.source,
            RootSource::Entry(_) | RootSource::InsideEntry(_)
        )
    });
    let others = others.filter_map(|root| root.id());
    let anchored = snapshot
        .graph
        .reach(anchors.map(|image| image.id).chain(others));
    let named: BTreeSet<&str> = entries
        .iter()
        .filter(|entry| entry.role == EntryRole::Named && entry.id.is_some())
        .flat_map(|entry| entry.name_texts())
        .collect();
    let follows = |image: &Image, entry: &EntryFacts| {
        let is_about_another = || {
            let mut subjects = entry.about.iter().filter(|id| **id != image.id);
            subjects.any(|id| listed.contains(id) || below.contains(id) || anchored.contains(*id))
        };
        match entry.role {
            EntryRole::Named | EntryRole::Saved => false,
            EntryRole::DigestTag => {
                is_about_another() || below.contains(&image.id) || anchored.contains(image.id)
            }
            EntryRole::KindReferrer => entry.name_texts().any(|name| named.contains(name)),
            EntryRole::Untagged if has_names => !dangling.contains(&entry.position),
            // Images that a hold or another file keeps follow as well; otherwise a run that removes the last name would
            // leave something for the next one.
            EntryRole::Untagged => {
                below.contains(&image.id) || is_about_another() || anchored.contains(image.id)
            }
        }
    };
    images
        .iter()
        .filter(|image| {
            let mut own = image.own_entries(entries);
            image.holds.is_empty() && own.all(|entry| follows(image, entry))
        })
        .map(|image| image.id)
        .collect()
}

/// Returns the content of images, themselves excluded, and its referrers.
fn below(snapshot: &Snapshot, images: &[Image]) -> HashSet<BlobId> {
    let mut below = HashSet::new();
    for image in images {
        let found = reached_by(vec![image.id], |id| {
            let edges = snapshot.graph.edges(id).iter();
            let content = edges.filter(|edge| edge.role != Role::Subject);
            let referrers = snapshot.graph.referrers(id).iter().copied();
            content.map(|edge| edge.to).chain(referrers)
        });
        below.extend(found.into_iter().filter(|id| *id != image.id));
    }
    below
}
