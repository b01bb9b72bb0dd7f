//! Tables of names and IDs, so that many arguments need one scan of the entries.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use crate::layout::BlobId;
use crate::model::entries::EntryFacts;
use crate::model::snapshot::Snapshot;
use crate::oci::reference::Reference;

use super::{full_name, is_full};
use crate::plan::grouped;

/// A name of an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) entry: &'a EntryFacts,
    pub(super) text: &'a str,
}

/// The names and IDs of a layout, by possible arguments; each table is built when it is first needed.
#[derive(Debug)]
pub(super) struct Lookup<'a> {
    snapshot: &'a Snapshot,
    entries: &'a [EntryFacts],
    exact: OnceCell<HashMap<&'a str, Vec<Named<'a>>>>,
    /// By the full name, without the digest of a pinned name.
    full: OnceCell<HashMap<Reference, Vec<(Named<'a>, Reference)>>>,
    by_image: OnceCell<HashMap<BlobId, Vec<Named<'a>>>>,
    ids: OnceCell<ImageIds>,
}

/// The image IDs of a layout.
#[derive(Debug)]
struct ImageIds {
    all: HashSet<BlobId>,
    /// Sorted by the encoded part of the digest.
    encoded: Vec<(String, BlobId)>,
}

impl<'a> Lookup<'a> {
    pub(super) const fn new(snapshot: &'a Snapshot, entries: &'a [EntryFacts]) -> Self {
        Self {
            snapshot,
            entries,
            exact: OnceCell::new(),
            full: OnceCell::new(),
            by_image: OnceCell::new(),
            ids: OnceCell::new(),
        }
    }

    /// Returns the names that equal `text`.
    pub(super) fn exact(&self, text: &str) -> &[Named<'a>] {
        let names = || names(self.entries).map(|named| (named.text, named));
        let table = self.exact.get_or_init(|| grouped(names()));
        table.get(text).map_or(&[], Vec::as_slice)
    }

    /// Returns the names that equal `wanted` except for the digest of a pinned name, with their full names.
    pub(super) fn full(&self, wanted: &Reference) -> &[(Named<'a>, Reference)] {
        let table = self.full.get_or_init(|| {
            grouped(names(self.entries).filter(is_full).filter_map(|named| {
                let name = full_name(named.text)?;
                Some((name.clone().without_digest(), (named, name)))
            }))
        });
        let wanted = wanted.clone().without_digest();
        table.get(&wanted).map_or(&[], Vec::as_slice)
    }

    /// Returns the names of an image.
    pub(super) fn of_image(&self, id: BlobId) -> &[Named<'a>] {
        let names = || names(self.entries).filter_map(|named| Some((named.entry.id?, named)));
        let table = self.by_image.get_or_init(|| grouped(names()));
        table.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Returns `true` if an entry lists this blob.
    pub(super) fn is_image(&self, id: BlobId) -> bool {
        self.ids().all.contains(&id)
    }

    /// Returns the images whose digest begins with these digits, in any algorithm.
    pub(super) fn ids_from(&self, hex: &str) -> Vec<BlobId> {
        let encoded = &self.ids().encoded;
        let start = encoded.partition_point(|(known, _)| known.as_str() < hex);
        let from_start = encoded.get(start..).unwrap_or_default().iter();
        from_start
            .take_while(|(known, _)| known.starts_with(hex))
            .map(|(_, id)| *id)
            .collect()
    }

    fn ids(&self) -> &ImageIds {
        self.ids.get_or_init(|| {
            let all: HashSet<BlobId> = self.entries.iter().filter_map(|entry| entry.id).collect();
            let digits = |id: &BlobId| (self.snapshot.graph.digest(*id).encoded(), *id);
            let mut encoded: Vec<(String, BlobId)> = all.iter().map(digits).collect();
            encoded.sort_unstable();
            ImageIds { all, encoded }
        })
    }
}

/// Returns all names in the order of the entries.
pub(super) fn names(entries: &[EntryFacts]) -> impl Iterator<Item = Named<'_>> {
    entries.iter().flat_map(|entry| {
        let names = entry.name_texts();
        names.map(move |text| Named { entry, text })
    })
}
