//! The layout that most tests here start from, and light pictures of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::hostile::guard::Guarded as _;
use crate::support::{Cmd, Desc, Image, LayoutBuilder, Run, Snapshot, assert_same, snapshot};

/// A sound layout with one orphan, and a victim beside it that nobody may touch.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) builder: LayoutBuilder,
    /// Tagged `app`: two layers.
    pub(crate) app: Image,
    /// Tagged `multi`: an index of the two below.
    pub(crate) multi: Desc,
    pub(crate) amd64: Image,
    pub(crate) arm64: Image,
    /// Nothing refers to it.
    pub(crate) orphan: Desc,
}

impl Scene {
    /// Writes it.
    pub(crate) fn new() -> Self {
        let mut builder = LayoutBuilder::new();
        let app = builder.image("linux/amd64", "app", &[b"app one", b"app two"]);
        let amd64 = builder.image("linux/amd64", "amd64", &[b"amd64 layer"]);
        let arm64 = builder.image("linux/arm64", "arm64", &[b"arm64 layer"]);
        let multi = builder.index(&[
            amd64.manifest.clone().platform("linux/amd64"),
            arm64.manifest.clone().platform("linux/arm64"),
        ]);
        let orphan = builder.layer(b"nobody refers to this");
        builder.tag(&app.manifest, "app").tag(&multi, "multi");
        builder.write();
        // Places that a path out of the layout would lead to, one of them with the name of a blob.
        let victim = builder.outside().join("victim");
        fs::create_dir_all(victim.join("sha256")).expect("the victim can be made");
        fs::write(victim.join("precious"), b"precious").expect("the victim can be written");
        fs::write(victim.join("sha256").join(orphan.hex()), b"precious")
            .expect("the victim can be written");
        Self {
            builder,
            app,
            multi,
            amd64,
            arm64,
            orphan,
        }
    }

    /// Returns the directory of the layout.
    pub(crate) fn path(&self) -> &Path {
        self.builder.path()
    }

    /// Takes a picture of the layout and of everything beside it.
    pub(crate) fn picture(&self) -> Snapshot {
        snapshot(self.builder.outside())
    }

    /// Returns `true` if a blob is there, be it file or link.
    pub(crate) fn has(&self, desc: &Desc) -> bool {
        fs::symlink_metadata(self.builder.join(&desc.blob_path())).is_ok()
    }

    /// Panics unless everything of the two tagged images is there, and the victim as it was.
    #[track_caller]
    pub(crate) fn assert_whole(&self, context: &str) {
        for desc in self.live() {
            assert!(self.has(desc), "{} is gone\n{context}", desc.digest);
        }
        self.assert_victim(context);
    }

    /// Panics unless the victim is as it was.
    #[track_caller]
    pub(crate) fn assert_victim(&self, context: &str) {
        let victim = self.builder.outside().join("victim");
        for file in [
            victim.join("precious"),
            victim.join("sha256").join(self.orphan.hex()),
        ] {
            let bytes = fs::read(&file).ok();
            assert_eq!(
                bytes.as_deref(),
                Some(&b"precious"[..]),
                "{} was touched\n{context}",
                file.display()
            );
        }
    }

    /// Returns everything that must stay.
    pub(crate) fn live(&self) -> Vec<&Desc> {
        let mut live = vec![&self.multi];
        for image in [&self.app, &self.amd64, &self.arm64] {
            live.push(&image.manifest);
            live.push(&image.config);
            live.extend(&image.layers);
        }
        live
    }

    /// Sweeps without grace.
    #[track_caller]
    pub(crate) fn gc(&self) -> Run {
        Cmd::gc(self.path()).guarded()
    }

    /// Sweeps, and panics unless that is refused with one line and nothing changed.
    #[track_caller]
    pub(crate) fn gc_is_refused(&self) -> Run {
        let before = self.picture();
        let run = self.gc();
        run.refused();
        assert_one_error(&run);
        assert_same(&before, &self.picture(), &run.all());
        run
    }

    /// Sweeps, and panics unless the orphan is what went.
    #[track_caller]
    pub(crate) fn gc_takes_only_the_orphan(&self) -> Run {
        let run = self.gc();
        run.ok();
        assert!(!self.has(&self.orphan), "the orphan stays\n{}", run.all());
        self.assert_whole(&run.all());
        run
    }
}

/// Panics unless standard error is one line of this program, perhaps with hints.
#[track_caller]
pub(crate) fn assert_one_error(run: &Run) {
    let lines: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let is_one = match lines.split_first() {
        None => false,
        Some((error, hints)) => {
            error.starts_with("ocisweep: ") && hints.iter().all(|line| line.starts_with("hint: "))
        }
    };
    assert!(is_one, "not one error line\n{}", run.all());
    assert_no_panic(run);
    assert!(
        run.stderr.len() < 64 << 10,
        "{} bytes of error",
        run.stderr.len()
    );
}

/// Panics if the program did.
#[track_caller]
pub(crate) fn assert_no_panic(run: &Run) {
    assert!(
        run.code.is_some_and(|code| code != 101) && !run.stderr.contains("panicked"),
        "it panicked, or a signal ended it\n{}",
        run.all()
    );
}

/// What can be seen without reading a file; for layouts that are too large to be read twice.
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

/// Returns a number of the totals of a report.
#[track_caller]
pub(crate) fn total(report: &Value, key: &str) -> u64 {
    report
        .pointer(&format!("/totals/{key}"))
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("no totals.{key} in {report:#}"))
}

/// Returns the digests that a report gives this action, over all layouts.
pub(crate) fn with_action(report: &Value, action: &str) -> Vec<String> {
    let layouts = report.get("layouts").and_then(Value::as_array);
    let mut digests: Vec<String> = layouts
        .into_iter()
        .flatten()
        .filter_map(|layout| layout.get("items").and_then(Value::as_array))
        .flatten()
        .filter(|item| item.get("action").and_then(Value::as_str) == Some(action))
        .filter_map(|item| item.get("digest").and_then(Value::as_str))
        .map(str::to_owned)
        .collect();
    digests.sort();
    digests
}
