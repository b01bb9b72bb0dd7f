//! Removing a layout in which nothing is left.
//!
//! *Order*, and what a crash leaves:
//!
//! | step | a crash here leaves |
//! | --- | --- |
//! | empty directories of writers, `blobs/<algorithm>` and `blobs` go | an empty layout |
//! | the state is read again and compared | the same |
//! | `oci-layout` goes | an `index.json` that lists nothing, alone |
//! | `index.json` goes, only while it is the one that was read | the notes of this program |
//! | the notes of this program go | an empty directory |
//! | the lock is given back, and the directory goes | everything done |
//!
//! A writer that comes in between makes a directory for its blobs first, and lists them last. The first
//! shows before `oci-layout` goes; the second is not removed, and `oci-layout` is put back.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::fs::CWD;

use crate::fs::{FileTime, Fs};
use crate::fs::{Links, exists, open_dir, real_path};
use crate::layout::Layout;
use crate::layout::holds::{Emptied, Holds};
use crate::layout::hollow::Hollow;
use crate::layout::released::Released;
use crate::layout::replaced_ids::MovedIds;
use crate::oci::Digest;

/// Directories in which writers stage files.
const STAGING: [&str; 4] = ["ingest", ".uploads", ".sync", "_uploads"];

/// Removes what makes a directory a layout. `base`: the state in which nothing is left. Returns `true` if it
/// went; `false`: somebody came in between, and the layout stays.
///
/// # Errors
/// What the system says, with the file. What went until then is no loss: nothing was in it.
pub(super) fn remove_layout(
    layout: &Layout,
    base: &Digest,
    fs: &dyn Fs,
) -> Result<bool, (String, io::Error)> {
    let dir = layout.dir().as_fd();
    for name in STAGING {
        if !gone(fs.remove_temporary(dir, name, true)).map_err(at(name))? {
            return Ok(false);
        }
    }
    let blobs = layout.blob_dirs();
    if let Some(root) = &blobs.root {
        for (algorithm, _) in &blobs.algorithms {
            let name = algorithm.name();
            if !gone(fs.remove_temporary(root.as_fd(), name, true)).map_err(at(name))? {
                return Ok(false);
            }
        }
        if !gone(fs.remove_temporary(dir, "blobs", true)).map_err(at("blobs"))? {
            return Ok(false);
        }
    }
    let other = |error: crate::Error| io::Error::other(error.to_string());
    let state = layout
        .read_state()
        .map_err(other)
        .map_err(at("index.json"))?;
    let is_back = exists(layout.dir(), "blobs").map_err(at("blobs"))?;
    if state.fingerprint() != base || is_back {
        return Ok(false);
    }
    let marker = layout
        .read_own_file("oci-layout")
        .map_err(other)
        .map_err(at("oci-layout"))?;
    fs.remove_temporary(dir, "oci-layout", false)
        .map_err(at("oci-layout"))?;
    let text = state.index.text().as_bytes();
    let removed = fs.remove_expected(dir, "index.json", text);
    if !matches!(removed, Ok(true)) {
        if let Some(marker) = marker {
            // Another program may have written its own in between.
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
        let (directory, name) = file.split_once('/').unwrap_or((".", file));
        if let Ok(own) = open_dir(layout.dir(), directory, Links::Refuse) {
            fs.remove_temporary(own.as_fd(), name, false)
                .map_err(at(file))?;
            // What else lies there was not written by this version; it stays.
            gone(fs.remove_temporary(dir, directory, true)).map_err(at(directory))?;
        }
    }
    fs.sync_dir(dir).map_err(at("."))?;
    Ok(true)
}

/// Removes the directory of a layout that was removed, unless something else is in it. After the lock was
/// given back, whose file lay there.
///
/// # Errors
/// What the system says.
pub fn remove_directory(path: &Path, fs: &dyn Fs) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        // A link to the directory is not ours to break.
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
    gone(fs.remove_temporary(parent.as_fd(), name, true))?;
    Ok(())
}

/// Returns `true` if something is gone. What is not empty, or is no directory, stays.
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
    fn what_is_not_empty_stays_and_everything_else_that_fails_is_told() {
        use io::ErrorKind;

        for (kind, stays) in [
            (ErrorKind::DirectoryNotEmpty, true),
            (ErrorKind::NotADirectory, true),
            (ErrorKind::ResourceBusy, true),
            (ErrorKind::PermissionDenied, false),
            (ErrorKind::Other, false),
        ] {
            let found = gone::<()>(Err(kind.into())).map_err(|error| error.kind());
            let expected = if stays { Ok(false) } else { Err(kind) };
            assert_eq!(found, expected);
        }
        assert!(gone(Ok(())).is_ok_and(|gone| gone));
    }

    #[test]
    fn a_directory_that_is_gone_is_no_error_and_one_that_cannot_be_looked_at_is() -> io::Result<()>
    {
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
