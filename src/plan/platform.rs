//! `rm --platform`: which children of an index go, and what the image is afterwards.
//!
//! docker deletes every blob that the dropped manifest lists and tears shared layers out of other
//! platforms and other images that way. Here only the references change, and what goes is found by
//! reachability afterwards.

mod rewrite;

use std::collections::BTreeSet;

use crate::entries::{EntryFacts, REFERENCE_DIGEST};
use crate::error::{Error, Result};
use crate::graph::{Edge, Graph};
use crate::images::{Image, Images, content_of, is_attestation};
use crate::layout::BlobId;
use crate::oci::platform::Platform;
use crate::oci::{Role, Shape};
use crate::sys::Fs;
use crate::view::View;

use super::remove::{Gone, Removal, RemoveOptions, SweepExtent, cascade, finish, holds_on};
use super::{Conflict, Force, Pick, SweepOptions};
use rewrite::rewrite;

/// How an image loses platforms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PlatformMode {
    /// A new index without them takes the place of the old one: every tool works afterwards, and the
    /// digest is another one.
    #[default]
    Rewrite,
    /// The index stays as it is, and the platforms' blobs go: the digest and its signatures stay
    /// valid, and tools that copy whole images fail.
    Sparse,
    /// As sparse, but only layers go: collectors that give up on missing manifests go on working.
    Hollow,
}

/// Which platforms go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformRequest {
    /// The platforms that were typed.
    pub wanted: Vec<Platform>,
    /// Whether they go, or all others.
    pub which: Which,
    /// How.
    pub mode: PlatformMode,
}

/// Whether the named platforms go, or all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The named ones go.
    These,
    /// The named ones stay.
    Others,
}

/// A child of an image that stands for a platform.
struct Child<'a> {
    id: BlobId,
    parent: BlobId,
    platform: Option<Platform>,
    edge: Option<&'a Edge>,
}

