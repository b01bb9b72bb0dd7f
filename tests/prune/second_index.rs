//! Images that other files beside `index.json` list are neither dangling nor garbage, and a prune reports what they keep.

use std::fs;

use crate::support::{Cmd, Desc, Image, ImageBuilder, TestLayout, assert_same, snapshot};

const LIST: &str = "aGVsbG8=-index.json";

/// Writes a file that lists these by tag, as kitops does.
fn tags(shelf: &TestLayout, file: &str, descs: &[&Desc]) {
    let members: Vec<String> = descs
        .iter()
        .enumerate()
        .map(|(number, desc)| format!("\"v{number}\":{}", desc.json().text()))
        .collect();
    shelf
        .layout
        .file(file, format!("{{{}}}", members.join(",")).as_bytes());
}

/// `app:1`, `app:2`, and an image without a name that `app:1` was before.
fn shelf() -> (TestLayout, [Image; 3]) {
    let mut shelf = TestLayout::new();
    let old = shelf.overwritten("old", 50);
    let one = shelf.named("app:1", 40, &ImageBuilder::new("1"));
    let two = shelf.named("app:2", 10, &ImageBuilder::new("2"));
    (shelf, [old, one, two])
}

#[test]
fn an_untagged_image_that_another_file_lists_is_not_dangling() {
    let (shelf, [old, ..]) = shelf();
    shelf.write();
    tags(&shelf, LIST, &[&old.manifest]);
    let listed = shelf.list(&["-f", "dangling=true"]);
    assert!(listed.is_empty(), "{listed:?}");
    let pruned = shelf.prune(&[]);
    pruned.ok().leaves(&["app:1", "app:2"]).deletes(&[]);
    assert!(
        pruned.entries.contains(&old.manifest.digest),
        "{}",
        pruned.run.all()
    );
    let pruned = shelf.prune(&["--ignore-index", LIST]);
    pruned.ok();
    assert!(!shelf.has(&old.manifest), "{}", pruned.run.all());
}

#[test]
fn orphans_that_another_file_lists_are_kept_with_all_below_them() {
    let (shelf, _) = shelf();
    let chart = ImageBuilder::new("chart")
        .layer(b"chart")
        .store(&shelf.layout);
    shelf.write();
    tags(&shelf, LIST, &[&chart.manifest]);
    let before = fs::read(shelf.layout.join(LIST)).ok();
    let pruned = shelf.prune(&["-a", "--keep-last", "1"]);
    pruned.ok().leaves(&["app:2"]);
    assert!(shelf.has_all(&chart), "{}", pruned.run.all());
    assert_eq!(fs::read(shelf.layout.join(LIST)).ok(), before);
}

/// A file for all repositories of a store has a map or a list of maps.
#[test]
fn images_in_a_map_of_repositories_are_kept() {
    for list in [
        r#"{"version":1,"repositories":{"ex.com/chart":{"tags":{"1":DESC}}}}"#,
        r#"{"version":1,"repositories":{"ex.com/chart":{"manifests":[DESC]}}}"#,
        r#"{"version":1,"repositories":[{"name":"ex.com/chart","manifests":[DESC]}]}"#,
    ] {
        let (shelf, [_, one, _]) = shelf();
        let chart = ImageBuilder::new("chart")
            .layer(b"chart")
            .store(&shelf.layout);
        shelf.write();
        let list = list.replace("DESC", chart.manifest.json().text());
        shelf.layout.file("store.json", list.as_bytes());
        let pruned = shelf.prune(&["-a", "--keep", "app:1"]);
        pruned.ok().leaves(&["app:1"]);
        assert!(shelf.has_all(&chart), "{}", pruned.run.all());
        assert!(shelf.has_all(&one), "{}", pruned.run.all());
    }
}

#[test]
fn an_image_removed_from_index_json_only_is_reported() {
    let (shelf, [_, one, _]) = shelf();
    shelf.write();
    tags(&shelf, LIST, &[&one.manifest]);
    let dry = shelf.call(["-n", "-a", "--keep-last", "1"]).run();
    dry.ok().says("kept: also listed in aGVsbG8=-index.json\n");
    let run = shelf.call(["-f", "-a", "--keep-last", "1"]).run();
    run.ok().says("Untagged: app:1\n");
    run.says("kept: also listed in aGVsbG8=-index.json\nTotal reclaimed space: ");
    assert!(shelf.has_all(&one), "{}", run.all());
}

