//! Runs the program under `strace`: records its system calls, and injects faults into them.
//!
//! `strace` counts the calls of each thread apart. All changes but those of a large sweep are made by the main thread, so the
//! N-th call is the same one in every run.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::NamedTempFile;

use crate::support::Run;
use crate::support::run::{PROGRAM, new_command};

/// The number of threads that read.
const THREADS: &str = "RAYON_NUM_THREADS";

/// One system call of a recorded run.
#[derive(Debug)]
pub(crate) struct Call {
    /// The thread.
    thread: String,
    /// The name.
    pub(crate) name: String,
    /// Arguments and result, as `strace` prints them.
    pub(crate) text: String,
}

/// The system calls of an undisturbed run.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) run: Run,
    pub(crate) calls: Vec<Call>,
}

impl Recording {
    /// Runs the program undisturbed and records the calls of these names.
    #[track_caller]
    pub(crate) fn of(names: &[&str], args: &[OsString]) -> Self {
        Self::with_temp(None, names, args)
    }

    /// Like `record`, with a directory for temporary files.
    #[track_caller]
    pub(crate) fn with_temp(temp: Option<&Path>, names: &[&str], args: &[OsString]) -> Self {
        let log = log_file();
        let line = format!("strace {names:?} {args:?}");
        let child = start(
            (log.path(), temp),
            &[],
            &[&format!("trace={}", names.join(","))],
            args,
        );
        let run = Run::wait(line.clone(), child);
        Self {
            run,
            calls: parse(&read(log.path())),
        }
    }

    /// Runs the program with a delay in some calls and its default number of threads, and records the calls of these names.
    #[track_caller]
    pub(crate) fn slowed(names: &[&str], injection: &str, args: &[OsString]) -> Self {
        let log = log_file();
        let line = format!("strace {names:?} -e inject={injection} {args:?}");
        let (trace, inject) = (
            format!("trace={}", names.join(",")),
            format!("inject={injection}"),
        );
        let mut command = command(log.path(), &[], &[&trace, &inject], args);
        command.env_remove(THREADS);
        let child = command.spawn().expect("`strace` can be started");
        let run = Run::wait(line, child);
        Self {
            run,
            calls: parse(&read(log.path())),
        }
    }

    /// Returns the numbers, counted from 1 in each thread, of the calls of this name for which `wanted` returns `true`.
    /// Calls that start the process, before it inspects `layout`, are omitted: those fail in the loader, not in the program.
    pub(crate) fn numbers(
        &self,
        name: &str,
        layout: &Path,
        wanted: impl Fn(&Call) -> bool,
    ) -> Vec<u32> {
        let layout = format!("\"{}\"", layout.display());
        let begin = self
            .calls
            .iter()
            .position(|call| call.text.contains(&layout));
        let begin = begin.unwrap_or_else(|| panic!("{layout} is not opened\n{}", self.all()));
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        let mut numbers = BTreeSet::new();
        let mut first = 0;
        for (position, call) in self.calls.iter().enumerate() {
            if call.name != name {
                continue;
            }
            let count = counts.entry(&call.thread).or_default();
            *count += 1;
            if position < begin {
                first = first.max(*count);
            } else if wanted(call) {
                numbers.insert(*count);
            }
        }
        numbers
            .into_iter()
            .filter(|number| *number > first)
            .collect()
    }

    /// Returns everything, for messages.
    pub(crate) fn all(&self) -> String {
        let calls: Vec<_> = self
            .calls
            .iter()
            .map(|call| format!("{} {}{}", call.thread, call.name, call.text))
            .collect();
        format!("{}\n{}", self.run.all(), calls.join("\n"))
    }
}

/// A run with an injection.
#[derive(Debug)]
pub(crate) struct Disturbed {
    pub(crate) run: Run,
    /// The number of injections that took effect.
    pub(crate) faults: usize,
}

