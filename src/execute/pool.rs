//! Doing what a plan says about a pool of blobs that several layouts use.
//!
//! *Order*: as for a single layout, with every layout in the place of the one: all are locked, what others
//! wrote to any of them is brought to the disk, all are read again and compared, then blobs go, and before
//! each further batch all are compared again. No document is written, so a crash leaves fewer orphans.

use super::{Meanwhile, Outcome, Refused, execute, is_still, sweep, unchanged};
use crate::error::Result;
use crate::layout::lock::Locked;
use crate::observe::Observer;
use crate::pool::{SharedOutcome, SharedPlan};
use crate::settle::settle;
use crate::sys::Fs;

use super::meanwhile::look_back;

/// Sweeps a pool. `locked` are all layouts that use it, in the order of the plan.
///
/// # Errors
/// [`Refused::Changed`] when a layout is other than the plan rests on, [`Refused::Error`] when one cannot be
/// read or written. Nothing was deleted then.
pub(crate) fn execute_pool(
    locked: &[Locked<'_>],
    plan: &SharedPlan,
    fs: &dyn Fs,
    observer: &dyn Observer,
) -> Result<SharedOutcome, Refused> {
    let victims = &plan.pool.sweep;
    if !victims.is_empty() {
        for locked in locked {
            settle(locked, fs)?;
        }
    }
    let bases: Vec<_> = plan.layouts.iter().map(|layout| &layout.base).collect();
    if locked.len() != bases.len() {
        return Err(Refused::Changed);
    }
    for (locked, base) in locked.iter().zip(&bases) {
        unchanged(locked, base)?;
    }
    let still = || {
        let mut layouts = locked.iter().zip(&bases);
        layouts.all(|(locked, base)| is_still(locked.layout(), base))
    };
    // The directories of blobs are the same for all of them.
    let mut pool = match locked.first() {
        Some(any) => sweep(any.layout(), &plan.pool, victims, &still, fs, observer),
        None => Outcome::nothing(),
    };
    let mut meanwhile = Meanwhile::default();
    for (locked, base) in locked.iter().zip(&bases) {
        let found = look_back(locked.layout(), base, &plan.pool, &[&[], &pool.fates]);
        meanwhile.changed |= found.changed;
        meanwhile.broken.extend(found.broken);
    }
    meanwhile.changed |= pool.meanwhile.changed;
    pool.meanwhile = meanwhile;
    let mut layouts = Vec::with_capacity(plan.layouts.len());
    for (locked, own) in locked.iter().zip(&plan.layouts) {
        let outcome = if pool.interrupted || own.is_empty() {
            Outcome {
                interrupted: pool.interrupted && !own.is_empty(),
                ..Outcome::nothing()
            }
        } else {
            match execute(locked, own, fs, observer) {
                Ok(outcome) => outcome,
                // Its temporary files wait for the next time: the pool is swept, and that has to be said.
                Err(Refused::Changed) => Outcome {
                    meanwhile: Meanwhile {
                        changed: true,
                        broken: Vec::new(),
                    },
                    ..Outcome::nothing()
                },
                Err(Refused::Error(error)) => Outcome {
                    failed: own.failures(&error),
                    ..Outcome::nothing()
                },
            }
        };
        layouts.push(outcome);
    }
    Ok(SharedOutcome { pool, layouts })
}
