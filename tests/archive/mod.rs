//! Layouts in tar archives: they are read, slimmed and written like directories.
//!
//! - [`classic`]: archives of docker before version 25.
//! - [`corpus`]: every recorded layout, packed, compared with its directory.
//! - [`flow`]: inputs and outputs of archives.
//! - [`hostile`]: hostile archives.
//! - [`pack`]: creating and parsing archives.

mod classic;
mod corpus;
mod flow;
mod hostile;
mod pack;
