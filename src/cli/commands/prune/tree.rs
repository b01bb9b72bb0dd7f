//! Several layouts that are pruned together, see [`PruneTogether`]: the command line and the output.

use std::path::PathBuf;

use ocisweep::Error;
use ocisweep::ops::{FreeSpace, Mode, PruneTogether, Runs, SharedBudget, Surveyed};
use ocisweep::parse::size::human_size;
use ocisweep::plan::{Across, KeptBytes, Survey};

use super::limits::limits_together;
use super::{PruneFailure, PruneNotes, PruneRequest, kept_line, one, options};
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::Selected;
use crate::cli::render::json::{JsonBudget, JsonBudgetHolder};
use crate::cli::render::sweep::{RecentBlobs, count};

impl Surveyed for PruneNotes {
    fn take_survey(&mut self) -> Option<Survey> {
        self.survey.take()
    }
}

/// Returns the layouts of a run if they are pruned together: there are several, and there is a budget for all of them, or
/// keep rules count in all of them.
///
/// # Errors
/// The exit status, after the reason was printed: a budget of the file system is given, and the layouts are on several file
/// systems.
pub(super) fn together(
    context: &Context<'_>,
    request: &PruneRequest,
    chosen: &Selected,
) -> Result<Option<PruneTogether>, Exit> {
    let layouts = chosen.groups.iter().flat_map(|group| group.paths().1);
    let layouts: Vec<PathBuf> = layouts.cloned().collect();
    let has_budget = request.budget.is_given() && request.across != Some(Across::Layout);
    let rules = request.policy.compares();
    if layouts.len() < 2 || !(has_budget || rules == Across::Tree) {
        return Ok(None);
    }
    let limits = match has_budget {
        true => Some(limits_together(context, request, &layouts)?),
        false => None,
    };
    Ok(Some(PruneTogether::new(&chosen.groups, rules, limits)))
}

/// Decides what is removed from all layouts, and returns their plans.
pub(super) fn decide(
    context: &Context<'_>,
    request: &PruneRequest,
    chosen: &Selected,
    together: &mut PruneTogether,
) -> Runs<PruneNotes, PruneFailure<'static>> {
    let options = options(
        context,
        request,
        together.limits().unwrap_or_default(),
        None,
    );
    let runs = together.decide(&options, context.watcher(), |together, groups| {
        chosen.run_some(context, groups, |number, group| {
            chosen.refuse_sharing(number)?;
            one(context, request, group, Mode::Plan, (Some(together), None))
        })
    });
    note_unmeasured(context, together);
    runs
}

/// Records what was done, and what could not be measured.
pub(super) fn note(
    context: &Context<'_>,
    together: &mut PruneTogether,
    runs: &mut Runs<PruneNotes, PruneFailure<'_>>,
) {
    together.note(runs, context.watcher());
    note_unmeasured(context, together);
}

fn note_unmeasured(context: &Context<'_>, together: &mut PruneTogether) {
    for error in together.take_unmeasured() {
        if let Error::Read { path, source } = error {
            let path = path.display();
            context.term.note(&format!(
                "cannot measure `{path}`: {source}; what was not found counts as 0B in the budget"
            ));
        }
    }
}

/// Returns the report on the budget.
pub(super) fn budget(budget: &SharedBudget) -> JsonBudget {
    JsonBudget {
        scope: "tree",
        layouts: budget.layouts,
        max_size: budget.limits.max_size,
        min_free: budget.limits.free.map(|free| free.wanted),
        used_bytes: Some(budget.used_bytes),
        reached: budget.is_reached(),
        held: budget.held.iter().map(JsonBudgetHolder::of).collect(),
    }
}

/// Reports that the budget cannot be reached.
pub(super) fn report_missed(
    context: &Context<'_>,
    budget: &SharedBudget,
    kept: &KeptBytes,
) -> Exit {
    let layouts = budget.layouts;
    let used = human_size(budget.used_bytes);
    let mut text = match (budget.limits.max_size, budget.limits.free) {
        (_, Some(FreeSpace { wanted, available })) if budget.lacking_bytes > 0 => format!(
            "cannot free {} of the file system of {layouts} layouts, which has {}: {} more are needed, {used} remain",
            human_size(wanted),
            human_size(available),
            human_size(budget.lacking_bytes)
        ),
        (max_size, _) => format!(
            "cannot reduce {layouts} layouts together to {}: {used} remain",
            human_size(max_size.unwrap_or_default())
        ),
    };
    let kept = kept_line(kept, &RecentBlobs::default());
    if !kept.is_empty() {
        text.push_str(", ");
        text.push_str(kept.trim_end());
    }
    for holder in &budget.held {
        let (what, images) = (&holder.what, count(holder.images, "image"));
        text.push_str(&format!(
            "; {what} keeps {images} with {}",
            human_size(holder.bytes)
        ));
    }
    if let (lost, bytes @ 1..) = budget.lost {
        let layouts = count(lost as u64, "layout");
        text.push_str(&format!(
            "; {layouts} that cannot be pruned with {}",
            human_size(bytes)
        ));
    }
    let hint = "`--all` also removes named images, `--allow-empty` the last one of a layout, `ocisweep hold ls LAYOUT` shows holds; a budget never removes what a keep rule keeps";
    // An error in the middle of a list would be overlooked.
    let printed = context.print(&context.more_line());
    printed.and(context.fail(exit::BUDGET, &text, Some(hint)))
}
