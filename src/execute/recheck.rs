//! Detects changes that a writer without a lock made while a layout was swept.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::{ConcurrentChange, DeleteResult};
use crate::error::Result;
use crate::graph::Graph;
use crate::layout::change_detector::is_unchanged;
use crate::layout::{BlobId, Layout, State};
use crate::oci::Digest;
use crate::plan::Plan;
use crate::progress::Silent;

/// Reads the state again and returns the changes of a writer without a lock. `results` are those of the spare blobs and of
/// the others.
pub(super) fn detect_concurrent_change(
    layout: &Layout,
    base: &Digest,
    plan: &Plan,
    results: &[&[DeleteResult]; 2],
) -> ConcurrentChange {
    if is_unchanged(layout, base) {
        return ConcurrentChange::default();
    }
    let state = layout.read_state();
    if matches!(&state, Ok(state) if state.fingerprint() == base) {
        return ConcurrentChange::default();
    }
    let broken = state.and_then(|state| newly_broken(layout, &state, plan, results));
    ConcurrentChange {
        changed: true,
        broken: broken.unwrap_or_default(),
    }
}

/// Returns the images of a new state that reference blobs which this run deleted.
fn newly_broken(
    layout: &Layout,
    state: &State,
    plan: &Plan,
    results: &[&[DeleteResult]; 2],
) -> Result<Vec<String>> {
    let blobs = Arc::new(layout.list()?);
    let graph = Graph::read(layout, state, blobs, Timestamp::UNIX_EPOCH, &Silent)?;
    // Few of the deleted blobs are referenced, if any: each is looked up once, and not once per root.
    let lost: Vec<BlobId> = [&plan.spare, &plan.sweep]
        .into_iter()
        .zip(results)
        .flat_map(|(deletions, results)| deletions.iter().zip(*results))
        .filter(|(_, result)| matches!(result, DeleteResult::Deleted | DeleteResult::Trashed))
        .filter_map(|(blob, _)| graph.id(plan.blobs.digest(blob.id)?))
        .filter(|id| !graph.is_present(*id))
        .collect();
    let mut broken = BTreeSet::new();
    for root in graph.roots() {
        let Ok(id) = root.target else { continue };
        let reach = graph.reach([id]);
        if lost.iter().any(|id| reach.contains(*id)) {
            broken.insert(graph.root_label(state, root));
        }
    }
    Ok(broken.into_iter().collect())
}
