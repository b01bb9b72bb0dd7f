//! Which images go so that the others fit a size budget.
//!
//! *Promise*: what a hold, a filter or a keep rule keeps is never taken for a budget. Where the rest does not fit, the
//! caller learns what holds it.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use crate::graph::{EmptyIndex, RootSource};
use crate::layout::BlobId;
use crate::model::entries::{EntryFacts, EntryRole};
use crate::model::inventory::{Counted, Files};
use crate::model::snapshot::Snapshot;

use super::along::removed_along;
use super::{Judged, PruneOptions, RemovalSet};
use crate::plan::Tie;
use crate::plan::policy::Rule;

/// What keeps images although the size budget is not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetHolder {
    /// A rule as it is written, a hold, or what else leaves images alone.
    pub what: String,
    /// How many images it keeps.
    pub images: u64,
    /// Bytes that those reference.
    pub bytes: u64,
}

/// How many of them are given.
const MAX_HOLDERS: usize = 20;

/// Returns what keeps the images that are left: holds, rules, and what is out of reach.
pub(super) fn holders(
    view: &Snapshot,
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
    for judged in judged.iter().filter(|judged| !judged.goes) {
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
            bytes: Counted::new(files).take(&view.graph.reach_after(ids, &gone.change())),
        }
    })
    .collect()
}

/// Returns the bytes of what is live after a removal, each inode once.
pub(super) fn live_bytes(view: &Snapshot, gone: &RemovalSet, files: &Files) -> u64 {
    let live = gone.live(view);
    Counted::new(files).take(&live)
}

/// Chooses more images to go, the oldest first, until so many bytes are counted as freed. Says
/// whether any was chosen.
pub(super) fn trim(
    view: &Snapshot,
    entries: &[EntryFacts],
    judged: &mut [Judged<'_>],
    excess: u64,
    options: &PruneOptions<'_>,
    files: &Files,
) -> bool {
    let along = Along::new(entries, judged);
    let mut owners: BTreeMap<BlobId, u32> = BTreeMap::new();
    let others = view.graph.roots().iter().filter(|root| {
        !matches!(
            root.source,
            RootSource::Entry(_) | RootSource::InsideEntry(_) | RootSource::DockerSave(_)
        )
    });
    let others = others.filter_map(|root| root.target.as_ref().ok().copied());
    for id in along.reach(view, others.collect()) {
        *owners.entry(id).or_default() += 1;
    }
    let staying: Vec<usize> = judged
        .iter()
        .enumerate()
        .filter(|(_, judged)| !judged.goes)
        .map(|(position, _)| position)
        .collect();
    let mut reaches: BTreeMap<usize, HashSet<BlobId>> = BTreeMap::new();
    for &position in &staying {
        let Some(judged) = judged.get(position) else {
            continue;
        };
        let reach = along.reach(view, vec![judged.image.id]);
        for id in &reach {
            *owners.entry(*id).or_default() += 1;
        }
        reaches.insert(position, reach);
    }
    let mut candidates: Vec<usize> = staying
        .iter()
        .copied()
        .filter(|position| {
            // What has other names is not freed with those that a filter chooses.
            let is_whole = |image: &Judged<'_>| image.is_free() && image.some_names.is_none();
            judged.get(*position).is_some_and(is_whole)
        })
        .collect();
    // Oldest first; what has no date counts as new.
    candidates.sort_by_key(|position| {
        let judged = judged.get(*position);
        judged.map(|judged| (!judged.image.names.is_empty(), judged.age))
    });
    // What else than the clock decided that an image goes before the next one.
    let ties: BTreeMap<usize, Tie> = candidates
        .iter()
        .zip(candidates.iter().skip(1))
        .filter_map(|(position, next)| {
            let (first, second) = (judged.get(*position)?, judged.get(*next)?);
            let is_alike = first.image.names.is_empty() == second.image.names.is_empty();
            let tie = first.age.tie(&second.age).filter(|_| is_alike)?;
            Some((*position, tie))
        })
        .collect();
    // Where nothing is named, any image is one that somebody wants.
    let has_names = judged.iter().any(|judged| !judged.image.names.is_empty());
    let mut wanted_left = judged
        .iter()
        .filter(|judged| !judged.goes && (!has_names || !judged.image.names.is_empty()))
        .count();
    let mut companions: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for &position in &candidates {
        let owners = judged.get(position).map(|judged| &judged.follows.owners);
        for (owner, _) in owners.into_iter().flatten() {
            companions.entry(*owner).or_default().push(position);
        }
    }
    let mut freed = 0_u64;
    let mut any = false;
    // A companion is taken with its image, and not before.
    let mut queue: VecDeque<usize> = candidates.into();
    while let Some(position) = queue.pop_front() {
        if freed >= excess {
            break;
        }
        let is_followed = judged.get(position).is_some_and(|image| {
            let mut owners = image.follows.owners.iter();
            image.goes
                || owners.any(|(owner, _)| judged.get(*owner).is_some_and(|owner| !owner.goes))
        });
        let Some(judged) = judged.get_mut(position).filter(|_| !is_followed) else {
            continue;
        };
        let is_wanted = !has_names || !judged.image.names.is_empty();
        if is_wanted && wanted_left == 1 && options.empty == EmptyIndex::Refuse {
            // The last image stays: an importer of a cache without its tag fails the build.
            continue;
        }
        judged.goes = true;
        let oldest = "over the size budget, and the oldest";
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

/// What is freed along with an image, and what is not.
struct Along {
    /// Entries without a name of their own, by what they belong to.
    belongings: BTreeMap<BlobId, Vec<BlobId>>,
    /// Images that are judged for themselves: no other image keeps them, even one that they are about.
    apart: BTreeSet<BlobId>,
}

impl Along {
    fn new(entries: &[EntryFacts], judged: &[Judged<'_>]) -> Self {
        let named: BTreeMap<&str, BlobId> = entries
            .iter()
            .filter(|entry| entry.role == EntryRole::Named)
            .flat_map(|entry| entry.names.iter().zip(std::iter::repeat(entry.id)))
            .filter_map(|(name, id)| Some((&*name.text, id?)))
            .collect();
        let mut belongings: BTreeMap<BlobId, Vec<BlobId>> = BTreeMap::new();
        for entry in entries {
            let Some(id) = entry.id else { continue };
            let mut owners = match entry.role {
                EntryRole::Named => Vec::new(),
                EntryRole::DigestTag
                | EntryRole::KindReferrer
                | EntryRole::Saved
                | EntryRole::Untagged => entry.about.clone(),
            };
            if entry.role == EntryRole::KindReferrer {
                let namesakes = entry.names.iter().filter_map(|name| named.get(&*name.text));
                owners.extend(namesakes);
            }
            for owner in owners {
                belongings.entry(owner).or_default().push(id);
            }
        }
        Self {
            belongings,
            apart: judged.iter().map(|judged| judged.image.id).collect(),
        }
    }

    /// Returns everything that is live as long as these are.
    fn reach(&self, view: &Snapshot, mut queue: Vec<BlobId>) -> HashSet<BlobId> {
        let mut seen: HashSet<BlobId> = queue.iter().copied().collect();
        while let Some(id) = queue.pop() {
            let edges = view.graph.edges(id);
            let below = edges.iter().map(|edge| edge.to);
            let about = view.graph.referrers(id).iter();
            let about = about.chain(self.belongings.get(&id).into_iter().flatten());
            let about = about.copied().filter(|id| !self.apart.contains(id));
            queue.extend(below.chain(about).filter(|id| seen.insert(*id)));
        }
        seen
    }
}
