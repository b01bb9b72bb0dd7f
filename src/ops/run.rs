//! The loop of every command that changes a layout.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::execute::{GroupOutcome, Outcome, Restored, remove_directory, return_to_trash};
use crate::fs::Disk;
use crate::graph::{BlobSet, EmptyIndex, MissingDocuments};
use crate::layout::Layout;
use crate::layout::change_detector::is_unchanged;
use crate::layout::lock::Locked;
use crate::model::snapshot::Snapshot;
use crate::oci::Digest;
use crate::plan::{
    EmptyLayouts, GroupPlan, Plan, SweepSnapshot, Totals, dangling_images, remove_if_empty,
    sweep_all,
};
use crate::progress::Progress;

use super::archive::{Finish, Target};
use super::group::execute_locked;
use super::journal::{Change, ChangeResult, record};
use super::locks::{lock_all, lock_store};
use super::plan_record::PlanRecord;
use super::restore::{restore_in_store, restore_needed};
use super::{LayoutGroup, OpenGroup, Protection};

/// The maximum number of plans if a layout keeps changing.
pub const MAX_ATTEMPTS: u32 = 5;

/// The number of plans that are made before the layouts are locked. A plan is usually made without the lock, so that no
/// other process waits for a long read. If the layout changed each time, it is made under the lock.
pub(super) const UNLOCKED_ATTEMPTS: u32 = 2;

/// The result of one attempt.
pub(super) enum Attempt<T> {
    /// It succeeded.
    Done(T),
    /// This layout changed in between.
    Changed(PathBuf),
}

impl<T> Attempt<T> {
    /// Returns the result of some work on a layout.
    pub(super) fn of(done: Result<T>, path: &Path) -> Result<Self> {
        match done {
            Ok(done) => Ok(Self::Done(done)),
            Err(Error::Changed { .. }) => Ok(Self::Changed(path.to_owned())),
            Err(error) => Err(error),
        }
    }
}

/// Makes attempts, with their numbers from 0, until no layout changes in between.
///
/// # Errors
/// [`Error::Unstable`] if one changes each time, and those of an attempt.
pub(super) fn until_unchanged<T, E: From<Error>>(
    progress: &dyn Progress,
    mut attempt: impl FnMut(u32) -> Result<Attempt<T>, E>,
) -> Result<T, E> {
    let mut path = PathBuf::new();
    for number in 0..MAX_ATTEMPTS {
        match attempt(number)? {
            Attempt::Done(done) => return Ok(done),
            Attempt::Changed(changed) => path = changed,
        }
        progress.changed(&path);
    }
    let times = MAX_ATTEMPTS;
    Err(E::from(Error::Unstable { path, times }))
}

/// What to do with a plan.
#[derive(Debug, Clone, Copy)]
pub enum Mode {
    /// Only return it: a dry run.
    Plan,
    /// Execute it, waiting at most this long for the locks.
    Execute(Duration),
}

/// What a run did, or would do.
#[derive(Debug)]
pub struct Finished<T> {
    /// The plan and its outcome, `None` in a dry run: of the shared store first, if there is one, then of each layout.
    pub parts: Vec<(Plan, Option<Outcome>)>,
    /// The notes of planning for each layout.
    pub notes: Vec<T>,
}

impl<T> Finished<T> {
    /// Returns what was freed, or would be.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let parts = self.parts.iter().map(|(plan, outcome)| match outcome {
            Some(outcome) => outcome.done,
            None => plan.totals(),
        });
        parts.fold(Totals::default(), Totals::plus)
    }

    /// Returns `true` if everything was done as planned, or there was nothing to do.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.parts.iter().all(|(plan, outcome)| match outcome {
            Some(outcome) => outcome.is_complete(),
            None => plan.is_empty(),
        })
    }

    fn new(plan: GroupPlan, notes: Vec<T>, outcome: Option<GroupOutcome>) -> Self {
        let mut outcomes = outcome.into_iter().flat_map(GroupOutcome::into_outcomes);
        let parts = plan.into_plans().map(|plan| (plan, outcomes.next()));
        Self {
            parts: parts.collect(),
            notes,
        }
    }
}

