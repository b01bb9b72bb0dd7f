//! Removing names: nothing else is removed while another name remains; with the last one, only blobs that nothing else
//! needs. Entries with conflicting names or listed twice.

use std::fs;

use crate::support::files::entries;
use crate::support::json::{IMAGE_NAME, REF_NAME};
use crate::support::removed::{assert_entries, assert_output, rm};
use crate::support::{Desc, Image, LayoutBuilder};

/// The annotation that old zarf writes instead of the others.
const BASE_NAME: &str = "org.opencontainers.image.base.name";

#[test]
fn only_one_of_several_names_is_removed() {
    let names = ["alpha:1", "alpha:2", "ghcr.io/acme/alpha:1"];
    for name in names {
        for force in [None, Some("-f")] {
            let mut layout = LayoutBuilder::new();
            let alpha = layout.image("linux/amd64", "alpha", &[b"alpha"]);
            for name in names {
                layout.tag(&alpha.manifest, name);
            }
            layout.write();
            let arguments: Vec<&str> = force.into_iter().chain([name]).collect();
            let run = rm(&layout, &arguments);
            run.ok();
            // No total: nothing could have been reclaimed.
            assert_output(&run, &[name], &[]);
            layout.assert_has(alpha.parts(), &run);
            let left: Vec<Desc> = names
                .iter()
                .filter(|other| **other != name)
                .map(|other| alpha.manifest.clone().tagged(other))
                .collect();
            assert_entries(&layout, &left, &run);
        }
    }
}

#[test]
fn names_are_untagged_in_the_order_of_their_canonical_form() {
    let names = [
        "xray:1",
        "ghcr.io/acme/xray:1",
        "acme/xray:1",
        "localhost:5000/team/xray:1",
    ];
    let mut layout = LayoutBuilder::new();
    let xray = layout.image("linux/amd64", "xray", &[b"xray"]);
    for name in names {
        layout.tag(&xray.manifest, name);
    }
    layout.write();
    let run = rm(&layout, &["-f", xray.manifest.short()]);
    run.ok();
    // `docker.io/acme` before `docker.io/library` before other registries.
    let order = [
        "acme/xray:1",
        "xray:1",
        "ghcr.io/acme/xray:1",
        "localhost:5000/team/xray:1",
    ];
    assert_output(&run, &order, &xray.parts());
}

#[test]
fn the_last_name_keeps_blobs_that_other_images_share() {
    let mut layout = LayoutBuilder::new();
    let one = layout.image("linux/amd64", "one", &[b"base", b"shared", b"one"]);
    let two = layout.image("linux/amd64", "two", &[b"base", b"shared", b"two"]);
    // The same config under two manifests.
    let twin = layout.manifest(&one.config, &[one.layers[0].clone()]);
    layout
        .tag(&one.manifest, "one:1")
        .tag(&two.manifest, "two:1")
        .tag(&twin, "twin:1")
        .write();
    let run = rm(&layout, &["one:1"]);
    run.ok();
    assert_output(&run, &["one:1"], &[&one.manifest, &one.layers[2]]);
    layout.assert_has(two.parts(), &run);
    let run = rm(&layout, &["two:1"]);
    run.ok();
    assert_output(
        &run,
        &["two:1"],
        &[&two.manifest, &two.config, &two.layers[2], &two.layers[1]],
    );
    let run = rm(&layout, &["twin:1"]);
    run.ok();
    assert_output(&run, &["twin:1"], &[&twin, &one.config, &one.layers[0]]);
}

#[test]
fn images_of_untagged_entries_are_kept() {
    // The purpose of an entry without a name is unknown.
    let mut layout = LayoutBuilder::new();
    let one = layout.image("linux/amd64", "one", &[b"shared", b"one"]);
    let two = layout.image("linux/amd64", "two", &[b"shared"]);
    layout
        .tag(&one.manifest, "one:1")
        .entry(&two.manifest)
        .write();
    let run = rm(&layout, &["one:1"]);
    run.ok();
    assert_output(
        &run,
        &["one:1"],
        &[&one.manifest, &one.config, &one.layers[1]],
    );
    assert_entries(&layout, std::slice::from_ref(&two.manifest), &run);
}

