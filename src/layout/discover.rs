//! Finds the layouts below a directory.
//!
//! *Promise*: no link is followed, so nothing outside of the directory is found, and nothing twice. The blobs of a layout
//! and the staging directories of writers are not searched: zot and others build whole layouts there. Other file systems are
//! reported and not entered: a backup or a snapshot that is mounted into a tree is not swept along with it.
//!
//! *Failure*: a directory that cannot be read is reported and does not stop the others.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::temp_files::is_staging;
use crate::error::{Error, NotALayout};
use crate::oci::Algorithm;

/// The layouts below some directories.
#[derive(Debug, Default)]
pub struct Discovery {
    /// The layouts, each below the directory that was searched, sorted by name.
    pub layouts: Vec<PathBuf>,
    /// Directories that could not be read.
    pub errors: Vec<Error>,
    /// Directories of other file systems, which were not searched.
    pub elsewhere: Vec<PathBuf>,
}

impl Discovery {
    /// Adds the layouts below a directory, and the directory itself if it is one. A layout may be
    /// inside another one, but not among its blobs.
    ///
    /// # Errors
    /// [`Error::NotALayout`] if the root is not a directory or contains no layout, [`Error::Read`] if it does
    /// not exist. Directories below the root that cannot be read are in [`Discovery::errors`].
    pub fn search(&mut self, root: &Path) -> Result<(), Error> {
        self.search_with(root, &|_| false)
    }

    /// Like [`Discovery::search`], and adds files for which `is_archive` returns `true`, unless they are in a layout.
    ///
    /// # Errors
    /// Those of [`Discovery::search`].
    pub fn search_with(
        &mut self,
        root: &Path,
        is_archive: &dyn Fn(&Path) -> bool,
    ) -> Result<(), Error> {
        let device = match std::fs::metadata(root) {
            Ok(found) if found.is_dir() => found.dev(),
            // The error of opening it explains what it is.
            Ok(_) => return super::Layout::open(root).map(drop),
            Err(error) => return Err(Error::read(root)(error)),
        };
        let before = (self.layouts.len(), self.errors.len());
        // Whether the directory at each depth of the current path is a layout.
        let mut path_is_layout: Vec<bool> = Vec::new();
        let mut walk = WalkDir::new(root).sort_by_file_name().into_iter();
        while let Some(entry) = walk.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.errors.push(unreadable(root, error));
                    continue;
                }
            };
            // The root itself may be a link.
            if entry.depth() > 0 && !entry.file_type().is_dir() {
                path_is_layout.truncate(entry.depth());
                let is_inside = path_is_layout.contains(&true);
                if !is_inside && entry.file_type().is_file() && is_archive(entry.path()) {
                    self.layouts.push(entry.into_path());
                }
                continue;
            }
            path_is_layout.truncate(entry.depth());
            let is_inside = path_is_layout.last().copied().unwrap_or(false);
            if entry.depth() > 0 && is_staging(entry.file_name(), is_inside) {
                walk.skip_current_dir();
                continue;
            }
            let inspected = match entry.metadata() {
                Ok(found) if entry.depth() > 0 && found.dev() != device => {
                    self.elsewhere.push(entry.into_path());
                    walk.skip_current_dir();
                    continue;
                }
                Ok(_) => is_layout(entry.path()),
                Err(error) => Err(unreadable(root, error)),
            };
            match inspected {
                Ok(is_layout) => {
                    path_is_layout.push(is_layout);
                    if is_layout {
                        self.layouts.push(entry.into_path());
                    }
                }
                Err(error) => {
                    self.errors.push(error);
                    walk.skip_current_dir();
                }
            }
        }
        if before == (self.layouts.len(), self.errors.len()) {
            return Err(nothing_below(root));
        }
        Ok(())
    }
}

/// Returns `true` if a directory has the files of a layout, usable or not: the error of opening it explains what is wrong.
fn is_layout(path: &Path) -> Result<bool, Error> {
    let has = |name: &str| match std::fs::symlink_metadata(path.join(name)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::read(path)(error)),
    };
    Ok(has("oci-layout")? || has("index.json")? && has("blobs")?)
}

fn unreadable(root: &Path, error: walkdir::Error) -> Error {
    let path = error.path().unwrap_or(root).to_owned();
    Error::read(path)(error.into())
}

/// Returns the error for a directory without a layout: another kind of store, or nothing.
fn nothing_below(root: &Path) -> Error {
    match super::Layout::open(root) {
        // Or it has just become a layout.
        Ok(_)
        | Err(Error::NotALayout {
            what: NotALayout::Nothing | NotALayout::NoBlobs,
            ..
        }) => Error::NotALayout {
            path: root.to_owned(),
            what: NotALayout::NothingBelow,
        },
        Err(error) => error,
    }
}

/// Removes duplicates, even under different paths. Returns the first of each in order, and each duplicate with its first
/// one.
#[must_use]
pub fn distinct(paths: Vec<PathBuf>) -> (Vec<PathBuf>, Vec<(PathBuf, PathBuf)>) {
    let mut first: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut left = Vec::with_capacity(paths.len());
    let mut again = Vec::new();
    for path in paths {
        // A path that cannot be inspected is kept: the error of opening it explains why.
        if let Ok(found) = std::fs::metadata(&path) {
            let identity = (found.dev(), found.ino());
            if let Some(first) = first.get(&identity) {
                again.push((path, first.clone()));
                continue;
            }
            first.insert(identity, path.clone());
        }
        left.push(path);
    }
    (left, again)
}

