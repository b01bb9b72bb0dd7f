//! `rm --platform`: which children of an index go, and what the image is afterwards.
//!
//! docker deletes every blob that the dropped manifest lists and tears shared layers out of other
//! platforms and other images that way. Here only the references change, and what goes is found by
//! reachability afterwards.

mod children;
mod rewrite;

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::graph::Graph;
use crate::graph::content_of;
use crate::layout::BlobId;
use crate::layout::replaced_ids::ReplacedId;
use crate::model::entries::EntryFacts;
use crate::model::images::{Image, ImageInspector};
use crate::model::snapshot::Snapshot;
use crate::oci::REFERENCE_DIGEST;
use crate::oci::platform::{Platform, PlatformSelector};
use crate::oci::{Role, Shape};

use crate::plan::remove::{
    Dropped, Removal, RemovalSet, RemoveOptions, SweepExtent, cascade, finish, holds_on, kept_by,
};
use crate::plan::{Conflict, Force, Pick, SweepOptions};
use children::{Child, Here, available, listed, written};
pub(in crate::plan) use children::{children, value_of};
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
    /// What was typed.
    pub wanted: Vec<PlatformSelector>,
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

/// Plans to drop platforms from the picked images. What cannot be dropped is among the conflicts of
/// the result, and nothing of that image changes.
///
/// # Errors
/// As for [`remove`](crate::plan::remove()), and [`Error::Edit`] when an index cannot be rewritten.
#[expect(
    clippy::too_many_arguments,
    reason = "the same facts as `remove`, and the request"
)]
pub fn drop_platforms(
    view: &Snapshot,
    images: &[Image],
    entries: &[EntryFacts],
    picks: &[Pick],
    request: &PlatformRequest,
    options: &RemoveOptions,
    sweep_options: &SweepOptions,
    fs: &dyn Fs,
) -> Result<Removal> {
    let mut gone = RemovalSet::default();
    let mut conflicts = Vec::new();
    let here = Here::new(view);
    for pick in &Pick::merged(picks) {
        for unit in units(view, images, pick) {
            let dropping = Dropping {
                view,
                entries,
                pick,
                request,
                options,
                here: &here,
            };
            match dropping.unit(&unit, &mut gone) {
                Ok(()) => {}
                Err(Failed::Conflict(conflict)) => conflicts.push(conflict),
                Err(Failed::Error(error)) => return Err(error),
            }
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
    (removal.kept_by, removal.more_kept) = kept_by(view, entries, &gone, &removal.plan);
    Ok(removal)
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Conflict(#[from] Conflict),
    #[error(transparent)]
    Error(#[from] Error),
}

/// Splits what one argument picked into images of one or more platforms. Where `index.json` itself is
/// the image index (apko), the manifests of one name are the platforms of one image; every index is an
/// image of its own.
fn units<'a>(view: &Snapshot, images: &'a [Image], pick: &Pick) -> Vec<Vec<&'a Image>> {
    let mut units: Vec<Vec<&Image>> = Vec::new();
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    // In the order of `index.json`.
    for image in images {
        let names = pick.names.get(&image.id);
        if names.is_none() && !pick.images.contains(&image.id) {
            continue;
        }
        let is_index = view
            .graph
            .node(image.id)
            .is_some_and(|node| node.shape == Shape::Index);
        let name = names.and_then(|names| names.first()).filter(|_| !is_index);
        let place = match name {
            Some(name) => *by_name.entry(name).or_insert(units.len()),
            None => units.len(),
        };
        match units.get_mut(place) {
            Some(unit) => unit.push(image),
            None => units.push(vec![image]),
        }
    }
    units
}

/// What the platforms of one image are dropped by.
struct Dropping<'a> {
    view: &'a Snapshot,
    entries: &'a [EntryFacts],
    pick: &'a Pick,
    request: &'a PlatformRequest,
    options: &'a RemoveOptions,
    here: &'a Here<'a>,
}

/// One index, or one manifest of several, with what it loses.
struct Loss<'a, 'v> {
    image: &'a Image,
    going: Vec<&'a Child<'v>>,
    part: Part,
    holds: Vec<(usize, String)>,
    scope: Scope,
}

/// What an image loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Everything.
    Image,
    /// Some of the children of its index.
    Children,
    /// Some of the entries that list it: one manifest can be listed for several platforms.
    Entries,
}

