//! `ocisweep prune`

mod confirm;
mod pool;

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ocisweep::fs::{Disk, FileTime, Fs as _};
use ocisweep::graph::{EmptyIndex, MissingDocuments};
use ocisweep::model::entries::list_entries;
use ocisweep::model::images::list_images;
use ocisweep::model::inventory::Unmeasured;
use ocisweep::oci::Digest;
use ocisweep::oci::glob::Glob;
use ocisweep::ops::{Mode, Protection};
use ocisweep::parse::size::human_size;
use ocisweep::plan::plan_file::{PlanFile, PlannedLayout};
use ocisweep::plan::{
    Age, Budget, BudgetHolder, Filters, GroupBy, KeepFrom, KeptBytes, KeptImage, KeptLink, Plan,
    Policy, Prune, PruneError, PruneOptions, Scope, Unmatched, Verdict, prune, remove_if_empty,
    unmatched, unmatched_everywhere,
};
use ocisweep::{Error, Snapshot};

use self::confirm::{Answer, confirm};
use crate::cli::args::{ClockName, GroupName, PruneArgs, TextFormat};
use crate::cli::context::{Context, quote_path};
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::{RunReport, SelectedLayouts, choose, done_in, each, remove_directories};
use crate::cli::mistaken::CommandLine;
use crate::cli::render::json;
use crate::cli::render::kept::{kept_items, kept_lines};
use crate::cli::render::sweep::{Aged, NOTHING_ELSE, Shown, count};
use crate::cli::run::{self, Clock, Done, protection};

/// The largest plan file that is replaced, in bytes.
const MAX_PLAN_BYTES: u64 = 1 << 30;

/// Everything that was typed, understood.
struct Wanted {
    filters: Filters,
    policy: Policy,
    scope: Scope,
    zone: TimeZone,
}

/// What planning said beside the plan.
struct PlanNotes {
    verdicts: Vec<Verdict>,
    untagged: Vec<String>,
    left_referrers: Vec<String>,
    budget: Budget,
    takes_everything: bool,
    kept: KeptBytes,
    kept_links: Vec<KeptLink>,
    unmeasured: Option<Unmeasured>,
    unmatched: Vec<Unmatched>,
    file: PlannedLayout,
    kept_by: Vec<KeptImage>,
    more_kept: usize,
}

impl PlanNotes {
    /// Returns the images that are removed or lose a name.
    fn going(&self) -> impl Iterator<Item = &Digest> {
        let going = self.verdicts.iter();
        let going = going.filter(|verdict| verdict.is_removed || !verdict.untagged.is_empty());
        going.map(|verdict| &verdict.digest)
    }
}

/// Prunes each layout. One that fails does not stop the others.
pub fn run(context: &Context<'_>, args: &PruneArgs) -> Exit {
    let wanted = match understand(context, args) {
        Ok(wanted) => wanted,
        Err(text) => {
            context.term.error(&text, None);
            return exit::USAGE;
        }
    };
    let must_ask = !args.force && !args.is_dry_run();
    if must_ask && !std::io::stdin().is_terminal() {
        context.term.error(
            "cannot ask for confirmation: standard input is not a terminal",
            Some("`--force` prunes without confirmation, `--dry-run` shows what would be removed"),
        );
        return exit::USAGE;
    }
    let clock = Clock::of(args.is_dry_run());
    let rule = protection(context, args.sweep.grace, args.sweep.temp_age, clock);
    if let Some(path) = &args.layouts.shared_blobs {
        return pool::run(context, args, &wanted, &rule, path);
    }
    let chosen = match choose(context, &args.layouts.tree, CommandLine::deleting()) {
        Ok(chosen) => chosen,
        Err(exit) => return exit,
    };
    let mut exit = chosen.exit;
    let mut shown = Vec::new();
    if must_ask {
        let asked = confirm(context, args, &wanted, &rule, &chosen);
        exit = exit.and(asked.exit);
        if asked.answer == Answer::No {
            context.term.note("nothing was changed");
            return exit;
        }
        shown = asked.shown;
    }
    let mode = if args.is_dry_run() {
        Mode::Plan
    } else {
        Mode::Execute(args.sweep.lock_wait)
    };
    let runs = each(context, &chosen.layouts, |number, path| {
        let shown = match shown.get(number) {
            // Whatever it is now: nobody agreed to anything here.
            Some(Err(text)) => return Err(Failure::PlanNotes(text)),
            Some(Ok(shown)) => Some(shown),
            None => None,
        };
        chosen.refuse_sharing(number)?;
        let mut done = one(context, args, &wanted, &rule, mode, path, shown)?;
        if chosen.is_many {
            done.plan.shrink();
        }
        Ok(done)
    });
    exit.and(tell(context, args, &chosen, runs, must_ask))
}

