//! [`TestDir`]: a directory with several layouts, in which commands run, so that paths are short and the same on every
//! machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::environment::{Unprivileged, disk_dir, memory_dir, with_mount};
use super::{Cmd, Image, LayoutBuilder, Run, corpus, transcript};

/// The current time for recorded layouts: some days after the corpus was recorded, so that nothing in it is in flight.
pub(crate) const NOW: &str = "2026-11-24T12:00:00Z";

/// A directory that is deleted when this is dropped.
#[derive(Debug)]
pub(crate) struct TestDir {
    directory: TempDir,
    /// The output of the calls so far, for a snapshot.
    pub(crate) text: String,
}

/// The size of some directories, each inode counted once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    /// The sum of the lengths.
    pub(crate) inodes: BTreeMap<(u64, u64), u64>,
    /// The sum of the allocated blocks.
    pub(crate) allocated: u64,
    /// The number of names; an inode may have several.
    pub(crate) names: u64,
}

impl Bytes {
    /// Returns the sum of all lengths.
    pub(crate) fn sum(&self) -> u64 {
        self.inodes.values().sum()
    }
}

impl TestDir {
    /// Creates an empty one in memory.
    pub(crate) fn new() -> Self {
        Self::of(memory_dir(), &[])
    }

    /// Unpacks the named cases of the corpus on disk.
    pub(crate) fn with_cases(cases: &[&str]) -> Self {
        Self::of(disk_dir(), cases)
    }

    /// Like [`with_cases`](Self::with_cases), on another file system.
    pub(crate) fn below(parent: &Path, cases: &[&str]) -> Self {
        let directory = TempDir::new_in(parent).expect("a temporary directory can be made");
        Self::of(directory, cases)
    }

    fn of(directory: TempDir, cases: &[&str]) -> Self {
        for case in cases {
            corpus::unpack_into(case, directory.path());
        }
        Self {
            directory,
            text: String::new(),
        }
    }

    /// Returns the directory.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Returns a path in the directory.
    pub(crate) fn join(&self, relative: &str) -> PathBuf {
        self.path().join(relative)
    }

    /// Returns a path in the directory as text.
    pub(crate) fn text_of(&self, relative: &str) -> String {
        let path = self.join(relative);
        path.to_str()
            .expect("paths of the tests are UTF-8")
            .to_owned()
    }

    /// Creates a layout that lists one image by the name `v1`, and has one orphan.
    pub(crate) fn layout(&self, relative: &str) -> (LayoutBuilder, Image) {
        let mut layout = LayoutBuilder::at(&self.join(relative));
        let content = format!("layer of {relative}");
        let image = layout.image("linux/amd64", relative, &[content.as_bytes()]);
        layout.entry(image.manifest.clone().tagged("v1"));
        layout.layer(format!("orphan of {relative}").as_bytes());
        layout.write();
        (layout, image)
    }

    /// Returns the one blob of a layout whose digest starts with `prefix`.
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

    /// Creates a call in the directory.
    pub(crate) fn cmd(&self, args: &[&str]) -> Cmd {
        Cmd::new(args).current_dir(self.path())
    }

    /// Creates a call in the directory, at [`NOW`].
    pub(crate) fn cmd_now(&self, args: &[&str]) -> Cmd {
        Cmd::new(["--now", NOW]).args(args).current_dir(self.path())
    }

    /// Runs the program in the directory.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.cmd(args).run()
    }

    /// Runs the program in the directory as an unprivileged user who owns everything in it. `None`: that user cannot access
    /// the program on this machine.
    #[track_caller]
    pub(crate) fn run_without_rights(&self, args: &[&str]) -> Option<Run> {
        Unprivileged::owning(self.path()).run(args)
    }

    /// Runs the program in the directory, with a separate file system at `at` that contains a copy of `copied`. `None`:
    /// mounting is not permitted.
    #[track_caller]
    pub(crate) fn run_with_mount(&self, at: &str, copied: &str, args: &[&str]) -> Option<Run> {
        with_mount(self.path(), at, copied, args)
    }

    /// Runs the program at [`NOW`] and records the output.
    #[track_caller]
    pub(crate) fn run_noted(&mut self, args: &[&str]) -> Run {
        let run = self.cmd_now(args).run();
        let line: Vec<String> = args.iter().map(|arg| quoted(arg)).collect();
        self.note(&format!("ocisweep {}", line.join(" ")), &run);
        run
    }

    /// Records the output of a call: stdout, then stderr, then an exit code other than 0.
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

    /// Compares the recorded output with a file in `tests/cli/snapshots/`.
    #[track_caller]
    pub(crate) fn matches(&self, name: &str) {
        let here = self.path().to_string_lossy();
        transcript::matches(name, &self.text.replace(&*here, "[DIR]"));
    }

    /// Visits every regular file whose path below the directory matches.
    pub(crate) fn bytes(&self, wanted: impl Fn(&Path) -> bool) -> Bytes {
        let mut bytes = Bytes::default();
        let mut open = vec![self.path().to_owned()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).expect("a directory can be listed") {
                let path = entry.expect("a directory can be listed").path();
                let found = fs::symlink_metadata(&path).expect("a file can be looked at");
                if found.is_dir() {
                    open.push(path);
                } else if found.is_file() && wanted(path.strip_prefix(self.path()).expect("below"))
                {
                    bytes.names += 1;
                    let inode = (found.dev(), found.ino());
                    if bytes.inodes.insert(inode, found.len()).is_none() {
                        bytes.allocated += found.blocks() * 512;
                    }
                }
            }
        }
        bytes
    }

    /// Visits the blobs and the temporary files of writers.
    pub(crate) fn blobs(&self) -> Bytes {
        let is_counted = |part: &std::ffi::OsStr| part == "blobs" || part == ".uploads";
        self.bytes(|path| path.iter().any(is_counted))
    }
}

fn quoted(arg: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+=,-".contains(c);
    if !arg.is_empty() && arg.chars().all(is_plain) {
        arg.to_owned()
    } else {
        format!("'{arg}'")
    }
}

/// Returns the number of entries in the `index.json` of a layout.
#[track_caller]
pub(crate) fn entries(layout: &Path) -> usize {
    let text = fs::read(layout.join("index.json")).expect("there is an index.json");
    let json: Value = serde_json::from_slice(&text).expect("it is JSON");
    json["manifests"]
        .as_array()
        .expect("it lists entries")
        .len()
}

/// Returns one key of every layout of a JSON document.
#[track_caller]
pub(crate) fn of_layouts(json: &Value, key: &str) -> Vec<Value> {
    let layouts = json["layouts"].as_array().expect("there are layouts");
    layouts.iter().map(|layout| layout[key].clone()).collect()
}

/// Returns the lines of the table of layouts, without its header.
pub(crate) fn rows(run: &Run) -> Vec<Vec<String>> {
    run.stdout
        .lines()
        .skip_while(|line| !line.starts_with("LAYOUT "))
        .skip(1)
        .take_while(|line| !line.contains("eclaim"))
        .map(|line| {
            let cells = line.split("  ").map(str::trim);
            cells
                .filter(|cell| !cell.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .collect()
}
