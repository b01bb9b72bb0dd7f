//! Which images are removed so that the others fit a size budget.
//!
//! *Promise*: what a hold, a filter or a keep rule keeps is never removed for a budget. If the rest does not fit, the
//! result says what keeps it.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use crate::graph::{EmptyIndex, RootSource, reached_by};
use crate::layout::BlobId;
use crate::model::entries::{EntryFacts, EntryRole};
use crate::model::inventory::{Counted, Files};
use crate::model::snapshot::Snapshot;

use super::along::removed_along;
use super::{Judged, PruneOptions, RemovalSet};
use crate::plan::policy::Rule;
use crate::plan::{KeepReason, Plan, Tie, grouped};

/// What keeps images although the size budget is not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetHolder {
    /// A rule as it is written, a hold, or another reason.
    pub what: String,
    /// The number of images that it keeps.
    pub images: u64,
    /// The bytes that those reference.
    pub bytes: u64,
}

/// The maximum number of holders that are reported.
const MAX_HOLDERS: usize = 20;

/// Returns what keeps the images that are left.
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
        // In two repositories one rule keeps an image twice.
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

/// Returns the bytes of what is live after a removal, each inode once.
pub(super) fn live_bytes(snapshot: &Snapshot, gone: &RemovalSet, files: &Files) -> u64 {
    let live = gone.live(snapshot);
    Counted::new(files).take(&live)
}

/// Returns the bytes that a plan frees, now or when the writer has ended for which it keeps what it releases. Else a run
/// beside a writer would remove image after image and free nothing.
pub(super) fn freed_bytes(live: u64, plan: &Plan, files: &Files) -> u64 {
    let stored = Counted::new(files).take_rest();
    let kept = plan.kept.iter();
    let kept = kept.filter(|kept| kept.because != KeepReason::WriterAtWork);
    let kept: u64 = kept.map(|kept| kept.len).sum();
    let temporary = plan.totals().temporary_bytes;
    let freed = stored.saturating_sub(live).saturating_sub(kept);
    freed.saturating_add(temporary)
}

