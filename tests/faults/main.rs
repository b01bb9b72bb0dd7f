//! The promises about crashes, faults and concurrent writers, tested by causing them.
//!
//! - [`kill`]: SIGKILL at every single system call that changes something.
//! - [`errors`]: an error from every system call that reads or changes something.
//! - [`reading`]: `check` on blobs that cannot be read.
//! - [`disk`]: full and read-only file systems.
//! - [`power`]: a file system that loses what was not flushed to disk.
//! - [`pools`]: kills and errors with layouts that share their blobs.
//! - [`stops`]: a file system, in this process, that stops at call N, for every N.
//! - [`race`]: writers without a lock that use an old orphan again, with a trash and without one.
//! - [`writers`]: other programs that write the layout at the same time.
//! - [`signals`]: SIGINT and SIGTERM in the middle of a sweep.
//! - [`locks`]: locks of other programs.
//! - [`attributes`]: attributes that cannot be kept.
//! - [`audit`]: the audit log after crashes and on failing disks.
//! - [`check_record`]: kills and errors while `check --since-run` writes its record.
//! - [`archives`]: kills and errors while an archive is replaced.
//! - [`repair`]: kills and errors of `check --repair`.
//! - [`shared_trash`]: the same as [`trash`] with layouts that share their blobs.
//! - [`tree`]: kills while several layouts are pruned with one budget.
//! - [`trash`]: kills and errors of runs that fill, undo and empty the trash.
//! - [`trash_disk`]: the trash on full disks and after a power loss, and repairs that share bytes.
//! - [`threads`]: no thread can be started, and calls that a sandbox does not support.
//!
//! After each fault, a walk that shares no code with the program ([`judge`]) verifies that every image that is still named
//! is intact.
//!
//! `cargo test` takes a sample of the kills and errors; `OCISWEEP_EXTENT=all` takes all of them. Tests that need `strace`,
//! `mkfs` or root print why they were skipped if these are absent; with `OCISWEEP_REQUIRE_TOOLS=1` an absent program is a
//! failure.

#![expect(
    clippy::disallowed_methods,
    reason = "tests make and change layouts, and read the clock"
)]
#![expect(
    clippy::indexing_slicing,
    reason = "an index out of bounds fails the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod archives;
mod attributes;
mod audit;
mod check_record;
mod commands;
mod disk;
mod errors;
mod hints;
mod judge;
mod kill;
mod locks;
mod mounts;
mod overlay;
mod pools;
mod power;
mod race;
mod reading;
mod repair;
mod shared_trash;
mod signals;
mod slow;
mod stall;
mod stops;
mod strace;
mod swaps;
mod threads;
mod together;
mod told;
mod trash;
mod trash_disk;
mod tree;
mod writers;
