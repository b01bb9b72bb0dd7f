//! The layout that faults happen to: a little of everything, and all of it old, so that nothing counts as being written.

use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::support::layout::set_modified;
use crate::support::{Desc, Image, LayoutBuilder, media};

const DAY: Duration = Duration::from_secs(86_400);

/// The layout, and what lies in it.
#[derive(Debug)]
pub(crate) struct Scene {
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
    /// Layers and documents that nothing refers to.
    pub(crate) orphans: Vec<Desc>,
    /// Dropped last.
    _temp: Option<TempDir>,
}

/// Writers' temporary files that a crash left behind.
pub(crate) const LEFT_OVERS: [&str; 5] = [
    "oci-put-blob123456789",
    ".umoci-123456789/blob-1",
    "blobs/sha256/123456789.tmp",
    ".ocisweep-abcdef",
    ".ocisweep/.ocisweep-ghijkl",
];

impl Scene {
    /// Writes it into a directory of its own.
    pub(crate) fn new() -> Self {
        let temp = ground();
        let mut scene = Self::at(&temp.path().join("layout"));
        scene._temp = Some(temp);
        scene
    }

    /// Writes it into `dir`, which is made and which stays.
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
            lost.layers[1].clone(),
            builder.layer(b"nobody refers to this"),
            builder.blob(media::STRANGE, br#"{"nobody":"refers to this"}"#),
        ];
        builder
            .tag(&one.manifest, "app:1")
            .tag(&two.manifest, "app:2")
            .tag(&multi, "multi:1")
            .save_element(&["app:1"], &one.config, &one.layers)
            .save_element(&["app:2"], &two.config, &two.layers);
        builder.repositories(&[
            ("app", "1", one.layers[1].hex()),
            ("app", "2", two.layers[1].hex()),
        ]);
        let holds = serde_json::json!({
            "schema_version": 1,
            "holds": [{"name": "release", "digest": two.manifest.digest, "image": "app:2"}],
        });
        builder.file(".ocisweep/holds.json", holds.to_string().as_bytes());
        for left_over in LEFT_OVERS {
            builder.file(left_over, b"half a blob");
        }
        builder.write();
        let scene = Self {
            builder,
            one,
            two,
            multi,
            arm64,
            attestation,
            orphans,
            _temp: None,
        };
        scene.grow_old();
        scene
    }

    /// Makes everything three days old.
    pub(crate) fn grow_old(&self) {
        grow_old(self.path());
    }

    /// Returns the directory of the layout.
    pub(crate) fn path(&self) -> &Path {
        self.builder.path()
    }

    /// Returns `true` if a blob is there.
    pub(crate) fn has(&self, desc: &Desc) -> bool {
        self.builder.join(&desc.blob_path()).is_file()
    }

    /// Returns what dropping `linux/arm64` may take out of an index that stays.
    pub(crate) fn of_arm64(&self) -> Vec<String> {
        let mut digests = self.arm64.digests();
        digests.extend(self.attestation.digests());
        // The base layer belongs to everybody.
        digests.retain(|digest| *digest != self.one.layers[0].digest);
        digests
    }
}

/// Makes a directory in memory where there is one: thousands of runs, each of which syncs, would wait for a real disk.
pub(crate) fn ground() -> TempDir {
    TempDir::new_in("/dev/shm")
        .or_else(|_| TempDir::new())
        .expect("a temporary directory can be made")
}

/// Makes a directory and everything in it three days old.
pub(crate) fn grow_old(path: &Path) {
    if path.is_dir() {
        for name in std::fs::read_dir(path).expect("a directory can be listed") {
            grow_old(&name.expect("a directory can be listed").path());
        }
    }
    set_modified(path, SystemTime::now() - 3 * DAY);
}
