//! `prune` over several layouts that decide together: one budget, and keep rules that count in all of them.
//!
//! *Order*: every layout is read and planned, removals are decided for all of them, then each layout is read again, locked
//! and changed separately. A crash between two layouts leaves some done and some unchanged; a further run does the rest.
//!
//! *Promise*: only what was decided is removed from a layout, even if it has changed since. Nothing is removed from one that
//! cannot be planned, and its bytes count.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::fs::Disk;
use crate::model::entries::list_entries;
use crate::model::images::list_images;
use crate::plan::{
    self, Across, BudgetHolder, PruneError, PruneOptions, Survey, Tree, TreeShare, Verdict,
};
use crate::progress::Progress;
use crate::report::stored::find_files;

use super::limits::Limits;
use super::{Finished, LayoutGroup, Mode, Protection, Sharing, run};

/// The result of each group; `None` if the run was cancelled before the group was begun.
pub type Runs<T, E> = Vec<Option<Result<Finished<T>, E>>>;

/// The notes of planning a layout that is pruned together with others.
pub trait Surveyed {
    /// Returns what the decision for all layouts needs: [`Prune::survey`](crate::plan::Prune::survey).
    fn take_survey(&mut self) -> Option<Survey>;
}

/// Layouts that are pruned together.
///
/// [`prune_together`] uses it to plan and execute one group after another. A caller with its own notes, or one that confirms the
/// plans first, calls [`decide`](Self::decide) with a function that plans, and then executes each group with its
/// [`share`](Self::share).
#[derive(Debug)]
pub struct PruneTogether {
    tree: Tree,
    groups: Vec<GroupLayouts>,
    /// The position of each layout.
    numbers: HashMap<PathBuf, usize>,
    limits: Limits,
    has_budget: bool,
    rules: Across,
    unmeasured: Vec<Error>,
}

/// The layouts of a group.
#[derive(Debug)]
struct GroupLayouts {
    /// The path of the layout, or of the shared store.
    path: PathBuf,
    is_store: bool,
    /// The positions of the layouts.
    numbers: Vec<usize>,
}

/// The result of the budget.
#[derive(Debug, Clone)]
pub struct SharedBudget {
    /// The number of layouts.
    pub layouts: usize,
    /// The limits, as they were when the decision was begun.
    pub limits: Limits,
    /// The remaining bytes of all layouts, or those that would remain: each file once.
    pub used_bytes: u64,
    /// The remaining bytes beyond [`Limits::max_size`].
    pub excess_bytes: u64,
    /// The bytes that should be freed but are not.
    pub lacking_bytes: u64,
    /// The rules that keep the remaining images.
    pub held: Vec<BudgetHolder>,
    /// The number of layouts that could not be planned, and their bytes.
    pub lost: (usize, u64),
}

impl SharedBudget {
    /// Returns `true` if the layouts are within the limits.
    #[must_use]
    pub const fn is_reached(&self) -> bool {
        self.excess_bytes == 0 && self.lacking_bytes == 0
    }
}

impl PruneTogether {
    /// Starts with the layouts of these groups. `limits` is the budget of all of them; `rules` is the scope of keep rules.
    #[must_use]
    pub fn new(groups: &[LayoutGroup], rules: Across, limits: Option<Limits>) -> Self {
        let mut numbers = HashMap::new();
        let mut members = Vec::with_capacity(groups.len());
        let mut count = 0;
        for group in groups {
            let (store, layouts) = group.paths();
            let mut own = Vec::with_capacity(layouts.len());
            for layout in layouts {
                numbers.insert(layout.clone(), count);
                own.push(count);
                count += 1;
            }
            members.push(GroupLayouts {
                path: group.path().to_owned(),
                is_store: store.is_some(),
                numbers: own,
            });
        }
        Self {
            tree: Tree::new(count, rules, limits.is_some()),
            groups: members,
            numbers,
            has_budget: limits.is_some(),
            limits: limits.unwrap_or_default(),
            rules,
            unmeasured: Vec::new(),
        }
    }

    /// Returns the number of layouts.
    #[must_use]
    pub fn layouts(&self) -> usize {
        self.numbers.len()
    }

    /// Returns the budget of all layouts; `None`: each has its own, or there is none.
    #[must_use]
    pub fn limits(&self) -> Option<Limits> {
        self.has_budget.then_some(self.limits)
    }

    /// Returns `true` if keep rules count in all layouts.
    #[must_use]
    pub fn compares(&self) -> bool {
        self.rules == Across::Tree
    }

