//! Documents that belong to an image without being a part of it: signatures, attestations, SBOMs, in all forms that writers
//! use; and images that it was built upon.

use crate::support::files::entries;
use crate::support::removed::{assert_entries, assert_output, bare, rm};
use crate::support::{Cmd, Desc, Doc, Image, LayoutBuilder, Obj, media};

/// The in-toto annotation of docker save.
const SUBJECT: &str = "io.containerd.manifest.subject";

/// The annotation with the digest of the image that an image was built upon.
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// An image and another one that is not changed.
fn pair() -> (LayoutBuilder, Image, Image) {
    let layout = LayoutBuilder::new();
    let app = layout.image("linux/amd64", "app", &[b"app"]);
    let other = layout.image("linux/amd64", "other", &[b"other"]);
    (layout, app, other)
}

/// A manifest without a subject.
fn silent(layout: &LayoutBuilder, payload: &[u8]) -> Image {
    let config = layout.blob(media::CONFIG, format!("{{\"of\":{payload:?}}}").as_bytes());
    let layer = layout.layer(payload);
    Image {
        manifest: layout.manifest(&config, std::slice::from_ref(&layer)),
        config,
        layers: vec![layer],
    }
}

fn manifests<'a>(images: impl IntoIterator<Item = &'a Image>) -> Vec<&'a Desc> {
    images.into_iter().map(|image| &image.manifest).collect()
}

#[test]
fn untagged_referrers_and_their_referrers_are_removed_with_their_subject() {
    let (mut layout, app, other) = pair();
    let sbom = layout.referrer(&app.manifest, "application/spdx+json", b"sbom");
    let of_sbom = layout.referrer(&sbom.manifest, "application/signature", b"of the sbom");
    let of_that = layout.referrer(&of_sbom.manifest, "application/signature", b"of that");
    let kept = layout.referrer(&other.manifest, "application/signature", b"of the other");
    layout
        // Before their subjects, as oras orders them at random.
        .entry(&of_that.manifest)
        .entry(&kept.manifest)
        .entry(&of_sbom.manifest)
        .tag(&app.manifest, "app:1")
        .tag(&other.manifest, "other:1")
        .entry(&sbom.manifest)
        .write();
    let run = rm(&layout, &["app:1"]);
    run.ok().says("Untagged: app:1\n");
    for image in [&app, &sbom, &of_sbom, &of_that] {
        assert!(!layout.has(&image.manifest), "{}", run.all());
        assert!(!layout.has(&image.layers[0]), "{}", run.all());
    }
    assert_entries(
        &layout,
        &[
            kept.manifest.clone(),
            other.manifest.clone().tagged("other:1"),
        ],
        &run,
    );
    layout.assert_has(kept.parts().into_iter().chain(other.parts()), &run);
}

#[test]
fn referrers_that_no_entry_lists_are_removed_with_their_subject() {
    // cosign stores bundles this way.
    let (mut layout, app, other) = pair();
    let signature = layout.referrer(&app.manifest, "application/signature", b"one");
    let of_that = layout.referrer(&signature.manifest, "application/signature", b"two");
    let kept = layout.referrer(&other.manifest, "application/signature", b"three");
    layout
        .tag(&app.manifest, "app:1")
        .tag(&app.manifest, "app:2")
        .tag(&other.manifest, "other:1")
        .write();
    let run = rm(&layout, &["app:1"]);
    run.ok();
    layout.assert_has(manifests([&signature, &of_that, &kept]), &run);
    let run = rm(&layout, &["app:2"]);
    run.ok();
    for image in [&app, &signature, &of_that] {
        assert!(!layout.has(&image.manifest), "{}", run.all());
        assert!(!layout.has(&image.layers[0]), "{}", run.all());
    }
    layout.assert_has(kept.parts().into_iter().chain(other.parts()), &run);
    Cmd::gc(layout.path())
        .run()
        .ok()
        .ends_with_line("Total reclaimed space: 0B");
}

