//! Slow disks, and the requests to them.

use std::ffi::OsString;

use crate::strace::{Recording, args};
use crate::support::environment::has_strace;
use crate::support::{Desc, FullLayout, TestDir};

/// Adds blobs that nothing references.
pub(crate) fn orphans(fixture: &FullLayout, count: usize) -> Vec<Desc> {
    let layer = |number: usize| fixture.builder.layer(format!("layer {number}").as_bytes());
    (0..count).map(layer).collect()
}

fn dry_run(fixture: &FullLayout) -> Vec<OsString> {
    args(["gc".as_ref(), "-n".as_ref(), fixture.path().as_os_str()])
}

/// Returns the number of times that the file of a blob was opened.
fn opened(recording: &Recording, blob: &Desc) -> usize {
    let name = blob.digest.strip_prefix("sha256:").expect("sha256");
    let calls = recording.calls.iter();
    calls
        .filter(|call| call.name == "openat" && call.text.contains(name))
        .count()
}

#[test]
fn more_threads_than_cores_read_while_they_wait_for_a_disk() {
    if !has_strace() {
        return;
    }
    let fixture = FullLayout::new();
    let blobs = orphans(&fixture, 600);
    let calls = ["openat", "clone", "clone3"];
    let slow = Recording::slowed(&calls, "openat:delay_enter=3000", &dry_run(&fixture));
    slow.run.ok();
    let started = slow.calls.iter().filter(|call| call.name != "openat");
    assert!(started.count() >= 16, "{}", slow.run.all());
    for blob in &blobs {
        assert_eq!(opened(&slow, blob), 1, "{}", blob.digest);
    }
}

/// A recent orphan that does not begin like a document is not read again.
#[test]
fn a_recent_orphan_is_opened_once() {
    if !has_strace() {
        return;
    }
    let fixture = FullLayout::new();
    let blobs = orphans(&fixture, 20);
    fixture.builder.fresh(&blobs);
    let recording = Recording::of(&["openat"], &dry_run(&fixture));
    recording.run.ok().says("in flight");
    for blob in &blobs {
        assert_eq!(opened(&recording, blob), 1, "{}", blob.digest);
    }
}

/// Waking another thread takes longer than reading a few files.
#[test]
fn a_small_layout_needs_no_second_thread() {
    if !has_strace() {
        return;
    }
    let dir = TestDir::with_cases(&["umoci-new"]);
    let layout = dir.join("umoci-new");
    for command in [&["gc", "-n"][..], &["ls"], &["df"], &["check"]] {
        let words = command.iter().map(AsRef::as_ref);
        let args = args(words.chain([layout.as_os_str()]));
        let recording = Recording::slowed(&["clone", "clone3"], "openat:delay_enter=1", &args);
        recording.run.ok();
        assert!(
            recording.calls.is_empty(),
            "{command:?} {}",
            recording.all()
        );
    }
}
