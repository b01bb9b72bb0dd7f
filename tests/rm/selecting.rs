//! The images that an argument selects: the order of lookup, docker's default tag and registry, digests, short IDs,
//! patterns, positions, and errors for arguments that match nothing or too much.

use std::collections::BTreeMap;

use crate::support::removed::{assert_entries, assert_output, rm};
use crate::support::{
    Cmd, Desc, Doc, Image, LayoutBuilder, assert_same, for_each, sha256, snapshot,
};

/// Two images without anything in common: one is selected, the other is not.
fn pair(names: &[&str]) -> (LayoutBuilder, Image, Image) {
    let mut layout = LayoutBuilder::new();
    let alpha = layout.image("linux/amd64", "alpha", &[b"alpha one", b"alpha two"]);
    let bravo = layout.image("linux/amd64", "bravo", &[b"bravo"]);
    for name in names {
        layout.tag(&alpha.manifest, name);
    }
    layout.tag(&bravo.manifest, "bravo:2").write();
    (layout, alpha, bravo)
}

#[test]
fn an_image_is_removed_by_every_form_of_its_name() {
    let (_, alpha, bravo) = pair(&[]);
    let digest = alpha.manifest.digest.clone();
    let hex = alpha.manifest.hex().to_owned();
    assert_ne!(hex.get(..3), bravo.manifest.hex().get(..3));
    let cases: Vec<(&str, String)> = vec![
        ("alpha:1", "alpha:1".to_owned()),
        ("alpha:latest", "alpha".to_owned()),
        ("alpha", "alpha".to_owned()),
        ("docker.io/library/alpha:1", "alpha:1".to_owned()),
        ("docker.io/library/alpha:1", "library/alpha:1".to_owned()),
        ("docker.io/library/alpha:1", "docker.io/alpha:1".to_owned()),
        (
            "docker.io/library/alpha:1",
            "index.docker.io/library/alpha:1".to_owned(),
        ),
        ("alpha:1", "docker.io/library/alpha:1".to_owned()),
        ("docker.io/library/alpha:latest", "alpha".to_owned()),
        ("docker.io/acme/alpha:1", "acme/alpha:1".to_owned()),
        (
            "localhost:5000/team/alpha:1",
            "localhost:5000/team/alpha:1".to_owned(),
        ),
        ("localhost/alpha:latest", "localhost/alpha".to_owned()),
        // Names of umoci and skopeo; docker cannot remove these by name.
        ("latest", "latest".to_owned()),
        ("v1.0", "v1.0".to_owned()),
        ("Some Strange-Name/1", "Some Strange-Name/1".to_owned()),
        ("alpha:1", digest.clone()),
        ("alpha:1", hex.clone()),
        ("alpha:1", hex[..12].to_owned()),
        // docker requires four digits.
        ("alpha:1", hex[..3].to_owned()),
        ("alpha:1", format!("sha256:{}", &hex[..12])),
        ("alpha:1", format!("sha256:{}", &hex[..3])),
        ("alpha:1", format!("sha256:{}", &hex[..63])),
        ("alpha:1", format!("alpha@{digest}")),
        ("alpha:1", format!("alpha:1@{digest}")),
        (
            "docker.io/library/alpha:1",
            format!("library/alpha@{digest}"),
        ),
        ("alpha:1", format!("docker.io/library/alpha@{digest}")),
        (
            "ghcr.io/acme/alpha:1",
            format!("ghcr.io/acme/alpha@{digest}"),
        ),
        ("alpha:1", "@0".to_owned()),
        ("alpha:1", "alph*".to_owned()),
        ("alpha:1", "alpha:?".to_owned()),
        ("alpha:1", "[a]lpha:1".to_owned()),
        ("docker.io/library/alpha:1", "alpha:*".to_owned()),
        (
            "docker.io/library/alpha:1",
            "docker.io/library/al*".to_owned(),
        ),
        ("ghcr.io/acme/alpha:1", "ghcr.io/**".to_owned()),
    ];
    for_each(
        cases,
        |(name, argument)| format!("{argument:?} for {name:?}"),
        |(name, argument)| {
            let (layout, alpha, bravo) = pair(&[name]);
            let run = rm(&layout, &[argument]);
            run.ok();
            assert_output(&run, &[name], &alpha.parts());
            assert_eq!(run.stderr, "", "{}", run.all());
            assert_entries(&layout, &[bravo.manifest.clone().tagged("bravo:2")], &run);
        },
    );
}

