//! Help topics: their commands run, and their tables are correct.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use ocisweep::parse::size::parse_size;
use ocisweep::parse::time::parse_duration;
use tempfile::TempDir;

use crate::support::run::new_command;
use crate::support::{Cmd, LayoutBuilder};

/// Every topic.
const TOPICS: [&str; 5] = ["filters", "times", "patterns", "sizes", "templates"];

/// Names in the layout of the examples.
const NAMES: [&str; 7] = [
    "app:1.4",
    "app:1.5-rc1",
    "example.com/team/app:1.4",
    "v1.4",
    "nightly",
    "db:3",
    "ci-7",
];

/// A directory with the layout `images`.
struct Ground {
    directory: TempDir,
}

impl Ground {
    fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let mut layout = LayoutBuilder::at(&directory.path().join("images"));
        for name in NAMES {
            let image = layout.image("linux/amd64", name, &[name.as_bytes()]);
            layout.tag(&image.manifest, name);
        }
        layout.write();
        let bin = directory.path().join("bin");
        std::fs::create_dir(&bin).expect("a directory can be made");
        symlink(env!("CARGO_BIN_EXE_ocisweep"), bin.join("ocisweep")).expect("a link can be made");
        Self { directory }
    }

    fn layout(&self) -> PathBuf {
        self.directory.path().join("images")
    }

    /// Runs a line of a topic as a user would, and returns what it prints.
    #[track_caller]
    fn shell(&self, line: &str) -> String {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = [self.directory.path().join("bin")]
            .into_iter()
            .chain(std::env::split_paths(&path));
        let output = new_command("sh")
            .args(["-c", line])
            .current_dir(self.directory.path())
            .env("PATH", std::env::join_paths(path).expect("a PATH"))
            .output()
            .expect("a shell can be started");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}\n{stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Returns the names that pass a filter on names.
    fn listed(&self, pattern: &str) -> BTreeSet<String> {
        let filter = format!("reference={pattern}");
        let run = Cmd::new(["ls", "--format", "json", "-f", &filter])
            .arg(self.layout())
            .run();
        let json = run.ok().json();
        let images = json["layouts"][0]["images"].as_array().cloned();
        images
            .unwrap_or_default()
            .iter()
            .flat_map(|image| image["names"].as_array().cloned().unwrap_or_default())
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    }

    /// Returns the names that `rm` would remove.
    fn removed(&self, pattern: &str) -> BTreeSet<String> {
        let run = Cmd::new(["rm", "-n", "--format", "json"])
            .arg(self.layout())
            .arg(pattern)
            .run();
        let json = run.ok().json();
        let items = json["layouts"][0]["items"].as_array().cloned();
        items
            .unwrap_or_default()
            .iter()
            .filter(|item| item["kind"] == "name")
            .flat_map(|item| item["names"].as_array().cloned().unwrap_or_default())
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    }
}

fn topic(name: &str) -> String {
    let run = Cmd::new(["help", name]).run();
    run.ok();
    assert_eq!(run.stderr, "", "help is no error");
    run.stdout
}

/// Returns the cells of a table: the lines below a heading, up to an empty line. Cells are two or more spaces apart.
fn table(text: &str, heading: &str) -> Vec<Vec<String>> {
    let begins = |line: &&str| line.split_whitespace().next() == Some(heading);
    let rows = text.lines().skip_while(|line| !begins(line)).skip(1);
    let rows = rows.take_while(|line| !line.is_empty());
    let cells = |line: &str| {
        let cells = line.split("  ").map(str::trim);
        let cells = cells.filter(|cell| !cell.is_empty());
        cells.map(str::to_owned).collect()
    };
    let rows: Vec<Vec<String>> = rows.map(cells).collect();
    assert!(rows.len() > 5, "the table {heading} has rows");
    rows
}

