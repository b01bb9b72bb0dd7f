//! The line about blobs that were moved into the trash.

use std::path::PathBuf;

use ocisweep::parse::size::human_size;

use super::sweep::{Shown, count};
use crate::cli::quote::{quote_path, undo_shared};

/// The maximum number of layouts of a shared store that the line names.
const MAX_LAYOUTS: usize = 8;

/// The blobs that the layouts of a run moved into the trash, or would move.
#[derive(Debug, Default)]
pub struct TrashTotals {
    layouts: Vec<PathBuf>,
    /// A store whose layouts come after it.
    store: Option<PathBuf>,
    /// Of these, those that the run changes, or else the first one.
    sharing: Vec<PathBuf>,
    is_any_changed: bool,
    blobs: u64,
    bytes: u64,
}

impl TrashTotals {
    /// Adds a layout, or a shared store before its layouts.
    pub fn add(&mut self, shown: &Shown<'_>) {
        let path = shown.plan.layout().to_owned();
        if let Some(trashed) = shown.trashed() {
            self.blobs += trashed.blobs;
            self.bytes = self.bytes.saturating_add(trashed.bytes);
            match shown.is_store {
                true => self.store = Some(path),
                false => self.layouts.push(path),
            }
        } else if self.store.is_some() {
            let is_changed = !shown.plan.writes().is_empty();
            if is_changed && !std::mem::replace(&mut self.is_any_changed, true) {
                self.sharing.clear();
            }
            if is_changed || self.sharing.is_empty() {
                self.sharing.push(path);
            }
        }
    }

    /// Returns the line below the total, with the command that undoes it; nothing without a trash.
    pub fn line(&self, is_dry_run: bool) -> String {
        let blobs = count(self.blobs, "blob");
        let size = human_size(self.bytes);
        match (&self.store, self.layouts.as_slice(), is_dry_run) {
            (None, [], _) => String::new(),
            (_, _, true) => format!("Would move to trash: {blobs}, {size}\n"),
            (Some(store), _, false) => {
                let names = self.sharing.get(..MAX_LAYOUTS).unwrap_or(&self.sharing);
                let more = if names.len() < self.sharing.len() {
                    " LAYOUT..."
                } else {
                    ""
                };
                let undo = undo_shared(store, None, names);
                format!("Moved to trash: {blobs}, {size} (ocisweep undo {undo}{more})\n")
            }
            (None, [layout], false) => format!(
                "Moved to trash: {blobs}, {size} (ocisweep undo {})\n",
                quote_path(layout)
            ),
            (None, layouts, false) => format!(
                "Moved to trash: {blobs}, {size}, of {} (ocisweep undo LAYOUT)\n",
                count(layouts.len() as u64, "layout")
            ),
        }
    }
}
