//! Reference paths to a blob, what happens to orphans, and which images share blobs.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::support::findings::texts;
use crate::support::run::new_command;
use crate::support::{
    Cmd, Desc, Doc, IntactLayout, LayoutBuilder, Run, assert_same, cases, for_each, snapshot,
};

/// Runs `why` with more arguments.
fn why(builder: &LayoutBuilder, what: &str, args: &[&str]) -> Run {
    Cmd::new(["why"])
        .arg(builder.path())
        .arg(what)
        .args(args)
        .run()
}

/// Runs `why --format json` for one thing.
#[track_caller]
fn item(builder: &LayoutBuilder, what: &str, args: &[&str]) -> Value {
    let run = why(builder, what, &[&["--format", "json"], args].concat());
    let document = run.ok().json();
    assert_eq!(document["schema_version"], 1);
    assert_eq!(document["command"], "why");
    let items = document["items"].as_array().expect("items").clone();
    let [item] = items.as_slice() else {
        panic!("not one item\n{}", run.all());
    };
    item.clone()
}

/// Returns the printed reference paths, with digests cut to four digits.
fn ways(item: &Value) -> Vec<String> {
    let ways = item["paths"].as_array().expect("ways");
    ways.iter()
        .map(|way| {
            let mut parts = vec![texts(&way["roots"]).join(", ")];
            for step in way["steps"].as_array().expect("steps") {
                parts.push(step["role"].as_str().expect("a text").to_owned());
            }
            parts.join(" → ")
        })
        .collect()
}

fn short(desc: &Desc) -> &str {
    &desc.hex()[..12]
}

#[test]
fn every_reference_path_is_shown_and_the_shortest_comes_first() {
    let fixture = IntactLayout::new();
    let before = snapshot(fixture.path());
    let base = &fixture.one.layers[0];
    let found = item(&fixture.builder, &base.digest, &[]);
    assert_eq!(found["state"], "live");
    assert_eq!(found["size"], 4);
    let mut ways = ways(&found);
    let longest = ways.split_off(2);
    assert_eq!(
        BTreeSet::from_iter(ways),
        BTreeSet::from([
            "app:1 → manifest → layer 1/2".to_owned(),
            "app:2 → manifest → layer 1/2".to_owned(),
        ])
    );
    assert_eq!(
        BTreeSet::from_iter(longest),
        BTreeSet::from([
            "multi → index → linux/amd64 → layer 1/2".to_owned(),
            "multi → index → linux/arm64 → layer 1/2".to_owned(),
        ])
    );
    let run = why(&fixture.builder, &base.digest, &[]);
    run.ok().says(&format!(
        "app:1 → manifest {} → layer 1/2 {}\n",
        short(&fixture.one.manifest),
        short(base)
    ));
    assert_same(&before, &snapshot(fixture.path()), "why changes nothing");
}

#[test]
fn referrers_live_as_long_as_their_subject() {
    let mut fixture = IntactLayout::new();
    let payload = &fixture.signature.layers[0].digest.clone();
    assert_eq!(
        ways(&item(&fixture.builder, payload, &[])),
        ["app:1 → manifest → referrer → layer 1/1"]
    );
    // A listed referrer keeps its subject, even if that has lost its own entry.
    let signature = fixture.signature.manifest.clone();
    fixture
        .builder
        .clear_entries()
        .tag(&signature, "sig")
        .write();
    let layer = &fixture.one.layers[1].digest;
    assert_eq!(
        ways(&item(&fixture.builder, layer, &[])),
        ["sig → manifest → subject → layer 2/2"]
    );
}

#[test]
fn holds_and_docker_save_are_roots_of_their_own() {
    let mut fixture = IntactLayout::new();
    Cmd::new(["hold", "add"])
        .arg(fixture.path())
        .args(["release", "app:2"])
        .run()
        .ok();
    let one = &fixture.one;
    fixture
        .builder
        .save_element(&["saved:1"], &one.config, &one.layers);
    fixture.builder.write();
    let two = item(&fixture.builder, &fixture.two.layers[1].digest, &[]);
    assert_eq!(ways(&two), ["app:2, hold release → manifest → layer 2/2"]);
    let one = item(&fixture.builder, &fixture.one.layers[1].digest, &[]);
    assert_eq!(
        ways(&one),
        [
            "manifest.json saved:1 → layer",
            "app:1 → manifest → layer 2/2"
        ]
    );
}

