//! `--plan` and `apply`: exactly the plan is executed, or nothing.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::dated::NOW;
use crate::support::environment::memory_dir;
use crate::support::{
    Cmd, Desc, Image, ImageBuilder, LayoutBuilder, Run, TestLayout, assert_same, blobs, listed,
    snapshot, verdicts,
};

/// A layout with a plan for it.
pub(crate) struct Planned {
    pub(crate) shelf: TestLayout,
    pub(crate) plan: PathBuf,
    /// Named and kept.
    pub(crate) kept: Image,
    /// Named and old enough to be removed.
    pub(crate) old: Image,
    /// Overwritten.
    pub(crate) dangling: Image,
    /// Nothing refers to it.
    pub(crate) orphan: Desc,
    /// The run that made the plan.
    pub(crate) run: Run,
}

impl Planned {
    pub(crate) fn new() -> Self {
        let mut shelf = TestLayout::new();
        let kept = shelf.named("app:2", 10, &ImageBuilder::new("new").weighs(700));
        let old = shelf.named("app:1", 60, &ImageBuilder::new("old").weighs(600));
        let dangling = shelf.untagged(50, &ImageBuilder::new("dangling").weighs(500));
        let orphan = shelf.layout.layer(b"orphan");
        shelf.write();
        let plan = shelf.layout.outside().join("plan.json");
        let run = make(&shelf, &plan, &["-a", "--keep-within", "30d"]);
        Self {
            shelf,
            plan,
            kept,
            old,
            dangling,
            orphan,
            run,
        }
    }

    pub(crate) fn apply(&self, args: &[&str]) -> Run {
        Cmd::new(["apply"]).arg(&self.plan).args(args).run()
    }

    /// Panics unless `apply` refuses, changes nothing and says `text`.
    #[track_caller]
    pub(crate) fn is_refused(&self, text: &str) -> Run {
        let before = snapshot(self.shelf.path());
        for args in [&["-n"][..], &[]] {
            let run = self.apply(args);
            run.refused().one_error_with_hint().warns(text);
            assert_same(&before, &snapshot(self.shelf.path()), &run.all());
        }
        self.apply(&[])
    }

    pub(crate) fn json(&self) -> Value {
        let text = fs::read(&self.plan).expect("the plan can be read");
        serde_json::from_slice(&text).expect("the plan is JSON")
    }
}

/// Makes a plan, and panics if that changes anything else.
#[track_caller]
pub(crate) fn make(shelf: &TestLayout, plan: &std::path::Path, args: &[&str]) -> Run {
    let before = snapshot(shelf.path());
    let run = shelf.call(args).arg("--plan").arg(plan).run();
    run.ok();
    assert_same(&before, &snapshot(shelf.path()), &run.all());
    run
}

#[test]
fn a_plan_describes_what_is_removed_and_why() {
    let planned = Planned::new();
    planned
        .run
        .says("Would untag: app:1")
        .says(&format!("Would delete: {}", planned.orphan.digest))
        .says("nothing was changed");
    let json = planned.json();
    assert_eq!(json["schema_version"], 1, "{json:#}");
    assert!(
        json["made_at"]
            .as_str()
            .is_some_and(|time| time.starts_with("2026-11-21T12"))
    );
    let layout = &json["layouts"][0];
    assert_eq!(layout["path"].as_str(), planned.shelf.path().to_str());
    let mut gone: Vec<String> = planned.old.digests();
    gone.extend(planned.dangling.digests());
    gone.push(planned.orphan.digest.clone());
    gone.sort();
    let mut delete: Vec<String> = layout["delete"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|blob| blob["digest"].as_str().expect("a digest").to_owned())
        .collect();
    delete.sort();
    assert_eq!(delete, gone, "{json:#}");
    let here = blobs(planned.shelf.path());
    let bytes: u64 = gone.iter().filter_map(|digest| here.get(digest)).sum();
    assert_eq!(layout["reclaimed_bytes"].as_u64(), Some(bytes), "{json:#}");
    let images = layout["images"].as_array().expect("a list");
    assert_eq!(images.len(), 3, "{json:#}");
    for image in images {
        let reasons = image["reasons"].as_array().expect("a list");
        assert!(!reasons.is_empty(), "{json:#}");
    }
    // The part for review comes first.
    let review = json["review"].as_array().expect("a list");
    let review: Vec<&str> = review.iter().filter_map(|line| line.as_str()).collect();
    let path = planned.shelf.path().display();
    assert!(
        review[0].starts_with(&format!("{path}: remove 2 of 3 images, delete ")),
        "{review:#?}"
    );
    let (id, name) = (planned.old.manifest.short(), "remove app:");
    let line = review.iter().find(|line| line.contains(id));
    let line = line.expect("each image has a line");
    assert!(line.starts_with(name) && line.ends_with(')'), "{line}");
    assert_eq!(review.len(), 4, "{review:#?}");
    let text = std::fs::read_to_string(&planned.plan).expect("there is a plan");
    assert!(text.starts_with("{\n  \"review\": ["), "{text}");
}

