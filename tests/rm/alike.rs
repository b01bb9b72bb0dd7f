//! One name on several images, and an image whose ID was replaced.

use crate::rm::platform_words::images_of;
use crate::support::files::{entries, field};
use crate::support::removed::{assert_entries, assert_output, rm};
use crate::support::{Cmd, Desc, Doc, Image, LayoutBuilder, media};

/// Two images of one name, and a second name on the first.
fn twins(name: &str) -> (LayoutBuilder, Image, Image) {
    let mut layout = LayoutBuilder::new();
    let one = layout.image("linux/amd64", "one", &[b"one"]);
    let two = layout.image("linux/amd64", "two", &[b"two"]);
    layout
        .tag(&one.manifest, name)
        .tag(&one.manifest, "other:1")
        .tag(&two.manifest, name)
        .write();
    (layout, one, two)
}

#[test]
fn the_hint_removes_one_of_several_images_of_one_name() {
    for name in ["app:1", "v1", "ghcr.io/acme/app:1", "Not A Reference"] {
        let (layout, one, two) = twins(name);
        let run = rm(&layout, &[name]);
        run.exits(1).one_error_with_hint();
        run.warns(&format!("{name} ({})", one.manifest.short()))
            .warns(&format!("{name} ({})", two.manifest.short()));
        let first = [&one.manifest, &two.manifest]
            .into_iter()
            .min_by_key(|desc| desc.digest.clone())
            .expect("there are two");
        let exact = format!("{name}@{}", first.digest);
        run.warns(&exact).warns("`-f` removes all");

        let run = rm(&layout, &[&exact]);
        run.ok();
        if first.digest == one.manifest.digest {
            assert_output(&run, &[name], &[]);
            let left = [
                one.manifest.clone().tagged("other:1"),
                two.manifest.clone().tagged(name),
            ];
            assert_entries(&layout, &left, &run);
        } else {
            assert_output(&run, &[name], &two.parts());
            let left = [
                one.manifest.clone().tagged(name),
                one.manifest.clone().tagged("other:1"),
            ];
            assert_entries(&layout, &left, &run);
        }
    }
}

#[test]
fn force_removes_one_exact_name_from_several_images_and_no_other_name() {
    let (layout, one, two) = twins("app:1");
    let run = rm(&layout, &["-f", "app:1"]);
    run.ok();
    assert_output(&run, &["app:1"], &two.parts());
    assert_entries(&layout, &[one.manifest.clone().tagged("other:1")], &run);
    layout.assert_has(one.parts(), &run);
}

#[test]
fn the_hint_for_an_ambiguous_id_has_a_full_digest_and_does_not_mention_force() {
    let mut layout = LayoutBuilder::new();
    let hex = "ab".repeat(31);
    for end in ["01", "02"] {
        let digest = format!("sha256:{hex}{end}");
        let config = layout.config("linux/amd64", end);
        let doc = Doc::manifest(&config, &[]);
        let desc = layout.forged(&digest, media::MANIFEST, doc.text().as_bytes());
        layout.tag(&desc, &format!("app:{end}"));
    }
    layout.write();
    let run = rm(&layout, &[&hex[..12]]);
    run.exits(1).one_error_with_hint();
    run.warns(&format!(" sha256:{hex}01` removes the first of them"));
    assert!(!run.stderr.contains("-f"), "{}", run.all());
}

/// An index of three platforms under this name, and another image.
fn multi(name: Option<&str>) -> (LayoutBuilder, Desc, Vec<Image>) {
    let mut layout = LayoutBuilder::new();
    let platforms = ["linux/amd64", "linux/arm64", "linux/386"];
    let images = images_of(&layout, &platforms);
    let children: Vec<Desc> = images
        .iter()
        .zip(platforms)
        .map(|(image, platform)| image.manifest.clone().platform(platform))
        .collect();
    let index = layout.index(&children);
    let other = layout.image("linux/amd64", "other", &[b"other"]);
    match name {
        Some(name) => layout.tag(&index, name),
        None => layout.entry(index.clone()),
    };
    layout.tag(&other.manifest, "other:1").write();
    (layout, index, images)
}

#[test]
fn a_replaced_id_is_reported_with_the_new_one() {
    for name in [Some("app:1"), None] {
        let (layout, index, images) = multi(name);
        let id = index.short();
        let arm = ["--platform", "linux/arm64"];
        rm(&layout, &["-f", id, arm[0], arm[1]]).ok();
        let now = name.unwrap_or("the image");

        // The old ID in every form, and in every command that takes an image.
        let run = rm(&layout, &[id, "--platform", "linux/386"]);
        run.exits(1).one_error_with_hint();
        let listed = entries(layout.path());
        let new = field(&listed[0], "digest").expect("an entry has a digest");
        assert_ne!(new, index.digest, "{}", run.all());
        let new_id = &new["sha256:".len()..][..12];
        let words = format!("; {now} is now {new_id}");
        run.warns(&format!("No such image: {id}:latest{words}"));
        for text in [index.digest.as_str(), &format!("sha256:{id}"), index.hex()] {
            let run = rm(&layout, &[text]);
            run.exits(1).one_error_with_hint();
            run.warns(&words);
        }
        let run = Cmd::new(["hold", "add"])
            .arg(layout.path())
            .args(["release", id])
            .run();
        run.exits(1).warns(&words);

        // With force it is not a failure, and is still reported.
        rm(&layout, &["-f", &index.digest]).ok().warns(&words);

        // Over two rewrites.
        rm(&layout, &[new_id, "--platform", "linux/386"]).ok();
        let listed = entries(layout.path());
        let newest = field(&listed[0], "digest").expect("an entry has a digest");
        let words = format!("; {now} is now {}", &newest["sha256:".len()..][..12]);
        for old in [id, new_id] {
            rm(&layout, &[old]).exits(1).warns(&words);
        }
        assert!(layout.has(&images[0].manifest), "{}", run.all());

        // An image that was removed since is not reported.
        rm(&layout, &[&newest]).ok();
        let run = rm(&layout, &[id]);
        run.exits(1);
        assert!(!run.stderr.contains("is now"), "{}", run.all());
    }
}

#[test]
fn a_rewrite_by_name_leaves_no_record() {
    let (layout, _, _) = multi(Some("app:1"));
    rm(&layout, &["app:1", "--platform", "linux/arm64"]).ok();
    assert!(!layout.join(".ocisweep").exists());
}
