//! `ocisweep blobs`

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ocisweep::graph::MissingDocuments;
use ocisweep::graph::{Change, EmptyIndex, MarkOptions};
use ocisweep::layout::BlobId;
use ocisweep::ops::{self, GcOptions, Mode, Protection};
use ocisweep::{Error, Snapshot};

use crate::cli::args::BlobsArgs;
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::{choose, choose_sharing};
use crate::cli::mistaken::CommandLine;
use crate::cli::render::sweep::parts;
use crate::cli::run::{self, Clock, plan_gc, protection};

/// Lists the blobs of each layout. One that is refused does not stop the others.
pub fn run(context: &Context<'_>, args: &BlobsArgs) -> Exit {
    let store = args.layouts.shared_blobs.as_deref();
    if let Some(store) = store.filter(|_| args.unreferenced) {
        return unreferenced_in(context, args, store);
    }
    let line = CommandLine {
        shared_blobs: store,
        ..CommandLine::default()
    };
    let chosen = match choose(context, &args.layouts.tree, line) {
        Ok(chosen) => chosen,
        Err(exit) => return exit,
    };
    let mut exit = chosen.exit;
    let prefix = |layout| chosen.is_many.then_some(layout);
    if chosen.is_many {
        let paths = chosen.layouts.iter().map(PathBuf::as_path);
        if let Err(refused) = refuse_line_ends(context, args, paths) {
            return exit.and(refused);
        }
    }
    // Everything is read before anything is printed.
    let mut lists = Vec::with_capacity(chosen.layouts.len());
    for (number, layout) in chosen.layouts.iter().enumerate() {
        if context.stopped() {
            return exit.and(exit::INTERRUPTED);
        }
        let refused = if args.unreferenced {
            chosen.refuse_sharing(number)
        } else {
            Ok(())
        };
        lists.push(refused.and_then(|()| one(context, args, layout)));
    }
    for (layout, list) in chosen.layouts.iter().zip(lists) {
        exit = exit.and(match list {
            Ok(paths) => print(context, args, prefix(layout.as_path()), &paths),
            Err(error) => context.report(&error),
        });
    }
    exit
}

/// Refuses directories whose paths could not be told from the end of a line.
fn refuse_line_ends<'a>(
    context: &Context<'_>,
    args: &BlobsArgs,
    paths: impl Iterator<Item = &'a Path>,
) -> Result<(), Exit> {
    let mut refused = Ok(());
    let has_line_end = |path: &&Path| path.as_os_str().as_bytes().contains(&b'\n');
    for path in paths.filter(|_| !args.null).filter(has_line_end) {
        context.term.error(
            &format!("cannot list `{}`: its path has a line end", path.display()),
            Some("`-0` ends each path with a zero byte"),
        );
        refused = Err(exit::USAGE);
    }
    refused
}

fn print(
    context: &Context<'_>,
    args: &BlobsArgs,
    prefix: Option<&Path>,
    paths: &[PathBuf],
) -> Exit {
    let end = if args.null { 0 } else { b'\n' };
    let mut bytes = Vec::new();
    for path in paths {
        let path = prefix.map_or_else(|| path.clone(), |prefix| prefix.join(path));
        bytes.extend(path.as_os_str().as_bytes());
        bytes.push(end);
    }
    context.print_paths(&bytes)
}

/// Returns paths relative to the layout.
fn one(context: &Context<'_>, args: &BlobsArgs, layout: &Path) -> Result<Vec<PathBuf>, Error> {
    let rule = protection(context, args.grace, args.temp_age, Clock::Real);
    let view = match &args.layouts.shared_blobs {
        // Live are those that this layout references, whoever else does.
        Some(store) => context.read_in(layout, store)?,
        None => run::read(context, &rule, layout)?,
    };
    if args.live {
        live(&view, args)
    } else if args.unreferenced {
        unreferenced(&view, &rule, args)
    } else {
        Ok(roots(context, &view))
    }
}

