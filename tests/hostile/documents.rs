//! Documents designed to exhaust or mislead their reader: deep, cyclic, branching, nested, invalid.

use std::fs;

use crate::support::environment::{bounded, with_small_stack};
use crate::support::snapshot::outline;
use crate::support::{
    Cmd, Desc, Doc, GuardedLayout, Json, LayoutBuilder, Obj, for_each, media, sha256,
};

/// As deep as an attacker might make it.
const DEEP: usize = 100_000;

/// Documents in a chain: far more than fit on a small stack, even at 13 bytes each.
const LINKS: usize = 20_000;

/// Writes a chain of indexes, each with one child, that ends at `bottom`; returns the top. Faster than the builder, which
/// checks for an existing file before it writes one.
fn chain(builder: &LayoutBuilder, bottom: &Desc, depth: usize) -> Desc {
    let blobs = builder.join("blobs/sha256");
    let mut below = bottom.clone();
    for _ in 0..depth {
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#,
            media::INDEX,
            below.json().text()
        );
        below = Desc::of(media::INDEX, text.as_bytes());
        fs::write(blobs.join(below.hex()), &text).expect("a blob can be written");
    }
    below
}

/// Runs the commands that only read, and panics unless each succeeds with little output.
fn reads_well(fixture: &GuardedLayout) {
    let calls: [&[&str]; 8] = [
        &["ls"],
        &["ls", "--tree"],
        &["ls", "--digests", "--no-trunc"],
        &["ls", "--format", "json"],
        &["df"],
        &["df", "-v"],
        &["df", "--format", "json"],
        &["gc", "-n", "--grace", "0"],
    ];
    for_each(
        calls,
        |call| call.join(" "),
        |call| {
            let run = Cmd::new(*call).arg(fixture.path()).run();
            run.ok();
            run.no_panic();
            let bytes = run.stdout.len();
            assert!(
                bytes < 8 << 20,
                "{bytes} bytes of output for a small layout"
            );
        },
    );
}

#[test]
fn a_chain_of_20_000_indexes_is_followed_to_its_end_on_a_small_stack() {
    let mut fixture = GuardedLayout::new();
    let bottom = fixture
        .builder
        .image("linux/amd64", "bottom", &[b"at the bottom"]);
    let top = chain(&fixture.builder, &bottom.manifest, LINKS);
    fixture.builder.tag(&top, "deep").write();
    let path = fixture
        .path()
        .to_str()
        .expect("paths of the tests are UTF-8");
    // The commands that traverse most.
    for call in [["ls", path, "--tree"], ["df", path, "-v"]] {
        let run = with_small_stack(call);
        run.ok();
        assert!(run.stdout.len() < 1 << 20, "{} bytes", run.stdout.len());
    }
    let run = with_small_stack(["gc", path, "--grace", "0"]);
    let run = fixture.deletes_only_the_orphan(run);
    let left = fs::read_dir(fixture.builder.join("blobs/sha256"))
        .expect("blobs can be listed")
        .count();
    // The chain, its image of three blobs, and the ten blobs of the sample without the orphan.
    assert_eq!(left, LINKS + 3 + fixture.live().len(), "{}", run.all());
}

#[test]
fn damage_at_the_bottom_of_a_deep_chain_is_one_readable_error() {
    let mut fixture = GuardedLayout::new();
    let bottom = fixture
        .builder
        .image("linux/amd64", "bottom", &[b"at the bottom"]);
    let top = chain(&fixture.builder, &bottom.manifest, 5_000);
    fixture.builder.file(&bottom.manifest.blob_path(), b"");
    fixture.builder.tag(&top, "deep").write();
    let before = outline(fixture.builder.outside());
    let path = fixture
        .path()
        .to_str()
        .expect("paths of the tests are UTF-8");
    let run = with_small_stack(["gc", path, "--grace", "0"]);
    run.refused().warns(&bottom.manifest.digest).warns("deep");
    run.one_error();
    let line = run.stderr.lines().map(str::len).max();
    assert!(line < Some(4096), "a line of {line:?} bytes is unreadable");
    assert!(
        before == outline(fixture.builder.outside()),
        "it changed something"
    );
}

