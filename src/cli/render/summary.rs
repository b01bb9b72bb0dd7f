//! The summary of a GitHub Actions job: a table on the page of the run.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use super::rows::LayoutRow;
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};

/// The variable that names the file.
const FILE: &str = "GITHUB_STEP_SUMMARY";

/// Appends the rows to the file that the job names, as a table in Markdown.
pub fn append(
    context: &Context<'_>,
    command: &str,
    rows: &[(String, LayoutRow)],
    is_dry_run: bool,
) -> Exit {
    #[expect(
        clippy::disallowed_methods,
        reason = "the job names the file in its environment"
    )]
    let Some(path) = std::env::var_os(FILE).filter(|path| !path.is_empty()) else {
        context.term.note(&format!(
            "`{FILE}` is not set, so there is no summary to write to"
        ));
        return exit::DONE;
    };
    let text = markdown(command, rows, is_dry_run);
    // Other steps may have written to it.
    #[expect(
        clippy::disallowed_methods,
        reason = "the summary of a job is not part of a layout"
    )]
    let written = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Ok(()) => exit::DONE,
        Err(error) => {
            let path = Path::new(&path).display();
            context.fail(exit::IO, &format!("cannot write `{path}`: {error}"), None)
        }
    }
}

fn markdown(command: &str, rows: &[(String, LayoutRow)], is_dry_run: bool) -> String {
    let [deleted, reclaimed] = if is_dry_run {
        ["Would delete", "Would reclaim"]
    } else {
        ["Deleted", "Reclaimed"]
    };
    let mut text = format!(
        "### ocisweep {command}\n\n| Layout | {deleted} | {reclaimed} | State |\n| --- | ---: | ---: | --- |\n"
    );
    for (path, row) in rows {
        let [deleted, reclaimed] = row.numbers();
        let path = cell(path);
        let _ = writeln!(text, "| {path} | {deleted} | {reclaimed} | {} |", row.state);
    }
    if rows.len() > 1 {
        let [deleted, reclaimed] = LayoutRow::sum(rows).numbers();
        let _ = writeln!(text, "| **Total** | {deleted} | {reclaimed} | |");
    }
    text.push('\n');
    text
}

/// Returns a path as inline code that cannot break out of its cell: paths may come from untrusted sources.
fn cell(path: &str) -> String {
    let plain: String = path
        .chars()
        .map(|c| match c {
            '`' | '|' => '\u{fffd}',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect();
    format!("`{plain}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_its_cell() {
        let row = LayoutRow {
            totals: None,
            state: "busy",
        };
        let text = markdown("gc", &[("a|b`c\n# d".to_owned(), row)], false);
        let last = text.lines().nth(4).expect("a row");
        assert_eq!(last, "| `a\u{fffd}b\u{fffd}c\u{fffd}# d` | - | - | busy |");
        assert!(!text.contains("Total"), "one layout is its own total");
    }
}
