//! The trash of shared blobs: one run for all layouts that a command changes, and all of it can be restored.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use arbtest::arbitrary::{self, Unstructured};
use arbtest::arbtest;
use serde_json::{Value, json};

use crate::support::layout::FileLock;
use crate::support::restored::{Bytes, assert_back, bytes};
use crate::support::{
    Image, LayoutBuilder, Run, TestDir, assert_same, media, panic_message, snapshot,
    without_directory_times,
};
use crate::world::cases::{Failures, each_seed, varied};
use crate::world::draw;
use crate::world::features::Features;
use crate::world::layout::World;
use crate::world::write::{describe, write_to};

const NAMES: [&str; 3] = ["one", "two", "three"];

/// Removes everything but the images of two platforms.
const PRUNE: [&str; 5] = ["prune", "-f", "-a", "--keep", "multi:*"];

/// Three layouts that share the blobs in `pool`, each with an image of its own, one of two platforms and one without a name;
/// and orphans.
struct Shared {
    fixture: TestDir,
    /// The image `app:1` of each.
    images: Vec<Image>,
}

impl Shared {
    fn new() -> Self {
        let fixture = TestDir::new();
        let mut images = Vec::new();
        for name in NAMES {
            let mut layout = LayoutBuilder::at(&fixture.join(name));
            let image = layout.image("linux/amd64", name, &[b"common", name.as_bytes()]);
            let text = format!("untagged {name}");
            let untagged = layout.image("linux/amd64", &text, &[b"common", text.as_bytes()]);
            let children = ["linux/amd64", "linux/arm64"].map(|platform| {
                let salt = format!("{name} {platform}");
                let image = layout.image(platform, &salt, &[salt.as_bytes()]);
                image.manifest.platform(platform)
            });
            let multi = layout.index(&children);
            layout
                .tag(&image.manifest, "app:1")
                .entry(&untagged.manifest)
                .tag(&multi, "multi:1")
                .save_element(&["app:1"], &image.config, &image.layers);
            layout.layer(format!("orphan of {name}").as_bytes());
            layout.write();
            images.push(image);
        }
        let shared = Self { fixture, images };
        shared.pool_them();
        shared
    }

    /// Moves the blobs of all layouts into the store.
    fn pool_them(&self) {
        for name in NAMES {
            let blobs = self.fixture.join(name).join("blobs");
            for own in fs::read_dir(&blobs).expect("it has blobs") {
                let own = own.expect("it has blobs");
                let pool = self.store().join(own.file_name());
                fs::create_dir_all(&pool).expect("a directory can be made");
                for blob in fs::read_dir(own.path()).expect("it has blobs") {
                    let blob = blob.expect("it has blobs");
                    let to = pool.join(blob.file_name());
                    fs::rename(blob.path(), to).expect("it can be moved");
                }
                fs::remove_dir(own.path()).expect("it is empty");
            }
        }
    }

    fn store(&self) -> PathBuf {
        self.fixture.join("pool")
    }

    fn run(&self, words: &[&str]) -> Run {
        self.fixture.run(words)
    }

    /// Runs a command over all layouts with `--trash`.
    fn trashing(&self, words: &[&str]) -> Run {
        let (command, words) = words.split_first().expect("a command");
        let shared = ["--trash", "--grace", "0", "--shared-blobs", "pool"];
        let layouts: &[&str] = match *command {
            "rm" => &["--with", "two", "--with", "three", "one"],
            _ => &NAMES,
        };
        let all = [&[*command], &shared[..], layouts, words].concat();
        self.run(&all)
    }

    fn undo(&self, words: &[&str]) -> Run {
        let all = [&["undo", "--shared-blobs", "pool"], words, &NAMES].concat();
        self.run(&all)
    }

    fn runs(&self) -> Vec<Value> {
        let run = self.run(&["trash", "ls", "--shared-blobs", "pool", "--format", "json"]);
        let report = run.ok().json();
        report["runs"].as_array().expect("a list").clone()
    }

    fn names_of_runs(&self) -> Vec<String> {
        let name = |run: &Value| run["run"].as_str().expect("a name").to_owned();
        self.runs().iter().map(name).collect()
    }

