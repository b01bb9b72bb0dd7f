//! The commands that look closely and change nothing: `check`, but for its `--repair`, `why` and `blobs`.
//!
//! - [`classes`]: every class that `check` knows, one damage after another.
//! - [`changed`]: a layout that changes concurrently.
//! - [`sparse`]: where a copy of a part ends and a loss begins.
//! - [`signed`]: signed docker schema 1 manifests.
//! - [`why`]: every way to a blob, what becomes of orphans, who shares an image.
//! - [`blobs`]: lists of paths, and that a copy by them is complete.
//! - [`repair`]: `check --repair`.
//! - [`trash`]: `check --trash`.
//! - [`parts`]: checks that read only a part of the blobs.
//! - [`many`]: many names and many children.
//! - [`around`]: the recorded corpus, several layouts, locks and signals.

mod around;
mod blobs;
mod changed;
mod classes;
mod many;
mod parts;
mod repair;
mod second_index;
mod signed;
mod sparse;
mod trash;
mod why;
