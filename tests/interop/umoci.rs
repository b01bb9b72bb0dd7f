//! Layouts written by umoci, generation after generation.

use std::fs;

use serde_json::Value;

use crate::interop::seen::{Readers, see, tags};
use crate::interop::workshop::Workshop;
use crate::support::{Cmd, blobs};

/// Builds a layout with several tags, each of which has a past: umoci leaves the replaced manifests and configs behind.
fn with_a_past(shop: &Workshop, layout: &str) {
    shop.init(layout);
    let image = |tag: &str| format!("{layout}:{tag}");
    shop.new_image(&image("base"));
    for generation in 0..3 {
        let content = format!("base, generation {generation}");
        shop.insert(&image("base"), "etc-base", &content, None);
    }
    shop.configure(&image("base"), "somebody", None);
    shop.configure(&image("base"), "somebody else", Some("configured"));
    shop.insert(&image("base"), "etc-app", "an application", Some("app"));
    shop.unpack(&image("app"), "bundle");
    for generation in 0..3 {
        let content = format!("app, generation {generation}");
        shop.repack(&image("app"), "bundle", "packed", &content);
    }
    shop.umoci(&["tag", "--image", &image("app"), "app-again"]);
    shop.repack(&image("other"), "bundle", "packed", "another branch");
    shop.new_image(&image("dropped"));
    shop.insert(&image("dropped"), "etc-dropped", "goes with its tag", None);
    shop.umoci(&["rm", "--image", &image("dropped")]);
}

#[test]
fn every_tag_of_a_layout_with_a_past_works_after_a_sweep() {
    let Some(shop) = Workshop::open() else {
        return;
    };
    with_a_past(&shop, "layout");
    let names = tags(&shop, "layout");
    assert_eq!(names, ["app", "app-again", "base", "configured", "other"]);
    let before = see(&shop, "layout", &names, Readers::UmociAndSkopeo);
    let gone = shop.gc("layout");
    assert!(gone.len() >= 10, "there was a past: {gone:?}");
    assert_eq!(tags(&shop, "layout"), names);
    let after = see(&shop, "layout", &names, Readers::UmociAndSkopeo);
    assert_eq!(before, after);
}

#[test]
fn umoci_finds_nothing_more_after_a_sweep() {
    let Some(shop) = Workshop::open() else {
        return;
    };
    with_a_past(&shop, "layout");
    shop.gc("layout");
    let left = blobs(&shop.path("layout"));
    shop.umoci(&["gc", "--layout", "layout"]);
    assert_eq!(blobs(&shop.path("layout")), left);
    assert!(shop.gc("layout").is_empty(), "a second sweep finds nothing");
}

#[test]
fn umoci_deletes_the_same_blobs() {
    let Some(shop) = Workshop::open() else {
        return;
    };
    with_a_past(&shop, "ours");
    shop.clone_layout("ours", "theirs");
    shop.gc("ours");
    shop.umoci(&["gc", "--layout", "theirs"]);
    assert_eq!(blobs(&shop.path("ours")), blobs(&shop.path("theirs")));
}

