//! Images left by overwritten tags are removed; other unnamed images are kept.

use crate::prune::belongings::{Belonging, SIGNATURE, belongings};
use crate::support::{
    Cmd, Desc, Doc, Image, ImageBuilder, Pruned, TestLayout, blobs, for_each, media, prune,
};

/// A layout with `app:1`, and an image without a name that was `app:1` before.
struct Overwritten {
    shelf: TestLayout,
    new: Image,
    old: Image,
}

impl Overwritten {
    fn new() -> Self {
        let mut shelf = TestLayout::new();
        let build = |salt: &str| {
            ImageBuilder::new(salt)
                .layer(b"shared by both")
                .layer(salt.as_bytes())
        };
        let old = shelf.untagged(20, &build("old"));
        let new = shelf.named("app:1", 10, &build("new"));
        Self { shelf, new, old }
    }

    /// The blobs that only the old image has.
    fn private(&self) -> Vec<String> {
        let kept = self.new.digests();
        self.old
            .digests()
            .into_iter()
            .filter(|digest| !kept.contains(digest))
            .collect()
    }
}

#[test]
fn an_overwritten_tag_is_removed_with_its_private_blobs_and_nothing_shared() {
    let fixture = Overwritten::new();
    fixture.shelf.write();
    let pruned = fixture.shelf.prune(&[]);
    pruned
        .ok()
        .leaves(&["app:1"])
        .deletes(&fixture.private())
        .because("app:1", false, &["named"])
        .because(&fixture.old.manifest.digest, true, &["dangling"]);
    assert!(fixture.shelf.has_all(&fixture.new), "{}", pruned.run.all());
}

#[test]
fn orphans_are_removed_along() {
    let mut fixture = Overwritten::new();
    let orphan = fixture.shelf.layout.layer(b"left by an export");
    fixture.shelf.write();
    let mut gone = fixture.private();
    gone.push(orphan.digest);
    fixture.shelf.prune(&[]).ok().deletes(&gone);
    // Without any image that would be removed, orphans still are.
    fixture.shelf.layout.clear_entries();
    fixture.shelf.layout.tag(&fixture.new.manifest, "app:1");
    let orphan = fixture.shelf.layout.layer(b"left by another export");
    fixture.shelf.write();
    fixture.shelf.prune(&[]).ok().deletes([&orphan.digest]);
}

#[test]
fn an_empty_name_is_not_a_name_and_any_other_is() {
    let names: [(&str, &str, bool); 6] = [
        ("org.opencontainers.image.ref.name", "", true),
        ("io.containerd.image.name", "", true),
        ("org.opencontainers.image.title", "app:1", true),
        ("org.opencontainers.image.ref.name", " ", false),
        ("io.containerd.image.name", "team/tool:2", false),
        ("org.opencontainers.image.base.name", "team/tool:2", false),
    ];
    for_each(
        names,
        |(key, name, _)| format!("{key}={name:?}"),
        |(key, name, goes)| {
            let mut shelf = TestLayout::new();
            shelf.small("app:1", 10);
            let image = ImageBuilder::new("other")
                .layer(b"other")
                .store(&shelf.layout);
            shelf
                .layout
                .entry(image.manifest.clone().annotate(key, *name));
            shelf.write();
            let pruned = shelf.prune(&[]);
            assert_eq!(
                pruned.verdict(&image.manifest.digest).goes,
                *goes,
                "{}",
                pruned.run.all()
            );
        },
    );
}

#[test]
fn the_name_of_one_entry_counts_for_all_entries_of_the_image() {
    let mut shelf = TestLayout::new();
    let image = shelf.small("app:1", 10);
    shelf.layout.entry(&image.manifest).entry(&image.manifest);
    shelf.write();
    let pruned = shelf.prune(&[]);
    pruned.ok().deletes([]).because("app:1", false, &["named"]);
    assert_eq!(pruned.entries.len(), 3, "{}", pruned.run.all());
}

