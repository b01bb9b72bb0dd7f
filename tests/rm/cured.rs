//! Blobs in the trash that another program lists again.

use std::fs;
use std::path::PathBuf;

use crate::support::files::entries;
use crate::support::restored::{assert_back, bytes};
use crate::support::samples::app_and_other;
use crate::support::{Cmd, Image, LayoutBuilder, Run};

/// `app:1` was moved into the trash, and another program lists the image as `new:1` without writing its blobs again.
fn listed_again() -> (LayoutBuilder, Image, Image) {
    let mut layout = LayoutBuilder::new();
    let app = layout.image("linux/amd64", "app", &[b"shared", b"app"]);
    let other = layout.image("linux/amd64", "other", &[b"shared", b"other"]);
    layout
        .tag(&app.manifest, "app:1")
        .tag(&other.manifest, "other:1")
        .write();
    let removed = command(&layout, &["rm", "--trash", "app:1"]);
    removed.ok().says("Moved to trash: 3 blobs");
    layout
        .clear_entries()
        .tag(&app.manifest, "new:1")
        .tag(&other.manifest, "other:1")
        .write();
    (layout, app, other)
}

fn command(layout: &LayoutBuilder, args: &[&str]) -> Run {
    let words = if args.first() == Some(&"trash") { 2 } else { 1 };
    let (command, args) = args.split_at(words);
    Cmd::new(command).arg(layout.path()).args(args).run()
}

#[test]
fn blobs_that_a_removal_releases_are_in_the_trash_afterwards() {
    for args in [
        &["rm", "new:1"][..],
        &["rm", "-f", "new:1"],
        &["rm", "new:1", "--trash"],
        &["prune", "-f", "-a", "--keep", "other:1"],
        &["prune", "-f", "-a", "--keep", "other:1", "--trash"],
    ] {
        let (layout, app, other) = listed_again();
        let trash = bytes(&layout.join(".ocisweep/trash"));
        let dry = command(&layout, &[args, &["-n"]].concat());
        dry.ok().says("Would reclaim 0B; nothing was changed");
        let run = command(&layout, args);
        run.ok()
            .says("Untagged: new:1\n")
            .says("Total reclaimed space: 0B");
        run.keeps_quiet_about("Restored:")
            .keeps_quiet_about("Deleted:");
        let left = bytes(&layout.join(".ocisweep/trash"));
        for (name, content) in &trash {
            // A run with a trash of its own keeps the blobs longer.
            let is_moved = args.contains(&"--trash") && !name.ends_with("run.json");
            let blob = name.iter().skip(1).collect::<PathBuf>();
            let mut found = left.iter().filter(|(path, _)| match is_moved {
                true => path.ends_with(&blob),
                false => *path == name,
            });
            let is_left = found.any(|(_, other)| other == content);
            assert!(is_left, "{name:?}\n{}", run.all());
        }
        assert!(!layout.has(&app.manifest), "{}", run.all());
        assert!(layout.has_all(&other), "{}", run.all());
        assert_eq!(entries(layout.path()).len(), 1, "{}", run.all());
    }
}

#[test]
fn the_run_can_be_undone_after_another_removal() {
    let mut before = LayoutBuilder::new();
    let app = before.image("linux/amd64", "app", &[b"shared", b"app"]);
    let other = before.image("linux/amd64", "other", &[b"shared", b"other"]);
    let both = [(&app, "app:1"), (&other, "other:1")];
    for (image, name) in both {
        before.tag(&image.manifest, name);
    }
    before.write();

    let (layout, ..) = listed_again();
    command(&layout, &["rm", "new:1"]).ok();
    let undone = command(&layout, &["undo"]);
    undone.ok();
    let expected = bytes(before.path());
    assert_back(&expected, layout.path(), None, &undone);
}

/// The run that had the blobs has expired, so the second one deletes it.
#[test]
fn blobs_that_a_removal_takes_from_an_older_run_are_kept_for_its_own_time() {
    let (mut layout, app, other) = app_and_other();
    command(&layout, &["rm", "--trash=1ns", "app:1"]).ok();
    layout
        .clear_entries()
        .tag(&app.manifest, "new:1")
        .tag(&other.manifest, "other:1")
        .write();
    let run = command(&layout, &["rm", "--trash", "new:1"]);
    run.ok().says("Moved to trash: 3 blobs");
    assert!(!layout.has(&app.manifest), "{}", run.all());
    let undone = command(&layout, &["undo"]);
    undone.ok();
    assert!(layout.has_all(&app), "{}", undone.all());
    command(&layout, &["check"]).ok();
}

#[test]
fn only_blobs_that_are_still_needed_are_restored() {
    let (layout, app, other) = listed_again();
    let dry = command(&layout, &["rm", "-n", "-f", "other:1", "--allow-missing"]);
    dry.warns("lacks blobs that are in its trash");
    let run = command(&layout, &["rm", "other:1"]);
    let restored = format!("Restored: {} needed by new:1\n", app.manifest.digest);
    run.ok()
        .says(&restored)
        .says(&format!("Deleted: {}\n", other.manifest.digest));
    assert!(layout.has_all(&app), "{}", run.all());
    command(&layout, &["check"]).ok();
}

#[test]
fn a_dry_run_reports_blobs_that_a_run_would_find_in_the_trash() {
    let (layout, ..) = listed_again();
    for args in [
        &["gc", "-n"][..],
        &["prune", "-n"],
        &["rm", "-n", "other:1"],
    ] {
        let run = command(&layout, args);
        run.warns("lacks blobs that are in its trash; a run first restores what is needed");
    }
    fs::remove_dir_all(layout.join(".ocisweep/trash")).expect("it is there");
    let run = command(&layout, &["gc", "-n"]);
    assert!(!run.stderr.contains("in its trash"), "{}", run.all());
}

/// The references of a damaged document are unknown; the trash may have them, and the document itself.
#[test]
fn a_damaged_document_keeps_the_trash_until_it_is_repaired() {
    let (layout, app, _) = listed_again();
    layout.file(&app.manifest.blob_path(), b"{");
    let trash = bytes(&layout.join(".ocisweep/trash"));
    for args in [&["-n"][..], &[]] {
        let refused = command(&layout, &[&["trash", "empty"], args].concat());
        refused.refused().one_error_with_hint();
        refused
            .warns(&app.manifest.digest)
            .warns("what it references may be in the trash");
        let left = bytes(&layout.join(".ocisweep/trash"));
        assert!(trash == left, "{}", refused.all());
    }
    // The command of the hint.
    command(&layout, &["check", "--repair"]).ok();
    command(&layout, &["trash", "empty"]).ok();
    assert!(layout.has_all(&app));
    command(&layout, &["check"]).ok();
}

#[test]
fn emptying_the_trash_first_restores_referenced_blobs() {
    for args in [&[][..], &["--older-than", "0s"]] {
        let (layout, app, _) = listed_again();
        let before = bytes(layout.path());
        let dry = command(&layout, &[&["trash", "empty", "-n"], args].concat());
        dry.ok().warns("lacks blobs that are in its trash");
        assert!(before == bytes(layout.path()), "{}", dry.all());
        let run = command(&layout, &[&["trash", "empty"], args].concat());
        let restored = format!("Restored: {} needed by new:1\n", app.manifest.digest);
        run.ok().says(&restored).says("Total reclaimed space: 0B\n");
        assert!(layout.has_all(&app), "{}", run.all());
        assert!(!layout.join(".ocisweep/trash").exists(), "{}", run.all());
        command(&layout, &["check"]).ok();
    }
}
