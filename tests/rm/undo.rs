//! `--trash`, `undo` and `trash`: what is removed can be restored, to the byte.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use arbtest::arbitrary::{self, Unstructured};
use arbtest::arbtest;
use serde_json::Value;

use crate::rm::platform_words::multi;
use crate::support::environment::memory_dir;
use crate::support::removed::bare;
use crate::support::restored::{Bytes, assert_back, bytes};
use crate::support::samples::app_and_other;
use crate::support::{
    Cmd, Image, LayoutBuilder, Run, assert_same, panic_message, snapshot, without_directory_times,
};
use crate::world::cases::{Failures, each_seed, varied};
use crate::world::draw;
use crate::world::features::{Features, Mood};
use crate::world::layout::World;
use crate::world::write::{describe, write};

fn trashing(layout: &Path, args: &[&str]) -> Run {
    let (command, args) = args.split_first().expect("a command");
    Cmd::new([command])
        .arg(layout)
        .args(["--trash", "--grace", "0"])
        .args(args)
        .run()
}

fn undo(layout: &Path, args: &[&str]) -> Run {
    Cmd::new(["undo"]).arg(layout).args(args).run()
}

fn runs(layout: &Path) -> Vec<Value> {
    let run = Cmd::new(["trash", "ls", "--format", "json"])
        .arg(layout)
        .run();
    let report = run.ok().json();
    let runs = report.pointer("/runs").and_then(Value::as_array);
    runs.expect("a list").clone()
}

fn names(layout: &Path) -> Vec<String> {
    let name = |run: &Value| run["run"].as_str().expect("a name").to_owned();
    runs(layout).iter().map(name).collect()
}

fn in_trash(layout: &Path) -> usize {
    let names = snapshot(&layout.join(".ocisweep/trash")).into_keys();
    names.filter(|name| name.components().count() == 3).count()
}

const DROP_SPARSE: [&str; 5] = drop_in("sparse");
const DROP_HOLLOW: [&str; 5] = drop_in("hollow");

/// Drops a platform and keeps the index.
const fn drop_in(mode: &str) -> [&str; 5] {
    [
        "rm",
        "multi:1",
        "--platform=linux/arm64",
        "--platform-mode",
        mode,
    ]
}

#[test]
fn trash_ls_words_times_as_hold_ls_does() {
    let (layout, ..) = app_and_other();
    let rm = ["app:1", "--trash=70m", "--grace", "0"];
    Cmd::new(["rm"]).arg(layout.path()).args(rm).run().ok();
    let run = Cmd::new(["trash", "ls"]).arg(layout.path()).run();
    run.ok().says("in about an hour");
}

#[test]
fn undo_restores_what_a_command_removed_to_the_byte() {
    for (args, more) in [
        (&["rm", "app:1"][..], false),
        (&["rm", "--no-prune", "app:1"], false),
        (&["rm", "multi:1"], false),
        (&["rm", "multi:1", "--platform", "linux/arm64"], true),
        (&DROP_SPARSE, false),
        (&DROP_HOLLOW, false),
        (&["rm", "-f", "app:1", "other:1", "multi:1"], false),
        (&["gc"], false),
        (&["prune", "-f"], false),
        (&["prune", "-f", "-a", "--keep", "multi:*"], false),
    ] {
        let (layout, _) = fixture();
        let before = bytes(layout.path());
        let run = trashing(layout.path(), args);
        run.ok()
            .says("Moved to trash: ")
            .keeps_quiet_about("Deleted: ");
        assert_ne!(bytes(layout.path()), before, "{}", run.all());
        let picture = snapshot(layout.path());
        let dry = undo(layout.path(), &["-n"]);
        dry.ok().says("; nothing was changed");
        assert_same(&picture, &snapshot(layout.path()), &dry.all());
        let back = undo(layout.path(), &[]);
        assert_back(&before, layout.path(), more.then_some("blobs"), &back);
        let kept = "kept 1 document that the run wrote, no longer listed";
        assert_eq!(back.stderr.contains(kept), more, "{}", back.all());
        assert_eq!(in_trash(layout.path()), 0, "{}", back.all());
        let again = undo(layout.path(), &[]);
        again.ok().warns("has already been undone");
        assert_back(&before, layout.path(), more.then_some("blobs"), &again);
        Cmd::new(["check"]).arg(layout.path()).run().ok();
        // Now it is deleted permanently.
        Cmd::new([args[0]])
            .arg(layout.path())
            .args(["--grace", "0"])
            .args(&args[1..])
            .run()
            .ok();
    }
}

