//! Checks the README and the pages in `docs/` against the program.
//!
//! *Sessions*: every fenced block marked `console` is read. A line that begins with `$ ` is a command, the lines below it
//! are its output, stdout and stderr together. The sessions of a page run one after another, in `sh`, in a scratch directory
//! of the page with a link to `testdata`, and with `ocisweep` first on the `PATH`. The output is compared exactly, but:
//! - a line `…` matches any number of lines;
//! - `/srv` is the scratch directory;
//! - the current time is some days after the test data was recorded, so that ages are always the same: the `ocisweep` on the
//!   `PATH` adds `--now`;
//! - `cargo run --release --` is replaced by `ocisweep`, so that nothing is built twice, and `cargo test` is not run.
//!
//! `$?` is the exit status of the previous command. Digests and sizes are compared as they are: they are those of the test
//! data.
//!
//! *Names*: every command, flag, file, link and JSON key that a page names exists, and every key that the program prints is
//! explained.
//!
//! [`wording`]: the vocabulary of the pages, the help and the recorded messages.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::environment::install_script;
use crate::support::run::{PROGRAM, new_command};

mod wording;

/// The current time of all sessions.
const NOW: &str = "2026-11-24T12:00:00Z";

/// The minimum number of blocks and commands; with fewer, a page or this parser has lost some.
const MIN_BLOCKS: usize = 35;
const MIN_COMMANDS: usize = 100;

/// The maximum length of the README.
const MAX_README_LINES: usize = 200;

/// One page of the documentation.
struct Page {
    /// Its path, relative to the package.
    path: String,
    text: String,
}

/// Returns the README and the pages in `docs/`.
fn pages() -> Vec<Page> {
    let names = fs::read_dir(package().join("docs")).expect("docs/ can be listed");
    let mut paths: Vec<String> = names
        .map(|entry| entry.expect("docs/ can be listed").file_name())
        .map(|name| format!("docs/{}", name.to_string_lossy()))
        .collect();
    paths.push("README.md".to_owned());
    paths.sort();
    paths
        .into_iter()
        .map(|path| Page {
            text: fs::read_to_string(package().join(&path)).expect("a page is text"),
            path,
        })
        .collect()
}

/// One command of a page with its expected output.
struct Example {
    /// Its line, counted from 1.
    line: usize,
    command: String,
    output: Vec<String>,
}

