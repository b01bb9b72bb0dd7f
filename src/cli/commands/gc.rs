//! `ocisweep gc`

use std::path::Path;

use ocisweep::Error;
use ocisweep::plan::retire;

use crate::cli::args::{GcArgs, TextFormat};
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::{Account, choose, each, remove_directories, shares};
use crate::cli::mistaken::CommandLine;
use crate::cli::render::sweep::Shown;
use crate::cli::run::{Clock, Done, Rule, accept, perform, plan_gc, plan_only_gc, run_mode};
use crate::cli::shared;

/// Sweeps each layout. One that fails does not stop the others.
pub fn run(context: &Context<'_>, args: &GcArgs) -> Exit {
    if let Some(pool) = &args.layouts.shared_blobs {
        return shared::gc(context, args, pool);
    }
    let chosen = match choose(context, &args.layouts.tree, CommandLine::deleting()) {
        Ok(chosen) => chosen,
        Err(exit) => return exit,
    };
    let mut exit = chosen.exit;
    let runs = each(context, &chosen.layouts, |number, path| {
        let mut run = chosen
            .refuse_sharing(number)
            .and_then(|()| one(context, args, path));
        if chosen.is_many
            && let Ok(done) = &mut run
        {
            done.plan.shrink();
        }
        run
    });
    let done: Vec<_> = runs
        .iter()
        .map(|run| run.as_ref().and_then(|run| run.as_ref().ok()))
        .collect();
    remove_directories(&chosen.layouts, &done);
    let shares = shares(&done);
    let mut account = Account::new("gc", args.dry_run, chosen.is_many);
    for ((path, run), share) in chosen.layouts.iter().zip(&runs).zip(shares) {
        let ended = match run {
            None => {
                account.interrupted(path);
                exit::INTERRUPTED
            }
            Some(Ok(done)) => {
                let shown = Shown {
                    plan: &done.plan,
                    outcome: done.outcome.as_ref(),
                    share: chosen.is_many.then_some(share),
                    is_pool: false,
                };
                let ended = show(context, args, &shown, chosen.is_many);
                account.add(
                    path,
                    &shown,
                    ended,
                    shown.to_json(context.now, args.output.format),
                );
                ended
            }
            Some(Err(error)) => {
                let ended = context.report(error);
                account.failed(path, &error.to_string(), ended);
                ended
            }
        };
        exit = exit.and(ended);
    }
    exit.and(account.finish(context, &args.output))
}

/// Plans a layout, and executes the plan unless this is a dry run.
fn one(context: &Context<'_>, args: &GcArgs, path: &Path) -> Result<Done<()>, Error> {
    let clock = Clock::of(args.dry_run);
    let rule = Rule::of(context, args.sweep.grace, args.sweep.temp_age, clock);
    let mode = run_mode(args.dry_run, args.sweep.lock_wait);
    let missing = accept(args.sweep.allow_missing);
    let empty = accept(args.sweep.allow_empty);
    if args.remove_empty_layouts {
        return perform(context, path, &rule, mode, |view| {
            let mut plan = plan_gc(view, &rule, missing, empty)?;
            retire(view, &mut plan, rule.in_flight);
            Ok((plan, ()))
        });
    }
    perform(context, path, &rule.to_sweep(), mode, |view| {
        let plan = match plan_only_gc(view, &rule, missing, empty) {
            // Which images stand in the way tells only a view that remembers them.
            Err(Error::Incomplete { .. }) => {
                plan_gc(&rule.read(context, path)?, &rule, missing, empty)
            }
            planned => planned,
        };
        Ok((plan?, ()))
    })
}

/// Says what became of a layout, and returns how it ended.
pub fn show(context: &Context<'_>, args: &GcArgs, shown: &Shown<'_>, is_many: bool) -> Exit {
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
    exit
}
