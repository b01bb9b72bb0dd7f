//! The bytes of a shared store, measured where it is planned.

use crate::error::{ErrorKind, Result};
use crate::fs::Fs;
use crate::graph::{BlobSet, EmptyIndex, MissingDocuments};
use crate::layout::{BlobId, Layout};
use crate::model::entries::list_entries;
use crate::model::images::{Image, list_images};
use crate::model::inventory::{Counted, Files, Unmeasured, files};
use crate::model::snapshot::{Doubt, Snapshot};
use crate::plan::{Plan, Totals, sweep_all};
use crate::progress::Progress;
use crate::report::usage::{ImageUsage, UsageRow, image_usages_beside};

use super::Protection;
use super::group::{OpenGroup, Store};

/// The bytes of a shared store.
#[derive(Debug)]
pub struct SharedUsage {
    /// For each layout: its images, and the bytes that it references, shared ones included.
    pub layouts: Vec<UsageRow>,
    /// Blobs that no layout references.
    pub orphans: UsageRow,
    /// Everything in the store, each inode once.
    pub total: UsageRow,
    /// Why a sweep would refuse, so that nothing is reclaimable.
    pub refusal: Option<String>,
    /// The images of each layout, if requested.
    pub images: Vec<Vec<(Image, ImageUsage)>>,
    /// Blobs that count as 0 bytes.
    pub unmeasured: Option<Unmeasured>,
}

/// The detail of a measurement of a shared store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Detail {
    /// The bytes of each layout and of the store.
    #[default]
    Layouts,
    /// Each image as well.
    Images,
}

impl OpenGroup {
    /// Measures a shared store; `None` for a single layout. RECLAIMABLE is what a sweep frees, if no documents are
    /// missing and no layout is empty.
    ///
    /// # Errors
    /// [`Error::Interrupted`](crate::Error::Interrupted) and others; if layouts cannot be marked, nothing is reclaimable.
    pub fn usage(
        &mut self,
        detail: Detail,
        protection: &Protection,
        fs: &dyn Fs,
        progress: &dyn Progress,
    ) -> Result<Option<SharedUsage>> {
        let Self { store, layouts, .. } = self;
        let Some(store) = store else {
            return Ok(None);
        };
        let usage = store.until_settled(layouts, progress, |store, doubt| {
            let (mut usage, files) = store.usage_once(layouts, protection, fs, doubt, progress)?;
            if detail == Detail::Images {
                usage.images = store.images(layouts, protection, &files, doubt, progress)?;
            }
            Ok(usage)
        });
        usage.map(Some)
    }
}

impl Store {
    fn usage_once(
        &self,
        layouts: &[Layout],
        protection: &Protection,
        fs: &dyn Fs,
        doubt: &mut Doubt,
        progress: &dyn Progress,
    ) -> Result<(SharedUsage, Files)> {
        let mut rows = Vec::with_capacity(layouts.len());
        let mut all = BlobSet::new(self.blobs.len());
        let mut known = None;
        let mut refusal = None;
        let (plan, _) = self.plan_once(layouts, protection, doubt, progress, |snapshot| {
            let files = known.get_or_insert_with(|| files(snapshot, fs));
            let live = live_of(snapshot);
            let images = list_images(snapshot, protection.now).len() as u64;
            rows.push(UsageRow {
                total: images,
                active: images,
                size: Counted::new(files).take(&live),
                reclaimable: 0,
            });
            all.merge(&live);
            let (missing, empty) = (MissingDocuments::Refuse, EmptyIndex::Refuse);
            match sweep_all(snapshot, missing, empty, fs, &protection.sweep) {
                Ok(plan) => Ok((plan, ())),
                Err(error) if error.kind() == ErrorKind::Refused => {
                    refusal.get_or_insert(error.to_string());
                    Ok((Plan::empty(snapshot), ()))
                }
                Err(error) => Err(error),
            }
        })?;
        let freed = match refusal {
            None => plan.totals(),
            Some(_) => Totals::default(),
        };
        let files = known.unwrap_or_default();
        let unmeasured = files.unmeasured().cloned();
        let mut counted = Counted::new(&files);
        let used = counted.take(&all);
        let is_orphan = |id: BlobId| !all.contains(id);
        let mut orphans = UsageRow {
            total: files.iter().filter(|(id, _)| is_orphan(*id)).count() as u64,
            active: 0,
            size: counted.take_rest(),
            reclaimable: 0,
        };
        orphans.active = orphans.total.saturating_sub(freed.blobs);
        orphans.reclaimable = freed.freed_bytes;
        let total = UsageRow {
            size: used.saturating_add(orphans.size),
            reclaimable: orphans.reclaimable,
            ..rows
                .iter()
                .copied()
                .fold(UsageRow::default(), UsageRow::plus)
        };
        let usage = SharedUsage {
            layouts: rows,
            orphans,
            total,
            refusal,
            images: Vec::new(),
            unmeasured,
        };
        Ok((usage, files))
    }

    /// Measures the images of each layout. Blobs that another layout references as well are not freed.
    fn images(
        &self,
        layouts: &[Layout],
        protection: &Protection,
        files: &Files,
        doubt: &mut Doubt,
        progress: &dyn Progress,
    ) -> Result<Vec<Vec<(Image, ImageUsage)>>> {
        let mut snapshots = Vec::with_capacity(layouts.len());
        for (layout, state) in layouts.iter().zip(&self.states) {
            snapshots.push(self.snapshot(layout, state, protection.now, doubt, progress)?);
        }
        let live: Vec<BlobSet> = snapshots.iter().map(live_of).collect();
        let measure = |(number, snapshot): (usize, &Snapshot)| {
            let mut elsewhere = BlobSet::new(self.blobs.len());
            let others = live.iter().enumerate();
            for (_, other) in others.filter(|(other, _)| *other != number) {
                elsewhere.merge(other);
            }
            let images = list_images(snapshot, protection.now);
            let entries = list_entries(snapshot);
            let usages = image_usages_beside(snapshot, &images, &entries, files, &elsewhere);
            images.into_iter().zip(usages).collect()
        };
        Ok(snapshots.iter().enumerate().map(measure).collect())
    }
}

/// Returns the blobs that the roots of a layout reach.
fn live_of(snapshot: &Snapshot) -> BlobSet {
    let roots = snapshot.graph.roots().iter();
    let targets = roots.filter_map(|root| root.id());
    snapshot.graph.reach(targets)
}
