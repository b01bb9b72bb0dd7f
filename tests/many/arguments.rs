//! The selection of layouts, their reports, and the exit status of the worst one.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::support::run::number;
use crate::support::test_dir::{of_layouts, rows};
use crate::support::{TestDir, assert_same, snapshot};

#[test]
fn each_layout_below_a_directory_gets_a_row() {
    let fixture = TestDir::new();
    for path in ["tree/a", "tree/a/b", "tree/c"] {
        fixture.layout(path);
    }
    fixture.layout("tree/a/blobs/sha256/inner");
    fixture.layout("tree/a/.sync/one/repo");
    fixture.layout("outside");
    symlink(fixture.join("outside"), fixture.join("tree/link")).expect("a link can be made");
    let before = snapshot(&fixture.join("outside"));
    let run = fixture.run(&["gc", "-r", "--grace", "0", "tree"]);
    run.ok();
    let paths: Vec<String> = rows(&run).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(paths, ["tree/a", "tree/a/b", "tree/c", "Total"]);
    assert_same(&before, &snapshot(&fixture.join("outside")), &run.all());
    let inner = fixture.join("tree/a/.sync/one/repo/blobs/sha256");
    assert_eq!(fs::read_dir(inner).expect("it is there").count(), 4);
    // There is nothing left to do, as every row shows.
    let again = fixture.run(&["gc", "-r", "--grace", "0", "tree"]);
    again.ok().says("Total reclaimed space: 0B");
    for row in rows(&again).iter().filter(|row| row[0] != "Total") {
        assert_eq!(row[1..], ["0", "0B", "clean"], "{}", again.all());
    }
}

#[test]
fn a_layout_given_by_two_paths_counts_once() {
    let fixture = TestDir::new();
    fixture.layout("one");
    symlink("one", fixture.join("link")).expect("a link can be made");
    for command in ["gc", "prune"] {
        let args = [command, "-n", "--grace", "0", "--format", "json"];
        let typed = ["one", "./one", "one/../one", "link"];
        let run = fixture.run(&[&args[..], &typed].concat());
        let json = run.ok().json();
        assert_eq!(of_layouts(&json, "path"), ["one"], "{}", run.all());
        assert_eq!(number(&json, "/totals/blobs"), 1, "{}", run.all());
        run.warns("`link` and `one` are the same layout");
    }
    let df = fixture.run(&["df", "--format", "json", "one", "link"]);
    let json = df.ok().json();
    assert_eq!(json["layouts"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["total"], json["layouts"][0]["total"]);
    let ls = fixture.run(&["ls", "-q", "one", "link"]);
    assert_eq!(ls.ok().stdout.lines().count(), 1, "{}", ls.all());
    // A directory that is given twice is searched once.
    let run = fixture.run(&["gc", "-n", "-r", "--grace", "0", ".", "one", "./"]);
    assert_eq!(rows(&run.ok().clone()).len(), 2, "{}", run.all());
}

/// From bad to worse: 10, 1, 6, 4, 3. A bad layout does not stop the others.
#[test]
fn the_worst_layout_determines_the_status_and_the_others_are_swept() {
    let fixture = TestDir::new();
    for path in ["a-good", "b-busy", "z-good"] {
        fixture.layout(path);
    }
    let (damaged, image) = fixture.layout("c-damaged");
    damaged.forged(&image.manifest.digest, &image.manifest.media_type, b"{");
    let busy = fixture.layout("b-busy").0;
    let held = busy.flock("index.json.lock");
    let gc = [
        "gc",
        "--grace",
        "0",
        "--lock-wait",
        "0s",
        "--format",
        "json",
    ];
    let before = snapshot(damaged.path());
    let run = fixture.run(&[&gc[..], &["a-good", "b-busy", "c-damaged", "z-good"]].concat());
    let json = run.refused().json();
    let states = ["done", "busy", "refused", "done"];
    assert_eq!(of_layouts(&json, "state"), states, "{}", run.all());
    assert_eq!(number(&json, "/totals/blobs"), 2, "{}", run.all());
    assert_same(&before, &snapshot(damaged.path()), &run.all());
    // Without the damaged one the busy one decides, and an unreadable one takes precedence over that.
    let run = fixture.run(&[&gc[..], &["z-good", "b-busy"]].concat());
    run.exits(6);
    let run = fixture.run(&[&gc[..], &["b-busy", "nowhere", "z-good"]].concat());
    run.exits(4);
    drop(held);
    let dry = ["gc", "-n", "--exit-code", "--grace", "0"];
    fixture
        .run(&[&dry[..], &["a-good", "z-good"]].concat())
        .ok();
    let run = fixture.run(&[&dry[..], &["a-good", "b-busy", "z-good"]].concat());
    run.exits(10);
    let states: Vec<String> = rows(&run)
        .into_iter()
        .filter(|row| row.len() == 4)
        .map(|row| row[3].clone())
        .collect();
    assert_eq!(states, ["clean", "would change", "clean"], "{}", run.all());
}

#[test]
fn an_unreadable_directory_is_reported_and_does_not_stop_the_others() {
    let fixture = TestDir::new();
    fixture.layout("tree/a");
    fixture.layout("tree/b/locked/layout");
    let locked = fixture.join("tree/b/locked");
    let set = |mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(&locked, mode).expect("a mode can be set");
    };
    set(0o000);
    let df = fixture.run_without_rights(&["df", "-r", "tree"]);
    let run = fixture.run_without_rights(&["gc", "-r", "--grace", "0", "tree"]);
    set(0o755);
    let (Some(df), Some(run)) = (df, run) else {
        return;
    };
    for run in [&run, &df] {
        run.exits(4).warns("cannot read `tree/b/locked`");
    }
    let paths: Vec<String> = rows(&run).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(paths, ["tree/a", "Total"], "{}", run.all());
    run.says("Total reclaimed space: 16B");
    let left = fs::read_dir(locked.join("layout/blobs/sha256")).expect("it is there");
    assert_eq!(left.count(), 4, "{}", run.all());
}

