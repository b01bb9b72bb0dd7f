//! Several runs of the program on one layout at the same time: each does what it was asked, and nothing else is lost.

use std::collections::BTreeSet;
use std::thread;

use crate::support::{Cmd, Image, LayoutBuilder, blobs};

/// How many processes run at the same time.
const RUNS: usize = 8;

/// How many images each of them removes.
const IMAGES: usize = 5;

#[test]
fn eight_runs_beside_one_another_end_well_and_lose_nothing() {
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
