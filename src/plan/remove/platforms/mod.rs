//! `rm --platform`: selects the children of an index to drop, and the resulting image.
//!
//! docker deletes every blob that the dropped manifest lists, layers shared with other platforms and images included. Here
//! only the references change, and reachability decides what is deleted.

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
use crate::oci::platform::{Platform, PlatformSelector};
use crate::oci::{REFERENCE_DIGEST, Role};
use crate::plan::remove::{Dropped, Removal, RemovalSet, RemoveOptions, conclude, holds_on};
use crate::plan::{Conflict, Force, Pick, SweepOptions};
use children::{Child, Here, available, listed};
pub(in crate::plan) use children::{children, value_of, written};
use rewrite::rewrite;

/// The mode of dropping platforms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PlatformMode {
    /// A new index without them replaces the old one: the digest changes, and every tool works afterwards.
    #[default]
    Rewrite,
    /// The index is kept, and the platforms' blobs are deleted: the digest and its signatures remain
    /// valid, and tools that copy whole images fail.
    Sparse,
    /// Like sparse, but only layers are deleted: collectors that fail on missing manifests still work.
    Hollow,
}

/// The platforms to drop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformRequest {
    /// The named platforms.
    pub wanted: Vec<PlatformSelector>,
    /// Whether they are dropped, or all others.
    pub which: Which,
    /// The mode of dropping them.
    pub mode: PlatformMode,
}

/// Whether the named platforms are dropped, or all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The named ones are dropped.
    These,
    /// The named ones are kept.
    Others,
}

