//! The report, in Markdown.

use std::fmt::Write as _;
use std::io::{self, Write};

use crate::contend::{Bench, Contender, Measured, Note, Row};
use crate::host;
use crate::measure::{self, Sample};
use crate::shape::{Scale, Shape};
use crate::targets::{Targets, Wanted};

/// Prints what is measured, on which machine, and how.
pub(crate) fn head(out: &mut dyn Write, bench: &Bench) -> io::Result<()> {
    let options = &bench.options;
    writeln!(out, "# What a sweep costs\n")?;
    writeln!(out, "- machine: {}", host::machine())?;
    writeln!(out, "- kernel: {}", host::kernel())?;
    writeln!(
        out,
        "- file system: {}, {} to delete",
        bench.file_system.name,
        count(bench.file_system.threads, "thread")
    )?;
    writeln!(out, "- load before: {}", host::load())?;
    let args: Vec<_> = std::env::args().skip(1).collect();
    writeln!(out, "- command: `bench {}`", args.join(" "))?;
    for (contender, line) in bench.command_lines() {
        writeln!(out, "- {}: `{line}`", contender.label())?;
    }
    writeln!(out, "- versions: {}", bench.versions().join("; "))?;
    let absent = bench.meter.absent();
    if !absent.is_empty() {
        writeln!(
            out,
            "- skipped, since not installed or not allowed: {}",
            absent.join(", ")
        )?;
    }
    if options.scale == Scale::Smoke {
        writeln!(
            out,
            "- **smoke test**: everything is tried, but such small layouts say nothing about speed"
        )?;
    }
    writeln!(
        out,
        "\n{}, page cache {}, layouts written to the disk before. Medians; ratios are medians of the \
         ratios within a round. Where others use the machine, CPU is the column to trust.",
        if options.all {
            "Interleaved rounds, as many as each part says".to_owned()
        } else {
            count(options.runs, "interleaved round")
        },
        if options.cold {
            "dropped before each run"
        } else {
            "warm"
        }
    )
}

/// Ends the report.
pub(crate) fn foot(out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\nload after: {}", host::load())
}

/// Reports one shape.
pub(crate) fn shape(
    out: &mut dyn Write,
    bench: &Bench,
    shape: &Shape,
    measured: &Measured,
) -> io::Result<()> {
    writeln!(
        out,
        "\n## {}: {} blobs, {} entries, {} documents, {} garbage\n\n{} on {}.\n",
        shape.name,
        thousands(shape.blobs()),
        thousands(shape.tags),
        thousands(shape.live.documents()),
        thousands(shape.garbage.blobs()),
        count(bench.options.runs, "round"),
        bench.file_system.name,
    )?;
    if shape.is_for_hashing() {
        return table(out, &measured.reading, Contender::Hash);
    }
    table(out, &measured.sweeping, Contender::Floor)?;
    let counted: Vec<_> = measured
        .sweeping
        .iter()
        .filter(|row| matches!(row.contender, Contender::Floor | Contender::Ours))
        .filter(|row| row.calls.is_some())
        .collect();
    if !counted.is_empty() {
        writeln!(
            out,
            "\nSystem calls, of which {} are needed (2 a victim, 4 a document or orphan):\n",
            thousands(shape.call_budget())
        )?;
        for row in counted {
            writeln!(out, "- {}: {}", row.contender.label(), most_frequent(row))?;
        }
    }
    writeln!(out)?;
    table(out, &measured.reading, Contender::Stat)
}

fn most_frequent(row: &Row) -> String {
    let calls = row.calls.as_ref().map_or(&[][..], |calls| &calls.by_name);
    let text: Vec<_> = calls
        .iter()
        .take(8)
        .map(|(name, number)| format!("{name} {number}"))
        .collect();
    text.join(", ")
}

/// The compared rows.
struct Column {
    title: &'static str,
    of: fn(&Sample) -> Option<f64>,
    show: fn(f64) -> String,
}

const COLUMNS: [Column; 3] = [
    Column {
        title: "wall",
        of: wall,
        show: seconds,
    },
    Column {
        title: "CPU",
        of: |sample| sample.cpu.map(|cpu| cpu.as_secs_f64()),
        show: seconds,
    },
    Column {
        title: "peak MB",
        of: peak_mb,
        show: |mb| format!("{mb:.1}"),
    },
];

fn wall(sample: &Sample) -> Option<f64> {
    Some(sample.wall.as_secs_f64())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes of memory are far below 2^53"
)]
fn peak_mb(sample: &Sample) -> Option<f64> {
    sample.peak_bytes.map(|bytes| bytes as f64 / 1e6)
}

