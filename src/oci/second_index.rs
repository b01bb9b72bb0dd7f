//! JSON files beside `index.json` that list descriptors: indexes of other tools.
//!
//! hauler keeps its whole store in `hauler-index.json`, kitops an index and a map of tags for each repository. Their readers
//! trust these files, so everything they list must be kept. A file is such an index by its content, not by its name: it has
//! descriptors in `manifests`, as values at the top or in maps and lists of these there, or as elements of an array at the top.
//!
//! *Promise*: values of any depth are skipped without recursion, keys match in any case, repeated keys count each time, and
//! the descriptors in scan reports (syft and trivy have lists of layers) are not listed.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::descriptor::{Document, Link, Role, folds_to};
use super::digest::Digest;
use super::json_edit::{elements, members};

/// The place of a value, which determines what makes it a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// An element of `manifests`: a digest is enough, as for an entry of `index.json`.
    Manifests,
    /// A value of an object at the top, an element of an array there, or one of `layers` or `blobs`: a digest with
    /// a size or a media type.
    Top,
    /// An element of any other list at the top, or anything in an object there: a digest, a size and a media type. Reports
    /// have lists of objects with two of them.
    List,
}

/// Returns the listed references of a file; none if it is another kind of JSON.
///
/// # Errors
/// If the file is not JSON, or an element of `manifests` has an invalid digest: what it lists is unknown.
pub fn parse(bytes: &[u8]) -> Result<Vec<Link>, String> {
    let decoded = decoded(bytes);
    let text = std::str::from_utf8(without_mark(&decoded)).map_err(|error| error.to_string())?;
    let mut values = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        values.push(value.map_err(|error| error.to_string())?.get());
    }
    let mut links = Vec::new();
    // JSON lines are a list too.
    let is_list = values.len() > 1;
    for value in values {
        if value.starts_with('[') {
            for element in elements(value)? {
                take(element, Place::Top, &mut links)?;
            }
        } else if value.starts_with('{') {
            let members = members(value)?;
            if is_own(&members) {
                continue;
            }
            if is_list {
                take(value, Place::Top, &mut links)?;
            }
            for (key, value) in members {
                let place = if folds_to(&key, "manifests") {
                    Place::Manifests
                } else if folds_to(&key, "layers") || folds_to(&key, "blobs") {
                    Place::Top
                } else {
                    Place::List
                };
                if value.starts_with('[') {
                    let elements = elements(value)?;
                    for element in &elements {
                        take(element, place, &mut links)?;
                    }
                    if place == Place::List {
                        take_nested(objects(elements), &mut links)?;
                    }
                } else {
                    take(value, Place::Top, &mut links)?;
                    take_nested(objects([value]), &mut links)?;
                }
            }
        }
    }
    Ok(links)
}

/// The levels of objects below the top that are searched for descriptors: a registry, a repository, a tag and a platform,
/// and as many around them.
const MAX_LEVELS: usize = 8;

fn objects<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let values = values.into_iter();
    values.filter(|value| value.starts_with('{')).collect()
}

/// Adds whole descriptors in objects at the top, such as a map of tags, in the objects in these, and in lists there, such as the
/// `manifests` of each repository.
fn take_nested<'a>(mut level: Vec<&'a str>, links: &mut Vec<Link>) -> Result<(), String> {
    for _ in 0..MAX_LEVELS {
        let mut next: Vec<&'a str> = Vec::new();
        for object in level {
            for (key, value) in members(object)? {
                if value.starts_with('{') {
                    take(value, Place::List, links)?;
                    next.push(value);
                } else if value.starts_with('[') && !folds_to(&key, "layers") {
                    // Reports have the layers of an image there (syft).
                    let elements = elements(value)?;
                    for element in &elements {
                        take(element, Place::List, links)?;
                    }
                    next.extend(objects(elements));
                }
            }
        }
        level = next;
    }
    Ok(())
}

