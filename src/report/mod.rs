//! Reports, which change nothing: what is damaged, what uses the space, what keeps a blob.

pub mod check;
pub mod usage;
pub mod why;
