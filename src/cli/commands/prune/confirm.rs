//! The question before a prune.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::BufRead as _;
use std::path::PathBuf;

use ocisweep::oci::Digest;
use ocisweep::ops::{Finished, Mode};
use ocisweep::parse::size::human_size;
use ocisweep::plan::{Totals, Verdict};

use super::{PlanNotes, Refusal, Request, age, names, one, report, warn_unmatched};
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::{Selected, finished, shares};
use crate::cli::render::sweep::{count, parts};

/// How many images the question lists by name.
const MAX_LISTED: usize = 40;

/// Whether to proceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
}

/// For each layout of a group, the images that the question showed as removed.
pub(super) type Confirmed = HashMap<PathBuf, BTreeSet<Digest>>;

/// The result of a question.
pub(super) struct Asked {
    /// Also `Yes` if there was nothing to ask.
    pub(super) answer: Answer,
    /// For each group: what was shown, or why nothing can be removed from it.
    pub(super) confirmed: Vec<Result<Confirmed, Refusal>>,
    pub(super) exit: Exit,
}

/// Shows what would be removed and how many bytes, and asks. The plans are made again afterwards, under the lock.
pub(super) fn confirm(context: &Context<'_>, request: &Request, chosen: &Selected) -> Asked {
    let mut text = String::new();
    let mut confirmed = Vec::new();
    let mut exit = exit::DONE;
    let runs = chosen.run(context, |number, group| {
        chosen.refuse_sharing(number)?;
        one(context, request, group, Mode::Plan, None)
    });
    for run in &runs {
        confirmed.push(match run {
            Some(Ok(done)) => {
                text.push_str(&describe_group(context, request, done));
                let layouts = parts(done).filter_map(|(shown, said)| {
                    let removed = said?.removed().cloned().collect();
                    Some((shown.plan.layout().to_owned(), removed))
                });
                Ok(layouts.collect())
            }
            Some(Err(failure)) => Err(Refusal {
                text: failure.to_string(),
                exit: report(context, failure),
            }),
            None => Err(Refusal {
                text: "interrupted".to_owned(),
                exit: exit::INTERRUPTED,
            }),
        });
    }
    for refusal in confirmed.iter().filter_map(|group| group.as_ref().err()) {
        exit = exit.and(refusal.exit);
    }
    warn_unmatched(context, finished(&runs));
    let totals = shares(&runs);
    let totals = totals.into_iter().fold(Totals::default(), Totals::plus);
    let (answer, ended) = ask(context, request, text, &totals);
    Asked {
        answer,
        confirmed,
        exit: exit.and(ended),
    }
}

/// Asks below a text that shows what would be removed. Does not ask if that is empty.
fn ask(
    context: &Context<'_>,
    request: &Request,
    mut text: String,
    totals: &Totals,
) -> (Answer, Exit) {
    if text.is_empty() {
        return (Answer::Yes, exit::DONE);
    }
    // Writing to a String cannot fail.
    if let Some(max_size) = request.max_size {
        let _ = writeln!(text, "Budget: {}", human_size(max_size));
    }
    if !request.filter_texts.is_empty() {
        let filters = context.term.foreign(&request.filter_texts.join(", "));
        let _ = writeln!(text, "Filters: {filters}");
    }
    let size = human_size(totals.reclaimed_bytes());
    let _ = writeln!(text, "This reclaims {size}.");
    text.push_str("Are you sure you want to continue? [y/N] ");
    if context.term.print(text.as_bytes()).is_err() || context.term.broken_pipe() {
        // A question that could not be read cannot be answered.
        let why = "cannot ask for confirmation: the output is closed";
        return (Answer::No, context.fail(exit::IO, why, None));
    }
    let mut line = String::new();
    let answered = std::io::stdin().lock().read_line(&mut line);
    let answer = line.trim().to_ascii_lowercase();
    if answered.is_ok() && matches!(answer.as_str(), "y" | "yes") {
        (Answer::Yes, exit::DONE)
    } else {
        (Answer::No, exit::DONE)
    }
}

/// Shows what would be removed from a layout, or from a shared store and its layouts.
fn describe_group(context: &Context<'_>, request: &Request, done: &Finished<PlanNotes>) -> String {
    let mut text = String::new();
    let mut shared = String::new();
    for (shown, said) in parts(done).filter(|(shown, _)| !shown.is_clean()) {
        let path = context.term.path(shown.plan.layout());
        let blobs = shown.plan.sweep().len();
        let Some(said) = said else {
            let blobs = count(blobs as u64, "blob");
            shared = format!("This will delete {blobs} of {path} that no layout will reference.\n");
            continue;
        };
        let removes_layout = shown.removes_layout();
        // The blobs of a shared store are not those of a layout.
        let is_alone = done.parts.len() == done.notes.len();
        let blobs = (is_alone && (blobs > 0 || !removes_layout)).then_some(blobs);
        text.push_str(&describe_layout(context, request, &path, said, blobs));
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
    request: &Request,
    path: &str,
    said: &PlanNotes,
    blobs: Option<usize>,
) -> String {
    let verdicts = said.verdicts.iter();
    let removed: Vec<&Verdict> = verdicts.filter(|verdict| verdict.is_removed).collect();
    let blobs = blobs.map(|blobs| count(blobs as u64, "blob"));
    let mut text = match (removed.len(), &blobs) {
        (0, None) => String::new(),
        (0, Some(blobs)) => {
            format!("This will delete {blobs} of {path} that nothing references.\n")
        }
        (_, _) if said.takes_everything => {
            format!("WARNING! This will remove every image of {path}:\n")
        }
        (images, _) => {
            let images = count(images as u64, "image");
            format!("WARNING! This will remove {images} of {path}:\n")
        }
    };
    push_listed(&mut text, &removed, |verdict| {
        format!(
            "{}  {}  {}  {}",
            verdict.digest.short(),
            names(context, verdict),
            human_size(verdict.size),
            age(request.time, &verdict.age)
        )
    });
    // Names of images that are kept under other names.
    let verdicts = said.verdicts.iter();
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
    push_listed(&mut text, &untagged, |(name, verdict)| {
        format!("{}  {}", verdict.digest.short(), context.term.foreign(name))
    });
    if let Some(blobs) = blobs.filter(|_| !removed.is_empty()) {
        let _ = writeln!(text, "{blobs} will be deleted.");
    }
    text
}

/// Appends a line for each item, for at most [`MAX_LISTED`] of them.
fn push_listed<T>(text: &mut String, items: &[T], line: impl Fn(&T) -> String) {
    for item in items.iter().take(MAX_LISTED) {
        let _ = writeln!(text, "  {}", line(item));
    }
    if items.len() > MAX_LISTED {
        let _ = writeln!(text, "  and {} more", items.len() - MAX_LISTED);
    }
}
