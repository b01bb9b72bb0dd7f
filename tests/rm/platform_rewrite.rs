//! `--platform` in its default mode: a new index without the platform, and no damage to anything else.

use std::fs;

use serde_json::Value;

use crate::rm::platform_words::{images_of, multi};
use crate::support::files::{blob_path, entries, field};
use crate::support::invariants::human;
use crate::support::removed::{assert_entries, bare, rm};
use crate::support::run::total;
use crate::support::{
    Cmd, Desc, Doc, Image, LayoutBuilder, Run, assert_same, media, sha256, snapshot,
};

/// Returns the new index of the only entry that is not among `known`.
#[track_caller]
pub(crate) fn new_index(layout: &LayoutBuilder, known: &[&Desc], run: &Run) -> (String, String) {
    let digests: Vec<String> = entries(layout.path())
        .iter()
        .filter_map(|entry| field(entry, "digest"))
        .filter(|digest| known.iter().all(|desc| desc.digest != *digest))
        .collect();
    let [digest] = &digests[..] else {
        panic!("not one new entry: {digests:?}\n{}", run.all());
    };
    let text = fs::read_to_string(blob_path(layout.path(), digest)).expect("the new index exists");
    assert_eq!(*digest, sha256(text.as_bytes()), "{}", run.all());
    (digest.clone(), text)
}

/// Panics unless other commands find an ordinary layout.
#[track_caller]
pub(crate) fn assert_normal(layout: &LayoutBuilder) {
    let path = layout.path();
    Cmd::gc(path).run().ok().says("Total reclaimed space: 0B");
    for command in [&["ls"][..], &["ls", "--tree"], &["df"], &["df", "-v"]] {
        let run = Cmd::new(command).arg(path).run();
        assert_eq!(run.ok().stderr, "", "{}", run.all());
    }
}

#[test]
fn only_digest_and_size_of_the_entry_and_the_cut_parts_of_the_index_change() {
    let mut layout = LayoutBuilder::new();
    let images = images_of(&layout, &["linux/amd64", "linux/arm64", "linux/386"]);
    let child = |image: &Image, platform: &str, odd: &str| {
        format!(
            "{{ \"mediaType\":\"{}\",{odd}\n\"digest\": \"{}\" ,\"size\":{},\"platform\":{}}}",
            media::MANIFEST,
            image.manifest.digest,
            image.manifest.size,
            platform_text(platform),
        )
    };
    let children = [
        child(&images[0], "linux/amd64", " \"annotations\":{\"a\":\"1\"},"),
        child(&images[1], "linux/arm64", ""),
        child(&images[2], "linux/386", "\t\"x\":[ 1.50, null ],"),
    ];
    let around = |list: &str| {
        format!(
            "{{\n \"mediaType\" : \"{}\",\"x-unknown\":{{\"y\" :1e3}},\"manifests\":[\n{list}\n ],\"annotations\":{{\"é\":\"\\u00e9\"}},\"schemaVersion\":2 }}\n\n",
            media::INDEX
        )
    };
    let index = layout.blob(media::INDEX, around(&children.join(",\n")).as_bytes());
    let single = layout.image("linux/amd64", "single", &[b"single"]);
    let entry = index
        .dockered("docker.io/library/multi:1")
        .annotate("org.opencontainers.image.created", "2026-01-01T00:00:00Z")
        .with("artifactType", "application/vnd.example");
    layout
        .entry(&entry)
        .tag(&single.manifest, "single:1")
        .write();
    let run = rm(&layout, &["multi:1", "--platform", "linux/arm64"]);
    run.ok();

    let (digest, text) = new_index(&layout, &[&single.manifest], &run);
    assert_eq!(
        text,
        around(&[children[0].as_str(), &children[2]].join(",\n")),
        "{}",
        run.all()
    );
    let length = u64::try_from(text.len()).expect("a length fits");
    let moved = entry.set("digest", digest.as_str()).set("size", length);
    assert_entries(
        &layout,
        &[moved, single.manifest.clone().tagged("single:1")],
        &run,
    );

    // The old index first, then the platform, and the new ID.
    let arm64 = &images[1];
    let gone = [&index, &arm64.manifest, &arm64.config, &arm64.layers[1]];
    let mut expected = format!("Dropped: linux/arm64 {}\n", arm64.manifest.digest);
    for desc in gone {
        expected.push_str(&format!("Deleted: {}\n", desc.digest));
    }
    expected.push_str(&format!(
        "Rewritten: docker.io/library/multi:1, image ID {digest}\n"
    ));
    let sum: u64 = gone.iter().map(|desc| desc.size).sum();
    expected.push_str(&format!("Total reclaimed space: {}\n", human(sum - length)));
    assert_eq!(run.stdout, expected, "{}", run.all());
    layout.assert_has(images[0].parts().into_iter().chain(images[2].parts()), &run);
    assert_normal(&layout);
}

