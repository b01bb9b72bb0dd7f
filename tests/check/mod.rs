//! The commands that inspect and change nothing: `check` (and `--repair`), `why` and `blobs`.
//!
//! - [`classes`]: every class of `check`, one kind of damage after another.
//! - [`changed`]: a layout that changes concurrently.
//! - [`sparse`]: the difference between a partial copy and a loss.
//! - [`signed`]: signed docker schema 1 manifests.
//! - [`why`]: reference paths to a blob, what happens to orphans, and which images share blobs.
//! - [`blobs`]: lists of paths, from which a complete copy can be made.
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