/// Says what became of the layouts, one after another, and writes the plan file. Whoever was asked knows already what
/// matches nothing.
fn tell(
    context: &Context<'_>,
    args: &PruneArgs,
    chosen: &SelectedLayouts,
    runs: Vec<Option<Result<Done<PlanNotes>, Failure<'_>>>>,
    was_asked: bool,
) -> Exit {
    let done = done_in(&runs);
    let said = done.iter().flatten().map(|done| &done.said);
    if !was_asked {
        context.warn_unmatched(&unmatched_in_all(said));
    }
    remove_directories(&chosen.layouts, &done);
    let mut kept = KeptBytes::default();
    let mut seen = HashSet::new();
    let mut account = RunReport::new("prune", args.is_dry_run(), chosen.is_many);
    let mut exit = account.add_runs(
        &chosen.layouts,
        &runs,
        |shown, said| {
            if let Some(said) = said {
                kept.add(&said.kept, &said.kept_links, &mut seen);
            }
            let ended = show(context, args, said, shown, chosen.is_many);
            (ended, to_json(context, args, said, shown))
        },
        |failure| report(context, failure),
    );
    let done = runs.into_iter().flatten().flatten();
    let mut plan_file = PlanFile::new(context.now, args.sweep.grace, args.sweep.temp_age);
    plan_file.layouts.extend(done.map(|done| done.said.file));
    if let Some(file) = args.plan.as_ref().filter(|_| account.is_measured()) {
        exit = exit.and(save_plan(context, file, &plan_file));
    }
    exit = exit.and(account.finish(context, &args.output));
    if args.output.format == TextFormat::Text && account.is_measured() {
        exit = exit.and(context.print(&kept_line(&kept, account.aged())));
    }
    exit
}

/// Writes the plan file, and reports what keeps it from being written.
fn save_plan(context: &Context<'_>, path: &Path, plan: &PlanFile) -> Exit {
    match write_plan(path, plan) {
        Ok(()) => exit::DONE,
        Err(error) => {
            let text = format!("cannot write `{}`: {error}", path.display());
            context.term.error(&text, None);
            exit::IO
        }
    }
}

/// Writes the plan such that at every moment the old file or the new one is there. A file that is no plan is left alone: a
/// slip in the name must not cost it.
fn write_plan(path: &Path, plan: &PlanFile) -> std::io::Result<()> {
    use std::io::{Error, ErrorKind, Read as _};

    let text = plan.to_json()?;
    match std::fs::metadata(path) {
        // A pipe, or `/dev/stdout`.
        Ok(found) if !found.is_file() => return overwrite(path, &text),
        Ok(found) if found.len() > 0 => {
            let mut bytes = Vec::new();
            let file = std::fs::File::open(path)?;
            file.take(MAX_PLAN_BYTES).read_to_end(&mut bytes)?;
            if PlanFile::parse(&bytes).is_err() {
                let why =
                    "it is there already and is no plan file; give another name, or remove it";
                return Err(Error::new(ErrorKind::AlreadyExists, why));
            }
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // A link is followed to the file that it names.
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = match real.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let Some(name) = real.file_name().and_then(|name| name.to_str()) else {
        return overwrite(path, &text);
    };
    let directory = std::fs::File::open(directory)?;
    Disk.replace(directory.as_fd(), name, text.as_bytes(), FileTime::New)
}

/// Writes a plan to what cannot be replaced.
#[expect(
    clippy::disallowed_methods,
    reason = "the user named the file, and it is no part of a layout"
)]
fn overwrite(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::write(path, text)
}

