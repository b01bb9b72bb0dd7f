//! The layouts of a run: finding them, processing several at the same time, and reporting the result of each.
//!
//! *Order*: a few threads process the layouts; the results are printed afterwards, in the order of the layouts. Each thread
//! processes one layout at a time, from its first read to the release of its lock. These threads are not in the pool that
//! reads documents: a pool thread that waits for a part of its work takes up other work, and would begin a layout in the
//! middle of another one.

use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ocisweep::Error;
use ocisweep::archive::Archives;
use ocisweep::error::SharedStoreProblem;
use ocisweep::layout::discover::{Discovery, distinct};
use ocisweep::ops::{Finished, LayoutGroup, Sharing, totals_of};
use ocisweep::plan::Totals;

use super::context::Context;
use super::exit::{self, Exit};
use super::mistaken::{Given, not_a_layout, report};
use super::render::json::{self, JsonBudget};
use super::render::rows::{self, LayoutRow};
use super::render::summary;
use super::render::sweep::{
    RecentBlobs, Shown, Style, age_line, dangling_line, note_linked, parts, total_line,
};
use super::render::trashed::TrashTotals;
use super::render::wrap::wrapped;

/// The maximum number of layouts that are processed at the same time: more would only wait for the same disk.
const MAX_THREADS: usize = 4;

/// The layouts that a command processes, in groups: each layout alone, or all that share a store together.
#[derive(Debug)]
pub struct Selected {
    /// The groups; no layout is in two of them.
    pub groups: Vec<LayoutGroup>,
    /// Several layouts can be given: each gets a row, even if only one was found.
    pub is_many: bool,
    /// The result of the search.
    pub exit: Exit,
    /// The search read every directory.
    is_complete: bool,
    /// Which of them use the same blobs.
    sharing: Sharing,
}

/// The result of each group; `None` if a signal stopped the run before the group was begun.
pub type GroupRuns<T, E> = [Option<Result<Finished<T>, E>>];

impl Selected {
    /// Returns groups that are known.
    pub fn of(groups: Vec<LayoutGroup>, is_many: bool) -> Self {
        Self {
            sharing: Sharing::of(&groups),
            groups,
            is_many,
            exit: exit::DONE,
            is_complete: true,
        }
    }

    /// Returns the path of each layout, or of the shared store.
    pub fn paths(&self) -> impl Iterator<Item = &Path> + Clone {
        self.groups.iter().map(LayoutGroup::path)
    }

    /// Refuses a layout, by its number, that shares its blobs with another one of this run: each of the two would delete
    /// blobs that only the other one needs.
    ///
    /// # Errors
    /// [`Error::SharedWith`].
    pub fn refuse_sharing(&self, number: usize) -> Result<(), Error> {
        self.sharing.refuse(number)
    }

    /// Processes each group.
    pub fn run<T: Send, E: Send>(
        &self,
        context: &Context<'_>,
        work: impl Fn(usize, &LayoutGroup) -> Result<Finished<T>, E> + Sync,
    ) -> Vec<Option<Result<Finished<T>, E>>> {
        let all: Vec<usize> = (0..self.groups.len()).collect();
        self.run_some(context, &all, work)
    }

    /// Processes the groups with these numbers, and returns the results in their order.
    pub fn run_some<T: Send, E: Send>(
        &self,
        context: &Context<'_>,
        numbers: &[usize],
        work: impl Fn(usize, &LayoutGroup) -> Result<Finished<T>, E> + Sync,
    ) -> Vec<Option<Result<Finished<T>, E>>> {
        let groups = numbers.iter();
        let groups = groups.filter_map(|number| Some((*number, self.groups.get(*number)?)));
        let groups: Vec<(usize, &LayoutGroup)> = groups.collect();
        each(context, &groups, |_, (number, group)| {
            let mut run = work(*number, group);
            if let (Ok(finished), true) = (&mut run, self.is_many) {
                let plans = finished.parts.iter_mut();
                plans.for_each(|(plan, _)| plan.shrink());
            }
            run
        })
    }
}

