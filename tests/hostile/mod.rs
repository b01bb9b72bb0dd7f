//! Damaged, forged and hostile layouts: nothing referenced is deleted, nothing outside of the layout is changed, and every
//! call terminates.
//!
//! - [`annotations`]: blobs that only an annotation names.
//! - [`digests`]: digests that try to be paths.
//! - [`documents`]: documents that are deep, cyclic, branching, nested or invalid.
//! - [`sizes`]: files of a gigabyte.
//! - [`damage`]: documents that do not match their digest.
//! - [`index_json`]: `index.json` and `oci-layout` in every broken form.
//! - [`refused`]: paths that are not layouts, and blobs that other layouts use as well.
//! - [`second_index`]: other files that list blobs.
//! - [`special`]: FIFOs, sockets, devices, directories, links, hard links and foreign files among the blobs.
//! - [`flight`]: writers at work, their temporary files and locks.
//! - [`marks`]: what prevents a sweep.
//! - [`moments`]: age limits, to the nanosecond.
//! - [`order`]: the same order on every file system.
//! - [`output`]: untrusted names, on terminals and in pipes; outputs that are closed or full.
//! - [`rights`]: files that cannot be read or written.
//!
//! Every call runs under a watchdog ([`guard`]); tests that need absent privileges or programs are skipped with the reason.

mod annotations;
mod damage;
mod digests;
mod documents;
mod flight;
mod index_json;
mod marks;
mod moments;
mod order;
mod output;
mod refused;
mod rights;
mod second_index;
mod sizes;
mod special;