fn platform_text(platform: &str) -> String {
    let (os, architecture) = platform.split_once('/').expect("two parts");
    format!("{{\"os\":\"{os}\",\"architecture\":\"{architecture}\"}}")
}

/// Returns the bytes of all blobs.
fn blob_bytes(layout: &LayoutBuilder) -> u64 {
    let blobs = fs::read_dir(layout.join("blobs/sha256")).expect("there are blobs");
    let sizes = blobs.map(|blob| {
        blob.and_then(|blob| blob.metadata())
            .map(|found| found.len())
    });
    sizes.sum::<std::io::Result<u64>>().expect("sizes")
}

#[test]
fn the_new_index_is_subtracted_from_the_reclaimed_space() {
    for is_interrupted in [false, true] {
        let mut layout = LayoutBuilder::new();
        let (index, images) = multi(&layout, &["linux/amd64", "linux/arm64"]);
        layout.tag(&index, "multi:1").write();
        let call = || bare(layout.path(), ["multi:1", "--platform", "linux/arm64"]);
        let dry = call().args(["-n", "--format", "json"]).run();
        if is_interrupted {
            // A killed run has written the new index.
            layout.index(&[images[0].manifest.clone().platform("linux/amd64")]);
        }
        let before = blob_bytes(&layout);
        let planned = call().args(["-n", "--format", "json"]).run().json();
        let run = call().args(["--format", "json"]).run();
        let (digest, text) = new_index(&layout, &[], &run);
        let freed = before - blob_bytes(&layout);
        for report in [&planned, &run.json()] {
            assert_eq!(
                total(report, "reclaimed_bytes"),
                freed,
                "{digest}\n{}",
                run.all()
            );
            let written = if is_interrupted { 0 } else { text.len() as u64 };
            assert_eq!(total(report, "written_bytes"), written, "{}", run.all());
        }
        assert_eq!(total(&dry.json(), "written_bytes"), text.len() as u64);
    }
}

#[test]
fn the_new_index_is_readable_for_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut layout = LayoutBuilder::new();
    let (index, _) = multi(&layout, &["linux/amd64", "linux/arm64"]);
    layout.tag(&index, "multi:1").write();
    layout.mode(&index.blob_path(), 0o444);
    let run = rm(&layout, &["multi:1", "--platform", "linux/arm64"]);
    run.ok();
    let (digest, _) = new_index(&layout, &[], &run);
    let mode = fs::metadata(blob_path(layout.path(), &digest))
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o444, 0o444, "{mode:o}\n{}", run.all());
}

