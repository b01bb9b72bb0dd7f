//! `check --read-data-subset` and `--since-run`: the reading of a large mirror is divided over several runs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::layout::FileLock;
use crate::support::run::new_command;
use crate::support::{
    Cmd, Desc, Findings, IntactLayout, LayoutBuilder, Run, assert_same, run::number, snapshot,
};

/// An image with many layers, of 10 to 400 bytes.
struct Mirror {
    builder: LayoutBuilder,
    layers: Vec<Desc>,
}

/// The documents and configurations of a [`Mirror`], which every run reads.
const DOCUMENTS: u64 = 2;

impl Mirror {
    fn new() -> Self {
        Self::with(40)
    }

    fn with(layers: usize) -> Self {
        let mut builder = LayoutBuilder::new();
        let layer = |number: usize| {
            let name = format!("{number:010}");
            name.repeat(number + 1).into_bytes()
        };
        let layers: Vec<Desc> = (0..layers)
            .map(|number| builder.layer(&layer(number)))
            .collect();
        let config = builder.config("linux/amd64", "");
        let manifest = builder.manifest(&config, &layers);
        builder.tag(&manifest, "app:1").write();
        Self { builder, layers }
    }

    fn path(&self) -> &Path {
        self.builder.path()
    }

    fn record(&self) -> PathBuf {
        self.builder.outside().join("mirror.check")
    }

    fn check(&self, words: &[&str]) -> Run {
        Cmd::new(["check"]).args(words).arg(self.path()).run()
    }

    /// Checks with a record.
    fn since(&self, words: &[&str]) -> Run {
        let record = self.record();
        Cmd::new(["check", "--since-run"])
            .arg(record)
            .args(words)
            .arg(self.path())
            .run()
    }

    /// Changes the content of a layer, but not its length.
    fn damage(&self, layer: &Desc) {
        let path = self.builder.join(&layer.blob_path());
        let mut bytes = fs::read(&path).expect("it is there");
        bytes[0] ^= 1;
        fs::write(path, bytes).expect("it can be written");
    }

    /// The bytes of all layers.
    fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }
}

/// The numbers and bytes of blobs that were compared with their digests, and of those that were not read.
fn counts(document: &Value) -> [u64; 4] {
    [
        "/layouts/0/verified/blobs",
        "/layouts/0/verified/bytes",
        "/layouts/0/not_read/blobs",
        "/layouts/0/not_read/bytes",
    ]
    .map(|key| number(document, key))
}

/// Returns the layers that a run read.
fn read(run: &Run) -> u64 {
    number(&run.json(), "/layouts/0/verified/blobs") - DOCUMENTS
}

/// The lines of a record.
fn lines(record: &Path) -> Vec<Value> {
    let text = fs::read_to_string(record).expect("there is a record");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect()
}

#[test]
fn parts_together_read_every_blob_once() {
    let mirror = Mirror::new();
    for parts in [1, 3, 7] {
        let mut all = (0, 0);
        for part in 1..=parts {
            let part = format!("{part}/{parts}");
            let run = mirror.check(&["--format", "json", "--read-data-subset", &part]);
            let [verified, _, left, left_bytes] = counts(&run.ok().json());
            assert_eq!(verified - DOCUMENTS + left, 40, "{part}");
            all = (all.0 + 40 - left, all.1 + mirror.bytes() - left_bytes);
        }
        assert_eq!(all, (40, mirror.bytes()), "{parts} parts");
    }
    // A part is the same in every run.
    let [one, two] = [(); 2].map(|()| {
        let run = mirror.check(&["--format", "json", "--read-data-subset", "2/3"]);
        counts(&run.ok().json())
    });
    assert_eq!(one, two);
}

