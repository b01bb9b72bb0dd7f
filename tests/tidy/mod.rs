//! Rules that the compiler cannot hold the sources to.
//!
//! Each rule looks at the code without its comments and texts, and most of them only at what comes before the tests of a
//! file: a test may write and remove files as it likes. An exception is named here, with its reason, and one that is not
//! needed any more fails like a broken rule.

mod arrows;

use std::fs;
use std::path::{Path, PathBuf};

/// More lines than this before its tests, and a file hides decisions.
const MAX_LINES: usize = 800;

/// Files that are longer, for now, with the reason.
const LONGER: &[(&str, &str)] = &[];

/// Calls that create, replace, rename or remove something in a file system.
const CHANGES: &[&str] = &[
    "fs::write",
    "fs::copy",
    "fs::rename",
    "fs::hard_link",
    "fs::remove_file",
    "fs::remove_dir",
    "fs::remove_dir_all",
    "fs::create_dir",
    "fs::create_dir_all",
    "fs::set_permissions",
    "File::create",
    "File::create_new",
    "OpenOptions",
    "DirBuilder",
    "NamedTempFile",
    "tempfile",
    "unlink",
    "unlinkat",
    "rename(",
    "renameat(",
    "renameat_with(",
    "linkat",
    "symlinkat",
    "mkdirat",
    "mknodat",
    "fchmod",
    "chmodat",
    "fchown",
    "chownat",
    "ftruncate",
    "set_len",
    "set_permissions",
    "OFlags::CREATE",
    "OFlags::TRUNC",
];

/// Where such calls may stand beside `src/fs`, with the reason.
const MAY_CHANGE: &[(&str, &str, &str)] = &[
    (
        "src/layout/lock/mod.rs",
        "unlinkat",
        "the lock file is removed by whoever holds it",
    ),
    (
        "src/layout/lock/mod.rs",
        "OFlags::CREATE",
        "a lock needs a file to lie on",
    ),
    (
        "src/cli/commands/prune/mod.rs",
        "fs::write",
        "the plan file, which the user named and which is no part of a layout",
    ),
    (
        "src/cli/render/summary.rs",
        "OpenOptions",
        "the summary of a CI job, which is no part of a layout",
    ),
    (
        "src/cli/docs.rs",
        "fs::write",
        "manual pages, in the directory that the user named",
    ),
];

/// One source file.
struct Source {
    /// Its path, relative to the package.
    path: String,
    /// Its text.
    text: String,
    /// Its text with comments, strings and characters blanked out, line by line.
    code: Vec<String>,
    /// How many lines come before its tests.
    before_tests: usize,
}

impl Source {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a source file can be read");
        let code: Vec<String> = blanked(&text).lines().map(str::to_owned).collect();
        let is_test_module = |pair: &[String]| {
            let [attribute, item] = pair else {
                return false;
            };
            attribute.trim() == "#[cfg(test)]" && item.trim_end().ends_with("mod tests {")
        };
        let before_tests = code.windows(2).position(is_test_module);
        let path = path
            .strip_prefix(env!("CARGO_MANIFEST_DIR"))
            .expect("sources lie in the package");
        Self {
            path: path.to_string_lossy().into_owned(),
            before_tests: before_tests.unwrap_or(code.len()),
            text,
            code,
        }
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// Returns the lines of code before the tests, numbered from 1.
    fn body(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.code.iter().take(self.before_tests);
        (1..).zip(lines.map(String::as_str))
    }

    /// Returns the place of every use of one of `words` before the tests.
    fn uses(&self, words: &[&str]) -> Vec<String> {
        self.body()
            .flat_map(|(number, line)| {
                let found = words.iter().filter(move |word| has_word(line, word));
                found.map(move |word| format!("{}:{number}: {word}", self.path))
            })
            .collect()
    }
}

/// Returns the Rust files below a directory of the package, sorted.
fn sources(directory: &str) -> Vec<Source> {
    let mut open = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(directory)];
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
    assert!(!files.is_empty(), "no sources in {directory}");
    files.iter().map(|path| Source::read(path)).collect()
}

/// Replaces what is in comments, strings and characters by spaces. Lines stay lines.
fn blanked(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let before = code
            .chars()
            .next_back()
            .is_some_and(|last| last == '_' || last.is_alphanumeric());
        let blank = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if first == '"' {
            string(rest)
        } else if first == '\'' {
            character(rest)
        } else if !before && (rest.starts_with("r\"") || rest.starts_with("r#")) {
            raw_string(rest)
        } else {
            0
        };
        if blank == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (gone, left) = rest.split_at(blank);
        code.extend(gone.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = left;
    }
    code
}

/// Returns the length of the comment, which may hold others, at the start of `text`.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Returns the length of the string at the start of `text`.
fn string(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Returns the length of the raw string at the start of `text`; 0 where it is none, but an identifier such as `r#type`.
fn raw_string(text: &str) -> usize {
    let hashes = text.chars().skip(1).take_while(|c| *c == '#').count();
    let open = 1 + hashes;
    if text.as_bytes().get(open) != Some(&b'"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let body = open + 1;
    text[body..]
        .find(&close)
        .map_or(text.len(), |end| body + end + close.len())
}

/// Returns the length of the character at the start of `text`; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            // What is escaped may be a quote.
            chars.next();
            chars.find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1)
        }
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

/// Returns `true` if `line` has `word` and not as a part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c == '_' || c.is_alphanumeric();
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let ends_open = word.chars().next_back().is_some_and(is_part);
        !(before.is_some_and(is_part) || ends_open && after.is_some_and(is_part))
    })
}

/// Panics with the list, unless it is empty.
#[track_caller]
fn assert_none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

