//! One layout, or several that share a store of blobs: read, marked and swept together.
//!
//! A single layout is a group of one. A blob of a shared store is deleted if each of the layouts, planned alone, would
//! delete it. Liveness is derived from one live blob at a time (from a document to its references, from a subject to its
//! referrers), so a blob that is live in none of them is not live in all of them together.
//!
//! *Order*: the store is listed before the first `index.json` is read, as for a single layout. All layouts are locked, in
//! the same order in every process, and read again, before the first blob is deleted.
//!
//! *Promise*: a layout that cannot be read or marked stops the sweep. A blob that none of the layouts
//! references is in flight while it is newer than the grace period.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::archive::{Archive, Archives};
use crate::error::{Error, Result};
use crate::execute::{GroupOutcome, execute_group, is_in_trash};
use crate::fs::Fs;
use crate::graph::{BlobSet, Graph};
use crate::layout::change_detector::is_unchanged;
use crate::layout::lock::Locked;
use crate::layout::released::Noted;
use crate::layout::shared_blobs::SharedStore;
use crate::layout::trash::TrashOptions;
use crate::layout::{BlobId, BlobList, IgnoredIndexes, Layout, State};
use crate::model::snapshot::{Doubt, Snapshot, settled};
use crate::oci::digest::Hasher;
use crate::oci::{Algorithm, Digest};
use crate::plan::{Deletion, Deletions, GroupPlan, KeepReason, Kept, Plan, stale_files};
use crate::progress::{Phase, Progress, Running, Silent, Total};

use super::Protection;
use super::journal::Journal;
use super::locks::{lock_all, lock_store};

/// One layout, or several that share one store of blobs.
#[derive(Debug, Clone)]
pub struct LayoutGroup {
    store: Option<PathBuf>,
    layouts: Vec<PathBuf>,
    ignored: IgnoredIndexes,
    trash: Option<TrashOptions>,
    archives: Option<Archives>,
    journal: Option<Arc<dyn Journal>>,
}

/// An open group.
///
/// It keeps the state of a shared store, so that the store can be planned and measured without reading it again.
#[derive(Debug)]
pub struct OpenGroup {
    pub(super) store: Option<Store>,
    pub(super) layouts: Vec<Layout>,
    /// Blobs that planning found referenced and missing, if there is a trash that may have them.
    missing: BTreeSet<Digest>,
}

/// A store that several layouts share, at one moment.
#[derive(Debug)]
pub(super) struct Store {
    place: SharedStore,
    pub(super) states: Vec<State>,
    pub(super) blobs: Arc<BlobList>,
}

impl LayoutGroup {
    /// Returns the group of a single layout.
    #[must_use]
    pub fn of(layout: impl Into<PathBuf>) -> Self {
        Self {
            store: None,
            layouts: vec![layout.into()],
            ignored: IgnoredIndexes::default(),
            trash: None,
            archives: None,
            journal: None,
        }
    }

    /// Returns the group of all layouts that keep their blobs in this directory. The blobs of an omitted layout would be
    /// deleted.
    #[must_use]
    pub fn sharing(store: impl Into<PathBuf>, layouts: &[PathBuf]) -> Self {
        Self {
            store: Some(store.into()),
            layouts: layouts.to_vec(),
            ignored: IgnoredIndexes::default(),
            trash: None,
            archives: None,
            journal: None,
        }
    }

    /// Ignores second indexes of the layouts.
    #[must_use]
    pub fn ignoring(mut self, ignored: &IgnoredIndexes) -> Self {
        self.ignored = ignored.clone();
        self
    }

    /// Moves what a run deletes into the trash of the layout, or of the shared store.
    #[must_use]
    pub fn trashing(mut self, options: Option<&TrashOptions>) -> Self {
        self.trash = options.cloned();
        self
    }

    /// Accepts archives as layouts as well. The group must then have a single layout.
    #[must_use]
    pub fn reading(mut self, archives: &Archives) -> Self {
        self.archives = Some(archives.clone());
        self
    }

    /// Records every change of the group before it begins, and its result.
    #[must_use]
    pub fn recording(mut self, journal: Option<&Arc<dyn Journal>>) -> Self {
        self.journal = journal.cloned();
        self
    }

    pub(super) fn journal(&self) -> Option<&dyn Journal> {
        self.journal.as_deref()
    }

    /// Opens one layout of the group, without a shared store.
    pub(super) fn open_layout(&self, path: &Path) -> Result<Layout> {
        let layout = match &self.archives {
            Some(archives) => archives.open(path, &Silent)?,
            None => Layout::open(path)?,
        };
        Ok(layout.ignoring(&self.ignored))
    }

