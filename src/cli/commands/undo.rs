//! `ocisweep undo`

use std::fmt::Write as _;
use std::path::Path;

use ocisweep::Error;
use ocisweep::execute::Undone;
use ocisweep::oci::Digest;
use ocisweep::ops::{self, UndoRequest};
use ocisweep::parse::size::human_size;
use serde::Serialize;

use crate::cli::args::{TextFormat, TreeArgs, UndoArgs};
use crate::cli::context::{Context, quote_path};
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::choose;
use crate::cli::mistaken::CommandLine;
use crate::cli::render::json;
use crate::cli::render::sweep::count;
use crate::cli::run::run_mode;

/// Undoes a run, or restores one blob.
pub fn run(context: &Context<'_>, args: &UndoArgs) -> Exit {
    if let Some(text) = &args.blob {
        return match Digest::parse(text) {
            Ok(digest) => blob(context, args, &digest),
            Err(error) => {
                let text = format!("cannot use `--blob {text}`: {error}");
                context.term.error(&text, None);
                exit::USAGE
            }
        };
    }
    if args.recursive {
        return tree(context, args);
    }
    match one(context, args, &args.layout) {
        Ok((document, exit)) => exit.and(print(context, args, &document)),
        Err(exit) => exit,
    }
}

/// Undoes the last run of every layout below a directory that has a trash.
fn tree(context: &Context<'_>, args: &UndoArgs) -> Exit {
    let tree = TreeArgs {
        paths: vec![args.layout.clone()],
        recursive: true,
    };
    let chosen = match choose(context, &tree, CommandLine::default()) {
        Ok(chosen) => chosen,
        Err(exit) => return exit,
    };
    let mut exit = chosen.exit;
    let mut documents = Vec::new();
    for path in &chosen.layouts {
        if context.stopped() {
            return exit.and(exit::INTERRUPTED);
        }
        let runs = context.open(path).and_then(|layout| layout.trashed_runs());
        match runs {
            Ok(runs) if runs.iter().all(|run| matches!(run.record, Ok(None))) => continue,
            Ok(_) => {}
            Err(error) => {
                exit = exit.and(context.report(&error));
                continue;
            }
        }
        match one(context, args, path) {
            Ok((document, ended)) => {
                exit = exit.and(ended);
                if args.format == TextFormat::Text {
                    let path = path.to_string_lossy();
                    let head = format!("{}:\n", context.term.foreign(&path));
                    exit = exit.and(context.print(&head));
                    exit = exit.and(print(context, args, &document));
                }
                documents.push(document);
            }
            Err(ended) => exit = exit.and(ended),
        }
    }
    match args.format {
        TextFormat::Json => exit.and(context.print(&json::pretty(&Documents {
            schema_version: json::SCHEMA_VERSION,
            command: "undo",
            dry_run: args.dry_run,
            layouts: documents,
        }))),
        TextFormat::Text => exit,
    }
}

/// Undoes a run of one layout, and reports what could not be restored.
///
/// # Errors
/// The exit status, after the reason was printed.
fn one(context: &Context<'_>, args: &UndoArgs, layout: &Path) -> Result<(Document, Exit), Exit> {
    let open = || context.open(layout);
    let request = match &args.run {
        Some(name) => UndoRequest::Run(name),
        None => UndoRequest::Last,
    };
    let mode = run_mode(args.dry_run, args.lock_wait);
    match ops::undo(&open, request, mode, context.watcher()) {
        Ok(undone) => Ok(show(context, args, layout, &undone)),
        Err(error) => Err(report(context, layout, &error)),
    }
}

fn report(context: &Context<'_>, layout: &Path, error: &Error) -> Exit {
    let hint = matches!(error, Error::Trash { .. })
        .then(|| format!("`ocisweep trash ls {}` lists the runs", quote_path(layout)));
    context.report_with(error, hint)
}

