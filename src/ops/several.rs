//! Several groups in one run: the blobs that they share, and their common result.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::execute::{Outcome, remove_directory};
use crate::fs::{Disk, FileStat};
use crate::layout::discover::sharing;
use crate::plan::{Plan, Totals, hardlink_totals};

use super::{Finished, LayoutGroup};

/// The layouts of a run that use the same blobs without a store. For each of them, blobs that only another one needs would be
/// garbage.
#[derive(Debug)]
pub struct Sharing {
    /// For each group, its path and that of another one.
    refused: Vec<Option<(PathBuf, PathBuf)>>,
}

impl Sharing {
    /// Compares the directories of blobs of all groups.
    #[must_use]
    pub fn of(groups: &[LayoutGroup]) -> Self {
        let paths: Vec<PathBuf> = groups.iter().map(|group| group.path().to_owned()).collect();
        let found = groups.iter().zip(sharing(&paths));
        // A store refuses what it shares with layouts that are not in its group.
        let refused = found.map(|(group, other)| match group.paths() {
            (None, _) => Some((group.path().to_owned(), other?)),
            (Some(_), _) => None,
        });
        Self {
            refused: refused.collect(),
        }
    }

    /// Refuses the group with this number if it shares its blobs with another one of the run.
    ///
    /// # Errors
    /// [`Error::SharedWith`].
    pub fn refuse(&self, number: usize) -> Result<()> {
        match self.refused.get(number) {
            Some(Some((path, other))) => Err(Error::SharedWith {
                path: path.clone(),
                other: other.clone(),
            }),
            Some(None) | None => Ok(()),
        }
    }
}

/// Removes the remaining directories of removed layouts, the innermost first: a directory that contained another
/// layout was not empty before. `runs`: the result of each group.
pub fn remove_directories<T, E>(groups: &[LayoutGroup], runs: &[Option<Result<Finished<T>, E>>]) {
    for (group, run) in groups.iter().zip(runs).rev() {
        let parts = run.iter().flatten().flat_map(|finished| &finished.parts);
        let mut outcomes = parts.filter_map(|(_, outcome)| outcome.as_ref());
        if outcomes.any(|outcome| outcome.layout_removed) {
            // An error was reported when the layout was removed.
            drop(remove_directory(group.path(), &Disk));
        }
    }
}

/// Returns what each group freed, or would free: bytes that are hard linked into several groups are counted where their last
/// name is deleted.
#[must_use]
pub fn totals_of<T, E>(runs: &[Option<Result<Finished<T>, E>>]) -> Vec<Totals> {
    let own = |run: &Option<Result<Finished<T>, E>>| match run {
        Some(Ok(finished)) => finished.totals(),
        _ => Totals::default(),
    };
    if let [run] = runs {
        return vec![own(run)];
    }
    let deleted = runs.iter().map(|run| {
        let parts = run.iter().flatten().flat_map(|finished| &finished.parts);
        parts.flat_map(deleted_by).collect()
    });
    let mut sums = hardlink_totals(&deleted.collect::<Vec<_>>());
    for (sum, run) in sums.iter_mut().zip(runs) {
        let own = own(run);
        sum.temporary = own.temporary;
        sum.temporary_bytes = own.temporary_bytes;
        sum.packing_bytes = own.packing_bytes;
        sum.written_bytes = own.written_bytes;
    }
    sums
}

/// Returns the blobs that were deleted, or would be, as they were when the plan was made.
fn deleted_by((plan, outcome): &(Plan, Option<Outcome>)) -> Vec<FileStat> {
    match outcome {
        Some(outcome) => outcome.deleted(plan).map(|blob| blob.file).collect(),
        None if plan.is_trashing() => Vec::new(),
        None => plan.sweep().iter().map(|blob| blob.file).collect(),
    }
}
