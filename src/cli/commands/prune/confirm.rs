//! The question before a prune, and what counts as yes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::BufRead as _;
use std::path::Path;

use ocisweep::oci::Digest;
use ocisweep::ops::{Mode, Protection};
use ocisweep::parse::size::human_size;
use ocisweep::plan::{EmptyLayouts, Totals, Verdict};

use super::{Done, PlanNotes, Refusal, Wanted, age, one, report, unmatched_in_all};
use crate::cli::args::{ClockName, PruneArgs};
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::{SelectedLayouts, each, shares};
use crate::cli::render::sweep::count;

/// How many images the question lists by name.
const MAX_LISTED: usize = 40;

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
}

/// What a question brought.
pub(super) struct Asked {
    /// Yes also where there was nothing to ask.
    pub(super) answer: Answer,
    /// The images that were shown as going, by layout, or why nothing can go there.
    pub(super) shown: Vec<Result<BTreeSet<Digest>, Refusal>>,
    pub(super) exit: Exit,
}

/// Shows what goes and how many bytes, and asks. The plans are made again afterwards, under the lock.
pub(super) fn confirm(
    context: &Context<'_>,
    args: &PruneArgs,
    wanted: &Wanted,
    rule: &Protection,
    chosen: &SelectedLayouts,
) -> Asked {
    let mut text = String::new();
    let mut asked = Asked {
        answer: Answer::No,
        shown: Vec::new(),
        exit: exit::DONE,
    };
    let planned = each(context, &chosen.layouts, |number, path| {
        chosen.refuse_sharing(number)?;
        one(context, args, wanted, rule, Mode::Plan, path, None)
    });
    let done: Vec<_> = planned
        .iter()
        .map(|planned| planned.as_ref().and_then(|planned| planned.as_ref().ok()))
        .collect();
    let totals = shares(&done)
        .into_iter()
        .fold(Totals::default(), Totals::plus);
    for (path, planned) in chosen.layouts.iter().zip(&planned) {
        asked.shown.push(match planned {
            Some(Ok(done)) => {
                if !done.plan.is_empty() {
                    text.push_str(&describe(context, path, done, args.time));
                }
                Ok(done.said.going().cloned().collect())
            }
            Some(Err(failure)) => {
                let exit = report(context, failure);
                asked.exit = asked.exit.and(exit);
                let text = failure.to_string();
                Err(Refusal { text, exit })
            }
            None => {
                asked.exit = asked.exit.and(exit::INTERRUPTED);
                Err(Refusal {
                    text: "interrupted".to_owned(),
                    exit: exit::INTERRUPTED,
                })
            }
        });
    }
    let said = done.iter().flatten().map(|done| &done.said);
    context.warn_unmatched(&unmatched_in_all(said));
    let (answer, exit) = put(context, args, text, &totals);
    asked.answer = answer;
    asked.exit = asked.exit.and(exit);
    asked
}

/// Puts the question below a text that says what goes. Nothing to say is nothing to ask.
pub(super) fn put(
    context: &Context<'_>,
    args: &PruneArgs,
    mut text: String,
    totals: &Totals,
) -> (Answer, Exit) {
    if text.is_empty() {
        return (Answer::Yes, exit::DONE);
    }
    if let Some(max_size) = args.max_size {
        let _ = writeln!(text, "Budget: {}", human_size(max_size));
    }
    if !args.filter.is_empty() {
        let filters = args.filter.join(", ");
        let _ = writeln!(text, "Filters: {}", context.term.foreign(&filters));
    }
    let size = human_size(totals.reclaimed_bytes());
    let _ = writeln!(text, "This reclaims {size}.");
    text.push_str("Are you sure you want to continue? [y/N] ");
    if context.term.prompt(&text).is_err() || context.term.broken_pipe() {
        // An answer to a question that nobody could read is none.
        let why = "cannot ask for confirmation: the output is closed";
        context.term.error(why, None);
        return (Answer::No, exit::IO);
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

fn describe(
    context: &Context<'_>,
    path: &Path,
    done: &Done<PlanNotes>,
    clock: ClockName,
) -> String {
    let blobs = done.plan.sweep().len();
    if done.plan.empty_layout() == EmptyLayouts::Keep {
        return describe_plan(context, path, &done.said, clock, Some(blobs));
    }
    let mut text = describe_plan(
        context,
        path,
        &done.said,
        clock,
        (blobs > 0).then_some(blobs),
    );
    let path = path.to_string_lossy();
    let path = context.term.foreign(&path);
    let _ = writeln!(
        text,
        "This will remove the layout {path}, which will be empty."
    );
    text
}

/// Says what goes from a layout. `blobs`: how many go with it; `None` if that is not the layout's own affair.
pub(super) fn describe_plan(
    context: &Context<'_>,
    path: &Path,
    said: &PlanNotes,
    clock: ClockName,
    blobs: Option<usize>,
) -> String {
    let path = path.to_string_lossy();
    let path = context.term.foreign(&path);
    let going: Vec<&Verdict> = said
        .verdicts
        .iter()
        .filter(|verdict| verdict.is_removed)
        .collect();
    let blobs = blobs.map(|blobs| count(blobs as u64, "blob"));
    let mut text = if said.takes_everything && !going.is_empty() {
        format!("WARNING! This will remove every image of {path}:\n")
    } else if going.is_empty() {
        blobs.as_ref().map_or_else(String::new, |blobs| {
            format!("This will delete {blobs} of {path} that nothing references.\n")
        })
    } else {
        format!(
            "WARNING! This will remove {} of {path}:\n",
            count(going.len() as u64, "image")
        )
    };
    for verdict in going.iter().take(MAX_LISTED) {
        let names = if verdict.names.is_empty() {
            "<none>".to_owned()
        } else {
            verdict.names.join(", ")
        };
        let _ = writeln!(
            text,
            "  {}  {}  {}  {}",
            verdict.digest.short(),
            context.term.foreign(&names),
            human_size(verdict.size),
            age(clock, &verdict.age)
        );
    }
    if going.len() > MAX_LISTED {
        let _ = writeln!(text, "  and {} more", going.len() - MAX_LISTED);
    }
    text.push_str(&describe_names(context, &path, said));
    if let Some(blobs) = blobs.filter(|_| !going.is_empty()) {
        let _ = writeln!(text, "{blobs} will be deleted.");
    }
    text
}

/// Says which names are removed from images that are kept under others.
fn describe_names(context: &Context<'_>, path: &str, said: &PlanNotes) -> String {
    let names: Vec<(&str, &Verdict)> = said
        .verdicts
        .iter()
        .flat_map(|verdict| verdict.untagged.iter().map(move |name| (&**name, verdict)))
        .collect();
    if names.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "This will remove {} of {path} and keep the images under their other names:\n",
        count(names.len() as u64, "name")
    );
    for (name, verdict) in names.iter().take(MAX_LISTED) {
        let id = verdict.digest.short();
        let _ = writeln!(text, "  {id}  {}", context.term.foreign(name));
    }
    if names.len() > MAX_LISTED {
        let _ = writeln!(text, "  and {} more", names.len() - MAX_LISTED);
    }
    text
}
