//! The one race that no collector can prevent from outside: a writer without a lock decides to use an old orphan just before
//! it is deleted. With a trash, the orphan comes back.
//!
//! `OCISWEEP_RACE=10000 cargo test --release --test faults -- comes_back --nocapture` writes that many images with each writer,
//! and prints how many were broken with a trash and without one.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::extent::{Extent, extent};
use crate::support::{Cmd, Files, LayoutBuilder, digest_of, media};
use crate::writers::{Writer, beside};

/// The number of images that a writer writes one after another beside sweeps; `OCISWEEP_RACE` overrides it.
fn default_rounds() -> usize {
    match extent() {
        Extent::Sample => 50,
        Extent::Wide | Extent::All => 150,
    }
}

/// The number of layers of an image.
const LAYERS: usize = 12;

/// Writes the image of a round in place of the one before it.
type Write<'a> = Box<dyn FnMut(usize) + Send + 'a>;

/// Writes images in turn, each of which uses blobs that the sweeps have not deleted yet, and returns the number of images
/// that lacked a blob after two more sweeps.
fn race(rounds: usize, options: &[&str], writer: impl Fn(&Path) -> Write<'_>) -> usize {
    let builder = LayoutBuilder::new();
    builder.write();
    let mut write_image = writer(builder.path());
    let sweeps = AtomicUsize::new(0);
    let duration = AtomicU64::new(0);
    let mut broken = 0;
    let write = || {
        for round in 0..rounds {
            // Each round coincides with another part of the sweep: without a pause it would always be its start.
            let pause = duration.load(Ordering::Relaxed) * (round as u64 * 37 % 100) / 100;
            thread::sleep(Duration::from_micros(pause));
            write_image(round);
            // The sweep beside the writer, and a complete one after it.
            let seen = sweeps.load(Ordering::SeqCst);
            while sweeps.load(Ordering::SeqCst) < seen + 3 {
                thread::sleep(Duration::from_micros(200));
            }
            broken += usize::from(!Files::of(builder.path()).broken().is_empty());
        }
    };
    beside(write, || {
        let gc = Cmd::new(["gc", "--grace", "0", "--lock-wait", "0s"]);
        let start = Instant::now();
        let run = gc.args(options).arg(builder.path()).run();
        let micros = u64::try_from(start.elapsed().as_micros()).expect("not that long");
        duration.store(micros, Ordering::Relaxed);
        // 1: it names an image that lacks a blob now; 3: that image stops the next sweep, or the index is half written.
        assert!(matches!(run.code, Some(0 | 1 | 3)), "{}", run.all());
        sweeps.fetch_add(1, Ordering::SeqCst);
    });
    broken
}

/// Panics if an image of this writer lacks a blob although deleted blobs are moved into the trash.
#[track_caller]
fn comes_back(name: &str, writer: impl Fn(&Path) -> Write<'_>) {
    let rounds = std::env::var("OCISWEEP_RACE").ok();
    let rounds = rounds.map_or_else(default_rounds, |text| {
        text.parse().expect("a number of images")
    });
    // Runs expire soon, so that the trash does not grow with the number of images.
    let with = race(rounds, &["--trash=20s"], &writer);
    let without = race(rounds, &[], &writer);
    let said = format!(
        "{rounds} images of {name} beside gc: {with} broken with --trash, {without} without\n"
    );
    std::io::stderr()
        .write_all(said.as_bytes())
        .expect("the numbers can be written");
    assert_eq!(with, 0, "{without} without a trash");
}

/// skopeo: blobs through temporary files, the index in place at the end.
fn skopeo(layout: &Path) -> Write<'_> {
    let writer = Writer::new(layout);
    Box::new(move |round| {
        let name = format!("v{}", round % 3);
        let layers: Vec<String> = (0..LAYERS).map(|layer| format!("{name} {layer}")).collect();
        let layers: Vec<&[u8]> = layers.iter().map(String::as_bytes).collect();
        let image = writer.image(&name, &layers);
        writer.overwrite(&json!({"schemaVersion": 2, "manifests": [image.entry()]}));
    })
}

