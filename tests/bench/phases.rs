//! The time of each part of a sweep, compared with the same part of the floor.
//!
//! The parts of the floor and of this program run in this process, each on its own layout, so that parts can be timed that
//! no command runs alone. Everything else (starting a process, freeing memory) is in the tables of whole commands.

use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ocisweep::Snapshot;
use ocisweep::execute::execute;
use ocisweep::fs::Disk;
use ocisweep::graph::{EmptyIndex, GracePolicy, Graph, MissingDocuments};
use ocisweep::layout::Layout as OciLayout;
use ocisweep::layout::lock::Locked;
use ocisweep::model::entries::list_entries;
use ocisweep::model::images::list_images;
use ocisweep::model::inventory::files;
use ocisweep::plan::{SweepOptions, sweep_all};
use ocisweep::progress::{Phase, Progress, Silent, Total};
use ocisweep::report::usage::usage;
use rustix::time::{ClockId, clock_gettime};

use crate::contend::Bench;
use crate::floor;
use crate::layout::Layout;
use crate::measure::Invocation;
use crate::report::seconds;
use crate::shape::Shape;

/// Wall clock, and processor time of all threads.
#[derive(Clone, Copy, Debug)]
struct Moment {
    wall: Instant,
    cpu: Duration,
}

impl Moment {
    fn now() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Self {
            wall: Instant::now(),
            cpu: Duration::new(
                cpu.tv_sec.unsigned_abs(),
                u32::try_from(cpu.tv_nsec).unwrap_or_default(),
            ),
        }
    }
}

/// The cost of a part.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

