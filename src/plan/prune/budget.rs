//! Chooses images to remove so that the others fit a size budget.
//!
//! *Promise*: images that a hold, a filter or a keep rule keeps are never removed for a budget.

use std::collections::{HashMap, VecDeque};

use crate::graph::EmptyIndex;
use crate::plan::policy::has_own_name;
use crate::plan::{Tie, grouped};

use super::companions::removed_along;
use super::survey::{FileKey, Survey, SurveyedImage};

/// An image that is chosen for removal.
pub(super) struct Chosen {
    /// The position of its layout.
    pub(super) layout: usize,
    /// Its position among the judged images of that layout.
    pub(super) position: usize,
    pub(super) reason: String,
}

/// Chooses images to remove, the oldest of all layouts first, until at least `excess` bytes are counted as freed. `oldest`
/// is the reason.
pub(super) fn choose(
    surveys: &[&Survey],
    excess: u64,
    oldest: &str,
    empty: EmptyIndex,
) -> Vec<Chosen> {
    /// What remains of a layout while images are chosen.
    struct Left {
        rank: Rank,
        /// The number of remaining images that an importer may request: those of this rank, the highest in the layout.
        wanted: usize,
        is_removed: Vec<bool>,
    }
    type Place = (usize, usize);
    let mut owners: HashMap<FileKey, u32> = HashMap::new();
    let mut candidates: Vec<(Place, &SurveyedImage)> = Vec::new();
    let mut left: Vec<Left> = Vec::with_capacity(surveys.len());
    for (layout, survey) in surveys.iter().enumerate() {
        let own = survey.images.iter().filter(|image| !image.is_removed);
        let reached = own.clone().flat_map(|image| &image.reach);
        for (key, _) in survey.files(reached.chain(&survey.others)) {
            *owners.entry(key).or_default() += 1;
        }
        let highest = survey.images.iter().map(Rank::of).max();
        let rank = highest.unwrap_or(Rank::Referrer);
        left.push(Left {
            rank,
            wanted: own.filter(|image| Rank::of(image) == rank).count(),
            is_removed: survey.images.iter().map(|image| image.is_removed).collect(),
        });
        let images = survey.images.iter().enumerate();
        let free = images.filter(|(_, image)| image.is_free);
        candidates.extend(free.map(|(position, image)| ((layout, position), image)));
    }
    // Oldest first; images without a date count as new.
    candidates.sort_by_key(|(_, image)| (image.is_named, image.age));
    // The tie-breaker by which an image is removed before the next one.
    let next = candidates.iter().skip(1);
    let ties: HashMap<Place, Tie> = candidates
        .iter()
        .zip(next)
        .filter(|((_, first), (_, second))| first.is_named == second.is_named)
        .filter_map(|((at, first), (_, second))| Some((*at, first.age.tie(&second.age)?)))
        .collect();
    let mut companions = grouped(candidates.iter().flat_map(|((layout, position), image)| {
        let owners = image.follows.owners.iter();
        owners.map(|(owner, _)| ((*layout, *owner), (*layout, *position)))
    }));
    let mut freed = 0_u64;
    let mut chosen = Vec::new();
    // A companion is removed with its image, not earlier.
    let mut queue: VecDeque<Place> = candidates.iter().map(|(place, _)| *place).collect();
    while let Some((layout, position)) = queue.pop_front() {
        if freed >= excess {
            break;
        }
        let (Some(survey), Some(left)) = (surveys.get(layout), left.get_mut(layout)) else {
            continue;
        };
        let Some(image) = survey.images.get(position) else {
            continue;
        };
        let is_removed = |at: usize| left.is_removed.get(at).is_some_and(|removed| *removed);
        let mut owners_of = image.follows.owners.iter();
        if is_removed(position) || owners_of.any(|(owner, _)| !is_removed(*owner)) {
            continue;
        }
        let is_wanted = Rank::of(image) == left.rank;
        if is_wanted && left.wanted == 1 && empty == EmptyIndex::Refuse {
            // The last image is kept: an importer of a cache without its tag fails the build.
            continue;
        }
        left.wanted -= usize::from(is_wanted);
        if let Some(removed) = left.is_removed.get_mut(position) {
            *removed = true;
        }
        chosen.push(Chosen {
            layout,
            position,
            reason: match ties.get(&(layout, position)) {
                _ if image.follows.is_companion => removed_along(&image.follows),
                Some(tie) => format!("{oldest} {tie}"),
                None => oldest.to_owned(),
            },
        });
        for companion in companions.remove(&(layout, position)).into_iter().flatten() {
            queue.push_front(companion);
        }
        for (key, len) in survey.files(&image.reach) {
            if let Some(count) = owners.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    freed = freed.saturating_add(len);
                }
            }
        }
    }
    chosen
}

