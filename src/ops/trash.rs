//! Undoing runs that moved blobs into the trash, and emptying the trash.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::execute::{UndoPlan, Undone, empty_run, execute_undo, plan_undo, put_back_blob};
use crate::fs::Disk;
use crate::layout::Layout;
use crate::layout::lock::Locked;
use crate::layout::trash::TrashedRun;
use crate::oci::Digest;
use crate::plan::{Tally, Totals};
use crate::progress::Progress;

use super::Mode;
use super::run::MAX_ATTEMPTS;

/// Which run is undone.
#[derive(Debug, Clone, Copy)]
pub enum UndoRequest<'a> {
    /// The last one.
    Last,
    /// The one whose name begins like this.
    Run(&'a str),
}

/// Undoes a run, or in a dry run says what that changes.
///
/// # Errors
/// [`Error::Trash`] where there is no such run, or it cannot be undone as a whole; what reading, locking and writing say.
pub fn undo(
    open: &dyn Fn() -> Result<Layout>,
    request: UndoRequest<'_>,
    mode: Mode,
    progress: &dyn Progress,
) -> Result<Undone> {
    let mut path = None;
    for _ in 0..MAX_ATTEMPTS {
        let layout = open()?;
        layout.refuse_shared_blobs()?;
        let Mode::Execute(wait) = mode else {
            let (_, plan) = planned(&layout, request)?;
            let restored = Vec::new();
            return Ok(Undone { plan, restored });
        };
        let locked = Locked::acquire(&layout, wait, progress)?;
        let (state, plan) = planned(&layout, request)?;
        match execute_undo(&locked, &state, plan, &Disk) {
            Ok(undone) => return Ok(undone),
            Err(Error::Changed { .. }) => progress.changed(layout.path()),
            Err(error) => return Err(error),
        }
        path = Some(layout.path().to_owned());
    }
    Err(Error::Unstable {
        path: path.unwrap_or_default(),
        times: MAX_ATTEMPTS,
    })
}

fn planned(layout: &Layout, request: UndoRequest<'_>) -> Result<(crate::layout::State, UndoPlan)> {
    let state = layout.read_state()?;
    let mut runs = layout.trashed_runs()?;
    let run = match request {
        UndoRequest::Last => last(layout, &mut runs)?,
        UndoRequest::Run(name) => {
            let at = one_of(layout, &runs, name)?;
            runs.remove(at)
        }
    };
    let others = runs.into_iter().flat_map(|run| run.blobs);
    let others: BTreeSet<Digest> = others.map(|(digest, _)| digest).collect();
    let plan = plan_undo(layout, &state, &run, &others)?;
    Ok((state, plan))
}

fn last(layout: &Layout, runs: &mut Vec<TrashedRun>) -> Result<TrashedRun> {
    // One without a record did nothing, or is being emptied.
    let at = runs.iter().rposition(|run| !matches!(run.record, Ok(None)));
    at.map(|at| runs.remove(at))
        .ok_or_else(|| refuse(layout, "it is empty".to_owned()))
}

fn one_of(layout: &Layout, runs: &[TrashedRun], name: &str) -> Result<usize> {
    let found = runs.iter().enumerate();
    let found: Vec<usize> = found
        .filter(|(_, run)| !name.is_empty() && run.name.starts_with(name))
        .map(|(at, _)| at)
        .collect();
    match found.as_slice() {
        [at] => Ok(*at),
        [] => Err(refuse(layout, format!("there is no run {name}"))),
        many => {
            let count = many.len();
            Err(refuse(layout, format!("{count} runs begin with {name}")))
        }
    }
}

fn refuse(layout: &Layout, why: String) -> Error {
    Error::Trash {
        path: layout.path().to_owned(),
        why,
    }
}

/// Moves one blob back from the latest run that has it. Returns its size; `None`: it is in its place.
///
/// # Errors
/// [`Error::Trash`] where no run has it; what locking and writing say.
pub fn undo_blob(
    layout: &Layout,
    digest: &Digest,
    mode: Mode,
    progress: &dyn Progress,
) -> Result<Option<u64>> {
    layout.refuse_shared_blobs()?;
    let locked = match mode {
        Mode::Execute(wait) => Some(Locked::acquire(layout, wait, progress)?),
        Mode::Plan => None,
    };
    let is_there = layout.look_at_blob(digest)?.is_some();
    let runs = layout.trashed_runs()?;
    let found = runs.iter().rev().find_map(|run| {
        let mut blobs = run.blobs.iter();
        let (_, file) = blobs.find(|(known, _)| known == digest)?;
        Some((&run.name, file.len))
    });
    match (found, &locked) {
        (None, _) if is_there => Ok(None),
        (None, _) => Err(refuse(layout, format!("no run has {digest}"))),
        (Some((_, len)), None) => Ok((!is_there).then_some(len)),
        (Some((run, len)), Some(locked)) => {
            let is_moved = put_back_blob(locked, run, digest, &Disk)?;
            Ok(is_moved.then_some(len))
        }
    }
}

/// What the trash is emptied of.
#[derive(Debug, Clone, Copy)]
pub enum EmptyRequest<'a> {
    /// Every run.
    All,
    /// The one whose name begins like this.
    Run(&'a str),
    /// What was trashed before this time.
    Before(Timestamp),
}

/// Empties the trash, or in a dry run says of what. Returns the runs with what each frees.
///
/// # Errors
/// [`Error::Trash`] where there is no such run; what locking and deleting say.
pub fn empty_trash(
    layout: &Layout,
    request: EmptyRequest<'_>,
    mode: Mode,
    progress: &dyn Progress,
) -> Result<Vec<(TrashedRun, Totals)>> {
    let locked = match mode {
        Mode::Execute(wait) => Some(Locked::acquire(layout, wait, progress)?),
        Mode::Plan => None,
    };
    let mut runs = layout.trashed_runs()?;
    match request {
        EmptyRequest::All => {}
        EmptyRequest::Run(name) => {
            let at = one_of(layout, &runs, name)?;
            runs = vec![runs.remove(at)];
        }
        EmptyRequest::Before(time) => runs.retain(|run| match &run.record {
            Ok(Some(record)) => record.started().is_some_and(|started| started < time),
            Ok(None) => true,
            Err(_) => false,
        }),
    }
    let mut emptied = Vec::new();
    for run in runs {
        if progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        if locked.is_some() {
            empty_run(layout, &run, &Disk)?;
        }
        let mut tally = Tally::default();
        for (_, file) in &run.blobs {
            tally.blob(file);
        }
        emptied.push((run, tally.totals()));
    }
    Ok(emptied)
}
