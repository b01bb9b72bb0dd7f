//! What became of each of several layouts, a row each.

use ocisweep::parse::size::human_size;
use ocisweep::plan::Totals;

use super::table::Table;
use crate::cli::context::Context;

/// What the table says of one layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What was freed, or would be; `None` where nothing was measured.
    pub totals: Option<Totals>,
    /// How it ended.
    pub state: &'static str,
}

/// Returns the rows as a table with their sum.
pub fn table(context: &Context<'_>, rows: &[(String, Row)], is_dry_run: bool) -> String {
    let headers = if is_dry_run {
        ["LAYOUT", "WOULD DELETE", "WOULD RECLAIM", "STATE"]
    } else {
        ["LAYOUT", "DELETED", "RECLAIMED", "STATE"]
    };
    let mut table = Table::new(&headers);
    table.names(0);
    table.fit(context.term.width());
    let files = |totals: &Totals| totals.blobs.saturating_add(totals.temporary).to_string();
    let sum = sum(rows);
    for (path, row) in rows {
        let numbers = match &row.totals {
            Some(totals) => [files(totals), human_size(totals.reclaimed_bytes())],
            None => ["-".to_owned(), "-".to_owned()],
        };
        let [deleted, reclaimed] = numbers;
        table.row(vec![
            context.term.foreign(path).into_owned(),
            deleted,
            reclaimed,
            row.state.to_owned(),
        ]);
    }
    table.row(vec![
        "Total".to_owned(),
        files(&sum),
        human_size(sum.reclaimed_bytes()),
        String::new(),
    ]);
    table.render()
}

/// Returns what was freed in all layouts together.
pub fn sum(rows: &[(String, Row)]) -> Totals {
    rows.iter()
        .filter_map(|(_, row)| row.totals)
        .fold(Totals::default(), Totals::plus)
}
