//! What every command needs: the terminal, the current time, and the signals.

use std::collections::HashSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ocisweep::archive::Archives;
use ocisweep::error::ArchiveProblem;
use ocisweep::layout::IgnoredIndexes;
use ocisweep::layout::shared_blobs::SharedStore;
use ocisweep::layout::trash::TrashOptions;
use ocisweep::model::inventory::Unmeasured;
use ocisweep::ops::Journal;
use ocisweep::plan::{FilterError, Filters, Unmatched, Wider};
use ocisweep::progress::{Phase, Progress, Total};
use ocisweep::report::stored_bytes;
use ocisweep::{Error, Layout, Snapshot};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::audit::Audit;
use super::exit::{self, Exit};
use super::hint::{hint, with_causes};
use super::metrics::{Ended, Metrics};
use super::quote::{quote, wider_hint};
use super::term::{self, ProgressLine, Term};

/// What every command needs.
#[derive(Debug)]
pub struct Context<'a> {
    /// Prints output and messages.
    pub term: &'a Term,
    /// The current time, read once, or the value of `--now`.
    pub now: Timestamp,
    /// When this run began.
    pub started: Timestamp,
    /// The second indexes that are ignored.
    pub ignored: IgnoredIndexes,
    /// How blobs are moved into the trash; `None`: they are deleted.
    pub trash: Option<TrashOptions>,
    /// The archives that were read.
    pub archives: Archives,
    /// The log that records changes.
    pub audit: Option<Arc<Audit>>,
    /// The file for numbers of the run.
    pub metrics: Option<Metrics>,
    /// The number of further list lines that fit on the screen; `None`: there is no limit.
    room: Option<AtomicUsize>,
    /// The number of lines that did not fit.
    hidden: AtomicUsize,
    zone: OnceLock<TimeZone>,
    watcher: Watcher<'a>,
    has_noted_overlay: AtomicBool,
}

/// Shows progress, and records signals.
#[derive(Debug)]
struct Watcher<'a> {
    term: &'a Term,
    progress: ProgressLine,
    stop: Arc<AtomicBool>,
    /// Several layouts are processed at the same time: progress counts them, not their contents.
    counts_layouts: AtomicBool,
    /// The parked files that were already reported: a plan is made again after the confirmation, and if a layout changed.
    parked: Mutex<HashSet<PathBuf>>,
}

/// Counts layouts that are processed at the same time, until it is dropped.
#[derive(Debug)]
pub struct Together<'a>(&'a Watcher<'a>);

impl Together<'_> {
    /// Counts a layout.
    pub fn done_with_one(&self) {
        self.0.progress.add(1, 0);
    }
}

impl Drop for Together<'_> {
    fn drop(&mut self) {
        self.0.counts_layouts.store(false, Ordering::Relaxed);
    }
}

impl Progress for Watcher<'_> {
    // One phase replaces the other on the line, so `finish` is not needed.
    fn begin(&self, phase: Phase, total: Total) {
        if self.counts_layouts.load(Ordering::Relaxed) {
            return;
        }
        let (name, noun) = match phase {
            Phase::Listing => ("listing", "blobs"),
            Phase::Reading => ("reading", "documents"),
            Phase::ScanningOrphans => ("scanning", "orphans"),
            Phase::Sweeping => ("sweeping", "blobs"),
            Phase::Hashing => ("hashing", "blobs"),
            Phase::Unpacking => ("reading", "archive"),
            Phase::Packing => ("writing", "archive"),
            _ => ("processing", "blobs"),
        };
        self.progress.phase(term::ProgressPhase {
            name,
            noun,
            total: total.items,
            total_bytes: total.bytes,
        });
    }

    fn advance(&self, items: u64, bytes: u64) {
        if !self.counts_layouts.load(Ordering::Relaxed) {
            self.progress.add(items, bytes);
        }
    }

    fn changed(&self, layout: &Path) {
        self.term.detail(&format!(
            "`{}` changed while planning; retrying",
            layout.display()
        ));
    }

    fn waiting(&self, layout: &Path, by: &str) {
        self.term
            .note(&format!("waiting for `{}`: {by}", layout.display()));
    }

    fn parked(&self, file: &Path) {
        let mut noted = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        if !noted.insert(file.to_owned()) {
            return;
        }
        drop(noted);
        self.term.note(&format!(
            "`{}` was written by another program while a run that was killed was replacing it; the next run that changes the layout puts it back, or keeps it as `….rescued-…` if its place is taken",
            file.display()
        ));
    }

    fn lacks_trashed(&self, layout: &Path) {
        self.term.note(&format!(
            "`{}` lacks blobs that are in its trash; a run first restores what is needed, and keeps what that references",
            layout.display()
        ));
    }

    fn left_store(&self, layout: &Path) {
        self.term.note(&format!(
            "`{}` used these shared blobs and does not any more; what it references is not restored",
            layout.display()
        ));
    }

    fn is_cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Returns the signals that this process ignores, as the bits of a mask; none if that is unknown.
