//! Layouts that share a pool of blobs: read together, marked together, swept together.
//!
//! A blob of the pool is live when any of the layouts leads to it. What is live follows from one live blob
//! at a time (a document leads on, a subject to its referrer), so the union of what each layout leads to is
//! what all of them lead to.
//!
//! *Order*: the pool is listed before the first `index.json` is read, as for a single layout. All layouts are
//! locked, in an order on which every process agrees, and read again, before the first blob goes.
//!
//! *Promise*: a layout that cannot be read or marked stops the sweep, whichever it is. An orphan is in flight
//! if it is so for any of the layouts: younger than the grace period, and not older than the oldest of their
//! `index.json`, for nobody knows which of them a writer is about to replace.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::error::Result;
use crate::execute::{Outcome, Refused, execute_pool};
use crate::graph::{Bits, Flight, Graph, InFlight, LiveSet, MarkOptions, Orphan};
use crate::images::images;
use crate::layout::lock::Locked;
use crate::layout::pool::Pool;
use crate::layout::{BlobId, BlobList, Layout, State};
use crate::observe::{Observer, Phase};
use crate::oci::Algorithm;
use crate::oci::digest::Hasher;
use crate::plan::{Because, Kept, Plan, Retire, SweepOptions, Victim, left_over};
use crate::sys::Fs;
use crate::usage::{Counted, Row, files};
use crate::view::View;

/// Layouts with their pool, as they were at one moment.
#[derive(Debug)]
pub struct Shared {
    pool: Pool,
    layouts: Vec<Layout>,
    states: Vec<State>,
    blobs: Arc<BlobList>,
}

/// What is to be done to a pool and to the layouts that use it.
#[derive(Debug)]
pub struct SharedPlan {
    /// The sweep of the pool.
    pub pool: Plan,
    /// For each layout: the temporary files of its writers.
    pub layouts: Vec<Plan>,
}

/// What became of a [`SharedPlan`].
#[derive(Debug)]
pub struct SharedOutcome {
    /// Of the pool.
    pub pool: Outcome,
    /// Of each layout.
    pub layouts: Vec<Outcome>,
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

/// What a sweep of a pool leaves alone, and what it accepts.
#[derive(Debug)]
pub struct SharedOptions<'a> {
    /// The present.
    pub now: Timestamp,
    /// When an orphan counts as being written.
    pub in_flight: InFlight,
    /// What to do with temporary files.
    pub sweep: SweepOptions,
    /// What each layout is marked from.
    pub mark: MarkOptions<'a>,
}

impl Shared {
    /// Reads a pool and all layouts that use it.
    ///
    /// # Errors
    /// What opening and reading any of them says, [`Error::Pool`](crate::Error::Pool) and
    /// [`Error::NotInPool`](crate::Error::NotInPool).
    pub fn read(
        pool: impl Into<PathBuf>,
        layouts: &[PathBuf],
        observer: &dyn Observer,
    ) -> Result<Self> {
        let pool = Pool::open(pool)?;
        let layouts: Vec<Layout> = layouts
            .iter()
            .map(|path| Layout::open_in(path, &pool))
            .collect::<Result<_>>()?;
        pool.refuse_unless_with_owner(&layouts)?;
        observer.begin(Phase::Listing, None);
        let blobs = Arc::new(BlobList::read_pool(&layouts)?);
        let states = layouts
            .iter()
            .map(Layout::read_state)
            .collect::<Result<_>>()?;
        Ok(Self {
            pool,
            layouts,
            states,
            blobs,
        })
    }

    /// Returns the layouts.
    #[must_use]
    pub fn layouts(&self) -> &[Layout] {
        &self.layouts
    }

