//! `prune`: which images go by rule, filter and budget, and why each of the others stays.
//!
//! *Promise*: the removal is the same as `rm` of the chosen images, so whatever something that stays
//! leads to stays; each image has a reason that was computed and not guessed; the bytes that are
//! announced are those of the plan.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::entries::{EntryFacts, EntryRole};
use crate::error::Error;
use crate::graph::{Accept, RootSource};
use crate::images::{Image, Images, content_of};
use crate::layout::BlobId;
use crate::oci::Digest;
use crate::sys::Fs;
use crate::usage::{Counted, Walk, files};
use crate::view::View;

use super::filter::Resolved;
use super::policy::Aged;
use super::remove::{Extent, Gone, Removal, RemoveOptions, SweepExtent, cascade, finish};
use super::{FilterError, Filters, Force, Policy, Referrers, SweepOptions, TimeSource, dangling};

/// Which images may go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scope {
    /// Only dangling ones.
    #[default]
    Dangling,
    /// Every image that no hold, filter or rule keeps.
    All,
}

/// How to prune.
#[derive(Debug, Clone)]
pub struct PruneOptions<'a> {
    /// Which images may go.
    pub scope: Scope,
    /// Only what passes these goes.
    pub filters: &'a Filters,
    /// What stays.
    pub policy: &'a Policy,
    /// Bytes that live blobs may take, with every inode counted once.
    pub max_size: Option<u64>,
    /// Which clock tells the age.
    pub time: TimeSource,
    /// The present.
    pub now: Timestamp,
    /// Where days and weeks begin.
    pub zone: TimeZone,
    /// Accept that the last image goes.
    pub empty: Accept,
    /// Accept that documents which stay listed are missing.
    pub missing: Accept,
}

/// What becomes of one image, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The image.
    pub digest: Digest,
    /// Its names.
    pub names: Vec<String>,
    /// Its age.
    pub time: Option<Timestamp>,
    /// Bytes of it on disk, shared ones included.
    pub size: u64,
    /// It goes.
    pub goes: bool,
    /// Why it goes or stays; never empty.
    pub reasons: Vec<String>,
}

/// Whether a size budget was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// None was given.
    None,
    /// Live blobs fit.
    Reached,
    /// They do not, and nothing more may go.
    Missed {
        /// Bytes that live blobs still take.
        live: u64,
    },
}

/// A planned prune.
#[derive(Debug)]
pub struct Prune {
    /// What is done.
    pub removal: Removal,
    /// What becomes of each image, in the order of `index.json`. Parts and referrers of other images
    /// follow those and have no verdict of their own.
    pub verdicts: Vec<Verdict>,
    /// Whether the budget was reached.
    pub budget: Budget,
    /// Everything goes that is listed, and nothing was said that would keep anything.
    pub takes_everything: bool,
    /// What stays, in bytes.
    pub kept: KeptBytes,
    /// The positions of the entries that go.
    pub entries: BTreeSet<usize>,
}

/// What holds the bytes that stay. Each byte is counted for the first that holds it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeptBytes {
    /// Names that stay.
    pub names: u64,
    /// What they lead to.
    pub names_bytes: u64,
    /// What other entries, holds and docker-save elements lead to.
    pub other_bytes: u64,
    /// Orphans in flight.
    pub in_flight_bytes: u64,
}

impl KeptBytes {
    /// Returns all bytes that stay.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.names_bytes
            .saturating_add(self.other_bytes)
            .saturating_add(self.in_flight_bytes)
    }
}

/// Why nothing is pruned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// The layout cannot be pruned.
    #[error(transparent)]
    Layout(#[from] Error),
    /// A filter means nothing here.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The last image would go.
    #[error("cannot prune `{path}`: nothing would be left of its {images} images")]
    LastImage {
        /// The layout.
        path: String,
        /// How many images there are.
        images: usize,
    },
}

/// One image while it is judged.
struct Judged<'a> {
    image: &'a Image,
    time: Option<Timestamp>,
    /// Nothing but a hold, `--keep` or `--keep-from` can say this.
    always: Vec<String>,
    reasons: Vec<String>,
    /// Filters or the scope leave it alone.
    is_out_of_reach: bool,
    goes: bool,
}

