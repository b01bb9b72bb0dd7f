//! The difference between a partial copy and a loss.

use jiff::Timestamp;
use ocisweep::Snapshot;
use ocisweep::oci::Digest;
use ocisweep::progress::Silent;

use crate::support::findings::texts;
use crate::support::{Cmd, Desc, Doc, Image, IntactLayout, LayoutBuilder, media};

/// Runs `check` on a layout.
fn check(builder: LayoutBuilder) -> crate::support::Findings {
    builder.write();
    IntactLayout {
        builder,
        ..IntactLayout::new()
    }
    .report(&[])
}

#[test]
fn a_platform_that_was_not_copied_is_sparse() {
    let fixture = IntactLayout::new();
    for desc in [
        &fixture.arm64.manifest,
        &fixture.arm64.config,
        &fixture.arm64.layers[1],
    ] {
        fixture.builder.drop_blob(desc);
    }
    let checked = fixture.report(&[]);
    checked.finds(&[(&fixture.arm64.manifest, "sparse")]);
    assert_eq!(
        checked.item(&fixture.arm64.manifest.digest)["damage"],
        false
    );
    let run = fixture.check(&[]);
    run.ok().keeps_quiet_about("sparse: ").says("sparse ");
    fixture.check(&["-v"]).ok().says("sparse: sha256:");
    // `--complete` requires everything.
    let complete = fixture.check(&["--complete"]);
    complete
        .exits(1)
        .says("sparse: sha256:")
        .says("damaged: 1 of ");
}

#[test]
fn a_platform_dropped_by_rm_is_never_damage() {
    for mode in ["rewrite", "sparse", "hollow"] {
        let fixture = IntactLayout::new();
        let rm = [
            "rm",
            "multi",
            "--platform",
            "linux/arm64",
            "--platform-mode",
            mode,
        ];
        Cmd::new(&rm[..1])
            .arg(fixture.path())
            .args(&rm[1..])
            .run()
            .ok();
        let checked = fixture.report(&[]);
        checked.run.ok();
        let is_sparse = mode != "rewrite";
        assert_eq!(
            checked.count("sparse") > 0,
            is_sparse,
            "{}",
            checked.run.all()
        );
    }
}

/// Two platforms, of which `linux/arm64` shares its first layer with `other:1`.
fn shared_with_another() -> (LayoutBuilder, Image, Image, Image) {
    let mut builder = LayoutBuilder::new();
    let amd64 = builder.image("linux/amd64", "amd64", &[b"amd64"]);
    let arm64 = builder.image("linux/arm64", "arm64", &[b"base", b"top"]);
    let other = builder.image("linux/arm64", "other", &[b"base"]);
    let index = builder.index(&[
        amd64.manifest.clone().platform("linux/amd64"),
        arm64.manifest.clone().platform("linux/arm64"),
    ]);
    builder
        .tag(&index, "app:1")
        .tag(&other.manifest, "other:1")
        .write();
    (builder, amd64, arm64, other)
}

fn rm(builder: &LayoutBuilder, words: &[&str]) -> crate::support::Run {
    Cmd::new(["rm"]).arg(builder.path()).args(words).run()
}

#[test]
fn a_hollow_platform_is_not_damage_after_the_image_that_shared_a_layer_is_removed() {
    let hollow = ["--platform", "linux/arm64", "--platform-mode", "hollow"];
    for way in ["rm", "prune", "gc"] {
        let (builder, amd64, arm64, other) = shared_with_another();
        let run = rm(&builder, &[&["app:1"][..], &hollow].concat());
        run.ok();
        assert!(!builder.join(&arm64.layers[1].blob_path()).exists());
        match way {
            "rm" => rm(&builder, &["other:1"]),
            "prune" => Cmd::new(["prune", "-a", "-f", "--filter", "reference=other"])
                .arg(builder.path())
                .run(),
            _ => {
                rm(&builder, &["--no-prune", "other:1"]).ok();
                rm(&builder, &[&other.manifest.hex()[..12]]).ok();
                Cmd::gc(builder.path()).run()
            }
        }
        .ok();
        assert!(!builder.join(&other.manifest.blob_path()).exists(), "{way}");
        // The documents of the platform still reference the layer: nothing that is referenced is deleted.
        assert!(builder.join(&arm64.layers[0].blob_path()).exists(), "{way}");
        let fixture = IntactLayout {
            builder,
            ..IntactLayout::new()
        };
        let checked = fixture.report(&[]);
        checked.finds(&[(&arm64.layers[1], "sparse")]);
        checked.run.ok();
        // Dropping the complete platform would remove the image: the hollow one does not count as present.
        let run = rm(&fixture.builder, &["app:1", "--platform", "linux/amd64"]);
        run.exits(1).warns("it is the last platform of image");
        // A missing layer of the other platform is still damage.
        fixture.builder.drop_blob(&amd64.config);
        fixture.report(&[]).run.exits(1);
    }
}