    /// Plans to delete what none of the layouts leads to.
    ///
    /// # Errors
    /// As [`Graph::mark`], for any of the layouts.
    pub fn plan(&self, options: &SharedOptions<'_>, observer: &dyn Observer) -> Result<SharedPlan> {
        let mut union = Union::default();
        for (layout, state) in self.layouts.iter().zip(&self.states) {
            let blobs = Arc::clone(&self.blobs);
            let mut graph = Graph::read(layout, state, blobs, options.now, observer)?;
            graph.protect_in_flight(layout, state, options.in_flight, observer)?;
            let live = graph.mark(layout, state, &options.mark)?;
            union.add(&graph, &live);
        }
        let (sweep, kept) = union.finish();
        let mut base = Hasher::new(Algorithm::Sha256);
        for state in &self.states {
            base.update(state.fingerprint().to_string().as_bytes());
        }
        let pool = Plan {
            layout: self.pool.path().to_owned(),
            base: base.finish(),
            blobs: Arc::clone(&self.blobs),
            sweep,
            kept,
            temporary: Vec::new(),
            foreign: self.blobs.foreign.len(),
            writes: crate::layout::Writes::default(),
            spare: Vec::new(),
            retire: Retire::No,
        };
        let layouts = self
            .layouts
            .iter()
            .zip(&self.states)
            .map(|(layout, state)| {
                let own = BlobList::read_beside(layout)?;
                Ok(Plan {
                    layout: layout.path().to_owned(),
                    base: state.fingerprint().clone(),
                    temporary: left_over(layout, &own, &options.sweep),
                    blobs: Arc::default(),
                    sweep: Vec::new(),
                    kept: Vec::new(),
                    foreign: 0,
                    writes: crate::layout::Writes::default(),
                    spare: Vec::new(),
                    retire: Retire::No,
                })
            })
            .collect::<Result<_>>()?;
        Ok(SharedPlan { pool, layouts })
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

    /// Measures the pool. RECLAIMABLE is what a sweep frees.
    ///
    /// # Errors
    /// [`Error::Interrupted`](crate::Error::Interrupted) and the like; layouts that cannot be marked are no error, but then nothing
    /// could be reclaimed.
    pub fn usage(
        &self,
        options: &SharedOptions<'_>,
        fs: &dyn Fs,
        observer: &dyn Observer,
    ) -> Result<SharedUsage> {
        let mut rows = Vec::with_capacity(self.layouts.len());
        let mut all = Bits::new(self.blobs.len());
        let mut known = None;
        for (layout, state) in self.layouts.iter().zip(&self.states) {
            let blobs = Arc::clone(&self.blobs);
            let view = View {
                graph: Graph::read(layout, state, blobs, options.now, observer)?,
                layout: Layout::open_in(layout.path(), &self.pool)?,
                state: state.clone(),
            };
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
        let (freed, refusal) = match self.plan(options, observer) {
            Ok(plan) => (plan.pool.totals(), None),
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

/// What several graphs over one list of blobs say together. Only marked graphs are taken, so that what is
/// left over is left over by all.
#[derive(Debug, Default)]
struct Union {
    /// Blobs that are orphans in every graph so far; `None` before the first.
    orphans: Option<Vec<Orphan>>,
    flight: HashMap<BlobId, Flight>,
}

impl Union {
    fn add(&mut self, graph: &Graph, live: &LiveSet) {
        let here = graph.orphans();
        let find = |id: BlobId| {
            let place = here.binary_search_by_key(&id, |orphan| orphan.id);
            place.ok().and_then(|place| here.get(place))
        };
        let is_orphan = |orphan: &Orphan| find(orphan.id).is_some() && !live.contains(orphan.id);
        match &mut self.orphans {
            None => {
                let orphans = here.iter().copied().filter(is_orphan).collect();
                self.orphans = Some(orphans);
            }
            Some(orphans) => {
                orphans.retain(is_orphan);
                for orphan in orphans {
                    // What could not be looked into once may be a referrer.
                    if find(orphan.id).is_some_and(|now| now.file.is_none()) {
                        orphan.file = None;
                    }
                }
            }
        }
        for orphan in self.orphans.iter().flatten() {
            if let Some(flight) = graph.in_flight(orphan.id) {
                self.flight.entry(orphan.id).or_insert(flight);
            }
        }
    }

    fn finish(self) -> (Vec<Victim>, Vec<Kept>) {
        let mut sweep = Vec::new();
        let mut kept = Vec::new();
        for Orphan { id, file } in self.orphans.unwrap_or_default() {
            let keep = |len, because| Kept { id, len, because };
            match (file, self.flight.get(&id)) {
                (None, _) => kept.push(keep(0, Because::Unreadable)),
                (Some(file), Some(flight)) => {
                    kept.push(keep(file.len, Because::of(*flight, &file)));
                }
                (Some(file), None) => sweep.push(Victim { id, file }),
            }
        }
        (sweep, kept)
    }
}
