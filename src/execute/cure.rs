//! Putting back from the trash what is referenced and missing.
//!
//! Most writers take no lock, and do not write a blob again that exists. One that lists an old orphan in the moment in which
//! it goes has an image without a blob. *Promise*: what goes into the trash is put back when it is listed, by the same run if
//! it was listed meanwhile, or by the next one.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use jiff::Timestamp;

use super::trash::{make, open_place};
use crate::error::{Error, Result};
use crate::fs::{Fs, Renamed};
use crate::graph::reachability::Reachability;
use crate::graph::{BlobSet, Graph};
use crate::layout::lock::Locked;
use crate::layout::{Layout, State};
use crate::oci::{Algorithm, Digest};

/// How often what was put back is looked into for more that is missing: a document can lead to another one.
const MAX_ROUNDS: usize = 16;

/// A blob that was put back from the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The blob.
    pub digest: Digest,
    /// Its bytes.
    pub len: u64,
    /// An image that needs it, if one does.
    pub needed_by: Option<String>,
}

/// Puts back what is referenced, missing and in the trash. `only`: the run to look into; else those are left out that took
/// blobs which are still referenced, on purpose.
///
/// # Errors
/// [`Error::Read`] and [`Error::Write`]. What was put back until then is there.
pub(super) fn cure(layout: &Layout, only: Option<&str>, fs: &dyn Fs) -> Result<Vec<Restored>> {
    let mut places = places(layout, only)?;
    let mut restored = Vec::new();
    for _ in 0..MAX_ROUNDS {
        if places.is_empty() {
            break;
        }
        let state = layout.read_state()?;
        let needed = needed(layout, &state, &places)?;
        if needed.is_empty() {
            break;
        }
        for (digest, needed_by) in needed {
            let Some((run, len)) = places.remove(&digest) else {
                continue;
            };
            if move_back(layout, &run, &digest, fs)? == Renamed::Yes {
                restored.push(Restored {
                    digest,
                    len,
                    needed_by: Some(needed_by),
                });
            }
        }
        sync_blobs(layout, fs)?;
    }
    Ok(restored)
}

/// Returns which run has each of the blobs in the trash, the latest one, and their sizes.
fn places(layout: &Layout, only: Option<&str>) -> Result<BTreeMap<Digest, (String, u64)>> {
    let mut places = BTreeMap::new();
    for run in layout.trashed_runs()? {
        let is_sparse = matches!(&run.record, Ok(Some(record)) if record.sparse);
        let is_meant = only.map_or(!is_sparse, |only| run.name == only);
        for (digest, file) in run.blobs.into_iter().filter(|_| is_meant) {
            places.insert(digest, (run.name.clone(), file.len));
        }
    }
    Ok(places)
}

/// Returns `true` if something is referenced, missing and in the trash. Changes nothing, so that a layout that cannot be
/// written is no error.
///
/// # Errors
/// [`Error::Read`].
pub(crate) fn needs_cure(layout: &Layout) -> Result<bool> {
    let places = places(layout, None)?;
    if places.is_empty() {
        return Ok(false);
    }
    let state = layout.read_state()?;
    Ok(!needed(layout, &state, &places)?.is_empty())
}

/// Does so in a locked layout, whichever run has it.
///
/// # Errors
/// [`Error::Read`] and [`Error::Write`].
pub(crate) fn cure_locked(locked: &Locked<'_>, fs: &dyn Fs) -> Result<Vec<Restored>> {
    cure(locked.layout(), None, fs)
}

/// Returns which of these blobs are referenced and missing, each with an image that needs it.
fn needed(
    layout: &Layout,
    state: &State,
    places: &BTreeMap<Digest, (String, u64)>,
) -> Result<Vec<(Digest, String)>> {
    let blobs = Arc::new(layout.list()?);
    let graph = Graph::read(
        layout,
        state,
        blobs,
        Timestamp::UNIX_EPOCH,
        &crate::progress::Silent,
    )?;
    let missing: Vec<_> = places
        .keys()
        .filter_map(|digest| Some((digest, graph.id(digest)?)))
        .filter(|(_, id)| !graph.is_present(*id))
        .collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let mut wanted = BlobSet::default();
    for (_, id) in &missing {
        wanted.insert(*id);
    }
    // One walk for all of them: a trash can hold as many blobs as a layout.
    let reachability = Reachability::of(&graph, state, &wanted);
    let mut labels = reachability.labels(|_| true);
    let needed = missing.into_iter().filter_map(|(digest, id)| {
        let label = labels.of(id).first().cloned()?;
        Some((digest.clone(), label))
    });
    Ok(needed.collect())
}

/// Moves a blob from the trash to its place.
pub(super) fn move_back(
    layout: &Layout,
    run: &str,
    digest: &Digest,
    fs: &dyn Fs,
) -> Result<Renamed> {
    let path = layout.blob_path(digest);
    let Some(name) = digest.deletable_name() else {
        return Ok(Renamed::Gone);
    };
    let Some(from) = open_place(layout, run, digest)? else {
        return Ok(Renamed::Gone);
    };
    let to = blob_dir(layout, name.algorithm(), fs).map_err(Error::write(&path))?;
    let moved = fs
        .move_blob(from.as_fd(), to.as_fd(), &name)
        .map_err(Error::write(&path))?;
    if layout.blob_dirs().algorithm(name.algorithm()).is_none() {
        // It is not among those that are flushed to disk together.
        fs.sync_dir(to.as_fd()).map_err(Error::write(&path))?;
    }
    Ok(moved)
}

/// Opens the directory of an algorithm's blobs, and makes it where the layout had none when it was opened.
pub(crate) fn blob_dir(layout: &Layout, algorithm: Algorithm, fs: &dyn Fs) -> io::Result<OwnedFd> {
    if let Some(dir) = layout.blob_dirs().algorithm(algorithm) {
        return dir.try_clone();
    }
    let root = layout.blob_dirs().root.as_ref();
    let root = root.ok_or(io::ErrorKind::NotFound)?;
    make(root, algorithm.name(), fs)
}

/// Brings the names of blobs to the disk: what lists them comes later.
pub(super) fn sync_blobs(layout: &Layout, fs: &dyn Fs) -> Result<()> {
    for (_, dir) in &layout.blob_dirs().algorithms {
        fs.sync_dir(dir.as_fd())
            .map_err(Error::write(layout.path().join("blobs")))?;
    }
    Ok(())
}
