//! A change of a file, stored such that it can be undone later.
//!
//! If the file has not changed since, undoing restores every byte. If another program has written `index.json` since, each
//! entry is restored at its position among the current entries, unless one with the same members is listed. *Promise*: the
//! changes of others are kept, a name that has moved to another image is kept there, every other name is restored, and the
//! result is parsed and compared with the request before it is returned.

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

/// Returns the key by which two entries are alike: their members, in any order and without empty annotations, since most
/// programs rewrite all of `index.json` from a data model. A model drops repeated members: an entry that references more
/// than its digest is only like one with the same text.
fn likeness(index: &IndexDoc, entry: &Entry) -> String {
    let text = index.entry_text(entry);
    if !entry.others.is_empty() {
        return text.to_owned();
    }
    let Ok(mut value) = serde_json::from_str::<serde_json::Value>(text) else {
        return text.to_owned();
    };
    if let Some(members) = value.as_object_mut() {
        let annotations = members.get("annotations").and_then(|it| it.as_object());
        if annotations.is_some_and(serde_json::Map::is_empty) {
            members.remove("annotations");
        }
    }
    // Repeated annotations count in a name, and not in the value.
    format!("{value} {:?}", names_of(index, entry))
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
    /// Kept entries with a name or the image of one of these, as far as undoing needs them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    beside: Vec<String>,
}

/// Returns the kept entries that undoing needs: those that have a name of a removed one, the first with a name for each of
/// their images, and the first that is like a replacement. An image may have many names.
fn beside(
    old: &IndexDoc,
    kept: &[usize],
    removed: &[RemovedEntry],
    replacements: &[String],
) -> Vec<String> {
    let removed_names: HashSet<String> = removed.iter().flat_map(|it| names(&it.text)).collect();
    let mut images: HashSet<Digest> = removed.iter().filter_map(|it| digest(&it.text)).collect();
    let replaced: HashSet<Digest> = replacements.iter().filter_map(|it| digest(it)).collect();
    let items = replacements.iter().filter_map(|it| Item::of(it).ok()?);
    let mut alike: HashSet<String> = items.map(|item| item.likeness).collect();
    let mut beside = Vec::new();
    for position in kept {
        let (Some(entry), Some(details)) = (
            old.entries().get(*position),
            old.all_details().get(*position),
        ) else {
            continue;
        };
        let image = entry.digest.as_ref().ok();
        let names = entry_names(details);
        let has_name = names.iter().any(|it| removed_names.contains(&*it.text));
        let is_first = !names.is_empty() && image.is_some_and(|image| images.remove(image));
        let is_alike = image.is_some_and(|image| replaced.contains(image))
            && alike.remove(&likeness(old, entry));
        if has_name || is_first || is_alike {
            beside.push(old.entry_text(entry).to_owned());
        }
    }
    beside
}