/// Turns what was typed into the library's words.
fn understand(context: &Context<'_>, args: &PruneArgs) -> Result<Wanted, String> {
    let filters = Filters::parse(&args.filter, context.now, &context.zone)
        .map_err(|error| error.to_string())?;
    let keep = args
        .keep
        .iter()
        .map(|pattern| Glob::new(pattern).map_err(|error| format!("cannot use `--keep`: {error}")))
        .collect::<Result<_, _>>()?;
    let keep_from = args
        .keep_from
        .as_ref()
        .map(|path| {
            let cannot = |why: String| format!("cannot use `{}`: {why}", path.display());
            let text = std::fs::read_to_string(path).map_err(|error| cannot(error.to_string()))?;
            KeepFrom::parse(&text).map_err(cannot)
        })
        .transpose()?;
    // "Everything else goes" is what a list of what stays means.
    let scope = if args.all || keep_from.is_some() {
        Scope::All
    } else {
        Scope::Dangling
    };
    let policy = Policy {
        last: args.keep_last,
        within: args.keep_within,
        daily: args.keep_daily,
        weekly: args.keep_weekly,
        monthly: args.keep_monthly,
        keep,
        keep_from,
        group_by: match args.group_by {
            GroupName::Name => GroupBy::Name,
            GroupName::None => GroupBy::None,
        },
    };
    if scope == Scope::Dangling && policy.chooses() {
        context.term.note(
            "without `--all` only dangling images are removed, so keep rules apply only to those",
        );
    }
    Ok(Wanted {
        filters,
        policy,
        scope,
        zone: context.zone.clone(),
    })
}

/// Why one layout was not pruned.
#[derive(Debug, thiserror::Error)]
enum Failure<'a> {
    #[error(transparent)]
    Library(#[from] Error),
    #[error(transparent)]
    Prune(PruneError),
    #[error("cannot prune `{path}`: more images would be removed than were confirmed")]
    NotShown { path: String },
    /// It was said before the question.
    #[error("{0}")]
    PlanNotes(&'a Refusal),
}

/// Why a layout was not part of the question.
#[derive(Debug)]
struct Refusal {
    text: String,
    exit: Exit,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn report(context: &Context<'_>, failure: &Failure<'_>) -> Exit {
    match failure {
        Failure::PlanNotes(refusal) => refusal.exit,
        Failure::Library(error) | Failure::Prune(PruneError::Layout(error)) => {
            context.report(error)
        }
        Failure::Prune(error @ PruneError::LastImage { .. }) => {
            context
                .term
                .error(&error.to_string(), Some("`--allow-empty` proceeds anyway"));
            exit::REFUSED
        }
        Failure::Prune(PruneError::Filter(error)) => {
            context.term.error(&error.to_string(), None);
            exit::USAGE
        }
        Failure::Prune(error) => {
            context.term.error(&error.to_string(), None);
            exit::REFUSED
        }
        Failure::NotShown { .. } => {
            context.term.error(
                &failure.to_string(),
                Some(
                    "the layout was changed concurrently and was not pruned; run the command again",
                ),
            );
            exit::REFUSED
        }
    }
}

/// Plans one layout, and executes the plan unless this is a dry run. Where a question showed images
/// as going, no other goes.
fn one<'a>(
    context: &Context<'_>,
    args: &PruneArgs,
    wanted: &Wanted,
    rule: &Protection,
    mode: Mode,
    path: &Path,
    shown: Option<&BTreeSet<Digest>>,
) -> Result<Done<PlanNotes>, Failure<'a>> {
    run::run(context, path, rule, mode, |view| {
        let (plan, said) = planned(context, args, wanted, rule, view).map_err(Failure::Prune)?;
        let is_new = |digest: &Digest| shown.is_some_and(|shown| !shown.contains(digest));
        if said.going().any(is_new) {
            let path = path.display().to_string();
            return Err(Failure::NotShown { path });
        }
        Ok((plan, said))
    })
}

