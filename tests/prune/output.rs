//! The output of a prune: lines, reasons, the last line, JSON, exit statuses; for one layout and for several.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::dated::NOW;
use crate::support::{
    Cmd, Desc, ImageBuilder, TestLayout, assert_same, blobs, bulk, for_each, listed, media,
    prune_call, snapshot,
};

/// A name that is kept, one that is removed by rule, one overwritten, one orphan.
fn shelf() -> TestLayout {
    let mut shelf = TestLayout::new();
    shelf.named("app:2", 10, &ImageBuilder::new("new").weighs(7000));
    shelf.named("app:1", 60, &ImageBuilder::new("old").weighs(6000));
    shelf.untagged(50, &ImageBuilder::new("dangling").weighs(5000));
    shelf.layout.layer(&bulk("orphan", 4000));
    shelf.write();
    shelf
}

#[test]
fn verbose_gives_each_image_with_its_reasons() {
    for flag in ["-n", "-f"] {
        let shelf = shelf();
        let run = shelf.call(["-a", "--keep-within", "30d", "-v", flag]).run();
        run.ok();
        let lines: Vec<&str> = run.stdout.lines().collect();
        let line = |name: &str| {
            let found = lines
                .iter()
                .find(|line| line.contains(name) && line.contains('('));
            *found.unwrap_or_else(|| panic!("no line about {name}\n{}", run.all()))
        };
        assert!(line("app:2").starts_with("keep "), "{}", run.all());
        assert!(line("app:2").contains("within 4 weeks"), "{}", run.all());
        assert!(line("app:1").starts_with("remove "), "{}", run.all());
        assert!(
            line("app:1").contains("no hold, filter or rule keeps it"),
            "{}",
            run.all()
        );
        assert!(line("<none>").starts_with("remove "), "{}", run.all());
        assert!(line("<none>").contains("dangling"), "{}", run.all());
    }
    let plain = shelf().call(["-f"]).run();
    plain
        .ok()
        .keeps_quiet_about("(named)")
        .keeps_quiet_about("(dangling)");
}

#[test]
fn quiet_prints_the_total_and_what_is_kept() {
    let shelf = shelf();
    let run = shelf.call(["-q", "-f"]).run();
    let lines: Vec<&str> = run.ok().stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", run.all());
    assert!(
        lines[0].starts_with("Total reclaimed space: "),
        "{}",
        run.all()
    );
    assert!(lines[1].starts_with("kept "), "{}", run.all());
    shelf.call(["-q", "-v", "-f"]).run().exits(2);
}

/// Something that changes what is kept.
type Change = (&'static str, fn(&mut TestLayout));

#[test]
fn the_last_line_reports_what_keeps_the_rest() {
    fn newest(shelf: &TestLayout) -> Desc {
        let digest = listed(shelf.path())[0].0.clone();
        Desc::new(media::MANIFEST, &digest, 7)
    }
    let cases: [Change; 5] = [
        (": 2 names ", |_| {}),
        (": 3 names ", |shelf| {
            let desc = newest(shelf);
            shelf.layout.tag(&desc, "app:latest");
        }),
        (", held ", |shelf| {
            let digest = listed(shelf.path())[2].0.clone();
            shelf.hold("proof", &digest);
        }),
        // An image that only another tool's file lists is neither untagged nor held.
        (", in other lists ", |shelf| {
            let digest = shelf.layout.layer(b"chart").digest;
            let text = format!(r#"{{"chart":{{"digest":"{digest}","size":5}}}}"#);
            shelf.layout.file("tags.json", text.as_bytes());
        }),
        (": 2 names ", |shelf| {
            let desc = newest(shelf);
            let signature = shelf
                .layout
                .referrer(&desc, "application/vnd.example.sig", b"sig");
            shelf.layout.entry(&signature.manifest);
        }),
    ];
    for_each(
        cases,
        |(text, _)| (*text).to_owned(),
        |(text, change)| {
            let mut shelf = shelf();
            change(&mut shelf);
            shelf.write();
            let dry = shelf.call(["-n"]).run();
            let run = shelf.call(["-f"]).run();
            let last = run.ok().stdout.lines().last().unwrap_or_default();
            assert!(last.contains(text), "{}", run.all());
            assert_eq!(dry.ok().stdout.lines().last(), Some(last), "{}", dry.all());
            // The kept bytes are those on disk.
            let left = human(blobs(shelf.path()).values().sum());
            assert!(
                last.starts_with(&format!("kept {left}: ")),
                "{left} is there\n{}",
                run.all()
            );
        },
    );
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 3);
    shelf.write();
    let run = shelf.call(["-f"]).run();
    let last = run.ok().stdout.lines().last().unwrap_or_default();
    assert!(last.contains(": 1 name "), "{}", run.all());
}

/// Docker's four significant digits, for numbers of this size.
fn human(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes}B"),
        1000..10_000 => trim(format!("{}.{:03}", bytes / 1000, bytes % 1000)),
        10_000..100_000 => {
            let hundredths = (bytes + 5) / 10;
            trim(format!("{}.{:02}", hundredths / 100, hundredths % 100))
        }
        _ => panic!("{bytes} is too large for this test"),
    }
}