/// Runs a test with each thing that can belong to an image: a layout with an index of one image that nothing lists.
fn each_belonging(test: impl Fn(TestLayout, &Desc, &Image, &Belonging)) {
    for_each(
        belongings(),
        |(what, _)| (*what).to_owned(),
        |belonging| {
            let shelf = TestLayout::new();
            let build = ImageBuilder::new("child").layer(b"child");
            let child = build.store(&shelf.layout);
            let listed = child.manifest.clone().platform("linux/amd64");
            let index = shelf.layout.index(&[listed]);
            test(shelf, &index, &child, belonging);
        },
    );
}

#[test]
fn signatures_of_a_kept_image_are_not_dangling() {
    each_belonging(|mut shelf, index, _, (_, make)| {
        shelf.layout.tag(index, "app:1");
        let part = make(&mut shelf, index, "app:1");
        shelf.write();
        let pruned = shelf.prune(&[]);
        pruned.ok().deletes([]);
        assert!(shelf.has(&part), "{}", pruned.run.all());
    });
}

#[test]
fn referrers_of_a_part_of_a_kept_image_are_not_dangling() {
    each_belonging(|mut shelf, index, child, (_, make)| {
        shelf.layout.tag(index, "app:1");
        make(&mut shelf, &child.manifest, "app:1");
        shelf.write();
        shelf.prune(&[]).ok().deletes([]);
    });
}

#[test]
fn signatures_of_a_removed_image_are_removed_with_it() {
    each_belonging(|mut shelf, index, _, (_, make)| {
        let kept = shelf.small("app:1", 5);
        shelf.layout.entry(index);
        make(&mut shelf, index, "app:1");
        shelf.write();
        let pruned = shelf.prune(&[]);
        pruned.ok().leaves(&["app:1"]);
        assert_only(&shelf, &kept, &pruned);
    });
}

/// No known tool writes the annotation into the manifest in place of its entry. It keeps the manifest, and removes it with nothing.
#[test]
fn a_manifest_that_calls_a_kept_image_its_subject_in_an_annotation_is_not_dangling() {
    for key in ["org.opencontainers.image.referrer.subject", "x.Subject"] {
        let mut shelf = TestLayout::new();
        shelf.small("other:1", 5);
        let app = shelf.small("app:1", 10);
        let config = shelf.layout.empty_config();
        let doc = Doc::manifest(&config, &[shelf.layout.layer(b"signature")]);
        let note = shelf.layout.put(&doc.annotate(key, &*app.manifest.digest));
        shelf.layout.entry(&note);
        shelf.write();
        let listed = shelf.list(&["--filter", "dangling=true"]);
        assert!(listed.is_empty(), "{listed:?}");
        for args in [&[][..], &["-a", "--keep", "**:1"]] {
            let pruned = shelf.prune(args);
            pruned.ok().deletes([]);
            assert!(shelf.has(&note), "{}", pruned.run.all());
        }
        let remove = Cmd::new(["rm", "--grace", "0"]).arg(shelf.path());
        let run = remove.arg("app:1").run();
        run.ok();
        assert!(shelf.has(&note), "{}", run.all());
        let pruned = shelf.prune(&[]);
        pruned.ok().leaves(&["other:1"]);
        assert!(!shelf.has(&note), "{}", pruned.run.all());
    }
}

#[test]
fn with_all_signatures_are_removed_with_a_named_image() {
    each_belonging(|mut shelf, index, _, (_, make)| {
        let kept = shelf.small("keep:1", 5);
        shelf.layout.tag(index, "app:1");
        make(&mut shelf, index, "app:1");
        shelf.write();
        let pruned = shelf.prune(&["-a", "--keep", "keep:*"]);
        pruned.ok().leaves(&["keep:1"]);
        assert_only(&shelf, &kept, &pruned);
    });
}

/// Panics unless only the blobs of an image remain.
#[track_caller]
fn assert_only(shelf: &TestLayout, kept: &Image, pruned: &Pruned) {
    let left: Vec<String> = blobs(shelf.path()).into_keys().collect();
    let mut wanted = kept.digests();
    wanted.sort();
    assert_eq!(left, wanted, "{}", pruned.run.all());
}

