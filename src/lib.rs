//! Cleans OCI image layouts on disk: lists their contents, removes images and platforms, and deletes unreferenced blobs. No
//! daemon, no registry, no network. Linux only.
//!
//! The command `ocisweep` is built on this library: `README.md` and `docs/` describe it and its differences from docker. This
//! page is for callers in Rust.
//!
//! # List
//!
//! A [`Snapshot`] is a layout at one moment; [`model`] lists its images and entries.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temp = tempfile::tempdir()?;
//! # tar::Archive::new(std::fs::File::open("testdata/corpus/skopeo-old-tags.tar")?).unpack(temp.path())?;
//! # let layout = temp.path().join("skopeo-old-tags");
//! use jiff::Timestamp;
//! use ocisweep::model::images::{ImageInspector, list_images};
//! use ocisweep::{Snapshot, progress::Silent};
//!
//! let now = Timestamp::now();
//! let snapshot = Snapshot::read(&layout, now, &Silent)?;
//! let mut cache = ImageInspector::new(&snapshot);
//! for image in list_images(&snapshot, now) {
//!     let names: Vec<&str> = image.names.iter().map(|name| &*name.text).collect();
//!     let sizes = cache.sizes(image.id, None);
//!     println!("{} {} {} bytes", image.digest, names.join(", "), sizes.disk);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Sweep
//!
//! [`ops`] runs whole commands: read, protect, plan, lock, execute, and start over if the layout changed in between.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temp = tempfile::tempdir()?;
//! # tar::Archive::new(std::fs::File::open("testdata/corpus/skopeo-old-tags.tar")?).unpack(temp.path())?;
//! # let layout = temp.path().join("skopeo-old-tags");
//! use std::time::Duration;
//!
//! use jiff::Timestamp;
//! use ocisweep::ops::{GcOptions, LayoutGroup, Mode, Protection, gc};
//! use ocisweep::progress::Silent;
//!
//! let group = LayoutGroup::of(&layout);
//! let protection = Protection::new(Timestamp::now());
//! let options = GcOptions::default();
//!
//! // List what would be deleted.
//! let planned = gc(&group, &protection, &options, Mode::Plan, &Silent)?;
//! println!("{} bytes", planned.totals().reclaimed_bytes());
//!
//! // Delete it, waiting at most ten seconds for the lock.
//! let mode = Mode::Execute(Duration::from_secs(10));
//! let finished = gc(&group, &protection, &options, mode, &Silent)?;
//! assert!(finished.is_complete());
//! # Ok(())
//! # }
//! ```
//!
//! Orphans newer than an hour are kept: a writer may be about to list them. A layout whose blobs are behind a link, so that
//! other layouts may use them, is refused; [`LayoutGroup::sharing`](ops::LayoutGroup::sharing) opens all layouts that share
//! a store.
//!
//! # Prune
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temp = tempfile::tempdir()?;
//! # tar::Archive::new(std::fs::File::open("testdata/corpus/skopeo-old-tags.tar")?).unpack(temp.path())?;
//! # let layout = temp.path().join("skopeo-old-tags");
//! use std::time::Duration;
//!
//! use jiff::Timestamp;
//! use ocisweep::ops::{LayoutGroup, Mode, Protection, prune};
//! use ocisweep::plan::{Filters, Policy, PruneOptions, Scope};
//! use ocisweep::progress::Silent;
//!
//! let now = Timestamp::now();
//! let policy = Policy { last: Some(3), ..Policy::default() };
//! let filters = Filters::default();
//! let options = PruneOptions::new(Scope::All, &filters, &policy, now);
//! let group = LayoutGroup::of(&layout);
//! let mode = Mode::Execute(Duration::from_secs(10));
//! let finished = prune(&group, &Protection::new(now), &options, mode, &Silent)?;
//! for verdict in finished.notes.iter().flatten().filter(|verdict| verdict.is_removed) {
//!     println!("removed {}: {}", verdict.digest, verdict.reasons.join("; "));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`ops::prune_together`] does that for several layouts with one budget, and [`ops::remove`] removes images by name. The
//! steps of these functions are available separately: [`LayoutGroup::open`](ops::LayoutGroup::open),
//! [`OpenGroup::plan`](ops::OpenGroup::plan), [`OpenGroup::execute`](ops::OpenGroup::execute).
//!
//! # What a layout is
//!
//! ```text
//! LAYOUT/
//!   oci-layout                  {"imageLayoutVersion":"1.0.0"}
//!   index.json                  the entries: the images and their names
//!   blobs/sha256/4f00adc8…      all other documents and the layers, named by their digests
//! ```
//!
//! An *entry* of `index.json` is a *descriptor*: media type, digest, size, and annotations, which include the names. It
//! references a manifest, or an index of manifests for several platforms; a manifest references its config, its layers and,
//! by `subject`, the image that it is a referrer of. A blob has no reference count: before it is deleted, all documents must
//! be read, which this library does.
//!
//! # Promises
//!
//! 1. **Nothing that is still referenced is lost.** Live blobs are marked from every entry, every [hold](layout::holds) and every
//!    element of docker save's `manifest.json`. If a document cannot be read, its references are unknown, and
//!    [`Graph::mark`](graph::Graph::mark) refuses. Only `mark` creates a [`LiveSet`](graph::LiveSet), and a sweep can only be
//!    planned with one.
//! 2. **Ordinary layouts are accepted.** Docker's media types, indexes with missing platforms, unknown media types, several digest
//!    algorithms, temporary files of writers and unlisted signatures are normal.
//! 3. **The numbers are true.** A [`Plan`](plan::Plan) is a value. A dry run shows it and a run executes it, so there is no flag
//!    that deletion code could ignore. [`report::usage`] computes `df` from the plan of a prune.
//! 4. **A crash leaves at worst orphans.** [`execute`] writes new documents, then `index.json`, and then deletes; its module
//!    documentation describes what a crash leaves after each step.
//!
//! No garbage collector can protect a writer that takes no lock and decides to use an *old* orphan while it is being
//! deleted. A [`Snapshot`] protects recent orphans ([`Snapshot::protect`] sets the grace period),
//! [`Locked`](layout::lock::Locked) takes the only lock that some writers respect,
//! [`Outcome::concurrent`](execute::Outcome::concurrent) reports such a writer afterwards, and a [hold](layout::holds)
//! always protects.
//!
//! # Safe by construction
//!
//! A [`Plan`](plan::Plan) is only created by functions such as [`sweep_all`](plan::sweep_all), [`remove`](plan::remove()) and
//! [`prune`](plan::prune()): none of its fields can be set.
//!
//! ```compile_fail
//! # fn f(plan: &mut ocisweep::plan::Plan, deletion: ocisweep::plan::Deletion) {
//! plan.sweep.push(deletion);
//! # }
//! ```
//!
//! All of these refuse blobs behind a link, which other layouts may use, and keep orphans newer than the grace period of the
//! snapshot. [`execute`](execute::execute) checks both again, and refuses a plan for a future time: such a plan can only be
//! shown, to try out a policy.
//!
//! ```
//! # use std::{fs, os::unix::fs::symlink, time::Duration};
//! # use jiff::{Timestamp, ToSpan};
//! # use ocisweep::execute::execute;
//! # use ocisweep::graph::{EmptyIndex, GracePolicy, MissingDocuments};
//! # use ocisweep::layout::lock::Locked;
//! # use ocisweep::progress::Silent;
//! # use ocisweep::oci::{Algorithm, Digest};
//! # use ocisweep::plan::{SweepOptions, sweep_all};
//! # use ocisweep::fs::Disk;
//! # use ocisweep::{Error, Layout, Snapshot};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temp = tempfile::tempdir()?;
//! # let layout = temp.path().join("layout");
//! # let orphan = Digest::of(Algorithm::Sha256, b"written a moment ago");
//! # fs::create_dir_all(layout.join("blobs/sha256"))?;
//! # fs::write(layout.join("blobs/sha256").join(orphan.encoded()), "written a moment ago")?;
//! # fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
//! # fs::write(layout.join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#)?;
//! # let linked = temp.path().join("linked");
//! # fs::create_dir(&linked)?;
//! # symlink(layout.join("blobs"), linked.join("blobs"))?;
//! # fs::copy(layout.join("oci-layout"), linked.join("oci-layout"))?;
//! # fs::copy(layout.join("index.json"), linked.join("index.json"))?;
//! let plan_at = |now: Timestamp| SweepOptions::new(now, now, Duration::ZERO);
//! let (missing, empty) = (MissingDocuments::Allow, EmptyIndex::Allow);
//! let now = Timestamp::now();
//!
//! // A recent blob is kept by default.
//! let snapshot = Snapshot::read(&layout, now, &Silent)?;
//! let plan = sweep_all(&snapshot, missing, empty, &Disk, &plan_at(now))?;
//! assert!(plan.sweep().is_empty());
//! assert_eq!(plan.kept().len(), 1);
//!
//! // The blobs of another layout are refused.
//! let snapshot = Snapshot::read(&linked, now, &Silent)?;
//! let refused = sweep_all(&snapshot, missing, empty, &Disk, &plan_at(now));
//! assert!(matches!(refused, Err(Error::SharedBlobs { .. })));
//!
//! // Next year that blob will be old. Such a plan cannot be executed today.
//! let next_year = now + (365 * 24).hours();
//! let rule = GracePolicy::new(next_year, GracePolicy::HOUR);
//! let snapshot = Snapshot::of_protected(Layout::open(&layout)?, next_year, rule, &Silent)?;
//! let plan = sweep_all(&snapshot, missing, empty, &Disk, &plan_at(next_year))?;
//! assert_eq!(plan.sweep().len(), 1);
//! let locked = Locked::acquire(&snapshot.layout, Duration::from_secs(10), &Silent)?;
//! let refused = execute(&locked, &plan, &Disk, &Silent);
//! assert!(matches!(refused, Err(Error::AheadOfClock { .. })));
//! # Ok(())
//! # }
//! ```
//!
//! # From `main` to `unlink`
//!
//! | module | what it does |
//! | --- | --- |
//! | [`ops`] | the loop of every changing command, over one layout or a group that shares its blobs |
//! | [`layout`] | opens directories, lists blobs, reads `index.json`, holds and second indexes, and locks |
//! | [`archive`] | unpacks the documents of a tar archive as a layout, and writes the archive without deleted blobs |
//! | [`graph`] | reads documents, follows references, and marks live blobs |
//! | [`model`] | images, names and entries, as users see them |
//! | [`plan`] | decides, as pure functions of a snapshot, options and the time |
//! | [`execute`] | compares the state again, writes, and deletes according to the plan |
//! | [`fs`] | the only module that changes a file |
//! | [`report`] | `df`, `check`, `why`: reports that change nothing |
//! | [`oci`], [`parse`] | values of the specifications; parsing of times and sizes |
//!
//! A module uses only those below it: `ops`, `report`, `execute`, `plan`, `model`, `graph`, `archive`, `layout`, `fs`, `progress`,
//! `error`, `oci`, `threads`, `clock`, `parse`. A test checks that.
//!
//! # Features
//!
//! `cli`, on by default, adds the dependencies of the command, and `archives`: compressed archives, of which zstd needs a C
//! compiler. Plain archives need no feature. `oci-spec`, on by default, adds [conversions](oci::spec) to and from the types of the
//! `oci-spec` crate. `default-features = false` disables all of them.
//!
//! Until version 1 the interface of this library may change with any version; the JSON of the command only grows.
#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "tests make and change layouts, and read the clock"
    )
)]

pub mod archive;
mod clock;
pub mod error;
pub mod execute;
pub mod fs;
pub mod graph;
pub mod layout;
pub mod model;
pub mod oci;
pub mod ops;
pub mod parse;
pub mod plan;
pub mod progress;
pub mod report;
pub mod threads;
#[cfg(test)]
mod vectors;

pub use error::{Error, ErrorKind, Result};
pub use layout::Layout;
pub use model::Snapshot;
