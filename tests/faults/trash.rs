//! SIGKILL and errors at every changing system call of runs that fill, undo and empty the trash.
//!
//! After each of them every named image is intact, every blob is in the layout or in the trash, and a second run of the same
//! command completes the work.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use ocisweep::Snapshot;
use ocisweep::layout::trash::TrashOptions;
use ocisweep::plan::{Plan, SweepOptions};

use crate::kill::{CHANGING, changes, count, is_taken};
use crate::stops::{Make, gc, perform, rm};
use crate::strace::{Disturbed, Recording, args};
use crate::support::environment::has_strace;
use crate::support::extent::takes;
use crate::support::{Cmd, Files, FullLayout, Stopping, Way};

/// A command into which faults are injected, on a prepared layout.
struct Case {
    /// Preceding commands.
    before: &'static [&'static [&'static str]],
    /// The command: its name, then the arguments after the layout.
    command: &'static [&'static str],
    /// `true` if it deletes blobs in the trash.
    empties: bool,
}

const GC: &[&str] = &["gc", "--trash", "--grace", "0", "--temp-age", "1000d"];
const RM: &[&str] = &["rm", "--trash", "--grace", "0", "-f", "app:1", "multi:1"];
const DROP: &[&str] = &[
    "rm",
    "--trash",
    "--grace",
    "0",
    "multi:1",
    "--platform",
    "linux/arm64",
];
const PRUNE: &[&str] = &[
    "prune",
    "--trash",
    "-a",
    "-f",
    "--keep",
    "multi:*",
    "--grace",
    "0",
    "--temp-age",
    "1000d",
];
const UNDO: &[&str] = &["undo"];
const EMPTY: &[&str] = &["trash empty"];

/// The trash options of a run in this process.
fn options() -> TrashOptions {
    TrashOptions {
        keep: Duration::from_secs(1000),
        command: "a test".to_owned(),
    }
}

fn gc_trashing(view: &Snapshot, options_of_gc: &SweepOptions) -> Plan {
    gc(view, options_of_gc).trashing(&options())
}

fn rm_trashing(view: &Snapshot, options_of_rm: &SweepOptions) -> Plan {
    rm(view, options_of_rm).trashing(&options())
}

/// Lists the lost image of the fixture, as a writer without a lock that has found its blobs does.
fn list_lost(layout: &Path) {
    let path = layout.join("index.json");
    let text = std::fs::read_to_string(&path).expect("it is there");
    let mut index: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let twin = FullLayout::new();
    let lost = &twin.orphans[0];
    let entry = serde_json::json!({
        "mediaType": lost.media_type, "digest": lost.digest, "size": lost.size,
        "annotations": {"org.opencontainers.image.ref.name": "lost:1"},
    });
    let list = index["manifests"].as_array_mut().expect("a list");
    if !list.iter().any(|known| known["digest"] == entry["digest"]) {
        list.push(entry);
        std::fs::write(&path, index.to_string()).expect("it can be written");
    }
}

/// A writer that uses an old orphan again, right before or after any call of a sweep: with a trash nothing is lost.
#[test]
fn an_orphan_that_is_listed_during_a_sweep_is_restored() {
    for make in [gc_trashing as Make, rm_trashing] {
        let recorded = FullLayout::new();
        let fs = Stopping::new(Way::Dies, 0, recorded.path());
        let outcome = perform(recorded.path(), make, &fs).expect("nothing panics");
        outcome.expect("nothing fails");
        let calls = fs.calls();
        let mut restored = 0;
        for number in 1..=calls.len() {
            for way in [Way::Meets(list_lost), Way::Then(list_lost)] {
                let fixture = FullLayout::new();
                let blobs = places(&Files::of(fixture.path()));
                let fs = Stopping::new(way, number, fixture.path());
                let result = perform(fixture.path(), make, &fs).expect("nothing panics");
                let context = format!("{way:?} {number} {:?}: {result:?}", calls[number - 1]);
                if let Ok(outcome) = &result {
                    restored += outcome.restored.len();
                    assert!(outcome.concurrent.broken.is_empty(), "{context}");
                }
                let files = Files::of(fixture.path());
                assert!(files.broken().is_empty(), "{:?}\n{context}", files.broken());
                let lost: Vec<_> = blobs.difference(&places(&files)).cloned().collect();
                assert!(lost.is_empty(), "in neither place: {lost:?}\n{context}");
            }
        }
        // The blobs that `rm` moves are not part of the lost image.
        let is_gc = !calls.iter().any(|call| call == "replace index.json");
        assert!(restored > 0 || !is_gc, "{calls:?}");
    }
}

/// Stopped at any call of this process, below every system call.
#[test]
fn a_run_with_a_trash_can_stop_at_any_call() {
    for make in [gc_trashing as Make, rm_trashing] {
        let recorded = FullLayout::new();
        let fs = Stopping::new(Way::Dies, 0, recorded.path());
        let outcome = perform(recorded.path(), make, &fs).expect("nothing panics");
        outcome.expect("nothing fails");
        for number in 1..=fs.calls().len() {
            let ways = [
                Way::Dies,
                Way::Fails,
                Way::Lies,
                Way::Panics,
                Way::Fills,
                Way::StaysFull,
            ];
            for (turn, way) in ways.into_iter().enumerate() {
                if !takes(turn.wrapping_add(number), 2, 1) {
                    continue;
                }
                let fixture = FullLayout::new();
                let start = Files::of(fixture.path());
                let blobs = places(&start);
                let fs = Stopping::new(way, number, fixture.path());
                let result = perform(fixture.path(), make, &fs);
                let mut context = format!("{way:?} {number}: {result:?}\n{:?}", fs.calls());
                let files = Files::of(fixture.path());
                assert!(files.broken().is_empty(), "{:?}\n{context}", files.broken());
                let lost: Vec<_> = blobs.difference(&places(&files)).cloned().collect();
                assert!(lost.is_empty(), "in neither place: {lost:?}\n{context}");
                undo_all(fixture.path(), &start, &mut context);
            }
        }
    }
}