    /// Returns what was decided for a layout, for [`PruneOptions::share`].
    #[must_use]
    pub fn share(&self, layout: &Path) -> Option<&TreeShare> {
        self.tree.share(*self.numbers.get(layout)?)
    }

    /// Decides what is removed from all layouts, and returns their plans. `plan` plans the groups with these numbers, each
    /// layout with its share, and is called until the budget is reached or nothing else may be removed. Only the policy, the
    /// time and whether the last image may be removed are used from `options`.
    pub fn decide<T: Surveyed, E>(
        &mut self,
        options: &PruneOptions<'_>,
        progress: &dyn Progress,
        mut plan: impl FnMut(&Self, &[usize]) -> Runs<T, E>,
    ) -> Runs<T, E> {
        let all: Vec<usize> = (0..self.groups.len()).collect();
        let mut runs = plan(self, &all);
        self.note(&mut runs, progress);
        if self.compares() {
            self.tree
                .compare(options.policy, options.now, &options.zone);
            runs = plan(self, &all);
            self.note(&mut runs, progress);
        }
        while self.has_budget && !progress.is_cancelled() {
            let excess = self.excess_bytes().max(self.lacking_bytes());
            let oldest = match self.limits.max_size {
                Some(_) => "over the size budget of the tree, and the oldest",
                None => "too little free space, and the oldest of the tree",
            };
            let changed = match excess {
                0 => break,
                excess => self.tree.choose(excess, oldest, options.empty),
            };
            let is_changed =
                |group: &GroupLayouts| group.numbers.iter().any(|number| changed.contains(number));
            let groups = self.groups.iter().enumerate();
            let again = groups.filter(|(_, group)| is_changed(group));
            let again: Vec<usize> = again.map(|(number, _)| number).collect();
            if again.is_empty() {
                break;
            }
            for (number, run) in again.iter().zip(plan(self, &again)) {
                if let Some(old) = runs.get_mut(*number) {
                    *old = run;
                    self.note_one(*number, old, progress);
                }
            }
        }
        self.tree.conclude();
        runs
    }

    /// Records what remains in the layouts, according to plans or in the end to outcomes.
    pub fn note<T: Surveyed, E>(&mut self, runs: &mut Runs<T, E>, progress: &dyn Progress) {
        for (number, run) in runs.iter_mut().enumerate() {
            self.note_one(number, run, progress);
        }
    }

    fn note_one<T: Surveyed, E>(
        &mut self,
        number: usize,
        run: &mut Option<Result<Finished<T>, E>>,
        progress: &dyn Progress,
    ) {
        let Some(group) = self.groups.get(number) else {
            return;
        };
        if let Some(Ok(done)) = run {
            for (number, notes) in group.numbers.iter().zip(&mut done.notes) {
                if let Some(survey) = notes.take_survey() {
                    self.tree.survey(*number, survey);
                }
            }
            return;
        }
        // Nothing is removed from it. The blobs of a shared store count once.
        let mut files = Vec::new();
        if self.has_budget && !progress.is_cancelled() {
            let path = group.path.clone();
            if let Err(source) = find_files(&path, group.is_store, &mut files) {
                self.unmeasured.push(Error::read(path)(source));
            }
        }
        for number in &group.numbers {
            self.tree.lose(*number, &std::mem::take(&mut files));
        }
    }

    /// Returns the errors of measuring layouts that cannot be planned. Files that were not found count as 0 bytes.
    pub fn take_unmeasured(&mut self) -> Vec<Error> {
        std::mem::take(&mut self.unmeasured)
    }

    /// Returns the number of bytes by which the layouts are too large.
    fn excess_bytes(&self) -> u64 {
        let max_size = self.limits.max_size;
        max_size.map_or(0, |max| self.tree.used_bytes().saturating_sub(max))
    }

    /// Returns the number of bytes that should be freed but are not.
    fn lacking_bytes(&self) -> u64 {
        let free = self.limits.free_bytes();
        free.map_or(0, |free| free.saturating_sub(self.tree.freed_bytes()))
    }

    /// Returns the result of the budget, as recorded last; `None` if the layouts share none.
    #[must_use]
    pub fn budget(&self) -> Option<SharedBudget> {
        self.has_budget.then(|| SharedBudget {
            layouts: self.layouts(),
            limits: self.limits,
            used_bytes: self.tree.used_bytes(),
            excess_bytes: self.excess_bytes(),
            lacking_bytes: self.lacking_bytes(),
            held: self.tree.held(),
            lost: self.tree.lost(),
        })
    }
}

