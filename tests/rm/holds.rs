//! `hold`: adding, listing and removing holds; their expiry; and what they protect from.

use std::fs;

use serde_json::{Value, json};

use crate::support::environment::memory_dir;
use crate::support::removed::{assert_output, bare, rm};
use crate::support::samples::app_and_other;
use crate::support::{Cmd, Desc, Image, LayoutBuilder, Run, assert_same, snapshot};

const FILE: &str = ".ocisweep/holds.json";

/// Runs `hold COMMAND LAYOUT ARGS…`.
fn hold(layout: &LayoutBuilder, command: &str, args: &[&str]) -> Run {
    Cmd::new(["hold", command])
        .arg(layout.path())
        .args(args)
        .run()
}

/// Returns the output of `hold ls` as JSON.
fn listed(layout: &LayoutBuilder) -> Vec<Value> {
    let run = hold(layout, "ls", &["--format", "json"]);
    let report = run.ok().json();
    assert_eq!(report["schema_version"], json!(1), "{}", run.all());
    report["holds"]
        .as_array()
        .cloned()
        .expect("holds are a list")
}

fn conflict(what: &str, name: &str, image: &Image) -> String {
    conflict_that(what, name, &image.manifest, "must be forced")
}

fn conflict_that(what: &str, name: &str, image: &Desc, force: &str) -> String {
    format!(
        "ocisweep: conflict: unable to delete {what} ({force}) - hold \"{name}\" is using its image {}\n",
        image.short()
    )
}

/// Asserts that force removed only the names of a held image: the entry is kept without a name, every file is kept, and so
/// are the holds.
fn assert_only_untagged(layout: &LayoutBuilder, run: &Run, names: &[&str], image: &Image) {
    assert_output(run, names, &[]);
    layout.assert_has(image.parts(), run);
    let text = fs::read_to_string(layout.join("index.json")).expect("the index is text");
    assert!(text.contains(&image.manifest.digest), "{text}");
    for name in names {
        assert!(!text.contains(&format!("\"{name}\"")), "{text}");
    }
    Cmd::gc(layout.path()).run().ok();
    layout.assert_has(image.parts(), run);
}

#[test]
fn holds_are_added_listed_and_ended() {
    let (layout, app, other) = app_and_other();
    let run = hold(
        &layout,
        "add",
        &["release", "app:1", "--reason", "shipped to customers"],
    );
    run.ok();
    assert_eq!(
        run.stdout,
        format!("Held: release {}\n", app.manifest.digest),
        "{}",
        run.all()
    );
    hold(&layout, "add", &["second", other.manifest.short()]).ok();

    let run = hold(&layout, "ls", &[]);
    let lines: Vec<&str> = run.ok().stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", run.all());
    for text in [
        "release",
        "app:1",
        app.manifest.short(),
        "never",
        "shipped to customers",
    ] {
        assert!(lines[1].contains(text), "{text}\n{}", run.all());
    }
    assert!(lines[2].contains(other.manifest.short()), "{}", run.all());
    let expected = json!({
        "name": "release", "digest": app.manifest.digest, "image": "app:1", "reason": "shipped to customers",
        "until": null, "while": null, "active": true,
    });
    let mut found = listed(&layout)[0].clone();
    let fields = found.as_object_mut().expect("an object");
    let added = fields.remove("added").expect("when it was added");
    let added: jiff::Timestamp = added
        .as_str()
        .and_then(|added| added.parse().ok())
        .expect("a time");
    let age = jiff::Timestamp::now().duration_since(added);
    assert!(age.as_secs() < 300, "{added}");
    assert_eq!(found, expected);

    // In the tree it is in the place in which docker marks images of containers.
    let tree = Cmd::new(["ls", "--tree"]).arg(layout.path()).run();
    for (name, mark) in [("app:1", true), ("other:1", true)] {
        let line = tree.ok().stdout.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name}\n{}", tree.all()));
        assert_eq!(line.trim_end().ends_with(" H"), mark, "{}", tree.all());
    }

    let run = hold(&layout, "rm", &["release"]);
    run.ok();
    assert_eq!(run.stdout, "Released: release\n", "{}", run.all());
    assert_eq!(listed(&layout).len(), 1);
    let tree = Cmd::new(["ls", "--tree"]).arg(layout.path()).run();
    let line = tree
        .ok()
        .stdout
        .lines()
        .find(|line| line.starts_with("app:1"));
    assert!(
        line.is_some_and(|line| !line.trim_end().ends_with(" H")),
        "{}",
        tree.all()
    );

    let run = hold(&layout, "rm", &["nosuch", "second", "neither"]);
    run.exits(1)
        .warns("No such hold: nosuch")
        .warns("No such hold: neither");
    assert_eq!(run.stdout, "Released: second\n", "{}", run.all());
    assert_eq!(listed(&layout), Vec::<Value>::new());
    let run = rm(&layout, &["app:*"]);
    run.ok();
}

