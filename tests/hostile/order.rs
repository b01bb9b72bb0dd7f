//! Output does not depend on the order of directories.

use jiff::Timestamp;
use ocisweep::Snapshot;
use ocisweep::graph::GracePolicy;
use ocisweep::oci::Digest;
use ocisweep::progress::Silent;

use crate::support::{GuardedLayout, lasting};

/// Enough that no directory has them in order by chance.
const MANY: usize = 12;

#[test]
fn referrers_are_in_the_order_of_their_digests_even_after_some_were_written() {
    let fixture = GuardedLayout::new();
    for number in 0..MANY {
        let payload = format!("signature {number}");
        fixture.builder.referrer(
            &fixture.app.manifest,
            "application/signature",
            payload.as_bytes(),
        );
        // Nothing live references their subjects.
        fixture
            .builder
            .referrer(&fixture.orphan, "application/signature", payload.as_bytes());
    }
    let now = Timestamp::now();
    let mut view = Snapshot::read(fixture.path(), now, &Silent).expect("the layout can be read");
    let rule = GracePolicy::new(now, lasting(3_600_000_000_000));
    for _ in 0..2 {
        for subject in [&fixture.app.manifest, &fixture.orphan] {
            let subject = Digest::parse(&subject.digest).expect("a digest");
            let id = view.graph.id(&subject).expect("it is there");
            let found = view.graph.referrers(id);
            assert_eq!(found.len(), MANY);
            assert!(found.is_sorted_by_key(|id| view.graph.digest(*id)));
        }
        view.protect(rule, &Silent).expect("nobody interrupts");
    }
}
