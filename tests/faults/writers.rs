//! Other programs that write the layout at the same time, with a lock and without.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::commands::{Command, GC, RM};
use crate::judge::LOCK;
use crate::kill::count;
use crate::stall::Stalled;
use crate::strace::{Recording, args};
use crate::support::environment::has_strace;
use crate::support::extent::takes;
use crate::support::layout::FileLock;
use crate::support::{Cmd, Files, FullLayout, digest_of, for_each, media};

/// The number of images that a writer writes in a loop beside the program.
const IMAGES: usize = 40;

/// A writer in this process.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    layout: PathBuf,
}

/// An image that a writer has written but not listed.
#[derive(Debug)]
pub(crate) struct Written {
    entry: Value,
}

impl Written {
    /// Returns the entry that lists it.
    pub(crate) const fn entry(&self) -> &Value {
        &self.entry
    }
}

impl Writer {
    pub(crate) fn new(layout: &Path) -> Self {
        Self {
            layout: layout.to_owned(),
        }
    }

    /// Writes a blob unless it exists: every writer except umoci skips existing blobs.
    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest_of("sha256", bytes);
        let path = self.layout.join(digest.replace("sha256:", "blobs/sha256/"));
        if !path.exists() {
            // Written to a temporary file and then renamed, so that no other process sees half of it.
            let temporary = self.layout.join("oci-put-blob987654321");
            fs::write(&temporary, bytes).expect("a blob can be written");
            fs::rename(&temporary, &path).expect("a blob can be renamed");
        }
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Writes an image of these layers, its manifest last.
    pub(crate) fn image(&self, name: &str, layers: &[&[u8]]) -> Written {
        let layers: Vec<Value> = layers
            .iter()
            .map(|bytes| self.blob(media::LAYER, bytes))
            .collect();
        let config = json!({"architecture": "amd64", "os": "linux", "author": name});
        let config = self.blob(media::CONFIG, config.to_string().as_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media::MANIFEST,
            "config": config,
            "layers": layers,
        });
        let mut entry = self.blob(media::MANIFEST, manifest.to_string().as_bytes());
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        Written { entry }
    }

    fn index(&self) -> PathBuf {
        self.layout.join("index.json")
    }

    fn read(&self) -> Value {
        let text = fs::read(self.index()).expect("the index can be read");
        serde_json::from_slice(&text).expect("only this writer writes in place")
    }

    /// Overwrites the index in place, as all tools except umoci and regctl do.
    pub(crate) fn overwrite(&self, index: &Value) {
        let text = index.to_string();
        let mut file = OpenOptions::new()
            .write(true)
            .open(self.index())
            .expect("there is an index");
        file.write_all(text.as_bytes())
            .expect("the index can be written");
        file.set_len(text.len() as u64)
            .expect("the rest can be truncated");
    }

    /// Tries to get BuildKit's lock.
    fn lock(&self) -> Option<FileLock> {
        let path = self.layout.join(LOCK);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.expect("the lock file can be made");
        let lock = FileLock::try_of(file)?;
        // BuildKit does not check whether the file is still the one at that path; without that, two BuildKits can run at
        // once, which is not tested here.
        let there = fs::metadata(&path).ok()?;
        let held = lock
            .file()
            .metadata()
            .expect("an open file can be inspected");
        ((there.dev(), there.ino()) == (held.dev(), held.ino())).then_some(lock)
    }

    /// Adds an entry under BuildKit's lock.
    fn list(&self, image: &Written) {
        let lock = loop {
            match self.lock() {
                Some(lock) => break lock,
                None => thread::sleep(Duration::from_millis(1)),
            }
        };
        let mut index = self.read();
        add(&mut index, image);
        self.overwrite(&index);
        fs::remove_file(self.layout.join(LOCK)).expect("the lock file exists while it is held");
        drop(lock);
    }
}

fn add(index: &mut Value, image: &Written) {
    let entries = index["manifests"]
        .as_array_mut()
        .expect("an index has entries");
    entries.push(image.entry.clone());
}

/// Returns the names in the index.
fn names(layout: &Path) -> Vec<String> {
    let entries = Writer::new(layout).read();
    let entries = entries["manifests"].as_array().cloned().unwrap_or_default();
    entries
        .iter()
        .filter_map(|entry| entry["annotations"]["org.opencontainers.image.ref.name"].as_str())
        .map(str::to_owned)
        .collect()
}

/// Panics if a listed image is incomplete.
#[track_caller]
fn is_whole(layout: &Path, context: &str) {
    let broken: Vec<_> = Files::of(layout).broken().into_values().collect();
    assert!(broken.is_empty(), "{}\n{context}", broken.join("\n"));
}

/// Runs `write` in a separate thread, and `sweep` repeatedly until that is done.
pub(crate) fn beside(write: impl FnOnce() + Send, mut sweep: impl FnMut()) {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            write();
            is_done.store(true, Ordering::Relaxed);
        });
        while !is_done.load(Ordering::Relaxed) && !writer.is_finished() {
            sweep();
        }
    });
}