#[test]
fn an_unlisted_attestation_of_buildkit_is_stale() {
    let mut shelf = TestLayout::new();
    let image = shelf.small("app:1", 5);
    let config = shelf.layout.empty_config();
    let doc = Doc::manifest(&config, &[])
        .artifact_type(media::ATTESTATION)
        .subject(&image.manifest);
    let left_over = shelf.layout.put(&doc);
    shelf.write();
    shelf
        .prune(&[])
        .ok()
        .deletes([&left_over.digest, &config.digest]);
}

#[test]
fn signatures_that_share_the_name_of_a_kept_image_are_kept() {
    for_each(
        [
            "dev.cosignproject.cosign/sigs",
            "dev.cosignproject.cosign/atts",
            "dev.hauler/sboms",
        ],
        |kind| (*kind).to_owned(),
        |kind| {
            let mut shelf = TestLayout::new();
            shelf.small("app:1", 5);
            shelf.small("tool:1", 5);
            let config = shelf.layout.empty_config();
            for name in ["app:1", "tool:1"] {
                let layer = shelf.layout.blob(SIGNATURE, name.as_bytes());
                let signature = shelf.layout.manifest(&config, &[layer]);
                shelf
                    .layout
                    .entry(signature.tagged(name).annotate("kind", *kind));
            }
            shelf.write();
            shelf.prune(&[]).ok().deletes([]);
            let pruned = shelf.prune(&["-a", "--keep", "tool:1"]);
            pruned.ok().leaves(&["tool:1"]);
            assert_eq!(
                pruned.entries.len(),
                2,
                "image and signature are kept\n{}",
                pruned.run.all()
            );
            // The empty config is that of the other signature as well.
            assert_eq!(
                pruned.deleted.len(),
                4,
                "image and signature are removed\n{}",
                pruned.run.all()
            );
        },
    );
}

#[test]
fn a_signature_whose_image_is_not_listed_is_judged_separately() {
    let mut shelf = TestLayout::new();
    shelf.small("tool:1", 5);
    let config = shelf.layout.empty_config();
    let layer = shelf
        .layout
        .blob(SIGNATURE, b"of an image that is elsewhere");
    let signature = shelf.layout.manifest(&config, std::slice::from_ref(&layer));
    let entry = signature.clone().tagged("app:1");
    shelf
        .layout
        .entry(entry.annotate("kind", "dev.cosignproject.cosign/sigs"));
    shelf.write();
    shelf.prune(&[]).ok().deletes([]);
    let pruned = shelf.prune(&["-a", "--keep", "tool:1"]);
    pruned
        .ok()
        .leaves(&["tool:1"])
        .deletes([&signature.digest, &config.digest, &layer.digest]);
}

/// oras lists every child of an index once more.
#[test]
fn children_listed_again_are_kept_as_long_as_their_index() {
    let mut shelf = TestLayout::new();
    let platforms = ["linux/amd64", "linux/arm64"];
    let mut indexes = Vec::new();
    for salt in ["old", "new"] {
        let children: Vec<Desc> = platforms
            .iter()
            .map(|platform| {
                let build = ImageBuilder::new(&format!("{salt} {platform}")).weighs(50);
                build.platform(platform).store(&shelf.layout).manifest
            })
            .collect();
        for child in &children {
            shelf.layout.entry(child);
        }
        let listed: Vec<Desc> = children
            .iter()
            .zip(platforms)
            .map(|(child, platform)| child.clone().platform(platform))
            .collect();
        indexes.push((shelf.layout.index(&listed), children));
    }
    let (old, old_children) = &indexes[0];
    let (new, new_children) = &indexes[1];
    shelf.layout.entry(old).tag(new, "app:1");
    shelf.write();
    let pruned = shelf.prune(&[]);
    pruned.ok().leaves(&["app:1"]);
    let mut left: Vec<String> = new_children
        .iter()
        .map(|child| child.digest.clone())
        .collect();
    left.push(new.digest.clone());
    assert_eq!(pruned.entries, left, "{}", pruned.run.all());
    assert_eq!(pruned.deleted.len(), 7, "{}", pruned.run.all());
    for child in old_children {
        assert!(!shelf.has(child), "{}", pruned.run.all());
    }
}

