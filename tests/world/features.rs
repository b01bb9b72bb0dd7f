//! [`Features`]: the allowed contents of a random layout. A test disables features that its oracle cannot predict, and
//! explains why.

use crate::world::layout::{FOREIGN, Foreign};

/// The amount of damage in a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Nearly all entries allow a sweep.
    Calm,
    /// Anything may be listed.
    Wild,
}

/// How images are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Each image has a unique name.
    One,
    /// Tags and full names, each at most once, in `org.opencontainers.image.ref.name`.
    Tags,
    /// Names in every form that a tool writes, some on two images.
    Forms,
}

/// The enabled draws.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    /// The minimum and maximum number of images, indexes of images and referrers.
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
    /// Referrers that tools mark in other ways: attestations, indexes of referrers, tags in a repository, `kind`.
    pub(crate) odd_referrers: bool,
    /// Documents under sha512.
    pub(crate) algorithms: bool,
    /// docker's `manifest.json`, and `repositories`.
    pub(crate) docker_save: bool,
    /// Other reasons to keep blobs: annotations with a digest, second indexes, names that only docker's list contains.
    pub(crate) lists: bool,
    /// Second indexes that commands leave out.
    pub(crate) ignored_indexes: bool,
    /// Unlisted manifests.
    pub(crate) orphans: bool,
    /// Documents of 1970.
    pub(crate) undated: bool,
    /// Fresh orphans and temporary files.
    pub(crate) writers: bool,
    /// Holds.
    pub(crate) holds: bool,
    /// Blobs with another name outside the layout.
    pub(crate) links: bool,
    /// Other files in the directory.
    pub(crate) foreign: &'static [Foreign],
}

impl Features {
    /// The content that tools write: everything except damage.
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

    /// Images with one name each, and their layers.
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
