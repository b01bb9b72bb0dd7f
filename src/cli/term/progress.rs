//! The progress line.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Level, Settings, When, width_of};

/// Work shorter than this shows no progress.
const QUIET_START: Duration = Duration::from_millis(500);
/// Time between two updates of the progress line.
const REDRAW: Duration = Duration::from_millis(100);
/// Time between two lines of progress where a line cannot be overwritten.
const REPEAT: Duration = Duration::from_secs(1);

/// The progress line on stderr. Clones share it, and any thread may add to its counts.
///
/// The counting thread also draws when an update is due, unless another one is drawing. A worker never waits for the screen.
#[derive(Debug, Clone)]
pub struct ProgressLine(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    mode: ProgressMode,
    columns: Option<usize>,
    origin: Instant,
    done: AtomicU64,
    bytes: AtomicU64,
    screen: Mutex<Screen>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProgressMode {
    Hidden,
    Overwrite,
    Append,
}

struct Screen {
    stderr: Box<dyn Write + Send>,
    phase: Option<ProgressPhase>,
    /// Time since `origin` before which nothing is drawn.
    next: Duration,
    /// Outputs that are open now. Nothing is drawn unless it is zero.
    pauses: usize,
    /// When the first of these was opened.
    paused_at: Duration,
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

/// A part of the work, such as `sweeping`.
#[derive(Debug, Clone, Copy)]
pub struct ProgressPhase {
    /// The current work, such as `sweeping`.
    pub name: &'static str,
    /// Plural of what is counted.
    pub noun: &'static str,
    /// How many there are, if that is known.
    pub total: Option<u64>,
    /// Their bytes, if these are known.
    pub total_bytes: Option<u64>,
}

impl ProgressLine {
    /// Decides once whether and how progress is shown on a stderr that is a terminal or not.
    pub fn new(settings: &Settings, stderr_is_terminal: bool) -> Self {
        let can_overwrite = stderr_is_terminal && !settings.dumb;
        let mode = match settings.progress {
            _ if settings.level == Level::Quiet => ProgressMode::Hidden,
            When::Never => ProgressMode::Hidden,
            When::Auto | When::Always if can_overwrite => ProgressMode::Overwrite,
            When::Auto => ProgressMode::Hidden,
            When::Always => ProgressMode::Append,
        };
        Self::writing_to(Box::new(io::stderr()), mode, settings.columns)
    }

    /// Returns a progress line that counts and is never shown.
    #[cfg(test)]
    pub fn hidden() -> Self {
        Self::writing_to(Box::new(io::sink()), ProgressMode::Hidden, None)
    }

    fn writing_to(
        stderr: Box<dyn Write + Send>,
        mode: ProgressMode,
        columns: Option<usize>,
    ) -> Self {
        Self(Arc::new(Shared {
            mode,
            columns,
            origin: Instant::now(),
            done: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            screen: Mutex::new(Screen {
                stderr,
                phase: None,
                next: Duration::ZERO,
                pauses: 0,
                paused_at: Duration::ZERO,
                drawn: 0,
            }),
        }))
    }

    /// Begins a phase.
    ///
    /// The initial delay counts from the first phase, so that a run of short phases shows something.
    pub fn phase(&self, phase: ProgressPhase) {
        let now = self.0.origin.elapsed();
        self.begin(now, phase);
        self.draw_when_due(now);
    }

    /// Counts items and bytes that are done.
    pub fn add(&self, items: u64, bytes: u64) {
        self.0.done.fetch_add(items, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.0.mode != ProgressMode::Hidden {
            self.draw_when_due(self.0.origin.elapsed());
        }
    }

    /// Ends the work and erases the line. Counting after that shows nothing.
    pub fn finish(&self) {
        let mut screen = self.screen();
        screen.erase();
        screen.phase = None;
    }

    fn begin(&self, now: Duration, phase: ProgressPhase) {
        let mut screen = self.screen();
        self.0.done.store(0, Ordering::Relaxed);
        self.0.bytes.store(0, Ordering::Relaxed);
        if screen.phase.replace(phase).is_none() {
            screen.next = now.saturating_add(QUIET_START);
        }
    }

    /// Erases the line, and draws none until the guard is dropped.
    ///
    /// That time does not count as work: after a user has thought about a question for a minute, no progress is shown for
    /// work that takes a moment.
    pub(super) fn pause(&self) -> Paused<'_> {
        self.pause_at(self.0.origin.elapsed());
        Paused(self)
    }

    fn pause_at(&self, now: Duration) {
        let mut screen = self.screen();
        if screen.pauses == 0 {
            screen.paused_at = now;
        }
        screen.pauses += 1;
        screen.erase();
    }

    fn resume_at(&self, now: Duration) {
        let mut screen = self.screen();
        screen.pauses -= 1;
        if screen.pauses == 0 {
            let paused = now.saturating_sub(screen.paused_at);
            screen.next = screen.next.saturating_add(paused);
        }
    }

    fn screen(&self) -> MutexGuard<'_, Screen> {
        // A panic in the middle of an update leaves nothing that the next update does not repair.
        self.0.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw_when_due(&self, now: Duration) {
        if self.0.mode == ProgressMode::Hidden {
            return;
        }
        let Ok(mut screen) = self.0.screen.try_lock() else {
            return;
        };
        let Some(phase) = screen.phase else { return };
        if now < screen.next || screen.pauses > 0 {
            return;
        }
        let done = self.0.done.load(Ordering::Relaxed);
        let text = phase.text(done, self.0.bytes.load(Ordering::Relaxed));
        let wait = if self.0.mode == ProgressMode::Append {
            screen.write(&format!("{text}\n"));
            REPEAT
        } else {
            let ask = || terminal_size::terminal_size_of(io::stderr());
            screen.overwrite(&text, width_of(self.0.columns, ask));
            REDRAW
        };
        screen.next = now.saturating_add(wait);
    }
}

/// Keeps the progress line off the screen.
#[derive(Debug)]
pub(super) struct Paused<'a>(&'a ProgressLine);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.resume_at(self.0.0.origin.elapsed());
    }
}

