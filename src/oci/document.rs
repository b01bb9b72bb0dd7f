//! What a JSON document refers to.
//!
//! One tolerant scan serves every document a layout can hold: image indexes, manifests of OCI and
//! docker, artifact manifests, schema 1, BuildKit caches, and JSON of unknown types.
//!
//! *Promise*: everything that any reader of the field could take for a reference is found. Keys are
//! compared without regard to case because Go's `encoding/json` accepts them so; a key that is there
//! twice is followed twice, because readers differ in which one wins; an object with the shape of a
//! descriptor counts wherever it stands. Reading too much keeps garbage, reading too little loses
//! data.
//!
//! *Failure*: what does not parse, or has an invalid digest where a descriptor must be, is reported
//! and never guessed at.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::de::Read as JsonRead;

use super::digest::Digest;
use super::media_type::Kind;

/// The part a referenced blob plays in the document that refers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Listed in `manifests` of an index. Not always an image: BuildKit lists cache layers so.
    Child,
    /// The `config` of a manifest.
    Config,
    /// Listed in `layers`, or in `fsLayers` of a schema 1 manifest.
    Layer,
    /// Listed in `blobs` of an artifact manifest.
    Blob,
    /// The `subject`: what this document is a referrer of.
    Subject,
    /// A descriptor in any other place.
    Other,
}

/// The platform object of a descriptor, as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlatformView {
    /// `os`.
    pub os: Box<str>,
    /// `architecture`.
    pub architecture: Box<str>,
    /// `variant`.
    pub variant: Option<Box<str>>,
    /// `os.version`.
    pub os_version: Option<Box<str>>,
    /// `os.features`.
    pub os_features: Vec<Box<str>>,
}

/// The parts of a descriptor that say more than where the blob is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// `mediaType`, as written.
    pub media_type: Box<str>,
    /// `platform`.
    pub platform: Option<PlatformView>,
    /// `annotations`; values that are not strings are left out.
    pub annotations: BTreeMap<Box<str>, Box<str>>,
    /// `artifactType`.
    pub artifact_type: Option<Box<str>>,
    /// `data`: the blob itself in base64, as written.
    pub data: Option<Box<str>>,
}

/// One reference from a document to a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where the reference stands.
    pub role: Role,
    /// The blob.
    pub digest: Digest,
    /// What the descriptor's media type promises. Where several media types are written, the one
    /// that makes the blob a document wins.
    pub kind: Kind,
    /// The declared size in bytes, where it is a non-negative integer.
    pub size: Option<u64>,
    /// Kept for children of an index and for what carries `data`; other links have none.
    pub details: Option<Box<Details>>,
}

/// Everything that a document refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// The references, in the order of the text.
    pub links: Vec<Link>,
    /// `mediaType` at the top.
    pub media_type: Option<Box<str>>,
    /// `artifactType` at the top.
    pub artifact_type: Option<Box<str>>,
    /// `org.opencontainers.image.base.digest` among the document's own annotations.
    pub base_digest: Option<Digest>,
    /// What the document is, by its content.
    pub shape: Shape,
    /// The first thing that makes a document of a known type damaged, such as an invalid digest.
    /// Without meaning for a document of another shape.
    pub damage: Option<Box<str>>,
}

/// What a document is, by its content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Its `mediaType` says so, or it has descriptors in `manifests`.
    Index,
    /// Its `mediaType` says so, or it has descriptors in `config`, `layers`, `blobs` or `fsLayers`.
    Manifest,
    /// Neither.
    #[default]
    Other,
}

impl Document {
    /// Scans one document.
    ///
    /// # Errors
    /// When `bytes` are not one JSON value, or nested deeper than 128 levels.
    pub fn scan(bytes: &[u8]) -> serde_json::Result<Self> {
        let mut scan = Scan::default();
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        Node {
            scan: &mut scan,
            place: Place::Top,
        }
        .deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(scan.finish())
    }

