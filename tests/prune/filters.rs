//! `--filter`, with the same meaning for `ls` and `prune`.

use crate::support::dated::NOW;
use crate::support::{Cmd, Desc, Doc, ImageBuilder, TestLayout, for_each, media, verdicts};

const CHART: &str = "application/vnd.example.chart";

/// Images of many kinds, each with a descriptive name; one without a name.
pub(crate) fn shelf() -> TestLayout {
    let mut shelf = TestLayout::new();
    shelf.named(
        "app:prod",
        60,
        &ImageBuilder::new("prod")
            .layer(b"prod")
            .created("2026-01-01T00:00:00Z")
            .label("env", "prod")
            .label("team", "a=b")
            .label("empty", ""),
    );
    shelf.named(
        "app:dev",
        30,
        &ImageBuilder::new("dev")
            .layer(b"dev")
            .created("2026-06-01T00:00:00Z")
            .label("env", "dev")
            .label("team", "a"),
    );
    shelf.named(
        "team/plain:1",
        10,
        &ImageBuilder::new("plain")
            .layer(b"plain")
            .created("1970-01-01T00:00:00Z"),
    );
    // One platform is `prod`, the other `dev`; none is both.
    let child = |platform: &str, env: &str, extra: &str| {
        let build = ImageBuilder::new(platform)
            .layer(platform.as_bytes())
            .platform(platform)
            .created("2026-09-01T00:00:00Z");
        build
            .label("env", env)
            .label(extra, "1")
            .store(&shelf.layout)
    };
    let amd64 = child("linux/amd64", "prod", "fast");
    let arm64 = child("linux/arm64", "dev", "small");
    let attested = ImageBuilder::new("attestation")
        .layer(b"attestation")
        .label("env", "attestation");
    let attested = attested.store(&shelf.layout);
    let index = shelf.layout.index(&[
        amd64.manifest.clone().platform("linux/amd64"),
        arm64.manifest.clone().platform("linux/arm64/v8"),
        attested.manifest.clone().attests(&amd64.manifest),
    ]);
    shelf.layout.tag(&index, "team/multi:1");
    shelf.added(&index, 5);
    // The same, with only one platform present.
    let absent = Desc::missing(media::MANIFEST, "absent");
    let sparse = shelf.layout.index(&[
        arm64.manifest.clone().platform("linux/arm64"),
        absent.platform("linux/s390x"),
    ]);
    shelf.layout.tag(&sparse, "team/sparse:1");
    shelf.added(&sparse, 4);
    // The config is missing.
    let build = ImageBuilder::new("no config")
        .layer(b"no config")
        .label("env", "prod");
    let hollow = build.store(&shelf.layout);
    shelf.layout.drop_blob(&hollow.config);
    shelf.layout.tag(&hollow.manifest, "team/hollow:1");
    shelf.added(&hollow.manifest, 3);
    // The config is not JSON.
    let config = shelf
        .layout
        .blob("application/vnd.example.config", b"# values");
    let chart = Doc::manifest(&config, &[]).artifact_type(CHART);
    let chart = shelf.layout.put(&chart);
    shelf.layout.tag(&chart, "charts/app:1");
    shelf.added(&chart, 2);
    let build = ImageBuilder::new("dangling")
        .layer(b"dangling")
        .label("env", "prod");
    shelf.untagged(45, &build.created("2026-03-01T00:00:00Z"));
    shelf.write();
    shelf
}

/// Returns the names of the images that pass, which must be the same for `ls` and `prune`, with or without a name.
#[track_caller]
pub(crate) fn passes(shelf: &TestLayout, filters: &[&str], more: &[&str]) -> Vec<String> {
    let with = |flag: &'static str| {
        filters
            .iter()
            .flat_map(move |filter| [flag.to_owned(), (*filter).to_owned()])
    };
    let mut args: Vec<String> = with("-f").collect();
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let listed = shelf.list(&args);
    let run = shelf
        .call(["-a", "-n", "--allow-empty", "--format", "json"])
        .args(with("--filter"))
        .args(more)
        .run();
    run.ok();
    let mut pruned = Vec::new();
    for verdict in verdicts(&run) {
        if verdict.goes {
            pruned.extend(match verdict.names {
                names if names.is_empty() => vec!["<none>".to_owned()],
                names => names,
            });
        } else {
            assert_eq!(
                verdict.reasons,
                ["does not pass the filters"],
                "{}",
                run.all()
            );
        }
    }
    pruned.sort();
    assert_eq!(
        listed,
        pruned,
        "`ls` and `prune` select different images\n{}",
        run.all()
    );
    listed
}

