//! `df`: disk usage, and the space that a prune would free.
//!
//! *Promise*: RECLAIMABLE is exactly what `prune` with defaults frees, because it is computed
//! from the same plan.

use std::collections::HashSet;

use jiff::Timestamp;

use crate::error::{ErrorKind, Result};
use crate::fs::FileStat;
use crate::graph::{BlobSet, RootSource, content_of};
use crate::layout::BlobId;
use crate::layout::trash::Trash;
use crate::model::entries::EntryFacts;
use crate::model::images::Image;
use crate::model::inventory::{Counted, Files, Unmeasured};
use crate::model::snapshot::Snapshot;
use crate::plan::{
    Alone, Filters, Policy, PruneError, PruneOptions, Scope, SweepOptions, Tally, Verdicts,
    dangling_with_tags, hardlink_totals, prune_with,
};

/// One row of `df`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageRow {
    /// The number of items.
    pub total: u64,
    /// The number of items that a prune keeps.
    pub active: u64,
    /// Their bytes on disk, each inode once, and without what an earlier row counts.
    pub size: u64,
    /// The bytes that a prune would free.
    pub reclaimable: u64,
}

impl UsageRow {
    /// Returns the sum of two rows.
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            total: self.total.saturating_add(other.total),
            active: self.active.saturating_add(other.active),
            size: self.size.saturating_add(other.size),
            reclaimable: self.reclaimable.saturating_add(other.reclaimable),
        }
    }
}

/// The bytes of a layout.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// Images with a name.
    pub images: UsageRow,
    /// Images without a name.
    pub untagged: UsageRow,
    /// Unreferenced blobs.
    pub orphans: UsageRow,
    /// Temporary files of writers.
    pub temporary: UsageRow,
    /// The number of foreign files in `blobs/`.
    pub foreign: u64,
    /// Why a prune would refuse, so that nothing is reclaimable.
    pub refusal: Option<String>,
    /// Blobs that count as 0 bytes.
    pub unmeasured: Option<Unmeasured>,
    /// Files with several hard links, which another layout may have as well.
    linked: Vec<Linked>,
}

/// A blob whose inode has several hard links.
#[derive(Debug, Clone, Copy)]
struct Linked {
    file: FileStat,
    /// `true` if a prune would delete this name.
    is_removed: bool,
}

impl Usage {
    /// Sets why a prune would refuse, so that nothing is reclaimable. An earlier reason is kept.
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
            linked.is_removed = false;
        }
    }

    /// Returns the sum of the rows.
    #[must_use]
    pub fn total(&self) -> UsageRow {
        let rows = [self.images, self.untagged, self.orphans, self.temporary];
        rows.into_iter().fold(UsageRow::default(), UsageRow::plus)
    }
}

/// Returns the sum over several layouts, as if they were one: each inode is counted once, and is
/// reclaimable if all of its names are deleted, in whichever layouts they are.
#[must_use]
pub fn together(usages: &[&Usage]) -> UsageRow {
    let mut sum = UsageRow::default();
    let mut counted: HashSet<(u64, u64)> = HashSet::new();
    let mut removed = Vec::with_capacity(usages.len());
    for usage in usages {
        let mut row = usage.total();
        let mut here: HashSet<(u64, u64)> = HashSet::new();
        for Linked { file, .. } in &usage.linked {
            let inode = (file.device, file.inode);
            if here.insert(inode) && !counted.insert(inode) {
                row.size = row.size.saturating_sub(file.len);
            }
        }
        let linked = usage.linked.iter().filter(|linked| linked.is_removed);
        let linked: Vec<FileStat> = linked.map(|linked| linked.file).collect();
        for alone in hardlink_totals(std::slice::from_ref(&linked)) {
            row.reclaimable = row.reclaimable.saturating_sub(alone.freed_bytes);
        }
        sum = sum.plus(row);
        removed.push(linked);
    }
    for totals in hardlink_totals(&removed) {
        sum.reclaimable = sum.reclaimable.saturating_add(totals.freed_bytes);
    }
    sum
}

/// The disk usage of an image, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImageUsage {
    /// All of its blobs.
    pub size: u64,
    /// The bytes that are kept if only this image is removed: other images, holds, other lists or a writer use them as well.
    pub shared: u64,
    /// The bytes that are freed if only this image is removed, as by `rm -f` of its ID.
    pub unique: u64,
}