#[test]
fn damage_is_found_by_the_run_that_reads_it() {
    let mirror = Mirror::new();
    let damaged = &mirror.layers[17];
    mirror.damage(damaged);
    let mut found = 0;
    for part in 1..=5 {
        let part = format!("{part}/5");
        let run = mirror.check(&["--read-data-subset", &part]);
        if run.code == Some(1) {
            run.says(&format!(
                "wrong-digest: {} does not match its digest",
                damaged.digest
            ));
            found += 1;
        } else {
            run.ok().keeps_quiet_about(&damaged.digest);
        }
    }
    assert_eq!(found, 1);
    mirror
        .check(&["--read-data-subset", "100%"])
        .exits(1)
        .says(&damaged.digest);
}

#[test]
fn presence_size_and_documents_are_checked_by_every_run() {
    let fixture = IntactLayout::new();
    let check = || fixture.report(&["--read-data-subset", "0%"]);
    assert_eq!(check().found().len(), 0);
    fixture.builder.drop_blob(&fixture.one.layers[1]);
    fixture.overwrite(&fixture.two.layers[1], b"longer than it was");
    let manifest = &fixture.two.manifest;
    let mut bytes = fs::read(fixture.builder.join(&manifest.blob_path())).expect("it is there");
    bytes.push(b' ');
    fixture.overwrite(manifest, &bytes);
    let found = check().found();
    let of = |desc: &Desc| found.get(&desc.digest).map(String::as_str);
    assert_eq!(of(&fixture.one.layers[1]), Some("missing"), "{found:?}");
    assert_eq!(of(manifest), Some("wrong-size"), "{found:?}");
    assert_eq!(found.len(), 2, "{found:?}");
    // Once its manifest is intact again, the layer is needed.
    bytes.pop();
    fixture.overwrite(manifest, &bytes);
    let found = check().found();
    let layer = &fixture.two.layers[1];
    assert_eq!(
        found.get(&layer.digest).map(String::as_str),
        Some("wrong-size")
    );
}

#[test]
fn an_amount_reads_about_that_number_of_bytes() {
    let mirror = Mirror::new();
    for (amount, wanted) in [
        ("10%", mirror.bytes() / 10),
        ("0%", 0),
        ("1kB", 1000),
        ("1MB", mirror.bytes()),
        ("100%", mirror.bytes()),
    ] {
        let run = mirror.check(&["--format", "json", "--read-data-subset", amount]);
        let [verified, _, left, left_bytes] = counts(&run.ok().json());
        let read = mirror.bytes() - left_bytes;
        assert!(read >= wanted && read <= wanted + 400, "{amount}: {read}");
        assert!(verified > DOCUMENTS, "{amount}: at least one");
        assert_eq!(verified - DOCUMENTS + left, 40, "{amount}");
    }
    // Different blobs in every run: with 40 of them, two runs of ten are never equal by chance.
    let runs: BTreeSet<u64> = (0..10)
        .map(|_| {
            let run = mirror.check(&["--format", "json", "--read-data-subset", "500B"]);
            counts(&run.ok().json())[1]
        })
        .collect();
    assert!(runs.len() > 1, "{runs:?}");
}

#[test]
fn the_last_line_reports_what_was_not_read() {
    let mirror = Mirror::new();
    let run = mirror.check(&["--read-data-subset", "0%"]);
    let last = run.ok().stdout.lines().last().expect("a line");
    let (_, left) = last.split_once("; ").expect("it says more");
    assert!(left.starts_with("39 of 42 blobs ("), "{last}");
    assert!(
        left.ends_with("B) were not read: --read-data-subset"),
        "{last}"
    );
    let run = mirror.check(&["--read-data-subset", "100%"]);
    run.ok().keeps_quiet_about("not read");
    mirror.since(&[]).ok().keeps_quiet_about("not read");
    mirror
        .since(&[])
        .ok()
        .says("; 40 of 42 blobs (8.2kB) were not read: --since-run");
    mirror
        .since(&["--read-data-subset", "0%"])
        .ok()
        .says("were not read: --read-data-subset, 39 of them (7.8kB) verified by earlier runs");
    let one = Mirror::with(2);
    one.check(&["--read-data-subset", "0%"])
        .ok()
        .says("; 1 of 4 blobs (");
    mirror
        .check(&["-q", "--read-data-subset", "0%"])
        .ok()
        .keeps_quiet_about("read");
    // Without these flags the document has no such keys.
    let json = mirror.check(&["--format", "json"]).ok().json();
    assert_eq!(json["layouts"][0].get("not_read"), None);
}

