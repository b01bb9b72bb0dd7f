//! Converts an archive of `docker save` before version 25 to a layout.
//!
//! *Promise*: the layout describes an image as `manifest.json` does. A layer is identified by its path, after following
//! links in the archive; it is named by its `diff_id`, which is the digest of the layer itself if it is not compressed.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::json;

use super::failure::{Failure, bad};
use super::links::LinkTable;
use super::tar::shown;
use crate::fs::{Scratch, ScratchWriter, set_length, set_modified};
use crate::layout::classic::{Classic, ConvertedImage, DIRECTORY};
use crate::layout::packed::{MemberKind, PackedMember};
use crate::oci::{Algorithm, Digest};

/// The largest configuration, in bytes.
const MAX_CONFIG_BYTES: u64 = 8 << 20;

/// The contents of an archive.
pub(super) struct Archived<'a> {
    pub(super) scratch: &'a Scratch,
    pub(super) writer: &'a mut ScratchWriter,
    pub(super) members: &'a [PackedMember],
    pub(super) by_path: &'a HashMap<Box<[u8]>, u32>,
    pub(super) links: LinkTable<'a>,
    /// The times of files, by number.
    pub(super) modified: &'a BTreeMap<u32, i128>,
}

/// An element of docker's `manifest.json`.
#[derive(Deserialize)]
struct WrittenElement {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags")]
    tags: Option<Vec<String>>,
    #[serde(rename = "Layers")]
    layers: Option<Vec<String>>,
}

/// Makes a layout of an archive without `index.json`; `None`: its `manifest.json` is of another kind or absent.
pub(super) fn make(mut archived: Archived<'_>) -> Result<Option<Classic>, Failure> {
    let Some(&manifest) = archived.by_path.get(&b"manifest.json"[..]) else {
        return Ok(None);
    };
    let text = archived.read(b"manifest.json", u64::MAX)?;
    let Ok(text) = String::from_utf8(text) else {
        return Ok(None);
    };
    let Ok(written) = serde_json::from_str::<Vec<WrittenElement>>(&text) else {
        return Ok(None);
    };
    let mut made = Made::default();
    let mut elements = Vec::new();
    let mut entries = Vec::new();
    for (position, written) in written.into_iter().enumerate() {
        let (element, image) = archived.image(position, written, &mut made)?;
        let descriptor = |name: Option<&String>| {
            let mut descriptor = image.clone();
            if let (Some(name), Some(fields)) = (name, descriptor.as_object_mut()) {
                let names = json!({"io.containerd.image.name": name});
                fields.insert("annotations".to_owned(), names);
            }
            descriptor
        };
        match element.tags.as_deref() {
            None | Some([]) => entries.push(descriptor(None)),
            Some(tags) => entries.extend(tags.iter().map(|name| descriptor(Some(name)))),
        }
        elements.push(element);
    }
    let index = json!({"schemaVersion": 2, "manifests": entries});
    let lists = serde_json::to_vec(&elements).map_err(|error| bad(error.to_string()))?;
    archived.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, None)?;
    archived.write("index.json", index.to_string().as_bytes(), Some(manifest))?;
    archived.write("manifest.json", &lists, Some(manifest))?;
    let repositories = archived.by_path.get(&b"repositories"[..]).copied();
    if let Some(number) = repositories {
        let text = archived.read(b"repositories", u64::MAX)?;
        archived.write("repositories", &text, Some(number))?;
    }
    let links = archived.links.paths().filter_map(|path| {
        let link = archived.by_path.get(path)?;
        Some((*link, archived.resolve(path)?.1))
    });
    Ok(Some(Classic {
        text,
        manifest,
        repositories,
        links: links.collect(),
        blobs: made.blobs,
    }))
}

/// The blobs that were made so far.
#[derive(Default)]
struct Made {
    /// The members, by path in the layout.
    blobs: HashMap<String, u32>,
    /// The digests, by member.
    digests: HashMap<u32, Digest>,
}

