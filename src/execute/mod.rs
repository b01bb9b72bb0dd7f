//! Executes plans.
//!
//! *Order*, and what a crash leaves:
//!
//! | step | a crash here leaves |
//! | --- | --- |
//! | the lock is held | an unlocked lock file at worst |
//! | files of other programs that a killed run left under temporary names are restored | some of them restored |
//! | files that other programs wrote are flushed to disk (`sync_written`) | nothing done |
//! | the state is read again and compared | nothing done |
//! | with a trash, expired runs are emptied, and the record of this one is written | fewer expired runs; a run that took nothing |
//! | on a full disk, here and below, the oldest runs are emptied, or orphans deleted | fewer of them; what is listed is complete |
//! | new documents are written | an orphan: the old image is complete, and listed |
//! | the record of released blobs is replaced | a record of live blobs, which has no effect |
//! | docker save's `manifest.json` and `repositories` are replaced | old names in one, none in the other; every blob exists |
//! | `index.json` is replaced | the old one or the new one, never a mixture; blobs of removed images are orphans |
//! | the note that `index.json` is empty on purpose is written | an empty layout that `gc` refuses without `--allow-empty` |
//! | the record of replaced image IDs is replaced | an old image ID that is unknown |
//! | the record of hollow platforms is replaced | a record of complete platforms, which has no effect |
//! | the state is read again and compared | the same |
//! | blobs are deleted, or moved into the trash | fewer orphans; nothing that is referenced is changed |
//! | temporary files are deleted | fewer of them |
//! | deleted and live blobs are removed from the record of released blobs | a longer record, which keeps garbage while a writer is active |
//! | concurrently listed blobs are restored from the trash | some of them restored; the next run continues |
//! | the state is read once more | everything done |
//! | an empty layout is removed, if requested | an empty layout, or a part of it |
//!
//! Before each further batch of blobs the state is read again: an image that is listed during
//! a long sweep stops it.
//!
//! *Failure*: a file that cannot be deleted does not stop the others. Cancellation takes
//! effect at the next file.

mod commit;
mod cure;
mod group;
mod own_files;
mod recheck;
mod recover;
mod released;
mod remove_layout;
mod repair;
mod sweep;
pub(crate) mod sync;
mod temp_files;
mod trash;
mod undo;

use std::collections::BTreeSet;
use std::io;

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::execute::sync::sync_written;
use crate::fs::Fs;
use crate::layout::change_detector::{ChangeDetector, is_unchanged};
use crate::layout::lock::Locked;
use crate::layout::{Layout, State, TempFile, Writes};
use crate::oci::{Digest, IndexDoc};
use crate::plan::{Deletion, EmptyLayouts, Plan, Totals};
use crate::progress::Progress;

use commit::commit;
pub(crate) use commit::write_holds;
pub use cure::Restored;
pub(crate) use cure::{cure_locked, is_in_trash, needs_cure, refuse_damaged, return_to_trash};
pub use group::GroupOutcome;
pub(crate) use group::execute_group;
use recheck::detect_concurrent_change;
use recover::recover;
use released::trim_released;
pub use remove_layout::remove_directory;
pub use repair::{Repaired, replace_blobs};
use sweep::sweep;
use temp_files::remove_temporary;
pub use trash::Trashed;
pub(crate) use trash::empty_run;
use trash::{LayoutPart, OpenRun};
pub use undo::{LayoutUndo, UndoPlan, Undone};
pub(crate) use undo::{execute_undo, plan_undo, put_back_blob};

/// The outcome of a plan.
#[derive(Debug)]
pub struct Outcome {
    /// What was deleted and freed.
    pub done: Totals,
    /// The result for each blob, in the order of the plan.
    pub results: Vec<DeleteResult>,
    /// The result for each orphan that made room on a full disk, in the order of the plan.
    pub spare_results: Vec<DeleteResult>,
    /// Files that could not be deleted, by path relative to the layout, or to the shared store.
    pub failed: Vec<(String, io::Error)>,
    /// Temporary files that were deleted.
    pub temporary: Vec<TempFile>,
    /// It was cancelled before everything was done.
    pub interrupted: bool,
    /// The changes that another program made concurrently.
    pub concurrent: ConcurrentChange,
    /// The layout was removed, except for its directory: call [`remove_directory`] once the lock is released.
    pub layout_removed: bool,
    /// Deleted files [may be those of a lower layer](Plan::merges_layers), whose bytes are not freed.
    pub merges_layers: bool,
    /// Everything that the plan writes was written; `true` if it writes nothing.
    pub written: bool,
    /// The blobs that were moved into the trash.
    pub trashed: Option<Trashed>,
    /// The blobs that were restored from the trash because they are referenced.
    pub restored: Vec<Restored>,
    /// The error that ended the run after something had been changed. Nothing was deleted after that.
    pub late: Option<Error>,
}