#[test]
fn both_images_of_one_call_are_removed_with_blobs_that_only_they_share() {
    let mut layout = LayoutBuilder::new();
    let one = layout.image("linux/amd64", "one", &[b"base", b"shared", b"one"]);
    let two = layout.image("linux/amd64", "two", &[b"base", b"shared", b"two"]);
    let rest = layout.image("linux/amd64", "rest", &[b"base"]);
    layout
        .tag(&one.manifest, "one:1")
        .tag(&two.manifest, "two:1")
        .tag(&rest.manifest, "rest:1")
        .write();
    let run = rm(&layout, &["one:1", "two:1"]);
    run.ok();
    let gone = [
        &one.manifest,
        &one.config,
        &one.layers[2],
        &one.layers[1],
        &two.manifest,
        &two.config,
        &two.layers[2],
    ];
    assert_output(&run, &["one:1", "two:1"], &gone);
    layout.assert_has(rest.parts(), &run);
}

#[test]
fn a_multi_platform_image_is_removed_documents_first_then_layers_from_the_top() {
    let mut layout = LayoutBuilder::new();
    let amd64 = layout.image("linux/amd64", "amd64", &[b"shared", b"amd64"]);
    let arm64 = layout.image("linux/arm64", "arm64", &[b"shared", b"arm64"]);
    let index = layout.index(&[
        amd64.manifest.clone().platform("linux/amd64"),
        arm64.manifest.clone().platform("linux/arm64"),
    ]);
    layout.tag(&index, "multi:1").write();
    let run = rm(&layout, &["multi:1"]);
    run.ok();
    assert_output(
        &run,
        &["multi:1"],
        &[
            &index,
            &amd64.manifest,
            &arm64.manifest,
            &amd64.config,
            &arm64.config,
            &amd64.layers[1],
            &amd64.layers[0],
            &arm64.layers[1],
        ],
    );
}

/// What `buildx imagetools create` writes: a name of its own, and the full name of one of its sources beside it.
fn imagetools(layout: &mut LayoutBuilder) -> (Image, Image) {
    let combined = layout.image("linux/amd64", "combined", &[b"combined"]);
    let other = layout.image("linux/amd64", "other", &[b"other"]);
    layout.raw_index(
        format!(
            "{{ \"manifests\" : [\n  {{\"digest\":\"{}\", \"size\":{}, \"annotations\": {{ \"{IMAGE_NAME}\": \"ghcr.io/acme/source:v1\",\n    \"x\": \"kept\", \"{REF_NAME}\":\"combined\" }}, \"mediaType\":\"{}\"}},\n {} ], \"schemaVersion\":2 }}\n",
            combined.manifest.digest,
            combined.manifest.size,
            combined.manifest.media_type,
            other.manifest.clone().tagged("other:1").json().text(),
        )
        .as_bytes(),
    );
    layout.write();
    (combined, other)
}

#[test]
fn two_different_names_of_one_entry_are_removed_one_by_one() {
    let pairs = [
        ("combined", "ghcr.io/acme/source:v1"),
        ("ghcr.io/acme/source:v1", "combined"),
    ];
    for (first, second) in pairs {
        let mut layout = LayoutBuilder::new();
        let (combined, other) = imagetools(&mut layout);
        let before = fs::read_to_string(layout.join("index.json")).expect("it can be read");
        let run = rm(&layout, &[combined.manifest.short()]);
        run.exits(1)
            .warns("image is referenced by 2 names: combined, ghcr.io/acme/source:v1");
        let run = rm(&layout, &[first]);
        run.ok();
        assert_output(&run, &[first], &[]);
        // Only the annotation is cut; the rest of the text is unchanged.
        let after = fs::read_to_string(layout.join("index.json")).expect("it can be read");
        let cut = if first == "combined" {
            before.replace(&format!(", \"{REF_NAME}\":\"combined\""), "")
        } else {
            before.replace(
                &format!("\"{IMAGE_NAME}\": \"ghcr.io/acme/source:v1\","),
                "",
            )
        };
        let squeeze = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(squeeze(&after), squeeze(&cut), "{}", run.all());
        let (head, tail) = (&before[..40], &before[before.len() - 40..]);
        assert!(after.starts_with(head) && after.ends_with(tail), "{after}");
        assert!(after.contains("\"x\": \"kept\""), "{after}");

        let run = rm(&layout, &[second]);
        run.ok();
        assert_output(&run, &[second], &combined.parts());
        layout.assert_has(other.parts(), &run);
        assert_eq!(
            entries(layout.path()),
            [other.manifest.tagged("other:1").json().text()],
            "{}",
            run.all()
        );
    }
}