/// Plans a group with `make`, layout by layout, and executes the plan unless this is a dry run.
///
/// # Errors
/// Those of planning and locking, [`Error::Unstable`] if a layout changes each time, and those of `make`.
pub fn run<T, E: From<Error>>(
    group: &LayoutGroup,
    protection: &Protection,
    mode: Mode,
    progress: &dyn Progress,
    mut make: impl FnMut(&mut Snapshot) -> Result<(Plan, T), E>,
) -> Result<Finished<T>, E> {
    let mut plan = |open: &mut OpenGroup| open.plan(protection, progress, &mut make);
    attempt(group, mode, progress, &mut plan)
}

/// Like [`run`], with `make` for the first layout of the group. Blobs of a store that none of its layouts references then are deleted.
///
/// # Errors
/// Those of [`run`] and [`sweep_all`].
pub fn run_in_first<T: Default, E: From<Error>>(
    group: &LayoutGroup,
    protection: &Protection,
    missing: MissingDocuments,
    mode: Mode,
    progress: &dyn Progress,
    mut make: impl FnMut(&mut Snapshot) -> Result<(Plan, T), E>,
) -> Result<Finished<T>, E> {
    let first = group.paths().1.first();
    run(group, protection, mode, progress, |snapshot| {
        if first.is_some_and(|first| snapshot.layout.path() != first) {
            // Another layout may list nothing.
            let (empty, sweep) = (EmptyIndex::Allow, &protection.sweep);
            let plan = sweep_all(snapshot, missing, empty, &Disk, sweep)?;
            return Ok((plan, T::default()));
        }
        make(snapshot)
    })
}

/// Sweeps everything unreferenced: `gc`. The notes are the numbers of dangling images, all of which are kept; 0 if
/// [`GcOptions::counts_dangling`] is not set.
///
/// # Errors
/// Those of [`run`] and [`sweep_all`].
pub fn gc(
    group: &LayoutGroup,
    protection: &Protection,
    options: &GcOptions,
    mode: Mode,
    progress: &dyn Progress,
) -> Result<Finished<usize>> {
    let GcOptions { missing, empty, .. } = *options;
    attempt(group, mode, progress, &mut |open| {
        if let ([layout], EmptyLayouts::Keep, true) =
            (open.layouts(), options.empty_layouts, open.is_alone())
        {
            let layout = layout.try_clone()?;
            let has_trash = layout.trash().open()?.is_some();
            let Protection { now, in_flight, .. } = *protection;
            let counts = options.counts_dangling;
            let snapshot = SweepSnapshot::read(layout, now, in_flight, progress, counts)?;
            if has_trash {
                open.note_missing(snapshot.missing());
            }
            let dangling = snapshot.dangling_images();
            match snapshot.plan(missing, empty, &protection.sweep) {
                // Only a full snapshot names the images of broken documents.
                Err(Error::Incomplete { .. }) => {}
                planned => return Ok((GroupPlan::of(planned?), vec![dangling])),
            }
        }
        open.plan(protection, progress, |snapshot| {
            let mut plan = sweep_all(snapshot, missing, empty, &Disk, &protection.sweep)?;
            if options.empty_layouts == EmptyLayouts::Remove {
                remove_if_empty(snapshot, &mut plan, protection.in_flight);
            }
            let dangling = match options.counts_dangling {
                true => dangling_images(snapshot),
                false => 0,
            };
            Ok((plan, dangling))
        })
    })
}

/// Options of [`gc`].
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct GcOptions {
    /// Sweep although documents are missing.
    pub missing: MissingDocuments,
    /// Sweep a layout that lists nothing.
    pub empty: EmptyIndex,
    /// Whether an empty layout is removed.
    pub empty_layouts: EmptyLayouts,
    /// Count the dangling images, for the notes of the run.
    pub counts_dangling: bool,
}

/// Plans an open group, with a note for each layout.
type Planner<'a, T, E> = dyn FnMut(&mut OpenGroup) -> Result<(GroupPlan, Vec<T>), E> + 'a;

