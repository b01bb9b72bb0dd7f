//! Which layouts a command works on.

use std::path::PathBuf;

use clap::Args as ClapArgs;

/// One layout, several, or all below some directories.
#[derive(Debug, ClapArgs)]
pub struct LayoutArgs {
    /// Image layouts: directories with index.json and blobs/
    #[arg(required = true, value_name = "LAYOUT")]
    pub paths: Vec<PathBuf>,
    /// Work on every layout below these directories, without following links or entering other file systems
    #[arg(short, long)]
    pub recursive: bool,
}

impl LayoutArgs {
    /// Says whether several layouts are asked for, also when it turns out that there is only one.
    pub const fn is_many(&self) -> bool {
        self.recursive || self.paths.len() > 1
    }
}
