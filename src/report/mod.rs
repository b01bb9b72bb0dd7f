//! Reports, which change nothing: damage, disk usage, and what keeps a blob.

pub mod check;
pub(crate) mod stored;
pub mod usage;
pub mod why;

pub use stored::stored_bytes;