#[test]
fn the_full_name_of_docker_and_buildkit_selects_like_its_short_forms() {
    for argument in [
        "alpha:1",
        "docker.io/library/alpha:1",
        "library/alpha:1",
        "alpha:*",
    ] {
        let mut layout = LayoutBuilder::new();
        let alpha = layout.image("linux/amd64", "alpha", &[b"alpha"]);
        let bravo = layout.image("linux/amd64", "bravo", &[b"bravo"]);
        let kept = bravo.manifest.dockered("docker.io/library/bravo:2");
        layout
            .entry(alpha.manifest.dockered("docker.io/library/alpha:1"))
            .entry(&kept)
            .write();
        let run = rm(&layout, &[argument]);
        run.ok();
        assert_output(&run, &["docker.io/library/alpha:1"], &alpha.parts());
        assert_entries(&layout, &[kept], &run);
    }
}

#[test]
fn a_missing_image_is_reported_in_dockers_words() {
    let (_, alpha, bravo) = pair(&[]);
    let ones = "1".repeat(64);
    let zeros = "0".repeat(64);
    let of_alpha = &alpha.manifest.digest;
    let of_bravo = &bravo.manifest.digest;
    let mut cases: Vec<(String, String)> = [
        ("nosuch", "nosuch:latest"),
        ("nosuch:v1", "nosuch:v1"),
        ("acme/nosuch", "acme/nosuch:latest"),
        ("ghcr.io/acme/nosuch:1", "ghcr.io/acme/nosuch:1"),
        ("docker.io/library/nosuch", "nosuch:latest"),
        ("alpha", "alpha:latest"),
        ("alph", "alph:latest"),
        ("acme/alpha:1", "acme/alpha:1"),
        ("deadbeef", "deadbeef:latest"),
        ("de", "de:latest"),
        ("alpha:2", "alpha:2"),
    ]
    .map(|(argument, said)| (argument.to_owned(), said.to_owned()))
    .to_vec();
    cases.push((format!("sha256:{ones}"), format!("sha256:{ones}")));
    cases.push((ones.clone(), format!("sha256:{ones}")));
    for argument in [
        format!("bravo@{of_alpha}"),
        format!("nosuch@{of_alpha}"),
        format!("acme/alpha@{of_alpha}"),
        format!("alpha:1@{of_bravo}"),
        format!("alpha:2@{of_alpha}"),
        format!("alpha:1@sha256:{zeros}"),
    ] {
        cases.push((argument.clone(), argument));
    }
    for_each(
        cases,
        |(argument, _)| argument.clone(),
        |(argument, said)| {
            let (layout, alpha, bravo) = pair(&["alpha:1"]);
            let entries = [
                alpha.manifest.clone().tagged("alpha:1"),
                bravo.manifest.clone().tagged("bravo:2"),
            ];
            let line = format!("ocisweep: No such image: {said}");
            for (arguments, code) in [(vec![argument.as_str()], 1), (vec!["-f", argument], 0)] {
                let run = rm(&layout, &arguments);
                run.exits(code).one_error_with_hint();
                assert_eq!(
                    run.stderr.lines().next(),
                    Some(line.as_str()),
                    "{}",
                    run.all()
                );
                assert_eq!(run.stdout, "", "{}", run.all());
                assert_entries(&layout, &entries, &run);
            }
        },
    );
}

