//! Ctrl-C at the confirmation, closed pipes, and locks that another process holds.

use std::io::{BufRead as _, BufReader, Read as _};

use crate::support::environment::{Terminal, shell, shell_line};
use crate::support::run::run;
use crate::support::{Cmd, ImageBuilder, LayoutBuilder, TestLayout, assert_same, snapshot};

fn shelf() -> TestLayout {
    let mut shelf = TestLayout::new();
    shelf.named("app:1", 10, &ImageBuilder::new("app").weighs(5000));
    shelf.overwritten("old", 30);
    shelf.write();
    shelf
}

#[test]
fn ctrl_c_at_the_confirmation_ends_immediately_and_changes_nothing() {
    let shelf = shelf();
    let before = snapshot(shelf.path());
    let words = ["prune".as_ref(), shelf.path().as_os_str()];
    let Some(terminal) = Terminal::program(words, "") else {
        return;
    };
    let run = terminal.wait_for_question().answer("\x03");
    run.exits(130).says("nothing was changed");
    assert_same(&before, &snapshot(shelf.path()), &run.all());
}

#[test]
fn a_reader_that_exits_early_ends_a_list_quietly() {
    let mut layout = LayoutBuilder::new();
    let image = layout.image("linux/amd64", "app", &[b"layer"]);
    // More than the capacity of a pipe.
    for number in 0..3000 {
        layout.tag(&image.manifest, &format!("app:{number}"));
    }
    layout.write();
    for list in [
        "ls",
        "ls -q --no-trunc",
        "df -v",
        "blobs --live",
        "ls --format json",
    ] {
        let script = format!(
            "path=$1; shift; {{ \"$@\" {list} \"$path\"; echo \"status $?\" >&2; }} | head -1"
        );
        let run = run(shell(&script, &[layout.path().as_os_str()], [""; 0]));
        assert_eq!(run.stderr, "status 0\n", "{list}");
        assert_eq!(run.stdout.lines().count(), 1, "{list}");
    }
}

#[test]
fn waiting_for_a_lock_names_its_holder() {
    let shelf = shelf();
    let lock = shelf.layout.flock("index.json.lock");
    let words = ["prune", "-f", "--grace", "0", "--lock-wait", "120s"];
    let mut child = Cmd::new(words).arg(shelf.path()).spawn();
    // The lock is held until the message about waiting.
    let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut said = String::new();
    stderr.read_line(&mut said).expect("it says something");
    drop(lock);
    let mut run = crate::support::Run::wait("prune".to_owned(), child);
    stderr.read_to_string(&mut said).expect("it is text");
    run.stderr = said;
    let holder = format!("is locked by process {} (", std::process::id());
    run.ok()
        .warns(&format!("waiting for `{}`", shelf.path().display()))
        .warns(&holder);
    assert_eq!(run.stderr.matches("waiting for").count(), 1);
}

/// The confirmation never scrolls away: it fits on the terminal, however much is removed.
#[test]
fn the_confirmation_fits_on_the_screen_with_reasons_and_clock() {
    let mut shelf = TestLayout::new();
    for number in 0..200 {
        shelf.small(&format!("app:{number}"), 10 + number);
    }
    shelf.write();
    for rows in [24_usize, 50] {
        let words = ["prune", "-a", "--keep-last", "3"].map(std::ffi::OsStr::new);
        let line = shell_line(words.into_iter().chain([shelf.path().as_os_str()]));
        let line = format!("stty cols 200 rows {rows} -echo; exec {line}");
        let here = std::path::Path::new(".");
        let Some(terminal) = Terminal::start(&line, here, &[]) else {
            return;
        };
        let run = terminal.wait_for_question().answer("n\n");
        run.ok()
            .says("WARNING! This will remove 197 images")
            .says("(no hold, filter or rule keeps it)")
            .says("more; `-n -v` lists all")
            .says("Ages: when an image was added to the layout; now is 20");
        let question = run.stdout.split("[y/N]").next().expect("a question");
        let lines = question.lines().count();
        assert!(lines < rows && lines > rows / 2, "{rows}: {}", run.all());
    }
}
