//! `cargo bench`: the cost of a sweep, compared with its minimum and with other programs.
//!
//! Layouts are generated, each contender gets a fresh one, the contenders take turns, and the report is Markdown: medians,
//! and ratios to a *floor*. The floor is this program under another command: it makes only the system calls that every
//! collector needs, without interpreting anything ([`floor`]).
//!
//! ```text
//! cargo bench --bench bench -- --shapes P1,P2b --runs 5 --dir DIR --strace
//! cargo bench --bench bench -- --all
//! cargo bench --bench bench -- --smoke
//! ```
//!
//! Every run is checked: exactly the garbage is deleted afterwards, or the report marks it as failed and the exit status is
//! 1. Without any argument, as `cargo test --benches` calls it, only the smoke test runs.
#![expect(
    clippy::disallowed_methods,
    reason = "the bench makes and deletes layouts, and reads the clock"
)]

mod archives;
mod args;
mod contend;
mod floor;
mod host;
mod latency;
mod layout;
mod lists;
mod measure;
mod parallel;
mod phases;
mod places;
mod report;
mod scaling;
mod shape;
mod stages;
mod targets;
mod trash;

use std::io::{self, Write};
use std::process::ExitCode;

use args::Request;
use contend::Bench;
use shape::Scale;
use targets::Targets;

fn main() -> ExitCode {
    let mut out = io::stdout().lock();
    match run(&mut out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // The report may be redirected to a file: errors belong on the terminal.
            let _written = writeln!(io::stderr(), "bench: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs the requested parts. `false`: something that was measured did not do its work.
fn run(out: &mut dyn Write) -> io::Result<bool> {
    let options = match args::parse(std::env::args().skip(1))? {
        Request::Help => {
            writeln!(out, "{}", args::HELP)?;
            return Ok(true);
        }
        Request::Generate(shape, dir) => {
            let made = layout::Layout::lasting(&shape, &dir)?;
            writeln!(out, "{}", made.place.layout().display())?;
            return Ok(true);
        }
        Request::Floor(task) => {
            floor::run(&task)?;
            return Ok(true);
        }
        Request::Bench(options) => options,
    };
    report::head(out, &Bench::new(&options)?)?;
    let mut targets = Targets::default();
    let mut is_sound = true;
    for stage in stages::of(&options)? {
        is_sound &= measure(out, &Bench::new(&stage)?, &mut targets)?;
    }
    if options.size {
        targets::binary(out, &options, &mut targets)?;
    }
    targets.print(out)?;
    report::foot(out)?;
    Ok(is_sound)
}

/// Runs one part. `false`: something that was measured did not do its work.
fn measure(out: &mut dyn Write, bench: &Bench, targets: &mut Targets) -> io::Result<bool> {
    let options = &bench.options;
    let mut is_sound = true;
    for shape in options.shapes.iter().filter(|_| options.sweeps) {
        let result = bench.shape(shape)?;
        report::shape(out, bench, shape, &result)?;
        report::targets(targets, bench.file_system.name, shape, &result);
        is_sound &= result.is_sound();
        if options.phases && !shape.is_for_hashing() {
            phases::run(out, bench, shape)?;
        }
    }
    if options.scaling {
        is_sound &= scaling::run(out, bench)?;
    }
    if options.lists {
        is_sound &= lists::run(out, bench, targets)?;
    }
    if options.places {
        is_sound &= places::run(out, bench, targets)?;
    }
    if options.latency {
        is_sound &= latency::run(out, bench, targets)?;
    }
    if options.trash {
        let shapes = match options.scale {
            Scale::Full => &options.shapes[..],
            // Five layouts a shape, and small ones are alike.
            Scale::Smoke => options.shapes.get(..2).unwrap_or(&options.shapes),
        };
        is_sound &= trash::run(out, bench, shapes)?;
    }
    if options.archives {
        is_sound &= archives::run(out, bench)?;
    }
    // A long report is printed as it grows.
    out.flush()?;
    Ok(is_sound)
}
