//! What the library tells while it works, and how it is asked to stop.

use std::path::Path;

/// A part of the work whose progress can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Names of blobs are listed.
    Listing,
    /// Documents are read and followed.
    Reading,
    /// Orphans are looked into: they may be referrers that no entry lists.
    Sniffing,
    /// Files are deleted.
    Sweeping,
    /// Blobs are read in full and compared with their digests.
    Hashing,
}

/// Gets told about progress, and says when to stop. Called from several threads at once.
pub trait Progress: Sync {
    /// A part of the work begins; `total` items, where that is known.
    fn begin(&self, phase: Phase, total: Option<u64>) {
        let _ = (phase, total);
    }

    /// A part of the work begins of which the bytes are known as well.
    fn begin_bytes(&self, phase: Phase, total: u64, bytes: u64) {
        let _ = bytes;
        self.begin(phase, Some(total));
    }

    /// Some items are done.
    fn advance(&self, items: u64, bytes: u64) {
        let _ = (items, bytes);
    }

    /// A layout changed while it was planned, and is read again.
    fn changed(&self, layout: &Path) {
        let _ = layout;
    }

    /// A file of another program lies under a temporary name, since a run was killed while it replaced that file. Before
    /// anything is changed it is put back.
    fn parked(&self, file: &Path) {
        let _ = file;
    }

    /// Returns `true` if the run is cancelled: it stops at the next file.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Progress that is not shown, and a run that is never cancelled.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
