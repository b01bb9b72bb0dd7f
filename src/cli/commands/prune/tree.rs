//! Several layouts that are pruned together: one budget, and keep rules that count in all of them.
//!
//! *Order*: every layout is read and planned, the plan of all is made, then each layout is read again, locked and changed by itself. A
//! crash between two layouts leaves those that are done and those that were not begun; a further run does the rest.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use ocisweep::fs::FileStat;
use ocisweep::ops::{Finished, LayoutGroup, Mode};
use ocisweep::parse::size::human_size;
use ocisweep::plan::{Across, KeptBytes, Tree, TreeShare};

use super::{Failure, Limits, PlanNotes, Request, kept_line, one};
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::Selected;
use crate::cli::render::json;
use crate::cli::render::sweep::{Aged, count};

type Planned<'a> = Vec<Option<Result<Finished<PlanNotes>, Failure<'a>>>>;

/// Layouts that are pruned together.
pub(super) struct TreePrune {
    tree: Tree,
    /// The position of each layout.
    numbers: HashMap<PathBuf, usize>,
    /// What all of them may have.
    pub(super) limits: Limits,
    has_budget: bool,
    rules: Across,
}

impl TreePrune {
    /// Returns the layouts of a run if they are pruned together: there are several, and a budget is for all of them unless it was said
    /// otherwise, or keep rules count in all of them.
    ///
    /// # Errors
    /// The exit status, after the reason was printed: a budget of the file system is given, and there are several of those.
    pub(super) fn of(
        context: &Context<'_>,
        request: &Request,
        chosen: &Selected,
    ) -> Result<Option<Self>, Exit> {
        let layouts = chosen.groups.iter().flat_map(|group| group.paths().1);
        let layouts: Vec<PathBuf> = layouts.cloned().collect();
        let is_given = request.max_size.is_some() || request.min_free.is_some();
        let has_budget = is_given && request.across != Some(Across::Layout);
        let rules = match request.policy.chooses() {
            true => request.policy.across,
            false => Across::Layout,
        };
        if layouts.len() < 2 || !(has_budget || rules == Across::Tree) {
            return Ok(None);
        }
        let limits = match has_budget {
            true => Limits::of_all(context, request, &layouts)?,
            false => Limits::default(),
        };
        Ok(Some(Self {
            tree: Tree::new(layouts.len(), rules, has_budget),
            numbers: layouts.into_iter().zip(0..).collect(),
            limits,
            has_budget,
            rules,
        }))
    }

    /// Returns the number of layouts.
    pub(super) fn layouts(&self) -> usize {
        self.numbers.len()
    }

    /// Returns `true` if the budget is one of all layouts.
    pub(super) const fn has_budget(&self) -> bool {
        self.has_budget
    }

    /// Returns `true` if keep rules count in all layouts.
    pub(super) fn compares(&self) -> bool {
        self.rules == Across::Tree
    }

    /// Returns what was decided for a layout.
    pub(super) fn share(&self, layout: &Path) -> Option<&TreeShare> {
        self.tree.share(*self.numbers.get(layout)?)
    }

