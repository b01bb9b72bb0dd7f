//! The files that this program keeps in a layout: where they lie, and opening their directory.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use crate::error::{Error, Result};
use crate::fs::{Fs, Links, open_dir, open_file};
use crate::layout::Layout;

/// Returns `true` if a file has these bytes.
pub(super) fn is_there(dir: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> bool {
    let Ok(file) = open_file(dir, name, Links::Refuse) else {
        return false;
    };
    let mut found = Vec::new();
    let read = File::from(file)
        .take(bytes.len() as u64 + 1)
        .read_to_end(&mut found);
    read.is_ok() && found == bytes
}

/// Splits the path of a file below `.ocisweep/`.
pub(super) fn own_place(file: &str) -> (&str, &str) {
    file.split_once('/').unwrap_or((".", file))
}

/// Opens the directory of a file below `.ocisweep/`, which is made if need be.
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
