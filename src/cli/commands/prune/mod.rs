//! `ocisweep prune`

mod confirm;
mod limits;
mod tree;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ocisweep::fs::Disk;
use ocisweep::graph::{EmptyIndex, MissingDocuments};
use ocisweep::model::entries::list_entries;
use ocisweep::model::images::{TimeSource, list_images};
use ocisweep::model::inventory::Unmeasured;
use ocisweep::oci::glob::Glob;
use ocisweep::ops::{
    self, BudgetRequest, Finished, FreeSpace, LayoutGroup, Limits, Mode, Protection, PruneTogether,
    remove_directories,
};
use ocisweep::parse::size::human_size;
use ocisweep::plan::plan_file::{PlanFile, PlannedLayout};
use ocisweep::plan::{
    Across, Age, Budget, Filters, GroupBy, KeepFrom, KeptBytes, KeptLink, Plan, Policy, Prune,
    PruneError, PruneOptions, Scope, Survey, TreeShare, Unmatched, Verdict, prune, remove_if_empty,
    unmatched, unmatched_everywhere,
};
use ocisweep::{Error, Snapshot};

use self::confirm::{Answer, Confirmed, as_shown, confirm};
use self::limits::refuse_min_free;
use crate::cli::args::{GroupName, PruneArgs};
use crate::cli::audit::AuditRemoval;
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::{GroupRuns, RunReport, Selected, choose_groups, finished};
use crate::cli::quote::quote_path;
use crate::cli::render::json::{self, JsonBudget, JsonBudgetHolder, SweptItem};
use crate::cli::render::names::{RemovedNames, add_lines};
use crate::cli::render::pieces::Pieces;
use crate::cli::render::sweep::{NOTHING_ELSE, RecentBlobs, Shown, Style, age_line, count};
use crate::cli::render::table::NONE;
use crate::cli::render::wrap::wrapped;
use crate::cli::replaced::{FileFormat, replace};
use crate::cli::run::{RunClock, protection, run_mode};

/// The largest plan file that is replaced, in bytes.
const MAX_PLAN_BYTES: u64 = 1 << 30;

/// What the command line requests.
struct PruneRequest {
    filters: Filters,
    /// The filters as they were typed.
    filter_texts: Vec<String>,
    policy: Policy,
    scope: Scope,
    budget: BudgetRequest,
    /// The scope of rules and of the budget; `None`: rules count in each layout, the budget is for all of them.
    across: Option<Across>,
    time: TimeSource,
    missing: MissingDocuments,
    empty: EmptyIndex,
    removes_empty_layouts: bool,
    rule: Protection,
    /// The removal has to be confirmed.
    asks: bool,
    /// The plan is written to a file.
    writes_plan: bool,
    /// Each image is printed with the decision.
    is_verbose: bool,
    style: Style,
}

impl PruneRequest {
    /// Returns `true` if ages decide what is removed.
    fn judges_by_age(&self) -> bool {
        let policy = &self.policy;
        let counts = [policy.last, policy.daily, policy.weekly, policy.monthly];
        let has_filter = |text: &String| {
            let key = text.split('=').next().unwrap_or_default();
            matches!(key, "until" | "before" | "since")
        };
        self.budget.is_given()
            || policy.within.is_some()
            || counts.iter().any(Option::is_some)
            || self.filter_texts.iter().any(has_filter)
    }
}

/// Notes of planning that are not part of the plan.
struct PruneNotes {
    names: RemovedNames,
    verdicts: Vec<Verdict>,
    budget: Budget,
    limits: Limits,
    takes_everything: bool,
    kept: KeptBytes,
    kept_links: Vec<KeptLink>,
    unmeasured: Option<Unmeasured>,
    unmatched: Vec<Unmatched>,
    /// The entry of the plan file, if one is written.
    file: Option<PlannedLayout>,
    /// What is needed to process the other layouts.
    survey: Option<Survey>,
}

