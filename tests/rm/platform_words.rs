//! `--platform`: docker's grammar, matching, and everything that is refused: absent platforms, names that would lose the
//! platform as well, holds, the last platform.

use crate::support::files::{entries, field};
use crate::support::removed::{assert_entries, assert_output, bare, dropping, rm};
use crate::support::{Cmd, Desc, Image, LayoutBuilder, assert_same, for_each, media, snapshot};

/// Images for these platforms, each with a layer of its own and one that all share.
pub(crate) fn images_of(layout: &LayoutBuilder, platforms: &[&str]) -> Vec<Image> {
    let images = platforms
        .iter()
        .map(|platform| layout.image(platform, platform, &[b"shared by all", platform.as_bytes()]));
    images.collect()
}

/// An index of these platforms.
pub(crate) fn multi(layout: &LayoutBuilder, platforms: &[&str]) -> (Desc, Vec<Image>) {
    let images = images_of(layout, platforms);
    let children: Vec<Desc> = images
        .iter()
        .zip(platforms)
        .map(|(image, platform)| image.manifest.clone().platform(platform))
        .collect();
    (layout.index(&children), images)
}

/// A layout in which `multi:1` has these platforms.
pub(crate) fn layout_of(platforms: &[&str]) -> (LayoutBuilder, Desc, Vec<Image>) {
    let mut layout = LayoutBuilder::new();
    let (index, images) = multi(&layout, platforms);
    layout.tag(&index, "multi:1").write();
    (layout, index, images)
}

/// The architecture of this machine, in docker's words.
fn host() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[test]
fn an_invalid_platform_is_a_usage_error_that_changes_nothing() {
    // docker treats empty ones as "no platform", and removes the whole image.
    let cases = [
        ("", "empty"),
        ("linux/arm64,,linux/386", "empty"),
        ("linux/arm64,", "empty"),
        (",linux/arm64", "empty"),
        (
            "foo",
            "`foo` is not a known operating system or architecture",
        ),
        (
            "unknown",
            "`unknown` is not a known operating system or architecture",
        ),
        (
            "all",
            "`all` is not a known operating system or architecture",
        ),
        ("linux/", "is not a valid part of platform `linux/`"),
        ("*", "wildcards are not supported"),
        ("linux/*", "wildcards are not supported"),
        ("linux/amd64/v1/x", "`linux/amd64/v1/x` has too many parts"),
        ("a b", "not a valid operating system"),
        ("/amd64", "not a valid operating system"),
        ("linux/amd 64", "`amd 64` is not a valid part"),
        ("linux/arm64,*", "wildcards are not supported"),
    ];
    let (layout, ..) = layout_of(&["linux/amd64", "linux/arm64", "linux/386"]);
    let before = snapshot(layout.path());
    for_each(
        cases,
        |(value, _)| format!("{value:?}"),
        |(value, said)| {
            for flag in ["--platform", "--only-platform"] {
                for arguments in [
                    vec![flag.to_owned(), (*value).to_owned()],
                    vec![format!("{flag}={value}")],
                    vec![format!("{flag}=linux/arm64"), format!("{flag}={value}")],
                ] {
                    let run = bare(layout.path(), ["-f", "multi:1"])
                        .args(&arguments)
                        .run();
                    run.exits(2).warns(said);
                    assert_eq!(run.stdout, "", "{}", run.all());
                    assert_same(&before, &snapshot(layout.path()), &run.all());
                }
            }
        },
    );
    for arguments in [
        &[
            "--platform",
            "linux/amd64",
            "--only-platform",
            "linux/arm64",
        ][..],
        &["--platform", "linux/amd64", "--no-prune"],
        &["--platform", "linux/amd64", "--platform-mode", "other"],
    ] {
        let run = bare(layout.path(), ["-f", "multi:1"]).args(arguments).run();
        run.exits(2);
        assert_same(&before, &snapshot(layout.path()), &run.all());
    }
}

