//! [`TestLayout`]: a layout in which every file has a fixed time, to be pruned and listed.
//!
//! The current time is [`NOW`], given to the program with `--now`; every file without a time of its own is a hundred days
//! old. So nothing here is in flight, and no test depends on the clock.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::pruned::{Pruned, prune, prune_call, strings};
use super::snapshot::What;
use super::{
    Cmd, Desc, Image, Json, LayoutBuilder, Obj, Run, assert_same, media, sha256, snapshot,
};

/// The current time, as `--now` takes it.
pub(crate) const NOW: &str = "2026-11-21T12:00:00Z";

/// The current time, in seconds since 1970.
const NOW_SECONDS: u64 = 1_795_262_400;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns the time that many days before the current time.
pub(crate) fn days_ago(days: u64) -> SystemTime {
    let days = u32::try_from(days).expect("a number of days");
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_SECONDS) - DAY * days
}

/// Returns `len` bytes that are not JSON; `salt` makes them unique.
pub(crate) fn bulk(salt: &str, len: usize) -> Vec<u8> {
    let mut bytes = format!("\x1f\x08{salt}\n").into_bytes();
    bytes.resize(len.max(bytes.len()), b'.');
    bytes
}

/// An image to be stored.
#[derive(Clone, Debug)]
pub(crate) struct ImageBuilder {
    salt: String,
    platform: String,
    created: Option<String>,
    labels: Vec<(String, String)>,
    layers: Vec<Vec<u8>>,
}

impl ImageBuilder {
    /// Creates an image without layers, labels and date; `salt` makes its config unique.
    pub(crate) fn new(salt: &str) -> Self {
        Self {
            salt: salt.to_owned(),
            platform: "linux/amd64".to_owned(),
            created: None,
            labels: Vec::new(),
            layers: Vec::new(),
        }
    }

    /// Adds a layer.
    pub(crate) fn layer(mut self, bytes: &[u8]) -> Self {
        self.layers.push(bytes.to_vec());
        self
    }

    /// Adds a layer of that many bytes that no other image has.
    pub(crate) fn weighs(self, len: usize) -> Self {
        let bytes = bulk(&self.salt, len);
        self.layer(&bytes)
    }

    /// Sets the creation time in its config.
    pub(crate) fn created(mut self, text: &str) -> Self {
        self.created = Some(text.to_owned());
        self
    }

    /// Adds a label to its config.
    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Sets the platform in its config.
    pub(crate) fn platform(mut self, platform: &str) -> Self {
        platform.clone_into(&mut self.platform);
        self
    }

    /// Stores it without listing it.
    pub(crate) fn store(&self, layout: &LayoutBuilder) -> Image {
        let layers: Vec<Desc> = self
            .layers
            .iter()
            .map(|bytes| layout.layer(bytes))
            .collect();
        let mut parts = self.platform.split('/');
        let os = parts.next().unwrap_or_default();
        let diff_ids = layers.iter().map(|layer| sha256(layer.digest.as_bytes()));
        let mut labels = Obj::new();
        for (key, value) in &self.labels {
            labels = labels.with(key, value.as_str());
        }
        let mut config = Obj::new()
            .with("architecture", parts.next().unwrap_or_default())
            .with("os", os)
            .with("author", self.salt.as_str());
        if let Some(created) = &self.created {
            config = config.with("created", created.as_str());
        }
        if !labels.is_empty() {
            config = config.with("config", Obj::new().with("Labels", labels));
        }
        let root = Obj::new()
            .with("type", "layers")
            .with("diff_ids", Json::array(diff_ids));
        let config = config.with("rootfs", root).json();
        let config = layout.blob(media::CONFIG, config.text().as_bytes());
        let manifest = layout.manifest(&config, &layers);
        Image {
            manifest,
            config,
            layers,
        }
    }
}

/// A layout with fixed times.
#[derive(Debug)]
pub(crate) struct TestLayout {
    pub(crate) layout: LayoutBuilder,
    times: BTreeMap<String, SystemTime>,
}

impl TestLayout {
    /// Creates an empty layout.
    pub(crate) fn new() -> Self {
        Self {
            layout: LayoutBuilder::new(),
            times: BTreeMap::new(),
        }
    }

    /// Creates an empty layout in a directory.
    pub(crate) fn at(dir: &Path) -> Self {
        Self {
            layout: LayoutBuilder::at(dir),
            times: BTreeMap::new(),
        }
    }

