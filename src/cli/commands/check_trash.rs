//! What `ocisweep check --trash` prints.

use std::fmt::Write as _;
use std::path::Path;

use ocisweep::parse::size::human_size;
use ocisweep::report::check::{Class, TrashFinding, TrashReport};
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::quote::quote_path;
use crate::cli::render::sweep::count;

/// Whose trash it is.
#[derive(Debug, Clone, Copy)]
pub struct TrashLocation<'a> {
    /// The layout, or the shared store.
    pub path: &'a Path,
    /// It is a shared store.
    pub is_store: bool,
}

/// The part of the document about a trash, without its items.
#[derive(Debug, Serialize)]
pub struct JsonCheckedTrash {
    runs: u64,
    blobs: u64,
    bytes: u64,
    foreign: u64,
    damaged: u64,
}

impl JsonCheckedTrash {
    /// Adds the numbers of a report.
    pub fn of(report: &TrashReport) -> Self {
        Self {
            runs: report.runs,
            blobs: report.blobs.blobs,
            bytes: report.blobs.bytes,
            foreign: report.count(Class::Foreign),
            damaged: report.damaged(),
        }
    }
}

/// Returns the lines on a trash. `(is_verbose, is_quiet)`: foreign files are named, or only damage is.
pub fn lines(
    context: &Context<'_>,
    place: TrashLocation<'_>,
    report: &TrashReport,
    (is_verbose, is_quiet): (bool, bool),
) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        if finding.class.is_damage() || is_verbose {
            let file = context.term.path(&finding.file);
            let why = context.term.foreign(&finding.why);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}: {file}: {why}", finding.class.name());
        }
        if let Some(hint) = hint(place, finding) {
            let _ = writeln!(text, "  {}", context.term.foreign(&hint));
        }
    }
    if !is_quiet && report.runs > 0 {
        let runs = count(report.runs, "run");
        let blobs = count(report.blobs.blobs, "blob");
        let damage = match report.damaged() {
            0 => "no damage".to_owned(),
            damaged => format!("{} damaged", count(damaged, "file")),
        };
        let foreign = match report.count(Class::Foreign) {
            0 => String::new(),
            foreign => format!(", {}", count(foreign, "foreign file")),
        };
        let verified = report.verified;
        let size = human_size(verified.bytes);
        let _ = writeln!(
            text,
            "trash: {damage} in {runs} with {blobs}, {} compared with their digests ({size}){foreign}",
            verified.blobs
        );
    }
    text
}

/// Returns the hint for damage; `None` if there is no damage.
pub fn hint(place: TrashLocation<'_>, finding: &TrashFinding) -> Option<String> {
    let run = finding.run.as_ref().filter(|_| finding.class.is_damage())?;
    let shared = if place.is_store {
        "--shared-blobs "
    } else {
        ""
    };
    let path = quote_path(place.path);
    Some(format!(
        "`ocisweep trash empty {shared}{path} {run}` deletes the run"
    ))
}
