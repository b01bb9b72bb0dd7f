//! Arguments of `hold`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::{AuditArgs, Format, FormatParser, LockArgs};

#[derive(Debug, Subcommand)]
pub enum HoldCommand {
    /// Protect an image and everything it references
    #[command(after_help = "Examples:\n  \
        ocisweep hold add images release app:1.4 --reason 'shipped'\n  \
        ocisweep hold add images week app:nightly --until 7d\n  \
        ocisweep hold add images dev --bundle /srv/bundle   while the umoci bundle exists")]
    Add(HoldAddArgs),
    /// List the holds of a layout
    Ls(HoldLsArgs),
    /// Remove holds
    Rm(HoldRmArgs),
}

#[derive(Debug, ClapArgs)]
#[command(
    override_usage = "ocisweep hold add [OPTIONS] [LAYOUT] NAME IMAGE\n       \
                      ocisweep hold add [OPTIONS] LAYOUT NAME --bundle DIR"
)]
pub struct HoldAddArgs {
    /// Image layout: a directory with index.json and blobs/; default: $OCISWEEP_LAYOUT, else the current directory if it is
    /// a layout
    #[arg(value_name = "LAYOUT")]
    pub layout: PathBuf,
    /// Name of the hold
    #[arg(value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub name: String,
    /// Image to protect, as for rm
    #[arg(value_name = "IMAGE")]
    pub image: Option<String>,
    /// Why the image is held
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// End the hold at TIME: a date, RFC 3339, or a duration from now such as 30d
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// End the hold when PATH no longer exists
    #[arg(long = "while", value_name = "PATH")]
    pub while_path: Option<PathBuf>,
    /// Directory of blobs that the layout shares with others
    #[arg(long, value_name = "DIR")]
    pub shared_blobs: Option<PathBuf>,
    /// Hold the image that the umoci bundle in DIR was unpacked from, while the bundle exists
    #[arg(long, value_name = "DIR", conflicts_with_all = ["image", "while_path"])]
    pub bundle: Option<PathBuf>,
    #[command(flatten)]
    pub lock: LockArgs,
    #[command(flatten)]
    pub audit: AuditArgs,
}

#[derive(Debug, ClapArgs)]
pub struct HoldLsArgs {
    /// Image layout: a directory with index.json and blobs/; default: $OCISWEEP_LAYOUT, else the current directory if it is
    /// a layout
    #[arg(value_name = "LAYOUT")]
    pub layout: Option<PathBuf>,
    /// Output format: table, json, raw, or a template such as '{{.Name}} {{.Image}}' (see `ocisweep help templates`)
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_possible_values = true, value_parser = FormatParser { has_lines: false })]
    pub format: Format,
}

#[derive(Debug, ClapArgs)]
#[command(override_usage = "ocisweep hold rm [OPTIONS] [LAYOUT] NAME...")]
pub struct HoldRmArgs {
    /// Image layout: a directory with index.json and blobs/; default: $OCISWEEP_LAYOUT, else the current directory if it is
    /// a layout
    #[arg(value_name = "LAYOUT")]
    pub layout: PathBuf,
    /// Names of the holds to remove
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    #[command(flatten)]
    pub lock: LockArgs,
    #[command(flatten)]
    pub audit: AuditArgs,
}