/// Three images with names, docker's list, and an orphan.
fn fixture() -> (LayoutBuilder, Vec<Image>) {
    let mut layout = LayoutBuilder::new();
    let (index, mut images) = multi(&layout, &["linux/amd64", "linux/arm64"]);
    let app = layout.image("linux/amd64", "app", &[b"linux/amd64", b"app"]);
    let other = layout.image("linux/amd64", "other", &[b"linux/amd64", b"other"]);
    let dangling = layout.image("linux/amd64", "dangling", &[b"dangling"]);
    layout.layer(b"nothing references this");
    layout
        .tag(&index, "multi:1")
        .tag(&app.manifest, "app:1")
        .entry(&dangling.manifest)
        .tag(&other.manifest, "other:1")
        .save_element(&["app:1"], &app.config, &app.layers)
        .save_element(&["other:1"], &other.config, &other.layers)
        .write();
    images.extend([app, other]);
    (layout, images)
}

#[test]
fn each_of_several_runs_is_undone_in_turn() {
    let (layout, _) = fixture();
    let path = layout.path();
    let mut pictures = Vec::new();
    for args in [
        &["rm", "app:1"][..],
        &["gc"],
        &["rm", "-f", "multi:1", "--platform", "linux/arm64"],
        &["prune", "-f", "-a", "--keep", "multi:*"],
    ] {
        pictures.push(bytes(path));
        trashing(path, args).ok();
    }
    let names = names(path);
    assert_eq!(names.len(), 4);
    for (name, before) in names.iter().zip(&pictures).rev() {
        let run = undo(path, &[name]);
        assert_back(before, path, Some("blobs"), &run);
    }
    assert_eq!(in_trash(path), 0);
}

#[test]
fn runs_are_undone_in_any_order() {
    let (layout, images) = fixture();
    let path = layout.path();
    let entries = |path: &Path| {
        let mut entries = crate::support::files::entries(path);
        entries.sort();
        entries
    };
    let before = entries(path);
    for args in [&["rm", "app:1"][..], &["rm", "other:1"], &["rm", "multi:1"]] {
        trashing(path, args).ok();
    }
    let names = names(path);
    let mut last = undo(path, &[&names[1]]);
    for name in [&names[0], &names[2]] {
        last.warns("");
        last = undo(path, &[name]);
    }
    assert_eq!(entries(path), before, "{}", last.all());
    layout.assert_has(images.iter().flat_map(Image::parts), &last);
    Cmd::new(["check"]).arg(path).run().ok();
}