/// Returns the sessions, block by block.
fn blocks(text: &str) -> Vec<Vec<Example>> {
    let mut blocks: Vec<Vec<Example>> = Vec::new();
    let mut is_open = false;
    for (line, text) in (1..).zip(text.lines()) {
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

/// Returns `true` if the lines are the expected ones, where `…` matches any number of them.
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
        // A hidden directory, so that `ls` does not show it.
        let bin = directory.path().join(".bin");
        fs::create_dir(&bin).expect("a directory can be made");
        let program = bin.join("ocisweep");
        let script = format!(
            "#!/bin/sh\nexec '{}' --now {NOW} \"$@\"\n",
            env!("CARGO_BIN_EXE_ocisweep")
        );
        install_script(&script, &program);
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
        let output = new_command("sh")
            .arg("-c")
            .arg(format!("exec 2>&1\n(exit {before})\n{command}\n"))
            .current_dir(here)
            .env("PATH", std::env::join_paths(path).expect("a PATH"))
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

fn page(path: &str) -> String {
    fs::read_to_string(package().join(path)).expect("a page is text")
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
fn every_session_has_the_output_on_its_page() {
    let mut wrong = String::new();
    let (mut block_count, mut command_count) = (0, 0);
    for Page { path, text } in pages() {
        let blocks = blocks(&text);
        block_count += blocks.len();
        let mut scratch = Scratch::new();
        for example in blocks.iter().flatten() {
            command_count += 1;
            let command = example
                .command
                .replace("cargo run --release --", "ocisweep");
            if command.starts_with("cargo ") {
                assert_eq!(command, "cargo test", "{path}:{}", example.line);
                continue;
            }
            let found = scratch.run(&command);
            let lines: Vec<&str> = found.lines().collect();
            if !fits(&example.output, &lines) {
                wrong += &format!(
                    "{path}:{}: $ {}\n-- expected\n{}\n-- found\n{found}\n",
                    example.line,
                    example.command,
                    example.output.join("\n")
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(
        block_count >= MIN_BLOCKS && command_count >= MIN_COMMANDS,
        "only {block_count} sessions with {command_count} commands"
    );
}

#[test]
fn the_readme_is_short() {
    let lines = page("README.md").lines().count();
    assert!(lines <= MAX_README_LINES, "{lines} lines");
}

#[test]
fn set_up_is_two_commands_that_can_be_repeated() {
    let readme = page("README.md");
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
    // The output of cargo precedes that of the program.
    let lines: Vec<&str> = first.lines().collect();
    assert!(fits(&build.output, &lines), "{first}");
    assert_eq!(lines.len(), 41, "forty blobs and a total\n{first}");
}

/// Runs the program.
fn help(args: &[&str]) -> String {
    let output = new_command(PROGRAM)
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

/// Returns the words after each `before` in `text`: letters, digits and hyphens.
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
fn every_command_and_flag_that_a_page_names_exists() {
    let all = help(&[]);
    let known = commands(&all);
    let mut helps = all;
    for command in &known {
        let text = help(&[command]);
        for below in commands(&text) {
            helps += &help(&[command, &below]);
        }
        helps += &text;
    }
    // Flags of cargo, its tests, docker, skopeo and buildx.
    let foreign = [
        "locked",
        "target",
        "no-build",
        // Of `--version` alone.
        "json",
        "rm",
        "release",
        "path",
        "profile",
        "bench",
        "smoke",
        "shapes",
        "archives",
        "phases",
        "lists",
        "cold",
        "places",
        "latency",
        "runs",
        "scale",
        "config",
        "open",
        "dest-shared-blob-dir",
        "cache-from",
        "fuzz-dir",
        "nocapture",
        "test",
        "cache-to",
        // Of wget, in a recipe, and of buildx.
        "header",
        "use",
    ];
    let pages = pages();
    for Page { path, text } in &pages {
        for command in words_after(text, "$ ocisweep ") {
            assert!(
                known.contains(command),
                "{path}: there is no `ocisweep {command}`"
            );
        }
        let wrong: Vec<&str> = [" --", "`--", "(--"]
            .iter()
            .flat_map(|before| words_after(text, before))
            .filter(|flag| !foreign.contains(flag) && !helps.contains(&format!("--{flag}")))
            .collect();
        assert!(
            wrong.is_empty(),
            "{path}: there is no --{}",
            wrong.join(", --")
        );
    }
    for command in &known {
        let line = format!("$ ocisweep {command} ");
        assert!(
            pages.iter().any(|page| page.text.contains(&line)),
            "no page shows `ocisweep {command}`"
        );
    }
}

#[test]
fn every_file_that_a_page_names_exists() {
    let mut seen = 0;
    for Page { path: page, text } in pages() {
        for place in ["tests/", "testdata/", "src/", "docs/", ".ci/"] {
            for (at, _) in text.match_indices(place) {
                let is_part = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
                let rest = &text[at..];
                let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                let path = rest[..end].trim_end_matches('.');
                assert!(package().join(path).exists(), "{page}: there is no {path}");
                seen += 1;
            }
        }
    }
    assert!(seen > 40, "only {seen} files are named");
}

/// Returns the anchor that a Markdown renderer gives to a heading.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// Returns the anchors of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let headings = text.lines().filter_map(|line| {
        if line.starts_with("```") {
            is_code = !is_code;
        }
        let heading = line.trim_start_matches('#');
        (!is_code && heading.len() < line.len()).then(|| anchor(heading.trim()))
    });
    headings.collect()
}

#[test]
fn every_link_has_a_target() {
    let mut seen = 0;
    for Page { path, text } in pages() {
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap_or_default();
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let folder = Path::new(&path).parent().expect("a page is in a folder");
            let target_path = match file {
                "" => package().join(&path),
                file => package().join(folder).join(file),
            };
            assert!(target_path.exists(), "{path}: no file for {target}");
            if !heading.is_empty() {
                let page = fs::read_to_string(&target_path).expect("a page is text");
                assert!(
                    anchors(&page).contains(heading),
                    "{path}: no heading for {target}"
                );
            }
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} links");
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

/// Collects the keys that a schema knows.
fn schema_keys(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Object(properties)) = object.get("properties") {
                found.extend(properties.keys().cloned());
            }
            object.values().for_each(|value| schema_keys(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| schema_keys(item, found)),
        _ => {}
    }
}

/// Returns what is in backticks in the first column of the tables.
fn explained(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|column| column.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

#[test]
fn docs_explain_every_json_key_and_no_other() {
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
        "ocisweep ls --tree --format json bk-sbom skopeo-old-tags",
        "ocisweep ls --format json --time added bk-sbom",
        "ocisweep df --format json -v skopeo-old-tags",
        "cp -r bk-sbom torn && echo '[]' > torn/index.json",
        "ocisweep check --format json bk-sbom torn 2> /dev/null",
        "cp -r skopeo-old-tags bare && rm bare/blobs/sha256/1052f5952d3b* bare/blobs/sha256/8572c7c8a47a* bare/blobs/sha256/2f624e1e9539*",
        "ocisweep ls --format json bare",
        "cp -r bk-sbom cured && rm $(ls -d cured/blobs/sha256/* | head -1)",
        "ocisweep check --repair --from bk-sbom --format json cured",
        "ocisweep check --format json bare 2> /dev/null",
        "ocisweep check --since-run verified --format json bk-sbom",
        "rm skopeo-old-tags/blobs/sha256/2f624e1e9539* && ocisweep check --quick --format json skopeo-old-tags",
        "ocisweep why --format json skopeo-old-tags b",
        "ocisweep rm --format json skopeo-old-tags b",
        "ocisweep rm --format json bk-sbom ex.com/sbom:v1 --platform linux/arm64",
        "ocisweep rm --trash --format json skopeo-old-tags a",
        "ocisweep trash ls --format json skopeo-old-tags",
        "ocisweep undo --format json skopeo-old-tags",
        "ocisweep prune -f -q --format json skopeo-old-tags",
        "ocisweep gc --format json skopeo-interrupted torn 2> /dev/null",
        "ocisweep prune -n --max-size 1B --min-free 1B --format json skopeo-interrupted bk-sbom 2> /dev/null; true",
        "tar -xf testdata/corpus/skopeo-shared.tar",
        "ocisweep df --format json --shared-blobs skopeo-shared/shared skopeo-shared/one skopeo-shared/two",
        "ocisweep ls --format jsonl skopeo-old-tags bk-sbom",
        "ocisweep prune -q --plan plan.json skopeo-interrupted > /dev/null",
        "ocisweep apply --format json plan.json",
        "ocisweep --version --json",
    ] {
        let text = scratch.run(command);
        if command.contains("--format json") || command.contains("--version --json") {
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
    let mut in_schema = BTreeSet::new();
    let schema = page("testdata/schema/output-1.json");
    schema_keys(
        &serde_json::from_str(&schema).expect("the schema is JSON"),
        &mut in_schema,
    );
    let explained = explained(&page("docs/json.md"));
    let missing: Vec<_> = in_schema.difference(&explained).collect();
    assert!(
        missing.is_empty(),
        "in the schema, not explained: {missing:?}"
    );
    let unknown: Vec<_> = found.difference(&explained).collect();
    assert!(unknown.is_empty(), "not explained: {unknown:?}");
    let unused: Vec<_> = explained.difference(&found).collect();
    assert!(
        unused.is_empty(),
        "explained, and printed by nothing: {unused:?}"
    );
}

#[test]
fn a_gap_matches_any_number_of_lines() {
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
