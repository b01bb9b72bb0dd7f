//! Deletes stale temporary files of writers.

use std::io;
use std::os::fd::AsFd;

use crate::fs::{Fs, Removed};
use crate::layout::blob_list::measure;
use crate::layout::{Layout, TempFile};
use crate::plan::{Plan, Tally};
use crate::progress::Progress;

use super::Outcome;

/// Deletes stale temporary files. A directory is deleted only if it contains only files that its writer creates, and is
/// still unlocked.
pub(super) fn remove_temporary(
    layout: &Layout,
    plan: &Plan,
    fs: &dyn Fs,
    progress: &dyn Progress,
    outcome: &mut Outcome,
) {
    let mut tally = Tally::default();
    for file in &plan.temporary {
        if progress.is_cancelled() {
            outcome.interrupted = true;
            break;
        }
        match remove_file(layout, file, fs) {
            Ok(Removed::Yes) => {
                tally.temporary(file.len);
                outcome.temporary.push(file.clone());
            }
            Ok(Removed::Gone) => {}
            Err(error) => {
                let path = file.path.to_string_lossy().into_owned();
                outcome.failed.push((path, error));
            }
        }
    }
    outcome.done = outcome.done.plus(tally.totals());
}

fn remove_file(layout: &Layout, temp_file: &TempFile, fs: &dyn Fs) -> io::Result<Removed> {
    if temp_file.is_lock() {
        // It is the one that this run holds, and is removed with the lock.
        return Ok(Removed::Yes);
    }
    let Some(place) = layout.open_temp_file(temp_file)? else {
        return Ok(Removed::Gone);
    };
    let now = measure(
        &place.dir,
        place.name.as_bytes(),
        temp_file.is_dir,
        &temp_file.path,
    )?;
    if now != (temp_file.modified, temp_file.len) {
        // Its writer is active again: BuildKit resumes an aborted export.
        return Ok(Removed::Gone);
    }
    if temp_file.is_dir {
        let Some(inner) = &place.inner else {
            return Ok(Removed::Gone);
        };
        for file in layout.files_in(temp_file, inner)? {
            if !crate::layout::temp_files::inside(&place.name, &file) {
                return Err(io::Error::other(format!(
                    "it has `{file}`, which its writer does not create"
                )));
            }
            fs.remove_file(inner.as_fd(), &file)?;
        }
    }
    match temp_file.is_dir {
        true => fs.remove_empty_dir(place.dir.as_fd(), &place.name),
        false => fs.remove_file(place.dir.as_fd(), &place.name),
    }
}
