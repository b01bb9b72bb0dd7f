//! Which layouts a command processes.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::cli::mistaken::Given;

/// One layout, several, or all below some directories.
#[derive(Debug, ClapArgs)]
pub struct LayoutArgs {
    /// Image layouts: directories with index.json and blobs/, or tar archives of them; - is standard input; default:
    /// $OCISWEEP_LAYOUT, else the current directory if it is a layout
    #[arg(value_name = "LAYOUT")]
    pub paths: Vec<PathBuf>,
    /// Process every layout below these directories; does not follow links or enter other file systems
    #[arg(short, long)]
    pub recursive: bool,
    /// Succeed without doing anything if a layout does not exist yet or its directory is empty
    #[arg(long, conflicts_with = "shared_blobs")]
    pub if_exists: bool,
    /// Directory of blobs shared by the given layouts; every layout that uses it must be given (skopeo
    /// --dest-shared-blob-dir, LXC)
    #[arg(long, value_name = "DIR")]
    pub shared_blobs: Option<PathBuf>,
}

impl LayoutArgs {
    /// Returns the layouts for a command that deletes nothing.
    pub fn given(&self) -> Given<'_> {
        Given {
            paths: &self.paths,
            is_recursive: self.recursive,
            if_exists: self.if_exists,
            shared_blobs: self.shared_blobs.as_deref(),
            ..Given::default()
        }
    }

    /// Returns the layouts for a command that deletes.
    pub fn given_to_delete(&self) -> Given<'_> {
        Given {
            deletes: true,
            ..self.given()
        }
    }
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
