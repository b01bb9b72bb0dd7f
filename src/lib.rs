//! Cleans OCI image layouts on disk: lists what is in them, removes images and platforms, and deletes the blobs that nothing
//! references any more. No daemon, no registry, no network.
//!
//! The command `ocisweep` is made of this library and nothing else; `README.md` and `docs/` say what it does and how it differs from
//! docker. This page is for those who want the same from Rust.
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
//! to a manifest, or to an index of manifests for several platforms; a manifest leads to its configuration and its layers, and
//! by `subject` to what it is about. Blobs are never told how many documents lead to them: whoever wants to delete one has to
//! read all documents first. That is what this library is for.
//!
//! # What is promised
//!
//! 1. **Nothing that is still referenced is lost.** What stays is found by marking from every entry, every [hold](layout::holds) and
//!    every element of docker save's `manifest.json`. Where a document cannot be read, what it leads to is unknown, and
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
//! # use ocisweep::execute::{Refused, execute};
//! # use ocisweep::graph::{EmptyIndex, GracePolicy, MissingDocuments};
//! # use ocisweep::layout::lock::Locked;
//! # use ocisweep::progress::Silent;
//! # use ocisweep::oci::{Algorithm, Digest};
//! # use ocisweep::plan::{SweepOptions, sweep_all};
//! # use ocisweep::fs::Disk;
//! # use ocisweep::{Error, Snapshot};
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
//! let view = Snapshot::read_protected(&layout, next_year, rule, &Silent)?;
//! let plan = sweep_all(&view, missing, empty, &Disk, &plan_at(next_year))?;
//! assert_eq!(plan.sweep().len(), 1);
//! let locked = Locked::acquire(&view.layout, Duration::from_secs(10), &Silent)?;
//! let refused = execute(&locked, &plan, &Disk, &Silent);
//! assert!(matches!(refused, Err(Refused::Error(Error::AheadOfClock { .. }))));
//! # Ok(())
//! # }
//! ```
//!
//! # The way of a sweep
//!
//! [`Snapshot::read`] lists the blobs, then reads `index.json`, then every document that matters. [`graph`] knows what refers to
//! what; [`model`] puts that into words; [`plan`] decides, as pure functions of a view, options and the present;
//! [`Locked`](layout::lock::Locked) keeps others out; [`execute`](execute::execute) reads `index.json` again, compares it with
//! what the plan rests on, and does what the plan says by the few operations of [`fs`].
//!
//! What is here and what is damaged tells [`check`](report::check::check), from the same view and without changing anything; what keeps a
//! blob tell [`ReferencePaths`](graph::ReferencePaths), and [`report::why`] who shares the blobs of an image.
//!
//! ```
//! use std::{fs, time::Duration};
//!
//! use jiff::Timestamp;
//! use ocisweep::execute::execute;
//! use ocisweep::graph::{EmptyIndex, GracePolicy, MissingDocuments};
//! use ocisweep::model::images::images;
//! use ocisweep::layout::lock::Locked;
//! use ocisweep::progress::Silent;
//! use ocisweep::oci::{Algorithm, Digest};
//! use ocisweep::plan::{SweepOptions, sweep_all};
//! use ocisweep::fs::Disk;
//! use ocisweep::{Error, Snapshot};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A layout with one image, `app:1`, and with a blob that nothing leads to.
//! let layout = tempfile::tempdir()?;
//! let blobs = layout.path().join("blobs/sha256");
//! fs::create_dir_all(&blobs)?;
//! let put = |bytes: &str| {
//!     let digest = Digest::of(Algorithm::Sha256, bytes.as_bytes());
//!     fs::write(blobs.join(digest.encoded()), bytes).map(|()| (digest, bytes.len()))
//! };
//! let (config, size) = put("{}")?;
//! let manifest = format!(
//!     r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
//!       "config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{config}","size":{size}}},"layers":[]}}"#
//! );
//! let (manifest, size) = put(&manifest)?;
//! let index = format!(
//!     r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json",
//!       "digest":"{manifest}","size":{size},"annotations":{{"org.opencontainers.image.ref.name":"app:1"}}}}]}}"#
//! );
//! fs::write(layout.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
//! fs::write(layout.path().join("index.json"), index)?;
//! let (orphan, _) = put("a layer of an image that was overwritten")?;
//!
//! // Read it, and list what is there.
//! let now = Timestamp::now();
//! let mut view = Snapshot::read(layout.path(), now, &Silent)?;
//! for image in images(&view, now) {
//!     assert_eq!(&*image.names[0].text, "app:1");
//!     assert_eq!(image.digest, manifest);
//! }
//!
//! // What is younger than an hour is kept: a writer may be about to list it. No writer is at work here.
//! view.protect(GracePolicy::new(now, Duration::ZERO), &Silent)?;
//!
//! // Mark what is live, and plan to sweep the rest.
//! let options = SweepOptions::new(now, now, Duration::MAX);
//! let plan = sweep_all(&view, MissingDocuments::Refuse, EmptyIndex::Refuse, &Disk, &options)?;
//! assert_eq!(plan.totals().blobs, 1);
//! assert_eq!(plan.totals().reclaimed_bytes(), 40);
//!
//! // Do it, under the lock. `Refused::Changed` asks to read and plan again.
//! let locked = Locked::acquire(&view.layout, Duration::from_secs(10), &Silent)?;
//! let outcome = execute(&locked, &plan, &Disk, &Silent).expect("nobody else writes here");
//! assert_eq!(outcome.done, plan.totals());
//! assert!(!blobs.join(orphan.encoded()).exists());
//! assert_eq!(fs::read_dir(&blobs)?.count(), 2);
//!
//! // What cannot be read is never taken for garbage.
//! drop(locked);
//! fs::write(blobs.join(manifest.encoded()), "damaged")?;
//! let view = Snapshot::read(layout.path(), now, &Silent)?;
//! let refused = sweep_all(&view, MissingDocuments::Refuse, EmptyIndex::Refuse, &Disk, &options);
//! assert!(matches!(refused, Err(Error::Incomplete { .. })));
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! `cli`, on by default, brings what only the command needs. `default-features = false` leaves it out.
//!
//! Until version 1 the interface of this library may change with any version; the JSON of the command only grows.

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
