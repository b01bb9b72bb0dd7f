//! Layouts written by skopeo: copies, overwritten tags, docker's types, archives, indexes of several platforms.

use std::fs;

use serde_json::{Value, json};

use crate::interop::seen::{Readers, see, tags};
use crate::support::{ClientDir, Cmd, Snapshot, blobs, media, sha256, snapshot};

/// Builds images of umoci to copy from: `one` and `two` share a layer, `three` shares nothing.
fn sources(clients: &ClientDir) {
    clients.init("source");
    clients.new_image("source:one");
    clients.insert("source:one", "shared", "a layer that both have", None);
    clients.insert("source:one", "own", "of the second only", Some("two"));
    clients.insert("source:one", "own", "of the first only", None);
    clients.new_image("source:three");
    clients.insert("source:three", "own", "of the third only", None);
}

/// Copies an image into the layout under test.
fn take(clients: &ClientDir, tag: &str, to: &str, flags: &[&str]) {
    clients.copy(&format!("oci:source:{tag}"), &format!("oci:{to}"), flags);
}

/// Removes entries from `index.json` by tag, like a tool without garbage collection.
fn untag(clients: &ClientDir, layout: &str, tag: &str) {
    let image = format!("{layout}:{tag}");
    clients.umoci(&["rm", "--image", &image]);
}

#[test]
fn every_tag_that_skopeo_copied_works_after_a_sweep() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    sources(&clients);
    take(&clients, "one", "layout:first", &[]);
    take(&clients, "two", "layout:second", &[]);
    take(&clients, "one", "layout:overwritten", &[]);
    take(&clients, "two", "layout:overwritten", &[]);
    take(&clients, "three", "layout:dropped", &[]);
    untag(&clients, "layout", "dropped");
    let names = tags(&clients, "layout");
    assert_eq!(names, ["first", "overwritten", "second"]);
    let before = see(&clients, "layout", &names, Readers::UmociAndSkopeo);
    let index = fs::read(clients.join("layout/index.json")).expect("the index can be read");
    let gone = clients.gc("layout");
    assert!(!gone.is_empty(), "the removed tag left garbage");
    assert_eq!(
        before,
        see(&clients, "layout", &names, Readers::UmociAndSkopeo)
    );
    let now = fs::read(clients.join("layout/index.json")).expect("the index can be read");
    assert_eq!(now, index, "gc never touches index.json");
}

#[test]
fn images_that_skopeo_untagged_by_overwriting_remain_intact() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    sources(&clients);
    take(&clients, "one", "layout:tag", &[]);
    let first = see(
        &clients,
        "layout",
        &["tag".to_owned()],
        Readers::UmociAndSkopeo,
    );
    take(&clients, "two", "layout:tag", &[]);
    assert!(
        clients.gc("layout").is_empty(),
        "every entry is a root, tagged or not"
    );
    let digest = &first.get("tag").expect("it was read").digest;
    let path = clients.join("layout");
    assert!(blobs(&path).contains_key(digest));
    // It is listed as untagged.
    let run = Cmd::new(["ls", "--no-trunc"]).arg(&path).run();
    run.ok().says(digest).says("<none>");
}

/// Copies the only image of a layout and returns its files. Not every skopeo finds an image of docker's types by its tag.
fn copy_of_the_only_image(clients: &ClientDir, layout: &str) -> Snapshot {
    let copy = clients.text_of("copy-of-the-only-image");
    clients.copy(&format!("oci:{layout}"), &format!("dir:{copy}"), &[]);
    let mut files = snapshot(&clients.join("copy-of-the-only-image"));
    fs::remove_dir_all(&copy).expect("a copy can be removed");
    for stat in files.values_mut() {
        stat.modified = 0;
    }
    files
}