    /// Scans a stream of JSON values one after another (one document, or JSON lines) without holding
    /// it: for blobs of unknown types, which can be of any size.
    ///
    /// Returns what was found, also when the stream turns out not to be JSON further on: some readers
    /// stop after the first value and never see the rest. The error says why the scan ended early:
    /// the stream is not JSON, is nested deeper than 128 levels, or cannot be read
    /// (`serde_json::Error::is_io`).
    pub fn scan_stream(reader: impl io::Read) -> (Self, serde_json::Result<()>) {
        let mut scan = Scan::default();
        let reader = io::BufReader::with_capacity(1 << 16, ShortStrings::new(reader));
        let mut values = serde_json::Deserializer::from_reader(reader);
        let result = loop {
            match at_end(&mut values) {
                Ok(true) => break Ok(()),
                Ok(false) => {}
                Err(error) => break Err(error),
            }
            let node = Node {
                scan: &mut scan,
                place: Place::Top,
            };
            if let Err(error) = node.deserialize(&mut values) {
                break Err(error);
            }
        };
        (scan.finish(), result)
    }

    /// Scans one descriptor, such as an element of `manifests` in `index.json`. The first link is
    /// the descriptor itself, with its [`Details`].
    ///
    /// # Errors
    /// When `bytes` are not one JSON value.
    pub fn scan_descriptor(bytes: &[u8]) -> serde_json::Result<Self> {
        let mut scan = Scan::default();
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        Node {
            scan: &mut scan,
            place: Place::Item(Role::Child),
        }
        .deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(scan.finish())
    }

    /// Returns the digest of the `subject`, if there is one.
    pub fn subjects(&self) -> impl Iterator<Item = &Digest> {
        self.links
            .iter()
            .filter(|link| link.role == Role::Subject)
            .map(|link| &link.digest)
    }
}

/// Says whether only blanks are left. `end()` reports trailing text as an error, which is the only
/// way to ask this of a deserializer without consuming a value.
fn at_end<'de, R: JsonRead<'de>>(
    values: &mut serde_json::Deserializer<R>,
) -> serde_json::Result<bool> {
    match values.end() {
        Ok(()) => Ok(true),
        Err(error) if error.is_io() => Err(error),
        Err(_) => Ok(false),
    }
}

/// Where in the document a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    /// The value of a key that holds descriptors of this role.
    List(Role),
    /// One descriptor of this role.
    Item(Role),
    /// The value of `fsLayers`.
    FsLayers,
    /// One element of `fsLayers`.
    FsLayer,
    /// The value of `annotations` at the top.
    TopAnnotations,
    Inner,
}

/// The keys that mean something, whatever their case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Digest,
    Size,
    MediaType,
    ArtifactType,
    Annotations,
    Platform,
    Data,
    Manifests,
    Config,
    Layers,
    Blobs,
    Subject,
    FsLayers,
    BlobSum,
    Other,
}

const KEYS: [(&str, Key); 14] = [
    ("digest", Key::Digest),
    ("size", Key::Size),
    ("mediatype", Key::MediaType),
    ("artifacttype", Key::ArtifactType),
    ("annotations", Key::Annotations),
    ("platform", Key::Platform),
    ("data", Key::Data),
    ("manifests", Key::Manifests),
    ("config", Key::Config),
    ("layers", Key::Layers),
    ("blobs", Key::Blobs),
    ("subject", Key::Subject),
    ("fslayers", Key::FsLayers),
    ("blobsum", Key::BlobSum),
];

impl Key {
    fn of(text: &str) -> Self {
        KEYS.iter()
            .find(|(name, _)| folds_to(text, name))
            .map_or(Self::Other, |(_, key)| *key)
    }
}

/// Compares as Go's `encoding/json` does: simple case folding, which takes the long s (U+017F) for
/// an s and the Kelvin sign (U+212A) for a k.
pub(crate) fn folds_to(text: &str, lower: &str) -> bool {
    if text.len() == lower.len() {
        return text.eq_ignore_ascii_case(lower);
    }
    !text.is_ascii()
        && text
            .chars()
            .map(|letter| match letter {
                '\u{17f}' => 's',
                '\u{212a}' => 'k',
                other => other.to_ascii_lowercase(),
            })
            .eq(lower.chars())
}

#[derive(Debug, Default)]
struct Scan {
    document: Document,
}