fn line(command: &[&str], layout: &Path) -> Vec<OsString> {
    let (name, rest) = command.split_first().expect("a command has a name");
    let mut words = args(name.split(' '));
    words.push(layout.into());
    words.extend(args(rest));
    words
}

impl Case {
    fn fixture(&self) -> FullLayout {
        let fixture = FullLayout::new();
        for command in self.before {
            Cmd::new(line(command, fixture.path())).run().ok();
        }
        fixture
    }

    /// Panics unless every named image is intact, and nothing is lost.
    #[track_caller]
    fn check(&self, layout: &Path, blobs: &BTreeSet<String>, context: &str) {
        let files = Files::of(layout);
        let broken = files.broken();
        assert!(broken.is_empty(), "{broken:?}\n{context}");
        if !self.empties {
            let lost: Vec<_> = blobs.difference(&places(&files)).cloned().collect();
            assert!(lost.is_empty(), "in neither place: {lost:?}\n{context}");
        }
    }

    fn survives(&self, faults: &[&str], is_sample: bool) {
        if !has_strace() {
            return;
        }
        let recorded = self.fixture();
        let blobs = places(&Files::of(recorded.path()));
        let start = Files::of(recorded.path());
        let recording = Recording::of(&CHANGING, &line(self.command, recorded.path()));
        recording.run.ok();
        let end = named(recorded.path());
        let mut done = 0_usize;
        for name in CHANGING {
            for number in recording.numbers(name, recorded.path(), changes) {
                for fault in faults {
                    done += 1;
                    if !is_taken(done, is_sample) {
                        continue;
                    }
                    let fixture = self.fixture();
                    let injection = format!("{name}:{fault}:when={number}");
                    let disturbed = Disturbed::by(&injection, &line(self.command, fixture.path()));
                    let mut context = format!("{injection}\n{}", disturbed.run.all());
                    self.check(fixture.path(), &blobs, &context);
                    let again = Cmd::new(line(self.command, fixture.path())).run();
                    context = format!("{context}\nthen\n{}", again.all());
                    assert!(matches!(again.code, Some(0 | 1)), "{context}");
                    self.check(fixture.path(), &blobs, &context);
                    assert_eq!(named(fixture.path()), end, "{context}");
                    if self.command.contains(&"--trash") {
                        undo_all(fixture.path(), &start, &mut context);
                    }
                }
            }
        }
        assert!(done > 4, "only {done} faults\n{}", recording.all());
        count(&format!("{:?}: {done} faults", self.command));
    }
}

/// Undoes every run, the last one first, and panics unless each file is restored.
#[track_caller]
fn undo_all(layout: &Path, start: &Files, context: &mut String) {
    let list = Cmd::new(["trash", "ls", "--format", "json"])
        .arg(layout)
        .run();
    let report = list.ok().json();
    let runs = report.pointer("/runs").and_then(|runs| runs.as_array());
    for run in runs.expect("a list").iter().rev() {
        let name = run["run"].as_str().expect("a name");
        let undo = Cmd::new(["undo"]).arg(layout).arg(name).run();
        *context = format!("{context}\nthen\n{}", undo.all());
        assert_eq!(undo.code, Some(0), "{context}");
    }
    let now = Files::of(layout);
    for path in start.paths() {
        let is_own = path.starts_with(".ocisweep") || path.ends_with(".lock");
        let is_temporary = !path.starts_with("blobs/") && start.get(path) == Some(b"half a blob");
        if !is_own && !is_temporary && start.get(path) != Some(b"half a blob") {
            assert!(now.get(path) == start.get(path), "{path}\n{context}");
        }
    }
}

/// Returns the names of blobs, in the layout and in the trash.
fn places(files: &Files) -> BTreeSet<String> {
    let paths = files.paths();
    let blobs = paths.into_iter().filter_map(|path| {
        let name = path.rsplit('/').next()?;
        let is_blob = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_blob.then(|| name.to_owned())
    });
    blobs.collect()
}

/// Returns `index.json`.
fn named(layout: &Path) -> Vec<u8> {
    let files = Files::of(layout);
    files.get("index.json").expect("it is there").to_vec()
}

const KILL: &[&str] = &["signal=KILL"];
const ERRORS: &[&str] = &["error=EIO", "error=ENOSPC", "error=EACCES"];

macro_rules! cases {
    ($($kill:ident, $fail:ident: $before:expr, $command:expr, $empties:expr;)*) => {$(
        #[test]
        fn $kill() {
            Case { before: $before, command: $command, empties: $empties }.survives(KILL, false);
        }

        #[test]
        fn $fail() {
            Case { before: $before, command: $command, empties: $empties }.survives(ERRORS, true);
        }
    )*};
}

cases! {
    gc_can_be_killed, calls_of_gc_can_fail: &[], GC, false;
    rm_can_be_killed, calls_of_rm_can_fail: &[], RM, false;
    dropping_a_platform_can_be_killed, calls_of_dropping_a_platform_can_fail: &[], DROP, false;
    prune_can_be_killed, calls_of_prune_can_fail: &[], PRUNE, false;
    undo_can_be_killed, calls_of_undo_can_fail: &[RM], UNDO, false;
    undoing_a_rewrite_can_be_killed, calls_of_undoing_a_rewrite_can_fail: &[DROP], UNDO, false;
    emptying_can_be_killed, calls_of_emptying_can_fail: &[GC, RM], EMPTY, true;
}
