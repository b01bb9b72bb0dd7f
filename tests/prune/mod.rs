//! `prune`, `apply` and the filters of `ls`, through the command line.
//!
//! Every prune in these tests is run dry, for real and once more, and is checked for common invariants; see
//! [`prune`](crate::support::prune). Layouts are built blob by blob, or come from the recorded corpus.
//!
//! - [`belongings`]: signatures and the like, in every form.
//! - [`dangling`]: images left by overwritten tags, and images that only resemble them.
//! - [`everything`]: `--all`, holds, and the last image.
//! - [`rules`]: `--keep`, `--keep-last` and the like, `--keep-from`.
//! - [`companions`]: tags that another tool derives from a tag.
//! - [`budget`]: the space limit `--max-size`.
//! - [`cache`]: build caches under a budget.
//! - [`filters`] and [`times`]: `--filter`, alike for `ls` and `prune`.
//! - [`unmatched`]: patterns that match nothing; [`unique`]: `df -v` for each image.
//! - [`plans`]: `--plan` and `apply`; [`stale`]: what happens between them; [`edited`]: plans that the program did not make.
//! - [`output`]: text, JSON, exit codes.
//! - [`flight`]: writers at work, and damage.
//! - [`saved`]: the files of docker save; [`second_index`]: files of other tools that list blobs.
//! - [`random`]: random layouts and policies against an oracle; [`worlds`]: those of the model test, with names.
//! - [`journeys`]: complete use cases.
//! - [`question`]: the confirmation.
#![expect(
    clippy::indexing_slicing,
    reason = "an index out of bounds fails the test"
)]

mod belongings;
mod budget;
mod cache;
mod companions;
mod dangling;
mod edited;
mod everything;
mod filters;
mod flight;
mod journeys;
mod output;
mod plans;
mod question;
mod random;
mod rules;
mod saved;
mod second_index;
mod stale;
mod times;
mod unique;
mod unmatched;
mod worlds;
