//! Layouts to work on, and the comparison with what was seen before.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::{Cmd, Run};

/// The current time of all tests here: some days after the corpus was recorded, so that nothing in it is young.
pub(crate) const NOW: &str = "2026-11-24T12:00:00Z";

/// A directory with layouts of the corpus below their own names; calls run in it, so that paths are short and the same
/// everywhere.
pub(crate) struct Shelf {
    directory: TempDir,
    pub(crate) text: String,
}

impl Shelf {
    /// Unpacks the cases with these names.
    pub(crate) fn new(cases: &[&str]) -> Self {
        Self::below(&std::env::temp_dir(), cases)
    }

    /// Does the same on a file system that somebody chose.
    pub(crate) fn below(ground: &Path, cases: &[&str]) -> Self {
        let directory = TempDir::new_in(ground).expect("a temporary directory can be made");
        for case in cases {
            let tar = corpus().join(format!("{case}.tar"));
            let mut archive = tar::Archive::new(fs::File::open(tar).expect("the case is there"));
            archive.set_preserve_permissions(true);
            archive.set_preserve_mtime(true);
            archive
                .unpack(directory.path())
                .expect("it can be unpacked");
        }
        Self {
            directory,
            text: String::new(),
        }
    }

    /// Returns the directory that holds the layouts.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the path of a file or directory on the shelf.
    pub(crate) fn join(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    /// Returns the one blob of a layout whose digest begins with `prefix`.
    pub(crate) fn blob(&self, layout: &str, prefix: &str) -> PathBuf {
        let directory = self.join(layout).join("blobs/sha256");
        let names = fs::read_dir(&directory).expect("the layout has blobs");
        let mut found = names
            .map(|entry| entry.expect("they can be listed").path())
            .filter(|path| {
                let name = path.file_name().unwrap_or_default();
                name.to_string_lossy().starts_with(prefix)
            });
        let blob = found.next().expect("there is such a blob");
        assert!(found.next().is_none(), "{prefix} is not unique");
        blob
    }

    /// Makes a call in the directory, at [`NOW`].
    pub(crate) fn cmd(&self, args: &[&str]) -> Cmd {
        Cmd::new(["--now", NOW]).args(args).current_dir(self.path())
    }

    /// Runs the program and notes what it said.
    pub(crate) fn run(&mut self, args: &[&str]) -> Run {
        let run = self.cmd(args).run();
        let line: Vec<String> = args.iter().map(|arg| quoted(arg)).collect();
        self.note(&format!("ocisweep {}", line.join(" ")), &run);
        run
    }

    /// Notes what a call said: stdout, then stderr, then an exit code other than 0.
    pub(crate) fn note(&mut self, line: &str, run: &Run) {
        let Run {
            code,
            stdout,
            stderr,
            ..
        } = run;
        let _ = writeln!(self.text, "$ {line}\n{stdout}");
        if !stderr.is_empty() {
            let _ = writeln!(self.text, "-- stderr\n{stderr}");
        }
        if *code != Some(0) {
            let code = code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
            let _ = writeln!(self.text, "-- exit {code}\n");
        }
    }

    /// Compares everything that was noted with a file in `tests/cli/snapshots/`.
    #[track_caller]
    pub(crate) fn matches(&self, name: &str) {
        let here = self.path().to_string_lossy();
        matches(name, &self.text.replace(&*here, "[DIR]"));
    }
}

/// Compares a text with a file in `tests/cli/snapshots/`, or writes the file.
#[track_caller]
pub(crate) fn matches(name: &str, text: &str) {
    let path = package().join(format!("tests/cli/snapshots/{name}.txt"));
    if std::env::var_os("OCISWEEP_UPDATE").is_some() {
        fs::write(&path, text).expect("a snapshot can be written");
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == text,
        "{name}.txt is not what the program says now; if that is meant, `OCISWEEP_UPDATE=1 cargo test --test suite cli::` \
         writes it\n{}",
        first_difference(&expected, text)
    );
}

/// Returns both sides around the first line in which they differ, then the new text as a whole.
fn first_difference(expected: &str, text: &str) -> String {
    let common = expected
        .lines()
        .zip(text.lines())
        .take_while(|(left, right)| left == right)
        .count();
    let line = |text: &str| {
        text.lines()
            .nth(common)
            .unwrap_or("(no such line)")
            .to_owned()
    };
    format!(
        "line {}\nwas: {}\nnow: {}\n\nnow as a whole:\n{text}",
        common + 1,
        line(expected),
        line(text)
    )
}

fn quoted(arg: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+=,-".contains(c);
    if !arg.is_empty() && arg.chars().all(is_plain) {
        arg.to_owned()
    } else {
        format!("'{arg}'")
    }
}

/// Returns the directory of the package.
pub(crate) fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn corpus() -> PathBuf {
    package().join("testdata/corpus")
}
