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
    /// Take the blobs from this directory, which all layouts that use it have to be named with (skopeo
    /// --dest-shared-blob-dir, LXC)
    #[arg(long, value_name = "DIR")]
    pub shared_blobs: Option<PathBuf>,
}

impl LayoutArgs {
    /// Says whether several layouts are asked for, also when it turns out that there is only one.
    pub const fn is_many(&self) -> bool {
        self.recursive || self.paths.len() > 1
    }
}
