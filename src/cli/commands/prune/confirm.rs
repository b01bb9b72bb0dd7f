//! The confirmation before a prune.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::BufRead as _;
use std::path::PathBuf;

use ocisweep::model::images::TimeSource;
use ocisweep::oci::Digest;
use ocisweep::ops::{Finished, FreeSpace, Limits, PruneTogether, totals_of};
use ocisweep::parse::size::human_size;
use ocisweep::plan::{Totals, Verdict};

use super::{
    PruneFailure, PruneNotes, PruneRefusal, PruneRequest, age, names, report_failure,
    warn_unmatched,
};
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::{GroupRuns, finished};
use crate::cli::render::sweep::{count, parts};
use crate::cli::render::wrap::wrapped;

/// The maximum number of images that the confirmation lists per layout.
const MAX_LISTED: usize = 40;

/// The number of images that are listed on the smallest terminal.
const MIN_LISTED: usize = 3;

/// The lines of a confirmation that lists nothing.
const OTHER_LINES: usize = 12;

/// Whether to proceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
}

/// For each layout of a group, the images that the confirmation showed as removed.
pub(super) type Confirmed = HashMap<PathBuf, ConfirmedImages>;

/// The images of a layout that were shown as removed or as losing a name.
#[derive(Debug, Default)]
pub(super) struct ConfirmedImages(HashMap<Digest, ConfirmedImage>);

/// What was shown of an image.
#[derive(Debug, Default)]
struct ConfirmedImage {
    is_removed: bool,
    names: BTreeSet<String>,
}

impl ConfirmedImages {
    /// Returns what was shown of a plan.
    pub(super) fn of(verdicts: &[Verdict]) -> Self {
        let mut images: HashMap<Digest, ConfirmedImage> = HashMap::new();
        for verdict in verdicts {
            if let Some(names) = lost_names(verdict) {
                let image = images.entry(verdict.digest.clone()).or_default();
                image.is_removed |= verdict.is_removed;
                image.names.extend(names.iter().cloned());
            }
        }
        Self(images)
    }

    /// Returns `true` if a plan removes nothing that was not shown: no other image, no image that was shown to lose only a
    /// name, and no other name. Removing less of an image is covered by the confirmation.
    pub(super) fn cover(&self, verdicts: &[Verdict]) -> bool {
        verdicts.iter().all(|verdict| {
            let Some(names) = lost_names(verdict) else {
                return true;
            };
            self.0.get(&verdict.digest).is_some_and(|image| {
                (image.is_removed || !verdict.is_removed)
                    && names.iter().all(|name| image.names.contains(name))
            })
        })
    }
}

/// Returns the names that an image loses; `None`: it is kept with all of them.
fn lost_names(verdict: &Verdict) -> Option<&[String]> {
    if verdict.is_removed {
        Some(&verdict.names)
    } else {
        Some(&*verdict.untagged).filter(|names| !names.is_empty())
    }
}

/// Returns for each group what was shown of its plan, or why nothing can be removed from it, which is reported; and the
/// resulting exit.
pub(super) fn as_shown(
    context: &Context<'_>,
    planned: &GroupRuns<PruneNotes, PruneFailure<'_>>,
) -> (Vec<Result<Confirmed, PruneRefusal>>, Exit) {
    let mut exit = exit::DONE;
    let shown = planned.iter().map(|run| match run {
        Some(Ok(done)) => {
            let layouts = parts(done).filter_map(|(shown, notes)| {
                let images = ConfirmedImages::of(&notes?.verdicts);
                Some((shown.plan.layout().to_owned(), images))
            });
            Ok(layouts.collect())
        }
        Some(Err(failure)) => Err(PruneRefusal {
            text: failure.to_string(),
            exit: report_failure(context, failure),
        }),
        None => Err(PruneRefusal {
            text: "interrupted".to_owned(),
            exit: exit::INTERRUPTED,
        }),
    });
    let shown: Vec<Result<Confirmed, PruneRefusal>> = shown.collect();
    for refusal in shown.iter().filter_map(|group| group.as_ref().err()) {
        exit = exit.and(refusal.exit);
    }
    (shown, exit)
}