/// Chooses more images to remove, the oldest first, until at least `excess` bytes are counted as freed. Returns `true` if
/// any was chosen.
pub(super) fn trim(
    snapshot: &Snapshot,
    entries: &[EntryFacts],
    judged: &mut [Judged<'_>],
    excess: u64,
    options: &PruneOptions<'_>,
    files: &Files,
) -> bool {
    let along = Along::new(entries, judged);
    let mut owners: BTreeMap<BlobId, u32> = BTreeMap::new();
    let others = snapshot.graph.roots().iter().filter(|root| {
        !matches!(
            root.source,
            RootSource::Entry(_) | RootSource::InsideEntry(_) | RootSource::DockerSave(_)
        )
    });
    let others = others.filter_map(|root| root.id());
    for id in along.reach(snapshot, others.collect()) {
        *owners.entry(id).or_default() += 1;
    }
    let mut reaches: BTreeMap<usize, HashSet<BlobId>> = BTreeMap::new();
    let mut candidates: Vec<(usize, &Judged<'_>)> = Vec::new();
    for (position, judged) in judged.iter().enumerate() {
        if judged.is_removed {
            continue;
        }
        let reach = along.reach(snapshot, vec![judged.image.id]);
        for id in &reach {
            *owners.entry(*id).or_default() += 1;
        }
        reaches.insert(position, reach);
        // An image with names that a filter does not choose is not freed.
        if judged.is_free() && judged.some_names.is_none() {
            candidates.push((position, judged));
        }
    }
    // Oldest first; what has no date counts as new.
    candidates.sort_by_key(|(_, judged)| (judged.is_named(), judged.age));
    // What else than the clock decided that an image is removed before the next one.
    let next = candidates.iter().skip(1);
    let ties: BTreeMap<usize, Tie> = candidates
        .iter()
        .zip(next)
        .filter(|((_, first), (_, second))| first.is_named() == second.is_named())
        .filter_map(|((at, first), (_, second))| Some((*at, first.age.tie(&second.age)?)))
        .collect();
    // If nothing is named, every image counts as wanted.
    let has_names = judged.iter().any(Judged::is_named);
    let left = judged.iter().filter(|judged| !judged.is_removed);
    let mut wanted_left = left
        .filter(|judged| !has_names || judged.is_named())
        .count();
    let mut companions = grouped(candidates.iter().flat_map(|(position, judged)| {
        let owners = judged.follows.owners.iter();
        owners.map(|(owner, _)| (*owner, *position))
    }));
    let mut freed = 0_u64;
    let mut any = false;
    // A companion is removed with its image, and not before.
    let mut queue: VecDeque<usize> = candidates.iter().map(|(position, _)| *position).collect();
    while let Some(position) = queue.pop_front() {
        if freed >= excess {
            break;
        }
        let is_followed = judged.get(position).is_some_and(|image| {
            let mut owners = image.follows.owners.iter();
            let is_kept = |owner: &Judged<'_>| !owner.is_removed;
            image.is_removed || owners.any(|(owner, _)| judged.get(*owner).is_some_and(is_kept))
        });
        let Some(judged) = judged.get_mut(position).filter(|_| !is_followed) else {
            continue;
        };
        let is_wanted = !has_names || judged.is_named();
        if is_wanted && wanted_left == 1 && options.empty == EmptyIndex::Refuse {
            // The last image is kept: an importer of a cache without its tag fails the build.
            continue;
        }
        judged.is_removed = true;
        let oldest = match options.max_size {
            Some(_) => "over the size budget, and the oldest",
            None => "too little free space, and the oldest",
        };
        judged.reasons = vec![match ties.get(&position) {
            _ if judged.follows.is_companion => removed_along(&judged.follows),
            Some(tie) => format!("{oldest} {tie}"),
            None => oldest.to_owned(),
        }];
        wanted_left -= usize::from(is_wanted);
        any = true;
        for companion in companions.remove(&position).into_iter().flatten() {
            queue.push_front(companion);
        }
        for id in reaches.remove(&position).unwrap_or_default() {
            if let Some(count) = owners.get_mut(&id) {
                *count -= 1;
                if *count == 0 {
                    freed = freed.saturating_add(files.get(id).map_or(0, |file| file.len));
                }
            }
        }
    }
    any
}

/// What is freed along with an image.
struct Along {
    /// Entries without a name of their own, by what they belong to.
    belongings: BTreeMap<BlobId, Vec<BlobId>>,
    /// Images that are judged for themselves: no other image keeps them, not even their subject.
    apart: BTreeSet<BlobId>,
}

impl Along {
    fn new(entries: &[EntryFacts], judged: &[Judged<'_>]) -> Self {
        let named = entries
            .iter()
            .filter(|entry| entry.role == EntryRole::Named);
        let named: BTreeMap<&str, BlobId> = named
            .filter_map(|entry| Some((entry, entry.id?)))
            .flat_map(|(entry, id)| entry.name_texts().map(move |name| (name, id)))
            .collect();
        let mut belongings: BTreeMap<BlobId, Vec<BlobId>> = BTreeMap::new();
        for entry in entries {
            let Some(id) = entry.id else { continue };
            let is_named = entry.role == EntryRole::Named;
            let subjects = entry.about.iter().filter(|_| !is_named);
            let is_kin = entry.role == EntryRole::KindReferrer;
            let names = entry.name_texts().filter(|_| is_kin);
            for owner in subjects.chain(names.filter_map(|name| named.get(name))) {
                belongings.entry(*owner).or_default().push(id);
            }
        }
        Self {
            belongings,
            apart: judged.iter().map(|judged| judged.image.id).collect(),
        }
    }

    /// Returns everything that these keep.
    fn reach(&self, snapshot: &Snapshot, from: Vec<BlobId>) -> HashSet<BlobId> {
        reached_by(from, |id| {
            let below = snapshot.graph.edges(id).iter().map(|edge| edge.to);
            let referrers = snapshot.graph.referrers(id).iter();
            let kept = referrers.chain(self.belongings.get(&id).into_iter().flatten());
            below.chain(kept.copied().filter(|id| !self.apart.contains(id)))
        })
    }
}
