//! Detects repeatedly whether the state of a layout changed.
//!
//! A sweep checks before each batch of files. Parsing `index.json` each time would take longer than the deletion, so its
//! bytes are only hashed, and not even read if timestamps of the file system prove that it was not written.
//!
//! *Promise*: anything written after the lock was taken is detected. Timestamps are trusted only if only the kernel sets
//! them, and only after the bytes have been compared once; in doubt the files are read.

use std::cell::RefCell;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::Stat;
use rustix::io::Errno;

use super::Layout;
use super::lock::Locked;
use crate::fs::FileSystem;
use crate::fs::{Links, changed_of, modified_of, stat_at, stat_of};
use crate::layout::holds::Holds;
use crate::oci::Digest;

/// The files that a state depends on, other than second indexes.
const FILES: [&str; 4] = ["index.json", "manifest.json", "repositories", Holds::FILE];

/// The minimum time between a file's ctime and the lock, in nanoseconds, so that a write under the lock gets another
/// ctime: the kernel uses the time of its last tick, which is up to 10 ms old; some file systems store whole seconds only.
const TICK: i128 = 100_000_000;
const WHOLE_SECONDS: i128 = 2_000_000_000;

/// Detects changes of a locked layout.
#[derive(Debug)]
pub(crate) struct ChangeDetector<'a> {
    layout: &'a Layout,
    base: &'a Digest,
    /// When the lock was taken, by the clock of the file system; `None` if stamps cannot be trusted.
    since: Option<i128>,
    /// The stamps of the files when their content was found to be that of `base`.
    proven: RefCell<Option<Stamps>>,
}

/// What distinguishes one version of a file from the next: device, inode, length, mtime, ctime.
type Stamp = (u64, u64, i64, i128, i128);
/// The stamp of each file; `None` if it does not exist.
type Stamps = Vec<(PathBuf, Option<Stamp>)>;

impl<'a> ChangeDetector<'a> {
    /// Detects another state than the one with the fingerprint `base`.
    pub(crate) fn new(locked: &Locked<'a>, base: &'a Digest) -> Self {
        let layout = locked.layout();
        let since = locked
            .since()
            .filter(|_| FileSystem::of(layout.dir().as_fd()).keeps_change_times());
        Self {
            layout,
            base,
            since,
            proven: RefCell::new(None),
        }
    }

    /// Returns `true` if the state is still the same. A state that cannot be read is another one.
    pub(crate) fn is_unchanged(&self) -> bool {
        // Before reading: a later write changes a stamp.
        let stamps = self.stamps();
        if stamps.is_some() && stamps == *self.proven.borrow() {
            return true;
        }
        let is_same = is_unchanged(self.layout, self.base);
        self.proven.replace(stamps.filter(|_| is_same));
        is_same
    }

    /// Returns the stamps of the files; `None` if they cannot be trusted.
    fn stamps(&self) -> Option<Stamps> {
        let since = self.since?;
        let device = stat_of(self.layout.dir()).ok()?.st_dev;
        // Any new file may be a second index.
        let others = self.layout.second_index_names(true).ok()?;
        let names = FILES.iter().map(PathBuf::from).chain(others);
        names
            .map(|name| {
                let stamp = match stat_at(self.layout.dir(), Path::new(&name), Links::Follow) {
                    Ok(stat) if stat.st_dev == device => Some(stamp_of(&stat, since)?),
                    Err(Errno::NOENT | Errno::NOTDIR) => None,
                    // A link to another file system with another clock, or unknown.
                    _ => return None,
                };
                Some((name, stamp))
            })
            .collect()
    }
}

fn stamp_of(stat: &Stat, since: i128) -> Option<Stamp> {
    let changed = changed_of(stat);
    let granularity = if changed % 1_000_000_000 == 0 {
        WHOLE_SECONDS
    } else {
        TICK
    };
    let (device, inode, modified) = (stat.st_dev, stat.st_ino, modified_of(stat));
    let stamp = (device, inode, stat.st_size, modified, changed);
    (since - changed > granularity).then_some(stamp)
}

