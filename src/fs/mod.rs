//! The only code that changes a file.
//!
//! There are few operations, each on a directory descriptor and a checked name. They are behind a trait, so that tests can stop a
//! run at each of them.

#![expect(clippy::disallowed_methods, reason = "only this module changes files")]

mod append;
mod disk;
mod kind;
mod large;
mod lock;
mod open;
mod own_names;
mod scratch;
mod space;
mod stat;
mod verify;

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;

use crate::oci::Digest;
use crate::oci::digest::DeletableName;

pub use append::AppendFile;
pub(crate) use disk::has_bytes;
pub use disk::{CannotKeep, Disk};
pub(crate) use kind::FileSystem;
pub(crate) use large::{FileRevision, LargeFile, Placed, copy_range, open_output};
pub(crate) use lock::{is_same_file, try_lock};
pub(crate) use open::{
    Links, changed_of, exists, is_absence, modified_of, open_dir, open_file, real_path, stat_at,
    stat_of,
};
pub(crate) use own_names::{OWN_PREFIX, SwapName, is_own};
pub(crate) use scratch::{Scratch, ScratchWriter, set_length, set_modified, unnamed_file};
pub use space::Space;
pub use stat::FileStat;
pub(crate) use verify::{has_digest, has_payload};

/// The result of deleting a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// This call deleted it.
    Yes,
    /// It did not exist any more.
    Gone,
}

/// The result of moving a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renamed {
    /// This call moved it.
    Yes,
    /// It did not exist any more.
    Gone,
    /// Another file has the name there; both files are unchanged.
    Taken,
}

/// The modification time of a file that replaces another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileTime {
    /// The current time.
    New,
    /// That of the replaced file.
    AsBefore,
    /// This one, in nanoseconds since 1970.
    At(i128),
}

/// The operations of this crate that change a file system.
pub trait Fs: Sync + Debug {
    /// Returns the stat of a blob's file, without following a link; `None` if it does not exist or is not a file.
    ///
    /// # Errors
    /// Those of `fstatat`.
    fn stat(&self, dir: BorrowedFd<'_>, name: &DeletableName) -> io::Result<Option<FileStat>>;

    /// Deletes a blob's file by name, relative to its directory.
    ///
    /// # Errors
    /// Those of `unlinkat` except `ENOENT`.
    fn remove(&self, dir: BorrowedFd<'_>, name: &DeletableName) -> io::Result<Removed>;

    /// Moves a blob's file to another directory of the same file system, without overwriting a file.
    ///
    /// # Errors
    /// Those of `renameat2` except `ENOENT` for the file and `EEXIST`.
    fn move_blob(
        &self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &DeletableName,
    ) -> io::Result<Renamed>;

    /// Copies an open file to the blob of this digest, replacing an existing file: a temporary file is verified, flushed to disk and
    /// renamed, and the directory is flushed to disk. The copy shares its bytes with the file if the file system supports it.
    /// Returns `false` if the file has another digest; then nothing was changed.
    ///
    /// A crash leaves at worst a temporary file `.ocisweep-…`, which a later sweep deletes.
    ///
    /// # Errors
    /// Those of the system.
    fn copy_blob(
        &self,
        source: BorrowedFd<'_>,
        dir: BorrowedFd<'_>,
        digest: &Digest,
    ) -> io::Result<bool>;

    /// Deletes a file that is not a blob, such as a temporary one, by name.
    ///
    /// # Errors
    /// Those of `unlinkat` except `ENOENT`.
    fn remove_file(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<Removed>;

    /// Deletes an empty directory by name.
    ///
    /// # Errors
    /// Those of `unlinkat` except `ENOENT`.
    fn remove_empty_dir(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<Removed>;

    /// Creates or replaces a file, such that the old or the new one exists completely at any time: a temporary file is flushed to
    /// disk and renamed, and the directory is flushed to disk. Mode, owner, ACL and extended attributes are those of the old
    /// file.
    ///
    /// A crash leaves at worst a temporary file `.ocisweep-…`, which a later sweep deletes.
    ///
    /// # Errors
    /// Those of the system. The old file is unchanged, unless only the last step failed: then the new file is in place, and a power
    /// loss may bring the old one back.
    fn replace(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        bytes: &[u8],
        time: FileTime,
    ) -> io::Result<()>;

    /// Like [`Fs::replace`], but only if the file has the expected bytes at the moment of the replacement, or does not exist
    /// if `expected` is `None`. Returns `false` if it has other bytes, which are kept, or does not exist.
    ///
    /// A file that another program renames into place concurrently, however often, is in place in the end. If that is impossible,
    /// it is kept under a name that no sweep deletes, and the error names it.
    ///
    /// A crash leaves at worst a temporary file `.ocisweep-swap-…`. A later sweep deletes it if it has the expected or the new
    /// bytes; otherwise it belongs to another program, and [`Fs::restore`] puts it back.
    ///
    /// Most writers of `index.json` take no lock. The change of one that writes between a comparison and a rename would be
    /// lost silently.
    ///
    /// # Errors
    /// Those of [`Fs::replace`].
    fn replace_expected(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        expected: Option<&[u8]>,
        bytes: &[u8],
        time: FileTime,
    ) -> io::Result<bool>;

    /// Deletes a file, but only if it has the expected bytes at that moment. Returns `false` if it has other bytes, which are kept,
    /// or does not exist.
    ///
    /// A crash leaves at worst the file under a temporary name `.ocisweep-…`.
    ///
    /// # Errors
    /// Those of the system.
    fn remove_expected(&self, dir: BorrowedFd<'_>, name: &str, expected: &[u8])
    -> io::Result<bool>;

    /// Renames a file of another program from its temporary name, which it has because a run was killed in
    /// [`Fs::replace_expected`], to its original name. If another file has that name, it gets a name that no sweep deletes,
    /// which is returned.
    ///
    /// # Errors
    /// Those of `renameat2` and of reading. Then the file still has the temporary name.
    fn restore(&self, dir: BorrowedFd<'_>, parked: &str) -> io::Result<Option<String>>;

    /// Checks before any change that a file can be replaced by one with the same extended attributes.
    ///
    /// # Errors
    /// [`CannotKeep`] as the source of an error of the system.
    fn can_replace(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        let _ = (dir, name);
        Ok(())
    }

    /// Creates a directory if it does not exist, and flushes its parent to disk.
    ///
    /// # Errors
    /// Those of `mkdirat` and `fsync`.
    fn make_dir(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<()>;

    /// Flushes a file to disk.
    ///
    /// # Errors
    /// Those of `fsync`.
    fn sync(&self, file: BorrowedFd<'_>) -> io::Result<()>;

    /// Flushes the names in a directory to disk, if the file system supports it.
    ///
    /// # Errors
    /// Those of `fsync` except `EINVAL`.
    fn sync_dir(&self, dir: BorrowedFd<'_>) -> io::Result<()>;

    /// Flushes the whole file system of this directory to disk, including changes of other processes.
    ///
    /// # Errors
    /// Those of `syncfs`.
    fn sync_all(&self, dir: BorrowedFd<'_>) -> io::Result<()>;
}
