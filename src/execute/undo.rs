//! Undoes a run that moved blobs into the trash.
//!
//! *Order*, and what a crash leaves:
//!
//! | step | a crash here leaves |
//! | --- | --- |
//! | files of other programs that a killed run left under temporary names are restored | some of them restored |
//! | blobs are moved back, one by one, and flushed to disk | some of them as orphans; undoing again continues |
//! | `index.json` is replaced, only if it is still the one that was read | the old one or the new one, whose blobs all exist |
//! | docker save's `manifest.json` and `repositories` are replaced | an image that one of them does not name |
//! | blobs that are referenced, missing and in another run are restored | some of them restored; the next run continues |
//! | the record marks the run as undone | a run that can be undone again, which does nothing |

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use super::commit::swap;
use super::cure::{Restored, cure_locked, move_all_back, move_back, sync_blobs};
use super::recover::recover;
use crate::error::{Error, Result};
use crate::fs::{FileTime, Fs, Links, Renamed, has_digest, open_dir};
use crate::layout::lock::Locked;
use crate::layout::shared_blobs::{found_from_store, is_same_directory};
use crate::layout::trash::{LayoutChange, RECORD, RunRecord, TrashedRun};
use crate::layout::{Layout, State};
use crate::oci::{Digest, RestoredIndex, TextChange};

/// The planned changes of undoing a run.
#[derive(Debug)]
pub struct UndoPlan {
    /// The run.
    pub run: String,
    /// The command that is undone.
    pub command: String,
    /// It was already undone: there is nothing to do.
    pub is_done: bool,
    /// The blobs that are moved back, with their sizes.
    pub blobs: Vec<(Digest, u64)>,
    /// Blobs that exist in the layout again, but are damaged.
    pub damaged: Vec<Digest>,
    /// The changes in each layout that the run changed, or was to change.
    pub layouts: Vec<LayoutUndo>,
    record: RunRecord,
}

/// The changes of undoing a run in one layout.
#[derive(Debug)]
pub struct LayoutUndo {
    /// The layout.
    pub path: PathBuf,
    /// The change of `index.json`.
    pub index: RestoredIndex,
    /// Documents that the run wrote and that are no longer listed. They are kept: others may reference them.
    pub unlisted: Vec<Digest>,
    /// Files that another program has written since, and that are not changed.
    pub left: Vec<&'static str>,
    manifest_json: Option<String>,
    repositories: Option<String>,
    /// Its position among the layouts that were given.
    position: usize,
}

/// The outcome of undoing a run.
#[derive(Debug)]
pub struct Undone {
    /// The plan.
    pub plan: UndoPlan,
    /// Blobs that were restored from other runs because they are referenced.
    pub restored: Vec<Restored>,
}

impl UndoPlan {
    /// Returns the names that are restored.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.layouts.iter().flat_map(|own| &own.index.names)
    }
}

/// Plans to undo a run in layouts that share a store of blobs, or in a single one. `is_elsewhere` returns `true` if another
/// run has a blob.
///
/// # Errors
/// [`Error::Trash`] if the run cannot be undone completely.
pub(crate) fn plan_undo(
    layouts: &[(&Layout, &State)],
    run: &TrashedRun,
    is_elsewhere: &dyn Fn(&Digest) -> Result<bool>,
) -> Result<UndoPlan> {
    let any = layouts.first().map(|(layout, _)| *layout);
    let owner = any.map_or(Path::new(""), |any| any.trash().owner());
    let refuse = |why: String| Error::Trash {
        path: owner.to_owned(),
        why,
    };
    let record = match &run.record {
        Ok(Some(record)) => record.clone(),
        Ok(None) => return Err(refuse(format!("run {} is being deleted", run.name))),
        Err(why) => return Err(refuse(format!("the record of run {}: {why}", run.name))),
    };
    let mut plan = UndoPlan {
        run: run.name.clone(),
        command: record.command.clone(),
        is_done: record.undone.is_some(),
        blobs: Vec::new(),
        damaged: Vec::new(),
        layouts: Vec::new(),
        record,
    };
    let Some(any) = any.filter(|_| !plan.is_done) else {
        return Ok(plan);
    };
    let positions = positions(layouts, any, &plan)?;
    let mut in_trash = BTreeSet::new();
    for (digest, file) in &run.blobs {
        in_trash.insert(digest.clone());
        if any.look_at_blob(digest)?.is_none() {
            plan.blobs.push((digest.clone(), file.len));
        } else if !is_whole(any, digest)? {
            plan.damaged.push(digest.clone());
        }
    }
    let is_there = |digest: &Digest| -> Result<bool> {
        Ok(in_trash.contains(digest)
            || any.look_at_blob(digest)?.is_some()
            || is_elsewhere(digest)?)
    };
    for (change, position) in plan.record.layouts.iter().zip(positions) {
        if let Some(position) = position
            && let Some((layout, state)) = layouts.get(position)
        {
            let own = plan_layout(layout, state, change)?;
            plan.layouts.push(LayoutUndo { position, ..own });
        }
    }
    if plan.layouts.iter().any(|own| own.index.index.is_some()) {
        let record = &plan.record;
        let deletions = record.deletions.iter().map(|deletion| &deletion.digest);
        let released = record.layouts.iter().flat_map(|change| &change.released);
        let taken = deletions.chain(released);
        let taken: Vec<Digest> = taken.filter_map(|text| Digest::parse(text).ok()).collect();
        let missing = record.layouts.iter().flat_map(|change| &change.missing);
        let missing: BTreeSet<&String> = missing.collect();
        let listed = plan.layouts.iter().flat_map(|own| &own.index.digests);
        let listed = listed.filter(|digest| !missing.contains(&digest.to_string()));
        for digest in taken.iter().chain(listed) {
            if !is_there(digest)? {
                return Err(refuse(format!(
                    "{digest}, which run {} removed, no longer exists, so the run cannot be undone completely",
                    run.name
                )));
            }
        }
    }
    Ok(plan)
}

