//! The output of `rm`: as text, quiet, as JSON, in a dry run; and with hostile names.

use serde_json::{Value, json};

use crate::support::environment::{NO_PROGRESS, Terminal};
use crate::support::invariants::human;
use crate::support::removed::{assert_entries, bare, rm};
use crate::support::{Image, LayoutBuilder, assert_same, snapshot};

fn app_and_other() -> (LayoutBuilder, Image, Image) {
    let mut layout = LayoutBuilder::new();
    let app = layout.image("linux/amd64", "app", &[b"app", b"second"]);
    let other = layout.image("linux/amd64", "other", &[b"other"]);
    layout
        .tag(&app.manifest, "app:1")
        .tag(&other.manifest, "other:1")
        .write();
    (layout, app, other)
}

#[test]
fn a_dry_run_prints_would_and_that_nothing_was_changed() {
    let (layout, app, _) = app_and_other();
    let before = snapshot(layout.path());
    let run = bare(layout.path(), ["-n", "app:1"]).run();
    run.ok();
    let mut text = "Would untag: app:1\n".to_owned();
    for desc in app.parts() {
        text.push_str(&format!("Would delete: {}\n", desc.digest));
    }
    let sum = app.parts().iter().map(|desc| desc.size).sum();
    text.push_str(&format!(
        "Would reclaim {}; nothing was changed\n",
        human(sum)
    ));
    assert_eq!(run.stdout, text, "{}", run.all());
    assert_same(&before, &snapshot(layout.path()), &run.all());
}

#[test]
fn the_exit_status_of_a_dry_run_can_report_whether_anything_would_change() {
    let (layout, ..) = app_and_other();
    let cases: [(&[&str], i32); 4] = [
        (&["app:1"], 10),
        (&["app:*"], 10),
        (&["-f", "nosuch:1"], 0),
        (&["app:1", "--platform", "linux/amd64", "-f"], 10),
    ];
    for (arguments, code) in cases {
        let before = snapshot(layout.path());
        let run = bare(layout.path(), arguments)
            .args(["-n", "--exit-code"])
            .run();
        run.exits(code);
        assert_same(&before, &snapshot(layout.path()), &run.all());
    }
    bare(layout.path(), ["--exit-code", "app:1"]).run().exits(2);
}

#[test]
fn quiet_prints_only_the_total() {
    let (layout, app, _) = app_and_other();
    let run = rm(&layout, &["-q", "app:1", "nosuch:1"]);
    run.exits(1).warns("No such image: nosuch:1");
    let sum = app.parts().iter().map(|desc| desc.size).sum();
    assert_eq!(
        run.stdout,
        format!("Total reclaimed space: {}\n", human(sum)),
        "{}",
        run.all()
    );

    let (mut layout, app, _) = app_and_other();
    layout.tag(&app.manifest, "app:2").write();
    let run = rm(&layout, &["-q", "app:2"]);
    run.ok();
    assert_eq!(run.stdout, "", "{}", run.all());
}

#[test]
fn json_lists_names_and_blobs_with_their_sizes_and_failures() {
    let (layout, app, other) = app_and_other();
    for (flags, untag, delete) in [
        (&["-n"][..], "would-untag", "would-delete"),
        (&[], "untag", "delete"),
    ] {
        let run = bare(layout.path(), ["app:1", "nosuch:1"])
            .args(["--format", "json"])
            .args(flags)
            .run();
        run.exits(1).warns("No such image: nosuch:1");
        let report = run.json();
        let mut items = vec![json!({
            "digest": null, "kind": "name", "size": 0, "action": untag, "reasons": ["removed"], "names": ["app:1"],
        })];
        for desc in app.parts() {
            items.push(json!({
                "digest": desc.digest, "kind": "blob", "size": desc.size, "action": delete,
                "reasons": ["unreferenced"], "names": [],
            }));
        }
        assert_eq!(
            without_null_digests(&report),
            without_null(&items),
            "{}",
            run.all()
        );
        let sum: u64 = app.parts().iter().map(|desc| desc.size).sum();
        for (pointer, value) in [
            ("/schema_version", json!(1)),
            ("/command", json!("rm")),
            ("/dry_run", json!(!flags.is_empty())),
            ("/layouts/0/path", json!(layout.path())),
            ("/layouts/0/error", json!("No such image: nosuch:1")),
            ("/layouts/0/totals/blobs", json!(4)),
            ("/layouts/0/totals/bytes", json!(sum)),
            ("/totals/freed_bytes", json!(sum)),
            ("/totals/reclaimed_bytes", json!(sum)),
        ] {
            assert_eq!(
                report.pointer(pointer),
                Some(&value),
                "{pointer}\n{}",
                run.all()
            );
        }
    }
    let run = rm(&layout, &["nosuch:1"]);
    assert_entries(&layout, &[other.manifest.tagged("other:1")], &run);
}

