//! What a prune is asked for.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::graph::{EmptyIndex, MissingDocuments};
use crate::model::images::TimeSource;
use crate::plan::{Filters, Policy};

/// Which images may go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scope {
    /// Only dangling ones.
    #[default]
    Dangling,
    /// Every image that no hold, filter or rule keeps.
    All,
}

/// How to prune.
#[derive(Debug, Clone)]
pub struct PruneOptions<'a> {
    /// Which images may go.
    pub scope: Scope,
    /// Only what passes these goes.
    pub filters: &'a Filters,
    /// What stays.
    pub policy: &'a Policy,
    /// Bytes that live blobs may take, with every inode counted once.
    pub max_size: Option<u64>,
    /// Which clock tells the age.
    pub time: TimeSource,
    /// The current time.
    pub now: Timestamp,
    /// Where days and weeks begin.
    pub zone: TimeZone,
    /// Accept that the last image goes.
    pub empty: EmptyIndex,
    /// Accept that documents which stay listed are missing.
    pub missing: MissingDocuments,
}

impl<'a> PruneOptions<'a> {
    /// Returns options without a size budget: ages by when images were added, days in UTC, and the safe choices: the last
    /// image and missing documents are refused.
    #[must_use]
    pub fn new(scope: Scope, filters: &'a Filters, policy: &'a Policy, now: Timestamp) -> Self {
        Self {
            scope,
            filters,
            policy,
            max_size: None,
            time: TimeSource::default(),
            now,
            zone: TimeZone::UTC,
            empty: EmptyIndex::default(),
            missing: MissingDocuments::default(),
        }
    }
}
