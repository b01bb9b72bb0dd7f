//! The audit log after crashes and on failing disks.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::commands::{Command, GC, PRUNE, RM};
use crate::strace::{Disturbed, Recording};
use crate::support::environment::{has_strace, memory_dir};
use crate::support::{FullLayout, assert_same, blobs, for_each, snapshot};

const COMMANDS: [Command; 3] = [GC, RM, PRUNE];

fn audited(command: Command, layout: &Path, log: &Path) -> Vec<OsString> {
    let mut words = command.on(layout);
    words.extend(["--audit-log".into(), log.into()]);
    words
}

fn events(log: &Path) -> Vec<(String, Option<String>)> {
    let text = fs::read_to_string(log).expect("there is a log");
    let lines = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("each line is JSON");
        let event = line["event"].as_str().expect("an event").to_owned();
        (event, line["digest"].as_str().map(str::to_owned))
    });
    lines.collect()
}

/// A run that is killed at its first deletion leaves a `begin` without an `end`, and a line for every deleted blob.
#[test]
fn a_crash_leaves_a_begin_without_an_end() {
    if !has_strace() {
        return;
    }
    for_each(
        COMMANDS,
        |command| format!("{command:?}"),
        |command| {
            let temp = memory_dir();
            let log = temp.path().join("audit.jsonl");
            let fixture = FullLayout::new();
            let before = blobs(fixture.path());
            let words = audited(*command, fixture.path(), &log);
            let recording = {
                let fixture = FullLayout::new();
                let log = temp.path().join("recorded.jsonl");
                let words = audited(*command, fixture.path(), &log);
                let recording = Recording::of(&["openat", "unlinkat"], &words);
                recording.numbers("unlinkat", fixture.path(), |call| {
                    let name = call.text.split('"').nth(1).unwrap_or_default();
                    name.len() == 64
                })
            };
            let first = recording.first().expect("it deletes a blob");
            let injection = format!("unlinkat:signal=KILL:when={}", first + 1);
            let killed = Disturbed::by(&injection, &words);
            assert_eq!(killed.run.code, None, "{}", killed.run.all());
            let events = events(&log);
            let after = blobs(fixture.path());
            let gone = before.keys().filter(|blob| !after.contains_key(*blob));
            let gone: Vec<&String> = gone.collect();
            assert!(!gone.is_empty(), "{events:?}");
            for blob in gone {
                let line = ("delete".to_owned(), Some(blob.clone()));
                assert!(events.contains(&line), "{blob}: {events:?}");
            }
            assert_eq!(events[0].0, "begin");
            assert!(events.iter().all(|(event, _)| event != "end"), "{events:?}");
        },
    );
}

/// A line that is not on disk does not count: without `begin`, nothing is changed.
#[test]
fn a_begin_that_cannot_be_flushed_stops_the_run() {
    if !has_strace() {
        return;
    }
    for_each(
        COMMANDS.into_iter().flat_map(|command| {
            ["fsync:error=EIO:when=1", "write:error=ENOSPC:when=1"]
                .map(|injection| (command, injection))
        }),
        |case| format!("{case:?}"),
        |(command, injection)| {
            let temp = memory_dir();
            let log = temp.path().join("audit.jsonl");
            fs::write(&log, "").expect("a file can be written");
            let fixture = FullLayout::new();
            let before = snapshot(fixture.path());
            let words = audited(*command, fixture.path(), &log);
            let failed = Disturbed::on(&[&log], injection, &words);
            assert_eq!(failed.faults, 1, "{}", failed.run.all());
            failed
                .run
                .exits(4)
                .warns(&format!("cannot write `{}`", log.display()));
            let differences = crate::support::without_directory_times(&snapshot(fixture.path()));
            let before = crate::support::without_directory_times(&before);
            assert_same(&before, &differences, &failed.run.all());
        },
    );
}

/// The change cannot be reverted afterwards: the run completes, reports what is missing in the log, and fails.
#[test]
fn an_end_that_cannot_be_flushed_fails_the_run() {
    if !has_strace() {
        return;
    }
    let temp = memory_dir();
    let log = temp.path().join("audit.jsonl");
    fs::write(&log, "").expect("a file can be written");
    let fixture = FullLayout::new();
    let words = audited(GC, fixture.path(), &log);
    let failed = Disturbed::on(&[&log], "fsync:error=EIO:when=2", &words);
    failed
        .run
        .exits(4)
        .warns("cannot write the end of a run to")
        .says("Total reclaimed space:");
}