#[test]
fn images_of_dockers_types_work_after_a_sweep() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    sources(&clients);
    let docker = ["--format", "v2s2"];
    take(&clients, "one", "layout:docker", &docker);
    take(&clients, "two", "layout:docker-two", &docker);
    take(&clients, "three", "layout:three", &[]);
    let index = fs::read_to_string(clients.join("layout/index.json"));
    let index = index.expect("the index can be read");
    assert!(index.contains(media::DOCKER_MANIFEST), "{index}");
    // The garbage shares blobs with kept images.
    untag(&clients, "layout", "docker-two");
    untag(&clients, "layout", "three");
    let before = copy_of_the_only_image(&clients, "layout");
    let gone = clients.gc("layout");
    assert!(gone.len() >= 5, "of two images: {gone:?}");
    assert_eq!(before, copy_of_the_only_image(&clients, "layout"));
    clients.copy("oci:layout", "oci:again:docker", &["--preserve-digests"]);
    assert_eq!(
        blobs(&clients.join("layout")),
        blobs(&clients.join("again")),
        "a copy has exactly the kept blobs"
    );
}

#[test]
fn images_that_went_through_a_docker_archive_work_after_a_sweep() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    sources(&clients);
    let archive = clients.text_of("images.tar");
    let source = format!("docker-archive:{archive}:example.com/app:1");
    clients.copy("oci:source:one", &source, &[]);
    // An archive is not a layout, and the error names its kind.
    Cmd::gc(&clients.join("images.tar"))
        .run()
        .refused()
        .warns("tar");
    clients.copy(&source, "oci:layout:app", &[]);
    take(&clients, "two", "layout:two", &[]);
    take(&clients, "three", "layout:dropped", &[]);
    untag(&clients, "layout", "dropped");
    clients.copy(&source, "oci:docker:app", &["--format", "v2s2"]);
    take(&clients, "three", "docker:dropped", &["--format", "v2s2"]);
    untag(&clients, "docker", "dropped");

    let names: Vec<String> = ["app", "two"].map(str::to_owned).to_vec();
    let before = see(&clients, "layout", &names, Readers::UmociAndSkopeo);
    assert!(!clients.gc("layout").is_empty());
    assert_eq!(
        before,
        see(&clients, "layout", &names, Readers::UmociAndSkopeo)
    );
    let before = copy_of_the_only_image(&clients, "docker");
    assert!(!clients.gc("docker").is_empty());
    assert_eq!(before, copy_of_the_only_image(&clients, "docker"));

    // And converted back.
    let back = format!(
        "docker-archive:{}:example.com/app:1",
        clients.text_of("back.tar")
    );
    clients.copy("oci:layout:app", &back, &[]);
}

#[test]
fn recompressed_copies_work_after_a_sweep() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    sources(&clients);
    // Into empty layouts: a blob that is there already would be used instead.
    take(&clients, "one", "layout:gzip", &[]);
    let zstd = ["--dest-compress", "--dest-compress-format", "zstd"];
    take(&clients, "two", "fresh:zstd", &zstd);
    clients.copy("oci:fresh:zstd", "oci:layout:zstd", &[]);
    take(&clients, "three", "layout:dropped", &[]);
    untag(&clients, "layout", "dropped");
    let names: Vec<String> = ["gzip", "zstd"].map(str::to_owned).to_vec();
    let before = see(&clients, "layout", &names, Readers::SkopeoOnly);
    assert!(!clients.gc("layout").is_empty());
    assert_eq!(before, see(&clients, "layout", &names, Readers::SkopeoOnly));
}

#[test]
fn an_oci_archive_of_a_swept_layout_is_complete() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    sources(&clients);
    clients.gc("source");
    let archive = clients.text_of("image.tar");
    clients.copy("oci:source:two", &format!("oci-archive:{archive}:two"), &[]);
    clients.copy(&format!("oci-archive:{archive}:two"), "oci:again:two", &[]);
    let names = ["two".to_owned()];
    assert_eq!(
        see(&clients, "source", &names, Readers::UmociAndSkopeo),
        see(&clients, "again", &names, Readers::UmociAndSkopeo)
    );
}

