//! The terminal: the only place that writes to stdout and stderr.
//!
//! *Promises*: results go to stdout, messages to stderr. Names come from untrusted layouts: a message never sends a
//! terminal anything that [`escape()`] considers dangerous, and renderers pass foreign text through [`Term::foreign`]
//! before they lay it out, because an escaped name is wider. A pipe gets the text as it is, except that one message
//! remains one line.
//!
//! *Order*: the progress line is erased before anything else is written, and is not drawn while an output is open.
//!
//! *Failure*: a closed pipe is not an error, see [`Term::broken_pipe`]. Any other error of stdout is returned to the
//! caller. Errors of stderr are dropped: there is nowhere left to report them.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;

mod escape;
mod progress;

pub use escape::{escape, one_line};
pub use progress::{ProgressLine, ProgressPhase};

use progress::Paused;

/// A narrower terminal is laid out as if it were this wide, as in docker.
const MIN_WIDTH: usize = 20;
/// Assumed for a terminal that does not report its size.
const DEFAULT_WIDTH: usize = 80;

/// The lines of a screen that are reserved for the command, its totals and the next prompt.
const OTHER_LINES: usize = 7;
/// The number of lines of a list on the smallest screen.
const MIN_LINES: usize = 5;

/// When to use colours, or to show progress. `Auto`: if the terminal supports it and the environment does not forbid it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    #[default]
    Auto,
    Always,
    Never,
}

/// How much is written to stderr. Results and errors are not affected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Warnings and errors; no notes and no progress.
    Quiet,
    /// Notes as well.
    #[default]
    Normal,
    /// Details as well.
    Verbose,
}

/// Output settings from the command line and the environment. `main` reads the environment, not this module.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `--color`.
    pub color: When,
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `TERM` is `dumb`.
    pub dumb: bool,
    /// `COLUMNS`, if it is a number. It takes precedence over the size that the terminal reports; zero is ignored.
    pub columns: Option<usize>,
    /// `--progress`.
    pub progress: When,
    /// `--quiet` and `--verbose`.
    pub level: Level,
    /// Results are written to stderr, because stdout is an archive.
    pub results_on_stderr: bool,
}

impl Settings {
    /// Decides about colours on a stream.
    pub fn colors(&self, is_terminal: bool) -> Colors {
        let has_colors = match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => is_terminal && !self.no_color && !self.dumb,
        };
        if has_colors { Colors::On } else { Colors::Off }
    }
}

/// Whether text is coloured, decided once. Colour alone never carries meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colors {
    /// Text is wrapped in SGR sequences.
    On,
    /// Text is not changed.
    Off,
}

impl Colors {
    /// Returns faint text, for what is absent.
    ///
    /// The text must be escaped and laid out before: the sequences count as characters when it is measured.
    pub fn dim(self, text: &str) -> String {
        match self {
            Self::On if !text.is_empty() => format!("\x1b[2m{text}\x1b[0m"),
            Self::On | Self::Off => text.to_owned(),
        }
    }
}

/// The properties of stdout and stderr; made once by `main`.
#[derive(Debug)]
pub struct Term {
    stdout_is_terminal: bool,
    stderr_is_terminal: bool,
    columns: Option<usize>,
    colors: Colors,
    level: Level,
    broken: AtomicBool,
    progress: ProgressLine,
    results_on_stderr: bool,
}

impl Term {
    /// Inspects stdout and stderr once and decides about colours and progress.
    pub fn new(settings: &Settings) -> Self {
        let stderr_is_terminal = io::stderr().is_terminal();
        let results_on_terminal = if settings.results_on_stderr {
            stderr_is_terminal
        } else {
            io::stdout().is_terminal()
        };
        Self::on(settings, results_on_terminal, stderr_is_terminal)
    }

    fn on(settings: &Settings, stdout_is_terminal: bool, stderr_is_terminal: bool) -> Self {
        Self {
            stdout_is_terminal,
            stderr_is_terminal,
            columns: settings.columns,
            colors: settings.colors(stdout_is_terminal),
            level: settings.level,
            broken: AtomicBool::new(false),
            progress: ProgressLine::new(settings, stderr_is_terminal),
            results_on_stderr: settings.results_on_stderr,
        }
    }

    /// Returns the columns that a table on stdout may use, or `None` on a pipe, where nothing is ever cut.
    pub fn width(&self) -> Option<usize> {
        let ask = || terminal_size::terminal_size_of(io::stdout());
        self.stdout_is_terminal.then(|| width_of(self.columns, ask))
    }

    /// Returns the lines of the terminal that results are printed to; `None`: it is not a terminal, or has no size.
    pub fn rows(&self) -> Option<usize> {
        let ask = || terminal_size::terminal_size_of(io::stdout());
        let (_, height) = self.stdout_is_terminal.then(ask).flatten()?;
        (height.0 > 0).then(|| usize::from(height.0))
    }

