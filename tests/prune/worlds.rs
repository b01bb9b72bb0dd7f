//! The wild layouts of the model test: a prune of any of them keeps the blobs that the rest needs.
//!
//! The layouts and the oracle are those of `tests/model`. The kept entries are read from the layout afterwards, and the
//! oracle judges a world with only those.

use std::collections::BTreeSet;
use std::path::PathBuf;

use arbtest::arbitrary::Unstructured;
use arbtest::arbtest;

use crate::prune::output::sum;
use crate::prune::random::PREFIX;
use crate::support::{Cmd, Run, differences, panic_message, snapshot, without_directory_times};
use crate::world::cases::{Failures, each_seed, varied};
use crate::world::draw;
use crate::world::features::{Features, Mood};
use crate::world::layout::{IndexStyle, Place, World};
use crate::world::oracle::judge;
use crate::world::write::{describe, write};

/// What is drawn in addition to wild documents.
const FEATURES: Features = Features {
    images: (0, 4),
    // `df`, which is compared, knows none.
    ignored_indexes: false,
    ..Features::TOOLS
};

/// Cases of each mood.
const CASES: u64 = 40;

#[test]
fn a_prune_of_wild_layouts_keeps_blobs_that_the_rest_needs() {
    let mut failures = Failures::default();
    let mut done = 0_u32;
    let mut refused = 0_u32;
    for mood in [Mood::Calm, Mood::Wild] {
        each_seed(PREFIX, CASES, varied, |seed| {
            let run = |u: &mut Unstructured<'_>| {
                let features = Features {
                    wild: Some(mood),
                    ..FEATURES
                };
                let mut world = draw::world(u, &features)?;
                // Which entries are kept is read from plain JSON.
                world.index = IndexStyle::Plain;
                let all: bool = u.arbitrary()?;
                match std::panic::catch_unwind(|| check(&world, all)) {
                    Ok(true) => done += 1,
                    Ok(false) => refused += 1,
                    Err(payload) => {
                        failures.add(world.nodes.len(), seed, panic_message(&*payload));
                    }
                }
                Ok(())
            };
            arbtest(run).seed(seed).run();
        });
    }
    failures.assert_none(PREFIX);
    assert!(
        done + refused < 80 || done > 20 && refused > 5,
        "{done} done, {refused} refused"
    );
}

/// Tests one world; returns `true` if it was pruned.
fn check(world: &World, all: bool) -> bool {
    let written = write(world);
    let layout = written.layout.path();
    let call = |flag: &str, command: &str| -> Run {
        let sweeps = command == "prune";
        Cmd::new([command])
            .arg(layout)
            .args(["--grace", "0", "--format", "json"])
            .args(sweeps.then_some(flag))
            .args((sweeps && all).then_some("-a"))
            .args((sweeps && all).then_some("--keep"))
            .args((sweeps && all).then_some("tag*"))
            .args((sweeps && world.allow_missing).then_some("--allow-missing"))
            .args((sweeps && world.allow_empty).then_some("--allow-empty"))
            .run()
    };
    let before = snapshot(layout);
    let df = call("", "df");
    let dry = call("-n", "prune");
    assert!(
        differences(&before, &snapshot(layout)).is_empty(),
        "{}{}",
        df.all(),
        dry.all()
    );
    let run = call("-f", "prune");
    let after = snapshot(layout);
    let said = format!(
        "{}{}{}",
        describe(world, &written.digests),
        dry.all(),
        run.all()
    );
    assert_eq!(dry.code, run.code, "{said}");
    if run.code != Some(0) {
        assert!(matches!(run.code, Some(3 | 4)), "{said}");
        let changed = differences(
            &without_directory_times(&before),
            &without_directory_times(&after),
        );
        assert!(changed.is_empty(), "refused and changed\n{changed}\n{said}");
        return false;
    }
    assert_eq!(dry.report().deleted(), run.report().deleted(), "{said}");
    if !all && !world.allow_missing && !world.allow_empty {
        let mut promised = 0;
        sum(&df.json()["layouts"][0], &mut promised);
        assert_eq!(
            run.json()["totals"]["reclaimed_bytes"].as_u64(),
            Some(promised),
            "{}{said}",
            df.all()
        );
    }
    // What the entries that are left need, by the judge.
    let left = crate::support::listed(layout);
    let mut rest = world.clone();
    let mut open: Vec<&String> = left.iter().map(|(digest, _)| digest).collect();
    rest.entries.retain(|entry| {
        let digest = &written.digests[entry.target];
        match open.iter().position(|other| *other == digest) {
            Some(position) => {
                open.remove(position);
                true
            }
            None => false,
        }
    });
    if !written.layout.join("manifest.json").exists() {
        rest.elements.clear();
    }
    let removed = rest.entries.len() < world.entries.len();
    // Elements of docker are removed with their images; which, is for other tests to check.
    if removed && !rest.elements.is_empty() {
        return true;
    }
    rest.allow_empty = true;
    let verdict = judge(&rest);
    let path = |node: usize| {
        PathBuf::from(format!(
            "blobs/{}",
            written.digests[node].replacen(':', "/", 1)
        ))
    };
    let lost: Vec<usize> = verdict
        .live
        .iter()
        .copied()
        .filter(|node| world.node(*node).state.present() && !after.contains_key(&path(*node)))
        .collect();
    // A referrer that was listed and removed is gone on purpose, although its subject is kept.
    let gone_roots: BTreeSet<usize> = world
        .entries
        .iter()
        .map(|entry| entry.target)
        .filter(|target| rest.entries.iter().all(|entry| entry.target != *target))
        .collect();
    let forced: BTreeSet<usize> = verdict
        .referrers
        .intersection(&gone_roots)
        .copied()
        .collect();
    let may_stay = below(world, verdict.may_stay);
    if forced.is_empty() {
        assert!(lost.is_empty(), "LOST: {lost:?}\n{said}");
        let spare: Vec<usize> = (0..world.nodes.len())
            .filter(|node| after.contains_key(&path(*node)) && !may_stay.contains(node))
            .collect();
        assert!(spare.is_empty(), "left over: {spare:?}\n{said}");
    }
    // A file with another name frees nothing.
    let linked = (0..world.nodes.len()).filter(|node| world.node(*node).is_linked);
    let linked: BTreeSet<PathBuf> = linked.map(path).collect();
    let freed = before
        .iter()
        .filter(|(path, _)| !after.contains_key(*path) && !linked.contains(*path));
    let freed: u64 = freed.map(|(_, stat)| stat.size).sum();
    let reclaimed = run.json()["totals"]["reclaimed_bytes"].as_u64();
    assert_eq!(reclaimed, Some(freed), "{said}");
    true
}

/// Adds what documents reference: those that were read before the prune count, also where only a removed entry called them
/// documents, or carried them.
fn below(world: &World, mut found: BTreeSet<usize>) -> BTreeSet<usize> {
    loop {
        let mut next = found.clone();
        for node in &found {
            let refs = world.node(*node).content.refs();
            next.extend(
                refs.iter()
                    .flat_map(|item| [item.target].into_iter().chain(item.twin)),
            );
        }
        let mut nodes = world.nodes.iter().enumerate();
        next.extend(nodes.by_ref().filter_map(|(position, node)| {
            let mut subjects = node.content.at(Place::Subject);
            subjects
                .any(|subject| found.contains(&subject))
                .then_some(position)
        }));
        if next == found {
            return found;
        }
        found = next;
    }
}
