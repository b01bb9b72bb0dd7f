//! The child that a version, feature or digest selects; hints that select exactly one; and the reported platforms.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::rm::platform_words::multi;
use crate::support::files::{entries, field};
use crate::support::removed::{assert_entries, bare, dropping, rm, rm_sparse};
use crate::support::run::new_command;
use crate::support::{
    Cmd, Desc, Doc, Image, Json, LayoutBuilder, Obj, Run, assert_same, for_each, media, snapshot,
};

/// A platform in an index.
#[derive(Clone, Copy, Default)]
struct Written<'a> {
    os: &'a str,
    architecture: &'a str,
    variant: Option<&'a str>,
    version: Option<&'a str>,
    features: &'a [&'a str],
}

const fn windows(version: &str) -> Written<'_> {
    Written {
        os: "windows",
        architecture: "amd64",
        variant: None,
        version: Some(version),
        features: &[],
    }
}

const LINUX: Written<'_> = Written {
    os: "linux",
    architecture: "amd64",
    variant: None,
    version: None,
    features: &[],
};

const NYDUS: Written<'_> = Written {
    features: &["nydus.remoteimage.v1"],
    ..LINUX
};

impl Written<'_> {
    fn on(&self, desc: Desc) -> Desc {
        let mut platform = Obj::new()
            .with("architecture", self.architecture)
            .with("os", self.os);
        if let Some(variant) = self.variant {
            platform = platform.with("variant", variant);
        }
        if let Some(version) = self.version {
            platform = platform.with("os.version", version);
        }
        if !self.features.is_empty() {
            platform = platform.with("os.features", Json::array(self.features.iter().copied()));
        }
        desc.set("platform", platform)
    }
}

