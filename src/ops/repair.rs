//! Repairs a layout: checks it, replaces what is missing or damaged, and checks it again.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{ArchiveProblem, Result};
use crate::execute::{Repaired, Restored, needs_cure, replace_blobs};
use crate::fs::Disk;
use crate::layout::Layout;
use crate::layout::lock::Locked;
use crate::model::snapshot::Snapshot;
use crate::oci::Digest;
use crate::progress::Progress;
use crate::report::check::{CheckOptions, Finding, check};

use super::journal::{Change, ChangeResult, Journal, record};
use super::locks::{lock_all, lock_store};
use super::restore::restore_needed;

/// Moves referenced and missing blobs back from the trash.
///
/// # Errors
/// Those of locking, reading and moving.
fn restore_missing(
    layout: &Layout,
    wait: Duration,
    (journal, progress): (Option<&dyn Journal>, &dyn Progress),
) -> Result<Vec<Restored>> {
    layout.refuse_shared_blobs()?;
    layout.refuse_packed(ArchiveProblem::NoTrash)?;
    if needs_cure(&[layout])?.is_empty() {
        return Ok(Vec::new());
    }
    let layouts = std::slice::from_ref(layout);
    let locked = lock_all(layouts, wait, progress)?;
    restore_needed(journal, (layouts, &locked), wait, progress)
}

/// The maximum number of passes: a repaired document can reference another damaged one.
const MAX_ROUNDS: usize = 16;

/// Repairs a layout: replaces missing and damaged blobs that have an intact copy in the trash, or in one of the sources, which are
/// layouts or directories like `blobs`. `read` reads the layout again; `is_damage` selects the findings to repair.
///
/// # Errors
/// Those of reading, locking and writing, and [`Error::Interrupted`](crate::Error::Interrupted). Blobs that were replaced before are
/// intact.
pub fn repair(
    layout: &Layout,
    mut read: impl FnMut() -> Result<Snapshot>,
    (options, is_damage): (&CheckOptions, impl Fn(&Finding) -> bool),
    sources: &[PathBuf],
    wait: Duration,
    observers: (Option<&dyn Journal>, &dyn Progress),
) -> Result<Vec<Repaired>> {
    let restored = restore_missing(layout, wait, observers)?.into_iter();
    let restored = restored.map(|restored| Repaired {
        digest: restored.digest,
        from: None,
    });
    let mut repaired: Vec<Repaired> = restored.collect();
    let mut tried: BTreeSet<Digest> = BTreeSet::new();
    for _ in 0..MAX_ROUNDS {
        let snapshot = read()?;
        let report = check(&snapshot, options, observers.1)?;
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
        let now = replace(&snapshot.layout, &damaged, sources, wait, observers)?;
        if now.is_empty() {
            break;
        }
        repaired.extend(now);
    }
    Ok(repaired)
}

/// Locks a layout and replaces these blobs, if there are any.
fn replace(
    layout: &Layout,
    damaged: &[Digest],
    sources: &[PathBuf],
    wait: Duration,
    (journal, progress): (Option<&dyn Journal>, &dyn Progress),
) -> Result<Vec<Repaired>> {
    layout.refuse_shared_blobs()?;
    layout.refuse_packed(ArchiveProblem::Unsupported("an archive cannot be repaired"))?;
    if damaged.is_empty() {
        return Ok(Vec::new());
    }
    let locked = Locked::acquire(layout, wait, progress)?;
    let layout = locked.layout();
    let _store = lock_store(std::slice::from_ref(layout), wait, progress)?;
    let trash = layout.trash();
    let names = trash.names()?.into_iter().rev();
    let trash = names.map(|name| trash.path().join(name));
    let places = sources
        .iter()
        .flat_map(|source| [source.join("blobs"), source.clone()]);
    let places: Vec<PathBuf> = trash.chain(places).collect();
    record(
        journal,
        (&[layout.path()], &Change::Repair(damaged)),
        || replace_blobs(&locked, damaged, &places, &Disk, progress),
        |repaired| ChangeResult::Repaired(repaired),
    )
}
