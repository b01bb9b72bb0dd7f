//! The cost of a trash: filling it compared with deleting, emptying it with `rm -rf`, and `undo` with its renames alone.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::contend::Bench;
use crate::layout::Layout;
use crate::measure::{Invocation, find, median};
use crate::report::seconds;
use crate::shape::Shape;

/// The measurements of one round, in seconds.
#[derive(Clone, Copy, Debug)]
struct Round {
    gc: f64,
    trashing: f64,
    undo: f64,
    renames: f64,
    empty: f64,
    remove: Option<f64>,
}

/// Measures the shapes, and prints a table. `false`: a run did not do its work.
pub(crate) fn run(out: &mut dyn Write, bench: &Bench, shapes: &[Shape]) -> io::Result<bool> {
    writeln!(
        out,
        "\n## Trash\n\nMedians of {} rounds, and the medians of the ratios of each round.\n",
        bench.options.runs
    )?;
    writeln!(
        out,
        "| shape | `gc` | `gc --trash` | ratio | renames | `undo` | ratio | `rm -rf` | `trash empty` | ratio |\n| --- |{}",
        " ---: |".repeat(9)
    )?;
    let mut is_sound = true;
    for shape in shapes.iter().filter(|shape| !shape.is_for_hashing()) {
        let mut rounds = Vec::new();
        for _ in 0..bench.options.runs {
            match round(bench, shape)? {
                Ok(round) => rounds.push(round),
                Err(why) => {
                    writeln!(out, "| {} | {why} |", shape.name)?;
                    is_sound = false;
                }
            }
        }
        let of = |value: &dyn Fn(&Round) -> Option<f64>| median(rounds.iter().filter_map(value));
        let time =
            |value: &dyn Fn(&Round) -> Option<f64>| of(value).map_or("–".to_owned(), seconds);
        let ratio = |value: &dyn Fn(&Round) -> Option<f64>| {
            of(value).map_or("–".to_owned(), |ratio| format!("{ratio:.2}"))
        };
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            shape.name,
            time(&|it| Some(it.gc)),
            time(&|it| Some(it.trashing)),
            ratio(&|it| Some(it.trashing / it.gc)),
            time(&|it| Some(it.renames)),
            time(&|it| Some(it.undo)),
            ratio(&|it| Some(it.undo / it.renames)),
            time(&|it| it.remove),
            time(&|it| Some(it.empty)),
            ratio(&|it| Some(it.empty / it.remove?)),
        )?;
    }
    Ok(is_sound)
}

/// Measures each operation once, on layouts that were never used. The inner error describes what was not done.
fn round(bench: &Bench, shape: &Shape) -> io::Result<Result<Round, String>> {
    let timed = |args: &[&str], layout: &Layout| -> io::Result<f64> {
        let args = args.iter().map(OsString::from);
        let path = layout.place.layout().into_os_string();
        let call = Invocation::new(&bench.options.binary, args.chain([path]));
        Ok(bench.meter.run(&call)?.wall.as_secs_f64())
    };
    let layout = bench.generate(shape)?;
    let gc = timed(&["gc"], &layout)?;
    if let Some(fault) = layout.fault_after_sweep()? {
        return Ok(Err(fault));
    }
    drop(layout);
    let layout = bench.generate(shape)?;
    let before = count(&layout.place.blobs())?;
    let trashing = timed(&["gc", "--trash"], &layout)?;
    if let Some(fault) = layout.fault_after_sweep()? {
        return Ok(Err(fault));
    }
    let undo = timed(&["undo"], &layout)?;
    let after = count(&layout.place.blobs())?;
    if after != before {
        return Ok(Err(format!("undo restored {after} of {before} blobs")));
    }
    drop(layout);
    let layout = bench.generate(shape)?;
    timed(&["gc", "--trash"], &layout)?;
    let renames = rename_back(&trash_of(&layout)?, &layout.place.blobs())?;
    drop(layout);
    let layout = bench.generate(shape)?;
    timed(&["gc", "--trash"], &layout)?;
    let empty = timed(&["trash", "empty"], &layout)?;
    if layout.place.layout().join(".ocisweep/trash").exists() {
        return Ok(Err("the trash is not empty".to_owned()));
    }
    drop(layout);
    let layout = bench.generate(shape)?;
    timed(&["gc", "--trash"], &layout)?;
    let own = layout.place.layout().join(".ocisweep");
    let remove = match find("rm") {
        Some(rm) => {
            let call = Invocation::new(&rm, [OsString::from("-rf"), own.into_os_string()]);
            Some(bench.meter.run(&call)?.wall.as_secs_f64())
        }
        None => None,
    };
    Ok(Ok(Round {
        gc,
        trashing,
        undo,
        renames,
        empty,
        remove,
    }))
}

fn count(directory: &Path) -> io::Result<usize> {
    Ok(fs::read_dir(directory)?.count())
}

/// Returns the directory of the blobs of the only run in the trash.
fn trash_of(layout: &Layout) -> io::Result<PathBuf> {
    let trash = layout.place.layout().join(".ocisweep/trash");
    let run = fs::read_dir(trash)?.next();
    let run = run.ok_or_else(|| io::Error::other("there is no run in the trash"))??;
    Ok(run.path().join("sha256"))
}

/// Renames all files of one directory into another one, and returns how many seconds that took.
fn rename_back(from: &Path, to: &Path) -> io::Result<f64> {
    let start = Instant::now();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::rename(entry.path(), to.join(entry.file_name()))?;
    }
    fs::File::open(to)?.sync_all()?;
    Ok(start.elapsed().as_secs_f64())
}