#[test]
fn a_writer_with_a_lock_loses_no_blob_and_no_update() {
    let fixture = FullLayout::new();
    let writer = Writer::new(fixture.path());
    let listed = AtomicBool::new(false);
    let mut removed = Vec::new();
    let mut runs = Vec::new();
    beside(
        || {
            for number in 0..IMAGES {
                let layer = format!("layer of {number}");
                let image =
                    writer.image(&format!("new:{number}"), &[b"base layer", layer.as_bytes()]);
                writer.list(&image);
                // Time for the program to get the lock.
                thread::sleep(Duration::from_millis(20));
                listed.store(true, Ordering::Relaxed);
            }
        },
        || {
            let gc = Cmd::new(["gc", "--grace", "1h"]).arg(fixture.path()).run();
            assert!(matches!(gc.code, Some(0 | 6)), "{}", gc.all());
            runs.push(gc.all());
            // The oldest image of the writer that is listed and not removed.
            let name = format!("new:{}", removed.len());
            if listed.load(Ordering::Relaxed) {
                let rm = Cmd::new(["rm"]).arg(fixture.path()).arg(&name).run();
                if rm.code == Some(0) {
                    removed.push(name);
                } else {
                    let is_early = rm.code == Some(6) || rm.stderr.contains("No such image");
                    assert!(is_early, "{}", rm.all());
                }
                runs.push(rm.all());
            }
        },
    );
    let context = runs.join("\n");
    is_whole(fixture.path(), &context);
    let names = names(fixture.path());
    for number in 0..IMAGES {
        let name = format!("new:{number}");
        let is_listed = names.contains(&name);
        let is_removed = removed.contains(&name);
        assert!(
            is_listed != is_removed,
            "{name}: an update is lost, {names:?}\n{context}"
        );
    }
    count(&format!(
        "{IMAGES} images written under a lock, {} removed, {} runs",
        removed.len(),
        runs.len()
    ));
}

#[test]
fn a_writer_without_a_lock_that_writes_fresh_blobs_loses_none() {
    let fixture = FullLayout::new();
    let writer = Writer::new(fixture.path());
    let mut runs = Vec::new();
    beside(
        || {
            for number in 0..IMAGES {
                // skopeo reads the index at the start, and writes it back.
                let mut index = writer.read();
                let layer = format!("layer of {number}");
                let image =
                    writer.image(&format!("new:{number}"), &[b"base layer", layer.as_bytes()]);
                thread::sleep(Duration::from_millis(2));
                add(&mut index, &image);
                writer.overwrite(&index);
            }
        },
        || {
            let gc = Cmd::new(["gc"]).arg(fixture.path()).run();
            // The writer never pauses: an index that is repeatedly half written is refused.
            assert!(matches!(gc.code, Some(0 | 3 | 6)), "{}", gc.all());
            runs.push(gc.all());
        },
    );
    let context = runs.join("\n");
    is_whole(fixture.path(), &context);
    let names = names(fixture.path());
    for number in 0..IMAGES {
        let name = format!("new:{number}");
        assert!(
            names.contains(&name),
            "{name} is lost, {names:?}\n{context}"
        );
    }
    count(&format!(
        "{IMAGES} images written without a lock beside {} runs",
        runs.len()
    ));
}

/// The kernel stamps files with the last tick of its clock, so that an index and the blobs after it can be equally old.
#[test]
fn a_blob_with_the_time_of_the_index_may_be_in_flight() {
    let fixture = FullLayout::new();
    let time = SystemTime::now() - Duration::from_secs(60);
    let young = &fixture.orphans[3];
    fixture
        .builder
        .modified("index.json", time)
        .modified(&young.blob_path(), time);
    let run = Cmd::new(["gc"]).arg(fixture.path()).run();
    run.ok().says("in flight");
    assert!(fixture.has(young), "{}", run.all());
    assert!(!fixture.has(&fixture.orphans[4]), "{}", run.all());
}

#[test]
fn an_old_orphan_that_is_used_again_during_the_sweep_is_reported() {
    if !has_strace() {
        return;
    }
    let fixture = FullLayout::new();
    let writer = Writer::new(fixture.path());
    let stalled = Stalled::after("unlinkat", 1, &GC.on(fixture.path())).expect("it deletes");
    // The layer exists, so the writer does not write it.
    let orphan = b"nothing references this";
    assert!(
        fixture
            .orphans
            .iter()
            .filter(|desc| fixture.has(desc))
            .count()
            > 2
    );
    let path = fixture.builder.join(&fixture.orphans[3].blob_path());
    let is_late = !path.exists();
    let image = writer.image("new:1", &[orphan]);
    let mut index = writer.read();
    add(&mut index, &image);
    writer.overwrite(&index);
    let run = stalled.go_on();
    assert!(
        is_late || !path.exists(),
        "it was suspended at another call\n{}",
        run.all()
    );
    if is_late {
        // It was already deleted and was written again: another file of the same name is kept.
        run.ok();
        return is_whole(fixture.path(), &run.all());
    }
    run.exits(1)
        .warns("`new:1`")
        .warns("references a deleted blob");
    // Writing it again, as the hint suggests, repairs it.
    writer.image("new:1", &[orphan]);
    is_whole(fixture.path(), &run.all());
}

