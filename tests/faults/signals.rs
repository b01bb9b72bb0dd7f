//! SIGINT and SIGTERM in the middle of a sweep.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use tempfile::NamedTempFile;

use crate::commands::{Command, GC, RM};
use crate::judge::LOCK;
use crate::stall::{Stalled, process_of};
use crate::strace::{Call, Disturbed, Recording, args, spawn};
use crate::support::environment::has_strace;
use crate::support::{Cmd, Files, FullLayout, Run, blobs};

/// Enough for four threads and more than one batch.
const MANY: usize = 5000;

fn deleted(run: &Run) -> BTreeSet<String> {
    run.stdout
        .lines()
        .filter_map(|line| line.strip_prefix("Deleted: sha256:"))
        .map(|hex| format!("sha256:{hex}"))
        .collect()
}

/// Returns which `unlinkat` deletes the second blob: temporary files are removed in the same way before.
fn second_deletion(command: &Command) -> u32 {
    let fixture = command.fixture();
    let recording = Recording::of(&["openat", "unlinkat"], &command.on(fixture.path()));
    let is_blob = |call: &Call| {
        let name = call.text.split('"').nth(1).unwrap_or_default();
        name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let numbers = recording.numbers("unlinkat", fixture.path(), is_blob);
    *numbers
        .get(1)
        .unwrap_or_else(|| panic!("{}", recording.all()))
}

#[test]
fn a_signal_takes_effect_at_the_next_file_and_freed_bytes_are_printed() {
    if !has_strace() {
        return;
    }
    for command in [GC, RM] {
        for signal in ["INT", "TERM"] {
            let judge = command.judge();
            let fixture = command.fixture();
            let before = blobs(fixture.path());
            let second = second_deletion(&command);
            // To the thread that makes the call: another one might handle it when this one is already at the next file.
            let injection = format!("unlinkat:signal={signal}:when={second}");
            let run = Disturbed::by(&injection, &command.on(fixture.path())).run;
            run.exits(130);
            let after = blobs(fixture.path());
            let gone: BTreeSet<_> = before
                .keys()
                .filter(|blob| !after.contains_key(*blob))
                .cloned()
                .collect();
            assert!(matches!(gone.len(), 1 | 2), "{}", run.all());
            assert_eq!(deleted(&run), gone, "{}", run.all());
            let bytes: u64 = gone.iter().map(|blob| before[blob]).sum();
            run.ends_with_line(&format!("Total reclaimed space: {bytes}B"));
            assert!(!fixture.builder.join(LOCK).exists(), "{}", run.all());
            judge.check(fixture.path(), &run.all());
            command.finishes(fixture.path(), &judge, &run.all());
        }
    }
}

#[test]
fn a_second_signal_ends_the_run_immediately() {
    if !has_strace() {
        return;
    }
    for command in [GC, RM] {
        // Both signals are delivered when the run continues, and if two threads handle them at the same time, neither is the
        // second.
        let ended_at_once = (0..20).any(|_| {
            let judge = command.judge();
            let fixture = command.fixture();
            let stalled = Stalled::after("unlinkat", 2, &command.on(fixture.path()));
            let stalled = stalled.expect("it deletes more than two files");
            stalled.signal(Signal::INT);
            stalled.signal(Signal::TERM);
            let run = stalled.go_on();
            assert!(matches!(run.code, None | Some(130)), "{}", run.all());
            judge.check(fixture.path(), &run.all());
            command.finishes(fixture.path(), &judge, &run.all());
            run.code.is_none()
        });
        assert!(ended_at_once, "{command:?} is never ended early");
    }
}

#[test]
fn a_signal_before_the_new_index_changes_nothing() {
    if !has_strace() {
        return;
    }
    let commands: [Command; 2] = [GC, RM];
    for command in commands {
        let fixture = command.fixture();
        let before = Files::of(fixture.path());
        let stalled = Stalled::after("getdents64", 1, &command.on(fixture.path()));
        let stalled = stalled.expect("it lists blobs");
        stalled.signal(Signal::INT);
        let run = stalled.go_on();
        run.exits(130);
        let differences = Files::of(fixture.path()).differences(&before);
        assert!(differences.is_empty(), "{differences}\n{}", run.all());
    }
}

#[test]
fn an_interrupted_large_sweep_is_finished_by_the_next() {
    if !has_strace() {
        return;
    }
    let fixture = FullLayout::new();
    Cmd::new(GC.on(fixture.path())).run().ok();
    let live = blobs(fixture.path());
    for number in 0..MANY {
        fixture.builder.layer(format!("orphan {number}").as_bytes());
    }
    let log = NamedTempFile::new().expect("a temporary file can be made");
    let words = args(GC.on(fixture.path()));
    // Each deletion takes a millisecond, so that there is time to stop.
    let mut child = spawn(log.path(), &[], &["unlinkat:delay_enter=1000"], &words);
    let pool = fixture.builder.join("blobs/sha256");
    let count = || {
        std::fs::read_dir(&pool)
            .expect("the pool can be listed")
            .count()
    };
    while count() > live.len() + MANY - 200 {
        assert!(
            child
                .try_wait()
                .expect("a child can be waited for")
                .is_none(),
            "it ended early"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let text = std::fs::read_to_string(log.path()).expect("the log of strace can be read");
    let thread = text.split(' ').next().unwrap_or_default();
    let program = process_of(thread).expect("the program runs");
    kill_process(program, Signal::INT).expect("the program runs");
    let run = Run::wait("gc of many, stopped".to_owned(), child);
    run.exits(130);
    let left = blobs(fixture.path());
    assert!(
        left.len() > live.len(),
        "there is nothing left to interrupt"
    );
    assert_eq!(
        deleted(&run).len(),
        live.len() + MANY - left.len(),
        "{}",
        run.stderr
    );
    assert!(
        deleted(&run).iter().all(|blob| !left.contains_key(blob)),
        "{}",
        run.stderr
    );
    Cmd::new(GC.on(fixture.path())).run().ok();
    assert_eq!(blobs(fixture.path()), live);
}