#[test]
fn later_writes_of_others_are_kept() {
    let (layout, app, _) = app_and_other();
    let path = layout.path().to_owned();
    trashing(&path, &["rm", "app:1"]).ok();
    let text = fs::read_to_string(path.join("index.json")).expect("it is there");
    let new = layout.image("linux/amd64", "new", &[b"new"]);
    let entry = format!(
        r#"{{"digest":"{}","size":{},"mediaType":"application/vnd.oci.image.manifest.v1+json","annotations":{{"org.opencontainers.image.ref.name":"app:1"}}}}"#,
        new.manifest.digest,
        fs::metadata(path.join(new.manifest.blob_path()))
            .expect("it is there")
            .len(),
    );
    let at = text.rfind(']').expect("a list");
    let text = format!("{},{entry}{}", &text[..at], &text[at..]);
    fs::write(path.join("index.json"), &text).expect("it can be written");
    let run = undo(&path, &[]);
    run.ok()
        .warns("`app:1` now refers to another image and was not restored");
    layout.assert_has(app.parts().into_iter().chain(new.parts()), &run);
    let entries = crate::support::files::entries(&path);
    assert_eq!(entries.len(), 3, "{}", run.all());
    assert!(entries.contains(&entry), "{entries:?}");
    let named = entries.iter().filter(|entry| entry.contains("app:1"));
    assert_eq!(named.count(), 1, "{entries:?}");
    let again = undo(&path, &[]);
    again.ok();
    assert_eq!(
        crate::support::files::entries(&path),
        entries,
        "{}",
        again.all()
    );
    Cmd::new(["check"]).arg(&path).run().ok();
}

#[test]
fn without_a_duration_blobs_are_deleted_immediately() {
    for (flag, variable, is_trashed) in [
        (None, None, false),
        (None, Some(""), false),
        (None, Some("14d"), true),
        (None, Some("0"), false),
        (Some("--trash=0"), Some("14d"), false),
        (Some("--trash=1h"), Some("0"), true),
        (Some("--trash"), None, true),
    ] {
        let (layout, app, _) = app_and_other();
        let mut cmd = bare(layout.path(), ["--grace", "0"]);
        if let Some(flag) = flag {
            cmd = cmd.arg(flag);
        }
        if let Some(variable) = variable {
            cmd = cmd.env("OCISWEEP_TRASH", variable);
        }
        let run = cmd.arg("app:1").run();
        run.ok();
        assert!(!layout.has(&app.manifest));
        assert_eq!(
            in_trash_or_none(layout.path()) > 0,
            is_trashed,
            "{}",
            run.all()
        );
    }
    let (layout, ..) = app_and_other();
    let run = bare(layout.path(), ["app:1"])
        .env("OCISWEEP_TRASH", "soon")
        .run();
    run.exits(2)
        .one_error_with_hint()
        .warns("OCISWEEP_TRASH=soon");
}

fn in_trash_or_none(layout: &Path) -> usize {
    if layout.join(".ocisweep/trash").is_dir() {
        in_trash(layout)
    } else {
        0
    }
}

#[test]
fn only_its_own_rules_empty_the_trash() {
    let (layout, _) = fixture();
    let path = layout.path();
    trashing(path, &["rm", "-f", "app:1", "other:1"]).ok();
    let count = in_trash(path);
    assert!(count > 0);
    for args in [
        &["gc", "--grace", "0", "--temp-age", "0s"][..],
        &["prune", "-f", "-a", "--grace", "0", "--allow-empty"],
        &[
            "gc",
            "--grace",
            "0",
            "--temp-age",
            "0s",
            "--allow-empty",
            "--remove-empty-layouts",
        ],
        &["check"],
        &["df"],
        &["blobs", "--live"],
    ] {
        let run = Cmd::new([args[0]]).arg(path).args(&args[1..]).run();
        run.ok();
        assert_eq!(in_trash(path), count, "{}", run.all());
        assert!(!run.all().contains("foreign"), "{}", run.all());
    }
    assert!(
        path.join("index.json").is_file(),
        "the layout is kept with its trash"
    );
    // It has expired: the next run with `--trash` deletes it, and no other run.
    let name = names(path).remove(0);
    let record = path.join(".ocisweep/trash").join(&name).join("run.json");
    let text = fs::read_to_string(&record).expect("it is there");
    let ends = runs(path)[0]["ends"].as_str().expect("a time").to_owned();
    fs::write(&record, text.replace(&ends, "2020-01-01T00:00:00Z")).expect("it can be written");
    layout.layer(b"another orphan");
    Cmd::new(["gc", "--grace", "0", "-n", "--allow-empty", "--trash"])
        .arg(path)
        .run()
        .ok();
    assert_eq!(names(path), [name.as_str()]);
    Cmd::new(["gc", "--grace", "0", "--allow-empty", "--trash"])
        .arg(path)
        .run()
        .ok();
    let left = names(path);
    assert_eq!((left.len(), left.contains(&name)), (1, false));
    let run = Cmd::new(["trash", "empty"]).arg(path).run();
    run.ok().ends_with_line("Total reclaimed space: 14B");
    assert!(!path.join(".ocisweep/trash").exists(), "{}", run.all());
}