#[test]
fn layers_that_other_platforms_and_other_images_use_are_kept() {
    // docker deletes every layer of the platform, and thereby breaks the others.
    let mut layout = LayoutBuilder::new();
    let (first, images) = multi(&layout, &["linux/amd64", "linux/arm64", "linux/s390x"]);
    // Another index lists the same manifest, and another image uses one of its layers.
    let second = layout.index(&[images[0].manifest.clone().platform("linux/amd64")]);
    let user = layout.manifest(
        &layout.config("linux/arm64", "user"),
        &[images[1].layers[1].clone()],
    );
    layout
        .tag(&first, "first:1")
        .tag(&second, "second:1")
        .tag(&user, "user:1")
        .write();
    let run = rm(&layout, &["first:1", "--platform", "linux/amd64"]);
    run.ok();
    layout.assert_has(images[0].parts(), &run);
    assert!(!layout.has(&first), "{}", run.all());
    let run = rm(&layout, &["first:1", "--platform", "linux/arm64"]);
    run.ok();
    assert!(!layout.has(&images[1].manifest), "{}", run.all());
    layout.assert_has(&images[1].layers, &run);
    layout.assert_has(images[2].parts(), &run);
    assert_normal(&layout);
}

#[test]
fn nested_indexes_are_rewritten_from_the_inside() {
    let mut layout = LayoutBuilder::new();
    let (inner, of_inner) = multi(&layout, &["linux/arm64", "linux/386"]);
    let (other, of_other) = multi(&layout, &["linux/s390x"]);
    let amd64 = layout.image("linux/amd64", "amd64", &[b"amd64"]);
    let outer = layout.index(&[
        inner.clone(),
        amd64.manifest.clone().platform("linux/amd64"),
        other.clone(),
    ]);
    layout.tag(&outer, "nested:1").write();
    let run = rm(&layout, &["nested:1", "--platform", "linux/arm64"]);
    run.ok();
    assert!(
        !layout.has(&outer) && !layout.has(&inner) && !layout.has(&of_inner[0].manifest),
        "{}",
        run.all()
    );
    layout.assert_has(
        [
            &other,
            &of_other[0].manifest,
            &of_inner[1].manifest,
            &amd64.manifest,
        ],
        &run,
    );
    let (_, text) = new_index(&layout, &[], &run);
    let new: Value = serde_json::from_str(&text).expect("it is JSON");
    let new_inner = new["manifests"][0]["digest"]
        .as_str()
        .expect("the inner index comes first");
    let inner_text = fs::read_to_string(blob_path(layout.path(), new_inner)).expect("it is there");
    assert_eq!(
        new["manifests"][0]["size"].as_u64(),
        u64::try_from(inner_text.len()).ok(),
        "{text}"
    );
    assert_eq!(
        new["manifests"][1]["digest"],
        Value::from(amd64.manifest.digest.as_str()),
        "{text}"
    );
    assert_eq!(
        new["manifests"][2]["digest"],
        Value::from(other.digest.as_str()),
        "{text}"
    );
    assert!(
        inner_text.contains(of_inner[1].manifest.hex())
            && !inner_text.contains(of_inner[0].manifest.hex())
    );
    assert_normal(&layout);

    // An inner index that becomes empty is removed completely.
    let run = rm(&layout, &["nested:1", "--platform", "linux/386"]);
    run.ok();
    assert!(
        !blob_path(layout.path(), new_inner).exists(),
        "{}",
        run.all()
    );
    let (_, text) = new_index(&layout, &[], &run);
    let new: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(new["manifests"].as_array().map(Vec::len), Some(2), "{text}");
    layout.assert_has([&other, &of_other[0].manifest, &amd64.manifest], &run);
}

#[test]
fn indexes_in_indexes_are_rewritten_down_to_an_unused_depth() {
    for (depth, is_done) in [(30, true), (40, false)] {
        let mut layout = LayoutBuilder::new();
        let (mut index, images) = multi(&layout, &["linux/amd64", "linux/arm64"]);
        for _ in 1..depth {
            index = layout.index(&[index]);
        }
        layout.tag(&index, "multi:1").write();
        let before = snapshot(layout.path());
        let run = rm(&layout, &["multi:1", "--platform", "linux/arm64"]);
        if is_done {
            run.ok();
            assert!(!layout.has(&images[1].manifest), "{}", run.all());
            layout.assert_has(images[0].parts(), &run);
        } else {
            run.warns("it is nested too deeply");
            assert_ne!(run.code, Some(0), "{}", run.all());
            assert_same(&before, &snapshot(layout.path()), &run.all());
        }
    }
}

