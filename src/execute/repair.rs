//! Replaces missing or damaged blobs with intact ones from elsewhere.
//!
//! *Promise*: a blob is put in place only after it was read in full and matched its digest. Nothing else in a source is
//! changed, and nothing in the layout that is not damaged. A crash leaves some of the blobs replaced.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::fs::{Fs, Links, open_file};
use crate::layout::Layout;
use crate::layout::lock::Locked;
use crate::oci::Digest;
use crate::progress::Progress;

use super::cure::blob_dir;

/// The source of a restored blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// The blob.
    pub digest: Digest,
    /// The file; `None`: it was moved back from the trash.
    pub from: Option<PathBuf>,
}

/// Replaces these blobs, each from the first of the places (directories like `blobs`) that has it intact. A blob that no place has
/// is not changed.
///
/// # Errors
/// Those of reading and writing, and [`Error::Interrupted`]. Blobs that were replaced before are intact.
pub fn replace_blobs(
    locked: &Locked<'_>,
    damaged: &[Digest],
    places: &[PathBuf],
    fs: &dyn Fs,
    progress: &dyn Progress,
) -> Result<Vec<Repaired>> {
    let layout = locked.layout();
    let mut repaired = Vec::new();
    for digest in damaged {
        if progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        if let Some(from) = replace(layout, digest, places, fs)? {
            repaired.push(Repaired {
                digest: digest.clone(),
                from: Some(from),
            });
        }
    }
    Ok(repaired)
}

/// Replaces a blob from the first place that has it intact.
fn replace(
    layout: &Layout,
    digest: &Digest,
    places: &[PathBuf],
    fs: &dyn Fs,
) -> Result<Option<PathBuf>> {
    let name = digest.blob_name();
    for place in places {
        let path = place.join(name.path());
        // A blob that cannot be opened there may be available elsewhere.
        let Ok(source) = open_file(rustix::fs::CWD, &*path, Links::Follow) else {
            continue;
        };
        if !File::from(source.try_clone().map_err(Error::read(&path))?)
            .metadata()
            .is_ok_and(|found| found.is_file())
        {
            continue;
        }
        if put(layout, digest, &source, fs)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn put(layout: &Layout, digest: &Digest, source: &OwnedFd, fs: &dyn Fs) -> Result<bool> {
    let path = layout.blob_path(digest);
    let Some(algorithm) = digest.algorithm() else {
        return Ok(false);
    };
    let dir = blob_dir(layout, algorithm, fs).map_err(Error::write(&path))?;
    match fs.copy_blob(source.as_fd(), dir.as_fd(), digest) {
        Ok(is_copied) => Ok(is_copied),
        // The source is damaged as well.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
            Ok(false)
        }
        Err(error) => Err(Error::write(path)(error)),
    }
}
