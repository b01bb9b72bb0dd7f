//! Empty layouts: `--remove-empty-layouts` removes them, and a partial removal does no harm.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use ocisweep::Snapshot;
use ocisweep::execute::{execute, remove_directory};
use ocisweep::fs::Disk;
use ocisweep::graph::{EmptyIndex, GracePolicy, MissingDocuments};
use ocisweep::layout::lock::Locked;
use ocisweep::plan::{EmptyLayouts, Plan, SweepOptions, remove_if_empty, sweep_all};
use ocisweep::progress::Silent;

use crate::support::environment::{NO_PROGRESS, Terminal};
use crate::support::files::entries;
use crate::support::run::PROGRAM;
use crate::support::test_dir::of_layouts;
use crate::support::{LayoutBuilder, Stopping, TestDir, Way, assert_same, at, for_each, snapshot};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const PRUNE: [&str; 5] = [
    "prune",
    "-f",
    "-a",
    "--allow-empty",
    "--remove-empty-layouts",
];
const GC: [&str; 3] = ["gc", "--allow-empty", "--remove-empty-layouts"];

/// Makes a layout that lists nothing, with an orphan, and that was not touched for a day.
fn empty(fixture: &TestDir, relative: &str) -> LayoutBuilder {
    let layout = LayoutBuilder::at(&fixture.join(relative));
    layout.layer(b"an orphan");
    layout.write();
    layout.age("index.json", DAY);
    for blob in fs::read_dir(layout.join("blobs/sha256")).expect("it has blobs") {
        let blob = blob.expect("it has blobs").path();
        crate::support::layout::set_modified(&blob, SystemTime::now() - DAY);
    }
    layout
}