#[test]
fn a_fresh_plan_is_executed_exactly() {
    let planned = Planned::new();
    let twin = Planned::new();
    let said = twin.shelf.prune(&["-a", "--keep-within", "30d"]);
    let before = snapshot(planned.shelf.path());
    let dry = planned.apply(&["-n", "--format", "json"]);
    dry.ok();
    assert_same(&before, &snapshot(planned.shelf.path()), &dry.all());
    let run = planned.apply(&["--format", "json"]);
    run.ok();
    assert_eq!(dry.report().deleted(), said.deleted, "{}", dry.all());
    assert_eq!(run.report().deleted(), said.deleted, "{}", run.all());
    assert_eq!(
        blobs(planned.shelf.path()),
        blobs(twin.shelf.path()),
        "{}",
        run.all()
    );
    assert_eq!(
        fs::read(planned.shelf.layout.join("index.json")).ok(),
        fs::read(twin.shelf.layout.join("index.json")).ok(),
        "{}",
        run.all()
    );
    assert!(planned.shelf.has_all(&planned.kept), "{}", run.all());
    let json = run.json();
    assert_eq!(json["command"], "apply", "{}", run.all());
    assert_eq!(
        json["totals"]["reclaimed_bytes"],
        planned.json()["layouts"][0]["reclaimed_bytes"]
    );
}

#[test]
fn apply_has_the_same_output_as_prune() {
    let planned = Planned::new();
    let dry = planned.apply(&["-n"]);
    dry.ok().says("Would untag: app:1").says("Would reclaim");
    let run = planned.apply(&[]);
    run.ok()
        .says("Untagged: app:1")
        .says(&format!("Deleted: {}", planned.orphan.digest))
        .says("Total reclaimed space:");
    let planned = Planned::new();
    let quiet = planned.apply(&["-q"]);
    assert_eq!(quiet.ok().stdout.lines().count(), 1, "{}", quiet.all());
}

#[test]
fn a_plan_is_executed_once() {
    let planned = Planned::new();
    planned.apply(&[]).ok();
    planned.is_refused("have changed");
}

#[test]
fn a_plan_for_nothing_does_nothing() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 5);
    shelf.write();
    let plan = shelf.layout.outside().join("plan.json");
    make(&shelf, &plan, &[]);
    let before = snapshot(shelf.path());
    for _ in 0..2 {
        let run = Cmd::new(["apply"]).arg(&plan).run();
        run.ok().says("Total reclaimed space: 0B");
        assert_same(&before, &snapshot(shelf.path()), &run.all());
    }
}

#[test]
fn a_plan_refers_to_the_same_layout_in_every_directory() {
    let mut shelf = TestLayout::new();
    shelf.small("app:2", 10);
    let old = shelf.overwritten("old", 20);
    shelf.write();
    let outside = shelf.layout.outside();
    let elsewhere = outside.join("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory can be made");
    // A layout of the same relative path that has nothing to do with it.
    let other = LayoutBuilder::at(&elsewhere.join("layout"));
    other.write();
    let args = [
        "prune",
        "--now",
        NOW,
        "--plan",
        "elsewhere/plan.json",
        "layout",
    ];
    Cmd::new(args).current_dir(outside).run().ok();
    let run = Cmd::new(["apply", "plan.json"])
        .current_dir(&elsewhere)
        .run();
    run.ok();
    assert!(!shelf.has(&old.manifest), "{}", run.all());
}

