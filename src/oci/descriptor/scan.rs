//! The scan of JSON values: tracks the place of each value in a document and finds the references.
//!
//! *Promise*: no recursion over input. A level of nesting costs one bit and, down to [`MAX_FRAME_DEPTH`], the state of an
//! object that may be a descriptor. Below that no state is kept, and every digest counts as a reference.

use std::borrow::Cow;
use std::io::BufRead;
use std::ops::Range;

use super::digests::Digests;
use super::keys::{Key, PlatformKey};
use super::lexer::{Keep, Lexer, ScanError};
use super::named_blob::{BASE_DIGEST, is_subject_key, named_blob};
use super::nesting::Levels;
use super::report::{Mark, Marks, Value};
use super::{Details, Document, Link, Role, Shape};
use crate::oci::digest::Digest;
use crate::oci::media_type::{Kind, is_nondistributable};
use crate::oci::platform::Platform;

/// The depth to which the state of objects is kept. Readers in Go give up at 10,000 levels.
const MAX_FRAME_DEPTH: usize = 1 << 16;

/// The place of a value in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValuePlace {
    Top,
    /// The value of a key that holds descriptors of this role.
    List(Role),
    /// One descriptor of this role.
    Item(Role),
    /// The value of `fsLayers`.
    FsLayers,
    /// One element of `fsLayers`.
    FsLayer,
    /// The value of `annotations`.
    Annotations,
    /// The value of `platform` in a descriptor of a known role.
    Platform,
    /// The value of `os.features`.
    Features,
    /// The value of `urls`.
    Urls,
    /// One element of `urls`.
    Url,
    /// The value of `schema` at the top.
    Schema,
    Inner,
}

/// What the next value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// A value at this place.
    At(ValuePlace),
    /// A field of the open object. An object or array there is scanned like any other (in-toto statements have objects under
    /// `digest`).
    Digest,
    Size,
    MediaType,
    ArtifactType,
    Data,
    /// The value of the annotation whose key was read last.
    Annotation,
    PlatformText(PlatformKey),
    Feature,
    /// A field by which a report is recognised.
    Mark(Mark),
}

/// A value that is neither an object nor an array. A string is the last string of the lexer.
#[derive(Debug, Clone, Copy)]
enum Scalar {
    Text,
    Number(Option<u64>),
    Boolean,
    Null,
}

impl Scalar {
    const fn describe(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Number(_) => "a number",
            Self::Boolean => "a boolean",
            Self::Null => "null",
        }
    }
}

/// The state of an open container. One at [`ValuePlace::Inner`] gets a frame at the first key that a descriptor may have.
#[derive(Debug)]
struct Frame {
    /// The number of open containers, including this one.
    depth: usize,
    place: ValuePlace,
    candidate: MaybeDescriptor,
}

/// A scan of one or more values.
#[derive(Debug, Default)]
pub(super) struct Scan {
    document: Document,
    marks: Marks,
    values: usize,
    levels: Levels,
    frames: Vec<Frame>,
    /// The key of the current annotation.
    annotation: String,
    /// Only references are wanted, and of the details of a descriptor only its `data`.
    is_lean: bool,
}

impl Scan {
    /// Returns a scan that finds the same references, without their details.
    pub(super) fn lean() -> Self {
        Self {
            is_lean: true,
            ..Self::default()
        }
    }

    /// Resets the scan, and keeps its allocations.
    pub(super) fn restart(&mut self) {
        self.document.links.clear();
        self.document = Document {
            links: std::mem::take(&mut self.document.links),
            ..Document::default()
        };
        self.marks = Marks::default();
        self.values = 0;
        self.levels.clear();
        self.frames.clear();
    }

    /// Returns the references of a complete value that was not at the top, and why it is damaged.
    pub(super) fn references(&mut self) -> (&mut Vec<Link>, Option<Box<str>>) {
        (&mut self.document.links, self.document.damage.take())
    }

