//! Colours, widths, and readers that go away.

use std::process::{Command, Output, Stdio};

use crate::cli::shelf::{NOW, Shelf};
use crate::support::Run;

/// Runs a line of shell in the directory of a shelf, with `$OCISWEEP` for the program.
fn shell(shelf: &Shelf, line: &str, environment: &[(&str, &str)]) -> Run {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    run(command, shelf, line, environment)
}

/// Runs a line of shell on a terminal; `None` where nothing can make one.
fn on_terminal(shelf: &Shelf, line: &str, environment: &[(&str, &str)]) -> Option<Run> {
    if !is_there("script") {
        skip("no `script` on PATH, so there is no terminal to write to");
        return None;
    }
    let mut command = Command::new("script");
    command.args(["-qec", line, "/dev/null"]);
    let mut run = run(command, shelf, line, environment);
    // A terminal has its own line ends.
    run.stdout = run.stdout.replace("\r\n", "\n");
    Some(run)
}

fn run(mut command: Command, shelf: &Shelf, line: &str, environment: &[(&str, &str)]) -> Run {
    let program = format!("'{}' --now {NOW}", env!("CARGO_BIN_EXE_ocisweep"));
    command
        .current_dir(shelf.path())
        .env("OCISWEEP", program)
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .env_remove("COLUMNS")
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    let output = command.output().expect("the command can be started");
    Run {
        line: line.to_owned(),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Says why a test did not run.
#[expect(
    clippy::print_stderr,
    reason = "a test that is skipped in silence looks like one that passed"
)]
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

/// Makes escape sequences visible.
fn visible(mut run: Run) -> Run {
    run.stdout = run.stdout.replace('\u{1b}', "^[");
    run
}

#[test]
fn colours_are_for_terminals_and_for_who_asks_for_them() {
    let mut shelf = Shelf::new(&["ctr-export"]);
    let tree = |flags: &str| format!("eval $OCISWEEP {flags} ls --tree ctr-export");
    for (flags, environment) in [
        ("", &[][..]),
        ("--color always", &[]),
        ("--color always", &[("NO_COLOR", "1")]),
        ("--color never", &[]),
    ] {
        let run = shell(&shelf, &tree(flags), environment);
        let is_coloured = flags.ends_with("always");
        assert_eq!(run.stdout.contains('\u{1b}'), is_coloured, "{}", run.all());
    }
    let coloured = visible(shell(&shelf, &tree("--color always"), &[]));
    shelf.note("ocisweep --color always ls --tree ctr-export", &coloured);
    for (environment, flags, is_coloured) in [
        (&[][..], "", true),
        (&[("NO_COLOR", "1")], "", false),
        (&[("NO_COLOR", "")], "", true),
        (&[("TERM", "dumb")], "", false),
        (&[("NO_COLOR", "1")], "--color always", true),
        (&[], "--color never", false),
    ] {
        let Some(run) = on_terminal(&shelf, &tree(flags), environment) else {
            break;
        };
        assert_eq!(
            run.stdout.contains('\u{1b}'),
            is_coloured,
            "{environment:?} {flags}\n{}",
            run.all()
        );
    }
    shelf.matches("colours");
}

#[test]
fn colours_never_carry_what_the_text_does_not() {
    let shelf = Shelf::new(&["ctr-export"]);
    let line = "eval $OCISWEEP --color always ls --tree ctr-export";
    let mut coloured = shell(&shelf, line, &[]).stdout;
    for sequence in ["\u{1b}[2m", "\u{1b}[0m"] {
        coloured = coloured.replace(sequence, "");
    }
    let plain = shell(&shelf, &line.replace("always", "never"), &[]).stdout;
    assert_eq!(coloured, plain);
}

#[test]
fn names_are_cut_on_narrow_terminals_and_nowhere_else() {
    let mut shelf = Shelf::new(&["regctl", "docker-classic-save"]);
    for command in [
        "ls docker-classic-save",
        "ls regctl",
        "ls --tree regctl",
        "df -v docker-classic-save",
    ] {
        let line = format!("eval $OCISWEEP {command}");
        let piped = shell(&shelf, &line, &[("COLUMNS", "40")]);
        assert!(
            !piped.stdout.contains('…'),
            "a pipe has no width\n{}",
            piped.all()
        );
        for columns in ["80", "40"] {
            let Some(run) = on_terminal(&shelf, &line, &[("COLUMNS", columns)]) else {
                return;
            };
            run.ok();
            shelf.note(&format!("COLUMNS={columns} ocisweep {command}"), &run);
        }
    }
    shelf.matches("narrow");
}

#[test]
fn prune_asks_on_a_terminal_and_takes_only_yes_for_yes() {
    let mut shelf = Shelf::new(&["oras-retag", "docker-classic-save"]);
    if !is_there("script") {
        skip("no `script` on PATH, so nobody can be asked");
        return;
    }
    // Without echo: where the terminal would show what is typed depends on who comes first.
    let ask = |answer: &str, args: &str| {
        let prune = format!("stty -echo; $OCISWEEP prune {args}");
        format!("(sleep 0.2; printf '{answer}') | script -qec \"{prune}\" /dev/null")
    };
    for (answer, args) in [
        (r"n\n", "oras-retag"),
        (r"\n", "oras-retag"),
        (r"maybe\n", "oras-retag"),
        (r"\004", "oras-retag"),
        (r"n\n", "-a --allow-empty docker-classic-save"),
        (r"n\n", "-a --max-size 20kB docker-classic-save"),
        (r"YES\n", "oras-retag"),
    ] {
        let mut run = shell(&shelf, &ask(answer, args), &[]);
        run.ok();
        run.stdout = run.stdout.replace("\r\n", "\n");
        let start = run.stdout.find("WARNING!").expect("there is a question");
        run.stdout.replace_range(..start, "");
        shelf.note(&format!("printf '{answer}' | ocisweep prune {args}"), &run);
    }
    shelf.matches("question");
}

/// Runs the program with a standard output that nobody reads any more.
fn unread(shelf: &Shelf, args: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    drop(reader);
    Command::new(env!("CARGO_BIN_EXE_ocisweep"))
        .args(["--now", NOW])
        .args(args)
        .current_dir(shelf.path())
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("the program can be started")
}

#[test]
fn a_reader_that_goes_away_ends_a_list_quietly() {
    let shelf = Shelf::new(&["regctl"]);
    let line = "{ eval $OCISWEEP ls regctl; echo \"code $?\" >&2; } | head -n 1";
    let run = shell(&shelf, line, &[]);
    assert_eq!(run.stderr, "code 0\n", "{}", run.all());
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.all());
    for args in [
        &["ls", "regctl"][..],
        &["ls", "--tree", "regctl"],
        &["ls", "--format", "json", "regctl"],
        &["df", "regctl"],
    ] {
        let output = unread(&shelf, args);
        let talk = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*talk), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn a_sweep_that_nobody_watches_is_finished_and_says_so() {
    let shelf = Shelf::new(&["bkcache-max"]);
    let output = unread(&shelf, &["gc", "bkcache-max"]);
    let talk = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*talk), (Some(1), ""));
    let again = shelf.cmd(&["gc", "bkcache-max"]).run();
    again.ok().ends_with_line("Total reclaimed space: 0B");
}
