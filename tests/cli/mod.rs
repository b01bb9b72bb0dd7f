//! What people and scripts see, word for word.
//!
//! Every test here compares whole outputs with a file in `tests/cli/snapshots/`, so that no word changes unseen. The layouts
//! are those of `testdata/corpus`, the current time is always the same day, and nothing is redacted but the directory of the test.
//!
//! `OCISWEEP_UPDATE=1 cargo test --test suite cli::` writes the files anew; what changed is then for `git diff` to tell.
//!
//! - [`dir`]: layouts to work on, and the comparison.
//! - [`about`]: version, manual pages, completions, and command lines that are none.
//! - [`completion`]: what a TAB inserts in real shells.
//! - [`help`]: `--help` of every command.
//! - [`list`]: `ls` in all its formats.
//! - [`manual`]: the manual, as `man` shows it.
//! - [`many`]: trees of layouts, and pools of blobs.
//! - [`usage`]: `df`, and that it keeps its word.
//! - [`sweep`]: `gc`, `rm`, `prune` and `apply`, as text and as JSON.
//! - [`inspect`]: `check`, `why` and `blobs`.
//! - [`refusals`]: errors, with the hints that lead out of them.
//! - [`templates`]: `--format TEMPLATE`.
//! - [`terminal`]: colours, widths, and readers that close the pipe.
//! - [`transcripts`]: docker's answers beside ours, line by line.
//! - [`words`]: docker's words for the commands.
//! - [`topics`]: help topics, whose commands run and whose tables are true.

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
