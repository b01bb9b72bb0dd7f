//! Moves deleted blobs into the trash, and empties the trash.
//!
//! *Order* of a run, and what a crash leaves:
//!
//! | step | a crash here leaves |
//! | --- | --- |
//! | expired runs are deleted: the record first | a run without a record, which the next run with `--trash` deletes |
//! | the directory of the run is created | the same |
//! | the record is written, and flushed to disk | a run that took nothing; it can be undone, which does nothing |
//! | documents and `index.json` are written | blobs of removed images as orphans; undoing lists them again |
//! | blobs are moved, one by one | each in one of both places; undoing moves those in the trash |
//!
//! A file is moved by a rename, so that at every moment it has one name.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::Dev;

use crate::error::{Error, Result};
use crate::fs::{FileSystem, FileTime, Fs, Links, is_own, open_dir, stat_of};
use crate::layout::blob_list::OWN_DIRECTORY;
use crate::layout::entries::each_entry;
use crate::layout::trash::{
    ALGORITHMS, LayoutChange, MAX_RECORD_BYTES, RECORD, RecordedDeletion, RunRecord, TRASH, Trash,
    TrashOptions, TrashedRun, name_of_run,
};
use crate::layout::{Layout, State};
use crate::oci::{Algorithm, Digest, IndexChange, TextChange};
use crate::plan::{Plan, Trashing};

use crate::threads::Deleting;

/// What a run moved into the trash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trashed {
    /// The name of the run.
    pub run: String,
    /// The number of blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A run that moves blobs into the trash.
#[derive(Debug)]
pub(super) struct OpenRun {
    pub(super) name: String,
    dir: OwnedFd,
    algorithms: Vec<(Algorithm, OwnedFd)>,
}

impl OpenRun {
    /// Returns the result before anything was moved.
    pub(super) fn without_blobs(&self) -> Trashed {
        Trashed {
            run: self.name.clone(),
            ..Trashed::default()
        }
    }

    /// Returns the directory for blobs of an algorithm.
    pub(super) fn place(&self, algorithm: Algorithm) -> Option<BorrowedFd<'_>> {
        let mut dirs = self.algorithms.iter();
        let (_, dir) = dirs.find(|(known, _)| *known == algorithm)?;
        Some(dir.as_fd())
    }
}

/// The planned changes of a run in one layout.
#[derive(Debug, Clone, Copy)]
pub(super) struct LayoutPart<'a> {
    pub(super) layout: &'a Layout,
    pub(super) plan: &'a Plan,
    /// The state before; `None`: nothing is written in it.
    pub(super) state: Option<&'a State>,
}

