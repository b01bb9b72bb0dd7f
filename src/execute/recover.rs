//! Restores files of other programs that a killed run left under temporary names.
//!
//! A replacement exchanges two files and compares the old content. A run that is killed in between leaves another program's
//! file under a temporary name, if that program wrote at the same moment. *Promise*: before anything is changed, such a file
//! is restored, or gets another name if its own was taken since then. The blobs that it lists are live in any case: a file
//! next to `index.json` that lists blobs is a second index.

use std::os::fd::AsFd as _;

use crate::error::{Error, Result};
use crate::fs::{Fs, Links, SwapName, open_dir, open_file};
use crate::layout::blob_list::OWN_DIRECTORY;
use crate::layout::entries::each_entry;
use crate::layout::is_parked;
use crate::layout::lock::Locked;

/// Restores such files in a locked layout. A state that was read before is no longer current then.
///
/// # Errors
/// [`Error::Read`] and [`Error::Write`]. Files that could not be restored keep their temporary names.
pub(super) fn recover(locked: &Locked<'_>, fs: &dyn Fs) -> Result<()> {
    let layout = locked.layout();
    for directory in [".", OWN_DIRECTORY] {
        let path = layout.path().join(directory);
        let Ok(dir) = open_dir(layout.dir(), directory, Links::Refuse) else {
            // It does not exist, or is not a directory of this program.
            continue;
        };
        let mut names = Vec::new();
        each_entry(&dir, &path, |entry| {
            let name = std::str::from_utf8(entry.name).ok();
            let name = name.filter(|name| SwapName::parse(name).is_some());
            names.extend(name.map(str::to_owned));
        })?;
        names.sort();
        for name in names {
            let Ok(file) = open_file(&dir, &*name, Links::Refuse) else {
                continue;
            };
            if is_parked(&name, &file) {
                fs.restore(dir.as_fd(), &name)
                    .map_err(Error::write(path.join(&name)))?;
            }
        }
    }
    Ok(())
}
