//! Reports of disturbed runs: cancelled, or with another program writing to the layout.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ocisweep::execute::GroupOutcome;
use ocisweep::execute::{DeleteResult, Outcome};
use ocisweep::fs::Disk;
use ocisweep::graph::{EmptyIndex, GracePolicy, MissingDocuments};
use ocisweep::model::entries::list_entries;
use ocisweep::model::images::TimeSource;
use ocisweep::model::images::list_images;
use ocisweep::oci::glob::Glob;
use ocisweep::ops::{LayoutGroup, OpenGroup, Protection};
use ocisweep::plan::GroupPlan;
use ocisweep::plan::{
    EmptyLayouts, Filters, Plan, Policy, PruneOptions, Scope, SweepOptions, prune, remove_if_empty,
    sweep_all,
};
use ocisweep::progress::{Progress, Silent};
use ocisweep::{Error, Snapshot};

use crate::pools::{Commune, NAMES};
use crate::stops::{Make, gc, perform, perform_after, rm, write_anew};
use crate::support::environment::memory_dir;
use crate::support::{FullLayout, LayoutBuilder, Stopping, Way, assert_same, media, sha256};

/// Cancels the run after this number of checks.
struct Patience(AtomicUsize);

impl Progress for Patience {
    fn is_cancelled(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_err()
    }
}

#[test]
fn a_stop_is_reported_wherever_it_happens() {
    for make in [gc as Make, rm] {
        let undisturbed = {
            let fixture = FullLayout::new();
            let observer = Patience(AtomicUsize::new(usize::MAX));
            let fs = Stopping::new(Way::Dies, 0, fixture.path());
            let run = perform_after(fixture.path(), make, &fs, |_| {}, &observer);
            let outcome = run.expect("no panic").expect("nothing fails");
            assert!(!outcome.interrupted, "{outcome:?}");
            usize::MAX - observer.0.into_inner()
        };
        for patience in 0..undisturbed {
            let fixture = FullLayout::new();
            let fs = Stopping::new(Way::Dies, 0, fixture.path());
            let observer = Patience(AtomicUsize::new(patience));
            let run = perform_after(fixture.path(), make, &fs, |_| {}, &observer);
            let outcome = run.expect("no panic").expect("nothing fails");
            assert!(outcome.interrupted, "after {patience}: {outcome:?}");
        }
    }
}

/// Adds the image to the entries, as a writer without a lock does: a list of layers is enough for an image.
fn list(layout: &Path, name: &str, layers: &[&[u8]]) {
    let path = layout.join("index.json");
    let text = std::fs::read_to_string(&path).expect("there is an index.json");
    let mut index: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let layers: Vec<_> = layers
        .iter()
        .map(|bytes| {
            serde_json::json!({"mediaType": media::LAYER, "digest": sha256(bytes), "size": bytes.len()})
        })
        .collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media::MANIFEST,
        "config": layers.first(),
        "layers": layers,
    })
    .to_string();
    let digest = sha256(manifest.as_bytes());
    let blob = layout.join("blobs").join(digest.replace(':', "/"));
    std::fs::write(blob, &manifest).expect("there is room");
    let entries = index["manifests"].as_array_mut().expect("a list");
    entries.push(serde_json::json!({
        "mediaType": media::MANIFEST,
        "digest": digest,
        "size": manifest.len(),
        "annotations": {"org.opencontainers.image.ref.name": name},
    }));
    std::fs::write(path, index.to_string()).expect("there is room");
}

const ORPHAN: &[u8] = b"nothing references this";

/// One image of present layers, and one that is sparse: neither is related to the removed one.
fn list_two(layout: &Path) {
    list(layout, "fresh:1", &[b"base layer"]);
    list(
        layout,
        "sparse:1",
        &[b"base layer", b"this layer is absent"],
    );
}

/// And one that uses an orphan again.
fn list_three(layout: &Path) {
    list_two(layout);
    list(layout, "again:1", &[b"base layer", ORPHAN]);
}