#[test]
fn a_chain_of_referrers_is_kept_and_deleted_with_its_subject() {
    const LENGTH: usize = 4_000;
    let fixture = GuardedLayout::new();
    let config = fixture.builder.empty_config();
    let mut living = fixture.app.manifest.clone();
    let mut dead = Desc::missing(media::MANIFEST, "nowhere");
    for _ in 0..LENGTH {
        living = fixture
            .builder
            .put(&Doc::manifest(&config, &[]).subject(&living));
        dead = fixture
            .builder
            .put(&Doc::manifest(&config, &[]).subject(&dead));
    }
    let path = fixture
        .path()
        .to_str()
        .expect("paths of the tests are UTF-8");
    let run = with_small_stack(["gc", path, "--grace", "0"]);
    let run = fixture.deletes_only_the_orphan(run);
    assert!(fixture.has(&living) && !fixture.has(&dead), "{}", run.all());
    let left = fs::read_dir(fixture.builder.join("blobs/sha256"))
        .expect("blobs can be listed")
        .count();
    assert_eq!(left, LENGTH + 1 + fixture.live().len(), "{}", run.all());
}

#[test]
fn a_diamond_with_four_million_paths_is_walked_once() {
    let mut fixture = GuardedLayout::new();
    let bottom = fixture
        .builder
        .image("linux/amd64", "bottom", &[b"at the bottom"]);
    let mut level = vec![bottom.manifest.clone()];
    for number in 0..22 {
        level = ["left", "right"]
            .map(|side| {
                let doc = Doc::index(&level).annotate("place", format!("{number} {side}"));
                fixture.builder.put(&doc)
            })
            .to_vec();
    }
    fixture
        .builder
        .tag(&level[0], "left")
        .tag(&level[1], "right")
        .write();
    reads_well(&fixture);
    let run = fixture.gc_deletes_only_the_orphan();
    assert!(fixture.has(&bottom.layers[0]), "{}", run.all());
}

#[test]
fn a_tree_of_a_small_layout_is_small_however_many_paths_there_are() {
    // 48 documents and 43 million paths through them: enough to fill the memory of a program that records each.
    let mut fixture = GuardedLayout::new();
    let mut level = vec![fixture.app.manifest.clone()];
    for number in 0..16 {
        level = ["left", "middle", "right"]
            .map(|side| {
                let doc = Doc::index(&level).annotate("place", format!("{number} {side}"));
                fixture.builder.put(&doc)
            })
            .to_vec();
    }
    fixture.builder.tag(&level[0], "top").write();
    let path = fixture
        .path()
        .to_str()
        .expect("paths of the tests are UTF-8");
    let run = bounded(["ls", path, "--tree"]);
    run.ok();
    let bytes = run.stdout.len();
    assert!(bytes < 8 << 20, "{bytes} bytes for 48 documents");
}

