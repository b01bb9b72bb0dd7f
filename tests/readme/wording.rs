//! The vocabulary of pages, help, manual pages, recorded output and messages.
//!
//! Readers know the terms of git, docker and the OCI specifications. A page or a message that uses its own words for the same
//! things has to be decoded first. [`AVOIDED`] lists such words with the term to write; [`EXCEPTIONS`] lists where one is
//! right, with the reason, and an exception that is not needed any more is an error.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::readme::{package, pages};
use crate::support::run::{PROGRAM, new_command};

/// Words to avoid, in lower case, each with what to write instead. A word matches as a whole.
const AVOIDED: &[(&str, &str)] = &[
    ("leads to", "references"),
    ("lead to", "reference"),
    ("goes", "is removed, is deleted"),
    ("would go", "would be removed"),
    ("may go", "may be removed"),
    ("go along", "be removed with"),
    ("stays", "is kept"),
    ("stay", "be kept"),
    ("stand", "be, exist"),
    ("stands", "is, exists"),
    ("says whether", "returns `true` if"),
    ("tells", "reports"),
    ("told", "reported"),
    ("looked at", "read, inspected"),
    ("looks at", "reads, inspects"),
    ("looked for", "searched for, found"),
    ("brought to the disk", "flushed to disk"),
    ("the present", "now, the current time"),
    ("who asks", "the caller"),
    ("whoever", "the user, the caller"),
    ("somebody", "another process"),
    ("nobody", "no process, no user"),
    ("is about", "has as its subject"),
    ("it is about", "its subject"),
    ("ways", "reference paths"),
    ("meanwhile", "concurrently"),
    ("left-over", "stale"),
    ("left-overs", "stale files"),
    ("blanks", "spaces, padding"),
    ("a text", "a string"),
    ("is none", "is not one"),
    ("so many", "N, at most N"),
    ("so often", "at most N times"),
    ("young", "recent"),
    ("younger", "newer"),
    ("by the word of", "according to"),
    ("all the same", "anyway"),
    ("anew", "again"),
    ("victim", "blob to delete"),
    ("victims", "blobs to delete"),
    ("look at", "read, inspect"),
    ("nothing leads", "unreferenced"),
    ("so long", "until, while"),
    ("as before", "unchanged"),
    ("until now", "(say what it does)"),
    ("comes along", "is removed with"),
    ("go away", "be removed"),
    ("pools", "shared blobs"),
    ("stray", "temporary file, unknown file"),
    ("not understood", "cannot be parsed"),
];

/// Where such a word is right: source, word, reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Sources that are not rewritten yet.
const LATER: &[&str] = &[];

/// Something that a user reads.
struct Source {
    name: String,
    text: String,
}

/// Returns everything that a user reads.
fn sources() -> Vec<Source> {
    let mut sources: Vec<Source> = pages()
        .into_iter()
        .map(|page| Source {
            name: page.path,
            text: page.text,
        })
        .collect();
    let read = |path: &Path, name: String| Source {
        name,
        text: fs::read_to_string(path).expect("a source is text"),
    };
    for name in ["CHANGELOG.md", "CONTRIBUTING.md"] {
        sources.push(read(&package().join(name), name.to_owned()));
    }
    // Help and topics in both lengths, and every message that a test records.
    for folder in ["tests/cli/snapshots", "src/cli/topics"] {
        for entry in fs::read_dir(package().join(folder)).expect("it can be listed") {
            let path = entry.expect("it can be listed").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with(".txt") {
                sources.push(read(&path, format!("{folder}/{name}")));
            }
        }
    }
    let manual = TempDir::new().expect("a temporary directory can be made");
    let status = new_command(PROGRAM)
        .args(["man", "--dir"])
        .arg(manual.path())
        .stdout(std::process::Stdio::null())
        .status();
    assert!(status.expect("the program starts").success());
    for entry in fs::read_dir(manual.path()).expect("it can be listed") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        sources.push(read(&path, format!("man/{name}")));
    }
    let mut open = vec![package().join("src")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("it can be listed");
            open.extend(entries.map(|entry| entry.expect("it can be listed").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(package()).expect("it is in the package");
            let code = fs::read_to_string(&path).expect("code is text");
            sources.push(Source {
                name: name.to_string_lossy().into_owned(),
                text: literals(&code),
            });
        }
    }
    sources
}

/// Returns the string literals of the code before its tests, one per line; attributes and comments are omitted.
fn literals(code: &str) -> String {
    let code = code
        .split("\n#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or(code);
    let mut found = String::new();
    let mut is_open = false;
    for line in code.lines() {
        let line = line.trim();
        if !is_open
            && (line.starts_with("//") || line.starts_with("#![") || line.contains("reason = "))
        {
            continue;
        }
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => drop(chars.next()),
                '"' => is_open = !is_open,
                '\'' if !is_open && chars.as_str().starts_with("\"'") => drop(chars.next()),
                _ if is_open => found.push(c),
                _ => {}
            }
        }
        found.push(if is_open { ' ' } else { '\n' });
    }
    found
}

/// Returns the line numbers, counted from 1, in which a word occurs alone.
fn lines_with(text: &str, word: &str) -> Vec<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.to_lowercase();
        let is_whole = line.match_indices(word).any(|(at, _)| {
            !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part)
        });
        if is_whole {
            lines.push(number);
        }
    }
    lines
}

#[test]
fn everything_that_users_read_is_in_standard_terms() {
    let mut wrong = String::new();
    let mut used = BTreeSet::new();
    let sources = sources();
    assert!(sources.len() > 150, "only {} sources", sources.len());
    for Source { name, text } in &sources {
        for (word, better) in AVOIDED {
            let lines = lines_with(text, word);
            if lines.is_empty() {
                continue;
            }
            let is_exception =
                |(source, exception, _): &&(&str, &str, &str)| source == name && exception == word;
            if EXCEPTIONS.iter().any(|exception| is_exception(&exception)) {
                used.insert(format!("{name} {word}"));
                continue;
            }
            if LATER.contains(&name.as_str()) {
                used.insert(name.clone());
                continue;
            }
            for number in lines {
                let line = text.lines().nth(number - 1).unwrap_or_default();
                wrong += &format!("{name}:{number}: `{word}`, write: {better}\n    {line}\n");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    for (name, word, _) in EXCEPTIONS {
        assert!(
            used.contains(&format!("{name} {word}")),
            "the exception for `{word}` in {name} is not needed"
        );
    }
    for name in LATER {
        assert!(used.contains(*name), "{name} can be checked now");
    }
}

#[test]
fn words_are_found_as_a_whole() {
    assert_eq!(lines_with("a\nIt goes.\nforegoes", "goes"), [2]);
    assert_eq!(
        lines_with("`more_ways` ways-like", "ways"),
        Vec::<usize>::new()
    );
    assert_eq!(lines_with("`ways`", "ways"), [1]);
}

#[test]
fn literals_are_the_strings_of_code() {
    let code = "// \"no\"\nlet a = \"one \\\n   two\"; // \n'\"'\nf(\"th\\\"ree\")\n\n#[cfg(test)]\nmod tests {\n\"no\"";
    let found: Vec<String> = literals(code)
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(found, ["one two", "three"]);
}
