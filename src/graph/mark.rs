//! Marking: what is live, and what stands in the way of knowing it.

use std::collections::{BTreeSet, HashSet};

use super::{BlobSet, Graph, Looked, ReferencePaths, Root, RootSource};
use crate::error::{Broken, Error, Result};
use crate::graph::reachability::Reachability;
use crate::layout::{BlobId, Layout, State};

/// How many broken documents are described with their paths and images. The others are counted.
const MAX_DESCRIBED: usize = 20;

impl Graph {
    /// Marks what the chosen roots lead to.
    ///
    /// # Errors
    /// [`Error::Incomplete`] when a document among that is damaged, or listed in `index.json` and
    /// missing: what it refers to is unknown, so nothing may be swept. [`Error::Empty`] when
    /// `index.json` lists nothing. [`Error::SecondIndex`] when it is unknown what a second index lists.
    /// [`Error::ReleasedNote`] when it is unknown what was released beside a writer that is at work.
    pub fn mark(
        &self,
        layout: &Layout,
        state: &State,
        options: &MarkOptions<'_>,
    ) -> Result<LiveSet> {
        refuse_unknown_lists(layout, state)?;
        self.refuse_unknown_released()?;
        if state.index.entries().is_empty()
            && self.roots.is_empty()
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
            .filter_map(|root| root.target.as_ref().ok().copied());
        let mut live = self.reach_after(
            targets.chain(options.extra.iter().copied()),
            &options.change,
        );
        if self.forgotten > 0 {
            // What was forgotten leads nowhere any more. All that it led to stays.
            live.merge(&self.rooted);
        }
        let broken = self.broken(state, options, &live);
        if broken.is_empty() {
            Ok(LiveSet(live))
        } else {
            Err(Error::Incomplete {
                path: layout.path().to_owned(),
                broken,
            })
        }
    }

    /// Returns everything that hides what is live: entries and missing documents in the order of `index.json`, then what is
    /// damaged, then what cannot be read.
    fn broken(&self, state: &State, options: &MarkOptions<'_>, live: &BlobSet) -> Vec<Broken> {
        let mut broken = Vec::new();
        let mut blobs: Vec<(usize, BlobId)> = Vec::new();
        let mut add = |broken: &mut Vec<Broken>, id: BlobId, why: &str, missing: bool| {
            blobs.push((broken.len(), id));
            broken.push(Broken {
                digest: Some(self.digest(id).clone()),
                why: why.into(),
                missing,
                path: Vec::new(),
                images: Vec::new(),
                second_indexes: Vec::new(),
            });
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
            .looked
            .iter()
            .filter_map(|(id, looked)| match looked {
                Looked::Damaged(why) if live.contains(*id) => Some((*id, why)),
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
                // Kept alone it would be worthless: what it refers to is unknown.
                broken.push(Broken {
                    digest: Some(self.digest(*id).clone()),
                    why: format!("cannot be read and may be a referrer of a live image: {error}")
                        .into(),
                    missing: false,
                    path: Vec::new(),
                    images: Vec::new(),
                    second_indexes: Vec::new(),
                });
            }
        }
        broken
    }

    /// Adds to the first broken blobs how a root references them, and which images hold them. All paths come from one walk:
    /// one for each blob would take hours in a layout that has lost its blobs.
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
        let mut wanted = BlobSet::default();
        for (_, id) in blobs {
            wanted.insert(*id);
        }
        let ways = ReferencePaths::from_roots(self, state, |root| (options.keep)(root));
        let needs = Reachability::of(self, state, &wanted);
        let (mut images, mut lists) = (needs.images(), needs.second_indexes());
        for (position, id) in blobs {
            if let Some(broken) = broken.get_mut(*position) {
                broken.path = ways.shortest_abbreviated(*id);
                // All that hold it, also those that are about to go: removing one of several helps nobody.
                broken.images = images.of(*id).to_vec();
                broken.second_indexes = lists.of(*id).to_vec();
            }
        }
    }

    /// Returns `true` if an entry of `index.json` names a blob that is not there. Of an unknown algorithm
    /// only documents are looked for, so nothing is known of its leaves.
    pub(super) fn is_missing_root(&self, id: BlobId, root: &Root) -> bool {
        let is_here = self.is_present(id) || self.is_embedded(id);
        let is_unknown = root.kind.is_leaf() && self.digest(id).algorithm().is_none();
        !is_here && !is_unknown
    }

    fn broken_entry(&self, state: &State, root: &Root, why: &str) -> Broken {
        let name = self.root_label(state, root);
        Broken {
            digest: None,
            why: why.into(),
            missing: false,
            path: vec![name.clone()],
            images: if matches!(root.source, RootSource::Entry(_)) {
                vec![name]
            } else {
                Vec::new()
            },
            second_indexes: Vec::new(),
        }
    }
}

/// Refuses to mark while it is unknown what a second index lists.
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

/// Whether documents that stay listed may be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MissingDocuments {
    /// Refuse: what they reference is unknown.
    #[default]
    Refuse,
    /// Go on without what they reference.
    Allow,
}

impl MissingDocuments {
    /// Returns the choice that a flag makes.
    #[must_use]
    pub const fn allow_if(flag: bool) -> Self {
        if flag { Self::Allow } else { Self::Refuse }
    }
}

/// Whether a layout may be swept, or become one, that lists no image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EmptyIndex {
    /// Refuse: an index that was lost lists nothing either.
    #[default]
    Refuse,
    /// Go on.
    Allow,
}

impl EmptyIndex {
    /// Returns the choice that a flag makes.
    #[must_use]
    pub const fn allow_if(flag: bool) -> Self {
        if flag { Self::Allow } else { Self::Refuse }
    }
}

/// What is to be different from what the documents say.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// Referrers that somebody asked to remove: what they are about does not keep them.
    pub unwanted: &'a BTreeSet<BlobId>,
    /// References that do not count any more.
    pub cut: &'a Cut,
}

/// References that do not count any more when one starts from certain images. From everywhere else
/// they count as before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// The images.
    pub images: BTreeSet<BlobId>,
    /// The references: from which document to what.
    pub edges: BTreeSet<(BlobId, BlobId)>,
}

impl Change<'static> {
    /// Nothing is different.
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

/// What to mark, and what to accept.
pub struct MarkOptions<'a> {
    /// Says which roots stay.
    pub keep: &'a dyn Fn(&Root) -> bool,
    /// What is to be different from now on.
    pub change: Change<'a>,
    /// What stays beside the roots: the children of an index that is about to be written.
    pub extra: &'a [BlobId],
    /// Accept that documents which `index.json` lists are missing.
    pub missing: MissingDocuments,
    /// Accept that `index.json` lists nothing.
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

/// Everything that has to stay. Only [`Graph::mark`] makes one.
#[derive(Debug)]
pub struct LiveSet(BlobSet);

impl LiveSet {
    /// Returns `true` if the blob is live.
    #[must_use]
    pub fn contains(&self, id: BlobId) -> bool {
        self.0.contains(id)
    }
}
