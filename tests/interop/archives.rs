//! Archives that were slimmed, read again by skopeo, umoci, podman and buildah.

use crate::support::environment::{has_tools, is_root, skip};
use crate::support::run::new_command;
use crate::support::{ClientDir, Cmd, Run};

/// Packs a layout as users do.
fn pack(shop: &ClientDir, layout: &str, archive: &str) {
    let status = new_command("tar")
        .args(["-cf", archive, "-C", layout, "."])
        .current_dir(shop.path())
        .status()
        .expect("tar can be started");
    assert!(status.success());
}

fn text(shop: &ClientDir, name: &str) -> String {
    let path = shop.join(name);
    path.to_str().expect("a path of a test").to_owned()
}

#[test]
fn every_tag_of_a_slimmed_archive_can_still_be_read() {
    let Some(shop) = ClientDir::new() else { return };
    shop.init("images");
    shop.new_image("images:base");
    for tag in ["one", "two", "three"] {
        shop.insert("images:base", tag, "a separate file", Some(tag));
    }
    // The previous image of a tag is garbage.
    shop.insert("images:two", "more", "another file", None);
    pack(&shop, "images", "images.tar");
    let inspect = |tag: &str| {
        let image = format!("oci-archive:images.tar:{tag}");
        shop.skopeo(&["inspect", &image]).stdout
    };
    let before = ["one", "three"].map(inspect);
    let archive = text(&shop, "images.tar");
    Cmd::new(["rm", &archive, "two", "--grace", "0"]).run().ok();
    let run = Cmd::new(["gc", &archive, "--grace", "0"]).run();
    run.ok().says("Deleted:");
    assert_eq!(["one", "three"].map(inspect), before);
    let gone = shop.attempt("skopeo", &["inspect", "oci-archive:images.tar:two"]);
    assert_ne!(gone.code, Some(0), "{}", gone.all());
    // All blobs of kept images exist.
    for tag in ["one", "three", "base"] {
        let (from, to) = (
            format!("oci-archive:images.tar:{tag}"),
            format!("oci:copy:{tag}"),
        );
        shop.copy(&from, &to, &[]);
    }
    Cmd::new(["check", &archive]).run().ok();
    // umoci reads directories only.
    let unpacked = new_command("sh")
        .args(["-c", "mkdir again && tar -C again -xf images.tar"])
        .current_dir(shop.path())
        .status();
    assert!(unpacked.expect("sh can be started").success());
    let tags = shop.umoci(&["ls", "--layout", "again"]).stdout;
    assert_eq!(tags.lines().collect::<Vec<_>>(), ["base", "one", "three"]);
    for tag in ["one", "three"] {
        let bundle = format!("bundle-{tag}");
        shop.unpack(&format!("again:{tag}"), &bundle);
        let file = shop.join(&bundle).join("rootfs").join(tag);
        let text = std::fs::read_to_string(file).expect("it was unpacked");
        assert_eq!(text, "a separate file");
    }
}

#[test]
fn an_archive_that_skopeo_wrote_is_slimmed_and_read_again() {
    let Some(shop) = ClientDir::new() else { return };
    shop.init("images");
    shop.new_image("images:base");
    shop.insert("images:base", "file", "content", Some("app"));
    shop.copy("oci:images:app", "oci-archive:app.tar:app", &[]);
    let archive = text(&shop, "app.tar");
    Cmd::new(["ls", &archive]).run().ok().says("app");
    Cmd::new(["check", &archive]).run().ok();
    for compress in ["gzip", "zstd"] {
        let out = text(&shop, "packed");
        let run = Cmd::new(["gc", &archive, "-o", &out, "--compress", compress]);
        run.run().ok();
        Cmd::new(["check", &out]).run().ok();
    }
    shop.copy("oci-archive:app.tar:app", "oci:copy:app", &[]);
}

#[test]
fn a_docker_archive_loses_a_name_and_is_read_again() {
    let Some(shop) = ClientDir::new() else { return };
    shop.init("images");
    shop.new_image("images:base");
    shop.insert("images:base", "file", "content", Some("app"));
    let flags = ["--additional-tag", "docker.io/library/app:2"];
    shop.copy("oci:images:app", "docker-archive:app.tar:app:1", &flags);
    let archive = text(&shop, "app.tar");
    let inspect = || {
        shop.skopeo(&["inspect", "docker-archive:app.tar:app:1"])
            .stdout
    };
    let before = inspect();
    let names = |text: &str| text.contains("app:1") || text.contains("app");
    assert!(names(&Cmd::new(["ls", &archive]).run().ok().stdout));
    let run = Cmd::new(["rm", &archive, "app:2"]).run();
    run.ok().says("Untagged: app:2");
    assert_eq!(inspect(), before);
    shop.copy("docker-archive:app.tar:app:1", "oci:copy:app", &[]);
}

/// `podman` or `buildah` with a storage of its own.
fn engine(shop: &ClientDir, program: &str, args: &[&str]) -> Run {
    let (root, run_root) = (text(shop, "root"), text(shop, "run"));
    let storage = ["--root", &root, "--runroot", &run_root];
    let driver = ["--storage-driver", "vfs"];
    shop.attempt(program, &[&storage[..], &driver, args].concat())
}

#[test]
fn podman_and_buildah_read_slimmed_archives() {
    if !has_tools(&["podman", "buildah"]) {
        return;
    }
    if !is_root() {
        skip("podman and buildah need root, or a user with subordinate IDs");
        return;
    }
    let Some(shop) = ClientDir::new() else { return };
    shop.init("images");
    shop.new_image("images:base");
    for tag in ["one", "two"] {
        shop.insert("images:base", tag, "a separate file", Some(tag));
    }
    pack(&shop, "images", "images.tar");
    let archive = text(&shop, "images.tar");
    Cmd::new(["rm", &archive, "base"]).run().ok();
    Cmd::new(["gc", &archive, "--grace", "0"]).run().ok();
    for tag in ["one", "two"] {
        let from = format!("oci-archive:images.tar:{tag}");
        let run = engine(&shop, "buildah", &["from", "--name", tag, &from]);
        run.ok();
    }
    // podman loads an archive of one image only.
    engine(&shop, "podman", &["load", "-i", &archive]).exits(125);
    for compress in ["none", "gzip", "zstd"] {
        let out = text(&shop, compress);
        let run = Cmd::new(["rm", &archive, "two", "-o", &out, "--compress", compress]);
        run.run().ok();
        let load = engine(&shop, "podman", &["load", "-i", &out]);
        load.ok().says("Loaded image");
    }
    let id = shop.skopeo(&["inspect", "--raw", "oci-archive:images.tar:one"]);
    let id = id.json();
    let id = id.pointer("/config/digest").and_then(|it| it.as_str());
    let id = id.expect("a manifest has a configuration");
    let images = engine(&shop, "podman", &["images", "--no-trunc", "-q"]);
    images.ok().says(id);
}
