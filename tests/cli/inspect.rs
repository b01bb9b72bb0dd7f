//! `check`, `why` and `blobs`.

use std::fs;

use crate::support::TestDir;

#[test]
fn whole_sparse_and_damaged_layouts() {
    let mut dir =
        TestDir::with_cases(&["bk-sbom", "ctr-export", "docker-save-id", "skopeo-old-tags"]);
    dir.run_noted(&["check", "bk-sbom"]).ok();
    dir.run_noted(&["check", "--quick", "bk-sbom"]).ok();
    dir.run_noted(&["check", "-q", "bk-sbom"]).ok();
    dir.run_noted(&["check", "-v", "ctr-export"]).ok();
    dir.run_noted(&["check", "--complete", "-q", "ctr-export"])
        .exits(1);
    dir.run_noted(&["check", "docker-save-id"]).exits(1);
    fs::write(dir.blob("skopeo-old-tags", "1052f5952d3b"), "too short").expect("it can be damaged");
    let config = dir.blob("skopeo-old-tags", "8342d9e263e1");
    let blanks = " ".repeat(fs::read(&config).expect("it is there").len());
    fs::write(&config, blanks).expect("it can be damaged");
    fs::remove_file(dir.blob("skopeo-old-tags", "2f624e1e9539")).expect("it can be lost");
    fs::write(dir.join("skopeo-old-tags/blobs/sha256/README"), "").expect("it can be written");
    dir.run_noted(&["check", "skopeo-old-tags"]).exits(1);
    dir.run_noted(&["fsck", "skopeo-old-tags", "bk-sbom", "nowhere"])
        .exits(4);
    fs::write(dir.join("ctr-export/index.json"), "{").expect("it can be damaged");
    dir.run_noted(&["fsck", "skopeo-old-tags", "bk-sbom", "ctr-export"])
        .refused();
    dir.matches("check");
}

#[test]
fn check_as_json() {
    let mut dir = TestDir::with_cases(&["ctr-export", "skopeo-old-tags"]);
    fs::remove_file(dir.blob("skopeo-old-tags", "2f624e1e9539")).expect("it can be lost");
    dir.run_noted(&["check", "--format", "json", "skopeo-old-tags"])
        .exits(1);
    dir.run_noted(&["check", "--quick", "--format", "json", "nowhere"])
        .exits(4);
    fs::remove_file(dir.join("ctr-export/index.json")).expect("it can be lost");
    dir.run_noted(&["check", "--quick", "--format", "json", "ctr-export"])
        .refused();
    dir.matches("check-json");
}

#[test]
fn reference_paths_results_and_shares() {
    let mut dir = TestDir::with_cases(&["bk-sbom", "bkcache-max", "regctl", "skopeo-old-tags"]);
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
        dir.run_noted(args).ok();
    }
    let absent = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    for what in [absent, "012", "c", "app:9"] {
        dir.run_noted(&["why", "skopeo-old-tags", what]).exits(1);
    }
    dir.matches("why");
}

#[test]
fn lists_of_paths() {
    let mut dir =
        TestDir::with_cases(&["docker-save-names", "skopeo-interrupted", "skopeo-old-tags"]);
    for args in [
        &["blobs", "--live", "docker-save-names"][..],
        &["blobs", "--roots", "skopeo-old-tags"],
        &["blobs", "--roots", "skopeo-old-tags", "docker-save-names"],
        &["blobs", "--unreferenced", "skopeo-interrupted"],
    ] {
        dir.run_noted(args).ok();
    }
    dir.run_noted(&["blobs", "skopeo-old-tags"]).exits(2);
    dir.matches("blobs");
}
