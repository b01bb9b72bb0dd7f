//! The targets, compared with the measurements.

use std::fs;
use std::io::{self, Write};
use std::process::Command;

use crate::args::Options;
use crate::measure::find;

/// The maximum size of the program in bytes, without symbols.
const BINARY_MB: f64 = 5.0;

/// A limit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    AtMost(f64),
    AtLeast(f64),
}

impl Wanted {
    /// Returns `true` if a number is within the limit.
    pub(crate) fn is_met(self, found: f64) -> bool {
        match self {
            Self::AtMost(limit) => found <= limit,
            Self::AtLeast(limit) => found >= limit,
        }
    }

    /// Shows the limit.
    pub(crate) fn text(self) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {limit}"),
            Self::AtLeast(limit) => format!("≥ {limit}"),
        }
    }
}

/// Returns the word for whether a limit is kept.
pub(crate) const fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "**missed**" }
}

/// The targets of everything that was measured, in the order in which it was.
#[derive(Debug, Default)]
pub(crate) struct Targets(Vec<Target>);

#[derive(Debug)]
struct Target {
    on: String,
    what: String,
    wanted: Wanted,
    found: f64,
}

impl Targets {
    /// Adds one; nothing if it was not measured.
    pub(crate) fn add(&mut self, on: &str, what: &str, wanted: Wanted, found: Option<f64>) {
        self.0.extend(found.map(|found| Target {
            on: on.to_owned(),
            what: what.to_owned(),
            wanted,
            found,
        }));
    }

    /// Prints them all.
    pub(crate) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let met = self.0.iter().filter(|it| it.wanted.is_met(it.found));
        let (met, all) = (met.count(), self.0.len());
        writeln!(out, "\n## Targets\n\n{met} of {all} are met.\n")?;
        writeln!(out, "| on | what | wanted | measured | |")?;
        writeln!(out, "| --- | --- | ---: | ---: | --- |")?;
        for Target {
            on,
            what,
            wanted,
            found,
        } in &self.0
        {
            let (limit, verdict) = (wanted.text(), verdict(wanted.is_met(*found)));
            writeln!(out, "| {on} | {what} | {limit} | {found:.2} | {verdict} |")?;
        }
        Ok(())
    }
}

/// Measures the program itself, without its symbols.
pub(crate) fn binary(
    out: &mut dyn Write,
    options: &Options,
    targets: &mut Targets,
) -> io::Result<()> {
    let small = options.small_binary.as_deref();
    let programs = [
        ("the program", Some(options.binary.as_path())),
        ("the small program", small),
    ];
    let Some(strip) = find("strip") else {
        return writeln!(
            out,
            "\nThe program's size was not measured: there is no `strip`."
        );
    };
    writeln!(out, "\n## Size\n")?;
    for (on, program) in programs {
        let Some(program) = program else { continue };
        let directory = tempfile::TempDir::new()?;
        let stripped = directory.path().join("stripped");
        let status = Command::new(&strip)
            .arg("-o")
            .args([&stripped, &program.to_path_buf()])
            .status()?;
        if !status.success() {
            let program = program.display();
            return Err(io::Error::other(format!("`strip` of {program}: {status}")));
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53 bytes")]
        let mb = fs::metadata(&stripped)?.len() as f64 / 1e6;
        writeln!(out, "- {on}, without symbols: {mb:.2} MB")?;
        let what = "MB without symbols";
        targets.add(on, what, Wanted::AtMost(BINARY_MB), Some(mb));
    }
    Ok(())
}
