//! What holds the bytes that a prune leaves.

use std::collections::{BTreeSet, HashSet};

use crate::entries::{EntryFacts, EntryRole};
use crate::usage::{Counted, Files};
use crate::view::View;

use super::{Gone, Removal};

/// What holds the bytes that stay. Each byte is counted for the first that holds it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeptBytes {
    /// Names that stay.
    pub names: u64,
    /// What they lead to.
    pub names_bytes: u64,
    /// What other entries, holds and docker-save elements lead to.
    pub other_bytes: u64,
    /// Orphans in flight.
    pub in_flight_bytes: u64,
}

/// A blob that stays and whose inode has several names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptLink {
    /// Device and inode.
    pub inode: (u64, u64),
    /// Its bytes.
    pub len: u64,
    /// It is counted among what names lead to.
    pub is_named: bool,
}

impl KeptBytes {
    /// Adds what stays in another layout. `seen`: inodes with several names that were counted before, which
    /// are not counted again.
    pub fn add(&mut self, other: &Self, links: &[KeptLink], seen: &mut HashSet<(u64, u64)>) {
        let mut other = *other;
        for link in links.iter().filter(|link| !seen.insert(link.inode)) {
            let counted = if link.is_named {
                &mut other.names_bytes
            } else {
                &mut other.other_bytes
            };
            *counted = counted.saturating_sub(link.len);
        }
        self.names += other.names;
        self.names_bytes = self.names_bytes.saturating_add(other.names_bytes);
        self.other_bytes = self.other_bytes.saturating_add(other.other_bytes);
        self.in_flight_bytes = self.in_flight_bytes.saturating_add(other.in_flight_bytes);
    }

    /// Returns all bytes that stay.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.names_bytes
            .saturating_add(self.other_bytes)
            .saturating_add(self.in_flight_bytes)
    }
}

/// Counts what stays after a removal.
pub(super) fn kept_bytes(
    view: &View,
    entries: &[EntryFacts],
    gone: &Gone,
    removal: &Removal,
    files: &Files,
) -> (KeptBytes, Vec<KeptLink>) {
    let named: Vec<&EntryFacts> = entries
        .iter()
        .filter(|entry| entry.role == EntryRole::Named && !gone.entries.contains(&entry.position))
        .collect();
    let mut counted = Counted::new(files);
    let names: BTreeSet<&str> = named
        .iter()
        .flat_map(|entry| &entry.names)
        .map(|name| &*name.text)
        .collect();
    let ids = named.iter().filter_map(|entry| entry.id);
    let names_bytes = counted.take(&view.graph.reach_after(ids, &gone.change()));
    let of_names: BTreeSet<(u64, u64)> = counted.linked().keys().copied().collect();
    let other_bytes = counted.take(&gone.live(view));
    let links = counted.linked().iter();
    let links = links.map(|(inode, len)| KeptLink {
        inode: *inode,
        len: *len,
        is_named: of_names.contains(inode),
    });
    let kept = KeptBytes {
        names: names.len() as u64,
        names_bytes,
        other_bytes,
        in_flight_bytes: removal
            .plan
            .kept
            .iter()
            .fold(0, |sum: u64, kept| sum.saturating_add(kept.len)),
    };
    (kept, links.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_several_names_is_counted_where_it_is_met_first() {
        let link = |inode, is_named| KeptLink {
            inode: (1, inode),
            len: 10,
            is_named,
        };
        let kept = KeptBytes {
            names: 1,
            names_bytes: 25,
            other_bytes: 17,
            in_flight_bytes: 3,
        };
        let mut seen = HashSet::new();
        let mut sum = KeptBytes::default();
        sum.add(&kept, &[link(1, true), link(2, false)], &mut seen);
        assert_eq!(sum, kept);
        sum.add(&kept, &[link(1, true), link(2, false)], &mut seen);
        let expected = KeptBytes {
            names: 2,
            names_bytes: 25 + 15,
            other_bytes: 17 + 7,
            in_flight_bytes: 6,
        };
        assert_eq!(sum, expected);
    }
}