/// Plans a prune.
///
/// # Errors
/// [`PruneError`]; nothing is done then.
pub fn prune(
    view: &View,
    images: &[Image],
    entries: &[EntryFacts],
    options: &PruneOptions<'_>,
    sweep_options: &SweepOptions,
    fs: &dyn Fs,
) -> Result<Prune, PruneError> {
    let mut cache = Images::new(view);
    let dangling = dangling(view);
    let filters = options
        .filters
        .against(view, entries, &mut cache, &dangling)?;
    let mut judged = judge(
        view, images, entries, options, &filters, &mut cache, &dangling,
    );
    let all_files = files(view, fs);
    let mut budget = Budget::None;
    let removal = loop {
        let chosen: Vec<&Image> = judged
            .iter()
            .filter(|judged| judged.goes)
            .map(|judged| judged.image)
            .collect();
        let (gone, removal) = plan(view, entries, &chosen, options, sweep_options, fs)?;
        let Some(max_size) = options.max_size else {
            break (gone, removal);
        };
        let live = live_bytes(view, &gone, &all_files);
        if live <= max_size {
            budget = Budget::Reached;
            break (gone, removal);
        }
        // The first round takes as many as a count of owners says; later ones take one at a time,
        // for what the count cannot see.
        if !trim(view, &mut judged, live - max_size, options, &all_files) {
            budget = Budget::Missed { live };
            break (gone, removal);
        }
    };
    let (gone, removal) = removal;
    let left = entries
        .iter()
        .filter(|entry| !gone.entries.contains(&entry.position));
    let (named_left, any_left) = left.fold((0, 0), |(named, any), entry| {
        (named + usize::from(entry.role == EntryRole::Named), any + 1)
    });
    let had_named = entries.iter().any(|entry| entry.role == EntryRole::Named);
    let is_last = !gone.entries.is_empty() && (any_left == 0 || (had_named && named_left == 0));
    if is_last && options.empty == Accept::No {
        return Err(PruneError::LastImage {
            path: view.layout.path().display().to_string(),
            images: images.len(),
        });
    }
    let kept = kept_bytes(view, entries, &gone, &removal, &all_files);
    let takes_everything = options.scope == Scope::All
        && options.filters.is_empty()
        && !options.policy.chooses()
        && options.policy.keep.is_empty()
        && options.max_size.is_none()
        && images.iter().all(|image| image.holds.is_empty());
    let verdicts = judged
        .into_iter()
        .map(|judged| {
            let mut reasons = judged.always;
            reasons.extend(judged.reasons);
            Verdict {
                digest: judged.image.digest.clone(),
                names: judged
                    .image
                    .names
                    .iter()
                    .map(|name| name.text.to_string())
                    .collect(),
                time: judged.time,
                size: cache.sizes(judged.image.id, None).disk,
                goes: judged.goes,
                reasons,
            }
        })
        .collect();
    Ok(Prune {
        removal,
        verdicts,
        budget,
        takes_everything,
        kept,
        entries: gone.entries,
    })
}

