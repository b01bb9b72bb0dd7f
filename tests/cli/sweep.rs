//! `gc`, `rm`, `prune`, `apply` and `hold`, as text and as JSON.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::support::TestDir;
use crate::support::test_dir::NOW;

#[test]
fn gc() {
    let mut dir = TestDir::with_cases(&["umoci-new", "bk-multi", "skopeo-interrupted"]);
    for args in [
        &["gc", "-n", "umoci-new"][..],
        &["gc", "-n", "umoci-new", "bk-multi"],
        &["gc", "umoci-new"],
        &["gc", "umoci-new"],
        &["gc", "-q", "bk-multi"],
        &["gc", "-n", "skopeo-interrupted"],
        &["gc", "-n", "--temp-age", "30d", "skopeo-interrupted"],
    ] {
        dir.run_noted(args).ok();
    }
    dir.matches("gc");
}

#[test]
fn gc_reports_what_it_keeps_and_what_it_ignores() {
    let mut dir = TestDir::with_cases(&["umoci-new"]);
    let now: Timestamp = NOW.parse().expect("the current time can be a file time");
    let ten_minutes_ago = SystemTime::from(now) - Duration::from_secs(600);
    File::options()
        .write(true)
        .open(dir.blob("umoci-new", "e6a8a78fd47a"))
        .and_then(|file| file.set_modified(ten_minutes_ago))
        .expect("the time of a blob can be set");
    std::fs::write(dir.join("umoci-new/blobs/sha256/notes"), "").expect("a file can be made");
    dir.run_noted(&["gc", "-n", "umoci-new"]).ok();
    dir.run_noted(&["gc", "-n", "--exit-code", "umoci-new"])
        .exits(10);
    dir.run_noted(&["gc", "-n", "--format", "json", "umoci-new"])
        .ok();
    dir.run_noted(&["gc", "--grace", "5m", "umoci-new"]).ok();
    dir.matches("gc-kept");
}

/// Makes a layout whose writer has not written its index yet.
fn begin(dir: &TestDir) {
    fs::create_dir(dir.join("begun")).expect("a directory can be made");
    let text = r#"{"imageLayoutVersion":"1.0.0"}"#;
    fs::write(dir.join("begun/oci-layout"), text).expect("a file can be written");
}

#[test]
fn gc_json() {
    let mut dir = TestDir::with_cases(&["umoci-new", "skopeo-interrupted", "skopeo-dir"]);
    begin(&dir);
    dir.run_noted(&["gc", "-n", "--format", "json", "umoci-new"])
        .ok();
    // A path that is not a layout stops everything, an unfinished layout stops nothing.
    dir.run_noted(&["gc", "--format", "json", "skopeo-interrupted", "skopeo-dir"])
        .refused();
    dir.run_noted(&["gc", "--format", "json", "skopeo-interrupted", "begun"])
        .refused();
    dir.matches("gc-json");
}

#[test]
fn rm() {
    let mut dir = TestDir::with_cases(&["skopeo-old-tags", "regctl", "bk-sbom", "umoci-new"]);
    for args in [
        &["rm", "-n", "skopeo-old-tags", "a"][..],
        &["rm", "skopeo-old-tags", "a"],
        &["rm", "-n", "skopeo-old-tags", "foo"],
        &["rm", "-n", "skopeo-old-tags", "*"],
        &["rm", "skopeo-old-tags", "b"],
        &["rm", "-n", "regctl", "s1"],
        &["rm", "-n", "--keep-referrers", "regctl", "s1"],
        &["rm", "--no-prune", "umoci-new", "cfg2", "v1.0"],
        &[
            "rm",
            "-n",
            "bk-sbom",
            "ex.com/sbom:v1",
            "--platform",
            "linux/arm64",
        ],
        &[
            "rm",
            "bk-sbom",
            "ex.com/sbom:v1",
            "--only-platform",
            "linux/amd64",
            "--platform-mode",
            "hollow",
        ],
    ] {
        dir.run_noted(args).ok();
    }
    dir.matches("rm");
}

#[test]
fn rm_json() {
    let mut dir = TestDir::with_cases(&["skopeo-old-tags", "bk-sbom"]);
    dir.run_noted(&["rm", "--format", "json", "-n", "skopeo-old-tags", "b", "x"])
        .exits(1);
    let arm64 = ["ex.com/sbom:v1", "--platform", "linux/arm64"];
    let words: Vec<&str> = ["rm", "--format", "json", "bk-sbom"]
        .into_iter()
        .chain(arm64)
        .collect();
    dir.run_noted(&words).ok();
    dir.matches("rm-json");
}

#[test]
fn prune() {
    let mut dir = TestDir::with_cases(&["oras-retag", "docker-classic-save"]);
    for args in [
        &["prune", "-n", "-v", "oras-retag"][..],
        &["prune", "-f", "oras-retag"],
        &["prune", "-f", "oras-retag"],
        &[
            "hold",
            "add",
            "docker-classic-save",
            "release",
            "example.com/t:v1",
            "--reason",
            "shipped",
        ],
        &[
            "prune",
            "-n",
            "-v",
            "-a",
            "--keep",
            "foo",
            "docker-classic-save",
        ],
        &[
            "prune",
            "-n",
            "-v",
            "-a",
            "--max-size",
            "20kB",
            "docker-classic-save",
        ],
        &[
            "prune",
            "-f",
            "-q",
            "-a",
            "--keep-last",
            "1",
            "docker-classic-save",
        ],
    ] {
        dir.run_noted(args).ok();
    }
    dir.matches("prune");
}

