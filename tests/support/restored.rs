//! What `undo` must restore: the bytes of every file that is not the program's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Run, snapshot};

/// The bytes of files, by path below a directory.
pub(crate) type Bytes = BTreeMap<PathBuf, Vec<u8>>;

/// Returns the bytes of every file outside the program's own directories.
pub(crate) fn bytes(directory: &Path) -> Bytes {
    let names = snapshot(directory).into_keys();
    let is_own = |name: &Path| name.iter().any(|part| part == ".ocisweep");
    names
        .filter(|name| !is_own(name) && directory.join(name).is_file())
        .map(|name| {
            let bytes = fs::read(directory.join(&name)).expect("it can be read");
            (name, bytes)
        })
        .collect()
}

/// Panics unless a run succeeded, and every file below a directory is unchanged. `written`: the directory in which documents
/// of the undone run may remain.
#[track_caller]
pub(crate) fn assert_back(before: &Bytes, directory: &Path, written: Option<&str>, run: &Run) {
    run.ok();
    let mut now = bytes(directory);
    if let Some(written) = written {
        now.retain(|name, _| !name.starts_with(written) || before.contains_key(name));
    }
    let names = |bytes: &Bytes| bytes.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&now), names(before), "{}", run.all());
    assert!(now == *before, "other bytes\n{}", run.all());
}