/// At every moment of a run another program overwrites the index with the entries from before the run and one more, which
/// uses a blob that the run is about to delete.
fn meets_another_writer_at_any_moment(command: Command, reused: fn(&FullLayout) -> &'static [u8]) {
    if !has_strace() {
        return;
    }
    let recorded = FullLayout::new();
    let calls = [
        "syncfs",
        "fsync",
        "renameat",
        "renameat2",
        "openat",
        "newfstatat",
        "unlinkat",
    ];
    let recording = Recording::of(&calls, &command.on(recorded.path()));
    recording.run.ok();
    let mut moments: Vec<(&str, u32)> = Vec::new();
    for name in calls {
        let numbers = recording.numbers(name, recorded.path(), |call| !call.text.contains(LOCK));
        moments.extend(numbers.into_iter().map(|number| (name, number)));
    }
    // Of the many calls that only read, a sample.
    let mut turn = 0;
    moments.retain(|(name, _)| {
        turn += 1;
        !matches!(*name, "openat" | "newfstatat") || takes(turn, 12, 4)
    });
    let total = moments.len();
    assert!(total > 12, "{}", recording.all());
    for_each(
        moments,
        |(name, number)| format!("{command:?} after {name} {number}"),
        |(name, number)| {
            let fixture = FullLayout::new();
            let writer = Writer::new(fixture.path());
            let mut index = writer.read();
            let Ok(stalled) = Stalled::after(name, *number, &command.on(fixture.path())) else {
                return;
            };
            let before = Files::of(fixture.path());
            let image = writer.image("new:1", &[reused(&fixture)]);
            add(&mut index, &image);
            writer.overwrite(&index);
            let run = stalled.go_on();
            let context = run.all();
            let broken: Vec<_> = Files::of(fixture.path()).broken().into_values().collect();
            let broken = broken.join("\n");
            for name in ["app:1", "new:1"] {
                let is_told = run.code == Some(1) && run.stderr.contains(&format!("`{name}`"));
                assert!(
                    !broken.contains(name) || is_told || is_over(&before, &fixture),
                    "{name} is broken, and nothing was reported:\n{broken}\n{context}"
                );
            }
            let names = names(fixture.path());
            assert!(names.contains(&"new:1".to_owned()), "{names:?}\n{context}");
        },
    );
    count(&format!(
        "{command:?}: met another writer at {total} moments"
    ));
}

/// Returns `true` if everything was already deleted when the run was stopped: a later write cannot be detected.
fn is_over(before: &Files, fixture: &FullLayout) -> bool {
    let after = Files::of(fixture.path());
    let gone = before
        .paths()
        .into_iter()
        .filter(|path| path.starts_with("blobs/"));
    gone.filter(|path| after.get(path).is_none()).count() == 0
}

#[test]
fn gc_tolerates_another_writer_at_any_call() {
    meets_another_writer_at_any_moment(GC, |_| b"nothing references this");
}

#[test]
fn rm_tolerates_another_writer_at_any_call() {
    meets_another_writer_at_any_moment(RM, |_| b"one layer");
}

#[test]
fn a_lock_file_that_its_holder_unlinks_after_unlocking_is_not_a_lock() {
    if !has_strace() {
        return;
    }
    let fixture = FullLayout::new();
    let writer = Writer::new(fixture.path());
    let words = ["rm", "--lock-wait", "0s"];
    let mut command = args(words);
    command.extend([fixture.path().into(), "app:1".into()]);
    // The listing of the root after the lock is taken.
    let recorded = FullLayout::new();
    let mut recorded_command = args(words);
    recorded_command.extend([recorded.path().into(), "app:1".into()]);
    let recording = Recording::of(&["flock", "getdents64"], &recorded_command);
    recording.run.ok();
    let lock = recording
        .calls
        .iter()
        .position(|call| call.text.contains("LOCK_EX"));
    let lock = lock.unwrap_or_else(|| panic!("it takes no lock\n{}", recording.all()));
    let before = recording.calls[..lock]
        .iter()
        .filter(|call| call.name == "getdents64")
        .count();
    let number = u32::try_from(before).expect("a small number") + 1;

    // BuildKit has unlocked the file but not unlinked it yet: the program gets the lock.
    drop(writer.lock().expect("no process holds the lock"));
    let stalled = Stalled::after("getdents64", number, &command).expect("it lists the layout");
    fs::remove_file(fixture.builder.join(LOCK)).expect("the lock file is there");
    // Another BuildKit starts, and has read the index when the program continues.
    let theirs = writer.lock().expect("no process holds a lock at that path");
    let image = writer.image("new:1", &[b"base layer", b"new layer"]);
    let mut index = writer.read();
    let run = stalled.go_on();
    add(&mut index, &image);
    writer.overwrite(&index);
    fs::remove_file(fixture.builder.join(LOCK)).expect("the lock file exists while it is held");
    drop(theirs);
    run.exits(6);
    is_whole(fixture.path(), &run.all());
    let names = names(fixture.path());
    assert_eq!(
        names,
        ["app:1", "app:2", "multi:1", "new:1"],
        "{}",
        run.all()
    );
}