/// Reads the state, and returns `true` if it has the fingerprint `base`. A state that cannot be read is another one.
pub(crate) fn is_unchanged(layout: &Layout, base: &Digest) -> bool {
    // The same bytes mean the same state. Other bytes may be half written, and are read again.
    matches!(layout.hash_state(), Ok(Some(found)) if found == *base)
        || layout
            .read_state()
            .is_ok_and(|state| state.fingerprint() == base)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::progress::Silent;

    const LIST: &str = r#"{"x":{"digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":1}}"#;

    const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

    fn layout(dir: &std::path::Path) -> Layout {
        for (name, text) in [
            ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
            ("index.json", INDEX),
        ] {
            std::fs::write(dir.join(name), text).expect("a file");
        }
        Layout::open(dir).expect("a layout")
    }

    #[test]
    fn the_hash_equals_the_fingerprint_of_the_parsed_state() {
        let save = r#"[{"Config":"blobs/sha256/x","RepoTags":null,"Layers":[]}]"#;
        let holds = r#"{"version":1,"holds":[]}"#;
        let lists = r#"{"manifests":[{"digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":1}]}"#;
        let cases: [&[(&str, &str)]; 9] = [
            &[],
            &[("manifest.json", "[]"), ("repositories", "{}")],
            &[("manifest.json", save), ("repositories", "{}")],
            &[("manifest.json", "{}"), ("repositories", "no docker save")],
            &[("holds", holds)],
            &[("other-index.json", lists), ("notes", "{}")],
            &[("torn", lists.trim_end_matches('}')), ("torn.json", "{")],
            &[("manifest.json", lists), ("repositories", lists)],
            &[("manifest.json", "[]"), ("repositories", lists)],
        ];
        for files in cases {
            let temp = tempfile::tempdir().expect("a temporary directory");
            let layout = layout(temp.path());
            for (name, text) in files {
                let name = if *name == "holds" { Holds::FILE } else { name };
                let path = temp.path().join(name);
                std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
                std::fs::write(path, text).expect("a file");
            }
            let found = layout.hash_state().expect("readable").expect("at rest");
            // A state that cannot be parsed has no fingerprint to compare.
            if let Ok(state) = layout.read_state() {
                assert_eq!(found, *state.fingerprint(), "{files:?}");
            }
        }
    }

    #[test]
    fn detects_every_kind_of_write() {
        let writes: [fn(&std::path::Path); 8] = [
            |dir| std::fs::write(dir.join("index.json"), INDEX.replace('2', "1")).expect("a file"),
            |dir| {
                let new = dir.join("new");
                std::fs::write(&new, INDEX.replace('2', "1")).expect("a file");
                std::fs::rename(new, dir.join("index.json")).expect("a rename");
            },
            |dir| std::fs::write(dir.join("manifest.json"), "[]").expect("a file"),
            |dir| {
                let holds = dir.join(Holds::FILE);
                std::fs::create_dir(holds.parent().expect("a parent")).expect("a directory");
                std::fs::write(holds, "{}").expect("a file");
            },
            |dir| std::fs::remove_file(dir.join("index.json")).expect("it was there"),
            |dir| std::fs::remove_file(dir.join("other.json")).expect("it was there"),
            |dir| std::fs::write(dir.join("other.json"), LIST.replace('1', "2")).expect("a file"),
            |dir| std::fs::write(dir.join("third"), LIST).expect("a file"),
        ];
        for pause in [Duration::ZERO, Duration::from_millis(150)] {
            for (number, write) in writes.iter().enumerate() {
                let temp = tempfile::tempdir().expect("a temporary directory");
                let layout = layout(temp.path());
                std::fs::write(temp.path().join("other.json"), LIST).expect("a file");
                // After the pause the stamps are old enough to be trusted.
                std::thread::sleep(pause);
                let base = layout.read_state().expect("valid").fingerprint().clone();
                let locked =
                    Locked::acquire(&layout, Duration::ZERO, &Silent).expect("it is not locked");
                let watch = ChangeDetector::new(&locked, &base);
                for _ in 0..3 {
                    assert!(watch.is_unchanged(), "{number}");
                }
                write(temp.path());
                assert!(!watch.is_unchanged(), "{number} after {pause:?}");
            }
        }
    }
}
