//! The cost of a process: wall clock, CPU, peak memory, system calls.
//!
//! Rust's standard library does not report the resources of a child, and this crate has no unsafe code to query the kernel.
//! So bash's `time` measures wall and CPU to the millisecond, and GNU `time` the memory. Both are *between* this program and
//! the measured one, which has another reason as well: a new process starts with the peak of its parent, and this one is
//! large.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// One call of a program.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// Its working directory; `None`: that of this program.
    pub(crate) directory: Option<PathBuf>,
    /// Environment variables in addition to those of this program.
    pub(crate) variables: Vec<(&'static str, &'static str)>,
}

impl Invocation {
    /// Returns a call in the working directory of this program.
    pub(crate) fn new<A: Into<OsString>>(
        program: &Path,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program: program.to_owned(),
            args: args.into_iter().map(Into::into).collect(),
            directory: None,
            variables: Vec::new(),
        }
    }

    /// Prepends another command, such as `strace` or `time`.
    fn behind<A: Into<OsString>>(
        &self,
        program: &Path,
        args: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = Command::new(program);
        command
            .args(args.into_iter().map(Into::into))
            .arg(&self.program)
            .args(&self.args)
            // Numbers are written with a decimal point, whatever the user's language.
            .env("LC_ALL", "C")
            .envs(self.variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }
}

/// The cost of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) wall: Duration,
    /// User and system time of all threads; `None` without bash.
    pub(crate) cpu: Option<Duration>,
    /// The most memory that was resident at once, in bytes; `None` without GNU time.
    pub(crate) peak_bytes: Option<u64>,
}

/// System calls by name, the most frequent first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) by_name: Vec<(String, u64)>,
}

impl Calls {
    /// Returns their number.
    pub(crate) fn total(&self) -> u64 {
        self.by_name.iter().map(|(_, count)| count).sum()
    }

    /// Reads the table of `strace -c`: share, seconds, µs a call, calls, errors if there were any, name.
    fn parse(table: &str) -> Self {
        let mut by_name: Vec<_> = table
            .lines()
            .filter_map(|line| {
                let fields: Vec<_> = line.split_whitespace().collect();
                let count: u64 = fields.get(3)?.parse().ok()?;
                let name = *fields.last()?;
                (name != "total").then(|| (name.to_owned(), count))
            })
            .collect();
        by_name.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Self { by_name }
    }
}

/// The programs that measure.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    bash: Option<PathBuf>,
    time: Option<PathBuf>,
    strace: Option<PathBuf>,
    /// Where the measuring programs write.
    notes: PathBuf,
}

/// The first arguments of the script; the command to run follows.
const SCRIPT: &str = r#"
errors=$1
shift
TIMEFORMAT='%3R %3U %3S'
time "$@" 2>"$errors"
"#;

impl Meter {
    /// Finds the programs. `notes` is a directory for their output.
    pub(crate) fn new(notes: &Path) -> Self {
        Self {
            bash: find("bash"),
            time: find("time"),
            strace: find("strace").filter(|strace| can_trace(strace)),
            notes: notes.to_owned(),
        }
    }

    /// Names the programs that are not installed or not permitted.
    pub(crate) fn absent(&self) -> Vec<&'static str> {
        [
            ("bash", &self.bash),
            ("time", &self.time),
            ("strace", &self.strace),
        ]
        .into_iter()
        .filter(|(_, path)| path.is_none())
        .map(|(name, _)| name)
        .collect()
    }

    /// Returns `true` if system calls can be counted.
    pub(crate) const fn counts_calls(&self) -> bool {
        self.strace.is_some()
    }

    /// Runs a command and measures it.
    ///
    /// # Errors
    /// Also if the exit status of the command is not 0: a failed run has no time.
    pub(crate) fn run(&self, call: &Invocation) -> io::Result<Sample> {
        let peak = self.notes.join("peak");
        let errors = self.notes.join("errors");
        let mut around: Vec<OsString> = Vec::new();
        if let Some(bash) = &self.bash {
            around.extend([bash.into(), "-c".into(), SCRIPT.into(), "bash".into()]);
            around.push(errors.clone().into());
        }
        if let Some(time) = &self.time {
            around.extend([time.into(), "-f".into(), "%M".into(), "-o".into()]);
            around.push(peak.clone().into());
        }
        let mut command = match around.split_first() {
            Some((program, args)) => call.behind(Path::new(program), args),
            None => {
                let mut bare = Command::new(&call.program);
                bare.args(&call.args)
                    .envs(call.variables.iter().copied())
                    .stdin(Stdio::null())
                    .stdout(Stdio::null());
                if let Some(directory) = &call.directory {
                    bare.current_dir(directory);
                }
                bare
            }
        };
        let start = Instant::now();
        let output = command.output()?;
        let outside = start.elapsed();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            let said = fs::read_to_string(&errors).unwrap_or(said);
            return Err(failed(call, &output.status.to_string(), &said));
        }
        let mut sample = Sample {
            wall: outside,
            cpu: None,
            peak_bytes: None,
        };
        if self.bash.is_some() {
            let (wall, cpu) = parse_times(&said)
                .ok_or_else(|| io::Error::other(format!("bash measured `{}`", said.trim())))?;
            sample.wall = wall;
            sample.cpu = Some(cpu);
        }
        if self.time.is_some() {
            let text = fs::read_to_string(&peak)?;
            let kib: Option<u64> = text
                .lines()
                .last()
                .and_then(|line| line.trim().parse().ok());
            sample.peak_bytes = kib.map(|kib| kib * 1024);
        }
        Ok(sample)
    }

    /// Runs a command and counts its system calls, those of its threads and children as well. `None` without strace.
    pub(crate) fn count(&self, call: &Invocation) -> io::Result<Option<Calls>> {
        let Some(strace) = &self.strace else {
            return Ok(None);
        };
        let table = self.notes.join("calls");
        let args: [OsString; 4] = ["-f".into(), "-c".into(), "-o".into(), table.clone().into()];
        let output = call.behind(strace, args).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(failed(call, &output.status.to_string(), &said));
        }
        Ok(Some(Calls::parse(&fs::read_to_string(&table)?)))
    }
}

/// Returns `true` if this process may trace others: in many containers it may not.
fn can_trace(strace: &Path) -> bool {
    Command::new(strace)
        .args(["-f", "-c", "-o", "/dev/null", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Returns the version of a program: the first line of its output.
pub(crate) fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(|line| line.trim().to_owned())
}

fn failed(call: &Invocation, status: &str, said: &str) -> io::Error {
    let program = call
        .program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let line = said.lines().next_back().unwrap_or_default();
    io::Error::other(format!("`{program}`: {status}: {line}"))
}

/// Reads `wall user system`, in seconds, from the last line.
fn parse_times(text: &str) -> Option<(Duration, Duration)> {
    let seconds: Vec<f64> = text
        .lines()
        .next_back()?
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    let [wall, user, system] = seconds.try_into().ok()?;
    let duration = |seconds| Duration::try_from_secs_f64(seconds).ok();
    Some((duration(wall)?, duration(user + system)?))
}

/// Finds a program in `PATH`.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// Returns the middle one of some numbers, the mean of the two in the middle if their count is even.
pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut numbers: Vec<_> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    let upper = *numbers.get(numbers.len() / 2)?;
    if numbers.len() % 2 == 1 {
        return Some(upper);
    }
    numbers
        .get(numbers.len() / 2 - 1)
        .map(|lower| f64::midpoint(*lower, upper))
}
