//! Documents that are removed along with a platform or not: attestations, twins, untagged entries, referrers of the
//! platform; and references to the index, whose digest changes.

use serde_json::Value;

use crate::rm::platform_rewrite::{assert_normal, new_index};
use crate::rm::platform_words::{images_of, layout_of, multi};
use crate::support::files::{entries, field};
use crate::support::removed::{assert_entries, assert_output, bare, rm};
use crate::support::{Desc, Doc, Image, LayoutBuilder, assert_same, media, snapshot};

/// An index as BuildKit writes it: each platform with an attestation, by annotation and, in newer versions, by `subject`.
fn attested(
    layout: &LayoutBuilder,
    platforms: &[&str],
    subject: bool,
) -> (Desc, Vec<Image>, Vec<Desc>) {
    let images = images_of(layout, platforms);
    let mut children = Vec::new();
    let mut attestations = Vec::new();
    for (image, platform) in images.iter().zip(platforms) {
        let statement = layout.blob(
            media::IN_TOTO,
            format!("{{\"of\":\"{platform}\",\"subject\":[]}}").as_bytes(),
        );
        let config = layout.blob(
            media::CONFIG,
            format!("{{\"attests\":\"{platform}\"}}").as_bytes(),
        );
        let mut doc = Doc::manifest(&config, &[statement]);
        if subject {
            doc = doc
                .artifact_type(media::ATTESTATION)
                .subject(&image.manifest);
        }
        let attestation = layout.put(&doc);
        children.push(image.manifest.clone().platform(platform));
        attestations.push(attestation);
    }
    for (attestation, image) in attestations.iter().zip(&images) {
        children.push(attestation.clone().attests(&image.manifest));
    }
    (layout.index(&children), images, attestations)
}

#[test]
fn the_attestation_is_removed_with_its_platform() {
    for subject in [false, true] {
        let mut layout = LayoutBuilder::new();
        let (index, images, attestations) =
            attested(&layout, &["linux/amd64", "linux/arm64"], subject);
        layout.tag(&index, "multi:1").write();
        let count = crate::support::blobs(layout.path()).len();
        let run = rm(&layout, &["multi:1", "--platform", "linux/arm64"]);
        run.ok();
        assert!(
            !layout.has(&images[1].manifest) && !layout.has(&attestations[1]),
            "{}",
            run.all()
        );
        layout.assert_has(
            images[0].parts().into_iter().chain([&attestations[0]]),
            &run,
        );
        // Platform: manifest, config, layer; attestation: manifest, config, statement; and one index for another.
        assert_eq!(
            crate::support::blobs(layout.path()).len(),
            count - 6,
            "{}",
            run.all()
        );
        let (_, text) = new_index(&layout, &[], &run);
        let children = serde_json::from_str::<Value>(&text).expect("it is JSON");
        assert_eq!(
            children["manifests"].as_array().map(Vec::len),
            Some(2),
            "{text}"
        );
        assert_normal(&layout);
        // An attestation is not a platform, so one platform remains.
        rm(&layout, &["multi:1", "--platform", "linux/amd64"])
            .exits(1)
            .warns("last platform");
    }
}

#[test]
fn twins_of_other_compressions_are_removed_together() {
    let mut layout = LayoutBuilder::new();
    let images = images_of(&layout, &["linux/amd64", "linux/arm64"]);
    let zstd_layer = layout.blob(media::LAYER_ZSTD, b"arm64 in zstd");
    let zstd = layout.manifest(&images[1].config, std::slice::from_ref(&zstd_layer));
    let index = layout.index(&[
        images[0].manifest.clone().platform("linux/amd64"),
        images[1].manifest.clone().platform("linux/arm64"),
        zstd.clone()
            .platform("linux/arm64/v8")
            .annotate("io.github.containers.compression.zstd", "true"),
    ]);
    layout.tag(&index, "multi:1").write();
    let run = rm(&layout, &["multi:1", "--platform", "linux/arm64"]);
    run.ok();
    for desc in [&images[1].manifest, &images[1].config, &zstd, &zstd_layer] {
        assert!(!layout.has(desc), "{}\n{}", desc.digest, run.all());
    }
    layout.assert_has(images[0].parts(), &run);
}