#[test]
fn a_platform_that_a_kept_index_shares_survives_its_overwritten_index() {
    let mut shelf = TestLayout::new();
    let shared = ImageBuilder::new("shared").weighs(90).store(&shelf.layout);
    let lost = ImageBuilder::new("lost").weighs(80).store(&shelf.layout);
    let old = shelf.layout.index(&[
        shared.manifest.clone().platform("linux/amd64"),
        lost.manifest.clone().platform("linux/arm64"),
    ]);
    let new = shelf
        .layout
        .index(&[shared.manifest.clone().platform("linux/amd64")]);
    shelf
        .layout
        .entry(&old)
        .entry(&shared.manifest)
        .entry(&lost.manifest)
        .tag(&new, "app:1");
    shelf.write();
    let pruned = shelf.prune(&[]);
    let mut gone = lost.digests();
    gone.push(old.digest);
    pruned.ok().deletes(&gone);
    assert!(shelf.has_all(&shared), "{}", pruned.run.all());
}

/// docker names images in its own list; only images in it are named.
#[test]
fn images_named_in_dockers_list_are_not_dangling() {
    let mut shelf = TestLayout::new();
    let listed = shelf.overwritten("listed", 70);
    let unlisted = shelf.overwritten("unlisted", 60);
    let nameless = shelf.overwritten("nameless", 50);
    let new = ImageBuilder::new("new").weighs(40).store(&shelf.layout);
    shelf
        .layout
        .tag(&new.manifest, "app:2")
        .save_element(&["app:1"], &listed.config, &listed.layers)
        .save_element(&[], &nameless.config, &nameless.layers);
    shelf.write();
    let pruned = shelf.prune(&[]);
    pruned.ok();
    assert!(shelf.has_all(&listed), "{}", pruned.run.all());
    assert!(!shelf.has(&unlisted.manifest), "{}", pruned.run.all());
    assert!(!shelf.has(&nameless.manifest), "{}", pruned.run.all());
}

/// crane, ko, apko and cosign name nothing.
#[test]
fn only_orphans_are_removed_from_a_layout_without_names() {
    let mut shelf = TestLayout::new();
    let images: Vec<Image> = ["one", "two", "three"]
        .into_iter()
        .map(|salt| shelf.overwritten(salt, 50))
        .collect();
    let orphan = shelf.layout.layer(b"orphan");
    shelf.write();
    let pruned = shelf.prune(&[]);
    pruned.ok().deletes([&orphan.digest]);
    for image in &images {
        assert!(shelf.has_all(image), "{}", pruned.run.all());
        pruned.because(
            &image.manifest.digest,
            false,
            &["untagged, but index.json names no image"],
        );
    }
}

/// regctl writes an image by digest, and its signature under a digest tag: no user chose that tag as a name.
#[test]
fn digest_tags_alone_do_not_count_as_names() {
    let mut shelf = TestLayout::new();
    let image = shelf.overwritten("by digest", 50);
    let config = shelf.layout.empty_config();
    let signature = shelf.layout.manifest(&config, &[]);
    let tag = format!("{}.sig", image.manifest.digest.replacen(':', "-", 1));
    shelf.layout.tag(&signature, &tag);
    shelf.write();
    let pruned = shelf.prune(&[]);
    pruned.ok().deletes([]);
    assert!(shelf.has_all(&image), "{}", pruned.run.all());
}

