//! An error from every system call that reads or changes something.

use std::cell::Cell;
use std::path::Path;

use crate::commands::{
    APPLY, Command, GC, HOLD_ADD, HOLD_RM, PRUNE, RM, RM_ALL, RM_PLATFORM, RM_SPARSE,
};
use crate::judge::Judge;
use crate::kill::{CHANGING, count};
use crate::strace::{Call, Disturbed, Recording};
use crate::support::environment::has_strace;
use crate::support::extent::{Extent, every, extent};
use crate::support::samples::STALE_FILES;
use crate::support::{Files, FullLayout, Run, for_each};

/// Every system call that reads something.
pub(crate) const READING: [&str; 7] = [
    "getdents64",
    "read",
    "fstat",
    "newfstatat",
    "fstatfs",
    "fcntl",
    "readlink",
];

/// The errors that may occur, and their messages.
pub(crate) const ERRORS: [(&str, &str); 6] = [
    ("EIO", "Input/output error"),
    ("ENOSPC", "No space left on device"),
    ("EACCES", "Permission denied"),
    ("EROFS", "Read-only file system"),
    ("EMFILE", "Too many open files"),
    ("EINTR", "Interrupted system call"),
];

/// Returns `true` if a call should fail with an error: unless all are tested, some calls fail, each with one of the errors.
pub(crate) fn is_wanted(turn: usize, position: usize) -> bool {
    let step = every(10, 5);
    extent() == Extent::All || turn.is_multiple_of(step) && turn / step % ERRORS.len() == position
}

/// A fault.
#[derive(Debug)]
struct Fault {
    /// The file concerned, relative to the layout; `None`: any file.
    file: Option<String>,
    /// The call that fails, in the syntax of `strace`.
    injection: String,
    /// The message of the system.
    words: &'static str,
}

/// Injects every error into every call, or a sample of both, one after another.
fn survives(command: Command) {
    if !has_strace() {
        return;
    }
    let names: Vec<&str> = CHANGING.into_iter().chain(READING).collect();
    let recorded = command.fixture();
    let recording = Recording::of(&names, &command.on(recorded.path()));
    recording.run.ok();
    let mut calls = Vec::new();
    for name in &names {
        let wanted = |call: &Call| call.name != "fcntl" || call.text.contains("F_GETLK");
        for number in recording.numbers(name, recorded.path(), wanted) {
            calls.push((None, format!("{name}:when={number}")));
        }
    }
    // From some point on, no call of that kind works. If nothing can be written, the cause cannot be printed either; full
    // file systems test that.
    for name in ["openat", "fsync", "renameat2", "unlinkat"] {
        for number in recording.numbers(name, recorded.path(), |_| true) {
            calls.push((None, format!("{name}:when={number}+")));
        }
    }
    // Documents are read by another thread, whose calls have the same numbers as those of the main thread.
    let files = Files::of(recorded.path());
    for path in files.paths() {
        for name in ["openat", "fstat", "read", "newfstatat", "unlinkat"] {
            calls.push((Some(path.to_owned()), name.to_owned()));
        }
    }
    let mut faults = Vec::new();
    for (turn, (file, call)) in calls.into_iter().enumerate() {
        for (position, (error, words)) in ERRORS.into_iter().enumerate() {
            // A call that fails on every retry would be retried for ever.
            let is_endless = (file.is_some() || call.ends_with('+')) && error == "EINTR";
            if !is_endless && is_wanted(turn, position) {
                faults.push(Fault {
                    file: file.clone(),
                    injection: format!("{call}:error={error}"),
                    words,
                });
            }
        }
    }
    let said = in_other_words(&recording.run, recorded.path());
    let judge = command.judge();
    let (happened, survived) = (Cell::new(0_usize), Cell::new(0_usize));
    for_each(
        faults,
        |fault| format!("{command:?} {fault:?}"),
        |fault| {
            if let Some(run) = happens(fault, &command, &judge, &said) {
                happened.set(happened.get() + 1);
                survived.set(survived.get() + usize::from(run.code == Some(0)));
            }
        },
    );
    let (happened, survived) = (happened.get(), survived.get());
    assert!(happened > 7, "only {happened} faults\n{}", recording.all());
    count(&format!(
        "{command:?}: {happened} faults, {survived} of them without consequence"
    ));
}