#[test]
fn a_platform_matches_as_in_docker_and_nothing_else() {
    let os = "linux";
    let own = format!("{os}/{}", host());
    let all = [
        "linux/amd64",
        "linux/arm64/v8",
        "linux/arm/v7",
        "linux/arm/v6",
        "linux/386",
        "linux/riscv64",
        "windows/amd64",
    ];
    // The typed value, and the platforms that it selects.
    let cases: Vec<(&str, Option<&str>)> = vec![
        ("linux/amd64", Some("linux/amd64")),
        ("linux/amd64/v1", Some("linux/amd64")),
        ("linux/x86_64", Some("linux/amd64")),
        ("linux/x86-64", Some("linux/amd64")),
        ("Linux/AMD64", Some("linux/amd64")),
        ("linux/amd64/v2", None),
        ("linux/arm64", Some("linux/arm64/v8")),
        ("linux/arm64/v8", Some("linux/arm64/v8")),
        ("linux/arm64/8", Some("linux/arm64/v8")),
        ("linux/aarch64", Some("linux/arm64/v8")),
        ("linux/arm64/v9", None),
        ("linux/arm", Some("linux/arm/v7")),
        ("linux/arm/v7", Some("linux/arm/v7")),
        ("linux/arm/7", Some("linux/arm/v7")),
        ("linux/armhf", Some("linux/arm/v7")),
        ("linux/arm/v6", Some("linux/arm/v6")),
        ("linux/armel", Some("linux/arm/v6")),
        ("linux/arm/5", None),
        ("linux/arm/v8", None),
        ("linux/386", Some("linux/386")),
        ("linux/i386", Some("linux/386")),
        ("windows/amd64", Some("windows/amd64")),
        ("linux", Some(&own)),
        ("riscv64", Some("linux/riscv64")),
        ("aarch64", Some("linux/arm64/v8")),
        ("armhf", Some("linux/arm/v7")),
        ("linux/ppc64le", None),
        ("linux/foo", None),
        // Two parts are an operating system and an architecture, always.
        ("arm64/v8", None),
        ("unknown/unknown", None),
        ("macos/arm64", None),
    ];
    for_each(
        cases,
        |(typed, _)| (*typed).to_owned(),
        |(typed, meant)| {
            let (layout, index, images) = layout_of(&all);
            let run = rm(&layout, &["multi:1", "--platform", typed]);
            let position = meant.map(|meant| {
                all.iter().position(|platform| {
                    platform.trim_end_matches("/v8") == meant.trim_end_matches("/v8")
                })
            });
            match position {
                None => {
                    run.exits(1).one_error_with_hint();
                    run.warns("ocisweep: image with reference multi:1 was found but does not provide the platform ");
                    // Docker does not list what the image provides.
                    run.warns("linux/riscv64");
                    assert_eq!(run.stdout, "", "{}", run.all());
                    layout.assert_has([&index], &run);
                }
                Some(position) => {
                    let position = position.expect("the host has one of these architectures");
                    run.ok();
                    for (other, image) in images.iter().enumerate() {
                        let is_here = layout.has(&image.manifest);
                        assert_eq!(is_here, other != position, "{}\n{}", all[other], run.all());
                    }
                }
            }
        },
    );
}

#[test]
fn a_platform_without_a_variant_has_the_default_one() {
    let cases = [
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm64", "linux/arm64/v8"),
        ("linux/amd64", "linux/amd64/v1"),
        ("linux/aarch64", "linux/arm64"),
    ];
    for (written, typed) in cases {
        let (layout, _, images) = layout_of(&[written, "linux/s390x"]);
        let run = rm(&layout, &["multi:1", "--platform", typed]);
        run.ok();
        assert!(
            !layout.has(&images[0].manifest),
            "{written} {typed}\n{}",
            run.all()
        );
        layout.assert_has(images[1].parts(), &run);
    }
}

#[test]
fn an_absent_platform_is_an_error_even_with_force() {
    // docker needs -f in any case, and then exits with 0.
    for force in [None, Some("-f")] {
        for mode in ["rewrite", "sparse", "hollow"] {
            let (layout, ..) = layout_of(&["linux/amd64", "linux/arm64"]);
            let before = snapshot(layout.path());
            let arguments = dropping("linux/ppc64le", mode);
            let all: Vec<&str> = force.into_iter().chain(arguments).collect();
            let run = rm(&layout, &all);
            run.exits(1).one_error_with_hint();
            let line = "ocisweep: image with reference multi:1 was found but does not provide the platform linux/ppc64le (it has linux/amd64, linux/arm64)\n";
            assert!(run.stderr.starts_with(line), "{}", run.all());
            assert_same(&before, &snapshot(layout.path()), &run.all());
        }
    }
}

