//! What those who operate a machine rely on: records, budgets of the disk, signals and short output.
//!
//! - [`audit`] is about `--audit-log`, [`metrics`] about `--metrics`.
//! - [`action`]: the composite action in `docs/`; [`recipes`]: everything else that `docs/recipes.md` shows.
//! - [`absent`] is about `--if-exists`, [`budget`] about `--min-free`.
//! - [`screen`]: lists are no longer than a terminal.
//! - [`sorted`] is about `df --sort`.
//! - [`together`]: one budget, and keep rules, for several layouts.
//! - [`signals`]: Ctrl-C at the question, closed pipes, locks.
#![expect(
    clippy::indexing_slicing,
    reason = "an index out of bounds fails the test"
)]

mod absent;
mod action;
mod audit;
mod budget;
mod metrics;
mod recipes;
mod screen;
mod signals;
mod sorted;
mod together;
