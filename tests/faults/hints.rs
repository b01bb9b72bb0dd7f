//! Messages for locks, indexes and blobs that the system does not allow to be changed.

use std::ffi::OsString;
use std::path::Path;

use crate::commands::{GC, RM};
use crate::judge::LOCK;
use crate::strace::{Disturbed, Recording, args};
use crate::support::environment::has_strace;
use crate::support::{Cmd, FullLayout, media};

const RIGHTS: &str = "run as the owner of the layout";
const IN_USE: &str = "it is used by another program or a mount; try again later";

#[test]
fn a_lock_that_cannot_be_created_or_opened_has_a_hint() {
    if !has_strace() {
        return;
    }
    let recorded = FullLayout::new();
    let recording = Recording::of(&["openat"], &RM.on(recorded.path()));
    let name = format!("\"{LOCK}\"");
    let numbers = recording.numbers("openat", recorded.path(), |call| {
        call.text.contains(&name) && call.text.contains("O_CREAT")
    });
    let number = numbers.first().expect("a lock is made");
    for (error, hint) in [
        ("EACCES", RIGHTS),
        ("EPERM", RIGHTS),
        ("EBUSY", IN_USE),
        ("EROFS", "work on a read-only file system"),
    ] {
        let fixture = FullLayout::new();
        let injection = format!("openat:error={error}:when={number}");
        let failed = Disturbed::by(&injection, &RM.on(fixture.path()));
        let path = fixture.path().join(LOCK);
        failed
            .run
            .exits(4)
            .warns(&format!("`{}`", path.display()))
            .warns(hint);
        assert!(fixture.has(&fixture.one.manifest), "{}", failed.run.all());
    }
}

#[test]
fn an_index_that_cannot_be_replaced_has_a_hint() {
    if !has_strace() {
        return;
    }
    let recorded = FullLayout::new();
    let recording = Recording::of(&["openat", "renameat2"], &RM.on(recorded.path()));
    let numbers = recording.numbers("renameat2", recorded.path(), |call| {
        call.text.contains("\"index.json\"")
    });
    let number = numbers.first().expect("the index is replaced");
    for (error, hint) in [("EACCES", RIGHTS), ("EPERM", RIGHTS), ("EBUSY", IN_USE)] {
        let fixture = FullLayout::new();
        let injection = format!("renameat2:error={error}:when={number}");
        let failed = Disturbed::by(&injection, &RM.on(fixture.path()));
        let path = fixture.path().join("index.json");
        failed.run.exits(4).warns(&format!("`{}`", path.display()));
        failed.run.warns(hint);
        assert!(fixture.has(&fixture.one.manifest), "{}", failed.run.all());
    }
}

/// Five hundred files that cannot be deleted are one line; `-v` names them.
#[test]
fn many_files_that_cannot_be_deleted_are_counted_in_one_line() {
    if !has_strace() {
        return;
    }
    const FILES: usize = 500;
    for verbose in [false, true] {
        let fixture = FullLayout::new();
        for number in 0..FILES {
            fixture.builder.layer(format!("orphan {number}").as_bytes());
        }
        fixture.make_old();
        let mut line = GC.on(fixture.path());
        line.extend(args(verbose.then_some("-v")));
        let failed = Disturbed::by("unlinkat:error=EPERM", &line);
        let run = &failed.run;
        run.exits(1);
        let errors: Vec<&str> = run
            .stderr
            .lines()
            .filter(|line| line.contains("cannot delete"))
            .collect();
        let [error] = errors[..] else {
            panic!("{errors:?}");
        };
        // The orphans and the temporary files of the fixture as well.
        let count: usize = error
            .split_once("cannot delete ")
            .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("{error}"));
        assert!(count >= FILES, "{error}");
        assert!(error.contains("the first of them"), "{error}");
        run.warns("`-v` names all of them");
        let named = run.stderr.matches("not deleted: ").count();
        assert_eq!(named, if verbose { count } else { 0 }, "{error}");
    }
}

/// A blob whose size the system does not report counts as 0 bytes, and this is reported.
#[test]
fn a_live_blob_that_cannot_be_measured_is_reported() {
    if !has_strace() {
        return;
    }
    for (command, total) in [
        (&["df"][..], "RECLAIMABLE"),
        (&["df", "--format", "json"], "reclaimable_bytes"),
        (&["df", "-v"], "Images"),
        (
            &["prune", "-n", "-a", "--max-size", "1GB"],
            "nothing was changed",
        ),
        (
            &["prune", "-n", "-a", "--max-size", "1GB", "-r"],
            "for 2 layouts together",
        ),
    ] {
        let fixture = FullLayout::new();
        // A budget of several layouts depends on each of them.
        let other = FullLayout::new();
        let with_other = |mut line: Vec<OsString>| {
            if command.contains(&"-r") {
                line.push(other.path().into());
            }
            line
        };
        // The size of listed images is read earlier, and the error then ends the whole command.
        let layer = &fixture.orphans[3];
        let list = serde_json::json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": media::LAYER,
                "digest": layer.digest,
                "size": layer.size,
            }],
        });
        fixture
            .builder
            .file("hauler-index.json", list.to_string().as_bytes());
        let mut line = args(command);
        line.push(fixture.path().into());
        let name = Path::new(layer.hex());
        let failed = Disturbed::on(&[name], "newfstatat:error=EIO", &with_other(line));
        assert!(failed.faults > 0, "{}", failed.run.all());
        failed
            .run
            .exits(4)
            .says(total)
            .warns(&format!("cannot measure {}", layer.digest))
            .warns("Input/output error")
            .warns("counted as 0B");
        let mut line = args(command);
        line.push(fixture.path().into());
        Cmd::new(with_other(line)).run().ok();
    }
}