#[test]
fn untagged_entries_of_the_platform_and_its_referrers_are_removed_along() {
    // oras lists every child and every referrer as an entry of its own.
    let mut layout = LayoutBuilder::new();
    let (index, images, attestations) = attested(&layout, &["linux/amd64", "linux/arm64"], true);
    let signature = layout.referrer(&images[1].manifest, "application/signature", b"of arm64");
    let unlisted = layout.referrer(
        &images[1].manifest,
        "application/signature",
        b"of arm64, unlisted",
    );
    let other_signature =
        layout.referrer(&images[0].manifest, "application/signature", b"of amd64");
    let digest_tag = layout.image("linux/amd64", "digest tag", &[b"digest tag"]);
    let tag = format!("sha256-{}.sig", images[1].manifest.hex());
    let kept = [
        images[0].manifest.clone(),
        attestations[0].clone(),
        other_signature.manifest.clone(),
    ];
    layout
        .entry(&kept[0])
        .entry(&images[1].manifest)
        .entry(&kept[1])
        .entry(&attestations[1])
        .entry(&signature.manifest)
        .entry(&kept[2])
        .tag(&digest_tag.manifest, &tag)
        .tag(&index, "multi:1")
        .write();
    let run = rm(&layout, &["multi:1", "--platform", "linux/arm64"]);
    run.ok();
    for desc in [
        &images[1].manifest,
        &attestations[1],
        &signature.manifest,
        &unlisted.manifest,
        &digest_tag.manifest,
        &digest_tag.layers[0],
    ] {
        assert!(!layout.has(desc), "{}\n{}", desc.digest, run.all());
    }
    let known: Vec<&Desc> = kept.iter().collect();
    let (digest, text) = new_index(&layout, &known, &run);
    let moved = index
        .clone()
        .tagged("multi:1")
        .set("digest", digest.as_str());
    let moved = moved.set("size", u64::try_from(text.len()).expect("a length fits"));
    assert_entries(&layout, &[kept.to_vec(), vec![moved]].concat(), &run);
    assert_normal(&layout);
}

#[test]
fn a_platform_with_a_name_or_in_another_index_keeps_its_entry() {
    let mut layout = LayoutBuilder::new();
    let (index, images) = multi(&layout, &["linux/amd64", "linux/arm64", "linux/386"]);
    let second = layout.index(&[images[2].manifest.clone().platform("linux/386")]);
    let named = images[1].manifest.clone().tagged("arm:1");
    layout
        .entry(&named)
        .entry(&images[2].manifest)
        .tag(&second, "second:1")
        .tag(&index, "multi:1")
        .write();
    let run = rm(&layout, &["multi:1", "--only-platform", "linux/amd64"]);
    run.ok();
    let left = entries(layout.path());
    assert_eq!(left[0], named.json().text(), "{}", run.all());
    assert_eq!(
        field(&left[1], "digest").as_ref(),
        Some(&images[2].manifest.digest),
        "{}",
        run.all()
    );
    assert_eq!(left.len(), 4, "{}", run.all());
    layout.assert_has(images.iter().flat_map(Image::parts), &run);
}

#[test]
fn references_to_the_digest_of_the_index_are_a_conflict_that_names_the_other_modes() {
    for way in ["listed", "unlisted", "digest tag", "named"] {
        let mut layout = LayoutBuilder::new();
        let (index, images) = multi(&layout, &["linux/amd64", "linux/arm64"]);
        let signature = layout.referrer(&index, "application/signature", b"of the index");
        let plain = layout.image("linux/amd64", "signature", &[b"signature"]);
        let tag = format!("sha256-{}.sig", index.hex());
        let (referrer, said) = match way {
            "listed" => {
                layout.entry(&signature.manifest);
                (&signature, signature.manifest.short().to_owned())
            }
            "unlisted" => (&signature, signature.manifest.short().to_owned()),
            "named" => {
                layout.tag(&signature.manifest, "signature:1");
                (&signature, "signature:1".to_owned())
            }
            _ => {
                layout.drop_blob(&signature.manifest);
                layout.tag(&plain.manifest, &tag);
                (&plain, tag)
            }
        };
        let referrer = referrer.manifest.clone();
        layout.tag(&index, "multi:1").write();
        let before = snapshot(layout.path());
        let arguments = ["multi:1", "--platform", "linux/arm64"];
        let run = rm(&layout, &arguments);
        run.exits(1).one_error_with_hint();
        run.warns(&format!(
            "ocisweep: conflict: unable to rewrite multi:1 (must be forced) - its digest is referenced by {said}\n"
        ));
        run.warns("--platform-mode sparse")
            .warns("--platform-mode hollow")
            .warns("-f");
        assert_same(&before, &snapshot(layout.path()), &run.all());

        let all: Vec<&str> = ["-f"].into_iter().chain(arguments).collect();
        let run = rm(&layout, &all);
        run.ok();
        // A referrer with a name keeps its subject; all others would reference nothing.
        for desc in [&images[1].manifest, &index] {
            assert_eq!(layout.has(desc), way == "named", "{way}\n{}", run.all());
        }
        layout.assert_has(images[0].parts(), &run);
        assert_eq!(
            layout.has(&referrer),
            way == "named",
            "{way}\n{}",
            run.all()
        );
    }
}

#[test]
fn keep_referrers_keeps_referrers_of_the_old_index_and_the_index() {
    let mut layout = LayoutBuilder::new();
    let (index, images) = multi(&layout, &["linux/amd64", "linux/arm64"]);
    let signature = layout.referrer(&index, "application/signature", b"of the index");
    layout
        .tag(&index, "multi:1")
        .entry(&signature.manifest)
        .write();
    let run = rm(
        &layout,
        &[
            "-f",
            "--keep-referrers",
            "multi:1",
            "--platform",
            "linux/arm64",
        ],
    );
    run.ok();
    layout.assert_has([&index, &signature.manifest], &run);
    layout.assert_has(images.iter().flat_map(Image::parts), &run);
    let (_, text) = new_index(&layout, &[&signature.manifest], &run);
    assert!(!text.contains(images[1].manifest.hex()), "{text}");
    assert_normal(&layout);
}

