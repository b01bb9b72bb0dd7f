//! Writers that read `index.json` at their start and write it at their end: images that are removed in between are listed
//! again.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::rm::platform_words::multi;
use crate::support::removed::{bare, dropping};
use crate::support::samples::app_and_other;
use crate::support::{Cmd, LayoutBuilder, assert_same, snapshot, without_directory_times};

const SIGN: &str = "oci-put-blob470874052";

#[test]
fn an_image_removed_while_a_writer_is_active_is_untagged_and_kept() {
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
    layout.assert_has(app.parts(), &run);
    // The writer finishes. The images that it lists again are intact.
    layout.file("index.json", &index);
    fs::remove_file(layout.join(SIGN)).expect("it is there");
    Cmd::new(["check"]).arg(layout.path()).run().ok();
    let run = bare(layout.path(), ["app:1"]).run();
    run.ok()
        .says(&format!("Deleted: {}\n", app.manifest.digest));
    assert!(!layout.has(&app.manifest), "{}", run.all());
}

#[test]
fn without_a_grace_period_blobs_are_deleted_immediately() {
    let (layout, app, _) = app_and_other();
    layout.file(SIGN, b"half a blob");
    let run = bare(layout.path(), ["--grace", "0", "app:1"]).run();
    run.ok()
        .says(&format!("Deleted: {}\n", app.manifest.digest))
        .keeps_quiet_about("a writer is at work");
    assert!(!layout.has(&app.manifest), "{}", run.all());
}

#[test]
fn an_old_file_of_a_writer_keeps_nothing() {
    let (layout, app, _) = app_and_other();
    layout.file(SIGN, b"half a blob");
    layout.age(SIGN, Duration::from_secs(2 * 3600));
    let run = bare(layout.path(), ["app:1"]).run();
    run.ok().keeps_quiet_about("a writer is at work");
    assert!(!layout.has(&app.manifest), "{}", run.all());
}

#[test]
fn a_platform_that_is_dropped_while_a_writer_is_at_work_is_kept_as_well() {
    for (mode, later) in [
        ("rewrite", "gc deletes them later"),
        // The index is kept listed with all of its children.
        ("sparse", "repeat this command later"),
        ("hollow", "repeat this command later"),
    ] {
        let mut layout = LayoutBuilder::new();
        let (index, _) = multi(&layout, &["linux/amd64", "linux/arm64"]);
        layout.tag(&index, "multi:1").write();
        layout.file(SIGN, b"half a blob");
        let before = snapshot(layout.path());
        let run = bare(layout.path(), dropping("linux/arm64", mode)).run();
        run.ok()
            .says(&format!("kept: a writer is at work ({SIGN}); {later}\n"))
            .keeps_quiet_about("Deleted: ");
        let after = snapshot(layout.path());
        for name in before.keys().filter(|name| name.starts_with("blobs")) {
            assert!(after.contains_key(name), "{name:?} is gone\n{}", run.all());
        }
    }
}

/// `gc` with its own grace period; [`Cmd::gc`] is for tests without a writer.
fn gc(path: &Path) -> Cmd {
    Cmd::new(["gc"]).arg(path)
}

const NOTE: &str = ".ocisweep/released.json";

