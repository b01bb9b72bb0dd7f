//! [`Cmd`] runs the program, [`Run`] is its result: exit code, standard output, standard error, JSON and the report in it.
//!
//! Every process runs under a watchdog, so that a test ends even if the program hangs.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_ocisweep");

/// The time limit of a process. Far more than any needs, even without optimisation and on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(180);

/// The maximum output that is read. A program that prints endlessly must not exhaust the memory of the test.
const MAX_OUTPUT_BYTES: u64 = 64 << 20;

/// One call of the program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cmd {
    args: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    input: Vec<u8>,
}

impl Cmd {
    /// Creates a call with these arguments.
    pub(crate) fn new<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        Self::default().args(args)
    }

    /// Creates the call `gc LAYOUT --grace 0`.
    pub(crate) fn gc(layout: &Path) -> Self {
        Self::new(["gc"]).arg(layout).args(["--grace", "0"])
    }

    /// Creates the call `gc LAYOUT --grace 0 --format json`.
    pub(crate) fn gc_json(layout: &Path) -> Self {
        Self::gc(layout).args(["--format", "json"])
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Replaces an argument by another path.
    pub(crate) fn replacing_arg(mut self, old: &Path, new: &Path) -> Self {
        for arg in &mut self.args {
            if arg == old.as_os_str() {
                new.as_os_str().clone_into(arg);
            }
        }
        self
    }

    /// Returns the call's current time.
    pub(crate) fn now(&self) -> Timestamp {
        let mut args = self.args.iter().map(|arg| arg.to_string_lossy());
        match args.find(|arg| arg == "--now").and_then(|_| args.next()) {
            Some(now) => now.parse().expect("a time"),
            None => Timestamp::now(),
        }
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Runs it in a directory.
    pub(crate) fn current_dir(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Sets its standard input, which is otherwise empty.
    pub(crate) fn input(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.input = bytes.as_ref().to_vec();
        self
    }

    /// Starts it without waiting, with all its streams piped.
    pub(crate) fn spawn(&self) -> Child {
        let mut command = new_command(PROGRAM);
        command
            .args(&self.args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.spawn().expect("the program can be started")
    }

    /// Runs it to the end, or kills it and panics if it takes too long.
    #[track_caller]
    pub(crate) fn run(&self) -> Run {
        let args: Vec<_> = self.args.iter().map(|arg| arg.to_string_lossy()).collect();
        let line = format!("ocisweep {}", args.join(" "));
        let output = wait_for(self.spawn(), &self.input, &line);
        Run::of(line, &output)
    }
}

/// Creates a call of any program, without environment variables that would affect the result: those that ocisweep reads, and
/// those that set the language of other programs.
pub(crate) fn new_command(program: impl AsRef<OsStr>) -> Command {
    const UNSET: [&str; 12] = [
        "CI",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "COLUMNS",
        "GITHUB_STEP_SUMMARY",
        "LANGUAGE",
        "NO_COLOR",
        "OCISWEEP_LAYOUT",
        "OCISWEEP_TRASH",
        "RAYON_NUM_THREADS",
        "SUDO_USER",
        "TERM",
    ];
    let mut command = Command::new(program);
    command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    for name in UNSET {
        command.env_remove(name);
    }
    command
}

/// The output of a process, byte by byte.
#[derive(Debug)]
pub(crate) struct Output {
    /// The exit code; `None` after a signal.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) stdout: Vec<u8>,
    /// Standard error.
    pub(crate) stderr: Vec<u8>,
}

/// Runs any command without input, under the same watchdog as [`Cmd::run`].
#[track_caller]
pub(crate) fn run(command: Command) -> Run {
    let line = format!("{command:?}");
    try_run(command).unwrap_or_else(|error| panic!("cannot start {line}: {error}"))
}

/// Like [`run`], but returns the error of a command that cannot be started.
#[track_caller]
pub(crate) fn try_run(mut command: Command) -> std::io::Result<Run> {
    let line = format!("{command:?}");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(Run::wait(line, command.spawn()?))
}

/// Waits for the end of a process whose output is piped, and writes `input` to its standard input if that is piped.
#[track_caller]
pub(crate) fn wait_for(mut child: Child, input: &[u8], line: &str) -> Output {
    let stdout = child.stdout.take().map(drain);
    let stderr = child.stderr.take().map(drain);
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input may have ended already; that is no failure of the test.
        let _ignored = stdin.write_all(input);
    }
    wait(child, stdout, stderr, line)
}

/// Waits for the end of a process on a terminal, under the same watchdog.
#[track_caller]
pub(crate) fn wait_for_screen(child: Child, screen: File, line: &str) -> Output {
    wait(child, Some(drain(screen)), None, line)
}

#[track_caller]
fn wait(
    mut child: Child,
    stdout: Option<Receiver<Vec<u8>>>,
    stderr: Option<Receiver<Vec<u8>>>,
    line: &str,
) -> Output {
    let deadline = Instant::now() + TIMEOUT;
    let collect = |stream: Option<Receiver<Vec<u8>>>| -> Option<Vec<u8>> {
        let left = deadline.saturating_duration_since(Instant::now());
        stream.map_or_else(|| Some(Vec::new()), |stream| stream.recv_timeout(left).ok())
    };
    let streams = (collect(stdout), collect(stderr));
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().expect("a child can be killed");
            child.wait().expect("a child can be waited for");
            panic!("it hangs: no end after {} s\n{line}", TIMEOUT.as_secs());
        }
        // Its streams are closed, so it is about to exit.
        sleep(Duration::from_micros(100));
    };
    let (Some(stdout), Some(stderr)) = streams else {
        panic!("a descendant keeps the output open\n{line}");
    };
    Output {
        code: status.code(),
        stdout,
        stderr,
    }
}

