//! Doing what a plan says.
//!
//! *Order*, and what a crash leaves:
//!
//! | step | a crash here leaves |
//! | --- | --- |
//! | the lock is held | an unlocked lock file at worst |
//! | what other programs wrote is brought to the disk (`settle`) | nothing done |
//! | the state is read again and compared | nothing done |
//! | new documents are written | an orphan: the old image is whole, and listed |
//! | the note of released blobs is replaced | a note of blobs that are live, which says nothing |
//! | docker save's `manifest.json` and `repositories` are replaced | old names in one, none in the other; every blob is there |
//! | `index.json` is replaced | the old one or the new one, never a mixture; blobs of removed images are orphans |
//! | the note of replaced image IDs is replaced | an old image ID that is only unknown |
//! | the note of hollow platforms is replaced | a note of platforms that are whole, which says nothing |
//! | the state is read again and compared | as before |
//! | blobs are deleted | fewer orphans; nothing that is referred to is touched |
//! | temporary files are deleted | fewer of them |
//! | the note of released blobs loses what is gone or live | a note that names more, which keeps garbage beside a writer |
//! | the state is read once more | everything done |
//! | a layout in which nothing is left is removed, if that was asked for | an empty layout, or less of it |
//!
//! Before each further batch of blobs the state is read again: an image that is listed in the middle of
//! a long sweep stops it.
//!
//! *Failure*: a file that cannot be deleted does not stop the others. A stop that is asked for takes
//! effect at the next file.

mod group;
mod recheck;
mod remove_layout;
pub(crate) mod sync;

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::execute::sync::settle;
use crate::fs::FileFacts;
use crate::fs::{FileSystem, FileTime, Fs, Removed};
use crate::fs::{Links, open_dir, open_file};
use crate::layout::blob_list::measure;
use crate::layout::change_detector::{Watch, is_still};
use crate::layout::holds::{Emptied, Holds};
use crate::layout::hollow::Hollow;
use crate::layout::lock::Locked;
use crate::layout::released::Released;
use crate::layout::replaced_ids::MovedIds;
use crate::layout::temp_files;
use crate::layout::{BlobId, IndexTime, Layout, MAX_SMALL_FILE_BYTES, State, Stray, Writes};
use crate::oci::digest::VictimName;
use crate::oci::{Digest, IndexDoc};
use crate::plan::{Plan, Retire, Tally, Totals, Victim, Victims};
use crate::progress::{Observer, Phase};

pub use group::GroupOutcome;
pub(crate) use group::execute_group;
use recheck::look_back;
pub use remove_layout::remove_directory;

/// How many files are looked at before they are deleted. Looking at a batch and then deleting it is
/// faster than doing both file by file: on a cold disk by a half, measured on ext4.
const BATCH: usize = 4096;

/// What became of a plan.
#[derive(Debug)]
pub struct Outcome {
    /// What was done.
    pub done: Totals,
    /// What became of each victim, in the order of the plan.
    pub fates: Vec<Fate>,
    /// What became of the orphans that had to make room on a full disk, in the order of the plan.
    pub spare_fates: Vec<Fate>,
    /// Files that could not be deleted, by path relative to the layout.
    pub failed: Vec<(String, io::Error)>,
    /// Temporary files that were deleted.
    pub temporary: Vec<Stray>,
    /// It was asked to stop before everything was done.
    pub interrupted: bool,
    /// What another program did to the layout meanwhile.
    pub meanwhile: Meanwhile,
    /// The layout itself is gone, but for its directory: [`remove_directory`] comes after the lock.
    pub retired: bool,
    /// What the plan writes is written; also where it writes nothing.
    pub written: bool,
    /// What failed when something had been changed already. Nothing was deleted after that.
    pub late: Option<Error>,
}

