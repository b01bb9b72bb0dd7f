//! `ocisweep undo`

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ocisweep::archive::Archives;
use ocisweep::execute::{LayoutUndo, Undone};
use ocisweep::oci::Digest;
use ocisweep::ops::{self, LayoutGroup, UndoRequest};
use ocisweep::parse::size::human_size;
use ocisweep::{Error, Layout};
use serde::Serialize;

use crate::cli::args::{TextFormat, UndoArgs};
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::{alone, choose, choose_sharing};
use crate::cli::mistaken::Given;
use crate::cli::quote::quote_path;
use crate::cli::render::json;
use crate::cli::render::sweep::count;
use crate::cli::run::run_mode;

use super::trash::report_trash;

/// Undoes a run, or restores one blob.
pub fn run(context: &Context<'_>, args: &UndoArgs) -> Exit {
    let asked = match Asked::of(args) {
        Ok(asked) => asked,
        Err((text, hint)) => {
            context.term.error(&text, hint);
            return exit::USAGE;
        }
    };
    if args.recursive && args.shared_blobs.is_none() {
        return tree(context, args, asked.given(args));
    }
    let layout = args.layout.as_deref().unwrap_or(Path::new("."));
    let group = match &args.shared_blobs {
        None => {
            if Archives::may_be(layout)
                && let Err(error) = context.open_directory(layout, "an archive cannot have a trash")
            {
                return context.report(&error);
            }
            alone(context, layout)
        }
        Some(store) => match choose_sharing(context, store, asked.given(args)) {
            Ok(group) => group,
            Err(exit) => return exit,
        },
    };
    if let Some(text) = &args.blob {
        return match Digest::parse(text) {
            Ok(digest) => blob(context, args, &group, &digest),
            Err(error) => {
                let text = format!("cannot use `--blob {text}`: {error}");
                context.term.error(&text, None);
                exit::USAGE
            }
        };
    }
    match one(context, args, &group, asked.run.as_deref()) {
        Ok((document, exit)) => exit.and(print(context, args, &document)),
        Err(exit) => exit,
    }
}

/// The meaning of the positional arguments.
struct Asked {
    paths: Vec<PathBuf>,
    run: Option<String>,
}

impl Asked {
    /// # Errors
    /// The error and a hint.
    fn of(args: &UndoArgs) -> Result<Self, (String, Option<&'static str>)> {
        let is_many = args.recursive || args.shared_blobs.is_some();
        let mut paths: Vec<PathBuf> = args.layout.iter().cloned().collect();
        if is_many {
            paths.extend_from_slice(&args.more);
        }
        let run = match args.more.as_slice() {
            _ if is_many => args.run.clone(),
            [] => None,
            [run] if args.blob.is_none() => Some(run.to_string_lossy().into_owned()),
            [run] => {
                let run = run.display();
                return Err((format!("cannot use `--blob` with the run `{run}`"), None));
            }
            [_, extra, ..] => {
                let text = format!(
                    "cannot use `{}`: only one layout and one run can be given",
                    extra.display()
                );
                let hint = "`-r` undoes the last run of several layouts, and `--shared-blobs DIR` a run over shared blobs";
                return Err((text, Some(hint)));
            }
        };
        Ok(Self { paths, run })
    }

    /// Returns the layouts to search for.
    fn given<'a>(&'a self, args: &'a UndoArgs) -> Given<'a> {
        Given {
            paths: &self.paths,
            is_recursive: args.recursive,
            shared_blobs: args.shared_blobs.as_deref(),
            ..Given::default()
        }
    }
}

