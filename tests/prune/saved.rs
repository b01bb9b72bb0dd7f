//! The two files of `docker save` beside `index.json`: a prune keeps them consistent.

use std::fs;

use serde_json::Value;

use crate::support::{
    Image, ImageBuilder, TestLayout, assert_same, blobs, for_each, prune, snapshot, unpack,
};

fn elements(shelf: &TestLayout) -> Value {
    let text = fs::read(shelf.layout.join("manifest.json")).expect("manifest.json can be read");
    serde_json::from_slice(&text).expect("manifest.json is JSON")
}

fn repositories(shelf: &TestLayout) -> Value {
    let text = fs::read(shelf.layout.join("repositories")).expect("repositories can be read");
    serde_json::from_slice(&text).expect("repositories is JSON")
}

/// `app:1` and `app:2`, with an element and a line each.
fn shelf() -> (TestLayout, Image, Image) {
    let mut shelf = TestLayout::new();
    let one = shelf.named(
        "app:1",
        60,
        &ImageBuilder::new("1").weighs(600).layer(b"base"),
    );
    let two = shelf.named(
        "app:2",
        10,
        &ImageBuilder::new("2").weighs(700).layer(b"base"),
    );
    for (name, image) in [("app:1", &one), ("app:2", &two)] {
        shelf
            .layout
            .save_element(&[name], &image.config, &image.layers);
    }
    let top = |image: &Image| image.layers[1].hex().to_owned();
    shelf
        .layout
        .repositories(&[("app", "1", &top(&one)), ("app", "2", &top(&two))]);
    shelf.write();
    (shelf, one, two)
}

#[test]
fn a_removed_image_is_removed_from_both_lists() {
    let (shelf, one, two) = shelf();
    let pruned = shelf.prune(&["-a", "--keep-last", "1"]);
    pruned.ok().leaves(&["app:2"]);
    let left = elements(&shelf);
    assert_eq!(
        left.as_array().map(Vec::len),
        Some(1),
        "{left:#}\n{}",
        pruned.run.all()
    );
    assert_eq!(left[0]["RepoTags"][0], "app:2", "{}", pruned.run.all());
    let text = repositories(&shelf).to_string();
    assert!(
        !text.contains("\"1\"") && text.contains("\"2\""),
        "{text}\n{}",
        pruned.run.all()
    );
    assert!(
        shelf.has_all(&two) && !shelf.has(&one.config),
        "{}",
        pruned.run.all()
    );
}

#[test]
fn if_nothing_is_removed_they_are_not_changed() {
    let (shelf, ..) = shelf();
    let before = snapshot(shelf.path());
    let run = shelf.call(["-f"]).run();
    assert_same(&before, &snapshot(shelf.path()), &run.ok().all());
}

#[test]
fn an_element_of_a_kept_image_keeps_its_layers() {
    let mut shelf = TestLayout::new();
    let kept = shelf.small("app:1", 5);
    let dangling = shelf.overwritten("dangling", 20);
    // docker save describes only the platform of its host; the element names a layer of its own.
    let extra = shelf.layout.layer(b"only the element has this");
    let layers = [kept.layers[0].clone(), extra.clone()];
    shelf.layout.save_element(&["app:1"], &kept.config, &layers);
    shelf.write();
    let pruned = shelf.prune(&[]);
    pruned.ok().leaves(&["app:1"]);
    assert!(shelf.has(&extra), "{}", pruned.run.all());
    assert!(!shelf.has(&dangling.config), "{}", pruned.run.all());
    assert_eq!(elements(&shelf).as_array().map(Vec::len), Some(1));
}

/// `index.json` may lack the name that docker's own file has.
#[test]
fn a_name_in_manifest_json_alone_keeps_an_image() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 5);
    let saved = shelf.overwritten("saved", 50);
    shelf.saves("tool:1", &saved);
    shelf.write();
    let pruned = shelf.prune(&[]);
    assert!(shelf.has_all(&saved), "{}", pruned.run.all());
}

/// Rules read the names in `index.json`; one that is only in docker's file might match as well.
#[test]
fn a_name_in_manifest_json_alone_keeps_an_image_with_rules_but_not_with_all_alone() {
    for (args, stays) in [
        (&["-a", "--keep-last", "1"][..], true),
        (&["-a", "--keep", "app:*"], true),
        (&["-a", "--keep", "app:*", "--keep-last", "1"], true),
        (&["-a", "--allow-empty"], false),
        (&["-a", "--filter", "until=24h", "--allow-empty"], false),
    ] {
        let mut shelf = TestLayout::new();
        shelf.small("app:1", 5);
        shelf.small("app:2", 5);
        let saved = shelf.overwritten("saved", 50);
        let dangling = shelf.overwritten("dangling", 50);
        let signature = shelf.layout.referrer(
            &saved.manifest,
            "application/signature",
            b"of what is saved",
        );
        shelf.saves("tool:1", &saved);
        shelf.write();
        let pruned = shelf.prune(args);
        pruned.ok();
        for image in [&saved, &signature] {
            assert_eq!(
                shelf.has_all(image),
                stays,
                "{args:?}\n{}",
                pruned.run.all()
            );
        }
        assert!(!shelf.has(&dangling.manifest), "{}", pruned.run.all());
        // A second run has nothing more to do.
        shelf.prune(args).ok().deletes([]);
    }
}

