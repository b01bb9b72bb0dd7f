//! Reports that describe content and hold none.
//!
//! A statement of provenance, a bill of materials or a list of vulnerabilities repeats the descriptors of the image that it is
//! about, base images and build caches included. It can be read without any of those blobs, so following them would keep
//! garbage for ever. A report is recognised by the fields that its format demands at the top; anything else is followed.

/// A field by which a report is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// in-toto: `_type`.
    StatementType,
    /// in-toto: `predicateType`.
    PredicateType,
    /// SPDX 2: `spdxVersion`.
    SpdxVersion,
    /// SPDX 2: `SPDXID`.
    SpdxId,
    /// SPDX 3: `@context`.
    Context,
    /// SPDX 3: `@graph`.
    Elements,
    /// CycloneDX: `bomFormat`.
    BomFormat,
    /// CycloneDX: `specVersion`.
    SpecVersion,
    /// syft: `url` in `schema`.
    SchemaUrl,
    /// syft: `artifacts`.
    Artifacts,
    /// syft: `source`.
    Source,
    /// trivy: `SchemaVersion`.
    SchemaVersion,
    /// trivy: `ArtifactName`.
    ArtifactName,
    /// trivy: `Results`.
    Results,
    /// trivy: `Metadata`.
    Metadata,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'v> {
    Text(&'v str),
    Number,
    Array,
    Object,
    Other,
}

impl Mark {
    /// Returns the field of a key at the top.
    pub(super) fn of(key: &str) -> Option<Self> {
        Some(match key {
            "_type" => Self::StatementType,
            "predicateType" => Self::PredicateType,
            "spdxVersion" => Self::SpdxVersion,
            "SPDXID" => Self::SpdxId,
            "@context" => Self::Context,
            "@graph" => Self::Elements,
            "bomFormat" => Self::BomFormat,
            "specVersion" => Self::SpecVersion,
            "artifacts" => Self::Artifacts,
            "source" => Self::Source,
            "SchemaVersion" => Self::SchemaVersion,
            "ArtifactName" => Self::ArtifactName,
            "Results" => Self::Results,
            "Metadata" => Self::Metadata,
            _ => return None,
        })
    }

    /// Returns `true` if the field holds what the format demands.
    fn holds(self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::StatementType, Value::Text(text)) => {
                text.starts_with("https://in-toto.io/Statement/")
            }
            (Self::SpdxVersion, Value::Text(text)) => text.starts_with("SPDX-"),
            (Self::Context, Value::Text(text)) => text.starts_with("https://spdx.org/rdf/"),
            (Self::BomFormat, Value::Text(text)) => text == "CycloneDX",
            (Self::SchemaUrl, Value::Text(text)) => text.contains("/anchore/syft/"),
            (
                Self::PredicateType | Self::SpdxId | Self::SpecVersion | Self::ArtifactName,
                Value::Text(_),
            )
            | (Self::SchemaVersion, Value::Number)
            | (Self::Elements | Self::Artifacts | Self::Results, Value::Array)
            | (Self::Source | Self::Metadata, Value::Object) => true,
            _ => false,
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// The fields that were found in a document.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marks(u16);

impl Marks {
    pub(super) fn note(&mut self, mark: Mark, value: Value<'_>) {
        if mark.holds(value) {
            self.0 |= mark.bit();
        }
    }

    /// Returns `true` if the document has every field that one of the formats demands.
    pub(super) fn is_report(self) -> bool {
        let formats: [&[Mark]; 7] = [
            &[Mark::StatementType, Mark::PredicateType],
            &[Mark::SpdxVersion, Mark::SpdxId],
            &[Mark::Context, Mark::Elements],
            &[Mark::BomFormat, Mark::SpecVersion],
            &[Mark::SchemaUrl, Mark::Artifacts, Mark::Source],
            &[Mark::SchemaVersion, Mark::ArtifactName, Mark::Results],
            &[Mark::SchemaVersion, Mark::ArtifactName, Mark::Metadata],
        ];
        formats
            .iter()
            .any(|marks| marks.iter().all(|mark| self.0 & mark.bit() != 0))
    }
}
