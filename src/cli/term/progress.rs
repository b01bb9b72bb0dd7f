//! The progress line.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::{Level, ProgressChoice, Settings, width_of};

/// Work shorter than this shows no progress.
const QUIET_START: Duration = Duration::from_millis(500);
/// Time between two updates of the progress line.
const REDRAW: Duration = Duration::from_millis(100);
/// Time between two lines of progress where a line cannot be written over.
const REPEAT: Duration = Duration::from_secs(1);

/// The progress line on stderr. Clones share it, and any thread may count.
///
/// Whoever counts also draws, when an update is due and nobody else is at it. A worker never waits for the screen.
#[derive(Debug, Clone)]
pub struct ProgressLine(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    mode: Mode,
    columns: Option<usize>,
    origin: Instant,
    done: AtomicU64,
    bytes: AtomicU64,
    /// Milliseconds since `origin` before which nothing is drawn; the maximum while there is no phase.
    next_millis: AtomicU64,
    /// Outputs that are open now. Nothing is drawn unless it is zero.
    pauses: AtomicUsize,
    screen: Mutex<Screen>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Hidden,
    Overwrite,
    Append,
}

struct Screen {
    stderr: Box<dyn Write + Send>,
    phase: Option<Phase>,
    /// Columns of the line that is on the screen now.
    drawn: usize,
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
struct Phase {
    name: &'static str,
    noun: &'static str,
    total: Option<u64>,
    total_bytes: Option<u64>,
}

impl ProgressLine {
    /// Decides once whether and how progress is shown on a stderr that is a terminal or not.
    pub fn new(settings: &Settings, stderr_is_terminal: bool) -> Self {
        let can_overwrite = stderr_is_terminal && !settings.dumb;
        let mode = match settings.progress {
            _ if settings.level == Level::Quiet => Mode::Hidden,
            ProgressChoice::Never => Mode::Hidden,
            ProgressChoice::Auto | ProgressChoice::Always if can_overwrite => Mode::Overwrite,
            ProgressChoice::Auto => Mode::Hidden,
            ProgressChoice::Always => Mode::Append,
        };
        Self::writing_to(Box::new(io::stderr()), mode, settings.columns)
    }

    /// Returns a progress that counts and is never shown.
    #[cfg(test)]
    pub fn hidden() -> Self {
        Self::writing_to(Box::new(io::sink()), Mode::Hidden, None)
    }

    fn writing_to(stderr: Box<dyn Write + Send>, mode: Mode, columns: Option<usize>) -> Self {
        Self(Arc::new(Shared {
            mode,
            columns,
            origin: Instant::now(),
            done: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            next_millis: AtomicU64::new(u64::MAX),
            pauses: AtomicUsize::new(0),
            screen: Mutex::new(Screen {
                stderr,
                phase: None,
                drawn: 0,
            }),
        }))
    }

    /// Begins a phase, such as `sweeping`; `noun` is the plural of what it counts.
    ///
    /// The half second of silence is counted from the first phase, so that a run of short ones shows something.
    pub fn phase_of(&self, name: &'static str, noun: &'static str, total: Option<u64>) {
        let now = self.now_millis();
        let total_bytes = None;
        self.begin(
            now,
            Phase {
                name,
                noun,
                total,
                total_bytes,
            },
        );
        self.draw_when_due(now);
    }

    /// Says how many bytes the current phase has to go through.
    pub fn expect_bytes(&self, total: u64) {
        if let Some(phase) = &mut self.screen().phase {
            phase.total_bytes = Some(total);
        }
    }

    /// Counts `n` things that are done.
    pub fn add(&self, n: u64) {
        self.0.done.fetch_add(n, Ordering::Relaxed);
        self.draw_when_due_now();
    }

    /// Counts `n` bytes that are done.
    pub fn add_bytes(&self, n: u64) {
        self.0.bytes.fetch_add(n, Ordering::Relaxed);
        self.draw_when_due_now();
    }

