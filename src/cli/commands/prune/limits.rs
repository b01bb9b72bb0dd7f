//! The limits of the disk: `--max-size` and `--min-free` in bytes.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ocisweep::Error;
use ocisweep::archive::Archives;
use ocisweep::fs::Space;
use ocisweep::parse::size::Amount;

use super::Request;
use crate::cli::args::PruneArgs;
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::Selected;

/// The limits of the disk, in bytes, when a plan was made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    pub(super) max_size: Option<u64>,
    /// The bytes that are to be free, and those that are.
    pub(super) free: Option<(u64, u64)>,
}

impl Limits {
    /// Returns `true` if a limit depends on the file system.
    fn depends_on_disk(request: &Request) -> bool {
        let is_part = |amount| matches!(amount, Amount::Part(_));
        request.min_free.is_some() || request.max_size.is_some_and(is_part)
    }

    /// Reads what the file system has.
    pub(super) fn of(request: &Request, layout: &Path) -> Result<Self, Error> {
        if !Self::depends_on_disk(request) {
            let bytes = request.max_size.map(|amount| amount.of(0));
            return Ok(Self {
                max_size: bytes,
                free: None,
            });
        }
        let place = place_of(layout);
        let space = Space::of(&place).map_err(|source| Error::Read {
            path: place,
            source,
        })?;
        let wanted = request.min_free.map(|amount| amount.of(space.total));
        Ok(Self {
            max_size: request.max_size.map(|amount| amount.of(space.total)),
            free: wanted.map(|wanted| (wanted, space.available)),
        })
    }

    /// Reads what the file system of several layouts has.
    ///
    /// # Errors
    /// The exit status, after the reason was printed: they are on different ones, or it cannot be read.
    pub(super) fn of_all(
        context: &Context<'_>,
        request: &Request,
        layouts: &[PathBuf],
    ) -> Result<Self, Exit> {
        let Some(first) = layouts.first() else {
            return Ok(Self::default());
        };
        if Self::depends_on_disk(request) {
            let device = |layout: &PathBuf| {
                let found = std::fs::metadata(place_of(layout));
                found
                    .map(|found| found.dev())
                    .map_err(|source| Error::Read {
                        path: layout.clone(),
                        source,
                    })
            };
            let own = device(first).map_err(|error| context.report(&error))?;
            for layout in layouts {
                if device(layout).map_err(|error| context.report(&error))? != own {
                    let what = match request.min_free {
                        Some(_) => "`--min-free`",
                        None => "`--max-size` in percent",
                    };
                    let (first, layout) = (first.display(), layout.display());
                    let text = format!(
                        "cannot use {what}: `{first}` and `{layout}` are on different file systems"
                    );
                    let hint = "prune the layouts of each file system with a run of their own";
                    return Err(context.fail(exit::USAGE, &text, Some(hint)));
                }
            }
        }
        Self::of(request, first).map_err(|error| context.report(&error))
    }

    /// Returns the bytes to free.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let (wanted, available) = self.free?;
        Some(wanted.saturating_sub(available))
    }
}

/// Returns where the blobs of a layout are. Of an archive the directory that it is in: its file is replaced.
fn place_of(layout: &Path) -> PathBuf {
    let blobs = layout.join("blobs");
    if blobs.is_dir() {
        blobs
    } else {
        layout.to_owned()
    }
}

/// Refuses `--min-free` where it would remove images and free nothing, or free more than is wanted.
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
            "`--trash=0` deletes at once; `ocisweep trash empty` frees what is there",
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