/// Returns for each layout of a run its position among the given ones; `None` for one that was not changed and is not given.
///
/// # Errors
/// [`Error::RunOfOthers`] with the layouts that were not given.
fn positions(
    layouts: &[(&Layout, &State)],
    any: &Layout,
    plan: &UndoPlan,
) -> Result<Vec<Option<usize>>> {
    let owner = any.trash().owner();
    let mut positions = Vec::with_capacity(plan.record.layouts.len());
    let mut all = Vec::with_capacity(plan.record.layouts.len());
    let mut is_any_absent = false;
    for change in &plan.record.layouts {
        let Some(path) = &change.path else {
            // The trash of a single layout.
            positions.push(Some(0));
            continue;
        };
        let path = found_from_store(owner, path)?;
        let mut position = None;
        for (number, (layout, _)) in layouts.iter().enumerate() {
            if is_same_directory(layout, &path)? {
                position = Some(number);
            }
        }
        let is_changed = change.index.is_some()
            || change.manifest_json.is_some()
            || change.repositories.is_some();
        // Nothing is restored in a layout that was not changed.
        is_any_absent |= position.is_none() && is_changed;
        positions.push(position);
        if is_changed {
            all.push(path);
        }
    }
    if is_any_absent {
        return Err(Error::RunOfOthers {
            path: owner.to_owned(),
            run: plan.run.clone(),
            layouts: all,
        });
    }
    Ok(positions)
}

/// Plans to undo the changes of a run in one layout.
fn plan_layout(layout: &Layout, state: &State, change: &LayoutChange) -> Result<LayoutUndo> {
    let mut plan = LayoutUndo {
        path: layout.path().to_owned(),
        index: RestoredIndex::default(),
        unlisted: Vec::new(),
        left: Vec::new(),
        manifest_json: None,
        repositories: None,
        position: 0,
    };
    if let Some(change) = &change.index {
        let malformed = |why| Error::Edit {
            path: layout.path().join("index.json"),
            why,
        };
        plan.index = change.undone(&state.index).map_err(malformed)?;
        if let Some(index) = &plan.index.index {
            let entries = index.entries().iter();
            let listed: BTreeSet<_> = entries.filter_map(|it| it.digest.as_ref().ok()).collect();
            for digest in change.replacements().filter(|it| !listed.contains(it)) {
                if layout.look_at_blob(&digest)?.is_some() {
                    plan.unlisted.push(digest);
                }
            }
        }
    }
    for (name, change) in [
        ("manifest.json", &change.manifest_json),
        ("repositories", &change.repositories),
    ] {
        let (Some(change), today) = (change, state.text_of(name)) else {
            continue;
        };
        let undone = undone_text(change, today);
        match (name, undone) {
            (_, TextState::Done) => {}
            (name, TextState::Other) => plan.left.push(name),
            ("manifest.json", TextState::Undone(text)) => plan.manifest_json = Some(text),
            (_, TextState::Undone(text)) => plan.repositories = Some(text),
        }
    }
    Ok(plan)
}