/// Shows what plans would remove and how many bytes, and asks for confirmation. The plans are made again afterwards, under
/// the lock. The answer is also `Yes` if there is nothing to confirm.
pub(super) fn confirm(
    context: &Context<'_>,
    request: &PruneRequest,
    planned: &GroupRuns<PruneNotes, PruneFailure<'_>>,
    tree: Option<&PruneTogether>,
) -> (Answer, Exit) {
    if context.stopped() {
        return (Answer::No, exit::INTERRUPTED);
    }
    warn_unmatched(context, finished(planned));
    let mut texts: Vec<String> = finished(planned)
        .map(|done| describe_group(context, request, done))
        .collect();
    let totals = totals_of(planned);
    let totals = totals.into_iter().fold(Totals::default(), Totals::plus);
    texts.retain(|text| !text.is_empty());
    let noted = finished(planned).find_map(|done| done.notes.first());
    let limits = noted.map(|notes| notes.limits).unwrap_or_default();
    let text = fitting(context, &texts);
    ask(
        context,
        request,
        text,
        &totals,
        (limits, tree, planned.len()),
    )
}

/// Joins what is shown of each layout, as far as it fits on the screen: it must not scroll away before it is confirmed.
fn fitting(context: &Context<'_>, texts: &[String]) -> String {
    let room = context.term.rows().map(|rows| rows.saturating_sub(8));
    let mut joined = String::new();
    let mut lines = 0;
    for (number, text) in texts.iter().enumerate() {
        lines += text.lines().count();
        if number > 0 && room.is_some_and(|room| lines > room) {
            let more = count((texts.len() - number) as u64, "more layout");
            // Writing to a String cannot fail.
            let _ = writeln!(joined, "… and {more}; `-n -v` lists everything.");
            break;
        }
        joined.push_str(text);
    }
    joined
}

/// Returns whose budget it is, if there are several layouts.
fn budget_scope(tree: Option<&PruneTogether>, groups: usize) -> String {
    match tree.filter(|tree| tree.limits().is_some()) {
        Some(tree) => format!(" for {} layouts together", tree.layouts()),
        None if groups > 1 => format!(" for each of {groups} layouts"),
        None => String::new(),
    }
}

/// Asks for confirmation below a list of what would be removed. Does not ask if the list is empty.
fn ask(
    context: &Context<'_>,
    request: &PruneRequest,
    mut text: String,
    totals: &Totals,
    (limits, tree, groups): (Limits, Option<&PruneTogether>, usize),
) -> (Answer, Exit) {
    if text.is_empty() {
        return (Answer::Yes, exit::DONE);
    }
    // Writing to a String cannot fail.
    if request.judges_by_age() {
        let clock = match request.time {
            TimeSource::Added => "when an image was added to the layout",
            TimeSource::Created => "when an image was created, by its configuration",
        };
        let now = context.now.strftime("%Y-%m-%dT%H:%M:%SZ");
        let _ = writeln!(text, "Ages: {clock}; now is {now}.");
    }
    if let Some(max_size) = limits.max_size {
        let of = budget_scope(tree, groups);
        let _ = writeln!(text, "Budget: {}{of}", human_size(max_size));
    }
    if let Some(FreeSpace { wanted, available }) = limits.free {
        let (wanted, available) = (human_size(wanted), human_size(available));
        let of = budget_scope(tree, groups);
        let _ = writeln!(text, "Free space: {available}, wanted {wanted}{of}");
    }
    if let Some(tree) = tree.filter(|tree| tree.compares()) {
        let layouts = tree.layouts();
        let _ = writeln!(text, "Keep rules count in {layouts} layouts together.");
    }
    if !request.filter_texts.is_empty() {
        let filters = context.term.foreign(&request.filter_texts.join(", "));
        let _ = writeln!(text, "Filters: {filters}");
    }
    let size = human_size(totals.reclaimed_bytes());
    let _ = writeln!(text, "This reclaims {size}.");
    text.push_str("Are you sure you want to continue? [y/N] ");
    let text = wrapped(text, context.term.width());
    if context.term.print(text.as_bytes()).is_err() || context.term.broken_pipe() {
        // A question that was not printed cannot be answered.
        let why = "cannot ask for confirmation: the output is closed";
        return (Answer::No, context.fail(exit::IO, why, None));
    }
    let mut line = String::new();
    let answered = match context.wait_for_input() {
        Ok(true) => std::io::stdin().lock().read_line(&mut line),
        // The terminal has printed `^C`.
        Ok(false) => return (Answer::No, exit::INTERRUPTED.and(context.print("\n"))),
        Err(error) => Err(error),
    };
    let answer = line.trim().to_ascii_lowercase();
    if answered.is_ok() && matches!(answer.as_str(), "y" | "yes") {
        (Answer::Yes, exit::DONE)
    } else {
        (Answer::No, exit::DONE)
    }
}

