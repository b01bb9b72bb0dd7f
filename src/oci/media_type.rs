//! What a media type says about a blob: whether it refers to others, and in which shape.
//!
//! Only two answers matter to a collector: *document* (has to be read, and its children followed)
//! and *leaf* (never read). Everything that is in neither list is [`Kind::Unknown`] and decided by
//! content, since a wrong "leaf" loses data and a wrong "document" costs one read.

/// What the media type of a descriptor promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An image index or a docker manifest list.
    Index,
    /// An image manifest, docker schema 1 or 2 manifest, or artifact manifest.
    Manifest,
    /// An image configuration, or the empty JSON document.
    Config,
    /// A file system layer, or a statement about content.
    Layer,
    /// Anything else, an empty text included: the content decides.
    Unknown,
}

/// `artifactType` of BuildKit's attestation manifests. BuildKit always lists those in their parent
/// index, so an unlisted one is left from an earlier export and not a live referrer.
pub const DOCKER_ATTESTATION: &str = "application/vnd.docker.attestation.manifest.v1+json";

impl Kind {
    /// Classifies a media type. Parameters and case are ignored, as RFC 6838 has it.
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
            // BuildKit's provenance describes every layer of every build step in full, with digest, size
            // and media type. It is a statement about them and needs none of them: following it would
            // keep build caches alive for ever.
            // A bill of materials names them in the same way, also where it is found by its content.
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

    /// Returns `true` if a blob of this kind has to parse as JSON.
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

/// Returns `true` if layers of this type must not be distributed, so that registries and copies leave them
/// out: those of Windows base images, which come from their makers (image-spec `layer.md`,
/// "Non-Distributable Layers"; docker's "foreign" layers).
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
    fn knows_every_type_that_the_producers_write() {
        let cases = [
            ("application/vnd.oci.image.index.v1+json", Kind::Index),
            (
                "application/vnd.docker.distribution.manifest.list.v2+json",
                Kind::Index,
            ),
            ("application/vnd.oci.image.manifest.v1+json", Kind::Manifest),
            (
                "Application/Vnd.OCI.image.manifest.v1+json; charset=utf-8",
                Kind::Manifest,
            ),
            (
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
                Kind::Manifest,
            ),
            ("application/vnd.oci.image.config.v1+json", Kind::Config),
            ("application/vnd.oci.empty.v1+json", Kind::Config),
            ("application/vnd.oci.image.layer.v1.tar", Kind::Layer),
            ("application/vnd.oci.image.layer.v1.tar+zstd", Kind::Layer),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
                Kind::Layer,
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                Kind::Layer,
            ),
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                Kind::Layer,
            ),
            ("application/vnd.in-toto+json", Kind::Layer),
            ("application/spdx+json", Kind::Layer),
            ("application/vnd.cyclonedx+json; version=1.6", Kind::Layer),
            ("application/vnd.syft+json", Kind::Layer),
            ("application/vnd.oci.image.layer.v1.tarball", Kind::Unknown),
            ("application/vnd.buildkit.cacheconfig.v0", Kind::Unknown),
            ("application/vnd.oci.descriptor.v1+json", Kind::Unknown),
            ("application/json", Kind::Unknown),
            ("", Kind::Unknown),
        ];
        for (media_type, kind) in cases {
            assert_eq!(Kind::of(media_type), kind, "{media_type}");
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
