//! Random commands on random image layouts, compared with an oracle that implements only the contract.
//!
//! Each case draws a layout as tools write it and some commands. Every command runs dry first, then for real; afterwards:
//! - nothing that is reachable from kept entries is deleted, and unreferenced blobs are deleted once they are old enough;
//! - an entry is removed only if it was named, or belongs only to named ones; a name only if it was selected;
//! - holds end only by `hold rm`; second indexes and every other byte are unchanged; docker's lists are consistent;
//! - the dry run, `df` and `ls` agree with the run.
//!
//! The cases are the same in every run; the variables of the suite set their number and choose one of them.

mod ask;
mod checks;
mod disk;
mod judge;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arbtest::arbitrary::{Result, Unstructured};
use arbtest::arbtest;

use crate::model::PREFIX;
use crate::support::panic_message;
use crate::world::cases::{Failures, assert_kinds, each_seed, varied};
use crate::world::draw::{self, chance, weighted};
use crate::world::features::Features;
use crate::world::write::{describe, write};
use checks::{Released, Step};
use disk::Disk;

/// Cases of the test; about ten seconds in a debug build.
const CASES: u64 = 150;

/// Cases that failed once: docker's name of a manifest that an index with a name lists, and a child with the digest tag of a
/// removed image.
const FOUND: [u64; 2] = [0x55a7_5883_0000_01c0, 0xdbfd_e9f5_0000_0440];

/// Everything that tools write.
const FEATURES: Features = Features {
    images: (1, 7),
    // A time of 1970 counts as now for rules, and as old for the grace period.
    undated: false,
    ..Features::TOOLS
};

#[test]
fn commands_remove_what_they_name_and_nothing_else() {
    let mut failures = Failures::default();
    let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
    let mut total = 0_u32;
    let mut attempt = |seed: u64| {
        let run = |u: &mut Unstructured<'_>| {
            let mut story = Vec::new();
            let tried = catch_unwind(AssertUnwindSafe(|| case(u, &mut story)));
            let error = match tried {
                Ok(Ok(Some(error))) => Some(error),
                Ok(Ok(None)) => None,
                Ok(Err(error)) => return Err(error),
                Err(payload) => Some(panic_message(&*payload)),
            };
            total = total.saturating_add(1);
            for kind in KINDS {
                if story.iter().any(|line| line.contains(kind)) {
                    let seen = kinds.entry(kind).or_default();
                    *seen = seen.saturating_add(1);
                }
            }
            if let Some(error) = error {
                failures.add(story.len(), seed, format!("{error}\n{}", story.join("\n")));
            }
            Ok(())
        };
        arbtest(run).seed(seed).run();
    };
    FOUND.into_iter().for_each(&mut attempt);
    each_seed(PREFIX, CASES, varied, attempt);
    failures.assert_none(PREFIX);
    // The rarest, `hold rm`, is in one of 200.
    assert_kinds(&KINDS, &kinds, total, 400);
}

/// Features that must occur in the cases.
const KINDS: [&str; 11] = [
    "gc",
    "hold add",
    "hold rm",
    "--platform-mode rewrite",
    "--platform-mode sparse",
    "--platform-mode hollow",
    "--keep-last",
    "--no-prune",
    "--keep-referrers",
    "exit 1",
    "exit 0, blobs deleted",
];

/// Draws and tests one case; returns what went wrong.
fn case(u: &mut Unstructured<'_>, story: &mut Vec<String>) -> Result<Option<String>> {
    let world = draw::world(u, &FEATURES)?;
    let written = write(&world);
    let ignored = world.ignored();
    let lines = describe(&world, &written.digests);
    story.extend(lines.lines().map(|line| format!("  {line}")));
    let mut released = Released::default();
    for _ in 0..u.int_in_range(1..=3)? {
        let disk = Disk::read(written.layout.path(), &ignored);
        let ask = ask::ask(u, &disk)?;
        story.push(format!("$ ocisweep {}", ask.args("L", &ignored).join(" ")));
        let step = Step {
            layout: &written.layout,
            ignored: &ignored,
            ask: &ask,
            before: disk,
            released: &released,
        };
        match step.run() {
            Ok((outcome, left)) => {
                story.push(format!("  {outcome}"));
                released = left;
            }
            Err(error) => return Ok(Some(error)),
        }
    }
    Ok(None)
}
