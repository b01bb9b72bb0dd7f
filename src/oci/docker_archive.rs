//! `manifest.json` and `repositories` of `docker save`, beside `index.json` in the same archive.
//!
//! Old docker and podman load images from these and not from `index.json`, so the blobs of an element must be kept as long as
//! the element, and an element must be removed with its image: a stale one makes the whole archive unloadable (seen with
//! docker's classic store and with podman).
//!
//! Both are edited like `index.json`, by cutting spans; every other byte is kept.

use std::ops::Range;

use serde_json::value::RawValue;

use super::digest::{Algorithm, Digest};
use super::json_edit::{Splice, apply, cut_runs, elements, member_spans, offset_in};

/// One image of `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    span: Range<usize>,
    /// Names with tag, as `docker load` restores them.
    pub repo_tags: Vec<String>,
    /// The elements of each `RepoTags`, as written: names, and `null`, which is not a name.
    tag_lists: Vec<Vec<Tag>>,
    /// Its config, if it is a blob.
    pub config: Option<Digest>,
    /// Its blobs: the config, then the layers. Paths outside `blobs/` (legacy `<id>/layer.tar`) are other files, which are never
    /// deleted, and are omitted.
    pub blobs: Vec<Digest>,
}

/// The span of an element of `RepoTags`, and the name.
type Tag = (Range<usize>, Option<String>);

/// `manifest.json` as docker writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerSave {
    text: String,
    /// The elements in the order of the file.
    pub elements: Vec<Element>,
}

impl DockerSave {
    /// Parses `manifest.json`. Returns `None` for a file that is not an array: it belongs to another program and is left alone.
    ///
    /// # Errors
    /// If it begins like an array and cannot be parsed as one: then it is unknown which blobs it references.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, String> {
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
            return Ok(None);
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| error.to_string())?
            .to_owned();
        let elements = elements(&text)?
            .into_iter()
            .map(|raw| Element::parse(&text, raw))
            .collect::<Result<_, _>>()?;
        Ok(Some(Self { text, elements }))
    }

    /// Returns the file without the `removed` elements, by position, and without the names of other elements for which `gone`
    /// returns `true`; it takes the position of the element and the name.
    ///
    /// # Errors
    /// A description of a defect of this module; not to be expected for a parsed file.
    pub fn edited(
        &self,
        removed: impl Fn(usize) -> bool,
        gone: impl Fn(usize, &str) -> bool,
    ) -> Result<Self, String> {
        let spans: Vec<_> = self
            .elements
            .iter()
            .enumerate()
            .map(|(position, element)| (element.span.clone(), removed(position)))
            .collect();
        let mut splices = cut_runs(&spans);
        for (position, element) in self.elements.iter().enumerate() {
            if !removed(position) {
                for list in &element.tag_lists {
                    let spans: Vec<_> = list
                        .iter()
                        .map(|(span, name)| {
                            let is_gone = name.as_deref().is_some_and(|name| gone(position, name));
                            (span.clone(), is_gone)
                        })
                        .collect();
                    splices.extend(cut_runs(&spans));
                }
            }
        }
        let text = apply(&self.text, splices)?;
        Self::parse(text.as_bytes())?.ok_or_else(|| "the result is not an array".to_owned())
    }

    /// Returns the text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Element {
    fn parse(text: &str, raw: &str) -> Result<Self, String> {
        let mut element = Self {
            span: offset_in(text, raw)?,
            repo_tags: Vec::new(),
            tag_lists: Vec::new(),
            config: None,
            blobs: Vec::new(),
        };
        let mut layers = Vec::new();
        for member in member_spans(text, raw)? {
            let value = text.get(member.value);
            let value = value.expect("the span of a member is in the text that was parsed");
            let paths = |value: &str| -> Result<Vec<Option<String>>, String> {
                serde_json::from_str::<Option<Vec<Option<String>>>>(value)
                    .map(Option::unwrap_or_default)
                    .map_err(|error| format!("`{}`: {error}", member.key))
            };
            if member.key.eq_ignore_ascii_case("Config") {
                let path: Option<String> = serde_json::from_str(value)
                    .map_err(|error| format!("`{}`: {error}", member.key))?;
                element.config = path.as_deref().and_then(blob_of);
                element.blobs.extend(element.config.clone());
            } else if member.key.eq_ignore_ascii_case("Layers") {
                layers.extend(
                    paths(value)?
                        .iter()
                        .flatten()
                        .filter_map(|path| blob_of(path)),
                );
            } else if member.key.eq_ignore_ascii_case("RepoTags") {
                paths(value)?;
                let list = tag_list(text, value)?;
                let names = list.iter().filter_map(|(_, name)| name.clone());
                element.repo_tags.extend(names);
                element.tag_lists.push(list);
            }
        }
        element.blobs.extend(layers);
        Ok(element)
    }
}

