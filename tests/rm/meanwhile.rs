//! Changes by another program while `rm` waits for its lock: they count, whatever was planned before.
//!
//! Opening the lock file, which follows planning, shows that there is a plan; nothing here depends on its duration.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::process::Child;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::rm::platform_words::multi;
use crate::support::files::{entries, field};
use crate::support::invariants::assert_no_litter;
use crate::support::removed::{assert_entries, bare};
use crate::support::samples::app_and_other;
use crate::support::{Image, LayoutBuilder, Run};

const LOCK: &str = "index.json.lock";

/// Runs `rm` against a lock that is held until `change` is done.
fn run_with_change(layout: &LayoutBuilder, args: &[&str], change: impl FnOnce()) -> Run {
    let held = layout.flock(LOCK);
    let watch =
        inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).expect("files can be watched");
    inotify::add_watch(&watch, layout.join(LOCK), WatchFlags::OPEN).expect("the lock exists");
    let mut child = bare(layout.path(), args).spawn();
    wait_until_planned(&watch, &mut child);
    change();
    drop(held);
    let line = format!("ocisweep rm {} {}", layout.path().display(), args.join(" "));
    Run::wait(line, child)
}

fn wait_until_planned(watch: &OwnedFd, child: &mut Child) {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(watch, &mut buffer);
    while events.next().is_err() {
        let ended = child.try_wait().expect("the program can be waited for");
        assert!(ended.is_none(), "it did not wait for the lock");
        std::thread::yield_now();
    }
}

#[test]
fn a_concurrently_added_second_name_keeps_the_image() {
    let (mut layout, app, other) = app_and_other();
    layout.tag(&app.manifest, "app:2");
    let run = run_with_change(&layout, &["app:1"], || {
        layout.write();
    });
    run.ok();
    assert_eq!(run.stdout, "Untagged: app:1\n", "{}", run.all());
    layout.assert_has(app.parts(), &run);
    let left = [
        other.manifest.tagged("other:1"),
        app.manifest.tagged("app:2"),
    ];
    assert_entries(&layout, &left, &run);
    assert_no_litter(layout.path(), &run.all());
}

#[test]
fn a_concurrently_added_image_keeps_shared_blobs() {
    let (mut layout, app, _) = app_and_other();
    let config = layout.config("linux/amd64", "new");
    let new = layout.manifest(&config, &app.layers);
    layout.tag(&new, "new:1");
    let run = run_with_change(&layout, &["app:1"], || {
        layout.write();
    });
    run.ok()
        .says(&format!("Deleted: {}\n", app.manifest.digest));
    layout.assert_has([&new, &config, &app.layers[0]], &run);
}

#[test]
fn a_concurrent_hold_is_respected() {
    let (layout, app, _) = app_and_other();
    let text = format!(
        "{{\"schema_version\":1,\"holds\":[{{\"name\":\"release\",\"digest\":\"{}\"}}]}}",
        app.manifest.digest
    );
    let run = run_with_change(&layout, &["app:1"], || {
        layout.file(".ocisweep/holds.json", text.as_bytes());
    });
    run.exits(1).warns("hold \"release\" is using its image");
    assert_eq!(run.stdout, "", "{}", run.all());
    layout.assert_has(app.parts(), &run);
}

#[test]
fn a_name_that_was_removed_concurrently_is_missing() {
    let (mut layout, app, other) = app_and_other();
    layout.clear_entries().tag(&other.manifest, "other:1");
    let run = run_with_change(&layout, &["app:1"], || {
        layout.write();
    });
    run.exits(1).warns("No such image: app:1");
    // The program that removed the name leaves the blobs to `gc`.
    layout.assert_has(app.parts(), &run);
}

#[test]
fn a_name_that_moved_concurrently_loses_the_platform_where_it_is_now() {
    let mut layout = LayoutBuilder::new();
    let (old, of_old) = multi(&layout, &["linux/amd64", "linux/arm64"]);
    let (new, of_new) = multi(&layout, &["linux/amd64", "linux/arm64", "linux/s390x"]);
    layout
        .entry(old.dockered("docker.io/library/multi:1"))
        .write();
    layout
        .clear_entries()
        .entry(new.dockered("docker.io/library/multi:1"))
        .tag(&old, "old:1");
    let run = run_with_change(&layout, &["multi:1", "--platform", "linux/arm64"], || {
        layout.write();
    });
    run.ok();
    layout.assert_has(of_old.iter().flat_map(Image::parts).chain([&old]), &run);
    assert!(!layout.has(&new), "{}", run.all());
    layout.assert_has(of_new[2].parts(), &run);
    let digests: Vec<Option<String>> = entries(layout.path())
        .iter()
        .map(|entry| field(entry, "digest"))
        .collect();
    assert_eq!(digests[1].as_ref(), Some(&old.digest), "{}", run.all());
}