#[test]
fn several_platforms_are_removed_together_or_not_at_all() {
    let platforms = ["linux/amd64", "linux/arm64", "linux/386", "linux/s390x"];
    // docker removes those before the first absent one, without reporting it.
    for list in [
        vec!["--platform", "linux/arm64,linux/ppc64le,linux/386"],
        vec![
            "--platform",
            "linux/arm64",
            "--platform",
            "linux/386",
            "--platform",
            "linux/ppc64le",
        ],
        vec!["--only-platform", "linux/amd64,linux/ppc64le"],
    ] {
        let (layout, ..) = layout_of(&platforms);
        let before = snapshot(layout.path());
        let all: Vec<&str> = ["-f", "multi:1"].into_iter().chain(list).collect();
        let run = rm(&layout, &all);
        run.exits(1).warns("linux/ppc64le");
        assert_same(&before, &snapshot(layout.path()), &run.all());
    }
    for list in [
        vec!["--platform", "linux/arm64,linux/386"],
        vec!["--platform", "linux/386", "--platform", "linux/arm64"],
        vec!["--platform", "linux/arm64,linux/386,arm64,linux/i386"],
        vec!["--only-platform", "linux/s390x,linux/amd64"],
        vec![
            "--only-platform",
            "linux/s390x",
            "--only-platform",
            "linux/amd64",
        ],
    ] {
        let (layout, index, images) = layout_of(&platforms);
        let all: Vec<&str> = ["multi:1"].into_iter().chain(list).collect();
        let run = rm(&layout, &all);
        run.ok();
        let gone: Vec<bool> = images
            .iter()
            .map(|image| !layout.has(&image.manifest))
            .collect();
        assert_eq!(gone, [false, true, true, false], "{}", run.all());
        assert!(!layout.has(&index), "{}", run.all());
        layout.assert_has(images[0].parts().into_iter().chain(images[3].parts()), &run);
    }
}

#[test]
fn one_image_without_the_platform_does_not_stop_the_others() {
    let mut layout = LayoutBuilder::new();
    let (first, of_first) = multi(&layout, &["linux/amd64", "linux/arm64"]);
    let (second, of_second) = multi(&layout, &["linux/386", "linux/s390x"]);
    layout
        .tag(&first, "first:1")
        .tag(&second, "second:1")
        .write();
    let run = rm(
        &layout,
        &[
            "-f",
            "--platform",
            "linux/arm64",
            "second:1",
            "nosuch:1",
            "first:1",
        ],
    );
    run.exits(1);
    run.warns(
        "image with reference second:1 was found but does not provide the platform linux/arm64",
    );
    run.warns("No such image: nosuch:1");
    assert!(!layout.has(&of_first[1].manifest), "{}", run.all());
    layout.assert_has(
        [&second, &of_second[0].manifest, &of_second[1].manifest],
        &run,
    );
    layout.assert_has(of_first[0].parts(), &run);
    // A missing image is ignored as usual.
    rm(&layout, &["-f", "--platform", "linux/s390x", "nosuch:1"]).ok();
}

