//! Layouts that share a pool of blobs (`--shared-blobs`): `gc`, `df`, and what `prune` needs for it.

use std::path::{Path, PathBuf};

use ocisweep::error::PoolProblem;
use ocisweep::execute::{Outcome, Refused};
use ocisweep::fs::Disk;
use ocisweep::parse::size::human_size;
use ocisweep::plan::{Plan, sweep_all};
use ocisweep::pool::{Shared, SharedOptions, SharedUsage};
use ocisweep::{Error, View};
use serde::Serialize;

use super::args::{DfArgs, GcArgs, LayoutArgs, TableFormat};
use super::commands::df::{JsonRow, reclaimable};
use super::commands::gc::show;
use super::context::Context;
use super::exit::{self, Exit};
use super::layouts::{Account, Chosen, choose};
use super::mistaken::CommandLine;
use super::render::json::{self, SCHEMA_VERSION};
use super::render::sweep::Shown;
use super::render::table::Table;
use super::run::{Clock, MAX_ATTEMPTS, Mode, Rule, accept, run_mode};

/// The pool and the layouts that were asked for.
pub struct Asked<'a> {
    /// The pool.
    pub pool: &'a Path,
    /// The layouts.
    pub chosen: Chosen,
}

/// What was planned for the pool and for each layout, and what became of it.
pub struct Done<T> {
    /// The pool first, then the layouts in their order.
    pub plans: Vec<(Plan, Option<Outcome>)>,
    /// What planning said of each layout.
    pub said: Vec<T>,
}

impl<T> Done<T> {
    /// Returns what is to be shown, in the order of `plans`.
    pub fn shown(&self) -> impl Iterator<Item = Shown<'_>> {
        let is_pool = std::iter::once(true).chain(std::iter::repeat(false));
        self.plans
            .iter()
            .zip(is_pool)
            .map(|((plan, outcome), is_pool)| Shown {
                plan,
                outcome: outcome.as_ref(),
                share: None,
                is_pool,
            })
    }
}

/// Finds the layouts. One that could not be looked for may use the pool, so that nothing is done.
pub fn ask<'a>(
    context: &Context<'_>,
    pool: &'a Path,
    args: &LayoutArgs,
) -> Result<Asked<'a>, Exit> {
    let line = CommandLine {
        shared_blobs: Some(pool),
        ..CommandLine::default()
    };
    let exit = match choose(context, &args.tree, line) {
        Ok(chosen) if chosen.is_complete => return Ok(Asked { pool, chosen }),
        Ok(chosen) => chosen.exit,
        Err(exit) if args.tree.recursive => exit,
        Err(exit) => return Err(exit),
    };
    let error = Error::Pool {
        path: pool.to_owned(),
        what: PoolProblem::Unsearched,
    };
    Err(exit.and(context.report(&error)))
}

const fn options(rule: &Rule) -> SharedOptions {
    SharedOptions {
        now: rule.now,
        in_flight: rule.in_flight,
        sweep: rule.sweep,
    }
}

