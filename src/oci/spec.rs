//! Conversions to and from the types of the `oci-spec` crate (feature `oci-spec`).
//!
//! The types of this crate accept what a strict parser refuses: unknown algorithms, entries without a digest, keys in any
//! case. A conversion to `oci-spec` fails for these; a conversion from `oci-spec` fails only for a digest.
//!
//! ```
//! use ocisweep::oci::{Digest, platform::Platform};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let digest: oci_spec::image::Digest =
//!     "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".parse()?;
//! let own = Digest::try_from(&digest)?;
//! assert_eq!(oci_spec::image::Digest::try_from(&own)?, digest);
//!
//! let own = Platform::parse_specifier("linux/arm64/v8", &Platform::host())?;
//! let platform = oci_spec::image::Platform::try_from(&own)?;
//! assert_eq!(platform.architecture(), &oci_spec::image::Arch::ARM64);
//! # Ok(())
//! # }
//! ```

use oci_spec::OciSpecError;
use oci_spec::image;
use serde_json::Value;

use super::platform::Platform;
use super::{Digest, DigestError, IndexDoc};
use crate::oci::index_json::Entry;

impl TryFrom<&image::Digest> for Digest {
    type Error = DigestError;

    /// # Errors
    /// If [`Digest::parse`] refuses it.
    fn try_from(digest: &image::Digest) -> Result<Self, DigestError> {
        Self::parse(digest.as_ref())
    }
}

impl TryFrom<&image::Descriptor> for Digest {
    type Error = DigestError;

    /// Returns the digest of the referenced blob.
    ///
    /// # Errors
    /// If [`Digest::parse`] refuses it.
    fn try_from(descriptor: &image::Descriptor) -> Result<Self, DigestError> {
        Self::try_from(descriptor.digest())
    }
}

impl TryFrom<&Digest> for image::Digest {
    type Error = OciSpecError;

    /// # Errors
    /// If `oci-spec` refuses it.
    fn try_from(digest: &Digest) -> Result<Self, OciSpecError> {
        digest.to_string().parse()
    }
}

impl TryFrom<&Platform> for image::Platform {
    type Error = OciSpecError;

    /// # Errors
    /// If `oci-spec` refuses it; it accepts any operating system and architecture.
    fn try_from(platform: &Platform) -> Result<Self, OciSpecError> {
        // Field by field: `oci-spec` 0.10 writes `os_version` and `os_features`, the specification has a dot.
        let os = Value::from(&*platform.os);
        let os: image::Os = serde_json::from_value(os).map_err(OciSpecError::SerDe)?;
        let arch = Value::from(&*platform.architecture);
        let arch: image::Arch = serde_json::from_value(arch).map_err(OciSpecError::SerDe)?;
        let mut builder = image::PlatformBuilder::default().os(os).architecture(arch);
        if let Some(variant) = &platform.variant {
            builder = builder.variant(variant.clone());
        }
        if let Some(version) = &platform.os_version {
            builder = builder.os_version(version.clone());
        }
        if !platform.os_features.is_empty() {
            builder = builder.os_features(platform.os_features.clone());
        }
        builder.build()
    }
}

impl From<&image::Platform> for Platform {
    fn from(platform: &image::Platform) -> Self {
        Self {
            os: platform.os().to_string(),
            architecture: platform.architecture().to_string(),
            variant: platform.variant().clone(),
            os_version: platform.os_version().clone(),
            os_features: platform.os_features().clone().unwrap_or_default(),
        }
    }
}

impl IndexDoc {
    /// Returns the index as parsed by `oci-spec`.
    ///
    /// # Errors
    /// If `oci-spec` refuses it: one entry without a digest or a size is enough.
    pub fn to_spec(&self) -> Result<image::ImageIndex, OciSpecError> {
        image::ImageIndex::from_reader(self.text().as_bytes())
    }

    /// Returns one entry as parsed by `oci-spec`, even if others are invalid.
    ///
    /// # Errors
    /// If `oci-spec` refuses it.
    pub fn descriptor(&self, entry: &Entry) -> Result<image::Descriptor, OciSpecError> {
        let text = self.entry_text(entry);
        let mut descriptor: image::Descriptor =
            serde_json::from_str(text).map_err(OciSpecError::SerDe)?;
        // `oci-spec` does not read `os.version` and `os.features`.
        if let Some(platform) = &self.details(entry).platform {
            let platform = image::Platform::try_from(platform)?;
            descriptor.set_platform(Some(platform));
        }
        Ok(descriptor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converting_a_platform_and_back_changes_nothing() {
        for text in [
            "linux/amd64",
            "linux/arm/v7",
            "windows(10.0.20348.2700)/amd64",
            "linux(+nydus.remoteimage.v1)/arm64",
            "plan9/riscv128",
        ] {
            let own = Platform::parse_specifier(text, &Platform::host())
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            let spec = image::Platform::try_from(&own).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(Platform::from(&spec), own, "{text}");
        }
    }

    #[test]
    fn an_entry_is_converted_even_if_another_is_invalid() {
        let text = br#"{"schemaVersion":2,"manifests":[
            {"mediaType":"application/vnd.oci.image.manifest.v1+json","size":7,
             "digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
             "platform":{"os":"windows","architecture":"amd64","os.version":"10.0.20348.1"}},
            {"mediaType":"application/vnd.oci.image.manifest.v1+json","size":7}]}"#;
        let index = IndexDoc::parse(text.to_vec()).expect("an index");
        let [first, second] = index.entries() else {
            panic!("there are two entries");
        };
        let descriptor = index.descriptor(first).expect("a valid descriptor");
        assert_eq!(descriptor.size(), 7);
        let platform = descriptor.platform().as_ref().expect("a platform");
        assert_eq!(platform.os_version().as_deref(), Some("10.0.20348.1"));
        assert_eq!(
            first.digest,
            Ok(Digest::try_from(&descriptor).expect("a digest"))
        );
        assert!(index.descriptor(second).is_err());
        assert!(index.to_spec().is_err());
    }
}