impl Dropping<'_> {
    /// Drops platforms from one image: all of them or, with a conflict, none.
    fn unit(&self, unit: &[&Image], gone: &mut RemovalSet) -> Result<(), Failed> {
        let view = self.view;
        let of_image = self.children_of(unit)?;
        let all: Vec<&Child<'_>> = of_image.iter().flat_map(|(_, children)| children).collect();
        let label = unit
            .first()
            .map_or_else(String::new, |image| label(image, self.pick));
        self.resolve(&all, &label)?;
        let (all_going, all_staying): (Vec<&Child<'_>>, Vec<&Child<'_>>) =
            all.iter().partition(|child| self.is_dropped(child));
        let is_last = !all_going.is_empty()
            && !all_staying.iter().any(|child| self.here.has(child))
            && (all_staying.is_empty() || all_going.iter().any(|child| self.here.has(child)));
        let mut losses = Vec::new();
        for (image, children) in &of_image {
            let (going, staying): (Vec<&Child<'_>>, Vec<&Child<'_>>) =
                children.iter().partition(|child| self.is_dropped(child));
            let scope = if staying.is_empty() || is_last {
                Scope::Image
            } else if children.iter().any(|child| child.entry.is_some()) {
                Scope::Entries
            } else {
                Scope::Children
            };
            let going = match scope {
                Scope::Children => self.separate(going, &staying, &label)?,
                Scope::Image | Scope::Entries => going,
            };
            if going.is_empty() {
                continue;
            }
            let part = Part::of(view, image, &going, &staying);
            let mut holds = holds_on(view, image.id);
            match scope {
                Scope::Image => {}
                // A hold on a platform that stays, stays as well.
                Scope::Children => holds.retain(|(position, _)| part.touches(view, *position)),
                // The manifest stays, and with it what is held.
                Scope::Entries => holds.clear(),
            }
            losses.push(Loss {
                image,
                going,
                part,
                holds,
                scope,
            });
        }
        for loss in &losses {
            self.refuse(loss, &label)?;
        }
        if is_last && self.options.force == Force::No {
            return Err(Conflict::LastPlatform {
                what: label,
                id: unit
                    .first()
                    .map_or_else(String::new, |image| image.digest.short()),
                absent: all_staying.len(),
            }
            .into());
        }
        for loss in losses {
            self.apply(loss, gone)?;
        }
        Ok(())
    }

    /// Returns each image of a unit with its platforms.
    fn children_of<'a>(
        &self,
        unit: &[&'a Image],
    ) -> Result<Vec<(&'a Image, Vec<Child<'_>>)>, Failed> {
        let view = self.view;
        let mut cache = ImageInspector::new(view);
        let mut found = Vec::new();
        for &image in unit {
            // Its platforms are unknown, which is not the same as having none.
            if let Some(why) = view.graph.damage(image.id) {
                return Err(Error::Malformed {
                    path: view.layout.blob_path(&image.digest),
                    why: why.to_owned(),
                }
                .into());
            }
            let listed_as: Vec<(usize, Option<Platform>)> = image
                .entries
                .iter()
                .filter_map(|position| self.entries.get(*position))
                .map(|entry| (entry.position, written(&entry.details)))
                .collect();
            found.push((image, children(view, &mut cache, image.id, &listed_as)));
        }
        cache.take_error()?;
        Ok(found)
    }

    /// Fails unless the image has everything that was typed, and each digest names one child.
    fn resolve(&self, all: &[&Child<'_>], label: &str) -> Result<(), Failed> {
        let graph = &self.view.graph;
        // What is missing already can be taken out of an index, but not be deleted.
        let eligible: Vec<&Child<'_>> = all
            .iter()
            .copied()
            .filter(|child| {
                self.request.mode == PlatformMode::Rewrite || graph.is_present(child.id)
            })
            .collect();
        for wanted in &self.request.wanted {
            let found: BTreeSet<BlobId> = eligible
                .iter()
                .filter(|child| child.is_named(graph, wanted))
                .map(|child| child.id)
                .collect();
            let is_ambiguous = matches!(wanted, PlatformSelector::Digest(_)) && found.len() > 1;
            if is_ambiguous {
                let mut candidates: Vec<String> = found
                    .iter()
                    .map(|id| graph.digest(*id).to_string())
                    .collect();
                candidates.sort();
                return Err(Conflict::AmbiguousPlatform {
                    platform: wanted.to_string(),
                    image: label.to_owned(),
                    candidates,
                }
                .into());
            }
            if found.is_empty() {
                return Err(Conflict::NoPlatform {
                    platform: wanted.to_string(),
                    image: label.to_owned(),
                    available: available(graph, &eligible),
                }
                .into());
            }
        }
        Ok(())
    }

    /// Returns the children that can go without one that stays. An index can list one manifest for several
    /// platforms: a new index need not, but its blobs are those of all of them.
    fn separate<'a, 'v>(
        &self,
        going: Vec<&'a Child<'v>>,
        staying: &[&Child<'_>],
        label: &str,
    ) -> Result<Vec<&'a Child<'v>>, Failed> {
        if self.request.mode == PlatformMode::Rewrite {
            return Ok(going);
        }
        let kept: BTreeMap<BlobId, &&Child<'_>> =
            staying.iter().map(|child| (child.id, child)).collect();
        let twin = |child: &Child<'_>| kept.get(&child.id);
        let shared = going.iter().find_map(|child| Some((child, twin(child)?)));
        if let (Some((child, other)), Which::These) = (shared, self.request.which) {
            return Err(Conflict::SameManifest {
                platform: child.shown(),
                image: label.to_owned(),
                other: other.shown(),
            }
            .into());
        }
        Ok(going
            .into_iter()
            .filter(|child| twin(child).is_none())
            .collect())
    }

    /// Returns whether a child is dropped. What has no platform is dropped only by its digest.
    fn is_dropped(&self, child: &Child<'_>) -> bool {
        let graph = &self.view.graph;
        let mut wanted = self.request.wanted.iter();
        let is_named = wanted.any(|wanted| child.is_named(graph, wanted));
        match self.request.which {
            Which::These => is_named,
            Which::Others => child.platform.is_some() && !is_named,
        }
    }

    /// Fails if other names or a hold stand against it.
    fn refuse(&self, loss: &Loss<'_, '_>, label: &str) -> Result<(), Failed> {
        let names_left = names_left(loss.image, self.pick);
        if !names_left.is_empty() && self.options.force == Force::No {
            return Err(Conflict::SharedVariant {
                image: label.to_owned(),
                names: names_left,
            }
            .into());
        }
        if let Some((_, hold)) = loss.holds.first() {
            return Err(Conflict::Held {
                can_be_forced: false,
                what: label.to_owned(),
                hold: hold.clone(),
                id: loss.image.digest.short(),
            }
            .into());
        }
        Ok(())
    }

    fn apply(&self, loss: Loss<'_, '_>, gone: &mut RemovalSet) -> Result<(), Failed> {
        let Self {
            view,
            entries,
            options,
            ..
        } = *self;
        let Loss {
            image,
            going,
            part,
            scope,
            ..
        } = loss;
        match (scope, self.request.mode) {
            (Scope::Image, _) => whole(image, gone),
            (Scope::Entries, _) => some_entries(entries, image, &going, gone),
            (Scope::Children, PlatformMode::Rewrite) => {
                rewrite(view, entries, image, &part, options, gone)?;
                // Who gives the old ID once more is told the new one.
                if self.pick.images.contains(&image.id)
                    && let Some(moved) = gone.moved.last()
                {
                    gone.replaced_ids.push(ReplacedId {
                        from: image.digest.clone(),
                        to: moved.digest.clone(),
                    });
                }
            }
            (Scope::Children, PlatformMode::Sparse) => {
                sparse(view, entries, image, &part, &going, gone);
            }
            (Scope::Children, PlatformMode::Hollow) => {
                hollow(view, entries, image, &part, &going, gone);
            }
        }
        let names: Vec<String> = image
            .names
            .iter()
            .map(|name| name.text.to_string())
            .collect();
        let mut seen = BTreeSet::new();
        for child in going {
            if !seen.insert((child.id, &child.platform)) {
                continue;
            }
            gone.dropped.push(Dropped {
                platform: child.shown(),
                digest: view.graph.digest(child.id).clone(),
                names: names.clone(),
            });
        }
        Ok(())
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

/// What leaves an index: platforms, and what belongs to them.
struct Part {
    ids: BTreeSet<BlobId>,
    /// In the order of the index: each platform, then what belongs to it.
    order: Vec<BlobId>,
    edges: BTreeSet<(BlobId, BlobId)>,
    /// Children that the index lists for a platform that stays as well, with the platform that goes as it
    /// is written: of several descriptors only that one goes.
    descriptors: BTreeMap<(BlobId, BlobId), BTreeSet<Option<Platform>>>,
}

impl Part {
    /// Adds attestations, and other children that are about a platform which goes. One that is itself a
    /// platform which stays is not a part of another, whatever its subject is.
    fn of(view: &Snapshot, image: &Image, going: &[&Child<'_>], staying: &[&Child<'_>]) -> Self {
        let graph = &view.graph;
        let kept: BTreeSet<BlobId> = staying.iter().map(|child| child.id).collect();
        let platforms: BTreeSet<BlobId> = staying
            .iter()
            .filter(|child| child.platform.is_some())
            .map(|child| child.id)
            .collect();
        let (shared, going): (Vec<&Child<'_>>, Vec<&Child<'_>>) =
            going.iter().partition(|child| kept.contains(&child.id));
        let mut descriptors: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for child in shared {
            let of = descriptors.entry((child.parent, child.id)).or_default();
            of.insert(child.written());
        }
        let dropped: BTreeSet<BlobId> = going.iter().map(|child| child.id).collect();
        let digests: BTreeSet<String> = dropped
            .iter()
            .map(|id| graph.digest(*id).to_string())
            .collect();
        let mut part = Self {
            ids: dropped.clone(),
            order: Vec::new(),
            edges: BTreeSet::new(),
            descriptors,
        };
        let mut seen = BTreeSet::new();
        for child in going {
            if seen.insert(child.id) {
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
            let is_part = (is_attested || is_about) && !platforms.contains(&edge.to);
            if is_part || dropped.contains(&edge.to) {
                part.edges.insert((parent, edge.to));
                if part.ids.insert(edge.to) {
                    part.order.push(edge.to);
                }
            }
        }
        part
    }

    /// Returns `true` if a hold is on something that goes, or on an index that loses something.
    fn touches(&self, view: &Snapshot, hold: usize) -> bool {
        let held = view.state.holds.holds.get(hold);
        held.and_then(|hold| view.graph.id(&hold.digest))
            .is_some_and(|id| self.ids.contains(&id) || self.is_below(view, id))
    }

    /// Returns `true` if an index references something that goes.
    fn is_below(&self, view: &Snapshot, index: BlobId) -> bool {
        listed(&view.graph, index).iter().any(|(parent, edge)| {
            let step = (*parent, edge.to);
            self.edges.contains(&step) || self.descriptors.contains_key(&step)
        })
    }
}

/// Entries go, and the manifest stays for a platform that it is listed for as well.
fn some_entries(
    entries: &[EntryFacts],
    image: &Image,
    going: &[&Child<'_>],
    gone: &mut RemovalSet,
) {
    let positions: BTreeSet<usize> = going.iter().filter_map(|child| child.entry).collect();
    let names = |is_going: bool| {
        let positions = &positions;
        let positions = image
            .entries
            .iter()
            .filter(move |position| positions.contains(position) == is_going);
        positions
            .filter_map(|position| entries.get(*position))
            .flat_map(|entry| &entry.names)
            .map(|name| name.text.to_string())
    };
    let left: BTreeSet<String> = names(false).collect();
    gone.names
        .extend(names(true).filter(|name| !left.contains(name)));
    gone.entries.extend(&positions);
}

/// The last platform goes: so does the image.
fn whole(image: &Image, gone: &mut RemovalSet) {
    gone.entries.extend(&image.entries);
    gone.names
        .extend(image.names.iter().map(|name| name.text.to_string()));
    gone.images.push(image.id);
    gone.unwanted.insert(image.id);
}

/// The index stays, and what it references no longer counts.
fn sparse(
    view: &Snapshot,
    entries: &[EntryFacts],
    image: &Image,
    part: &Part,
    going: &[&Child<'_>],
    gone: &mut RemovalSet,
) {
    cut_from(view, entries, image, part, going, gone);
    gone.unwanted.extend(&part.ids);
    gone.cut.edges.extend(&part.edges);
    gone.images
        .extend(part.order.iter().filter(|id| view.graph.is_present(**id)));
}

/// Only layers go.
fn hollow(
    view: &Snapshot,
    entries: &[EntryFacts],
    image: &Image,
    part: &Part,
    going: &[&Child<'_>],
    gone: &mut RemovalSet,
) {
    cut_from(view, entries, image, part, going, gone);
    for child in going {
        let edges = view.graph.edges(child.id);
        gone.cut.edges.extend(
            edges
                .iter()
                .filter(|edge| edge.role == Role::Layer)
                .map(|edge| (child.id, edge.to)),
        );
        gone.hollowed.push(child.id);
        // One that has a subject: from there its layers would count.
        gone.unwanted.insert(child.id);
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
/// platform, which `subject` references; they are no images that need it.
fn cut_from(
    view: &Snapshot,
    entries: &[EntryFacts],
    image: &Image,
    part: &Part,
    going: &[&Child<'_>],
    gone: &mut RemovalSet,
) {
    let graph = &view.graph;
    gone.cut.images.insert(image.id);
    // An index that has a subject is a referrer of it: from there the whole of it would count.
    gone.unwanted.insert(image.id);
    gone.unwanted
        .extend(part.edges.iter().map(|(parent, _)| *parent));
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

/// Returns `true` if something else of an image's content is such.
fn leads_to(graph: &Graph, image: BlobId, is_such: impl Fn(BlobId) -> bool) -> bool {
    let content = content_of(graph, image, None);
    content.iter().any(|(id, _)| *id != image && is_such(*id))
}
