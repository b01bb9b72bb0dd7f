//! Decides whether a layout is valid after a fault: each file is the old or the new version, and everything reachable is
//! intact.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::Files;

/// The lock file, which a killed run leaves behind.
pub(crate) const LOCK: &str = "index.json.lock";

/// The files that decide what is live. Each is the old or the new version at any time.
const DECIDING: [&str; 4] = [
    "index.json",
    "manifest.json",
    "repositories",
    ".ocisweep/holds.json",
];

/// Only a convenience: without the record the next `gc` requires `--allow-empty`.
pub(crate) const NOTE: &str = ".ocisweep/emptied";

/// The valid results of a command.
#[derive(Debug)]
pub(crate) struct Judge {
    /// The layout before.
    pub(crate) before: Files,
    /// The layout after an undisturbed run.
    pub(crate) after: Files,
    /// The layout after that and a sweep of everything.
    pub(crate) settled: Files,
    /// Digests that may be missing although an index lists them, after dropping a platform.
    pub(crate) sparse: BTreeSet<String>,
}

impl Judge {
    /// Returns the same judge for a run on a full disk: unreferenced blobs may be deleted to make room.
    pub(crate) fn of_full_disk(&self, orphans: &BTreeSet<String>) -> Self {
        Self {
            before: self.before.clone(),
            after: self.after.without_blobs(orphans),
            settled: self.settled.clone(),
            sparse: self.sparse.clone(),
        }
    }

    /// Panics unless the layout is one that a fault may leave.
    #[track_caller]
    pub(crate) fn check(&self, layout: &Path, context: &str) {
        self.check_files(&Files::of(layout), context);
    }

    /// Like `check`, for files that were already read.
    #[track_caller]
    pub(crate) fn check_files(&self, now: &Files, context: &str) {
        for path in DECIDING {
            let (old, found, new) = (self.before.get(path), now.get(path), self.after.get(path));
            assert!(
                found == old || found == new,
                "{path} is neither the old nor the new one: {:?}\n{context}",
                found.map(String::from_utf8_lossy)
            );
        }
        let mut broken = now.broken();
        broken.retain(|digest, _| !self.sparse.contains(digest));
        let broken: Vec<_> = broken.into_values().collect();
        assert!(broken.is_empty(), "{}\n{context}", broken.join("\n"));
        for (path, bytes) in now.iter() {
            if path == LOCK || is_own_temporary(path) {
                continue;
            }
            let known = [&self.before, &self.after];
            assert!(
                known.iter().any(|files| files.get(path) == Some(bytes)),
                "{path} was made or changed: {:?}\n{context}",
                String::from_utf8_lossy(bytes)
            );
        }
        let lost = self.before.paths();
        for path in lost.intersection(&self.after.paths()) {
            assert!(now.get(path).is_some(), "{path} is gone\n{context}");
        }
    }
}

/// Returns `true` if a file is one that the program writes before it renames it.
fn is_own_temporary(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_prefix(".ocisweep-")
        .is_some_and(|rest| rest.len() == 6 || rest.starts_with("swap-"))
}
