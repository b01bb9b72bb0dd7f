//! Writes the record of the blobs that were released while a writer was active.

use std::os::fd::AsFd as _;

use super::own_files::{own_place, replace_own};
use crate::error::{Error, Result};
use crate::fs::{FileTime, Fs, Links, open_dir};
use crate::layout::released::Released;
use crate::layout::{Layout, MAX_SMALL_FILE_BYTES};
use crate::oci::Digest;

/// Adds blobs to the record. It is read under the lock, because another run may have added to it.
///
/// # Errors
/// [`Error::Changed`] if another program replaced it, others if it cannot be read or written.
pub(super) fn note_released(layout: &Layout, blobs: &[Digest], fs: &dyn Fs) -> Result<()> {
    let path = layout.path().join(Released::FILE);
    let (mut released, old) = Released::read(layout)?;
    if !released.extend(blobs) {
        return Ok(());
    }
    let new = released.to_json();
    if new.len() as u64 > MAX_SMALL_FILE_BYTES {
        let why = format!(
            "it would be larger than {MAX_SMALL_FILE_BYTES} bytes; remove these images when no writer is active"
        );
        return Err(Error::Edit { path, why });
    }
    replace_own(layout, Released::FILE, old.as_deref(), &new, fs)
}

/// Removes blobs from the record that were deleted or are referenced again, and removes an empty record. Errors are ignored:
/// blobs that are recorded needlessly are kept while a writer is active, and deleted later.
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
    // Fails if it has other files of this program.
    drop(fs.remove_empty_dir(layout.dir().as_fd(), directory));
}
