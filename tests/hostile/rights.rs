//! Files that cannot be read, directories that cannot be written, file systems that are read-only.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::environment::{Unprivileged, read_only};
use crate::support::{
    Cmd, GuardedLayout, Run, Snapshot, assert_same, snapshot, total, with_action,
};

/// Runs the program on a fixture as a user for whom permissions apply, after setting the `mode` of `relative`. Snapshots of
/// the layout before and after are taken with the old permissions.
fn with_mode(
    fixture: &GuardedLayout,
    relative: &str,
    mode: u32,
    args: &[&str],
) -> Option<(Run, Snapshot, Snapshot)> {
    let user = Unprivileged::owning(fixture.builder.outside());
    let path = fixture.builder.join(relative);
    let old = fs::metadata(&path).expect("the file exists").permissions();
    let before = snapshot(fixture.path());
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("the mode can be set");
    let layout = fixture
        .path()
        .to_str()
        .expect("paths of the tests are UTF-8");
    let command = args.first().copied().unwrap_or("gc");
    let rest = args.get(1..).unwrap_or_default();
    let run = user.run([command, layout].iter().chain(rest));
    if path.symlink_metadata().is_ok() {
        fs::set_permissions(&path, old).expect("the mode can be set back");
    }
    let after = snapshot(fixture.path());
    run.map(|run| (run, before, after))
}

const GC: [&str; 5] = ["gc", "--grace", "0", "--format", "json"];

#[test]
fn a_document_without_read_permission_stops_the_sweep() {
    let which: [fn(&GuardedLayout) -> String; 3] = [
        |fixture| fixture.app.manifest.blob_path(),
        |fixture| fixture.multi.blob_path(),
        |fixture| fixture.arm64.manifest.blob_path(),
    ];
    for which in which {
        let fixture = GuardedLayout::new();
        let path = which(&fixture);
        let Some((run, before, after)) = with_mode(&fixture, &path, 0o000, &GC) else {
            return;
        };
        run.refused();
        run.one_error();
        assert_same(&before, &after, &run.all());
    }
}

#[test]
fn a_layer_without_read_permission_does_not_stop_the_sweep() {
    let fixture = GuardedLayout::new();
    let path = fixture.app.layers[0].blob_path();
    if let Some((run, _, _)) = with_mode(&fixture, &path, 0o000, &GC) {
        run.ok();
        fixture.assert_whole(&run.all());
        assert!(!fixture.has(&fixture.orphan), "{}", run.all());
    }
}

#[test]
fn an_orphan_without_read_permission_is_kept_as_a_possible_signature() {
    let fixture = GuardedLayout::new();
    let signature = fixture.builder.referrer(
        &fixture.app.manifest,
        "application/vnd.example",
        b"signature",
    );
    let path = signature.manifest.blob_path();
    if let Some((run, _, _)) = with_mode(&fixture, &path, 0o000, &GC) {
        assert!(matches!(run.code, Some(0 | 1 | 3)), "{}", run.all());
        assert!(fixture.has(&signature.manifest), "{}", run.all());
        fixture.assert_whole(&run.all());
        // It is reported.
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(said.contains(signature.manifest.hex()), "{}", run.all());
    }
}

#[test]
fn possible_references_of_an_unreadable_referrer_are_not_swept() {
    let fixture = GuardedLayout::new();
    let signature = fixture.builder.referrer(
        &fixture.app.manifest,
        "application/vnd.example",
        b"signature",
    );
    let path = signature.manifest.blob_path();
    if let Some((run, _, _)) = with_mode(&fixture, &path, 0o000, &GC) {
        // Nothing that is still referenced is ever lost: an unlisted referrer of a live image is live with everything below
        // it, and it is unknown whether this is one.
        assert!(
            fixture.has(&signature.layers[0]),
            "the signature is incomplete\n{}",
            run.all()
        );
    }
}

#[test]
fn blobs_that_cannot_be_listed_are_an_error_and_nothing_is_swept() {
    for (directory, mode) in [
        ("blobs/sha256", 0o000),
        ("blobs/sha256", 0o300),
        ("blobs", 0o000),
        ("", 0o300),
        ("", 0o000),
    ] {
        let fixture = GuardedLayout::new();
        let Some((run, before, after)) = with_mode(&fixture, directory, mode, &GC) else {
            return;
        };
        run.exits(4);
        run.one_error();
        assert_same(&before, &after, &run.all());
    }
}

#[test]
fn blobs_that_can_be_listed_but_not_opened_lose_nothing() {
    let fixture = GuardedLayout::new();
    if let Some((run, before, after)) = with_mode(&fixture, "blobs/sha256", 0o600, &GC) {
        assert!(matches!(run.code, Some(3 | 4)), "{}", run.all());
        run.one_error();
        assert_same(&before, &after, &run.all());
    }
}

#[test]
fn an_index_or_a_marker_without_read_permission_is_an_error() {
    for file in ["index.json", "oci-layout"] {
        let fixture = GuardedLayout::new();
        let Some((run, before, after)) = with_mode(&fixture, file, 0o000, &GC) else {
            return;
        };
        run.exits(4).warns(file);
        run.one_error();
        assert_same(&before, &after, &run.all());
    }
}

