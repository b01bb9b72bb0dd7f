//! Help, manual pages and completions.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use clap::Command;

use super::args::{CompletionsArgs, HelpArgs, ManArgs};
use super::command_line;
use super::completion;
use super::context::Context;
use super::exit::{self, Exit};
use super::manual::{name, page};
use super::topics::{self, TOPICS};

/// Returns the command that `words` name, one word for each level.
///
/// # Errors
/// The first word that is not a command, with the commands that are possible in its place.
fn find<'c, 'w>(root: &'c Command, words: &'w [String]) -> Result<&'c Command, (&'w str, String)> {
    words.iter().try_fold(root, |command, word| {
        command.find_subcommand(word).ok_or_else(|| {
            let visible = command
                .get_subcommands()
                .filter(|command| !command.is_hide_set());
            let names: Vec<&str> = visible.map(Command::get_name).collect();
            (word.as_str(), names.join(", "))
        })
    })
}

/// Reports a word that is not a command, or not a `what`.
fn unknown(context: &Context<'_>, what: &str, word: &str, known: &str, topics: &str) -> Exit {
    let hint = format!("the commands are {known}{topics}");
    context.fail(
        exit::USAGE,
        &format!("unknown {what} `{word}`"),
        (!known.is_empty()).then_some(hint.as_str()),
    )
}

/// `ocisweep help`
///
/// # Errors
/// The exit status, if there is no such command or topic.
pub fn help(context: &Context<'_>, args: &HelpArgs) -> Result<Exit, Exit> {
    let is_single = args.words.len() == 1;
    if let [word] = args.words.as_slice()
        && let Some(text) = topics::text(word)
    {
        return Ok(context.print(text));
    }
    let root = command_line::command();
    find(&root, &args.words).map_err(|(word, known)| {
        let topics = TOPICS.map(|(name, _)| name).join(", ");
        let topics = is_single.then(|| format!("; the topics are {topics}"));
        let topics = topics.unwrap_or_default();
        unknown(context, "command or help topic", word, &known, &topics)
    })?;
    let words = ["ocisweep"].into_iter();
    let words = words.chain(args.words.iter().map(String::as_str));
    // The text of `--help`, with the same colours and width.
    match root.try_get_matches_from(words.chain(["--help"])) {
        Err(error) => Ok(command_line::print_help(&error, context.term.colors())),
        Ok(_) => Err(exit::USAGE),
    }
}

/// `ocisweep completions`
pub fn completions(context: &Context<'_>, args: &CompletionsArgs) -> Exit {
    if let Some(shell) = completion::Shell::parse(&args.shell.to_string()) {
        return context.print(shell.script());
    }
    // Other shells get the commands and flags of this version, without names.
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut command_line::command(),
        "ocisweep",
        &mut script,
    );
    context.print(&String::from_utf8_lossy(&script))
}

/// `ocisweep man`
///
/// # Errors
/// The exit status, if there is no such command, or a page cannot be written.
pub fn man(context: &Context<'_>, args: &ManArgs) -> Result<Exit, Exit> {
    let mut root = command_line::command();
    root.build();
    if let Some(dir) = &args.dir {
        return write_pages(context, &root, dir);
    }
    let command = find(&root, &args.command)
        .map_err(|(word, known)| unknown(context, "command", word, &known, ""))?;
    let text = page(command).map_err(|error| {
        let text = format!("cannot make a page: {error}");
        context.fail(exit::IO, &text, None)
    })?;
    Ok(context.print(&String::from_utf8_lossy(&text)))
}

fn write_pages(context: &Context<'_>, root: &Command, dir: &Path) -> Result<Exit, Exit> {
    let mut open = vec![root];
    let mut written = String::new();
    while let Some(command) = open.pop() {
        // A hidden command has its page under its own name.
        let visible = command.get_subcommands();
        open.extend(visible.filter(|command| !command.is_hide_set()));
        let path = dir.join(format!("{}.1", name(command)));
        #[expect(
            clippy::disallowed_methods,
            reason = "pages are written to the directory that the user named"
        )]
        let page = page(command).and_then(|text| fs::write(&path, text));
        page.map_err(|error| {
            let text = format!("cannot write `{}`: {error}", path.display());
            let is_absent = error.kind() == io::ErrorKind::NotFound;
            let hint = is_absent.then_some("the directory must exist");
            context.fail(exit::IO, &text, hint)
        })?;
        let _ = writeln!(written, "{}", path.display());
    }
    Ok(context.print(&written))
}
