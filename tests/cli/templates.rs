//! `--format TEMPLATE`.

use crate::support::dated::{ImageBuilder, NOW, TestLayout};
use crate::support::{Cmd, LayoutBuilder, Run, TestDir};

/// The tables of `ls`, `df`, `hold ls` and `trash ls` in every form that a template can print.
#[test]
fn rows() {
    let mut dir = TestDir::with_cases(&["skopeo-old-tags", "ctr-export"]);
    dir.run_noted(&["hold", "add", "skopeo-old-tags", "release", "b"])
        .ok();
    for args in [
        &[
            "ls",
            "--format",
            "{{.Repository}}:{{.Tag}} {{.ID}}",
            "skopeo-old-tags",
        ][..],
        &["ls", "--no-trunc", "--format", "{{.ID}}", "skopeo-old-tags"],
        &[
            "ls",
            "--format",
            "table {{.ID}}\\t{{.Name}}\\t{{.Size}}",
            "skopeo-old-tags",
        ],
        &["ls", "--format", "{{json .}}", "ctr-export"],
        &["ls", "--format", "raw", "ctr-export"],
        &[
            "ls",
            "-f",
            "reference=nothing",
            "--format",
            "table {{.ID}}\t{{.Tag}}",
            "ctr-export",
        ],
        &[
            "ls",
            "--format",
            "table {{.Layout}}\\t{{.Name}}\\t{{join .Platforms \",\"}}\\t{{join .Holds \",\"}}\\t{{.State}}",
            "skopeo-old-tags",
            "ctr-export",
        ],
        &[
            "df",
            "--format",
            "{{.Layout}} {{.Type}} {{.ReclaimableBytes}}",
            "skopeo-old-tags",
            "ctr-export",
        ],
        &["df", "--format", "raw", "ctr-export"],
        &[
            "df",
            "-v",
            "--format",
            "table {{.Name}}\\t{{.CreatedAt}}\\t{{.UniqueSize}}\\t{{.SharedBytes}}",
            "skopeo-old-tags",
        ],
        &[
            "df",
            "-v",
            "--format",
            "{{.Layout}}: {{range .Images}}{{.ID}} {{end}}",
            "skopeo-old-tags",
            "ctr-export",
        ],
        &["df", "-v", "--format", "{{json .Images}}", "ctr-export"],
        &[
            "hold",
            "ls",
            "--format",
            "{{.Name}} {{.Image}} {{.ID}} {{.Ends}}",
            "skopeo-old-tags",
        ],
        &["hold", "ls", "--format", "{{json .}}", "skopeo-old-tags"],
    ] {
        dir.run_noted(args).ok();
    }
    dir.matches("templates");
}

#[test]
fn trees() {
    let mut dir = TestDir::with_cases(&["bk-sbom", "cosign-save-bundle", "ctr-export"]);
    for layout in ["bk-sbom", "cosign-save-bundle", "ctr-export"] {
        dir.run_noted(&["ls", "--tree", "--format", "json", layout])
            .ok();
    }
    dir.matches("ls-tree-json");
}