#[test]
fn several_hollow_platforms_are_recorded_and_without_the_record_it_is_damage() {
    let mut builder = LayoutBuilder::new();
    let platforms = ["linux/amd64", "linux/arm64", "linux/s390x"];
    let images = platforms.map(|platform| {
        builder.image(
            platform,
            platform,
            &[platform.as_bytes(), b"own", platform.as_bytes()],
        )
    });
    let images = images.map(|image| {
        let other = builder.manifest(&image.config, std::slice::from_ref(&image.layers[0]));
        builder.tag(&other, &format!("other:{}", &other.hex()[..12]));
        image
    });
    let tops = platforms.map(|platform| builder.layer(format!("top of {platform}").as_bytes()));
    let children: Vec<Desc> = images
        .iter()
        .zip(&tops)
        .zip(platforms)
        .map(|((image, top), platform)| {
            let layers = [image.layers[0].clone(), top.clone()];
            builder.manifest(&image.config, &layers).platform(platform)
        })
        .collect();
    let index = builder.index(&children);
    builder.tag(&index, "app:1").write();
    for platform in &platforms[1..] {
        let words = ["app:1", "--platform", platform, "--platform-mode", "hollow"];
        rm(&builder, &words).ok();
    }
    rm(&builder, &["other:*"]).ok();
    let fixture = IntactLayout {
        builder,
        ..IntactLayout::new()
    };
    fixture
        .report(&[])
        .finds(&[(&tops[1], "sparse"), (&tops[2], "sparse")]);
    // A copy of the live files includes the record.
    let run = Cmd::new(["blobs", "--live"]).arg(fixture.path()).run();
    run.ok().says(".ocisweep/hollow.json\n");
    for note in ["", "{}", "not JSON"] {
        fixture
            .builder
            .file(".ocisweep/hollow.json", note.as_bytes());
        let checked = fixture.report(&[]);
        checked.finds(&[(&tops[1], "missing"), (&tops[2], "missing")]);
    }
}

#[test]
fn data_embedded_only_in_another_document_is_absent() {
    let mut builder = LayoutBuilder::new();
    let carried = Desc::of(media::LAYER, b"carried");
    let layer = builder.layer(b"layer");
    let config = builder.config("linux/amd64", "");
    let without = builder.manifest(&config, &[carried.clone(), layer.clone()]);
    let with = builder.manifest(&config, &[carried.clone().data(b"carried")]);
    builder
        .tag(&without, "without:1")
        .tag(&with, "with:1")
        .write();
    let states = |fixture: &IntactLayout| -> Vec<String> {
        let run = Cmd::new(["ls", "--format", "json"])
            .arg(fixture.path())
            .run();
        let report = run.ok().json();
        ["without:1", "with:1"]
            .map(|name| {
                let images = report["layouts"][0]["images"].as_array().expect("images");
                let image = images.iter().find(|image| image["names"][0] == name);
                let state = image.expect("it is listed")["state"].as_str();
                state.expect("a word").to_owned()
            })
            .to_vec()
    };
    let fixture = IntactLayout {
        builder,
        ..IntactLayout::new()
    };
    let checked = fixture.report(&[]);
    checked.finds(&[(&carried, "missing")]);
    assert_eq!(
        texts(&checked.item(&carried.digest)["names"]),
        ["without:1", "with:1"]
    );
    checked.run.exits(1);
    assert_eq!(states(&fixture), ["partial", "whole"]);
    // Without the image that needs the file, nothing is missing.
    rm(&fixture.builder, &["without:1"]).ok();
    let checked = fixture.report(&[]);
    checked.finds(&[]);
    checked.run.ok();
    // Without any of its layers it is a partial copy, not a loss.
    let mut builder = LayoutBuilder::new();
    let config = builder.config("linux/amd64", "");
    let without = builder.manifest(&config, std::slice::from_ref(&carried));
    let with = builder.manifest(&config, &[carried.clone().data(b"carried")]);
    builder
        .tag(&without, "without:1")
        .tag(&with, "with:1")
        .write();
    let fixture = IntactLayout {
        builder,
        ..IntactLayout::new()
    };
    fixture.report(&[]).finds(&[(&carried, "sparse")]);
    assert_eq!(states(&fixture), ["partial", "whole"]);
}

