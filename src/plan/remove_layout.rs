//! Decides which layouts are removed once they are empty.
//!
//! *Promise*: only a layout that lists and holds nothing, whose blobs are all deleted, and that no other process uses.
//! kaniko and cosign start with an empty `index.json` and fill it at the end: a recent one may be theirs.

use rustix::fs::FileType;

use crate::fs::{Links, exists, stat_at};
use crate::graph::GracePolicy;
use crate::layout::blob_list::OWN_DIRECTORY;
use crate::model::snapshot::Snapshot;

use super::Plan;

/// Whether the layout itself is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EmptyLayouts {
    /// It is kept.
    #[default]
    Keep,
    /// Its own files are removed, and its directory if nothing else is in it.
    Remove,
}

/// Plans to remove the layout, if it is empty after the plan. It is kept if its `index.json` was newer
/// than the grace period before this run.
pub fn remove_if_empty(snapshot: &Snapshot, plan: &mut Plan, rule: GracePolicy) {
    // The file of an archive is kept, whatever is in it.
    if !snapshot.layout.is_packed()
        && is_left_empty(snapshot, plan)
        && is_quiet(snapshot, plan, rule)
    {
        plan.empty_layout = EmptyLayouts::Remove;
        plan.latest_now = plan.latest_now.max(rule.now);
    }
}

/// Returns `true` if the layout lists, holds and contains nothing after the plan.
fn is_left_empty(snapshot: &Snapshot, plan: &Plan) -> bool {
    let Snapshot { layout, state, .. } = snapshot;
    let index = plan.writes.index.as_ref().unwrap_or(&state.index);
    let lists_nothing = index.entries().is_empty()
        && index.other_links().is_empty()
        && state.second_indexes.is_empty();
    // An expired hold counts as well: it is a record of the user.
    let holds_nothing = state.holds.holds.is_empty() && state.docker_save.is_none();
    let all_deleted = plan.sweep.len() == plan.blobs.len() && plan.foreign == 0;
    // Blobs in the trash can be restored.
    let is_ours = layout.refuse_shared_blobs().is_ok()
        && layout.trash().names().is_ok_and(|runs| runs.is_empty());
    // Its blobs may be those of other layouts as well, with a trash of their own.
    let store = layout.blob_dirs().root.as_ref();
    let is_ours = is_ours && store.is_none_or(|dir| exists(dir, OWN_DIRECTORY).is_ok_and(|it| !it));
    lists_nothing && holds_nothing && all_deleted && is_ours
}

/// Returns `true` if no other process seems to use the layout.
fn is_quiet(snapshot: &Snapshot, plan: &Plan, rule: GracePolicy) -> bool {
    let Snapshot { layout, state, .. } = snapshot;
    let is_old = rule.grace <= 0 || rule.now - state.index_modified >= rule.grace;
    let mut files = plan.blobs.temporary.iter();
    let no_writer = files.all(|file| file.is_lock() || plan.temporary.contains(file));
    // A symbolic link refers to a file outside the layout.
    let is_file = stat_at(layout.dir(), "index.json", Links::Refuse)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
    is_old && no_writer && is_file
}
