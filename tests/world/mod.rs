//! Random layouts, how they are written, and the oracles that decide what a command must do to them.
//!
//! - [`layout`]: a layout as references between blobs, before it becomes bytes; [`draw`] and [`wild`] draw one, [`write`] writes it.
//! - [`features`]: what a drawn layout may hold; [`kinds`]: what it holds.
//! - [`oracle`]: what a sweep of it may and must do.
//! - [`wish`]: filters and a policy; [`judge`]: what a prune must do.
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