#[test]
fn two_annotations_that_agree_are_one_name() {
    let mut layout = LayoutBuilder::new();
    let image = layout.image("linux/amd64", "app", &[b"app"]);
    let other = layout.image("linux/amd64", "other", &[b"other"]);
    layout
        .entry(image.manifest.dockered("docker.io/library/app:v1"))
        .tag(&other.manifest, "other")
        .write();
    let run = rm(&layout, &[image.manifest.short()]);
    run.ok();
    assert_output(&run, &["docker.io/library/app:v1"], &image.parts());
}

#[test]
fn a_base_name_is_a_name_if_there_is_no_other() {
    let mut layout = LayoutBuilder::new();
    let old = layout.image("linux/amd64", "old", &[b"old"]);
    let new = layout.image("linux/amd64", "new", &[b"new"]);
    let kept = new
        .manifest
        .clone()
        .tagged("new")
        .annotate(BASE_NAME, "ghcr.io/zarf/new:1");
    layout
        .entry(
            old.manifest
                .clone()
                .annotate(BASE_NAME, "ghcr.io/zarf/old:1"),
        )
        .entry(&kept)
        .write();
    let run = rm(&layout, &["ghcr.io/zarf/new:1"]);
    run.exits(1).warns("No such image: ghcr.io/zarf/new:1");
    let run = rm(&layout, &["ghcr.io/zarf/old:1"]);
    run.ok();
    assert_output(&run, &["ghcr.io/zarf/old:1"], &old.parts());
    assert_entries(&layout, &[kept], &run);
}

#[test]
fn identical_entries_count_as_one() {
    // Written by running `crane pull --annotate-ref` twice.
    let mut layout = LayoutBuilder::new();
    let image = layout.image("linux/amd64", "app", &[b"app"]);
    let other = layout.image("linux/amd64", "other", &[b"other"]);
    let kept = other.manifest.tagged("ghcr.io/acme/other:1");
    layout
        .tag(&image.manifest, "ghcr.io/acme/app:1")
        .entry(&kept)
        .tag(&image.manifest, "ghcr.io/acme/app:1")
        .write();
    let run = rm(&layout, &["ghcr.io/acme/app:1"]);
    run.ok();
    assert_output(&run, &["ghcr.io/acme/app:1"], &image.parts());
    assert_entries(&layout, &[kept], &run);
}

#[test]
fn an_untagged_copy_of_the_image_is_removed_with_its_last_name() {
    // It is the same image, and was only listed without a name as well (crane).
    let mut layout = LayoutBuilder::new();
    let image = layout.image("linux/amd64", "app", &[b"app"]);
    layout
        .tag(&image.manifest, "app:1")
        .entry(&image.manifest)
        .write();
    let run = rm(&layout, &["app:1"]);
    run.ok();
    assert_output(&run, &["app:1"], &image.parts());
    assert_entries(&layout, &[], &run);
}

#[test]
fn untagged_copies_of_the_platforms_are_removed_with_the_index_and_are_kept_with_another() {
    // oras lists every child again.
    let mut layout = LayoutBuilder::new();
    let amd64 = layout.image("linux/amd64", "amd64", &[b"amd64"]);
    let arm64 = layout.image("linux/arm64", "arm64", &[b"arm64"]);
    let named = layout.image("linux/386", "named", &[b"named"]);
    let first = layout.index(&[
        amd64.manifest.clone().platform("linux/amd64"),
        arm64.manifest.clone().platform("linux/arm64"),
        named.manifest.clone().platform("linux/386"),
    ]);
    let second = layout.index(&[amd64.manifest.clone().platform("linux/amd64")]);
    layout
        .entry(&amd64.manifest)
        .entry(&arm64.manifest)
        .tag(&named.manifest, "somebody:1")
        .tag(&first, "first:1")
        .tag(&second, "second:1")
        .write();
    let run = rm(&layout, &["first:1"]);
    run.ok();
    let mut gone = vec![&first];
    gone.extend(arm64.parts());
    assert_output(&run, &["first:1"], &gone);
    let left = [
        amd64.manifest.clone(),
        named.manifest.clone().tagged("somebody:1"),
        second.clone().tagged("second:1"),
    ];
    assert_entries(&layout, &left, &run);
    let run = rm(&layout, &["second:1"]);
    run.ok();
    assert!(!layout.has(&amd64.manifest), "{}", run.all());
    assert_entries(&layout, &[named.manifest.tagged("somebody:1")], &run);
}

