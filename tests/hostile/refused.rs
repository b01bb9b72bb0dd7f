//! Paths that resemble a layout, and layouts whose blobs other layouts use as well: refused by name, without any change.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::environment::memory_dir;
use crate::support::{Cmd, GuardedLayout, Run, assert_same, for_each, snapshot};

/// Sweeps `path`, and panics unless that is refused and everything in `around` is unchanged.
#[track_caller]
fn refused(path: &Path, around: &Path) -> Run {
    let before = snapshot(around);
    let run = Cmd::gc(path).run();
    run.refused();
    run.one_error();
    assert_same(&before, &snapshot(around), &run.all());
    run
}

/// Makes a directory with these files, each of a few bytes.
fn tree(files: &[&str]) -> (TempDir, PathBuf) {
    let temp = memory_dir();
    let root = temp.path().join("store");
    for file in files {
        let path = root.join(file);
        let parent = path.parent().expect("a file is in a directory");
        fs::create_dir_all(parent).expect("the directory can be made");
        fs::write(&path, b"{}").expect("the file can be written");
    }
    (temp, root)
}

#[test]
fn stores_of_other_programs_are_refused_by_name_with_a_hint() {
    let hex = "ab".repeat(32);
    let blob = format!("blobs/sha256/{hex}");
    let registry = format!("docker/registry/v2/blobs/sha256/ab/{hex}/data");
    let flat = format!("blobs/sha256.{hex}");
    let flat_512 = format!("blobs/sha512.{}", "ab".repeat(64));
    let cases: [(&str, &[&str], &str); 10] = [
        ("a registry's storage", &[&registry], "registry"),
        (
            "a containerd content store",
            &[&blob, "ingest/x/data"],
            "containerd",
        ),
        ("a dir: copy", &["version", "manifest.json", &hex], "dir:"),
        (
            "the contents of a registry's storage",
            &["blobs/sha256/ab/x", "repositories/app/_manifests/x"],
            "registry",
        ),
        (
            "an OCM artifact set",
            &["index.json", &flat],
            "OCM artifact set",
        ),
        (
            "an OCM artifact set of another algorithm",
            &["index.json", &flat_512],
            "OCM artifact set",
        ),
        (
            "a layout of 2016",
            &["oci-layout", "refs/v1", &blob],
            "2016",
        ),
        (
            "a tree of oc image mirror",
            &["v2/app/manifests/1", "v2/app/blobs/x"],
            "oc image mirror",
        ),
        (
            "a sparse layout",
            &[
                "sparse-oci-layout",
                "root.descriptor.json",
                "index.json",
                &blob,
            ],
            "rules_img",
        ),
        (
            "a registry's storage with blobs beside",
            &[&registry, &blob],
            "registry",
        ),
    ];
    for_each(
        cases,
        |(name, _, _)| (*name).to_owned(),
        |(_, files, word)| {
            let (temp, root) = tree(files);
            refused(&root, temp.path())
                .one_error_with_hint()
                .warns(word);
        },
    );
}

#[test]
fn a_layout_with_one_name_of_ocm_is_not_an_artifact_set() {
    let fixture = GuardedLayout::new();
    let stray = format!("blobs/sha256.{}", "ab".repeat(32));
    fixture.builder.file(&stray, b"stray");
    fixture.gc_deletes_only_the_orphan();
    assert!(fixture.builder.join(&stray).exists(), "it is foreign");
}

#[test]
fn other_encodings_than_utf_8_are_named_in_the_error() {
    let utf16 = |text: &str, mark: bool| {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        let mark: &[u8] = if mark { b"\xff\xfe" } else { b"" };
        mark.iter().copied().chain(units).collect::<Vec<u8>>()
    };
    for name in ["index.json", "oci-layout"] {
        for (kind, words) in [
            (0, "byte order mark"),
            (1, "byte order mark of UTF-16"),
            (2, "it is UTF-16"),
        ] {
            let fixture = GuardedLayout::new();
            let text = fs::read_to_string(fixture.builder.join(name)).expect("it is text");
            let bytes = match kind {
                0 => format!("\u{feff}{text}").into_bytes(),
                1 => utf16(&text, true),
                _ => utf16(&text, false),
            };
            fixture.builder.file(name, &bytes);
            fixture
                .gc_is_refused()
                .warns(words)
                .warns("UTF-8")
                .warns(name);
        }
    }
}

#[test]
fn a_tar_file_without_a_layout_is_refused_with_a_hint() {
    let fixture = GuardedLayout::new();
    let temp = memory_dir();
    let path = temp.path().join("image.tar");
    let file = fs::File::create(&path).expect("the archive can be made");
    let mut archive = tar::Builder::new(file);
    archive
        .append_path_with_name(fixture.path().join("oci-layout"), "oci-layout")
        .expect("a file can be archived");
    archive.finish().expect("the archive can be finished");
    refused(&path, temp.path())
        .one_error_with_hint()
        .warns("no `index.json`");
}

