//! Running `umoci` and `skopeo` in a directory of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Cmd, Run, blobs};

/// The variable that makes an absent program a failure.
const REQUIRE: &str = "OCISWEEP_REQUIRE_TOOLS";

/// A directory in which images are built.
#[derive(Debug)]
pub(crate) struct Workshop {
    temp: TempDir,
}

impl Workshop {
    /// Opens one. `None`: a program is absent, and that is allowed.
    pub(crate) fn open() -> Option<Self> {
        let absent: Vec<&str> = ["umoci", "skopeo"]
            .into_iter()
            .filter(|tool| !is_there(tool))
            .collect();
        if absent.is_empty() {
            let temp = TempDir::new().expect("a temporary directory can be made");
            return Some(Self { temp });
        }
        let reason = format!("not on PATH: {}", absent.join(", "));
        assert!(
            std::env::var_os(REQUIRE).is_none_or(|value| value != "1"),
            "{REQUIRE}=1, but {reason}"
        );
        skip(&reason);
        None
    }

    /// Returns a path in the workshop.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Returns a path in the workshop as text.
    pub(crate) fn text(&self, name: &str) -> String {
        let path = self.path(name);
        path.to_str()
            .expect("paths of the tests are UTF-8")
            .to_owned()
    }

    /// Runs a program and returns how that went.
    pub(crate) fn attempt(&self, tool: &str, args: &[&str]) -> Run {
        let output = Command::new(tool)
            .args(args)
            .current_dir(self.temp.path())
            // Nothing of who runs the tests: no settings, no logins, no cache.
            .env("HOME", self.temp.path())
            .env("XDG_RUNTIME_DIR", self.temp.path())
            .env("XDG_CONFIG_HOME", self.temp.path())
            .env("TMPDIR", self.temp.path())
            .env("LC_ALL", "C")
            .output()
            .expect("a program that is on PATH can be started");
        Run {
            line: format!("{tool} {}", args.join(" ")),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs `umoci` and panics unless it is content.
    #[track_caller]
    pub(crate) fn umoci(&self, args: &[&str]) -> Run {
        let run = self.attempt("umoci", args);
        run.ok();
        run
    }

    /// Runs `skopeo` without any policy on signatures and panics unless it is content.
    #[track_caller]
    pub(crate) fn skopeo(&self, args: &[&str]) -> Run {
        let run = self.attempt("skopeo", &[&["--insecure-policy"], args].concat());
        run.ok();
        run
    }

    /// Copies one image with `skopeo`.
    #[track_caller]
    pub(crate) fn copy(&self, from: &str, to: &str, flags: &[&str]) {
        let args = [&["copy", "--quiet"], flags, &[from, to]].concat();
        self.skopeo(&args);
    }

    /// Makes an empty layout.
    pub(crate) fn init(&self, layout: &str) {
        self.umoci(&["init", "--layout", layout]);
    }

    /// Makes an image without layers.
    pub(crate) fn new_image(&self, image: &str) {
        self.umoci(&["new", "--image", image]);
    }

    /// Adds a layer with one file to an image, and gives the result a tag of its own if one is named.
    pub(crate) fn insert(&self, image: &str, file: &str, content: &str, tag: Option<&str>) {
        let source = self.text("to-be-inserted");
        fs::write(&source, content).expect("a file can be written");
        let target = format!("/{file}");
        let mut args = vec!["insert"];
        args.extend(rootless());
        args.extend(["--image", image]);
        if let Some(tag) = tag {
            args.extend(["--tag", tag]);
        }
        args.extend([source.as_str(), target.as_str()]);
        self.umoci(&args);
    }

    /// Unpacks an image into a bundle.
    pub(crate) fn unpack(&self, image: &str, bundle: &str) {
        let mut args = vec!["unpack"];
        args.extend(rootless());
        args.extend(["--image", image, bundle]);
        self.umoci(&args);
    }

    /// Changes a file in a bundle and packs the difference into an image, which is what the bundle rests on from then on:
    /// a bundle that rests on a manifest which no tag names any more cannot be packed after a sweep by anybody.
    pub(crate) fn repack(&self, image: &str, bundle: &str, file: &str, content: &str) {
        let path = self.path(bundle).join("rootfs").join(file);
        fs::write(path, content).expect("a file of a bundle can be written");
        self.umoci(&["repack", "--refresh-bundle", "--image", image, bundle]);
    }

    /// Changes the configuration of an image.
    pub(crate) fn configure(&self, image: &str, author: &str, tag: Option<&str>) {
        let mut args = vec!["config", "--image", image, "--author", author];
        if let Some(tag) = tag {
            args.extend(["--tag", tag]);
        }
        self.umoci(&args);
    }

    /// Copies a whole layout, as it is.
    pub(crate) fn clone_layout(&self, from: &str, to: &str) {
        let (from, to) = (self.path(from), self.path(to));
        let mut open = vec![PathBuf::new()];
        while let Some(relative) = open.pop() {
            let source = from.join(&relative);
            if source.is_dir() {
                fs::create_dir_all(to.join(&relative)).expect("a directory can be made");
                let names = fs::read_dir(&source).expect("a layout can be listed");
                open.extend(
                    names.map(|name| relative.join(name.expect("a name can be read").file_name())),
                );
            } else {
                fs::copy(&source, to.join(&relative)).expect("a file can be copied");
            }
        }
    }

    /// Returns the number of blobs of a layout.
    pub(crate) fn count(&self, layout: &str) -> usize {
        blobs(&self.path(layout)).len()
    }

    /// Sweeps a layout without grace, after a dry run that has to say the same; returns the digests that went.
    #[track_caller]
    pub(crate) fn gc(&self, layout: &str) -> Vec<String> {
        let path = self.path(layout);
        let before = blobs(&path);
        let dry = Cmd::gc_json(&path).arg("-n").run();
        let run = Cmd::gc_json(&path).run();
        let announced = digests(&dry.ok().json(), "would-delete");
        let gone = digests(&run.ok().json(), "delete");
        assert_eq!(announced, gone, "{}\n{}", dry.all(), run.all());
        let after = blobs(&path);
        let missing: Vec<String> = before
            .keys()
            .filter(|digest| !after.contains_key(*digest))
            .cloned()
            .collect();
        assert_eq!(missing, gone, "{}", run.all());
        let bytes: u64 = missing.iter().filter_map(|digest| before.get(digest)).sum();
        let freed = run.json();
        let freed = freed
            .pointer("/totals/reclaimed_bytes")
            .and_then(Value::as_u64);
        assert_eq!(freed, Some(bytes), "{}", run.all());
        gone
    }
}

/// Returns the flag that lets `umoci` do without root.
fn rootless() -> Option<&'static str> {
    (!rustix::process::geteuid().is_root()).then_some("--rootless")
}

fn digests(report: &Value, action: &str) -> Vec<String> {
    let items = report.pointer("/layouts/0/items").and_then(Value::as_array);
    let mut digests: Vec<String> = items
        .into_iter()
        .flatten()
        .filter(|item| item.get("action").and_then(Value::as_str) == Some(action))
        .filter_map(|item| item.get("digest").and_then(Value::as_str))
        .map(str::to_owned)
        .collect();
    digests.sort();
    digests
}

fn is_there(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .any(|directory: PathBuf| Path::new(&directory).join(tool).is_file())
}

#[expect(
    clippy::print_stderr,
    reason = "a test that is skipped in silence looks like one that passed"
)]
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}
