//! Many names and many children. Cubic algorithms run into the limit of the watchdog; benches measure the time of each
//! command.

use crate::support::extent::every;
use crate::support::{Cmd, Desc, Doc, LayoutBuilder, Run, media};

fn run(layout: &LayoutBuilder, args: &[&str]) -> Run {
    let (command, rest) = args.split_first().expect("a command");
    Cmd::new([command]).arg(layout.path()).args(rest).run()
}

#[test]
fn many_names_of_one_image() {
    let names = 10_000 / every(2, 1);
    let mut layout = LayoutBuilder::new();
    let image = layout.image("linux/amd64", "one", &[b"layer"]);
    for number in 0..names {
        layout.tag(&image.manifest, &format!("team/app-{number}:v1"));
    }
    layout.write();
    let rows = run(&layout, &["ls"]);
    assert_eq!(rows.ok().stdout.lines().count(), names + 1);
    let json = run(&layout, &["ls", "--format", "json"]).ok().json();
    let listed = &json["layouts"][0]["images"][0]["names"];
    assert_eq!(listed.as_array().map(Vec::len), Some(names));
    let df = run(&layout, &["df", "-v"]);
    df.ok().says(&format!("and {} more", names - 1));
    let why = run(&layout, &["why", "team/app-7:v1"]);
    why.ok()
        .says(&format!(" and {} more → manifest ", names - 5));
}

/// Each child has an attestation, and neither exists.
#[test]
fn many_children_of_one_image() {
    let children = 4_000 / every(2, 1);
    let mut layout = LayoutBuilder::new();
    let mut listed = Vec::new();
    for number in 0..children {
        let child = Desc::missing(media::MANIFEST, &format!("child {number}"));
        let attestation = Desc::missing(media::MANIFEST, &format!("attestation {number}"));
        listed.push(attestation.attests(&child));
        listed.push(child.platform("linux/amd64"));
    }
    let index = layout.put(&Doc::index(&listed));
    layout.tag(&index, "big").write();
    let tree = run(&layout, &["ls", "--tree"]);
    let lines: Vec<&str> = tree.ok().stdout.lines().collect();
    let count = |word: &str| lines.iter().filter(|line| line.contains(word)).count();
    assert_eq!(count("linux/amd64"), children);
    assert_eq!(count("attestation"), children);
    // Each attestation is shown below its child.
    assert_eq!(
        count("│  └─ attestation") + count("   └─ attestation"),
        children
    );
    run(&layout, &["check"]).ok().says("sparse");
    run(&layout, &["why", "big"]).ok();
    run(&layout, &["df", "-v"]).ok();
}

/// Each missing child is needed by each name.
#[test]
fn many_names_of_many_children() {
    let many = 2_000;
    let mut layout = LayoutBuilder::new();
    let children: Vec<Desc> = (0..many)
        .map(|number| Desc::missing(media::MANIFEST, &format!("child {number}")))
        .collect();
    let index = layout.put(&Doc::index(&children));
    for number in 0..many {
        layout.tag(&index, &format!("v{number}"));
    }
    layout.write();
    let check = run(&layout, &["check", "--complete", "-q"]);
    let more = format!("needed by v0, v1, v2, v3, v4 and {} more", many - 5);
    let found = check.exits(1).stdout.matches(&more).count();
    assert_eq!(found, many, "each damage names the first images");
    run(&layout, &["ls", "--tree"]).ok();
    run(&layout, &["ls", "-f", "dangling=true"]).ok();
    run(&layout, &["df", "-v"]).ok();
    run(&layout, &["why", "v1"]).ok();
}

/// In the worst order for a sorted list.
#[test]
fn many_annotations_of_one_image() {
    let mut layout = LayoutBuilder::new();
    let image = layout.image("linux/amd64", "one", &[b"layer"]);
    let mut entry = image.manifest.tagged("app");
    for number in (0..300_000 / every(3, 1)).rev() {
        entry = entry.annotate(&format!("key-{number:06}"), "x");
    }
    layout.entry(entry).write();
    run(&layout, &["gc", "-n"]).ok();
    let rows = run(&layout, &["ls"]);
    assert_eq!(rows.ok().stdout.lines().count(), 2);
}
