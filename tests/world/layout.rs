//! An abstract image layout: the references between blobs, before it is written.
//!
//! The generator creates a [`World`], the writer turns it into files, and the oracles judge it. An oracle that uses this
//! description never parses the written files, so the program and the oracle cannot share a bug in reading JSON.

use crate::support::json::{IMAGE_NAME, REF_NAME};
use crate::support::media;

/// The annotation that holds a name in old layouts.
pub(crate) const BASE_NAME: &str = "org.opencontainers.image.base.name";

/// The annotations that name the subject of an entry.
pub(crate) const SUBJECTS: [&str; 3] = [
    "io.containerd.manifest.subject",
    "org.olareg.referrer.subject",
    "org.opencontainers.image.referrer.subject",
];

/// The annotation of a layer that names another blob.
pub(crate) const NYDUS: &str = "containerd.io/snapshot/nydus-ref";

/// The annotation of an attestation that names its child.
pub(crate) const ATTESTS: &str = "vnd.docker.reference.digest";

/// A whole layout.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    /// The blobs, present or not; they reference each other by position.
    pub(crate) nodes: Vec<Node>,
    /// The entries of `index.json`.
    pub(crate) entries: Vec<Ref>,
    /// How `index.json` is written.
    pub(crate) index: IndexStyle,
    /// Whether `oci-layout` exists.
    pub(crate) marker: bool,
    /// Elements of docker's `manifest.json`.
    pub(crate) elements: Vec<Element>,
    /// Whether docker's `repositories` names them, too.
    pub(crate) repositories: bool,
    /// Other files that list descriptors.
    pub(crate) second: Vec<SecondIndex>,
    /// The blobs that are held.
    pub(crate) holds: Vec<usize>,
    /// Foreign files in the layout.
    pub(crate) foreign: Vec<Foreign>,
    /// Whether the run is given `--allow-missing`.
    pub(crate) allow_missing: bool,
    /// Whether the run is given `--allow-empty`.
    pub(crate) allow_empty: bool,
}

/// How `index.json` is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum IndexStyle {
    /// As in the specification.
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
    /// With an entry whose digest is invalid.
    InvalidDigest,
}

/// An element of docker's `manifest.json`.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    /// The config.
    pub(crate) config: usize,
    /// The layers.
    pub(crate) layers: Vec<usize>,
    /// `RepoTags`.
    pub(crate) tags: Vec<String>,
}

/// Another file in the root directory that lists descriptors.
#[derive(Clone, Debug)]
pub(crate) struct SecondIndex {
    /// How it is written.
    pub(crate) form: SecondForm,
    /// The listed blobs.
    pub(crate) refs: Vec<Ref>,
    /// Whether commands get a flag to ignore it.
    pub(crate) is_ignored: bool,
}

/// How a second index is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecondForm {
    /// As hauler does: an index of another name.
    Hauler,
    /// As kitops does: an index with an encoded name.
    Kitops,
    /// As kitops does: descriptors as values of one object.
    Values,
    /// An array of descriptors.
    Array,
}

impl SecondForm {
    /// Returns the name of the file.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Hauler => "hauler-index.json",
            Self::Kitops => "ZXguY29tL2tpdA==-index.json",
            Self::Values => "ZXguY29tL2tpdA==-tags.json",
            Self::Array => "list.json",
        }
    }
}

/// A blob.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// The algorithm of its digest.
    pub(crate) algorithm: &'static str,
    /// Its content.
    pub(crate) content: Content,
    /// Whether it exists, and its condition.
    pub(crate) state: State,
    /// Its age in hours; `None` is 1970.
    pub(crate) hours: Option<u64>,
    /// Whether the file has another name outside the layout.
    pub(crate) is_linked: bool,
}

/// The condition of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It exists and matches its digest.
    Whole,
    /// It is referenced, but missing.
    Absent,
    /// It exists and can be parsed, but does not match its digest.
    Forged,
    /// It exists, truncated in the middle.
    Cut,
    /// It exists and is empty.
    Hollow,
}

impl State {
    /// Returns `true` if there is a file.
    pub(crate) fn present(self) -> bool {
        self != Self::Absent
    }

    /// Returns `true` if the bytes do not match the digest.
    pub(crate) fn damaged(self) -> bool {
        matches!(self, Self::Forged | Self::Cut | Self::Hollow)
    }
}

/// The content of a blob.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// At least this many bytes, which do not begin like JSON.
    Binary(usize),
    /// JSON without references.
    Plain,
    /// An image config.
    Config(Config),
    /// Text that begins like JSON and is not JSON.
    Pretence,
    /// An in-toto statement on a blob: it has a `subject`, which is not a descriptor.
    Statement {
        /// The blob that it describes.
        about: usize,
    },
    /// A JSON array of descriptors.
    List(Vec<Ref>),
    /// A JSON object that refers to blobs.
    Document(Document),
}

