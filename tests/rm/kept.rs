//! Reasons for keeping an image whose last name is removed, including files of other tools that list it.

use std::fs;

use serde_json::{Value, json};

use crate::support::removed::{bare, rm, rm_sparse};
use crate::support::{Cmd, Desc, Doc, Image, Json, LayoutBuilder, Obj, Run, assert_same, snapshot};

const LIST: &str = "hauler-index.json";

/// Writes a file that lists these as an image index does.
fn list(layout: &LayoutBuilder, file: &str, descs: &[&Desc]) {
    let manifests = Json::array(descs.iter().map(|desc| desc.json()));
    let text = Obj::new()
        .with("schemaVersion", 2)
        .with("manifests", manifests);
    layout.file(file, text.json().text().as_bytes());
}

/// Returns the lines about what keeps an image.
fn kept(run: &Run) -> Vec<&str> {
    let lines = run.ok().stdout.lines();
    lines.filter(|line| line.starts_with("kept: ")).collect()
}

fn one() -> (LayoutBuilder, Image) {
    let mut layout = LayoutBuilder::new();
    let app = layout.image("linux/amd64", "app", &[b"app"]);
    layout.tag(&app.manifest, "app:1").write();
    (layout, app)
}

#[test]
fn only_the_name_is_removed_from_an_image_that_another_file_lists() {
    let (layout, app) = one();
    list(&layout, LIST, &[&app.manifest]);
    let before = fs::read(layout.join(LIST)).expect("it can be read");
    let run = rm(&layout, &["app:1"]);
    assert_eq!(
        run.stdout,
        "Untagged: app:1\nkept: also listed in hauler-index.json\nTotal reclaimed space: 0B\n",
        "{}",
        run.all()
    );
    layout.assert_has(app.parts(), &run);
    assert_eq!(fs::read(layout.join(LIST)).ok(), Some(before));
    Cmd::gc(layout.path()).run().ok();
    layout.assert_has(app.parts(), &run);
    // Without the file nothing keeps it.
    let run = Cmd::gc(layout.path()).args(["--ignore-index", LIST]).run();
    run.ok();
    assert!(
        app.parts().iter().all(|desc| !layout.has(desc)),
        "{}",
        run.all()
    );
}

#[test]
fn the_reasons_are_in_the_json_too() {
    let (layout, app) = one();
    list(&layout, LIST, &[&app.manifest]);
    let run = bare(layout.path(), ["app:1", "-n", "--format", "json"]).run();
    let report = run.ok().json();
    let items = report["layouts"][0]["items"].as_array().expect("items");
    let found: Vec<&Value> = items
        .iter()
        .filter(|item| item["action"] == "keep")
        .collect();
    let expected = json!({
        "digest": app.manifest.digest,
        "kind": "blob",
        "size": app.manifest.size,
        "action": "keep",
        "reasons": ["also listed in hauler-index.json"],
        "names": [],
    });
    assert_eq!(found, [&expected], "{}", run.all());
}

#[test]
fn a_hold_a_child_and_a_subject_are_named() {
    let mut layout = LayoutBuilder::new();
    let held = layout.image("linux/amd64", "held", &[b"held"]);
    let child = layout.image("linux/amd64", "child", &[b"child"]);
    let multi = layout.index(&[child.manifest.clone().platform("linux/amd64")]);
    let signed = layout.image("linux/amd64", "signed", &[b"signed"]);
    let signature = layout.referrer(&signed.manifest, "application/x-sig", b"signature");
    layout
        .tag(&held.manifest, "held:1")
        .tag(&child.manifest, "child:1")
        .tag(&multi, "multi:1")
        .tag(&signed.manifest, "signed:1")
        .tag(&signature.manifest, "signature:1")
        .write();
    Cmd::new(["hold", "add"])
        .arg(layout.path())
        .args(["release", "held:1"])
        .run()
        .ok();
    let run = rm(&layout, &["child:1"]);
    assert_eq!(kept(&run), ["kept: child of multi:1"], "{}", run.all());
    layout.assert_has(child.parts(), &run);
    let run = rm(&layout, &["signed:1"]);
    assert_eq!(
        kept(&run),
        ["kept: subject of signature:1"],
        "{}",
        run.all()
    );
    layout.assert_has(signed.parts(), &run);
    let run = rm(&layout, &["-f", "held:1"]);
    assert_eq!(
        kept(&run),
        ["kept: hold \"release\"", "kept: listed without a name"],
        "{}",
        run.all()
    );
}

