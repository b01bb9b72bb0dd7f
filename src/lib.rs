//! x
pub mod entries;
pub mod error;
pub mod execute;
pub mod graph;
pub mod holds;
pub mod images;
pub mod layout;
pub mod observe;
pub mod oci;
pub mod plan;
pub mod sys;
pub mod time;
pub mod units;
pub mod usage;
#[cfg(test)]
mod vectors;
pub mod view;

pub use error::{Error, ErrorKind, Result};
pub use layout::Layout;
pub use view::View;
