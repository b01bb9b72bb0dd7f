//! `manifest.json` of `docker save`, beside `index.json` in the same archive.
//!
//! Old docker and podman load an image from it and not from `index.json`, so what an element names
//! has to stay while the element stands.

use serde::Deserialize;

use super::digest::{Algorithm, Digest};

/// One image of `manifest.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// Names with tag, as `docker load` restores them.
    pub repo_tags: Vec<String>,
    /// The blobs that it names: its config, then its layers. Paths outside `blobs/` (legacy
    /// `<id>/layer.tar`) are other files, which are never deleted, and are left out.
    pub blobs: Vec<Digest>,
}

/// `manifest.json` as docker writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerSave {
    /// The elements in the order of the text.
    pub elements: Vec<Element>,
}

#[derive(Deserialize)]
struct RawElement {
    #[serde(rename = "Config", alias = "config", default)]
    config: Option<String>,
    #[serde(rename = "RepoTags", alias = "repoTags", default)]
    repo_tags: Option<Vec<String>>,
    #[serde(rename = "Layers", alias = "layers", default)]
    layers: Option<Vec<String>>,
}

impl DockerSave {
    /// Parses `manifest.json`, or says that the file is something else.
    ///
    /// A file of that name which is not an array belongs to somebody else and is left alone: `None`.
    ///
    /// # Errors
    /// When it begins like an array and cannot be read as one: then it may name blobs that must
    /// stay, and nobody can tell which.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
            return Ok(None);
        }
        let elements: Vec<RawElement> = serde_json::from_slice(bytes)?;
        Ok(Some(Self {
            elements: elements
                .into_iter()
                .map(|raw| Element {
                    repo_tags: raw.repo_tags.unwrap_or_default(),
                    blobs: raw
                        .config
                        .iter()
                        .chain(raw.layers.iter().flatten())
                        .filter_map(|path| blob_of(path))
                        .collect(),
                })
                .collect(),
        }))
    }
}

/// Returns the blob that a path like `blobs/sha256/<hex>` names.
#[must_use]
pub fn blob_of(path: &str) -> Option<Digest> {
    let path = path.strip_prefix("./").unwrap_or(path);
    let (algorithm, hex) = path.strip_prefix("blobs/")?.split_once('/')?;
    Digest::from_hex(Algorithm::from_name(algorithm)?, hex.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_docker_writes_and_leaves_strangers_alone() {
        let hex = "a".repeat(64);
        let text = format!(
            r#"[{{"Config":"blobs/sha256/{hex}","RepoTags":null,"Layers":["blobs/sha256/{hex}","x/layer.tar","blobs/sha256/../x"],"LayerSources":{{}}}}]"#
        );
        let save = DockerSave::parse(text.as_bytes())
            .expect("valid")
            .expect("docker's");
        assert_eq!(save.elements.len(), 1);
        assert_eq!(save.elements[0].blobs.len(), 2);
        assert!(save.elements[0].repo_tags.is_empty());
        for text in [r#"{"name":"web app"}"#, "", "x"] {
            assert_eq!(
                DockerSave::parse(text.as_bytes()).ok(),
                Some(None),
                "{text}"
            );
        }
        for text in ["[", "[1]", r#"[{"Layers":["#] {
            assert!(DockerSave::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
