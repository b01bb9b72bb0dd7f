//! `gc` and `df` of layouts that share a pool of blobs (`--shared-blobs`).

use std::path::{Path, PathBuf};

use ocisweep::Error;
use ocisweep::error::PoolProblem;
use ocisweep::execute::{Outcome, Refused};
use ocisweep::graph::{Accept, Change, MarkOptions};
use ocisweep::plan::Plan;
use ocisweep::pool::{Shared, SharedOptions, SharedUsage};
use ocisweep::sys::Disk;
use ocisweep::units::human_size;
use serde::Serialize;

use super::args::{DfArgs, GcArgs, LayoutArgs, PruneArgs, TableFormat};
use super::context::Context;
use super::df::{JsonRow, reclaimable};
use super::exit::{self, Exit};
use super::gc::show;
use super::many::{Account, Chosen, choose};
use super::perform::{MAX_ATTEMPTS, Rule, accept};
use super::render::json::{self, SCHEMA_VERSION};
use super::render::sweep::Shown;
use super::render::table::Table;

/// The pool and the layouts that were asked for.
struct Asked<'a> {
    pool: &'a Path,
    chosen: Chosen,
}

/// What became of the pool and of each layout: a plan, and what its execution brought.
type Done = Vec<(Plan, Option<Outcome>)>;

/// Finds the layouts. One that could not be looked for may use the pool, so that nothing is done.
fn ask<'a>(context: &Context<'_>, pool: &'a Path, args: &LayoutArgs) -> Result<Asked<'a>, Exit> {
    let chosen = choose(context, args);
    if chosen.is_complete {
        return Ok(Asked { pool, chosen });
    }
    let error = Error::Pool {
        path: pool.to_owned(),
        what: PoolProblem::Unsearched,
    };
    Err(chosen.exit.and(context.report(&error)))
}

fn options<'a>(
    context: &Context<'_>,
    rule: &Rule,
    missing: Accept,
    empty: Accept,
) -> SharedOptions<'a> {
    SharedOptions {
        now: context.now,
        in_flight: rule.in_flight,
        sweep: rule.sweep,
        mark: MarkOptions {
            keep: &|_| true,
            change: Change::none(),
            extra: &[],
            missing,
            empty,
        },
    }
}

/// Sweeps a pool. One layout that cannot be read or marked stops it: what it needs would be unknown.
pub fn gc(context: &Context<'_>, args: &GcArgs, pool: &Path) -> Exit {
    let asked = match ask(context, pool, &args.layouts) {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    let mut account = Account::new("gc", args.dry_run, true);
    let mut exit = exit::DONE;
    match sweep(context, args, &asked) {
        Ok(done) => {
            for (plan, outcome) in &done {
                let shown = Shown {
                    plan,
                    outcome: outcome.as_ref(),
                    share: None,
                    is_pool: plan.layout == pool,
                };
                let ended = show(context, args, &shown, true);
                account.add(&plan.layout, &shown, ended, shown.to_json(context.now));
                exit = exit.and(ended);
            }
        }
        Err(error) => {
            exit = context.report(&error);
            account.failed(pool, &error.to_string(), exit);
        }
    }
    exit.and(account.finish(context, args.format, args.quiet))
}

fn sweep(context: &Context<'_>, args: &GcArgs, asked: &Asked<'_>) -> Result<Done, Error> {
    let rule = Rule::of(context, args.sweep.grace, args.sweep.temp_age);
    let options = options(
        context,
        &rule,
        accept(args.sweep.allow_missing),
        accept(args.sweep.allow_empty),
    );
    for _ in 0..MAX_ATTEMPTS {
        let shared = Shared::read(asked.pool, &asked.chosen.layouts, context.observer())?;
        let plan = shared.plan(&options, context.observer())?;
        let is_empty = plan.pool.is_empty() && plan.layouts.iter().all(Plan::is_empty);
        let outcomes: Vec<Option<Outcome>> = if args.dry_run {
            std::iter::repeat_with(|| None)
                .take(plan.layouts.len() + 1)
                .collect()
        } else if is_empty {
            std::iter::repeat_with(|| Some(Outcome::nothing()))
                .take(plan.layouts.len() + 1)
                .collect()
        } else {
            match shared.execute(&plan, args.sweep.lock_wait, &Disk, context.observer()) {
                Ok(done) => std::iter::once(done.pool)
                    .chain(done.layouts)
                    .map(Some)
                    .collect(),
                Err(Refused::Changed) => continue,
                Err(Refused::Error(error)) => return Err(error),
            }
        };
        let plans = std::iter::once(plan.pool).chain(plan.layouts);
        return Ok(plans.zip(outcomes).collect());
    }
    Err(Error::Unstable {
        path: asked.pool.to_owned(),
        times: MAX_ATTEMPTS,
    })
}

/// Says that `prune` does not know how to do this, and what does.
pub fn refuse_prune(context: &Context<'_>, args: &PruneArgs, pool: &Path) -> Exit {
    let pool = super::context::quote(&pool.to_string_lossy());
    let layouts: Vec<String> = args
        .layouts
        .paths
        .iter()
        .map(|path| super::context::quote(&path.to_string_lossy()))
        .collect();
    context.term.error(
        &format!("cannot prune layouts that share the blobs in `{pool}`"),
        Some(&format!(
            "`ocisweep rm --no-prune LAYOUT IMAGE...` removes names, `ocisweep gc --shared-blobs {pool} {}` deletes what none of them needs",
            layouts.join(" ")
        )),
    );
    exit::REFUSED
}

/// Measures a pool.
pub fn df(context: &Context<'_>, args: &DfArgs, pool: &Path) -> Exit {
    let asked = match ask(context, pool, &args.layouts) {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    let rule = Rule::of(context, args.grace, args.temp_age);
    let options = options(context, &rule, Accept::No, Accept::No);
    let usage = Shared::read(asked.pool, &asked.chosen.layouts, context.observer())
        .and_then(|shared| shared.usage(&options, &Disk, context.observer()));
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
