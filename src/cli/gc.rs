//! `ocisweep gc`

use std::path::Path;

use ocisweep::execute::{Outcome, Refused, execute};
use ocisweep::graph::{Accept, InFlight, MarkOptions};
use ocisweep::layout::lock::Locked;
use ocisweep::plan::{Plan, SweepOptions, Totals, sweep};
use ocisweep::sys::Disk;
use ocisweep::{Error, View};

use super::args::{GcArgs, SweepArgs, TextFormat};
use super::context::Context;
use super::exit::{self, Exit};
use super::render::json;
use super::render::sweep::{Shown, total_line};

/// How often a plan is made anew because the layout changed.
const MAX_ATTEMPTS: u32 = 5;

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
    for _ in 0..MAX_ATTEMPTS {
        let view = view(context, path, &args.sweep)?;
        let mark = MarkOptions {
            keep: &|_| true,
            missing: accept(args.sweep.allow_missing),
            empty: accept(args.sweep.allow_empty),
        };
        view.layout.refuse_shared_blobs()?;
        let live = view.graph.mark(&view.layout, &view.state, &mark)?;
        let plan = sweep(&view, &live, &Disk, &sweep_options(context, &args.sweep));
        if args.dry_run {
            return Ok((plan, None));
        }
        // Nothing to do is no reason to lock, so that a clean layout on a read-only file system is
        // no error.
        if plan.is_empty() {
            return Ok((plan, Some(Outcome::nothing())));
        }
        let View { layout, graph, .. } = view;
        drop((live, graph));
        let locked = Locked::acquire(&layout, args.sweep.lock_wait, context.observer())?;
        match execute(&locked, &plan, &Disk, context.observer()) {
            Ok(outcome) => return Ok((plan, Some(outcome))),
            Err(Refused::Changed) => {}
            Err(Refused::Error(error)) => return Err(error),
        }
    }
    Err(Error::Unstable {
        path: path.to_owned(),
        times: MAX_ATTEMPTS,
    })
}

/// Reads a layout and protects what is in flight.
fn view(context: &Context<'_>, path: &Path, args: &SweepArgs) -> Result<View, Error> {
    let mut view = context.read(path)?;
    let rule = InFlight {
        now: context.now.as_nanosecond(),
        grace: nanoseconds(args.grace),
    };
    view.graph
        .protect_in_flight(&view.layout, &view.state, rule, context.observer())?;
    Ok(view)
}

/// Turns a flag into the library's word.
pub const fn accept(flag: bool) -> Accept {
    if flag { Accept::Yes } else { Accept::No }
}

/// Turns arguments into the options of the plan.
fn sweep_options(context: &Context<'_>, args: &SweepArgs) -> SweepOptions {
    SweepOptions {
        now: context.now.as_nanosecond(),
        temp_age: nanoseconds(args.temp_age),
    }
}

pub fn nanoseconds(duration: std::time::Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
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
