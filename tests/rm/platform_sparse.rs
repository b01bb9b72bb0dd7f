//! `--platform-mode sparse` and `hollow`: the index and its digest are kept, blobs are deleted, and all commands accept the
//! layout afterwards.

use std::fs;

use crate::rm::platform_words::{images_of, multi};
use crate::support::files::entries;
use crate::support::removed::{assert_entries, assert_output, dropping, rm, rm_sparse};
use crate::support::{Cmd, Desc, Doc, Image, LayoutBuilder, assert_same, media, snapshot};

const ARM: [&str; 5] = dropping("linux/arm64", "sparse");
const ARM_HOLLOW: [&str; 5] = dropping("linux/arm64", "hollow");

/// Panics unless every command that reads or sweeps accepts the layout, and `gc` finds nothing.
#[track_caller]
fn assert_normal(layout: &LayoutBuilder) {
    let path = layout.path();
    let before = snapshot(path);
    for command in [
        &["ls"][..],
        &["ls", "--tree"],
        &["df"],
        &["df", "-v"],
        &["gc", "-n", "--grace", "0"],
    ] {
        let run = Cmd::new(command).arg(path).run();
        assert_eq!(run.ok().stderr, "", "{}", run.all());
    }
    let run = Cmd::gc(path).run();
    run.ok().says("Total reclaimed space: 0B");
    let after = crate::support::without_directory_times(&snapshot(path));
    assert_same(
        &crate::support::without_directory_times(&before),
        &after,
        &run.all(),
    );
}

/// Returns the line of the tree that begins with a platform.
#[track_caller]
fn tree_line(layout: &LayoutBuilder, platform: &str) -> String {
    let run = Cmd::new(["ls", "--tree"]).arg(layout.path()).run();
    let line = run.ok().stdout.lines().find(|line| line.contains(platform));
    line.unwrap_or_else(|| panic!("no {platform}\n{}", run.all()))
        .trim_end()
        .to_owned()
}

/// An index with two platforms, each with an attestation, beside an image that uses a layer of the second.
fn fixture() -> (LayoutBuilder, Desc, Vec<Image>, Vec<Image>) {
    let mut layout = LayoutBuilder::new();
    let mut images = images_of(&layout, &["linux/amd64", "linux/arm64"]);
    let borrowed = layout.layer(b"used by another image");
    images[1].layers.push(borrowed.clone());
    images[1].manifest = {
        layout.drop_blob(&images[1].manifest);
        layout.manifest(&images[1].config, &images[1].layers)
    };
    let attestations: Vec<Image> = images
        .iter()
        .map(|image| {
            let config = layout.blob(media::CONFIG, image.manifest.hex().as_bytes());
            let statement = layout.blob(
                media::IN_TOTO,
                format!("{{\"{}\":1}}", image.manifest.hex()).as_bytes(),
            );
            let doc = Doc::manifest(&config, std::slice::from_ref(&statement))
                .artifact_type(media::ATTESTATION)
                .subject(&image.manifest);
            Image {
                manifest: layout.put(&doc),
                config,
                layers: vec![statement],
            }
        })
        .collect();
    let index = layout.index(&[
        images[0].manifest.clone().platform("linux/amd64"),
        images[1].manifest.clone().platform("linux/arm64"),
        attestations[0]
            .manifest
            .clone()
            .attests(&images[0].manifest),
        attestations[1]
            .manifest
            .clone()
            .attests(&images[1].manifest),
    ]);
    let user = layout.manifest(&layout.config("linux/arm64", "user"), &[borrowed]);
    layout.tag(&index, "multi:1").tag(&user, "user:1").write();
    (layout, index, images, attestations)
}