#[test]
fn other_names_of_the_index_are_a_conflict_in_dockers_words_and_move_with_force() {
    for mode in ["rewrite", "sparse", "hollow"] {
        for by in ["multi:1", "ID"] {
            let mut layout = LayoutBuilder::new();
            let (index, images) = multi(&layout, &["linux/amd64", "linux/arm64"]);
            layout
                .tag(&index, "multi:1")
                .tag(&index, "multi:2")
                .tag(&index, "other:1")
                .write();
            let argument = if by == "ID" {
                index.short().to_owned()
            } else {
                by.to_owned()
            };
            let before = snapshot(layout.path());
            let arguments = [
                argument.as_str(),
                "--platform",
                "linux/arm64",
                "--platform-mode",
                mode,
            ];
            let run = rm(&layout, &arguments);
            run.exits(1).one_error_with_hint();
            run.warns("Content will be removed from all images referencing this variant. Use --force to force delete.\n");
            run.warns("multi:2").warns("other:1");
            assert_same(&before, &snapshot(layout.path()), &run.all());

            let all: Vec<&str> = ["-f"].into_iter().chain(arguments).collect();
            let run = bare(layout.path(), &all).run();
            run.ok();
            assert!(!layout.has(&images[1].layers[1]), "{}", run.all());
            layout.assert_has(images[0].parts(), &run);
            let digests: Vec<Option<String>> = entries(layout.path())
                .iter()
                .map(|entry| field(entry, "digest"))
                .collect();
            assert_eq!(digests.len(), 3, "{}", run.all());
            assert!(
                digests.iter().all(|digest| *digest == digests[0]),
                "{digests:?}\n{}",
                run.all()
            );
            let is_same = digests[0].as_ref() == Some(&index.digest);
            assert_eq!(is_same, mode != "rewrite", "{}", run.all());
            assert!(!run.stdout.contains("Untagged"), "{}", run.all());
        }
    }
    // All of the names together are not a conflict, in any form; and a repeated name counts once.
    for arguments in [
        &["multi:*"][..],
        &["multi:1", "multi:2"],
        &["multi:2", "multi:1", "multi:1", "multi:*"],
        &["-f", "multi:1", "@0"],
        &["-f", "multi:2", "multi:2", "multi:1"],
    ] {
        let mut layout = LayoutBuilder::new();
        let (index, images) = multi(&layout, &["linux/amd64", "linux/arm64"]);
        layout.tag(&index, "multi:1").tag(&index, "multi:2").write();
        let all: Vec<&str> = arguments
            .iter()
            .copied()
            .chain(["--platform", "linux/arm64"])
            .collect();
        let run = rm(&layout, &all);
        run.ok();
        assert!(!layout.has(&images[1].manifest), "{}", run.all());
        assert_eq!(
            run.stdout
                .matches("Rewritten: multi:1, multi:2, image ID ")
                .count(),
            1,
            "{}",
            run.all()
        );
    }
}

#[test]
fn no_platform_is_removed_from_a_held_image() {
    for mode in ["rewrite", "sparse", "hollow"] {
        let (layout, index, _) = layout_of(&["linux/amd64", "linux/arm64"]);
        Cmd::new(["hold", "add"])
            .arg(layout.path())
            .args(["release", "multi:1"])
            .run()
            .ok();
        let before = snapshot(layout.path());
        let arguments = dropping("linux/arm64", mode);
        let run = rm(&layout, &arguments);
        run.exits(1).one_error_with_hint();
        run.warns(&format!(
            "ocisweep: conflict: unable to delete multi:1 (cannot be forced) - hold \"release\" is using its image {}\n",
            index.short()
        ));
        assert_same(&before, &snapshot(layout.path()), &run.all());
        let run = bare(layout.path(), ["-f"]).args(arguments).run();
        run.exits(1).warns("(cannot be forced)");
        assert_same(&before, &snapshot(layout.path()), &run.all());
    }
}

#[test]
fn a_hold_on_one_platform_does_not_protect_the_others() {
    let (layout, _, images) = layout_of(&["linux/amd64", "linux/arm64", "linux/386"]);
    let hold = &images[0].manifest.digest;
    Cmd::new(["hold", "add"])
        .arg(layout.path())
        .args(["release", hold])
        .run()
        .ok();
    let run = rm(&layout, &["multi:1", "--platform", "linux/arm64"]);
    run.ok();
    assert!(!layout.has(&images[1].manifest), "{}", run.all());
    let run = rm(&layout, &["-f", "multi:1", "--platform", "linux/386"]);
    run.ok();
    let holds = Cmd::new(["hold", "ls"]).arg(layout.path()).run();
    holds.ok().says("release");
    let run = rm(&layout, &["multi:1", "--platform", "linux/amd64"]);
    run.exits(1).warns("hold \"release\"");
    layout.assert_has(images[0].parts(), &run);
}