/// An entry that was removed or edited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RemovedEntry {
    /// Its position among the entries before.
    position: usize,
    /// The digest of the members of the preceding unchanged entry; `None` if there was none.
    after: Option<String>,
    /// The entry, as written.
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
        let mut after: Option<&Entry> = None;
        let mut after_digest: Option<String> = None;
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
                    after = Some(entry);
                    after_digest = None;
                    kept.push(position);
                    if let Some(is_same) = is_same.get_mut(place) {
                        *is_same = true;
                    }
                }
                None => {
                    if let (Some(after), None) = (after, &after_digest) {
                        after_digest = Some(digest_of(&likeness(old, after)));
                    }
                    entries.push(RemovedEntry {
                        position,
                        after: after_digest.clone(),
                        text: text.to_owned(),
                    });
                }
            }
        }
        let replacements = new.entries().iter().zip(is_same);
        let replacements: Vec<String> = replacements
            .filter(|(_, is_same)| !is_same)
            .map(|(entry, _)| new.entry_text(entry).to_owned())
            .collect();
        let beside = beside(old, &kept, &entries, &replacements);
        Self {
            text: TextChange::between(old.text(), new.text()),
            entries,
            replacements,
            beside,
        }
    }

    /// Returns the digests of the entries that were removed or edited.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        self.entries.iter().filter_map(|entry| digest(&entry.text))
    }

    /// Returns the digests of the entries that replaced others.
    pub fn replacements(&self) -> impl Iterator<Item = Digest> {
        self.replacements.iter().filter_map(|text| digest(text))
    }

    /// Returns the names that the change removed: those that neither a replacement nor another entry of the image has.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let replaced = self.replacements.iter().flat_map(|text| names(text));
        let kept: HashSet<String> = replaced.collect();
        let beside: HashSet<(String, Digest)> = self
            .beside
            .iter()
            .filter_map(|text| Item::of(text).ok().flatten())
            .flat_map(Item::into_names)
            .collect();
        let mut removed = Vec::new();
        for entry in &self.entries {
            let image = digest(&entry.text);
            removed.extend(names(&entry.text).into_iter().filter(|name| {
                let is_beside = |image: &Digest| beside.contains(&(name.clone(), image.clone()));
                !kept.contains(name) && !image.as_ref().is_some_and(is_beside)
            }));
        }
        removed
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
                ..Item::read(today, entry)
            })
            .collect();
        let cuts = self.cut_replacements(&mut list)?;
        let mut restored = RestoredIndex::default();
        let decisions = self.decide(&list, &mut restored.moved)?;
        let listed: HashSet<(&str, Option<&Digest>)> = list
            .iter()
            .flat_map(|item| {
                item.names
                    .iter()
                    .map(|name| (&**name, item.digest.as_ref()))
            })
            .collect();
        let mut spots = Spots::new(&list);
        for (removed, decision) in self.entries.iter().zip(decisions) {
            match decision {
                Decision::Listed(at) => spots.pass(removed, at),
                Decision::Omit => {}
                Decision::Restore(item) => {
                    let added = item.names.iter().filter(|name| {
                        let is_listed = listed.contains(&(&***name, item.digest.as_ref()));
                        !is_listed && !cuts.names.contains(*name)
                    });
                    restored.names.extend(added.cloned());
                    restored.digests.extend(item.digest.clone());
                    spots.add(removed, *item);
                }
            }
        }
        let is_larger = spots.added > 0;
        let list = spots.into_list(list);
        if !cuts.edits.is_empty() || is_larger {
            let frame = today.edited(&cuts.edits)?;
            restored.index = Some(filled(&frame, &list)?);
        }
        Ok(restored)
    }

    /// Removes the replacements from the list. One that another program has changed since belongs to that program, and one
    /// that is like a kept entry is that entry, unless both are listed.
    fn cut_replacements(&self, list: &mut Vec<Item>) -> Result<Cuts, String> {
        let mut places = places_of(list);
        let mut beside = HashSet::new();
        for text in &self.beside {
            beside.extend(Item::of(text)?.map(|item| item.likeness));
        }
        let mut cuts = Cuts::default();
        let mut is_cut = vec![false; list.len()];
        for text in &self.replacements {
            let Some(replacement) = Item::of(text)? else {
                continue;
            };
            let spare = usize::from(beside.contains(&replacement.likeness));
            let Some(places) = places.get_mut(&*replacement.likeness) else {
                continue;
            };
            if places.len() <= spare {
                continue;
            }
            let is_exact = |at: &usize| list.get(*at).is_some_and(|item| item.text == *text);
            let exact = places.iter().position(is_exact).unwrap_or(0);
            let Some(at) = places.remove(exact) else {
                continue;
            };
            if let Some(is_cut) = is_cut.get_mut(at) {
                *is_cut = true;
            }
            cuts.edits.push(Edit::RemoveEntry { position: at });
            cuts.names.extend(replacement.names);
        }
        let mut is_cut = is_cut.into_iter();
        list.retain(|_| !is_cut.next().unwrap_or(false));
        Ok(cuts)
    }

    /// Decides for each entry of the change. Names that have moved to other images are added to `moved`.
    ///
    /// An entry is listed if one with the same members is. An entry without a name is omitted if another program has named
    /// its image, and it was untagged before. A name is omitted if another program has given it to the image again; an entry
    /// without names to restore is omitted, unless nothing else lists its image.
    fn decide(&self, list: &[Item], moved: &mut Vec<String>) -> Result<Vec<Decision>, String> {
        let mut removed = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            removed.push(Item::of(&entry.text)?);
        }
        // First the entries that are still listed unchanged: they neither belong to another program nor conflict with a name
        // that two images had.
        let matches = matches(&removed, list);
        let mut is_matched = vec![false; list.len()];
        for at in matches.iter().flatten() {
            if let Some(is_matched) = is_matched.get_mut(*at) {
                *is_matched = true;
            }
        }
        let mut named_before: HashSet<Digest> = HashSet::new();
        let mut shared: HashSet<(String, Digest)> = HashSet::new();
        for text in &self.beside {
            shared.extend(Item::of(text)?.into_iter().flat_map(Item::into_names));
        }
        named_before.extend(shared.iter().map(|(_, image)| image.clone()));
        let named = removed.iter().flatten().filter(|it| !it.names.is_empty());
        named_before.extend(named.filter_map(|item| item.digest.clone()));
        let mut others = Others::default();
        for item in removed.iter().flatten() {
            if let Some(image) = &item.digest {
                let names = others.names_before.entry(image).or_default();
                names.extend(item.names.iter().map(|name| &**name));
            }
        }
        for (item, is_matched) in list.iter().zip(is_matched) {
            others.images.extend(item.digest.as_ref());
            if is_matched {
                continue;
            }
            if !item.names.is_empty() {
                others.named.extend(item.digest.as_ref());
            }
            for name in &item.names {
                let is_shared = |image: &Digest| shared.contains(&(name.clone(), image.clone()));
                if !item.digest.as_ref().is_some_and(is_shared) {
                    let images = others.names.entry(name).or_default();
                    images.push(item.digest.as_ref());
                }
            }
        }
        let mut decisions = Vec::with_capacity(removed.len());
        let mut bare = Vec::new();
        let mut restored: HashSet<Digest> = HashSet::new();
        for (item, (entry, at)) in removed.iter().zip(self.entries.iter().zip(matches)) {
            let decision = match (item, at) {
                (_, Some(at)) => Decision::Listed(at),
                (None, None) => Decision::Omit,
                (Some(item), None) => others.decide(&entry.text, item, &named_before, moved)?,
            };
            if let Decision::Restore(item) = &decision {
                match &item.digest {
                    Some(_) if item.is_bare => bare.push(decisions.len()),
                    Some(image) => {
                        restored.insert(image.clone());
                    }
                    None => {}
                }
            }
            decisions.push(decision);
        }
        for at in bare {
            if let Some(decision) = decisions.get_mut(at)
                && let Decision::Restore(item) = &*decision
                && let Some(image) = &item.digest
                && (others.images.contains(image) || !restored.insert(image.clone()))
            {
                *decision = Decision::Omit;
            }
        }
        Ok(decisions)
    }
}