impl Disturbed {
    /// Runs the program with an injection, in the syntax of `strace -e inject=`.
    #[track_caller]
    pub(crate) fn by(injection: &str, args: &[OsString]) -> Self {
        Self::on(&[], injection, args)
    }

    /// Runs the program with an injection into calls on these files only, if there are any.
    #[track_caller]
    pub(crate) fn on(files: &[&Path], injection: &str, args: &[OsString]) -> Self {
        let log = log_file();
        let line = format!("strace -P {files:?} -e inject={injection} {args:?}");
        let child = spawn(log.path(), files, &[injection], args);
        let run = Run::wait(line.clone(), child);
        let text = read(log.path());
        let faults = text
            .lines()
            .filter(|line| line.contains("(INJECTED)"))
            .count();
        Self { run, faults }
    }
}

/// Starts the program with injections and a log, without waiting for it.
#[track_caller]
pub(crate) fn spawn(log: &Path, files: &[&Path], injections: &[&str], args: &[OsString]) -> Child {
    spawn_with((log, None), files, injections, args)
}

/// Like `start`, with another directory for temporary files.
#[track_caller]
pub(crate) fn spawn_with(
    (log, temp): (&Path, Option<&Path>),
    files: &[&Path],
    injections: &[&str],
    args: &[OsString],
) -> Child {
    let names: Vec<&str> = injections
        .iter()
        .map(|injection| injection.split(':').next().unwrap_or_default())
        .collect();
    let mut expressions = vec![format!("trace={}", names.join(","))];
    expressions.extend(injections.iter().map(|text| format!("inject={text}")));
    let expressions: Vec<&str> = expressions.iter().map(String::as_str).collect();
    start((log, temp), files, &expressions, args)
}

#[track_caller]
fn start(
    (log, temp): (&Path, Option<&Path>),
    files: &[&Path],
    expressions: &[&str],
    args: &[OsString],
) -> Child {
    let mut command = command(log, files, expressions, args);
    if let Some(temp) = temp {
        command.env("TMPDIR", temp);
    }
    command.spawn().expect("`strace` can be started")
}

fn command(log: &Path, files: &[&Path], expressions: &[&str], args: &[OsString]) -> Command {
    let mut command = new_command("strace");
    command.args(["-f", "-qq", "-s", "256", "-o"]);
    command.arg(log);
    // Stops the program only at the calls of interest, which takes half of the time. A signal at a call is then never
    // delivered, and a delay has no effect.
    let is_only_error =
        |expression: &&str| !expression.starts_with("inject=") || expression.contains(":error=");
    if expressions.iter().all(is_only_error) {
        command.arg("--seccomp-bpf");
    }
    for file in files {
        command.arg("-P").arg(file);
    }
    for expression in expressions {
        command.args(["-e", expression]);
    }
    command
        .arg(PROGRAM)
        .args(args)
        .env("LC_ALL", "C")
        // One thread reads documents, so that its calls have the same order in every run.
        .env(THREADS, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Makes arguments of anything.
pub(crate) fn args<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Vec<OsString> {
    args.into_iter()
        .map(|arg| arg.as_ref().to_owned())
        .collect()
}

fn log_file() -> NamedTempFile {
    NamedTempFile::new().expect("a temporary file can be made")
}

fn read(log: &Path) -> String {
    let bytes = fs::read(log).expect("the log of strace can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Parses the log of `strace -f -o`: a thread and its call. Of a call that was interrupted by one of another thread, only
/// the beginning counts.
fn parse(log: &str) -> Vec<Call> {
    log.lines()
        .filter_map(|line| {
            let (thread, rest) = line.split_once(' ')?;
            let (name, text) = rest.trim_start().split_once('(')?;
            let is_name = !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            is_name.then(|| Call {
                thread: thread.to_owned(),
                name: name.to_owned(),
                text: format!("({text}"),
            })
        })
        .collect()
}
