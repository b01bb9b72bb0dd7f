//! The terminal: the only place that writes to stdout and stderr.
//!
//! *Promises*: stdout is data, stderr is talk. Names come from strangers, so nothing that [`escape()`] knows as dangerous
//! reaches a terminal from a message; renderers pass foreign text through [`Term::foreign`] before they lay it out,
//! because an escaped name is wider. A pipe gets the text as it is, except that one message stays one line.
//!
//! *Order*: the progress line is taken off the screen before anything else is written, and no worker draws it again
//! while an output is open.
//!
//! *Failure*: a reader that went away is not an error but a fact, see [`Term::broken_pipe`]. Any other error of stdout
//! goes to the caller. Errors of stderr are dropped: there is nowhere left to report them.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

mod escape;
mod progress;

pub use escape::{escape, one_line};
pub use progress::ProgressLine;

use progress::Paused;

/// A terminal narrower than this is laid out as if it were this wide, as docker does.
const MIN_WIDTH: usize = 20;
/// Assumed for a terminal that does not know its size.
const DEFAULT_WIDTH: usize = 80;

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` or `TERM=dumb` forbids it.
    #[default]
    Auto,
    /// Everywhere. What somebody typed goes before what the environment says.
    Always,
    /// Nowhere.
    Never,
}

/// When to show progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProgressChoice {
    /// When stderr is a terminal that can go back to the start of its line.
    #[default]
    Auto,
    /// Everywhere: as a line that is written over on a terminal, as one line a second elsewhere.
    Always,
    /// Nowhere.
    Never,
}

/// How much is said on stderr. Results and errors are not affected.
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

/// What the command line and the environment say about output. The environment is read by `main`, not here.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `--color`.
    pub color: ColorChoice,
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `TERM` is `dumb`.
    pub dumb: bool,
    /// `COLUMNS`, when it is a number. It goes before the size that the terminal reports; zero is ignored.
    pub columns: Option<usize>,
    /// `--progress`.
    pub progress: ProgressChoice,
    /// `--quiet` and `--verbose`.
    pub level: Level,
    /// Results go to stderr, since stdout is an archive.
    pub results_on_stderr: bool,
}

/// Whether text is coloured, decided once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colors {
    /// Text is wrapped in SGR sequences.
    On,
    /// Text stays as it is.
    Off,
}

/// The few ways in which text may stand out. No meaning rests on them alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// What is not there.
    Dim,
}

impl Colors {
    /// Returns `text` in the given style, or as it is when colours are off.
    ///
    /// The text must be escaped and laid out before: the sequences count as characters for whoever measures.
    pub fn paint(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Dim => 2,
        };
        match self {
            Self::On if !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::On | Self::Off => text.to_owned(),
        }
    }
}

/// What the process knows about its stdout and stderr; made once by `main`.
#[derive(Debug)]
pub struct Term {
    stdout_is_terminal: bool,
    stderr_is_terminal: bool,
    columns: Option<usize>,
    colors: Colors,
    level: Level,
    results_on_stderr: bool,
    broken: AtomicBool,
    progress: ProgressLine,
}

impl Term {
    /// Looks at stdout and stderr once and decides about colours and progress.
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
        let colors = match settings.color {
            ColorChoice::Always => Colors::On,
            ColorChoice::Never => Colors::Off,
            ColorChoice::Auto if stdout_is_terminal && !settings.no_color && !settings.dumb => {
                Colors::On
            }
            ColorChoice::Auto => Colors::Off,
        };
        Self {
            stdout_is_terminal,
            stderr_is_terminal,
            columns: settings.columns,
            colors,
            level: settings.level,
            results_on_stderr: settings.results_on_stderr,
            broken: AtomicBool::new(false),
            progress: ProgressLine::new(settings, stderr_is_terminal),
        }
    }

    /// Returns the columns that a table on stdout may use, or `None` on a pipe, where nothing is ever cut.
    pub fn width(&self) -> Option<usize> {
        self.stdout_is_terminal.then(|| {
            width_of(self.columns, || {
                terminal_size::terminal_size_of(io::stdout())
            })
        })
    }

    /// Returns the decision about colours on stdout.
    pub fn colors(&self) -> Colors {
        self.colors
    }

    /// Returns text from outside as it may stand in a cell or a line on stdout: escaped for a terminal, raw but for
    /// tabs and line ends for a pipe.
    pub fn foreign<'a>(&self, text: &'a str) -> Cow<'a, str> {
        shown_on(self.stdout_is_terminal, text)
    }

    /// Returns the progress that belongs to this terminal; clones of it may go to workers.
    pub fn progress(&self) -> ProgressLine {
        self.progress.clone()
    }

    /// Returns stdout, locked and buffered, with the progress line off the screen for as long as it lives.
    ///
    /// Flush it: what goes wrong while it is dropped is lost.
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

    /// Writes a question to stdout, without a line end, and flushes it.
    ///
    /// # Errors
    /// Those of stdout, except that a reader which went away is remembered instead.
    pub fn prompt(&self, text: &str) -> io::Result<()> {
        self.print(text)
    }

    fn print(&self, text: &str) -> io::Result<()> {
        let mut out = self.out();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Tells whether the reader of stdout went away. Later results are dropped silently; what that means for the exit
    /// code is the command's decision.
    pub fn broken_pipe(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Writes the line `ocisweep: {text}` to stderr, and below it `hint: {hint}`.
    ///
    /// Each stays one line whatever is in it; a caller with several lines to say calls several times.
    pub fn error(&self, text: &str, hint: Option<&str>) {
        let mut message = message_line("ocisweep: ", text, self.stderr_is_terminal);
        if let Some(hint) = hint {
            message.push_str(&message_line("hint: ", hint, self.stderr_is_terminal));
        }
        self.talk(&message);
    }

    /// Writes a line to stderr, also where quiet, and below it `hint: {hint}`: for what was most likely not meant.
    pub fn warn(&self, text: &str, hint: Option<&str>) {
        let mut message = message_line("", text, self.stderr_is_terminal);
        if let Some(hint) = hint {
            message.push_str(&message_line("hint: ", hint, self.stderr_is_terminal));
        }
        self.talk(&message);
    }

    /// Writes a line to stderr unless quiet.
    pub fn note(&self, text: &str) {
        if self.level >= Level::Normal {
            self.talk(&message_line("", text, self.stderr_is_terminal));
        }
    }

    /// Writes a line to stderr when verbose.
    pub fn detail(&self, text: &str) {
        if self.level >= Level::Verbose {
            self.talk(&message_line("", text, self.stderr_is_terminal));
        }
    }

    fn talk(&self, lines: &str) {
        let _paused = self.progress.pause();
        // One write for the whole message: lines of other processes do not get in between.
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

/// Where results go.
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

/// A writer that remembers a reader which went away, and swallows what comes after that.
struct Pipe<'a, W> {
    inner: W,
    broken: &'a AtomicBool,
    /// Held for its drop only, which comes after the buffer in front of this writer was flushed.
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

    /// A stdout whose reader goes away after some bytes, or that fails in another way.
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

    #[test]
    fn a_reader_that_went_away_is_remembered_and_no_error() {
        let progress = ProgressLine::hidden();
        let broken = AtomicBool::new(false);
        let inner = Failing {
            room: 8,
            kind: io::ErrorKind::BrokenPipe,
            written: Vec::new(),
        };
        let mut pipe = Pipe {
            inner,
            broken: &broken,
            paused: progress.pause(),
        };
        for line in ["first\n", "second\n", "x\n"] {
            pipe.write_all(line.as_bytes())
                .expect("a broken pipe is no error");
        }
        pipe.flush().expect("a broken pipe is no error");
        assert!(broken.load(Ordering::Relaxed));
        assert_eq!(
            pipe.inner.written, b"first\n",
            "nothing is written after the break"
        );
    }

    #[test]
    fn other_errors_of_stdout_are_errors() {
        let progress = ProgressLine::hidden();
        let broken = AtomicBool::new(false);
        let inner = Failing {
            room: 0,
            kind: io::ErrorKind::StorageFull,
            written: Vec::new(),
        };
        let mut pipe = Pipe {
            inner,
            broken: &broken,
            paused: progress.pause(),
        };
        let error = pipe.write_all(b"x").expect_err("the disk is full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(!broken.load(Ordering::Relaxed));
    }

    #[test]
    fn colours_follow_the_flag_then_the_environment_then_the_terminal() {
        for (color, no_color, dumb, terminal, want) in [
            (ColorChoice::Auto, false, false, true, Colors::On),
            (ColorChoice::Auto, false, false, false, Colors::Off),
            (ColorChoice::Auto, true, false, true, Colors::Off),
            (ColorChoice::Auto, false, true, true, Colors::Off),
            (ColorChoice::Always, true, true, false, Colors::On),
            (ColorChoice::Never, false, false, true, Colors::Off),
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
        assert_eq!(Colors::On.paint(Style::Dim, "x"), "\x1b[2mx\x1b[0m");
        assert_eq!(Colors::On.paint(Style::Dim, ""), "");
        assert_eq!(Colors::Off.paint(Style::Dim, "x"), "x");
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
    fn foreign_text_is_escaped_for_the_stream_it_goes_to() {
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
    fn a_message_may_come_while_results_are_open() {
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
