//! Layouts that share blobs: after a fault, each of them is intact.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::errors::{ERRORS, READING, is_wanted, says_why};
use crate::judge::Judge;
use crate::kill::{CHANGING, changes, count, is_taken};
use crate::strace::{Call, Disturbed, Recording, args};
use crate::support::environment::{has_strace, memory_dir};
use crate::support::samples::make_old;
use crate::support::{Cmd, Files, LayoutBuilder, for_each, media};

pub(crate) const NAMES: [&str; 2] = ["one", "two"];

/// A command line, without the shared blobs and the layouts.
const GC: &[&str] = &["gc", "--grace", "0", "--temp-age", "0s"];
const PRUNE: &[&str] = &[
    "prune",
    "--all",
    "--force",
    "--keep",
    "stays:*",
    "--grace",
    "0",
    "--temp-age",
    "0s",
];

/// Two layouts with an image that is kept and one that may be removed, which share some of their layers; a signature that nothing
/// lists; orphans; and a temporary file of a writer in each.
pub(crate) struct Commune {
    directory: TempDir,
}

impl Commune {
    pub(crate) fn new() -> Self {
        let directory = memory_dir();
        let commune = Self { directory };
        let pool = commune.pool().join("sha256");
        fs::create_dir_all(&pool).expect("the pool can be made");
        for name in NAMES {
            let mut layout = LayoutBuilder::at(&commune.layout(name));
            let own = format!("layer of {name}");
            let stays = layout.image("linux/amd64", name, &[b"base layer", own.as_bytes()]);
            let goes = layout.image("linux/arm64", name, &[b"base layer", b"old layer"]);
            layout.referrer(&stays.manifest, media::STRANGE, own.as_bytes());
            layout.layer(format!("orphan of {name}").as_bytes());
            layout
                .tag(&stays.manifest, "stays:1")
                .tag(&goes.manifest, "goes:1")
                .file("oci-put-blob123456789", b"half a blob")
                .write();
            let own = layout.join("blobs/sha256");
            for blob in fs::read_dir(&own).expect("it has blobs") {
                let blob = blob.expect("it has blobs");
                fs::rename(blob.path(), pool.join(blob.file_name())).expect("it can be moved");
            }
            fs::remove_dir(&own).expect("it is empty");
        }
        make_old(commune.directory.path());
        commune
    }

    pub(crate) fn pool(&self) -> PathBuf {
        self.directory.path().join("pool")
    }

