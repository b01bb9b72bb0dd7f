//! Layouts written by umoci, generation after generation.

use std::fs;

use serde_json::Value;

use crate::interop::seen::{Readers, see, tags};
use crate::support::{ClientDir, Cmd, blobs};

/// Builds a layout with several tags, each with a history: umoci leaves the replaced manifests and configs behind.
fn with_a_past(clients: &ClientDir, layout: &str) {
    clients.init(layout);
    let image = |tag: &str| format!("{layout}:{tag}");
    clients.new_image(&image("base"));
    for generation in 0..3 {
        let content = format!("base, generation {generation}");
        clients.insert(&image("base"), "etc-base", &content, None);
    }
    clients.configure(&image("base"), "somebody", None);
    clients.configure(&image("base"), "somebody else", Some("configured"));
    clients.insert(&image("base"), "etc-app", "an application", Some("app"));
    clients.unpack(&image("app"), "bundle");
    for generation in 0..3 {
        let content = format!("app, generation {generation}");
        clients.repack(&image("app"), "bundle", "packed", &content);
    }
    clients.umoci(&["tag", "--image", &image("app"), "app-again"]);
    clients.repack(&image("other"), "bundle", "packed", "another branch");
    clients.new_image(&image("dropped"));
    clients.insert(
        &image("dropped"),
        "etc-dropped",
        "removed with its tag",
        None,
    );
    clients.umoci(&["rm", "--image", &image("dropped")]);
}

#[test]
fn every_tag_of_a_layout_with_a_history_works_after_a_sweep() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    with_a_past(&clients, "layout");
    let names = tags(&clients, "layout");
    assert_eq!(names, ["app", "app-again", "base", "configured", "other"]);
    let before = see(&clients, "layout", &names, Readers::UmociAndSkopeo);
    let gone = clients.gc("layout");
    assert!(gone.len() >= 10, "there was a history: {gone:?}");
    assert_eq!(tags(&clients, "layout"), names);
    let after = see(&clients, "layout", &names, Readers::UmociAndSkopeo);
    assert_eq!(before, after);
}

#[test]
fn umoci_finds_nothing_more_after_a_sweep() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    with_a_past(&clients, "layout");
    clients.gc("layout");
    let left = blobs(&clients.join("layout"));
    clients.umoci(&["gc", "--layout", "layout"]);
    assert_eq!(blobs(&clients.join("layout")), left);
    assert!(
        clients.gc("layout").is_empty(),
        "a second sweep finds nothing"
    );
}

#[test]
fn umoci_deletes_the_same_blobs() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    with_a_past(&clients, "ours");
    clients.clone_layout("ours", "theirs");
    clients.gc("ours");
    clients.umoci(&["gc", "--layout", "theirs"]);
    assert_eq!(blobs(&clients.join("ours")), blobs(&clients.join("theirs")));
}

#[test]
fn ls_lists_what_umoci_and_skopeo_list() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    with_a_past(&clients, "layout");
    let path = clients.join("layout");
    let names = tags(&clients, "layout");
    let seen = see(&clients, "layout", &names, Readers::UmociAndSkopeo);

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
fn a_new_layout_with_null_manifests_is_valid_and_can_be_used_after_a_sweep() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    clients.init("layout");
    assert!(clients.gc("layout").is_empty());
    Cmd::new(["ls"]).arg(clients.join("layout")).run().ok();
    clients.new_image("layout:first");
    assert!(clients.gc("layout").is_empty());
    assert_eq!(clients.count("layout"), 2, "a manifest and its config");
}

#[test]
fn umoci_continues_with_a_swept_layout() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    with_a_past(&clients, "layout");
    clients.gc("layout");
    // The bundle was made before the sweep, and its base image is still tagged.
    clients.repack("layout:later", "bundle", "packed", "after the sweep");
    clients.insert("layout:base", "etc-late", "after the sweep", None);
    clients.configure("layout:app", "after the sweep", Some("late"));
    let names = tags(&clients, "layout");
    let before = see(&clients, "layout", &names, Readers::UmociAndSkopeo);
    clients.gc("layout");
    assert_eq!(
        before,
        see(&clients, "layout", &names, Readers::UmociAndSkopeo)
    );
}

#[test]
fn removing_every_tag_leaves_a_layout_that_needs_a_flag() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    clients.init("layout");
    clients.new_image("layout:only");
    clients.umoci(&["rm", "--image", "layout:only"]);
    let path = clients.join("layout");
    Cmd::gc(&path).run().refused().warns("--allow-empty");
    assert_eq!(clients.count("layout"), 2);
    Cmd::gc(&path).arg("--allow-empty").run().ok();
    assert_eq!(clients.count("layout"), 0);
    clients.new_image("layout:again");
}

#[test]
fn blobs_that_umoci_has_just_written_are_not_garbage() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    // A writer that was killed after its blobs and before its index: the old index over the new blobs.
    clients.init("layout");
    clients.new_image("layout:base");
    let index = clients.join("layout").join("index.json");
    let old = fs::read(&index).expect("the index can be read");
    let blobs_of_old = clients.count("layout");
    let an_hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    clients.insert("layout:base", "etc", "unfinished", None);
    fs::write(&index, old).expect("the index can be written");
    crate::support::layout::set_modified(&index, an_hour_ago);
    let all = clients.count("layout");
    assert!(all > blobs_of_old);
    Cmd::new(["gc"]).arg(clients.join("layout")).run().ok();
    assert_eq!(clients.count("layout"), all, "in flight");
    clients.gc("layout");
    assert_eq!(clients.count("layout"), blobs_of_old);
}