#[test]
fn df_has_a_row_for_the_trash_that_no_other_row_includes() {
    let (layout, ..) = app_and_other();
    let df = || Cmd::new(["df"]).arg(layout.path()).run();
    let json = || {
        let run = Cmd::new(["df", "--format", "json"])
            .arg(layout.path())
            .run();
        run.ok()
            .json()
            .pointer("/layouts/0")
            .expect("a layout")
            .clone()
    };
    df().ok().keeps_quiet_about("Trash");
    let before = json();
    trashing(layout.path(), &["rm", "app:1"]).ok();
    let (now, run) = (json(), &runs(layout.path())[0]);
    assert_eq!(now["trash"]["size_bytes"], run["bytes"]);
    assert_eq!(now["trash"]["reclaimable_bytes"], run["bytes"]);
    assert_eq!(now["trash"]["total"], run["blobs"]);
    let bytes = |row: &Value| row["total"]["size_bytes"].as_u64().expect("a number");
    let moved = run["bytes"].as_u64().expect("a number");
    assert_eq!(bytes(&before), bytes(&now) + moved);
    df().ok().says("Trash       3         0 ");
}

#[test]
fn a_dry_run_reports_what_the_run_does() {
    let (layout, app, _) = app_and_other();
    let picture = snapshot(layout.path());
    let dry = trashing(layout.path(), &["rm", "-n", "app:1"]);
    dry.ok()
        .says(&format!("Would move to trash: {}\n", app.manifest.digest))
        .says("Would reclaim 0B; nothing was changed\n");
    assert_same(&picture, &snapshot(layout.path()), &dry.all());
    let json = trashing(layout.path(), &["rm", "-n", "--format", "json", "app:1"]);
    let dry_report = json.ok().json();
    let run = trashing(layout.path(), &["rm", "app:1"]);
    run.ok()
        .says(&format!("Moved to trash: {}\n", app.manifest.digest))
        .says("Total reclaimed space: 0B\n")
        .says("(ocisweep undo ");
    let own = &runs(layout.path())[0];
    let dry = dry_report.pointer("/layouts/0/trash").expect("a trash");
    assert_eq!(
        (&dry["blobs"], &dry["bytes"]),
        (&own["blobs"], &own["bytes"])
    );
    assert!(
        own["command"]
            .as_str()
            .is_some_and(|it| it.starts_with("rm ")),
        "{own}"
    );
    assert_eq!(own["names"], serde_json::json!(["app:1"]));
}

#[test]
fn blobs_that_are_listed_again_are_restored_by_the_next_run() {
    for args in [
        &["gc", "--grace", "0"][..],
        &["prune", "-f", "--grace", "0"],
        &["gc", "--grace", "0", "--trash"],
    ] {
        let (layout, app, _) = app_and_other();
        let path = layout.path();
        let index = fs::read(path.join("index.json")).expect("it is there");
        trashing(path, &["rm", "app:1"]).ok();
        // A writer that does not rewrite blobs that it has seen.
        fs::write(path.join("index.json"), &index).expect("it can be written");
        let check = Cmd::new(["check"]).arg(path).run();
        assert_ne!(check.code, Some(0), "{}", check.all());
        let run = Cmd::new([args[0]]).arg(path).args(&args[1..]).run();
        let line = format!("Restored: {} needed by app:1\n", app.manifest.digest);
        run.ok().says(&line).keeps_quiet_about("Deleted: ");
        layout.assert_has(app.parts(), &run);
        Cmd::new(["check"]).arg(path).run().ok();
    }
}