impl Outcome {
    /// Returns the outcome of a plan that does nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            done: Totals::default(),
            results: Vec::new(),
            spare_results: Vec::new(),
            failed: Vec::new(),
            temporary: Vec::new(),
            interrupted: false,
            concurrent: ConcurrentChange::default(),
            layout_removed: false,
            merges_layers: false,
            written: true,
            trashed: None,
            restored: Vec::new(),
            late: None,
        }
    }

    /// Returns `true` if everything was deleted, or moved into the trash, as planned, without errors and concurrent changes.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let is_gone = |result: &DeleteResult| {
            use DeleteResult::{AlreadyGone, Deleted, Trashed};
            matches!(result, Deleted | Trashed | AlreadyGone)
        };
        self.results.iter().all(is_gone)
            && self.failed.is_empty()
            && self.late.is_none()
            && !self.interrupted
            && self.concurrent == ConcurrentChange::default()
    }

    /// Counts the documents that were written.
    fn count_written(&mut self, plan: &Plan) {
        self.done.written_bytes = if self.written { plan.written } else { 0 };
    }

    /// Returns the blobs that were deleted, as they were when the plan was made.
    pub fn deleted<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = Deletion> + use<'a> {
        let spare = plan.spare.iter().zip(&self.spare_results);
        spare
            .chain(plan.sweep.iter().zip(&self.results))
            .filter(|(_, result)| **result == DeleteResult::Deleted)
            .map(|(blob, _)| blob)
    }
}

/// The result of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteResult {
    /// Deleted.
    Deleted,
    /// Moved into the trash.
    Trashed,
    /// Moved into the trash, and restored, since it was listed concurrently.
    Restored,
    /// Another process had deleted it.
    AlreadyGone,
    /// A writer replaced the file, which is kept.
    Replaced,
    /// It could not be deleted.
    Failed,
    /// It was kept, because the run ended early.
    Skipped,
}

/// The changes that another program made while a layout was swept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConcurrentChange {
    /// The state of the layout changed.
    pub changed: bool,
    /// Images that were listed concurrently and reference a blob that this run deleted.
    pub broken: Vec<String>,
}

/// Executes a plan. Only the plan decides what is deleted.
///
/// # Errors
/// [`Error::Changed`] if the layout changed since the plan was made, others if it cannot be read or written. Nothing was
/// deleted in these cases, and no entry removed: a later error is [part of the outcome](Outcome::late).
pub fn execute(
    locked: &Locked<'_>,
    plan: &Plan,
    fs: &dyn Fs,
    progress: &dyn Progress,
) -> Result<Outcome> {
    let mut outcome = change(locked, plan, fs, progress)?;
    outcome.count_written(plan);
    Ok(outcome)
}