impl Outcome {
    /// Returns the outcome of a plan in which there is nothing to do.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            done: Totals::default(),
            fates: Vec::new(),
            spare_fates: Vec::new(),
            failed: Vec::new(),
            temporary: Vec::new(),
            interrupted: false,
            meanwhile: Meanwhile::default(),
            retired: false,
            written: true,
            late: None,
        }
    }

    /// Says whether everything that was planned is gone, and nobody came in between.
    fn is_complete(&self) -> bool {
        let is_gone = |fate: &Fate| matches!(fate, Fate::Deleted | Fate::Gone);
        self.fates.iter().all(is_gone)
            && self.failed.is_empty()
            && self.late.is_none()
            && !self.interrupted
            && self.meanwhile == Meanwhile::default()
    }

    /// Returns the blobs that were deleted, as they were when the plan was made.
    pub fn deleted<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = Victim> + use<'a> {
        let spare = plan.spare.iter().zip(&self.spare_fates);
        spare
            .chain(plan.sweep.iter().zip(&self.fates))
            .filter(|(_, fate)| **fate == Fate::Deleted)
            .map(|(victim, _)| victim)
    }
}

/// What became of a victim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Deleted.
    Deleted,
    /// Somebody else had deleted it.
    Gone,
    /// Another file stands under its name: a writer wrote it anew, so it stays.
    Rewritten,
    /// It could not be deleted.
    Failed,
    /// Not come to, because of a stop.
    NotTried,
}

/// What another program did to the layout while it was swept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meanwhile {
    /// `index.json`, the holds or `manifest.json` are other than before.
    pub changed: bool,
    /// Images that were listed meanwhile and refer to a blob that this run deleted.
    pub broken: Vec<String>,
}

