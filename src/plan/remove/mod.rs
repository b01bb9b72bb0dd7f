//! `rm`: selects the names and entries to remove, what is removed along with them, and the blobs that this releases.
//!
//! *Promise*: a blob is released only if no kept root references it. docker instead walks down from the removed image and
//! deletes on the way, including layers that other images share.

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

use super::{Force, Known, Pick, Plan, SweepOptions};

pub(crate) use alone::Alone;
pub(super) use cascade::cascade;
pub(super) use finish::finish;
pub(super) use kept_by::kept_by;
pub use kept_by::{Keeper, KeptImage};
pub(super) use selection::{RemovalSet, SweepExtent, keeps_root};

/// The options of a removal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Whether conflicts are overridden.
    pub force: Force,
    /// Whether referrers are removed as well.
    pub referrers: Referrers,
    /// Whether anything but names is removed.
    pub extent: Extent,
    /// Accept that documents which remain listed are missing.
    pub missing: MissingDocuments,
}

/// Whether the referrers of a removed image are removed as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Referrers {
    /// Referrers without a name are removed with it.
    #[default]
    Follow,
    /// They are kept, with what they reference.
    Keep,
}

/// Whether anything but names is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Extent {
    /// An image is removed with its last name, and so are untagged images that it was built upon.
    #[default]
    Images,
    /// Only names are removed; entries become untagged and blobs are kept.
    Names,
}

/// Why something cannot be removed without force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// An image with several names was given by its ID.
    #[error("conflict: unable to delete {id} (must be forced) - image is referenced by {} names: {}", names.len(), names.join(", "))]
    Referenced {
        /// The short image ID.
        id: String,
        /// Its names.
        names: Vec<String>,
    },
    /// A hold protects it. Force removes names, but never the content.
    #[error(
        "conflict: unable to delete {what} ({}) - hold \"{hold}\" is using its image {id}",
        if *can_be_forced { "must be forced" } else { "cannot be forced" }
    )]
    Held {
        /// Force removes the name; the image is kept without one.
        can_be_forced: bool,
        /// The name or short ID that was given.
        what: String,
        /// The hold.
        hold: String,
        /// The short ID of the image.
        id: String,
    },
    /// The image has no such platform.
    #[error(
        "image with reference {image} was found but does not provide the platform {platform}{}",
        if available.is_empty() { String::new() } else { format!(" (it has {})", available.join(", ")) }
    )]
    NoPlatform {
        /// The platform.
        platform: String,
        /// The image.
        image: String,
        /// The platforms that it has.
        available: Vec<String>,
    },
    /// One manifest is the platform to drop and one to keep.
    #[error(
        "conflict: unable to delete {platform} of {image} (cannot be forced) - it is the same manifest as {other}"
    )]
    SameManifest {
        /// The platform.
        platform: String,
        /// The image.
        image: String,
        /// The platform that is kept.
        other: String,
    },
    /// A digest prefix that several platforms of the image share.
    #[error("ambiguous platform: `{platform}` of {image} could be {}", candidates.join(", "))]
    AmbiguousPlatform {
        /// The prefix.
        platform: String,
        /// The image.
        image: String,
        /// The digests with this prefix.
        candidates: Vec<String>,
    },
    /// Other names refer to the same image and would lose the platform as well.
    #[error("conflict: {image} is also {}: Content will be removed from all images referencing this variant. Use --force to force delete.", names.join(", "))]
    SharedVariant {
        /// The name that was given.
        image: String,
        /// The other names.
        names: Vec<String>,
    },
    /// No present platform would be left.
    #[error(
        "conflict: unable to delete {what} (must be forced) - it is the last platform of image {id}{}, which would be removed with it",
        if *absent == 0 { "" } else { " that is present" }
    )]
    LastPlatform {
        /// The name or short ID.
        what: String,
        /// The short ID of the image.
        id: String,
        /// The number of others that the image lists, none of which is present.
        absent: usize,
    },
    /// Signatures and other referrers reference the index, whose digest would change.
    #[error("conflict: unable to rewrite {image} (must be forced) - its digest is referenced by {}", referrers.join(", "))]
    Referred {
        /// The name or short ID.
        image: String,
        /// What refers to it.
        referrers: Vec<String>,
    },
}

/// A planned removal.
#[derive(Debug)]
pub struct Removal {
    /// What is written and deleted.
    pub plan: Plan,
    /// The names that are removed, in docker's order.
    pub untagged: Vec<String>,
    /// Referrers that are kept because they have a name, although their subject is removed.
    pub left_referrers: Vec<String>,
    /// Names that are kept, although another tool derived them from a removed name.
    pub left_companions: Vec<LeftCompanion>,
    /// Conflicts: what cannot be removed without force. Everything else is in the plan.
    pub conflicts: Vec<Conflict>,
    /// Images and platforms that are removed, not only names.
    pub images: Vec<Digest>,
    /// Names that now refer to another image, because a platform was dropped.
    pub moved: Vec<Moved>,
    /// Platforms that are dropped, in the order of their index.
    pub dropped: Vec<Dropped>,
    /// Images that lose their last name but are kept, with the reasons; at most 20.
    pub kept_by: Vec<KeptImage>,
    /// The number of further ones.
    pub more_kept: usize,
}

