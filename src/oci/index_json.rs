//! `index.json`, or an image index blob, as text: an edit changes no other byte.
//!
//! A tool that rewrites `index.json` through a data model drops what its model does not know (fields, order, the spelling of
//! numbers) and changes the digest of an index blob needlessly. Here an edit cuts spans out of the text. *Promise*:
//! [`IndexDoc::edited`] parses its result and compares it with the request before it returns.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use serde::de::IgnoredAny;

use super::descriptor::{DescriptorScanner, Details, Document, Link, Role, folds_to};
use super::digest::{Algorithm, Digest};
use super::json_edit::{
    MemberPart, Splice, apply, cut_runs, member_spans, members, members_and_lists, offset_in,
};
use super::media_type::Kind;

/// The largest `index.json` that is read, in bytes. 100,000 entries of the known writers take 35 MB.
pub const MAX_INDEX_BYTES: u64 = 256 << 20;

/// An image index as text, with the spans of its entries.
#[derive(Debug, Clone)]
pub struct IndexDoc {
    text: String,
    entries: Vec<Entry>,
    /// The references outside `manifests`, such as a `subject`.
    links: Vec<Link>,
    /// The details of all entries, once a command needed them.
    details: OnceLock<Arc<[Arc<Details>]>>,
}

/// One element of `manifests`.
#[derive(Debug, Clone)]
pub struct Entry {
    pub(super) span: Range<usize>,
    /// The position of its array among several `manifests`.
    array: usize,
    /// The digest, or why there is no valid one.
    pub digest: Result<Digest, Box<str>>,
    /// The kind that its media type declares.
    pub kind: Kind,
    /// The declared size in bytes.
    pub size: Option<u64>,
    /// It has the bytes of its blob in `data`.
    pub has_data: bool,
    /// Further references in the element (a repeated `digest`, a nested descriptor).
    pub others: Vec<Link>,
}

/// Why a file is not an image index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Not UTF-8, not JSON, truncated, followed by other text, or nested too deeply.
    #[error("not valid JSON: {0}")]
    Syntax(String),
    /// JSON, but not an image index.
    #[error("not an image index: {0}")]
    NotAnIndex(&'static str),
}

/// A change to one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Removes the entry.
    RemoveEntry {
        /// Its position among [`IndexDoc::entries`].
        position: usize,
    },
    /// Removes one annotation and keeps the entry.
    RemoveAnnotation {
        /// The position of the entry.
        position: usize,
        /// The key, exactly as written.
        key: Box<str>,
    },
    /// Replaces the value of one annotation.
    ReplaceAnnotation {
        /// The position of the entry.
        position: usize,
        /// The key, exactly as written.
        key: Box<str>,
        /// The new value.
        value: Box<str>,
    },
    /// Replaces digest and size, and keeps everything else.
    ReplaceDigest {
        /// The position of the entry.
        position: usize,
        /// The new digest.
        digest: Digest,
        /// The new size in bytes.
        size: u64,
    },
}

impl Edit {
    const fn position(&self) -> usize {
        match self {
            Self::RemoveEntry { position }
            | Self::RemoveAnnotation { position, .. }
            | Self::ReplaceAnnotation { position, .. }
            | Self::ReplaceDigest { position, .. } => *position,
        }
    }
}