/// Why nothing was done.
#[derive(Debug)]
pub enum Refused {
    /// The state is other than the plan rests on: plan again.
    Changed,
    /// It cannot be done.
    Error(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Does what the plan says. Nothing but the plan decides what goes.
///
/// # Errors
/// [`Refused::Changed`] when the layout is other than the plan rests on, [`Refused::Error`] when it
/// cannot be read or written. Nothing was deleted then, and no entry removed: an error that comes later is
/// [part of the outcome](Outcome::late).
pub fn execute(
    locked: &Locked<'_>,
    plan: &Plan,
    fs: &dyn Fs,
    observer: &dyn Observer,
) -> Result<Outcome, Refused> {
    let layout = locked.layout();
    let deletes = !(plan.sweep.is_empty() && plan.spare.is_empty() && plan.temporary.is_empty());
    if deletes || plan.retire == Retire::Yes {
        layout.refuse_to_sweep_alone()?;
        refuse_future(plan)?;
    }
    if deletes {
        // First, because it can take long, and whatever happens meanwhile shows in what is read next.
        settle(locked, fs)?;
    }
    // Whoever writes needs the text; for deleting it is enough that it is the same.
    let state = if plan.writes.is_empty() {
        is_same(locked, &plan.base)?;
        None
    } else {
        Some(unchanged(locked, &plan.base)?)
    };
    let mut outcome = Outcome::nothing();
    let mut spare_fates = Vec::new();
    if let Some(state) = &state
        && let Err(refused) = commit(layout, state, &plan.writes, fs)
    {
        if !is_full(&refused) || plan.spare.is_empty() {
            return late(layout, plan, refused, Outcome::nothing(), Vec::new());
        }
        // The disk is so full that the new index does not fit. What is garbage already makes room:
        // nothing that the old index lists is touched.
        let now = layout.read_state()?;
        let new = plan.writes.index.as_ref().map(IndexDoc::text);
        if now.index.text() != state.index.text() && Some(now.index.text()) != new {
            return Err(Refused::Changed);
        }
        let watch = Watch::new(locked, now.fingerprint());
        let still = || watch.is_still();
        outcome = sweep(layout, plan, &plan.spare, &still, fs, observer);
        spare_fates = std::mem::take(&mut outcome.fates);
        if let Err(refused) = commit(layout, state, &plan.writes, fs) {
            return late(layout, plan, refused, outcome, spare_fates);
        }
    }
    let base = state.as_ref().map_or_else(
        || plan.base.clone(),
        |state| state.fingerprint_after(&plan.writes),
    );
    if state.is_some() {
        let read = layout.read_state();
        let is_base = read
            .as_ref()
            .is_ok_and(|state| state.fingerprint() == &base);
        if !is_base {
            // A writer without a lock came in between, perhaps with the old entries (skopeo and oras write
            // back what they read at their start). What was released may be in use again: it stays.
            outcome.fates = vec![Fate::NotTried; plan.sweep.len()];
            outcome.spare_fates = spare_fates;
            match read {
                Ok(_) => {
                    let fates = [&*outcome.spare_fates, &*outcome.fates];
                    outcome.meanwhile = look_back(layout, &base, plan, &fates);
                    outcome.meanwhile.changed = true;
                }
                Err(error) => outcome.late = Some(error),
            }
            return Ok(outcome);
        }
    }
    // A crash from here on leaves fewer orphans.
    let made_room = outcome;
    let watch = Watch::new(locked, &base);
    let still = || watch.is_still();
    let mut outcome = sweep(layout, plan, &plan.sweep, &still, fs, observer);
    outcome.done = outcome.done.plus(made_room.done);
    outcome.failed.extend(made_room.failed);
    outcome.interrupted |= made_room.interrupted;
    remove_temporary(layout, plan, fs, observer, &mut outcome);
    trim_released(layout, &plan.relisted, fs);
    outcome.meanwhile = look_back(layout, &base, plan, &[&spare_fates, &outcome.fates]);
    outcome.spare_fates = spare_fates;
    if plan.retire == Retire::Yes && outcome.is_complete() && !observer.stop() {
        match remove_layout::retire(layout, &base, fs) {
            Ok(retired) => outcome.retired = retired,
            Err(failed) => outcome.failed.push(failed),
        }
    }
    Ok(outcome)
}

/// Ends after a commit that failed. Where something has been changed by then, that is no refusal: the outcome tells
/// what is done, and everything that the plan releases is kept.
///
/// # Errors
/// The refusal, where nothing has been changed.
fn late(
    layout: &Layout,
    plan: &Plan,
    refused: Refused,
    so_far: Outcome,
    spare_fates: Vec<Fate>,
) -> Result<Outcome, Refused> {
    let written = is_written(layout, &plan.writes);
    let made_room = spare_fates.contains(&Fate::Deleted);
    if !written && !made_room {
        return Err(refused);
    }
    let error = match refused {
        Refused::Error(error) => error,
        Refused::Changed => Error::Unstable {
            path: plan.layout.clone(),
            times: 1,
        },
    };
    Ok(Outcome {
        fates: vec![Fate::NotTried; plan.sweep.len()],
        spare_fates,
        written,
        late: Some(error),
        ..so_far
    })
}

/// Says whether the new `index.json` is there, though the call that wrote it reported an error: it may have failed to
/// flush the directory, or to write the holds after it.
fn is_written(layout: &Layout, writes: &Writes) -> bool {
    writes.index.as_ref().is_some_and(|new| {
        layout
            .read_state()
            .is_ok_and(|state| state.index.text() == new.text())
    })
}

/// Refuses a plan for a time that has not come. It shows what a policy would do then; what protects blobs and images
/// now has not ended.
///
/// # Errors
/// [`Error::AheadOfClock`].
fn refuse_future(plan: &Plan) -> Result<()> {
    if plan.latest_now <= crate::clock::now().as_nanosecond() {
        return Ok(());
    }
    Err(Error::AheadOfClock {
        path: plan.layout.clone(),
        now: Timestamp::from_nanosecond(plan.latest_now).unwrap_or(Timestamp::MAX),
    })
}

/// Reads the state under the lock: whoever respects the lock cannot change it any more, and whoever
/// does not is met as late as can be.
///
/// # Errors
/// [`Refused::Changed`] when it is other than `base`, or when others do not meet the lock.
fn unchanged(locked: &Locked<'_>, base: &Digest) -> Result<State, Refused> {
    let state = locked.layout().read_state()?;
    if state.fingerprint() != base || !locked.is_in_force()? {
        return Err(Refused::Changed);
    }
    Ok(state)
}

/// The same, for whoever does not write: parsing 10,000 entries once more costs more than deleting a
/// thousand files.
fn is_same(locked: &Locked<'_>, base: &Digest) -> Result<(), Refused> {
    if is_still(locked.layout(), base) && locked.is_in_force()? {
        Ok(())
    } else {
        Err(Refused::Changed)
    }
}

/// Writes what the plan says, in the order of [`Writes`], to a layout whose index is that of `state`.
fn commit(layout: &Layout, state: &State, writes: &Writes, fs: &dyn Fs) -> Result<(), Refused> {
    probe(layout, writes, fs)?;
    let path = |name: &str| layout.path().join(name);
    for blob in &writes.blobs {
        // A crash here leaves an orphan: nothing refers to the new document yet.
        let name = blob.digest.blob_name();
        let file = path("blobs").join(name.directory()).join(name.file());
        let dir = blob
            .digest
            .algorithm()
            .and_then(|algorithm| layout.blob_dirs().algorithm(algorithm))
            .ok_or_else(|| Error::write(&file)(io::ErrorKind::NotFound.into()))?;
        fs.replace(dir.as_fd(), name.file(), &blob.bytes, FileTime::New)
            .map_err(Error::write(&file))?;
    }
    if !writes.released.is_empty() {
        // Before anything is untagged: without it a second sweep deletes what a writer may list again. A crash here
        // leaves a note of blobs that are live.
        note_released(layout, &writes.released, fs)?;
    }
    for (name, text) in [
        ("manifest.json", &writes.manifest_json),
        ("repositories", &writes.repositories),
    ] {
        if let Some(text) = text {
            // A crash here leaves a name in `index.json` that docker save's list lacks; all blobs of
            // both are there.
            let old = state.text_of(name);
            swap(layout, name, old, text.as_bytes(), FileTime::New, fs)?;
        }
    }
    if let Some(index) = &writes.index {
        let time = match writes.index_time {
            IndexTime::AsBefore => FileTime::AsBefore,
            IndexTime::At(time) => FileTime::At(time),
        };
        // A crash before this leaves the old index with all of its blobs, a crash after it the new
        // one, and blobs of removed images as orphans.
        let old = state.index.text().as_bytes();
        let new = index.text().as_bytes();
        swap(layout, "index.json", Some(old), new, time, fs)?;
        if writes.emptied {
            // Only a convenience for the next `gc`: without the note it asks for `--allow-empty`.
            drop(write_note(layout, Emptied::FILE, &Emptied::note(index), fs));
        }
    }
    if !writes.replaced_ids.is_empty() {
        // As the next note, and only a convenience as well: without it an old image ID is only unknown.
        let mut moved = MovedIds::read(layout);
        moved.extend(&writes.replaced_ids);
        let text = moved.to_json();
        drop(write_note(layout, MovedIds::FILE, &text, fs));
    }
    if !writes.hollow.is_empty() {
        // Read under the lock: another run may have added to it. Only a convenience for `check`, which
        // reports damage without it.
        let mut hollow = Hollow::read(layout);
        hollow.extend(&writes.hollow);
        let text = hollow.to_json();
        drop(write_note(layout, Hollow::FILE, &text, fs));
    }
    Ok(())
}

/// Asks whether everything that is to be replaced can keep its attributes, before anything is changed.
fn probe(layout: &Layout, writes: &Writes, fs: &dyn Fs) -> Result<()> {
    let names = [
        ("index.json", writes.index.is_some()),
        ("manifest.json", writes.manifest_json.is_some()),
        ("repositories", writes.repositories.is_some()),
    ];
    for (name, _) in names.into_iter().filter(|(_, is_written)| *is_written) {
        let place = layout.place_of(name)?;
        fs.can_replace(place.dir.as_fd(), &place.name)
            .map_err(Error::write(layout.path().join(name)))?;
    }
    Ok(())
}

fn probe_holds(layout: &Layout, fs: &dyn Fs) -> Result<()> {
    let (directory, name) = own_place(Holds::FILE);
    let Ok(dir) = open_dir(layout.dir(), directory, Links::Refuse) else {
        return Ok(());
    };
    fs.can_replace(dir.as_fd(), name)
        .map_err(Error::write(layout.path().join(Holds::FILE)))
}

/// Replaces a file of the layout while it is what was read. What the file should become it may be already: on a full
/// disk everything is written twice.
///
/// # Errors
/// [`Refused::Changed`]: a writer without a lock was faster. What is written so far is no harm, nothing was released yet.
fn swap(
    layout: &Layout,
    name: &str,
    old: Option<&[u8]>,
    new: &[u8],
    time: FileTime,
    fs: &dyn Fs,
) -> Result<(), Refused> {
    let path = layout.path().join(name);
    let place = layout.place_of(name)?;
    let is_replaced = fs
        .replace_expected(place.dir.as_fd(), &place.name, old, new, time)
        .map_err(Error::write(&path))?;
    if is_replaced || is_there(place.dir.as_fd(), &place.name, new) {
        Ok(())
    } else {
        Err(Refused::Changed)
    }
}

/// Does the same with the holds.
fn swap_holds(layout: &Layout, state: &State, holds: &Holds, fs: &dyn Fs) -> Result<(), Refused> {
    let path = layout.path().join(Holds::FILE);
    let (dir, name) = open_own(layout, Holds::FILE, fs)?;
    let (old, new) = (state.text_of(Holds::FILE), holds.to_json());
    let is_replaced = fs
        .replace_expected(dir.as_fd(), name, old, new.as_bytes(), FileTime::New)
        .map_err(Error::write(path))?;
    if is_replaced || is_there(dir.as_fd(), name, new.as_bytes()) {
        Ok(())
    } else {
        Err(Refused::Changed)
    }
}

/// Adds blobs to the note of those that were released beside a writer. Read under the lock: another run may have added to it.
///
/// # Errors
/// [`Refused::Changed`] when another program has replaced it, [`Refused::Error`] when it cannot be read or written.
fn note_released(layout: &Layout, blobs: &[Digest], fs: &dyn Fs) -> Result<(), Refused> {
    let path = layout.path().join(Released::FILE);
    let (mut released, old) = Released::read(layout)?;
    if !released.extend(blobs) {
        return Ok(());
    }
    let new = released.to_json();
    if new.len() as u64 > MAX_SMALL_FILE_BYTES {
        let why = format!(
            "it would be larger than {MAX_SMALL_FILE_BYTES} bytes; remove these images when no writer is at work"
        );
        return Err(Error::Edit { path, why }.into());
    }
    let (dir, name) = open_own(layout, Released::FILE, fs)?;
    let is_replaced = fs
        .replace_expected(
            dir.as_fd(),
            name,
            old.as_deref(),
            new.as_bytes(),
            FileTime::New,
        )
        .map_err(Error::write(path))?;
    if is_replaced || is_there(dir.as_fd(), name, new.as_bytes()) {
        Ok(())
    } else {
        Err(Refused::Changed)
    }
}

/// Drops from the note of released blobs what is gone or referenced again, and removes a note that names nothing more.
/// Only a convenience: what the note names too much is kept beside writers, and is deleted later.
fn trim_released(layout: &Layout, relisted: &[Digest], fs: &dyn Fs) {
    let Ok((mut released, Some(old))) = Released::read(layout) else {
        return;
    };
    let is_wanted = |blob: &Digest| {
        relisted.binary_search(blob).is_err() && !matches!(layout.stat_blob(blob), Ok(None))
    };
    if !released.retain(is_wanted) && !released.is_empty() {
        return;
    }
    let (directory, name) = own_place(Released::FILE);
    let Ok(dir) = open_dir(layout.dir(), directory, Links::Refuse) else {
        return;
    };
    if !released.is_empty() {
        let new = released.to_json();
        let old = Some(&*old);
        drop(fs.replace_expected(dir.as_fd(), name, old, new.as_bytes(), FileTime::New));
        return;
    }
    drop(fs.remove_expected(dir.as_fd(), name, &old));
    // Other files of this program may lie in it.
    drop(fs.remove_temporary(layout.dir().as_fd(), directory, true));
}

/// Says whether a file has these bytes.
fn is_there(dir: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> bool {
    let Ok(file) = open_file(dir, name, Links::Refuse) else {
        return false;
    };
    let mut found = Vec::new();
    let read = File::from(file)
        .take(bytes.len() as u64 + 1)
        .read_to_end(&mut found);
    read.is_ok() && found == bytes
}

/// Splits the path of a file below `.ocisweep/`.
fn own_place(file: &str) -> (&str, &str) {
    file.split_once('/').unwrap_or((".", file))
}

/// Opens the directory of a file below `.ocisweep/`, which is made if need be.
fn open_own<'a>(layout: &Layout, file: &'a str, fs: &dyn Fs) -> Result<(OwnedFd, &'a str)> {
    let (directory, name) = own_place(file);
    fs.make_dir(layout.dir().as_fd(), directory)
        .map_err(Error::write(layout.path().join(directory)))?;
    let dir = open_dir(layout.dir(), directory, Links::Refuse)
        .map_err(|error| Error::write(layout.path().join(file))(error.into()))?;
    Ok((dir, name))
}

/// Writes a note below `.ocisweep/`: that `index.json` lists nothing on purpose, or which platforms are hollow.
fn write_note(layout: &Layout, file: &str, text: &str, fs: &dyn Fs) -> Result<()> {
    let (dir, name) = open_own(layout, file, fs)?;
    fs.replace(dir.as_fd(), name, text.as_bytes(), FileTime::New)
        .map_err(Error::write(layout.path().join(file)))
}

/// Writes the holds of a locked layout.
///
/// # Errors
/// [`Refused::Changed`] when the layout is other than `base`, [`Refused::Error`] when the file cannot
/// be written. The old holds stand then.
pub fn write_holds(
    locked: &Locked<'_>,
    base: &Digest,
    holds: &Holds,
    fs: &dyn Fs,
) -> Result<(), Refused> {
    let state = unchanged(locked, base)?;
    probe_holds(locked.layout(), fs)?;
    swap_holds(locked.layout(), &state, holds, fs)
}

fn is_full(refused: &Refused) -> bool {
    match refused {
        Refused::Error(Error::Write { source, .. }) => matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ),
        Refused::Error(_) | Refused::Changed => false,
    }
}

/// Deletes victims, as long as everything still is what the plan rests on.
fn sweep(
    layout: &Layout,
    plan: &Plan,
    victims: &Victims,
    still: &dyn Fn() -> bool,
    fs: &dyn Fs,
    observer: &dyn Observer,
) -> Outcome {
    let mut outcome = Outcome::nothing();
    outcome.fates.reserve_exact(victims.len());
    let mut tally = Tally::default();
    let threads = layout
        .blob_dirs()
        .algorithms
        .first()
        .map_or(1, |(_, dir)| FileSystem::of(dir).unlink_threads());
    observer.begin(Phase::Sweeping, Some(victims.len() as u64));
    let stopped = AtomicBool::new(false);
    let context = Context {
        layout,
        plan,
        fs,
        observer,
        stopped: &stopped,
    };
    let pool = thread_pool(threads, victims.len());
    loop {
        let batch = victims.batch(outcome.fates.len(), BATCH);
        if batch.is_empty() {
            break;
        }
        // Whoever calls has just read it for the first batch.
        if !outcome.fates.is_empty() && !still() {
            let rest = victims.len() - outcome.fates.len();
            outcome.fates.extend(vec![Fate::NotTried; rest]);
            outcome.meanwhile.changed = true;
            break;
        }
        let swept = match &pool {
            Some(pool) => pool.install(|| {
                let looked: Vec<_> = batch
                    .par_iter()
                    .with_min_len(64)
                    .map(|victim| context.look(victim))
                    .collect();
                batch
                    .par_iter()
                    .zip(looked)
                    .with_min_len(64)
                    .map(|(victim, looked)| context.remove(victim, looked))
                    .collect::<Vec<_>>()
            }),
            None => {
                let looked: Vec<_> = batch.iter().map(|victim| context.look(victim)).collect();
                batch
                    .iter()
                    .zip(looked)
                    .map(|(victim, looked)| context.remove(victim, looked))
                    .collect()
            }
        };
        for (victim, swept) in batch.iter().zip(swept) {
            let fate = match swept {
                Swept::Deleted(file) => {
                    tally.blob(&file);
                    Fate::Deleted
                }
                Swept::Gone => Fate::Gone,
                Swept::Rewritten => Fate::Rewritten,
                Swept::NotTried => Fate::NotTried,
                Swept::Failed(error) => {
                    outcome.failed.push((path_of(plan, victim.id), error));
                    Fate::Failed
                }
            };
            outcome.fates.push(fate);
        }
    }
    outcome.interrupted = stopped.load(Ordering::Relaxed);
    outcome.done = tally.totals();
    outcome
}

/// Returns the threads that delete; `None`: one is enough, or is all there is.
fn thread_pool(threads: usize, victims: usize) -> Option<rayon::ThreadPool> {
    (threads > 1 && victims > 64)
        .then(|| rayon::ThreadPoolBuilder::new().num_threads(threads).build())
        .and_then(Result::ok)
}

fn path_of(plan: &Plan, id: BlobId) -> String {
    plan.blobs.digest(id).map_or_else(String::new, |digest| {
        let name = digest.blob_name();
        format!("blobs/{}/{}", name.directory(), name.file())
    })
}

/// What happened to one victim.
enum Swept {
    Deleted(FileFacts),
    Gone,
    Rewritten,
    Failed(io::Error),
    NotTried,
}

struct Context<'a> {
    layout: &'a Layout,
    plan: &'a Plan,
    fs: &'a dyn Fs,
    observer: &'a dyn Observer,
    stopped: &'a AtomicBool,
}

