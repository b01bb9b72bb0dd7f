//! `ls` in all its formats.

use crate::support::run::number;
use crate::support::{Cmd, LayoutBuilder, TestDir};

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
        "oras-backup",
        "oras-retag",
        "regctl",
        "skopeo-old-tags",
    ]);
    for layout in [
        "oras-backup",
        "oras-retag",
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
    for args in [
        &["ls", "--tree", "bk-sbom", "skopeo-old-tags"][..],
        &["ls", "--tree", "--no-trunc", "bk-sbom"],
        &["ls", "bk-sbom"],
        &["df", "-v", "bk-sbom"],
    ] {
        dir.run_noted(args).ok();
    }
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
fn the_age_is_relative_to_the_given_day() {
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

/// The maximum depth of a tree.
const MAX_DEPTH: usize = 16;

/// Wraps an image into this number of nested indexes, and lists the outermost.
fn nested(dir: &TestDir, levels: usize) -> LayoutBuilder {
    let mut layout = LayoutBuilder::at(&dir.join("nested"));
    let image = layout.image("linux/amd64", "innermost", &[b"a layer"]);
    let indexes = (0..levels).fold(image.manifest, |inner, _| layout.index(&[inner]));
    layout.tag(&indexes, "v1").write();
    layout
}

#[test]
fn a_tree_marks_where_deeper_levels_are_not_shown() {
    const CUT: &str = "deeper levels are not shown";
    for (levels, is_cut) in [
        (1, false),
        (MAX_DEPTH, false),
        (MAX_DEPTH + 1, true),
        (3 * MAX_DEPTH, true),
    ] {
        let dir = TestDir::new();
        nested(&dir, levels);
        let run = dir.run(&["ls", "--tree", "nested"]);
        let lines: Vec<&str> = run.ok().stdout.lines().collect();
        assert_eq!(run.stdout.contains(CUT), is_cut, "{levels}\n{}", run.all());
        assert_eq!(
            run.stdout.contains("linux/amd64"),
            !is_cut,
            "{levels}\n{}",
            run.all()
        );
        let below = lines.iter().filter(|line| line.contains("└─ ")).count();
        assert_eq!(below, levels.min(MAX_DEPTH + 1), "{levels}\n{}", run.all());
        let last = lines.iter().rfind(|line| line.contains("└─ "));
        assert_eq!(
            last.is_some_and(|line| line.ends_with(CUT)),
            is_cut,
            "{}",
            run.all()
        );
    }
}

/// Two untagged images that are each other's subject are not both hidden below the other.
#[test]
fn a_tree_hides_no_image_completely() {
    let dir = TestDir::new();
    let mut layout = LayoutBuilder::at(&dir.join("odd"));
    let image = layout.image("linux/amd64", "named", &[b"a layer"]);
    layout.tag(&image.manifest, "v1");
    let child = layout
        .image("linux/arm64", "child", &[b"another layer"])
        .manifest;
    let index = layout.index(std::slice::from_ref(&child));
    let signature = layout.referrer(&child, "application/vnd.example.sig", b"a signature");
    for desc in [&child, &index, &signature.manifest] {
        layout.entry(desc);
    }
    layout.write();
    let tree = dir.run(&["ls", "--tree", "odd"]);
    let lines: Vec<&str> = tree.ok().stdout.lines().collect();
    let roots = lines.iter().filter(|line| line.starts_with("<none>"));
    assert_eq!(roots.count(), 1, "{}", tree.all());
    for desc in [&child, &index, &signature.manifest] {
        let id = &desc.digest[7..19];
        let count = lines.iter().filter(|line| line.contains(id)).count();
        assert_eq!(count, 1, "{id}\n{}", tree.all());
    }
    assert!(
        tree.stdout
            .contains("signature application/vnd.example.sig"),
        "{}",
        tree.all()
    );
    // A held image has a block of its own, whatever lists it.
    dir.run(&["hold", "add", "odd", "mine", &child.digest]).ok();
    let tree = dir.run(&["ls", "--tree", "odd"]);
    let held = |line: &&str| line.starts_with("<none>") && line.ends_with(" H");
    assert_eq!(
        tree.ok().stdout.lines().filter(held).count(),
        1,
        "{}",
        tree.all()
    );
    // A filter that only the child passes shows the child.
    let tree = dir.run(&["ls", "--tree", "-f", "platform=linux/arm64", "odd"]);
    tree.ok().says(&child.digest[7..19]);
}

/// A referrer has referrers too.
#[test]
fn a_tree_of_referrers_marks_where_it_ends() {
    let dir = TestDir::new();
    let mut layout = LayoutBuilder::at(&dir.join("signed"));
    let image = layout.image("linux/amd64", "signed", &[b"a layer"]);
    layout.tag(&image.manifest, "v1");
    let mut subject = image.manifest;
    for level in 0..=MAX_DEPTH {
        let payload = format!("signature {level}");
        let referrer = layout.referrer(&subject, "application/vnd.example", payload.as_bytes());
        subject = referrer.manifest;
        layout.entry(&subject);
        layout.write();
        let run = dir.run(&["ls", "--tree", "-f", "reference=v1", "signed"]);
        let is_cut = run.ok().stdout.contains("deeper levels are not shown");
        assert_eq!(is_cut, level >= MAX_DEPTH, "{level}\n{}", run.all());
    }
}

/// The depth limit does not affect sizes.
#[test]
fn json_counts_what_a_tree_does_not_show() {
    let dir = TestDir::new();
    nested(&dir, 3 * MAX_DEPTH);
    let bytes = dir.blobs().sum();
    for (format, image) in [("json", "/layouts/0/images/0"), ("jsonl", "")] {
        let json = dir.run(&["ls", "--format", format, "nested"]);
        let json = json.ok().json();
        for key in ["disk_bytes", "content_bytes"] {
            assert_eq!(number(&json, &format!("{image}/{key}")), bytes, "{json:#}");
        }
        // The tree ends with `null` and not with an empty list.
        let tree = dir.run(&["ls", "--tree", "--format", format, "nested"]);
        let tree = tree.ok().json();
        let mut below = tree.pointer(image).expect("an image");
        let mut levels = 0;
        while let Some(child) = below.pointer("/children/0") {
            below = child;
            levels += 1;
        }
        assert_eq!(levels, MAX_DEPTH, "{tree:#}");
        assert!(below["children"].is_null(), "{tree:#}");
        assert_eq!(number(&tree, &format!("{image}/disk_bytes")), bytes);
    }
}
