//! `gc`: everything unreferenced.

use std::cell::Cell;

use jiff::Timestamp;

use crate::error::Result;
use crate::fs::Fs;
use crate::graph::{
    EmptyIndex, GracePolicy, LiveSet, MarkOptions, MissingDocuments, PlannedChange,
};
use crate::layout::{Layout, State};
use crate::model::snapshot::Snapshot;
use crate::oci::{Digest, entry_names};
use crate::progress::Progress;

use super::sweep::{Known, sweep, sweep_orphans};
use super::{Plan, SweepOptions, dangling_images};

/// Plans the sweep of everything that a layout does not reference.
///
/// Orphans newer than the grace period [of the snapshot](Snapshot::protect) are kept, and what they reference.
///
/// # Errors
/// Those of [`Graph::mark`](crate::graph::Graph::mark), and [`Error::SharedBlobs`](crate::Error::SharedBlobs) if other
/// layouts may use the blobs.
pub fn sweep_all(
    snapshot: &Snapshot,
    missing: MissingDocuments,
    empty: EmptyIndex,
    fs: &dyn Fs,
    options: &SweepOptions,
) -> Result<Plan> {
    snapshot.layout.refuse_shared_blobs()?;
    let live = live(snapshot, missing, empty)?;
    Ok(sweep(snapshot, &live, Known::Nothing(fs), options))
}

/// A layout that is read only for a sweep, with less memory: documents are dropped once their references were followed.
#[derive(Debug)]
pub struct SweepSnapshot {
    snapshot: Snapshot,
    counts_dangling: bool,
}

/// The largest `index.json` whose dangling images are counted, in bytes: some thousand entries. Counting keeps documents in
/// memory, which takes too much for a large layout.
const MAX_COUNTED_BYTES: usize = 1 << 20;

/// Returns `true` if `index.json` is small, and has entries with a name and entries without one.
fn could_dangle(state: &State) -> bool {
    let index = &state.index;
    if index.text().len() > MAX_COUNTED_BYTES {
        return false;
    }
    let is_named = |entry| !entry_names(&index.details(entry)).is_empty();
    let mut entries = index.entries().iter();
    entries.clone().any(is_named) && !entries.all(is_named)
}

impl SweepSnapshot {
    /// Reads an open layout, with a grace period.
    ///
    /// # Errors
    /// Those of [`Snapshot::of`].
    pub fn of(
        layout: Layout,
        now: Timestamp,
        in_flight: GracePolicy,
        progress: &dyn Progress,
    ) -> Result<Self> {
        Self::read(layout, now, in_flight, progress, false)
    }

    /// Like [`of`](Self::of); with `counts_dangling`, [`dangling_images`](Self::dangling_images) counts those of a small
    /// layout.
    pub(crate) fn read(
        layout: Layout,
        now: Timestamp,
        in_flight: GracePolicy,
        progress: &dyn Progress,
        counts_dangling: bool,
    ) -> Result<Self> {
        // Finding dangling images needs documents.
        let needed = Cell::new(false);
        let snapshot = Snapshot::of_to_sweep(layout, now, in_flight, progress, |state| {
            needed.set(counts_dangling && could_dangle(state));
            needed.get()
        })?;
        Ok(Self {
            counts_dangling: needed.get(),
            snapshot,
        })
    }

    /// Returns the number of dangling images; 0 if they are not counted.
    pub(crate) fn dangling_images(&self) -> usize {
        match self.counts_dangling {
            true => dangling_images(&self.snapshot),
            false => 0,
        }
    }

    /// Returns the digests of blobs that the layout references and lacks.
    pub(crate) fn missing(&self) -> impl Iterator<Item = Digest> {
        self.snapshot.graph.missing()
    }

    /// Plans the sweep of everything that the layout does not reference, like [`sweep_all`].
    ///
    /// # Errors
    /// Those of [`sweep_all`], but without the names of images.
    pub fn plan(
        self,
        missing: MissingDocuments,
        empty: EmptyIndex,
        options: &SweepOptions,
    ) -> Result<Plan> {
        let Self { mut snapshot, .. } = self;
        snapshot.layout.refuse_shared_blobs()?;
        let live = live(&snapshot, missing, empty)?;
        snapshot.forget_documents();
        Ok(sweep_orphans(&snapshot, &live, options))
    }
}

fn live(snapshot: &Snapshot, missing: MissingDocuments, empty: EmptyIndex) -> Result<LiveSet> {
    let everything = MarkOptions {
        keep: &|_| true,
        change: PlannedChange::none(),
        extra: &[],
        missing,
        empty,
    };
    snapshot
        .graph
        .mark(&snapshot.layout, &snapshot.state, &everything)
}