/// Reads a stream to its end in a separate thread.
fn drain(stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    spawn(move || {
        let mut bytes = Vec::new();
        // After an error, only the bytes before it are returned.
        let _read = stream.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes);
        let _nobody_waits = sender.send(bytes);
    });
    receiver
}

/// The result of a call: exit code and output.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// The command line, for messages.
    pub(crate) line: String,
    /// The exit code; `None` after a signal.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Run {
    /// Describes the result of a process.
    pub(crate) fn of(line: String, output: &Output) -> Self {
        Self {
            line,
            code: output.code,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Waits for the end of a process whose output is piped.
    #[track_caller]
    pub(crate) fn wait(line: String, child: Child) -> Self {
        let output = wait_for(child, b"", &line);
        Self::of(line, &output)
    }

    /// Returns everything about the call, for messages.
    pub(crate) fn all(&self) -> String {
        let code = self
            .code
            .map_or_else(|| "a signal".to_owned(), |code| code.to_string());
        format!(
            "$ {}\n-- exit: {code}\n-- stdout:\n{}\n-- stderr:\n{}\n",
            self.line, self.stdout, self.stderr
        )
    }

    /// Panics unless the exit code is `code`.
    #[track_caller]
    pub(crate) fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "exit code\n{}", self.all());
        self
    }

    /// Panics unless it exited with 0.
    #[track_caller]
    pub(crate) fn ok(&self) -> &Self {
        self.exits(0)
    }

    /// Panics unless it refused: exit code 3.
    #[track_caller]
    pub(crate) fn refused(&self) -> &Self {
        self.exits(3)
    }

    /// Panics unless standard output contains `text`.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> &Self {
        assert!(
            self.stdout.contains(text),
            "no {text:?} in the output\n{}",
            self.all()
        );
        self
    }

    /// Panics if standard output contains `text`.
    #[track_caller]
    pub(crate) fn keeps_quiet_about(&self, text: &str) -> &Self {
        assert!(
            !self.stdout.contains(text),
            "{text:?} in the output\n{}",
            self.all()
        );
        self
    }

    /// Panics unless standard error contains `text`.
    #[track_caller]
    pub(crate) fn warns(&self, text: &str) -> &Self {
        assert!(
            self.stderr.contains(text),
            "no {text:?} in the errors\n{}",
            self.all()
        );
        self
    }

    /// Panics unless the last line of standard output is `line`.
    #[track_caller]
    pub(crate) fn ends_with_line(&self, line: &str) -> &Self {
        assert_eq!(
            self.stdout.lines().last(),
            Some(line),
            "last line\n{}",
            self.all()
        );
        self
    }

    /// Panics unless standard error is one line that begins with `ocisweep: `, followed by `hint: ` lines, at least one.
    #[track_caller]
    pub(crate) fn one_error_with_hint(&self) -> &Self {
        self.one_error();
        assert!(
            self.stderr.lines().any(|line| line.starts_with("hint: ")),
            "no hint\n{}",
            self.all()
        );
        self
    }

    /// Panics unless standard error is one line that begins with `ocisweep: `, perhaps followed by `hint: ` lines, and short.
    #[track_caller]
    pub(crate) fn one_error(&self) -> &Self {
        let mut lines = self.stderr.lines().filter(|line| !line.trim().is_empty());
        let is_one = lines
            .next()
            .is_some_and(|error| error.starts_with("ocisweep: "))
            && lines.all(|line| line.starts_with("hint: "));
        assert!(is_one, "not one error line\n{}", self.all());
        assert!(
            self.stderr.len() < 64 << 10,
            "{} bytes of error",
            self.stderr.len()
        );
        self.no_panic()
    }

    /// Panics if the program did, or if a signal ended it.
    #[track_caller]
    pub(crate) fn no_panic(&self) -> &Self {
        assert!(
            self.code.is_some_and(|code| code != 101) && !self.stderr.contains("panicked"),
            "it panicked, or a signal ended it\n{}",
            self.all()
        );
        self
    }

    /// Returns standard output as one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("the output is not JSON: {error}\n{}", self.all()))
    }

    /// Returns standard output as a report on deletions.
    #[track_caller]
    pub(crate) fn report(&self) -> Report {
        let json = self.json();
        match Report::read(&json) {
            Some(report) => report,
            None => panic!("the report lacks promised keys\n{}", self.all()),
        }
    }
}