/// Panics unless exactly these pass.
#[track_caller]
pub(crate) fn check(shelf: &TestLayout, filters: &[&str], expected: &[&str]) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(passes(shelf, filters, &[]), expected, "{filters:?}");
}

/// All images of the layout.
pub(crate) const ALL: [&str; 8] = [
    "app:prod",
    "app:dev",
    "team/plain:1",
    "team/multi:1",
    "team/sparse:1",
    "team/hollow:1",
    "charts/app:1",
    "<none>",
];

#[test]
fn labels_are_those_of_one_present_platform() {
    let shelf = shelf();
    let cases: [(&[&str], &[&str]); 20] = [
        (
            &["label=env"],
            &[
                "app:prod",
                "app:dev",
                "team/multi:1",
                "team/sparse:1",
                "<none>",
            ],
        ),
        (&["label=env=prod"], &["app:prod", "team/multi:1", "<none>"]),
        (
            &["label=env=dev"],
            &["app:dev", "team/multi:1", "team/sparse:1"],
        ),
        // Terms are AND-ed, over one platform.
        (&["label=env=prod", "label=env=dev"], &[]),
        (&["label=env=prod", "label=fast"], &["team/multi:1"]),
        (&["label=env=prod", "label=small"], &[]),
        (&["label=env=prod", "label=team"], &["app:prod"]),
        // The value is everything after the first equals sign.
        (&["label=team=a=b"], &["app:prod"]),
        (&["label=team=a"], &["app:dev"]),
        (&["label=empty"], &["app:prod"]),
        (&["label=empty="], &["app:prod"]),
        (&["label=env="], &[]),
        (&["label=ENV"], &[]),
        // Negation can match a present platform, and never matches without a config.
        (&["label!=env"], &["team/plain:1"]),
        (
            &["label!=env=prod"],
            &["app:dev", "team/plain:1", "team/multi:1", "team/sparse:1"],
        ),
        (
            &["label=env!=prod"],
            &["app:dev", "team/plain:1", "team/multi:1", "team/sparse:1"],
        ),
        (&["label!=env=prod", "label!=env=dev"], &["team/plain:1"]),
        (
            &["label=env", "label!=team"],
            &["team/multi:1", "team/sparse:1", "<none>"],
        ),
        // That of an attestation does not count.
        (&["label=env=attestation"], &[]),
        (&["label=*"], &[]),
    ];
    for_each(
        cases,
        |(filters, _)| filters.join(" "),
        |(filters, expected)| check(&shelf, filters, expected),
    );
}

#[test]
fn references_match_full_and_short_names() {
    let mut shelf = TestLayout::new();
    for name in [
        "docker.io/library/app:1",
        "tool:2",
        "team/app:1",
        "example.test:5000/team/deep/app:1",
        "v3",
    ] {
        shelf.small(name, 5);
    }
    shelf.overwritten("dangling", 4);
    shelf.write();
    let cases: [(&str, &[&str]); 24] = [
        // Familiar and canonical, with and without the tag.
        ("app", &["docker.io/library/app:1"]),
        ("app:1", &["docker.io/library/app:1"]),
        ("docker.io/library/app", &["docker.io/library/app:1"]),
        ("docker.io/library/app:1", &["docker.io/library/app:1"]),
        ("docker.io/library/tool:2", &["tool:2"]),
        ("docker.io/library/tool", &["tool:2"]),
        ("docker.io/team/app", &["team/app:1"]),
        ("team/app", &["team/app:1"]),
        ("app:2", &[]),
        ("ap", &[]),
        // A star stops at a slash.
        ("*", &["docker.io/library/app:1", "tool:2", "v3"]),
        ("*:1", &["docker.io/library/app:1"]),
        ("*/app", &["team/app:1"]),
        ("*/*:1", &["team/app:1"]),
        ("*/*/*/app:1", &["example.test:5000/team/deep/app:1"]),
        // Two do not.
        (
            "**",
            &[
                "docker.io/library/app:1",
                "tool:2",
                "team/app:1",
                "example.test:5000/team/deep/app:1",
                "v3",
            ],
        ),
        (
            "**app:1",
            &[
                "docker.io/library/app:1",
                "team/app:1",
                "example.test:5000/team/deep/app:1",
            ],
        ),
        (
            "**/app",
            &[
                "docker.io/library/app:1",
                "team/app:1",
                "example.test:5000/team/deep/app:1",
            ],
        ),
        (
            "example.test:5000/**",
            &["example.test:5000/team/deep/app:1"],
        ),
        // Classes and single characters.
        ("[st]ool:?", &["tool:2"]),
        ("[^s]ool:[0-9]", &["tool:2"]),
        ("too\\l", &["tool:2"]),
        // A bare tag is not a repository.
        ("v?", &["v3"]),
        ("docker.io/library/v3", &[]),
    ];
    for_each(
        cases,
        |(pattern, _)| (*pattern).to_owned(),
        |(pattern, expected)| check(&shelf, &[&format!("reference={pattern}")], expected),
    );
    // Several references are OR-ed.
    check(
        &shelf,
        &["reference=v3", "reference=tool"],
        &["tool:2", "v3"],
    );
}

