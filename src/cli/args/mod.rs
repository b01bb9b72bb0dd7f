//! The command line: converts arguments to options of the library.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use ocisweep::model::images::TimeSource;
use ocisweep::parse::size::{Amount, parse_amount};
use ocisweep::parse::time::parse_duration;
use ocisweep::plan::PlatformMode;

mod archive;
mod format;
mod hold;
mod inspect;
mod layouts;
mod records;
mod trash;

pub use archive::ArchiveArgs;
pub use format::{Format, FormatParser};
pub use hold::{HoldAddArgs, HoldCommand, HoldLsArgs, HoldRmArgs};
pub use inspect::{BlobsArgs, CheckArgs, WhyArgs};
pub use layouts::{LayoutArgs, SharedArgs};
pub use records::{AuditArgs, MetricsArgs};
pub use trash::{TrashArgs, TrashCommand, TrashEmptyArgs, TrashLsArgs, UndoArgs};

use super::render::sweep::Style;
use super::term::{Level, When};

/// The version, with the commit that the program was built from if `OCISWEEP_COMMIT` was set at build time. A build script
/// could call git, but every user of the library would run it.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    match commit() {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    }
});

/// Returns the commit that the program was built from, if it was named at build time.
pub fn commit() -> Option<&'static str> {
    option_env!("OCISWEEP_COMMIT").filter(|commit| !commit.is_empty())
}

