//! The layouts of a running zot are busy.

use std::fs::{self, File};

use crate::support::layout::FileLock;
use crate::support::test_dir::of_layouts;
use crate::support::{TestDir, assert_same, snapshot, without_directory_times};

/// The first bytes of a bbolt database: a page header, then the magic number.
fn database() -> Vec<u8> {
    let mut bytes = vec![0; 16];
    bytes.extend(0xED0C_DAED_u32.to_le_bytes());
    bytes.resize(4096, 0);
    bytes
}

fn held(path: &std::path::Path) -> FileLock {
    FileLock::of(File::open(path).expect("the database exists"))
}

#[test]
fn everything_below_its_database_is_busy_until_it_stops() {
    for name in ["cache.db", "meta.db"] {
        let fixture = TestDir::new();
        fixture.layout("registry/org/app");
        fixture.layout("registry/org/app/debug");
        fixture.layout("beside");
        let path = fixture.join("registry").join(name);
        fs::write(&path, database()).expect("a file can be written");
        let zot = held(&path);
        let picture = || without_directory_times(&snapshot(&fixture.join("registry")));
        let before = picture();
        for command in [
            &["gc", "--grace", "0"][..],
            &["prune", "-f", "--grace", "0"],
        ] {
            let args = [command, &["--lock-wait", "0s", "--format", "json"]].concat();
            let one = fixture.run(&[&args[..], &["registry/org/app"]].concat());
            one.exits(6).one_error_with_hint();
            one.warns(&format!(
                "zot is running and has `{}` locked",
                path.display()
            ));
            let all = fixture.run(&[&args[..], &["-r", "registry"]].concat());
            let json = all.exits(6).json();
            assert_eq!(of_layouts(&json, "state"), ["busy", "busy"]);
            assert_same(&before, &picture(), &all.all());
        }
        // It affects neither layouts elsewhere nor commands that only read.
        fixture.run(&["gc", "--grace", "0", "beside"]).ok();
        fixture
            .run(&["gc", "-n", "--grace", "0", "registry/org/app"])
            .ok();
        fixture.run(&["df", "-r", "registry"]).ok();
        drop(zot);
        let run = fixture.run(&["gc", "--grace", "0", "-r", "registry"]);
        run.ok().says("Total reclaimed space: 58B");
    }
}

#[test]
fn a_database_that_is_not_locked_or_not_a_database_is_not_zot() {
    let fixture = TestDir::new();
    fixture.layout("registry/app");
    let path = fixture.join("registry/cache.db");
    fs::write(&path, database()).expect("a file can be written");
    let gc = ["gc", "-n", "--exit-code", "--grace", "0", "registry/app"];
    fixture.run(&gc).exits(10);
    let other = fixture.join("cache.db");
    fs::write(&other, vec![b'x'; 4096]).expect("a file can be written");
    let _held = held(&other);
    fixture.run(&["gc", "--grace", "0", "registry/app"]).ok();
    fixture.run(&gc).ok();
}