#[test]
fn a_run_reads_only_blobs_that_no_earlier_run_verified() {
    let mirror = Mirror::new();
    let before = snapshot(mirror.path());
    assert_eq!(read(mirror.since(&["--format", "json"]).ok()), 40);
    assert_same(
        &before,
        &snapshot(mirror.path()),
        "only the record is written",
    );
    let record = fs::read(mirror.record()).expect("there is a record");
    let run = mirror.since(&["--format", "json"]);
    assert_eq!(read(run.ok()), 0);
    assert_eq!(number(&run.json(), "/layouts/0/not_read/blobs"), 40);
    assert_eq!(number(&run.json(), "/layouts/0/verified_earlier/blobs"), 40);
    let again = fs::read(mirror.record()).expect("there is a record");
    assert_eq!(record, again, "there is nothing to add");
    // A different time, length, or inode.
    let path = |number: usize| mirror.builder.join(&mirror.layers[number].blob_path());
    let bytes = fs::read(path(5)).expect("it is there");
    fs::write(path(5), bytes).expect("it can be written");
    let copy = mirror.builder.outside().join("copy");
    fs::copy(path(6), &copy).expect("it can be copied");
    fs::rename(&copy, path(6)).expect("it can be moved");
    fs::write(path(7), "short").expect("it can be written");
    let run = mirror.since(&["--format", "json"]);
    assert_eq!(run.exits(1).json()["damaged"], 1);
    let left = number(&run.json(), "/layouts/0/not_read/blobs");
    assert_eq!(left, 37, "{}", run.all());
    // It is damaged until it is written again.
    mirror.since(&[]).exits(1).says(&mirror.layers[7].digest);
}

#[test]
fn damage_that_does_not_change_the_times_is_found_when_the_blob_is_read_again() {
    let mirror = Mirror::new();
    mirror.since(&[]).ok();
    let damaged = &mirror.layers[17];
    mirror.damage(damaged);
    // Damage by a disk does not change the times: as if the record belonged to the current file.
    let path = mirror.builder.join(&damaged.blob_path());
    let file = fs::metadata(path).expect("it is there");
    let nanoseconds = |seconds: i64, rest: i64| seconds * 1_000_000_000 + rest;
    let mut text = String::new();
    for mut line in lines(&mirror.record()) {
        if line["digest"] == damaged.digest {
            line["modified"] = nanoseconds(file.mtime(), file.mtime_nsec()).into();
            line["changed"] = nanoseconds(file.ctime(), file.ctime_nsec()).into();
        }
        let line = line.to_string();
        // The keys of a line are in the order of the program.
        let (_, rest) = line.split_once('{').expect("an object");
        let rest = rest.replacen("\"ocisweep_verified\":1,", "", 1);
        let rest = rest.replacen(",\"ocisweep_verified\":1", "", 1);
        let digest = format!("\"digest\":\"{}\"", line_digest(&line));
        let rest = rest.replacen(&format!("{digest},"), "", 1);
        text.push_str(&format!("{{\"ocisweep_verified\":1,{digest},{rest}\n"));
    }
    fs::write(mirror.record(), text).expect("it can be written");
    mirror.since(&[]).ok().says("40 of 42 blobs");
    let all = ["--read-data-subset", "100%"];
    mirror.since(&all).exits(1).says(&damaged.digest);
    // From now on every run reports it: it is not verified.
    mirror.since(&[]).exits(1).says(&damaged.digest);
    mirror
        .since(&["--read-data-subset", "0%"])
        .exits(1)
        .says(&damaged.digest);
    let is_recorded = |line: &Value| line["digest"] == damaged.digest;
    assert!(!lines(&mirror.record()).iter().any(is_recorded));
}