#[test]
fn sparse_deletes_the_platform_and_its_attestation_and_keeps_the_index() {
    let (layout, index, images, attestations) = fixture();
    let before = fs::read(layout.join("index.json")).expect("it can be read");
    let run = rm_sparse(&layout, &ARM);
    run.ok();
    let (arm64, attestation) = (&images[1], &attestations[1]);
    // The base belongs to the other platform, the topmost layer to another image.
    assert_output(
        &run,
        &[],
        &[
            &arm64.manifest,
            &arm64.config,
            &arm64.layers[1],
            &attestation.manifest,
            &attestation.config,
            &attestation.layers[0],
        ],
    );
    layout.assert_has(
        images[0].parts().into_iter().chain(attestations[0].parts()),
        &run,
    );
    layout.assert_has([&index, &arm64.layers[0], &arm64.layers[2]], &run);
    let after = fs::read(layout.join("index.json")).expect("it can be read");
    assert_eq!(after, before, "the digest stays\n{}", run.all());
    let line = tree_line(&layout, "linux/arm64");
    assert!(line.contains(" 0B ") && line.ends_with("missing"), "{line}");
    assert!(!tree_line(&layout, "linux/amd64").ends_with("missing"));
    assert!(tree_line(&layout, "multi:1").ends_with("partial"));
    assert_normal(&layout);

    // A missing platform can still be removed from the index.
    let run = rm(&layout, &ARM);
    run.exits(1)
        .warns("does not provide the platform linux/arm64 (it has linux/amd64)\n");
    let run = rm(&layout, &["multi:1", "--platform", "linux/arm64"]);
    run.ok().says("Rewritten: multi:1, image ID ");
    assert!(!layout.has(&index), "{}", run.all());
    layout.assert_has(
        images[0].parts().into_iter().chain(attestations[0].parts()),
        &run,
    );
    let run = rm(&layout, &["multi:1", "user:1"]);
    run.ok();
    assert_eq!(
        crate::support::blobs(layout.path()).len(),
        0,
        "{}",
        run.all()
    );
}

#[test]
fn hollow_deletes_only_layers_that_nothing_else_uses() {
    let (layout, index, images, attestations) = fixture();
    let before = fs::read(layout.join("index.json")).expect("it can be read");
    let run = rm_sparse(&layout, &ARM_HOLLOW);
    run.ok();
    let arm64 = &images[1];
    assert_output(&run, &[], &[&arm64.layers[1]]);
    layout.assert_has(
        [
            &index,
            &arm64.manifest,
            &arm64.config,
            &arm64.layers[0],
            &arm64.layers[2],
        ],
        &run,
    );
    layout.assert_has(attestations.iter().flat_map(Image::parts), &run);
    assert_eq!(
        fs::read(layout.join("index.json")).expect("it can be read"),
        before,
        "{}",
        run.all()
    );
    assert!(tree_line(&layout, "linux/arm64").ends_with("partial"));
    assert_normal(&layout);
    // The second time there is nothing left to delete.
    let run = rm_sparse(&layout, &ARM_HOLLOW);
    run.ok().keeps_quiet_about("Deleted:");
    // A hollow platform can be removed in every other mode.
    let run = rm_sparse(&layout, &ARM);
    run.ok();
    assert!(!layout.has(&arm64.manifest), "{}", run.all());
}

#[test]
fn the_last_image_with_missing_platforms_is_removed_like_any_other() {
    for arguments in [ARM, ARM_HOLLOW] {
        let (layout, index, images, _) = fixture();
        rm_sparse(&layout, &arguments).ok();
        let run = rm(&layout, &["multi:1"]);
        run.ok()
            .says("Untagged: multi:1\n")
            .says(&format!("Deleted: {}\n", index.digest));
        assert!(!layout.has(&images[0].manifest), "{}", run.all());
        layout.assert_has([&images[1].layers[2]], &run);
        assert_normal(&layout);
    }
}

#[test]
fn a_signed_index_keeps_its_signatures() {
    for arguments in [ARM, ARM_HOLLOW] {
        for listed in [true, false] {
            let (mut layout, index, images, _) = fixture();
            let signature = layout.referrer(&index, "application/signature", b"of the index");
            let of_platform =
                layout.referrer(&images[1].manifest, "application/signature", b"of arm64");
            let plain = layout.image("linux/amd64", "signature", &[b"signature"]);
            layout.tag(&plain.manifest, &format!("sha256-{}.sig", index.hex()));
            if listed {
                layout.entry(&signature.manifest);
            }
            layout.write();
            let run = rm_sparse(&layout, &arguments);
            run.ok();
            layout.assert_has(signature.parts().into_iter().chain(plain.parts()), &run);
            assert!(!layout.has(&images[1].layers[1]), "{}", run.all());
            // The signature of the platform is removed with its manifest, and kept with it.
            let is_hollow = arguments == ARM_HOLLOW;
            assert_eq!(
                layout.has(&of_platform.manifest),
                is_hollow,
                "{}",
                run.all()
            );
            assert_normal(&layout);
        }
    }
}

