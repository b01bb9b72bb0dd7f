//! Decisions for several layouts together: keep rules that count in all of them, and one budget.
//!
//! *Order*: each layout is planned and surveyed, the tree decides, and each layout is planned again with its share of the
//! decision, until the budget is reached. The last share lists what may be removed.
//!
//! *Promise*: with the last share nothing else is removed from a layout, however it has changed since. An image that was
//! added to it, or added again, is kept. Nothing is removed from a layout that could not be surveyed, and its bytes count.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::fs::FileStat;
use crate::graph::EmptyIndex;
use crate::oci::Digest;
use crate::plan::age::Age;
use crate::plan::policy::{Across, Aged, Policy, Reason};

use super::Judged;
use super::budget::choose;
use super::remaining::BudgetHolder;
use super::survey::{FileKey, Survey};

/// The stage of the decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing is known about the other layouts.
    #[default]
    Survey,
    /// Images are compared.
    Decide,
    /// Nothing more is removed than was decided.
    Execute,
}

/// The part of a common decision for one layout.
#[derive(Debug, Clone, Default)]
pub struct TreeShare {
    number: usize,
    stage: Stage,
    rules: Across,
    has_budget: bool,
    images: HashMap<Digest, Decided>,
}

/// The decision on an image.
#[derive(Debug, Clone, Default)]
struct Decided {
    /// Its time at the decision. An image with another time was added again.
    time: Option<Timestamp>,
    /// The rules that keep it.
    reasons: Vec<Reason>,
    /// The reason if it is removed for the budget.
    chosen: Option<String>,
    is_removed: bool,
}

/// How the rules of the tree apply to an image.
pub(super) enum Standing {
    /// They are those of the layout, or were already applied.
    Judged,
    /// They are applied later.
    Undecided,
    /// The image was not among those that were compared.
    Unknown,
}

impl TreeShare {
    pub(super) const fn number(&self) -> usize {
        self.number
    }

    pub(super) const fn has_budget(&self) -> bool {
        self.has_budget
    }

    /// Returns `true` if keep rules count in all layouts together.
    pub(super) fn compares(&self) -> bool {
        self.rules == Across::Tree
    }

    fn of(&self, digest: &Digest, age: &Age) -> Option<&Decided> {
        let decided = self.images.get(digest);
        decided.filter(|decided| decided.time == age.time)
    }

    /// Returns why the rules of the tree keep an image.
    pub(super) fn reasons(&self, digest: &Digest, age: &Age) -> Vec<Reason> {
        let decided = self.of(digest, age);
        decided.map_or_else(Vec::new, |decided| decided.reasons.clone())
    }

    pub(super) fn standing(&self, digest: &Digest, age: &Age) -> Standing {
        match (self.rules, self.stage) {
            (Across::Layout, _) => Standing::Judged,
            (Across::Tree, Stage::Survey) => Standing::Undecided,
            (Across::Tree, _) if self.of(digest, age).is_some() => Standing::Judged,
            (Across::Tree, _) => Standing::Unknown,
        }
    }

    /// Removes images that were chosen for the budget, and in the end keeps those that were not.
    pub(super) fn apply(&self, judged: &mut [Judged<'_>]) {
        // A companion is removed with its image, not earlier.
        loop {
            let removed: Vec<bool> = judged.iter().map(|image| image.is_removed).collect();
            let is_removed = |owner: usize| removed.get(owner).is_some_and(|removed| *removed);
            let mut is_done = true;
            for image in judged.iter_mut().filter(|image| !image.is_removed) {
                let decided = self.of(&image.image.digest, &image.age);
                let chosen = decided.and_then(|decided| decided.chosen.clone());
                let is_free = image.is_free() && image.some_names.is_none();
                let mut owners = image.follows.owners.iter();
                if let Some(reason) = chosen.filter(|_| is_free)
                    && owners.all(|(owner, _)| is_removed(*owner))
                {
                    image.is_removed = true;
                    image.reasons = vec![reason];
                    is_done = false;
                }
            }
            if is_done {
                break;
            }
        }
        if self.stage != Stage::Execute {
            return;
        }
        loop {
            let follows_kept: Vec<bool> = judged
                .iter()
                .map(|image| {
                    let mut owners = image.follows.owners.iter();
                    let owner = |at: usize| judged.get(at);
                    image.follows.is_companion
                        && owners.any(|(at, name)| owner(*at).is_some_and(|it| it.keeps(name)))
                })
                .collect();
            let mut is_done = true;
            let removed = judged.iter_mut().zip(follows_kept);
            for (image, follows_kept) in removed.filter(|(image, _)| image.is_removed) {
                let decided = self.of(&image.image.digest, &image.age);
                if !decided.is_some_and(|decided| decided.is_removed) || follows_kept {
                    image.is_removed = false;
                    image.is_out_of_reach = true;
                    image.reasons = vec![NOT_COMPARED.to_owned()];
                    is_done = false;
                }
            }
            if is_done {
                break;
            }
        }
    }
}

/// Returns the remaining bytes of layouts: each file once.
fn bytes_of<'a>(members: impl Iterator<Item = &'a TreeLayout>) -> u64 {
    let mut seen: HashSet<FileKey> = HashSet::new();
    let mut sum = 0_u64;
    for TreeLayout { survey, .. } in members {
        sum = sum.saturating_add(survey.unlinked_bytes);
        for (key, len) in &survey.linked {
            if seen.insert(*key) {
                sum = sum.saturating_add(*len);
            }
        }
    }
    sum
}