#[test]
fn json_that_go_readers_accept_hides_no_reference() {
    // All three are JSON by its grammar or read as such by Go's decoder, which replaces half a surrogate or a byte that is
    // not UTF-8 with a replacement character, and skips numbers that it does not need.
    let odd: [(&str, &[u8]); 3] = [
        ("half a surrogate", br#"{"x":"\ud800","#),
        ("a byte that is not UTF-8", b"{\"x\":\"caf\xe9\","),
        ("a number that fits no integer", br#"{"x":1e400,"#),
    ];
    for_each(
        odd,
        |(name, _)| (*name).to_owned(),
        |(_, head)| {
            // Below a document of unknown type.
            let mut fixture = GuardedLayout::new();
            let hidden = fixture.builder.layer(b"behind it");
            let tail = format!("\"thing\":{}}}", hidden.json().text());
            let strange = fixture
                .builder
                .blob(media::STRANGE, &[head, tail.as_bytes()].concat());
            fixture.builder.tag(&strange, "strange").write();
            let run = fixture.gc();
            assert!(fixture.has(&hidden), "{}", run.all());
            fixture.assert_whole(&run.all());

            // In a signature that no entry lists.
            let fixture = GuardedLayout::new();
            let payload = fixture.builder.layer(b"signed");
            let config = fixture.builder.empty_config();
            let doc = Doc::manifest(&config, std::slice::from_ref(&payload));
            let text = doc.subject(&fixture.app.manifest).text();
            let bytes = [head, &text.as_bytes()[1..]].concat();
            let signature = fixture.builder.blob(media::MANIFEST, &bytes);
            let run = fixture.gc();
            assert!(
                fixture.has(&signature) && fixture.has(&payload),
                "{}",
                run.all()
            );
            fixture.assert_whole(&run.all());

            // In a manifest that is listed: an error, or followed.
            let mut fixture = GuardedLayout::new();
            let payload = fixture.builder.layer(b"listed");
            let doc = Doc::manifest(&config, std::slice::from_ref(&payload));
            let bytes = [head, &doc.text().as_bytes()[1..]].concat();
            let manifest = fixture.builder.blob(media::MANIFEST, &bytes);
            fixture.builder.tag(&manifest, "odd").write();
            let run = fixture.gc();
            assert!(fixture.has(&payload), "{}", run.all());
            assert!(matches!(run.code, Some(0 | 3)), "{}", run.all());
        },
    );
}

#[test]
fn an_index_that_lists_itself_is_damaged_and_nothing_is_swept() {
    let mut fixture = GuardedLayout::new();
    let own = Desc::new(media::INDEX, &sha256(b"self"), 7);
    let desc = fixture.builder.put_forged("self", &Doc::index(&[own]));
    fixture.builder.tag(&desc, "self").write();
    fixture.gc_is_refused().warns(&desc.digest);
}

#[test]
fn a_cycle_of_forged_digests_is_damaged_and_nothing_is_swept() {
    for length in [2_usize, 3, 50] {
        let mut fixture = GuardedLayout::new();
        let seeds: Vec<String> = (0..length)
            .map(|number| format!("cycle {number}"))
            .collect();
        let mut docs = Vec::new();
        for (position, seed) in seeds.iter().enumerate() {
            let next = seeds.get(position + 1).unwrap_or(&seeds[0]);
            let child = Desc::new(media::INDEX, &sha256(next.as_bytes()), 7);
            docs.push(fixture.builder.put_forged(seed, &Doc::index(&[child])));
        }
        fixture.builder.tag(&docs[0], "cycle").write();
        fixture.gc_is_refused();
        for call in [&["ls"][..], &["ls", "--tree"], &["df"], &["df", "-v"]] {
            let run = Cmd::new(call).arg(fixture.path()).run();
            run.no_panic();
            assert!(run.stdout.len() < 1 << 20, "{} bytes", run.stdout.len());
        }
    }
}

#[test]
fn forged_cycles_among_orphans_terminate_and_are_harmless() {
    let fixture = GuardedLayout::new();
    let config = fixture.builder.empty_config();
    let desc = |seed: &str| Desc::new(media::MANIFEST, &sha256(seed.as_bytes()), 7);
    for (seed, subject) in [("one", "two"), ("two", "one"), ("three", "three")] {
        let doc = Doc::manifest(&config, &[]).subject(&desc(subject));
        fixture.builder.put_forged(seed, &doc);
    }
    let lists_itself = Doc::index(&[desc("four")]).subject(&desc("four"));
    fixture.builder.put_forged("four", &lists_itself);
    fixture.gc_deletes_only_the_orphan();
}

/// JSON with `depth` nested arrays or objects, and `inside` in the innermost.
fn nested(depth: usize, open: &str, inside: &str, close: &str) -> String {
    format!("{}{inside}{}", open.repeat(depth), close.repeat(depth))
}

#[test]
fn very_deeply_nested_json_in_index_json_is_an_error() {
    let texts = [
        nested(DEEP, "[", "", "]"),
        nested(DEEP, "{\"manifests\":", "null", "}"),
        nested(DEEP, "{\"a\":", "1", "}"),
        format!("{{\"manifests\":{}}}", nested(DEEP, "[", "", "]")),
        format!("{{\"manifests\":[],\"x\":{}}}", nested(DEEP, "[", "", "]")),
        "[".repeat(DEEP),
        "{\"a\":".repeat(DEEP),
        format!("{{\"manifests\":{}", "[".repeat(DEEP)),
    ];
    for_each(
        texts,
        |text| text.chars().take(30).collect(),
        |text| {
            let mut fixture = GuardedLayout::new();
            fixture.builder.raw_index(text.as_bytes()).write();
            fixture.gc_is_refused();
        },
    );
}

#[test]
fn very_deeply_nested_json_in_a_manifest_loses_nothing() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let mut fixture = GuardedLayout::new();
        let hidden = fixture.builder.layer(b"at the bottom of the nest");
        let nest = nested(DEEP, open, hidden.json().text(), close);
        let doc =
            Doc::manifest(&fixture.app.config, &fixture.app.layers).with("x", Json::raw(nest));
        let manifest = fixture.builder.put(&doc);
        fixture.builder.tag(&manifest, "nested").write();
        fixture.gc_is_refused().warns(&manifest.digest);
    }
}

