//! A run that stops at call N, for every N: in this process, through the public library, below every system call.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use ocisweep::execute::{DeleteResult, Outcome, execute};
use ocisweep::fs::Disk;
use ocisweep::graph::{EmptyIndex, GracePolicy, MissingDocuments};
use ocisweep::layout::lock::Locked;
use ocisweep::model::entries::list_entries;
use ocisweep::model::images::list_images;
use ocisweep::oci::platform::{Platform, PlatformSelector};
use ocisweep::plan::{
    Force, Plan, PlatformMode, PlatformRequest, RemoveOptions, Selector, SweepOptions, Which,
    drop_platforms, remove, sweep_all,
};
use ocisweep::progress::{Progress, Silent};
use ocisweep::{Error, Snapshot};

use crate::commands::{Command, GC, RM, RM_ALL, RM_PLATFORM};
use crate::kill::count;
use crate::support::extent::takes;
use crate::support::samples::STALE_FILES;
use crate::support::{Files, FullLayout, Stopping, Way, at, blobs, for_each, media, sha256};

const WAYS: [Way; 5] = [Way::Dies, Way::Fails, Way::Lies, Way::Panics, Way::Fills];

/// Makes a plan as the command of that name does.
pub(crate) type Make = fn(&Snapshot, &SweepOptions) -> Plan;

fn view(layout: &Path) -> (Snapshot, SweepOptions) {
    let now = Timestamp::now();
    let mut view = Snapshot::read(layout, now, &Silent).expect("the layout can be read");
    let now = now.as_nanosecond();
    view.protect(GracePolicy::new(at(now), Duration::ZERO), &Silent)
        .expect("nobody interrupts");
    let options = SweepOptions::new(at(now), at(now), Duration::ZERO);
    (view, options)
}

pub(crate) fn gc(view: &Snapshot, options: &SweepOptions) -> Plan {
    let plan = sweep_all(
        view,
        MissingDocuments::Refuse,
        EmptyIndex::Refuse,
        &Disk,
        options,
    );
    plan.expect("nothing is damaged")
}

fn rm_names(
    view: &Snapshot,
    options: &SweepOptions,
    names: &[&str],
    platform: Option<&str>,
) -> Plan {
    let now = Timestamp::now();
    let (images, entries) = (list_images(view, now), list_entries(view));
    let selector = Selector::new(view, &entries, Force::Yes);
    let picks: Vec<_> = names
        .iter()
        .map(|name| {
            selector
                .pick(name)
                .expect("the fixture has an image of this name")
        })
        .collect();
    let how = RemoveOptions {
        force: Force::Yes,
        ..RemoveOptions::default()
    };
    let removal = match platform {
        None => remove(view, &images, &entries, &picks, &how, options, &Disk),
        Some(platform) => {
            let request = PlatformRequest {
                wanted: PlatformSelector::parse_list(&[platform.to_owned()], &Platform::host())
                    .expect("a platform"),
                which: Which::These,
                mode: PlatformMode::Rewrite,
            };
            drop_platforms(
                view, &images, &entries, &picks, &request, &how, options, &Disk,
            )
        }
    };
    removal.expect("nothing is damaged").plan
}

pub(crate) fn rm(view: &Snapshot, options: &SweepOptions) -> Plan {
    rm_names(view, options, &["app:1"], None)
}

fn rm_all(view: &Snapshot, options: &SweepOptions) -> Plan {
    rm_names(view, options, &["app:1", "app:2", "multi:1"], None)
}

fn rm_platform(view: &Snapshot, options: &SweepOptions) -> Plan {
    rm_names(view, options, &["multi:1"], Some("linux/arm64"))
}

/// Executes the plan on this file system. `None`: it panicked, as instructed.
pub(crate) fn perform(layout: &Path, make: Make, fs: &Stopping) -> Option<Result<Outcome, Error>> {
    perform_after(layout, make, fs, |_| {}, &Silent)
}

/// Like `run`, and calls a function when the plan is made and the lock is taken.
pub(crate) fn perform_after(
    layout: &Path,
    make: Make,
    fs: &Stopping,
    meanwhile: fn(&Path),
    observer: &dyn Progress,
) -> Option<Result<Outcome, Error>> {
    let (view, options) = view(layout);
    let plan = make(&view, &options);
    let locked = Locked::acquire(&view.layout, Duration::ZERO, &Silent).expect("nobody locks it");
    meanwhile(layout);
    catch_unwind(AssertUnwindSafe(|| execute(&locked, &plan, fs, observer))).ok()
}

