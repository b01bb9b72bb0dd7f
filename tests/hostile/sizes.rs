//! Files of a gigabyte where a few kilobytes are expected: counted or refused, and never read into memory.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;

use sha2::{Digest as _, Sha256};

use crate::support::environment::bounded;
use crate::support::snapshot::outline;
use crate::support::{Desc, Doc, GuardedLayout, Run, for_each, hex, media, total};

/// Creates a file of this length that takes no disk space.
fn sparse(fixture: &GuardedLayout, relative: &str, head: &[u8], len: u64) {
    let mut file = fs::File::create(fixture.builder.join(relative)).expect("the file can be made");
    file.write_all(head).expect("the file can be written");
    file.set_len(len).expect("a sparse file can be made");
    let stat = file.metadata().expect("the file can be inspected");
    assert!(
        stat.blocks() * 512 < 64 << 20,
        "the file system of the tests does not support sparse files"
    );
}

/// Sweeps with little memory.
fn bounded_gc(fixture: &GuardedLayout) -> Run {
    let path = fixture
        .path()
        .to_str()
        .expect("paths of the tests are UTF-8");
    bounded(["gc", path, "--grace", "0"])
}

const GIB: u64 = 1 << 30;

#[test]
fn a_manifest_of_a_gigabyte_is_one_error_and_is_not_read_into_memory() {
    for head in ["", "{\"schemaVersion\":2,\"layers\":[", "{\"config\":{}}"] {
        for media_type in [media::MANIFEST, media::INDEX, media::DOCKER_LIST] {
            let mut fixture = GuardedLayout::new();
            let huge = Desc::missing(media_type, "huge");
            sparse(&fixture, &huge.blob_path(), head.as_bytes(), GIB);
            fixture.builder.tag(&huge, "huge").write();
            let before = outline(fixture.builder.outside());
            let run = bounded_gc(&fixture);
            run.refused().warns(&huge.digest);
            run.one_error();
            assert!(
                before == outline(fixture.builder.outside()),
                "{}",
                run.all()
            );
            let path = fixture
                .path()
                .to_str()
                .expect("paths of the tests are UTF-8");
            for call in [["ls", path], ["df", path]] {
                bounded(call).no_panic();
            }
        }
    }
}

#[test]
fn an_index_json_of_a_gigabyte_is_one_error_and_is_not_read_into_memory() {
    for head in ["", "{\"schemaVersion\":2,\"manifests\":["] {
        let fixture = GuardedLayout::new();
        sparse(&fixture, "index.json", head.as_bytes(), GIB);
        let before = outline(fixture.builder.outside());
        let path = fixture
            .path()
            .to_str()
            .expect("paths of the tests are UTF-8");
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
            before == outline(fixture.builder.outside()),
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
                let fixture = GuardedLayout::new();
                fixture.builder.file(file, b"");
                sparse(&fixture, file, head.as_bytes(), GIB);
                let before = outline(fixture.builder.outside());
                let run = bounded_gc(&fixture);
                run.refused();
                run.one_error();
                assert!(
                    before == outline(fixture.builder.outside()),
                    "{}",
                    run.all()
                );
            }
        },
    );
}

#[test]
fn blobs_of_a_gigabyte_are_counted_without_being_read() {
    let mut fixture = GuardedLayout::new();
    let layer = Desc::missing(media::LAYER, "huge layer");
    let strange = Desc::missing("application/octet-stream", "huge and strange");
    let orphan = Desc::missing(media::LAYER, "huge orphan");
    for desc in [&layer, &strange, &orphan] {
        sparse(&fixture, &desc.blob_path(), b"", GIB);
    }
    let config = fixture.builder.config("linux/amd64", "huge");
    let manifest = fixture
        .builder
        .manifest(&config, &[layer.clone(), strange.clone()]);
    fixture.builder.tag(&manifest, "huge").write();
    let path = fixture
        .path()
        .to_str()
        .expect("paths of the tests are UTF-8");
    let run = bounded(["gc", path, "--grace", "0", "--format", "json"]);
    let expected = GIB + fixture.orphan.size;
    assert_eq!(total(&run.ok().json(), "reclaimed_bytes"), expected);
    assert!(
        fixture.has(&layer) && fixture.has(&strange),
        "{}",
        run.all()
    );
    assert!(!fixture.has(&orphan), "{}", run.all());
}

#[test]
fn a_reference_after_200_megabytes_of_text_is_found_with_little_memory() {
    const TEXT: usize = 200 << 20;
    let mut fixture = GuardedLayout::new();
    let hidden = fixture.builder.layer(b"behind a giant string");
    let path = fixture.builder.join("blobs/sha256/being-written");
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
    let size = file.metadata().expect("the file can be inspected").len();
    let giant = Desc::new(media::STRANGE, &digest, size);
    fs::rename(&path, fixture.builder.join(&giant.blob_path())).expect("the file can be renamed");
    fixture.builder.tag(&giant, "giant").write();
    let run = bounded_gc(&fixture);
    run.ok();
    assert!(fixture.has(&hidden) && fixture.has(&giant), "{}", run.all());
    assert!(!fixture.has(&fixture.orphan), "{}", run.all());
}

/// Registries accept manifests of up to 4 MiB; a longer blob is not one, and is not read if nothing references it.
#[test]
fn an_unlisted_signature_may_have_the_maximum_length_of_registries() {
    const LONGEST: usize = 4 << 20;
    let fixture = GuardedLayout::new();
    let signature = |length: usize| {
        let config = fixture.builder.empty_config();
        let doc = Doc::manifest(&config, &[])
            .artifact_type(&format!("application/signature-{length}"))
            .subject(&fixture.app.manifest);
        let mut text = doc.text().as_bytes().to_vec();
        text.resize(length, b' ');
        fixture.builder.blob(media::MANIFEST, &text)
    };
    let (longest, longer) = (signature(LONGEST), signature(LONGEST + 1));
    let run = bounded_gc(&fixture);
    run.ok();
    assert!(fixture.has(&longest), "{}", run.all());
    assert!(!fixture.has(&longer), "{}", run.all());
}
