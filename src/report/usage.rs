//! `df`: how many bytes are here, what they are for, and how many of them a prune would free.
//!
//! *Promise*: RECLAIMABLE is what `prune` with defaults frees, to the byte, because it is computed
//! from the same plan.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::{ErrorKind, Result};
use crate::fs::FileStat;
use crate::fs::Fs;
use crate::graph::content_of;
use crate::graph::{BlobSet, EmptyIndex, MissingDocuments, RootSource};
use crate::layout::BlobId;
use crate::model::entries::{EntryFacts, list_entries};
use crate::model::images::Image;
use crate::model::images::TimeSource;
use crate::model::inventory::{Counted, Files, Unmeasured, files};
use crate::model::snapshot::Snapshot;
use crate::plan::{
    Alone, Deletion, Filters, Policy, PruneError, PruneOptions, Scope, SweepOptions, Tally, Totals,
    dangling_with_tags, hardlink_totals, prune_with,
};

/// One row of `df`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Row {
    /// How many there are.
    pub total: u64,
    /// How many of them a prune keeps.
    pub active: u64,
    /// Their bytes on disk, each inode once; what a row above counts is not counted again.
    pub size: u64,
    /// Bytes that a prune would free.
    pub reclaimable: u64,
}

/// The bytes of a layout.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// Images with a name.
    pub images: Row,
    /// Images without a name.
    pub untagged: Row,
    /// Blobs that no root reaches.
    pub orphans: Row,
    /// Temporary files of writers.
    pub temporary: Row,
    /// Foreign files in `blobs/`.
    pub foreign: u64,
    /// Why a prune would refuse, so that nothing is reclaimable.
    pub refusal: Option<String>,
    /// Blobs that count as 0 bytes.
    pub unmeasured: Option<Unmeasured>,
    /// Files with several names, which another layout may have as well.
    linked: Vec<Linked>,
}

/// A blob whose inode has several names.
#[derive(Debug, Clone, Copy)]
struct Linked {
    file: FileStat,
    /// A prune would delete this name.
    goes: bool,
}

impl Usage {
    /// Notes why a prune would refuse: nothing is reclaimable then. An earlier reason stands.
    pub fn refuse(&mut self, why: String) {
        self.refusal.get_or_insert(why);
        for row in [
            &mut self.images,
            &mut self.untagged,
            &mut self.orphans,
            &mut self.temporary,
        ] {
            row.active = row.total;
            row.reclaimable = 0;
        }
        for linked in &mut self.linked {
            linked.goes = false;
        }
    }

    /// Returns the sum of the rows.
    #[must_use]
    pub fn total(&self) -> Row {
        [self.images, self.untagged, self.orphans, self.temporary]
            .into_iter()
            .fold(Row::default(), |sum, row| Row {
                total: sum.total.saturating_add(row.total),
                active: sum.active.saturating_add(row.active),
                size: sum.size.saturating_add(row.size),
                reclaimable: sum.reclaimable.saturating_add(row.reclaimable),
            })
    }
}

/// Returns the sum over several layouts, as if they were one: each inode is counted once, and is
/// reclaimable when all of its names go, in whichever layouts they are.
#[must_use]
pub fn together(usages: &[&Usage]) -> Row {
    let mut sum = Row::default();
    let mut counted: HashSet<(u64, u64)> = HashSet::new();
    let mut going = Vec::with_capacity(usages.len());
    for usage in usages {
        let row = usage.total();
        sum.total = sum.total.saturating_add(row.total);
        sum.active = sum.active.saturating_add(row.active);
        let mut here: HashSet<(u64, u64)> = HashSet::new();
        let mut again = 0_u64;
        for Linked { file, .. } in &usage.linked {
            let inode = (file.device, file.inode);
            if here.insert(inode) && !counted.insert(inode) {
                again = again.saturating_add(file.len);
            }
        }
        sum.size = sum.size.saturating_add(row.size.saturating_sub(again));
        let goes: Vec<FileStat> = usage
            .linked
            .iter()
            .filter(|linked| linked.goes)
            .map(|linked| linked.file)
            .collect();
        let alone: u64 = hardlink_totals(std::slice::from_ref(&goes))
            .iter()
            .map(|totals| totals.freed_bytes)
            .sum();
        sum.reclaimable = sum
            .reclaimable
            .saturating_add(row.reclaimable.saturating_sub(alone));
        going.push(goes);
    }
    for totals in hardlink_totals(&going) {
        sum.reclaimable = sum.reclaimable.saturating_add(totals.freed_bytes);
    }
    sum
}

/// What an image takes, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImageUsage {
    /// All of it.
    pub size: u64,
    /// What is kept if it alone goes: other images, holds, other lists or a writer need it as well.
    pub shared: u64,
    /// What is freed if it alone is removed, with what goes along: `rm -f` of its ID.
    pub unique: u64,
}

