//! Arguments of `hold`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use ocisweep::parse::time::parse_duration;

use super::TableFormat;

#[derive(Debug, Subcommand)]
pub enum HoldCommand {
    /// Protect an image, with everything below it
    #[command(after_help = "Examples:\n  \
        ocisweep hold add images release app:1.4 --reason 'shipped'\n  \
        ocisweep hold add images week app:nightly --until 7d\n  \
        ocisweep hold add images dev --bundle /srv/bundle   while the umoci bundle exists")]
    Add(HoldAddArgs),
    /// List the holds of a layout
    Ls(HoldLsArgs),
    /// End holds
    Rm(HoldRmArgs),
}

#[derive(Debug, ClapArgs)]
pub struct HoldAddArgs {
    /// Image layout: a directory with index.json and blobs/
    #[arg(value_name = "LAYOUT")]
    pub layout: PathBuf,
    /// A name for the hold
    #[arg(value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub name: String,
    /// The image, as for rm
    #[arg(value_name = "IMAGE", required_unless_present = "bundle")]
    pub image: Option<String>,
    /// Why it is held
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// End the hold at this time: a date, RFC 3339, or a duration from now such as 30d
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// End the hold when this path is gone
    #[arg(long = "while", value_name = "PATH")]
    pub while_path: Option<PathBuf>,
    /// Directory of blobs that the layout shares with others
    #[arg(long, value_name = "DIR")]
    pub shared_blobs: Option<PathBuf>,
    /// Hold the image that this unpacked umoci bundle was made from, while the bundle exists
    #[arg(long, value_name = "DIR", conflicts_with_all = ["image", "while_path"])]
    pub bundle: Option<PathBuf>,
    /// Wait this long for another process that works on the layout
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub lock_wait: Duration,
}

#[derive(Debug, ClapArgs)]
pub struct HoldLsArgs {
    /// Image layout: a directory with index.json and blobs/
    #[arg(value_name = "LAYOUT")]
    pub layout: PathBuf,
    /// Print as table or json
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: TableFormat,
}

#[derive(Debug, ClapArgs)]
pub struct HoldRmArgs {
    /// Image layout: a directory with index.json and blobs/
    #[arg(value_name = "LAYOUT")]
    pub layout: PathBuf,
    /// Names of holds
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Wait this long for another process that works on the layout
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub lock_wait: Duration,
}
