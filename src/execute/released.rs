//! Writing the note of the blobs that were released beside a writer.

use std::os::fd::AsFd as _;

use super::own_files::{is_there, open_own, own_place};
use crate::error::{Error, Result};
use crate::fs::{FileTime, Fs, Links, open_dir};
use crate::layout::released::Released;
use crate::layout::{Layout, MAX_SMALL_FILE_BYTES};
use crate::oci::Digest;

/// Adds blobs to the note of those that were released beside a writer. Read under the lock: another run may have added to it.
///
/// # Errors
/// [`Error::Changed`] when another program has replaced it, others when it cannot be read or written.
pub(super) fn note_released(layout: &Layout, blobs: &[Digest], fs: &dyn Fs) -> Result<()> {
    let path = layout.path().join(Released::FILE);
    let (mut released, old) = Released::read(layout)?;
    if !released.extend(blobs) {
        return Ok(());
    }
    let new = released.to_json();
    if new.len() as u64 > MAX_SMALL_FILE_BYTES {
        let why = format!(
            "it would be larger than {MAX_SMALL_FILE_BYTES} bytes; remove these images when no writer is at work"
        );
        return Err(Error::Edit { path, why });
    }
    let (dir, name) = open_own(layout, Released::FILE, fs)?;
    let is_replaced = fs
        .replace_expected(
            dir.as_fd(),
            name,
            old.as_deref(),
            new.as_bytes(),
            FileTime::New,
        )
        .map_err(Error::write(path))?;
    if is_replaced || is_there(dir.as_fd(), name, new.as_bytes()) {
        Ok(())
    } else {
        Err(Error::changed(layout.path()))
    }
}

/// Drops from the note of released blobs what is gone or referenced again, and removes a note that names nothing more.
/// Only a convenience: what the note names too much is kept beside writers, and is deleted later.
pub(super) fn trim_released(layout: &Layout, relisted: &[Digest], fs: &dyn Fs) {
    let Ok((mut released, Some(old))) = Released::read(layout) else {
        return;
    };
    let is_wanted = |blob: &Digest| {
        relisted.binary_search(blob).is_err() && !matches!(layout.stat_blob(blob), Ok(None))
    };
    if !released.retain(is_wanted) && !released.is_empty() {
        return;
    }
    let (directory, name) = own_place(Released::FILE);
    let Ok(dir) = open_dir(layout.dir(), directory, Links::Refuse) else {
        return;
    };
    if !released.is_empty() {
        let new = released.to_json();
        let old = Some(&*old);
        drop(fs.replace_expected(dir.as_fd(), name, old, new.as_bytes(), FileTime::New));
        return;
    }
    drop(fs.remove_expected(dir.as_fd(), name, &old));
    // Other files of this program may lie in it.
    drop(fs.remove_temporary(layout.dir().as_fd(), directory, true));
}
