//! `ocisweep gc`

use std::path::Path;

use ocisweep::Error;
use ocisweep::graph::{EmptyIndex, MissingDocuments};
use ocisweep::ops::{self, Finished, GcOptions, LayoutGroup};
use ocisweep::plan::EmptyLayouts;

use crate::cli::args::{GcArgs, TextFormat};
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::{RunReport, choose, choose_sharing, done_in, each, remove_directories};
use crate::cli::mistaken::CommandLine;
use crate::cli::render::json;
use crate::cli::render::sweep::Shown;
use crate::cli::run::{Clock, Done, alone, protection, run_mode};

/// Sweeps each layout. One that fails does not stop the others.
pub fn run(context: &Context<'_>, args: &GcArgs) -> Exit {
    if let Some(pool) = &args.layouts.shared_blobs {
        return shared(context, args, pool);
    }
    let chosen = match choose(context, &args.layouts.tree, CommandLine::deleting()) {
        Ok(chosen) => chosen,
        Err(exit) => return exit,
    };
    let runs = each(context, &chosen.layouts, |number, path| {
        let mut run = chosen
            .refuse_sharing(number)
            .and_then(|()| sweep(context, args, &alone(context, path)))
            .map(Done::of_single);
        if chosen.is_many
            && let Ok(done) = &mut run
        {
            done.plan.shrink();
        }
        run
    });
    remove_directories(&chosen.layouts, &done_in(&runs));
    let mut account = RunReport::new("gc", args.dry_run, chosen.is_many);
    let ended = account.add_runs(
        &chosen.layouts,
        &runs,
        |shown, _| show(context, args, shown, chosen.is_many),
        |error| context.report(error),
    );
    chosen
        .exit
        .and(ended)
        .and(account.finish(context, &args.output))
}

/// Sweeps a pool. One layout that cannot be read or marked stops it: what it needs would be unknown.
fn shared(context: &Context<'_>, args: &GcArgs, pool: &Path) -> Exit {
    let group = match choose_sharing(context, pool, &args.layouts.tree) {
        Ok(group) => group,
        Err(refused) => return refused,
    };
    let done = sweep(context, args, &group);
    let mut account = RunReport::new("gc", args.dry_run, true);
    let exit = account.add_group(
        pool,
        &done,
        |shown, _| show(context, args, shown, true),
        |error| context.report(error),
    );
    exit.and(account.finish(context, &args.output))
}

/// Sweeps a group, unless this is a dry run.
fn sweep(context: &Context<'_>, args: &GcArgs, group: &LayoutGroup) -> Result<Finished<()>, Error> {
    let clock = Clock::of(args.dry_run);
    let protection = protection(context, args.sweep.grace, args.sweep.temp_age, clock);
    let mode = run_mode(args.dry_run, args.sweep.lock_wait);
    let mut options = GcOptions::default();
    options.missing = MissingDocuments::allow_if(args.sweep.allow_missing);
    options.empty = EmptyIndex::allow_if(args.sweep.allow_empty);
    if args.remove_empty_layouts {
        options.empty_layouts = EmptyLayouts::Remove;
    }
    ops::gc(group, &protection, &options, mode, context.watcher())
}

/// Says what became of a layout, and returns how it ended and what the document says of it.
fn show(
    context: &Context<'_>,
    args: &GcArgs,
    shown: &Shown<'_>,
    is_many: bool,
) -> (Exit, json::SweptLayout) {
    let mut exit = exit::DONE;
    if args.output.format == TextFormat::Text && !args.output.quiet {
        exit = shown.print(context, is_many);
    }
    if !shown.report_trouble(context) {
        exit = exit.and(shown.trouble_exit());
    }
    match shown.outcome {
        Some(outcome) if outcome.interrupted => exit = exit.and(exit::INTERRUPTED),
        None if args.exit_code && !shown.plan.is_empty() => {
            exit = exit.and(exit::WOULD_CHANGE);
        }
        _ => {}
    }
    (exit, shown.to_json(context.now, args.output.format))
}
