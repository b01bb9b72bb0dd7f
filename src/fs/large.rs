//! Replaces a file with one that is too large for memory, while the old one is read.
//!
//! *Order*: the new file is written without a name, if the file system supports that, so that a killed run leaves nothing;
//! it is flushed to disk and gets a temporary name; the old file is compared with the one that was read; the new file is
//! renamed over it; and the directory is flushed to disk. A crash leaves the old file or the new one; between the two last
//! steps at worst a temporary file `.ocisweep-…` as well.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::disk::{Disk, fill, letters};
use super::{
    FileTime, Fs as _, Links, OWN_PREFIX, changed_of, modified_of, open_dir, open_file, real_path,
    stat_at, stat_of, try_lock,
};

/// The directory in which open files of this process have names.
const PROC: &str = "/proc/self/fd";

/// The number of attempts to lock a file, and the pause between them: ten seconds in total.
const LOCK_ATTEMPTS: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Identifies a version of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileRevision {
    device: u64,
    inode: u64,
    /// Its length in bytes.
    pub(crate) len: u64,
    modified: i128,
    changed: i128,
    /// Its permissions.
    pub(crate) mode: u32,
}

impl FileRevision {
    /// Returns `true` if it is a version of the same file.
    pub(crate) const fn is_same_file(&self, other: &Self) -> bool {
        self.device == other.device && self.inode == other.inode
    }

    /// Returns the version of an open file.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        Ok(Self::from(&stat_of(file)?))
    }
}

impl From<&Stat> for FileRevision {
    fn from(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            len: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: modified_of(stat),
            changed: changed_of(stat),
            mode: Mode::from_raw_mode(stat.st_mode).bits(),
        }
    }
}

/// A file that is being written to replace another one, or under a new name.
#[derive(Debug)]
pub(crate) struct LargeFile {
    dir: OwnedFd,
    /// Its final name.
    name: Vec<u8>,
    file: File,
    /// Its temporary name, if it needs one while it is written.
    temporary: Option<String>,
    old: Option<(File, Stat)>,
}

/// Whether a file was put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It was.
    Yes,
    /// Another program has changed the old file. Nothing was changed.
    Changed,
}

impl LargeFile {
    /// Starts to write a file that replaces the one at this path. A symbolic link is followed and remains a link. `like` are
    /// the permissions of a new file, restricted by the umask.
    ///
    /// # Errors
    /// The error of the system.
    pub(crate) fn begin(path: &Path, like: Option<u32>) -> io::Result<Self> {
        let path = target_of(path)?;
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let dir = open_dir(CWD, parent, Links::Follow)?;
        let old = match stat_at(&dir, name, Links::Refuse) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_file() => {
                let file = File::from(open_file(&dir, name, Links::Refuse)?);
                let stat = stat_of(&file)?;
                Some((file, stat))
            }
            Ok(_) => return Err(io::Error::other("it is not a regular file")),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        // No other user may read the file before it has the mode of the old one.
        let mode = match (&old, like) {
            (Some(_), _) => 0o600,
            (None, Some(like)) => like & 0o666,
            (None, None) => 0o666,
        };
        let mode = Mode::from_raw_mode(mode);
        let (file, temporary) = create(&dir, mode)?;
        Ok(Self {
            dir,
            name: std::os::unix::ffi::OsStrExt::as_bytes(name).to_owned(),
            file,
            temporary,
            old,
        })
    }

    /// Returns the file to write to.
    pub(crate) const fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Puts the file in place. Mode, owner, ACL and extended attributes are those of the old file. With `expected`, only if
    /// the old file is still this one.
    ///
    /// # Errors
    /// The error of the system. The old file is then unchanged, unless only the last step failed.
    pub(crate) fn place(
        mut self,
        expected: Option<FileRevision>,
        time: FileTime,
    ) -> io::Result<Placed> {
        self.file.flush()?;
        if self.old.is_some() {
            fill(&mut self.file, &[], self.old.as_ref(), time)?;
        }
        Disk.sync(self.file.as_fd())?;
        if self.temporary.is_none() {
            self.temporary = Some(link(&self.file, &self.dir)?);
        }
        let temporary = self.temporary.as_deref().unwrap_or_default();
        if let Some(expected) = expected {
            if let Some((old, _)) = &self.old {
                // If two runs of this program change one archive, the second one waits here, and then finds another file.
                lock(old)?;
            }
            let now = match stat_at(&self.dir, &*self.name, Links::Refuse) {
                Ok(stat) => Some(FileRevision::from(&stat)),
                Err(Errno::NOENT) => None,
                Err(error) => return Err(error.into()),
            };
            if now != Some(expected) {
                return Ok(Placed::Changed);
            }
        }
        retry_on_intr(|| rustix::fs::renameat(&self.dir, temporary, &self.dir, &*self.name))?;
        self.temporary = None;
        Disk.sync_dir(self.dir.as_fd())?;
        Ok(Placed::Yes)
    }
}

