//! A change of a file, stored such that it can be undone later.
//!
//! If the file is as the change left it, undoing restores every byte. If another program has written `index.json` since, each
//! entry is restored at its position among the current entries. *Promise*: the changes of others are kept, a name that has moved
//! to another image is kept there, and the result is parsed and compared with the request before it is returned.

use std::collections::{HashMap, HashSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::annotations::entry_names;
use super::descriptor::folds_to;
use super::digest::{Algorithm, Digest};
use super::index_json::{Edit, Entry, IndexDoc};
use super::json_edit::{Splice, apply, members, offset_in};

/// One part of a file that was replaced by another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextChange {
    /// The digest of the file before.
    pub old: String,
    /// The digest of the file after.
    pub new: String,
    /// The number of equal bytes before the part.
    start: usize,
    /// The number of equal bytes after it.
    end: usize,
    /// The part as it was before.
    text: String,
}

impl TextChange {
    /// Compares two versions.
    #[must_use]
    pub fn between(old: &str, new: &str) -> Self {
        let same = |a: &mut dyn Iterator<Item = char>, b: &mut dyn Iterator<Item = char>| {
            let same = a.zip(b).take_while(|(a, b)| a == b);
            same.map(|(a, _)| a.len_utf8()).sum::<usize>()
        };
        let start = same(&mut old.chars(), &mut new.chars());
        let (old_rest, new_rest) = (
            old.get(start..).unwrap_or_default(),
            new.get(start..).unwrap_or_default(),
        );
        let end = same(&mut old_rest.chars().rev(), &mut new_rest.chars().rev());
        let text = old_rest
            .get(..old_rest.len().saturating_sub(end))
            .unwrap_or_default();
        Self {
            old: digest_of(old),
            new: digest_of(new),
            start,
            end,
            text: text.to_owned(),
        }
    }

    /// Returns `true` if the current version is the one before the change.
    #[must_use]
    pub fn is_undone(&self, today: &str) -> bool {
        digest_of(today) == self.old
    }

    /// Returns the version before the change; `None` if the current version is not the one after it.
    #[must_use]
    pub fn undone(&self, today: &str) -> Option<String> {
        if digest_of(today) != self.new {
            return None;
        }
        let head = today.get(..self.start)?;
        let tail = today.get(today.len().checked_sub(self.end)?..)?;
        let text = [head, &self.text, tail].concat();
        (digest_of(&text) == self.old).then_some(text)
    }
}

/// Returns the members of an entry, in no order and without empty annotations: most programs write all of `index.json` again
/// from a model of it.
fn members_of(text: &str) -> Option<serde_json::Value> {
    let mut entry: serde_json::Value = serde_json::from_str(text).ok()?;
    let members = entry.as_object_mut()?;
    let annotations = members.get("annotations").and_then(|it| it.as_object());
    if annotations.is_some_and(serde_json::Map::is_empty) {
        members.remove("annotations");
    }
    Some(entry)
}

fn digest_of(text: &str) -> String {
    Digest::of(Algorithm::Sha256, text.as_bytes()).to_string()
}

/// A change of `index.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexChange {
    /// The bytes.
    #[serde(flatten)]
    pub text: TextChange,
    /// The entries that were removed or edited, in their order.
    entries: Vec<RemovedEntry>,
    /// The entries that replaced some of them.
    replacements: Vec<String>,
    /// Names of removed entries that other entries had as well, and kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    shared: Vec<SharedName>,
}

/// A name of a removed entry, and an image that kept it in another entry; it may be the same image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SharedName {
    name: String,
    digest: Digest,
}

/// An entry that was removed or edited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RemovedEntry {
    /// Its position among the entries before.
    position: usize,
    /// The digest of the preceding unchanged entry; `None` if there was none.
    after: Option<String>,
    /// The entry, as it was written.
    text: String,
}

/// `index.json` after a change was undone.
#[derive(Debug, Default)]
pub struct RestoredIndex {
    /// The new index; `None` if there is nothing to restore.
    pub index: Option<IndexDoc>,
    /// The names that are restored.
    pub names: Vec<String>,
    /// The digests of the entries that are restored.
    pub digests: Vec<Digest>,
    /// Names that have moved to another image and are kept there.
    pub moved: Vec<String>,
}

