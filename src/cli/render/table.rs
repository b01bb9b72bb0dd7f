//! Tables as docker prints them.
//!
//! The layout is that of Go's text/tabwriter with docker's settings: a column is as wide as its widest cell and three
//! spaces, at least ten columns of the screen, and the last cell of a row is not padded. Widths are measured as a terminal
//! shows them. Beyond docker, a table fits a terminal, and no row ends in spaces.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::cli::term::{Colors, one_line};

/// Printed in place of a missing name, as in docker.
pub const NONE: &str = "<none>";

/// `EXTRA` of an image that a hold protects.
pub const HELD: &str = "H";

/// `EXTRA` of an image whose manifests are present without any layer.
pub const NO_LAYERS: &str = "partial (no layers)";

/// Columns between two cells.
const PADDING: usize = 3;
/// The minimum width of a cell with its padding.
const MIN_CELL: usize = 10;
/// A column is not cut below this: a shorter part of a name is useless.
const MIN_CUT: usize = 9;
/// Columns of numbers are omitted before the first column becomes narrower than this.
const MIN_NAME: usize = 12;

/// Rows of cells below headers.
#[derive(Debug, Clone)]
pub struct Table {
    /// The headers, then the rows.
    rows: Vec<TableRow>,
    names: Vec<usize>,
    numbers: Vec<usize>,
    min_cell: usize,
    max_width: Option<usize>,
}

#[derive(Debug, Clone)]
struct TableRow {
    cells: Vec<String>,
    colors: Colors,
}

impl Table {
    /// Returns a table without rows; it renders as its headers.
    ///
    /// The columns `names` are cut in the middle, the widest first, until the table is at most `max_width` wide. Digests are
    /// never among them. `None` cuts nothing; this is for [`Term::width`](crate::cli::term::Term::width). Columns that
    /// cannot be cut are printed in full, and the terminal wraps them.
    pub fn new(headers: &[&str], names: &[usize], max_width: Option<usize>) -> Self {
        let mut table = Self {
            rows: Vec::new(),
            names: names.to_vec(),
            numbers: Vec::new(),
            min_cell: MIN_CELL,
            max_width,
        };
        table.row(headers.iter().map(|&header| header.to_owned()).collect());
        table
    }

    /// Aligns columns of numbers to the right, and omits them, the last one first, if too little is left for the first
    /// column. As in docker's tree of images, cells then have no minimum width.
    pub fn with_numbers(mut self, columns: &[usize]) -> Self {
        self.numbers = columns.to_vec();
        self.min_cell = 0;
        self
    }

    /// Appends a row. A row of a single cell may be as wide as the terminal.
    ///
    /// Cells with foreign text must have gone through [`Term::foreign`](crate::cli::term::Term::foreign). Tabs and line ends
    /// become visible in any case: a cell cannot add rows.
    pub fn row(&mut self, cells: Vec<String>) {
        let whole = |cell: String| match one_line(&cell) {
            Cow::Borrowed(_) => cell,
            Cow::Owned(shown) => shown,
        };
        self.rows.push(TableRow {
            cells: cells.into_iter().map(whole).collect(),
            colors: Colors::Off,
        });
    }

    /// Prints the last row faint if there are colours.
    pub fn dim(&mut self, colors: Colors) {
        if let Some(row) = self.rows.last_mut() {
            row.colors = colors;
        }
    }

    /// Appends a last column without a header, with one cell per row, if at least `least` columns of a terminal are left for
    /// it. `cell` gets their number.
    pub fn beside(&mut self, least: usize, mut cell: impl FnMut(usize, usize) -> String) {
        let taken = self.width(&self.widths()).saturating_add(PADDING);
        let room = self.max_width.unwrap_or_default().saturating_sub(taken);
        if room < least {
            return;
        }
        for (number, row) in self.rows.iter_mut().skip(1).enumerate() {
            row.cells.push(cell(number, room));
        }
    }

    /// Returns the lines, headers first, each with its line end.
    pub fn render(mut self) -> String {
        self.omit_numbers();
        let mut widths = self.widths();
        if let Some(max_width) = self.max_width {
            self.narrow(&mut widths, max_width);
        }
        let mut text = String::new();
        for row in &self.rows {
            text.push_str(&row.colors.dim(&self.line(&row.cells, &widths)));
            text.push('\n');
        }
        text
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        if let [cell] = cells {
            let cell = cut_middle(cell, self.max_width.unwrap_or(usize::MAX));
            return cell.trim_end_matches(' ').to_owned();
        }
        let mut text = String::new();
        // Padding is emitted before the next cell, so that rows have no trailing spaces.
        let mut padding = 0;
        for (column, (cell, &width)) in cells.iter().zip(widths).enumerate() {
            let cell = cut_middle(cell, width);
            let spaces = width.saturating_sub(cell.width());
            let gap = self.whole_cell(width).saturating_sub(width);
            let (before, after) = if self.numbers.contains(&column) {
                (spaces, 0)
            } else {
                (0, spaces)
            };
            text.extend(std::iter::repeat_n(' ', padding + before));
            text.push_str(&cell);
            padding = after.saturating_add(gap);
        }
        text.truncate(text.trim_end_matches(' ').len());
        text
    }

