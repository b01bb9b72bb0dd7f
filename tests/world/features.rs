//! [`Features`]: what a random layout may hold. A test turns off what its judge cannot predict, and says why.

use crate::world::layout::{FOREIGN, Foreign};

/// How much harm a layout may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Nearly every entry is one with which a sweep is possible.
    Calm,
    /// Anything may be listed.
    Wild,
}

/// How images are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Each image has one, and no other image has it.
    One,
    /// Tags and full names, each at most once, in `org.opencontainers.image.ref.name`.
    Tags,
    /// In every form that a tool writes, some on two images.
    Forms,
}

/// Which draws are on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    /// The least and the greatest number of images, indexes of images and referrers.
    pub(crate) images: (usize, usize),
    /// Blobs and documents that no tool writes: damage, forged digests, odd keys, wrong types, unknown places.
    pub(crate) wild: Option<Mood>,
    /// How images are named.
    pub(crate) names: Names,
    /// Indexes of other images.
    pub(crate) nested: bool,
    /// Indexes of platforms, with attestations, and with children that are missing or listed; indexes that have a subject.
    pub(crate) platforms: bool,
    /// Signatures and the like: by subject, digest tag and annotation.
    pub(crate) referrers: bool,
    /// Referrers of which tools tell in other ways: attestations, indexes of referrers, tags in a repository, `kind`.
    pub(crate) odd_referrers: bool,
    /// Documents under sha512.
    pub(crate) algorithms: bool,
    /// docker's `manifest.json`, and `repositories`.
    pub(crate) docker_save: bool,
    /// What else keeps blobs: annotations with a digest, second indexes, names that only docker's list has.
    pub(crate) lists: bool,
    /// Second indexes that commands leave out.
    pub(crate) ignored_indexes: bool,
    /// Manifests that nothing lists.
    pub(crate) orphans: bool,
    /// Documents of 1970.
    pub(crate) undated: bool,
    /// Fresh orphans and temporary files.
    pub(crate) writers: bool,
    /// Holds.
    pub(crate) holds: bool,
    /// Blobs with another name outside the layout.
    pub(crate) links: bool,
    /// What else may be in the directory.
    pub(crate) foreign: &'static [Foreign],
}

impl Features {
    /// What tools write: everything that is not damaged.
    pub(crate) const TOOLS: Self = Self {
        images: (1, 8),
        wild: None,
        names: Names::Forms,
        nested: true,
        platforms: true,
        referrers: true,
        odd_referrers: true,
        algorithms: true,
        docker_save: true,
        lists: true,
        ignored_indexes: true,
        orphans: true,
        undated: true,
        writers: true,
        holds: true,
        links: true,
        foreign: &FOREIGN,
    };

    /// Images with a name each, and their layers.
    pub(crate) const PLAIN: Self = Self {
        images: (1, 5),
        wild: None,
        names: Names::One,
        nested: false,
        platforms: false,
        referrers: false,
        odd_referrers: false,
        algorithms: false,
        docker_save: false,
        lists: false,
        ignored_indexes: false,
        orphans: false,
        undated: false,
        writers: false,
        holds: false,
        links: false,
        foreign: &[],
    };
}
