//! What went into the trash, as a line.

use std::path::PathBuf;

use ocisweep::parse::size::human_size;

use super::sweep::{Shown, count};
use crate::cli::context::quote_path;

/// What the layouts of a run moved into the trash.
#[derive(Debug, Default)]
pub struct TrashTotals {
    layouts: Vec<PathBuf>,
    blobs: u64,
    bytes: u64,
}

impl TrashTotals {
    /// Adds a layout.
    pub fn add(&mut self, shown: &Shown<'_>) {
        let Some(trashed) = shown.trashed() else {
            return;
        };
        self.layouts.push(shown.plan.layout().to_owned());
        self.blobs += trashed.blobs;
        self.bytes = self.bytes.saturating_add(trashed.bytes);
    }

    /// Returns the line below the total, with the command that takes it back; nothing without a trash.
    pub fn line(&self, is_dry_run: bool) -> String {
        let blobs = count(self.blobs, "blob");
        let size = human_size(self.bytes);
        match (self.layouts.as_slice(), is_dry_run) {
            ([], _) => String::new(),
            (_, true) => format!("Would move to trash: {blobs}, {size}\n"),
            ([layout], false) => format!(
                "Moved to trash: {blobs}, {size} (ocisweep undo {})\n",
                quote_path(layout)
            ),
            (layouts, false) => format!(
                "Moved to trash: {blobs}, {size}, of {} (ocisweep undo LAYOUT)\n",
                count(layouts.len() as u64, "layout")
            ),
        }
    }
}
