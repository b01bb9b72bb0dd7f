//! A view that forgets its documents, for which there is only one use.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use ocisweep::View;
use ocisweep::graph::{Accept, Change, MarkOptions};
use ocisweep::observe::Silent;
use ocisweep::oci::Digest;
use ocisweep::plan::{Plan, SweepOptions, sweep, sweep_all, sweep_only};
use ocisweep::sys::Disk;

use crate::support::{CaseLayout, cases, for_each};

fn going(plan: &Plan) -> BTreeSet<Digest> {
    let victims = plan.sweep.iter();
    victims
        .filter_map(|victim| plan.blobs.digest(victim.id).cloned())
        .collect()
}

#[test]
fn it_sweeps_what_any_other_sweeps_and_whatever_it_is_asked_nothing_more() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = i128::try_from(now.expect("after 1970").as_nanos()).expect("it is small");
    let options = SweepOptions {
        now,
        started: now,
        temp_age: 0,
    };
    let layouts: Vec<_> = cases().into_iter().flat_map(|case| case.layouts).collect();
    for_each(layouts, CaseLayout::label, |case| {
        let (_unpacked, layout) = case.unpack();
        let Ok(full) = View::read(&layout, Timestamp::now(), &Silent) else {
            return;
        };
        let mut lean = View::read_to_sweep(&layout, Timestamp::now(), &Silent)
            .expect("the other could be read");
        let expected = sweep_all(&full, Accept::No, Accept::No, &Disk, &options);
        let nothing = MarkOptions {
            keep: &|_| false,
            change: Change::none(),
            extra: &[],
            missing: Accept::Yes,
            empty: Accept::Yes,
        };
        if let Ok(live) = lean.graph.mark(&lean.layout, &lean.state, &nothing) {
            let plan = sweep(&lean, &live, &Disk, &options);
            if let Ok(expected) = &expected {
                assert_eq!(
                    going(&plan),
                    going(expected),
                    "though nothing is to be kept"
                );
            }
        }
        let found = sweep_only(&mut lean, Accept::No, Accept::No, &options);
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(going(&found), going(&expected)),
            (Err(found), Err(expected)) => assert_eq!(found.kind(), expected.kind()),
            (found, expected) => panic!("{found:?} and not {expected:?}"),
        }
    });
}
