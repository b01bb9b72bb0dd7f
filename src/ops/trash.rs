//! Undoes runs that moved blobs into the trash, and empties the trash.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::error::{ArchiveProblem, Error, NotALayout, Result};
use crate::execute::{
    Restored, UndoPlan, Undone, empty_run, execute_undo, needs_cure, plan_undo, put_back_blob,
    refuse_damaged,
};
use crate::fs::Disk;
use crate::layout::lock::{Locked, LockedStore};
use crate::layout::shared_blobs::{SharedStore, found_from_store};
use crate::layout::trash::{Trash, TrashedRun};
use crate::layout::{Layout, State};
use crate::oci::Digest;
use crate::plan::{Tally, Totals};
use crate::progress::Progress;

use super::journal::{Change, ChangeResult, Journal, record};
use super::locks::{lock_all, lock_store};
use super::restore::restore;
use super::run::{Attempt, until_unchanged};
use super::{LayoutGroup, Mode};

/// The run to undo.
#[derive(Debug, Clone, Copy)]
pub enum UndoRequest<'a> {
    /// The last one.
    Last,
    /// The one whose name begins with this.
    Run(&'a str),
}

/// Undoes a run of a layout, or of a shared store with all layouts that the run changed; in a dry run, returns what that
/// would change.
///
/// # Errors
/// [`Error::Trash`] if there is no such run, or it cannot be undone completely; [`Error::RunOfOthers`]; those of reading,
/// locking and writing.
pub fn undo(
    group: &LayoutGroup,
    request: UndoRequest<'_>,
    mode: Mode,
    progress: &dyn Progress,
) -> Result<Undone> {
    until_unchanged(progress, |_| {
        let (_, layouts) = group.open_layouts()?;
        for layout in &layouts {
            layout.refuse_shared_blobs()?;
            layout.refuse_packed(ArchiveProblem::NoTrash)?;
        }
        let Mode::Execute(wait) = mode else {
            let (_, plan) = planned(&layouts, request)?;
            let restored = Vec::new();
            return Ok(Attempt::Done(Undone { plan, restored }));
        };
        let locked = lock_all(&layouts, wait, progress)?;
        let _store = lock_store(&layouts, wait, progress)?;
        let (states, plan) = planned(&layouts, request)?;
        let paths: Vec<&Path> = layouts.iter().map(Layout::path).collect();
        let journal = group.journal().filter(|_| !plan.is_done);
        let number = journal.map(|journal| journal.begin(&paths, &Change::Undo(&plan)));
        let number = number.transpose()?;
        let undone = execute_undo(&locked, &states, plan, &Disk);
        if let (Some(journal), Some(number)) = (journal, number) {
            journal.end(
                number,
                &match &undone {
                    Ok(undone) => ChangeResult::Undone(undone),
                    Err(error) => ChangeResult::Failed(error),
                },
            );
        }
        Attempt::of(undone, group.path())
    })
}

fn planned(layouts: &[Layout], request: UndoRequest<'_>) -> Result<(Vec<State>, UndoPlan)> {
    let states = layouts.iter().map(Layout::read_state);
    let states: Vec<State> = states.collect::<Result<_>>()?;
    let any = layouts.first().ok_or(Error::Interrupted)?;
    let trash = any.trash();
    let run = match request {
        UndoRequest::Last => last(trash)?,
        UndoRequest::Run(name) => named(trash, name)?,
    };
    // The others are read only if a blob is in neither place.
    let is_elsewhere = |digest: &Digest| {
        let found = trash.find(&BTreeSet::from([digest.clone()]), None);
        found.map(|found| !found.is_empty())
    };
    let pairs: Vec<_> = layouts.iter().zip(&states).collect();
    let plan = plan_undo(&pairs, &run, &is_elsewhere)?;
    Ok((states, plan))
}

fn last(trash: Trash<'_>) -> Result<TrashedRun> {
    if let Some(dir) = trash.open()? {
        for name in trash.names()?.into_iter().rev() {
            // A run without a record did nothing, or is being deleted.
            if let Some(run) = trash.run(&dir, name)?
                && !matches!(run.record, Ok(None))
            {
                return Ok(run);
            }
        }
    }
    Err(refuse(trash, "it is empty".to_owned()))
}

/// Reads the run whose name begins with this.
fn named(trash: Trash<'_>, name: &str) -> Result<TrashedRun> {
    let names = trash.names()?.into_iter();
    let mut found: Vec<String> = names
        .filter(|run| !name.is_empty() && run.starts_with(name))
        .collect();
    let count = found.len();
    match (found.pop(), count, trash.open()?) {
        (Some(own), 1, Some(dir)) => trash
            .run(&dir, own)?
            .ok_or_else(|| refuse(trash, format!("there is no run {name}"))),
        (Some(_), _, _) => Err(refuse(trash, format!("{count} runs begin with {name}"))),
        (None, _, _) => Err(refuse(trash, format!("there is no run {name}"))),
    }
}