/// Finds the layouts, each in a group of its own, or with a shared store all in one.
///
/// # Errors
/// The exit status, after the reason was printed; the caller must then print and change nothing.
pub fn choose_groups(context: &Context<'_>, given: Given<'_>) -> Result<Selected, Exit> {
    match given.shared_blobs {
        Some(store) => {
            let group = choose_sharing(context, store, given)?;
            Ok(Selected::of(vec![group], true))
        }
        None => choose(context, given),
    }
}

/// Finds the layouts, each in a group of its own. Every path is opened before anything is printed or changed.
///
/// # Errors
/// The exit status, if a path is not a layout: that was reported, and the caller must print and change nothing.
pub fn choose(context: &Context<'_>, given: Given<'_>) -> Result<Selected, Exit> {
    let mut exit = exit::DONE;
    let existing: Vec<PathBuf> = if given.if_exists {
        let paths = given.paths.iter().cloned();
        paths.filter(|path| !is_absent(context, path)).collect()
    } else {
        given.paths.to_vec()
    };
    let is_many = given.is_many();
    let given = Given {
        paths: &existing,
        ..given
    };
    let mut paths = existing.clone();
    let mut is_complete = true;
    let mut mistaken = Vec::new();
    let mut first = None;
    if given.is_recursive {
        let mut found = Discovery::default();
        for path in given.paths {
            let before = found.layouts.len();
            if Archives::may_be(path) {
                let error = not_a_layout(context, path);
                context.archives.forget_until_needed(path);
                match error {
                    None => {
                        first = first.or_else(|| Some((path.clone(), path.clone())));
                        found.layouts.push(path.clone());
                    }
                    Some(error) => mistaken.push((path.clone(), error)),
                }
                continue;
            }
            match found.search_with(path, &|file| is_archive(context, file)) {
                Ok(()) => {
                    let layout = found.layouts.get(before);
                    first = first.or_else(|| Some((path.clone(), layout?.clone())));
                }
                Err(error) => mistaken.push((path.clone(), error)),
            }
        }
        for error in &found.errors {
            exit = exit.and(context.report(error));
        }
        for path in &found.elsewhere {
            context.term.note(&format!(
                "skipped `{}`: it is on another file system; give it explicitly to include it",
                path.display()
            ));
        }
        is_complete = found.errors.is_empty() && found.elsewhere.is_empty();
        paths = found.layouts;
    } else {
        for path in given.paths {
            let error = not_a_layout(context, path);
            context.archives.forget_until_needed(path);
            match error {
                None => first = first.or_else(|| Some((path.clone(), path.clone()))),
                Some(error) => mistaken.push((path.clone(), error)),
            }
        }
    }
    if !mistaken.is_empty() {
        let first = first.as_ref();
        let first = first.map(|(argument, layout)| (argument.as_path(), layout.as_path()));
        return Err(exit.and(report(context, given, first, &mistaken)));
    }
    let (layouts, again) = distinct(paths);
    for (path, first) in again.iter().filter(|_| !given.is_recursive) {
        context.term.note(&format!(
            "`{}` and `{}` are the same layout; it counts once",
            path.display(),
            first.display()
        ));
    }
    let groups = layouts.iter().map(|path| alone(context, path)).collect();
    Ok(Selected {
        exit,
        is_complete,
        ..Selected::of(groups, is_many)
    })
}

/// Returns `true`, after a note, if there is no layout yet at a path: nothing, an empty directory, or what BuildKit leaves
/// of one when a build fails. A dangling link does not count, and neither does a directory that cannot be read.
pub fn is_absent(context: &Context<'_>, path: &Path) -> bool {
    let is_nothing = || {
        let found = std::fs::symlink_metadata(path);
        found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    };
    let what = if is_nothing() {
        "does not exist"
    } else {
        match names_in(path).as_deref() {
            Some([]) => "is empty",
            Some([name]) if name == INGEST && is_empty_directory(&path.join(INGEST)) => {
                "contains only an empty `ingest`"
            }
            _ => return false,
        }
    };
    let path = path.display();
    context
        .term
        .note(&format!("`{path}` {what}: nothing to do"));
    true
}

