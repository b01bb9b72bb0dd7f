//! `rm`: which names and entries go, what goes along with them, and what that releases.
//!
//! *Promise*: a blob is released only if no root that stays leads to it. Nothing is found by walking
//! down from what is removed and deleting on the way: that is how docker tears shared layers out of
//! other images.

use std::collections::{BTreeMap, BTreeSet};

use crate::entries::{EntryFacts, EntryRole};
use crate::error::{Error, Result};
use crate::graph::{Accept, Bits, Change, Cut, MarkOptions, Root, RootSource};
use crate::graph::{BASE_NAME, CONTAINERD_NAME, REF_NAME};
use crate::images::{Image, content_of};
use crate::layout::{BlobId, IndexTime, NewBlob};
use crate::oci::{Digest, Edit, Kind, Role};
use crate::sys::Fs;
use crate::view::View;

use super::select::canonical;
use super::{Force, Pick, Plan, SweepOptions, sweep};

/// How far the clock that stamps files can be behind the one that tells the present, in nanoseconds.
/// Linux stamps with the time of the last tick; network file systems are worse.
const CLOCK_MARGIN: i128 = 1_000_000_000;

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
    pub missing: Accept,
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
    /// A hold protects it.
    #[error(
        "conflict: unable to delete {what} (must be forced) - hold \"{hold}\" is using its image {id}"
    )]
    Held {
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
    /// Other names stand for the same image and would lose the platform as well.
    #[error("conflict: {image} is also {}: Content will be removed from all images referencing this variant. Use --force to force delete.", names.join(", "))]
    SharedVariant {
        /// The name that was given.
        image: String,
        /// The other names.
        names: Vec<String>,
    },
    /// Nothing but the last platform would be left to remove.
    #[error(
        "conflict: unable to delete {what} (must be forced) - it is the last platform of image {id}, which goes with it"
    )]
    LastPlatform {
        /// The name or short ID.
        what: String,
        /// The short ID of the image.
        id: String,
    },
    /// Signatures and the like are about the index, whose digest would be another one.
    #[error("conflict: unable to rewrite {image} (must be forced) - its digest is referred to by {}", referrers.join(", "))]
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
    /// Holds that were overridden and go as well, by name.
    pub released_holds: Vec<String>,
    /// What cannot be removed without force. Everything else is in the plan.
    pub conflicts: Vec<Conflict>,
    /// Images and platforms that go, not only names.
    pub images: Vec<Digest>,
    /// Names whose image is another one now, because a platform went.
    pub moved: Vec<Moved>,
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

/// What is to go, while it is worked out.
#[derive(Debug, Default)]
pub(super) struct Gone {
    pub(super) entries: BTreeSet<usize>,
    /// Names that are cut from entries which stay.
    pub(super) annotations: Vec<(usize, &'static str)>,
    pub(super) names: BTreeSet<String>,
    /// Images that go, in the order in which they were asked for; platforms that go, too.
    pub(super) images: Vec<BlobId>,
    /// Those of them that somebody asked for, not those that go along.
    pub(super) picked: BTreeSet<BlobId>,
    pub(super) holds: BTreeSet<usize>,
    /// Entries that refer to a new index from now on.
    pub(super) replaced: BTreeMap<usize, NewBlob>,
    /// Indexes that make room for new ones. Their referrers go with them, their children do not.
    pub(super) superseded: Vec<BlobId>,
    /// What the new indexes list.
    pub(super) survivors: Vec<BlobId>,
    /// Nested indexes to write, before the ones that entries refer to.
    pub(super) nested: Vec<NewBlob>,
    /// References that do not count any more.
    pub(super) cut: Cut,
    /// Platforms whose layers go, while their documents stay.
    pub(super) hollowed: Vec<BlobId>,
    /// What an image is now, by the names that moved.
    pub(super) moved: Vec<Moved>,
}

/// What is swept after a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SweepExtent {
    /// What the removal releases. Older orphans are the business of `gc` and `prune`, unless the disk
    /// is full.
    Released,
    /// Everything that nothing references.
    Everything {
        /// Accept that `index.json` lists nothing to begin with.
        empty: Accept,
    },
}

