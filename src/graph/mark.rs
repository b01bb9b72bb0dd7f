//! Marking live blobs, and the reasons why they cannot be determined.

use std::collections::{BTreeSet, HashSet};

use super::reachability::Reachability;
use super::{BlobSet, Graph, ReadState, ReferencePaths, Root, RootSource};
use crate::error::{Broken, Error, Result};
use crate::layout::{BlobId, Layout, State};

/// The maximum number of broken documents that are described with their paths and images. The others are only counted.
const MAX_DESCRIBED: usize = 20;

impl Graph {
    /// Marks everything that the chosen roots reach.
    ///
    /// # Errors
    /// [`Error::Incomplete`] if a reached document is damaged, or listed in `index.json` and missing: its references are
    /// unknown, so nothing may be swept. [`Error::Empty`] if `index.json` lists nothing. [`Error::SecondIndex`] if the
    /// contents of a second index are unknown. [`Error::ReleasedNote`] if it is unknown which blobs were released while a
    /// writer was at work, and a writer still is.
    pub fn mark(
        &self,
        layout: &Layout,
        state: &State,
        options: &MarkOptions<'_>,
    ) -> Result<LiveSet> {
        refuse_unknown_lists(layout, state)?;
        self.refuse_unknown_released()?;
        let is_entry = |root: &Root| matches!(root.source, RootSource::Entry(_));
        if !self.roots.iter().any(is_entry)
            && !self.roots.iter().any(|root| self.shows_images(root))
            && !self.blobs.is_empty()
            && options.empty == EmptyIndex::Refuse
            && !layout.was_emptied(state)
        {
            return Err(Error::Empty {
                path: layout.path().to_owned(),
                blobs: self.blobs.len(),
            });
        }
        let targets = self
            .roots
            .iter()
            .filter(|root| (options.keep)(root))
            .filter_map(|root| root.id());
        let mut live = self.reach_after(
            targets.chain(options.extra.iter().copied()),
            &options.change,
        );
        if self.forgotten > 0 {
            // Discarded documents no longer have references: everything that they reached is kept.
            live.merge(&self.rooted);
        }
        let listed = (!self.damaged_referrers.is_empty()).then(|| live.clone());
        self.add_damaged_referrers(&mut live, options.change.unwanted);
        let broken = self.broken(state, options, &live, listed.as_ref());
        if broken.is_empty() {
            Ok(LiveSet(live))
        } else {
            Err(Error::Incomplete {
                path: layout.path().to_owned(),
                broken,
            })
        }
    }

    /// Returns `true` if a root shows that `index.json` did not lose its entries: another list names a blob that exists. A
    /// hold does not show this, since its user knew the images that the lost index listed.
    fn shows_images(&self, root: &Root) -> bool {
        let is_hold = matches!(root.source, RootSource::Hold(_));
        !is_hold && root.id().is_some_and(|id| self.is_present(id))
    }

    /// Returns everything that makes live blobs unknown: entries and missing documents in the order of `index.json`, then
    /// damaged documents, then unreadable orphans.
    ///
    /// `listed` is the live set without damaged referrers. Nothing depends on those, as on unlisted ones, so they are not
    /// broken.
    fn broken(
        &self,
        state: &State,
        options: &MarkOptions<'_>,
        live: &BlobSet,
        listed: Option<&BlobSet>,
    ) -> Vec<Broken> {
        let is_listed = |id: BlobId| {
            !self.damaged_edges.contains_key(&id) || listed.is_none_or(|set| set.contains(id))
        };
        let mut broken = Vec::new();
        let mut blobs: Vec<(usize, BlobId)> = Vec::new();
        let mut add = |broken: &mut Vec<Broken>, id: BlobId, why: &str, missing: bool| {
            blobs.push((broken.len(), id));
            broken.push(self.broken_blob(id, why.into(), missing));
        };
        let mut seen = HashSet::new();
        for root in self.roots.iter().filter(|root| (options.keep)(root)) {
            match &root.target {
                Err(why) => broken.push(self.broken_entry(state, root, why)),
                Ok(id) => {
                    let is_entry = matches!(root.source, RootSource::Entry(_));
                    if is_entry
                        && options.missing == MissingDocuments::Refuse
                        && self.is_missing_root(*id, root)
                        && seen.insert(*id)
                    {
                        add(&mut broken, *id, "is missing", true);
                    }
                }
            }
        }
        let mut damaged: Vec<_> = self
            .states
            .iter()
            .filter_map(|(id, state)| match state {
                ReadState::Damaged(why) if live.contains(*id) && is_listed(*id) => Some((*id, why)),
                _ => None,
            })
            .collect();
        damaged.sort_unstable_by_key(|(id, _)| self.digest(*id));
        for (id, why) in damaged {
            add(&mut broken, id, why, false);
        }
        self.describe(state, options, &mut broken, &blobs);
        let mut unreadable: Vec<_> = self.unreadable.iter().collect();
        unreadable.sort_unstable_by_key(|(id, _)| self.digest(*id));
        for (id, error) in unreadable {
            if !live.contains(*id) {
                // Keeping only this blob would be useless: its references are unknown.
                let why = format!("cannot be read and may be a referrer of a live image: {error}");
                broken.push(self.broken_blob(*id, why.into(), false));
            }
        }
        broken
    }

