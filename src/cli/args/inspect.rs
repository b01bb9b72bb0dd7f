//! Arguments of the commands that look closely and change nothing.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use ocisweep::parse::time::parse_duration;

use super::{LayoutArgs, SharedArgs, TextFormat};

/// Check that everything is here and undamaged
#[derive(Debug, ClapArgs)]
#[command(
    long_about = "Check that everything that the images of a layout need is here, of its size and of its \
                  digest. Nothing is changed or locked, and the first damage does not end it.\n\n\
                  Damage is: missing, wrong-size, wrong-digest, malformed, unreadable. No damage is: sparse, \
                  what copies of a part leave out (a whole platform, all layers of an image, foreign \
                  layers); orphan, what nothing references; foreign, a file that is no blob. A layer is \
                  missing rather than sparse when other layers of the same manifest are here. A manifest \
                  is missing rather than sparse when index.json itself lists it. The last line names images without any \
                  layers: a copy that lost all of them looks the same as one that left them out.",
    after_help = "Exit status: 0 no damage, 1 damage found\n\n\
                  Examples:\n  \
                  ocisweep check images\n  \
                  ocisweep check --quick images       compare only the length of layers\n  \
                  ocisweep check -r mirrors           every layout below a directory, with a row each\n  \
                  ocisweep check --complete mirror    a missing platform is damage as well\n  \
                  ocisweep check --format json images | jq '.layouts[].items[] | select(.damage)'"
)]
pub struct CheckArgs {
    #[command(flatten)]
    pub layouts: LayoutArgs,
    /// Do not read the content of layers: compare their length, and read only documents
    #[arg(long)]
    pub quick: bool,
    /// Take what is sparse for damage: everything has to be here
    #[arg(long)]
    pub complete: bool,
    /// Compare also orphans with their digests: a writer may use them again
    #[arg(long, conflicts_with = "shared_blobs")]
    pub orphans: bool,
    /// Print also what is sparse, and the names of foreign files
    #[arg(short, long)]
    pub verbose: bool,
    /// Print only damage
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print as text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: TextFormat,
}

/// Show what keeps a blob or an image
#[derive(Debug, ClapArgs)]
#[command(
    long_about = "Show what keeps a blob or an image: every way to it from a name, a hold, docker save's \
                  manifest.json or another index, the shortest first. Of an image also each blob, with the images that need \
                  it as well: what nothing else needs is freed when the image goes. Of an orphan, what a \
                  sweep now would do with it.",
    after_help = "Exit status: 0 it is known, 1 nothing has such a digest or name\n\n\
                  Examples:\n  \
                  ocisweep why images sha256:8572c7c8a47a…\n  \
                  ocisweep why images 8572            the first digits are enough\n  \
                  ocisweep why images app:1.4         with each blob, and who shares it\n  \
                  ocisweep why --format json images 8572"
)]
pub struct WhyArgs {
    /// Image layout: a directory with index.json and blobs/
    #[arg(value_name = "LAYOUT")]
    pub layout: PathBuf,
    /// What to explain: a digest, at least three hex digits of one, or an image as for rm
    #[arg(value_name = "DIGEST|IMAGE")]
    pub what: String,
    #[command(flatten)]
    pub shared: SharedArgs,
    /// Show at most so many ways
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub limit: usize,
    /// Show all ways
    #[arg(short, long, conflicts_with = "limit")]
    pub all: bool,
    /// Keep unreferenced blobs that are younger than this: a writer may be about to list them
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub grace: Duration,
    /// Print as text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: TextFormat,
}

/// Print the paths of blobs, for rsync, tar and scripts
#[derive(Debug, ClapArgs)]
#[command(
    group = clap::ArgGroup::new("which").required(true).args(["live", "dead", "roots"]),
    long_about = "Print the paths of blobs, one a line, for rsync, tar and scripts.\n\n\
                  Paths are relative to the layout; of several layouts each begins with that of its layout. \
                  What decides which blobs are live is read as gc does it, and where gc would refuse, so \
                  does this: a list that lacks something is worse than none.",
    after_help = "Examples:\n  \
                  ocisweep blobs --live images | rsync -a --files-from=- images/ backup/\n  \
                  ocisweep blobs --live -0 images | tar -C images --null -T - -cf images.tar\n  \
                  ocisweep blobs --dead images | wc -l"
)]
pub struct BlobsArgs {
    #[command(flatten)]
    pub layouts: LayoutArgs,
    /// Print what a complete copy needs: blobs that something references, then the files beside them,
    /// index.json last
    #[arg(long)]
    pub live: bool,
    /// Print what gc would delete now, writers' temporary files included
    #[arg(long)]
    pub dead: bool,
    /// Print the documents that the entries of index.json list
    #[arg(long)]
    pub roots: bool,
    /// End each path with a zero byte in place of a line end
    #[arg(short = '0', long)]
    pub null: bool,
    /// With --dead: leave out unreferenced blobs younger than this, which a writer may be about to list
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub grace: Duration,
    /// With --dead: count temporary files of writers that are older than this
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub temp_age: Duration,
    /// Go on although documents that index.json lists are missing
    #[arg(long)]
    pub allow_missing: bool,
    /// With --dead: go on although index.json lists no image, so that every blob is dead
    #[arg(long)]
    pub allow_empty: bool,
}