/// A layout in which `multi:1` has children of these platforms, each with a layer of its own and one that all share.
fn layout_of(platforms: &[Written<'_>]) -> (LayoutBuilder, Desc, Vec<Image>) {
    let mut layout = LayoutBuilder::new();
    let images: Vec<Image> = (0..platforms.len())
        .map(|at| {
            let own = format!("layer of child {at}");
            layout.image("linux/amd64", &own, &[b"shared by all", own.as_bytes()])
        })
        .collect();
    let children: Vec<Desc> = images
        .iter()
        .zip(platforms)
        .map(|(image, platform)| platform.on(image.manifest.clone()))
        .collect();
    let index = layout.index(&children);
    layout.tag(&index, "multi:1").write();
    (layout, index, images)
}

/// Returns the positions of the images whose manifests were deleted.
fn gone(layout: &LayoutBuilder, images: &[Image]) -> Vec<usize> {
    let all = images.iter().enumerate();
    all.filter(|(_, image)| !layout.has(&image.manifest))
        .map(|(at, _)| at)
        .collect()
}

/// Drops the selection of each string from a fresh layout, and compares the removed children. `None`: an error that lists
/// the platforms.
fn assert_selects(platforms: &[Written<'_>], cases: &[(&str, Option<&[usize]>)]) {
    for_each(
        cases.to_vec(),
        |(typed, _)| (*typed).to_owned(),
        |(typed, expected)| {
            let (layout, _, images) = layout_of(platforms);
            let before = snapshot(layout.path());
            let run = rm(&layout, &["multi:1", "--platform", typed]);
            match expected {
                Some(expected) => {
                    run.ok();
                    assert_eq!(&gone(&layout, &images), expected, "{}", run.all());
                }
                None => {
                    run.exits(1).one_error_with_hint();
                    run.warns("does not provide the platform ")
                        .warns(" (it has ");
                    assert_same(&before, &snapshot(layout.path()), &run.all());
                }
            }
        },
    );
}

#[test]
fn a_version_selects_the_versions_that_begin_with_its_parts() {
    assert_selects(
        &[
            windows("10.0.17763.6293"),
            windows("10.0.20348.2700"),
            windows("10.0.20348.1"),
            windows("10.0.26100.2314"),
            LINUX,
        ],
        &[
            ("windows(10.0.20348.2700)/amd64", Some(&[1])),
            ("windows(10.0.20348)/amd64", Some(&[1, 2])),
            ("windows(10.0.26100.2314)/amd64", Some(&[3])),
            ("windows(10.0.26100)/amd64", Some(&[3])),
            ("windows(10.0.17763)/amd64", Some(&[0])),
            ("windows(10.0)/x86_64", Some(&[0, 1, 2, 3])),
            ("windows/amd64", Some(&[0, 1, 2, 3])),
            ("linux/amd64", Some(&[4])),
            ("windows(10.0.20348.2)/amd64", None),
            ("windows(10.0.2034)/amd64", None),
            ("windows(10.0.99999)/amd64", None),
            ("windows(10.0.20348.2700.1)/amd64", None),
            ("windows(junk)/amd64", None),
            ("linux(10.0.20348)/amd64", None),
            ("windows(10.0.20348+win32k)/amd64", None),
            // All or nothing.
            ("windows(10.0.17763)/amd64,windows(10.0.1)/amd64", None),
        ],
    );
}

#[test]
fn features_select_exactly_that_set_and_without_them_all() {
    let both = Written {
        features: &["win32k"],
        ..windows("10.0.17763.1")
    };
    let two = Written {
        features: &["b", "a"],
        ..LINUX
    };
    assert_selects(
        &[
            LINUX,
            NYDUS,
            two,
            both,
            windows("10.0.17763.1"),
            windows("10.0.20348.1"),
        ],
        &[
            ("linux/amd64", Some(&[0, 1, 2])),
            ("linux(+nydus.remoteimage.v1)/amd64", Some(&[1])),
            ("linux(+a+b)/amd64", Some(&[2])),
            ("linux(+b+a+a)/amd64", Some(&[2])),
            ("linux(+a)/amd64", None),
            ("linux(+nydus)/amd64", None),
            ("linux(+a+b+c)/amd64", None),
            ("windows(10.0.17763+win32k)/amd64", Some(&[3])),
            ("windows(+win32k)/amd64", Some(&[3])),
            ("windows(10.0.17763)/amd64", Some(&[3, 4])),
            ("windows(10.0.20348+win32k)/amd64", None),
        ],
    );
}

#[test]
fn the_features_of_a_child_without_a_platform_are_those_of_its_config() {
    let mut layout = LayoutBuilder::new();
    let layer = layout.layer(b"layer");
    let config = |text: &str| layout.blob(media::CONFIG, text.as_bytes());
    let plain = config(r#"{"os":"linux","architecture":"amd64"}"#);
    let twin = config(r#"{"os":"linux","architecture":"amd64","os.features":["lazy"]}"#);
    let manifests =
        [plain, twin].map(|config| layout.manifest(&config, std::slice::from_ref(&layer)));
    let index = layout.index(&manifests);
    layout.tag(&index, "multi:1").write();
    let run = rm(&layout, &["multi:1", "--platform", "linux(+lazy)/amd64"]);
    run.ok();
    assert!(!layout.has(&manifests[1]), "{}", run.all());
    layout.assert_has([&manifests[0], &layer], &run);
}

#[test]
fn a_version_that_cannot_be_read_is_a_usage_error() {
    let (layout, ..) = layout_of(&[windows("10.0.17763.1"), windows("10.0.20348.1"), LINUX]);
    let before = snapshot(layout.path());
    for typed in [
        "windows()/amd64",
        "windows(10.0.17763/amd64",
        "windows(10.0.17763)",
        "windows(+)/amd64",
        "windows(10+)/amd64",
        "windows(%zz)/amd64",
        "windows(a b)/amd64",
        "windows/amd64(10.0.17763)",
        "sha256:",
        "sha256:xyz",
        "sha256:ab",
    ] {
        // An operating system alone is completed with the architecture of the host.
        let is_complete = typed == "windows(10.0.17763)";
        if is_complete && cfg!(target_arch = "x86_64") {
            continue;
        }
        for flag in ["--platform", "--only-platform"] {
            let run = bare(layout.path(), ["-f", "multi:1", flag, typed]).run();
            run.exits(if is_complete { 1 } else { 2 });
            assert_eq!(run.stdout, "", "{}", run.all());
            assert_same(&before, &snapshot(layout.path()), &run.all());
        }
    }
}

/// Children whose platforms are hard to write, or cannot be written at all.
fn nasty() -> Vec<Written<'static>> {
    let mac = |version| Written {
        os: "darwin",
        architecture: "arm64",
        version: Some(version),
        ..Written::default()
    };
    let arch = |architecture| Written {
        os: "linux",
        architecture,
        ..Written::default()
    };
    vec![
        LINUX,
        NYDUS,
        LINUX,
        windows("10.0.20348"),
        windows("10.0.20348.2700"),
        mac("macOS 13"),
        mac("macOS 13.1"),
        mac("50% (a+b), 'c' $HOME `id` \"x\"/y"),
        mac("é\u{1f600}\u{1b}[31m"),
        arch("a,b"),
        arch("a b"),
        arch("x'y"),
        arch(""),
        arch("arm64"),
        Written {
            variant: Some("v8"),
            ..arch("arm64")
        },
        Written {
            variant: Some("v7"),
            ..arch("arm")
        },
        Written {
            variant: Some("v7"),
            features: &["a,b", "c d"],
            ..arch("arm")
        },
        Written {
            os: "unknown",
            architecture: "unknown",
            ..Written::default()
        },
        Written {
            os: "",
            architecture: "s390x",
            ..Written::default()
        },
    ]
}

/// Runs the command of a hint in a shell.
fn paste(layout: &LayoutBuilder, hinted: &Run) {
    let hint = hinted.stderr.lines().last().unwrap_or_default();
    let command = hint
        .strip_prefix("hint: `ocisweep ")
        .and_then(|rest| rest.strip_suffix("` drops it"))
        .unwrap_or_else(|| panic!("no command in the hint\n{}", hinted.all()));
    let script = format!("{} {command}", env!("CARGO_BIN_EXE_ocisweep"));
    let output = new_command("sh")
        .arg("-c")
        .arg(&script)
        .current_dir(layout.path())
        .output()
        .expect("sh can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{said}");
}

#[test]
fn the_command_of_a_hint_drops_exactly_that_child() {
    let platforms = nasty();
    for at in 0..platforms.len() {
        for part in ["manifest", "config"] {
            let (layout, _, images) = layout_of(&platforms);
            let digest = match part {
                "manifest" => &images[at].manifest.digest,
                _ => &images[at].config.digest,
            };
            let hinted = rm(&layout, &[digest]);
            hinted.exits(1).one_error_with_hint();
            paste(&layout, &hinted);
            assert_eq!(gone(&layout, &images), [at], "{part}\n{}", hinted.all());
        }
    }
}

#[test]
fn versions_as_shown_in_the_tree_can_be_typed() {
    let mac = Written {
        os: "darwin",
        architecture: "amd64",
        version: Some("macOS 13"),
        ..Written::default()
    };
    let (layout, _, images) = layout_of(&[mac, LINUX]);
    let tree = Cmd::new(["ls", "--tree"]).arg(layout.path()).run();
    tree.ok().says("darwin(macOS%2013)/amd64");
    let run = rm(
        &layout,
        &["multi:1", "--platform", "darwin(macOS%2013)/amd64"],
    );
    run.ok();
    assert_eq!(gone(&layout, &images), [0], "{}", run.all());
}

#[test]
fn equal_children_are_removed_one_by_one_by_digest() {
    // gzip and zstd twins, and a nydus twin that only its artifact type distinguishes.
    for form in ["whole", "prefixed", "short", "hex"] {
        for mode in ["rewrite", "sparse", "hollow"] {
            let (layout, _, images) = layout_of(&[LINUX, LINUX, LINUX]);
            let digest = &images[1].manifest;
            let value = match form {
                "whole" => digest.digest.clone(),
                "prefixed" => digest.digest[..15].to_owned(),
                "short" => digest.short().to_owned(),
                _ => digest.hex().to_owned(),
            };
            let words = ["multi:1", "--platform", &value, "--platform-mode", mode];
            let run = rm_sparse(&layout, &words);
            run.ok()
                .says(&format!("Dropped: linux/amd64 {}\n", digest.digest));
            assert!(!layout.has(&images[1].layers[1]), "{}", run.all());
            assert_eq!(layout.has(digest), mode == "hollow", "{}", run.all());
            layout.assert_has(images[0].parts(), &run);
            layout.assert_has(images[2].parts(), &run);
        }
    }
    // And all others.
    let (layout, _, images) = layout_of(&[LINUX, LINUX, NYDUS, windows("10.0.1")]);
    let value = images[2].manifest.digest.as_str();
    let run = rm(&layout, &["multi:1", "--only-platform", value]);
    run.ok();
    assert_eq!(gone(&layout, &images), [0, 1, 3], "{}", run.all());
    // A digest and a platform together.
    let (layout, _, images) = layout_of(&[LINUX, LINUX, windows("10.0.1")]);
    let value = format!("{},windows/amd64", images[0].manifest.short());
    let run = rm(&layout, &["multi:1", "--platform", &value]);
    run.ok();
    assert_eq!(gone(&layout, &images), [0, 2], "{}", run.all());
}

#[test]
fn an_attestation_cannot_be_selected_by_its_digest() {
    let mut layout = LayoutBuilder::new();
    let twins = ["gzip", "zstd"].map(|salt| layout.image("linux/amd64", salt, &[salt.as_bytes()]));
    let attestations = ["of gzip", "of zstd"]
        .map(|salt| layout.image("unknown/unknown", salt, &[salt.as_bytes()]));
    let mut children = Vec::new();
    for (twin, attestation) in twins.iter().zip(&attestations) {
        children.push(twin.manifest.clone().platform("linux/amd64"));
        children.push(attestation.manifest.clone().attests(&twin.manifest));
    }
    let index = layout.index(&children);
    layout.tag(&index, "multi:1").write();
    let before = snapshot(layout.path());
    let no_child = [
        attestations[0].manifest.digest.clone(),
        index.digest.clone(),
        twins[0].config.digest.clone(),
        twins[0].layers[0].digest.clone(),
        format!("sha256:{}", "0".repeat(64)),
    ];
    for digest in no_child {
        for flag in ["--platform", "--only-platform"] {
            let run = rm(&layout, &["-f", "multi:1", flag, &digest]);
            run.exits(1).one_error_with_hint();
            run.warns(&format!(
                "image with reference multi:1 was found but does not provide the platform {digest} (it has linux/amd64 "
            ));
            run.warns(twins[0].manifest.short())
                .warns(twins[1].manifest.short());
            assert_same(&before, &snapshot(layout.path()), &run.all());
        }
    }
    let run = rm(
        &layout,
        &["multi:1", "--platform", twins[1].manifest.short()],
    );
    run.ok();
    layout.assert_has(twins[0].parts(), &run);
    layout.assert_has(attestations[0].parts(), &run);
    let gone = [&twins[1], &attestations[1]].map(|image| layout.has(&image.manifest));
    assert_eq!(gone, [false, false], "{}", run.all());
}

#[test]
fn a_prefix_of_several_digests_is_ambiguous() {
    let mut layout = LayoutBuilder::new();
    let mut images: Vec<Image> = Vec::new();
    let pair = loop {
        let salt = images.len().to_string();
        let image = layout.image("linux/amd64", &salt, &[salt.as_bytes()]);
        let alike = |other: &Image| other.manifest.hex()[..3] == image.manifest.hex()[..3];
        if let Some(at) = images.iter().position(alike) {
            break [images.remove(at), image];
        }
        images.push(image);
    };
    let children = pair
        .each_ref()
        .map(|image| image.manifest.clone().platform("linux/amd64"));
    let index = layout.index(&children);
    layout.tag(&index, "multi:1").write();
    let prefix = format!("sha256:{}", &pair[0].manifest.hex()[..3]);
    let before = snapshot(layout.path());
    let run = rm(&layout, &["-f", "multi:1", "--platform", &prefix]);
    run.exits(1)
        .one_error_with_hint()
        .warns("ambiguous platform: ");
    for image in &pair {
        run.warns(&image.manifest.digest);
    }
    assert_same(&before, &snapshot(layout.path()), &run.all());
}

#[test]
fn every_removed_platform_is_reported_with_its_digest() {
    let (layout, _, images) = layout_of(&[LINUX, NYDUS, windows("10.0.20348.2700")]);
    let lines = |verb: &str| {
        [
            ("linux(+nydus.remoteimage.v1)/amd64", &images[1]),
            ("windows(10.0.20348.2700)/amd64", &images[2]),
        ]
        .map(|(platform, image)| format!("{verb}: {platform} {}", image.manifest.digest))
    };
    let words = ["multi:1", "--only-platform", images[0].manifest.short()];
    let named = |run: &Run, verb: &str| -> Vec<String> {
        let lines = run.stdout.lines().filter(|line| line.starts_with(verb));
        lines.map(str::to_owned).collect()
    };
    let dry = bare(layout.path(), words).arg("-n").run();
    assert_eq!(
        named(&dry, "Would drop"),
        lines("Would drop"),
        "{}",
        dry.all()
    );
    let items = |run: &Run| -> Vec<Value> {
        let report = run.json();
        let items = report.pointer("/layouts/0/items").and_then(Value::as_array);
        let items = items.into_iter().flatten();
        items
            .filter(|item| item["kind"] == "platform")
            .cloned()
            .collect()
    };
    let item = |action: &str, platform: &str, image: &Image| {
        json!({
            "digest": image.manifest.digest, "kind": "platform", "size": 0, "action": action,
            "reasons": ["platform dropped"], "names": ["multi:1"], "platform": platform,
        })
    };
    let dry = bare(layout.path(), words)
        .args(["-n", "--format", "json"])
        .run();
    assert_eq!(
        items(&dry),
        [
            item(
                "would-drop",
                "linux(+nydus.remoteimage.v1)/amd64",
                &images[1]
            ),
            item("would-drop", "windows(10.0.20348.2700)/amd64", &images[2]),
        ],
        "{}",
        dry.all()
    );
    let run = rm(&layout, &words);
    assert_eq!(named(&run, "Dropped"), lines("Dropped"), "{}", run.all());
    // With the last one the image is removed, and it is reported as well.
    let run = rm(&layout, &["-f", "multi:1", "--platform", "linux/amd64"]);
    run.ok().says(&format!(
        "Dropped: linux/amd64 {}\n",
        images[0].manifest.digest
    ));
    // With -q only the total is printed.
    let (layout, ..) = layout_of(&[LINUX, NYDUS]);
    let run = bare(
        layout.path(),
        [
            "-q",
            "multi:1",
            "--platform",
            "linux(+nydus.remoteimage.v1)/amd64",
        ],
    )
    .run();
    run.ok().keeps_quiet_about("Dropped");
}

/// Panics unless the image is removed only with force, and then completely.
#[track_caller]
fn assert_last(layout: &LayoutBuilder, index: &Desc, image: &Image, words: &[&str]) {
    let before = snapshot(layout.path());
    let run = rm_sparse(layout, words);
    run.exits(1).one_error_with_hint();
    run.warns(&format!(
        "conflict: unable to delete multi:1 (must be forced) - it is the last platform of image {} that is present, which would be removed with it",
        index.short()
    ));
    assert_same(&before, &snapshot(layout.path()), &run.all());
    let all: Vec<&str> = ["-f"].into_iter().chain(words.iter().copied()).collect();
    let run = rm_sparse(layout, &all);
    run.ok()
        .says("Untagged: multi:1\n")
        .says(&format!("Deleted: {}\n", index.digest));
    assert_entries(layout, &[], &run);
    for part in image.parts() {
        assert!(!layout.has(part), "{}\n{}", part.digest, run.all());
    }
}

#[test]
fn dropping_the_last_present_platform_removes_the_image_however_many_are_listed() {
    for mode in ["rewrite", "sparse", "hollow"] {
        for flags in [
            ["--platform", "linux/amd64"],
            ["--only-platform", "linux/arm64"],
        ] {
            if flags[0] == "--only-platform" && mode != "rewrite" {
                // A missing platform can be kept in an index, but not on disk.
                continue;
            }
            let mut layout = LayoutBuilder::new();
            let (index, images) = multi(&layout, &["linux/amd64", "linux/arm64", "linux/s390x"]);
            for image in &images[1..] {
                for part in [&image.manifest, &image.config, &image.layers[1]] {
                    layout.drop_blob(part);
                }
            }
            layout.tag(&index, "multi:1").write();
            let words = ["multi:1", flags[0], flags[1], "--platform-mode", mode];
            assert_last(&layout, &index, &images[0], &words);
        }
    }
    // A missing platform is removed from an index without force, and so is one of two present ones.
    let mut layout = LayoutBuilder::new();
    let (index, images) = multi(&layout, &["linux/amd64", "linux/arm64", "linux/s390x"]);
    layout.drop_blob(&images[2].manifest);
    layout.tag(&index, "multi:1").write();
    rm(&layout, &["multi:1", "--platform", "linux/s390x"]).ok();
    let run = rm(&layout, &["multi:1", "--platform", "linux/arm64"]);
    run.ok();
    layout.assert_has(images[0].parts(), &run);
}

#[test]
fn a_platform_without_its_own_layers_is_not_present() {
    // Both platforms share a layer, which remains if one is hollow.
    for mode in ["rewrite", "sparse", "hollow"] {
        let mut layout = LayoutBuilder::new();
        let (index, images) = multi(&layout, &["linux/amd64", "linux/arm64"]);
        layout.tag(&index, "multi:1").write();
        let hollow = dropping("linux/arm64", "hollow");
        let run = rm_sparse(&layout, &hollow);
        run.ok();
        layout.assert_has([&images[1].layers[0], &images[1].config], &run);
        let words = dropping("linux/amd64", mode);
        assert_last(&layout, &index, &images[0], &words);
    }
    // One that only lost a layer is present: nothing of it is removed with another.
    let mut layout = LayoutBuilder::new();
    let amd64 = layout.image("linux/amd64", "amd64", &[b"amd64"]);
    let arm64 = layout.image("linux/arm64", "arm64", &[b"first", b"second"]);
    let index = layout.index(&[
        amd64.manifest.clone().platform("linux/amd64"),
        arm64.manifest.clone().platform("linux/arm64"),
    ]);
    layout.drop_blob(&arm64.layers[1]);
    layout.tag(&index, "multi:1").write();
    let run = rm(&layout, &["multi:1", "--platform", "linux/amd64"]);
    run.ok();
    assert!(!layout.has(&amd64.manifest), "{}", run.all());
    layout.assert_has([&arm64.manifest, &arm64.layers[0]], &run);
}

/// A layout of apko: `index.json` itself is the index of `apko:1`.
fn apko(platforms: &[Written<'_>]) -> (LayoutBuilder, Vec<Image>) {
    let mut layout = LayoutBuilder::new();
    let mut images = Vec::new();
    for (at, platform) in platforms.iter().enumerate() {
        let own = format!("apko {at}");
        let image = layout.image("linux/amd64", &own, &[b"shared", own.as_bytes()]);
        layout.entry(platform.on(image.manifest.clone()).tagged("apko:1"));
        images.push(image);
    }
    layout.write();
    (layout, images)
}

#[test]
fn if_index_json_is_the_index_only_the_last_entry_needs_force() {
    let (layout, images) = apko(&[LINUX, NYDUS, windows("10.0.1"), windows("10.0.2")]);
    let run = rm(&layout, &["apko:1", "--platform", "windows(10.0.1)/amd64"]);
    run.ok();
    assert_eq!(gone(&layout, &images), [2], "{}", run.all());
    let run = rm(
        &layout,
        &["apko:1", "--platform", images[0].manifest.short()],
    );
    run.ok();
    assert_eq!(gone(&layout, &images), [0, 2], "{}", run.all());
    let run = rm(&layout, &["apko:1", "--only-platform", "linux/amd64"]);
    run.ok();
    assert_eq!(gone(&layout, &images), [0, 2, 3], "{}", run.all());
    let run = rm(&layout, &["apko:1", "--platform", "linux/amd64"]);
    run.exits(1).warns("it is the last platform of image");
    layout.assert_has(images[1].parts(), &run);
    rm(&layout, &["-f", "apko:1", "--platform", "linux/amd64"]).ok();
    assert_eq!(entries(layout.path()), [""; 0]);
}

#[test]
fn all_platforms_of_one_image_are_removed_or_none() {
    // A hold on the last of them stops the others as well.
    let (layout, images) = apko(&[LINUX, windows("10.0.1"), windows("10.0.2")]);
    let held = images[2].manifest.digest.as_str();
    let hold = Cmd::new(["hold", "add"])
        .arg(layout.path())
        .args(["release", held])
        .run();
    hold.ok();
    let before = snapshot(layout.path());
    for words in [
        ["--platform", "windows/amd64"],
        ["--only-platform", "linux/amd64"],
    ] {
        let run = rm(&layout, &["apko:1", words[0], words[1]]);
        run.exits(1).warns("hold \"release\"");
        assert_same(&before, &snapshot(layout.path()), &run.all());
    }
}

#[test]
fn each_image_that_a_pattern_selects_needs_the_platform() {
    let mut layout = LayoutBuilder::new();
    let (first, of_first) = multi(&layout, &["linux/amd64", "linux/arm64"]);
    let (second, of_second) = multi(&layout, &["linux/386", "linux/s390x"]);
    layout.tag(&first, "app:1").tag(&second, "app:2").write();
    let run = rm(&layout, &["app:*", "--platform", "linux/arm64"]);
    run.exits(1).warns("image with reference app:2 was found but does not provide the platform linux/arm64 (it has linux/386, linux/s390x)");
    assert!(!layout.has(&of_first[1].manifest), "{}", run.all());
    layout.assert_has(
        [&second, &of_second[0].manifest, &of_second[1].manifest],
        &run,
    );
}

#[test]
fn an_index_with_a_subject_frees_its_platform() {
    for mode in ["rewrite", "sparse", "hollow"] {
        for nested in [false, true] {
            let mut layout = LayoutBuilder::new();
            let subject = layout.image("linux/amd64", "subject", &[b"subject"]);
            let images =
                crate::rm::platform_words::images_of(&layout, &["linux/amd64", "linux/arm64"]);
            let children: Vec<Desc> = images
                .iter()
                .zip(["linux/amd64", "linux/arm64"])
                .map(|(image, platform)| image.manifest.clone().platform(platform))
                .collect();
            let inner = layout.put(&Doc::index(&children).subject(&subject.manifest));
            let index = if nested {
                layout.put(&Doc::index(std::slice::from_ref(&inner)).subject(&subject.manifest))
            } else {
                inner.clone()
            };
            layout
                .tag(&subject.manifest, "x:1")
                .tag(&index, "multi:1")
                .write();
            let words = dropping("linux/arm64", mode);
            let run = rm_sparse(&layout, &words);
            run.ok();
            assert!(!layout.has(&images[1].layers[1]), "{}", run.all());
            assert_eq!(
                layout.has(&images[1].manifest),
                mode == "hollow",
                "{}",
                run.all()
            );
            assert_eq!(layout.has(&index), mode != "rewrite", "{}", run.all());
            assert_eq!(layout.has(&inner), mode != "rewrite", "{}", run.all());
            layout.assert_has(images[0].parts(), &run);
            layout.assert_has(subject.parts(), &run);
            Cmd::new(["check"]).arg(layout.path()).run().ok();
        }
    }
}

#[test]
fn a_platform_with_a_subject_is_removed_and_other_referrers_of_the_subject_are_kept() {
    for mode in ["rewrite", "sparse", "hollow"] {
        let mut layout = LayoutBuilder::new();
        let subject = layout.image("linux/amd64", "subject", &[b"subject"]);
        let signature = layout.referrer(&subject.manifest, "application/vnd.example.sig", b"sig");
        let amd64 = layout.image("linux/amd64", "amd64", &[b"amd64"]);
        let config = layout.config("linux/arm64", "arm64");
        let layer = layout.layer(b"arm64");
        let doc = Doc::manifest(&config, std::slice::from_ref(&layer)).subject(&subject.manifest);
        let arm64 = layout.put(&doc);
        let index = layout.index(&[
            amd64.manifest.clone().platform("linux/amd64"),
            arm64.clone().platform("linux/arm64"),
        ]);
        layout
            .tag(&subject.manifest, "x:1")
            .tag(&index, "multi:1")
            .write();
        let words = dropping("linux/arm64", mode);
        // The walk of the fixture keeps every referrer, but this one was selected.
        let run = bare(layout.path(), words).run();
        run.ok();
        assert!(!layout.has(&layer), "{}", run.all());
        assert_eq!(layout.has(&arm64), mode == "hollow", "{}", run.all());
        layout.assert_has(amd64.parts(), &run);
        layout.assert_has(subject.parts(), &run);
        layout.assert_has(signature.parts(), &run);
    }
}

#[test]
fn one_manifest_for_two_platforms_is_kept_for_the_one_that_is_kept() {
    let same = |layout: &LayoutBuilder| {
        let both = layout.image("linux/amd64", "both", &[b"both"]);
        let other = layout.image("linux/s390x", "other", &[b"other"]);
        let attestation = layout.image("unknown/unknown", "of both", &[b"of both"]);
        (both, other, attestation)
    };
    for (words, left) in [
        (
            ["--platform", "linux/arm64"],
            &["linux/amd64", "linux/s390x"][..],
        ),
        (["--only-platform", "linux/amd64"], &["linux/amd64"]),
        (["--only-platform", "linux/arm64"], &["linux/arm64"]),
        (["--platform", "linux/amd64,linux/arm64"], &["linux/s390x"]),
    ] {
        let mut layout = LayoutBuilder::new();
        let (both, other, attestation) = same(&layout);
        let index = layout.index(&[
            both.manifest.clone().platform("linux/amd64"),
            both.manifest.clone().platform("linux/arm64"),
            other.manifest.clone().platform("linux/s390x"),
            attestation.manifest.clone().attests(&both.manifest),
        ]);
        layout.tag(&index, "multi:1").write();
        let run = rm(&layout, &[&["multi:1"][..], &words].concat());
        run.ok();
        let stays = left != ["linux/s390x"];
        for image in [&both, &attestation] {
            for part in image.parts() {
                assert_eq!(layout.has(part), stays, "{}", run.all());
            }
        }
        let is_other = left.contains(&"linux/s390x");
        assert_eq!(layout.has(&other.manifest), is_other, "{}", run.all());
        let digest = field(&entries(layout.path())[0], "digest").expect("a digest");
        let path = crate::support::files::blob_path(layout.path(), &digest);
        let text = std::fs::read_to_string(path).expect("the new index");
        let new: Value = serde_json::from_str(&text).expect("JSON");
        let found: Vec<String> = new["manifests"]
            .as_array()
            .expect("children")
            .iter()
            .filter(|child| child["platform"]["os"] == "linux")
            .map(|child| {
                format!(
                    "linux/{}",
                    child["platform"]["architecture"].as_str().expect("text")
                )
            })
            .collect();
        assert_eq!(found, left, "{}", run.all());
    }
    // Without a new index only the blobs could be deleted, and those belong to both.
    for mode in ["sparse", "hollow"] {
        let mut layout = LayoutBuilder::new();
        let (both, other, _) = same(&layout);
        let index = layout.index(&[
            both.manifest.clone().platform("linux/amd64"),
            both.manifest.clone().platform("linux/arm64"),
            other.manifest.clone().platform("linux/s390x"),
        ]);
        layout.tag(&index, "multi:1").write();
        let before = snapshot(layout.path());
        let words = [
            "-f",
            "multi:1",
            "--platform",
            "linux/arm64",
            "--platform-mode",
            mode,
        ];
        let run = rm(&layout, &words);
        run.exits(1).one_error_with_hint();
        run.warns("(cannot be forced) - it is the same manifest as linux/amd64");
        assert_same(&before, &snapshot(layout.path()), &run.all());
        let words = [
            "multi:1",
            "--only-platform",
            "linux/amd64",
            "--platform-mode",
            mode,
        ];
        let run = rm_sparse(&layout, &words);
        run.ok().keeps_quiet_about("linux/arm64");
        assert!(!layout.has(&other.layers[0]), "{}", run.all());
        layout.assert_has(both.parts(), &run);
    }
}

#[test]
fn one_manifest_that_index_json_lists_for_two_platforms_loses_one_entry() {
    let mut layout = LayoutBuilder::new();
    let both = layout.image("linux/amd64", "both", &[b"both"]);
    let other = layout.image("linux/s390x", "other", &[b"other"]);
    for (image, platform) in [
        (&both, "linux/amd64"),
        (&both, "linux/arm64"),
        (&other, "linux/s390x"),
    ] {
        layout.entry(image.manifest.clone().platform(platform).tagged("apko:1"));
    }
    layout.write();
    let before = entries(layout.path());
    let run = rm(&layout, &["apko:1", "--platform", "linux/arm64"]);
    run.ok().keeps_quiet_about("Untagged");
    run.says(&format!("Dropped: linux/arm64 {}\n", both.manifest.digest));
    assert_eq!(
        entries(layout.path()),
        [before[0].clone(), before[2].clone()],
        "{}",
        run.all()
    );
    layout.assert_has(both.parts(), &run);
    let run = rm(&layout, &["apko:1", "--platform", "linux/amd64"]);
    run.ok();
    assert_eq!(entries(layout.path()), [before[2].clone()], "{}", run.all());
    assert!(!layout.has(&both.manifest), "{}", run.all());
}

/// nydus writes its twin as a referrer of the plain image, and lists both.
#[test]
fn a_platform_whose_subject_is_dropped_is_kept() {
    for mode in ["rewrite", "sparse", "hollow"] {
        let mut layout = LayoutBuilder::new();
        let plain = layout.image("linux/amd64", "plain", &[b"plain"]);
        let config = layout.config("linux/amd64", "twin");
        let layer = layout.layer(b"twin");
        let doc = Doc::manifest(&config, std::slice::from_ref(&layer)).subject(&plain.manifest);
        let twin = layout.put(&doc);
        let index = layout.index(&[LINUX.on(plain.manifest.clone()), NYDUS.on(twin.clone())]);
        layout.tag(&index, "multi:1").write();
        let words = dropping(plain.manifest.short(), mode);
        let run = rm_sparse(&layout, &words);
        run.ok();
        layout.assert_has([&twin, &config, &layer], &run);
        assert!(!run.stdout.contains(&format!(
            "Dropped: linux(+nydus.remoteimage.v1)/amd64 {}",
            twin.digest
        )));
    }
}

#[test]
fn the_filter_selects_like_the_flag() {
    let mut layout = LayoutBuilder::new();
    let platforms = [
        ("v1:1", windows("10.0.17763.1")),
        ("v2:1", windows("10.0.20348.1")),
        ("plain:1", LINUX),
        ("lazy:1", NYDUS),
    ];
    let mut digests = Vec::new();
    for (name, platform) in platforms {
        let image = layout.image("linux/amd64", name, &[name.as_bytes()]);
        let index = layout.index(&[platform.on(image.manifest.clone())]);
        layout.tag(&index, name);
        digests.push(image.manifest);
    }
    layout.write();
    let by_digest = format!("platform={}", digests[3].short());
    let cases: [(&str, &[&str]); 7] = [
        ("platform=windows(10.0.20348)/amd64", &["v2:1"]),
        ("platform=windows/amd64", &["v1:1", "v2:1"]),
        ("platform=windows(10.0.99999)/amd64", &[]),
        ("platform=linux/amd64", &["lazy:1", "plain:1"]),
        ("platform=linux(+nydus.remoteimage.v1)/amd64", &["lazy:1"]),
        ("platform=linux(+other)/amd64", &[]),
        (&by_digest, &["lazy:1"]),
    ];
    for (filter, expected) in cases {
        let run = Cmd::new(["ls", "--format", "json", "-f", filter])
            .arg(layout.path())
            .run();
        run.ok();
        let report = run.json();
        let images = report
            .pointer("/layouts/0/images")
            .and_then(Value::as_array);
        let found: BTreeSet<String> = images
            .into_iter()
            .flatten()
            .filter_map(|image| image.pointer("/names/0")?.as_str().map(str::to_owned))
            .collect();
        let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(found, expected, "{filter}\n{}", run.all());
    }
    let run = Cmd::new([
        "prune",
        "-a",
        "-f",
        "--filter",
        "platform=windows(10.0.17763)/amd64",
    ])
    .arg(layout.path())
    .run();
    run.ok();
    let left: Vec<Option<String>> = entries(layout.path())
        .iter()
        .map(|entry| field(entry, "digest"))
        .collect();
    assert_eq!(left.len(), 3, "{}", run.all());
}
