//! Arguments of `undo` and `trash`, and the flag that fills the trash.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use ocisweep::parse::time::parse_duration;

use super::{AuditArgs, Format, FormatParser, LockArgs, TextFormat};

/// Whether deleted blobs are moved into the trash.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct TrashArgs {
    /// Move removed blobs into the trash of the layout for at least DURATION (14d if none is given), so that `undo` can
    /// restore them; 0 deletes immediately; default: $OCISWEEP_TRASH, else 0
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "14d", value_parser = parse_duration)]
    pub trash: Option<Duration>,
}

#[derive(Debug, ClapArgs)]
#[command(
    override_usage = "ocisweep undo [OPTIONS] [LAYOUT [RUN]]\n       ocisweep undo [OPTIONS] -r DIR...\n       \
                      ocisweep undo [OPTIONS] --shared-blobs DIR [--run RUN] LAYOUT..."
)]
pub struct UndoArgs {
    /// Image layout: a directory with index.json and blobs/; default: $OCISWEEP_LAYOUT, else the current directory if it is
    /// a layout
    #[arg(value_name = "LAYOUT")]
    pub layout: Option<PathBuf>,
    /// Run to undo, as `trash ls` names it, or the beginning of its name; default: the last one. With --shared-blobs or
    /// --recursive: another layout
    #[arg(value_name = "RUN")]
    pub more: Vec<PathBuf>,
    /// Undo the last run of every layout below these directories, without following links or entering other file systems
    #[arg(short, long, conflicts_with = "blob")]
    pub recursive: bool,
    /// Directory of blobs shared by the given layouts; every layout that the run changed must be given
    #[arg(long, value_name = "DIR")]
    pub shared_blobs: Option<PathBuf>,
    /// With --shared-blobs: run to undo; default: the last one
    #[arg(long, value_name = "RUN", requires = "shared_blobs")]
    pub run: Option<String>,
    /// Restore only this blob, from the latest run that has it
    #[arg(long, value_name = "DIGEST", conflicts_with = "run")]
    pub blob: Option<String>,
    /// Show what would be restored and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub lock: LockArgs,
    #[command(flatten)]
    pub audit: AuditArgs,
    /// Print only the total
    #[arg(short, long)]
    pub quiet: bool,
    /// Output format: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: TextFormat,
}

#[derive(Debug, Subcommand)]
pub enum TrashCommand {
    /// List the runs in the trash of a layout or of shared blobs
    #[command(after_help = "Examples:\n  \
        ocisweep trash ls images\n  \
        ocisweep trash ls --shared-blobs blobs\n  \
        ocisweep trash ls --format json images")]
    Ls(TrashLsArgs),
    /// Delete what is in the trash of a layout or of shared blobs
    #[command(after_help = "Examples:\n  \
        ocisweep trash empty -n images               show what would be deleted\n  \
        ocisweep trash empty images\n  \
        ocisweep trash empty --older-than 7d images\n  \
        ocisweep trash empty images 20261129         one run, by the beginning of its name\n  \
        ocisweep trash empty --shared-blobs blobs")]
    Empty(TrashEmptyArgs),
}

#[derive(Debug, ClapArgs)]
pub struct TrashLsArgs {
    /// Image layout: a directory with index.json and blobs/; default: $OCISWEEP_LAYOUT, else the current directory if it is
    /// a layout
    #[arg(value_name = "LAYOUT", conflicts_with = "shared_blobs")]
    pub layout: Option<PathBuf>,
    /// Directory of blobs that layouts share, in place of a layout
    #[arg(long, value_name = "DIR")]
    pub shared_blobs: Option<PathBuf>,
    /// Output format: table, json, raw, or a template such as '{{.Run}} {{.Size}}' (see `ocisweep help templates`)
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_possible_values = true, value_parser = FormatParser { has_lines: false })]
    pub format: Format,
}

#[derive(Debug, ClapArgs)]
#[command(
    override_usage = "ocisweep trash empty [OPTIONS] [LAYOUT [RUN]]\n       \
                      ocisweep trash empty [OPTIONS] --shared-blobs DIR [RUN]"
)]
pub struct TrashEmptyArgs {
    /// Image layout: a directory with index.json and blobs/; default: $OCISWEEP_LAYOUT, else the current directory if it is
    /// a layout; omitted with --shared-blobs
    #[arg(value_name = "LAYOUT")]
    pub layout: Option<PathBuf>,
    /// Run to delete, as `trash ls` names it, or the beginning of its name; default: all
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
    /// Directory of blobs that layouts share, in place of a layout
    #[arg(long, value_name = "DIR")]
    pub shared_blobs: Option<PathBuf>,
    /// Delete only runs that are older than DURATION
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "run")]
    pub older_than: Option<Duration>,
    /// Show what would be deleted and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub lock: LockArgs,
    #[command(flatten)]
    pub audit: AuditArgs,
}
