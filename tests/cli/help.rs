//! `--help` of every command, including those that are added later.

use crate::support::Cmd;
use crate::support::transcript::matches;

/// Returns the help of a command.
fn help(words: &[&str], flag: &str) -> String {
    let run = Cmd::new(words).arg(flag).run();
    run.ok();
    assert_eq!(run.stderr, "", "help is asked for, so it is no error");
    run.stdout
}

/// Returns the commands that a help lists, without their aliases.
fn commands(help: &str) -> Vec<String> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    list.take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// Returns every command with its sub-commands, the program itself first.
fn all() -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    let mut next = 0;
    while let Some(words) = found.get(next).cloned() {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        for command in commands(&help(&words, "--help")) {
            let longer = words.iter().copied().chain([command.as_str()]);
            found.push(longer.map(str::to_owned).collect());
        }
        next += 1;
    }
    found
}

#[test]
fn the_help_of_every_command_is_recorded() {
    let all = all();
    assert!(all.len() > 10, "commands are missing: {all:?}");
    let mut known = Vec::new();
    for words in &all {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let name = ["help"].iter().chain(&words).copied().collect::<Vec<_>>();
        let name = name.join("-");
        matches(&name, &help(&words, "--help"));
        known.push(format!("{name}.txt"));
    }
    // A removed command leaves no recorded help behind.
    let files =
        std::fs::read_dir(crate::support::transcript::package().join("tests/cli/snapshots"))
            .expect("the snapshots can be listed");
    for file in files {
        let name = file.expect("the snapshots can be listed").file_name();
        let name = name.to_string_lossy();
        assert!(
            !name.starts_with("help") || known.iter().any(|known| *known == name),
            "{name} belongs to no command"
        );
    }
}

#[test]
fn every_line_of_help_fits_into_100_columns() {
    for words in all() {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        for flag in ["-h", "--help"] {
            for line in help(&words, flag).lines() {
                assert!(line.chars().count() <= 100, "{words:?} {flag}: {line}");
            }
        }
    }
}

#[test]
fn the_first_line_of_every_help_is_a_short_summary() {
    for words in all() {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let text = help(&words, "-h");
        let first = text.lines().next().unwrap_or_default();
        assert!(
            !first.is_empty() && !first.ends_with('.'),
            "{words:?}: {first}"
        );
    }
}

#[test]
fn aliases_are_the_same_commands() {
    for (alias, command) in [
        ("rmi", "rm"),
        ("remove", "rm"),
        ("images", "ls"),
        ("du", "df"),
        ("fsck", "check"),
    ] {
        assert_eq!(
            help(&[alias], "--help"),
            help(&[command], "--help"),
            "{alias}"
        );
    }
    // docker's groups: the same except for the name in the usage.
    for (words, command) in [
        (&["image", "ls"][..], "ls"),
        (&["image", "rm"], "rm"),
        (&["image", "prune"], "prune"),
        (&["system", "df"], "df"),
        (&["system", "prune"], "prune"),
    ] {
        let text = help(words, "--help");
        let usage = format!("ocisweep {}", words.join(" "));
        assert!(text.contains(&usage), "{text}");
        let plain = text.replace(&usage, &format!("ocisweep {command}"));
        assert_eq!(plain, help(&[command], "--help"), "{words:?}");
        let by_word = Cmd::new(["help"]).args(words).run();
        assert_eq!(by_word.ok().stdout, text);
    }
    let yes = help(&["prune"], "--help");
    assert!(yes.contains("--yes"), "{yes}");
}
