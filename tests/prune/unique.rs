//! UNIQUE of `df -v` is what `rm -f` of the image by its ID frees.

use std::path::Path;
use std::time::SystemTime;

use crate::prune::belongings::belongings;
use crate::support::dated::NOW;
use crate::support::{Cmd, Doc, ImageBuilder, TestLayout, bulk, for_each};

/// Returns the digest and UNIQUE of each image from `df -v`.
#[track_caller]
pub(crate) fn uniques(layout: &Path) -> Vec<(String, u64)> {
    let df = Cmd::new(["df", "-v", "--format", "json", "--now", NOW])
        .arg(layout)
        .run();
    let json = df.ok().json();
    let items = json["layouts"][0]["items"].as_array();
    let items = items.expect("df -v lists the images").iter();
    items
        .map(|item| {
            let digest = item["digest"].as_str().expect("a digest").to_owned();
            (digest, item["unique_bytes"].as_u64().expect("a number"))
        })
        .collect()
}

/// Panics unless `rm -f` of each image frees its UNIQUE bytes; returns UNIQUE of one.
#[track_caller]
pub(crate) fn check(layout: &Path) -> Vec<(String, u64)> {
    let uniques = uniques(layout);
    for (digest, unique) in &uniques {
        let rm = Cmd::new(["rm", "-f", "-n", "--format", "json", "--now", NOW])
            .arg(layout)
            .arg(digest)
            .run();
        if rm.code != Some(0) && rm.stderr.contains("conflict: ") {
            // Held: nothing is freed.
            assert_eq!(*unique, 0, "{digest}\n{}", rm.all());
            continue;
        }
        let freed = rm.ok().json()["totals"]["freed_bytes"].as_u64();
        assert_eq!(freed, Some(*unique), "{digest}\n{}", rm.all());
    }
    uniques
}

#[track_caller]
fn unique_of(uniques: &[(String, u64)], digest: &str) -> u64 {
    let found = uniques.iter().find(|(other, _)| other == digest);
    found.expect("the image is listed").1
}

/// Referrers of an image are freed with it.
#[test]
fn referrers_count_for_their_image() {
    for_each(
        belongings(),
        |(what, _)| (*what).to_owned(),
        |(_, make)| {
            let mut shelf = TestLayout::new();
            let image = shelf.named("app:1", 50, &ImageBuilder::new("app").weighs(1000));
            shelf.named("other:1", 40, &ImageBuilder::new("other").weighs(1000));
            shelf.write();
            let before = unique_of(&check(shelf.path()), &image.manifest.digest);
            make(&mut shelf, &image.manifest, "app:1");
            shelf.write();
            let after = unique_of(&check(shelf.path()), &image.manifest.digest);
            assert!(after > before, "{before} before, {after} after");
        },
    );
}

/// A listed attestation that is itself signed by a digest tag.
#[test]
fn a_chain_of_referrers_counts_for_the_image() {
    for_each(
        [
            "application/vnd.docker.attestation.manifest.v1+json",
            "application/vnd.example.sbom",
        ],
        |artifact_type| (*artifact_type).to_owned(),
        |artifact_type| {
            let mut shelf = TestLayout::new();
            shelf.named("other:1", 40, &ImageBuilder::new("other").weighs(1000));
            let image = shelf.named("app:1", 50, &ImageBuilder::new("app").weighs(1000));
            let config = shelf.layout.empty_config();
            let statement = shelf.layout.layer(&bulk("statement", 700));
            let doc = Doc::manifest(&config, &[statement]).subject(&image.manifest);
            let first = shelf.layout.put(&doc.artifact_type(artifact_type));
            shelf.layout.entry(&first);
            let payload = shelf.layout.layer(&bulk("payload", 500));
            let second = shelf.layout.manifest(&config, &[payload]);
            let index = shelf.layout.index(&[second]);
            let tag = first.digest.replacen(':', "-", 1);
            shelf.layout.tag(&index, &tag);
            shelf.write();
            let unique = unique_of(&check(shelf.path()), &image.manifest.digest);
            assert!(unique > 1000 + 700 + 500, "{unique}");
        },
    );
}

#[test]
fn children_that_are_listed_beside_their_index_count_for_it() {
    let mut shelf = TestLayout::new();
    let child = shelf.untagged(9, &ImageBuilder::new("child").weighs(4000));
    let shared = shelf.named("app:arm64", 9, &ImageBuilder::new("shared").weighs(2000));
    let index = shelf.layout.index(&[
        child.manifest.clone().platform("linux/amd64"),
        shared.manifest.clone().platform("linux/arm64"),
    ]);
    shelf.layout.tag(&index, "app:all");
    shelf.write();
    let uniques = check(shelf.path());
    assert!(unique_of(&uniques, &index.digest) > 4000);
    assert_eq!(unique_of(&uniques, &child.manifest.digest), 0);
    assert_eq!(unique_of(&uniques, &shared.manifest.digest), 0);
    shelf.hold("release", "app:all");
    check(shelf.path());
}