/// Returns for each layout the first other one that shares a directory of blobs with it: by a link,
/// or because a directory is mounted in two places. None of them can be swept alone, not even the one with
/// the real directory.
#[must_use]
pub fn sharing(layouts: &[PathBuf]) -> Vec<Option<PathBuf>> {
    let mut users: HashMap<(u64, u64), Vec<usize>> = HashMap::new();
    for (number, layout) in layouts.iter().enumerate() {
        let blobs = layout.join("blobs");
        let inner = Algorithm::ALL.map(|algorithm| blobs.join(algorithm.name()));
        for directory in std::iter::once(&blobs).chain(&inner) {
            // A layout that cannot be inspected cannot be swept: the error of opening it explains why.
            if let Ok(found) = std::fs::metadata(directory) {
                let users = users.entry((found.dev(), found.ino())).or_default();
                if users.last() != Some(&number) {
                    users.push(number);
                }
            }
        }
    }
    let mut with: Vec<Option<usize>> = vec![None; layouts.len()];
    for users in users.values().filter(|users| users.len() > 1) {
        for &user in users {
            let other = users.iter().copied().find(|other| *other != user);
            if let (Some(with), Some(other)) = (with.get_mut(user), other) {
                *with = Some(with.map_or(other, |known| known.min(other)));
            }
        }
    }
    with.into_iter()
        .map(|other| layouts.get(other?).cloned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(path: &Path) {
        std::fs::create_dir_all(path.join("blobs/sha256")).expect("directories");
        std::fs::write(path.join("index.json"), "{}").expect("a file");
    }

    fn found(root: &Path) -> Vec<String> {
        let mut found = Discovery::default();
        found.search(root).expect("the root has layouts");
        assert!(found.errors.is_empty(), "{:?}", found.errors);
        let below = |path: &PathBuf| {
            let path = path.strip_prefix(root).expect("it is below");
            path.to_string_lossy().into_owned()
        };
        found.layouts.iter().map(below).collect()
    }

    #[test]
    fn finds_nested_layouts_but_not_in_staging_directories() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let root = temp.path();
        for path in [
            "b",
            "a",
            "a/nested/deeper",
            "a/blobs/sha256/inner",
            "a/.sync/one/repo",
            "a/.uploads/one",
            "a/.ocisweep/old",
            "a/.hidden",
            "a/ingest/one",
            ".buildx-cache",
            ".trash/old",
            ".uploads/one",
            "plain/blobs",
        ] {
            layout(&root.join(path));
        }
        std::fs::create_dir(root.join("empty")).expect("a directory");
        std::fs::write(root.join("empty/index.json"), "{}").expect("a file");
        std::os::unix::fs::symlink(root.join("a"), root.join("link")).expect("a link");
        let expected = [".buildx-cache", "a", "a/nested/deeper", "b", "plain/blobs"];
        assert_eq!(found(root), expected);
    }

    #[test]
    fn a_root_may_be_a_layout_or_a_link() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let root = temp.path().join("one");
        layout(&root);
        layout(&root.join("two"));
        assert_eq!(found(&root), ["", "two"]);
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(&root, &link).expect("a link");
        assert_eq!(found(&link), ["", "two"]);
    }

    #[test]
    fn the_error_for_a_directory_without_a_layout_names_its_kind() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let what = |name: &str| {
            let mut discovery = Discovery::default();
            let found = discovery.search(&temp.path().join(name));
            assert!(discovery.layouts.is_empty(), "{discovery:?}");
            match found {
                Err(Error::NotALayout { what, .. }) => what,
                other => panic!("{other:?}"),
            }
        };
        std::fs::create_dir_all(temp.path().join("empty")).expect("a directory");
        assert_eq!(what("empty"), NotALayout::NothingBelow);
        std::fs::create_dir_all(temp.path().join("registry/docker/registry/v2"))
            .expect("directories");
        assert_eq!(what("registry"), NotALayout::RegistryStorage);
    }

    #[test]
    fn two_paths_to_a_directory_are_one_layout() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let one = temp.path().join("one");
        layout(&one);
        let other = temp.path().join("./one/../one");
        let gone = temp.path().join("gone");
        let (left, again) = distinct(vec![one.clone(), gone.clone(), other.clone(), gone.clone()]);
        assert_eq!(left, [one.clone(), gone.clone(), gone]);
        assert_eq!(again, [(other, one)]);
    }

    #[test]
    fn finds_layouts_that_share_directories_of_blobs() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let paths = ["owner", "algorithm", "whole", "alone"].map(|name| temp.path().join(name));
        let [owner, algorithm, whole, alone] = &paths;
        for path in [owner, alone] {
            layout(path);
        }
        std::fs::create_dir_all(algorithm.join("blobs")).expect("a directory");
        std::fs::create_dir_all(whole).expect("a directory");
        let link = std::os::unix::fs::symlink::<&str, PathBuf>;
        link("../../owner/blobs/sha256", algorithm.join("blobs/sha256")).expect("a link");
        link("../owner/blobs", whole.join("blobs")).expect("a link");
        let found = sharing(&paths);
        let expected = [Some(algorithm), Some(owner), Some(owner), None];
        assert_eq!(found, expected.map(|path| path.cloned()));
        assert_eq!(sharing(&[owner.clone(), alone.clone()]), [None, None]);
    }
}