fn ignored_signals() -> u64 {
    let mut status = [0; 8192];
    let read = std::fs::File::open("/proc/self/status").and_then(|mut file| file.read(&mut status));
    let status = status.get(..read.unwrap_or_default()).unwrap_or_default();
    let status = String::from_utf8_lossy(status);
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.unwrap_or_default()
}

impl<'a> Context<'a> {
    /// Starts to catch terminating signals: the first one stops the run at the next file, a second one ends the process
    /// immediately. SIGHUP and SIGQUIT are not caught if they are ignored, as with `nohup` or in the background of a shell.
    ///
    /// # Errors
    /// Those of `sigaction`.
    pub fn new(
        term: &'a Term,
        now: Option<Timestamp>,
        ignored: IgnoredIndexes,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let ignored_signals = ignored_signals();
        let is_ignored = |signal: i32| ignored_signals >> (signal - 1) & 1 == 1;
        let others = [SIGHUP, SIGQUIT];
        let others = others.into_iter().filter(|signal| !is_ignored(*signal));
        for signal in [SIGINT, SIGTERM].into_iter().chain(others) {
            // In this order: the default action applies only if the flag is set already.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))?;
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the command reads the clock once"
        )]
        let started = Timestamp::now();
        Ok(Self {
            term,
            now: now.unwrap_or(started),
            zone: OnceLock::new(),
            started,
            ignored,
            trash: None,
            archives: Archives::default(),
            audit: None,
            metrics: None,
            room: term.room().map(AtomicUsize::new),
            hidden: AtomicUsize::new(0),
            has_noted_overlay: AtomicBool::new(false),
            watcher: Watcher {
                term,
                progress: term.progress(),
                stop,
                counts_layouts: AtomicBool::new(false),
                parked: Mutex::default(),
            },
        })
    }

    /// Returns the time zone of times that are given without one. Most runs need none, and finding it requires reading the
    /// names of all zones of the system.
    pub fn zone(&self) -> &TimeZone {
        #[expect(
            clippy::disallowed_methods,
            reason = "the command has the time zone of its user"
        )]
        self.zone.get_or_init(TimeZone::system)
    }

    /// Reads the filters of the command line.
    ///
    /// # Errors
    /// Those of [`Filters::parse`].
    pub fn filters(&self, texts: &[String]) -> Result<Filters, FilterError> {
        if texts.is_empty() {
            return Ok(Filters::default());
        }
        Filters::parse(texts, self.now, self.zone())
    }

    /// Returns the log that records changes, for the library.
    pub fn journal(&self) -> Option<Arc<dyn Journal>> {
        let audit = self.audit.as_ref()?;
        Some(Arc::<Audit>::clone(audit))
    }

    /// Writes the metrics of the run, if requested, and returns its exit.
    pub fn write_metrics(&self, exit: Exit) -> Exit {
        let Some(metrics) = &self.metrics else {
            return exit;
        };
        // A removed layout has no bytes; standard input cannot be read again.
        let (archives, layouts): (Vec<_>, Vec<_>) = metrics
            .stored()
            .into_iter()
            .partition(|stored| Archives::may_be(&stored.layout));
        let lengths = archives.iter().filter_map(|stored| {
            let file = std::fs::metadata(&stored.layout).ok()?;
            Some(file.len())
        });
        let layouts = layouts
            .iter()
            .map(|stored| self.open_in(&stored.layout, stored.store.as_deref()));
        let layouts: Vec<Layout> = layouts.filter_map(Result::ok).collect();
        let stored_bytes = stored_bytes(&layouts).ok();
        let stored_bytes = stored_bytes.map(|bytes| bytes + lengths.sum::<u64>());
        #[expect(
            clippy::disallowed_methods,
            reason = "the metrics include the duration of the run"
        )]
        let ended = Timestamp::now();
        let written = metrics.write(&Ended {
            exit,
            started: self.started,
            ended,
            stored_bytes,
        });
        match written {
            Ok(()) => exit,
            Err(text) => exit.and(self.fail(exit::IO, &text, None)),
        }
    }

    /// Returns the progress of the library's work.
    pub fn watcher(&self) -> &dyn Progress {
        &self.watcher
    }

    /// Begins to show how many of the layouts are done.
    pub fn together(&self, layouts: usize) -> Together<'_> {
        let watcher = &self.watcher;
        watcher.progress.phase(term::ProgressPhase {
            name: "processing",
            noun: "layouts",
            total: u64::try_from(layouts).ok(),
            total_bytes: None,
        });
        watcher.counts_layouts.store(true, Ordering::Relaxed);
        Together(watcher)
    }

    /// Returns `true` if the run was interrupted by a signal.
    pub fn stopped(&self) -> bool {
        self.watcher.is_cancelled()
    }

    /// Waits until standard input can be read. `false`: a signal came first. A read would continue after a signal, until the
    /// user presses the return key.
    ///
    /// # Errors
    /// Those of `poll`.
    pub fn wait_for_input(&self) -> std::io::Result<bool> {
        // Another thread may get the signal, which does not interrupt this one.
        let pause = Timespec {
            tv_sec: 0,
            tv_nsec: 50_000_000,
        };
        let stdin = std::io::stdin();
        loop {
            if self.stopped() {
                return Ok(false);
            }
            let mut inputs = [PollFd::new(&stdin, PollFlags::IN)];
            match poll(&mut inputs, Some(&pause)) {
                Ok(0) | Err(Errno::INTR) => {}
                // A terminal that is closed causes both a signal and the end of the input.
                Ok(_) => return Ok(!self.stopped()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns `true` if a line of a list, which may be wrapped, fits on the screen, and counts it. A line that explains
    /// something always fits.
    pub fn fits(&self, line: &str) -> bool {
        let Some(room) = &self.room else {
            return true;
        };
        if line.starts_with("kept: ") {
            return true;
        }
        let rows = line.trim_end().split('\n').count();
        let take = |left: usize| left.checked_sub(rows);
        let taken = room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        if taken.is_err() {
            self.hidden.fetch_add(1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Reserves lines of the screen for what is printed below the lists.
    pub fn reserve(&self, lines: usize) {
        if let Some(room) = &self.room {
            let rest = |left: usize| Some(left.saturating_sub(lines));
            // It never refuses.
            let _ = room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest);
        }
    }

    /// Returns the line about those that did not fit; empty if all did.
    pub fn more_line(&self) -> String {
        match self.hidden.swap(0, Ordering::Relaxed) {
            0 => String::new(),
            hidden => format!("… and {} more; `-v` shows all\n", grouped(hidden)),
        }
    }

    /// Opens a layout.
    ///
    /// # Errors
    /// Those of [`Archives::open`].
    pub fn open(&self, path: &Path) -> ocisweep::Result<Layout> {
        let layout = self.archives.open(path, self.watcher())?;
        Ok(layout.ignoring(&self.ignored))
    }

    /// Removes the unpacked files of an archive that is no longer needed. Piped input cannot be read again.
    pub fn done_with(&self, layout: &Path) {
        if !Archives::is_stream(layout) {
            self.archives.forget(layout);
        }
    }

    /// Opens a layout for a command that does not support archives. `why` is the reason in the message.
    ///
    /// # Errors
    /// Those of [`Context::open`], and [`Error::Archive`].
    pub fn open_directory(&self, path: &Path, why: &'static str) -> ocisweep::Result<Layout> {
        let layout = self.open(path)?;
        if layout.is_packed() {
            return Err(Error::Archive {
                path: path.to_owned(),
                what: ArchiveProblem::Unsupported(why),
            });
        }
        Ok(layout)
    }

    /// Opens a layout, whose blobs may be in a shared store.
    ///
    /// # Errors
    /// Those of [`Context::open`] and [`Layout::open_in`].
    pub fn open_in(&self, path: &Path, store: Option<&Path>) -> ocisweep::Result<Layout> {
        let Some(store) = store else {
            return self.open(path);
        };
        let layout = Layout::open_in(path, &SharedStore::open(store)?)?;
        Ok(layout.ignoring(&self.ignored))
    }

    /// Reads a layout, whose blobs may be in a shared store, to show its contents.
    ///
    /// # Errors
    /// Those of opening and reading it.
    pub fn read(&self, path: &Path, store: Option<&Path>) -> ocisweep::Result<Snapshot> {
        Snapshot::of_to_show(self.open_in(path, store)?, self.now, self.watcher())
    }

    /// Reports which blobs count as 0 bytes because they cannot be measured, and returns the resulting exit.
    pub fn report_unmeasured(&self, path: &str, unmeasured: &Unmeasured) -> Exit {
        let Unmeasured { blobs, first, why } = unmeasured;
        let which = match blobs {
            1 => format!("{first} of `{path}`"),
            _ => format!("{blobs} blobs of `{path}`, the first of them {first}"),
        };
        self.fail(
            exit::IO,
            &format!("cannot measure {which}: {why}; counted as 0B"),
            Some("run as the owner of the layout, or check the disk for errors"),
        )
    }

    /// Notes, once in a run, that deleted files may be in a lower layer.
    pub fn note_overlay(&self, blobs: &str) {
        if !self.has_noted_overlay.swap(true, Ordering::Relaxed) {
            self.term.note(&format!(
                "`{blobs}` is on an overlay file system: the bytes of files in its lower layers are not freed"
            ));
        }
    }

    /// Notes the second indexes that cannot be parsed, for commands that do not depend on what they list.
    pub fn note_unknown_lists(&self, snapshot: &Snapshot) {
        for index in &snapshot.state.second_indexes {
            if let Err(why) = &index.links {
                self.term.note(&format!(
                    "cannot parse `{}`: {why}; what it lists is not shown, and nothing can be swept",
                    snapshot.layout.path().join(&index.file).display()
                ));
            }
        }
    }

    /// Reports an error, with a hint if there is one, and returns the resulting exit.
    pub fn report(&self, error: &Error) -> Exit {
        self.report_with(error, None)
    }

    /// Reports an error with a hint that depends on more than the error.
    pub fn report_with(&self, error: &Error, better: Option<String>) -> Exit {
        let hint = better.or_else(|| hint(error, self.trash.is_some()));
        self.fail(Exit::of(error), &with_causes(error), hint.as_deref())
    }

    /// Reports a failure, and returns the resulting exit.
    pub fn fail(&self, exit: Exit, text: &str, hint: Option<&str>) -> Exit {
        self.term.error(text, hint);
        exit
    }

    /// Warns of filters and patterns that match nothing, with `--quiet` too.
    pub fn warn_unmatched(&self, unmatched: &[Unmatched]) {
        for Unmatched { text, wider } in unmatched {
            let hint = wider.as_ref().map(|Wider { flag, value }| match *flag {
                "" => wider_hint(value),
                flag => format!("`*` stops at `/`; `{flag} {}` does not", quote(value)),
            });
            self.term.warn(text, hint.as_deref());
        }
    }

    /// Prints paths, each with its terminator, to stdout: byte for byte for programs, escaped for a terminal.
    pub fn print_paths(&self, paths: &[u8]) -> Exit {
        if self.term.width().is_none() {
            return self.print_bytes(paths);
        }
        let mut text = String::new();
        for path in paths.split_inclusive(|byte| matches!(byte, 0 | b'\n')) {
            let path = path.strip_suffix(b"\n").unwrap_or(path);
            text.push_str(&self.term.foreign(&String::from_utf8_lossy(path)));
            text.push('\n');
        }
        self.print(&text)
    }

    /// Prints to stdout. A closed pipe is not an error; a full disk at the target of a redirection is one.
    pub fn print(&self, text: &str) -> Exit {
        self.print_bytes(text.as_bytes())
    }

    fn print_bytes(&self, bytes: &[u8]) -> Exit {
        match self.term.print(bytes) {
            Ok(()) => exit::DONE,
            Err(error) => {
                let text = format!("cannot write to standard output: {error}");
                self.fail(exit::IO, &text, None)
            }
        }
    }
}

/// Returns a number with a comma between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_grouped() {
        for (number, want) in [
            (0, "0"),
            (999, "999"),
            (1975, "1,975"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), want);
        }
    }
}