impl<'a> Archived<'a> {
    /// Makes the manifest of an image, and returns its element and its descriptor.
    fn image(
        &mut self,
        position: usize,
        written: WrittenElement,
        made: &mut Made,
    ) -> Result<(ConvertedImage, serde_json::Value), Failure> {
        #[derive(Deserialize)]
        struct Config {
            rootfs: Option<RootFs>,
        }
        #[derive(Deserialize)]
        struct RootFs {
            diff_ids: Option<Vec<String>>,
        }

        let number = self.listed(&written.config)?;
        let config = self.read(written.config.as_bytes(), MAX_CONFIG_BYTES)?;
        let digest = Digest::of(Algorithm::Sha256, &config);
        let size = config.len() as u64;
        if made.blobs.insert(digest.path_in_layout(), number).is_none() {
            self.write(&digest.path_in_layout(), &config, Some(number))?;
        }
        let parsed: Option<Config> = serde_json::from_slice(&config).ok();
        let diff_ids = parsed
            .and_then(|config| config.rootfs?.diff_ids)
            .unwrap_or_default();
        let layers = written.layers.unwrap_or_default();
        let are_known = diff_ids.len() == layers.len();
        let mut descriptors = Vec::new();
        let mut paths = Vec::new();
        for (layer, path) in layers.iter().enumerate() {
            let number = self.listed(path)?;
            let diff_id = diff_ids.get(layer).filter(|_| are_known);
            let digest = self.layer(number, path, diff_id.map(String::as_str), made)?;
            let len = self.members.get(number as usize).map_or(0, |it| it.len);
            paths.push(digest.path_in_layout());
            descriptors.push(json!({
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar",
                "digest": digest.to_string(),
                "size": len,
            }));
        }
        let media_type = "application/vnd.docker.distribution.manifest.v2+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": digest.to_string(),
                "size": size,
            },
            "layers": descriptors,
        })
        .to_string();
        let id = Digest::of(Algorithm::Sha256, manifest.as_bytes());
        // An image in two elements has one manifest.
        let place = format!("{}{}", shown(DIRECTORY), id.path_in_layout());
        if !self.scratch.path().join(place).exists() {
            self.write(&id.path_in_layout(), manifest.as_bytes(), Some(number))?;
        }
        let descriptor = json!({
            "mediaType": media_type,
            "digest": id.to_string(),
            "size": manifest.len(),
        });
        let element = ConvertedImage {
            config: digest.path_in_layout(),
            tags: written.tags,
            layers: paths,
            position,
        };
        Ok((element, descriptor))
    }

    /// Makes the blob of a layer, unless it exists, and returns its digest.
    fn layer(
        &mut self,
        number: u32,
        path: &str,
        diff_id: Option<&str>,
        made: &mut Made,
    ) -> Result<Digest, Failure> {
        if let Some(digest) = made.digests.get(&number) {
            return Ok(digest.clone());
        }
        let is_free = |digest: &Digest| !made.blobs.contains_key(&digest.path_in_layout());
        let digest = diff_id
            .and_then(|text| Digest::parse(text).ok())
            .filter(|digest| digest.algorithm() == Some(Algorithm::Sha256) && is_free(digest));
        // A second file with that content is another layer.
        let digest = digest.unwrap_or_else(|| Digest::of(Algorithm::Sha256, path.as_bytes()));
        if !is_free(&digest) {
            return Err(bad(format!(
                "`manifest.json` lists `{path}` twice, for different content"
            )));
        }
        let place = [DIRECTORY, digest.path_in_layout().as_bytes()].concat();
        let file = self.writer.create(&place).map_err(Failure::Scratch)?;
        let len = self.members.get(number as usize).map_or(0, |it| it.len);
        set_length(&file, len).map_err(Failure::Scratch)?;
        let modified = self.modified.get(&number).copied().unwrap_or_default();
        set_modified(&file, modified).map_err(Failure::Scratch)?;
        made.blobs.insert(digest.path_in_layout(), number);
        made.digests.insert(number, digest.clone());
        Ok(digest)
    }

    /// Writes a file of the layout, with the time of a member.
    fn write(&mut self, path: &str, bytes: &[u8], like: Option<u32>) -> Result<(), Failure> {
        let place = [DIRECTORY, path.as_bytes()].concat();
        let mut file = self.writer.create(&place).map_err(Failure::Scratch)?;
        file.write_all(bytes).map_err(Failure::Scratch)?;
        let modified = like.and_then(|number| self.modified.get(&number));
        set_modified(&file, modified.copied().unwrap_or_default()).map_err(Failure::Scratch)
    }

    /// Returns the member at a path of `manifest.json`.
    fn listed(&self, path: &str) -> Result<u32, Failure> {
        let Some((found, number)) = self.resolve(path.as_bytes()) else {
            return Err(bad(format!(
                "`manifest.json` lists `{path}`, which is not in it"
            )));
        };
        // A file that is removed with its last image must not be one of the files that list the images.
        if matches!(found, b"manifest.json" | b"repositories") {
            return Err(bad(format!(
                "`manifest.json` lists `{path}` as a file of an image"
            )));
        }
        Ok(number)
    }

    /// Follows links in the archive to a file, and returns its path and its number.
    fn resolve(&self, path: &[u8]) -> Option<(&'a [u8], u32)> {
        let (path, number) = self.links.resolve(path)?;
        let member = self.members.get(number as usize)?;
        (member.kind == MemberKind::File).then_some((path, number))
    }

    /// Reads an unpacked file, following links.
    fn read(&self, path: &[u8], most: u64) -> Result<Vec<u8>, Failure> {
        let found = self.resolve(path).and_then(|(path, number)| {
            let member = self.members.get(number as usize)?;
            Some((path, member))
        });
        let Some((path, member)) = found else {
            return Err(bad(format!("its member `{}` is not a file", shown(path))));
        };
        if member.is_hole || member.len > most {
            return Err(bad(format!("its member `{}` is too large", shown(path))));
        }
        let place = Path::new(std::ffi::OsStr::from_bytes(path));
        std::fs::read(self.scratch.path().join(place)).map_err(Failure::Scratch)
    }
}