    /// Everything in the store and the layouts except this program's own files.
    fn bytes(&self) -> Bytes {
        bytes(self.fixture.path())
    }

    fn in_trash(&self) -> usize {
        let trash = self.store().join(".ocisweep/trash");
        let names = if trash.is_dir() {
            snapshot(&trash).into_keys().collect()
        } else {
            Vec::new()
        };
        names
            .iter()
            .filter(|name| name.components().count() == 3)
            .count()
    }

    /// Panics unless a run succeeded, and every file is restored. `more`: documents that the undone run wrote may remain.
    #[track_caller]
    fn is_back(&self, before: &Bytes, more: bool, run: &Run) {
        assert_back(before, self.fixture.path(), more.then_some("pool"), run);
    }

    #[track_caller]
    fn is_whole(&self) {
        let words = ["check", "--shared-blobs", "pool"];
        self.run(&[&words[..], &NAMES].concat()).ok();
    }

    fn has(&self, digest: &str) -> bool {
        let hex = digest.trim_start_matches("sha256:");
        self.store().join("sha256").join(hex).exists()
    }

    /// The run that moved the blobs of `app:1` of `two` into the trash did not see that it is listed again.
    #[track_caller]
    fn listed_again() -> Self {
        let shared = Self::new();
        let path = shared.fixture.join("two/index.json");
        let index = fs::read(&path).expect("it is there");
        shared.trashing(&PRUNE).ok();
        fs::write(path, index).expect("it can be written");
        assert!(!shared.has(&shared.images[1].manifest.digest));
        shared
    }
}

#[test]
fn undo_restores_shared_blobs_and_layouts_to_the_byte() {
    for (words, more) in [
        (&["gc"][..], false),
        (&["prune", "-f"], false),
        (&PRUNE, false),
        (&["rm", "app:1"], false),
        (&["rm", "--no-prune", "app:1"], false),
        (&["rm", "multi:1", "--platform", "linux/arm64"], true),
        (
            &[
                "rm",
                "multi:1",
                "--platform",
                "linux/arm64",
                "--platform-mode",
                "sparse",
            ],
            false,
        ),
    ] {
        let shared = Shared::new();
        let before = shared.bytes();
        let dry = shared.trashing(&[words, &["-n"]].concat());
        dry.ok().says("Would move to trash: ");
        assert!(shared.bytes() == before, "{}", dry.all());
        let run = shared.trashing(words);
        run.ok()
            .says("Moved to trash: ")
            .says("(ocisweep undo --shared-blobs pool ")
            .keeps_quiet_about("Deleted: ");
        assert_ne!(shared.bytes(), before, "{}", run.all());
        assert_eq!(
            shared.runs().len(),
            1,
            "one run for all layouts\n{}",
            run.all()
        );
        for name in NAMES {
            assert!(!shared.fixture.join(name).join(".ocisweep/trash").exists());
        }
        let picture = snapshot(shared.fixture.path());
        let dry = shared.undo(&["-n"]);
        dry.ok().says("; nothing was changed");
        assert_same(&picture, &snapshot(shared.fixture.path()), &dry.all());
        // The command printed by the run.
        let at = run.stdout.find("(ocisweep ").expect("a command");
        let line = run.stdout[at + 10..].lines().next().expect("a line");
        let line: Vec<&str> = line.trim_end_matches(')').split(' ').collect();
        let back = shared.run(&line);
        shared.is_back(&before, more, &back);
        assert_eq!(shared.in_trash(), 0, "{}", back.all());
        assert!(
            !shared.store().join(".ocisweep.lock").exists(),
            "{}",
            back.all()
        );
        let again = shared.undo(&[]);
        again.ok().warns("has already been undone");
        shared.is_back(&before, more, &again);
        shared.is_whole();
    }
}

