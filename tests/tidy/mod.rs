//! Rules about the sources that neither the compiler nor clippy checks; `clippy.toml` lists disallowed calls.

mod arrows;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A file with more lines before its tests has more than one concept.
const MAX_LINES: usize = 800;

/// One source file.
struct Source {
    /// Its path, relative to the package.
    path: String,
    /// Its text.
    text: String,
}

impl Source {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a source file can be read");
        let path = path
            .strip_prefix(env!("CARGO_MANIFEST_DIR"))
            .expect("sources lie in the package");
        let path = path.to_string_lossy().into_owned();
        Self { path, text }
    }

    /// Returns the lines before the tests, numbered from 1.
    fn body(&self) -> impl Iterator<Item = (usize, &str)> {
        let text = self.text.split("#[cfg(test)]\nmod tests {").next();
        (1..).zip(text.unwrap_or_default().lines())
    }

    /// Returns the place of every line that `is_wrong` finds, below `src` before the tests, in `tests` everywhere.
    fn lines(&self, is_wrong: impl Fn(&str) -> bool) -> Vec<String> {
        let wrong = self.body().filter(|(_, line)| is_wrong(line));
        wrong
            .map(|(number, line)| format!("{}:{number}: {}", self.path, line.trim()))
            .collect()
    }
}

/// Returns the Rust files below directories of the package, sorted.
fn sources(directories: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<PathBuf> = directories.iter().map(|dir| root.join(dir)).collect();
    let mut files = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("the sources can be listed");
            open.extend(entries.map(|entry| entry.expect("the sources can be listed").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    assert!(!files.is_empty(), "no sources in {directories:?}");
    files.iter().map(|path| Source::read(path)).collect()
}

/// Panics with the list, unless it is empty.
#[track_caller]
fn assert_none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

#[test]
fn deletion_code_has_no_dry_run_to_forget() {
    let broken: Vec<String> = sources(&["src"])
        .iter()
        .filter(|source| !source.path.starts_with("src/cli/"))
        .flat_map(|source| source.lines(|line| line.contains("dry_run") || line.contains("DryRun")))
        .collect();
    assert_none(&broken, "a dry run shows a plan and does not execute it");
}

#[test]
fn every_file_begins_with_its_purpose() {
    let broken: Vec<String> = sources(&["src", "tests"])
        .into_iter()
        .filter(|source| {
            let first = source.text.lines().next().unwrap_or_default();
            first.strip_prefix("//! ").is_none_or(|said| said.len() < 5)
        })
        .map(|source| source.path)
        .collect();
    assert_none(&broken, "the first line of a file says what it is");
}

#[test]
fn no_file_is_too_long() {
    let lines_of = |source: &Source| (source.path.clone(), source.body().count());
    let broken: Vec<String> = sources(&["src"])
        .iter()
        .map(lines_of)
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    let rule = format!("no file has more than {MAX_LINES} lines before its tests");
    assert_none(&broken, &rule);
}

/// Closing the file does not release a lock while a child of another test has it open too.
#[test]
fn tests_take_locks_that_are_released_reliably() {
    // Put together, so that this file does not break the rule itself.
    let word = concat!("Flock", "Operation");
    // POSIX locks belong to a process and are not inherited.
    let may = ["tests/support/layout.rs", "tests/faults/locks.rs"];
    let broken: Vec<String> = sources(&["tests"])
        .iter()
        .filter(|source| !may.contains(&source.path.as_str()))
        .flat_map(|source| source.lines(|line| line.contains(word)))
        .collect();
    assert_none(&broken, "locks of the tests are a `FileLock`");
}

/// Otherwise it inherits `OCISWEEP_TRASH`, `NO_COLOR`, `TZ` and the like from the shell that runs the tests.
#[test]
fn tests_start_programs_in_one_environment() {
    // Put together, so that this file does not break the rule itself.
    let word = concat!("Command", "::new(");
    let broken: Vec<String> = sources(&["tests"])
        .iter()
        // The benchmarks measure programs in the environment of the user.
        .filter(|source| !source.path.starts_with("tests/bench/"))
        .filter(|source| source.path != "tests/support/run.rs")
        .flat_map(|source| source.lines(|line| line.contains(word)))
        .collect();
    assert_none(&broken, "tests start programs with `new_command`");
}

#[test]
fn open_tasks_name_an_issue() {
    // Put together, so that this file does not break the rule itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
    ];
    let is_open = |line: &str| {
        words.iter().any(|word| {
            let rest = line.split_once(word).map(|(_, rest)| rest);
            rest.is_some_and(|rest| !rest.starts_with("(#"))
        })
    };
    let broken: Vec<String> = sources(&["src", "tests"])
        .iter()
        .flat_map(|source| source.lines(is_open))
        .collect();
    assert_none(&broken, "what is left to do names an issue");
}

#[test]
fn the_map_for_contributors_lists_every_directory() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("CONTRIBUTING.md")).expect("it can be read");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let paths: Vec<&str> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split('`'))
        .collect();
    let mut broken = Vec::new();
    for parent in ["src", "tests"] {
        let entries = fs::read_dir(root.join(parent)).expect("it can be listed");
        let entries = entries.map(|entry| entry.expect("it can be listed").path());
        for path in entries.filter(|path| path.is_dir()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = format!("{parent}/{name}/");
            if !paths.contains(&name.as_str()) {
                broken.push(format!("{name} is not in CONTRIBUTING.md"));
            }
        }
    }
    for path in paths.iter().filter(|path| path.ends_with('/')) {
        if !root.join(path).is_dir() {
            broken.push(format!("{path} does not exist"));
        }
    }
    broken.sort();
    assert_none(&broken, "the map lists every directory once");
}

/// Returns the name of the type that a line declares. Types of a trait (`type Item`) are indented.
fn declared_type(line: &str) -> Option<&str> {
    let text = line.trim_start();
    let text = match text.strip_prefix("pub(") {
        Some(rest) => rest.split_once(") ")?.1,
        None => text.strip_prefix("pub ").unwrap_or(text),
    };
    let (keyword, rest) = text.split_once(' ')?;
    let is_type = match keyword {
        "struct" | "enum" | "trait" | "union" => true,
        "type" => !line.starts_with(' '),
        _ => false,
    };
    let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    is_type.then(|| rest.get(..end.unwrap_or(rest.len())))?
}

#[test]
fn a_type_name_is_used_once() {
    let sources = sources(&["src"]);
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for source in sources.iter().filter(|it| !it.path.ends_with("/tests.rs")) {
        for (number, line) in source.body() {
            if let Some(name) = declared_type(line) {
                let place = format!("{}:{number}", source.path);
                places.entry(name).or_default().push(place);
            }
        }
    }
    assert!(places.contains_key("Layout") && places.contains_key("GroupPlan"));
    let broken: Vec<String> = places
        .iter()
        .filter(|(_, places)| places.len() > 1)
        .map(|(name, places)| format!("{name}: {}", places.join(", ")))
        .collect();
    assert_none(&broken, "a reader who sees a name knows which type it is");
}