fn refuse(trash: Trash<'_>, why: String) -> Error {
    Error::Trash {
        path: trash.owner().to_owned(),
        why,
    }
}

/// Moves one blob back from the latest run that has it, for a layout or for a group over a shared store. Returns its size;
/// `None`: it is in its place.
///
/// # Errors
/// [`Error::Trash`] if no run has it; those of locking and writing.
pub fn undo_blob(
    group: &LayoutGroup,
    digest: &Digest,
    mode: Mode,
    progress: &dyn Progress,
) -> Result<Option<u64>> {
    let (_, layouts) = group.open_layouts()?;
    let Some(layout) = layouts.first() else {
        return Ok(None);
    };
    layout.refuse_shared_blobs()?;
    layout.refuse_packed(ArchiveProblem::NoTrash)?;
    let locks = match mode {
        Mode::Execute(wait) => Some((
            lock_all(&layouts, wait, progress)?,
            lock_store(&layouts, wait, progress)?,
        )),
        Mode::Plan => None,
    };
    let is_there = layout.look_at_blob(digest)?.is_some();
    let trash = layout.trash();
    let mut found = None;
    for name in trash.names()?.into_iter().rev() {
        let wanted = BTreeSet::from([digest.clone()]);
        if let Some((run, len)) = trash.find(&wanted, Some(&name))?.remove(digest) {
            found = Some((run, len));
            break;
        }
    }
    let locked = locks.as_ref().and_then(|(locked, _)| locked.first());
    match (found, locked) {
        (None, _) if is_there => Ok(None),
        (None, _) => Err(refuse(trash, format!("no run has {digest}"))),
        (Some((_, len)), None) => Ok((!is_there).then_some(len)),
        (Some((run, len)), Some(locked)) => {
            let paths: Vec<&Path> = layouts.iter().map(Layout::path).collect();
            let wanted = BTreeSet::from([digest.clone()]);
            record(
                group.journal(),
                (&paths, &Change::Restore(&wanted)),
                || {
                    let is_moved = put_back_blob(locked, &run, digest, &Disk)?;
                    Ok(is_moved.then_some(len))
                },
                |restored| ChangeResult::RestoredBlob(*restored),
            )
        }
    }
}

/// The owner of the trash.
#[derive(Debug)]
pub enum TrashOwner {
    /// A layout.
    Layout(Layout),
    /// A store of blobs that several layouts share.
    Store(SharedStore),
}

impl TrashOwner {
    /// Returns the trash.
    #[must_use]
    pub fn trash(&self) -> Trash<'_> {
        match self {
            Self::Layout(layout) => layout.trash(),
            Self::Store(store) => store.trash(),
        }
    }

    /// Returns the layouts whose blobs may be in the trash: for a store those that its runs name, and that still use it.
    ///
    /// # Errors
    /// Those of opening a layout that is there.
    fn layouts(&self, progress: &dyn Progress) -> Result<Vec<Layout>> {
        let store = match self {
            Self::Layout(layout) => return Ok(vec![layout.try_clone()?]),
            Self::Store(store) => store,
        };
        let runs = store.trash().runs()?;
        let records = runs
            .iter()
            .filter_map(|run| run.record.as_ref().ok()?.as_ref());
        let named = records.flat_map(|record| &record.layouts);
        let paths: BTreeSet<&String> = named.filter_map(|own| own.path.as_ref()).collect();
        let mut layouts = Vec::with_capacity(paths.len());
        for path in paths {
            let path = found_from_store(store.path(), path)?;
            match Layout::open_in(&path, store) {
                Ok(layout) => layouts.push(layout),
                Err(error) if is_elsewhere(&error) => progress.left_store(&path),
                Err(error) => return Err(error),
            }
        }
        Ok(layouts)
    }

    /// Locks the trash of a store; that of a layout needs no lock but its own.
    fn lock_store(
        &self,
        wait: Duration,
        progress: &dyn Progress,
    ) -> Result<Option<LockedStore<'_>>> {
        match self {
            Self::Layout(_) => Ok(None),
            Self::Store(store) => LockedStore::acquire(store.trash(), wait, progress).map(Some),
        }
    }
}