/// Keys without a value may be present or absent.
fn without_null(items: &[Value]) -> Vec<Value> {
    let mut items = items.to_vec();
    for item in &mut items {
        if let Some(object) = item.as_object_mut() {
            object.retain(|_, value| !value.is_null());
        }
    }
    items
}

fn without_null_digests(report: &Value) -> Vec<Value> {
    let items = report.pointer("/layouts/0/items").and_then(Value::as_array);
    without_null(items.expect("a layout has items"))
}

#[test]
fn json_lists_names_that_now_have_another_image() {
    let mut layout = LayoutBuilder::new();
    let amd64 = layout.image("linux/amd64", "amd64", &[b"amd64"]);
    let arm64 = layout.image("linux/arm64", "arm64", &[b"arm64"]);
    let index = layout.index(&[
        amd64.manifest.clone().platform("linux/amd64"),
        arm64.manifest.clone().platform("linux/arm64"),
    ]);
    layout.tag(&index, "multi:1").write();
    let run = bare(
        layout.path(),
        ["multi:1", "--platform", "linux/arm64", "--format", "json"],
    )
    .run();
    run.ok();
    let report = run.report();
    let mut gone: Vec<String> = report.deleted().into_keys().collect();
    let mut expected = vec![index.digest];
    expected.extend(arm64.digests());
    gone.sort();
    expected.sort();
    assert_eq!(gone, expected, "{}", run.all());
    let new =
        crate::support::files::field(&crate::support::files::entries(layout.path())[0], "digest");
    let item = run.json();
    let items = item
        .pointer("/layouts/0/items")
        .and_then(Value::as_array)
        .expect("a layout has items");
    let length = std::fs::metadata(crate::support::files::blob_path(
        layout.path(),
        new.as_deref().expect("a digest"),
    ));
    assert_eq!(
        without_null(items).last(),
        Some(&json!({
            "digest": new, "kind": "index", "size": length.expect("the new index exists").len(), "action": "rewrite",
            "reasons": ["platform dropped"], "names": ["multi:1"],
        })),
        "{}",
        run.all()
    );
}

/// A layout in which one image has a hostile name.
fn with_name(name: &str) -> (LayoutBuilder, Image) {
    let mut layout = LayoutBuilder::new();
    let image = layout.image("linux/amd64", "app", &[b"app"]);
    let other = layout.image("linux/amd64", "other", &[b"other"]);
    layout
        .tag(&image.manifest, name)
        .tag(&image.manifest, "app:1")
        .tag(&other.manifest, "other:1")
        .write();
    (layout, image)
}

#[test]
fn no_name_can_forge_a_line() {
    let lie = "app:2\nDeleted: sha256:0000\rUntagged: other:1\u{85}Untagged: other:1";
    let (layout, image) = with_name(lie);
    let id = image.manifest.short().to_owned();
    for arguments in [
        vec!["-n", "-f", &id],
        vec![&id],
        vec!["no\nhint: such image"],
        vec!["-f", &id],
    ] {
        let run = bare(layout.path(), arguments).run();
        let starts = [
            "Untagged: ",
            "Would untag: ",
            "Deleted: ",
            "Would delete: ",
            "Total",
            "Would reclaim ",
        ];
        for line in run.stdout.lines() {
            assert!(
                starts.iter().any(|start| line.starts_with(start)),
                "{line:?}\n{}",
                run.all()
            );
            assert!(!line.starts_with("Deleted: sha256:0000"), "{}", run.all());
        }
        for line in run.stderr.lines() {
            assert!(
                ["ocisweep: ", "hint: "]
                    .iter()
                    .any(|start| line.starts_with(start)),
                "{line:?}\n{}",
                run.all()
            );
            assert!(!line.starts_with("hint: such"), "{}", run.all());
        }
    }
}

#[test]
fn no_name_can_control_a_terminal() {
    let evil = "evil\u{1b}]0;title\u{7}\u{202e}:1";
    let (layout, image) = with_name(evil);
    let program = env!("CARGO_BIN_EXE_ocisweep");
    let path = layout.path().display();
    let id = image.manifest.short();
    for arguments in [
        format!("-n -f {id}"),
        id.to_owned(),
        "-n 'evil*'".to_owned(),
        "'no\u{1b}[31m'".to_owned(),
    ] {
        let Some(terminal) = Terminal::start(
            &format!("{program} {NO_PROGRESS} rm {path} {arguments}"),
            layout.path(),
            &[("NO_COLOR", "1")],
        ) else {
            return;
        };
        let text = String::from_utf8_lossy(&terminal.bytes("").stdout).into_owned();
        let raw = text
            .chars()
            .find(|c| (c.is_control() && !"\r\n".contains(*c)) || *c == '\u{202e}');
        assert_eq!(raw, None, "{text:?}");
        assert!(
            text.contains("evil\\x1b]0;title") || text.contains("no\\x1b[31m"),
            "{text}"
        );
    }
}