#[test]
fn names_of_one_image_share_its_reference_paths() {
    let mut fixture = IntactLayout::new();
    let manifest = fixture.one.manifest.clone();
    fixture
        .builder
        .entry(manifest.clone())
        .tag(&manifest, "latest");
    fixture.builder.write();
    assert_eq!(
        ways(&item(&fixture.builder, &fixture.one.layers[1].digest, &[])),
        ["app:1, latest → manifest → layer 2/2"]
    );
}

#[test]
fn reference_paths_are_bounded_and_the_rest_is_counted() {
    let fixture = IntactLayout::new();
    let base = &fixture.one.layers[0].digest;
    let found = item(&fixture.builder, base, &["--limit", "1"]);
    assert_eq!(ways(&found).len(), 1);
    assert_eq!(
        (&found["more_paths"], &found["more_is_exact"]),
        (&3.into(), &true.into())
    );
    why(&fixture.builder, base, &["--limit", "3"])
        .ok()
        .says("and 1 more path; `--all` shows them\n");
    let all = item(&fixture.builder, base, &["--all"]);
    assert_eq!(ways(&all).len(), 4);
    assert_eq!(all["more_paths"], 0);
}

#[test]
fn a_forged_layout_with_endless_reference_paths_is_explained_quickly() {
    let mut builder = LayoutBuilder::new();
    let image = builder.image("linux/amd64", "", &[b"layer"]);
    // Forty levels of two indexes, each of which lists both of the level below: 2^40 paths.
    let mut floor = vec![image.manifest.clone()];
    for number in 0..40 {
        floor = ["left", "right"]
            .iter()
            .map(|side| {
                let doc = Doc::index(&floor).annotate("floor", format!("{side} {number}"));
                builder.put(&doc)
            })
            .collect();
    }
    builder.tag(&floor[0], "tower").write();
    let found = item(&builder, &image.layers[0].digest, &["--limit", "2"]);
    assert_eq!(ways(&found).len(), 2);
    assert_eq!(found["more_is_exact"], false);
    assert!(
        found["more_paths"].as_u64() > Some(100),
        "{}",
        found["more_paths"]
    );
    why(&builder, &image.layers[0].digest, &[])
        .ok()
        .says("and more than ");
}

#[test]
fn a_cycle_is_walked_once() {
    let mut builder = LayoutBuilder::new();
    let image = builder.image("linux/amd64", "", &[b"layer"]);
    let signature = builder.referrer(&image.manifest, "application/vnd.example", b"signed");
    builder
        .tag(&image.manifest, "app")
        .tag(&signature.manifest, "sig")
        .write();
    // Each of the two references the other.
    assert_eq!(
        ways(&item(&builder, &signature.layers[0].digest, &[])),
        [
            "sig → manifest → layer 1/1",
            "app → manifest → referrer → layer 1/1"
        ]
    );
}

#[test]
fn an_absent_blob_has_reference_paths_as_well() {
    let fixture = IntactLayout::new();
    fixture.builder.drop_blob(&fixture.arm64.manifest);
    let found = item(&fixture.builder, &fixture.arm64.manifest.digest, &[]);
    assert_eq!(
        (&found["state"], &found["size"]),
        (&"missing".into(), &Value::Null)
    );
    assert_eq!(ways(&found), ["multi → index → linux/arm64"]);
    why(&fixture.builder, short(&fixture.arm64.manifest), &[])
        .ok()
        .says("linux/arm64, not here\n");
}

#[test]
fn why_of_an_orphan_reports_what_gc_would_do() {
    let fixture = IntactLayout::new();
    let young = fixture.builder.layer(b"young");
    fixture.builder.fresh([&young]);
    let old = fixture.builder.layer(b"old");
    fixture
        .builder
        .age(&old.blob_path(), Duration::from_secs(3 * 3600));
    let found = item(&fixture.builder, &old.digest, &[]);
    assert_eq!(found["state"], "orphan");
    assert_eq!(found["paths"], Value::Array(Vec::new()));
    assert_eq!(found["sweep"]["action"], "delete");
    let found = item(&fixture.builder, &young.digest, &[]);
    assert_eq!(found["sweep"]["action"], "keep");
    assert!(found["sweep"]["until"].is_string(), "{found}");
    why(&fixture.builder, &young.digest, &[])
        .ok()
        .says("orphan blob, 5B\nunreferenced; in flight until ")
        .says("): a writer may be about to list it\n");
    let found = item(&fixture.builder, &young.digest, &["--grace", "0"]);
    assert_eq!(found["sweep"]["action"], "delete");
    // And `gc` does so.
    let gc = Cmd::new(["gc"]).arg(fixture.path()).run();
    gc.ok()
        .says(&format!("Deleted: {}", old.digest))
        .says(&format!("Kept: {}", young.digest));
    why(&fixture.builder, &old.digest, &[]).exits(1);
}

