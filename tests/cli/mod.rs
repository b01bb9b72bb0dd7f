//! The exact output that users and scripts see.
//!
//! Every test here compares whole outputs with a file in `tests/cli/snapshots/`, so that no word changes unnoticed. The
//! layouts are those of `testdata/corpus`, the current time is always the same day, and nothing is redacted except the
//! directory of the test.
//!
//! `OCISWEEP_UPDATE=1 cargo test --test suite cli::` rewrites the files; review the changes with `git diff`.
//!
//! - [`dir`]: layouts to work on, and the comparison.
//! - [`about`]: version, manual pages, completions, and invalid command lines.
//! - [`completion`]: the text that TAB inserts in real shells.
//! - [`help`]: `--help` of every command.
//! - [`list`]: `ls` in all its formats.
//! - [`manual`]: the manual, as `man` shows it.
//! - [`many`]: trees of layouts, and shared blobs.
//! - [`usage`]: `df`, and that its numbers are those of a prune.
//! - [`sweep`]: `gc`, `rm`, `prune` and `apply`, as text and as JSON.
//! - [`inspect`]: `check`, `why` and `blobs`.
//! - [`refusals`]: errors with their hints.
//! - [`templates`]: `--format TEMPLATE`.
//! - [`terminal`]: colours, widths, and readers that close the pipe.
//! - [`transcripts`]: docker's output compared with ours, line by line.
//! - [`words`]: docker's words for the commands.
//! - [`topics`]: help topics, whose commands run and whose tables are correct.

mod about;
mod completion;
mod help;
mod inspect;
mod list;
mod manual;
mod many;
mod refusals;
mod sweep;
mod templates;
mod terminal;
mod topics;
mod transcripts;
mod usage;
mod words;