fn planned(
    context: &Context<'_>,
    args: &PruneArgs,
    wanted: &Wanted,
    rule: &Protection,
    view: &Snapshot,
) -> Result<(Plan, PlanNotes), PruneError> {
    view.layout.refuse_shared_blobs()?;
    let images = list_images(view, rule.now);
    let options = PruneOptions {
        scope: wanted.scope,
        filters: &wanted.filters,
        policy: &wanted.policy,
        max_size: args.max_size,
        time: args.time.into(),
        now: context.now,
        zone: wanted.zone.clone(),
        empty: EmptyIndex::allow_if(args.sweep.allow_empty),
        missing: MissingDocuments::allow_if(args.sweep.allow_missing),
    };
    let entries = list_entries(view);
    let unmatched = unmatched(view, &images, &entries, &wanted.filters, &wanted.policy);
    let pruned =
        prune(view, &images, &entries, &options, &rule.sweep, &Disk).inspect_err(|_| {
            // A list full of typing errors keeps nothing: that is when they matter most. Of several
            // layouts each lacks most of what is listed.
            if !args.layouts.is_many() {
                context.warn_unmatched(&unmatched);
            }
        })?;
    let file = PlannedLayout::new(view, &pruned, options.missing, options.empty);
    let Prune {
        removal,
        verdicts,
        budget,
        takes_everything,
        kept,
        kept_links,
        unmeasured,
        ..
    } = pruned;
    let said = PlanNotes {
        verdicts,
        untagged: removal.untagged,
        left_referrers: removal.left_referrers,
        kept_by: removal.kept_by,
        more_kept: removal.more_kept,
        budget,
        takes_everything,
        kept,
        kept_links,
        unmeasured,
        unmatched,
        file,
    };
    let mut plan = removal.plan;
    if args.remove_empty_layouts {
        remove_if_empty(view, &mut plan, rule.in_flight);
    }
    Ok((plan, said))
}

/// Returns what matches nothing in any of the layouts.
fn unmatched_in_all<'a>(said: impl Iterator<Item = &'a PlanNotes>) -> Vec<Unmatched> {
    unmatched_everywhere(said.map(|said| said.unmatched.as_slice()))
}

fn to_json(
    context: &Context<'_>,
    args: &PruneArgs,
    said: Option<&PlanNotes>,
    shown: &Shown<'_>,
) -> json::SweptLayout {
    let mut layout = shown.to_json(context.now, args.output.format);
    let verdicts = said.into_iter().flat_map(|said| &said.verdicts);
    let verdicts = verdicts.map(|verdict| json::Item {
        digest: Some(verdict.digest.to_string()),
        path: None,
        kind: "image",
        size: verdict.size,
        action: match (verdict.is_removed && shown.is_written(), args.is_dry_run()) {
            (true, true) => "would-remove",
            (true, false) => "remove",
            (false, _) => "keep",
        },
        reasons: verdict.reasons.clone(),
        names: verdict.names.clone(),
        platform: None,
    });
    layout.items.splice(0..0, verdicts);
    if let Some(said) = said {
        layout.items.extend(kept_items(&said.kept_by));
    }
    layout
}