#[test]
fn gc_deletes_an_orphan_from_the_reported_time_on() {
    let fixture = IntactLayout::new();
    let young = fixture.builder.layer(b"young");
    fixture.builder.fresh([&young]);
    let found = item(&fixture.builder, &young.digest, &[]);
    let until = found["sweep"]["until"].as_str().expect("a time");
    for (shift, is_kept) in [("-1", true), ("+1", false)] {
        let now = new_command("date")
            .args(["-u", "-d", &format!("{until} {shift} seconds"), "+%FT%TZ"])
            .output()
            .expect("date can be started");
        let now = String::from_utf8(now.stdout).expect("a time is text");
        let gc = Cmd::new(["--now", now.trim(), "gc", "-n"])
            .arg(fixture.path())
            .run();
        let kept = gc.ok().stdout.contains(&format!("Kept: {}", young.digest));
        assert_eq!(kept, is_kept, "{now}\n{}", gc.all());
    }
}

#[test]
fn an_orphan_in_a_layout_that_cannot_be_swept() {
    let fixture = IntactLayout::new();
    let orphan = fixture.builder.layer(b"orphan");
    fixture.overwrite(&fixture.two.manifest, b"damaged");
    let found = item(&fixture.builder, &orphan.digest, &[]);
    assert_eq!(found["sweep"]["action"], "refused");
    why(&fixture.builder, &orphan.digest, &[])
        .ok()
        .says("`gc` would be refused: cannot sweep ");
}

#[test]
fn an_orphan_whose_subject_is_gone() {
    let mut builder = LayoutBuilder::new();
    let image = builder.image("linux/amd64", "", &[b"layer"]);
    builder.tag(&image.manifest, "app").write();
    let gone = Desc::missing(crate::support::media::MANIFEST, "gone");
    let signature = builder.referrer(&gone, "application/vnd.example", b"signed");
    why(&builder, &signature.manifest.digest, &[])
        .ok()
        .says(&format!("its subject {} is unreachable\n", gone.digest));
}

#[test]
fn the_beginning_of_a_digest_is_enough_if_it_is_unique() {
    let fixture = IntactLayout::new();
    let layer = &fixture.one.layers[1];
    for what in [
        layer.hex().to_owned(),
        layer.hex()[..12].to_owned(),
        layer.digest[..layer.digest.len() - 1].to_owned(),
    ] {
        let found = item(&fixture.builder, &what, &[]);
        assert_eq!(found["digest"], layer.digest, "{what}");
    }
    // Enough blobs that some three digits begin several of them.
    let builder = LayoutBuilder::new();
    let mut seen: std::collections::BTreeMap<String, Vec<String>> = Default::default();
    for number in 0..400 {
        let layer = builder.layer(format!("layer {number}").as_bytes());
        let prefix = layer.hex()[..3].to_owned();
        seen.entry(prefix).or_default().push(layer.digest);
    }
    builder.write();
    let (prefix, twins) = seen
        .iter()
        .find(|(_, digests)| digests.len() > 1)
        .expect("400 digests share 4096 prefixes");
    let run = why(&builder, prefix, &[]);
    run.exits(1).one_error_with_hint();
    for twin in twins {
        run.warns(twin);
    }
}

#[test]
fn an_unknown_blob_is_an_error() {
    let fixture = IntactLayout::new();
    let absent = Desc::missing(crate::support::media::LAYER, "absent");
    for what in [
        &*absent.digest,
        absent.hex(),
        &absent.hex()[..9],
        "app:3",
        "no",
        "x y",
    ] {
        let run = why(&fixture.builder, what, &[]);
        run.exits(1).one_error_with_hint();
        assert_eq!(run.stdout, "");
    }
    why(&fixture.builder, &absent.digest, &[]).warns("no blob and no reference has such a digest");
}

#[test]
fn a_name_takes_precedence_over_a_digest() {
    let mut fixture = IntactLayout::new();
    let prefix = fixture.one.layers[1].hex()[..4].to_owned();
    let two = fixture.two.manifest.clone();
    fixture.builder.tag(&two, &prefix);
    fixture.builder.write();
    assert_eq!(item(&fixture.builder, &prefix, &[])["digest"], two.digest);
}