#[test]
fn every_topic_is_plain_text_of_80_columns() {
    let all = Cmd::new(["help"]).run();
    let page = Cmd::new(["help", "help"]).run();
    for name in TOPICS {
        let text = topic(name);
        assert!(text.lines().count() > 15, "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{name}: {line}");
            assert!(!line.contains(['\u{1b}', '\t']), "{name}: {line}");
        }
        assert!(all.ok().stdout.contains(name), "{}", all.all());
        let line = format!("\n  {name} ");
        assert!(page.ok().stdout.contains(&line), "{}", page.all());
    }
    let manual = Cmd::new(["man"]).run();
    assert!(manual.ok().stdout.contains("help filters"));
    let manual = Cmd::new(["man", "prune"]).run();
    assert!(manual.ok().stdout.contains("help patterns"));
}

#[test]
fn help_of_a_command_equals_that_of_its_flag() {
    for words in [&["gc"][..], &["prune"], &["hold", "add"], &["rmi"], &[]] {
        let by_word = Cmd::new(["help"]).args(words).run();
        let by_flag = Cmd::new(words).arg("--help").run();
        assert_eq!(by_word.ok().stdout, by_flag.ok().stdout, "{words:?}");
        assert_eq!(by_word.stderr, "", "{words:?}");
    }
}

#[test]
fn help_for_an_unknown_topic_is_an_error() {
    for words in [&["filter"][..], &["gc", "filters"], &["filters", "gc"]] {
        let run = Cmd::new(["help"]).args(words).run();
        assert_eq!(run.code, Some(2), "{}", run.all());
        assert_eq!(run.stdout, "", "{}", run.all());
        assert!(
            run.stderr
                .starts_with("ocisweep: unknown command or help topic"),
            "{}",
            run.all()
        );
    }
}

#[test]
fn commands_of_the_topics_run() {
    for name in TOPICS {
        let ground = Ground::new();
        let text = topic(name);
        let mut count = 0;
        for line in text
            .lines()
            .filter_map(|line| line.strip_prefix("    ocisweep "))
        {
            ground.shell(&format!("ocisweep {line}"));
            count += 1;
        }
        assert!(count > 1, "{name} has examples");
    }
}

#[test]
fn the_table_of_filters_lists_every_key() {
    let ground = Ground::new();
    let rows = table(&topic("filters"), "FILTER");
    let mut keys = BTreeSet::new();
    for row in rows {
        let filter = row[0]
            .replace("PATTERN", "**")
            .replace("IMAGE", "app:1.4")
            .replace("TIME", "7d")
            .replace("PLATFORM", "linux/arm64");
        Cmd::new(["ls", "-f", &filter])
            .arg(ground.layout())
            .run()
            .ok();
        let key = filter.split_once('=').expect("key=value").0.to_owned();
        keys.insert(key);
    }
    let run = Cmd::new(["ls", "-f", "no-key=1"])
        .arg(ground.layout())
        .run();
    let (_, known) = run.stderr.split_once("the keys are ").expect("a list");
    let known = known.lines().next().unwrap_or_default().split(", ");
    assert_eq!(keys, known.map(str::to_owned).collect());
}

