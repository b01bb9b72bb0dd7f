//! Writes the files of a plan: new documents, the files of docker save, `index.json`, records and holds.
//!
//! *Order*: a referenced file is written before the file that references it. A crash between two steps leaves an orphan, or
//! a record without effect.

use std::io;
use std::os::fd::AsFd;

use crate::error::{Error, Result};
use crate::fs::{FileTime, Fs, Links, open_dir};
use crate::layout::holds::{Emptied, Holds};
use crate::layout::hollow::Hollow;
use crate::layout::lock::Locked;
use crate::layout::replaced_ids::MovedIds;
use crate::layout::{IndexTime, Layout, State, Writes};
use crate::oci::Digest;

use super::own_files::{open_own, own_place, replace_if_same, replace_own};
use super::recover::recover;
use super::released::note_released;
use super::unchanged;

/// Writes the files of the plan, in the order of [`Writes`], to a layout whose index is that of `state`.
pub(super) fn commit(layout: &Layout, state: &State, writes: &Writes, fs: &dyn Fs) -> Result<()> {
    probe(layout, writes, fs)?;
    for blob in &writes.blobs {
        // A crash here leaves an orphan: the new document is not referenced yet.
        let name = blob.digest.blob_name();
        let file = layout.blob_path(&blob.digest);
        let dir = blob
            .digest
            .algorithm()
            .and_then(|algorithm| layout.blob_dirs().algorithm(algorithm))
            .ok_or_else(|| Error::write(&file)(io::ErrorKind::NotFound.into()))?;
        fs.replace(dir.as_fd(), name.file(), &blob.bytes, FileTime::New)
            .map_err(Error::write(&file))?;
    }
    if !writes.released.is_empty() {
        // Before anything is untagged: without it a second sweep deletes blobs that a writer may list again. A crash here
        // leaves a record of live blobs.
        note_released(layout, &writes.released, fs)?;
    }
    for (name, text) in [
        ("manifest.json", &writes.manifest_json),
        ("repositories", &writes.repositories),
    ] {
        if let Some(text) = text {
            // A crash here leaves a name in `index.json` that docker save's list lacks; all blobs of
            // both exist.
            let old = state.text_of(name);
            swap(layout, name, old, text.as_bytes(), FileTime::New, fs)?;
        }
    }
    // The following records are only conveniences, so errors are ignored.
    let note = |file, text: &str| drop(write_note(layout, file, text, fs));
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
            // Without it the next `gc` requires `--allow-empty`.
            note(Emptied::FILE, &Emptied::note(index));
        }
    }
    // These records are read under the lock: another run may have added to them.
    if !writes.replaced_ids.is_empty() {
        // Without it an old image ID is unknown.
        let mut moved = MovedIds::read(layout);
        moved.extend(&writes.replaced_ids);
        note(MovedIds::FILE, &moved.to_json());
    }
    if !writes.hollow.is_empty() {
        // Without it `check` reports damage.
        let mut hollow = Hollow::read(layout);
        hollow.extend(&writes.hollow);
        note(Hollow::FILE, &hollow.to_json());
    }
    Ok(())
}

/// Checks that every file to replace can keep its attributes, before anything is changed.
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

/// Replaces a file of the layout if it is still the one that was read.
///
/// # Errors
/// [`Error::Changed`] if a writer without a lock was faster. The files written so far are harmless: nothing is deleted yet.
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
    let place = (&place.dir, &*place.name);
    replace_if_same(layout, &path, place, (old, new), time, fs)
}

/// Writes a record below `.ocisweep/`.
pub(super) fn write_note(layout: &Layout, file: &str, text: &str, fs: &dyn Fs) -> Result<()> {
    let (dir, name) = open_own(layout, file, fs)?;
    fs.replace(dir.as_fd(), name, text.as_bytes(), FileTime::New)
        .map_err(Error::write(layout.path().join(file)))
}

/// Writes the holds of a locked layout.
///
/// # Errors
/// [`Error::Changed`] if the state of the layout is not `base`, others if the file cannot be written. In both cases the old
/// holds are kept.
pub(crate) fn write_holds(
    locked: &Locked<'_>,
    base: &Digest,
    holds: &Holds,
    fs: &dyn Fs,
) -> Result<()> {
    recover(locked, fs)?;
    let state = unchanged(locked, base)?;
    probe_holds(locked.layout(), fs)?;
    let old = state.text_of(Holds::FILE);
    replace_own(locked.layout(), Holds::FILE, old, &holds.to_json(), fs)
}
