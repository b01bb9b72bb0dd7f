//! Giving other programs' files their names back that a run has parked which was killed.
//!
//! A replacement exchanges two files and compares what came out. A run that is killed in between leaves a file of
//! another program under a temporary name, if that program wrote in the same moment. *Promise*: before anything is
//! changed, such a file is put back, or it gets a name of its own where its place has been taken since. What it lists is
//! live either way: a file beside `index.json` that lists blobs is a second index.

use std::os::fd::AsFd as _;

use crate::error::{Error, Result};
use crate::fs::{Fs, Links, SwapName, open_dir, open_file};
use crate::layout::blob_list::OWN_DIRECTORY;
use crate::layout::entries::each_entry;
use crate::layout::is_parked;
use crate::layout::lock::Locked;

/// Puts back what is parked in a locked layout. What was read before shows that it changed, then.
///
/// # Errors
/// [`Error::Read`] and [`Error::Write`]. What could not be put back is parked as before.
pub(super) fn recover(locked: &Locked<'_>, fs: &dyn Fs) -> Result<()> {
    let layout = locked.layout();
    for directory in [".", OWN_DIRECTORY] {
        let path = layout.path().join(directory);
        let Ok(dir) = open_dir(layout.dir(), directory, Links::Refuse) else {
            // It is not there, or is none of ours.
            continue;
        };
        let mut names = Vec::new();
        each_entry(&dir, &path, |entry| {
            let name = std::str::from_utf8(entry.name).ok();
            names.extend(
                name.filter(|name| SwapName::parse(name).is_some())
                    .map(str::to_owned),
            );
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