/// Returns the positions of the entries by key.
fn places_of(list: &[Item]) -> HashMap<&str, VecDeque<usize>> {
    let mut places: HashMap<&str, VecDeque<usize>> = HashMap::new();
    for (at, item) in list.iter().enumerate() {
        places.entry(&item.likeness).or_default().push_back(at);
    }
    places
}

/// Finds for each entry one with the same members in the list, preferably with the same text.
fn matches(removed: &[Option<Item>], list: &[Item]) -> Vec<Option<usize>> {
    let mut places = places_of(list);
    let mut found = vec![None; removed.len()];
    for is_exact in [true, false] {
        for (item, found) in removed.iter().zip(&mut found) {
            let Some(item) = item.as_ref().filter(|_| found.is_none()) else {
                continue;
            };
            let Some(places) = places.get_mut(&*item.likeness) else {
                continue;
            };
            let is_like = |at: &usize| {
                !is_exact || list.get(*at).is_some_and(|other| other.text == item.text)
            };
            *found = places
                .iter()
                .position(is_like)
                .and_then(|at| places.remove(at));
        }
    }
    found
}

/// The result for an entry of the change.
enum Decision {
    /// It is listed at this position.
    Listed(usize),
    /// It is not restored.
    Omit,
    Restore(Box<Item>),
}

