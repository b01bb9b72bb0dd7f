//! Plans the sweep of everything that is not live.

use std::time::Duration;

use jiff::Timestamp;

use crate::fs::{FileStat, Fs};
use crate::graph::{Graph, LiveSet};
use crate::layout::temp_files::TempName;
use crate::layout::{BlobId, BlobList, Layout, TempFile};
use crate::model::inventory::stat;
use crate::model::snapshot::Snapshot;

use super::{Deletion, Deletions, KeepReason, Kept, Plan, relisted};

/// What to sweep. There is no default: the caller has to choose how long recent files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepOptions {
    /// The current time, in nanoseconds since 1970.
    pub(crate) now: i128,
    /// When reading the layout began, by the system's clock, in nanoseconds since 1970.
    pub(crate) started: i128,
    /// The minimum age of a writer's temporary file to delete, in nanoseconds.
    pub(crate) temp_age: i128,
}

impl SweepOptions {
    /// Returns options for a run that began at `started` by the system's clock. `now` may be another time, to evaluate age
    /// rules: a plan for a future time is not executed. `temp_age`: the minimum age of a writer's temporary file to delete.
    #[must_use]
    pub fn new(now: Timestamp, started: Timestamp, temp_age: Duration) -> Self {
        Self {
            now: now.as_nanosecond(),
            started: started.as_nanosecond(),
            temp_age: i128::try_from(temp_age.as_nanos()).unwrap_or(i128::MAX),
        }
    }
}

/// Plans the sweep of everything that is not live: what no root reaches, and what only roots
/// reference that the caller removes.
///
/// What a command releases by removing roots is never in flight itself, but is kept while something in flight
/// references it. Not public: with a live set that was marked for another removal, listed blobs would be deleted.
pub(crate) fn sweep(
    snapshot: &Snapshot,
    live: &LiveSet,
    fs: &dyn Fs,
    options: &SweepOptions,
) -> Plan {
    let Snapshot { layout, graph, .. } = snapshot;
    let mut sweep = Deletions::default();
    let mut kept = Vec::new();
    let mut unread = Vec::new();
    let mut orphans = graph.orphans().peekable();
    let listed = BlobId::try_from(graph.blobs().len()).unwrap_or(BlobId::MAX);
    for id in 0..listed {
        // Orphans are in the order of the numbers.
        let orphan = orphans.next_if(|orphan| orphan.id == id);
        if live.contains(id) {
            continue;
        }
        let file = match orphan {
            Some(orphan) => orphan.file,
            None if graph.is_rooted(id) => stat(layout, graph, id, fs),
            // It was deleted concurrently, or is no longer a file.
            None => continue,
        };
        match judge(graph, id, file) {
            Ok(deletion) => {
                sweep.push(deletion);
                if let Some(why) = graph.damage(id) {
                    unread.push((graph.digest(id).clone(), why.into()));
                }
            }
            Err(keep) => kept.push(keep),
        }
    }
    Plan {
        unread,
        ..plan_of(snapshot, live, sweep, kept, options)
    }
}

/// As [`sweep`], if every root is kept and only orphans are deleted, for callers that do not use the snapshot afterwards:
/// the files of orphans are [moved](Graph::take_orphans) instead of copied.
pub(super) fn sweep_orphans(
    snapshot: &mut Snapshot,
    live: &LiveSet,
    options: &SweepOptions,
) -> Plan {
    let orphans = snapshot.graph.take_orphans();
    let graph = &snapshot.graph;
    let mut kept = Vec::new();
    let sweep = Deletions::among(orphans, |id, file| {
        !live.contains(id)
            && judge(graph, id, file)
                .map_err(|keep| kept.push(keep))
                .is_ok()
    });
    plan_of(snapshot, live, sweep, kept, options)
}

fn plan_of(
    snapshot: &Snapshot,
    live: &LiveSet,
    sweep: Deletions,
    kept: Vec<Kept>,
    options: &SweepOptions,
) -> Plan {
    let plan = Plan::empty(snapshot);
    let temporary = match snapshot.graph.protection() {
        Some(_) => stale_files(&snapshot.layout, snapshot.graph.blobs(), options),
        None => Vec::new(),
    };
    let mut latest_now = plan.latest_now;
    if !temporary.is_empty() {
        latest_now = latest_now.max(options.now);
    }
    Plan {
        sweep,
        kept,
        temporary,
        latest_now,
        relisted: relisted(snapshot, |id| live.contains(id)),
        ..plan
    }
}

/// Decides whether a blob that is not live is deleted.
fn judge(graph: &Graph, id: BlobId, file: Option<FileStat>) -> Result<Deletion, Kept> {
    let keep = |len, because| Kept { id, len, because };
    match (file, graph.in_flight(id)) {
        (Some(file), _) if graph.protection().is_none() => {
            Err(keep(file.len, KeepReason::Unprotected))
        }
        (None, _) => Err(keep(0, KeepReason::Unreadable)),
        (Some(file), Some(flight)) => Err(keep(file.len, KeepReason::of(flight, &file))),
        (Some(file), None) => Ok(Deletion { id, file }),
    }
}

/// Returns the stale temporary files of writers.
pub(crate) fn stale_files(
    layout: &Layout,
    blobs: &BlobList,
    options: &SweepOptions,
) -> Vec<TempFile> {
    let is_stale = |file: &&TempFile| {
        file.temp == Some(TempName::Unmistakable)
            && options.now - file.modified > options.temp_age
            && layout.is_removable(file)
    };
    blobs.temporary.iter().filter(is_stale).cloned().collect()
}