    /// Returns the maximum number of lines of a list that is not the requested output; `None`: no limit, for a pipe and with
    /// `--verbose`.
    pub fn room(&self) -> Option<usize> {
        if self.results_on_stderr || self.level == Level::Verbose {
            return None;
        }
        Some(self.rows()?.saturating_sub(OTHER_LINES).max(MIN_LINES))
    }

    /// Returns the decision about colours on stdout.
    pub fn colors(&self) -> Colors {
        self.colors
    }

    /// Returns foreign text for a cell or a line on stdout: escaped for a terminal; for a pipe, with visible tabs and line
    /// ends and otherwise raw.
    pub fn foreign(&self, text: &str) -> String {
        shown_on(self.stdout_is_terminal, text).into_owned()
    }

    /// Returns a path for a cell or a line on stdout.
    pub fn path(&self, path: &Path) -> String {
        self.foreign(&path.to_string_lossy())
    }

    /// Returns the progress line of this terminal; clones of it may be given to workers.
    pub fn progress(&self) -> ProgressLine {
        self.progress.clone()
    }

    /// Returns stdout, locked and buffered. The progress line is off the screen until it is dropped.
    ///
    /// Flush it: an error while it is dropped is lost.
    pub fn out(&self) -> impl Write + '_ {
        io::BufWriter::new(Pipe {
            paused: self.progress.pause(),
            inner: if self.results_on_stderr {
                Results::Err(io::stderr().lock())
            } else {
                Results::Out(io::stdout().lock())
            },
            broken: &self.broken,
        })
    }

    /// Writes bytes to stdout and flushes them.
    ///
    /// # Errors
    /// Those of stdout, except for a closed pipe, which is remembered instead.
    pub fn print(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = self.out();
        out.write_all(bytes)?;
        out.flush()
    }

    /// Returns `true` if the reader of stdout has closed it. Later results are dropped silently; the command decides the
    /// exit status.
    pub fn broken_pipe(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Writes the line `ocisweep: {text}` to stderr, and below it `hint: {hint}`. Each remains one line, whatever it
    /// contains.
    pub fn error(&self, text: &str, hint: Option<&str>) {
        self.message("ocisweep: ", text, hint);
    }

    /// Writes a line to stderr, with `--quiet` too, and below it `hint: {hint}`: for a likely mistake of the user.
    pub fn warn(&self, text: &str, hint: Option<&str>) {
        self.message("", text, hint);
    }

    /// Writes a line to stderr unless quiet.
    pub fn note(&self, text: &str) {
        if self.level >= Level::Normal {
            self.message("", text, None);
        }
    }

    /// Writes a line to stderr if verbose.
    pub fn detail(&self, text: &str) {
        if self.level >= Level::Verbose {
            self.message("", text, None);
        }
    }

    fn message(&self, prefix: &str, text: &str, hint: Option<&str>) {
        let line = |prefix, text| message_line(prefix, text, self.stderr_is_terminal);
        let mut lines = line(prefix, text);
        if let Some(hint) = hint {
            lines.push_str(&line("hint: ", hint));
        }
        let _paused = self.progress.pause();
        // One write for the whole message, so that lines of other processes do not separate it.
        io::stderr().write_all(lines.as_bytes()).ok();
    }
}

fn width_of(
    columns: Option<usize>,
    ask: impl FnOnce() -> Option<(terminal_size::Width, terminal_size::Height)>,
) -> usize {
    let asked = || ask().map(|(width, _)| usize::from(width.0));
    let known = columns
        .filter(|&n| n > 0)
        .or_else(|| asked().filter(|&n| n > 0));
    known.unwrap_or(DEFAULT_WIDTH).max(MIN_WIDTH)
}

fn shown_on(terminal: bool, text: &str) -> Cow<'_, str> {
    if terminal {
        escape(text)
    } else {
        one_line(text)
    }
}

fn message_line(prefix: &str, text: &str, terminal: bool) -> String {
    format!("{prefix}{}\n", shown_on(terminal, text))
}

/// Where results are written.
enum Results {
    Out(io::StdoutLock<'static>),
    Err(io::StderrLock<'static>),
}

impl Write for Results {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Out(out) => out.write(bytes),
            Self::Err(err) => err.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Out(out) => out.flush(),
            Self::Err(err) => err.flush(),
        }
    }
}

/// A writer that remembers a closed pipe, and drops what is written after that.
struct Pipe<'a, W> {
    inner: W,
    broken: &'a AtomicBool,
    /// Held for its drop only, which comes after the buffer before this writer was flushed.
    #[expect(dead_code, reason = "a guard")]
    paused: Paused<'a>,
}

impl<W: Write> Pipe<'_, W> {
    fn attempt<T>(
        &mut self,
        when_broken: T,
        act: impl FnOnce(&mut W) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.broken.load(Ordering::Relaxed) {
            return Ok(when_broken);
        }
        match act(&mut self.inner) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.broken.store(true, Ordering::Relaxed);
                Ok(when_broken)
            }
            other => other,
        }
    }
}