#[test]
fn keep_referrers_keeps_them_and_their_subject() {
    let (mut layout, app, other) = pair();
    let signature = layout.referrer(&app.manifest, "application/signature", b"signature");
    layout
        .tag(&app.manifest, "app:1")
        .entry(&signature.manifest)
        .tag(&other.manifest, "other:1")
        .write();
    let run = rm(&layout, &["--keep-referrers", "app:1"]);
    run.ok();
    run.says("Untagged: app:1\n").keeps_quiet_about("Deleted:");
    assert_entries(
        &layout,
        &[
            signature.manifest.clone(),
            other.manifest.clone().tagged("other:1"),
        ],
        &run,
    );
    layout.assert_has(app.parts().into_iter().chain(signature.parts()), &run);
    // Other collectors do not treat them as garbage either.
    Cmd::gc(layout.path())
        .run()
        .ok()
        .says("Total reclaimed space: 0B");
}

#[test]
fn keep_referrers_keeps_signatures_that_only_share_a_name() {
    let (mut layout, app, _) = pair();
    let signature = silent(&layout, b"signature");
    let tag = format!("sha256-{}.sig", app.manifest.hex());
    layout
        .tag(&app.manifest, "app:1")
        .tag(&signature.manifest, &tag)
        .write();
    let run = rm(&layout, &["--keep-referrers", "app:1"]);
    run.ok();
    assert_output(&run, &["app:1"], &app.parts());
    assert_entries(&layout, &[signature.manifest.clone().tagged(&tag)], &run);

    let (layout, of_app, _, _) = hauler("dev.hauler");
    let run = rm(&layout, &["--keep-referrers", "ghcr.io/acme/app:1"]);
    run.ok();
    assert_output(&run, &["ghcr.io/acme/app:1"], &of_app[0].parts());
    layout.assert_has(of_app[1..].iter().flat_map(Image::parts), &run);
}

#[test]
fn a_referrer_with_a_name_is_kept_and_noted() {
    let (mut layout, app, other) = pair();
    let report = layout.referrer(&app.manifest, "application/report", b"report");
    let signature = layout.referrer(&report.manifest, "application/signature", b"signature");
    layout
        .tag(&app.manifest, "app:1")
        .tag(&report.manifest, "report:1")
        .entry(&signature.manifest)
        .tag(&other.manifest, "other:1")
        .write();
    let run = rm(&layout, &["app:1"]);
    run.ok().warns("`report:1`");
    // Its references are kept with it, and so is its own signature.
    layout.assert_has(app.parts().into_iter().chain(report.parts()), &run);
    let left = [
        report.manifest.clone().tagged("report:1"),
        signature.manifest.clone(),
        other.manifest.tagged("other:1"),
    ];
    assert_entries(&layout, &left, &run);
    let run = rm(&layout, &["report:1"]);
    run.ok();
    for image in [&app, &report, &signature] {
        assert!(!layout.has(&image.manifest), "{}", run.all());
    }
}

#[test]
fn digest_tags_are_removed_with_the_image_or_the_platform_that_they_name() {
    for (place, suffix) in [
        ("index", ".sig"),
        ("index", ".att"),
        ("index", ".sbom"),
        ("index", ""),
        ("platform", ".sig"),
        ("registry", ".sig"),
    ] {
        let (mut layout, app, other) = pair();
        let index = layout.index(&[app.manifest.clone().platform("linux/amd64")]);
        let about = if place == "platform" {
            &app.manifest
        } else {
            &index
        };
        let signature = silent(&layout, b"signature");
        let of_other = silent(&layout, b"signature of the other");
        let of_nobody = silent(&layout, b"signature of an absent image");
        let repository = if place == "registry" {
            "ghcr.io/acme/app:"
        } else {
            ""
        };
        let tag = format!("{repository}sha256-{}{suffix}", about.hex());
        let kept = [
            of_other
                .manifest
                .clone()
                .tagged(&format!("sha256-{}{suffix}", other.manifest.hex())),
            of_nobody
                .manifest
                .clone()
                .tagged(&format!("sha256-{}{suffix}", "0".repeat(64))),
        ];
        layout
            .tag(&signature.manifest, &tag)
            .tag(&index, "app:1")
            .entry(&kept[0])
            .entry(&kept[1])
            .tag(&other.manifest, "other:1")
            .write();
        let run = rm(&layout, &["app:1"]);
        run.ok().says(&format!("Untagged: {tag}\n"));
        assert!(
            !layout.has(&signature.manifest),
            "{place}{suffix}\n{}",
            run.all()
        );
        assert!(
            !layout.has(&signature.layers[0]),
            "{place}{suffix}\n{}",
            run.all()
        );
        let left = [
            kept[0].clone(),
            kept[1].clone(),
            other.manifest.clone().tagged("other:1"),
        ];
        assert_entries(&layout, &left, &run);
    }
}

