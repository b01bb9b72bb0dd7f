//! `rm` from one layout of a group.

use crate::error::Error;
use crate::fs::Disk;
use crate::model::entries::list_entries;
use crate::model::images::list_images;
use crate::plan::{self, Conflict, RemoveOptions, SelectError, Selector};
use crate::progress::Progress;

use super::{Finished, LayoutGroup, Mode, Protection, run_in_first};

/// Why nothing is removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// An argument names no image, or several.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// An image is held, has several names, or is used by another one.
    #[error("{0}")]
    Conflict(Conflict),
    /// The layout cannot be read, planned or written.
    #[error(transparent)]
    Layout(#[from] Error),
}

/// Removes images by name, ID or pattern from the first layout of a group, all or none of them, and deletes blobs that no
/// layout of the group then references. The notes are the removed names.
///
/// # Errors
/// [`RemoveError`]. Nothing is changed in that case.
pub fn remove(
    group: &LayoutGroup,
    protection: &Protection,
    names: &[&str],
    options: &RemoveOptions,
    mode: Mode,
    progress: &dyn Progress,
) -> Result<Finished<Vec<String>>, RemoveError> {
    let missing = options.missing;
    run_in_first(group, protection, missing, mode, progress, |snapshot| {
        let sweep = &protection.sweep;
        let entries = list_entries(snapshot);
        let images = list_images(snapshot, protection.now);
        let selector = Selector::new(snapshot, &entries, options.force);
        let picks = names.iter().map(|name| selector.pick(name));
        let picks = picks.collect::<Result<Vec<_>, _>>()?;
        let removal = plan::remove(snapshot, &images, &entries, &picks, options, sweep, &Disk)?;
        match removal.conflicts.into_iter().next() {
            Some(conflict) => Err(RemoveError::Conflict(conflict)),
            None => Ok((removal.plan, removal.untagged)),
        }
    })
}
