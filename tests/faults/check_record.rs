//! Kills and errors while `check --since-run` writes its record.
//!
//! In every case the layout is unchanged, the blobs in the record were verified, and the next run reads the rest.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::kill::{CHANGING, changes, count, is_taken};
use crate::mounts::Mount;
use crate::strace::{Disturbed, Recording, args, spawn};
use crate::support::environment::{has_strace, memory_dir};
use crate::support::{Cmd, Desc, LayoutBuilder, Run, assert_same, snapshot};

/// An image with so many layers that the record is written three times.
struct Large {
    builder: LayoutBuilder,
    layers: Vec<Desc>,
    temp: TempDir,
}

impl Large {
    fn new() -> Self {
        let mut builder = LayoutBuilder::new();
        let layers: Vec<Desc> = (0..2500)
            .map(|number| builder.layer(format!("layer {number:04}").as_bytes()))
            .collect();
        let config = builder.config("linux/amd64", "");
        let manifest = builder.manifest(&config, &layers);
        builder.tag(&manifest, "app:1").write();
        Self {
            builder,
            layers,
            temp: memory_dir(),
        }
    }

    fn record(&self) -> PathBuf {
        self.temp.path().join("record")
    }

    fn line(&self, record: &Path, words: &[&str]) -> Vec<OsString> {
        let mut line = args(["check", "--since-run"]);
        line.push(record.into());
        line.extend(args(words));
        line.push(self.builder.path().into());
        line
    }
}

/// The digests in a record, without truncated lines.
fn recorded(record: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(record).unwrap_or_default();
    let lines = text.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["digest"].as_str().map(str::to_owned)
    });
    lines.collect()
}

#[test]
fn a_killed_run_is_continued_where_it_stopped() {
    if !has_strace() {
        return;
    }
    let large = Large::new();
    let record = large.record();
    let before = snapshot(large.builder.path());
    let all: BTreeSet<String> = large.layers.iter().map(|it| it.digest.clone()).collect();
    let mut kills = 0;
    // The first run appends; one that reads everything again replaces the file as well.
    for words in [&[][..], &["--read-data-subset", "100%"]] {
        let prepare = || {
            drop(fs::remove_file(&record));
            if !words.is_empty() {
                Cmd::new(large.line(&record, &[])).run().ok();
            }
        };
        prepare();
        let line = large.line(&record, words);
        let recording = Recording::of(&CHANGING, &line);
        recording.run.ok();
        for name in CHANGING {
            for number in recording.numbers(name, large.builder.path(), changes) {
                kills += 1;
                if !is_taken(kills, false) {
                    continue;
                }
                prepare();
                let injection = format!("{name}:signal=KILL:when={number}");
                let killed = Disturbed::by(&injection, &line);
                assert_eq!(killed.run.code, None, "{}", killed.run.all());
                let known = recorded(&record);
                assert!(known.is_subset(&all), "{injection}");
                if !words.is_empty() {
                    assert_eq!(known.len(), all.len(), "{injection}");
                }
                let next = large.line(&record, &["--format", "json"]);
                let next = Cmd::new(next).run().ok().json();
                let read = next["layouts"][0]["verified"]["blobs"].as_u64();
                let left = (all.len() - known.len()) as u64;
                assert_eq!(read, Some(left + 2), "{injection}");
                assert_eq!(recorded(&record), all, "{injection}");
                let text = fs::read_to_string(&record).expect("it is there");
                assert_eq!(text.lines().count(), all.len(), "{injection}");
            }
        }
    }
    assert!(kills > 12, "only {kills} kills");
    count(&format!("a record: {kills} moments of a kill"));
    assert_same(
        &before,
        &snapshot(large.builder.path()),
        "only the record is written",
    );
}

