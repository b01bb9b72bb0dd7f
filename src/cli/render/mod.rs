//! Turning what the library says into text.

pub mod json;
pub mod kept;
pub mod rows;
pub mod summary;
pub mod sweep;
pub mod table;
pub mod trashed;
pub mod tree;