/// Begins a run: deletes expired runs from the trash, and writes the record. `sweep` is the plan whose blobs are moved. Returns
/// `None` if nothing is moved into the trash.
///
/// # Errors
/// [`Error::Write`], and [`Error::Trash`] if blobs cannot be moved into it. Nothing was moved.
pub(super) fn begin(
    sweep: &Plan,
    parts: &[LayoutPart<'_>],
    fs: &dyn Fs,
) -> Result<Option<OpenRun>> {
    let (Some(trashing), Some(any)) = (&sweep.trash, parts.first()) else {
        return Ok(None);
    };
    let place = any.layout.trash();
    let Trashing { options, over_by } = trashing;
    let (names, last) = place.perhaps_expired(*over_by)?;
    for name in names {
        let Some(trash) = place.open()? else { break };
        if let Some(run) = place.run(&trash, name)?
            && run.is_expired(*over_by)
        {
            empty_run(place, &run, fs)?;
        }
    }
    // Only now: the directory was removed with its last run.
    let trash = open_or_make(place, fs)?;
    refuse_other_device(any.layout, &trash)?;
    let now = crate::clock::now();
    let ends = now
        .checked_add(options.keep)
        .unwrap_or(jiff::Timestamp::MAX);
    let record = record_of(sweep, parts, (options, now, ends))?;
    let name = name_of_run(now, last.as_deref());
    let path = place.path().join(&name);
    let dir = make(&trash, &name, fs).map_err(Error::write(&path))?;
    let written = (|| {
        let mut algorithms = Vec::new();
        for algorithm in ALGORITHMS {
            let mut deletions = sweep.sweep.iter();
            let is_used = deletions.any(|deletion| {
                let digest = sweep.blobs.digest(deletion.id);
                digest.is_some_and(|digest| digest.algorithm() == Some(algorithm))
            });
            if is_used {
                algorithms.push((algorithm, make(&dir, algorithm.name(), fs)?));
            }
        }
        // The time of the file is the expiry of the run, so later runs do not have to read the record before.
        let time = FileTime::At(ends.as_nanosecond());
        fs.replace(dir.as_fd(), RECORD, record.as_bytes(), time)?;
        Ok(algorithms)
    })();
    let run = OpenRun {
        name,
        dir,
        algorithms: Vec::new(),
    };
    match written {
        Ok(algorithms) => Ok(Some(OpenRun { algorithms, ..run })),
        Err(error) => {
            discard(place, &run, fs);
            Err(Error::write(path.join(RECORD))(error))
        }
    }
}

/// Opens a directory, and creates it if it does not exist.
pub(super) fn make(parent: &OwnedFd, name: &str, fs: &dyn Fs) -> std::io::Result<OwnedFd> {
    fs.make_dir(parent.as_fd(), name)?;
    Ok(open_dir(parent, name, Links::Refuse)?)
}

fn open_or_make(place: Trash<'_>, fs: &dyn Fs) -> Result<OwnedFd> {
    let path = place.path();
    let own = make(place.home(), OWN_DIRECTORY, fs).map_err(Error::write(&path))?;
    make(&own, TRASH, fs).map_err(Error::write(&path))
}

/// A rename does not cross file systems.
fn refuse_other_device(layout: &Layout, trash: &OwnedFd) -> Result<()> {
    let owner = layout.trash().owner();
    let device = |dir: &OwnedFd| -> Result<Dev> {
        let stat = stat_of(dir).map_err(|error| Error::read(owner)(error.into()))?;
        Ok(stat.st_dev)
    };
    let own = device(trash)?;
    let blobs = match layout.blob_dirs().store {
        Some(_) => "",
        None => "blobs/",
    };
    for (algorithm, dir) in &layout.blob_dirs().algorithms {
        if device(dir)? != own {
            return Err(Error::Trash {
                path: owner.to_owned(),
                why: format!("`{blobs}{}` is on another file system", algorithm.name()),
            });
        }
    }
    Ok(())
}

/// Returns the text of the record of a run, before anything is done.
///
/// # Errors
/// [`Error::Trash`] if it would be too large to be read again.
fn record_of(
    sweep: &Plan,
    parts: &[LayoutPart<'_>],
    (options, now, ends): (&TrashOptions, jiff::Timestamp, jiff::Timestamp),
) -> Result<String> {
    let deletions = sweep.sweep.iter().filter_map(|deletion| {
        Some(RecordedDeletion {
            digest: sweep.blobs.digest(deletion.id)?.to_string(),
            size: deletion.file.len,
        })
    });
    let record = RunRecord {
        schema_version: 1,
        command: options.command.clone(),
        started: now.to_string(),
        ends: ends.to_string(),
        undone: None,
        sparse: sweep.is_sparse || parts.iter().any(|part| part.plan.is_sparse),
        layouts: parts.iter().map(change_of).collect::<Result<_>>()?,
        deletions: deletions.collect(),
    };
    let text = record.to_json();
    if text.len() as u64 > MAX_RECORD_BYTES {
        return Err(Error::Trash {
            path: sweep.layout.clone(),
            why: format!("the record of this run would be larger than {MAX_RECORD_BYTES} bytes"),
        });
    }
    Ok(text)
}

/// Returns the planned changes of a run in one layout.
fn change_of(part: &LayoutPart<'_>) -> Result<LayoutChange> {
    let LayoutPart {
        layout,
        plan,
        state,
    } = *part;
    let writes = &plan.writes;
    let changed = |name: &str, new: Option<&String>| {
        let old = std::str::from_utf8(state?.text_of(name)?).ok()?;
        Some(TextChange::between(old, new?))
    };
    let index = state.zip(writes.index.as_ref());
    let index = index.map(|(state, new)| IndexChange::between(&state.index, new));
    let mut missing = Vec::new();
    for digest in index.iter().flat_map(IndexChange::digests) {
        if layout.look_at_blob(&digest)?.is_none() {
            missing.push(digest.to_string());
        }
    }
    Ok(LayoutChange {
        path: layout.path_from_store()?,
        index,
        manifest_json: changed("manifest.json", writes.manifest_json.as_ref()),
        repositories: changed("repositories", writes.repositories.as_ref()),
        released: writes.released.iter().map(ToString::to_string).collect(),
        missing,
    })
}

/// Removes a run that did nothing. If it cannot be removed, a later run deletes it.
pub(super) fn discard(place: Trash<'_>, run: &OpenRun, fs: &dyn Fs) {
    let dir = run.dir.as_fd();
    drop(fs.remove_file(dir, RECORD));
    for algorithm in ALGORITHMS {
        drop(fs.remove_empty_dir(dir, algorithm.name()));
    }
    if let Ok(Some(trash)) = place.open() {
        drop(fs.remove_empty_dir(trash.as_fd(), &run.name));
    }
    remove_if_empty(place, fs);
}

/// Deletes a run and its blobs permanently. The record is deleted first: without it, the remaining blobs cannot be restored
/// as images.
///
/// # Errors
/// [`Error::Write`]. A later run continues.
pub(crate) fn empty_run(place: Trash<'_>, run: &TrashedRun, fs: &dyn Fs) -> Result<()> {
    let Some(trash) = place.open()? else {
        return Ok(());
    };
    let path = place.path().join(&run.name);
    let failed = |error: std::io::Error| Error::write(&path)(error);
    let Ok(dir) = open_dir(&trash, &*run.name, Links::Refuse) else {
        return Ok(());
    };
    let mut own = vec![RECORD.to_owned()];
    each_entry(&dir, &path, |entry| {
        let name = std::str::from_utf8(entry.name).ok();
        own.extend(name.filter(|name| is_own(name)).map(str::to_owned));
    })?;
    for name in own {
        fs.remove_file(dir.as_fd(), &name).map_err(failed)?;
    }
    fs.sync_dir(dir.as_fd()).map_err(failed)?;
    for algorithm in ALGORITHMS {
        let Ok(own) = open_dir(&dir, algorithm.name(), Links::Refuse) else {
            continue;
        };
        let blobs = run.blobs.iter().map(|(digest, _)| digest);
        let names: Vec<_> = blobs
            .filter(|digest| digest.algorithm() == Some(algorithm))
            .filter_map(Digest::deletable_name)
            .collect();
        let remove = |name| fs.remove(own.as_fd(), &name).map(drop);
        let threads = FileSystem::of(&own).unlink_threads();
        let removed = Deleting::new(threads, names.len()).each(names, remove);
        removed
            .into_iter()
            .collect::<std::io::Result<()>>()
            .map_err(failed)?;
        drop(fs.remove_empty_dir(dir.as_fd(), algorithm.name()));
    }
    // Files of other programs are kept, with their directory.
    drop(fs.remove_empty_dir(trash.as_fd(), &run.name));
    remove_if_empty(place, fs);
    Ok(())
}

/// Removes the directories of the trash if they are empty.
pub(super) fn remove_if_empty(place: Trash<'_>, fs: &dyn Fs) {
    if let Ok(own) = open_dir(place.home(), OWN_DIRECTORY, Links::Refuse) {
        drop(fs.remove_empty_dir(own.as_fd(), TRASH));
        drop(fs.remove_empty_dir(place.home().as_fd(), OWN_DIRECTORY));
    }
}

/// Deletes the oldest run in the trash except this one, on a full disk. `false`: there is none.
pub(super) fn make_room(place: Trash<'_>, own: Option<&str>, fs: &dyn Fs) -> Result<bool> {
    let Some(trash) = place.open()? else {
        return Ok(false);
    };
    for name in place.names()? {
        if Some(name.as_str()) != own
            && let Some(run) = place.run(&trash, name)?
            && run.record.is_ok()
        {
            return empty_run(place, &run, fs).map(|()| true);
        }
    }
    Ok(false)
}

/// Opens the directory of a run's blobs of one algorithm; `None` if it has none.
pub(super) fn open_blobs(
    place: Trash<'_>,
    run: &str,
    algorithm: Algorithm,
) -> Result<Option<OwnedFd>> {
    let Some(trash) = place.open()? else {
        return Ok(None);
    };
    let dir = open_dir(&trash, run, Links::Refuse);
    Ok(dir
        .and_then(|dir| open_dir(&dir, algorithm.name(), Links::Refuse))
        .ok())
}
