//! A snapshot that discards its documents sweeps the same as any other.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use ocisweep::fs::Disk;
use ocisweep::graph::{EmptyIndex, GracePolicy, MissingDocuments};
use ocisweep::oci::Digest;
use ocisweep::plan::{Plan, SweepOptions, SweepSnapshot, sweep_all};
use ocisweep::progress::Silent;
use ocisweep::{Layout, Snapshot};

use crate::support::{CaseLayout, at, cases, for_each};

fn going(plan: &Plan) -> BTreeSet<Digest> {
    let victims = plan.sweep().iter();
    victims
        .filter_map(|victim| plan.blobs().digest(victim.id).cloned())
        .collect()
}

#[test]
fn it_sweeps_the_same_as_a_full_snapshot() {
    let now = Timestamp::now();
    let nanoseconds = now.as_nanosecond();
    let options = SweepOptions::new(at(nanoseconds), at(nanoseconds), Duration::ZERO);
    let layouts: Vec<_> = cases().into_iter().flat_map(|case| case.layouts).collect();
    let compared = AtomicUsize::new(0);
    for_each(layouts, CaseLayout::label, |case| {
        let (_unpacked, layout) = case.unpack();
        let rule = GracePolicy::new(at(nanoseconds), Duration::ZERO);
        let opened = Layout::open(&layout);
        let full = opened.and_then(|layout| Snapshot::of_protected(layout, now, rule, &Silent));
        let Ok(full) = full else {
            return;
        };
        let expected = sweep_all(
            &full,
            MissingDocuments::Refuse,
            EmptyIndex::Refuse,
            &Disk,
            &options,
        );
        if expected.is_ok() {
            compared.fetch_add(1, Ordering::Relaxed);
        }
        let lean =
            Layout::open(&layout).and_then(|layout| SweepSnapshot::of(layout, now, rule, &Silent));
        let lean = lean.expect("the other could be read");
        let found = lean.plan(MissingDocuments::Refuse, EmptyIndex::Refuse, &options);
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(going(&found), going(&expected)),
            (Err(found), Err(expected)) => assert_eq!(found.kind(), expected.kind()),
            (found, expected) => panic!("{found:?} and not {expected:?}"),
        }
    });
    let compared = compared.into_inner();
    assert!(compared > 60, "{compared} layouts");
}
