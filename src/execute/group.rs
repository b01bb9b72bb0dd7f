//! Executes the plan of a group: a single layout, or layouts that share a store of blobs.
//!
//! *Order*: as for a single layout, for all layouts: all are locked, files that others wrote to any of them are flushed to
//! disk, all are read again and compared, the record of a run is written into the trash of
//! the store, if blobs are moved there, then each layout is written, then blobs are deleted, and before each further batch
//! all are compared again, then temporary files are deleted, what was listed concurrently is restored from the trash, and all are
//! read once more. A crash leaves orphans.

use std::path::Path;

use super::trash::{self, LayoutPart, OpenRun};
use super::{
    ConcurrentChange, DeleteResult, Outcome, commit, end_run, execute, is_any_written, is_written,
    recover, refuse_future, remove_temporary, sweep, trim_released, unchanged, with_room,
};
use crate::error::{Error, Result};
use crate::execute::sync::sync_written;
use crate::fs::Fs;
use crate::layout::State;
use crate::layout::change_detector::is_unchanged;
use crate::layout::lock::Locked;
use crate::oci::Digest;
use crate::plan::{GroupPlan, Plan};
use crate::progress::Progress;

use super::recheck::detect_concurrent_change;

/// The outcome of a [`GroupPlan`].
#[derive(Debug)]
pub struct GroupOutcome {
    /// Of the shared store; `None` for a single layout.
    pub store: Option<Outcome>,
    /// Of each layout.
    pub layouts: Vec<Outcome>,
}

impl GroupOutcome {
    /// Returns the outcome of a plan that was not executed.
    #[must_use]
    pub fn nothing(plan: &GroupPlan) -> Self {
        Self {
            store: plan.store.as_ref().map(|_| Outcome::nothing()),
            layouts: plan.layouts.iter().map(|_| Outcome::nothing()).collect(),
        }
    }

    /// Returns the outcome of the store, if there is one, then those of the layouts.
    pub(crate) fn into_outcomes(self) -> impl Iterator<Item = Outcome> {
        self.store.into_iter().chain(self.layouts)
    }
}

