//! `df`, and that its numbers are those of a prune.

use std::fs;

use crate::support::{Cmd, LayoutBuilder, TestDir, cases, for_each};

#[test]
fn tables() {
    let mut dir = TestDir::with_cases(&[
        "bkcache-max",
        "docker-classic-save",
        "skopeo-interrupted",
        "skopeo-old-tags",
    ]);
    for args in [
        &["df", "bkcache-max"][..],
        &["df", "skopeo-interrupted"],
        &["df", "--temp-age", "30d", "skopeo-interrupted"],
        &["df", "-v", "skopeo-old-tags"],
        &[
            "df",
            "bkcache-max",
            "docker-classic-save",
            "skopeo-old-tags",
        ],
        &["df", "-v", "docker-classic-save", "skopeo-old-tags"],
    ] {
        dir.run_noted(args).ok();
    }
    dir.matches("df");
}

#[test]
fn json() {
    let mut dir = TestDir::with_cases(&["skopeo-old-tags", "skopeo-interrupted"]);
    for args in [
        &["df", "--format", "json", "skopeo-interrupted"][..],
        &["df", "-v", "--format", "json", "skopeo-old-tags"],
    ] {
        dir.run_noted(args).ok();
    }
    dir.matches("df-json");
}

#[test]
fn obstacles_to_a_prune_are_reported() {
    let mut dir = TestDir::with_cases(&["skopeo-shared", "lxc-shared", "bkcache-max"]);
    let root = dir.blob("bkcache-max", "19929b8ee442");
    std::fs::write(root, "damaged").expect("a blob can be damaged");
    std::fs::write(dir.join("bkcache-max/blobs/sha256/notes"), "").expect("a file can be made");
    for layout in ["skopeo-shared/one", "lxc-shared/c1/oci", "bkcache-max"] {
        dir.run_noted(&["df", layout]).ok();
    }
    dir.run_noted(&["df", "--format", "json", "bkcache-max"])
        .ok();
    dir.matches("df-refused");
}

/// RECLAIMABLE is what a prune with defaults frees, to the byte, and nothing is left for a second one.
#[test]
fn reclaimable_is_what_a_prune_frees() {
    let layouts = cases().into_iter().flat_map(|case| case.layouts);
    for_each(
        layouts,
        |case| case.label(),
        |case| {
            let (_unpacked, layout) = case.unpack();
            let reclaimable = || {
                let run = Cmd::new(["df", "--format", "json"]).arg(&layout).run();
                let json = run.ok().json();
                let row = &json["layouts"][0];
                let refused = row["refusal"].as_str().map(str::to_owned);
                (row["total"]["reclaimable_bytes"].as_u64(), refused)
            };
            let prune = || {
                Cmd::new(["prune", "--force", "--format", "json"])
                    .arg(&layout)
                    .run()
            };
            match reclaimable() {
                (announced, None) => {
                    let freed = prune().ok().json()["totals"]["reclaimed_bytes"].as_u64();
                    assert!(freed.is_some());
                    assert_eq!(announced, freed);
                    assert_eq!(reclaimable(), (Some(0), None));
                }
                (announced, Some(refusal)) => {
                    assert_eq!(announced, Some(0));
                    let refused = prune();
                    refused.refused();
                    assert!(refused.stderr.contains(&refusal), "{}", refused.all());
                }
            }
        },
    );
}

/// UNIQUE is what is deleted if only the image is removed, even if docker's `manifest.json` names its blobs as well.
#[test]
fn unique_is_what_a_removal_of_that_image_frees() {
    let is_saved = |layout: &std::path::Path| layout.join("manifest.json").is_file();
    let mut compared = 0;
    for case in cases().into_iter().flat_map(|case| case.layouts) {
        let (_unpacked, layout) = case.unpack();
        if !is_saved(&layout) {
            continue;
        }
        let run = Cmd::new(["df", "-v", "--format", "json"])
            .arg(&layout)
            .run();
        let json = run.ok().json();
        let items = json["layouts"][0]["items"].as_array();
        let items = items.expect("there are images");
        // An image without a name may be removed along with another one, and is counted separately.
        let is_named = |item: &serde_json::Value| item["names"] != serde_json::json!([]);
        if !items.iter().all(is_named) {
            continue;
        }
        for item in items {
            let digest = item["digest"].as_str().expect("an image has a digest");
            let removal = Cmd::new(["rm", "-n", "-f", "--format", "json"])
                .arg(&layout)
                .arg(digest)
                .run();
            if removal.code != Some(0) {
                continue;
            }
            let freed = &removal.json()["totals"]["reclaimed_bytes"];
            assert_eq!(&item["unique_bytes"], freed, "{}: {item}", case.label());
            compared += 1;
        }
    }
    assert!(compared > 5, "only {compared} images");
}

/// `gc` counts the same images as dangling that `ls -f dangling=true` lists, and `prune` leaves none.
#[test]
fn the_dangling_images_of_gc_are_those_of_ls() {
    let mut counted = 0;
    for case in cases().into_iter().flat_map(|case| case.layouts) {
        let (_unpacked, layout) = case.unpack();
        let gc = Cmd::new(["gc", "-n"]).arg(&layout).run();
        if gc.code != Some(0) {
            continue;
        }
        let line = gc.stdout.lines().find(|line| line.contains("dangling"));
        let words = line.and_then(|line| line.split(' ').nth(1));
        let number: usize = words.map_or(0, |number| number.parse().expect("a number"));
        let listed = Cmd::new(["ls", "-q", "-f", "dangling=true"])
            .arg(&layout)
            .run();
        let listed = listed.ok().stdout.lines().count();
        assert_eq!(number, listed, "{}\n{}", case.label(), gc.all());
        counted += number;
        if number > 0 {
            Cmd::new(["prune", "-f"]).arg(&layout).run().ok();
            let after = Cmd::new(["gc", "-n"]).arg(&layout).run();
            assert!(!after.ok().stdout.contains("dangling"), "{}", after.all());
        }
        let quiet = Cmd::new(["gc", "-n", "-q"]).arg(&layout).run();
        assert_eq!(quiet.ok().stdout.lines().count(), 1, "{}", quiet.all());
    }
    assert!(counted > 3, "only {counted}");
}

/// In a large layout, counting would take as long as the rest of the run.
#[test]
fn the_dangling_images_of_a_large_index_are_not_counted() {
    for (padding, is_counted) in [(0, true), (2 << 20, false)] {
        let mut layout = LayoutBuilder::new();
        for name in ["old", "new"] {
            let image = layout.image("linux/amd64", name, &[name.as_bytes()]);
            match name {
                "new" => layout.tag(&image.manifest, "app:1"),
                _ => layout.entry(&image.manifest),
            };
        }
        layout.write();
        let index = fs::read(layout.join("index.json")).expect("it is there");
        let spaces = vec![b' '; padding];
        fs::write(layout.join("index.json"), [index, spaces].concat()).expect("it can be written");
        let run = Cmd::new(["gc", "-n"]).arg(layout.path()).run();
        let counts = run.ok().stdout.contains("kept 1 dangling image");
        assert_eq!(counts, is_counted, "{padding}\n{}", run.all());
        let listed = Cmd::new(["ls", "-q", "-f", "dangling=true"]);
        let listed = listed.arg(layout.path()).run();
        assert_eq!(listed.ok().stdout.lines().count(), 1, "{}", listed.all());
    }
}
