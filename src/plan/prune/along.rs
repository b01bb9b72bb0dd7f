//! Companion tags in a prune: `app:1-esgztoc` is kept with `app:1`, and removed with it.

use std::collections::{HashMap, HashSet};

use crate::layout::BlobId;
use crate::model::companions::companions;
use crate::model::entries::EntryFacts;
use crate::model::snapshot::Snapshot;

use super::Judged;

/// Which other images an image follows.
#[derive(Debug, Clone, Default)]
pub(super) struct Follows {
    /// The images that its tags were derived from, by their places among the judged ones, with the name.
    pub(super) owners: Vec<(usize, String)>,
    /// All of its names are companions: rules count it with its owners, and not as an image of its own.
    pub(super) is_companion: bool,
}

/// Finds which judged images are companions of which others. An owner that is not eligible does not count.
pub(super) fn companions_among(
    view: &Snapshot,
    entries: &[EntryFacts],
    judged: &[Judged<'_>],
    is_eligible: impl Fn(&Judged<'_>) -> bool,
) -> Vec<Follows> {
    let mut found: Vec<Follows> = vec![Follows::default(); judged.len()];
    let positions: HashMap<BlobId, usize> = judged
        .iter()
        .enumerate()
        .map(|(position, judged)| (judged.image.id, position))
        .collect();
    let mut derived: HashMap<usize, HashSet<&str>> = HashMap::new();
    for companion in companions(view, entries) {
        let of = |id: BlobId| positions.get(&id).copied();
        let id = entries.get(companion.entry).and_then(|entry| entry.id);
        let (Some(place), Some(owner)) = (id.and_then(of), of(companion.owner)) else {
            continue;
        };
        if place == owner || !judged.get(owner).is_some_and(&is_eligible) {
            continue;
        }
        derived.entry(place).or_default().insert(companion.name);
        if let Some(follows) = found.get_mut(place) {
            follows
                .owners
                .push((owner, companion.owner_name.to_owned()));
        }
    }
    for (place, names) in derived {
        if let (Some(follows), Some(judged)) = (found.get_mut(place), judged.get(place)) {
            let mut own = judged.image.names.iter();
            follows.is_companion = own.all(|name| names.contains(&*name.text));
        }
    }
    found
}

/// Keeps the companions of what is kept, and removes those that only followed what is removed.
pub(super) fn follow(judged: &mut [Judged<'_>]) {
    let mut companions: HashMap<usize, Vec<(usize, String)>> = HashMap::new();
    let mut kept: Vec<usize> = Vec::new();
    for (position, image) in judged.iter_mut().enumerate() {
        for (owner, name) in &image.follows.owners {
            let of_owner = companions.entry(*owner).or_default();
            of_owner.push((position, name.clone()));
        }
        if image.follows.is_companion && image.is_free() {
            image.goes = true;
        }
        if !image.goes {
            kept.push(position);
        }
    }
    while let Some(owner) = kept.pop() {
        // What keeps the image keeps its companion, also against a size budget.
        let rules = judged
            .get(owner)
            .map_or_else(Vec::new, |image| image.rules.clone());
        for (position, name) in companions.remove(&owner).unwrap_or_default() {
            let Some(companion) = judged.get_mut(position).filter(|image| image.goes) else {
                continue;
            };
            companion.goes = false;
            companion.rules.clone_from(&rules);
            companion.reasons = vec![format!("companion of {name}")];
            kept.push(position);
        }
    }
    for image in judged {
        if image.goes && image.some_names.is_some() {
            image.goes = false;
            image.lose_names();
        } else if image.goes && image.reasons.is_empty() {
            image.reasons = vec![removed_along(&image.follows)];
        }
    }
}

/// Returns why a companion is removed.
pub(super) fn removed_along(follows: &Follows) -> String {
    let name = follows.owners.first().map_or("", |(_, name)| name);
    format!("companion of {name}, which is removed")
}