#[test]
fn a_plan_over_shared_blobs_is_applied_with_a_trash() {
    let shared = Shared::new();
    let before = shared.bytes();
    let plan = [
        "prune",
        "-a",
        "--keep",
        "multi:*",
        "--grace",
        "0",
        "--plan",
        "plan.json",
    ];
    let shared_blobs = ["--shared-blobs", "pool"];
    shared
        .run(&[&plan[..], &shared_blobs, &NAMES].concat())
        .ok();
    let run = shared.run(&["apply", "--trash=3d", "plan.json"]);
    run.ok().says("Moved to trash: ");
    fs::remove_file(shared.fixture.join("plan.json")).expect("it was written");
    assert!(shared.bytes() != before);
    let runs = shared.runs();
    assert_eq!(runs[0]["names"], json!(["app:1", "app:1", "app:1"]));
    let back = shared.undo(&["--format", "json"]);
    let document = back.ok().json();
    let layouts = document["layouts"].as_array().expect("a list");
    let paths: Vec<_> = layouts
        .iter()
        .map(|layout| layout["path"].clone())
        .collect();
    assert_eq!(paths, NAMES);
    assert!(
        layouts
            .iter()
            .all(|layout| layout["names"] == json!(["app:1"]))
    );
    shared.is_back(&before, false, &back);
}

#[test]
fn a_run_is_undone_only_with_all_layouts_that_it_changed() {
    let shared = Shared::new();
    let before = shared.bytes();
    shared.trashing(&PRUNE).ok();
    let picture = snapshot(shared.fixture.path());
    let refused = shared.run(&["undo", "--shared-blobs", "pool", "two"]);
    refused
        .refused()
        .one_error_with_hint()
        .warns("changed layouts that are not among those given");
    let now = without_directory_times(&snapshot(shared.fixture.path()));
    let picture = without_directory_times(&picture);
    assert_same(&picture, &now, &refused.all());
    // The hint can be pasted in any directory.
    let hint = refused
        .stderr
        .lines()
        .find(|line| line.starts_with("hint: "))
        .expect("a hint");
    let command = hint.split('`').nth(1).expect("a command");
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let back = shared.run(&words);
    shared.is_back(&before, false, &back);

    // A run that changed no layout needs any one of them.
    let shared = Shared::new();
    let before = shared.bytes();
    shared.trashing(&["gc"]).ok();
    let back = shared.run(&["undo", "--shared-blobs", "pool", "three"]);
    shared.is_back(&before, false, &back);
}

#[test]
fn a_store_that_was_moved_with_its_layouts_is_undone() {
    let shared = Shared::new();
    let before = shared.bytes();
    shared.trashing(&PRUNE).ok();
    let elsewhere = TestDir::new();
    for name in NAMES.iter().chain(&["pool"]) {
        fs::rename(shared.fixture.join(name), elsewhere.join(name)).expect("it can be moved");
    }
    let moved = Shared {
        fixture: elsewhere,
        images: Vec::new(),
    };
    let back = moved.undo(&[]);
    moved.is_back(&before, false, &back);
}

#[test]
fn later_writes_of_others_in_one_layout_are_kept() {
    let shared = Shared::new();
    let before = shared.bytes();
    shared.trashing(&PRUNE).ok();
    // Another image with the same name in one of them.
    let new = LayoutBuilder::at(&shared.fixture.join("new"));
    let image = new.image("linux/amd64", "new", &[b"new layer"]);
    let path = shared.fixture.join("two/index.json");
    let text = fs::read(&path).expect("it is there");
    let mut index: Value = serde_json::from_slice(&text).expect("it is JSON");
    let entry = json!({
        "mediaType": media::MANIFEST, "digest": image.manifest.digest, "size": image.manifest.size,
        "annotations": {"org.opencontainers.image.ref.name": "app:1"},
    });
    index["manifests"]
        .as_array_mut()
        .expect("a list")
        .push(entry);
    fs::write(&path, index.to_string()).expect("it can be written");
    for digest in image.digests() {
        let hex = digest.trim_start_matches("sha256:").to_owned();
        let from = shared.fixture.join("new/blobs/sha256").join(&hex);
        fs::rename(from, shared.store().join("sha256").join(&hex)).expect("it can be moved");
    }
    fs::remove_dir_all(shared.fixture.join("new")).expect("it can be removed");
    let run = shared.undo(&[]);
    run.ok()
        .warns("`app:1` of `two` now refers to another image");
    let now = shared.bytes();
    for name in ["one", "three"] {
        let index = Path::new(name).join("index.json");
        assert!(now[&index] == before[&index], "{name}\n{}", run.all());
    }
    let ls = shared.run(&["ls", "-q", "--no-trunc", "--filter", "reference=app", "two"]);
    assert_eq!(ls.ok().stdout.trim(), image.manifest.digest);
    assert!(
        shared.has(&shared.images[1].manifest.digest),
        "{}",
        run.all()
    );
    shared.is_whole();
}

