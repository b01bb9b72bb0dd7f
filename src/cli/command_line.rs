//! Parses the command line, with docker's command names as well, and explains errors in it.
//!
//! `image ls`, `image rm`, `image prune`, `system df` and `system prune` are the commands of the same names without the
//! first word. They are copies of those, so that flags and help are the same.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args as _, Command, CommandFactory as _, FromArgMatches as _, ValueEnum as _};

use super::args::{self, Args, Global};
use super::exit::{self, Exit};
use super::quote::quote;
use super::render::json;
use super::term::{Colors, Settings, When, escape};

/// docker's groups of commands.
const GROUPS: [(&str, &[&str]); 2] = [
    ("image", &["ls", "rm", "prune"]),
    ("system", &["df", "prune"]),
];

/// Docker commands that do not exist here, each with a hint.
const ELSEWHERE: [(&str, &str); 5] = [
    (
        "inspect",
        "`ocisweep ls --tree --format json LAYOUT` prints the parts of each image, `ocisweep why LAYOUT IMAGE` its blobs",
    ),
    (
        "history",
        "`ocisweep why LAYOUT IMAGE` prints the blobs of an image",
    ),
    (
        "tag",
        "ocisweep only removes names; `skopeo copy` and `oras tag` add them",
    ),
    (
        "untag",
        "`ocisweep rm --no-prune LAYOUT IMAGE` only removes a name",
    ),
    (
        "info",
        "`ocisweep df LAYOUT` prints disk usage, `ocisweep --version` the version",
    ),
];

/// Returns all commands, with docker's groups, which are hidden: their commands are listed once.
pub fn command() -> Command {
    let mut root = Args::command();
    for (group, names) in GROUPS {
        let known = names.iter().filter_map(|name| root.find_subcommand(name));
        let commands = known.cloned().map(|command| match command.get_name() {
            // The only one of them whose usage is written out.
            "rm" => command.override_usage("ocisweep image rm [OPTIONS] [LAYOUT] IMAGE..."),
            _ => command,
        });
        let commands: Vec<Command> = commands.collect();
        let about = format!(
            "{} under docker's {}",
            names.join(", "),
            if names.len() == 1 { "name" } else { "names" }
        );
        let group = Command::new(group)
            .about(about)
            .hide(true)
            .subcommand_required(true)
            .arg_required_else_help(true)
            .disable_help_subcommand(true)
            .subcommands(commands);
        root = root.subcommand(group);
    }
    root
}

/// Parses the command line of this process.
///
/// # Errors
/// The exit status, after help or an error was printed.
pub fn parse(words: Vec<OsString>, environment: &Settings) -> Result<Args, ExitCode> {
    if asks_for_version(&words) {
        let mut out = io::stdout().lock();
        let result = out.write_all(version_json().as_bytes());
        return Err(printed(result.and_then(|()| out.flush())).code());
    }
    if let Some(args) = parse_one(&words) {
        return Ok(args);
    }
    let parsed = parse_any(&words);
    parsed.map_err(|error| refuse(&error, &words, environment))
}

/// Parses a valid command line that begins with the name of a command. Building the parser of all commands takes a
/// millisecond, a third of the time of `ls` on a small layout; the parser of one command has neither help nor hints.
fn parse_one(words: &[OsString]) -> Option<Args> {
    let parser = args::Command::parser(words.get(1)?.to_str()?)?;
    let root = Global::augment_args(Command::new("ocisweep")).subcommand(parser);
    let matches = root.try_get_matches_from(words).ok()?;
    Some(Args {
        global: Global::from_arg_matches(&matches).ok()?,
        command: args::Command::from_arg_matches(&matches).ok()?,
    })
}

/// Parses any command line.
fn parse_any(words: &[OsString]) -> Result<Args, clap::Error> {
    command().try_get_matches_from(words).and_then(|matches| {
        let inner = match matches.subcommand() {
            Some((name, inner)) if GROUPS.iter().any(|(group, _)| *group == name) => inner,
            _ => &matches,
        };
        Ok(Args {
            global: Global::from_arg_matches(&matches)?,
            command: args::Command::from_arg_matches(inner)?,
        })
    })
}