impl Scan {
    fn finish(self) -> Document {
        let mut document = self.document;
        // The keys alone prove nothing: BuildKit's cache configuration has `layers` without digests,
        // an image configuration has a `config`, and zarf's has `manifests` of another sort.
        let has = |wanted: &[Role]| {
            document
                .links
                .iter()
                .any(|link| wanted.contains(&link.role))
        };
        document.shape = match document.media_type.as_deref().map(Kind::of) {
            Some(Kind::Index) => Shape::Index,
            Some(Kind::Manifest) => Shape::Manifest,
            _ if has(&[Role::Child]) => Shape::Index,
            _ if has(&[Role::Config, Role::Layer, Role::Blob]) => Shape::Manifest,
            _ => Shape::Other,
        };
        document
    }

    fn damage(&mut self, what: impl FnOnce() -> String) {
        if self.document.damage.is_none() {
            self.document.damage = Some(what().into());
        }
    }
}

/// Scans one value.
struct Node<'s> {
    scan: &'s mut Scan,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Node<'_> {
    /// A value that is neither an object nor an array stands where `self.place` is.
    fn scalar(self, what: &str) {
        match self.place {
            Place::Item(role) => self
                .scan
                .damage(|| format!("{what} where a descriptor must be, in `{}`", key_of(role))),
            Place::List(role) => self.scan.damage(|| format!("`{}` is {what}", key_of(role))),
            Place::FsLayers | Place::FsLayer => {
                self.scan.damage(|| format!("{what} in `fsLayers`"));
            }
            Place::Top => self.scan.damage(|| format!("{what}, not an object")),
            Place::TopAnnotations | Place::Inner => {}
        }
    }
}

fn key_of(role: Role) -> &'static str {
    match role {
        Role::Child => "manifests",
        Role::Config => "config",
        Role::Layer => "layers",
        Role::Blob => "blobs",
        Role::Subject => "subject",
        Role::Other => "descriptor",
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.scalar("a boolean");
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.scalar("a number");
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.scalar("a number");
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.scalar("a number");
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.scalar("a string");
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        // Go writes `null` for an empty list and for an absent object (umoci's `manifests`).
        if !matches!(self.place, Place::List(_) | Place::FsLayers) {
            self.scalar("null");
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = match self.place {
            Place::List(role) => {
                if matches!(role, Role::Config | Role::Subject) {
                    self.scan
                        .damage(|| format!("`{}` is an array", key_of(role)));
                }
                Place::Item(role)
            }
            Place::FsLayers => Place::FsLayer,
            Place::Item(role) => {
                self.scan.damage(|| {
                    format!("an array where a descriptor must be, in `{}`", key_of(role))
                });
                Place::Inner
            }
            Place::Top => {
                self.scan.damage(|| "an array, not an object".to_owned());
                Place::Inner
            }
            Place::FsLayer | Place::TopAnnotations | Place::Inner => Place::Inner,
        };
        while items
            .next_element_seed(Node {
                scan: &mut *self.scan,
                place: inner,
            })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Node { scan, place } = self;
        if place == Place::TopAnnotations {
            return top_annotations(scan, map);
        }
        let place = match place {
            Place::List(role) => {
                if !matches!(role, Role::Config | Role::Subject) {
                    scan.damage(|| format!("`{}` is an object", key_of(role)));
                }
                Place::Item(role)
            }
            other => other,
        };
        let is_top = place == Place::Top;
        let is_item = matches!(place, Place::Item(_));
        let mut candidate = Candidate::default();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            match key {
                Key::Digest => candidate.digest(map.next_value_seed(Text(&mut *scan))?),
                Key::BlobSum if matches!(place, Place::FsLayer) => {
                    candidate.digest(map.next_value_seed(Text(&mut *scan))?);
                }
                Key::Size => {
                    candidate.shaped = true;
                    candidate.size = map
                        .next_value_seed(Text(&mut *scan))?
                        .number()
                        .or(candidate.size);
                }
                Key::MediaType => {
                    let text = map.next_value_seed(Text(&mut *scan))?;
                    candidate.shaped = true;
                    if let Scalar::Text(text) = text {
                        candidate.media_type(&text);
                        if is_top {
                            scan.document.media_type = Some(text.into());
                        }
                    }
                }
                Key::ArtifactType if is_top || is_item => {
                    if let Scalar::Text(text) = map.next_value_seed(Text(&mut *scan))? {
                        if is_top {
                            scan.document.artifact_type = Some(text.into());
                        } else {
                            candidate.details.artifact_type = Some(text.into());
                        }
                    }
                }
                Key::Annotations if is_item => {
                    map.next_value_seed(Strings {
                        into: &mut candidate.details.annotations,
                    })?;
                }
                Key::Platform if is_item => {
                    candidate.details.platform = map.next_value::<PlatformSlot>()?.0;
                }
                Key::Data if !is_top => {
                    if let Scalar::Text(text) = map.next_value_seed(Text(&mut *scan))? {
                        candidate.details.data = Some(text.into());
                    }
                }
                key => {
                    let inner = if is_top { top_place(key) } else { Place::Inner };
                    map.next_value_seed(Node {
                        scan: &mut *scan,
                        place: inner,
                    })?;
                }
            }
        }
        candidate.emit(scan, place);
        Ok(())
    }
}