/// An overwritten index is dangling even if docker's file names one of its platforms.
#[test]
fn an_overwritten_index_of_an_image_that_is_named_twice_is_removed() {
    let mut shelf = TestLayout::new();
    let saved = shelf.small("tool:1", 5);
    let over = shelf.layout.index(std::slice::from_ref(&saved.manifest));
    shelf.layout.entry(&over);
    shelf.saves("tool:1", &saved);
    shelf.write();
    let pruned = shelf.prune(&[]);
    pruned.ok().leaves(&["tool:1"]);
    assert!(!shelf.has(&over), "{}", pruned.run.all());
    assert!(shelf.has_all(&saved), "{}", pruned.run.all());
}

#[test]
fn recorded_archives_remain_loadable() {
    for_each(
        [
            "docker-save-names",
            "docker-save-plat",
            "docker-save-id",
            "docker-classic-save",
            "bk-docker-tar",
        ],
        |case| (*case).to_owned(),
        |case| {
            let unpacked = unpack(case);
            let before = blobs(&unpacked.root);
            let pruned = prune(&unpacked.root, &["--grace", "0"]);
            pruned.ok();
            let text = fs::read(unpacked.root.join("manifest.json")).expect("it can be read");
            let elements: Value = serde_json::from_slice(&text).expect("it is JSON");
            for element in elements.as_array().expect("a list") {
                let layers = element["Layers"].as_array().expect("a list");
                for path in layers.iter().chain([&element["Config"]]) {
                    let path = path.as_str().expect("a path");
                    // Some layers were never saved.
                    let digest = path.trim_start_matches("blobs/").replacen('/', ":", 1);
                    assert!(
                        unpacked.root.join(path).exists() || !before.contains_key(&digest),
                        "{path} is gone\n{}",
                        pruned.run.all()
                    );
                }
            }
            // An element without present blobs does not belong to the removed image.
            let is_here = |element: &&Value| {
                let config = element["Config"].as_str().unwrap_or_default();
                unpacked.root.join(config).exists()
            };
            let is_whole = elements
                .as_array()
                .is_some_and(|list| list.iter().all(|element| is_here(&element)));
            let run = crate::support::prune_call(&unpacked.root);
            let run = run
                .args(["-a", "-f", "--grace", "0", "--allow-empty"])
                .run();
            run.ok();
            let text = fs::read_to_string(unpacked.root.join("manifest.json"));
            let elements: Value =
                serde_json::from_str(&text.expect("it can be read")).expect("it is JSON");
            assert_eq!(elements == serde_json::json!([]), is_whole, "{}", run.all());
        },
    );
}

/// Another file keeps the content of an image that is removed; nothing names its element any more, and `docker load`
/// would restore an image without a name.
#[test]
fn an_image_that_another_file_keeps_loses_its_element() {
    let (shelf, one, two) = shelf();
    let text = format!(r#"{{"manifests":[{}]}}"#, one.manifest.json().text());
    shelf.layout.file("list.json", text.as_bytes());
    let pruned = shelf.prune(&["-a", "--keep", "app:2"]);
    pruned.ok().leaves(&["app:2"]);
    assert!(shelf.has_all(&one), "{}", pruned.run.all());
    assert!(shelf.has_all(&two), "{}", pruned.run.all());
    let left = elements(&shelf);
    assert_eq!(left.as_array().map(Vec::len), Some(1), "{left:#}");
    assert_eq!(left[0]["RepoTags"][0], "app:2", "{left:#}");
}

/// docker's list does not describe some images: an image index, or a platform that `docker load` would not load.
#[test]
fn a_name_in_manifest_json_alone_makes_nothing_else_dangling() {
    let mut shelf = TestLayout::new();
    let saved = shelf.overwritten("saved", 60);
    let other = shelf.overwritten("other", 50);
    shelf.saves("tool:1", &saved);
    shelf.write();
    let pruned = shelf.prune(&[]);
    pruned
        .ok()
        .because(&saved.manifest.digest, false, &["named in manifest.json"])
        .because(
            &other.manifest.digest,
            false,
            &["untagged, but index.json names no image"],
        );
    assert!(shelf.has_all(&saved) && shelf.has_all(&other));
}

/// The last name of a layout may be one that is only in docker's list.
#[test]
fn the_last_name_may_be_one_in_manifest_json_alone() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 60);
    let saved = shelf.overwritten("saved", 60);
    let held = shelf.overwritten("held", 50);
    shelf.saves("tool:1", &saved);
    shelf.write().hold("held", &held.manifest.digest);
    // `tool:1` remains.
    let pruned = shelf.prune(&["-a", "--filter", "reference=app:*"]);
    pruned.ok().leaves(&[]);
    assert!(shelf.has_all(&saved), "{}", pruned.run.all());
    let run = shelf.refuses(&["-a"], 3);
    assert!(
        run.stderr.contains("would be left without"),
        "{}",
        run.all()
    );
    assert!(shelf.has_all(&saved), "{}", run.all());
}