fn blob(context: &Context<'_>, args: &UndoArgs, digest: &Digest) -> Exit {
    let layout = match context.open(&args.layout) {
        Ok(layout) => layout,
        Err(error) => return context.report(&error),
    };
    let mode = run_mode(args.dry_run, args.lock_wait);
    let restored = match ops::undo_blob(&layout, digest, mode, context.watcher()) {
        Ok(restored) => restored,
        Err(error) => return report(context, &args.layout, &error),
    };
    let document = Document {
        blobs: restored
            .map(|size| JsonBlob {
                digest: digest.to_string(),
                size,
            })
            .into_iter()
            .collect(),
        ..Document::new(args, &args.layout)
    };
    print(context, args, &document)
}

fn show(
    context: &Context<'_>,
    args: &UndoArgs,
    layout: &Path,
    undone: &Undone,
) -> (Document, Exit) {
    let Undone { plan, restored } = undone;
    let blob = |digest: &Digest, size| JsonBlob {
        digest: digest.to_string(),
        size,
    };
    let own = plan.blobs.iter();
    let others = restored.iter().map(|other| blob(&other.digest, other.len));
    let document = Document {
        run: Some(plan.run.clone()),
        names: plan.index.names.clone(),
        moved: plan.index.moved.clone(),
        blobs: own
            .map(|(digest, size)| blob(digest, *size))
            .chain(others)
            .collect(),
        ..Document::new(args, layout)
    };
    let mut exit = exit::DONE;
    if plan.is_done {
        context.term.note(&format!(
            "run {} was undone before; nothing was changed",
            plan.run
        ));
    }
    for name in &plan.index.moved {
        context.term.note(&format!(
            "`{name}` now refers to another image and was not restored; the image that had it is listed without that name"
        ));
    }
    for file in &plan.left {
        let path = layout.join(file);
        context.term.error(
            &format!(
                "cannot restore `{}`: another program has written it since",
                path.display()
            ),
            Some("the images are restored; write that file again with the tool that made it"),
        );
        exit = exit.and(exit::INCOMPLETE);
    }
    for digest in &plan.damaged {
        context.term.error(
            &format!(
                "cannot restore {digest}: a file that does not match that digest is in its place"
            ),
            Some(&format!(
                "`ocisweep check {}` shows what is damaged",
                quote_path(layout)
            )),
        );
        exit = exit.and(exit::INCOMPLETE);
    }
    (document, exit)
}

fn print(context: &Context<'_>, args: &UndoArgs, document: &Document) -> Exit {
    if args.format == TextFormat::Json {
        return context.print(&json::pretty(document));
    }
    let mut text = String::new();
    let verb = if args.dry_run {
        "Would restore:"
    } else {
        "Restored:"
    };
    if !args.quiet {
        for blob in &document.blobs {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{verb} {}", blob.digest);
        }
        for name in &document.names {
            let _ = writeln!(text, "{verb} {}", context.term.foreign(name));
        }
    }
    let blobs = count(document.blobs.len() as u64, "blob");
    let names = count(document.names.len() as u64, "name");
    let size = human_size(document.blobs.iter().map(|blob| blob.size).sum());
    let _ = if args.dry_run {
        writeln!(
            text,
            "Would restore {blobs}, {size}, and {names}; nothing was changed"
        )
    } else {
        writeln!(text, "Total restored: {blobs}, {size}, and {names}")
    };
    context.print(&text)
}

#[derive(Serialize)]
struct Document {
    schema_version: u32,
    command: &'static str,
    dry_run: bool,
    path: String,
    run: Option<String>,
    blobs: Vec<JsonBlob>,
    names: Vec<String>,
    moved: Vec<String>,
}

/// What `-r` did, layout by layout.
#[derive(Serialize)]
struct Documents {
    schema_version: u32,
    command: &'static str,
    dry_run: bool,
    layouts: Vec<Document>,
}

#[derive(Serialize)]
struct JsonBlob {
    digest: String,
    size: u64,
}

impl Document {
    fn new(args: &UndoArgs, layout: &Path) -> Self {
        Self {
            schema_version: json::SCHEMA_VERSION,
            command: "undo",
            dry_run: args.dry_run,
            path: layout.to_string_lossy().into_owned(),
            run: None,
            blobs: Vec::new(),
            names: Vec::new(),
            moved: Vec::new(),
        }
    }
}
