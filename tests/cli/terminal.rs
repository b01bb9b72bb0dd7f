//! Colours, widths, and readers that close the pipe.

use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Output, Stdio};

use crate::support::environment::{NO_PROGRESS, Terminal};
use crate::support::run::{PROGRAM, new_command, run};
use crate::support::test_dir::NOW;
use crate::support::{Run, TestDir};

/// Runs a line of shell in the directory of some layouts, with `$OCISWEEP` for the program.
fn shell(dir: &TestDir, line: &str, environment: &[(&str, &str)]) -> Run {
    let mut command = new_command("sh");
    command
        .args(["-c", line])
        .current_dir(dir.path())
        .env("OCISWEEP", program())
        .env("TERM", "xterm")
        .envs(environment.iter().copied());
    run(command)
}

/// Runs a line of shell on a terminal; `None` where nothing can make one.
fn on_terminal(dir: &TestDir, line: &str, environment: &[(&str, &str)]) -> Option<Run> {
    let program = program();
    let environment = [environment, &[("OCISWEEP", program.as_str())]].concat();
    Some(Terminal::start(line, dir.path(), &environment)?.answer(""))
}

fn program() -> String {
    format!("'{PROGRAM}' {NO_PROGRESS} --now {NOW}")
}

/// Makes escape sequences visible.
fn visible(mut run: Run) -> Run {
    run.stdout = run.stdout.replace('\u{1b}', "^[");
    run
}

#[test]
fn colours_are_for_terminals_and_on_request() {
    let mut dir = TestDir::with_cases(&["ctr-export"]);
    let tree = |flags: &str| format!("eval $OCISWEEP {flags} ls --tree ctr-export");
    for (flags, environment) in [
        ("", &[][..]),
        ("--color always", &[]),
        ("--color always", &[("NO_COLOR", "1")]),
        ("--color never", &[]),
    ] {
        let run = shell(&dir, &tree(flags), environment);
        let is_coloured = flags.ends_with("always");
        assert_eq!(run.stdout.contains('\u{1b}'), is_coloured, "{}", run.all());
    }
    let coloured = visible(shell(&dir, &tree("--color always"), &[]));
    dir.note("ocisweep --color always ls --tree ctr-export", &coloured);
    for (environment, flags, is_coloured) in [
        (&[][..], "", true),
        (&[("NO_COLOR", "1")], "", false),
        (&[("NO_COLOR", "")], "", true),
        (&[("TERM", "dumb")], "", false),
        (&[("NO_COLOR", "1")], "--color always", true),
        (&[], "--color never", false),
    ] {
        let Some(run) = on_terminal(&dir, &tree(flags), environment) else {
            break;
        };
        assert_eq!(
            run.stdout.contains('\u{1b}'),
            is_coloured,
            "{environment:?} {flags}\n{}",
            run.all()
        );
    }
    dir.matches("colours");
}

/// Help follows the same colour rules as everything else, whatever clap reads from the environment.
#[test]
fn help_is_coloured_like_results() {
    let dir = TestDir::new();
    for (environment, flags, is_coloured) in [
        (&[][..], "", true),
        (&[("NO_COLOR", "1")], "", false),
        (&[("TERM", "dumb")], "", false),
        (&[("TERM", "dumb"), ("CI", "true")], "", false),
        (&[("TERM", "dumb"), ("CLICOLOR_FORCE", "1")], "", false),
        (&[("CLICOLOR", "0")], "", true),
        (&[("NO_COLOR", "1")], "--color always", true),
        (&[], "--color never", false),
        (&[], "--color=never", false),
        (&[("TERM", "dumb")], "--color=always", true),
    ] {
        for command in ["gc --help", "help gc", "-h", "image"] {
            let line = format!("'{PROGRAM}' {flags} {command}");
            let Some(run) = on_terminal(&dir, &line, environment) else {
                return;
            };
            let is_right = run.stdout.contains('\u{1b}') == is_coloured;
            assert!(is_right, "{environment:?} {line}\n{}", run.all());
        }
    }
    for (flags, is_coloured) in [("", false), ("--color always", true)] {
        for command in ["gc --help", "help gc", "-h", "image"] {
            let line = format!("'{PROGRAM}' {flags} {command}");
            let run = shell(&dir, &line, &[("CLICOLOR_FORCE", "1")]);
            assert_eq!(run.all().contains('\u{1b}'), is_coloured, "{}", run.all());
        }
    }
}