#[test]
fn mounts_in_a_tree_are_skipped_unless_named() {
    let fixture = TestDir::new();
    fixture.layout("tree/a");
    fixture.layout("backup");
    fs::create_dir(fixture.join("tree/mounted")).expect("a directory can be made");
    let gc = ["gc", "-n", "-r", "--grace", "0"];
    let call = |paths: &[&str]| {
        fixture.run_with_mount("tree/mounted", "backup", &[&gc[..], paths].concat())
    };
    let Some(run) = call(&["tree"]) else { return };
    run.ok().warns("skipped `tree/mounted`");
    assert_eq!(rows(&run).len(), 2, "{}", run.all());
    let Some(run) = call(&["tree", "tree/mounted"]) else {
        return;
    };
    run.ok().says("tree/mounted/backup");
    assert_eq!(rows(&run).len(), 3, "{}", run.all());
}

#[test]
fn a_search_without_a_layout_reports_what_was_found_instead() {
    let fixture = TestDir::new();
    fs::create_dir_all(fixture.join("empty/below")).expect("directories can be made");
    fs::create_dir_all(fixture.join("registry/docker/registry/v2"))
        .expect("directories can be made");
    for command in ["gc", "ls", "df"] {
        let run = fixture.run(&[command, "-r", "empty"]);
        run.refused().one_error_with_hint();
        run.warns("there is no image layout in it or below it");
        let run = fixture.run(&[command, "-r", "registry"]);
        run.refused()
            .warns("the storage of a registry")
            .one_error_with_hint();
        fixture.run(&[command, "-r", "nowhere"]).exits(4);
    }
}

#[test]
fn lists_of_several_layouts_name_the_layouts() {
    let fixture = TestDir::new();
    fixture.layout("a");
    fixture.layout("b");
    let run = fixture.run(&["ls", "-r", "."]);
    let heads: Vec<&str> = run
        .ok()
        .stdout
        .lines()
        .filter(|line| line.ends_with(':'))
        .collect();
    assert_eq!(heads, ["./a:", "./b:"], "{}", run.all());
    let run = fixture.run(&["ls", "--format", "jsonl", "a", "b"]);
    let lines = run.ok().stdout.lines();
    let layouts: Vec<String> = lines
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
            line["layout"]
                .as_str()
                .expect("it names the layout")
                .to_owned()
        })
        .collect();
    assert_eq!(layouts, ["a", "b"]);
}

/// Without `-r` and with one layout, the output does not mention several.
#[test]
fn the_output_for_one_layout_has_no_rows() {
    let fixture = TestDir::new();
    fixture.layout("a");
    for args in [
        &["gc", "-n", "--grace", "0", "--format", "json", "a"][..],
        &["prune", "-n", "--grace", "0", "--format", "json", "a"],
        &["df", "--format", "json", "a"],
        &["ls", "--format", "json", "a"],
        &["ls", "--format", "jsonl", "a"],
    ] {
        let run = fixture.run(args);
        let json = run.ok().json();
        assert!(json["total"].is_null() && json["layout"].is_null());
        assert!(json["layouts"][0]["state"].is_null(), "{}", run.all());
    }
    let run = fixture.run(&["gc", "-n", "--grace", "0", "a"]);
    run.ok().keeps_quiet_about("LAYOUT").keeps_quiet_about("a:");
}