    pub(super) fn finish(self) -> Document {
        let mut document = self.document;
        // The keys alone prove nothing: BuildKit's cache configuration has `layers` without digests, an image configuration
        // has a `config`, and a file of zarf has other `manifests`.
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
        let is_report = self.values == 1
            && self.marks.is_report()
            && document.shape == Shape::Other
            && !has(&[Role::Subject]);
        if is_report {
            document.links = Vec::new();
        }
        document
    }

    fn damage(&mut self, what: impl FnOnce() -> String) {
        if self.document.damage.is_none() {
            self.document.damage = Some(what().into());
        }
    }

    /// Scans one value.
    ///
    /// # Errors
    /// If the input is not JSON, cannot be read, or has more than `limit` levels.
    pub(super) fn value<R: BufRead>(
        &mut self,
        lexer: &mut Lexer<R>,
        place: ValuePlace,
        limit: usize,
    ) -> Result<(), ScanError> {
        self.values += 1;
        let mut slot = Slot::At(place);
        loop {
            let scalar = match lexer.take_next()? {
                bracket @ (b'{' | b'[') => {
                    self.open(slot, bracket == b'{');
                    None
                }
                b'"' => {
                    lexer.string(self.kept_of(slot, lexer))?;
                    Some(Scalar::Text)
                }
                b't' => lexer.word(b"rue").map(|()| Some(Scalar::Boolean))?,
                b'f' => lexer.word(b"alse").map(|()| Some(Scalar::Boolean))?,
                b'n' => lexer.word(b"ull").map(|()| Some(Scalar::Null))?,
                first @ (b'-' | b'0'..=b'9') => Some(Scalar::Number(lexer.number(first)?)),
                _ => return Err(lexer.error("no JSON value")),
            };
            if let Some(scalar) = scalar {
                self.scalar(slot, scalar, lexer);
            }
            if self.levels.depth > limit {
                return Err(ScanError::TooDeep { limit });
            }
            match self.after(lexer, scalar.is_none())? {
                Some(next) => slot = next,
                None => return Ok(()),
            }
        }
    }

    /// Reads up to the next value and closes the containers that end before it. Returns `None` if the outermost value is
    /// complete.
    fn after<R: BufRead>(
        &mut self,
        lexer: &mut Lexer<R>,
        mut is_open: bool,
    ) -> Result<Option<Slot>, ScanError> {
        while let Some(is_object) = self.levels.is_object() {
            let end = if is_object { b'}' } else { b']' };
            let byte = lexer.next()?.ok_or_else(|| lexer.error("unexpected end"))?;
            if byte == end {
                lexer.take()?;
                self.close();
                is_open = false;
                continue;
            }
            // No comma precedes the first value.
            if !is_open && lexer.take()? != b',' {
                return Err(lexer.error("no `,` after a value"));
            }
            if !is_object {
                return Ok(Some(self.element()));
            }
            if lexer.take_next()? != b'"' {
                return Err(lexer.error("no key in an object"));
            }
            let place = self.place();
            let keep = match place {
                ValuePlace::Annotations => lexer.text_limit(),
                _ => Keep::KEY,
            };
            lexer.string(keep)?;
            let slot = self.member(place, lexer);
            if lexer.take_next()? != b':' {
                return Err(lexer.error("no `:` after a key"));
            }
            return Ok(Some(slot));
        }
        Ok(None)
    }

    /// Returns the frame of the innermost container.
    fn frame(&mut self) -> Option<&mut Frame> {
        let depth = self.levels.depth;
        self.frames.last_mut().filter(|frame| frame.depth == depth)
    }

    fn place(&mut self) -> ValuePlace {
        self.frame().map_or(ValuePlace::Inner, |frame| frame.place)
    }

    /// Returns the object that is this number of containers above: a descriptor above its `annotations`, `platform` or `urls`.
    fn owner(&mut self, above: usize) -> Option<&mut MaybeDescriptor> {
        let position = self.frames.len().checked_sub(above + 1)?;
        self.frames
            .get_mut(position)
            .map(|frame| &mut frame.candidate)
    }

    /// Returns the details of the innermost object, to store a part of them; `None` if they are not wanted.
    fn details(&mut self) -> Option<&mut Details> {
        if self.is_lean {
            return None;
        }
        self.owner(0).map(MaybeDescriptor::details)
    }

