//! `check --trash`: blobs in the trash are read as well, and damage there has the same exit status as other damage.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Cmd, IntactLayout, Run};

/// A layout with a run in its trash, which removed `app:1`.
fn trashed() -> (IntactLayout, PathBuf) {
    let layout = IntactLayout::new();
    let rm = ["rm", "--trash", "--grace", "0", "-f"];
    let run = Cmd::new(rm).arg(layout.path()).arg("app:1").run();
    run.ok();
    let trash = layout.path().join(".ocisweep/trash");
    let mut runs = fs::read_dir(&trash).expect("there is a trash");
    let run = runs
        .next()
        .expect("there is a run")
        .expect("it can be read");
    (layout, run.path())
}

fn check(layout: &IntactLayout, words: &[&str]) -> Run {
    Cmd::new(["check", "--trash"])
        .args(words)
        .arg(layout.path())
        .run()
}

fn a_blob(run: &std::path::Path) -> PathBuf {
    let blobs = fs::read_dir(run.join("sha256")).expect("there are blobs");
    let mut blobs: Vec<_> = blobs
        .map(|blob| blob.expect("it can be read").path())
        .collect();
    blobs.sort();
    blobs.swap_remove(0)
}

#[test]
fn a_trash_is_checked_only_on_request() {
    let (layout, run) = trashed();
    let blobs = fs::read_dir(run.join("sha256")).expect("there are blobs");
    let blobs = blobs.count();
    let clean = check(&layout, &[]);
    clean.ok().says(&format!(
        "trash: no damage in 1 run with {blobs} blobs, {blobs} compared with their digests ("
    ));
    check(&layout, &["-q"]).ok().keeps_quiet_about("trash");
    let json = check(&layout, &["--format", "json"]).ok().json();
    let trash = &json["layouts"][0]["trash"];
    assert_eq!((&trash["runs"], &trash["damaged"]), (&1.into(), &0.into()));
    assert_eq!(trash["blobs"], blobs);

    fs::write(a_blob(&run), "X").expect("it can be written");
    Cmd::new(["check"]).arg(layout.path()).run().ok();
    check(&layout, &[]).exits(1);
}

#[test]
fn every_damage_in_a_trash_is_found() {
    for (class, declares) in [
        ("wrong-size", true),
        ("wrong-digest", false),
        ("malformed", false),
        ("foreign", false),
    ] {
        let (layout, run) = trashed();
        let blob = a_blob(&run);
        match class {
            "wrong-size" => fs::write(&blob, "X").expect("it can be written"),
            "wrong-digest" => {
                let bytes = fs::read(&blob).expect("it is there");
                fs::write(&blob, vec![b'X'; bytes.len()]).expect("it can be written");
            }
            "malformed" => {
                fs::write(run.join("run.json"), "{").expect("it can be written");
            }
            _ => {
                fs::remove_file(&blob).expect("it is there");
                fs::create_dir(&blob).expect("a directory can be made");
            }
        }
        let found = check(&layout, &[]);
        if class == "foreign" {
            // A directory is not a blob.
            found.ok().says("1 foreign file");
            check(&layout, &["-v"])
                .ok()
                .says("foreign: .ocisweep/trash/");
            continue;
        }
        let name = run.file_name().expect("it has a name").to_string_lossy();
        found
            .exits(1)
            .says(&format!("{class}: .ocisweep/trash/{name}/"))
            .says(&format!(
                "`ocisweep trash empty {} {name}` deletes the run",
                layout.path().display()
            ))
            .says("trash: 1 file damaged in 1 run");
        let json = check(&layout, &["--format", "json"]).exits(1).json();
        assert_eq!(json["damaged"], 1);
        let items = json["layouts"][0]["items"].as_array().expect("a list");
        let item = items.iter().find(|item| item["class"] == class);
        let item = item.expect("it is listed");
        assert_eq!(item["damage"], true);
        assert_eq!(item["declared_size"].is_u64(), declares, "{item}");
        assert_eq!(
            item["digest"] == Value::Null,
            class == "malformed",
            "{item}"
        );
        let path = item["path"].as_str().expect("a path");
        assert!(layout.path().join(path).is_file(), "{path}");
        // Sizes are compared without reading.
        let quick = check(&layout, &["--quick"]);
        let is_seen = matches!(class, "wrong-size" | "malformed");
        assert_eq!(quick.code, Some(i32::from(is_seen)), "{}", quick.all());
    }
}