impl<W: Write> Write for Pipe<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(bytes.len(), |inner| inner.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.attempt((), W::flush)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stdout that fails after some bytes.
    struct Failing {
        room: usize,
        kind: io::ErrorKind,
        written: Vec<u8>,
    }

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.len() > self.room.saturating_sub(self.written.len()) {
                return Err(self.kind.into());
            }
            self.written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Writes lines to a pipe that fails after some bytes; returns the result, whether it is broken, and what was written.
    fn write_to(
        room: usize,
        kind: io::ErrorKind,
        lines: &[&str],
    ) -> (io::Result<()>, bool, Vec<u8>) {
        let progress = ProgressLine::hidden();
        let broken = AtomicBool::new(false);
        let written = Vec::new();
        let mut pipe = Pipe {
            inner: Failing {
                room,
                kind,
                written,
            },
            broken: &broken,
            paused: progress.pause(),
        };
        let written = lines
            .iter()
            .try_for_each(|line| pipe.write_all(line.as_bytes()));
        let result = written.and_then(|()| pipe.flush());
        (result, broken.load(Ordering::Relaxed), pipe.inner.written)
    }

    #[test]
    fn a_closed_pipe_is_remembered_and_is_not_an_error() {
        let lines = ["first\n", "second\n", "x\n"];
        let (result, is_broken, written) = write_to(8, io::ErrorKind::BrokenPipe, &lines);
        result.expect("a broken pipe is not an error");
        assert!(is_broken);
        assert_eq!(written, b"first\n", "nothing is written after the break");
    }

    #[test]
    fn other_errors_of_stdout_are_errors() {
        let (result, is_broken, _) = write_to(0, io::ErrorKind::StorageFull, &["x"]);
        let error = result.expect_err("the disk is full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(!is_broken);
    }

    #[test]
    fn colours_follow_the_flag_then_the_environment_then_the_terminal() {
        for (color, no_color, dumb, terminal, want) in [
            (When::Auto, false, false, true, Colors::On),
            (When::Auto, false, false, false, Colors::Off),
            (When::Auto, true, false, true, Colors::Off),
            (When::Auto, false, true, true, Colors::Off),
            (When::Always, true, true, false, Colors::On),
            (When::Never, false, false, true, Colors::Off),
        ] {
            let settings = Settings {
                color,
                no_color,
                dumb,
                ..Settings::default()
            };
            let term = Term::on(&settings, terminal, false);
            assert_eq!(term.colors(), want, "{settings:?} terminal={terminal}");
        }
        assert_eq!(Colors::On.dim("x"), "\x1b[2mx\x1b[0m");
        assert_eq!(Colors::On.dim(""), "");
        assert_eq!(Colors::Off.dim("x"), "x");
    }

    #[test]
    fn messages_are_one_line_and_escaped_on_terminals() {
        let text = "cannot read `a\nocisweep: all is well\x1b[2J`";
        for (terminal, want) in [
            (
                true,
                "ocisweep: cannot read `a\\x0aocisweep: all is well\\x1b[2J`\n",
            ),
            (
                false,
                "ocisweep: cannot read `a\\x0aocisweep: all is well\x1b[2J`\n",
            ),
        ] {
            assert_eq!(message_line("ocisweep: ", text, terminal), want);
        }
    }

    #[test]
    fn foreign_text_is_escaped_for_its_stream() {
        let name = "a\x1b\u{202e}b";
        for (terminal, want) in [(true, r"a\x1b\u{202e}b"), (false, name)] {
            let term = Term::on(&Settings::default(), terminal, !terminal);
            assert_eq!(term.foreign(name), want);
        }
    }

    #[test]
    fn width_comes_from_columns_then_the_terminal() {
        use terminal_size::{Height, Width};
        let asked = |n| Some((Width(n), Height(24)));
        for (columns, size, want) in [
            (Some(120), asked(100), 120),
            (Some(0), asked(100), 100),
            (None, asked(100), 100),
            (None, asked(0), 80),
            (None, None, 80),
            (Some(3), None, 20),
        ] {
            assert_eq!(width_of(columns, || size), want, "{columns:?} {size:?}");
        }
        let settings = Settings {
            columns: Some(40),
            ..Settings::default()
        };
        assert_eq!(
            Term::on(&settings, false, true).width(),
            None,
            "a pipe has no width"
        );
        assert_eq!(Term::on(&settings, true, true).width(), Some(40));
    }

    #[test]
    fn messages_can_be_written_while_results_are_open() {
        let term = Term::on(
            &Settings {
                level: Level::Quiet,
                ..Settings::default()
            },
            false,
            false,
        );
        let mut out = term.out();
        term.note("dropped, because quiet");
        out.flush().expect("stdout of a test is open");
        drop(out);
        assert_eq!(term.level, Level::Quiet);
        assert!(!term.broken_pipe());
    }

    #[test]
    fn workers_may_share_it() {
        fn shared<T: Send + Sync>() {}
        shared::<Term>();
        shared::<ProgressLine>();
    }
}
