//! The command line.

use std::io;
use std::path::PathBuf;

use crate::floor::{Ending, Task};
use crate::host;
use crate::parallel;
use crate::shape::{self, Scale, Shape};

/// The output of `--help`.
pub(crate) const HELP: &str = "\
usage: cargo bench --bench bench -- [OPTIONS]
       cargo bench --bench bench -- generate SHAPE DIR    (makes DIR/layout and leaves it there)

  --shapes A,B,..   shapes to measure (default: all)
                      P1   24,000 blobs, 1,000 names
                      P2   200,000 blobs in 100 images
                      P2b  200,000 blobs in 10,000 images
                      P3   10,000 names on 100 images
                      P4   250 indexes of 8 platforms
                      H    32 images of four 16 MiB layers, for `check`
                      M    1,000,000 blobs, half of them garbage
  --runs N          rounds (default: 5)
  --dir DIR         where layouts are made: decides which file system is measured (default: below target/;
                    of --all: the large ones in memory)
  --strace          count system calls as well, in one more round
  --scale           also measure how cost grows with blobs and with entries
  --archives        also measure an archive of 2 GiB
  --lists           also measure long lists, and small layouts
  --cold            drop the page cache before each run (as root): what waits for the disk
  --places          measure only P1 and P2b/5 on ext4, xfs, btrfs and the disk, warm and cold (as root)
  --latency         measure only requests that take 1 and 10 ms longer (with strace)
  --all             measure everything in one run, of about half an hour
  --trash           measure only `gc --trash`, `undo` and `trash empty`, on each shape
  --phases          also show where the time goes, part by part
  --no-umoci        leave umoci out, which takes longest
  --binary PATH     the ocisweep to measure (default: the one just built)
  --small-binary P  one that was built to be small, of which only the size is measured
  --baseline PATH   another ocisweep, to compare with
  --smoke           tiny layouts, one round, everything tried";

/// What to do.
#[derive(Debug)]
pub(crate) enum Request {
    /// Show the help.
    Help,
    /// Make a layout, to inspect it or to run a profiler on it.
    Generate(Shape, PathBuf),
    /// Run the floor.
    Floor(Task),
    /// Measure.
    Bench(Options),
}

/// What to measure.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) scale: Scale,
    pub(crate) shapes: Vec<Shape>,
    pub(crate) runs: usize,
    pub(crate) dir: PathBuf,
    /// A directory on the machine's disk: for archives, and for the file systems that are compared.
    pub(crate) disk: PathBuf,
    pub(crate) umoci: bool,
    pub(crate) strace: bool,
    pub(crate) scaling: bool,
    pub(crate) archives: bool,
    pub(crate) lists: bool,
    pub(crate) cold: bool,
    pub(crate) trash: bool,
    pub(crate) places: bool,
    pub(crate) latency: bool,
    pub(crate) all: bool,
    pub(crate) size: bool,
    pub(crate) sweeps: bool,
    pub(crate) phases: bool,
    pub(crate) binary: PathBuf,
    pub(crate) small_binary: Option<PathBuf>,
    pub(crate) baseline: Option<PathBuf>,
}

/// Reads the command line.
///
/// # Errors
/// For unknown or incomplete arguments.
pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> io::Result<Request> {
    let mut args = args.into_iter().peekable();
    if args.next_if(|arg| arg == "floor").is_some() {
        return parse_floor(args).map(Request::Floor);
    }
    if args.next_if(|arg| arg == "generate").is_some() {
        return parse_generate(args);
    }
    let mut is_smoke = args.peek().is_none();
    let mut wanted: Option<Vec<String>> = None;
    let mut runs = None;
    let mut options = Options {
        scale: Scale::Full,
        shapes: Vec::new(),
        runs: 0,
        dir: PathBuf::new(),
        disk: option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from),
        umoci: true,
        strace: false,
        scaling: false,
        archives: false,
        lists: false,
        cold: false,
        trash: false,
        places: false,
        latency: false,
        all: false,
        size: false,
        sweeps: true,
        phases: false,
        binary: option_env!("CARGO_BIN_EXE_ocisweep")
            .map(PathBuf::from)
            .unwrap_or_default(),
        small_binary: None,
        baseline: None,
    };
    let mut dir = None;
    while let Some(arg) = args.next() {
        let mut value = || {
            args.next()
                .ok_or_else(|| wrong(format!("`{arg}` wants a value")))
        };
        match arg.as_str() {
            // Added by cargo.
            "--bench" => {}
            "--help" | "-h" => return Ok(Request::Help),
            "--smoke" => is_smoke = true,
            "--shapes" => wanted = Some(value()?.split(',').map(str::to_owned).collect()),
            "--runs" => runs = Some(number(&value()?)?),
            "--dir" => dir = Some(PathBuf::from(value()?)),
            "--no-umoci" => options.umoci = false,
            "--strace" => options.strace = true,
            "--scale" | "--scaling" => options.scaling = true,
            "--archives" => options.archives = true,
            "--lists" => options.lists = true,
            "--cold" => options.cold = true,
            "--trash" => (options.trash, options.sweeps) = (true, false),
            "--places" => (options.places, options.sweeps) = (true, false),
            "--latency" => (options.latency, options.sweeps) = (true, false),
            "--all" => (options.all, options.size) = (true, true),
            "--phases" => options.phases = true,
            "--binary" => options.binary = value()?.into(),
            "--small-binary" => {
                (options.small_binary, options.size) = (Some(value()?.into()), true);
            }
            "--baseline" => options.baseline = Some(value()?.into()),
            _ => return Err(wrong(format!("unknown argument `{arg}`"))),
        }
    }
    if !options.binary.is_file() {
        return Err(wrong(
            "there is no `ocisweep` to measure: say `--binary PATH`",
        ));
    }
    if is_smoke {
        options.scale = Scale::Smoke;
        options.strace = true;
        options.scaling = true;
        options.archives = true;
        options.lists = true;
        options.trash = true;
        options.phases = true;
        options.places = true;
        options.latency = true;
        options.size = true;
        options.sweeps = true;
    }
    match dir {
        Some(dir) => (options.dir, options.disk) = (dir.clone(), dir),
        None if options.all => options.dir = host::memory().unwrap_or(options.disk.clone()),
        None => options.dir = options.disk.clone(),
    }
    options.runs = runs.unwrap_or(if is_smoke { 1 } else { 5 }).max(1);
    options.shapes = select(shape::all(options.scale), wanted)?;
    Ok(Request::Bench(options))
}