/// Returns `true` for `--version --json`, in any order, without a command.
fn asks_for_version(words: &[OsString]) -> bool {
    let has = |wanted: &str| words.iter().skip(1).any(|word| word == wanted);
    has("--json") && (has("--version") || has("-V")) && named(&command(), words).1.is_empty()
}

/// Returns the version for programs.
fn version_json() -> String {
    #[derive(serde::Serialize)]
    struct JsonVersion {
        version: &'static str,
        commit: Option<&'static str>,
        archives: bool,
    }
    json::document(
        "version",
        JsonVersion {
            version: env!("CARGO_PKG_VERSION"),
            commit: args::commit(),
            archives: cfg!(feature = "archives"),
        },
    )
}

/// Returns the result of printing. A closed pipe is not an error: the reader has read enough.
pub fn printed(result: io::Result<()>) -> Exit {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let line = format!("ocisweep: cannot write to standard output: {error}\n");
            // Without stderr an error cannot be reported.
            drop(io::stderr().lock().write_all(line.as_bytes()));
            exit::IO
        }
        _ => exit::DONE,
    }
}

/// Prints help to stdout. clap's own printing has other rules for colours: it ignores `--color` and, if `CI` is set,
/// `TERM=dumb`.
pub fn print_help(help: &clap::Error, colors: Colors) -> Exit {
    let mut out = io::stdout().lock();
    let result = out.write_all(help_text(help, colors).as_bytes());
    printed(result.and_then(|()| out.flush()))
}

fn help_text(help: &clap::Error, colors: Colors) -> String {
    let text = help.render();
    match colors {
        Colors::On => text.ansi().to_string(),
        Colors::Off => text.to_string(),
    }
}

/// Returns the value of `--color` in a command line that may be invalid.
fn color_of(words: &[OsString]) -> When {
    let mut color = When::default();
    let mut words = words.iter().map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        let value = match word.strip_prefix("--color") {
            Some("") => words.next(),
            Some(rest) => rest.strip_prefix('=').map(|value| value.to_owned().into()),
            None if word == "--" => break,
            None => None,
        };
        if let Some(known) = value.and_then(|value| When::from_str(&value, false).ok()) {
            color = known;
        }
    }
    color
}

/// Prints the requested help, or the error in the format of all other errors.
fn refuse(error: &clap::Error, words: &[OsString], environment: &Settings) -> ExitCode {
    let settings = Settings {
        color: color_of(words),
        ..environment.clone()
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let colors = settings.colors(io::stdout().is_terminal());
            return print_help(error, colors).code();
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let short = match words {
                [_] => overview().try_get_matches_from(words).err(),
                _ => None,
            };
            let colors = settings.colors(io::stderr().is_terminal());
            let text = help_text(short.as_ref().unwrap_or(error), colors);
            // Without stderr help cannot be printed.
            drop(io::stderr().lock().write_all(text.as_bytes()));
            return exit::USAGE.code();
        }
        _ => {}
    }
    let mut root = command();
    root.build();
    let (text, hint) = explain(error, &root, words);
    let mut lines = format!("ocisweep: {}\n", escape(&text));
    // Writing to a String cannot fail.
    let _ = writeln!(lines, "hint: {}", escape(&hint));
    // Without stderr an error cannot be reported.
    drop(io::stderr().lock().write_all(lines.as_bytes()));
    exit::USAGE.code()
}

/// Returns what the program prints when it is called without arguments: the commands, in fewer than the 24 lines of a
/// terminal.
fn overview() -> Command {
    const TEMPLATE: &str = "{about}\n\n{subcommands}{after-help}";
    command()
        .help_template(TEMPLATE)
        .after_help("`ocisweep help [COMMAND]` lists options, topics and exit statuses")
}

/// Returns the command that the words name, and its name without that of the program.
fn named<'c>(root: &'c Command, words: &[OsString]) -> (&'c Command, String) {
    let mut command = root;
    let mut names = Vec::new();
    for word in words.iter().skip(1) {
        let found = word.to_str().and_then(|word| command.find_subcommand(word));
        match found {
            Some(found) => {
                command = found;
                names.push(found.get_name());
            }
            // A global flag may precede the command, a layout may follow it.
            None if command.has_subcommands() => {}
            None => break,
        }
    }
    (command, names.join(" "))
}

