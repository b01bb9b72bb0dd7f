//! A store of blobs that several layouts share.
//!
//! ```text
//! STORE/sha256/4f00adc8…                  the blobs of all of them LAYOUT/index.json                       skopeo
//! --dest-shared-blob-dir: blobs/ is empty or absent LAYOUT/blobs/sha256 -> STORE/sha256     LXC's template LAYOUT/blobs ->
//! STORE
//! ```
//!
//! *Promise*: a layout is opened in a store only if all its blobs are in the store. One with blobs of its own, or with a
//! link to another directory, is refused: its blobs would be missing in the store, and its images would look sparse.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;

use super::entries::each_entry;
use super::trash::Trash;
use super::{BlobDirs, Layout};
use crate::error::{Error, Result, SharedStoreProblem};
use crate::fs::{Links, open_dir, real_path, stat_of};
use crate::oci::Algorithm;

/// A directory with a directory of blobs for each algorithm.
#[derive(Debug)]
pub struct SharedStore {
    path: PathBuf,
    dir: OwnedFd,
    /// Without the root.
    dirs: BlobDirs,
}

/// Device and inode.
type DirectoryId = (u64, u64);

pub(super) fn identity(file: impl AsFd, path: &Path) -> Result<DirectoryId> {
    let stat = stat_of(file).map_err(|error| Error::read(path)(error.into()))?;
    Ok((stat.st_dev, stat.st_ino))
}

impl SharedStore {
    /// Opens a store.
    ///
    /// # Errors
    /// [`Error::SharedStore`] if it has no directory of blobs, or only a link to one;
    /// [`Error::Read`] if it cannot be read.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let dir = open_dir(CWD, &path, Links::Follow)
            .map_err(|error| Error::read(&path)(error.into()))?;
        let mut algorithms = Vec::new();
        for algorithm in Algorithm::ALL {
            match open_dir(&dir, algorithm.name(), Links::Refuse) {
                Ok(fd) => algorithms.push((algorithm, fd)),
                Err(Errno::NOENT) => {}
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    let what = SharedStoreProblem::Link(path.join(algorithm.name()));
                    return Err(Error::SharedStore { path, what });
                }
                Err(error) => {
                    return Err(Error::read(path.join(algorithm.name()))(error.into()));
                }
            }
        }
        if algorithms.is_empty() {
            let what = SharedStoreProblem::NoBlobs;
            return Err(Error::SharedStore { path, what });
        }
        let dirs = BlobDirs {
            root: None,
            algorithms,
            link: None,
            store: Some(path.clone()),
        };
        Ok(Self { path, dir, dirs })
    }

    /// Returns the path as given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses a store that is the `blobs` of a layout that is not among these: the references of that layout would be
    /// unknown.
    ///
    /// # Errors
    /// [`Error::SharedStore`] with that layout, [`Error::Read`].
    pub(crate) fn refuse_unless_with_owner(&self, layouts: &[Layout]) -> Result<()> {
        let real = real_path(&self.path).map_err(Error::read(&self.path))?;
        let Some(owner) = real.parent() else {
            return Ok(());
        };
        let is_blobs = real.file_name().is_some_and(|name| name == "blobs");
        let is_layout = ["index.json", "oci-layout"]
            .iter()
            .any(|name| std::fs::symlink_metadata(owner.join(name)).is_ok());
        if !is_blobs || !is_layout {
            return Ok(());
        }
        let dir = open_dir(CWD, owner, Links::Follow)
            .map_err(|error| Error::read(owner)(error.into()))?;
        let wanted = identity(&dir, owner)?;
        for layout in layouts {
            if layout.identity()? == wanted {
                return Ok(());
            }
        }
        Err(Error::SharedStore {
            path: self.path.clone(),
            what: SharedStoreProblem::Owned(owner.to_owned()),
        })
    }

    /// Returns the trash of the store, which may not exist.
    #[must_use]
    pub fn trash(&self) -> Trash<'_> {
        Trash::in_home(&self.dir, &self.path)
    }
}

impl Layout {
    /// Opens a layout whose blobs are in a shared store.
    ///
    /// # Errors
    /// Those of [`Layout::open`], and [`Error::NotInSharedStore`] if the layout has blobs of its own, or its `blobs` is a
    /// link to another directory.
    pub fn open_in(path: impl Into<PathBuf>, store: &SharedStore) -> Result<Self> {
        let mut layout = Self::open_unchecked(path.into(), super::Blobs::Elsewhere)?;
        refuse_own_blobs(&layout, store)?;
        layout.blobs = BlobDirs {
            root: Some(store.dir.try_clone().map_err(Error::read(&store.path))?),
            ..store.dirs.try_clone().map_err(Error::read(&store.path))?
        };
        Ok(layout)
    }

