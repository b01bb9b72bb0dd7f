//! Deleting temporary files that writers left behind.

use std::io::{self};
use std::os::fd::AsFd;

use crate::fs::{Fs, Removed};
use crate::layout::blob_list::measure;
use crate::layout::{Layout, TempFile};
use crate::plan::{Plan, Tally};
use crate::progress::Progress;

use super::Outcome;

/// Deletes stale temporary files. A directory goes only if it holds nothing but what its writer
/// puts there, and only when it is still unlocked.
pub(super) fn remove_temporary(
    layout: &Layout,
    plan: &Plan,
    fs: &dyn Fs,
    progress: &dyn Progress,
    outcome: &mut Outcome,
) {
    let mut tally = Tally::default();
    for stray in &plan.temporary {
        if progress.is_cancelled() {
            outcome.interrupted = true;
            break;
        }
        match remove_stray(layout, stray, fs) {
            Ok(Removed::Yes) => {
                tally.temporary(stray.len);
                outcome.temporary.push(stray.clone());
            }
            Ok(Removed::Gone) => {}
            Err(error) => outcome
                .failed
                .push((stray.path.to_string_lossy().into_owned(), error)),
        }
    }
    outcome.done = outcome.done.plus(tally.totals());
}

fn remove_stray(layout: &Layout, stray: &TempFile, fs: &dyn Fs) -> io::Result<Removed> {
    if stray.is_lock() {
        // It is the one that this run holds, and goes with it.
        return Ok(Removed::Yes);
    }
    let Some(place) = layout.open_stray(stray)? else {
        return Ok(Removed::Gone);
    };
    let now = measure(&place.dir, place.name.as_bytes(), stray.is_dir, &stray.path)?;
    if now != (stray.modified, stray.len) {
        // Its writer came back: BuildKit goes on where an export of it was broken off.
        return Ok(Removed::Gone);
    }
    if stray.is_dir {
        let Some(inner) = &place.inner else {
            return Ok(Removed::Gone);
        };
        for file in layout.files_in(stray, inner)? {
            if !crate::layout::temp_files::inside(&place.name, &file) {
                return Err(io::Error::other(format!(
                    "it holds `{file}`, which its writer does not make"
                )));
            }
            fs.remove_temporary(inner.as_fd(), &file, false)?;
        }
    }
    fs.remove_temporary(place.dir.as_fd(), &place.name, stray.is_dir)
}
