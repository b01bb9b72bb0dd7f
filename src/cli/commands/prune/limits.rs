//! The limits of the disk: `--max-size` and `--min-free`.

use std::path::PathBuf;

use ocisweep::archive::Archives;
use ocisweep::ops::{Limits, LimitsError};

use super::PruneRequest;
use crate::cli::args::PruneArgs;
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::Selected;

/// Reads the size and the free space of the file system of several layouts.
///
/// # Errors
/// The exit status, after the reason was printed: they are on different ones, or it cannot be read.
pub(super) fn limits_together(
    context: &Context<'_>,
    request: &PruneRequest,
    layouts: &[PathBuf],
) -> Result<Limits, Exit> {
    request
        .budget
        .limits_together(layouts)
        .map_err(|error| match error {
            LimitsError::Layout(error) => context.report(&error),
            error => {
                let what = match request.budget.min_free {
                    Some(_) => "`--min-free`",
                    None => "`--max-size` in percent",
                };
                let text = format!("cannot use {what}: {error}");
                let hint = "prune the layouts of each file system in a separate run";
                context.fail(exit::USAGE, &text, Some(hint))
            }
        })
}

/// Refuses `--min-free` where removing images would free nothing, or more than is wanted.
pub(super) fn refuse_min_free(
    context: &Context<'_>,
    args: &PruneArgs,
    chosen: &Selected,
    shares_budget: bool,
) -> Result<(), Exit> {
    let (what, hint) = match args.min_free {
        None => return Ok(()),
        Some(_) if context.trash.is_some() => (
            "with a trash: what is in it is not free",
            "`--trash=0` deletes immediately; `ocisweep trash empty` frees what is in the trash",
        ),
        Some(_) if chosen.groups.len() > 1 && !shares_budget => (
            "for each of several layouts: each would free as much as is wanted",
            "`--group-by tree` frees it from all of them together",
        ),
        Some(_) if chosen.paths().any(Archives::may_be) => (
            "with an archive: its new file needs space before the old one is removed",
            "`--max-size` makes it smaller",
        ),
        Some(_) => return Ok(()),
    };
    let text = format!("cannot use `--min-free` {what}");
    Err(context.fail(exit::USAGE, &text, Some(hint)))
}