#[test]
fn a_manifest_that_only_another_descriptor_embeds_is_missing_for_its_entry() {
    for is_carried in [false, true] {
        let mut builder = LayoutBuilder::new();
        let layer = builder.layer(b"layer");
        let config = builder.config("linux/amd64", "");
        let doc = Doc::manifest(&config, std::slice::from_ref(&layer));
        let manifest = builder.put(&doc);
        let bytes = std::fs::read(builder.join(&manifest.blob_path())).expect("it is here");
        builder.drop_blob(&manifest);
        let index = builder.index(&[manifest.clone().data(&bytes).platform("linux/amd64")]);
        let entry = if is_carried {
            manifest.clone().data(&bytes)
        } else {
            manifest.clone()
        };
        builder.tag(&index, "index:1").tag(&entry, "listed:1");
        let checked = check(builder);
        if is_carried {
            checked.finds(&[]);
        } else {
            checked.finds(&[(&manifest, "missing")]);
        }
    }
}

#[test]
fn a_lost_layer_is_missing() {
    let fixture = IntactLayout::new();
    for (layer, name) in [
        (&fixture.one.layers[1], "app:1"),
        (&fixture.signature.config, "app:1"),
        (&fixture.two.config, "app:2"),
    ] {
        fixture.builder.drop_blob(layer);
        let checked = fixture.report(&["--quick"]);
        let item = checked.item(&layer.digest);
        assert_eq!(item["class"], "missing", "{}", checked.run.all());
        assert_eq!(texts(&item["names"]), [name]);
        checked.run.exits(1);
    }
}

#[test]
fn a_lost_layer_of_a_platform_is_missing() {
    let mut builder = LayoutBuilder::new();
    let image = builder.image("linux/arm64", "", &[b"first", b"second"]);
    let index = builder.index(&[image.manifest.clone().platform("linux/arm64")]);
    builder.tag(&index, "a");
    builder.drop_blob(&image.layers[0]);
    check(builder).finds(&[(&image.layers[0], "missing")]);
}

#[test]
fn an_image_without_any_layer_is_sparse() {
    let mut builder = LayoutBuilder::new();
    let image = builder.image("linux/amd64", "", &[b"first", b"second"]);
    builder.tag(&image.manifest, "a");
    for layer in &image.layers {
        builder.drop_blob(layer);
    }
    check(builder).finds(&[(&image.layers[0], "sparse"), (&image.layers[1], "sparse")]);
}

#[test]
fn an_absent_document_that_index_json_lists_is_missing() {
    let fixture = IntactLayout::new();
    fixture.builder.drop_blob(&fixture.multi);
    fixture.builder.drop_blob(&fixture.one.manifest);
    let checked = fixture.report(&[]);
    checked.finds(&[
        (&fixture.multi, "missing"),
        (&fixture.one.manifest, "missing"),
    ]);
    assert_eq!(
        texts(&checked.item(&fixture.multi.digest)["reference_path"])[0],
        "multi"
    );
    assert_eq!(checked.count("orphan"), 8, "{}", checked.run.all());
}

