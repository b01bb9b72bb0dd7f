//! Help, manual pages, completions, and usage errors.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::args::{Args, CompletionsArgs, HelpArgs, ManArgs};
use super::context::Context;
use super::exit::{self, Exit};
use super::topics::{self, TOPICS};

/// Prints the requested help, or a usage error in the format of all other errors.
pub fn refusal(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        // A reader that closes the pipe has read enough.
        drop(error.print());
        return match error.kind() {
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => exit::USAGE.code(),
            _ => exit::DONE.code(),
        };
    }
    let text = in_our_words(&error.render().to_string());
    // Without stderr an error cannot be reported.
    drop(io::stderr().lock().write_all(text.as_bytes()));
    exit::USAGE.code()
}

/// Replaces clap's `error: …` and `tip: …` by `ocisweep: …` and `hint: …`.
fn in_our_words(text: &str) -> String {
    let mut said = String::with_capacity(text.len());
    for line in text.lines() {
        let line = match line.split_once(": ") {
            Some(("error", why)) => format!("ocisweep: {why}"),
            Some(("  tip", tip)) => format!("hint: {tip}"),
            _ => line.to_owned(),
        };
        said.push_str(&line);
        said.push('\n');
    }
    said
}

/// A word that is not a command, with the commands that could be written in its place.
struct Unknown<'w> {
    word: &'w str,
    known: String,
}

/// Returns the command that `words` name, one word for each level.
fn find<'c, 'w>(root: &'c Command, words: &'w [String]) -> Result<&'c Command, Unknown<'w>> {
    words.iter().try_fold(root, |command, word| {
        command.find_subcommand(word).ok_or_else(|| {
            let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
            Unknown {
                word,
                known: names.join(", "),
            }
        })
    })
}

/// `ocisweep help`
pub fn help(context: &Context<'_>, args: &HelpArgs) -> Exit {
    if let [word] = args.words.as_slice()
        && let Some(text) = topics::text(word)
    {
        return context.print(text);
    }
    let root = Args::command();
    if let Err(Unknown { word, known }) = find(&root, &args.words) {
        let topics: Vec<&str> = TOPICS.iter().map(|(name, _)| *name).collect();
        let hint = match args.words.as_slice() {
            [_] => format!(
                "the commands are {known}; the topics are {}",
                topics.join(", ")
            ),
            _ => format!("the commands are {known}"),
        };
        context.term.error(
            &format!("no command or help topic is called `{word}`"),
            (!known.is_empty()).then_some(hint.as_str()),
        );
        return exit::USAGE;
    }
    let words = ["ocisweep"].into_iter();
    let words = words.chain(args.words.iter().map(String::as_str));
    // clap itself prints what `--help` prints, with the same colours and width.
    match root.try_get_matches_from(words.chain(["--help"])) {
        Err(error) => drop(error.print()),
        Ok(_) => return exit::USAGE,
    }
    exit::DONE
}

/// `ocisweep completions`
pub fn completions(context: &Context<'_>, args: &CompletionsArgs) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "ocisweep", &mut script);
    context.print(&String::from_utf8_lossy(&script))
}

/// `ocisweep man`
pub fn man(context: &Context<'_>, args: &ManArgs) -> Exit {
    let mut root = Args::command();
    root.build();
    if let Some(dir) = &args.dir {
        return write_pages(context, &root, dir);
    }
    let command = match find(&root, &args.command) {
        Ok(command) => command,
        Err(Unknown { word, known }) => {
            let hint = format!("the commands are {known}");
            context.term.error(
                &format!("no command is called `{word}`"),
                (!known.is_empty()).then_some(hint.as_str()),
            );
            return exit::USAGE;
        }
    };
    match page(command) {
        Ok(text) => context.print(&String::from_utf8_lossy(&text)),
        Err(error) => {
            context
                .term
                .error(&format!("cannot make a page: {error}"), None);
            exit::IO
        }
    }
}

fn write_pages(context: &Context<'_>, root: &Command, dir: &Path) -> Exit {
    let mut open = vec![root];
    let mut said = String::new();
    while let Some(command) = open.pop() {
        open.extend(command.get_subcommands());
        let path = dir.join(format!("{}.1", name(command)));
        #[expect(
            clippy::disallowed_methods,
            reason = "pages go into the directory that the user named"
        )]
        let written = page(command).and_then(|text| fs::write(&path, text));
        if let Err(error) = written {
            let text = format!("cannot write `{}`: {error}", path.display());
            let hint =
                (error.kind() == io::ErrorKind::NotFound).then_some("the directory must exist");
            context.term.error(&text, hint);
            return exit::IO;
        }
        let _ = writeln!(said, "{}", path.display());
    }
    context.print(&said)
}

/// Returns the name of a command with those of its parents: `ocisweep-hold-add`.
fn name(command: &Command) -> String {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned()
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    Man::new(command.clone())
        .title(name(command).to_uppercase())
        .source(concat!("ocisweep ", env!("CARGO_PKG_VERSION")))
        .render(&mut text)?;
    Ok(text)
}