/// Computes `df`. The grace period is that [of the view](Snapshot::protect).
///
/// # Errors
/// [`Error::Read`](crate::Error::Read) and the like; a layout that cannot be swept is no error, but has nothing that
/// could be reclaimed.
pub fn usage(
    view: &Snapshot,
    images: &[Image],
    fs: &dyn Fs,
    options: &SweepOptions,
) -> Result<Usage> {
    let files = files(view, fs);
    let mut usage = Usage {
        foreign: view.graph.blobs().foreign.len() as u64,
        unmeasured: files.unmeasured().cloned(),
        ..Usage::default()
    };
    let mut counted = Counted::new(&files);
    let (named, untagged): (Vec<&Image>, Vec<&Image>) =
        images.iter().partition(|image| !image.names.is_empty());
    let entries = list_entries(view);
    // The digest tags of what is dangling are removed with it, and belong to its bytes.
    let dangling: HashSet<usize> = dangling_with_tags(view, &entries)
        .into_iter()
        .map(|entry| entry.position)
        .collect();
    let stays = |image: &&&Image| {
        let mut positions = image.entries.iter();
        !positions.all(|position| dangling.contains(position))
    };
    usage.images.total = named.len() as u64;
    usage.images.active = named.iter().filter(stays).count() as u64;
    let others = view
        .graph
        .roots()
        .iter()
        .filter(|root| !matches!(root.source, RootSource::Entry(_)))
        .filter_map(|root| root.id());
    let kept = named.iter().filter(stays).map(|image| image.id);
    let kept = kept.chain(others);
    usage.images.size = counted.take(&view.graph.reach(kept));
    usage.untagged.total = untagged.len() as u64;
    let all = view.graph.roots().iter().filter_map(|root| root.id());
    usage.untagged.size = counted.take(&view.graph.reach(all));
    usage.orphans.total = view.graph.orphans().len() as u64;
    usage.orphans.size = counted.take_rest();
    usage.temporary.total = view.graph.blobs().temporary.len() as u64;
    usage.temporary.size = view
        .graph
        .blobs()
        .temporary
        .iter()
        .map(|stray| stray.len)
        .fold(0, u64::saturating_add);
    let going = reclaimable(view, images, &entries, fs, options, (&files, &mut usage))?;
    usage.linked = files
        .iter()
        .filter(|(_, file)| file.links > 1)
        .map(|(id, file)| Linked {
            file,
            goes: going.contains(id),
        })
        .collect();
    Ok(usage)
}

/// Fills in what a prune with defaults would free, and returns what it would delete.
fn reclaimable(
    view: &Snapshot,
    images: &[Image],
    entries: &[EntryFacts],
    fs: &dyn Fs,
    options: &SweepOptions,
    (files, usage): (&Files, &mut Usage),
) -> Result<BlobSet> {
    let (filters, policy) = (Filters::default(), Policy::default());
    let defaults = PruneOptions {
        scope: Scope::Dangling,
        filters: &filters,
        policy: &policy,
        max_size: None,
        time: TimeSource::Added,
        now: Timestamp::UNIX_EPOCH,
        zone: TimeZone::UTC,
        empty: EmptyIndex::Refuse,
        missing: MissingDocuments::Refuse,
    };
    let pruned = view
        .layout
        .refuse_shared_blobs()
        .map_err(PruneError::from)
        .and_then(|()| prune_with(view, images, entries, &defaults, options, fs, files));
    let pruned = match pruned {
        Ok(pruned) => pruned,
        Err(PruneError::Layout(error)) if error.kind() != ErrorKind::Refused => {
            return Err(error);
        }
        Err(error) => {
            usage.refuse(error.to_string());
            return Ok(BlobSet::default());
        }
    };
    let plan = &pruned.removal.plan;
    let all = plan.totals();
    let orphans = totals_of(
        plan.sweep
            .iter()
            .filter(|victim| !view.graph.is_rooted(victim.id)),
    );
    usage.orphans.reclaimable = orphans.freed_bytes;
    // What only goes because an untagged image goes too, hard links between the two included.
    usage.untagged.reclaimable = all.freed_bytes.saturating_sub(orphans.freed_bytes);
    usage.temporary.reclaimable = all.temporary_bytes;
    let gone = images
        .iter()
        .filter(|image| {
            image
                .entries
                .iter()
                .all(|position| pruned.entries.contains(position))
        })
        .count() as u64;
    usage.untagged.active = usage.untagged.total.saturating_sub(gone);
    usage.orphans.active = usage.orphans.total.saturating_sub(orphans.blobs);
    usage.temporary.active = usage.temporary.total.saturating_sub(all.temporary);
    let mut going = BlobSet::default();
    for victim in plan.sweep.iter() {
        going.insert(victim.id);
    }
    Ok(going)
}

fn totals_of(victims: impl Iterator<Item = Deletion>) -> Totals {
    let mut tally = Tally::default();
    for victim in victims {
        tally.blob(&victim.file);
    }
    tally.totals()
}

/// Computes SIZE, SHARED and UNIQUE of each image, in the order of `images`.
#[must_use]
pub fn image_usages(view: &Snapshot, images: &[Image], fs: &dyn Fs) -> Vec<ImageUsage> {
    image_usages_beside(view, images, fs, &BlobSet::default())
}

/// Does the same where other layouts share the blobs: what they reference (`elsewhere`) is freed by none of these images.
pub(crate) fn image_usages_beside(
    view: &Snapshot,
    images: &[Image],
    fs: &dyn Fs,
    elsewhere: &BlobSet,
) -> Vec<ImageUsage> {
    let files = files(view, fs);
    let entries = list_entries(view);
    let alone = Alone::of(view, &entries);
    images
        .iter()
        .map(|image| {
            let freed = alone.freed(image);
            let mut unique = Tally::default();
            let is_freed = |id: BlobId| freed.contains(&id) && !elsewhere.contains(id);
            let here = freed.iter().filter(|id| is_freed(**id));
            for file in here.filter_map(|id| files.get(*id)) {
                unique.blob(&file);
            }
            let mut usage = ImageUsage {
                unique: unique.totals().freed_bytes,
                ..ImageUsage::default()
            };
            for (id, _) in content_of(&view.graph, image.id, None) {
                let len = files.get(id).map_or(0, |file| file.len);
                usage.size = usage.size.saturating_add(len);
                if !is_freed(id) {
                    usage.shared = usage.shared.saturating_add(len);
                }
            }
            usage
        })
        .collect()
}
