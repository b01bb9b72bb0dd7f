//! The configuration of an image: when it was built, its labels, its platform.

use std::collections::BTreeMap;
use std::io::Read as _;

use jiff::Timestamp;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::fs::is_absence;
use crate::layout::BlobId;
use crate::model::snapshot::Snapshot;
use crate::oci::platform::Platform;

/// The largest config that is read for its date and labels, in bytes.
const MAX_CONFIG_BYTES: u64 = 8 << 20;

/// The number of bytes that are read at once: nearly every config is shorter.
const USUAL_BYTES: usize = 8 << 10;

/// The parts of a config that describe an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// When it was built; `None` for 1970 or before, which reproducible builds write.
    pub created: Option<Timestamp>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its platform.
    pub platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Raw {
    created: Option<String>,
    config: Option<RawConfig>,
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
    #[serde(rename = "os.version")]
    os_version: Option<String>,
    #[serde(rename = "os.features")]
    os_features: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

impl ImageConfig {
    /// Parses a config; `None` if the bytes are not one.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let raw: Raw = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            created: raw
                .created
                .and_then(|text| text.parse::<Timestamp>().ok())
                .filter(|created| created.as_second() > 0),
            labels: raw
                .config
                .and_then(|config| config.labels)
                .unwrap_or_default(),
            platform: (!raw.os.is_empty()).then_some(Platform {
                os: raw.os,
                architecture: raw.architecture,
                variant: raw.variant.filter(|text| !text.is_empty()),
                os_version: raw.os_version.filter(|text| !text.is_empty()),
                os_features: raw.os_features.unwrap_or_default(),
            }),
        })
    }
}

/// Reads a config; `None` if it does not exist, or is not one.
///
/// # Errors
/// [`Error::Read`] if it exists and cannot be read.
pub(super) fn read(snapshot: &Snapshot, id: BlobId) -> Result<Option<ImageConfig>> {
    let digest = snapshot.graph.digest(id);
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    let read = snapshot.layout.open_blob(digest).and_then(|file| {
        std::fs::File::from(file)
            .take(MAX_CONFIG_BYTES)
            .read_to_end(&mut bytes)
    });
    match read {
        Ok(_) => {}
        Err(error) if is_absence(&error) => return Ok(None),
        Err(error) => return Err(Error::read(snapshot.layout.blob_path(digest))(error)),
    }
    // A blob that is not the config is ignored.
    if digest.matches(&bytes) == Some(false) {
        return Ok(None);
    }
    Ok(ImageConfig::parse(&bytes))
}