/// Makes a plan, and executes it unless this is a dry run; repeated if a layout changed in between. Blobs that are
/// referenced, missing and in the trash are restored first.
fn attempt<T, E: From<Error>>(
    group: &LayoutGroup,
    mode: Mode,
    progress: &dyn Progress,
    make: &mut Planner<'_, T, E>,
) -> Result<Finished<T>, E> {
    let mut cured = Vec::new();
    let mut can_be_cured = true;
    let mut attempt = 0;
    while attempt < MAX_ATTEMPTS {
        let early = match mode {
            Mode::Execute(wait) if attempt >= UNLOCKED_ATTEMPTS => Some(wait),
            Mode::Execute(_) | Mode::Plan => None,
        };
        let lockable = early.map(|_| group.open_layouts()).transpose()?;
        let mut locked = match (&lockable, early) {
            (Some((_, layouts)), Some(wait)) => Some(lock_all(layouts, wait, progress)?),
            _ => None,
        };
        let mut open = group.open(progress)?;
        let archive = Target::of(group);
        if let Some(archive) = &archive {
            archive.refuse_impossible(group, matches!(mode, Mode::Execute(_)))?;
        }
        let made = make(&mut open);
        if let Mode::Execute(wait) = mode
            && can_be_cured
            // An archive has no trash.
            && archive.is_none()
            && open.lacks_what_is_in_trash()?
        {
            // Also if planning refuses a layout because blobs are missing. Once: a blob that cannot be restored remains
            // missing.
            can_be_cured = false;
            cured.extend(restore_noted(
                group,
                &open,
                locked.as_deref(),
                wait,
                progress,
            )?);
            continue;
        }
        if matches!(mode, Mode::Plan) && archive.is_none() && open.lacks_what_is_in_trash()? {
            progress.lacks_trashed(group.path());
        }
        attempt += 1;
        let (mut plan, notes) = made?;
        if let Some(archive) = &archive {
            archive.note(&mut plan)?;
        }
        if let Some(options) = group.trash() {
            plan = plan.trashing(options);
        }
        for own in plan.plans() {
            let parked = own.parked.iter();
            parked.for_each(|file| progress.parked(&own.layout().join(file)));
        }
        let Mode::Execute(wait) = mode else {
            return Ok(Finished::new(plan, notes, None));
        };
        // Without anything to do nothing is locked, so that a clean layout on a read-only file system is not an error.
        if plan.is_empty() {
            let mut outcome = GroupOutcome::nothing(&plan);
            if let Some(archive) = &archive
                && finish(archive, group, &plan, &mut outcome, progress)? == Finish::Again
            {
                progress.changed(group.path());
                continue;
            }
            add_restored(&mut outcome, &mut cured);
            return Ok(Finished::new(plan, notes, Some(outcome)));
        }
        let locked = match locked.take() {
            Some(locked) => locked,
            None => lock_all(open.layouts(), wait, progress)?,
        };
        let mut layouts = open.layouts().iter().zip(&plan.layouts);
        if !cured.is_empty() && !layouts.all(|(layout, own)| is_unchanged(layout, &own.base)) {
            // What the plan deletes may be listed again: it must not go back to the trash.
            progress.changed(group.path());
            continue;
        }
        let returned = return_deletions(group, open.layouts(), &mut plan, &cured, wait, progress)?;
        let trashed = trashed_again(&plan, &cured);
        cured.retain(|Restored { digest, .. }| {
            !returned.contains(digest) && !trashed.contains(digest)
        });
        let record = PlanRecord::begin(group, open.layouts(), &plan)?;
        let executed = execute_locked(open.layouts(), &locked, (&plan, wait), &Disk, progress);
        if !returned.is_empty() {
            // A writer without a lock may have listed them again, or their image was not removed. What cannot be restored now is
            // restored by the next run.
            can_be_cured = true;
            let own = (open.layouts(), locked.as_slice());
            let again = restore_needed(group.journal(), own, wait, progress);
            cured.extend(again.unwrap_or_default());
        }
        match executed {
            Ok(mut outcome) => {
                let finished = match &archive {
                    Some(archive) => finish(archive, group, &plan, &mut outcome, progress),
                    None => Ok(Finish::Done),
                };
                match finished {
                    Ok(Finish::Done) => {}
                    Ok(Finish::Again) => {
                        record.end(&ChangeResult::Failed(&Error::changed(group.path())));
                        progress.changed(group.path());
                        continue;
                    }
                    // Also if the archive has changed: output written to a pipe cannot be undone, so the run is not
                    // repeated.
                    Err(error) => {
                        record.end(&ChangeResult::Failed(&error));
                        return Err(error.into());
                    }
                }
                record.end(&ChangeResult::Executed(&plan, &outcome));
                drop(locked);
                // Only now: a lock file in the directory would prevent its removal.
                for (layout, outcome) in open.layouts().iter().zip(&mut outcome.layouts) {
                    if outcome.layout_removed
                        && let Err(error) = remove_directory(layout.path(), &Disk)
                    {
                        outcome.failed.push((".".to_owned(), error));
                    }
                }
                add_restored(&mut outcome, &mut cured);
                return Ok(Finished::new(plan, notes, Some(outcome)));
            }
            Err(error) => {
                record.end(&ChangeResult::Failed(&error));
                if !matches!(error, Error::Changed { .. }) {
                    return Err(error.into());
                }
                progress.changed(group.path());
            }
        }
    }
    Err(E::from(Error::Unstable {
        path: group.path().to_owned(),
        times: MAX_ATTEMPTS,
    }))
}

