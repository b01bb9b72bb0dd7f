//! Several layouts: a tree of them, and a pool of blobs.

use std::fs;

use crate::cli::shelf::Shelf;

/// Moves the layouts into a tree, one of them damaged.
fn tree() -> Shelf {
    let shelf = Shelf::new(&["bkcache-max", "oras-retag", "skopeo-old-tags", "umoci-new"]);
    let root = shelf.blob("umoci-new", "432956dc8772");
    fs::write(root, "damaged").expect("a blob can be damaged");
    for (from, to) in [
        ("bkcache-max", "tree/ci/cache"),
        ("oras-retag", "tree/mirror"),
        ("skopeo-old-tags", "tree/mirror/nested"),
        ("umoci-new", "tree/damaged"),
    ] {
        let to = shelf.join(to);
        let parent = to.parent().expect("it lies in the tree");
        fs::create_dir_all(parent).expect("directories can be made");
        fs::rename(shelf.join(from), to).expect("a layout can be moved");
    }
    shelf
}

#[test]
fn a_tree() {
    let mut shelf = tree();
    shelf.run(&["ls", "-r", "tree"]).ok();
    shelf.run(&["df", "-r", "tree"]).ok();
    shelf.run(&["gc", "-n", "-q", "-r", "tree"]).refused();
    shelf.run(&["prune", "-n", "-r", "tree/mirror"]).ok();
    shelf.run(&["prune", "-f", "-r", "tree"]).refused();
    shelf
        .run(&["gc", "-r", "tree/mirror", "tree/mirror/nested"])
        .ok();
    shelf.run(&["gc", "tree/mirror", "tree/./mirror"]).ok();
    shelf.run(&["gc", "-r", "tree/ci/cache/blobs"]).refused();
    shelf.matches("many");
}

#[test]
fn a_tree_as_json() {
    let mut shelf = tree();
    shelf
        .run(&["df", "--format", "json", "-r", "tree/mirror"])
        .ok();
    shelf
        .run(&["prune", "-f", "--format", "json", "-r", "tree/mirror"])
        .ok();
    shelf.matches("many-json");
}

#[test]
fn a_pool() {
    let mut shelf = Shelf::new(&["skopeo-shared", "lxc-shared"]);
    let orphan = shelf
        .join("skopeo-shared/shared/sha256")
        .join("ab".repeat(32));
    fs::write(&orphan, "an orphan").expect("a blob can be written");
    let old = std::time::SystemTime::UNIX_EPOCH;
    crate::support::layout::set_modified(&orphan, old);
    let (one, two) = ("skopeo-shared/one", "skopeo-shared/two");
    let pool = ["--shared-blobs", "skopeo-shared/shared"];
    shelf.run(&[&["ls"][..], &pool, &[one, two]].concat()).ok();
    shelf.run(&[&["df"][..], &pool, &[one, two]].concat()).ok();
    shelf.run(&[&["gc"][..], &pool, &[one, two]].concat()).ok();
    let prune = ["prune", "-n", "-v", "-a", "--filter", "reference=m"];
    shelf.run(&[&prune[..], &pool, &[one, two]].concat()).ok();
    shelf
        .run(&[&["gc"][..], &pool, &[one, "lxc-shared/c1/oci"]].concat())
        .refused();
    shelf
        .run(&["gc", "--shared-blobs", "skopeo-shared", one, two])
        .refused();
    shelf.run(&["rm", "lxc-shared/c1/oci", "*"]);
    shelf.matches("pool");
}