impl IndexChange {
    /// Compares an index with its edited version.
    #[must_use]
    pub fn between(old: &IndexDoc, new: &IndexDoc) -> Self {
        let mut places: HashMap<&str, VecDeque<usize>> = HashMap::new();
        for (position, entry) in new.entries().iter().enumerate() {
            let places = places.entry(new.entry_text(entry)).or_default();
            places.push_back(position);
        }
        let mut is_same = vec![false; new.entries().len()];
        let mut next = 0;
        let mut after: Option<&str> = None;
        let mut entries = Vec::new();
        let mut kept = Vec::new();
        for (position, entry) in old.entries().iter().enumerate() {
            let text = old.entry_text(entry);
            let found = places.get_mut(text).and_then(|places| {
                while places.front().is_some_and(|place| *place < next) {
                    places.pop_front();
                }
                places.pop_front()
            });
            match found {
                Some(place) => {
                    next = place + 1;
                    after = Some(text);
                    kept.push((position, &entry.digest));
                    if let Some(is_same) = is_same.get_mut(place) {
                        *is_same = true;
                    }
                }
                None => entries.push(RemovedEntry {
                    position,
                    after: after.map(digest_of),
                    text: text.to_owned(),
                }),
            }
        }
        let replacements = new.entries().iter().zip(is_same);
        let replacements = replacements
            .filter(|(_, is_same)| !is_same)
            .map(|(entry, _)| new.entry_text(entry).to_owned());
        let removed: HashSet<String> = entries.iter().flat_map(|it| names(&it.text)).collect();
        let mut shared = Vec::new();
        for (position, digest) in kept {
            let (Some(details), Ok(digest)) = (old.all_details().get(position), digest) else {
                continue;
            };
            let names = entry_names(details).into_iter();
            let names = names.filter(|name| removed.contains(&*name.text));
            shared.extend(names.map(|name| SharedName {
                name: name.text.into(),
                digest: digest.clone(),
            }));
        }
        Self {
            text: TextChange::between(old.text(), new.text()),
            entries,
            replacements: replacements.collect(),
            shared,
        }
    }

    /// Returns the digests of the entries that were removed or edited.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        self.entries.iter().filter_map(|entry| digest(&entry.text))
    }

    /// Returns the digests of the entries that took the place of others.
    pub fn replacements(&self) -> impl Iterator<Item = Digest> {
        self.replacements.iter().filter_map(|text| digest(text))
    }

    /// Returns the names that the change removed: those that no replacement has.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let kept: HashSet<String> = self
            .replacements
            .iter()
            .flat_map(|text| names(text))
            .collect();
        let removed = self.entries.iter().flat_map(|entry| names(&entry.text));
        removed.filter(|name| !kept.contains(name)).collect()
    }

    /// Undoes the change in the current index.
    ///
    /// # Errors
    /// A description of what is impossible.
    pub fn undone(&self, today: &IndexDoc) -> Result<RestoredIndex, String> {
        if self.text.is_undone(today.text()) {
            return Ok(RestoredIndex::default());
        }
        match self.text.undone(today.text()) {
            Some(text) => Ok(RestoredIndex {
                index: Some(parse(text)?),
                names: self.names(),
                digests: self.digests().collect(),
                moved: Vec::new(),
            }),
            None => self.merged(today),
        }
    }

    /// Restores each entry at its position among the entries of other programs.
    fn merged(&self, today: &IndexDoc) -> Result<RestoredIndex, String> {
        let entries = today.entries().iter().enumerate();
        let mut list: Vec<Item> = entries
            .map(|(position, entry)| Item {
                position: Some(position),
                names: names_of(today, entry),
                digest: entry.digest.clone().ok(),
                is_simple: entry.others.is_empty(),
                is_matched: false,
                text: today.entry_text(entry).to_owned(),
            })
            .collect();
        let places: HashMap<String, String> = list
            .iter()
            .map(|item| (digest_of(&item.text), item.text.clone()))
            .collect();
        let mut cuts = Vec::new();
        for replacement in &self.replacements {
            // A replacement that another program has changed since belongs to that program.
            if let Some(at) = position_of(replacement, &list)? {
                let item = list.remove(at);
                cuts.extend(item.position.map(|position| Edit::RemoveEntry { position }));
            }
        }
        let mut restored = RestoredIndex::default();
        let mut last: Option<(&Option<String>, usize)> = None;
        for removed in &self.entries {
            // Of several equal entries each is restored.
            let is_open = |item: &Item| !item.is_matched && item.text == removed.text;
            if let Some(at) = list.iter().position(is_open) {
                if let Some(item) = list.get_mut(at) {
                    item.is_matched = true;
                }
                last = Some((&removed.after, at));
                continue;
            }
            let Some(item) = self.free_of_others(removed, &list, &mut restored.moved)? else {
                continue;
            };
            let place = |after: &str| {
                let text = places.get(after)?;
                list.iter().position(|item| item.text == *text)
            };
            let at = match (&last, &removed.after) {
                (Some((after, at)), _) if *after == &removed.after => at + 1,
                (_, None) => 0,
                (_, Some(after)) => {
                    place(after).map_or(removed.position.min(list.len()), |at| at + 1)
                }
            };
            restored.names.extend_from_slice(&item.names);
            restored.digests.extend(item.digest.clone());
            list.insert(at, item);
            last = Some((&removed.after, at));
        }
        if !cuts.is_empty() || list.iter().any(|item| item.position.is_none()) {
            let frame = today.edited(&cuts)?;
            restored.index = Some(filled(&frame, &list)?);
        }
        Ok(restored)
    }
}

