//! What a writer without a lock did while a layout was swept.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::{ConcurrentChange, DeleteResult};
use crate::error::Result;
use crate::graph::Graph;
use crate::layout::change_detector::is_unchanged;
use crate::layout::{Layout, State};
use crate::oci::Digest;
use crate::plan::Plan;

/// Reads the state once more and tells what a writer without a lock did meanwhile. `results` are those of
/// the spare victims and of the others.
pub(super) fn detect_concurrent_change(
    layout: &Layout,
    base: &Digest,
    plan: &Plan,
    results: &[&[DeleteResult]; 2],
) -> ConcurrentChange {
    if is_unchanged(layout, base) {
        return ConcurrentChange::default();
    }
    match layout.read_state() {
        Ok(state) if state.fingerprint() == base => ConcurrentChange::default(),
        Ok(state) => ConcurrentChange {
            changed: true,
            broken: newly_broken(layout, &state, plan, results).unwrap_or_default(),
        },
        Err(_) => ConcurrentChange {
            changed: true,
            broken: Vec::new(),
        },
    }
}

/// Names the images of a new state that refer to blobs which this run deleted.
fn newly_broken(
    layout: &Layout,
    state: &State,
    plan: &Plan,
    results: &[&[DeleteResult]; 2],
) -> Result<Vec<String>> {
    let gone: BTreeSet<&Digest> = [&plan.spare, &plan.sweep]
        .into_iter()
        .zip(results)
        .flat_map(|(victims, results)| victims.iter().zip(*results))
        .filter(|(_, result)| matches!(result, DeleteResult::Deleted | DeleteResult::Trashed))
        .filter_map(|(victim, _)| plan.blobs.digest(victim.id))
        .collect();
    let blobs = Arc::new(layout.list()?);
    let graph = Graph::read(
        layout,
        state,
        blobs,
        Timestamp::UNIX_EPOCH,
        &crate::progress::Silent,
    )?;
    let mut broken = BTreeSet::new();
    for root in graph.roots() {
        let Ok(id) = root.target else { continue };
        let reach = graph.reach([id]);
        let is_broken = gone.iter().any(|digest| {
            graph
                .id(digest)
                .is_some_and(|id| reach.contains(id) && !graph.is_present(id))
        });
        if is_broken {
            broken.insert(graph.root_label(state, root));
        }
    }
    Ok(broken.into_iter().collect())
}
