//! The record of a plan's execution in the journal.

use std::path::Path;

use crate::error::Result;
use crate::layout::Layout;
use crate::layout::trash::TrashedRun;
use crate::plan::GroupPlan;

use super::LayoutGroup;
use super::journal::{Change, ChangeResult, Journal};

/// The execution of a plan, as the journal records it.
pub(super) struct PlanRecord<'a> {
    /// The journal, with the number of the change.
    journal: Option<(&'a dyn Journal, u64)>,
    layouts: &'a [Layout],
    /// The runs in the trash that only a full disk deletes.
    others: Vec<TrashedRun>,
}

impl<'a> PlanRecord<'a> {
    /// Records a plan before anything is changed, if there is a journal.
    ///
    /// # Errors
    /// Those of the journal, and [`Error::Read`](crate::Error::Read).
    pub(super) fn begin(
        group: &'a LayoutGroup,
        layouts: &'a [Layout],
        plan: &GroupPlan,
    ) -> Result<Self> {
        let mut record = Self {
            journal: None,
            layouts,
            others: Vec::new(),
        };
        if let Some(journal) = group.journal() {
            let (expired, others) = trashed_before(layouts, plan)?;
            let paths: Vec<&Path> = layouts.iter().map(Layout::path).collect();
            let change = Change::Plan {
                plan,
                expired: &expired,
                others: &others,
            };
            record.journal = Some((journal, journal.begin(&paths, &change)?));
            record.others = others;
        }
        Ok(record)
    }

    /// Records the result, after the runs that were deleted to make room.
    pub(super) fn end(&self, result: &ChangeResult<'_>) {
        if let Some((journal, number)) = self.journal {
            let emptied = emptied_since(self.layouts, &self.others);
            if !emptied.is_empty() {
                journal.made_room(number, &emptied);
            }
            journal.end(number, result);
        }
    }
}

/// Returns the runs in the trash, for a plan that uses it: the expired ones that the plan deletes, and the others.
fn trashed_before(
    layouts: &[Layout],
    plan: &GroupPlan,
) -> Result<(Vec<TrashedRun>, Vec<TrashedRun>)> {
    let (mut expired, mut others) = (Vec::new(), Vec::new());
    let mut trashing = plan.plans().filter_map(|own| own.trash.as_ref());
    let (Some(any), Some(trashing)) = (layouts.first(), trashing.next()) else {
        return Ok((expired, others));
    };
    let place = any.trash();
    let Some(trash) = place.open()? else {
        return Ok((expired, others));
    };
    for name in place.names()? {
        match place.run(&trash, name)? {
            Some(run) if run.is_expired(trashing.over_by) => expired.push(run),
            Some(run) if run.record.is_ok() => others.push(run),
            Some(_) | None => {}
        }
    }
    Ok((expired, others))
}

/// Returns the runs that were deleted from the trash since, or whose record was. They made room.
fn emptied_since(layouts: &[Layout], before: &[TrashedRun]) -> Vec<TrashedRun> {
    let (Some(any), false) = (layouts.first(), before.is_empty()) else {
        return Vec::new();
    };
    let place = any.trash();
    let Ok(trash) = place.open() else {
        return Vec::new();
    };
    let is_gone = |run: &&TrashedRun| match &trash {
        None => true,
        Some(trash) => match place.run(trash, run.name.clone()) {
            Ok(Some(now)) => matches!((&run.record, &now.record), (Ok(Some(_)), Ok(None))),
            Ok(None) => true,
            Err(_) => false,
        },
    };
    before.iter().filter(is_gone).cloned().collect()
}
