//! File systems that are full, and file systems that are read-only.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command as Process;

use crate::commands::{Command, GC, HOLD_RM, RM, RM_PLATFORM};
use crate::mounts::Mount;
use crate::support::environment::{NOBODY, has_tools, is_root, skip};
use crate::support::run::run;
use crate::support::{Cmd, Files, FullLayout, for_each};

/// A kind of file system and its options.
type Make = fn() -> Option<Mount>;

/// Every kind, with its minimum size.
const KINDS: [(&str, Make); 3] = [
    ("tmpfs", || Mount::tmpfs("2m")),
    ("ext4", || Mount::disk("ext4", 8, &["-m", "0"])),
    ("xfs", || Mount::disk("xfs", 300, &[])),
];

/// Calls `check` with a fixture on a full file system of each kind, and with the file that fills it.
fn on_full_disks(prepare: fn(&mut FullLayout), check: impl Fn(&FullLayout, &Path)) {
    for_each(
        KINDS,
        |(kind, _)| (*kind).to_owned(),
        |(_, make)| {
            let Some(mount) = make() else { return };
            let mut fixture = FullLayout::at(&mount.path().join("layout"));
            prepare(&mut fixture);
            let ballast = mount.fill();
            let more = fs::File::create(fixture.builder.join("more"))
                .and_then(|mut file| file.write_all(b"more").and_then(|()| file.sync_all()));
            assert!(more.is_err(), "the disk is not full");
            drop(fs::remove_file(fixture.builder.join("more")));
            check(&fixture, &ballast);
        },
    );
}

fn without_orphans(fixture: &mut FullLayout) {
    Cmd::gc(fixture.path())
        .args(["--temp-age", "0s"])
        .run()
        .ok();
}

/// On xfs a new file takes more than one block; deleting a real layer makes room for it.
fn with_large_orphan(fixture: &mut FullLayout) {
    let large = fixture.builder.layer(&vec![b'l'; 1 << 20]);
    fixture.orphans.push(large);
    fixture.make_old();
}

#[test]
fn gc_frees_a_full_disk() {
    on_full_disks(
        |_| {},
        |fixture, _| {
            let judge = GC.judge();
            let run = Cmd::new(GC.on(fixture.path())).run();
            run.ok();
            let differences = Files::of(fixture.path()).differences(&judge.after);
            assert!(differences.is_empty(), "{differences}\n{}", run.all());
        },
    );
}

#[test]
fn existing_garbage_makes_room_for_a_new_index() {
    for command in [RM, RM_PLATFORM] {
        on_full_disks(with_large_orphan, |fixture, _| {
            let judge = command.judge();
            let orphans = fixture
                .orphans
                .iter()
                .map(|desc| desc.digest.clone())
                .collect();
            let run = Cmd::new(command.on(fixture.path())).run();
            run.ok();
            let expected = judge.after.without_blobs(&orphans);
            let differences = Files::of(fixture.path()).differences(&expected);
            assert!(differences.is_empty(), "{differences}\n{}", run.all());
        });
    }
}

#[test]
fn without_space_and_without_garbage_nothing_changes() {
    for command in [RM, RM_PLATFORM, HOLD_RM] {
        on_full_disks(without_orphans, |fixture, ballast| {
            let before = Files::of(fixture.path());
            let run = Cmd::new(command.on(fixture.path())).run();
            run.exits(4)
                .warns("No space left on device")
                .warns("cannot write `");
            assert_eq!(run.stderr.lines().count(), 1, "{}", run.all());
            let differences = Files::of(fixture.path()).differences(&before);
            assert!(differences.is_empty(), "{differences}\n{}", run.all());
            // With space it works.
            fs::remove_dir_all(ballast).expect("the ballast can be removed");
            Cmd::new(command.on(fixture.path())).run().ok();
        });
    }
}

#[test]
fn a_read_only_file_system_is_not_an_error_if_there_is_nothing_to_do() {
    let Some(mount) = Mount::tmpfs("2m") else {
        return;
    };
    let fixture = FullLayout::at(&mount.path().join("layout"));
    let mut clean = FullLayout::at(&mount.path().join("clean"));
    without_orphans(&mut clean);
    mount.seal();
    let before = Files::of(fixture.path());
    let reading: [&[&str]; 6] = [
        &["ls"],
        &["ls", "--tree"],
        &["df"],
        &["gc", "-n", "--grace", "0"],
        &["prune", "-n", "-a"],
        &["hold", "ls"],
    ];
    for words in reading {
        Cmd::new(words).arg(fixture.path()).run().ok();
    }
    Cmd::new(GC.on(clean.path())).run().ok();
    Cmd::new(["prune", "-f"]).arg(clean.path()).run().ok();
    let writing: [Command; 4] = [GC, RM, RM_PLATFORM, HOLD_RM];
    for command in writing {
        let run = Cmd::new(command.on(fixture.path())).run();
        run.exits(4).warns("Read-only file system");
        run.one_error_with_hint();
        let differences = Files::of(fixture.path()).differences(&before);
        assert!(differences.is_empty(), "{differences}\n{}", run.all());
    }
}

#[test]
fn an_owner_without_a_number_in_this_namespace_is_accepted() {
    if !is_root() || !has_tools(&["unshare"]) {
        return skip("only root can give files away");
    }
    let fixture = FullLayout::new();
    let mut open = vec![fixture.path().to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let names = fs::read_dir(&path).expect("a directory can be listed");
            open.extend(names.map(|name| name.expect("a name can be read").path()));
        }
        let mode = if path.is_dir() { 0o777 } else { 0o666 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("root may");
        chown(&path, Some(NOBODY), Some(NOBODY)).expect("root may");
    }
    let before = mode_of(&fixture);
    let mut command = Process::new("unshare");
    command
        .args(["--user", "--map-root-user", env!("CARGO_BIN_EXE_ocisweep")])
        .args(RM.on(fixture.path()));
    let run = run(command);
    if run.stderr.starts_with("unshare:") {
        return skip(&format!("no user namespaces here: {}", run.stderr.trim()));
    }
    run.ok().says("Untagged: app:1");
    assert_eq!(mode_of(&fixture), before, "{}", run.all());
}

fn mode_of(fixture: &FullLayout) -> u32 {
    let found = fs::metadata(fixture.builder.join("index.json"));
    found.expect("there is an index").permissions().mode()
}