impl ProgressPhase {
    /// Returns `sweeping 12,345 of 50,000 blobs  1.2GB`.
    fn text(self, done: u64, bytes: u64) -> String {
        // A total that was a guess and turned out too small is no longer shown.
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
        // The last column stays free: a terminal may wrap as soon as it is written. The texts are our own, and ASCII.
        let line: String = text.chars().take(width.saturating_sub(1)).collect();
        let stale = self.drawn.saturating_sub(line.len());
        self.write(&format!("\r{line}{:stale$}", ""));
        self.drawn = line.len();
    }

    fn erase(&mut self) {
        let columns = std::mem::take(&mut self.drawn);
        if columns > 0 {
            self.write(&format!("\r{:columns$}\r", ""));
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

/// Returns a size with one decimal, so that a line which is overwritten does not jitter.
fn short_size(bytes: u64) -> String {
    let (mut whole, mut tenths, mut unit) = (bytes, String::new(), "B");
    for larger in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        if whole < 1000 {
            break;
        }
        tenths = format!(".{}", whole % 1000 / 100);
        whole /= 1000;
        unit = larger;
    }
    format!("{whole}{tenths}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Collects what would be sent to a terminal.
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
            let mut sent = self.0.lock().expect("no writer panics");
            sent.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const SWEEP: ProgressPhase = ProgressPhase {
        name: "sweeping",
        noun: "blobs",
        total: Some(50_000),
        total_bytes: None,
    };

    fn progress(mode: ProgressMode, columns: usize) -> (ProgressLine, Sent) {
        let sent = Sent::default();
        (
            ProgressLine::writing_to(Box::new(sent.clone()), mode, Some(columns)),
            sent,
        )
    }

    /// A line on which `SWEEP` has begun and was drawn.
    fn drawn(columns: usize) -> (ProgressLine, Sent) {
        let (progress, sent) = progress(ProgressMode::Overwrite, columns);
        progress.begin(Duration::ZERO, SWEEP);
        progress.draw_at(500);
        (progress, sent)
    }

    impl ProgressLine {
        fn draw_at(&self, millis: u64) {
            self.draw_when_due(Duration::from_millis(millis));
        }
    }

    #[test]
    fn waits_half_a_second_and_draws_ten_times_a_second() {
        let (progress, sent) = progress(ProgressMode::Overwrite, 80);
        progress.begin(Duration::from_secs(1), SWEEP);
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
            progress.draw_at(at);
            assert_eq!(sent.take(), want, "at {at}");
        }
        progress.finish();
        assert_eq!(sent.take(), format!("\r{:38}\r", ""));
        progress.draw_at(99_999);
        assert_eq!(sent.take(), "");
    }

    #[test]
    fn short_phases_share_the_quiet_start_and_a_shorter_line_covers_a_longer_one() {
        let (progress, sent) = drawn(80);
        assert_eq!(sent.take(), "\rsweeping 0 of 50,000 blobs");
        let marking = ProgressPhase {
            name: "marking",
            noun: "documents",
            total: None,
            total_bytes: None,
        };
        progress.begin(Duration::from_millis(550), marking);
        progress.add(1, 0);
        progress.draw_at(600);
        assert_eq!(sent.take(), "\rmarking 1 document        ");
    }

    #[test]
    fn an_open_output_keeps_the_line_off_the_screen() {
        let (progress, sent) = drawn(80);
        sent.take();
        let outer = progress.pause();
        assert_eq!(sent.take(), format!("\r{:26}\r", ""));
        let inner = progress.pause();
        drop(inner);
        progress.draw_at(5000);
        assert_eq!(sent.take(), "");
        drop(outer);
        progress.draw_at(5000);
        assert_eq!(sent.take(), "\rsweeping 0 of 50,000 blobs");
    }

    #[test]
    fn waiting_for_an_answer_does_not_count_as_work() {
        let (progress, sent) = progress(ProgressMode::Overwrite, 80);
        progress.begin(Duration::ZERO, SWEEP);
        progress.pause_at(Duration::from_millis(200));
        progress.pause_at(Duration::from_secs(30));
        progress.resume_at(Duration::from_secs(40));
        progress.resume_at(Duration::from_secs(60));
        progress.draw_at(60_299);
        assert_eq!(sent.take(), "", "half a second of work has not passed");
        progress.draw_at(60_300);
        assert_eq!(sent.take(), "\rsweeping 0 of 50,000 blobs");
    }

    #[test]
    fn the_line_is_cut_to_the_width() {
        assert_eq!(drawn(24).1.take(), "\rsweeping 0 of 50,000 bl");
    }

    #[test]
    fn appends_a_line_a_second_where_nothing_can_be_overwritten() {
        let (progress, sent) = progress(ProgressMode::Append, 24);
        progress.begin(Duration::ZERO, SWEEP);
        for at in 0..=2600 {
            progress.draw_at(at);
        }
        progress.finish();
        assert_eq!(sent.take(), "sweeping 0 of 50,000 blobs\n".repeat(3));
    }

    #[test]
    fn is_shown_where_settings_and_terminal_allow() {
        use {Level as L, ProgressMode as M, When as W};
        for (choice, level, dumb, terminal, want) in [
            (W::Auto, L::Normal, false, true, M::Overwrite),
            (W::Auto, L::Normal, true, true, M::Hidden),
            (W::Auto, L::Verbose, false, false, M::Hidden),
            (W::Auto, L::Quiet, false, true, M::Hidden),
            (W::Always, L::Normal, false, true, M::Overwrite),
            (W::Always, L::Normal, true, true, M::Append),
            (W::Always, L::Normal, false, false, M::Append),
            (W::Never, L::Normal, false, true, M::Hidden),
        ] {
            let settings = Settings {
                progress: choice,
                level,
                dumb,
                ..Settings::default()
            };
            let progress = ProgressLine::new(&settings, terminal);
            assert_eq!(progress.0.mode, want, "{settings:?} terminal={terminal}");
        }
    }

    #[test]
    fn many_workers_lose_no_count_and_do_not_block() {
        let (progress, sent) = progress(ProgressMode::Overwrite, 80);
        progress.begin(Duration::ZERO, SWEEP);
        progress.screen().next = Duration::ZERO;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        progress.add(1, 2);
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
            "the line is still there: {text:?}"
        );
    }

    #[test]
    fn formats_numbers_for_people() {
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
        for (total, total_bytes, done, bytes, want) in [
            (Some(1), None, 0, 0, "checking 0 of 1 blob"),
            (Some(1), None, 2, 0, "checking 2 blobs"),
            (None, None, 1, 0, "checking 1 blob"),
            (
                Some(1),
                Some(5000),
                0,
                0,
                "checking 0 of 1 blob  0B of 5.0kB",
            ),
            (
                Some(1),
                Some(5000),
                0,
                2500,
                "checking 0 of 1 blob  2.5kB of 5.0kB",
            ),
            (Some(1), Some(5000), 0, 6000, "checking 0 of 1 blob  6.0kB"),
            (Some(1), Some(0), 0, 0, "checking 0 of 1 blob"),
        ] {
            let phase = ProgressPhase {
                name: "checking",
                noun: "blobs",
                total,
                total_bytes,
            };
            assert_eq!(phase.text(done, bytes), want);
        }
    }
}