/// What a complete copy needs, in the order in which a writer would write it: a copy that is cut short
/// has blobs that nothing lists, and no list without its blobs.
fn live(view: &Snapshot, args: &BlobsArgs) -> Result<Vec<PathBuf>, Error> {
    let options = MarkOptions {
        keep: &|_| true,
        change: Change::none(),
        extra: &[],
        missing: MissingDocuments::allow_if(args.allow_missing),
        // A copy of a layout without images is a layout without images.
        empty: EmptyIndex::Allow,
    };
    let live = view.graph.mark(&view.layout, &view.state, &options)?;
    let listed = BlobId::try_from(view.graph.blobs().len()).unwrap_or(BlobId::MAX);
    let mut paths = Vec::new();
    for id in view.graph.live_ids(&live) {
        // Of algorithms that are never swept nothing is listed.
        let digest = view.graph.digest(id);
        let is_here =
            id < listed || digest.algorithm().is_none() && view.layout.has_blob(digest)?;
        if is_here {
            paths.push(path_of(view, id));
        }
    }
    paths.sort();
    paths.extend(view.layout.own_files(&view.state)?);
    Ok(paths)
}

/// Prints what `gc` would delete of a shared store now, and of the layouts that use it: paths below the store, and
/// of temporary files below the layouts.
fn unreferenced_in(context: &Context<'_>, args: &BlobsArgs, store: &Path) -> Exit {
    let group = match choose_sharing(context, store, &args.layouts.tree) {
        Ok(group) => group,
        Err(exit) => return exit,
    };
    let (_, layouts) = group.paths();
    let paths = std::iter::once(store).chain(layouts.iter().map(PathBuf::as_path));
    if let Err(refused) = refuse_line_ends(context, args, paths) {
        return refused;
    }
    let protection = protection(context, args.grace, args.temp_age, Clock::Real);
    let mut options = GcOptions::default();
    options.missing = MissingDocuments::allow_if(args.allow_missing);
    options.empty = EmptyIndex::allow_if(args.allow_empty);
    let planned = ops::gc(&group, &protection, &options, Mode::Plan, context.watcher());
    let finished = match planned {
        Ok(finished) => finished,
        Err(error) => return context.report(&error),
    };
    let mut exit = exit::DONE;
    for shown in parts(&finished) {
        let blobs = shown.plan.blobs();
        let digests = shown.plan.sweep().iter();
        let mut paths: Vec<PathBuf> = digests
            .filter_map(|victim| {
                let name = blobs.digest(victim.id)?.blob_name();
                Some(Path::new(name.directory()).join(name.file()))
            })
            .collect();
        paths.sort_unstable();
        let temporary = shown.plan.temporary().iter();
        paths.extend(temporary.map(|stray| stray.path.clone()));
        exit = exit.and(print(context, args, Some(shown.plan.layout()), &paths));
    }
    exit
}

/// What `gc` would delete now.
fn unreferenced(
    view: &Snapshot,
    rule: &Protection,
    args: &BlobsArgs,
) -> Result<Vec<PathBuf>, Error> {
    let missing = MissingDocuments::allow_if(args.allow_missing);
    let plan = plan_gc(view, rule, missing, EmptyIndex::allow_if(args.allow_empty))?;
    let blobs = plan.sweep().iter().map(|victim| path_of(view, victim.id));
    let mut paths: Vec<PathBuf> = blobs.collect();
    paths.sort_unstable();
    paths.extend(plan.temporary().iter().map(|stray| stray.path.clone()));
    Ok(paths)
}

/// The documents that entries list, each once, in the order of `index.json`.
fn roots(context: &Context<'_>, view: &Snapshot) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let mut absent = 0;
    for entry in view.state.index.entries() {
        let id = entry.digest.as_ref().ok();
        let id = id.and_then(|digest| view.graph.id(digest));
        match id.filter(|id| view.graph.is_present(*id)) {
            Some(id) => paths.push(path_of(view, id)),
            None => absent += 1,
        }
    }
    let mut seen = std::collections::HashSet::new();
    paths.retain(|path| seen.insert(path.clone()));
    if absent > 0 {
        let entries = crate::cli::render::sweep::count(absent, "document");
        context.term.note(&format!(
            "{entries} that `{}/index.json` lists are not here",
            view.layout.path().display()
        ));
    }
    paths
}

fn path_of(view: &Snapshot, id: BlobId) -> PathBuf {
    let name = view.graph.digest(id).blob_name();
    let path = format!("blobs/{}/{}", name.directory(), name.file());
    PathBuf::from(path)
}