    /// Ends the work and takes the line off the screen. Counting after that shows nothing.
    pub fn finish(&self) {
        let mut screen = self.screen();
        screen.erase();
        screen.phase = None;
        self.0.next_millis.store(u64::MAX, Ordering::Relaxed);
    }

    fn begin(&self, now_millis: u64, phase: Phase) {
        let mut screen = self.screen();
        self.0.done.store(0, Ordering::Relaxed);
        self.0.bytes.store(0, Ordering::Relaxed);
        if screen.phase.replace(phase).is_none() {
            let first = now_millis.saturating_add(millis(QUIET_START));
            self.0.next_millis.store(first, Ordering::Relaxed);
        }
    }

    /// Takes the line off the screen and keeps it off until the answer is dropped.
    pub(super) fn pause(&self) -> Paused<'_> {
        // Announced before the lock is taken: whoever draws now is waited for, whoever comes later sees it.
        self.0.pauses.fetch_add(1, Ordering::SeqCst);
        if self.0.mode == Mode::Overwrite {
            self.screen().erase();
        }
        Paused(self)
    }

    fn screen(&self) -> MutexGuard<'_, Screen> {
        // Nothing in there can be left half done that the next update does not repair.
        self.0.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_millis(&self) -> u64 {
        millis(self.0.origin.elapsed())
    }

    fn draw_when_due_now(&self) {
        if self.0.mode != Mode::Hidden {
            self.draw_when_due(self.now_millis());
        }
    }