#[test]
fn similar_names_are_suggested() {
    let cases = [
        ("alpha:2", "alpha:1"),
        ("alpha", "alpha:1"),
        ("docker.io/library/alpha:3", "alpha:1"),
        ("bravo:1", "bravo:2"),
        ("delta:9", "ghcr.io/acme/delta:1"),
        ("latest:1", "latest"),
    ];
    for (argument, offered) in cases {
        let (mut layout, _, bravo) = pair(&["alpha:1", "ghcr.io/acme/delta:1"]);
        layout.tag(&bravo.manifest, "latest").write();
        let run = rm(&layout, &[argument]);
        run.exits(1).warns(&format!("hint: there is {offered}\n"));
    }
}

#[test]
fn a_name_without_a_tag_means_only_latest() {
    let (layout, alpha, _) = pair(&["alpha:1", "alpha:latest"]);
    let run = rm(&layout, &["alpha"]);
    run.ok();
    assert_output(&run, &["alpha:latest"], &[]);
    let run = rm(&layout, &["alpha"]);
    run.exits(1)
        .warns("ocisweep: No such image: alpha:latest\n")
        .warns("hint: there is alpha:1\n");
    layout.assert_has(alpha.parts(), &run);
}

#[test]
fn an_invalid_name_is_an_error_even_with_force() {
    let cases = [
        (
            "Bad:1",
            "invalid reference format: repository name (library/Bad) must be lowercase",
        ),
        ("", "image name cannot be blank"),
        ("  ", "image name cannot be blank"),
        ("alpha:1:2", "invalid reference format"),
        ("<none>", "invalid reference format"),
        ("[", "invalid pattern"),
    ];
    for (argument, said) in cases {
        for force in [None, Some("-f")] {
            let (layout, alpha, _) = pair(&["alpha:1"]);
            let arguments: Vec<&str> = force.into_iter().chain([argument]).collect();
            let run = rm(&layout, &arguments);
            run.exits(1).warns(said);
            assert_eq!(run.stdout, "", "{}", run.all());
            layout.assert_has(alpha.parts(), &run);
        }
    }
}

/// No reader forbids such a name. It is written exactly, so that it is not selected by accident.
#[test]
fn a_name_of_spaces_is_selected_only_as_it_is_written() {
    for force in [None, Some("-f")] {
        let (layout, alpha, bravo) = pair(&[" ", "alpha:1"]);
        let with = |argument| -> Vec<&str> { force.into_iter().chain([argument]).collect() };
        for argument in ["", "  ", "\t"] {
            let run = rm(&layout, &with(argument));
            run.exits(1).warns("image name cannot be blank");
        }
        let run = rm(&layout, &with(" "));
        run.ok();
        assert_output(&run, &[" "], &[]);
        layout.assert_has(alpha.parts(), &run);
        layout.assert_has(bravo.parts(), &run);
    }
}

#[test]
fn a_name_takes_precedence_over_an_id_with_that_prefix() {
    let (_, alpha, _) = pair(&[]);
    let prefix = alpha.manifest.hex()[..12].to_owned();
    // docker calls both ambiguous.
    for (name, said) in [
        (prefix.clone(), prefix.clone()),
        (format!("{prefix}:latest"), format!("{prefix}:latest")),
    ] {
        let mut layout = LayoutBuilder::new();
        let alpha = layout.image("linux/amd64", "alpha", &[b"alpha one", b"alpha two"]);
        let bravo = layout.image("linux/amd64", "bravo", &[b"bravo"]);
        layout
            .tag(&alpha.manifest, "alpha:1")
            .tag(&bravo.manifest, &name)
            .write();
        let run = rm(&layout, &[&prefix]);
        run.ok();
        assert_output(&run, &[&said], &bravo.parts());
        // With the algorithm it is an ID in any case; and now nothing else has this name.
        let run = rm(&layout, &[&format!("sha256:{prefix}")]);
        run.ok();
        assert_output(&run, &["alpha:1"], &alpha.parts());
    }
}