#[test]
fn only_platform_drops_all_others() {
    let mut layout = LayoutBuilder::new();
    let platforms = [
        "linux/amd64",
        "linux/arm64",
        "linux/arm/v7",
        "windows/amd64",
    ];
    let (index, images, attestations) = attested(&layout, &platforms, true);
    layout.tag(&index, "multi:1").write();
    let run = rm(&layout, &["multi:1", "--only-platform", "linux/arm"]);
    run.ok();
    for (position, image) in images.iter().enumerate() {
        let is_here = layout.has(&image.manifest) && layout.has(&attestations[position]);
        assert_eq!(
            is_here,
            position == 2,
            "{}\n{}",
            platforms[position],
            run.all()
        );
    }
    // The second time there is nothing to do.
    let before = snapshot(layout.path());
    let run = rm(&layout, &["multi:1", "--only-platform", "linux/arm"]);
    run.ok();
    assert_output(&run, &[], &[]);
    assert_same(&before, &snapshot(layout.path()), &run.all());
}

/// A pinned name is valid only for the digest after its `@`, in any annotation and entry.
#[test]
fn a_rewrite_that_would_invalidate_a_pinned_name_is_refused() {
    const BASE: &str = "org.opencontainers.image.base.name";
    let names: [fn(&Desc, &str) -> Desc; 4] = [
        |index, pinned| index.clone().tagged(pinned),
        |index, pinned| index.clone().named(pinned),
        |index, pinned| index.clone().annotate(BASE, pinned),
        // In addition to the displayed name.
        |index, pinned| index.clone().tagged("multi:1").annotate(BASE, pinned),
    ];
    for name in names {
        let (mut layout, index, images) = layout_of(&["linux/amd64", "linux/arm64"]);
        let pinned = format!("ghcr.io/acme/multi:1@{}", index.digest);
        layout.clear_entries().entry(name(&index, &pinned)).write();
        let before = snapshot(layout.path());
        let run = rm(&layout, &["@0", "--only-platform", "linux/amd64"]);
        run.exits(1).one_error_with_hint();
        run.warns(&format!("its digest is referenced by {pinned}\n"));
        run.warns("--platform-mode sparse");
        assert_same(&before, &snapshot(layout.path()), &run.all());
        // Force moves the name to the new digest, so that it is valid again.
        let run = rm(&layout, &["-f", "@0", "--only-platform", "linux/amd64"]);
        run.ok();
        assert!(!layout.has(&images[1].manifest), "{}", run.all());
        let entry = crate::support::files::entries(layout.path()).remove(0);
        let digest = field(&entry, "digest").expect("it has a digest");
        assert_ne!(digest, index.digest, "{}", run.all());
        assert!(
            entry.to_string().contains(&format!("multi:1@{digest}")),
            "{entry}"
        );
        assert!(!entry.to_string().contains(&index.digest), "{entry}");
    }
    // A name of another entry pins the digest as well.
    let (mut layout, index, _) = layout_of(&["linux/amd64", "linux/arm64"]);
    let other = layout.image("linux/amd64", "other", &[]);
    let pinned = format!("ghcr.io/acme/multi:1@{}", index.digest);
    layout.tag(&other.manifest, &pinned).write();
    let run = rm(&layout, &["multi:1", "--platform", "linux/arm64"]);
    run.exits(1).warns(&pinned);
}

/// A signature that only shares the name of its image was made for the digest as well (cosign and hauler store them this
/// way).
#[test]
fn an_index_whose_name_a_signature_shares_is_not_rewritten_without_force() {
    let mut layout = LayoutBuilder::new();
    let (index, _) = multi(&layout, &["linux/amd64", "linux/arm64"]);
    let config = layout.empty_config();
    let payload = layout.layer(b"signature");
    let signature = layout.manifest(&config, &[payload]);
    let entry = signature.clone().tagged("multi:1");
    layout
        .tag(&index, "multi:1")
        .entry(entry.annotate("kind", "dev.cosignproject.cosign/sigs"))
        .write();
    for image in ["multi:1", index.short()] {
        let before = snapshot(layout.path());
        let run = rm(&layout, &[image, "--platform", "linux/arm64"]);
        run.exits(1).warns(&format!(
            "its digest is referenced by {}\n",
            signature.short()
        ));
        assert_same(&before, &snapshot(layout.path()), &run.all());
    }
    // The other modes keep the digest.
    let dry = ["multi:1", "--platform", "linux/arm64", "-n"];
    bare(layout.path(), dry)
        .args(["--platform-mode", "sparse"])
        .run()
        .ok();
    rm(&layout, &["-f", "multi:1", "--platform", "linux/arm64"]).ok();
    assert!(layout.has(&signature) && !layout.has(&index));
}