    fn draw_when_due(&self, now_millis: u64) {
        let due = || now_millis >= self.0.next_millis.load(Ordering::Relaxed);
        if self.0.mode == Mode::Hidden || !due() {
            return;
        }
        let mut screen = match self.0.screen.try_lock() {
            Ok(screen) => screen,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        // Asked again under the lock: another worker may have drawn, or an output may have been opened.
        if !due() || self.0.pauses.load(Ordering::SeqCst) > 0 {
            return;
        }
        let Some(phase) = screen.phase else { return };
        let (done, bytes) = (
            self.0.done.load(Ordering::Relaxed),
            self.0.bytes.load(Ordering::Relaxed),
        );
        let text = phase.text(done, bytes);
        let wait = if self.0.mode == Mode::Append {
            screen.append(&text);
            REPEAT
        } else {
            let ask = || terminal_size::terminal_size_of(io::stderr());
            screen.overwrite(&text, width_of(self.0.columns, ask));
            REDRAW
        };
        let next = now_millis.saturating_add(millis(wait));
        self.0.next_millis.store(next, Ordering::Relaxed);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Keeps the progress line off the screen.
#[derive(Debug)]
pub(super) struct Paused<'a>(&'a ProgressLine);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.0.pauses.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Phase {
    /// Returns `sweeping 12,345 of 50,000 blobs  1.2GB`.
    fn text(self, done: u64, bytes: u64) -> String {
        // A total that was a guess and turned out too small is not mentioned any more.
        let total = self.total.filter(|&total| total >= done);
        let of = total.map_or_else(String::new, |total| format!(" of {}", grouped(total)));
        let noun = match total.unwrap_or(done) {
            1 => self.noun.strip_suffix('s').unwrap_or(self.noun),
            _ => self.noun,
        };
        let size = match self.total_bytes {
            Some(total) if total >= bytes && total > 0 => {
                format!("  {} of {}", short_size(bytes), short_size(total))
            }
            _ if bytes == 0 => String::new(),
            _ => format!("  {}", short_size(bytes)),
        };
        format!("{} {}{of} {noun}{size}", self.name, grouped(done))
    }
}

impl Screen {
    fn overwrite(&mut self, text: &str, width: usize) {
        // The last column stays free: a terminal may wrap as soon as it is written. Texts are ours, and ASCII.
        let line: String = text.chars().take(width.saturating_sub(1)).collect();
        let columns = line.chars().count();
        let leftover = self.drawn.saturating_sub(columns);
        self.write(&format!("\r{line}{:leftover$}", ""));
        self.drawn = columns;
    }

    fn append(&mut self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    fn erase(&mut self) {
        if self.drawn > 0 {
            let columns = self.drawn;
            self.write(&format!("\r{:columns$}\r", ""));
            self.drawn = 0;
        }
    }

    fn write(&mut self, text: &str) {
        self.stderr.write_all(text.as_bytes()).ok();
        self.stderr.flush().ok();
    }
}

/// Returns `n` with commas between thousands.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len().saturating_mul(2));
    for (left, digit) in (0..digits.len()).rev().zip(digits.chars()) {
        text.push(digit);
        if left > 0 && left.is_multiple_of(3) {
            text.push(',');
        }
    }
    text
}

/// Returns a size with always one decimal, so that a line which is written over does not jitter.
fn short_size(bytes: u64) -> String {
    let (mut whole, mut thousandths, mut unit) = (bytes, None, "B");
    for larger in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        if whole < 1000 {
            break;
        }
        thousandths = Some(whole % 1000);
        whole /= 1000;
        unit = larger;
    }
    match thousandths {
        None => format!("{whole}{unit}"),
        Some(rest) => format!("{whole}.{}{unit}", rest / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal would have been sent.
    #[derive(Clone, Default)]
    struct Sent(Arc<Mutex<Vec<u8>>>);

    impl Sent {
        fn take(&self) -> String {
            let mut bytes = self.0.lock().expect("no writer panics");
            String::from_utf8(std::mem::take(&mut *bytes)).expect("progress is text")
        }
    }

    impl Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .expect("no writer panics")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const SWEEP: Phase = Phase {
        name: "sweeping",
        noun: "blobs",
        total: Some(50_000),
        total_bytes: None,
    };

    fn progress(mode: Mode, columns: usize) -> (ProgressLine, Sent) {
        let sent = Sent::default();
        (
            ProgressLine::writing_to(Box::new(sent.clone()), mode, Some(columns)),
            sent,
        )
    }

    #[test]
    fn waits_half_a_second_and_draws_ten_times_a_second() {
        let (progress, sent) = progress(Mode::Overwrite, 80);
        progress.begin(1000, SWEEP);
        progress.0.done.store(12_345, Ordering::Relaxed);
        progress.0.bytes.store(1_234_567_890, Ordering::Relaxed);
        for (at, want) in [
            (1000, ""),
            (1499, ""),
            (1500, "\rsweeping 12,345 of 50,000 blobs  1.2GB"),
            (1501, ""),
            (1599, ""),
            (1600, "\rsweeping 12,345 of 50,000 blobs  1.2GB"),
        ] {
            progress.draw_when_due(at);
            assert_eq!(sent.take(), want, "at {at}");
        }
        progress.finish();
        assert_eq!(sent.take(), format!("\r{:38}\r", ""));
        progress.draw_when_due(99_999);
        assert_eq!(sent.take(), "");
    }

    #[test]
    fn a_run_of_short_phases_shows_and_a_shorter_line_covers_the_longer() {
        let (progress, sent) = progress(Mode::Overwrite, 80);
        progress.begin(0, SWEEP);
        progress.draw_when_due(500);
        assert_eq!(sent.take(), "\rsweeping 0 of 50,000 blobs");
        progress.begin(
            550,
            Phase {
                name: "marking",
                noun: "documents",
                total: None,
                total_bytes: None,
            },
        );
        progress.add(1);
        progress.draw_when_due(600);
        assert_eq!(sent.take(), "\rmarking 1 document        ");
    }

    #[test]
    fn an_open_output_keeps_the_line_off_the_screen() {
        let (progress, sent) = progress(Mode::Overwrite, 80);
        progress.begin(0, SWEEP);
        progress.draw_when_due(500);
        sent.take();
        let outer = progress.pause();
        assert_eq!(sent.take(), format!("\r{:26}\r", ""));
        let inner = progress.pause();
        drop(inner);
        progress.draw_when_due(5000);
        assert_eq!(sent.take(), "");
        drop(outer);
        progress.draw_when_due(5000);
        assert_eq!(sent.take(), "\rsweeping 0 of 50,000 blobs");
    }

    #[test]
    fn is_cut_to_the_width() {
        let (progress, sent) = progress(Mode::Overwrite, 24);
        progress.begin(0, SWEEP);
        progress.draw_when_due(500);
        assert_eq!(sent.take(), "\rsweeping 0 of 50,000 bl");
    }

    #[test]
    fn appends_a_line_a_second_where_nothing_can_be_written_over() {
        let (progress, sent) = progress(Mode::Append, 24);
        progress.begin(0, SWEEP);
        for at in 0..=2600 {
            progress.draw_when_due(at);
        }
        progress.finish();
        assert_eq!(sent.take(), "sweeping 0 of 50,000 blobs\n".repeat(3));
    }

    #[test]
    fn decides_where_it_shows() {
        let settings = |progress, level, dumb| Settings {
            progress,
            level,
            dumb,
            ..Settings::default()
        };
        for (choice, level, dumb, terminal, want) in [
            (
                ProgressChoice::Auto,
                Level::Normal,
                false,
                true,
                Mode::Overwrite,
            ),
            (
                ProgressChoice::Auto,
                Level::Normal,
                true,
                true,
                Mode::Hidden,
            ),
            (
                ProgressChoice::Auto,
                Level::Verbose,
                false,
                false,
                Mode::Hidden,
            ),
            (
                ProgressChoice::Auto,
                Level::Quiet,
                false,
                true,
                Mode::Hidden,
            ),
            (
                ProgressChoice::Always,
                Level::Normal,
                false,
                true,
                Mode::Overwrite,
            ),
            (
                ProgressChoice::Always,
                Level::Normal,
                true,
                true,
                Mode::Append,
            ),
            (
                ProgressChoice::Always,
                Level::Normal,
                false,
                false,
                Mode::Append,
            ),
            (
                ProgressChoice::Never,
                Level::Normal,
                false,
                true,
                Mode::Hidden,
            ),
        ] {
            let progress = ProgressLine::new(&settings(choice, level, dumb), terminal);
            assert_eq!(
                progress.0.mode, want,
                "{choice:?} {level:?} dumb={dumb} {terminal}"
            );
        }
    }

    #[test]
    fn many_workers_lose_no_count_and_are_never_stopped() {
        let (progress, sent) = progress(Mode::Overwrite, 80);
        progress.begin(0, SWEEP);
        progress.0.next_millis.store(0, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        progress.add(1);
                        progress.add_bytes(2);
                    }
                });
            }
            for _ in 0..100 {
                drop(progress.pause());
            }
        });
        assert_eq!(progress.0.done.load(Ordering::Relaxed), 40_000);
        assert_eq!(progress.0.bytes.load(Ordering::Relaxed), 80_000);
        progress.finish();
        let text = sent.take();
        assert!(
            text.is_empty() || text.ends_with('\r'),
            "the line stays: {text:?}"
        );
    }

    #[test]
    fn writes_numbers_for_readers() {
        for (n, want) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (123_456, "123,456"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(grouped(n), want);
        }
        for (n, want) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.0kB"),
            (1999, "1.9kB"),
            (999_999, "999.9kB"),
            (1_000_000, "1.0MB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(short_size(n), want);
        }
        let one = Phase {
            name: "checking",
            noun: "blobs",
            total: Some(1),
            total_bytes: None,
        };
        for (phase, done, want) in [
            (one, 0, "checking 0 of 1 blob"),
            (one, 2, "checking 2 blobs"),
            (Phase { total: None, ..one }, 1, "checking 1 blob"),
        ] {
            assert_eq!(phase.text(done, 0), want);
        }
        let bytes = |total| Phase {
            total_bytes: Some(total),
            ..one
        };
        for (phase, done, want) in [
            (bytes(5000), 0, "checking 0 of 1 blob  0B of 5.0kB"),
            (bytes(5000), 2500, "checking 0 of 1 blob  2.5kB of 5.0kB"),
            (bytes(5000), 6000, "checking 0 of 1 blob  6.0kB"),
            (bytes(0), 0, "checking 0 of 1 blob"),
        ] {
            assert_eq!(phase.text(0, done), want);
        }
    }
}