    /// Stores an image that is that many days old, and lists it under a name.
    pub(crate) fn named(&mut self, name: &str, days: u64, build: &ImageBuilder) -> Image {
        let image = build.store(&self.layout);
        self.layout.tag(&image.manifest, name);
        self.added(&image.manifest, days);
        image
    }

    /// Stores a small image that is that many days old, and lists it under a name.
    pub(crate) fn small(&mut self, name: &str, days: u64) -> Image {
        self.named(name, days, &ImageBuilder::new(name).layer(name.as_bytes()))
    }

    /// Stores an image that is that many days old, and lists it without a name.
    pub(crate) fn untagged(&mut self, days: u64, build: &ImageBuilder) -> Image {
        let image = build.store(&self.layout);
        self.layout.entry(&image.manifest);
        self.added(&image.manifest, days);
        image
    }

    /// Stores a small image that is that many days old, and lists it without a name.
    pub(crate) fn overwritten(&mut self, salt: &str, days: u64) -> Image {
        self.untagged(days, &ImageBuilder::new(salt).layer(salt.as_bytes()))
    }

    /// Adds an image to docker's `manifest.json`.
    pub(crate) fn saves(&mut self, name: &str, image: &Image) {
        let Image { config, layers, .. } = image;
        self.layout.save_element(&[name], config, layers);
    }

    /// Sets the age of a document, in days.
    pub(crate) fn added(&mut self, desc: &Desc, days: u64) {
        self.added_at(desc, days_ago(days));
    }

    /// Sets the modification time of a document.
    pub(crate) fn added_at(&mut self, desc: &Desc, time: SystemTime) {
        self.times.insert(desc.blob_path(), time);
    }

    /// Writes `index.json` and sets the time of every file.
    pub(crate) fn write(&self) -> &Self {
        self.layout.write();
        self.date();
        self
    }

    /// Sets the time of every file again, as [`write`](Self::write) does.
    pub(crate) fn date(&self) {
        for (path, stat) in snapshot(self.path()) {
            if stat.what != What::File {
                continue;
            }
            let relative = path.to_string_lossy().into_owned();
            let time = self.times.get(&relative).copied();
            self.layout
                .modified(&relative, time.unwrap_or_else(|| days_ago(100)));
        }
        self.layout.modified("index.json", days_ago(99));
    }

    /// Returns the directory of the layout.
    pub(crate) fn path(&self) -> &Path {
        self.layout.path()
    }

    /// Holds an image.
    #[track_caller]
    pub(crate) fn hold(&self, name: &str, image: &str) -> &Self {
        Cmd::new(["hold", "add", "--now", NOW])
            .arg(self.path())
            .args([name, image])
            .run()
            .ok();
        self
    }

    /// Creates a call of `prune` on this layout at the current time.
    pub(crate) fn call<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd {
        prune_call(self.path()).args(args)
    }

    /// Prunes without a question, with every check of [`prune`].
    #[track_caller]
    pub(crate) fn prune(&self, args: &[&str]) -> Pruned {
        prune(self.path(), args)
    }

    /// Prunes, and panics unless the exit code is `code` and nothing changes.
    #[track_caller]
    pub(crate) fn refuses(&self, args: &[&str], code: i32) -> Run {
        let before = snapshot(self.path());
        let run = self.call(args).arg("-f").run();
        run.exits(code);
        assert_same(&before, &snapshot(self.path()), &run.all());
        run
    }

    /// Lists with filters and returns the names, each once, `<none>` for every image without one.
    #[track_caller]
    pub(crate) fn list(&self, args: &[&str]) -> Vec<String> {
        let run = Cmd::new(["ls", "--now", NOW, "--format", "json"])
            .arg(self.path())
            .args(args)
            .run();
        run.ok();
        let json = run.json();
        let images = json.pointer("/layouts/0/images").and_then(Value::as_array);
        let mut names: Vec<String> = images
            .unwrap_or_else(|| panic!("no images in the list\n{}", run.all()))
            .iter()
            .flat_map(|image| match strings(image, "names") {
                names if names.is_empty() => vec!["<none>".to_owned()],
                names => names,
            })
            .collect();
        names.sort();
        names
    }
}

impl Deref for TestLayout {
    type Target = LayoutBuilder;

    fn deref(&self) -> &LayoutBuilder {
        &self.layout
    }
}