    /// Returns the platform of the descriptor that is this number of containers above.
    fn platform(&mut self, above: usize) -> Option<&mut Platform> {
        self.owner(above)?.details.as_mut()?.platform.as_mut()
    }

    fn push_frame(&mut self, place: ValuePlace) {
        self.frames.push(Frame {
            depth: self.levels.depth,
            place,
            candidate: MaybeDescriptor::default(),
        });
    }

    /// Returns the place of an object or array, and records that it is not the string that a field should hold.
    fn place_of(&mut self, slot: Slot, value: Value<'_>) -> ValuePlace {
        match slot {
            Slot::At(place) => return place,
            Slot::Digest => self.no_digest(),
            Slot::PlatformText(PlatformKey::Features) if matches!(value, Value::Array) => {
                if let Some(platform) = self.platform(1) {
                    platform.os_features = Vec::new();
                }
                return ValuePlace::Features;
            }
            Slot::Mark(mark) => self.marks.note(mark, value),
            Slot::Size
            | Slot::MediaType
            | Slot::ArtifactType
            | Slot::Data
            | Slot::Annotation
            | Slot::PlatformText(_)
            | Slot::Feature => {}
        }
        ValuePlace::Inner
    }

    fn open(&mut self, slot: Slot, is_object: bool) {
        let value = if is_object {
            Value::Object
        } else {
            Value::Array
        };
        let place = match (self.place_of(slot, value), is_object) {
            (ValuePlace::List(role), true) => {
                if !matches!(role, Role::Config | Role::Subject) {
                    self.damage(|| format!("`{}` is an object", key_of(role)));
                }
                ValuePlace::Item(role)
            }
            (place @ ValuePlace::List(role), false) => {
                if matches!(role, Role::Config | Role::Subject) {
                    self.damage(|| format!("`{}` is an array", key_of(role)));
                }
                place
            }
            (ValuePlace::Item(role), false) => {
                self.damage(|| {
                    format!("an array where a descriptor must be, in `{}`", key_of(role))
                });
                ValuePlace::Inner
            }
            (ValuePlace::Top, false) => {
                self.damage(|| "an array, not an object".to_owned());
                ValuePlace::Inner
            }
            (ValuePlace::Platform, true) => {
                if let Some(details) = self.details() {
                    details.platform = Some(Platform::default());
                }
                ValuePlace::Platform
            }
            (
                place @ (ValuePlace::Top
                | ValuePlace::Item(_)
                | ValuePlace::FsLayer
                | ValuePlace::Annotations
                | ValuePlace::Schema),
                true,
            )
            | (place @ (ValuePlace::FsLayers | ValuePlace::Features | ValuePlace::Urls), false) => {
                place
            }
            (
                ValuePlace::FsLayers
                | ValuePlace::Features
                | ValuePlace::Urls
                | ValuePlace::Url
                | ValuePlace::Inner,
                true,
            )
            | (
                ValuePlace::FsLayer
                | ValuePlace::Annotations
                | ValuePlace::Platform
                | ValuePlace::Url
                | ValuePlace::Schema
                | ValuePlace::Inner,
                false,
            ) => ValuePlace::Inner,
        };
        self.levels.push(is_object);
        if place != ValuePlace::Inner {
            self.push_frame(place);
        }
    }

    fn close(&mut self) {
        let depth = self.levels.depth;
        self.levels.pop();
        if let Some(frame) = self.frames.pop_if(|frame| frame.depth == depth) {
            frame.candidate.emit(self, frame.place);
        }
    }

    /// Returns the meaning of an element of the innermost array.
    fn element(&mut self) -> Slot {
        match self.place() {
            ValuePlace::List(role) => Slot::At(ValuePlace::Item(role)),
            ValuePlace::FsLayers => Slot::At(ValuePlace::FsLayer),
            ValuePlace::Urls => Slot::At(ValuePlace::Url),
            ValuePlace::Features => Slot::Feature,
            _ => Slot::At(ValuePlace::Inner),
        }
    }

