//! `umoci` and `skopeo` in a [`TestDir`]: real clients create, change and copy images.

use std::fs;
use std::ops::Deref;

use super::environment::{has_tools, is_root};
use super::run::{new_command, run};
use super::snapshot::copy_dir;
use super::{Checked, Cmd, Run, TestDir, blobs, checked, with_action};

/// A directory in which clients build images.
#[derive(Debug)]
pub(crate) struct ClientDir(TestDir);

impl Deref for ClientDir {
    type Target = TestDir;

    fn deref(&self) -> &TestDir {
        &self.0
    }
}

impl ClientDir {
    /// Creates one. `None`: a program is absent, and that is allowed.
    #[track_caller]
    pub(crate) fn new() -> Option<Self> {
        has_tools(&["umoci", "skopeo"]).then(|| Self(TestDir::new()))
    }

    /// Runs a program in the directory and returns the result.
    #[track_caller]
    pub(crate) fn attempt(&self, tool: &str, args: &[&str]) -> Run {
        let mut command = new_command(tool);
        command.args(args).current_dir(self.path());
        // Nothing belongs to the user who runs the tests: no settings, no logins, no cache.
        for variable in ["HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "TMPDIR"] {
            command.env(variable, self.path());
        }
        command.env("LC_ALL", "C");
        let mut run = run(command);
        run.line = format!("{tool} {}", args.join(" "));
        run
    }

    /// Runs `umoci` and panics unless it is successful.
    #[track_caller]
    pub(crate) fn umoci(&self, args: &[&str]) -> Run {
        let run = self.attempt("umoci", args);
        run.ok();
        run
    }

    /// Runs `skopeo` without any policy on signatures and panics unless it is successful.
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

    /// Creates an empty layout.
    pub(crate) fn init(&self, layout: &str) {
        self.umoci(&["init", "--layout", layout]);
    }

    /// Creates an image without layers.
    pub(crate) fn new_image(&self, image: &str) {
        self.umoci(&["new", "--image", image]);
    }

    /// Adds a layer with one file to an image, and tags the result if a tag is given.
    pub(crate) fn insert(&self, image: &str, file: &str, content: &str, tag: Option<&str>) {
        let source = self.text_of("to-be-inserted");
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

    /// Changes a file in a bundle and repacks it as an image, which then is the base of the bundle: a bundle whose base
    /// manifest has no tag any more cannot be repacked after a sweep by any tool.
    pub(crate) fn repack(&self, image: &str, bundle: &str, file: &str, content: &str) {
        let path = self.join(bundle).join("rootfs").join(file);
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

    /// Copies a whole layout.
    pub(crate) fn clone_layout(&self, from: &str, to: &str) {
        copy_dir(&self.join(from), &self.join(to));
    }

    /// Returns the number of blobs of a layout.
    pub(crate) fn count(&self, layout: &str) -> usize {
        blobs(&self.join(layout)).len()
    }

    /// Sweeps a layout with `--grace 0` and every check of [`checked`]; returns the deleted digests.
    #[track_caller]
    pub(crate) fn gc(&self, layout: &str) -> Vec<String> {
        let path = self.join(layout);
        let Checked { run, json, .. } = checked(&path, &Cmd::gc(&path));
        run.ok();
        with_action(&json, "delete")
    }
}

/// Returns the flag with which `umoci` runs without root.
fn rootless() -> Option<&'static str> {
    (!is_root()).then_some("--rootless")
}
