//! Progress reporting and cancellation.

use std::path::Path;

/// A part of the work whose progress can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Names of blobs are listed.
    Listing,
    /// Documents are read and followed.
    Reading,
    /// Orphans are inspected: they may be referrers that no entry lists.
    ScanningOrphans,
    /// Files are deleted.
    Sweeping,
    /// Blobs are read in full and compared with their digests.
    Hashing,
    /// An archive is read.
    Unpacking,
    /// A new archive is written.
    Packing,
}

/// The extent of a part of the work, as far as it is known at its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Total {
    /// Number of items.
    pub items: Option<u64>,
    /// Number of bytes.
    pub bytes: Option<u64>,
}

impl Total {
    /// Returns an extent of N items.
    #[must_use]
    pub fn of(items: usize) -> Self {
        Self {
            items: Some(items as u64),
            bytes: None,
        }
    }

    /// Adds the total number of bytes of the items.
    #[must_use]
    pub fn with_bytes(self, bytes: u64) -> Self {
        let bytes = Some(bytes);
        Self { bytes, ..self }
    }
}

/// Receives progress, and cancels a run. All methods do nothing by default. They are called from several threads at once,
/// except [`begin`](Self::begin) and [`finish`](Self::finish): at most one phase is active at a time.
pub trait Progress: Sync {
    /// A phase begins.
    fn begin(&self, phase: Phase, total: Total) {
        let _ = (phase, total);
    }

    /// Some items of the current phase are done.
    fn advance(&self, items: u64, bytes: u64) {
        let _ = (items, bytes);
    }

    /// A phase ends, whether its work was done, cancelled or failed. Every `begin` has its `finish`.
    fn finish(&self, phase: Phase) {
        let _ = phase;
    }

    /// A layout changed while it was planned, and is read again.
    fn changed(&self, layout: &Path) {
        let _ = layout;
    }

    /// A layout is locked, `by` describes the holder, and the run waits for it. Called once for each wait that is not short.
    fn waiting(&self, layout: &Path, by: &str) {
        let _ = (layout, by);
    }

    /// A file of another program has a temporary name, because a run was killed while it was replacing that file. It is put
    /// back before anything is changed.
    fn parked(&self, file: &Path) {
        let _ = file;
    }

    /// A layout lacks blobs that it references and that are in its trash. A run restores those that are needed before
    /// anything else; a plan alone does not show this.
    fn lacks_trashed(&self, layout: &Path) {
        let _ = layout;
    }

    /// A run in the trash of a shared store names this layout, which does not exist, or has blobs of its own. Blobs that it references
    /// are not restored before the trash is emptied.
    fn left_store(&self, layout: &Path) {
        let _ = layout;
    }

    /// Returns `true` if the run is cancelled; it then stops at the next file.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// A phase that has begun. It ends when this is dropped.
#[must_use = "the phase ends at once"]
pub(crate) struct Running<'a> {
    progress: &'a dyn Progress,
    phase: Phase,
}

impl<'a> Running<'a> {
    /// Begins a phase.
    pub(crate) fn begin(progress: &'a dyn Progress, phase: Phase, total: Total) -> Self {
        progress.begin(phase, total);
        Self { progress, phase }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.progress.finish(self.phase);
    }
}

/// Shows no progress and never cancels a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
