//! Changes the holds of a layout.

use std::time::Duration;

use jiff::Timestamp;

use crate::error::{ArchiveProblem, Error, Result};
use crate::execute::write_holds;
use crate::fs::Disk;
use crate::layout::Layout;
use crate::layout::holds::{Hold, Holds};
use crate::layout::lock::Locked;
use crate::model::snapshot::Snapshot;
use crate::progress::Progress;

use super::journal::{Change, ChangeResult, Journal, record};
use super::run::{Attempt, UNLOCKED_ATTEMPTS, until_unchanged};

/// Changes the holds of a layout under its lock. `open` opens it; `edit` gets the current holds, and is called again if the
/// layout changed in between. The journal, if there is one, records the change.
///
/// # Errors
/// Those of opening, reading and locking, [`Error::Unstable`] if the layout changes each time, and those of `edit`.
pub fn change_holds<E: From<Error>>(
    open: &dyn Fn() -> Result<Layout>,
    now: Timestamp,
    lock_wait: Duration,
    (journal, progress): (Option<&dyn Journal>, &dyn Progress),
    mut edit: impl FnMut(&Snapshot, &mut Holds) -> Result<(), E>,
) -> Result<(), E> {
    until_unchanged(progress, |attempt| {
        // If the layout changed each time, it is read under the lock.
        let lockable = (attempt >= UNLOCKED_ATTEMPTS).then(open).transpose()?;
        let early = match &lockable {
            Some(layout) => Some(Locked::acquire(layout, lock_wait, progress)?),
            None => None,
        };
        let snapshot = Snapshot::of_to_show(open()?, now, progress)?;
        let why = "an archive cannot have holds";
        snapshot
            .layout
            .refuse_packed(ArchiveProblem::Unsupported(why))?;
        let mut holds = snapshot.state.holds.clone();
        edit(&snapshot, &mut holds)?;
        let base = snapshot.state.fingerprint().clone();
        let locked = match early {
            Some(locked) => locked,
            None => Locked::acquire(&snapshot.layout, lock_wait, progress)?,
        };
        let old = &snapshot.state.holds;
        let (added, removed) = (beside(&holds, old), beside(old, &holds));
        let change = Change::Holds {
            added: &added,
            removed: &removed,
        };
        let written = record(
            journal,
            (&[snapshot.layout.path()], &change),
            || write_holds(&locked, &base, &holds, &Disk),
            |()| ChangeResult::HoldsWritten,
        );
        Ok(Attempt::of(written, snapshot.layout.path())?)
    })
}

/// Returns the holds that are not in the other list.
fn beside(holds: &Holds, others: &Holds) -> Vec<Hold> {
    let own = holds.holds.iter();
    let own = own.filter(|hold| !others.holds.contains(hold));
    own.cloned().collect()
}
