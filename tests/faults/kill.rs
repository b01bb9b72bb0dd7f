//! SIGKILL at every system call that changes something.

use crate::commands::{
    APPLY, Command, GC, HOLD_ADD, HOLD_RM, PRUNE, RM, RM_ALL, RM_PLATFORM, RM_SPARSE,
};
use crate::strace::{Call, Disturbed, Recording};
use crate::support::environment::has_strace;
use crate::support::extent::takes;

/// Every system call that changes something, and those whose order matters.
pub(crate) const CHANGING: [&str; 15] = [
    "unlinkat",
    "renameat",
    "renameat2",
    "fsync",
    "fdatasync",
    "syncfs",
    "write",
    "openat",
    "flock",
    "fchmod",
    "fchown",
    "mkdirat",
    "utimensat",
    "ftruncate",
    "fallocate",
];

/// Returns `true` if a call changes something: calls that open a file only if they create one.
pub(crate) fn changes(call: &Call) -> bool {
    call.name != "openat" || call.text.contains("O_CREAT")
}

/// Returns `true` if this fault of a command is tested: `many` of them differ only in a number.
pub(crate) fn is_taken(number: usize, many: bool) -> bool {
    if many {
        takes(number, 9, 4)
    } else {
        takes(number, 3, 1)
    }
}

/// Kills the command at every changing call, or at a sample of them, one after another.
fn survives(command: Command) {
    if !has_strace() {
        return;
    }
    let judge = command.judge();
    let recorded = command.fixture();
    let recording = Recording::of(&CHANGING, &command.on(recorded.path()));
    recording.run.ok();
    let mut kills = 0_usize;
    for name in CHANGING {
        for number in recording.numbers(name, recorded.path(), changes) {
            kills += 1;
            if !is_taken(kills, false) {
                continue;
            }
            let fixture = command.fixture();
            let injection = format!("{name}:signal=KILL:when={number}");
            let killed = Disturbed::by(&injection, &command.on(fixture.path()));
            let context = format!("{injection}\n{}", killed.run.all());
            assert_eq!(killed.run.code, None, "it was not killed\n{context}");
            judge.check(fixture.path(), &context);
            command.finishes(fixture.path(), &judge, &context);
        }
    }
    assert!(kills > 4, "only {kills} kills\n{}", recording.all());
    count(&format!("{command:?}: {kills} moments of a kill"));
}

/// Prints how much was done (`--nocapture`).
#[expect(
    clippy::print_stderr,
    reason = "a number that cannot be printed is not needed"
)]
pub(crate) fn count(text: &str) {
    eprintln!("{text}");
}

#[test]
fn gc_can_be_killed_at_any_call() {
    survives(GC);
}

#[test]
fn rm_can_be_killed_at_any_call() {
    survives(RM);
}

#[test]
fn rm_of_everything_can_be_killed_at_any_call() {
    survives(RM_ALL);
}

#[test]
fn dropping_a_platform_can_be_killed_at_any_call() {
    survives(RM_PLATFORM);
    survives(RM_SPARSE);
}

#[test]
fn changing_holds_can_be_killed_at_any_call() {
    survives(HOLD_ADD);
    survives(HOLD_RM);
}

#[test]
fn prune_can_be_killed_at_any_call() {
    survives(PRUNE);
}

#[test]
fn apply_can_be_killed_at_any_call() {
    survives(APPLY);
}
