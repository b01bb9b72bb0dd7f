//! Layouts that share a pool of blobs: read together, marked together, swept together.
//!
//! A blob of the pool goes when each of the layouts, planned for itself, would let it go. What is live follows
//! from one live blob at a time (a document leads on, a subject to its referrer), so that what is live in none
//! of them is live in all of them together neither.
//!
//! *Order*: the pool is listed before the first `index.json` is read, as for a single layout. All layouts are
//! locked, in an order on which every process agrees, and read again, before the first blob goes.
//!
//! *Promise*: a layout that cannot be read or marked stops the sweep, whichever it is. A blob that none of the layouts
//! references is in flight while it is younger than the grace period.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::execute::SharedOutcome;
use crate::execute::{Refused, execute_pool};
use crate::fs::Fs;
use crate::graph::{Accept, Bits, Graph, InFlight};
use crate::layout::change_detector::is_still;
use crate::layout::lock::Locked;
use crate::layout::shared_blobs::Pool;
use crate::layout::{BlobId, BlobList, IgnoredIndexes, Layout, State, Writes};
use crate::model::images::images;
use crate::model::inventory::{Counted, files};
use crate::model::snapshot::{Doubt, View, settled};
use crate::oci::Algorithm;
use crate::oci::digest::Hasher;
use crate::plan::SharedPlan;
use crate::plan::{
    Because, Kept, Order, Plan, Retire, SweepOptions, Victim, Victims, left_over, sweep_all,
};
use crate::progress::{Observer, Phase};
use crate::report::usage::Row;

/// Layouts with their pool, as they were at one moment.
#[derive(Debug)]
pub struct Shared {
    pool: Pool,
    layouts: Vec<Layout>,
    states: Vec<State>,
    blobs: Arc<BlobList>,
}

/// The bytes of a pool.
#[derive(Debug)]
pub struct SharedUsage {
    /// For each layout: its images, and the bytes that it leads to, also where others do so too.
    pub layouts: Vec<Row>,
    /// Blobs that no layout leads to.
    pub orphans: Row,
    /// Everything in the pool, each inode once.
    pub total: Row,
    /// Why a sweep would refuse, so that nothing is reclaimable.
    pub refusal: Option<String>,
}

/// What a sweep of a pool leaves alone.
#[derive(Debug, Clone, Copy)]
pub struct SharedOptions {
    /// The present.
    pub now: Timestamp,
    /// When an orphan counts as being written.
    pub in_flight: InFlight,
    /// What to do with temporary files.
    pub sweep: SweepOptions,
}

impl Shared {
    /// Reads a pool and all layouts that use it.
    ///
    /// # Errors
    /// What opening and reading any of them says, [`Error::Pool`] and [`Error::NotInPool`].
    pub fn read(
        pool: impl Into<PathBuf>,
        layouts: &[PathBuf],
        observer: &dyn Observer,
    ) -> Result<Self> {
        Self::read_ignoring(pool, layouts, &IgnoredIndexes::default(), observer)
    }

    /// Does the same without some second indexes of the layouts.
    ///
    /// # Errors
    /// As [`Shared::read`].
    pub fn read_ignoring(
        pool: impl Into<PathBuf>,
        layouts: &[PathBuf],
        ignored: &IgnoredIndexes,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let pool = Pool::open(pool)?;
        let layouts: Vec<Layout> = layouts
            .iter()
            .map(|path| Ok(Layout::open_in(path, &pool)?.ignoring(ignored)))
            .collect::<Result<_>>()?;
        pool.refuse_unless_with_owner(&layouts)?;
        let mut shared = Self {
            pool,
            layouts,
            states: Vec::new(),
            blobs: Arc::default(),
        };
        shared.read_again(observer)?;
        Ok(shared)
    }

    fn read_again(&mut self, observer: &dyn Observer) -> Result<()> {
        crate::threads::start();
        observer.begin(Phase::Listing, None);
        self.blobs = Arc::new(BlobList::read_pool(&self.layouts)?);
        let states = self.layouts.iter().map(Layout::read_state);
        self.states = states.collect::<Result<_>>()?;
        Ok(())
    }

    /// Does some work on what was read, and on what is read anew while a layout changes under it.
    fn settle<T, E: From<Error>>(
        &mut self,
        observer: &dyn Observer,
        mut work: impl FnMut(&Self, &mut Doubt) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut is_read = true;
        let path = self.pool.path().to_owned();
        settled(&path, || {
            if !std::mem::take(&mut is_read) {
                self.read_again(observer)?;
            }
            let mut doubt = Doubt::None;
            let worked = work(self, &mut doubt);
            // What a layout at rest would be refused for may come from the change.
            Ok::<_, E>((worked, doubt))
        })?
    }

    /// Returns the layouts.
    #[must_use]
    pub fn layouts(&self) -> &[Layout] {
        &self.layouts
    }