#[test]
fn an_invalid_hold_is_refused_and_changes_nothing() {
    let (layout, ..) = app_and_other();
    hold(&layout, "add", &["release", "app:1"]).ok();
    let before = snapshot(layout.path());
    let unknown = format!("sha256:{}", "1".repeat(64));
    let cases: [(&[&str], i32, &str); 10] = [
        (&["release", "other:1"], 1, "it already exists"),
        (&["new", "nosuch:1"], 1, "No such image: nosuch:1"),
        (&["new", &unknown], 1, "it is not in"),
        (&["new", "1"], 1, "No such image: 1:latest"),
        (&["new", "*"], 1, "2 images"),
        (&["", "app:1"], 2, ""),
        (&["new"], 2, ""),
        (
            &["new", "app:1", "--until", "tomorrow"],
            2,
            "--until tomorrow",
        ),
        (&["new", "app:1", "--bundle", "x"], 2, ""),
        (&["new", "--bundle", "nowhere"], 1, "umoci.json"),
    ];
    for (arguments, code, said) in cases {
        let run = hold(&layout, "add", arguments);
        run.exits(code).warns(said);
        assert_eq!(run.stdout, "", "{}", run.all());
        assert_same(&before, &snapshot(layout.path()), &run.all());
    }
    let run = hold(&layout, "rm", &["nosuch"]);
    run.exits(1).warns("No such hold: nosuch");
    assert_same(&before, &snapshot(layout.path()), &run.all());
}

#[test]
fn a_held_image_is_a_conflict_by_name_and_by_id() {
    let (layout, app, other) = app_and_other();
    hold(&layout, "add", &["release", "app:1"]).ok();
    let id = app.manifest.short().to_owned();
    for (argument, what, force) in [
        ("app:1", "app:1", "must be forced"),
        ("docker.io/library/app:1", "app:1", "must be forced"),
        ("app:*", "app:1", "must be forced"),
        (&id, &id, "cannot be forced"),
        (&app.manifest.digest, &id, "cannot be forced"),
        ("@0", &id, "cannot be forced"),
    ] {
        let run = rm(&layout, &[argument]);
        run.exits(1).one_error_with_hint();
        assert!(
            run.stderr
                .starts_with(&conflict_that(what, "release", &app.manifest, force)),
            "{}",
            run.all()
        );
        assert_eq!(run.stdout, "", "{}", run.all());
        layout.assert_has(app.parts(), &run);
    }
    // Others are not held, and a conflict does not keep them.
    let run = rm(&layout, &["app:1", "other:1"]);
    run.exits(1);
    assert_output(&run, &["other:1"], &other.parts());
}