#[test]
fn dangling_means_what_prune_means() {
    let shelf = shelf();
    for value in ["true", "1"] {
        check(&shelf, &[&format!("dangling={value}")], &["<none>"]);
    }
    for value in ["false", "0"] {
        check(&shelf, &[&format!("dangling={value}")], &ALL[..7]);
    }
    check(&shelf, &["dangling=true", "dangling=1"], &["<none>"]);
    // A child that oras lists again has no name but is not dangling; nothing is dangling if nothing has a name.
    let mut shelf = TestLayout::new();
    let child = shelf.overwritten("child", 3);
    let index = shelf.layout.index(std::slice::from_ref(&child.manifest));
    shelf.layout.tag(&index, "app:1");
    shelf.write();
    assert_eq!(shelf.list(&["-f", "dangling=true"]), [""; 0]);
    assert_eq!(shelf.list(&["-f", "dangling=false"]), ["<none>", "app:1"]);
    let mut nameless = TestLayout::new();
    nameless.overwritten("one", 3);
    nameless.write();
    assert_eq!(nameless.list(&["-f", "dangling=true"]), [""; 0]);
    assert_eq!(nameless.list(&["-f", "dangling=false"]), ["<none>"]);
}

#[test]
fn platforms_are_those_that_are_present() {
    let shelf = shelf();
    let amd64 = [
        "app:prod",
        "app:dev",
        "team/plain:1",
        "team/multi:1",
        "<none>",
    ];
    let cases: [(&[&str], &[&str]); 8] = [
        (&["platform=linux/amd64"], &amd64),
        (&["platform=linux/x86_64"], &amd64),
        (&["platform=linux/amd64/v1"], &amd64),
        (
            &["platform=linux/arm64"],
            &["team/multi:1", "team/sparse:1"],
        ),
        (
            &["platform=linux/aarch64/v8"],
            &["team/multi:1", "team/sparse:1"],
        ),
        // Listed but missing.
        (&["platform=linux/s390x"], &[]),
        (&["platform=windows/amd64"], &[]),
        (
            &["platform=linux/arm64", "platform=linux/s390x"],
            &["team/multi:1", "team/sparse:1"],
        ),
    ];
    for_each(
        cases,
        |(filters, _)| filters.join(" "),
        |(filters, expected)| check(&shelf, filters, expected),
    );
}

#[test]
fn media_and_artifact_types_are_compared_exactly() {
    let shelf = shelf();
    let index = format!("mediatype={}", media::INDEX);
    let manifest = format!("mediatype={}", media::MANIFEST);
    let chart = format!("artifacttype={CHART}");
    check(&shelf, &[&index], &["team/multi:1", "team/sparse:1"]);
    check(&shelf, &[&index, &manifest], &ALL);
    check(&shelf, &["mediatype=application/vnd.oci"], &[]);
    check(&shelf, &[&chart], &["charts/app:1"]);
    check(&shelf, &[&chart, &index], &[]);
    check(&shelf, &["artifacttype=application/vnd.example.other"], &[]);
    check(
        &shelf,
        &[&chart, "artifacttype=application/vnd.example.other"],
        &["charts/app:1"],
    );
}

