//! Writes an index without some of its platforms: every other byte is kept.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::layout::{BlobId, NewBlob, SecondIndex};
use crate::model::entries::{EntryFacts, EntryRole};
use crate::model::images::Image;
use crate::model::snapshot::Snapshot;
use crate::oci::descriptor::Link;
use crate::oci::{Algorithm, Digest, Edit, IndexDoc, Role};
use crate::oci::{BASE_NAME, CONTAINERD_NAME, REF_NAME, split_pin};
use crate::plan::remove::selection::Relisted;
use crate::plan::remove::{Moved, RemovalSet, RemoveOptions};
use crate::plan::{Conflict, Force};

use super::{DroppedPart, Failed, written};

/// The maximum depth of nested indexes that are rewritten. No writer nests more than two.
const MAX_DEPTH: usize = 32;

/// Replaces an index with one without a part.
pub(super) fn rewrite(
    snapshot: &Snapshot,
    entries: &[EntryFacts],
    image: &Image,
    part: &DroppedPart,
    options: &RemoveOptions,
    gone: &mut RemovalSet,
) -> Result<(), Failed> {
    let referrers = referrers(snapshot, entries, image, part);
    if !referrers.is_empty() && options.force == Force::No {
        return Err(Conflict::Referred {
            image: image
                .names
                .first()
                .map_or_else(|| image.digest.short(), |name| name.text.to_string()),
            referrers,
        }
        .into());
    }
    let mut writer = Rewriter {
        snapshot,
        part,
        done: BTreeMap::new(),
        nested: Vec::new(),
        survivors: Vec::new(),
        superseded: Vec::new(),
    };
    let new = writer.index(image.id, 0)?.ok_or_else(|| Error::Edit {
        path: snapshot.layout.path().to_owned(),
        why: "nothing would be left of the index".to_owned(),
    })?;
    for entry in image.own_entries(entries) {
        gone.replaced.insert(entry.position, new.clone());
        // A pinned name names a digest: it gets the new one.
        let pinned = pinned(entry, &image.digest);
        gone.renamed
            .extend(pinned.map(|(key, name)| (entry.position, key, repinned(name, &new))));
    }
    let names = image.names.iter().map(|name| match split_pin(&name.text) {
        Some((_, digest)) if digest == image.digest => repinned(&name.text, &new),
        _ => name.text.to_string(),
    });
    let moved = gone.moved.len();
    gone.moved.push(Moved {
        names: names.collect(),
        size: new.bytes.len() as u64,
        digest: new.digest,
    });
    gone.nested.extend(writer.nested);
    let survivors = writer.survivors.iter();
    gone.survivors.extend(survivors.clone().map(|(id, _)| *id));
    gone.relisted
        .extend(survivors.map(|&(id, role)| Relisted { id, role, moved }));
    // An index or a platform with a subject is a referrer: its subject must not keep what this command removes.
    gone.unwanted.extend(&writer.superseded);
    gone.unwanted.extend(&part.ids);
    gone.superseded.extend(writer.superseded);
    gone.images.extend(
        part.order
            .iter()
            .filter(|id| snapshot.graph.is_present(**id)),
    );
    Ok(())
}

/// Returns everything that references an index by its digest, which changes, whether it is listed or not.
fn referrers(
    snapshot: &Snapshot,
    entries: &[EntryFacts],
    image: &Image,
    part: &DroppedPart,
) -> Vec<String> {
    let index = image.id;
    let own: BTreeSet<&str> = image.names.iter().map(|name| &*name.text).collect();
    // Referrers that share the name of their image by their `kind` were made for its digest as well.
    let shares_name = |entry: &EntryFacts| {
        let mut names = entry.names.iter();
        entry.role == EntryRole::KindReferrer
            && entry.id != Some(index)
            && names.any(|name| own.contains(&*name.text))
    };
    let describe = |id: BlobId| {
        let name = entries
            .iter()
            .filter(|entry| entry.id == Some(id) && entry.role != EntryRole::KindReferrer)
            .find_map(|entry| entry.names.first());
        name.map_or_else(
            || snapshot.graph.digest(id).short(),
            |name| name.text.to_string(),
        )
    };
    let listed = entries
        .iter()
        .filter(|entry| entry.about.contains(&index) || shares_name(entry))
        .filter_map(|entry| entry.id);
    let all: BTreeSet<BlobId> = listed
        .chain(snapshot.graph.referrers(index).iter().copied())
        .filter(|id| !part.ids.contains(id))
        .collect();
    let mut all: Vec<String> = all.into_iter().map(describe).collect();
    let digest = snapshot.graph.digest(index);
    let pinned = entries.iter().flat_map(|entry| pinned(entry, digest));
    all.extend(pinned.map(|(_, name)| name.to_owned()));
    all.sort();
    all.dedup();
    let lists = snapshot.state.second_indexes.iter();
    let lists = lists.filter(|list| list.digests().any(|listed| listed == digest));
    all.extend(lists.map(SecondIndex::label));
    all
}

