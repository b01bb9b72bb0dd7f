//! The files afterwards: `index.json` with its mode, owner, time and every byte that was not cut; links that remain links;
//! locks that are respected; orphans that `rm` ignores.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::{Duration, SystemTime};

use crate::support::files::entries;
use crate::support::invariants::assert_no_litter;
use crate::support::removed::{assert_entries, assert_output, bare, rm};
use crate::support::samples::app_and_other;
use crate::support::snapshot::is_file;
use crate::support::{
    Cmd, Desc, Image, LayoutBuilder, assert_same, snapshot, without_directory_times,
};

const HOUR: Duration = Duration::from_secs(3600);

fn read(layout: &LayoutBuilder, name: &str) -> String {
    fs::read_to_string(layout.join(name)).expect("the file can be read")
}

#[test]
fn every_byte_that_is_not_cut_is_kept() {
    let (mut layout, app, other) = app_and_other();
    let third = layout.image("linux/amd64", "third", &[b"third"]);
    let entry = |image: &Image, name: &str, odd: &str| {
        format!(
            "{{\t\"digest\" : \"{}\",\n\"size\":{}.0e0, {odd} \"annotations\":{{\"org.opencontainers.image.ref.name\":\"{name}\"}},\r\n  \"mediaType\":\"{}\" }}",
            image.manifest.digest, image.manifest.size, image.manifest.media_type
        )
    };
    let entries = [
        entry(&app, "app:1", "\"x\":[1,{\"y\":null}],"),
        entry(
            &other,
            "\\u006fther:1",
            "\"digest \":\"no\", \"é\":\"\\ud83d\\ude00\",",
        ),
        entry(&third, "third:1", "\"urls\":[ ],"),
    ];
    let around = |list: &str| {
        format!(
            " \n{{\"annotations\":{{\"a\":\"1\",\"a\":\"2\"}} ,\"manifests\"\n:[{list}] ,\"schemaVersion\": 2,\"unknown\":1e99}}\n\n\t "
        )
    };
    for (gone, name) in ["app:1", "other:1", "third:1"].into_iter().enumerate() {
        layout
            .raw_index(around(&entries.join(" ,\n")).as_bytes())
            .write();
        for (image, salt) in [(&app, "app"), (&other, "other"), (&third, "third")] {
            let again = layout.image("linux/amd64", salt, &[salt.as_bytes()]);
            assert_eq!(again.manifest.digest, image.manifest.digest);
        }
        let run = rm(&layout, &[name]);
        run.ok();
        let after = read(&layout, "index.json");
        let mut left: Vec<&String> = entries.iter().collect();
        left.remove(gone);
        // One of the separators is removed with it; everything else is unchanged, to the byte.
        let [first, second] = left[..] else {
            unreachable!("three less one")
        };
        let expected: Vec<String> = [" ,\n", "", " ,", ",\n", ",", " ,\n ,\n"]
            .iter()
            .map(|between| squeeze_commas(&around(&format!("{first}{between}{second}"))))
            .collect();
        assert!(
            expected.contains(&squeeze_commas(&after)),
            "{after:?}\nis none of {expected:#?}\n{}",
            run.all()
        );
        assert!(
            after.contains(first.as_str()) && after.contains(second.as_str()),
            "{after}"
        );
    }
    // The last entry leaves an empty list, and everything around it.
    layout.raw_index(around(&entries[0]).as_bytes()).write();
    layout.image("linux/amd64", "app", &[b"app"]);
    let run = rm(&layout, &["app:1"]);
    run.ok();
    let after = read(&layout, "index.json");
    assert_eq!(after, around(""), "{}", run.all());
}

/// Removes white space around commas, the only allowed difference at a cut.
fn squeeze_commas(text: &str) -> String {
    let mut squeezed = text.to_owned();
    for space in [" ", "\n"] {
        while squeezed.contains(&format!("{space},")) || squeezed.contains(&format!(",{space}")) {
            squeezed = squeezed
                .replace(&format!("{space},"), ",")
                .replace(&format!(",{space}"), ",");
        }
    }
    squeezed
}

#[test]
fn the_mode_of_index_json_is_kept() {
    for mode in [0o600, 0o644, 0o640, 0o664, 0o444, 0o755] {
        let (layout, ..) = app_and_other();
        layout.mode("index.json", mode);
        let run = rm(&layout, &["app:1"]);
        run.ok();
        let now = fs::metadata(layout.join("index.json")).expect("it is there");
        assert_eq!(now.permissions().mode() & 0o7777, mode, "{}", run.all());
    }
}

#[test]
fn the_owner_of_index_json_is_kept() {
    if !crate::support::environment::is_root() {
        crate::support::environment::skip("only root can change the owner of a file");
        return;
    }
    let (layout, ..) = app_and_other();
    std::os::unix::fs::chown(layout.join("index.json"), Some(65534), Some(65533))
        .expect("root can change the owner");
    layout.mode("index.json", 0o640);
    let run = rm(&layout, &["app:1"]);
    run.ok();
    let now = fs::metadata(layout.join("index.json")).expect("it is there");
    assert_eq!((now.uid(), now.gid()), (65534, 65533), "{}", run.all());
    assert_eq!(now.permissions().mode() & 0o7777, 0o640, "{}", run.all());
}

