//! The library as used by a program that embeds it: whole commands over a layout.

mod listed_again;
mod together;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{Timestamp, ToSpan as _};
use ocisweep::Error;
use ocisweep::layout::trash::{TrashOptions, TrashedRun};
use ocisweep::ops::{
    Change, ChangeResult, GcOptions, Journal, LayoutGroup, Mode, Protection, RemoveError, gc,
    prune, remove,
};
use ocisweep::plan::{Filters, Policy, PruneOptions, RemoveOptions, Scope};
use ocisweep::progress::{Phase, Progress, Silent, Total};

use crate::support::environment::memory_dir;
use crate::support::{LayoutBuilder, blobs};

const NOW: Mode = Mode::Execute(Duration::ZERO);

/// Two images that share a layer, `app:1` and `app:2`, and an orphan.
fn layout() -> LayoutBuilder {
    let mut layout = LayoutBuilder::new();
    for tag in ["app:1", "app:2"] {
        let image = layout.image("linux/amd64", tag, &[b"base", tag.as_bytes()]);
        layout.tag(&image.manifest, tag);
    }
    layout.layer(b"an orphan");
    layout.write();
    layout
}

fn protection() -> Protection {
    Protection::new(Timestamp::now())
}

#[test]
fn gc_plans_and_then_deletes_what_it_planned() {
    let layout = layout();
    let group = LayoutGroup::of(layout.path());
    let options = GcOptions::default();
    let before = blobs(layout.path());
    let planned = gc(&group, &protection(), &options, Mode::Plan, &Silent).expect("a plan");
    assert_eq!(planned.totals().blobs, 1);
    assert!(!planned.is_complete());
    assert_eq!(blobs(layout.path()), before);
    let finished = gc(&group, &protection(), &options, NOW, &Silent).expect("a sweep");
    assert_eq!(finished.totals(), planned.totals());
    assert!(finished.is_complete());
    assert_eq!(blobs(layout.path()).len(), before.len() - 1);
}

#[test]
fn a_sweep_into_the_trash_is_complete() {
    let layout = layout();
    let options = TrashOptions {
        keep: Duration::from_secs(3600),
        command: "a test".to_owned(),
    };
    let group = LayoutGroup::of(layout.path()).trashing(Some(&options));
    let finished = gc(&group, &protection(), &GcOptions::default(), NOW, &Silent);
    let finished = finished.expect("a sweep");
    let [(_, Some(outcome))] = finished.parts.as_slice() else {
        panic!("{finished:?}");
    };
    assert_eq!(
        outcome.trashed.as_ref().map(|trashed| trashed.blobs),
        Some(1)
    );
    assert!(finished.is_complete(), "{finished:?}");
}

/// Makes the runs in the trash expire right after they were recorded as those that only a full disk deletes.
#[derive(Debug, Default)]
struct EndsRuns {
    path: PathBuf,
    ended: Mutex<Vec<PathBuf>>,
    made_room: Mutex<Vec<String>>,
}

impl Journal for EndsRuns {
    fn begin(&self, _: &[&Path], change: &Change<'_>) -> ocisweep::Result<u64> {
        let Change::Plan { others, .. } = change else {
            return Ok(0);
        };
        for run in *others {
            let record = self.path.join(".ocisweep/trash").join(&run.name);
            let record = record.join("run.json");
            let text = fs::read_to_string(&record).expect("it is there");
            let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            json["ends"] = Timestamp::now().to_string().into();
            fs::write(&record, json.to_string()).expect("it can be written");
            self.ended.lock().expect("one thread").push(record);
        }
        Ok(0)
    }

    fn made_room(&self, _: u64, emptied: &[TrashedRun]) {
        let names = emptied.iter().map(|run| run.name.clone());
        self.made_room.lock().expect("one thread").extend(names);
    }

