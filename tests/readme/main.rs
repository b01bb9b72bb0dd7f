//! Holds the README to what it says.
//!
//! *Sessions*: every fenced block marked `console` is read. A line that begins with `$ ` is a command, the lines below it are
//! what it prints, stdout and stderr together. All of them run one after another, by `sh`, in one scratch directory, in which
//! `testdata` is a link to that of the package, and with `ocisweep` first on the `PATH`. The output is compared exactly, but:
//! - a line `…` stands for any number of lines;
//! - `/srv` stands for the scratch directory;
//! - the present is some days after the test data was recorded, so that ages are always the same: the `ocisweep` on the
//!   `PATH` adds `--now`;
//! - `cargo run --release --` is replaced by `ocisweep`, so that nothing is built twice, and `cargo test` is not run by
//!   itself.
//!
//! A command sees in `$?` how the one before it ended. No digest and no size is replaced: they are those of the test data.
//!
//! *Words*: every command, every flag, every file of this repository and every key of JSON that the README names exists,
//! and every key that the program prints is explained.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// The present of all sessions.
const NOW: &str = "2026-11-24T12:00:00Z";

/// Fewer blocks or commands than these, and the README or this reader has lost some.
const MIN_BLOCKS: usize = 15;
const MIN_COMMANDS: usize = 40;

/// One command of the README with what it is said to print.
struct Example {
    /// Where it stands, counted from 1.
    line: usize,
    command: String,
    output: Vec<String>,
}

/// Returns the sessions, block by block.
fn blocks(readme: &str) -> Vec<Vec<Example>> {
    let mut blocks: Vec<Vec<Example>> = Vec::new();
    let mut is_open = false;
    for (line, text) in (1..).zip(readme.lines()) {
        match (is_open, text) {
            (false, "```console") => {
                blocks.push(Vec::new());
                is_open = true;
            }
            (true, "```") => is_open = false,
            (true, text) => {
                let block = blocks.last_mut().expect("a block is open");
                match (text.strip_prefix("$ "), block.last_mut()) {
                    (Some(command), _) => block.push(Example {
                        line,
                        command: command.to_owned(),
                        output: Vec::new(),
                    }),
                    (None, Some(example)) => example.output.push(text.to_owned()),
                    (None, None) => panic!("line {line}: a session begins with a command"),
                }
            }
            (false, _) => {}
        }
    }
    assert!(!is_open, "the last session has no end");
    blocks
}

/// Says whether the lines are the expected ones, where `…` stands for any number of them.
fn fits(expected: &[String], found: &[&str]) -> bool {
    let is_gap = |line: &String| line == "…";
    let Some(gap) = expected.iter().position(is_gap) else {
        return expected.iter().eq(found);
    };
    let (head, tail) = (&expected[..gap], &expected[gap + 1..]);
    let Some(rest) = found.get(gap..) else {
        return false;
    };
    head.iter().eq(&found[..gap]) && (0..=rest.len()).any(|skipped| fits(tail, &rest[skipped..]))
}

/// A directory to run sessions in.
struct Scratch {
    directory: TempDir,
    status: i32,
}

impl Scratch {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let testdata = package().join("testdata");
        symlink(testdata, directory.path().join("testdata")).expect("a link can be made");
        // Beside the scratch directory's own files, and so that nobody sees it.
        let bin = directory.path().join(".bin");
        fs::create_dir(&bin).expect("a directory can be made");
        let program = bin.join("ocisweep");
        let script = format!(
            "#!/bin/sh\nexec '{}' --now {NOW} \"$@\"\n",
            env!("CARGO_BIN_EXE_ocisweep")
        );
        fs::write(&program, script).expect("a file can be written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
            .expect("a file can be made executable");
        Self {
            directory,
            status: 0,
        }
    }

    /// Runs a command and returns what it prints.
    fn run(&mut self, command: &str) -> String {
        let here = self.directory.path();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = [here.join(".bin")]
            .into_iter()
            .chain(std::env::split_paths(&path));
        let before = self.status;
        let output = Command::new("sh")
            .arg("-c")
            .arg(format!("exec 2>&1\n(exit {before})\n{command}\n"))
            .current_dir(here)
            .env("PATH", std::env::join_paths(path).expect("a PATH"))
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env_remove("NO_COLOR")
            .env_remove("COLUMNS")
            .stdin(std::process::Stdio::null())
            .output()
            .expect("a shell can be started");
        self.status = output.status.code().expect("no command is killed");
        let text = String::from_utf8(output.stdout).expect("the output is UTF-8");
        text.replace(&*here.to_string_lossy(), "/srv")
    }
}

fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(package().join("README.md")).expect("the README is there")
}

/// Returns the part of the README below a heading of the second level.
fn section<'a>(readme: &'a str, heading: &str) -> &'a str {
    let heading = format!("\n## {heading}\n");
    let (_, rest) = readme
        .split_once(&heading)
        .expect("there is such a section");
    rest.split("\n## ").next().unwrap_or(rest)
}

#[test]
fn every_session_prints_what_the_readme_says() {
    let readme = readme();
    let blocks = blocks(&readme);
    let commands = blocks.iter().map(Vec::len).sum::<usize>();
    assert!(
        blocks.len() >= MIN_BLOCKS && commands >= MIN_COMMANDS,
        "only {} sessions with {commands} commands",
        blocks.len()
    );
    let mut scratch = Scratch::new();
    let mut wrong = String::new();
    for example in blocks.iter().flatten() {
        let command = example
            .command
            .replace("cargo run --release --", "ocisweep");
        if command.starts_with("cargo ") {
            assert_eq!(command, "cargo test", "line {}", example.line);
            continue;
        }
        let found = scratch.run(&command);
        let lines: Vec<&str> = found.lines().collect();
        if !fits(&example.output, &lines) {
            wrong += &format!(
                "line {}: $ {}\n-- README\n{}\n-- found\n{found}\n",
                example.line,
                example.command,
                example.output.join("\n")
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn set_up_is_two_commands_that_can_be_repeated() {
    let readme = readme();
    let blocks = blocks(section(&readme, "Set-up"));
    let [commands] = blocks.as_slice() else {
        panic!("set-up is one session");
    };
    let [build, test] = commands.as_slice() else {
        panic!("set-up is two commands");
    };
    assert!(build.command.contains("cargo run --release -- gc "));
    assert_eq!(test.command, "cargo test");
    let command = build.command.replace("cargo run --release --", "ocisweep");
    let mut scratch = Scratch::new();
    let first = scratch.run(&command);
    assert_eq!(scratch.run(&command), first, "it can be repeated");
    // What cargo says comes before what the program says.
    let lines: Vec<&str> = first.lines().collect();
    assert!(fits(&build.output, &lines), "{first}");
    assert_eq!(lines.len(), 41, "forty blobs and a total\n{first}");
}

/// Runs the program itself.
fn help(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ocisweep"))
        .args(args)
        .arg("--help")
        .output()
        .expect("the program can be started");
    assert!(output.status.success(), "{args:?} is a command");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns the names of commands in the first column of a help.
fn commands(help: &str) -> BTreeSet<String> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    list.take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// Returns what stands behind `before` in `text`, as long as it is made of letters, digits and hyphens.
fn words_after<'a>(text: &'a str, before: &str) -> BTreeSet<&'a str> {
    let is_part = |c: char| c == '-' || c.is_ascii_alphanumeric();
    text.match_indices(before)
        .map(|(at, _)| {
            let rest = &text[at + before.len()..];
            let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            rest[..end].trim_end_matches('-')
        })
        .filter(|word| !word.is_empty())
        .collect()
}

#[test]
fn every_command_and_flag_that_the_readme_names_exists() {
    let readme = readme();
    let all = help(&[]);
    let known = commands(&all);
    for command in words_after(&readme, "$ ocisweep ") {
        assert!(known.contains(command), "there is no `ocisweep {command}`");
    }
    let mut helps = all;
    for command in &known {
        let text = help(&[command]);
        for below in commands(&text) {
            helps += &help(&[command, &below]);
        }
        helps += &text;
    }
    // Those of cargo, its tests, skopeo and buildx.
    let foreign = [
        "release",
        "path",
        "profile",
        "bench",
        "smoke",
        "shapes",
        "phases",
        "scale",
        "config",
        "open",
        "dest-shared-blob-dir",
        "cache-from",
        "fuzz-dir",
        "nocapture",
        "test",
        "cache-to",
    ];
    let wrong: Vec<&str> = [" --", "`--", "(--"]
        .iter()
        .flat_map(|before| words_after(&readme, before))
        .filter(|flag| !foreign.contains(flag) && !helps.contains(&format!("--{flag}")))
        .collect();
    assert!(wrong.is_empty(), "there is no --{}", wrong.join(", --"));
    for command in &known {
        assert!(
            readme.contains(&format!("$ ocisweep {command} ")),
            "the README does not show `ocisweep {command}`"
        );
    }
}

#[test]
fn every_file_that_the_readme_names_exists() {
    let readme = readme();
    let mut seen = 0;
    for place in ["tests/", "testdata/", "src/"] {
        for (at, _) in readme.match_indices(place) {
            let is_part = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
            let rest = &readme[at..];
            let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            let path = rest[..end].trim_end_matches('.');
            assert!(package().join(path).exists(), "there is no {path}");
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} files are named");
}

/// Collects the keys of all objects in a document.
fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                found.insert(key.clone());
                keys(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

/// Returns what is in backticks in the first column of the tables.
fn explained(section: &str) -> BTreeSet<String> {
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|column| column.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_key_of_the_json_is_explained_and_no_other() {
    let mut scratch = Scratch::new();
    let mut found = BTreeSet::new();
    let mut schemas = boon::Schemas::new();
    let schema = boon::Compiler::new()
        .compile(
            &package()
                .join("testdata/schema/output-1.json")
                .to_string_lossy(),
            &mut schemas,
        )
        .expect("the schema is one");
    for command in [
        "for case in skopeo-old-tags skopeo-interrupted skopeo-dir bk-sbom; do tar -xf testdata/corpus/$case.tar; done",
        "ocisweep hold add skopeo-old-tags held a",
        "ocisweep hold ls --format json skopeo-old-tags",
        "ocisweep ls --format json skopeo-old-tags",
        "ocisweep ls --format jsonl bk-sbom",
        "ocisweep df --format json -v skopeo-old-tags",
        "cp -r bk-sbom torn && echo '[]' > torn/index.json",
        "ocisweep check --format json bk-sbom torn 2> /dev/null",
        "cp -r skopeo-old-tags bare && rm bare/blobs/sha256/1052f5952d3b* bare/blobs/sha256/8572c7c8a47a* bare/blobs/sha256/2f624e1e9539*",
        "ocisweep ls --format json bare",
        "ocisweep check --format json bare 2> /dev/null",
        "rm skopeo-old-tags/blobs/sha256/2f624e1e9539* && ocisweep check --quick --format json skopeo-old-tags",
        "ocisweep why --format json skopeo-old-tags b",
        "ocisweep rm --format json skopeo-old-tags b",
        "ocisweep rm --format json bk-sbom ex.com/sbom:v1 --platform linux/arm64",
        "ocisweep prune -f -q --format json skopeo-old-tags",
        "ocisweep gc --format json skopeo-interrupted torn 2> /dev/null",
        "tar -xf testdata/corpus/skopeo-shared.tar",
        "ocisweep df --format json --shared-blobs skopeo-shared/shared skopeo-shared/one skopeo-shared/two",
        "ocisweep ls --format jsonl skopeo-old-tags bk-sbom",
        "ocisweep prune -q --plan plan.json skopeo-interrupted > /dev/null",
        "ocisweep apply --format json plan.json",
    ] {
        let text = scratch.run(command);
        if command.contains("--format json") {
            let documents = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
            for document in documents {
                let document = document.expect(&text);
                if let Err(why) = schemas.validate(&document, schema) {
                    panic!("`{command}` does not fit the schema: {why:#}\n{text}");
                }
                keys(&document, &mut found);
            }
        }
    }
    let readme = readme();
    let explained = explained(section(&readme, "JSON"));
    let unknown: Vec<_> = found.difference(&explained).collect();
    assert!(unknown.is_empty(), "not explained: {unknown:?}");
    let unused: Vec<_> = explained.difference(&found).collect();
    assert!(
        unused.is_empty(),
        "explained, and printed by nothing: {unused:?}"
    );
}

#[test]
fn a_gap_stands_for_any_number_of_lines() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (expected, found, want) in [
        ("a\nb", "a\nb", true),
        ("a\nb", "a", false),
        ("a", "a\nb", false),
        ("", "", true),
        ("…", "", true),
        ("…\nb", "a\nb", true),
        ("…\nb", "b", true),
        ("…\nb", "a\nb\nc", false),
        ("a\n…\nc", "a\nb\nb\nc", true),
        ("a\n…\nc", "a", false),
        ("a\n…", "a\nb", true),
        ("a\n…\nb\n…\nc", "a\nx\nb\nc", true),
        ("a\n…\nb\n…\nc", "a\nx\nc", false),
    ] {
        let found: Vec<&str> = found.lines().collect();
        assert_eq!(
            fits(&lines(expected), &found),
            want,
            "{expected:?} {found:?}"
        );
    }
}

#[test]
fn a_scratch_directory_shows_the_test_data() {
    let mut scratch = Scratch::new();
    assert_eq!(scratch.run("pwd && test -e testdata/corpus"), "/srv\n");
    assert_eq!(scratch.run("(exit 3)"), "");
    assert_eq!(scratch.run("echo $?"), "3\n");
    assert!(Path::new("/bin/sh").exists());
}