/// Executes the plan of a group. `locked` are all its layouts, in the order of the plan.
///
/// # Errors
/// [`Error::Changed`] if a layout changed since the plan was made, others if one cannot be read or written. No blob was
/// deleted in these cases.
pub(crate) fn execute_group(
    locked: &[Locked<'_>],
    plan: &GroupPlan,
    fs: &dyn Fs,
    progress: &dyn Progress,
) -> Result<GroupOutcome> {
    match (&plan.store, locked, plan.layouts.as_slice()) {
        (None, [locked], [own]) => Ok(GroupOutcome {
            store: None,
            layouts: vec![execute(locked, own, fs, progress)?],
        }),
        (Some(store), _, _) => {
            let mut outcome = execute_shared(locked, store, plan, fs, progress)?;
            for (own, outcome) in plan.layouts.iter().zip(&mut outcome.layouts) {
                outcome.count_written(own);
            }
            Ok(outcome)
        }
        // Several layouts without a shared store are several groups.
        (None, _, _) => Err(is_other(plan)),
    }
}

/// Returns the error of a plan that is not for these layouts.
fn is_other(plan: &GroupPlan) -> Error {
    Error::changed(plan.plans().next().map_or(Path::new(""), Plan::layout))
}

fn execute_shared(
    locked: &[Locked<'_>],
    store: &Plan,
    plan: &GroupPlan,
    fs: &dyn Fs,
    progress: &dyn Progress,
) -> Result<GroupOutcome> {
    for locked in locked {
        recover(locked, fs)?;
    }
    let deletions = &store.sweep;
    if !deletions.is_empty() || plan.layouts.iter().any(|own| !own.temporary.is_empty()) {
        refuse_future(store)?;
    }
    if !deletions.is_empty() {
        for locked in locked {
            sync_written(locked, fs)?;
        }
    }
    if locked.len() != plan.layouts.len() {
        return Err(is_other(plan));
    }
    let mut states = Vec::with_capacity(locked.len());
    for (locked, own) in locked.iter().zip(&plan.layouts) {
        states.push(unchanged(locked, &own.base)?);
    }
    let run = begin_run(locked, store, plan, &states, fs)?;
    let Committed { written, late } = match commit_all(locked, plan, &states, run.as_ref(), fs) {
        Ok(committed) => committed,
        Err(error) => {
            let mut parts = locked.iter().zip(&plan.layouts).zip(&states);
            let is_written = parts
                .any(|((locked, own), state)| is_any_written(locked.layout(), state, &own.writes));
            if let (false, Some(run), Some(any)) = (is_written, &run, locked.first()) {
                trash::discard(any.layout().trash(), run, fs);
            }
            return Err(error);
        }
    };
    if late.is_some() {
        let outcomes = written.into_iter().map(|written| Outcome {
            written,
            ..Outcome::nothing()
        });
        return Ok(GroupOutcome {
            store: Some(Outcome {
                results: vec![DeleteResult::Skipped; deletions.len()],
                late,
                trashed: run.as_ref().map(OpenRun::without_blobs),
                ..Outcome::nothing()
            }),
            layouts: outcomes.collect(),
        });
    }
    let bases: Vec<Digest> = plan
        .layouts
        .iter()
        .zip(&states)
        .map(|(own, state)| state.fingerprint_after(&own.writes))
        .collect();
    let is_unchanged_everywhere = || {
        let mut layouts = locked.iter().zip(&bases);
        layouts.all(|(locked, base)| is_unchanged(locked.layout(), base))
    };
    let is_written = plan.layouts.iter().any(|own| !own.writes.is_empty());
    let is_overwritten = is_written && !is_unchanged_everywhere();
    let mut swept = if is_overwritten {
        // A writer without a lock wrote concurrently, perhaps the old entries: released blobs may be in use again, and are
        // kept.
        Outcome {
            results: vec![DeleteResult::Skipped; deletions.len()],
            concurrent: ConcurrentChange {
                changed: true,
                broken: Vec::new(),
            },
            trashed: run.as_ref().map(OpenRun::without_blobs),
            ..Outcome::nothing()
        }
    } else {
        match locked.first() {
            // All layouts have the same directories of blobs.
            Some(any) => {
                let by = (fs, run.as_ref());
                sweep(
                    any.layout(),
                    store,
                    deletions,
                    &is_unchanged_everywhere,
                    by,
                    progress,
                )
            }
            None => Outcome::nothing(),
        }
    };
    let mut layouts = Vec::with_capacity(plan.layouts.len());
    for (locked, own) in locked.iter().zip(&plan.layouts) {
        let mut outcome = Outcome::nothing();
        if !is_overwritten {
            if !swept.interrupted {
                remove_temporary(locked.layout(), own, fs, progress, &mut outcome);
            }
            trim_released(locked.layout(), &own.relisted, fs);
        }
        layouts.push(outcome);
    }
    let merges_layers = |any: &Locked<'_>| any.layout().merges_layers();
    swept.merges_layers = swept.done.blobs > 0 && locked.first().is_some_and(merges_layers);
    if let Some(run) = &run {
        // Last, so that it covers all concurrent changes.
        let layouts = locked.iter().map(Locked::layout);
        let bases: Vec<_> = layouts.zip(&bases).collect();
        end_run(&bases, store, (run, is_written), fs, &mut swept);
    }
    for (locked, base) in locked.iter().zip(&bases) {
        let found = detect_concurrent_change(locked.layout(), base, store, &[&[], &swept.results]);
        swept.concurrent.changed |= found.changed;
        swept.concurrent.broken.extend(found.broken);
    }
    Ok(GroupOutcome {
        store: Some(swept),
        layouts,
    })
}

/// Begins one run for all layouts, if deleted blobs are moved into the trash of the store.
fn begin_run(
    locked: &[Locked<'_>],
    store: &Plan,
    plan: &GroupPlan,
    states: &[State],
    fs: &dyn Fs,
) -> Result<Option<OpenRun>> {
    let Some(any) = locked.first() else {
        return Ok(None);
    };
    let parts = locked.iter().zip(&plan.layouts).zip(states);
    let parts: Vec<LayoutPart<'_>> = parts
        .map(|((locked, plan), state)| LayoutPart {
            layout: locked.layout(),
            plan,
            state: Some(state),
        })
        .collect();
    with_room(any.layout(), None, fs, || trash::begin(store, &parts, fs))
}

/// The progress of writing the layouts of a group.
struct Committed {
    /// For each of them, whether it was written completely.
    written: Vec<bool>,
    /// The error, if one was written but not all.
    late: Option<Error>,
}

/// Writes the files of the plan to each layout.
///
/// # Errors
/// [`Error::Changed`] if a layout is not in the state that the plan was made from; others if none of them was written.
fn commit_all(
    locked: &[Locked<'_>],
    plan: &GroupPlan,
    states: &[State],
    run: Option<&OpenRun>,
    fs: &dyn Fs,
) -> Result<Committed> {
    let mut is_any_written = false;
    let mut late = None;
    let mut written = Vec::with_capacity(locked.len());
    for ((locked, own), state) in locked.iter().zip(&plan.layouts).zip(states) {
        if own.writes.is_empty() || late.is_some() {
            written.push(own.writes.is_empty());
            continue;
        }
        let layout = locked.layout();
        // A crash here leaves some layouts unchanged and some with entries removed; every blob exists.
        let committed = with_room(layout, run, fs, || commit(layout, state, &own.writes, fs));
        let is_written_now = match committed {
            Ok(()) => true,
            Err(error @ Error::Changed { .. }) => return Err(error),
            Err(error) => {
                let is_written_now = is_written(layout, &own.writes);
                if !is_written_now && !is_any_written {
                    return Err(error);
                }
                late = Some(error);
                is_written_now
            }
        };
        is_any_written |= is_written_now;
        written.push(is_written_now);
    }
    Ok(Committed { written, late })
}
