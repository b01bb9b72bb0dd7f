//! The names of an entry of `index.json`, and the annotations that contain them.

use crate::oci::Digest;
use crate::oci::descriptor::Details;

/// The annotation by which BuildKit marks its attestation manifests.
pub const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// The annotation that names the platform manifest of an attestation.
pub const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// The annotation that containerd, BuildKit, docker save and hauler write: a full name.
pub const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The annotation of the image-spec: a full name or only a tag.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation that old versions of zarf write instead of the other two.
pub const BASE_NAME: &str = "org.opencontainers.image.base.name";

/// One name of an entry, and the annotation that carries it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryName {
    /// The name, as written.
    pub text: Box<str>,
    /// The annotation; removing it removes the name. [`SAVED_NAME`] for a name that is only in docker save's list.
    pub key: &'static str,
}

/// The key of a name that no annotation holds: it is in `manifest.json` of docker save.
pub const SAVED_NAME: &str = "manifest.json";

impl EntryName {
    /// Returns `true` if an annotation of the entry contains the name.
    #[must_use]
    pub fn is_annotation(&self) -> bool {
        self.key != SAVED_NAME
    }
}

/// Returns the names of an entry; none if it is untagged.
///
/// `io.containerd.image.name` is the only name if `ref.name` agrees with it or is absent. Where the two disagree (`buildx imagetools
/// create` copies the former from another image) both are names. An empty string is not a name.
#[must_use]
pub fn entry_names(details: &Details) -> Vec<EntryName> {
    let get = |key: &'static str| {
        details
            .annotations
            .get(key)
            .filter(|text| !text.is_empty())
            .map(|text| EntryName {
                text: text.into(),
                key,
            })
    };
    match (get(CONTAINERD_NAME), get(REF_NAME)) {
        (Some(full), Some(short)) if agree_but_for_pins(&full.text, &short.text) => vec![full],
        (Some(full), Some(short)) => vec![full, short],
        (Some(name), None) | (None, Some(name)) => vec![name],
        (None, None) => get(BASE_NAME).into_iter().collect(),
    }
}

/// Like [`agree`], for names that may be pinned to a digest. Two digests must be equal.
fn agree_but_for_pins(full: &str, short: &str) -> bool {
    match (split_pin(full), split_pin(short)) {
        (Some((full, pin)), Some((short, other))) => pin == other && agree(full, short),
        (Some((name, _)), None) => agree(name, short) || agree(full, short),
        (None, Some((name, _))) => agree(full, name),
        (None, None) => agree(full, short),
    }
}

/// Returns `true` if a short name is the end of a full one: its tag, its digest, or all but the registry (hauler).
fn agree(full: &str, short: &str) -> bool {
    full.strip_suffix(short)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with([':', '/', '@']))
        // `docker.io/library/alpine` without a tag means `latest`.
        || (short == "latest" && !has_tag(full))
}

fn has_tag(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.contains([':', '@'])
}

/// Splits a name into repository and tag, as `ls` shows them. A bare tag has no repository. In a pinned
/// name (`repository:tag@digest`) both precede the `@`.
#[must_use]
pub fn split_name(name: &str) -> (Option<&str>, Option<&str>) {
    let pinned = split_pin(name);
    let name = pinned.as_ref().map_or(name, |(name, _)| name);
    if let Some((repository, rest)) = name.split_once('@') {
        // Not a digest: shown as written.
        return (Some(repository), Some(rest));
    }
    let start_of_last = name.rfind('/').map_or(0, |slash| slash + 1);
    let last = name.get(start_of_last..).unwrap_or_default();
    match last.split_once(':') {
        Some((component, tag)) => (name.get(..start_of_last + component.len()), Some(tag)),
        // A single word is a tag, unless it is pinned: `name@digest` always begins with a repository.
        None if start_of_last > 0 || pinned.is_some() => (Some(name), None),
        None => (None, Some(name)),
    }
}