#[test]
fn untagged_entries_of_the_platform_are_removed_along() {
    // oras lists every child and every referrer again.
    for arguments in [ARM, ARM_HOLLOW] {
        let (mut layout, index, images, attestations) = fixture();
        let signature = layout.referrer(&images[1].manifest, "application/signature", b"of arm64");
        let of_index = layout.referrer(&index, "application/signature", b"of the index");
        layout
            .entry(&images[0].manifest)
            .entry(&attestations[0].manifest)
            .entry(&of_index.manifest)
            .entry(&images[1].manifest)
            .entry(&attestations[1].manifest)
            .entry(&signature.manifest)
            .write();
        let before = entries(layout.path());
        let run = rm_sparse(&layout, &arguments);
        run.ok();
        let is_hollow = arguments == ARM_HOLLOW;
        // Hollow keeps all documents, so only the entry of the platform itself is removed.
        let left = if is_hollow {
            [&before[..5], &before[6..]].concat()
        } else {
            before[..5].to_vec()
        };
        assert_eq!(entries(layout.path()), left, "{}", run.all());
        assert!(!layout.has(&images[1].layers[1]), "{}", run.all());
        assert_eq!(layout.has(&signature.manifest), is_hollow, "{}", run.all());
        assert_eq!(
            layout.has(&attestations[1].manifest),
            is_hollow,
            "{}",
            run.all()
        );
        layout.assert_has(
            images[0].parts().into_iter().chain(attestations[0].parts()),
            &run,
        );
        layout.assert_has(of_index.parts().into_iter().chain([&index]), &run);
        assert_normal(&layout);
    }
}

#[test]
fn a_platform_with_a_name_is_kept() {
    for arguments in [ARM, ARM_HOLLOW] {
        let (mut layout, index, images, _) = fixture();
        layout.tag(&images[1].manifest, "arm:1").write();
        let before = entries(layout.path());
        let run = rm_sparse(&layout, &arguments);
        run.ok();
        assert_eq!(entries(layout.path()), before, "{}", run.all());
        layout.assert_has(images[1].parts(), &run);
        layout.assert_has([&index], &run);
        assert_normal(&layout);
    }
}

#[test]
fn an_untagged_entry_of_the_platform_is_kept_for_another_index() {
    for arguments in [ARM, ARM_HOLLOW] {
        let (mut layout, _, images, _) = fixture();
        let second = layout.index(&[images[1].manifest.clone().platform("linux/arm64")]);
        layout
            .entry(&images[1].manifest)
            .tag(&second, "second:1")
            .write();
        let before = entries(layout.path());
        let run = rm_sparse(&layout, &arguments);
        run.ok();
        assert_eq!(entries(layout.path()), before, "{}", run.all());
        layout.assert_has(images[1].parts(), &run);
        assert_normal(&layout);
    }
}

#[test]
fn a_signature_with_a_name_keeps_the_index_but_not_its_platforms() {
    for arguments in [ARM, ARM_HOLLOW] {
        let (mut layout, index, images, _) = fixture();
        let signature = layout.referrer(&index, "application/signature", b"of the index");
        let of_that = layout.referrer(&signature.manifest, "application/signature", b"of that");
        layout
            .entry(&of_that.manifest)
            .tag(&signature.manifest, "signature:1")
            .write();
        let run = rm_sparse(&layout, &arguments);
        run.ok();
        assert!(!layout.has(&images[1].layers[1]), "{}", run.all());
        layout.assert_has([&index, &signature.manifest, &of_that.manifest], &run);
        assert_normal(&layout);
    }
}

#[test]
fn another_index_that_lists_the_platform_keeps_it() {
    // docker deletes it there as well.
    for arguments in [ARM, ARM_HOLLOW] {
        let mut layout = LayoutBuilder::new();
        let (first, images) = multi(&layout, &["linux/amd64", "linux/arm64"]);
        let second = layout.index(&[images[1].manifest.clone().platform("linux/arm64")]);
        layout
            .tag(&first, "multi:1")
            .tag(&second, "second:1")
            .write();
        let run = rm_sparse(&layout, &arguments);
        run.ok();
        layout.assert_has(images.iter().flat_map(Image::parts), &run);
    }
}

