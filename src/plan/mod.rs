//! Decisions, as values.
//!
//! A plan holds everything that its execution needs and nothing undecided. A dry run shows the plan
//! and does not execute it, so there is no flag that deletion code could forget to ask.

mod age;
mod dangling;
mod deletions;
pub mod filter;
mod gc;
mod group_plan;
mod hardlinks;
pub mod plan_file;
pub mod policy;
mod prune;
mod remove;
mod remove_layout;
mod select;
mod sweep;
mod unmatched;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::FileStat;
use crate::graph::{InFlight, Writer};
use crate::layout::trash::TrashOptions;
use crate::layout::{BlobId, BlobList, TempFile, Writes};
use crate::model::snapshot::Snapshot;
use crate::oci::Digest;

pub use age::{Age, Tie};
pub use dangling::dangling;
pub(crate) use dangling::dangling_with_tags;
pub use deletions::{Deletion, Deletions};
pub use filter::{FilterError, Filters};
pub use gc::{SweepSnapshot, sweep_all};
pub use group_plan::GroupPlan;
pub use hardlinks::hardlink_totals;
pub use policy::{GroupBy, KeepFrom, Policy};
pub(crate) use prune::prune_with;
pub use prune::{
    Budget, BudgetHolder, Holder, KeptBytes, KeptLink, Prune, PruneError, PruneOptions, Scope,
    Verdict, prune,
};
pub(crate) use remove::Alone;
pub use remove::platforms::{PlatformMode, PlatformRequest, Which, drop_platforms};
pub use remove::{
    Conflict, Dropped, Extent, Keeper, KeptImage, LeftCompanion, Moved, Referrers, Removal,
    RemoveOptions, remove,
};
pub use remove_layout::{EmptyLayouts, remove_if_empty};
pub(crate) use select::whole_digest;
pub use select::{Force, MovedImage, Pick, SelectError, Selector};
pub use sweep::SweepOptions;
pub(crate) use sweep::{left_over, sweep};
pub use unmatched::{Unmatched, Wider, unmatched, unmatched_everywhere};

/// What is to be done to one layout.
///
/// Only this crate makes one, and nothing else can change it: what a plan deletes was marked, is protected by the
/// grace period and lies in a layout of its own.
#[derive(Debug)]
pub struct Plan {
    pub(crate) layout: PathBuf,
    pub(crate) base: Digest,
    pub(crate) blobs: Arc<BlobList>,
    pub(crate) sweep: Deletions,
    pub(crate) order: Order,
    pub(crate) kept: Vec<Kept>,
    pub(crate) writer: Option<Writer>,
    pub(crate) temporary: Vec<TempFile>,
    pub(crate) parked: Vec<PathBuf>,
    pub(crate) foreign: usize,
    pub(crate) writes: Writes,
    pub(crate) spare: Deletions,
    pub(crate) empty_layout: EmptyLayouts,
    pub(crate) merges_layers: bool,
    /// Blobs that the note of released blobs names and that are referenced again.
    pub(crate) relisted: Vec<Digest>,
    /// The latest time that the plan takes for the current one, in nanoseconds since 1970.
    pub(crate) latest_now: i128,
    /// It deletes blobs that are still referenced, on purpose.
    pub(crate) is_sparse: bool,
    /// What is deleted goes into the trash.
    pub(crate) trash: Option<TrashOptions>,
}

impl Plan {
    /// Returns the path of the layout.
    #[must_use]
    pub fn layout(&self) -> &Path {
        &self.layout
    }

    /// Returns the state that the plan rests on; under the lock it is compared.
    #[must_use]
    pub const fn base(&self) -> &Digest {
        &self.base
    }

    /// Returns the blobs that the numbers in this plan mean.
    #[must_use]
    pub const fn blobs(&self) -> &Arc<BlobList> {
        &self.blobs
    }

    /// Returns the blobs to delete.
    #[must_use]
    pub const fn sweep(&self) -> &Deletions {
        &self.sweep
    }

    /// Returns the order of [`sweep`](Self::sweep), in which blobs are deleted.
    #[must_use]
    pub const fn order(&self) -> Order {
        self.order
    }

    /// Returns the unreferenced blobs that are kept, and why.
    #[must_use]
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// Returns the sign of the writer because of which what this plan releases is [kept](Self::kept).
    #[must_use]
    pub const fn writer(&self) -> Option<&Writer> {
        self.writer.as_ref()
    }

    /// Returns the stale temporary files of writers to delete.
    #[must_use]
    pub fn temporary(&self) -> &[TempFile] {
        &self.temporary
    }

    /// Returns the temporary files that hold what another program wrote: a run was killed in the moment in which it
    /// exchanged the two. Whatever changes the layout puts them back first. By path relative to the layout.
    #[must_use]
    pub fn parked(&self) -> &[PathBuf] {
        &self.parked
    }