/// Panics unless the calls were made in an order in which a stop anywhere does no harm. `spare` are blobs that may be
/// removed before the new index is in place, because the disk is full.
#[track_caller]
fn is_in_order(calls: &[String], spare: Option<&BTreeSet<String>>) {
    let index = calls.iter().rposition(|call| call == "replace index.json");
    let all = calls.join("\n");
    for (position, call) in calls.iter().enumerate() {
        let is_early = index.is_some_and(|index| position < index);
        if let Some(name) = call.strip_prefix("remove ") {
            let is_synced = calls[..position]
                .iter()
                .any(|call| call.starts_with("sync"));
            assert!(is_synced, "{call} before anything is on disk\n{all}");
            let is_spare = spare.is_some_and(|spare| spare.contains(name));
            assert!(!is_early || is_spare, "{call} before the new index\n{all}");
        }
        let is_document = call
            .strip_prefix("replace ")
            .is_some_and(|name| name.len() == 64);
        assert!(
            !is_document || is_early || index.is_none(),
            "{call} after the index that names it\n{all}"
        );
    }
}

fn survives(command: Command, make: Make) {
    let judge = command.judge();
    let undisturbed = {
        let fixture = FullLayout::new();
        let fs = Stopping::new(Way::Dies, 0, fixture.path());
        let outcome = perform(fixture.path(), make, &fs).expect("nothing panics");
        let outcome = outcome.expect("nothing fails");
        assert!(
            outcome.failed.is_empty() && !outcome.concurrent.changed,
            "{outcome:?}"
        );
        let differences = Files::of(fixture.path()).differences(&judge.after);
        assert!(
            differences.is_empty(),
            "the library behaves differently:\n{differences}"
        );
        is_in_order(&fs.calls(), None);
        fs.calls()
    };
    let stops: Vec<(Way, usize)> = WAYS
        .into_iter()
        .enumerate()
        .flat_map(|(turn, way)| (1..=undisturbed.len()).map(move |at| (turn, way, at)))
        .filter(|(turn, _, at)| takes(turn.wrapping_add(*at), 2, 1))
        .map(|(_, way, at)| (way, at))
        .collect();
    let total = stops.len();
    for_each(
        stops,
        |(way, at)| format!("{command:?}: {way:?} at {at}, {}", undisturbed[at - 1]),
        |(way, at)| {
            let fixture = FullLayout::new();
            let orphans: BTreeSet<_> = fixture
                .orphans
                .iter()
                .map(|desc| desc.digest.clone())
                .collect();
            let fs = Stopping::new(*way, *at, fixture.path());
            let result = perform(fixture.path(), make, &fs);
            let context = format!("{result:?}\n{}", fs.calls().join("\n"));
            assert_eq!(result.is_none(), matches!(way, Way::Panics), "{context}");
            let makes_room =
                matches!(way, Way::Fills) && !fixture.orphans.iter().all(|desc| fixture.has(desc));
            let full_disk = judge.of_full_disk(&orphans);
            let judge = if makes_room { &full_disk } else { &judge };
            let hex = orphans
                .iter()
                .map(|digest| digest.replace("sha256:", ""))
                .collect();
            is_in_order(&fs.calls(), makes_room.then_some(&hex));
            judge.check(fixture.path(), &context);
            assert!(
                !fixture.builder.join("index.json.lock").exists(),
                "the lock stays\n{context}"
            );
            command.finishes(fixture.path(), judge, &context);
        },
    );
    count(&format!("{command:?}: stopped {total} times"));
}

#[test]
fn gc_can_stop_at_any_call() {
    survives(GC, gc);
}

#[test]
fn rm_can_stop_at_any_call() {
    survives(RM, rm);
}

#[test]
fn rm_of_everything_can_stop_at_any_call() {
    survives(RM_ALL, rm_all);
}

#[test]
fn dropping_a_platform_can_stop_at_any_call() {
    survives(RM_PLATFORM, rm_platform);
}

/// More than are deleted before the state is read again.
const MANY: usize = 6000;

/// Lists an image that consists only of orphans of a sweep, as a writer without a lock does.
fn list_orphans(layout: &Path) {
    let descriptor = |text: String| {
        let digest = sha256(text.as_bytes());
        serde_json::json!({"mediaType": media::LAYER, "digest": digest, "size": text.len()})
    };
    let layers: Vec<_> = (0..MANY).map(|number| descriptor(orphan(number))).collect();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": layers});
    std::fs::write(layout.join("index.json"), index.to_string()).expect("there is room");
}

fn orphan(number: usize) -> String {
    format!("orphan {number}")
}

#[test]
fn an_image_that_is_listed_during_a_long_sweep_stops_it() {
    let fixture = FullLayout::new();
    for number in 0..MANY {
        fixture.builder.layer(orphan(number).as_bytes());
    }
    let before = blobs(fixture.path()).len();
    // The first batch is inspected, and a part of it deleted.
    let fs = Stopping::new(Way::Meets(list_orphans), 4096 + 100, fixture.path());
    let result = perform(fixture.path(), gc, &fs).expect("nothing panics");
    let outcome = result.expect("nothing fails");
    let deleted = outcome
        .results
        .iter()
        .filter(|fate| **fate == DeleteResult::Deleted)
        .count();
    let untried = outcome
        .results
        .iter()
        .filter(|fate| **fate == DeleteResult::Skipped)
        .count();
    assert_eq!(
        (deleted, untried),
        (4096, MANY + fixture.orphans.len() - 4096)
    );
    assert_eq!(blobs(fixture.path()).len(), before - 4096);
    assert!(outcome.concurrent.changed, "{:?}", outcome.concurrent);
    assert!(
        !outcome.concurrent.broken.is_empty(),
        "{:?}",
        outcome.concurrent
    );
}