#[test]
fn a_stale_layout_in_a_plan_does_not_stop_the_others() {
    let (one, two, three) = (Planned::new(), Planned::new(), Planned::new());
    let plan = one.shelf.layout.outside().join("all.json");
    let call = one.shelf.call(["-a", "--keep-within", "30d", "--plan"]);
    call.arg(&plan)
        .arg(two.shelf.path())
        .arg(three.shelf.path())
        .run()
        .ok();
    two.shelf.hold("release", "app:1");
    let before = snapshot(two.shelf.path());
    let run = Cmd::new(["apply", "--format", "json"]).arg(&plan).run();
    run.refused();
    assert_same(&before, &snapshot(two.shelf.path()), &run.all());
    for planned in [&one, &three] {
        assert!(!planned.shelf.has(&planned.old.manifest), "{}", run.all());
        assert!(planned.shelf.has_all(&planned.kept), "{}", run.all());
    }
    let json = run.json();
    let path = two.shelf.path().to_string_lossy().into_owned();
    let failed = json["layouts"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|layout| layout["path"] == path.as_str());
    let error = failed.and_then(|layout| layout["error"].as_str());
    assert!(
        error.is_some_and(|error| error.contains("hold")),
        "{}",
        run.all()
    );
}

/// One layout now has a link in place of its blobs: both use the blobs of the other one.
#[test]
fn layouts_that_have_come_to_share_their_blobs_are_refused() {
    let (one, two) = (Planned::new(), Planned::new());
    let plan = one.shelf.layout.outside().join("both.json");
    let call = one.shelf.call(["-a", "--keep-within", "30d", "--plan"]);
    call.arg(&plan).arg(two.shelf.path()).run().ok();
    let blobs = two.shelf.path().join("blobs");
    fs::remove_dir_all(&blobs).expect("a directory can be removed");
    symlink(one.shelf.path().join("blobs"), &blobs).expect("a link can be made");
    let before = snapshot(one.shelf.path());
    let run = Cmd::new(["apply"]).arg(&plan).run();
    run.refused().warns("uses the same blobs");
    assert_same(&before, &snapshot(one.shelf.path()), &run.all());
}

#[test]
fn a_layout_that_cannot_be_pruned_is_not_in_the_plan() {
    let (good, bad) = (Planned::new(), Planned::new());
    bad.shelf.layout.file("index.json", b"{ half");
    let plan = good.shelf.layout.outside().join("two.json");
    let call = good.shelf.call(["--plan"]).arg(&plan).arg(bad.shelf.path());
    let run = call.run();
    assert_ne!(run.code, Some(0), "{}", run.all());
    let run = Cmd::new(["apply"]).arg(&plan).run();
    run.ok();
    assert!(!good.shelf.has(&good.dangling.manifest), "{}", run.all());
    // Without any good layout there is no plan.
    let none = good.shelf.layout.outside().join("none.json");
    prune(&bad, &none);
    assert!(!none.exists());
}

fn prune(planned: &Planned, plan: &std::path::Path) {
    let run = planned.shelf.call(["--plan"]).arg(plan).run();
    assert_ne!(run.code, Some(0), "{}", run.all());
}

#[test]
fn a_plan_that_cannot_be_written_is_an_error() {
    let planned = Planned::new();
    let before = snapshot(planned.shelf.path());
    let nowhere = planned
        .shelf
        .layout
        .outside()
        .join("no/such/directory/plan.json");
    let run = planned.shelf.call(["--plan"]).arg(&nowhere).run();
    run.exits(4).warns("plan.json");
    assert_same(&before, &snapshot(planned.shelf.path()), &run.all());
}

/// JSON cannot represent such a path, and a plan for another path would be worse than none.
#[test]
fn a_layout_with_a_path_that_json_cannot_represent_is_an_error() {
    let temp = memory_dir();
    let directory = temp.path().join(OsStr::from_bytes(b"lay\xffout"));
    let mut layout = LayoutBuilder::at(&directory);
    let image = layout.image("linux/amd64", "app", &[b"layer"]);
    layout.tag(&image.manifest, "app:1");
    layout.layer(b"orphan");
    layout.write();
    let plan = temp.path().join("plan.json");
    let call = |flag: &str| {
        Cmd::new(["prune", "--grace", "0"])
            .arg(&directory)
            .arg(flag)
    };
    let before = snapshot(&directory);
    let run = call("--plan").arg(&plan).run();
    run.exits(4).warns("plan");
    assert!(!run.stderr.contains("panicked"), "{}", run.all());
    assert!(!plan.exists(), "{}", run.all());
    assert_same(&before, &snapshot(&directory), &run.all());
    call("-n").run().ok();
    call("-f").run().ok();
}