#[test]
fn only_images_that_use_deleted_blobs_are_reported() {
    for (other, broken) in [
        (list_two as fn(&Path), &[][..]),
        (list_three, &["again:1"][..]),
    ] {
        let calls = {
            let fixture = FullLayout::new();
            let fs = Stopping::new(Way::Dies, 0, fixture.path());
            let outcome = perform(fixture.path(), gc, &fs).expect("no panic");
            outcome.expect("nothing fails");
            fs.calls().len()
        };
        let fixture = FullLayout::new();
        // Everything is decided, and cannot be changed any more.
        let fs = Stopping::new(Way::Meets(other), calls, fixture.path());
        let outcome = perform(fixture.path(), gc, &fs).expect("no panic");
        let outcome = outcome.expect("nothing fails");
        assert!(
            outcome
                .results
                .iter()
                .all(|fate| *fate == DeleteResult::Deleted)
        );
        assert!(outcome.concurrent.changed, "{outcome:?}");
        assert_eq!(outcome.concurrent.broken, broken);
    }
}

fn store_of(outcome: &GroupOutcome) -> &Outcome {
    outcome.store.as_ref().expect("the layouts share a store")
}

/// Layouts with shared blobs, a plan to sweep them, and its execution on a file system with faults.
struct Pooled {
    commune: Commune,
    group: OpenGroup,
    plan: GroupPlan,
}

impl Pooled {
    fn new(make: Make) -> Self {
        let commune = Commune::new();
        let now = Timestamp::now();
        let protection = Protection::with(now, now, Duration::ZERO, Duration::ZERO);
        let layouts = NAMES.map(|name| commune.layout(name));
        let group = LayoutGroup::sharing(commune.pool(), &layouts);
        let mut group = group.open(&Silent).expect("they share it");
        let (plan, _) = group
            .plan::<_, ocisweep::Error>(&protection, &Silent, |view| {
                Ok((make(view, &protection.sweep), ()))
            })
            .expect("nothing is damaged");
        Self {
            commune,
            group,
            plan,
        }
    }

    fn execute(&self, fs: &Stopping) -> GroupOutcome {
        self.group
            .execute(&self.plan, Duration::ZERO, fs, &Silent)
            .expect("nothing fails")
    }

    fn undisturbed(make: Make) -> Vec<String> {
        let pooled = Self::new(make);
        let fs = Stopping::new(Way::Dies, 0, &pooled.commune.pool());
        let outcome = pooled.execute(&fs);
        assert!(store_of(&outcome).done.blobs > 0, "{outcome:?}");
        assert!(!store_of(&outcome).concurrent.changed, "{outcome:?}");
        fs.calls()
    }
}

/// Removes all images except those named `stays:*`.
fn prune_one(view: &Snapshot, options: &SweepOptions) -> Plan {
    let now = Timestamp::now();
    let policy = Policy {
        keep: vec![Glob::new("stays:*").expect("a pattern")],
        ..Policy::default()
    };
    let prune_options = PruneOptions {
        share: None,
        scope: Scope::All,
        filters: &Filters::default(),
        policy: &policy,
        max_size: None,
        free_bytes: None,
        time: TimeSource::Added,
        now,
        zone: TimeZone::UTC,
        empty: EmptyIndex::Refuse,
        missing: MissingDocuments::Refuse,
    };
    let (images, entries) = (list_images(view, now), list_entries(view));
    let pruned = prune(view, &images, &entries, &prune_options, options, &Disk);
    pruned.expect("nothing is damaged").removal.plan
}

#[test]
fn no_shared_blob_is_removed_before_its_layouts_are_flushed_to_disk() {
    let calls = Pooled::undisturbed(gc);
    let first = calls.iter().position(|call| call.starts_with("remove "));
    let synced = calls
        .iter()
        .take(first.expect("something goes"))
        .filter(|call| call.starts_with("sync"))
        .count();
    assert!(synced >= NAMES.len(), "{calls:?}");
}

