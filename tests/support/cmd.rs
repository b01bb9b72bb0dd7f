//! Running the program and reading what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// One call of the program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cmd {
    args: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    input: Vec<u8>,
}

impl Cmd {
    /// Begins a call with these arguments.
    pub(crate) fn new<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        Self::default().args(args)
    }

    /// Begins `gc LAYOUT --grace 0`.
    pub(crate) fn gc(layout: &Path) -> Self {
        Self::new(["gc"]).arg(layout).args(["--grace", "0"])
    }

    /// Begins `gc LAYOUT --grace 0 --format json`.
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

    /// Gives it something to read; without this its standard input is empty.
    pub(crate) fn input(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.input = bytes.as_ref().to_vec();
        self
    }

    /// Starts it without waiting, with all its streams piped.
    pub(crate) fn spawn(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocisweep"));
        command
            .args(&self.args)
            // The outcome must not depend on who runs the tests and where.
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR_FORCE")
            .env_remove("COLUMNS")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.spawn().expect("the program can be started")
    }

    /// Runs it to the end.
    pub(crate) fn run(&self) -> Run {
        let mut child = self.spawn();
        let mut stdin = child.stdin.take().expect("standard input is piped");
        // A program that does not read its input may be gone already; that is no failure of the test.
        let _ignored = stdin.write_all(&self.input);
        drop(stdin);
        let output = child.wait_with_output().expect("the program ends");
        let args: Vec<_> = self.args.iter().map(|arg| arg.to_string_lossy()).collect();
        Run {
            line: format!("ocisweep {}", args.join(" ")),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// What a call left behind: exit code and output.
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
        let lines: Vec<&str> = self
            .stderr
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let shape = match lines.split_first() {
            None => false,
            Some((error, hints)) => {
                error.starts_with("ocisweep: ")
                    && !hints.is_empty()
                    && hints.iter().all(|line| line.starts_with("hint: "))
            }
        };
        assert!(shape, "not one error line with a hint\n{}", self.all());
        self
    }

    /// Returns standard output as one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("the output is no JSON: {error}\n{}", self.all()))
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
    /// What the report calls it.
    pub(crate) kind: String,
    /// Length in bytes.
    pub(crate) size: u64,
    /// `delete`, `would-delete`, `keep` or another word.
    pub(crate) action: String,
}

/// What `--format json` says about a run that deletes, all layouts taken together.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// Whether the run calls itself a dry one.
    pub(crate) dry_run: bool,
    /// The paths of the layouts.
    pub(crate) layouts: Vec<String>,
    /// All items of all layouts that have a digest.
    pub(crate) items: Vec<Item>,
    /// Number of blobs deleted, by the totals.
    pub(crate) deleted_blobs: u64,
    /// Length of the blobs deleted, by the totals.
    pub(crate) deleted_bytes: u64,
    /// Bytes freed, by the totals.
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

    /// Returns digest and length of what was, or would be, deleted.
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

    /// Returns the words that the items use for what is done.
    pub(crate) fn actions(&self) -> BTreeSet<String> {
        self.items.iter().map(|item| item.action.clone()).collect()
    }
}