/// skopeo reuses existing blobs, and writes its index at its end: a second command must not delete blobs that the first one
/// has kept for it.
#[test]
fn blobs_kept_beside_a_writer_are_kept_by_every_sweep_until_it_ends() {
    let (layout, app, _) = app_and_other();
    let index = fs::read(layout.join("index.json")).expect("it is there");
    let orphan = layout.layer(b"an older orphan");
    layout.file(SIGN, b"half a blob");
    let run = bare(layout.path(), ["app:1"]).run();
    run.ok().says("kept: a writer is at work");
    let note = fs::read_to_string(layout.join(NOTE)).expect("it is noted");
    for part in app.parts() {
        assert!(note.contains(&part.digest), "{note}");
    }
    // Commands that read agree with those that delete.
    let path = layout.path();
    let df = Cmd::new(["df", "--format", "json"]).arg(path).run();
    let dead = Cmd::new(["blobs", "--unreferenced"]).arg(path).run();
    let why = Cmd::new(["why"]).arg(path).arg(&app.manifest.digest).run();
    why.ok().says("released while a writer was at work");
    let hex = |digest: &str| digest.replacen(':', "/", 1);
    dead.ok().says(&hex(&orphan.digest));
    for part in app.parts() {
        dead.keeps_quiet_about(&hex(&part.digest));
    }
    Cmd::new(["blobs", "--live"])
        .arg(path)
        .run()
        .ok()
        .keeps_quiet_about("released.json");
    let dry = gc(path).args(["-n", "--format", "json"]).run();
    assert_eq!(
        fs::read_to_string(layout.join(NOTE)).expect("a dry run changes nothing"),
        note
    );
    let gc = gc(path).args(["--format", "json"]).run();
    let (df, dry, gc) = (df.ok().json(), dry.ok().json(), gc.ok().json());
    assert_eq!(dry["totals"], gc["totals"]);
    assert_eq!(gc["totals"]["blobs"], 1, "{gc:#}");
    assert_eq!(
        df["layouts"][0]["orphans"]["reclaimable_bytes"],
        gc["totals"]["reclaimed_bytes"]
    );
    let items = gc["layouts"][0]["items"].as_array().expect("a list");
    for part in app.parts() {
        let item = items
            .iter()
            .find(|item| item["digest"] == part.digest.as_str());
        let item = item.unwrap_or_else(|| panic!("{} {gc:#}", part.digest));
        assert_eq!(item["action"], "keep");
        assert_eq!(item["reasons"][0], "released while a writer was at work");
    }
    let run = Cmd::new(["prune", "-f"]).arg(path).run();
    run.ok().says(&format!(
        "Kept: {} (released while a writer was at work)\n",
        app.manifest.digest
    ));
    layout.assert_has(app.parts(), &run);
    // The writer finishes. The images that it lists again are intact.
    layout.file("index.json", &index);
    fs::remove_file(layout.join(SIGN)).expect("it is there");
    Cmd::new(["check"]).arg(path).run().ok();
    let run = bare(path, ["app:1"]).run();
    run.ok()
        .says(&format!("Deleted: {}\n", app.manifest.digest));
    assert!(!layout.join(".ocisweep").exists(), "{}", run.all());
}

#[test]
fn without_a_writer_kept_blobs_are_swept_and_the_record_is_removed() {
    for (grace, ends) in [("1h", true), ("0", false)] {
        let (layout, app, other) = app_and_other();
        layout.file(SIGN, b"half a blob");
        bare(layout.path(), ["app:1"]).run().ok();
        if ends {
            fs::remove_file(layout.join(SIGN)).expect("it is there");
        }
        let run = gc(layout.path()).args(["--grace", grace]).run();
        run.ok()
            .says(&format!("Deleted: {}\n", app.manifest.digest));
        for part in app.parts() {
            assert!(!is_blob(&layout, &part.digest), "{}", run.all());
        }
        layout.assert_has(other.parts(), &run);
        assert!(!layout.join(".ocisweep").exists(), "{}", run.all());
    }
}

fn is_blob(layout: &LayoutBuilder, digest: &str) -> bool {
    let path = format!("blobs/{}", digest.replacen(':', "/", 1));
    layout.join(&path).exists()
}

