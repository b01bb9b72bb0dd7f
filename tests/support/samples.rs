//! Sample layouts with a little of everything, for tests that damage them, change them concurrently or interrupt a run.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::environment::memory_dir;
use super::layout::set_modified;
use super::{Cmd, Desc, Image, LayoutBuilder, Run, Snapshot, assert_same, media, snapshot};

const DAY: Duration = Duration::from_secs(86_400);

/// Two images that share nothing: `app:1` and `other:1`.
pub(crate) fn app_and_other() -> (LayoutBuilder, Image, Image) {
    let mut layout = LayoutBuilder::new();
    let app = layout.image("linux/amd64", "app", &[b"app"]);
    let other = layout.image("linux/amd64", "other", &[b"other"]);
    layout
        .tag(&app.manifest, "app:1")
        .tag(&other.manifest, "other:1")
        .write();
    (layout, app, other)
}

/// Temporary files of writers, left by a crash.
pub(crate) const STALE_FILES: [&str; 5] = [
    "oci-put-blob123456789",
    ".umoci-123456789/blob-1",
    "blobs/sha256/123456789.tmp",
    ".ocisweep-abcdef",
    ".ocisweep/.ocisweep-ghijkl",
];

/// An intact layout with one orphan, and files outside it that no command may touch.
#[derive(Debug)]
pub(crate) struct GuardedLayout {
    pub(crate) builder: LayoutBuilder,
    /// Tagged `app`: two layers.
    pub(crate) app: Image,
    /// Tagged `multi`: an index of the two below.
    pub(crate) multi: Desc,
    pub(crate) amd64: Image,
    pub(crate) arm64: Image,
    /// Unreferenced.
    pub(crate) orphan: Desc,
}

impl GuardedLayout {
    /// Writes it.
    pub(crate) fn new() -> Self {
        let mut builder = LayoutBuilder::new();
        let app = builder.image("linux/amd64", "app", &[b"app one", b"app two"]);
        let amd64 = builder.image("linux/amd64", "amd64", &[b"amd64 layer"]);
        let arm64 = builder.image("linux/arm64", "arm64", &[b"arm64 layer"]);
        let multi = builder.platforms(&[("linux/amd64", &amd64), ("linux/arm64", &arm64)]);
        let orphan = builder.layer(b"nothing references this");
        builder.tag(&app.manifest, "app").tag(&multi, "multi");
        builder.write();
        // Targets of paths that escape the layout, one of them with the name of a blob.
        let outside = builder.outside().join("outside");
        fs::create_dir_all(outside.join("sha256")).expect("a directory can be made");
        for name in ["precious", &format!("sha256/{}", orphan.hex())] {
            fs::write(outside.join(name), b"precious").expect("a file can be written");
        }
        Self {
            builder,
            app,
            multi,
            amd64,
            arm64,
            orphan,
        }
    }

    /// Takes a snapshot of the layout and of everything next to it.
    pub(crate) fn picture(&self) -> Snapshot {
        snapshot(self.outside())
    }

    /// Panics unless all blobs of the two tagged images exist, and the files outside are unchanged.
    #[track_caller]
    pub(crate) fn assert_whole(&self, context: &str) {
        for desc in self.live() {
            assert!(self.has(desc), "{} is gone\n{context}", desc.digest);
        }
        self.assert_outside(context);
    }

    /// Panics unless the files outside are unchanged.
    #[track_caller]
    pub(crate) fn assert_outside(&self, context: &str) {
        let outside = self.outside().join("outside");
        for name in ["precious", &format!("sha256/{}", self.orphan.hex())] {
            let bytes = fs::read(outside.join(name)).ok();
            let bytes = bytes.as_deref();
            assert_eq!(bytes, Some(&b"precious"[..]), "{name}\n{context}");
        }
    }

    /// Returns everything that must be kept.
    pub(crate) fn live(&self) -> Vec<&Desc> {
        let mut live = vec![&self.multi];
        for image in [&self.app, &self.amd64, &self.arm64] {
            live.extend(image.parts());
        }
        live
    }

    /// Sweeps with `--grace 0`.
    #[track_caller]
    pub(crate) fn gc(&self) -> Run {
        Cmd::gc(self.path()).run()
    }

    /// Sweeps, and panics unless that is refused with one line and nothing changes.
    #[track_caller]
    pub(crate) fn gc_is_refused(&self) -> Run {
        let before = self.picture();
        let run = self.gc();
        run.refused().one_error();
        assert_same(&before, &self.picture(), &run.all());
        run
    }

    /// Sweeps, and panics unless the orphan is deleted and everything live is kept.
    #[track_caller]
    pub(crate) fn gc_deletes_only_the_orphan(&self) -> Run {
        self.deletes_only_the_orphan(self.gc())
    }

    /// Panics unless a run deleted the orphan and kept everything live.
    #[track_caller]
    pub(crate) fn deletes_only_the_orphan(&self, run: Run) -> Run {
        run.ok();
        assert!(!self.has(&self.orphan), "the orphan is kept\n{}", run.all());
        self.assert_whole(&run.all());
        run
    }
}