/// Tags repeatedly overwritten by other programs, as recorded.
#[test]
fn only_overwritten_images_of_recorded_layouts_are_removed() {
    use crate::support::{CaseLayout, cases};
    let skipped = [
        "skopeo-dir",
        "skopeo-dir-v2s2",
        "skopeo-shared",
        "lxc-shared",
    ];
    let all: Vec<CaseLayout> = cases()
        .into_iter()
        .filter(|case| !skipped.contains(&case.name.as_str()))
        .flat_map(|case| case.layouts)
        .collect();
    for_each(all, CaseLayout::label, |case| {
        let (_unpacked, layout) = case.unpack();
        let roots = case.facts["roots"]
            .as_array()
            .expect("a list of roots")
            .clone();
        let text =
            |root: &serde_json::Value, key: &str| root[key].as_str().expect("a text").to_owned();
        let nameless = roots.iter().all(|root| text(root, "class") == "nameless");
        let pruned = prune(&layout, &["--grace", "0"]);
        pruned.ok();
        for garbage in case.expected("garbage") {
            assert!(
                pruned.deleted.contains_key(&garbage),
                "{garbage} stays\n{}",
                pruned.run.all()
            );
        }
        for root in &roots {
            let digest = text(root, "digest");
            let is_part = root["also_child_of_a_listed_index"] == true
                || root["subject"]
                    .as_array()
                    .is_some_and(|list| !list.is_empty());
            let stays = pruned.entries.contains(&digest);
            let named = roots
                .iter()
                .any(|other| text(other, "digest") == digest && text(other, "class") != "nameless");
            if named || nameless {
                assert!(stays, "{digest} went\n{}", pruned.run.all());
            } else if !is_part {
                assert!(!stays, "{digest} stays\n{}", pruned.run.all());
            }
        }
        if nameless {
            assert_eq!(
                pruned
                    .deleted
                    .keys()
                    .cloned()
                    .collect::<std::collections::BTreeSet<_>>(),
                case.expected("garbage"),
                "{}",
                pruned.run.all()
            );
        }
    });
}

/// An untagged image whose signature has a digest tag: by the fallback index of the distribution-spec, or as cosign names
/// the signature itself.
fn signed_by_digest_tag(fallback: bool) -> (TestLayout, Image, Vec<Desc>) {
    let mut shelf = TestLayout::new();
    shelf.named("keep:1", 10, &ImageBuilder::new("keep").layer(b"keep"));
    let app = shelf.untagged(20, &ImageBuilder::new("app").layer(b"app"));
    let signature = shelf
        .layout
        .referrer(&app.manifest, SIGNATURE, b"signature");
    let hex = app.manifest.hex().to_owned();
    let mut all = vec![signature.manifest.clone()];
    if fallback {
        let index = shelf
            .layout
            .index(std::slice::from_ref(&signature.manifest));
        shelf.layout.tag(&index, &format!("sha256-{hex}"));
        all.push(index);
    } else {
        let tag = format!("sha256-{hex}.sig");
        shelf.layout.tag(&signature.manifest, &tag);
    }
    (shelf, app, all)
}

/// A digest tag names the referrers of its subject. It does not keep the subject, and it follows it.
#[test]
fn a_digest_tag_does_not_keep_its_subject_and_follows_it() {
    for fallback in [true, false] {
        // Whether or not something unrelated is dangling as well.
        for unrelated in [true, false] {
            let (mut shelf, app, signature) = signed_by_digest_tag(fallback);
            let mut expected = vec![short_of(&app.manifest)];
            if unrelated {
                let other = shelf.untagged(30, &ImageBuilder::new("unrelated").layer(b"unrelated"));
                expected.push(short_of(&other.manifest));
            }
            shelf.write();
            expected.sort();
            let path = shelf.layout.path();
            let ls = Cmd::new(["ls", "-q", "-f", "dangling=true"])
                .arg(path)
                .run();
            let mut listed: Vec<String> = ls.ok().stdout.lines().map(str::to_owned).collect();
            listed.sort();
            assert_eq!(listed, expected, "{}", ls.all());
            let dry = Cmd::new(["prune", "-n", "-v"]).arg(path).run();
            let mut shown: Vec<String> = dry
                .ok()
                .stdout
                .lines()
                .filter_map(|line| line.strip_prefix("remove "))
                .filter_map(|line| line.split_whitespace().next())
                .map(str::to_owned)
                .collect();
            shown.sort();
            assert_eq!(shown, expected, "{}", dry.all());
            let df = Cmd::new(["df", "--format", "json"]).arg(path).run();
            let df = df.ok().json();
            let pruned = shelf.prune(&[]);
            pruned.ok().leaves(&["keep:1"]);
            let again = Cmd::new(["prune", "-n", "--exit-code"]).arg(path).run();
            again.exits(0);
            for desc in signature.iter().chain([&app.manifest]) {
                assert!(
                    !blobs(path).contains_key(&desc.digest),
                    "{}",
                    pruned.run.all()
                );
            }
            // The bytes of the digest tag are in the row that they are reclaimed from.
            for row in df["layouts"][0]["rows"].as_array().into_iter().flatten() {
                let (size, reclaimable) = (row["size"].as_u64(), row["reclaimable"].as_u64());
                let is_untagged = row["type"] == "Untagged";
                assert!(reclaimable <= size, "{df}");
                assert!(!is_untagged || reclaimable == size, "{df}");
            }
        }
    }
}

