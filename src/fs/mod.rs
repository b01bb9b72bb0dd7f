//! The only code that changes a file.
//!
//! Few operations, each on a directory descriptor and a name that cannot be anything but what it
//! should be. Behind a trait, so that tests can stop a run at every single one of them.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the room that changes files"
)]

mod disk;
mod kind;
mod open;
mod own_names;
mod stat;
mod verify;

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;

use crate::oci::Digest;
use crate::oci::digest::DeletableName;

pub use disk::{CannotKeep, Disk};
pub(crate) use kind::FileSystem;
pub(crate) use open::{
    Links, changed_of, exists, is_absence, modified_of, open_dir, open_file, real_path, stat_at,
    stat_of,
};
pub(crate) use own_names::{OWN_PREFIX, SwapName, is_own};
pub use stat::FileStat;
pub(crate) use verify::has_digest;

/// What happened to a file that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// This call deleted it.
    Yes,
    /// It was gone already.
    Gone,
}

/// What happened to a file that was to be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renamed {
    /// This call moved it.
    Yes,
    /// It was gone already.
    Gone,
    /// Another file has the name there; both are as they were.
    Taken,
}

/// The time that a replaced file has afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileTime {
    /// The current time.
    New,
    /// That of the file it replaces.
    AsBefore,
    /// This one, in nanoseconds since 1970.
    At(i128),
}

/// The changes that this crate makes to a file system.
pub trait Fs: Sync + Debug {
    /// Returns the stat of a blob's file, without following a link. `None`: it does not exist, or is not a file.
    ///
    /// # Errors
    /// What `fstatat` says.
    fn stat(&self, dir: BorrowedFd<'_>, name: &DeletableName) -> io::Result<Option<FileStat>>;

    /// Deletes a blob's file by name, relative to its directory.
    ///
    /// # Errors
    /// What `unlinkat` says, but for `ENOENT`.
    fn remove(&self, dir: BorrowedFd<'_>, name: &DeletableName) -> io::Result<Removed>;

    /// Moves a blob's file from one directory to another of the same file system, and overwrites nothing.
    ///
    /// # Errors
    /// What `renameat2` says, but for `ENOENT` of the file and `EEXIST`.
    fn move_blob(
        &self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &DeletableName,
    ) -> io::Result<Renamed>;

    /// Puts a copy of an open file in the place of a blob, or where there is none, if it has this digest: a temporary file
    /// beside it, verified and flushed to disk, renamed over it, and the directory flushed to disk. Where the file
    /// system can, the copy shares its bytes with the file. `false`: the file has another digest, and nothing was changed.
    ///
    /// A crash leaves at worst a temporary file `.ocisweep-…`, which a later sweep deletes.
    ///
    /// # Errors
    /// What the system says.
    fn copy_blob(
        &self,
        source: BorrowedFd<'_>,
        dir: BorrowedFd<'_>,
        digest: &Digest,
    ) -> io::Result<bool>;

    /// Deletes a temporary file, or an empty directory, by name.
    ///
    /// # Errors
    /// What `unlinkat` says, but for `ENOENT`.
    fn remove_temporary(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        is_dir: bool,
    ) -> io::Result<Removed>;

    /// Puts a new file in the place of one, or where there is none, such that at every moment the old
    /// or the new one is there in full: a temporary file beside it, flushed to disk, renamed over
    /// it, and the directory flushed to disk. Mode, owner, ACL and extended attributes are those of the old file.
    ///
    /// A crash leaves at worst a temporary file `.ocisweep-…`, which a later sweep deletes.
    ///
    /// # Errors
    /// What the system says. The old file is as it was then, unless only the last step failed: then
    /// the new file is there, and may be the old one again after a power loss.
    fn replace(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        bytes: &[u8],
        time: FileTime,
    ) -> io::Result<()>;

    /// Does the same, but only if the file has the expected bytes at that very moment, or, with `None`, is not there.
    /// `false`: it has others, which are kept; or it is gone.
    ///
    /// Whatever another program renames into place meanwhile, and however often, is there in the end. If that cannot be
    /// done, its file is kept under a name that no sweep deletes, and the error names it.
    ///
    /// A crash leaves at worst a temporary file `.ocisweep-swap-…`. A later sweep deletes it if it holds the expected bytes
    /// or the new ones; else it is that of another program, and [`Fs::restore`] puts it back.
    ///
    /// Most writers of `index.json` take no lock. One that writes between the last look and the rename
    /// would be undone without anybody noticing.
    ///
    /// # Errors
    /// As for [`Fs::replace`].
    fn replace_expected(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        expected: Option<&[u8]>,
        bytes: &[u8],
        time: FileTime,
    ) -> io::Result<bool>;

    /// Deletes a file, but only if it has the expected bytes at that very moment. `false`: it has others, and
    /// they stay; or it is gone.
    ///
    /// A crash leaves at worst the file under a temporary name `.ocisweep-…`.
    ///
    /// # Errors
    /// What the system says.
    fn remove_expected(&self, dir: BorrowedFd<'_>, name: &str, expected: &[u8])
    -> io::Result<bool>;

    /// Gives another program's file its name back, which has a temporary one because a run was killed in
    /// [`Fs::replace_expected`]. Where its place has been taken since, it gets a name that no sweep deletes, which is
    /// returned.
    ///
    /// # Errors
    /// What `renameat2` and reading say. The file has the temporary name then.
    fn restore(&self, dir: BorrowedFd<'_>, parked: &str) -> io::Result<Option<String>>;

    /// Asks whether a file can be replaced by one with the same extended attributes, before anything is changed.
    ///
    /// # Errors
    /// [`CannotKeep`] under the error of the system.
    fn can_replace(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        let _ = (dir, name);
        Ok(())
    }

    /// Makes a directory, if it is not there yet, and flushes it to disk.
    ///
    /// # Errors
    /// What `mkdirat` and `fsync` say.
    fn make_dir(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<()>;

    /// Flushes a file to disk.
    ///
    /// # Errors
    /// What `fsync` says.
    fn sync(&self, file: BorrowedFd<'_>) -> io::Result<()>;

    /// Brings the names in a directory to the disk, where the file system knows such a thing.
    ///
    /// # Errors
    /// What `fsync` says, but for `EINVAL`.
    fn sync_dir(&self, dir: BorrowedFd<'_>) -> io::Result<()>;

    /// Flushes everything to disk that lies in the same file system as this directory, whoever
    /// wrote it.
    ///
    /// # Errors
    /// What `syncfs` says.
    fn sync_all(&self, dir: BorrowedFd<'_>) -> io::Result<()>;
}