impl Gone {
    /// Returns everything that is live afterwards.
    pub(super) fn live(&self, view: &View) -> Bits {
        let elements = docker_elements(view, self);
        let ids = view
            .graph
            .roots()
            .iter()
            .filter(|root| match root.source {
                RootSource::DockerSave(position) => !elements.contains(&position),
                _ => stays(self, root),
            })
            .filter_map(|root| root.target.as_ref().ok().copied());
        view.graph
            .reach_after(ids.chain(self.survivors.iter().copied()), &self.change())
    }

    /// Returns what is different from now on.
    pub(super) const fn change(&self) -> Change<'_> {
        Change {
            unwanted: &self.picked,
            cut: &self.cut,
        }
    }
}

/// Plans a removal.
///
/// # Errors
/// [`Error::Incomplete`] when what stays is damaged, so that nobody knows what it needs; nothing is
/// done then. Removing the damaged image itself works.
pub fn remove(
    view: &View,
    images: &[Image],
    entries: &[EntryFacts],
    picks: &[Pick],
    options: &RemoveOptions,
    sweep_options: &SweepOptions,
    fs: &dyn Fs,
) -> Result<Removal> {
    let mut gone = Gone::default();
    let conflicts = take_picks(view, images, entries, picks, options, &mut gone);
    let mut left_referrers = Vec::new();
    if options.extent == Extent::Images && !gone.images.is_empty() {
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
    Ok(removal)
}

/// Takes over what was picked, image by image.
fn take_picks(
    view: &View,
    images: &[Image],
    entries: &[EntryFacts],
    picks: &[Pick],
    options: &RemoveOptions,
    gone: &mut Gone,
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
    let mut done = BTreeSet::new();
    for id in order {
        if !done.insert(id) {
            continue;
        }
        let Some(image) = images.iter().find(|image| image.id == id) else {
            continue;
        };
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
            untag(entries, id, &picked, gone);
            continue;
        }
        if options.extent == Extent::Names {
            untag_all(entries, id, gone);
            continue;
        }
        let holds = holds_on(view, id);
        if let Some((_, hold)) = holds.first()
            && options.force == Force::No
        {
            let what = match picked.iter().next() {
                Some(name) => (*name).to_owned(),
                None => image.digest.short(),
            };
            conflicts.push(Conflict::Held {
                what,
                hold: hold.clone(),
                id: image.digest.short(),
            });
            // Names beside the last one need no force, but which of them is the last is not said:
            // so nothing of the image is touched.
            continue;
        }
        gone.holds
            .extend(holds.into_iter().map(|(position, _)| position));
        gone.entries.extend(&image.entries);
        gone.names.extend(
            image
                .names
                .iter()
                .filter(|name| !is_of_another(entries, id, &name.text))
                .map(|name| name.text.to_string()),
        );
        gone.images.push(id);
        gone.picked.insert(id);
    }
    conflicts
}

/// Says whether a name is that of another image, which this one only shares by its `kind`: removing a
/// signature takes neither the name from the image nor its other referrers along.
fn is_of_another(entries: &[EntryFacts], id: BlobId, name: &str) -> bool {
    let mut called = entries
        .iter()
        .filter(|entry| entry.names.iter().any(|known| &*known.text == name));
    let is_shared = called
        .clone()
        .any(|entry| entry.id == Some(id) && entry.role == EntryRole::KindReferrer);
    is_shared && called.any(|entry| entry.id != Some(id) && entry.role == EntryRole::Named)
}

/// Takes some of an image's names away. An entry without any name left goes.
fn untag(entries: &[EntryFacts], id: BlobId, picked: &BTreeSet<&str>, gone: &mut Gone) {
    for entry in entries.iter().filter(|entry| entry.id == Some(id)) {
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
            gone.annotations
                .extend(going.iter().map(|name| (entry.position, name.key)));
        }
    }
}