/// Returns the error and a hint.
fn explain(error: &clap::Error, root: &Command, words: &[OsString]) -> (String, String) {
    let (command, name) = named(root, words);
    let help = match name.as_str() {
        "" => "`ocisweep help` lists the commands".to_owned(),
        name => format!("`ocisweep help {name}` lists the options"),
    };
    let called = match name.as_str() {
        "" => "ocisweep",
        name => name,
    };
    let given = |kind| error.get(kind).map(strings).unwrap_or_default();
    let first = |kind| given(kind).into_iter().next();
    let arg = first(ContextKind::InvalidArg).unwrap_or_default();
    let flag = arg.split([' ', '=']).next().unwrap_or_default();
    let fallback = || {
        let text = error.render().to_string();
        let line = text.lines().next().unwrap_or_default();
        line.trim_start_matches("error: ").to_owned()
    };
    match error.kind() {
        ErrorKind::UnknownArgument if arg.starts_with('-') => {
            let owners = owners(root, flag);
            let hint = match first(ContextKind::SuggestedArg) {
                Some(meant) => format!("did you mean `{meant}`? {help}"),
                None if !owners.is_empty() => {
                    format!("`{flag}` is an option of {}", owners.join(", "))
                }
                None => help,
            };
            (format!("`{called}` has no option `{flag}`"), hint)
        }
        ErrorKind::UnknownArgument => {
            let usage = usage(command);
            (
                format!("unexpected argument `{arg}` for `{called}`"),
                format!("`{usage}`; {help}"),
            )
        }
        ErrorKind::InvalidSubcommand => {
            let word = first(ContextKind::InvalidSubcommand).unwrap_or_default();
            let meant = first(ContextKind::SuggestedSubcommand);
            let elsewhere = ELSEWHERE.iter().find(|(known, _)| *known == word);
            let hint = match (elsewhere, meant) {
                (Some((_, hint)), _) => (*hint).to_owned(),
                (None, Some(meant)) => format!("did you mean `{meant}`? {}", commands(command)),
                (None, None) => commands(command),
            };
            let word = format!("{name} {word}");
            (format!("unknown command `{}`", word.trim_start()), hint)
        }
        ErrorKind::MissingRequiredArgument => {
            let missing: Vec<String> = given(ContextKind::InvalidArg)
                .iter()
                .map(|arg| match plain(arg).replace('|', "` or `") {
                    flags if flags.starts_with('-') => format!("`{flags}`"),
                    name => name,
                })
                .collect();
            (
                format!("`{called}` needs {}", missing.join(" and ")),
                format!("`{}`; {help}", usage(command)),
            )
        }
        ErrorKind::MissingSubcommand => (format!("`{called}` needs a command"), commands(command)),
        ErrorKind::ArgumentConflict => {
            let prior: Vec<String> = given(ContextKind::PriorArg)
                .iter()
                .map(|prior| format!("`{}`", plain(prior)))
                .collect();
            let flag = plain(&arg);
            if prior.iter().any(|prior| *prior == format!("`{flag}`")) {
                return (format!("`{flag}` is given more than once"), help);
            }
            (
                format!("cannot use `{flag}` with {}", prior.join(" and ")),
                help,
            )
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = first(ContextKind::InvalidValue).unwrap_or_default();
            let known = given(ContextKind::ValidValue).join(", ");
            if value.is_empty() && std::error::Error::source(error).is_none() {
                return (format!("`{}` needs a value", plain(&arg)), help);
            }
            let used = match flag.starts_with('-') {
                true => format!("{flag} {}", quote(&value)),
                false => value,
            };
            let why = match std::error::Error::source(error) {
                Some(source) => source.to_string(),
                None => format!("the values are {known}"),
            };
            let hint = match first(ContextKind::SuggestedValue) {
                Some(meant) => format!("did you mean `{meant}`? {help}"),
                None => help,
            };
            (format!("cannot use `{used}`: {why}"), hint)
        }
        _ => (fallback(), help),
    }
}

/// Returns the strings of a part of an error.
fn strings(value: &ContextValue) -> Vec<String> {
    match value {
        ContextValue::String(text) => vec![text.clone()],
        ContextValue::Strings(texts) => texts.clone(),
        _ => Vec::new(),
    }
}

/// Returns an argument as messages show it: `--max-size`, `LAYOUT`.
fn plain(arg: &str) -> String {
    let name = match arg.starts_with('-') {
        true => arg.split([' ', '=', '[']).next().unwrap_or_default(),
        false => arg,
    };
    name.replace(['<', '>', '[', ']'], "").replace("...", "")
}