fn trim(text: String) -> String {
    format!("{}kB", text.trim_end_matches('0').trim_end_matches('.'))
}

#[test]
fn an_empty_layout_has_no_line_about_kept_bytes() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 60);
    shelf.write();
    let run = shelf.call(["-a", "-f", "--allow-empty"]).run();
    let last = run.ok().stdout.lines().last().unwrap_or_default();
    assert!(last.starts_with("Total reclaimed space: "), "{}", run.all());
}

#[test]
fn json_is_complete_and_typed() {
    for (flag, dry) in [("-n", true), ("-f", false)] {
        let shelf = shelf();
        let run = shelf
            .call(["-a", "--keep-within", "30d", "--format", "json", flag])
            .run();
        let json = run.ok().json();
        assert_eq!(json["schema_version"], 1, "{}", run.all());
        assert_eq!(json["command"], "prune", "{}", run.all());
        assert_eq!(json["dry_run"], dry, "{}", run.all());
        let layout = &json["layouts"][0];
        assert_eq!(
            layout["path"].as_str(),
            shelf.path().to_str(),
            "{}",
            run.all()
        );
        let mut actions: BTreeMap<(String, String), usize> = BTreeMap::new();
        for item in layout["items"].as_array().expect("a list") {
            let text = |key: &str| {
                item[key]
                    .as_str()
                    .unwrap_or_else(|| panic!("no {key}\n{}", run.all()))
            };
            assert!(text("digest").starts_with("sha256:"), "{}", run.all());
            assert!(item["size"].is_u64(), "{}", run.all());
            assert!(item["names"].is_array(), "{}", run.all());
            assert!(
                item["reasons"]
                    .as_array()
                    .is_some_and(|list| !list.is_empty()),
                "{}",
                run.all()
            );
            *actions
                .entry((text("kind").to_owned(), text("action").to_owned()))
                .or_default() += 1;
        }
        let would = if dry { "would-" } else { "" };
        let expected = BTreeMap::from([
            (("image".to_owned(), "keep".to_owned()), 1),
            (("image".to_owned(), format!("{would}remove")), 2),
            (("blob".to_owned(), format!("{would}delete")), 7),
        ]);
        assert_eq!(actions, expected, "{}", run.all());
        for totals in [&json["totals"], &layout["totals"]] {
            for key in [
                "blobs",
                "bytes",
                "freed_bytes",
                "linked_bytes",
                "temporary",
                "temporary_bytes",
                "reclaimed_bytes",
                "kept",
                "kept_bytes",
            ] {
                assert!(totals[key].is_u64(), "{key}\n{}", run.all());
            }
            assert_eq!(totals["blobs"], 7, "{}", run.all());
        }
        assert_eq!(run.stderr, "", "{}", run.all());
    }
}

#[test]
fn exit_status_10_means_that_something_would_change() {
    let shelf = shelf();
    let before = snapshot(shelf.path());
    let run = shelf.call(["-n", "--exit-code"]).run();
    run.exits(10);
    assert_same(&before, &snapshot(shelf.path()), &run.all());
    shelf.call(["-n"]).run().ok();
    // Only a dry run has that status.
    shelf.call(["-f", "--exit-code"]).run().exits(2);
    shelf.call(["-f"]).run().ok();
    shelf.call(["-n", "--exit-code"]).run().ok();
    shelf
        .call(["-a", "-n", "--exit-code", "--keep-last", "1"])
        .run()
        .exits(10);
    // A refusal takes precedence.
    shelf.call(["-a", "-n", "--exit-code"]).run().exits(3);
    shelf
        .call(["-a", "-n", "--exit-code", "--max-size", "1kB"])
        .run()
        .exits(5);
}

