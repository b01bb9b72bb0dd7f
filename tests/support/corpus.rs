//! The recorded corpus: layouts as other programs wrote them, and the expected results.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::environment::memory_dir;

/// Where the corpus is in the repository.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/corpus");

/// One recorded case: a tar and what is known about it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The name, which is that of both files.
    pub(crate) name: String,
    /// The layouts in it; empty if the case is not a layout.
    pub(crate) layouts: Vec<CaseLayout>,
}

/// One layout of a case.
#[derive(Clone, Debug)]
pub(crate) struct CaseLayout {
    /// The name of the case.
    pub(crate) case: String,
    /// The directory of the layout, relative to that of the case; `.` for the case itself.
    pub(crate) directory: String,
    /// The facts recorded about it.
    pub(crate) facts: Value,
}

impl CaseLayout {
    /// Returns the name of the case and the directory of the layout.
    pub(crate) fn label(&self) -> String {
        format!("{} ({})", self.case, self.directory)
    }

    /// Returns a list of strings of `expected`, such as `keep` or `garbage`.
    pub(crate) fn expected(&self, key: &str) -> BTreeSet<String> {
        let expected = self.facts.get("expected");
        strings(expected.and_then(|expected| expected.get(key)))
    }

    /// Returns the scenarios of one kind: `untag` or `drop-platform`.
    pub(crate) fn scenarios(&self, operation: &str) -> Vec<Value> {
        let all = self.facts.get("scenarios").and_then(Value::as_array);
        all.into_iter()
            .flatten()
            .filter(|scenario| scenario.get("op").and_then(Value::as_str) == Some(operation))
            .cloned()
            .collect()
    }

    /// Unpacks the case and returns it together with the directory of this layout.
    pub(crate) fn unpack(&self) -> (Unpacked, PathBuf) {
        let unpacked = unpack(&self.case);
        let directory = unpacked.layout(&self.directory);
        (unpacked, directory)
    }
}

/// A case on disk, in a directory that is deleted when this is dropped.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// The directory of the case.
    pub(crate) root: PathBuf,
    _temp: TempDir,
}

impl Unpacked {
    /// Returns the directory of one of its layouts.
    pub(crate) fn layout(&self, directory: &str) -> PathBuf {
        if directory == "." {
            self.root.clone()
        } else {
            self.root.join(directory)
        }
    }
}

/// Returns the strings of a JSON array; nothing for anything else.
pub(crate) fn strings(value: Option<&Value>) -> BTreeSet<String> {
    let items = value.and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// Returns all cases, by name; a missing corpus is a failure, not an empty list.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for file in fs::read_dir(CORPUS).expect("the corpus is part of the repository") {
        let path = file.expect("the corpus can be listed").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let name = path.file_stem().expect("a case has a name");
        let name = name.to_string_lossy().into_owned();
        let text = fs::read(&path).expect("the facts of a case can be read");
        let facts: Value = serde_json::from_slice(&text).expect("the facts of a case are JSON");
        let layouts = facts.get("layouts").and_then(Value::as_object);
        let layouts = layouts
            .into_iter()
            .flatten()
            .map(|(directory, facts)| CaseLayout {
                case: name.clone(),
                directory: directory.clone(),
                facts: facts.clone(),
            })
            .collect();
        cases.push(Case { name, layouts });
    }
    cases.sort_by(|left, right| left.name.cmp(&right.name));
    assert!(!cases.is_empty(), "the corpus is empty");
    cases
}

/// Unpacks a case with its modes, times and symbolic links.
pub(crate) fn unpack(name: &str) -> Unpacked {
    let temp = memory_dir();
    unpack_into(name, temp.path());
    Unpacked {
        root: temp.path().join(name),
        _temp: temp,
    }
}

/// Unpacks a case into a directory, below its own name.
pub(crate) fn unpack_into(name: &str, directory: &Path) {
    let file = fs::File::open(Path::new(CORPUS).join(format!("{name}.tar")));
    let mut archive = tar::Archive::new(file.expect("the tar of a case exists"));
    archive.set_preserve_permissions(true);
    archive.set_preserve_mtime(true);
    archive
        .unpack(directory)
        .unwrap_or_else(|error| panic!("cannot unpack {name}: {error}"));
}