#[test]
fn dropping_the_last_platform_removes_the_image_and_needs_force() {
    for mode in ["rewrite", "sparse", "hollow"] {
        let (layout, index, images) = layout_of(&["linux/amd64", "linux/arm64"]);
        let before = snapshot(layout.path());
        let arguments = [
            "multi:1",
            "--platform",
            "linux/arm64,linux/amd64",
            "--platform-mode",
            mode,
        ];
        let run = rm(&layout, &arguments);
        run.exits(1).one_error_with_hint();
        run.warns(&format!("conflict: unable to delete multi:1 (must be forced) - it is the last platform of image {}", index.short()));
        assert_same(&before, &snapshot(layout.path()), &run.all());
        let all: Vec<&str> = ["-f"].into_iter().chain(arguments).collect();
        let run = rm(&layout, &all);
        run.ok().says("Untagged: multi:1\n");
        assert_entries(&layout, &[], &run);
        for image in &images {
            assert!(
                image.parts().into_iter().all(|part| !layout.has(part)),
                "{}",
                run.all()
            );
        }
    }
}

#[test]
fn an_image_of_one_manifest_has_one_platform() {
    let mut layout = LayoutBuilder::new();
    let image = layout.image("linux/arm64", "single", &[b"single"]);
    layout.tag(&image.manifest, "single:1").write();
    rm(&layout, &["-f", "single:1", "--platform", "linux/amd64"])
        .exits(1)
        .warns("does not provide the platform linux/amd64 (it has linux/arm64)");
    rm(&layout, &["single:1", "--platform", "linux/arm64"])
        .exits(1)
        .warns("it is the last platform");
    // The others are not.
    let run = rm(&layout, &["single:1", "--only-platform", "linux/arm64"]);
    run.ok();
    assert_output(&run, &[], &[]);
    layout.assert_has(image.parts(), &run);
    let run = rm(&layout, &["-f", "single:1", "--platform", "linux/arm64/v8"]);
    run.ok();
    assert_output(&run, &["single:1"], &image.parts());
}

#[test]
fn an_entry_has_the_platform_of_an_image_whose_config_does_not() {
    let mut layout = LayoutBuilder::new();
    let layer = layout.layer(b"an artifact for one platform");
    let artifact = layout.manifest(&layout.empty_config(), std::slice::from_ref(&layer));
    layout
        .entry(artifact.tagged("artifact:1").platform("linux/arm64"))
        .write();
    rm(&layout, &["-f", "artifact:1", "--platform", "linux/amd64"])
        .exits(1)
        .warns("does not provide the platform linux/amd64 (it has linux/arm64)");
}

#[test]
fn the_platform_of_a_child_is_that_of_its_config_if_the_index_has_none() {
    let mut layout = LayoutBuilder::new();
    let amd64 = layout.image("linux/amd64", "amd64", &[b"amd64"]);
    let arm = layout.image("linux/arm/v7", "arm", &[b"arm"]);
    let index = layout.index(&[amd64.manifest.clone(), arm.manifest.clone()]);
    layout.tag(&index, "multi:1").write();
    let run = rm(&layout, &["multi:1", "--platform", "linux/arm"]);
    run.ok();
    assert!(!layout.has(&arm.manifest), "{}", run.all());
    layout.assert_has(amd64.parts(), &run);
}

#[test]
fn images_without_a_platform_are_not_dropped() {
    // The index of a BuildKit cache lists layers.
    let mut layout = LayoutBuilder::new();
    let layer = layout.layer(b"a cached layer");
    let config = layout.blob(media::CACHE_CONFIG, b"{\"layers\":[]}");
    let index = layout.index(&[layer.clone(), config.clone()]);
    layout.tag(&index, "cache").write();
    let before = snapshot(layout.path());
    for flag in ["--platform", "--only-platform"] {
        let run = rm(&layout, &["-f", "cache", flag, "linux/amd64"]);
        run.exits(1)
            .warns("does not provide the platform linux/amd64");
        assert_same(&before, &snapshot(layout.path()), &run.all());
    }
    // Such a child is kept if there are platforms.
    let images = images_of(&layout, &["linux/amd64", "linux/arm64"]);
    let mixed = layout.index(&[
        images[0].manifest.clone().platform("linux/amd64"),
        layer.clone(),
        images[1].manifest.clone().platform("linux/arm64"),
    ]);
    layout.tag(&mixed, "mixed").write();
    let run = rm(&layout, &["mixed", "--only-platform", "linux/arm64"]);
    run.ok();
    assert!(!layout.has(&images[0].manifest), "{}", run.all());
    layout.assert_has([&layer, &config, &images[1].manifest], &run);
}
