//! The command line. Converts what was typed to the options of the library, and knows nothing else.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use ocisweep::model::images::TimeSource;
use ocisweep::parse::size::parse_size;
use ocisweep::parse::time::parse_duration;
use ocisweep::plan::PlatformMode;

mod hold;
mod inspect;
mod layouts;

pub use hold::{HoldAddArgs, HoldCommand, HoldLsArgs, HoldRmArgs};
pub use inspect::{BlobsArgs, CheckArgs, WhyArgs};
pub use layouts::{LayoutArgs, SharedArgs, TreeArgs};

use super::term::{ColorChoice, Level, ProgressChoice};

/// The version, with the commit that the program was built from where `OCISWEEP_COMMIT` named it at build time. A
/// build script could ask git, but every user of the library would run it.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    match option_env!("OCISWEEP_COMMIT").filter(|commit| !commit.is_empty()) {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    }
});

/// Clean OCI image layouts on disk
#[derive(Debug, Parser)]
#[command(version = VERSION.as_str(), about, max_term_width = 100, disable_help_subcommand = true)]
#[command(
    long_about = "Clean OCI image layouts on disk: show what is there, and delete every blob that nothing \
                  references any more. Works straight on `index.json` and `blobs/`; no daemon, no registry, \
                  no network.",
    after_help = "Exit status: 0 done or nothing to do, 1 not everything done, 2 usage, 3 refused and nothing \
                  changed, 4 cannot read or write, 5 budget not reachable, 6 busy, 10 would change (with --exit-code), 130 interrupted. \
                  Of several layouts the worst counts: 130, 3, 4, 6, 2, 5, 1, 10, 0"
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
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "WHEN",
        default_value = "auto"
    )]
    pub color: When,
    /// Show progress on stderr: auto (on a terminal), always, never
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "WHEN",
        default_value = "auto"
    )]
    pub progress: When,
    /// Take this for the present, to try out a policy (RFC 3339)
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "TIME"
    )]
    pub now: Option<Timestamp>,
    /// Leave out a file beside index.json that lists images as well; what it alone lists is kept by nothing then
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "FILE"
    )]
    pub ignore_index: Vec<PathBuf>,
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
            to it (signatures, attestations, SBOMs), even where no entry lists that. So does what another \
            JSON file beside index.json lists, such as hauler-index.json. index.json itself is \
            never touched. A document that decides what is live and cannot be read stops the sweep: \
            nothing is deleted then, and the error names the image that holds it.",
        after_help = "Examples:\n  \
            ocisweep gc -n .buildx-cache        show what would go\n  \
            ocisweep gc .buildx-cache           delete it\n  \
            ocisweep gc --grace 0 .buildx-cache delete recent blobs as well; no writer may be at work\n  \
            ocisweep gc -r /var/lib/registry    every layout below a directory, with a row each\n  \
            ocisweep gc --shared-blobs blobs app db    what none of the layouts that share blobs/ needs"
    )]
    Gc(GcArgs),
    /// Untag images, and delete what nothing else references
    #[command(
        visible_aliases = ["rmi", "remove"],
        long_about = "Untag images, and delete what nothing else references.\n\n\
            An image goes with its last name, and with it untagged copies of its platforms and the \
            signatures, attestations and SBOMs that nobody named. Whatever another image needs stays. \
            IMAGE is a name, a tag if it is unique, repository@digest, an image ID or at least three hex \
            digits of one, or a pattern over names. All arguments are looked up first and applied with \
            one write of index.json; one that fails does not stop the others.",
        after_help = "Examples:\n  \
            ocisweep rm images app:1.3\n  \
            ocisweep rm -n images 'app:1.*'       show what would go\n  \
            ocisweep rm -f images 4f00adc8a1b4    with every name\n  \
            ocisweep rm images app:1.4 --platform linux/arm64,linux/arm/v7\n  \
            ocisweep rm images app:1.4 --only-platform linux/arm64"
    )]
    Rm(RmArgs),
    /// Remove dangling images, or all that no rule keeps, and delete what nothing references
    #[command(
        long_about = "Remove dangling images and delete every blob that nothing references.\n\n\
            Dangling is what overwriting a tag leaves: an image without a name that is neither a part nor \
            a referrer of anything that stays. Where nothing is named at all, nothing is dangling. With \
            --all every image may go that no hold, filter or rule keeps; rules are OR-ed. With --max-size \
            the oldest are removed, one after another, until the rest fits; what a hold, a filter or a --keep rule \
            keeps is never removed for it. Where times are equal, the configurations say which image is newer, then \
            the position in index.json.",
        after_help = "Examples:\n  \
            ocisweep prune images                         asks, with the list and the bytes\n  \
            ocisweep prune -f .buildx-cache\n  \
            ocisweep prune -f -a --max-size 5GB .buildx-cache\n  \
            ocisweep prune -n -v -a --keep-last 3 --keep '**:*-lts' mirror\n  \
            ocisweep prune --keep-from allow.txt --plan plan.json mirror && ocisweep apply plan.json\n  \
            ocisweep prune -r mirrors                     every layout below a directory, with one question\n  \
            ocisweep prune -r --remove-empty-layouts mirrors\n\n\
            Filters: dangling, reference, label, label!, before, since, until, platform, mediatype, artifacttype"
    )]
    Prune(PruneArgs),
    /// Do exactly what a plan file says, or refuse
    #[command(after_help = "Examples:\n  \
            ocisweep prune --plan plan.json images\n  \
            ocisweep apply plan.json")]
    Apply(ApplyArgs),
    /// Protect images from being removed or pruned
    #[command(subcommand)]
    Hold(HoldCommand),
    /// List the images of a layout
    #[command(
        visible_alias = "images",
        after_help = "Examples:\n  \
            ocisweep ls images            the images, newest first\n  \
            ocisweep ls --tree images     with platforms, attestations and referrers\n  \
            ocisweep ls --format json images\n  \
            ocisweep ls -f 'reference=app:*' -f until=7d images\n  \
            ocisweep ls -r mirrors        every layout below a directory\n\n\
            Filters: dangling, reference, label, label!, before, since, until, platform, mediatype, artifacttype"
    )]
    Ls(LsArgs),
    /// Show how many bytes are used, and how many a prune would free
    #[command(
        visible_alias = "du",
        after_help = "TOTAL counts what is there, ACTIVE what a prune with defaults keeps, SIZE its bytes on \
            disk, and RECLAIMABLE is what such a prune frees, to the byte.\n\n\
            Examples:\n  \
            ocisweep df images\n  \
            ocisweep df -v images         with what each image shares, and what it alone takes\n  \
            ocisweep df -r mirrors        every layout below a directory, hard links counted once"
    )]
    Df(DfArgs),
    #[command(visible_alias = "fsck")]
    Check(CheckArgs),
    Why(WhyArgs),
    Blobs(BlobsArgs),
    /// Print what a shell needs to complete commands, flags and their values
    #[command(after_help = "Examples:\n  \
            ocisweep completions bash > ~/.local/share/bash-completion/completions/ocisweep\n  \
            ocisweep completions zsh > ~/.zfunc/_ocisweep\n  \
            ocisweep completions fish > ~/.config/fish/completions/ocisweep.fish")]
    Completions(CompletionsArgs),
    /// Print a manual page, or write all of them to a directory
    #[command(after_help = "Examples:\n  \
            ocisweep man | man -l -\n  \
            ocisweep man prune | man -l -\n  \
            ocisweep man --dir ~/.local/share/man/man1")]
    Man(ManArgs),
}

