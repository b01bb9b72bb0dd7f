//! The facts about a layout that the choice for a budget needs, without the layout itself: many layouts cannot all be open
//! at once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::fs::FileStat;
use crate::graph::{RootSource, reached_by};
use crate::layout::BlobId;
use crate::model::entries::{EntryFacts, EntryRole};
use crate::model::images::Image;
use crate::model::inventory::Files;
use crate::model::snapshot::Snapshot;
use crate::plan::age::Age;
use crate::plan::filter::Resolved;

use super::companions::Follows;
use super::remaining::{BudgetHolder, freed_bytes, holders, live_bytes};
use super::{Judged, Removal, RemovalSet};

/// One file, so that it is counted once: its device and inode if it may be in several layouts, else the position of the layout and the
/// number of the blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FileKey(pub(super) u64, pub(super) u64);

/// The judged images of a layout, and the files that they keep.
#[derive(Debug, Default)]
pub struct Survey {
    pub(super) images: Vec<SurveyedImage>,
    /// The files that are reached, with their bytes.
    pub(super) files: Vec<(FileKey, u64)>,
    /// Files that something other than entries keeps, as positions in `files`.
    pub(super) others: Vec<u32>,
    /// The remaining files that other layouts may have as well, with their bytes.
    pub(super) linked: Vec<(FileKey, u64)>,
    /// The bytes of the other remaining files.
    pub(super) unlinked_bytes: u64,
    /// The bytes that the plan frees.
    pub(super) freed_bytes: u64,
    /// The rules that keep the remaining images.
    pub(super) held: Vec<BudgetHolder>,
}

/// One judged image.
#[derive(Debug)]
pub(super) struct SurveyedImage {
    /// With the names that pass a filter on names.
    pub(super) image: Image,
    pub(super) age: Age,
    /// See [`Judged::is_named`].
    pub(super) is_named: bool,
    /// `true` if keep rules compare it with others.
    pub(super) is_compared: bool,
    pub(super) is_removed: bool,
    /// `true` if it may be removed for a budget.
    pub(super) is_free: bool,
    pub(super) follows: Follows,
    /// The files that it keeps, as positions in `files`.
    pub(super) reach: Vec<u32>,
}

/// The planned removal of judged images.
#[derive(Clone, Copy)]
pub(super) struct Planned<'a> {
    pub(super) gone: &'a RemovalSet,
    pub(super) removal: &'a Removal,
    pub(super) files: &'a Files,
}

