//! Flushes the layout to disk before blobs are deleted.
//!
//! skopeo, oras and crane write blobs and `index.json` without flushing them, also when they move a tag to another image. If
//! the old image is then deleted and the power fails, the disk may have the deletion but not the new index: the old
//! `index.json` is back and references deleted blobs. Or it has the new index but not the new blobs, and neither image is
//! complete.
//!
//! *Promise*: after [`sync_written`] the `index.json` that is read next under the lock is on disk, unless
//! it is written concurrently, and so is everything that it references.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;

use crate::error::{Error, Result};
use crate::fs::{FileSystem, Fs, Links, changed_of, open_file, stat_of};
use crate::layout::Layout;
use crate::layout::lock::Locked;

/// The age from which a write counts as flushed, in nanoseconds. Linux writes everything back within
/// half a minute, and within ten minutes if a laptop saves power.
const WRITTEN_BACK: i128 = 60 * 60 * 1_000_000_000;

/// Flushes `index.json`, docker's `manifest.json` and second indexes to disk; before that, if one of them is recent,
/// everything else that was written.
///
/// # Errors
/// [`Error::Read`] and [`Error::Write`]. Nothing was changed.
pub(crate) fn sync_written(locked: &Locked<'_>, fs: &dyn Fs) -> Result<()> {
    let layout = locked.layout();
    if layout.is_packed() {
        // The archive itself is flushed before it replaces the old one.
        return Ok(());
    }
    let mut files = Vec::new();
    let mut is_recent = false;
    let mut names = vec!["index.json".to_owned(), "manifest.json".to_owned()];
    // An old list of another tool would reference deleted blobs as well.
    let lists = layout.read_second_indexes_once(true)?;
    let lists = lists.iter().filter_map(|list| list.file.to_str());
    names.extend(lists.map(str::to_owned));
    for name in names {
        let path = layout.path().join(&name);
        let file = match open_file(layout.dir(), &*name, Links::Follow) {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT) => continue,
            Err(error) => return Err(Error::read(&path)(error.into())),
        };
        let stat = stat_of(&file).map_err(|error| Error::read(&path)(error.into()))?;
        is_recent |= !is_written_back(FileSystem::of(&file), changed_of(&stat), locked.since());
        files.push((name, path, file));
    }
    if is_recent {
        sync_everything(layout, fs)?;
    }
    for (name, path, file) in files {
        fs.sync(file.as_fd()).map_err(Error::write(&path))?;
        // A writer that renames files may not have flushed the directory.
        let place = layout.place_of(&name)?;
        fs.sync_dir(place.dir.as_fd())
            .map_err(Error::write(&path))?;
    }
    Ok(())
}

/// Returns `true` if a file was last changed long enough ago that everything written before is on disk. Times are in
/// nanoseconds since 1970, by the clock of the file system; `now` may be too early.
fn is_written_back(kind: FileSystem, changed: i128, now: Option<i128>) -> bool {
    kind.keeps_change_times() && now.is_some_and(|now| now - changed > WRITTEN_BACK)
}

/// Flushes every file system of the layout. File by file it would take an `fsync` for each live blob.
fn sync_everything(layout: &Layout, fs: &dyn Fs) -> Result<()> {
    let blobs = layout.blob_dirs();
    let dirs = std::iter::once(layout.dir())
        .chain(&blobs.root)
        .chain(blobs.algorithms.iter().map(|(_, dir)| dir));
    let mut devices = BTreeSet::new();
    for dir in dirs {
        let stat = stat_of(dir).map_err(|error| Error::read(layout.path())(error.into()))?;
        if devices.insert(stat.st_dev) {
            fs.sync_all(dir.as_fd())
                .map_err(Error::write(layout.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_known_to_be_old_needs_no_sync() {
        const MINUTE: i128 = 60_000_000_000;
        let now = 1_800_000_000_000_000_000;
        let cases = [
            (FileSystem::Ext4, now - 61 * MINUTE, Some(now), true),
            (FileSystem::Xfs, now - 61 * MINUTE, Some(now), true),
            (FileSystem::Ext4, now - 59 * MINUTE, Some(now), false),
            (FileSystem::Ext4, now, Some(now), false),
            // A lock file that existed before is older than the index.
            (FileSystem::Ext4, now, Some(now - 61 * MINUTE), false),
            // No lock file, hence no current time.
            (FileSystem::Ext4, now - 61 * MINUTE, None, false),
            // The times were set by a copy.
            (FileSystem::Other, now - 61 * MINUTE, Some(now), false),
        ];
        for (kind, changed, now, expected) in cases {
            let found = is_written_back(kind, changed, now);
            assert_eq!(found, expected, "{kind:?} {changed} {now:?}");
        }
    }
}
