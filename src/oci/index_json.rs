//! `index.json`, or an image index blob, as text that can be edited without touching a byte more
//! than asked.
//!
//! Every tool that rewrites `index.json` through a data model drops what its model does not know
//! (fields, order, number spelling) and changes the digest of an index blob for nothing. Here an edit
//! cuts spans out of the text. *Promise*: [`IndexDoc::edited`] parses its own result again and
//! compares it with what was asked for before anybody can write it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::descriptor::{Details, Document, Link, Role, folds_to};
use super::digest::{Algorithm, Digest};
use super::json_edit::{Splice, apply, cut_runs, member_spans, members, offset_in};
use super::media_type::Kind;

/// The largest `index.json` that is read, in bytes. 100,000 entries as the known writers write them
/// take 35 MB.
pub const MAX_INDEX_BYTES: u64 = 256 << 20;

/// An image index as text, with the spans of its entries.
#[derive(Debug, Clone)]
pub struct IndexDoc {
    text: String,
    entries: Vec<Entry>,
    /// What the document refers to outside `manifests`, such as a `subject`.
    links: Vec<Link>,
}

/// One element of `manifests`.
#[derive(Debug, Clone)]
pub struct Entry {
    pub(super) span: Range<usize>,
    /// Which of several `manifests` arrays it stands in.
    array: usize,
    /// The digest, or the reason why there is none to follow.
    pub digest: Result<Digest, Box<str>>,
    /// What its media type promises.
    pub kind: Kind,
    /// The declared size in bytes.
    pub size: Option<u64>,
    /// It carries its blob in `data`.
    pub has_data: bool,
    /// Further blobs that the element refers to (a duplicated `digest`, a descriptor inside it).
    pub others: Vec<Link>,
}

/// Why a text is not an image index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Not UTF-8, not JSON, truncated, followed by other text, or nested too deep.
    #[error("{0}")]
    Syntax(serde_json::Error),
    /// JSON, but not an image index.
    #[error("{0}")]
    NotAnIndex(&'static str),
}

