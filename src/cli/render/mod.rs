//! Formats results as text, tables and JSON.

pub mod json;
pub mod names;
pub mod pieces;
pub mod rows;
pub mod summary;
pub mod sweep;
pub mod table;
pub mod template;
pub mod time;
pub mod trashed;
pub mod wrap;
