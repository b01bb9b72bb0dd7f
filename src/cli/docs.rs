//! What the command says about itself: manual pages, completions, and why a command line makes no sense.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::args::{Args, CompletionsArgs, ManArgs};
use super::context::Context;
use super::exit::{self, Exit};

/// Prints the help that was asked for, or the reason why a command line is none, worded like every other error.
pub fn refusal(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        // Whoever stops reading help has read enough.
        drop(error.print());
        return match error.kind() {
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => exit::USAGE.code(),
            _ => exit::DONE.code(),
        };
    }
    let text = in_our_words(&error.render().to_string());
    // Without stderr there is nobody to tell.
    drop(io::stderr().lock().write_all(text.as_bytes()));
    exit::USAGE.code()
}

/// Says `ocisweep: …` and `hint: …` where clap says `error: …` and `tip: …`.
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
    let mut command = &root;
    for word in &args.command {
        let Some(found) = command.find_subcommand(word) else {
            let mut known = String::new();
            for sub in command.get_subcommands() {
                let _ = write!(
                    known,
                    "{}{}",
                    if known.is_empty() { "" } else { ", " },
                    sub.get_name()
                );
            }
            let hint = format!("the commands are {known}");
            context.term.error(
                &format!("no command is called `{word}`"),
                (!known.is_empty()).then_some(hint.as_str()),
            );
            return exit::USAGE;
        };
        command = found;
    }
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
        let written = page(command).and_then(|text| fs::write(&path, text));
        if let Err(error) = written {
            let text = format!("cannot write `{}`: {error}", path.display());
            let hint = (error.kind() == io::ErrorKind::NotFound)
                .then_some("the directory has to be there");
            context.term.error(&text, hint);
            return exit::IO;
        }
        let _ = writeln!(said, "{}", path.display());
    }
    context.print(&said)
}

/// Returns the name of a command and of those that it is a part of: `ocisweep-hold-add`.
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