/// The tag of a digest of any algorithm, complete or truncated to 64 digits as by the distribution-spec, with any suffix.
#[test]
fn digest_tags_of_every_form_follow_their_image() {
    for (algorithm, cut, suffix) in [
        ("sha256", None, ".0123456789ab.meta"),
        ("sha256", None, ".cosign"),
        ("sha512", None, ".sig"),
        ("sha512", Some(64), ""),
        ("sha512", Some(64), ".sig"),
        ("sha384", Some(64), ".att"),
    ] {
        for repository in ["", "ghcr.io/acme/app:"] {
            let (mut layout, _, other) = pair();
            let config = layout.blob(media::CONFIG, b"{\"of\":\"app\"}");
            let layer = layout.layer(b"of app");
            let app = layout.put_as(
                algorithm,
                &Doc::manifest(&config, std::slice::from_ref(&layer)),
            );
            let signature = silent(&layout, b"signature");
            let hex = app.hex();
            let hex = hex
                .get(..cut.unwrap_or(hex.len()))
                .expect("it has that length");
            let tag = format!("{repository}{algorithm}-{hex}{suffix}");
            layout
                .tag(&signature.manifest, &tag)
                .tag(&app, "app:1")
                .tag(&app, "app:2")
                .tag(&other.manifest, "other:1")
                .write();
            let prune = Cmd::new(["prune", "-f"]).arg(layout.path()).run();
            prune.ok();
            layout.assert_has(signature.parts(), &prune);
            let run = rm(&layout, &["app:1"]);
            run.ok();
            assert_output(&run, &["app:1"], &[]);
            let run = rm(&layout, &["app:2"]);
            run.ok().says(&format!("Untagged: {tag}\n"));
            for gone in [&app, &signature.manifest, &signature.layers[0]] {
                assert!(!layout.has(gone), "{tag}\n{}", run.all());
            }
            assert_entries(&layout, &[other.manifest.clone().tagged("other:1")], &run);
        }
    }
}

/// A listed attestation that is itself signed by digest tag: each would keep the other, if they were inspected one by one.
#[test]
fn referrers_of_referrers_are_removed_in_every_form() {
    const ATTESTATION: &str = "application/vnd.docker.attestation.manifest.v1+json";
    for artifact_type in ["application/vnd.sbom", ATTESTATION] {
        let (mut layout, app, other) = pair();
        let referrer = layout.referrer(&app.manifest, artifact_type, b"referrer");
        let signature = layout.referrer(&referrer.manifest, "application/signature", b"signature");
        let index = layout.index(std::slice::from_ref(&signature.manifest));
        layout
            .tag(&app.manifest, "app:1")
            .entry(&referrer.manifest)
            .tag(&index, &format!("sha256-{}", referrer.manifest.hex()))
            .tag(&other.manifest, "other:1")
            .write();
        let run = rm(&layout, &["app:1"]);
        run.ok();
        for gone in [
            &app.manifest,
            &referrer.manifest,
            &signature.manifest,
            &index,
        ] {
            assert!(!layout.has(gone), "{artifact_type}\n{}", run.all());
        }
        assert_entries(&layout, &[other.manifest.clone().tagged("other:1")], &run);
    }
}

/// olareg, image-spec pull request 1171, and any later tool.
#[test]
fn an_annotation_that_ends_in_subject_makes_a_referrer() {
    for key in [
        "org.olareg.referrer.subject",
        "org.opencontainers.image.referrer.subject",
        "com.example.subject",
    ] {
        let (mut layout, app, other) = pair();
        let [of_app, of_other] = [&app, &other].map(|image| {
            let silent = silent(&layout, image.manifest.digest.as_bytes());
            (
                silent
                    .manifest
                    .clone()
                    .annotate(key, image.manifest.digest.as_str()),
                silent,
            )
        });
        layout
            .entry(&of_app.0)
            .entry(&of_other.0)
            .tag(&app.manifest, "app:1")
            .tag(&other.manifest, "other:1")
            .write();
        let prune = Cmd::new(["prune", "-f"]).arg(layout.path()).run();
        prune.ok();
        layout.assert_has(
            of_app.1.parts().into_iter().chain(of_other.1.parts()),
            &prune,
        );
        let run = rm(&layout, &["app:1"]);
        run.ok();
        assert!(!layout.has(&of_app.1.manifest), "{key}\n{}", run.all());
        assert_entries(
            &layout,
            &[of_other.0, other.manifest.clone().tagged("other:1")],
            &run,
        );
    }
}