    /// Decides what is removed from all layouts, and returns their plans.
    pub(super) fn decide(
        &mut self,
        context: &Context<'_>,
        request: &Request,
        chosen: &Selected,
    ) -> Planned<'static> {
        let all: Vec<usize> = (0..chosen.groups.len()).collect();
        let mut runs = self.plan(context, request, chosen, &all);
        self.note(context, chosen, &mut runs);
        if self.compares() {
            let policy = &request.policy;
            let has_calendar = [policy.daily, policy.weekly, policy.monthly];
            let zone = match has_calendar.iter().any(Option::is_some) {
                true => context.zone().clone(),
                false => TimeZone::UTC,
            };
            self.tree.compare(policy, context.now, &zone);
            runs = self.plan(context, request, chosen, &all);
            self.note(context, chosen, &mut runs);
        }
        while self.has_budget && !context.stopped() {
            let excess = self.over().max(self.lacking());
            let oldest = match self.limits.max_size {
                Some(_) => "over the size budget of the tree, and the oldest",
                None => "too little free space, and the oldest of the tree",
            };
            let changed = match excess {
                0 => break,
                excess => self.tree.choose(excess, oldest, request.empty),
            };
            let is_changed = |group: &LayoutGroup| {
                let numbers = group.paths().1.iter();
                let mut numbers = numbers.filter_map(|layout| self.numbers.get(layout));
                numbers.any(|number| changed.contains(number))
            };
            let groups = chosen.groups.iter().enumerate();
            let again = groups.filter(|(_, group)| is_changed(group));
            let again: Vec<usize> = again.map(|(number, _)| number).collect();
            if again.is_empty() {
                break;
            }
            for (number, run) in again
                .iter()
                .zip(self.plan(context, request, chosen, &again))
            {
                if let Some(old) = runs.get_mut(*number) {
                    *old = run;
                    self.note_one(context, chosen, *number, old);
                }
            }
        }
        self.tree.conclude();
        runs
    }

    fn plan(
        &self,
        context: &Context<'_>,
        request: &Request,
        chosen: &Selected,
        groups: &[usize],
    ) -> Planned<'static> {
        chosen.run_some(context, groups, |number, group| {
            chosen.refuse_sharing(number)?;
            one(context, request, group, Mode::Plan, (Some(self), None))
        })
    }

    /// Notes what is left in the layouts by plans, or in the end by what was done.
    pub(super) fn note(
        &mut self,
        context: &Context<'_>,
        chosen: &Selected,
        runs: &mut Planned<'_>,
    ) {
        for (number, run) in runs.iter_mut().enumerate() {
            self.note_one(context, chosen, number, run);
        }
    }

    fn note_one(
        &mut self,
        context: &Context<'_>,
        chosen: &Selected,
        number: usize,
        run: &mut Option<Result<Finished<PlanNotes>, Failure<'_>>>,
    ) {
        let Some(group) = chosen.groups.get(number) else {
            return;
        };
        let (store, layouts) = group.paths();
        let numbers = layouts
            .iter()
            .map(|layout| self.numbers.get(layout).copied());
        let numbers: Vec<Option<usize>> = numbers.collect();
        match run {
            Some(Ok(done)) => {
                for (number, notes) in numbers.iter().zip(&mut done.notes) {
                    if let (Some(number), Some(survey)) = (number, notes.survey.take()) {
                        self.tree.survey(*number, survey);
                    }
                }
            }
            // It loses nothing. The blobs of a shared store count once.
            Some(Err(_)) | None => {
                let mut files = match self.has_budget && !context.stopped() {
                    true => files_of(context, group.path(), store.is_some()),
                    false => Vec::new(),
                };
                for number in numbers.into_iter().flatten() {
                    self.tree.lose(number, &std::mem::take(&mut files));
                }
            }
        }
    }

    /// Returns by how much the layouts are too large.
    fn over(&self) -> u64 {
        let used = self.tree.used_bytes();
        self.limits
            .max_size
            .map_or(0, |max| used.saturating_sub(max))
    }

    /// Returns how many of the bytes to free are not freed.
    fn lacking(&self) -> u64 {
        let free = self.limits.free_bytes();
        free.map_or(0, |free| free.saturating_sub(self.tree.freed_bytes()))
    }

    /// Returns what is reported of the budget.
    pub(super) fn budget(&self) -> json::Budget {
        json::Budget {
            scope: "tree",
            layouts: self.layouts(),
            max_size: self.limits.max_size,
            min_free: self.limits.free.map(|(wanted, _)| wanted),
            used_bytes: Some(self.tree.used_bytes()),
            reached: self.over() == 0 && self.lacking() == 0,
            held: self.held(),
        }
    }

    fn held(&self) -> Vec<json::BudgetHolder> {
        self.tree
            .held()
            .iter()
            .map(json::BudgetHolder::of)
            .collect()
    }

    /// Reports that the budget cannot be reached.
    pub(super) fn report_missed(&self, context: &Context<'_>, kept: &KeptBytes) -> Exit {
        let layouts = self.layouts();
        let used = human_size(self.tree.used_bytes());
        let mut text = match (self.limits.max_size, self.limits.free) {
            (_, Some((wanted, available))) if self.lacking() > 0 => format!(
                "cannot free {} of the file system of {layouts} layouts, which has {}: {} more are needed, {used} remain",
                human_size(wanted),
                human_size(available),
                human_size(self.lacking())
            ),
            (max_size, _) => format!(
                "cannot reduce {layouts} layouts together to {}: {used} remain",
                human_size(max_size.unwrap_or_default())
            ),
        };
        let kept = kept_line(kept, &Aged::default());
        if !kept.is_empty() {
            text.push_str(", ");
            text.push_str(kept.trim_end());
        }
        for holder in self.tree.held() {
            let (what, images) = (&holder.what, count(holder.images, "image"));
            text.push_str(&format!(
                "; {what} keeps {images} with {}",
                human_size(holder.bytes)
            ));
        }
        if let (lost, bytes @ 1..) = self.tree.lost() {
            let layouts = count(lost as u64, "layout");
            text.push_str(&format!(
                "; {layouts} that cannot be pruned with {}",
                human_size(bytes)
            ));
        }
        let hint = "`--all` also removes named images, `--allow-empty` the last one of a layout, `ocisweep hold ls LAYOUT` shows holds; a budget never removes what a keep rule keeps";
        context.fail(exit::BUDGET, &text, Some(hint))
    }
}

/// Returns the files that a layout keeps as blobs: of one that cannot be read those that are found without reading it.
fn files_of(context: &Context<'_>, path: &Path, is_store: bool) -> Vec<FileStat> {
    let mut files = Vec::new();
    let found = fs::metadata(path).and_then(|found| {
        if found.is_file() {
            files.extend(stat(&found));
            return Ok(());
        }
        let blobs = match is_store {
            true => path.to_owned(),
            false => path.join("blobs"),
        };
        for algorithm in fs::read_dir(blobs)? {
            let algorithm = algorithm?;
            if !algorithm.file_type()?.is_dir() {
                continue;
            }
            for blob in fs::read_dir(algorithm.path())? {
                files.extend(stat(&blob?.metadata()?));
            }
        }
        Ok(())
    });
    if let Err(error) = found {
        let path = path.display();
        context.term.note(&format!(
            "cannot measure `{path}`: {error}; what was not found counts as 0B in the budget"
        ));
    }
    files
}

fn stat(found: &fs::Metadata) -> Option<FileStat> {
    found.is_file().then(|| FileStat {
        len: found.len(),
        modified: 0,
        device: found.dev(),
        inode: found.ino(),
        links: u32::try_from(found.nlink()).unwrap_or(u32::MAX),
    })
}
