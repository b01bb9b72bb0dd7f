//! The command: parses arguments, calls the library and prints the results.
//!
//! It uses only the public interface of the library, and decides no deletion.

#![expect(
    unreachable_pub,
    reason = "modules of a binary are reachable from nowhere else"
)]

mod archives;
mod args;
mod audit;
mod command_line;
mod commands;
mod completion;
mod context;
mod docs;
mod exit;
mod hint;
mod layouts;
mod locations;
mod manual;
mod metrics;
mod mistaken;
mod quote;
mod render;
mod replaced;
mod run;
mod term;
mod topics;
mod trash;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use ocisweep::layout::IgnoredIndexes;

use args::Command;
use audit::Audit;
use context::Context;
use exit::Exit;
use metrics::Metrics;
use term::{Settings, Term};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    #[expect(
        clippy::disallowed_methods,
        reason = "the command is where the arguments are read"
    )]
    let words: Vec<OsString> = std::env::args_os().collect();
    #[expect(
        clippy::disallowed_methods,
        reason = "the command reads the environment, the library does not"
    )]
    let env = |name: &str| std::env::var_os(name);
    if completion::answer(&words, &env) {
        return exit::DONE.code();
    }
    let environment = Settings {
        no_color: env("NO_COLOR").is_some_and(|value| !value.is_empty()),
        dumb: env("TERM").is_some_and(|value| value == "dumb"),
        columns: env("COLUMNS").and_then(|value| value.to_str()?.parse().ok()),
        ..Settings::default()
    };
    let mut args = match command_line::parse(words, &environment) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let settings = Settings {
        color: args.global.color,
        progress: args.global.progress,
        level: args.command.level(),
        results_on_stderr: archives::writes_to_stdout(&args.command),
        ..environment
    };
    let term = Term::new(&settings);
    if let Err(exit) = locations::resolve(&term, &mut args.command, env(locations::VARIABLE)) {
        return exit.code();
    }
    let ignored = IgnoredIndexes::new(args.global.ignore_index);
    let mut context = match Context::new(&term, args.global.now, ignored) {
        Ok(context) => context,
        Err(error) => {
            term.error(&format!("cannot catch signals: {error}"), None);
            return exit::IO.code();
        }
    };
    context.archives = match archives::of(&term, &args.command) {
        Ok(archives) => archives,
        Err(exit) => return exit.code(),
    };
    if let Some(asked) = args.command.trash() {
        match trash::options(asked, env(trash::VARIABLE)) {
            Ok(options) => context.trash = options,
            Err(text) => {
                term.error(&text, Some("such as 14d; 0 deletes without a trash"));
                return exit::USAGE.code();
            }
        }
    }
    let changes = args.command.changes();
    if let Err(exit) = open_records(&mut context, &args.command) {
        return exit.code();
    }
    let exit = match args.command {
        Command::Gc(args) => commands::gc::run(&context, &args),
        Command::Prune(args) => commands::prune::run(&context, &args),
        Command::Apply(args) => commands::apply::run(&context, &args),
        Command::Rm(args) => commands::rm::run(&context, &args),
        Command::Hold(command) => commands::hold::run(&context, &command),
        Command::Undo(args) => Ok(commands::undo::run(&context, &args)),
        Command::Trash(command) => Ok(commands::trash::run(&context, &command)),
        Command::Ls(args) => commands::ls::run(&context, &args),
        Command::Df(args) => commands::df::run(&context, &args),
        Command::Check(args) => commands::check::run(&context, &args),
        Command::Why(args) => commands::why::run(&context, &args),
        Command::Blobs(args) => commands::blobs::run(&context, &args),
        Command::Completions(args) => Ok(docs::completions(&context, &args)),
        Command::Man(args) => docs::man(&context, &args),
        Command::Help(args) => docs::help(&context, &args),
    };
    // An error is an exit status as well: the reason was printed.
    let exit = exit.unwrap_or_else(|exit| exit);
    term.progress().finish();
    for file in context.ignored.unused() {
        term.note(&format!(
            "`--ignore-index {}` ignored nothing: no layout that was read has such a file",
            file.display()
        ));
    }
    let failure = context.audit.as_ref().and_then(|audit| audit.failure());
    let exit = match failure {
        Some(text) => exit.and(context.fail(exit::IO, &text, None)),
        None => exit,
    };
    // A list that was not read to its end succeeds; a deletion whose results were not shown does not.
    let exit = if term.broken_pipe() && changes {
        exit.and(exit::INCOMPLETE)
    } else {
        exit
    };
    context.write_metrics(exit).code()
}

/// Opens the files in which the run records what it does, before it does anything. A dry run records nothing.
fn open_records(context: &mut Context<'_>, command: &Command) -> Result<(), Exit> {
    if !command.changes() {
        return Ok(());
    }
    let refuse = |context: &Context<'_>, path: &Path, error: &std::io::Error| {
        let path = path.display();
        let text = format!("cannot write `{path}`: {error}; nothing was changed");
        context.fail(exit::IO, &text, None)
    };
    if let Some((path, name, targets)) = command.metrics() {
        match Metrics::open(path, name, targets) {
            Ok(metrics) => context.metrics = Some(metrics),
            Err(error) => return Err(refuse(context, path, &error)),
        }
    }
    if let Some(path) = command.audit_log() {
        match Audit::open(path) {
            Ok(audit) => context.audit = Some(Arc::new(audit)),
            Err(error) => {
                let exit = refuse(context, path, &error);
                return Err(context.write_metrics(exit));
            }
        }
    }
    Ok(())
}
