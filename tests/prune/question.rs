//! The confirmation before a prune: what is removed and how many bytes, then `y` or nothing.

use crate::support::dated::NOW;
use crate::support::environment::Terminal;
use crate::support::{ImageBuilder, Run, TestLayout, assert_same, for_each, listed, snapshot};

const QUESTION: &str = "Are you sure you want to continue? [y/N] ";

/// `app:1` and two images without a name.
fn shelf() -> TestLayout {
    let mut shelf = TestLayout::new();
    shelf.named("app:1", 10, &ImageBuilder::new("app").weighs(5000));
    shelf.untagged(20, &ImageBuilder::new("old").weighs(3000));
    shelf.untagged(30, &ImageBuilder::new("older").weighs(2000));
    shelf.write();
    shelf
}

fn write(shelf: &TestLayout) {
    shelf.write();
}

#[track_caller]
fn ask(shelf: &TestLayout, args: &[&str], answer: &str) -> Option<Run> {
    answered(call(&[shelf], args), "", answer)
}

fn call(shelves: &[&TestLayout], args: &[&str]) -> Vec<String> {
    let mut words = vec!["prune".to_owned(), "--now".to_owned(), NOW.to_owned()];
    for shelf in shelves {
        let path = shelf.path().to_str().expect("paths of the tests are UTF-8");
        words.push(path.to_owned());
    }
    words.extend(args.iter().map(|arg| (*arg).to_owned()));
    words
}

/// Runs the program on a terminal, with a redirection of the shell behind it, and types an answer.
fn answered(args: Vec<String>, redirection: &str, answer: &str) -> Option<Run> {
    Some(Terminal::program(args, redirection)?.answer(answer))
}

/// Types yes only after the confirmation is on the terminal and `change` was run.
fn when_asked(args: Vec<String>, change: impl FnOnce()) -> Option<Run> {
    let terminal = Terminal::program(args, "")?.wait_for_question();
    change();
    Some(terminal.answer("y\n"))
}

#[test]
fn only_y_and_yes_confirm() {
    let answers = [
        ("y\n", true),
        ("yes\n", true),
        ("Y\n", true),
        ("YES\n", true),
        ("  y  \n", true),
        ("n\n", false),
        ("no\n", false),
        ("\n", false),
        ("", false),
        ("ye\n", false),
        ("yess\n", false),
        ("j\n", false),
        ("maybe y\n", false),
        ("n\ny\n", false),
    ];
    for_each(
        answers,
        |(answer, _)| format!("{answer:?}"),
        |(answer, is_yes)| {
            let shelf = shelf();
            let before = snapshot(shelf.path());
            let Some(run) = ask(&shelf, &[], answer) else {
                return;
            };
            run.ok().says(QUESTION);
            assert_eq!(
                run.stdout.matches(QUESTION).count(),
                1,
                "asked once\n{}",
                run.all()
            );
            if *is_yes {
                run.says("Total reclaimed space:");
                assert_eq!(listed(shelf.path()).len(), 1, "{}", run.all());
            } else {
                run.keeps_quiet_about("Total reclaimed space:")
                    .says("nothing was changed");
                assert_same(&before, &snapshot(shelf.path()), &run.all());
            }
        },
    );
}

#[test]
fn removals_are_shown_with_their_bytes_before_the_confirmation() {
    let shelf = shelf();
    let dry = shelf.call(["-n", "--format", "json"]).run();
    let bytes = dry.ok().json()["totals"]["reclaimed_bytes"]
        .as_u64()
        .expect("a number");
    let Some(run) = ask(&shelf, &[], "\n") else {
        return;
    };
    let (shown, _) = run.stdout.split_once(QUESTION).expect("it asks");
    for verdict in crate::support::verdicts(&dry)
        .iter()
        .filter(|verdict| verdict.goes)
    {
        let id = verdict.digest.get(7..19).expect("a digest is long");
        assert!(shown.contains(id), "{id} is not shown\n{}", run.all());
    }
    let size = format!("{}.{:03}kB", bytes / 1000, bytes % 1000);
    assert!(shown.contains(&size), "{size} is not shown\n{}", run.all());
    assert!(shown.contains("2 images"), "{}", run.all());
    assert!(
        !shown.contains("app:1"),
        "a kept image is shown\n{}",
        run.all()
    );
}