#[test]
fn shared_blobs_that_are_listed_again_are_restored_by_the_next_run() {
    for words in [
        &["gc", "--grace", "0"][..],
        &["prune", "-f", "--grace", "0"],
        &["gc", "--grace", "0", "--trash"],
        &["check", "--repair"],
    ] {
        let shared = Shared::listed_again();
        let manifest = &shared.images[1].manifest.digest;
        let all = [words, &["--shared-blobs", "pool"], &NAMES].concat();
        let run = shared.run(&all);
        run.ok().says(&format!("Restored: {manifest} "));
        assert!(
            !shared.has(&shared.images[0].manifest.digest),
            "{}",
            run.all()
        );
        for digest in shared.images[1].digests() {
            assert!(shared.has(&digest), "{digest}\n{}", run.all());
        }
        shared.is_whole();
    }
}

/// The records of the runs name the layouts that use the store.
#[test]
fn emptying_the_trash_of_shared_blobs_restores_what_is_referenced_before() {
    for args in [&[][..], &["--older-than", "0s"]] {
        let shared = Shared::listed_again();
        let manifest = &shared.images[1].manifest.digest;
        let empty = ["trash", "empty", "--shared-blobs", "pool"];
        let before = shared.bytes();
        let dry = shared.run(&[&empty[..], &["-n"], args].concat());
        dry.ok()
            .warns("`pool` lacks blobs that are in its trash; a run first restores what is needed");
        assert!(before == shared.bytes(), "{}", dry.all());
        let run = shared.run(&[&empty[..], args].concat());
        run.ok()
            .says(&format!("Restored: {manifest} needed by app:1\n"))
            .says("Emptied: ");
        for digest in shared.images[1].digests() {
            assert!(shared.has(&digest), "{digest}\n{}", run.all());
        }
        assert!(
            !shared.has(&shared.images[0].manifest.digest),
            "{}",
            run.all()
        );
        assert_eq!(shared.in_trash(), 0, "{}", run.all());
        for name in NAMES {
            let lock = shared.fixture.join(name).join("index.json.lock");
            assert!(!lock.exists(), "{}", run.all());
        }
        shared.is_whole();
    }
}

#[test]
fn the_trash_of_shared_blobs_is_emptied_without_absent_layouts_and_not_with_an_unreadable_one() {
    let shared = Shared::new();
    shared.trashing(&PRUNE).ok();
    let count = shared.in_trash();
    let path = shared.fixture.join("two/index.json");
    let index = fs::read(&path).expect("it is there");
    fs::write(&path, "{").expect("it can be written");
    let empty = ["trash", "empty", "--shared-blobs", "pool"];
    let refused = shared.run(&empty);
    refused.refused().warns("two/index.json");
    assert_eq!(shared.in_trash(), count, "{}", refused.all());
    fs::write(&path, index).expect("it can be written");
    let file = fs::File::create(shared.fixture.join("one/index.json.lock"));
    let lock = FileLock::of(file.expect("it can be made"));
    let busy = shared.run(&[&empty[..], &["--lock-wait", "0s"]].concat());
    busy.exits(6);
    assert_eq!(shared.in_trash(), count, "{}", busy.all());
    drop(lock);
    fs::remove_dir_all(shared.fixture.join("three")).expect("it can be removed");
    let run = shared.run(&empty);
    run.ok()
        .warns("three` used these shared blobs and does not any more");
    assert_eq!(shared.in_trash(), 0, "{}", run.all());
}

