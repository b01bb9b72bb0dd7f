//! Replacing blobs that are missing or damaged by whole ones from elsewhere.
//!
//! *Promise*: nothing is put in place that has not been read in full and has its digest. Whatever else is in a source is left
//! alone, and so is everything in the layout that is not damaged.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{ArchiveProblem, Error, Result};
use crate::execute::{Repaired, Restored, blob_dir, needs_cure};
use crate::fs::{Disk, Fs as _, Links, open_file};
use crate::layout::Layout;
use crate::layout::lock::Locked;
use crate::oci::Digest;
use crate::progress::Progress;

use super::journal::{Change, ChangeResult, Journal, record};
use super::locks::{lock_all, lock_store};
use super::restore::restore;

/// Moves back from the trash what is referenced and missing.
///
/// # Errors
/// What locking, reading and moving say.
pub fn restore_missing(
    layout: &Layout,
    wait: Duration,
    (journal, progress): (Option<&dyn Journal>, &dyn Progress),
) -> Result<Vec<Restored>> {
    layout.refuse_shared_blobs()?;
    layout.refuse_packed(ArchiveProblem::NoTrash)?;
    cure_if_needed(std::slice::from_ref(layout), wait, (journal, progress))
}

/// Locks layouts and moves blobs back, if there are any to move.
fn cure_if_needed(
    layouts: &[Layout],
    wait: Duration,
    (journal, progress): (Option<&dyn Journal>, &dyn Progress),
) -> Result<Vec<Restored>> {
    let all: Vec<&Layout> = layouts.iter().collect();
    let missing: BTreeSet<Digest> = needs_cure(&all)?.into_keys().collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let locked = lock_all(layouts, wait, progress)?;
    let _store = lock_store(layouts, wait, progress)?;
    let paths: Vec<&Path> = layouts.iter().map(Layout::path).collect();
    restore(journal, &paths, &locked, &missing)
}

/// Replaces these blobs by copies from the trash, or else from one of the sources: layouts, or directories like `blobs`.
/// Those that no source has in full are left as they are.
///
/// # Errors
/// What locking and writing say, and [`Error::Interrupted`]. What was replaced until then is whole.
pub fn repair(
    layout: &Layout,
    damaged: &[Digest],
    sources: &[PathBuf],
    wait: Duration,
    (journal, progress): (Option<&dyn Journal>, &dyn Progress),
) -> Result<Vec<Repaired>> {
    layout.refuse_shared_blobs()?;
    layout.refuse_packed(ArchiveProblem::Unsupported("an archive cannot be repaired"))?;
    if damaged.is_empty() {
        return Ok(Vec::new());
    }
    let locked = Locked::acquire(layout, wait, progress)?;
    let layout = locked.layout();
    let _store = lock_store(std::slice::from_ref(layout), wait, progress)?;
    let trash = layout.trash();
    let names = trash.names()?.into_iter().rev();
    let trash = names.map(|name| trash.path().join(name));
    let places = sources
        .iter()
        .flat_map(|source| [source.join("blobs"), source.clone()]);
    let places: Vec<PathBuf> = trash.chain(places).collect();
    let replace_all = || {
        let mut repaired = Vec::new();
        for digest in damaged {
            if progress.is_cancelled() {
                return Err(Error::Interrupted);
            }
            if let Some(from) = replace(layout, digest, &places)? {
                repaired.push(Repaired {
                    digest: digest.clone(),
                    from: Some(from),
                });
            }
        }
        Ok(repaired)
    };
    record(
        journal,
        (&[layout.path()], &Change::Repair(damaged)),
        replace_all,
        |repaired| ChangeResult::Repaired(repaired),
    )
}

/// Replaces a blob from the first place that has it in full.
fn replace(layout: &Layout, digest: &Digest, places: &[PathBuf]) -> Result<Option<PathBuf>> {
    let name = digest.blob_name();
    for place in places {
        let path = place.join(name.directory()).join(name.file());
        // What cannot be opened there may be had elsewhere.
        let Ok(source) = open_file(rustix::fs::CWD, &*path, Links::Follow) else {
            continue;
        };
        if !File::from(source.try_clone().map_err(Error::read(&path))?)
            .metadata()
            .is_ok_and(|found| found.is_file())
        {
            continue;
        }
        if put(layout, digest, &source)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn put(layout: &Layout, digest: &Digest, source: &OwnedFd) -> Result<bool> {
    let path = layout.blob_path(digest);
    let Some(algorithm) = digest.algorithm() else {
        return Ok(false);
    };
    let dir = blob_dir(layout, algorithm, &Disk).map_err(Error::write(&path))?;
    match Disk.copy_blob(source.as_fd(), dir.as_fd(), digest) {
        Ok(is_copied) => Ok(is_copied),
        // The source is damaged as well.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
            Ok(false)
        }
        Err(error) => Err(Error::write(path)(error)),
    }
}
