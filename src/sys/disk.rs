//! The real file system, through directory descriptors.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::{FileTime, Fs, Removed};
use crate::graph::FileFacts;
use crate::layout::modified_of;
use crate::layout::temp::OWN_PREFIX;
use crate::oci::digest::VictimName;

/// Linux's system calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Fs for Disk {
    fn look(&self, dir: BorrowedFd<'_>, name: &VictimName) -> io::Result<Option<FileFacts>> {
        match rustix::fs::statat(dir, name.file(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(FileFacts::of(&stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn remove(&self, dir: BorrowedFd<'_>, name: &VictimName) -> io::Result<Removed> {
        removed(rustix::fs::unlinkat(dir, name.file(), AtFlags::empty()))
    }

    fn remove_temporary(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        is_dir: bool,
    ) -> io::Result<Removed> {
        let flags = if is_dir {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        removed(rustix::fs::unlinkat(dir, name, flags))
    }

    fn replace(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        bytes: &[u8],
        time: FileTime,
    ) -> io::Result<()> {
        let old = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        let (temporary, mut file) = create_temporary(dir)?;
        let written = fill(&mut file, bytes, old.as_ref(), time)
            .and_then(|()| self.sync(file.as_fd()))
            .and_then(|()| Ok(rustix::fs::renameat(dir, temporary.as_str(), dir, name)?));
        if let Err(error) = written {
            // Best effort: what stays is recognised by its name and swept later.
            let _ = rustix::fs::unlinkat(dir, temporary.as_str(), AtFlags::empty());
            return Err(error);
        }
        self.sync(dir)
    }

    fn make_dir(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        loop {
            match rustix::fs::fsync(file) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn removed(result: rustix::io::Result<()>) -> io::Result<Removed> {
    match result {
        Ok(()) => Ok(Removed::Yes),
        Err(Errno::NOENT) => Ok(Removed::Gone),
        Err(error) => Err(error.into()),
    }
}

/// Creates a file with a name of our own that nobody else has.
fn create_temporary(dir: BorrowedFd<'_>) -> io::Result<(String, File)> {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let random = RandomState::new();
    for attempt in 0..64_u32 {
        let mut bits = random.hash_one(attempt);
        let mut name = String::from(OWN_PREFIX);
        for _ in 0..6 {
            let letter = usize::try_from(bits % 36).unwrap_or_default();
            name.push(LETTERS.get(letter).copied().map_or('a', char::from));
            bits /= 36;
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat(dir, name.as_str(), flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => return Ok((name, File::from(file))),
            Err(Errno::EXIST | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}

/// Writes the bytes, and makes mode, owner and time those of the file that is replaced.
fn fill(file: &mut File, bytes: &[u8], old: Option<&Stat>, time: FileTime) -> io::Result<()> {
    file.write_all(bytes)?;
    let Some(old) = old else {
        rustix::fs::fchmod(&*file, Mode::from_raw_mode(0o644))?;
        return Ok(());
    };
    let new = rustix::fs::fstat(&*file)?;
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid) {
        // Without the right to give files away the new one belongs to who runs this; refusing to
        // clean up would help nobody.
        let result = rustix::fs::fchown(
            &*file,
            Some(Uid::from_raw(old.st_uid)),
            Some(Gid::from_raw(old.st_gid)),
        );
        if let Err(error) = result
            && error != Errno::PERM
        {
            return Err(error.into());
        }
    }
    // After the owner: giving a file away clears some bits of its mode.
    rustix::fs::fchmod(&*file, Mode::from_raw_mode(old.st_mode & 0o7777))?;
    let modified = match time {
        FileTime::New => return Ok(()),
        FileTime::AsBefore => modified_of(old),
        FileTime::At(time) => time,
    };
    let stamp = |nanoseconds: i128| Timespec {
        tv_sec: i64::try_from(nanoseconds.div_euclid(1_000_000_000)).unwrap_or_default(),
        tv_nsec: i64::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or_default(),
    };
    rustix::fs::futimens(
        &*file,
        &Timestamps {
            last_access: stamp(modified),
            last_modification: stamp(modified),
        },
    )?;
    Ok(())
}