impl IndexDoc {
    /// Parses an image index.
    ///
    /// `"manifests": null` is an empty list (umoci writes it); `schemaVersion` and `mediaType` may be missing (rules_oci). A
    /// document without `manifests` is not an index: as an empty one it would make every blob garbage.
    ///
    /// # Errors
    /// [`IndexError`] if the bytes are not JSON or not an image index.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, IndexError> {
        let text = String::from_utf8(bytes).map_err(|error| {
            let position = error.utf8_error().valid_up_to();
            IndexError::Syntax(format!("invalid UTF-8 at byte {position}"))
        })?;
        if !text.trim_start().starts_with('{') {
            return Err(match serde_json::from_str::<IgnoredAny>(&text) {
                Ok(_) => IndexError::NotAnIndex("it is not a JSON object"),
                Err(error) => IndexError::Syntax(error.to_string()),
            });
        }
        let mut entries = Vec::new();
        let (mut arrays, mut has_other_objects) = (0, false);
        let is_list = |key: &str| folds_to(key, "manifests");
        for (_, part) in members_and_lists(&text, is_list).map_err(IndexError::Syntax)? {
            match part {
                MemberPart::Member(value) => {
                    has_other_objects |= value.starts_with(['{', '[']);
                    continue;
                }
                MemberPart::List(elements) => {
                    let scanned = crate::threads::map_with(
                        &elements,
                        DescriptorScanner::new,
                        |scanner, element| Entry::scan(scanner, &text, element, arrays),
                    );
                    drop(elements);
                    // In the place of the results: there is usually one list.
                    let scanned: Result<Vec<Entry>, String> = scanned.into_iter().collect();
                    let scanned = scanned.map_err(IndexError::Syntax)?;
                    if entries.is_empty() {
                        entries = scanned;
                    } else {
                        entries.extend(scanned);
                    }
                }
                MemberPart::Null => {}
                MemberPart::NoList => {
                    return Err(IndexError::NotAnIndex("its `manifests` is not an array"));
                }
            }
            arrays += 1;
        }
        if arrays == 0 {
            return Err(IndexError::NotAnIndex("it has no `manifests`"));
        }
        // The references outside `manifests` are those without the elements. That takes a copy of the text, which is skipped
        // if nothing else can hold a descriptor.
        let links = if has_other_objects {
            let without = entries.iter().map(|entry| Splice {
                range: entry.span.clone(),
                with: "null".to_owned(),
            });
            let rest = apply(&text, without.collect()).map_err(IndexError::Syntax)?;
            Document::scan(rest.as_bytes())
                .map_err(|error| IndexError::Syntax(error.to_string()))?
                .links
        } else {
            Vec::new()
        };
        Ok(Self {
            text,
            entries,
            links,
            details: OnceLock::new(),
        })
    }

    /// Returns an empty document to replace one that is no longer needed.
    pub(crate) const fn empty() -> Self {
        Self {
            text: String::new(),
            entries: Vec::new(),
            links: Vec::new(),
            details: OnceLock::new(),
        }
    }

    /// Returns the entries in the order of the document.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the references outside the entries.
    #[must_use]
    pub fn other_links(&self) -> &[Link] {
        &self.links
    }

    /// Returns the text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the annotations, platform and types of an entry. They are parsed on each call: a sweep of 100,000 entries never
    /// needs them.
    ///
    /// # Panics
    /// If the entry is one of another document.
    #[must_use]
    pub fn details(&self, entry: &Entry) -> Details {
        let text = self.entry_text(entry);
        Document::scan_descriptor(text.as_bytes())
            .ok()
            .and_then(|document| {
                document
                    .links
                    .into_iter()
                    .rev()
                    .find(|link| link.role == Role::Child)
                    .and_then(|link| link.details)
            })
            .map(|details| *details)
            .or_else(|| details_without_digest(text))
            .unwrap_or_default()
    }

    /// Returns the [details](Self::details) of each entry, in the order of the document. They are parsed on the first call.
    #[must_use]
    pub fn all_details(&self) -> &[Arc<Details>] {
        self.details.get_or_init(|| {
            crate::threads::map(&self.entries, |entry| Arc::new(self.details(entry))).into()
        })
    }

    /// Returns the text of an entry, exactly as written.
    ///
    /// # Panics
    /// If the entry is one of another document.
    #[must_use]
    pub fn entry_text(&self, entry: &Entry) -> &str {
        // An empty string would look like an entry without a name, which is garbage.
        let text = self.text.get(entry.span.clone());
        text.expect("the span of an entry is in the text that it was parsed from")
    }

    /// Returns the SHA-256 of the text, to detect changes.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(Algorithm::Sha256, self.text.as_bytes())
    }

    /// Returns the document with the edits applied and every other byte unchanged.
    ///
    /// ```
    /// use ocisweep::oci::{Edit, IndexDoc};
    ///
    /// let text = format!(
    ///     r#"{{ "manifests": [ {{"digest":"sha256:{}"}}, {{"digest":"sha256:{}"}} ], "x": 1.0 }}"#,
    ///     "a".repeat(64),
    ///     "b".repeat(64)
    /// );
    /// let index = IndexDoc::parse(text.into_bytes())?;
    /// let edited = index.edited(&[Edit::RemoveEntry { position: 0 }])?;
    /// assert_eq!(edited.entries().len(), 1);
    /// assert!(edited.text().ends_with(r#" ], "x": 1.0 }"#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A description of what is impossible: a position or an annotation that does not exist, or (a defect of this module,
    /// caught here) a result that does not match the request.
    pub fn edited(&self, edits: &[Edit]) -> Result<Self, String> {
        let mut splices = self.removals(edits)?;
        // Adjacent annotations are cut together: each alone would cut the comma between them.
        let mut cut: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for edit in edits {
            if let Edit::RemoveAnnotation { position, key } = edit {
                cut.entry(*position).or_default().push(key);
            }
        }
        for (position, keys) in &cut {
            splices.extend(self.cut_annotations(*position, keys)?);
        }
        for edit in edits {
            match edit {
                Edit::RemoveEntry { .. } | Edit::RemoveAnnotation { .. } => {}
                Edit::ReplaceAnnotation {
                    position,
                    key,
                    value,
                } => splices.extend(self.replace_annotation(*position, key, value)?),
                Edit::ReplaceDigest {
                    position,
                    digest,
                    size,
                } => splices.extend(self.replace_digest(*position, digest, *size)?),
            }
        }
        let text = apply(&self.text, splices)?;
        let edited = Self::parse(text.into_bytes())
            .map_err(|error| format!("the result is not an index: {error}"))?;
        self.prove(edits, &edited)?;
        Ok(edited)
    }

    fn entry(&self, position: usize) -> Result<&Entry, String> {
        self.entries
            .get(position)
            .ok_or_else(|| format!("there is no entry {position}"))
    }

    /// Cuts whole entries, array by array.
    fn removals(&self, edits: &[Edit]) -> Result<Vec<Splice>, String> {
        let mut gone = vec![false; self.entries.len()];
        for edit in edits {
            if let Edit::RemoveEntry { position } = edit {
                *gone
                    .get_mut(*position)
                    .ok_or_else(|| format!("there is no entry {position}"))? = true;
            }
        }
        let mut splices = Vec::new();
        let elements: Vec<_> = self.entries.iter().zip(gone).collect();
        for array in elements.chunk_by(|(before, _), (after, _)| before.array == after.array) {
            let spans: Vec<_> = array
                .iter()
                .map(|(entry, gone)| (entry.span.clone(), *gone))
                .collect();
            splices.extend(cut_runs(&spans));
        }
        Ok(splices)
    }

    /// Returns the `annotations` of an entry, as written; several if the key is repeated.
    fn annotations(&self, position: usize) -> Result<impl Iterator<Item = &str>, String> {
        let members = members(self.entry_text(self.entry(position)?))?;
        let annotations = members.into_iter();
        Ok(annotations.filter_map(|(key, value)| folds_to(&key, "annotations").then_some(value)))
    }

    fn cut_annotations(&self, position: usize, keys: &[&str]) -> Result<Vec<Splice>, String> {
        let mut splices = Vec::new();
        let mut found = vec![false; keys.len()];
        for annotations in self.annotations(position)? {
            let spans: Vec<_> = member_spans(&self.text, annotations)?
                .into_iter()
                .map(|member| {
                    let at = keys.iter().position(|key| *key == member.key);
                    if let Some(found) = at.and_then(|at| found.get_mut(at)) {
                        *found = true;
                    }
                    (member.span, at.is_some())
                })
                .collect();
            splices.extend(cut_runs(&spans));
        }
        for (key, found) in keys.iter().zip(found) {
            if !found {
                return Err(format!("entry {position} has no annotation `{key}`"));
            }
        }
        Ok(splices)
    }

    fn replace_annotation(
        &self,
        position: usize,
        key: &str,
        value: &str,
    ) -> Result<Vec<Splice>, String> {
        let with = serde_json::to_string(value).map_err(|error| error.to_string())?;
        let mut splices = Vec::new();
        for annotations in self.annotations(position)? {
            for (name, old) in members(annotations)? {
                if name == key {
                    splices.push(Splice {
                        range: offset_in(&self.text, old)?,
                        with: with.clone(),
                    });
                }
            }
        }
        if splices.is_empty() {
            return Err(format!("entry {position} has no annotation `{key}`"));
        }
        Ok(splices)
    }

    fn replace_digest(
        &self,
        position: usize,
        digest: &Digest,
        size: u64,
    ) -> Result<Vec<Splice>, String> {
        let mut splices = Vec::new();
        let mut has_digest = false;
        for (name, value) in members(self.entry_text(self.entry(position)?))? {
            let with = if folds_to(&name, "digest") {
                has_digest = true;
                format!("\"{digest}\"")
            } else if folds_to(&name, "size") {
                size.to_string()
            } else {
                continue;
            };
            splices.push(Splice {
                range: offset_in(&self.text, value)?,
                with,
            });
        }
        if has_digest {
            Ok(splices)
        } else {
            Err(format!("entry {position} has no digest"))
        }
    }

    /// Compares the result with the request: other entries are byte for byte the same, edited entries match, and the references
    /// around them did not change.
    fn prove(&self, edits: &[Edit], edited: &Self) -> Result<(), String> {
        let mut after = edited.entries.iter();
        let mut by_position: HashMap<usize, Vec<&Edit>> = HashMap::new();
        for edit in edits {
            by_position.entry(edit.position()).or_default().push(edit);
        }
        for (position, entry) in self.entries.iter().enumerate() {
            let mine = || by_position.get(&position).into_iter().flatten();
            if mine().any(|edit| matches!(edit, Edit::RemoveEntry { .. })) {
                continue;
            }
            let Some(now) = after.next() else {
                return Err(format!("entry {position} was lost"));
            };
            if mine().next().is_none() {
                if self.entry_text(entry) != edited.entry_text(now) {
                    return Err(format!("entry {position} was changed"));
                }
                continue;
            }
            let mut expected_digest = entry.digest.clone();
            let mut expected = self.details(entry);
            for edit in mine() {
                match edit {
                    Edit::RemoveEntry { .. } => {}
                    Edit::RemoveAnnotation { key, .. } => {
                        expected.annotations.remove(key);
                    }
                    Edit::ReplaceAnnotation { key, value, .. } => {
                        expected.annotations.insert(key.clone(), value.clone());
                    }
                    Edit::ReplaceDigest { digest, .. } => expected_digest = Ok(digest.clone()),
                }
            }
            if now.digest != expected_digest || edited.details(now) != expected {
                return Err(format!("entry {position} does not match the request"));
            }
        }
        if after.next().is_some() {
            return Err("an entry appeared".to_owned());
        }
        if self.links != edited.links {
            return Err("a reference outside the entries changed".to_owned());
        }
        Ok(())
    }
}

