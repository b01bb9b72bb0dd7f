//! Version, manual pages, completions, and errors in the command line.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::support::run::new_command;
use crate::support::{Cmd, TestDir};

#[test]
fn the_version_is_that_of_the_package() {
    let run = Cmd::new(["--version"]).run();
    let version = concat!("ocisweep ", env!("CARGO_PKG_VERSION"));
    let rest = run
        .ok()
        .stdout
        .trim_end()
        .strip_prefix(version)
        .map(str::to_owned);
    let rest = rest.unwrap_or_else(|| panic!("{}", run.all()));
    let commit = rest
        .strip_prefix(" (")
        .and_then(|text| text.strip_suffix(')'));
    // A build without a repository has no commit to name.
    let is_commit =
        |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(
        rest.is_empty() || commit.is_some_and(is_commit),
        "{}",
        run.all()
    );
}

/// Every command has a page with the contents of its help.
#[test]
fn every_command_has_a_page() {
    let temp = TempDir::new().expect("a temporary directory can be made");
    let run = Cmd::new(["man", "--dir"]).arg(temp.path()).run();
    let said: Vec<String> = run.ok().stdout.lines().map(str::to_owned).collect();
    for name in [
        "ocisweep",
        "ocisweep-prune",
        "ocisweep-hold-add",
        "ocisweep-man",
    ] {
        let path = temp.path().join(format!("{name}.1"));
        assert!(said.contains(&path.display().to_string()), "{}", run.all());
        let page = fs::read_to_string(&path).expect("a page is text");
        assert!(page.contains(".SH NAME"), "{page}");
        assert!(page.contains(&name.replace('-', "\\-")), "{page}");
    }
    let one = Cmd::new(["man", "prune"]).run();
    let page = fs::read_to_string(temp.path().join("ocisweep-prune.1")).expect("a page is text");
    assert_eq!(one.ok().stdout, page);
    let count = fs::read_dir(temp.path()).expect("it can be listed").count();
    assert_eq!(count, said.len(), "{}", run.all());
}

#[test]
fn shells_complete_every_command() {
    let help = Cmd::new(["--help"]).run();
    let known = [
        "gc",
        "rm",
        "prune",
        "apply",
        "hold",
        "ls",
        "df",
        "completions",
        "man",
    ];
    for command in known {
        assert!(
            help.stdout.contains(&format!("  {command} ")),
            "{}",
            help.all()
        );
    }
    // The scripts of these call the program.
    for shell in ["bash", "zsh", "fish"] {
        let script = Cmd::new(["completions", shell]).run();
        script.ok().says(&format!("__complete {shell} "));
        let ask = |words: &[&str]| {
            let (before, word) = words.split_at(words.len() - 1);
            let words = match shell {
                "bash" => vec![words.join(" "), word.concat(), "9".into(), "80".into()],
                _ => [before, word]
                    .concat()
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
            };
            let run = Cmd::new(["__complete", shell]).args(words).run();
            assert_eq!(run.stderr, "", "{}", run.all());
            run.ok().stdout.clone()
        };
        let commands = ask(&["ocisweep", ""]);
        for command in known {
            assert!(
                commands.contains(command),
                "{shell} does not know {command}"
            );
        }
        let flags = ask(&["ocisweep", "prune", "--keep-d"]);
        assert!(flags.contains("keep-daily"), "{shell} knows no flags");
    }
    for shell in ["elvish", "powershell"] {
        let script = Cmd::new(["completions", shell]).run().ok().stdout.clone();
        for word in known.into_iter().chain(["keep-daily"]) {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
}

#[test]
fn an_invalid_command_line_is_explained() {
    let mut dir = TestDir::with_cases(&[]);
    for line in [
        "prun layout",
        "gc",
        "gc --graec 0 layout",
        "gc --keep-last 3 layout",
        "hold ls layout other",
        "hold addd layout",
        "image inspect layout",
        "system",
        "ls --time added --time created layout",
        "ls --time",
        "rmi layout",
        "prune --max-size 5 layout",
        "rm --platform linux/arm64 --only-platform linux layout app:1",
        "ls --tree --format raw layout",
        "man hodl",
        "completions tcsh",
        "man --dir nowhere/at/all",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        dir.run_noted(&words);
    }
    dir.matches("refused-command-lines");
}

#[test]
fn the_version_is_printed_as_json() {
    for args in [
        ["--version", "--json"],
        ["--json", "--version"],
        ["-V", "--json"],
    ] {
        let json = Cmd::new(args).run().ok().json();
        assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(json["command"], "version");
        assert_eq!(json["archives"], true);
    }
    // Only there: elsewhere that flag does not exist.
    Cmd::new(["ls", "--version", "--json"]).run().exits(2);
}

/// The files of packages exist, or are made by the commands in the docs.
#[test]
fn files_of_packages_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("it is there");
    let made = tempfile::tempdir().expect("a directory");
    let man = made.path().join("man");
    fs::create_dir(&man).expect("a directory");
    let run = Cmd::new(["man", "--dir"]).arg(&man).run();
    run.ok();
    let pages = fs::read_dir(&man).expect("it can be listed").count();
    assert!(pages > 10, "{pages}");
    let (mut own, mut other) = (0, 0);
    for line in manifest.lines() {
        let line = line
            .trim()
            .trim_start_matches("{ source = ")
            .trim_start_matches('[');
        let source = line
            .strip_prefix('"')
            .and_then(|rest| rest.split('"').next());
        let Some(source) = source.filter(|_| line.contains("usr/")) else {
            continue;
        };
        match source {
            "target/dist/ocisweep" | "target/man/*.1" => own += 1,
            "target/completions/ocisweep.bash" => {
                own += 1;
                Cmd::new(["completions", "bash"])
                    .run()
                    .ok()
                    .says("complete");
            }
            "target/completions/_ocisweep" => {
                own += 1;
                Cmd::new(["completions", "zsh"])
                    .run()
                    .ok()
                    .says("#compdef ocisweep");
            }
            "target/completions/ocisweep.fish" => {
                own += 1;
                Cmd::new(["completions", "fish"])
                    .run()
                    .ok()
                    .says("complete -c ocisweep");
            }
            other_file => {
                assert!(root.join(other_file).is_file(), "{other_file}");
                other += 1;
            }
        }
    }
    assert_eq!((own, other), (10, 3), "two kinds of packages");
    // Without it, the description of the package for Debian is the README.
    assert!(manifest.contains("\nextended-description = "), "{manifest}");
}

#[test]
fn help_and_version_that_cannot_be_printed_are_an_error() {
    for args in [
        "--version",
        "--help",
        "help",
        "--version --json",
        "rm --help",
    ] {
        let shell = format!("\"$0\" {args} > /dev/full");
        let output = new_command("sh")
            .args(["-c", &shell, env!("CARGO_BIN_EXE_ocisweep")])
            .output()
            .expect("a shell can be started");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{args}: {said}");
        assert!(said.contains("standard output"), "{args}: {said}");
    }
}
