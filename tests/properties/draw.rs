//! Text that resembles valid input, with errors in some places.

use arbtest::arbitrary::{Result, Unstructured};

/// The nesting depth of drawn values.
const DEPTH: u32 = 4;

/// Keys with a meaning for some reader, and some without.
const KEYS: [&str; 24] = [
    "manifests",
    "Manifests",
    "m\\u0061nifests",
    "digest",
    "DIGEST",
    "mediaType",
    "size",
    "annotations",
    "platform",
    "os",
    "architecture",
    "config",
    "layers",
    "blobs",
    "subject",
    "data",
    "fsLayers",
    "blobSum",
    "Config",
    "Layers",
    "RepoTags",
    "org.opencontainers.image.ref.name",
    "io.containerd.image.name",
    "k\\u017f",
];

/// Strings with a meaning, and strings that resemble structure.
const STRINGS: [&str; 14] = [
    "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
    "sha256:../../../../etc/passwd",
    "sha256:AAAA",
    "blobs/sha256/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "app:1",
    "]},[{",
    "\\\"\\\\",
    "\\ud83d\\ude00",
    "",
    "e30=",
];

/// What may be between tokens.
const BLANKS: [&str; 4] = ["", " ", "\n\t", "  "];

/// Draws bytes for a reader of JSON: raw, or a value, or a value with one fault.
pub(crate) fn json_bytes(u: &mut Unstructured<'_>, top: Top) -> Result<Vec<u8>> {
    if u.ratio(1, 16)? {
        return Ok(u.bytes(u.len())?.to_vec());
    }
    let mut text = String::new();
    match top {
        Top::Any => value(u, &mut text, 0)?,
        Top::Index => index(u, &mut text)?,
        Top::Elements => list(u, &mut text, |u, text| object(u, text, 1))?,
        Top::Repositories => repositories(u, &mut text)?,
    }
    with_a_fault(u, text.into_bytes())
}

/// Draws a plan, with a fault in some.
pub(crate) fn plan_bytes(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let digest = *u.choose(&STRINGS)?;
    let number: i64 = u.arbitrary()?;
    let text = format!(
        r#"{{"schema_version":1,"made_at":"now","grace_ns":{number},"temp_age_ns":0,"layouts":[
        {{"path":"/a","state":"{digest}","entries":[{{"position":{number},"digest":"{digest}"}}],"allow_missing":true,
        "allow_empty":false,"delete":[{{"digest":"{digest}","size":{},"modified_ns":{number}}}],"temporary":["{}"],
        "reclaimed_bytes":1,"images":[{{"digest":"{digest}","names":["{}"],"action":"keep","reasons":[]}}]}}]}}"#,
        number.unsigned_abs(),
        u.choose(&["../x", "oci-put-blob1", "a/b"])?,
        u.choose(&STRINGS)?,
    );
    with_a_fault(u, text.into_bytes())
}

/// Damages some drawn values in one place.
fn with_a_fault(u: &mut Unstructured<'_>, mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    if u.ratio(1, 4)? && !bytes.is_empty() {
        let at = u.choose_index(bytes.len())?;
        match u.int_in_range(0..=2)? {
            0 => bytes.truncate(at),
            1 => bytes[at] = u.arbitrary()?,
            _ => bytes.insert(at, u.arbitrary()?),
        }
    }
    Ok(bytes)
}

/// The kind of the top value of a drawn document.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Top {
    /// Anything.
    Any,
    /// An object with one or more lists of `manifests`.
    Index,
    /// A list of objects.
    Elements,
    /// An object of objects of strings.
    Repositories,
}

fn blank(u: &mut Unstructured<'_>, text: &mut String) -> Result<()> {
    text.push_str(u.choose(&BLANKS)?);
    Ok(())
}

fn index(u: &mut Unstructured<'_>, text: &mut String) -> Result<()> {
    members(u, text, |u, text| {
        if u.ratio(2, 3)? {
            key(text, "manifests");
            list(u, text, descriptor)
        } else {
            let name = *u.choose(&KEYS)?;
            key(text, name);
            value(u, text, 2)
        }
    })
}