#[test]
fn a_digest_tag_is_kept_while_its_image_is() {
    let (mut layout, app, _) = pair();
    let signature = silent(&layout, b"signature");
    let tag = format!("sha256-{}.sig", app.manifest.hex());
    layout
        .tag(&app.manifest, "app:1")
        .tag(&app.manifest, "app:2")
        .tag(&signature.manifest, &tag)
        .write();
    let run = rm(&layout, &["app:1"]);
    run.ok();
    assert_output(&run, &["app:1"], &[]);
    // It can be removed by its own name, which keeps the image.
    let run = rm(&layout, &[&tag]);
    run.ok();
    assert_output(&run, &[&tag], &signature.parts());
    layout.assert_has(app.parts(), &run);
}

#[test]
fn entries_that_docker_save_annotates_with_an_image_are_removed_with_it() {
    let (mut layout, app, other) = pair();
    let attestation = silent(&layout, b"attestation");
    let of_other = silent(&layout, b"attestation of the other");
    let kept = of_other
        .manifest
        .clone()
        .annotate(SUBJECT, other.manifest.digest.as_str());
    layout
        .tag(&app.manifest, "app:1")
        .entry(
            attestation
                .manifest
                .clone()
                .annotate(SUBJECT, app.manifest.digest.as_str()),
        )
        .entry(&kept)
        .tag(&other.manifest, "other:1")
        .write();
    let run = rm(&layout, &["app:1"]);
    run.ok();
    assert!(!layout.has(&attestation.manifest), "{}", run.all());
    assert_entries(&layout, &[kept, other.manifest.tagged("other:1")], &run);
}

/// A hauler store: image, signatures and SBOM under one name, distinguished by `kind`; and a second image with its signatures.
fn hauler(style: &str) -> (LayoutBuilder, Vec<Image>, Image, Vec<Desc>) {
    let mut layout = LayoutBuilder::new();
    let app = layout.image("linux/amd64", "app", &[b"app"]);
    let sigs = silent(&layout, b"sigs");
    let sboms = silent(&layout, b"sboms");
    let other = layout.image("linux/amd64", "other", &[b"other"]);
    let other_sigs = silent(&layout, b"sigs of the other");
    let entry = |image: &Image, name: &str, kind: &str| {
        image
            .manifest
            .clone()
            .annotate("kind", format!("{style}/{kind}"))
            .named(&format!("ghcr.io/{name}"))
            .tagged(name)
    };
    layout
        .entry(entry(&sigs, "acme/app:1", "sigs"))
        .entry(entry(&app, "acme/app:1", "image"))
        .entry(entry(&sboms, "acme/app:1", "sboms"));
    let kept = vec![
        entry(&other, "acme/other:1", "image"),
        entry(&other_sigs, "acme/other:1", "sigs"),
    ];
    layout.entry(&kept[0]).entry(&kept[1]).write();
    (layout, vec![app, sigs, sboms], other_sigs, kept)
}

#[test]
fn referrers_that_share_the_name_of_an_image_by_kind_are_removed_with_it() {
    for style in ["dev.cosignproject.cosign", "dev.hauler"] {
        for argument in ["ghcr.io/acme/app:1", "ghcr.io/acme/app*"] {
            let (layout, of_app, other_sigs, kept) = hauler(style);
            let run = rm(&layout, &[argument]);
            run.ok();
            let untagged: Vec<&str> = run
                .stdout
                .lines()
                .filter(|line| line.starts_with("Untagged"))
                .collect();
            assert_eq!(untagged, ["Untagged: ghcr.io/acme/app:1"], "{}", run.all());
            for image in &of_app {
                for part in image.parts() {
                    assert!(!layout.has(part), "{}\n{}", part.digest, run.all());
                }
            }
            assert_entries(&layout, &kept, &run);
            layout.assert_has(other_sigs.parts(), &run);
        }
    }
}