#[test]
fn intentionally_dropped_platforms_are_not_restored() {
    for mode in ["sparse", "hollow"] {
        let mut layout = LayoutBuilder::new();
        let (index, _) = multi(&layout, &["linux/amd64", "linux/arm64"]);
        layout.tag(&index, "multi:1").write();
        let args = [
            "rm",
            "multi:1",
            "--platform",
            "linux/arm64",
            "--platform-mode",
            mode,
        ];
        trashing(layout.path(), &args).ok();
        let count = in_trash(layout.path());
        assert!(count > 0);
        let run = Cmd::new(["gc", "--grace", "0", "--trash"])
            .arg(layout.path())
            .run();
        run.ok().keeps_quiet_about("Restored: ");
        assert_eq!(in_trash(layout.path()), count, "{}", run.all());
    }
}

#[test]
fn a_single_blob_can_be_restored() {
    let (layout, app, _) = app_and_other();
    trashing(layout.path(), &["rm", "app:1"]).ok();
    let digest = &app.config.digest;
    let dry = undo(layout.path(), &["--blob", digest, "-n"]);
    dry.ok().says("; nothing was changed");
    assert!(!layout.has(&app.config));
    for says in [
        format!("Restored: {digest}\n"),
        "Total restored: 0 blobs".to_owned(),
    ] {
        let run = undo(layout.path(), &["--blob", digest]);
        run.ok().says(&says);
        assert!(
            layout.has(&app.config) && !layout.has(&app.manifest),
            "{}",
            run.all()
        );
    }
    let other = format!("sha256:{}", "0".repeat(64));
    undo(layout.path(), &["--blob", &other]).refused();
    undo(layout.path(), &["--blob", "app"]).exits(2);
    // The rest of the run.
    let run = undo(layout.path(), &[]);
    layout.assert_has(app.parts(), run.ok());
}

#[test]
fn undoing_a_run_without_its_blobs_is_refused() {
    let (layout, app, _) = app_and_other();
    let path = layout.path();
    trashing(path, &["rm", "app:1"]).ok();
    let name = names(path).remove(0);
    let blob = path
        .join(".ocisweep/trash")
        .join(&name)
        .join(app.config.blob_path().trim_start_matches("blobs/"));
    fs::remove_file(&blob).expect("it is in the trash");
    let picture = without_directory_times(&snapshot(path));
    let run = undo(path, &[]);
    run.refused()
        .one_error_with_hint()
        .warns(&app.config.digest);
    let now = without_directory_times(&snapshot(path));
    assert_same(&picture, &now, &run.all());
    undo(path, &["2020"])
        .refused()
        .warns("there is no run 2020");
}

#[test]
fn a_damaged_file_in_place_of_a_blob_is_reported_and_kept() {
    let (layout, app, _) = app_and_other();
    trashing(layout.path(), &["rm", "app:1"]).ok();
    layout.file(&app.config.blob_path(), b"damaged");
    let run = undo(layout.path(), &[]);
    run.exits(1).warns(&app.config.digest);
    let bytes = fs::read(layout.join(&app.config.blob_path())).expect("it is there");
    assert_eq!(bytes, b"damaged", "{}", run.all());
    assert_eq!(in_trash(layout.path()), 1, "{}", run.all());
}

