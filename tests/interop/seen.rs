//! What `umoci` and `skopeo` see in a layout: tags, manifests, histories, every byte of every copy, unpacked file trees.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::interop::workshop::Workshop;
use crate::support::snapshot::What;
use crate::support::{sha256, snapshot};

/// Everything about one tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    /// The digest of the manifest that `skopeo inspect` reads.
    pub(crate) digest: String,
    /// What `skopeo inspect` says of the image, where it is one for this machine.
    inspected: String,
    /// Names and digests of the files that `skopeo copy` writes.
    copied: BTreeMap<PathBuf, String>,
    /// What `umoci stat` says, and the files that `umoci unpack` writes; nothing for what umoci does not read.
    umoci: Option<(String, BTreeMap<PathBuf, String>)>,
}

/// Which programs read the images of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Both.
    UmociAndSkopeo,
    /// umoci reads neither docker's manifests nor indexes.
    SkopeoOnly,
}

/// Returns the tags of a layout as `umoci` lists them, sorted.
pub(crate) fn tags(shop: &Workshop, layout: &str) -> Vec<String> {
    let run = shop.umoci(&["list", "--layout", layout]);
    let mut tags: Vec<String> = run.stdout.lines().map(str::to_owned).collect();
    tags.sort();
    tags
}

/// Uses every one of these tags in every way.
#[track_caller]
pub(crate) fn see(
    shop: &Workshop,
    layout: &str,
    tags: &[String],
    readers: Readers,
) -> BTreeMap<String, Tag> {
    assert!(!tags.is_empty(), "there is no tag to look at");
    let all = tags.iter();
    all.map(|tag| (tag.clone(), see_one(shop, layout, tag, readers)))
        .collect()
}

fn see_one(shop: &Workshop, layout: &str, tag: &str, readers: Readers) -> Tag {
    let source = format!("oci:{layout}:{tag}");
    let raw = shop.skopeo(&["inspect", "--raw", &source]);
    let inspected = shop.skopeo(&["inspect", &source]).stdout;
    let copy = shop.text("copy-to-look-at");
    shop.copy(&source, &format!("dir:{copy}"), &["--all"]);
    let copied = files(&PathBuf::from(&copy));
    fs::remove_dir_all(&copy).expect("a copy can be removed");
    let umoci = (readers == Readers::UmociAndSkopeo).then(|| {
        let image = format!("{layout}:{tag}");
        let stat = shop.umoci(&["stat", "--json", "--image", &image]).stdout;
        let bundle = shop.text("bundle-to-look-at");
        shop.unpack(&image, &bundle);
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