/// Returns `true` if there is no layout at a path, or one with other blobs.
fn is_elsewhere(error: &Error) -> bool {
    match error {
        Error::Read { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        Error::NotALayout { what, .. } => {
            matches!(what, NotALayout::Nothing | NotALayout::NotADirectory)
        }
        Error::NotInSharedStore { .. } => true,
        _ => false,
    }
}

/// The runs to delete from the trash.
#[derive(Debug, Clone, Copy)]
pub enum EmptyRequest<'a> {
    /// Every run.
    All,
    /// The one whose name begins with this.
    Run(&'a str),
    /// Those that began before this time.
    Before(Timestamp),
}

/// The runs that were deleted from a trash, or would be.
#[derive(Debug)]
pub struct EmptiedTrash {
    /// The runs, with what each frees.
    pub runs: Vec<(TrashedRun, Totals)>,
    /// Blobs that the layout, or one over the shared store, referenced and lacked, and that were therefore restored before.
    pub restored: Vec<Restored>,
}

/// Empties the trash, or in a dry run returns what would be deleted. Blobs that layouts reference and lack are restored first:
/// the trash may have the only copy. For a shared store these are the layouts that its runs name.
///
/// # Errors
/// [`Error::Trash`] if there is no such run; [`Error::Incomplete`] if a referenced document is damaged, since its references are
/// unknown; those of reading the layouts, locking and deleting.
pub fn empty_trash(
    owner: &TrashOwner,
    request: EmptyRequest<'_>,
    mode: Mode,
    journal: Option<&dyn Journal>,
    progress: &dyn Progress,
) -> Result<EmptiedTrash> {
    let trash = owner.trash();
    until_unchanged(progress, |_| {
        let names = trash.names()?;
        let layouts = owner.layouts(progress)?;
        let locked = match mode {
            Mode::Execute(wait) => Some((
                lock_all(&layouts, wait, progress)?,
                owner.lock_store(wait, progress)?,
            )),
            Mode::Plan => None,
        };
        if locked.is_some() && trash.names()? != names {
            // A new run may name further layouts.
            return Ok(Attempt::Changed(trash.owner().to_owned()));
        }
        let locked = locked.as_ref().map(|(layouts, _)| layouts.as_slice());
        let emptied = empty_in(trash, (&layouts, locked), request, journal, progress);
        emptied.map(Attempt::Done)
    })
}

/// Empties the trash of layouts, if they are locked.
fn empty_in(
    trash: Trash<'_>,
    (layouts, locked): (&[Layout], Option<&[Locked<'_>]>),
    request: EmptyRequest<'_>,
    journal: Option<&dyn Journal>,
    progress: &dyn Progress,
) -> Result<EmptiedTrash> {
    let all: Vec<&Layout> = layouts.iter().collect();
    let needed = needs_cure(&all)?;
    if locked.is_none() && !needed.is_empty() {
        progress.lacks_trashed(trash.owner());
    }
    let mut restored = Vec::new();
    if let (Some(locked), false) = (locked, needed.is_empty()) {
        let missing: BTreeSet<Digest> = needed.keys().cloned().collect();
        restored = restore(journal, &[trash.owner()], locked, &missing)?;
    }
    if !trash.names()?.is_empty() {
        refuse_damaged(&all)?;
    }
    let mut runs = match request {
        EmptyRequest::All => trash.runs()?,
        EmptyRequest::Run(name) => vec![named(trash, name)?],
        EmptyRequest::Before(time) => {
            let mut runs = trash.runs()?;
            runs.retain(|run| match &run.record {
                Ok(Some(record)) => record.started().is_some_and(|started| started < time),
                Ok(None) => true,
                Err(_) => false,
            });
            runs
        }
    };
    // In a dry run they still exist.
    for run in &mut runs {
        let name = &run.name;
        run.blobs
            .retain(|(digest, _)| needed.get(digest) != Some(name));
    }
    let journal = journal.filter(|_| locked.is_some() && !runs.is_empty());
    let number = journal.map(|journal| journal.begin(&[trash.owner()], &Change::Empty(&runs)));
    let number = number.transpose()?;
    let mut emptied = Vec::new();
    let mut sum = Totals::default();
    let done = runs.into_iter().try_for_each(|run| {
        if progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        if locked.is_some() {
            empty_run(trash, &run, &Disk)?;
        }
        let mut tally = Tally::default();
        for (_, file) in &run.blobs {
            tally.blob(file);
        }
        sum = sum.plus(tally.totals());
        emptied.push((run, tally.totals()));
        Ok(())
    });
    if let (Some(journal), Some(number)) = (journal, number) {
        journal.end(
            number,
            &match &done {
                Ok(()) => ChangeResult::Emptied(sum),
                Err(error) => ChangeResult::Failed(error),
            },
        );
    }
    done.map(|()| EmptiedTrash {
        runs: emptied,
        restored,
    })
}