#[test]
fn an_untagged_copy_of_a_platform_is_removed_by_its_id_and_frees_nothing() {
    let mut layout = LayoutBuilder::new();
    let image = layout.image("linux/amd64", "app", &[b"app"]);
    let index = layout.index(&[image.manifest.clone().platform("linux/amd64")]);
    layout
        .entry(&image.manifest)
        .tag(&index, "multi:1")
        .entry(&image.manifest)
        .write();
    let run = rm(&layout, &[image.manifest.short()]);
    run.ok();
    run.says("kept: child of multi:1\n");
    run.ends_with_line("Total reclaimed space: 0B");
    layout.assert_has(image.parts(), &run);
    assert_entries(&layout, &[index.tagged("multi:1")], &run);
}

#[test]
fn absent_blobs_are_not_reported_as_deleted() {
    let mut layout = LayoutBuilder::new();
    let image = layout.image("linux/amd64", "app", &[b"base", b"app"]);
    layout.tag(&image.manifest, "app:1").write();
    layout.drop_blob(&image.layers[0]);
    let run = rm(&layout, &["app:1"]);
    run.ok();
    assert_output(
        &run,
        &["app:1"],
        &[&image.manifest, &image.config, &image.layers[1]],
    );
}

#[test]
fn docker_types_and_other_algorithms_are_supported() {
    let mut layout = LayoutBuilder::new();
    let config = layout.blob(crate::support::media::DOCKER_CONFIG, b"{\"os\":\"linux\"}");
    let layer = layout.blob(crate::support::media::DOCKER_LAYER, b"docker");
    let docker = layout.put(&crate::support::Doc::docker_manifest(
        &config,
        std::slice::from_ref(&layer),
    ));
    let big_layer = layout.blob_as("sha512", crate::support::media::LAYER, b"sha512");
    let big = layout.put_as(
        "sha512",
        &crate::support::Doc::manifest(&config, std::slice::from_ref(&big_layer)),
    );
    layout.tag(&docker, "docker:1").tag(&big, "big:1").write();
    let run = rm(&layout, &["docker:1"]);
    run.ok();
    assert_output(&run, &["docker:1"], &[&docker, &layer]);
    let run = rm(&layout, &[&big.hex()[..12]]);
    run.ok();
    assert_output(&run, &["big:1"], &[&big, &config, &big_layer]);
}

/// An entry can reference more than its own blob, in undefined fields.
#[test]
fn embedded_documents_are_removed_only_with_their_entry() {
    let mut layout = LayoutBuilder::new();
    let mut extras = Vec::new();
    for name in ["stays:1", "goes:1"] {
        let image = layout.image("linux/amd64", name, &[name.as_bytes()]);
        let extra = layout.layer(format!("inside of {name}").as_bytes());
        let entry = image.manifest.tagged(name).with("companion", &extra);
        layout.entry(entry);
        extras.push(extra);
    }
    layout.write();
    let run = rm(&layout, &["goes:1"]);
    run.ok();
    assert!(layout.has(&extras[0]), "{}", run.all());
    assert!(!layout.has(&extras[1]), "{}", run.all());
}

/// docker and BuildKit write the full name and its tag: removing the name removes both annotations, otherwise the tag alone
/// would be a name.
#[test]
fn a_name_in_two_annotations_is_removed_from_both() {
    let mut layout = LayoutBuilder::new();
    let image = layout.image("linux/amd64", "app", &[b"app"]);
    layout
        .entry(image.manifest.dockered("docker.io/library/app:1"))
        .write();
    let run = rm(&layout, &["--no-prune", "app:1"]);
    run.ok();
    assert_output(&run, &["docker.io/library/app:1"], &[]);
    layout.assert_has(image.parts(), &run);
    let ls = crate::support::Cmd::new(["ls"]).arg(layout.path()).run();
    let row = ls.ok().stdout.lines().nth(1).unwrap_or_default();
    assert!(row.starts_with("<none>       <none>"), "{}", ls.all());
}