#[test]
fn the_trash_of_shared_blobs_does_not_affect_other_commands() {
    let shared = Shared::new();
    shared.trashing(&PRUNE).ok();
    let count = shared.in_trash();
    assert!(count > 0);
    // A layout that uses the store through a link, as created by LXC.
    let alone = shared.fixture.join("four");
    fs::create_dir(&alone).expect("a directory can be made");
    for file in ["index.json", "oci-layout"] {
        fs::copy(shared.fixture.join("one").join(file), alone.join(file)).expect("it is there");
    }
    std::os::unix::fs::symlink("../pool", alone.join("blobs")).expect("a link can be made");
    for words in [
        &[
            "gc",
            "--grace",
            "0",
            "--temp-age",
            "0s",
            "--shared-blobs",
            "pool",
            "four",
            "one",
            "two",
            "three",
        ][..],
        &[
            "prune",
            "-f",
            "--grace",
            "0",
            "--shared-blobs",
            "pool",
            "four",
            "one",
            "two",
            "three",
        ],
        &[
            "df",
            "--shared-blobs",
            "pool",
            "four",
            "one",
            "two",
            "three",
        ],
        &[
            "check",
            "-v",
            "--shared-blobs",
            "pool",
            "four",
            "one",
            "two",
            "three",
        ],
        &["check", "-v", "four"],
        &["ls", "four"],
        &["blobs", "--live", "four"],
    ] {
        let run = shared.run(words);
        run.ok();
        assert_eq!(shared.in_trash(), count, "{}", run.all());
        assert!(!run.all().contains("foreign"), "{}", run.all());
    }
    let gc = shared.run(&["gc", "--grace", "0", "four"]);
    gc.refused();
    assert_eq!(shared.in_trash(), count, "{}", gc.all());
}

#[test]
fn df_and_trash_empty_include_the_trash_of_shared_blobs() {
    let shared = Shared::new();
    let df = |format: &str| {
        let words = [
            "df",
            "--grace",
            "0",
            "--shared-blobs",
            "pool",
            "--format",
            format,
        ];
        shared.run(&[&words[..], &NAMES].concat())
    };
    df("table").ok().keeps_quiet_about("pool (trash)");
    let before = df("json").ok().json();
    shared.trashing(&["gc"]).ok();
    shared.trashing(&PRUNE).ok();
    let now = df("json").ok().json();
    let bytes: u64 = shared
        .runs()
        .iter()
        .map(|run| run["bytes"].as_u64().expect("a number"))
        .sum();
    assert_eq!(now["shared_blobs"]["trash"]["size_bytes"], bytes);
    assert_eq!(now["shared_blobs"]["trash"]["reclaimable_bytes"], bytes);
    let total = |document: &Value| document["total"]["size_bytes"].as_u64().expect("a number");
    assert_eq!(total(&before), total(&now) + bytes);
    df("table").ok().says("pool (trash)");

    let names = shared.names_of_runs();
    let empty = |words: &[&str]| {
        shared.run(&[&["trash", "empty", "--shared-blobs", "pool"], words].concat())
    };
    empty(&["--older-than", "1h"])
        .ok()
        .ends_with_line("Total reclaimed space: 0B");
    empty(&["-n"]).ok().says("Would empty: ");
    empty(&[&names[0], &names[1]])
        .exits(2)
        .one_error_with_hint();
    empty(&[&names[0], "--older-than", "1h"])
        .exits(2)
        .one_error_with_hint();
    empty(&[&names[0]]).ok().says("Emptied: ");
    assert_eq!(shared.names_of_runs(), names[1..]);
    empty(&[]).ok();
    assert!(!shared.store().join(".ocisweep").exists());
    let undo = shared.undo(&[]);
    undo.refused()
        .one_error_with_hint()
        .warns("it is empty")
        .warns("ocisweep trash ls --shared-blobs pool");
}

#[test]
fn a_single_shared_blob_can_be_restored() {
    let shared = Shared::new();
    shared.trashing(&PRUNE).ok();
    let config = &shared.images[0].config.digest;
    let run = shared.run(&["undo", "--shared-blobs", "pool", "--blob", config, "one"]);
    run.ok().says(&format!("Restored: {config}\n"));
    assert!(shared.has(config) && !shared.has(&shared.images[0].manifest.digest));
    shared.undo(&[]).ok();
    shared.is_whole();
}

