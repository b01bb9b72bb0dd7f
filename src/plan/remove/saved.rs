//! Edits docker save's `manifest.json` and `repositories` when names and images are removed.
//!
//! *Promise*: a name is removed from an element only if no entry that references its config keeps that name, so that each of
//! two images with the same name keeps its own; `repositories` never names a removed image.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::error::{Error, Result};
use crate::layout::{BlobId, Writes};
use crate::model::entries::{EntryFacts, config_owners};
use crate::model::snapshot::Snapshot;
use crate::oci::DockerSave;
use crate::oci::docker_archive::edit_repositories;
use crate::oci::reference::canonical;

use super::selection::RemovalSet;

/// Adds the edited lists to what is written. `elements`: the positions of the elements that are removed.
pub(super) fn edit_lists(
    snapshot: &Snapshot,
    entries: &[EntryFacts],
    gone: &RemovalSet,
    elements: &BTreeSet<usize>,
    writes: &mut Writes,
) -> Result<()> {
    let Some(save) = &snapshot.state.docker_save else {
        return Ok(());
    };
    if elements.is_empty() && gone.names.is_empty() {
        return Ok(());
    }
    let file = |name: &str| snapshot.layout.path().join(name);
    let names = SavedNames::of(snapshot, entries, gone);
    let edited = save
        .edited(
            |position| elements.contains(&position),
            |position, name| names.is_gone(save, position, name),
        )
        .map_err(|why| Error::Edit {
            path: file("manifest.json"),
            why,
        })?;
    if edited.text() != save.text() {
        writes.manifest_json = Some(edited.text().to_owned());
    }
    let Some(text) = &snapshot.state.repositories else {
        return Ok(());
    };
    let listed = |save: &DockerSave| -> HashSet<String> {
        let tags = save.elements.iter().flat_map(|element| &element.repo_tags);
        tags.map(|tag| canonical(tag)).collect()
    };
    let (before, after) = (listed(save), listed(&edited));
    let gone_ids = gone_ids(snapshot, gone, save, elements);
    writes.repositories = edit_repositories(text, |name, id| {
        let name = canonical(name);
        let was_listed = before.contains(&name) || names.gone.contains(&name);
        gone_ids.contains(id) || (was_listed && !after.contains(&name))
    })
    .map_err(|why| Error::Edit {
        path: file("repositories"),
        why,
    })?;
    Ok(())
}

/// Returns the hexadecimal digits of removed images that no kept element names.
fn gone_ids(
    snapshot: &Snapshot,
    gone: &RemovalSet,
    save: &DockerSave,
    elements: &BTreeSet<usize>,
) -> HashSet<String> {
    let (removed, kept): (Vec<_>, Vec<_>) = save
        .elements
        .iter()
        .enumerate()
        .partition(|(position, _)| elements.contains(position));
    let kept: HashSet<String> = kept
        .iter()
        .flat_map(|(_, element)| &element.blobs)
        .map(|digest| digest.encoded())
        .collect();
    let removed = removed.iter().flat_map(|(_, element)| &element.blobs);
    let images = gone.images.iter().map(|id| snapshot.graph.digest(*id));
    removed
        .chain(images)
        .map(|digest| digest.encoded())
        .filter(|hex| !kept.contains(hex))
        .collect()
}

/// The names that are removed, as docker completes them: docker writes short ones here and full ones in `index.json`.
pub(super) struct SavedNames<'a> {
    gone: HashSet<String>,
    snapshot: &'a Snapshot,
    /// The entries that reference the config of an element, by config.
    owners: HashMap<BlobId, HashSet<usize>>,
    /// The entries that keep a name, by name: one image may have thousands of entries, each with a name of its own.
    keepers: HashMap<String, Vec<usize>>,
}

impl<'a> SavedNames<'a> {
    pub(super) fn of(snapshot: &'a Snapshot, entries: &[EntryFacts], gone: &RemovalSet) -> Self {
        let mut keepers: HashMap<String, Vec<usize>> = HashMap::new();
        let kept = |entry: &&EntryFacts| !gone.entries.contains(&entry.position);
        for entry in entries.iter().filter(kept) {
            let names = entry.names.iter();
            for name in names.filter(|name| gone.keeps_name(entry, name)) {
                let keepers = keepers.entry(canonical(&name.text)).or_default();
                keepers.push(entry.position);
            }
        }
        let owners = config_owners(snapshot).into_iter();
        Self {
            gone: gone.names.iter().map(|name| canonical(name)).collect(),
            snapshot,
            owners: owners
                .map(|(config, owners)| (config, owners.into_iter().collect()))
                .collect(),
            keepers,
        }
    }

    /// Returns the first name that an element keeps.
    pub(super) fn first_left(&self, element: usize) -> Option<&'a str> {
        let save = self.snapshot.state.docker_save.as_ref()?;
        let mut tags = save.elements.get(element)?.repo_tags.iter();
        let left = tags.find(|tag| !self.is_gone(save, element, tag))?;
        Some(left)
    }

    /// Returns `true` if an element loses a name.
    fn is_gone(&self, save: &DockerSave, element: usize, name: &str) -> bool {
        let name = canonical(name);
        if !self.gone.contains(&name) {
            return false;
        }
        let element = save.elements.get(element);
        let config = element.and_then(|element| element.config.as_ref());
        let owners = config
            .and_then(|config| self.snapshot.graph.id(config))
            .and_then(|config| self.owners.get(&config))
            .filter(|owners| !owners.is_empty());
        let Some(keepers) = self.keepers.get(&name) else {
            return true;
        };
        // If no entry references the config, any entry may keep the name.
        owners.is_some_and(|owners| !keepers.iter().any(|position| owners.contains(position)))
    }
}
