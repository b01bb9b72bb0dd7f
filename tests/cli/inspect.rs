//! `check`, `why` and `blobs`.

use std::fs;

use crate::cli::shelf::Shelf;

#[test]
fn whole_sparse_and_damaged_layouts() {
    let mut shelf = Shelf::new(&["bk-sbom", "ctr-export", "docker-save-id", "skopeo-old-tags"]);
    shelf.run(&["check", "bk-sbom"]).ok();
    shelf.run(&["check", "--quick", "bk-sbom"]).ok();
    shelf.run(&["check", "-q", "bk-sbom"]).ok();
    shelf.run(&["check", "-v", "ctr-export"]).ok();
    shelf
        .run(&["check", "--complete", "-q", "ctr-export"])
        .exits(1);
    shelf.run(&["check", "docker-save-id"]).exits(1);
    fs::write(shelf.blob("skopeo-old-tags", "1052f5952d3b"), "too short")
        .expect("it can be damaged");
    let config = shelf.blob("skopeo-old-tags", "8342d9e263e1");
    let blanks = " ".repeat(fs::read(&config).expect("it is there").len());
    fs::write(&config, blanks).expect("it can be damaged");
    fs::remove_file(shelf.blob("skopeo-old-tags", "2f624e1e9539")).expect("it can be lost");
    fs::write(shelf.join("skopeo-old-tags/blobs/sha256/README"), "").expect("it can be written");
    shelf.run(&["check", "skopeo-old-tags"]).exits(1);
    shelf
        .run(&["fsck", "skopeo-old-tags", "bk-sbom", "nowhere"])
        .exits(4);
    fs::write(shelf.join("ctr-export/index.json"), "{").expect("it can be damaged");
    shelf
        .run(&["fsck", "skopeo-old-tags", "bk-sbom", "ctr-export"])
        .refused();
    shelf.matches("check");
}

#[test]
fn check_as_json() {
    let mut shelf = Shelf::new(&["ctr-export", "skopeo-old-tags"]);
    fs::remove_file(shelf.blob("skopeo-old-tags", "2f624e1e9539")).expect("it can be lost");
    shelf
        .run(&["check", "--format", "json", "skopeo-old-tags"])
        .exits(1);
    shelf
        .run(&["check", "--quick", "--format", "json", "nowhere"])
        .exits(4);
    fs::remove_file(shelf.join("ctr-export/index.json")).expect("it can be lost");
    shelf
        .run(&["check", "--quick", "--format", "json", "ctr-export"])
        .refused();
    shelf.matches("check-json");
}

#[test]
fn ways_fates_and_shares() {
    let mut shelf = Shelf::new(&["bk-sbom", "bkcache-max", "regctl", "skopeo-old-tags"]);
    for args in [
        &["why", "bk-sbom", "531719"][..],
        &["why", "regctl", "2f624e1e9539"],
        &["why", "regctl", "1052f5952d3b", "--limit", "2"],
        &["why", "skopeo-old-tags", "b"],
        &["why", "skopeo-old-tags", "foo"],
        &["why", "bk-sbom", "ex.com/sbom:v1"],
        &["why", "bkcache-max", "abeae5ae7117"],
        &["why", "bkcache-max", "abeae5ae7117", "--grace", "30d"],
        &["why", "--format", "json", "skopeo-old-tags", "b"],
        &["why", "--format", "json", "bkcache-max", "abeae5ae7117"],
    ] {
        shelf.run(args).ok();
    }
    let absent = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    for what in [absent, "012", "c", "app:9"] {
        shelf.run(&["why", "skopeo-old-tags", what]).exits(1);
    }
    shelf.matches("why");
}

#[test]
fn lists_of_paths() {
    let mut shelf = Shelf::new(&["docker-save-names", "skopeo-interrupted", "skopeo-old-tags"]);
    for args in [
        &["blobs", "--live", "docker-save-names"][..],
        &["blobs", "--roots", "skopeo-old-tags"],
        &["blobs", "--roots", "skopeo-old-tags", "docker-save-names"],
        &["blobs", "--unreferenced", "skopeo-interrupted"],
    ] {
        shelf.run(args).ok();
    }
    shelf.run(&["blobs", "skopeo-old-tags"]).exits(2);
    shelf.matches("blobs");
}