/// Executes a plan, without counting the new documents.
fn change(
    locked: &Locked<'_>,
    plan: &Plan,
    fs: &dyn Fs,
    progress: &dyn Progress,
) -> Result<Outcome> {
    let layout = locked.layout();
    recover(locked, fs)?;
    let deletes = !(plan.sweep.is_empty() && plan.spare.is_empty() && plan.temporary.is_empty());
    if deletes || plan.empty_layout == EmptyLayouts::Remove {
        layout.refuse_to_sweep_alone()?;
        refuse_future(plan)?;
    }
    if deletes {
        // First, because it can take long, and the next read detects concurrent changes.
        sync_written(locked, fs)?;
    }
    // Writing needs the content; deleting only needs it to be unchanged.
    let state = if plan.writes.is_empty() {
        is_same(locked, &plan.base)?;
        None
    } else {
        Some(unchanged(locked, &plan.base)?)
    };
    let mut outcome = Outcome::nothing();
    let mut spare_results = Vec::new();
    let run = begin_run(layout, plan, state.as_ref(), fs)?;
    let own = run.as_ref();
    if let Some(state) = &state
        && let Err(refused) = with_room(layout, own, fs, || commit(layout, state, &plan.writes, fs))
    {
        if !is_full(&refused) || plan.spare.is_empty() || run.is_some() {
            let ended = late(layout, plan, refused, Outcome::nothing(), Vec::new());
            // If docker save's files were already written, the run has something to undo.
            if let (Err(_), Some(run)) = (&ended, &run)
                && !is_any_written(layout, state, &plan.writes)
            {
                trash::discard(layout.trash(), run, fs);
            }
            return ended;
        }
        // The new index does not fit on the full disk. Existing garbage makes room:
        // nothing that the old index lists is changed.
        let now = layout.read_state()?;
        let new = plan.writes.index.as_ref().map(IndexDoc::text);
        if now.index.text() != state.index.text() && Some(now.index.text()) != new {
            return Err(Error::changed(layout.path()));
        }
        let detector = ChangeDetector::new(locked, now.fingerprint());
        let is_same = || detector.is_unchanged();
        outcome = sweep(layout, plan, &plan.spare, &is_same, (fs, None), progress);
        spare_results = std::mem::take(&mut outcome.results);
        if let Err(refused) = commit(layout, state, &plan.writes, fs) {
            return late(layout, plan, refused, outcome, spare_results);
        }
    }
    let base = state.as_ref().map_or_else(
        || plan.base.clone(),
        |state| state.fingerprint_after(&plan.writes),
    );
    if state.is_some() {
        let read = layout.read_state();
        if !matches!(&read, Ok(state) if state.fingerprint() == &base) {
            // A writer without a lock wrote concurrently, perhaps the old entries (skopeo and oras write back what they read
            // at their start). Released blobs may be in use again, and are kept.
            outcome.results = vec![DeleteResult::Skipped; plan.sweep.len()];
            outcome.spare_results = spare_results;
            outcome.trashed = run.as_ref().map(OpenRun::without_blobs);
            match read {
                Ok(_) => {
                    let results = [&*outcome.spare_results, &*outcome.results];
                    outcome.concurrent = detect_concurrent_change(layout, &base, plan, &results);
                    outcome.concurrent.changed = true;
                }
                Err(error) => outcome.late = Some(error),
            }
            return Ok(outcome);
        }
    }
    // A crash from here on leaves fewer orphans.
    let made_room = outcome;
    let detector = ChangeDetector::new(locked, &base);
    let is_same = || detector.is_unchanged();
    let mut outcome = sweep(layout, plan, &plan.sweep, &is_same, (fs, own), progress);
    outcome.done = outcome.done.plus(made_room.done);
    outcome.failed.extend(made_room.failed);
    outcome.interrupted |= made_room.interrupted;
    remove_temporary(layout, plan, fs, progress, &mut outcome);
    outcome.merges_layers = outcome.done.blobs > 0 && layout.merges_layers();
    trim_released(layout, &plan.relisted, fs);
    if let Some(run) = &run {
        // Last, so that it covers all concurrent changes.
        let is_written = !plan.writes.is_empty();
        end_run(
            &[(layout, &base)],
            plan,
            (run, is_written),
            fs,
            &mut outcome,
        );
    }
    outcome.concurrent =
        detect_concurrent_change(layout, &base, plan, &[&spare_results, &outcome.results]);
    outcome.spare_results = spare_results;
    if plan.empty_layout == EmptyLayouts::Remove
        && outcome.is_complete()
        && !progress.is_cancelled()
    {
        match remove_layout::remove_layout(layout, &base, fs) {
            Ok(removed) => outcome.layout_removed = removed,
            Err(failed) => outcome.failed.push(failed),
        }
    }
    Ok(outcome)
}

/// Begins a run in the trash, if the plan moves blobs into it.
fn begin_run(
    layout: &Layout,
    plan: &Plan,
    state: Option<&State>,
    fs: &dyn Fs,
) -> Result<Option<OpenRun>> {
    let part = LayoutPart {
        layout,
        plan,
        state,
    };
    with_room(layout, None, fs, || trash::begin(plan, &[part], fs))
}

/// Repeats some work while the disk is full, each time after deleting the oldest run in the trash. Without a trash it is
/// done once.
fn with_room<T>(
    layout: &Layout,
    own: Option<&OpenRun>,
    fs: &dyn Fs,
    mut work: impl FnMut() -> Result<T>,
) -> Result<T> {
    let name = own.map(|run| run.name.as_str());
    loop {
        match work() {
            Err(refused) if is_full(&refused) && trash::make_room(layout.trash(), name, fs)? => {}
            result => return result,
        }
    }
}

