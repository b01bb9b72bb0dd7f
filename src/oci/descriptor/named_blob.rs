//! Annotations that name a blob.
//!
//! Some tools reference a blob only by an annotation: nydus the layer that holds its data (`containerd.io/snapshot/nydus-ref`),
//! SOCI its index (`com.amazon.soci.index-digest`), flatpak its signatures. So a value that is the digest of a blob in the
//! layout counts as a reference.

use crate::oci::digest::Digest;

/// The annotation that names the base of an image.
pub(super) const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// Keys whose digest describes something and references no blob.
const DESCRIPTIONS: [&str; 6] = [
    BASE_DIGEST,
    // An attestation is kept with its subject and does not keep it.
    "vnd.docker.reference.digest",
    // The digest of a layer before compression (containerd, BuildKit, oras).
    "containerd.io/uncompressed",
    "io.deis.oras.content.digest",
    // The digest of a table inside the layer (eStargz).
    "containerd.io/snapshot/stargz/toc.digest",
    "ostree.final-diffid",
];

/// The suffix, in any case, of keys that name the subject of a referrer (`io.containerd.manifest.subject`,
/// `org.olareg.referrer.subject`). A referrer is kept and removed with its subject, so it does not keep it.
const SUBJECT: &str = ".subject";

/// Returns `true` if an annotation with this key names the subject of a referrer.
pub(crate) fn is_subject_key(key: &str) -> bool {
    let end = key.len().saturating_sub(SUBJECT.len());
    key.get(end..)
        .is_some_and(|end| end.eq_ignore_ascii_case(SUBJECT))
}

/// Returns `true` if a digest under this key describes content, such as a checksum of something inside a blob, and references
/// no blob. Checksums are recognised by the last word of their key (`io.github.containers.zstd-chunked.manifest-checksum`);
/// any other key references a blob.
fn describes(key: &str) -> bool {
    let last = key
        .rsplit(['.', '/', '-', '_', ':'])
        .next()
        .unwrap_or_default();
    let is_word = |words: &[&str]| words.iter().any(|word| last.eq_ignore_ascii_case(word));
    DESCRIPTIONS.contains(&key)
        || is_subject_key(key)
        || is_word(&[
            "checksum",
            "diffid",
            "uncompressed",
            "sha256",
            "sha384",
            "sha512",
        ])
        || key.to_ascii_lowercase().ends_with("diff-id")
        || key.to_ascii_lowercase().ends_with("diff_id")
}

/// Returns the digest of the blob that an annotation references. Blobs of unknown algorithms are never deleted and need no
/// reference.
pub(super) fn named_blob(key: &str, value: &str) -> Option<Digest> {
    let digest = Digest::parse(value).ok()?;
    (digest.algorithm().is_some() && !describes(key)).then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_references_a_blob_unless_its_key_describes_content() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (key, names) in [
            ("containerd.io/snapshot/nydus-ref", true),
            ("com.amazon.soci.index-digest", true),
            ("org.flatpak.signature", true),
            ("software.ocm/main", true),
            ("io.containerd.manifest.subject", false),
            ("org.olareg.referrer.subject", false),
            ("com.example.Subject", false),
            (".subject", false),
            ("subject", true),
            ("", true),
            ("org.opencontainers.image.base.digest", false),
            ("vnd.docker.reference.digest", false),
            ("containerd.io/uncompressed", false),
            ("containerd.io/snapshot/stargz/toc.digest", false),
            ("io.github.containers.zstd-chunked.manifest-checksum", false),
            ("io.github.containers.zstd-chunked.tarsplit-checksum", false),
            ("com.example.Checksum", false),
            ("com.example/diffID", false),
            ("com.example.diff-id", false),
        ] {
            assert_eq!(named_blob(key, &digest).is_some(), names, "{key}");
        }
        for value in ["", "sha256:", "app:1", "x:y", "sha256:AAAA"] {
            assert_eq!(named_blob("key", value), None, "{value}");
        }
    }
}
