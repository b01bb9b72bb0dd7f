//! Removes an empty layout.
//!
//! *Order*, and what a crash leaves:
//!
//! | step | a crash here leaves |
//! | --- | --- |
//! | empty directories of writers, `blobs/<algorithm>` and `blobs` are removed | an empty layout |
//! | the state is read again and compared | the same |
//! | `oci-layout` is removed | an `index.json` that lists nothing, alone |
//! | `index.json` is removed, only if it is still the one that was read | the records of this program |
//! | the records of this program are removed | an empty directory |
//! | the lock is released, and the directory is removed | everything done |
//!
//! A concurrent writer creates a directory for its blobs first, and lists them last. The directory is noticed before
//! `oci-layout` is removed; a written list is not removed, and `oci-layout` is restored.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::fs::CWD;

use crate::fs::{FileTime, Fs, Links, exists, open_dir, real_path};
use crate::layout::Layout;
use crate::layout::holds::{Emptied, Holds};
use crate::layout::hollow::Hollow;
use crate::layout::released::Released;
use crate::layout::replaced_ids::MovedIds;
use crate::oci::Digest;

use super::own_files::own_place;

/// Directories in which writers stage files.
const STAGING: [&str; 4] = ["ingest", ".uploads", ".sync", "_uploads"];

/// Removes the files of a layout. `base`: the state in which it is empty. Returns `false` if another process uses it, and it
/// is kept.
///
/// # Errors
/// The error of the system, with the file. Directories that were removed before were empty.
pub(super) fn remove_layout(
    layout: &Layout,
    base: &Digest,
    fs: &dyn Fs,
) -> Result<bool, (String, io::Error)> {
    let dir = layout.dir().as_fd();
    for name in STAGING {
        if !gone(fs.remove_empty_dir(dir, name)).map_err(at(name))? {
            return Ok(false);
        }
    }
    let blobs = layout.blob_dirs();
    if let Some(root) = &blobs.root {
        for (algorithm, _) in &blobs.algorithms {
            let name = algorithm.name();
            if !gone(fs.remove_empty_dir(root.as_fd(), name)).map_err(at(name))? {
                return Ok(false);
            }
        }
        if !gone(fs.remove_empty_dir(dir, "blobs")).map_err(at("blobs"))? {
            return Ok(false);
        }
    }
    let other = |error: crate::Error| io::Error::other(error.to_string());
    let state = layout.read_state().map_err(other);
    let state = state.map_err(at("index.json"))?;
    let is_back = exists(layout.dir(), "blobs").map_err(at("blobs"))?;
    if state.fingerprint() != base || is_back {
        return Ok(false);
    }
    let marker = layout.read_own_file("oci-layout").map_err(other);
    let marker = marker.map_err(at("oci-layout"))?;
    fs.remove_file(dir, "oci-layout")
        .map_err(at("oci-layout"))?;
    let text = state.index.text().as_bytes();
    let removed = fs.remove_expected(dir, "index.json", text);
    if !matches!(removed, Ok(true)) {
        if let Some(marker) = marker {
            // Unless another program has written its own.
            fs.replace_expected(dir, "oci-layout", None, &marker, FileTime::New)
                .map_err(at("oci-layout"))?;
        }
        return removed.map_err(at("index.json"));
    }
    for file in [
        Emptied::FILE,
        Hollow::FILE,
        MovedIds::FILE,
        Released::FILE,
        Holds::FILE,
    ] {
        let (directory, name) = own_place(file);
        if let Ok(own) = open_dir(layout.dir(), directory, Links::Refuse) {
            fs.remove_file(own.as_fd(), name).map_err(at(file))?;
            // Other files were not written by this version, and are kept.
            gone(fs.remove_empty_dir(dir, directory)).map_err(at(directory))?;
        }
    }
    fs.sync_dir(dir).map_err(at("."))?;
    Ok(true)
}

/// Removes the directory of a removed layout, unless something else is in it. Call it after the lock is released, since the
/// lock file is in it.
///
/// # Errors
/// The error of the system.
pub fn remove_directory(path: &Path, fs: &dyn Fs) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        // A link to the directory would become dangling.
        Ok(found) if found.is_symlink() => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let real = real_path(path)?;
    let (Some(parent), Some(name)) = (
        real.parent(),
        real.file_name().and_then(|name| name.to_str()),
    ) else {
        return Ok(());
    };
    let parent = open_dir(CWD, parent, Links::Follow)?;
    gone(fs.remove_empty_dir(parent.as_fd(), name))?;
    Ok(())
}

/// Returns `true` if something was removed. Anything that is not an empty directory is kept.
fn gone<T>(removed: io::Result<T>) -> io::Result<bool> {
    match removed {
        Ok(_) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::DirectoryNotEmpty
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::ResourceBusy
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn at(name: &str) -> impl FnOnce(io::Error) -> (String, io::Error) {
    let name = name.to_owned();
    move |error| (name, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Disk;

    #[test]
    fn a_directory_that_is_not_empty_is_kept_and_other_errors_are_reported() {
        use io::ErrorKind;

        for (kind, is_kept) in [
            (ErrorKind::DirectoryNotEmpty, true),
            (ErrorKind::NotADirectory, true),
            (ErrorKind::ResourceBusy, true),
            (ErrorKind::PermissionDenied, false),
            (ErrorKind::Other, false),
        ] {
            let found = gone::<()>(Err(kind.into())).map_err(|error| error.kind());
            let expected = if is_kept { Ok(false) } else { Err(kind) };
            assert_eq!(found, expected);
        }
        assert!(gone(Ok(())).is_ok_and(|gone| gone));
    }

    #[test]
    fn a_missing_directory_is_not_an_error_but_an_unreadable_one_is() -> io::Result<()> {
        let temp = tempfile::tempdir()?;
        let file = temp.path().join("file");
        std::fs::write(&file, "")?;
        remove_directory(&temp.path().join("nowhere"), &Disk)?;
        let below = remove_directory(&file.join("layout"), &Disk);
        assert_eq!(
            below.map_err(|error| error.kind()),
            Err(io::ErrorKind::NotADirectory)
        );
        assert!(file.exists());
        Ok(())
    }
}