/// Returns the names of an entry that are pinned to `digest`, shown or not, with their annotations.
fn pinned<'a>(
    entry: &'a EntryFacts,
    digest: &Digest,
) -> impl Iterator<Item = (&'static str, &'a str)> {
    [CONTAINERD_NAME, REF_NAME, BASE_NAME]
        .into_iter()
        .filter_map(move |key| {
            let name = entry.details.annotations.get(key)?;
            let (_, pin) = split_pin(name)?;
            (pin == *digest).then_some((key, name))
        })
}

/// Returns a pinned name with the digest of another document.
fn repinned(name: &str, new: &NewBlob) -> String {
    let name = split_pin(name).map_or(name, |(name, _)| name);
    format!("{name}@{}", new.digest)
}

struct Rewriter<'a> {
    snapshot: &'a Snapshot,
    part: &'a DroppedPart,
    done: BTreeMap<BlobId, Option<NewBlob>>,
    nested: Vec<NewBlob>,
    survivors: Vec<(BlobId, Role)>,
    superseded: Vec<BlobId>,
}

impl Rewriter<'_> {
    /// Notes a reference that the new index has as well.
    fn survive(&mut self, link: &Link) {
        let id = self.snapshot.graph.id(&link.digest);
        self.survivors.extend(id.map(|id| (id, link.role)));
    }

    /// Returns an index without the dropped part; `None` if nothing is left of it.
    fn index(&mut self, id: BlobId, depth: usize) -> Result<Option<NewBlob>, Error> {
        if let Some(known) = self.done.get(&id) {
            return Ok(known.clone());
        }
        let digest = self.snapshot.graph.digest(id).clone();
        let cannot = |why: String| Error::Edit {
            path: self.snapshot.layout.blob_path(&digest),
            why,
        };
        if depth >= MAX_DEPTH {
            return Err(cannot("it is nested too deeply".to_owned()));
        }
        let document = IndexDoc::parse(self.snapshot.layout.read_document(&digest)?)
            .map_err(|error| cannot(error.to_string()))?;
        let mut edits = Vec::new();
        let mut is_left = false;
        for (position, entry) in document.entries().iter().enumerate() {
            let Some(child) = self.snapshot.graph.entry_id(entry) else {
                is_left = true;
                continue;
            };
            let is_part = self.part.edges.contains(&(id, child)) || {
                let platforms = self.part.descriptors.get(&(id, child));
                platforms.is_some_and(|going| going.contains(&written(&document.details(entry))))
            };
            if is_part {
                edits.push(Edit::RemoveEntry { position });
                continue;
            }
            // Anything that a kept descriptor references besides its child, for example by an annotation, is kept as well.
            for link in &entry.others {
                self.survive(link);
            }
            if !self.part.is_below(self.snapshot, child) {
                is_left = true;
                self.survivors.push((child, Role::Child));
                continue;
            }
            match self.index(child, depth + 1)? {
                None => edits.push(Edit::RemoveEntry { position }),
                Some(new) => {
                    is_left = true;
                    edits.push(Edit::ReplaceDigest {
                        position,
                        digest: new.digest.clone(),
                        size: new.bytes.len() as u64,
                    });
                    if !self.nested.contains(&new) {
                        self.nested.push(new);
                    }
                }
            }
        }
        // The index keeps its references other than its children.
        for link in document.other_links() {
            self.survive(link);
        }
        self.superseded.push(id);
        let new = if is_left {
            let edited = document.edited(&edits).map_err(cannot)?;
            let algorithm = digest.algorithm().unwrap_or(Algorithm::Sha256);
            Some(NewBlob::new(algorithm, edited.text().as_bytes().to_vec()))
        } else {
            None
        };
        self.done.insert(id, new.clone());
        Ok(new)
    }
}