/// Clean OCI image layouts on disk
#[derive(Debug, Parser)]
#[command(version = VERSION.as_str(), about, max_term_width = 100, disable_help_subcommand = true)]
#[command(
    long_about = "Clean OCI image layouts on disk: list images, remove names, platforms and old images, and \
                  delete every unreferenced blob. Works directly on `index.json` and `blobs/`; needs no \
                  daemon, no registry and no network.",
    after_help = "Docker's words work too: `image ls`, `image rm`, `image prune`, `images`, `rmi`, `system df`, `system prune`\n\n\
                  Help topics: `ocisweep help filters`, `help times`, `help patterns`, `help sizes`, `help templates`\n\n\
                  Exit status: 0 done or nothing to do, 1 not everything done, 2 usage, 3 refused and nothing \
                  changed, 4 cannot read or write, 5 budget not reachable, 6 busy, 10 would change (with --exit-code), 130 interrupted. \
                  With several layouts the most severe status is returned, in this order: 130, 3, 4, 6, 2, 5, 1, 10, 0"
)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Use colours: auto (on a terminal, unless NO_COLOR is set), always, never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: When,
    /// Show progress on stderr: auto (on a terminal), always, never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub progress: When,
    /// Evaluate ages as if it were TIME (RFC 3339); a real run still protects what is recent or held now
    #[arg(long, global = true, value_name = "TIME")]
    pub now: Option<Timestamp>,
    /// Ignore this JSON file beside index.json; images that only it lists become unreferenced
    #[arg(long, global = true, value_name = "FILE")]
    pub ignore_index: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Delete unreferenced blobs
    #[command(
        long_about = "Delete unreferenced blobs.\n\n\
            Everything that an entry of index.json references is kept, tagged or not, with its referrers \
            (signatures, attestations, SBOMs), even if no entry lists them. Everything that another JSON \
            file beside index.json lists, such as hauler-index.json, is kept as well. index.json itself is \
            never changed. If a document that decides what is live cannot be read, nothing is deleted and \
            the error names the image that references it.",
        after_help = "Examples:\n  \
            ocisweep gc -n .buildx-cache               show what would be deleted\n  \
            ocisweep gc .buildx-cache                  delete it\n  \
            ocisweep gc --grace 0 .buildx-cache        also delete recent blobs; no writer may be at work\n  \
            ocisweep gc -r /var/lib/registry           every layout below a directory\n  \
            ocisweep gc --shared-blobs blobs app db    layouts that share one directory of blobs"
    )]
    Gc(GcArgs),
    /// Remove images and the blobs that only they reference
    #[command(
        visible_aliases = ["rmi", "remove"],
        long_about = "Remove images and the blobs that only they reference.\n\n\
            An image is removed with its last name, together with its untagged platforms and its untagged \
            or digest-tagged signatures, attestations and SBOMs. Everything that another image references \
            is kept. IMAGE is a name, a bare tag, repository[:tag]@digest, an image ID or at least three \
            hex digits of one, or a pattern (see `ocisweep help patterns`). A bare tag is a name without \
            `/` and `:` as it is written in the layout: `alpine` does not select `redis:alpine`. All \
            arguments are resolved first and applied with one write of index.json; one that fails does not \
            stop the others.",
        after_help = "Examples:\n  \
            ocisweep rm images app:1.3\n  \
            ocisweep rm -n images 'app:1.*'       show what would be removed\n  \
            ocisweep rm -f images 4f00adc8a1b4    by image ID, with all names\n  \
            ocisweep rm images app:1.4 --platform linux/arm64,linux/arm/v7\n  \
            ocisweep rm images app:1.4 --only-platform linux/arm64"
    )]
    Rm(RmArgs),
    /// Remove dangling or expired images and delete unreferenced blobs
    #[command(
        long_about = "Remove dangling or expired images and delete unreferenced blobs.\n\n\
            An image is dangling if it has no name, is neither a child nor a referrer of an image that is \
            kept, and is not named in docker save's manifest.json. Overwriting a tag leaves such an image. \
            If index.json names no image, none is dangling. --all removes every image that \
            no hold, filter or rule keeps; one rule that keeps an image is enough. With --max-size the \
            oldest images are removed, one after another, until the rest fits; images that a hold, a \
            filter or a --keep rule keeps are never removed for it. Images of the same age are ordered by \
            `created` in their configuration, then by their position in index.json.",
        after_help = "Examples:\n  \
            ocisweep prune images                         show images and bytes, then ask\n  \
            ocisweep prune -f .buildx-cache\n  \
            ocisweep prune -f -a --max-size 5GB .buildx-cache\n  \
            ocisweep prune -n -v -a --keep-last 3 --keep '**:*-lts' mirror\n  \
            ocisweep prune --keep-from allow.txt --plan plan.json mirror && ocisweep apply plan.json\n  \
            ocisweep prune -r mirrors                     every layout below a directory, one confirmation\n  \
            ocisweep prune -r --remove-empty-layouts mirrors\n  \
            ocisweep prune -r -f -a --max-size 20GB mirrors   one budget for all layouts\n\n\
            Filters: dangling, reference, label, label!, before, since, until, platform, mediatype, artifacttype\n\
            See also: `ocisweep help filters`, `help times`, `help patterns`, `help sizes`"
    )]
    Prune(PruneArgs),
    /// Apply a plan written by `prune --plan`
    #[command(after_help = "Examples:\n  \
            ocisweep prune --plan plan.json images\n  \
            ocisweep apply plan.json")]
    Apply(ApplyArgs),
    /// Restore what a run with --trash removed
    #[command(
        long_about = "Restore what a run with --trash removed.\n\n\
            Blobs are moved back first, then the entries of index.json are restored at their places. What \
            other programs have written since is kept: a name that now refers to another image is not \
            restored. Undoing a run twice changes nothing.",
        after_help = "Examples:\n  \
            ocisweep rm --trash images app:1.3\n  \
            ocisweep undo images                      the last run\n  \
            ocisweep undo -n images 20261129          show what undoing a run would restore\n  \
            ocisweep undo images --blob DIGEST        a single blob\n  \
            ocisweep undo --shared-blobs blobs app db"
    )]
    Undo(UndoArgs),
    /// List or delete what runs with --trash removed
    #[command(subcommand)]
    Trash(TrashCommand),
    /// Protect images from removal
    #[command(subcommand)]
    Hold(HoldCommand),
    /// List the images of a layout
    #[command(
        visible_alias = "images",
        alias = "list",
        after_help = "Examples:\n  \
            ocisweep ls images            images, newest first\n  \
            ocisweep ls --tree images     with platforms, attestations and referrers\n  \
            ocisweep ls --format json images\n  \
            ocisweep ls --format '{{.Name}} {{.ID}}' images\n  \
            ocisweep ls -f 'reference=app:*' -f until=7d images\n  \
            ocisweep ls -r mirrors        every layout below a directory\n\n\
            EXTRA: `H`: a hold protects the image; `partial`, `missing`, `damaged`: not all of it is present\n\
            Filters: dangling, reference, label, label!, before, since, until, platform, mediatype, artifacttype\n\
            See also: `ocisweep help filters`, `help times`, `help patterns`, `help templates`"
    )]
    Ls(LsArgs),
    /// Show disk usage and reclaimable space
    #[command(
        visible_alias = "du",
        after_help = "TOTAL: number of items. ACTIVE: how many of them `prune` with default options keeps. SIZE: \
            bytes on disk. RECLAIMABLE: exactly the bytes that such a prune frees.\n\n\
            Examples:\n  \
            ocisweep df images\n  \
            ocisweep df -v images         also the shared and unique bytes of each image\n  \
            ocisweep df -r mirrors        every layout below a directory, hard links counted once\n  \
            ocisweep df -v --format 'table {{.Name}}\\t{{.UniqueSize}}' images"
    )]
    Df(DfArgs),
    #[command(visible_alias = "fsck")]
    Check(CheckArgs),
    Why(WhyArgs),
    Blobs(BlobsArgs),
    /// Generate shell completions
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
    /// Print the help of a command, or explain a topic
    #[command(after_help = "Topics:\n  \
            filters     select images with `ls --filter` and `prune --filter`\n  \
            times       durations, dates and points in time\n  \
            patterns    match names with `*`, `**`, `?` and `[a-z]`\n  \
            sizes       sizes with decimal and binary units\n  \
            templates   print rows with `--format TEMPLATE`\n\n\
            Examples:\n  \
            ocisweep help prune\n  \
            ocisweep help hold add\n  \
            ocisweep help filters")]
    Help(HelpArgs),
}