/// The reason for keeping an image that was not compared.
pub(super) const NOT_COMPARED: &str = "new or changed since the layouts were compared";

/// Several layouts whose images are compared, by their positions.
#[derive(Debug)]
pub struct Tree {
    members: Vec<TreeLayout>,
}

#[derive(Debug)]
struct TreeLayout {
    share: TreeShare,
    survey: Survey,
    /// It could not be surveyed.
    is_lost: bool,
}

impl Tree {
    /// Starts with this number of layouts. `rules`: whether keep rules compare the images of all of them.
    #[must_use]
    pub fn new(layouts: usize, rules: Across, has_budget: bool) -> Self {
        let member = |number| TreeLayout {
            share: TreeShare {
                number,
                rules,
                has_budget,
                ..TreeShare::default()
            },
            survey: Survey::default(),
            is_lost: false,
        };
        Self {
            members: (0..layouts).map(member).collect(),
        }
    }

    /// Returns the decision for a layout so far.
    #[must_use]
    pub fn share(&self, number: usize) -> Option<&TreeShare> {
        Some(&self.members.get(number)?.share)
    }

    /// Records the survey of a layout, replacing the last one.
    pub fn survey(&mut self, number: usize, survey: Survey) {
        if let Some(member) = self.members.get_mut(number) {
            member.survey = survey;
            member.is_lost = false;
        }
    }

    /// Records that nothing is removed from a layout with these files.
    pub fn lose(&mut self, number: usize, files: &[FileStat]) {
        if let Some(member) = self.members.get_mut(number) {
            member.survey = Survey::of_files(files);
            member.is_lost = true;
        }
    }

    /// Returns the number of layouts that could not be surveyed, and their bytes.
    #[must_use]
    pub fn lost(&self) -> (usize, u64) {
        let lost = self.members.iter().filter(|member| member.is_lost);
        (lost.clone().count(), bytes_of(lost))
    }

    /// Applies keep rules to the images of all layouts.
    pub fn compare(&mut self, policy: &Policy, now: Timestamp, zone: &TimeZone) {
        let mut found: Vec<(usize, Digest, Decided)> = Vec::new();
        let mut aged: Vec<Aged<'_>> = Vec::new();
        for (number, member) in self.members.iter().enumerate() {
            let images = member.survey.images.iter();
            for image in images.filter(|image| image.is_compared) {
                let decided = Decided {
                    time: image.age.time,
                    ..Decided::default()
                };
                found.push((number, image.image.digest.clone(), decided));
                aged.push(Aged {
                    image: &image.image,
                    age: image.age,
                });
            }
        }
        let reasons = policy.reasons(&aged, now, zone);
        for ((number, digest, mut decided), reasons) in found.into_iter().zip(reasons) {
            decided.reasons = reasons;
            if let Some(member) = self.members.get_mut(number) {
                member.share.images.insert(digest, decided);
            }
        }
        for member in &mut self.members {
            member.share.stage = Stage::Decide;
        }
    }

    /// Returns the remaining bytes of all layouts: each file once.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        bytes_of(self.members.iter())
    }

    /// Returns the bytes that the plans free.
    #[must_use]
    pub fn freed_bytes(&self) -> u64 {
        let freed = self.members.iter().map(|member| member.survey.freed_bytes);
        freed.fold(0, u64::saturating_add)
    }

    /// Chooses more images to remove, the oldest of all layouts first, until at least `excess` bytes are counted as freed.
    /// Returns the layouts that they are removed from.
    pub fn choose(&mut self, excess: u64, oldest: &str, empty: EmptyIndex) -> BTreeSet<usize> {
        let surveys: Vec<&Survey> = self.members.iter().map(|member| &member.survey).collect();
        let chosen = choose(&surveys, excess, oldest, empty);
        let mut changed = BTreeSet::new();
        for chosen in chosen {
            let Some(member) = self.members.get_mut(chosen.layout) else {
                continue;
            };
            let Some(image) = member.survey.images.get(chosen.position) else {
                continue;
            };
            let digest = image.image.digest.clone();
            let decided = member.share.images.entry(digest).or_default();
            let is_new = decided.chosen.is_none() || decided.time != image.age.time;
            decided.time = image.age.time;
            decided.chosen = Some(chosen.reason);
            // An image that was chosen before and is still present would be chosen for ever.
            if is_new {
                changed.insert(chosen.layout);
            }
        }
        changed
    }

    /// Ends the decision: from now on, the shares allow no other removal.
    pub fn conclude(&mut self) {
        for TreeLayout { share, survey, .. } in &mut self.members {
            share.stage = Stage::Execute;
            for image in &survey.images {
                let digest = image.image.digest.clone();
                let decided = share.images.entry(digest).or_default();
                decided.time = image.age.time;
                decided.is_removed = image.is_removed;
            }
        }
    }

    /// Returns the rules that keep the remaining images, with the sums over all layouts.
    #[must_use]
    pub fn held(&self) -> Vec<BudgetHolder> {
        let mut all: Vec<BudgetHolder> = Vec::new();
        for holder in self.members.iter().flat_map(|member| &member.survey.held) {
            match all.iter_mut().find(|known| known.what == holder.what) {
                Some(known) => {
                    known.images += holder.images;
                    known.bytes = known.bytes.saturating_add(holder.bytes);
                }
                None => all.push(holder.clone()),
            }
        }
        all
    }
}