#[test]
fn each_layout_of_a_tree_has_its_own_run() {
    let temp = memory_dir();
    let mut before = Vec::new();
    for name in ["a", "b", "c"] {
        let mut layout = LayoutBuilder::at(&temp.path().join(name));
        let app = layout.image("linux/amd64", name, &[b"app"]);
        if name != "c" {
            layout.layer(name.as_bytes());
        }
        layout.tag(&app.manifest, "app:1").write();
        before.push((temp.path().join(name), bytes(&temp.path().join(name))));
    }
    let run = Cmd::new(["gc", "-r", "--grace", "0", "--trash"])
        .arg(temp.path())
        .run();
    run.ok()
        .says("Moved to trash: 2 blobs, 2B, of 2 layouts (ocisweep undo LAYOUT)\n");
    for (path, before) in &before {
        if !path.ends_with("c") {
            assert_eq!(runs(path).len(), 1);
            let run = undo(path, &[]);
            assert_back(before, path, None, &run);
        } else {
            assert!(!path.join(".ocisweep").exists());
        }
    }
}

#[test]
fn trash_is_emptied_by_age_and_by_name() {
    let (layout, _) = fixture();
    let path = layout.path();
    for args in [&["rm", "app:1"][..], &["rm", "other:1"], &["gc"]] {
        trashing(path, args).ok();
    }
    let all = names(path);
    let empty = |args: &[&str]| Cmd::new(["trash", "empty"]).arg(path).args(args).run();
    empty(&["--older-than", "1h"])
        .ok()
        .says("Total reclaimed space: 0B");
    assert_eq!(names(path), all);
    let picture = snapshot(path);
    let dry = empty(&["-n", &all[1]]);
    dry.ok().says("Would empty: ");
    assert_same(&picture, &snapshot(path), &dry.all());
    empty(&[&all[1]]).ok().says("Emptied: ");
    assert_eq!(names(path), [all[0].as_str(), all[2].as_str()]);
    std::thread::sleep(Duration::from_millis(1100));
    empty(&["--older-than", "1s"]).ok();
    assert!(!path.join(".ocisweep/trash").exists());
    empty(&[]).ok().says("Total reclaimed space: 0B");
    undo(path, &[])
        .refused()
        .one_error_with_hint()
        .warns("it is empty");
}

/// The files that `undo` has to restore.
const FEATURES: Features = Features {
    // Temporary files are deleted, and not moved to the trash.
    writers: false,
    // It would need a flag for each command.
    ignored_indexes: false,
    ..Features::TOOLS
};

/// Random layouts and commands: each run is undone in turn, and every file is as before that run. In a third of the cases
/// the changes of a second writer in between are kept, and everything that was named is named and intact again.
#[test]
fn random_runs_are_undone_to_the_byte() {
    let mut failures = Failures::default();
    each_seed("OCISWEEP_UNDO", 36, varied, |seed| {
        let run = |u: &mut Unstructured<'_>| {
            let (is_wild, has_writer) =
                *u.choose(&[(false, false), (true, false), (false, true)])?;
            // The second writer parses what it writes again.
            let wild = is_wild.then_some(Mood::Calm);
            let world = draw::world(u, &Features { wild, ..FEATURES })?;
            let tried = AssertUnwindSafe(|| random_runs(u, &world, is_wild, has_writer));
            match catch_unwind(tried) {
                Ok(drawn) => drawn?,
                Err(payload) => {
                    failures.add(world.nodes.len(), seed, panic_message(&*payload));
                }
            }
            Ok(())
        };
        arbtest(run).seed(seed).run();
    });
    failures.assert_none("OCISWEEP_UNDO");
}