#[test]
fn a_digest_with_a_repository_selects_every_tag_of_that_repository_and_no_other() {
    let (_, alpha, _) = pair(&[]);
    let digest = &alpha.manifest.digest;
    let all = ["alpha:1", "alpha:2"];
    let (layout, alpha, _) = pair(&all);
    let run = rm(&layout, &[&format!("alpha@{digest}")]);
    run.ok();
    assert_output(&run, &all, &alpha.parts());

    let (layout, alpha, bravo) = pair(&["alpha:1", "acme/alpha:1", "alpha:2"]);
    let run = rm(&layout, &[&format!("alpha@{digest}")]);
    run.ok();
    assert_output(&run, &all, &[]);
    let kept = alpha.manifest.clone().tagged("acme/alpha:1");
    let bravo = bravo.manifest.tagged("bravo:2");
    assert_entries(&layout, &[kept, bravo], &run);

    let (layout, ..) = pair(&["alpha:1", "acme/alpha:1", "alpha:2"]);
    let run = rm(&layout, &[&format!("alpha:2@{digest}")]);
    run.ok();
    assert_output(&run, &["alpha:2"], &[]);
}

/// Two images that share nothing, not even a tag, except as the names indicate.
fn two(first: &[&str], second: &[&str]) -> (LayoutBuilder, Image, Image) {
    let mut layout = LayoutBuilder::new();
    let one = layout.image("linux/amd64", "one", &[b"one"]);
    let two = layout.image("linux/amd64", "two", &[b"two"]);
    for name in first {
        layout.tag(&one.manifest, name);
    }
    for name in second {
        layout.tag(&two.manifest, name);
    }
    layout.write();
    (layout, one, two)
}

#[test]
fn an_ambiguous_argument_is_an_error_that_lists_what_it_could_be() {
    let cases: [(&[&str], &[&str], &str); 3] = [
        (&["alpha:v1"], &["alpha:v1"], "alpha:v1"),
        (
            &["alpha:v1"],
            &["docker.io/library/alpha:v1"],
            "library/alpha:v1",
        ),
        (
            &["alpha:v1"],
            &["library/alpha:v1", "bravo:v1"],
            "docker.io/library/alpha:v1",
        ),
    ];
    for (first, second, argument) in cases {
        {
            let (layout, one, two) = two(first, second);
            let arguments = [argument];
            let run = rm(&layout, &arguments);
            run.exits(1).one_error_with_hint();
            run.warns(&format!("ocisweep: ambiguous reference: `{argument}`"));
            let named: Vec<(&str, &Image)> = first
                .iter()
                .map(|name| (*name, &one))
                .chain(second.iter().map(|name| (*name, &two)))
                .filter(|(name, _)| name.ends_with("alpha:v1"))
                .collect();
            for (name, image) in named {
                run.warns(&format!("{name} ({})", image.manifest.short()));
            }
            assert_eq!(run.stdout, "", "{}", run.all());
            layout.assert_has(one.parts().into_iter().chain(two.parts()), &run);
        }
    }
}

#[test]
fn force_selects_every_image_with_exactly_this_name() {
    let (layout, one, two) = two(&["app:1"], &["app:1"]);
    let run = rm(&layout, &["app:1"]);
    run.exits(1).one_error_with_hint();
    for image in [&one, &two] {
        run.warns(&format!("app:1 ({})", image.manifest.short()));
    }
    let run = rm(&layout, &["-f", "app:1"]);
    run.ok();
    let all = [one.parts(), two.parts()].concat();
    assert_output(&run, &["app:1"], &all);
    assert_entries(&layout, &[], &run);
}