    fn end(&self, _: u64, _: &ChangeResult<'_>) {}
}

#[test]
fn a_run_that_ends_after_it_was_recorded_as_kept_is_kept_by_this_run() {
    let layout = layout();
    let options = TrashOptions {
        keep: Duration::from_secs(3600),
        command: "a test".to_owned(),
    };
    let group = LayoutGroup::of(layout.path()).trashing(Some(&options));
    let sweep = |group: &LayoutGroup| gc(group, &protection(), &GcOptions::default(), NOW, &Silent);
    sweep(&group).expect("a run that is kept");
    layout.layer(b"another orphan");
    let journal = Arc::new(EndsRuns {
        path: layout.path().to_owned(),
        ..EndsRuns::default()
    });
    let recorder: Arc<dyn Journal> = journal.clone();
    sweep(&group.recording(Some(&recorder))).expect("a sweep");
    let ended = journal.ended.lock().expect("one thread");
    assert_eq!(ended.len(), 1);
    assert!(ended.iter().all(|record| record.exists()), "{ended:?}");
    let made_room = journal.made_room.lock().expect("one thread");
    assert!(made_room.is_empty(), "the disk was not full: {made_room:?}");
}

#[test]
fn recent_blobs_are_kept_by_default() {
    let layout = layout();
    let orphan = layout.layer(b"written a moment ago");
    layout.fresh([&orphan]);
    let group = LayoutGroup::of(layout.path());
    let finished = gc(&group, &protection(), &GcOptions::default(), NOW, &Silent);
    assert_eq!(finished.expect("a sweep").totals().blobs, 1);
    assert!(blobs(layout.path()).contains_key(&orphan.digest));
}

#[test]
fn a_plan_for_the_future_is_not_executed() {
    let layout = layout();
    let before = blobs(layout.path());
    let group = LayoutGroup::of(layout.path());
    let ahead = Timestamp::now() + (365 * 24).hours();
    let run = |mode| {
        gc(
            &group,
            &Protection::new(ahead),
            &GcOptions::default(),
            mode,
            &Silent,
        )
    };
    assert_eq!(
        run(Mode::Plan).expect("a plan can be shown").totals().blobs,
        1
    );
    let refused = run(NOW).expect_err("it is not executed");
    assert!(matches!(refused, Error::AheadOfClock { .. }), "{refused}");
    assert_eq!(blobs(layout.path()), before);
}

#[test]
fn blobs_of_another_layout_are_refused_by_default() {
    let layout = layout();
    let before = blobs(layout.path());
    let other = memory_dir();
    for file in ["oci-layout", "index.json"] {
        let text = r#"{"imageLayoutVersion":"1.0.0","schemaVersion":2,"manifests":[]}"#;
        fs::write(other.path().join(file), text).expect("it can be written");
    }
    symlink(layout.join("blobs"), other.path().join("blobs")).expect("a link can be made");
    let group = LayoutGroup::of(other.path());
    let mut options = GcOptions::default();
    options.empty = ocisweep::graph::EmptyIndex::Allow;
    let refused = gc(&group, &protection(), &options, NOW, &Silent);
    assert!(
        matches!(refused, Err(Error::SharedBlobs { .. })),
        "{refused:?}"
    );
    assert_eq!(blobs(layout.path()), before);
}

#[test]
fn remove_applies_all_arguments_or_none() {
    let layout = layout();
    let group = LayoutGroup::of(layout.path());
    let options = RemoveOptions::default();
    let before = blobs(layout.path());
    let run = |names: &[&str], mode| remove(&group, &protection(), names, &options, mode, &Silent);
    let missed = run(&["app:1", "absent:1"], NOW).expect_err("one name does not exist");
    assert!(matches!(missed, RemoveError::Select(_)), "{missed}");
    assert_eq!(blobs(layout.path()), before);
    let finished = run(&["app:1"], NOW).expect("it can be removed");
    assert_eq!(finished.notes, [["app:1"]]);
    // Its manifest, its configuration and its own layer; `base` is shared, and the orphan was not named.
    assert_eq!(finished.totals().blobs, 3);
    assert_eq!(blobs(layout.path()).len(), before.len() - 3);
}

#[test]
fn prune_returns_reasons() {
    let layout = layout();
    let group = LayoutGroup::of(layout.path());
    let policy = Policy {
        last: Some(1),
        ..Policy::default()
    };
    let filters = Filters::default();
    let options = PruneOptions::new(Scope::All, &filters, &policy, Timestamp::now());
    let finished = prune(&group, &protection(), &options, NOW, &Silent).expect("a prune");
    let verdicts: Vec<_> = finished.notes.iter().flatten().collect();
    assert_eq!(verdicts.len(), 2);
    assert!(verdicts.iter().all(|verdict| !verdict.reasons.is_empty()));
    assert_eq!(
        verdicts.iter().filter(|verdict| verdict.is_removed).count(),
        1
    );
    // The older image with its own layer, and the orphan.
    assert_eq!(finished.totals().blobs, 4);
}

#[test]
fn a_group_of_several_layouts_needs_a_store() {
    let layouts: Vec<PathBuf> = vec![layout().path().to_owned()];
    let group = LayoutGroup::sharing("no/such/store", &layouts);
    let failed = gc(
        &group,
        &protection(),
        &GcOptions::default(),
        Mode::Plan,
        &Silent,
    );
    assert!(failed.is_err());
}

/// Records which phases begin and end; cancels after a number of them has begun.
struct Phases {
    seen: Mutex<Vec<(Phase, &'static str)>>,
    cancel_after: usize,
}

impl Phases {
    fn new(cancel_after: usize) -> Self {
        let seen = Mutex::default();
        Self { seen, cancel_after }
    }

    fn note(&self, phase: Phase, what: &'static str) {
        self.seen.lock().expect("no panic").push((phase, what));
    }

    /// Returns the phases in their order, after checking that each ends before the next begins.
    fn into_pairs(self) -> Vec<Phase> {
        let seen = self.seen.into_inner().expect("no panic");
        let (pairs, rest) = seen.as_chunks::<2>();
        assert_eq!(rest, [], "{seen:?}");
        let begins_and_ends = |pair: &[(Phase, &str); 2]| {
            let [(begun, begin), (ended, end)] = *pair;
            assert_eq!((begun, begin, end), (ended, "begin", "finish"), "{seen:?}");
            begun
        };
        pairs.iter().map(begins_and_ends).collect()
    }
}

impl Progress for Phases {
    fn begin(&self, phase: Phase, _total: Total) {
        self.note(phase, "begin");
    }

    fn finish(&self, phase: Phase) {
        self.note(phase, "finish");
    }

    fn is_cancelled(&self) -> bool {
        self.seen.lock().expect("no panic").len() > self.cancel_after
    }
}

#[test]
fn every_phase_that_begins_finishes_even_if_cancelled() {
    let layout = layout();
    let group = LayoutGroup::of(layout.path());
    let all = Phases::new(usize::MAX);
    gc(&group, &protection(), &GcOptions::default(), NOW, &all).expect("a sweep");
    let all = all.into_pairs();
    for phase in [
        Phase::Listing,
        Phase::Reading,
        Phase::ScanningOrphans,
        Phase::Sweeping,
    ] {
        assert!(all.contains(&phase), "{all:?}");
    }
    layout.layer(b"another orphan");
    for cancel_after in 0..2 * all.len() {
        let some = Phases::new(cancel_after);
        let result = gc(
            &group,
            &protection(),
            &GcOptions::default(),
            Mode::Plan,
            &some,
        );
        let some = some.into_pairs();
        assert!(
            all.starts_with(&some) || result.is_ok(),
            "{some:?} of {all:?}"
        );
    }
}