/// The rank of an image in a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// It belongs to an image that is gone.
    Referrer,
    /// Only its digest identifies it.
    Untagged,
    Named,
}

impl Rank {
    fn of(image: &SurveyedImage) -> Self {
        let SurveyedImage {
            image, is_named, ..
        } = image;
        if *is_named {
            Self::Named
        } else if has_own_name(image) || (image.names.is_empty() && !image.is_stale_referrer) {
            Self::Untagged
        } else {
            Self::Referrer
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::images::Image;
    use crate::oci::{Algorithm, Digest, EntryName, REF_NAME};
    use crate::plan::Age;
    use crate::plan::prune::companions::Follows;

    /// A layout with images: name, age as a second, files. A file with a number below 10 is in every layout.
    fn survey(layout: usize, images: &[(&str, i64, &[u64])]) -> Survey {
        let mut survey = Survey::default();
        for (position, (name, second, files)) in images.iter().enumerate() {
            let mut reach = Vec::new();
            for file in *files {
                let device = if *file < 10 { 0 } else { 1 + layout as u64 };
                let number = u32::try_from(survey.files.len());
                reach.push(number.expect("there are few"));
                survey.files.push((FileKey(device, *file), 100));
            }
            survey.images.push(SurveyedImage {
                image: Image {
                    digest: Digest::of(Algorithm::Sha256, name.as_bytes()),
                    id: 0,
                    names: vec![EntryName {
                        text: (*name).into(),
                        key: REF_NAME,
                    }],
                    shared_names: Vec::new(),
                    is_stale_referrer: false,
                    entries: vec![position],
                    media_type: "".into(),
                    artifact_type: None,
                    holds: Vec::new(),
                    second_indexes: Vec::new(),
                },
                age: Age {
                    time: jiff::Timestamp::from_second(*second).ok(),
                    layout,
                    position,
                    ..Age::default()
                },
                is_named: true,
                is_compared: true,
                is_removed: false,
                is_free: true,
                follows: Follows::default(),
                reach,
            });
        }
        survey
    }

    fn chosen(surveys: &[&Survey], excess: u64, empty: EmptyIndex) -> Vec<String> {
        let chosen = choose(surveys, excess, "the oldest", empty).into_iter();
        let names = chosen.map(|chosen| {
            let image = &surveys[chosen.layout].images[chosen.position].image;
            image.names[0].text.to_string()
        });
        names.collect()
    }

    #[test]
    fn the_oldest_of_all_layouts_are_chosen_until_enough_is_freed() {
        let one = survey(
            0,
            &[("a:1", 1, &[1, 10]), ("a:2", 4, &[11]), ("a:3", 7, &[12])],
        );
        let two = survey(
            1,
            &[("b:1", 2, &[1, 10]), ("b:2", 3, &[11]), ("b:3", 6, &[12])],
        );
        for (excess, expected) in [
            (0, &[][..]),
            (100, &["a:1"]),
            // The file that both reference is freed with the second one.
            (101, &["a:1", "b:1"]),
            (300, &["a:1", "b:1"]),
            (301, &["a:1", "b:1", "b:2"]),
            (500, &["a:1", "b:1", "b:2", "a:2"]),
            // The last image of each is kept.
            (9999, &["a:1", "b:1", "b:2", "a:2"]),
        ] {
            let found = chosen(&[&one, &two], excess, EmptyIndex::Refuse);
            assert_eq!(found, expected, "{excess}");
        }
        let all = chosen(&[&one, &two], 9999, EmptyIndex::Allow);
        assert_eq!(all, ["a:1", "b:1", "b:2", "a:2", "b:3", "a:3"]);
    }

    #[test]
    fn files_that_something_else_keeps_are_not_counted_as_freed() {
        let mut one = survey(
            0,
            &[("a:1", 1, &[10]), ("a:2", 2, &[11]), ("a:3", 3, &[12])],
        );
        one.others = vec![0];
        assert_eq!(chosen(&[&one], 100, EmptyIndex::Refuse), ["a:1", "a:2"]);
        one.images[0].is_free = false;
        assert_eq!(chosen(&[&one], 100, EmptyIndex::Refuse), ["a:2"]);
    }
}
