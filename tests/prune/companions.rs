//! Companion tags: `app:1-esgztoc` is kept with `app:1`, and counts with it.

use crate::support::{Desc, Doc, Image, ImageBuilder, TestLayout, for_each};

/// The annotation of acceleration services for the image that one was converted from.
const SOURCE: &str = "io.goharbor.artifact.v1alpha1.acceleration.source.digest";

/// Stores an image whose manifest names another one in an annotation.
fn derived(shelf: &mut TestLayout, name: &str, days: u64, key: &str, value: &str) -> Image {
    let config = shelf.layout.config("linux/amd64", name);
    let layer = shelf.layout.layer(name.as_bytes());
    let layers = [layer];
    let doc = Doc::manifest(&config, &layers).annotate(key, value);
    let manifest = shelf.layout.put(&doc);
    shelf.layout.tag(&manifest, name);
    shelf.added(&manifest, days);
    Image {
        manifest,
        config,
        layers: layers.to_vec(),
    }
}

/// Three images with a table of contents each, which were all made later, in another order.
fn stargz(prefix: &str) -> TestLayout {
    let mut shelf = TestLayout::new();
    for (tag, days, days_of_toc) in [("1", 90, 2), ("2", 40, 3), ("3", 12, 60)] {
        shelf.small(&format!("{prefix}{tag}"), days);
        shelf.small(&format!("{prefix}{tag}-esgztoc"), days_of_toc);
    }
    shelf.small("tool:9", 50);
    shelf.write();
    shelf
}

#[test]
fn a_companion_is_kept_with_its_image_and_does_not_count() {
    for_each(
        ["app:", "ghcr.io/acme/app:", ""],
        |prefix| (*prefix).to_owned(),
        |prefix| {
            let shelf = stargz(prefix);
            let names = |tags: &[&str]| -> Vec<String> {
                let of_app = tags.iter().map(|tag| format!("{prefix}{tag}"));
                of_app.chain(["tool:9".to_owned()]).collect()
            };
            let left = names(&["2", "2-esgztoc", "3", "3-esgztoc"]);
            let left: Vec<&str> = left.iter().map(String::as_str).collect();
            shelf
                .prune(&["-a", "--keep-last", "2"])
                .ok()
                .leaves(&left)
                .because(
                    &format!("{prefix}3-esgztoc"),
                    false,
                    &[&format!("companion of {prefix}3")],
                )
                .because(
                    &format!("{prefix}1-esgztoc"),
                    true,
                    &[&format!("companion of {prefix}1, which is removed")],
                );
        },
    );
}

#[test]
fn whatever_keeps_the_image_keeps_its_companion() {
    let all_of = |tag: &str| vec![format!("app:{tag}"), format!("app:{tag}-esgztoc")];
    for_each(
        [
            (&["--keep", "app:1"][..], "1"),
            (&["--keep-last", "0", "--keep", "app:2"], "2"),
            (&["--keep-monthly", "1"], "3"),
        ],
        |(args, _)| args.join(" "),
        |(args, tag)| {
            let shelf = stargz("app:");
            let mut all = vec!["-a", "--filter", "reference=app:*"];
            all.extend(*args);
            let pruned = shelf.prune(&all);
            let mut left = all_of(tag);
            left.push("tool:9".to_owned());
            let left: Vec<&str> = left.iter().map(String::as_str).collect();
            pruned.ok().leaves(&left);
        },
    );
    let shelf = stargz("app:");
    shelf.hold("release", "app:1");
    shelf
        .prune(&["-a"])
        .ok()
        .leaves(&["app:1", "app:1-esgztoc"]);
    // An image that a filter excludes keeps its companion as well.
    let shelf = stargz("app:");
    shelf.prune(&["-a", "--filter", "until=20d"]).ok().leaves(&[
        "app:1-esgztoc",
        "app:2-esgztoc",
        "app:3",
        "app:3-esgztoc",
    ]);
}

#[test]
fn the_age_of_a_companion_keeps_it_but_not_its_image() {
    let shelf = stargz("app:");
    shelf
        .prune(&["-a", "--keep-within", "10d"])
        .ok()
        .leaves(&["app:1-esgztoc", "app:2-esgztoc"]);
}

