//! Decides which of two images is newer.
//!
//! *Promise*: equal times decide nothing. An archive without times gives all files the same modification time (k0s bundles
//! have 1970, archives made with SOURCE_DATE_EPOCH its date), and a rule that compared digests there would keep releases at
//! random. So if the times of two images are equal, `created` of their configurations decides, then their position in
//! `index.json`: writers append. For images of several layouts, that of the later layout is newer.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;

use jiff::Timestamp;

use crate::model::images::{Image, ImageInspector, TimeSource};

/// The age of an image. The greater one is newer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Age {
    /// The time by the chosen clock; `None` never counts as old.
    pub time: Option<Timestamp>,
    /// When it was built, if another image has the same `time` and the chosen clock is not `created` itself. Set for every
    /// image if several layouts are compared.
    pub created: Option<Timestamp>,
    /// The position of its layout, if several are compared; else 0.
    pub layout: usize,
    /// The position of its last entry in `index.json`.
    pub position: usize,
}

/// The tie-breaker between two images whose times are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// `created` of the configurations.
    Created,
    /// The order of their layouts.
    Layout,
    /// The position in `index.json`.
    Position,
}

impl fmt::Display for Tie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "by created",
            Self::Layout => "by the order of the layouts",
            Self::Position => "by position in index.json",
        })
    }
}

impl Ord for Age {
    fn cmp(&self, other: &Self) -> Ordering {
        let new = Timestamp::MAX;
        let key = |age: &Self| {
            let created = age.created.unwrap_or(new);
            (age.time.unwrap_or(new), created, age.layout, age.position)
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
    /// Returns what decides which one is newer, if it is not the chosen clock.
    #[must_use]
    pub fn tie(&self, other: &Self) -> Option<Tie> {
        if self.time != other.time {
            None
        } else if self.created != other.created {
            Some(Tie::Created)
        } else if self.layout != other.layout {
            Some(Tie::Layout)
        } else {
            Some(Tie::Position)
        }
    }
}

/// Whether configurations are read to order images with equal times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ties {
    Break,
    /// The images of other layouts, which are unknown here, may have equal times.
    Expect,
    /// No rule compares ages.
    Leave,
}

/// Whether configurations are kept after they were read: with their labels they take half a kilobyte each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Configs {
    /// Others will need them.
    Keep,
    Drop,
}

/// The maximum number of configurations that are read before unneeded ones are dropped.
const AT_ONCE: usize = 8192;

/// Returns the age of an image, without `created`.
pub(super) fn age_of(image: &Image, cache: &mut ImageInspector<'_>, clock: TimeSource) -> Age {
    Age {
        time: cache.time(image.id, clock),
        position: image.entries.last().copied().unwrap_or_default(),
        ..Age::default()
    }
}

/// Returns the age of each image. `created` is read only if times are equal, or may be.
pub(super) fn ages<'i>(
    images: impl Iterator<Item = &'i Image> + Clone,
    cache: &mut ImageInspector<'_>,
    clock: TimeSource,
    ties: Ties,
    configs: Configs,
) -> Vec<Age> {
    if clock == TimeSource::Created {
        cache.prefetch(images.clone());
    }
    let all = images.clone();
    let mut ages: Vec<Age> = all.map(|image| age_of(image, cache, clock)).collect();
    if ties == Ties::Leave || clock != TimeSource::Added {
        return ages;
    }
    let mut counts: HashMap<Option<Timestamp>, usize> = HashMap::new();
    for age in &ages {
        *counts.entry(age.time).or_default() += 1;
    }
    let is_needed =
        |age: &Age| ties == Ties::Expect || counts.get(&age.time).is_some_and(|count| *count > 1);
    let needed = images.clone().zip(&ages);
    let needed = needed.filter(|(_, age)| is_needed(age));
    let needed: Vec<&Image> = needed.map(|(image, _)| image).collect();
    let mut created = Vec::with_capacity(needed.len());
    for some in needed.chunks(AT_ONCE) {
        cache.prefetch(some.iter().copied());
        for image in some {
            created.push(cache.config(image.id).and_then(|config| config.created));
        }
        if configs == Configs::Drop {
            cache.drop_configs();
        }
    }
    let mut created = created.into_iter();
    for age in ages.iter_mut().filter(|age| is_needed(age)) {
        age.created = created.next().flatten();
    }
    ages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_times_decide_nothing() {
        let at = |second: i64| Timestamp::from_second(second).ok();
        // From the oldest to the newest; images without a date count as new.
        let ages = [
            (at(1), at(9), 1, 9, None),
            (at(2), at(1), 0, 8, None),
            (at(2), at(3), 0, 4, Some(Tie::Created)),
            (at(2), at(3), 0, 5, Some(Tie::Position)),
            (at(2), at(3), 1, 2, Some(Tie::Layout)),
            (at(2), None, 0, 0, Some(Tie::Created)),
            (at(2), None, 0, 1, Some(Tie::Position)),
            (None, at(1), 0, 7, None),
            (None, at(2), 0, 0, Some(Tie::Created)),
            (None, None, 0, 0, Some(Tie::Created)),
        ];
        let ages = ages.map(|(time, created, layout, position, tie)| {
            let age = Age {
                time,
                created,
                layout,
                position,
            };
            (age, tie)
        });
        for ((older, _), (newer, tie)) in ages.iter().zip(ages.iter().skip(1)) {
            assert!(older < newer, "{older:?} {newer:?}");
            assert_eq!(newer.tie(older), *tie, "{older:?} {newer:?}");
        }
    }
}