#[test]
fn names_filters_and_budget_are_shown() {
    let shelf = shelf();
    let args = [
        "-a",
        "--filter",
        "reference=app",
        "--max-size",
        "1kB",
        "--allow-empty",
    ];
    let Some(run) = ask(&shelf, &args, "\n") else {
        return;
    };
    run.says("app:1")
        .says("reference=app")
        .says("1kB")
        .says(QUESTION);
}

#[test]
fn all_without_rules_warns_that_everything_is_removed() {
    let shelf = shelf();
    let Some(run) = ask(&shelf, &["-a", "--allow-empty"], "n\n") else {
        return;
    };
    run.ok().says("every image").says(QUESTION);
    for args in [
        &["-a", "--allow-empty", "--keep", "x"][..],
        &["-a", "--allow-empty", "--filter", "until=1h"],
        &["-a", "--allow-empty", "--keep-last", "0"],
        &[],
    ] {
        let Some(run) = ask(&shelf, args, "n\n") else {
            return;
        };
        run.ok().keeps_quiet_about("every image").says(QUESTION);
    }
}

#[test]
fn orphans_alone_are_counted_and_not_listed() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 5);
    for salt in ["a", "b", "c"] {
        shelf.layout.layer(salt.as_bytes());
    }
    shelf.write();
    let Some(run) = ask(&shelf, &[], "y\n") else {
        return;
    };
    run.ok()
        .says("3 blobs")
        .says(QUESTION)
        .says("Total reclaimed space: 3B");
}

#[test]
fn the_list_of_many_images_is_shortened() {
    let mut shelf = TestLayout::new();
    for number in 0..60 {
        shelf.small(&format!("app:{number}"), 5);
    }
    shelf.write();
    let Some(run) = ask(&shelf, &["-a", "--keep-last", "1"], "n\n") else {
        return;
    };
    run.ok().says("59 images").says("more");
    assert!(run.stdout.lines().count() < 60, "{}", run.all());
}

#[test]
fn no_confirmation_if_nothing_is_removed() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 5);
    shelf.write();
    let Some(run) = ask(&shelf, &[], "") else {
        return;
    };
    run.ok()
        .keeps_quiet_about("[y/N]")
        .says("Total reclaimed space: 0B");
    // A budget that cannot be reached is still reported.
    let Some(run) = ask(&shelf, &["--max-size", "1B"], "") else {
        return;
    };
    run.exits(5).keeps_quiet_about("[y/N]");
}

#[test]
fn a_refusal_is_printed_once_before_any_confirmation() {
    let shelf = shelf();
    let before = snapshot(shelf.path());
    let Some(run) = ask(&shelf, &["-a"], "y\n") else {
        return;
    };
    run.exits(3).keeps_quiet_about("[y/N]");
    assert_eq!(
        run.stdout.matches("--allow-empty").count(),
        1,
        "said once\n{}",
        run.all()
    );
    assert_same(&before, &snapshot(shelf.path()), &run.all());
}

#[test]
fn several_layouts_have_one_confirmation_and_a_bad_one_is_reported_once() {
    let (one, two, bad) = (shelf(), shelf(), shelf());
    bad.layout.file("index.json", b"{ half");
    let Some(run) = answered(call(&[&one, &bad, &two], &[]), "", "y\n") else {
        return;
    };
    assert_eq!(run.stdout.matches(QUESTION).count(), 1, "{}", run.all());
    let complaints = run
        .stdout
        .lines()
        .filter(|line| line.starts_with("ocisweep: cannot"));
    assert_eq!(complaints.count(), 1, "{}", run.all());
    assert_ne!(run.code, Some(0), "{}", run.all());
    for shelf in [&one, &two] {
        assert_eq!(listed(shelf.path()).len(), 1, "{}", run.all());
    }
    // After `no`, the error was still printed, and the exit status reports it.
    let (one, before) = (shelf(), snapshot(bad.path()));
    let picture = snapshot(one.path());
    let Some(run) = answered(call(&[&one, &bad], &[]), "", "n\n") else {
        return;
    };
    assert_ne!(
        run.code,
        Some(0),
        "the bad layout is forgotten\n{}",
        run.all()
    );
    assert_same(&picture, &snapshot(one.path()), &run.all());
    assert_same(&before, &snapshot(bad.path()), &run.all());
}