/// Plans to drop platforms from the picked images. What cannot be dropped is among the conflicts of
/// the result, and nothing of that image changes.
///
/// # Errors
/// As for [`remove`](super::remove()), and [`Error::Edit`] when an index cannot be rewritten.
#[expect(
    clippy::too_many_arguments,
    reason = "the same facts as `remove`, and the request"
)]
pub fn drop_platforms(
    view: &View,
    images: &[Image],
    entries: &[EntryFacts],
    picks: &[Pick],
    request: &PlatformRequest,
    options: &RemoveOptions,
    sweep_options: &SweepOptions,
    fs: &dyn Fs,
) -> Result<Removal> {
    let mut gone = Gone::default();
    let mut conflicts = Vec::new();
    for pick in &Pick::merged(picks) {
        match one(view, images, entries, pick, request, options, &mut gone) {
            Ok(()) => {}
            Err(Failed::Conflict(conflict)) => conflicts.push(conflict),
            Err(Failed::Error(error)) => return Err(error),
        }
    }
    let left_referrers = if gone.images.is_empty() && gone.superseded.is_empty() {
        Vec::new()
    } else {
        cascade(view, entries, options, &mut gone)
    };
    let mut removal = finish(
        view,
        &gone,
        options.missing,
        SweepExtent::Released,
        sweep_options,
        fs,
    )?;
    removal.left_referrers = left_referrers;
    removal.conflicts = conflicts;
    Ok(removal)
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Conflict(#[from] Conflict),
    #[error(transparent)]
    Error(#[from] Error),
}

/// Drops platforms from what one argument picked, or several of the same image.
fn one(
    view: &View,
    images: &[Image],
    entries: &[EntryFacts],
    pick: &Pick,
    request: &PlatformRequest,
    options: &RemoveOptions,
    gone: &mut Gone,
) -> Result<(), Failed> {
    let mut picked: Vec<&Image> = images
        .iter()
        .filter(|image| pick.images.contains(&image.id) || pick.names.contains_key(&image.id))
        .collect();
    picked.sort_by_key(|image| image.entries.first().copied());
    let mut cache = Images::new(view);
    // Where `index.json` itself is the image index (apko), its entries are the platforms: then
    // several images have one name, and those that match go.
    let mut of_image: Vec<(&Image, Vec<Child<'_>>)> = Vec::new();
    for image in picked {
        // Its platforms are unknown, which is not the same as having none.
        if let Some(why) = view.graph.damage(image.id) {
            return Err(Error::Malformed {
                path: view.layout.blob_path(&image.digest),
                why: why.to_owned(),
            }
            .into());
        }
        let details = entries
            .iter()
            .find(|entry| entry.id == Some(image.id))
            .and_then(|entry| entry.details.platform.as_ref());
        let children = children(
            view,
            &mut cache,
            image.id,
            details.map(crate::images::platform_of),
        );
        of_image.push((image, children));
    }
    cache.trouble()?;
    // What is missing already can be taken out of an index, but not be deleted.
    let eligible = |child: &&Child<'_>| {
        request.mode == PlatformMode::Rewrite || view.graph.is_present(child.id)
    };
    let available: BTreeSet<String> = of_image
        .iter()
        .flat_map(|(_, children)| children)
        .filter(eligible)
        .filter_map(|child| child.platform.as_ref())
        .map(ToString::to_string)
        .collect();
    let label = of_image
        .first()
        .map_or_else(String::new, |(image, _)| label(image, pick));
    for wanted in &request.wanted {
        let is_there = of_image
            .iter()
            .flat_map(|(_, children)| children)
            .filter(eligible)
            .any(|child| child.matches(wanted));
        if !is_there {
            return Err(Conflict::NoPlatform {
                platform: wanted.to_string(),
                image: label,
                available: available.into_iter().collect(),
            }
            .into());
        }
    }
    for (image, children) in &of_image {
        let (going, staying): (Vec<&Child<'_>>, Vec<&Child<'_>>) =
            children.iter().partition(|child| request.drops(child));
        if going.is_empty() {
            continue;
        }
        let names_left = names_left(image, pick);
        if !names_left.is_empty() && options.force == Force::No {
            return Err(Conflict::SharedVariant {
                image: label,
                names: names_left,
            }
            .into());
        }
        let part = Part::of(view, image, &going);
        let mut holds = holds_on(view, image.id);
        if !staying.is_empty() {
            // A hold on a platform that stays, stays as well.
            holds.retain(|(position, _)| part.touches(view, *position));
        }
        if let Some((_, hold)) = holds.first() {
            return Err(Conflict::Held {
                can_be_forced: false,
                what: label,
                hold: hold.clone(),
                id: image.digest.short(),
            }
            .into());
        }
        if staying.is_empty() {
            if options.force == Force::No {
                return Err(Conflict::LastPlatform {
                    what: label,
                    id: image.digest.short(),
                }
                .into());
            }
            whole(image, gone);
        } else {
            match request.mode {
                PlatformMode::Rewrite => rewrite(view, entries, image, &part, options, gone)?,
                PlatformMode::Sparse => sparse(view, entries, image, &part, &going, gone),
                PlatformMode::Hollow => hollow(view, entries, image, &part, &going, gone),
            }
        }
    }
    Ok(())
}

impl Child<'_> {
    fn matches(&self, wanted: &Platform) -> bool {
        self.platform
            .as_ref()
            .is_some_and(|platform| platform.matches_strict(wanted))
    }
}

impl PlatformRequest {
    /// Says whether a child goes. What has no platform is nobody's to drop.
    fn drops(&self, child: &Child<'_>) -> bool {
        let is_named = self.wanted.iter().any(|wanted| child.matches(wanted));
        match self.which {
            Which::These => is_named,
            Which::Others => child.platform.is_some() && !is_named,
        }
    }
}

/// Returns how an image was picked: the name that was typed, or its short ID.
fn label(image: &Image, pick: &Pick) -> String {
    pick.names
        .get(&image.id)
        .and_then(|names| names.first())
        .map_or_else(|| image.digest.short(), |name| name.to_string())
}

/// Returns the names that were not picked, but stand for the same image.
fn names_left(image: &Image, pick: &Pick) -> Vec<String> {
    let picked = pick.names.get(&image.id);
    let all: Vec<String> = image
        .names
        .iter()
        .map(|name| name.text.to_string())
        .collect();
    match picked {
        // By ID: one name is meant as well, of several nobody knows which.
        None if all.len() <= 1 => Vec::new(),
        None => all,
        Some(picked) => all
            .into_iter()
            .filter(|name| !picked.contains(name.as_str()))
            .collect(),
    }
}

/// Finds the children of an image that are or could be platforms, in nested indexes too: everything
/// but attestations and indexes. An image that is one manifest is its own only child.
fn children<'a>(
    view: &'a View,
    cache: &mut Images<'a>,
    image: BlobId,
    of_entry: Option<Platform>,
) -> Vec<Child<'a>> {
    let graph = &view.graph;
    if graph
        .node(image)
        .is_none_or(|node| node.shape != Shape::Index)
    {
        let platform = of_entry
            .filter(|platform| !platform.os.is_empty())
            .or_else(|| cache.platform(image, None));
        return vec![Child {
            id: image,
            parent: image,
            platform,
            edge: None,
        }];
    }
    let mut found = Vec::new();
    for (parent, edge) in listed(graph, image) {
        let is_index = graph
            .node(edge.to)
            .is_some_and(|node| node.shape == Shape::Index);
        if is_index || is_attestation(edge) {
            continue;
        }
        let platform = cache
            .platform(edge.to, Some(edge))
            .filter(|platform| platform.os != "unknown");
        found.push(Child {
            id: edge.to,
            parent,
            platform,
            edge: Some(edge),
        });
    }
    found
}

