//! Lists directories.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::fs::{Links, open_dir, stat_at};

/// One name of a directory.
pub(crate) struct DirEntry<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) kind: FileType,
}

/// Calls `visit` for each name except `.` and `..`. If the file system does not report the type, the file is inspected.
pub(crate) fn each_entry(
    dir: impl AsFd,
    path: &Path,
    mut visit: impl FnMut(DirEntry<'_>),
) -> Result<()> {
    let to_error = |error: Errno| Error::read(path)(error.into());
    // A new descriptor, because the read position belongs to the open file.
    let own = open_dir(&dir, ".", Links::Refuse).map_err(to_error)?;
    let mut buffer = [MaybeUninit::uninit(); 1 << 16];
    let mut entries = RawDir::new(own, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // Nothing was read, so nothing is skipped.
            Err(Errno::INTR) => continue,
            Err(error) => return Err(to_error(error)),
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let mut kind = entry.file_type();
        if kind == FileType::Unknown {
            match stat_at(&dir, name, Links::Refuse) {
                Ok(stat) => kind = FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(to_error(error)),
            }
        }
        visit(DirEntry {
            name: name.to_bytes(),
            kind,
        });
    }
    Ok(())
}
