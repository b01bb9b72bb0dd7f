//! Reports that describe content and reference none.
//!
//! A statement of provenance, a bill of materials or a list of vulnerabilities repeats the descriptors of its subject, base images
//! and build caches included. It is complete without any of those blobs, so following them would keep garbage for ever. A
//! report is recognised by the fields that its format requires at the top; anything else is followed.

/// What a field must hold.
#[derive(Debug, Clone, Copy)]
enum FieldRule {
    Is(&'static str),
    Begins(&'static str),
    Contains(&'static str),
    Text,
    Number,
    Array,
    Object,
}

/// The keys by which reports are recognised, and what they must hold. The first one is the key `url` in `schema`, the others are
/// at the top.
const FIELDS: [(&str, FieldRule); 15] = [
    ("schema.url", FieldRule::Contains("/anchore/syft/")),
    ("_type", FieldRule::Begins("https://in-toto.io/Statement/")),
    ("predicateType", FieldRule::Text),
    ("spdxVersion", FieldRule::Begins("SPDX-")),
    ("SPDXID", FieldRule::Text),
    ("@context", FieldRule::Begins("https://spdx.org/rdf/")),
    ("@graph", FieldRule::Array),
    ("bomFormat", FieldRule::Is("CycloneDX")),
    ("specVersion", FieldRule::Text),
    ("artifacts", FieldRule::Array),
    ("source", FieldRule::Object),
    ("SchemaVersion", FieldRule::Number),
    ("ArtifactName", FieldRule::Text),
    ("Results", FieldRule::Array),
    ("Metadata", FieldRule::Object),
];

/// The fields that each format requires: in-toto, SPDX 2, SPDX 3, CycloneDX, syft, and two of trivy.
const FORMATS: [&[&str]; 7] = [
    &["_type", "predicateType"],
    &["spdxVersion", "SPDXID"],
    &["@context", "@graph"],
    &["bomFormat", "specVersion"],
    &["schema.url", "artifacts", "source"],
    &["SchemaVersion", "ArtifactName", "Results"],
    &["SchemaVersion", "ArtifactName", "Metadata"],
];

/// A field by which a report is recognised: its position in [`FIELDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(usize);

/// The value of a field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'v> {
    Text(&'v str),
    Number,
    Array,
    Object,
    Other,
}

impl Mark {
    /// `url` in `schema`.
    pub(super) const SCHEMA_URL: Self = Self(0);

    /// Returns the field of a key at the top.
    pub(super) fn of(key: &str) -> Option<Self> {
        let position = FIELDS.iter().position(|(field, _)| *field == key)?;
        Some(Self(position)).filter(|mark| *mark != Self::SCHEMA_URL)
    }

    /// Returns `true` if the field holds what the format requires.
    fn holds(self, value: Value<'_>) -> bool {
        let rule = FIELDS.get(self.0).map(|(_, rule)| *rule);
        match (rule, value) {
            (Some(FieldRule::Is(wanted)), Value::Text(text)) => text == wanted,
            (Some(FieldRule::Begins(start)), Value::Text(text)) => text.starts_with(start),
            (Some(FieldRule::Contains(part)), Value::Text(text)) => text.contains(part),
            (Some(FieldRule::Text), Value::Text(_))
            | (Some(FieldRule::Number), Value::Number)
            | (Some(FieldRule::Array), Value::Array)
            | (Some(FieldRule::Object), Value::Object) => true,
            _ => false,
        }
    }
}

/// The fields that were found in a document, one bit each.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marks(u16);

impl Marks {
    pub(super) fn note(&mut self, mark: Mark, value: Value<'_>) {
        if mark.holds(value) {
            self.0 |= 1 << mark.0;
        }
    }

    /// Returns `true` if the document has every field that one of the formats requires.
    pub(super) fn is_report(self) -> bool {
        let has = |key: &&str| {
            let mut fields = FIELDS.iter().enumerate();
            fields.any(|(position, (field, _))| field == key && self.0 & (1 << position) != 0)
        };
        self.0 != 0 && FORMATS.iter().any(|fields| fields.iter().all(has))
    }
}
