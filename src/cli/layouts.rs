//! Several layouts in one run: finding them, working on them at the same time, and saying what became of
//! each.
//!
//! *Order*: layouts are worked on by a few threads, and whatever is said about them is said afterwards, in
//! the order of the layouts. Each thread has one layout at a time from its first reading to the end of its
//! lock. The threads are not those of the pool that reads documents: while one of those waits for a part of
//! its work it takes up other work, and would begin a layout in the middle of another one.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ocisweep::Error;
use ocisweep::archive::Archives;
use ocisweep::error::SharedStoreProblem;
use ocisweep::execute::remove_directory;
use ocisweep::fs::Disk;
use ocisweep::layout::discover::{Discovery, distinct, sharing};
use ocisweep::ops::{Finished, LayoutGroup};
use ocisweep::plan::{Totals, hardlink_totals};

use super::args::{OutputArgs, SharedArgs, TextFormat, TreeArgs};
use super::context::{Context, with_causes};
use super::exit::{self, Exit};
use super::mistaken::{CommandLine, not_a_layout, report};
use super::render::json;
use super::render::rows::{self, Row};
use super::render::summary;
use super::render::sweep::{Aged, Shown, age_line, note_linked, parts, total_line};
use super::render::trashed::TrashTotals;
use super::run::{Done, alone};

/// Layouts that are worked on at the same time, at most: more of them only wait for the same disk.
const MAX_THREADS: usize = 4;

/// The layouts that a command works on.
#[derive(Debug)]
pub struct SelectedLayouts {
    /// The layouts, each once.
    pub layouts: Vec<PathBuf>,
    /// Several were asked for: each gets a row, also if there is only one.
    pub is_many: bool,
    /// How far the search went wrong.
    pub exit: Exit,
    /// Everything was looked into.
    pub is_complete: bool,
    /// For each layout, another one that uses the same blobs.
    sharing: Vec<Option<PathBuf>>,
}

