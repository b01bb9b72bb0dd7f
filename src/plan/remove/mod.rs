//! `rm`: which names and entries go, what goes along with them, and what that releases.
//!
//! *Promise*: a blob is released only if no root that stays references it. Nothing is found by walking
//! down from what is removed and deleting on the way: that is how docker tears shared layers out of
//! other images.

mod alone;
mod cascade;
mod finish;
mod kept_by;
pub(crate) mod platforms;
mod saved;
mod selection;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::error::Result;
use crate::fs::Fs;
use crate::graph::content_of;
use crate::graph::{MissingDocuments, RootSource};
use crate::layout::BlobId;
use crate::model::companions::companions;
use crate::model::entries::{EntryFacts, EntryRole, unlisted_elements};
use crate::model::images::Image;
use crate::model::snapshot::Snapshot;
use crate::oci::Digest;
use crate::oci::docker_archive::Element;
use crate::oci::{BASE_NAME, CONTAINERD_NAME, EntryName, REF_NAME};

use super::{Force, Pick, Plan, SweepOptions};

pub(crate) use alone::Alone;
pub(super) use cascade::cascade;
pub(super) use finish::finish;
pub(super) use kept_by::kept_by;
pub use kept_by::{Keeper, KeptImage};
pub(super) use selection::{RemovalSet, SweepExtent, stays};

/// How to remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Whether conflicts are overridden.
    pub force: Force,
    /// What becomes of referrers.
    pub referrers: Referrers,
    /// Whether anything but names goes.
    pub extent: Extent,
    /// Accept that documents which stay listed are missing.
    pub missing: MissingDocuments,
}

/// What becomes of the referrers of a removed image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Referrers {
    /// Those that nobody named go with it.
    #[default]
    Follow,
    /// They stay, and with them what they refer to.
    Stay,
}

/// Whether anything but names goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Extent {
    /// The last name takes the image along, and untagged images that it was built upon.
    #[default]
    Images,
    /// Only names go; entries become untagged and blobs stay.
    Names,
}

/// Why something cannot be removed without force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// An ID stands for several names.
    #[error("conflict: unable to delete {id} (must be forced) - image is referenced by {} names: {}", names.len(), names.join(", "))]
    Referenced {
        /// The short image ID.
        id: String,
        /// Its names.
        names: Vec<String>,
    },
    /// A hold protects it. Force takes names away, but never the content.
    #[error(
        "conflict: unable to delete {what} ({}) - hold \"{hold}\" is using its image {id}",
        if *can_be_forced { "must be forced" } else { "cannot be forced" }
    )]
    Held {
        /// Force takes the name away; the image stays, without a name.
        can_be_forced: bool,
        /// The name or short ID that was to be removed.
        what: String,
        /// The hold.
        hold: String,
        /// The short ID of the image.
        id: String,
    },
    /// The image has no such platform.
    #[error(
        "image with reference {image} was found but does not provide the platform {platform}{}",
        available_in_words(available)
    )]
    NoPlatform {
        /// The platform.
        platform: String,
        /// The image.
        image: String,
        /// The platforms that it has.
        available: Vec<String>,
    },
    /// One manifest is the platform that goes and one that stays.
    #[error(
        "conflict: unable to delete {platform} of {image} (cannot be forced) - it is the same manifest as {other}"
    )]
    SameManifest {
        /// The platform.
        platform: String,
        /// The image.
        image: String,
        /// The platform that stays.
        other: String,
    },
    /// The beginning of a digest that several platforms of the image have.
    #[error("ambiguous platform: `{platform}` of {image} could be {}", candidates.join(", "))]
    AmbiguousPlatform {
        /// What was given.
        platform: String,
        /// The image.
        image: String,
        /// The digests that begin so.
        candidates: Vec<String>,
    },
    /// Other names stand for the same image and would lose the platform as well.
    #[error("conflict: {image} is also {}: Content will be removed from all images referencing this variant. Use --force to force delete.", names.join(", "))]
    SharedVariant {
        /// The name that was given.
        image: String,
        /// The other names.
        names: Vec<String>,
    },
    /// No platform that is here would be left.
    #[error(
        "conflict: unable to delete {what} (must be forced) - it is the last platform of image {id}{}, which would be removed with it",
        if *absent == 0 { "" } else { " that is present" }
    )]
    LastPlatform {
        /// The name or short ID.
        what: String,
        /// The short ID of the image.
        id: String,
        /// How many more the image lists, none of which is here.
        absent: usize,
    },
    /// Signatures and the like are about the index, whose digest would be another one.
    #[error("conflict: unable to rewrite {image} (must be forced) - its digest is referenced by {}", referrers.join(", "))]
    Referred {
        /// The name or short ID.
        image: String,
        /// What refers to it.
        referrers: Vec<String>,
    },
}

