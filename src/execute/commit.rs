//! Writing what a plan says: new documents, the files of docker save, `index.json`, notes and holds.
//!
//! *Order*: what is referenced is written before what references it. A crash between two steps leaves an orphan, or a
//! note that says nothing.

use std::io;
use std::os::fd::AsFd;

use crate::error::{Error, Result};
use crate::fs::{FileTime, Fs};
use crate::fs::{Links, open_dir};
use crate::layout::holds::{Emptied, Holds};
use crate::layout::hollow::Hollow;
use crate::layout::lock::Locked;
use crate::layout::replaced_ids::MovedIds;
use crate::layout::{IndexTime, Layout, State, Writes};
use crate::oci::Digest;

use super::own_files::{is_there, open_own, own_place};
use super::recover::recover;
use super::released::note_released;
use super::unchanged;

/// Writes what the plan says, in the order of [`Writes`], to a layout whose index is that of `state`.
pub(super) fn commit(layout: &Layout, state: &State, writes: &Writes, fs: &dyn Fs) -> Result<()> {
    probe(layout, writes, fs)?;
    let path = |name: &str| layout.path().join(name);
    for blob in &writes.blobs {
        // A crash here leaves an orphan: nothing refers to the new document yet.
        let name = blob.digest.blob_name();
        let file = path("blobs").join(name.directory()).join(name.file());
        let dir = blob
            .digest
            .algorithm()
            .and_then(|algorithm| layout.blob_dirs().algorithm(algorithm))
            .ok_or_else(|| Error::write(&file)(io::ErrorKind::NotFound.into()))?;
        fs.replace(dir.as_fd(), name.file(), &blob.bytes, FileTime::New)
            .map_err(Error::write(&file))?;
    }
    if !writes.released.is_empty() {
        // Before anything is untagged: without it a second sweep deletes what a writer may list again. A crash here
        // leaves a note of blobs that are live.
        note_released(layout, &writes.released, fs)?;
    }
    for (name, text) in [
        ("manifest.json", &writes.manifest_json),
        ("repositories", &writes.repositories),
    ] {
        if let Some(text) = text {
            // A crash here leaves a name in `index.json` that docker save's list lacks; all blobs of
            // both are there.
            let old = state.text_of(name);
            swap(layout, name, old, text.as_bytes(), FileTime::New, fs)?;
        }
    }
    if let Some(index) = &writes.index {
        let time = match writes.index_time {
            IndexTime::AsBefore => FileTime::AsBefore,
            IndexTime::At(time) => FileTime::At(time),
        };
        // A crash before this leaves the old index with all of its blobs, a crash after it the new
        // one, and blobs of removed images as orphans.
        let old = state.index.text().as_bytes();
        let new = index.text().as_bytes();
        swap(layout, "index.json", Some(old), new, time, fs)?;
        if writes.emptied {
            // Only a convenience for the next `gc`: without the note it asks for `--allow-empty`.
            drop(write_note(layout, Emptied::FILE, &Emptied::note(index), fs));
        }
    }
    if !writes.replaced_ids.is_empty() {
        // As the next note, and only a convenience as well: without it an old image ID is only unknown.
        let mut moved = MovedIds::read(layout);
        moved.extend(&writes.replaced_ids);
        let text = moved.to_json();
        drop(write_note(layout, MovedIds::FILE, &text, fs));
    }
    if !writes.hollow.is_empty() {
        // Read under the lock: another run may have added to it. Only a convenience for `check`, which
        // reports damage without it.
        let mut hollow = Hollow::read(layout);
        hollow.extend(&writes.hollow);
        let text = hollow.to_json();
        drop(write_note(layout, Hollow::FILE, &text, fs));
    }
    Ok(())
}

/// Asks whether everything that is to be replaced can keep its attributes, before anything is changed.
pub(super) fn probe(layout: &Layout, writes: &Writes, fs: &dyn Fs) -> Result<()> {
    let names = [
        ("index.json", writes.index.is_some()),
        ("manifest.json", writes.manifest_json.is_some()),
        ("repositories", writes.repositories.is_some()),
    ];
    for (name, _) in names.into_iter().filter(|(_, is_written)| *is_written) {
        let place = layout.place_of(name)?;
        fs.can_replace(place.dir.as_fd(), &place.name)
            .map_err(Error::write(layout.path().join(name)))?;
    }
    Ok(())
}

fn probe_holds(layout: &Layout, fs: &dyn Fs) -> Result<()> {
    let (directory, name) = own_place(Holds::FILE);
    let Ok(dir) = open_dir(layout.dir(), directory, Links::Refuse) else {
        return Ok(());
    };
    fs.can_replace(dir.as_fd(), name)
        .map_err(Error::write(layout.path().join(Holds::FILE)))
}

/// Replaces a file of the layout while it is what was read. What the file should become it may be already: on a full
/// disk everything is written twice.
///
/// # Errors
/// [`Error::Changed`]: a writer without a lock was faster. What is written so far is no harm, nothing was released yet.
pub(super) fn swap(
    layout: &Layout,
    name: &str,
    old: Option<&[u8]>,
    new: &[u8],
    time: FileTime,
    fs: &dyn Fs,
) -> Result<()> {
    let path = layout.path().join(name);
    let place = layout.place_of(name)?;
    let is_replaced = fs
        .replace_expected(place.dir.as_fd(), &place.name, old, new, time)
        .map_err(Error::write(&path))?;
    if is_replaced || is_there(place.dir.as_fd(), &place.name, new) {
        Ok(())
    } else {
        Err(Error::changed(layout.path()))
    }
}

/// Does the same with the holds.
fn swap_holds(layout: &Layout, state: &State, holds: &Holds, fs: &dyn Fs) -> Result<()> {
    let path = layout.path().join(Holds::FILE);
    let (dir, name) = open_own(layout, Holds::FILE, fs)?;
    let (old, new) = (state.text_of(Holds::FILE), holds.to_json());
    let is_replaced = fs
        .replace_expected(dir.as_fd(), name, old, new.as_bytes(), FileTime::New)
        .map_err(Error::write(path))?;
    if is_replaced || is_there(dir.as_fd(), name, new.as_bytes()) {
        Ok(())
    } else {
        Err(Error::changed(layout.path()))
    }
}

/// Writes a note below `.ocisweep/`: that `index.json` lists nothing on purpose, or which platforms are hollow.
pub(super) fn write_note(layout: &Layout, file: &str, text: &str, fs: &dyn Fs) -> Result<()> {
    let (dir, name) = open_own(layout, file, fs)?;
    fs.replace(dir.as_fd(), name, text.as_bytes(), FileTime::New)
        .map_err(Error::write(layout.path().join(file)))
}

/// Writes the holds of a locked layout.
///
/// # Errors
/// [`Error::Changed`] when the layout is other than `base`, others when the file cannot be written. The old holds stand then.
pub fn write_holds(locked: &Locked<'_>, base: &Digest, holds: &Holds, fs: &dyn Fs) -> Result<()> {
    recover(locked, fs)?;
    let state = unchanged(locked, base)?;
    probe_holds(locked.layout(), fs)?;
    swap_holds(locked.layout(), &state, holds, fs)
}