#[test]
fn one_bad_layout_does_not_stop_the_others() {
    let (one, bad, two) = (shelf(), shelf(), shelf());
    bad.layout.file("index.json", b"[]");
    let before = snapshot(bad.path());
    // A path that is not a layout is an error in the command line, and nothing is pruned.
    let nothing = one.layout.outside().join("nothing");
    let before_one = snapshot(one.path());
    let run = prune_call(one.path())
        .args([&nothing, two.path()])
        .args(["-f", "--format", "json"])
        .run();
    assert_ne!(run.code, Some(0), "{}", run.all());
    assert_eq!(run.stdout, "", "{}", run.all());
    assert_same(&before_one, &snapshot(one.path()), &run.all());
    let run = prune_call(one.path())
        .args([bad.path(), two.path()])
        .args(["-f", "--format", "json"])
        .run();
    assert!(matches!(run.code, Some(3 | 4)), "{}", run.all());
    assert_same(&before, &snapshot(bad.path()), &run.all());
    for shelf in [&one, &two] {
        assert_eq!(listed(shelf.path()).len(), 2, "{}", run.all());
    }
    let json = run.json();
    let layouts = json["layouts"].as_array().expect("a list");
    assert_eq!(layouts.len(), 3, "{}", run.all());
    let errors: Vec<bool> = layouts
        .iter()
        .map(|layout| layout["error"].is_string())
        .collect();
    assert_eq!(errors, [false, true, false], "{}", run.all());
    let sum: u64 = layouts
        .iter()
        .filter_map(|layout| layout["totals"]["reclaimed_bytes"].as_u64())
        .sum();
    assert_eq!(
        json["totals"]["reclaimed_bytes"].as_u64(),
        Some(sum),
        "{}",
        run.all()
    );
    assert_eq!(run.stderr.matches("ocisweep: ").count(), 1, "{}", run.all());
}

#[test]
fn several_layouts_have_a_heading_each_and_one_total() {
    let (one, two) = (shelf(), shelf());
    let run = prune_call(one.path()).arg(two.path()).arg("-f").run();
    run.ok();
    for shelf in [&one, &two] {
        run.says(&format!("{}:\n", shelf.path().display()));
    }
    assert_eq!(
        run.stdout.matches("Total reclaimed space:").count(),
        1,
        "{}",
        run.all()
    );
    assert_eq!(run.stdout.matches("\nkept ").count(), 1, "{}", run.all());
    run.says(": 4 names ");
}

#[test]
fn all_outputs_report_the_same_bytes() {
    let shelf = shelf();
    let df = Cmd::new(["df", "--format", "json", "--now", NOW])
        .arg(shelf.path())
        .run();
    let json = df.ok().json();
    let mut reclaimable = 0;
    sum(&json["layouts"][0], &mut reclaimable);
    let dry = shelf.call(["-n", "--format", "json"]).run();
    let said = dry.ok().json()["totals"]["reclaimed_bytes"].as_u64();
    assert_eq!(said, Some(reclaimable), "{}{}", df.all(), dry.all());
    let before: u64 = blobs(shelf.path()).values().sum();
    let run = shelf.call(["-f", "--format", "json"]).run();
    let after: u64 = blobs(shelf.path()).values().sum();
    assert_eq!(before - after, reclaimable, "{}", run.all());
}

/// Adds up what the rows of `df` call reclaimable.
pub(crate) fn sum(layout: &Value, total: &mut u64) {
    for row in ["images", "untagged", "orphans", "temporary"] {
        let row = layout
            .pointer(&format!("/{row}"))
            .or_else(|| layout.pointer(&format!("/rows/{row}")));
        let bytes = row.and_then(|row| {
            row.get("reclaimable")
                .or_else(|| row.get("reclaimable_bytes"))
        });
        *total += bytes
            .and_then(Value::as_u64)
            .unwrap_or_else(|| panic!("no number in {layout:#}"));
    }
}

#[test]
fn the_order_of_arguments_does_not_matter() {
    let shelf = shelf();
    let path = shelf.path().to_str().expect("paths of the tests are UTF-8");
    let calls: [&[&str]; 3] = [
        &["prune", "-n", "-a", "--keep-last", "1", "--now", NOW, path],
        &["prune", path, "--now", NOW, "--keep-last", "1", "-a", "-n"],
        &[
            "--now",
            NOW,
            "prune",
            "--all",
            path,
            "--dry-run",
            "--keep-last=1",
        ],
    ];
    let outputs: Vec<String> = calls
        .iter()
        .map(|call| Cmd::new(*call).run().ok().stdout.clone())
        .collect();
    assert!(
        outputs.iter().all(|output| *output == outputs[0]),
        "{outputs:#?}"
    );
}
