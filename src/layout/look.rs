//! Which files of a layout are there.

use std::io;

use rustix::fs::Stat;

use super::{Layout, Links, open_dir, stat_at};
use crate::oci::Digest;

impl Layout {
    /// Looks at a blob's file, or at what a link leads to. `None`: it is not there.
    ///
    /// # Errors
    /// What `openat` and `fstatat` say, but for `ENOENT`.
    pub(crate) fn stat_blob(&self, digest: &Digest) -> io::Result<Option<Stat>> {
        let name = digest.blob_name();
        let found = if let Some(algorithm) = digest.algorithm() {
            match self.blob_dirs().algorithm(algorithm) {
                Some(dir) => stat_at(dir, name.file(), Links::Follow),
                None => return Ok(None),
            }
        } else {
            let Some(root) = &self.blob_dirs().root else {
                return Ok(None);
            };
            open_dir(root, name.directory(), Links::Refuse)
                .and_then(|dir| stat_at(&dir, name.file(), Links::Follow))
        };
        match found {
            Ok(stat) => Ok(Some(stat)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