    /// Returns the meaning of the value of the last key in the innermost object, whose place is `place`.
    fn member<R: BufRead>(&mut self, place: ValuePlace, lexer: &Lexer<R>) -> Slot {
        let inner = Slot::At(ValuePlace::Inner);
        let key = lexer.text();
        match place {
            ValuePlace::Annotations => {
                self.annotation.clear();
                self.annotation.push_str(&key.unwrap_or(Cow::Borrowed("…")));
                // An object with the shape of a descriptor counts, even here.
                if let Key::Size | Key::MediaType = Key::of(&self.annotation)
                    && let Some(candidate) = self.owner(0)
                {
                    candidate.shaped = true;
                }
                return Slot::Annotation;
            }
            ValuePlace::Platform => {
                let key = key.as_deref().and_then(PlatformKey::of);
                return key.map_or(inner, Slot::PlatformText);
            }
            ValuePlace::Schema => {
                let is_url = key.as_deref() == Some("url");
                return if is_url {
                    Slot::Mark(Mark::SCHEMA_URL)
                } else {
                    inner
                };
            }
            _ => {}
        }
        // A key that is longer than every known key is unknown.
        let Some(key) = key else { return inner };
        let is_top = place == ValuePlace::Top;
        let is_item = matches!(place, ValuePlace::Item(_));
        let slot = match Key::of(&key) {
            Key::Digest => Slot::Digest,
            Key::BlobSum if place == ValuePlace::FsLayer => Slot::Digest,
            Key::Size => Slot::Size,
            Key::MediaType => Slot::MediaType,
            Key::ArtifactType if is_top || is_item => Slot::ArtifactType,
            Key::Annotations => Slot::At(ValuePlace::Annotations),
            Key::Platform if is_item => Slot::At(ValuePlace::Platform),
            Key::Data if !is_top => Slot::Data,
            Key::Urls if is_item => Slot::At(ValuePlace::Urls),
            known if is_top => {
                return match (top_place(known), Mark::of(&key)) {
                    (ValuePlace::Inner, Some(mark)) => Slot::Mark(mark),
                    (ValuePlace::Inner, None) if key == "schema" => Slot::At(ValuePlace::Schema),
                    (place, _) => Slot::At(place),
                };
            }
            _ => return inner,
        };
        if self.frame().is_none() {
            if self.levels.depth > MAX_FRAME_DEPTH {
                return inner;
            }
            self.push_frame(ValuePlace::Inner);
        }
        if matches!(slot, Slot::Size | Slot::MediaType)
            && let Some(frame) = self.frame()
        {
            frame.candidate.shaped = true;
        }
        slot
    }

    /// Returns the number of bytes of a string to keep.
    fn kept_of<R: BufRead>(&self, slot: Slot, lexer: &Lexer<R>) -> Keep {
        match slot {
            Slot::Digest => Keep::DIGEST,
            Slot::Data => lexer.data_limit(),
            Slot::MediaType
            | Slot::ArtifactType
            | Slot::Annotation
            | Slot::PlatformText(_)
            | Slot::Feature
            | Slot::Mark(_) => lexer.text_limit(),
            Slot::At(ValuePlace::Url) => Keep::DIGEST,
            Slot::At(ValuePlace::Inner) if self.levels.depth > MAX_FRAME_DEPTH => Keep::DIGEST,
            Slot::At(_) | Slot::Size => Keep::NOTHING,
        }
    }