/// An image config.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// As `os/architecture/variant`.
    pub(crate) platform: &'static str,
    /// Its age in hours by its creation time, if it has one.
    pub(crate) created: Option<u64>,
    /// The value of the label `env`.
    pub(crate) label: Option<&'static str>,
}

/// A JSON object that refers to blobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Document {
    /// Its intended type; decides the natural places of references.
    pub(crate) shape: Shape,
    /// Its own `mediaType`, if it has one.
    pub(crate) own_type: Option<&'static str>,
    /// Its `artifactType`, if it has one.
    pub(crate) artifact_type: Option<&'static str>,
    /// Its references.
    pub(crate) refs: Vec<Ref>,
    /// A descriptor in a known place with an invalid digest.
    pub(crate) flaw: Option<(Place, &'static str)>,
    /// Blobs that it mentions without a descriptor.
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

impl Document {
    /// Returns `true` if it has a subject.
    pub(crate) fn has_subject(&self) -> bool {
        self.refs.iter().any(|item| item.place == Place::Subject)
    }
}

/// The intended type of a document: of OCI, of docker, or unknown to every reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shape {
    #[default]
    Manifest,
    Index,
    DockerManifest,
    DockerList,
    Artifact,
    Schema1,
    Strange,
}

impl Shape {
    /// The media type of such a document.
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

/// Where in a document a reference is: under the key of that name, in an array under an unknown key, or some levels below one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Manifests,
    Config,
    Layers,
    Blobs,
    Subject,
    FsLayers,
    Unknown,
    Deep,
}

/// A reference to a blob.
#[derive(Clone, Debug)]
pub(crate) struct Ref {
    /// The blob.
    pub(crate) target: usize,
    /// A second blob, under a second `digest` key of the same descriptor.
    pub(crate) twin: Option<usize>,
    /// Its media types: one, none, or two under a duplicated key.
    pub(crate) types: Vec<&'static str>,
    /// Its place; ignored in `index.json`.
    pub(crate) place: Place,
    /// How `size` is written.
    pub(crate) size: Size,
    /// Whether its keys are written in odd case.
    pub(crate) odd_keys: bool,
    /// Its `data`.
    pub(crate) data: Data,
    /// Its platform.
    pub(crate) platform: Option<Platform>,
    /// Its annotations.
    pub(crate) notes: Vec<(&'static str, Note)>,
}

/// The platform in a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Platform {
    /// As `os/architecture/variant`.
    pub(crate) name: &'static str,
    /// `os.version`.
    pub(crate) version: Option<&'static str>,
    /// The single element of `os.features`.
    pub(crate) feature: Option<&'static str>,
}

/// The value of an annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// Any text.
    Text(String),
    /// The digest of a blob.
    Digest(usize),
    /// A name with the digest of the image.
    Pinned(String, usize),
    /// The digest of another blob as a tag.
    DigestTag {
        /// The text before the tag.
        repository: &'static str,
        /// The blob.
        of: usize,
        /// Whether the digits are cut after 64.
        is_cut: bool,
        /// The text after the digits.
        suffix: &'static str,
    },
}

impl Ref {
    /// Describes a blob as tools do.
    pub(crate) fn plain(target: usize, media_type: &'static str, place: Place) -> Self {
        Self {
            target,
            twin: None,
            types: vec![media_type],
            place,
            size: Size::Right,
            odd_keys: false,
            data: Data::None,
            platform: None,
            notes: Vec::new(),
        }
    }

    /// Adds an annotation.
    pub(crate) fn note(mut self, key: &'static str, note: Note) -> Self {
        self.notes.push((key, note));
        self
    }

    /// Sets its platform.
    pub(crate) fn on(mut self, name: &'static str) -> Self {
        self.platform = Some(Platform {
            name,
            version: None,
            feature: None,
        });
        self
    }

    /// Sets its tag.
    pub(crate) fn tagged(self, tag: &str) -> Self {
        self.note(REF_NAME, Note::Text(tag.to_owned()))
    }

    /// Returns `true` if it has digest, size and media type under their own keys.
    pub(crate) fn is_plain(&self) -> bool {
        let is_typed = matches!(self.types.as_slice(), [media_type] if !media_type.is_empty());
        is_typed && self.size != Size::Absent && !self.odd_keys
    }

    /// Returns the annotations that contain its names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Note> {
        let keys = [REF_NAME, IMAGE_NAME, BASE_NAME];
        let notes = self.notes.iter();
        notes
            .filter(move |(key, _)| keys.contains(key))
            .map(|(_, note)| note)
    }
}

