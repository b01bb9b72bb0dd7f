//! Properties of arbitrary input. Each rule takes bytes, draws its input from them and panics if it is violated: tests use
//! random bytes, and a fuzzer uses coverage-guided ones (`tests/fuzz`).

use arbtest::arbitrary::{Result, Unstructured};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use ocisweep::oci::docker_archive::{DockerSave, blob_of, edit_repositories};
use ocisweep::oci::glob::Glob;
use ocisweep::oci::platform::Platform;
use ocisweep::oci::reference::{Reference, digest_tag};
use ocisweep::oci::{Digest, Document, Edit, IndexDoc};
use ocisweep::parse::size::parse_size;
use ocisweep::parse::time::{parse_duration, parse_until};
use ocisweep::plan::filter::Filters;
use ocisweep::plan::plan_file::PlanFile;
use serde_json::Value;
use serde_json::value::RawValue;

use super::draw::{Top, json_bytes, line, plan_bytes};
use super::oracle::{is_cut_from, is_plain, members};

/// A rule with its name. It returns `true` if the reader accepted the input; most faults need that.
pub(crate) type Rule = (&'static str, fn(&mut Unstructured<'_>) -> Result<bool>);

/// Every rule.
pub(crate) const RULES: [Rule; 9] = [
    ("index", index),
    ("edits", edits),
    ("document", document),
    ("saved", saved),
    ("repositories", repositories),
    ("plan", plan),
    ("reference", reference),
    ("platform", platform),
    ("filter", filter),
];

/// Anything accepted as an index is JSON, and its entries are the elements of its lists.
pub(crate) fn index(u: &mut Unstructured<'_>) -> Result<bool> {
    let bytes = json_bytes(u, Top::Index)?;
    let Ok(doc) = IndexDoc::parse(bytes.clone()) else {
        return Ok(false);
    };
    let text = String::from_utf8(bytes).expect("what was parsed is text");
    assert_eq!(doc.text(), text);
    let members =
        members(&text).unwrap_or_else(|| panic!("no object is taken for an index: {text}"));
    if members.iter().all(|(name, _)| name.is_ascii()) {
        let wanted: Vec<&str> = members
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("manifests"))
            .flat_map(|(_, list)| {
                serde_json::from_str::<Option<Vec<&RawValue>>>(list.get())
                    .unwrap_or_else(|_| panic!("no list of entries: {text}"))
                    .unwrap_or_default()
            })
            .map(RawValue::get)
            .collect();
        let found: Vec<&str> = doc
            .entries()
            .iter()
            .map(|entry| doc.entry_text(entry))
            .collect();
        assert_eq!(found, wanted, "{text}");
    }
    for entry in doc.entries() {
        std::hint::black_box(doc.details(entry));
        if let Ok(digest) = &entry.digest {
            let of_entry = doc.entry_text(entry);
            assert!(
                of_entry.contains(&digest.to_string()),
                "{of_entry}: {digest}"
            );
        }
    }
    Ok(true)
}