/// Returns the commands that have an option.
fn owners(root: &Command, flag: &str) -> Vec<String> {
    let has = |command: &Command| {
        command.get_arguments().any(|arg| {
            let long = arg.get_long_and_visible_aliases().unwrap_or_default();
            let short = arg.get_short_and_visible_aliases().unwrap_or_default();
            match flag.strip_prefix("--") {
                Some(name) => long.contains(&name),
                None => flag
                    .strip_prefix('-')
                    .and_then(|name| name.chars().next())
                    .is_some_and(|name| short.contains(&name)),
            }
        })
    };
    let visible = root
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let owners = visible.filter(|command| has(command));
    owners
        .map(|command| format!("`{}`", command.get_name()))
        .collect()
}

/// Returns the list of commands, for an unknown one.
fn commands(command: &Command) -> String {
    let visible = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let names: Vec<&str> = visible.map(Command::get_name).collect();
    format!("the commands are {}", names.join(", "))
}

/// Returns the first line of the usage of a command.
fn usage(command: &Command) -> String {
    let text = command.clone().render_usage().to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.trim_start_matches("Usage: ");
    line.replace(['<', '>'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        let words = line.split(' ').filter(|word| !word.is_empty());
        std::iter::once("ocisweep")
            .chain(words)
            .map(Into::into)
            .collect()
    }

    #[test]
    fn the_parser_of_one_command_equals_that_of_the_full_parser() {
        let mut root = command();
        root.build();
        let mut found = 0;
        for listed in root.get_subcommands() {
            let Some(alone) = args::Command::parser(listed.get_name()) else {
                continue;
            };
            found += 1;
            let mut small = Global::augment_args(Command::new("ocisweep")).subcommand(alone);
            small.build();
            let alone = small.find_subcommand(listed.get_name());
            let alone = alone.expect("it is the only one");
            let arguments = |command: &Command| -> Vec<String> {
                let arguments = command.get_arguments();
                arguments
                    // Only the program itself has a version and a help of its own.
                    .filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
                    .map(|argument| format!("{argument:?}"))
                    .collect()
            };
            assert_eq!(arguments(alone), arguments(listed), "{}", listed.get_name());
            let settings = |command: &Command| {
                [
                    command.is_arg_required_else_help_set(),
                    command.is_subcommand_required_set(),
                    command.is_allow_missing_positional_set(),
                    command.is_allow_external_subcommands_set(),
                    command.is_args_override_self(),
                    command.is_multicall_set(),
                    command.is_no_binary_name_set(),
                ]
            };
            assert_eq!(settings(alone), settings(listed), "{}", listed.get_name());
        }
        assert_eq!(found, 10);
    }

    #[test]
    fn both_parsers_parse_a_line_alike() {
        let mut quick = 0;
        for line in [
            "gc a -n --grace 0",
            "gc --color never -r a b --now 2026-01-01T00:00:00Z",
            "gc a --ignore-index x.json --ignore-index=y.json",
            "gc --grace",
            "gc --no-such-flag a",
            "gc a --help",
            "gc --version",
            "gc -V",
            "rm a app:1 app:2 -f",
            "rm a app:1 --platform linux/amd64,linux/arm64 --platform-mode hollow",
            "rm a",
            "rm",
            "rmi a app:1",
            "prune a -a --filter until=7d --max-size 5GB --keep-last 3",
            "prune a --keep-last x",
            "apply plan.json -n",
            "undo a 2026",
            "ls",
            "ls a -q --no-trunc --format json",
            "list a",
            "images a",
            "df a b -v",
            "du a",
            "check a --quick",
            "why a app:1",
            "blobs a --live",
            "trash ls a",
            "hold add a name app:1",
            "image ls a",
            "--color never ls a",
            "nonsense",
            "",
        ] {
            let words = words(line);
            let one = parse_one(&words).map(|args| format!("{args:?}"));
            let any = parse_any(&words).map(|args| format!("{args:?}"));
            if let Some(one) = one {
                quick += 1;
                assert_eq!(Some(one), any.ok(), "{line}");
            }
        }
        assert!(quick >= 14, "only {quick} lines have a parser of their own");
    }
}