impl Command {
    /// Returns the parser of one command, without its help; `None` for rare commands and for any word that is not the name
    /// of a command.
    pub fn parser(name: &str) -> Option<clap::Command> {
        let parser = clap::Command::new;
        Some(match name {
            "gc" => GcArgs::augment_args(parser("gc")),
            "rm" => RmArgs::augment_args(parser("rm")),
            "prune" => PruneArgs::augment_args(parser("prune")),
            "apply" => ApplyArgs::augment_args(parser("apply")),
            "undo" => UndoArgs::augment_args(parser("undo")),
            "ls" => LsArgs::augment_args(parser("ls")),
            "df" => DfArgs::augment_args(parser("df")),
            "check" => CheckArgs::augment_args(parser("check")),
            "why" => WhyArgs::augment_args(parser("why")),
            "blobs" => BlobsArgs::augment_args(parser("blobs")),
            _ => return None,
        })
    }

    /// Returns `true` if the command can change a layout.
    pub const fn changes(&self) -> bool {
        match self {
            Self::Gc(args) => !args.dry_run,
            Self::Rm(args) => !args.dry_run,
            Self::Prune(args) => !args.is_dry_run(),
            Self::Apply(args) => !args.dry_run,
            Self::Undo(args) => !args.dry_run,
            Self::Trash(TrashCommand::Empty(args)) => !args.dry_run,
            Self::Hold(HoldCommand::Add(_) | HoldCommand::Rm(_)) => true,
            Self::Check(args) => args.repair,
            _ => false,
        }
    }

