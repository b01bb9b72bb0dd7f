//! Which layouts a command works on.

use std::path::PathBuf;

use clap::Args as ClapArgs;

/// One layout, several, or all below some directories.
#[derive(Debug, ClapArgs)]
pub struct TreeArgs {
    /// Image layouts: directories with index.json and blobs/
    #[arg(required = true, value_name = "LAYOUT")]
    pub paths: Vec<PathBuf>,
    /// Work on every layout below these directories, without following links or entering other file systems
    #[arg(short, long)]
    pub recursive: bool,
}

impl TreeArgs {
    /// Says whether several layouts are asked for, also when it turns out that there is only one.
    pub const fn is_many(&self) -> bool {
        self.recursive || self.paths.len() > 1
    }
}

/// The same, for commands that know what to do with shared blobs.
#[derive(Debug, ClapArgs)]
pub struct LayoutArgs {
    #[command(flatten)]
    pub tree: TreeArgs,
    /// Take the blobs from this directory, which all layouts that use it have to be named with (skopeo
    /// --dest-shared-blob-dir, LXC)
    #[arg(long, value_name = "DIR")]
    pub shared_blobs: Option<PathBuf>,
}

impl LayoutArgs {
    /// Says whether several layouts are asked for.
    pub const fn is_many(&self) -> bool {
        self.tree.is_many()
    }
}
