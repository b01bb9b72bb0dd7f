//! `--if-exists`: a job that runs before the first layout was written.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::environment::memory_dir;
use crate::support::{Cmd, TestLayout, assert_same, for_each, snapshot};

const COMMANDS: [&[&str]; 8] = [
    &["gc"],
    &["prune", "-f"],
    &["prune", "-f", "-a", "--max-size", "5GB"],
    &["ls"],
    &["ls", "--tree"],
    &["df"],
    &["df", "-v"],
    &["check"],
];

fn after(command: &[&str]) -> Vec<&'static str> {
    if command[0] == "rm" {
        vec!["app:1"]
    } else {
        Vec::new()
    }
}

#[test]
fn an_absent_layout_is_a_success_and_is_not_created() {
    let rm: &[&str] = &["rm"];
    for_each(
        COMMANDS.into_iter().chain([rm]),
        |command| command.join(" "),
        |command| {
            let temp = memory_dir();
            let empty = temp.path().join("empty");
            fs::create_dir(&empty).expect("a directory can be made");
            let absent = temp.path().join("absent");
            // The files that a failed build leaves in the directory of its cache.
            let failed = temp.path().join("failed");
            fs::create_dir_all(failed.join("ingest")).expect("directories can be made");
            let before = snapshot(temp.path());
            for (path, what) in [
                (&absent, "does not exist"),
                (&empty, "is empty"),
                (&failed, "contains only an empty `ingest`"),
            ] {
                let call = Cmd::new(*command).arg(path).args(after(command));
                let run = call.run();
                assert_ne!(run.code, Some(0), "{}", run.all());
                let run = call.clone().arg("--if-exists").run();
                let note = format!("`{}` {what}: nothing to do", path.display());
                run.ok().warns(&note);
                assert!(!run.stdout.contains("Total reclaimed"), "{}", run.all());
                let json = call.args(["--if-exists", "--format", "json"]).run();
                json.ok().json();
                assert_same(&before, &snapshot(temp.path()), &run.all());
            }
        },
    );
}

#[test]
fn files_dangling_links_and_other_directories_are_still_errors() {
    let temp = memory_dir();
    let file = temp.path().join("file");
    fs::write(&file, "text").expect("a file can be written");
    let link = temp.path().join("link");
    symlink("nowhere", &link).expect("a link can be made");
    let other = temp.path().join("other");
    fs::create_dir_all(other.join("x")).expect("a directory can be made");
    let damaged = temp.path().join("damaged");
    fs::create_dir_all(damaged.join("blobs")).expect("a directory can be made");
    fs::write(damaged.join("index.json"), "{").expect("a file can be written");
    let below = file.join("layout");
    let unfinished = temp.path().join("unfinished");
    fs::create_dir_all(unfinished.join("ingest/1")).expect("directories can be made");
    let store = temp.path().join("store");
    fs::create_dir_all(store.join("ingest")).expect("directories can be made");
    fs::create_dir_all(store.join("blobs/sha256")).expect("directories can be made");
    let elsewhere = temp.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory can be made");
    symlink(store.join("ingest"), elsewhere.join("ingest")).expect("a link can be made");
    let paths = [
        &file,
        &link,
        &other,
        &damaged,
        &below,
        &unfinished,
        &store,
        &elsewhere,
    ];
    for_each(
        COMMANDS
            .into_iter()
            .chain([&["rm"][..]])
            .flat_map(|command| paths.map(|path| (command, path))),
        |(command, path)| format!("{command:?} {}", path.display()),
        |(command, path)| {
            let call = Cmd::new(*command).arg(path).args(after(command));
            let run = call.arg("--if-exists").run();
            assert_ne!(run.code, Some(0), "{}", run.all());
        },
    );
}

/// An existing layout of a tree is processed; absent ones do not matter.
#[test]
fn the_layouts_that_exist_are_processed() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 10);
    let orphan = shelf.layout.layer(b"nothing references this");
    shelf.write();
    let absent = shelf.layout.outside().join("absent");
    let words = ["gc", "--grace", "0", "--if-exists"];
    let run = Cmd::new(words).arg(&absent).arg(shelf.path()).run();
    run.ok().warns("does not exist: nothing to do");
    assert!(!shelf.layout.has(&orphan), "{}", run.all());
    // Without one of them, blobs that only that one needs would be deleted from a shared store.
    let words = ["gc", "--if-exists", "--shared-blobs"];
    Cmd::new(words)
        .arg(&absent)
        .arg(shelf.path())
        .run()
        .exits(2);
}
