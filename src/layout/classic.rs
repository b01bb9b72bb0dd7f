//! An archive of `docker save` as it was before version 25, or of podman's and skopeo's `docker-archive`: `manifest.json` lists
//! images, whose configuration and layers are files of any name.
//!
//! A layout is made of it in the scratch directory: each image of `manifest.json` gets a manifest, each file that it lists is a blob, and
//! the names are entries of `index.json`. What a run does to that layout is translated back here: an element that is gone, names
//! that are gone, and files that no element lists any more.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::archive_change::ArchiveChange;
use crate::oci::DockerSave;

/// The directory of the scratch directory in which that layout is made, with a slash at its end. No archive may have it.
pub(crate) const DIRECTORY: &[u8] = b".ocisweep-docker-archive/";

/// What was made of such an archive.
#[derive(Debug)]
pub(crate) struct Classic {
    /// `manifest.json` as it is in the archive, and the number of its member.
    pub(crate) text: String,
    pub(crate) manifest: u32,
    /// `repositories`, if there is one.
    pub(crate) repositories: Option<u32>,
    /// The member of each blob, by its path in the layout that was made.
    pub(crate) blobs: HashMap<String, u32>,
    /// Links with their target members.
    pub(crate) links: Vec<(u32, u32)>,
}

/// An element of the `manifest.json` that was made.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Element {
    #[serde(rename = "Config")]
    pub(crate) config: String,
    #[serde(rename = "RepoTags")]
    pub(crate) tags: Option<Vec<String>>,
    #[serde(rename = "Layers")]
    pub(crate) layers: Vec<String>,
    /// The position of the element that it was made of.
    pub(crate) position: usize,
}

impl Classic {
    /// Returns what becomes of the archive when of the layout that was made of it these blobs are gone, by path, and its lists
    /// are these; `None`: as they were.
    ///
    /// # Errors
    /// A description of what cannot be edited.
    pub(crate) fn change(
        &self,
        by_path: &HashMap<Box<[u8]>, u32>,
        is_gone: impl Fn(&str) -> bool,
        manifest_json: Option<&str>,
        repositories: Option<&str>,
    ) -> Result<ArchiveChange, String> {
        let mut change = ArchiveChange::default();
        if let Some(text) = manifest_json {
            let text = self.edited(text)?;
            if text != self.text {
                change.edit(self.manifest, text.into_bytes());
            }
        }
        if let (Some(number), Some(text)) = (self.repositories, repositories) {
            change.edit(number, text.as_bytes().to_vec());
        }
        let gone = self.blobs.iter().filter(|(path, _)| is_gone(path));
        change.dropped.extend(gone.map(|(_, number)| *number));
        let links = self.links.iter();
        let dangling: Vec<u32> = links
            .filter(|(_, target)| change.dropped.contains(target))
            .map(|(link, _)| *link)
            .collect();
        change.dropped.extend(dangling);
        drop_beside(by_path, &mut change);
        // A file may be several things at once: it stays as long as it is needed as one of them.
        let needed = self.blobs.iter().filter(|(path, _)| !is_gone(path));
        for (_, number) in needed {
            change.dropped.remove(number);
        }
        change.dropped.remove(&self.manifest);
        if let Some(number) = &self.repositories {
            change.dropped.remove(number);
        }
        // A link stays with its target.
        let stay: Vec<u32> = self
            .links
            .iter()
            .filter(|(_, target)| !change.dropped.contains(target))
            .map(|(link, _)| *link)
            .collect();
        for link in stay {
            change.dropped.remove(&link);
        }
        Ok(change)
    }

    /// Removes from `manifest.json` what was removed from the one that was made of it.
    fn edited(&self, made: &str) -> Result<String, String> {
        let left: Vec<Element> = serde_json::from_str(made).map_err(|error| error.to_string())?;
        let left: HashMap<usize, BTreeSet<String>> = left
            .into_iter()
            .map(|element| {
                let tags = element.tags.unwrap_or_default().into_iter().collect();
                (element.position, tags)
            })
            .collect();
        let save = DockerSave::parse(self.text.as_bytes())?;
        let save = save.ok_or_else(|| "it is not a list".to_owned())?;
        let edited = save.edited(
            |position| !left.contains_key(&position),
            |position, name| left.get(&position).is_none_or(|tags| !tags.contains(name)),
        )?;
        Ok(edited.text().to_owned())
    }
}

/// Drops what docker wrote beside a layer that is dropped: `<id>/json`, `<id>/VERSION` and the directory.
fn drop_beside(by_path: &HashMap<Box<[u8]>, u32>, change: &mut ArchiveChange) {
    let mut beside: BTreeSet<u32> = BTreeSet::new();
    for (path, number) in by_path {
        let Some(directory) = path.strip_suffix(b"/layer.tar") else {
            continue;
        };
        if change.dropped.contains(number) {
            let files = [&b"/json"[..], b"/VERSION", b""];
            let paths = files.map(|file| [directory, file].concat());
            let known = paths.iter().filter_map(|path| by_path.get(&**path));
            beside.extend(known);
        }
    }
    change.dropped.extend(beside);
}
