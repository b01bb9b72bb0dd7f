//! Snapshots of a directory, to verify that nothing changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::run::new_command;
use super::{hex, sha256};

/// The type of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A FIFO, socket or device.
    Other,
}

/// The state of one directory entry, as far as tests require it to be unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Its type.
    pub(crate) what: What,
    /// Permissions, without the type.
    pub(crate) mode: u32,
    /// Modification time in nanoseconds since 1970.
    pub(crate) modified: i128,
    /// sha256 of the content of a file, or the target of a link.
    pub(crate) content: String,
    /// Length in bytes, of files only.
    pub(crate) size: u64,
}

/// A directory by relative path; the directory itself is the empty path.
pub(crate) type Snapshot = BTreeMap<PathBuf, Stat>;

/// Takes a snapshot of `dir` and everything below; links are not followed.
pub(crate) fn snapshot(dir: &Path) -> Snapshot {
    let mut picture = Snapshot::new();
    let mut open = vec![PathBuf::new()];
    while let Some(relative) = open.pop() {
        let path = dir.join(&relative);
        let found = fs::symlink_metadata(&path)
            .unwrap_or_else(|error| panic!("cannot stat {}: {error}", relative.display()));
        let kind = found.file_type();
        let (what, content) = if kind.is_dir() {
            let names = fs::read_dir(&path).expect("a directory of the test can be listed");
            for name in names {
                let name = name.expect("a directory of the test can be listed");
                open.push(relative.join(name.file_name()));
            }
            (What::Directory, String::new())
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).expect("a link of the test can be read");
            (What::Link, hex_or_text(target.as_os_str().as_bytes()))
        } else if kind.is_file() {
            let bytes = fs::read(&path).expect("a file of the test can be read");
            (What::File, sha256(&bytes))
        } else {
            (What::Other, String::new())
        };
        let nanoseconds = i128::from(found.mtime())
            .saturating_mul(1_000_000_000)
            .saturating_add(i128::from(found.mtime_nsec()));
        let stat = Stat {
            what,
            mode: found.mode() & 0o7777,
            modified: nanoseconds,
            content,
            size: if what == What::File { found.len() } else { 0 },
        };
        picture.insert(relative, stat);
    }
    picture
}

/// Returns the snapshot with the times of directories set to zero, since removing a name changes them.
pub(crate) fn without_directory_times(picture: &Snapshot) -> Snapshot {
    let mut picture = picture.clone();
    for stat in picture.values_mut() {
        if stat.what == What::Directory {
            stat.modified = 0;
        }
    }
    picture
}

/// Returns the differences between two snapshots, one per line; empty if they are equal.
pub(crate) fn differences(before: &Snapshot, after: &Snapshot) -> String {
    let mut lines = Vec::new();
    for (path, old) in before {
        match after.get(path) {
            None => lines.push(format!("  gone:    {}", path.display())),
            Some(new) if new != old => {
                lines.push(format!("  changed: {}: {old:?} -> {new:?}", path.display()));
            }
            Some(_) => {}
        }
    }
    for path in after.keys().filter(|path| !before.contains_key(*path)) {
        lines.push(format!("  new:     {}", path.display()));
    }
    lines.join("\n")
}

/// Panics with the differences if two snapshots differ; `context` is printed with them.
#[track_caller]
pub(crate) fn assert_same(before: &Snapshot, after: &Snapshot, context: &str) {
    let found = differences(before, after);
    assert!(
        found.is_empty(),
        "the directory changed:\n{found}\n{context}"
    );
}

/// Lists the blobs of a layout: digest and length of every regular file with a valid name directly in `blobs/<algorithm>/`.
pub(crate) fn blobs(layout: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for (algorithm, length) in [("sha256", 64), ("sha384", 96), ("sha512", 128)] {
        let Ok(names) = fs::read_dir(layout.join("blobs").join(algorithm)) else {
            continue;
        };
        for name in names {
            let name = name.expect("a directory of the test can be listed");
            let stat = name
                .metadata()
                .expect("a file of the test can be looked at");
            let name = name.file_name().to_string_lossy().into_owned();
            let valid = name.len() == length
                && name
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if valid && stat.is_file() {
                found.insert(format!("{algorithm}:{name}"), stat.len());
            }
        }
    }
    found
}

fn hex_or_text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| hex(bytes))
}

/// Takes a snapshot without reading files, for layouts that are too large to be read twice: length, time and inode by path.
pub(crate) fn outline(dir: &Path) -> BTreeMap<PathBuf, (u64, i64, i64, u64)> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let stat = fs::symlink_metadata(&path).expect("a file of the test can be looked at");
        if stat.is_dir() {
            let names = fs::read_dir(&path).expect("a directory of the test can be listed");
            open.extend(names.map(|name| name.expect("a directory can be listed").path()));
        }
        let facts = (stat.len(), stat.mtime(), stat.mtime_nsec(), stat.ino());
        found.insert(path, facts);
    }
    found
}

/// Copies a directory with modes, owners, times and links.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    let status = new_command("cp").arg("-a").arg(from).arg(to).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "the directory can be copied"
    );
}

/// Returns `true` if the path is a regular file.
pub(crate) fn is_file(picture: &Snapshot, name: &str) -> bool {
    picture
        .get(Path::new(name))
        .is_some_and(|stat| stat.what == What::File)
}
