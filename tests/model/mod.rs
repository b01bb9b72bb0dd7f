//! Random layouts, compared with an oracle that is derived only from the promises.
//!
//! Each case draws a layout, writes it, lets the oracle decide what a sweep may and must do, and runs the program: first
//! dry, then for real, then once more. For every case:
//! - nothing that is reachable is ever deleted;
//! - everything else is deleted, or the program refuses without changing a byte;
//! - it refuses exactly if the oracle does;
//! - the dry run announces what the run does, and the second run finds nothing.
//!
//! The cases are the same in every run. `OCISWEEP_MODEL_CASES` sets their number, `OCISWEEP_MODEL_FIRST` the number of the
//! first, and `OCISWEEP_MODEL_SEED` runs the case of a failure.

mod images;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use arbtest::arbtest;

use crate::support::{Cmd, Run, Snapshot, differences, snapshot, without_directory_times};
use crate::world::cases::{Failures, assert_kinds, each_seed, every_seed, varied};
use crate::world::draw;
use crate::world::features::{Features, Mood};
use crate::world::kinds::{KINDS, kinds};
use crate::world::layout::{IndexStyle, Node, OLD_TEMPORARY, Place, State, World};
use crate::world::oracle::{Verdict, judge};
use crate::world::write::{Written, describe, write};

/// Cases for each of the two tests that run the program; about ten seconds in a debug build.
const CASES: u64 = 400;

/// What is drawn in addition to wild documents.
const FEATURES: Features = Features {
    images: (0, 3),
    ..Features::TOOLS
};

/// The beginning of the variables that choose cases.
const PREFIX: &str = "OCISWEEP_MODEL";

#[test]
fn reachable_blobs_are_kept_and_the_rest_is_deleted() {
    search(Mood::Calm);
}

#[test]
fn refuses_unclear_layouts_and_changes_nothing() {
    search(Mood::Wild);
}

/// Without this a change of the generator could silently leave nothing to test.
#[test]
fn every_kind_of_world_is_drawn() {
    let mut count: BTreeMap<String, u32> = BTreeMap::new();
    let mut total = 0_u32;
    for mood in [Mood::Calm, Mood::Wild] {
        every_seed(PREFIX, CASES, varied, |seed| {
            draw(seed, mood, |world| {
                total = total.saturating_add(1);
                let of_sweep = kinds_of_sweep(world, &judge(world)).into_iter();
                for kind in kinds(world).into_iter().chain(of_sweep.map(str::to_owned)) {
                    *count.entry(kind).or_default() += 1;
                }
            });
        });
    }
    let drawn = KINDS.split(',').map(str::trim).chain(KINDS_OF_SWEEP);
    assert_kinds(&drawn.collect::<Vec<_>>(), &count, total, 200);
}

/// What must occur among the worlds, beside what is drawn.
const KINDS_OF_SWEEP: [&str; 12] = [
    "sweeps garbage",
    "sweeps nothing",
    "refusal",
    "damaged orphan in a sweep",
    "referrer in a sweep",
    "forged unlisted referrer",
    "chain of unlisted referrers",
    "sparse document",
    "sha512 garbage",
    "sha512 kept",
    "hold on what nothing else needs",
    "hold on what is not here",
];