#[test]
fn very_deeply_nested_json_in_a_document_of_unknown_type_loses_nothing() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for media_type in [media::STRANGE, "", "application/octet-stream"] {
            let mut fixture = GuardedLayout::new();
            let hidden = fixture.builder.layer(b"at the bottom of the nest");
            let nest = nested(DEEP, open, hidden.json().text(), close);
            let strange = fixture.builder.blob(media_type, nest.as_bytes());
            fixture.builder.tag(&strange, "strange").write();
            let run = fixture.gc_deletes_only_the_orphan();
            assert!(fixture.has(&hidden), "{}", run.all());
            Cmd::new(["check"]).arg(fixture.path()).run().ok();
        }
    }
}

#[test]
fn a_deep_layer_of_a_model_is_a_layer_like_others() {
    // A decision tree as LightGBM and xgboost dump it, and arrays in arrays.
    for text in [
        nested(
            200,
            "{\"split_index\":1,\"left_child\":",
            "{\"leaf_value\":1}",
            "}",
        ),
        nested(50_000, "[", "", "]"),
    ] {
        let mut fixture = GuardedLayout::new();
        let config = fixture
            .builder
            .blob("application/vnd.cncf.model.config.v1+json", b"{}");
        let layer = fixture
            .builder
            .blob("application/vnd.cncf.model.dataset.v1.raw", text.as_bytes());
        let manifest = fixture
            .builder
            .manifest(&config, std::slice::from_ref(&layer));
        fixture.builder.tag(&manifest, "model:1").write();
        reads_well(&fixture);
        let run = fixture.gc_deletes_only_the_orphan();
        assert!(fixture.has(&layer), "{}", run.all());
    }
}

#[test]
fn a_scan_report_keeps_nothing_that_it_describes() {
    let reports = [
        r#"{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","x":INSIDE}"#,
        r#"{"bomFormat":"CycloneDX","specVersion":"1.6","x":[INSIDE]}"#,
        r#"{"artifacts":[],"source":{"metadata":{"layers":[INSIDE]}},"schema":{"url":"https://raw.githubusercontent.com/anchore/syft/main/schema/json/schema-16.0.json"}}"#,
        r#"{"SchemaVersion":2,"ArtifactName":"app:1","ArtifactType":"container_image","Metadata":{"Layers":[INSIDE]},"Results":[]}"#,
        r#"{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://slsa.dev/provenance/v1","subject":[],"predicate":{"x":INSIDE}}"#,
    ];
    for report in reports {
        for media_type in ["application/json", "", "text/plain"] {
            let mut fixture = GuardedLayout::new();
            let text = report.replace("INSIDE", fixture.orphan.json().text());
            let layer = fixture.builder.blob(media_type, text.as_bytes());
            let config = fixture.builder.empty_config();
            let doc =
                Doc::manifest(&config, std::slice::from_ref(&layer)).subject(&fixture.app.manifest);
            let referrer = fixture.builder.put(&doc);
            fixture.builder.entry(&referrer).write();
            let run = fixture.gc_deletes_only_the_orphan();
            assert!(
                fixture.has(&layer) && fixture.has(&referrer),
                "{}",
                run.all()
            );
            // With one field less, it is a document like others.
            let text =
                text.replacen("SPDXID", "spdxid", 1)
                    .replacen("specVersion", "specversion", 1);
            let text =
                text.replacen("anchore", "other", 1)
                    .replacen("ArtifactName", "artifactname", 1);
            let text = text.replacen("predicateType", "predicatetype", 1);
            let mut fixture = GuardedLayout::new();
            let strange = fixture.builder.blob(media_type, text.as_bytes());
            fixture.builder.tag(&strange, "strange").write();
            let run = Cmd::gc(fixture.path()).run();
            assert!(fixture.has(&fixture.orphan), "{}", run.all());
        }
    }
}