impl Entry {
    fn scan(
        scanner: &mut DescriptorScanner,
        text: &str,
        element: &str,
        array: usize,
    ) -> Result<Self, String> {
        let span = offset_in(text, element)?;
        let scanned = scanner.scan(element.as_bytes());
        let (links, damage) = scanned.map_err(|error| error.to_string())?;
        // Readers differ in which of two digests of an element they use: the last one, which Go uses, is shown, and all are
        // followed.
        let own = links.iter().rposition(|link| link.role == Role::Child);
        let own = own.map(|position| links.remove(position));
        let (digest, kind, size, has_data) = match own {
            Some(link) if damage.is_none() => {
                let has_data = link.details.is_some_and(|details| details.data.is_some());
                (Ok(link.digest), link.kind, link.size, has_data)
            }
            own => {
                links.extend(own);
                let why = damage.unwrap_or_else(|| "a descriptor without digest".into());
                (Err(why), Kind::Unknown, None, false)
            }
        };
        // Nearly all entries have no other reference, and leave the buffer to the next one.
        let mut others = Vec::new();
        if !links.is_empty() {
            std::mem::swap(&mut others, links);
            others.shrink_to_fit();
        }
        Ok(Self {
            span,
            array,
            digest,
            kind,
            size,
            has_data,
            others,
        })
    }
}