    /// Returns the archives, and the archive of this group once it was opened.
    pub(super) fn archive(&self) -> Option<(&Archives, Arc<Archive>)> {
        let (archives, (None, [path])) = (self.archives.as_ref()?, self.paths()) else {
            return None;
        };
        Some((archives, archives.get(path)?))
    }

    pub(super) const fn trash(&self) -> Option<&TrashOptions> {
        self.trash.as_ref()
    }

    /// Returns the shared store, if there is one, and the layouts.
    #[must_use]
    pub fn paths(&self) -> (Option<&Path>, &[PathBuf]) {
        (self.store.as_deref(), &self.layouts)
    }

    /// Returns the path of the group for messages: that of the store, or of the single layout.
    #[must_use]
    pub fn path(&self) -> &Path {
        let first = || self.layouts.first().map(PathBuf::as_path);
        self.store
            .as_deref()
            .or_else(first)
            .unwrap_or(Path::new(""))
    }

    /// Opens all layouts, and lists a shared store.
    ///
    /// # Errors
    /// The errors of opening and reading the layouts, [`Error::SharedStore`] and [`Error::NotInSharedStore`].
    pub fn open(&self, progress: &dyn Progress) -> Result<OpenGroup> {
        let (place, layouts) = self.open_layouts()?;
        let store = place.map(|place| {
            let mut store = Store {
                place,
                states: Vec::new(),
                blobs: Arc::default(),
            };
            store.read_again(&layouts, progress)?;
            Ok::<_, Error>(store)
        });
        Ok(OpenGroup {
            store: store.transpose()?,
            layouts,
            missing: BTreeSet::new(),
        })
    }

    /// Opens all layouts, and a shared store.
    pub(super) fn open_layouts(&self) -> Result<(Option<SharedStore>, Vec<Layout>)> {
        let layouts = self.layouts.iter();
        let Some(store) = &self.store else {
            let layouts = layouts.map(|path| self.open_layout(path));
            return Ok((None, layouts.collect::<Result<_>>()?));
        };
        let store = SharedStore::open(store)?;
        let layouts: Vec<Layout> = layouts
            .map(|path| Ok(Layout::open_in(path, &store)?.ignoring(&self.ignored)))
            .collect::<Result<_>>()?;
        store.refuse_unless_with_owner(&layouts)?;
        Ok((Some(store), layouts))
    }
}

impl OpenGroup {
    /// Returns the layouts.
    #[must_use]
    pub fn layouts(&self) -> &[Layout] {
        &self.layouts
    }

    /// Returns `true` if the group has no shared store.
    #[must_use]
    pub const fn is_alone(&self) -> bool {
        self.store.is_none()
    }

    /// Plans each layout with `make` as if it were alone, and the deletion of blobs that none of them references. Also
    /// returns the notes of `make` for each layout.
    ///
    /// # Errors
    /// The errors of `make`, and of reading the layouts.
    pub fn plan<T, E: From<Error>>(
        &mut self,
        protection: &Protection,
        progress: &dyn Progress,
        mut make: impl FnMut(&mut Snapshot) -> Result<(Plan, T), E>,
    ) -> Result<(GroupPlan, Vec<T>), E> {
        let Self {
            store,
            layouts,
            missing,
        } = self;
        missing.clear();
        let Some(store) = store else {
            let mut plans = Vec::with_capacity(layouts.len());
            let mut notes = Vec::with_capacity(layouts.len());
            for layout in layouts.iter() {
                let layout = layout.try_clone()?;
                let has_trash = layout.trash().open()?.is_some();
                let mut snapshot =
                    Snapshot::of_protected(layout, protection.now, protection.in_flight, progress)?;
                if has_trash {
                    missing.extend(snapshot.graph.missing());
                }
                let (plan, note) = make(&mut snapshot)?;
                plans.push(plan);
                notes.push(note);
            }
            let plan = GroupPlan {
                store: None,
                layouts: plans,
            };
            return Ok((plan, notes));
        };
        let has_trash = store.place.trash().open()?.is_some();
        store.until_settled(layouts, progress, |store, doubt| {
            missing.clear();
            store.plan_once(layouts, protection, doubt, progress, |snapshot| {
                if has_trash {
                    missing.extend(snapshot.graph.missing());
                }
                make(snapshot)
            })
        })
    }

    /// Records the blobs that planning found referenced and missing.
    pub(super) fn note_missing(&mut self, missing: impl IntoIterator<Item = Digest>) {
        self.missing.extend(missing);
    }

    /// Returns the blobs that planning found referenced and missing, if there is a trash.
    pub(super) const fn missing(&self) -> &BTreeSet<Digest> {
        &self.missing
    }

