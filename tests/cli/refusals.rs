//! Errors, with the hints that lead out of them.

use std::fs;

use rustix::fs::{FlockOperation, flock};

use crate::cli::shelf::Shelf;

#[test]
fn what_is_no_layout() {
    let mut shelf = Shelf::new(&["skopeo-dir", "bk-sbom"]);
    for directory in [
        "registry/docker/registry/v2",
        "store/blobs/sha256",
        "store/ingest",
        "begun/blobs/sha256",
        "empty",
    ] {
        fs::create_dir_all(shelf.join(directory)).expect("a directory can be made");
    }
    fs::write(
        shelf.join("begun/oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .expect("a file can be made");
    fs::write(
        shelf.join("bk-sbom/oci-layout"),
        r#"{"imageLayoutVersion":"2.0.0"}"#,
    )
    .expect("a file can be made");
    let tar = crate::cli::shelf::package().join("testdata/corpus/bk-sbom.tar");
    fs::copy(tar, shelf.join("image.tar")).expect("a file can be copied");
    for layout in [
        "skopeo-dir",
        "registry",
        "store",
        "begun",
        "empty",
        "bk-sbom",
        "image.tar",
    ] {
        shelf.run(&["gc", layout]).refused();
    }
    shelf.run(&["gc", "nowhere"]).exits(4);
    shelf.matches("refused-no-layout");
}

#[test]
fn what_cannot_be_swept_safely() {
    let mut shelf = Shelf::new(&[
        "lxc-shared",
        "skopeo-shared",
        "bkcache-max",
        "bkcache-min",
        "bk-multi",
    ]);
    let empty = r#"{"schemaVersion":2,"manifests":[]}"#;
    fs::write(shelf.join("bkcache-min/index.json"), empty).expect("a file can be written");
    let root = shelf.blob("bkcache-max", "19929b8ee442");
    fs::write(root, "damaged").expect("a blob can be damaged");
    let child = shelf.blob("bk-multi", "d4d8122b37b8");
    fs::write(child, "damaged").expect("a blob can be damaged");
    for layout in [
        "lxc-shared/c1/oci",
        "skopeo-shared/one",
        "bkcache-min",
        "bkcache-max",
        "bk-multi",
    ] {
        shelf.run(&["gc", layout]).refused();
    }
    fs::write(shelf.join("bkcache-min/index.json"), &empty[..20]).expect("a file can be written");
    shelf.run(&["gc", "bkcache-min"]).refused();
    shelf.run(&["rm", "bkcache-max", "latest"]).ok();
    shelf.matches("refused-unsafe");
}

#[test]
fn busy() {
    let mut shelf = Shelf::new(&["umoci-new"]);
    let lock = fs::File::create(shelf.join("umoci-new/index.json.lock")).expect("a lock file");
    flock(&lock, FlockOperation::LockExclusive).expect("it can be locked");
    shelf.run(&["gc", "--lock-wait", "0", "umoci-new"]).exits(6);
    shelf
        .run(&["rm", "--lock-wait", "0", "umoci-new", "base"])
        .exits(6);
    // Nobody needs a lock to look.
    shelf.run(&["gc", "-n", "umoci-new"]).ok();
    shelf.matches("busy");
}

#[test]
fn which_image_is_meant() {
    let mut shelf = Shelf::new(&["skopeo-old-tags", "regctl", "docker-save-names"]);
    let child = "sha256:c6dc3ecb26255ef87cef8143f22c26b5504ae4884956d144f6412e2433f46566";
    for args in [
        &["rm", "skopeo-old-tags", "x"][..],
        &["rm", "skopeo-old-tags", "zz*"],
        &["rm", "skopeo-old-tags", "[a"],
        &["rm", "skopeo-old-tags", "fe80"],
        &["rm", "skopeo-old-tags", ""],
        &["rm", "skopeo-old-tags", "<none>"],
        &["rm", "docker-save-names", "ap:v1"],
        &["rm", "docker-save-names", "v1"],
        &["rm", "regctl", child],
    ] {
        shelf.run(args).exits(1);
    }
    shelf.run(&["rm", "-f", "skopeo-old-tags", "x"]).ok();
    shelf.matches("refused-which");
}

#[test]
fn what_is_held_or_the_last_of_its_kind() {
    let mut shelf = Shelf::new(&["docker-save-names", "bk-sbom", "regctl"]);
    shelf
        .run(&["hold", "add", "docker-save-names", "release", "app"])
        .ok();
    for args in [
        &["rm", "docker-save-names", "app"][..],
        &["hold", "add", "docker-save-names", "release", "app"],
        &["hold", "add", "docker-save-names", "other", "nothing"],
        &["hold", "rm", "docker-save-names", "other"],
        &["rm", "bk-sbom", "ex.com/sbom", "--platform", "linux/arm64"],
        &[
            "rm",
            "bk-sbom",
            "ex.com/sbom:v1",
            "--platform",
            "linux/s390x",
        ],
        &[
            "rm",
            "bk-sbom",
            "ex.com/sbom:v1",
            "--platform",
            "linux/amd64,linux/arm64",
        ],
    ] {
        shelf.run(args).exits(1);
    }
    shelf.run(&["prune", "-f", "-a", "bk-sbom"]).refused();
    shelf
        .run(&[
            "prune",
            "-n",
            "-a",
            "--max-size",
            "1kB",
            "docker-save-names",
        ])
        .exits(5);
    shelf.matches("refused-held");
}

#[test]
fn what_makes_no_sense() {
    let mut shelf = Shelf::new(&["bk-sbom"]);
    for args in [
        &[][..],
        &["sweep"],
        &["gc"],
        &["gc", "--exit-code", "bk-sbom"],
        &["gc", "--grace", "soon", "bk-sbom"],
        &["prune", "bk-sbom"],
        &["prune", "-n", "--max-size", "500", "bk-sbom"],
        &["prune", "-n", "--filter", "nonsense", "bk-sbom"],
        &["prune", "-n", "--filter", "size=1", "bk-sbom"],
        &["prune", "-n", "--filter", "reference=[a", "bk-sbom"],
        &["prune", "-n", "--filter", "until=soon", "bk-sbom"],
        &["ls", "-f", "before=nothing", "bk-sbom"],
        &["rm", "bk-sbom", "ex.com/sbom:v1", "--platform", ""],
        &["rm", "bk-sbom", "ex.com/sbom:v1", "--platform", "linux/*"],
        &["rm", "bk-sbom", "ex.com/sbom:v1", "--platform", "plan9x"],
        &["hold", "add", "bk-sbom", "", "ex.com/sbom:v1"],
        &[
            "hold",
            "add",
            "bk-sbom",
            "week",
            "ex.com/sbom:v1",
            "--until",
            "soon",
        ],
    ] {
        shelf.run(args).exits(2);
    }
    shelf.matches("usage");
}
