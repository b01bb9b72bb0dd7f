//! `rm`, `rm --platform` and `hold` through the command line, with docker's messages.
//!
//! The lines on stdout, and the messages for missing images and conflicts, are from transcripts of `docker image rm`; if the
//! program does better than docker, the test explains it. Layouts are built blob by blob, and nearly every call is made by
//! [`rm`](crate::support::removed::rm), which checks common invariants.
//!
//! - [`selecting`]: the images that an argument selects.
//! - [`alike`]: one name on several images, and an ID that a rewrite replaced.
//! - [`several`]: several arguments, and failures among them.
//! - [`untag`]: blobs removed with a name, and with the last one.
//! - [`referrers`]: documents that belong to an image without being a part of it.
//! - [`companions`]: tags that another tool derives from a tag.
//! - [`damage`]: damaged or missing images, and others beside them.
//! - [`attributes`]: ACL and extended attributes of rewritten files.
//! - [`files`]: the files afterwards.
//! - [`docker_save`]: the lists of docker save beside `index.json`.
//! - [`large`]: thousands of names and images.
//! - [`output`]: text, JSON, dry runs.
//! - [`holds`]: `hold`, and what it protects from.
//! - [`platform_words`]: platform values, and what is refused.
//! - [`platform_named`]: versions, features and digests, and that each removed platform is named.
//! - [`platform_rewrite`]: the new index, and that nothing else is damaged.
//! - [`platform_along`]: documents removed with a platform, and references to the index.
//! - [`platform_sparse`]: the modes that keep the index.
//! - [`crash`]: kills at any moment, and failing calls.
//! - [`beside`]: blobs released while a writer is at work.
//! - [`meanwhile`]: changes by other processes while it waits.
//! - [`cured`]: missing blobs that are restored from the trash of an earlier run.
//! - [`undo`]: restoring blobs from the trash.
#![expect(
    clippy::indexing_slicing,
    reason = "an index out of bounds fails the test"
)]

mod alike;
#[cfg(target_os = "linux")]
mod attributes;
mod beside;
mod companions;
mod crash;
mod cured;
mod damage;
mod docker_save;
mod files;
mod holds;
mod kept;
mod large;
#[cfg(target_os = "linux")]
mod meanwhile;
mod output;
mod platform_along;
mod platform_named;
mod platform_rewrite;
mod platform_sparse;
mod platform_words;
mod referrers;
mod selecting;
mod several;
mod undo;
mod untag;
