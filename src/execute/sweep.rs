//! Deletes blobs batch by batch, while the layout is unchanged.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::fs::{FileStat, FileSystem, Fs, Removed, Renamed};
use crate::layout::Layout;
use crate::oci::digest::DeletableName;
use crate::plan::{Deletion, Deletions, Plan, Tally};
use crate::progress::{Phase, Progress, Running, Total};
use crate::threads::Deleting;

use super::trash::{OpenRun, Trashed};
use super::{DeleteResult, Outcome};

/// The number of files that are inspected before they are deleted. Inspecting a batch and then deleting it is faster than
/// doing both file by file: on a cold disk by half, measured on ext4.
const BATCH: usize = 4096;

/// Deletes blobs, or moves them into the trash, while the layout is unchanged. The caller has just checked this for the
/// first batch.
pub(super) fn sweep(
    layout: &Layout,
    plan: &Plan,
    deletions: &Deletions,
    is_unchanged: &dyn Fn() -> bool,
    (fs, trash): (&dyn Fs, Option<&OpenRun>),
    progress: &dyn Progress,
) -> Outcome {
    let mut outcome = Outcome::nothing();
    outcome.results.reserve_exact(deletions.len());
    let mut tally = Tally::default();
    let mut trashed = Trashed::default();
    let threads = layout
        .blob_dirs()
        .algorithms
        .first()
        .map_or(1, |(_, dir)| FileSystem::of(dir).unlink_threads());
    let _sweeping = Running::begin(progress, Phase::Sweeping, Total::of(deletions.len()));
    let stopped = AtomicBool::new(false);
    let context = SweepContext {
        layout,
        plan,
        fs,
        progress,
        stopped: &stopped,
        trash,
    };
    let mut deleting = Deleting::new(threads, deletions.len());
    loop {
        let batch = deletions.batch(outcome.results.len(), BATCH);
        if batch.is_empty() {
            break;
        }
        if !outcome.results.is_empty() && !is_unchanged() {
            let rest = deletions.len() - outcome.results.len();
            outcome.results.extend(vec![DeleteResult::Skipped; rest]);
            outcome.concurrent.changed = true;
            break;
        }
        let inspected = deleting.each(batch, |blob| (blob, context.inspect(blob)));
        let swept = deleting.each(inspected, |(blob, inspected)| {
            (blob, context.remove(blob, inspected))
        });
        for (blob, swept) in swept {
            let result = match swept {
                Swept::Deleted(file) => {
                    tally.blob(&file);
                    DeleteResult::Deleted
                }
                Swept::Trashed(file) => {
                    trashed.blobs += 1;
                    trashed.bytes = trashed.bytes.saturating_add(file.len);
                    DeleteResult::Trashed
                }
                Swept::Gone => DeleteResult::AlreadyGone,
                Swept::Rewritten => DeleteResult::Replaced,
                Swept::NotTried => DeleteResult::Skipped,
                Swept::Failed(error) => {
                    outcome.failed.push((context.path_of(blob), error));
                    DeleteResult::Failed
                }
            };
            outcome.results.push(result);
        }
    }
    outcome.interrupted = stopped.load(Ordering::Relaxed);
    outcome.done = tally.totals();
    outcome.trashed = trash.map(|run| Trashed {
        run: run.name.clone(),
        ..trashed
    });
    outcome
}

/// The result for one blob.
enum Swept {
    Deleted(FileStat),
    Trashed(FileStat),
    Gone,
    Rewritten,
    Failed(io::Error),
    NotTried,
}

struct SweepContext<'a> {
    layout: &'a Layout,
    plan: &'a Plan,
    fs: &'a dyn Fs,
    progress: &'a dyn Progress,
    stopped: &'a AtomicBool,
    trash: Option<&'a OpenRun>,
}

impl SweepContext<'_> {
    /// Inspects a blob again: it is deleted only if it is still the file of the plan.
    fn inspect(&self, blob: Deletion) -> Result<FileStat, Swept> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Swept::NotTried);
        }
        let (dir, name) = self.place(blob).ok_or(Swept::Gone)?;
        match self.fs.stat(dir, &name) {
            Ok(Some(now)) => {
                // Hard links elsewhere may change the number of names of the same file.
                let links = blob.file.links;
                let is_same = FileStat { links, ..now } == blob.file;
                is_same.then_some(now).ok_or(Swept::Rewritten)
            }
            Ok(None) => Err(Swept::Gone),
            Err(error) => Err(Swept::Failed(error)),
        }
    }

    fn remove(&self, blob: Deletion, inspected: Result<FileStat, Swept>) -> Swept {
        let file = match inspected {
            Ok(file) => file,
            Err(swept) => return swept,
        };
        if self.progress.is_cancelled() {
            self.stopped.store(true, Ordering::Relaxed);
            return Swept::NotTried;
        }
        let Some((dir, name)) = self.place(blob) else {
            return Swept::Gone;
        };
        if let Some(run) = self.trash {
            return self.move_to_trash(run, dir, &name, file);
        }
        match self.fs.remove(dir, &name) {
            Ok(Removed::Yes) => {
                self.progress.advance(1, file.len);
                Swept::Deleted(file)
            }
            Ok(Removed::Gone) => Swept::Gone,
            Err(error) => Swept::Failed(error),
        }
    }

    fn move_to_trash(
        &self,
        run: &OpenRun,
        dir: BorrowedFd<'_>,
        name: &DeletableName,
        file: FileStat,
    ) -> Swept {
        let Some(to) = run.place(name.algorithm()) else {
            return Swept::Failed(io::ErrorKind::NotFound.into());
        };
        match self.fs.move_blob(dir, to, name) {
            Ok(Renamed::Yes) => {
                self.progress.advance(1, file.len);
                Swept::Trashed(file)
            }
            Ok(Renamed::Gone) => Swept::Gone,
            Ok(Renamed::Taken) => Swept::Failed(io::ErrorKind::AlreadyExists.into()),
            Err(error) => Swept::Failed(error),
        }
    }

    /// Returns the path of a blob relative to the plan's place: a layout, or a shared store.
    fn path_of(&self, blob: Deletion) -> String {
        let digest = self.plan.blobs.digest(blob.id);
        let path = digest.map(|digest| match self.layout.is_in_store() {
            true => digest.blob_name().path(),
            false => digest.path_in_layout(),
        });
        path.unwrap_or_default()
    }

    fn place(&self, blob: Deletion) -> Option<(BorrowedFd<'_>, DeletableName)> {
        self.layout.place_of_blob(self.plan.blobs.digest(blob.id)?)
    }
}
