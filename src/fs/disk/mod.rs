//! The real file system, through directory descriptors.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, Uid,
};
use rustix::io::{Errno, retry_on_intr};

use super::{FileTime, Fs, Removed, Renamed};
use crate::fs::{FileStat, Links, OWN_PREFIX, SwapName, modified_of, open_file, stat_at, stat_of};
use crate::oci::Digest;
use crate::oci::digest::DeletableName;

mod attributes;
mod copy;
mod swap;

pub use attributes::CannotKeep;

/// Linux's system calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Fs for Disk {
    fn stat(&self, dir: BorrowedFd<'_>, name: &DeletableName) -> io::Result<Option<FileStat>> {
        match stat_at(dir, name.file(), Links::Refuse) {
            Ok(stat) => Ok(FileStat::of(&stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn remove(&self, dir: BorrowedFd<'_>, name: &DeletableName) -> io::Result<Removed> {
        unlink(dir, name.file(), AtFlags::empty())
    }

    fn move_blob(
        &self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &DeletableName,
    ) -> io::Result<Renamed> {
        match swap::move_between(from, to, name.file()) {
            Ok(()) => Ok(Renamed::Yes),
            Err(Errno::NOENT) => Ok(Renamed::Gone),
            Err(Errno::EXIST) => Ok(Renamed::Taken),
            Err(error) => Err(error.into()),
        }
    }

    fn copy_blob(
        &self,
        source: BorrowedFd<'_>,
        dir: BorrowedFd<'_>,
        digest: &Digest,
    ) -> io::Result<bool> {
        copy::copy(source, dir, digest)
    }

    fn remove_file(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<Removed> {
        unlink(dir, name, AtFlags::empty())
    }

    fn remove_empty_dir(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<Removed> {
        unlink(dir, name, AtFlags::REMOVEDIR)
    }

    fn replace(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        bytes: &[u8],
        time: FileTime,
    ) -> io::Result<()> {
        let temporary = Temporary::write(dir, name, bytes, time)?;
        rename(dir, temporary.name(), name, RenameFlags::empty())?;
        temporary.keep();
        self.sync_dir(dir)
    }

    fn replace_expected(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        expected: Option<&[u8]>,
        bytes: &[u8],
        time: FileTime,
    ) -> io::Result<bool> {
        let temporary = Temporary::write(dir, name, bytes, time)?;
        let is_replaced = match expected {
            Some(expected) => swap::replace(temporary, name, expected, bytes)?,
            None => swap::create(temporary, name)?,
        };
        if is_replaced {
            self.sync_dir(dir)?;
        }
        Ok(is_replaced)
    }

    fn remove_expected(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        expected: &[u8],
    ) -> io::Result<bool> {
        swap::remove(dir, name, expected)
    }

    fn restore(&self, dir: BorrowedFd<'_>, parked: &str) -> io::Result<Option<String>> {
        let rescued = swap::restore(dir, parked)?;
        self.sync_dir(dir)?;
        Ok(rescued)
    }

    fn can_replace(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        let Some((old, stat)) = open_old(dir, name)? else {
            return Ok(());
        };
        if attributes::names(&old)?.is_empty() {
            return Ok(());
        }
        let (temporary, file) = Temporary::create(dir, stat.st_mode)?;
        attributes::copy(&old, &file)?;
        drop(temporary);
        Ok(())
    }

    fn make_dir(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        match retry_on_intr(|| rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755))) {
            // The contents of a directory are only durable together with its name.
            Ok(()) => self.sync_dir(dir),
            Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::fsync(file))?)
    }

    fn sync_dir(&self, dir: BorrowedFd<'_>) -> io::Result<()> {
        match self.sync(dir) {
            // fsync(2): the file system does not support it for a directory, like some network file systems.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
            result => result,
        }
    }

    fn sync_all(&self, dir: BorrowedFd<'_>) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::syncfs(dir))?)
    }
}

fn rename(dir: BorrowedFd<'_>, from: &str, to: &str, flags: RenameFlags) -> rustix::io::Result<()> {
    retry_on_intr(|| rustix::fs::renameat_with(dir, from, dir, to, flags))
}

fn unlink(dir: BorrowedFd<'_>, name: &str, flags: AtFlags) -> io::Result<Removed> {
    match retry_on_intr(|| rustix::fs::unlinkat(dir, name, flags)) {
        Ok(()) => Ok(Removed::Yes),
        Err(Errno::NOENT) => Ok(Removed::Gone),
        Err(error) => Err(error.into()),
    }
}

/// Returns `true` if a file has exactly these bytes.
pub(crate) fn has_bytes(dir: BorrowedFd<'_>, name: &str, expected: &[u8]) -> io::Result<bool> {
    holds_bytes(&File::from(open_file(dir, name, Links::Refuse)?), expected)
}

/// Returns `true` if the rest of a file has exactly these bytes.
fn holds_bytes(file: &File, expected: &[u8]) -> io::Result<bool> {
    let mut bytes = Vec::with_capacity(expected.len().saturating_add(1));
    file.take(expected.len() as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes == expected)
}

/// A file with a unique name of this program, which is deleted when this is dropped. A leftover one is recognised by its
/// name and swept later.
struct Temporary<'a> {
    dir: BorrowedFd<'a>,
    name: Option<String>,
}

impl<'a> Temporary<'a> {
    /// Writes a replacement of a file, and flushes it to disk.
    fn write(dir: BorrowedFd<'a>, name: &str, bytes: &[u8], time: FileTime) -> io::Result<Self> {
        let old = open_old(dir, name)?;
        let mode = old.as_ref().map_or(0o644, |(_, stat)| stat.st_mode);
        let (temporary, mut file) = Self::create(dir, mode)?;
        fill(&mut file, bytes, old.as_ref(), time)?;
        Disk.sync(file.as_fd())?;
        Ok(temporary)
    }

    /// Creates a file with this mode, as far as the umask allows: not every file system and sandbox supports `chmod`.
    fn create(dir: BorrowedFd<'a>, mode: u32) -> io::Result<(Self, File)> {
        Self::create_called(dir, mode, |letters| format!("{OWN_PREFIX}{letters}"))
    }

    /// Like [`Self::create`], with a name that is made from six random letters.
    fn create_called(
        dir: BorrowedFd<'a>,
        mode: u32,
        make_name: impl Fn(&str) -> String,
    ) -> io::Result<(Self, File)> {
        let random = RandomState::new();
        for attempt in 0..64_u32 {
            let name = make_name(&letters(random.hash_one(attempt)));
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            match rustix::fs::openat(dir, name.as_str(), flags, Mode::from_raw_mode(mode & 0o777)) {
                Ok(file) => {
                    let name = Some(name);
                    return Ok((Self { dir, name }, File::from(file)));
                }
                Err(Errno::EXIST | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::from(io::ErrorKind::AlreadyExists))
    }

    /// Gives the file the name of one that is exchanged.
    fn begin_swap(&mut self, old: &[u8], new: &[u8], name: &str) -> rustix::io::Result<()> {
        let letters = letters(RandomState::new().hash_one(0));
        let Some(swap) = SwapName::make(&letters, old, new, name) else {
            return Ok(());
        };
        rename(self.dir, self.name(), &swap, RenameFlags::empty())?;
        self.name = Some(swap);
        Ok(())
    }

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Keeps the file: it has another name now, or must be kept.
    fn keep(mut self) {
        self.name = None;
    }
}

/// Returns six letters and digits.
pub(super) fn letters(mut bits: u64) -> String {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(6);
    for _ in 0..6 {
        let letter = usize::try_from(bits % 36).unwrap_or_default();
        text.push(LETTERS.get(letter).copied().map_or('a', char::from));
        bits /= 36;
    }
    text
}

/// Opens the file that is to be replaced; `None` if it does not exist or is not a regular file (the mode of a link means nothing).
fn open_old(dir: BorrowedFd<'_>, name: &str) -> io::Result<Option<(File, Stat)>> {
    match stat_at(dir, name, Links::Refuse) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_file() => {}
        Ok(_) | Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let file = match open_file(dir, name, Links::Refuse) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = stat_of(&file)?;
    Ok(Some((file, stat)))
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            drop(unlink(self.dir, name, AtFlags::empty()));
        }
    }
}

/// Writes the bytes, and sets mode, owner, attributes and time to those of the replaced file.
pub(super) fn fill(
    file: &mut File,
    bytes: &[u8],
    old: Option<&(File, Stat)>,
    time: FileTime,
) -> io::Result<()> {
    file.write_all(bytes)?;
    let new = stat_of(&*file)?;
    let Some((old_file, old)) = old else {
        match set_mode(file, &new, 0o644) {
            // The file system has its own modes (FAT, a share of another system), or does not support the call.
            Ok(()) | Err(Errno::PERM | Errno::NOTSUP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        return match time {
            // A new file with another time is acceptable.
            FileTime::At(time) => set_modified(file, time).or(Ok(())),
            FileTime::New | FileTime::AsBefore => Ok(()),
        };
    };
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid) {
        let result = retry_on_intr(|| {
            rustix::fs::fchown(
                &*file,
                Some(Uid::from_raw(old.st_uid)),
                Some(Gid::from_raw(old.st_gid)),
            )
        });
        match result {
            // Without the privilege to change the owner the new file belongs to the current user, which is better than not
            // cleaning up. EINVAL: the owner has no number in this user namespace.
            Ok(()) | Err(Errno::PERM | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // After the owner: changing it clears some bits of the mode.
    set_mode(file, &new, old.st_mode & 0o7777).map_err(|error| {
        io::Error::new(error.kind(), format!("its mode cannot be kept: {error}"))
    })?;
    // After the mode, which would change the mask of an ACL.
    attributes::copy(old_file, file)?;
    match time {
        FileTime::New => Ok(()),
        FileTime::AsBefore => set_modified(file, modified_of(old)),
        FileTime::At(time) => set_modified(file, time),
    }
}

/// Sets the time of a file, in nanoseconds since 1970.
fn set_modified(file: &File, modified: i128) -> io::Result<()> {
    let stamp = |nanoseconds: i128| Timespec {
        tv_sec: i64::try_from(nanoseconds.div_euclid(1_000_000_000)).unwrap_or_default(),
        tv_nsec: i64::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or_default(),
    };
    let times = Timestamps {
        last_access: stamp(modified),
        last_modification: stamp(modified),
    };
    retry_on_intr(|| rustix::fs::futimens(file, &times))?;
    Ok(())
}

/// Sets the mode, unless the file has it: if all files have the same mode, setting it is forbidden.
fn set_mode(file: &File, now: &Stat, mode: u32) -> rustix::io::Result<()> {
    if now.st_mode & 0o7777 == mode {
        return Ok(());
    }
    retry_on_intr(|| rustix::fs::fchmod(file, Mode::from_raw_mode(mode)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Runs an operation on an `index.json` with this text, if any, and returns its result and the text afterwards.
    fn run(
        text: Option<&str>,
        operation: impl Fn(BorrowedFd<'_>) -> io::Result<bool>,
    ) -> (bool, Option<String>) {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let path = temp.path().join("index.json");
        if let Some(text) = text {
            std::fs::write(&path, text).expect("a file");
            let mode = std::fs::Permissions::from_mode(0o640);
            std::fs::set_permissions(&path, mode).expect("a mode");
        }
        let dir = File::open(temp.path()).expect("a directory");
        let result = operation(dir.as_fd()).expect("nothing fails");
        if let Ok(found) = std::fs::metadata(&path) {
            assert_eq!(found.permissions().mode() & 0o7777, 0o640, "{text:?}");
        }
        let left = std::fs::read_to_string(&path).ok();
        let names = std::fs::read_dir(temp.path()).expect("a list").count();
        assert_eq!(names, usize::from(left.is_some()), "{text:?}");
        (result, left)
    }

    #[test]
    fn a_file_is_removed_only_if_it_is_the_expected_one() {
        for (text, removed, left) in [
            (Some("old"), true, None),
            (Some("other"), false, Some("other")),
            (Some("old and more"), false, Some("old and more")),
            (None, false, None),
        ] {
            let found = run(text, |dir| Disk.remove_expected(dir, "index.json", b"old"));
            assert_eq!(found, (removed, left.map(str::to_owned)), "{text:?}");
        }
    }

    #[test]
    fn a_file_is_replaced_only_if_it_is_the_expected_one() {
        for (text, replaced, left) in [
            (Some("old"), true, Some("new")),
            (Some("other"), false, Some("other")),
            (Some("old and more"), false, Some("old and more")),
            (Some(""), false, Some("")),
            (None, false, None),
        ] {
            let found = run(text, |dir| {
                let (old, new) = (b"old", b"new");
                Disk.replace_expected(dir, "index.json", Some(old), new, FileTime::New)
            });
            assert_eq!(found, (replaced, left.map(str::to_owned)), "{text:?}");
        }
    }
}