    /// Adds a path from a root and the images to the first broken blobs. All paths come from one walk: one walk per blob
    /// would take hours in a layout that has lost its blobs.
    fn describe(
        &self,
        state: &State,
        options: &MarkOptions<'_>,
        broken: &mut [Broken],
        blobs: &[(usize, BlobId)],
    ) {
        let blobs = blobs
            .get(..blobs.len().min(MAX_DESCRIBED))
            .unwrap_or_default();
        if blobs.is_empty() {
            return;
        }
        let wanted: BlobSet = blobs.iter().map(|(_, id)| *id).collect();
        let paths = ReferencePaths::from_roots(self, state, |root| (options.keep)(root));
        let reachability = Reachability::of(self, state, &wanted);
        let mut images = reachability.images();
        let mut lists = reachability.second_indexes();
        for (position, id) in blobs {
            if let Some(broken) = broken.get_mut(*position) {
                broken.path = paths.shortest_abbreviated(*id);
                // Every image, even one that is about to be removed: removing only one of several would not help.
                broken.images = images.of(*id).to_vec();
                broken.second_indexes = lists.of(*id).to_vec();
            }
        }
    }

    /// Returns `true` if an entry of `index.json` references a missing blob. Leaves of an unknown algorithm are not searched for,
    /// so it is unknown whether they are missing.
    pub(super) fn is_missing_root(&self, id: BlobId, root: &Root) -> bool {
        let is_here = self.is_present(id) || self.is_embedded(id);
        let is_unknown = root.kind.is_leaf() && self.digest(id).algorithm().is_none();
        !is_here && !is_unknown
    }

    fn broken_blob(&self, id: BlobId, why: Box<str>, missing: bool) -> Broken {
        Broken {
            digest: Some(self.digest(id).clone()),
            why,
            missing,
            ..Broken::default()
        }
    }

    fn broken_entry(&self, state: &State, root: &Root, why: &str) -> Broken {
        let name = self.root_label(state, root);
        let is_entry = matches!(root.source, RootSource::Entry(_));
        Broken {
            why: why.into(),
            path: vec![name.clone()],
            images: is_entry.then_some(name).into_iter().collect(),
            ..Broken::default()
        }
    }
}

/// Refuses to mark if the contents of a second index are unknown.
fn refuse_unknown_lists(layout: &Layout, state: &State) -> Result<()> {
    let mut unknown = state.second_indexes.iter().filter_map(|index| {
        let why = index.links.as_ref().err()?;
        Some((index, why))
    });
    match unknown.next() {
        None => Ok(()),
        Some((index, why)) => Err(Error::SecondIndex {
            layout: layout.path().to_owned(),
            file: index.file.clone(),
            why: why.clone(),
            more: unknown.count(),
        }),
    }
}

/// Whether documents that remain listed may be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MissingDocuments {
    /// Refuse: their references are unknown.
    #[default]
    Refuse,
    /// Continue without their references.
    Allow,
}

impl MissingDocuments {
    /// Returns `Allow` if a flag is set.
    #[must_use]
    pub const fn allow_if(flag: bool) -> Self {
        if flag { Self::Allow } else { Self::Refuse }
    }
}

/// Whether a layout that lists no image, or none afterwards, may be swept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EmptyIndex {
    /// Refuse: a lost index lists nothing either.
    #[default]
    Refuse,
    /// Continue.
    Allow,
}

impl EmptyIndex {
    /// Returns `Allow` if a flag is set.
    #[must_use]
    pub const fn allow_if(flag: bool) -> Self {
        if flag { Self::Allow } else { Self::Refuse }
    }
}

/// Planned changes that marking takes into account.
#[derive(Debug, Clone, Copy)]
pub struct PlannedChange<'a> {
    /// Referrers to be removed: their subject does not keep them.
    pub unwanted: &'a BTreeSet<BlobId>,
    /// References that no longer count.
    pub cut: &'a Cut,
}

/// References that no longer count from certain images. From other roots they still count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// The images.
    pub images: BTreeSet<BlobId>,
    /// The references: a document and the referenced blob.
    pub edges: BTreeSet<(BlobId, BlobId)>,
}

impl PlannedChange<'static> {
    /// Returns no change.
    #[must_use]
    pub fn none() -> Self {
        static UNWANTED: BTreeSet<BlobId> = BTreeSet::new();
        static CUT: Cut = Cut {
            images: BTreeSet::new(),
            edges: BTreeSet::new(),
        };
        Self {
            unwanted: &UNWANTED,
            cut: &CUT,
        }
    }
}

/// Options for marking.
pub struct MarkOptions<'a> {
    /// Returns `true` for the roots that are kept.
    pub keep: &'a dyn Fn(&Root) -> bool,
    /// The planned changes.
    pub change: PlannedChange<'a>,
    /// Blobs that are kept in addition to the roots: the children of an index that is about to be written.
    pub extra: &'a [BlobId],
    /// Whether documents listed in `index.json` may be missing.
    pub missing: MissingDocuments,
    /// Whether `index.json` may list nothing.
    pub empty: EmptyIndex,
}

impl std::fmt::Debug for MarkOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MarkOptions")
            .field("missing", &self.missing)
            .field("empty", &self.empty)
            .finish_non_exhaustive()
    }
}

/// All blobs that must be kept. Only [`Graph::mark`] creates one.
#[derive(Debug)]
pub struct LiveSet(BlobSet);

impl LiveSet {
    /// Returns `true` if the blob is live.
    #[must_use]
    pub fn contains(&self, id: BlobId) -> bool {
        self.0.contains(id)
    }
}
