//! `rm`, `rm --platform` and `hold` from outside, in docker's words.
//!
//! The wording of what is printed to stdout, and of what is not found or in conflict, is from transcripts of `docker image rm`;
//! where the program does better than docker, the test says so. Layouts are built blob by blob, and nearly every call is made by
//! [`rm`](crate::support::removed::rm), which checks what holds for all of them.
//!
//! - [`selecting`]: which image an argument names.
//! - [`alike`]: one name on several images, and an ID that a rewrite replaced.
//! - [`several`]: several arguments, and what fails among them.
//! - [`untag`]: what is removed with a name, and what with the last one.
//! - [`referrers`]: what belongs to an image without being a part of it.
//! - [`companions`]: tags that another tool derives from a tag.
//! - [`damage`]: what is damaged or missing, in the image or beside it.
//! - [`attributes`]: ACL and extended attributes of rewritten files.
//! - [`files`]: what the files look like afterwards.
//! - [`docker_save`]: the lists that docker save keeps beside `index.json`.
//! - [`large`]: thousands of names and images.
//! - [`output`]: text, JSON, dry runs.
//! - [`holds`]: `hold`, and what it protects from.
//! - [`platform_words`]: which platform is meant, and what is refused.
//! - [`platform_named`]: versions, features and digests, and that each removed platform is named.
//! - [`platform_rewrite`]: the new index, and that nothing is torn out of anything else.
//! - [`platform_along`]: what is removed with a platform, and what refers to the index.
//! - [`platform_sparse`]: the ways that leave the index as it is.
//! - [`crash`]: killed at any moment, and calls that fail.
//! - [`beside`]: what is released while a writer is at work.
//! - [`meanwhile`]: what other processes do while it waits.
//! - [`cured`]: what an earlier run has in the trash is there after a run that found it missing.
//! - [`undo`]: what went into the trash comes back.
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