/// The directory of unfinished blobs. BuildKit makes it in a local cache before a build, and everything else only after one that
/// succeeds (containerd content/local `NewLabeledStore`, buildkit client `parseCacheOptions`).
const INGEST: &str = "ingest";

/// Returns the first two names in a directory; `None` if it cannot be read.
fn names_in(path: &Path) -> Option<Vec<OsString>> {
    let entries = std::fs::read_dir(path).ok()?.take(2);
    entries.map(|entry| Some(entry.ok()?.file_name())).collect()
}

fn is_empty_directory(path: &Path) -> bool {
    // Reading follows a link, and its target is not this layout.
    let found = std::fs::symlink_metadata(path);
    found.is_ok_and(|found| found.is_dir()) && names_in(path).is_some_and(|names| names.is_empty())
}

/// Returns `true` if a file below a directory is an archive of a layout, or cannot be read and may be one: the run then
/// reports it like a directory. Only files with the name of an archive are opened.
fn is_archive(context: &Context<'_>, file: &Path) -> bool {
    let has_name = file.file_name().is_some_and(|name| {
        let name = name.to_string_lossy().to_ascii_lowercase();
        let mut parts = name.rsplit('.');
        match parts.next() {
            Some("tar" | "tgz" | "tzst" | "txz" | "tbz2") => true,
            Some("gz" | "zst" | "xz" | "bz2") => parts.next() == Some("tar"),
            _ => false,
        }
    });
    if !has_name || !Archives::begins_like_one(file) {
        return false;
    }
    // Without a layout, it is an archive of something else.
    let is_layout = !matches!(context.open(file), Err(Error::NotALayout { .. }));
    context.archives.forget_until_needed(file);
    is_layout
}

/// Finds all layouts that share a store of blobs. A directory that could not be searched may contain one that uses it, so
/// the run is refused.
///
/// # Errors
/// The exit status, after the reason was printed.
pub fn choose_sharing(
    context: &Context<'_>,
    store: &Path,
    given: Given<'_>,
) -> Result<LayoutGroup, Exit> {
    let exit = match choose(context, given) {
        Ok(chosen) if chosen.is_complete => {
            let layouts: Vec<PathBuf> = chosen.paths().map(Path::to_owned).collect();
            // Shared blobs usually belong to several layouts, and those that are not given would lose theirs.
            if let ([layout], true, false) = (&*layouts, given.deletes, given.is_recursive) {
                context.term.note(&format!(
                    "`{}` is the only layout given that uses `{}`: blobs that only others need are deleted",
                    layout.display(),
                    store.display()
                ));
            }
            return Ok(shared(context, store, &layouts));
        }
        Ok(chosen) => chosen.exit,
        Err(exit) if given.is_recursive => exit,
        Err(exit) => return Err(exit),
    };
    let error = Error::SharedStore {
        path: store.to_owned(),
        what: SharedStoreProblem::Unsearched,
    };
    Err(exit.and(context.report(&error)))
}

/// Returns the group of a layout, and with a shared store, of the layouts in `with`.
///
/// # Errors
/// As [`choose_sharing`].
pub fn group_of(
    context: &Context<'_>,
    layout: &Path,
    store: Option<&Path>,
    with: &[PathBuf],
) -> Result<LayoutGroup, Exit> {
    let Some(store) = store else {
        return Ok(alone(context, layout));
    };
    if let Some(error) = not_a_layout(context, layout) {
        return Err(context.report(&error));
    }
    // If it counted as another one, this would hide that the others were forgotten.
    let (_, again) = distinct([&[layout.to_owned()], with].concat());
    if let Some((path, _)) = again.iter().find(|(_, first)| first == layout) {
        let text = format!("`--with {}` is the layout itself", path.display());
        let hint = "`--with` names each other layout that uses these blobs, or a directory that contains them";
        return Err(context.fail(exit::USAGE, &text, Some(hint)));
    }
    let mut layouts = vec![layout.to_owned()];
    if !with.is_empty() {
        let given = Given {
            paths: with,
            is_recursive: true,
            shared_blobs: Some(store),
            ..Given::default()
        };
        let others = choose_sharing(context, store, given)?;
        layouts.extend_from_slice(others.paths().1);
    }
    Ok(shared(context, store, &distinct(layouts).0))
}