/// Its image no longer has the name, so the name is removed with the signature, which is reported; other referrers with that
/// name are kept.
#[test]
fn a_signature_that_alone_has_a_name_is_untagged_if_removed_by_its_id() {
    for is_alone in [true, false] {
        let mut layout = LayoutBuilder::new();
        let (sigs, sboms) = (silent(&layout, b"sigs"), silent(&layout, b"sboms"));
        let other = layout.image("linux/amd64", "other", &[b"other"]);
        let entry = |image: &Image, kind: &str| {
            let entry = image.manifest.clone().tagged("ex.com/a:1");
            entry.annotate("kind", format!("dev.cosignproject.cosign/{kind}"))
        };
        layout
            .tag(&other.manifest, "ex.com/b:1")
            .entry(entry(&sigs, "sigs"));
        if !is_alone {
            layout.entry(entry(&sboms, "sboms"));
        }
        layout.write();
        let run = rm(&layout, &[sigs.manifest.short()]);
        run.ok();
        let is_told = run.stdout.contains("Untagged: ex.com/a:1\n");
        assert_eq!(is_told, is_alone, "{}", run.all());
        assert!(!layout.has(&sigs.manifest), "{}", run.all());
        if !is_alone {
            layout.assert_has(sboms.parts(), &run);
        }
    }
}

/// The signature has the name of both images, so it belongs to the one that is kept.
#[test]
fn referrers_that_share_the_name_of_two_images_by_kind_are_kept_with_the_second() {
    let mut layout = LayoutBuilder::new();
    let old = layout.image("linux/amd64", "old", &[b"old"]);
    let new = layout.image("linux/amd64", "new", &[b"new"]);
    let sigs = silent(&layout, b"sigs");
    let kind = "dev.cosignproject.cosign/sigs";
    let signature = sigs.manifest.clone().annotate("kind", kind.to_owned());
    layout
        .tag(&old.manifest, "ex.com/a:1")
        .tag(&new.manifest, "ex.com/a:1")
        .entry(signature.tagged("ex.com/a:1"))
        .write();
    let run = rm(&layout, &[&format!("ex.com/a:1@{}", old.manifest.digest)]);
    run.ok();
    assert!(!layout.has(&old.manifest), "{}", run.all());
    layout.assert_has(new.parts().into_iter().chain(sigs.parts()), &run);
    let run = rm(&layout, &["ex.com/a:1"]);
    run.ok();
    for desc in [&new.manifest, &sigs.manifest] {
        assert!(!layout.has(desc), "{}", run.all());
    }
}

/// The signature is not kept by its entry: no entry has the removed name afterwards, and a second run finds none.
#[test]
fn a_signature_kept_by_something_else_loses_the_name_of_its_image() {
    for keeper in ["second index", "hold", "no other"] {
        let mut layout = LayoutBuilder::new();
        let app = layout.image("linux/amd64", "app", &[b"app"]);
        let sigs = silent(&layout, b"sigs");
        let kind = "dev.cosignproject.cosign/sigs";
        let signature = sigs.manifest.clone().annotate("kind", kind.to_owned());
        layout
            .tag(&app.manifest, "ex.com/a:1")
            .entry(signature.named("ex.com/a:1").tagged("1"))
            .write();
        match keeper {
            "second index" => {
                let list = serde_json::json!({"manifests": [{
                    "mediaType": sigs.manifest.media_type,
                    "digest": sigs.manifest.digest,
                    "size": sigs.manifest.size,
                }]});
                layout.file("hauler-index.json", list.to_string().as_bytes());
            }
            "hold" => {
                let add = Cmd::new(["hold", "add"]).arg(layout.path());
                add.args(["mine", &sigs.manifest.digest]).run().ok();
            }
            _ => {}
        }
        let dry = bare(layout.path(), ["-n", "ex.com/a:1"]).run();
        dry.ok();
        let run = bare(layout.path(), ["ex.com/a:1"]).run();
        run.ok();
        assert!(!layout.has(&app.manifest), "{}", run.all());
        let is_kept = keeper != "no other";
        assert_eq!(
            layout.has(&sigs.manifest),
            is_kept,
            "{keeper} {}",
            run.all()
        );
        let index = std::fs::read_to_string(layout.join("index.json")).expect("it is there");
        assert!(
            !index.contains("ex.com/a:1"),
            "{keeper} {index}\n{}",
            run.all()
        );
        Cmd::new(["check"]).arg(layout.path()).run().ok();
        let again = bare(layout.path(), ["ex.com/a:1"]).run();
        again.exits(1).warns("No such image");
    }
}

