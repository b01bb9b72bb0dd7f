//! SIGKILL and errors at every changing system call of runs that fill, undo and empty the trash of shared blobs.
//!
//! After each of them every image that is named in any of the layouts is intact, every blob is in the store or in its trash,
//! and a second run of the same command completes the work.

use std::collections::BTreeSet;
use std::ffi::OsString;

use crate::kill::{CHANGING, changes, count, is_taken};
use crate::pools::{Commune, NAMES};
use crate::strace::{Disturbed, Recording, args};
use crate::support::environment::has_strace;
use crate::support::{Cmd, Files};

/// A command over shared blobs into which faults are injected.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// A preceding command.
    before: Option<&'static [&'static str]>,
    command: &'static [&'static str],
}

const GC: &[&str] = &["gc", "--trash", "--grace", "0", "--temp-age", "1000d"];
const PRUNE: &[&str] = &[
    "prune",
    "--trash",
    "--all",
    "--force",
    "--keep",
    "stays:*",
    "--grace",
    "0",
    "--temp-age",
    "1000d",
];
const UNDO: &[&str] = &["undo"];
const EMPTY: &[&str] = &["trash", "empty"];

fn line(command: &[&str], commune: &Commune) -> Vec<OsString> {
    let mut words = args(command.iter().copied());
    words.extend(["--shared-blobs".into(), commune.pool().into()]);
    if command != EMPTY {
        words.extend(NAMES.map(|name| commune.layout(name).into()));
    }
    words
}

/// Returns the names of blobs in the store and in its trash.
fn places(commune: &Commune) -> BTreeSet<String> {
    let files = Files::of(&commune.pool());
    let paths = files.paths();
    let names = paths.into_iter().filter_map(|path| {
        let name = path.rsplit('/').next()?;
        (name.len() == 64).then(|| name.to_owned())
    });
    names.collect()
}

/// Returns `index.json` of each layout.
fn indexes(commune: &Commune) -> [Vec<u8>; 2] {
    NAMES.map(|name| {
        let path = commune.layout(name).join("index.json");
        std::fs::read(path).expect("it is there")
    })
}

/// Returns the blobs in the store, and the entries of each layout.
fn picture(commune: &Commune) -> (Files, [Vec<u8>; 2]) {
    let files = Files::of(&commune.pool());
    let own: Vec<String> = files
        .paths()
        .into_iter()
        .filter(|path| path.starts_with(".ocisweep"))
        .map(str::to_owned)
        .collect();
    let files = own
        .iter()
        .fold(files, |files, path| files.without_file(path));
    (files, indexes(commune))
}

impl Case {
    fn commune(self) -> Commune {
        let commune = Commune::new();
        if let Some(before) = self.before {
            Cmd::new(line(before, &commune)).run().ok();
        }
        commune
    }

    #[track_caller]
    fn check(self, commune: &Commune, blobs: &BTreeSet<String>, context: &str) {
        for name in NAMES {
            let files = Files::in_pool(&commune.layout(name), &commune.pool());
            let broken = files.broken();
            assert!(broken.is_empty(), "{name}: {broken:?}\n{context}");
        }
        if self.command != EMPTY {
            let lost: Vec<_> = blobs.difference(&places(commune)).cloned().collect();
            assert!(lost.is_empty(), "in neither place: {lost:?}\n{context}");
        }
    }

    fn survives(self, faults: &[&str], is_sample: bool) {
        if !has_strace() {
            return;
        }
        let recorded = self.commune();
        let blobs = places(&recorded);
        let start = picture(&recorded);
        let recording = Recording::of(&CHANGING, &line(self.command, &recorded));
        recording.run.ok();
        let end = indexes(&recorded);
        let mut done = 0_usize;
        for name in CHANGING {
            for number in recording.numbers(name, &recorded.pool(), changes) {
                for fault in faults {
                    done += 1;
                    if !is_taken(done, is_sample) {
                        continue;
                    }
                    let commune = self.commune();
                    let injection = format!("{name}:{fault}:when={number}");
                    let disturbed = Disturbed::by(&injection, &line(self.command, &commune));
                    let mut context = format!("{injection}\n{}", disturbed.run.all());
                    self.check(&commune, &blobs, &context);
                    let again = Cmd::new(line(self.command, &commune)).run();
                    context = format!("{context}\nthen\n{}", again.all());
                    assert!(matches!(again.code, Some(0 | 1)), "{context}");
                    self.check(&commune, &blobs, &context);
                    assert_eq!(indexes(&commune), end, "{context}");
                    if self.command.contains(&"--trash") {
                        undo_all(&commune, &start, &mut context);
                    }
                }
            }
        }
        assert!(done > 4, "only {done} faults\n{}", recording.all());
        count(&format!("{:?} with a pool: {done} faults", self.command));
    }
}

/// Undoes every run, the last one first, and panics unless everything is restored.
#[track_caller]
fn undo_all(commune: &Commune, start: &(Files, [Vec<u8>; 2]), context: &mut String) {
    let list = ["trash", "ls", "--format", "json", "--shared-blobs"];
    let list = Cmd::new(list).arg(commune.pool()).run();
    let report = list.ok().json();
    let runs = report["runs"].as_array().expect("a list");
    for run in runs.iter().rev() {
        let name = run["run"].as_str().expect("a name");
        let undo = Cmd::new(line(&["undo", "--run", name], commune)).run();
        *context = format!("{context}\nthen\n{}", undo.all());
        assert_eq!(undo.code, Some(0), "{context}");
    }
    let now = picture(commune);
    let differences = now.0.differences(&start.0);
    assert!(differences.is_empty(), "{differences}\n{context}");
    assert_eq!(now.1, start.1, "{context}");
}

const KILL: &[&str] = &["signal=KILL"];
const ERRORS: &[&str] = &["error=EIO", "error=ENOSPC", "error=EACCES"];

macro_rules! cases {
    ($($kill:ident, $fail:ident: $before:expr, $command:expr;)*) => {$(
        #[test]
        fn $kill() {
            Case { before: $before, command: $command }.survives(KILL, false);
        }

        #[test]
        fn $fail() {
            Case { before: $before, command: $command }.survives(ERRORS, true);
        }
    )*};
}

cases! {
    gc_can_be_killed, calls_of_gc_can_fail: None, GC;
    prune_can_be_killed, calls_of_prune_can_fail: None, PRUNE;
    undo_can_be_killed, calls_of_undo_can_fail: Some(PRUNE), UNDO;
    emptying_can_be_killed, calls_of_emptying_can_fail: Some(PRUNE), EMPTY;
}