/// The image keeps its entry because of the hold, so the line names the hold and its target.
#[test]
fn a_hold_on_a_platform_is_named() {
    let mut layout = LayoutBuilder::new();
    let child = layout.image("linux/amd64", "child", &[b"child"]);
    let other = layout.image("linux/arm64", "other", &[b"other"]);
    let multi = layout.index(&[
        child.manifest.clone().platform("linux/amd64"),
        other.manifest.clone().platform("linux/arm64"),
    ]);
    layout.tag(&multi, "multi:1").entry(&child.manifest).write();
    Cmd::new(["hold", "add"])
        .arg(layout.path())
        .args(["release", &child.manifest.digest])
        .run()
        .ok();
    let run = rm(&layout, &["-f", "multi:1"]);
    let hold = format!(
        "kept: hold \"release\" on its part {}",
        child.manifest.short()
    );
    assert_eq!(kept(&run), [&hold, "kept: listed without a name"]);
    layout.assert_has(other.parts(), &run);
}

#[test]
fn no_reason_has_a_name_that_the_same_run_removes() {
    let mut layout = LayoutBuilder::new();
    let child = layout.image("linux/amd64", "child", &[b"child"]);
    let multi = layout.index(&[child.manifest.clone().platform("linux/amd64")]);
    layout
        .tag(&child.manifest, "child:1")
        .tag(&multi, "multi:1")
        .tag(&multi, "multi:2")
        .write();
    Cmd::new(["hold", "add"])
        .arg(layout.path())
        .args(["release", "multi:1"])
        .run()
        .ok();
    let run = rm(&layout, &["child:1", "multi:1"]);
    assert_eq!(
        kept(&run),
        ["kept: hold \"release\"", "kept: child of multi:2"],
        "{}",
        run.all()
    );
    let mut again = LayoutBuilder::at(layout.path());
    again.clear_entries();
    again
        .tag(&child.manifest, "child:1")
        .tag(&multi, "multi:1")
        .write();
    let run = rm(&again, &["-f", "child:1", "multi:1"]);
    let id = child.manifest.short();
    let lines: Vec<&str> = kept(&run)
        .into_iter()
        .filter(|it| it.contains(id))
        .collect();
    let expected = [
        format!("kept: hold \"release\" ({id})"),
        format!("kept: child of {} ({id})", multi.short()),
    ];
    assert_eq!(lines, expected, "{}", run.all());
}

/// The signature is a child of the index, and the image is not.
#[test]
fn the_subject_of_a_child_is_not_called_that_of_the_index() {
    let mut layout = LayoutBuilder::new();
    let app = layout.image("linux/amd64", "app", &[b"app"]);
    let signature = layout.referrer(&app.manifest, "application/x-sig", b"signature");
    let bundle = layout.index(&[signature.manifest]);
    layout
        .tag(&app.manifest, "app:1")
        .tag(&bundle, "bundle:1")
        .write();
    let run = rm(&layout, &["app:1"]);
    assert_eq!(
        kept(&run),
        ["kept: reachable from bundle:1"],
        "{}",
        run.all()
    );
    layout.assert_has(app.parts(), &run);
}

/// SOCI lists its index like this: without a platform, and with an annotation that names the manifest that it indexes.
#[test]
fn a_platform_that_an_annotation_of_another_child_names_is_not_called_a_child() {
    let mut layout = LayoutBuilder::new();
    let mut listed = Vec::new();
    let mut dropped = Vec::new();
    for name in ["one", "two"] {
        let amd64 = layout.image("linux/amd64", name, &[name.as_bytes()]);
        let arm64 = layout.image("linux/arm64", name, &[name.as_bytes()]);
        let ztoc = layout.layer(format!("ztoc of {name}").as_bytes());
        let soci = layout.manifest(&layout.empty_config(), &[ztoc]);
        let key = "com.amazon.soci.image-manifest-digest";
        let annotated = soci.annotate(key, &*amd64.manifest.digest);
        let index = layout.index(&[
            amd64.manifest.clone().platform("linux/amd64"),
            arm64.manifest.platform("linux/arm64"),
            annotated,
        ]);
        listed.push(index);
        dropped.push(amd64);
    }
    layout
        .tag(&listed[0], "one:1")
        .tag(&listed[1], "two:1")
        .write();
    let run = rm(
        &layout,
        &["one:1", "two:1", "--only-platform", "linux/arm64"],
    );
    let expected = ["one:1", "two:1"].into_iter().zip(&dropped);
    let expected: Vec<String> = expected
        .map(|(name, image)| {
            let id = image.manifest.short();
            format!("kept: named by an annotation of {name} ({id})")
        })
        .collect();
    assert_eq!(kept(&run), expected, "{}", run.all());
    layout.assert_has(dropped.iter().map(|image| &image.manifest), &run);
}