/// Prunes each layout, or a shared store with all its layouts. A layout that fails does not stop the others, except for one
/// that shares a store: the blobs that it needs would be unknown.
///
/// # Errors
/// The exit status, if the command line cannot be used, or the layouts were not found.
pub fn run(context: &Context<'_>, args: &PruneArgs) -> Result<Exit, Exit> {
    let request = request(context, args).map_err(|text| context.fail(exit::USAGE, &text, None))?;
    let must_ask = request.asks;
    if must_ask && !std::io::stdin().is_terminal() {
        return Err(context.fail(
            exit::USAGE,
            "cannot ask for confirmation: standard input is not a terminal",
            Some("`--force` prunes without confirmation, `--dry-run` shows what would be removed"),
        ));
    }
    let chosen = choose_groups(context, args.layouts.given_to_delete())?;
    let mut tree = tree::together(context, &request, &chosen)?;
    let shares_budget = tree.as_ref().is_some_and(|tree| tree.limits().is_some());
    refuse_min_free(context, args, &chosen, shares_budget)?;
    let mut exit = chosen.exit;
    let is_dry_run = args.is_dry_run();
    let planned = match &mut tree {
        Some(tree) => Some(tree::decide(context, &request, &chosen, tree)),
        None => must_ask.then(|| plan_all(context, &request, &chosen)),
    };
    let mut shown = Vec::new();
    if let Some(planned) = planned.as_ref().filter(|_| !is_dry_run) {
        let (found, ended) = as_shown(context, planned);
        exit = exit.and(ended);
        shown = found;
    }
    if let Some(planned) = planned.as_ref().filter(|_| must_ask) {
        let (answer, ended) = confirm(context, &request, planned, tree.as_ref());
        exit = exit.and(ended);
        if answer == Answer::No {
            context.term.note("nothing was changed");
            return Ok(exit);
        }
    }
    let mode = run_mode(is_dry_run, args.sweep.lock.lock_wait);
    let mut runs = match planned {
        Some(planned) if is_dry_run => {
            chosen.paths().for_each(|path| context.done_with(path));
            planned
        }
        planned => {
            drop(planned);
            chosen.run(context, |number, group| {
                let shown = match shown.get(number) {
                    // Whatever the plan is now, it was not confirmed.
                    Some(Err(refusal)) => return Err(PruneFailure::Reported(refusal)),
                    Some(Ok(shown)) => Some(shown),
                    None => None,
                };
                chosen.refuse_sharing(number)?;
                let run = one(context, &request, group, mode, (tree.as_ref(), shown));
                context.done_with(group.path());
                run
            })
        }
    };
    if let Some(tree) = tree.as_mut().filter(|_| !is_dry_run) {
        tree::note(context, tree, &mut runs);
    }
    // The confirmation reports it too.
    if !must_ask {
        warn_unmatched(context, finished(&runs));
    }
    remove_directories(&chosen.groups, &runs);
    let mut kept = KeptBytes::default();
    let mut seen = HashSet::new();
    let mut report = RunReport::new("prune", request.style);
    let ended = report.add_runs(
        context,
        &chosen,
        &runs,
        |shown, notes| {
            if let Some(notes) = notes {
                kept.add(&notes.kept, &notes.kept_links, &mut seen);
            }
            let ended = show(context, &request, notes, shown);
            (ended, to_json(context, &request.style, notes, shown))
        },
        |failure| report_failure(context, failure),
    );
    exit = exit.and(ended);
    // After a run that ended early, the numbers would not cover all layouts.
    let budget = match context.stopped() {
        true => None,
        false => budget_of(&request, &chosen, tree.as_ref(), &runs),
    };
    let shared = tree.as_ref().and_then(PruneTogether::budget);
    if let (Some(shared), Some(_)) = (&shared, &budget)
        && !shared.is_reached()
        && report.is_measured()
    {
        exit = exit.and(tree::report_missed(context, shared, &kept));
    }
    let is_shared = args.layouts.shared_blobs.is_some();
    if let Some(path) = args.plan.as_ref().filter(|_| report.is_measured()) {
        let mut plan = PlanFile::new(context.now, args.sweep.grace, args.sweep.temp_age);
        for done in runs.into_iter().flatten().flatten() {
            let layouts = done.notes.into_iter().filter_map(|notes| notes.file);
            match done.parts.first() {
                Some((store, _)) if is_shared => plan.share(store, layouts),
                _ => plan.layouts.extend(layouts),
            }
        }
        if let Err(error) = write_plan(path, &plan) {
            let text = format!("cannot write `{}`: {error}", path.display());
            exit = exit.and(context.fail(exit::IO, &text, None));
        }
    }
    let several = budget.as_ref().filter(|budget| budget.layouts > 1);
    let budget_line = several.map(|budget| budget.line(is_dry_run));
    report.budget(budget);
    exit = exit.and(report.finish(context));
    if !request.style.is_json && report.is_measured() {
        let line = if is_shared {
            age_line(report.recent())
        } else {
            kept_line(&kept, report.recent())
        };
        let text = line + &budget_line.unwrap_or_default();
        exit = exit.and(context.print(&wrapped(text, context.term.width())));
    }
    Ok(exit)
}