impl Survey {
    /// Surveys only what a budget needs.
    pub(super) fn to_choose(
        snapshot: &Snapshot,
        entries: &[EntryFacts],
        judged: &[Judged<'_>],
        files: &Files,
    ) -> Self {
        let mut survey = Self {
            images: judged.iter().map(surveyed).collect(),
            ..Self::default()
        };
        survey.reach(snapshot, entries, judged, files, 0);
        survey
    }

    /// Surveys a planned layout, given its position among several. Without a budget, only ages are surveyed.
    pub(super) fn of(
        snapshot: &Snapshot,
        entries: &[EntryFacts],
        judged: &[Judged<'_>],
        filters: &Resolved<'_>,
        planned: Planned<'_>,
        number: usize,
        has_budget: bool,
    ) -> Self {
        let mut survey = Self {
            images: judged.iter().map(surveyed).collect(),
            ..Self::default()
        };
        for (image, judged) in survey.images.iter_mut().zip(judged) {
            if judged.some_names.is_some() {
                filters.retain_names(&mut image.image);
            }
        }
        if !has_budget {
            return survey;
        }
        let Planned {
            gone,
            removal,
            files,
        } = planned;
        survey.reach(snapshot, entries, judged, files, number);
        let live = gone.live(snapshot);
        for (id, file) in files.iter().filter(|(id, _)| live.contains(*id)) {
            let key = key_of(snapshot, number, id, files);
            match key {
                FileKey(device, _) if device == own_device(number) => {
                    survey.unlinked_bytes = survey.unlinked_bytes.saturating_add(file.len);
                }
                key => survey.linked.push((key, file.len)),
            }
        }
        let live = live_bytes(snapshot, gone, files);
        survey.freed_bytes = freed_bytes(live, &removal.plan, files);
        survey.held = holders(snapshot, judged, gone, files);
        survey
    }

    /// Surveys a layout from its files alone.
    pub(super) fn of_files(files: &[FileStat]) -> Self {
        let mut survey = Self::default();
        for file in files {
            if file.links > 1 {
                let key = FileKey(file.device, file.inode);
                survey.linked.push((key, file.len));
            } else {
                survey.unlinked_bytes = survey.unlinked_bytes.saturating_add(file.len);
            }
        }
        survey
    }

    /// Returns the files at these positions.
    pub(super) fn files<'a>(
        &'a self,
        positions: impl IntoIterator<Item = &'a u32>,
    ) -> impl Iterator<Item = (FileKey, u64)> {
        let positions = positions.into_iter();
        positions.filter_map(|position| self.files.get(*position as usize).copied())
    }

    /// Records the files that each remaining image keeps, and those that something else keeps.
    fn reach(
        &mut self,
        snapshot: &Snapshot,
        entries: &[EntryFacts],
        judged: &[Judged<'_>],
        files: &Files,
        number: usize,
    ) {
        let along = Along::new(entries, judged);
        let mut known: HashMap<BlobId, u32> = HashMap::new();
        let mut all: Vec<(FileKey, u64)> = Vec::new();
        let mut reach = |from: Vec<BlobId>| -> Vec<u32> {
            let reached = along.reach(snapshot, from).into_iter();
            let reached = reached.filter_map(|id| {
                if let Some(position) = known.get(&id) {
                    return Some(*position);
                }
                let len = files.get(id)?.len;
                let position = u32::try_from(all.len()).ok()?;
                all.push((key_of(snapshot, number, id, files), len));
                known.insert(id, position);
                Some(position)
            });
            reached.collect()
        };
        let others = snapshot.graph.roots().iter().filter(|root| {
            !matches!(
                root.source,
                RootSource::Entry(_) | RootSource::InsideEntry(_) | RootSource::DockerSave(_)
            )
        });
        self.others = reach(others.filter_map(|root| root.id()).collect());
        for image in self.images.iter_mut().filter(|image| !image.is_removed) {
            image.reach = reach(vec![image.image.id]);
        }
        self.files = all;
    }
}

fn surveyed(judged: &Judged<'_>) -> SurveyedImage {
    SurveyedImage {
        image: judged.image.clone(),
        age: judged.age,
        is_named: judged.is_named,
        is_compared: !judged.is_out_of_reach && !judged.follows.is_companion,
        is_removed: judged.is_removed,
        // An image with names that a filter does not select is not freed.
        is_free: judged.is_free() && !judged.is_removed && judged.some_names.is_none(),
        follows: judged.follows.clone(),
        reach: Vec::new(),
    }
}

/// Returns the substitute for the device of a file that only one layout has.
const fn own_device(number: usize) -> u64 {
    u64::MAX - number as u64
}

/// Returns the key of a blob's file. In a scratch directory inodes are used again, for other files of another archive.
fn key_of(snapshot: &Snapshot, number: usize, id: BlobId, files: &Files) -> FileKey {
    let is_in_store = snapshot.layout.is_in_store();
    let may_be_elsewhere = !snapshot.layout.is_packed();
    let file = files.get(id).filter(|_| may_be_elsewhere);
    match file.filter(|file| is_in_store || file.links > 1) {
        Some(file) => FileKey(file.device, file.inode),
        None => FileKey(own_device(number), u64::from(id)),
    }
}

/// What is freed along with an image.
struct Along {
    /// Entries without a name of their own, by what they belong to.
    belongings: BTreeMap<BlobId, Vec<BlobId>>,
    /// Images that are judged separately: no other image keeps them, not even their subject.
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
