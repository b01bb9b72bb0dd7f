//! SIGKILL and errors at every changing system call of `check --repair`.
//!
//! After each of them every blob is unchanged or intact, and a second run completes the work.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ocisweep::execute::replace_blobs;
use ocisweep::layout::Layout;
use ocisweep::layout::lock::Locked;
use ocisweep::oci::Digest;
use ocisweep::progress::Silent;
use tempfile::TempDir;

use crate::kill::{CHANGING, changes, count, is_taken};
use crate::strace::{Disturbed, Recording, args};
use crate::support::environment::{has_strace, memory_dir};
use crate::support::{Cmd, Files, FullLayout, Stopping, Way};

/// The source of intact copies.
#[derive(Clone, Copy, Debug)]
enum Source {
    Trash,
    Mirror,
}

/// A layout that lacks blobs, and with a mirror also has damaged ones.
struct Lacking {
    layout: FullLayout,
    mirror: TempDir,
}

impl Lacking {
    fn new(source: Source) -> Self {
        let layout = FullLayout::new();
        let mirror = memory_dir();
        let path = layout.path();
        match source {
            Source::Trash => {
                // A writer that does not rewrite blobs that it has seen lists removed blobs.
                let index = fs::read(path.join("index.json")).expect("it is there");
                let words = ["rm", "--trash", "--grace", "0", "-f"];
                let rm = Cmd::new(words).arg(path).arg("app:1").run();
                rm.ok();
                fs::write(path.join("index.json"), index).expect("it can be written");
            }
            Source::Mirror => {
                for (name, bytes) in Files::of(path).iter() {
                    let to = mirror.path().join(name);
                    fs::create_dir_all(to.parent().expect("below")).expect("a directory");
                    fs::write(to, bytes).expect("it can be written");
                }
                let blob = |desc: &crate::support::Desc| path.join(desc.blob_path());
                fs::remove_file(blob(&layout.one.manifest)).expect("it is there");
                fs::remove_file(blob(&layout.two.layers[1])).expect("it is there");
                fs::write(blob(&layout.one.layers[1]), "o").expect("it can be written");
                fs::write(blob(&layout.arm64.config), "{}").expect("it can be written");
            }
        }
        Self { layout, mirror }
    }

    fn line(&self, source: Source) -> Vec<OsString> {
        let mut words = args(["check", "--repair"]);
        if matches!(source, Source::Mirror) {
            words.extend(["--from".into(), self.mirror.path().into()]);
        }
        words.push(self.layout.path().into());
        words
    }

    fn blobs(&self) -> BTreeMap<String, Vec<u8>> {
        blobs(self.layout.path())
    }
}

/// Returns the files in `blobs/` with the name of a blob.
fn blobs(layout: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = Files::of(layout);
    let is_blob = |path: &str| path.starts_with("blobs/sha256/") && path.len() == 13 + 64;
    let blobs = files.iter().filter(|(path, _)| is_blob(path));
    blobs
        .map(|(path, bytes)| (path.clone(), bytes.clone()))
        .collect()
}

fn survives(source: Source, faults: &[&str], is_sample: bool) {
    if !has_strace() {
        return;
    }
    let whole = blobs(FullLayout::new().path());
    let recorded = Lacking::new(source);
    let before = recorded.blobs();
    let recording = Recording::of(&CHANGING, &recorded.line(source));
    recording.run.ok();
    let end = recorded.blobs();
    for (path, bytes) in &end {
        assert!(
            whole.get(path) == Some(bytes),
            "{path}\n{}",
            recording.all()
        );
    }
    let mut done = 0_usize;
    for name in CHANGING {
        let layout: PathBuf = recorded.layout.path().to_owned();
        for number in recording.numbers(name, &layout, changes) {
            for fault in faults {
                done += 1;
                if !is_taken(done, is_sample) {
                    continue;
                }
                let lacking = Lacking::new(source);
                let injection = format!("{name}:{fault}:when={number}");
                let disturbed = Disturbed::by(&injection, &lacking.line(source));
                let context = format!("{injection}\n{}", disturbed.run.all());
                let now = lacking.blobs();
                for (path, bytes) in &now {
                    let is_known = [before.get(path), whole.get(path)].contains(&Some(bytes));
                    assert!(is_known, "{path} is neither old nor whole\n{context}");
                }
                for path in before.keys() {
                    assert!(now.contains_key(path), "{path} is gone\n{context}");
                }
                let again = Cmd::new(lacking.line(source)).run();
                let context = format!("{context}\nthen\n{}", again.all());
                assert_eq!(again.code, Some(0), "{context}");
                assert!(lacking.blobs() == end, "it ends elsewhere\n{context}");
                // A file that a fault leaves is recognised, and deleted later.
                let gc = ["gc", "--grace", "1000d", "--temp-age", "0s"];
                let gc = Cmd::new(gc).arg(lacking.layout.path()).run();
                let context = format!("{context}\nthen\n{}", gc.all());
                assert_eq!(gc.code, Some(0), "{context}");
                let files = Files::of(lacking.layout.path());
                let left = files.paths();
                let left = left.iter().find(|path| path.contains("/.ocisweep-"));
                assert_eq!(left, None, "{context}");
            }
        }
    }
    assert!(done > 4, "only {done} faults\n{}", recording.all());
    count(&format!("check --repair from {source:?}: {done} faults"));
}