#[test]
fn an_invisible_confirmation_is_refused() {
    let shelf = shelf();
    let before = snapshot(shelf.path());
    let Some(run) = answered(call(&[&shelf], &[]), ">/dev/full", "y\n") else {
        return;
    };
    run.exits(4);
    assert_same(&before, &snapshot(shelf.path()), &run.all());
}

/// Yes confirms what was shown, not the state at the time of the answer.
#[test]
fn images_added_during_the_confirmation_are_kept() {
    let mut shelf = shelf();
    let words = call(&[&shelf], &[]);
    let image = ImageBuilder::new("meanwhile")
        .layer(b"meanwhile")
        .store(&shelf.layout);
    shelf.layout.entry(&image.manifest);
    shelf.added(&image.manifest, 40);
    let Some(run) = when_asked(words.clone(), || write(&shelf)) else {
        return;
    };
    run.refused().says(QUESTION);
    assert_eq!(listed(shelf.path()).len(), 4, "nothing went\n{}", run.all());
    assert!(shelf.has_all(&image), "{}", run.all());
    // After another confirmation with the complete list, it is removed.
    let Some(run) = when_asked(words, || {}) else {
        return;
    };
    run.ok().says("3 images");
    assert_eq!(listed(shelf.path()).len(), 1, "{}", run.all());
}

/// If an image was to lose one of its names, its last name and the image are not removed.
#[test]
fn an_image_that_was_to_keep_a_name_is_not_removed() {
    let mut shelf = TestLayout::new();
    shelf.small("base:1", 10);
    let image = shelf.small("app:1", 20);
    shelf.layout.tag(&image.manifest, "app:stays");
    shelf.write();
    let words = call(&[&shelf], &["--all", "--filter", "reference=app:1"]);
    let mut fewer = None;
    let Some(run) = when_asked(words, || {
        let index = std::fs::read_to_string(shelf.path().join("index.json")).expect("it is there");
        let mut index: serde_json::Value = serde_json::from_str(&index).expect("it is JSON");
        let entries = index["manifests"].as_array_mut().expect("a list");
        let before = entries.len();
        entries.retain(|entry| !entry.to_string().contains("app:stays"));
        assert_eq!(entries.len(), before - 1);
        shelf
            .layout
            .file("index.json", index.to_string().as_bytes());
        fewer = Some(snapshot(shelf.path()));
    }) else {
        return;
    };
    run.refused().says("1 name").says("than was confirmed");
    let fewer = fewer.expect("the question came");
    assert_same(&fewer, &snapshot(shelf.path()), &run.all());
    assert!(shelf.has_all(&image), "{}", run.all());
}

/// A name that an image gets during the confirmation was not shown.
#[test]
fn a_name_added_during_the_confirmation_is_kept() {
    let mut shelf = TestLayout::new();
    shelf.small("base:1", 10);
    let image = shelf.small("app:1", 20);
    shelf.write();
    let words = call(&[&shelf], &["--all", "--keep", "base:*"]);
    let Some(run) = when_asked(words.clone(), || {
        shelf.layout.tag(&image.manifest, "release:1");
        write(&shelf);
    }) else {
        return;
    };
    run.refused().says(QUESTION).says("than was confirmed");
    assert_eq!(listed(shelf.path()).len(), 3, "{}", run.all());
    assert!(shelf.has_all(&image), "{}", run.all());
    let Some(run) = when_asked(words, || {}) else {
        return;
    };
    run.ok().says("release:1");
    assert_eq!(listed(shelf.path()).len(), 1, "{}", run.all());
}