/// Says what the value of a key at the top holds.
const fn top_place(key: Key) -> Place {
    match key {
        Key::Manifests => Place::List(Role::Child),
        Key::Config => Place::List(Role::Config),
        Key::Layers => Place::List(Role::Layer),
        Key::Blobs => Place::List(Role::Blob),
        Key::Subject => Place::List(Role::Subject),
        Key::FsLayers => Place::FsLayers,
        Key::Annotations => Place::TopAnnotations,
        _ => Place::Inner,
    }
}

fn top_annotations<'de, A: MapAccess<'de>>(scan: &mut Scan, map: A) -> Result<(), A::Error> {
    let mut annotations = BTreeMap::new();
    Strings {
        into: &mut annotations,
    }
    .visit_map(map)?;
    if let Some(text) = annotations.get("org.opencontainers.image.base.digest") {
        scan.document.base_digest = Digest::parse(text).ok();
    }
    Ok(())
}

/// An object that may be a descriptor, while it is read.
#[derive(Debug, Default)]
struct Candidate {
    digests: Vec<Result<Digest, String>>,
    kind: Option<Kind>,
    size: Option<u64>,
    /// It has a `size` or a `mediaType`.
    shaped: bool,
    details: Details,
}

impl Candidate {
    fn digest(&mut self, value: Scalar) {
        match value {
            Scalar::Text(text) => self.digests.push(
                Digest::parse(&text).map_err(|error| format!("`{}`: {error}", shorten(&text))),
            ),
            Scalar::Number(_) | Scalar::Other => {
                self.digests.push(Err("not a string".to_owned()));
            }
        }
    }

    fn media_type(&mut self, text: &str) {
        let kind = Kind::of(text);
        self.kind = Some(match self.kind {
            Some(before) if before.is_document() => before,
            Some(Kind::Unknown) if !kind.is_document() => Kind::Unknown,
            _ => kind,
        });
        self.details.media_type = text.into();
    }

    fn emit(self, scan: &mut Scan, place: Place) {
        let (role, required) = match place {
            Place::Item(role) => (role, true),
            Place::FsLayer => (Role::Layer, true),
            Place::Top | Place::Inner if self.shaped => (Role::Other, false),
            _ => return,
        };
        let kind = match (self.kind, place) {
            // Schema 1 has no media types: its layers are gzipped tars.
            (None, Place::FsLayer) => Kind::Layer,
            (None, _) => Kind::Unknown,
            (Some(kind), _) => kind,
        };
        if required && self.digests.is_empty() {
            scan.damage(|| format!("a descriptor without digest in `{}`", key_of(role)));
        }
        let keep = role == Role::Child || self.details.data.is_some();
        let mut details = keep.then(|| Box::new(self.details));
        let count = self.digests.len();
        for (position, digest) in self.digests.into_iter().enumerate() {
            match digest {
                Ok(digest) => scan.document.links.push(Link {
                    role,
                    digest,
                    kind,
                    size: self.size,
                    details: if position + 1 == count {
                        details.take()
                    } else {
                        details.clone()
                    },
                }),
                Err(why) if required => {
                    scan.damage(|| format!("an invalid digest in `{}`: {why}", key_of(role)));
                }
                Err(_) => {}
            }
        }
    }
}

/// Cuts text from a document for a message.
fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(80) {
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}

/// Reads a key.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, text: &str) -> Result<Key, E> {
        Ok(Key::of(text))
    }
}

/// A value where a text or a number is expected. Objects and arrays in such a place are scanned like
/// any other (in-toto statements have objects under `digest`).
struct Text<'s>(&'s mut Scan);