#[test]
fn repairing_from_the_trash_can_be_killed() {
    survives(Source::Trash, &["signal=KILL"], false);
}

#[test]
fn repairing_from_a_mirror_can_be_killed() {
    survives(Source::Mirror, &["signal=KILL"], false);
}

#[test]
fn calls_of_repairing_can_fail() {
    let errors = ["error=EIO", "error=ENOSPC", "error=EACCES"];
    survives(Source::Trash, &errors, true);
    survives(Source::Mirror, &errors, true);
}

/// Stopped at any call of this process, below every system call.
#[test]
fn replacing_blobs_can_stop_at_any_call() {
    let whole = blobs(FullLayout::new().path());
    let replace = |lacking: &Lacking, fs: &Stopping| {
        let layout = &lacking.layout;
        let lost = [
            &layout.one.manifest,
            &layout.two.layers[1],
            &layout.one.layers[1],
            &layout.arm64.config,
        ];
        let lost = lost.map(|desc| Digest::parse(&desc.digest).expect("a digest"));
        let opened = Layout::open(layout.path()).expect("it is a layout");
        let locked = Locked::acquire(&opened, Duration::ZERO, &Silent).expect("nobody locks it");
        let places = [lacking.mirror.path().join("blobs")];
        replace_blobs(&locked, &lost, &places, fs, &Silent)
    };
    let recorded = Lacking::new(Source::Mirror);
    let before = recorded.blobs();
    let fs = Stopping::new(Way::Dies, 0, recorded.layout.path());
    let replaced = replace(&recorded, &fs).expect("nothing fails");
    assert_eq!(replaced.len(), 4);
    assert!(recorded.blobs() == whole);
    let calls = fs.calls();
    assert!(!calls.is_empty());
    for number in 1..=calls.len() {
        for way in [Way::Dies, Way::Fails, Way::Lies, Way::Fills] {
            let lacking = Lacking::new(Source::Mirror);
            let fs = Stopping::new(way, number, lacking.layout.path());
            let result = replace(&lacking, &fs);
            let context = format!("{way:?} {number} {:?}: {result:?}", calls[number - 1]);
            assert!(result.is_err(), "{context}");
            for (path, bytes) in lacking.blobs() {
                let is_known = [before.get(&path), whole.get(&path)].contains(&Some(&bytes));
                assert!(is_known, "{path} is neither old nor whole\n{context}");
            }
            let fs = Stopping::new(Way::Dies, 0, lacking.layout.path());
            replace(&lacking, &fs).expect("nothing fails");
            assert!(lacking.blobs() == whole, "it ends elsewhere\n{context}");
        }
    }
}

#[test]
fn a_blob_on_a_bad_sector_is_replaced_from_a_mirror() {
    if !has_strace() {
        return;
    }
    let whole = blobs(FullLayout::new().path());
    let lacking = Lacking::new(Source::Mirror);
    let bad = lacking.layout.two.manifest.clone();
    let path = lacking.layout.path().join(bad.blob_path());
    let inode = || {
        let found = fs::metadata(&path).expect("it is there");
        std::os::unix::fs::MetadataExt::ino(&found)
    };
    let before = inode();
    let name = path.file_name().map(Path::new).expect("a name");
    let injection = "read:error=EIO:when=1..2";
    let failed = Disturbed::on(&[&path, name], injection, &lacking.line(Source::Mirror));
    assert_ne!(failed.faults, 0, "{}", failed.run.all());
    assert_ne!(inode(), before, "it was replaced\n{}", failed.run.all());
    assert!(lacking.blobs() == whole, "{}", failed.run.all());
    let check = Cmd::new(["check"]).arg(lacking.layout.path()).run();
    check.ok();
}