#[test]
fn a_layout_that_becomes_empty_is_removed_with_its_directory() {
    let fixture = TestDir::new();
    let (layout, _) = fixture.layout("tree/org/app");
    layout.age("index.json", DAY);
    fixture
        .layout("tree/org/app/debug")
        .0
        .age("index.json", DAY);
    let (held, _) = fixture.layout("tree/org/held");
    held.age("index.json", DAY);
    fixture
        .run(&["hold", "add", "tree/org/held", "release", "v1"])
        .ok();
    let before = snapshot(fixture.path());
    let args = [&PRUNE[..], &["--grace", "0", "-r", "tree"]].concat();
    let dry = fixture.run(&[&args[..], &["-n"]].concat());
    dry.ok().says("Would remove: tree/org/app (empty layout)");
    assert_same(&before, &snapshot(fixture.path()), &dry.all());
    let json = fixture
        .run(&[&args[..], &["--format", "json"]].concat())
        .ok()
        .json();
    let states = ["removed", "removed", "done"];
    assert_eq!(of_layouts(&json, "state"), states, "{json:#}");
    let item = json["layouts"][0]["items"].as_array().expect("items");
    let item = item.last().expect("an item");
    assert_eq!(
        (&item["kind"], &item["action"]),
        (&"layout".into(), &"remove".into())
    );
    let left: Vec<String> = fs::read_dir(fixture.join("tree/org"))
        .expect("the tree exists")
        .map(|name| {
            name.expect("a name")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(left, ["held"]);
    assert_eq!(entries(held.path()).len(), 1);
}

/// Blobs that another tool's file lists may be missing, but the layout still belongs to that tool.
#[test]
fn a_layout_with_a_second_index_is_not_empty() {
    let fixture = TestDir::new();
    let layout = empty(&fixture, "layout");
    let digest = format!("sha256:{}", "7".repeat(64));
    let text = format!(r#"{{"chart":{{"digest":"{digest}","size":1}}}}"#);
    layout.file("tags.json", text.as_bytes());
    let run = fixture.run(&[&GC[..], &["--grace", "0", "layout"]].concat());
    run.ok().keeps_quiet_about("Removed: ");
    assert!(layout.join("index.json").exists() && layout.join("oci-layout").exists());
    let args = ["--grace", "0", "--ignore-index", "tags.json", "layout"];
    let run = fixture.run(&[&GC[..], &args].concat());
    run.ok().says("Removed: layout (empty layout)");
    assert!(layout.join("tags.json").exists(), "{}", run.all());
}

#[test]
fn without_the_flag_an_empty_layout_is_kept() {
    let fixture = TestDir::new();
    let layout = empty(&fixture, "layout");
    fixture.run(&["gc", "--allow-empty", "layout"]).ok();
    assert!(layout.join("index.json").exists() && layout.join("oci-layout").exists());
    // A layout that was already empty is removed as well.
    let run = fixture.run(&[
        "gc",
        "-n",
        "--exit-code",
        "--remove-empty-layouts",
        "layout",
    ]);
    run.exits(10);
    let run = fixture.run(&["gc", "--remove-empty-layouts", "layout"]);
    run.ok().says("Removed: layout (empty layout)");
    assert!(!layout.path().exists());
}

/// Each of these is a reason to keep the layout.
#[test]
fn layouts_that_may_still_be_needed_are_kept() {
    type Change = fn(&LayoutBuilder);
    let reasons: [(&str, Change); 9] = [
        ("a young index", |layout| {
            layout.age("index.json", Duration::from_secs(60));
        }),
        ("a hold that has ended", |layout| {
            let hold = r#"{"schema_version":1,"holds":[{"name":"x","digest":"sha256:DIGEST","until":"2020-01-01T00:00:00Z"}]}"#;
            let hold = hold.replace("DIGEST", &"ab".repeat(32));
            layout.file(".ocisweep/holds.json", hold.as_bytes());
        }),
        ("a foreign file among the blobs", |layout| {
            layout.file("blobs/sha256/notes", b"");
        }),
        ("blobs of an unknown algorithm", |layout| {
            layout.file("blobs/blake3/ab", b"");
        }),
        ("an upload", |layout| {
            layout.file(".uploads/11111111-2222-3333-4444-555555555555", b"x");
        }),
        ("something that a writer stages", |layout| {
            layout.directory("ingest/somebody");
        }),
        ("a temporary file of a writer", |layout| {
            layout.file("oci-put-blob123456789", b"x");
        }),
        ("docker's list", |layout| {
            layout.file("manifest.json", b"[]");
        }),
        ("a recent blob", |layout| {
            layout.age("index.json", Duration::from_secs(2 * 60 * 60));
            let young = layout.layer(b"a young orphan");
            layout.fresh([&young]);
        }),
    ];
    for_each(
        reasons,
        |(why, _)| (*why).to_owned(),
        |(_, change)| {
            let fixture = TestDir::new();
            let layout = empty(&fixture, "layout");
            change(&layout);
            let dry = fixture.run(&[&GC[..], &["-n", "layout"]].concat());
            let run = fixture.run(&[&GC[..], &["layout"]].concat());
            for run in [&dry, &run] {
                run.ok().keeps_quiet_about("(empty layout)");
            }
            assert!(layout.join("index.json").exists(), "{}", run.all());
            assert!(layout.join("oci-layout").exists(), "{}", run.all());
        },
    );
}

#[test]
fn other_files_in_the_directory_keep_it() {
    let fixture = TestDir::new();
    let layout = empty(&fixture, "layout");
    layout.file("README", b"precious").directory(".uploads");
    fixture.run(&[&GC[..], &["layout"]].concat()).ok();
    let left: Vec<_> = fs::read_dir(layout.path())
        .expect("the directory exists")
        .map(|name| name.expect("a name").file_name())
        .collect();
    assert_eq!(left, ["README"]);
    // A link to it remains a link to it.
    let linked = empty(&fixture, "real");
    std::os::unix::fs::symlink("real", fixture.join("link")).expect("a link can be made");
    fixture.run(&[&GC[..], &["link"]].concat()).ok();
    let left = fs::read_dir(linked.path()).expect("the directory exists");
    assert_eq!(left.count(), 0);
}

#[test]
fn a_layout_that_lists_something_is_never_removed() {
    let fixture = TestDir::new();
    let (layout, image) = fixture.layout("layout");
    for digest in image.digests() {
        layout.remove(&format!("blobs/{}", digest.replacen(':', "/", 1)));
    }
    layout.age("index.json", DAY);
    let run = fixture.run(&[&GC[..], &["--allow-missing", "--grace", "0", "layout"]].concat());
    run.ok();
    assert_eq!(entries(layout.path()).len(), 1);
}

#[test]
fn the_confirmation_names_the_layouts_that_would_be_removed() {
    let fixture = TestDir::new();
    let layout = empty(&fixture, "layout");
    let words = "prune --allow-empty --remove-empty-layouts layout";
    let line = format!("{PROGRAM} {NO_PROGRESS} {words}");
    let Some(terminal) = Terminal::start(&line, fixture.path(), &[]) else {
        return;
    };
    let text = terminal.answer("").stdout;
    assert!(
        text.contains("This will remove the layout layout, which will be empty."),
        "{text}"
    );
    assert!(layout.join("index.json").exists(), "{text}");
}

fn planned(layout: &Path) -> (Snapshot, Plan) {
    let now = Timestamp::now();
    let view = Snapshot::read(layout, now, &Silent).expect("the layout can be read");
    let now = now.as_nanosecond();
    let options = SweepOptions::new(at(now), at(now), Duration::ZERO);
    let plan = sweep_all(
        &view,
        MissingDocuments::Refuse,
        EmptyIndex::Allow,
        &Disk,
        &options,
    );
    let mut plan = plan.expect("nothing is damaged");
    remove_if_empty(&view, &mut plan, GracePolicy::new(at(now), Duration::ZERO));
    assert_eq!(plan.empty_layout(), EmptyLayouts::Remove);
    (view, plan)
}

/// Removes the layout with a file system that stops or is disturbed at one call; returns the number of calls, and whether
/// the layout was removed.
fn run(layout: &Path, at: usize, way: Way) -> (usize, bool) {
    let (view, plan) = planned(layout);
    let disk = Stopping::new(way, at, layout);
    let locked = Locked::acquire(&view.layout, Duration::ZERO, &Silent).expect("nobody holds it");
    let outcome = execute(&locked, &plan, &disk, &Silent);
    drop(locked);
    let retired = outcome.is_ok_and(|outcome| outcome.layout_removed);
    if retired {
        drop(remove_directory(layout, &disk));
    }
    (disk.calls().len(), retired)
}

/// Wherever it stops, there is an empty layout or none, and a second run works with either.
#[test]
fn a_stop_at_any_call_leaves_an_empty_layout_or_none() {
    for stop in 1.. {
        let fixture = TestDir::new();
        let layout = empty(&fixture, "tree/layout");
        let (calls, _) = run(layout.path(), stop, Way::Dies);
        let is_layout = layout.join("oci-layout").exists() || layout.join("blobs").exists();
        if is_layout {
            assert_eq!(entries(layout.path()).len(), 0, "stopped at call {stop}");
        }
        let again = fixture.run(&[&GC[..], &["--grace", "0", "-r", "tree"]].concat());
        if is_layout {
            again.ok().says("Removed: tree/layout (empty layout)");
            assert!(!layout.path().exists(), "stopped at call {stop}");
        } else {
            again.refused().warns("there is no image layout in it");
        }
        if stop > calls {
            assert!(!layout.path().exists());
            break;
        }
    }
}

/// Whenever a writer intervenes, its image exists afterwards, intact and listed in a layout.
#[test]
fn a_writer_that_intervenes_at_any_call_loses_nothing() {
    fn write(layout: &Path) {
        let mut builder = LayoutBuilder::at(layout);
        let image = builder.image("linux/amd64", "late", &[b"late layer"]);
        builder.entry(image.manifest.tagged("late"));
        builder.write();
    }
    for stop in 1.. {
        let fixture = TestDir::new();
        let layout = empty(&fixture, "layout");
        let (calls, _) = run(layout.path(), stop, Way::Meets(write));
        if stop > calls {
            break;
        }
        let run = fixture.run(&["ls", "--format", "json", "layout"]);
        let json = run.ok().json();
        assert_eq!(
            json["layouts"][0]["images"][0]["state"],
            "whole",
            "{stop}\n{}",
            run.all()
        );
        assert!(layout.join("oci-layout").exists(), "at call {stop}");
    }
}