/// The current entries that do not belong to the change.
#[derive(Default)]
struct Others<'a> {
    /// Images that are listed at all.
    images: HashSet<&'a Digest>,
    /// Images that are listed with a name.
    named: HashSet<&'a Digest>,
    /// The images of each name, without those that also had it before the change.
    names: HashMap<&'a str, Vec<Option<&'a Digest>>>,
    /// The names of each image that the change removed.
    names_before: HashMap<&'a Digest, HashSet<&'a str>>,
}

impl Others<'_> {
    fn decide(
        &self,
        text: &str,
        item: &Item,
        named_before: &HashSet<Digest>,
        moved: &mut Vec<String>,
    ) -> Result<Decision, String> {
        let image = item.digest.as_ref();
        if item.names.is_empty() {
            let is_named_now =
                |image: &Digest| self.named.contains(image) && !named_before.contains(image);
            return Ok(match image.is_some_and(is_named_now) {
                true => Decision::Omit,
                false => Decision::Restore(Box::new(Item::of(text)?.ok_or("it is not an entry")?)),
            });
        }
        let own = alone(text)?;
        let entry = own.entries().first().ok_or("it is not an entry")?;
        let details = own.details(entry);
        let own_names = entry_names(&details);
        let mut cut = Vec::new();
        let mut is_listed = false;
        for name in &own_names {
            let images = self.names.get(&*name.text).into_iter().flatten();
            let mut images = images.filter(|other| {
                // A name that two images had is restored on both.
                let had = |other: &Digest| {
                    let names = self.names_before.get(other);
                    names.is_some_and(|names| names.contains(&*name.text))
                };
                **other == image || !other.is_some_and(had)
            });
            match images
                .clone()
                .any(|other| image.is_some() && *other == image)
            {
                true => is_listed = true,
                false if images.next().is_some() => moved.push(name.text.to_string()),
                false => continue,
            }
            cut.push(name.key);
        }
        let is_bare = cut.len() == own_names.len();
        if is_bare && is_listed {
            return Ok(Decision::Omit);
        }
        if is_bare {
            // The short name beside a full name is the same name and is removed with it.
            let all = [super::REF_NAME, super::CONTAINERD_NAME, super::BASE_NAME].into_iter();
            cut = all
                .filter(|key| details.annotations.contains_key(key))
                .collect();
        }
        let edits = cut.into_iter().map(|key| Edit::RemoveAnnotation {
            position: 0,
            key: key.into(),
        });
        let edited = own.edited(&edits.collect::<Vec<Edit>>())?;
        let entry = edited.entries().first().ok_or("it is not an entry")?;
        Ok(Decision::Restore(Box::new(Item {
            is_bare,
            ..Item::read(&edited, entry)
        })))
    }
}

/// The replacements that are cut.
#[derive(Default)]
struct Cuts {
    edits: Vec<Edit>,
    names: HashSet<String>,
}

/// An entry of the merged list.
struct Item {
    /// Its position in the current index; `None` if it is restored.
    position: Option<usize>,
    text: String,
    likeness: String,
    names: Vec<String>,
    digest: Option<Digest>,
    /// It is restored without all of its names.
    is_bare: bool,
}

impl Item {
    fn read(index: &IndexDoc, entry: &Entry) -> Self {
        Self {
            position: None,
            text: index.entry_text(entry).to_owned(),
            likeness: likeness(index, entry),
            names: names_of(index, entry),
            digest: entry.digest.clone().ok(),
            is_bare: false,
        }
    }

    /// Returns the entry of a text; `None` if it is not one.
    fn of(text: &str) -> Result<Option<Self>, String> {
        let own = alone(text)?;
        Ok(own.entries().first().map(|entry| Self::read(&own, entry)))
    }

    /// Returns each name with the image.
    fn into_names(self) -> impl Iterator<Item = (String, Digest)> {
        let names = self.names.into_iter();
        names.filter_map(move |name| Some((name, self.digest.clone()?)))
    }
}

/// The place where entries are restored: before the first entry of the list, or after one.
struct Spots {
    /// The restored entries before the first entry, and after each.
    spots: Vec<Vec<Item>>,
    /// The first entry of each kind in the list.
    places: HashMap<String, usize>,
    /// The `after` of the last entry and its spot.
    last: Option<(Option<String>, usize)>,
    added: usize,
}