/// Takes all names of an image away and keeps one entry without a name.
fn untag_all(entries: &[EntryFacts], id: BlobId, gone: &mut Gone) {
    let mut of_image = entries
        .iter()
        .filter(|entry| entry.id == Some(id))
        .peekable();
    let has_untagged = of_image
        .clone()
        .any(|entry| entry.role == EntryRole::Untagged);
    let mut kept = has_untagged;
    for entry in of_image.by_ref().filter(|entry| !entry.names.is_empty()) {
        gone.names
            .extend(entry.names.iter().map(|name| name.text.to_string()));
        if kept {
            gone.entries.insert(entry.position);
            continue;
        }
        kept = true;
        for key in [CONTAINERD_NAME, REF_NAME, BASE_NAME] {
            if entry.details.annotations.contains_key(key) {
                gone.annotations.push((entry.position, key));
            }
        }
    }
}

/// Returns the holds on an image or on a manifest below it, by position and name.
pub(super) fn holds_on(view: &View, id: BlobId) -> Vec<(usize, String)> {
    let content: BTreeSet<BlobId> = content_of(&view.graph, id, None)
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    view.graph
        .roots()
        .iter()
        .filter_map(|root| match (&root.target, root.source) {
            (Ok(target), RootSource::Hold(position)) if content.contains(target) => {
                let hold = view.state.holds.holds.get(position)?;
                Some((position, hold.name.clone()))
            }
            _ => None,
        })
        .collect()
}

/// Adds what goes along: untagged entries that were children of what goes, its untagged and
/// digest-tag referrers, those that share its name by `kind`, and untagged images that it was built
/// upon; again and again, until nothing new is found. Whatever something that stays still leads to,
/// stays. Returns the named referrers that stay.
pub(super) fn cascade(
    view: &View,
    entries: &[EntryFacts],
    options: &RemoveOptions,
    gone: &mut Gone,
) -> Vec<String> {
    loop {
        let below = below(view, gone, options.referrers);
        let mut candidates: Vec<&EntryFacts> = Vec::new();
        let mut stays: Vec<BlobId> = roots_that_stay(view, gone)
            .filter(|root| !matches!(root.source, RootSource::Entry(_)))
            .filter_map(|root| root.target.as_ref().ok().copied())
            .collect();
        let bases = bases(view, gone.images.iter().copied());
        for entry in entries {
            let Some(id) = entry.id else { continue };
            if gone.entries.contains(&entry.position) || gone.replaced.contains_key(&entry.position)
            {
                continue;
            }
            let is_child = entry.role == EntryRole::Untagged && below.contains(id);
            let is_base = entry.role == EntryRole::Untagged && bases.contains(&id);
            let is_referrer = options.referrers == Referrers::Follow
                && match entry.role {
                    EntryRole::Untagged | EntryRole::DigestTag => {
                        entry.about.iter().any(|about| below.contains(*about))
                    }
                    EntryRole::KindReferrer => entry
                        .names
                        .iter()
                        .any(|name| gone.names.contains(name.text.as_ref())),
                    EntryRole::Named => false,
                };
            if is_child || is_base || is_referrer {
                candidates.push(entry);
            } else {
                stays.push(id);
            }
        }
        // What stays keeps its children and its referrers; those keep theirs.
        loop {
            let ids = stays.iter().chain(&gone.survivors).copied();
            let live = view.graph.reach_after(ids, &gone.change());
            let before = candidates.len();
            // An image that others were built upon as well is in use.
            let used = if bases.is_empty() {
                BTreeSet::new()
            } else {
                self::bases(view, stays.iter().copied())
            };
            candidates.retain(|entry| {
                let is_kept = entry
                    .id
                    .is_some_and(|id| live.contains(id) || used.contains(&id))
                    || (entry.role != EntryRole::KindReferrer
                        && entry.about.iter().any(|about| live.contains(*about)));
                if is_kept {
                    stays.extend(entry.id);
                }
                !is_kept
            });
            if candidates.len() == before {
                break;
            }
        }
        if candidates.is_empty() {
            return left_referrers(entries, gone, &below);
        }
        for entry in candidates {
            gone.entries.insert(entry.position);
            gone.names
                .extend(entry.names.iter().map(|name| name.text.to_string()));
            if let Some(id) = entry.id
                && !gone.images.contains(&id)
            {
                gone.images.push(id);
            }
        }
    }
}