/// Returns everything that an image's indexes list, with the index that lists it.
fn listed(graph: &Graph, image: BlobId) -> Vec<(BlobId, &Edge)> {
    let mut seen = BTreeSet::from([image]);
    let mut queue = vec![image];
    let mut found = Vec::new();
    while let Some(index) = queue.pop() {
        let edges = graph.node(index).map_or(&[][..], |node| &node.edges);
        for edge in edges.iter().filter(|edge| edge.role == Role::Child) {
            found.push((index, edge));
            let is_index = graph
                .node(edge.to)
                .is_some_and(|node| node.shape == Shape::Index);
            if is_index && seen.insert(edge.to) {
                queue.push(edge.to);
            }
        }
    }
    found
}

/// What leaves an index: platforms, and what belongs to them.
struct Part {
    ids: BTreeSet<BlobId>,
    /// In the order of the index: each platform, then what belongs to it.
    order: Vec<BlobId>,
    edges: BTreeSet<(BlobId, BlobId)>,
}

impl Part {
    /// Adds attestations, and other children that are about a platform which goes.
    fn of(view: &View, image: &Image, going: &[&Child<'_>]) -> Self {
        let graph = &view.graph;
        let dropped: BTreeSet<BlobId> = going.iter().map(|child| child.id).collect();
        let digests: BTreeSet<String> = dropped
            .iter()
            .map(|id| graph.digest(*id).to_string())
            .collect();
        let mut part = Self {
            ids: dropped.clone(),
            order: Vec::new(),
            edges: BTreeSet::new(),
        };
        for child in going {
            if !part.order.contains(&child.id) {
                part.order.push(child.id);
            }
            if child.edge.is_some() {
                part.edges.insert((child.parent, child.id));
            }
        }
        for (parent, edge) in listed(graph, image.id) {
            let is_attested = edge
                .details
                .as_ref()
                .and_then(|details| details.annotations.get(REFERENCE_DIGEST))
                .is_some_and(|digest| digests.contains(&**digest));
            let is_about = graph.node(edge.to).is_some_and(|node| {
                node.edges
                    .iter()
                    .any(|edge| edge.role == Role::Subject && dropped.contains(&edge.to))
            });
            if is_attested || is_about || dropped.contains(&edge.to) {
                part.edges.insert((parent, edge.to));
                if part.ids.insert(edge.to) {
                    part.order.push(edge.to);
                }
            }
        }
        part
    }

    /// Says whether a hold is on something that goes, or on an index that loses something.
    fn touches(&self, view: &View, hold: usize) -> bool {
        let held = view.state.holds.holds.get(hold);
        held.and_then(|hold| view.graph.id(&hold.digest))
            .is_some_and(|id| self.ids.contains(&id) || self.is_below(view, id))
    }

    /// Says whether an index leads to something that goes.
    fn is_below(&self, view: &View, index: BlobId) -> bool {
        listed(&view.graph, index)
            .iter()
            .any(|(parent, edge)| self.edges.contains(&(*parent, edge.to)))
    }
}

/// The last platform goes: so does the image.
fn whole(image: &Image, gone: &mut Gone) {
    gone.entries.extend(&image.entries);
    gone.names
        .extend(image.names.iter().map(|name| name.text.to_string()));
    gone.images.push(image.id);
    gone.picked.insert(image.id);
}

/// The index stays, and what it leads to no longer counts.
fn sparse(
    view: &View,
    entries: &[EntryFacts],
    image: &Image,
    part: &Part,
    going: &[&Child<'_>],
    gone: &mut Gone,
) {
    cut_from(view, entries, image, part, going, gone);
    gone.cut.edges.extend(&part.edges);
    gone.images
        .extend(part.order.iter().filter(|id| view.graph.is_present(**id)));
}

/// Only layers go.
fn hollow(
    view: &View,
    entries: &[EntryFacts],
    image: &Image,
    part: &Part,
    going: &[&Child<'_>],
    gone: &mut Gone,
) {
    cut_from(view, entries, image, part, going, gone);
    for child in going {
        let edges = view
            .graph
            .node(child.id)
            .map_or(&[][..], |node| &node.edges);
        gone.cut.edges.extend(
            edges
                .iter()
                .filter(|edge| edge.role == Role::Layer)
                .map(|edge| (child.id, edge.to)),
        );
        gone.hollowed.push(child.id);
        // An untagged entry of the same child would keep the layers, unless another image needs both.
        let mut others = view
            .graph
            .roots()
            .iter()
            .filter_map(|root| root.target.as_ref().ok().copied())
            .filter(|id| *id != child.id && !gone.cut.images.contains(id));
        if !others.any(|id| leads_to(&view.graph, id, |id| id == child.id)) {
            gone.entries.extend(
                entries
                    .iter()
                    .filter(|entry| entry.role.is_nameless() && entry.id == Some(child.id))
                    .map(|entry| entry.position),
            );
        }
    }
}

/// Says from where on the references that are cut do not count: from the image, from its nested indexes
/// where they are listed again without a name, and from referrers. Those are about the image or about a
/// platform, which `subject` leads to; they are no images that need it.
fn cut_from(
    view: &View,
    entries: &[EntryFacts],
    image: &Image,
    part: &Part,
    going: &[&Child<'_>],
    gone: &mut Gone,
) {
    let graph = &view.graph;
    gone.cut.images.insert(image.id);
    let named: BTreeSet<BlobId> = entries
        .iter()
        .filter(|entry| !entry.role.is_nameless())
        .filter_map(|entry| entry.id)
        .collect();
    let parents = part.edges.iter().map(|(parent, _)| *parent);
    gone.cut
        .images
        .extend(parents.filter(|id| !named.contains(id)));
    let mut about: Vec<BlobId> = part.ids.iter().copied().chain([image.id]).collect();
    let mut seen = BTreeSet::new();
    while let Some(subject) = about.pop() {
        let listed = entries
            .iter()
            .filter(|entry| entry.about.contains(&subject))
            .filter_map(|entry| entry.id);
        for id in listed.chain(graph.referrers(subject).iter().copied()) {
            // What lists the image or the platform beside that is another image.
            let is_part = |id| id == image.id || part.ids.contains(&id);
            let is_image = going.iter().any(|child| child.id == id) || leads_to(graph, id, is_part);
            if !is_image && seen.insert(id) {
                gone.cut.images.insert(id);
                about.push(id);
            }
        }
    }
}

/// Says whether something else of an image's content is such.
fn leads_to(graph: &Graph, image: BlobId, is_such: impl Fn(BlobId) -> bool) -> bool {
    let content = content_of(graph, image, None);
    content.iter().any(|(id, _)| *id != image && is_such(*id))
}
