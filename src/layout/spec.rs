//! Reads documents of a layout as the types of the `oci-spec` crate (feature `oci-spec`).

use oci_spec::OciSpecError;
use oci_spec::image::{ImageConfiguration, ImageIndex, ImageManifest};

use super::Layout;
use crate::error::{Error, Result};
use crate::oci::Digest;

impl Layout {
    /// Reads a manifest, and verifies its digest.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be read, [`Error::Malformed`] if it does not match its digest or is not a manifest.
    pub fn read_manifest(&self, digest: &Digest) -> Result<ImageManifest> {
        self.read_as(digest, |bytes| ImageManifest::from_reader(bytes))
    }

    /// Reads an image index from a blob, and verifies its digest.
    ///
    /// # Errors
    /// Those of [`Layout::read_manifest`].
    pub fn read_image_index(&self, digest: &Digest) -> Result<ImageIndex> {
        self.read_as(digest, |bytes| ImageIndex::from_reader(bytes))
    }

    /// Reads an image configuration, and verifies its digest.
    ///
    /// # Errors
    /// Those of [`Layout::read_manifest`].
    pub fn read_config(&self, digest: &Digest) -> Result<ImageConfiguration> {
        self.read_as(digest, |bytes| ImageConfiguration::from_reader(bytes))
    }

    fn read_as<T>(
        &self,
        digest: &Digest,
        parse: impl Fn(&[u8]) -> Result<T, OciSpecError>,
    ) -> Result<T> {
        let bytes = self.read_document(digest)?;
        parse(&bytes).map_err(|error| Error::Malformed {
            path: self.blob_path(digest),
            why: error.to_string(),
        })
    }
}
