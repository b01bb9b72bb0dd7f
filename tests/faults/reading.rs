//! `check` on failing disks: each blob that cannot be read is a separate finding, and never counts as absent.

use std::ffi::OsString;
use std::path::Path;

use crate::strace::Disturbed;
use crate::support::environment::has_strace;
use crate::support::{FullLayout, Run, assert_same, for_each, snapshot};

/// Injects an error into one call on the file of a blob.
fn check(fixture: &FullLayout, digest: &str, injection: &str) -> Disturbed {
    let file = digest.replacen(':', "/", 1);
    let path = fixture.builder.join("blobs").join(&file);
    let name = path.file_name().map(Path::new).expect("a blob has a name");
    let args: Vec<OsString> = ["check", "--format", "json"]
        .into_iter()
        .map(OsString::from)
        .chain([fixture.path().into()])
        .collect();
    Disturbed::on(&[&path, name], injection, &args)
}

/// Returns class by digest of all damage.
fn damage(run: &Run) -> Vec<(String, String)> {
    let json = run.json();
    let items = json["layouts"][0]["items"].as_array().expect("items");
    items
        .iter()
        .filter(|item| item["damage"] == true)
        .map(|item| {
            let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
            (text("digest"), text("class"))
        })
        .collect()
}

#[test]
fn a_blob_on_a_bad_sector_is_named_and_the_others_are_read() {
    if !has_strace() {
        return;
    }
    let fixture = FullLayout::new();
    let before = snapshot(fixture.path());
    let blobs = [
        fixture.one.layers[0].digest.clone(),
        fixture.one.config.digest.clone(),
        fixture.two.manifest.digest.clone(),
    ];
    let faults = blobs.iter().flat_map(|digest| {
        ["openat", "read", "fstat"].map(|call| (digest.clone(), format!("{call}:error=EIO")))
    });
    for_each(
        faults,
        |fault| format!("{fault:?}"),
        |(digest, injection)| {
            let failed = check(&fixture, digest, injection);
            assert_ne!(failed.faults, 0, "{}", failed.run.all());
            failed.run.exits(1).says("Input/output error");
            assert_eq!(
                damage(&failed.run),
                [(digest.clone(), "unreadable".to_owned())],
                "{}",
                failed.run.all()
            );
        },
    );
    assert_same(&before, &snapshot(fixture.path()), "check changes nothing");
}

#[test]
fn an_interrupted_call_is_retried() {
    if !has_strace() {
        return;
    }
    let fixture = FullLayout::new();
    for digest in [&fixture.one.layers[0].digest, &fixture.two.manifest.digest] {
        for call in ["openat", "read", "fstat"] {
            let disturbed = check(&fixture, digest, &format!("{call}:error=EINTR:when=1"));
            assert_ne!(disturbed.faults, 0, "{}", disturbed.run.all());
            disturbed.run.ok();
        }
    }
}