impl IndexChange {
    /// Returns an entry without the names that have moved to other images; `None` if the rest of it is listed already.
    fn free_of_others(
        &self,
        removed: &RemovedEntry,
        list: &[Item],
        moved: &mut Vec<String>,
    ) -> Result<Option<Item>, String> {
        let own = alone(&removed.text)?;
        let Some(entry) = own.entries().first() else {
            return Ok(None);
        };
        let own_digest = entry.digest.clone().ok();
        let details = own.details(entry);
        let own_names = entry_names(&details);
        let mut taken = Vec::new();
        // What the change removed together is restored together, also where two images had one name.
        let others = || list.iter().filter(|item| !item.is_matched);
        for item in others() {
            let is_same = own_digest.is_some() && item.digest == own_digest;
            if is_same && own_names.is_empty() {
                return Ok(None);
            }
            for name in own_names
                .iter()
                .filter(|own| item.names.iter().any(|name| **name == *own.text))
            {
                let is_shared = |shared: &SharedName| {
                    *shared.name == *name.text && Some(&shared.digest) == item.digest.as_ref()
                };
                if self.shared.iter().any(is_shared) {
                    continue;
                }
                if is_same {
                    // Another program has listed it again.
                    return Ok(None);
                }
                if !taken.contains(&name) {
                    taken.push(name);
                }
            }
        }
        moved.extend(taken.iter().map(|name| name.text.to_string()));
        let is_untagged = !taken.is_empty() && taken.len() == own_names.len();
        if is_untagged && own_digest.is_some() && others().any(|item| item.digest == own_digest) {
            return Ok(None);
        }
        let keys: Vec<&str> = if is_untagged {
            // The short name beside a full name is the same name and is removed with it.
            let all = [super::REF_NAME, super::CONTAINERD_NAME, super::BASE_NAME].into_iter();
            all.filter(|key| details.annotations.contains_key(key))
                .collect()
        } else {
            taken.iter().map(|name| name.key).collect()
        };
        let edits: Vec<Edit> = keys
            .into_iter()
            .map(|key| Edit::RemoveAnnotation {
                position: 0,
                key: key.into(),
            })
            .collect();
        let edited = own.edited(&edits)?;
        Ok(edited.entries().first().map(|entry| Item {
            position: None,
            text: edited.entry_text(entry).to_owned(),
            names: names_of(&edited, entry),
            is_simple: entry.others.is_empty(),
            is_matched: true,
            digest: own_digest,
        }))
    }
}

/// An entry of the merged list.
struct Item {
    /// Its position in the current index; `None` if it is restored.
    position: Option<usize>,
    text: String,
    names: Vec<String>,
    digest: Option<Digest>,
    /// It references nothing but its digest.
    is_simple: bool,
    /// It is restored, or is one of the entries to restore.
    is_matched: bool,
}

/// Returns the position of an entry: of its exact text, or of one with the same members.
fn position_of(replacement: &str, list: &[Item]) -> Result<Option<usize>, String> {
    if let Some(at) = list.iter().position(|item| item.text == *replacement) {
        return Ok(Some(at));
    }
    let own = alone(replacement)?;
    // Members of an entry with further references may be repeated, which a model of it drops.
    let entry = own.entries().first();
    let Some(Ok(digest)) = entry.filter(|it| it.others.is_empty()).map(|it| &it.digest) else {
        return Ok(None);
    };
    let members = members_of(replacement);
    Ok(list.iter().position(|item| {
        let is_candidate = item.is_simple && item.digest.as_ref() == Some(digest);
        is_candidate && members.is_some() && members_of(&item.text) == members
    }))
}

