//! Random layouts, how they are written, and the oracles of the expected results.
//!
//! - [`layout`]: a layout as references between blobs, before it is written; [`draw`] and [`wild`] draw one, [`write`]
//!   writes it.
//! - [`features`]: the allowed contents of a random layout; [`kinds`]: its actual contents.
//! - [`oracle`]: what a sweep of it may do and must do.
//! - [`wish`]: random filters and a policy; [`judge`]: the expected result of a prune.
//! - [`cases`]: seeds, their variables, and the report of failures.

pub(crate) mod cases;
pub(crate) mod draw;
pub(crate) mod features;
pub(crate) mod judge;
pub(crate) mod kinds;
pub(crate) mod layout;
pub(crate) mod oracle;
mod wild;
pub(crate) mod wish;
pub(crate) mod write;