#[test]
fn holds_and_names_that_a_plan_removes_are_removed_together() {
    let mut shelf = TestLayout::new();
    let image = shelf.small("app:1", 60);
    shelf.layout.tag(&image.manifest, "app:latest");
    shelf.small("app:2", 5);
    shelf
        .layout
        .save_element(&["app:1", "app:latest"], &image.config, &image.layers);
    shelf.write();
    let plan = shelf.layout.outside().join("plan.json");
    make(&shelf, &plan, &["-a", "--keep", "app:2"]);
    let run = Cmd::new(["apply"]).arg(&plan).run();
    run.ok()
        .says("Untagged: app:1")
        .says("Untagged: app:latest");
    let saved = fs::read_to_string(shelf.layout.join("manifest.json"));
    assert_eq!(saved.ok().as_deref(), Some("[]"), "{}", run.all());
    assert_eq!(listed(shelf.path()).len(), 1, "{}", run.all());
    assert!(!shelf.has_all(&image), "{}", run.all());
}

#[test]
fn a_budget_that_is_missed_can_be_planned_and_applied_as_far_as_possible() {
    let mut shelf = TestLayout::new();
    for number in 1..=3 {
        shelf.named(
            &format!("app:{number}"),
            60 - number,
            &ImageBuilder::new(&format!("{number}")).weighs(5000),
        );
    }
    shelf.write();
    let plan = shelf.layout.outside().join("plan.json");
    let run = shelf
        .call(["-a", "--max-size", "1kB", "--plan"])
        .arg(&plan)
        .run();
    run.exits(5);
    Cmd::new(["apply"]).arg(&plan).run().ok();
    let names: Vec<String> = listed(shelf.path())
        .into_iter()
        .flat_map(|(_, names)| names)
        .collect();
    assert_eq!(names, ["app:3"]);
}

#[test]
fn apply_waits_for_another_process_and_gives_up() {
    let planned = Planned::new();
    let before = snapshot(planned.shelf.path());
    let lock = planned.shelf.layout.flock("index.json.lock");
    let run = planned.apply(&["--lock-wait", "0s"]);
    run.exits(6).one_error_with_hint();
    drop(lock);
    planned.shelf.layout.remove("index.json.lock");
    let changed = crate::support::differences(
        &crate::support::without_directory_times(&before),
        &crate::support::without_directory_times(&snapshot(planned.shelf.path())),
    );
    assert!(changed.is_empty(), "{changed}\n{}", run.all());
    planned.apply(&[]).ok();
}

#[test]
fn a_plan_may_empty_a_layout() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 60);
    shelf.write();
    let plan = shelf.layout.outside().join("plan.json");
    let refused = shelf.call(["-a", "--plan"]).arg(&plan).run();
    refused.refused().one_error_with_hint();
    assert!(!plan.exists(), "{}", refused.all());
    make(&shelf, &plan, &["-a", "--allow-empty"]);
    let run = Cmd::new(["apply"]).arg(&plan).run();
    run.ok();
    assert!(blobs(shelf.path()).is_empty(), "{}", run.all());
    assert!(verdicts(&shelf.call(["-n", "--format", "json"]).run()).is_empty());
}

/// A mistyped name must not destroy a file.
#[test]
fn a_file_that_is_not_a_plan_is_not_overwritten() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 10);
    shelf.overwritten("old", 20);
    shelf.write();
    let path = shelf.layout.outside().join("notes.txt");
    std::fs::write(&path, "mine").expect("there is room");
    let run = shelf.call(["--plan"]).arg(&path).run();
    run.exits(4).warns("it exists and is not a plan file");
    assert_eq!(
        std::fs::read(&path).expect("it is there"),
        b"mine",
        "{}",
        run.all()
    );
    // An empty file of `mktemp`, and an older plan, are replaced.
    std::fs::write(&path, "").expect("there is room");
    for _ in 0..2 {
        shelf.call(["--plan"]).arg(&path).run().ok();
        let text = std::fs::read_to_string(&path).expect("it is there");
        assert!(text.contains("schema_version"), "{text}");
    }
    let names = std::fs::read_dir(shelf.layout.outside()).expect("a directory");
    let names: Vec<_> = names
        .filter_map(|name| name.ok()?.file_name().into_string().ok())
        .collect();
    assert!(
        names.iter().all(|name| !name.starts_with(".ocisweep-")),
        "{names:?}"
    );
}
