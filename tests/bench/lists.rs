//! The cost of long lists and of small layouts: many entries, an index of many children, and the twenty blobs of a typical
//! image.
//!
//! Lists are compared with a program that reads the same documents and only checks that they are JSON.

use std::ffi::OsString;
use std::io::{self, Write};

use crate::contend::Bench;
use crate::layout::Layout;
use crate::measure::{Invocation, Sample, median};
use crate::report::{seconds, thousands};
use crate::shape::{Images, Scale, Shape};
use crate::targets::{self, Targets};

/// The time that a command may take on a small layout, from its start to its end.
const SMALL_SECONDS: f64 = 0.003;

/// A command and its limit: a multiple of the first one, or seconds.
struct Contender {
    label: String,
    call: Invocation,
    wanted: Option<Wanted>,
}

#[derive(Clone, Copy)]
enum Wanted {
    Times(f64),
    Seconds(f64),
}

/// Measures and prints a table for each kind. `false`: a run changed something.
pub(crate) fn run(out: &mut dyn Write, bench: &Bench, targets: &mut Targets) -> io::Result<bool> {
    let (entries, children) = match bench.options.scale {
        Scale::Full => (100_000, 100_000),
        Scale::Smoke => (200, 20),
    };
    let entries = Shape::with_entries(entries);
    let children = Shape {
        name: format!("{} children", thousands(children)),
        live: Images {
            count: 1,
            platforms: children,
            layers: 1,
            layer_bytes: 0,
        },
        garbage: Images::plain(1, 1),
        tags: 1,
    };
    let small = Shape::halves("20 blobs", Images::plain(1, 8), 1);
    writeln!(out, "\n## Lists")?;
    let of_entries: [&[&str]; 4] = [&["gc", "-n"], &["ls"], &["df"], &["rm", "-n", "**"]];
    let of_children: [&[&str]; 5] = [
        &["gc", "-n"],
        &["ls", "--tree"],
        &["df"],
        &["rm", "-n", "--platform", "linux/amd64", "**"],
        &["check", "--quick"],
    ];
    let of_small: [&[&str]; 4] = [&["gc", "-n"], &["ls"], &["df"], &["check"]];
    let twice = Wanted::Times(2.0);
    let soon = Wanted::Seconds(SMALL_SECONDS);
    let mut is_sound = table(out, bench, targets, &entries, &of_entries, twice)?;
    is_sound &= table(out, bench, targets, &children, &of_children, twice)?;
    is_sound &= table(out, bench, targets, &small, &of_small, soon)?;
    Ok(is_sound)
}

fn table(
    out: &mut dyn Write,
    bench: &Bench,
    targets: &mut Targets,
    shape: &Shape,
    commands: &[&[&str]],
    wanted: Wanted,
) -> io::Result<bool> {
    let layout = bench.generate(shape)?;
    let contenders = contenders(bench, &layout, commands, wanted);
    // A short run is measured more often.
    let rounds = match wanted {
        Wanted::Times(_) => bench.options.runs,
        Wanted::Seconds(_) => bench.options.runs * 5,
    };
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds {
        for (contender, samples) in contenders.iter().zip(&mut samples) {
            bench.settle()?;
            samples.push(bench.meter.run(&contender.call)?);
        }
    }
    writeln!(
        out,
        "\n{}, medians of {rounds} rounds:\n\n| | wall | CPU | peak MB | wanted | |\n| --- |{}",
        shape.name,
        " ---: |".repeat(5)
    )?;
    let wall = |samples: &[Sample]| median(samples.iter().map(|sample| sample.wall.as_secs_f64()));
    let least = samples.first().and_then(|samples| wall(samples));
    for (contender, samples) in contenders.iter().zip(&samples) {
        let cpu = median(
            samples
                .iter()
                .filter_map(|sample| Some(sample.cpu?.as_secs_f64())),
        );
        let peak = median(
            samples
                .iter()
                .filter_map(|sample| Some(sample.peak_bytes? as f64 / 1e6)),
        );
        let wall = wall(samples);
        match contender.wanted {
            Some(Wanted::Seconds(limit)) => {
                let limit = targets::Wanted::AtMost(limit * 1e3);
                let what = format!("ms of {}", contender.label);
                targets.add(&shape.name, &what, limit, wall.map(|wall| wall * 1e3));
            }
            Some(Wanted::Times(limit)) => {
                let limit = targets::Wanted::AtMost(limit);
                let what = format!("wall of {} / read and parse", contender.label);
                let ratio = wall.zip(least).map(|(wall, least)| wall / least);
                targets.add(&shape.name, &what, limit, ratio);
            }
            None => {}
        }
        let verdict = contender
            .wanted
            .zip(wall)
            .map(|(wanted, wall)| wanted.verdict(wall, least));
        writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            contender.label,
            wall.map_or("–".to_owned(), precise),
            cpu.map_or("–".to_owned(), precise),
            peak.map_or("–".to_owned(), |mb| format!("{mb:.1}")),
            verdict.unwrap_or_else(|| "– | –".to_owned()),
        )?;
    }
    match layout.fault_untouched()? {
        None => Ok(true),
        Some(fault) => {
            writeln!(out, "\n**failed**: a reading command wrote: {fault}")?;
            Ok(false)
        }
    }
}

fn contenders(
    bench: &Bench,
    layout: &Layout,
    commands: &[&[&str]],
    wanted: Wanted,
) -> Vec<Contender> {
    let place = &layout.place;
    let own = commands.iter().map(|words| {
        let mut args: Vec<OsString> = words.iter().map(Into::into).collect();
        // The layout precedes the other arguments.
        let position = match words.iter().position(|word| *word == "**") {
            Some(position) => position,
            None => args.len(),
        };
        args.insert(position, place.layout().into());
        Contender {
            label: format!("`ocisweep {}`", words.join(" ")),
            call: Invocation::new(&bench.options.binary, args),
            wanted: Some(wanted),
        }
    });
    let parse: Vec<OsString> = vec![
        "floor".into(),
        "--parse".into(),
        "--documents".into(),
        place.document_list().into(),
        place.layout().into(),
    ];
    let parse = Contender {
        label: "read and parse".to_owned(),
        call: Invocation::new(bench.floor(), parse),
        wanted: None,
    };
    std::iter::once(parse).chain(own).collect()
}

impl Wanted {
    fn verdict(self, wall: f64, least: Option<f64>) -> String {
        let (text, is_met) = match self {
            Self::Seconds(limit) => (format!("≤ {}", precise(limit)), wall <= limit),
            Self::Times(limit) => {
                let ratio = least.map_or(f64::INFINITY, |least| wall / least);
                (format!("≤ {limit} ×: {ratio:.2}"), ratio <= limit)
            }
        };
        let verdict = if is_met { "met" } else { "**missed**" };
        format!("{text} | {verdict}")
    }
}

/// Shows a short time to a tenth of a millisecond.
fn precise(time: f64) -> String {
    if time < 0.1 {
        format!("{:.1} ms", time * 1e3)
    } else {
        seconds(time)
    }
}