#[test]
fn force_never_ends_a_hold() {
    let (mut layout, app, _) = app_and_other();
    layout.tag(&app.manifest, "app:2").write();
    let signature = layout.referrer(&app.manifest, "application/signature", b"signature");
    layout.entry(&signature.manifest).write();
    hold(&layout, "add", &["one", "app:1"]).ok();
    hold(&layout, "add", &["two", &app.manifest.digest]).ok();
    // By ID, and by ID together with a name, force changes nothing.
    let before = snapshot(layout.path());
    let id = app.manifest.short().to_owned();
    for arguments in [&["-f", &id][..], &["-f", "app:1", "app:2", "@0"]] {
        let run = rm(&layout, arguments);
        run.exits(1);
        assert!(
            run.stderr.starts_with(&conflict_that(
                &id,
                "one",
                &app.manifest,
                "cannot be forced"
            )),
            "{}",
            run.all()
        );
        assert_same(&before, &snapshot(layout.path()), &run.all());
    }
    // By name only the names are removed: neither the image nor its referrers nor a hold.
    let run = rm(&layout, &["-f", "app:1", "app:2"]);
    run.ok();
    assert_only_untagged(&layout, &run, &["app:1", "app:2"], &app);
    layout.assert_has(signature.parts(), &run);
    let left: Vec<Value> = listed(&layout)
        .iter()
        .map(|hold| hold["name"].clone())
        .collect();
    assert_eq!(left, [json!("one"), json!("two")]);
    // Neither does any prune.
    for arguments in [&["-f"][..], &["-f", "-a", "--allow-empty"]] {
        let run = Cmd::new(["prune"]).args(arguments).arg(layout.path()).run();
        run.ok();
        layout.assert_has(app.parts(), &run);
    }
    assert_eq!(listed(&layout).len(), 2);
    hold(&layout, "rm", &["one", "two"]).ok();
    let run = rm(&layout, &[&id]);
    run.ok();
    assert!(!layout.has(&app.manifest), "{}", run.all());
}

#[test]
fn one_of_several_names_of_a_held_image_needs_no_force() {
    let (mut layout, app, _) = app_and_other();
    layout.tag(&app.manifest, "app:2").write();
    hold(&layout, "add", &["release", "app:2"]).ok();
    // Holds protect digests: the name that was given for the hold can be removed as well.
    let run = rm(&layout, &["app:2"]);
    run.ok();
    assert_output(&run, &["app:2"], &[]);
    let run = rm(&layout, &["app:1"]);
    run.exits(1);
    assert!(
        run.stderr.starts_with(&conflict("app:1", "release", &app)),
        "{}",
        run.all()
    );
    // Only names are removed: nothing is lost.
    let run = rm(&layout, &["--no-prune", "app:1"]);
    run.ok();
    layout.assert_has(app.parts(), &run);
    assert_eq!(listed(&layout).len(), 1);
}

#[test]
fn a_hold_ends_at_its_time() {
    let (layout, app, _) = app_and_other();
    let add = |name: &str, until: &str| {
        Cmd::new(["hold", "add", "--now", "2026-03-01T12:00:00Z"])
            .arg(layout.path())
            .args([name, "app:1", "--until", until])
            .run()
            .ok();
    };
    add("duration", "36h");
    add("date", "2026-03-02");
    add("instant", "2026-03-03T00:00:00Z");
    let until: Vec<Value> = listed(&layout)
        .iter()
        .map(|hold| hold["until"].clone())
        .collect();
    assert_eq!(
        until,
        [
            json!("2026-03-03T00:00:00Z"),
            json!("2026-03-02T00:00:00Z"),
            json!("2026-03-03T00:00:00Z")
        ]
    );
    // The active holds at each time.
    for (now, by) in [
        ("2026-03-01T23:59:59Z", Some("duration")),
        ("2026-03-02T23:59:59Z", Some("duration")),
        ("2026-03-03T00:00:00Z", None),
    ] {
        let run = rm(&layout, &["--now", now, "app:1"]);
        match by {
            Some(name) => {
                run.exits(1);
                assert!(
                    run.stderr.starts_with(&conflict("app:1", name, &app)),
                    "{}",
                    run.all()
                );
            }
            None => {
                run.ok();
                assert_output(&run, &["app:1"], &app.parts());
            }
        }
    }
    let run = Cmd::new(["hold", "ls", "--now", "2026-03-02T00:00:00Z"])
        .arg(layout.path())
        .run();
    let ended: Vec<bool> = run
        .ok()
        .stdout
        .lines()
        .skip(1)
        .map(|line| line.contains("ended"))
        .collect();
    assert_eq!(ended, [false, true, false], "{}", run.all());
}

