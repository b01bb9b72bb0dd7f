//! `prune` over a group of layouts.

use crate::fs::Disk;
use crate::model::entries::list_entries;
use crate::model::images::list_images;
use crate::plan::{self, PruneError, PruneOptions, Verdict};
use crate::progress::Progress;

use super::{Finished, LayoutGroup, Mode, Protection, run};

/// Removes the images that the options select, and deletes blobs that are then unreferenced. The notes are, for each layout,
/// the decision on each image and the reason.
///
/// # Errors
/// Those of [`plan::prune`](plan::prune()) and [`run`](super::run()).
pub fn prune(
    group: &LayoutGroup,
    protection: &Protection,
    options: &PruneOptions<'_>,
    mode: Mode,
    progress: &dyn Progress,
) -> Result<Finished<Vec<Verdict>>, PruneError> {
    run(group, protection, mode, progress, |snapshot| {
        let images = list_images(snapshot, protection.now);
        let entries = list_entries(snapshot);
        let sweep = &protection.sweep;
        let pruned = plan::prune(snapshot, &images, &entries, options, sweep, &Disk)?;
        Ok((pruned.removal.plan, pruned.verdicts))
    })
}