/// An edit makes the requested change and keeps every other byte.
pub(crate) fn edits(u: &mut Unstructured<'_>) -> Result<bool> {
    let bytes = json_bytes(u, Top::Index)?;
    let Ok(doc) = IndexDoc::parse(bytes) else {
        return Ok(false);
    };
    let mut removed = Vec::new();
    let mut kept = Vec::new();
    for (position, entry) in doc.entries().iter().enumerate() {
        if u.arbitrary()? {
            removed.push(Edit::RemoveEntry { position });
        } else {
            kept.push(doc.entry_text(entry));
        }
    }
    let edited = doc
        .edited(&removed)
        .unwrap_or_else(|why| panic!("{why}: {removed:?} of {}", doc.text()));
    let left: Vec<&str> = edited
        .entries()
        .iter()
        .map(|entry| edited.entry_text(entry))
        .collect();
    assert_eq!(left, kept, "{}", doc.text());
    assert!(is_cut_from(edited.text(), doc.text()), "{}", edited.text());
    assert_eq!(
        edited.other_links(),
        doc.other_links(),
        "{} became {}",
        doc.text(),
        edited.text()
    );
    for (position, entry) in doc.entries().iter().enumerate() {
        let details = doc.details(entry);
        for (key, _) in details.annotations.iter() {
            let edit = Edit::RemoveAnnotation {
                position,
                key: key.into(),
            };
            // Some cannot be edited (in a second descriptor within the first): refusing is allowed, a wrong result is not.
            if let Ok(edited) = doc.edited(&[edit]) {
                let now = edited.details(&edited.entries()[position]);
                let mut wanted = details.clone();
                wanted.annotations.remove(key);
                assert_eq!(now, wanted, "{} without {key}", doc.text());
                assert!(is_cut_from(edited.text(), doc.text()), "{}", edited.text());
            }
        }
        for (key, _) in details.annotations.iter() {
            let value = line(
                u,
                &["app:1", "@sha256:", "\"", "\\", "\n", "\u{1f600}", "]},[{"],
            )?;
            let edit = Edit::ReplaceAnnotation {
                position,
                key: key.into(),
                value: value.as_str().into(),
            };
            if let Ok(edited) = doc.edited(&[edit]) {
                let now = edited.details(&edited.entries()[position]);
                let mut wanted = details.clone();
                wanted.annotations.insert(key, value.as_str());
                assert_eq!(now, wanted, "{} with {key}: {value:?}", doc.text());
                let digests = |doc: &IndexDoc| -> Vec<String> {
                    let entries = doc.entries().iter();
                    entries.map(|entry| format!("{:?}", entry.digest)).collect()
                };
                assert_eq!(digests(&edited), digests(&doc), "{}", edited.text());
                for (other, (before, after)) in
                    doc.entries().iter().zip(edited.entries()).enumerate()
                {
                    let is_same = doc.entry_text(before) == edited.entry_text(after);
                    assert!(is_same || other == position, "{}", edited.text());
                }
            }
        }
        let digest = Digest::parse(&format!("sha256:{}", "c".repeat(64))).expect("a digest");
        let edit = Edit::ReplaceDigest {
            position,
            digest: digest.clone(),
            size: 77,
        };
        if let Ok(edited) = doc.edited(&[edit]) {
            let now = &edited.entries()[position];
            assert_eq!(now.digest.as_ref(), Ok(&digest), "{}", edited.text());
            assert_eq!(edited.details(now), details, "{}", edited.text());
        }
    }
    Ok(true)
}

/// Every reference in the known members of a document is found, in memory or as a stream.
pub(crate) fn document(u: &mut Unstructured<'_>) -> Result<bool> {
    let top = *u.choose(&[Top::Any, Top::Index])?;
    let bytes = json_bytes(u, top)?;
    let (streamed, end) = Document::scan_stream(&*bytes);
    let text = String::from_utf8_lossy(&bytes);
    // Another reader accepts the same texts, except for bytes that are not UTF-8 and halves of surrogate pairs.
    let is_plain = matches!(text, std::borrow::Cow::Borrowed(_)) && !text.contains("\\u");
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok();
    let scanned = Document::scan(&bytes);
    assert!(scanned.is_ok() || !is_json, "it is JSON: {text}");
    assert!(
        scanned.is_err() || is_json || !is_plain,
        "it is no JSON: {text}"
    );
    let Ok(document) = scanned else {
        return Ok(false);
    };
    assert!(end.is_ok(), "as a stream it ends early: {text}");
    assert_eq!(streamed.links, document.links, "{text}");
    let json: Value = match serde_json::from_slice(&bytes) {
        Ok(json) => json,
        // A reader that needs no numbers ignores those out of range.
        Err(_) => return Ok(true),
    };
    let one = |key: &str| json.get(key).into_iter();
    let many = |key: &str| one(key).filter_map(Value::as_array).flatten();
    let wanted = many("manifests")
        .chain(many("layers"))
        .chain(many("blobs"))
        .chain(one("config"))
        .chain(one("subject"));
    for descriptor in wanted {
        let digest = descriptor.get("digest").and_then(Value::as_str);
        if let Some(Ok(digest)) = digest.map(Digest::parse) {
            let is_found = document.links.iter().any(|link| link.digest == digest);
            assert!(is_found, "{digest} is not followed: {text}");
        }
    }
    Ok(true)
}

