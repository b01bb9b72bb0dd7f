//! Several layouts: a tree of them, and layouts with shared blobs.

use std::fs;

use crate::support::TestDir;

/// Moves the layouts into a tree, one of them damaged.
fn tree() -> TestDir {
    let dir = TestDir::with_cases(&["bkcache-max", "oras-retag", "skopeo-old-tags", "umoci-new"]);
    let root = dir.blob("umoci-new", "432956dc8772");
    fs::write(root, "damaged").expect("a blob can be damaged");
    for (from, to) in [
        ("bkcache-max", "tree/ci/cache"),
        ("oras-retag", "tree/mirror"),
        ("skopeo-old-tags", "tree/mirror/nested"),
        ("umoci-new", "tree/damaged"),
    ] {
        let to = dir.join(to);
        let parent = to.parent().expect("it lies in the tree");
        fs::create_dir_all(parent).expect("directories can be made");
        fs::rename(dir.join(from), to).expect("a layout can be moved");
    }
    dir
}

#[test]
fn a_tree() {
    let mut dir = tree();
    dir.run_noted(&["ls", "-r", "tree"]).ok();
    dir.run_noted(&["df", "-r", "tree"]).ok();
    dir.run_noted(&["gc", "-n", "-q", "-r", "tree"]).refused();
    dir.run_noted(&["prune", "-n", "-r", "tree/mirror"]).ok();
    dir.run_noted(&["prune", "-f", "-r", "tree"]).refused();
    dir.run_noted(&["gc", "-r", "tree/mirror", "tree/mirror/nested"])
        .ok();
    dir.run_noted(&["gc", "tree/mirror", "tree/./mirror"]).ok();
    dir.run_noted(&["gc", "-r", "tree/ci/cache/blobs"])
        .refused();
    dir.matches("many");
}

#[test]
fn a_tree_as_json() {
    let mut dir = tree();
    dir.run_noted(&["df", "--format", "json", "-r", "tree/mirror"])
        .ok();
    dir.run_noted(&["prune", "-f", "--format", "json", "-r", "tree/mirror"])
        .ok();
    dir.matches("many-json");
}

#[test]
fn shared_blobs() {
    let mut dir = TestDir::with_cases(&["skopeo-shared", "lxc-shared"]);
    let orphan = dir
        .join("skopeo-shared/shared/sha256")
        .join("ab".repeat(32));
    fs::write(&orphan, "an orphan").expect("a blob can be written");
    let old = std::time::SystemTime::UNIX_EPOCH;
    crate::support::layout::set_modified(&orphan, old);
    let (one, two) = ("skopeo-shared/one", "skopeo-shared/two");
    let pool = ["--shared-blobs", "skopeo-shared/shared"];
    dir.run_noted(&[&["ls"][..], &pool, &[one, two]].concat())
        .ok();
    dir.run_noted(&[&["df"][..], &pool, &[one, two]].concat())
        .ok();
    dir.run_noted(&[&["gc"][..], &pool, &[one, two]].concat())
        .ok();
    let prune = ["prune", "-n", "-v", "-a", "--filter", "reference=m"];
    dir.run_noted(&[&prune[..], &pool, &[one, two]].concat())
        .ok();
    dir.run_noted(&[&["gc"][..], &pool, &[one, "lxc-shared/c1/oci"]].concat())
        .refused();
    dir.run_noted(&["gc", "--shared-blobs", "skopeo-shared", one, two])
        .refused();
    dir.run_noted(&["rm", "lxc-shared/c1/oci", "*"]);
    dir.matches("pool");
}
