//! Records of this program about a layout: small JSON files with a schema version, below `.ocisweep/`.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Layout;

/// The schema version of all records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SchemaVersion;

impl SchemaVersion {
    const NUMBER: u32 = 1;
}

impl Serialize for SchemaVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(Self::NUMBER)
    }
}

impl<'de> Deserialize<'de> for SchemaVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            Self::NUMBER => Ok(Self),
            other => Err(D::Error::custom(format!("schema version {other} is not 1"))),
        }
    }
}

/// Reads a record. One that does not exist or cannot be parsed is empty.
pub(super) fn read<T: DeserializeOwned + Default>(layout: &Layout, file: &str) -> T {
    let bytes = layout.read_own_file(file).ok().flatten();
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

/// Returns the text of a record.
pub(super) fn to_json(note: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(note).expect("strings and numbers serialise");
    text.push('\n');
    text
}