/// Each layout has its own list: removing an image from one of them is not confirmed for the others.
#[test]
fn images_confirmed_for_one_layout_are_kept_in_another() {
    let build = ImageBuilder::new("elsewhere").layer(b"elsewhere");
    let (mut one, mut two) = (shelf(), shelf());
    one.untagged(40, &build);
    one.write();
    let mut three = TestLayout::new();
    three.small("app:1", 10);
    three.write();
    let words = call(&[&one, &two, &three], &[]);
    let mut pictures = Vec::new();
    let Some(run) = when_asked(words, || {
        for shelf in [&mut two, &mut three] {
            shelf.untagged(40, &build);
            shelf.write();
            pictures.push(snapshot(shelf.path()));
        }
    }) else {
        return;
    };
    run.exits(3).says(QUESTION);
    assert_eq!(listed(one.path()).len(), 1, "{}", run.all());
    for (shelf, picture) in [&two, &three].into_iter().zip(&pictures) {
        let error = format!(
            "ocisweep: cannot prune `{}`: more would be removed than was confirmed",
            shelf.path().display()
        );
        assert_eq!(run.stdout.matches(&error).count(), 1, "{}", run.all());
        assert_same(picture, &snapshot(shelf.path()), &run.all());
    }
}

/// A layout that appears, or becomes readable, was not part of the confirmation.
#[test]
fn layouts_that_were_not_part_of_the_confirmation_are_not_pruned() {
    let (one, bad) = (shelf(), shelf());
    let index = std::fs::read(bad.path().join("index.json")).expect("it is there");
    bad.layout.file("index.json", b"{ half");
    let mut before = None;
    let Some(run) = when_asked(call(&[&one, &bad], &[]), || {
        bad.layout.file("index.json", &index);
        before = Some(snapshot(bad.path()));
    }) else {
        return;
    };
    run.exits(3).says(QUESTION);
    assert_eq!(listed(one.path()).len(), 1, "{}", run.all());
    let before = before.expect("it was read");
    assert_same(&before, &snapshot(bad.path()), &run.all());
    let complaints = run.stdout.matches("ocisweep: cannot").count();
    assert_eq!(complaints, 1, "{}", run.all());

    let one = shelf();
    let beside = one.path().join("nested");
    let words = call(&[&one], &["-r"]);
    let run = when_asked(words, || {
        let mut nested = crate::support::LayoutBuilder::at(&beside);
        let image = ImageBuilder::new("nested").store(&nested);
        nested.entry(&image.manifest);
        nested.write();
    });
    let run = run.expect("there is a terminal");
    run.ok();
    assert_eq!(listed(one.path()).len(), 1, "{}", run.all());
    assert_eq!(listed(&beside).len(), 1, "{}", run.all());
}

#[test]
fn without_a_terminal_it_does_not_ask_and_names_the_flag() {
    let shelf = shelf();
    let before = snapshot(shelf.path());
    for input in ["", "y\n", "yes\n"] {
        let run = shelf.call([""; 0]).input(input).run();
        run.exits(2).one_error_with_hint().warns("--force");
        assert_eq!(run.stdout, "", "{}", run.all());
        assert_same(&before, &snapshot(shelf.path()), &run.all());
    }
    // Also if nothing would be removed: whether a script works must not depend on the layout.
    let mut clean = TestLayout::new();
    clean.small("app:1", 5);
    clean.write();
    clean.call([""; 0]).run().exits(2).warns("--force");
    for flag in ["-f", "--force", "--yes"] {
        clean.call([flag]).run().ok();
    }
    for args in [&["-n"][..], &["--dry-run"]] {
        shelf.call(args).run().ok();
    }
    let plan = shelf.layout.outside().join("plan.json");
    shelf.call(["--plan"]).arg(&plan).run().ok();
    assert_same(&before, &snapshot(shelf.path()), "");
}

/// A terminal is needed to answer, not to list.
#[test]
fn with_force_a_terminal_changes_nothing() {
    let shelf = shelf();
    let Some(run) = ask(&shelf, &["-f"], "n\n") else {
        return;
    };
    run.ok()
        .keeps_quiet_about("[y/N]")
        .says("Total reclaimed space:");
    assert_eq!(listed(shelf.path()).len(), 1, "{}", run.all());
}

#[test]
fn hostile_names_do_not_control_the_confirmation() {
    let mut shelf = TestLayout::new();
    shelf.small("app:1", 5);
    shelf.small("evil\u{1b}[2J\u{7}\rName", 6);
    shelf.write();
    let Some(run) = ask(&shelf, &["-a", "--keep", "app:1"], "n\n") else {
        return;
    };
    run.ok().says(QUESTION);
    assert!(
        !run.stdout.contains(['\u{1b}', '\u{7}', '\r']),
        "{:?}",
        run.stdout
    );
}