#[test]
fn a_trash_of_shared_blobs_that_is_in_use_is_busy() {
    let shared = Shared::new();
    shared.trashing(&["gc"]).ok();
    let path = shared.store().join(".ocisweep.lock");
    let lock = fs::File::create(&path).expect("the lock file can be made");
    let lock = FileLock::of(lock);
    let empty = [
        "trash",
        "empty",
        "--lock-wait",
        "0s",
        "--shared-blobs",
        "pool",
    ];
    let undo = ["--lock-wait", "0s"];
    for run in [
        shared.run(&empty),
        shared.undo(&undo),
        shared.trashing(&["prune", "-f", "--lock-wait", "0s"]),
    ] {
        run.exits(6).one_error_with_hint();
    }
    drop(lock);
    // A lock file left by a killed process blocks nothing.
    shared.undo(&undo).ok();
    assert!(!path.exists());
}

#[test]
fn the_trash_of_shared_blobs_is_checked_once() {
    let shared = Shared::new();
    shared.trashing(&PRUNE).ok();
    let check = |words: &[&str]| {
        let all = ["check", "--trash", "--shared-blobs", "pool"];
        shared.run(&[&all[..], words, &NAMES].concat())
    };
    let clean = check(&[]);
    clean.ok();
    assert_eq!(
        clean.stdout.matches("trash: no damage in 1 run").count(),
        1,
        "{}",
        clean.all()
    );
    let hex = shared.images[0]
        .config
        .digest
        .trim_start_matches("sha256:")
        .to_owned();
    let run = &shared.names_of_runs()[0];
    let blob = shared
        .store()
        .join(".ocisweep/trash")
        .join(run)
        .join("sha256")
        .join(hex);
    fs::write(blob, "X").expect("it can be written");
    let damaged = check(&[]);
    let hint = format!("`ocisweep trash empty --shared-blobs pool {run}` deletes the run");
    damaged
        .exits(1)
        .says("wrong-size: .ocisweep/trash/")
        .says(&hint);
    let json = check(&["--format", "json"]).exits(1).json();
    assert_eq!(json["damaged"], 1);
    assert_eq!(json["layouts"][3]["path"], "pool");
    assert_eq!(json["layouts"][3]["trash"]["damaged"], 1);
}

/// Adds an image to a layout, like another program, and returns its name.
fn write_image(shared: &Shared, layout: &str, number: u64) -> String {
    let name = format!("new:{number}");
    let own = LayoutBuilder::at(&shared.fixture.join("writer"));
    let image = own.image("linux/amd64", &name, &[b"common", name.as_bytes()]);
    for digest in image.digests() {
        let hex = digest.trim_start_matches("sha256:").to_owned();
        let from = shared.fixture.join("writer/blobs/sha256").join(&hex);
        fs::rename(from, shared.store().join("sha256").join(&hex)).expect("it can be moved");
    }
    fs::remove_dir_all(shared.fixture.join("writer")).expect("it can be removed");
    let path = shared.fixture.join(layout).join("index.json");
    let text = fs::read(&path).expect("it is there");
    let mut index: Value = serde_json::from_slice(&text).expect("it is JSON");
    let entry = json!({
        "mediaType": media::MANIFEST, "digest": image.manifest.digest, "size": image.manifest.size,
        "annotations": {"org.opencontainers.image.ref.name": name},
    });
    index["manifests"]
        .as_array_mut()
        .expect("a list")
        .push(entry);
    fs::write(&path, index.to_string()).expect("it can be written");
    name
}

/// Returns the entries of a layout, in any order.
fn entries(shared: &Shared, layout: &str) -> Vec<String> {
    let text = fs::read(shared.fixture.join(layout).join("index.json")).expect("it is there");
    let index: Value = serde_json::from_slice(&text).expect("it is JSON");
    let entries = index["manifests"].as_array().expect("a list").iter();
    let mut entries: Vec<String> = entries.map(Value::to_string).collect();
    entries.sort();
    entries
}

