//! Shared by changing commands: the clock, the grace periods, and the mode of a run.

use std::path::Path;
use std::time::Duration;

use ocisweep::ops::{Mode, Protection};
use ocisweep::{Error, Snapshot};

use super::context::Context;

/// Which time ends protections: grace periods, the age of temporary files, and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunClock {
    /// The system clock, even if `--now` is later: a flag for trying out a policy must not end a protection that is needed
    /// now. An earlier `--now` counts, since it only protects more.
    Real,
    /// `--now`: for a dry run, which changes nothing.
    Pretended,
}

impl RunClock {
    /// Chooses the clock of a run.
    pub const fn of(is_dry_run: bool) -> Self {
        if is_dry_run {
            Self::Pretended
        } else {
            Self::Real
        }
    }
}

/// Chooses the mode of a run.
pub const fn run_mode(dry_run: bool, lock_wait: Duration) -> Mode {
    if dry_run {
        Mode::Plan
    } else {
        Mode::Execute(lock_wait)
    }
}

/// Returns what protects a layout in one run.
pub fn protection(
    context: &Context<'_>,
    grace: Duration,
    temp_age: Duration,
    clock: RunClock,
) -> Protection {
    let now = match clock {
        RunClock::Real => context.now.min(context.started),
        RunClock::Pretended => context.now,
    };
    Protection::with(now, context.started, grace, temp_age)
}

/// Reads a layout, whose blobs may be in a shared store, and protects what is in flight.
///
/// # Errors
/// Those of [`Snapshot::read`].
pub fn read(
    context: &Context<'_>,
    protection: &Protection,
    path: &Path,
    store: Option<&Path>,
) -> Result<Snapshot, Error> {
    Snapshot::of_protected(
        context.open_in(path, store)?,
        protection.now,
        protection.in_flight,
        context.watcher(),
    )
}
