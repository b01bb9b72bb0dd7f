//! Cleans OCI image layouts on disk: lists what is in them, removes images and platforms, and deletes the blobs that nothing
//! references any more. No daemon, no registry, no network. Linux only.
//!
//! The command `ocisweep` consists of this library and of words: `README.md` and `docs/` describe what it does and how it differs
//! from docker. This page is for callers in Rust.
//!
//! # List
//!
//! A [`Snapshot`] is a layout as it was at one moment; [`model`] tells what people see in it.
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
//! [`ops`] runs whole commands: read, protect, plan, lock, execute, and again if the layout changed in between.
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
//! // What would be deleted.
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
//! Orphans younger than an hour are kept: a writer may be about to list them. A layout whose blobs are behind a link, which
//! other layouts may use, is refused; [`LayoutGroup::sharing`](ops::LayoutGroup::sharing) takes all layouts that share a store.
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
//! [`ops::remove`] removes images by name. What these functions do in one call can be done step by step:
//! [`LayoutGroup::open`](ops::LayoutGroup::open), [`OpenGroup::plan`](ops::OpenGroup::plan),
//! [`OpenGroup::execute`](ops::OpenGroup::execute).
//!
//! # What a layout is
//!
//! ```text
//! LAYOUT/
//!   oci-layout                  {"imageLayoutVersion":"1.0.0"}
//!   index.json                  the entries: which images there are, and how they are called
//!   blobs/sha256/4f00adc8…      every other document, and every layer, named by its digest
//! ```
//!
//! An *entry* of `index.json` is a *descriptor*: media type, digest, size, and annotations, among which are the names. It leads
//! to a manifest, or to an index of manifests for several platforms; a manifest references its configuration and its layers, and
//! by `subject` to what it is about. Blobs are never told how many documents lead to them: whoever wants to delete one has to
//! read all documents first. That is what this library is for.
//!
//! # What is promised
//!
//! 1. **Nothing that is still referenced is lost.** What stays is found by marking from every entry, every [hold](layout::holds) and
//!    every element of docker save's `manifest.json`. Where a document cannot be read, what it references is unknown, and
//!    [`Graph::mark`](graph::Graph::mark) refuses. Only `mark` makes a [`LiveSet`](graph::LiveSet), and only with one can a
//!    sweep be planned.
//! 2. **It does not give up on an ordinary layout.** Docker's media types, indexes of which only some platforms are here,
//!    unknown media types, several digest algorithms, temporary files of writers, signatures that no entry lists: all normal.
//! 3. **The numbers are true.** A [`Plan`](plan::Plan) is a value. A dry run shows it and a run executes it, so there is
//!    no flag that deletion code could forget to ask for. [`report::usage`] computes `df` from the plan of a prune.
//! 4. **A crash leaves at worst orphans.** [`execute`] writes new documents, then `index.json`, and deletes after that;
//!    its head says step by step what is left where.
//!
//! What no collector can protect: a writer that takes no lock and decides to use an *old* orphan while that is being
//! deleted. A [`Snapshot`] protects recent orphans ([`Snapshot::protect`] sets the grace period),
//! [`Locked`](layout::lock::Locked) takes the one lock that some writers respect,
//! [`Outcome::meanwhile`](execute::Outcome::meanwhile) tells afterwards, and a [hold](layout::holds) protects for certain.
//!
//! # What a caller cannot get wrong
//!
//! A [`Plan`](plan::Plan) comes from [`sweep_all`](plan::sweep_all), [`remove`](plan::remove()), [`prune`](plan::prune()) and
//! their like, and from nowhere else: none of its fields can be set.
//!
//! ```compile_fail
//! # fn f(plan: &mut ocisweep::plan::Plan, victim: ocisweep::plan::Deletion) {
//! plan.sweep.push(victim);
//! # }
//! ```
//!
//! All of these refuse blobs behind a link, which other layouts may use, and keep what is younger than the grace
//! period of the view. [`execute`](execute::execute) asks again, and refuses a plan for a time that has not come: it
//! may be shown, to try out a policy, and not be done.
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
//! // A blob that is seconds old is kept, though nobody asked for that.
//! let view = Snapshot::read(&layout, now, &Silent)?;
//! let plan = sweep_all(&view, missing, empty, &Disk, &plan_at(now))?;
//! assert!(plan.sweep().is_empty());
//! assert_eq!(plan.kept().len(), 1);
//!
//! // The blobs of another layout are refused.
//! let view = Snapshot::read(&linked, now, &Silent)?;
//! let refused = sweep_all(&view, missing, empty, &Disk, &plan_at(now));
//! assert!(matches!(refused, Err(Error::SharedBlobs { .. })));
//!
//! // Next year that blob will be old. A plan says so, and is not done today.
//! let next_year = now + (365 * 24).hours();
//! let rule = GracePolicy::new(next_year, GracePolicy::HOUR);
//! let view = Snapshot::of_protected(Layout::open(&layout)?, next_year, rule, &Silent)?;
//! let plan = sweep_all(&view, missing, empty, &Disk, &plan_at(next_year))?;
//! assert_eq!(plan.sweep().len(), 1);
//! let locked = Locked::acquire(&view.layout, Duration::from_secs(10), &Silent)?;
//! let refused = execute(&locked, &plan, &Disk, &Silent);
//! assert!(matches!(refused, Err(Error::AheadOfClock { .. })));
//! # Ok(())
//! # }
//! ```
//!
//! # From `main` to `unlink`
//!
//! | room | what happens there |
//! | --- | --- |
//! | [`ops`] | the loop of every changing command, over one layout or a group that shares its blobs |
//! | [`layout`] | opens directories, lists blobs, reads `index.json`, holds, second indexes and locks |
//! | [`archive`] | unpacks the documents of a tar archive as a layout, and writes the archive without what was deleted |
//! | [`graph`] | reads documents, knows what references what, and marks what is live |
//! | [`model`] | images, names and entries, as people see them |
//! | [`plan`] | decides, as pure functions of a snapshot, options and the time |
//! | [`execute`] | compares the state again, writes, and deletes what the plan says |
//! | [`fs`] | the only room that changes a file |
//! | [`report`] | `df`, `check`, `why`: questions that change nothing |
//! | [`oci`], [`parse`] | values of the specifications; times and sizes as texts |
//!
//! A room uses only those below it: `ops`, `report`, `execute`, `plan`, `model`, `graph`, `archive`, `layout`, `fs`, `error`, `oci`. A test
//! draws the arrows.
//!
//! # Features
//!
//! `cli`, on by default, adds what only the command needs, and `archives`: compressed archives, of which zstd needs a C compiler. Plain
//! archives need no feature. `oci-spec`, on by default, adds [conversions](oci::spec) to and from
//! the types of the `oci-spec` crate. `default-features = false` leaves all of them out.
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