/// Without arguments the commands are listed, on one screen including the prompt of the shell.
#[test]
fn the_commands_fit_a_screen() {
    let dir = TestDir::new();
    let line = format!("stty cols 80 rows 24; '{PROGRAM}'");
    let Some(run) = on_terminal(&dir, &line, &[("TERM", "dumb"), ("CI", "true")]) else {
        return;
    };
    run.exits(2);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines.len() < 24, "{}", run.all());
    assert!(
        lines.iter().all(|line| line.chars().count() <= 80),
        "{}",
        run.all()
    );
    for command in ["gc", "prune", "completions", "help"] {
        run.says(&format!("\n  {command}  "));
    }
}

#[test]
fn colours_never_carry_meaning_of_their_own() {
    let dir = TestDir::with_cases(&["ctr-export"]);
    let line = "eval $OCISWEEP --color always ls --tree ctr-export";
    let mut coloured = shell(&dir, line, &[]).stdout;
    for sequence in ["\u{1b}[2m", "\u{1b}[0m"] {
        coloured = coloured.replace(sequence, "");
    }
    let plain = shell(&dir, &line.replace("always", "never"), &[]).stdout;
    assert_eq!(coloured, plain);
}

#[test]
fn names_are_cut_on_narrow_terminals_and_nowhere_else() {
    let mut dir = TestDir::with_cases(&["regctl", "docker-classic-save"]);
    for command in [
        "ls docker-classic-save",
        "ls regctl",
        "ls --tree regctl",
        "df -v docker-classic-save",
    ] {
        let line = format!("eval $OCISWEEP {command}");
        let piped = shell(&dir, &line, &[("COLUMNS", "40")]);
        assert!(
            !piped.stdout.contains('…'),
            "a pipe has no width\n{}",
            piped.all()
        );
        for columns in ["80", "40"] {
            let Some(run) = on_terminal(&dir, &line, &[("COLUMNS", columns)]) else {
                return;
            };
            run.ok();
            dir.note(&format!("COLUMNS={columns} ocisweep {command}"), &run);
        }
    }
    dir.matches("narrow");
}

/// The marks are explained on terminals, and `--no-trunc` truncates nothing there.
#[test]
fn a_terminal_gets_a_legend_and_no_trunc_cuts_nothing() {
    let dir = TestDir::with_cases(&["bk-sbom"]);
    let digest = dir
        .run(&["ls", "-q", "--no-trunc", "bk-sbom"])
        .ok()
        .stdout
        .trim()
        .to_owned();
    dir.run(&["hold", "add", "bk-sbom", "release", "ex.com/sbom:v1"])
        .ok();
    for (line, is_tree) in [
        ("ls bk-sbom", false),
        ("ls --tree bk-sbom", true),
        ("df -v bk-sbom", false),
    ] {
        let line = format!("{} {line}", program());
        let Some(run) = on_terminal(&dir, &line, &[("COLUMNS", "100")]) else {
            return;
        };
        let text = visible(run).stdout;
        assert!(
            text.contains("H: held, see `ocisweep hold ls`"),
            "{is_tree}\n{text}"
        );
        let piped = shell(&dir, &line, &[]);
        assert!(!piped.stdout.contains("H: held"), "{}", piped.all());
        assert!(
            piped.stdout.lines().any(|line| line.ends_with(" H")),
            "{}",
            piped.all()
        );
    }
    for flags in ["", "--tree"] {
        let line = format!("{} ls --no-trunc {flags} bk-sbom", program());
        let Some(run) = on_terminal(&dir, &line, &[("COLUMNS", "20")]) else {
            return;
        };
        let text = visible(run).stdout;
        assert!(text.contains(&digest), "{text}");
        assert!(!text.contains('…'), "{text}");
    }
}

