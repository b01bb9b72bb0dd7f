//! Restores blobs from the trash that are referenced and missing.
//!
//! Most writers take no lock, and do not write a blob again that exists. One that lists an old orphan at the moment in which
//! it is deleted has an image without a blob. *Promise*: a blob that was moved into the trash is restored once it is listed,
//! by the same run if it was listed concurrently, or by the next one.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use jiff::Timestamp;

use super::trash::{make, open_blobs};
use crate::error::{Error, Result};
use crate::fs::{Fs, Renamed};
use crate::graph::reachability::Reachability;
use crate::graph::{BlobSet, EmptyIndex, Graph, MarkOptions, MissingDocuments, PlannedChange};
use crate::layout::lock::Locked;
use crate::layout::{BlobList, Layout, State};
use crate::oci::{Algorithm, Digest};
use crate::progress::Silent;

/// The maximum number of passes: a restored document can reference another missing one.
const MAX_ROUNDS: usize = 16;

/// A blob that was restored from the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The blob.
    pub digest: Digest,
    /// Its bytes.
    pub len: u64,
    /// An image that needs it, if one does.
    pub needed_by: Option<String>,
    /// The run in the trash that had it.
    pub run: String,
}

/// Restores blobs from the trash that are referenced and missing, in layouts over one store of blobs or in a single one.
/// `only` is the run to search; otherwise runs that intentionally removed referenced blobs are skipped.
///
/// # Errors
/// [`Error::Read`] and [`Error::Write`]. Blobs that were restored before are in place.
pub(super) fn cure(layouts: &[&Layout], only: Option<&str>, fs: &dyn Fs) -> Result<Vec<Restored>> {
    let mut restored = Vec::new();
    let Some(any) = layouts.first() else {
        return Ok(restored);
    };
    for _ in 0..MAX_ROUNDS {
        let needed = needed(layouts, only)?;
        let mut is_moved = false;
        for Needed {
            digest,
            by,
            run,
            len,
        } in needed
        {
            if move_back(any, &run, &digest, fs)? == Renamed::Yes {
                is_moved = true;
                restored.push(Restored {
                    digest,
                    len,
                    needed_by: Some(by),
                    run,
                });
            }
        }
        if !is_moved {
            break;
        }
        sync_blobs(any, fs)?;
    }
    Ok(restored)
}

/// Returns the blobs that are referenced, missing and in the trash, with the run that has each. Changes nothing, so a layout
/// that cannot be written is not an error.
///
/// # Errors
/// [`Error::Read`].
pub(crate) fn needs_cure(layouts: &[&Layout]) -> Result<BTreeMap<Digest, String>> {
    let needed = needed(layouts, None)?.into_iter();
    Ok(needed.map(|needed| (needed.digest, needed.run)).collect())
}

/// Returns `true` if one of these blobs is in the trash. Less is read than for [`needs_cure`].
///
/// # Errors
/// [`Error::Read`].
pub(crate) fn is_in_trash(layout: &Layout, missing: &BTreeSet<Digest>) -> Result<bool> {
    Ok(!missing.is_empty() && !layout.trash().find(missing, None)?.is_empty())
}

/// Restores blobs in locked layouts, from any run.
///
/// # Errors
/// [`Error::Read`] and [`Error::Write`].
pub(crate) fn cure_locked(locked: &[Locked<'_>], fs: &dyn Fs) -> Result<Vec<Restored>> {
    let layouts: Vec<&Layout> = locked.iter().map(Locked::layout).collect();
    cure(&layouts, None, fs)
}

/// Moves restored blobs back into their runs in the trash. Returns those that are in the trash afterwards.
///
/// A crash in between leaves some of them in the trash.
///
/// # Errors
/// [`Error::Read`] and [`Error::Write`].
pub(crate) fn return_to_trash<'a>(
    layout: &Layout,
    blobs: impl IntoIterator<Item = &'a Restored>,
    fs: &dyn Fs,
) -> Result<BTreeSet<Digest>> {
    let mut returned = BTreeSet::new();
    let mut opened: BTreeMap<(&str, Algorithm), Option<OwnedFd>> = BTreeMap::new();
    for Restored { digest, run, .. } in blobs {
        let Some(name) = digest.deletable_name() else {
            continue;
        };
        let Some(from) = layout.blob_dirs().algorithm(name.algorithm()) else {
            continue;
        };
        let to = match opened.entry((run, name.algorithm())) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => {
                place.insert(open_blobs(layout.trash(), run, name.algorithm())?)
            }
        };
        let Some(to) = to else { continue };
        let moved = fs
            .move_blob(from.as_fd(), to.as_fd(), &name)
            .map_err(|error| Error::write(layout.blob_path(digest))(error))?;
        if moved == Renamed::Yes {
            returned.insert(digest.clone());
        }
    }
    for to in opened.values().flatten() {
        fs.sync_dir(to.as_fd())
            .map_err(Error::write(layout.path().join("blobs")))?;
    }
    Ok(returned)
}

/// A blob that is referenced and missing and in the trash.
struct Needed {
    digest: Digest,
    /// An image that needs it.
    by: String,
    run: String,
    len: u64,
}