impl Command {
    /// Says whether the command can change a layout.
    pub const fn changes(&self) -> bool {
        match self {
            Self::Ls(_)
            | Self::Df(_)
            | Self::Completions(_)
            | Self::Man(_)
            | Self::Hold(HoldCommand::Ls(_)) => false,
            Self::Check(_) | Self::Why(_) | Self::Blobs(_) => false,
            Self::Gc(args) => !args.dry_run,
            Self::Rm(args) => !args.dry_run,
            Self::Prune(args) => !args.is_dry_run(),
            Self::Apply(args) => !args.dry_run,
            Self::Hold(_) => true,
        }
    }

    /// Returns how much is said on stderr.
    pub const fn level(&self) -> Level {
        match self {
            Self::Gc(args) if args.output.quiet => Level::Quiet,
            Self::Rm(args) if args.quiet => Level::Quiet,
            Self::Prune(args) if args.output.quiet => Level::Quiet,
            Self::Prune(args) if args.verbose => Level::Verbose,
            Self::Gc(args) if args.verbose => Level::Verbose,
            Self::Rm(args) if args.verbose => Level::Verbose,
            Self::Apply(args) if args.verbose => Level::Verbose,
            Self::Apply(args) if args.output.quiet => Level::Quiet,
            Self::Check(args) if args.quiet => Level::Quiet,
            Self::Gc(_)
            | Self::Prune(_)
            | Self::Apply(_)
            | Self::Rm(_)
            | Self::Hold(_)
            | Self::Ls(_)
            | Self::Df(_)
            | Self::Completions(_)
            | Self::Man(_)
            | Self::Check(_)
            | Self::Why(_)
            | Self::Blobs(_) => Level::Normal,
        }
    }
}