#[derive(Debug)]
enum Scalar {
    Text(String),
    Number(u64),
    Other,
}

impl Scalar {
    fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(_) | Self::Other => None,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = Scalar;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Scalar, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text<'_> {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
        Ok(u64::try_from(number).map_or(Scalar::Other, Scalar::Number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Scalar, A::Error> {
        Node {
            scan: self.0,
            place: Place::Inner,
        }
        .visit_seq(items)?;
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Scalar, A::Error> {
        Node {
            scan: self.0,
            place: Place::Inner,
        }
        .visit_map(map)?;
        Ok(Scalar::Other)
    }
}

/// A map of strings. Of a key that is there twice the last value counts, as in Go.
struct Strings<'m> {
    into: &'m mut BTreeMap<Box<str>, Box<str>>,
}

impl<'de> DeserializeSeed<'de> for Strings<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Implements the visits of values that a visitor has no use for.
macro_rules! ignore_scalars {
    ($value:ty, $ignored:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<$value, E> {
            Ok($ignored)
        }
        fn visit_i64<E>(self, _: i64) -> Result<$value, E> {
            Ok($ignored)
        }
        fn visit_u64<E>(self, _: u64) -> Result<$value, E> {
            Ok($ignored)
        }
        fn visit_f64<E>(self, _: f64) -> Result<$value, E> {
            Ok($ignored)
        }
        fn visit_unit<E>(self) -> Result<$value, E> {
            Ok($ignored)
        }
    };
}

impl<'de> Visitor<'de> for Strings<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("annotations")
    }

    ignore_scalars!((), ());

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Box<str>>()? {
            if let MaybeText(Some(value)) = map.next_value()? {
                self.into.insert(key, value);
            }
        }
        Ok(())
    }
}

/// A string, or anything else as `None`.
struct MaybeText(Option<Box<str>>);

