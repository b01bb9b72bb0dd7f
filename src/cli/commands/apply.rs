//! `ocisweep apply`

use std::path::{Path, PathBuf};
use std::time::Duration;

use ocisweep::Snapshot;
use ocisweep::fs::Disk;
use ocisweep::ops::{self, LayoutGroup, Protection};
use ocisweep::plan::plan_file::{ApplyError, PlanFile, PlannedLayout, PlannedStore};
use ocisweep::plan::{KeptImage, Plan};

use crate::cli::args::{ApplyArgs, TextFormat};
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::{RunReport, each};
use crate::cli::render::json;
use crate::cli::render::kept::{kept_items, kept_lines};
use crate::cli::render::sweep::Shown;
use crate::cli::run::{self, Clock, Done, protection, run_mode};

/// What planning noted beside the plan.
struct PlanNotes {
    untagged: Vec<String>,
    kept_by: Vec<KeptImage>,
    more_kept: usize,
}

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
    let clock = Clock::of(args.dry_run);
    if let Some(store) = &file.shared_blobs {
        let rule = protection(context, file.grace(), Duration::MAX, clock);
        return shared(context, args, &rule, store, &file.layouts);
    }
    let rule = protection(context, file.grace(), file.temp_age(), clock);
    let paths: Vec<PathBuf> = file
        .layouts
        .iter()
        .map(|planned| planned.path.clone())
        .collect();
    let is_many = paths.len() > 1;
    let runs = each(context, &paths, |number, _| {
        let planned = file
            .layouts
            .get(number)
            .expect("there is one for each path");
        one(context, args, &rule, planned)
    });
    let mut account = RunReport::new("apply", args.dry_run, is_many);
    let exit = account.add_runs(
        &paths,
        &runs,
        |shown, said| show(context, args, shown, said, is_many),
        |error| report(context, error),
    );
    exit.and(account.finish(context, &args.output))
}

/// Applies the plan for layouts that share a store of blobs: all of it or, where one of them changed, nothing.
fn shared(
    context: &Context<'_>,
    args: &ApplyArgs,
    protection: &Protection,
    store: &PlannedStore,
    layouts: &[PlannedLayout],
) -> Exit {
    let paths: Vec<PathBuf> = layouts.iter().map(|planned| planned.path.clone()).collect();
    let group = LayoutGroup::sharing(&store.path, &paths)
        .ignoring(&context.ignored)
        .trashing(context.trash.as_ref());
    let mode = run_mode(args.dry_run, args.lock_wait);
    let make = |view: &mut Snapshot| {
        let mut all = layouts.iter();
        let planned = all.find(|planned| planned.path == view.layout.path());
        let planned = planned.expect("the layouts are those of the plan");
        planned_in(planned, view, protection)
    };
    let mut account = RunReport::new("apply", args.dry_run, true);
    let run = ops::run(&group, protection, mode, context.watcher(), make);
    let exit = account.add_group(
        &store.path,
        &run,
        |shown, said| show(context, args, shown, said, true),
        |error| report(context, error),
    );
    exit.and(account.finish(context, &args.output))
}

fn report(context: &Context<'_>, error: &ApplyError) -> Exit {
    if let ApplyError::Layout(error) = error {
        return context.report(error);
    }
    context.term.error(
        &error.to_string(),
        Some("this layout was not changed; make a new plan with `ocisweep prune --plan`"),
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
    rule: &Protection,
    planned: &PlannedLayout,
) -> Result<Done<PlanNotes>, ApplyError> {
    let mode = run_mode(args.dry_run, args.lock_wait);
    run::run(context, &planned.path, rule, mode, |view| {
        planned_in(planned, view, rule)
    })
}

fn planned_in(
    planned: &PlannedLayout,
    view: &Snapshot,
    protection: &Protection,
) -> Result<(Plan, PlanNotes), ApplyError> {
    view.layout.refuse_shared_blobs()?;
    let removal = planned.plan(view, &protection.sweep, &Disk)?;
    let said = PlanNotes {
        untagged: removal.untagged,
        kept_by: removal.kept_by,
        more_kept: removal.more_kept,
    };
    Ok((removal.plan, said))
}

/// Says what became of a layout, and returns how it ended and what the document says of it.
fn show(
    context: &Context<'_>,
    args: &ApplyArgs,
    shown: &Shown<'_>,
    said: Option<&PlanNotes>,
    is_many: bool,
) -> (Exit, json::SweptLayout) {
    let mut exit = match args.output.format {
        TextFormat::Json => exit::DONE,
        TextFormat::Text if args.output.quiet => exit::DONE,
        TextFormat::Text => {
            let verb = if args.dry_run {
                "Would untag"
            } else {
                "Untagged"
            };
            let untagged = said.into_iter().flat_map(|said| &said.untagged);
            let mut text: String = untagged
                .filter(|_| shown.is_written())
                .map(|name| format!("{verb}: {}\n", context.term.foreign(name)))
                .collect();
            text.push_str(&shown.lines(context));
            if let Some(said) = said {
                text.push_str(&kept_lines(context, &said.kept_by, said.more_kept));
            }
            context.print(&shown.headed(context, text, is_many))
        }
    };
    if !shown.report_trouble(context) {
        exit = exit.and(shown.trouble_exit());
    }
    if shown.outcome.is_some_and(|outcome| outcome.interrupted) {
        exit = exit.and(exit::INTERRUPTED);
    }
    let mut layout = shown.to_json(context.now, args.output.format);
    if let Some(said) = said {
        layout.items.extend(kept_items(&said.kept_by));
    }
    (exit, layout)
}
