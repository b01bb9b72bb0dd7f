//! `ocisweep apply`

use std::path::{Path, PathBuf};
use std::time::Duration;

use ocisweep::fs::Disk;
use ocisweep::ops;
use ocisweep::plan::plan_file::{ApplyError, PlanFile};

use crate::cli::archives::no_output;
use crate::cli::args::ApplyArgs;
use crate::cli::audit::AuditRemoval;
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::{RunReport, Selected, alone, shared};
use crate::cli::render::json;
use crate::cli::render::names::{RemovedNames, add_lines};
use crate::cli::render::pieces::Pieces;
use crate::cli::render::sweep::{Shown, Style};
use crate::cli::run::{RunClock, protection, run_mode};

/// Applies a plan file, layout by layout. A layout that has changed is refused, and does not stop the others, except for
/// one that shares a store.
///
/// # Errors
/// The exit status, if the file is not a plan.
pub fn run(context: &Context<'_>, args: &ApplyArgs) -> Result<Exit, Exit> {
    let file = read(context, &args.file)?;
    if args.archive.output.is_some() {
        let layouts: Vec<PathBuf> = file.layouts.iter().map(|it| it.path.clone()).collect();
        let several = file.shared_blobs.is_some();
        if let Some((text, hint)) = no_output(&layouts, several) {
            return Err(context.fail(exit::USAGE, text, Some(hint)));
        }
    }
    // A blob that was recent then and is old now is not in the plan; one that a writer uses now stops it.
    let clock = RunClock::of(args.dry_run);
    let temp_age = match file.shared_blobs {
        Some(_) => Duration::MAX,
        None => file.temp_age(),
    };
    let rule = protection(context, file.grace(), temp_age, clock);
    let mode = run_mode(args.dry_run, args.lock.lock_wait);
    let paths = file.layouts.iter().map(|planned| &planned.path);
    let chosen = match &file.shared_blobs {
        Some(store) => {
            let layouts: Vec<PathBuf> = paths.cloned().collect();
            Selected::of(vec![shared(context, &store.path, &layouts)], true)
        }
        None => Selected::of(
            paths.map(|path| alone(context, path)).collect(),
            file.layouts.len() > 1,
        ),
    };
    let style = args.output.style(args.dry_run, false, chosen.is_many);
    let runs = chosen.run(context, |number, group| {
        chosen.refuse_sharing(number)?;
        let planned = match &file.shared_blobs {
            Some(_) => &file.layouts[..],
            None => &file.layouts[number..=number],
        };
        let run = ops::run(group, &rule, mode, context.watcher(), |snapshot| {
            let mut planned = planned.iter();
            let planned = planned.find(|planned| planned.path == snapshot.layout.path());
            let planned = planned.expect("the layouts are those of the plan");
            let mut removal = planned.plan(snapshot, &rule.sweep, &Disk)?;
            if let Some(audit) = &context.audit {
                let reason = format!("plan {}", args.file.display());
                audit.note(
                    snapshot.layout.path(),
                    AuditRemoval::by_name(&removal, &reason),
                );
            }
            let names = RemovedNames::take(&mut removal);
            Ok::<_, ApplyError>((removal.plan, names))
        });
        context.done_with(group.path());
        run
    });
    let mut report = RunReport::new("apply", style);
    let ended = report.add_runs(
        context,
        &chosen,
        &runs,
        |shown, names| show(context, &style, shown, names),
        |error| report_error(context, error),
    );
    Ok(ended.and(report.finish(context)))
}

fn report_error(context: &Context<'_>, error: &ApplyError) -> Exit {
    if let ApplyError::Layout(error) = error {
        return context.report(error);
    }
    context.fail(
        exit::REFUSED,
        &error.to_string(),
        Some("this layout was not changed; make a new plan with `ocisweep prune --plan`"),
    )
}

fn read(context: &Context<'_>, path: &Path) -> Result<PlanFile, Exit> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| {
        let text = format!("cannot read `{shown}`: {error}");
        context.fail(exit::IO, &text, None)
    })?;
    // The text of a million blobs is freed before the layout is read. Parsing it in pieces takes longer and saves little:
    // the peak comes later.
    let file = PlanFile::parse(&bytes).map(PlanFile::without_review);
    file.map_err(|error| {
        let text = format!("cannot use `{shown}`: {error}");
        context.fail(exit::REFUSED, &text, None)
    })
}

/// Prints the result of a layout; returns its exit and its part of the document.
fn show(
    context: &Context<'_>,
    style: &Style,
    shown: &Shown<'_>,
    names: Option<&RemovedNames>,
) -> (Exit, json::SweptLayout) {
    let mut exit = exit::DONE;
    if !style.is_json && !style.is_quiet {
        let mut pieces = Pieces::new(context, shown.heading(context, style));
        add_lines(&mut pieces, context, shown, names);
        exit = pieces.finish();
    }
    exit = exit.and(shown.report_trouble(context, style));
    let mut layout = shown.to_json(context.now, style);
    let kept = names.into_iter().flat_map(RemovedNames::kept_items);
    layout.items.extend(kept);
    (exit, layout)
}