#[test]
fn a_link_to_index_json_remains_a_link_and_its_target_is_edited() {
    let (layout, app, other) = app_and_other();
    let elsewhere = layout.outside().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory can be made");
    fs::rename(layout.join("index.json"), elsewhere.join("the-index")).expect("it can be moved");
    layout.symlink("index.json", "../elsewhere/the-index");
    let run = bare(layout.path(), ["app:1"]).run();
    run.ok();
    assert_output(&run, &["app:1"], &app.parts());
    let target = fs::read_link(layout.join("index.json")).expect("it is still a link");
    assert_eq!(
        target.to_str(),
        Some("../elsewhere/the-index"),
        "{}",
        run.all()
    );
    assert_entries(&layout, &[other.manifest.tagged("other:1")], &run);
    let names = snapshot(&elsewhere);
    assert_eq!(names.len(), 2, "the directory and the file\n{names:?}");
    assert!(is_file(&names, "the-index"), "{names:?}");
    assert_no_litter(layout.path(), &run.all());
}

#[test]
fn older_orphans_are_left_to_gc() {
    let (layout, app, other) = app_and_other();
    let orphan = layout.image("linux/amd64", "orphan", &[b"orphan"]);
    let old = [orphan.parts(), app.parts(), other.parts()].concat();
    for desc in &old {
        layout.age(&desc.blob_path(), 48 * HOUR);
    }
    let run = rm(&layout, &["app:1"]);
    run.ok();
    assert_output(&run, &["app:1"], &app.parts());
    layout.assert_has(orphan.parts(), &run);
    Cmd::gc(layout.path()).run().ok();
    assert!(!layout.has(&orphan.manifest), "`gc` takes them");
}

#[test]
fn released_blobs_are_deleted_however_recent() {
    let (layout, app, _) = app_and_other();
    for desc in app.parts() {
        layout.age(&desc.blob_path(), Duration::ZERO);
    }
    let run = rm(&layout, &["app:1"]);
    run.ok();
    assert_output(&run, &["app:1"], &app.parts());
}

#[test]
fn blobs_that_a_writer_is_about_to_list_and_the_time_of_the_index_are_kept() {
    let (layout, app, other) = app_and_other();
    let then = SystemTime::now()
        .checked_sub(HOUR / 2)
        .expect("the clock is past 1970");
    layout.modified("index.json", then);
    // A writer has written its blobs but not listed them yet. One layer already existed.
    let next = layout.manifest(
        &layout.config("linux/amd64", "next"),
        &[app.layers[0].clone()],
    );
    layout.fresh([&next]);
    let run = rm(&layout, &["app:1"]);
    run.ok().says("kept: a writer is at work (blob ");
    layout.assert_has([&next], &run);
    layout.assert_has(app.parts(), &run);
    layout.assert_has(other.parts(), &run);
    // Other collectors compare the blobs with the index: with a new time the recent ones would look older.
    let now = fs::metadata(layout.join("index.json")).expect("it is there");
    assert_eq!(
        now.modified().expect("files have times"),
        then,
        "{}",
        run.all()
    );
    Cmd::new(["gc"]).arg(layout.path()).run().ok();
    layout.assert_has([&next, &app.layers[0]], &run);
}

#[test]
fn the_index_gets_a_new_time_if_no_writer_is_visible() {
    let (layout, ..) = app_and_other();
    let then = SystemTime::now()
        .checked_sub(48 * HOUR)
        .expect("the clock is past 1970");
    for name in snapshot(layout.path()).keys() {
        if let Some(name) = name.to_str().filter(|name| !name.is_empty()) {
            layout.modified(name, then);
        }
    }
    let run = rm(&layout, &["app:1"]);
    run.ok();
    let now = fs::metadata(layout.join("index.json")).expect("it is there");
    assert!(
        now.modified().expect("files have times") > then,
        "{}",
        run.all()
    );
}

#[test]
fn a_lock_is_respected_and_nothing_changes_without_it() {
    // BuildKit's lock, and the directory that umoci locks while it works.
    for (lock, directory) in [("index.json.lock", false), (".umoci-123456", true)] {
        let (layout, app, _) = app_and_other();
        if directory {
            layout.directory(lock);
        }
        let held = layout.flock(lock);
        let before = without_directory_times(&snapshot(layout.path()));
        for arguments in [
            &["app:1"][..],
            &["-f", "app:1"],
            &["app:1", "--platform", "linux/amd64", "-f"],
        ] {
            let run = bare(layout.path(), arguments)
                .args(["--lock-wait", "0s"])
                .run();
            run.exits(6).one_error_with_hint();
            assert_eq!(run.stdout, "", "{}", run.all());
            let now = without_directory_times(&snapshot(layout.path()));
            assert_same(&before, &now, &run.all());
        }
        // Reading takes no lock.
        bare(layout.path(), ["app:1"]).arg("-n").run().ok();
        drop(held);
        // The directory looks like that of a writer at work.
        let run = bare(layout.path(), ["app:1", "--grace", "0"]).run();
        run.ok();
        assert!(!layout.has(&app.manifest), "{}", run.all());
    }
}