fn random_runs(
    u: &mut Unstructured<'_>,
    world: &World,
    is_wild: bool,
    has_writer: bool,
) -> arbitrary::Result<()> {
    let written = write(world);
    let path = written.layout.path();
    let story = describe(world, &written.digests);
    let mut images = world.names();
    images.push("app:1".to_owned());
    let start = if has_writer {
        entries_but_new(path)
    } else {
        Vec::new()
    };
    let mut writes = 0;
    let mut pictures: Vec<(Bytes, String)> = Vec::new();
    for _ in 0..u.int_in_range(2..=5)? {
        let name = u.choose(&images)?.as_str();
        let args: Vec<&str> = match u.int_in_range(0..=4)? {
            0 => vec!["rm", "-f", name],
            1 => vec!["prune", "-f", "--allow-empty"],
            2 => vec!["prune", "-f", "-a", "--keep-last", "1", "--allow-empty"],
            3 => vec!["rm", "--no-prune", name],
            _ => vec!["gc", "--allow-empty"],
        };
        let before = bytes(path);
        let known = names(path).len();
        let run = trashing(path, &args);
        let is_refused = is_wild && matches!(run.code, Some(3 | 4));
        assert!(
            is_refused || matches!(run.code, Some(0 | 1)),
            "{}{story}",
            run.all()
        );
        let now = names(path);
        if now.len() > known {
            pictures.push((before, now[known].clone()));
        } else {
            // Blobs that the second writer lists again are restored by the next run.
            let is_cured = has_writer && run.stdout.contains("Restored: ");
            assert!(is_cured || bytes(path) == before, "{}{story}", run.all());
        }
        if has_writer {
            let listed = match u.arbitrary()? {
                true => None,
                false if start.is_empty() => None,
                false => Some(u.choose(&start)?.as_str()),
            };
            write_anew(&written.layout, &format!("new:{writes}"), listed);
            writes += 1;
        }
    }
    for (before, name) in pictures.iter().rev() {
        let run = undo(path, &[name]);
        run.ok();
        if !has_writer {
            assert_back(before, path, None, &run);
        }
    }
    if has_writer {
        let index = fs::read_to_string(path.join("index.json")).expect("it is there");
        assert_listed(&start, path, &story);
        for number in 0..writes {
            let name = format!("\"new:{number}\"");
            assert!(index.contains(&name), "{name}\n{index}{story}");
        }
        Cmd::new(["check"]).arg(path).run().ok();
    }
    Ok(())
}

/// Panics unless exactly the earlier images are listed: only an untagged image may have been named by the second writer,
/// which then lists it.
#[track_caller]
fn assert_listed(start: &[String], layout: &Path, story: &str) {
    let now = entries_but_new(layout);
    let parse = |text: &String| -> Value { serde_json::from_str(text).expect("an entry") };
    let is_named = |entry: &Value| {
        let keys = [
            "org.opencontainers.image.ref.name",
            "io.containerd.image.name",
        ];
        let base = "org.opencontainers.image.base.name";
        let mut keys = keys.into_iter().chain([base]);
        keys.any(|key| {
            entry["annotations"][key]
                .as_str()
                .is_some_and(|it| !it.is_empty())
        })
    };
    let all = entries(layout);
    let new = all.iter().filter(|entry| is_new(entry)).map(parse);
    let new: Vec<Value> = new.map(|entry| entry["digest"].clone()).collect();
    let mut left = start.to_vec();
    let mut more = Vec::new();
    for entry in now {
        match left.iter().position(|left| *left == entry) {
            Some(at) => drop(left.remove(at)),
            None => more.push(entry),
        }
    }
    left.retain(|entry| {
        let entry = parse(entry);
        is_named(&entry) || !new.contains(&entry["digest"])
    });
    assert!(
        left.is_empty() && more.is_empty(),
        "not listed: {left:#?}\nnot listed before: {more:#?}\n{all:#?}{story}"
    );
}

/// Returns the entries of `index.json` that do not belong to the second writer, in a fixed order.
fn entries_but_new(layout: &Path) -> Vec<String> {
    let mut entries = entries(layout);
    entries.retain(|entry| !is_new(entry));
    entries.sort();
    entries
}

/// Returns `true` if an entry belongs to the second writer.
fn is_new(entry: &str) -> bool {
    entry.contains("\"new:")
}

fn entries(layout: &Path) -> Vec<String> {
    let text = fs::read_to_string(layout.join("index.json")).expect("it is there");
    let index: Value = serde_json::from_str(&text).expect("an index");
    let entries = index["manifests"].as_array().expect("entries").iter();
    entries.map(Value::to_string).collect()
}