/// What was removed from several layouts together, or would be.
#[derive(Debug)]
pub struct PrunedTogether {
    /// The result of each group. The notes are, for each layout, the decision on each image and the reason.
    pub runs: Runs<LayoutVerdicts, PruneError>,
    /// The result of the budget, if there is one.
    pub budget: Option<SharedBudget>,
}

/// The decisions on the images of a layout.
#[derive(Debug)]
pub struct LayoutVerdicts {
    /// In the order of `index.json`.
    pub verdicts: Vec<Verdict>,
    survey: Option<Survey>,
}

impl Surveyed for LayoutVerdicts {
    fn take_survey(&mut self) -> Option<Survey> {
        self.survey.take()
    }
}

/// Prunes several layouts, or groups of those that share a store, as one: the oldest images of all of them are removed until they are
/// within `limits`, and keep rules count in all of them if [`Policy::across`](crate::plan::Policy::across) says so. A layout that
/// cannot be pruned does not stop the others; its bytes count.
///
/// [`Limits::free`] is only for directories without a trash, whose blobs have no other hard links, as
/// [`PruneOptions::free_bytes`] is: if deleting frees nothing, images would be removed in vain.
///
/// Without `limits`, [`PruneOptions::max_size`] and [`free_bytes`](PruneOptions::free_bytes) are those of each layout. The
/// [`share`](PruneOptions::share) is set here.
///
/// ```no_run
/// use std::path::Path;
/// use std::time::Duration;
///
/// use jiff::Timestamp;
/// use ocisweep::ops::{BudgetRequest, LayoutGroup, Mode, Protection, prune_together};
/// use ocisweep::parse::size::Amount;
/// use ocisweep::plan::{Filters, Policy, PruneOptions, Scope};
/// use ocisweep::progress::Silent;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layouts = ["mirrors/one".into(), "mirrors/two".into()];
/// let groups = layouts.clone().map(LayoutGroup::of);
/// let budget = BudgetRequest { max_size: Some(Amount::Bytes(500_000_000_000)), ..BudgetRequest::default() };
/// let limits = budget.limits_together(&layouts)?;
/// let now = Timestamp::now();
/// let (filters, policy) = (Filters::default(), Policy::default());
/// let options = PruneOptions::new(Scope::All, &filters, &policy, now);
/// let mode = Mode::Execute(Duration::from_secs(10));
/// let pruned = prune_together(&groups, &Protection::new(now), &options, Some(limits), mode, &Silent);
/// for run in pruned.runs.into_iter().flatten() {
///     println!("{:?}", run?.totals());
/// }
/// assert!(pruned.budget.is_some_and(|budget| budget.is_reached()));
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn prune_together(
    groups: &[LayoutGroup],
    protection: &Protection,
    options: &PruneOptions<'_>,
    limits: Option<Limits>,
    mode: Mode,
    progress: &dyn Progress,
) -> PrunedTogether {
    let mut together = PruneTogether::new(groups, options.policy.compares(), limits);
    let sharing = Sharing::of(groups);
    let prune_one = |together: &PruneTogether, number: usize, mode: Mode| {
        let group = groups.get(number).filter(|_| !progress.is_cancelled())?;
        if let Err(error) = sharing.refuse(number) {
            return Some(Err(error.into()));
        }
        Some(run(group, protection, mode, progress, |snapshot| {
            let (max_size, free_bytes) = match together.limits() {
                Some(limits) => (limits.max_size, limits.free_bytes()),
                None => (options.max_size, options.free_bytes),
            };
            let options = PruneOptions {
                max_size,
                free_bytes,
                share: together.share(snapshot.layout.path()),
                zone: options.zone.clone(),
                ..*options
            };
            let images = list_images(snapshot, protection.now);
            let entries = list_entries(snapshot);
            let sweep = &protection.sweep;
            let pruned = plan::prune(snapshot, &images, &entries, &options, sweep, &Disk)?;
            let notes = LayoutVerdicts {
                verdicts: pruned.verdicts,
                survey: pruned.survey,
            };
            Ok((pruned.removal.plan, notes))
        }))
    };
    let mut runs = together.decide(options, progress, |together, numbers| {
        let numbers = numbers.iter();
        let runs = numbers.map(|number| prune_one(together, *number, Mode::Plan));
        runs.collect()
    });
    if let Mode::Execute(_) = mode {
        let numbers = 0..groups.len();
        runs = numbers
            .map(|number| prune_one(&together, number, mode))
            .collect();
        together.note(&mut runs, progress);
    }
    PrunedTogether {
        runs,
        budget: together.budget(),
    }
}
