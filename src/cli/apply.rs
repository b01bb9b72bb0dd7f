//! `ocisweep apply`

use std::path::Path;

use ocisweep::Error;
use ocisweep::plan::Totals;
use ocisweep::plan::file::{ApplyError, PlanFile, PlannedLayout};
use ocisweep::sys::Disk;

use super::args::{ApplyArgs, TextFormat};
use super::context::Context;
use super::exit::{self, Exit};
use super::perform::{Done, Rule, perform, run_mode};
use super::prune::failed;
use super::render::json;
use super::render::sweep::{Shown, total_line};

/// Does what a plan file says, layout by layout. A layout that changed is refused, and does not stop
/// the others.
pub fn run(context: &Context<'_>, args: &ApplyArgs) -> Exit {
    let file = match read(&args.file) {
        Ok(file) => file,
        Err((text, exit)) => {
            context.term.error(&text, None);
            return exit;
        }
    };
    // What was young then and is old now is not in the plan; what a writer uses by now stops it.
    let rule = Rule::of(context, file.grace(), file.temp_age());
    let mut exit = exit::DONE;
    let mut totals = Totals::default();
    let mut any = false;
    let mut document = json::Sweep {
        schema_version: json::SCHEMA_VERSION,
        command: "apply",
        dry_run: args.dry_run,
        layouts: Vec::new(),
        totals: json::Totals::default(),
    };
    for planned in &file.layouts {
        match one(context, args, &rule, planned) {
            Ok(done) => {
                any = true;
                let shown = Shown {
                    plan: &done.plan,
                    outcome: done.outcome.as_ref(),
                };
                totals = totals.plus(shown.totals());
                exit = exit.and(show(context, args, &shown, &done.said, &mut document));
            }
            Err(error) => {
                document
                    .layouts
                    .push(failed(&planned.path, &error.to_string()));
                exit = exit.and(report(context, &error));
            }
        }
    }
    exit.and(match args.format {
        TextFormat::Json => {
            for layout in &document.layouts {
                document.totals.add(&layout.totals);
            }
            context.print(&json::pretty(&document))
        }
        // Where everything was refused, nothing was reclaimed, and the errors have said so.
        TextFormat::Text if !any => exit::DONE,
        TextFormat::Text => context.print(&total_line(&totals, args.dry_run)),
    })
}

fn report(context: &Context<'_>, error: &ApplyError) -> Exit {
    if let ApplyError::Layout(error) = error {
        return context.report(error);
    }
    context.term.error(
        &error.to_string(),
        Some("nothing of it was changed; make a new plan with `ocisweep prune --plan`"),
    );
    exit::REFUSED
}

fn read(path: &Path) -> Result<PlanFile, (String, Exit)> {
    let bytes = std::fs::read(path).map_err(|error| {
        (
            format!("cannot read `{}`: {error}", path.display()),
            exit::IO,
        )
    })?;
    PlanFile::parse(&bytes).map_err(|error| {
        (
            format!("cannot use `{}`: {error}", path.display()),
            exit::REFUSED,
        )
    })
}

fn one(
    context: &Context<'_>,
    args: &ApplyArgs,
    rule: &Rule,
    planned: &PlannedLayout,
) -> Result<Done<Vec<String>>, ApplyError> {
    let mut refused = None;
    let mode = run_mode(args.dry_run, args.lock_wait);
    let done = perform(context, &planned.path, rule, mode, |view| {
        view.layout.refuse_shared_blobs()?;
        match planned.plan(view, &rule.sweep, &Disk) {
            Ok(removal) => Ok((removal.plan, removal.untagged)),
            Err(ApplyError::Layout(error)) => Err(error),
            Err(error) => {
                // Carried around the library's error type, which has no word for it.
                refused = Some(error);
                Err(Error::Interrupted)
            }
        }
    });
    match (done, refused) {
        (_, Some(error)) => Err(error),
        (Ok(done), None) => Ok(done),
        (Err(error), None) => Err(error.into()),
    }
}

fn show(
    context: &Context<'_>,
    args: &ApplyArgs,
    shown: &Shown<'_>,
    untagged: &[String],
    document: &mut json::Sweep<'_>,
) -> Exit {
    let mut exit = match args.format {
        TextFormat::Json => {
            document.layouts.push(shown.to_json(context.now));
            exit::DONE
        }
        TextFormat::Text if args.quiet => exit::DONE,
        TextFormat::Text => {
            let verb = if args.dry_run {
                "Would untag"
            } else {
                "Untagged"
            };
            let mut text: String = untagged
                .iter()
                .map(|name| format!("{verb}: {}\n", context.term.foreign(name)))
                .collect();
            text.push_str(&shown.lines(context));
            context.print(&text)
        }
    };
    if !shown.report_trouble(context) {
        exit = exit.and(exit::INCOMPLETE);
    }
    if shown.outcome.is_some_and(|outcome| outcome.interrupted) {
        exit = exit.and(exit::INTERRUPTED);
    }
    exit
}