/// Lists an image as most programs do: `index.json` is rewritten from a data model. The image is a new one, or that of an
/// entry.
fn write_anew(layout: &LayoutBuilder, name: &str, listed: Option<&str>) {
    let path = layout.join("index.json");
    let text = fs::read_to_string(&path).expect("it is there");
    let mut index: Value = serde_json::from_str(&text).expect("an index");
    let mut entry: Value = match listed {
        Some(entry) => serde_json::from_str(entry).expect("an entry"),
        None => {
            let image = layout.image("linux/amd64", name, &[b"layer 1", name.as_bytes()]);
            serde_json::json!({
                "mediaType": crate::support::media::MANIFEST,
                "digest": image.manifest.digest,
                "size": image.manifest.size,
            })
        }
    };
    entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": name});
    let entries = index["manifests"].as_array_mut().expect("entries");
    entries.push(entry);
    fs::write(&path, index.to_string()).expect("it can be written");
}

/// An image that was listed with a name and without one is so again, whatever name another program has given it.
#[test]
fn an_entry_without_a_name_is_restored_beside_a_new_name_of_its_image() {
    for is_named in [true, false] {
        let (mut layout, app, other) = app_and_other();
        layout.clear_entries().entry(&app.manifest);
        if is_named {
            layout.tag(&app.manifest, "app:1");
        }
        layout.tag(&other.manifest, "other:1").write();
        let before = entries(layout.path());
        let args = ["rm", "-f", &app.manifest.digest];
        trashing(layout.path(), &args).ok();
        write_anew(&layout, "new:1", Some(&before[0]));
        let named = entries(layout.path());
        let run = undo(layout.path(), &[]);
        run.ok().says(match is_named {
            true => ", and 1 name\n",
            false => ", and 0 names\n",
        });
        let wanted = match is_named {
            true => [&before[..], &named[1..]].concat(),
            // It was untagged, and is now named.
            false => named,
        };
        assert_eq!(entries(layout.path()), wanted, "{}", run.all());
        Cmd::new(["check"]).arg(layout.path()).run().ok();
    }
}

#[test]
fn a_tree_is_undone_layout_by_layout() {
    let temp = memory_dir();
    let names = ["a", "b", "c"];
    let paths = names.map(|name| temp.path().join(name));
    let before = names.map(|name| {
        let path = temp.path().join(name);
        let mut layout = LayoutBuilder::at(&path);
        let app = layout.image("linux/amd64", name, &[b"app"]);
        layout.tag(&app.manifest, "app:1");
        // Nothing is removed from the last one.
        if name != "c" {
            layout.layer(name.as_bytes());
        }
        layout.write();
        bytes(&path)
    });
    let gc = ["gc", "-r", "--grace", "0", "--trash"];
    let gone = Cmd::new(gc).arg(temp.path()).run();
    gone.ok();
    let after = paths.each_ref().map(|path| bytes(path));
    assert_ne!(after, before);
    let undo = |args: &[&str]| Cmd::new(["undo", "-r"]).arg(temp.path()).args(args).run();

    let dry = undo(&["-n", "--format", "json"]);
    let layouts = dry.ok().json()["layouts"].clone();
    assert_eq!(layouts.as_array().map(Vec::len), Some(2), "{}", dry.all());
    assert_eq!(paths.each_ref().map(|path| bytes(path)), after);

    let run = undo(&[]);
    run.ok().says("Total restored: 1 blob, 1B, and 0 names");
    for (path, before) in paths.iter().zip(&before) {
        assert_back(before, path, None, &run);
    }
    // Done twice, it changes nothing.
    let again = undo(&[]);
    again.ok().warns("has already been undone");
    for (path, before) in paths.iter().zip(&before) {
        assert_back(before, path, None, &again);
    }
}
