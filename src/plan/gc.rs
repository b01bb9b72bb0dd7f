//! `gc`: everything unreferenced.

use jiff::Timestamp;

use crate::error::Result;
use crate::fs::Fs;
use crate::graph::{Change, EmptyIndex, GracePolicy, LiveSet, MarkOptions, MissingDocuments};
use crate::layout::Layout;
use crate::model::snapshot::Snapshot;
use crate::oci::Digest;
use crate::progress::Progress;

use super::sweep::{sweep, sweep_orphans};
use super::{Plan, SweepOptions};

/// Plans the sweep of everything that a layout does not reference.
///
/// Orphans newer than the grace period [of the snapshot](Snapshot::protect) are kept, and what they reference.
///
/// # Errors
/// As [`Graph::mark`](crate::graph::Graph::mark), and [`Error::SharedBlobs`](crate::Error::SharedBlobs) if other layouts may
/// use the blobs.
pub fn sweep_all(
    snapshot: &Snapshot,
    missing: MissingDocuments,
    empty: EmptyIndex,
    fs: &dyn Fs,
    options: &SweepOptions,
) -> Result<Plan> {
    snapshot.layout.refuse_shared_blobs()?;
    let live = live(snapshot, missing, empty)?;
    Ok(sweep(snapshot, &live, fs, options))
}

/// A layout that is read only for a sweep, in less memory: the content of documents is dropped once they were followed.
#[derive(Debug)]
pub struct SweepSnapshot(Snapshot);

impl SweepSnapshot {
    /// Reads an open layout, with a grace period.
    ///
    /// # Errors
    /// As [`Snapshot::of`].
    pub fn of(
        layout: Layout,
        now: Timestamp,
        in_flight: GracePolicy,
        progress: &dyn Progress,
    ) -> Result<Self> {
        Snapshot::of_to_sweep(layout, now, in_flight, progress).map(Self)
    }

    /// Returns the digests of what the layout references and lacks.
    pub(crate) fn missing(&self) -> impl Iterator<Item = Digest> {
        self.0.graph.missing()
    }

    /// Plans the sweep of everything that the layout does not reference, as [`sweep_all`].
    ///
    /// # Errors
    /// As [`sweep_all`], but without the images that need a broken blob.
    pub fn plan(
        self,
        missing: MissingDocuments,
        empty: EmptyIndex,
        options: &SweepOptions,
    ) -> Result<Plan> {
        let Self(mut snapshot) = self;
        snapshot.layout.refuse_shared_blobs()?;
        let live = live(&snapshot, missing, empty)?;
        snapshot.forget_documents();
        Ok(sweep_orphans(&mut snapshot, &live, options))
    }
}

fn live(snapshot: &Snapshot, missing: MissingDocuments, empty: EmptyIndex) -> Result<LiveSet> {
    let everything = MarkOptions {
        keep: &|_| true,
        change: Change::none(),
        extra: &[],
        missing,
        empty,
    };
    snapshot
        .graph
        .mark(&snapshot.layout, &snapshot.state, &everything)
}