/// Returns the index with the given entries, inserting those without a position.
fn filled(frame: &IndexDoc, list: &[Item]) -> Result<IndexDoc, String> {
    let entries = frame.entries();
    let text = frame.text();
    let mut splices = Vec::new();
    let mut before = 0;
    for run in list.chunk_by(|a, b| a.position.is_none() == b.position.is_none()) {
        let new: Vec<&str> = run.iter().map(|item| item.text.as_str()).collect();
        if run.iter().any(|item| item.position.is_none()) {
            splices.push(insertion(text, entries, before, &new)?);
        } else {
            before += run.len();
        }
    }
    let index = parse(apply(text, splices)?)?;
    let found = index.entries().iter().map(|entry| index.entry_text(entry));
    if !found.eq(list.iter().map(|item| item.text.as_str())) {
        return Err("the entries do not match the request".to_owned());
    }
    if index.other_links() != frame.other_links() {
        return Err("a reference outside the entries changed".to_owned());
    }
    Ok(index)
}

/// Inserts entries after the first `before` entries.
fn insertion(text: &str, entries: &[Entry], before: usize, new: &[&str]) -> Result<Splice, String> {
    let Some(first) = entries.first() else {
        return into_empty(text, new);
    };
    let between = |start: usize, end: usize| text.get(start..end).unwrap_or_default();
    let gap = match entries.get(1) {
        Some(second) if !between(first.span.end, second.span.start).contains(']') => {
            between(first.span.end, second.span.start).to_owned()
        }
        _ => {
            let head = text.get(..first.span.start).unwrap_or_default();
            format!(",{}", between(head.trim_end().len(), head.len()))
        }
    };
    let joined = new.join(&gap);
    let (at, with) = match before.checked_sub(1).and_then(|last| entries.get(last)) {
        Some(last) => (last.span.end, format!("{gap}{joined}")),
        None => (first.span.start, format!("{joined}{gap}")),
    };
    Ok(Splice {
        range: at..at,
        with,
    })
}

/// Fills an empty array of entries.
fn into_empty(text: &str, new: &[&str]) -> Result<Splice, String> {
    let all = members(text)?;
    let list = all
        .iter()
        .rev()
        .find(|(name, _)| folds_to(name, "manifests"));
    let (_, list) = list.ok_or_else(|| "it has no `manifests`".to_owned())?;
    let with = if text.trim_end().contains('\n') {
        format!("[\n    {}\n  ]", new.join(",\n    "))
    } else {
        format!("[{}]", new.join(","))
    };
    Ok(Splice {
        range: offset_in(text, list)?,
        with,
    })
}

fn parse(text: String) -> Result<IndexDoc, String> {
    IndexDoc::parse(text.into_bytes())
        .map_err(|error| format!("the result is not an index: {error}"))
}

