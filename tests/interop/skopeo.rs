//! Layouts written by skopeo: copies, overwritten tags, docker's types, archives, indexes of several platforms.

use std::fs;

use serde_json::{Value, json};

use crate::interop::seen::{Readers, see, tags};
use crate::interop::workshop::Workshop;
use crate::support::{Cmd, Snapshot, blobs, media, sha256, snapshot};

/// Builds images of umoci to copy from: `one` and `two` share a layer, `three` shares nothing.
fn sources(shop: &Workshop) {
    shop.init("source");
    shop.new_image("source:one");
    shop.insert("source:one", "shared", "a layer that both have", None);
    shop.insert("source:one", "own", "of the second only", Some("two"));
    shop.insert("source:one", "own", "of the first only", None);
    shop.new_image("source:three");
    shop.insert("source:three", "own", "of the third only", None);
}

/// Copies an image into the layout under test.
fn take(shop: &Workshop, tag: &str, to: &str, flags: &[&str]) {
    shop.copy(&format!("oci:source:{tag}"), &format!("oci:{to}"), flags);
}

/// Takes entries out of `index.json` by tag, as a tool does that knows no garbage collection.
fn untag(shop: &Workshop, layout: &str, tag: &str) {
    let image = format!("{layout}:{tag}");
    shop.umoci(&["rm", "--image", &image]);
}

#[test]
fn every_tag_that_skopeo_copied_works_after_a_sweep() {
    let Some(shop) = Workshop::open() else {
        return;
    };
    sources(&shop);
    take(&shop, "one", "layout:first", &[]);
    take(&shop, "two", "layout:second", &[]);
    take(&shop, "one", "layout:overwritten", &[]);
    take(&shop, "two", "layout:overwritten", &[]);
    take(&shop, "three", "layout:dropped", &[]);
    untag(&shop, "layout", "dropped");
    let names = tags(&shop, "layout");
    assert_eq!(names, ["first", "overwritten", "second"]);
    let before = see(&shop, "layout", &names, Readers::UmociAndSkopeo);
    let index = fs::read(shop.path("layout/index.json")).expect("the index can be read");
    let gone = shop.gc("layout");
    assert!(!gone.is_empty(), "the dropped tag left something");
    assert_eq!(
        before,
        see(&shop, "layout", &names, Readers::UmociAndSkopeo)
    );
    let now = fs::read(shop.path("layout/index.json")).expect("the index can be read");
    assert_eq!(now, index, "gc never touches index.json");
}

#[test]
fn what_skopeo_untagged_by_overwriting_stays_whole() {
    let Some(shop) = Workshop::open() else {
        return;
    };
    sources(&shop);
    take(&shop, "one", "layout:tag", &[]);
    let first = see(
        &shop,
        "layout",
        &["tag".to_owned()],
        Readers::UmociAndSkopeo,
    );
    take(&shop, "two", "layout:tag", &[]);
    assert!(
        shop.gc("layout").is_empty(),
        "every entry is a root, tagged or not"
    );
    let digest = &first.get("tag").expect("it was looked at").digest;
    let path = shop.path("layout");
    assert!(blobs(&path).contains_key(digest));
    // It is listed, and as untagged.
    let run = Cmd::new(["ls", "--no-trunc"]).arg(&path).run();
    run.ok().says(digest).says("<none>");
}

/// Copies the only image of a layout and returns its files. By its tag not every skopeo finds an image of docker's types.
fn copy_of_the_only_image(shop: &Workshop, layout: &str) -> Snapshot {
    let copy = shop.text("copy-of-the-only-image");
    shop.copy(&format!("oci:{layout}"), &format!("dir:{copy}"), &[]);
    let mut files = snapshot(&shop.path("copy-of-the-only-image"));
    fs::remove_dir_all(&copy).expect("a copy can be removed");
    for stat in files.values_mut() {
        stat.modified = 0;
    }
    files
}

#[test]
fn images_of_dockers_types_work_after_a_sweep() {
    let Some(shop) = Workshop::open() else {
        return;
    };
    sources(&shop);
    let docker = ["--format", "v2s2"];
    take(&shop, "one", "layout:docker", &docker);
    take(&shop, "two", "layout:docker-two", &docker);
    take(&shop, "three", "layout:three", &[]);
    let index = fs::read_to_string(shop.path("layout/index.json"));
    let index = index.expect("the index can be read");
    assert!(index.contains(media::DOCKER_MANIFEST), "{index}");
    // What becomes garbage shares blobs with what stays.
    untag(&shop, "layout", "docker-two");
    untag(&shop, "layout", "three");
    let before = copy_of_the_only_image(&shop, "layout");
    let gone = shop.gc("layout");
    assert!(gone.len() >= 5, "of two images: {gone:?}");
    assert_eq!(before, copy_of_the_only_image(&shop, "layout"));
    shop.copy("oci:layout", "oci:again:docker", &["--preserve-digests"]);
    assert_eq!(
        blobs(&shop.path("layout")),
        blobs(&shop.path("again")),
        "a copy has what stayed, and no more"
    );
}

