//! Layouts in tar archives: they are read, slimmed and written as their directories are.
//!
//! - [`classic`]: archives of docker before version 25.
//! - [`corpus`]: every recorded layout, packed, against its directory.
//! - [`flow`]: where archives are read from and written to.
//! - [`hostile`]: archives that should never have been packed.
//! - [`pack`]: making and taking apart archives.

mod classic;
mod corpus;
mod flow;
mod hostile;
mod pack;
