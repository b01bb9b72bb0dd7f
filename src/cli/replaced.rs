//! Files that a command writes for the user: replaced atomically, and only if they have the same format.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Result};
use std::os::fd::AsFd as _;
use std::path::Path;

use ocisweep::fs::{Disk, FileTime, Fs as _};

/// The format of a file.
#[derive(Debug, Clone, Copy)]
pub struct FileFormat<'a> {
    /// What messages call such a file.
    pub name: &'a str,
    /// The largest such file that is read, in bytes.
    pub max_bytes: u64,
    /// Returns `true` if these bytes are such a file.
    pub is_one: fn(&[u8]) -> bool,
}

/// Reads a file before it is replaced: empty if it does not exist or is not a regular file.
///
/// # Errors
/// Those of reading it; [`ErrorKind::AlreadyExists`] if it is something else. A mistyped name must not destroy it.
pub fn read(path: &Path, format: FileFormat<'_>) -> Result<Vec<u8>> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => return Ok(Vec::new()),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(format.max_bytes)
        .read_to_end(&mut bytes)?;
    if !bytes.is_empty() && !(format.is_one)(&bytes) {
        let name = format.name;
        let why = format!("it exists and is not {name}; give another name, or remove it");
        return Err(Error::new(ErrorKind::AlreadyExists, why));
    }
    Ok(bytes)
}

/// Replaces a file atomically: at any time it is the old one or the new one. Links are followed.
///
/// # Errors
/// Those of [`read`] and of writing.
pub fn replace(path: &Path, text: &str, format: FileFormat<'_>) -> Result<()> {
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        // A pipe, or `/dev/stdout`.
        return overwrite(path, text);
    }
    read(path, format)?;
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let Some(name) = real.file_name().and_then(|name| name.to_str()) else {
        return overwrite(path, text);
    };
    let directory = File::open(directory_of(&real))?;
    Disk.replace(directory.as_fd(), name, text.as_bytes(), FileTime::New)
}

/// Returns the directory that a file is in.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes to a file that cannot be replaced.
#[expect(
    clippy::disallowed_methods,
    reason = "the user named the file, and it is not part of a layout"
)]
fn overwrite(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)
}