/// Exactly the requested elements and names are removed from docker's list.
pub(crate) fn saved(u: &mut Unstructured<'_>) -> Result<bool> {
    let bytes = json_bytes(u, Top::Elements)?;
    let Ok(Some(save)) = DockerSave::parse(&bytes) else {
        return Ok(false);
    };
    let gone: Vec<bool> = save
        .elements
        .iter()
        .map(|_| u.arbitrary())
        .collect::<Result<_>>()?;
    let is_name_gone: bool = u.arbitrary()?;
    let edited = save
        .edited(
            |position| gone[position],
            |_, name| is_name_gone && name == "app:1",
        )
        .unwrap_or_else(|why| panic!("{why}: {}", save.text()));
    assert!(is_cut_from(edited.text(), save.text()), "{}", edited.text());
    let kept = save.elements.iter().zip(&gone).filter(|(_, gone)| !**gone);
    let kept: Vec<_> = kept.map(|(element, _)| element).collect();
    assert_eq!(edited.elements.len(), kept.len(), "{}", edited.text());
    for (now, before) in edited.elements.iter().zip(kept) {
        assert_eq!((&now.config, &now.blobs), (&before.config, &before.blobs));
        let names = before.repo_tags.iter();
        let wanted: Vec<_> = names
            .filter(|name| !(is_name_gone && **name == "app:1"))
            .collect();
        let found: Vec<_> = now.repo_tags.iter().collect();
        assert_eq!(found, wanted, "{} became {}", save.text(), edited.text());
    }
    for element in &save.elements {
        for digest in &element.blobs {
            assert!(
                blob_of(&format!("./blobs/{}", digest.to_string().replace(':', "/"))).is_some()
            );
        }
    }
    Ok(true)
}

/// Exactly the requested names are removed from docker's oldest list.
pub(crate) fn repositories(u: &mut Unstructured<'_>) -> Result<bool> {
    let bytes = json_bytes(u, Top::Repositories)?;
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Ok(false);
    };
    let is_gone = |name: &str| name.ends_with(":1");
    let Ok(Some(edited)) = edit_repositories(text, |name, _| is_gone(name)) else {
        return Ok(false);
    };
    assert!(is_cut_from(&edited, text), "{edited}");
    if !is_plain(text) {
        return Ok(false);
    }
    // The values of names that are kept do not matter, and may be what others cannot read.
    let Ok(mut wanted) = serde_json::from_str::<Value>(text) else {
        return Ok(true);
    };
    for repository in wanted
        .as_object_mut()
        .into_iter()
        .flat_map(|top| top.values_mut())
    {
        if let Some(tags) = repository.as_object_mut() {
            tags.remove("1");
        }
    }
    let mut found: Value = serde_json::from_str(&edited).expect("an edited list is JSON");
    for list in [&mut wanted, &mut found] {
        if let Some(top) = list.as_object_mut() {
            top.retain(|_, tags| tags.as_object().is_none_or(|tags| !tags.is_empty()));
        }
    }
    assert_eq!(found, wanted, "{text}");
    Ok(true)
}

/// Anything accepted as a plan can be written again, with the same content.
pub(crate) fn plan(u: &mut Unstructured<'_>) -> Result<bool> {
    let bytes = plan_bytes(u)?;
    let Ok(plan) = PlanFile::parse(&bytes) else {
        return Ok(false);
    };
    let text = plan.to_json().expect("a plan can be written");
    let again = PlanFile::parse(text.as_bytes()).expect("what was written can be read");
    assert_eq!(again.to_json().expect("a plan can be written"), text);
    Ok(true)
}

