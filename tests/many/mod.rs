//! Several layouts in one run: trees of them, hard links, shared blobs, and layouts that become empty.
//!
//! - [`arguments`]: the selection of layouts, their reports, and the exit status of the worst one.
//! - [`empty`]: empty layouts.
//! - [`live`]: a zot that is running.
//! - [`mistaken`]: arguments that are not layouts.
//! - [`shared`]: layouts that share their blobs.
//! - [`trash`]: the trash of shared blobs.
//! - [`tree`]: a registry of zot with two hundred repositories.

mod arguments;
mod empty;
mod live;
mod mistaken;
mod shared;
mod trash;
mod tree;
