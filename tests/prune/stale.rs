//! What happens between a plan and its `apply`: changes, writers at work, the passing of time, a full disk.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::prune::plans::Planned;
use crate::support::dated::NOW;
use crate::support::environment::in_namespace;
use crate::support::{Cmd, Doc, TestLayout, bulk, for_each};

/// A change between plan and apply, and the message of the refusal.
type Change = (&'static str, fn(&Planned), &'static str);

#[test]
fn a_stale_plan_is_refused_with_what_changed() {
    let changes: [Change; 14] = [
        (
            "a tag more",
            |planned| edit_index(planned, |text| text.replacen("app:2", "app:3", 1)),
            "index.json",
        ),
        (
            "an entry less",
            |planned| {
                edit_index(planned, |text| {
                    let mut json: Value = serde_json::from_str(text).expect("JSON");
                    json["manifests"].as_array_mut().expect("a list").pop();
                    json.to_string()
                });
            },
            "index.json",
        ),
        (
            "a space more",
            |planned| edit_index(planned, |text| format!("{text} ")),
            "index.json",
        ),
        (
            "the order of entries",
            |planned| {
                edit_index(planned, |text| {
                    let mut json: Value = serde_json::from_str(text).expect("JSON");
                    json["manifests"].as_array_mut().expect("a list").reverse();
                    json.to_string()
                });
            },
            "index.json",
        ),
        (
            "a new hold on a removed image",
            |planned| hold(planned, "app:1"),
            "hold",
        ),
        (
            "a new hold on a kept image",
            |planned| hold(planned, "app:2"),
            "hold",
        ),
        (
            "a docker-save file",
            |planned| {
                let file = format!(
                    r#"[{{"Config":"{}","RepoTags":["app:1"],"Layers":[]}}]"#,
                    planned.old.config.blob_path()
                );
                planned.shelf.layout.file("manifest.json", file.as_bytes());
            },
            "manifest.json",
        ),
        (
            "a planned blob that was written just now",
            |planned| {
                let path = planned.orphan.blob_path();
                planned.shelf.layout.file(&path, b"orphan");
            },
            "a writer may be using",
        ),
        (
            "a planned blob that was rewritten some time ago",
            |planned| {
                let path = planned.orphan.blob_path();
                planned.shelf.layout.file(&path, b"orphan");
                planned.shelf.layout.age(&path, Duration::from_secs(7200));
            },
            "written again",
        ),
        (
            "a planned blob of another length",
            |planned| {
                let path = planned.orphan.blob_path();
                let time =
                    fs::metadata(planned.shelf.layout.join(&path)).and_then(|stat| stat.modified());
                planned.shelf.layout.file(&path, b"orphan that grew");
                planned.shelf.layout.modified(&path, time.expect("a time"));
            },
            "written again",
        ),
        (
            "a planned blob that vanished",
            |planned| {
                planned.shelf.layout.drop_blob(&planned.orphan);
            },
            "is gone",
        ),
        (
            "a document of a removed image that vanished",
            |planned| {
                planned.shelf.layout.drop_blob(&planned.old.manifest);
            },
            "",
        ),
        (
            "a signature of a kept image that uses a planned blob",
            |planned| {
                let config = &planned.orphan;
                let doc = Doc::manifest(config, &[]).subject(&planned.kept.manifest);
                let signature = planned.shelf.layout.put(&doc);
                planned
                    .shelf
                    .layout
                    .age(&signature.blob_path(), Duration::from_secs(90_000));
            },
            "is referenced now",
        ),
        (
            "damage in a kept image",
            |planned| {
                let path = planned.kept.manifest.blob_path();
                planned.shelf.layout.file(&path, b"{ cut");
            },
            "",
        ),
    ];
    for_each(
        changes,
        |(what, ..)| (*what).to_owned(),
        |(_, change, text)| {
            let planned = Planned::new();
            change(&planned);
            let run = planned.is_refused(text);
            assert!(planned.shelf.has(&planned.kept.manifest), "{}", run.all());
        },
    );
}

fn hold(planned: &Planned, image: &str) {
    planned.shelf.hold("release", image);
}

fn edit_index(planned: &Planned, edit: fn(&str) -> String) {
    let path = planned.shelf.layout.join("index.json");
    let text = fs::read_to_string(&path).expect("index.json can be read");
    planned
        .shelf
        .layout
        .file("index.json", edit(&text).as_bytes());
}

/// A writer writes blobs first, and skips existing ones: blobs that it relies on must not be deleted, whatever was planned.
#[test]
fn a_planned_blob_that_a_writer_now_uses_is_not_deleted() {
    let planned = Planned::new();
    let config = planned.shelf.layout.config("linux/amd64", "in flight");
    let layers = [planned.old.layers[0].clone(), planned.orphan.clone()];
    let flying = planned.shelf.layout.manifest(&config, &layers);
    planned.shelf.layout.fresh([&config, &flying]);
    let run = planned.apply(&[]);
    for desc in layers.iter().chain([&config, &flying]) {
        assert!(
            planned.shelf.has(desc),
            "{} is gone\n{}",
            desc.digest,
            run.all()
        );
    }
    run.refused();
}