/// Two images that share a layer, an image for two platforms, and an unlisted signature; nothing is damaged or missing.
pub(crate) struct IntactLayout {
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

impl IntactLayout {
    /// Writes it.
    pub(crate) fn new() -> Self {
        let mut builder = LayoutBuilder::new();
        let one = builder.image("linux/amd64", "one", &[b"base", b"one"]);
        let two = builder.image("linux/amd64", "two", &[b"base", b"two"]);
        let amd64 = builder.image("linux/amd64", "amd64", &[b"base", b"amd64"]);
        let arm64 = builder.image("linux/arm64", "arm64", &[b"base", b"arm64"]);
        let multi = builder.platforms(&[("linux/amd64", &amd64), ("linux/arm64", &arm64)]);
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

    /// Runs `check` with more arguments.
    pub(crate) fn check(&self, args: &[&str]) -> Run {
        Cmd::new(["check"]).arg(self.path()).args(args).run()
    }

    /// Runs `check --format json` with more arguments.
    pub(crate) fn report(&self, args: &[&str]) -> super::Findings {
        super::Findings::of(self.check(&[&["--format", "json"], args].concat()))
    }

    /// Replaces the bytes of a blob.
    pub(crate) fn overwrite(&self, desc: &Desc, bytes: &[u8]) {
        self.file(&desc.blob_path(), bytes);
    }
}

/// A layout with everything that commands edit: entries, docker's lists, holds, orphans and stale temporary files. All of it
/// is three days old, so that nothing is in flight.
#[derive(Debug)]
pub(crate) struct FullLayout {
    pub(crate) builder: LayoutBuilder,
    /// Tagged `app:1`, also in docker's `manifest.json`, and signed by a referrer that nothing lists.
    pub(crate) one: Image,
    /// Tagged `app:2`, likewise, and held.
    pub(crate) two: Image,
    /// Tagged `multi:1`: an index of two platforms and an attestation for the second.
    pub(crate) multi: Desc,
    /// The second platform of it.
    pub(crate) arm64: Image,
    /// The attestation of that.
    pub(crate) attestation: Image,
    /// Layers and documents that are unreferenced.
    pub(crate) orphans: Vec<Desc>,
    /// Dropped last.
    _temp: Option<TempDir>,
}

impl FullLayout {
    /// Writes it to a new directory.
    pub(crate) fn new() -> Self {
        let temp = memory_dir();
        let mut layout = Self::at(&temp.path().join("layout"));
        layout._temp = Some(temp);
        layout
    }

    /// Writes it to `dir`, which is created and not deleted.
    pub(crate) fn at(dir: &Path) -> Self {
        let mut builder = LayoutBuilder::at(dir);
        let one = builder.image("linux/amd64", "one", &[b"base layer", b"one layer"]);
        let two = builder.image("linux/amd64", "two", &[b"base layer", b"two layer"]);
        let amd64 = builder.image("linux/amd64", "amd64", &[b"base layer", b"amd64 layer"]);
        let arm64 = builder.image("linux/arm64", "arm64", &[b"base layer", b"arm64 layer"]);
        let attestation = builder.image("unknown/unknown", "attestation", &[b"statement"]);
        let multi = builder.index(&[
            amd64.manifest.clone().platform("linux/amd64"),
            arm64.manifest.clone().platform("linux/arm64"),
            attestation.manifest.clone().attests(&arm64.manifest),
        ]);
        builder.referrer(&one.manifest, media::STRANGE, b"signature of one");
        builder.referrer(&two.manifest, media::STRANGE, b"signature of two");
        let lost = builder.image("linux/amd64", "lost", &[b"base layer", b"lost layer"]);
        let orphans = vec![
            lost.manifest.clone(),
            lost.config.clone(),
            lost.top().clone(),
            builder.layer(b"nothing references this"),
            builder.blob(media::STRANGE, br#"{"nobody":"refers to this"}"#),
        ];
        builder
            .tag(&one.manifest, "app:1")
            .tag(&two.manifest, "app:2")
            .tag(&multi, "multi:1")
            .save_element(&["app:1"], &one.config, &one.layers)
            .save_element(&["app:2"], &two.config, &two.layers);
        builder.repositories(&[("app", "1", one.top().hex()), ("app", "2", two.top().hex())]);
        let holds = serde_json::json!({
            "schema_version": 1,
            "holds": [{"name": "release", "digest": two.manifest.digest, "image": "app:2"}],
        });
        builder.file(".ocisweep/holds.json", holds.to_string().as_bytes());
        for stale in STALE_FILES {
            builder.file(stale, b"half a blob");
        }
        builder.write();
        let layout = Self {
            builder,
            one,
            two,
            multi,
            arm64,
            attestation,
            orphans,
            _temp: None,
        };
        layout.make_old();
        layout
    }

    /// Sets the age of everything to three days.
    pub(crate) fn make_old(&self) {
        make_old(self.path());
    }

    /// Returns what dropping `linux/arm64` may remove from an index that is kept.
    pub(crate) fn of_arm64(&self) -> Vec<String> {
        let mut digests = self.arm64.digests();
        digests.extend(self.attestation.digests());
        // All images share the base layer.
        let base = self.one.layers.first().expect("an image has layers");
        digests.retain(|digest| *digest != base.digest);
        digests
    }
}

macro_rules! is_a_layout {
    ($($name:ident)*) => {$(
        impl Deref for $name {
            type Target = LayoutBuilder;

            fn deref(&self) -> &LayoutBuilder {
                &self.builder
            }
        }

        impl DerefMut for $name {
            fn deref_mut(&mut self) -> &mut LayoutBuilder {
                &mut self.builder
            }
        }
    )*};
}

is_a_layout!(GuardedLayout IntactLayout FullLayout);

/// Sets the age of a directory and everything in it to three days.
pub(crate) fn make_old(path: &Path) {
    if path.is_dir() {
        for name in fs::read_dir(path).expect("a directory can be listed") {
            make_old(&name.expect("a directory can be listed").path());
        }
    }
    set_modified(path, SystemTime::now() - 3 * DAY);
}
