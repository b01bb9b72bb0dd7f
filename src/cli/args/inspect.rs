//! Arguments of the commands that inspect and change nothing.

use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use ocisweep::parse::time::parse_duration;
use ocisweep::report::check::{Subset, SubsetError};

use super::{LayoutArgs, SharedArgs, TextFormat};

/// Parses the value of `--read-data-subset`.
fn parse_subset(text: &str) -> Result<Subset, SubsetError> {
    // Random, so that each run reads other blobs.
    Subset::parse(text, RandomState::new().hash_one(text))
}

/// Verify that every needed blob is present and undamaged
#[derive(Debug, ClapArgs)]
#[command(
    long_about = "Verify that every blob that the images of a layout need is present, has the declared size and \
                  matches its digest. Without --repair the layout is neither changed nor locked; all problems are reported, not only the \
                  first.\n\n\
                  --read-data-subset and --since-run divide the reading of large mirrors over several runs. Every run \
                  verifies the presence and size of all blobs and reads all documents; the last line says how many blobs \
                  were not read. Together, --read-data-subset 10% reads the blobs that FILE does not list, then those \
                  that were verified longest ago: ten runs read everything once, then begin again. A run that is \
                  interrupted or killed continues where it stopped.\n\n\
                  Damage: missing, wrong-size, wrong-digest, malformed, unreadable. No damage: sparse (content \
                  that partial copies leave out: a whole platform, all layers of an image, foreign layers), \
                  orphan (unreferenced), foreign (a file that is not a blob). A layer is missing rather than \
                  sparse if other layers of the same manifest are present. A manifest is missing rather than \
                  sparse if index.json itself lists it. The last line names images without any layers: a copy \
                  that lost all of them looks the same as one that left them out.",
    after_help = "Exit status: 0 no damage, 1 damage found\n\n\
                  Examples:\n  \
                  ocisweep check images\n  \
                  ocisweep check --quick images       compare only the size of layers\n  \
                  ocisweep check -r mirrors           every layout below a directory\n  \
                  ocisweep check --complete mirror    report a missing platform as damage\n  \
                  ocisweep check --repair --from mirror images\n  \
                  ocisweep check --read-data-subset 3/7 mirror       the third of seven parts\n  \
                  ocisweep check --since-run mirror.check mirror     what is new since the last run\n  \
                  ocisweep check --since-run mirror.check --read-data-subset 10% mirror\n  \
                  ocisweep check --format json images | jq '.layouts[].items[] | select(.damage)'"
)]
pub struct CheckArgs {
    #[command(flatten)]
    pub layouts: LayoutArgs,
    /// Compare only the size of layers; read and verify only documents
    #[arg(long)]
    pub quick: bool,
    /// Report sparse content as damage: everything must be present
    #[arg(long)]
    pub complete: bool,
    /// Also verify the digests of unreferenced blobs, which a writer may use again
    #[arg(long, conflicts_with = "shared_blobs")]
    pub orphans: bool,
    /// Also verify the trash: its records and the digests of its blobs
    #[arg(long)]
    pub trash: bool,
    /// Read only a part of what would be read: N/M (the Nth of M equal parts by digest), P% of the bytes, or at least one blob and
    /// about SIZE bytes (of all layouts together), chosen at random or by --since-run
    #[arg(long, value_name = "N/M|P%|SIZE", value_parser = parse_subset, conflicts_with_all = ["quick", "repair", "trash"])]
    pub read_data_subset: Option<Subset>,
    /// Skip blobs that earlier runs verified, according to FILE, and record those that this run verifies. A blob whose file
    /// was written, moved or replaced is read again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "repair", "trash"])]
    pub since_run: Option<PathBuf>,
    /// Replace missing and damaged blobs with verified copies from the trash, or else from the directories given by --from
    #[arg(long, conflicts_with = "quick")]
    pub repair: bool,
    /// With --repair: a layout or a directory such as blobs/ to copy blobs from; repeatable
    #[arg(long, value_name = "LAYOUT|DIR", requires = "repair")]
    pub from: Vec<PathBuf>,
    /// With --repair: wait at most DURATION for another process to release the layout
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub lock_wait: Duration,
    /// With --repair: append to FILE, as lines of JSON, who repaired what: flushed to disk before the first change, and
    /// again after the last; nothing is changed if that fails
    #[arg(long, value_name = "FILE", requires = "repair")]
    pub audit_log: Option<PathBuf>,
    /// Also print sparse content and the names of foreign files
    #[arg(short, long)]
    pub verbose: bool,
    /// Print only damage
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Output format: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: TextFormat,
}

