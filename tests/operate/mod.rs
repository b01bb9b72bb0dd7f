//! Features for administrators: records, disk budgets, signals and short output.
//!
//! - [`audit`]: `--audit-log`; [`metrics`]: `--metrics`.
//! - [`action`]: the composite action in `docs/`; [`recipes`]: everything else in `docs/recipes.md`.
//! - [`absent`]: `--if-exists`; [`budget`]: `--min-free`.
//! - [`screen`]: lists fit on a terminal.
//! - [`sorted`]: `df --sort`.
//! - [`together`]: one budget, and keep rules, for several layouts.
//! - [`signals`]: Ctrl-C at the confirmation, closed pipes, locks.
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