    /// Records a value that is neither an object nor an array.
    fn scalar<R: BufRead>(&mut self, slot: Slot, value: Scalar, lexer: &Lexer<R>) {
        let text = match value {
            // A string that is too long to be kept has no meaning.
            Scalar::Text => lexer.text(),
            _ => None,
        };
        match slot {
            Slot::At(place) => self.scalar_at(place, value, text),
            Slot::Digest => match text {
                Some(text) => {
                    let digest = Digest::parse(&text)
                        .map_err(|error| format!("`{}`: {error}", shorten(&text)));
                    self.push_digest(digest);
                }
                None if matches!(value, Scalar::Text) => {
                    self.push_digest(Err("it is too long".to_owned()));
                }
                None => self.no_digest(),
            },
            Slot::Size => {
                if let (Scalar::Number(Some(size)), Some(candidate)) = (value, self.owner(0)) {
                    candidate.size = Some(size);
                }
            }
            Slot::MediaType => {
                let Some(text) = text else { return };
                let place = self.place();
                if let Some(candidate) = self.owner(0) {
                    candidate.media_type(&text);
                }
                if matches!(place, ValuePlace::Item(_))
                    && let Some(details) = self.details()
                {
                    details.media_type = text.as_ref().into();
                }
                if place == ValuePlace::Top {
                    self.document.media_type = Some(text.into());
                }
            }
            Slot::ArtifactType => {
                let Some(text) = text else { return };
                if self.place() == ValuePlace::Top {
                    self.document.artifact_type = Some(text.into());
                } else if let Some(details) = self.details() {
                    details.artifact_type = Some(text.into());
                }
            }
            Slot::Data => {
                if let (Some(text), Some(candidate)) = (text, self.owner(0)) {
                    candidate.details().data = Some(text.into());
                }
            }
            Slot::Annotation => {
                if let Some(text) = text {
                    if Key::of(&self.annotation) == Key::Digest {
                        self.push_digest(Digest::parse(&text).map_err(|error| error.to_string()));
                    }
                    self.annotate(&text);
                }
            }
            Slot::PlatformText(key) => {
                if let Some(platform) = self.platform(1) {
                    key.set(platform, text);
                }
            }
            Slot::Feature => {
                if let (Some(platform), Some(text)) = (self.platform(2), text) {
                    platform.os_features.push(text.into());
                }
            }
            Slot::Mark(mark) => {
                let value = match (text.as_deref(), value) {
                    (Some(text), _) => Value::Text(text),
                    (None, Scalar::Number(_)) => Value::Number,
                    (None, _) => Value::Other,
                };
                self.marks.note(mark, value);
            }
        }
    }

    fn scalar_at(&mut self, place: ValuePlace, value: Scalar, text: Option<Cow<'_, str>>) {
        match place {
            // Go writes `null` for an empty list and for an absent object (umoci's `manifests`).
            ValuePlace::List(_) | ValuePlace::FsLayers if matches!(value, Scalar::Null) => {}
            ValuePlace::Item(role) => self.damage(|| {
                let what = value.describe();
                format!("{what} where a descriptor must be, in `{}`", key_of(role))
            }),
            ValuePlace::List(role) => {
                self.damage(|| format!("`{}` is {}", key_of(role), value.describe()));
            }
            ValuePlace::FsLayers | ValuePlace::FsLayer => {
                self.damage(|| format!("{} in `fsLayers`", value.describe()));
            }
            ValuePlace::Top => self.damage(|| format!("{}, not an object", value.describe())),
            ValuePlace::Url => {
                let is_url = matches!(value, Scalar::Text) && text.is_none_or(|t| !t.is_empty());
                if is_url && let Some(owner) = self.owner(1) {
                    owner.is_foreign = true;
                }
            }
            ValuePlace::Platform => {
                if let Some(details) = self.details() {
                    details.platform = None;
                }
            }
            ValuePlace::Inner if self.levels.depth > MAX_FRAME_DEPTH => {
                let digest = text.and_then(|text| Digest::parse(&text).ok());
                if let Some(digest) = digest.filter(|digest| digest.algorithm().is_some()) {
                    self.document.links.push(Link::to(Role::Other, digest));
                }
            }
            ValuePlace::Annotations
            | ValuePlace::Features
            | ValuePlace::Urls
            | ValuePlace::Schema
            | ValuePlace::Inner => {}
        }
    }

    fn push_digest(&mut self, digest: Result<Digest, String>) {
        if let Some(candidate) = self.owner(0) {
            candidate.digests.push(digest);
        }
    }

    fn no_digest(&mut self) {
        self.push_digest(Err("not a string".to_owned()));
    }