/// Returns the group of one layout.
pub fn alone(context: &Context<'_>, path: &Path) -> LayoutGroup {
    LayoutGroup::of(path)
        .reading(&context.archives)
        .ignoring(&context.ignored)
        .trashing(context.trash.as_ref())
        .recording(context.journal().as_ref())
}

/// Returns the group of all layouts that share a store.
pub fn shared(context: &Context<'_>, store: &Path, layouts: &[PathBuf]) -> LayoutGroup {
    LayoutGroup::sharing(store, layouts)
        .ignoring(&context.ignored)
        .trashing(context.trash.as_ref())
        .recording(context.journal().as_ref())
}

/// Processes each item, and returns the results in their order. `None`: a signal stopped the run before the item was
/// begun.
pub fn each<I: Sync, T: Send>(
    context: &Context<'_>,
    items: &[I],
    work: impl Fn(usize, &I) -> T + Sync,
) -> Vec<Option<T>> {
    let one = |number: usize| {
        let item = items.get(number)?;
        (!context.stopped()).then(|| work(number, item))
    };
    if items.len() <= 1 || ocisweep::threads::is_alone() {
        return (0..items.len()).map(one).collect();
    }
    let available = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let next = AtomicUsize::new(0);
    let slots: Vec<Mutex<Option<T>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let together = context.together(items.len());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(slot) = slots.get(number) else { break };
            let result = one(number);
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = result;
            together.done_with_one();
        }
    };
    std::thread::scope(|scope| {
        let threads = available.min(MAX_THREADS).min(items.len());
        let start = |_: &usize| {
            let thread = std::thread::Builder::new();
            thread.spawn_scoped(scope, work).is_ok()
        };
        if (0..threads).take_while(start).count() == 0 {
            // If no thread can be started, this one does the work.
            work();
        }
    });
    drop(together);
    slots
        .into_iter()
        .map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

/// Returns the runs that finished.
pub fn finished<T, E>(runs: &GroupRuns<T, E>) -> impl Iterator<Item = &Finished<T>> {
    runs.iter().flatten().flatten()
}

/// Collects what a sweeping command reports about its layouts: a document, rows and totals.
#[derive(Debug)]
pub struct RunReport<'a> {
    command: &'a str,
    document: json::Sweep,
    style: Style,
    rows: Vec<(String, LayoutRow)>,
    totals: Totals,
    trashed: TrashTotals,
    recent: RecentBlobs,
    dangling: usize,
    measured: bool,
}

impl<'a> RunReport<'a> {
    /// Returns an empty report.
    pub fn new(command: &'a str, style: Style) -> Self {
        Self {
            command,
            document: json::Sweep {
                dry_run: style.is_dry_run,
                ..json::Sweep::default()
            },
            style,
            rows: Vec::new(),
            totals: Totals::default(),
            trashed: TrashTotals::default(),
            recent: RecentBlobs::default(),
            dangling: 0,
            measured: false,
        }
    }

    /// Reports the number of dangling images that the command keeps.
    pub const fn dangling(&mut self, images: usize) {
        self.dangling = images;
    }

    /// Reports a budget.
    pub fn budget(&mut self, budget: Option<JsonBudget>) {
        self.document.budget = budget;
    }