/// Elements of docker save are removed with their image, even without a name and if only another one has their blobs.
#[test]
fn blobs_that_only_an_element_of_an_image_names_are_unique_to_it() {
    for tags in [&[][..], &["app:1"], &["app:1", "saved:1"]] {
        for is_shared in [false, true] {
            let mut shelf = TestLayout::new();
            let image = shelf.named("app:1", 9, &ImageBuilder::new("app").weighs(1000));
            let extra = shelf.layout.layer(&bulk("extra", 5000));
            if is_shared {
                let other = shelf
                    .layout
                    .manifest(&image.config, std::slice::from_ref(&extra));
                shelf.layout.tag(&other, "other:1");
            }
            let layers = [image.layers[0].clone(), extra];
            shelf.layout.save_element(&[], &image.config, &layers);
            shelf
                .layout
                .save_element(tags, &image.config, &image.layers);
            shelf.write();
            let unique = unique_of(&check(shelf.path()), &image.manifest.digest);
            assert_eq!(unique > 5000, !is_shared, "{tags:?}: {unique}");
        }
    }
}

/// An orphan that a writer has just written may be about to reference blobs of an image.
#[test]
fn blobs_used_by_an_orphan_in_flight_are_not_unique() {
    let mut shelf = TestLayout::new();
    let layer = bulk("shared", 5000);
    let image = shelf.named("app:1", 9, &ImageBuilder::new("app").layer(&layer));
    let fresh = ImageBuilder::new("fresh")
        .layer(&layer)
        .store(&shelf.layout);
    shelf.write();
    let before = unique_of(&uniques(shelf.path()), &image.manifest.digest);
    assert!(before > 5000, "{before}");
    shelf
        .layout
        .modified(&fresh.manifest.blob_path(), SystemTime::now());
    let after = unique_of(&uniques(shelf.path()), &image.manifest.digest);
    assert_eq!(after, before - 5000);
}

#[test]
fn an_empty_layout_has_an_empty_list_of_items() {
    let shelf = TestLayout::new();
    shelf.write();
    assert_eq!(uniques(shelf.path()), []);
    for command in ["gc", "prune", "check"] {
        let run = Cmd::new([command, "--format", "json"])
            .arg(shelf.path())
            .args(if command == "check" { &[][..] } else { &["-n"] })
            .run();
        let items = &run.ok().json()["layouts"][0]["items"];
        assert_eq!(items.as_array().map(Vec::len), Some(0), "{}", run.all());
    }
    let run = Cmd::new(["ls", "--format", "json"]).arg(shelf.path()).run();
    let images = &run.ok().json()["layouts"][0]["images"];
    assert_eq!(images.as_array().map(Vec::len), Some(0), "{}", run.all());
}

/// `ls`, the confirmation and `-v` show the time that `prune` uses.
#[test]
fn the_time_that_prune_uses_is_shown() {
    let mut shelf = TestLayout::new();
    let build = |salt: &str, created: &str| {
        ImageBuilder::new(salt)
            .layer(salt.as_bytes())
            .created(created)
    };
    shelf.named("app:1", 10, &build("1", "2026-03-01T00:00:00Z"));
    shelf.named("app:2", 10, &build("2", "2026-02-01T00:00:00Z"));
    shelf.named("app:3", 20, &build("3", "2026-04-01T00:00:00Z"));
    shelf.write();
    let run = shelf.call(["-a", "-n", "-v", "--keep-last", "1"]).run();
    run.ok()
        .says("app:1  (last 1 of app, by created)  added 2026-11-11T12:00:00Z, created 2026-03-01T00:00:00Z")
        .says("app:3  (no hold, filter or rule keeps it)  added 2026-11-01T12:00:00Z\n");
    let args = ["-a", "-n", "-v", "--keep-last", "1", "--time", "created"];
    shelf
        .call(args)
        .run()
        .ok()
        .says("app:3  (last 1 of app)  created 2026-04-01T00:00:00Z\n");
    let list = |args: &[&str]| {
        let run = Cmd::new(["ls", "--now", NOW])
            .arg(shelf.path())
            .args(args)
            .run();
        run.ok().stdout.clone()
    };
    let tags = |text: &str| -> Vec<String> {
        let lines = text.lines().skip(1);
        lines
            .filter_map(|line| line.split_whitespace().nth(1).map(str::to_owned))
            .collect()
    };
    assert_eq!(tags(&list(&[])), ["3", "1", "2"]);
    let added = list(&["--time", "added"]);
    assert_eq!(tags(&added), ["1", "2", "3"]);
    assert!(
        added.contains(" ADDED ") && added.contains("2 weeks ago"),
        "{added}"
    );
    let json = list(&["--time", "added", "--format", "json"]);
    assert!(
        json.contains("\"added\": \"2026-11-11T12:00:00Z\""),
        "{json}"
    );
    assert!(!list(&["--format", "json"]).contains("\"added\""));
}
