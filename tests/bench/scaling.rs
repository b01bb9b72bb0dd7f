//! Growth of the cost: ten times the work must cost ten times as much, not more.

use std::io::{self, Write};

use crate::contend::{Bench, Contender, Note, Row};
use crate::report::{seconds, thousands};
use crate::shape::{Scale, Shape};

/// Measures layouts of growing size, and prints what each blob and each entry costs. `false`: a run failed.
pub(crate) fn run(out: &mut dyn Write, bench: &Bench) -> io::Result<bool> {
    let (blobs, entries): (&[usize], &[usize]) = match bench.options.scale {
        Scale::Full => (
            &[10_000, 30_000, 100_000, 300_000, 1_000_000],
            &[100, 1_000, 10_000, 100_000],
        ),
        Scale::Smoke => (&[40, 400], &[10, 100]),
    };
    writeln!(out, "\n## Growth\n")?;
    let blobs: Vec<_> = blobs
        .iter()
        .map(|&blobs| (blobs, Shape::with_blobs(blobs)))
        .collect();
    let entries: Vec<_> = entries
        .iter()
        .map(|&entries| (entries, Shape::with_entries(entries)))
        .collect();
    let mut is_sound = table(out, bench, "blobs", &blobs)?;
    writeln!(out)?;
    is_sound &= table(out, bench, "entries", &entries)?;
    Ok(is_sound)
}

fn table(
    out: &mut dyn Write,
    bench: &Bench,
    units: &str,
    shapes: &[(usize, Shape)],
) -> io::Result<bool> {
    writeln!(
        out,
        "| {units} | floor wall | `gc` wall | µs each | `gc` CPU | µs each | peak MB |"
    )?;
    writeln!(out, "| ---: |{}", " ---: |".repeat(6))?;
    let mut is_sound = true;
    for (count, shape) in shapes {
        let who = [Contender::Floor, Contender::Ours];
        let rows = bench.sweeping(shape, &who)?;
        write!(out, "| {} |", thousands(*count))?;
        let [floor, ours] = rows.as_slice() else {
            continue;
        };
        is_sound &= rows
            .iter()
            .all(|row| !matches!(row.note, Some(Note::Failed(_))));
        if let Some(Note::Failed(why)) = &ours.note {
            writeln!(out, " **failed**: {why} | | | | | |")?;
            continue;
        }
        write!(out, " {} |", show(wall(floor)))?;
        for cost in [wall(ours), cpu(ours)] {
            write!(out, " {} | {} |", show(cost), each(cost, *count))?;
        }
        let peak = ours.median(|sample| sample.peak_bytes.map(mb));
        writeln!(
            out,
            " {} |",
            peak.map_or("–".to_owned(), |mb| format!("{mb:.1}"))
        )?;
    }
    Ok(is_sound)
}

fn wall(row: &Row) -> Option<f64> {
    row.median(|sample| Some(sample.wall.as_secs_f64()))
}

fn cpu(row: &Row) -> Option<f64> {
    row.median(|sample| sample.cpu.map(|cpu| cpu.as_secs_f64()))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes of memory are far below 2^53"
)]
fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn show(cost: Option<f64>) -> String {
    cost.map_or("–".to_owned(), seconds)
}

#[expect(clippy::cast_precision_loss, reason = "a million is far below 2^53")]
fn each(cost: Option<f64>, units: usize) -> String {
    cost.map_or("–".to_owned(), |cost| {
        format!("{:.2}", cost * 1e6 / units as f64)
    })
}