/// oras: a store that keeps the index in memory and rewrites all of it, truncating it first, after each manifest, each tag
/// and each deletion. Blobs are written through `ingest/` without an fsync, and one that exists is not written again.
struct Oras {
    layout: PathBuf,
    /// The entries in memory.
    entries: Vec<Value>,
    temporary: u64,
}

impl Oras {
    fn open(layout: &Path) -> Self {
        fs::create_dir_all(layout.join("ingest")).expect("a directory can be made");
        Self {
            layout: layout.to_owned(),
            entries: Vec::new(),
            temporary: 0,
        }
    }

    fn push(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest_of("sha256", bytes);
        let hex = digest.trim_start_matches("sha256:");
        let path = self.layout.join("blobs/sha256").join(hex);
        if !path.exists() {
            self.temporary += 1;
            let temporary = format!("ingest/{hex}_{}", 1_000_000 + self.temporary);
            let temporary = self.layout.join(temporary);
            fs::write(&temporary, bytes).expect("a blob can be written");
            let mode = Permissions::from_mode(0o444);
            fs::set_permissions(&temporary, mode).expect("the file belongs to this writer");
            fs::rename(&temporary, &path).expect("a blob can be renamed");
        }
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    fn push_manifest(&mut self, bytes: &[u8]) -> Value {
        let entry = self.push(media::MANIFEST, bytes);
        self.entries.push(entry.clone());
        self.save_index();
        entry
    }

    fn tag(&mut self, manifest: &Value, name: &str) {
        self.entries.retain(|entry| entry != manifest);
        let mut entry = manifest.clone();
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        self.entries.push(entry);
        self.save_index();
    }

    /// Removes the entry of a name, and keeps the blobs.
    fn delete(&mut self, name: &str) {
        self.entries.retain(|entry| {
            entry["annotations"]["org.opencontainers.image.ref.name"].as_str() != Some(name)
        });
        self.save_index();
    }

    fn save_index(&self) {
        let text = json!({"schemaVersion": 2, "manifests": self.entries}).to_string();
        let mut file = OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(self.layout.join("index.json"))
            .expect("there is an index");
        file.write_all(text.as_bytes())
            .expect("the index can be written");
    }

    /// Copies an image: what is referenced first, in an order that differs from round to round.
    fn copy(&mut self, name: &str, layers: &[String], round: usize) {
        let config = json!({"architecture": "amd64", "os": "linux", "author": name}).to_string();
        let mut descriptors = vec![Value::Null; layers.len() + 1];
        for step in 0..descriptors.len() {
            // 5 and 13 have no common divisor: each comes once.
            let at = (step * 5 + round) % descriptors.len();
            descriptors[at] = match layers.get(at) {
                Some(layer) => self.push(media::LAYER, layer.as_bytes()),
                None => self.push(media::CONFIG, config.as_bytes()),
            };
        }
        let config = descriptors.pop();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media::MANIFEST,
            "config": config,
            "layers": descriptors,
        });
        let manifest = self.push_manifest(manifest.to_string().as_bytes());
        self.tag(&manifest, name);
    }
}

/// oras deletes an image and immediately copies another one that shares all layers but one with it.
fn oras(layout: &Path) -> Write<'_> {
    let mut store = Oras::open(layout);
    store.copy("base", &["base layer".to_owned()], 0);
    Box::new(move |round| {
        store.delete("app");
        // The layers from the number of the round on, of 16, so that each is used repeatedly.
        let layers = (round..round + LAYERS).map(|layer| format!("layer {}", layer % 16));
        let layers: Vec<String> = layers.collect();
        store.copy("app", &layers, round);
    })
}

#[test]
fn an_old_orphan_that_is_used_again_comes_back_from_the_trash() {
    comes_back("skopeo", skopeo);
}

#[test]
fn an_old_orphan_that_oras_uses_again_comes_back_from_the_trash() {
    comes_back("oras", oras);
}