#[test]
fn signatures_that_share_the_name_can_be_removed_separately() {
    let (layout, of_app, _, _) = hauler("dev.hauler");
    let before = entries(layout.path());
    let [app, sigs, sboms] = &of_app[..] else {
        panic!("a hauler store has an image, signatures and SBOMs");
    };
    let run = rm(&layout, &[sigs.manifest.short()]);
    run.ok();
    for part in sigs.parts() {
        assert!(!layout.has(part), "{}\n{}", part.digest, run.all());
    }
    // The image still exists under the name, and so does everything else that belongs to it.
    layout.assert_has(app.parts().into_iter().chain(sboms.parts()), &run);
    assert_eq!(entries(layout.path()), before[1..], "{}", run.all());
}

#[test]
fn a_selected_signature_is_removed_even_if_its_image_is_kept() {
    let (mut layout, app, other) = pair();
    let signature = layout.referrer(&app.manifest, "application/signature", b"signature");
    let of_that = layout.referrer(
        &signature.manifest,
        "application/signature",
        b"of the signature",
    );
    layout
        .tag(&app.manifest, "app:1")
        .entry(&signature.manifest)
        .entry(&of_that.manifest)
        .tag(&other.manifest, "other:1")
        .write();
    let run = rm(&layout, &[signature.manifest.short()]);
    run.ok();
    for image in [&signature, &of_that] {
        assert!(!layout.has(&image.manifest), "{}", run.all());
        assert!(!layout.has(&image.layers[0]), "{}", run.all());
    }
    layout.assert_has(app.parts(), &run);
    let left = [
        app.manifest.tagged("app:1"),
        other.manifest.tagged("other:1"),
    ];
    assert_entries(&layout, &left, &run);
}

#[test]
fn a_referrer_of_two_images_is_kept_with_the_second() {
    let (mut layout, app, other) = pair();
    let both = layout.referrer(&app.manifest, "application/signature", b"of both");
    let entry = both
        .manifest
        .clone()
        .annotate(SUBJECT, other.manifest.digest.as_str());
    layout
        .tag(&app.manifest, "app:1")
        .entry(&entry)
        .tag(&other.manifest, "other:1")
        .write();
    let run = rm(&layout, &["app:1"]);
    run.ok();
    layout.assert_has(both.parts(), &run);
    assert_entries(&layout, &[entry, other.manifest.tagged("other:1")], &run);
}

/// An image built upon another, as the annotation on its manifest says.
fn built_upon(layout: &LayoutBuilder, base: &Image) -> Image {
    let top = layout.layer(b"on top");
    let config = layout.config("linux/amd64", "built");
    let layers = vec![base.layers[0].clone(), top];
    let doc = Doc::manifest(&config, &layers).annotate(BASE_DIGEST, base.manifest.digest.as_str());
    Image {
        manifest: layout.put(&doc),
        config,
        layers,
    }
}

#[test]
fn an_untagged_base_image_is_removed_with_the_last_image_built_upon_it() {
    let (mut layout, base, _) = pair();
    let app = built_upon(&layout, &base);
    layout
        .tag(&app.manifest, "app:1")
        .entry(&base.manifest)
        .write();
    let run = rm(&layout, &["app:1"]);
    run.ok();
    assert_output(
        &run,
        &["app:1"],
        &[
            &app.manifest,
            &app.config,
            &app.layers[1],
            &app.layers[0],
            &base.manifest,
            &base.config,
        ],
    );
    assert_entries(&layout, &[], &run);
}