/// Every field of the topic can be printed, and no other: the error of an unknown field lists those that exist.
#[test]
fn the_table_of_templates_lists_every_field() {
    let ground = Ground::new();
    let text = topic("templates");
    let rows = text
        .lines()
        .skip_while(|line| !line.trim().starts_with("COMMAND"))
        .skip(1);
    let rows: Vec<&str> = rows.take_while(|line| !line.is_empty()).collect();
    let fields = |command: &str| -> BTreeSet<String> {
        let first = rows.iter().position(|row| row[2..17].trim() == command);
        let first = first.expect("the command is in the table");
        let more = rows[first + 1..]
            .iter()
            .take_while(|row| row.starts_with("     "));
        let words = rows[first..=first].iter().chain(more).map(|row| &row[17..]);
        let words = words.flat_map(|row| row.split(|c: char| !c.is_ascii_alphabetic()));
        let is_field = |word: &&str| word.starts_with(|c: char| c.is_ascii_uppercase());
        words.filter(is_field).map(str::to_owned).collect()
    };
    let known = |args: &[&str]| -> BTreeSet<String> {
        let run = Cmd::new(args).arg(ground.layout()).run();
        assert_eq!(run.code, Some(2), "{}", run.all());
        let (_, known) = run.stderr.split_once("fields: ").expect("a list");
        known.trim().split(", ").map(str::to_owned).collect()
    };
    for (command, args) in [
        ("ls", &["ls", "--format", "{{.X}}"][..]),
        ("df", &["df", "--format", "{{.X}}"]),
        ("hold ls", &["hold", "ls", "--format", "{{.X}}"]),
        ("trash ls", &["trash", "ls", "--format", "{{.X}}"]),
    ] {
        assert_eq!(fields(command), known(args), "{command}");
    }
    let of_image = known(&["df", "-v", "--format", "table {{.X}}"]);
    let inside = known(&["df", "-v", "--format", "{{range .Images}}{{.X}}{{end}}"]);
    assert_eq!(of_image, inside);
    let mut want = fields("ls");
    for gone in [
        "ContentSize",
        "ContentBytes",
        "State",
        "AddedSince",
        "AddedAt",
    ] {
        assert!(want.remove(gone), "{gone}");
    }
    want.extend(["SharedBytes", "UniqueBytes"].map(str::to_owned));
    assert_eq!(of_image, want);
    let outside: BTreeSet<String> = ["Images", "Layout"].map(str::to_owned).into();
    assert_eq!(known(&["df", "-v", "--format", "{{.X}}"]), outside);
}

#[test]
fn the_table_of_durations_is_true() {
    for row in table(&topic("times"), "DURATION") {
        assert_eq!(parse_duration(&row[0]), parse_duration(&row[1]), "{row:?}");
        assert!(parse_duration(&row[0]).is_ok(), "{row:?}");
    }
}

#[test]
fn the_table_of_times_is_true() {
    let ground = Ground::new();
    let rows = table(&topic("times"), "TIME");
    for row in &rows {
        let filter = format!("until={}", row[0]);
        let run = Cmd::new(["ls", "-f", &filter]).arg(ground.layout()).run();
        run.ok();
    }
    // The last three are the same time; `hold ls` prints it.
    let same = &rows[rows.len() - 3..];
    for (number, row) in same.iter().enumerate() {
        let name = format!("h{number}");
        Cmd::new(["--now", "2026-01-01T00:00:00Z", "hold", "add"])
            .arg(ground.layout())
            .args([name.as_str(), "app:1.4", "--until", &row[0]])
            .run()
            .ok();
    }
    let run = Cmd::new(["hold", "ls", "--format", "json"])
        .arg(ground.layout())
        .run();
    let json = run.ok().json();
    let holds = json["holds"].as_array().cloned().unwrap_or_default();
    let ends: BTreeSet<String> = holds.iter().map(|hold| hold["until"].to_string()).collect();
    assert_eq!(holds.len(), 3, "{}", run.all());
    assert_eq!(ends.len(), 1, "{ends:?}");
}

#[test]
fn the_table_of_sizes_is_true() {
    for row in table(&topic("sizes"), "SIZE") {
        assert_eq!(parse_size(&row[0]).ok(), row[1].parse().ok(), "{row:?}");
    }
}

#[test]
fn the_table_of_patterns_is_true_for_filters_and_for_rm() {
    let ground = Ground::new();
    for row in table(&topic("patterns"), "PATTERN") {
        let [pattern, matches, others @ ..] = row.as_slice() else {
            panic!("{row:?} has no examples");
        };
        for found in [ground.listed(pattern), ground.removed(pattern)] {
            for name in matches.split(", ") {
                assert!(NAMES.contains(&name), "{name} is in the layout");
                assert!(found.contains(name), "{pattern} {name}: {found:?}");
            }
            for name in others.iter().flat_map(|names| names.split(", ")) {
                assert!(NAMES.contains(&name), "{name} is in the layout");
                assert!(!found.contains(name), "{pattern} {name}: {found:?}");
            }
        }
        if others.is_empty() {
            assert_eq!(ground.listed(pattern).len(), NAMES.len(), "{pattern}");
        }
    }
}