#[test]
fn unreferenced_nested_json_is_swept_like_other_orphans() {
    let fixture = GuardedLayout::new();
    let subject = fixture.app.manifest.json();
    let nest = nested(DEEP, "{\"subject\":", subject.text(), "}");
    let nested = fixture.builder.blob(media::STRANGE, nest.as_bytes());
    let run = fixture.gc_deletes_only_the_orphan();
    assert!(!fixture.has(&nested), "{}", run.all());
}

#[test]
fn numbers_that_fit_no_integer_break_nothing() {
    let sizes = [
        "18446744073709551615",
        "9223372036854775807",
        "99999999999999999999999999",
        "-1",
        "-9223372036854775808",
        "0.5",
        "1e300",
        "\"7\"",
        "null",
        "[7]",
        "{\"size\":7}",
    ];
    for_each(
        sizes,
        |size| (*size).to_owned(),
        |size| {
            let mut fixture = GuardedLayout::new();
            let layers: Vec<Desc> = [b"one", b"two"]
                .map(|bytes| fixture.builder.layer(bytes).set("size", Json::raw(*size)))
                .to_vec();
            let config = fixture.builder.config("linux/amd64", "sizes");
            let manifest = fixture.builder.manifest(&config, &layers);
            let manifest = manifest.set("size", Json::raw(*size));
            let index = fixture
                .builder
                .index(&[manifest.clone().platform("linux/amd64")]);
            let index = index.set("size", Json::raw(*size));
            fixture
                .builder
                .tag(&manifest, "sizes")
                .tag(&index, "index")
                .write();
            reads_well(&fixture);
            let run = fixture.gc_deletes_only_the_orphan();
            for layer in &layers {
                assert!(fixture.has(layer), "{}", run.all());
            }
        },
    );
}

#[test]
fn configs_with_false_values_break_no_listing() {
    let configs = [
        "",
        "null",
        "[]",
        "{\"created\":5,\"os\":[],\"architecture\":{},\"config\":7}",
        "{\"created\":\"9999999-99-99T99:99:99Z\"}",
        "{\"created\":\"0001-01-01T00:00:00Z\"}",
        "{\"created\":\"-9999-01-01T00:00:00Z\"}",
        "{\"created\":\"9999-12-31T23:59:59.999999999Z\"}",
        "{\"created\":\"2026-02-30T25:61:61+99:99\"}",
        "{\"os\":\"\",\"architecture\":\"\",\"config\":{\"Labels\":null}}",
        "\u{feff}{}",
    ];
    for_each(
        configs,
        |text| (*text).to_owned(),
        |text| {
            let mut fixture = GuardedLayout::new();
            let config = fixture.builder.blob(media::CONFIG, text.as_bytes());
            let manifest = fixture.builder.manifest(&config, &[]);
            fixture.builder.tag(&manifest, "liar").write();
            reads_well(&fixture);
            fixture.gc_deletes_only_the_orphan();
        },
    );
}

#[test]
fn times_far_from_now_break_nothing() {
    use std::time::{Duration, SystemTime};
    let far = Duration::from_secs(200 * 365 * 86_400);
    let old = SystemTime::UNIX_EPOCH - Duration::from_secs(30 * 365 * 86_400);
    for time in [SystemTime::UNIX_EPOCH, old, SystemTime::now() + far] {
        for file in ["index.json", "blob", "orphan"] {
            let fixture = GuardedLayout::new();
            let file = match file {
                "blob" => fixture.app.manifest.blob_path(),
                "orphan" => fixture.orphan.blob_path(),
                other => other.to_owned(),
            };
            fixture.builder.modified(&file, time);
            reads_well(&fixture);
            let run = Cmd::new(["gc"]).arg(fixture.path()).run();
            run.ok();
            fixture.assert_whole(&run.all());
            fixture.gc_deletes_only_the_orphan();
        }
    }
}