#[test]
fn ls_lists_what_umoci_and_skopeo_list() {
    let Some(shop) = Workshop::open() else {
        return;
    };
    with_a_past(&shop, "layout");
    let path = shop.path("layout");
    let names = tags(&shop, "layout");
    let seen = see(&shop, "layout", &names, Readers::UmociAndSkopeo);

    let mut digests: Vec<String> = seen.values().map(|tag| tag.digest.clone()).collect();
    digests.sort();
    digests.dedup();
    let run = Cmd::new(["ls", "-q", "--no-trunc"]).arg(&path).run();
    let mut listed: Vec<String> = run.ok().stdout.lines().map(str::to_owned).collect();
    listed.sort();
    assert_eq!(listed, digests, "{}", run.all());

    let run = Cmd::new(["ls", "-q"]).arg(&path).run();
    let mut listed: Vec<String> = run.ok().stdout.lines().map(str::to_owned).collect();
    listed.sort();
    let short: Vec<String> = digests
        .iter()
        .map(|digest| digest.chars().skip("sha256:".len()).take(12).collect())
        .collect();
    assert_eq!(listed, short, "{}", run.all());

    let run = Cmd::new(["ls", "--format", "json"]).arg(&path).run();
    let json = run.ok().json();
    let images = json.pointer("/layouts/0/images").and_then(Value::as_array);
    let mut listed = Vec::new();
    for image in images.into_iter().flatten() {
        let digest = image.get("digest").and_then(Value::as_str);
        let of_image = image.get("names").and_then(Value::as_array);
        for name in of_image.into_iter().flatten().filter_map(Value::as_str) {
            let tag = seen.get(name).map(|tag| tag.digest.as_str());
            assert_eq!(tag, digest, "{name}\n{}", run.all());
            listed.push(name.to_owned());
        }
    }
    listed.sort();
    assert_eq!(listed, names, "{}", run.all());

    let run = Cmd::new(["ls"]).arg(&path).run();
    for name in &names {
        run.ok().says(name);
    }
}

#[test]
fn a_new_layout_with_null_for_its_manifests_is_sound_and_can_be_used_after_a_sweep() {
    let Some(shop) = Workshop::open() else {
        return;
    };
    shop.init("layout");
    assert!(shop.gc("layout").is_empty());
    Cmd::new(["ls"]).arg(shop.path("layout")).run().ok();
    shop.new_image("layout:first");
    assert!(shop.gc("layout").is_empty());
    assert_eq!(shop.count("layout"), 2, "a manifest and its config");
}

#[test]
fn umoci_goes_on_with_a_swept_layout() {
    let Some(shop) = Workshop::open() else {
        return;
    };
    with_a_past(&shop, "layout");
    shop.gc("layout");
    // The bundle was made before the sweep, and the image that it rests on is tagged still.
    shop.repack("layout:later", "bundle", "packed", "after the sweep");
    shop.insert("layout:base", "etc-late", "after the sweep", None);
    shop.configure("layout:app", "after the sweep", Some("late"));
    let names = tags(&shop, "layout");
    let before = see(&shop, "layout", &names, Readers::UmociAndSkopeo);
    shop.gc("layout");
    assert_eq!(
        before,
        see(&shop, "layout", &names, Readers::UmociAndSkopeo)
    );
}

#[test]
fn removing_every_tag_leaves_a_layout_that_needs_a_word() {
    let Some(shop) = Workshop::open() else {
        return;
    };
    shop.init("layout");
    shop.new_image("layout:only");
    shop.umoci(&["rm", "--image", "layout:only"]);
    let path = shop.path("layout");
    Cmd::gc(&path).run().refused().warns("--allow-empty");
    assert_eq!(shop.count("layout"), 2);
    Cmd::gc(&path).arg("--allow-empty").run().ok();
    assert_eq!(shop.count("layout"), 0);
    shop.new_image("layout:again");
}

#[test]
fn what_umoci_has_just_written_is_no_garbage_yet() {
    let Some(shop) = Workshop::open() else {
        return;
    };
    // A writer that was killed after its blobs and before its index: the old index over the new blobs.
    shop.init("layout");
    shop.new_image("layout:base");
    let index = shop.path("layout").join("index.json");
    let old = fs::read(&index).expect("the index can be read");
    let blobs_of_old = shop.count("layout");
    let an_hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    shop.insert("layout:base", "etc", "unfinished", None);
    fs::write(&index, old).expect("the index can be written");
    crate::support::layout::set_modified(&index, an_hour_ago);
    let all = shop.count("layout");
    assert!(all > blobs_of_old);
    Cmd::new(["gc"]).arg(shop.path("layout")).run().ok();
    assert_eq!(shop.count("layout"), all, "in flight");
    shop.gc("layout");
    assert_eq!(shop.count("layout"), blobs_of_old);
}