#[test]
fn a_hold_ends_when_its_path_is_gone() {
    let (layout, app, _) = app_and_other();
    let path = layout.outside().join("in-use");
    fs::write(&path, b"").expect("a file can be written");
    // A relative path means the same in every directory.
    Cmd::new(["hold", "add"])
        .arg(layout.path())
        .args(["job", "app:1", "--while", "in-use"])
        .current_dir(layout.outside())
        .run()
        .ok();
    assert_eq!(listed(&layout)[0]["while"], json!(path));
    rm(&layout, &["app:1"]).exits(1).warns("hold \"job\"");
    fs::remove_file(&path).expect("it can be removed");
    assert_eq!(listed(&layout)[0]["active"], json!(false));
    let tree = Cmd::new(["ls", "--tree"]).arg(layout.path()).run();
    assert!(!tree.ok().stdout.contains(" H"), "{}", tree.all());
    let run = rm(&layout, &["app:1"]);
    run.ok();
    assert_output(&run, &["app:1"], &app.parts());
}

/// Writes the relevant parts of a bundle as umoci unpacks it.
fn bundle(layout: &LayoutBuilder, walk: &[&str]) -> std::path::PathBuf {
    let directory = layout.outside().join("bundle");
    fs::create_dir_all(&directory).expect("a directory can be made");
    let steps: Vec<Value> = walk
        .iter()
        .map(|digest| json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1}))
        .collect();
    let meta = json!({"umoci_version": "2", "from_descriptor_path": {"descriptor_walk": steps}, "map_options": {}});
    fs::write(directory.join("umoci.json"), meta.to_string()).expect("a file can be written");
    directory
}

#[test]
fn an_unpacked_bundle_holds_its_image_while_it_exists() {
    let (mut layout, app, other) = app_and_other();
    let index = layout.index(&[app.manifest.clone().platform("linux/amd64")]);
    layout
        .clear_entries()
        .tag(&index, "app:1")
        .tag(&other.manifest, "other:1")
        .write();
    // From the entry of index.json down to the manifest.
    let directory = bundle(&layout, &[&index.digest, &app.manifest.digest]);
    let path = directory.to_str().expect("paths of the tests are UTF-8");
    let run = hold(&layout, "add", &["dev", "--bundle", path]);
    run.ok().says(&format!("Held: dev {}\n", index.digest));
    rm(&layout, &["app:1"]).exits(1).warns("hold \"dev\"");
    // The entry was removed from the layout: the image of the bundle is still kept.
    layout
        .clear_entries()
        .tag(&other.manifest, "other:1")
        .write();
    let run = Cmd::gc(layout.path()).run();
    run.ok().ends_with_line("Total reclaimed space: 0B");
    layout.assert_has([&index, &app.manifest, &app.config, &app.layers[0]], &run);
    fs::remove_dir_all(&directory).expect("it can be removed");
    let run = Cmd::gc(layout.path()).run();
    run.ok();
    assert!(
        !layout.has(&index) && !layout.has(&app.manifest),
        "{}",
        run.all()
    );
}

#[test]
fn a_bundle_without_an_image_of_the_layout_is_refused() {
    let (layout, ..) = app_and_other();
    let absent = format!("sha256:{}", "2".repeat(64));
    for (walk, said) in [
        (vec![], "it names no image"),
        (vec!["sha256:no"], "umoci.json"),
        (vec![&absent[..]], "it is not in"),
    ] {
        let directory = bundle(&layout, &walk);
        let path = directory.to_str().expect("paths of the tests are UTF-8");
        let run = hold(&layout, "add", &["dev", "--bundle", path]);
        run.exits(1).warns(said);
        assert!(!layout.join(FILE).exists(), "{}", run.all());
    }
}