    /// Adds the result of each group, and returns the combined exit. `show` prints a layout or a shared store, with the
    /// notes of planning, and returns its exit and its part of the document; `report` prints why nothing was done in a
    /// group.
    pub fn add_runs<T, E: fmt::Display>(
        &mut self,
        context: &Context<'_>,
        selected: &Selected,
        runs: &GroupRuns<T, E>,
        mut show: impl FnMut(&Shown<'_>, Option<&T>) -> (Exit, json::SweptLayout),
        report: impl Fn(&E) -> Exit,
    ) -> Exit {
        let shares = totals_of(runs);
        let mut exit = exit::DONE;
        if self.style.is_many {
            // A row for each, the header and the sum.
            context.reserve(selected.groups.len() + 2);
        }
        if let Some(metrics) = &context.metrics {
            for group in &selected.groups {
                let (store, layouts) = group.paths();
                metrics.add_layouts(store, layouts);
            }
        }
        for ((path, run), share) in selected.paths().zip(runs).zip(shares) {
            match run {
                None => {
                    exit = exit.and(exit::INTERRUPTED);
                    // Nothing is known about a single layout.
                    if self.style.is_many {
                        self.failed(path, "interrupted", exit::INTERRUPTED);
                    }
                }
                Some(Err(error)) => {
                    let ended = report(error);
                    exit = exit.and(ended);
                    self.failed(path, &error.to_string(), ended);
                }
                Some(Ok(done)) => {
                    for (mut shown, note) in parts(done) {
                        shown.share = (runs.len() > 1).then_some(share);
                        let (ended, layout) = show(&shown, note);
                        shown.count(context);
                        self.add(&shown, ended, layout);
                        exit = exit.and(ended);
                    }
                }
            }
        }
        exit
    }

    fn add(&mut self, shown: &Shown<'_>, exit: Exit, layout: json::SweptLayout) {
        let totals = shown.totals();
        self.totals = self.totals.plus(totals);
        self.trashed.add(shown);
        self.recent.add(shown.plan);
        self.measured = true;
        let state = match exit.state() {
            "done" if shown.is_clean() => "clean",
            "done" if shown.outcome.is_none() => "would change",
            "done" if shown.removes_layout() => "removed",
            state => state,
        };
        self.push(shown.plan.layout(), Some(totals), state, layout);
    }

    /// Adds a layout in which nothing was done.
    fn failed(&mut self, path: &Path, error: &str, exit: Exit) {
        let layout = json::SweptLayout {
            path: path.to_string_lossy().into_owned(),
            error: Some(error.to_owned()),
            ..json::SweptLayout::default()
        };
        self.push(path, None, exit.state(), layout);
    }

    fn push(
        &mut self,
        path: &Path,
        totals: Option<Totals>,
        state: &'static str,
        mut layout: json::SweptLayout,
    ) {
        layout.state = self.style.is_many.then_some(state);
        self.document.add(layout);
        let path = path.to_string_lossy().into_owned();
        self.rows.push((path, LayoutRow { totals, state }));
    }

    /// Returns what is kept because it is recent.
    pub const fn recent(&self) -> &RecentBlobs {
        &self.recent
    }

    /// Returns `true` if any layout was measured.
    pub const fn is_measured(&self) -> bool {
        self.measured
    }

    /// Prints what follows the layouts: a row for each of several and the total, or the document. Appends the rows to the
    /// summary of a CI job if requested.
    pub fn finish(&self, context: &Context<'_>) -> Exit {
        let style = &self.style;
        let is_dry_run = style.is_dry_run;
        if style.is_many {
            note_linked(context, &self.totals);
        }
        let noted = if style.has_summary {
            summary::append(context, self.command, &self.rows, is_dry_run)
        } else {
            exit::DONE
        };
        if style.is_json {
            return noted.and(context.print(&json::document(self.command, &self.document)));
        }
        let mut text = context.more_line();
        if style.is_many && !style.is_quiet && !self.rows.is_empty() {
            text.push_str(&rows::table(context, &self.rows, is_dry_run));
        }
        // Layouts that were not measured have no total; their errors were printed.
        if self.measured {
            text.push_str(&total_line(&self.totals, is_dry_run));
            text.push_str(&self.trashed.line(is_dry_run));
            if self.command != "prune" {
                let lines = age_line(&self.recent) + &dangling_line(self.dangling);
                text.push_str(&wrapped(lines, context.term.width()));
            }
        }
        noted.and(context.print(&text))
    }
}