/// skopeo writes whatever follows the last colon; docker would read it as a repository.
#[test]
fn a_bare_tag_is_not_a_repository_unless_containerd_names_it() {
    let mut layout = LayoutBuilder::new();
    let bare = layout.image("linux/amd64", "bare", &[]);
    let full = layout.image("linux/amd64", "full", &[]);
    layout
        .tag(&bare.manifest, "alpine")
        .entry(full.manifest.clone().named("debian"))
        .write();
    rm(&layout, &["docker.io/library/alpine"])
        .exits(1)
        .warns("No such image: alpine:latest");
    let run = rm(&layout, &["docker.io/library/debian:latest"]);
    run.ok();
    assert!(!layout.has(&full.manifest), "{}", run.all());
    layout.assert_has(bare.parts(), &run);
}

#[test]
fn a_missing_image_is_reported_with_similar_names() {
    let mut layout = LayoutBuilder::new();
    let image = layout.image("linux/amd64", "image", &[]);
    layout.tag(&image.manifest, "ghcr.io/acme/app:v1").write();
    for argument in [
        "app:v9",
        "acme/app:v9",
        "library/v1:v9",
        "ghcr.io/acme/app:v9",
    ] {
        rm(&layout, &[argument])
            .exits(1)
            .warns("ghcr.io/acme/app:v1");
    }
    let run = rm(&layout, &["tool:v9"]);
    assert!(!run.stderr.contains("ghcr.io/acme/app:v1"), "{}", run.all());
}

/// skopeo copies a tag in addition to the full name of containerd: with force it selects all images with it. A word is a
/// name only if the layout has exactly that name, and not if it is the tag of a full name: `alpine` is not `redis:alpine`,
/// with any flags and in any annotation.
#[test]
fn a_bare_word_never_selects_the_tag_of_a_full_name() {
    let entries: [fn(&Desc) -> Desc; 4] = [
        |desc| desc.clone().tagged("redis:alpine"),
        |desc| desc.clone().tagged("ghcr.io/acme/redis:alpine"),
        |desc| desc.clone().named("docker.io/library/redis:alpine"),
        |desc| {
            let desc = desc.clone().named("docker.io/library/redis:alpine");
            desc.tagged("alpine")
        },
    ];
    for entry in entries {
        for force in [None, Some("-f")] {
            let mut layout = LayoutBuilder::new();
            let redis = layout.image("linux/amd64", "redis", &[]);
            let kept = layout.image("linux/amd64", "kept", &[]);
            layout
                .entry(entry(&redis.manifest))
                .tag(&kept.manifest, "kept:1")
                .write();
            let before = snapshot(layout.path());
            let arguments: Vec<&str> = force.into_iter().chain(["alpine"]).collect();
            let run = rm(&layout, &arguments);
            run.exits(if force.is_some() { 0 } else { 1 })
                .warns("No such image: alpine:latest")
                .warns("redis:alpine");
            assert_eq!(run.stdout, "", "{}", run.all());
            for command in [
                Cmd::new(["hold", "add"])
                    .arg(layout.path())
                    .args(["new", "alpine"]),
                Cmd::new(["why"]).arg(layout.path()).arg("alpine"),
                Cmd::new(["ls", "-f", "before=alpine"]).arg(layout.path()),
                Cmd::new(["rm"])
                    .arg(layout.path())
                    .args(["alpine", "--platform", "linux/amd64"]),
            ] {
                let run = command.run();
                assert_ne!(run.code, Some(0), "{}", run.all());
                assert_eq!(run.stdout, "", "{}", run.all());
            }
            assert_same(&before, &snapshot(layout.path()), &run.all());
        }
    }
    // If the word is a name, only that is selected.
    let mut layout = LayoutBuilder::new();
    let [bare, redis] = ["bare", "redis"].map(|salt| layout.image("linux/amd64", salt, &[]));
    layout
        .tag(&bare.manifest, "alpine")
        .tag(&redis.manifest, "redis:alpine")
        .write();
    let run = rm(&layout, &["-f", "alpine"]);
    run.ok();
    assert_output(&run, &["alpine"], &bare.parts());
    layout.assert_has(redis.parts(), &run);
}

