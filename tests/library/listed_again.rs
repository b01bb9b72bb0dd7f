//! Blobs that are restored from the trash and removed again, while another program lists their image once more.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ocisweep::Error;
use ocisweep::fs::Disk;
use ocisweep::layout::Layout;
use ocisweep::model::entries::list_entries;
use ocisweep::model::images::list_images;
use ocisweep::ops::{
    EmptyRequest, LayoutGroup, Mode, RemoveError, TrashOwner, empty_trash, remove, run,
};
use ocisweep::plan::{self, Force, RemoveOptions, Selector};
use ocisweep::progress::{Phase, Progress, Silent, Total};

use super::{NOW, protection};
use crate::support::layout::FileLock;
use crate::support::samples::app_and_other;
use crate::support::{Cmd, Image, LayoutBuilder};

/// The blobs of `app:1` are in the trash, but for its config, and another program has listed the image as `new:1`.
fn listed_again() -> (LayoutBuilder, Image) {
    let (mut layout, app, other) = app_and_other();
    let config = fs::read(layout.join(&app.config.blob_path())).expect("it is there");
    let words = ["rm", "--trash", "--grace", "0"];
    let removed = Cmd::new(words).arg(layout.path()).arg("app:1").run();
    removed.ok().says("Moved to trash: 3 blobs");
    layout.blob(&app.config.media_type, &config);
    layout
        .clear_entries()
        .tag(&app.manifest, "new:1")
        .tag(&other.manifest, "other:1")
        .write();
    (layout, app)
}

/// Lists the image under another name, as a program without a lock does.
fn rename(layout: &Path, from: &str, to: &str) {
    let path = layout.join("index.json");
    let text = fs::read_to_string(&path).expect("it is there");
    let new = layout.join("index.json.new");
    fs::write(&new, text.replace(from, to)).expect("it can be written");
    fs::rename(new, path).expect("it can be renamed");
}

/// Removes `new:1`, while another program does something between the second plan, which is the first one that sees the restored
/// blobs, and the lock.
fn remove_while(layout: &LayoutBuilder, app: &Image, other: impl Fn()) -> RemoveError {
    let group = LayoutGroup::of(layout.path());
    let protection = protection();
    let mut plans = 0;
    let removed = run(&group, &protection, NOW, &Silent, |snapshot| {
        let entries = list_entries(snapshot);
        let images = list_images(snapshot, protection.now);
        let pick = Selector::new(snapshot, &entries, Force::No).pick("new:1");
        let picks = [pick.map_err(RemoveError::Select)?];
        let options = RemoveOptions::default();
        let (sweep, disk) = (&protection.sweep, &Disk);
        let removal = plan::remove(snapshot, &images, &entries, &picks, &options, sweep, disk)?;
        plans += 1;
        if plans == 2 {
            assert!(layout.has_all(app));
            other();
        }
        Ok::<_, RemoveError>((removal.plan, ()))
    });
    removed.expect_err("the plan is not for this layout any more")
}

#[test]
fn no_blob_returns_to_the_trash_for_an_outdated_plan() {
    let (layout, app) = listed_again();
    let missed = remove_while(&layout, &app, || rename(layout.path(), "new:1", "again:1"));
    assert!(matches!(missed, RemoveError::Select(_)), "{missed}");
    assert!(layout.has_all(&app));

    let (layout, app) = listed_again();
    let failed = remove_while(&layout, &app, || {
        fs::write(layout.join("index.json"), "{").expect("it can be written");
    });
    let is_malformed = matches!(failed, RemoveError::Layout(Error::Malformed { .. }));
    assert!(is_malformed, "{failed}");
    assert!(layout.has_all(&app));
}

/// Lists the image again at the moment in which blobs begin to be deleted.
struct Writer<'a> {
    layout: &'a Path,
    index: String,
    is_done: AtomicBool,
}

impl Progress for Writer<'_> {
    fn begin(&self, phase: Phase, _total: Total) {
        if phase == Phase::Sweeping && !self.is_done.swap(true, Ordering::Relaxed) {
            let new = self.layout.join("index.json.new");
            fs::write(&new, &self.index).expect("it can be written");
            fs::rename(new, self.layout.join("index.json")).expect("it can be renamed");
        }
    }
}

#[test]
fn an_image_listed_again_during_its_removal_is_restored_by_the_same_run() {
    let (layout, app) = listed_again();
    let group = LayoutGroup::of(layout.path());
    let writer = Writer {
        layout: layout.path(),
        index: fs::read_to_string(layout.join("index.json")).expect("it is there"),
        is_done: AtomicBool::new(false),
    };
    let options = RemoveOptions::default();
    let removed = remove(&group, &protection(), &["new:1"], &options, NOW, &writer);
    assert!(writer.is_done.load(Ordering::Relaxed), "{removed:?}");
    let removed = removed.expect("a removal");
    let outcomes = removed
        .parts
        .iter()
        .filter_map(|(_, outcome)| outcome.as_ref());
    let restored: Vec<_> = outcomes.flat_map(|outcome| &outcome.restored).collect();
    // The config is deleted, and the trash has it as well.
    assert_eq!(restored.len(), 3, "{removed:?}");
    assert!(layout.has_all(&app), "{removed:?}");
}

/// Holds the lock of the layout like another run, and leaves a run of its own in the trash.
struct OtherRun<'a> {
    lock: Mutex<Option<FileLock>>,
    trash: &'a Path,
    run: &'a str,
}

impl Progress for OtherRun<'_> {
    fn waiting(&self, _layout: &Path, _by: &str) {
        if let Some(lock) = self.lock.lock().expect("no panic").take() {
            let new = self.trash.join(self.run);
            fs::create_dir(new).expect("a directory");
            drop(lock);
        }
    }
}

#[test]
fn emptying_waits_for_another_run_and_deletes_its_blobs_too() {
    let (layout, _) = listed_again();
    let trash = layout.join(".ocisweep/trash");
    let other = OtherRun {
        lock: Mutex::new(Some(FileLock::of(
            fs::File::create(layout.join("index.json.lock")).expect("it can be made"),
        ))),
        trash: &trash,
        run: "29991231-235959-000000000",
    };
    let owner = TrashOwner::Layout(Layout::open(layout.path()).expect("a layout"));
    let wait = Mode::Execute(Duration::from_secs(60));
    let emptied = empty_trash(&owner, EmptyRequest::All, wait, None, &other);
    let emptied = emptied.expect("it is emptied");
    assert!(other.lock.lock().expect("no panic").is_none());
    let names: Vec<&str> = emptied.runs.iter().map(|(run, _)| &*run.name).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(names.last(), Some(&other.run));
    assert!(!trash.exists());
}