#[test]
fn a_removal_without_changes_writes_nothing() {
    let (layout, ..) = app_and_other();
    let _held = layout.flock("index.json.lock");
    let before = snapshot(layout.path());
    let run = bare(layout.path(), ["nosuch:1"])
        .args(["--lock-wait", "0s"])
        .run();
    run.exits(1);
    assert_same(&before, &snapshot(layout.path()), &run.all());
}

#[test]
fn gc_needs_no_flag_after_the_last_image_but_does_for_an_empty_index_of_another_program() {
    let mut layout = LayoutBuilder::new();
    let app = layout.image("linux/amd64", "app", &[b"app"]);
    let orphan = layout.layer(b"an orphan");
    layout.age(&orphan.blob_path(), 48 * HOUR);
    layout.tag(&app.manifest, "app:1").write();
    let run = rm(&layout, &["app:1"]);
    run.ok();
    assert_output(&run, &["app:1"], &app.parts());
    assert_eq!(entries(layout.path()).len(), 0);
    layout.assert_has([&orphan], &run);

    // The temporary state of kaniko and cosign looks nearly the same.
    let emptied = read(&layout, "index.json");
    layout.file("index.json", emptied.replace("[]", "[ ]").as_bytes());
    let run = Cmd::gc(layout.path()).run();
    run.refused().warns("--allow-empty");
    layout.assert_has([&orphan], &run);

    layout.file("index.json", emptied.as_bytes());
    let run = Cmd::gc(layout.path()).run();
    run.ok();
    assert!(!layout.has(&orphan), "{}", run.all());
}

#[test]
fn possibly_shared_blobs_are_not_swept_but_names_can_be_removed() {
    let mut layout = LayoutBuilder::new();
    let app = layout.image("linux/amd64", "app", &[b"app"]);
    layout
        .tag(&app.manifest, "app:1")
        .tag(&app.manifest, "app:2")
        .write();
    let pool = layout.outside().join("pool");
    fs::rename(layout.join("blobs/sha256"), &pool).expect("it can be moved");
    layout.symlink("blobs/sha256", "../../pool");
    let run = bare(layout.path(), ["app:1"]).run();
    run.ok();
    assert_output(&run, &["app:1"], &[]);
    let before = snapshot(layout.outside());
    let run = bare(layout.path(), ["app:2"]).run();
    run.refused().one_error_with_hint();
    assert_same(&before, &snapshot(layout.outside()), &run.all());
}

#[test]
fn hard_links_elsewhere_keep_the_bytes_and_that_is_reported() {
    let (layout, app, _) = app_and_other();
    let layer = &app.layers[0];
    let elsewhere = layout.outside().join("a-copy");
    fs::hard_link(layout.join(&layer.blob_path()), &elsewhere).expect("a hard link can be made");
    let run = bare(layout.path(), ["app:1"]).run();
    run.ok();
    let freed = app.manifest.size + app.config.size;
    run.says(&format!("Deleted: {}\n", layer.digest))
        .ends_with_line(&format!(
            "Total reclaimed space: {}",
            crate::support::invariants::human(freed)
        ))
        .warns("hard links outside this run keep them");
    assert!(elsewhere.exists());
}

#[test]
fn a_blob_that_cannot_be_deleted_does_not_stop_the_others() {
    let (layout, app, other) = app_and_other();
    // Not even root can unlink a directory.
    let layer = &app.layers[0];
    layout.remove(&layer.blob_path());
    layout.directory(&layer.blob_path());
    let run = bare(layout.path(), ["app:1"]).run();
    // It is not a blob but a foreign file, and is kept.
    run.ok();
    assert_output(&run, &["app:1"], &[&app.manifest, &app.config]);
    layout.assert_has([layer], &run);
    layout.assert_has(other.parts(), &run);
}

#[test]
fn temporary_files_of_writers_are_kept() {
    let (layout, ..) = app_and_other();
    let names = [
        "oci-put-blob123456789",
        "index.json.123.tmp",
        "blobs/sha256/123.tmp",
    ];
    for name in names {
        layout.file(name, b"left over").age(name, 1000 * HOUR);
    }
    let run = rm(&layout, &["app:1"]);
    run.ok();
    for name in names {
        assert!(layout.join(name).exists(), "{name}\n{}", run.all());
    }
}

#[test]
fn rm_works_on_a_layout_without_a_marker() {
    // BuildKit's caches and hauler's stores have none.
    let (layout, app, _) = app_and_other();
    layout.without_marker();
    let run = rm(&layout, &["app:1"]);
    run.ok();
    assert_output(&run, &["app:1"], &app.parts());
    let left: Vec<Desc> = Vec::new();
    let run = rm(&layout, &["other:1"]);
    run.ok();
    assert_entries(&layout, &left, &run);
}
