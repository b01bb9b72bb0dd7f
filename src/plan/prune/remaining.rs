//! The bytes that a plan leaves and frees, and the rules that keep them.

use std::collections::BTreeMap;

use crate::layout::BlobId;
use crate::model::inventory::{Counted, Files};
use crate::model::snapshot::Snapshot;
use crate::plan::policy::Rule;
use crate::plan::{KeepReason, Plan};

use super::{Judged, RemovalSet};

/// What keeps images although the size budget is not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetHolder {
    /// A rule as written, a hold, or another reason.
    pub what: String,
    /// The number of images that it keeps.
    pub images: u64,
    /// The bytes that those reference.
    pub bytes: u64,
}

/// The maximum number of holders that are reported.
const MAX_HOLDERS: usize = 20;

/// Returns the rules that keep the remaining images.
pub(super) fn holders(
    snapshot: &Snapshot,
    judged: &[Judged<'_>],
    gone: &RemovalSet,
    files: &Files,
) -> Vec<BudgetHolder> {
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    enum What<'a> {
        Hold(&'a str),
        Rule(&'a Rule),
        OutOfReach,
        Companion,
        Last,
    }
    let mut kept: BTreeMap<What<'_>, Vec<BlobId>> = BTreeMap::new();
    for judged in judged.iter().filter(|judged| !judged.is_removed) {
        let mut add = |what| kept.entry(what).or_default().push(judged.image.id);
        for hold in &judged.image.holds {
            add(What::Hold(hold));
        }
        for rule in &judged.rules {
            add(What::Rule(rule));
        }
        if judged.is_out_of_reach {
            add(What::OutOfReach);
        }
        if judged.is_free() {
            add(if judged.follows.is_companion {
                What::Companion
            } else {
                What::Last
            });
        }
    }
    let kept = kept.into_iter().take(MAX_HOLDERS);
    kept.map(|(what, mut ids)| {
        // A rule can keep an image twice, in two repositories.
        ids.dedup();
        BudgetHolder {
            what: match what {
                What::Hold(name) => format!("hold \"{name}\""),
                What::Rule(rule) => rule.to_string(),
                What::OutOfReach => "the choice by scope and filters".to_owned(),
                What::Companion => "an image of which it is a companion".to_owned(),
                What::Last => "the last image".to_owned(),
            },
            images: ids.len() as u64,
            bytes: Counted::new(files).take(&snapshot.graph.reach_after(ids, &gone.change())),
        }
    })
    .collect()
}

/// Returns the live bytes after a removal, each inode once.
pub(super) fn live_bytes(snapshot: &Snapshot, gone: &RemovalSet, files: &Files) -> u64 {
    let live = gone.live(snapshot);
    Counted::new(files).take(&live)
}

/// Returns the bytes that a plan frees, now or after the end of the writer for which it keeps blobs. Otherwise a run beside
/// a writer would remove image after image and free nothing.
pub(super) fn freed_bytes(live: u64, plan: &Plan, files: &Files) -> u64 {
    let stored = Counted::new(files).take_rest();
    let kept = plan.kept.iter();
    let kept = kept.filter(|kept| kept.because != KeepReason::WriterAtWork);
    let kept: u64 = kept.map(|kept| kept.len).sum();
    let temporary = plan.totals().temporary_bytes;
    let freed = stored.saturating_sub(live).saturating_sub(kept);
    freed.saturating_add(temporary)
}