enum TextState {
    Done,
    Undone(String),
    Other,
}

fn undone_text(change: &TextChange, today: Option<&[u8]>) -> TextState {
    let today = today.and_then(|today| std::str::from_utf8(today).ok());
    match today {
        Some(today) if change.is_undone(today) => TextState::Done,
        Some(today) => change
            .undone(today)
            .map_or(TextState::Other, TextState::Undone),
        None => TextState::Other,
    }
}

/// Returns `true` if the blob in the layout matches its digest.
fn is_whole(layout: &Layout, digest: &Digest) -> Result<bool> {
    let path = layout.blob_path(digest);
    if digest.algorithm().is_none() {
        return Ok(true);
    }
    let file = layout.open_blob(digest).map_err(Error::read(&path))?;
    has_digest(&mut File::from(file), digest).map_err(Error::read(&path))
}

/// Undoes a run as planned for these states. `locked` are the layouts of the plan, in their order.
///
/// # Errors
/// [`Error::Changed`] if a layout changed since the plan was made, others if something cannot be moved or written. Whatever
/// was restored before is in place; undoing again continues.
pub(crate) fn execute_undo(
    locked: &[Locked<'_>],
    states: &[State],
    mut plan: UndoPlan,
    fs: &dyn Fs,
) -> Result<Undone> {
    let restored = Vec::new();
    let Some(any) = locked.first().filter(|_| !plan.is_done) else {
        return Ok(Undone { plan, restored });
    };
    let any = any.layout();
    for locked in locked {
        recover(locked, fs)?;
    }
    for (locked, state) in locked.iter().zip(states) {
        super::is_same(locked, state.fingerprint())?;
    }
    let digests = plan.blobs.iter().map(|(digest, _)| digest);
    let mut damaged = Vec::new();
    move_all_back(any, &plan.run, digests, fs, |digest, moved| {
        if moved == Renamed::Taken && !is_whole(any, digest)? {
            damaged.push(digest.clone());
        }
        Ok(())
    })?;
    plan.damaged.extend(damaged);
    sync_blobs(any, fs)?;
    for own in &plan.layouts {
        // A crash here leaves some layouts unchanged and some restored; every blob exists.
        if let (Some(locked), Some(state)) = (locked.get(own.position), states.get(own.position)) {
            restore(locked.layout(), state, own, fs)?;
        }
    }
    let restored = cure_locked(locked, fs)?;
    plan.record.undone = Some(crate::clock::now().to_string());
    let trash = any.trash();
    let path = trash.path().join(&plan.run).join(RECORD);
    let dir = trash.open()?;
    let dir = dir.map(|trash| open_dir(&trash, &*plan.run, Links::Refuse));
    if let Some(Ok(dir)) = dir {
        let text = plan.record.to_json();
        // Its time is the expiry of the run.
        fs.replace(dir.as_fd(), RECORD, text.as_bytes(), FileTime::AsBefore)
            .map_err(Error::write(path))?;
    }
    Ok(Undone { plan, restored })
}

/// Writes what is restored in one layout.
fn restore(layout: &Layout, state: &State, own: &LayoutUndo, fs: &dyn Fs) -> Result<()> {
    if let Some(index) = &own.index.index {
        let (old, new) = (state.index.text().as_bytes(), index.text().as_bytes());
        swap(layout, "index.json", Some(old), new, FileTime::AsBefore, fs)?;
    }
    for (name, text) in [
        ("manifest.json", &own.manifest_json),
        ("repositories", &own.repositories),
    ] {
        if let Some(text) = text {
            let old = state.text_of(name);
            swap(layout, name, old, text.as_bytes(), FileTime::New, fs)?;
        }
    }
    Ok(())
}

/// Moves one blob back from a run. `false`: an intact one is already in place.
///
/// # Errors
/// [`Error::Write`], and [`Error::Trash`] if a damaged one is in its place.
pub(crate) fn put_back_blob(
    locked: &Locked<'_>,
    run: &str,
    digest: &Digest,
    fs: &dyn Fs,
) -> Result<bool> {
    let layout = locked.layout();
    let moved = move_back(layout, run, digest, fs)?;
    if moved == Renamed::Taken && !is_whole(layout, digest)? {
        return Err(Error::Trash {
            path: layout.trash().owner().to_owned(),
            why: format!("{digest} exists in the layout, but does not match its digest"),
        });
    }
    sync_blobs(layout, fs)?;
    Ok(moved == Renamed::Yes)
}
