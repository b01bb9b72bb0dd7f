//! The commands, one file each.

pub mod apply;
pub mod blobs;
pub mod check;
mod check_record;
mod check_trash;
pub mod df;
mod fields;
pub mod gc;
pub mod hold;
pub mod ls;
pub mod prune;
mod repair;
pub mod rm;
pub mod trash;
pub mod undo;
pub mod why;
