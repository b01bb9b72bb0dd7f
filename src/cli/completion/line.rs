//! Parses the words before the cursor: the command, its arguments, and the kind of the word at the cursor. clap only parses
//! complete command lines.

use clap::{Arg, ArgAction, Command};

/// The words before the cursor.
#[derive(Debug)]
pub struct ParsedLine<'c> {
    /// The command that they name.
    pub command: &'c Command,
    /// Its name without that of the program: `hold rm`.
    pub name: String,
    /// Arguments without a flag.
    pub positionals: Vec<String>,
    /// Flags with their values.
    pub options: Vec<(&'c Arg, Option<String>)>,
    /// `--` was given.
    pub is_escaped: bool,
    /// The option whose value comes next.
    pending: Option<&'c Arg>,
}

/// The kind of the word at the cursor.
#[derive(Debug)]
pub enum WordKind<'c> {
    /// A flag.
    Flag,
    /// The value of an argument; `prefix` is in the same word in front of it: `--platform=`.
    Value { arg: &'c Arg, prefix: String },
    /// A command.
    Command,
    /// Unknown.
    Nothing,
}

impl<'c> ParsedLine<'c> {
    /// Reads words; the first one is the program.
    pub fn read(root: &'c Command, words: &[String]) -> Self {
        let mut line = Self {
            command: root,
            name: String::new(),
            positionals: Vec::new(),
            options: Vec::new(),
            is_escaped: false,
            pending: None,
        };
        for word in words.iter().skip(1) {
            line.take(word);
        }
        line
    }

    /// Adds the words after the cursor; the word at the cursor is the value of an option.
    pub fn take_behind(&mut self, words: &[String]) {
        self.pending = None;
        for word in words {
            self.take(word);
        }
    }

    fn take(&mut self, word: &str) {
        if let Some(arg) = self.pending.take() {
            self.options.push((arg, Some(word.to_owned())));
        } else if self.is_escaped || !word.starts_with('-') || word == "-" {
            match self.command.find_subcommand(word) {
                Some(command) if !self.is_escaped => {
                    if !self.name.is_empty() {
                        self.name.push(' ');
                    }
                    self.name.push_str(command.get_name());
                    self.command = command;
                }
                _ => self.positionals.push(word.to_owned()),
            }
        } else if word == "--" {
            self.is_escaped = true;
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            if let Some(arg) = self.long(name) {
                self.option(arg, value);
            }
        } else {
            self.shorts(word.trim_start_matches('-'));
        }
    }

    /// Parses the letters of a word such as `-nv` or `-funtil=7d`.
    fn shorts(&mut self, letters: &str) {
        let mut letters = letters.chars();
        while let Some(letter) = letters.next() {
            let Some(arg) = self.short(letter) else {
                return;
            };
            if takes_value(arg) {
                let rest = letters.as_str();
                self.option(arg, (!rest.is_empty()).then_some(rest));
                return;
            }
            self.options.push((arg, None));
        }
    }

    fn option(&mut self, arg: &'c Arg, value: Option<&str>) {
        // A value that must follow a `=` is never the next word.
        if value.is_none() && takes_value(arg) && !arg.is_require_equals_set() {
            self.pending = Some(arg);
        } else {
            self.options.push((arg, value.map(str::to_owned)));
        }
    }

