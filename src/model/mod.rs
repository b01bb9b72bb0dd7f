//! A layout as users see it: its images, their names and the entries that list them.

pub(crate) mod companions;
mod config;
pub mod entries;
pub mod images;
pub mod inventory;
pub mod snapshot;

pub use snapshot::Snapshot;