fn available_in_words(available: &[String]) -> String {
    if available.is_empty() {
        String::new()
    } else {
        format!(" (it has {})", available.join(", "))
    }
}

/// What a removal does, in docker's words, with the plan that does it.
#[derive(Debug)]
pub struct Removal {
    /// Everything that is to be done.
    pub plan: Plan,
    /// The names that go, in docker's order.
    pub untagged: Vec<String>,
    /// Referrers that stay because somebody named them, although what they are about goes.
    pub left_referrers: Vec<String>,
    /// Names that are kept, although another tool derived them from a name that is removed.
    pub left_companions: Vec<LeftCompanion>,
    /// What cannot be removed without force. Everything else is in the plan.
    pub conflicts: Vec<Conflict>,
    /// Images and platforms that go, not only names.
    pub images: Vec<Digest>,
    /// Names whose image is another one now, because a platform went.
    pub moved: Vec<Moved>,
    /// Platforms that go, in the order of their index.
    pub dropped: Vec<Dropped>,
    /// Images that lost their last name and are kept all the same, with the reasons; not all of them.
    pub kept_by: Vec<KeptImage>,
    /// How many more there are.
    pub more_kept: usize,
}

/// A name that is kept, although another tool derived it from a name that is removed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftCompanion {
    /// The name that is kept.
    pub name: String,
    /// The name that is removed.
    pub owner: String,
}

/// A platform that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The platform, as `--platform` takes it; `unknown` for a child without one.
    pub platform: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The names of the image that loses it.
    pub names: Vec<String>,
}

/// Names of an image whose index was rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The names; none if it is untagged.
    pub names: Vec<String>,
    /// The new image ID.
    pub digest: Digest,
    /// Bytes of the new index.
    pub size: u64,
}

/// Plans a removal.
///
/// # Errors
/// [`Error::Incomplete`](crate::Error::Incomplete) when what stays is damaged, so that nobody knows what it needs; nothing is
/// done then. Removing the damaged image itself works.
pub fn remove(
    view: &Snapshot,
    images: &[Image],
    entries: &[EntryFacts],
    picks: &[Pick],
    options: &RemoveOptions,
    sweep_options: &SweepOptions,
    fs: &dyn Fs,
) -> Result<Removal> {
    let mut gone = RemovalSet::default();
    let conflicts = take_picks(view, images, entries, picks, options, &mut gone);
    let mut left_referrers = Vec::new();
    // Where only names go, no image does.
    if !gone.images.is_empty() {
        left_referrers = cascade(view, entries, options, &mut gone);
    }
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
    removal.left_companions = left_companions(view, entries, &gone);
    if options.extent == Extent::Images {
        (removal.kept_by, removal.more_kept) = kept_by(view, entries, &gone, &removal.plan);
    }
    Ok(removal)
}

/// Returns the companions of names that nothing has any more.
fn left_companions(
    view: &Snapshot,
    entries: &[EntryFacts],
    gone: &RemovalSet,
) -> Vec<LeftCompanion> {
    if gone.names.is_empty() {
        return Vec::new();
    }
    let cut: HashSet<(usize, &str)> = gone
        .annotations
        .iter()
        .map(|(position, key)| (*position, *key))
        .collect();
    let left: HashSet<(usize, &str)> = entries
        .iter()
        .filter(|entry| !gone.entries.contains(&entry.position))
        .flat_map(|entry| entry.names.iter().map(|name| (entry.position, name)))
        .filter(|(position, name)| !cut.contains(&(*position, name.key)))
        .map(|(position, name)| (position, &*name.text))
        .filter(|(position, name)| !gone.saved.contains(&(*position, (*name).to_owned())))
        .collect();
    let names_left: HashSet<&str> = left.iter().map(|(_, name)| *name).collect();
    let found: BTreeSet<LeftCompanion> = companions(view, entries)
        .into_iter()
        .filter(|companion| {
            left.contains(&(companion.entry, companion.name))
                && gone.names.contains(companion.owner_name)
                && !names_left.contains(companion.owner_name)
        })
        .map(|companion| LeftCompanion {
            name: companion.name.to_owned(),
            owner: companion.owner_name.to_owned(),
        })
        .collect();
    found.into_iter().collect()
}

