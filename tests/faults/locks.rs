//! Locks of other programs: a process that holds one is not disturbed, and one that has exited does not matter.

use std::fs::{self, File, OpenOptions};
use std::path::Path;

use rustix::fs::{FlockOperation, fcntl_lock};

use crate::commands::{Command, GC, HOLD_ADD, HOLD_RM, RM, RM_PLATFORM};
use crate::judge::LOCK;
use crate::support::layout::FileLock;
use crate::support::{Cmd, Files, FullLayout, for_each};

/// A lock that is held until this is dropped.
#[expect(dead_code, reason = "they are kept open, and closed")]
enum Held {
    Flock(FileLock),
    Posix(File),
}

/// Takes a lock in the layout.
type Take = fn(&Path) -> Held;

fn open(path: &Path) -> File {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.expect("a lock file can be made")
}

fn exclusive(file: File) -> Held {
    Held::Flock(FileLock::of(file))
}

const HOLDERS: [(&str, Take); 5] = [
    ("BuildKit", |layout| exclusive(open(&layout.join(LOCK)))),
    ("umoci", |layout| {
        let directory = layout.join(".umoci-123");
        fs::create_dir(&directory).expect("a directory can be made");
        exclusive(File::open(directory).expect("a directory can be opened"))
    }),
    ("podman", |layout| {
        let file = open(&layout.join("index.lock"));
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)
            .expect("no other process holds it");
        Held::Posix(file)
    }),
    ("linuxkit", |layout| {
        let file = open(&layout.join(".lock"));
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)
            .expect("no other process holds it");
        Held::Posix(file)
    }),
    ("podman, reading", |layout| {
        let path = layout.join("index.lock");
        drop(open(&path));
        let file = File::open(path).expect("the lock file can be opened");
        fcntl_lock(&file, FlockOperation::NonBlockingLockShared)
            .expect("no other process holds it");
        Held::Posix(file)
    }),
];

#[test]
fn the_holder_of_a_lock_is_not_disturbed() {
    let commands: [Command; 5] = [GC, RM, RM_PLATFORM, HOLD_ADD, HOLD_RM];
    let cases = HOLDERS
        .into_iter()
        .flat_map(|holder| commands.map(|command| (holder, command)));
    for_each(
        cases,
        |((holder, _), command)| format!("{holder}: {command:?}"),
        |((_, take), command)| {
            let fixture = FullLayout::new();
            let before = Files::of(fixture.path());
            // Nothing reads the files of the layout from here on: closing one releases a POSIX lock on it.
            let lock = take(fixture.path());
            let mut words = command.on(fixture.path());
            words.extend(["--lock-wait".into(), "0s".into()]);
            let run = Cmd::new(&words).run();
            run.exits(6).warns("cannot lock `");
            drop(lock);
            let differences = Files::of(fixture.path())
                .without_lock()
                .differences(&before);
            let differences = differences.replace("  more:  index.lock", "");
            let differences = differences.replace("  more:  .lock", "");
            assert!(differences.is_empty(), "{differences}\n{}", run.all());
            Cmd::new(&words).run().ok();
        },
    );
}

#[test]
fn a_lock_that_a_killed_process_left_is_removed_with_other_stale_files() {
    let fixture = FullLayout::new();
    Cmd::new(GC.on(fixture.path())).run().ok();
    fixture.builder.file(LOCK, b"");
    // There is nothing else to do.
    let run = Cmd::new(GC.on(fixture.path())).run();
    run.ok()
        .says("Deleted: index.json.lock (temporary file, 0B)");
    assert!(!fixture.builder.join(LOCK).exists(), "{}", run.all());
    // A lock that is held is not stale.
    let held = exclusive(open(&fixture.builder.join(LOCK)));
    let run = Cmd::new(GC.on(fixture.path())).run();
    run.ok().keeps_quiet_about(LOCK);
    assert!(fixture.builder.join(LOCK).exists(), "{}", run.all());
    drop(held);
}
