//! Records of a run before and after it changes something.
//!
//! *Order*: the layouts are locked, [`Journal::begin`] returns, something is changed, [`Journal::end`] is called, the locks are
//! released. A crash leaves a beginning without an end.
//!
//! *Failure*: if the beginning cannot be recorded, nothing is changed.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;

use crate::error::{Error, Result};
use crate::execute::{GroupOutcome, Repaired, Restored, UndoPlan, Undone};
use crate::layout::holds::Hold;
use crate::layout::trash::TrashedRun;
use crate::oci::Digest;
use crate::plan::{GroupPlan, Totals};

/// Receives what a run is about to change, and the result. Runs on several layouts call it from several threads.
pub trait Journal: Send + Sync + Debug {
    /// Records a change before it begins. Returns a number for [`end`](Self::end).
    ///
    /// # Errors
    /// The error of recording it. Nothing is then changed.
    fn begin(&self, layouts: &[&Path], change: &Change<'_>) -> Result<u64>;

    /// Records that runs were deleted from the trash to make room on a full disk. Called before [`end`](Self::end).
    fn made_room(&self, number: u64, emptied: &[TrashedRun]) {
        let _ = (number, emptied);
    }

    /// Records the result of a change.
    fn end(&self, number: u64, result: &ChangeResult<'_>);
}

/// A change that is about to begin.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Change<'a> {
    /// A plan is executed. If a layout has changed since the plan was made, nothing is done, and the next plan is recorded
    /// as another change.
    Plan {
        /// The plan.
        plan: &'a GroupPlan,
        /// The expired runs in the trash: a plan that uses the trash deletes them.
        expired: &'a [TrashedRun],
        /// The other runs in the trash: a plan that uses the trash deletes the oldest of them if the disk is full.
        others: &'a [TrashedRun],
    },
    /// Missing blobs are restored from the trash, if it has them.
    Restore(&'a BTreeSet<Digest>),
    /// Blobs that were restored go back into their runs in the trash, because the plan that comes next deletes them.
    Return(&'a [&'a Restored]),
    /// A run is undone.
    Undo(&'a UndoPlan),
    /// Runs are deleted from the trash.
    Empty(&'a [TrashedRun]),
    /// Holds are added and removed.
    Holds {
        /// The new ones.
        added: &'a [Hold],
        /// The removed ones.
        removed: &'a [Hold],
    },
    /// Missing or damaged blobs are replaced, if there are intact copies.
    Repair(&'a [Digest]),
}

/// The result of a change.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ChangeResult<'a> {
    /// A plan was executed, with this outcome.
    Executed(&'a GroupPlan, &'a GroupOutcome),
    /// These blobs were restored.
    Restored(&'a [Restored]),
    /// These blobs are in the trash again.
    Returned(&'a BTreeSet<Digest>),
    /// One blob was restored, or was in its place; its size.
    RestoredBlob(Option<u64>),
    /// A run was undone.
    Undone(&'a Undone),
    /// Runs were deleted.
    Emptied(Totals),
    /// The holds were written.
    HoldsWritten,
    /// These blobs were replaced.
    Repaired(&'a [Repaired]),
    /// It failed.
    Failed(&'a Error),
}

/// Records a change around some work.
///
/// # Errors
/// Those of [`Journal::begin`] and of the work.
pub(super) fn record<T>(
    journal: Option<&dyn Journal>,
    (layouts, change): (&[&Path], &Change<'_>),
    work: impl FnOnce() -> Result<T>,
    result: impl FnOnce(&T) -> ChangeResult<'_>,
) -> Result<T> {
    let Some(journal) = journal else {
        return work();
    };
    let number = journal.begin(layouts, change)?;
    let done = work();
    match &done {
        Ok(done) => journal.end(number, &result(done)),
        Err(error) => journal.end(number, &ChangeResult::Failed(error)),
    }
    done
}
