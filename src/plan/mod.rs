//! Decisions, as values.
//!
//! A plan has everything that its execution needs and leaves nothing undecided. A dry run shows the plan
//! and does not execute it, so there is no flag that deletion code could forget to check.

mod age;
mod archive;
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
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::fs::FileStat;
use crate::graph::{InFlight, Writer};
use crate::layout::trash::TrashOptions;
use crate::layout::{BlobId, BlobList, TempFile, Writes};
use crate::model::snapshot::Snapshot;
use crate::oci::Digest;

pub use age::{Age, Tie};
pub use dangling::dangling;
pub(crate) use dangling::dangling_images;
pub(crate) use dangling::dangling_with_tags;
pub use deletions::{Deletion, Deletions};
pub use filter::{FilterError, Filters};
pub use gc::{SweepSnapshot, sweep_all};
pub use group_plan::GroupPlan;
pub use hardlinks::hardlink_totals;
pub use policy::{Across, GroupBy, KeepFrom, Policy};
pub use prune::{
    Budget, BudgetHolder, Holder, KeptBytes, KeptLink, Prune, PruneError, PruneOptions, Scope,
    Survey, Tree, TreeShare, Verdict, prune,
};
pub(crate) use prune::{Verdicts, prune_with};
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
pub(crate) use sweep::{Known, stale_files, sweep};
pub use unmatched::{Unmatched, Wider, unmatched, unmatched_everywhere};

/// What is written to and deleted from one layout.
///
/// Only this crate makes one, and nothing else can change it. Orphans in it were found unreferenced by marking, are past the
/// grace period, and belong to no other layout; blobs that the command itself releases need no grace period, and a sparse plan
/// deletes blobs that are still referenced.
#[derive(Debug)]
pub struct Plan {
    pub(crate) layout: PathBuf,
    pub(crate) base: Digest,
    pub(crate) blobs: Arc<BlobList>,
    pub(crate) sweep: Deletions,
    pub(crate) order: Order,
    pub(crate) kept: Vec<Kept>,
    /// Documents to delete that could not be read, and why: what only they reference is not in the plan.
    pub(crate) unread: Vec<(Digest, Box<str>)>,
    /// `true` if orphans are kept, or are not part of the plan.
    pub(crate) leaves_orphans: bool,
    pub(crate) writer: Option<Writer>,
    pub(crate) temporary: Vec<TempFile>,
    /// Temporary files that contain another program's file, by path relative to the layout: a run was killed while it
    /// exchanged the two. Every command that changes the layout restores them first.
    pub(crate) parked: Vec<PathBuf>,
    pub(crate) foreign: usize,
    pub(crate) writes: Writes,
    pub(crate) spare: Deletions,
    pub(crate) empty_layout: EmptyLayouts,
    pub(crate) merges_layers: bool,
    /// Blobs that were recorded as released and are referenced again.
    pub(crate) relisted: Vec<Digest>,
    /// The latest current time that the plan assumes, in nanoseconds since 1970.
    pub(crate) latest_now: i128,
    /// `true` if it intentionally deletes blobs that are still referenced.
    pub(crate) is_sparse: bool,
    /// The trash into which deleted blobs are moved.
    pub(crate) trash: Option<Trashing>,
    /// The bytes by which an archive gets shorter in addition to its blobs, see [`Totals::packing_bytes`].
    pub(crate) packing: i64,
    /// Bytes of the documents that it adds, see [`Totals::written_bytes`].
    pub(crate) written: u64,
}

impl Plan {
    /// Returns the path of the layout.
    #[must_use]
    pub fn layout(&self) -> &Path {
        &self.layout
    }

    /// Returns the blobs that the numbers in this plan refer to.
    #[must_use]
    pub const fn blobs(&self) -> &Arc<BlobList> {
        &self.blobs
    }

    /// Returns the blobs to delete.
    #[must_use]
    pub const fn sweep(&self) -> &Deletions {
        &self.sweep
    }

    /// Returns the order of [`sweep`](Self::sweep).
    #[must_use]
    pub const fn order(&self) -> Order {
        self.order
    }

    /// Returns the unreferenced blobs that are kept, and why.
    #[must_use]
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// Returns the documents to delete that could not be read, and why. Blobs that only they reference are unknown, and this
    /// plan deletes only those that are already unreferenced.
    #[must_use]
    pub fn unread(&self) -> &[(Digest, Box<str>)] {
        &self.unread
    }

    /// Returns `true` if unreferenced blobs remain. Blobs that only [unread](Self::unread) documents reference may be among
    /// them.
    #[must_use]
    pub const fn leaves_orphans(&self) -> bool {
        self.leaves_orphans
    }

    /// Returns the sign of a writer, if blobs that this plan releases are [kept](Self::kept) because of it.
    #[must_use]
    pub const fn writer(&self) -> Option<&Writer> {
        self.writer.as_ref()
    }

    /// Returns the stale temporary files of writers to delete.
    #[must_use]
    pub fn temporary(&self) -> &[TempFile] {
        &self.temporary
    }