#[test]
fn a_dir_copy_is_refused_by_its_kind() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    sources(&clients);
    let copy = clients.text_of("copy");
    clients.copy("oci:source:one", &format!("dir:{copy}"), &[]);
    let before = snapshot(&clients.join("copy"));
    Cmd::gc(&clients.join("copy"))
        .run()
        .refused()
        .one_error_with_hint()
        .warns("dir:");
    assert_eq!(before, snapshot(&clients.join("copy")));
}

/// Lists an index of two images of the layout under a tag, which neither program can create.
fn index_of(clients: &ClientDir, layout: &str, images: &[(&str, &str)], tag: &str) {
    let path = clients.join(layout).join("index.json");
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
    fs::write(clients.join(layout).join(blob), &bytes).expect("the index can be stored");
    entries.push(json!({
        "mediaType": media::INDEX,
        "digest": digest,
        "size": bytes.len(),
        "annotations": {"org.opencontainers.image.ref.name": tag},
    }));
    fs::write(&path, index.to_string()).expect("index.json can be written");
}

#[test]
fn an_index_of_several_platforms_is_copied_completely_after_a_sweep() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    sources(&clients);
    take(&clients, "one", "layout:one", &[]);
    take(&clients, "two", "layout:two", &[]);
    take(&clients, "one", "layout:garbage", &["--format", "v2s2"]);
    // Of this machine's architecture and another, so that a copy of one platform finds its own.
    let here = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let images = [("one", here), ("two", "s390x")];
    index_of(&clients, "layout", &images, "multi");
    let copy = |to: &str| clients.copy("oci:layout:multi", &format!("oci:{to}:multi"), &["--all"]);
    copy("before");
    let gone = clients.gc("layout");
    assert!(!gone.is_empty(), "the docker manifest is garbage");
    copy("after");
    assert_eq!(
        blobs(&clients.join("before")),
        blobs(&clients.join("after"))
    );
    assert!(clients.gc("after").is_empty(), "a copy has no garbage");
    let raw = clients.skopeo(&["inspect", "--raw", "oci:layout:multi"]);
    raw.says("s390x");
    // The tree shows both platforms as they are.
    let tree = Cmd::new(["ls", "--tree"]).arg(clients.join("layout")).run();
    tree.ok().says("linux/s390x").says(&format!("linux/{here}"));
    clients.copy("oci:layout:multi", "oci:single:here", &[]);
}

#[test]
fn skopeo_continues_with_a_swept_layout() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    sources(&clients);
    take(&clients, "one", "layout:one", &[]);
    take(&clients, "two", "layout:two", &[]);
    untag(&clients, "layout", "one");
    clients.gc("layout");
    // Deleted blobs are written again, kept blobs are used.
    take(&clients, "one", "layout:one", &[]);
    let names: Vec<String> = ["one", "two"].map(str::to_owned).to_vec();
    let source = see(&clients, "source", &names, Readers::UmociAndSkopeo);
    assert_eq!(
        source,
        see(&clients, "layout", &names, Readers::UmociAndSkopeo)
    );
    assert!(clients.gc("layout").is_empty());
}

#[test]
fn a_layout_with_skopeos_shared_blobs_is_not_swept_alone() {
    let Some(clients) = ClientDir::new() else {
        return;
    };
    sources(&clients);
    let pool = clients.text_of("pool");
    let flags = ["--dest-shared-blob-dir", pool.as_str()];
    take(&clients, "one", "sharing:one", &flags);
    take(&clients, "two", "sharing-too:two", &flags);
    let before = snapshot(&clients.join("pool"));
    for layout in ["sharing", "sharing-too"] {
        // The blobs are elsewhere: nothing that is listed is present, and nothing is deleted.
        Cmd::gc(&clients.join(layout)).run().refused();
        Cmd::gc(&clients.join(layout))
            .arg("--allow-missing")
            .run()
            .ok();
    }
    Cmd::gc(&clients.join("pool")).run().refused();
    assert_eq!(before, snapshot(&clients.join("pool")));
    let flags = ["--src-shared-blob-dir", pool.as_str()];
    clients.copy("oci:sharing:one", "oci:again:one", &flags);
    clients.copy("oci:sharing-too:two", "oci:again:two", &flags);
}
