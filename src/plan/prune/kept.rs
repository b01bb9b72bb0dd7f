//! Accounts for the bytes that a prune keeps.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::graph::{BlobSet, RootSource};
use crate::model::entries::{EntryFacts, EntryRole};
use crate::model::inventory::{Counted, Files};
use crate::model::snapshot::Snapshot;
use crate::plan::KeepReason;
use crate::plan::remove::keeps_root;

use super::{Removal, RemovalSet};

/// The bytes that are kept. Each byte is counted for the first reason that keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeptBytes {
    /// The number of names that are kept.
    pub names: u64,
    /// Bytes that they reference.
    pub names_bytes: u64,
    /// Bytes that holds reference.
    pub held_bytes: u64,
    /// Bytes that other entries reference.
    pub untagged_bytes: u64,
    /// Bytes that docker-save elements and second indexes reference.
    pub listed_bytes: u64,
    /// Orphans in flight.
    pub in_flight_bytes: u64,
    /// Blobs that this prune or an earlier command released, kept because a writer is active.
    pub released_bytes: u64,
}

/// A blob that is kept and whose inode has several hard links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptLink {
    /// Device and inode.
    pub inode: (u64, u64),
    /// Its length in bytes.
    pub len: u64,
    /// The reason that it is counted for.
    pub holder: Holder,
}

/// The reason that keeps a blob, the first of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A name.
    Name,
    /// A hold.
    Hold,
    /// An entry without a name of its own.
    Untagged,
    /// An element of docker save, or a second index.
    List,
}

impl KeptBytes {
    /// Adds the bytes kept in another layout. `seen` are inodes with several hard links that were already counted, and are
    /// not counted again.
    pub fn add(&mut self, other: &Self, links: &[KeptLink], seen: &mut HashSet<(u64, u64)>) {
        let mut other = *other;
        for link in links.iter().filter(|link| !seen.insert(link.inode)) {
            let counted = match link.holder {
                Holder::Name => &mut other.names_bytes,
                Holder::Untagged => &mut other.untagged_bytes,
                Holder::Hold => &mut other.held_bytes,
                Holder::List => &mut other.listed_bytes,
            };
            *counted = counted.saturating_sub(link.len);
        }
        self.names += other.names;
        self.names_bytes = self.names_bytes.saturating_add(other.names_bytes);
        self.untagged_bytes = self.untagged_bytes.saturating_add(other.untagged_bytes);
        self.held_bytes = self.held_bytes.saturating_add(other.held_bytes);
        self.listed_bytes = self.listed_bytes.saturating_add(other.listed_bytes);
        self.in_flight_bytes = self.in_flight_bytes.saturating_add(other.in_flight_bytes);
        self.released_bytes = self.released_bytes.saturating_add(other.released_bytes);
    }

    /// Returns the sum of all bytes.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.names_bytes
            .saturating_add(self.untagged_bytes)
            .saturating_add(self.held_bytes)
            .saturating_add(self.listed_bytes)
            .saturating_add(self.in_flight_bytes)
            .saturating_add(self.released_bytes)
    }
}

/// Counts the bytes kept after a removal.
pub(super) fn kept_bytes(
    snapshot: &Snapshot,
    entries: &[EntryFacts],
    gone: &RemovalSet,
    removal: &Removal,
    files: &Files,
) -> (KeptBytes, Vec<KeptLink>) {
    let named = entries
        .iter()
        .filter(|entry| entry.role == EntryRole::Named && !gone.entries.contains(&entry.position));
    let mut counted = Counted::new(files);
    let names: BTreeSet<&str> = named.clone().flat_map(|entry| entry.name_texts()).collect();
    let ids = named.filter_map(|entry| entry.id);
    let mut holders: BTreeMap<(u64, u64), Holder> = BTreeMap::new();
    let mut take = |live: &BlobSet, holder| {
        let bytes = counted.take(live);
        for inode in counted.linked().keys() {
            holders.entry(*inode).or_insert(holder);
        }
        bytes
    };
    let roots = |is_wanted: fn(RootSource) -> bool| {
        let roots = snapshot.graph.roots().iter();
        let roots = roots.filter(|root| is_wanted(root.source) && keeps_root(gone, root));
        let ids = roots.filter_map(|root| root.id());
        snapshot.graph.reach_after(ids, &gone.change())
    };
    let names_bytes = take(
        &snapshot.graph.reach_after(ids, &gone.change()),
        Holder::Name,
    );
    let is_hold = |source| matches!(source, RootSource::Hold(_));
    let held_bytes = take(&roots(is_hold), Holder::Hold);
    let is_entry = |source| {
        matches!(
            source,
            RootSource::Entry(_) | RootSource::InsideEntry(_) | RootSource::IndexField
        )
    };
    let untagged_bytes = take(&roots(is_entry), Holder::Untagged);
    let listed_bytes = take(&gone.live(snapshot), Holder::List);
    let links = counted.linked().iter();
    let links = links.map(|(inode, len)| KeptLink {
        inode: *inode,
        len: *len,
        holder: holders.get(inode).copied().unwrap_or(Holder::List),
    });
    let kept = KeptBytes {
        names: names.len() as u64,
        names_bytes,
        untagged_bytes,
        held_bytes,
        listed_bytes,
        in_flight_bytes: kept_len(removal, false),
        released_bytes: kept_len(removal, true),
    };
    (kept, links.collect())
}

/// Returns the bytes of blobs that are kept because a writer is active, or for any other reason.
fn kept_len(removal: &Removal, is_released: bool) -> u64 {
    let kept = removal.plan.kept.iter();
    let kept = kept.filter(|kept| {
        matches!(
            kept.because,
            KeepReason::WriterAtWork | KeepReason::Released
        ) == is_released
    });
    kept.fold(0, |sum: u64, kept| sum.saturating_add(kept.len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hard_linked_file_is_counted_once() {
        let link = |inode, holder| KeptLink {
            inode: (1, inode),
            len: 10,
            holder,
        };
        let links = [
            link(1, Holder::Name),
            link(2, Holder::Untagged),
            link(3, Holder::Hold),
            link(4, Holder::List),
        ];
        let kept = KeptBytes {
            names: 1,
            names_bytes: 25,
            untagged_bytes: 17,
            held_bytes: 18,
            listed_bytes: 19,
            in_flight_bytes: 3,
            released_bytes: 0,
        };
        let mut seen = HashSet::new();
        let mut sum = KeptBytes::default();
        sum.add(&kept, &links, &mut seen);
        assert_eq!(sum, kept);
        sum.add(&kept, &links, &mut seen);
        // Without the 10 bytes of the link that was counted before.
        let expected = KeptBytes {
            names: 2,
            names_bytes: 25 + 15,
            untagged_bytes: 17 + 7,
            held_bytes: 18 + 8,
            listed_bytes: 19 + 9,
            in_flight_bytes: 6,
            released_bytes: 0,
        };
        assert_eq!(sum, expected);
    }
}
