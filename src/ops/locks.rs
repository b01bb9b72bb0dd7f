//! Locking the layouts of a group, and the trash of their store.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::layout::Layout;
use crate::layout::lock::{Locked, LockedStore};
use crate::progress::Progress;

/// Locks layouts, waiting up to `wait` altogether. The guards are in the order of the layouts.
///
/// # Errors
/// Those of [`Locked::acquire`] for any of them.
pub(super) fn lock_all<'a>(
    layouts: &'a [Layout],
    wait: Duration,
    progress: &dyn Progress,
) -> Result<Vec<Locked<'a>>> {
    let mut order = Vec::with_capacity(layouts.len());
    for (number, layout) in layouts.iter().enumerate() {
        order.push((layout.identity()?, number, layout));
    }
    // Two processes with the same layouts in another order would wait for one another.
    order.sort_unstable_by_key(|(identity, number, _)| (*identity, *number));
    let start = Instant::now();
    let mut locked: Vec<(usize, Locked<'a>)> = Vec::with_capacity(order.len());
    for (_, number, layout) in order {
        let left = wait.saturating_sub(start.elapsed());
        locked.push((number, Locked::acquire(layout, left, progress)?));
    }
    locked.sort_by_key(|(number, _)| *number);
    Ok(locked.into_iter().map(|(_, locked)| locked).collect())
}

/// Locks the trash of the store that these layouts share; `None`: the trash of a single layout is protected by the lock of
/// the layout.
pub(super) fn lock_store<'a>(
    layouts: &'a [Layout],
    wait: Duration,
    progress: &dyn Progress,
) -> Result<Option<LockedStore<'a>>> {
    let shared = layouts.first().filter(|layout| layout.is_in_store());
    let locked = shared.map(|layout| LockedStore::acquire(layout.trash(), wait, progress));
    locked.transpose()
}