#[test]
fn a_plan_depends_on_other_lists_too() {
    let args = |plan: &str| {
        [
            "-a".to_owned(),
            "--keep-last=1".to_owned(),
            format!("--plan={plan}"),
        ]
    };
    for late in [false, true] {
        let (shelf, [_, one, _]) = shelf();
        shelf.write();
        if !late {
            tags(&shelf, LIST, &[&one.manifest]);
        }
        let plan = shelf.layout.join("plan.json");
        shelf.call(args(&plan.to_string_lossy())).run().ok();
        if late {
            tags(&shelf, LIST, &[&one.manifest]);
        } else {
            fs::remove_file(shelf.layout.join(LIST)).expect("it is there");
        }
        let before = snapshot(shelf.path());
        let run = Cmd::new(["apply"]).arg(&plan).run();
        run.refused().warns("or another index have changed");
        assert_same(&before, &snapshot(shelf.path()), &run.all());
    }
}

/// A plan file and reports of the program in the layout itself are not lists.
#[test]
fn a_plan_file_in_the_layout_keeps_nothing_and_records_ignored_indexes() {
    let (shelf, [old, one, _]) = shelf();
    shelf.write();
    tags(&shelf, LIST, &[&old.manifest, &one.manifest]);
    let plan = shelf.layout.join("plan.json");
    let report = shelf.call(["-n", "-a", "--format", "json"]).run();
    shelf.layout.file("report.json", report.stdout.as_bytes());
    let list = Cmd::new(["ls", "--format", "jsonl"])
        .arg(shelf.path())
        .run();
    shelf.layout.file("list.jsonl", list.ok().stdout.as_bytes());
    let mut call = shelf.call(["-a", "--keep-last", "1", "--ignore-index", LIST]);
    call = call.arg("--plan").arg(&plan);
    call.run().ok();
    let run = Cmd::new(["apply"]).arg(&plan).run();
    run.refused()
        .warns("it was made with `--ignore-index aGVsbG8=-index.json`, which must be given again");
    let run = Cmd::new(["apply", "--ignore-index", LIST]).arg(&plan).run();
    run.ok();
    for gone in [&old, &one] {
        assert!(!shelf.has(&gone.manifest), "{}", run.all());
    }
}

#[test]
fn images_that_another_file_keeps_are_not_reclaimable() {
    let (shelf, [old, one, _]) = shelf();
    let chart = ImageBuilder::new("chart")
        .layer(b"chart")
        .store(&shelf.layout);
    shelf.write();
    tags(
        &shelf,
        LIST,
        &[&old.manifest, &one.manifest, &chart.manifest],
    );
    let df = |args: &[&str]| {
        let call = Cmd::new(["df", "-v", "--format", "json", "--grace", "0"]);
        let run = call.args(args).arg(shelf.path()).run();
        run.ok().json()["layouts"][0].clone()
    };
    let found = df(&[]);
    assert_eq!(found["total"]["reclaimable_bytes"], 0, "{found:#}");
    let items = found["items"].as_array().expect("items");
    for item in items {
        let is_listed = item["digest"] != *found_digest(items, "app:2");
        let unique = item["unique_bytes"].as_u64();
        assert_eq!(unique == Some(0), is_listed, "{item:#}");
        let lists = item["second_indexes"].as_array().map(Vec::len);
        assert_eq!(lists, Some(usize::from(is_listed)), "{item:#}");
    }
    let found = df(&["--ignore-index", LIST]);
    assert_ne!(found["total"]["reclaimable_bytes"], 0, "{found:#}");
    let text = Cmd::new(["df", "-v"]).arg(shelf.path()).run();
    text.ok()
        .says("2 images are also listed in aGVsbG8=-index.json\n");
}

fn found_digest<'a>(items: &'a [serde_json::Value], name: &str) -> &'a serde_json::Value {
    let item = items.iter().find(|item| item["names"][0] == name);
    &item.expect("it is listed")["digest"]
}

/// After the last name is removed, a second run sees a layout without names; it removes nothing that the first one kept.
#[test]
fn images_that_another_file_keeps_are_kept_even_without_any_name() {
    let mut shelf = TestLayout::new();
    let old = shelf.overwritten("old", 50);
    let child = ImageBuilder::new("child")
        .layer(b"child")
        .store(&shelf.layout);
    let index = shelf.layout.index(std::slice::from_ref(&child.manifest));
    shelf.layout.tag(&index, "app:all").entry(&child.manifest);
    shelf.write();
    tags(&shelf, LIST, &[&old.manifest, &child.manifest]);
    let everything = ["-a", "--allow-empty"];
    let pruned = shelf.prune(&everything);
    pruned.ok().leaves(&[]);
    let before = snapshot(shelf.path());
    for image in [&old, &child] {
        let is_listed = pruned.entries.contains(&image.manifest.digest);
        assert!(is_listed && shelf.has_all(image), "{}", pruned.run.all());
    }
    let again = shelf.call(["-f", "-a", "--allow-empty"]).run();
    assert_same(&before, &snapshot(shelf.path()), &again.ok().all());
    // Without the file they are images without names like others.
    let args = [&everything[..], &["--ignore-index", LIST]].concat();
    shelf.prune(&args).ok();
    assert!(!shelf.has(&old.manifest) && !shelf.has(&child.manifest));
}