#[test]
fn an_inner_index_that_another_image_uses_is_unchanged() {
    let mut layout = LayoutBuilder::new();
    let (inner, of_inner) = multi(&layout, &["linux/arm64", "linux/386"]);
    let outer = layout.index(std::slice::from_ref(&inner));
    layout.tag(&outer, "outer:1").tag(&inner, "inner:1").write();
    let run = rm(&layout, &["outer:1", "--platform", "linux/arm64"]);
    run.ok();
    layout.assert_has([&inner], &run);
    layout.assert_has(of_inner.iter().flat_map(Image::parts), &run);
    assert_eq!(
        entries(layout.path())[1],
        inner.tagged("inner:1").json().text(),
        "{}",
        run.all()
    );
}

#[test]
fn a_docker_manifest_list_remains_one() {
    let mut layout = LayoutBuilder::new();
    let image = |platform: &str| {
        let config = layout.blob(
            media::DOCKER_CONFIG,
            format!("{{\"of\":\"{platform}\"}}").as_bytes(),
        );
        let layer = layout.blob(media::DOCKER_LAYER, platform.as_bytes());
        layout.put(&Doc::docker_manifest(&config, &[layer]))
    };
    let (amd64, arm64) = (image("amd64"), image("arm64"));
    let list = layout.put(&Doc::docker_list(&[
        amd64.clone().platform("linux/amd64"),
        arm64.clone().platform("linux/arm64"),
    ]));
    layout.tag(&list, "dlist:1").write();
    let run = rm(&layout, &["dlist:1", "--platform", "linux/arm64"]);
    run.ok();
    assert!(!layout.has(&arm64), "{}", run.all());
    layout.assert_has([&amd64], &run);
    let (_, text) = new_index(&layout, &[], &run);
    assert!(
        text.contains(&format!("\"mediaType\":\"{}\"", media::DOCKER_LIST)),
        "{text}"
    );
    let kind = field(&entries(layout.path())[0], "mediaType");
    assert_eq!(kind.as_deref(), Some(media::DOCKER_LIST), "{}", run.all());
    assert_normal(&layout);
}

#[test]
fn sha512_remains_sha512() {
    let mut layout = LayoutBuilder::new();
    let images = images_of(&layout, &["linux/amd64", "linux/arm64"]);
    let children: Vec<Desc> = [("linux/amd64", &images[0]), ("linux/arm64", &images[1])]
        .map(|(platform, image)| image.manifest.clone().platform(platform))
        .to_vec();
    let index = layout.put_as("sha512", &Doc::index(&children));
    layout.tag(&index, "multi:1").write();
    let run = rm(&layout, &["multi:1", "--platform", "linux/arm64"]);
    run.ok();
    let digest = field(&entries(layout.path())[0], "digest").expect("it has a digest");
    assert!(
        digest.starts_with("sha512:") && blob_path(layout.path(), &digest).exists(),
        "{}",
        run.all()
    );
}