/// `repo:tag@digest` is a tag of its repository, and is valid only for that digest.
#[test]
fn a_pinned_name_is_a_tag_of_its_repository() {
    for argument in [
        "ghcr.io/acme/app:1",
        "PINNED",
        "ghcr.io/acme/app@DIGEST",
        "ghcr.io/acme/*:1",
    ] {
        let mut layout = LayoutBuilder::new();
        let [app, other] = ["app", "other"].map(|salt| layout.image("linux/amd64", salt, &[]));
        let pinned = format!("ghcr.io/acme/app:1@{}", app.manifest.digest);
        layout
            .tag(&app.manifest, &pinned)
            .tag(&other.manifest, "ghcr.io/acme/app:2")
            .write();
        let argument = argument
            .replace("PINNED", &pinned)
            .replace("DIGEST", &app.manifest.digest);
        let run = rm(&layout, &[&argument]);
        run.ok();
        assert_output(&run, &[&pinned], &app.parts());
        layout.assert_has(other.parts(), &run);
    }
    // Without a tag it is not a tag: `app` means `app:latest`.
    let mut layout = LayoutBuilder::new();
    let app = layout.image("linux/amd64", "app", &[]);
    let pinned = format!("app@{}", app.manifest.digest);
    layout
        .tag(&app.manifest, &pinned)
        .tag(&app.manifest, "other:1")
        .write();
    for argument in ["app", "app:latest"] {
        rm(&layout, &[argument]).exits(1).warns("No such image");
    }
    // By ID it is one of the names.
    let run = rm(&layout, &[app.manifest.short()]);
    run.exits(1)
        .warns(&format!("referenced by 2 names: {pinned}, other:1"));
    let run = Cmd::new(["ls"]).arg(layout.path()).run();
    let rows: Vec<Vec<&str>> = run
        .ok()
        .stdout
        .lines()
        .map(|line| line.split_whitespace().take(2).collect())
        .collect();
    assert!(rows.contains(&vec!["app", "<none>"]), "{}", run.all());
}

/// Two images can have one name. With the digest it selects one of them, in any form.
#[test]
fn a_name_with_a_digest_selects_one_of_two_images() {
    for name in ["app", "app:1", "ghcr.io/acme/app:1", "Some Name"] {
        let mut layout = LayoutBuilder::new();
        let [one, two] = ["one", "two"].map(|salt| layout.image("linux/amd64", salt, &[]));
        layout
            .tag(&one.manifest, name)
            .tag(&two.manifest, name)
            .write();
        let run = rm(&layout, &[name]);
        run.exits(1).warns("ambiguous");
        for image in [&one, &two] {
            run.warns(image.manifest.short());
        }
        let run = rm(&layout, &[&format!("{name}@{}", two.manifest.digest)]);
        run.ok();
        assert_output(&run, &[name], &two.parts());
        layout.assert_has(one.parts(), &run);
    }
}