/// Injects one fault, and panics if anything is lost or misreported. `None`: it did not occur, since no such call is made.
fn happens(
    fault: &Fault,
    command: &Command,
    judge: &Judge,
    undisturbed: &(String, String),
) -> Option<Run> {
    let fixture = command.fixture();
    let absolute = fault.file.as_deref().map(|file| fixture.builder.join(file));
    // The program names files relative to an open directory.
    let name = absolute.as_deref().and_then(|path| path.file_name());
    let files: Vec<&Path> = absolute
        .as_deref()
        .into_iter()
        .chain(name.map(Path::new))
        .collect();
    let failed = Disturbed::on(&files, &fault.injection, &command.on(fixture.path()));
    if fault.file.is_some() && failed.faults == 0 {
        return None;
    }
    let run = failed.run;
    let context = run.all();
    let orphans = fixture
        .orphans
        .iter()
        .map(|desc| desc.digest.clone())
        .collect();
    let full_disk = judge.of_full_disk(&orphans);
    let makes_room = fault.injection.contains("ENOSPC") && !has_every(&fixture);
    let judge = if makes_room { &full_disk } else { judge };
    assert_ne!(failed.faults, 0, "nothing went wrong\n{context}");
    judge.check(fixture.path(), &context);
    let now = Files::of(fixture.path()).without_lock();
    let (of_before, of_after) = (
        now.differences(&judge.before),
        now.differences(&judge.after),
    );
    match run.code {
        // The call does not matter, or was retried.
        Some(0) => {
            // A temporary file that cannot be inspected is silently kept, and so is one of our own that cannot be removed:
            // the next sweep deletes it.
            let is_left_over = |line: &&str| {
                STALE_FILES.iter().any(|name| line.ends_with(name))
                    || line.contains("more:  .ocisweep-")
                    || line.contains("more:  .ocisweep/.ocisweep-")
                    // Only a convenience: without that record the next gc requires `--allow-empty`.
                    || line.trim() == "gone:  .ocisweep/emptied"
            };
            let rest = of_after.lines().filter(|line| !is_left_over(line));
            let is_done = rest.count() == 0 || says_why(&run, fault.words);
            assert!(is_done, "it reports success:\n{of_after}\n{context}");
        }
        Some(1 | 4) => assert!(says_why(&run, fault.words), "no cause\n{context}"),
        Some(3) => {
            assert!(says_why(&run, fault.words), "no cause\n{context}");
            assert!(
                of_before.is_empty(),
                "refused, but:\n{of_before}\n{context}"
            );
        }
        _ => panic!("no such exit status is promised\n{context}"),
    }
    let is_of_one_file = fault.injection.starts_with("unlinkat") && !fault.injection.contains('+');
    if is_of_one_file && run.code == Some(1) {
        // No file is left over if the failed call was for a directory that could not be removed.
        assert!(
            of_after.lines().count() <= 1,
            "it stopped the others:\n{of_after}\n{context}"
        );
    }
    if fault.injection.contains("EINTR") {
        assert_eq!(
            run.code,
            Some(0),
            "an interrupted call is no error\n{context}"
        );
        let said = in_other_words(&run, fixture.path());
        assert_eq!(said, *undisturbed, "{context}");
    }
    command.finishes(fixture.path(), judge, &context);
    Some(run)
}

/// Returns `true` if all orphans exist.
fn has_every(fixture: &FullLayout) -> bool {
    fixture.orphans.iter().all(|desc| fixture.has(desc))
}