/// Sweeps a pool. One layout that cannot be read or marked stops it: what it needs would be unknown.
pub fn gc(context: &Context<'_>, args: &GcArgs, pool: &Path) -> Exit {
    let asked = match ask(context, pool, &args.layouts) {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    let clock = Clock::of(args.dry_run);
    let rule = Rule::of(context, args.sweep.grace, args.sweep.temp_age, clock);
    let mode = run_mode(args.dry_run, args.sweep.lock_wait);
    let done = perform(context, &asked, &rule, mode, |view| {
        let missing = accept(args.sweep.allow_missing);
        let empty = accept(args.sweep.allow_empty);
        let plan = sweep_all(view, missing, empty, &Disk, &rule.sweep)?;
        Ok::<_, Error>((plan, ()))
    });
    let mut account = Account::new("gc", args.dry_run, true);
    let mut exit = exit::DONE;
    match done {
        Ok(done) => {
            for shown in done.shown() {
                let ended = show(context, args, &shown, true);
                let path = shown.plan.layout();
                account.add(
                    path,
                    &shown,
                    ended,
                    shown.to_json(context.now, args.output.format),
                );
                exit = exit.and(ended);
            }
        }
        Err(error) => {
            exit = context.report(&error);
            account.failed(pool, &error.to_string(), exit);
        }
    }
    exit.and(account.finish(context, &args.output))
}

/// Plans a pool with its layouts, and executes the plan unless this is a dry run.
///
/// # Errors
/// What reading, planning and locking say, and [`Error::Unstable`] when the layouts never hold still.
pub fn perform<T, E: From<Error>>(
    context: &Context<'_>,
    asked: &Asked<'_>,
    rule: &Rule,
    mode: Mode,
    mut make: impl FnMut(&View) -> Result<(Plan, T), E>,
) -> Result<Done<T>, E> {
    let options = options(rule);
    for _ in 0..MAX_ATTEMPTS {
        let mut shared = Shared::read_ignoring(
            asked.pool,
            &asked.chosen.layouts,
            &context.ignored,
            context.observer(),
        )?;
        let (plan, said) = shared.plan(&options, context.observer(), &mut make)?;
        let is_empty = plan.pool().is_empty() && plan.layouts().iter().all(Plan::is_empty);
        let count = plan.layouts().len() + 1;
        let outcomes: Vec<Option<Outcome>> = match mode {
            Mode::DryRun => (0..count).map(|_| None).collect(),
            Mode::Run(_) if is_empty => (0..count).map(|_| Some(Outcome::nothing())).collect(),
            Mode::Run(wait) => match shared.execute(&plan, wait, &Disk, context.observer()) {
                Ok(done) => std::iter::once(done.pool)
                    .chain(done.layouts)
                    .map(Some)
                    .collect(),
                Err(Refused::Changed) => {
                    context
                        .term
                        .detail("a layout changed while it was looked at: looking again");
                    continue;
                }
                Err(Refused::Error(error)) => return Err(error.into()),
            },
        };
        return Ok(Done {
            plans: plan.into_plans().zip(outcomes).collect(),
            said,
        });
    }
    Err(E::from(Error::Unstable {
        path: asked.pool.to_owned(),
        times: MAX_ATTEMPTS,
    }))
}

/// Measures a pool.
pub fn df(context: &Context<'_>, args: &DfArgs, pool: &Path) -> Exit {
    let asked = match ask(context, pool, &args.layouts) {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    let rule = Rule::of(context, args.grace, args.temp_age, Clock::Real);
    let options = options(&rule);
    let usage = Shared::read_ignoring(
        asked.pool,
        &asked.chosen.layouts,
        &context.ignored,
        context.observer(),
    )
    .and_then(|mut shared| shared.usage(&options, &Disk, context.observer()));
    let usage = match usage {
        Ok(usage) => usage,
        Err(error) => return context.report(&error),
    };
    let exit = match args.format {
        TableFormat::Json => context.print(&json::pretty(&JsonPool::of(
            pool,
            &asked.chosen.layouts,
            &usage,
        ))),
        TableFormat::Table => context.print(&table(context, pool, &asked.chosen.layouts, &usage)),
    };
    if let Some(refusal) = &usage.refusal {
        let hint = "until then nothing of the pool is reclaimable";
        context.term.error(refusal, Some(hint));
    }
    exit
}

fn table(context: &Context<'_>, pool: &Path, layouts: &[PathBuf], usage: &SharedUsage) -> String {
    let mut table = Table::new(&["LAYOUT", "IMAGES", "SIZE", "RECLAIMABLE"]);
    table.names(0);
    table.fit(context.term.width());
    for (path, row) in layouts.iter().zip(&usage.layouts) {
        table.row(vec![
            context.term.foreign(&path.to_string_lossy()).into_owned(),
            row.total.to_string(),
            human_size(row.size),
            reclaimable(row),
        ]);
    }
    let path = format!("{} (orphans)", pool.display());
    table.row(vec![
        context.term.foreign(&path).into_owned(),
        "0".to_owned(),
        human_size(usage.orphans.size),
        reclaimable(&usage.orphans),
    ]);
    table.row(vec![
        "Total".to_owned(),
        usage.total.total.to_string(),
        human_size(usage.total.size),
        reclaimable(&usage.total),
    ]);
    table.render()
}

#[derive(Serialize)]
struct JsonPool {
    schema_version: u32,
    command: &'static str,
    layouts: Vec<JsonLayout>,
    shared_blobs: JsonShared,
    total: JsonRow,
}

#[derive(Serialize)]
struct JsonLayout {
    path: String,
    images: JsonRow,
}

#[derive(Serialize)]
struct JsonShared {
    path: String,
    orphans: JsonRow,
    /// Why a sweep would refuse.
    refusal: Option<String>,
}

impl JsonPool {
    fn of(pool: &Path, layouts: &[PathBuf], usage: &SharedUsage) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            command: "df",
            layouts: layouts
                .iter()
                .zip(&usage.layouts)
                .map(|(path, row)| JsonLayout {
                    path: path.to_string_lossy().into_owned(),
                    images: JsonRow::of(row),
                })
                .collect(),
            shared_blobs: JsonShared {
                path: pool.to_string_lossy().into_owned(),
                orphans: JsonRow::of(&usage.orphans),
                refusal: usage.refusal.clone(),
            },
            total: JsonRow::of(&usage.total),
        }
    }
}