/// Adds a value, with the references in it, if it is a descriptor in its place.
fn take(value: &str, place: Place, links: &mut Vec<Link>) -> Result<(), String> {
    if !value.starts_with('{') {
        return Ok(());
    }
    let members = members(value)?;
    let has = |wanted: &str| members.iter().any(|(key, _)| folds_to(key, wanted));
    let has_digest = members
        .iter()
        .any(|(key, value)| folds_to(key, "digest") && value.starts_with('"'));
    let (has_size, has_type) = (has("size"), has("mediatype"));
    let counts = match place {
        Place::Manifests => true,
        Place::Top => has_size || has_type,
        Place::List => has_size && has_type,
    };
    if !has_digest || !counts {
        return Ok(());
    }
    let document =
        Document::scan_descriptor(value.as_bytes()).map_err(|error| error.to_string())?;
    if document.links.iter().any(|link| link.role == Role::Child) {
        links.extend(document.links);
        return Ok(());
    }
    match document.damage {
        Some(why) if place == Place::Manifests && (has_size || has_type) => Err(why.into()),
        _ => Ok(()),
    }
}

/// Returns `true` for plan files and JSON output of this program.
fn is_own(members: &[(String, &str)]) -> bool {
    let has = |wanted: &str| members.iter().any(|(key, _)| key == wanted);
    let is_line = has("digest") && has("kind") && has("names");
    has("schema_version") && (has("command") || has("made_at") || is_line)
}

/// Returns `true` if a file begins like a JSON object or array.
#[must_use]
pub fn begins_like_json(head: &[u8]) -> bool {
    matches!(first_of(head), Some(b'{' | b'['))
}

/// Returns `true` if a file with this beginning is JSON, or may be: only spaces were read so far.
#[must_use]
pub fn may_become_json(head: &[u8]) -> bool {
    matches!(first_of(head), None | Some(b'{' | b'['))
}

/// Returns the first byte of a text that is not a space, in any of the supported encodings.
fn first_of(head: &[u8]) -> Option<u8> {
    let head = decoded(head);
    let mut bytes = without_mark(&head).iter();
    bytes.find(|byte| !byte.is_ascii_whitespace()).copied()
}

/// Converts a file in UTF-16 with a byte order mark, as PowerShell writes redirected output, to UTF-8, and returns any other
/// file unchanged.
fn decoded(bytes: &[u8]) -> Cow<'_, [u8]> {
    let units: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return Cow::Borrowed(bytes),
    };
    let (pairs, _) = bytes.as_chunks::<2>();
    let units = pairs.iter().copied().map(units);
    let text: String = char::decode_utf16(units)
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    Cow::Owned(text.into_bytes())
}

fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// The maximum number of digests that are compared with the blobs of the layout. A file with more of them is assumed to list
/// some.
const MAX_NAMED: usize = 1000;

/// Returns `true` if a file that cannot be parsed seems to list blobs: it contains `"manifests":`, or a `"digest":` whose value
/// is the digest of a blob in the layout.
pub fn seems_to_list(bytes: &[u8], mut is_here: impl FnMut(&Digest) -> bool) -> bool {
    let mut asked = 0;
    let bytes = decoded(bytes);
    let mut rest = &*bytes;
    while let Some(quote) = rest.iter().position(|byte| *byte == b'"') {
        rest = rest.get(quote + 1..).unwrap_or_default();
        if value_of("manifests", rest).is_some() {
            return true;
        }
        let Some(digest) = value_of("digest", rest).and_then(first_digest) else {
            continue;
        };
        asked += 1;
        if asked > MAX_NAMED || is_here(&digest) {
            return true;
        }
    }
    false
}

/// Returns the value after the colon, if `text` begins with this key after its opening quote.
fn value_of<'a>(key: &str, text: &'a [u8]) -> Option<&'a [u8]> {
    let (found, rest) = text.split_at_checked(key.len())?;
    if !found.eq_ignore_ascii_case(key.as_bytes()) {
        return None;
    }
    let rest = rest.strip_prefix(b"\"")?.trim_ascii_start();
    Some(rest.strip_prefix(b":")?.trim_ascii_start())
}

