//! The command line. Converts what was typed to the options of the library, and knows nothing else.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use ocisweep::time::parse_duration;

use super::term::{ColorChoice, Level, ProgressChoice};

/// Clean OCI image layouts on disk
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, disable_help_subcommand = true)]
#[command(
    long_about = "Clean OCI image layouts on disk: show what is there, and delete every blob that nothing \
                  references any more. Works straight on `index.json` and `blobs/`; no daemon, no registry, \
                  no network.",
    after_help = "Exit status: 0 done or nothing to do, 1 not everything done, 2 usage, 3 refused and nothing \
                  changed, 4 cannot read or write, 6 busy, 10 would change (with --exit-code), 130 interrupted"
)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, ClapArgs)]
pub struct Global {
    /// Use colours: auto (on a terminal, unless NO_COLOR is set), always, never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: When,
    /// Show progress on stderr: auto (on a terminal), always, never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub progress: When,
    /// Take this for the present, to try out a policy (RFC 3339)
    #[arg(long, global = true, value_name = "TIME", hide = true)]
    pub now: Option<Timestamp>,
}

/// When something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    Auto,
    Always,
    Never,
}

impl From<When> for ColorChoice {
    fn from(when: When) -> Self {
        match when {
            When::Auto => Self::Auto,
            When::Always => Self::Always,
            When::Never => Self::Never,
        }
    }
}

impl From<When> for ProgressChoice {
    fn from(when: When) -> Self {
        match when {
            When::Auto => Self::Auto,
            When::Always => Self::Always,
            When::Never => Self::Never,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Delete every blob that nothing references
    #[command(
        long_about = "Delete every blob that nothing references.\n\n\
            Everything that an entry of index.json leads to stays, tagged or not, with whatever refers \
            to it (signatures, attestations, SBOMs), even where no entry lists that. index.json itself is \
            never touched. A document that decides what is live and cannot be read stops the sweep: \
            nothing is deleted then, and the error names the image that holds it.",
        after_help = "Examples:\n  \
            ocisweep gc -n .buildx-cache        show what would go\n  \
            ocisweep gc .buildx-cache           delete it\n  \
            ocisweep gc --grace 0 .buildx-cache delete also what is younger than an hour; nobody may write now"
    )]
    Gc(GcArgs),
    /// List the images of a layout
    #[command(
        visible_alias = "images",
        after_help = "Examples:\n  \
            ocisweep ls images            the images, newest first\n  \
            ocisweep ls --tree images     with platforms, attestations and referrers\n  \
            ocisweep ls --format json images"
    )]
    Ls(LsArgs),
    /// Show how many bytes are used, and how many a prune would free
    #[command(
        visible_alias = "du",
        after_help = "TOTAL counts what is there, ACTIVE what a prune with defaults keeps, SIZE its bytes on \
            disk, and RECLAIMABLE is what such a prune frees, to the byte.\n\n\
            Examples:\n  \
            ocisweep df images\n  \
            ocisweep df -v images         with what each image shares, and what it alone takes"
    )]
    Df(DfArgs),
}

impl Command {
    /// Returns how much is said on stderr.
    pub const fn level(&self) -> Level {
        match self {
            Self::Gc(args) if args.quiet => Level::Quiet,
            Self::Gc(_) | Self::Ls(_) | Self::Df(_) => Level::Normal,
        }
    }
}

#[derive(Debug, ClapArgs)]
pub struct GcArgs {
    /// Image layouts: directories with index.json and blobs/
    #[arg(required = true, value_name = "LAYOUT")]
    pub layouts: Vec<PathBuf>,
    /// Show what would go, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// With --dry-run: exit with status 10 when something would go
    #[arg(long, requires = "dry_run")]
    pub exit_code: bool,
    #[command(flatten)]
    pub sweep: SweepArgs,
    /// Print only the total
    #[arg(short, long)]
    pub quiet: bool,
    /// Print as text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: TextFormat,
}

/// What every command that sweeps takes.
#[derive(Debug, ClapArgs)]
pub struct SweepArgs {
    /// Leave orphans alone that are younger than this and may be in use by a writer; 0 sweeps them
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub grace: Duration,
    /// Delete left-over temporary files of writers that are older than this
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub temp_age: Duration,
    /// Sweep although documents that index.json lists are missing
    #[arg(long)]
    pub allow_missing: bool,
    /// Sweep although index.json lists no image, so that every blob goes
    #[arg(long)]
    pub allow_empty: bool,
    /// Wait this long for another process that works on the layout
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub lock_wait: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TextFormat {
    Text,
    Json,
}

#[derive(Debug, ClapArgs)]
pub struct LsArgs {
    /// Image layouts: directories with index.json and blobs/
    #[arg(required = true, value_name = "LAYOUT")]
    pub layouts: Vec<PathBuf>,
    /// Show platforms, attestations and referrers below each image
    #[arg(long, conflicts_with_all = ["quiet", "digests"])]
    pub tree: bool,
    /// Show the digest of each image in full
    #[arg(long)]
    pub digests: bool,
    /// Print only image IDs, each once
    #[arg(short, long)]
    pub quiet: bool,
    /// Do not shorten image IDs
    #[arg(long)]
    pub no_trunc: bool,
    /// Print as table, json (one document) or jsonl (one image a line)
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    Table,
    Json,
    Jsonl,
}

#[derive(Debug, ClapArgs)]
pub struct DfArgs {
    /// Image layouts: directories with index.json and blobs/
    #[arg(required = true, value_name = "LAYOUT")]
    pub layouts: Vec<PathBuf>,
    /// Show what each image takes, shares, and would free if it alone went
    #[arg(short, long)]
    pub verbose: bool,
    /// Leave orphans alone that are younger than this and may be in use by a writer
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub grace: Duration,
    /// Count left-over temporary files of writers that are older than this as reclaimable
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub temp_age: Duration,
    /// Print as table or json
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: TableFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    Table,
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