/// Opens a device or a FIFO, to write to it.
pub(crate) fn open_output(path: &Path) -> io::Result<File> {
    std::fs::OpenOptions::new().write(true).open(path)
}

/// Copies a part of a file to the write position of another one, and returns the number of bytes; 0 at its end.
pub(crate) fn copy_range(from: &File, at: u64, len: u64, to: &mut File) -> io::Result<u64> {
    // Between two checks for cancellation.
    let len = len.min(64 << 20);
    let (mut from_at, most) = (at, usize::try_from(len).unwrap_or(usize::MAX));
    match rustix::fs::copy_file_range(from, Some(&mut from_at), &*to, None, most) {
        Ok(copied) if copied > 0 => return Ok(copied as u64),
        // Between file systems of different kinds, on old kernels, or the end.
        Ok(_) | Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
        }
        Err(Errno::INTR) => return copy_range(from, at, len, to),
        Err(error) => return Err(error.into()),
    }
    let mut buffer = vec![0; most.min(1 << 20)];
    let read = from.read_at(&mut buffer, at)?;
    to.write_all(buffer.get(..read).unwrap_or_default())?;
    Ok(read as u64)
}

/// Locks a file against other runs of this program until it is closed. If the file system does not support locks, it is not
/// locked.
fn lock(file: &File) -> io::Result<()> {
    for _ in 0..LOCK_ATTEMPTS {
        match try_lock(file) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            _ => return Ok(()),
        }
    }
    Err(Errno::WOULDBLOCK.into())
}

impl Drop for LargeFile {
    fn drop(&mut self) {
        if let Some(name) = &self.temporary {
            rustix::fs::unlinkat(&self.dir, name, AtFlags::empty()).ok();
        }
    }
}

/// Returns the path with links resolved; the path itself if it does not exist yet.
fn target_of(path: &Path) -> io::Result<PathBuf> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => real_path(path),
        Ok(_) => Ok(path.to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
        Err(error) => Err(error),
    }
}

fn temporary_name(attempt: u32) -> String {
    let letters = letters(RandomState::new().hash_one(attempt));
    format!("{OWN_PREFIX}{letters}")
}

/// Creates a file without a name, or with a temporary one if the file system does not support that.
fn create(dir: &OwnedFd, mode: Mode) -> io::Result<(File, Option<String>)> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    match retry_on_intr(|| rustix::fs::openat(dir, ".", flags, mode)) {
        // Without `/proc` it could not get a name later.
        Ok(file) if Path::new(PROC).exists() => return Ok((File::from(file), None)),
        Ok(_) => {}
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    for attempt in 0..64 {
        let name = temporary_name(attempt);
        match retry_on_intr(|| rustix::fs::openat(dir, &name, flags, mode)) {
            Ok(file) => return Ok((File::from(file), Some(name))),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Gives a file without a name a temporary one.
fn link(file: &File, dir: &OwnedFd) -> io::Result<String> {
    let source = format!("{PROC}/{}", file.as_raw_fd());
    for attempt in 0..64 {
        let name = temporary_name(attempt);
        let linked =
            retry_on_intr(|| rustix::fs::linkat(CWD, &source, dir, &name, AtFlags::SYMLINK_FOLLOW));
        match linked {
            Ok(()) => return Ok(name),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).expect("a list");
        let mut names: Vec<String> = names
            .map(|name| name.expect("a name").file_name().to_string_lossy().into())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_only_if_it_is_the_expected_one() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("a.tar");
        fs::write(&path, "old").expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("a mode");
        std::os::unix::fs::symlink("a.tar", temp.path().join("link")).expect("a link");
        let version =
            FileRevision::of(&File::open(&path).expect("it is there")).expect("a version");

        let mut new = LargeFile::begin(&temp.path().join("link"), None).expect("it begins");
        new.file().write_all(b"new").expect("it is written");
        let placed = new.place(Some(version), FileTime::New).expect("no error");
        assert_eq!(placed, Placed::Yes);
        assert_eq!(fs::read_to_string(&path).expect("a text"), "new");
        let mode = fs::metadata(&path).expect("it is there").permissions();
        assert_eq!(mode.mode() & 0o7777, 0o640);

        let mut new = LargeFile::begin(&path, None).expect("it begins");
        new.file().write_all(b"newer").expect("it is written");
        let placed = new.place(Some(version), FileTime::New).expect("no error");
        assert_eq!(placed, Placed::Changed, "it is another file now");
        assert_eq!(fs::read_to_string(&path).expect("a text"), "new");
        assert_eq!(names(temp.path()), ["a.tar", "link"]);
    }

    #[test]
    fn a_dropped_file_leaves_nothing() {
        let temp = tempfile::tempdir().expect("a directory");
        let mut new = LargeFile::begin(&temp.path().join("a.tar"), None).expect("it begins");
        new.file().write_all(b"half").expect("it is written");
        drop(new);
        assert!(names(temp.path()).is_empty());
    }
}