/// How `size` is written: correctly, wrong, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Right,
    Wrong,
    Absent,
}

/// The `data` of a descriptor: the blob, invalid base64, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    None,
    Embedded,
    Rubbish,
}

/// A foreign file in a layout: its path, its text (`None`: it is a directory), and its age in hours.
pub(crate) type Foreign = (&'static str, &'static str, u32);

/// Foreign files that do not indicate a writer: with invalid digests as names, too deep, of another algorithm, next to
/// `index.json`.
#[rustfmt::skip]
pub(crate) const FOREIGN: [Foreign; 11] = [
    ("blobs/sha256/README", "note", 2400),
    ("blobs/sha256/C0FFEE0123456789C0FFEE0123456789C0FFEE0123456789C0FFEE0123456789", "capitals", 2400),
    ("blobs/sha256/0ffee0123456789c0ffee0123456789c0ffee0123456789c0ffee0123456789", "short", 2400),
    ("blobs/sha256/c0ffee0123456789c0ffee0123456789c0ffee0123456789c0ffee01234567890", "long", 2400),
    ("blobs/sha256/c0ffee0123456789c0ffee0123456789c0ffee0123456789c0ffee0123456789", "", 2400),
    ("blobs/sha256/deep/c0ffee0123456789c0ffee0123456789c0ffee0123456789c0ffee0123456789", "deep", 2400),
    ("blobs/c0ffee0123456789c0ffee0123456789c0ffee0123456789c0ffee0123456789", "above", 2400),
    ("blobs/blake3/c0ffee0123456789c0ffee0123456789c0ffee0123456789c0ffee0123456789", "blake", 2400),
    ("umoci.json", "{}", 2400),
    ("package.json", r#"{"files":["a"],"size":3}"#, 2400),
    ("ingest", "", 2400),
];

/// The temporary file of a writer that ended days ago, which is garbage.
pub(crate) const OLD_TEMPORARY: Foreign = ("oci-put-blob2718", "half a blob", 50);

/// Temporary files of active writers.
#[rustfmt::skip]
pub(crate) const FRESH_TEMPORARY: [Foreign; 2] = [
    ("oci-put-blob31415", "half a blob", 0),
    ("blobs/sha256/c0ffee0123456789c0ffee0123456789c0ffee0123456789c0ffee0123456789.tmp-123", "young", 0),
];

/// The meaning of a media type: a document that must be read, a leaf that never is, or unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Document,
    Leaf,
    Unknown,
}

/// Returns the meaning of a media type.
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

impl Content {
    /// Returns its references.
    pub(crate) fn refs(&self) -> &[Ref] {
        match self {
            Self::List(refs) => refs,
            Self::Document(document) => &document.refs,
            Self::Binary(_)
            | Self::Plain
            | Self::Config(_)
            | Self::Pretence
            | Self::Statement { .. } => &[],
        }
    }

    /// Returns the targets in one place.
    pub(crate) fn at(&self, place: Place) -> impl Iterator<Item = usize> {
        let refs = self.refs().iter();
        refs.filter(move |item| item.place == place)
            .map(|item| item.target)
    }

    /// Returns `true` if it is a document or a list of descriptors.
    pub(crate) fn is_parent(&self) -> bool {
        matches!(self, Self::Document(_) | Self::List(_))
    }
}

impl World {
    /// Returns the references of `index.json`, second indexes and blobs.
    pub(crate) fn refs(&self) -> impl Iterator<Item = &Ref> {
        let second = self.second.iter().flat_map(|index| &index.refs);
        let inside = self.nodes.iter().flat_map(|node| node.content.refs());
        self.entries.iter().chain(second).chain(inside)
    }

    /// Returns the second indexes that commands get a flag to ignore.
    pub(crate) fn ignored(&self) -> Vec<String> {
        let second = self.second.iter().filter(|index| index.is_ignored);
        second.map(|index| index.form.file().to_owned()).collect()
    }

    /// Returns the names of entries that are plain text.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.entries.iter().flat_map(Ref::names);
        let names = names.filter_map(|note| match note {
            Note::Text(name) => Some(name.clone()),
            Note::Digest(_) | Note::Pinned(..) | Note::DigestTag { .. } => None,
        });
        names.collect()
    }

    /// Returns `true` if two images have the same name.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.entries.iter().any(|left| {
            let mut others = self.entries.iter().filter(|it| it.target != left.target);
            others.any(|right| left.names().any(|name| right.names().any(|it| it == name)))
        })
    }

    /// Returns a node by its position.
    pub(crate) fn node(&self, position: usize) -> &Node {
        self.nodes
            .get(position)
            .expect("references are to nodes that exist")
    }
}
