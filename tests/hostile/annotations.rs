//! Blobs that nothing but an annotation names: kept while what bears the annotation is, and never missed.

use crate::support::{Cmd, Desc, Doc, GuardedLayout, Obj, for_each, media};

const KEY: &str = "containerd.io/snapshot/nydus-ref";

/// Makes something that is live and has the annotation.
type Bear = (&'static str, fn(&mut GuardedLayout, &str, &str));

fn bearers() -> [Bear; 8] {
    [
        ("a layer's descriptor", |scene, key, value| {
            let layer = scene.builder.layer(b"bearer").annotate(key, value);
            let config = scene.builder.empty_config();
            let manifest = scene.builder.manifest(&config, &[layer]);
            scene.builder.tag(&manifest, "bearer:1");
        }),
        ("a config's descriptor", |scene, key, value| {
            let config = scene.builder.empty_config().annotate(key, value);
            let manifest = scene.builder.manifest(&config, &[]);
            scene.builder.tag(&manifest, "bearer:1");
        }),
        ("a child of an index", |scene, key, value| {
            let child = scene.amd64.manifest.clone().annotate(key, value);
            let index = scene.builder.index(&[child]);
            scene.builder.tag(&index, "bearer:1");
        }),
        ("a manifest", |scene, key, value| {
            let config = scene.builder.empty_config();
            let doc = Doc::manifest(&config, &[]).annotate(key, value);
            let manifest = scene.builder.put(&doc);
            scene.builder.tag(&manifest, "bearer:1");
        }),
        ("an index", |scene, key, value| {
            let doc = Doc::index(std::slice::from_ref(&scene.amd64.manifest)).annotate(key, value);
            let index = scene.builder.put(&doc);
            scene.builder.tag(&index, "bearer:1");
        }),
        ("an entry", |scene, key, value| {
            let desc = scene.app.manifest.clone().annotate(key, value);
            scene.builder.tag(&desc, "bearer:1");
        }),
        ("index.json", |scene, key, value| {
            let fields = Obj::new()
                .with("schemaVersion", 2)
                .with("annotations", Obj::new().with(key, value));
            scene.builder.index_fields(fields);
        }),
        (
            "a descriptor in a document of unknown type",
            |scene, key, value| {
                let thing = scene.app.layers[0].clone().annotate(key, value);
                let doc = Doc::custom(media::STRANGE, Obj::new().with("thing", thing.json()));
                let strange = scene.builder.put(&doc);
                scene.builder.tag(&strange, "bearer:1");
            },
        ),
    ]
}

#[test]
fn a_blob_that_an_annotation_names_is_kept_with_all_below_it() {
    for_each(
        bearers(),
        |(name, _)| (*name).to_owned(),
        |(_, bear)| {
            let mut scene = GuardedLayout::new();
            let layer = scene.builder.layer(b"needed");
            let image = scene.builder.image("linux/amd64", "named", &[b"below"]);
            bear(&mut scene, KEY, &layer.digest);
            scene.builder.write();
            let run = Cmd::gc(scene.path()).run();
            run.ok();
            assert!(scene.has(&layer), "{}", run.all());
            assert!(!scene.has(&image.manifest), "{}", run.all());

            let mut scene = GuardedLayout::new();
            let image = scene.builder.image("linux/amd64", "named", &[b"below"]);
            bear(&mut scene, KEY, &image.manifest.digest);
            scene.builder.write();
            for call in [
                &["gc", "--grace", "0"][..],
                &["prune", "-f", "--grace", "0"],
            ] {
                let run = Cmd::new(call).arg(scene.path()).run();
                run.ok();
                for desc in [&image.manifest, &image.config, &image.layers[0]] {
                    assert!(scene.has(desc), "{}", run.all());
                }
            }
            let check = Cmd::new(["check"]).arg(scene.path()).run();
            check.ok();
            let why = Cmd::new(["why"])
                .arg(scene.path())
                .arg(&image.layers[0].digest);
            why.run().ok();
            let live = Cmd::new(["blobs", "--live"]).arg(scene.path()).run();
            live.ok().says(image.layers[0].hex());
        },
    );
}

#[test]
fn descriptive_annotations_keep_nothing() {
    let keys = [
        "org.opencontainers.image.base.digest",
        "vnd.docker.reference.digest",
        "containerd.io/uncompressed",
        "containerd.io/snapshot/stargz/toc.digest",
        "io.github.containers.zstd-chunked.manifest-checksum",
        "com.example.checksum",
    ];
    for key in keys {
        for (name, bear) in bearers() {
            let mut scene = GuardedLayout::new();
            let digest = scene.orphan.digest.clone();
            bear(&mut scene, key, &digest);
            scene.builder.write();
            let run = Cmd::gc(scene.path()).run();
            run.ok();
            assert!(!scene.has(&scene.orphan), "{key} of {name}\n{}", run.all());
        }
    }
}

#[test]
fn an_absent_blob_named_by_an_annotation_is_not_missing() {
    let absent = Desc::missing(media::LAYER, "absent");
    let values = [
        absent.digest.as_str(),
        "sha256:nonsense",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "app:1",
        "",
    ];
    for value in values {
        for (name, bear) in bearers() {
            let mut scene = GuardedLayout::new();
            bear(&mut scene, KEY, value);
            scene.builder.write();
            let check = Cmd::new(["check"]).arg(scene.path()).run();
            check.ok();
            check.keeps_quiet_about(absent.hex());
            let run = scene.gc_deletes_only_the_orphan();
            run.keeps_quiet_about(absent.hex());
            assert!(run.stderr.is_empty(), "{name}\n{}", run.all());
        }
    }
}

#[test]
fn a_blob_named_by_annotations_is_deleted_with_the_last_of_them() {
    for (name, bear) in bearers() {
        if name == "index.json" {
            continue;
        }
        let mut scene = GuardedLayout::new();
        let layer = scene.builder.layer(b"needed");
        bear(&mut scene, KEY, &layer.digest);
        scene.builder.write();
        let run = Cmd::new(["rm"]).arg(scene.path()).arg("bearer:1").run();
        run.ok();
        if name == "an entry" {
            // The image has another entry, which has no such annotation.
            scene.assert_whole(&run.all());
        }
        assert!(!scene.has(&layer), "{name}\n{}", run.all());
    }
}

#[test]
fn a_platform_keeps_what_its_twin_needs() {
    let mut scene = GuardedLayout::new();
    let plain = scene.builder.image("linux/amd64", "plain", &[b"base"]);
    let reference = scene
        .builder
        .layer(b"bootstrap")
        .annotate(KEY, plain.layers[0].digest.as_str());
    let config = scene.builder.config("linux/arm64", "twin");
    let twin = scene.builder.manifest(&config, &[reference]);
    let index = scene.builder.index(&[
        plain.manifest.clone().platform("linux/amd64"),
        twin.clone().platform("linux/arm64"),
    ]);
    scene.builder.tag(&index, "pair:1").write();
    let run = Cmd::new(["rm"])
        .arg(scene.path())
        .args(["pair:1", "--platform", "linux/amd64"])
        .run();
    run.ok();
    assert!(!scene.has(&plain.manifest), "{}", run.all());
    assert!(scene.has(&plain.layers[0]), "{}", run.all());
}
