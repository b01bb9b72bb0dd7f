//! A layout in which everything is whole, to be damaged by a test, and what `check` says about it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::support::{Cmd, Desc, Image, LayoutBuilder, Run};

/// Two images that share a layer, an image for two platforms, and an unlisted signature.
pub(crate) struct Scene {
    pub(crate) builder: LayoutBuilder,
    /// `app:1`: layers `base` and `one`.
    pub(crate) one: Image,
    /// `app:2`: layers `base` and `two`.
    pub(crate) two: Image,
    /// The index `multi`.
    pub(crate) multi: Desc,
    /// Its platforms: layers `base` and `amd64`, `base` and `arm64`.
    pub(crate) amd64: Image,
    pub(crate) arm64: Image,
    /// A referrer of `app:1` that no entry lists.
    pub(crate) signature: Image,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let mut builder = LayoutBuilder::new();
        let one = builder.image("linux/amd64", "one", &[b"base", b"one"]);
        let two = builder.image("linux/amd64", "two", &[b"base", b"two"]);
        let amd64 = builder.image("linux/amd64", "amd64", &[b"base", b"amd64"]);
        let arm64 = builder.image("linux/arm64", "arm64", &[b"base", b"arm64"]);
        let multi = builder.index(&[
            amd64.manifest.clone().platform("linux/amd64"),
            arm64.manifest.clone().platform("linux/arm64"),
        ]);
        let signature = builder.referrer(&one.manifest, "application/vnd.example", b"signed");
        builder
            .tag(&one.manifest, "app:1")
            .tag(&two.manifest, "app:2")
            .tag(&multi, "multi")
            .write();
        Self {
            builder,
            one,
            two,
            multi,
            amd64,
            arm64,
            signature,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.builder.path()
    }

    /// Runs `check` with more arguments.
    pub(crate) fn check(&self, args: &[&str]) -> Run {
        Cmd::new(["check"]).arg(self.path()).args(args).run()
    }

    /// Runs `check --format json` with more arguments.
    pub(crate) fn report(&self, args: &[&str]) -> Checked {
        let run = self.check(&[&["--format", "json"], args].concat());
        Checked::of(run)
    }

    /// Replaces the bytes of a blob.
    pub(crate) fn overwrite(&self, desc: &Desc, bytes: &[u8]) {
        self.builder.file(&desc.blob_path(), bytes);
    }
}

/// What `check --format json` said about one layout.
pub(crate) struct Checked {
    pub(crate) run: Run,
    pub(crate) layout: Value,
}

impl Checked {
    pub(crate) fn of(run: Run) -> Self {
        let document = run.json();
        assert_eq!(document["schema_version"], 1, "{}", run.all());
        assert_eq!(document["command"], "check", "{}", run.all());
        let layout = document["layouts"][0].clone();
        Self { run, layout }
    }

    /// Returns class by digest of everything that is not as it should be.
    pub(crate) fn found(&self) -> BTreeMap<String, String> {
        let items = self.layout["items"].as_array().expect("items");
        items
            .iter()
            .map(|item| {
                let digest = item["digest"].as_str().unwrap_or("none");
                (digest.to_owned(), text(&item["class"]))
            })
            .collect()
    }

    /// Returns the item of a blob.
    #[track_caller]
    pub(crate) fn item(&self, digest: &str) -> &Value {
        let items = self.layout["items"].as_array().expect("items");
        let found = items.iter().find(|item| item["digest"] == digest);
        found.unwrap_or_else(|| panic!("{digest} is not mentioned\n{}", self.run.all()))
    }

    /// Returns how many blobs are of a class.
    pub(crate) fn count(&self, class: &str) -> u64 {
        let classes = self.layout["classes"].as_array().expect("classes");
        let found = classes.iter().find(|found| found["class"] == class);
        found.expect("every class is there")["blobs"]
            .as_u64()
            .expect("a number")
    }

    /// Panics unless exactly this was found, with the exit code that belongs to it.
    #[track_caller]
    pub(crate) fn finds(&self, expected: &[(&Desc, &str)]) -> &Self {
        let expected: BTreeMap<String, String> = expected
            .iter()
            .map(|(desc, class)| (desc.digest.clone(), (*class).to_owned()))
            .collect();
        assert_eq!(self.found(), expected, "{}", self.run.all());
        let damage = expected.values().filter(|class| *class != "sparse").count();
        self.run.exits(i32::from(damage > 0));
        assert_eq!(self.layout["damaged"], damage, "{}", self.run.all());
        self
    }
}

/// Returns the texts of an array.
pub(crate) fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .expect("an array")
        .iter()
        .map(text)
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