fn tag_list(text: &str, value: &str) -> Result<Vec<Tag>, String> {
    if !value.starts_with('[') {
        return Ok(Vec::new());
    }
    elements(value)?
        .into_iter()
        .map(|raw| Ok((offset_in(text, raw)?, serde_json::from_str(raw).ok())))
        .collect()
}

/// Returns the digest of the blob at a path like `blobs/sha256/<hex>`.
#[must_use]
pub fn blob_of(path: &str) -> Option<Digest> {
    let path = path.strip_prefix("./").unwrap_or(path);
    let (algorithm, hex) = path.strip_prefix("blobs/")?.split_once('/')?;
    Digest::from_hex(Algorithm::from_name(algorithm)?, hex.as_bytes())
}

/// Returns `repositories`, docker's oldest list of names (`{"repo":{"tag":"id"}}`), without the names for which `gone` returns
/// `true`; it takes the name and the ID. A repository without tags is removed. Returns `None` if nothing changes.
///
/// # Errors
/// If the file is not such an object.
pub fn edit_repositories(
    text: &str,
    gone: impl Fn(&str, &str) -> bool,
) -> Result<Option<String>, String> {
    let top: &RawValue = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut repositories = Vec::new();
    let mut splices: Vec<Splice> = Vec::new();
    for repository in member_spans(text, top.get())? {
        let value = text.get(repository.value);
        let value = value.expect("the span of a member is in the text that was parsed");
        let tags: Vec<_> = member_spans(text, value)?
            .into_iter()
            .map(|tag| {
                let id = text.get(tag.value).unwrap_or_default().trim_matches('"');
                let is_gone = gone(&format!("{}:{}", repository.key, tag.key), id);
                (tag.span, is_gone)
            })
            .collect();
        let is_empty = !tags.is_empty() && tags.iter().all(|(_, is_gone)| *is_gone);
        if !is_empty {
            splices.extend(cut_runs(&tags));
        }
        repositories.push((repository.span, is_empty));
    }
    splices.extend(cut_runs(&repositories));
    if splices.is_empty() {
        return Ok(None);
    }
    let edited = apply(text, splices)?;
    serde_json::from_str::<&RawValue>(&edited).map_err(|error| error.to_string())?;
    Ok(Some(edited))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_docker_are_parsed_and_others_left_alone() {
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
            assert_eq!(DockerSave::parse(text.as_bytes()), Ok(None), "{text}");
        }
        for text in [
            "[",
            "[1]",
            r#"[{"Layers":["#,
            r#"[{"Layers":{}}]"#,
            r#"[{"Config":1}]"#,
        ] {
            assert!(DockerSave::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn removed_elements_and_names_are_cut_and_every_other_byte_is_kept() {
        let text = r#"[ {"Config":"x","RepoTags":["a:1", "b:1"]},
 {"Config":"y","RepoTags":["c:1"],"Layers":[]} ]"#;
        let save = DockerSave::parse(text.as_bytes())
            .expect("valid")
            .expect("docker's");
        let edited = |removed: &[usize], gone: &[&str]| {
            save.edited(
                |position| removed.contains(&position),
                |_, name| gone.contains(&name),
            )
            .expect("possible")
            .text()
            .to_owned()
        };
        assert_eq!(edited(&[], &[]), text);
        assert_eq!(
            edited(&[0], &[]),
            r#"[ {"Config":"y","RepoTags":["c:1"],"Layers":[]} ]"#
        );
        assert_eq!(
            edited(&[1], &["a:1"]),
            r#"[ {"Config":"x","RepoTags":["b:1"]} ]"#
        );
        assert_eq!(edited(&[0, 1], &[]), "[  ]");
        assert_eq!(
            edited(&[0], &["c:1"]),
            r#"[ {"Config":"y","RepoTags":[],"Layers":[]} ]"#
        );
    }

    #[test]
    fn names_are_cut_from_repositories() {
        let text = r#"{"a":{"1":"x", "2":"y"},"b/c":{"1":"z"}}"#;
        let edited =
            |gone: &[&str]| edit_repositories(text, |name, _| gone.contains(&name)).expect("valid");
        assert_eq!(edited(&[]), None);
        assert_eq!(
            edited(&["a:1"]).as_deref(),
            Some(r#"{"a":{ "2":"y"},"b/c":{"1":"z"}}"#)
        );
        assert_eq!(
            edited(&["b/c:1"]).as_deref(),
            Some(r#"{"a":{"1":"x", "2":"y"}}"#)
        );
        assert_eq!(edited(&["a:1", "a:2", "b/c:1"]).as_deref(), Some("{}"));
        assert!(edit_repositories("[]", |_, _| true).is_err());
    }
}