/// Returns the quoted digest at the beginning, if its algorithm is known.
fn first_digest(text: &[u8]) -> Option<Digest> {
    let text = text.strip_prefix(b"\"")?;
    // Longer than any digest of a known algorithm, with its closing quote.
    let head = text.get(..text.len().min(256))?;
    let end = head.iter().position(|byte| *byte == b'"')?;
    let digest = Digest::parse(std::str::from_utf8(head.get(..end)?).ok()?).ok()?;
    digest.algorithm().is_some().then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn fill(text: &str) -> String {
        text.replace("$A", A).replace("$B", B)
    }

    fn listed(text: &str) -> String {
        parse(fill(text).as_bytes())
            .unwrap_or_else(|why| panic!("{text}: {why}"))
            .iter()
            .filter_map(|link| link.digest.encoded().chars().next())
            .collect()
    }

    #[test]
    fn descriptors_in_manifests_and_at_the_top_are_listed() {
        for (text, expected) in [
            // hauler
            (
                r#"{"schemaVersion":2,"manifests":[{"mediaType":"t","digest":"$A","size":1},{"digest":"$B"}]}"#,
                "ab",
            ),
            // Odd case, repeated keys, and other values in the list.
            (
                r#"{"Manifests":[{"Digest":"$A"}],"manifests":[null,7,{"DIGEST":"$B"},{"name":"x"}]}"#,
                "ab",
            ),
            (r#"{"manifests":[{"digest":"$A","digest":"$B"}]}"#, "ab"),
            // kitops: tags
            (
                r#"{"latest":{"mediaType":"t","digest":"$A","size":1},"v1":{"digest":"$B","size":2}}"#,
                "ab",
            ),
            (r#"{"latest":{"digest":"$A","mediaType":"t"}}"#, "a"),
            (r#"{"latest":{"digest":"$A"}}"#, ""),
            (r#"[{"digest":"$A","size":1},{"digest":"$B"}]"#, "a"),
            ("\u{feff} [{\"digest\":\"$A\",\"size\":1}]", "a"),
            // Lines
            (
                "{\"digest\":\"$A\",\"size\":1}\n{\"digest\":\"$B\",\"size\":1}\n",
                "ab",
            ),
            (r#"{"digest":"$A","size":1,"mediaType":"t"}"#, ""),
            // Any list of complete descriptors, and a saved manifest.
            (
                r#"{"images":[{"digest":"$A","size":1,"mediaType":"t"}]}"#,
                "a",
            ),
            // A map of tags one level down
            (
                r#"{"tags":{"v1":{"digest":"$A","size":1,"mediaType":"t"},"v2":{"digest":"$B","size":1}}}"#,
                "a",
            ),
            // Maps of maps and of lists: repositories, then tags
            (
                r#"{"repositories":{"app":{"tags":{"v1":{"digest":"$A","size":1,"mediaType":"t"}}}}}"#,
                "a",
            ),
            (
                r#"{"repositories":{"app":{"manifests":[{"digest":"$A","size":1,"mediaType":"t"},7]}}}"#,
                "a",
            ),
            (
                r#"{"manifests":{"v1":[{"digest":"$A","size":1,"mediaType":"t"}]}}"#,
                "a",
            ),
            (
                r#"{"index":{"schemaVersion":2,"manifests":[{"digest":"$A","size":1,"mediaType":"t"}]}}"#,
                "a",
            ),
            // A list of repositories, with lists or maps of tags
            (
                r#"{"repositories":[{"name":"app","manifests":[{"digest":"$A","size":1,"mediaType":"t"}]},7]}"#,
                "a",
            ),
            (
                r#"{"x":{"repositories":[{"tags":[{"name":"v1","target":{"digest":"$A","size":1,"mediaType":"t"}}]}]}}"#,
                "a",
            ),
            (
                r#"{"config":{"digest":"$A","size":1},"layers":[{"digest":"$B","size":1}]}"#,
                "ab",
            ),
            // skopeo inspect, trivy, syft, in-toto, docker image inspect
            (
                r#"{"Digest":"$A","LayersData":[{"MIMEType":"t","Digest":"$A","Size":1}]}"#,
                "",
            ),
            (
                r#"{"SchemaVersion":2,"Metadata":{"Size":1,"Layers":[{"Size":1,"Digest":"$A"}]}}"#,
                "",
            ),
            (
                r#"{"source":{"metadata":{"manifestDigest":"$A","layers":[{"mediaType":"t","digest":"$A","size":1}]}}}"#,
                "",
            ),
            (
                r#"{"_type":"s","subject":[{"name":"x","digest":{"sha256":"aa"}}]}"#,
                "",
            ),
            (
                r#"[{"Id":"$A","Size":1,"Descriptor":{"mediaType":"t","digest":"$A","size":1}}]"#,
                "",
            ),
            // zarf and Kubernetes have other manifests.
            (r#"{"manifests":[{"name":"x","files":["a.yaml"]}]}"#, ""),
            (r#"{"manifests":{"digest":"x"}}"#, ""),
            (r#"{"x":{"digest":"nonsense","size":1}}"#, ""),
            ("{}", ""),
            ("[]", ""),
            (" 7 \"x\" null ", ""),
        ] {
            assert_eq!(listed(text), expected, "{text}");
        }
    }

    #[test]
    fn utf_16_is_decoded() {
        let text = fill(r#" {"manifests":[{"digest":"$A","size":1}]}"#);
        for to_bytes in [u16::to_le_bytes, u16::to_be_bytes] {
            let units = "\u{feff}".encode_utf16().chain(text.encode_utf16());
            let bytes: Vec<u8> = units.flat_map(to_bytes).collect();
            assert!(begins_like_json(&bytes));
            assert_eq!(parse(&bytes).expect("it is JSON").len(), 1);
            let torn = &bytes[..bytes.len() - 3];
            assert!(parse(torn).is_err());
            assert!(seems_to_list(torn, |_| false));
        }
    }

    #[test]
    fn files_of_this_program_are_not_an_index() {
        for text in [
            r#"{"schema_version":1,"command":"ls","manifests":[{"digest":"$A","size":1}]}"#,
            r#"{"schema_version":1,"made_at":"x","x":{"digest":"$A","size":1}}"#,
            "{\"schema_version\":1,\"digest\":\"$A\",\"kind\":\"index\",\"names\":[],\"size\":1}\n\
             {\"schema_version\":1,\"digest\":\"$B\",\"kind\":\"index\",\"names\":[],\"size\":1}\n",
        ] {
            assert_eq!(listed(text), "", "{text}");
        }
    }

    #[test]
    fn values_of_any_depth_are_skipped() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let text = format!(r#"{{"x":{deep},"manifests":[{{"digest":"$A","size":1}}],"y":{deep}}}"#);
        assert_eq!(listed(&text), "a");
        let maps = r#"{"x":"#.repeat(100_000) + "7" + &"}".repeat(100_000);
        let text = format!(r#"{{"v1":{{"digest":"$A","size":1}},"y":{maps}}}"#);
        assert_eq!(listed(&text), "a");
        let lists = r#"[{"x":"#.repeat(100_000) + "7" + &"}]".repeat(100_000);
        let text = format!(r#"{{"v1":{{"digest":"$A","size":1}},"y":{lists}}}"#);
        assert_eq!(listed(&text), "a");
    }

    #[test]
    fn a_file_that_cannot_be_parsed_is_an_error() {
        for text in [
            r#"{"manifests":[{"digest":"$A","size":1}"#,
            r#"{"manifests":[{"digest":"$A","size":1}]}}"#,
            r#"{"manifests":[{"digest":"sha256:short","size":1}]}"#,
            "{\"a\":1}\n{\"b\":",
            "{",
        ] {
            assert!(parse(fill(text).as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b"{\"\xff\":1}").is_err());
    }

    #[test]
    fn a_truncated_file_seems_to_list_the_blobs_of_the_layout() {
        for (text, expected) in [
            (r#"{"latest":{"mediaType":"t","digest":"$A","si"#, true),
            (r#"{"latest":{"mediaType":"t","Digest" : "$A""#, true),
            (r#"{"latest":{"mediaType":"t","digest":"$B","si"#, false),
            (r#"{"latest":{"mediaType":"t","checksum":"$A","si"#, false),
            (r#"{"level":"info","msg":"pulled $A"#, false),
            (r#"{"schemaVersion":2,"manifests": [{"#, true),
            (r#"{"schemaVersion":2,"mani"#, false),
            (r#"{"latest":{"digest":"sha256:aaa"#, false),
            ("", false),
        ] {
            let text = fill(text);
            let found = seems_to_list(text.as_bytes(), |digest| digest.to_string() == A);
            assert_eq!(found, expected, "{text}");
        }
        let many = r#"{"digest":"$B"}"#.repeat(MAX_NAMED + 1);
        assert!(seems_to_list(fill(&many).as_bytes(), |_| false));
    }

    #[test]
    fn only_objects_and_arrays_begin_like_json() {
        for (text, expected) in [
            ("{}", true),
            ("\n\t [", true),
            ("\u{feff}{", true),
            ("\"x\"", false),
            ("", false),
            ("sha256:", false),
        ] {
            assert_eq!(begins_like_json(text.as_bytes()), expected, "{text}");
        }
    }
}
