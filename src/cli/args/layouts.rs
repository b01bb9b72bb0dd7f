//! Which layouts a command works on.

use std::path::PathBuf;

use clap::Args as ClapArgs;

/// One layout, several, or all below some directories.
#[derive(Debug, ClapArgs)]
pub struct TreeArgs {
    /// Image layouts: directories with index.json and blobs/, or tar archives of them; - is standard input
    #[arg(required = true, value_name = "LAYOUT")]
    pub paths: Vec<PathBuf>,
    /// Process every layout below these directories; does not follow links or enter other file systems
    #[arg(short, long)]
    pub recursive: bool,
}

impl TreeArgs {
    /// Returns `true` if several layouts may be given, even if only one is found.
    pub const fn is_many(&self) -> bool {
        self.recursive || self.paths.len() > 1
    }
}

/// The same, for commands that know what to do with shared blobs.
#[derive(Debug, ClapArgs)]
pub struct LayoutArgs {
    #[command(flatten)]
    pub tree: TreeArgs,
    /// Directory of blobs shared by the given layouts; every layout that uses it must be given (skopeo
    /// --dest-shared-blob-dir, LXC)
    #[arg(long, value_name = "DIR")]
    pub shared_blobs: Option<PathBuf>,
}

/// A store of blobs that the layout shares with others, for commands that take one layout.
#[derive(Debug, ClapArgs)]
pub struct SharedArgs {
    /// Directory of blobs that the layout shares with others; --with names every other layout that uses it
    #[arg(long, value_name = "DIR")]
    pub shared_blobs: Option<PathBuf>,
    /// Another layout that uses the shared blobs, or a directory below which all of them are; repeatable
    #[arg(long, value_name = "LAYOUT", requires = "shared_blobs")]
    pub with: Vec<PathBuf>,
}

impl LayoutArgs {
    /// Returns `true` if several layouts may be given.
    pub const fn is_many(&self) -> bool {
        self.tree.is_many()
    }
}