#[derive(Debug, ClapArgs)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

#[derive(Debug, ClapArgs)]
pub struct ManArgs {
    /// The command, such as `prune` or `hold add`; without one, the page of ocisweep itself
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub command: Vec<String>,
    /// Write the pages of all commands to this directory
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// How a command that sweeps says what it did.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct OutputArgs {
    /// Print only the total
    #[arg(short, long)]
    pub quiet: bool,
    /// Print as text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: TextFormat,
    /// Write a table into the summary of a GitHub Actions job ($GITHUB_STEP_SUMMARY) as well
    #[arg(long)]
    pub summary: bool,
}

#[derive(Debug, ClapArgs)]
pub struct GcArgs {
    #[command(flatten)]
    pub layouts: LayoutArgs,
    /// Show what would go, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// With --dry-run: exit with status 10 when something would go
    #[arg(long, requires = "dry_run")]
    pub exit_code: bool,
    #[command(flatten)]
    pub sweep: SweepArgs,
    /// Remove a layout in which nothing is left, with its directory if that is empty then
    #[arg(long, conflicts_with = "shared_blobs")]
    pub remove_empty_layouts: bool,
    /// Name every file that could not be deleted
    #[arg(short, long)]
    pub verbose: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What every command that sweeps takes.
#[derive(Debug, ClapArgs)]
pub struct SweepArgs {
    /// Keep unreferenced blobs that are younger than this: a writer may be about to list them; 0 deletes them, for a
    /// job that is alone with its directory
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
pub struct RmArgs {
    /// Image layout: a directory with index.json and blobs/
    #[arg(value_name = "LAYOUT")]
    pub layout: PathBuf,
    /// What to remove: names, tags, IDs, digests or patterns
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
    /// Remove all names of an image given by ID, and what a hold protects
    #[arg(short, long)]
    pub force: bool,
    /// Show what would go, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// With --dry-run: exit with status 10 when something would go
    #[arg(long, requires = "dry_run")]
    pub exit_code: bool,
    /// Drop only this platform; can be repeated and comma separated
    ///
    /// PLATFORM is os[/arch[/variant]], with a version and features of the system in parentheses:
    /// windows(10.0.20348)/amd64 selects every version that begins so, linux(+lazy)/amd64 exactly that
    /// set of features, and what is not written matches all. The digest of a child, or its first 3 or
    /// more digits, selects one of several that are alike
    #[arg(long, value_name = "PLATFORM", conflicts_with_all = ["only_platform", "no_prune"])]
    pub platform: Vec<String>,
    /// Drop all platforms but this one
    #[arg(long, value_name = "PLATFORM", conflicts_with = "no_prune")]
    pub only_platform: Vec<String>,
    /// How platforms go: rewrite (a new index), sparse (the index stays), hollow (only layers go)
    #[arg(long, value_name = "MODE", default_value = "rewrite")]
    pub platform_mode: ModeName,
    /// Take only names away: entries become untagged, every blob stays
    #[arg(long)]
    pub no_prune: bool,
    /// Keep signatures and other referrers, and with them what they are about
    #[arg(long)]
    pub keep_referrers: bool,
    /// While a writer is at work (a temporary file or an unreferenced blob younger than this), untag and keep the
    /// blobs; 0 deletes them, for a job that is alone with its directory
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub grace: Duration,
    /// Remove although documents that stay listed are missing
    #[arg(long)]
    pub allow_missing: bool,
    #[command(flatten)]
    pub shared: SharedArgs,
    /// Wait this long for another process that works on the layout
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub lock_wait: Duration,
    /// Print only the total
    #[arg(short, long)]
    pub quiet: bool,
    /// Name every file that could not be deleted
    #[arg(short, long)]
    pub verbose: bool,
    /// Print as text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: TextFormat,
}

#[derive(Debug, ClapArgs)]
pub struct PruneArgs {
    #[command(flatten)]
    pub layouts: LayoutArgs,
    /// Remove every image that no hold, filter or rule keeps, not only dangling ones
    #[arg(short, long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long, visible_alias = "yes")]
    pub force: bool,
    /// Show what would go, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// With --dry-run: exit with status 10 when something would go
    #[arg(long, requires = "dry_run")]
    pub exit_code: bool,
    /// Only remove what passes: key=value, can be repeated
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Keep the newest N of each repository
    #[arg(long, value_name = "N")]
    pub keep_last: Option<usize>,
    /// Keep what is younger than this
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub keep_within: Option<Duration>,
    /// Keep the newest of each of the last N days
    #[arg(long, value_name = "N")]
    pub keep_daily: Option<usize>,
    /// Keep the newest of each of the last N weeks
    #[arg(long, value_name = "N")]
    pub keep_weekly: Option<usize>,
    /// Keep the newest of each of the last N months
    #[arg(long, value_name = "N")]
    pub keep_monthly: Option<usize>,
    /// Look for the newest in each repository (name) or in the whole layout (none)
    #[arg(long, value_name = "WHAT", default_value = "name")]
    pub group_by: GroupName,
    /// Keep what has a name that matches, whatever else is said (* stops at /, ** does not)
    #[arg(long, value_name = "GLOB")]
    pub keep: Vec<String>,
    /// Keep what this file lists, one reference a line; everything else goes
    #[arg(long, value_name = "FILE")]
    pub keep_from: Option<PathBuf>,
    /// Remove the oldest until the rest fits, but nothing that a rule keeps: 500MB, 5GB, 2GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_size: Option<u64>,
    /// Tell age by when an image was added to the layout, or created
    #[arg(long, value_name = "CLOCK", default_value = "added")]
    pub time: ClockName,
    /// Write the plan to this file for apply, and change nothing
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    #[command(flatten)]
    pub sweep: SweepArgs,
    /// Remove a layout in which nothing is left, with its directory if that is empty then
    #[arg(long, conflicts_with_all = ["plan", "shared_blobs"])]
    pub remove_empty_layouts: bool,
    /// Print what becomes of each image, and why
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl PruneArgs {
    /// Says whether nothing is to be changed.
    pub const fn is_dry_run(&self) -> bool {
        self.dry_run || self.plan.is_some()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GroupName {
    Name,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClockName {
    Added,
    Created,
}

impl From<ClockName> for TimeSource {
    fn from(clock: ClockName) -> Self {
        match clock {
            ClockName::Added => Self::Added,
            ClockName::Created => Self::Created,
        }
    }
}

#[derive(Debug, ClapArgs)]
pub struct ApplyArgs {
    /// A plan file that prune wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Show what would go, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Wait this long for another process that works on the layout
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub lock_wait: Duration,
    /// Name every file that could not be deleted
    #[arg(short, long)]
    pub verbose: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeName {
    Rewrite,
    Sparse,
    Hollow,
}

impl From<ModeName> for PlatformMode {
    fn from(mode: ModeName) -> Self {
        match mode {
            ModeName::Rewrite => Self::Rewrite,
            ModeName::Sparse => Self::Sparse,
            ModeName::Hollow => Self::Hollow,
        }
    }
}

#[derive(Debug, ClapArgs)]
pub struct LsArgs {
    #[command(flatten)]
    pub layouts: LayoutArgs,
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
    /// Show only what passes: key=value, can be repeated
    #[arg(short, long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Show and sort by when an image was added to the layout, which is what prune goes by, or created; filters on age
    /// go by the same, and by added without this
    #[arg(long, value_name = "CLOCK")]
    pub time: Option<ClockName>,
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
    #[command(flatten)]
    pub layouts: LayoutArgs,
    /// Show what each image takes, shares, and would free if it alone went
    #[arg(short, long)]
    pub verbose: bool,
    /// Keep unreferenced blobs that are younger than this: a writer may be about to list them
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