    /// Returns `true` if blobs lie in a directory that an overlay file system merges from several layers. The bytes of a
    /// lower layer are not freed when its file is deleted.
    #[must_use]
    pub const fn merges_layers(&self) -> bool {
        self.merges_layers
    }

    /// Returns the number of foreign files in `blobs/`, which are kept.
    #[must_use]
    pub const fn foreign(&self) -> usize {
        self.foreign
    }

    /// Returns what is written before anything is deleted.
    #[must_use]
    pub const fn writes(&self) -> &Writes {
        &self.writes
    }

    /// Returns the orphans that may be deleted if the disk is too full to write. A command that sweeps them
    /// anyway has them in [`sweep`](Self::sweep) as well.
    #[must_use]
    pub const fn spare(&self) -> &Deletions {
        &self.spare
    }

    /// Returns whether the layout itself is removed if it is empty afterwards.
    #[must_use]
    pub const fn empty_layout(&self) -> EmptyLayouts {
        self.empty_layout
    }

    /// Makes the plan move deleted blobs into the trash, if it does something that can be undone. The layout itself is then
    /// kept.
    #[must_use]
    pub fn trashing(self, options: &TrashOptions) -> Self {
        let leaves_a_run = self.can_be_undone();
        Self {
            trash: leaves_a_run.then(|| Trashing::now(options)),
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

    /// Returns `true` if what is deleted is moved into the trash.
    #[must_use]
    pub const fn is_trashing(&self) -> bool {
        self.trash.is_some()
    }

    /// Drops the list of blobs if the plan refers to no blob, to save memory: in a large tree most layouts are clean.
    pub fn shrink(&mut self) {
        if self.sweep.is_empty() && self.spare.is_empty() && self.kept.is_empty() {
            self.blobs = Arc::default();
        }
    }
}

/// How a plan moves blobs into the trash.
#[derive(Debug, Clone)]
pub(crate) struct Trashing {
    pub(crate) options: TrashOptions,
    /// Runs that end by this time are deleted. It is read once, so that what is recorded before and what is deleted are the same.
    pub(crate) over_by: Timestamp,
}

impl Trashing {
    pub(crate) fn now(options: &TrashOptions) -> Self {
        Self {
            options: options.clone(),
            over_by: crate::clock::now(),
        }
    }
}

/// The order in which blobs are deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// The order of the directories, which is the fastest: by name it takes a fifth longer (measured on ext4, cold). It
    /// differs between file systems, so output is sorted by digest.
    #[default]
    Directories,
    /// docker's order: each image, its other documents, its layers from the top down; then everything else, by digest.
    Docker,
}

/// An unreferenced blob that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The blob.
    pub id: BlobId,
    /// Its length in bytes; 0 if it could not be inspected.
    pub len: u64,
    /// Why it is kept.
    pub because: KeepReason,
}

/// Why an unreferenced blob is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepReason {
    /// It is recent, and a writer may be about to list it.
    InFlight {
        /// When it was written, in nanoseconds since 1970.
        modified: i64,
    },
    /// An orphan in flight references it.
    UsedInFlight,
    /// This plan releases it, and an active [writer](Plan::writer) may list it again.
    WriterAtWork,
    /// The snapshot was read without a grace period.
    Unprotected,
    /// It, or a blob that references it, was released while a [writer](Plan::writer) was active, and a writer still is.
    Released,
    /// It cannot be read, and may be a referrer of a live image.
    Unreadable,
}

/// What a plan frees, or what its execution freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Blobs deleted.
    pub blobs: u64,
    /// Their bytes, each name counted.
    pub bytes: u64,
    /// Bytes that are freed: once per inode, and only if its last name is deleted.
    pub freed_bytes: u64,
    /// Bytes that are not freed because the inode has another name outside this run.
    pub linked_bytes: u64,
    /// Temporary files of writers deleted.
    pub temporary: u64,
    /// Their bytes, which are freed as well.
    pub temporary_bytes: u64,
    /// For a layout in an uncompressed archive: the further bytes by which the archive gets shorter. These are headers and
    /// padding of removed members, less what edited documents add, so that the sum is the difference of the file lengths.
    pub packing_bytes: i64,
    /// Bytes of new documents, which occupy what was freed: the index that replaces one without a platform.
    pub written_bytes: u64,
}

impl Totals {
    /// Returns the reclaimed bytes: what is freed, less what is written.
    #[must_use]
    pub const fn reclaimed_bytes(&self) -> u64 {
        self.freed_bytes
            .saturating_add(self.temporary_bytes)
            .saturating_add_signed(self.packing_bytes)
            .saturating_sub(self.written_bytes)
    }