    /// Returns the width of each column without padding.
    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.cells.len()), 0);
            for (width, cell) in widths.iter_mut().zip(&row.cells) {
                *width = (*width).max(cell.width());
            }
        }
        widths
    }

    fn omit_numbers(&mut self) {
        while let (Some(max_width), Some(&column)) = (self.max_width, self.numbers.last()) {
            let mut widths = self.widths();
            if let Some(first) = widths.first_mut() {
                *first = (*first).min(MIN_NAME);
            }
            if self.width(&widths) <= max_width {
                break;
            }
            self.numbers.pop();
            let rows = self.rows.iter_mut();
            for row in rows.filter(|row| row.cells.len() > column) {
                row.cells.remove(column);
            }
        }
    }

    fn narrow(&self, widths: &mut [usize], max_width: usize) {
        let headers = self.rows.first();
        let floor = |column: usize| {
            let header = headers.and_then(|headers| headers.cells.get(column));
            header.map_or(MIN_CUT, |header| header.width().max(MIN_CUT))
        };
        // The widest column is narrowed by one at a time, so that equally long names remain equally readable. Columns wider
        // than the terminal are cut first, which bounds the number of rounds for any names.
        for (column, width) in widths.iter_mut().enumerate() {
            if self.names.contains(&column) && *width > max_width {
                *width = max_width.max(floor(column)).min(*width);
            }
        }
        while self.width(widths) > max_width {
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

    /// Returns the width of a cell that another one follows.
    fn whole_cell(&self, width: usize) -> usize {
        width.saturating_add(PADDING).max(self.min_cell)
    }

    /// Returns the width of the table whose columns have these widths.
    fn width(&self, widths: &[usize]) -> usize {
        let Some((last, others)) = widths.split_last() else {
            return 0;
        };
        others.iter().fold(*last, |sum, &width| {
            sum.saturating_add(self.whole_cell(width))
        })
    }
}

/// Returns `text`, or its two ends with `…` between them, at most `room` columns wide.
///
/// The end gets the odd column: in names, tags and versions come last.
fn cut_middle(text: &str, room: usize) -> Cow<'_, str> {
    if text.width() <= room {
        return Cow::Borrowed(text);
    }
    let Some(budget) = room.checked_sub(1) else {
        return Cow::Borrowed("");
    };
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
    let mut cut: String = text.chars().take_while(fits(budget / 2)).collect();
    // If a wide character does not fit into the first half, the tail gets the remaining column.
    let used = cut.chars().map(columns).fold(0, usize::saturating_add);
    let tail_room = budget.saturating_sub(used);
    let tail: Vec<char> = text.chars().rev().take_while(fits(tail_room)).collect();
    cut.push('…');
    // A mark would be drawn on the ellipsis.
    cut.extend(tail.into_iter().rev().skip_while(|&c| columns(c) == 0));
    Cow::Owned(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(headers: &[&str], rows: &[&[&str]]) -> Table {
        let mut table = Table::new(headers, &[], None);
        for row in rows {
            table.row(row.iter().map(|&cell| cell.to_owned()).collect());
        }
        table
    }

    const LS: [&str; 5] = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];

    fn fitted(rows: &[&[&str]], width: Option<usize>) -> Table {
        let mut table = table(&LS, rows);
        (table.names, table.max_width) = (vec![0, 1], width);
        table
    }

    #[test]
    fn is_laid_out_as_in_docker() {
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
    fn rows_have_no_trailing_spaces() {
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
    fn widths_are_those_on_a_terminal() {
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
    fn a_cell_cannot_add_rows_or_columns() {
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
        assert_eq!(
            fitted(&rows, Some(80)).render(),
            "REPOSITORY                          TAG       IMAGE ID       CREATED       SIZE\n\
             registry.example…team/application   1.4.2     fd2d4af9182d   2 years ago   539kB\n\
             alpine                              3         f65369c0826e   2 years ago   651kB\n"
        );
        assert!(fitted(&rows, None).render().contains(long));
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
            ("👍🏽👍🏽👍🏽", 5, "👍…🏽"),
            ("🇫🇷🇩🇪", 3, "🇫…🇪"),
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
            let text = fitted(&rows, Some(width)).render();
            assert!(text.contains("fd2d4af9182d"));
            for line in text.lines() {
                // Below that only digests and headers remain, which are never cut.
                assert!(line.width() <= width.max(70), "{width}: {}", line.width());
            }
        }
    }
}
