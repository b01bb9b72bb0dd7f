//! `--audit-log`: who deleted what, when and why.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;

use crate::support::environment::{has_strace, memory_dir};
use crate::support::run::{PROGRAM, new_command, run};
use crate::support::{
    Cmd, ImageBuilder, TestDir, TestLayout, assert_same, blobs, for_each, snapshot,
};

/// `app:1`, `app:2`, an overwritten image and an orphan.
fn shelf() -> TestLayout {
    let mut shelf = TestLayout::new();
    shelf.named("app:1", 20, &ImageBuilder::new("one").weighs(3000));
    shelf.named("app:2", 10, &ImageBuilder::new("two").weighs(5000));
    shelf.overwritten("old", 30);
    shelf.layout.layer(b"nothing references this");
    shelf.write();
    shelf
}

fn lines(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).expect("there is a log");
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect()
}

fn of<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

fn digests(lines: &[&Value]) -> BTreeSet<String> {
    let digests = lines.iter().filter_map(|line| line["digest"].as_str());
    digests.map(str::to_owned).collect()
}

fn audited(args: &[&str], layout: &Path, log: &Path) -> Vec<Value> {
    Cmd::new(args)
        .arg(layout)
        .arg("--audit-log")
        .arg(log)
        .run()
        .ok();
    lines(log)
}

#[test]
fn each_command_records_what_it_deletes_and_why() {
    for_each(
        [
            (&["gc", "--grace", "0"][..], None),
            (&["prune", "-f", "--grace", "0"], Some("remove")),
            (
                &["prune", "-f", "-a", "--keep-last", "1", "--grace", "0"],
                Some("remove"),
            ),
        ],
        |(args, _)| args.join(" "),
        |(args, event)| {
            let shelf = shelf();
            let before = blobs(shelf.path());
            let temp = memory_dir();
            let log = temp.path().join("audit.jsonl");
            let lines = audited(args, shelf.path(), &log);
            let after = blobs(shelf.path());
            let gone: BTreeSet<String> = before
                .keys()
                .filter(|blob| !after.contains_key(*blob))
                .cloned()
                .collect();
            assert!(!gone.is_empty(), "{lines:?}");
            let deletions = of(&lines, "delete");
            assert_eq!(digests(&deletions), gone, "{lines:?}");
            let bytes: u64 = deletions.iter().filter_map(|it| it["bytes"].as_u64()).sum();
            let [begin] = of(&lines, "begin")[..] else {
                panic!("one beginning: {lines:?}");
            };
            let [end] = of(&lines, "end")[..] else {
                panic!("one end: {lines:?}");
            };
            assert_eq!(lines.first(), Some(begin));
            assert_eq!(lines.last(), Some(end));
            assert_eq!(end["result"], "done");
            assert_eq!(end["blobs"], gone.len());
            assert!(end["reclaimed_bytes"].as_u64() <= Some(bytes), "{lines:?}");
            let uid = rustix::process::getuid().as_raw();
            assert_eq!(begin["uid"], uid);
            assert!(begin["pid"].is_u64() && begin["host"].is_string());
            assert_eq!(begin["layout"], shelf.path().to_str().expect("UTF-8"));
            let command = begin["command"].as_array().expect("words");
            assert!(command.iter().any(|word| word == args[0]), "{begin}");
            assert!(lines.iter().all(|line| line["run"] == begin["run"]));
            if let Some(event) = event {
                let removed = of(&lines, event);
                assert!(!removed.is_empty(), "{lines:?}");
                for line in removed {
                    let reasons = line["reasons"].as_array().expect("reasons");
                    assert!(!reasons.is_empty(), "{line}");
                }
            }
        },
    );
}