/// Returns an index of one entry.
fn alone(text: &str) -> Result<IndexDoc, String> {
    parse(format!(r#"{{"manifests":[{text}]}}"#))
}

fn names(text: &str) -> Vec<String> {
    let Ok(index) = alone(text) else {
        return Vec::new();
    };
    let entries = index.entries().iter();
    entries.flat_map(|entry| names_of(&index, entry)).collect()
}

fn names_of(index: &IndexDoc, entry: &Entry) -> Vec<String> {
    let names = entry_names(&index.details(entry)).into_iter();
    names.map(|name| name.text.into()).collect()
}

fn digest(text: &str) -> Option<Digest> {
    let index = alone(text).ok()?;
    index.entries().first()?.digest.clone().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seed: &str, name: &str) -> String {
        let digest = Digest::of(Algorithm::Sha256, seed.as_bytes());
        format!(
            r#"{{"digest":"{digest}","size":1,"annotations":{{"org.opencontainers.image.ref.name":"{name}"}}}}"#
        )
    }

    fn index(entries: &[String], gap: &str) -> IndexDoc {
        let text = format!(r#"{{"x":1.0,"manifests":[ {} ]}}"#, entries.join(gap));
        IndexDoc::parse(text.into_bytes()).expect("an index")
    }

    fn texts(index: &IndexDoc) -> Vec<String> {
        let entries = index.entries().iter();
        entries
            .map(|entry| index.entry_text(entry).to_owned())
            .collect()
    }

    fn without(index: &IndexDoc, positions: &[usize]) -> IndexDoc {
        let edits: Vec<Edit> = positions
            .iter()
            .map(|position| Edit::RemoveEntry {
                position: *position,
            })
            .collect();
        index.edited(&edits).expect("an edit")
    }

    #[test]
    fn undo_restores_every_byte_of_an_unchanged_index() {
        let all: Vec<String> = ["a", "b", "ä", "d"]
            .iter()
            .map(|name| entry(name, name))
            .collect();
        let old = index(&all, " ,\n ");
        for mask in 0..16_usize {
            let gone: Vec<usize> = (0..4).filter(|at| mask & (1 << at) != 0).collect();
            let new = without(&old, &gone);
            let change = IndexChange::between(&old, &new);
            let restored = change.undone(&new).expect("it can be undone");
            assert_eq!(restored.names.len(), gone.len());
            let text = restored
                .index
                .map_or(new.text().to_owned(), |index| index.text().to_owned());
            assert_eq!(text, old.text(), "{gone:?}");
            let again = change.undone(&old).expect("it can be undone");
            assert!(again.index.is_none() && again.names.is_empty());
        }
    }

    #[test]
    fn a_replacement_is_recognised_by_its_members_unless_it_references_more() {
        let (old, new) = (entry("old", "app:1"), entry("new", "app:1"));
        let change = IndexChange::between(
            &index(std::slice::from_ref(&old), ","),
            &index(std::slice::from_ref(&new), ","),
        );
        let digest = |seed: &str| Digest::of(Algorithm::Sha256, seed.as_bytes());
        let name = r#""annotations":{"org.opencontainers.image.ref.name":"app:1"}"#;
        let reordered = format!(r#"{{"size": 1, {name}, "digest": "{}"}}"#, digest("new"));
        let repeated = format!(
            r#"{{"digest":"{}","digest":"{}","size":1,{name}}}"#,
            digest("other"),
            digest("new"),
        );
        let undone = |entry: &str| {
            let today = index(&[entry.to_owned()], ",");
            let restored = change.undone(&today).expect("it can be undone");
            texts(&restored.index.expect("something is restored"))
        };
        assert_eq!(undone(&reordered), [old]);
        // Only another program can have written this.
        assert!(undone(&repeated).contains(&repeated));
    }

    /// What was ambiguous before the change is so again, whatever is listed beside it now.
    #[test]
    fn a_name_of_two_images_is_restored_on_both() {
        let unnamed = format!(
            r#"{{"digest":"{}","size":1}}"#,
            Digest::of(Algorithm::Sha256, b"b")
        );
        let all = [
            entry("a", "app:1"),
            entry("b", "app:1"),
            unnamed,
            entry("c", "app:1"),
        ];
        let other = entry("other", "new");
        for mask in 1..16_usize {
            let is_gone = |at: usize| mask & (1 << at) != 0;
            let gone: Vec<usize> = (0..4).filter(|at| is_gone(*at)).collect();
            let new = without(&index(&all, ","), &gone);
            let change = IndexChange::between(&index(&all, ","), &new);
            let today = [texts(&new), vec![other.clone()]].concat();
            let restored = change
                .undone(&index(&today, ", "))
                .expect("it can be undone");
            assert!(restored.moved.is_empty(), "{gone:?}: {:?}", restored.moved);
            let found = restored.index.map_or(today, |index| texts(&index));
            // The entry without a name is not restored beside another one of its image that was not removed.
            let is_left = is_gone(2) && !is_gone(1);
            let wanted = all
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != 2 || !is_left)
                .map(|(_, text)| text.clone());
            let wanted: Vec<String> = wanted.chain([other.clone()]).collect();
            assert_eq!(found, wanted, "{gone:?}");
        }
        // A name that another program has given to a third image stays there.
        let new = without(&index(&all, ","), &[0, 1]);
        let change = IndexChange::between(&index(&all, ","), &new);
        let today = [texts(&new), vec![entry("third", "app:1")]].concat();
        let restored = change
            .undone(&index(&today, ", "))
            .expect("it can be undone");
        assert_eq!(restored.moved, ["app:1", "app:1"]);
    }

    /// An image may be listed twice under one name, and one of the entries have another name beside it.
    #[test]
    fn a_name_that_another_entry_of_the_image_kept_is_restored() {
        let digest = Digest::of(Algorithm::Sha256, b"a");
        let both = format!(
            r#"{{"digest":"{digest}","size":1,"annotations":{{"io.containerd.image.name":"ex.com/app:2","org.opencontainers.image.ref.name":"old"}}}}"#
        );
        let one = both.replace(r#","org.opencontainers.image.ref.name":"old""#, "");
        assert_ne!(one, both);
        let (named, other) = (entry("a", "ex.com/app:2"), entry("other", "new"));
        for (old, new) in [
            // The other name is removed from the entry, or the entry with both names is removed.
            (vec![named.clone(), both.clone()], vec![named.clone(), one]),
            (vec![both.clone(), named.clone()], vec![named.clone()]),
        ] {
            let change = IndexChange::between(&index(&old, ","), &index(&new, ","));
            let today = [new, vec![other.clone()]].concat();
            let restored = change
                .undone(&index(&today, ", "))
                .expect("it can be undone");
            assert!(restored.moved.is_empty(), "{:?}", restored.moved);
            let found = restored.index.map(|index| texts(&index));
            assert_eq!(found, Some([old, vec![other.clone()]].concat()));
        }
    }

    #[test]
    fn entries_are_restored_at_their_position_among_new_entries() {
        let all: Vec<String> = ["a", "b", "c", "d"]
            .iter()
            .map(|name| entry(name, name))
            .collect();
        let old = index(&all, ", ");
        for mask in 1..16_usize {
            let gone: Vec<usize> = (0..4).filter(|at| mask & (1 << at) != 0).collect();
            let new = without(&old, &gone);
            let change = IndexChange::between(&old, &new);
            let mut now = texts(&new);
            now.push(entry("e", "e"));
            let today = index(&now, ",\t");
            let restored = change.undone(&today).expect("it can be undone");
            let restored = restored.index.expect("something is put back");
            let mut expected = all.clone();
            expected.push(entry("e", "e"));
            assert_eq!(texts(&restored), expected, "{gone:?}");
            assert!(restored.text().starts_with(r#"{"x":1.0,"#));
            let again = change.undone(&restored).expect("it can be undone");
            assert!(again.index.is_none(), "{gone:?}");
        }
    }

    #[test]
    fn entries_are_restored_into_an_empty_index() {
        let old = index(&[entry("a", "a")], ",");
        let change = IndexChange::between(&old, &without(&old, &[0]));
        for text in [
            r#"{"manifests":null}"#,
            r#"{"manifests":[]}"#,
            "{\n  \"manifests\": []\n}\n",
        ] {
            let today = IndexDoc::parse(text.into()).expect("an index");
            let restored = change.undone(&today).expect("it can be undone");
            let restored = restored.index.expect("something is put back");
            assert_eq!(texts(&restored), [entry("a", "a")], "{text}");
        }
    }

    #[test]
    fn a_name_that_moved_to_another_image_is_kept_there() {
        let old = index(&[entry("a", "app:1"), entry("b", "b")], ",");
        let change = IndexChange::between(&old, &without(&old, &[0]));
        let today = index(&[entry("b", "b"), entry("c", "app:1")], ",");
        let restored = change.undone(&today).expect("it can be undone");
        assert_eq!(restored.moved, ["app:1"]);
        assert_eq!(restored.digests.len(), 1);
        let now = restored.index.expect("the image is listed again");
        let texts = texts(&now);
        assert_eq!(texts.len(), 3);
        assert!(names(&texts[0]).is_empty() && digest(&texts[0]) == digest(&entry("a", "")));
        assert_eq!(texts[2], entry("c", "app:1"));
        let again = change.undone(&now).expect("it can be undone");
        assert!(again.index.is_none());
    }

    #[test]
    fn an_edited_entry_is_restored() {
        let old = index(&[entry("a", "a"), entry("b", "b")], ",");
        let edit = Edit::RemoveAnnotation {
            position: 0,
            key: super::super::REF_NAME.into(),
        };
        let new = old.edited(&[edit]).expect("an edit");
        let change = IndexChange::between(&old, &new);
        assert_eq!(change.names(), ["a"]);
        let mut now = texts(&new);
        now.insert(0, entry("e", "e"));
        let restored = change.undone(&index(&now, ",")).expect("it can be undone");
        let restored = restored.index.expect("something is put back");
        let expected = [entry("a", "a"), entry("e", "e"), entry("b", "b")];
        let mut sorted = texts(&restored);
        sorted.sort();
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(sorted, expected);
    }
}