/// Finds out which images stand for themselves, and what is to become of each.
fn judge<'a>(
    view: &View,
    images: &'a [Image],
    entries: &[EntryFacts],
    options: &PruneOptions<'_>,
    filters: &Resolved<'_>,
    cache: &mut Images<'_>,
    dangling: &BTreeSet<usize>,
) -> Vec<Judged<'a>> {
    let follows = followers(view, images, entries, dangling);
    let mut judged: Vec<Judged<'a>> = images
        .iter()
        .filter(|image| !follows.contains(&image.id))
        .map(|image| {
            let mut always: Vec<String> = image
                .holds
                .iter()
                .map(|hold| format!("held by {hold}"))
                .collect();
            always.extend(options.policy.always(image));
            let is_dangling = image
                .entries
                .iter()
                .all(|position| dangling.contains(position));
            let mut reasons = Vec::new();
            let mut is_out_of_reach = false;
            if options.scope == Scope::Dangling && !is_dangling {
                reasons.push(if image.names.is_empty() {
                    "untagged, but nothing in the layout is named".to_owned()
                } else {
                    "named".to_owned()
                });
                is_out_of_reach = true;
            } else if !filters.matches(image, cache, options.time) {
                reasons.push("does not pass the filters".to_owned());
                is_out_of_reach = true;
            }
            Judged {
                image,
                time: cache.time(image.id, options.time),
                always,
                reasons,
                is_out_of_reach,
                goes: false,
            }
        })
        .collect();
    // The rules look at what could go; what filters leave alone takes nobody's place.
    let positions: Vec<usize> = judged
        .iter()
        .enumerate()
        .filter(|(_, judged)| !judged.is_out_of_reach)
        .map(|(position, _)| position)
        .collect();
    let aged: Vec<Aged<'_>> = positions
        .iter()
        .filter_map(|position| judged.get(*position))
        .map(|judged| Aged {
            image: judged.image,
            time: judged.time,
        })
        .collect();
    let by_rule = options.policy.reasons(&aged, options.now, &options.zone);
    for (position, reasons) in positions.into_iter().zip(by_rule) {
        let Some(judged) = judged.get_mut(position) else {
            continue;
        };
        judged.reasons.extend(reasons);
        if !judged.always.is_empty() || !judged.reasons.is_empty() {
            continue;
        }
        let is_named = !judged.image.names.is_empty();
        // With nothing but a budget, names stay as long as everything fits.
        if is_named && options.max_size.is_some() && !options.policy.chooses() {
            judged.reasons.push("fits the budget".to_owned());
        } else {
            judged.goes = true;
            judged.reasons.push(if is_named {
                "no hold, filter or rule keeps it".to_owned()
            } else {
                "dangling".to_owned()
            });
        }
    }
    judged
}

/// Returns the images that are parts or referrers of others: they follow those.
fn followers(
    view: &View,
    images: &[Image],
    entries: &[EntryFacts],
    dangling: &BTreeSet<usize>,
) -> BTreeSet<BlobId> {
    let has_names = entries
        .iter()
        .any(|entry| entry.role != EntryRole::Untagged);
    let mut parts: BTreeSet<BlobId> = BTreeSet::new();
    if !has_names {
        // Without any name nothing is dangling; parts are found by looking into the others.
        for image in images {
            parts.extend(
                content_of(&view.graph, image.id, None)
                    .into_iter()
                    .map(|(id, _)| id)
                    .filter(|id| *id != image.id),
            );
        }
    }
    let named: BTreeMap<&str, BlobId> = entries
        .iter()
        .filter(|entry| entry.role == EntryRole::Named)
        .flat_map(|entry| {
            entry
                .names
                .iter()
                .filter_map(|name| Some((&*name.text, entry.id?)))
        })
        .collect();
    images
        .iter()
        .filter(|image| {
            let mut own = entries.iter().filter(|entry| entry.id == Some(image.id));
            own.all(|entry| {
                let is_about_something = entry
                    .about
                    .iter()
                    .any(|about| view.graph.is_present(*about) && *about != image.id);
                match entry.role {
                    EntryRole::Named => false,
                    EntryRole::DigestTag => is_about_something,
                    EntryRole::KindReferrer => entry
                        .names
                        .iter()
                        .any(|name| named.contains_key(&*name.text)),
                    EntryRole::Untagged if has_names => !dangling.contains(&entry.position),
                    EntryRole::Untagged => parts.contains(&image.id) || is_about_something,
                }
            })
        })
        .map(|image| image.id)
        .collect()
}

/// Plans the removal of the chosen images, with everything that nothing references.
fn plan(
    view: &View,
    entries: &[EntryFacts],
    chosen: &[&Image],
    options: &PruneOptions<'_>,
    sweep_options: &SweepOptions,
    fs: &dyn Fs,
) -> Result<(Gone, Removal), PruneError> {
    let mut gone = Gone::default();
    for image in chosen {
        gone.entries.extend(&image.entries);
        gone.names
            .extend(image.names.iter().map(|name| name.text.to_string()));
        gone.images.push(image.id);
        gone.picked.insert(image.id);
    }
    let remove_options = RemoveOptions {
        force: Force::No,
        referrers: Referrers::Follow,
        extent: Extent::Images,
        missing: options.missing,
    };
    let left = if gone.images.is_empty() {
        Vec::new()
    } else {
        cascade(view, entries, &remove_options, &mut gone)
    };
    let extent = SweepExtent::Everything {
        empty: options.empty,
    };
    let mut removal = finish(view, &gone, options.missing, extent, sweep_options, fs)?;
    removal.left_referrers = left;
    Ok((gone, removal))
}

