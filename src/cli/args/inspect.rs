//! Arguments of the commands that look closely and change nothing.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::TextFormat;

/// Check that everything is here and undamaged
#[derive(Debug, ClapArgs)]
#[command(
    long_about = "Check that everything that the images of a layout need is here, of its size and of its \
                  digest. Nothing is changed or locked, and the first damage does not end it.\n\n\
                  Damage is: missing, wrong-size, wrong-digest, malformed, unreadable. No damage is: sparse, \
                  what copies of a part leave out (a whole platform, all layers of an image, foreign \
                  layers); orphan, what nothing references; foreign, a file that is no blob. A layer is \
                  missing rather than sparse when other layers of the same manifest are here. A manifest \
                  is missing rather than sparse when index.json itself lists it.",
    after_help = "Exit status: 0 no damage, 1 damage found\n\n\
                  Examples:\n  \
                  ocisweep check images\n  \
                  ocisweep check --quick images       compare only the length of layers\n  \
                  ocisweep check --complete mirror    a missing platform is damage as well\n  \
                  ocisweep check --format json images | jq '.layouts[].items[] | select(.damage)'"
)]
pub struct CheckArgs {
    /// Image layouts: directories with index.json and blobs/
    #[arg(required = true, value_name = "LAYOUT")]
    pub layouts: Vec<PathBuf>,
    /// Do not read the content of layers: compare their length, and read only documents
    #[arg(long)]
    pub quick: bool,
    /// Take what is sparse for damage: everything has to be here
    #[arg(long)]
    pub complete: bool,
    /// Compare also orphans with their digests: a writer may use them again
    #[arg(long)]
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
