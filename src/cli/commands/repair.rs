//! `ocisweep check --repair`

use std::fmt::Write as _;
use std::path::Path;

use ocisweep::Error;
use ocisweep::ops::{Repaired, repair};
use ocisweep::report::check::{CheckOptions, Finding};

use crate::cli::args::CheckArgs;
use crate::cli::context::Context;

/// Repairs a layout as far as there are intact copies of missing and damaged blobs.
///
/// # Errors
/// Those of reading, locking and writing.
pub fn run(
    context: &Context<'_>,
    args: &CheckArgs,
    path: &Path,
    options: &CheckOptions,
    is_damage: impl Fn(&Finding) -> bool,
) -> Result<Vec<Repaired>, Error> {
    for source in &args.from {
        if let Err(error) = std::fs::metadata(source) {
            return Err(Error::Read {
                path: source.clone(),
                source: error,
            });
        }
    }
    let store = args.layouts.shared_blobs.as_deref();
    let layout = match store {
        Some(_) => context.open_in(path, store)?,
        None => context.open_directory(path, "an archive cannot be repaired")?,
    };
    let journal = context.journal();
    let observers = (journal.as_deref(), context.watcher());
    let read = || context.read(path, store);
    let meant = (options, is_damage);
    repair(&layout, read, meant, &args.from, args.lock_wait, observers)
}

/// Returns a line for each blob.
pub fn lines(context: &Context<'_>, repaired: &[Repaired]) -> String {
    let mut text = String::new();
    for Repaired { digest, from } in repaired {
        // Writing to a String cannot fail.
        let _ = match from {
            Some(from) => {
                let from = from.to_string_lossy();
                writeln!(
                    text,
                    "Repaired: {digest} from {}",
                    context.term.foreign(&from)
                )
            }
            None => writeln!(text, "Restored: {digest} from the trash"),
        };
    }
    text
}
