//! Reports, which change nothing: what is damaged, what uses the space, what keeps a blob.

pub mod check;
pub(crate) mod stored;
pub mod usage;
pub mod why;

pub use stored::stored_bytes;