fn live_bytes(view: &View, gone: &Gone, files: &crate::usage::Files) -> u64 {
    let live = gone.live(view);
    Counted::new(files).take(&live)
}

/// Chooses more images to go, the oldest first, until so many bytes are counted as freed. Says
/// whether any was chosen.
fn trim(
    view: &View,
    judged: &mut [Judged<'_>],
    excess: u64,
    options: &PruneOptions<'_>,
    files: &crate::usage::Files,
) -> bool {
    let mut walk = Walk::default();
    let mut owners: BTreeMap<BlobId, u32> = BTreeMap::new();
    let others = view.graph.roots().iter().filter(|root| {
        !matches!(
            root.source,
            RootSource::Entry(_) | RootSource::InsideEntry(_) | RootSource::DockerSave(_)
        )
    });
    let others = others.filter_map(|root| root.target.as_ref().ok().copied());
    for id in walk.reach(&view.graph, others.collect()) {
        *owners.entry(id).or_default() += 1;
    }
    let staying: Vec<usize> = judged
        .iter()
        .enumerate()
        .filter(|(_, judged)| !judged.goes)
        .map(|(position, _)| position)
        .collect();
    let mut reaches: BTreeMap<usize, Vec<BlobId>> = BTreeMap::new();
    for &position in &staying {
        let Some(judged) = judged.get(position) else {
            continue;
        };
        let reach = walk.reach(&view.graph, vec![judged.image.id]);
        for id in &reach {
            *owners.entry(*id).or_default() += 1;
        }
        reaches.insert(position, reach);
    }
    let mut candidates: Vec<usize> = staying
        .iter()
        .copied()
        .filter(|position| {
            judged
                .get(*position)
                .is_some_and(|judged| judged.always.is_empty() && !judged.is_out_of_reach)
        })
        .collect();
    // Oldest first; what has no date counts as new.
    candidates.sort_by_key(|position| {
        judged.get(*position).map(|judged| {
            (
                !judged.image.names.is_empty(),
                judged.time.unwrap_or(Timestamp::MAX),
                judged.image.digest.clone(),
            )
        })
    });
    let mut named_left = judged
        .iter()
        .filter(|judged| !judged.goes && !judged.image.names.is_empty())
        .count();
    let mut freed = 0_u64;
    let mut any = false;
    for position in candidates {
        if freed >= excess {
            break;
        }
        let Some(judged) = judged.get_mut(position) else {
            continue;
        };
        let is_named = !judged.image.names.is_empty();
        if is_named && named_left == 1 && options.empty == Accept::No {
            // The last image stays: an importer of a cache without its tag fails the build.
            continue;
        }
        judged.goes = true;
        judged.reasons = vec!["over the size budget, and the oldest".to_owned()];
        named_left -= usize::from(is_named);
        any = true;
        for id in reaches.remove(&position).unwrap_or_default() {
            if let Some(count) = owners.get_mut(&id) {
                *count -= 1;
                if *count == 0 {
                    freed = freed.saturating_add(files.get(id).map_or(0, |file| file.len));
                }
            }
        }
    }
    any
}

fn kept_bytes(
    view: &View,
    entries: &[EntryFacts],
    gone: &Gone,
    removal: &Removal,
    files: &crate::usage::Files,
) -> KeptBytes {
    let named: Vec<&EntryFacts> = entries
        .iter()
        .filter(|entry| entry.role == EntryRole::Named && !gone.entries.contains(&entry.position))
        .collect();
    let mut counted = Counted::new(files);
    let names: BTreeSet<&str> = named
        .iter()
        .flat_map(|entry| &entry.names)
        .map(|name| &*name.text)
        .collect();
    let ids = named.iter().filter_map(|entry| entry.id);
    let names_bytes = counted.take(&view.graph.reach_after(ids, &gone.change()));
    let other_bytes = counted.take(&gone.live(view));
    KeptBytes {
        names: names.len() as u64,
        names_bytes,
        other_bytes,
        in_flight_bytes: removal
            .plan
            .kept
            .iter()
            .fold(0, |sum: u64, kept| sum.saturating_add(kept.len)),
    }
}
