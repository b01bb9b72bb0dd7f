//! Several layouts in one run: trees of them, blobs that hard links or a pool share, and layouts that become empty.
//!
//! - [`arguments`]: which layouts are meant, how they are reported, and how the worst of them ends the run.
//! - [`empty`]: layouts in which nothing is left.
//! - [`live`]: a zot that is running.
//! - [`mistaken`]: arguments that are not layouts.
//! - [`shared`]: layouts that share a pool of blobs.
//! - [`trash`]: the trash of shared blobs.
//! - [`tree`]: a registry of zot with two hundred repositories.

mod arguments;
mod empty;
mod live;
mod mistaken;
mod shared;
mod trash;
mod tree;