/// Undoes the last run of every layout below a directory that has a trash.
fn tree(context: &Context<'_>, args: &UndoArgs, given: Given<'_>) -> Exit {
    let chosen = match choose(context, given) {
        Ok(chosen) => chosen,
        Err(exit) => return exit,
    };
    let mut exit = chosen.exit;
    let mut documents = Vec::new();
    for path in chosen.paths() {
        if context.stopped() {
            return exit.and(exit::INTERRUPTED);
        }
        let layout = context.open(path);
        if layout.as_ref().is_ok_and(Layout::is_packed) {
            // An archive keeps no trash.
            continue;
        }
        let has_run = layout.and_then(|layout| layout.trash().has_run());
        match has_run {
            Ok(false) => continue,
            Ok(true) => {}
            Err(error) => {
                exit = exit.and(context.report(&error));
                continue;
            }
        }
        match one(context, args, &alone(context, path), None) {
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
        TextFormat::Json => exit.and(context.print(&json::pretty(&JsonUndoTree {
            schema_version: json::SCHEMA_VERSION,
            command: "undo",
            dry_run: args.dry_run,
            layouts: documents,
        }))),
        TextFormat::Text => exit,
    }
}

/// Undoes a run of one layout or of a shared store, and reports what could not be restored.
///
/// # Errors
/// The exit status, after the reason was printed.
fn one(
    context: &Context<'_>,
    args: &UndoArgs,
    group: &LayoutGroup,
    run: Option<&str>,
) -> Result<(JsonUndo, Exit), Exit> {
    let request = run.map_or(UndoRequest::Last, UndoRequest::Run);
    let mode = run_mode(args.dry_run, args.lock.lock_wait);
    match ops::undo(group, request, mode, context.watcher()) {
        Ok(undone) => Ok(show(context, args, group, &undone)),
        Err(error) => Err(report(context, group, &error)),
    }
}

fn report(context: &Context<'_>, group: &LayoutGroup, error: &Error) -> Exit {
    let (store, _) = group.paths();
    report_trash(context, group.path(), store, error)
}

fn blob(context: &Context<'_>, args: &UndoArgs, group: &LayoutGroup, digest: &Digest) -> Exit {
    let mode = run_mode(args.dry_run, args.lock.lock_wait);
    let restored = match ops::undo_blob(group, digest, mode, context.watcher()) {
        Ok(restored) => restored,
        Err(error) => return report(context, group, &error),
    };
    let document = JsonUndo {
        blobs: restored
            .map(|size| JsonBlob {
                digest: digest.to_string(),
                size,
            })
            .into_iter()
            .collect(),
        ..JsonUndo::new(args, group)
    };
    print(context, args, &document)
}

fn show(
    context: &Context<'_>,
    args: &UndoArgs,
    group: &LayoutGroup,
    undone: &Undone,
) -> (JsonUndo, Exit) {
    let Undone { plan, restored } = undone;
    let (store, _) = group.paths();
    let blob = |digest: &Digest, size| JsonBlob {
        digest: digest.to_string(),
        size,
    };
    let own = plan.blobs.iter();
    let others = restored.iter().map(|other| blob(&other.digest, other.len));
    let moved = plan.layouts.iter().flat_map(|own| &own.index.moved);
    let document = JsonUndo {
        run: Some(plan.run.clone()),
        names: plan.names().cloned().collect(),
        moved: moved.cloned().collect(),
        blobs: own
            .map(|(digest, size)| blob(digest, *size))
            .chain(others)
            .collect(),
        layouts: store.map(|_| plan.layouts.iter().map(JsonRestoredLayout::of).collect()),
        ..JsonUndo::new(args, group)
    };
    let mut exit = exit::DONE;
    if plan.is_done {
        context.term.note(&format!(
            "run {} has already been undone; nothing was changed",
            plan.run
        ));
    }
    for own in &plan.layouts {
        exit = exit.and(show_layout(context, own, store.is_some()));
    }
    for digest in &plan.damaged {
        let layout = match (store, group.paths().1.first()) {
            (Some(store), Some(layout)) => {
                let store = quote_path(store);
                format!("--shared-blobs {store} {}", quote_path(layout))
            }
            _ => quote_path(group.path()),
        };
        context.term.error(
            &format!(
                "cannot restore {digest}: a file that does not match that digest is in its place"
            ),
            Some(&format!("`ocisweep check {layout}` shows what is damaged")),
        );
        exit = exit.and(exit::INCOMPLETE);
    }
    (document, exit)
}

/// Reports what could not be restored in one layout.
fn show_layout(context: &Context<'_>, own: &LayoutUndo, is_shared: bool) -> Exit {
    let mut exit = exit::DONE;
    let place = match is_shared {
        true => format!(" of `{}`", own.path.display()),
        false => String::new(),
    };
    for name in &own.index.moved {
        context.term.note(&format!(
            "`{name}`{place} now refers to another image and was not restored; the image that had it is listed without that name"
        ));
    }
    if !own.unlisted.is_empty() {
        let documents = count(own.unlisted.len() as u64, "document");
        context.term.note(&format!(
            "kept {documents} that the run wrote{place}, no longer listed; `ocisweep gc` deletes unreferenced blobs"
        ));
    }
    for file in &own.left {
        let path = own.path.join(file);
        context.term.error(
            &format!(
                "cannot restore `{}`: another program has written it since",
                path.display()
            ),
            Some("the images are restored; write that file again with the tool that made it"),
        );
        exit = exit.and(exit::INCOMPLETE);
    }
    exit
}

fn print(context: &Context<'_>, args: &UndoArgs, document: &JsonUndo) -> Exit {
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
struct JsonUndo {
    schema_version: u32,
    command: &'static str,
    dry_run: bool,
    path: String,
    run: Option<String>,
    blobs: Vec<JsonBlob>,
    names: Vec<String>,
    moved: Vec<String>,
    /// With a shared store: what was restored in each layout that the run changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    layouts: Option<Vec<JsonRestoredLayout>>,
}

/// A layout over a shared store.
#[derive(Serialize)]
struct JsonRestoredLayout {
    path: String,
    names: Vec<String>,
    moved: Vec<String>,
}

impl JsonRestoredLayout {
    fn of(own: &LayoutUndo) -> Self {
        Self {
            path: own.path.to_string_lossy().into_owned(),
            names: own.index.names.clone(),
            moved: own.index.moved.clone(),
        }
    }
}

/// What `-r` did, layout by layout.
#[derive(Serialize)]
struct JsonUndoTree {
    schema_version: u32,
    command: &'static str,
    dry_run: bool,
    layouts: Vec<JsonUndo>,
}

#[derive(Serialize)]
struct JsonBlob {
    digest: String,
    size: u64,
}

impl JsonUndo {
    fn new(args: &UndoArgs, group: &LayoutGroup) -> Self {
        Self {
            schema_version: json::SCHEMA_VERSION,
            command: "undo",
            dry_run: args.dry_run,
            path: group.path().to_string_lossy().into_owned(),
            run: None,
            blobs: Vec::new(),
            names: Vec::new(),
            moved: Vec::new(),
            layouts: None,
        }
    }
}