#[test]
fn every_case_of_a_key_is_followed() {
    let mut fixture = GuardedLayout::new();
    let config = fixture.builder.config("linux/amd64", "odd case");
    let layers = [fixture.builder.layer(b"one"), fixture.builder.layer(b"two")];
    let odd = layers[0]
        .clone()
        .rename("digest", "DIGEST")
        .rename("size", "Size");
    // The long s equals an s for readers that fold case like Go.
    let doc = Doc::manifest(&config, &[odd])
        .rename("layers", "Layer\u{17f}")
        .rename("config", "CONFIG")
        .with("LAYERS", Json::array([&layers[1]]));
    let manifest = fixture.builder.put(&doc);
    let fields = Obj::new()
        .with("schemaVersion", 2)
        .with("ManifestS", Json::array([&manifest]));
    let index = fixture.builder.put(&Doc::custom(media::INDEX, fields));
    fixture.builder.tag(&index, "odd").write();
    let run = fixture.gc_deletes_only_the_orphan();
    for desc in [&config, &layers[0], &layers[1], &manifest] {
        assert!(fixture.has(desc), "{}\n{}", desc.digest, run.all());
    }
}

#[test]
fn a_document_is_followed_if_any_descriptor_declares_it_as_one() {
    let types = [media::MANIFEST, media::LAYER, media::CONFIG, media::STRANGE];
    for first in types {
        for second in types {
            let mut fixture = GuardedLayout::new();
            let image = fixture
                .builder
                .image("linux/amd64", "two types", &[b"two types"]);
            let child = image.manifest.clone().typed(first);
            let index = fixture.builder.index(std::slice::from_ref(&child));
            let entry = image.manifest.clone().typed(second);
            fixture.builder.tag(&index, "index").tag(&entry, "entry");
            fixture.builder.write();
            let run = fixture.gc_deletes_only_the_orphan();
            assert!(fixture.has(&image.manifest), "{}", run.all());
            // A blob that both declare as a layer or a config is a leaf: no reader interprets it otherwise.
            let is_leaf = [first, second].map(|said| [media::LAYER, media::CONFIG].contains(&said));
            if is_leaf != [true, true] {
                assert!(
                    fixture.has(&image.layers[0]),
                    "{first}, {second}\n{}",
                    run.all()
                );
            }
        }
    }
}

#[test]
fn documents_of_an_unknown_algorithm_are_followed() {
    for digest in [
        "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "x+y:A-b_c=",
    ] {
        let mut fixture = GuardedLayout::new();
        let config = fixture.builder.config("linux/amd64", "unknown algorithm");
        let layer = fixture.builder.layer(b"of an unknown algorithm");
        let doc = Doc::manifest(&config, std::slice::from_ref(&layer));
        let manifest = fixture
            .builder
            .forged(digest, &doc.media_type, doc.text().as_bytes());
        let index = fixture.builder.index(std::slice::from_ref(&manifest));
        fixture.builder.tag(&index, "index").write();
        let run = fixture.gc_deletes_only_the_orphan();
        for desc in [&config, &layer, &manifest] {
            assert!(fixture.has(desc), "{}", run.all());
        }
    }
}

/// Embedded data is followed wherever the descriptor is.
#[test]
fn data_embedded_in_a_descriptor_outside_the_entries_keeps_its_references() {
    for is_in_entry in [true, false] {
        let mut fixture = GuardedLayout::new();
        let layer = fixture
            .builder
            .layer(b"only an embedded document references this");
        let config = fixture.builder.config("linux/amd64", "carried");
        let doc = Doc::manifest(&config, std::slice::from_ref(&layer));
        let text = doc.text();
        let bytes = text.as_bytes();
        let carried = Desc::of(&doc.media_type, bytes).data(bytes);
        if is_in_entry {
            let more = fixture.builder.image("linux/amd64", "more", &[b"more"]);
            let entry = more
                .manifest
                .tagged("more")
                .with("companion", carried.json());
            fixture.builder.entry(entry);
        } else {
            let fields = Obj::new().with("companion", carried.json());
            fixture.builder.index_fields(fields);
        }
        fixture.builder.write();
        let run = fixture.gc_deletes_only_the_orphan();
        for desc in [&config, &layer] {
            assert!(fixture.has(desc), "{}", run.all());
        }
    }
}