#[test]
fn why_of_an_image_lists_the_images_that_share_each_blob() {
    let fixture = IntactLayout::new();
    let found = item(&fixture.builder, "app:2", &[]);
    assert_eq!(found["digest"], fixture.two.manifest.digest);
    let image = &found["image"];
    assert_eq!(texts(&image["names"]), ["app:2"]);
    let parts: Vec<(String, String, String)> = image["blobs"]
        .as_array()
        .expect("blobs")
        .iter()
        .map(|part| {
            (
                part["digest"].as_str().expect("a digest").to_owned(),
                part["role"].as_str().expect("a text").to_owned(),
                texts(&part["shared_with"]).join(", "),
            )
        })
        .collect();
    let two = &fixture.two;
    let part = |desc: &Desc, what: &str, shared: &str| {
        (desc.digest.clone(), what.to_owned(), shared.to_owned())
    };
    assert_eq!(
        parts,
        [
            part(&two.manifest, "manifest", ""),
            part(&two.config, "config", ""),
            part(&two.layers[0], "layer 1/2", "app:1, multi"),
            part(&two.layers[1], "layer 2/2", ""),
        ]
    );
    let sum = two.manifest.size + two.config.size + 4 + 3;
    assert_eq!(image["size_bytes"], sum);
    assert_eq!(image["shared_bytes"], 4);
    assert_eq!(image["unique_bytes"], sum - 4);
    why(&fixture.builder, "app:2", &[])
        .ok()
        .says("of which 4B are shared; ")
        .says("app:1, multi\n");
    // The unique bytes are those that `rm` frees.
    let rm = Cmd::new(["rm", "--format", "json"])
        .arg(fixture.path())
        .arg("app:2")
        .run();
    assert_eq!(rm.ok().report().freed_bytes, sum - 4);
}

#[test]
fn platforms_are_distinguished() {
    let fixture = IntactLayout::new();
    let run = why(&fixture.builder, "multi", &[]);
    run.ok()
        .says("linux/arm64 layer 2/2")
        .says("linux/amd64 config");
}

#[test]
fn the_bytes_are_those_of_df() {
    for_each(
        cases()
            .into_iter()
            .filter(|case| case.layouts.len() == 1)
            .flat_map(|case| case.layouts),
        |layout| layout.label(),
        |layout| {
            let (_unpacked, directory) = layout.unpack();
            let df = Cmd::new(["df", "-v", "--format", "json"])
                .arg(&directory)
                .run();
            let df = df.ok().json();
            let images = df["layouts"][0]["items"].as_array().cloned();
            for image in images.unwrap_or_default() {
                let digest = image["digest"].as_str().expect("a digest");
                let why = Cmd::new(["why", "--format", "json"])
                    .arg(&directory)
                    .arg(digest)
                    .run();
                let found = &why.ok().json()["items"][0];
                for key in ["size_bytes", "shared_bytes", "unique_bytes"] {
                    assert_eq!(found["image"][key], image[key], "{key}\n{}", why.all());
                }
                // An entry references it, so there is a path.
                assert_ne!(
                    found["paths"].as_array().map(Vec::len),
                    Some(0),
                    "{}",
                    why.all()
                );
                assert_eq!(found["sweep"], Value::Null, "{}", why.all());
            }
        },
    );
}

#[test]
fn only_live_blobs_of_the_corpus_have_a_reference_path() {
    for_each(
        cases()
            .into_iter()
            .filter(|case| {
                ["bkcache-max", "cosign-save", "regctl-mod", "umoci-old"]
                    .contains(&case.name.as_str())
            })
            .flat_map(|case| case.layouts),
        |layout| layout.label(),
        |layout| {
            let (_unpacked, directory) = layout.unpack();
            for (key, is_live) in [("keep", true), ("garbage", false)] {
                for digest in layout.expected(key) {
                    let why = Cmd::new(["why", "--format", "json", "--grace", "0"])
                        .arg(&directory)
                        .arg(&digest)
                        .run();
                    let found = &why.ok().json()["items"][0];
                    let ways = found["paths"].as_array().expect("ways");
                    assert_eq!(!ways.is_empty(), is_live, "{}", why.all());
                    assert_eq!(found["sweep"].is_null(), is_live, "{}", why.all());
                }
            }
        },
    );
}

#[test]
fn references_of_a_recent_orphan_are_in_flight_as_well() {
    let fixture = IntactLayout::new();
    let image = fixture.builder.image("linux/amd64", "new", &[b"reused"]);
    let layer = &image.layers[0];
    fixture.builder.fresh([&image.manifest, &image.config]);
    fixture
        .builder
        .age(&layer.blob_path(), Duration::from_secs(3 * 3600));
    let found = item(&fixture.builder, &layer.digest, &[]);
    assert_eq!(found["sweep"]["action"], "keep");
    assert_eq!(found["sweep"]["until"], Value::Null);
    why(&fixture.builder, &layer.digest, &[])
        .ok()
        .says("unreferenced; in flight: a recent blob references it");
}
