//! Companion tags: `rm app:1` removes `app:1`, and reports that `app:1-esgztoc` is kept.

use crate::support::removed::{assert_entries, assert_output, rm};
use crate::support::{Desc, Doc, Image, LayoutBuilder, media};

/// Stores an eStargz image and its table of contents, as `ctr-remote image convert --estargz-external-toc` does.
fn stargz(layout: &mut LayoutBuilder, name: &str) -> (Image, Desc) {
    let image = layout.image("linux/amd64", name, &[name.as_bytes()]);
    let table = layout
        .layer(format!("table of {name}").as_bytes())
        .annotate(
            "containerd.io/snapshot/stargz/layer.digest",
            image.layers[0].digest.as_str(),
        );
    let config = layout.empty_config();
    let toc = layout.put(&Doc::manifest(&config, &[table]));
    layout
        .tag(&image.manifest, name)
        .tag(&toc, &format!("{name}-esgztoc"));
    (image, toc)
}

#[test]
fn removing_an_image_reports_that_its_companion_is_kept() {
    for name in ["app:1", "ghcr.io/acme/app:1", "v1"] {
        let mut layout = LayoutBuilder::new();
        let (image, toc) = stargz(&mut layout, name);
        let other = layout.image("linux/amd64", "other", &[b"other"]);
        layout.tag(&other.manifest, "other:1").write();
        let run = rm(&layout, &[name]);
        run.ok();
        run.warns(&format!(
            "`{name}-esgztoc` was derived from `{name}` and is kept"
        ))
        .warns(&format!(
            "ocisweep rm {} {name}-esgztoc",
            layout.path().display()
        ));
        let left = [
            toc.tagged(&format!("{name}-esgztoc")),
            other.manifest.clone().tagged("other:1"),
        ];
        assert_entries(&layout, &left, &run);
        // It names the layer that the table describes.
        assert_output(&run, &[name], &[&image.manifest, &image.config]);
        layout.assert_has(&image.layers, &run);

        let run = rm(&layout, &[&format!("{name}-esgztoc")]);
        run.ok();
        assert_eq!(run.stderr, "", "{}", run.all());
        assert!(!layout.has(&image.layers[0]), "{}", run.all());
    }
}

#[test]
fn companions_that_are_removed_or_whose_owner_keeps_its_name_are_not_reported() {
    for arguments in [&["app:1", "app:1-esgztoc"][..], &["app:*"]] {
        let mut layout = LayoutBuilder::new();
        stargz(&mut layout, "app:1");
        layout.write();
        let run = rm(&layout, arguments);
        run.ok();
        assert_eq!(run.stderr, "", "{}", run.all());
    }
    // Another image has the name as well.
    let mut layout = LayoutBuilder::new();
    let (image, _) = stargz(&mut layout, "app:1");
    let other = layout.image("linux/amd64", "other", &[b"other"]);
    layout.tag(&other.manifest, "app:1").write();
    let run = rm(&layout, &[&format!("app:1@{}", other.manifest.digest)]);
    run.ok();
    assert_eq!(run.stderr, "", "{}", run.all());
    layout.assert_has(image.parts(), &run);
}

#[test]
fn a_companion_with_the_name_or_digest_is_reported_whatever_its_suffix() {
    for (key, by_name) in [("com.example.source", false), ("com.example.source", true)] {
        for (suffix, other_key, is_told) in [
            ("-nydus", None, true),
            ("_obd", None, true),
            (
                "-debug",
                Some("org.opencontainers.image.base.digest"),
                false,
            ),
            ("-debug", Some("org.opencontainers.image.base.name"), false),
            ("2", None, false),
        ] {
            let key = other_key.unwrap_or(key);
            let mut layout = LayoutBuilder::new();
            let image = layout.image("linux/amd64", "app", &[b"app"]);
            let twin = layout.image("linux/amd64", "twin", &[b"twin"]);
            let carried = if by_name {
                "app:1"
            } else {
                image.manifest.digest.as_str()
            };
            let name = format!("app:1{suffix}");
            layout
                .tag(&image.manifest, "app:1")
                .entry(twin.manifest.clone().tagged(&name).annotate(key, carried))
                .write();
            let run = rm(&layout, &["app:1"]);
            run.ok();
            let said = run.stderr.contains(&format!("`{name}` was derived"));
            assert_eq!(said, is_told, "{name} by {key}={carried}\n{}", run.all());
            layout.assert_has(twin.parts(), &run);
        }
    }
}

#[test]
fn an_image_annotated_with_the_digest_of_a_platform_is_a_companion_of_the_index() {
    let mut layout = LayoutBuilder::new();
    let amd64 = layout.image("linux/amd64", "amd64", &[b"amd64"]);
    let index = layout.index(&[amd64.manifest.clone().platform("linux/amd64")]);
    let config = layout.config("linux/amd64", "nydus");
    let layer = layout.layer(b"nydus");
    let doc = Doc::manifest_of(media::MANIFEST, &config, &[layer])
        .annotate("com.example.source", amd64.manifest.digest.as_str());
    let converted = layout.put(&doc);
    let converted = layout.index(&[converted.platform("linux/amd64")]);
    layout
        .tag(&index, "app:1")
        .tag(&converted, "app:1-nydus")
        .write();
    let run = rm(&layout, &["app:1"]);
    run.ok().warns("`app:1-nydus` was derived from `app:1`");
    // It keeps what it names, and nothing more.
    assert!(!layout.has(&index) && layout.has(&amd64.manifest));
}