/// Returns everything below what goes: its content, and if they follow also the referrers of that. What
/// it is itself about is not below it.
fn below(view: &View, gone: &Gone, referrers: Referrers) -> Bits {
    let about = |id: BlobId| match referrers {
        Referrers::Follow => view.graph.referrers(id),
        Referrers::Stay => &[],
    };
    let mut bits = Bits::default();
    let mut queue = gone.images.clone();
    for &id in &gone.superseded {
        bits.insert(id);
        queue.extend(about(id));
    }
    while let Some(id) = queue.pop() {
        if !bits.insert(id) {
            continue;
        }
        let edges = view.graph.node(id).map_or(&[][..], |node| &node.edges);
        queue.extend(
            edges
                .iter()
                .filter(|edge| edge.role != Role::Subject)
                .map(|edge| edge.to),
        );
        queue.extend(about(id));
    }
    bits
}

/// Returns the images that these were built upon, by their own word.
fn bases(view: &View, images: impl Iterator<Item = BlobId>) -> BTreeSet<BlobId> {
    let manifests = images.flat_map(|id| {
        content_of(&view.graph, id, None)
            .into_iter()
            .map(|(id, _)| id)
    });
    manifests
        .filter_map(|id| view.graph.node(id)?.base_digest.as_ref())
        .filter_map(|digest| view.graph.id(digest))
        .collect()
}

fn left_referrers(entries: &[EntryFacts], gone: &Gone, below: &Bits) -> Vec<String> {
    let mut left: Vec<String> = entries
        .iter()
        .filter(|entry| {
            entry.role == EntryRole::Named
                && !gone.entries.contains(&entry.position)
                && entry.about.iter().any(|about| below.contains(*about))
        })
        .filter_map(|entry| entry.names.first())
        .map(|name| name.text.to_string())
        .collect();
    left.sort();
    left.dedup();
    left
}

/// Returns the roots that a removal leaves, before docker-save elements are looked at.
fn roots_that_stay<'a>(view: &'a View, gone: &'a Gone) -> impl Iterator<Item = &'a Root> {
    view.graph.roots().iter().filter(|root| match root.source {
        // An element goes with its image.
        RootSource::DockerSave(_) => false,
        _ => stays(gone, root),
    })
}

/// Says whether a root stays, docker-save elements aside.
fn stays(gone: &Gone, root: &Root) -> bool {
    match root.source {
        RootSource::Entry(position) => {
            !gone.entries.contains(&position) && !gone.replaced.contains_key(&position)
        }
        RootSource::InsideEntry(position) => !gone.entries.contains(&position),
        RootSource::Hold(position) => !gone.holds.contains(&position),
        RootSource::IndexField | RootSource::DockerSave(_) => true,
    }
}

/// Returns the elements of docker save's `manifest.json` that go: those whose config belongs to what
/// goes, and which lose a blob by that.
fn docker_elements(view: &View, gone: &Gone) -> BTreeSet<usize> {
    let Some(save) = &view.state.docker_save else {
        return BTreeSet::new();
    };
    let mut below = below(view, gone, Referrers::Follow);
    for &id in &gone.hollowed {
        for (id, _) in content_of(&view.graph, id, None) {
            below.insert(id);
        }
    }
    let stays = roots_that_stay(view, gone).filter_map(|root| root.target.as_ref().ok().copied());
    let live = view
        .graph
        .reach_after(stays.chain(gone.survivors.iter().copied()), &gone.change());
    let is_lost = |digest: &Digest| {
        view.graph
            .id(digest)
            .is_some_and(|id| view.graph.is_present(id) && !live.contains(id))
    };
    save.elements
        .iter()
        .enumerate()
        .filter(|(_, element)| match &element.config {
            Some(config) => {
                view.graph.id(config).is_some_and(|id| below.contains(id))
                    && element.blobs.iter().any(is_lost)
            }
            None => {
                !element.repo_tags.is_empty()
                    && element
                        .repo_tags
                        .iter()
                        .all(|tag| is_gone_name(gone, &tag.name))
            }
        })
        .map(|(position, _)| position)
        .collect()
}

