//! Files beside `index.json` that list blobs in unusual forms, or only appear to: listed blobs are kept, a torn file stops a
//! sweep, and everything else is ignored.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use ocisweep::Error;
use ocisweep::Snapshot;
use ocisweep::execute::execute;
use ocisweep::fs::Disk;
use ocisweep::graph::{EmptyIndex, MissingDocuments};
use ocisweep::layout::lock::Locked;
use ocisweep::plan::{SweepOptions, sweep_all};
use ocisweep::progress::Silent;

use crate::support::{Cmd, Desc, GuardedLayout, at, media};

fn entry(desc: &Desc) -> String {
    format!(
        r#"{{"mediaType":"{}","digest":"{}","size":{}}}"#,
        desc.media_type, desc.digest, desc.size
    )
}

/// Sweeps with a file of this name and text, and returns `true` if the orphan still exists.
fn keeps(name: &str, text: &str) -> bool {
    let fixture = GuardedLayout::new();
    let text = text
        .replace("ENTRY", &entry(&fixture.orphan))
        .replace("DIGEST", &fixture.orphan.digest);
    fixture.builder.file(name, text.as_bytes());
    let run = fixture.gc();
    run.ok();
    fixture.assert_whole(&run.all());
    let after = fs::read_to_string(fixture.builder.join(name)).expect("it is there");
    assert_eq!(after, text, "{name} was edited\n{}", run.all());
    fixture.has(&fixture.orphan)
}

