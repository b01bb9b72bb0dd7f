//! Tables as docker prints them.
//!
//! The layout is that of Go's text/tabwriter with docker's settings: a column takes its widest cell and three spaces,
//! at least ten columns of the screen, and the last cell of a row is not padded. Widths are measured as a terminal
//! shows them. Beyond docker, a table may be [fitted](Table::fit) to a terminal, and no row ends in spaces.

use std::borrow::Cow;
use std::collections::BTreeSet;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::cli::term::one_line;

/// Printed in place of a name where there is none, as in docker.
pub const NONE: &str = "<none>";

/// `EXTRA` of an image of which manifests are present and no layer is.
pub const NO_LAYERS: &str = "partial (no layers)";

/// Columns between two cells.
const PADDING: usize = 3;
/// Least width of a cell with its padding.
const MIN_CELL: usize = 10;
/// A column is not cut below this: a name of which less is left says nothing.
const MIN_CUT: usize = 9;

/// Rows of cells below headers.
#[derive(Debug, Clone)]
pub struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
    names: BTreeSet<usize>,
    max_width: Option<usize>,
}

impl Table {
    /// Returns a table without rows; it renders as its headers.
    pub fn new(headers: &[&str]) -> Self {
        Self {
            headers: headers.iter().map(|&header| header.to_owned()).collect(),
            rows: Vec::new(),
            names: BTreeSet::new(),
            max_width: None,
        }
    }

    /// Appends a row.
    ///
    /// Cells with foreign text must have gone through [`Term::foreign`](crate::cli::term::Term::foreign). Tabs and line ends
    /// become visible in any case: a cell cannot make up rows.
    pub fn row(&mut self, cells: Vec<String>) {
        let whole = |cell: String| match one_line(&cell) {
            Cow::Borrowed(_) => cell,
            Cow::Owned(shown) => shown,
        };
        self.rows.push(cells.into_iter().map(whole).collect());
    }

    /// Declares that a column holds names, which [`fit`](Self::fit) may cut. Digests are never declared so.
    pub fn names(&mut self, column: usize) {
        self.names.insert(column);
    }

    /// Cuts columns of names in the middle, the widest first, until the table is at most `max_width` wide.
    ///
    /// `None` cuts nothing; this is for [`Term::width`](crate::cli::term::Term::width). What cannot be cut stays whole, and
    /// the terminal wraps it.
    pub fn fit(&mut self, max_width: Option<usize>) {
        self.max_width = max_width;
    }

    /// Appends a last column without a header, of a cell for each row in turn, if at least `least` columns of a terminal
    /// are left for it. `cell` gets how many there are.
    pub fn beside(&mut self, least: usize, mut cell: impl FnMut(usize, usize) -> String) {
        let taken = table_width(&self.widths()).saturating_add(PADDING);
        let room = self.max_width.unwrap_or_default().saturating_sub(taken);
        if room < least {
            return;
        }
        for (number, row) in self.rows.iter_mut().enumerate() {
            row.push(cell(number, room));
        }
    }

    /// Returns the lines, headers first, each with its line end.
    pub fn render(&self) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for cells in std::iter::once(&self.headers).chain(&self.rows) {
            Self::render_row(cells, &widths, &mut text);
        }
        text
    }

    fn render_row(cells: &[String], widths: &[usize], text: &mut String) {
        let shown = cells
            .iter()
            .rposition(|cell| !cell.is_empty())
            .map_or(0, |last| last.saturating_add(1));
        // Blanks that are owed to the next cell, and are never paid behind the last one.
        let mut owed = 0;
        for (cell, &width) in cells.iter().zip(widths).take(shown) {
            let cell = cut_middle(cell, width);
            let blanks = width.saturating_sub(cell.width());
            pad(text, owed);
            text.push_str(&cell);
            owed = blanks.saturating_add(whole_cell(width).saturating_sub(width));
        }
        text.push('\n');
    }

    /// Returns the width of each column without padding.
    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = Vec::new();
        for cells in std::iter::once(&self.headers).chain(&self.rows) {
            widths.resize(widths.len().max(cells.len()), 0);
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.width());
            }
        }
        if let Some(max_width) = self.max_width {
            self.narrow(&mut widths, max_width);
        }
        widths
    }

    fn narrow(&self, widths: &mut [usize], max_width: usize) {
        let floor = |column: usize| {
            self.headers
                .get(column)
                .map_or(MIN_CUT, |header| header.width().max(MIN_CUT))
        };
        // The widest column gives one column at a time, so that equally long names stay equally readable. Nothing wider
        // than the terminal survives anyway, which bounds the rounds whatever a stranger wrote.
        for (column, width) in widths.iter_mut().enumerate() {
            if self.names.contains(&column) && *width > max_width {
                *width = max_width.max(floor(column)).min(*width);
            }
        }
        while table_width(widths) > max_width {
            let widest = widths
                .iter_mut()
                .enumerate()
                .filter(|(column, width)| self.names.contains(column) && **width > floor(*column))
                .max_by_key(|(_, width)| **width);
            match widest {
                Some((_, width)) => *width = width.saturating_sub(1),
                None => break,
            }
        }
    }
}