impl<'de> serde::Deserialize<'de> for MaybeText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = MaybeText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            ignore_scalars!(MaybeText, MaybeText(None));

            fn visit_str<E>(self, text: &str) -> Result<MaybeText, E> {
                Ok(MaybeText(Some(text.into())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<MaybeText, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(MaybeText(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MaybeText, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(MaybeText(None))
            }
        }

        deserializer.deserialize_any(TextVisitor)
    }
}

/// A platform object, or anything else as `None`.
struct PlatformSlot(Option<PlatformView>);

impl<'de> serde::Deserialize<'de> for PlatformSlot {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PlatformVisitor;

        impl<'de> Visitor<'de> for PlatformVisitor {
            type Value = PlatformSlot;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a platform")
            }

            ignore_scalars!(PlatformSlot, PlatformSlot(None));

            fn visit_str<E>(self, _: &str) -> Result<PlatformSlot, E> {
                Ok(PlatformSlot(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<PlatformSlot, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(PlatformSlot(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PlatformSlot, A::Error> {
                let mut platform = PlatformView::default();
                while let Some(key) = map.next_key::<Cow<'_, str>>()? {
                    let is = |name| folds_to(&key, name);
                    if is("os.features") {
                        platform.os_features = map.next_value::<Features>()?.0;
                        continue;
                    }
                    let MaybeText(value) = map.next_value()?;
                    if is("os") {
                        platform.os = value.unwrap_or_default();
                    } else if is("architecture") {
                        platform.architecture = value.unwrap_or_default();
                    } else if is("variant") {
                        platform.variant = value.filter(|text| !text.is_empty());
                    } else if is("os.version") {
                        platform.os_version = value.filter(|text| !text.is_empty());
                    }
                }
                Ok(PlatformSlot(Some(platform)))
            }
        }

        deserializer.deserialize_any(PlatformVisitor)
    }
}

/// A list of strings, or anything else as empty.
struct Features(Vec<Box<str>>);

impl<'de> serde::Deserialize<'de> for Features {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FeaturesVisitor;

        impl<'de> Visitor<'de> for FeaturesVisitor {
            type Value = Features;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of features")
            }

            ignore_scalars!(Features, Features(Vec::new()));

            fn visit_str<E>(self, _: &str) -> Result<Features, E> {
                Ok(Features(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Features, A::Error> {
                let mut features = Vec::new();
                while let Some(MaybeText(item)) = items.next_element()? {
                    features.extend(item);
                }
                Ok(Features(features))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Features, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Features(Vec::new()))
            }
        }

        deserializer.deserialize_any(FeaturesVisitor)
    }
}

/// Decodes the `data` of a descriptor: standard base64 of RFC 4648 with padding, as `descriptor.md`
/// demands. `None` for anything else.
#[must_use]
pub fn decode_data(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    if text.len() % 4 != 0 || text.len() - body.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(body.len() / 4 * 3 + 2);
    for group in body.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for &letter in group {
            bits = (bits << 6) | sextet(letter)?;
        }
        let missing = 4 - group.len();
        bits <<= 6 * missing;
        let [_, high, middle, low] = bits.to_be_bytes();
        bytes.extend([high, middle, low].iter().take(3 - missing));
    }
    Some(bytes)
}

fn sextet(letter: u8) -> Option<u32> {
    let value = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// A reader that shortens the strings of a JSON text, so that a blob of any size is scanned in
/// bounded memory. No digest, media type or key is longer than what is kept.
struct ShortStrings<R> {
    inner: R,
    in_string: bool,
    /// The rest of this string is dropped.
    cutting: bool,
    /// Bytes of an escape that are still to come.
    escape_left: u8,
    /// The character before was a `\u` escape, perhaps the first half of a surrogate pair.
    after_unicode: bool,
    length: usize,
}

/// Bytes of a string that are passed on, if the text can be cut there without changing the meaning
/// of what follows.
const SHORT_STRING_BYTES: usize = 4096;

/// Bytes after which a string is cut even between the halves of a surrogate pair. The scan then
/// fails, which keeps everything.
const LONG_STRING_BYTES: usize = 1 << 20;

impl<R> ShortStrings<R> {
    const fn new(inner: R) -> Self {
        Self {
            inner,
            in_string: false,
            cutting: false,
            escape_left: 0,
            after_unicode: false,
            length: 0,
        }
    }

    /// Says whether `byte` is passed on.
    const fn passes(&mut self, byte: u8) -> bool {
        if !self.in_string {
            if byte == b'"' {
                self.in_string = true;
                self.cutting = false;
                self.after_unicode = false;
                self.length = 0;
            }
            return true;
        }
        self.length = self.length.saturating_add(1);
        if self.escape_left > 0 {
            self.escape_left -= 1;
            if self.escape_left == 0 && byte == b'u' && !self.after_unicode {
                self.escape_left = 4;
                self.after_unicode = true;
            }
            return !self.cutting;
        }
        if byte == b'"' {
            self.in_string = false;
            return true;
        }
        let starts_character = byte < 0x80 || byte >= 0xc0;
        if starts_character {
            self.cutting = self.cutting
                || (self.length > SHORT_STRING_BYTES && !self.after_unicode)
                || self.length > LONG_STRING_BYTES;
            self.after_unicode = false;
        }
        if byte == b'\\' {
            self.escape_left = 1;
        }
        !self.cutting
    }
}

impl<R: io::Read> io::Read for ShortStrings<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.inner.read(buffer)?;
            if read == 0 {
                return Ok(0);
            }
            let mut kept = 0;
            for position in 0..read {
                let Some(&byte) = buffer.get(position) else {
                    break;
                };
                if self.passes(byte) {
                    if let Some(slot) = buffer.get_mut(kept) {
                        *slot = byte;
                    }
                    kept += 1;
                }
            }
            if kept > 0 {
                return Ok(kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const C: &str = "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";

    fn fill(text: &str) -> String {
        text.replace("$A", A).replace("$B", B).replace("$C", C)
    }

    /// Scans both ways and returns `role letter` pairs such as `C a`.
    fn links(text: &str) -> Vec<(Role, char)> {
        let text = fill(text);
        let document = Document::scan(text.as_bytes()).expect("the case is valid JSON");
        let (streamed, result) = Document::scan_stream(text.as_bytes());
        result.expect("the case is valid JSON");
        assert_eq!(document, streamed, "{text}");
        document
            .links
            .iter()
            .map(|link| {
                (
                    link.role,
                    link.digest.encoded().chars().next().unwrap_or(' '),
                )
            })
            .collect()
    }

    #[test]
    fn finds_every_reference_in_odd_spellings() {
        use Role::{Blob, Child, Config, Layer, Other, Subject};
        let cases: &[(&str, &[(Role, char)])] = &[
            (
                r#"{"manifests":[{"digest":"$A"},{"digest":"$B"}]}"#,
                &[(Child, 'a'), (Child, 'b')],
            ),
            (
                r#"{"Manifests":[{"Digest":"$A"}],"MANIFESTS":[{"DIGEST":"$B"}]}"#,
                &[(Child, 'a'), (Child, 'b')],
            ),
            (
                r#"{"layers":[{"digest":"$A"}],"layers":[{"digest":"$B"}]}"#,
                &[(Layer, 'a'), (Layer, 'b')],
            ),
            (
                r#"{"layers":[{"digest":"$A","digest":"$B"}]}"#,
                &[(Layer, 'a'), (Layer, 'b')],
            ),
            ("{\"layer\u{17f}\":[{\"digest\":\"$A\"}]}", &[(Layer, 'a')]),
            (r#"{"\u006cayers":[{"digest":"$A"}]}"#, &[(Layer, 'a')]),
            (
                r#"{"config":{"digest":"$A"},"layers":null,"subject":{"digest":"$B"}}"#,
                &[(Config, 'a'), (Subject, 'b')],
            ),
            (r#"{"blobs":[{"digest":"$A"}]}"#, &[(Blob, 'a')]),
            (
                r#"{"fsLayers":[{"blobSum":"$A"},{"blobSum":"$B"}]}"#,
                &[(Layer, 'a'), (Layer, 'b')],
            ),
            (r#"{"x":{"y":[{"digest":"$A","size":1}]}}"#, &[(Other, 'a')]),
            (r#"{"x":{"digest":"$A","mediaType":"t"}}"#, &[(Other, 'a')]),
            (r#"{"x":{"digest":"$A"}}"#, &[]),
            (r#"[{"digest":"$A","size":1}]"#, &[(Other, 'a')]),
            (r#"{"digest":"$A","size":1}"#, &[(Other, 'a')]),
            (
                r#"{"layers":[{"digest":"$A","x":{"digest":"$B","size":1}}]}"#,
                &[(Other, 'b'), (Layer, 'a')],
            ),
            (
                r#"{"subject":[{"name":"x","digest":{"sha256":"00"}}]}"#,
                &[],
            ),
            (
                r#"{"config":{"Labels":{"a":"b"}},"rootfs":{"diff_ids":["$A"]}}"#,
                &[],
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(links(text), *expected, "{text}");
        }
    }

    #[test]
    fn a_document_kind_wins_over_a_leaf_in_duplicated_media_types() {
        let index = "application/vnd.oci.image.index.v1+json";
        let layer = "application/vnd.oci.image.layer.v1.tar";
        for (first, second) in [(index, layer), (layer, index)] {
            let text = format!(
                r#"{{"layers":[{{"mediaType":"{first}","digest":"{A}","mediaType":"{second}"}}]}}"#
            );
            let document = Document::scan(text.as_bytes()).expect("valid");
            assert_eq!(document.links[0].kind, Kind::Index, "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong_in_a_manifest() {
        let cases = [
            (
                r#"{"layers":[{"digest":"sha256:../../x"}]}"#,
                "an invalid digest in `layers`",
            ),
            (
                r#"{"config":{},"layers":[]}"#,
                "a descriptor without digest in `config`",
            ),
            (
                r#"{"manifests":["$A"]}"#,
                "a string where a descriptor must be",
            ),
            (r#"{"manifests":[null]}"#, "null where a descriptor must be"),
            (
                r#"{"manifests":{"digest":"$A"}}"#,
                "`manifests` is an object",
            ),
            (r#"{"config":[{"digest":"$A"}]}"#, "`config` is an array"),
            (r#"{"layers":"x"}"#, "`layers` is a string"),
            (r#"{"layers":[{"digest":7}]}"#, "not a string"),
            ("[]", "an array, not an object"),
            ("3", "a number, not an object"),
        ];
        for (text, expected) in cases {
            let document = Document::scan(fill(text).as_bytes()).expect("valid JSON");
            let damage = document.damage.unwrap_or_default();
            assert!(damage.contains(expected), "{text}: {damage}");
        }
        for text in [
            r#"{"manifests":null}"#,
            r#"{"layers":null,"config":{"digest":"$A"}}"#,
        ] {
            let document = Document::scan(fill(text).as_bytes()).expect("valid JSON");
            assert_eq!(document.damage, None, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_one_document() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for text in [
            "",
            " ",
            "{",
            "{} {}",
            "nul",
            "\u{feff}{}",
            "{\"a\":}",
            &deep,
        ] {
            assert!(Document::scan(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(Document::scan(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn streams_json_lines_and_strings_of_any_length() {
        let long = "x".repeat(100_000);
        let escapes = "\\n\\\\".repeat(20_000);
        let wide = "\u{20ac}".repeat(20_000);
        let pairs = "\\ud83d\\ude00".repeat(2_000) + &long;
        let text = format!(
            "{{\"a\":\"{long}\",\"b\":\"{escapes}\",\"c\":\"{wide}\",\"d\":\"{pairs}\",\"e\":{{\"digest\":\"{A}\",\"size\":1}}}}\n{{\"digest\":\"{B}\",\"size\":2}}\n"
        );
        let (document, result) = Document::scan_stream(text.as_bytes());
        result.expect("JSON lines");
        assert_eq!(document.links.len(), 2);
        let text = format!("{{\"digest\":\"{A}\",\"size\":1}} x");
        let (document, result) = Document::scan_stream(text.as_bytes());
        assert!(result.is_err());
        assert_eq!(
            document.links.len(),
            1,
            "what was found before the end counts"
        );
    }

    #[test]
    fn tells_documents_by_their_content() {
        let cases = [
            (r#"{"manifests":[]}"#, Shape::Other),
            (
                r#"{"manifests":[{"name":"x","files":["a.yaml"]}]}"#,
                Shape::Other,
            ),
            (r#"{"manifests":[{"digest":"$A"}]}"#, Shape::Index),
            (r#"{"config":{"digest":"$A"},"layers":[]}"#, Shape::Manifest),
            (
                r#"{"layers":[{"blob":"$A","parent":-1}],"records":[]}"#,
                Shape::Other,
            ),
            (r#"{"config":{"Cmd":["sh"]},"rootfs":{}}"#, Shape::Other),
            (
                r#"{"mediaType":"application/vnd.oci.image.index.v1+json"}"#,
                Shape::Index,
            ),
            ("{}", Shape::Other),
        ];
        for (text, shape) in cases {
            let document = Document::scan(fill(text).as_bytes()).expect("valid");
            assert_eq!(document.shape, shape, "{text}");
        }
    }

    #[test]
    fn keeps_the_details_of_children() {
        let text = fill(
            r#"{"manifests":[{"mediaType":"m","digest":"$A","size":7,"platform":{"os":"linux","architecture":"arm","variant":"v7","os.version":"1","os.features":["f",1]},"annotations":{"k":"v","n":1,"o":{}},"artifactType":"t"}]}"#,
        );
        let document = Document::scan(text.as_bytes()).expect("valid");
        let link = &document.links[0];
        let details = link.details.as_ref().expect("children have details");
        assert_eq!(link.size, Some(7));
        assert_eq!(&*details.media_type, "m");
        assert_eq!(details.artifact_type.as_deref(), Some("t"));
        assert_eq!(details.annotations.len(), 1);
        let platform = details.platform.as_ref().expect("it has one");
        assert_eq!(&*platform.os, "linux");
        assert_eq!(platform.variant.as_deref(), Some("v7"));
        assert_eq!(platform.os_version.as_deref(), Some("1"));
        assert_eq!(platform.os_features.len(), 1);
    }

    #[test]
    fn decodes_base64_as_rfc_4648_does() {
        let cases = [
            ("", Some("")),
            ("Zg==", Some("f")),
            ("Zm8=", Some("fo")),
            ("Zm9v", Some("foo")),
            ("Zm9vYg==", Some("foob")),
            ("Zm9vYmE=", Some("fooba")),
            ("Zm9vYmFy", Some("foobar")),
            ("e30=", Some("{}")),
            ("Zg=", None),
            ("Zg", None),
            ("Z===", None),
            ("Zm9v Zg==", None),
            ("Zm9-", None),
        ];
        for (text, expected) in cases {
            let decoded =
                decode_data(text).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            assert_eq!(decoded.as_deref(), expected, "{text}");
        }
    }
}
