//! `ocisweep prune --shared-blobs`: all layouts that use a pool, and the pool.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use ocisweep::Snapshot;
use ocisweep::oci::Digest;
use ocisweep::ops::{self, Finished, LayoutGroup, Mode, Protection};
use ocisweep::plan::plan_file::PlanFile;
use ocisweep::plan::{Plan, Totals};

use super::confirm::{Answer, describe_plan, put};
use super::{
    Failure, PlanNotes, Wanted, planned, report, save_plan, show, to_json, unmatched_in_all,
};
use crate::cli::args::{PruneArgs, TextFormat};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::layouts::{RunReport, choose_sharing};
use crate::cli::render::sweep::{age_line, count};
use crate::cli::run::{Clock, protection};

/// The images that go, by layout.
type Going = Vec<BTreeSet<Digest>>;

/// Prunes the layouts, each by itself, and sweeps what none of them needs then. Where one of them cannot be
/// pruned nothing is done: what it needs would be unknown.
pub(super) fn run(
    context: &Context<'_>,
    args: &PruneArgs,
    wanted: &Wanted,
    rule: &Protection,
    pool: &Path,
) -> Exit {
    let group = match choose_sharing(context, pool, &args.layouts.tree) {
        Ok(group) => group,
        Err(refused) => return refused,
    };
    // What a plan file does not list is not deleted when it is applied.
    let rule = &match &args.plan {
        Some(_) => {
            let clock = Clock::of(args.is_dry_run());
            protection(context, args.sweep.grace, Duration::MAX, clock)
        }
        None => *rule,
    };
    let make = |view: &mut Snapshot| planned(context, args, wanted, rule, view);
    let is_dry_run = args.is_dry_run();
    let mut shown = None;
    if !args.force && !is_dry_run {
        let done = match ops::run(&group, rule, Mode::Plan, context.watcher(), make) {
            Ok(done) => done,
            Err(error) => return report(context, &Failure::Prune(error)),
        };
        context.warn_unmatched(&unmatched_in_all(done.notes.iter()));
        let (answer, exit) = question(context, args, &group, &done);
        if answer == Answer::No {
            context.term.note("nothing was changed");
            return exit;
        }
        shown = Some(going(&done.notes));
    }
    let mode = if is_dry_run {
        Mode::Plan
    } else {
        Mode::Execute(args.sweep.lock_wait)
    };
    let mut account = RunReport::new("prune", is_dry_run, true);
    // Nobody agreed to anything but what the question showed.
    let agreed = |view: &mut Snapshot| -> Result<(Plan, PlanNotes), Failure<'static>> {
        let (plan, said) = make(view).map_err(Failure::Prune)?;
        let mut layouts = group.paths().1.iter();
        let number = layouts.position(|path| path == view.layout.path());
        let shown = shown.as_ref().and_then(|shown| shown.get(number?));
        let is_new = |digest: &Digest| shown.is_some_and(|shown| !shown.contains(digest));
        if said.going().any(is_new) {
            let path = view.layout.path().display().to_string();
            return Err(Failure::NotShown { path });
        }
        Ok((plan, said))
    };
    let run = ops::run(&group, rule, mode, context.watcher(), agreed);
    if let (Ok(done), None) = (&run, &shown) {
        context.warn_unmatched(&unmatched_in_all(done.notes.iter()));
    }
    let mut exit = account.add_group(
        pool,
        &run,
        |shown, said| {
            let ended = show(context, args, said, shown, true);
            (ended, to_json(context, args, said, shown))
        },
        |failure| report(context, failure),
    );
    if let (Some(file), Ok(done)) = (&args.plan, run)
        && let Some((store, _)) = done.parts.first()
    {
        let mut plan = PlanFile::new(context.now, args.sweep.grace, args.sweep.temp_age);
        plan.share(store, done.notes.into_iter().map(|said| said.file));
        exit = exit.and(save_plan(context, file, &plan));
    }
    exit = exit.and(account.finish(context, &args.output));
    if args.output.format == TextFormat::Text {
        exit = exit.and(context.print(&age_line(account.aged())));
    }
    exit
}

fn going(said: &[PlanNotes]) -> Going {
    said.iter()
        .map(|said| said.going().cloned().collect())
        .collect()
}

fn question(
    context: &Context<'_>,
    args: &PruneArgs,
    group: &LayoutGroup,
    done: &Finished<PlanNotes>,
) -> (Answer, Exit) {
    let mut text = String::new();
    let mut totals = Totals::default();
    let mut blobs = 0;
    for (plan, _) in &done.parts {
        totals = totals.plus(plan.totals());
        blobs += plan.sweep().len() as u64;
    }
    for (path, said) in group.paths().1.iter().zip(&done.notes) {
        text.push_str(&describe_plan(context, path, said, args.time, None));
    }
    let is_clean = done.parts.iter().all(|(plan, _)| plan.is_empty());
    if !is_clean {
        let path = group.path().to_string_lossy();
        text.push_str(&format!(
            "This will delete {} of {} that no layout will reference.\n",
            count(blobs, "blob"),
            context.term.foreign(&path)
        ));
    }
    put(context, args, text, &totals)
}