/// The files that `undo` of shared blobs has to restore.
const FEATURES: Features = Features {
    images: (1, 4),
    // The blobs are moved into the store, and nothing else beside them.
    foreign: &[],
    // Temporary files are deleted, and not moved to the trash.
    writers: false,
    // It would need a flag for each command.
    ignored_indexes: false,
    ..Features::TOOLS
};

/// Random layouts over shared blobs, and random commands: each run is undone in turn, and every file is as before that run.
/// The changes of a second writer in between are kept, and everything that was named is intact again.
#[test]
fn random_runs_over_shared_blobs_are_undone() {
    let mut failures = Failures::default();
    each_seed("OCISWEEP_UNDO", 12, varied, |seed| {
        let run = |u: &mut Unstructured<'_>| {
            let has_writer = u.arbitrary()?;
            let mut worlds = Vec::new();
            for _ in NAMES {
                worlds.push(draw::world(u, &FEATURES)?);
            }
            let tried = AssertUnwindSafe(|| random_runs(u, &worlds, has_writer));
            match catch_unwind(tried) {
                Ok(drawn) => drawn?,
                Err(payload) => {
                    let size = worlds.iter().map(|world| world.nodes.len()).sum();
                    failures.add(size, seed, panic_message(&*payload));
                }
            }
            Ok(())
        };
        arbtest(run).seed(seed).run();
    });
    failures.assert_none("OCISWEEP_UNDO");
}

fn random_runs(
    u: &mut Unstructured<'_>,
    worlds: &[World],
    has_writer: bool,
) -> arbitrary::Result<()> {
    let fixture = TestDir::new();
    let mut story = String::new();
    for (world, name) in worlds.iter().zip(NAMES) {
        let layout = LayoutBuilder::at(&fixture.join(name));
        let written = write_to(world, layout, SystemTime::now());
        story.push_str(&format!("{name}:\n{}", describe(world, &written.digests)));
    }
    let shared = Shared {
        fixture,
        images: Vec::new(),
    };
    shared.pool_them();
    let mut images = worlds[0].names();
    images.push("app:1".to_owned());
    let start = NAMES.map(|name| entries(&shared, name));
    let mut pictures: Vec<(Bytes, String)> = Vec::new();
    let mut written: Vec<(usize, String)> = Vec::new();
    for round in 0..u.int_in_range(2..=4)? {
        let name = u.choose(&images)?.as_str();
        let words: Vec<&str> = match u.int_in_range(0..=4)? {
            0 => vec!["rm", "-f", name],
            1 => vec!["prune", "-f", "--allow-empty"],
            2 => vec!["prune", "-f", "-a", "--keep-last", "1", "--allow-empty"],
            3 => vec!["gc", "--allow-empty"],
            _ => vec!["rm", "-f", name, "--platform", "linux/arm64"],
        };
        let before = shared.bytes();
        let known = shared.names_of_runs().len();
        let run = shared.trashing(&words);
        let is_platform = words.contains(&"--platform");
        let is_refused = is_platform && run.code == Some(3);
        assert!(
            is_refused || matches!(run.code, Some(0 | 1)),
            "{}{story}",
            run.all()
        );
        let now = shared.names_of_runs();
        match now.get(known) {
            Some(name) => pictures.push((before, name.clone())),
            None => assert!(shared.bytes() == before, "{}{story}", run.all()),
        }
        if has_writer {
            let at = u.choose_index(NAMES.len())?;
            written.push((at, write_image(&shared, NAMES[at], round)));
        }
    }
    for (before, name) in pictures.iter().rev() {
        let run = shared.undo(&["--run", name]);
        run.ok();
        if !has_writer {
            shared.is_back(before, true, &run);
        }
    }
    for (at, start) in start.iter().enumerate() {
        let now = entries(&shared, NAMES[at]);
        let mut left = now.clone();
        left.retain(|entry| !entry.contains("\"new:"));
        assert_eq!(left, *start, "{story}");
        let own = written.iter().filter(|(layout, _)| *layout == at);
        for (_, name) in own {
            assert!(
                now.iter().any(|entry| entry.contains(name)),
                "{name}\n{story}"
            );
        }
    }
    shared.is_whole();
    Ok(())
}