#[test]
fn images_that_went_through_a_docker_archive_work_after_a_sweep() {
    let Some(shop) = Workshop::open() else {
        return;
    };
    sources(&shop);
    let archive = shop.text("images.tar");
    let source = format!("docker-archive:{archive}:example.com/app:1");
    shop.copy("oci:source:one", &source, &[]);
    // An archive is no layout, and is called what it is.
    Cmd::gc(&shop.path("images.tar"))
        .run()
        .refused()
        .warns("tar");
    shop.copy(&source, "oci:layout:app", &[]);
    take(&shop, "two", "layout:two", &[]);
    take(&shop, "three", "layout:dropped", &[]);
    untag(&shop, "layout", "dropped");
    shop.copy(&source, "oci:docker:app", &["--format", "v2s2"]);
    take(&shop, "three", "docker:dropped", &["--format", "v2s2"]);
    untag(&shop, "docker", "dropped");

    let names: Vec<String> = ["app", "two"].map(str::to_owned).to_vec();
    let before = see(&shop, "layout", &names, Readers::UmociAndSkopeo);
    assert!(!shop.gc("layout").is_empty());
    assert_eq!(
        before,
        see(&shop, "layout", &names, Readers::UmociAndSkopeo)
    );
    let before = copy_of_the_only_image(&shop, "docker");
    assert!(!shop.gc("docker").is_empty());
    assert_eq!(before, copy_of_the_only_image(&shop, "docker"));

    // And back again.
    let back = format!("docker-archive:{}:example.com/app:1", shop.text("back.tar"));
    shop.copy("oci:layout:app", &back, &[]);
}

#[test]
fn recompressed_copies_work_after_a_sweep() {
    let Some(shop) = Workshop::open() else {
        return;
    };
    sources(&shop);
    // Into empty layouts: a blob that is there already would be used instead.
    take(&shop, "one", "layout:gzip", &[]);
    let zstd = ["--dest-compress", "--dest-compress-format", "zstd"];
    take(&shop, "two", "fresh:zstd", &zstd);
    shop.copy("oci:fresh:zstd", "oci:layout:zstd", &[]);
    take(&shop, "three", "layout:dropped", &[]);
    untag(&shop, "layout", "dropped");
    let names: Vec<String> = ["gzip", "zstd"].map(str::to_owned).to_vec();
    let before = see(&shop, "layout", &names, Readers::SkopeoOnly);
    assert!(!shop.gc("layout").is_empty());
    assert_eq!(before, see(&shop, "layout", &names, Readers::SkopeoOnly));
}

#[test]
fn an_oci_archive_taken_from_a_swept_layout_is_whole() {
    let Some(shop) = Workshop::open() else {
        return;
    };
    sources(&shop);
    shop.gc("source");
    let archive = shop.text("image.tar");
    shop.copy("oci:source:two", &format!("oci-archive:{archive}:two"), &[]);
    shop.copy(&format!("oci-archive:{archive}:two"), "oci:again:two", &[]);
    let names = ["two".to_owned()];
    assert_eq!(
        see(&shop, "source", &names, Readers::UmociAndSkopeo),
        see(&shop, "again", &names, Readers::UmociAndSkopeo)
    );
}

#[test]
fn a_dir_copy_is_no_layout_and_is_called_what_it_is() {
    let Some(shop) = Workshop::open() else {
        return;
    };
    sources(&shop);
    let copy = shop.text("copy");
    shop.copy("oci:source:one", &format!("dir:{copy}"), &[]);
    let before = snapshot(&shop.path("copy"));
    Cmd::gc(&shop.path("copy"))
        .run()
        .refused()
        .one_error_with_hint()
        .warns("dir:");
    assert_eq!(before, snapshot(&shop.path("copy")));
}