#[test]
fn held_images_survive_removals_by_other_tools() {
    let (mut layout, app, other) = app_and_other();
    let signature = layout.referrer(&app.manifest, "application/signature", b"signature");
    hold(&layout, "add", &["release", "app:1"]).ok();
    layout
        .clear_entries()
        .tag(&other.manifest, "other:1")
        .write();
    let run = Cmd::gc(layout.path()).run();
    run.ok().ends_with_line("Total reclaimed space: 0B");
    layout.assert_has(app.parts().into_iter().chain(signature.parts()), &run);
    // `rm` of an image that shares blobs with it deletes none of them.
    let run = rm(&layout, &["other:1"]);
    run.ok();
    assert_output(&run, &["other:1"], &other.parts());
    layout.assert_has(app.parts(), &run);
    // It has no entry, but the hold still shows its name.
    let held = listed(&layout);
    assert_eq!(
        (&held[0]["image"], &held[0]["active"]),
        (&json!("app:1"), &json!(true))
    );
    hold(&layout, "rm", &["release"]).ok();
    let run = Cmd::gc(layout.path()).arg("--allow-empty").run();
    run.ok();
    assert!(
        !layout.has(&app.manifest) && !layout.has(&signature.manifest),
        "{}",
        run.all()
    );
}

#[test]
fn a_held_platform_holds_its_image() {
    let (mut layout, app, other) = app_and_other();
    let index = layout.index(&[app.manifest.clone().platform("linux/amd64")]);
    layout
        .clear_entries()
        .tag(&index, "multi:1")
        .tag(&other.manifest, "other:1")
        .write();
    hold(&layout, "add", &["platform", &app.manifest.digest]).ok();
    let run = rm(&layout, &["multi:1"]);
    run.exits(1).warns("hold \"platform\"").warns(index.short());
    layout.assert_has([&index, &app.manifest], &run);
    // The rest of the image is kept as well: force only untags.
    let run = rm(&layout, &["-f", "multi:1"]);
    run.ok();
    assert_output(&run, &["multi:1"], &[]);
    layout.assert_has([&index, &app.manifest], &run);
    assert_eq!(listed(&layout).len(), 1);
}

#[test]
fn holds_that_cannot_be_read_stop_everything_that_deletes() {
    let good = |name: &str| {
        json!({"schema_version": 1, "holds": [{"name": "x", "digest": name}]}).to_string()
    };
    let files = [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "{\"schema_version\":1}".to_owned(),
        "{\"schema_version\":2,\"holds\":[]}".to_owned(),
        good("sha256:no"),
        "{\"schema_version\":1,\"holds\":[{\"name\":\"x\"}]}".to_owned(),
        good(&format!("sha256:{}", "0".repeat(64))).replace("}]", ",\"until\":\"soon\"}]"),
    ];
    for text in files {
        let (layout, app, _) = app_and_other();
        let orphan = layout.layer(b"an orphan");
        layout.file(FILE, text.as_bytes());
        let before = snapshot(layout.path());
        let path = layout.path();
        for command in [
            Cmd::new(["rm"]).arg(path).arg("app:1"),
            Cmd::new(["rm", "-f"]).arg(path).arg("app:1"),
            Cmd::gc(path),
            Cmd::new(["hold", "add"]).arg(path).args(["new", "app:1"]),
            Cmd::new(["hold", "rm"]).arg(path).arg("x"),
        ] {
            let run = command.run();
            run.refused().one_error_with_hint();
            run.warns("holds.json");
            assert_same(&before, &snapshot(path), &run.all());
        }
        assert!(layout.has(&orphan) && layout.has(&app.manifest));
    }
}