impl Cost {
    fn between(begin: Moment, end: Moment) -> Self {
        Self {
            wall: end.wall.duration_since(begin.wall),
            cpu: end.cpu.saturating_sub(begin.cpu),
        }
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let begin = Moment::now();
    let result = work();
    (result, Cost::between(begin, Moment::now()))
}

/// Records when reading the graph reaches the next part.
#[derive(Debug, Default)]
struct Clock(Mutex<Vec<(Phase, Moment)>>);

impl Progress for Clock {
    fn begin(&self, phase: Phase, _total: Total) {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.push((phase, Moment::now()));
    }
}

/// Prints the table of a shape.
pub(crate) fn run(out: &mut dyn Write, bench: &Bench, shape: &Shape) -> io::Result<()> {
    let least = least(bench, &bench.generate(shape)?)?;
    let ours = ours(bench, &bench.generate(shape)?)?;
    writeln!(out, "\n### {}: where the time goes\n", shape.name)?;
    writeln!(
        out,
        "| part | floor wall | CPU | ours wall | CPU |\n| --- |{}",
        " ---: |".repeat(4)
    )?;
    for (part, cost) in ours {
        let floor = least.iter().find(|(name, _)| *name == part);
        let show = |time: Duration| seconds(time.as_secs_f64());
        write!(out, "| {part} |")?;
        match floor {
            Some((_, floor)) => write!(out, " {} | {} |", show(floor.wall), show(floor.cpu))?,
            None => write!(out, " – | – |")?,
        }
        writeln!(out, " {} | {} |", show(cost.wall), show(cost.cpu))?;
    }
    Ok(())
}

const LIST: &str = "list the blobs";
const INDEX: &str = "read `index.json`";
const DOCUMENTS: &str = "read the documents";
const ORPHANS: &str = "look into the orphans";
const DELETE: &str = "delete";
/// The floor lists them for it as well.
const STAT: &str = "`df`: look at each blob, and plan";

/// The parts of the floor.
fn least(bench: &Bench, layout: &Layout) -> io::Result<Vec<(&'static str, Cost)>> {
    let place = &layout.place;
    let blobs = floor::open_blobs(&place.layout())?;
    let (listed, list) = timed(|| floor::each_name(blobs.as_fd(), |_| ()));
    listed?;
    let (read, index) = timed(|| std::fs::read(place.layout().join("index.json")));
    read?;
    let text = std::fs::read_to_string(place.document_list())?;
    let names: Vec<_> = text.lines().collect();
    let (read, documents) = timed(|| floor::read_all(blobs.as_fd(), &names));
    read?;
    let text = std::fs::read_to_string(place.garbage_list())?;
    let names: Vec<_> = text.lines().collect();
    let (read, orphans) = timed(|| floor::read_all(blobs.as_fd(), &names));
    read?;
    let (looked, stat) = timed(|| floor::look_at_each(&blobs, crate::parallel::cores()));
    looked?;
    let threads = bench.file_system.threads;
    let (deleted, delete) = timed(|| floor::delete_all(blobs.as_fd(), &names, threads));
    deleted?;
    Ok(vec![
        (LIST, list),
        (INDEX, index),
        (DOCUMENTS, documents),
        (ORPHANS, orphans),
        (STAT, stat),
        (DELETE, delete),
    ])
}

/// The parts of this program.
fn ours(bench: &Bench, layout: &Layout) -> io::Result<Vec<(&'static str, Cost)>> {
    let path = layout.place.layout();
    let telling = telling(bench, layout)?;
    let now = Timestamp::now();
    let opened = OciLayout::open(&path).map_err(io::Error::other)?;
    let (blobs, list) = timed(|| opened.list());
    let blobs = Arc::new(blobs.map_err(io::Error::other)?);
    let (state, index) = timed(|| opened.read_state());
    let state = state.map_err(io::Error::other)?;
    let clock = Clock::default();
    let graph = Graph::read(&opened, &state, blobs, now, &clock).map_err(io::Error::other)?;
    let end = Moment::now();
    let begun = clock.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    let [reading, sniffing, ..] = begun.as_slice() else {
        return Err(io::Error::other("reading has not the parts that it had"));
    };
    let documents = Cost::between(reading.1, sniffing.1);
    let orphans = Cost::between(sniffing.1, end);
    let mut view = Snapshot {
        layout: opened,
        state,
        graph,
    };
    let rule = GracePolicy::new(now, Duration::ZERO);
    view.protect(rule, &Silent).map_err(io::Error::other)?;
    let options = SweepOptions::new(now, now, Duration::ZERO);
    let (known, known_cost) = timed(|| list_images(&view, now));
    let (used, usage) = timed(|| {
        let (entries, files) = (list_entries(&view), files(&view, &Disk));
        usage(&view, &known, &entries, &files, &options)
    });
    used.map_err(io::Error::other)?;
    let (plan, planning) = timed(|| {
        sweep_all(
            &view,
            MissingDocuments::Refuse,
            EmptyIndex::Refuse,
            &Disk,
            &options,
        )
    });
    let plan = plan.map_err(io::Error::other)?;
    let Snapshot {
        layout: opened,
        state,
        graph,
    } = view;
    let ((), forgetting) = timed(|| drop((state, graph, known)));
    let locked = Locked::acquire(&opened, Duration::ZERO, &Silent).map_err(io::Error::other)?;
    let (done, delete) = timed(|| execute(&locked, &plan, &Disk, &Silent));
    match done {
        Ok(_) => {}
        Err(error) => return Err(io::Error::other(error)),
    }
    if let Some(fault) = layout.fault_after_sweep()? {
        return Err(io::Error::other(fault));
    }
    Ok(vec![
        (LIST, list),
        (INDEX, index),
        (DOCUMENTS, documents),
        (ORPHANS, orphans),
        ("mark and plan", planning),
        ("forget what was read", forgetting),
        (DELETE, delete),
        ("tell each blob", telling),
        ("`df`: put images together", known_cost),
        (STAT, usage),
    ])
}

/// Returns the additional time of a dry run that prints each blob.
fn telling(bench: &Bench, layout: &Layout) -> io::Result<Cost> {
    let run = |args: &[&str]| {
        let mut call = Invocation::new(&bench.options.binary, args.iter().copied());
        call.args.push(layout.place.layout().into());
        bench.meter.run(&call)
    };
    let silent = run(&["gc", "--dry-run", "--quiet"])?;
    let told = run(&["gc", "--dry-run"])?;
    let cpu = told.cpu.zip(silent.cpu);
    Ok(Cost {
        wall: told.wall.saturating_sub(silent.wall),
        cpu: cpu.map_or(Duration::ZERO, |(told, silent)| told.saturating_sub(silent)),
    })
}