fn line_digest(line: &str) -> String {
    let value: Value = serde_json::from_str(line).expect("it is JSON");
    value["digest"].as_str().expect("a digest").to_owned()
}

#[test]
fn ten_runs_of_a_tenth_read_everything_and_begin_again() {
    let mirror = Mirror::with(200);
    let night = |number: u32| {
        let now = format!("2027-01-{number:02}T03:00:00Z");
        let words = [
            "--now",
            &now,
            "--read-data-subset",
            "10%",
            "--format",
            "json",
        ];
        let run = mirror.since(&words);
        read(run.ok())
    };
    let mut all: u64 = (1..=9).map(night).sum();
    assert!(all < 200, "{all} after nine nights");
    let times = |record: &Path| -> Vec<String> {
        let lines = lines(record);
        let time = |line: &Value| line["verified"].as_str().expect("a time").to_owned();
        lines.iter().map(time).collect()
    };
    all += night(10);
    assert!(all >= 200, "{all} after ten nights");
    assert_eq!(times(&mirror.record()).len(), 200);
    // The first ones are read again.
    let first = |record: &Path| {
        let times = times(record);
        let first = times
            .iter()
            .filter(|time| time.starts_with("2027-01-01"))
            .count();
        (first, times.len())
    };
    assert_ne!(first(&mirror.record()).0, 0);
    night(11);
    night(12);
    assert_eq!(first(&mirror.record()), (0, 200));
    // What is new comes first.
    let new = &mirror.layers[0];
    let path = mirror.builder.join(&new.blob_path());
    let bytes = fs::read(&path).expect("it is there");
    fs::remove_file(&path).expect("it can be removed");
    fs::write(&path, bytes).expect("it can be written");
    night(13);
    let lines = lines(&mirror.record());
    let line = lines.iter().find(|line| line["digest"] == new.digest);
    let line = line.expect("it is recorded");
    assert_eq!(line["verified"], "2027-01-13T03:00:00Z");
}

#[test]
fn a_truncated_line_is_ignored() {
    let mirror = Mirror::new();
    mirror.since(&[]).ok();
    let text = fs::read_to_string(mirror.record()).expect("there is a record");
    for cut in [text.len() - 1, text.len() - 20, text.len() - 200, 30, 5, 0] {
        fs::write(mirror.record(), &text[..cut]).expect("it can be written");
        let run = mirror.since(&["--format", "json"]);
        let complete = text[..cut].lines().filter(|line| line.ends_with('}'));
        assert_eq!(read(run.ok()), 40 - complete.count() as u64, "{cut}");
        assert_eq!(lines(&mirror.record()).len(), 40, "{cut}");
    }
}

#[test]
fn several_layouts_can_share_one_record() {
    let (one, two) = (Mirror::new(), Mirror::new());
    let record = one.record();
    let check = |layouts: &[&Path], words: &[&str]| {
        let run = Cmd::new(["check", "--format", "json", "--since-run"])
            .arg(&record)
            .args(words)
            .args(layouts)
            .run();
        let json = run.ok().json();
        let layouts = json["layouts"].as_array().expect("a list");
        let read = |layout: &Value| number(layout, "/verified/blobs") - DOCUMENTS;
        layouts.iter().map(read).collect::<Vec<u64>>()
    };
    let both = [one.path(), two.path()];
    // Copies of the same blobs are not the same files.
    assert_eq!(check(&both, &[]), [40, 40]);
    assert_eq!(check(&both, &[]), [0, 0]);
    assert_eq!(lines(&record).len(), 80);
    // A blob that one of them has lost is removed from its record, but not from that of the other.
    let config = two.builder.config("linux/amd64", "");
    let manifest = two.builder.manifest(&config, &two.layers[..30]);
    let mut builder = two.builder;
    builder.clear_entries().tag(&manifest, "app:1").write();
    assert_eq!(check(&[builder.path()], &[]), [0]);
    assert_eq!(lines(&record).len(), 70);
    assert_eq!(check(&[one.path(), builder.path()], &[]), [0, 0]);
    // A size applies to both together, and each gets its share.
    fs::remove_file(&record).expect("it is there");
    let mut nights = 0;
    loop {
        nights += 1;
        let read = check(
            &[one.path(), builder.path()],
            &["--read-data-subset", "1kB"],
        );
        assert!(read.iter().all(|read| *read > 0), "{read:?}");
        if lines(&record).len() == 70 {
            break;
        }
        assert!(nights < 20, "it does not come to an end");
    }
    assert!(nights > 6, "{nights} nights of 1kB for 12.85kB");
}

