//! A view that forgets its documents, for which there is only one use.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use ocisweep::View;
use ocisweep::fs::Disk;
use ocisweep::graph::{Accept, Change, InFlight, MarkOptions};
use ocisweep::oci::Digest;
use ocisweep::plan::{Plan, SweepOptions, sweep_all, sweep_only};
use ocisweep::progress::Silent;

use crate::support::{CaseLayout, cases, for_each};

fn going(plan: &Plan) -> BTreeSet<Digest> {
    let victims = plan.sweep().iter();
    victims
        .filter_map(|victim| plan.blobs().digest(victim.id).cloned())
        .collect()
}

#[test]
fn it_sweeps_what_any_other_sweeps_and_whatever_it_is_asked_nothing_more() {
    let now = Timestamp::now();
    let nanoseconds = now.as_nanosecond();
    let options = SweepOptions {
        now: nanoseconds,
        started: nanoseconds,
        temp_age: 0,
    };
    let layouts: Vec<_> = cases().into_iter().flat_map(|case| case.layouts).collect();
    let compared = AtomicUsize::new(0);
    for_each(layouts, CaseLayout::label, |case| {
        let (_unpacked, layout) = case.unpack();
        let rule = InFlight {
            now: nanoseconds,
            grace: 0,
        };
        let Ok(full) = View::read_protected(&layout, now, rule, &Silent) else {
            return;
        };
        let mut lean =
            View::read_to_sweep(&layout, now, rule, &Silent).expect("the other could be read");
        let expected = sweep_all(&full, Accept::No, Accept::No, &Disk, &options);
        let nothing = MarkOptions {
            keep: &|_| false,
            change: Change::none(),
            extra: &[],
            missing: Accept::Yes,
            empty: Accept::Yes,
        };
        if expected.is_ok() {
            let live = lean.graph.mark(&lean.layout, &lean.state, &nothing);
            let live = live.expect("nothing is in the way of everything else");
            let found: BTreeSet<_> = lean.graph.live_ids(&live).collect();
            for root in full.graph.roots() {
                let Ok(id) = root.target else { continue };
                let digest = full.graph.digest(id);
                let id = lean.graph.id(digest).expect("both have read the same");
                assert!(found.contains(&id), "{digest} though nothing is to be kept");
            }
            compared.fetch_add(1, Ordering::Relaxed);
        }
        let found = sweep_only(&mut lean, Accept::No, Accept::No, &options);
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(going(&found), going(&expected)),
            (Err(found), Err(expected)) => assert_eq!(found.kind(), expected.kind()),
            (found, expected) => panic!("{found:?} and not {expected:?}"),
        }
    });
    let compared = compared.into_inner();
    assert!(compared > 60, "{compared} layouts");
}