/// Returns an embedded manifest without a file, its text, and its config and its layer, which have files.
fn carried(fixture: &mut GuardedLayout) -> (Desc, String, [Desc; 2]) {
    let layer = fixture.builder.layer(b"of an embedded document");
    let config = fixture.builder.config("linux/amd64", "carried");
    let doc = Doc::manifest(&config, std::slice::from_ref(&layer));
    let text = doc.text();
    let absent = Desc::of(&doc.media_type, text.as_bytes());
    (absent, text, [config, layer])
}

/// Descriptors of one absent document may embed different data, only one of which matches.
#[test]
fn wrong_data_of_one_descriptor_does_not_hide_that_of_another() {
    let wrong = [
        "!not base64!",
        // Not JSON, an empty object, and an unrelated manifest.
        "bm90IGpzb24=",
        "e30=",
        "eyJsYXllcnMiOltdfQ==",
    ];
    for (number, wrong) in wrong.into_iter().enumerate() {
        for is_first in [true, false] {
            for is_near in [true, false] {
                let mut fixture = GuardedLayout::new();
                let (absent, text, parts) = carried(&mut fixture);
                let good = absent.clone().data(text.as_bytes());
                let wrong = absent.clone().with("data", wrong);
                let pair = if is_first {
                    [wrong, good]
                } else {
                    [good, wrong]
                };
                if is_near {
                    let index = fixture.builder.index(&pair);
                    fixture.builder.tag(&index, "index");
                } else {
                    // One is reached after the other was read.
                    let [above, below] = pair;
                    let inner = fixture.builder.index(&[below]);
                    let index = fixture.builder.index(&[above, inner]);
                    fixture.builder.tag(&index, "index");
                }
                fixture.builder.write();
                let run = fixture.gc_deletes_only_the_orphan();
                for desc in &parts {
                    assert!(
                        fixture.has(desc),
                        "{number} {is_first} {is_near}\n{}",
                        run.all()
                    );
                }
            }
        }
    }
}

/// Data embedded in a referrer that does not match its digest counts as well: without it the listed document would be
/// missing, and its references would be orphans.
#[test]
fn data_of_a_listed_document_in_a_damaged_referrer_is_followed() {
    let mut fixture = GuardedLayout::new();
    let (absent, text, parts) = carried(&mut fixture);
    fixture.builder.tag(&absent, "absent").write();
    fixture.gc_is_refused();
    let signature = fixture.builder.layer(b"signature");
    let about = Doc::manifest(&fixture.builder.empty_config(), &[signature]);
    let about = about.subject(&absent.data(text.as_bytes()));
    let referrer = fixture.builder.put_forged("referrer", &about);
    let run = fixture.gc_deletes_only_the_orphan();
    for desc in parts.iter().chain([&referrer]) {
        assert!(fixture.has(desc), "{}", run.all());
    }
}

/// Each index of a chain embeds different wrong data of one absent document, so that one is read after another. All of the
/// data counts. If each copied the references of those before, this would be 32 million copies, which take four seconds in a
/// release build; otherwise the prune takes well under a second in a debug build. Nothing is measured here.
#[test]
fn wrong_data_of_one_document_in_a_long_chain_of_indexes_is_followed_once_each() {
    let mut fixture = GuardedLayout::new();
    let blobs = fixture.builder.join("blobs/sha256");
    let layer = fixture.builder.layer(b"of the absent document");
    let last = fixture.builder.layer(b"that only the last data references");
    let absent = Desc::of(media::INDEX, b"{}");
    let carrying = |number: usize, of: &Desc| {
        let item = of.json();
        let items = [item.text(); 4].join(",");
        let data = format!(r#"{{"manifests":[{items}],"number":{number}}}"#);
        absent.clone().data(data.as_bytes())
    };
    let mut below = fixture.builder.index(&[carrying(0, &last)]);
    for number in 1..=4000 {
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{},{}]}}"#,
            media::INDEX,
            carrying(number, &layer).json().text(),
            below.json().text()
        );
        below = Desc::of(media::INDEX, text.as_bytes());
        fs::write(blobs.join(below.hex()), &text).expect("a blob can be written");
    }
    fixture.builder.tag(&below, "deep").write();
    Cmd::new(["prune", "-f"]).arg(fixture.path()).run().ok();
    let run = fixture.gc_deletes_only_the_orphan();
    for desc in [&layer, &last] {
        assert!(fixture.has(desc), "{}", run.all());
    }
}
