//! Which of two images is newer.
//!
//! *Promise*: equal times decide nothing. Whoever unpacks an archive without times gives all files one
//! modification time (k0s bundles have 1970, archives made with SOURCE_DATE_EPOCH its date), and a rule that went by
//! the order of digests there would keep releases at random. So where the times of two images are equal, `created` of
//! their configurations decides, then their position in `index.json`: writers append.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;

use jiff::Timestamp;

use crate::model::images::{Image, ImageInspector};

use crate::model::images::TimeSource;

/// The age of an image. The greater one is the newer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Age {
    /// The time by the clock that was chosen; `None` never counts as old.
    pub time: Option<Timestamp>,
    /// When it was built, where another image has the same `time` and that is not this clock already.
    pub created: Option<Timestamp>,
    /// The position of its last entry in `index.json`.
    pub position: usize,
}

/// What decides between two images whose times are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// `created` of the configurations.
    Created,
    /// The position in `index.json`.
    Position,
}

impl fmt::Display for Tie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "by created",
            Self::Position => "by position in index.json",
        })
    }
}

impl Ord for Age {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |age: &Self| {
            (
                age.time.unwrap_or(Timestamp::MAX),
                age.created.unwrap_or(Timestamp::MAX),
                age.position,
            )
        };
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Age {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Age {
    /// Returns what decides which of two is newer, if it is not the clock that was chosen.
    #[must_use]
    pub fn tie(&self, other: &Self) -> Option<Tie> {
        if self.time != other.time {
            None
        } else if self.created != other.created {
            Some(Tie::Created)
        } else {
            Some(Tie::Position)
        }
    }
}

/// Whether equal times are told apart by reading configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ties {
    /// They are.
    Break,
    /// No rule compares ages.
    Leave,
}

/// Returns the age of each image. `created` is read only where times are equal.
pub(super) fn ages<'i>(
    images: impl Iterator<Item = &'i Image> + Clone,
    cache: &mut ImageInspector<'_>,
    clock: TimeSource,
    ties: Ties,
) -> Vec<Age> {
    let mut ages: Vec<Age> = images
        .clone()
        .map(|image| Age {
            time: cache.time(image.id, clock),
            position: image.entries.last().copied().unwrap_or_default(),
            ..Age::default()
        })
        .collect();
    if ties == Ties::Leave {
        return ages;
    }
    let mut counts: HashMap<Option<Timestamp>, usize> = HashMap::new();
    for age in &ages {
        *counts.entry(age.time).or_default() += 1;
    }
    for (age, image) in ages.iter_mut().zip(images) {
        let is_tied = counts.get(&age.time).is_some_and(|count| *count > 1);
        if is_tied && clock == TimeSource::Added {
            age.created = cache.config(image.id).and_then(|config| config.created);
        }
    }
    ages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_times_decide_nothing() {
        let at = |second: i64| Timestamp::from_second(second).ok();
        let age = |time, created, position| Age {
            time,
            created,
            position,
        };
        // From the oldest to the newest; what has no date counts as new.
        let ages = [
            (age(at(1), at(9), 9), None),
            (age(at(2), at(1), 8), None),
            (age(at(2), at(3), 4), Some(Tie::Created)),
            (age(at(2), at(3), 5), Some(Tie::Position)),
            (age(at(2), None, 0), Some(Tie::Created)),
            (age(at(2), None, 1), Some(Tie::Position)),
            (age(None, at(1), 7), None),
            (age(None, at(2), 0), Some(Tie::Created)),
            (age(None, None, 0), Some(Tie::Created)),
        ];
        for pair in ages.windows(2) {
            if let [(older, _), (newer, tie)] = pair {
                assert!(older < newer, "{older:?} {newer:?}");
                assert_eq!(newer.tie(older), *tie, "{older:?} {newer:?}");
            }
        }
    }
}