/// Replaces the plan file atomically. A file that is not a plan is kept.
fn write_plan(path: &Path, plan: &PlanFile) -> std::io::Result<()> {
    const PLAN: FileFormat<'_> = FileFormat {
        name: "a plan file",
        max_bytes: MAX_PLAN_BYTES,
        is_one: |bytes| PlanFile::parse(bytes).is_ok(),
    };
    replace(path, &plan.to_json()?, PLAN)
}

/// Reads the command line.
fn request(context: &Context<'_>, args: &PruneArgs) -> Result<PruneRequest, String> {
    let filters = context
        .filters(&args.filter)
        .map_err(|error| error.to_string())?;
    let keep = args
        .keep
        .iter()
        .map(|pattern| Glob::new(pattern).map_err(|error| format!("cannot use `--keep`: {error}")))
        .collect::<Result<_, _>>()?;
    let keep_from = args.keep_from.as_deref().map(read_keep_from).transpose()?;
    // A list of images to keep implies that all others are removed.
    let scope = if args.all || keep_from.is_some() {
        Scope::All
    } else {
        Scope::Dangling
    };
    let (group_by, across) = grouping(&args.group_by)?;
    let policy = Policy {
        last: args.keep_last,
        within: args.keep_within,
        daily: args.keep_daily,
        weekly: args.keep_weekly,
        monthly: args.keep_monthly,
        keep,
        keep_from,
        group_by,
        across: across.unwrap_or_default(),
    };
    if scope == Scope::Dangling && policy.chooses() {
        context.term.note(
            "without `--all` only dangling images are removed, so keep rules apply only to those",
        );
    }
    let is_dry_run = args.is_dry_run();
    let is_shared = args.layouts.shared_blobs.is_some();
    // `apply` does not delete what the file of a shared store does not list.
    let temp_age = match args.plan {
        Some(_) if is_shared => Duration::MAX,
        _ => args.sweep.temp_age,
    };
    let is_many = is_shared || args.layouts.given().is_many();
    Ok(PruneRequest {
        filters,
        filter_texts: args.filter.clone(),
        policy,
        scope,
        budget: BudgetRequest {
            max_size: args.max_size,
            min_free: args.min_free,
        },
        across,
        time: args.time.into(),
        missing: MissingDocuments::allow_if(args.sweep.allow_missing),
        empty: EmptyIndex::allow_if(args.sweep.allow_empty),
        removes_empty_layouts: args.remove_empty_layouts,
        rule: protection(
            context,
            args.sweep.grace,
            temp_age,
            RunClock::of(is_dry_run),
        ),
        asks: !args.force && !is_dry_run,
        writes_plan: args.plan.is_some(),
        is_verbose: args.verbose,
        style: args.output.style(is_dry_run, args.exit_code, is_many),
    })
}

/// Parses `--group-by`: the groups, and the scope if it is given.
fn grouping(words: &[GroupName]) -> Result<(GroupBy, Option<Across>), String> {
    let has = |name| words.contains(&name);
    let group_by = match (has(GroupName::Name), has(GroupName::None)) {
        (true, true) => return Err("cannot use `--group-by name` with `none`".to_owned()),
        (_, true) => GroupBy::None,
        (_, false) => GroupBy::Name,
    };
    let across = match (has(GroupName::Layout), has(GroupName::Tree)) {
        (true, true) => return Err("cannot use `--group-by layout` with `tree`".to_owned()),
        (true, false) => Some(Across::Layout),
        (false, true) => Some(Across::Tree),
        (false, false) => None,
    };
    Ok((group_by, across))
}