/// docker's answers to the same images: transcripts of `docker image ls`, CLI and daemon of August 2026.
#[test]
fn rows_are_those_of_docker() {
    let mut layout = TestLayout::new();
    for (name, created) in [
        ("bravo:1", "2025-06-01T00:00:00Z"),
        ("charlie:1", "2024-09-01T00:00:00Z"),
        ("acme/xray:1", "2024-03-01T00:00:00Z"),
        ("nolabel:1", "2023-06-01T00:00:00Z"),
        ("future:1", "2031-01-01T00:00:00Z"),
    ] {
        let image = ImageBuilder::new(name).created(created).weighs(100);
        layout.named(name, 10, &image);
    }
    layout.write();
    let run = |args: &[&str]| {
        let call = Cmd::new(["--now", NOW]).args(args);
        call.arg(layout.path()).run()
    };
    let printed = |template: &str| -> Vec<String> {
        let run = run(&["ls", "--format", template]);
        run.ok().stdout.lines().map(str::to_owned).collect()
    };
    assert_eq!(
        printed("{{.Repository}} {{.CreatedAt}} / {{.CreatedSince}}"),
        [
            "future 2031-01-01 00:00:00 +0000 UTC / Less than a second ago",
            "bravo 2025-06-01 00:00:00 +0000 UTC / 17 months ago",
            "charlie 2024-09-01 00:00:00 +0000 UTC / 2 years ago",
            "acme/xray 2024-03-01 00:00:00 +0000 UTC / 2 years ago",
            "nolabel 2023-06-01 00:00:00 +0000 UTC / 3 years ago",
        ]
    );
    assert_eq!(
        printed("{{.Repository}}:{{.Tag}}"),
        [
            "future:1",
            "bravo:1",
            "charlie:1",
            "acme/xray:1",
            "nolabel:1"
        ]
    );
    // docker's own table is a template, and so is ours.
    let table = "table {{.Repository}}\\t{{.Tag}}\\t{{.ID}}\\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\\t{{.Size}}";
    let plain = run(&["ls"]);
    assert_eq!(printed(table).join("\n") + "\n", plain.ok().stdout);
    let digests =
        "table {{.Repository}}\\t{{.Tag}}\\t{{.Digest}}\\t{{.ID}}\\t{{.CreatedSince}}\\t{{.Size}}";
    let plain = run(&["ls", "--digests"]);
    assert_eq!(printed(digests).join("\n") + "\n", plain.ok().stdout);
    let json: serde_json::Value =
        serde_json::from_str(&printed("{{json .}}")[0]).expect("a line is JSON");
    for key in [
        "Containers",
        "CreatedAt",
        "CreatedSince",
        "Digest",
        "ID",
        "Repository",
        "SharedSize",
        "Size",
        "Tag",
        "UniqueSize",
    ] {
        assert!(json[key].is_string(), "{key}: {json:#}");
    }
    let df = "table {{.Type}}\\t{{.TotalCount}}\\t{{.Active}}\\t{{.Size}}\\t{{.Reclaimable}}";
    let by_template = run(&["df", "--format", df]);
    assert_eq!(by_template.ok().stdout, run(&["df"]).ok().stdout);
}

/// An error in a template is reported before a layout is opened, and nothing is printed.
#[test]
fn errors_are_reported_before_any_work() {
    let mut dir = TestDir::new();
    for args in [
        &["ls", "--format", "{{.Repositroy}}", "nowhere"][..],
        &[
            "ls",
            "--format",
            "table {{.ID}}\\t{{upper .SizeBytes}}",
            "nowhere",
        ],
        &["df", "--format", "{{.Images}}", "nowhere"],
        &[
            "df",
            "-v",
            "--format",
            "{{range .Images}}{{.Type}}{{end}}",
            "nowhere",
        ],
        &["hold", "ls", "--format", "{{.Name", "nowhere"],
        &["trash", "ls", "--format", "{{if .Run}}", "nowhere"],
        &["ls", "--tree", "--format", "{{.ID}}", "nowhere"],
        &["ls", "--format", "jsno", "nowhere"],
        &["df", "--format", "jsonl", "nowhere"],
    ] {
        let run = dir.run_noted(args);
        run.exits(2);
        assert_eq!(run.stdout, "", "{}", run.all());
    }
    dir.matches("templates-refused");
}

#[test]
fn an_index_that_is_too_large_prints_nothing() {
    let dir = TestDir::with_cases(&["skopeo-old-tags"]);
    let run = dir.run(&["ls", "--format", "{{index .Names 1}}", "skopeo-old-tags"]);
    run.exits(2).one_error();
    assert_eq!(run.stdout, "", "{}", run.all());
}

/// A name must not add lines or columns to what a script reads.
#[test]
fn a_name_cannot_forge_rows() {
    let dir = TestDir::new();
    let mut layout = LayoutBuilder::at(&dir.join("images"));
    let image = layout.image("linux/amd64", "x", &[b"a layer"]);
    layout.tag(&image.manifest, "a\nb\tc\u{1b}[31m").write();
    for template in [
        "{{.Name}}",
        "table {{.Name}}",
        "{{json .Names}}",
        "{{json .}}",
    ] {
        let run: Run = dir.run(&["ls", "--format", template, "images"]);
        let lines = if template.starts_with("table") { 2 } else { 1 };
        assert_eq!(run.ok().stdout.lines().count(), lines, "{}", run.all());
        assert!(!run.stdout.contains('\t'), "{}", run.all());
    }
}

/// As in docker, a template takes precedence over `-q`.
#[test]
fn a_template_takes_precedence_over_quiet() {
    let dir = TestDir::with_cases(&["skopeo-old-tags"]);
    let run = Cmd::new(["ls", "-q", "--format", "{{.Tag}}", "skopeo-old-tags"])
        .current_dir(dir.path())
        .run();
    assert_eq!(run.ok().stdout, "a\nlatest\n<none>\nb\n");
}