#[test]
fn names_plans_trashes_and_undone_runs_are_recorded_too() {
    let shelf = shelf();
    let temp = memory_dir();
    let log = temp.path().join("audit.jsonl");
    let call = |args: &[&str]| {
        Cmd::new(args).arg("--audit-log").arg(&log).run().ok();
        let mut all = lines(&log);
        let start = all.iter().rposition(|line| line["event"] == "begin");
        all.split_off(start.expect("a beginning"))
    };
    let path = shelf.path().to_str().expect("UTF-8");
    let removed = call(&["rm", "--trash", "--grace", "0", path, "app:1"]);
    assert_eq!(of(&removed, "untag")[0]["names"][0], "app:1");
    assert_eq!(of(&removed, "remove").len(), 1);
    assert!(of(&removed, "delete").is_empty(), "{removed:?}");
    let trashed = digests(&of(&removed, "trash"));
    assert!(!trashed.is_empty(), "{removed:?}");
    let restored = call(&["undo", path]);
    assert_eq!(digests(&of(&restored, "restore")), trashed);
    let plan = temp.path().join("plan.json");
    let plan = plan.to_str().expect("UTF-8");
    let words = [
        "prune", "-a", "--keep", "app:2", "--grace", "0", "--plan", plan, path,
    ];
    Cmd::new(words).arg("--audit-log").arg(&log).run().ok();
    let applied = call(&["apply", "--trash", plan]);
    let reasons = of(&applied, "untag")[0]["reasons"][0].clone();
    assert_eq!(reasons, format!("plan {plan}"));
    let trashed = digests(&of(&applied, "trash"));
    let emptied = call(&["trash", "empty", path]);
    assert_eq!(digests(&of(&emptied, "delete")), trashed);
    assert!(!of(&emptied, "empty").is_empty());
    let all = lines(&log);
    assert_eq!(of(&all, "begin").len(), 4, "dry runs record nothing");
    assert_eq!(of(&all, "end").len(), 4);
}

/// Blobs that an earlier run moved into the trash are deleted by a later one once they have expired.
#[test]
fn the_deletion_of_expired_runs_is_recorded() {
    let shelf = shelf();
    let temp = memory_dir();
    let log = temp.path().join("audit.jsonl");
    let path = shelf.path().to_str().expect("UTF-8");
    let words = ["gc", "--grace", "0", "--trash=1ms", path];
    Cmd::new(words).run().ok();
    std::thread::sleep(std::time::Duration::from_millis(10));
    Cmd::new(["rm", "--trash", path, "app:1"])
        .arg("--audit-log")
        .arg(&log)
        .run()
        .ok();
    let lines = self::lines(&log);
    let expired = of(&lines, "empty");
    assert_eq!(expired.len(), 1, "{lines:?}");
    assert_eq!(expired[0]["reasons"][0], "trash expired");
    assert_eq!(of(&lines, "delete").len(), 1, "{lines:?}");
}

#[test]
fn holds_are_recorded_when_they_begin_and_when_they_end() {
    let shelf = shelf();
    let temp = memory_dir();
    let log = temp.path().join("audit.jsonl");
    let path = shelf.path().to_str().expect("UTF-8");
    let call = |words: &[&str]| Cmd::new(words).arg("--audit-log").arg(&log).run();
    let words = [
        "hold", "add", path, "release", "app:1", "--reason", "shipped",
    ];
    call(&words).ok();
    let added = lines(&log);
    let events: Vec<_> = added.iter().map(|line| line["event"].as_str()).collect();
    assert_eq!(events, [Some("begin"), Some("hold"), Some("end")]);
    let hold = &added[1];
    assert_eq!(hold["hold"], "release");
    assert_eq!(hold["names"][0], "app:1");
    assert_eq!(hold["reasons"][0], "shipped");
    assert!(hold["digest"].is_string(), "{hold}");
    assert_eq!(added[2]["result"], "done");
    // A refused command changes nothing, and is not recorded.
    call(&words).exits(1);
    call(&["hold", "rm", path, "absent"]).exits(1);
    assert_eq!(lines(&log).len(), added.len());
    call(&["hold", "rm", path, "release"]).ok();
    let all = lines(&log);
    let release = of(&all, "release");
    assert_eq!(release.len(), 1, "{all:?}");
    assert_eq!(release[0]["hold"], "release");
    assert_eq!(release[0]["digest"], hold["digest"]);
    // If the log cannot be written, no hold is added either.
    let before = snapshot(shelf.path());
    let run = Cmd::new(words).args(["--audit-log", "/dev/full"]).run();
    run.exits(4);
    assert_same(&before, &snapshot(shelf.path()), &run.all());
}