/// Plans to drop platforms from the picked images. If a platform cannot be dropped, that is a conflict in the result, and
/// its image is not changed.
///
/// # Errors
/// Those of [`remove`](crate::plan::remove()), and [`Error::Edit`] if an index cannot be rewritten.
#[expect(
    clippy::too_many_arguments,
    reason = "the same facts as `remove`, and the request"
)]
pub fn drop_platforms(
    snapshot: &Snapshot,
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
    let here = Here::new(snapshot);
    for pick in &Pick::merged(picks) {
        for unit in units(snapshot, images, pick) {
            let dropping = Dropping {
                snapshot,
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
    let mut removal = conclude(snapshot, entries, options, sweep_options, fs, &mut gone)?;
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

/// Splits what one argument picked into images of one or more platforms. If `index.json` itself is the image index (apko),
/// the manifests of one name are the platforms of one image; every index is a separate image.
fn units<'a>(snapshot: &Snapshot, images: &'a [Image], pick: &Pick) -> Vec<Vec<&'a Image>> {
    let mut units: Vec<Vec<&Image>> = Vec::new();
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    // In the order of `index.json`.
    for image in images {
        let names = pick.names.get(&image.id);
        if names.is_none() && !pick.images.contains(&image.id) {
            continue;
        }
        let is_index = snapshot.graph.is_index(image.id);
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

/// The arguments of a drop, for the images of one pick.
struct Dropping<'a> {
    snapshot: &'a Snapshot,
    entries: &'a [EntryFacts],
    pick: &'a Pick,
    request: &'a PlatformRequest,
    options: &'a RemoveOptions,
    here: &'a Here<'a>,
}

/// One index, or one manifest of several, with the parts that it loses.
struct Loss<'a, 'v> {
    image: &'a Image,
    going: Vec<&'a Child<'v>>,
    part: DroppedPart,
    holds: Vec<(usize, String)>,
    scope: DropScope,
}

/// The extent of a drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DropScope {
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
        let snapshot = self.snapshot;
        let of_image = self.children_of(unit)?;
        let all: Vec<&Child<'_>> = of_image.iter().flat_map(|(_, children)| children).collect();
        let label = unit
            .first()
            .map_or_else(String::new, |image| label(image, self.pick));
        self.resolve(&all, &label)?;
        let (all_going, all_staying): (Vec<&Child<'_>>, Vec<&Child<'_>>) =
            all.iter().partition(|child| self.is_dropped(child));
        let is_here = |children: &[&Child<'_>]| children.iter().any(|child| self.here.has(child));
        let is_last = !all_going.is_empty()
            && !is_here(&all_staying)
            && (all_staying.is_empty() || is_here(&all_going));
        let mut losses = Vec::new();
        for (image, children) in &of_image {
            let (going, staying): (Vec<&Child<'_>>, Vec<&Child<'_>>) =
                children.iter().partition(|child| self.is_dropped(child));
            let scope = if staying.is_empty() || is_last {
                DropScope::Image
            } else if children.iter().any(|child| child.entry.is_some()) {
                DropScope::Entries
            } else {
                DropScope::Children
            };
            let going = match scope {
                DropScope::Children => self.separate(going, &staying, &label)?,
                DropScope::Image | DropScope::Entries => going,
            };
            if going.is_empty() {
                continue;
            }
            let part = DroppedPart::of(snapshot, image, &going, &staying);
            let mut holds = holds_on(snapshot, image.id);
            match scope {
                DropScope::Image => {}
                // A hold on a platform that is kept is not a conflict.
                DropScope::Children => {
                    holds.retain(|(position, _)| part.touches(snapshot, *position));
                }
                // The manifest is kept, and with it the held content.
                DropScope::Entries => holds.clear(),
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
            self.apply(&loss, gone)?;
        }
        Ok(())
    }

    /// Returns each image of a unit with its platforms.
    fn children_of<'a>(
        &self,
        unit: &[&'a Image],
    ) -> Result<Vec<(&'a Image, Vec<Child<'_>>)>, Failed> {
        let snapshot = self.snapshot;
        let mut cache = ImageInspector::new(snapshot);
        let mut found = Vec::new();
        for &image in unit {
            // The platforms of a damaged image are unknown, which is not the same as having none.
            if let Some(why) = snapshot.graph.damage(image.id) {
                return Err(Error::Malformed {
                    path: snapshot.layout.blob_path(&image.digest),
                    why: why.to_owned(),
                }
                .into());
            }
            let entries = image.own_entries(self.entries);
            let listed_as: Vec<(usize, Option<Platform>)> = entries
                .map(|entry| (entry.position, written(&entry.details)))
                .collect();
            found.push((image, children(snapshot, &mut cache, image.id, &listed_as)));
        }
        cache.take_error()?;
        Ok(found)
    }

    /// Fails unless the image has every named platform, and each digest selects one child.
    fn resolve(&self, all: &[&Child<'_>], label: &str) -> Result<(), Failed> {
        let graph = &self.snapshot.graph;
        // A missing platform can be removed from an index, but not deleted.
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
            let (platform, image) = (wanted.to_string(), label.to_owned());
            if matches!(wanted, PlatformSelector::Digest(_)) && found.len() > 1 {
                let digests = found.iter().map(|id| graph.digest(*id).to_string());
                let mut candidates: Vec<String> = digests.collect();
                candidates.sort();
                return Err(Failed::Conflict(Conflict::AmbiguousPlatform {
                    platform,
                    image,
                    candidates,
                }));
            }
            if found.is_empty() {
                return Err(Failed::Conflict(Conflict::NoPlatform {
                    platform,
                    image,
                    available: available(graph, &eligible),
                }));
            }
        }
        Ok(())
    }

    /// Returns the children that can be dropped without one that is kept. An index can list one manifest for several
    /// platforms: a new index does not have to, but the blobs belong to all of them.
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

    /// Returns `true` if a child is dropped. One without a platform is dropped only by its digest.
    fn is_dropped(&self, child: &Child<'_>) -> bool {
        let graph = &self.snapshot.graph;
        let mut wanted = self.request.wanted.iter();
        let is_named = wanted.any(|wanted| child.is_named(graph, wanted));
        match self.request.which {
            Which::These => is_named,
            Which::Others => child.platform.is_some() && !is_named,
        }
    }

    /// Fails if the image has other names or a hold protects it.
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

    fn apply(&self, loss: &Loss<'_, '_>, gone: &mut RemovalSet) -> Result<(), Failed> {
        let image = loss.image;
        match (loss.scope, self.request.mode) {
            // The last platform: the image is removed.
            (DropScope::Image, _) => gone.take_image(image),
            (DropScope::Entries, _) => self.remove_entries(loss, gone),
            (DropScope::Children, PlatformMode::Rewrite) => {
                let (snapshot, entries) = (self.snapshot, self.entries);
                rewrite(snapshot, entries, image, &loss.part, self.options, gone)?;
                // Recorded so that an error for the old ID can name the new one.
                if self.pick.images.contains(&image.id)
                    && let Some(moved) = gone.moved.last()
                {
                    gone.replaced_ids.push(ReplacedId {
                        from: image.digest.clone(),
                        to: moved.digest.clone(),
                    });
                }
            }
            (DropScope::Children, PlatformMode::Sparse) => self.make_sparse(loss, gone),
            (DropScope::Children, PlatformMode::Hollow) => self.make_hollow(loss, gone),
        }
        let mut seen = BTreeSet::new();
        let dropped = loss.going.iter();
        let dropped = dropped.filter(|child| seen.insert((child.id, &child.platform)));
        gone.dropped.extend(dropped.map(|child| Dropped {
            platform: child.shown(),
            digest: self.snapshot.graph.digest(child.id).clone(),
            names: image.name_list(),
        }));
        Ok(())
    }

    /// Removes entries of a manifest that is kept for another platform.
    fn remove_entries(&self, loss: &Loss<'_, '_>, gone: &mut RemovalSet) {
        let positions = loss.going.iter().filter_map(|child| child.entry);
        let positions: BTreeSet<usize> = positions.collect();
        let own = loss.image.own_entries(self.entries);
        let (removed, kept): (Vec<_>, Vec<_>) =
            own.partition(|entry| positions.contains(&entry.position));
        let left: BTreeSet<&str> = kept.iter().flat_map(|entry| entry.name_texts()).collect();
        let names = removed.iter().flat_map(|entry| entry.name_texts());
        let names = names.filter(|name| !left.contains(name));
        gone.names.extend(names.map(str::to_owned));
        gone.entries.extend(&positions);
    }

    /// Keeps the index; references to the dropped parts no longer count.
    fn make_sparse(&self, loss: &Loss<'_, '_>, gone: &mut RemovalSet) {
        self.cut_from(loss, gone);
        gone.unwanted.extend(&loss.part.ids);
        gone.cut.edges.extend(&loss.part.edges);
        let present = loss.part.order.iter();
        let present = present.filter(|id| self.snapshot.graph.is_present(**id));
        gone.images.extend(present);
    }

    /// Keeps the index and the manifests; references to their layers no longer count.
    fn make_hollow(&self, loss: &Loss<'_, '_>, gone: &mut RemovalSet) {
        let graph = &self.snapshot.graph;
        self.cut_from(loss, gone);
        for child in &loss.going {
            let edges = graph.edges(child.id).iter();
            let layers = edges.filter(|edge| edge.role == Role::Layer);
            let cut = layers.map(|edge| (child.id, edge.to));
            gone.cut.edges.extend(cut);
            gone.hollowed.push(child.id);
            // If it has a subject, its layers would still count as reached from that.
            gone.unwanted.insert(child.id);
            // An untagged entry of the same child would keep the layers, unless another image references both.
            let roots = graph.roots().iter().filter_map(|root| root.id());
            let mut others = roots.filter(|id| *id != child.id && !gone.cut.images.contains(id));
            if !others.any(|id| has_content(graph, id, |id| id == child.id)) {
                let own = self.entries.iter();
                let own =
                    own.filter(|entry| entry.role.is_nameless() && entry.id == Some(child.id));
                gone.entries.extend(own.map(|entry| entry.position));
            }
        }
    }

    /// Adds the images from which the cut references do not count: the image, its nested indexes that are listed again
    /// without a name, and referrers. Those reference the image or a platform by `subject`, and do not need its content.
    fn cut_from(&self, loss: &Loss<'_, '_>, gone: &mut RemovalSet) {
        let (graph, entries) = (&self.snapshot.graph, self.entries);
        let Loss { image, part, .. } = loss;
        gone.cut.images.insert(image.id);
        let parents = part.edges.iter().map(|(parent, _)| *parent);
        // If an index has a subject, all of it would still count as reached from that.
        gone.unwanted.insert(image.id);
        gone.unwanted.extend(parents.clone());
        let named = entries.iter().filter(|entry| !entry.role.is_nameless());
        let named: BTreeSet<BlobId> = named.filter_map(|entry| entry.id).collect();
        let unnamed = parents.filter(|id| !named.contains(id));
        gone.cut.images.extend(unnamed);
        let mut subjects: Vec<BlobId> = part.ids.iter().copied().chain([image.id]).collect();
        let mut seen = BTreeSet::new();
        while let Some(subject) = subjects.pop() {
            let listed = entries
                .iter()
                .filter(|entry| entry.about.contains(&subject));
            let listed = listed.filter_map(|entry| entry.id);
            for id in listed.chain(graph.referrers(subject).iter().copied()) {
                // Anything else that lists the image or the platform is another image.
                let is_part = |id| id == image.id || part.ids.contains(&id);
                let is_image = loss.going.iter().any(|child| child.id == id)
                    || has_content(graph, id, is_part);
                if !is_image && seen.insert(id) {
                    gone.cut.images.insert(id);
                    subjects.push(id);
                }
            }
        }
    }
}

/// Returns the name by which an image was picked, or its short ID.
fn label(image: &Image, pick: &Pick) -> String {
    pick.names
        .get(&image.id)
        .and_then(|names| names.first())
        .map_or_else(|| image.digest.short(), |name| name.to_string())
}

/// Returns the names of an image that were not picked. An image that was picked by its ID has at most one name.
fn names_left(image: &Image, pick: &Pick) -> Vec<String> {
    let mut names = image.name_list();
    match pick.names.get(&image.id) {
        None if names.len() <= 1 => names.clear(),
        None => {}
        Some(picked) => names.retain(|name| !picked.contains(name.as_str())),
    }
    names
}

/// The parts to drop from an index: platforms, and what belongs to them.
struct DroppedPart {
    ids: BTreeSet<BlobId>,
    /// In the order of the index: each platform, then what belongs to it.
    order: Vec<BlobId>,
    edges: BTreeSet<(BlobId, BlobId)>,
    /// Children that the index also lists for a platform that is kept, with the dropped platform as
    /// written: of several descriptors only that one is removed.
    descriptors: BTreeMap<(BlobId, BlobId), BTreeSet<Option<Platform>>>,
}

impl DroppedPart {
    /// Adds attestations, and other children whose subject is a dropped platform. A kept platform is not part of another
    /// one, whatever its subject is.
    fn of(
        snapshot: &Snapshot,
        image: &Image,
        going: &[&Child<'_>],
        staying: &[&Child<'_>],
    ) -> Self {
        let graph = &snapshot.graph;
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
                .is_some_and(|digest| digests.contains(digest));
            let mut own = graph.edges(edge.to).iter();
            let is_referrer =
                own.any(|edge| edge.role == Role::Subject && dropped.contains(&edge.to));
            let is_part = (is_attested || is_referrer) && !platforms.contains(&edge.to);
            if is_part || dropped.contains(&edge.to) {
                part.edges.insert((parent, edge.to));
                if part.ids.insert(edge.to) {
                    part.order.push(edge.to);
                }
            }
        }
        part
    }

    /// Returns `true` if a hold is on something that is dropped, or on an index that loses something.
    fn touches(&self, snapshot: &Snapshot, hold: usize) -> bool {
        let held = snapshot.state.holds.holds.get(hold);
        held.and_then(|hold| snapshot.graph.id(&hold.digest))
            .is_some_and(|id| self.ids.contains(&id) || self.is_below(snapshot, id))
    }

    /// Returns `true` if an index references something that is dropped.
    fn is_below(&self, snapshot: &Snapshot, index: BlobId) -> bool {
        listed(&snapshot.graph, index).iter().any(|(parent, edge)| {
            let step = (*parent, edge.to);
            self.edges.contains(&step) || self.descriptors.contains_key(&step)
        })
    }
}

/// Returns `true` if the content of an image, itself excluded, has such a blob.
fn has_content(graph: &Graph, image: BlobId, is_such: impl Fn(BlobId) -> bool) -> bool {
    let content = content_of(graph, image, None);
    content.iter().any(|(id, _)| *id != image && is_such(*id))
}
