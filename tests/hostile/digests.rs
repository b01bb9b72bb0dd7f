//! Digests that try to be paths, in every place where a digest can be.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use ocisweep::ops::{GcOptions, LayoutGroup, Mode, Protection, gc};
use ocisweep::progress::Silent;

use crate::support::{
    Desc, Doc, GuardedLayout, Json, LayoutBuilder, Obj, assert_same, for_each, media,
};

/// 64 digits.
const HEX: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// A place of a digest in a document, and a function that makes a layout with that digest in that place.
type Place = (&'static str, fn(&mut LayoutBuilder, &Json));

const PLACES: [Place; 10] = [
    ("an entry of index.json", |builder, digest| {
        builder.entry(bad(media::MANIFEST, digest).tagged("bad"));
    }),
    ("an untagged entry of index.json", |builder, digest| {
        builder.entry(bad(media::LAYER, digest));
    }),
    ("the config of a manifest", |builder, digest| {
        let layer = builder.layer(b"beside it");
        let manifest = builder.manifest(&bad(media::CONFIG, digest), &[layer]);
        builder.tag(&manifest, "bad");
    }),
    ("a layer of a manifest", |builder, digest| {
        let config = builder.config("linux/amd64", "bad");
        let layer = builder.layer(b"beside it");
        let manifest = builder.manifest(&config, &[layer, bad(media::LAYER, digest)]);
        builder.tag(&manifest, "bad");
    }),
    ("a layer of a docker manifest", |builder, digest| {
        let config = builder.config("linux/amd64", "bad");
        let doc = Doc::docker_manifest(&config, &[bad(media::DOCKER_LAYER, digest)]);
        let manifest = builder.put(&doc);
        builder.tag(&manifest, "bad");
    }),
    ("a child of an index", |builder, digest| {
        let good = builder.image("linux/amd64", "good", &[b"good"]);
        let index = builder.index(&[good.manifest, bad(media::MANIFEST, digest)]);
        builder.tag(&index, "bad");
    }),
    ("a child of an index below an index", |builder, digest| {
        let inner = builder.index(&[bad(media::MANIFEST, digest)]);
        let outer = builder.index(&[inner]);
        builder.tag(&outer, "bad");
    }),
    ("the subject of a listed manifest", |builder, digest| {
        let config = builder.empty_config();
        let doc = Doc::manifest(&config, &[]).subject(&bad(media::MANIFEST, digest));
        let manifest = builder.put(&doc);
        builder.tag(&manifest, "bad");
    }),
    ("a blob of an artifact", |builder, digest| {
        let doc = Doc::artifact("application/vnd.example", &[bad(media::LAYER, digest)]);
        let manifest = builder.put(&doc);
        builder.tag(&manifest, "bad");
    }),
    ("a layer of a schema 1 manifest", |builder, digest| {
        let layer = Obj::new().with("blobSum", digest);
        let doc = Doc::schema1("old", &[]).set("fsLayers", Json::array([layer.json()]));
        let manifest = builder.put(&doc);
        builder.tag(&manifest, "bad");
    }),
];

/// Strings that are not digests, with names for messages.
fn no_digests() -> Vec<(String, Json)> {
    let long = "a".repeat(1 << 20);
    let texts = [
        format!("sha256:../../../outside/sha256/{HEX}"),
        format!("sha256:../../../outside/{HEX}"),
        "sha256:..".to_owned(),
        "sha256:.".to_owned(),
        format!("..:{HEX}"),
        format!("../../outside/sha256:{HEX}"),
        format!("sha256/../../../outside/sha256:{HEX}"),
        format!("/:{HEX}"),
        format!("sha256:{HEX}/.."),
        format!("sha256:/{HEX}"),
        "sha256:/etc/passwd".to_owned(),
        format!("sha256:{}/{}", &HEX[..32], &HEX[..31]),
        format!("sha256:{}\0", &HEX[..63]),
        format!("sha256:{HEX}\0"),
        format!("sha256\0:{HEX}"),
        format!("sha256:{}", HEX.to_uppercase()),
        format!("sha256:{}B", &HEX[..63]),
        format!("SHA256:{HEX}"),
        format!("sha256:{}", &HEX[..63]),
        format!("sha256:{HEX}a"),
        format!("sha512:{HEX}"),
        format!("sha384:{HEX}"),
        format!("sha256:{}g", &HEX[..63]),
        format!(" sha256:{HEX}"),
        format!("sha256:{HEX} "),
        format!("sha256:{HEX}\n"),
        format!("sha256:sha256:{HEX}"),
        format!("sha256:{}é", &HEX[..62]),
        format!("sha256{HEX}"),
        "sha256:".to_owned(),
        "sha256".to_owned(),
        format!(":{HEX}"),
        ":".to_owned(),
        String::new(),
    ];
    let mut all: Vec<(String, Json)> = texts
        .into_iter()
        .map(|text| (format!("{text:?}"), Json::from(text)))
        .collect();
    for raw in ["null", "5", "true", "[]", "{}", "-1e400"] {
        all.push((raw.to_owned(), Json::raw(raw)));
    }
    all.push(("a million letters".to_owned(), Json::from(long)));
    all
}

/// A descriptor with this digest.
fn bad(media_type: &str, digest: &Json) -> Desc {
    Desc::new(media_type, "replaced", 7).set("digest", digest)
}

/// The program is run with every digest in the first place and with the first digest in every place, the library with all
/// pairs.
#[test]
fn an_invalid_digest_never_becomes_a_path_in_any_place() {
    let digests = no_digests();
    let pairs = PLACES.iter().enumerate().flat_map(|(number, place)| {
        let digests = digests.iter().enumerate();
        digests.map(move |(other, digest)| (place, digest, number == 0 || other == 0))
    });
    for_each(
        pairs,
        |((place, _), (digest, _), _)| format!("{digest} as {place}"),
        |((_, make), (_, digest), is_first)| {
            let mut fixture = GuardedLayout::new();
            make(&mut fixture.builder, digest);
            fixture.builder.write();
            let before = fixture.picture();
            let swept = gc(
                &LayoutGroup::of(fixture.path()),
                &Protection::new(Timestamp::now()),
                &GcOptions::default(),
                Mode::Execute(Duration::ZERO),
                &Silent,
            );
            assert!(swept.is_err(), "{swept:?}");
            assert_same(&before, &fixture.picture(), "by the library");
            if *is_first {
                fixture.gc_is_refused();
            }
        },
    );
}

#[test]
fn a_descriptor_without_digest_is_damage() {
    let without = |media_type: &str| Desc::missing(media_type, "x").without("digest");
    let mut fixture = GuardedLayout::new();
    fixture.builder.entry(without(media::MANIFEST)).write();
    fixture.gc_is_refused();

    let mut fixture = GuardedLayout::new();
    let manifest = fixture
        .builder
        .manifest(&without(media::CONFIG), &[without(media::LAYER)]);
    fixture.builder.tag(&manifest, "bad").write();
    fixture.gc_is_refused();
}

#[test]
fn an_invalid_digest_in_a_document_of_unknown_type_is_ignored_and_hides_no_descriptor() {
    for_each(
        no_digests(),
        |(name, _)| name.clone(),
        |(_, digest)| {
            let mut fixture = GuardedLayout::new();
            let hidden = fixture
                .builder
                .layer(b"hidden in a document of its own kind");
            let fields = Obj::new()
                .with("things", Json::array([bad(media::LAYER, digest)]))
                .with("more", Obj::new().with("thing", &hidden));
            let doc = Doc::custom(media::STRANGE, fields);
            let strange = fixture.builder.put(&doc);
            fixture.builder.tag(&strange, "strange").write();
            let before = fixture.picture();
            let run = fixture.gc();
            run.no_panic();
            assert!(fixture.has(&hidden), "{}", run.all());
            fixture.assert_whole(&run.all());
            // A number that no reader accepts makes the whole document unreadable, which may be refused.
            if run.code != Some(0) {
                run.refused();
                assert_same(&before, &fixture.picture(), &run.all());
            }
        },
    );
}

#[test]
fn an_invalid_digest_in_an_unreferenced_document_does_not_matter() {
    for_each(
        no_digests(),
        |(name, _)| name.clone(),
        |(_, digest)| {
            let fixture = GuardedLayout::new();
            let config = fixture.builder.empty_config();
            let doc = Doc::manifest(&config, &[bad(media::LAYER, digest)])
                .subject(&bad(media::MANIFEST, digest));
            fixture.builder.put(&doc);
            fixture.gc_deletes_only_the_orphan();
        },
    );
}

#[test]
fn both_of_two_digests_in_one_descriptor_are_followed() {
    let mut fixture = GuardedLayout::new();
    let one = fixture.builder.image("linux/amd64", "one", &[b"one"]);
    let two = fixture.builder.image("linux/amd64", "two", &[b"two"]);
    let both = one
        .manifest
        .clone()
        .with("digest", two.manifest.digest.as_str());
    fixture.builder.entry(both).write();
    let run = fixture.gc_deletes_only_the_orphan();
    for desc in [&one.manifest, &one.layers[0], &two.manifest, &two.layers[0]] {
        assert!(fixture.has(desc), "{}", run.all());
    }
}

#[test]
fn a_valid_digest_of_an_unknown_algorithm_is_kept_below_blobs() {
    let digests = [
        "sha256+b64:LCa0a2j-xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564",
        "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
        "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "a+b.c_d-e:-",
        "a:=",
    ];
    for_each(
        digests,
        |digest| (*digest).to_owned(),
        |digest| {
            let mut fixture = GuardedLayout::new();
            let config = fixture.builder.config("linux/amd64", "strange digest");
            let layer = Desc::new(media::LAYER, digest, 7);
            fixture.builder.file(&layer.blob_path(), b"1234567");
            let manifest = fixture
                .builder
                .manifest(&config, std::slice::from_ref(&layer));
            fixture.builder.tag(&manifest, "strange").write();
            let run = fixture.gc_deletes_only_the_orphan();
            assert!(fixture.has(&layer), "{}", run.all());
        },
    );
}

#[test]
fn docker_save_paths_never_escape_the_layout() {
    let paths = [
        "../outside/precious",
        "blobs/sha256/../../../outside/precious",
        "/etc/passwd",
        "blobs/sha256/",
        "blobs//",
        "",
        "blobs/sha256/\0",
        "a1b2/layer.tar",
    ];
    for_each(
        paths,
        |path| (*path).to_owned(),
        |path| {
            let mut fixture = GuardedLayout::new();
            let named = fixture.builder.layer(b"only manifest.json names this");
            let element = Obj::new()
                .with("Config", *path)
                .with("RepoTags", Json::null())
                .with(
                    "Layers",
                    Json::array([Json::from(*path), Json::from(named.blob_path())]),
                );
            fixture.builder.raw_save_element(element).write();
            let run = fixture.gc_deletes_only_the_orphan();
            assert!(fixture.has(&named), "{}", run.all());
        },
    );
}

#[test]
fn docker_save_keys_count_in_any_case_and_repeated() {
    type Make = fn(&str, &str) -> String;
    // Go reads them so, and docker is written in Go.
    let make: [(&str, Make); 4] = [
        ("lower case", |one, two| {
            format!(r#"[{{"config":"{one}","layers":["{two}"]}}]"#)
        }),
        ("upper case", |one, two| {
            format!(r#"[{{"CONFIG":"{one}","LAYERS":["{two}"]}}]"#)
        }),
        ("twice", |one, two| {
            format!(r#"[{{"Layers":["{one}"],"Layers":["{two}"]}}]"#)
        }),
        ("twice in different cases", |one, two| {
            format!(r#"[{{"Layers":["{one}"],"layers":["{two}"]}}]"#)
        }),
    ];
    for_each(
        make,
        |(name, _)| (*name).to_owned(),
        |(_, make)| {
            let fixture = GuardedLayout::new();
            let one = fixture.builder.blob(media::CONFIG, b"{\"config\":1}");
            let two = fixture.builder.layer(b"a layer of docker save");
            let text = make(&one.blob_path(), &two.blob_path());
            fixture.builder.file("manifest.json", text.as_bytes());
            let run = fixture.gc();
            run.no_panic();
            // Refusing an ambiguous list is as safe as following both.
            assert!(matches!(run.code, Some(0 | 3)), "{}", run.all());
            assert!(fixture.has(&one) && fixture.has(&two), "{}", run.all());
            fixture.assert_whole(&run.all());
        },
    );
}

#[test]
fn a_damaged_list_of_docker_save_is_refused_and_a_foreign_file_of_that_name_ignored() {
    for text in ["[", "[1]", "[{\"Layers\":5}]", "[{\"Layers\":[5]}]", "[}"] {
        let fixture = GuardedLayout::new();
        fixture.builder.file("manifest.json", text.as_bytes());
        fixture.gc_is_refused();
    }
    for text in ["", "{}", "{\"name\":\"web app\"}", "not JSON at all"] {
        let fixture = GuardedLayout::new();
        fixture.builder.file("manifest.json", text.as_bytes());
        let run = fixture.gc_deletes_only_the_orphan();
        let now = fs::read_to_string(fixture.builder.join("manifest.json"));
        assert_eq!(now.ok().as_deref(), Some(text), "{}", run.all());
    }
}

#[test]
fn a_damaged_list_of_holds_is_refused() {
    let good = format!("sha256:{HEX}");
    let texts = [
        String::new(),
        "[".to_owned(),
        "null".to_owned(),
        "{}".to_owned(),
        "{\"schema_version\":1}".to_owned(),
        format!("{{\"schema_version\":2,\"holds\":[{{\"name\":\"a\",\"digest\":\"{good}\"}}]}}"),
        "{\"schema_version\":1,\"holds\":[{\"name\":\"a\",\"digest\":\"sha256:../../outside\"}]}"
            .to_owned(),
        "{\"schema_version\":1,\"holds\":[{\"name\":\"a\"}]}".to_owned(),
    ];
    for_each(texts, String::clone, |text| {
        let fixture = GuardedLayout::new();
        fixture
            .builder
            .file(".ocisweep/holds.json", text.as_bytes());
        fixture.gc_is_refused();
    });
}