/// The entry keeps the blob named by its annotation.
#[test]
fn the_entry_whose_annotation_keeps_an_image_is_named() {
    let mut layout = LayoutBuilder::new();
    let app = layout.image("linux/amd64", "app", &[b"app"]);
    let user = layout.image("linux/amd64", "user", &[b"user"]);
    let note = "containerd.io/snapshot/nydus-ref";
    let entry = user.manifest.clone().annotate(note, &*app.manifest.digest);
    layout.tag(&app.manifest, "app:1").entry(&entry).write();
    let run = rm(&layout, &["app:1"]);
    let part = format!("kept: named by an annotation of {}", user.manifest.short());
    assert_eq!(kept(&run), [part], "{}", run.all());
    layout.assert_has(app.parts(), &run);
    // `why` starts from the same entry.
    let why = Cmd::new(["why"])
        .arg(layout.path())
        .arg(&app.manifest.digest);
    why.run().ok().says(user.manifest.short());
}

#[test]
fn lines_about_several_images_have_ids_and_at_most_three_reasons() {
    let mut layout = LayoutBuilder::new();
    let one = layout.image("linux/amd64", "one", &[b"one"]);
    let two = layout.image("linux/amd64", "two", &[b"two"]);
    let gone = layout.image("linux/amd64", "gone", &[b"gone"]);
    layout
        .tag(&one.manifest, "one:1")
        .tag(&two.manifest, "two:1")
        .tag(&gone.manifest, "gone:1")
        .write();
    list(&layout, LIST, &[&one.manifest]);
    for number in 0..5 {
        list(&layout, &format!("{number}.json"), &[&two.manifest]);
    }
    let run = rm(&layout, &["one:1", "two:1", "gone:1"]);
    let (first, second) = (one.manifest.short(), two.manifest.short());
    let expected = [
        format!("kept: also listed in hauler-index.json ({first})"),
        format!("kept: also listed in 0.json ({second})"),
        format!("kept: also listed in 1.json ({second})"),
        format!("kept: also listed in 2.json ({second})"),
        format!("kept: and 2 more ({second})"),
    ];
    assert_eq!(kept(&run), expected, "{}", run.all());
    assert!(!layout.has(&gone.manifest), "{}", run.all());
}

#[test]
fn nothing_is_reported_if_a_name_remains_or_everything_is_removed() {
    let mut layout = LayoutBuilder::new();
    let app = layout.image("linux/amd64", "app", &[b"app"]);
    layout
        .tag(&app.manifest, "app:1")
        .tag(&app.manifest, "app:2")
        .write();
    list(&layout, LIST, &[&layout.layer(b"something else")]);
    assert!(kept(&rm(&layout, &["app:1"])).is_empty());
    let run = rm(&layout, &["app:2"]);
    assert!(kept(&run).is_empty(), "{}", run.all());
    assert!(!layout.has(&app.manifest), "{}", run.all());
}

#[test]
fn referrers_and_children_of_an_image_in_another_file_are_kept() {
    let mut layout = LayoutBuilder::new();
    let child = layout.image("linux/amd64", "child", &[b"child"]);
    let multi = layout.index(&[child.manifest.clone().platform("linux/amd64")]);
    let signature = layout.referrer(&multi, "application/x-sig", b"signature");
    let other = layout.image("linux/amd64", "other", &[b"other"]);
    layout
        .tag(&multi, "multi:1")
        .tag(&other.manifest, "other:1")
        .entry(child.manifest.clone())
        .entry(signature.manifest.clone())
        .write();
    list(&layout, LIST, &[&multi]);
    let run = rm(&layout, &["multi:1"]);
    let all: Vec<&Desc> = child
        .parts()
        .into_iter()
        .chain([&multi])
        .chain(signature.parts())
        .collect();
    layout.assert_has(all.iter().copied(), &run);
    let text = fs::read_to_string(layout.join("index.json")).expect("it is text");
    for desc in [&child.manifest, &signature.manifest] {
        assert!(text.contains(&desc.digest), "{text}\n{}", run.all());
    }
    Cmd::new(["prune", "-f", "--grace", "0"])
        .arg(layout.path())
        .run()
        .ok();
    layout.assert_has(all, &run);
}

