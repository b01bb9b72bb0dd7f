//! Undoing a run that moved blobs into the trash.
//!
//! *Order*, and what a crash leaves:
//!
//! | step | a crash here leaves |
//! | --- | --- |
//! | what another program wrote is put back that a killed run has parked | less of it parked |
//! | blobs are moved back, one by one, and flushed to disk | some of them as orphans; undoing again goes on |
//! | `index.json` is replaced, only while it is what was read | the old one or the new one, whose blobs are all there |
//! | docker save's `manifest.json` and `repositories` are replaced | an image that one of them does not name |
//! | what is referenced, missing and in another run is put back | fewer of those; the next run goes on |
//! | the record says that the run is undone | a run that can be undone again, which does nothing |

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd as _;

use super::commit::swap;
use super::cure::{Restored, cure, move_back, sync_blobs};
use super::recover::recover;
use crate::error::{Error, Result};
use crate::fs::{FileTime, Fs, Links, Renamed, has_digest, open_dir};
use crate::layout::lock::Locked;
use crate::layout::trash::{RECORD, RunRecord, TrashedRun};
use crate::layout::{Layout, State};
use crate::oci::{Digest, RestoredIndex, TextChange};

/// What undoing a run changes, as far as it can be told before.
#[derive(Debug)]
pub struct UndoPlan {
    /// The run.
    pub run: String,
    /// The command that is undone.
    pub command: String,
    /// It was undone before: there is nothing to do.
    pub is_done: bool,
    /// The blobs that are moved back, with their sizes.
    pub blobs: Vec<(Digest, u64)>,
    /// What becomes of `index.json`.
    pub index: RestoredIndex,
    /// Files that another program has written since, and that stay as they are.
    pub left: Vec<&'static str>,
    /// Blobs that are in their place again, and are damaged there.
    pub damaged: Vec<Digest>,
    record: RunRecord,
    manifest_json: Option<String>,
    repositories: Option<String>,
}

/// What undoing a run did.
#[derive(Debug)]
pub struct Undone {
    /// What was planned.
    pub plan: UndoPlan,
    /// What was put back from other runs, because it is referenced.
    pub restored: Vec<Restored>,
}

/// Plans to undo a run.
///
/// # Errors
/// [`Error::Trash`] where the run cannot be undone as a whole.
pub(crate) fn plan_undo(
    layout: &Layout,
    state: &State,
    run: &TrashedRun,
    others: &BTreeSet<Digest>,
) -> Result<UndoPlan> {
    let refuse = |why: String| Error::Trash {
        path: layout.path().to_owned(),
        why,
    };
    let record = match &run.record {
        Ok(Some(record)) => record.clone(),
        Ok(None) => return Err(refuse(format!("run {} is being emptied", run.name))),
        Err(why) => return Err(refuse(format!("the record of run {}: {why}", run.name))),
    };
    let is_done = record.undone.is_some();
    let mut plan = UndoPlan {
        run: run.name.clone(),
        command: record.command.clone(),
        is_done,
        blobs: Vec::new(),
        index: RestoredIndex::default(),
        left: Vec::new(),
        damaged: Vec::new(),
        manifest_json: None,
        repositories: None,
        record,
    };
    if is_done {
        return Ok(plan);
    }
    let mut in_trash = BTreeSet::new();
    for (digest, file) in &run.blobs {
        in_trash.insert(digest.to_string());
        if layout.look_at_blob(digest)?.is_none() {
            plan.blobs.push((digest.clone(), file.len));
        } else if !is_whole(layout, digest)? {
            plan.damaged.push(digest.clone());
        }
    }
    if let Some(change) = &plan.record.index {
        let malformed = |why| Error::Edit {
            path: layout.path().join("index.json"),
            why,
        };
        plan.index = change.undone(&state.index).map_err(malformed)?;
    }
    let is_there = |digest: &Digest| -> Result<bool> {
        Ok(others.contains(digest)
            || in_trash.contains(&digest.to_string())
            || layout.look_at_blob(digest)?.is_some())
    };
    if plan.index.index.is_some() {
        let record = &plan.record;
        let deletions = record.deletions.iter().map(|deletion| &deletion.digest);
        let taken = deletions.chain(&record.released);
        let taken: Vec<Digest> = taken.filter_map(|text| Digest::parse(text).ok()).collect();
        let listed = plan.index.digests.iter();
        let listed = listed.filter(|digest| !record.missing.contains(&digest.to_string()));
        for digest in taken.iter().chain(listed) {
            if !is_there(digest)? {
                return Err(refuse(format!(
                    "{digest}, which run {} removed, is gone, so that the run cannot be undone as a whole",
                    run.name
                )));
            }
        }
    }
    for (name, change) in [
        ("manifest.json", &plan.record.manifest_json),
        ("repositories", &plan.record.repositories),
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

/// Returns `true` if the blob that is in its place is of its digest.
fn is_whole(layout: &Layout, digest: &Digest) -> Result<bool> {
    let path = layout.blob_path(digest);
    if digest.algorithm().is_none() {
        return Ok(true);
    }
    let file = layout.open_blob(digest).map_err(Error::read(&path))?;
    has_digest(&mut File::from(file), digest).map_err(Error::read(&path))
}

/// Undoes a run as planned for this state.
///
/// # Errors
/// [`Error::Changed`] when the layout is other than the plan rests on, others when something cannot be moved or written. What was put back until then is there; undoing again goes on.
pub(crate) fn execute_undo(
    locked: &Locked<'_>,
    state: &State,
    mut plan: UndoPlan,
    fs: &dyn Fs,
) -> Result<Undone> {
    let layout = locked.layout();
    if plan.is_done {
        let restored = Vec::new();
        return Ok(Undone { plan, restored });
    }
    recover(locked, fs)?;
    super::is_same(locked, state.fingerprint())?;
    for (digest, _) in &plan.blobs {
        if move_back(layout, &plan.run, digest, fs)? == Renamed::Taken && !is_whole(layout, digest)?
        {
            plan.damaged.push(digest.clone());
        }
    }
    sync_blobs(layout, fs)?;
    if let Some(index) = &plan.index.index {
        let (old, new) = (state.index.text().as_bytes(), index.text().as_bytes());
        swap(layout, "index.json", Some(old), new, FileTime::AsBefore, fs)?;
    }
    for (name, text) in [
        ("manifest.json", &plan.manifest_json),
        ("repositories", &plan.repositories),
    ] {
        if let Some(text) = text {
            let old = state.text_of(name);
            swap(layout, name, old, text.as_bytes(), FileTime::New, fs)?;
        }
    }
    let restored = cure(layout, None, fs)?;
    plan.record.undone = Some(crate::clock::now().to_string());
    let path = layout.trash_path().join(&plan.run).join(RECORD);
    let trash = layout.open_trash()?;
    let dir = trash.map(|trash| open_dir(&trash, &*plan.run, Links::Refuse));
    if let Some(Ok(dir)) = dir {
        let text = plan.record.to_json();
        fs.replace(dir.as_fd(), RECORD, text.as_bytes(), FileTime::New)
            .map_err(Error::write(path))?;
    }
    Ok(Undone { plan, restored })
}

/// Moves one blob back from a run. `false`: one that is whole is in its place.
///
/// # Errors
/// [`Error::Write`], and [`Error::Trash`] where one that is damaged is in its place.
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
            path: layout.path().to_owned(),
            why: format!("{digest} is in its place, and does not match its digest"),
        });
    }
    sync_blobs(layout, fs)?;
    Ok(moved == Renamed::Yes)
}