#[test]
fn only_sys_changes_files() {
    let mut broken = Vec::new();
    let mut needed = vec![false; MAY_CHANGE.len()];
    for source in sources("src") {
        if source.is_in(&["src/fs/"]) {
            continue;
        }
        for found in source.uses(CHANGES) {
            let may = MAY_CHANGE.iter().position(|(path, word, _)| {
                source.path == *path && found.ends_with(&format!(": {word}"))
            });
            match may.and_then(|position| needed.get_mut(position)) {
                Some(needed) => *needed = true,
                None => broken.push(found),
            }
        }
    }
    for ((path, word, reason), needed) in MAY_CHANGE.iter().zip(needed) {
        if !needed {
            broken.push(format!("{path}: no {word} any more ({reason})"));
        }
    }
    assert_none(&broken, "files are changed in src/fs and nowhere else");
}

#[test]
fn only_the_command_prints_and_exits() {
    let words = [
        "print!",
        "println!",
        "eprint!",
        "eprintln!",
        "dbg!",
        "process::exit",
        "process::abort",
        "exit(",
    ];
    let broken: Vec<String> = sources("src")
        .iter()
        .filter(|source| !source.is_in(&["src/main.rs", "src/cli/"]))
        .flat_map(|source| source.uses(&words))
        .collect();
    assert_none(&broken, "the library neither prints nor exits");
}

#[test]
fn only_the_command_knows_the_time_and_the_environment() {
    let mut broken = Vec::new();
    for source in sources("src") {
        // One place says when protections end, and one how many threads read, as rayon does.
        if source.is_in(&["src/main.rs", "src/cli/", "src/clock.rs", "src/threads.rs"]) {
            continue;
        }
        broken.extend(source.uses(&[
            "SystemTime::now",
            "Timestamp::now",
            "Zoned::now",
            "TimeZone::system",
        ]));
        // What the program was built for is no environment.
        let environment = source.body().filter(|(_, line)| {
            has_word(line, "env::") && !line.contains("env::consts") && !line.contains("env!")
        });
        broken.extend(
            environment.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim())),
        );
    }
    assert_none(&broken, "the present and the environment are parameters");
}

#[test]
fn deletion_code_has_no_dry_run_to_forget() {
    let broken: Vec<String> = sources("src")
        .iter()
        .filter(|source| !source.is_in(&["src/cli/"]))
        .flat_map(|source| source.uses(&["dry_run", "is_dry_run", "DryRun"]))
        .collect();
    assert_none(&broken, "a dry run shows a plan and does not execute it");
}

#[test]
fn every_file_says_what_it_is() {
    let broken: Vec<String> = ["src", "tests"]
        .iter()
        .flat_map(|directory| sources(directory))
        .filter(|source| {
            let first = source.text.lines().next().unwrap_or_default();
            first.strip_prefix("//! ").is_none_or(|said| said.len() < 5)
        })
        .map(|source| source.path)
        .collect();
    assert_none(&broken, "the first line of a file says what it is");
}

#[test]
fn no_file_is_too_long_to_be_read() {
    let mut broken = Vec::new();
    let mut needed = vec![false; LONGER.len()];
    for source in sources("src") {
        let lines = source.before_tests;
        if lines <= MAX_LINES {
            continue;
        }
        match LONGER.iter().position(|(path, _)| source.path == *path) {
            Some(position) => needed[position] = true,
            None => broken.push(format!("{}: {lines} lines", source.path)),
        }
    }
    for ((path, reason), needed) in LONGER.iter().zip(needed) {
        if !needed {
            broken.push(format!("{path}: not longer any more ({reason})"));
        }
    }
    let rule = format!("no file has more than {MAX_LINES} lines before its tests");
    assert_none(&broken, &rule);
}

#[test]
fn what_is_left_to_do_has_a_number() {
    // Put together, so that this file does not break the rule itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
    ];
    let mut broken = Vec::new();
    for source in ["src", "tests"].iter().flat_map(|place| sources(place)) {
        for (number, line) in (1..).zip(source.text.lines()) {
            let is_open = words.iter().any(|word| {
                let rest = line.split_once(word).map(|(_, rest)| rest);
                rest.is_some_and(|rest| !rest.starts_with("(#"))
            });
            if is_open {
                broken.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(&broken, "what is left to do names an issue");
}

#[test]
fn lints_are_expected_and_never_allowed() {
    let mut broken = Vec::new();
    for source in ["src", "tests"].iter().flat_map(|place| sources(place)) {
        for (number, line) in (1..).zip(&source.code) {
            if line.contains("[allow(") {
                broken.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(
        &broken,
        "`#[expect(…, reason = …)]` tells when it is not needed any more",
    );
}

#[test]
fn the_eyes_of_these_tests_are_open() {
    let text = r##"let a = "fs::write(\"x\")"; // fs::write
        let b = r#"fs::write " "#; let c = '"'; let d: &'static str = '\''; /* /* */ fs::write */
        fs::write(r#type);"##;
    let code = blanked(text);
    assert_eq!(code.matches("fs::write").count(), 1, "{code}");
    assert!(code.contains("&'static str"), "{code}");
    assert!(code.contains("fs::write(r#type);"), "{code}");
    assert_eq!(code.lines().count(), text.lines().count());
    for (line, word, want) in [
        ("std::fs::write(x)", "fs::write", true),
        ("std::fs::write_all(x)", "fs::write", false),
        ("self.rename(x)", "rename(", true),
        ("#[serde(rename = x)]", "rename(", false),
        ("std::process::exit(1)", "exit(", true),
        ("context.on_exit(1)", "exit(", false),
        ("std::env::var", "env::", true),
        ("dry_run", "dry_run", true),
        ("is_dry_run", "dry_run", false),
    ] {
        assert_eq!(has_word(line, word), want, "{word} in {line}");
    }
}