    /// Returns how long the command keeps removed blobs in the trash; the inner `None`: not given. The outer `None`: the
    /// command has no `--trash`.
    pub const fn trash(&self) -> Option<Option<Duration>> {
        match self {
            Self::Gc(args) => Some(args.trash.trash),
            Self::Rm(args) => Some(args.trash.trash),
            Self::Prune(args) => Some(args.trash.trash),
            Self::Apply(args) => Some(args.trash.trash),
            _ => None,
        }
    }

    /// Returns the log that records what the command changes.
    pub fn audit_log(&self) -> Option<&Path> {
        let args = match self {
            Self::Gc(args) => &args.audit,
            Self::Rm(args) => &args.audit,
            Self::Prune(args) => &args.audit,
            Self::Apply(args) => &args.audit,
            Self::Undo(args) => &args.audit,
            Self::Trash(TrashCommand::Empty(args)) => &args.audit,
            Self::Hold(HoldCommand::Add(args)) => &args.audit,
            Self::Hold(HoldCommand::Rm(args)) => &args.audit,
            Self::Check(args) => return args.audit_log.as_deref(),
            _ => return None,
        };
        args.audit_log.as_deref()
    }

    /// Returns the metrics file, with the command and the paths that it processes.
    pub fn metrics(&self) -> Option<(&Path, &'static str, &[PathBuf])> {
        let (args, command, targets) = match self {
            Self::Gc(args) => (&args.metrics, "gc", args.layouts.paths.as_slice()),
            Self::Rm(args) => (&args.metrics, "rm", std::slice::from_ref(&args.layout)),
            Self::Prune(args) => (&args.metrics, "prune", args.layouts.paths.as_slice()),
            Self::Apply(args) => (&args.metrics, "apply", std::slice::from_ref(&args.file)),
            _ => return None,
        };
        Some((args.metrics.as_deref()?, command, targets))
    }

    /// Returns the flags for archives; `None`: the command writes no archive.
    pub const fn archive(&self) -> Option<&ArchiveArgs> {
        match self {
            Self::Gc(args) => Some(&args.archive),
            Self::Rm(args) => Some(&args.archive),
            Self::Prune(args) => Some(&args.archive),
            Self::Apply(args) => Some(&args.archive),
            _ => None,
        }
    }

    /// Returns `true` if the command works on archives of docker before version 25.
    pub fn accepts_classic(&self) -> bool {
        match self {
            Self::Ls(_) | Self::Df(_) => true,
            Self::Rm(args) => args.platform.is_empty() && args.only_platform.is_empty(),
            _ => false,
        }
    }

    /// Returns the layouts as given to a command that writes archives. Those of `apply` are in its plan.
    pub fn layouts(&self) -> &[PathBuf] {
        match self {
            Self::Gc(args) => &args.layouts.paths,
            Self::Rm(args) => std::slice::from_ref(&args.layout),
            Self::Prune(args) => &args.layouts.paths,
            _ => &[],
        }
    }

    /// Returns `true` if layouts are searched below those given.
    pub const fn is_recursive(&self) -> bool {
        match self {
            Self::Gc(args) => args.layouts.recursive,
            Self::Prune(args) => args.layouts.recursive,
            _ => false,
        }
    }

