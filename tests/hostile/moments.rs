//! Age limits, to the nanosecond.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use ocisweep::Snapshot;
use ocisweep::fs::Disk;
use ocisweep::graph::{EmptyIndex, GracePolicy, MissingDocuments, Writer};
use ocisweep::oci::Digest;
use ocisweep::plan::{SweepOptions, sweep_all};
use ocisweep::progress::{Phase, Progress, Silent, Total};

use crate::support::{GuardedLayout, at, lasting};

const DAY: Duration = Duration::from_secs(86_400);
const GRACE: i128 = 3_600_000_000_000;

fn view(fixture: &GuardedLayout) -> Snapshot {
    Snapshot::read(fixture.path(), Timestamp::now(), &Silent).expect("the layout can be read")
}

/// A valid time of a file.
fn moment() -> (SystemTime, i128) {
    let moment = UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
    (moment, 1_700_000_000_123_456_789)
}

#[test]
fn an_orphan_is_recent_until_the_grace_period_ends_and_never_without_one() {
    let fixture = GuardedLayout::new();
    let (moment, modified) = moment();
    fixture.builder.modified("index.json", moment - DAY);
    let orphan = fixture.orphan.blob_path();
    fixture.builder.modified(&orphan, moment);
    for (now, grace, is_young) in [
        (modified + GRACE - 1, GRACE, true),
        (modified + GRACE, GRACE, false),
        (modified, 1, true),
        // From the future, as after the clock was set back.
        (modified - GRACE, 1, true),
        (modified - GRACE, 0, false),
    ] {
        let mut view = view(&fixture);
        view.protect(GracePolicy::new(at(now), lasting(grace)), &Silent)
            .expect("nobody interrupts");
        assert_eq!(view.graph.has_in_flight(), is_young, "{now} {grace}");
    }
}

#[test]
fn the_time_of_the_index_ends_no_protection() {
    let (moment, modified) = moment();
    let rule = GracePolicy::new(at(modified + GRACE / 2), lasting(GRACE));
    for index in [moment - DAY, moment, moment + Duration::from_secs(60)] {
        let fixture = GuardedLayout::new();
        fixture
            .builder
            .modified(&fixture.orphan.blob_path(), moment);
        fixture.builder.modified("index.json", index);
        let mut view = view(&fixture);
        view.protect(rule, &Silent).expect("nobody interrupts");
        assert!(view.graph.has_in_flight(), "{index:?}");
    }
}

#[test]
fn a_recent_file_of_a_writer_or_a_recent_blob_shows_that_it_is_at_work() {
    let (moment, modified) = moment();
    let rule = GracePolicy::new(at(modified + GRACE / 2), lasting(GRACE));
    let file = |name: &str| Some(Writer::File(name.into()));
    for (name, written, blob_written, expected) in [
        (
            "oci-put-blob123456789",
            moment,
            moment - DAY,
            file("oci-put-blob123456789"),
        ),
        ("oci-put-blob123456789", moment - DAY, moment - DAY, None),
        ("index.json.lock", moment, moment - DAY, None),
        // This program never lists a blob again.
        (".ocisweep-abc123", moment, moment - DAY, None),
        (
            "oci-put-blob123456789",
            moment,
            moment,
            file("oci-put-blob123456789"),
        ),
    ] {
        let fixture = GuardedLayout::new();
        fixture.builder.file(name, b"half a blob");
        fixture.builder.modified(name, written);
        let orphan = fixture.orphan.blob_path();
        fixture.builder.modified(&orphan, blob_written);
        let mut view = view(&fixture);
        view.protect(rule, &Silent).expect("nobody interrupts");
        assert_eq!(view.graph.writer(), expected.as_ref(), "{name} {written:?}");
        let none = GracePolicy::new(at(modified + GRACE / 2), Duration::ZERO);
        view.protect(none, &Silent).expect("nobody interrupts");
        assert_eq!(view.graph.writer(), None, "{name} without grace");
    }
    let fixture = GuardedLayout::new();
    fixture
        .builder
        .modified(&fixture.orphan.blob_path(), moment);
    let mut view = view(&fixture);
    view.protect(rule, &Silent).expect("nobody interrupts");
    let digest = Digest::parse(&fixture.orphan.digest).expect("a digest");
    let modified = i64::try_from(modified).expect("a valid time");
    let expected = Writer::Blob { digest, modified };
    assert_eq!(view.graph.writer(), Some(&expected));
}

#[test]
fn a_temporary_file_is_deleted_when_older_than_given() {
    let (moment, modified) = moment();
    let fixture = GuardedLayout::new();
    fixture
        .builder
        .file("oci-put-blob123456789", b"half a blob");
    fixture.builder.modified("oci-put-blob123456789", moment);
    for (now, goes) in [(modified + GRACE, false), (modified + GRACE + 1, true)] {
        let options = SweepOptions::new(at(now), at(now), lasting(GRACE));
        let plan = sweep_all(
            &view(&fixture),
            MissingDocuments::Refuse,
            EmptyIndex::Refuse,
            &Disk,
            &options,
        );
        let plan = plan.expect("nothing is damaged");
        assert_eq!(plan.temporary().len(), usize::from(goes), "{now}");
    }
}

/// A time that cannot be represented is reported as closely as possible.
#[test]
fn a_file_from_another_age_is_an_orphan_like_others() {
    let fixture = GuardedLayout::new();
    let orphan = fixture.orphan.blob_path();
    let far = UNIX_EPOCH + Duration::from_secs(13_000_000_000);
    fixture.builder.modified(&orphan, far);
    // Some file systems do not support such times, and use their last one.
    let metadata = std::fs::metadata(fixture.builder.join(&orphan)).expect("it is there");
    let kept = metadata.modified().expect("it has a time");
    let since = kept.duration_since(UNIX_EPOCH).expect("after 1970");
    let nearest = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
    let view = view(&fixture);
    let files: Vec<_> = view
        .graph
        .orphans()
        .filter_map(|orphan| orphan.file)
        .collect();
    assert!(
        files.iter().any(|file| file.modified == nearest),
        "{files:?}"
    );
}

/// Deletes a file when orphans are about to be inspected.
struct Faster(std::path::PathBuf);

impl Progress for Faster {
    fn begin(&self, phase: Phase, _total: Total) {
        if phase == Phase::ScanningOrphans {
            std::fs::remove_file(&self.0).expect("it is there");
        }
    }
}

#[test]
fn an_orphan_deleted_concurrently_is_neither_swept_nor_kept() {
    let fixture = GuardedLayout::new();
    let observer = Faster(fixture.builder.join(&fixture.orphan.blob_path()));
    let view = Snapshot::read(fixture.path(), Timestamp::now(), &observer);
    let view = view.expect("the layout can be read");
    let now = Timestamp::now().as_nanosecond();
    let options = SweepOptions::new(at(now), at(now), lasting(GRACE));
    let plan = sweep_all(
        &view,
        MissingDocuments::Refuse,
        EmptyIndex::Refuse,
        &Disk,
        &options,
    );
    let plan = plan.expect("nothing is damaged");
    assert!(
        plan.sweep().is_empty() && plan.kept().is_empty(),
        "{plan:?}"
    );
}