#[test]
fn a_blob_without_read_permission_is_separate_damage_and_the_check_continues() {
    let which: [fn(&GuardedLayout) -> String; 3] = [
        |fixture| fixture.app.layers[0].digest.clone(),
        |fixture| fixture.app.config.digest.clone(),
        |fixture| fixture.arm64.manifest.digest.clone(),
    ];
    for which in which {
        let fixture = GuardedLayout::new();
        let digest = which(&fixture);
        let damaged = fixture.arm64.layers[0].clone();
        fixture.builder.file(&damaged.blob_path(), b"damaged");
        let path = format!("blobs/{}", digest.replacen(':', "/", 1));
        let Some((run, before, after)) = with_mode(&fixture, &path, 0o000, &["check"]) else {
            return;
        };
        run.exits(1)
            .says(&format!("unreadable: {digest} cannot be read: "))
            .says("Permission denied");
        // Below a manifest that cannot be read it is unknown what is damaged.
        let is_known = digest != fixture.arm64.manifest.digest;
        assert_eq!(
            run.stdout.contains(&damaged.digest),
            is_known,
            "{}",
            run.all()
        );
        assert_eq!(run.stderr, "", "{}", run.all());
        assert_same(&before, &after, &run.all());
    }
}

#[test]
fn files_that_cannot_be_deleted_are_reported_and_change_the_exit_status() {
    let fixture = GuardedLayout::new();
    let other = fixture.builder.layer(b"another orphan");
    let Some((run, _, _)) = with_mode(&fixture, "blobs/sha256", 0o500, &GC) else {
        return;
    };
    run.exits(1);
    for desc in [&fixture.orphan, &other] {
        assert!(fixture.has(desc), "{}", run.all());
        run.warns(desc.hex());
    }
    fixture.assert_whole(&run.all());
    let report = run.json();
    assert_eq!(total(&report, "reclaimed_bytes"), 0, "{}", run.all());
    assert!(with_action(&report, "delete").is_empty(), "{}", run.all());
}

#[test]
fn a_layout_without_write_permission_is_an_error_for_gc_but_not_for_readers() {
    let fixture = GuardedLayout::new();
    let Some((run, before, after)) = with_mode(&fixture, "", 0o500, &GC) else {
        return;
    };
    run.exits(4);
    run.one_error();
    assert_same(&before, &after, &run.all());
    for call in [
        &["ls"][..],
        &["ls", "--tree"],
        &["df"],
        &["check"],
        &["why", "app"],
        &["blobs", "--live"],
        &["gc", "-n", "--grace", "0"],
    ] {
        if let Some((run, before, after)) = with_mode(&fixture, "", 0o500, call) {
            run.ok();
            assert_same(&before, &after, &run.all());
        }
    }
}

#[test]
fn a_read_only_file_system_is_an_error_for_gc_but_not_for_readers() {
    let fixture = GuardedLayout::new();
    let before = fixture.picture();
    let path = fixture
        .path()
        .to_str()
        .expect("paths of the tests are UTF-8");
    let calls: [&[&str]; 9] = [
        &["ls", path],
        &["ls", path, "--tree"],
        &["df", path],
        &["df", path, "-v"],
        &["check", path],
        &["why", path, "app"],
        &["blobs", path, "--unreferenced"],
        &["gc", path, "-n", "--grace", "0"],
        &["gc", path, "--dry-run"],
    ];
    for call in calls {
        let Some(run) = read_only(fixture.path(), call) else {
            return;
        };
        run.ok();
    }
    if let Some(run) = read_only(fixture.path(), ["gc", path, "--grace", "0"]) {
        run.exits(4);
        run.one_error();
    }
    assert_same(&before, &fixture.picture(), "a read-only layout");
}

#[test]
fn a_sweep_needs_no_write_permission_on_blobs() {
    let fixture = GuardedLayout::new();
    fixture.builder.mode(&fixture.orphan.blob_path(), 0o444);
    let user = Unprivileged::owning(fixture.builder.outside());
    let layout = fixture
        .path()
        .to_str()
        .expect("paths of the tests are UTF-8");
    if let Some(run) = user.run(["gc", layout, "--grace", "0"]) {
        run.ok();
        assert!(!fixture.has(&fixture.orphan), "{}", run.all());
        fixture.assert_whole(&run.all());
    }
}

#[test]
fn permissions_are_never_changed() {
    let fixture = GuardedLayout::new();
    for (relative, mode) in [
        ("index.json", 0o640),
        ("oci-layout", 0o400),
        ("blobs", 0o750),
        ("blobs/sha256", 0o770),
    ] {
        fixture.builder.mode(relative, mode);
    }
    let mut before = fixture.picture();
    let orphan = fixture.builder.join(&fixture.orphan.blob_path());
    let inside = orphan.strip_prefix(fixture.builder.outside());
    before.remove(inside.expect("the orphan is in the layout"));
    Cmd::gc(fixture.path()).run().ok();
    assert_same(
        &crate::support::without_directory_times(&before),
        &crate::support::without_directory_times(&fixture.picture()),
        "gc",
    );
}