#[test]
fn a_base_image_with_a_name_or_in_use_is_kept() {
    // Named.
    let (mut layout, base, _) = pair();
    let app = built_upon(&layout, &base);
    layout
        .tag(&app.manifest, "app:1")
        .tag(&base.manifest, "base:1")
        .write();
    let run = rm(&layout, &["app:1"]);
    run.ok();
    assert_output(
        &run,
        &["app:1"],
        &[&app.manifest, &app.config, &app.layers[1]],
    );
    assert_entries(&layout, &[base.manifest.clone().tagged("base:1")], &run);

    // A platform of something.
    let (mut layout, base, _) = pair();
    let app = built_upon(&layout, &base);
    let index = layout.index(&[base.manifest.clone().platform("linux/amd64")]);
    layout
        .tag(&app.manifest, "app:1")
        .entry(&base.manifest)
        .tag(&index, "index:1")
        .write();
    let run = rm(&layout, &["app:1"]);
    run.ok();
    assert_output(
        &run,
        &["app:1"],
        &[&app.manifest, &app.config, &app.layers[1]],
    );
    assert_entries(
        &layout,
        &[base.manifest.clone(), index.tagged("index:1")],
        &run,
    );

    // Held.
    let (mut layout, base, _) = pair();
    let app = built_upon(&layout, &base);
    layout
        .tag(&app.manifest, "app:1")
        .entry(&base.manifest)
        .write();
    Cmd::new(["hold", "add"])
        .arg(layout.path())
        .args(["base", "@1"])
        .run()
        .ok();
    let run = rm(&layout, &["app:1"]);
    run.ok();
    assert_output(
        &run,
        &["app:1"],
        &[&app.manifest, &app.config, &app.layers[1]],
    );
    assert_entries(&layout, &[base.manifest], &run);
}

#[test]
fn an_untagged_base_image_is_kept_while_another_image_was_built_upon_it() {
    let (mut layout, base, _) = pair();
    let one = built_upon(&layout, &base);
    let config = layout.config("linux/amd64", "two");
    let doc =
        Doc::manifest(&config, &one.layers).annotate(BASE_DIGEST, base.manifest.digest.as_str());
    let two = layout.put(&doc);
    layout
        .tag(&one.manifest, "one:1")
        .tag(&two, "two:1")
        .entry(&base.manifest)
        .write();
    let run = rm(&layout, &["one:1"]);
    run.ok();
    assert_output(&run, &["one:1"], &[&one.manifest, &one.config]);
    assert_entries(&layout, &[two.tagged("two:1"), base.manifest.clone()], &run);
    let run = rm(&layout, &["two:1"]);
    run.ok();
    assert!(!layout.has(&base.manifest), "{}", run.all());
    assert_entries(&layout, &[], &run);
}

#[test]
fn no_prune_removes_only_names() {
    let (mut layout, base, other) = pair();
    let app = built_upon(&layout, &base);
    let signature = layout.referrer(&app.manifest, "application/signature", b"signature");
    layout
        .entry(
            app.manifest
                .clone()
                .tagged("app:1")
                .annotate("kept", "as it is"),
        )
        .entry(&base.manifest)
        .entry(&signature.manifest)
        .tag(&other.manifest, "other:1")
        .write();
    let run = rm(&layout, &["--no-prune", "app:1"]);
    run.ok();
    assert_output(&run, &["app:1"], &[]);
    let left = [
        app.manifest.clone().annotate("kept", "as it is"),
        base.manifest.clone(),
        signature.manifest.clone(),
        other.manifest.clone().tagged("other:1"),
    ];
    assert_entries(&layout, &left, &run);
    for image in [&app, &base, &signature, &other] {
        layout.assert_has(image.parts(), &run);
    }
    // It can still be removed, by its ID.
    let run = rm(&layout, &[app.manifest.short()]);
    run.ok();
    assert_entries(&layout, &[other.manifest.tagged("other:1")], &run);
}

#[test]
fn no_prune_with_all_names_leaves_one_entry_without_a_name() {
    for arguments in [vec!["app:1", "app:2"], vec!["-f", "@0"]] {
        let (mut layout, app, other) = pair();
        layout
            .tag(&app.manifest, "app:1")
            .tag(&other.manifest, "other:1")
            .tag(&app.manifest, "app:2")
            .write();
        let all: Vec<&str> = ["--no-prune"].into_iter().chain(arguments).collect();
        let run = rm(&layout, &all);
        run.ok();
        assert_output(&run, &["app:1", "app:2"], &[]);
        // Only the text of the annotation is cut.
        let nameless = app.manifest.clone().set("annotations", Obj::new());
        assert_entries(&layout, &[nameless, other.manifest.tagged("other:1")], &run);
        layout.assert_has(app.parts(), &run);
    }
}
