//! Companion tags in a prune: `app:1-esgztoc` is kept and removed with `app:1`.

use std::collections::{HashMap, HashSet};

use crate::layout::BlobId;
use crate::model::companions::companions;
use crate::model::entries::EntryFacts;
use crate::model::snapshot::Snapshot;

use super::Judged;

/// The images that an image follows.
#[derive(Debug, Clone, Default)]
pub(super) struct Follows {
    /// The images that its tags were derived from, by their positions among the judged ones, with the name.
    pub(super) owners: Vec<(usize, String)>,
    /// `true` if all of its names are companions: rules do not count it separately.
    pub(super) is_companion: bool,
}

/// Finds the companions among judged images, with their owners. An owner that is not eligible does not count.
pub(super) fn companions_among(
    snapshot: &Snapshot,
    entries: &[EntryFacts],
    judged: &[Judged<'_>],
    is_eligible: impl Fn(&Judged<'_>) -> bool,
) -> Vec<Follows> {
    let mut found: Vec<Follows> = vec![Follows::default(); judged.len()];
    let ids = judged.iter().map(|judged| judged.image.id);
    let positions: HashMap<BlobId, usize> = ids.zip(0..).collect();
    let mut derived: HashMap<usize, HashSet<&str>> = HashMap::new();
    for companion in companions(snapshot, entries) {
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
    for (place, (follows, judged)) in found.iter_mut().zip(judged).enumerate() {
        follows.is_companion = derived.get(&place).is_some_and(|derived| {
            let mut names = judged.image.names.iter();
            names.all(|name| derived.contains(&*name.text))
        });
    }
    found
}

/// Keeps the companions of the tags that are kept, and removes the others.
pub(super) fn follow(judged: &mut [Judged<'_>]) {
    let mut companions: HashMap<usize, Vec<(usize, String)>> = HashMap::new();
    let mut kept: Vec<usize> = Vec::new();
    for (position, image) in judged.iter_mut().enumerate() {
        for (owner, name) in &image.follows.owners {
            let of_owner = companions.entry(*owner).or_default();
            of_owner.push((position, name.clone()));
        }
        image.is_removed |= image.follows.is_companion && image.is_free();
        if !image.is_removed {
            kept.push(position);
        }
    }
    while let Some(owner) = kept.pop() {
        // The rules that keep the image keep its companion, also against a size budget.
        let Some(image) = judged.get(owner) else {
            continue;
        };
        let rules = image.rules.clone();
        let mut companions = companions.remove(&owner).unwrap_or_default();
        companions.retain(|(_, name)| image.keeps(name));
        for (position, name) in companions {
            let companion = judged.get_mut(position);
            let Some(companion) = companion.filter(|image| image.is_removed) else {
                continue;
            };
            companion.is_removed = false;
            companion.rules.clone_from(&rules);
            companion.reasons = vec![format!("companion of {name}")];
            kept.push(position);
        }
    }
    for image in judged {
        if image.is_removed && image.some_names.is_some() {
            image.is_removed = false;
            image.lose_names();
        } else if image.is_removed && image.reasons.is_empty() {
            image.reasons = vec![removed_along(&image.follows)];
        }
    }
}

/// Returns why a companion is removed.
pub(super) fn removed_along(follows: &Follows) -> String {
    let name = follows.owners.first().map_or("", |(_, name)| name);
    format!("companion of {name}, which is removed")
}
