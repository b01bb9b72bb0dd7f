//! Lists of paths, from which a complete copy can be made.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::environment::memory_dir;
use crate::support::{
    Cmd, Findings, IntactLayout, LayoutBuilder, Run, assert_same, cases, for_each, snapshot,
};

fn blobs(layout: &Path, args: &[&str]) -> Run {
    Cmd::new(["blobs"]).arg(layout).args(args).run()
}

fn lines(run: &Run) -> Vec<String> {
    run.ok().stdout.lines().map(str::to_owned).collect()
}

/// Copies the files of a list into another directory.
fn copy(from: &Path, to: &Path, paths: &[String]) {
    for path in paths {
        let target = to.join(path);
        fs::create_dir_all(target.parent().expect("a file lies somewhere"))
            .expect("it can be made");
        fs::copy(from.join(path), &target).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

#[test]
fn live_blobs_are_those_that_a_complete_copy_needs() {
    for_each(
        cases()
            .into_iter()
            .flat_map(|case| case.layouts)
            // Their blobs are elsewhere, or never existed.
            .filter(|layout| !["skopeo-shared", "lxc-shared"].contains(&layout.case.as_str())),
        |layout| layout.label(),
        |layout| {
            let (_unpacked, directory) = layout.unpack();
            let paths = lines(&blobs(&directory, &["--live"]));
            assert_eq!(paths.last().map(String::as_str), Some("index.json"));
            let copied = memory_dir();
            copy(&directory, copied.path(), &paths);
            let [before, after] = [&*directory, copied.path()].map(|path| {
                let run = Cmd::new(["ls", "--format", "jsonl"]).arg(path).run();
                run.ok().stdout.clone()
            });
            assert_eq!(before, after);
            let check =
                |path: &Path| Findings::of(Cmd::new(["check", "--format", "json"]).arg(path).run());
            let (before, after) = (check(&directory), check(copied.path()));
            assert_eq!(before.found(), after.found());
            assert_eq!(before.count("ok"), after.count("ok"));
            assert_eq!((after.count("orphan"), after.count("foreign")), (0, 0));
        },
    );
}

#[test]
fn unreferenced_blobs_are_those_that_gc_deletes() {
    for_each(
        cases()
            .into_iter()
            .flat_map(|case| case.layouts)
            .filter(|layout| !["skopeo-shared", "lxc-shared"].contains(&layout.case.as_str())),
        |layout| layout.label(),
        |layout| {
            let (_unpacked, directory) = layout.unpack();
            let dead: BTreeSet<String> =
                lines(&blobs(&directory, &["--unreferenced", "--grace", "0"]))
                    .into_iter()
                    .collect();
            let before = files(&directory);
            Cmd::gc(&directory).run().ok();
            let after = files(&directory);
            let gone: BTreeSet<String> = before.difference(&after).cloned().collect();
            assert_eq!(dead, gone);
        },
    );
}

/// Returns the paths of everything in a directory, relative to it.
fn files(directory: &Path) -> BTreeSet<String> {
    let paths = snapshot(directory);
    paths
        .keys()
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

#[test]
fn in_flight_blobs_are_neither_live_nor_unreferenced() {
    let fixture = IntactLayout::new();
    let young = fixture.builder.layer(b"young");
    fixture.builder.fresh([&young]);
    let old = fixture.builder.layer(b"old");
    fixture
        .builder
        .age(&old.blob_path(), Duration::from_secs(3 * 3600));
    let before = snapshot(fixture.path());
    assert_eq!(
        lines(&blobs(fixture.path(), &["--unreferenced"])),
        [old.blob_path()]
    );
    let live = lines(&blobs(fixture.path(), &["--live"]));
    assert!(!live.contains(&young.blob_path()) && !live.contains(&old.blob_path()));
    assert_eq!(live.len(), 17 + 2, "{live:?}");
    assert_same(&before, &snapshot(fixture.path()), "a list changes nothing");
}

#[test]
fn roots_are_the_documents_that_entries_list() {
    let mut fixture = IntactLayout::new();
    let one = fixture.one.manifest.clone();
    fixture.builder.tag(&one, "again").write();
    let roots = lines(&blobs(fixture.path(), &["--roots"]));
    assert_eq!(
        roots,
        [&fixture.one.manifest, &fixture.two.manifest, &fixture.multi].map(|desc| desc.blob_path())
    );
    fixture.builder.drop_blob(&fixture.multi);
    let run = blobs(fixture.path(), &["--roots"]);
    assert_eq!(lines(&run).len(), 2);
    run.warns("1 document that ");
}

#[test]
fn lists_that_depend_on_a_damaged_document_are_refused() {
    let fixture = IntactLayout::new();
    fixture.overwrite(&fixture.two.manifest, b"damaged");
    for which in ["--live", "--unreferenced"] {
        let run = blobs(fixture.path(), &[which]);
        run.refused().one_error_with_hint();
        assert_eq!(run.stdout, "");
    }
    assert_eq!(lines(&blobs(fixture.path(), &["--roots"])).len(), 3);
}

#[test]
fn a_missing_document_can_be_accepted() {
    let fixture = IntactLayout::new();
    fixture.builder.drop_blob(&fixture.two.manifest);
    for which in ["--live", "--unreferenced"] {
        blobs(fixture.path(), &[which]).refused();
        let run = blobs(fixture.path(), &[which, "--allow-missing", "--grace", "0"]);
        let has_private = lines(&run).contains(&fixture.two.layers[1].blob_path());
        assert_eq!(has_private, which == "--unreferenced", "{}", run.all());
    }
}

#[test]
fn an_empty_list_of_images_makes_everything_unreferenced_only_if_allowed() {
    let mut fixture = IntactLayout::new();
    fixture.builder.clear_entries().write();
    assert_eq!(
        lines(&blobs(fixture.path(), &["--live"])),
        ["oci-layout", "index.json"]
    );
    blobs(fixture.path(), &["--unreferenced", "--grace", "0"]).refused();
    let dead = blobs(
        fixture.path(),
        &["--unreferenced", "--grace", "0", "--allow-empty"],
    );
    assert_eq!(lines(&dead).len(), 17);
}

#[test]
fn holds_and_the_files_of_docker_save_belong_to_a_copy() {
    let mut fixture = IntactLayout::new();
    let one = fixture.one.clone();
    fixture
        .builder
        .save_element(&["a:1"], &one.config, &one.layers)
        .write();
    fixture.builder.repositories(&[("a", "1", "0123")]);
    Cmd::new(["hold", "add"])
        .arg(fixture.path())
        .args(["keep", "app:1"])
        .run()
        .ok();
    let live = lines(&blobs(fixture.path(), &["--live"]));
    let last: Vec<&str> = live.iter().rev().take(5).map(String::as_str).collect();
    assert_eq!(
        last,
        [
            "index.json",
            "manifest.json",
            "repositories",
            ".ocisweep/holds.json",
            "oci-layout"
        ]
    );
}

#[test]
fn blobs_of_any_algorithm_belong_to_a_copy() {
    let mut builder = crate::support::LayoutBuilder::new();
    let layer = builder.forged(
        "blake3:0123456789abcdef",
        crate::support::media::LAYER,
        b"layer",
    );
    let config = builder.config("linux/amd64", "");
    let manifest = builder.manifest(&config, std::slice::from_ref(&layer));
    builder.tag(&manifest, "a").write();
    let live = lines(&blobs(builder.path(), &["--live"]));
    assert!(live.contains(&layer.blob_path()), "{live:?}");
}

#[test]
fn paths_of_several_layouts_begin_with_theirs() {
    let (one, two) = (IntactLayout::new(), IntactLayout::new());
    let run = Cmd::new(["blobs", "--roots"])
        .arg(one.path())
        .arg(two.path())
        .run();
    let paths = lines(&run);
    assert_eq!(paths.len(), 6);
    for (path, fixture) in paths.iter().zip([&one, &one, &one, &two, &two, &two]) {
        assert!(Path::new(path).starts_with(fixture.path()), "{path}");
        assert!(Path::new(path).is_file(), "{path}");
    }
    // One that is damaged does not stop the others.
    one.builder.file("index.json", b"{\"manifests\": [");
    let run = Cmd::new(["blobs", "--roots"])
        .arg(one.path())
        .arg(two.path())
        .run();
    run.exits(3);
    assert_eq!(run.stdout.lines().count(), 3);
}

#[test]
fn paths_can_end_with_nul() {
    let fixture = IntactLayout::new();
    let run = blobs(fixture.path(), &["--live", "-0"]);
    let paths: Vec<&str> = run.ok().stdout.split_terminator('\0').collect();
    assert_eq!(paths, lines(&blobs(fixture.path(), &["--live"])));
    // A layout whose path contains a newline can be listed only this way.
    let odd = fixture.builder.outside().join("odd\nname");
    fs::rename(fixture.path(), &odd).expect("it can be renamed");
    let other = IntactLayout::new();
    let call = |args: &[&str]| {
        let layouts = [&*odd, other.path()];
        Cmd::new(["blobs", "--roots"])
            .args(layouts)
            .args(args)
            .run()
    };
    call(&[]).exits(2).one_error_with_hint();
    let run = call(&["-0"]);
    let paths: Vec<&str> = run.ok().stdout.split_terminator('\0').collect();
    assert_eq!(paths.len(), 6);
    assert!(
        paths.iter().all(|path| Path::new(path).is_file()),
        "{paths:?}"
    );
    fs::rename(&odd, fixture.path()).expect("it can be renamed back");
}

#[test]
fn only_one_list_can_be_requested() {
    let fixture = IntactLayout::new();
    blobs(fixture.path(), &[]).exits(2);
    blobs(fixture.path(), &["--live", "--unreferenced"]).exits(2);
}

#[test]
fn the_old_name_of_unreferenced_is_still_accepted() {
    let mut layout = LayoutBuilder::new();
    let image = layout.image("linux/amd64", "one", &[b"layer"]);
    layout.entry(image.manifest.tagged("v1"));
    layout.layer(b"an orphan");
    layout.write();
    let list = |flag: &str| lines(&blobs(layout.path(), &[flag, "--grace", "0"]));
    assert!(!list("--dead").is_empty());
    assert_eq!(list("--dead"), list("--unreferenced"));
    // Only the new one is in the help.
    let help = Cmd::new(["blobs", "--help"]).run();
    assert!(!help.ok().stdout.contains("--dead"));
}