    /// Returns `true` if blobs lie in a directory that an overlay file system merges from several layers. The bytes of a
    /// lower layer stay when its file is deleted.
    #[must_use]
    pub const fn merges_layers(&self) -> bool {
        self.merges_layers
    }

    /// Returns the number of foreign files in `blobs/`, which are left alone.
    #[must_use]
    pub const fn foreign(&self) -> usize {
        self.foreign
    }

    /// Returns what is written before anything is deleted.
    #[must_use]
    pub const fn writes(&self) -> &Writes {
        &self.writes
    }

    /// Returns the orphans that may be deleted when the disk is too full to write. A command that sweeps them
    /// anyway has them in [`sweep`](Self::sweep).
    #[must_use]
    pub const fn spare(&self) -> &Deletions {
        &self.spare
    }

    /// Returns what becomes of the layout itself when nothing is left in it.
    #[must_use]
    pub const fn empty_layout(&self) -> EmptyLayouts {
        self.empty_layout
    }

    /// Moves what goes into the trash, if the plan does something that can be undone. The layout itself is kept then, for
    /// what lies there.
    #[must_use]
    pub fn trashing(self, options: &TrashOptions) -> Self {
        let leaves_a_run = self.can_be_undone();
        Self {
            trash: leaves_a_run.then(|| options.clone()),
            empty_layout: EmptyLayouts::Keep,
            ..self
        }
    }

    /// Returns `true` if the plan does something that can be undone.
    pub(crate) fn can_be_undone(&self) -> bool {
        let writes = &self.writes;
        let is_written = writes.index.is_some()
            || writes.manifest_json.is_some()
            || writes.repositories.is_some();
        is_written || !self.sweep.is_empty()
    }

    /// Returns `true` if what is deleted goes into the trash, where the plan leaves a run that can be undone.
    #[must_use]
    pub const fn is_trashing(&self) -> bool {
        self.trash.is_some()
    }

    /// Drops the list of blobs if the plan names none: in a large tree most layouts are clean.
    pub fn shrink(&mut self) {
        if self.sweep.is_empty() && self.spare.is_empty() && self.kept.is_empty() {
            self.blobs = Arc::default();
        }
    }
}

/// The order in which blobs are deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// That of the directories, which is the fastest: by name it would take a fifth longer (measured on ext4,
    /// cold). It differs from one file system to the next, so whoever tells what goes sorts by digest.
    #[default]
    Directories,
    /// docker's: each image, its other documents, its layers from the top down; then everything else, by digest.
    Docker,
}

/// An orphan that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The blob.
    pub id: BlobId,
    /// Bytes in it, where it could be looked at.
    pub len: u64,
    /// Why it stays.
    pub because: KeepReason,
}

/// Why an orphan stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepReason {
    /// It is young, and a writer may be about to list it.
    InFlight {
        /// When it was written, in nanoseconds since 1970.
        modified: i64,
    },
    /// An orphan in flight refers to it.
    UsedInFlight,
    /// This plan releases it, and [a writer](Plan::writer) at work may list it again.
    WriterAtWork,
    /// The view was read to be shown: no grace period was asked for.
    Unprotected,
    /// It was released while [a writer](Plan::writer) was at work, or is referenced by what was, and a writer is at work.
    Released,
    /// It cannot be read, so nobody knows whether it is a referrer of something live.
    Unreadable,
}

/// What a plan frees, or what its execution freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Blobs deleted.
    pub blobs: u64,
    /// Their bytes, each name counted.
    pub bytes: u64,
    /// Bytes that become free: once per inode, and only when its last name goes.
    pub freed_bytes: u64,
    /// Bytes that stay because another name outside this run references the same inode.
    pub linked_bytes: u64,
    /// Temporary files of writers deleted.
    pub temporary: u64,
    /// Their bytes, which become free as well.
    pub temporary_bytes: u64,
}

impl Totals {
    /// Returns the bytes that become free altogether.
    #[must_use]
    pub const fn reclaimed_bytes(&self) -> u64 {
        self.freed_bytes.saturating_add(self.temporary_bytes)
    }

    /// Adds another layout's totals.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            blobs: self.blobs.saturating_add(other.blobs),
            bytes: self.bytes.saturating_add(other.bytes),
            freed_bytes: self.freed_bytes.saturating_add(other.freed_bytes),
            linked_bytes: self.linked_bytes.saturating_add(other.linked_bytes),
            temporary: self.temporary.saturating_add(other.temporary),
            temporary_bytes: self.temporary_bytes.saturating_add(other.temporary_bytes),
        }
    }
}

