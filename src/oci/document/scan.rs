//! The scan of one JSON value: a visitor that knows where it is, and finds references there.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::values::{PlatformSlot, Strings};
use super::{Details, Document, Link, Role, Shape};
use crate::oci::digest::Digest;
use crate::oci::media_type::{Kind, is_nondistributable};

/// Where in the document a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
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
    /// The value of `urls`.
    Urls,
    /// One element of `urls`.
    Url,
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
    Urls,
    Other,
}

const KEYS: [(&str, Key); 15] = [
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
    ("urls", Key::Urls),
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
pub(super) struct Scan {
    document: Document,
    /// There was a URL in the last `urls`.
    has_url: bool,
}

impl Scan {
    pub(super) fn finish(self) -> Document {
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
pub(super) struct Node<'s> {
    pub(super) scan: &'s mut Scan,
    pub(super) place: Place,
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
            Place::TopAnnotations | Place::Urls | Place::Url | Place::Inner => {}
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

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.scan.has_url |= self.place == Place::Url && !text.is_empty();
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
            Place::Urls => Place::Url,
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
            Place::FsLayer | Place::TopAnnotations | Place::Url | Place::Inner => Place::Inner,
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
                Key::Urls if is_item => {
                    scan.has_url = false;
                    map.next_value_seed(Node {
                        scan: &mut *scan,
                        place: Place::Urls,
                    })?;
                    candidate.is_foreign |= scan.has_url;
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
    is_foreign: bool,
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
        self.is_foreign |= is_nondistributable(text);
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
            Place::Top | Place::Inner | Place::Urls | Place::Url if self.shaped => {
                (Role::Other, false)
            }
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
                    is_foreign: self.is_foreign,
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