    /// Returns the path of the layout relative to the shared store that it was opened in, both without links, so that it is
    /// still found after all of them are moved together. `None`: it was not opened in a store.
    ///
    /// # Errors
    /// [`Error::Read`], and [`Error::Trash`] for a path that cannot be recorded.
    pub(crate) fn path_from_store(&self) -> Result<Option<String>> {
        let Some(store) = &self.blobs.store else {
            return Ok(None);
        };
        let from = real_path(store).map_err(Error::read(store))?;
        let to = real_path(self.path()).map_err(Error::read(self.path()))?;
        let path = relative(&from, &to);
        let path = path.to_str().map(str::to_owned);
        path.map(Some).ok_or_else(|| Error::Trash {
            path: store.clone(),
            why: format!("the path of `{}` is not UTF-8", self.path().display()),
        })
    }
}

/// Returns the path of a layout, given relative to a store.
///
/// # Errors
/// [`Error::Read`] if the store cannot be found.
pub(crate) fn found_from_store(store: &Path, path: &str) -> Result<PathBuf> {
    let mut found = real_path(store).map_err(Error::read(store))?;
    // Without links `..` is the parent directory.
    for part in Path::new(path) {
        if part == ".." {
            found.pop();
        } else {
            found.push(part);
        }
    }
    Ok(found)
}

/// Returns `true` if a layout is this directory.
///
/// # Errors
/// [`Error::Read`] if the layout cannot be inspected.
pub(crate) fn is_same_directory(layout: &Layout, path: &Path) -> Result<bool> {
    let own = identity(layout.dir(), layout.path())?;
    let Ok(other) = open_dir(CWD, path, Links::Follow) else {
        return Ok(false);
    };
    Ok(identity(&other, path)? == own)
}

/// Returns the path from one directory to another one; both are absolute and without links.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let same = from.iter().zip(to.iter()).take_while(|(a, b)| a == b);
    let same = same.count();
    let up = from.iter().skip(same).map(|_| "..".as_ref());
    up.chain(to.iter().skip(same)).collect()
}

/// Refuses a layout that does not use the store exclusively.
fn refuse_own_blobs(layout: &Layout, store: &SharedStore) -> Result<()> {
    let path = layout.path().join("blobs");
    let not_in_store = |blobs: PathBuf| Error::NotInSharedStore {
        path: layout.path().to_owned(),
        store: store.path.clone(),
        blobs,
    };
    let blobs = match open_dir(layout.dir(), "blobs", Links::Follow) {
        Ok(blobs) => blobs,
        // A dangling link: it has no blobs.
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(not_in_store(path)),
        Err(error) => return Err(Error::read(&path)(error.into())),
    };
    if identity(&blobs, &path)? == identity(&store.dir, &store.path)? {
        return Ok(());
    }
    let mut names = Vec::new();
    each_entry(&blobs, &path, |entry| names.push(entry.name.to_owned()))?;
    for name in names {
        let inner = path.join(String::from_utf8_lossy(&name).as_ref());
        let dir = match open_dir(&blobs, name.as_slice(), Links::Follow) {
            Ok(dir) => dir,
            // A file in `blobs/` is not a blob.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            Err(error) => return Err(Error::read(&inner)(error.into())),
        };
        let algorithm = std::str::from_utf8(&name)
            .ok()
            .and_then(Algorithm::from_name);
        let is_same = match algorithm.and_then(|algorithm| store.dirs.algorithm(algorithm)) {
            Some(fd) => identity(&dir, &inner)? == identity(fd, &store.path)?,
            None => false,
        };
        let mut is_empty = true;
        if !is_same {
            each_entry(&dir, &inner, |_| is_empty = false)?;
        }
        if !is_empty {
            return Err(not_in_store(inner));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_connect_two_directories() {
        for (from, to, expected) in [
            ("/srv/pool", "/srv/app", "../app"),
            ("/srv/pool", "/srv/pool/app", "app"),
            ("/srv/app/blobs", "/srv/app", ".."),
            ("/srv/a/b", "/data/c", "../../../data/c"),
            ("/", "/srv", "srv"),
        ] {
            let path = relative(Path::new(from), Path::new(to));
            assert_eq!(path, Path::new(expected), "{from} {to}");
        }
    }
}