#[test]
fn repairs_are_recorded_with_their_sources() {
    let (good, bad) = (shelf(), shelf());
    let temp = memory_dir();
    let log = temp.path().join("audit.jsonl");
    let file = |shelf: &TestLayout, digest: &str| {
        let hex = digest.trim_start_matches("sha256:");
        shelf.path().join("blobs/sha256").join(hex)
    };
    let whole = blobs(bad.path());
    let largest = whole.iter().max_by_key(|(_, bytes)| **bytes);
    let (digest, _) = largest.expect("there are blobs");
    fs::write(file(&bad, digest), b"torn").expect("it can be written");
    let check = ["check", "--audit-log"];
    let run = Cmd::new(check).arg(&log).arg(bad.path()).run();
    run.exits(2).warns("--repair");
    let repair = |from: &Path| {
        let call = Cmd::new(check).arg(&log).arg(bad.path());
        call.args(["--repair", "--from"]).arg(from).run()
    };
    let empty = temp.path().join("empty");
    fs::create_dir(&empty).expect("a directory can be made");
    repair(&empty).exits(1);
    let all = lines(&log);
    assert_eq!(
        digests(&of(&all, "repair")),
        BTreeSet::from([digest.clone()])
    );
    assert!(of(&all, "repaired").is_empty(), "{all:?}");
    assert_eq!(of(&all, "end")[0]["blobs"], 0);
    repair(good.path()).ok();
    let all = lines(&log);
    let repaired = of(&all, "repaired");
    assert_eq!(repaired.len(), 1, "{all:?}");
    assert_eq!(repaired[0]["digest"], **digest);
    let from = file(&good, digest);
    assert_eq!(repaired[0]["path"], from.to_str().expect("UTF-8"));
    assert_eq!(of(&all, "begin").len(), 2, "{all:?}");
}

/// Blobs that a repair restores from the trash.
#[test]
fn blobs_that_a_repair_restores_are_recorded() {
    let shelf = shelf();
    let temp = memory_dir();
    let log = temp.path().join("audit.jsonl");
    let index = fs::read(shelf.path().join("index.json")).expect("it is there");
    let path = shelf.path().to_str().expect("UTF-8");
    Cmd::new(["rm", "--trash", path, "app:1"]).run().ok();
    fs::write(shelf.path().join("index.json"), index).expect("it can be written");
    let lines = audited(&["check", "--repair"], shelf.path(), &log);
    assert!(!of(&lines, "restore").is_empty(), "{lines:?}");
    // The references of a missing document are unknown before.
    let restored = of(&lines, "restored");
    assert!(digests(&restored).is_superset(&digests(&of(&lines, "restore"))));
    assert_eq!(restored[0]["reasons"][0], "needed by app:1");
    assert_eq!(of(&lines, "end")[0]["blobs"], restored.len());
}

/// Blobs that are restored and then removed return to the run that had them.
#[test]
fn blobs_that_return_to_the_trash_are_recorded_before_they_are_moved() {
    let shelf = shelf();
    let temp = memory_dir();
    let log = temp.path().join("audit.jsonl");
    let index = fs::read(shelf.path().join("index.json")).expect("it is there");
    let path = shelf.path().to_str().expect("UTF-8");
    let remove = ["rm", path, "app:1"];
    Cmd::new(remove).arg("--trash").run().ok();
    let trash = snapshot(&shelf.path().join(".ocisweep/trash"));
    fs::write(shelf.path().join("index.json"), index).expect("it can be written");
    Cmd::new(remove).arg("--audit-log").arg(&log).run().ok();
    let lines = self::lines(&log);
    let restored = digests(&of(&lines, "restored"));
    assert!(!restored.is_empty(), "{lines:?}");
    let trashed = of(&lines, "trash");
    assert_eq!(digests(&trashed), restored, "{lines:?}");
    for line in trashed {
        let run = line["trash_run"].as_str().expect("a run");
        assert!(trash.contains_key(Path::new(run)), "{line}");
        let reasons = line["reasons"].as_array().expect("reasons");
        assert!(!reasons.is_empty(), "{line}");
    }
    assert!(of(&lines, "delete").is_empty(), "{lines:?}");
    // The blobs are restored, go back, and the name is removed.
    let ends = of(&lines, "end");
    let counts: Vec<_> = ends.iter().map(|end| end["blobs"].as_u64()).collect();
    let count = restored.len() as u64;
    assert_eq!(counts, [Some(count), Some(count), Some(0)], "{lines:?}");
}