fn two_platforms() -> (LayoutBuilder, Image, Image, Desc) {
    let mut layout = LayoutBuilder::new();
    let amd64 = layout.image("linux/amd64", "amd64", &[b"amd64"]);
    let arm64 = layout.image("linux/arm64", "arm64", &[b"arm64"]);
    let multi = layout.index(&[
        amd64.manifest.clone().platform("linux/amd64"),
        arm64.manifest.clone().platform("linux/arm64"),
    ]);
    layout.tag(&multi, "multi:1").write();
    (layout, amd64, arm64, multi)
}

#[test]
fn an_index_that_another_file_lists_is_not_rewritten_without_force() {
    let (layout, amd64, arm64, multi) = two_platforms();
    list(&layout, LIST, &[&multi]);
    let before = snapshot(layout.path());
    let run = rm(&layout, &["multi:1", "--platform", "linux/arm64"]);
    run.exits(1).warns(
        "unable to rewrite multi:1 (must be forced) - its digest is referenced by hauler-index.json",
    );
    assert_same(&before, &snapshot(layout.path()), &run.all());
    let run = rm(&layout, &["-f", "multi:1", "--platform", "linux/arm64"]);
    assert_eq!(
        kept(&run),
        ["kept: also listed in hauler-index.json"],
        "{}",
        run.all()
    );
    run.says("Rewritten: multi:1, image ID ");
    let all = amd64
        .parts()
        .into_iter()
        .chain(arm64.parts())
        .chain([&multi]);
    layout.assert_has(all, &run);
}

#[test]
fn a_platform_that_another_file_lists_is_kept_in_every_mode() {
    for mode in ["rewrite", "sparse", "hollow"] {
        for whole in [false, true] {
            let (layout, amd64, arm64, multi) = two_platforms();
            let listed = if whole { &multi } else { &arm64.manifest };
            list(&layout, LIST, &[listed]);
            let args = [
                "-f",
                "multi:1",
                "--platform",
                "linux/arm64",
                "--platform-mode",
                mode,
            ];
            let run = rm_sparse(&layout, &args);
            run.ok();
            layout.assert_has(amd64.parts().into_iter().chain(arm64.parts()), &run);
            if mode != "hollow" {
                assert_eq!(
                    kept(&run),
                    ["kept: also listed in hauler-index.json"],
                    "{}",
                    run.all()
                );
            }
        }
    }
}

#[test]
fn damage_reached_from_another_file_stops_a_removal_with_a_hint() {
    let (layout, app) = one();
    let chart = layout.image("linux/amd64", "chart", &[b"chart"]);
    list(&layout, LIST, &[&chart.manifest]);
    layout.file(&chart.manifest.blob_path(), b"{}");
    let run = rm(&layout, &["app:1"]);
    run.refused().one_error_with_hint();
    run.warns(&format!(
        "(hauler-index.json → manifest {})",
        chart.manifest.short()
    ))
    .warns("`--ignore-index hauler-index.json`");
    assert!(!run.stderr.contains("ocisweep rm"), "{}", run.all());
    layout.assert_has(app.parts(), &run);
    let run = rm(&layout, &["app:1", "--grace", "0", "--ignore-index", LIST]);
    run.ok();
    assert!(!layout.has(&app.manifest), "{}", run.all());
}

/// Blobs that only the file lists may be missing: other tools ignore the file.
#[test]
fn images_that_another_file_lists_may_be_missing() {
    let (layout, _) = one();
    let doc = Doc::manifest(&layout.config("linux/amd64", "x"), &[]);
    let chart = layout.put(&doc);
    list(&layout, LIST, &[&chart]);
    layout.drop_blob(&chart);
    Cmd::gc(layout.path()).run().ok();
    rm(&layout, &["app:1"]).ok();
}