    /// Records an annotation for the object that contains `annotations`.
    fn annotate(&mut self, text: &str) {
        let is_lean = self.is_lean;
        let position = self.frames.len().checked_sub(2);
        let Some(owner) = position.and_then(|position| self.frames.get_mut(position)) else {
            return;
        };
        owner
            .candidate
            .named
            .extend(named_blob(&self.annotation, text));
        match owner.place {
            ValuePlace::Top if self.annotation == BASE_DIGEST => {
                self.document.base_digest = Digest::parse(text).ok();
            }
            ValuePlace::Top if is_subject_key(&self.annotation) => {
                let subject = Digest::parse(text).ok();
                self.document.annotated_subjects.extend(subject);
            }
            ValuePlace::Item(_) if !is_lean => {
                let annotation = (self.annotation.as_str().into(), text.into());
                owner.candidate.annotations.push(annotation);
            }
            _ => {}
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
        Role::Annotation => "annotations",
        Role::Other => "descriptor",
    }
}

/// Returns the place of the value of a key at the top.
const fn top_place(key: Key) -> ValuePlace {
    match key {
        Key::Manifests => ValuePlace::List(Role::Child),
        Key::Config => ValuePlace::List(Role::Config),
        Key::Layers => ValuePlace::List(Role::Layer),
        Key::Blobs => ValuePlace::List(Role::Blob),
        Key::Subject => ValuePlace::List(Role::Subject),
        Key::FsLayers => ValuePlace::FsLayers,
        _ => ValuePlace::Inner,
    }
}

/// The state of an object that may be a descriptor.
#[derive(Debug, Default)]
struct MaybeDescriptor {
    digests: Digests,
    /// Blobs that its annotations reference.
    named: Vec<Digest>,
    kind: Option<Kind>,
    size: Option<u64>,
    /// It has a `size` or a `mediaType`.
    shaped: bool,
    is_foreign: bool,
    /// In the order of the document.
    annotations: Vec<(Box<str>, Box<str>)>,
    details: Option<Box<Details>>,
}

impl MaybeDescriptor {
    fn details(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }

    fn media_type(&mut self, text: &str) {
        let kind = Kind::of(text);
        self.is_foreign |= is_nondistributable(text);
        self.kind = Some(match self.kind {
            Some(before) if before.is_document() => before,
            Some(Kind::Unknown) if !kind.is_document() => Kind::Unknown,
            _ => kind,
        });
    }

    fn emit(mut self, scan: &mut Scan, place: ValuePlace) {
        let (role, required) = match place {
            ValuePlace::Item(role) => (role, true),
            ValuePlace::FsLayer => (Role::Layer, true),
            ValuePlace::Top => {
                // The annotations of a document count whatever its type.
                scan.emit_named(std::mem::take(&mut self.named), 0..0);
                if !self.shaped {
                    return;
                }
                (Role::Other, false)
            }
            ValuePlace::Inner | ValuePlace::Annotations if self.shaped => (Role::Other, false),
            _ => return,
        };
        let kind = match (self.kind, place) {
            // Schema 1 has no media types: its layers are gzipped tars.
            (None, ValuePlace::FsLayer) => Kind::Layer,
            (None, _) => Kind::Unknown,
            (Some(kind), _) => kind,
        };
        if required && self.digests.len() == 0 {
            scan.damage(|| format!("a descriptor without digest in `{}`", key_of(role)));
        }
        if !self.annotations.is_empty() {
            self.details().annotations =
                std::mem::take(&mut self.annotations).into_iter().collect();
        }
        let mut details = match role {
            Role::Child if !scan.is_lean => Some(self.details.unwrap_or_default()),
            _ => self.details.filter(|details| details.data.is_some()),
        };
        let first = scan.document.links.len();
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
        let own = first..scan.document.links.len();
        // An object without a digest is not a descriptor, unless one must be in its place.
        if required || !own.is_empty() {
            scan.emit_named(self.named, own);
        }
    }
}

impl Scan {
    /// Adds the references of annotations, except to the blobs of their own descriptor: those of the links `own`.
    fn emit_named(&mut self, named: Vec<Digest>, own: Range<usize>) {
        for digest in named {
            let own = self.document.links.get(own.clone()).unwrap_or_default();
            if !own.iter().any(|link| link.digest == digest) {
                self.document.links.push(Link::to(Role::Annotation, digest));
            }
        }
    }
}

/// Shortens a string of a document for a message.
fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(80) {
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}