/// Computes `df`. The grace period is that [of the snapshot](Snapshot::protect).
///
/// # Errors
/// [`Error::Read`](crate::Error::Read) and others; if a layout cannot be swept, nothing is reclaimable.
pub fn usage(
    snapshot: &Snapshot,
    images: &[Image],
    entries: &[EntryFacts],
    files: &Files,
    options: &SweepOptions,
) -> Result<Usage> {
    let mut usage = Usage {
        foreign: snapshot.graph.blobs().foreign.len() as u64,
        unmeasured: files.unmeasured().cloned(),
        ..Usage::default()
    };
    let mut counted = Counted::new(files);
    let (named, untagged): (Vec<&Image>, Vec<&Image>) =
        images.iter().partition(|image| !image.names.is_empty());
    // The digest tags of a dangling image are removed with it, and count in its bytes.
    let dangling: HashSet<usize> = dangling_with_tags(snapshot, entries)
        .into_iter()
        .map(|entry| entry.position)
        .collect();
    let is_kept = |image: &&&Image| {
        let mut positions = image.entries.iter();
        !positions.all(|position| dangling.contains(position))
    };
    usage.images.total = named.len() as u64;
    usage.images.active = named.iter().filter(is_kept).count() as u64;
    let others = snapshot
        .graph
        .roots()
        .iter()
        .filter(|root| !matches!(root.source, RootSource::Entry(_)))
        .filter_map(|root| root.id());
    let kept = named.iter().filter(is_kept).map(|image| image.id);
    let kept = kept.chain(others);
    usage.images.size = counted.take(&snapshot.graph.reach(kept));
    usage.untagged.total = untagged.len() as u64;
    let all = snapshot.graph.roots().iter().filter_map(|root| root.id());
    usage.untagged.size = counted.take(&snapshot.graph.reach(all));
    usage.orphans.total = snapshot.graph.orphans().len() as u64;
    usage.orphans.size = counted.take_rest();
    usage.temporary.total = snapshot.graph.blobs().temporary.len() as u64;
    let temporary = snapshot.graph.blobs().temporary.iter();
    usage.temporary.size = temporary.map(|file| file.len).fold(0, u64::saturating_add);
    let removed = reclaimable(snapshot, images, entries, options, files, &mut usage)?;
    usage.linked = files
        .iter()
        .filter(|(_, file)| file.links > 1)
        .map(|(id, file)| Linked {
            file,
            is_removed: removed.contains(id),
        })
        .collect();
    Ok(usage)
}

/// Measures the trash, which `trash empty` frees.
///
/// # Errors
/// [`Error::Read`](crate::Error::Read).
pub fn trash_usage(trash: Trash<'_>) -> Result<UsageRow> {
    let mut tally = Tally::default();
    for (_, file) in trash.blobs()? {
        tally.blob(&file);
    }
    let totals = tally.totals();
    Ok(UsageRow {
        total: totals.blobs,
        active: 0,
        size: totals.freed_bytes.saturating_add(totals.linked_bytes),
        reclaimable: totals.freed_bytes,
    })
}

/// Sets the bytes that a default prune would free, and returns the blobs that it would delete.
fn reclaimable(
    snapshot: &Snapshot,
    images: &[Image],
    entries: &[EntryFacts],
    options: &SweepOptions,
    files: &Files,
    usage: &mut Usage,
) -> Result<BlobSet> {
    let (filters, policy) = (Filters::default(), Policy::default());
    let now = Timestamp::UNIX_EPOCH;
    let defaults = PruneOptions::new(Scope::Dangling, &filters, &policy, now);
    let verdicts = Verdicts::Omit;
    let pruned = prune_with(
        snapshot, images, entries, &defaults, options, files, verdicts,
    );
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
    let mut orphans = Tally::default();
    let mut removed = BlobSet::default();
    for blob in plan.sweep.iter() {
        removed.insert(blob.id);
        if !snapshot.graph.is_rooted(blob.id) {
            orphans.blob(&blob.file);
        }
    }
    let orphans = orphans.totals();
    usage.orphans.reclaimable = orphans.freed_bytes;
    // Bytes that are freed only because an untagged image is removed too, including hard links between the two.
    usage.untagged.reclaimable = all.freed_bytes.saturating_sub(orphans.freed_bytes);
    usage.temporary.reclaimable = all.temporary_bytes;
    let is_removed = |image: &&Image| {
        let mut positions = image.entries.iter();
        positions.all(|position| pruned.entries.contains(position))
    };
    let pruned_images = images.iter().filter(is_removed).count() as u64;
    usage.untagged.active = usage.untagged.total.saturating_sub(pruned_images);
    usage.orphans.active = usage.orphans.total.saturating_sub(orphans.blobs);
    usage.temporary.active = usage.temporary.total.saturating_sub(all.temporary);
    Ok(removed)
}

/// Computes SIZE, SHARED and UNIQUE of each image, in the order of `images`.
#[must_use]
pub fn image_usages(
    snapshot: &Snapshot,
    images: &[Image],
    entries: &[EntryFacts],
    files: &Files,
) -> Vec<ImageUsage> {
    image_usages_beside(snapshot, images, entries, files, &BlobSet::default())
}

/// Like [`image_usages`], if other layouts share the blobs: those that they reference (`elsewhere`) are not freed.
pub(crate) fn image_usages_beside(
    snapshot: &Snapshot,
    images: &[Image],
    entries: &[EntryFacts],
    files: &Files,
    elsewhere: &BlobSet,
) -> Vec<ImageUsage> {
    let alone = Alone::of(snapshot, entries);
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
            for (id, _) in content_of(&snapshot.graph, image.id, None) {
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