#[test]
fn different_keys_are_and_ed() {
    let shelf = shelf();
    let cases: [(&[&str], &[&str]); 6] = [
        (&["label=env=prod", "until=50d"], &["app:prod"]),
        (&["label=env=prod", "dangling=true"], &["<none>"]),
        (&["label=env", "reference=app:*"], &["app:prod", "app:dev"]),
        (
            &[
                "reference=app:*",
                "reference=team/*",
                "platform=linux/arm64",
            ],
            &["team/multi:1", "team/sparse:1"],
        ),
        (&["dangling=true", "reference=**"], &[]),
        (
            &["", "label=env=dev", "", "since=app:dev"],
            &["team/multi:1", "team/sparse:1"],
        ),
    ];
    for_each(
        cases,
        |(filters, _)| filters.join(" "),
        |(filters, expected)| check(&shelf, filters, expected),
    );
}

#[test]
fn keys_may_be_written_as_docker_reads_them() {
    let shelf = shelf();
    check(&shelf, &[" Dangling = true "], &["<none>"]);
    check(
        &shelf,
        &["LABEL=env=prod"],
        &["app:prod", "team/multi:1", "<none>"],
    );
    check(&shelf, &["Label!=env"], &["team/plain:1"]);
}

#[test]
fn an_invalid_filter_is_an_error_and_changes_nothing() {
    let mut shelf = shelf();
    shelf.small("digest:1", 1);
    shelf.write();
    let keys = "dangling, reference, label, label!, before, since, until, platform, mediatype, artifacttype";
    let cases: [(&[&str], &str); 26] = [
        (&["colour=red"], keys),
        (&["=red"], keys),
        (&["labels=a"], keys),
        (&["name=app"], keys),
        (&["label"], "key=value"),
        (&["dangling"], "key=value"),
        (&["dangling=maybe"], "dangling=maybe"),
        (&["dangling="], "dangling="),
        (&["dangling=TRUE"], "dangling=TRUE"),
        (&["dangling=true", "dangling=false"], "dangling"),
        (&["reference=["], "reference=["),
        (&["reference=a[b-]c"], "reference=a[b-]c"),
        (&["reference=app\\"], "reference=app\\"),
        (&["label="], "label="),
        (&["label==a"], "label==a"),
        (&["until="], "until="),
        (&["until=soon"], "until=soon"),
        (&["until=2026-13-01"], "until=2026-13-01"),
        (&["until=7y"], "until=7y"),
        (&["platform="], "platform="),
        (
            &["platform=linux/amd64/v1/more"],
            "platform=linux/amd64/v1/more",
        ),
        (&["platform=foo"], "platform=foo"),
        (&["before=nosuch:1"], "nosuch:1"),
        (&["since=nosuch:1"], "nosuch:1"),
        (&["before=team/plain:1"], "no date"),
        (&["label=env", "colour=red"], keys),
    ];
    for_each(
        cases,
        |(filters, _)| filters.join(" "),
        |(filters, text)| {
            let args: Vec<&str> = filters
                .iter()
                .flat_map(|filter| ["--filter", filter])
                .collect();
            shelf.refuses(&[&["-a"], &args[..]].concat(), 2).warns(text);
            shelf.refuses(&args, 2).warns(text);
            let run = Cmd::new(["ls"]).arg(shelf.path()).args(&args).run();
            run.exits(2).warns(text);
            assert_eq!(run.stdout, "", "{}", run.all());
        },
    );
}

#[test]
fn filters_change_the_rows_of_the_list_but_not_its_columns() {
    let shelf = shelf();
    let run = Cmd::new(["ls", "--now", NOW, "--filter", "label=env=prod"])
        .arg(shelf.path())
        .run();
    run.ok()
        .says("REPOSITORY")
        .says("prod")
        .keeps_quiet_about("charts");
    let none = Cmd::new(["ls", "--now", NOW, "--filter", "label=nobody"])
        .arg(shelf.path())
        .run();
    none.ok();
    assert_eq!(
        none.stdout.lines().count(),
        1,
        "the head stays\n{}",
        none.all()
    );
    let ids = Cmd::new(["ls", "-q", "--filter", "reference=app"])
        .arg(shelf.path())
        .run();
    assert_eq!(ids.ok().stdout.lines().count(), 2, "{}", ids.all());
    let lines = Cmd::new(["ls", "--format", "jsonl", "-f", "dangling=true"])
        .arg(shelf.path())
        .run();
    assert_eq!(lines.ok().stdout.lines().count(), 1, "{}", lines.all());
}

