//! Arguments that are not layouts: nothing is printed on stdout and nothing is changed.

use std::fs;

use crate::support::{LayoutBuilder, TestDir, assert_same, snapshot};

/// Makes `images` with `redis:7`, `redis:8` and `alpine:3`, and returns the ID of `alpine:3`.
fn images(fixture: &TestDir, path: &str) -> String {
    let mut layout = LayoutBuilder::at(&fixture.join(path));
    for name in ["redis:7", "redis:8", "alpine:3"] {
        let image = layout.image("linux/amd64", name, &[name.as_bytes()]);
        layout.entry(image.manifest.clone().tagged(name));
        if name == "alpine:3" {
            layout.layer(b"an orphan");
            layout.write();
            return image.manifest.digest["sha256:".len()..][..12].to_owned();
        }
    }
    unreachable!("the list has `alpine:3`")
}

/// Every command that takes several layouts, as text and as JSON.
const COMMANDS: [&[&str]; 18] = [
    &["ls"],
    &["ls", "-q"],
    &["ls", "--tree"],
    &["ls", "--format", "json"],
    &["ls", "--format", "jsonl"],
    &["df"],
    &["df", "-v"],
    &["df", "--format", "json"],
    &["check"],
    &["check", "--format", "json"],
    &["blobs", "--live"],
    &["blobs", "--unreferenced", "--grace", "0"],
    &["blobs", "--roots"],
    &["gc", "--grace", "0"],
    &["gc", "-n", "--grace", "0"],
    &["gc", "--grace", "0", "--format", "json"],
    &["prune", "-f", "-a", "--allow-empty", "--grace", "0"],
    &["prune", "-f", "--grace", "0", "--format", "json"],
];

/// A directory of layouts without `-r`, and a file that is not an archive.
#[test]
fn the_hint_shows_what_was_probably_meant() {
    let fixture = TestDir::new();
    for path in ["mirror/two", "mirror/one"] {
        fs::create_dir_all(fixture.join(path)).expect("directories can be made");
        images(&fixture, path);
    }
    fs::write(fixture.join("notes.tar"), "text").expect("a file can be written");
    for command in COMMANDS {
        let run = fixture.run(&[command, &["mirror"]].concat());
        run.exits(3)
            .warns("hint: `-r` processes every layout below it, such as `mirror/one`");
        let run = fixture.run(&[command, &["notes.tar"]].concat());
        run.exits(3).warns("or a tar archive of it");
    }
    fs::create_dir(fixture.join("mirror/none")).expect("a directory can be made");
    let run = fixture.run(&["ls", "mirror/none"]);
    run.exits(3).warns("hint: give the directory that holds");
}

#[test]
fn an_argument_that_is_not_a_layout_prints_and_changes_nothing() {
    let fixture = TestDir::new();
    images(&fixture, "images");
    fs::create_dir(fixture.join("plain")).expect("a directory can be made");
    fs::write(fixture.join("file"), "text").expect("a file can be written");
    std::os::unix::fs::symlink("gone", fixture.join("dangling")).expect("a link can be made");
    let before = snapshot(&fixture.join("images"));
    for command in COMMANDS {
        for recursive in [&[][..], &["-r"]] {
            for (word, exit) in [
                ("redis", 4),
                ("", 2),
                ("dangling", 4),
                ("plain", 3),
                ("file", 3),
            ] {
                for paths in [["images", word], [word, "images"]] {
                    let run = fixture.run(&[command, recursive, &paths].concat());
                    run.exits(exit);
                    assert_eq!(run.stdout, "", "{}", run.all());
                    assert!(run.stderr.contains("ocisweep: "), "{}", run.all());
                }
            }
        }
    }
    assert_same(
        &before,
        &snapshot(&fixture.join("images")),
        "nothing changed",
    );
}

/// `rm L $(ocisweep ls -q L redis)` removes what `ls` printed.
#[test]
fn the_hint_shows_the_intended_filter() {
    let fixture = TestDir::new();
    let id = images(&fixture, "my images");
    let hint = |args: &[&str]| {
        let run = fixture.run(args);
        run.exits(4).one_error_with_hint();
        assert_eq!(run.stdout, "", "{}", run.all());
        let line = run.stderr.lines().find(|line| line.contains("hint: "));
        let line = line.expect("there is a hint").to_owned();
        let (_, rest) = line.split_once('`').expect("the hint has a command");
        let (command, _) = rest.split_once('`').expect("the command ends");
        command.to_owned()
    };
    let list = |words: &str| format!("ocisweep ls {words} 'my images'");
    for (word, filter) in [
        ("redis", "reference=redis"),
        ("redis:*", "'reference=redis:*'"),
        // Neither an image nor a file has this name.
        ("ghcr.io/team/app:1", "reference=ghcr.io/team/app:1"),
    ] {
        for command in [
            &["df"][..],
            &["check"],
            &["blobs", "--live"],
            &["gc"],
            &["ls"],
        ] {
            let found = hint(&[command, &["my images", word]].concat());
            assert_eq!(found, list(&format!("-f {filter}")), "{command:?} {word}");
        }
        let found = hint(&["ls", "-q", "my images", word]);
        assert_eq!(found, list(&format!("-q -f {filter}")));
        let found = hint(&["ls", "-r", ".", word]);
        assert_eq!(found, format!("ocisweep ls -r -f {filter} ."));
    }
    // An ID is not a name, so no filter selects it.
    let found = hint(&["ls", "-q", "my images", &id]);
    assert_eq!(found, format!("ocisweep why 'my images' {id}"));
    // The command of the hint works.
    let run = fixture.run(&["ls", "-q", "-f", "reference=redis:7", "my images"]);
    assert_eq!(run.ok().stdout.lines().count(), 1, "{}", run.all());
    // A path is not a name.
    let run = fixture.run(&["ls", "my images", "./redis"]);
    run.exits(4).keeps_quiet_about("reference=");
}

/// A layout that is damaged, unfinished or of another version is a layout: it does not stop the others.
#[test]
fn a_damaged_layout_does_not_stop_the_others() {
    let fixture = TestDir::new();
    images(&fixture, "images");
    for (path, file, text) in [
        ("damaged", "index.json", "{"),
        ("begun", "oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
    ] {
        fs::create_dir_all(fixture.join(path).join("blobs")).expect("directories can be made");
        fs::write(fixture.join(path).join(file), text).expect("a file can be written");
    }
    for other in ["damaged", "begun"] {
        let run = fixture.run(&["ls", "-q", other, "images"]);
        assert_eq!(run.refused().stdout.lines().count(), 3, "{}", run.all());
        let run = fixture.run(&["gc", "-n", "--grace", "0", other, "images"]);
        run.refused().says("Would reclaim 9B");
    }
}

/// The newline is detected before anything is printed.
#[test]
fn a_path_with_a_newline_prints_nothing() {
    let fixture = TestDir::new();
    fixture.layout("a");
    fixture.layout("odd\nname");
    let run = fixture.run(&["blobs", "--live", "a", "odd\nname"]);
    run.exits(2).one_error_with_hint();
    assert_eq!(run.stdout, "", "{}", run.all());
}
