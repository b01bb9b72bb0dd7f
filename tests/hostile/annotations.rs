//! Blobs that only an annotation names: kept as long as the annotated document, and never reported as missing.

use crate::support::{Cmd, Desc, Doc, GuardedLayout, Obj, for_each, media};

const KEY: &str = "containerd.io/snapshot/nydus-ref";

/// Makes a live document with the annotation.
type Bear = (&'static str, fn(&mut GuardedLayout, &str, &str));

fn bearers() -> [Bear; 8] {
    [
        ("a layer's descriptor", |fixture, key, value| {
            let layer = fixture.builder.layer(b"bearer").annotate(key, value);
            let config = fixture.builder.empty_config();
            let manifest = fixture.builder.manifest(&config, &[layer]);
            fixture.builder.tag(&manifest, "bearer:1");
        }),
        ("a config's descriptor", |fixture, key, value| {
            let config = fixture.builder.empty_config().annotate(key, value);
            let manifest = fixture.builder.manifest(&config, &[]);
            fixture.builder.tag(&manifest, "bearer:1");
        }),
        ("a child of an index", |fixture, key, value| {
            let child = fixture.amd64.manifest.clone().annotate(key, value);
            let index = fixture.builder.index(&[child]);
            fixture.builder.tag(&index, "bearer:1");
        }),
        ("a manifest", |fixture, key, value| {
            let config = fixture.builder.empty_config();
            let doc = Doc::manifest(&config, &[]).annotate(key, value);
            let manifest = fixture.builder.put(&doc);
            fixture.builder.tag(&manifest, "bearer:1");
        }),
        ("an index", |fixture, key, value| {
            let doc =
                Doc::index(std::slice::from_ref(&fixture.amd64.manifest)).annotate(key, value);
            let index = fixture.builder.put(&doc);
            fixture.builder.tag(&index, "bearer:1");
        }),
        ("an entry", |fixture, key, value| {
            let desc = fixture.app.manifest.clone().annotate(key, value);
            fixture.builder.tag(&desc, "bearer:1");
        }),
        ("index.json", |fixture, key, value| {
            let fields = Obj::new()
                .with("schemaVersion", 2)
                .with("annotations", Obj::new().with(key, value));
            fixture.builder.index_fields(fields);
        }),
        (
            "a descriptor in a document of unknown type",
            |fixture, key, value| {
                let thing = fixture.app.layers[0].clone().annotate(key, value);
                let doc = Doc::custom(media::STRANGE, Obj::new().with("thing", thing.json()));
                let strange = fixture.builder.put(&doc);
                fixture.builder.tag(&strange, "bearer:1");
            },
        ),
    ]
}

#[test]
fn a_blob_named_by_an_annotation_is_kept_with_everything_below_it() {
    for_each(
        bearers(),
        |(name, _)| (*name).to_owned(),
        |(_, bear)| {
            let mut fixture = GuardedLayout::new();
            let layer = fixture.builder.layer(b"needed");
            let image = fixture.builder.image("linux/amd64", "named", &[b"below"]);
            bear(&mut fixture, KEY, &layer.digest);
            fixture.builder.write();
            let run = Cmd::gc(fixture.path()).run();
            run.ok();
            assert!(fixture.has(&layer), "{}", run.all());
            assert!(!fixture.has(&image.manifest), "{}", run.all());

            let mut fixture = GuardedLayout::new();
            let image = fixture.builder.image("linux/amd64", "named", &[b"below"]);
            bear(&mut fixture, KEY, &image.manifest.digest);
            fixture.builder.write();
            for call in [
                &["gc", "--grace", "0"][..],
                &["prune", "-f", "--grace", "0"],
            ] {
                let run = Cmd::new(call).arg(fixture.path()).run();
                run.ok();
                for desc in [&image.manifest, &image.config, &image.layers[0]] {
                    assert!(fixture.has(desc), "{}", run.all());
                }
            }
            let check = Cmd::new(["check"]).arg(fixture.path()).run();
            check.ok();
            let why = Cmd::new(["why"])
                .arg(fixture.path())
                .arg(&image.layers[0].digest);
            why.run().ok();
            let live = Cmd::new(["blobs", "--live"]).arg(fixture.path()).run();
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
            let mut fixture = GuardedLayout::new();
            let digest = fixture.orphan.digest.clone();
            bear(&mut fixture, key, &digest);
            fixture.builder.write();
            let run = Cmd::gc(fixture.path()).run();
            run.ok();
            assert!(
                !fixture.has(&fixture.orphan),
                "{key} of {name}\n{}",
                run.all()
            );
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
            let mut fixture = GuardedLayout::new();
            bear(&mut fixture, KEY, value);
            fixture.builder.write();
            let check = Cmd::new(["check"]).arg(fixture.path()).run();
            check.ok();
            check.keeps_quiet_about(absent.hex());
            let run = fixture.gc_deletes_only_the_orphan();
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
        let mut fixture = GuardedLayout::new();
        let layer = fixture.builder.layer(b"needed");
        bear(&mut fixture, KEY, &layer.digest);
        fixture.builder.write();
        let run = Cmd::new(["rm"]).arg(fixture.path()).arg("bearer:1").run();
        run.ok();
        if name == "an entry" {
            // The image has another entry, which has no such annotation.
            fixture.assert_whole(&run.all());
        }
        assert!(!fixture.has(&layer), "{name}\n{}", run.all());
    }
}

#[test]
fn a_platform_keeps_blobs_that_its_twin_needs() {
    let mut fixture = GuardedLayout::new();
    let plain = fixture.builder.image("linux/amd64", "plain", &[b"base"]);
    let reference = fixture
        .builder
        .layer(b"bootstrap")
        .annotate(KEY, plain.layers[0].digest.as_str());
    let config = fixture.builder.config("linux/arm64", "twin");
    let twin = fixture.builder.manifest(&config, &[reference]);
    let index = fixture.builder.index(&[
        plain.manifest.clone().platform("linux/amd64"),
        twin.clone().platform("linux/arm64"),
    ]);
    fixture.builder.tag(&index, "pair:1").write();
    let run = Cmd::new(["rm"])
        .arg(fixture.path())
        .args(["pair:1", "--platform", "linux/amd64"])
        .run();
    run.ok();
    assert!(!fixture.has(&plain.manifest), "{}", run.all());
    assert!(fixture.has(&plain.layers[0]), "{}", run.all());
}
