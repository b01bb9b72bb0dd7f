//! An image layout as an idea: what refers to what, before it becomes bytes.
//!
//! The generator makes a [`World`], the writer turns it into files, and the oracle judges it. The oracle never parses what the
//! writer wrote, so a mistake in reading JSON cannot hide in both the program and its judge.

use crate::support::media;

/// A whole layout.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    /// The blobs, present or not; they name each other by position.
    pub(crate) nodes: Vec<Node>,
    /// The entries of `index.json`.
    pub(crate) entries: Vec<Ref>,
    /// How `index.json` is written.
    pub(crate) index: IndexStyle,
    /// Whether `oci-layout` exists.
    pub(crate) marker: bool,
    /// Elements of docker's `manifest.json`: config, layers.
    pub(crate) elements: Vec<(usize, Vec<usize>)>,
    /// The blobs that are held.
    pub(crate) holds: Vec<usize>,
    /// What is in the layout and not the program's concern.
    pub(crate) foreign: Vec<Foreign>,
    /// Whether the run is given `--allow-missing`.
    pub(crate) allow_missing: bool,
    /// Whether the run is given `--allow-empty`.
    pub(crate) allow_empty: bool,
}

/// How `index.json` is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum IndexStyle {
    /// As the specification has it.
    #[default]
    Plain,
    /// Without `schemaVersion` and `mediaType`.
    Bare,
    /// With `Manifests` for `manifests`, which Go readers accept.
    OddCase,
    /// With `manifests` twice, half of the entries in each.
    Twice,
    /// With `"manifests": null`; only without entries.
    Null,
    /// With an entry whose digest is not one.
    InvalidDigest,
}

/// A blob.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// The algorithm of its digest.
    pub(crate) algorithm: &'static str,
    /// What it contains.
    pub(crate) content: Content,
    /// Whether it is there, and what it is.
    pub(crate) state: State,
}

/// Whether a blob is there, and whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is there, of the digest by which it is called.
    Whole,
    /// It is referred to and not there.
    Absent,
    /// It is there and parses, and its digest is another one.
    Forged,
    /// It is there, cut in the middle.
    Cut,
    /// It is there, with no bytes in it.
    Hollow,
}

impl State {
    /// Returns `true` if there is a file.
    pub(crate) fn present(self) -> bool {
        self != Self::Absent
    }

    /// Returns `true` if the bytes are not those of the digest.
    pub(crate) fn damaged(self) -> bool {
        matches!(self, Self::Forged | Self::Cut | Self::Hollow)
    }
}

/// What a blob contains.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Bytes that do not begin like JSON.
    Binary,
    /// JSON that refers to nothing, such as an image config.
    Plain,
    /// Text that begins like JSON and is not JSON.
    Pretence,
    /// An in-toto statement on a blob: it has a `subject`, which is no descriptor.
    Statement {
        /// The blob it speaks of.
        about: usize,
    },
    /// A JSON array of descriptors.
    List(Vec<Ref>),
    /// A JSON object that refers to blobs.
    Document(Document),
}

/// A JSON object that refers to blobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Document {
    /// What it is by design; decides the natural places of references.
    pub(crate) shape: Shape,
    /// Its own `mediaType`, if it has one.
    pub(crate) own_type: Option<&'static str>,
    /// Its `artifactType`, if it has one.
    pub(crate) artifact_type: Option<&'static str>,
    /// What it refers to.
    pub(crate) refs: Vec<Ref>,
    /// A descriptor in a known place whose digest is not one.
    pub(crate) flaw: Option<(Place, &'static str)>,
    /// Blobs it mentions without describing them.
    pub(crate) mentions: Vec<usize>,
    /// Whether known keys are written in odd case.
    pub(crate) odd_keys: bool,
    /// Whether arrays are split over keys that occur twice.
    pub(crate) split: bool,
    /// Whether known arrays without items are written as `null`.
    pub(crate) nulls: bool,
    /// Whether white space precedes the first brace.
    pub(crate) indented: bool,
}