/// Lists an index of two images of the layout under a tag, as neither program can make one.
fn index_of(shop: &Workshop, layout: &str, images: &[(&str, &str)], tag: &str) {
    let path = shop.path(layout).join("index.json");
    let text = fs::read(&path).expect("the index can be read");
    let mut index: Value = serde_json::from_slice(&text).expect("the index is JSON");
    let entries = index
        .get_mut("manifests")
        .and_then(Value::as_array_mut)
        .expect("the index lists something");
    let mut children = Vec::new();
    for (image, architecture) in images {
        let pointer = "/annotations/org.opencontainers.image.ref.name";
        let found = entries
            .iter()
            .find(|entry| entry.pointer(pointer).and_then(Value::as_str) == Some(image));
        let mut child = found.expect("the image is listed").clone();
        let object = child.as_object_mut().expect("an entry is an object");
        object.remove("annotations");
        let platform = json!({"os": "linux", "architecture": architecture});
        object.insert("platform".to_owned(), platform);
        children.push(child);
    }
    // The children are reached through their index only.
    entries.clear();
    let document = json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": children});
    let bytes = document.to_string();
    let digest = sha256(bytes.as_bytes());
    let blob = format!("blobs/{}", digest.replacen(':', "/", 1));
    fs::write(shop.path(layout).join(blob), &bytes).expect("the index can be stored");
    entries.push(json!({
        "mediaType": media::INDEX,
        "digest": digest,
        "size": bytes.len(),
        "annotations": {"org.opencontainers.image.ref.name": tag},
    }));
    fs::write(&path, index.to_string()).expect("index.json can be written");
}

#[test]
fn an_index_of_several_platforms_is_copied_whole_after_a_sweep() {
    let Some(shop) = Workshop::open() else {
        return;
    };
    sources(&shop);
    take(&shop, "one", "layout:one", &[]);
    take(&shop, "two", "layout:two", &[]);
    take(&shop, "one", "layout:garbage", &["--format", "v2s2"]);
    // Of this machine's architecture and another, so that a copy of one platform finds its own.
    let here = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let images = [("one", here), ("two", "s390x")];
    index_of(&shop, "layout", &images, "multi");
    let copy = |to: &str| shop.copy("oci:layout:multi", &format!("oci:{to}:multi"), &["--all"]);
    copy("before");
    let gone = shop.gc("layout");
    assert!(!gone.is_empty(), "the docker manifest is garbage");
    copy("after");
    assert_eq!(blobs(&shop.path("before")), blobs(&shop.path("after")));
    assert!(shop.gc("after").is_empty(), "a copy has no garbage");
    let raw = shop.skopeo(&["inspect", "--raw", "oci:layout:multi"]);
    raw.says("s390x");
    // The tree shows both platforms as they are.
    let tree = Cmd::new(["ls", "--tree"]).arg(shop.path("layout")).run();
    tree.ok().says("linux/s390x").says(&format!("linux/{here}"));
    shop.copy("oci:layout:multi", "oci:single:here", &[]);
}

#[test]
fn skopeo_goes_on_with_a_swept_layout() {
    let Some(shop) = Workshop::open() else {
        return;
    };
    sources(&shop);
    take(&shop, "one", "layout:one", &[]);
    take(&shop, "two", "layout:two", &[]);
    untag(&shop, "layout", "one");
    shop.gc("layout");
    // What was deleted is written anew, what stayed is used.
    take(&shop, "one", "layout:one", &[]);
    let names: Vec<String> = ["one", "two"].map(str::to_owned).to_vec();
    let source = see(&shop, "source", &names, Readers::UmociAndSkopeo);
    assert_eq!(
        source,
        see(&shop, "layout", &names, Readers::UmociAndSkopeo)
    );
    assert!(shop.gc("layout").is_empty());
}

#[test]
fn a_pool_shared_by_skopeos_own_flag_is_no_layout_of_its_own() {
    let Some(shop) = Workshop::open() else {
        return;
    };
    sources(&shop);
    let pool = shop.text("pool");
    let flags = ["--dest-shared-blob-dir", pool.as_str()];
    take(&shop, "one", "sharing:one", &flags);
    take(&shop, "two", "sharing-too:two", &flags);
    let before = snapshot(&shop.path("pool"));
    for layout in ["sharing", "sharing-too"] {
        // The blobs lie elsewhere: nothing that is listed is here, and nothing is deleted.
        Cmd::gc(&shop.path(layout)).run().refused();
        Cmd::gc(&shop.path(layout))
            .arg("--allow-missing")
            .run()
            .ok();
    }
    Cmd::gc(&shop.path("pool")).run().refused();
    assert_eq!(before, snapshot(&shop.path("pool")));
    let flags = ["--src-shared-blob-dir", pool.as_str()];
    shop.copy("oci:sharing:one", "oci:again:one", &flags);
    shop.copy("oci:sharing-too:two", "oci:again:two", &flags);
}
