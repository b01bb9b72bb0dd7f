//! Tables of names and IDs, so that many arguments cost no more than one scan of the entries.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use crate::layout::BlobId;
use crate::model::entries::EntryFacts;
use crate::model::snapshot::Snapshot;
use crate::oci::reference::Reference;

use super::{full_name, is_full};

/// A name of an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) entry: &'a EntryFacts,
    pub(super) text: &'a str,
}

/// The names and IDs of a layout by what arguments say; each table is made when it is first needed.
#[derive(Debug)]
pub(super) struct Lookup<'a> {
    exact: OnceCell<HashMap<&'a str, Vec<Named<'a>>>>,
    /// By the name as docker completes it, without the digest of a pinned name.
    full: OnceCell<HashMap<Reference, Vec<(Named<'a>, Reference)>>>,
    by_image: OnceCell<HashMap<BlobId, Vec<Named<'a>>>>,
    ids: OnceCell<Ids>,
}

/// The image IDs of a layout.
#[derive(Debug)]
struct Ids {
    all: HashSet<BlobId>,
    /// Sorted by the encoded part of the digest.
    encoded: Vec<(String, BlobId)>,
}

impl<'a> Lookup<'a> {
    pub(super) const fn new() -> Self {
        Self {
            exact: OnceCell::new(),
            full: OnceCell::new(),
            by_image: OnceCell::new(),
            ids: OnceCell::new(),
        }
    }

    /// Returns the names that are written exactly so.
    pub(super) fn exact(&self, entries: &'a [EntryFacts], text: &str) -> &[Named<'a>] {
        let table = self
            .exact
            .get_or_init(|| group(names(entries).map(|named| (named.text, named))));
        table.get(text).map_or(&[], Vec::as_slice)
    }

    /// Returns the full names that are `wanted` but for the digest of a pinned name, with how docker completes them.
    pub(super) fn full(
        &self,
        entries: &'a [EntryFacts],
        wanted: &Reference,
    ) -> &[(Named<'a>, Reference)] {
        let table = self.full.get_or_init(|| {
            let full = names(entries).filter(is_full).filter_map(|named| {
                let name = full_name(named.text)?;
                Some((name.clone().without_digest(), (named, name)))
            });
            group(full)
        });
        let wanted = wanted.clone().without_digest();
        table.get(&wanted).map_or(&[], Vec::as_slice)
    }

    /// Returns the names of an image.
    pub(super) fn of_image(&self, entries: &'a [EntryFacts], id: BlobId) -> &[Named<'a>] {
        let table = self.by_image.get_or_init(|| {
            let of_images = names(entries);
            group(of_images.filter_map(|named| Some((named.entry.id?, named))))
        });
        table.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Returns `true` if an entry lists this blob.
    pub(super) fn is_image(&self, view: &Snapshot, entries: &[EntryFacts], id: BlobId) -> bool {
        self.ids(view, entries).all.contains(&id)
    }

    /// Returns the images whose digest begins with these digits, whatever its algorithm is.
    pub(super) fn ids_from(
        &self,
        view: &Snapshot,
        entries: &[EntryFacts],
        hex: &str,
    ) -> Vec<BlobId> {
        let encoded = &self.ids(view, entries).encoded;
        let start = encoded.partition_point(|(known, _)| known.as_str() < hex);
        let from_start = encoded.get(start..).unwrap_or_default().iter();
        from_start
            .take_while(|(known, _)| known.starts_with(hex))
            .map(|(_, id)| *id)
            .collect()
    }

    fn ids(&self, view: &Snapshot, entries: &[EntryFacts]) -> &Ids {
        self.ids.get_or_init(|| {
            let all: HashSet<BlobId> = entries.iter().filter_map(|entry| entry.id).collect();
            let digits = |id: &BlobId| (view.graph.digest(*id).encoded(), *id);
            let mut encoded: Vec<(String, BlobId)> = all.iter().map(digits).collect();
            encoded.sort_unstable();
            Ids { all, encoded }
        })
    }
}

/// Returns all names in the order of the entries.
pub(super) fn names(entries: &[EntryFacts]) -> impl Iterator<Item = Named<'_>> {
    entries.iter().flat_map(|entry| {
        entry.names.iter().map(move |name| Named {
            entry,
            text: &name.text,
        })
    })
}

fn group<K: std::hash::Hash + Eq, V>(items: impl Iterator<Item = (K, V)>) -> HashMap<K, Vec<V>> {
    let mut table: HashMap<K, Vec<V>> = HashMap::new();
    for (key, value) in items {
        table.entry(key).or_default().push(value);
    }
    table
}
