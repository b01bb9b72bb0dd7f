//! Whole commands: read, protect, plan, lock, execute; repeated if a layout changed in between.
//!
//! ```text
//! LayoutGroup::open ─► OpenGroup::plan ─► GroupPlan ─► OpenGroup::execute ─► GroupOutcome
//! ```
//!
//! [`run`](run()) does all of it. A dry run ends with the plan.

mod archive;
mod group;
mod holds;
mod journal;
mod limits;
mod locks;
mod plan_record;
mod protection;
mod prune;
mod remove;
mod repair;
mod restore;
mod run;
mod several;
mod together;
mod trash;
mod usage;

pub use crate::execute::Repaired;
pub use group::{LayoutGroup, OpenGroup};
pub use holds::change_holds;
pub use journal::{Change, ChangeResult, Journal};
pub use limits::{BudgetRequest, FreeSpace, Limits, LimitsError};
pub use protection::Protection;
pub use prune::prune;
pub use remove::{RemoveError, remove};
pub use repair::repair;
pub use run::{Finished, GcOptions, MAX_ATTEMPTS, Mode, gc, run, run_in_first};
pub use several::{Sharing, remove_directories, totals_of};
pub use together::{
    LayoutVerdicts, PruneTogether, PrunedTogether, Runs, SharedBudget, Surveyed, prune_together,
};
pub use trash::{
    EmptiedTrash, EmptyRequest, TrashOwner, UndoRequest, empty_trash, undo, undo_blob,
};
pub use usage::{Detail, SharedUsage};
