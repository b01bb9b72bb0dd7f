//! Where a copy of a part ends and a loss begins.

use jiff::Timestamp;
use ocisweep::View;
use ocisweep::observe::Silent;
use ocisweep::oci::Digest;

use crate::scene::{Scene, texts};
use crate::support::{Cmd, Desc, Doc, LayoutBuilder, media};

/// Runs `check` on a layout.
fn check(builder: LayoutBuilder) -> crate::scene::Checked {
    builder.write();
    Scene {
        builder,
        ..Scene::new()
    }
    .report(&[])
}

#[test]
fn a_platform_that_was_not_copied_is_sparse() {
    let scene = Scene::new();
    for desc in [
        &scene.arm64.manifest,
        &scene.arm64.config,
        &scene.arm64.layers[1],
    ] {
        scene.builder.drop_blob(desc);
    }
    let checked = scene.report(&[]);
    checked.finds(&[(&scene.arm64.manifest, "sparse")]);
    assert_eq!(checked.item(&scene.arm64.manifest.digest)["damage"], false);
    let run = scene.check(&[]);
    run.ok().keeps_quiet_about("sparse: ").says("sparse ");
    scene.check(&["-v"]).ok().says("sparse: sha256:");
    // Who wants everything can say so.
    let complete = scene.check(&["--complete"]);
    complete
        .exits(1)
        .says("sparse: sha256:")
        .says("damaged: 1 of ");
}

#[test]
fn what_rm_leaves_out_is_never_damage() {
    for mode in ["rewrite", "sparse", "hollow"] {
        let scene = Scene::new();
        let rm = [
            "rm",
            "multi",
            "--platform",
            "linux/arm64",
            "--platform-mode",
            mode,
        ];
        Cmd::new(&rm[..1])
            .arg(scene.path())
            .args(&rm[1..])
            .run()
            .ok();
        let checked = scene.report(&[]);
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

#[test]
fn a_layer_that_got_lost_is_missing() {
    let scene = Scene::new();
    for (layer, name) in [
        (&scene.one.layers[1], "app:1"),
        (&scene.signature.config, "app:1"),
        (&scene.two.config, "app:2"),
    ] {
        scene.builder.drop_blob(layer);
        let checked = scene.report(&["--quick"]);
        let item = checked.item(&layer.digest);
        assert_eq!(item["class"], "missing", "{}", checked.run.all());
        assert_eq!(texts(&item["names"]), [name]);
        checked.run.exits(1);
    }
}

#[test]
fn a_layer_of_a_platform_that_got_lost_is_missing() {
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
fn what_index_json_lists_is_missing() {
    let scene = Scene::new();
    scene.builder.drop_blob(&scene.multi);
    scene.builder.drop_blob(&scene.one.manifest);
    let checked = scene.report(&[]);
    checked.finds(&[(&scene.multi, "missing"), (&scene.one.manifest, "missing")]);
    assert_eq!(texts(&checked.item(&scene.multi.digest)["way"])[0], "multi");
    assert_eq!(checked.count("orphan"), 8, "{}", checked.run.all());
}

#[test]
fn foreign_layers_come_from_elsewhere() {
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
    // An empty list says nothing.
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
fn what_a_descriptor_carries_is_here() {
    let mut builder = LayoutBuilder::new();
    let layer = builder.layer(b"layer");
    let config = Desc::of(media::EMPTY, b"{}").data(b"{}");
    let manifest = builder.manifest(&config, std::slice::from_ref(&layer));
    builder.tag(&manifest, "a");
    let checked = check(builder);
    checked.finds(&[]);
    assert_eq!(checked.count("ok"), 3);
}

/// It is here, and yet there is no file that could go or be copied.
#[test]
fn what_a_descriptor_carries_is_no_file() {
    let mut builder = LayoutBuilder::new();
    let layer = builder.layer(b"layer");
    let config = Desc::of(media::EMPTY, b"{}").data(b"{}");
    let manifest = builder.manifest(&config, std::slice::from_ref(&layer));
    builder.tag(&manifest, "a").write();
    let view = View::read(builder.path(), Timestamp::now(), &Silent).expect("it can be read");
    for (desc, is_file) in [(&config, false), (&layer, true)] {
        let digest = Digest::parse(&desc.digest).expect("a digest");
        let id = view.graph.id(&digest).expect("it is referred to");
        assert_eq!(view.graph.is_present(id), is_file, "{digest}");
        assert_eq!(view.graph.is_embedded(id), !is_file, "{digest}");
    }
}

#[test]
fn a_subject_may_be_elsewhere() {
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
fn docker_save_and_holds_name_what_must_be_here() {
    let mut builder = LayoutBuilder::new();
    let image = builder.image("linux/amd64", "", &[b"first", b"second"]);
    builder.tag(&image.manifest, "a");
    builder.save_element(&["a:1"], &image.config, &image.layers);
    for layer in &image.layers {
        builder.drop_blob(layer);
    }
    // Without `manifest.json` this would be an image without layers.
    check(builder).finds(&[(&image.layers[0], "missing"), (&image.layers[1], "missing")]);

    let scene = Scene::new();
    Cmd::new(["hold", "add"])
        .arg(scene.path())
        .args(["keep", "app:1"])
        .run()
        .ok();
    scene.builder.drop_blob(&scene.one.manifest);
    let checked = scene.report(&[]);
    let item = checked.item(&scene.one.manifest.digest);
    assert_eq!(texts(&item["holds"]), ["keep"]);
    assert!(item["advice"].as_str().expect("advice").contains("hold rm"));
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
