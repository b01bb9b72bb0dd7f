//! Marking: what is live, and what stands in the way of knowing it.

use std::collections::BTreeSet;

use super::{Bits, Graph, Looked, Root, RootSource};
use crate::error::{Broken, Error, Result};
use crate::layout::{BlobId, Layout, State};

impl Graph {
    /// Marks what the chosen roots lead to.
    ///
    /// # Errors
    /// [`Error::Incomplete`] when a document among that is damaged, or listed in `index.json` and
    /// missing: what it refers to is unknown, so nothing may be swept. [`Error::Empty`] when
    /// `index.json` lists nothing.
    pub fn mark(
        &self,
        layout: &Layout,
        state: &State,
        options: &MarkOptions<'_>,
    ) -> Result<LiveSet> {
        if state.index.entries().is_empty()
            && self.roots.is_empty()
            && !self.blobs.is_empty()
            && options.empty == Accept::No
            && !layout.was_emptied(state)
        {
            return Err(Error::Empty {
                path: layout.path().to_owned(),
                blobs: self.blobs.len(),
            });
        }
        let chosen: Vec<&Root> = self
            .roots
            .iter()
            .filter(|root| (options.keep)(root))
            .collect();
        let targets = chosen
            .iter()
            .filter_map(|root| root.target.as_ref().ok().copied());
        let mut live = self.reach_after(
            targets.chain(options.extra.iter().copied()),
            &options.change,
        );
        if self.forgotten > 0 {
            // What was forgotten leads nowhere any more. All that it led to stays.
            live.merge(&self.rooted);
        }
        let mut broken = Vec::new();
        for root in &chosen {
            match &root.target {
                Err(why) => broken.push(self.broken_entry(state, root, why)),
                Ok(id) => {
                    let is_entry = matches!(root.source, RootSource::Entry(_));
                    if is_entry && options.missing == Accept::No && self.is_missing_root(*id, root)
                    {
                        broken.push(self.broken_blob(state, *id, "is missing", true, &chosen));
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
            broken.push(self.broken_blob(state, id, why, false, &chosen));
        }
        let mut unreadable: Vec<_> = self.unreadable.iter().collect();
        unreadable.sort_unstable_by_key(|(id, _)| self.digest(*id));
        for (id, error) in unreadable {
            if !live.contains(*id) {
                // Kept alone it would be worthless: what it refers to is unknown.
                broken.push(Broken {
                    digest: Some(self.digest(*id).clone()),
                    why: format!(
                        "cannot be read, and may be a signature of something live: {error}"
                    )
                    .into(),
                    missing: false,
                    path: Vec::new(),
                    images: Vec::new(),
                });
            }
        }
        if broken.is_empty() {
            Ok(LiveSet(live))
        } else {
            broken.dedup_by(|a, b| a.digest.is_some() && a.digest == b.digest);
            Err(Error::Incomplete {
                path: layout.path().to_owned(),
                broken,
            })
        }
    }

    /// Says whether an entry of `index.json` names a blob that is not there. Of an unknown algorithm
    /// only documents are looked for, so nothing is known of its leaves.
    fn is_missing_root(&self, id: BlobId, root: &Root) -> bool {
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
        }
    }

    fn broken_blob(
        &self,
        state: &State,
        id: BlobId,
        why: &str,
        missing: bool,
        chosen: &[&Root],
    ) -> Broken {
        let path = self.path_to(state, id, chosen);
        Broken {
            digest: Some(self.digest(id).clone()),
            why: why.into(),
            missing,
            path,
            // All that hold it, also those that are about to go: removing one of several helps nobody.
            images: self.holders(state, id),
        }
    }
}

/// Whether something doubtful is accepted, because the user said so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Accept {
    /// Refuse.
    #[default]
    No,
    /// Go on.
    Yes,
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
    pub missing: Accept,
    /// Accept that `index.json` lists nothing.
    pub empty: Accept,
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
pub struct LiveSet(Bits);

impl LiveSet {
    /// Says whether the blob is live.
    #[must_use]
    pub fn contains(&self, id: BlobId) -> bool {
        self.0.contains(id)
    }
}