#[test]
fn if_index_json_is_the_index_the_entry_is_removed() {
    // apko writes one entry for each platform; with a name they all have the same.
    for named in [true, false] {
        let mut layout = LayoutBuilder::new();
        let images: Vec<Image> = ["linux/amd64", "linux/arm64", "linux/arm/v7"]
            .into_iter()
            .map(|platform| {
                let image = layout.image(platform, platform, &[b"shared", platform.as_bytes()]);
                let entry = image.manifest.clone().platform(platform);
                layout.entry(if named { entry.tagged("apko:1") } else { entry });
                image
            })
            .collect();
        layout.write();
        let before = entries(layout.path());
        let argument = if named {
            "apko:1"
        } else {
            images[1].manifest.short()
        };
        let run = rm(&layout, &["-f", argument, "--platform", "linux/arm64"]);
        run.ok();
        assert_eq!(
            entries(layout.path()),
            [before[0].clone(), before[2].clone()],
            "{}",
            run.all()
        );
        let deleted: Vec<&str> = run
            .stdout
            .lines()
            .filter_map(|line| line.strip_prefix("Deleted: "))
            .collect();
        let gone = [&images[1].manifest, &images[1].config, &images[1].layers[1]];
        assert_eq!(
            deleted,
            gone.map(|desc| desc.digest.as_str()),
            "{}",
            run.all()
        );
        if named {
            let run = rm(&layout, &["-f", "apko:1", "--platform", "linux/s390x"]);
            run.exits(1).warns("(it has linux/amd64, linux/arm/v7)");
            let run = rm(&layout, &["-f", "apko:1", "--only-platform", "linux/amd64"]);
            run.ok();
            assert_eq!(entries(layout.path()), [before[0].clone()], "{}", run.all());
        }
    }
}

#[test]
fn the_result_may_be_an_existing_image() {
    let mut layout = LayoutBuilder::new();
    let (first, images) = multi(&layout, &["linux/amd64", "linux/arm64"]);
    let second = layout.index(&[images[0].manifest.clone().platform("linux/amd64")]);
    layout
        .tag(&first, "first:1")
        .tag(&second, "second:1")
        .write();
    let run = rm(&layout, &["first:1", "--platform", "linux/arm64"]);
    run.ok();
    let digests: Vec<Option<String>> = entries(layout.path())
        .iter()
        .map(|entry| field(entry, "digest"))
        .collect();
    assert_eq!(
        digests,
        [Some(second.digest.clone()), Some(second.digest.clone())],
        "{}",
        run.all()
    );
    assert_normal(&layout);
    // And it can exist as an orphan.
    let mut layout = LayoutBuilder::new();
    let (first, images) = multi(&layout, &["linux/amd64", "linux/arm64"]);
    let orphan = layout.index(&[images[0].manifest.clone().platform("linux/amd64")]);
    layout.tag(&first, "first:1").write();
    let run = bare(layout.path(), ["first:1", "--platform", "linux/arm64"]).run();
    run.ok();
    layout.assert_has([&orphan], &run);
    assert_normal(&layout);
}

/// An index removed along with the platform may be equal to the new index: it is needed from now on.
#[test]
fn the_result_may_be_what_is_removed_along() {
    let mut layout = LayoutBuilder::new();
    let (index, images) = multi(&layout, &["linux/amd64", "linux/arm64"]);
    let left = layout.index(&[images[0].manifest.clone().platform("linux/amd64")]);
    layout
        .tag(&index, "multi:1")
        .entry(left.clone().attests(&images[1].manifest))
        .write();
    let run = rm(&layout, &["multi:1", "--platform", "linux/arm64"]);
    run.ok();
    assert!(!layout.has(&images[1].manifest), "{}", run.all());
    layout.assert_has(images[0].parts().into_iter().chain([&left]), &run);
    assert_normal(&layout);
}

/// Another entry lists the remaining index, which is missing: now it is restored.
#[test]
fn the_result_is_written_if_it_is_listed_and_missing() {
    let mut layout = LayoutBuilder::new();
    let (index, images) = multi(&layout, &["linux/amd64", "linux/arm64"]);
    let left = layout.index(&[images[0].manifest.clone().platform("linux/amd64")]);
    layout
        .tag(&index, "multi:1")
        .tag(&left, "left:1")
        .drop_blob(&left)
        .write();
    let words = ["multi:1", "--platform", "linux/arm64", "--allow-missing"];
    let run = rm(&layout, &words);
    run.ok();
    layout.assert_has(images[0].parts().into_iter().chain([&left]), &run);
    assert_normal(&layout);
}