#[test]
fn a_pattern_can_select_companions_by_their_own_name() {
    let shelf = stargz("app:");
    shelf
        .prune(&["-a", "--filter", "reference=*:*-esgztoc"])
        .ok()
        .leaves(&["app:1", "app:2", "app:3", "tool:9"]);
    // It is then judged like any other.
    let shelf = stargz("app:");
    shelf
        .prune(&[
            "-a",
            "--filter",
            "reference=*:*-esgztoc",
            "--keep-last",
            "1",
        ])
        .ok()
        .leaves(&["app:1", "app:1-esgztoc", "app:2", "app:3", "tool:9"]);
}

#[test]
fn a_companion_without_its_image_is_an_image_like_any_other() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1-esgztoc", 5);
    shelf.small("app:2", 9);
    shelf.small("app:3", 1);
    shelf.write();
    shelf
        .prune(&["-a", "--keep-last", "2"])
        .ok()
        .leaves(&["app:1-esgztoc", "app:3"]);
}

#[test]
fn a_budget_removes_a_companion_with_its_image_and_never_earlier() {
    let mut shelf = TestLayout::new();
    for (name, days) in [
        ("app:1", 20),
        ("app:1-esgztoc", 90),
        ("app:2", 60),
        ("app:2-esgztoc", 1),
    ] {
        shelf.named(name, days, &ImageBuilder::new(name).weighs(10_000));
    }
    shelf.write();
    shelf
        .prune(&["-a", "--max-size", "25kB"])
        .ok()
        .leaves(&["app:1", "app:1-esgztoc"]);
}

#[test]
fn an_image_annotated_with_the_digest_of_another_follows_it_but_one_built_upon_it_does_not() {
    let follows: [(&str, bool); 4] = [
        (SOURCE, true),
        ("com.example.source", true),
        ("org.opencontainers.image.base.digest", false),
        ("com.example.checksum", false),
    ];
    for_each(
        follows,
        |(key, _)| (*key).to_owned(),
        |(key, follows)| {
            let mut shelf = TestLayout::new();
            let mut digests: Vec<Desc> = Vec::new();
            for (tag, days) in [("1", 90), ("2", 40)] {
                let image = shelf.small(&format!("app:{tag}"), days);
                digests.push(image.manifest);
            }
            derived(&mut shelf, "app:1-nydus", 2, key, &digests[0].digest);
            derived(&mut shelf, "app:2-nydus", 30, key, &digests[1].digest);
            shelf.write();
            let left: &[&str] = if *follows {
                &["app:2", "app:2-nydus"]
            } else {
                &["app:1-nydus"]
            };
            shelf.prune(&["-a", "--keep-last", "1"]).ok().leaves(left);
        },
    );
}

#[test]
fn a_suffix_alone_does_not_make_a_companion() {
    let mut shelf = TestLayout::new();
    for (name, days) in [
        ("app:1", 90),
        ("app:1-alpine", 80),
        ("app:2", 2),
        ("app:2-alpine", 1),
    ] {
        shelf.small(name, days);
    }
    shelf.write();
    shelf
        .prune(&["-a", "--keep-last", "1"])
        .ok()
        .leaves(&["app:2-alpine"]);
}

/// The image is kept under another name, but the tag from which the companion was derived is removed.
#[test]
fn a_companion_is_removed_with_its_tag_even_if_the_image_has_another_name() {
    for group in ["name", "tree"] {
        let mut shelf = TestLayout::new();
        let image = shelf.small("app:1", 20);
        shelf.layout.tag(&image.manifest, "tool:1");
        shelf.small("app:1-esgztoc", 20);
        shelf.write();
        let args = ["-a", "--filter", "reference=app:*", "--keep-last", "0"];
        let pruned = shelf.prune(&[&args[..], &["--group-by", group]].concat());
        pruned.ok().leaves(&["tool:1"]).because(
            "app:1-esgztoc",
            true,
            &["companion of app:1, which is removed"],
        );
        assert!(shelf.has_all(&image), "{}", pruned.run.all());
    }
}
