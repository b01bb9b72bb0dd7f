//! The shapes of layouts that are measured.
//!
//! Half of every layout is garbage, made like the live half: a collector finds old manifests and configs among its orphans,
//! and has to read them.

/// Images of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Images {
    /// Their number.
    pub(crate) count: usize,
    /// The number of platforms of each; 0: a plain manifest without an index.
    pub(crate) platforms: usize,
    /// The number of layers of each manifest.
    pub(crate) layers: usize,
    /// The number of bytes of a layer; 0: as few as make it unique.
    pub(crate) layer_bytes: usize,
}

impl Images {
    pub(crate) const fn plain(count: usize, layers: usize) -> Self {
        Self {
            count,
            platforms: 0,
            layers,
            layer_bytes: 0,
        }
    }

    /// Returns the number of blobs: no two images share one.
    pub(crate) const fn blobs(self) -> usize {
        let manifest = self.layers + 2;
        let image = if self.platforms == 0 {
            manifest
        } else {
            1 + self.platforms * manifest
        };
        self.count * image
    }

    /// Returns the number of indexes and manifests.
    pub(crate) const fn documents(self) -> usize {
        self.count * (1 + self.platforms)
    }
}

/// A layout to generate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Its name in the report.
    pub(crate) name: String,
    /// The images listed in `index.json`.
    pub(crate) live: Images,
    /// The images that are not listed.
    pub(crate) garbage: Images,
    /// The number of entries in `index.json`: if there are more than images, several name the same one.
    pub(crate) tags: usize,
}

impl Shape {
    /// Makes a shape whose garbage is of the same kind and number as its images.
    pub(crate) fn halves(name: &str, live: Images, tags: usize) -> Self {
        Self {
            name: name.to_owned(),
            live,
            garbage: live,
            tags,
        }
    }

    /// Makes a layout of `blobs` blobs, ten of them an image, each image with a name.
    pub(crate) fn with_blobs(blobs: usize) -> Self {
        let live = Images::plain((blobs / 20).max(1), 8);
        Self::halves(&format!("{blobs} blobs"), live, live.count)
    }

    /// Makes a layout of 100 images under this many names.
    pub(crate) fn with_entries(entries: usize) -> Self {
        Self::halves(
            &format!("{entries} entries"),
            Images::plain(100.min(entries), 10),
            entries,
        )
    }

    /// Returns `true` if it is for reading layers. A sweep never reads them, so its cost is omitted.
    pub(crate) const fn is_for_hashing(&self) -> bool {
        self.live.layer_bytes > 0
    }

    /// Returns the number of blobs.
    pub(crate) const fn blobs(&self) -> usize {
        self.live.blobs() + self.garbage.blobs()
    }

    /// Returns the system calls that a sweep may make: two per deleted blob (stat, unlink) and four per document or orphan
    /// (open, stat, read, close).
    pub(crate) const fn call_budget(&self) -> usize {
        2 * self.garbage.blobs() + 4 * (self.live.documents() + self.garbage.blobs())
    }
}

/// The size of the layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// As the targets say.
    Full,
    /// A few hundred blobs, to try the bench itself.
    Smoke,
}

/// Returns all shapes, in the order in which they are measured: the largest comes last.
pub(crate) fn all(scale: Scale) -> Vec<Shape> {
    let table = |full: usize, smoke: usize| match scale {
        Scale::Full => full,
        Scale::Smoke => smoke,
    };
    let indexes = Images {
        count: table(250, 2),
        platforms: 8,
        layers: table(4, 2),
        layer_bytes: 0,
    };
    let heavy = Images {
        count: table(32, 2),
        platforms: 0,
        layers: 4,
        layer_bytes: table(16 << 20, 1 << 16),
    };
    vec![
        Shape::halves("P1", Images::plain(table(1000, 12), 10), table(1000, 12)),
        Shape::halves(
            "P2b",
            Images::plain(table(10_000, 20), 8),
            table(10_000, 20),
        ),
        Shape::halves("P3", Images::plain(table(100, 10), 10), table(10_000, 50)),
        Shape::halves("P4", indexes, indexes.count),
        Shape {
            name: "H".to_owned(),
            live: heavy,
            garbage: Images::plain(1, 1),
            tags: heavy.count,
        },
        Shape::halves(
            "P2",
            Images::plain(table(100, 2), table(998, 98)),
            table(100, 2),
        ),
        Shape::halves("M", Images::plain(table(50_000, 30), 8), table(50_000, 30)),
    ]
}