#[test]
fn a_writer_to_one_layout_of_a_store_is_reported() {
    let calls = Pooled::undisturbed(gc);
    let last = calls.iter().rposition(|call| call.starts_with("remove "));
    let number = last.expect("something goes") + 1;
    for name in NAMES {
        let pooled = Pooled::new(gc);
        let fs = Stopping::new(Way::Meets(write_anew), number, &pooled.commune.layout(name));
        let outcome = pooled.execute(&fs);
        assert!(store_of(&outcome).concurrent.changed, "{name}: {outcome:?}");
        assert!(
            store_of(&outcome).concurrent.broken.is_empty(),
            "{outcome:?}"
        );
    }
}

/// All layouts are read once more after everything else was done, as a single one is.
#[test]
fn a_writer_during_the_last_call_on_a_store_is_reported() {
    let calls = Pooled::undisturbed(gc);
    let last = calls.last().expect("there are some");
    assert!(last.starts_with("temporary "), "{calls:?}");
    for name in NAMES {
        let pooled = Pooled::new(gc);
        let layout = pooled.commune.layout(name);
        let fs = Stopping::new(Way::Then(write_anew), calls.len(), &layout);
        let outcome = pooled.execute(&fs);
        assert!(store_of(&outcome).concurrent.changed, "{name}: {outcome:?}");
    }
}

#[test]
fn blobs_that_a_store_releases_are_kept_if_another_program_writes_right_after() {
    let calls = Pooled::undisturbed(prune_one);
    let last = calls.iter().rposition(|call| call == "replace index.json");
    let last = last.expect("both are written") + 1;
    for name in NAMES {
        let pooled = Pooled::new(prune_one);
        let fs = Stopping::new(Way::Then(write_anew), last, &pooled.commune.layout(name));
        let outcome = pooled.execute(&fs);
        let untried = vec![
            DeleteResult::Skipped;
            pooled
                .plan
                .store()
                .expect("they share a store")
                .sweep()
                .len()
        ];
        assert_eq!(store_of(&outcome).results, untried, "{name}");
        assert!(store_of(&outcome).concurrent.changed, "{outcome:?}");
    }
}

/// The first write to a layout that was removed concurrently.
fn make_blobs(layout: &Path) {
    std::fs::create_dir_all(layout.join("blobs/sha256")).expect("there is room");
}

#[test]
fn an_empty_layout_with_a_writer_is_not_removed() {
    let prepare = || {
        let directory = memory_dir();
        let builder = LayoutBuilder::at(&directory.path().join("layout"));
        builder.write();
        (directory, builder)
    };
    let make = |view: &Snapshot, options: &SweepOptions| {
        let plan = sweep_all(
            view,
            MissingDocuments::Refuse,
            EmptyIndex::Allow,
            &Disk,
            options,
        );
        let mut plan = plan.expect("nothing is damaged");
        let rule = GracePolicy::new(Timestamp::now(), Duration::ZERO);
        remove_if_empty(view, &mut plan, rule);
        assert_eq!(plan.empty_layout(), EmptyLayouts::Remove);
        plan
    };
    let number = {
        let (_directory, builder) = prepare();
        let fs = Stopping::new(Way::Dies, 0, builder.path());
        let outcome = perform(builder.path(), make, &fs).expect("no panic");
        assert!(outcome.expect("nothing fails").layout_removed);
        let calls = fs.calls();
        let is_last = |call: &String| call == "temporary blobs";
        calls.iter().position(is_last).expect("it goes") + 1
    };
    for other in [write_anew as fn(&Path), make_blobs] {
        let (_directory, builder) = prepare();
        let fs = Stopping::new(Way::Then(other), number, builder.path());
        let outcome = perform(builder.path(), make, &fs).expect("no panic");
        let outcome = outcome.expect("nothing fails");
        assert!(!outcome.layout_removed, "{outcome:?}");
        for file in ["index.json", "oci-layout"] {
            assert!(builder.join(file).exists(), "{file}: {outcome:?}");
        }
    }
}

