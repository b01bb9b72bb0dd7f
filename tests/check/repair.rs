//! `check --repair`: missing or damaged blobs are replaced with intact copies, and nothing else is changed.

use std::fs;
use std::path::Path;

use crate::support::environment::memory_dir;
use crate::support::{Cmd, IntactLayout, assert_same, snapshot, without_directory_times};

fn copy(from: &Path, to: &Path) {
    for path in snapshot(from).keys() {
        let (source, target) = (from.join(path), to.join(path));
        if source.is_dir() {
            fs::create_dir_all(&target).expect("a directory can be made");
        } else {
            fs::copy(&source, &target).expect("a file can be copied");
        }
    }
}

/// A fixture with a missing, a truncated, a wrong and a too long blob, including documents; and an intact copy of it.
fn damaged() -> (IntactLayout, tempfile::TempDir) {
    let fixture = IntactLayout::new();
    let mirror = memory_dir();
    copy(fixture.path(), mirror.path());
    let path = |desc: &crate::support::Desc| fixture.builder.join(&desc.blob_path());
    fs::remove_file(path(&fixture.one.manifest)).expect("it is there");
    fs::remove_file(path(&fixture.one.layers[1])).expect("it is there");
    fs::write(path(&fixture.two.layers[1]), "t").expect("it can be written");
    fs::write(path(&fixture.two.config), "{\"other\":1}").expect("it can be written");
    fs::write(path(&fixture.arm64.layers[1]), "ARM64").expect("it can be written");
    (fixture, mirror)
}

#[test]
fn a_mirror_repairs_a_layout() {
    for below in ["", "blobs"] {
        let (fixture, mirror) = damaged();
        fixture.check(&[]).exits(1);
        let from = mirror.path().join(below);
        let from = from.to_str().expect("a path is text");
        let before = snapshot(mirror.path());
        let run = fixture.check(&["--repair", "--from", from]);
        run.ok()
            .says(&format!(
                "Repaired: {} from {from}",
                fixture.one.manifest.digest
            ))
            .says("no damage in ");
        assert_eq!(run.stdout.matches("Repaired: ").count(), 5, "{}", run.all());
        assert_same(&before, &snapshot(mirror.path()), &run.all());
        let bytes = |path: &Path| {
            let names = snapshot(path).into_iter();
            names
                .map(|(name, stat)| (name, stat.content))
                .collect::<Vec<_>>()
        };
        assert_eq!(bytes(fixture.path()), bytes(mirror.path()), "{}", run.all());
        let again = fixture.check(&["--repair", "--from", from]);
        again.ok().keeps_quiet_about("Repaired: ");
    }
}

#[test]
fn a_copy_that_does_not_match_its_digest_is_refused() {
    let (fixture, mirror) = damaged();
    let wrong = mirror.path().join(fixture.one.layers[1].blob_path());
    fs::write(&wrong, "ONE").expect("it can be written");
    fs::remove_file(mirror.path().join(fixture.two.config.blob_path())).expect("it is there");
    let config = fixture.builder.join(&fixture.two.config.blob_path());
    let before = fs::read(&config).expect("it is there");
    let from = mirror.path().to_str().expect("a path is text");
    let run = fixture.check(&["--repair", "--from", from]);
    run.exits(1)
        .says(&format!("missing: {}", fixture.one.layers[1].digest))
        .says(&fixture.two.config.digest);
    assert_eq!(run.stdout.matches("Repaired: ").count(), 3, "{}", run.all());
    assert!(
        !fixture
            .builder
            .join(&fixture.one.layers[1].blob_path())
            .exists()
    );
    assert_eq!(
        fs::read(&config).expect("it is there"),
        before,
        "{}",
        run.all()
    );
    let litter = snapshot(fixture.path()).into_keys();
    let litter: Vec<_> = litter
        .filter(|path| path.to_string_lossy().contains(".ocisweep-"))
        .collect();
    assert!(litter.is_empty(), "{litter:?}");
}

#[test]
fn the_trash_is_used_first() {
    let fixture = IntactLayout::new();
    let index = fs::read(fixture.builder.join("index.json")).expect("it is there");
    Cmd::new(["rm", "--trash", "--grace", "0"])
        .arg(fixture.path())
        .arg("app:1")
        .run()
        .ok();
    fs::write(fixture.builder.join("index.json"), &index).expect("it can be written");
    // One of them exists again, but is damaged: the copy in the trash is intact.
    fixture
        .builder
        .file(&fixture.one.config.blob_path(), b"damaged");
    let run = fixture.check(&["--repair"]);
    run.ok()
        .says(&format!(
            "Restored: {} from the trash\n",
            fixture.one.manifest.digest
        ))
        .says(&format!("Repaired: {} from ", fixture.one.config.digest));
    let json = fixture.check(&["--repair", "--format", "json"]);
    assert!(json.ok().json().pointer("/layouts/0/repaired").is_none());
}

#[test]
fn a_source_that_does_not_exist_is_an_error_before_anything_is_changed() {
    let (fixture, _mirror) = damaged();
    let before = without_directory_times(&snapshot(fixture.path()));
    let run = fixture.check(&["--repair", "--from", "/nowhere/at/all"]);
    run.exits(4).warns("/nowhere/at/all");
    let now = without_directory_times(&snapshot(fixture.path()));
    assert_same(&before, &now, &run.all());
    fixture.check(&["--from", "/tmp"]).exits(2);
    fixture
        .check(&["--repair"])
        .exits(1)
        .keeps_quiet_about("Repaired: ");
}