/// A name that is kept, although another tool derived it from a removed name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftCompanion {
    /// The name that is kept.
    pub name: String,
    /// The name that is removed.
    pub owner: String,
}

/// A platform that is dropped.
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
    /// The names; empty if it is untagged.
    pub names: Vec<String>,
    /// The new image ID.
    pub digest: Digest,
    /// Bytes of the new index.
    pub size: u64,
}

/// Plans a removal.
///
/// # Errors
/// [`Error::Incomplete`](crate::Error::Incomplete) if a kept document is damaged, so that its references are unknown.
/// Removing the damaged image itself works.
pub fn remove(
    snapshot: &Snapshot,
    images: &[Image],
    entries: &[EntryFacts],
    picks: &[Pick],
    options: &RemoveOptions,
    sweep_options: &SweepOptions,
    fs: &dyn Fs,
) -> Result<Removal> {
    let mut gone = RemovalSet::default();
    let conflicts = take_picks(snapshot, images, entries, picks, options, &mut gone);
    let mut removal = conclude(snapshot, entries, options, sweep_options, fs, &mut gone)?;
    removal.conflicts = conflicts;
    removal.left_companions = left_companions(snapshot, entries, &gone);
    Ok(removal)
}

/// Adds what is removed along with the selection, and makes the plan.
fn conclude(
    snapshot: &Snapshot,
    entries: &[EntryFacts],
    options: &RemoveOptions,
    sweep_options: &SweepOptions,
    fs: &dyn Fs,
    gone: &mut RemovalSet,
) -> Result<Removal> {
    let mut left_referrers = Vec::new();
    if !gone.images.is_empty() || !gone.superseded.is_empty() {
        left_referrers = cascade(snapshot, entries, options, gone);
    }
    let extent = SweepExtent::Released;
    let files = Known::Nothing(fs);
    let mut removal = finish(
        snapshot,
        entries,
        gone,
        options.missing,
        extent,
        sweep_options,
        files,
    )?;
    removal.left_referrers = left_referrers;
    if options.extent == Extent::Images {
        (removal.kept_by, removal.more_kept) = kept_by(snapshot, entries, gone, &removal.plan);
    }
    Ok(removal)
}

/// Returns the companions of names that are removed from all images.
fn left_companions(
    snapshot: &Snapshot,
    entries: &[EntryFacts],
    gone: &RemovalSet,
) -> Vec<LeftCompanion> {
    if gone.names.is_empty() {
        return Vec::new();
    }
    let left: HashSet<(usize, &str)> = entries
        .iter()
        .filter(|entry| !gone.entries.contains(&entry.position))
        .flat_map(|entry| entry.names.iter().map(move |name| (entry, name)))
        .filter(|(entry, name)| gone.keeps_name(entry, name))
        .map(|(entry, name)| (entry.position, &*name.text))
        .collect();
    let names_left: HashSet<&str> = left.iter().map(|(_, name)| *name).collect();
    let found: BTreeSet<LeftCompanion> = companions(snapshot, entries)
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

/// Adds the picks, image by image.
fn take_picks(
    snapshot: &Snapshot,
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
            let names = names.entry(*id).or_default();
            names.extend(picked.iter().map(AsRef::as_ref));
        }
        whole.extend(&pick.images);
        // The images of one argument in the order of `index.json`: blob numbers follow the directory, whose order
        // differs between runs.
        let mut of_pick: Vec<BlobId> = pick.names.keys().chain(&pick.images).copied().collect();
        of_pick.sort_by_key(|id| positions.get(id).copied());
        order.extend(of_pick);
        for position in &pick.entries {
            if let Some(entry) = entries.get(*position) {
                gone.take_entry(entry);
            }
        }
    }
    take_saved(snapshot, picks, options, gone);
    let held = held(snapshot);
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
        let own = || image.own_entries(entries);
        let picked = names.remove(&id).unwrap_or_default();
        let mut names = image.names.iter();
        let is_left = names.any(|name| !picked.contains(name.text.as_ref()));
        let is_whole = whole.contains(&id);
        // An ID together with all of the names is not a conflict.
        if is_whole && is_left && image.names.len() > 1 && options.force == Force::No {
            let mut names = image.name_list();
            names.sort();
            conflicts.push(Conflict::Referenced {
                id: image.digest.short(),
                names,
            });
            if picked.is_empty() {
                continue;
            }
        }
        let takes_all =
            !is_left || (is_whole && (options.force == Force::Yes || image.names.len() <= 1));
        if !takes_all {
            untag(own(), &picked, gone);
            continue;
        }
        if options.extent == Extent::Names {
            untag_all(own(), gone);
            continue;
        }
        if let Some((_, hold)) = holds_among(snapshot, &held, id).first() {
            let can_be_forced = !is_whole;
            if can_be_forced && options.force == Force::Yes {
                // As docker keeps the image of a container: only the names are removed.
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
            // Only the last name needs force, but the arguments do not specify which of them is the last: nothing of the
            // image is changed.
            continue;
        }
        let shared_by_kind = shared_by_kind(own(), entries, id);
        let names = image.name_list().into_iter();
        gone.names
            .extend(names.filter(|name| !shared_by_kind.contains(&**name)));
        gone.take_image_but_names(image);
    }
    conflicts
}

