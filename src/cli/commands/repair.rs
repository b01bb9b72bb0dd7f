//! `ocisweep check --repair`

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use ocisweep::Error;
use ocisweep::oci::Digest;
use ocisweep::ops::{Repaired, repair, restore_missing};
use ocisweep::report::check::{CheckOptions, Finding, check};

use crate::cli::args::CheckArgs;
use crate::cli::context::Context;

/// The maximum number of passes: a repaired document can reference another damaged one.
const MAX_ROUNDS: usize = 16;

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
        Some(store) => context.open_in(path, store)?,
        None => context.open_directory(path, "an archive cannot be repaired")?,
    };
    let journal = context.journal();
    let told = (journal.as_deref(), context.watcher());
    let restored = restore_missing(&layout, args.lock_wait, told)?;
    let mut repaired: Vec<Repaired> = restored
        .into_iter()
        .map(|restored| Repaired {
            digest: restored.digest,
            from: None,
        })
        .collect();
    let mut tried: BTreeSet<Digest> = BTreeSet::new();
    for _ in 0..MAX_ROUNDS {
        let snapshot = context.read(path, store)?;
        let report = check(&snapshot, options, context.watcher())?;
        let damaged = report.findings.iter().filter(|finding| is_damage(finding));
        let damaged: BTreeSet<Digest> = damaged
            .filter_map(|finding| finding.digest.clone())
            .filter(|digest| !tried.contains(digest))
            .collect();
        if damaged.is_empty() {
            break;
        }
        tried.extend(damaged.iter().cloned());
        let damaged: Vec<Digest> = damaged.into_iter().collect();
        let now = repair(&snapshot.layout, &damaged, &args.from, args.lock_wait, told)?;
        if now.is_empty() {
            break;
        }
        repaired.extend(now);
    }
    Ok(repaired)
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