impl Context<'_> {
    /// Looks at a victim again: it is deleted only if it still is the file that was decided upon.
    fn look(&self, victim: &Victim) -> Result<FileFacts, Swept> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Swept::NotTried);
        }
        let (dir, name) = self.place(victim).ok_or(Swept::Gone)?;
        match self.fs.look(dir, &name) {
            Ok(Some(now)) => {
                let was = victim.file;
                // Names come and go by hard links elsewhere; they do not make it another file.
                let is_same = FileFacts {
                    links: was.links,
                    ..now
                } == was;
                is_same.then_some(now).ok_or(Swept::Rewritten)
            }
            Ok(None) => Err(Swept::Gone),
            Err(error) => Err(Swept::Failed(error)),
        }
    }

    fn remove(&self, victim: &Victim, looked: Result<FileFacts, Swept>) -> Swept {
        let file = match looked {
            Ok(file) => file,
            Err(swept) => return swept,
        };
        if self.observer.stop() {
            self.stopped.store(true, Ordering::Relaxed);
            return Swept::NotTried;
        }
        let Some((dir, name)) = self.place(victim) else {
            return Swept::Gone;
        };
        match self.fs.remove(dir, &name) {
            Ok(Removed::Yes) => {
                self.observer.advance(1, file.len);
                Swept::Deleted(file)
            }
            Ok(Removed::Gone) => Swept::Gone,
            Err(error) => Swept::Failed(error),
        }
    }

    fn place(&self, victim: &Victim) -> Option<(BorrowedFd<'_>, VictimName)> {
        self.layout
            .place_of_blob(self.plan.blobs.digest(victim.id)?)
    }
}