    /// Returns `true` if a blob that planning found referenced and missing is in the trash.
    pub(super) fn lacks_what_is_in_trash(&self) -> Result<bool> {
        match self.layouts.first() {
            Some(any) => is_in_trash(any, &self.missing),
            None => Ok(false),
        }
    }

    /// Locks all layouts, waiting up to `wait` altogether, and executes a plan.
    ///
    /// # Errors
    /// [`Error::Changed`] if one of the layouts changed since the plan was made, others if one is busy, or cannot be read or
    /// written. Nothing was deleted in these cases.
    pub fn execute(
        &self,
        plan: &GroupPlan,
        wait: Duration,
        fs: &dyn Fs,
        progress: &dyn Progress,
    ) -> Result<GroupOutcome> {
        let locked = lock_all(&self.layouts, wait, progress)?;
        execute_locked(&self.layouts, &locked, (plan, wait), fs, progress)
    }
}

/// Executes a plan in locked layouts. If blobs are moved into the trash of a shared store, that is locked as well.
pub(super) fn execute_locked(
    layouts: &[Layout],
    locked: &[Locked<'_>],
    (plan, wait): (&GroupPlan, Duration),
    fs: &dyn Fs,
    progress: &dyn Progress,
) -> Result<GroupOutcome> {
    let is_trashing = plan.store().is_some_and(Plan::is_trashing);
    let _store = match is_trashing {
        true => lock_store(layouts, wait, progress)?,
        false => None,
    };
    execute_group(locked, plan, fs, progress)
}

impl Store {
    fn read_again(&mut self, layouts: &[Layout], progress: &dyn Progress) -> Result<()> {
        crate::threads::start();
        let _listing = Running::begin(progress, Phase::Listing, Total::default());
        self.blobs = Arc::new(BlobList::read_store(layouts)?);
        let states = layouts.iter().map(Layout::read_state);
        self.states = states.collect::<Result<_>>()?;
        Ok(())
    }

    /// Does some work on the state, and repeats it on a new state if a layout changed.
    pub(super) fn until_settled<T, E: From<Error>>(
        &mut self,
        layouts: &[Layout],
        progress: &dyn Progress,
        mut work: impl FnMut(&Self, &mut Doubt) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut is_read = true;
        let path = self.place.path().to_owned();
        settled(&path, || {
            if !std::mem::take(&mut is_read) {
                self.read_again(layouts, progress)?;
            }
            let mut doubt = Doubt::None;
            let worked = work(self, &mut doubt);
            // The change may have caused the error.
            Ok::<_, E>((worked, doubt))
        })?
    }

    pub(super) fn plan_once<T, E: From<Error>>(
        &self,
        all: &[Layout],
        protection: &Protection,
        doubt: &mut Doubt,
        progress: &dyn Progress,
        mut make: impl FnMut(&mut Snapshot) -> Result<(Plan, T), E>,
    ) -> Result<(GroupPlan, Vec<T>), E> {
        let fresh = self.fresh(all, protection, progress)?;
        // A writer of one layout may list what another one released.
        let noted = Noted::read(all);
        let mut latest_now = i128::MIN;
        let mut writer = None;
        let mut unread = Vec::new();
        let mut leaves_orphans = false;
        let mut common = Common::default();
        let mut plans = Vec::with_capacity(all.len());
        let mut notes = Vec::with_capacity(all.len());
        for (layout, state) in all.iter().zip(&self.states) {
            let mut snapshot = self.snapshot(layout, state, protection.now, doubt, progress)?;
            let rule = protection.in_flight;
            snapshot
                .graph
                .protect_among(layout, rule, Some(&fresh), noted.clone(), progress)?;
            let (mut plan, more) = make(&mut snapshot)?;
            if !Arc::ptr_eq(&plan.blobs, &self.blobs) || plan.base != *state.fingerprint() {
                // A plan of another snapshot does not apply to this store.
                plan = Plan::empty(&snapshot);
            }
            common.add(&plan);
            let own = BlobList::read_beside(layout)?;
            let temporary = stale_files(layout, &own, &protection.sweep);
            latest_now = latest_now.max(plan.latest_now);
            if !temporary.is_empty() {
                latest_now = latest_now.max(protection.sweep.now);
            }
            writer = writer.or_else(|| plan.writer.take());
            unread.append(&mut plan.unread);
            leaves_orphans |= plan.leaves_orphans;
            plans.push(Plan {
                temporary,
                blobs: Arc::default(),
                sweep: Deletions::default(),
                kept: Vec::new(),
                spare: Deletions::default(),
                foreign: 0,
                ..plan
            });
            notes.push(more);
        }
        let mut base = Hasher::new(Algorithm::Sha256);
        for state in &self.states {
            base.update(state.fingerprint().to_string().as_bytes());
        }
        let (sweep, kept) = common.finish();
        let at_work = |kept: &Kept| kept.because == KeepReason::WriterAtWork;
        let (path, blobs) = (self.place.path().to_owned(), Arc::clone(&self.blobs));
        if !unread.is_empty() {
            // Another layout may keep a document.
            let (deleted, mut seen) = (sweep.set(), BlobSet::default());
            let mut is_first = |id| deleted.contains(id) && seen.insert(id);
            unread.retain(|(digest, _)| blobs.id(digest).is_some_and(&mut is_first));
        }
        let store = Plan {
            sweep,
            unread,
            leaves_orphans,
            writer: writer.filter(|_| kept.iter().any(at_work)),
            kept,
            merges_layers: all.first().is_some_and(Layout::merges_layers),
            latest_now,
            ..Plan::over(path, base.finish(), blobs)
        };
        let plan = GroupPlan {
            store: Some(store),
            layouts: plans,
        };
        Ok((plan, notes))
    }

    /// Returns the recent blobs that none of the layouts references. To one layout, the blobs of another one look like blobs
    /// in flight.
    fn fresh(
        &self,
        layouts: &[Layout],
        protection: &Protection,
        progress: &dyn Progress,
    ) -> Result<BlobSet> {
        let mut fresh: Option<BlobSet> = None;
        if protection.in_flight.grace <= 0 {
            return Ok(BlobSet::default());
        }
        // Doubtful blobs are considered when the layouts are planned.
        let mut doubt = Doubt::None;
        for (layout, state) in layouts.iter().zip(&self.states) {
            let snapshot = self.snapshot(layout, state, protection.now, &mut doubt, progress)?;
            let mut both = BlobSet::new(self.blobs.len());
            let mut is_empty = true;
            for (id, _) in snapshot.graph.fresh_orphans(protection.in_flight) {
                if fresh.as_ref().is_none_or(|fresh| fresh.contains(id)) {
                    both.insert(id);
                    is_empty = false;
                }
            }
            fresh = Some(both);
            if is_empty {
                // The other layouts cannot add one.
                break;
            }
        }
        Ok(fresh.unwrap_or_default())
    }

    /// Reads what one layout references in the store, and adds doubtful blobs.
    pub(super) fn snapshot(
        &self,
        layout: &Layout,
        state: &State,
        now: Timestamp,
        doubt: &mut Doubt,
        progress: &dyn Progress,
    ) -> Result<Snapshot> {
        let blobs = Arc::clone(&self.blobs);
        let graph = Graph::read(layout, state, blobs, now, progress)?;
        *doubt = (*doubt).max(Doubt::of(&graph, || {
            !is_unchanged(layout, state.fingerprint())
        }));
        Ok(Snapshot {
            graph,
            layout: layout.try_clone()?,
            state: state.clone(),
        })
    }
}

/// The common part of the plans of several layouts over one list of blobs.
#[derive(Debug, Default)]
struct Common {
    /// The blobs that every plan so far deletes; `None` before the first.
    sweep: Option<HashMap<BlobId, Deletion>>,
    /// Blobs that are live in no layout so far, but kept by one of them.
    kept: HashMap<BlobId, Kept>,
}

impl Common {
    fn add(&mut self, plan: &Plan) {
        let deleted = plan.sweep.iter().map(|blob| (blob.id, blob));
        let deleted: HashMap<BlobId, Deletion> = deleted.collect();
        let keeps: HashMap<BlobId, Kept> = plan.kept.iter().map(|kept| (kept.id, *kept)).collect();
        let Some(sweep) = &mut self.sweep else {
            self.sweep = Some(deleted);
            self.kept = keeps;
            return;
        };
        // A blob that one of them references is not an orphan, even if it is recent.
        self.kept
            .retain(|id, _| deleted.contains_key(id) || keeps.contains_key(id));
        for (id, kept) in keeps {
            if sweep.remove(&id).is_some() {
                self.kept.insert(id, kept);
            }
        }
        sweep.retain(|id, _| deleted.contains_key(id));
    }

    /// Returns the blobs to delete and those to keep, in the order of the directories.
    fn finish(self) -> (Deletions, Vec<Kept>) {
        let mut sweep: Vec<Deletion> = self.sweep.into_iter().flatten().map(|(_, v)| v).collect();
        sweep.sort_by_key(|blob| blob.id);
        let mut kept: Vec<Kept> = self.kept.into_values().collect();
        kept.sort_by_key(|kept| kept.id);
        (Deletions::of(sweep), kept)
    }
}
