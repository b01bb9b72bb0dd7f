//! The manual, as `man` shows it on 80 columns.

use std::fs;

use tempfile::TempDir;

use crate::support::Cmd;
use crate::support::environment::has_tools;
use crate::support::run::{new_command, run};

/// Returns the examples in the help of a command: commands, and what they do.
fn examples(words: &[&str]) -> Vec<(String, String)> {
    let help = Cmd::new(["help"]).args(words).run();
    let lines = help.ok().stdout.lines();
    let lines = lines.skip_while(|line| *line != "Examples:").skip(1);
    let lines = lines.map_while(|line| line.strip_prefix("  "));
    lines
        .map(|line| {
            let (command, about) = line.split_once("  ").unwrap_or((line, ""));
            (command.to_owned(), about.trim().to_owned())
        })
        .collect()
}

/// Returns a page as a reader sees it.
fn shown(page: &std::path::Path) -> String {
    let mut command = new_command("man");
    command
        .args(["--warnings=w", "-l"])
        .arg(page)
        .env("MANWIDTH", "80")
        .env_remove("MANPAGER")
        .env_remove("PAGER")
        .env_remove("MANROFFOPT");
    let run = run(command);
    assert_eq!(run.stderr, "", "{}", page.display());
    run.ok().stdout.clone()
}

/// No example is lost or broken: each is a line that can be pasted, or is continued by a backslash as in a shell.
#[test]
fn examples_of_the_manual_can_be_pasted() {
    if !has_tools(&["man"]) {
        return;
    }
    let temp = TempDir::new().expect("a temporary directory can be made");
    Cmd::new(["man", "--dir"]).arg(temp.path()).run().ok();
    let pages = fs::read_dir(temp.path()).expect("it can be listed");
    let (mut count, mut continued) = (0, 0);
    for page in pages {
        let path = page.expect("it can be listed").path();
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let words: Vec<&str> = name.split('-').skip(1).collect();
        let text = shown(&path);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
        let whole = text.replace("\\\n           ", "");
        continued += text.matches("\\\n").count();
        let lines: Vec<&str> = whole.lines().map(str::trim).collect();
        let flat = whole.split_whitespace().collect::<Vec<_>>().join(" ");
        let examples = examples(&words);
        assert_eq!(examples.is_empty(), !lines.contains(&"EXAMPLES"), "{name}");
        for (command, about) in examples {
            assert!(
                lines.contains(&command.as_str()),
                "{name}: {command}\n{text}"
            );
            let both = format!("{command} {about}");
            assert!(flat.contains(both.trim_end()), "{name}: {both}\n{text}");
            count += 1;
        }
    }
    assert!(count > 60, "only {count} examples");
    assert!(continued > 0, "the longest does not fit");
}

/// The sections that readers of manuals expect.
#[test]
fn pages_have_the_usual_sections() {
    let page = |words: &[&str]| Cmd::new(["man"]).args(words).run().ok().stdout.clone();
    let sections = |words: &[&str]| -> Vec<String> {
        let page = page(words);
        let titles = page.lines().filter_map(|line| line.strip_prefix(".SH "));
        titles
            .map(|title| title.trim_matches('"').to_owned())
            .collect()
    };
    assert_eq!(
        sections(&["check"]),
        [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "GLOBAL OPTIONS",
            "EXIT STATUS",
            "EXAMPLES"
        ]
    );
    assert_eq!(
        sections(&["help"]),
        [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "GLOBAL OPTIONS",
            "TOPICS",
            "EXAMPLES"
        ]
    );
    assert!(page(&["help"]).contains("\\fBpatterns\\fR"));
}
