//! Patterns and filters that match nothing are reported, also with `-q`: an unset variable, a pattern that stops at `/`.

use std::fs;

use crate::support::dated::NOW;
use crate::support::{Cmd, TestLayout, for_each};

fn mirror() -> TestLayout {
    let mut shelf = TestLayout::new();
    for (name, days) in [
        ("ghcr.io/acme/app:1-lts", 30),
        ("ghcr.io/acme/app:2", 20),
        ("ghcr.io/acme/app:3", 10),
    ] {
        shelf.small(name, days);
    }
    shelf.write();
    shelf
}

const KEEP_NOTHING: &str = "no image has a name that matches `--keep ";

#[test]
fn patterns_and_filters_that_match_nothing_are_reported() {
    // The argument, the report, and the pattern that would match.
    let cases: [(&[&str], &str, &str); 12] = [
        (
            &["--keep", "*:*-lts"],
            "`--keep *:*-lts`",
            "`--keep '**:*-lts'`",
        ),
        (
            &["--keep", "app:*"],
            "`--keep app:*`",
            "`--keep '**/app:*'`",
        ),
        (
            &["--keep", "ghcr.io/*:2"],
            "`--keep ghcr.io/*:2`",
            "`--keep 'ghcr.io/**:2'`",
        ),
        (&["--keep", ""], "`--keep ''`", ""),
        (&["--keep", "nothing"], "`--keep nothing`", ""),
        (&["--filter", "reference="], "the filter `reference=`", ""),
        (
            &["--filter", "reference=*:3"],
            "the filter `reference=*:3`",
            "`--filter 'reference=**:3'`",
        ),
        (&["--filter", "label=x"], "the filter `label=x`", ""),
        (&["--filter", "label=x="], "the filter `label=x=`", ""),
        (
            &["--filter", "platform=plan9/386"],
            "the filter `platform=plan9/386`",
            "",
        ),
        (&["--filter", "mediatype="], "the filter `mediatype=`", ""),
        (&["--filter", ""], "an empty `--filter` filters nothing", ""),
    ];
    for_each(
        cases,
        |(args, ..)| format!("{args:?}"),
        |(args, text, wider)| {
            let shelf = mirror();
            for quiet in [&[][..], &["-q"], &["-v"]] {
                let run = shelf
                    .call(["-a", "-n", "--keep-last", "1"])
                    .args(*args)
                    .args(quiet)
                    .run();
                run.ok().warns(text);
                let hints = run.stderr.lines().filter(|line| line.starts_with("hint:"));
                assert_eq!(
                    hints.count(),
                    usize::from(!wider.is_empty()),
                    "{}",
                    run.all()
                );
                run.warns(wider);
                assert_eq!(
                    run.stderr.lines().count(),
                    1 + usize::from(!wider.is_empty()),
                    "{}",
                    run.all()
                );
            }
            if args[0] == "--filter" {
                let plain = Cmd::new(["ls", "-q"]).arg(shelf.path()).args(*args).run();
                plain.ok().warns(text).warns(wider);
            }
        },
    );
}

#[test]
fn matching_patterns_are_not_reported() {
    for args in [
        &["--keep", "**:*-lts"][..],
        &["--keep", "ghcr.io/acme/app:?"],
        &["--filter", "reference=**"],
        // If nothing is that old or dangling, there is simply nothing to do.
        &["--filter", "until=365d"],
        &["--filter", "dangling=true"],
        &["--filter", "before=ghcr.io/acme/app:2"],
    ] {
        let mut shelf = TestLayout::new();
        let build = |salt: &str| {
            let build = crate::support::ImageBuilder::new(salt).layer(salt.as_bytes());
            build.created("2026-01-01T00:00:00Z")
        };
        shelf.named("ghcr.io/acme/app:1-lts", 30, &build("1"));
        shelf.named("ghcr.io/acme/app:2", 20, &build("2"));
        shelf.write();
        let run = shelf
            .call(["-a", "-n", "--keep-last", "1"])
            .args(args)
            .run();
        assert_eq!(run.ok().stderr, "", "{}", run.all());
    }
}

#[test]
fn with_several_layouts_only_patterns_that_match_nowhere_are_reported() {
    let (one, mut two) = (mirror(), TestLayout::new());
    two.small("tool:1", 10);
    two.small("tool:2", 5);
    two.write();
    let call = |args: &[&str]| {
        let run = one
            .call(["-a", "-n", "-q", "--allow-empty"])
            .arg(two.path())
            .args(args)
            .run();
        run.ok().stderr.clone()
    };
    assert_eq!(call(&["--keep", "tool:*", "--keep", "**/app:*"]), "");
    let said = call(&["--keep", "tool:*", "--keep", "*:3", "--keep", "none"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        [
            &format!("{KEEP_NOTHING}*:3`"),
            "hint: `*` stops at `/`; `--keep '**:3'` does not",
            &format!("{KEEP_NOTHING}none`"),
        ]
    );
}

#[test]
fn a_list_that_is_empty_or_stops_at_a_slash_is_reported() {
    let shelf = mirror();
    let list = shelf.layout.outside().join("list");
    let path = list.to_str().expect("paths of the tests are UTF-8");
    fs::write(&list, "# nothing yet\n").expect("the list can be written");
    let run = shelf
        .call(["-n", "-q", "--allow-empty", "--keep-from", path])
        .run();
    run.ok().warns("the list of `--keep-from` has no line");
    fs::write(&list, "*:3\n").expect("the list can be written");
    let run = shelf
        .call(["-n", "-q", "--allow-empty", "--keep-from", path])
        .run();
    run.ok()
        .warns("the `--keep-from` entry `*:3` matches no image")
        .warns("'**:3'");
}

#[test]
fn unmatched_patterns_are_reported_even_if_the_prune_is_refused() {
    let shelf = mirror();
    let run = shelf.refuses(&["-a", "-q", "--keep", "*:1-lts"], 3);
    run.warns(KEEP_NOTHING).warns("--allow-empty");
}

#[test]
fn a_pattern_of_rm_that_stops_at_a_slash_is_reported() {
    let shelf = mirror();
    let hint = |pattern: &str| {
        let run = Cmd::new(["rm", "-n"]).arg(shelf.path()).arg(pattern).run();
        run.exits(1);
        let hint = run
            .stderr
            .lines()
            .find_map(|line| line.strip_prefix("hint: "));
        hint.unwrap_or_default().to_owned()
    };
    assert_eq!(hint("*"), "`*` stops at `/`; '**' does not");
    assert_eq!(hint("app:*"), "`*` stops at `/`; '**/app:*' does not");
    assert!(
        hint("none:*").starts_with("`ocisweep ls "),
        "{}",
        hint("none:*")
    );
    let run = Cmd::new(["hold", "add", "--now", NOW])
        .arg(shelf.path())
        .args(["release", "*:3"])
        .run();
    run.exits(1).warns("'**:3'");
}

/// The example of the help protects something on a mirror.
#[test]
fn the_example_of_the_help_keeps_the_described_images() {
    let help = Cmd::new(["prune", "--help"]).run();
    help.ok().says("--keep '**:*-lts'");
    let pruned = mirror().prune(&["-a", "--keep-last", "1", "--keep", "**:*-lts"]);
    pruned
        .ok()
        .leaves(&["ghcr.io/acme/app:1-lts", "ghcr.io/acme/app:3"]);
    assert_eq!(pruned.run.stderr, "", "{}", pruned.run.all());
}