/// Says whether a name of docker save is one that goes: it writes short names there and full ones in
/// `index.json`.
fn is_gone_name(gone: &Gone, name: &str) -> bool {
    let wanted = canonical(name);
    gone.names.iter().any(|name| canonical(name) == wanted)
}

/// Makes the plan: edits of the documents, and the sweep of what they release.
pub(super) fn finish(
    view: &View,
    gone: &Gone,
    missing: Accept,
    extent: SweepExtent,
    sweep_options: &SweepOptions,
    fs: &dyn Fs,
) -> Result<Removal> {
    let View {
        layout,
        state,
        graph,
    } = view;
    let elements = docker_elements(view, gone);
    let keep = |root: &Root| match root.source {
        RootSource::DockerSave(position) => !elements.contains(&position),
        _ => stays(gone, root),
    };
    let is_nothing = gone.entries.is_empty()
        && gone.replaced.is_empty()
        && gone.cut == Cut::default()
        && gone.holds.is_empty();
    let mut plan = if is_nothing && extent == SweepExtent::Released {
        Plan::empty(view)
    } else {
        release(view, gone, missing, extent, &keep, sweep_options, fs)?
    };
    let mut edits: Vec<Edit> = gone
        .entries
        .iter()
        .map(|&position| Edit::RemoveEntry { position })
        .collect();
    edits.extend(
        gone.annotations
            .iter()
            .map(|(position, key)| Edit::RemoveAnnotation {
                position: *position,
                key: (*key).into(),
            }),
    );
    for (position, blob) in &gone.replaced {
        edits.push(Edit::ReplaceDigest {
            position: *position,
            digest: blob.digest.clone(),
            size: blob.bytes.len() as u64,
        });
    }
    plan.writes.blobs.extend(gone.nested.iter().cloned());
    plan.writes.blobs.extend(gone.replaced.values().cloned());
    plan.writes.blobs.dedup();
    // What another image has already is not touched: its time tells how old that image is.
    let swept: BTreeSet<BlobId> = plan.sweep.iter().map(|victim| victim.id).collect();
    plan.writes.blobs.retain(|blob| {
        graph.id(&blob.digest).is_none_or(|id| {
            !graph.is_rooted(id) || graph.node(id).is_none() || swept.contains(&id)
        })
    });
    let file = |name: &str| layout.path().join(name);
    if !edits.is_empty() {
        let edited = state.index.edited(&edits).map_err(|why| Error::Edit {
            path: file("index.json"),
            why,
        })?;
        plan.writes.emptied = edited.entries().is_empty();
        plan.writes.index = Some(edited);
    }
    if let Some(save) = &state.docker_save {
        let edited = save
            .edited(
                |position| elements.contains(&position),
                |name| is_gone_name(gone, name),
            )
            .map_err(|why| Error::Edit {
                path: file("manifest.json"),
                why,
            })?;
        if edited.text() != save.text() {
            plan.writes.manifest_json = Some(edited.text().to_owned());
        }
        if let Some(text) = &state.repositories {
            plan.writes.repositories =
                crate::oci::docker_save::edit_repositories(text, |name| is_gone_name(gone, name))
                    .map_err(|why| Error::Edit {
                    path: file("repositories"),
                    why,
                })?;
        }
    }
    let mut released_holds = Vec::new();
    if !gone.holds.is_empty() {
        let mut holds = state.holds.clone();
        let mut position = 0;
        holds.holds.retain(|hold| {
            let is_gone = gone.holds.contains(&position);
            position += 1;
            if is_gone {
                released_holds.push(hold.name.clone());
            }
            !is_gone
        });
        plan.writes.holds = Some(holds);
    }
    plan.writes.index_time = if graph.has_in_flight() {
        IndexTime::AsBefore
    } else {
        IndexTime::At(sweep_options.started - CLOCK_MARGIN)
    };
    let mut untagged: Vec<String> = gone.names.iter().cloned().collect();
    untagged.sort_by_cached_key(|name| canonical(name));
    Ok(Removal {
        plan,
        untagged,
        left_referrers: Vec::new(),
        released_holds,
        conflicts: Vec::new(),
        images: gone
            .images
            .iter()
            .chain(&gone.hollowed)
            .map(|id| graph.digest(*id).clone())
            .collect(),
        moved: gone.moved.clone(),
    })
}