/// Restores blobs that were listed while the run moved them, and discards a run that did nothing. `bases` are the layouts,
/// with their fingerprints unless another program has written them.
fn end_run(
    bases: &[(&Layout, &Digest)],
    plan: &Plan,
    (run, is_written): (&OpenRun, bool),
    fs: &dyn Fs,
    outcome: &mut Outcome,
) {
    let (Some(trashed), Some((any, _))) = (&mut outcome.trashed, bases.first()) else {
        return;
    };
    let is_as_planned = || {
        let mut bases = bases.iter();
        bases.all(|(layout, base)| is_unchanged(layout, base))
    };
    if trashed.blobs > 0 && !plan.is_sparse && !is_as_planned() {
        let layouts: Vec<&Layout> = bases.iter().map(|(layout, _)| *layout).collect();
        // Blobs that cannot be restored are reported after the state was read for the last time.
        outcome.restored = cure::cure(&layouts, Some(&run.name), fs).unwrap_or_default();
        let restored: BTreeSet<&Digest> = outcome.restored.iter().map(|it| &it.digest).collect();
        for (blob, result) in plan.sweep.iter().zip(&mut outcome.results) {
            let digest = plan.blobs.digest(blob.id);
            if *result == DeleteResult::Trashed && digest.is_some_and(|it| restored.contains(it)) {
                *result = DeleteResult::Restored;
                trashed.blobs = trashed.blobs.saturating_sub(1);
                trashed.bytes = trashed.bytes.saturating_sub(blob.file.len);
            }
        }
    }
    if trashed.blobs == 0 && !is_written {
        trash::discard(any.trash(), run, fs);
        outcome.trashed = None;
    }
}

/// Ends a run whose commit failed. If something was already changed, the outcome reports it, and everything that the plan
/// releases is kept.
///
/// # Errors
/// The given error, if nothing was changed.
fn late(
    layout: &Layout,
    plan: &Plan,
    error: Error,
    so_far: Outcome,
    spare_results: Vec<DeleteResult>,
) -> Result<Outcome> {
    let written = is_written(layout, &plan.writes);
    let made_room = spare_results.contains(&DeleteResult::Deleted);
    if !written && !made_room {
        return Err(error);
    }
    Ok(Outcome {
        results: vec![DeleteResult::Skipped; plan.sweep.len()],
        spare_results,
        written,
        late: Some(error),
        ..so_far
    })
}

/// Returns `true` if the new `index.json` exists although writing failed: the error may have come from flushing the
/// directory, or from a later file.
fn is_written(layout: &Layout, writes: &Writes) -> bool {
    writes.index.as_ref().is_some_and(|new| {
        let state = layout.read_state();
        state.is_ok_and(|state| state.index.text() == new.text())
    })
}

/// Returns `true` if anything is written that a run in the trash could undo.
fn is_any_written(layout: &Layout, before: &State, writes: &Writes) -> bool {
    let Ok(now) = layout.read_state() else {
        // If in doubt, the record is kept.
        return true;
    };
    let index = writes.index.as_ref().map(IndexDoc::text);
    let is_new = |name: &str, new: Option<&String>| {
        let text = now.text_of(name);
        new.is_some_and(|new| text == Some(new.as_bytes())) && text != before.text_of(name)
    };
    index.is_some_and(|new| new == now.index.text() && new != before.index.text())
        || is_new("manifest.json", writes.manifest_json.as_ref())
        || is_new("repositories", writes.repositories.as_ref())
}

/// Refuses a plan for a future time. Such a plan shows what a policy would do at that time; blobs and images may still be
/// protected now.
///
/// # Errors
/// [`Error::AheadOfClock`].
fn refuse_future(plan: &Plan) -> Result<()> {
    if plan.latest_now <= crate::clock::now().as_nanosecond() {
        return Ok(());
    }
    Err(Error::AheadOfClock {
        path: plan.layout.clone(),
        now: Timestamp::from_nanosecond(plan.latest_now).unwrap_or(Timestamp::MAX),
    })
}

/// Reads the state under the lock: writers that respect the lock cannot change it any more, and changes of others
/// are detected as late as possible.
///
/// # Errors
/// [`Error::Changed`] if it is not `base`, or if the lock file was replaced.
fn unchanged(locked: &Locked<'_>, base: &Digest) -> Result<State> {
    let state = locked.layout().read_state()?;
    if state.fingerprint() != base || !locked.is_in_force()? {
        return Err(Error::changed(locked.layout().path()));
    }
    Ok(state)
}

/// Like [`unchanged`], for plans that write nothing: parsing 10,000 entries again takes longer than deleting a thousand
/// files.
fn is_same(locked: &Locked<'_>, base: &Digest) -> Result<()> {
    if is_unchanged(locked.layout(), base) && locked.is_in_force()? {
        Ok(())
    } else {
        Err(Error::changed(locked.layout().path()))
    }
}

fn is_full(error: &Error) -> bool {
    matches!(error, Error::Write { source, .. }
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}