#[test]
fn prune_json() {
    let mut dir = TestDir::with_cases(&["oras-retag"]);
    dir.run_noted(&["prune", "-n", "--format", "json", "oras-retag"])
        .ok();
    dir.run_noted(&["prune", "-f", "--format", "json", "oras-retag"])
        .ok();
    dir.matches("prune-json");
}

#[test]
fn a_plan_and_its_application() {
    let mut dir = TestDir::with_cases(&["oras-retag"]);
    for args in [
        &["prune", "--plan", "plan.json", "oras-retag"][..],
        &["apply", "-n", "plan.json"],
        &["apply", "plan.json"],
    ] {
        dir.run_noted(args).ok();
    }
    dir.run_noted(&["apply", "plan.json"]).refused();
    dir.matches("plan");
}

#[test]
fn holds() {
    let mut dir = TestDir::with_cases(&["docker-classic-save"]);
    for args in [
        &[
            "hold",
            "add",
            "docker-classic-save",
            "release",
            "example.com/t:v1",
            "--reason",
            "shipped",
        ][..],
        &[
            "hold",
            "add",
            "docker-classic-save",
            "week",
            "foo",
            "--until",
            "7d",
        ],
        &["hold", "ls", "docker-classic-save"],
        &["hold", "ls", "--format", "json", "docker-classic-save"],
        &["hold", "rm", "docker-classic-save", "week"],
        &["hold", "ls", "docker-classic-save"],
    ] {
        dir.run_noted(args).ok();
    }
    dir.matches("hold");
}

/// The steps of a job share one file, and each appends to it.
#[test]
fn a_summary_for_a_job() {
    let mut dir = TestDir::with_cases(&["bkcache-max", "oras-retag"]);
    begin(&dir);
    let file = dir.join("summary.md");
    fs::write(&file, "from another step\n").expect("a file can be written");
    for words in [
        &["gc", "-n", "-q", "--summary", "bkcache-max"][..],
        &["gc", "-q", "--summary", "bkcache-max", "absent"],
        &["gc", "-q", "--summary", "bkcache-max", "begun"],
        &["prune", "-f", "-q", "--summary", "-r", "."],
    ] {
        let run = dir.cmd_now(words).env("GITHUB_STEP_SUMMARY", &file).run();
        dir.note(&format!("ocisweep {}", words.join(" ")), &run);
    }
    let text = fs::read_to_string(&file).expect("a summary is text");
    dir.text.push_str(&text);
    let unset = dir.cmd_now(&["gc", "--summary", "oras-retag"]);
    let unset = unset.env("GITHUB_STEP_SUMMARY", "").run();
    unset.ok().warns("`GITHUB_STEP_SUMMARY` is not set");
    let nowhere = dir.cmd_now(&["gc", "-q", "--summary", "oras-retag"]);
    let nowhere = nowhere
        .env("GITHUB_STEP_SUMMARY", dir.join("no/such/file"))
        .run();
    nowhere
        .exits(4)
        .warns("no/such/file`: No such file or directory");
    dir.matches("summary");
}

/// Every file system lists directories in its own order, which may depend on the order of creation.
#[test]
fn output_does_not_depend_on_directory_order() {
    let commands: [&[&str]; 8] = [
        &["ls", "--tree", "regctl"],
        &["gc", "-n", "--format", "json", "umoci-new"],
        &["blobs", "--unreferenced", "umoci-new"],
        &["check", "--orphans", "umoci-new"],
        &["why", "regctl", "77f3"],
        &["prune", "-f", "-a", "--keep", "v1.0", "umoci-new"],
        &["gc", "bkcache-max"],
        &["rm", "regctl", "*"],
    ];
    let cases = ["umoci-new", "bkcache-max", "regctl"];
    // A file system in memory, if there is one, lists the last created file first.
    let grounds = [std::env::temp_dir(), "/dev/shm".into()];
    let mut texts = Vec::new();
    for ground in grounds.iter().filter(|ground| ground.is_dir()) {
        for is_reversed in [false, true] {
            let mut dir = TestDir::below(ground, &cases);
            for case in cases {
                relist(&dir.join(case).join("blobs/sha256"), is_reversed);
            }
            for args in commands {
                dir.run_noted(args);
            }
            texts.push(dir.text);
        }
    }
    let first = texts.first().expect("there is a temporary directory");
    for text in &texts {
        let mut lines = first.lines().zip(text.lines());
        let other = lines.find(|(first, line)| first != line);
        assert!(first == text, "{other:?}");
    }
    assert!(first.matches("eleted: sha256").count() > 20, "{first}");
}

/// Recreates a directory, with its files in the order of their names or in reverse.
fn relist(directory: &std::path::Path, is_reversed: bool) {
    let new = directory.with_extension("new");
    fs::create_dir(&new).expect("a directory can be made");
    let listed = fs::read_dir(directory).expect("it can be listed");
    let mut names: Vec<_> = listed
        .map(|entry| entry.expect("it can be listed").file_name())
        .collect();
    names.sort();
    if is_reversed {
        names.reverse();
    }
    for name in names {
        fs::rename(directory.join(&name), new.join(&name)).expect("a file can be moved");
    }
    fs::remove_dir(directory).expect("it is empty");
    fs::rename(new, directory).expect("a directory can be moved");
}
