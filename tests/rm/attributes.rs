//! What a rewritten file keeps in addition to its bytes, mode and owner: ACL and extended attributes.

use std::path::Path;

use rustix::fs::{XattrFlags, getxattr, removexattr, setxattr};

use crate::support::environment::skip;
use crate::support::removed::bare;
use crate::support::samples::app_and_other;
use crate::support::{Cmd, LayoutBuilder};

const ACL: &str = "system.posix_acl_access";

/// An ACL in the form of Linux: the owner and user 1234 may read and write, the group nothing, the mask allows both. The
/// mode shows the mask in place of the group.
fn acl() -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (0x01_u16, 6_u16, u32::MAX),
        (0x02, 6, 1234),
        (0x04, 0, u32::MAX),
        (0x10, 6, u32::MAX),
        (0x20, 0, u32::MAX),
    ] {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn value(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1024];
    let length = getxattr(path, name, value.as_mut_slice()).ok()?;
    value.truncate(length);
    Some(value)
}

/// Sets an attribute, or prints why the test is skipped.
fn set(path: &Path, name: &str, bytes: &[u8]) -> bool {
    match setxattr(path, name, bytes, XattrFlags::empty()) {
        Ok(()) => true,
        Err(error) => {
            skip(&format!("`{name}` cannot be set here: {error}"));
            false
        }
    }
}

fn files(layout: &LayoutBuilder) -> Vec<std::path::PathBuf> {
    [
        "index.json",
        "manifest.json",
        "repositories",
        ".ocisweep/holds.json",
    ]
    .map(|name| layout.join(name))
    .to_vec()
}

#[test]
fn a_rewritten_file_keeps_its_acl_and_its_attributes() {
    for (name, bytes) in [(ACL, acl()), ("user.note", b"by the mirror job".to_vec())] {
        let (mut layout, app, other) = app_and_other();
        layout
            .save_element(&["app:1"], &app.config, &app.layers)
            .save_element(&["other:1"], &other.config, &other.layers)
            .write();
        let top = |image: &crate::support::Image| {
            image
                .layers
                .last()
                .map(|layer| layer.hex().to_owned())
                .unwrap_or_default()
        };
        layout.repositories(&[("app", "1", &top(&app)), ("other", "1", &top(&other))]);
        Cmd::new(["hold", "add"])
            .arg(layout.path())
            .args(["keep", "other:1"])
            .run()
            .ok();
        let files = files(&layout);
        if !files.iter().all(|file| set(file, name, &bytes)) {
            return;
        }
        let before = contents(&files);
        bare(layout.path(), ["app:1"]).run().ok();
        Cmd::new(["hold", "add"])
            .arg(layout.path())
            .args(["more", "other:1"])
            .run()
            .ok();
        assert_ne!(before, contents(&files), "they were rewritten");
        for file in &files {
            assert_eq!(
                value(file, name),
                Some(bytes.clone()),
                "{} {name}",
                file.display()
            );
        }
    }
}

fn contents(files: &[std::path::PathBuf]) -> Vec<Vec<u8>> {
    let read = |file| std::fs::read(file).expect("it is there");
    files.iter().map(read).collect()
}

/// A directory can give each new file an ACL that the old one does not have.
#[test]
fn a_rewritten_file_gets_no_new_acl() {
    let (layout, ..) = app_and_other();
    if !set(layout.path(), "system.posix_acl_default", &acl()) {
        return;
    }
    let index = layout.join("index.json");
    // It existed before the directory had one.
    match removexattr(&index, ACL) {
        Ok(()) | Err(rustix::io::Errno::NODATA) => {}
        Err(error) => panic!("{error}"),
    }
    bare(layout.path(), ["app:1"]).run().ok();
    assert_eq!(value(&index, ACL), None);
}