impl CheckArgs {
    /// Returns `true` if not all blobs are read.
    pub const fn is_partial(&self) -> bool {
        self.read_data_subset.is_some() || self.since_run.is_some()
    }
}

/// Explain why a blob or image is kept
#[derive(Debug, ClapArgs)]
#[command(
    long_about = "Explain why a blob or image is kept: print every reference path to it from a name, a hold, docker \
                  save's manifest.json or another index, the shortest first. For an image, also print each of \
                  its blobs with the other images that need it. For an unreferenced blob, print whether `gc` \
                  would delete it.",
    after_help = "Exit status: 0 found, 1 no such digest or name\n\n\
                  Examples:\n  \
                  ocisweep why images sha256:8572c7c8a47a…\n  \
                  ocisweep why images 8572            a prefix of the digest\n  \
                  ocisweep why images app:1.4         each blob of an image, and which images share it\n  \
                  ocisweep why --format json images 8572",
    override_usage = "ocisweep why [OPTIONS] [LAYOUT] DIGEST|IMAGE"
)]
pub struct WhyArgs {
    /// Image layout: a directory with index.json and blobs/, or a tar archive of one; - is standard input; default:
    /// $OCISWEEP_LAYOUT, else the current directory if it is a layout
    #[arg(value_name = "LAYOUT")]
    pub layout: PathBuf,
    /// Blob or image to explain: a digest, at least three hex digits of one, or an image as for rm
    #[arg(value_name = "DIGEST|IMAGE")]
    pub what: Option<String>,
    #[command(flatten)]
    pub shared: SharedArgs,
    /// Show at most N reference paths
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub limit: usize,
    /// Show all reference paths
    #[arg(short, long, conflicts_with = "limit")]
    pub all: bool,
    /// Keep unreferenced blobs newer than DURATION, which a writer may be about to list
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub grace: Duration,
    /// Output format: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: TextFormat,
}

/// Print paths of blobs for rsync, tar and scripts
#[derive(Debug, ClapArgs)]
#[command(
    group = clap::ArgGroup::new("which").required(true).args(["live", "unreferenced", "roots"]),
    long_about = "Print paths of blobs, one per line, for rsync, tar and scripts.\n\n\
                  Paths are relative to the layout; with several layouts each path starts with that of its \
                  layout. --live and --unreferenced refuse where gc refuses, since an incomplete list is worse than \
                  none.",
    after_help = "Examples:\n  \
                  ocisweep blobs --live images | rsync -a --files-from=- images/ backup/\n  \
                  ocisweep blobs --live -0 images | tar -C images --null -T - -cf images.tar\n  \
                  ocisweep blobs --unreferenced images | wc -l"
)]
pub struct BlobsArgs {
    #[command(flatten)]
    pub layouts: LayoutArgs,
    /// Print what a complete copy needs: referenced blobs, then the files beside them, index.json last
    #[arg(long)]
    pub live: bool,
    /// Print what gc would delete now, including temporary files of writers
    #[arg(long, alias = "dead")]
    pub unreferenced: bool,
    /// Print the documents that index.json lists
    #[arg(long)]
    pub roots: bool,
    /// Separate paths with NUL instead of newline
    #[arg(short = '0', long)]
    pub null: bool,
    /// With --unreferenced: omit unreferenced blobs newer than DURATION, which a writer may be about to list
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub grace: Duration,
    /// With --unreferenced: include temporary files of writers that are older than DURATION
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub temp_age: Duration,
    /// Proceed even if documents that index.json lists are missing
    #[arg(long)]
    pub allow_missing: bool,
    /// With --unreferenced: proceed even if index.json lists no image, so that every blob is unreferenced
    #[arg(long)]
    pub allow_empty: bool,
}