impl Spots {
    fn new(list: &[Item]) -> Self {
        let mut places = HashMap::with_capacity(list.len());
        for (at, item) in list.iter().enumerate() {
            places.entry(digest_of(&item.likeness)).or_insert(at);
        }
        Self {
            spots: (0..=list.len()).map(|_| Vec::new()).collect(),
            places,
            last: None,
            added: 0,
        }
    }

    /// Continues after an entry that is listed.
    fn pass(&mut self, removed: &RemovedEntry, at: usize) {
        self.last = Some((removed.after.clone(), at + 1));
    }

    fn add(&mut self, removed: &RemovedEntry, item: Item) {
        let spot = match (&self.last, &removed.after) {
            (Some((after, spot)), _) if *after == removed.after => *spot,
            (_, None) => 0,
            (_, Some(after)) => match self.places.get(after) {
                Some(at) => at + 1,
                None => removed.position.saturating_sub(self.added),
            },
        };
        let spot = spot.min(self.spots.len().saturating_sub(1));
        if let Some(items) = self.spots.get_mut(spot) {
            items.push(item);
        }
        self.added += 1;
        self.last = Some((removed.after.clone(), spot));
    }

    fn into_list(self, list: Vec<Item>) -> Vec<Item> {
        let mut spots = self.spots.into_iter();
        let mut all = spots.next().unwrap_or_default();
        for (item, after) in list.into_iter().zip(spots) {
            all.push(item);
            all.extend(after);
        }
        all
    }
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