/// A line that was truncated by a full disk is followed by complete ones.
#[test]
fn a_record_that_cannot_be_written_is_one_error_in_addition_to_the_findings() {
    if !has_strace() {
        return;
    }
    let large = Large::new();
    let damaged = &large.layers[7];
    fs::write(large.builder.join(&damaged.blob_path()), "LAYER 0007").expect("it can be written");
    for injection in [
        "write:error=ENOSPC:when=1",
        "write:error=ENOSPC:when=2",
        "fsync:error=EIO:when=1",
    ] {
        let record = large.record();
        fs::write(&record, "").expect("it can be written");
        let failed = Disturbed::on(&[&record], injection, &large.line(&record, &[]));
        assert_eq!(failed.faults, 1, "{}", failed.run.all());
        failed.run.exits(4).one_error_with_hint();
        failed
            .run
            .warns(&format!("cannot write `{}`", record.display()))
            .says(&damaged.digest)
            .says("damaged: 1 of 2502 blobs");
        let next = Cmd::new(large.line(&record, &[])).run();
        next.exits(1).says(&damaged.digest);
        let text = fs::read_to_string(&record).expect("it is there");
        assert_eq!(text.lines().count(), 2499);
    }
}

#[test]
fn a_full_disk_is_one_error_in_addition_to_the_findings() {
    let Some(mount) = Mount::tmpfs("4m") else {
        return;
    };
    let large = Large::new();
    let record = mount.path().join("record");
    let first = large.line(&record, &["--read-data-subset", "1%"]);
    Cmd::new(&first).run().ok();
    let ballast = mount.fill();
    let run = Cmd::new(large.line(&record, &[])).run();
    run.exits(4).one_error_with_hint();
    run.says("no damage in 2502 blobs");
    fs::remove_dir_all(ballast).expect("it is there");
    Cmd::new(large.line(&record, &[])).run().ok();
    assert_eq!(recorded(&record).len(), 2500);
}

/// A blob that was verified earlier and cannot be read now is no longer verified.
#[test]
fn a_blob_that_has_become_unreadable_is_read_by_the_next_run() {
    if !has_strace() {
        return;
    }
    let large = Large::new();
    let record = large.record();
    Cmd::new(large.line(&record, &[])).run().ok();
    let layer = &large.layers[7];
    let path = large.builder.join(&layer.blob_path());
    let line = large.line(&record, &["--read-data-subset", "100%"]);
    let failed = Disturbed::on(&[&path], "read:error=EIO:when=1", &line);
    assert_eq!(failed.faults, 1, "{}", failed.run.all());
    failed.run.exits(1).says(&layer.digest);
    assert!(!recorded(&record).contains(&layer.digest));
    let next = Cmd::new(large.line(&record, &["--format", "json"])).run();
    let read = &next.ok().json()["layouts"][0]["verified"]["blobs"];
    assert_eq!(*read, 3, "the layer, the manifest and its configuration");
}

/// The file that has the name of the record at the end is not the one that was read.
#[test]
fn a_record_that_another_program_replaced_is_not_overwritten() {
    if !has_strace() {
        return;
    }
    let large = Large::new();
    let record = large.record();
    Cmd::new(large.line(&record, &[])).run().ok();
    let log = large.temp.path().join("log");
    let line = large.line(&record, &["--read-data-subset", "100%"]);
    let delay = ["write:delay_enter=2000000:when=1"];
    let child = spawn(&log, &[&record], &delay, &line);
    let begun = Instant::now();
    // The first lines are about to be appended.
    while fs::read_to_string(&log).map_or(true, |log| !log.contains("write")) {
        assert!(begun.elapsed().as_secs() < 60, "nothing is written");
        std::thread::sleep(Duration::from_millis(20));
    }
    let other = large.temp.path().join("other");
    fs::write(&other, "other").expect("it can be written");
    fs::rename(&other, &record).expect("it can be renamed");
    let run = Run::wait("check".to_owned(), child);
    run.exits(4).one_error_with_hint();
    assert_eq!(fs::read_to_string(&record).expect("it is there"), "other");
}

#[test]
fn an_interrupted_run_records_what_it_has_verified() {
    if !has_strace() {
        return;
    }
    let large = Large::new();
    let record = large.record();
    // The first lines are appended after 1024 blobs.
    fs::write(&record, "").expect("it can be written");
    let line = large.line(&record, &[]);
    let stopped = Disturbed::on(&[&record], "fsync:signal=INT:when=1", &line);
    stopped.run.exits(130);
    let known = recorded(&record).len();
    assert!((1024..2500).contains(&known), "{known}");
    Cmd::new(large.line(&record, &[])).run().ok();
    assert_eq!(recorded(&record).len(), 2500);
}