    fn long(&self, name: &str) -> Option<&'c Arg> {
        self.command.get_arguments().find(|arg| {
            arg.get_long() == Some(name)
                || arg
                    .get_all_aliases()
                    .is_some_and(|aliases| aliases.contains(&name))
        })
    }

    fn short(&self, letter: char) -> Option<&'c Arg> {
        let mut args = self.command.get_arguments();
        args.find(|arg| arg.get_short() == Some(letter))
    }

    /// Returns the kind of a word at the cursor.
    pub fn kind_of(&self, word: &str) -> WordKind<'c> {
        if let Some(arg) = self.pending {
            let prefix = String::new();
            return WordKind::Value { arg, prefix };
        }
        if !self.is_escaped && word.starts_with('-') {
            return match word.split_once('=') {
                Some((flag, _)) => match flag.strip_prefix("--").and_then(|name| self.long(name)) {
                    Some(arg) if takes_value(arg) => WordKind::Value {
                        arg,
                        prefix: format!("{flag}="),
                    },
                    _ => WordKind::Nothing,
                },
                None => WordKind::Flag,
            };
        }
        if self.command.has_subcommands() {
            return WordKind::Command;
        }
        match self.positional(self.positionals.len()) {
            Some(arg) => WordKind::Value {
                arg,
                prefix: String::new(),
            },
            None => WordKind::Nothing,
        }
    }

    /// Returns the argument without a flag at a position.
    pub fn positional(&self, at: usize) -> Option<&'c Arg> {
        let args = || self.command.get_positionals();
        let last = || args().last().filter(|arg| is_repeatable(arg));
        args().nth(at).or_else(last)
    }

    /// Returns the values of an option that were given.
    pub fn values<'a>(&'a self, long: &'a str) -> impl Iterator<Item = &'a str> {
        let given = self.options.iter();
        let given = given.filter(move |(arg, _)| arg.get_long() == Some(long));
        given.filter_map(|(_, value)| value.as_deref())
    }

    /// Returns `true` if an option was given.
    pub fn has(&self, long: &str) -> bool {
        let mut given = self.options.iter();
        given.any(|(arg, _)| arg.get_long() == Some(long))
    }

    /// Returns the flags that can still be given.
    pub fn flags(&self) -> impl Iterator<Item = &'c Arg> {
        // A conflict is declared on one of the two.
        let conflict = |one: &Arg, other: &Arg| {
            let conflicts = self.command.get_arg_conflicts_with(one);
            conflicts.iter().any(|arg| arg.get_id() == other.get_id())
        };
        let excluded = move |arg: &Arg| {
            self.options.iter().any(|(given, _)| {
                let is_same = given.get_id() == arg.get_id();
                is_same && !is_repeatable(arg) || conflict(given, arg) || conflict(arg, given)
            })
        };
        let args = self.command.get_arguments();
        args.filter(move |arg| !arg.is_positional() && !arg.is_hide_set() && !excluded(arg))
    }
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

fn is_repeatable(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append | ArgAction::Count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command_line;

    /// Returns the command, its arguments, and the kind of the last word.
    fn read(text: &str) -> (String, Vec<String>, String) {
        let mut root = command_line::command();
        root.build();
        let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        let word = words.pop().expect("there is a word");
        let line = ParsedLine::read(&root, &words);
        let kind = match line.kind_of(&word) {
            WordKind::Flag => "flag".to_owned(),
            WordKind::Command => "command".to_owned(),
            WordKind::Nothing => "nothing".to_owned(),
            WordKind::Value { arg, prefix } => format!("{prefix}{}", value_name(arg)),
        };
        (line.name, line.positionals, kind)
    }

    fn value_name(arg: &Arg) -> String {
        arg.get_value_names()
            .map(|names| names.join(" "))
            .unwrap_or_default()
    }

    #[test]
    fn the_kind_of_the_word_at_the_cursor_is_known() {
        for (text, name, positionals, kind) in [
            ("ocisweep ", "", &[][..], "command"),
            ("ocisweep --color never ", "", &[], "command"),
            ("ocisweep hold ", "hold", &[], "command"),
            ("ocisweep rm ", "rm", &[], "LAYOUT"),
            ("ocisweep rmi ", "rm", &[], "LAYOUT"),
            ("ocisweep image rm L ", "image rm", &["L"], "IMAGE"),
            ("ocisweep rm L a ", "rm", &["L", "a"], "IMAGE"),
            ("ocisweep rm -nf L ", "rm", &["L"], "IMAGE"),
            ("ocisweep rm --trash L ", "rm", &["L"], "IMAGE"),
            ("ocisweep rm --trash=7d L ", "rm", &["L"], "IMAGE"),
            ("ocisweep rm --grace 0 L ", "rm", &["L"], "IMAGE"),
            ("ocisweep rm --platform ", "rm", &[], "PLATFORM"),
            (
                "ocisweep rm --platform=a,",
                "rm",
                &[],
                "--platform=PLATFORM",
            ),
            ("ocisweep rm L --pl", "rm", &["L"], "flag"),
            ("ocisweep rm L -- -a ", "rm", &["L", "-a"], "IMAGE"),
            ("ocisweep rm L -- -", "rm", &["L"], "IMAGE"),
            ("ocisweep ls -f ", "ls", &[], "FILTER"),
            ("ocisweep ls -f until=7d ", "ls", &[], "LAYOUT"),
            ("ocisweep ls -funtil=7d ", "ls", &[], "LAYOUT"),
            ("ocisweep ls L rm ", "ls", &["L", "rm"], "LAYOUT"),
            ("ocisweep why L x ", "why", &["L", "x"], "nothing"),
            ("ocisweep prune --yes ", "prune", &[], "LAYOUT"),
            ("ocisweep blobs --dead ", "blobs", &[], "LAYOUT"),
            (
                "ocisweep no-such-command ",
                "",
                &["no-such-command"],
                "command",
            ),
        ] {
            let positionals = positionals.iter().map(|word| (*word).to_owned()).collect();
            let want = (name.to_owned(), positionals, kind.to_owned());
            assert_eq!(read(text), want, "{text}");
        }
    }
}