    /// Returns the packing with which these are the totals of an archive that gets shorter by this number of bytes.
    pub(crate) fn packing_for(&self, shorter: i128) -> i64 {
        let freed = i128::from(self.freed_bytes) + i128::from(self.temporary_bytes);
        let own = freed - i128::from(self.written_bytes);
        i64::try_from(shorter - own).unwrap_or_default()
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
            packing_bytes: self.packing_bytes.saturating_add(other.packing_bytes),
            written_bytes: self.written_bytes.saturating_add(other.written_bytes),
        }
    }
}

/// Counts what the deletion of files frees. Plan and outcome use the same count, so that
/// a dry run cannot report another number than the run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    totals: Totals,
    /// Per inode with several names: names, names deleted, bytes.
    linked: HashMap<(u64, u64), (u32, u32, u64)>,
}

impl Tally {
    /// Counts one deleted blob.
    pub(crate) fn blob(&mut self, file: &FileStat) {
        self.totals.blobs += 1;
        self.totals.bytes = self.totals.bytes.saturating_add(file.len);
        let is_known = self.linked.contains_key(&(file.device, file.inode));
        if file.links <= 1 && !is_known {
            self.totals.freed_bytes = self.totals.freed_bytes.saturating_add(file.len);
            return;
        }
        let names = self.linked.entry((file.device, file.inode));
        let (links, deleted, _) = names.or_insert((file.links, 0, file.len));
        // The first stat sees all names; later ones miss those that were deleted since then.
        *links = (*links).max(file.links);
        *deleted += 1;
    }

    /// Counts one deleted temporary file or directory.
    pub(crate) const fn temporary(&mut self, len: u64) {
        self.totals.temporary += 1;
        self.totals.temporary_bytes = self.totals.temporary_bytes.saturating_add(len);
    }

    /// Returns the sums.
    #[must_use]
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = self.totals;
        for (links, deleted, len) in self.linked.values() {
            let counted = if deleted >= links {
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
    /// Returns what the execution of the plan frees, without concurrent changes.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut tally = Tally::default();
        // Moving blobs into the trash frees nothing.
        for deletion in self.sweep.iter().filter(|_| self.trash.is_none()) {
            tally.blob(&deletion.file);
        }
        for file in &self.temporary {
            tally.temporary(file.len);
        }
        Totals {
            packing_bytes: self.packing,
            written_bytes: self.written,
            ..tally.totals()
        }
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

    /// Returns a plan that does nothing.
    #[must_use]
    pub(crate) fn empty(snapshot: &Snapshot) -> Self {
        let Snapshot {
            layout,
            state,
            graph,
        } = snapshot;
        let base = state.fingerprint().clone();
        Self {
            parked: layout.parked(&graph.blobs().temporary),
            merges_layers: layout.merges_layers(),
            relisted: relisted(snapshot, |id| graph.is_rooted(id)),
            latest_now: graph.latest_now(),
            ..Self::over(layout.path().to_owned(), base, graph.blobs().clone())
        }
    }

    /// Returns a plan that does nothing over these blobs.
    pub(crate) fn over(layout: PathBuf, base: Digest, blobs: Arc<BlobList>) -> Self {
        Self {
            layout,
            base,
            foreign: blobs.foreign.len(),
            blobs,
            sweep: Deletions::default(),
            order: Order::default(),
            kept: Vec::new(),
            unread: Vec::new(),
            leaves_orphans: false,
            writer: None,
            temporary: Vec::new(),
            parked: Vec::new(),
            writes: Writes::default(),
            spare: Deletions::default(),
            empty_layout: EmptyLayouts::Keep,
            merges_layers: false,
            relisted: Vec::new(),
            latest_now: i128::MIN,
            is_sparse: false,
            trash: None,
            packing: 0,
            written: 0,
        }
    }
}

/// Returns the blobs that were recorded as released and are live.
pub(crate) fn relisted(snapshot: &Snapshot, is_live: impl Fn(BlobId) -> bool) -> Vec<Digest> {
    let noted = snapshot.graph.noted().released.iter();
    noted
        .filter(|digest| snapshot.graph.id(digest).is_some_and(&is_live))
        .cloned()
        .collect()
}

/// Collects values by key.
fn grouped<K: Hash + Eq, V>(items: impl IntoIterator<Item = (K, V)>) -> HashMap<K, Vec<V>> {
    let mut groups: HashMap<K, Vec<V>> = HashMap::new();
    for (key, value) in items {
        groups.entry(key).or_default().push(value);
    }
    groups
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

    pub(super) const fn file(inode: u64, len: u64, links: u32) -> FileStat {
        FileStat {
            len,
            modified: 0,
            device: 1,
            inode,
            links,
        }
    }

    #[test]
    fn an_inode_is_freed_once_with_its_last_name() {
        let cases: &[(&[FileStat], u64, u64)] = &[
            (&[file(1, 10, 1), file(2, 5, 1)], 15, 0),
            (&[file(1, 10, 2)], 0, 10),
            (&[file(1, 10, 2), file(1, 10, 2)], 10, 0),
            (&[file(1, 10, 3), file(1, 10, 3)], 0, 10),
            // The stat of the second name came after the first was deleted.
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