fn read_keep_from(path: &Path) -> Result<KeepFrom, String> {
    let cannot = |why: String| format!("cannot use `{}`: {why}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| cannot(error.to_string()))?;
    KeepFrom::parse(&text).map_err(cannot)
}

/// Why a group was not pruned.
#[derive(Debug, thiserror::Error)]
enum PruneFailure<'a> {
    #[error(transparent)]
    Prune(#[from] PruneError),
    #[error("cannot prune `{path}`: more would be removed than was {by}")]
    NotConfirmed { path: String, by: &'static str },
    /// The reason was printed before the confirmation.
    #[error("{}", .0.text)]
    Reported(&'a PruneRefusal),
}

impl From<Error> for PruneFailure<'_> {
    fn from(error: Error) -> Self {
        Self::Prune(error.into())
    }
}

/// Why a group was not part of the confirmation.
#[derive(Debug)]
struct PruneRefusal {
    text: String,
    exit: Exit,
}

fn report_failure(context: &Context<'_>, failure: &PruneFailure<'_>) -> Exit {
    let (exit, hint) = match failure {
        PruneFailure::Reported(refusal) => return refusal.exit,
        PruneFailure::Prune(PruneError::Layout(error)) => return context.report(error),
        PruneFailure::Prune(PruneError::LastImage { .. }) => {
            (exit::REFUSED, Some("`--allow-empty` proceeds anyway"))
        }
        PruneFailure::Prune(PruneError::HardLinked { .. }) => (
            exit::REFUSED,
            Some("`--max-size` is a budget for the layout itself"),
        ),
        PruneFailure::Prune(PruneError::Filter(_)) => (exit::USAGE, None),
        PruneFailure::Prune(_) => (exit::REFUSED, None),
        PruneFailure::NotConfirmed { .. } => (
            exit::REFUSED,
            Some("the layout was changed concurrently and was not pruned; run the command again"),
        ),
    };
    context.fail(exit, &failure.to_string(), hint)
}

/// Plans a group, and executes the plan unless this is a dry run. If images were confirmed or decided on, no others are
/// removed.
fn one<'a>(
    context: &Context<'_>,
    request: &PruneRequest,
    group: &LayoutGroup,
    mode: Mode,
    (tree, shown): (Option<&PruneTogether>, Option<&Confirmed>),
) -> Result<Finished<PruneNotes>, PruneFailure<'a>> {
    ops::run(group, &request.rule, mode, context.watcher(), |snapshot| {
        let (plan, notes) = planned(context, request, snapshot, tree)?;
        if let Some(shown) = shown {
            let path = snapshot.layout.path();
            let images = shown.get(path);
            if !images.is_some_and(|images| images.cover(&notes.verdicts)) {
                let path = path.display().to_string();
                let by = if request.asks { "confirmed" } else { "planned" };
                return Err(PruneFailure::NotConfirmed { path, by });
            }
        }
        Ok((plan, notes))
    })
}

/// Returns the report on the budget, if there is one.
fn budget_of(
    request: &PruneRequest,
    chosen: &Selected,
    tree: Option<&PruneTogether>,
    runs: &GroupRuns<PruneNotes, PruneFailure<'_>>,
) -> Option<JsonBudget> {
    if let Some(shared) = tree.and_then(PruneTogether::budget) {
        return Some(tree::budget(&shared));
    }
    if !request.budget.is_given() {
        return None;
    }
    let noted: Vec<&PruneNotes> = finished(runs).flat_map(|done| &done.notes).collect();
    let limits = noted.first().map(|notes| notes.limits);
    let limits = limits.unwrap_or_default();
    let layouts = chosen.groups.iter().map(|group| group.paths().1.len());
    let held = noted.iter().filter_map(|notes| match &notes.budget {
        Budget::Missed { held, .. } => Some(held),
        Budget::None | Budget::Reached => None,
    });
    Some(JsonBudget {
        scope: "layout",
        layouts: layouts.sum(),
        max_size: limits.max_size,
        min_free: limits.free.map(|free| free.wanted),
        used_bytes: None,
        reached: noted
            .iter()
            .map(|notes| &notes.budget)
            .all(|budget| *budget == Budget::Reached)
            && runs.iter().all(|run| matches!(run, Some(Ok(_)))),
        held: held.flatten().map(JsonBudgetHolder::of).collect(),
    })
}

/// Plans each group.
fn plan_all(
    context: &Context<'_>,
    request: &PruneRequest,
    chosen: &Selected,
) -> Vec<Option<Result<Finished<PruneNotes>, PruneFailure<'static>>>> {
    chosen.run(context, |number, group| {
        chosen.refuse_sharing(number)?;
        one(context, request, group, Mode::Plan, (None, None))
    })
}

fn options<'a>(
    context: &Context<'_>,
    request: &'a PruneRequest,
    limits: Limits,
    share: Option<&'a TreeShare>,
) -> PruneOptions<'a> {
    let policy = &request.policy;
    let has_calendar = [policy.daily, policy.weekly, policy.monthly];
    let zone = if has_calendar.iter().any(Option::is_some) {
        context.zone().clone()
    } else {
        TimeZone::UTC
    };
    PruneOptions {
        scope: request.scope,
        filters: &request.filters,
        policy,
        max_size: limits.max_size,
        free_bytes: limits.free_bytes(),
        time: request.time,
        now: context.now,
        zone,
        empty: request.empty,
        missing: request.missing,
        share,
    }
}

