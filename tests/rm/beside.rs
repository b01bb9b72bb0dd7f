//! Writers that read `index.json` at their start and write it at their end: what is removed in between is listed again.

use std::fs;
use std::time::Duration;

use crate::files::app_and_other;
use crate::platform_words::multi;
use crate::scene::{assert_here, bare, has, parts};
use crate::support::{Cmd, LayoutBuilder, snapshot};

const SIGN: &str = "oci-put-blob470874052";

#[test]
fn what_is_removed_while_a_writer_is_at_work_is_untagged_and_kept() {
    let (layout, app, _) = app_and_other();
    let index = fs::read(layout.join("index.json")).expect("it is there");
    layout.file(SIGN, b"half a blob");
    let line = format!("kept: a writer is at work ({SIGN}); gc deletes them later\n");
    let dry = bare(layout.path(), ["-n", "app:1"]).run();
    dry.ok()
        .says(&line)
        .keeps_quiet_about("Would delete: ")
        .ends_with_line("Would reclaim 0B; nothing was changed");
    let run = bare(layout.path(), ["app:1"]).run();
    run.ok()
        .says("Untagged: app:1\n")
        .says(&line)
        .keeps_quiet_about("Deleted: ")
        .ends_with_line("Total reclaimed space: 0B");
    assert_here(&layout, parts(&app), &run);
    // The writer comes to its end. What it lists again is whole.
    layout.file("index.json", &index);
    fs::remove_file(layout.join(SIGN)).expect("it is there");
    Cmd::new(["check"]).arg(layout.path()).run().ok();
    let run = bare(layout.path(), ["app:1"]).run();
    run.ok()
        .says(&format!("Deleted: {}\n", app.manifest.digest));
    assert!(!has(&layout, &app.manifest), "{}", run.all());
}

#[test]
fn without_a_grace_period_nobody_is_waited_for() {
    let (layout, app, _) = app_and_other();
    layout.file(SIGN, b"half a blob");
    let run = bare(layout.path(), ["--grace", "0", "app:1"]).run();
    run.ok()
        .says(&format!("Deleted: {}\n", app.manifest.digest))
        .keeps_quiet_about("a writer is at work");
    assert!(!has(&layout, &app.manifest), "{}", run.all());
}

#[test]
fn a_file_that_a_writer_left_long_ago_keeps_nothing() {
    let (layout, app, _) = app_and_other();
    layout.file(SIGN, b"half a blob");
    layout.age(SIGN, Duration::from_secs(2 * 3600));
    let run = bare(layout.path(), ["app:1"]).run();
    run.ok().keeps_quiet_about("a writer is at work");
    assert!(!has(&layout, &app.manifest), "{}", run.all());
}

#[test]
fn a_platform_that_is_dropped_while_a_writer_is_at_work_is_kept_as_well() {
    for (mode, later) in [
        ("rewrite", "gc deletes them later"),
        // The index stays listed with all of its children.
        ("sparse", "repeat this command later"),
        ("hollow", "repeat this command later"),
    ] {
        let mut layout = LayoutBuilder::new();
        let (index, _) = multi(&layout, &["linux/amd64", "linux/arm64"]);
        layout.tag(&index, "multi:1").write();
        layout.file(SIGN, b"half a blob");
        let before = snapshot(layout.path());
        let run = bare(
            layout.path(),
            [
                "multi:1",
                "--platform",
                "linux/arm64",
                "--platform-mode",
                mode,
            ],
        )
        .run();
        run.ok()
            .says(&format!("kept: a writer is at work ({SIGN}); {later}\n"))
            .keeps_quiet_about("Deleted: ");
        let after = snapshot(layout.path());
        for name in before.keys().filter(|name| name.starts_with("blobs")) {
            assert!(after.contains_key(name), "{name:?} is gone\n{}", run.all());
        }
    }
}