#[test]
fn absent_foreign_layers_are_sparse() {
    let foreign = [
        Desc::missing(media::LAYER, "by url").with(
            "urls",
            crate::support::Json::array(["https://example.com/layer"]),
        ),
        Desc::missing(
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "docker",
        ),
        Desc::missing(
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
            "oci",
        ),
    ];
    for layer in foreign {
        let mut builder = LayoutBuilder::new();
        let own = builder.layer(b"own");
        let config = builder.config("windows/amd64", "");
        let manifest = builder.manifest(&config, &[layer.clone(), own]);
        builder.tag(&manifest, "a");
        let checked = check(builder);
        checked.finds(&[(&layer, "sparse")]);
        let why = texts(&checked.item(&layer.digest)["reasons"]);
        assert!(why[0].contains("foreign layer"), "{why:?}");
    }
    // An empty list means nothing.
    for urls in [
        crate::support::Json::array([""; 0]),
        crate::support::Json::null(),
    ] {
        let mut builder = LayoutBuilder::new();
        let layer = Desc::missing(media::LAYER, "no url").with("urls", urls);
        let own = builder.layer(b"own");
        let config = builder.config("windows/amd64", "");
        let manifest = builder.manifest(&config, &[layer.clone(), own]);
        builder.tag(&manifest, "a");
        check(builder).finds(&[(&layer, "missing")]);
    }
}

#[test]
fn a_blob_embedded_in_a_descriptor_is_present() {
    let mut builder = LayoutBuilder::new();
    let layer = builder.layer(b"layer");
    let config = Desc::of(media::EMPTY, b"{}").data(b"{}");
    let manifest = builder.manifest(&config, std::slice::from_ref(&layer));
    builder.tag(&manifest, "a");
    let checked = check(builder);
    checked.finds(&[]);
    assert_eq!(checked.count("ok"), 3);
}

/// It counts as present, although there is no file that could be deleted or copied.
#[test]
fn a_blob_embedded_in_a_descriptor_is_not_a_file() {
    let mut builder = LayoutBuilder::new();
    let layer = builder.layer(b"layer");
    let config = Desc::of(media::EMPTY, b"{}").data(b"{}");
    let manifest = builder.manifest(&config, std::slice::from_ref(&layer));
    builder.tag(&manifest, "a").write();
    let view = Snapshot::read(builder.path(), Timestamp::now(), &Silent).expect("it can be read");
    for (desc, is_file) in [(&config, false), (&layer, true)] {
        let digest = Digest::parse(&desc.digest).expect("a digest");
        let id = view.graph.id(&digest).expect("it is referred to");
        assert_eq!(view.graph.is_present(id), is_file, "{digest}");
        assert_eq!(view.graph.is_embedded(id), !is_file, "{digest}");
    }
}

#[test]
fn an_absent_subject_is_not_damage() {
    let mut builder = LayoutBuilder::new();
    let config = builder.empty_config();
    let layer = builder.layer(b"signature");
    let subject = Desc::missing(media::MANIFEST, "elsewhere");
    let doc = Doc::manifest(&config, std::slice::from_ref(&layer)).subject(&subject);
    let manifest = builder.put(&doc);
    builder.tag(&manifest, "sig");
    check(builder).finds(&[(&subject, "sparse")]);
}

#[test]
fn blobs_named_by_docker_save_and_holds_must_be_present() {
    let mut builder = LayoutBuilder::new();
    let image = builder.image("linux/amd64", "", &[b"first", b"second"]);
    builder.tag(&image.manifest, "a");
    builder.save_element(&["a:1"], &image.config, &image.layers);
    for layer in &image.layers {
        builder.drop_blob(layer);
    }
    // Without `manifest.json` this would be an image without layers.
    check(builder).finds(&[(&image.layers[0], "missing"), (&image.layers[1], "missing")]);

    let fixture = IntactLayout::new();
    Cmd::new(["hold", "add"])
        .arg(fixture.path())
        .args(["keep", "app:1"])
        .run()
        .ok();
    fixture.builder.drop_blob(&fixture.one.manifest);
    let checked = fixture.report(&[]);
    let item = checked.item(&fixture.one.manifest.digest);
    assert_eq!(texts(&item["holds"]), ["keep"]);
    assert!(item["hint"].as_str().expect("advice").contains("hold rm"));
}

