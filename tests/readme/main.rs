//! Runs the examples of the README and compares what they print.
//!
//! Every fenced block marked `console` is read: a line that begins with `$ ` is a command, the lines below it are what
//! it prints, stdout and stderr together. All of them run one after another in one scratch directory that has
//! `testdata` in it and the built program on its PATH. `[..]` in an expected line stands for any text.

use std::path::Path;
use std::process::Command;

/// One command of the README with what it is said to print.
struct Example {
    command: String,
    output: Vec<String>,
}

/// Fewer than this, and the README or this reader has lost some.
const AT_LEAST: usize = 15;

fn examples(readme: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut in_block = false;
    for line in readme.lines() {
        match (in_block, line) {
            (false, "```console") => in_block = true,
            (true, "```") => in_block = false,
            (true, line) => match line.strip_prefix("$ ") {
                Some(command) => examples.push(Example {
                    command: command.to_owned(),
                    output: Vec::new(),
                }),
                None => examples
                    .last_mut()
                    .expect("a block begins with a command")
                    .output
                    .push(line.to_owned()),
            },
            (false, _) => {}
        }
    }
    examples
}

fn fits(expected: &str, found: &str) -> bool {
    match expected.split_once("[..]") {
        None => expected == found,
        Some((head, tail)) => {
            found.len() >= head.len() + tail.len()
                && found.starts_with(head)
                && found.ends_with(tail)
        }
    }
}

/// Runs a command line of the README and returns what it prints.
fn run(command: &str, directory: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_ocisweep"));
    let bin = program.parent().expect("the program lies in a directory");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut paths = vec![bin.to_path_buf()];
    paths.extend(std::env::split_paths(&path));
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("{{ {command}\n}} 2>&1"))
        .current_dir(directory)
        .env("PATH", std::env::join_paths(paths).expect("a PATH"))
        .output()
        .expect("a shell is there");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn scratch() -> tempfile::TempDir {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    std::os::unix::fs::symlink(testdata, scratch.path().join("testdata")).expect("a link");
    scratch
}

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    std::fs::read_to_string(path).expect("the README is there")
}

#[test]
fn every_example_prints_what_the_readme_says() {
    let examples = examples(&readme());
    assert!(
        examples.len() >= AT_LEAST,
        "only {} examples",
        examples.len()
    );
    let scratch = scratch();
    let mut wrong = String::new();
    for example in &examples {
        let found = run(&example.command, scratch.path());
        let lines: Vec<&str> = found.lines().collect();
        let fits = lines.len() == example.output.len()
            && example
                .output
                .iter()
                .zip(&lines)
                .all(|(expected, found)| fits(expected, found));
        if !fits {
            wrong += &format!(
                "$ {}\n--- README\n{}\n--- found\n{found}\n",
                example.command,
                example.output.join("\n")
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The set-up command is run as it stands, but with the program that is built already.
#[test]
fn the_first_command_frees_what_the_readme_says() {
    let readme = readme();
    let command = readme
        .lines()
        .find(|line| line.contains("cargo run --release --"))
        .expect("the README has a set-up command");
    let command = command.replace("cargo run --release --", "ocisweep");
    let scratch = scratch();
    for _ in 0..2 {
        let found = run(&command, scratch.path());
        assert!(readme.contains(&format!("```text\n{found}```")), "{found}");
    }
}
