//! Several arguments: one state for all of them, one write, errors at the end, and exit statuses as in docker. IDs of images
//! with several names.

use crate::support::removed::{assert_entries, assert_output, bare, rm};
use crate::support::run::new_command;
use crate::support::{Desc, Image, LayoutBuilder, assert_same, snapshot};

/// Images `alpha`, `bravo` and `charlie`, each under its own names.
struct Three {
    layout: LayoutBuilder,
    alpha: Image,
    bravo: Image,
    charlie: Image,
}

fn three(of_alpha: &[&str]) -> Three {
    let mut layout = LayoutBuilder::new();
    let alpha = layout.image("linux/amd64", "alpha", &[b"alpha"]);
    let bravo = layout.image("linux/amd64", "bravo", &[b"bravo"]);
    let charlie = layout.image("linux/amd64", "charlie", &[b"charlie"]);
    for name in of_alpha {
        layout.tag(&alpha.manifest, name);
    }
    layout
        .tag(&bravo.manifest, "bravo:1")
        .tag(&charlie.manifest, "charlie:1")
        .write();
    Three {
        layout,
        alpha,
        bravo,
        charlie,
    }
}

#[test]
fn failures_do_not_stop_the_others_and_are_reported_last() {
    let Three {
        layout,
        alpha,
        bravo,
        charlie,
    } = three(&["alpha:1"]);
    let run = rm(
        &layout,
        &["charlie:1", "nosuch:1", "alpha:1", "Bad:1", "bravo:1"],
    );
    run.exits(1);
    let errors: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| !line.starts_with("hint: "))
        .collect();
    assert_eq!(
        errors,
        [
            "ocisweep: No such image: nosuch:1",
            "ocisweep: invalid reference format: repository name (library/Bad) must be lowercase: `Bad:1`",
        ],
        "{}",
        run.all()
    );
    // Names in byte order, images in the order of the arguments.
    let gone = [charlie.parts(), alpha.parts(), bravo.parts()].concat();
    assert_output(&run, &["alpha:1", "bravo:1", "charlie:1"], &gone);
    assert_entries(&layout, &[], &run);
}

#[test]
fn errors_follow_results_if_both_streams_are_one() {
    let Three { layout, .. } = three(&["alpha:1"]);
    let command = format!(
        "exec {} rm {} nosuch:1 alpha:1 2>&1",
        env!("CARGO_BIN_EXE_ocisweep"),
        layout.path().display()
    );
    let output = new_command("sh")
        .args(["-c", &command])
        .output()
        .expect("a shell can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let place = |what: &str| {
        text.find(what)
            .unwrap_or_else(|| panic!("no {what}\n{text}"))
    };
    assert!(
        place("Total reclaimed space") < place("No such image"),
        "{text}"
    );
}

#[test]
fn force_ignores_only_missing_images() {
    // The images that are also removed; the report; the exit status with and without force.
    let conflict = "conflict: unable to delete";
    let cases: [(&[&str], &[&str], i32, i32); 7] = [
        (&["nosuch:1"], &["No such image: nosuch:1"], 1, 0),
        (
            &["nosuch", "deadbeef1234", "no*"],
            &[
                "No such image: nosuch:latest",
                "No such image: deadbeef1234:latest",
                "No such image: no name matches `no*`",
            ],
            1,
            0,
        ),
        (&["bravo:1", "nosuch:1"], &["No such image: nosuch:1"], 1, 0),
        (
            &["nosuch:1", "Bad:1"],
            &["No such image: nosuch:1", "must be lowercase"],
            1,
            1,
        ),
        (&["nosuch:1", ""], &["image name cannot be blank"], 1, 1),
        (
            &["nosuch:1", "["],
            &["No such image: nosuch:1", "invalid pattern"],
            1,
            1,
        ),
        (&["1", "nosuch:1"], &["No such image: 1:latest"], 1, 0),
    ];
    for (arguments, said, without, with) in cases {
        for (force, code) in [(None, without), (Some("-f"), with)] {
            let Three { layout, .. } = three(&["alpha:1"]);
            let all: Vec<&str> = force.into_iter().chain(arguments.iter().copied()).collect();
            let run = rm(&layout, &all);
            run.exits(code);
            for text in said {
                run.warns(text);
            }
            assert!(!run.stderr.contains(conflict), "{}", run.all());
        }
    }
}