/// Restores the blobs that planning found missing and that are in the trash, in layouts that may be locked already.
fn restore_noted(
    group: &LayoutGroup,
    open: &OpenGroup,
    locked: Option<&[Locked<'_>]>,
    wait: Duration,
    progress: &dyn Progress,
) -> Result<Vec<Restored>> {
    let own = match locked {
        None => Some(lock_all(open.layouts(), wait, progress)?),
        Some(_) => None,
    };
    let locked = locked.or(own.as_deref()).unwrap_or_default();
    let layouts = (open.layouts(), locked);
    restore_in_store(group.journal(), layouts, open.missing(), wait, progress)
}

/// Returns the restored blobs that a plan moves into the trash again: into its own run, which ends later than the one that had
/// them.
fn trashed_again(plan: &GroupPlan, cured: &[Restored]) -> BTreeSet<Digest> {
    let plans = plan.plans().filter(|own| own.is_trashing());
    let again = plans.flat_map(|own| deletions_among(own, cured));
    again.map(|restored| restored.digest.clone()).collect()
}

/// Returns the restored blobs that a plan deletes.
fn deletions_among<'a>(plan: &Plan, cured: &'a [Restored]) -> Vec<&'a Restored> {
    if cured.is_empty() {
        return Vec::new();
    }
    let deleted = plan.sweep.set();
    let is_deleted = |digest| plan.blobs.id(digest).is_some_and(|id| deleted.contains(id));
    cured.iter().filter(|it| is_deleted(&it.digest)).collect()
}

/// Moves restored blobs that the plan deletes back into their runs in the trash, and removes them from the plan: blobs in
/// the trash are deleted only by the rules of the trash. Returns them. A plan that fills the trash keeps them longer, so that
/// undoing it finds them.
fn return_deletions(
    group: &LayoutGroup,
    layouts: &[Layout],
    plan: &mut GroupPlan,
    cured: &[Restored],
    wait: Duration,
    progress: &dyn Progress,
) -> Result<BTreeSet<Digest>> {
    let mut returned = BTreeSet::new();
    let (Some(any), false) = (layouts.first(), cured.is_empty()) else {
        return Ok(returned);
    };
    let _store = lock_store(layouts, wait, progress)?;
    let paths: Vec<&Path> = layouts.iter().map(Layout::path).collect();
    for own in plan.store.iter_mut().chain(&mut plan.layouts) {
        let again = deletions_among(own, cured);
        if again.is_empty() || own.is_trashing() {
            continue;
        }
        let back = record(
            group.journal(),
            (&paths, &Change::Return(&again)),
            || return_to_trash(any, again.iter().copied(), &Disk),
            |back| ChangeResult::Returned(back),
        )?;
        let ids: BlobSet = back.iter().filter_map(|it| own.blobs.id(it)).collect();
        own.sweep.retain(|id| !ids.contains(id));
        returned.extend(back);
    }
    Ok(returned)
}

/// Writes the archive that a run has worked on.
fn finish(
    archive: &Target<'_>,
    group: &LayoutGroup,
    plan: &GroupPlan,
    outcome: &mut GroupOutcome,
    progress: &dyn Progress,
) -> Result<Finish> {
    match (plan.layouts.as_slice(), outcome.layouts.as_mut_slice()) {
        ([plan], [outcome]) => archive.finish(plan, outcome, group, progress),
        // A group with a shared store has no archive.
        _ => Ok(Finish::Done),
    }
}

/// Adds the blobs that were restored before to an outcome.
fn add_restored(outcome: &mut GroupOutcome, cured: &mut Vec<Restored>) {
    let single = outcome.layouts.first_mut();
    if let Some(own) = outcome.store.as_mut().or(single) {
        cured.append(&mut own.restored);
        own.restored = std::mem::take(cured);
    }
}