/// Shows what would be removed from a layout, or from a shared store and its layouts.
fn describe_group(
    context: &Context<'_>,
    request: &PruneRequest,
    done: &Finished<PruneNotes>,
) -> String {
    let mut text = String::new();
    let mut shared = String::new();
    for (shown, notes) in parts(done).filter(|(shown, _)| !shown.is_clean()) {
        let path = context.term.path(shown.plan.layout());
        let blobs = shown.plan.sweep().len();
        let Some(notes) = notes else {
            let blobs = count(blobs as u64, "blob");
            shared = format!("This will delete {blobs} of {path} that no layout will reference.\n");
            continue;
        };
        let removes_layout = shown.removes_layout();
        // The blobs of a shared store are not those of a layout.
        let is_alone = done.parts.len() == done.notes.len();
        let blobs = (is_alone && (blobs > 0 || !removes_layout)).then_some(blobs);
        text.push_str(&describe_layout(context, request, &path, notes, blobs));
        if removes_layout {
            let _ = writeln!(
                text,
                "This will remove the layout {path}, which will be empty."
            );
        }
    }
    text + &shared
}

/// Shows what would be removed from a layout. `blobs`: how many blobs are deleted with that.
fn describe_layout(
    context: &Context<'_>,
    request: &PruneRequest,
    path: &str,
    notes: &PruneNotes,
    blobs: Option<usize>,
) -> String {
    let verdicts = notes.verdicts.iter();
    let removed: Vec<&Verdict> = verdicts.filter(|verdict| verdict.is_removed).collect();
    let blobs = blobs.map(|blobs| count(blobs as u64, "blob"));
    let mut text = match (removed.len(), &blobs) {
        (0, None) => String::new(),
        (0, Some(blobs)) => {
            format!("This will delete {blobs} of {path} that nothing references.\n")
        }
        (_, _) if notes.takes_everything => {
            format!("WARNING! This will remove every image of {path}:\n")
        }
        (images, _) => {
            let images = count(images as u64, "image");
            format!("WARNING! This will remove {images} of {path}:\n")
        }
    };
    let room = context.term.rows();
    let most = room.map_or(MAX_LISTED, |rows| {
        let room = rows.saturating_sub(OTHER_LINES);
        room.clamp(MIN_LISTED, MAX_LISTED)
    });
    push_listed(&mut text, most, &removed, |verdict| {
        format!(
            "{}  {}  {}  {}  ({})",
            verdict.digest.short(),
            names(context, verdict),
            human_size(verdict.size),
            age(request.time, &verdict.age),
            context.term.foreign(&verdict.reasons.join("; "))
        )
    });
    // Names of images that are kept under other names.
    let verdicts = notes.verdicts.iter();
    let untagged: Vec<(&str, &Verdict)> = verdicts
        .flat_map(|verdict| verdict.untagged.iter().map(move |name| (&**name, verdict)))
        .collect();
    if !untagged.is_empty() {
        let names = count(untagged.len() as u64, "name");
        let _ = writeln!(
            text,
            "This will remove {names} of {path} and keep the images under their other names:"
        );
    }
    let most = most.saturating_sub(removed.len()).max(MIN_LISTED);
    push_listed(&mut text, most, &untagged, |(name, verdict)| {
        format!("{}  {}", verdict.digest.short(), context.term.foreign(name))
    });
    if let Some(blobs) = blobs.filter(|_| !removed.is_empty()) {
        let _ = writeln!(text, "{blobs} will be deleted.");
    }
    text
}

/// Appends a line for each item, for at most this many of them.
fn push_listed<T>(text: &mut String, most: usize, items: &[T], line: impl Fn(&T) -> String) {
    for item in items.iter().take(most) {
        let _ = writeln!(text, "  {}", line(item));
    }
    if items.len() > most {
        let more = items.len() - most;
        let _ = writeln!(text, "  … and {more} more; `-n -v` lists all");
    }
}