/// A digest tag whose subject is not removed is kept, whether the subject exists or not.
#[test]
fn a_digest_tag_is_kept_if_its_subject_is_not_removed() {
    let (mut shelf, app, _) = signed_by_digest_tag(true);
    shelf.layout.tag(&app.manifest, "app:1");
    let absent = "0".repeat(64);
    let of_absent = shelf.layout.image("linux/amd64", "signature", &[b"sig"]);
    let tag = format!("sha256-{absent}.sig");
    shelf.layout.tag(&of_absent.manifest, &tag);
    let dangling = shelf.untagged(40, &ImageBuilder::new("dangling").layer(b"dangling"));
    shelf.write();
    let gone = dangling.digests();
    shelf.prune(&[]).ok().deletes(&gone);
    assert!(shelf.has_all(&app) && shelf.has_all(&of_absent));
}

fn short_of(desc: &Desc) -> String {
    desc.hex().chars().take(12).collect()
}

#[test]
fn possible_children_of_a_missing_index_are_not_dangling() {
    for (is_missing, goes) in [(false, true), (true, false)] {
        let mut shelf = TestLayout::new();
        let child = ImageBuilder::new("child")
            .layer(b"child")
            .store(&shelf.layout);
        let other = ImageBuilder::new("other")
            .layer(b"other")
            .store(&shelf.layout);
        let index = shelf
            .layout
            .index(&[child.manifest.clone().platform("linux/amd64")]);
        shelf
            .layout
            .tag(&index, "app:1")
            .entry(&child.manifest)
            .entry(&other.manifest);
        if is_missing {
            shelf.layout.drop_blob(&index);
        }
        shelf.write();
        let run = shelf.call(["-f", "--allow-missing"]).run();
        run.ok();
        assert!(shelf.has_all(&child), "{is_missing}\n{}", run.all());
        assert_eq!(!shelf.has_all(&other), goes, "{is_missing}\n{}", run.all());
    }
}

/// The index that is missing may as well be listed by another index or by another file.
#[test]
fn possible_children_of_a_missing_index_in_another_document_are_not_dangling() {
    for place in ["index", "file"] {
        for (is_index, goes) in [(true, false), (false, true)] {
            let mut shelf = TestLayout::new();
            shelf.small("app:1", 10);
            let child = ImageBuilder::new("child")
                .layer(b"child")
                .store(&shelf.layout);
            let platform = child.manifest.clone().platform("linux/amd64");
            let missing = if is_index {
                shelf.layout.index(&[platform])
            } else {
                let other = ImageBuilder::new("other")
                    .layer(b"other")
                    .store(&shelf.layout);
                other.manifest
            };
            if place == "index" {
                let outer = shelf.layout.index(std::slice::from_ref(&missing));
                shelf.layout.tag(&outer, "outer:1");
            } else {
                let text = format!(r#"{{"manifests":[{}]}}"#, missing.json().text());
                shelf.layout.file("list.json", text.as_bytes());
            }
            shelf.layout.entry(&child.manifest).drop_blob(&missing);
            shelf.write();
            let pruned = shelf.prune(&[]);
            pruned.ok();
            let all = pruned.run.all();
            assert_eq!(
                !shelf.has_all(&child),
                goes,
                "{place}, index {is_index}\n{all}"
            );
        }
    }
}
