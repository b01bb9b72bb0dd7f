//! Completion of command lines in shells.
//!
//! The scripts that `ocisweep completions` prints call the hidden command `__complete`. An environment variable would be
//! read by every run, and a job that inherits it would complete instead of sweep.
//!
//! *Promises*: nothing is written or locked, nothing is printed to stderr, and the answer takes at most about a second. Names come
//! from untrusted layouts: a name that [`escape`](super::term::escape) changes is not offered, and all others are inserted quoted.
//!
//! The engine of `clap_complete` 4.6 (`unstable-dynamic`) is not used: its script for bash inserts candidates without
//! quotes, so that a name such as `$(id)` is executed with the line; it splits a word at each `:`; it takes the word after
//! `--trash` for its value; and code that completes a value does not get the other words, so that it cannot find the layout.

mod candidates;
mod contents;
mod line;
mod paths;
mod shells;
mod values;
mod words;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::time::Instant;

use clap::{Arg, Command};
use jiff::Timestamp;

use candidates::{CompletionCandidate, matching};
use line::{ParsedLine, WordKind};
pub use shells::Shell;
use shells::{BashQuestion, for_bash, for_fish, for_zsh};
use values::{ArgValue, Surroundings, other_commands, subcommands};

use super::command_line;

/// The hidden command.
const COMMAND: &str = "__complete";

/// Answers a shell, and returns `true`, if the arguments of this process are a completion request and not a command line.
pub fn answer(words: &[OsString], env: &dyn Fn(&str) -> Option<OsString>) -> bool {
    let Some([first, words @ ..]) = words.get(1..) else {
        return false;
    };
    if first != COMMAND {
        return false;
    }
    let words: Vec<String> = words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let text = answer_to(&words, env).unwrap_or_default();
    // A shell cannot show an error here.
    drop(io::stdout().lock().write_all(text.as_bytes()));
    true
}

/// Returns the answer to the words after the hidden command.
fn answer_to(words: &[String], env: &dyn Fn(&str) -> Option<OsString>) -> Option<String> {
    let (shell, words) = words.split_first()?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the command reads the clock once"
    )]
    let now = Timestamp::now();
    let mut root = command_line::command();
    root.build();
    let around = Surroundings {
        root: &root,
        env,
        now,
        begin: Instant::now(),
    };
    match (Shell::parse(shell)?, words) {
        (Shell::Bash, [line, replaced, kind, columns, behind @ ..]) => {
            let read = words::BashLine::read(line);
            if read.is_other {
                return None;
            }
            let question = BashQuestion {
                line,
                replaced,
                // The type of completion that bash has for a list after a second TAB.
                is_list: kind == "63",
                columns: columns.parse().unwrap_or(80),
            };
            let behind = behind.first().map_or("", String::as_str);
            let behind = words::behind(behind, read.quote);
            let found = complete(&read.before, &read.word, &behind, around);
            Some(for_bash(&question, &read, &found))
        }
        (shell, words) => {
            let (words, behind) = with_behind(words)?;
            let (word, before) = words.split_last()?;
            Some(match shell {
                Shell::Zsh => for_zsh(word, &complete(before, word, behind, around)),
                Shell::Fish => {
                    // fish passes the word as it was typed.
                    let word = words::BashLine::read(word).word;
                    for_fish(&complete(before, &word, behind, around))
                }
                Shell::Bash => return None,
            })
        }
    }
}

/// Splits the words of zsh into those up to the cursor and those after it, whose number comes first, in `--behind=N`. fish
/// does not pass the words after the cursor, and an older script that is still loaded does not either.
fn with_behind(words: &[String]) -> Option<(&[String], &[String])> {
    let Some((first, rest)) = words.split_first() else {
        return Some((words, &[]));
    };
    let Some(count) = first.strip_prefix("--behind=") else {
        return Some((words, &[]));
    };
    let at = rest.len().checked_sub(count.parse().ok()?)?;
    Some(rest.split_at(at))
}

/// Returns the words that can replace `word` between others.
fn complete(
    before: &[String],
    word: &str,
    behind: &[String],
    around: Surroundings<'_>,
) -> Vec<CompletionCandidate> {
    // `NAME=value ocisweep …`
    let is_setting = |word: &&String| word.contains('=');
    let settings = before.iter().take_while(is_setting).count();
    let before = before.get(settings..).unwrap_or_default();
    if before.is_empty() {
        return Vec::new();
    }
    let mut line = ParsedLine::read(around.root, before);
    let kind = line.kind_of(word);
    // The layout may follow an option that concerns it.
    if matches!(&kind, WordKind::Value { arg, .. } if !arg.is_positional()) {
        line.take_behind(behind);
    }
    match kind {
        WordKind::Flag => flags(&line, word),
        WordKind::Command => commands(line.command, word),
        WordKind::Value { arg, prefix } => {
            let value = ArgValue {
                line: &line,
                arg,
                word: word.get(prefix.len()..).unwrap_or_default(),
                around,
            };
            let mut found = value.candidates();
            for candidate in &mut found {
                candidate.value.insert_str(0, &prefix);
            }
            // A word that looks like a flag is one, unless `--` or `=` precedes it.
            found
                .retain(|one| line.is_escaped || !prefix.is_empty() || !one.value.starts_with('-'));
            matching(found, word)
        }
        WordKind::Nothing => Vec::new(),
    }
}

