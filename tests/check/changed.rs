//! A layout that changes between the reading and the check.

use std::fs;

use jiff::Timestamp;
use ocisweep::Snapshot;
use ocisweep::progress::Silent;
use ocisweep::report::check::{CheckOptions, Class, check};

use crate::support::{Cmd, IntactLayout};

#[test]
fn a_blob_removed_with_its_image_is_not_missing() {
    let fixture = IntactLayout::new();
    let view = Snapshot::read(fixture.path(), Timestamp::now(), &Silent).expect("it can be read");
    let run = Cmd::new(["rm"]).arg(fixture.path()).arg("app:2").run();
    run.ok();
    let report = check(&view, &CheckOptions::default(), &Silent).expect("it can be checked");
    assert_eq!(report.damaged(), 0, "{:?}", report.findings);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn a_blob_deleted_from_an_idle_layout_is_missing() {
    let fixture = IntactLayout::new();
    let view = Snapshot::read(fixture.path(), Timestamp::now(), &Silent).expect("it can be read");
    let layer = &fixture.two.layers[1];
    fs::remove_file(fixture.builder.join(&layer.blob_path())).expect("it was there");
    let report = check(&view, &CheckOptions::default(), &Silent).expect("it can be checked");
    assert_eq!(report.damaged(), 1, "{:?}", report.findings);
    let digest = report.findings[0].digest.as_ref().expect("a blob");
    assert_eq!(digest.to_string(), layer.digest);
    assert_eq!(report.findings[0].class, Class::Missing);
}