fn descriptor(u: &mut Unstructured<'_>, text: &mut String) -> Result<()> {
    if u.ratio(1, 8)? {
        return value(u, text, 2);
    }
    members(u, text, |u, text| {
        match u.int_in_range(0..=5)? {
            0 | 1 => {
                key(text, "digest");
                string(text, u.choose(&STRINGS[..4])?);
            }
            2 => {
                key(text, "size");
                text.push_str(&u.int_in_range(0..=99_999)?.to_string());
            }
            3 => {
                key(text, "annotations");
                members(u, text, |u, text| {
                    key(text, u.choose(&KEYS)?);
                    string(text, u.choose(&STRINGS)?);
                    Ok(())
                })?;
            }
            4 => {
                key(text, "mediaType");
                string(text, u.choose(&STRINGS)?);
            }
            _ => {
                let name = *u.choose(&KEYS)?;
                key(text, name);
                value(u, text, 3)?;
            }
        }
        Ok(())
    })
}

fn repositories(u: &mut Unstructured<'_>, text: &mut String) -> Result<()> {
    members(u, text, |u, text| {
        key(text, u.choose(&["app", "a/b", "app ", "\\u0061pp"])?);
        members(u, text, |u, text| {
            key(text, u.choose(&["1", "2", "la\\ttest", ""])?);
            string(text, u.choose(&STRINGS)?);
            Ok(())
        })
    })
}

fn value(u: &mut Unstructured<'_>, text: &mut String, depth: u32) -> Result<()> {
    let kinds = if depth < DEPTH { 6 } else { 3 };
    match u.int_in_range(0..=kinds)? {
        0 => text.push_str(u.choose(&["null", "true", "false"])?),
        1 => text.push_str(u.choose(&["0", "-1", "1e400", "0.5", "18446744073709551616"])?),
        2 | 3 => string(text, u.choose(&STRINGS)?),
        4 => list(u, text, |u, text| value(u, text, depth + 1))?,
        _ => object(u, text, depth)?,
    }
    Ok(())
}

fn object(u: &mut Unstructured<'_>, text: &mut String, depth: u32) -> Result<()> {
    members(u, text, |u, text| {
        let name = *u.choose(&KEYS)?;
        key(text, name);
        value(u, text, depth + 1)
    })
}

type Draw<'d> = dyn FnMut(&mut Unstructured<'_>, &mut String) -> Result<()> + 'd;

fn members(
    u: &mut Unstructured<'_>,
    text: &mut String,
    mut member: impl FnMut(&mut Unstructured<'_>, &mut String) -> Result<()>,
) -> Result<()> {
    enclosed(u, text, ['{', '}'], &mut member)
}

fn list(
    u: &mut Unstructured<'_>,
    text: &mut String,
    mut item: impl FnMut(&mut Unstructured<'_>, &mut String) -> Result<()>,
) -> Result<()> {
    enclosed(u, text, ['[', ']'], &mut item)
}

fn enclosed(
    u: &mut Unstructured<'_>,
    text: &mut String,
    [open, close]: [char; 2],
    item: &mut Draw<'_>,
) -> Result<()> {
    text.push(open);
    for position in 0..u.int_in_range(0..=4)? {
        if position > 0 {
            text.push(',');
        }
        blank(u, text)?;
        item(u, text)?;
        blank(u, text)?;
    }
    text.push(close);
    Ok(())
}

fn key(text: &mut String, name: &str) {
    string(text, name);
    text.push(':');
}

fn string(text: &mut String, content: &str) {
    text.push('"');
    text.push_str(content);
    text.push('"');
}

/// Draws a line of words with a meaning for the reader, and others.
pub(crate) fn line(u: &mut Unstructured<'_>, words: &[&str]) -> Result<String> {
    let mut text = String::new();
    for _ in 0..u.int_in_range(1..=6)? {
        if u.ratio(1, 6)? {
            text.push(u.arbitrary()?);
        } else {
            text.push_str(u.choose(words)?);
        }
    }
    Ok(text)
}