/// Takes over what was picked, image by image.
fn take_picks(
    view: &Snapshot,
    images: &[Image],
    entries: &[EntryFacts],
    picks: &[Pick],
    options: &RemoveOptions,
    gone: &mut RemovalSet,
) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    let mut names: BTreeMap<BlobId, BTreeSet<&str>> = BTreeMap::new();
    let mut whole: BTreeSet<BlobId> = BTreeSet::new();
    let mut order: Vec<BlobId> = Vec::new();
    let positions: BTreeMap<BlobId, usize> = images
        .iter()
        .enumerate()
        .map(|(position, image)| (image.id, position))
        .collect();
    for pick in picks {
        for (id, picked) in &pick.names {
            names
                .entry(*id)
                .or_default()
                .extend(picked.iter().map(AsRef::as_ref));
        }
        whole.extend(&pick.images);
        // Of one argument in the order of `index.json`: numbers of blobs are those of the directory,
        // which differ from run to run.
        let mut of_pick: Vec<BlobId> = pick.names.keys().chain(&pick.images).copied().collect();
        of_pick.sort_by_key(|id| positions.get(id).copied());
        order.extend(of_pick);
        for position in &pick.entries {
            gone.entries.insert(*position);
            let facts = entries.get(*position);
            gone.names.extend(
                facts
                    .iter()
                    .flat_map(|entry| &entry.names)
                    .map(|name| name.text.to_string()),
            );
        }
    }
    take_saved(view, picks, options, gone);
    let held = held(view);
    let mut done = BTreeSet::new();
    for id in order {
        if !done.insert(id) {
            continue;
        }
        let Some(image) = positions
            .get(&id)
            .and_then(|position| images.get(*position))
        else {
            continue;
        };
        let own = || own_entries(entries, image);
        let picked = names.remove(&id).unwrap_or_default();
        let is_left = image
            .names
            .iter()
            .any(|name| !picked.contains(name.text.as_ref()));
        if whole.contains(&id) {
            // An ID beside all of the names is no conflict any more.
            if is_left && image.names.len() > 1 && options.force == Force::No {
                let mut names: Vec<_> = image
                    .names
                    .iter()
                    .map(|name| name.text.to_string())
                    .collect();
                names.sort();
                conflicts.push(Conflict::Referenced {
                    id: image.digest.short(),
                    names,
                });
                if picked.is_empty() {
                    continue;
                }
            }
        }
        let all_go = !is_left
            || (whole.contains(&id) && options.force == Force::Yes)
            || (whole.contains(&id) && image.names.len() <= 1);
        if !all_go {
            untag(own(), &picked, gone);
            continue;
        }
        if options.extent == Extent::Names {
            untag_all(own(), gone);
            continue;
        }
        if let Some((_, hold)) = holds_among(view, &held, id).first() {
            let can_be_forced = !whole.contains(&id);
            if can_be_forced && options.force == Force::Yes {
                // As docker keeps the image of a container: the names go, and nothing else.
                untag_all(own(), gone);
                continue;
            }
            let what = match picked.iter().next() {
                Some(name) if can_be_forced => (*name).to_owned(),
                _ => image.digest.short(),
            };
            conflicts.push(Conflict::Held {
                can_be_forced,
                what,
                hold: hold.clone(),
                id: image.digest.short(),
            });
            // Names beside the last one need no force, but which of them is the last is not said:
            // so nothing of the image is touched.
            continue;
        }
        gone.entries.extend(&image.entries);
        let shared_by_kind = shared_by_kind(own(), entries, id);
        gone.names.extend(
            image
                .names
                .iter()
                .filter(|name| !shared_by_kind.contains(&*name.text))
                .map(|name| name.text.to_string()),
        );
        gone.images.push(id);
        gone.unwanted.insert(id);
    }
    conflicts
}

/// Takes names of images that only docker save's list has. An element goes with the last of its names.
fn take_saved(view: &Snapshot, picks: &[Pick], options: &RemoveOptions, gone: &mut RemovalSet) {
    let picked: BTreeSet<&str> = picks
        .iter()
        .flat_map(|pick| &pick.saved)
        .map(AsRef::as_ref)
        .collect();
    if picked.is_empty() {
        return;
    }
    gone.names
        .extend(picked.iter().map(|name| (*name).to_owned()));
    if options.extent == Extent::Names {
        return;
    }
    let elements = unlisted_elements(view).into_iter();
    let is_left = |element: &Element| {
        let mut tags = element.repo_tags.iter();
        tags.any(|tag| !picked.contains(tag.as_str()))
    };
    let going = elements.filter(|(_, element)| !element.repo_tags.is_empty() && !is_left(element));
    gone.elements.extend(going.map(|(position, _)| position));
}

/// Returns the entries of an image.
fn own_entries<'a>(
    entries: &'a [EntryFacts],
    image: &'a Image,
) -> impl Iterator<Item = &'a EntryFacts> + Clone {
    image
        .entries
        .iter()
        .filter_map(|position| entries.get(*position))
}