/// Returns the shapes of these names.
///
/// # Errors
/// If there is none of a name.
pub(crate) fn shapes(scale: Scale, names: &[&str]) -> io::Result<Vec<Shape>> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    select(shape::all(scale), Some(names))
}

/// Picks shapes by name, in the order in which they are asked for.
fn select(all: Vec<Shape>, wanted: Option<Vec<String>>) -> io::Result<Vec<Shape>> {
    let Some(wanted) = wanted else {
        return Ok(all);
    };
    wanted
        .iter()
        .filter(|name| !name.is_empty())
        .map(|name| {
            let found = all
                .iter()
                .find(|shape| shape.name.eq_ignore_ascii_case(name));
            found.cloned().ok_or_else(|| {
                let names: Vec<_> = all.iter().map(|shape| shape.name.as_str()).collect();
                wrong(format!("no shape `{name}`: there are {}", names.join(", ")))
            })
        })
        .collect()
}

fn parse_generate(args: impl Iterator<Item = String>) -> io::Result<Request> {
    let args: Vec<_> = args.filter(|arg| arg != "--bench").collect();
    let [shape, dir] = args.as_slice() else {
        return Err(wrong("`generate` needs a shape and a directory"));
    };
    let mut shapes = select(shape::all(Scale::Full), Some(vec![shape.clone()]))?;
    let shape = shapes
        .pop()
        .ok_or_else(|| wrong("`generate` wants a shape"))?;
    Ok(Request::Generate(shape, dir.into()))
}

fn parse_floor(mut args: impl Iterator<Item = String>) -> io::Result<Task> {
    let mut list = None;
    let mut documents = None;
    let mut threads = parallel::cores();
    let mut ending = Ending::Delete;
    let mut only_stats = false;
    let mut only_hashes = false;
    let mut only_parses = false;
    let mut layout = None;
    while let Some(arg) = args.next() {
        let mut value = || {
            args.next()
                .ok_or_else(|| wrong(format!("`{arg}` wants a value")))
        };
        match arg.as_str() {
            "--list" => list = Some(value()?.into()),
            "--documents" => documents = Some(value()?.into()),
            "--threads" => threads = number(&value()?)?.max(1),
            "--dry-run" => ending = Ending::Keep,
            "--stat" => only_stats = true,
            "--hash" => only_hashes = true,
            "--parse" => only_parses = true,
            _ if !arg.starts_with('-') && layout.is_none() => layout = Some(arg.into()),
            _ => return Err(wrong(format!("unknown argument `{arg}`"))),
        }
    }
    let layout = layout.ok_or_else(|| wrong("the floor needs a layout"))?;
    if only_stats {
        return Ok(Task::Stat { layout, threads });
    }
    if only_hashes {
        return Ok(Task::Hash { layout, threads });
    }
    if only_parses {
        let documents = documents.ok_or_else(|| wrong("`--parse` wants `--documents`"))?;
        return Ok(Task::Parse { layout, documents });
    }
    Ok(Task::Sweep {
        layout,
        list: list.ok_or_else(|| wrong("the floor needs a `--list`"))?,
        documents,
        threads,
        ending,
    })
}

fn number(text: &str) -> io::Result<usize> {
    text.parse()
        .map_err(|_| wrong(format!("`{text}` is not a number")))
}

fn wrong(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.into())
}
