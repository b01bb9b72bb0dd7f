//! `--min-free`, and `--max-size` in percent: budgets of the file system.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use crate::support::environment::{in_namespace, memory_dir};
use crate::support::{Cmd, ImageBuilder, Run, TestLayout, assert_same, blobs, for_each, snapshot};

/// Three images of 200 kB, `app:1` the oldest, and an orphan.
fn shelf() -> TestLayout {
    let mut shelf = TestLayout::new();
    for (name, days) in [("app:1", 30), ("app:2", 20), ("app:3", 10)] {
        shelf.named(name, days, &ImageBuilder::new(name).weighs(200_000));
    }
    shelf.layout.layer(b"nothing references this");
    shelf.write();
    shelf
}

/// Prunes a copy of the layout on a file system of one MiB, of which a third is free.
fn on_small_disk(shelf: &TestLayout, args: &[&str]) -> Option<Run> {
    const MOUNT: &str = r#"mount -t tmpfs -o size=1m tmpfs "$1" && cp -a "$2" "$1"/layout || exit 99
        place=$1; shift 2; cd "$place" && "$@" layout"#;
    let temp = memory_dir();
    let place = temp.path().join("disk");
    fs::create_dir(&place).expect("a directory can be made");
    let words = ["prune", "-f", "-v", "--grace", "0"].into_iter();
    let words = words.chain(args.iter().copied());
    let before: [&OsStr; 2] = [place.as_os_str(), shelf.path().as_os_str()];
    in_namespace(Path::new("."), MOUNT, &before, words)
}

fn removed(run: &Run) -> Vec<&str> {
    let lines = run.stdout.lines();
    let lines = lines.filter(|line| line.starts_with("remove "));
    lines
        .map(|line| line.split_whitespace().nth(2).expect("a name"))
        .collect()
}

#[test]
fn the_oldest_are_removed_until_enough_is_free() {
    let shelf = shelf();
    for (wanted, names) in [
        ("100kB", &[][..]),
        ("10%", &[]),
        ("600kB", &["app:1"]),
        ("55%", &["app:1"]),
        ("800kB", &["app:1", "app:2"]),
    ] {
        let Some(run) = on_small_disk(&shelf, &["-a", "--min-free", wanted]) else {
            return;
        };
        run.ok();
        assert_eq!(removed(&run), names, "{wanted}: {}", run.all());
        // The garbage is deleted in any case.
        assert!(run.stdout.contains("Deleted: sha256:"), "{}", run.all());
        if !names.is_empty() {
            run.says("too little free space, and the oldest");
        }
    }
}

#[test]
fn a_limit_that_cannot_be_reached_has_its_own_status() {
    let shelf = shelf();
    let words = ["-a", "--min-free", "950kB", "--keep", "app:2"];
    let Some(run) = on_small_disk(&shelf, &words) else {
        return;
    };
    run.exits(5)
        .warns("cannot free 950kB of the file system of `layout`")
        .warns("more are needed")
        .warns("--keep app:2 keeps 1 image");
    assert_eq!(removed(&run), ["app:1", "app:3"], "{}", run.all());
    // Named images only with `--all`.
    let run = on_small_disk(&shelf, &["--min-free", "800kB"]).expect("as before");
    run.exits(5);
    assert!(removed(&run).is_empty(), "{}", run.all());
}

#[test]
fn a_part_of_the_file_system_is_a_budget() {
    let shelf = shelf();
    for (size, names) in [
        ("70%", &[][..]),
        ("45%", &["app:1"]),
        ("20%", &["app:1", "app:2"]),
    ] {
        let Some(run) = on_small_disk(&shelf, &["-a", "--max-size", size]) else {
            return;
        };
        run.ok();
        assert_eq!(removed(&run), names, "{size}: {}", run.all());
    }
}

/// With enough free space, only garbage is removed, whatever the flags.
#[test]
fn enough_free_space_removes_nothing() {
    let shelf = shelf();
    let before = blobs(shelf.path());
    let words = ["prune", "-f", "-a", "--grace", "0", "--min-free", "1B"];
    let run = Cmd::new(words).arg(shelf.path()).run();
    run.ok().keeps_quiet_about("Untagged");
    assert_eq!(blobs(shelf.path()).len(), before.len() - 1);
}

#[test]
fn min_free_is_refused_if_removing_frees_nothing() {
    let min = ["prune", "-f", "-a", "--min-free", "100%"];
    let linked = shelf();
    let blob = blobs(linked.path()).into_keys().next().expect("a blob");
    let blob = linked
        .path()
        .join("blobs/sha256")
        .join(&blob["sha256:".len()..]);
    let other = linked.layout.outside().join("other");
    fs::hard_link(blob, other).expect("a link can be made");
    let call = |more: &[&str]| Cmd::new(min).args(more).arg(linked.path());
    for_each(
        [
            (call(&[]), 3, "further hard links"),
            (call(&["--trash"]), 2, "with a trash"),
            (call(&["--shared-blobs", "."]), 2, "--shared-blobs"),
            (call(&[]).env("OCISWEEP_TRASH", "1d"), 2, "with a trash"),
            (
                call(&["--group-by", "layout"]).arg(shelf().path()),
                2,
                "for each of several layouts",
            ),
            (call(&["--max-size", "101%"]), 2, "--max-size"),
            (call(&["--max-size", "10"]), 2, "unit"),
        ],
        |(_, _, why)| (*why).to_owned(),
        |(call, status, why)| {
            let before = snapshot(linked.path());
            let run = call.run();
            run.exits(*status).warns(why);
            assert_same(&before, &snapshot(linked.path()), &run.all());
        },
    );
}
