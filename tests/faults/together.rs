//! Several runs of the program on one layout at the same time: each does its work, and nothing else is lost.

use std::collections::BTreeSet;
use std::thread;

use crate::pools::{Commune, NAMES};
use crate::support::{Cmd, Image, LayoutBuilder, blobs, digest_of};

/// The number of concurrent processes.
const RUNS: usize = 8;

/// The number of images that each of them removes.
const IMAGES: usize = 5;

#[test]
fn eight_concurrent_runs_succeed_and_lose_nothing() {
    let mut layout = LayoutBuilder::new();
    let mut kept: Vec<Image> = Vec::new();
    for run in 0..RUNS {
        for number in 0..IMAGES {
            let own = format!("run {run} layer {number}");
            let salt = format!("{run} {number}");
            let image = layout.image("linux/amd64", &salt, &[b"base", own.as_bytes()]);
            layout.tag(&image.manifest, &format!("gone:{run}-{number}"));
        }
        let own = format!("kept {run}");
        let image = layout.image("linux/amd64", &own, &[b"base", own.as_bytes()]);
        let index = layout.index(&[image.manifest.clone().platform("linux/amd64")]);
        layout.tag(&index, &format!("kept:{run}"));
        kept.push(image);
    }
    layout.write();
    let path = layout.path();
    let waiting = ["--lock-wait", "120s"];
    thread::scope(|scope| {
        for run in 0..RUNS {
            scope.spawn(move || {
                for number in 0..IMAGES {
                    let image = format!("gone:{run}-{number}");
                    let rm = Cmd::new(["rm"]).arg(path).arg(&image).args(waiting);
                    rm.run().ok();
                    let call: &[&str] = match (run + number) % 6 {
                        0 => &["gc", "--grace", "0"],
                        1 => &["ls"],
                        2 => &["df"],
                        3 => &["check"],
                        4 => &["prune", "-f"],
                        _ => &["blobs", "--live"],
                    };
                    let call = Cmd::new(call).arg(path);
                    call.run().ok();
                }
            });
        }
    });
    Cmd::gc(path).run().ok();
    Cmd::new(["check"]).arg(path).run().ok();
    let left: BTreeSet<String> = blobs(path).into_keys().collect();
    for image in &kept {
        for digest in image.digests() {
            assert!(left.contains(&digest), "{digest} is gone");
        }
    }
    // Manifest, configuration, index and own layer of each, and the layer of all.
    assert_eq!(left.len(), RUNS * 4 + 1, "{left:?}");
}

/// Holds and removals change every layout all the time: a run that planned without the lock would find another state each
/// time.
#[test]
fn concurrent_runs_on_shared_blobs_and_holds_succeed() {
    let commune = Commune::new();
    // `hold` needs the image, and is run without `--shared-blobs`: each layout has a link to the shared blobs.
    for name in NAMES {
        let own = commune.layout(name).join("blobs/sha256");
        let above = own.parent().expect("it is below the layout");
        std::fs::create_dir_all(above).expect("it can be made");
        std::os::unix::fs::symlink(commune.pool().join("sha256"), &own).expect("a link");
    }
    let waiting = ["--lock-wait", "120s"];
    thread::scope(|scope| {
        for run in 0..RUNS {
            let commune = &commune;
            scope.spawn(move || {
                for number in 0..2 * IMAGES {
                    // All of them change the first layout, and each sweep has something to delete.
                    let layout = commune.layout(NAMES[0]);
                    let orphan = format!("orphan {run} {number}");
                    let name = digest_of("sha256", orphan.as_bytes()).replacen(':', "/", 1);
                    std::fs::write(commune.pool().join(name), orphan).expect("there is room");
                    let hold = format!("hold-{run}-{number}");
                    let add = Cmd::new(["hold", "add"]).arg(&layout);
                    add.args([&hold, "stays:1"]).args(waiting).run().ok();
                    let sweep: &[&str] = if number % 2 == 0 {
                        &["gc"]
                    } else {
                        &["prune", "-f"]
                    };
                    let sweep = Cmd::new(sweep).args(["--grace", "0", "--shared-blobs"]);
                    let sweep = sweep.arg(commune.pool()).args(waiting);
                    let sweep = NAMES
                        .iter()
                        .fold(sweep, |sweep, name| sweep.arg(commune.layout(name)));
                    sweep.run().ok();
                    let end = Cmd::new(["hold", "rm"]).arg(&layout).arg(&hold);
                    end.args(waiting).run().ok();
                }
            });
        }
    });
    for name in NAMES {
        let layout = commune.layout(name);
        let ls = Cmd::new(["hold", "ls", "--format", "json"])
            .arg(&layout)
            .run();
        let holds = &ls.ok().json()["holds"];
        assert_eq!(holds.as_array().map(Vec::len), Some(0), "{}", ls.all());
    }
}