/// Deletes left-over temporary files. A directory goes only if it holds nothing but what its writer
/// puts there, and only when it is still unlocked.
fn remove_temporary(
    layout: &Layout,
    plan: &Plan,
    fs: &dyn Fs,
    observer: &dyn Observer,
    outcome: &mut Outcome,
) {
    let mut tally = Tally::default();
    for stray in &plan.temporary {
        if observer.stop() {
            outcome.interrupted = true;
            break;
        }
        match remove_stray(layout, stray, fs) {
            Ok(Removed::Yes) => {
                tally.temporary(stray.len);
                outcome.temporary.push(stray.clone());
            }
            Ok(Removed::Gone) => {}
            Err(error) => outcome
                .failed
                .push((stray.path.to_string_lossy().into_owned(), error)),
        }
    }
    outcome.done = outcome.done.plus(tally.totals());
}

fn remove_stray(layout: &Layout, stray: &Stray, fs: &dyn Fs) -> io::Result<Removed> {
    if stray.is_lock() {
        // It is the one that this run holds, and goes with it.
        return Ok(Removed::Yes);
    }
    let Some(place) = layout.open_stray(stray)? else {
        return Ok(Removed::Gone);
    };
    let now = measure(&place.dir, place.name.as_bytes(), stray.is_dir, &stray.path)?;
    if now != (stray.modified, stray.len) {
        // Its writer came back: BuildKit goes on where an export of it was broken off.
        return Ok(Removed::Gone);
    }
    if stray.is_dir {
        let Some(inner) = &place.inner else {
            return Ok(Removed::Gone);
        };
        for file in layout.files_in(stray, inner)? {
            if !temp_files::inside(&place.name, &file) {
                return Err(io::Error::other(format!(
                    "it holds `{file}`, which its writer does not make"
                )));
            }
            fs.remove_temporary(inner.as_fd(), &file, false)?;
        }
    }
    fs.remove_temporary(place.dir.as_fd(), &place.name, stray.is_dir)
}