    /// Plans to delete what none of the layouts needs. `make` plans one layout as if the pool were its own,
    /// with a sweep of everything; what else it says is returned for each layout.
    ///
    /// # Errors
    /// What `make` says of any of the layouts, and what reading it says.
    pub fn plan<T, E: From<Error>>(
        &mut self,
        options: &SharedOptions,
        observer: &dyn Observer,
        mut make: impl FnMut(&View) -> Result<(Plan, T), E>,
    ) -> Result<(SharedPlan, Vec<T>), E> {
        self.settle(observer, |shared, doubt| {
            shared.plan_once(options, doubt, observer, &mut make)
        })
    }

    fn plan_once<T, E: From<Error>>(
        &self,
        options: &SharedOptions,
        doubt: &mut Doubt,
        observer: &dyn Observer,
        mut make: impl FnMut(&View) -> Result<(Plan, T), E>,
    ) -> Result<(SharedPlan, Vec<T>), E> {
        let fresh = self.fresh(options, observer)?;
        let mut latest_now = i128::MIN;
        let mut writer = None;
        let mut common = Common::default();
        let mut layouts = Vec::with_capacity(self.layouts.len());
        let mut said = Vec::with_capacity(self.layouts.len());
        for (layout, state) in self.layouts.iter().zip(&self.states) {
            let mut view = self.view(layout, state, options.now, doubt, observer)?;
            view.graph
                .protect_among(layout, options.in_flight, Some(&fresh), observer)?;
            let (mut plan, more) = make(&view)?;
            if !Arc::ptr_eq(&plan.blobs, &self.blobs) || plan.base != *state.fingerprint() {
                // A plan of another view says nothing of this pool.
                plan = Plan::empty(&view);
            }
            common.add(&plan);
            let own = BlobList::read_beside(layout)?;
            let temporary = left_over(layout, &own, &options.sweep);
            latest_now = latest_now.max(plan.latest_now);
            if !temporary.is_empty() {
                latest_now = latest_now.max(options.sweep.now);
            }
            writer = writer.or_else(|| plan.writer.take());
            layouts.push(Plan {
                temporary,
                blobs: Arc::default(),
                sweep: Victims::new(),
                kept: Vec::new(),
                spare: Victims::new(),
                foreign: 0,
                ..plan
            });
            said.push(more);
        }
        let mut base = Hasher::new(Algorithm::Sha256);
        for state in &self.states {
            base.update(state.fingerprint().to_string().as_bytes());
        }
        let (sweep, kept) = common.finish();
        let pool = Plan {
            layout: self.pool.path().to_owned(),
            base: base.finish(),
            blobs: Arc::clone(&self.blobs),
            sweep,
            order: Order::Directories,
            writer: writer.filter(|_| {
                let mut kept = kept.iter();
                kept.any(|kept| kept.because == Because::WriterAtWork)
            }),
            kept,
            temporary: Vec::new(),
            foreign: self.blobs.foreign.len(),
            writes: Writes::default(),
            spare: Victims::new(),
            retire: Retire::No,
            latest_now,
        };
        Ok((SharedPlan { pool, layouts }, said))
    }

