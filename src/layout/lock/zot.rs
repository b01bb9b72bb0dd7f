//! Detects a running zot registry.
//!
//! ```text
//! ROOT/cache.db           which blobs are hard links of each other; flocked while zot runs ROOT/meta.db            its
//! search metadata; flocked as well ROOT/<repository>/…     layouts, as deep as the names of repositories
//! ```
//!
//! zot locks its repositories only inside its process, so its layouts are
//! busy until it is stopped. Its databases are bbolt's, which holds a flock on the file
//! (etcd-io/bbolt `flock_unix.go`).

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{CWD, FileType};
use rustix::io::Errno;

use super::is_flocked;
use crate::error::{Error, Result};
use crate::fs::{Links, open_file, real_path, stat_at, stat_of};
use crate::layout::Layout;

/// The databases in the root directory of a registry.
const DATABASES: [&str; 2] = ["cache.db", "meta.db"];

/// The number at byte 16 of a bbolt database, in the byte order of the machine that wrote it.
const MAGIC: u32 = 0xED0C_DAED;

/// Returns the message if the layout belongs to a running zot, whose root may be any directory above it.
///
/// # Errors
/// [`Error::Read`] if a database that belongs to the owner of the layout cannot be checked.
pub(super) fn at_work(layout: &Layout) -> Result<Option<String>> {
    if layout.is_packed() {
        // No registry keeps its images in archives.
        return Ok(None);
    }
    // The real path: a registry may be reached through a link.
    let path = real_path(layout.path()).map_err(Error::read(layout.path()))?;
    let owner = stat_of(layout.dir())
        .map_err(|error| Error::read(layout.path())(error.into()))?
        .st_uid;
    for directory in path.ancestors().skip(1) {
        for name in DATABASES {
            let database = directory.join(name);
            if is_held(&database, owner)? {
                return Ok(Some(format!(
                    "zot is running and has `{}` locked",
                    database.display()
                )));
            }
        }
    }
    Ok(None)
}

fn is_held(path: &Path, owner: u32) -> Result<bool> {
    let to_error = |error: Errno| Error::read(path)(error.into());
    match stat_at(CWD, path, Links::Refuse) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_file() => {
            let file = match open_file(CWD, path, Links::Refuse) {
                Ok(file) => file,
                Err(Errno::NOENT) => return Ok(false),
                // A database of another owner is not that of the layout.
                Err(Errno::ACCESS) if stat.st_uid != owner => return Ok(false),
                Err(error) => return Err(to_error(error)),
            };
            if !is_flocked(&file).map_err(Error::read(path))? {
                return Ok(false);
            }
            // Many programs have a `cache.db`. A file that is too short is being created.
            let mut magic = [0; 4];
            Ok(match File::from(file).read_exact_at(&mut magic, 16) {
                Ok(()) => {
                    let number = u32::from_ne_bytes(magic);
                    number == MAGIC || number == MAGIC.swap_bytes()
                }
                Err(_) => true,
            })
        }
        // A directory that cannot be searched has no accessible layout below it, except one that was reached by a mount or
        // an open directory.
        Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(false),
        Err(error) => Err(to_error(error)),
    }
}