#[test]
fn a_filter_selects_among_dangling_images() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 90);
    let old = shelf.overwritten("old", 50);
    let young = shelf.overwritten("young", 5);
    shelf.write();
    let pruned = shelf.prune(&["--filter", "until=30d"]);
    pruned
        .ok()
        .leaves(&["app:1"])
        .deletes(&old.digests())
        .because(
            &young.manifest.digest,
            false,
            &["does not pass the filters"],
        );
}

/// A filter on names selects names: those that pass are removed, and the image keeps the others.
#[test]
fn a_filter_on_names_removes_only_matching_names() {
    let mut shelf = TestLayout::new();
    let both = shelf.named("ci/app:1", 20, &ImageBuilder::new("both").layer(b"both"));
    shelf.layout.tag(&both.manifest, "release/app:1");
    let alone = shelf.named("ci/app:2", 10, &ImageBuilder::new("alone").layer(b"alone"));
    shelf.named(
        "release/app:2",
        5,
        &ImageBuilder::new("other").layer(b"other"),
    );
    shelf.write();
    let filter = ["-a", "--filter", "reference=ci/*"];
    let ls = Cmd::new(["ls", "-f", "reference=ci/*"])
        .arg(shelf.layout.path())
        .run();
    let rows: Vec<Vec<&str>> = ls
        .ok()
        .stdout
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().take(2).collect())
        .collect();
    assert_eq!(rows.len(), 2, "{}", ls.all());
    for tag in ["1", "2"] {
        assert!(rows.contains(&vec!["ci/app", tag]), "{}", ls.all());
    }
    let dry = Cmd::new(["prune", "-n"])
        .args(filter)
        .arg(shelf.layout.path())
        .run();
    for name in ["ci/app:1", "ci/app:2"] {
        dry.ok().says(&format!("Would untag: {name}\n"));
    }
    assert!(!dry.stdout.contains("release"), "{}", dry.all());
    let pruned = shelf.prune(&filter);
    pruned
        .ok()
        .leaves(&["release/app:1", "release/app:2"])
        .deletes(&alone.digests());
    assert!(shelf.has_all(&both), "{}", pruned.run.all());
    // `--keep` applies to images: one name that matches keeps the image with all of them.
    let mut shelf = TestLayout::new();
    let both = shelf.named("ci/app:1", 20, &ImageBuilder::new("both").layer(b"both"));
    shelf.layout.tag(&both.manifest, "release/app:1");
    shelf.named("ci/app:2", 10, &ImageBuilder::new("alone").layer(b"alone"));
    shelf.write();
    shelf
        .prune(&["-a", "--filter", "reference=ci/*", "--keep", "release/*"])
        .ok()
        .leaves(&["ci/app:1", "release/app:1"]);
}

/// Names that a filter excludes keep their image despite a budget, and count in no repository.
#[test]
fn names_that_a_filter_excludes_are_kept_with_their_image() {
    let shelf = || {
        let mut shelf = TestLayout::new();
        let both = shelf.named("ci/app:1", 20, &ImageBuilder::new("both").weighs(9000));
        shelf.layout.tag(&both.manifest, "release/app:1");
        let newer = shelf.named("ci/app:2", 10, &ImageBuilder::new("newer").weighs(9000));
        shelf.named("release/app:2", 5, &ImageBuilder::new("other").weighs(9000));
        shelf.write();
        (shelf, both, newer)
    };
    let filter = ["-a", "--filter", "reference=ci/*"];
    let (one, both, newer) = shelf();
    let pruned = one.prune(&[&filter[..], &["--max-size", "5kB"]].concat());
    pruned
        .leaves(&["ci/app:1", "release/app:1", "release/app:2"])
        .deletes(&newer.digests())
        .because(
            "release/app:1",
            false,
            &["has names that do not pass the filters"],
        );
    pruned.run.exits(5);
    assert!(one.has_all(&both), "{}", pruned.run.all());
    // It is not the last one of `release/app`, which the filter excludes.
    let (two, ..) = shelf();
    two.prune(&[&filter[..], &["--keep-last", "1"]].concat())
        .ok()
        .leaves(&["release/app:1", "ci/app:2", "release/app:2"])
        .because(
            "release/app:1",
            false,
            &["only ci/app:1 passes the filters"],
        );
}