#[test]
fn a_tree_is_checked_and_its_blobs_are_listed() {
    let fixture = TestDir::new();
    fixture.layout("tree/a");
    fixture.layout("tree/a/nested");
    let (damaged, image) = fixture.layout("tree/b");
    damaged.forged(&image.layers[0].digest, "x", b"damaged");
    let run = fixture.run(&["check", "-r", "tree"]);
    run.exits(1);
    let found: Vec<(String, String)> = rows(&run)
        .into_iter()
        .filter(|row| row.len() == 4)
        .map(|row| (row[0].clone(), row[3].clone()))
        .collect();
    let expected = [
        ("tree/a", "whole"),
        ("tree/a/nested", "whole"),
        ("tree/b", "damaged"),
    ];
    assert_eq!(
        found,
        expected.map(|(path, state)| (path.to_owned(), state.to_owned())),
        "{}",
        run.all()
    );
    let json = fixture.run(&["check", "--format", "json", "-r", "tree"]);
    let json = json.exits(1).json();
    assert_eq!(number(&json, "/damaged"), 1);
    let blobs = fixture.run(&["blobs", "--unreferenced", "--grace", "0", "-r", "tree"]);
    let paths: Vec<&str> = blobs.ok().stdout.lines().collect();
    assert_eq!(paths.len(), 3, "{}", blobs.all());
    for (path, layout) in paths
        .iter()
        .zip(["tree/a/b", "tree/a/nested/b", "tree/b/b"])
    {
        assert!(path.starts_with(layout), "{}", blobs.all());
        assert!(fixture.join(path).is_file(), "{}", blobs.all());
    }
}

/// Two names of one file count as one file, also in the line about kept bytes.
#[test]
fn kept_bytes_are_counted_once_as_well() {
    let fixture = TestDir::new();
    let (one, image) = fixture.layout("one");
    let layer = image.layers[0].blob_path();
    let mut two = crate::support::LayoutBuilder::at(&fixture.join("two"));
    let other = two.image("linux/amd64", "two", &[b"layer of one"]);
    two.entry(other.manifest.clone().tagged("v1"));
    two.write();
    two.hard_link(&layer, &one.join(&layer));
    let run = fixture.run(&["prune", "-f", "--grace", "0", "one", "two"]);
    let left = fixture.blobs();
    assert_eq!(left.names, 6, "{}", run.all());
    assert_eq!(left.inodes.len(), 5, "{}", run.all());
    let sum = left.sum();
    let human = format!("{}.{:02}", sum / 1000, sum % 1000 / 10);
    run.ok().says(&format!("kept {human}"));
}

/// `-q -v` prints what `-q` prints.
#[test]
fn quiet_overrides_verbose() {
    let prune = ["prune", "--grace", "0", "--plan"];
    let fixture = TestDir::new();
    for name in ["a", "b"] {
        let (layout, _) = fixture.layout(name);
        for number in 0..9 {
            layout.layer(format!("{number} of {name}").as_bytes());
        }
    }
    fixture.run(&[&prune[..], &["one.json", "a"]].concat()).ok();
    fixture
        .run(&[&prune[..], &["both.json", "a", "b"]].concat())
        .ok();
    for name in ["a", "b"] {
        let blobs = fixture.join(name).join("blobs/sha256");
        fs::set_permissions(blobs, fs::Permissions::from_mode(0o555)).expect("it has a mode");
    }
    for (command, layouts) in [
        (&["gc", "--grace", "0", "a"][..], 1),
        (&["gc", "--grace", "0", "a", "b"], 2),
        (&["apply", "one.json"], 1),
        (&["apply", "both.json"], 2),
        (&["rm", "--grace", "0", "a", "nosuch:1"], 0),
    ] {
        let run = |flags: &[&str]| fixture.run_without_rights(&[command, flags].concat());
        let Some(quiet) = run(&["-q"]) else {
            return;
        };
        let both = run(&["-q", "-v"]).expect("the user can run it");
        assert_eq!(
            (both.code, &both.stdout, &both.stderr),
            (quiet.code, &quiet.stdout, &quiet.stderr)
        );
        let verbose = run(&["-v"]).expect("the user can run it");
        assert_eq!(
            verbose.stderr.matches("not deleted: ").count(),
            layouts * 10,
            "{}",
            verbose.all()
        );
        both.keeps_quiet_about("Deleted: ")
            .keeps_quiet_about("LAYOUT");
        assert!(!both.stderr.contains("not deleted: "), "{}", both.all());
    }
    // The lines that `-v` of a prune adds are on standard output, so it contradicts `-q`.
    fixture.run(&["prune", "-n", "-q", "-v", "a"]).exits(2);
}