/// The number of the call that replaces `index.json`, from 1.
fn number_of_index(make: Make) -> usize {
    let fixture = FullLayout::new();
    let fs = Stopping::new(Way::Dies, 0, fixture.path());
    let outcome = perform(fixture.path(), make, &fs).expect("no panic");
    outcome.expect("nothing fails");
    let is_index = |call: &String| call == "replace index.json";
    fs.calls().iter().position(is_index).expect("it is written") + 1
}

/// The name is in place, and the directory could not be flushed: nothing may be deleted, and the entry is gone.
#[test]
fn an_error_after_the_new_index_is_not_a_refusal() {
    let number = number_of_index(rm);
    for (way, is_written) in [(Way::Lies, true), (Way::Fails, false)] {
        let fixture = FullLayout::new();
        let fs = Stopping::new(way, number, fixture.path());
        let result = perform(fixture.path(), rm, &fs).expect("no panic");
        assert!(fixture.has(&fixture.one.manifest), "{result:?}");
        if !is_written {
            assert!(
                matches!(&result, Err(error) if !matches!(error, Error::Changed { .. })),
                "{result:?}"
            );
            continue;
        }
        let outcome = result.expect("something was changed");
        assert!(outcome.written && outcome.late.is_some(), "{outcome:?}");
        assert!(!outcome.results.is_empty(), "{outcome:?}");
        let is_untried = |fate: &DeleteResult| *fate == DeleteResult::Skipped;
        assert!(outcome.results.iter().all(is_untried), "{outcome:?}");
        assert_eq!(outcome.done.blobs, 0, "{outcome:?}");
    }
}

/// Orphans were deleted to make room, but it is not enough: they are deleted, and the entry is kept.
#[test]
fn blobs_deleted_to_make_room_are_reported_even_if_that_is_not_enough() {
    let number = number_of_index(rm);
    let fixture = FullLayout::new();
    let index = std::fs::read(fixture.builder.join("index.json")).expect("it is there");
    let fs = Stopping::new(Way::StaysFull, number, fixture.path());
    let result = perform(fixture.path(), rm, &fs).expect("no panic");
    let outcome = result.expect("something was changed");
    assert!(!outcome.written && outcome.late.is_some(), "{outcome:?}");
    assert_eq!(
        outcome.spare_results,
        [DeleteResult::Deleted; 5],
        "{outcome:?}"
    );
    assert_eq!(outcome.done.blobs, 5, "{outcome:?}");
    assert!(fixture.has(&fixture.one.manifest), "{outcome:?}");
    let now = std::fs::read(fixture.builder.join("index.json")).expect("it is there");
    assert_eq!(now, index);
}

/// One layout has its new index, and the next one cannot be written.
#[test]
fn an_error_between_two_layouts_with_shared_blobs_is_not_a_refusal() {
    let calls = Pooled::undisturbed(prune_one);
    let is_index = |call: &String| call == "replace index.json";
    let last = calls.iter().rposition(is_index).expect("both are written") + 1;
    let pooled = Pooled::new(prune_one);
    let before = crate::support::snapshot(&pooled.commune.pool());
    let fs = Stopping::new(Way::Fails, last, &pooled.commune.pool());
    let outcome = pooled.execute(&fs);
    assert!(store_of(&outcome).late.is_some(), "{outcome:?}");
    let written: Vec<bool> = outcome
        .layouts
        .iter()
        .map(|outcome| outcome.written)
        .collect();
    assert!(
        written.contains(&true) && written.contains(&false),
        "{outcome:?}"
    );
    assert_same(
        &before,
        &crate::support::snapshot(&pooled.commune.pool()),
        "a blob is gone",
    );
}
