//! Plans the sweep of everything that is not live.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::fs::{FileStat, Fs};
use crate::graph::{FileTable, FileTables, Graph, LiveSet};
use crate::layout::temp_files::TempName;
use crate::layout::{BlobId, BlobList, Layout, TempFile};
use crate::model::inventory::{Files, stat};
use crate::model::snapshot::Snapshot;

use super::{Deletions, KeepReason, Kept, Plan, relisted};

/// The options of a sweep. There is no default: the caller must choose how long recent files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepOptions {
    /// The current time, in nanoseconds since 1970.
    pub(crate) now: i128,
    /// When reading the layout began, by the system clock, in nanoseconds since 1970.
    pub(crate) started: i128,
    /// The minimum age of a writer's temporary file to delete, in nanoseconds.
    pub(crate) temp_age: i128,
}

impl SweepOptions {
    /// Returns options for a run that began at `started` by the system clock. `now` may be another time, to evaluate age
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

/// When the files of reached blobs are inspected.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Known<'a> {
    /// All of them were inspected since the layout was read.
    All(&'a Files),
    /// None was inspected: those that are deleted are inspected now.
    Nothing(&'a dyn Fs),
}

/// Plans the sweep of everything that is not live: blobs that no root reaches, and blobs that only removed roots reference.
///
/// A blob that a command releases by removing roots is never in flight itself, but is kept while something in flight
/// references it. Not public: with a live set that was marked for another removal, listed blobs would be deleted.
pub(crate) fn sweep(
    snapshot: &Snapshot,
    live: &LiveSet,
    files: Known<'_>,
    options: &SweepOptions,
) -> Plan {
    let Snapshot { layout, graph, .. } = snapshot;
    let mut sweep: Vec<BlobId> = Vec::new();
    let mut others = FileTable::default();
    let mut kept = Vec::new();
    let mut unread = Vec::new();
    let mut orphans = graph.orphans().peekable();
    for id in graph.blobs().ids() {
        // Orphans are in the order of the numbers.
        let orphan = orphans.next_if(|orphan| orphan.id == id);
        if live.contains(id) {
            continue;
        }
        let file = match orphan {
            Some(orphan) => orphan.file,
            None if graph.is_rooted(id) => match files {
                Known::Nothing(fs) => {
                    let file = stat(layout, graph, id, fs);
                    others.push(id, file);
                    file
                }
                Known::All(files) => files.get(id),
            },
            // It was deleted concurrently, or is no longer a file.
            None => continue,
        };
        match judge(graph, id, file) {
            None => {
                sweep.push(id);
                if let Some(why) = graph.damage(id) {
                    unread.push((graph.digest(id).clone(), why.into()));
                }
            }
            Some(keep) => kept.push(keep),
        }
    }
    let tables = match files {
        Known::Nothing(_) => FileTables::new(Arc::clone(graph.orphan_files()), Arc::new(others)),
        Known::All(files) => files.tables().clone(),
    };
    let sweep = Deletions::among(tables, sweep);
    Plan {
        unread,
        leaves_orphans: kept.iter().any(|kept| !graph.is_rooted(kept.id)),
        ..plan_of(snapshot, live, sweep, kept, options)
    }
}

/// Like [`sweep`], if every root is kept and only orphans are deleted.
pub(super) fn sweep_orphans(snapshot: &Snapshot, live: &LiveSet, options: &SweepOptions) -> Plan {
    let graph = &snapshot.graph;
    let mut kept = Vec::new();
    let orphans = graph.orphans().filter(|orphan| !live.contains(orphan.id));
    let deleted = orphans.filter_map(|orphan| match judge(graph, orphan.id, orphan.file) {
        None => Some(orphan.id),
        Some(keep) => {
            kept.push(keep);
            None
        }
    });
    let files = FileTables::new(Arc::clone(graph.orphan_files()), Arc::default());
    let sweep = Deletions::among(files, deleted);
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

/// Returns why a blob that is not live is kept; `None` if it is deleted.
fn judge(graph: &Graph, id: BlobId, file: Option<FileStat>) -> Option<Kept> {
    let keep = |len, because| Some(Kept { id, len, because });
    match (file, graph.in_flight(id)) {
        (Some(file), _) if graph.protection().is_none() => keep(file.len, KeepReason::Unprotected),
        (None, _) => keep(0, KeepReason::Unreadable),
        (Some(file), Some(flight)) => keep(file.len, KeepReason::of(flight, &file)),
        (Some(_), None) => None,
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
