//! A directory for layouts, and what a walk of its own says of the bytes in it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Cmd, Image, LayoutBuilder, Run};

/// The number of the user `nobody`.
const NOBODY: u32 = 65534;

/// A directory that goes when this is dropped.
pub(crate) struct Scene {
    directory: TempDir,
}

/// What lies in some directories: each inode once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    /// Length of each inode.
    pub(crate) inodes: BTreeMap<(u64, u64), u64>,
    /// The same as the disk counts it.
    pub(crate) allocated: u64,
    /// Names, of which an inode may have several.
    pub(crate) names: u64,
}

impl Bytes {
    /// Returns the sum of all lengths.
    pub(crate) fn sum(&self) -> u64 {
        self.inodes.values().sum()
    }
}

impl Scene {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory can be made");
        Self { directory }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn join(&self, relative: &str) -> PathBuf {
        self.path().join(relative)
    }

    /// Makes a layout that lists one image by the name `v1`, with an orphan beside it.
    pub(crate) fn layout(&self, relative: &str) -> (LayoutBuilder, Image) {
        let mut layout = LayoutBuilder::at(&self.join(relative));
        let content = format!("layer of {relative}");
        let image = layout.image("linux/amd64", relative, &[content.as_bytes()]);
        layout.entry(image.manifest.clone().tagged("v1"));
        layout.layer(format!("orphan of {relative}").as_bytes());
        layout.write();
        (layout, image)
    }

    /// Begins a call in the directory, so that paths are short.
    pub(crate) fn call(&self, args: &[&str]) -> Cmd {
        Cmd::new(args).current_dir(self.path())
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.call(args).run()
    }

    /// Runs the program in the directory as a user for whom permissions count, and who owns everything there. `None`: that user
    /// cannot reach the program here.
    pub(crate) fn run_without_rights(&self, args: &[&str]) -> Option<Run> {
        let mut program = PathBuf::from(env!("CARGO_BIN_EXE_ocisweep"));
        let is_root = fs::metadata("/proc/self").is_ok_and(|found| found.uid() == 0);
        if is_root {
            // The build directory may be private.
            let copy = self.join("ocisweep-of-everybody");
            fs::copy(&program, &copy).expect("the program can be copied");
            program = copy;
            self.give_away();
        }
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.path())
            .stdin(Stdio::null());
        if is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        match command.output() {
            Ok(output) => Some(run_of(format!("ocisweep {}", args.join(" ")), &output)),
            Err(error) => {
                skip(&format!("cannot run as another user: {error}"));
                None
            }
        }
    }

    fn give_away(&self) {
        let mut open = vec![self.path().to_owned()];
        while let Some(path) = open.pop() {
            lchown(&path, Some(NOBODY), Some(NOBODY)).expect("root can give a file away");
            let is_directory = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
            if is_directory {
                let names = fs::read_dir(&path).expect("root can list a directory");
                open.extend(names.map(|name| name.expect("root can list a directory").path()));
            }
        }
    }

    /// Runs the program in the directory, with a file system of its own at `at` that holds a copy of `copied`. `None`: nothing
    /// can be mounted here.
    pub(crate) fn run_with_mount(&self, at: &str, copied: &str, args: &[&str]) -> Option<Run> {
        const MOUNT: &str = r#"mount -t tmpfs tmpfs "$1" && cp -r "$2" "$1"/ || exit 99
            shift 2 && exec "$@""#;
        let output = Command::new("unshare")
            .args(["--mount", "--user", "--map-root-user"])
            .args(["sh", "-c", MOUNT, "sh", at, copied])
            .arg(env!("CARGO_BIN_EXE_ocisweep"))
            .args(args)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .output();
        match output {
            Ok(output) if !matches!(output.status.code(), Some(1 | 99)) => {
                Some(run_of(format!("ocisweep {}", args.join(" ")), &output))
            }
            _ => {
                skip("nothing can be mounted");
                None
            }
        }
    }

    /// Walks through every regular file whose path below the directory passes.
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

    /// Walks through the blobs and the temporary files of writers.
    pub(crate) fn blobs(&self) -> Bytes {
        let is_counted = |part: &std::ffi::OsStr| part == "blobs" || part == ".uploads";
        self.bytes(|path| path.iter().any(is_counted))
    }
}

fn run_of(line: String, output: &Output) -> Run {
    Run {
        line,
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[expect(clippy::print_stderr, reason = "a test that did not run says so")]
fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// Returns how many entries the `index.json` of a layout has.
#[track_caller]
pub(crate) fn entries(layout: &Path) -> usize {
    let text = fs::read(layout.join("index.json")).expect("there is an index.json");
    let json: Value = serde_json::from_slice(&text).expect("it is JSON");
    json["manifests"]
        .as_array()
        .expect("it lists entries")
        .len()
}

/// Returns a number of a JSON document.
#[track_caller]
pub(crate) fn number(json: &Value, pointer: &str) -> u64 {
    json.pointer(pointer)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("no number at {pointer} in {json:#}"))
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
