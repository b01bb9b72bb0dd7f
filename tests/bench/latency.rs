//! A slow device: each request to the directory of the blobs takes one or ten milliseconds longer, which shows how many
//! requests are in flight.
//!
//! strace delays each call that names a blob (open, stat, delete) before it reaches the kernel; the calls of several threads
//! wait in parallel. Reads from an open file are not delayed, nor is anything else. strace itself takes some 20 µs per call,
//! one after the other: with a millisecond per request, sixteen in flight cannot be sixteen times as fast as one.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::time::Duration;

use tempfile::TempDir;

use crate::contend::Bench;
use crate::layout::Layout;
use crate::measure::{Invocation, find, median};
use crate::report::{seconds, thousands};
use crate::shape::{Scale, Shape};
use crate::targets::{Targets, Wanted, verdict};

/// The calls that name a blob, in strace's words: one with a question mark does not have to exist on every machine.
const CALLS: &str = "openat,?statx,?newfstatat,unlinkat";

/// The factor by which the default should be faster than two requests in flight.
const WANTED: Wanted = Wanted::AtLeast(4.0);

/// The value of `RAYON_NUM_THREADS` that leaves the number to the program, even if this one has the variable.
const DEFAULT: &str = "0";

/// One run.
#[derive(Clone, Copy, Debug)]
struct Run {
    wall: f64,
    requests: usize,
}

/// Measures each command with each latency, and prints a table. `false`: a run did not do its work.
pub(crate) fn run(out: &mut dyn Write, bench: &Bench, targets: &mut Targets) -> io::Result<bool> {
    writeln!(out, "\n## Latency\n")?;
    if !bench.meter.counts_calls() {
        writeln!(out, "Skipped: strace is not installed or not allowed.")?;
        return Ok(true);
    }
    let (blobs, rounds, latencies): (_, _, &[u64]) = match bench.options.scale {
        Scale::Full => (2000, bench.options.runs, &[1, 10]),
        Scale::Smoke => (40, 1, &[1]),
    };
    let shape = Shape::with_blobs(blobs);
    writeln!(
        out,
        "{} blobs, medians of {rounds} rounds. Two in flight: `RAYON_NUM_THREADS=2`.\n",
        thousands(shape.blobs())
    )?;
    writeln!(
        out,
        "| each request | command | requests | two in flight | default | times as fast | wanted | |\n| --- | --- |{}",
        " ---: |".repeat(6)
    )?;
    let mut is_sound = true;
    for milliseconds in latencies {
        let latency = Duration::from_millis(*milliseconds);
        for words in [&["gc", "-n"][..], &["df"], &["ls"], &["gc"]] {
            let label = format!("`ocisweep {}`", words.join(" "));
            write!(out, "| {milliseconds} ms | {label} |")?;
            let mut pairs = Vec::new();
            let mut fault = None;
            for _ in 0..rounds {
                let mut round = Vec::new();
                for threads in ["2", DEFAULT] {
                    let layout = bench.generate(&shape)?;
                    round.push(once(bench, &layout, words, latency, threads)?);
                    fault = fault.or(match words {
                        ["gc"] => layout.fault_after_sweep()?,
                        _ => layout.fault_untouched()?,
                    });
                }
                pairs.push(round);
            }
            if let Some(fault) = fault {
                writeln!(out, " **failed**: {fault} | | | | | |")?;
                is_sound = false;
                continue;
            }
            let both: Vec<(Run, Run)> = pairs
                .iter()
                .filter_map(|round| Some((*round.first()?, *round.get(1)?)))
                .collect();
            let ratio = median(both.iter().map(|(two, all)| two.wall / all.wall));
            let requests = both.first().map_or(0, |(_, all)| all.requests);
            // Without a delayed request, nothing was measured.
            is_sound &= requests > 0;
            let show = |wall: Option<f64>| wall.map_or("–".to_owned(), seconds);
            let ratio = ratio.unwrap_or_default();
            writeln!(
                out,
                " {} | {} | {} | {ratio:.2} | {} | {} |",
                thousands(requests),
                show(median(both.iter().map(|(two, _)| two.wall))),
                show(median(both.iter().map(|(_, all)| all.wall))),
                WANTED.text(),
                verdict(WANTED.is_met(ratio)),
            )?;
            let on = format!("{} blobs, {milliseconds} ms", thousands(shape.blobs()));
            let what = format!("two in flight / default of {label}");
            targets.add(&on, &what, WANTED, Some(ratio));
        }
    }
    Ok(is_sound)
}

/// Runs one command with this many threads.
fn once(
    bench: &Bench,
    layout: &Layout,
    words: &[&str],
    latency: Duration,
    threads: &'static str,
) -> io::Result<Run> {
    let strace = find("strace").ok_or_else(|| io::Error::other("strace is gone"))?;
    let notes = TempDir::new()?;
    let log = notes.path().join("calls");
    let mut args: Vec<OsString> = vec!["-f".into(), "--seccomp-bpf".into(), "-qq".into()];
    args.extend(["-o".into(), log.clone().into_os_string()]);
    // Calls relative to the open directory are among those that name it.
    args.extend(["-P".into(), layout.place.blobs().into_os_string()]);
    args.extend(["-e".into(), format!("trace={CALLS}").into()]);
    let delay = latency.as_micros();
    let inject = format!("inject={CALLS}:delay_enter={delay}");
    args.extend(["-e".into(), inject.into()]);
    args.push(bench.options.binary.clone().into());
    args.extend(words.iter().map(Into::into));
    args.push(layout.place.layout().into());
    let mut call = Invocation::new(&strace, args);
    call.variables.push(("RAYON_NUM_THREADS", threads));
    let wall = bench.meter.run(&call)?.wall.as_secs_f64();
    let text = fs::read_to_string(&log)?;
    let requests = text.lines().filter(|line| line.ends_with("(DELAYED)"));
    Ok(Run {
        wall,
        requests: requests.count(),
    })
}