#[test]
fn a_build_cache_that_lost_a_layer_is_damaged() {
    let mut builder = LayoutBuilder::new();
    let kept = builder.layer(b"kept");
    let lost = builder.layer(b"lost");
    let cache = builder.blob(
        "application/vnd.buildkit.cacheconfig.v0",
        b"{\"layers\":[]}",
    );
    let index = builder.index(&[kept, lost.clone(), cache]);
    builder.tag(&index, "cache");
    builder.drop_blob(&lost);
    check(builder).finds(&[(&lost, "missing")]);
}

/// A copy that lost all layers looks like one that omitted them, so it is reported but is not damage.
#[test]
fn an_image_without_any_layers_is_reported() {
    let fixture = IntactLayout::new();
    let told = "without any layers: ";
    fixture.check(&[]).ok().keeps_quiet_about(told);
    let ls = |args: &[&str]| {
        let run = Cmd::new(["ls"]).arg(fixture.path()).args(args).run();
        run.ok().clone()
    };
    ls(&[]).keeps_quiet_about("EXTRA");
    // One layer of `app:1` is still present: the base, which others use as well.
    fixture.builder.drop_blob(&fixture.one.layers[1]);
    fixture.check(&[]).keeps_quiet_about(told);
    ls(&[]).keeps_quiet_about("EXTRA");
    for image in [&fixture.one, &fixture.two, &fixture.amd64] {
        for layer in &image.layers {
            if fixture.builder.join(&layer.blob_path()).exists() {
                fixture.builder.drop_blob(layer);
            }
        }
    }
    let run = fixture.check(&[]);
    // A platform of `multi` still has a layer of its own, so the missing base is a loss.
    let last = run.exits(1).stdout.lines().last().expect("a last line");
    assert!(
        last.ends_with("; 2 images without any layers: app:1, app:2"),
        "{}",
        run.all()
    );
    let marked = |run: &crate::support::Run| -> Vec<String> {
        let lines = run.stdout.lines();
        lines
            .filter(|line| line.ends_with("partial (no layers)"))
            .map(|line| {
                line.split_whitespace()
                    .take(2)
                    .collect::<Vec<_>>()
                    .join(":")
            })
            .collect()
    };
    let run = ls(&[]);
    assert_eq!(marked(&run), ["app:1", "app:2"], "{}", run.all());
    run.says("SIZE      EXTRA");
    assert_eq!(marked(&ls(&["--tree"])).len(), 2, "{}", run.all());
    let json = ls(&["--format", "json"]).json();
    for image in json["layouts"][0]["images"].as_array().expect("images") {
        let lacks = image["names"][0]
            .as_str()
            .is_some_and(|name| name.starts_with("app:"));
        assert_eq!(
            image["lacks_layers"].as_bool().unwrap_or(false),
            lacks,
            "{image}"
        );
    }
    let checked = fixture.report(&[]);
    assert_eq!(texts(&checked.layout["without_layers"]), ["app:1", "app:2"]);
    for layer in &fixture.arm64.layers {
        if fixture.builder.join(&layer.blob_path()).exists() {
            fixture.builder.drop_blob(layer);
        }
    }
    let run = fixture.check(&[]);
    run.says("; 3 images without any layers: app:1, app:2, multi");
}

/// Foreign layers are never copied, and an image without layers has none to lose.
#[test]
fn layers_that_may_be_absent_are_not_missing() {
    let mut builder = LayoutBuilder::new();
    let config = builder.config("linux/amd64", "");
    let empty = builder.manifest(&config, &[]);
    let foreign = Desc::missing(media::LAYER, "foreign")
        .typed("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    let windows = builder.manifest(&config, &[foreign]);
    builder
        .tag(&empty, "empty")
        .tag(&windows, "windows")
        .write();
    let ls = Cmd::new(["ls"]).arg(builder.path()).run();
    ls.ok().keeps_quiet_about("EXTRA");
    let check = Cmd::new(["check"]).arg(builder.path()).run();
    check.ok().keeps_quiet_about("without any layers");
}