fn planned(
    context: &Context<'_>,
    request: &PruneRequest,
    snapshot: &Snapshot,
    tree: Option<&PruneTogether>,
) -> Result<(Plan, PruneNotes), PruneError> {
    let rule = &request.rule;
    let images = list_images(snapshot, rule.now);
    let path = snapshot.layout.path();
    let limits = match tree.and_then(PruneTogether::limits) {
        Some(limits) => limits,
        None => request.budget.limits(path)?,
    };
    let share = tree.and_then(|tree| tree.share(path));
    let options = options(context, request, limits, share);
    let entries = list_entries(snapshot);
    let unmatched = unmatched(
        snapshot,
        &images,
        &entries,
        &request.filters,
        &request.policy,
    );
    let pruned =
        prune(snapshot, &images, &entries, &options, &rule.sweep, &Disk).inspect_err(|_| {
            // A list full of typing errors keeps nothing, which is when errors matter most. With several layouts, each lacks
            // most of the listed images.
            if !request.style.is_many {
                context.warn_unmatched(&unmatched);
            }
        })?;
    let file = || PlannedLayout::new(snapshot, &pruned, options.missing, options.empty);
    let file = request.writes_plan.then(file);
    let Prune {
        mut removal,
        verdicts,
        budget,
        takes_everything,
        kept,
        kept_links,
        unmeasured,
        survey,
        ..
    } = pruned;
    if let Some(audit) = &context.audit {
        audit.note(snapshot.layout.path(), AuditRemoval::by_rule(&verdicts));
    }
    let notes = PruneNotes {
        names: RemovedNames::take(&mut removal),
        verdicts,
        budget,
        limits,
        takes_everything,
        kept,
        kept_links,
        unmeasured,
        unmatched,
        file,
        survey,
    };
    let mut plan = removal.plan;
    if request.removes_empty_layouts {
        remove_if_empty(snapshot, &mut plan, rule.in_flight);
    }
    Ok((plan, notes))
}

/// Warns of patterns and filters that match nothing in any of the layouts.
fn warn_unmatched<'a>(
    context: &Context<'_>,
    finished: impl Iterator<Item = &'a Finished<PruneNotes>>,
) {
    let noted = finished.flat_map(|finished| &finished.notes);
    let unmatched = unmatched_everywhere(noted.map(|notes| notes.unmatched.as_slice()));
    context.warn_unmatched(&unmatched);
}

fn to_json(
    context: &Context<'_>,
    style: &Style,
    notes: Option<&PruneNotes>,
    shown: &Shown<'_>,
) -> json::SweptLayout {
    let mut layout = shown.to_json(context.now, style);
    let Some(notes) = notes else {
        return layout;
    };
    let verdicts = notes.verdicts.iter().map(|verdict| SweptItem {
        digest: Some(verdict.digest.to_string()),
        kind: "image",
        size: verdict.size,
        action: if verdict.is_removed && shown.is_written() {
            shown.tense("would-remove", "remove")
        } else {
            "keep"
        },
        reasons: verdict.reasons.clone(),
        names: verdict.names.clone(),
        ..SweptItem::default()
    });
    layout.items.splice(0..0, verdicts);
    layout.items.extend(notes.names.kept_items());
    layout
}