#[test]
fn every_form_of_a_list_keeps_its_blobs() {
    for (name, text) in [
        (
            "hauler-index.json",
            r#"{"schemaVersion":2,"manifests":[ENTRY]}"#,
        ),
        (
            "aGVsbG8=-index.json",
            r#"{"manifests":[{"digest":"DIGEST"}]}"#,
        ),
        ("x-tags.json", r#"{"latest":ENTRY}"#),
        ("no-suffix", r#"{"latest":ENTRY}"#),
        (".hidden", "[ENTRY]"),
        ("index.json.bak", r#"{"manifests":[ENTRY]}"#),
        ("index-20260101.json", r#"{"manifests":[ENTRY]}"#),
        (
            "odd.json",
            r#"{"MANIFESTS":[{"Digest":"DIGEST","SIZE":1}],"manifests":[]}"#,
        ),
        ("bom.json", "\u{feff}{\"a\":ENTRY}"),
        ("lines.jsonl", "ENTRY\nENTRY\n"),
        ("map.json", r#"{"tags":{"v1":ENTRY}}"#),
        ("manifest.json", r#"{"app":ENTRY}"#),
        ("repositories", r#"{"app":ENTRY}"#),
        ("b\u{f6}se\n.json", r#"{"app":ENTRY}"#),
    ] {
        assert!(keeps(name, text), "{name}: {text}");
    }
}

#[test]
fn files_that_are_not_lists_keep_nothing() {
    for (name, text) in [
        ("notes.txt", "ENTRY"),
        ("notes.json", "\"DIGEST\""),
        ("digests.json", r#"{"image":"DIGEST","digests":["DIGEST"]}"#),
        (
            "trivy.json",
            r#"{"SchemaVersion":2,"Metadata":{"Layers":[{"Size":1,"Digest":"DIGEST"}]}}"#,
        ),
        ("syft.json", r#"{"source":{"metadata":{"layers":[ENTRY]}}}"#),
        (
            "sbom.spdx.json",
            r#"{"packages":[{"checksums":[{"checksumValue":"DIGEST"}]}]}"#,
        ),
        (
            "plan.json",
            r#"{"schema_version":1,"made_at":"x","x":ENTRY}"#,
        ),
        (
            "report.json",
            r#"{"schema_version":1,"command":"gc","x":ENTRY}"#,
        ),
        ("log.json", "{\"msg\":\"pushed DIGEST\"}\n{\"msg\":\"pu"),
        ("index-1234567890.json", r#"{"manifests":[ENTRY]}"#),
        ("index.json.1.tmp", r#"{"manifests":[ENTRY]}"#),
        ("empty.json", ""),
        ("blank.json", " \n"),
    ] {
        assert!(!keeps(name, text), "{name}: {text}");
    }
}

#[test]
fn a_torn_list_stops_the_sweep() {
    for text in [
        r#"{"schemaVersion":2,"manifests":[ENTRY"#,
        r#"{"latest":ENTRY"#,
        r#"{"latest":ENTRY}}"#,
        r#"{"manifests":["#,
        r#"{"manifests":[{"digest":"sha256:../../x","size":1}]}"#,
        "{\"latest\":ENTRY,\"\u{1}\":1}",
    ] {
        let fixture = GuardedLayout::new();
        let text = text.replace("ENTRY", &entry(&fixture.orphan));
        fixture.builder.file("other.json", text.as_bytes());
        let run = fixture.gc_is_refused();
        run.warns("other.json`")
            .warns("`--ignore-index other.json`");
        let run = Cmd::gc(fixture.path())
            .args(["--ignore-index", "other.json"])
            .run();
        run.ok();
        assert!(!fixture.has(&fixture.orphan), "{}", run.all());
    }
}

#[test]
fn only_regular_files_are_read() {
    let fixture = GuardedLayout::new();
    fixture
        .builder
        .fifo("fifo.json")
        .directory("directory.json");
    fixture
        .builder
        .symlink("dangling.json", "nowhere")
        .symlink("circle.json", "circle.json");
    fixture
        .builder
        .symlink("latest.json", "index.json")
        .symlink("zero.json", "/dev/zero");
    let run = fixture.gc();
    run.ok();
    assert!(!fixture.has(&fixture.orphan), "{}", run.all());
    fixture.assert_whole(&run.all());
    // A link to a list is a list.
    let fixture = GuardedLayout::new();
    let list = fixture.builder.outside().join("list");
    fs::write(&list, format!("[{}]", entry(&fixture.orphan))).expect("it can be written");
    fixture.builder.symlink("link.json", &list);
    let run = fixture.gc();
    run.ok();
    assert!(fixture.has(&fixture.orphan), "{}", run.all());
}

/// Deep nesting beside the list, and a descriptor of a document that is damaged.
#[test]
fn nesting_is_skipped_and_damage_is_reported_with_its_path() {
    let deep = "[".repeat(50_000) + &"]".repeat(50_000);
    assert!(keeps(
        "deep.json",
        &format!(r#"{{"x":{deep},"app":ENTRY}}"#)
    ));
    let fixture = GuardedLayout::new();
    let lost = fixture.builder.forged(
        &Desc::missing(media::MANIFEST, "lost").digest,
        media::MANIFEST,
        b"{}",
    );
    fixture
        .builder
        .file("other.json", format!("[{}]", entry(&lost)).as_bytes());
    let run = fixture.gc_is_refused();
    run.warns("(other.json → ")
        .warns("`--ignore-index other.json`");
}

/// A list that appears, changes or is removed after the plan was made is detected under the lock.
#[test]
fn a_list_that_changes_after_the_plan_invalidates_it() {
    let changes: [fn(&GuardedLayout, &str); 3] = [
        |fixture, text| {
            fixture.builder.file("new.json", text.as_bytes());
        },
        |fixture, text| {
            fixture.builder.file("other.json", text.as_bytes());
        },
        |fixture, _| {
            fixture.builder.remove("other.json");
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let fixture = GuardedLayout::new();
        let list = |desc: &Desc| format!("[{}]", entry(desc));
        let text = list(&fixture.app.manifest);
        fixture.builder.file("other.json", text.as_bytes());
        let view =
            Snapshot::read(fixture.path(), Timestamp::now(), &Silent).expect("it can be read");
        let now = Timestamp::now().as_nanosecond();
        let sweep_options = SweepOptions::new(at(now), at(now), Duration::MAX);
        let plan = sweep_all(
            &view,
            MissingDocuments::Refuse,
            EmptyIndex::Refuse,
            &Disk,
            &sweep_options,
        );
        let plan = plan.expect("nothing is damaged");
        assert_eq!(plan.totals().blobs, 1);
        change(&fixture, &list(&fixture.orphan));
        let locked = Locked::acquire(&view.layout, Duration::ZERO, &Silent).expect("nobody else");
        let done = execute(&locked, &plan, &Disk, &Silent);
        assert!(
            matches!(done, Err(Error::Changed { .. })),
            "{number}: {done:?}"
        );
        assert!(fixture.has(&fixture.orphan), "{number}");
    }
}

/// PowerShell redirects output to files in UTF-16.
#[test]
fn a_list_in_utf_16_keeps_its_blobs_and_stops_a_sweep_if_torn() {
    for is_whole in [true, false] {
        let fixture = GuardedLayout::new();
        let text = format!("\u{feff}{{\"manifests\":[{}]}}", entry(&fixture.orphan));
        let mut bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        if !is_whole {
            bytes.truncate(bytes.len() - 4);
        }
        fixture.builder.file("list.json", &bytes);
        let run = fixture.gc();
        run.exits(if is_whole { 0 } else { 3 });
        assert!(fixture.has(&fixture.orphan), "{}", run.all());
    }
}