fn table(out: &mut dyn Write, rows: &[Row], reference: Contender) -> io::Result<()> {
    let base = rows.iter().find(|row| row.contender == reference);
    write!(out, "| |")?;
    for column in &COLUMNS {
        let range = if column.title == "wall" {
            " (from–to) |"
        } else {
            " |"
        };
        write!(out, " {}{range} ratio |", column.title)?;
    }
    writeln!(out, " system calls | ratio |")?;
    writeln!(out, "| --- |{}", " ---: |".repeat(2 * COLUMNS.len() + 2))?;
    for row in rows {
        write!(out, "| {} |", row.contender.label())?;
        match &row.note {
            Some(Note::Skipped(why)) => {
                writeln!(
                    out,
                    " skipped: {why} |{}",
                    " |".repeat(2 * COLUMNS.len() + 1)
                )?;
                continue;
            }
            Some(Note::Failed(why)) => {
                let why = why.replace('|', "/");
                writeln!(
                    out,
                    " **failed**: {why} |{}",
                    " |".repeat(2 * COLUMNS.len() + 1)
                )?;
                continue;
            }
            None => {}
        }
        for column in &COLUMNS {
            let mut text = row.median(column.of).map_or("–".to_owned(), column.show);
            if column.title == "wall"
                && row.samples.len() > 1
                && let Some((from, to)) = range(row)
            {
                write!(text, " ({}–{})", seconds(from), seconds(to)).map_err(io::Error::other)?;
            }
            let ratio = base.and_then(|base| ratio(row, base, column.of));
            write!(out, " {text} | {} |", times(ratio))?;
        }
        let calls = row.calls.as_ref().map(measure::Calls::total);
        let ratio = base
            .and_then(|base| base.calls.as_ref())
            .and_then(|base| Some(over(calls?, base.total())));
        let text = calls.map_or("–".to_owned(), |calls| {
            thousands(usize::try_from(calls).unwrap_or(usize::MAX))
        });
        writeln!(out, " {text} | {} |", times(ratio))?;
    }
    Ok(())
}

fn range(row: &Row) -> Option<(f64, f64)> {
    let walls = || row.samples.iter().filter_map(wall);
    Some((walls().reduce(f64::min)?, walls().reduce(f64::max)?))
}

/// Returns the median ratio of two rows, round by round: a disturbance of a whole round affects both.
fn ratio(row: &Row, base: &Row, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
    let pairs = row.samples.iter().zip(&base.samples);
    measure::median(pairs.filter_map(|(row, base)| {
        let base = of(base)?;
        Some(of(row)? / base).filter(|_| base > 0.0)
    }))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of system calls are far below 2^53"
)]
fn over(count: u64, base: u64) -> f64 {
    count as f64 / base.max(1) as f64
}

/// Compares the measurements of one shape with the targets.
pub(crate) fn targets(
    targets: &mut Targets,
    file_system: &str,
    shape: &Shape,
    measured: &Measured,
) {
    let compared = |a: Contender, b: Contender| {
        let (a, b) = (measured.row(a)?, measured.row(b)?);
        compared(a, b)
    };
    let peak = |of: Contender| measured.row(of).and_then(|row| row.median(peak_mb));
    let mut line = |what: &str, wanted: Wanted, found: Option<f64>| {
        let on = format!("{}, {file_system}", shape.name);
        targets.add(&on, what, wanted, found);
    };
    line(
        "wall of `check` / read and hash",
        Wanted::AtMost(1.1),
        compared(Contender::Check, Contender::Hash),
    );
    line(
        "wall of `gc` / floor",
        Wanted::AtMost(1.25),
        compared(Contender::Ours, Contender::Floor),
    );
    // `rm` is given the files to remove and reads nothing. If deleting waits for a journal, several threads compensate for
    // the reading; otherwise nothing can.
    if file_system.contains("ext4") {
        line(
            "wall of `gc` / `xargs rm`",
            Wanted::AtMost(1.0),
            compared(Contender::Ours, Contender::Rm),
        );
    }
    if matches!(shape.name.as_str(), "P2b" | "P3" | "M") {
        line(
            "wall of `umoci gc` / `gc`",
            Wanted::AtLeast(4.0),
            compared(Contender::Umoci, Contender::Ours),
        );
    }
    if matches!(shape.name.as_str(), "P1" | "P2b" | "M") {
        for (reader, what) in [
            (Contender::DryRun, "wall of `gc -n` / list and stat"),
            (Contender::Df, "wall of `df` / list and stat"),
        ] {
            let found = compared(reader, Contender::Stat);
            line(what, Wanted::AtMost(1.5), found);
        }
    }
    let ours = measured.row(Contender::Ours);
    let calls = ours.and_then(|row| row.calls.as_ref()).map(|calls| {
        over(
            calls.total(),
            u64::try_from(shape.call_budget()).unwrap_or(u64::MAX),
        )
    });
    line("system calls / needed", Wanted::AtMost(1.1), calls);
    if shape.name == "M" {
        for (contender, limit) in [
            (Contender::Ours, 64.0),
            (Contender::Df, 96.0),
            (Contender::Prune, 96.0),
            (Contender::Apply, 96.0),
        ] {
            let what = format!("peak MB of {}", contender.label());
            line(&what, Wanted::AtMost(limit), peak(contender));
        }
    }
}

/// Returns the median ratio of two rows that did their work.
pub(crate) fn compared(row: &Row, base: &Row) -> Option<f64> {
    (row.note.is_none() && base.note.is_none()).then(|| ratio(row, base, wall))?
}

/// Shows a time to the millisecond, as it was measured, or with three digits.
pub(crate) fn seconds(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"))
}

/// Groups the digits of a number by threes.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}