#[test]
fn a_repeated_argument_counts_once() {
    // docker reports the second one as missing.
    for arguments in [
        vec!["alpha:1", "alpha:1"],
        vec!["alpha:1", "docker.io/library/alpha:1", "alpha:*", "alpha:1"],
        vec!["-f", "alpha:1", "alpha:1"],
    ] {
        let Three { layout, alpha, .. } = three(&["alpha:1"]);
        let run = rm(&layout, &arguments);
        run.ok();
        assert_output(&run, &["alpha:1"], &alpha.parts());
        assert_eq!(run.stderr, "", "{}", run.all());
    }
    let Three { layout, alpha, .. } = three(&["alpha:1"]);
    let id = alpha.manifest.short().to_owned();
    let digest = alpha.manifest.digest.clone();
    let run = rm(&layout, &[&id, "alpha:1", &digest, &id, "@0"]);
    run.ok();
    assert_output(&run, &["alpha:1"], &alpha.parts());

    let Three { layout, .. } = three(&["alpha:1"]);
    let run = rm(&layout, &["nosuch", "nosuch", "nosuch:latest"]);
    run.exits(1);
    let count = run.stderr.matches("No such image: nosuch:latest").count();
    assert_eq!(count, 1, "{}", run.all());
}

#[test]
fn an_id_with_several_names_is_a_conflict_that_lists_them() {
    let names = ["alpha:1", "zulu:7", "acme/mid:3"];
    let Three { layout, alpha, .. } = three(&names);
    let id = alpha.manifest.short().to_owned();
    let before = snapshot(layout.path());
    for argument in [&id, &alpha.manifest.digest, &format!("sha256:{id}")] {
        let run = rm(&layout, &[argument]);
        run.exits(1).one_error_with_hint();
        // docker reports "in multiple repositories", and does not list them.
        let line = format!(
            "ocisweep: conflict: unable to delete {id} (must be forced) - image is referenced by 3 names: acme/mid:3, alpha:1, zulu:7"
        );
        assert_eq!(
            run.stderr.lines().next(),
            Some(line.as_str()),
            "{}",
            run.all()
        );
        assert_eq!(run.stdout, "", "{}", run.all());
        assert_same(&before, &snapshot(layout.path()), &run.all());
    }
    let run = rm(&layout, &["-f", &id]);
    run.ok();
    assert_output(&run, &["acme/mid:3", "alpha:1", "zulu:7"], &alpha.parts());
}

#[test]
fn two_tags_of_one_repository_are_two_names_as_well() {
    let Three { layout, alpha, .. } = three(&["alpha:1", "alpha:2"]);
    let id = alpha.manifest.short();
    rm(&layout, &[id])
        .exits(1)
        .warns("(must be forced) - image is referenced by 2 names: alpha:1, alpha:2\n");
}

#[test]
fn all_arguments_see_the_same_state() {
    // docker processes one argument after another, so the result depends on the order.
    let Three { alpha, .. } = three(&[]);
    let id = alpha.manifest.short().to_owned();
    for arguments in [["alpha:2", id.as_str()], [&id, "alpha:2"]] {
        let Three {
            layout,
            alpha,
            bravo,
            charlie,
        } = three(&["alpha:1", "alpha:2"]);
        let run = rm(&layout, &arguments);
        run.exits(1)
            .warns("image is referenced by 2 names: alpha:1, alpha:2");
        assert_output(&run, &["alpha:2"], &[]);
        layout.assert_has(alpha.parts(), &run);
        let left: [Desc; 3] = [
            alpha.manifest.tagged("alpha:1"),
            bravo.manifest.tagged("bravo:1"),
            charlie.manifest.tagged("charlie:1"),
        ];
        assert_entries(&layout, &left, &run);
    }
    // All of the names together are not a conflict, in any order.
    for arguments in [
        vec!["alpha:1", "alpha:2"],
        vec!["alpha:2", "alpha:1", &id],
        vec!["alpha:*", &id],
        vec!["-f", "alpha:1", &id],
    ] {
        let Three { layout, alpha, .. } = three(&["alpha:1", "alpha:2"]);
        let run = rm(&layout, &arguments);
        run.ok();
        assert_output(&run, &["alpha:1", "alpha:2"], &alpha.parts());
    }
}

#[test]
fn force_on_one_of_several_names_removes_only_that_one() {
    let Three { layout, alpha, .. } = three(&["alpha:1", "alpha:2"]);
    let run = rm(&layout, &["-f", "alpha:2"]);
    run.ok();
    assert_output(&run, &["alpha:2"], &[]);
    layout.assert_has(alpha.parts(), &run);
}

#[test]
fn the_aliases_do_the_same_and_no_argument_is_a_usage_error() {
    for alias in ["rm", "rmi", "remove"] {
        let Three { layout, alpha, .. } = three(&["alpha:1"]);
        let run = crate::support::Cmd::new([alias])
            .arg(layout.path())
            .arg("alpha:1")
            .run();
        run.ok();
        assert_output(&run, &["alpha:1"], &alpha.parts());
    }
    let Three { layout, .. } = three(&["alpha:1"]);
    let before = snapshot(layout.path());
    for arguments in [&[][..], &["--bogus", "alpha:1"], &["alpha:1", "--platform"]] {
        let run = bare(layout.path(), arguments).run();
        run.exits(2);
        assert_same(&before, &snapshot(layout.path()), &run.all());
    }
}