#[test]
fn a_referrer_that_lists_the_image_or_the_platform_is_another_image() {
    // Without a name, a referrer whose subject is the platform alone is removed along with it.
    for (is_about_index, is_tagged) in [(true, false), (true, true), (false, true)] {
        for lists_index in [true, false] {
            let (mut layout, index, images, _) = fixture();
            let subject = if is_about_index {
                &index
            } else {
                &images[1].manifest
            };
            let child = if lists_index {
                index.clone()
            } else {
                images[1].manifest.clone().platform("linux/arm64")
            };
            let other = layout.put(&Doc::index(&[child]).subject(subject));
            if is_tagged {
                layout.tag(&other, "other:1");
            } else {
                layout.entry(&other);
            }
            layout.write();
            let run = rm_sparse(&layout, &ARM);
            run.ok();
            layout.assert_has(images[1].parts().into_iter().chain([&other]), &run);
            assert_normal(&layout);
        }
    }
}

#[test]
fn layers_that_only_dropped_platforms_share_are_removed_with_the_last_of_them() {
    for mode in ["sparse", "hollow"] {
        let mut layout = LayoutBuilder::new();
        let one = layout.image("linux/arm64", "one", &[b"of both", b"one"]);
        let two = layout.image("linux/386", "two", &[b"of both", b"two"]);
        let stays = layout.image("linux/amd64", "stays", &[b"stays"]);
        let index = layout.index(&[
            one.manifest.clone().platform("linux/arm64"),
            two.manifest.clone().platform("linux/386"),
            stays.manifest.clone().platform("linux/amd64"),
        ]);
        layout.tag(&index, "multi:1").write();
        let run = rm_sparse(
            &layout,
            &[
                "multi:1",
                "--only-platform",
                "linux/amd64",
                "--platform-mode",
                mode,
            ],
        );
        run.ok();
        for desc in one.layers.iter().chain(&two.layers) {
            assert!(!layout.has(desc), "{mode}\n{}", run.all());
        }
        layout.assert_has(stays.parts().into_iter().chain([&index]), &run);
        assert_eq!(layout.has(&one.config), mode == "hollow", "{}", run.all());
        assert_normal(&layout);
    }
}

#[test]
fn platforms_in_nested_indexes_are_removed_as_well() {
    for mode in ["sparse", "hollow"] {
        let mut layout = LayoutBuilder::new();
        let (inner, images) = multi(&layout, &["linux/arm64", "linux/386"]);
        let amd64 = layout.image("linux/amd64", "amd64", &[b"amd64"]);
        let outer = layout.index(&[
            inner.clone(),
            amd64.manifest.clone().platform("linux/amd64"),
        ]);
        // The inner one is listed again, as oras does.
        layout.tag(&outer, "multi:1").entry(&inner).write();
        let run = rm_sparse(&layout, &dropping("linux/arm64", mode));
        run.ok();
        assert!(!layout.has(&images[0].layers[1]), "{mode}\n{}", run.all());
        assert_eq!(
            layout.has(&images[0].manifest),
            mode == "hollow",
            "{}",
            run.all()
        );
        layout.assert_has(images[1].parts().into_iter().chain([&inner, &outer]), &run);
        assert_entries(&layout, &[outer.tagged("multi:1"), inner.clone()], &run);
        assert_normal(&layout);
    }
}

#[test]
fn a_partially_present_platform_can_be_removed_too() {
    for arguments in [ARM, ARM_HOLLOW] {
        let (layout, _, images, _) = fixture();
        layout
            .drop_blob(&images[1].layers[1])
            .drop_blob(&images[1].config);
        let run = rm_sparse(&layout, &arguments);
        run.ok();
        layout.assert_has(images[0].parts(), &run);
        assert_eq!(
            layout.has(&images[1].manifest),
            arguments == ARM_HOLLOW,
            "{}",
            run.all()
        );
        assert_normal(&layout);
    }
    // By its ID, everything else is the same.
    let (layout, index, images, _) = fixture();
    let arguments = [
        index.short(),
        "--platform",
        "linux/arm64",
        "--platform-mode",
        "sparse",
    ];
    let run = rm_sparse(&layout, &arguments);
    run.ok();
    assert!(!layout.has(&images[1].manifest), "{}", run.all());
}
