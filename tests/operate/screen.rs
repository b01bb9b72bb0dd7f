//! Lists on a terminal are no longer than its screen; in a pipe they are complete.

use std::ffi::OsStr;
use std::path::Path;

use crate::support::environment::{Terminal, shell_line};
use crate::support::{Cmd, Run, TestDir, TestLayout, for_each};

const ORPHANS: usize = 1200;

/// `app:1`, and more than a thousand orphans.
fn heap() -> TestLayout {
    let mut heap = TestLayout::new();
    heap.small("app:1", 10);
    for number in 0..ORPHANS {
        heap.layout.layer(format!("orphan {number}").as_bytes());
    }
    heap.write();
    heap
}

fn on_terminal(rows: usize, args: &[&str], layout: &Path) -> Option<Run> {
    let words = args.iter().map(OsStr::new).chain([layout.as_os_str()]);
    let line = format!(
        "stty cols 200 rows {rows} -echo; exec {}",
        shell_line(words)
    );
    Some(Terminal::start(&line, Path::new("."), &[])?.answer(""))
}

#[test]
fn a_terminal_gets_a_screenful_and_a_pipe_everything() {
    let commands: [&[&str]; 4] = [
        &["gc", "-n", "--grace", "0"],
        &["prune", "-n", "--grace", "0"],
        &["gc", "--grace", "0"],
        &["prune", "-f", "--grace", "0", "--trash"],
    ];
    for_each(
        commands,
        |args| args.join(" "),
        |args| {
            for rows in [24, 60] {
                let heap = heap();
                let Some(run) = on_terminal(rows, args, heap.path()) else {
                    return;
                };
                let lines = run.ok().stdout.lines().count();
                assert!(lines < rows && lines > rows / 2, "{rows}: {}", run.all());
                let shown = run.stdout.lines().filter(|line| line.contains("sha256:"));
                let more = ORPHANS - shown.count();
                let (thousands, rest) = (more / 1000, more % 1000);
                run.says(&format!(
                    "… and {thousands},{rest:03} more; `-v` shows all\n"
                ));
            }
            let heap = heap();
            let words = args.iter().map(OsStr::new).chain([heap.path().as_os_str()]);
            let run = Cmd::new(words).run();
            let lines = run
                .ok()
                .stdout
                .lines()
                .filter(|line| line.contains("sha256:"));
            assert_eq!(lines.count(), ORPHANS);
            run.keeps_quiet_about("more;");
        },
    );
}

#[test]
fn verbose_shows_all_on_a_terminal_too() {
    let heap = heap();
    for args in [
        &["gc", "-n", "-v", "--grace", "0"][..],
        &["prune", "-n", "-v", "--grace", "0"],
    ] {
        let Some(run) = on_terminal(24, args, heap.path()) else {
            return;
        };
        let lines = run
            .ok()
            .stdout
            .lines()
            .filter(|line| line.contains("sha256:"));
        assert_eq!(lines.count(), ORPHANS, "{args:?}");
    }
    // JSON is for programs, wherever it is printed.
    let json = ["gc", "-n", "--grace", "0", "--format", "json"];
    let run = on_terminal(24, &json, heap.path()).expect("there is a terminal");
    assert_eq!(run.json()["totals"]["blobs"], ORPHANS);
}

/// An error comes after the list, and not between its last line and the number of omitted lines.
#[test]
fn a_missed_budget_is_reported_after_the_list() {
    let heap = heap();
    let args = ["prune", "-n", "-a", "--grace", "0", "--max-size", "1B"];
    let Some(run) = on_terminal(24, &args, heap.path()) else {
        return;
    };
    run.exits(5)
        .says("more; `-v` shows all\nocisweep: cannot reduce");
}

#[test]
fn names_and_several_layouts_share_one_screen() {
    let tree = TestDir::new();
    for name in ["a", "b", "c"] {
        let (layout, _) = tree.layout(name);
        for number in 0..40 {
            layout.layer(format!("{name} {number}").as_bytes());
        }
    }
    let args = ["gc", "-n", "--grace", "0", "-r"];
    let Some(run) = on_terminal(24, &args, tree.path()) else {
        return;
    };
    let lines = run.ok().stdout.lines().count();
    assert!(lines <= 24, "{}", run.all());
    assert_eq!(run.stdout.matches("more; `-v` shows all").count(), 1);
    let mut shelf = TestLayout::new();
    for number in 0..100 {
        shelf.small(&format!("app:{number}"), number);
    }
    shelf.write();
    let words = ["rm", "-n"].map(OsStr::new).into_iter();
    let words = words.chain([shelf.path().as_os_str(), OsStr::new("app:*")]);
    let line = format!("stty cols 200 rows 24 -echo; exec {}", shell_line(words));
    let terminal = Terminal::start(&line, Path::new("."), &[]).expect("there is a terminal");
    let run = terminal.answer("");
    run.ok().says("more; `-v` shows all");
    assert!(run.stdout.lines().count() < 24, "{}", run.all());
}
