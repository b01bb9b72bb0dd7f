//! What changing commands share: the clock and ages that protect, and one layout's plan with its outcome.

use std::path::Path;
use std::time::Duration;

use ocisweep::execute::Outcome;
use ocisweep::fs::{Disk, FileStat};
use ocisweep::graph::{EmptyIndex, MissingDocuments};
use ocisweep::ops::{self, Finished, LayoutGroup, Mode, Protection};
use ocisweep::plan::{Plan, sweep_all};
use ocisweep::{Error, Snapshot};

use super::context::Context;

/// Which time ends protections: grace periods, the age of temporary files, and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// That of the system, however far ahead `--now` is. A protection that is needed now does not end by a flag that
    /// tries out a policy. An earlier `--now` counts: it only protects more.
    Real,
    /// `--now`: for a dry run, which changes nothing.
    Pretended,
}

impl Clock {
    /// Chooses the clock of a run.
    pub const fn of(is_dry_run: bool) -> Self {
        if is_dry_run {
            Self::Pretended
        } else {
            Self::Real
        }
    }
}

/// Chooses the mode from flags.
pub const fn run_mode(dry_run: bool, lock_wait: Duration) -> Mode {
    if dry_run {
        Mode::Plan
    } else {
        Mode::Execute(lock_wait)
    }
}

/// A plan and what became of it.
#[derive(Debug)]
pub struct Done<T> {
    /// What was decided.
    pub plan: Plan,
    /// What planning noted beside the plan.
    pub said: T,
    /// What became of it; `None` in a dry run.
    pub outcome: Option<Outcome>,
}

impl<T> Done<T> {
    /// Returns the blobs that were deleted, or would be, as they were when the plan was made.
    pub fn deleted(&self) -> Vec<FileStat> {
        match &self.outcome {
            Some(outcome) => outcome
                .deleted(&self.plan)
                .map(|victim| victim.file)
                .collect(),
            None if self.plan.is_trashing() => Vec::new(),
            None => self.plan.sweep().iter().map(|victim| victim.file).collect(),
        }
    }

    /// Takes what a run over the group of a single layout returned.
    pub fn of_single(finished: Finished<T>) -> Self {
        let mut parts = finished.parts.into_iter();
        let mut notes = finished.notes.into_iter();
        let (plan, outcome) = parts.next().expect("a group has a layout");
        Self {
            plan,
            said: notes.next().expect("each layout has its notes"),
            outcome,
        }
    }
}

/// Returns what protects a layout in one run.
pub fn protection(
    context: &Context<'_>,
    grace: Duration,
    temp_age: Duration,
    clock: Clock,
) -> Protection {
    let now = match clock {
        Clock::Real => context.now.min(context.started),
        Clock::Pretended => context.now,
    };
    Protection::with(now, context.started, grace, temp_age)
}

/// Reads a layout and protects what is in flight.
///
/// # Errors
/// What [`Snapshot::read`] says.
pub fn read(
    context: &Context<'_>,
    protection: &Protection,
    path: &Path,
) -> Result<Snapshot, Error> {
    Snapshot::of_protected(
        context.open(path)?,
        protection.now,
        protection.in_flight,
        context.watcher(),
    )
}

/// Returns the group of one layout.
pub fn alone(context: &Context<'_>, path: &Path) -> LayoutGroup {
    LayoutGroup::of(path)
        .reading(&context.archives)
        .ignoring(&context.ignored)
        .trashing(context.trash.as_ref())
}

/// Plans one layout, and executes the plan unless this is a dry run.
///
/// # Errors
/// As [`ops::run`].
pub fn run<T, E: From<Error>>(
    context: &Context<'_>,
    path: &Path,
    protection: &Protection,
    mode: Mode,
    make: impl FnMut(&mut Snapshot) -> Result<(Plan, T), E>,
) -> Result<Done<T>, E> {
    let group = alone(context, path);
    let finished = ops::run(&group, protection, mode, context.watcher(), make)?;
    Ok(Done::of_single(finished))
}

/// Plans the sweep of everything that nothing keeps, as `gc` does it. Commands that report what `gc` would do use this,
/// so that the two cannot disagree.
///
/// # Errors
/// Why the layout cannot be swept.
pub fn plan_gc(
    view: &Snapshot,
    protection: &Protection,
    missing: MissingDocuments,
    empty: EmptyIndex,
) -> Result<Plan, Error> {
    sweep_all(view, missing, empty, &Disk, &protection.sweep)
}