/// Returns `true` if the errors are lines, and one of them names a path and the cause.
pub(crate) fn says_why(run: &Run, words: &str) -> bool {
    !run.stderr.contains("panicked")
        && run.stderr.lines().any(|line| {
            let names_file = line.contains('`') || line.contains("standard output");
            // For many files, the first cause would not be that of all.
            let has_cause = line.contains(words)
                || line.contains("cannot read 1 orphan of")
                // A file that cannot be inspected no longer matches the plan; which of the two applies is not reported.
                || line.contains("cannot apply the plan to");
            line.starts_with("ocisweep: ") && names_file && has_cause
        })
}

/// Returns the output of a run, without the path of its layout.
fn in_other_words(run: &Run, layout: &Path) -> (String, String) {
    let layout = layout.to_string_lossy();
    (
        run.stdout.replace(layout.as_ref(), "LAYOUT"),
        run.stderr.replace(layout.as_ref(), "LAYOUT"),
    )
}

#[test]
fn a_file_system_with_fewer_features_is_supported() {
    if !has_strace() {
        return;
    }
    for command in [RM, RM_PLATFORM, HOLD_ADD] {
        let judge = command.judge();
        let recorded = command.fixture();
        let recording = Recording::of(&["openat", "renameat2"], &command.on(recorded.path()));
        let is_exchange = |call: &Call| call.text.contains("RENAME_EXCHANGE");
        let exchanges = recording.numbers("renameat2", recorded.path(), is_exchange);
        // It cannot exchange names, or cannot flush directories to disk.
        let mut faults: Vec<String> = exchanges
            .into_iter()
            .map(|number| format!("renameat2:error=EINVAL:when={number}"))
            .collect();
        faults.push("fsync:error=EINVAL".to_owned());
        for fault in faults {
            let fixture = command.fixture();
            let directories =
                ["", "blobs/sha256", ".ocisweep"].map(|name| fixture.builder.join(name));
            let is_sync = fault.starts_with("fsync");
            let files: Vec<&Path> = directories
                .iter()
                .filter(|_| is_sync)
                .map(|path| path.as_path())
                .collect();
            let run = Disturbed::on(&files, &fault, &command.on(fixture.path()));
            assert_ne!(run.faults, 0, "nothing went wrong\n{}", run.run.all());
            run.run.ok();
            let differences = Files::of(fixture.path()).differences(&judge.after);
            assert!(differences.is_empty(), "{differences}\n{}", run.run.all());
        }
    }
}

#[test]
fn no_error_in_gc_loses_anything() {
    survives(GC);
}

#[test]
fn no_error_in_rm_loses_anything() {
    survives(RM);
    survives(RM_ALL);
}

#[test]
fn no_error_in_dropping_a_platform_loses_anything() {
    survives(RM_PLATFORM);
    survives(RM_SPARSE);
}

#[test]
fn no_error_in_changing_holds_loses_anything() {
    survives(HOLD_ADD);
    survives(HOLD_RM);
}

#[test]
fn no_error_in_prune_or_apply_loses_anything() {
    survives(PRUNE);
    survives(APPLY);
}

/// Without its date an image would count as new, and take the place of the newest one.
#[test]
fn unreadable_configs_decide_nothing() {
    if !has_strace() {
        return;
    }
    for fault in ["openat:error=EIO", "read:error=EIO"] {
        let fixture = FullLayout::new();
        let before = Files::of(fixture.path());
        let config = fixture.builder.join(&fixture.one.config.blob_path());
        let name = config.file_name().expect("a file has a name");
        let command = [
            "prune",
            "--all",
            "--force",
            "--keep-last=1",
            "--time=created",
        ];
        let mut words: Vec<std::ffi::OsString> = command.iter().map(Into::into).collect();
        words.push(fixture.path().into());
        let run = Disturbed::on(&[&config, Path::new(name)], fault, &words);
        assert_ne!(run.faults, 0, "nothing went wrong\n{}", run.run.all());
        assert_eq!(run.run.code, Some(4), "{}", run.run.all());
        assert!(
            says_why(&run.run, "Input/output error"),
            "{}",
            run.run.all()
        );
        let differences = Files::of(fixture.path())
            .without_lock()
            .differences(&before);
        assert!(differences.is_empty(), "{differences}\n{}", run.run.all());
    }
}
