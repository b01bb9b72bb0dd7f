//! Random layouts, how they are written, and the oracles that decide what a command must do to them.
//!
//! - [`layout`]: a layout as references between blobs, before it becomes bytes; [`generate`] draws one, [`write`] writes it.
//! - [`oracle`]: what a sweep of it may and must do.
//! - [`pruning`]: images with names, times and labels, and a policy for them; [`judge`]: what a prune must do.
//! - [`cases`]: seeds, their variables, and the report of failures.

pub(crate) mod cases;
pub(crate) mod generate;
pub(crate) mod judge;
pub(crate) mod layout;
pub(crate) mod oracle;
pub(crate) mod pruning;
pub(crate) mod write;
