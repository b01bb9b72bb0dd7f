//! Suspends the program at a known system call while something else happens.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

use crate::strace::spawn_with;
use crate::support::Run;

/// The time limit for any step here; anything slower hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// A run that is suspended.
#[derive(Debug)]
pub(crate) struct Stalled {
    /// `strace`, until the run continues.
    child: Option<Child>,
    /// The program.
    pid: Pid,
    line: String,
    log: NamedTempFile,
}

impl Stalled {
    /// Starts the program and waits until it has made the N-th call of this name. `Err`: it exited before that.
    #[track_caller]
    pub(crate) fn after(name: &str, number: u32, args: &[OsString]) -> Result<Self, Run> {
        Self::at(name, &number.to_string(), None, args)
    }

    /// Like `start`, with another directory for temporary files.
    #[track_caller]
    pub(crate) fn after_in(
        temp: &Path,
        name: &str,
        number: u32,
        args: &[OsString],
    ) -> Result<Self, Run> {
        Self::at(name, &number.to_string(), Some(temp), args)
    }

    /// Like `start`, and stops after every further call of this name: [`Stalled::step`] lets it continue to the next.
    #[track_caller]
    pub(crate) fn after_each(name: &str, number: u32, args: &[OsString]) -> Result<Self, Run> {
        Self::at(name, &format!("{number}+"), None, args)
    }

    #[track_caller]
    fn at(name: &str, when: &str, temp: Option<&Path>, args: &[OsString]) -> Result<Self, Run> {
        let log = NamedTempFile::new().expect("a temporary file can be made");
        let line = format!("stop after {name} {when}: {args:?}");
        let injection = format!("{name}:signal=STOP:when={when}");
        let mut child = spawn_with((log.path(), temp), &[], &[&injection], args);
        let start = Instant::now();
        let thread = loop {
            let text = fs::read(log.path()).expect("the log of strace can be read");
            let text = String::from_utf8_lossy(&text).into_owned();
            let stop = text
                .lines()
                .find(|line| line.contains("--- stopped by SIGSTOP"));
            if let Some(line) = stop {
                break line.split(' ').next().unwrap_or_default().to_owned();
            }
            if child
                .try_wait()
                .expect("a child can be waited for")
                .is_some()
            {
                return Err(Run::wait(line.clone(), child));
            }
            assert!(
                start.elapsed() < PATIENCE,
                "it neither stops nor ends\n{line}\n{text}"
            );
            sleep(Duration::from_millis(1));
        };
        Ok(Self {
            child: Some(child),
            pid: process_of(&thread).expect("a stopped process exists"),
            line,
            log,
        })
    }

    /// Lets the run continue to the next stop.
    #[track_caller]
    pub(crate) fn step(&self) {
        let stops = || {
            let text = fs::read(self.log.path()).expect("the log of strace can be read");
            let text = String::from_utf8_lossy(&text).into_owned();
            text.matches("--- stopped by SIGSTOP").count()
        };
        let before = stops();
        self.signal(Signal::CONT);
        let start = Instant::now();
        while stops() == before {
            assert!(
                start.elapsed() < PATIENCE,
                "it does not stop\n{}",
                self.line
            );
            sleep(Duration::from_millis(1));
        }
    }

    /// Kills the run where it is suspended.
    #[track_caller]
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        let mut child = self.child.take().expect("it is killed once");
        child.wait().expect("`strace` ends with it");
    }

    /// Sends a signal, which is pending until the run continues.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("the process is there");
    }

    /// Lets the run continue to its end.
    #[track_caller]
    pub(crate) fn go_on(mut self) -> Run {
        self.signal(Signal::CONT);
        let child = self.child.take().expect("it continues once");
        Run::wait(self.line.clone(), child)
    }
}

/// Returns the process that a thread, as in a log of `strace`, belongs to: signals are sent to processes.
pub(crate) fn process_of(thread: &str) -> Option<Pid> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    Pid::from_raw(process.trim().parse().ok()?)
}

impl Drop for Stalled {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A test failed: nothing else will continue it.
            let _gone = kill_process(self.pid, Signal::KILL);
            let _ended = child.wait();
        }
    }
}