fn needed(layouts: &[&Layout], only: Option<&str>) -> Result<Vec<Needed>> {
    let Some(any) = layouts.first() else {
        return Ok(Vec::new());
    };
    let trash = any.trash();
    if trash.names()?.is_empty() {
        return Ok(Vec::new());
    }
    let blobs = Arc::new(any.list()?);
    let mut found: BTreeMap<Digest, Needed> = BTreeMap::new();
    for layout in layouts {
        let state = layout.read_state()?;
        let graph = read(layout, &state, &blobs)?;
        let missing: BTreeSet<Digest> = graph.missing().collect();
        let places = match missing.is_empty() {
            true => continue,
            false => trash.find(&missing, only)?,
        };
        let wanted: BlobSet = places.keys().filter_map(|it| graph.id(it)).collect();
        // One walk for all of them: a trash can hold as many blobs as a layout.
        let reachability = Reachability::of(&graph, &state, &wanted);
        let mut labels = reachability.labels(|_| true);
        for (digest, (run, len)) in places {
            let id = graph.id(&digest);
            let Some(by) = id.and_then(|id| labels.of(id).first().cloned()) else {
                continue;
            };
            found.entry(digest.clone()).or_insert(Needed {
                digest,
                by,
                run,
                len,
            });
        }
    }
    Ok(found.into_values().collect())
}

fn read(layout: &Layout, state: &State, blobs: &Arc<BlobList>) -> Result<Graph> {
    let now = Timestamp::UNIX_EPOCH;
    Graph::read(layout, state, Arc::clone(blobs), now, &Silent)
}

/// Refuses layouts that reference a damaged document: its references are unknown, and may be in the trash.
///
/// # Errors
/// [`Error::Incomplete`], and [`Error::Read`].
pub(crate) fn refuse_damaged(layouts: &[&Layout]) -> Result<()> {
    let Some(any) = layouts.first() else {
        return Ok(());
    };
    let blobs = Arc::new(any.list()?);
    for layout in layouts {
        let state = layout.read_state()?;
        let options = MarkOptions {
            keep: &|_| true,
            change: PlannedChange::none(),
            extra: &[],
            missing: MissingDocuments::Allow,
            empty: EmptyIndex::Allow,
        };
        read(layout, &state, &blobs)?.mark(layout, &state, &options)?;
    }
    Ok(())
}

/// The directories between which the blobs of one algorithm are moved back.
struct MoveDirs {
    from: OwnedFd,
    to: OwnedFd,
    /// `true` if the second one is not among those that are flushed to disk together.
    is_made: bool,
}

/// Opens the directories of an algorithm; `None` if the run has no blob of it.
fn move_dirs(
    layout: &Layout,
    run: &str,
    algorithm: Algorithm,
    fs: &dyn Fs,
) -> Result<Option<MoveDirs>> {
    let Some(from) = open_blobs(layout.trash(), run, algorithm)? else {
        return Ok(None);
    };
    let path = layout.path().join("blobs").join(algorithm.name());
    let to = blob_dir(layout, algorithm, fs).map_err(Error::write(path))?;
    let is_made = layout.blob_dirs().algorithm(algorithm).is_none();
    Ok(Some(MoveDirs { from, to, is_made }))
}

/// Moves a blob from the trash to its place.
///
/// # Errors
/// [`Error::Read`] and [`Error::Write`].
pub(super) fn move_back(
    layout: &Layout,
    run: &str,
    digest: &Digest,
    fs: &dyn Fs,
) -> Result<Renamed> {
    let mut moved = Renamed::Gone;
    move_all_back(layout, run, [digest], fs, |_, result| {
        moved = result;
        Ok(())
    })?;
    Ok(moved)
}

/// Moves blobs from the trash to their places, and reports each result. The directories are opened once, so undoing a run
/// costs little more than the renames.
///
/// # Errors
/// [`Error::Read`] and [`Error::Write`], and those of `report`. Blobs that were moved before are in place.
pub(super) fn move_all_back<'a>(
    layout: &Layout,
    run: &str,
    digests: impl IntoIterator<Item = &'a Digest>,
    fs: &dyn Fs,
    mut report: impl FnMut(&Digest, Renamed) -> Result<()>,
) -> Result<()> {
    let mut opened: BTreeMap<Algorithm, Option<MoveDirs>> = BTreeMap::new();
    for digest in digests {
        let mut moved = Renamed::Gone;
        if let Some(name) = digest.deletable_name() {
            let found = match opened.entry(name.algorithm()) {
                Entry::Occupied(found) => found.into_mut(),
                Entry::Vacant(place) => place.insert(move_dirs(layout, run, name.algorithm(), fs)?),
            };
            if let Some(MoveDirs { from, to, .. }) = found {
                moved = fs
                    .move_blob(from.as_fd(), to.as_fd(), &name)
                    .map_err(|error| Error::write(layout.blob_path(digest))(error))?;
            }
        }
        report(digest, moved)?;
    }
    for (algorithm, dirs) in opened {
        if let Some(MoveDirs {
            to, is_made: true, ..
        }) = dirs
        {
            let path = layout.path().join("blobs").join(algorithm.name());
            fs.sync_dir(to.as_fd()).map_err(Error::write(path))?;
        }
    }
    Ok(())
}

/// Opens the directory of an algorithm's blobs, and creates it if the layout had none when it was opened.
pub(super) fn blob_dir(layout: &Layout, algorithm: Algorithm, fs: &dyn Fs) -> io::Result<OwnedFd> {
    if let Some(dir) = layout.blob_dirs().algorithm(algorithm) {
        return dir.try_clone();
    }
    let root = layout.blob_dirs().root.as_ref();
    let root = root.ok_or(io::ErrorKind::NotFound)?;
    make(root, algorithm.name(), fs)
}

/// Flushes the names of blobs to disk before they are listed.
pub(super) fn sync_blobs(layout: &Layout, fs: &dyn Fs) -> Result<()> {
    for (_, dir) in &layout.blob_dirs().algorithms {
        fs.sync_dir(dir.as_fd())
            .map_err(Error::write(layout.path().join("blobs")))?;
    }
    Ok(())
}
