//! Finds out which files of a layout exist.

use std::io;
use std::path::PathBuf;

use rustix::fs::Stat;

use super::{Layout, State};
use crate::error::{Error, Result};
use crate::fs::{Links, exists, is_absence, open_dir, stat_at};
use crate::layout::holds::Holds;
use crate::layout::hollow::Hollow;
use crate::oci::Digest;

impl Layout {
    /// Returns the metadata of a blob's file, or of the target of a symbolic link; `None` if it does not exist, or is a
    /// dangling or circular link.
    ///
    /// # Errors
    /// All other errors of `openat` and `fstatat`.
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
        match found.map_err(io::Error::from) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Like [`stat_blob`](Self::stat_blob), with an error that names the path.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub(crate) fn look_at_blob(&self, digest: &Digest) -> Result<Option<Stat>> {
        let found = self.stat_blob(digest);
        found.map_err(|error| Error::read(self.blob_path(digest))(error))
    }

    /// Returns `true` if a blob exists, whatever its algorithm.
    ///
    /// # Errors
    /// [`Error::Read`] if that is unknown.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool> {
        Ok(self.look_at_blob(digest)?.is_some())
    }

    /// Returns the files of a layout other than blobs, relative to it. Those that list blobs come last, `index.json` at the
    /// very end.
    ///
    /// # Errors
    /// [`Error::Read`] if it is unknown whether one exists.
    pub fn own_files(&self, state: &State) -> Result<Vec<PathBuf>> {
        let has =
            |name: &str| exists(self.dir(), name).map_err(Error::read(self.path().join(name)));
        let mut files: Vec<PathBuf> = Vec::new();
        for (name, is_ours) in [
            ("oci-layout", true),
            (Holds::FILE, !state.holds.holds.is_empty()),
            // Without it a copy of a hollow platform can look damaged.
            (Hollow::FILE, true),
            ("repositories", state.repositories.is_some()),
            ("manifest.json", state.docker_save.is_some()),
        ] {
            if is_ours && has(name)? {
                files.push(name.into());
            }
        }
        files.extend(state.second_indexes.iter().map(|index| index.file.clone()));
        files.push("index.json".into());
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use crate::error::Error;
    use crate::layout::{Layout, MAX_SMALL_FILE_BYTES};
    use crate::oci::{Algorithm, Digest};

    /// If truncated at the limit, a document would only appear not to match its digest.
    #[test]
    fn a_document_over_the_limit_is_reported_as_too_large() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let path = temp.path();
        std::fs::create_dir_all(path.join("blobs/sha256")).expect("a directory");
        std::fs::write(path.join("index.json"), "{\"manifests\":[]}").expect("a file");
        let digest = Digest::of(Algorithm::Sha256, b"document");
        let name = digest.blob_name();
        let blob = std::fs::File::create(path.join("blobs/sha256").join(name.file()));
        let blob = blob.expect("a file");
        let layout = Layout::open(path).expect("it is a layout");
        for (len, why) in [
            (MAX_SMALL_FILE_BYTES + 1, "too large"),
            (10, "does not match its digest"),
        ] {
            blob.set_len(len).expect("it is sparse");
            let error = layout.read_document(&digest).expect_err("it is damaged");
            assert!(matches!(&error, Error::Malformed { .. }), "{error}");
            assert!(error.to_string().contains(why), "{len} {error}");
        }
    }
}
