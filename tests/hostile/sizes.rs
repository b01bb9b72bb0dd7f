//! Files of a gigabyte where a few kilobytes are expected: counted or refused, and never read into memory.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;

use sha2::{Digest as _, Sha256};

use crate::support::environment::bounded;
use crate::support::snapshot::outline;
use crate::support::{Desc, Doc, GuardedLayout, Run, for_each, hex, media, total};

/// Makes a file of this length that takes no room on the disk.
fn sparse(scene: &GuardedLayout, relative: &str, head: &[u8], len: u64) {
    let mut file = fs::File::create(scene.builder.join(relative)).expect("the file can be made");
    file.write_all(head).expect("the file can be written");
    file.set_len(len).expect("a sparse file can be made");
    let stat = file.metadata().expect("the file can be looked at");
    assert!(
        stat.blocks() * 512 < 64 << 20,
        "the file system of the tests has no sparse files"
    );
}

/// Sweeps with little memory.
fn bounded_gc(scene: &GuardedLayout) -> Run {
    let path = scene.path().to_str().expect("paths of the tests are UTF-8");
    bounded(["gc", path, "--grace", "0"])
}

const GIB: u64 = 1 << 30;

#[test]
fn a_manifest_of_a_gigabyte_is_one_error_and_is_not_read_into_memory() {
    for head in ["", "{\"schemaVersion\":2,\"layers\":[", "{\"config\":{}}"] {
        for media_type in [media::MANIFEST, media::INDEX, media::DOCKER_LIST] {
            let mut scene = GuardedLayout::new();
            let huge = Desc::missing(media_type, "huge");
            sparse(&scene, &huge.blob_path(), head.as_bytes(), GIB);
            scene.builder.tag(&huge, "huge").write();
            let before = outline(scene.builder.outside());
            let run = bounded_gc(&scene);
            run.refused().warns(&huge.digest);
            run.one_error();
            assert!(before == outline(scene.builder.outside()), "{}", run.all());
            let path = scene.path().to_str().expect("paths of the tests are UTF-8");
            for call in [["ls", path], ["df", path]] {
                bounded(call).no_panic();
            }
        }
    }
}

#[test]
fn an_index_json_of_a_gigabyte_is_one_error_and_is_not_read_into_memory() {
    for head in ["", "{\"schemaVersion\":2,\"manifests\":["] {
        let scene = GuardedLayout::new();
        sparse(&scene, "index.json", head.as_bytes(), GIB);
        let before = outline(scene.builder.outside());
        let path = scene.path().to_str().expect("paths of the tests are UTF-8");
        for call in [
            &["gc", path, "--grace", "0"][..],
            &["ls", path],
            &["df", path],
        ] {
            let run = bounded(call.iter().copied());
            run.refused();
            run.one_error();
        }
        assert!(
            before == outline(scene.builder.outside()),
            "it changed something"
        );
    }
}

#[test]
fn other_files_of_a_gigabyte_are_not_read_into_memory() {
    let files = ["oci-layout", "manifest.json", ".ocisweep/holds.json"];
    for_each(
        files,
        |file| (*file).to_owned(),
        |file| {
            for head in ["", "[", "{"] {
                let scene = GuardedLayout::new();
                scene.builder.file(file, b"");
                sparse(&scene, file, head.as_bytes(), GIB);
                let before = outline(scene.builder.outside());
                let run = bounded_gc(&scene);
                run.refused();
                run.one_error();
                assert!(before == outline(scene.builder.outside()), "{}", run.all());
            }
        },
    );
}

#[test]
fn blobs_of_a_gigabyte_are_counted_without_being_read() {
    let mut scene = GuardedLayout::new();
    let layer = Desc::missing(media::LAYER, "huge layer");
    let strange = Desc::missing("application/octet-stream", "huge and strange");
    let orphan = Desc::missing(media::LAYER, "huge orphan");
    for desc in [&layer, &strange, &orphan] {
        sparse(&scene, &desc.blob_path(), b"", GIB);
    }
    let config = scene.builder.config("linux/amd64", "huge");
    let manifest = scene
        .builder
        .manifest(&config, &[layer.clone(), strange.clone()]);
    scene.builder.tag(&manifest, "huge").write();
    let path = scene.path().to_str().expect("paths of the tests are UTF-8");
    let run = bounded(["gc", path, "--grace", "0", "--format", "json"]);
    let expected = GIB + scene.orphan.size;
    assert_eq!(total(&run.ok().json(), "reclaimed_bytes"), expected);
    assert!(scene.has(&layer) && scene.has(&strange), "{}", run.all());
    assert!(!scene.has(&orphan), "{}", run.all());
}

#[test]
fn a_reference_behind_200_megabytes_of_text_is_found_with_little_memory() {
    const TEXT: usize = 200 << 20;
    let mut scene = GuardedLayout::new();
    let hidden = scene.builder.layer(b"behind a giant string");
    let path = scene.builder.join("blobs/sha256/being-written");
    let mut file = fs::File::create(&path).expect("the file can be made");
    let mut hasher = Sha256::new();
    let mut put = |bytes: &[u8]| {
        hasher.update(bytes);
        file.write_all(bytes).expect("the file can be written");
    };
    put(b"{\"text\":\"");
    let megabyte = vec![b'x'; 1 << 20];
    for _ in 0..TEXT >> 20 {
        put(&megabyte);
    }
    let mut rest = "\",\"thing\":".to_owned();
    write!(rest, "{}}}", hidden.json().text()).expect("writing to a string cannot fail");
    put(rest.as_bytes());
    let digest = format!("sha256:{}", hex(&hasher.finalize()));
    let size = file.metadata().expect("the file can be looked at").len();
    let giant = Desc::new(media::STRANGE, &digest, size);
    fs::rename(&path, scene.builder.join(&giant.blob_path())).expect("the file can be renamed");
    scene.builder.tag(&giant, "giant").write();
    let run = bounded_gc(&scene);
    run.ok();
    assert!(scene.has(&hidden) && scene.has(&giant), "{}", run.all());
    assert!(!scene.has(&scene.orphan), "{}", run.all());
}

/// Registries take manifests of 4 MiB; whatever is longer is not one, and is not read when nothing references it.
#[test]
fn an_unlisted_signature_may_be_as_long_as_a_registry_takes_it() {
    const LONGEST: usize = 4 << 20;
    let scene = GuardedLayout::new();
    let signature = |length: usize| {
        let config = scene.builder.empty_config();
        let doc = Doc::manifest(&config, &[])
            .artifact_type(&format!("application/signature-{length}"))
            .subject(&scene.app.manifest);
        let mut text = doc.text().as_bytes().to_vec();
        text.resize(length, b' ');
        scene.builder.blob(media::MANIFEST, &text)
    };
    let (longest, longer) = (signature(LONGEST), signature(LONGEST + 1));
    let run = bounded_gc(&scene);
    run.ok();
    assert!(scene.has(&longest), "{}", run.all());
    assert!(!scene.has(&longer), "{}", run.all());
}
