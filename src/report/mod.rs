//! Reports, which change nothing: damage, disk usage, and what keeps a blob.

pub mod check;
mod stored;
pub mod usage;
pub mod why;

pub use stored::stored_bytes;
