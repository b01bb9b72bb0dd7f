//! The recorded corpus, several layouts, locks and signals. Rights and read-only file systems are in `tests/hostile/rights.rs`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::findings::texts;
use crate::support::{
    Cmd, Desc, Findings, IntactLayout, LayoutBuilder, assert_same, cases, for_each, media, snapshot,
};

/// Layouts that were already damaged when they were recorded: docker left elements in `manifest.json` whose blobs were not
/// saved, and skopeo keeps shared blobs outside of the layouts.
const DAMAGED: [&str; 2] = ["docker-save-id", "skopeo-shared"];

#[test]
fn nothing_that_other_programs_write_is_damage() {
    let layouts: Vec<_> = cases().into_iter().flat_map(|case| case.layouts).collect();
    for_each(
        layouts,
        |layout| layout.label(),
        |layout| {
            let (_unpacked, directory) = layout.unpack();
            let before = snapshot(&directory);
            let run = Cmd::new(["check", "--format", "json"])
                .arg(&directory)
                .run();
            let checked = Findings::of(run);
            let is_damaged = DAMAGED.contains(&layout.case.as_str());
            checked.run.exits(i32::from(is_damaged));
            // Garbage according to the case is an orphan here.
            if !is_damaged {
                let garbage = layout.expected("garbage").len() as u64;
                assert_eq!(checked.count("orphan"), garbage, "{}", checked.run.all());
            }
            assert_same(&before, &snapshot(&directory), &checked.run.all());
        },
    );
}

#[test]
fn every_blob_of_the_corpus_that_is_damaged_is_found() {
    let layouts: Vec<_> = cases()
        .into_iter()
        .filter(|case| ["bk-sbom", "regctl", "docker-save-names"].contains(&case.name.as_str()))
        .flat_map(|case| case.layouts)
        .collect();
    for_each(
        layouts,
        |layout| layout.label(),
        |layout| {
            let (_unpacked, directory) = layout.unpack();
            for digest in layout.expected("keep") {
                let file = directory.join("blobs").join(digest.replacen(':', "/", 1));
                let whole = fs::read(&file).expect("it is kept, so it is there");
                let mut damaged = whole.clone();
                *damaged.last_mut().expect("no blob is empty") ^= 1;
                fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("ours");
                fs::write(&file, damaged).expect("it can be damaged");
                let run = Cmd::new(["check", "--format", "json"])
                    .arg(&directory)
                    .run();
                let checked = Findings::of(run);
                let item = checked.item(&digest);
                assert_eq!(item["class"], "wrong-digest", "{}", checked.run.all());
                checked.run.exits(1);
                fs::write(&file, whole).expect("it can be mended");
            }
        },
    );
}

#[test]
fn each_of_several_layouts_gets_its_report() {
    let whole = IntactLayout::new();
    let broken = IntactLayout::new();
    broken.builder.drop_blob(&broken.one.layers[1]);
    let damaged = IntactLayout::new();
    damaged.builder.file("index.json", b"{\"manifests\": [");
    let run = Cmd::new(["check"])
        .arg(whole.path())
        .arg(damaged.path())
        .arg(broken.path())
        .run();
    // A layout that cannot be parsed is worse than a damaged one.
    run.exits(3)
        .says(&format!("{}:\nCLASS", whole.path().display()))
        .says(&format!("{}:\nmissing: ", broken.path().display()))
        .warns("ocisweep: cannot parse ");
    let json = Cmd::new(["check", "--format", "json"])
        .arg(damaged.path())
        .arg(broken.path())
        .run();
    let document = json.json();
    assert_eq!(document["damaged"], 1, "{}", json.all());
    assert!(
        document["layouts"][0]["error"].is_string(),
        "{}",
        json.all()
    );
    let run = Cmd::new(["fsck"])
        .arg(whole.path())
        .arg(broken.path())
        .run();
    run.exits(1);
}

#[test]
fn layouts_that_cannot_be_read_are_refused_as_by_other_commands() {
    let fixture = IntactLayout::new();
    fixture.builder.file("index.json", b"{\"manifests\": [");
    fixture.check(&[]).refused().one_error_with_hint();
    fixture.builder.remove("index.json");
    fixture.check(&[]).refused().one_error_with_hint();
}

#[test]
fn a_writer_with_a_lock_does_not_block_check() {
    let fixture = IntactLayout::new();
    let _lock = fixture.builder.flock("index.json.lock");
    fixture.report(&[]).finds(&[]);
}

#[test]
fn a_signal_ends_it_with_130() {
    let mut builder = LayoutBuilder::new();
    let layer = builder.layer(b"small");
    let config = builder.config("linux/amd64", "");
    // A sparse file of some gigabytes takes a while to hash, and no space.
    let big = Desc::missing(media::LAYER, "big");
    let manifest = builder.manifest(&config, &[layer, big.clone().set("size", 64_u64 << 30)]);
    builder.tag(&manifest, "a").write();
    builder.file(&big.blob_path(), b"");
    fs::OpenOptions::new()
        .write(true)
        .open(builder.join(&big.blob_path()))
        .and_then(|file| file.set_len(64 << 30))
        .expect("files may have holes");
    let mut child = Cmd::new(["check", "--progress", "always"])
        .arg(builder.path())
        .spawn();
    let pid = rustix::process::Pid::from_child(&child);
    // Once there is progress, it is running.
    let mut stderr = child.stderr.take().expect("piped");
    let mut seen = String::new();
    while !seen.contains("hashing") {
        let mut buffer = [0; 256];
        let read = std::io::Read::read(&mut stderr, &mut buffer).expect("a pipe");
        assert_ne!(read, 0, "it ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
    assert!(seen.contains("of 68.7GB"), "{seen}");
}

#[test]
fn a_forged_deep_chain_is_checked_quickly_and_reported_briefly() {
    let mut builder = LayoutBuilder::new();
    let image = builder.image("linux/amd64", "", &[b"layer"]);
    let mut child = image.manifest.clone();
    for number in 0..2000 {
        let absent = Desc::missing(media::MANIFEST, &format!("absent {number}"));
        child = builder.index(&[child, absent]);
    }
    builder.tag(&child, "deep").write();
    builder.file(&image.layers[0].blob_path(), b"reyal");
    let run = Cmd::new(["check", "--format", "json"])
        .arg(builder.path())
        .run();
    let checked = Findings::of(run);
    assert_eq!(checked.count("sparse"), 2000);
    let way = texts(&checked.item(&image.layers[0].digest)["reference_path"]);
    assert_eq!(way.len(), 10, "{way:?}");
    assert_eq!((&*way[0], &*way[5]), ("deep", "1994 more"));
    assert!(way[9].starts_with("layer 1/1 "), "{way:?}");
    for command in [&["why", "--all"][..], &["why", "--format", "json"]] {
        for what in [&image.layers[0].digest, "deep"] {
            Cmd::new(command).arg(builder.path()).arg(what).run().ok();
        }
    }
}