/// Prints the result of a layout or of a shared store, and returns how it ended.
fn show(
    context: &Context<'_>,
    request: &PruneRequest,
    notes: Option<&PruneNotes>,
    shown: &Shown<'_>,
) -> Exit {
    let style = &request.style;
    let mut exit = exit::DONE;
    if !style.is_json {
        let mut pieces = Pieces::new(context, shown.heading(context, style));
        let verdicts = notes.into_iter().flat_map(|notes| &notes.verdicts);
        for verdict in verdicts.filter(|_| request.is_verbose) {
            pieces.push(&verdict_line(context, request.time, verdict));
        }
        if !style.is_quiet {
            let names = notes.map(|notes| &notes.names);
            add_lines(&mut pieces, context, shown, names);
        }
        exit = pieces.finish();
    }
    if let Some(notes) = notes {
        notes.names.note_referrers(context);
    }
    exit = exit.and(shown.report_trouble(context, style));
    // Without a budget, sizes decide nothing.
    let has_limit =
        |notes: &&PruneNotes| notes.limits.max_size.is_some() || notes.limits.free.is_some();
    if let Some(notes) = notes.filter(has_limit) {
        let path = shown.plan.layout();
        if let Some(unmeasured) = &notes.unmeasured {
            exit = exit.and(context.report_unmeasured(&path.to_string_lossy(), unmeasured));
        }
        if let Budget::Missed {
            live,
            lacking,
            held,
        } = &notes.budget
        {
            let mut held_by = String::new();
            for holder in held {
                let images = count(holder.images, "image");
                let size = human_size(holder.bytes);
                // Writing to a String cannot fail.
                let _ = write!(held_by, "; {} keeps {images} with {size}", holder.what);
            }
            let (shown, live) = (path.display(), human_size(*live));
            let cannot = match (notes.limits.max_size, notes.limits.free) {
                (_, Some(FreeSpace { wanted, available })) if *lacking > 0 => format!(
                    "cannot free {} of the file system of `{shown}`, which has {}: {} more are needed, {live} remain",
                    human_size(wanted),
                    human_size(available),
                    human_size(*lacking)
                ),
                (max_size, _) => format!(
                    "cannot reduce `{shown}` to {}: {live} remain",
                    human_size(max_size.unwrap_or_default())
                ),
            };
            let kept = kept_line(&notes.kept, &RecentBlobs::default());
            let text = format!("{cannot}, {}{held_by}", kept.trim_end());
            let hint = format!(
                "`--all` also removes named images, `--allow-empty` the last one, `ocisweep hold ls {}` shows holds; a budget never removes what a keep rule keeps",
                quote_path(path)
            );
            // An error in the middle of a list would be overlooked.
            exit = exit.and(context.print(&context.more_line()));
            exit = exit.and(context.fail(exit::BUDGET, &text, Some(&hint)));
        }
    }
    exit
}

/// Returns the names of an image, or `<none>`.
fn names(context: &Context<'_>, verdict: &Verdict) -> String {
    if verdict.names.is_empty() {
        return NONE.to_owned();
    }
    context.term.foreign(&verdict.names.join(", "))
}

fn verdict_line(context: &Context<'_>, time: TimeSource, verdict: &Verdict) -> String {
    let action = if verdict.is_removed {
        "remove"
    } else {
        "keep  "
    };
    let line = format!(
        "{action} {}  {}  ({})  {}\n",
        verdict.digest.short(),
        names(context, verdict),
        context.term.foreign(&verdict.reasons.join("; ")),
        age(time, &verdict.age)
    );
    wrapped(line, context.term.width())
}

/// Returns the time by which an image was judged, and the one that breaks ties.
fn age(time: TimeSource, age: &Age) -> String {
    let seconds = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let word = match time {
        TimeSource::Added => "added",
        TimeSource::Created => "created",
    };
    let mut text = match age.time {
        Some(time) => format!("{word} {}", seconds(time)),
        None => format!("{word} at an unknown time"),
    };
    if let Some(created) = age.created {
        let _ = write!(text, ", created {}", seconds(created));
    }
    text
}

/// Returns the line on what is kept; empty if nothing is.
fn kept_line(kept: &KeptBytes, recent: &RecentBlobs) -> String {
    if kept.total() == 0 {
        return String::new();
    }
    let mut parts = Vec::new();
    if kept.names_bytes > 0 {
        let names = count(kept.names, "name");
        parts.push(format!("{names} {}", human_size(kept.names_bytes)));
    }
    let other_bytes = kept.untagged_bytes.saturating_add(kept.held_bytes);
    if other_bytes > 0 {
        let what = match (kept.untagged_bytes, kept.held_bytes) {
            (_, 0) => "untagged",
            (0, _) => "held",
            _ => "untagged and held",
        };
        parts.push(format!("{what} {}", human_size(other_bytes)));
    }
    if kept.listed_bytes > 0 {
        parts.push(format!("in other lists {}", human_size(kept.listed_bytes)));
    }
    if kept.released_bytes > 0 {
        let size = human_size(kept.released_bytes);
        parts.push(format!("removed while a writer is at work {size}"));
    }
    if kept.in_flight_bytes > 0 {
        parts.push(format!("in flight {}", human_size(kept.in_flight_bytes)));
    }
    let way_out = if recent.is_all() { NOTHING_ELSE } else { "" };
    format!(
        "kept {}: {}{way_out}\n",
        human_size(kept.total()),
        parts.join(", ")
    )
}
