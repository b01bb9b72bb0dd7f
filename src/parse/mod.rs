//! Texts of times, durations and sizes, as docker and Go write them.

pub mod size;
pub mod time;