/// Returns the names that other entries have as well, where an image is a signature or the like by its `kind`: removing it
/// takes neither the name from its image nor the other referrers along.
fn shared_by_kind<'a>(
    own: impl Iterator<Item = &'a EntryFacts>,
    entries: &[EntryFacts],
    id: BlobId,
) -> HashSet<&'a str> {
    let kin = own.filter(|entry| entry.role == EntryRole::KindReferrer);
    let mut names = kin.flat_map(|entry| &entry.names).peekable();
    if names.peek().is_none() {
        return HashSet::new();
    }
    let others = entries.iter().filter(|entry| entry.id != Some(id));
    let others: HashSet<&str> = others
        .flat_map(|entry| &entry.names)
        .map(|name| &*name.text)
        .collect();
    names
        .map(|name| &*name.text)
        .filter(|name| others.contains(name))
        .collect()
}

/// Takes some of an image's names away. An entry without any name left goes.
pub(in crate::plan) fn untag<'a>(
    own: impl Iterator<Item = &'a EntryFacts>,
    picked: &BTreeSet<&str>,
    gone: &mut RemovalSet,
) {
    for entry in own {
        let (going, staying): (Vec<_>, Vec<_>) = entry
            .names
            .iter()
            .partition(|name| picked.contains(name.text.as_ref()));
        if going.is_empty() {
            continue;
        }
        gone.names
            .extend(going.iter().map(|name| name.text.to_string()));
        if staying.is_empty() {
            gone.entries.insert(entry.position);
        } else {
            take_names(entry, &going, gone);
        }
    }
}

/// Takes all names of an image away and keeps one entry without a name.
fn untag_all<'a>(own: impl Iterator<Item = &'a EntryFacts> + Clone, gone: &mut RemovalSet) {
    let mut kept = own.clone().any(|entry| entry.role.is_nameless());
    for entry in own.filter(|entry| !entry.names.is_empty()) {
        gone.names
            .extend(entry.names.iter().map(|name| name.text.to_string()));
        if entry.role.is_nameless() {
            // Only docker save's list names it.
            take_names(entry, &entry.names.iter().collect::<Vec<_>>(), gone);
            continue;
        }
        if kept {
            gone.entries.insert(entry.position);
            continue;
        }
        kept = true;
        take_names(entry, &entry.names.iter().collect::<Vec<_>>(), gone);
    }
}

/// Takes names of an entry away that stays. A name can stand in several annotations (docker writes the full one and the
/// tag), and hide another: where no annotation is left to name the entry, all of them go.
fn take_names(entry: &EntryFacts, names: &[&EntryName], gone: &mut RemovalSet) {
    let (annotated, saved): (Vec<&EntryName>, Vec<&EntryName>) =
        names.iter().copied().partition(|name| name.is_annotation());
    for name in saved {
        gone.saved.insert((entry.position, name.text.to_string()));
    }
    if annotated.is_empty() {
        return;
    }
    let mut own = entry.names.iter().filter(|name| name.is_annotation());
    if own.any(|name| !annotated.contains(&name)) {
        let cut = annotated.iter().map(|name| (entry.position, name.key));
        gone.annotations.extend(cut);
        return;
    }
    for key in [CONTAINERD_NAME, REF_NAME, BASE_NAME] {
        if entry.details.annotations.contains_key(key) {
            gone.annotations.push((entry.position, key));
        }
    }
}

/// Returns the holds on an image or on a manifest below it, by position and name.
pub(super) fn holds_on(view: &Snapshot, id: BlobId) -> Vec<(usize, String)> {
    holds_among(view, &held(view), id)
}

/// Returns what holds protect, with the position of the hold.
fn held(view: &Snapshot) -> Vec<(BlobId, usize)> {
    let roots = view.graph.roots().iter();
    roots
        .filter_map(|root| match (&root.target, root.source) {
            (Ok(target), RootSource::Hold(position)) => Some((*target, position)),
            _ => None,
        })
        .collect()
}

/// Does the same as [`holds_on`] where it is known what holds protect.
fn holds_among(view: &Snapshot, held: &[(BlobId, usize)], id: BlobId) -> Vec<(usize, String)> {
    if held.is_empty() {
        return Vec::new();
    }
    let content: BTreeSet<BlobId> = content_of(&view.graph, id, None)
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    held.iter()
        .filter(|(target, _)| content.contains(target))
        .filter_map(|(_, position)| {
            let hold = view.state.holds.holds.get(*position)?;
            Some((*position, hold.name.clone()))
        })
        .collect()
}