fn commands(command: &Command, word: &str) -> Vec<CompletionCandidate> {
    let found = matching(subcommands(command), word);
    match found.as_slice() {
        [] => matching(other_commands(command), word),
        _ => found,
    }
}

/// Returns the flags that begin with `word`: the long ones, and short ones that have no long form.
fn flags(line: &ParsedLine<'_>, word: &str) -> Vec<CompletionCandidate> {
    let named = |arg: &Arg| {
        let long = arg.get_long().map(|name| format!("--{name}"));
        long.or_else(|| arg.get_short().map(|letter| format!("-{letter}")))
    };
    let found = line.flags().filter_map(|arg| {
        let about = arg.get_help().map(ToString::to_string);
        let about = about.unwrap_or_default();
        let name = named(arg)?;
        Some(CompletionCandidate::new(name, about))
    });
    matching(found.collect(), word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the answer for a shell that passes words.
    fn asked(shell: &str, words: &[&str]) -> String {
        let words = [&[shell], words].concat();
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        answer_to(&words, &|_| None).unwrap_or_default()
    }

    fn values(words: &[&str]) -> Vec<String> {
        let text = asked("fish", words);
        let values = text.lines().filter_map(|line| line.split('\t').next());
        values.map(str::to_owned).collect()
    }

    #[test]
    fn only_the_hidden_command_is_a_completion_request() {
        for words in [&[][..], &["ocisweep"], &["ocisweep", "gc", "__complete"]] {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert!(!answer(&words, &|_| None), "{words:?}");
        }
        for words in [
            &["elvish", "ocisweep", ""][..],
            &["bash", "x"],
            &["zsh"],
            &[],
        ] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let text = answer_to(&words, &|_| None);
            assert_eq!(text.unwrap_or_default(), "", "{words:?}");
        }
    }

    #[test]
    fn commands_flags_and_finite_values_are_offered() {
        for (words, want) in [
            (&["ocisweep", "ho"][..], &["hold"][..]),
            (&["ocisweep", "rmi"], &["rmi"]),
            (&["ocisweep", "sys"], &["system"]),
            (&["ocisweep", "system", ""], &["df", "prune"]),
            (&["ocisweep", "hold", ""], &["add", "ls", "rm"]),
            (&["A=1", "ocisweep", "fs"], &["fsck"]),
            (&["ocisweep", "rm", "--dr"], &["--dry-run"]),
            (&["ocisweep", "rm", "--dry-run", "--dr"], &[]),
            (
                &["ocisweep", "rm", "--only-platform", "a", "--pl"],
                &["--platform-mode"],
            ),
            (
                &["ocisweep", "rm", "--platform", "a", "--platform"],
                &["--platform", "--platform-mode"],
            ),
            (&["ocisweep", "df", "--sort", ""], &["size", "name"]),
            (
                &["ocisweep", "df", "--sort="],
                &["--sort=size", "--sort=name"],
            ),
            (
                &["ocisweep", "ls", "--format", ""],
                &["table", "json", "jsonl", "raw"],
            ),
            (&["ocisweep", "df", "--format", "j"], &["json"]),
            (&["ocisweep", "--color", "a"], &["auto", "always"]),
            (&["ocisweep", "ls", "-f", "dan"], &["dangling="]),
            (
                &["ocisweep", "ls", "-f", "dangling="],
                &["dangling=true", "dangling=false"],
            ),
            (
                &["ocisweep", "prune", "--filter=dangling=t"],
                &["--filter=dangling=true"],
            ),
            (&["ocisweep", "help", "pa"], &["patterns"]),
            (&["ocisweep", "help", "hold", "a"], &["add"]),
            (&["ocisweep", "man", "tr"], &["trash"]),
            (&["ocisweep", "completions", "z"], &["zsh"]),
            (&["ocisweep", "gc", "--grace", ""], &[]),
            (
                &["ocisweep", "nonsense", "--"],
                &[
                    "--color",
                    "--progress",
                    "--now",
                    "--ignore-index",
                    "--help",
                    "--version",
                ],
            ),
        ] {
            assert_eq!(values(words), want, "{words:?}");
        }
    }
}