/// Counts what goes when files are deleted. The same count serves the plan and the outcome, so that
/// a dry run cannot announce another number than the run.
#[derive(Debug, Default)]
pub struct Tally {
    totals: Totals,
    /// Per inode with several names: names, names deleted, bytes.
    linked: HashMap<(u64, u64), (u32, u32, u64)>,
}

impl Tally {
    /// Counts one deleted blob.
    pub fn blob(&mut self, file: &FileStat) {
        self.totals.blobs += 1;
        self.totals.bytes = self.totals.bytes.saturating_add(file.len);
        let is_known = self.linked.contains_key(&(file.device, file.inode));
        if file.links <= 1 && !is_known {
            self.totals.freed_bytes = self.totals.freed_bytes.saturating_add(file.len);
            return;
        }
        let (links, gone, _) = self
            .linked
            .entry((file.device, file.inode))
            .or_insert((file.links, 0, file.len));
        // The first look sees all names; a later one already misses those that went.
        *links = (*links).max(file.links);
        *gone += 1;
    }

    /// Counts one deleted temporary file or directory.
    pub const fn temporary(&mut self, len: u64) {
        self.totals.temporary += 1;
        self.totals.temporary_bytes = self.totals.temporary_bytes.saturating_add(len);
    }

    /// Returns the sums.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = self.totals;
        for (links, gone, len) in self.linked.values() {
            let counted = if gone >= links {
                &mut totals.freed_bytes
            } else {
                &mut totals.linked_bytes
            };
            *counted = counted.saturating_add(*len);
        }
        totals
    }
}

impl Plan {
    /// Returns what the execution of the plan frees when nobody interferes.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut tally = Tally::default();
        // What goes into the trash frees nothing.
        for victim in self.sweep.iter().filter(|_| self.trash.is_none()) {
            tally.blob(&victim.file);
        }
        for stray in &self.temporary {
            tally.temporary(stray.len);
        }
        tally.totals()
    }

    /// Returns `true` if there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sweep.is_empty()
            && self.temporary.is_empty()
            && self.parked.is_empty()
            && self.writes.is_empty()
            && self.empty_layout == EmptyLayouts::Keep
    }

    /// Returns a plan that does nothing to a layout.
    #[must_use]
    pub(crate) fn empty(view: &Snapshot) -> Self {
        Self {
            layout: view.layout.path().to_owned(),
            base: view.state.fingerprint().clone(),
            blobs: view.graph.blobs().clone(),
            sweep: Deletions::new(),
            order: Order::default(),
            kept: Vec::new(),
            writer: None,
            temporary: Vec::new(),
            parked: view.layout.parked(&view.graph.blobs().temporary),
            foreign: view.graph.blobs().foreign.len(),
            writes: Writes::default(),
            spare: Deletions::new(),
            empty_layout: EmptyLayouts::Keep,
            merges_layers: view.layout.merges_layers(),
            relisted: relisted(view, |id| view.graph.is_rooted(id)),
            latest_now: view.graph.latest_now(),
            is_sparse: false,
            trash: None,
        }
    }
}

/// Returns the noted blobs that are live.
pub(crate) fn relisted(view: &Snapshot, is_live: impl Fn(BlobId) -> bool) -> Vec<Digest> {
    let noted = view.graph.noted().released.iter();
    noted
        .filter(|digest| view.graph.id(digest).is_some_and(&is_live))
        .cloned()
        .collect()
}

impl KeepReason {
    pub(crate) const fn of(flight: InFlight, file: &FileStat) -> Self {
        match flight {
            InFlight::Fresh => Self::InFlight {
                modified: file.modified,
            },
            InFlight::UsedByFresh => Self::UsedInFlight,
            InFlight::Released => Self::Released,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(inode: u64, len: u64, links: u32) -> FileStat {
        FileStat {
            len,
            modified: 0,
            device: 1,
            inode,
            links,
        }
    }

    #[test]
    fn an_inode_is_freed_once_and_only_when_its_last_name_goes() {
        let cases: &[(&[FileStat], u64, u64)] = &[
            (&[file(1, 10, 1), file(2, 5, 1)], 15, 0),
            (&[file(1, 10, 2)], 0, 10),
            (&[file(1, 10, 2), file(1, 10, 2)], 10, 0),
            (&[file(1, 10, 3), file(1, 10, 3)], 0, 10),
            // Looked at after the first name had gone.
            (&[file(1, 10, 2), file(1, 10, 1)], 10, 0),
        ];
        for (files, freed, linked) in cases {
            let mut tally = Tally::default();
            for file in *files {
                tally.blob(file);
            }
            let totals = tally.totals();
            assert_eq!(
                (totals.freed_bytes, totals.linked_bytes),
                (*freed, *linked),
                "{files:?}"
            );
            assert_eq!(totals.blobs, files.len() as u64);
        }
    }
}
