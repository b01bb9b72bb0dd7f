//! `ocisweep blobs`

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ocisweep::graph::{EmptyIndex, MarkOptions, MissingDocuments, PlannedChange};
use ocisweep::layout::BlobId;
use ocisweep::ops::{self, Finished, GcOptions, Mode};
use ocisweep::{Error, Snapshot};

use crate::cli::args::BlobsArgs;
use crate::cli::context::Context;
use crate::cli::exit::{self, Exit};
use crate::cli::layouts::{choose, choose_groups};
use crate::cli::render::sweep::{count, parts};
use crate::cli::run::{RunClock, protection, read};

/// Paths that are relative to a layout or to a shared store.
type RelativePaths = (PathBuf, Vec<PathBuf>);

/// Lists the blobs of each layout. A layout that is refused does not stop the others.
///
/// # Errors
/// The exit status, if the layouts were not found, or a path contains a line end.
pub fn run(context: &Context<'_>, args: &BlobsArgs) -> Result<Exit, Exit> {
    let given = args.layouts.given();
    let chosen = if args.unreferenced {
        choose_groups(context, given)?
    } else {
        choose(context, given)?
    };
    let mut exit = chosen.exit;
    if chosen.is_many && !args.null {
        let layouts = chosen.groups.iter().flat_map(|group| group.paths().1);
        let paths: HashSet<&Path> = chosen
            .paths()
            .chain(layouts.map(PathBuf::as_path))
            .collect();
        let has_line_end = |path: &&Path| path.as_os_str().as_bytes().contains(&b'\n');
        let mut refused: Vec<&Path> = paths.into_iter().filter(has_line_end).collect();
        refused.sort_unstable();
        for path in &refused {
            context.term.error(
                &format!(
                    "cannot list `{}`: its path contains a newline",
                    path.display()
                ),
                Some("`-0` ends each path with NUL"),
            );
        }
        if !refused.is_empty() {
            return Err(exit.and(exit::USAGE));
        }
    }
    let protection = protection(context, args.grace, args.temp_age, RunClock::Real);
    let mut options = GcOptions::default();
    options.missing = MissingDocuments::allow_if(args.allow_missing);
    options.empty = EmptyIndex::allow_if(args.allow_empty);
    // Everything is read before anything is printed.
    let mut lists = Vec::with_capacity(chosen.groups.len());
    for (number, group) in chosen.groups.iter().enumerate() {
        if context.stopped() {
            return Err(exit.and(exit::INTERRUPTED));
        }
        let layout = group.path();
        lists.push(if args.unreferenced {
            let planned = || ops::gc(group, &protection, &options, Mode::Plan, context.watcher());
            let planned = chosen.refuse_sharing(number).and_then(|()| planned());
            planned.map(|planned| unreferenced(&planned))
        } else {
            // The blobs of the layout in a shared store, even if other layouts need them too.
            let snapshot = read(context, &protection, layout, given.shared_blobs);
            let paths = snapshot.and_then(|snapshot| match args.live {
                true => live(&snapshot, options.missing),
                false => Ok(roots(context, &snapshot)),
            });
            paths.map(|paths| vec![(layout.to_owned(), paths)])
        });
        context.done_with(layout);
    }
    for list in lists {
        exit = exit.and(match list {
            Ok(list) => print(context, args.null, chosen.is_many, &list),
            Err(error) => context.report(&error),
        });
    }
    Ok(exit)
}

fn print(
    context: &Context<'_>,
    ends_in_zero: bool,
    is_prefixed: bool,
    list: &[RelativePaths],
) -> Exit {
    let mut bytes = Vec::new();
    for (layout, paths) in list {
        for path in paths {
            let prefixed = is_prefixed.then(|| layout.join(path));
            let path = prefixed.as_ref().unwrap_or(path);
            bytes.extend(path.as_os_str().as_bytes());
            bytes.push(if ends_in_zero { 0 } else { b'\n' });
        }
    }
    context.print_paths(&bytes)
}

/// Returns what a complete copy needs, in the order in which a writer would write it: an interrupted copy never lists a
/// missing blob.
fn live(snapshot: &Snapshot, missing: MissingDocuments) -> Result<Vec<PathBuf>, Error> {
    let options = MarkOptions {
        keep: &|_| true,
        change: PlannedChange::none(),
        extra: &[],
        missing,
        // A copy of a layout without images is a layout without images.
        empty: EmptyIndex::Allow,
    };
    let live = snapshot
        .graph
        .mark(&snapshot.layout, &snapshot.state, &options)?;
    let listed = BlobId::try_from(snapshot.graph.blobs().len()).unwrap_or(BlobId::MAX);
    let mut paths = Vec::new();
    for id in snapshot.graph.live_ids(&live) {
        // Blobs of algorithms that are never swept are not in the list.
        let digest = snapshot.graph.digest(id);
        let is_here =
            id < listed || digest.algorithm().is_none() && snapshot.layout.has_blob(digest)?;
        if is_here {
            paths.push(path_of(snapshot, id));
        }
    }
    paths.sort();
    paths.extend(snapshot.layout.own_files(&snapshot.state)?);
    Ok(paths)
}

/// Returns what `gc` would delete now.
fn unreferenced<T>(planned: &Finished<T>) -> Vec<RelativePaths> {
    let parts = parts(planned).map(|(shown, _)| {
        let sweep = shown.plan.sweep().iter();
        let mut paths: Vec<PathBuf> = sweep
            .filter_map(|deletion| {
                let digest = shown.plan.blobs().digest(deletion.id)?;
                Some(PathBuf::from(match shown.is_store {
                    true => digest.blob_name().path(),
                    false => digest.path_in_layout(),
                }))
            })
            .collect();
        paths.sort_unstable();
        paths.extend(shown.plan.temporary().iter().map(|file| file.path.clone()));
        (shown.plan.layout().to_owned(), paths)
    });
    parts.collect()
}

/// Returns the documents that entries list, each once, in the order of `index.json`.
fn roots(context: &Context<'_>, snapshot: &Snapshot) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let mut absent = 0;
    for entry in snapshot.state.index.entries() {
        let id = entry.digest.as_ref().ok();
        let id = id.and_then(|digest| snapshot.graph.id(digest));
        match id.filter(|id| snapshot.graph.is_present(*id)) {
            Some(id) => paths.push(path_of(snapshot, id)),
            None => absent += 1,
        }
    }
    let mut seen = HashSet::new();
    paths.retain(|path| seen.insert(path.clone()));
    if absent > 0 {
        context.term.note(&format!(
            "{} that `{}/index.json` lists are missing",
            count(absent, "document"),
            snapshot.layout.path().display()
        ));
    }
    paths
}

fn path_of(snapshot: &Snapshot, id: BlobId) -> PathBuf {
    snapshot.graph.digest(id).path_in_layout().into()
}