/// The record names only the manifest: its config and layers are kept because it references them.
#[test]
fn references_of_a_kept_blob_are_kept_with_it_and_live_blobs_leave_the_record() {
    let (layout, app, _) = app_and_other();
    let note = |digests: &[&str]| {
        let list: Vec<String> = digests
            .iter()
            .map(|digest| format!("\"{digest}\""))
            .collect();
        format!(
            "{{\"schema_version\": 1, \"blobs\": [{}]}}\n",
            list.join(", ")
        )
    };
    let third = layout.image("linux/amd64", "third", &[b"third"]);
    let gone = crate::support::Desc::of("x", b"gone long ago");
    let noted = [
        app.manifest.digest.as_str(),
        &gone.digest,
        &third.manifest.digest,
    ];
    layout.file(NOTE, note(&noted).as_bytes());
    let orphan = layout.layer(b"an older orphan");
    layout.file(SIGN, b"half a blob");
    let run = gc(layout.path()).run();
    run.ok().says(&format!("Deleted: {}\n", orphan.digest));
    layout.assert_has(third.parts(), &run);
    let left = fs::read_to_string(layout.join(NOTE)).expect("it is there");
    assert!(left.contains(&third.manifest.digest), "{left}");
    for digest in [&app.manifest.digest, &gone.digest] {
        assert!(!left.contains(digest.as_str()), "{left}");
    }
}

/// The content of the record is unknown: no blob that it may name is deleted, and nothing is added to it.
#[test]
fn an_unreadable_record_stops_sweeps_beside_a_writer_and_no_others() {
    let notes: [&[u8]; 4] = [
        b"",
        b"{\"schema_version\": 2, \"blobs\": []}",
        b"{\"schema_version\": 1, \"blobs\": [\"sha256:no\"]}",
        b"{\"schema_version\": 1}",
    ];
    for note in notes {
        let (layout, app, _) = app_and_other();
        let orphan = layout.layer(b"an older orphan");
        layout.file(NOTE, note).file(SIGN, b"half a blob");
        let before = snapshot(layout.path());
        let path = layout.join(NOTE);
        let sweeps = [
            gc(layout.path()),
            Cmd::new(["prune", "-f"]).arg(layout.path()),
            bare(layout.path(), ["app:1"]),
        ];
        for sweep in sweeps {
            let run = sweep.run();
            run.refused()
                .warns(&format!("cannot parse `{}`", path.display()))
                .warns("a writer is at work")
                .warns(&format!("`rm {}` removes the record", path.display()));
            assert_same(
                &without_directory_times(&before),
                &without_directory_times(&snapshot(layout.path())),
                &run.all(),
            );
        }
        let df = Cmd::new(["df"]).arg(layout.path()).run();
        df.ok().warns("cannot parse");
        Cmd::new(["ls"]).arg(layout.path()).run().ok();
        fs::remove_file(layout.join(SIGN)).expect("it is there");
        let run = bare(layout.path(), ["app:1"]).run();
        run.ok()
            .says(&format!("Deleted: {}\n", app.manifest.digest));
        gc(layout.path())
            .run()
            .ok()
            .says(&format!("Deleted: {}\n", orphan.digest));
    }
}

/// The record is written first: without it the next sweep would delete blobs that a writer may list again.
#[test]
fn if_the_record_cannot_be_written_nothing_is_untagged() {
    let (layout, _, _) = app_and_other();
    layout
        .file(".ocisweep", b"in the way")
        .file(SIGN, b"half a blob");
    let index = fs::read(layout.join("index.json")).expect("it is there");
    let run = bare(layout.path(), ["app:1"]).run();
    run.exits(4).warns(".ocisweep");
    let after = fs::read(layout.join("index.json")).expect("it is there");
    assert!(index == after, "{}", run.all());
}

/// `--remove-empty-layouts` removes the record with the rest of its own files.
#[test]
fn an_empty_layout_is_removed_with_its_record() {
    let (layout, _, _) = app_and_other();
    layout.file(SIGN, b"half a blob");
    bare(layout.path(), ["app:1", "other:1"]).run().ok();
    fs::remove_file(layout.join(SIGN)).expect("it is there");
    assert!(layout.join(NOTE).exists());
    let run = gc(layout.path())
        .args(["--grace", "0", "--remove-empty-layouts"])
        .run();
    run.ok().says("(empty layout)");
    assert!(!layout.path().exists(), "{}", run.all());
}
