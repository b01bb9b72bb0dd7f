//! An archive of `docker save` before version 25, or a `docker-archive` of podman and skopeo: `manifest.json` lists images,
//! whose configuration and layers are files of any name.
//!
//! It is converted to a layout in the scratch directory: each image of `manifest.json` gets a manifest, each file that it
//! lists is a blob, and the names are entries of `index.json`. Changes to that layout are translated back here: removed
//! elements, removed names, and files that no element lists any more.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::archive_change::ArchiveChange;
use crate::oci::DockerSave;

/// The directory for that layout in the scratch directory, with a trailing slash. No archive may contain it.
pub(crate) const DIRECTORY: &[u8] = b".ocisweep-docker-archive/";

/// The layout of such an archive.
#[derive(Debug)]
pub(crate) struct Classic {
    /// `manifest.json` of the archive, and the number of its member.
    pub(crate) text: String,
    pub(crate) manifest: u32,
    /// `repositories`, if there is one.
    pub(crate) repositories: Option<u32>,
    /// The member of each blob, by its path in the converted layout.
    pub(crate) blobs: HashMap<String, u32>,
    /// Links with their target members.
    pub(crate) links: Vec<(u32, u32)>,
}

/// An element of the converted `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ConvertedImage {
    #[serde(rename = "Config")]
    pub(crate) config: String,
    #[serde(rename = "RepoTags")]
    pub(crate) tags: Option<Vec<String>>,
    #[serde(rename = "Layers")]
    pub(crate) layers: Vec<String>,
    /// The position of the original element.
    pub(crate) position: usize,
}

impl Classic {
    /// Returns the changes to the archive if these blobs, by path, were removed from the converted layout and its lists are
    /// now these; `None`: unchanged.
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
        // A file may have several roles: it is kept while it is needed in one of them.
        let needed = self.blobs.iter().filter(|(path, _)| !is_gone(path));
        for (_, number) in needed {
            change.dropped.remove(number);
        }
        change.dropped.remove(&self.manifest);
        if let Some(number) = &self.repositories {
            change.dropped.remove(number);
        }
        // A link is kept with its target.
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

    /// Removes from `manifest.json` what was removed from the converted one.
    fn edited(&self, made: &str) -> Result<String, String> {
        let left: Vec<ConvertedImage> =
            serde_json::from_str(made).map_err(|error| error.to_string())?;
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

/// Removes the files that docker wrote beside a removed layer: `<id>/json`, `<id>/VERSION` and the directory.
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