#[test]
fn shared_blobs_are_read_once() {
    let mirror = Mirror::new();
    let store = mirror.builder.outside().join("store");
    fs::rename(mirror.builder.join("blobs"), &store).expect("it can be moved");
    let other = mirror.builder.outside().join("other");
    fs::create_dir(&other).expect("it can be made");
    for name in ["index.json", "oci-layout"] {
        fs::copy(mirror.builder.join(name), other.join(name)).expect("it can be copied");
    }
    let run = Cmd::new(["check", "--format", "json", "--since-run"])
        .arg(mirror.record())
        .arg("--shared-blobs")
        .arg(&store)
        .args([mirror.path(), &other])
        .run();
    let json = run.ok().json();
    let read = |layout: usize| number(&json, &format!("/layouts/{layout}/verified/blobs"));
    assert_eq!([read(0), read(1)], [40 + DOCUMENTS, DOCUMENTS]);
    // A record in the store would be a foreign file of it.
    let run = Cmd::new(["check", "--since-run"])
        .arg(store.join("record"))
        .arg("--shared-blobs")
        .arg(&store)
        .arg(mirror.path())
        .run();
    run.refused().one_error_with_hint();
    assert!(!store.join("record").exists());
}

#[test]
fn orphans_are_recorded_if_they_are_read() {
    let mirror = Mirror::new();
    let orphan = mirror.builder.layer(b"an orphan");
    assert_eq!(
        read(mirror.since(&["--orphans", "--format", "json"]).ok()),
        41
    );
    assert_eq!(
        read(mirror.since(&["--orphans", "--format", "json"]).ok()),
        0
    );
    let run = mirror.check(&["--orphans", "--format", "json", "--read-data-subset", "0%"]);
    assert_eq!(number(&run.ok().json(), "/layouts/0/not_read/blobs"), 40);
    mirror.damage(&orphan);
    mirror.since(&["--orphans"]).exits(1).says(&orphan.digest);
}

#[test]
fn a_file_of_another_kind_is_not_changed() {
    let mirror = Mirror::new();
    for content in [
        "{\"schema_version\":1,\"event\":\"begin\"}\n",
        "{\"ocisweep_verified\":2,\"digest\":\"",
        "important",
        "{\"manifests\":[]}",
    ] {
        fs::write(mirror.record(), content).expect("it can be written");
        let run = mirror.since(&[]);
        run.exits(4).one_error_with_hint();
        assert_eq!(run.stdout, "", "nothing was checked");
        let after = fs::read_to_string(mirror.record()).expect("it is there");
        assert_eq!(after, content);
    }
    let directory = mirror.builder.outside().join("no/such/directory");
    let run = Cmd::new(["check", "--since-run"])
        .arg(directory.join("record"))
        .arg(mirror.path())
        .run();
    run.exits(4).one_error_with_hint();
}

