//! Writers at work: blobs that they have written but not listed yet, their temporary files, and their locks.

use std::fs;
use std::time::Duration;

use crate::support::{
    Cmd, Desc, GuardedLayout, Run, assert_same, for_each, total, with_action,
    without_directory_times,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// A fixture in which everything is two days old.
fn old_fixture() -> GuardedLayout {
    let fixture = GuardedLayout::new();
    for desc in fixture.live() {
        fixture.builder.age(&desc.blob_path(), 2 * DAY);
    }
    fixture.builder.age(&fixture.orphan.blob_path(), 2 * DAY);
    fixture.builder.age("index.json", 2 * DAY);
    fixture
}

/// Sweeps with only these arguments, as a JSON report.
#[track_caller]
fn gc(fixture: &GuardedLayout, args: &[&str]) -> Run {
    let run = Cmd::new(["gc"])
        .arg(fixture.path())
        .args(["--format", "json"])
        .args(args)
        .run();
    run.ok();
    fixture.assert_whole(&run.all());
    run
}

/// Adds an orphan of this age.
fn orphan(fixture: &GuardedLayout, text: &str, age: Duration) -> Desc {
    let desc = fixture.builder.layer(text.as_bytes());
    fixture.builder.age(&desc.blob_path(), age);
    desc
}

#[test]
fn a_recent_orphan_is_kept_and_reported() {
    let fixture = old_fixture();
    let young = orphan(&fixture, "young", MINUTE);
    let older = orphan(&fixture, "older", 2 * HOUR);
    for dry in [true, false] {
        let run = gc(&fixture, if dry { &["-n"] } else { &[] });
        let report = run.json();
        assert_eq!(
            with_action(&report, "keep"),
            std::slice::from_ref(&young.digest),
            "{}",
            run.all()
        );
        let word = if dry { "would-delete" } else { "delete" };
        let mut gone = vec![older.digest.clone(), fixture.orphan.digest.clone()];
        gone.sort();
        assert_eq!(with_action(&report, word), gone, "{}", run.all());
    }
    assert!(fixture.has(&young) && !fixture.has(&older) && !fixture.has(&fixture.orphan));
    let text = Cmd::new(["gc"]).arg(fixture.path()).run();
    let said = format!("{}{}", text.ok().stdout, text.stderr);
    let short = young.hex().get(..12).expect("a digest is longer");
    assert!(
        said.contains(short),
        "the kept blob is not named\n{}",
        text.all()
    );
}

/// Writer A has written its layers; writer B lists another image in between, and so writes `index.json` after them.
#[test]
fn a_recent_orphan_is_kept_even_if_the_index_is_newer() {
    let fixture = old_fixture();
    let young = orphan(&fixture, "young", 10 * MINUTE);
    let older = orphan(&fixture, "older", 2 * HOUR);
    fixture.builder.age("index.json", MINUTE);
    let run = gc(&fixture, &[]);
    assert!(fixture.has(&young) && !fixture.has(&older), "{}", run.all());
    assert_eq!(
        with_action(&run.json(), "keep"),
        std::slice::from_ref(&young.digest),
        "{}",
        run.all()
    );
}

#[test]
fn blobs_kept_for_their_age_are_counted_in_the_last_line_with_the_flag() {
    let fixture = old_fixture();
    orphan(&fixture, "young", 10 * MINUTE);
    orphan(&fixture, "younger", MINUTE);
    let run = Cmd::new(["gc"]).arg(fixture.path()).run();
    run.ok()
        .says("Total reclaimed space: 23B\n")
        .ends_with_line("kept 12B: 2 blobs in flight (`--grace`); `--grace 0` deletes them if no writer is at work");
    // Now there is nothing else: a user who expected a deletion sees the reason and the remedy.
    for flag in ["-n", "-q"] {
        let run = Cmd::new(["gc", flag]).arg(fixture.path()).run();
        run.ok().ends_with_line(
            "kept 12B: 2 blobs in flight (`--grace`); nothing else is unreferenced, `--grace 0` deletes it if no writer is at work",
        );
    }
    let run = Cmd::gc(fixture.path()).run();
    run.ok().ends_with_line("Total reclaimed space: 12B");
}

/// A `--now` in the future, to try out a policy, ends no protection of a run.
#[test]
fn a_future_time_deletes_nothing_more_recent_than_the_grace_period() {
    let fixture = old_fixture();
    let young = orphan(&fixture, "young", MINUTE);
    fixture
        .builder
        .file("oci-put-blob123456789", b"half a blob");
    let future = ["--now", "2099-01-01T00:00:00Z"];
    let dry = gc(&fixture, &[&future[..], &["-n"]].concat());
    assert!(
        with_action(&dry.json(), "would-delete").contains(&young.digest),
        "a dry run shows what would be deleted then\n{}",
        dry.all()
    );
    let run = gc(&fixture, &future);
    assert!(fixture.has(&young), "{}", run.all());
    assert!(
        fixture.builder.join("oci-put-blob123456789").exists(),
        "{}",
        run.all()
    );
    assert!(!fixture.has(&fixture.orphan), "{}", run.all());
}

#[test]
fn every_recent_orphan_is_kept_while_a_writer_is_active() {
    let writers = [
        "oci-put-blob123456789",
        "index.json.123456789.tmp",
        "ingest/x/data",
        ".umoci-123456789/blob-123456789",
    ];
    for_each(
        writers,
        |writer| (*writer).to_owned(),
        |writer| {
            let fixture = old_fixture();
            let young = orphan(&fixture, "young", 10 * MINUTE);
            let older = orphan(&fixture, "older", 2 * HOUR);
            fixture.builder.age("index.json", MINUTE);
            fixture.builder.file(writer, b"half a blob");
            let run = gc(&fixture, &[]);
            assert!(fixture.has(&young) && !fixture.has(&older), "{}", run.all());
            assert!(fixture.builder.join(writer).exists(), "{}", run.all());
            assert!(
                with_action(&run.json(), "keep").contains(&young.digest),
                "{}",
                run.all()
            );
            // An old temporary file shows that a writer crashed; the blob is as recent as before.
            fixture.builder.age(writer, 3 * HOUR);
            if let Some((directory, _)) = writer.rsplit_once('/') {
                fixture.builder.age(directory, 3 * HOUR);
            }
            let run = gc(&fixture, &[]);
            assert!(fixture.has(&young), "{}", run.all());
            fixture.builder.age(&young.blob_path(), 2 * HOUR);
            let run = gc(&fixture, &[]);
            assert!(!fixture.has(&young), "{}", run.all());
        },
    );
}

/// For every sign of a writer at work, and for any `--now` in the future.
#[test]
fn blobs_released_beside_a_writer_are_kept_while_one_is_visible() {
    let writers = [
        "oci-put-blob123456789",
        "index.json.123456789.tmp",
        "ingest/x/data",
        ".umoci-123456789/blob-123456789",
        "a young blob",
    ];
    for_each(
        writers,
        |writer| (*writer).to_owned(),
        |writer| {
            let mut fixture = old_fixture();
            let app = fixture.builder.image("linux/amd64", "app", &[b"app"]);
            fixture.builder.tag(&app.manifest, "ex.com/app:1").write();
            let young = if *writer == "a young blob" {
                orphan(&fixture, "young", 10 * MINUTE).blob_path()
            } else {
                fixture.builder.file(writer, b"half a blob");
                (*writer).to_owned()
            };
            let run = Cmd::new(["rm"])
                .arg(fixture.path())
                .arg("ex.com/app:1")
                .run();
            run.ok().says("kept: a writer is at work");
            let future = ["--now", "2099-01-01T00:00:00Z"];
            for args in [&[][..], &future] {
                let run = gc(&fixture, args);
                for desc in [&app.manifest, &app.config] {
                    assert!(fixture.has(desc), "{}", run.all());
                    assert!(
                        with_action(&run.json(), "keep").contains(&desc.digest),
                        "{}",
                        run.all()
                    );
                }
                assert!(!fixture.has(&fixture.orphan), "{}", run.all());
            }
            // The writer has ended, or crashed long ago.
            fixture.builder.age(&young, 3 * HOUR);
            if let Some((directory, _)) = young.rsplit_once('/') {
                fixture.builder.age(directory, 3 * HOUR);
            }
            let run = gc(&fixture, &[]);
            assert!(!fixture.has(&app.manifest), "{}", run.all());
            assert!(!fixture.builder.join(".ocisweep").exists(), "{}", run.all());
        },
    );
}

/// The blobs in an unreadable record are unknown. It keeps nothing if no writer is visible.
#[test]
fn an_unreadable_record_of_released_blobs_stops_sweeps_beside_a_writer() {
    const NOTE: &str = ".ocisweep/released.json";
    type Bad = (&'static str, fn(&GuardedLayout));
    let bad: [Bad; 4] = [
        ("a directory", |fixture| {
            fixture.builder.file(".ocisweep/released.json/x", b"");
        }),
        ("deep", |fixture| {
            fixture.builder.file(NOTE, &vec![b'['; 1 << 20]);
        }),
        ("huge", |fixture| {
            fixture.builder.file(NOTE, b"");
            let file = std::fs::File::options()
                .write(true)
                .open(fixture.builder.join(NOTE))
                .expect("it can be opened");
            file.set_len(1 << 40).expect("it is sparse");
        }),
        ("a path in place of a digest", |fixture| {
            fixture.builder.file(
                NOTE,
                br#"{"schema_version": 1, "blobs": ["sha256:../../index.json"]}"#,
            );
        }),
    ];
    for_each(
        bad,
        |(what, _)| (*what).to_owned(),
        |(_, make)| {
            let fixture = old_fixture();
            make(&fixture);
            let run = Cmd::new(["gc"]).arg(fixture.path()).run();
            run.ok();
            assert!(!fixture.has(&fixture.orphan), "{}", run.all());
            let older = orphan(&fixture, "older", 2 * HOUR);
            fixture
                .builder
                .file("oci-put-blob123456789", b"half a blob");
            let run = Cmd::new(["gc"]).arg(fixture.path()).run();
            run.refused().warns(NOTE).warns("a writer is at work");
            assert!(fixture.has(&older), "{}", run.all());
            let run = Cmd::gc(fixture.path()).run();
            run.ok();
            assert!(!fixture.has(&older), "{}", run.all());
        },
    );
}

#[test]
fn references_of_a_recent_orphan_are_kept_with_it() {
    // A writer that found an old blob does not write it again; its new manifest is the only evidence.
    let fixture = old_fixture();
    let old = orphan(&fixture, "old and reused", 2 * DAY);
    let config = fixture.builder.config("linux/amd64", "new");
    let manifest = fixture
        .builder
        .manifest(&config, std::slice::from_ref(&old));
    fixture.builder.fresh([&config, &manifest]);
    let run = gc(&fixture, &[]);
    for desc in [&old, &config, &manifest] {
        assert!(fixture.has(desc), "{}", run.all());
    }
    assert!(!fixture.has(&fixture.orphan), "{}", run.all());
}

#[test]
fn without_grace_every_unreferenced_blob_is_deleted() {
    for zero in ["0", "0s"] {
        let fixture = old_fixture();
        let young = orphan(&fixture, "young", Duration::ZERO);
        fixture.builder.file("oci-put-blob123", b"half a blob");
        let run = gc(&fixture, &["--grace", zero]);
        assert!(
            !fixture.has(&young) && !fixture.has(&fixture.orphan),
            "{}",
            run.all()
        );
        assert!(
            fixture.builder.join("oci-put-blob123").exists(),
            "{}",
            run.all()
        );
    }
}

#[test]
fn grace_is_as_long_as_given() {
    for (grace, kept) in [("5m", false), ("30m", true), ("7d", true), ("1h", true)] {
        let fixture = old_fixture();
        let young = orphan(&fixture, "young", 15 * MINUTE);
        let run = gc(&fixture, &["--grace", grace]);
        assert_eq!(fixture.has(&young), kept, "{}", run.all());
    }
}

/// Temporary files as writers leave them when they are killed; for a directory, the file in it.
fn left_over() -> Vec<String> {
    let hex = "ab".repeat(32);
    vec![
        "oci-put-blob123456789".to_owned(),
        ".umoci-123456789/blob-123456789".to_owned(),
        "index.json.123456789.tmp".to_owned(),
        format!("ingest/{hex}_123456789"),
        format!("ingest/{hex}/data"),
        format!("blobs/sha256/{hex}1234567890"),
        format!("blobs/sha256/{hex}.123456789.tmp"),
        format!("blobs/sha256/{hex}.tmp-123456789"),
        "blobs/sha256/123456789.tmp".to_owned(),
    ]
}

/// The file or directory that a writer created: a directory with its contents counts as one.
fn made_by_writer(file: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    if file.starts_with(".umoci") || file.ends_with("/data") {
        parts.pop();
    }
    parts.join("/")
}

fn leave(fixture: &GuardedLayout, file: &str, age: Duration) {
    fixture.builder.file(file, b"half a blob");
    fixture
        .builder
        .age(file, age)
        .age(&made_by_writer(file), age);
}

#[test]
fn stale_temporary_files_are_deleted_and_recent_ones_kept() {
    for_each(left_over(), String::clone, |file| {
        let fixture = old_fixture();
        leave(&fixture, file, 2 * HOUR);
        gc(&fixture, &[]);
        assert!(fixture.builder.join(file).exists(), "newer than a day");
        leave(&fixture, file, 2 * DAY);
        gc(&fixture, &["--temp-age", "7d"]);
        assert!(
            fixture.builder.join(file).exists(),
            "younger than --temp-age"
        );
        let dry = gc(&fixture, &["-n"]);
        assert!(
            fixture.builder.join(file).exists(),
            "a dry run changed something"
        );
        let run = gc(&fixture, &[]);
        let made = fixture.builder.join(&made_by_writer(file));
        assert!(!made.exists(), "{} stays\n{}", made.display(), run.all());
        let (dry, run) = (dry.json(), run.json());
        assert_eq!(dry.get("totals"), run.get("totals"));
        let bytes = total(&run, "reclaimed_bytes");
        assert_eq!(bytes, 11, "half a blob, as the layout was swept before");
    });
}

#[test]
fn a_locked_temporary_file_is_kept_whatever_its_age() {
    for_each(left_over(), String::clone, |file| {
        // A locked directory of umoci means that umoci is at work: see the locks below.
        if file.starts_with(".umoci") {
            return;
        }
        let fixture = old_fixture();
        leave(&fixture, file, 30 * DAY);
        let made = made_by_writer(file);
        let path = fixture.builder.join(&made);
        let lock = fixture.builder.flock(&made);
        let run = gc(&fixture, &[]);
        assert!(path.exists(), "{}", run.all());
        drop(lock);
        let run = gc(&fixture, &[]);
        assert!(!path.exists(), "{}", run.all());
    });
}

#[test]
fn files_that_only_resemble_those_of_a_writer_are_kept() {
    let hex = "ab".repeat(32);
    let files = [
        "oci-put-blob".to_owned(),
        "oci-put-blob.bak".to_owned(),
        "oci-put-blob12x".to_owned(),
        "my-oci-put-blob123".to_owned(),
        ".umoci-notes/data".to_owned(),
        "index.json.bak".to_owned(),
        "index.json.2026.tmp.bak".to_owned(),
        "index-old.json".to_owned(),
        // Copies that users keep have dates in their names.
        "index-20260101.json".to_owned(),
        "index-2026.json".to_owned(),
        "123456789.tmp".to_owned(),
        "2026".to_owned(),
        "ingest/notes.txt".to_owned(),
        "ingest.old/data".to_owned(),
        format!("{hex}_1"),
        "blobs/sha256/notes.tmp".to_owned(),
        "blobs/sha256/2026".to_owned(),
        "blobs/sha256/2026.tmp".to_owned(),
        format!("blobs/sha256/{hex}.bak"),
        format!("blobs/sha256/{hex}.old.tmp"),
        // One digit too many is a typing error; a writer adds more.
        format!("blobs/sha256/{hex}1"),
        "tmp/oci-put-blob123456789".to_owned(),
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8".to_owned(),
        ".ocisweep/notes".to_owned(),
        ".ocisweep-notes".to_owned(),
    ];
    for_each(files, String::clone, |file| {
        let fixture = old_fixture();
        leave(&fixture, file, 400 * DAY);
        let run = gc(&fixture, &[]);
        assert!(fixture.builder.join(file).exists(), "{}", run.all());
    });
}

#[test]
fn a_temporary_directory_with_something_else_in_it_is_kept() {
    for directory in [
        ".umoci-123456789".to_owned(),
        format!("ingest/{}", "ab".repeat(32)),
    ] {
        for stranger in ["thesis.txt", "sub/data", ".hidden"] {
            let fixture = old_fixture();
            let file = format!("{directory}/{stranger}");
            fixture
                .builder
                .file(&format!("{directory}/blob-1"), b"half");
            fixture.builder.file(&file, b"precious");
            for path in [
                format!("{directory}/blob-1"),
                file.clone(),
                directory.clone(),
            ] {
                fixture.builder.age(&path, 30 * DAY);
            }
            let run = Cmd::new(["gc"]).arg(fixture.path()).run();
            assert!(matches!(run.code, Some(0 | 1)), "{}", run.all());
            assert!(fixture.builder.join(&file).is_file(), "{}", run.all());
            fixture.assert_whole(&run.all());
        }
    }
}

#[test]
fn links_named_like_temporary_files_are_not_followed_out_of_the_layout() {
    let hex = "ab".repeat(32);
    let links = [
        "oci-put-blob123456789".to_owned(),
        ".umoci-123456789".to_owned(),
        "index.json.123456789.tmp".to_owned(),
        "ingest".to_owned(),
        format!("ingest/{hex}"),
        format!("ingest/{hex}_123456789"),
        format!("blobs/sha256/{hex}1234567890"),
        "blobs/sha256/123456789.tmp".to_owned(),
        ".uploads".to_owned(),
        ".ocisweep".to_owned(),
    ];
    for_each(links, String::clone, |link| {
        for target in ["outside", "outside/precious"] {
            let fixture = old_fixture();
            let outside = fixture.builder.outside().join("outside");
            // Names that would be deleted if the link were followed.
            let inside = [
                format!("{hex}/data"),
                "blob-1".to_owned(),
                "data".to_owned(),
            ];
            for name in &inside {
                let path = outside.join(name);
                let parent = path.parent().expect("a file is in a directory");
                fs::create_dir_all(parent).expect("the outside can be made");
                fs::write(&path, b"precious").expect("the outside can be written");
                let old = std::time::SystemTime::now() - 30 * DAY;
                crate::support::layout::set_modified(&path, old);
                crate::support::layout::set_modified(parent, old);
            }
            let before = crate::support::snapshot(&outside);
            fixture
                .builder
                .symlink(link, fixture.builder.outside().join(target));
            let run = Cmd::gc(fixture.path()).args(["--temp-age", "0s"]).run();
            // A link in place of the holds file points to nothing that could be read as holds.
            assert!(matches!(run.code, Some(0 | 1 | 3 | 4)), "{}", run.all());
            assert_same(&before, &crate::support::snapshot(&outside), &run.all());
            fixture.assert_whole(&run.all());
        }
    });
}

/// Sweeps without waiting, and panics unless the layout is reported as busy and nothing changed.
#[track_caller]
fn is_busy(fixture: &GuardedLayout) {
    let before = fixture.picture();
    let run = Cmd::gc(fixture.path()).args(["--lock-wait", "0s"]).run();
    run.exits(6);
    run.one_error();
    // The lock that it takes before it checks for others is created and removed in the directory.
    assert_same(
        &without_directory_times(&before),
        &without_directory_times(&fixture.picture()),
        &run.all(),
    );
}

#[test]
fn a_layout_that_buildkit_has_locked_is_busy() {
    let fixture = GuardedLayout::new();
    let lock = fixture.builder.flock("index.json.lock");
    is_busy(&fixture);
    // Commands that only read take no lock.
    for call in [&["ls"][..], &["df"], &["gc", "-n", "--grace", "0"]] {
        Cmd::new(call).arg(fixture.path()).run().ok();
    }
    drop(lock);
    fixture.gc_deletes_only_the_orphan();
}

#[test]
fn a_layout_that_umoci_works_on_is_busy() {
    let fixture = GuardedLayout::new();
    fixture.builder.file(".umoci-123/blob-5", b"half a blob");
    let lock = fixture.builder.flock(".umoci-123");
    is_busy(&fixture);
    drop(lock);
    fixture.gc_deletes_only_the_orphan();
    assert!(
        fixture.builder.join(".umoci-123/blob-5").exists(),
        "it is young"
    );
}

#[test]
fn a_layout_that_podman_has_locked_is_busy() {
    let fixture = GuardedLayout::new();
    let lock = fixture.builder.flock("index.lock");
    is_busy(&fixture);
    drop(lock);
    fixture.gc_deletes_only_the_orphan();
    assert!(
        fixture.builder.join("index.lock").exists(),
        "the file belongs to podman"
    );
}

#[test]
fn a_lock_that_is_released_in_time_is_waited_for() {
    let fixture = GuardedLayout::new();
    let lock = fixture.builder.flock("index.json.lock");
    let child = Cmd::gc(fixture.path()).args(["--lock-wait", "60s"]).spawn();
    std::thread::sleep(Duration::from_millis(300));
    assert!(fixture.has(&fixture.orphan), "it did not wait for the lock");
    drop(lock);
    Run::wait("gc --lock-wait 60s".to_owned(), child).ok();
    assert!(!fixture.has(&fixture.orphan));
}

#[test]
fn a_run_leaves_no_lock_file_behind() {
    let fixture = GuardedLayout::new();
    fixture.gc_deletes_only_the_orphan();
    assert!(!fixture.builder.join("index.json.lock").exists());
    // Nor one that a killed process left.
    fixture.builder.file("index.json.lock", b"");
    fixture.builder.layer(b"something to sweep");
    fixture.gc().ok();
    assert!(!fixture.builder.join("index.json.lock").exists());
    // A refusal leaves none either.
    fixture.builder.file(&fixture.app.manifest.blob_path(), b"");
    fixture.gc_is_refused();
}

#[test]
fn a_lock_file_that_is_a_link_is_harmless() {
    for target in ["precious", "new file"] {
        let fixture = GuardedLayout::new();
        let outside = fixture.builder.outside().join("outside");
        fixture
            .builder
            .symlink("index.json.lock", outside.join(target));
        let run = Cmd::gc(fixture.path()).args(["--lock-wait", "0s"]).run();
        assert!(!outside.join("new file").exists(), "{}", run.all());
        fixture.assert_whole(&run.all());
    }
    let fixture = GuardedLayout::new();
    fixture.builder.fifo("index.json.lock");
    let run = Cmd::gc(fixture.path()).args(["--lock-wait", "0s"]).run();
    fixture.assert_whole(&run.all());
    let fixture = GuardedLayout::new();
    fixture.builder.directory("index.json.lock");
    let run = Cmd::gc(fixture.path()).args(["--lock-wait", "0s"]).run();
    run.exits(4);
    run.one_error();
    fixture.assert_whole(&run.all());
}