/// A signature that only shares a name with its image: once the image has lost that name, the relation is lost.
#[test]
fn a_signature_is_removed_with_the_name_that_it_shares_with_its_image() {
    for (other_image, goes) in [(false, true), (true, false)] {
        let mut shelf = TestLayout::new();
        let app = shelf.small("app:old", 20);
        shelf.layout.tag(&app.manifest, "app:1");
        let signature = ImageBuilder::new("sig").layer(b"sig").store(&shelf.layout);
        let entry = signature
            .manifest
            .clone()
            .annotate("kind", "dev.cosignproject.cosign/sigs");
        let name = if other_image { "app:1" } else { "app:old" };
        shelf.layout.tag(&entry, name);
        shelf.write();
        let args = ["-a", "--filter", "reference=app:old"];
        let pruned = shelf.prune(&args);
        pruned.ok();
        let all = pruned.run.all();
        assert!(shelf.has_all(&app), "{all}");
        assert_eq!(!shelf.has_all(&signature), goes, "{all}");
        let again = shelf.call(args).args(["-n", "--exit-code"]).run();
        again.exits(0);
    }
}

/// A rule keeps one of two images with the same name; a signature with that name belongs to the kept one.
#[test]
fn a_signature_is_kept_with_the_image_that_keeps_its_name() {
    let mut shelf = TestLayout::new();
    let old = shelf.named("ex.com/a:1", 50, &ImageBuilder::new("old").weighs(500));
    let new = shelf.named("ex.com/a:1", 40, &ImageBuilder::new("new").weighs(600));
    let signature = ImageBuilder::new("signature")
        .layer(b"sig")
        .store(&shelf.layout);
    let kind = "dev.cosignproject.cosign/sigs";
    let entry = signature.manifest.clone().tagged("ex.com/a:1");
    shelf.layout.entry(entry.annotate("kind", kind));
    shelf.write();
    crate::prune::unique::check(shelf.path());
    let pruned = shelf.prune(&["-a", "--keep-last", "1"]);
    pruned.ok();
    assert!(!shelf.has(&old.manifest), "{}", pruned.run.all());
    assert!(shelf.has_all(&new), "{}", pruned.run.all());
    assert!(shelf.has_all(&signature), "{}", pruned.run.all());
}

/// The subject of a removed referrer becomes dangling. It is not selected if it does not pass the filters.
#[test]
fn images_that_become_dangling_must_pass_the_filters_too() {
    for (filter, goes) in [
        ("reference=ex.com/sbom:*", false),
        ("until=24h", true),
        ("mediatype=application/vnd.oci.image.manifest.v1+json", true),
        ("artifacttype=application/vnd.example.sbom", false),
    ] {
        let mut shelf = TestLayout::new();
        shelf.named("app:1", 0, &ImageBuilder::new("app").weighs(500));
        let subject = shelf.untagged(50, &ImageBuilder::new("subject").weighs(600));
        let config = shelf.layout.empty_config();
        let layer = shelf.layout.layer(b"sbom");
        let doc = Doc::manifest(&config, &[layer]).subject(&subject.manifest);
        let sbom = shelf
            .layout
            .put(&doc.artifact_type("application/vnd.example.sbom"));
        shelf.layout.tag(&sbom, "ex.com/sbom:1");
        shelf.write();
        let args = ["-a", "--filter", filter, "--keep", "app:1"];
        let pruned = shelf.prune(&args);
        pruned.ok().leaves(&["app:1"]);
        assert!(!shelf.has(&sbom), "{filter}\n{}", pruned.run.all());
        let is_here = shelf.has_all(&subject);
        assert_eq!(is_here, !goes, "{filter}\n{}", pruned.run.all());
        shelf.prune(&args).ok().deletes(&[]);
    }
}
