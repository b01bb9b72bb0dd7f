//! Holds: named protections of images, stored in the layout.
//!
//! Holds protect images the way running containers do in docker: a held image is a root, even if another tool removes its
//! entry from `index.json`. Holds refer to digests and not to names, because a name can move to another image (docker
//! protects by name, and loses images that way).

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::note;
use crate::oci::{Digest, IndexDoc};

/// The holds of a layout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holds {
    /// In the order of the file.
    pub holds: Vec<Hold>,
}

/// One protection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Its name, unique in the layout.
    pub name: String,
    /// The digest that it protects, with everything below it.
    pub digest: Digest,
    /// The name of the image when the hold was created.
    pub image: Option<String>,
    /// Why it is held.
    pub reason: Option<String>,
    /// When it ends.
    pub until: Option<Timestamp>,
    /// It ends when this path no longer exists.
    pub while_path: Option<PathBuf>,
    /// When it was added; `None` if an older version added it.
    pub added: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct RawFile {
    schema_version: u32,
    holds: Vec<RawHold>,
}

#[derive(Serialize, Deserialize)]
struct RawHold {
    name: String,
    digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(default, rename = "while", skip_serializing_if = "Option::is_none")]
    while_path: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    added: Option<String>,
}

/// Why a file is not a holds file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HoldsError(String);

impl Holds {
    /// The path of the file, relative to the layout.
    pub const FILE: &str = ".ocisweep/holds.json";

    /// Parses a holds file.
    ///
    /// # Errors
    /// [`HoldsError`] if it cannot be parsed completely: an incomplete list of protections must not be used.
    pub fn parse(bytes: &[u8]) -> Result<Self, HoldsError> {
        let file: RawFile =
            serde_json::from_slice(bytes).map_err(|error| HoldsError(error.to_string()))?;
        if file.schema_version != 1 {
            let version = file.schema_version;
            return Err(HoldsError(format!("schema version {version} is not 1")));
        }
        let mut holds = Vec::with_capacity(file.holds.len());
        for raw in file.holds {
            let wrong = |what: String| HoldsError(format!("the hold `{}` has {what}", raw.name));
            let digest = Digest::parse(&raw.digest)
                .map_err(|error| wrong(format!("an invalid digest: {error}")))?;
            let until = raw.until.as_deref().map(str::parse::<Timestamp>);
            let until = until
                .transpose()
                .map_err(|error| wrong(format!("an invalid time: {error}")))?;
            holds.push(Hold {
                digest,
                until,
                image: raw.image,
                reason: raw.reason,
                while_path: raw.while_path,
                // Only shown: an invalid value does not weaken the protection.
                added: raw.added.and_then(|text| text.parse().ok()),
                name: raw.name,
            });
        }
        Ok(Self { holds })
    }

    /// Returns the text of the file.
    #[must_use]
    pub fn to_json(&self) -> String {
        let file = RawFile {
            schema_version: 1,
            holds: self
                .holds
                .iter()
                .map(|hold| RawHold {
                    name: hold.name.clone(),
                    digest: hold.digest.to_string(),
                    image: hold.image.clone(),
                    reason: hold.reason.clone(),
                    until: hold.until.map(|time| time.to_string()),
                    while_path: hold.while_path.clone(),
                    added: hold.added.map(|time| time.to_string()),
                })
                .collect(),
        };
        note::to_json(&file)
    }

    /// Returns the holds that are active at `now`.
    pub fn active(&self, now: Timestamp) -> impl Iterator<Item = &Hold> {
        self.holds.iter().filter(move |hold| hold.is_active(now))
    }
}

impl Hold {
    /// Returns `true` if the hold is active at `now`.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
            && !self.while_path.as_deref().is_some_and(is_gone)
    }
}

/// A record that `index.json` is intentionally empty.
///
/// kaniko and cosign create an `index.json` that lists nothing, and fill it later, so a sweep refuses it. If this program
/// removed the last image, the record has the digest of the `index.json` that it wrote.
#[derive(Debug, Clone, Copy)]
pub struct Emptied;

impl Emptied {
    /// The path of the record, relative to the layout.
    pub const FILE: &str = ".ocisweep/emptied";

    /// Returns the record for an index.
    #[must_use]
    pub fn note(index: &IndexDoc) -> String {
        format!("{}\n", index.fingerprint())
    }
}

/// Only "no such file" ends a hold: a path that cannot be inspected may exist.
fn is_gone(path: &Path) -> bool {
    path.symlink_metadata()
        .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(name: &str) -> Hold {
        Hold {
            name: name.to_owned(),
            digest: Digest::of(crate::oci::Algorithm::Sha256, name.as_bytes()),
            image: Some("app:1".to_owned()),
            reason: None,
            until: None,
            while_path: None,
            added: None,
        }
    }

    #[test]
    fn holds_are_read_back_as_written() {
        let holds = Holds {
            holds: vec![
                hold("a"),
                Hold {
                    until: Some("2026-11-21T00:00:00Z".parse().expect("valid")),
                    while_path: Some("/tmp/x".into()),
                    reason: Some("release".to_owned()),
                    added: Some("2026-11-20T10:00:00Z".parse().expect("valid")),
                    ..hold("b")
                },
            ],
        };
        let read = Holds::parse(holds.to_json().as_bytes()).expect("own text");
        assert_eq!(read, holds);
    }

    #[test]
    fn refuses_a_file_that_cannot_be_parsed_completely() {
        for text in [
            "",
            "{}",
            r#"{"schema_version":2,"holds":[]}"#,
            r#"{"schema_version":1,"holds":[{"name":"a","digest":"x"}]}"#,
            r#"{"schema_version":1,"holds":[{"name":"a","digest":"x:y","until":"soon"}]}"#,
        ] {
            assert!(Holds::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn holds_end_by_time_and_by_path() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().expect("valid");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let cases = [
            (None, None, true),
            (Some("2026-11-21T12:00:00Z"), None, false),
            (Some("2026-11-21T12:00:01Z"), None, true),
            (None, Some(dir.path().to_owned()), true),
            (None, Some(dir.path().join("gone")), false),
            (
                Some("2020-01-01T00:00:00Z"),
                Some(dir.path().to_owned()),
                false,
            ),
        ];
        for (until, while_path, expected) in cases {
            let hold = Hold {
                until: until.map(|text| text.parse().expect("valid")),
                while_path,
                ..hold("a")
            };
            assert_eq!(hold.is_active(now), expected, "{hold:?}");
        }
    }
}