#[test]
fn prune_asks_on_a_terminal_and_accepts_only_yes() {
    let mut dir = TestDir::with_cases(&["oras-retag", "docker-classic-save"]);
    let here = dir.path().to_owned();
    let ask = |answer: &str, args: &str| {
        let line = format!("stty -echo; {} prune {args}", program());
        let terminal = Terminal::start(&line, &here, &[])?;
        let answer = answer.replace(r"\n", "\n").replace(r"\004", "\u{4}");
        Some(terminal.wait_for_question().answer(&answer))
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
        let Some(mut run) = ask(answer, args) else {
            return;
        };
        run.ok();
        let start = run.stdout.find("WARNING!").expect("there is a question");
        run.stdout.replace_range(..start, "");
        dir.note(&format!("printf '{answer}' | ocisweep prune {args}"), &run);
    }
    dir.matches("question");
}

/// Runs the program with a standard output that is no longer read. It is a socket, which can be shut down while a child of
/// another test still has it open for a moment; a pipe cannot.
fn unread(dir: &TestDir, args: &[&str]) -> Output {
    let (reader, writer) = UnixStream::pair().expect("a pair of sockets can be made");
    reader.shutdown(Shutdown::Both).expect("it can be ended");
    new_command(PROGRAM)
        .args(["--now", NOW])
        .args(args)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(OwnedFd::from(writer))
        .stderr(Stdio::piped())
        .output()
        .expect("the program can be started")
}

#[test]
fn a_reader_that_ends_early_ends_a_list_quietly() {
    let dir = TestDir::with_cases(&["regctl"]);
    let line = "{ eval $OCISWEEP ls regctl; echo \"code $?\" >&2; } | head -n 1";
    let run = shell(&dir, line, &[]);
    assert_eq!(run.stderr, "code 0\n", "{}", run.all());
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.all());
    for args in [
        &["ls", "regctl"][..],
        &["ls", "--tree", "regctl"],
        &["ls", "--format", "json", "regctl"],
        &["df", "regctl"],
    ] {
        let output = unread(&dir, args);
        let talk = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*talk), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn a_sweep_without_a_reader_is_finished_and_reported() {
    let dir = TestDir::with_cases(&["bkcache-max"]);
    let output = unread(&dir, &["gc", "bkcache-max"]);
    let talk = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*talk), (Some(1), ""));
    let again = dir.cmd_now(&["gc", "bkcache-max"]).run();
    again.ok().ends_with_line("Total reclaimed space: 0B");
}

/// A terminal breaks a line anywhere; a line of prose is broken between words. Digests and paths, which users copy, are not
/// broken.
#[test]
fn lines_about_several_layouts_are_broken_between_words() {
    let dir = TestDir::with_cases(&[
        "skopeo-old-tags",
        "umoci-new",
        "bk-multi-prov",
        "ctr-export",
    ]);
    let orphan = dir.join("ctr-export/blobs/sha256").join("0".repeat(64));
    std::fs::write(&orphan, "recent").expect("an orphan can be written");
    let calls = [
        "prune -n",
        "prune -n -v -a --keep-last 1",
        "prune -a --keep-last 1",
        "prune -n -v -a --max-size 90kB --group-by tree",
        "gc -n",
        "gc -n -v --grace 0",
        "ls",
        "ls --tree",
        "df",
        "df -v",
        "check --quick",
    ];
    for call in calls {
        // The time of the orphan is that of the test.
        let line = format!("stty cols 80 rows 24; '{PROGRAM}' {call} -r .");
        let Some(run) = on_terminal(&dir, &line, &[("NO_COLOR", "1")]) else {
            return;
        };
        let long = run.stdout.lines().filter(|line| line.chars().count() > 80);
        // Errors and hints are one line each.
        let is_whole = |line: &str| {
            let one = ["ocisweep: ", "hint: ", "Would delete: sha256:"];
            one.iter().any(|start| line.starts_with(start))
        };
        let long: Vec<&str> = long.filter(|line| !is_whole(line)).collect();
        assert!(long.is_empty(), "{call}: {long:#?}\n{}", run.all());
    }
    // In a pipe no line is broken.
    let run = shell(
        &dir,
        "eval $OCISWEEP prune -n -v -a --keep-last 1 -r .",
        &[],
    );
    run.says("  example.com/multi:v2  (no hold, filter or rule keeps it)  added ");
}
