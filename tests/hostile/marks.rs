//! The reasons that prevent a sweep, according to the library: all of them, and no others.

use jiff::Timestamp;
use ocisweep::graph::{EmptyIndex, MarkOptions, MissingDocuments, PlannedChange};
use ocisweep::progress::Silent;
use ocisweep::{Error, Snapshot};

use crate::support::{Desc, GuardedLayout, media};

/// Marks everything, and returns the digests of blobs that prevent a sweep.
fn in_the_way(fixture: &GuardedLayout, empty: EmptyIndex) -> Result<Vec<String>, String> {
    let view = Snapshot::read(fixture.path(), Timestamp::now(), &Silent).expect("it can be read");
    let options = MarkOptions {
        keep: &|_| true,
        change: PlannedChange::none(),
        extra: &[],
        missing: MissingDocuments::Refuse,
        empty,
    };
    match view.graph.mark(&view.layout, &view.state, &options) {
        Ok(_) => Ok(Vec::new()),
        Err(Error::Incomplete { broken, .. }) => Ok(broken
            .iter()
            .filter_map(|broken| broken.digest.as_ref().map(ToString::to_string))
            .collect()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn each_damage_is_reported_once() {
    let mut fixture = GuardedLayout::new();
    let missing = ["one", "two"].map(|seed| Desc::missing(media::MANIFEST, seed));
    for (number, missing) in missing.iter().enumerate() {
        for tag in ["first", "second"] {
            fixture.builder.tag(missing, &format!("{tag}{number}"));
        }
    }
    fixture.builder.write();
    for damaged in [&fixture.app.manifest, &fixture.amd64.manifest] {
        fixture.builder.file(&damaged.blob_path(), b"{}");
    }
    let mut expected: Vec<String> = missing
        .iter()
        .chain([&fixture.app.manifest, &fixture.amd64.manifest])
        .map(|desc| desc.digest.clone())
        .collect();
    let mut found = in_the_way(&fixture, EmptyIndex::Refuse).expect("something prevents the sweep");
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_layer_listed_by_an_entry_must_be_present() {
    for (digest, is_in_the_way) in [
        (format!("sha256:{}", "7".repeat(64)), true),
        // Leaves of an unknown algorithm are not searched for.
        (
            "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709".to_owned(),
            false,
        ),
    ] {
        let mut fixture = GuardedLayout::new();
        let layer = Desc::new(media::LAYER, &digest, 5);
        fixture.builder.tag(&layer, "layer").write();
        let found = in_the_way(&fixture, EmptyIndex::Refuse).expect("nothing else is wrong");
        assert_eq!(found.contains(&digest), is_in_the_way, "{found:?}");
    }
}

/// A lost index lists nothing either, and the holds still exist. A list of another tool shows that images are listed, if it
/// names a present blob.
#[test]
fn neither_holds_nor_lists_of_absent_blobs_replace_lost_entries() {
    let mut fixture = GuardedLayout::new();
    fixture.builder.clear_entries().write();
    let missing = Desc::missing(media::MANIFEST, "missing");
    let here = fixture.app.manifest.digest.clone();
    let refused = |fixture: &GuardedLayout, what: &str| {
        let empty = in_the_way(fixture, EmptyIndex::Refuse);
        assert!(empty.is_err(), "{what}: {empty:?}");
    };
    refused(&fixture, "nothing");
    assert_eq!(in_the_way(&fixture, EmptyIndex::Allow), Ok(Vec::new()));
    for digest in [&here, &missing.digest] {
        let holds = serde_json::json!({
            "schema_version": 1,
            "holds": [{"name": "release", "digest": digest}],
        });
        let file = fixture.builder.join(".ocisweep/holds.json");
        fixture
            .builder
            .file(".ocisweep/holds.json", holds.to_string().as_bytes());
        refused(&fixture, digest);
        std::fs::remove_file(file).expect("it was written");
    }
    for (digest, is_refused) in [(&missing.digest, true), (&here, false)] {
        let (_, hex) = digest.split_once(':').expect("a digest");
        let list = serde_json::json!([{"Config": format!("blobs/sha256/{hex}"), "Layers": []}]);
        fixture
            .builder
            .file("manifest.json", list.to_string().as_bytes());
        let found = in_the_way(&fixture, EmptyIndex::Refuse);
        assert_eq!(found.is_err(), is_refused, "{digest}: {found:?}");
    }
}

/// A blob of an unknown type may be any text.
#[test]
fn text_that_only_begins_like_json_references_what_precedes_the_error() {
    for begins in ["{", "[", "{\"text\": oops", "[1, 2,, 3]"] {
        let mut fixture = GuardedLayout::new();
        let text = fixture.builder.blob(media::STRANGE, begins.as_bytes());
        fixture.builder.tag(&text, "text").write();
        assert_eq!(
            in_the_way(&fixture, EmptyIndex::Refuse),
            Ok(Vec::new()),
            "{begins}"
        );
    }
    let mut fixture = GuardedLayout::new();
    let layer = fixture.builder.layer(b"before the syntax error");
    let text = format!("{{\"thing\": {}, oops", layer.json().text());
    let text = fixture.builder.blob(media::STRANGE, text.as_bytes());
    fixture.builder.tag(&text, "text").write();
    let run = fixture.gc_deletes_only_the_orphan();
    assert!(fixture.has(&layer), "{}", run.all());
}

/// In either order: one descriptor has no type, the other declares a manifest.
#[test]
fn text_that_one_descriptor_declares_a_manifest_is_damaged_whatever_others_declare() {
    for is_first in [true, false] {
        let mut fixture = GuardedLayout::new();
        let text = fixture.builder.blob(media::STRANGE, b"{ oops");
        let promised = text.clone().typed(media::MANIFEST);
        let both = if is_first {
            [&promised, &text]
        } else {
            [&text, &promised]
        };
        for (desc, name) in both.into_iter().zip(["one", "two"]) {
            fixture.builder.tag(desc, name);
        }
        fixture.builder.write();
        let found = in_the_way(&fixture, EmptyIndex::Refuse).expect("nothing else is wrong");
        assert_eq!(found, std::slice::from_ref(&text.digest));
    }
    // The index that declares it is read after the text.
    let mut fixture = GuardedLayout::new();
    let text = fixture.builder.blob(media::STRANGE, b"{ oops");
    let index = fixture
        .builder
        .index(&[text.clone().typed(media::MANIFEST)]);
    fixture.builder.tag(&text, "one").tag(&index, "two").write();
    let found = in_the_way(&fixture, EmptyIndex::Refuse).expect("nothing else is wrong");
    assert_eq!(found, [text.digest]);
}

#[test]
fn of_many_absent_images_the_first_are_described_and_all_are_counted() {
    const IMAGES: usize = 5_000;
    let mut fixture = GuardedLayout::new();
    for number in 0..IMAGES {
        let missing = Desc::missing(media::MANIFEST, &format!("absent {number}"));
        fixture.builder.tag(&missing, &format!("absent:{number}"));
    }
    fixture.builder.write();
    let view = Snapshot::read(fixture.path(), Timestamp::now(), &Silent).expect("it can be read");
    let options = MarkOptions {
        keep: &|_| true,
        change: PlannedChange::none(),
        extra: &[],
        missing: MissingDocuments::Refuse,
        empty: EmptyIndex::Refuse,
    };
    let Err(Error::Incomplete { broken, .. }) =
        view.graph.mark(&view.layout, &view.state, &options)
    else {
        panic!("it is refused");
    };
    assert_eq!(broken.len(), IMAGES);
    let described: Vec<usize> = (0..IMAGES)
        .filter(|at| !broken[*at].path.is_empty())
        .collect();
    assert_eq!(described, (0..20).collect::<Vec<_>>());
    for (number, broken) in broken.iter().take(20).enumerate() {
        assert_eq!(broken.images, [format!("absent:{number}")]);
        assert_eq!(broken.path[0], format!("absent:{number}"));
    }
    let run = fixture.gc_is_refused();
    run.warns(&format!("and {} more", IMAGES - 1))
        .warns("absent:0");
}