/// A reference means the same in each of its spellings.
pub(crate) fn reference(u: &mut Unstructured<'_>) -> Result<bool> {
    const WORDS: [&str; 16] = [
        "a",
        "alpine",
        "library/",
        "docker.io/",
        "localhost",
        ":5000",
        "/",
        ":",
        "@",
        "sha256:",
        "-",
        "__",
        ".",
        "1.4",
        "A",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    let text = line(u, &WORDS)?;
    std::hint::black_box(digest_tag(&text));
    if let Ok(digest) = Digest::parse(&text) {
        assert_eq!(digest.to_string(), text);
    }
    let Ok(reference) = Reference::parse_normalized(&text) else {
        return Ok(false);
    };
    // An oddity of docker: an empty domain has no spelling.
    if !reference.domain.is_empty() {
        let again = Reference::parse_normalized(&reference.canonical());
        assert_eq!(again.as_ref(), Ok(&reference), "{text}");
    }
    let familiar = reference.familiar();
    // docker's other oddities: sixty-four digits alone are an ID, and a first part that looks like a domain is one.
    let first = familiar.split('/').next().unwrap_or_default();
    let looks_like_a_domain =
        reference.domain == "docker.io" && (first.contains(['.', ':']) || first == "localhost");
    match Reference::parse_normalized(&familiar) {
        Ok(again)
            if !(reference.domain.is_empty() || looks_like_a_domain && familiar.contains('/')) =>
        {
            assert_eq!(again, reference, "{text}");
        }
        Ok(_) => {}
        Err(why) => assert!(familiar.len() == 64, "{text}: {familiar}: {why}"),
    }
    let tagged = reference.with_default_tag();
    assert_eq!(tagged.clone().with_default_tag(), tagged);
    Ok(true)
}

/// A platform has one normal form, which matches itself.
pub(crate) fn platform(u: &mut Unstructured<'_>) -> Result<bool> {
    const WORDS: [&str; 14] = [
        "linux",
        "windows",
        "/",
        "amd64",
        "arm",
        "arm64",
        "aarch64",
        "v7",
        "v8",
        "v1",
        "(10.0.17763",
        "+win32k",
        ")",
        "x86_64",
    ];
    let text = line(u, &WORDS)?;
    let Ok(platform) = Platform::parse_specifier(&text, &Platform::host()) else {
        return Ok(false);
    };
    let normal = platform.normalized();
    assert_eq!(normal.normalized(), normal, "{text}");
    assert!(platform.matches_strict(&platform), "{text}");
    assert!(normal.matches_strict(&platform), "{text}");
    let again = Platform::parse_specifier(&normal.to_string(), &Platform::host());
    if let Ok(again) = again {
        assert_eq!(again.normalized(), normal, "{text}");
    }
    Ok(true)
}

/// Typed values are parsed or refused; a pattern without special characters matches only itself.
pub(crate) fn filter(u: &mut Unstructured<'_>) -> Result<bool> {
    const WORDS: [&str; 26] = [
        "label",
        "label!",
        "reference",
        "until",
        "before",
        "platform",
        "dangling",
        "=",
        "true",
        "24h",
        "7d",
        "1.5",
        "-",
        "ms",
        "GB",
        "KiB",
        "2024-01-02",
        "T15:04:05Z",
        "*",
        "**",
        "[a-z",
        "]",
        "\\",
        "?",
        "/",
        "9999999999999999999",
    ];
    let text = line(u, &WORDS)?;
    let now = Timestamp::UNIX_EPOCH;
    drop(Filters::parse(
        std::slice::from_ref(&text),
        now,
        &TimeZone::UTC,
    ));
    drop(parse_until(&text, now, &TimeZone::UTC));
    drop(parse_duration(&text));
    drop(parse_size(&text));
    let bytes: u64 = u.arbitrary()?;
    assert_eq!(parse_size(&format!("{bytes}B")), Ok(bytes));
    let other = line(u, &WORDS)?;
    if let Ok(glob) = Glob::new(&text) {
        let is_match = glob.matches(&other);
        if !Glob::is_pattern(&text) && !text.contains('\\') {
            assert_eq!(is_match, text == other, "{text} and {other}");
        }
    }
    let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
    let glob = Glob::new(&escaped).unwrap_or_else(|why| panic!("{escaped}: {why}"));
    assert!(glob.matches(&text), "{escaped}");
    assert_eq!(glob.matches(&other), text == other, "{escaped} and {other}");
    Ok(true)
}
