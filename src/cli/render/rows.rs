//! The results of several layouts: a row for each, and their sum.

use ocisweep::parse::size::human_size;
use ocisweep::plan::Totals;

use super::table::Table;
use crate::cli::context::Context;

/// The row of one layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayoutRow {
    /// What was freed, or would be; `None` if nothing was measured.
    pub totals: Option<Totals>,
    /// The result.
    pub state: &'static str,
}

impl LayoutRow {
    /// Returns the number of deleted files and the reclaimed bytes, formatted.
    pub fn numbers(&self) -> [String; 2] {
        self.totals.map_or_else(
            || ["-".to_owned(), "-".to_owned()],
            |totals| {
                let files = totals.blobs.saturating_add(totals.temporary);
                [files.to_string(), human_size(totals.reclaimed_bytes())]
            },
        )
    }

    /// Returns the sum of rows.
    pub fn sum(rows: &[(String, Self)]) -> Self {
        let totals = rows.iter().filter_map(|(_, row)| row.totals);
        Self {
            totals: Some(totals.fold(Totals::default(), Totals::plus)),
            state: "",
        }
    }
}

/// Returns the rows as a table with their sum.
pub fn table(context: &Context<'_>, rows: &[(String, LayoutRow)], is_dry_run: bool) -> String {
    let headers = if is_dry_run {
        ["LAYOUT", "WOULD DELETE", "WOULD RECLAIM", "STATE"]
    } else {
        ["LAYOUT", "DELETED", "RECLAIMED", "STATE"]
    };
    let mut table = Table::new(&headers, &[0], context.term.width());
    let total = [("Total".to_owned(), LayoutRow::sum(rows))];
    for (path, row) in rows.iter().chain(&total) {
        let [deleted, reclaimed] = row.numbers();
        let path = context.term.foreign(path);
        table.row(vec![path, deleted, reclaimed, row.state.to_owned()]);
    }
    table.render()
}