/// Returns what a cell of this width takes when another one follows.
fn whole_cell(width: usize) -> usize {
    width.saturating_add(PADDING).max(MIN_CELL)
}

fn table_width(widths: &[usize]) -> usize {
    let Some((last, others)) = widths.split_last() else {
        return 0;
    };
    others
        .iter()
        .fold(*last, |sum, &width| sum.saturating_add(whole_cell(width)))
}

/// Appends spaces.
pub(crate) fn pad(text: &mut String, blanks: usize) {
    text.extend(std::iter::repeat_n(' ', blanks));
}

/// Returns `text`, or its two ends with `…` between them, at most `room` columns wide.
///
/// The end keeps the odd column: in names, tags and versions come last.
pub(crate) fn cut_middle(text: &str, room: usize) -> Cow<'_, str> {
    if text.width() <= room {
        return Cow::Borrowed(text);
    }
    // A text can be wider than the sum of its characters (emoji with a selector); then the next smaller cut is tried.
    (0..room)
        .rev()
        .map(|budget| cut_to(text, budget))
        .find(|cut| cut.width() <= room)
        .map_or(Cow::Borrowed(""), Cow::Owned)
}

fn cut_to(text: &str, budget: usize) -> String {
    let columns = |c: char| c.width().unwrap_or(1);
    let fits = |room: usize| {
        let mut left = room;
        move |c: &char| match left.checked_sub(columns(*c)) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        }
    };
    let head: String = text.chars().take_while(fits(budget / 2)).collect();
    // What the head leaves of its half, because a wide character did not fit, goes to the tail.
    let used = head.chars().map(columns).fold(0, usize::saturating_add);
    let tail_room = budget.saturating_sub(used);
    let tail: Vec<char> = text.chars().rev().take_while(fits(tail_room)).collect();
    // A joiner waits for a partner that was cut away, and a mark would sit on the ellipsis.
    let mut cut = head.trim_end_matches('\u{200d}').to_owned();
    cut.push('…');
    cut.extend(tail.into_iter().rev().skip_while(|&c| columns(c) == 0));
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(headers: &[&str], rows: &[&[&str]]) -> Table {
        let mut table = Table::new(headers);
        for row in rows {
            table.row(row.iter().map(|&cell| cell.to_owned()).collect());
        }
        table
    }

    const LS: [&str; 5] = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];

    #[test]
    fn looks_as_dockers_does() {
        // Transcripts 301, 322, 323.
        type Case<'a> = (&'a [&'a str], &'a [&'a [&'a str]], &'a str);
        let cases: [Case<'_>; 4] = [
            (
                &LS,
                &[
                    &["bravo", "1", "fd2d4af9182d", "17 months ago", "539kB"],
                    &["charlie", "1", "f65369c0826e", "2 years ago", "651kB"],
                    &["<none>", "<none>", "be3f4337b273", "2 years ago", "539kB"],
                ],
                "REPOSITORY   TAG       IMAGE ID       CREATED         SIZE\n\
                 bravo        1         fd2d4af9182d   17 months ago   539kB\n\
                 charlie      1         f65369c0826e   2 years ago     651kB\n\
                 <none>       <none>    be3f4337b273   2 years ago     539kB\n",
            ),
            (
                &["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"],
                &[
                    &["Images", "3", "0", "1.007MB", "362.7kB (36%)"],
                    &["Local Volumes", "0", "0", "0B", "0B"],
                ],
                "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\n\
                 Images          3         0         1.007MB   362.7kB (36%)\n\
                 Local Volumes   0         0         0B        0B\n",
            ),
            (
                &[
                    "REPOSITORY",
                    "TAG",
                    "IMAGE ID",
                    "CREATED",
                    "SIZE",
                    "SHARED SIZE",
                    "UNIQUE SIZE",
                    "CONTAINERS",
                ],
                &[&[
                    "multi2",
                    "1",
                    "43b438d5b3ab",
                    "2 years ago",
                    "659kB",
                    "628.8kB",
                    "30.43kB",
                    "0",
                ]],
                "REPOSITORY   TAG       IMAGE ID       CREATED       SIZE      SHARED SIZE   UNIQUE SIZE   CONTAINERS\n\
                 multi2       1         43b438d5b3ab   2 years ago   659kB     628.8kB       30.43kB       0\n",
            ),
            (
                &[
                    "CACHE ID",
                    "CACHE TYPE",
                    "SIZE",
                    "CREATED",
                    "LAST USED",
                    "USAGE",
                    "SHARED",
                ],
                &[],
                "CACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED\n",
            ),
        ];
        for (headers, rows, want) in cases {
            assert_eq!(table(headers, rows).render(), want);
        }
    }

    #[test]
    fn never_ends_in_blanks() {
        let sizes = table(
            &["NAME", "SIZE", "NOTE"],
            &[
                &["a", "1.5kB", "x"],
                &["b", "12.25MB", ""],
                &["", "", ""],
                &["c"],
                &["d", "", "y"],
            ],
        );
        assert_eq!(
            sizes.render(),
            "NAME      SIZE      NOTE\n\
             a         1.5kB     x\n\
             b         12.25MB\n\
             \n\
             c\n\
             d                   y\n"
        );
    }

    #[test]
    fn measures_as_a_terminal_shows() {
        let names = table(
            &["NAME", "X"],
            &[&["面白いイメージ", "1"], &["cafe\u{301}123", "2"]],
        );
        assert_eq!(
            names.render(),
            "NAME             X\n面白いイメージ   1\ncafe\u{301}123          2\n"
        );
    }

    #[test]
    fn a_cell_cannot_make_up_rows_or_columns() {
        let forged = table(&["NAME", "X"], &[&["a\nb\tc", "1"]]);
        assert_eq!(forged.render(), "NAME          X\na\\x0ab\\x09c   1\n");
    }

    #[test]
    fn extra_cells_are_shown_and_missing_ones_are_empty() {
        assert_eq!(
            table(&["A"], &[&["1", "2", "3"]]).render(),
            "A\n1         2         3\n"
        );
        assert_eq!(table(&[], &[]).render(), "\n");
    }

    #[test]
    fn fits_by_cutting_names_and_never_digests() {
        let long = "registry.example.com/platform/team/application";
        let rows: [&[&str]; 2] = [
            &[long, "1.4.2", "fd2d4af9182d", "2 years ago", "539kB"],
            &["alpine", "3", "f65369c0826e", "2 years ago", "651kB"],
        ];
        let mut fitted = table(&LS, &rows);
        fitted.names(0);
        fitted.names(1);
        fitted.fit(Some(80));
        assert_eq!(
            fitted.render(),
            "REPOSITORY                          TAG       IMAGE ID       CREATED       SIZE\n\
             registry.example…team/application   1.4.2     fd2d4af9182d   2 years ago   539kB\n\
             alpine                              3         f65369c0826e   2 years ago   651kB\n"
        );
        fitted.fit(None);
        assert!(fitted.render().contains(long));
    }

    #[test]
    fn cuts_in_the_middle() {
        for (text, room, want) in [
            ("abcdefgh", 8, "abcdefgh"),
            ("abcdefgh", 7, "abc…fgh"),
            ("abcdefgh", 6, "ab…fgh"),
            ("abcdefgh", 2, "…h"),
            ("abcdefgh", 1, "…"),
            ("abcdefgh", 0, ""),
            ("面白いイメージ", 9, "面白…ージ"),
            ("面白いイメージ", 8, "面…ージ"),
            ("aaaae\u{301}", 3, "a…e\u{301}"),
            ("aaae\u{301}b", 3, "a…b"),
            (
                "❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}",
                5,
                "❤\u{fe0f}…❤\u{fe0f}",
            ),
            ("👩\u{200d}💻👩\u{200d}💻", 3, "…💻"),
        ] {
            let cut = cut_middle(text, room);
            assert_eq!(cut, want, "{text} in {room}");
            assert!(cut.width() <= room);
        }
    }

    #[test]
    fn hostile_names_of_any_length_fit() {
        let long = "x".repeat(300_000);
        let rows: [&[&str]; 1] = [&[&long, &long, "fd2d4af9182d", "2 years ago", "539kB"]];
        for width in [20, 79, 80, 200] {
            let mut fitted = table(&LS, &rows);
            fitted.names(0);
            fitted.names(1);
            fitted.fit(Some(width));
            let text = fitted.render();
            assert!(text.contains("fd2d4af9182d"));
            for line in text.lines() {
                // Below that only digests and headers are left, which are never cut.
                assert!(line.width() <= width.max(70), "{width}: {}", line.width());
            }
        }
    }
}
