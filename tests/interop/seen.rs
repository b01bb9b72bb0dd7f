//! The view of `umoci` and `skopeo` on a layout: tags, manifests, histories, every byte of every copy, unpacked file trees.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::support::snapshot::What;
use crate::support::{ClientDir, sha256, snapshot};

/// Everything about one tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    /// The digest of the manifest that `skopeo inspect` reads.
    pub(crate) digest: String,
    /// The output of `skopeo inspect`, if the image is for this machine.
    inspected: String,
    /// Names and digests of the files that `skopeo copy` writes.
    copied: BTreeMap<PathBuf, String>,
    /// The output of `umoci stat`, and the files that `umoci unpack` writes; empty for images that umoci does not support.
    umoci: Option<(String, BTreeMap<PathBuf, String>)>,
}

/// The programs that read the images of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Both.
    UmociAndSkopeo,
    /// umoci reads neither docker's manifests nor indexes.
    SkopeoOnly,
}

/// Returns the tags of a layout as `umoci` lists them, sorted.
pub(crate) fn tags(clients: &ClientDir, layout: &str) -> Vec<String> {
    let run = clients.umoci(&["list", "--layout", layout]);
    let mut tags: Vec<String> = run.stdout.lines().map(str::to_owned).collect();
    tags.sort();
    tags
}

/// Uses each of these tags in every way.
#[track_caller]
pub(crate) fn see(
    clients: &ClientDir,
    layout: &str,
    tags: &[String],
    readers: Readers,
) -> BTreeMap<String, Tag> {
    assert!(!tags.is_empty(), "there is no tag to read");
    let all = tags.iter();
    all.map(|tag| (tag.clone(), see_one(clients, layout, tag, readers)))
        .collect()
}

fn see_one(clients: &ClientDir, layout: &str, tag: &str, readers: Readers) -> Tag {
    let source = format!("oci:{layout}:{tag}");
    let raw = clients.skopeo(&["inspect", "--raw", &source]);
    let inspected = clients.skopeo(&["inspect", &source]).stdout;
    let copy = clients.text_of("copy-to-look-at");
    clients.copy(&source, &format!("dir:{copy}"), &["--all"]);
    let copied = files(&PathBuf::from(&copy));
    fs::remove_dir_all(&copy).expect("a copy can be removed");
    let umoci = (readers == Readers::UmociAndSkopeo).then(|| {
        let image = format!("{layout}:{tag}");
        let stat = clients.umoci(&["stat", "--json", "--image", &image]).stdout;
        let bundle = clients.text_of("bundle-to-look-at");
        clients.unpack(&image, &bundle);
        let tree = files(&PathBuf::from(&bundle).join("rootfs"));
        fs::remove_dir_all(&bundle).expect("a bundle can be removed");
        (stat, tree)
    });
    Tag {
        digest: sha256(raw.stdout.as_bytes()),
        inspected,
        copied,
        umoci,
    }
}

fn files(directory: &std::path::Path) -> BTreeMap<PathBuf, String> {
    snapshot(directory)
        .into_iter()
        .filter(|(_, stat)| stat.what != What::Directory)
        .map(|(path, stat)| (path, stat.content))
        .collect()
}