/// One blob in a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// The digest.
    pub(crate) digest: String,
    /// Its type in the report.
    pub(crate) kind: String,
    /// Length in bytes.
    pub(crate) size: u64,
    /// `delete`, `would-delete`, `keep` or another word.
    pub(crate) action: String,
}

/// The `--format json` report of a run that deletes, over all layouts.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// Whether the report is that of a dry run.
    pub(crate) dry_run: bool,
    /// The paths of the layouts.
    pub(crate) layouts: Vec<String>,
    /// All items of all layouts that have a digest.
    pub(crate) items: Vec<Item>,
    /// Number of blobs deleted, according to the totals.
    pub(crate) deleted_blobs: u64,
    /// Length of the blobs deleted, according to the totals.
    pub(crate) deleted_bytes: u64,
    /// Bytes freed, according to the totals.
    pub(crate) freed_bytes: u64,
}

impl Report {
    fn read(json: &Value) -> Option<Self> {
        let mut items = Vec::new();
        let mut layouts = Vec::new();
        for layout in json.get("layouts")?.as_array()? {
            layouts.push(layout.get("path")?.as_str()?.to_owned());
            for item in layout.get("items")?.as_array()? {
                let Some(digest) = item.get("digest").and_then(Value::as_str) else {
                    // Temporary files have a path and no digest.
                    continue;
                };
                items.push(Item {
                    digest: digest.to_owned(),
                    kind: item.get("kind")?.as_str()?.to_owned(),
                    size: item.get("size")?.as_u64()?,
                    action: item.get("action")?.as_str()?.to_owned(),
                });
            }
        }
        let totals = json.get("totals")?;
        (json.get("schema_version")?.as_u64()? == 1).then_some(())?;
        Some(Self {
            dry_run: json.get("dry_run")?.as_bool()?,
            layouts,
            items,
            deleted_blobs: totals.get("blobs")?.as_u64()?,
            deleted_bytes: totals.get("bytes")?.as_u64()?,
            freed_bytes: totals.get("freed_bytes")?.as_u64()?,
        })
    }

    /// Returns digest and length of the blobs that were, or would be, deleted.
    pub(crate) fn deleted(&self) -> BTreeMap<String, u64> {
        let word = if self.dry_run {
            "would-delete"
        } else {
            "delete"
        };
        self.items
            .iter()
            .filter(|item| item.action == word)
            .map(|item| (item.digest.clone(), item.size))
            .collect()
    }

    /// Returns the actions of the items.
    pub(crate) fn actions(&self) -> BTreeSet<String> {
        self.items.iter().map(|item| item.action.clone()).collect()
    }
}

/// Returns a number of a JSON document.
#[track_caller]
pub(crate) fn number(json: &Value, pointer: &str) -> u64 {
    json.pointer(pointer)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("no number at {pointer} in {json:#}"))
}

/// Returns a number of the totals of a report.
#[track_caller]
pub(crate) fn total(report: &Value, key: &str) -> u64 {
    number(report, &format!("/totals/{key}"))
}

/// Returns the items of all layouts of a report.
pub(crate) fn items(report: &Value) -> impl Iterator<Item = &Value> {
    let layouts = report.get("layouts").and_then(Value::as_array);
    layouts
        .into_iter()
        .flatten()
        .filter_map(|layout| layout.get("items").and_then(Value::as_array))
        .flatten()
}

/// Returns the digests with this action in a report, over all layouts.
pub(crate) fn with_action(report: &Value, action: &str) -> Vec<String> {
    let mut digests: Vec<String> = items(report)
        .filter(|item| item.get("action").and_then(Value::as_str) == Some(action))
        .filter_map(|item| item.get("digest").and_then(Value::as_str))
        .map(str::to_owned)
        .collect();
    digests.sort();
    digests
}
