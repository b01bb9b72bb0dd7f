//! `ocisweep gc`

use ocisweep::graph::{EmptyIndex, MissingDocuments};
use ocisweep::ops::{self, GcOptions, remove_directories};
use ocisweep::plan::EmptyLayouts;

use crate::cli::args::GcArgs;
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::{RunReport, choose_groups, finished};
use crate::cli::run::{RunClock, protection, run_mode};

/// Sweeps each layout, or a shared store with all its layouts. A layout that fails does not stop the others, except for one
/// that shares a store: the blobs that it needs would be unknown.
///
/// # Errors
/// The exit status, if the layouts were not found.
pub fn run(context: &Context<'_>, args: &GcArgs) -> Result<Exit, Exit> {
    let chosen = choose_groups(context, args.layouts.given_to_delete())?;
    let style = args
        .output
        .style(args.dry_run, args.exit_code, chosen.is_many);
    let clock = RunClock::of(args.dry_run);
    let protection = protection(context, args.sweep.grace, args.sweep.temp_age, clock);
    let mode = run_mode(args.dry_run, args.sweep.lock.lock_wait);
    let mut options = GcOptions::default();
    options.missing = MissingDocuments::allow_if(args.sweep.allow_missing);
    options.empty = EmptyIndex::allow_if(args.sweep.allow_empty);
    options.counts_dangling = !style.is_json && !style.is_quiet;
    if args.remove_empty_layouts {
        options.empty_layouts = EmptyLayouts::Remove;
    }
    let runs = chosen.run(context, |number, group| {
        chosen.refuse_sharing(number)?;
        let run = ops::gc(group, &protection, &options, mode, context.watcher());
        context.done_with(group.path());
        run
    });
    remove_directories(&chosen.groups, &runs);
    let mut report = RunReport::new("gc", style);
    report.dangling(finished(&runs).flat_map(|finished| &finished.notes).sum());
    let ended = report.add_runs(
        context,
        &chosen,
        &runs,
        |shown, _| {
            let mut exit = exit::DONE;
            if !style.is_json && !style.is_quiet {
                exit = shown.print(context, &style);
            }
            exit = exit.and(shown.report_trouble(context, &style));
            (exit, shown.to_json(context.now, &style))
        },
        |error| context.report(error),
    );
    Ok(chosen.exit.and(ended).and(report.finish(context)))
}