#[test]
fn directories_that_are_not_layouts_are_refused() {
    let hex = "cd".repeat(32);
    let blob = format!("blobs/sha256/{hex}");
    let cases: [&[&str]; 6] = [
        &["notes.txt"],
        &["index.json"],
        &["oci-layout"],
        &[&blob],
        &["oci-layout", &blob],
        &["manifest.json", &blob],
    ];
    for_each(
        cases,
        |files| files.join(" "),
        |files| {
            let (temp, root) = tree(files);
            refused(&root, temp.path());
        },
    );
}

#[test]
fn an_ordinary_file_is_refused() {
    let (temp, root) = tree(&["index.json"]);
    refused(&root.join("index.json"), temp.path());
}

#[test]
fn a_path_that_does_not_exist_cannot_be_read() {
    let temp = memory_dir();
    let missing = temp.path().join("missing");
    for command in ["gc", "ls", "df"] {
        let run = Cmd::new([command]).arg(&missing).run();
        run.exits(4).warns("missing");
        run.one_error();
    }
    assert!(!missing.exists(), "it was made");
}

#[test]
fn a_layout_with_linked_blobs_is_refused_with_a_hint() {
    let cases = ["blobs", "blobs/sha256", "blobs/sha512"];
    for_each(
        cases,
        |link| (*link).to_owned(),
        |link| {
            let fixture = GuardedLayout::new();
            let real = fixture.builder.outside().join("pool");
            let path = fixture.builder.join(link);
            if path.exists() {
                fs::rename(&path, &real).expect("the blobs can be moved");
            } else {
                fs::create_dir_all(&real).expect("the pool can be made");
            }
            fixture.builder.symlink(link, "../pool");
            if *link == "blobs/sha256" {
                // Relative to the directory that the link is in.
                fixture.builder.symlink(link, "../../pool");
            }
            if *link == "blobs/sha512" {
                fixture.builder.symlink(link, "../../pool");
            }
            fixture.gc_is_refused().one_error_with_hint();
            // Commands that only read are not refused.
            for call in [["ls"], ["df"]] {
                Cmd::new(call).arg(fixture.path()).run().ok();
            }
        },
    );
}

#[test]
fn blobs_that_are_a_dangling_or_circular_link_are_refused() {
    for (link, target) in [
        ("blobs", "nowhere"),
        ("blobs/sha256", "nowhere"),
        ("blobs", "blobs"),
        ("blobs/sha256", "sha256"),
    ] {
        let fixture = GuardedLayout::new();
        fixture.builder.symlink(link, target);
        let before = fixture.picture();
        let run = fixture.gc();
        assert!(matches!(run.code, Some(3 | 4)), "{link}\n{}", run.all());
        run.one_error();
        assert_same(&before, &fixture.picture(), &run.all());
    }
}

#[test]
fn blobs_that_are_a_file_or_a_fifo_are_an_error() {
    for place in ["blobs", "blobs/sha256"] {
        for kind in ["file", "fifo"] {
            let fixture = GuardedLayout::new();
            fixture.builder.remove(place);
            if kind == "file" {
                fixture.builder.file(place, b"not a directory");
            } else {
                fixture.builder.fifo(place);
            }
            let before = fixture.picture();
            let run = fixture.gc();
            assert!(
                matches!(run.code, Some(3 | 4)),
                "{place}: {kind}\n{}",
                run.all()
            );
            run.one_error();
            assert_same(&before, &fixture.picture(), &run.all());
        }
    }
}

#[test]
fn the_layout_itself_may_be_reached_through_a_link() {
    let fixture = GuardedLayout::new();
    let link = fixture.builder.outside().join("link");
    std::os::unix::fs::symlink(fixture.path(), &link).expect("the link can be made");
    let run = Cmd::gc(&link).run();
    run.ok();
    assert!(!fixture.has(&fixture.orphan), "{}", run.all());
    fixture.assert_whole(&run.all());
}

#[test]
fn a_layout_given_twice_is_swept_once() {
    let fixture = GuardedLayout::new();
    let link = fixture.builder.outside().join("link");
    std::os::unix::fs::symlink(fixture.path(), &link).expect("the link can be made");
    let run = Cmd::gc(fixture.path()).arg(fixture.path()).arg(&link).run();
    run.ok();
    assert!(!fixture.has(&fixture.orphan), "{}", run.all());
    fixture.assert_whole(&run.all());
}

#[test]
fn one_refused_layout_does_not_stop_the_others() {
    let (bad, good) = (GuardedLayout::new(), GuardedLayout::new());
    bad.builder.file("index.json", b"[]");
    let before = bad.picture();
    for layouts in [[&bad, &good], [&good, &bad]] {
        let run = Cmd::gc(layouts[0].path()).arg(layouts[1].path()).run();
        assert_ne!(run.code, Some(0), "{}", run.all());
        assert_same(&before, &bad.picture(), &run.all());
        good.assert_whole(&run.all());
    }
}

#[test]
fn names_of_layouts_are_always_printed_on_one_line() {
    let fixture = GuardedLayout::new();
    let odd = fixture
        .builder
        .outside()
        .join("a\nb\u{1b}]0;owned\u{7}\u{202e}\r c");
    fs::rename(fixture.path(), &odd).expect("a directory can have any name");
    fs::write(odd.join("index.json"), b"[]").expect("the index can be written");
    let run = Cmd::gc(&odd).run();
    run.refused();
    run.one_error();
}