fn kinds_of_sweep(world: &World, verdict: &Verdict) -> Vec<&'static str> {
    let garbage =
        |node: usize| world.node(node).state.present() && !verdict.may_stay.contains(&node);
    let all = || 0..world.nodes.len();
    let sweeps = verdict.must_refuse.is_empty();
    let long = |node: &Node| node.algorithm == "sha512";
    let referrer_of_referrer = |node: &usize| {
        let mut subjects = world.node(*node).content.at(Place::Subject);
        subjects.any(|subject| verdict.referrers.contains(&subject))
    };
    let facts = [
        ("sweeps garbage", sweeps && all().any(garbage)),
        ("sweeps nothing", sweeps && !all().any(garbage)),
        ("refusal", !sweeps),
        (
            "damaged orphan in a sweep",
            sweeps && all().any(|node| garbage(node) && world.node(node).state.damaged()),
        ),
        (
            "referrer in a sweep",
            sweeps && !verdict.referrers.is_empty(),
        ),
        (
            "forged unlisted referrer",
            sweeps
                && verdict
                    .referrers
                    .iter()
                    .any(|node| world.node(*node).state == State::Forged),
        ),
        (
            "chain of unlisted referrers",
            sweeps && verdict.referrers.iter().any(referrer_of_referrer),
        ),
        (
            "sparse document",
            sweeps
                && verdict
                    .live
                    .iter()
                    .any(|node| world.node(*node).state == State::Absent),
        ),
        (
            "sha512 garbage",
            sweeps && all().any(|node| garbage(node) && long(world.node(node))),
        ),
        (
            "sha512 kept",
            sweeps && verdict.live.iter().any(|node| long(world.node(*node))),
        ),
        (
            "hold on what nothing else needs",
            sweeps && holds_decide(world, verdict),
        ),
        (
            "hold on what is not here",
            world
                .holds
                .iter()
                .any(|held| !world.node(*held).state.present()),
        ),
    ];
    facts
        .into_iter()
        .filter(|(_, holds)| *holds)
        .map(|(name, _)| name)
        .collect()
}

/// Returns `true` if something is kept that is garbage without the holds.
fn holds_decide(world: &World, verdict: &Verdict) -> bool {
    let mut free = world.clone();
    free.holds.clear();
    let free = judge(&free);
    let here = |node: &&usize| world.node(**node).state.present();
    let kept = verdict.live.difference(&free.may_stay);
    kept.filter(here).count() > 0
}

/// One world on disk, before the program saw it.
struct Trial<'a> {
    world: &'a World,
    verdict: Verdict,
    written: Written,
    before: Snapshot,
}

impl<'a> Trial<'a> {
    fn new(world: &'a World) -> Self {
        let written = write(world);
        Self {
            world,
            verdict: judge(world),
            before: snapshot(written.layout.path()),
            written,
        }
    }

    fn now(&self) -> Snapshot {
        snapshot(self.written.layout.path())
    }

    fn gc(&self, dry: bool) -> Run {
        Cmd::gc_json(self.written.layout.path())
            .args(dry.then_some("-n"))
            .args(
                self.world
                    .ignored()
                    .iter()
                    .flat_map(|file| ["--ignore-index", file]),
            )
            .args(self.world.allow_missing.then_some("--allow-missing"))
            .args(self.world.allow_empty.then_some("--allow-empty"))
            .run()
    }

    fn path(&self, node: usize) -> PathBuf {
        let digest = self.written.digests.get(node);
        let digest = digest.expect("every node has a digest");
        PathBuf::from(format!("blobs/{}", digest.replacen(':', "/", 1)))
    }

    /// Runs the program and returns what it did wrong.
    fn run(&self) -> Result<(), String> {
        let dry = self.gc(true);
        let changed = differences(&self.before, &self.now());
        ensure(changed.is_empty(), || {
            format!("the dry run changed\n{changed}\n{}", dry.all())
        })?;
        let run = self.gc(false);
        let verdict = if dry.code != run.code {
            Err("dry run and run end differently".to_owned())
        } else if run.code == Some(0) {
            self.check_sweep(&dry, &run)
        } else {
            self.check_refusal(&run)
        };
        verdict.map_err(|error| format!("{error}\n{}\n{}", dry.all(), run.all()))
    }

    fn check_refusal(&self, run: &Run) -> Result<(), String> {
        // A broken index.json may also be reported as unreadable.
        let unreadable = self.world.index != IndexStyle::Plain && run.code == Some(4);
        ensure(run.code == Some(3) || unreadable, || {
            "neither done nor refused".to_owned()
        })?;
        ensure(
            !self.verdict.must_refuse.is_empty() || !self.verdict.may_refuse.is_empty(),
            || "refused without a reason".to_owned(),
        )?;
        ensure(run.stderr.starts_with("ocisweep: "), || {
            "refused without an error".to_owned()
        })?;
        let changed = changes(&self.before, &self.now());
        ensure(changed.is_empty(), || {
            format!("refused and changed\n{changed}")
        })
    }

