//! Restores blobs from the trash that locked layouts reference and lack.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::execute::{Restored, cure_locked, needs_cure};
use crate::fs::Disk;
use crate::layout::Layout;
use crate::layout::lock::Locked;
use crate::oci::Digest;
use crate::progress::Progress;

use super::journal::{Change, ChangeResult, Journal, record};
use super::locks::lock_store;

/// Restores blobs that locked layouts lack. Their store is locked as well. `missing` are the known ones; the journal names `paths`.
///
/// # Errors
/// [`Error::Read`](crate::Error::Read) and [`Error::Write`](crate::Error::Write), and those of the journal.
pub(super) fn restore(
    journal: Option<&dyn Journal>,
    paths: &[&Path],
    locked: &[Locked<'_>],
    missing: &BTreeSet<Digest>,
) -> Result<Vec<Restored>> {
    record(
        journal,
        (paths, &Change::Restore(missing)),
        || cure_locked(locked, &Disk),
        |restored| ChangeResult::Restored(restored),
    )
}

/// Locks the store of locked layouts, and restores the blobs that they lack and that are in the trash.
///
/// # Errors
/// Those of [`restore`] and of locking.
pub(super) fn restore_needed(
    journal: Option<&dyn Journal>,
    (layouts, locked): (&[Layout], &[Locked<'_>]),
    wait: Duration,
    progress: &dyn Progress,
) -> Result<Vec<Restored>> {
    let all: Vec<&Layout> = layouts.iter().collect();
    let missing: BTreeSet<Digest> = needs_cure(&all)?.into_keys().collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    restore_in_store(journal, (layouts, locked), &missing, wait, progress)
}

/// Locks the store of locked layouts, and restores what is known to be missing.
///
/// # Errors
/// Those of [`restore`] and of locking.
pub(super) fn restore_in_store(
    journal: Option<&dyn Journal>,
    (layouts, locked): (&[Layout], &[Locked<'_>]),
    missing: &BTreeSet<Digest>,
    wait: Duration,
    progress: &dyn Progress,
) -> Result<Vec<Restored>> {
    let _store = lock_store(layouts, wait, progress)?;
    let paths: Vec<&Path> = layouts.iter().map(Layout::path).collect();
    restore(journal, &paths, locked, missing)
}
