//! Replaces files of a layout, and opens the directory of this program's own files.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use crate::error::{Error, Result};
use crate::fs::{FileTime, Fs, Links, has_bytes, open_dir};
use crate::layout::Layout;

/// Replaces a file in an open directory if it is still the one that was read. A file with the new content counts as
/// replaced: on a full disk everything is written twice.
///
/// # Errors
/// [`Error::Changed`] if another program replaced it, and [`Error::Write`].
pub(super) fn replace_if_same(
    layout: &Layout,
    path: &Path,
    (dir, name): (&OwnedFd, &str),
    (old, new): (Option<&[u8]>, &[u8]),
    time: FileTime,
    fs: &dyn Fs,
) -> Result<()> {
    let dir = dir.as_fd();
    let is_replaced = fs
        .replace_expected(dir, name, old, new, time)
        .map_err(Error::write(path))?;
    if is_replaced || has_bytes(dir, name, new).unwrap_or(false) {
        Ok(())
    } else {
        Err(Error::changed(layout.path()))
    }
}

/// Like [`replace_if_same`], for a file below `.ocisweep/`.
pub(super) fn replace_own(
    layout: &Layout,
    file: &str,
    old: Option<&[u8]>,
    new: &str,
    fs: &dyn Fs,
) -> Result<()> {
    let path = layout.path().join(file);
    let (dir, name) = open_own(layout, file, fs)?;
    let texts = (old, new.as_bytes());
    replace_if_same(layout, &path, (&dir, name), texts, FileTime::New, fs)
}

/// Splits the path of a file below `.ocisweep/`.
pub(super) fn own_place(file: &str) -> (&str, &str) {
    file.split_once('/').unwrap_or((".", file))
}

/// Opens the directory of a file below `.ocisweep/`, which is created if it does not exist.
pub(super) fn open_own<'a>(
    layout: &Layout,
    file: &'a str,
    fs: &dyn Fs,
) -> Result<(OwnedFd, &'a str)> {
    let (directory, name) = own_place(file);
    fs.make_dir(layout.dir().as_fd(), directory)
        .map_err(Error::write(layout.path().join(directory)))?;
    let dir = open_dir(layout.dir(), directory, Links::Refuse)
        .map_err(|error| Error::write(layout.path().join(file))(error.into()))?;
    Ok((dir, name))
}