/// A change to one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// The entry goes.
    RemoveEntry {
        /// Its position among [`IndexDoc::entries`].
        position: usize,
    },
    /// One annotation of the entry goes, the entry stays.
    RemoveAnnotation {
        /// The position of the entry.
        position: usize,
        /// The key, exactly as written.
        key: Box<str>,
    },
    /// One annotation of the entry gets another value.
    ReplaceAnnotation {
        /// The position of the entry.
        position: usize,
        /// The key, exactly as written.
        key: Box<str>,
        /// The new value.
        value: Box<str>,
    },
    /// The entry refers to another blob, with everything else as it was.
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
    /// `"manifests": null` is an empty list (umoci writes it), a missing `schemaVersion` or
    /// `mediaType` is normal (rules_oci). A document without `manifests` is none: taking it for an
    /// empty index would make every blob garbage.
    ///
    /// # Errors
    /// [`IndexError`] when the text is not JSON or not an image index.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, IndexError> {
        let text = String::from_utf8(bytes).map_err(|error| {
            IndexError::Syntax(serde::de::Error::custom(format_args!(
                "invalid UTF-8 at byte {}",
                error.utf8_error().valid_up_to()
            )))
        })?;
        let mut deserializer = serde_json::Deserializer::from_str(&text);
        let top = TopLevel::deserialize(&mut deserializer).map_err(IndexError::Syntax)?;
        deserializer.end().map_err(IndexError::Syntax)?;
        match top.object {
            ObjectKind::NotAnObject => {
                return Err(IndexError::NotAnIndex("it is not a JSON object"));
            }
            ObjectKind::Other => {
                return Err(IndexError::NotAnIndex("it has no `manifests`"));
            }
            ObjectKind::BadManifests => {
                return Err(IndexError::NotAnIndex("its `manifests` is not an array"));
            }
            ObjectKind::Index => {}
        }
        let mut entries = Vec::new();
        for (array, elements) in top.arrays.iter().enumerate() {
            for raw in elements {
                entries.push(Entry::scan(&text, raw, array).map_err(IndexError::Syntax)?);
            }
        }
        // What stands outside `manifests` is what is found without the elements. That costs a copy, so
        // it is left out when nothing else is there that could hold a descriptor.
        let links = if top.has_other_objects {
            let without = entries.iter().map(|entry| Splice {
                range: entry.span.clone(),
                with: "null".to_owned(),
            });
            let rest = apply(&text, without.collect())
                .map_err(|why| IndexError::Syntax(serde::de::Error::custom(why)))?;
            Document::scan(rest.as_bytes())
                .map_err(|error| IndexError::Syntax(serde::de::Error::custom(error)))?
                .links
        } else {
            Vec::new()
        };
        Ok(Self {
            text,
            entries,
            links,
        })
    }

    /// Returns a document without a text, in the place of one that is not needed any more.
    pub(crate) const fn empty() -> Self {
        Self {
            text: String::new(),
            entries: Vec::new(),
            links: Vec::new(),
        }
    }

    /// Returns the entries in the order of the text.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns what the document refers to outside its entries.
    #[must_use]
    pub fn other_links(&self) -> &[Link] {
        &self.links
    }

    /// Returns the text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the annotations, platform and types of an entry. Parsed at each call: a sweep of
    /// 100,000 entries never needs them.
    ///
    /// # Panics
    /// When the entry is one of another document.
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

    /// Returns the text of an entry, exactly as written.
    ///
    /// # Panics
    /// When the entry is one of another document.
    #[must_use]
    pub fn entry_text(&self, entry: &Entry) -> &str {
        // An empty string would read as an entry without a name, and be taken for garbage.
        let text = self.text.get(entry.span.clone());
        text.expect("the span of an entry lies in the text that it was parsed from")
    }

    /// Returns the SHA-256 of the text, to tell whether it changed.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(Algorithm::Sha256, self.text.as_bytes())
    }

    /// Returns the document with the edits done and every other byte as it was.
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
    /// A text that says what is impossible: a position that is not there, an annotation that is not
    /// there, or (a defect of this module, caught here) a result that does not read back as asked.
    pub fn edited(&self, edits: &[Edit]) -> Result<Self, String> {
        let mut splices = self.removals(edits)?;
        // Neighbours are cut together: each alone would take the comma between them.
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

    fn slice(&self, range: Range<usize>) -> Result<&str, String> {
        self.text
            .get(range)
            .ok_or_else(|| "a span lies outside the text".to_owned())
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

    fn cut_annotations(&self, position: usize, keys: &[&str]) -> Result<Vec<Splice>, String> {
        let entry = self.entry(position)?;
        let mut splices = Vec::new();
        let mut found = vec![false; keys.len()];
        for (name, value) in members(self.slice(entry.span.clone())?)? {
            if !folds_to(&name, "annotations") {
                continue;
            }
            let spans: Vec<_> = member_spans(&self.text, value)?
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
        let entry = self.entry(position)?;
        let with = serde_json::to_string(value).map_err(|error| error.to_string())?;
        let mut splices = Vec::new();
        for (name, annotations) in members(self.slice(entry.span.clone())?)? {
            if !folds_to(&name, "annotations") {
                continue;
            }
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
        let entry = self.entry(position)?;
        let element = self.slice(entry.span.clone())?;
        let mut splices = Vec::new();
        let mut has_digest = false;
        for (name, value) in members(element)? {
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

    /// Compares the result with the edited model: the entries that stay are byte for byte the same,
    /// the edited ones read as asked, and the frame around them did not move.
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
                return Err(format!("entry {position} does not read as asked"));
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
    fn scan(text: &str, raw: &RawValue, array: usize) -> serde_json::Result<Self> {
        let span = offset_in(text, raw.get()).map_err(serde::de::Error::custom)?;
        let document =
            Document::scan_descriptor(raw.get().as_bytes()).map_err(serde::de::Error::custom)?;
        let mut links = document.links;
        // With two digests in one element readers differ in which one they take: the last is what
        // Go takes and is shown, all are followed.
        let own = links.iter().rposition(|link| link.role == Role::Child);
        let own = own.map(|position| links.remove(position));
        // Nearly all entries refer to nothing else: the room for more would outweigh them.
        links.shrink_to_fit();
        Ok(match own {
            Some(link) if document.damage.is_none() => Self {
                span,
                array,
                digest: Ok(link.digest),
                kind: link.kind,
                size: link.size,
                has_data: link.details.is_some_and(|details| details.data.is_some()),
                others: links,
            },
            own => {
                links.extend(own);
                Self {
                    span,
                    array,
                    digest: Err(document
                        .damage
                        .unwrap_or_else(|| "a descriptor without digest".into())),
                    kind: Kind::Unknown,
                    size: None,
                    has_data: false,
                    others: links,
                }
            }
        })
    }
}

/// Reads the details of a descriptor whose digest is invalid, by giving it a valid one.
fn details_without_digest(text: &str) -> Option<Details> {
    let mut with_digest = String::with_capacity(text.len() + 96);
    with_digest.push_str("{\"digest\":\"x:x\",");
    with_digest.push_str(text.trim_start().strip_prefix('{')?);
    let document = Document::scan_descriptor(with_digest.as_bytes()).ok()?;
    let link = document.links.into_iter().next()?;
    link.details.map(|details| *details)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ObjectKind {
    NotAnObject,
    Other,
    BadManifests,
    Index,
}

/// The top of an index: the raw elements of each `manifests` array.
struct TopLevel<'a> {
    object: ObjectKind,
    arrays: Vec<Vec<&'a RawValue>>,
    has_other_objects: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for TopLevel<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TopVisitor)
    }
}

struct TopVisitor;

impl TopVisitor {
    const NOT_AN_OBJECT: TopLevel<'static> = TopLevel {
        object: ObjectKind::NotAnObject,
        arrays: Vec::new(),
        has_other_objects: false,
    };
}

impl<'de> Visitor<'de> for TopVisitor {
    type Value = TopLevel<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an image index")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut top = TopLevel {
            object: ObjectKind::Other,
            arrays: Vec::new(),
            has_other_objects: false,
        };
        while let Some(key) = map.next_key::<String>()? {
            if !folds_to(&key, "manifests") {
                let value = map.next_value::<&RawValue>()?.get();
                top.has_other_objects |= value.starts_with(['{', '[']);
                continue;
            }
            match map.next_value()? {
                Elements::List(elements) => {
                    if top.object != ObjectKind::BadManifests {
                        top.object = ObjectKind::Index;
                    }
                    top.arrays.push(elements);
                }
                Elements::NotAList => top.object = ObjectKind::BadManifests,
            }
        }
        Ok(top)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::NOT_AN_OBJECT)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Self::NOT_AN_OBJECT)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Self::NOT_AN_OBJECT)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Self::NOT_AN_OBJECT)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Self::NOT_AN_OBJECT)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Self::NOT_AN_OBJECT)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Self::NOT_AN_OBJECT)
    }
}

