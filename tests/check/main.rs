//! The commands that look closely and change nothing: `check`.
//!
//! - [`scene`]: a layout in which everything is whole, to be damaged by a test.
//! - [`classes`]: every class that `check` knows, one damage after another.
//! - [`sparse`]: where a copy of a part ends and a loss begins.
//! - [`around`]: the recorded corpus, several layouts, locks and signals.

#[path = "../support/mod.rs"]
mod support;

mod around;
mod classes;
mod scene;
mod sparse;
