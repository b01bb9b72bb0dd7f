//! Replaces missing or damaged blobs with intact ones from elsewhere.
//!
//! *Promise*: a blob is put in place only after it was read in full and matched its digest. Nothing else in a source is
//! changed, and nothing in the layout that is not damaged.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{ArchiveProblem, Error, Result};
use crate::execute::{Repaired, Restored, blob_dir, cure_locked, needs_cure};
use crate::fs::{Disk, Fs as _, Links, open_file};
use crate::layout::Layout;
use crate::layout::lock::Locked;
use crate::oci::Digest;
use crate::progress::Progress;

use super::journal::{Change, ChangeResult, Journal, record};
use super::locks::{lock_all, lock_store};

/// Moves referenced and missing blobs back from the trash.
///
/// # Errors
/// Those of locking, reading and moving.
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
    record(
        journal,
        (&paths, &Change::Restore(&missing)),
        || cure_locked(&locked, &Disk),
        |restored| ChangeResult::Restored(restored),
    )
}

/// Replaces these blobs with copies from the trash, or else from one of the sources: layouts, or directories like `blobs`. A
/// blob that no source has intact is not changed.
///
/// # Errors
/// Those of locking and writing, and [`Error::Interrupted`]. Blobs that were replaced before are intact.
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

/// Replaces a blob from the first place that has it intact.
fn replace(layout: &Layout, digest: &Digest, places: &[PathBuf]) -> Result<Option<PathBuf>> {
    let name = digest.blob_name();
    for place in places {
        let path = place.join(name.directory()).join(name.file());
        // A blob that cannot be opened there may be available elsewhere.
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