/// The value of `manifests`.
enum Elements<'a> {
    List(Vec<&'a RawValue>),
    NotAList,
}

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        match raw.get().as_bytes().first() {
            Some(b'n') => Ok(Self::List(Vec::new())),
            Some(b'[') => serde_json::from_str(raw.get())
                .map(Self::List)
                .map_err(serde::de::Error::custom),
            _ => Ok(Self::NotAList),
        }
    }
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
    fn cuts_entries_and_keeps_every_other_byte() {
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
    fn cuts_in_each_of_several_arrays() {
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
    fn cuts_one_annotation_and_replaces_one_digest() {
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
    fn nothing_but_an_index_is_an_index() {
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
    fn what_real_writers_leave_out_is_normal() {
        assert!(
            doc(r#"{"schemaVersion":2,"manifests":null}"#)
                .entries()
                .is_empty()
        );
        assert!(doc(r#"{"manifests":[]}"#).entries().is_empty());
        assert_eq!(doc(r#"{"MANIFESTS":[{"digest":"$A"}]}"#).entries().len(), 1);
    }

    #[test]
    fn an_entry_with_an_invalid_digest_is_kept_as_damaged() {
        let doc = doc(
            r#"{"manifests":[{"digest":"sha256:..","annotations":{"k":"v"}},{"annotations":{"k":"w"}},{"digest":"$A"},"$B"]}"#,
        );
        let states: Vec<_> = doc
            .entries()
            .iter()
            .map(|entry| entry.digest.is_ok())
            .collect();
        assert_eq!(states, [false, false, true, false]);
        assert_eq!(doc.details(&doc.entries()[0]).annotations["k"], "v".into());
        assert_eq!(doc.details(&doc.entries()[1]).annotations["k"], "w".into());
    }

    #[test]
    fn follows_both_digests_and_what_stands_beside_the_entries() {
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

    /// Readers differ in which of two digests they take: where one is none, nobody can tell what is meant.
    #[test]
    fn an_entry_with_a_good_and_a_bad_digest_has_none() {
        for order in [["@a", "sha256:short"], ["sha256:short", "@a"]] {
            let [one, two] = order.map(|text| text.replace("@a", &digest('a')));
            let doc = IndexDoc::parse(
                format!(r#"{{"manifests":[{{"digest":"{one}","digest":"{two}","size":1}}]}}"#)
                    .into_bytes(),
            )
            .expect("it is an index");
            let entry = &doc.entries()[0];
            assert!(entry.digest.is_err(), "{order:?}");
            // What could be followed is followed all the same.
            let followed: Vec<_> = entry
                .others
                .iter()
                .map(|link| link.digest.to_string())
                .collect();
            assert_eq!(followed, [digest('a')], "{order:?}");
        }
    }

    /// Random documents with random spaces, nested lists and odd strings: every subset of removals
    /// leaves the rest byte for byte.
    #[test]
    fn random_subsets_of_random_documents() {
        arbtest::arbtest(|u| {
            let blank = |u: &mut arbtest::arbitrary::Unstructured<'_>| {
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
                let pad = blank(u)?;
                let letter = char::from(b'a' + u8::try_from(position).unwrap_or(0));
                elements.push(format!(
                    "{{{pad}\"digest\":\"{}\",{extra}}}",
                    digest(letter)
                ));
            }
            let mut text = format!("{{{}\"manifests\":[", blank(u)?);
            for (position, element) in elements.iter().enumerate() {
                if position > 0 {
                    text += &format!("{},{}", blank(u)?, blank(u)?);
                }
                text += element;
            }
            text += &format!("{}]}}{}", blank(u)?, blank(u)?);
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