/// Splits a pinned name at its `@` into the name and the digest (zarf, k0s, hauler, skopeo). Returns `None` if the name is
/// not pinned.
#[must_use]
pub fn split_pin(name: &str) -> Option<(&str, Digest)> {
    let (name, digest) = name.rsplit_once('@')?;
    let digest = Digest::parse(digest).ok()?;
    (!name.is_empty()).then_some((name, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PINNED: &str =
        "a/b:v1@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn names(annotations: &[(&str, &str)]) -> Vec<String> {
        let details = Details {
            annotations: annotations.iter().copied().collect(),
            ..Details::default()
        };
        entry_names(&details)
            .into_iter()
            .map(|name| name.text.into())
            .collect()
    }

    #[test]
    fn a_full_name_replaces_a_short_one_that_agrees_with_it() {
        let full = CONTAINERD_NAME;
        let short = REF_NAME;
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
        let other_pin = PINNED.replace("e3b0", "0000");
        let cases: &[Case<'_>] = &[
            (&[], &[]),
            (&[(short, "latest")], &["latest"]),
            (&[(short, "")], &[]),
            (&[(full, "docker.io/a/b:v1")], &["docker.io/a/b:v1"]),
            (
                &[(full, "docker.io/a/b:v1"), (short, "v1")],
                &["docker.io/a/b:v1"],
            ),
            (
                &[(full, "docker.io/a/b:v1"), (short, "a/b:v1")],
                &["docker.io/a/b:v1"],
            ),
            (
                &[(full, "docker.io/a/b"), (short, "latest")],
                &["docker.io/a/b"],
            ),
            (
                &[(full, "x/y:v1"), (short, "combined")],
                &["x/y:v1", "combined"],
            ),
            (&[(full, "x/y:v11"), (short, "1")], &["x/y:v11", "1"]),
            (&[(full, PINNED), (short, "v1")], &[PINNED]),
            (&[(full, PINNED), (short, "a/b:v1")], &[PINNED]),
            (&[(full, PINNED), (short, PINNED)], &[PINNED]),
            (&[(full, "a/b:v1"), (short, PINNED)], &["a/b:v1"]),
            (&[(full, PINNED), (short, "v2")], &[PINNED, "v2"]),
            (
                &[(full, PINNED), (short, &other_pin)],
                &[PINNED, &other_pin],
            ),
            (&[(BASE_NAME, "ghcr.io/z:1")], &["ghcr.io/z:1"]),
            (&[(BASE_NAME, "ghcr.io/z:1"), (short, "z")], &["z"]),
        ];
        for (annotations, expected) in cases {
            assert_eq!(names(annotations), *expected, "{annotations:?}");
        }
    }

    #[test]
    fn a_pin_is_a_whole_digest_after_a_name() {
        let (name, digest) = split_pin(PINNED).expect("a pinned name");
        assert_eq!(name, "a/b:v1");
        assert!(digest.to_string().starts_with("sha256:e3b0c442"));
        for text in [
            "a/b:v1",
            "a/b@sha256:00",
            "a/b@v1",
            &PINNED["a/b:v1".len()..],
        ] {
            assert_eq!(split_pin(text), None, "{text}");
        }
    }

    #[test]
    fn splits_names_as_docker_shows_them() {
        let cases = [
            ("latest", None, Some("latest")),
            ("alpine:3", Some("alpine"), Some("3")),
            ("localhost:5000/a", Some("localhost:5000/a"), None),
            ("localhost:5000/a:v", Some("localhost:5000/a"), Some("v")),
            ("a/b", Some("a/b"), None),
            ("a/b@sha256:00", Some("a/b"), Some("sha256:00")),
            (PINNED, Some("a/b"), Some("v1")),
            (&PINNED.replace(":v1", ""), Some("a/b"), None),
            (&PINNED.replace("a/b:v1", "b"), Some("b"), None),
            (&PINNED.replace("a/b:v1", "b:v1"), Some("b"), Some("v1")),
            (
                &PINNED.replace("a/b", "localhost:5000/a"),
                Some("localhost:5000/a"),
                Some("v1"),
            ),
            ("", None, Some("")),
        ];
        for (name, repository, tag) in cases {
            assert_eq!(split_name(name), (repository, tag), "{name}");
        }
    }
}