/// Adds names of images that are only in docker save's list. An element is removed with the last of its names.
fn take_saved(snapshot: &Snapshot, picks: &[Pick], options: &RemoveOptions, gone: &mut RemovalSet) {
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
    let elements = unlisted_elements(snapshot).into_iter();
    let is_left = |element: &Element| {
        let mut tags = element.repo_tags.iter();
        tags.any(|tag| !picked.contains(tag.as_str()))
    };
    let removed =
        elements.filter(|(_, element)| !element.repo_tags.is_empty() && !is_left(element));
    gone.elements.extend(removed.map(|(position, _)| position));
}

/// Returns the names that other entries have as well, if an image is a referrer by its `kind` (a signature, for example):
/// removing it removes neither the name from its image nor the other referrers.
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
    let others: HashSet<&str> = others.flat_map(|entry| entry.name_texts()).collect();
    names
        .map(|name| &*name.text)
        .filter(|name| others.contains(name))
        .collect()
}

/// Removes some of an image's names. An entry without any name left is removed.
pub(in crate::plan) fn untag<'a>(
    own: impl Iterator<Item = &'a EntryFacts>,
    picked: &BTreeSet<&str>,
    gone: &mut RemovalSet,
) {
    for entry in own {
        let (removed, kept): (Vec<_>, Vec<_>) = entry
            .names
            .iter()
            .partition(|name| picked.contains(name.text.as_ref()));
        if removed.is_empty() {
            continue;
        }
        if kept.is_empty() {
            gone.take_entry(entry);
        } else {
            gone.names
                .extend(removed.iter().map(|name| name.text.to_string()));
            take_names(entry, &removed, gone);
        }
    }
}

/// Removes all names of an image and keeps one entry without a name.
fn untag_all<'a>(own: impl Iterator<Item = &'a EntryFacts> + Clone, gone: &mut RemovalSet) {
    let mut kept = own.clone().any(|entry| entry.role.is_nameless());
    for entry in own.filter(|entry| !entry.names.is_empty()) {
        // An entry without a name is named only by docker save's list.
        let is_nameless = entry.role.is_nameless();
        if kept && !is_nameless {
            gone.take_entry(entry);
            continue;
        }
        kept |= !is_nameless;
        gone.names.extend(entry.name_texts().map(str::to_owned));
        take_names(entry, &entry.names.iter().collect::<Vec<_>>(), gone);
    }
}

/// Removes names from an entry that is kept. A name can be in several annotations (docker writes the full one and the
/// tag), and hide another: if no annotation is left to name the entry, all of them are removed.
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
            gone.annotations.insert((entry.position, key));
        }
    }
}

/// Returns the holds on an image or on a manifest below it: position and name.
pub(super) fn holds_on(snapshot: &Snapshot, id: BlobId) -> Vec<(usize, String)> {
    holds_among(snapshot, &held(snapshot), id)
}

/// Returns what holds protect, with the position of the hold.
fn held(snapshot: &Snapshot) -> Vec<(BlobId, usize)> {
    let roots = snapshot.graph.roots().iter();
    roots
        .filter_map(|root| match root.source {
            RootSource::Hold(position) => Some((root.id()?, position)),
            _ => None,
        })
        .collect()
}

/// Like [`holds_on`], for known holds.
fn holds_among(snapshot: &Snapshot, held: &[(BlobId, usize)], id: BlobId) -> Vec<(usize, String)> {
    if held.is_empty() {
        return Vec::new();
    }
    let content: BTreeSet<BlobId> = content_of(&snapshot.graph, id, None)
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    held.iter()
        .filter(|(target, _)| content.contains(target))
        .filter_map(|(_, position)| {
            let hold = snapshot.state.holds.holds.get(*position)?;
            Some((*position, hold.name.clone()))
        })
        .collect()
}