#[test]
fn a_short_id_of_two_images_is_ambiguous_even_with_force() {
    let mut layout = LayoutBuilder::new();
    let config = layout.config("linux/amd64", "shared");
    // Among a few hundred digests, two have the same prefix.
    let mut known: BTreeMap<String, Doc> = BTreeMap::new();
    let mut number = 0_u32;
    let (prefix, first, second) = loop {
        let doc = Doc::manifest(&config, &[]).annotate("number", number.to_string());
        let digest = sha256(doc.text().as_bytes());
        let prefix = digest["sha256:".len()..][..3].to_owned();
        if let Some(other) = known.insert(prefix.clone(), doc.clone()) {
            break (prefix, other, doc);
        }
        number += 1;
    };
    let first = layout.put(&first);
    let second = layout.put(&second);
    layout
        .tag(&first, "first:1")
        .tag(&second, "second:1")
        .write();
    for arguments in [vec![prefix.as_str()], vec!["-f", &prefix]] {
        let run = rm(&layout, &arguments);
        run.exits(1)
            .warns(&format!(
                "ocisweep: ambiguous reference: `{prefix}` could be "
            ))
            .warns(&format!("first:1 ({})", first.short()))
            .warns(&format!("second:1 ({})", second.short()));
        layout.assert_has([&first, &second], &run);
    }
    // One more digit than they share is enough.
    let shared = first
        .hex()
        .bytes()
        .zip(second.hex().bytes())
        .take_while(|(one, two)| one == two)
        .count();
    let run = rm(&layout, &[&first.hex()[..=shared]]);
    run.ok();
    assert_output(&run, &["first:1"], &[&first]);
    layout.assert_has([&second, &config], &run);
}

#[test]
fn a_pattern_selects_all_names_that_it_matches() {
    let names = ["app:1.0", "app:1.1", "app:2.0"];
    let of =
        |layout: &LayoutBuilder, name: &str| layout.image("linux/amd64", name, &[name.as_bytes()]);
    let cases: [(&str, &[&str]); 7] = [
        ("app:1.*", &["app:1.0", "app:1.1"]),
        ("app:*.0", &["app:1.0", "app:2.0"]),
        ("app:[12].0", &["app:1.0", "app:2.0"]),
        ("app:?.1", &["app:1.1"]),
        ("*", &["app:1.0", "app:1.1", "app:2.0"]),
        // One star stops at a slash, two do not.
        ("ghcr.io/*", &[]),
        ("ghcr.io/**", &["ghcr.io/a/b/app:1.0"]),
    ];
    for (pattern, expected) in cases {
        let mut layout = LayoutBuilder::new();
        let mut images: Vec<(&str, Image)> = Vec::new();
        for name in names.into_iter().chain(["ghcr.io/a/b/app:1.0"]) {
            let image = of(&layout, name);
            layout.tag(&image.manifest, name);
            images.push((name, image));
        }
        layout.write();
        let run = rm(&layout, &[pattern]);
        let gone: Vec<&Desc> = images
            .iter()
            .filter(|(name, _)| expected.contains(name))
            .flat_map(|(_, image)| image.parts())
            .collect();
        assert_output(&run, expected, &gone);
        if expected.is_empty() {
            run.exits(1)
                .warns(&format!("No such image: no name matches `{pattern}`"));
        } else {
            run.ok();
        }
        for (name, image) in &images {
            let is_here = layout.has(&image.manifest);
            assert_eq!(is_here, !expected.contains(name), "{name}\n{}", run.all());
        }
    }
}