    fn check_sweep(&self, dry: &Run, run: &Run) -> Result<(), String> {
        ensure(self.verdict.must_refuse.is_empty(), || {
            format!("not refused: {:?}", self.verdict.must_refuse)
        })?;
        let after = self.now();
        for (node, what) in self.world.nodes.iter().enumerate() {
            if !what.state.present() {
                continue;
            }
            let here = after.contains_key(&self.path(node));
            if self.verdict.live.contains(&node) {
                ensure(here, || {
                    format!("LOST: node {node} is reachable and was deleted")
                })?;
            } else if !self.verdict.may_stay.contains(&node) {
                ensure(!here, || format!("node {node} is garbage and stayed"))?;
            }
        }
        let mut gone: BTreeSet<&PathBuf> = self
            .before
            .keys()
            .filter(|path| !after.contains_key(*path))
            .collect();
        let mut expected = self.before.clone();
        expected.retain(|path, _| !gone.contains(path));
        let changed = changes(&expected, &after);
        ensure(changed.is_empty(), || {
            format!("what stayed has changed\n{changed}")
        })?;

        // Temporary files of yesterday are garbage as well.
        let old = PathBuf::from(OLD_TEMPORARY.0);
        ensure(
            gone.remove(&old) == self.world.foreign.contains(&OLD_TEMPORARY),
            || "the old temporary file stayed".to_owned(),
        )?;
        let deleted: BTreeMap<String, u64> = (0..self.world.nodes.len())
            .filter(|node| gone.contains(&self.path(*node)))
            .filter_map(|node| {
                let size = self.before.get(&self.path(node))?.size;
                Some((self.written.digests.get(node)?.clone(), size))
            })
            .collect();
        ensure(gone.len() == deleted.len(), || {
            format!("something else went: {gone:?}")
        })?;
        // A file with another name frees nothing.
        let freed = (0..self.world.nodes.len()).filter(|node| !self.world.node(*node).is_linked);
        let freed = freed.filter_map(|node| deleted.get(self.written.digests.get(node)?));
        let bytes: u64 = freed.sum();
        for (name, report) in [("run", run.report()), ("dry run", dry.report())] {
            ensure(report.deleted() == deleted, || {
                format!(
                    "the {name} tells {:?}, and what went is {deleted:?}",
                    report.deleted()
                )
            })?;
            ensure(report.freed_bytes == bytes, || {
                format!(
                    "the {name} tells {} bytes, freed are {bytes}",
                    report.freed_bytes
                )
            })?;
        }

        let again = self.gc(false);
        ensure(
            again.code == Some(0)
                && again.report().deleted().is_empty()
                && changes(&after, &self.now()).is_empty(),
            || format!("the second run does something\n{}", again.all()),
        )
    }

    fn story(&self) -> String {
        let live: Vec<usize> = self.verdict.live.iter().copied().collect();
        let may: Vec<usize> = self
            .verdict
            .may_stay
            .difference(&self.verdict.live)
            .copied()
            .collect();
        format!(
            "{}live {live:?}, may stay {may:?}\nmust refuse: {:?}\nmay refuse: {:?}",
            describe(self.world, &self.written.digests),
            self.verdict.must_refuse,
            self.verdict.may_refuse
        )
    }
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// What differs, apart from the times of directories, which change with every lock file and every deletion.
fn changes(before: &Snapshot, after: &Snapshot) -> String {
    differences(
        &without_directory_times(before),
        &without_directory_times(after),
    )
}

/// Draws the world of a seed.
fn draw(seed: u64, mood: Mood, mut look: impl FnMut(&World)) {
    arbtest(|u| {
        let features = Features {
            wild: Some(mood),
            ..FEATURES
        };
        look(&draw::world(u, &features)?);
        Ok(())
    })
    .seed(seed)
    .run();
}

/// Tests the worlds of all seeds and reports the failure with the smallest world.
fn search(mood: Mood) {
    let mut failures = Failures::default();
    each_seed(PREFIX, CASES, varied, |seed| {
        draw(seed, mood, |world| {
            let trial = Trial::new(world);
            if let Err(error) = trial.run() {
                let story = format!("{mood:?}: {error}\n{}", trial.story());
                failures.add(world.nodes.len(), seed, story);
            }
        });
    });
    failures.assert_none(PREFIX);
}