impl SelectedLayouts {
    /// Refuses a layout, by its number, that shares its blobs with another one of this run: each of the two
    /// would take for garbage what only the other needs.
    ///
    /// # Errors
    /// [`Error::SharedWith`].
    pub fn refuse_sharing(&self, number: usize) -> Result<(), Error> {
        match (self.layouts.get(number), self.sharing.get(number)) {
            (Some(path), Some(Some(other))) => Err(Error::SharedWith {
                path: path.clone(),
                other: other.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// Finds the layouts. Every path is opened before anything is printed or changed.
///
/// # Errors
/// The exit status, if a path is not a layout: that was reported, and nothing must be printed or changed.
pub fn choose(
    context: &Context<'_>,
    args: &TreeArgs,
    line: CommandLine<'_>,
) -> Result<SelectedLayouts, Exit> {
    let line = CommandLine {
        is_recursive: args.recursive,
        ..line
    };
    let mut exit = exit::DONE;
    let mut paths = args.paths.clone();
    let mut is_complete = true;
    let mut mistaken = Vec::new();
    let mut first = None;
    if args.recursive {
        let mut forest = Discovery::default();
        for path in &args.paths {
            let before = forest.layouts.len();
            if Archives::may_be(path) {
                match not_a_layout(context, path) {
                    None => {
                        first = first.or_else(|| Some((path.clone(), path.clone())));
                        forest.layouts.push(path.clone());
                    }
                    Some(error) => mistaken.push((path.clone(), error)),
                }
                continue;
            }
            match forest.search_with(path, &|file| is_archive(context, file)) {
                Ok(()) => {
                    let found = forest.layouts.get(before);
                    first = first.or_else(|| Some((path.clone(), found?.clone())));
                }
                Err(error) => mistaken.push((path.clone(), error)),
            }
        }
        for error in &forest.errors {
            exit = exit.and(context.report(error));
        }
        for path in &forest.elsewhere {
            context.term.note(&format!(
                "skipped `{}`: it is on another file system; give it explicitly to include it",
                path.display()
            ));
        }
        is_complete = forest.errors.is_empty() && forest.elsewhere.is_empty();
        paths = forest.layouts;
    } else {
        for path in &args.paths {
            match not_a_layout(context, path) {
                None => first = first.or_else(|| Some((path.clone(), path.clone()))),
                Some(error) => mistaken.push((path.clone(), error)),
            }
        }
    }
    if !mistaken.is_empty() {
        let first = first.as_ref();
        let first = first.map(|(argument, layout)| (argument.as_path(), layout.as_path()));
        return Err(exit.and(report(context, line, first, &mistaken)));
    }
    let (layouts, again) = distinct(paths);
    for (path, first) in again.iter().filter(|_| !args.recursive) {
        context.term.note(&format!(
            "`{}` and `{}` are the same layout; it counts once",
            path.display(),
            first.display()
        ));
    }
    Ok(SelectedLayouts {
        sharing: sharing(&layouts),
        layouts,
        is_many: args.is_many(),
        exit,
        is_complete,
    })
}

/// Returns `true` if a file that was met below a directory is an archive with a layout in it. Most files are not: only those are
/// opened that are called like an archive.
fn is_archive(context: &Context<'_>, file: &Path) -> bool {
    let is_called_so = file.file_name().is_some_and(|name| {
        let name = name.to_string_lossy().to_ascii_lowercase();
        let mut parts = name.rsplit('.');
        match parts.next() {
            Some("tar" | "tgz" | "tzst" | "txz" | "tbz2") => true,
            Some("gz" | "zst" | "xz" | "bz2") => parts.next() == Some("tar"),
            _ => false,
        }
    });
    if !is_called_so || !Archives::begins_like_one(file) {
        return false;
    }
    match context.open(file) {
        Ok(_) => true,
        // Of most of them nobody claims that there are images in it.
        Err(Error::NotALayout { .. }) => false,
        Err(error) => {
            context.term.note(&format!(
                "skipped `{}`: {}",
                file.display(),
                with_causes(&error)
            ));
            false
        }
    }
}

/// Finds all layouts that share a store of blobs. One that could not be looked for may use it, so that nothing is done.
///
/// # Errors
/// The exit status, after the reason was printed.
pub fn choose_sharing(
    context: &Context<'_>,
    store: &Path,
    args: &TreeArgs,
) -> Result<LayoutGroup, Exit> {
    let line = CommandLine {
        shared_blobs: Some(store),
        ..CommandLine::default()
    };
    let exit = match choose(context, args, line) {
        Ok(chosen) if chosen.is_complete => {
            let group = LayoutGroup::sharing(store, &chosen.layouts);
            return Ok(group
                .ignoring(&context.ignored)
                .trashing(context.trash.as_ref()));
        }
        Ok(chosen) => chosen.exit,
        Err(exit) if args.recursive => exit,
        Err(exit) => return Err(exit),
    };
    let error = Error::SharedStore {
        path: store.to_owned(),
        what: SharedStoreProblem::Unsearched,
    };
    Err(exit.and(context.report(&error)))
}

/// Returns the group of a layout that is worked on: with `--shared-blobs` it has the others beside it.
///
/// # Errors
/// As [`choose_sharing`].
pub fn group_of(
    context: &Context<'_>,
    layout: &Path,
    shared: &SharedArgs,
) -> Result<LayoutGroup, Exit> {
    let Some(store) = &shared.shared_blobs else {
        return Ok(alone(context, layout));
    };
    if let Some(error) = not_a_layout(context, layout) {
        return Err(context.report(&error));
    }
    let others = TreeArgs {
        paths: shared.with.clone(),
        recursive: true,
    };
    let mut layouts = vec![layout.to_owned()];
    if !shared.with.is_empty() {
        let others = choose_sharing(context, store, &others)?;
        layouts.extend_from_slice(others.paths().1);
    }
    let (layouts, _) = distinct(layouts);
    let group = LayoutGroup::sharing(store, &layouts).ignoring(&context.ignored);
    Ok(group.trashing(context.trash.as_ref()))
}

/// Works on each layout, and returns what came of them in their order. `None`: a signal asked to stop
/// before it was begun.
pub fn each<T: Send>(
    context: &Context<'_>,
    layouts: &[PathBuf],
    work: impl Fn(usize, &Path) -> T + Sync,
) -> Vec<Option<T>> {
    let one = |number: usize| {
        let path = layouts.get(number)?;
        (!context.stopped()).then(|| work(number, path))
    };
    if layouts.len() <= 1 || ocisweep::threads::is_alone() {
        return (0..layouts.len()).map(one).collect();
    }
    let available = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let next = AtomicUsize::new(0);
    let slots: Vec<Mutex<Option<T>>> = layouts.iter().map(|_| Mutex::new(None)).collect();
    let together = context.together(layouts.len());
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
        let threads = available.min(MAX_THREADS).min(layouts.len());
        let start = |_: &usize| {
            let thread = std::thread::Builder::new();
            thread.spawn_scoped(scope, work).is_ok()
        };
        if (0..threads).take_while(start).count() == 0 {
            // None can be started: this one does it.
            work();
        }
    });
    drop(together);
    slots
        .into_iter()
        .map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

/// What came of each layout: `None` where it was not begun.
pub type Runs<T, E> = [Option<Result<Done<T>, E>>];

/// Returns what was done in each layout; `None` where nothing was.
pub fn done_in<T, E>(runs: &Runs<T, E>) -> Vec<Option<&Done<T>>> {
    let done = runs.iter().map(|run| run.as_ref()?.as_ref().ok());
    done.collect()
}

/// Returns what was freed in each layout, or would be: a byte that hard links bring into several of them is
/// counted where its last name goes.
pub fn shares<T>(runs: &[Option<&Done<T>>]) -> Vec<Totals> {
    if let [run] = runs {
        // A single layout shares with nobody: it has counted for itself.
        let own = run.map(|done| match &done.outcome {
            Some(outcome) => outcome.done,
            None => done.plan.totals(),
        });
        return vec![own.unwrap_or_default()];
    }
    let files: Vec<_> = runs
        .iter()
        .map(|run| run.map_or_else(Vec::new, |done| done.deleted()))
        .collect();
    let mut sums = hardlink_totals(&files);
    for (sum, run) in sums.iter_mut().zip(runs) {
        let Some(done) = run else { continue };
        let own = match &done.outcome {
            Some(outcome) => outcome.done,
            None => done.plan.totals(),
        };
        sum.temporary = own.temporary;
        sum.temporary_bytes = own.temporary_bytes;
        sum.packing_bytes = own.packing_bytes;
    }
    sums
}

/// Removes what is left of the directories of removed layouts, innermost first: a layout that lay inside
/// another one kept its directory from going.
pub fn remove_directories<T>(layouts: &[PathBuf], runs: &[Option<&Done<T>>]) {
    for (path, run) in layouts.iter().zip(runs).rev() {
        let outcome = run.and_then(|done| done.outcome.as_ref());
        if outcome.is_some_and(|outcome| outcome.layout_removed) {
            // What stood in the way was said when the layout went.
            drop(remove_directory(path, &Disk));
        }
    }
}

/// What a sweeping command says of its layouts, one after another and all together.
#[derive(Debug)]
pub struct RunReport<'a> {
    /// The document that grows.
    pub document: json::Sweep<'a>,
    is_many: bool,
    rows: Vec<(String, Row)>,
    totals: Totals,
    trashed: TrashTotals,
    aged: Aged,
    measured: bool,
}

impl<'a> RunReport<'a> {
    /// Begins without a layout.
    pub fn new(command: &'a str, is_dry_run: bool, is_many: bool) -> Self {
        Self {
            document: json::Sweep {
                schema_version: json::SCHEMA_VERSION,
                command,
                dry_run: is_dry_run,
                layouts: Vec::new(),
                totals: json::Totals::default(),
            },
            is_many,
            rows: Vec::new(),
            totals: Totals::default(),
            trashed: TrashTotals::default(),
            aged: Aged::default(),
            measured: false,
        }
    }

    /// Takes up what came of each layout, and returns how they ended. `show` prints a layout, and returns how it ended and
    /// what the document says of it; `report` prints why nothing was done in one.
    pub fn add_runs<T, E: fmt::Display>(
        &mut self,
        layouts: &[PathBuf],
        runs: &Runs<T, E>,
        mut show: impl FnMut(&Shown<'_>, Option<&T>) -> (Exit, json::SweptLayout),
        report: impl Fn(&E) -> Exit,
    ) -> Exit {
        let shares = shares(&done_in(runs));
        let mut exit = exit::DONE;
        for ((path, run), share) in layouts.iter().zip(runs).zip(shares) {
            exit = exit.and(match run {
                None => {
                    self.interrupted(path);
                    exit::INTERRUPTED
                }
                Some(Ok(done)) => {
                    let shown = Shown {
                        plan: &done.plan,
                        outcome: done.outcome.as_ref(),
                        share: self.is_many.then_some(share),
                        is_pool: false,
                    };
                    let (ended, layout) = show(&shown, Some(&done.said));
                    self.add(path, &shown, ended, layout);
                    ended
                }
                Some(Err(error)) => self.refused(path, error, &report),
            });
        }
        exit
    }

    /// Takes up what came of a shared store and its layouts, likewise. What planning noted is `None` for the store.
    pub fn add_group<T, E: fmt::Display>(
        &mut self,
        store: &Path,
        run: &Result<Finished<T>, E>,
        mut show: impl FnMut(&Shown<'_>, Option<&T>) -> (Exit, json::SweptLayout),
        report: impl Fn(&E) -> Exit,
    ) -> Exit {
        let done = match run {
            Ok(done) => done,
            Err(error) => return self.refused(store, error, report),
        };
        let mut exit = exit::DONE;
        let said = std::iter::once(None).chain(done.notes.iter().map(Some));
        for (shown, said) in parts(done).zip(said) {
            let (ended, layout) = show(&shown, said);
            self.add(shown.plan.layout(), &shown, ended, layout);
            exit = exit.and(ended);
        }
        exit
    }

    fn refused<E: fmt::Display>(
        &mut self,
        path: &Path,
        error: &E,
        report: impl Fn(&E) -> Exit,
    ) -> Exit {
        let ended = report(error);
        self.failed(path, &error.to_string(), ended);
        ended
    }

    /// Takes a layout up. `exit`: how it ended; `layout`: what the document says of it.
    pub fn add(&mut self, path: &Path, shown: &Shown<'_>, exit: Exit, layout: json::SweptLayout) {
        let totals = shown.totals();
        self.totals = self.totals.plus(totals);
        self.trashed.add(shown);
        self.aged.add(shown.plan);
        self.measured = true;
        let state = match exit.state() {
            "done" if shown.is_clean() => "clean",
            "done" if shown.outcome.is_none() => "would change",
            "done" if shown.removes_layout() => "removed",
            state => state,
        };
        self.push(path, Some(totals), state, layout);
    }

    /// Takes a layout up in which nothing was done.
    pub fn failed(&mut self, path: &Path, error: &str, exit: Exit) {
        let layout = json::SweptLayout {
            path: path.to_string_lossy().into_owned(),
            items: Vec::new(),
            foreign: 0,
            totals: json::Totals::default(),
            trash: None,
            state: None,
            error: Some(error.to_owned()),
        };
        self.push(path, None, exit.state(), layout);
    }

    /// Takes a layout up that was not begun. A single one is not mentioned: nothing is known of it.
    pub fn interrupted(&mut self, path: &Path) {
        if self.is_many {
            self.failed(path, "interrupted", exit::INTERRUPTED);
        }
    }

    fn push(
        &mut self,
        path: &Path,
        totals: Option<Totals>,
        state: &'static str,
        mut layout: json::SweptLayout,
    ) {
        layout.state = self.is_many.then_some(state);
        self.document.totals.add(&layout.totals);
        self.document.layouts.push(layout);
        let path = path.to_string_lossy().into_owned();
        self.rows.push((path, Row { totals, state }));
    }

    /// Returns what is kept because it is recent.
    pub const fn aged(&self) -> &Aged {
        &self.aged
    }

    /// Returns `true` if any layout was measured.
    pub const fn is_measured(&self) -> bool {
        self.measured
    }

    /// Prints what stands after the layouts: a row for each of several, and the total; and writes the rows
    /// into the summary of a CI job where that was asked for.
    pub fn finish(&self, context: &Context<'_>, args: &OutputArgs) -> Exit {
        let OutputArgs {
            quiet: is_quiet,
            format,
            summary,
        } = *args;
        if self.is_many {
            note_linked(context, &self.totals);
        }
        let is_dry_run = self.document.dry_run;
        let noted = if summary {
            summary::append(context, self.document.command, &self.rows, is_dry_run)
        } else {
            exit::DONE
        };
        noted.and(match format {
            TextFormat::Json => context.print(&json::pretty(&self.document)),
            TextFormat::Text => {
                let mut text = String::new();
                if self.is_many && !is_quiet && !self.rows.is_empty() {
                    text = rows::table(context, &self.rows, is_dry_run);
                }
                // What was not measured has no total; the errors have said why.
                if self.measured {
                    text.push_str(&total_line(&self.totals, is_dry_run));
                    text.push_str(&self.trashed.line(is_dry_run));
                    if self.document.command != "prune" {
                        text.push_str(&age_line(&self.aged));
                    }
                }
                context.print(&text)
            }
        })
    }
}