/// Plans the deletion of what a removal releases, in docker's order: each image, its other
/// documents, then its layers from the top down.
fn release(
    view: &View,
    gone: &Gone,
    missing: Accept,
    extent: SweepExtent,
    keep: &dyn Fn(&Root) -> bool,
    sweep_options: &SweepOptions,
    fs: &dyn Fs,
) -> Result<Plan> {
    let View {
        layout,
        state,
        graph,
    } = view;
    // An entry that goes while another entry of the same image stays releases nothing.
    let staying = graph
        .roots()
        .iter()
        .filter(|root| keep(root))
        .filter_map(|root| root.target.as_ref().ok().copied());
    let live = graph.reach_after(
        staying.chain(gone.survivors.iter().copied()),
        &gone.change(),
    );
    let going = graph.roots().iter().filter(|root| !keep(root));
    let releases = going
        .filter_map(|root| root.target.as_ref().ok())
        .any(|id| !live.contains(*id));
    let is_everything = extent != SweepExtent::Released;
    if !releases && !is_everything && gone.cut == Cut::default() {
        return Ok(Plan::empty(view));
    }
    layout.refuse_shared_blobs()?;
    let live = graph.mark(
        layout,
        state,
        &MarkOptions {
            keep,
            change: gone.change(),
            extra: &gone.survivors,
            missing,
            empty: match extent {
                SweepExtent::Released => Accept::Yes,
                SweepExtent::Everything { empty } => empty,
            },
        },
    )?;
    let mut plan = sweep(view, &live, fs, sweep_options);
    let (released, orphans) = plan
        .sweep
        .into_iter()
        .partition(|victim| graph.is_rooted(victim.id));
    plan.sweep = released;
    if !is_everything {
        plan.temporary = Vec::new();
        plan.spare = orphans;
        plan.kept.retain(|kept| graph.is_rooted(kept.id));
    } else if plan.sweep.is_empty() {
        plan.sweep = orphans;
    } else {
        // What the removal releases first, in docker's order, then the older orphans. On a full disk
        // those make room for the new index.
        plan.spare.clone_from(&orphans);
        plan.sweep.extend(orphans);
    }
    let ranks = docker_order(view, gone);
    plan.sweep.sort_by_key(|victim| {
        (
            ranks.get(&victim.id).copied().unwrap_or(usize::MAX),
            graph.digest(victim.id),
        )
    });
    Ok(plan)
}

/// Ranks blobs: each image, its other documents in the order of their parents, then its layers from
/// the top down.
fn docker_order(view: &View, gone: &Gone) -> BTreeMap<BlobId, usize> {
    let mut order: Vec<BlobId> = Vec::new();
    for &image in gone.superseded.iter().chain(&gone.images) {
        let mut layers = Vec::new();
        let mut seen = Bits::default();
        let mut documents = vec![image];
        seen.insert(image);
        let mut next = 0;
        while let Some(&id) = documents.get(next) {
            next += 1;
            let edges = view.graph.node(id).map_or(&[][..], |node| &node.edges);
            let mut own = Vec::new();
            for edge in edges.iter().filter(|edge| edge.role != Role::Subject) {
                let is_layer =
                    matches!(edge.role, Role::Layer | Role::Blob) || edge.kind == Kind::Layer;
                if !seen.insert(edge.to) {
                    continue;
                }
                if is_layer {
                    own.push(edge.to);
                } else {
                    documents.push(edge.to);
                }
            }
            layers.extend(own.into_iter().rev());
            let mut referrers = view.graph.referrers(id).to_vec();
            referrers.sort_by_key(|referrer| view.graph.digest(*referrer));
            documents.extend(referrers.into_iter().filter(|id| seen.insert(*id)));
        }
        order.extend(documents);
        order.extend(layers);
    }
    let mut ranks = BTreeMap::new();
    for (rank, id) in order.into_iter().enumerate() {
        ranks.entry(id).or_insert(rank);
    }
    ranks
}
