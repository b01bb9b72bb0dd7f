//! `gc`: everything that nothing leads to.

use crate::error::Result;
use crate::fs::Fs;
use crate::graph::{Accept, Change, LiveSet, MarkOptions};
use crate::model::snapshot::View;

use super::sweep::{sweep, sweep_orphans};
use super::{Plan, SweepOptions};

/// Plans the sweep of everything that a layout does not lead to.
///
/// Orphans younger than the grace period [of the view](View::protect) are kept, and what they reference.
///
/// # Errors
/// As [`Graph::mark`](crate::graph::Graph::mark), and [`Error::SharedBlobs`](crate::Error::SharedBlobs) where the blobs
/// may be those of other layouts as well.
pub fn sweep_all(
    view: &View,
    missing: Accept,
    empty: Accept,
    fs: &dyn Fs,
    options: &SweepOptions,
) -> Result<Plan> {
    view.layout.refuse_shared_blobs()?;
    let live = live(view, missing, empty)?;
    Ok(sweep(view, &live, fs, options))
}

/// Does the same for who asks nothing more of the view: what the plan does not need
/// [is forgotten](View::forget_documents) to make room for it, and the orphans are nowhere but in the plan.
///
/// # Errors
/// As [`sweep_all`].
pub fn sweep_only(
    view: &mut View,
    missing: Accept,
    empty: Accept,
    options: &SweepOptions,
) -> Result<Plan> {
    view.layout.refuse_shared_blobs()?;
    let live = live(view, missing, empty)?;
    view.forget_documents();
    Ok(sweep_orphans(view, &live, options))
}

fn live(view: &View, missing: Accept, empty: Accept) -> Result<LiveSet> {
    let everything = MarkOptions {
        keep: &|_| true,
        change: Change::none(),
        extra: &[],
        missing,
        empty,
    };
    view.graph.mark(&view.layout, &view.state, &everything)
}
