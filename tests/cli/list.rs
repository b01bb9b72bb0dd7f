//! `ls` in all its formats.

use crate::support::{Cmd, TestDir};

#[test]
fn tables() {
    let mut dir = TestDir::with_cases(&["skopeo-old-tags", "docker-save-names", "regctl"]);
    for args in [
        &["ls", "skopeo-old-tags"][..],
        &["ls", "--digests", "skopeo-old-tags"],
        &["ls", "--no-trunc", "skopeo-old-tags"],
        &["ls", "-q", "skopeo-old-tags"],
        &["ls", "-q", "--no-trunc", "skopeo-old-tags"],
        &["ls", "regctl"],
        &["ls", "skopeo-old-tags", "docker-save-names"],
        &["ls", "-f", "dangling=true", "skopeo-old-tags"],
        &["ls", "-f", "reference=app", "docker-save-names"],
        &["ls", "-f", "reference=**/app:v*", "docker-save-names"],
        &["ls", "-f", "reference=nothing", "docker-save-names"],
    ] {
        dir.run_noted(args).ok();
    }
    dir.matches("ls");
}

#[test]
fn trees() {
    let mut dir = TestDir::with_cases(&[
        "bk-sbom",
        "ctr-export",
        "cosign-save-bundle",
        "docker-classic-save",
        "regctl",
        "skopeo-old-tags",
    ]);
    for layout in [
        "bk-sbom",
        "ctr-export",
        "cosign-save-bundle",
        "docker-classic-save",
        "regctl",
    ] {
        dir.run_noted(&["ls", "--tree", layout]).ok();
    }
    dir.run_noted(&["hold", "add", "bk-sbom", "release", "ex.com/sbom:v1"])
        .ok();
    dir.run_noted(&["ls", "--tree", "bk-sbom", "skopeo-old-tags"])
        .ok();
    dir.matches("ls-tree");
}

#[test]
fn json() {
    let mut dir = TestDir::with_cases(&["skopeo-old-tags", "ctr-export"]);
    for args in [
        &["ls", "--format", "json", "skopeo-old-tags"][..],
        &["ls", "--format", "jsonl", "skopeo-old-tags"],
        &["ls", "--format", "json", "ctr-export", "skopeo-old-tags"],
    ] {
        dir.run_noted(args).ok();
    }
    dir.matches("ls-json");
}

#[test]
fn a_line_of_jsonl_is_an_image_of_json() {
    let dir = TestDir::with_cases(&["skopeo-old-tags"]);
    let whole = dir
        .cmd_now(&["ls", "--format", "json", "skopeo-old-tags"])
        .run();
    let whole = whole.ok().json();
    let images = whole["layouts"][0]["images"]
        .as_array()
        .expect("images")
        .clone();
    let lines = dir
        .cmd_now(&["ls", "--format", "jsonl", "skopeo-old-tags"])
        .run();
    let lines: Vec<String> = lines.ok().stdout.lines().map(str::to_owned).collect();
    assert_eq!(images.len(), lines.len());
    for (image, line) in images.into_iter().zip(lines) {
        let line: serde_json::Value = serde_json::from_str(&line).expect("a line is JSON");
        assert_eq!(image, line);
    }
}

#[test]
fn the_age_is_that_of_the_day_that_is_asked_for() {
    let dir = TestDir::with_cases(&["skopeo-old-tags"]);
    for (now, age) in [
        ("2026-11-20T22:26:02Z", "Less than a second ago"),
        ("2026-11-20T22:27:10Z", "About a minute ago"),
        ("2026-11-20T23:40:00Z", "About an hour ago"),
        ("2026-11-22T12:00:00Z", "38 hours ago"),
        ("2026-12-30T00:00:00Z", "5 weeks ago"),
        ("2028-12-30T00:00:00Z", "2 years ago"),
    ] {
        let run = Cmd::new(["--now", now, "ls", "skopeo-old-tags"])
            .current_dir(dir.path())
            .run();
        run.ok().says(age);
    }
}
