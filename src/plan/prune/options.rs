//! The options of a prune.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::graph::{EmptyIndex, MissingDocuments};
use crate::model::images::TimeSource;
use crate::plan::{Filters, Policy};

use super::tree::TreeShare;

/// Which images may be removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scope {
    /// Only dangling ones.
    #[default]
    Dangling,
    /// Every image that no hold, filter or rule keeps.
    All,
}

/// The options of a prune.
#[derive(Debug, Clone)]
pub struct PruneOptions<'a> {
    /// Which images may be removed.
    pub scope: Scope,
    /// Only images that pass these are removed.
    pub filters: &'a Filters,
    /// The keep rules.
    pub policy: &'a Policy,
    /// The bytes that live blobs may use, each inode counted once.
    pub max_size: Option<u64>,
    /// The bytes to free, if the file system has too little space: the oldest images are removed until that many are freed.
    /// Only for a directory whose blobs have no other hard links, and without a trash: otherwise deleting frees nothing.
    pub free_bytes: Option<u64>,
    /// The timestamp that is used as the age.
    pub time: TimeSource,
    /// The current time.
    pub now: Timestamp,
    /// Where days and weeks begin.
    pub zone: TimeZone,
    /// Accept that the last image is removed.
    pub empty: EmptyIndex,
    /// Accept that documents which remain listed are missing.
    pub missing: MissingDocuments,
    /// The decision for several layouts; `None`: the layout is pruned alone.
    pub share: Option<&'a TreeShare>,
}

impl<'a> PruneOptions<'a> {
    /// Returns `true` if there is a budget of bytes.
    pub(super) const fn has_budget(&self) -> bool {
        self.max_size.is_some() || self.free_bytes.is_some()
    }

    /// Returns `true` if the budget is one of several layouts.
    pub(super) fn shares_budget(&self) -> bool {
        self.share.is_some_and(TreeShare::has_budget)
    }

    /// Returns options without a size budget, with ages since images were added, and days in UTC. Removing the last image
    /// and missing documents are refused.
    #[must_use]
    pub fn new(scope: Scope, filters: &'a Filters, policy: &'a Policy, now: Timestamp) -> Self {
        Self {
            scope,
            filters,
            policy,
            max_size: None,
            free_bytes: None,
            time: TimeSource::default(),
            now,
            zone: TimeZone::UTC,
            empty: EmptyIndex::default(),
            missing: MissingDocuments::default(),
            share: None,
        }
    }
}
