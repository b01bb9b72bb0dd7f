//! `gc`: everything that nothing leads to.

use crate::error::Result;
use crate::graph::{Accept, Change, MarkOptions};
use crate::sys::Fs;
use crate::view::View;

use super::{Plan, SweepOptions, sweep};

/// Plans the sweep of everything that a layout does not lead to.
///
/// # Errors
/// As [`Graph::mark`](crate::graph::Graph::mark).
pub fn sweep_all(
    view: &View,
    missing: Accept,
    empty: Accept,
    fs: &dyn Fs,
    options: &SweepOptions,
) -> Result<Plan> {
    let everything = MarkOptions {
        keep: &|_| true,
        change: Change::none(),
        extra: &[],
        missing,
        empty,
    };
    let live = view.graph.mark(&view.layout, &view.state, &everything)?;
    Ok(sweep(view, &live, fs, options))
}