    /// Returns the recent blobs that none of the layouts references. To one layout what another one has listed looks
    /// like a blob in flight.
    fn fresh(&self, options: &SharedOptions, observer: &dyn Observer) -> Result<Bits> {
        let mut fresh: Option<Bits> = None;
        if options.in_flight.grace <= 0 {
            return Ok(Bits::default());
        }
        // Whether it can be relied on is asked when the layouts are planned.
        let mut doubt = Doubt::None;
        for (layout, state) in self.layouts.iter().zip(&self.states) {
            let view = self.view(layout, state, options.now, &mut doubt, observer)?;
            let mut both = Bits::new(self.blobs.len());
            let mut is_empty = true;
            for (id, _) in view.graph.fresh_orphans(options.in_flight) {
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

    /// Reads what one layout leads to in the pool, and adds to the doubt whether it can be relied on.
    fn view(
        &self,
        layout: &Layout,
        state: &State,
        now: Timestamp,
        doubt: &mut Doubt,
        observer: &dyn Observer,
    ) -> Result<View> {
        let blobs = Arc::clone(&self.blobs);
        let graph = Graph::read(layout, state, blobs, now, observer)?;
        *doubt = (*doubt).max(Doubt::of(&graph, || !is_still(layout, state.fingerprint())));
        Ok(View {
            graph,
            layout: layout.try_clone()?,
            state: state.clone(),
        })
    }

    /// Locks all layouts, waiting up to `wait` altogether, and does what the plan says.
    ///
    /// # Errors
    /// [`Refused::Changed`] when one of the layouts is other than the plan rests on, [`Refused::Error`]
    /// when one is busy, or cannot be read or written. Nothing was deleted then.
    pub fn execute(
        &self,
        plan: &SharedPlan,
        wait: Duration,
        fs: &dyn Fs,
        observer: &dyn Observer,
    ) -> Result<SharedOutcome, Refused> {
        let mut order = Vec::with_capacity(self.layouts.len());
        for (number, layout) in self.layouts.iter().enumerate() {
            order.push((layout.identity()?, number));
        }
        // Two processes with the same layouts in another order would wait for one another.
        order.sort_unstable();
        let start = Instant::now();
        let mut locked: Vec<(usize, Locked<'_>)> = Vec::with_capacity(order.len());
        for (_, number) in order {
            let Some(layout) = self.layouts.get(number) else {
                continue;
            };
            let left = wait.saturating_sub(start.elapsed());
            locked.push((number, Locked::acquire(layout, left, observer)?));
        }
        locked.sort_by_key(|(number, _)| *number);
        let locked: Vec<Locked<'_>> = locked.into_iter().map(|(_, locked)| locked).collect();
        execute_pool(&locked, plan, fs, observer)
    }

    /// Measures the pool. RECLAIMABLE is what a sweep frees, if documents are not missing and no layout is
    /// empty.
    ///
    /// # Errors
    /// [`Error::Interrupted`] and the like; layouts that cannot be marked are no error, but then nothing
    /// could be reclaimed.
    pub fn usage(
        &mut self,
        options: &SharedOptions,
        fs: &dyn Fs,
        observer: &dyn Observer,
    ) -> Result<SharedUsage> {
        self.settle(observer, |shared, doubt| {
            shared.usage_once(options, fs, doubt, observer)
        })
    }

    fn usage_once(
        &self,
        options: &SharedOptions,
        fs: &dyn Fs,
        doubt: &mut Doubt,
        observer: &dyn Observer,
    ) -> Result<SharedUsage> {
        let mut rows = Vec::with_capacity(self.layouts.len());
        let mut all = Bits::new(self.blobs.len());
        let mut known = None;
        for (layout, state) in self.layouts.iter().zip(&self.states) {
            let view = self.view(layout, state, options.now, doubt, observer)?;
            let files = known.get_or_insert_with(|| files(&view, fs));
            let roots = view.graph.roots().iter();
            let live = view
                .graph
                .reach(roots.filter_map(|root| root.target.as_ref().ok().copied()));
            let images = images(&view, options.now).len() as u64;
            rows.push(Row {
                total: images,
                active: images,
                size: Counted::new(files).take(&live),
                reclaimable: 0,
            });
            all.merge(&live);
        }
        let files = known.unwrap_or_default();
        let mut counted = Counted::new(&files);
        let used = counted.take(&all);
        let is_orphan = |id: BlobId| !all.contains(id);
        let mut orphans = Row {
            total: files.iter().filter(|(id, _)| is_orphan(*id)).count() as u64,
            active: 0,
            size: counted.take_rest(),
            reclaimable: 0,
        };
        let plan = self.plan_once(options, doubt, observer, |view| {
            sweep_all(view, Accept::No, Accept::No, fs, &options.sweep).map(|plan| (plan, ()))
        });
        let (freed, refusal) = match plan {
            Ok((plan, _)) => (plan.pool.totals(), None),
            Err(error) if error.kind() == crate::ErrorKind::Refused => {
                (crate::plan::Totals::default(), Some(error.to_string()))
            }
            Err(error) => return Err(error),
        };
        orphans.active = orphans.total.saturating_sub(freed.blobs);
        orphans.reclaimable = freed.freed_bytes;
        let total = Row {
            total: rows.iter().map(|row| row.total).sum(),
            active: rows.iter().map(|row| row.active).sum(),
            size: used.saturating_add(orphans.size),
            reclaimable: orphans.reclaimable,
        };
        Ok(SharedUsage {
            layouts: rows,
            orphans,
            total,
            refusal,
        })
    }
}

/// What the plans of several layouts over one list of blobs agree upon.
#[derive(Debug, Default)]
struct Common {
    /// What every plan so far lets go; `None` before the first.
    sweep: Option<HashMap<BlobId, Victim>>,
    /// What is live in none so far, and kept by one of them.
    kept: HashMap<BlobId, Kept>,
}

impl Common {
    fn add(&mut self, plan: &Plan) {
        let going: HashMap<BlobId, Victim> = plan
            .sweep
            .iter()
            .map(|victim| (victim.id, victim))
            .collect();
        let keeps: HashMap<BlobId, Kept> = plan.kept.iter().map(|kept| (kept.id, *kept)).collect();
        let Some(sweep) = &mut self.sweep else {
            self.sweep = Some(going);
            self.kept = keeps;
            return;
        };
        // What one of them leads to is no orphan, however young.
        self.kept
            .retain(|id, _| going.contains_key(id) || keeps.contains_key(id));
        for (id, kept) in keeps {
            if sweep.remove(&id).is_some() {
                self.kept.insert(id, kept);
            }
        }
        sweep.retain(|id, _| going.contains_key(id));
    }

    /// Returns what goes and what is kept, in the order of the directories.
    fn finish(self) -> (Victims, Vec<Kept>) {
        let mut sweep: Vec<Victim> = self.sweep.into_iter().flatten().map(|(_, v)| v).collect();
        sweep.sort_by_key(|victim| victim.id);
        let mut kept: Vec<Kept> = self.kept.into_values().collect();
        kept.sort_by_key(|kept| kept.id);
        (Victims::of(sweep), kept)
    }
}