#[test]
fn a_part_of_an_image_is_reported_with_its_image_and_the_command_that_drops_it() {
    let mut layout = LayoutBuilder::new();
    let amd64 = layout.image("linux/amd64", "amd64", &[b"amd64"]);
    let arm = layout.image("linux/arm/v7", "arm", &[b"arm"]);
    let attestation = layout.image("unknown/unknown", "attestation", &[b"statement"]);
    let index = layout.index(&[
        amd64.manifest.clone().platform("linux/amd64"),
        arm.manifest.clone().platform("linux/arm/v7"),
        attestation.manifest.clone().attests(&arm.manifest),
    ]);
    let single = layout.image("linux/amd64", "single", &[b"single"]);
    layout
        .tag(&index, "multi:1")
        .tag(&single.manifest, "single:1")
        .write();
    let cases = [
        (
            &arm.manifest,
            "platform linux/arm/v7",
            "multi:1",
            Some("--platform linux/arm/v7"),
        ),
        (
            &amd64.manifest,
            "platform linux/amd64",
            "multi:1",
            Some("--platform linux/amd64"),
        ),
        (&attestation.manifest, "a child", "multi:1", None),
        (&arm.config, "the config", "multi:1", None),
        (&single.config, "the config", "single:1", None),
        (&single.layers[0], "a layer", "single:1", None),
    ];
    for (part, what, image, flag) in cases {
        // docker only says that there is no such image, and with -f exits with 0. The first twelve digits are what
        // `ls --tree` shows.
        let short = &part.hex()[..12];
        for (force, text) in [
            (None, part.digest.as_str()),
            (Some("-f"), part.digest.as_str()),
            (None, short),
            (Some("-f"), short),
        ] {
            let arguments: Vec<&str> = force.into_iter().chain([text]).collect();
            let run = rm(&layout, &arguments);
            run.exits(1);
            run.warns(&format!(
                "ocisweep: cannot remove {}: it is {what} of {image} (",
                part.digest
            ));
            if let Some(flag) = flag {
                run.one_error_with_hint()
                    .warns(&format!(" {image} {flag}`"));
            }
        }
    }
    // The command in the hint works.
    let run = rm(&layout, &["multi:1", "--platform", "linux/arm/v7"]);
    run.ok();
    assert!(!layout.has(&arm.manifest), "{}", run.all());
    layout.assert_has(amd64.parts(), &run);
}

#[test]
fn a_position_selects_an_entry_with_neither_name_nor_digest() {
    let (mut layout, one, two) = two(&["one:1"], &[]);
    layout.entry(&two.manifest).write();
    let run = rm(&layout, &["@2"]);
    run.exits(1);
    assert_eq!(run.stdout, "", "{}", run.all());
    let run = rm(&layout, &["@1"]);
    run.ok();
    assert_output(&run, &[], &two.parts());
    assert_entries(&layout, &[one.manifest.clone().tagged("one:1")], &run);
}

#[test]
fn similar_names_are_suggested_for_a_mistyped_one() {
    let mut layout = LayoutBuilder::new();
    for name in [
        "base",
        "v1.0",
        "registry.example.com/team/backend:2026-11",
        "web:1",
    ] {
        let image = layout.image("linux/amd64", name, &[name.as_bytes()]);
        layout.tag(&image.manifest, name);
    }
    layout.write();
    for (typed, meant) in [
        ("bsae", "base"),
        ("bas", "base"),
        ("v1.1", "v1.0"),
        (
            "bakcend:2026-11",
            "registry.example.com/team/backend:2026-11",
        ),
        (
            "registry.example.com/team/backent:2026-11",
            "registry.example.com/team/backend:2026-11",
        ),
        ("wbe:1", "web:1"),
    ] {
        let run = Cmd::new(["rm", "-n"]).arg(layout.path()).arg(typed).run();
        run.exits(1).warns(&format!("hint: there is {meant}\n"));
    }
    for far in ["x", "nothing", "frontend:2026-11"] {
        let run = Cmd::new(["rm", "-n"]).arg(layout.path()).arg(far).run();
        run.exits(1).warns("lists its images");
    }
}

/// The tag is not a separate name: it belongs to the pinned name beside it.
#[test]
fn the_tag_beside_a_pinned_name_is_not_a_bare_tag() {
    let mut layout = LayoutBuilder::new();
    let image = layout.image("linux/amd64", "app", &[b"app"]);
    let name = format!("ghcr.io/acme/app:v1@{}", image.manifest.digest);
    layout
        .entry(image.manifest.clone().named(&name).tagged("v1"))
        .write();
    let run = rm(&layout, &["v1"]);
    run.exits(1).warns("No such image: v1:latest");
    layout.assert_has(image.parts(), &run);
    // The pinned name is the only one, and the image is removed with it.
    let run = rm(&layout, &["ghcr.io/acme/app:v1"]);
    run.ok();
    assert_output(&run, &[&name], &image.parts());
    assert_entries(&layout, &[], &run);
}
