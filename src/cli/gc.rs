//! `ocisweep gc`

use std::path::Path;

use ocisweep::Error;
use ocisweep::execute::Outcome;
use ocisweep::plan::{Plan, Totals};

use super::args::{GcArgs, TextFormat};
use super::context::Context;
use super::exit::{self, Exit};
use super::perform::{Rule, accept, perform, plan_gc, run_mode};
use super::render::json;
use super::render::sweep::{Shown, total_line};

/// Sweeps each layout. One that fails does not stop the others.
pub fn run(context: &Context<'_>, args: &GcArgs) -> Exit {
    let mut exit = exit::DONE;
    let mut totals = Totals::default();
    let mut document = json::Sweep {
        schema_version: json::SCHEMA_VERSION,
        command: "gc",
        dry_run: args.dry_run,
        layouts: Vec::new(),
        totals: json::Totals::default(),
    };
    for path in &args.layouts {
        if context.stopped() {
            exit = exit.and(exit::INTERRUPTED);
            break;
        }
        match one(context, args, path) {
            Ok((plan, outcome)) => {
                let shown = Shown {
                    plan: &plan,
                    outcome: outcome.as_ref(),
                };
                totals = totals.plus(shown.totals());
                exit = exit.and(show(context, args, &shown, &mut document));
            }
            Err(error) => {
                exit = exit.and(context.report(&error));
                document.layouts.push(json::SweptLayout {
                    path: path.to_string_lossy().into_owned(),
                    items: Vec::new(),
                    foreign: 0,
                    totals: json::Totals::default(),
                    error: Some(error.to_string()),
                });
            }
        }
    }
    // A single layout that was refused has no total: nothing was measured.
    let is_only_refusal =
        args.layouts.len() == 1 && document.layouts.iter().any(|layout| layout.error.is_some());
    exit.and(match args.format {
        TextFormat::Json => {
            for layout in &document.layouts {
                document.totals.add(&layout.totals);
            }
            context.print(&json::pretty(&document))
        }
        TextFormat::Text if is_only_refusal => exit::DONE,
        TextFormat::Text => context.print(&total_line(&totals, args.dry_run)),
    })
}

/// Plans a layout, and executes the plan unless this is a dry run.
fn one(
    context: &Context<'_>,
    args: &GcArgs,
    path: &Path,
) -> Result<(Plan, Option<Outcome>), Error> {
    let rule = Rule::of(context, args.sweep.grace, args.sweep.temp_age);
    let done = perform(
        context,
        path,
        &rule,
        run_mode(args.dry_run, args.sweep.lock_wait),
        |view| {
            let missing = accept(args.sweep.allow_missing);
            let empty = accept(args.sweep.allow_empty);
            Ok((plan_gc(view, &rule, missing, empty)?, ()))
        },
    )?;
    Ok((done.plan, done.outcome))
}

fn show(
    context: &Context<'_>,
    args: &GcArgs,
    shown: &Shown<'_>,
    document: &mut json::Sweep<'_>,
) -> Exit {
    let mut exit = exit::DONE;
    match args.format {
        TextFormat::Json => document.layouts.push(shown.to_json(context.now)),
        TextFormat::Text if args.quiet => {}
        TextFormat::Text => {
            let mut text = String::new();
            if args.layouts.len() > 1 {
                let path = shown.plan.layout.to_string_lossy();
                text = format!("{}:\n", context.term.foreign(&path));
            }
            text.push_str(&shown.lines(context));
            exit = exit.and(context.print(&text));
        }
    }
    if !shown.report_trouble(context) {
        exit = exit.and(exit::INCOMPLETE);
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