#[test]
fn a_record_must_not_be_inside_a_layout() {
    let mirror = Mirror::new();
    mirror.builder.directory(".ocisweep");
    mirror.builder.directory("elsewhere");
    let before = snapshot(mirror.path());
    let link = mirror.builder.outside().join("link");
    std::os::unix::fs::symlink(mirror.path(), &link).expect("it can be made");
    for name in [
        "record",
        "index.json",
        "blobs/record",
        "blobs/sha256/record",
        ".ocisweep/record",
        "elsewhere/../record",
    ] {
        for layout in [mirror.path(), &link] {
            let run = Cmd::new(["check", "--since-run"])
                .arg(layout.join(name))
                .arg(mirror.path())
                .run();
            run.refused().one_error_with_hint();
            assert_eq!(run.stdout, "");
        }
    }
    // A link to a file that does not exist yet, and a layout that is not checked.
    let dangling = mirror.builder.outside().join("dangling");
    let target = mirror.builder.join("blobs/record");
    std::os::unix::fs::symlink(target, &dangling).expect("it can be made");
    mirror
        .check(&["--since-run", &dangling.to_string_lossy()])
        .refused();
    let other = IntactLayout::new();
    for name in ["record", "blobs/record", "blobs/sha256/record"] {
        let run = Cmd::new(["check", "--since-run"])
            .arg(mirror.builder.join(name))
            .arg(other.path())
            .run();
        run.refused().one_error_with_hint();
    }
    assert_same(&before, &snapshot(mirror.path()), "nothing was written");
}

#[test]
fn only_one_run_at_a_time_uses_a_record() {
    let mirror = Mirror::new();
    mirror.since(&[]).ok();
    let file = fs::File::open(mirror.record()).expect("it is there");
    let lock = FileLock::of(file);
    let run = mirror.since(&[]);
    run.exits(6).one_error_with_hint();
    assert_eq!(run.stdout, "");
    drop(lock);
    mirror.since(&[]).ok();
}

#[test]
fn a_link_to_a_record_remains_a_link() {
    let mirror = Mirror::new();
    let real = mirror.builder.outside().join("real");
    fs::write(&real, "").expect("it can be written");
    std::os::unix::fs::symlink(&real, mirror.record()).expect("it can be made");
    mirror.since(&[]).ok();
    // Superseded lines: it is replaced.
    mirror.since(&["--read-data-subset", "100%"]).ok();
    let link = fs::symlink_metadata(mirror.record()).expect("it is there");
    assert!(link.is_symlink());
    assert_eq!(lines(&real).len(), 40);
}

#[test]
fn conflicting_flags_are_refused() {
    let mirror = Mirror::new();
    for flag in ["--quick", "--repair", "--trash"] {
        let run = mirror.check(&[flag, "--read-data-subset", "10%"]);
        run.exits(2).one_error_with_hint();
        mirror.since(&[flag]).exits(2).one_error_with_hint();
    }
    for value in ["0/5", "6/5", "10", "x", ""] {
        let run = mirror.check(&["--read-data-subset", value]);
        run.exits(2).one_error_with_hint();
    }
    assert!(!mirror.record().exists());
}

#[test]
fn a_part_of_an_archive_is_refused() {
    let mirror = Mirror::new();
    let archive = mirror.builder.outside().join("mirror.tar");
    let tar = new_command("tar")
        .arg("-C")
        .arg(mirror.path())
        .arg("-cf")
        .arg(&archive)
        .arg(".")
        .status();
    assert!(tar.expect("tar can be run").success());
    Cmd::new(["check"]).arg(&archive).run().ok();
    for words in [
        ["--read-data-subset".into(), "10%".into()],
        ["--since-run".into(), mirror.record().into_os_string()],
    ] {
        let run = Cmd::new(["check"]).args(words).arg(&archive).run();
        run.refused()
            .one_error_with_hint()
            .warns("a part of an archive cannot be checked");
    }
    // Layouts beside it are checked.
    let run = Cmd::new(["check", "--format", "json", "--read-data-subset", "100%"])
        .args([archive.as_path(), mirror.path()])
        .run();
    let found = Findings::of(run);
    found.run.refused();
    assert_eq!(
        number(&found.run.json(), "/layouts/1/verified/blobs"),
        40 + DOCUMENTS
    );
}