    /// Returns how much is printed to stderr.
    pub const fn level(&self) -> Level {
        let (is_quiet, is_verbose) = match self {
            Self::Gc(args) => (args.output.quiet, args.verbose),
            Self::Prune(args) => (args.output.quiet, args.verbose),
            Self::Apply(args) => (args.output.quiet, args.verbose),
            Self::Rm(args) => (args.quiet, args.verbose),
            Self::Check(args) => (args.quiet, false),
            Self::Undo(args) => (args.quiet, false),
            _ => (false, false),
        };
        match (is_quiet, is_verbose) {
            (true, _) => Level::Quiet,
            (false, true) => Level::Verbose,
            (false, false) => Level::Normal,
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
    /// The command, such as `prune` or `hold add`; default: the page of ocisweep itself
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub command: Vec<String>,
    /// Write the pages of all commands to this directory
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub struct HelpArgs {
    /// A command, such as `prune` or `hold add`, or a topic: filters, times, patterns, sizes, templates
    #[arg(value_name = "COMMAND|TOPIC")]
    pub words: Vec<String>,
}

/// How a command that sweeps reports what it did.
#[derive(Debug, ClapArgs)]
pub struct OutputArgs {
    /// Print only the total
    #[arg(short, long)]
    pub quiet: bool,
    /// Output format: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: TextFormat,
    /// Also append a table to the summary of a GitHub Actions job ($GITHUB_STEP_SUMMARY)
    #[arg(long)]
    pub summary: bool,
}

impl OutputArgs {
    /// Returns how the results of a run are shown.
    pub fn style(&self, is_dry_run: bool, has_exit_code: bool, is_many: bool) -> Style {
        Style {
            is_dry_run,
            is_many,
            is_json: self.format == TextFormat::Json,
            is_quiet: self.quiet,
            has_exit_code,
            has_summary: self.summary,
        }
    }
}

#[derive(Debug, ClapArgs)]
pub struct GcArgs {
    #[command(flatten)]
    pub layouts: LayoutArgs,
    /// Show what would be removed and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// With --dry-run: exit with status 10 if something would change
    #[arg(long, requires = "dry_run")]
    pub exit_code: bool,
    #[command(flatten)]
    pub sweep: SweepArgs,
    #[command(flatten)]
    pub trash: TrashArgs,
    #[command(flatten)]
    pub audit: AuditArgs,
    #[command(flatten)]
    pub metrics: MetricsArgs,
    #[command(flatten)]
    pub archive: ArchiveArgs,
    /// Also remove layouts that end up empty
    #[arg(long, conflicts_with = "shared_blobs")]
    pub remove_empty_layouts: bool,
    /// Report every file that could not be deleted
    #[arg(short, long)]
    pub verbose: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What every command that sweeps takes.
#[derive(Debug, ClapArgs)]
pub struct SweepArgs {
    /// Keep unreferenced blobs newer than DURATION, which a writer may be about to list; 0 deletes them: use it only if no
    /// other process uses the layout
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub grace: Duration,
    /// Delete temporary files of writers that are older than DURATION
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub temp_age: Duration,
    /// Proceed even if documents that index.json lists are missing
    #[arg(long)]
    pub allow_missing: bool,
    /// Proceed even if index.json lists no image, or if none with a name would remain
    #[arg(long)]
    pub allow_empty: bool,
    #[command(flatten)]
    pub lock: LockArgs,
}

/// How long a command that changes a layout waits for the lock.
#[derive(Debug, ClapArgs)]
pub struct LockArgs {
    /// Wait at most DURATION for another process to release the layout
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub lock_wait: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TextFormat {
    Text,
    Json,
}

#[derive(Debug, ClapArgs)]
#[command(override_usage = "ocisweep rm [OPTIONS] [LAYOUT] IMAGE...")]
pub struct RmArgs {
    /// Image layout: a directory with index.json and blobs/, or a tar archive of one; - is standard input; default:
    /// $OCISWEEP_LAYOUT, else the current directory if it is a layout
    #[arg(value_name = "LAYOUT")]
    pub layout: PathBuf,
    /// Images to remove: names, bare tags, IDs, digests or patterns
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
    /// Succeed without doing anything if the layout does not exist yet or its directory is empty
    #[arg(long, conflicts_with = "shared_blobs")]
    pub if_exists: bool,
    /// Remove an image given by ID with all its names, or a name that a hold protects; held content is kept
    #[arg(short, long)]
    pub force: bool,
    /// Show what would be removed and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// With --dry-run: exit with status 10 if something would change
    #[arg(long, requires = "dry_run")]
    pub exit_code: bool,
    /// Drop only this platform; repeatable, comma separated
    ///
    /// PLATFORM is os[/arch[/variant]], with an optional OS version and features in parentheses:
    /// windows(10.0.20348)/amd64 selects every version with this prefix, linux(+lazy)/amd64 exactly this
    /// set of features. Omitted parts match everything. The digest of a child, or at least 3 hex digits of
    /// it, selects one of several equal children
    #[arg(long, value_name = "PLATFORM", conflicts_with_all = ["only_platform", "no_prune"])]
    pub platform: Vec<String>,
    /// Drop all other platforms; repeatable, comma separated
    #[arg(long, value_name = "PLATFORM", conflicts_with = "no_prune")]
    pub only_platform: Vec<String>,
    /// How to drop platforms: rewrite (write a new index), sparse (keep the index, delete the platform's blobs), hollow
    /// (delete only its layers)
    #[arg(long, value_name = "MODE", default_value = "rewrite")]
    pub platform_mode: ModeName,
    /// Only remove names; keep all entries and blobs
    #[arg(long)]
    pub no_prune: bool,
    /// Keep signatures and other referrers, and with them their subject
    #[arg(long)]
    pub keep_referrers: bool,
    /// While a writer is at work (a temporary file or an unreferenced blob newer than DURATION exists), untag but keep the
    /// blobs; 0 deletes them: use it only if no other process uses the layout
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub grace: Duration,
    /// Proceed even if documents of other listed images are missing
    #[arg(long)]
    pub allow_missing: bool,
    #[command(flatten)]
    pub shared: SharedArgs,
    #[command(flatten)]
    pub trash: TrashArgs,
    #[command(flatten)]
    pub audit: AuditArgs,
    #[command(flatten)]
    pub metrics: MetricsArgs,
    #[command(flatten)]
    pub archive: ArchiveArgs,
    #[command(flatten)]
    pub lock: LockArgs,
    /// Print only the total
    #[arg(short, long)]
    pub quiet: bool,
    /// Report every file that could not be deleted
    #[arg(short, long)]
    pub verbose: bool,
    /// Output format: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: TextFormat,
}

#[derive(Debug, ClapArgs)]
pub struct PruneArgs {
    #[command(flatten)]
    pub layouts: LayoutArgs,
    /// Remove every image that no hold, filter or rule keeps, not only dangling images
    #[arg(short, long)]
    pub all: bool,
    /// Do not ask for confirmation
    #[arg(short, long, visible_alias = "yes")]
    pub force: bool,
    /// Show what would be removed and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// With --dry-run: exit with status 10 if something would change
    #[arg(long, requires = "dry_run")]
    pub exit_code: bool,
    /// Remove only images that pass: key=value, repeatable; reference= selects names, not images
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Keep the newest N images of each repository; a digest tag (`sha256-…`) is not one
    #[arg(long, value_name = "N")]
    pub keep_last: Option<usize>,
    /// Keep images newer than DURATION
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub keep_within: Option<Duration>,
    /// Keep the newest image of each of the last N days that have one
    #[arg(long, value_name = "N")]
    pub keep_daily: Option<usize>,
    /// Keep the newest image of each of the last N weeks that have one
    #[arg(long, value_name = "N")]
    pub keep_weekly: Option<usize>,
    /// Keep the newest image of each of the last N months that have one
    #[arg(long, value_name = "N")]
    pub keep_monthly: Option<usize>,
    /// Apply keep rules per repository (name) or to all images together (none), within each layout (layout) or across all
    /// layouts (tree), which is then also the scope of --max-size. Comma separated; default: name, rules per layout, and one
    /// budget for all layouts
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub group_by: Vec<GroupName>,
    /// Always keep images with a name that matches (`*` stops at `/`, `**` does not)
    #[arg(long, value_name = "GLOB")]
    pub keep: Vec<String>,
    /// Keep the images listed in FILE, one reference or pattern per line, and remove all others
    #[arg(long, value_name = "FILE")]
    pub keep_from: Option<PathBuf>,
    /// Remove the oldest images until the rest fits, but none that a rule keeps: 500MB, 5GB, 2GiB, or 10% of the file system
    #[arg(long, value_name = "SIZE", value_parser = parse_amount)]
    pub max_size: Option<Amount>,
    /// Remove the oldest images, but none that a rule keeps, until this much of the file system is free: 20GB, or 10% of it
    #[arg(long, value_name = "SIZE", value_parser = parse_amount, conflicts_with = "shared_blobs")]
    pub min_free: Option<Amount>,
    /// Which time counts as the age: added (to this layout) or created (image configuration)
    #[arg(long, value_name = "CLOCK", default_value = "added")]
    pub time: ClockName,
    /// Write the plan to FILE for `apply` and change nothing
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    #[command(flatten)]
    pub sweep: SweepArgs,
    #[command(flatten)]
    pub trash: TrashArgs,
    #[command(flatten)]
    pub audit: AuditArgs,
    #[command(flatten)]
    pub metrics: MetricsArgs,
    #[command(flatten)]
    pub archive: ArchiveArgs,
    /// Also remove layouts that end up empty
    #[arg(long, conflicts_with_all = ["plan", "shared_blobs"])]
    pub remove_empty_layouts: bool,
    /// Print each image with the decision and its reason
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl PruneArgs {
    /// Returns `true` if nothing may be changed.
    pub const fn is_dry_run(&self) -> bool {
        self.dry_run || self.plan.is_some()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GroupName {
    Name,
    None,
    Layout,
    Tree,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SortName {
    Size,
    Name,
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
    /// Plan file written by `prune --plan`
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Show what would be removed and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub lock: LockArgs,
    #[command(flatten)]
    pub trash: TrashArgs,
    #[command(flatten)]
    pub archive: ArchiveArgs,
    #[command(flatten)]
    pub audit: AuditArgs,
    #[command(flatten)]
    pub metrics: MetricsArgs,
    /// Report every file that could not be deleted
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
    /// Accepted for compatibility with docker; all images are always listed
    #[arg(short, long)]
    pub all: bool,
    /// Show platforms, attestations and referrers below each image
    #[arg(long, conflicts_with_all = ["quiet", "digests"])]
    pub tree: bool,
    /// Show the full digest of each image
    #[arg(long)]
    pub digests: bool,
    /// Print only image IDs, each once
    #[arg(short, long)]
    pub quiet: bool,
    /// Do not truncate image IDs, or names on a terminal
    #[arg(long)]
    pub no_trunc: bool,
    /// Show only images that pass: key=value, repeatable; reference= selects names
    #[arg(short, long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Which time to show, sort and filter by: added (to this layout), as prune does by default, or created (image
    /// configuration); default: show and sort by created, filter by added
    #[arg(long, value_name = "CLOCK")]
    pub time: Option<ClockName>,
    /// Output format: table, json (one document), jsonl (one image per line), raw, or a template such as
    /// '{{.Repository}}:{{.Tag}}' or 'table {{.ID}}\t{{.Size}}' (see `ocisweep help templates`)
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_possible_values = true, value_parser = FormatParser { has_lines: true })]
    pub format: Format,
}

#[derive(Debug, ClapArgs)]
pub struct DfArgs {
    #[command(flatten)]
    pub layouts: LayoutArgs,
    /// Show for each image its size, shared bytes, and the bytes that removing only this image frees
    #[arg(short, long)]
    pub verbose: bool,
    /// Sort layouts, and images with --verbose, by size, the largest first, or by name; default: layouts as given, images by
    /// the bytes that removing only this image frees
    #[arg(long, value_name = "BY", conflicts_with = "shared_blobs")]
    pub sort: Option<SortName>,
    /// Keep unreferenced blobs newer than DURATION, which a writer may be about to list
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub grace: Duration,
    /// Count temporary files of writers that are older than DURATION as reclaimable
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub temp_age: Duration,
    /// Output format: table, json, raw, or a template such as '{{.Type}} {{.Reclaimable}}' (see `ocisweep help templates`)
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_possible_values = true, value_parser = FormatParser { has_lines: false })]
    pub format: Format,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