#[test]
fn an_orphan_that_was_in_flight_is_not_deleted_once_it_is_old() {
    let mut shelf = TestLayout::new();
    shelf.small("app:2", 10);
    let old = shelf.overwritten("old", 20);
    shelf.write();
    let young = shelf.layout.layer(b"in flight");
    shelf.layout.fresh([&young]);
    let plan = shelf.layout.outside().join("plan.json");
    // By the real clock: the blob was written just now.
    let run = Cmd::new(["prune", "--plan"])
        .arg(&plan)
        .arg(shelf.path())
        .run();
    run.ok()
        .says(&format!("Kept: {}", young.digest))
        .says("in flight 9B");
    shelf
        .layout
        .age(&young.blob_path(), Duration::from_secs(3 * 3600));
    let run = Cmd::new(["apply"]).arg(&plan).run();
    run.ok();
    assert!(shelf.has(&young), "{}", run.all());
    // The plan was made while a writer was at work: it untags and deletes nothing.
    assert!(shelf.has(&old.manifest), "{}", run.all());
    Cmd::gc(shelf.path()).run().ok();
    assert!(!shelf.has(&old.manifest), "{}", run.all());
}

/// The new `index.json` must not make a writer's blobs look old to the next collector.
#[test]
fn in_flight_blobs_survive_apply() {
    let mut shelf = TestLayout::new();
    shelf.small("app:2", 10);
    shelf.overwritten("old", 20);
    shelf.write();
    let plan = shelf.layout.outside().join("plan.json");
    let young = shelf.layout.layer(b"in flight");
    shelf
        .layout
        .age(&young.blob_path(), Duration::from_secs(300));
    Cmd::new(["prune", "--plan"])
        .arg(&plan)
        .arg(shelf.path())
        .run()
        .ok();
    let run = Cmd::new(["apply"]).arg(&plan).run();
    run.ok();
    let later = Cmd::new(["gc"]).arg(shelf.path()).run();
    later.ok();
    assert!(shelf.has(&young), "{}{}", run.all(), later.all());
}

#[test]
fn a_plan_without_grace_is_applied_without_grace() {
    let mut shelf = TestLayout::new();
    shelf.small("app:2", 10);
    shelf.write();
    let young = shelf.layout.layer(b"just written");
    let plan = shelf.layout.outside().join("plan.json");
    Cmd::new(["prune", "--grace", "0", "--plan"])
        .arg(&plan)
        .arg(shelf.path())
        .run()
        .ok();
    let run = Cmd::new(["apply"]).arg(&plan).run();
    run.ok();
    assert!(!shelf.has(&young), "{}", run.all());
}

const TEMPORARY: &str = "oci-put-blob123456789";

#[test]
fn temporary_files_are_deleted_by_the_planned_age() {
    for_each(
        [("1h", true), ("24h", false)],
        |(age, _)| (*age).to_owned(),
        |(age, goes)| {
            let mut shelf = TestLayout::new();
            shelf.small("app:2", 10);
            shelf.write();
            shelf.layout.file(TEMPORARY, b"half a blob");
            shelf.layout.age(TEMPORARY, Duration::from_secs(7200));
            let plan = shelf.layout.outside().join("plan.json");
            let call = Cmd::new(["prune", "--temp-age", age, "--plan"]);
            call.arg(&plan).arg(shelf.path()).run().ok();
            let run = Cmd::new(["apply"]).arg(&plan).run();
            run.ok();
            assert_eq!(
                !shelf.layout.join(TEMPORARY).exists(),
                *goes,
                "{}",
                run.all()
            );
        },
    );
}

#[test]
fn a_temporary_file_that_is_written_again_stops_the_plan() {
    let mut shelf = TestLayout::new();
    shelf.small("app:2", 10);
    shelf.write();
    shelf.layout.file(TEMPORARY, b"half a blob");
    shelf.layout.age(TEMPORARY, Duration::from_secs(7200));
    let plan = shelf.layout.outside().join("plan.json");
    let call = Cmd::new(["prune", "--temp-age", "1h", "--plan"]);
    call.arg(&plan).arg(shelf.path()).run().ok();
    shelf.layout.age(TEMPORARY, Duration::from_secs(1));
    let run = Cmd::new(["apply"]).arg(&plan).run();
    run.refused().one_error_with_hint().warns("temporary");
    assert!(shelf.layout.join(TEMPORARY).exists(), "{}", run.all());
}

/// Runs in its own mount namespace: the layout on a small file system, a plan, then no free space.
const FULL: &str = r#"
    mount -t tmpfs -o size=2m none "$2" || exit 99
    cp -a "$1/." "$2" || exit 99
    "$3" prune --now "$4" --grace 0 --plan "$5" "$2" || exit 98
    dd if=/dev/zero of="$2/full" bs=4096 2>/dev/null
    "$3" apply "$5"
    code=$?
    ls "$2/blobs/sha256"
    exit $code
"#;

/// The new `index.json` does not fit, and the planned garbage makes room for it.
#[test]
fn a_full_disk_does_not_stop_a_plan() {
    let mut shelf = TestLayout::new();
    let kept = shelf.small("app:1", 10);
    let dangling = shelf.overwritten("dangling", 20);
    shelf.layout.layer(&bulk("orphan", 300_000));
    shelf.write();
    let outside = shelf.layout.outside();
    let mount = outside.join("mount");
    fs::create_dir(&mount).expect("a directory can be made");
    let plan = outside.join("plan.json");
    let before = [shelf.path().as_os_str(), mount.as_os_str()];
    let Some(run) = in_namespace(
        Path::new("."),
        FULL,
        &before,
        [NOW.as_ref(), plan.as_os_str()],
    ) else {
        return;
    };
    run.ok().says("Total reclaimed space:");
    let left = run.stdout.lines().filter(|line| line.len() == 64).count();
    assert_eq!(left, kept.digests().len(), "{}", run.all());
    run.says(&format!("Deleted: {}", dangling.manifest.digest));
}