    /// A name that was ambiguous before the change is so again, whatever else is listed now.
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
            let wanted = [&all[..], std::slice::from_ref(&other)].concat();
            assert_eq!(found, wanted, "{gone:?}");
        }
        // A name that another program has given to a third image is kept there.
        let new = without(&index(&all, ","), &[0, 1]);
        let change = IndexChange::between(&index(&all, ","), &new);
        let today = [texts(&new), vec![entry("third", "app:1")]].concat();
        let restored = change
            .undone(&index(&today, ", "))
            .expect("it can be undone");
        assert_eq!(restored.moved, ["app:1", "app:1"]);
    }

    fn unnamed(seed: &str, more: &str) -> String {
        let digest = Digest::of(Algorithm::Sha256, seed.as_bytes());
        format!(r#"{{"digest":"{digest}","size":1{more}}}"#)
    }

    /// Returns the entries after a change from `old` to `new` was undone in `today`, and the names that have moved.
    fn undone(old: &[String], new: &[String], today: &[String]) -> (Vec<String>, Vec<String>) {
        let change = IndexChange::between(&index(old, ","), &index(new, ","));
        let json = serde_json::to_string(&change).expect("a record");
        let change: IndexChange = serde_json::from_str(&json).expect("a record");
        let restored = change
            .undone(&index(today, ", "))
            .expect("it can be undone");
        let found = restored.index.map_or(today.to_vec(), |index| texts(&index));
        let again = change.undone(&index(&found, ", "));
        let again = again.expect("it can be undone").index;
        let again = again.map(|index| texts(&index));
        assert!(again.is_none(), "{found:#?}\nundone twice: {again:#?}");
        (found, restored.moved)
    }

    /// Every entry is restored except one that is still listed, that is, one with the same members. This also applies to
    /// entries of an image that is listed with and without a name.
    #[test]
    fn an_entry_without_a_name_is_restored_beside_a_named_one_of_its_image() {
        let (bare, other) = (unnamed("a", ""), entry("other", "new"));
        let described = unnamed("a", r#","annotations":{"x":"y"}"#);
        let all = [entry("a", "app:1"), bare, entry("b", "b"), described];
        for mask in 1..16_usize {
            let left = all.iter().enumerate();
            let left = left.filter(|(at, _)| mask & (1 << at) == 0);
            let left: Vec<String> = left.map(|(_, text)| text.clone()).collect();
            let today = [&left[..], std::slice::from_ref(&other)].concat();
            let (found, moved) = undone(&all, &left, &today);
            assert!(moved.is_empty(), "{mask:b}: {moved:?}");
            let wanted = [&all[..], std::slice::from_ref(&other)].concat();
            assert_eq!(found, wanted, "{mask:b}");
        }
    }

    /// Two entries that differ only in their position count as one.
    #[test]
    fn an_entry_is_listed_where_an_equal_one_was_kept_or_is_listed_again() {
        let (named, other) = (entry("a", "app:1"), entry("other", "new"));
        let reordered = r#"{ "annotations": {"org.opencontainers.image.ref.name": "app:1"}, "size": 1, "digest": "#;
        let digest = Digest::of(Algorithm::Sha256, b"a");
        let reordered = format!("{reordered}\"{digest}\" }}");
        let twins = [named.clone(), entry("b", "b"), named.clone()];
        for today in [&named, &reordered] {
            let today = [today.clone(), entry("b", "b"), other.clone()];
            let (found, moved) = undone(&twins, &twins[..2], &today);
            assert_eq!((&found[..], moved.is_empty()), (&today[..], true));
        }
        // If none was kept, both are restored.
        let today = [entry("b", "b"), other.clone()];
        let (found, _) = undone(&twins, &today[..1], &today);
        assert_eq!(found, [&twins[..], std::slice::from_ref(&other)].concat());
    }

    /// An untagged image would become both named and untagged, which it never was.
    #[test]
    fn an_untagged_image_that_another_program_has_named_is_not_listed_without_a_name_again() {
        let old = [unnamed("a", ""), entry("b", "b")];
        let today = [entry("b", "b"), entry("a", "new")];
        let (found, moved) = undone(&old, &old[1..], &today);
        assert_eq!((&found[..], moved.is_empty()), (&today[..], true));
        // Listed without a name, but with other members, it is untagged as before.
        let today = [entry("b", "b"), unnamed("a", r#","x":1"#)];
        let (found, _) = undone(&old, &old[1..], &today);
        assert_eq!(found, [old[0].clone(), today[0].clone(), today[1].clone()]);
        // An image that was both named and untagged is so again.
        let old = [unnamed("a", ""), entry("a", "app:1"), entry("b", "b")];
        let today = [entry("b", "b"), entry("a", "new")];
        let (found, _) = undone(&old, &old[2..], &today);
        assert_eq!(found, [&old[..], &today[1..]].concat());
    }

    /// The image of a name that has moved is listed without it, once, and only if nothing else lists it.
    #[test]
    fn an_image_whose_names_have_all_moved_is_untagged_once() {
        let old = [entry("a", "app:1"), entry("a", "app:2"), entry("b", "b")];
        let taken = |name: &str| entry("other", name);
        let today = [entry("b", "b"), taken("app:1"), taken("app:2")];
        let (found, moved) = undone(&old, &old[2..], &today);
        assert_eq!(moved, ["app:1", "app:2"]);
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(names(&found[0]).is_empty() && digest(&found[0]) == digest(&old[0]));
        assert_eq!(found[1..], today);
        // The other name of the image is free.
        for (name, at) in [("app:1", 1), ("app:2", 0)] {
            let today = [entry("b", "b"), taken(name)];
            let (found, moved) = undone(&old, &old[2..], &today);
            assert_eq!(moved, [name]);
            let wanted = [old[at].clone(), today[0].clone(), today[1].clone()];
            assert_eq!(found, wanted);
        }
    }

    /// Whatever another program has done with the other image, which had the name as well.
    #[test]
    fn a_name_that_two_images_had_has_not_moved_to_one_of_them() {
        let old = [entry("a", "app:1"), entry("b", "app:1"), entry("c", "c")];
        let again = old[1].replace(r#""size":1"#, r#""size":1,"x":1"#);
        let today = [entry("c", "c"), again];
        let (found, moved) = undone(&old, &old[2..], &today);
        assert!(moved.is_empty(), "{moved:?}");
        assert_eq!(found, [old[0].clone(), today[0].clone(), today[1].clone()]);
    }

    /// If another program has given one name of an entry to the image again, the other name is still restored.
    #[test]
    fn each_name_of_an_entry_is_restored_unless_its_image_has_it() {
        let digest = Digest::of(Algorithm::Sha256, b"a");
        let both = format!(
            r#"{{"digest":"{digest}","size":1,"annotations":{{"io.containerd.image.name":"ex.com/app:2","org.opencontainers.image.ref.name":"old"}}}}"#
        );
        let old = [both.clone(), entry("b", "b")];
        for (name, left) in [("old", "ex.com/app:2"), ("ex.com/app:2", "old")] {
            let today = [entry("b", "b"), entry("a", name)];
            let (found, moved) = undone(&old, &old[1..], &today);
            assert!(moved.is_empty(), "{moved:?}");
            assert_eq!(names(&found[0]), [left], "{found:#?}");
            assert_eq!(found[1..], today);
        }
        // One entry lost a name, and another program wrote it again with a further member.
        let one = both.replace(r#","org.opencontainers.image.ref.name":"old""#, "");
        let changed = one.replace(r#""size":1"#, r#""size":1,"x":1"#);
        let today = [changed.clone(), entry("b", "b")];
        let (found, _) = undone(&old, &[one, entry("b", "b")], &today);
        assert_eq!(names(&found[0]), ["old"], "{found:#?}");
        assert_eq!(found[1..], today);
    }

    /// An entry that loses its name may become equal to one without a name, and another program may write the two as one.
    #[test]
    fn a_kept_entry_is_not_mistaken_for_the_one_that_lost_its_name() {
        let bare = unnamed("a", r#","annotations":{}"#);
        let old = [entry("a", "app:1"), bare.clone(), entry("b", "b")];
        let untagged = IndexChange::between(
            &index(&old, ","),
            &index(&old, ",")
                .edited(&[Edit::RemoveAnnotation {
                    position: 0,
                    key: super::super::REF_NAME.into(),
                }])
                .expect("an edit"),
        );
        assert_eq!(untagged.replacements.len(), 1, "{untagged:?}");
        let written = unnamed("a", "");
        for copies in 1..=2 {
            let mut today = vec![written.clone(); copies];
            today.push(entry("b", "b"));
            let restored = untagged.undone(&index(&today, ","));
            let restored = restored.expect("it can be undone");
            assert_eq!(restored.names, ["app:1"]);
            let found = texts(&restored.index.expect("something is restored"));
            let wanted = [old[0].clone(), written.clone(), entry("b", "b")];
            assert_eq!(found, wanted, "{copies}");
        }
    }

    /// Most programs rewrite every entry, and some write theirs first.
    #[test]
    fn entries_are_restored_at_their_position_in_a_rewritten_index() {
        let all: Vec<String> = ["a", "b", "c", "d"]
            .iter()
            .map(|name| entry(name, name))
            .collect();
        let anew = |text: &String| {
            let value: serde_json::Value = serde_json::from_str(text).expect("an entry");
            let members = value.as_object().expect("an object");
            let members = members.iter().rev();
            let members: Vec<String> = members.map(|(key, it)| format!("{key:?}: {it}")).collect();
            format!("{{ {} }}", members.join(", "))
        };
        for mask in 1..16_usize {
            let is_gone = |at: usize| mask & (1 << at) != 0;
            let left: Vec<String> = (0..4)
                .filter(|at| !is_gone(*at))
                .map(|at| all[at].clone())
                .collect();
            let mut today = vec![entry("e", "e")];
            today.extend(left.iter().map(anew));
            let (found, _) = undone(&all, &left, &today);
            let found: Vec<String> = found.iter().flat_map(|text| names(text)).collect();
            let mut wanted = vec!["a", "b", "c", "d"];
            // Without a preceding entry there is no position.
            let first = (0..4).take_while(|at| is_gone(*at)).count();
            wanted.insert(first, "e");
            assert_eq!(found, wanted, "{mask:b}");
        }
    }

    /// An image may be listed twice under one name, and one of the entries may have another name as well.
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
            let restored = restored.index.expect("something is restored");
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
            let restored = restored.index.expect("something is restored");
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
        let restored = restored.index.expect("something is restored");
        let expected = [entry("a", "a"), entry("e", "e"), entry("b", "b")];
        let mut sorted = texts(&restored);
        sorted.sort();
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(sorted, expected);
    }
}
