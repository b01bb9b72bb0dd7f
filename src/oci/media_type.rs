//! The kind of blob that a media type declares.
//!
//! Garbage collection distinguishes a *document* (read, and its references followed) and a *leaf* (never read). A type that is
//! neither is [`Kind::Unknown`] and decided by content, since a wrong "leaf" loses data and a wrong "document" costs one read.

/// The kind of blob that the media type of a descriptor declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An image index or a docker manifest list.
    Index,
    /// An image manifest, docker schema 1 or 2 manifest, or artifact manifest.
    Manifest,
    /// An image configuration, or the empty JSON document.
    Config,
    /// A file system layer, or a report about content.
    Layer,
    /// Anything else, including an empty string: the content decides.
    Unknown,
}

/// The `artifactType` of BuildKit's attestation manifests. BuildKit always lists those in their parent index, so an unlisted one
/// is stale and not a live referrer.
pub const DOCKER_ATTESTATION: &str = "application/vnd.docker.attestation.manifest.v1+json";

impl Kind {
    /// Classifies a media type. Parameters and case are ignored, as in RFC 6838.
    #[must_use]
    pub fn of(media_type: &str) -> Self {
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        let lower;
        let essence = if essence.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = essence.to_ascii_lowercase();
            lower.as_str()
        } else {
            essence
        };
        match essence {
            "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json" => Self::Index,
            "application/vnd.oci.image.manifest.v1+json"
            | "application/vnd.oci.artifact.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v2+json"
            | "application/vnd.docker.distribution.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v1+prettyjws" => Self::Manifest,
            "application/vnd.oci.image.config.v1+json"
            | "application/vnd.docker.container.image.v1+json"
            | "application/vnd.oci.empty.v1+json" => Self::Config,
            // Provenance and bills of materials contain the full descriptors of every layer of every build step and need
            // none of those blobs: following them would keep build caches for ever.
            "application/vnd.in-toto+json"
            | "application/spdx+json"
            | "text/spdx+json"
            | "application/vnd.cyclonedx+json"
            | "application/vnd.syft+json" => Self::Layer,
            _ if is_layer(essence) => Self::Layer,
            _ => Self::Unknown,
        }
    }

    /// Returns `true` if a blob of this kind is never read while marking.
    #[must_use]
    pub const fn is_leaf(self) -> bool {
        matches!(self, Self::Config | Self::Layer)
    }

    /// Returns `true` if a blob of this kind must be JSON.
    #[must_use]
    pub const fn is_document(self) -> bool {
        matches!(self, Self::Index | Self::Manifest)
    }
}

/// Layer types by prefix: compression, encryption and "nondistributable" variants are suffixes or
/// siblings of the same names (image-spec `media-types.md`, docker `manifest-v2-2.md`, ocicrypt).
fn is_layer(essence: &str) -> bool {
    [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
    ]
    .iter()
    .any(|prefix| {
        essence
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', '.']))
    })
}

/// Returns `true` if layers of this type must not be distributed, so that registries and copies omit them: the layers of Windows
/// base images (image-spec `layer.md`, "Non-Distributable Layers"; docker's "foreign" layers).
#[must_use]
pub fn is_nondistributable(media_type: &str) -> bool {
    let lower = media_type.trim().to_ascii_lowercase();
    [
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
    ]
    .iter()
    .any(|prefix| lower.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_of_all_producers_are_classified() {
        let cases = [
            (
                Kind::Index,
                &[
                    "application/vnd.oci.image.index.v1+json",
                    "application/vnd.docker.distribution.manifest.list.v2+json",
                ][..],
            ),
            (
                Kind::Manifest,
                &[
                    "application/vnd.oci.image.manifest.v1+json",
                    "Application/Vnd.OCI.image.manifest.v1+json; charset=utf-8",
                    "application/vnd.docker.distribution.manifest.v1+prettyjws",
                ],
            ),
            (
                Kind::Config,
                &[
                    "application/vnd.oci.image.config.v1+json",
                    "application/vnd.oci.empty.v1+json",
                ],
            ),
            (
                Kind::Layer,
                &[
                    "application/vnd.oci.image.layer.v1.tar",
                    "application/vnd.oci.image.layer.v1.tar+zstd",
                    "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
                    "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                    "application/vnd.in-toto+json",
                    "application/spdx+json",
                    "application/vnd.cyclonedx+json; version=1.6",
                    "application/vnd.syft+json",
                ],
            ),
            (
                Kind::Unknown,
                &[
                    "application/vnd.oci.image.layer.v1.tarball",
                    "application/vnd.buildkit.cacheconfig.v0",
                    "application/vnd.oci.descriptor.v1+json",
                    "application/json",
                    "",
                ],
            ),
        ];
        for (kind, media_types) in cases {
            for media_type in media_types {
                assert_eq!(Kind::of(media_type), kind, "{media_type}");
            }
        }
    }

    #[cfg(feature = "oci-spec")]
    #[test]
    fn agrees_with_oci_spec_on_the_names() {
        use oci_spec::image::MediaType;
        let cases = [
            (MediaType::ImageIndex, Kind::Index),
            (MediaType::ImageManifest, Kind::Manifest),
            (MediaType::ArtifactManifest, Kind::Manifest),
            (MediaType::ImageConfig, Kind::Config),
            (MediaType::ImageLayer, Kind::Layer),
            (MediaType::ImageLayerGzip, Kind::Layer),
            (MediaType::ImageLayerZstd, Kind::Layer),
            (MediaType::ImageLayerNonDistributable, Kind::Layer),
            (MediaType::ImageLayerNonDistributableGzip, Kind::Layer),
            (MediaType::ImageLayerNonDistributableZstd, Kind::Layer),
            (MediaType::EmptyJSON, Kind::Config),
        ];
        for (media_type, kind) in cases {
            assert_eq!(Kind::of(media_type.as_ref()), kind, "{media_type}");
        }
    }
}