    pub(crate) fn layout(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn on(&self, command: &[&str]) -> Vec<OsString> {
        let mut words = args(command);
        words.extend(["--shared-blobs".into(), self.pool().into()]);
        words.extend(NAMES.map(|name| self.layout(name).into()));
        words
    }

    /// Reads each layout as if the shared blobs were its own.
    fn files(&self) -> [Files; 2] {
        NAMES.map(|name| Files::in_pool(&self.layout(name), &self.pool()))
    }
}

/// Runs the command undisturbed, and returns a judge for each layout.
fn judges(command: &[&str]) -> Vec<Judge> {
    let commune = Commune::new();
    let before = commune.files();
    let run = Cmd::new(commune.on(command)).run();
    run.ok();
    let after = commune.files();
    assert_ne!(before, after, "it does nothing\n{}", run.all());
    before
        .into_iter()
        .zip(after)
        .map(|(before, after)| Judge {
            before,
            settled: after.clone(),
            after,
            sparse: Default::default(),
        })
        .collect()
}

/// Panics unless every layout is valid after a fault, and a second run has the result of an undisturbed one.
#[track_caller]
fn check(commune: &Commune, command: &[&str], judges: &[Judge], context: &str) {
    for (judge, now) in judges.iter().zip(commune.files()) {
        judge.check_files(&now, context);
    }
    let again = Cmd::new(commune.on(command)).run();
    let context = format!("{context}\nthen\n{}", again.all());
    assert_eq!(again.code, Some(0), "{context}");
    for (judge, now) in judges.iter().zip(commune.files()) {
        let differences = now.differences(&judge.settled);
        assert!(
            differences.is_empty(),
            "the result differs from that of a run without the fault:\n{differences}\n{context}"
        );
    }
}

fn can_be_killed(command: &[&str]) {
    if !has_strace() {
        return;
    }
    let judges = judges(command);
    let recorded = Commune::new();
    let recording = Recording::of(&CHANGING, &recorded.on(command));
    recording.run.ok();
    let mut kills = 0_usize;
    for name in CHANGING {
        for number in recording.numbers(name, &recorded.pool(), changes) {
            kills += 1;
            if !is_taken(kills, false) {
                continue;
            }
            let commune = Commune::new();
            let injection = format!("{name}:signal=KILL:when={number}");
            let killed = Disturbed::by(&injection, &commune.on(command));
            let context = format!("{injection}\n{}", killed.run.all());
            assert_eq!(killed.run.code, None, "it was not killed\n{context}");
            check(&commune, command, &judges, &context);
        }
    }
    assert!(kills > 10, "only {kills} kills\n{}", recording.all());
    count(&format!(
        "{command:?} with a pool: {kills} moments of a kill"
    ));
}

/// Injects every error into every call, or a sample of both, one after another.
fn no_error_loses_anything(command: &[&str]) {
    if !has_strace() {
        return;
    }
    let judges = judges(command);
    let names: Vec<&str> = CHANGING.into_iter().chain(READING).collect();
    let recorded = Commune::new();
    let recording = Recording::of(&names, &recorded.on(command));
    recording.run.ok();
    let mut faults = Vec::new();
    let mut calls = Vec::new();
    for name in names {
        let wanted = |call: &Call| call.name != "fcntl" || call.text.contains("F_GETLK");
        for number in recording.numbers(name, &recorded.pool(), wanted) {
            calls.push(format!("{name}:when={number}"));
        }
    }
    for (turn, call) in calls.into_iter().enumerate() {
        for (position, (error, words)) in ERRORS.into_iter().enumerate() {
            if is_wanted(turn, position) {
                faults.push((format!("{call}:error={error}"), words));
            }
        }
    }
    let happened = faults.len();
    for_each(
        faults,
        |(injection, _)| format!("{command:?} {injection}"),
        |(injection, words)| {
            let commune = Commune::new();
            let failed = Disturbed::by(injection, &commune.on(command));
            let run = failed.run;
            let context = run.all();
            assert_ne!(failed.faults, 0, "nothing went wrong\n{context}");
            match run.code {
                // The call does not matter, or was retried; or the next sweep does the rest.
                Some(0) => {}
                Some(1 | 4) => assert!(says_why(&run, words), "no cause\n{context}"),
                Some(3) => {
                    assert!(says_why(&run, words), "no cause\n{context}");
                    for (judge, now) in judges.iter().zip(commune.files()) {
                        let differences = now.without_lock().differences(&judge.before);
                        assert!(
                            differences.is_empty(),
                            "refused, but:\n{differences}\n{context}"
                        );
                    }
                }
                _ => panic!("no such exit status is promised\n{context}"),
            }
            if injection.contains("EINTR") {
                assert_eq!(
                    run.code,
                    Some(0),
                    "an interrupted call is no error\n{context}"
                );
            }
            check(&commune, command, &judges, &context);
        },
    );
    assert!(happened > 15, "only {happened} faults\n{}", recording.all());
    count(&format!("{command:?} with a pool: {happened} faults"));
}

#[test]
fn a_sweep_of_shared_blobs_can_be_killed_at_any_call() {
    can_be_killed(GC);
}

#[test]
fn a_prune_of_shared_blobs_can_be_killed_at_any_call() {
    can_be_killed(PRUNE);
}

#[test]
fn no_error_in_a_sweep_of_shared_blobs_loses_anything() {
    no_error_loses_anything(GC);
}

#[test]
fn no_error_in_a_prune_of_shared_blobs_loses_anything() {
    no_error_loses_anything(PRUNE);
}
