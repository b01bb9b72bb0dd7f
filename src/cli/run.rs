//! What every changing command does alike: read, plan, lock, execute; and again, if the layout changed
//! in between.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use ocisweep::execute::{Outcome, Refused, execute, remove_directory};
use ocisweep::fs::Disk;
use ocisweep::fs::FileFacts;
use ocisweep::graph::{Accept, InFlight};
use ocisweep::layout::lock::Locked;
use ocisweep::plan::{Plan, SweepOptions, sweep_all, sweep_only};
use ocisweep::{Error, View};

use super::context::Context;

/// How often a plan is made anew because the layout changed.
pub const MAX_ATTEMPTS: u32 = 5;

/// How often a plan is made before the layout is locked. A plan is usually made without the lock, so that a long reading keeps
/// nobody waiting. Where others were quicker each time, it is made under the lock: they would be quicker for ever.
const UNLOCKED_ATTEMPTS: u32 = 2;

/// How old a temporary file has to be, for commands that have no flag for it.
pub const DEFAULT_TEMP_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// What is left alone because of its age.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The time by which protections end: [`Clock`] chooses it.
    pub now: Timestamp,
    /// When an orphan counts as being written.
    pub in_flight: InFlight,
    /// For the plan.
    pub sweep: SweepOptions,
    /// Read layouts only to sweep what nothing leads to.
    only_sweeps: bool,
}

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

/// What to do with a plan.
#[derive(Debug, Clone, Copy)]
pub enum Mode {
    /// Only show it.
    DryRun,
    /// Do it, waiting so long for the lock.
    Run(Duration),
}

/// Chooses the mode from flags.
pub const fn run_mode(dry_run: bool, lock_wait: Duration) -> Mode {
    if dry_run {
        Mode::DryRun
    } else {
        Mode::Run(lock_wait)
    }
}

/// A plan and what became of it.
#[derive(Debug)]
pub struct Done<T> {
    /// What was decided.
    pub plan: Plan,
    /// What the planning said beside the plan.
    pub said: T,
    /// What became of it; `None` in a dry run.
    pub outcome: Option<Outcome>,
}

impl<T> Done<T> {
    /// Returns the blobs that were deleted, or would be, as they were when the plan was made.
    pub fn deleted(&self) -> Vec<FileFacts> {
        match &self.outcome {
            Some(outcome) => outcome
                .deleted(&self.plan)
                .map(|victim| victim.file)
                .collect(),
            None => self.plan.sweep().iter().map(|victim| victim.file).collect(),
        }
    }
}

impl Rule {
    /// Makes the rule of one run.
    pub fn of(context: &Context<'_>, grace: Duration, temp_age: Duration, clock: Clock) -> Self {
        let time = match clock {
            Clock::Real => context.now.min(context.started),
            Clock::Pretended => context.now,
        };
        let now = time.as_nanosecond();
        Self {
            now: time,
            in_flight: InFlight {
                now,
                grace: nanoseconds(grace),
            },
            sweep: SweepOptions {
                now,
                started: context.started.as_nanosecond(),
                temp_age: nanoseconds(temp_age),
            },
            only_sweeps: false,
        }
    }

    /// Returns the same rule for who reads a layout to sweep it and asks nothing more of it.
    pub const fn to_sweep(self) -> Self {
        Self {
            only_sweeps: true,
            ..self
        }
    }

    /// Reads a layout and protects what is in flight.
    ///
    /// # Errors
    /// What [`View::read`] says.
    pub fn read(&self, context: &Context<'_>, path: &Path) -> Result<View, Error> {
        let (layout, observer) = (context.open(path)?, context.observer());
        if self.only_sweeps {
            View::of_to_sweep(layout, self.now, self.in_flight, observer)
        } else {
            View::of_protected(layout, self.now, self.in_flight, observer)
        }
    }
}

/// Plans one layout, and executes the plan unless this is a dry run.
///
/// # Errors
/// What planning and locking say, and [`Error::Unstable`] when the layout never holds still. `make` may
/// have reasons of its own not to go on.
pub fn perform<T, E: From<Error>>(
    context: &Context<'_>,
    path: &Path,
    rule: &Rule,
    mode: Mode,
    mut make: impl FnMut(&mut View) -> Result<(Plan, T), E>,
) -> Result<Done<T>, E> {
    for attempt in 0..MAX_ATTEMPTS {
        let early = match mode {
            Mode::Run(_) if attempt >= UNLOCKED_ATTEMPTS => Some(context.open(path)?),
            Mode::Run(_) | Mode::DryRun => None,
        };
        let early = match (&early, mode) {
            (Some(layout), Mode::Run(wait)) => {
                Some(Locked::acquire(layout, wait, context.observer())?)
            }
            _ => None,
        };
        let mut view = rule.read(context, path)?;
        let (plan, said) = make(&mut view)?;
        let lock_wait = match mode {
            Mode::Run(lock_wait) => lock_wait,
            Mode::DryRun => {
                return Ok(Done {
                    plan,
                    said,
                    outcome: None,
                });
            }
        };
        // Nothing to do is no reason to lock, so that a clean layout on a read-only file system is
        // no error.
        if plan.is_empty() {
            return Ok(Done {
                plan,
                said,
                outcome: Some(Outcome::nothing()),
            });
        }
        let View {
            layout,
            graph,
            state,
        } = view;
        // The plan holds all that its execution needs.
        drop((graph, state));
        let locked = match early {
            Some(locked) => locked,
            None => Locked::acquire(&layout, lock_wait, context.observer())?,
        };
        match execute(&locked, &plan, &Disk, context.observer()) {
            Ok(mut outcome) => {
                drop(locked);
                if outcome.retired
                    && let Err(error) = remove_directory(path, &Disk)
                {
                    outcome.failed.push((".".to_owned(), error));
                }
                return Ok(Done {
                    plan,
                    said,
                    outcome: Some(outcome),
                });
            }
            Err(Refused::Changed) => context.term.detail(&format!(
                "`{}` changed while it was looked at: looking again",
                path.display()
            )),
            Err(Refused::Error(error)) => return Err(error.into()),
        }
    }
    Err(E::from(Error::Unstable {
        path: path.to_owned(),
        times: MAX_ATTEMPTS,
    }))
}

/// Plans the sweep of everything that nothing keeps, as `gc` does it. Whoever wants to tell what `gc`
/// would do asks here, so that the two cannot disagree.
///
/// # Errors
/// Why the layout cannot be swept.
pub fn plan_gc(view: &View, rule: &Rule, missing: Accept, empty: Accept) -> Result<Plan, Error> {
    sweep_all(view, missing, empty, &Disk, &rule.sweep)
}

/// Does the same for who asks nothing more of the view: what the plan does not need makes room for it.
///
/// # Errors
/// Why the layout cannot be swept.
pub fn plan_only_gc(
    view: &mut View,
    rule: &Rule,
    missing: Accept,
    empty: Accept,
) -> Result<Plan, Error> {
    sweep_only(view, missing, empty, &rule.sweep)
}

/// Turns a flag into the library's word.
pub const fn accept(flag: bool) -> Accept {
    if flag { Accept::Yes } else { Accept::No }
}

fn nanoseconds(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}
