//! What people see of a layout: its images, their names and the entries that list them.

pub(crate) mod companions;
pub mod entries;
pub mod images;
pub mod inventory;
pub mod snapshot;

pub use snapshot::Snapshot;