#[test]
fn a_hold_on_a_missing_image_blocks_nothing() {
    let (layout, app, other) = app_and_other();
    hold(&layout, "add", &["release", "app:1"]).ok();
    for desc in app.parts() {
        layout.drop_blob(desc);
    }
    let run = rm(&layout, &["--allow-missing", "other:1"]);
    run.ok();
    assert_output(&run, &["other:1"], &other.parts());
    let run = rm(&layout, &["-f", "app:1"]);
    run.ok();
    assert_output(&run, &["app:1"], &[]);
    let text = fs::read_to_string(layout.join("index.json")).expect("the index is text");
    assert!(text.contains(&app.manifest.digest), "{text}");
}

#[test]
fn hold_waits_for_the_lock_and_leaves_no_lock_file() {
    let (layout, ..) = app_and_other();
    let held = layout.flock("index.json.lock");
    let run = hold(&layout, "add", &["release", "app:1", "--lock-wait", "0s"]);
    run.exits(6);
    assert!(!layout.join(FILE).exists(), "{}", run.all());
    drop(held);
    let run = hold(&layout, "add", &["release", "app:1"]);
    run.ok();
    crate::support::invariants::assert_no_litter(layout.path(), &run.all());
    assert_eq!(listed(&layout).len(), 1);
}

/// The hint can be pasted into a shell, whatever the names of the layout and the hold.
#[test]
fn a_hint_about_a_hold_is_quoted_for_a_shell() {
    let place = memory_dir();
    let mut layout = LayoutBuilder::at(&place.path().join("-my layout"));
    let app = layout.image("linux/amd64", "app", &[b"app"]);
    layout.tag(&app.manifest, "app:1").write();
    for (name, command) in [
        (
            "it's $(id)",
            r"`ocisweep hold rm './-my layout' 'it'\''s $(id)'` ends it",
        ),
        ("-f", "`ocisweep hold rm -- './-my layout' -f` ends it"),
    ] {
        let call = || {
            Cmd::new(["hold", "add", "--", "-my layout", name, "app:1"])
                .current_dir(place.path())
                .run()
        };
        call().ok();
        let run = call();
        run.exits(1).one_error_with_hint();
        run.warns(&command.replace(r"\\", r"\"));
    }
}

#[test]
fn a_pattern_of_several_images_cannot_be_held() {
    let (layout, ..) = app_and_other();
    let run = hold(&layout, "add", &["all", "**"]);
    run.exits(1).warns("it names 2 images");
}

/// Names are untrusted: hints can be pasted into a shell safely.
#[test]
fn hints_for_holds_names_and_platforms_can_be_pasted() {
    let mut layout = LayoutBuilder::new();
    let odd = layout.image("linux/amd64", "odd", &[b"odd"]);
    let (index, _) = crate::rm::platform_words::multi(&layout, &["linux/amd64", "linux/arm64"]);
    layout
        .tag(&odd.manifest, "x;id:1")
        .tag(&index, "multi:1")
        .write();
    let path = layout.path().display().to_string();
    Cmd::new(["hold", "add"])
        .arg(layout.path())
        .args(["it's $(mine)", "x;id:1"])
        .run()
        .ok();
    let run = bare(layout.path(), ["x;id:1"]).run();
    run.exits(1).warns(&format!(
        "`ocisweep hold rm {path} 'it'\\''s $(mine)'` ends the hold"
    ));
    let run = bare(layout.path(), ["xid:1"]).run();
    run.exits(1).warns("hint: there is 'x;id:1'\n");
    let run = Cmd::new(["why"]).arg(layout.path()).arg("xid:1").run();
    run.exits(1).warns("hint: there is 'x;id:1'\n");
    let run = bare(layout.path(), ["multi:1", "--platform", "linux/s390x"]).run();
    run.exits(1)
        .warns(&format!("`ocisweep ls --tree {path}` shows the platforms"));
}
