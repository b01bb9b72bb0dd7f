//! Errors with their hints.

use std::fs;

use crate::support::TestDir;
use crate::support::layout::FileLock;

#[test]
fn paths_that_are_not_layouts() {
    let mut dir = TestDir::with_cases(&["skopeo-dir", "bk-sbom"]);
    for directory in [
        "registry/docker/registry/v2",
        "store/blobs/sha256",
        "store/ingest",
        "begun/blobs/sha256",
        "empty",
    ] {
        fs::create_dir_all(dir.join(directory)).expect("a directory can be made");
    }
    fs::write(
        dir.join("begun/oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .expect("a file can be made");
    fs::write(
        dir.join("bk-sbom/oci-layout"),
        r#"{"imageLayoutVersion":"2.0.0"}"#,
    )
    .expect("a file can be made");
    let tar = crate::support::transcript::package().join("testdata/corpus/skopeo-dir.tar");
    fs::copy(tar, dir.join("image.tar")).expect("a file can be copied");
    for layout in [
        "skopeo-dir",
        "registry",
        "store",
        "begun",
        "empty",
        "bk-sbom",
        "image.tar",
    ] {
        dir.run_noted(&["gc", layout]).refused();
    }
    dir.run_noted(&["gc", "nowhere"]).exits(4);
    dir.matches("refused-no-layout");
}

#[test]
fn layouts_that_cannot_be_swept_safely() {
    let mut dir = TestDir::with_cases(&[
        "lxc-shared",
        "skopeo-shared",
        "bkcache-max",
        "bkcache-min",
        "bk-multi",
    ]);
    let empty = r#"{"schemaVersion":2,"manifests":[]}"#;
    fs::write(dir.join("bkcache-min/index.json"), empty).expect("a file can be written");
    let root = dir.blob("bkcache-max", "19929b8ee442");
    fs::write(root, "damaged").expect("a blob can be damaged");
    let child = dir.blob("bk-multi", "d4d8122b37b8");
    fs::write(child, "damaged").expect("a blob can be damaged");
    for layout in [
        "lxc-shared/c1/oci",
        "skopeo-shared/one",
        "bkcache-min",
        "bkcache-max",
        "bk-multi",
    ] {
        dir.run_noted(&["gc", layout]).refused();
    }
    fs::write(dir.join("bkcache-min/index.json"), &empty[..20]).expect("a file can be written");
    dir.run_noted(&["gc", "bkcache-min"]).refused();
    dir.run_noted(&["rm", "bkcache-max", "latest"]).ok();
    dir.matches("refused-unsafe");
}

#[test]
fn busy() {
    let mut dir = TestDir::with_cases(&["umoci-new"]);
    let lock = fs::File::create(dir.join("umoci-new/index.json.lock")).expect("a lock file");
    let _lock = FileLock::of(lock);
    dir.run_noted(&["gc", "--lock-wait", "0", "umoci-new"])
        .exits(6);
    dir.run_noted(&["rm", "--lock-wait", "0", "umoci-new", "base"])
        .exits(6);
    // Reading needs no lock.
    dir.run_noted(&["gc", "-n", "umoci-new"]).ok();
    let name = fs::read_to_string("/proc/self/comm").expect("a name");
    let holder = format!("process {} ({})", std::process::id(), name.trim_end());
    dir.text = dir.text.replace(&holder, "[HOLDER]");
    dir.matches("busy");
}

#[test]
fn ambiguous_images() {
    let mut dir = TestDir::with_cases(&["skopeo-old-tags", "regctl", "docker-save-names"]);
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
        dir.run_noted(args).exits(1);
    }
    dir.run_noted(&["rm", "-f", "skopeo-old-tags", "x"]).ok();
    dir.matches("refused-which");
}

#[test]
fn held_images_and_the_last_of_their_kind() {
    let mut dir = TestDir::with_cases(&["docker-save-names", "bk-sbom", "regctl"]);
    dir.run_noted(&["hold", "add", "docker-save-names", "release", "app"])
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
        dir.run_noted(args).exits(1);
    }
    dir.run_noted(&["prune", "-f", "-a", "bk-sbom"]).refused();
    dir.run_noted(&[
        "prune",
        "-n",
        "-a",
        "--max-size",
        "1kB",
        "docker-save-names",
    ])
    .exits(5);
    dir.matches("refused-held");
}

#[test]
fn invalid_command_lines() {
    let mut dir = TestDir::with_cases(&["bk-sbom"]);
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
        dir.run_noted(args).exits(2);
    }
    dir.matches("usage");
}