/// Whatever is removed, and however little.
#[test]
fn nothing_is_removed_before_the_layout_is_flushed_to_disk() {
    for (has_orphans, has_left_overs) in [(true, true), (true, false), (false, true)] {
        let fixture = FullLayout::new();
        if !has_orphans {
            for orphan in &fixture.orphans {
                fixture.builder.drop_blob(orphan);
            }
        }
        if !has_left_overs {
            for left_over in STALE_FILES {
                fixture.builder.remove(left_over);
            }
            std::fs::remove_dir(fixture.builder.join(".umoci-123456789")).expect("it is empty");
        }
        let fs = Stopping::new(Way::Dies, 0, fixture.path());
        let outcome = perform(fixture.path(), gc, &fs).expect("nothing panics");
        let outcome = outcome.expect("nothing fails");
        let calls = fs.calls();
        let position = |wanted: &[&str]| {
            let is_wanted = |call: &String| wanted.iter().any(|begin| call.starts_with(begin));
            calls.iter().position(is_wanted)
        };
        let (synced, gone) = (position(&["sync"]), position(&["remove ", "temporary "]));
        assert!(
            synced.is_some() && gone.is_some() && synced < gone,
            "{calls:?}"
        );
        assert_eq!(outcome.done.blobs > 0, has_orphans, "{outcome:?}");
        assert_eq!(!outcome.temporary.is_empty(), has_left_overs, "{outcome:?}");
    }
}

/// Writes the same entries in other bytes, as a writer without a lock does that adds and removes a tag.
pub(crate) fn write_anew(layout: &Path) {
    let path = layout.join("index.json");
    let text = std::fs::read_to_string(&path).expect("there is an index.json");
    std::fs::write(path, text + "\n").expect("there is room");
}

#[test]
fn orphans_make_room_on_a_full_disk_unless_another_program_writes() {
    let number = {
        let fixture = FullLayout::new();
        let fs = Stopping::new(Way::Dies, 0, fixture.path());
        let outcome = perform(fixture.path(), rm, &fs).expect("nothing panics");
        outcome.expect("nothing fails");
        let is_index = |call: &String| call == "replace index.json";
        fs.calls().iter().position(is_index).expect("it is written") + 1
    };
    for way in [Way::Fills, Way::FillsLate, Way::MeetsFull(write_anew)] {
        let fixture = FullLayout::new();
        let before = blobs(fixture.path());
        let fs = Stopping::new(way, number, fixture.path());
        let result = perform(fixture.path(), rm, &fs).expect("nothing panics");
        let orphans = fixture
            .orphans
            .iter()
            .filter(|desc| fixture.has(desc))
            .count();
        if matches!(way, Way::MeetsFull(_)) {
            assert!(matches!(result, Err(Error::Changed { .. })), "{result:?}");
            assert_eq!(blobs(fixture.path()), before);
            continue;
        }
        let outcome = result.expect("there is space then");
        assert_eq!(orphans, 0, "{way:?} {outcome:?}");
        assert_eq!(outcome.spare_results, [DeleteResult::Deleted; 5], "{way:?}");
        assert!(!fixture.has(&fixture.one.manifest), "{way:?} {outcome:?}");
        assert!(fixture.has(&fixture.two.manifest), "{way:?} {outcome:?}");
    }
}

/// Replaces the locked lock file with another one, like a program that removes files that it considers stale.
fn lock_anew(layout: &Path) {
    let lock = layout.join("index.json.lock");
    std::fs::remove_file(&lock).expect("it is locked");
    std::fs::write(lock, "").expect("there is room");
}

/// Removes a hold after the plan was made.
fn release(layout: &Path) {
    std::fs::remove_file(layout.join(".ocisweep/holds.json")).expect("there are holds");
}

#[test]
fn a_plan_for_another_state_or_another_lock_does_nothing() {
    for make in [gc as Make, rm, rm_platform] {
        for meanwhile in [write_anew as fn(&Path), lock_anew, release] {
            let fixture = FullLayout::new();
            let fs = Stopping::new(Way::Dies, 0, fixture.path());
            let before = blobs(fixture.path());
            let result =
                perform_after(fixture.path(), make, &fs, meanwhile, &Silent).expect("no panic");
            assert!(matches!(result, Err(Error::Changed { .. })), "{result:?}");
            assert_eq!(blobs(fixture.path()), before);
            let calls = fs.calls();
            assert!(
                calls.iter().all(|call| call.starts_with("sync")),
                "{calls:?}"
            );
        }
    }
}
