//! The program against layouts that are damaged, forged or made to hurt: nothing referenced is deleted, nothing outside of
//! the layout is touched, and every call ends.
//!
//! - [`annotations`]: blobs that nothing but an annotation names.
//! - [`digests`]: digests that try to be paths.
//! - [`documents`]: documents that are deep, cyclic, branching, nested or full of nonsense.
//! - [`sizes`]: files of a gigabyte.
//! - [`damage`]: documents that are other than their digest says.
//! - [`index_json`]: `index.json` and `oci-layout` in every broken form.
//! - [`refused`]: what is no layout, and pools that belong to others as well.
//! - [`second_index`]: other files that list blobs.
//! - [`special`]: FIFOs, sockets, devices, directories, links, hard links and foreign files in the pool.
//! - [`flight`]: writers at work, their temporary files and locks.
//! - [`marks`]: what prevents a sweep.
//! - [`moments`]: what is old and what is recent, to the nanosecond.
//! - [`order`]: the same order on every file system.
//! - [`output`]: names from strangers, on terminals and in pipes; outputs that are closed or full.
//! - [`rights`]: what cannot be read or written.
//!
//! Every call runs under a watchdog ([`guard`]); what needs rights or programs that are not there is skipped with the reason.

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