#[test]
fn each_layout_has_its_own_run() {
    let tree = TestDir::new();
    let temp = memory_dir();
    let log = temp.path().join("audit.jsonl");
    for name in ["a", "b", "c"] {
        let (layout, _) = tree.layout(name);
        layout.layer(name.as_bytes());
    }
    let lines = audited(&["gc", "--grace", "0", "-r"], tree.path(), &log);
    let runs: BTreeSet<_> = of(&lines, "begin")
        .iter()
        .map(|line| line["run"].to_string())
        .collect();
    assert_eq!(runs.len(), 3, "{lines:?}");
    let ends: BTreeSet<_> = of(&lines, "end")
        .iter()
        .map(|line| line["run"].to_string())
        .collect();
    assert_eq!(runs, ends);
}

#[test]
fn if_the_log_cannot_be_written_nothing_is_changed() {
    let temp = memory_dir();
    let directory = temp.path().join("directory");
    fs::create_dir(&directory).expect("a directory can be made");
    let other = temp.path().join("notes.txt");
    fs::write(&other, "keep this").expect("a file can be written");
    let link = temp.path().join("link");
    symlink(&other, &link).expect("a link can be made");
    let full = Path::new("/dev/full").to_owned();
    let cases = [
        directory,
        temp.path().join("absent/audit.jsonl"),
        other.clone(),
        link,
        full,
    ];
    for_each(
        cases,
        |log| log.display().to_string(),
        |log| {
            let shelf = shelf();
            let before = snapshot(shelf.path());
            let run = Cmd::new(["prune", "-f", "-a", "--allow-empty", "--grace", "0"])
                .arg(shelf.path())
                .arg("--audit-log")
                .arg(log)
                .run();
            run.exits(4)
                .warns(&format!("cannot write `{}`", log.display()))
                .warns("nothing was changed");
            assert_same(&before, &snapshot(shelf.path()), &run.all());
        },
    );
    let text = fs::read_to_string(&other).expect("the file is there");
    assert_eq!(text, "keep this");
}

/// Blobs of a shared store have no `blobs/` above them.
#[test]
fn a_blob_that_cannot_be_deleted_is_recorded_by_its_path_in_the_store() {
    if !has_strace() {
        return;
    }
    let shelf = shelf();
    let temp = memory_dir();
    let (store, log) = (temp.path().join("store"), temp.path().join("audit.jsonl"));
    fs::rename(shelf.path().join("blobs"), &store).expect("the blobs can be moved");
    let mut strace = new_command("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "--seccomp-bpf"]);
    strace.args(["-e", "trace=unlinkat", "-e", "inject=unlinkat:error=EPERM"]);
    strace
        .args([PROGRAM, "gc", "--grace", "0"])
        .arg(shelf.path());
    strace.arg("--shared-blobs").arg(&store);
    strace.arg("--audit-log").arg(&log);
    run(strace).exits(1).warns("cannot delete `");
    let lines = lines(&log);
    let failed = of(&lines, "failed");
    assert!(!failed.is_empty(), "{lines:?}");
    for line in failed {
        let path = line["path"].as_str().expect("a path");
        assert!(store.join(path).is_file(), "{line}");
    }
}

#[test]
fn an_index_is_refused_as_a_log() {
    let shelf = shelf();
    let before = snapshot(shelf.path());
    let run = Cmd::new(["gc", "--grace", "0"])
        .arg(shelf.path())
        .arg("--audit-log")
        .arg(shelf.path().join("index.json"))
        .run();
    run.exits(4).warns("another kind of file");
    assert_same(&before, &snapshot(shelf.path()), &run.all());
}

#[test]
fn a_clean_layout_and_a_dry_run_leave_no_lines() {
    let shelf = shelf();
    let temp = memory_dir();
    let log = temp.path().join("audit.jsonl");
    let gc = |args: &[&str]| {
        let call = Cmd::new(["gc", "--grace", "0"]).arg(shelf.path());
        call.args(args).arg("--audit-log").arg(&log).run().ok();
    };
    gc(&["-n"]);
    assert!(!log.exists(), "a dry run writes nothing");
    gc(&[]);
    let lines = lines(&log).len();
    gc(&[]);
    assert_eq!(self::lines(&log).len(), lines, "nothing was changed");
}