/// Returns the details of a descriptor with an invalid digest, by inserting a valid one.
fn details_without_digest(text: &str) -> Option<Details> {
    let mut with_digest = String::with_capacity(text.len() + 96);
    with_digest.push_str("{\"digest\":\"x:x\",");
    with_digest.push_str(text.trim_start().strip_prefix('{')?);
    let document = Document::scan_descriptor(with_digest.as_bytes()).ok()?;
    let link = document.links.into_iter().next()?;
    link.details.map(|details| *details)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    fn doc(text: &str) -> IndexDoc {
        IndexDoc::parse(fill(text).into_bytes()).expect("the case is an index")
    }

    fn fill(text: &str) -> String {
        text.replace("$A", &digest('a'))
            .replace("$B", &digest('b'))
            .replace("$C", &digest('c'))
    }

    fn removed(text: &str, positions: &[usize]) -> String {
        let edits: Vec<_> = positions
            .iter()
            .map(|&position| Edit::RemoveEntry { position })
            .collect();
        let edited = doc(text).edited(&edits).expect("possible");
        edited
            .text()
            .replace(&digest('a'), "$A")
            .replace(&digest('b'), "$B")
            .replace(&digest('c'), "$C")
    }

    #[test]
    fn removed_entries_are_cut_and_every_other_byte_is_kept() {
        let text = "{ \"x\" : 1.10,\n \"manifests\": [\n  {\"digest\":\"$A\"},\n  {\"digest\":\"$B\" , \"u\\u006e\":[1, 2]},\n  {\"digest\":\"$C\"}\n ] }\n";
        let a = "{\"digest\":\"$A\"}";
        let b = "{\"digest\":\"$B\" , \"u\\u006e\":[1, 2]}";
        let c = "{\"digest\":\"$C\"}";
        let around =
            |inner: &str| format!("{{ \"x\" : 1.10,\n \"manifests\": [\n  {inner}\n ] }}\n");
        let cases: &[(&[usize], String)] = &[
            (&[], around(&format!("{a},\n  {b},\n  {c}"))),
            (&[0], around(&format!("{b},\n  {c}"))),
            (&[1], around(&format!("{a},\n  {c}"))),
            (&[2], around(&format!("{a},\n  {b}"))),
            (&[0, 1], around(c)),
            (&[0, 2], around(b)),
            (&[1, 2], around(a)),
            (&[0, 1, 2], around("")),
        ];
        for (positions, expected) in cases {
            assert_eq!(removed(text, positions), *expected, "{positions:?}");
        }
    }

    #[test]
    fn entries_are_cut_in_each_of_several_arrays() {
        let text =
            r#"{"manifests":[{"digest":"$A"},{"digest":"$B"}],"Manifests":[{"digest":"$C"}]}"#;
        assert_eq!(
            removed(text, &[1, 2]),
            r#"{"manifests":[{"digest":"$A"}],"Manifests":[]}"#
        );
        assert_eq!(
            removed(text, &[0]),
            r#"{"manifests":[{"digest":"$B"}],"Manifests":[{"digest":"$C"}]}"#
        );
    }

    #[test]
    fn annotations_are_cut_and_digests_replaced() {
        let annotation = |position, key: &str| Edit::RemoveAnnotation {
            position,
            key: key.into(),
        };
        let cases = [
            (r#"{ "a":"1", "b":"2" }"#, "a", r#"{ "b":"2" }"#),
            (r#"{ "a":"1" , "b":"2" }"#, "b", r#"{ "a":"1" }"#),
            (r#"{"a":"1","b":"2","c":","}"#, "b", r#"{"a":"1","c":","}"#),
            (r#"{"a":"1"}"#, "a", "{}"),
            (r#"{"a":"1","a":"3","b":"2"}"#, "a", r#"{"b":"2"}"#),
            (r#"{"b":"2","a":"1","a":"3"}"#, "a", r#"{"b":"2"}"#),
            (r#"{"a":"1","b":"2","a":"3"}"#, "a", r#"{"b":"2"}"#),
            (r#"{"\u0061":"1","b":"2"}"#, "a", r#"{"b":"2"}"#),
        ];
        for (before, key, after) in cases {
            let frame = |inner: &str| {
                fill(r#"{"manifests":[{"digest":"$A","annotations":%}]}"#).replace('%', inner)
            };
            let doc = IndexDoc::parse(frame(before).into_bytes()).expect("valid");
            let edited = doc.edited(&[annotation(0, key)]).expect("possible");
            assert_eq!(edited.text(), frame(after), "{before} without {key}");
        }
        let text = r#"{"manifests":[ {"size" : 5 ,"digest": "$A","z":{"digest":"$A"}} ]}"#;
        let edited = doc(text)
            .edited(&[Edit::ReplaceDigest {
                position: 0,
                digest: Digest::parse(&digest('c')).expect("valid"),
                size: 17,
            }])
            .expect("possible");
        assert_eq!(
            edited.text(),
            fill(r#"{"manifests":[ {"size" : 17 ,"digest": "$C","z":{"digest":"$A"}} ]}"#)
        );
    }

    #[test]
    fn an_impossible_edit_is_an_error() {
        let doc = doc(r#"{"manifests":[{"digest":"$A"}]}"#);
        assert!(doc.edited(&[Edit::RemoveEntry { position: 1 }]).is_err());
        let key = "k".into();
        assert!(
            doc.edited(&[Edit::RemoveAnnotation { position: 0, key }])
                .is_err()
        );
    }

    #[test]
    fn other_documents_are_not_an_index() {
        let cases = [
            ("", "EOF"),
            ("{", "EOF"),
            ("[]", "not a JSON object"),
            ("null", "not a JSON object"),
            ("{}", "no `manifests`"),
            (r#"{"config":{},"layers":[]}"#, "no `manifests`"),
            (r#"{"manifests":{}}"#, "not an array"),
            (r#"{"manifests":[]} x"#, "trailing"),
            (r#"{"manifests":[{]}"#, "line 1"),
            ("\u{feff}{\"manifests\":[]}", "line 1"),
        ];
        for (text, expected) in cases {
            let error = IndexDoc::parse(text.into()).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let error = IndexDoc::parse(b"{\"manifests\":[\"\xff\"]}".to_vec()).expect_err("not UTF-8");
        assert!(error.to_string().contains("UTF-8"), "{error}");
    }

    #[test]
    fn omissions_of_known_writers_are_accepted() {
        assert!(
            doc(r#"{"schemaVersion":2,"manifests":null}"#)
                .entries()
                .is_empty()
        );
        assert!(doc(r#"{"manifests":[]}"#).entries().is_empty());
        assert_eq!(doc(r#"{"MANIFESTS":[{"digest":"$A"}]}"#).entries().len(), 1);
    }

    #[test]
    fn an_entry_with_an_invalid_digest_is_damaged_and_keeps_its_details() {
        let doc = doc(
            r#"{"manifests":[{"digest":"sha256:..","annotations":{"k":"v"}},{"annotations":{"k":"w"}},{"digest":"$A"},"$B"]}"#,
        );
        let states: Vec<_> = doc
            .entries()
            .iter()
            .map(|entry| entry.digest.is_ok())
            .collect();
        assert_eq!(states, [false, false, true, false]);
        assert_eq!(
            doc.details(&doc.entries()[0]).annotations.get("k"),
            Some("v")
        );
        assert_eq!(
            doc.details(&doc.entries()[1]).annotations.get("k"),
            Some("w")
        );
    }

    #[test]
    fn repeated_digests_and_references_outside_the_entries_are_followed() {
        let doc = doc(
            r#"{"manifests":[{"digest":"$A","digest":"$B"}],"subject":{"digest":"$C","size":1}}"#,
        );
        let entry = &doc.entries()[0];
        assert_eq!(
            entry.digest.as_ref().map(ToString::to_string),
            Ok(digest('b'))
        );
        assert_eq!(entry.others.len(), 1);
        assert_eq!(doc.other_links().len(), 1);
    }

    /// Readers differ in which of two digests they use.
    #[test]
    fn an_entry_with_a_valid_and_an_invalid_digest_has_no_digest() {
        for order in [["@a", "sha256:short"], ["sha256:short", "@a"]] {
            let [one, two] = order.map(|text| text.replace("@a", &digest('a')));
            let doc = IndexDoc::parse(
                format!(r#"{{"manifests":[{{"digest":"{one}","digest":"{two}","size":1}}]}}"#)
                    .into_bytes(),
            )
            .expect("it is an index");
            let entry = &doc.entries()[0];
            assert!(entry.digest.is_err(), "{order:?}");
            // The valid digest is followed anyway.
            let followed: Vec<_> = entry
                .others
                .iter()
                .map(|link| link.digest.to_string())
                .collect();
            assert_eq!(followed, [digest('a')], "{order:?}");
        }
    }

    /// Documents with random spaces, nested lists and odd strings.
    #[test]
    fn any_removal_from_a_random_document_keeps_every_other_entry() {
        arbtest::arbtest(|u| {
            let space = |u: &mut arbtest::arbitrary::Unstructured<'_>| {
                u.choose(&["", " ", "\n\t", "  "])
                    .map(|text| (*text).to_owned())
            };
            let count = u.int_in_range(0..=6)?;
            let mut elements = Vec::new();
            for position in 0..count {
                let extra = u.choose(&[
                    r#""k":"]},[{""#,
                    r#""manifests":[{"x":1},[]]"#,
                    r#""k":"\"\\""#,
                    r#""k":1e5"#,
                ])?;
                let pad = space(u)?;
                let letter = char::from(b'a' + u8::try_from(position).unwrap_or(0));
                elements.push(format!(
                    "{{{pad}\"digest\":\"{}\",{extra}}}",
                    digest(letter)
                ));
            }
            let mut text = format!("{{{}\"manifests\":[", space(u)?);
            for (position, element) in elements.iter().enumerate() {
                if position > 0 {
                    text += &format!("{},{}", space(u)?, space(u)?);
                }
                text += element;
            }
            text += &format!("{}]}}{}", space(u)?, space(u)?);
            let doc = IndexDoc::parse(text.into_bytes()).expect("valid by construction");
            let mut edits = Vec::new();
            let mut kept = Vec::new();
            for (position, element) in elements.iter().enumerate() {
                if u.arbitrary()? {
                    edits.push(Edit::RemoveEntry { position });
                } else {
                    kept.push(element.as_str());
                }
            }
            let edited = doc.edited(&edits).expect("possible");
            let now: Vec<_> = edited
                .entries()
                .iter()
                .map(|entry| edited.entry_text(entry))
                .collect();
            assert_eq!(now, kept);
            Ok(())
        });
    }
}
