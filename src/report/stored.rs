//! The bytes that layouts occupy, without reading their documents.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::Result;
use crate::fs::FileStat;
use crate::layout::Layout;

/// Returns the bytes of the blobs of layouts, referenced or not, each file once. Layouts over a shared store have its blobs.
///
/// # Errors
/// [`Error::Read`](crate::Error::Read) if they cannot be listed or measured.
pub fn stored_bytes(layouts: &[Layout]) -> Result<u64> {
    let mut sum = 0_u64;
    let mut seen = HashSet::new();
    for layout in layouts {
        let blobs = layout.list()?;
        for digest in blobs.ids().filter_map(|id| blobs.digest(id)) {
            let Some(file) = layout.look_at_blob(digest)? else {
                continue;
            };
            if seen.insert((file.st_dev, file.st_ino)) {
                sum = sum.saturating_add(u64::try_from(file.st_size).unwrap_or_default());
            }
        }
    }
    Ok(sum)
}

/// Finds the files that a layout keeps as blobs; if it cannot be read, those that are found without reading it.
pub(crate) fn find_files(path: &Path, is_store: bool, files: &mut Vec<FileStat>) -> io::Result<()> {
    let found = fs::metadata(path)?;
    if found.is_file() {
        files.extend(stat(&found));
        return Ok(());
    }
    let blobs = match is_store {
        true => path.to_owned(),
        false => path.join("blobs"),
    };
    for algorithm in fs::read_dir(blobs)? {
        let algorithm = algorithm?;
        if !algorithm.file_type()?.is_dir() {
            continue;
        }
        for blob in fs::read_dir(algorithm.path())? {
            files.extend(stat(&blob?.metadata()?));
        }
    }
    Ok(())
}

fn stat(found: &fs::Metadata) -> Option<FileStat> {
    found.is_file().then(|| FileStat {
        len: found.len(),
        modified: 0,
        device: found.dev(),
        inode: found.ino(),
        links: u32::try_from(found.nlink()).unwrap_or(u32::MAX),
    })
}