/// Says what became of a layout, or, where nothing was said of images, of a pool.
fn show(
    context: &Context<'_>,
    args: &PruneArgs,
    said: Option<&PlanNotes>,
    shown: &Shown<'_>,
    is_many: bool,
) -> Exit {
    let mut exit = exit::DONE;
    if args.output.format == TextFormat::Text {
        let mut text = String::new();
        if args.verbose {
            for verdict in said.into_iter().flat_map(|said| &said.verdicts) {
                text.push_str(&verdict_line(context, args.time, verdict));
            }
        }
        if !args.output.quiet {
            let verb = if args.is_dry_run() {
                "Would untag"
            } else {
                "Untagged"
            };
            let untagged = said.into_iter().flat_map(|said| &said.untagged);
            for name in untagged.filter(|_| shown.is_written()) {
                let _ = writeln!(text, "{verb}: {}", context.term.foreign(name));
            }
            text.push_str(&shown.lines(context));
            if let Some(said) = said {
                text.push_str(&kept_lines(context, &said.kept_by, said.more_kept));
            }
        }
        exit = context.print(&shown.headed(context, text, is_many));
    }
    for name in said.into_iter().flat_map(|said| &said.left_referrers) {
        context.term.note(&format!(
            "keeping `{name}` and what it references: it has a name, and its subject is removed"
        ));
    }
    if !shown.report_trouble(context) {
        exit = exit.and(shown.trouble_exit());
    }
    if shown.outcome.is_some_and(|outcome| outcome.interrupted) {
        exit = exit.and(exit::INTERRUPTED);
    }
    // Without a budget no size decides anything.
    if let (Some(unmeasured), Some(_)) = (
        said.and_then(|said| said.unmeasured.as_ref()),
        args.max_size,
    ) {
        let path = shown.plan.layout().to_string_lossy();
        exit = exit.and(context.report_unmeasured(&path, unmeasured));
    }
    if let (Some(said), Some(max_size)) = (said, args.max_size)
        && let Budget::Missed { live, held } = &said.budget
    {
        context.term.error(
            &format!(
                "cannot reduce `{}` to {}: {} remain, {}{}",
                shown.plan.layout().display(),
                human_size(max_size),
                human_size(*live),
                kept_line(&said.kept, &Aged::default()).trim_end(),
                held_by(held)
            ),
            Some(&format!(
                "`--all` also removes named images, `--allow-empty` the last one, `ocisweep hold ls {}` shows holds; a budget never removes what a keep rule keeps",
                quote_path(shown.plan.layout())
            )),
        );
        exit = exit.and(exit::BUDGET);
    }
    if args.exit_code && shown.outcome.is_none() && !shown.plan.is_empty() {
        exit = exit.and(exit::WOULD_CHANGE);
    }
    exit
}

/// Returns what keeps the images that a budget would have to take, rule by rule.
fn held_by(held: &[BudgetHolder]) -> String {
    let mut text = String::new();
    for holder in held {
        let _ = write!(
            text,
            "; {} keeps {} with {}",
            holder.what,
            count(holder.images, "image"),
            human_size(holder.bytes)
        );
    }
    text
}

fn verdict_line(context: &Context<'_>, clock: ClockName, verdict: &Verdict) -> String {
    let action = if verdict.is_removed {
        "remove"
    } else {
        "keep  "
    };
    let names = if verdict.names.is_empty() {
        "<none>".to_owned()
    } else {
        verdict.names.join(", ")
    };
    format!(
        "{action} {}  {}  ({})  {}\n",
        verdict.digest.short(),
        context.term.foreign(&names),
        context.term.foreign(&verdict.reasons.join("; ")),
        age(clock, &verdict.age)
    )
}

/// Returns the time by which an image was judged, and what decides where that is equal to another one.
fn age(clock: ClockName, age: &Age) -> String {
    let seconds = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let word = match clock {
        ClockName::Added => "added",
        ClockName::Created => "created",
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

/// Returns the line that says what holds the rest; nothing if nothing is left.
fn kept_line(kept: &KeptBytes, aged: &Aged) -> String {
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
    let way_out = if aged.is_all() { NOTHING_ELSE } else { "" };
    format!(
        "kept {}: {}{way_out}\n",
        human_size(kept.total()),
        parts.join(", ")
    )
}