/// What a document is by design.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shape {
    /// OCI image manifest.
    #[default]
    Manifest,
    /// OCI image index.
    Index,
    /// Docker schema 2 manifest.
    DockerManifest,
    /// Docker manifest list.
    DockerList,
    /// OCI artifact manifest.
    Artifact,
    /// Docker schema 1 manifest.
    Schema1,
    /// Something unknown to every reader.
    Strange,
}

impl Shape {
    /// The media type by which such a document is called.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Manifest => media::MANIFEST,
            Self::Index => media::INDEX,
            Self::DockerManifest => media::DOCKER_MANIFEST,
            Self::DockerList => media::DOCKER_LIST,
            Self::Artifact => media::ARTIFACT,
            Self::Schema1 => media::SCHEMA1,
            Self::Strange => media::STRANGE,
        }
    }
}

/// Where in a document a reference is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In `manifests`.
    Manifests,
    /// As `config`.
    Config,
    /// In `layers`.
    Layers,
    /// In `blobs`.
    Blobs,
    /// As `subject`.
    Subject,
    /// In `fsLayers`, as a `blobSum` without a type.
    FsLayers,
    /// In an array under an unknown key.
    Unknown,
    /// Some levels down under an unknown key.
    Deep,
}

/// A reference to a blob.
#[derive(Clone, Debug)]
pub(crate) struct Ref {
    /// The blob.
    pub(crate) target: usize,
    /// A second blob, under a second `digest` key of the same descriptor.
    pub(crate) twin: Option<usize>,
    /// The media types it is given: one, none, or two under a duplicated key.
    pub(crate) types: Vec<&'static str>,
    /// Where it is; of no meaning in `index.json`.
    pub(crate) place: Place,
    /// How `size` is written.
    pub(crate) size: Size,
    /// Whether its keys are written in odd case.
    pub(crate) odd_keys: bool,
    /// What it carries in `data`.
    pub(crate) data: Data,
    /// The name that it has; only in `index.json`.
    pub(crate) name: Option<String>,
}

/// How `size` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// As it is.
    Right,
    /// As something else.
    Wrong,
    /// Not at all.
    Absent,
}

/// What a descriptor carries in `data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    /// Nothing.
    None,
    /// The blob.
    Embedded,
    /// Something that is no base64.
    Rubbish,
}

/// What is in a layout and not the program's concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// A file in `blobs/sha256` whose name is no digest.
    Note,
    /// A file whose name is a digest in capitals.
    Capitals,
    /// A file whose name is one digit short.
    Short,
    /// A file whose name is one digit long.
    Long,
    /// A file with the name of a writer's temporary file, just written.
    Young,
    /// A directory whose name is a digest.
    Directory,
    /// A file with a good name one level too deep.
    TooDeep,
    /// A file directly in `blobs`.
    Above,
    /// A directory of an unknown algorithm.
    Algorithm,
    /// A file beside `index.json`.
    Beside,
    /// A directory of a writer, empty.
    Ingest,
}

/// Every kind of foreign thing.
pub(crate) const ALL_FOREIGN: [Foreign; 11] = [
    Foreign::Note,
    Foreign::Capitals,
    Foreign::Short,
    Foreign::Long,
    Foreign::Young,
    Foreign::Directory,
    Foreign::TooDeep,
    Foreign::Above,
    Foreign::Algorithm,
    Foreign::Beside,
    Foreign::Ingest,
];

/// What a media type says about a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is a document that must be read.
    Document,
    /// It is a leaf that is never read.
    Leaf,
    /// Nothing: its content decides.
    Unknown,
}

/// Tells what a media type says about a blob.
pub(crate) fn role(media_type: &str) -> Role {
    match media_type {
        media::INDEX
        | media::MANIFEST
        | media::ARTIFACT
        | media::DOCKER_LIST
        | media::DOCKER_MANIFEST
        | media::SCHEMA1
        | media::SCHEMA1_SIGNED => Role::Document,
        media::CONFIG
        | media::LAYER
        | media::LAYER_TAR
        | media::LAYER_ZSTD
        | media::DOCKER_CONFIG
        | media::DOCKER_LAYER => Role::Leaf,
        _ => Role::Unknown,
    }
}

impl World {
    /// Returns a node by its position.
    pub(crate) fn node(&self, position: usize) -> &Node {
        self.nodes
            .get(position)
            .expect("references name nodes that exist")
    }
}
