//! What kind of referrer a document is: a signature, an SBOM, an attestation, or something else.

use std::collections::BTreeMap;

use ocisweep::Snapshot;
use ocisweep::layout::BlobId;
use ocisweep::model::entries::list_entries;

/// Parts of artifact types, and the kind that they denote. The first match decides.
///
/// Sources: cosign's `pkg/types`, notation's signature specification, sigstore's bundle specification, in-toto, SPDX, CycloneDX
/// and syft media types.
const TYPES: [(&str, &str); 13] = [
    ("sbom", SBOM),
    ("spdx", SBOM),
    ("cyclonedx", SBOM),
    ("syft", SBOM),
    ("in-toto", ATTESTATION),
    ("attestation", ATTESTATION),
    ("provenance", ATTESTATION),
    ("slsa", ATTESTATION),
    ("dsse", ATTESTATION),
    ("signature", SIGNATURE),
    ("simplesigning", SIGNATURE),
    (".sig.", SIGNATURE),
    ("sigstore.bundle", SIGNATURE),
];

const SIGNATURE: &str = "signature";
const ATTESTATION: &str = "attestation";
pub(super) const SBOM: &str = "SBOM";

/// The kinds of referrers, according to the entries that list them.
pub(super) struct ReferrerKinds(BTreeMap<BlobId, &'static str>);

impl ReferrerKinds {
    /// Reads the suffixes of digest tags, and the `kind` annotations of cosign and hauler.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let mut kinds = BTreeMap::new();
        for entry in list_entries(snapshot) {
            let Some(id) = entry.id.filter(|_| !entry.about.is_empty()) else {
                continue;
            };
            let annotated = entry.details.annotations.get("kind").map(AsRef::as_ref);
            let tags = entry.names.iter().map(|name| name.text.as_ref());
            let found = annotated
                .and_then(of_annotation)
                .or_else(|| tags.filter_map(of_tag).next());
            if let Some(kind) = found {
                kinds.insert(id, kind);
            }
        }
        Self(kinds)
    }

    /// Returns the kind of a referrer: by its artifact type, else by its entry.
    pub(super) fn kind(&self, id: BlobId, artifact_type: Option<&str>) -> &'static str {
        let by_type = artifact_type.and_then(of_type);
        by_type
            .or_else(|| self.0.get(&id).copied())
            .unwrap_or("referrer")
    }
}

fn of_type(artifact_type: &str) -> Option<&'static str> {
    let lower = artifact_type.to_ascii_lowercase();
    let mut types = TYPES.into_iter();
    let known = types.find_map(|(part, kind)| lower.contains(part).then_some(kind));
    // `application/vnd.example.sig`
    known.or_else(|| of_tag(&lower))
}

/// Reads the suffix of `sha256-<hex>.sig`.
fn of_tag(tag: &str) -> Option<&'static str> {
    match tag.rsplit_once('.')?.1 {
        "sig" => Some(SIGNATURE),
        "att" => Some(ATTESTATION),
        "sbom" => Some(SBOM),
        _ => None,
    }
}

/// Reads `dev.cosignproject.cosign/sigs`, `dev.hauler/atts` and the like.
fn of_annotation(kind: &str) -> Option<&'static str> {
    let kind = kind.split_once('/').map_or(kind, |(_, kind)| kind);
    match kind.strip_suffix('s').unwrap_or(kind) {
        "sig" | "signature" => Some(SIGNATURE),
        "att" | "attestation" => Some(ATTESTATION),
        "sbom" => Some(SBOM),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_types_have_a_name() {
        for (artifact_type, kind) in [
            (
                "application/vnd.dev.cosign.artifact.sig.v1+json",
                Some(SIGNATURE),
            ),
            (
                "application/vnd.dev.cosign.simplesigning.v1+json",
                Some(SIGNATURE),
            ),
            ("application/vnd.cncf.notary.signature", Some(SIGNATURE)),
            (
                "application/vnd.dev.sigstore.bundle.v0.3+json",
                Some(SIGNATURE),
            ),
            (
                "application/vnd.dev.cosign.artifact.sbom.v1+json",
                Some(SBOM),
            ),
            ("text/spdx+json", Some(SBOM)),
            ("application/vnd.cyclonedx+json", Some(SBOM)),
            ("application/vnd.syft+json", Some(SBOM)),
            ("application/vnd.in-toto+json", Some(ATTESTATION)),
            (
                "application/vnd.docker.attestation.manifest.v1+json",
                Some(ATTESTATION),
            ),
            ("application/vnd.dsse.envelope.v1+json", Some(ATTESTATION)),
            ("application/vnd.oci.image.config.v1+json", None),
            ("application/vnd.example", None),
            ("application/vnd.example.sig", Some(SIGNATURE)),
        ] {
            assert_eq!(of_type(artifact_type), kind, "{artifact_type}");
        }
    }

    #[test]
    fn tags_and_annotations_have_a_name() {
        for (tag, kind) in [
            ("sha256-ab.sig", Some(SIGNATURE)),
            ("sha256-ab.att", Some(ATTESTATION)),
            ("sha256-ab.sbom", Some(SBOM)),
            ("sha256-ab", None),
            ("sha256-ab.1234.meta", None),
        ] {
            assert_eq!(of_tag(tag), kind, "{tag}");
        }
        for (annotation, kind) in [
            ("dev.cosignproject.cosign/sigs", Some(SIGNATURE)),
            ("dev.hauler/atts", Some(ATTESTATION)),
            ("dev.hauler/sboms", Some(SBOM)),
            ("dev.hauler/referrers/ab", None),
        ] {
            assert_eq!(of_annotation(annotation), kind, "{annotation}");
        }
    }
}
