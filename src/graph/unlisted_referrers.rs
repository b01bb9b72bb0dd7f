//! Scans orphans: cosign and others write referrers that no entry of `index.json` lists.
//!
//! An unreachable manifest is live if its `subject` is, with everything below it. The only exception is BuildKit's attestation
//! manifest, which its index always lists: an unlisted one is stale. Only orphans that are small and begin like JSON are read.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rayon::prelude::*;
use rustix::io::Errno;

use super::content::{Referrer, begins_like_json, fill, is_space, referrer};
use super::read::Step;
use super::{BlobSet, FileTable, Graph, ReadState};
use crate::error::{Error, Result};
use crate::fs::{FileStat, Links, open_file, stat_at, stat_of};
use crate::layout::released::Noted;
use crate::layout::{BlobId, Layout};
use crate::oci::signed::MAX_MANIFEST_BYTES;
use crate::oci::{Digest, Document};
use crate::progress::{Phase, Progress, Running, Total};
use crate::threads::{first_batch, read_each_with, start};

/// The maximum number of orphans that are scanned before the results are recorded: bounds the memory.
const BATCH: usize = 8192;

/// Larger orphans are scanned in smaller batches, so that a batch of either kind has at most 64 MiB of documents.
const SMALL_BYTES: u64 = 8 << 10;
const LARGE_BATCH: usize = 16;

/// The result of scanning one orphan.
enum Scanned {
    /// It no longer exists, or is not a file.
    Gone,
    /// It cannot be read.
    Unreadable(io::Error),
    Plain(FileStat),
    /// It does not begin like JSON.
    Leaf(FileStat),
    /// It has a `subject`.
    Referrer(FileStat, Box<Referrer>),
    /// It begins like JSON and must be scanned in a smaller batch.
    Large,
}

impl Graph {
    /// Scans every unreached blob, follows the referrers among them, and stores the others as orphans.
    pub(super) fn find_unlisted_referrers(
        &mut self,
        layout: &Layout,
        progress: &dyn Progress,
    ) -> Result<()> {
        let reached = self.reached.clone();
        let mut unreached = self.blobs.ids().filter(|id| !reached.contains(*id));
        let count = unreached.clone().count();
        let _scanning = Running::begin(progress, Phase::ScanningOrphans, Total::of(count));
        let mut orphans = FileTable::with_capacity(count);
        let mut most = first_batch(BATCH);
        loop {
            let batch: Vec<BlobId> = unreached.by_ref().take(most).collect();
            most = BATCH;
            if batch.is_empty() {
                break;
            }
            if progress.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let mut scanned = read_each_with(&batch, Vec::new, |buffer, &id| {
                self.scan_orphan(layout, id, buffer, SMALL_BYTES)
            });
            let is_large = |at: &usize| matches!(scanned.get(*at), Some(Scanned::Large));
            let large: Vec<usize> = (0..batch.len()).filter(is_large).collect();
            for large in large.chunks(LARGE_BATCH) {
                start();
                let found: Vec<_> = large
                    .par_iter()
                    .filter_map(|at| batch.get(*at))
                    .map(|&id| self.scan_orphan(layout, id, &mut Vec::new(), MAX_MANIFEST_BYTES))
                    .collect();
                for (at, found) in large.iter().zip(found) {
                    if let Some(place) = scanned.get_mut(*at) {
                        *place = found;
                    }
                }
            }
            progress.advance(batch.len() as u64, 0);
            for (id, scanned) in batch.into_iter().zip(scanned) {
                let file = match scanned {
                    // No orphan is too large in the second round.
                    Scanned::Gone | Scanned::Large => continue,
                    Scanned::Unreadable(error) => {
                        self.unreadable.push((id, error.to_string()));
                        None
                    }
                    Scanned::Plain(file) => Some(file),
                    Scanned::Leaf(file) => {
                        self.leaves.insert(id);
                        Some(file)
                    }
                    Scanned::Referrer(file, referrer) => {
                        if !referrer.matches_digest {
                            self.unverified.insert(id);
                        }
                        self.add_referrer(id, file, referrer.document);
                        Some(file)
                    }
                };
                orphans.push(id, file);
            }
        }
        // A reached subject keeps its referrers, those keep their children, and a child may be a further subject: `follow`
        // continues until no blob is new.
        let found: Vec<_> = self
            .referrers
            .iter()
            .filter(|(subject, _)| self.reached.contains(**subject))
            .flat_map(|(_, referrers)| referrers)
            .map(|&id| Step::referrer(id))
            .collect();
        self.follow(layout, found, progress)?;
        orphans.remove_all(&self.reached);
        self.orphans = Arc::new(orphans);
        Ok(())
    }

    fn add_referrer(&mut self, id: BlobId, file: FileStat, document: Document) {
        let subjects: Vec<_> = document.subjects().cloned().collect();
        let node = self.node_of(document, file.len, |_| {});
        let state = self.push_node(node);
        self.states.insert(id, state);
        for subject in subjects {
            let subject = self.intern(subject);
            self.referrers.entry(subject).or_default().push(id);
        }
    }

    fn scan_orphan(&self, layout: &Layout, id: BlobId, buffer: &mut Vec<u8>, most: u64) -> Scanned {
        let digest = self.blobs.digest(id);
        match digest.and_then(|digest| layout.place_of_blob(digest)) {
            None => Scanned::Gone,
            Some((dir, name)) => self
                .scan_file(id, dir, name.file(), buffer, most)
                .unwrap_or_else(failed),
        }
    }

    fn scan_file(
        &self,
        id: BlobId,
        dir: BorrowedFd<'_>,
        name: &str,
        buffer: &mut Vec<u8>,
        most: u64,
    ) -> Result<Scanned, Errno> {
        // The file of a link is the link: its target does not belong to the layout, but may be a referrer.
        let link = if self.blobs.is_link(id) {
            FileStat::of(&stat_at(dir, name, Links::Refuse)?)
        } else {
            None
        };
        let follow = if link.is_some() {
            Links::Follow
        } else {
            Links::Refuse
        };
        let file = match open_file(dir, name, follow) {
            Ok(file) => file,
            // A link without a target, or to itself, has no references.
            Err(Errno::NOENT | Errno::LOOP) => {
                return Ok(link.map_or(Scanned::Gone, Scanned::Plain));
            }
            Err(error) => return Err(error),
        };
        let Some(target) = FileStat::of(&stat_of(&file)?) else {
            return Ok(link.map_or(Scanned::Gone, Scanned::Plain));
        };
        let stat = link.unwrap_or(target);
        if target.len > MAX_MANIFEST_BYTES {
            return Ok(Scanned::Plain(stat));
        }
        let is_large = target.len > most;
        let len = usize::try_from(target.len).unwrap_or(usize::MAX);
        let len = if is_large { len.min(HEAD) } else { len };
        Ok(match read_json(File::from(file), len, buffer) {
            // Spaces alone decide nothing.
            Ok(false) if buffer.iter().all(|byte| is_space(*byte)) => Scanned::Plain(stat),
            Ok(false) => Scanned::Leaf(stat),
            Ok(true) if is_large => Scanned::Large,
            Ok(true) => match referrer(self.digest(id), buffer) {
                Some(referrer) => Scanned::Referrer(stat, referrer),
                None => Scanned::Plain(stat),
            },
            Err(error) => Scanned::Unreadable(error),
        })
    }
}

fn failed(error: Errno) -> Scanned {
    match error {
        // Removed by another process, or replaced by something that is not a file.
        Errno::NOENT | Errno::LOOP => Scanned::Gone,
        _ => Scanned::Unreadable(error.into()),
    }
}

/// The bytes of a file that decide whether the rest is read.
const HEAD: usize = 4096;

/// Reads a complete file if it begins like JSON, and returns whether it does. The file may end before `len`, and is not read
/// beyond it.
fn read_json(mut file: impl Read, len: usize, buffer: &mut Vec<u8>) -> io::Result<bool> {
    buffer.clear();
    let head = len.min(HEAD);
    fill(&mut file, head, head, buffer)?;
    let is_json = begins_like_json(buffer);
    if is_json {
        fill(&mut file, len, len, buffer)?;
    }
    Ok(is_json)
}

impl Graph {
    /// Protects the blobs that a writer may be about to list: an orphan newer than the grace period is kept, with everything that it
    /// references, because the writer relies on it.
    ///
    /// The time of `index.json` is not considered. The first of two concurrent writers to list its image makes the blobs of
    /// the other one older than the index.
    ///
    /// While a writer is visible, blobs that were released while a writer was at work are kept too.
    ///
    /// A rule replaces an earlier one. Without a rule, no sweep can be planned.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn protect_in_flight(
        &mut self,
        layout: &Layout,
        rule: GracePolicy,
        progress: &dyn Progress,
    ) -> Result<()> {
        self.protect_among(layout, rule, None, Noted::read([layout]), progress)
    }

    /// Like [`Self::protect_in_flight`], with the blobs that are orphans in every layout of a shared store.
    pub(crate) fn protect_among(
        &mut self,
        layout: &Layout,
        rule: GracePolicy,
        joint_orphans: Option<&BlobSet>,
        noted: Noted,
        progress: &dyn Progress,
    ) -> Result<()> {
        self.in_flight = BlobSet::default();
        let fresh: Vec<(BlobId, i64)> = self
            .fresh_orphans(rule)
            .filter(|(id, _)| joint_orphans.is_none_or(|orphans| orphans.contains(*id)))
            .collect();
        self.writer = self.sign_of_writer(rule, &fresh);
        let mut released: Vec<BlobId> = Vec::new();
        if self.writer.is_some() {
            let ids = noted.released.iter().filter_map(|digest| self.id(digest));
            released.extend(ids.filter(|id| !self.is_rooted(*id) && self.is_present(*id)));
        }
        let steps = fresh.iter().map(|(id, _)| *id);
        let steps = steps.chain(released.iter().copied());
        let steps = steps.map(Step::unknown).collect();
        // Blobs that the scan found not to be documents reference nothing, and are not read again.
        for (id, _) in fresh.iter().filter(|(id, _)| self.leaves.contains(*id)) {
            self.states.entry(*id).or_insert(ReadState::Leaf);
        }
        self.follow(layout, steps, progress)?;
        self.sort_referrers();
        self.in_flight_reach = self.reach(fresh.iter().map(|(id, _)| *id));
        for (id, _) in &fresh {
            self.in_flight.insert(*id);
        }
        self.released = self.reach(released);
        self.noted = noted;
        self.flight = Some(rule);
        Ok(())
    }

    /// Returns the orphans that are newer than the grace period, with their times.
    pub(crate) fn fresh_orphans(&self, rule: GracePolicy) -> impl Iterator<Item = (BlobId, i64)> {
        self.orphans.iter().filter_map(move |(id, file)| {
            let modified = file?.modified;
            rule.is_fresh(modified.into()).then_some((id, modified))
        })
    }

    /// Returns the sign of a writer at work: its temporary file, or a blob that it has not listed yet.
    fn sign_of_writer(&self, rule: GracePolicy, fresh: &[(BlobId, i64)]) -> Option<Writer> {
        let mut files = self.blobs.temporary.iter().filter(|file| {
            // A lock file is not a sign: readers create one too. This program holds the lock while it writes, and never lists
            // a removed blob again.
            let name = file.path.file_name().and_then(|name| name.to_str());
            rule.is_fresh(file.modified) && !file.is_lock() && !name.is_some_and(crate::fs::is_own)
        });
        let newest = || fresh.iter().max_by_key(|(_, modified)| *modified);
        match files.next() {
            Some(file) => Some(Writer::File(file.path.clone())),
            None => newest().map(|(id, modified)| Writer::Blob {
                digest: self.digest(*id).clone(),
                modified: *modified,
            }),
        }
    }

    /// Returns the rule that protects orphans; `None` if they are not protected, so that no sweep can be planned.
    #[must_use]
    pub const fn protection(&self) -> Option<GracePolicy> {
        self.flight
    }

    /// Returns the sign of a writer at work that remains after these blobs are listed.
    pub(crate) fn writer_besides(&self, listed: &BTreeSet<BlobId>) -> Option<Writer> {
        let writer = self.writer.as_ref()?;
        if matches!(writer, Writer::File(_)) || listed.is_empty() {
            return Some(writer.clone());
        }
        let others = self
            .orphans
            .iter()
            .filter(|(id, _)| self.in_flight.contains(*id) && !listed.contains(id));
        let modified = |file: Option<FileStat>| file.map_or(i64::MIN, |file| file.modified);
        let (id, file) = others.max_by_key(|(_, file)| modified(*file))?;
        Some(Writer::Blob {
            digest: self.digest(id).clone(),
            modified: modified(file),
        })
    }

    /// Returns the sign of a writer at work, if there is one and the grace period is not 0.
    #[must_use]
    pub const fn writer(&self) -> Option<&Writer> {
        self.writer.as_ref()
    }

    /// Returns the latest time that the graph uses as the current one, in nanoseconds since 1970.
    pub(crate) fn latest_now(&self) -> i128 {
        let now = self.now.as_nanosecond();
        match self.flight {
            Some(rule) if rule.grace > 0 => now.max(rule.now),
            _ => now,
        }
    }

    /// Refuses to sweep if a writer is visible and it is unknown which blobs were released while one was at work.
    ///
    /// # Errors
    /// [`Error::ReleasedNote`].
    pub(super) fn refuse_unknown_released(&self) -> Result<()> {
        match (&self.noted.unknown, &self.writer) {
            (Some((path, why)), Some(_)) => Err(Error::ReleasedNote {
                path: path.clone(),
                why: why.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Returns the records of released blobs.
    pub(crate) const fn noted(&self) -> &Noted {
        &self.noted
    }

    /// Returns `true` if any orphan is in flight.
    #[must_use]
    pub fn has_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Returns why an orphan is protected as in flight; `None` if it is not.
    #[must_use]
    pub fn in_flight(&self, id: BlobId) -> Option<InFlight> {
        if self.in_flight.contains(id) {
            Some(InFlight::Fresh)
        } else if self.in_flight_reach.contains(id) {
            Some(InFlight::UsedByFresh)
        } else if self.released.contains(id) {
            Some(InFlight::Released)
        } else {
            None
        }
    }
}

/// The rule by which an orphan counts as in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GracePolicy {
    /// The current time, in nanoseconds since 1970, like the times of files.
    pub(crate) now: i128,
    /// The grace period in nanoseconds; 0 disables the protection.
    pub(crate) grace: i128,
}

impl GracePolicy {
    /// The default grace period.
    pub const HOUR: Duration = Duration::from_secs(60 * 60);

    /// Returns a policy by which a blob newer than `grace` at `now` is in flight. A grace period of zero disables the protection.
    #[must_use]
    pub fn new(now: Timestamp, grace: Duration) -> Self {
        Self {
            now: now.as_nanosecond(),
            grace: i128::try_from(grace.as_nanos()).unwrap_or(i128::MAX),
        }
    }

    /// Returns the default policy. A time in the future ends no protection.
    pub(crate) fn by_default(now: Timestamp) -> Self {
        Self::new(now.min(crate::clock::now()), Self::HOUR)
    }

    /// Returns `true` if a file of this time may belong to a writer that has not listed it yet.
    pub(crate) const fn is_fresh(&self, modified: i128) -> bool {
        self.grace > 0 && self.now.saturating_sub(modified) < self.grace
    }
}

/// A sign of a writer at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writer {
    /// A temporary file or directory of its own, by path relative to the layout.
    File(PathBuf),
    /// A blob that is not listed yet.
    Blob {
        /// The blob.
        digest: Digest,
        /// Its modification time, in nanoseconds since 1970.
        modified: i64,
    },
}

/// Why an orphan is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InFlight {
    /// It is recent.
    Fresh,
    /// A recent orphan references it.
    UsedByFresh,
    /// It, or a blob that references it, was released while a writer was at work, and a writer is at work.
    Released,
}

#[cfg(test)]
mod tests {
    use super::super::content::tests::Slow;
    use super::*;

    #[test]
    fn only_files_that_begin_like_json_are_read_completely() {
        let mut buffer = b"of the file before".to_vec();
        for len in [0, 1, 2, 40, HEAD - 1, HEAD, HEAD + 1, 3 * HEAD] {
            let mut json = b"  {".to_vec();
            json.resize(len, b'x');
            let is_json = read_json(Slow::new(&json), len, &mut buffer);
            assert_eq!(is_json.expect("no error"), len > 2, "{len}");
            assert_eq!(buffer, json, "{len}");
            let other = vec![b'x'; len];
            let mut slow = Slow::new(&other);
            let is_json = read_json(&mut slow, len, &mut buffer);
            assert!(!is_json.expect("no error"), "{len}");
            assert_eq!(slow.left.len(), len.saturating_sub(HEAD), "{len}");
        }
        // The file has shrunk since its length was read.
        let is_json = read_json(Slow::new(b"{}"), 9000, &mut buffer);
        assert!(is_json.expect("no error"));
        assert_eq!(buffer, b"{}");
    }

    #[test]
    fn read_errors_are_returned() {
        struct Broken(Vec<io::ErrorKind>);
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                self.0.pop().map_or(Ok(0), |kind| Err(kind.into()))
            }
        }
        let kinds = vec![io::ErrorKind::InvalidData, io::ErrorKind::Interrupted];
        let error = read_json(Broken(kinds), 5, &mut Vec::new()).expect_err("it is broken");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_removed_file_is_not_an_orphan_and_an_unreadable_file_may_be_a_referrer() {
        for (error, is_gone) in [
            (Errno::NOENT, true),
            (Errno::LOOP, true),
            (Errno::ACCESS, false),
            (Errno::IO, false),
        ] {
            let scanned = failed(error);
            assert_eq!(matches!(scanned, Scanned::Gone), is_gone, "{error}");
            assert_eq!(matches!(scanned, Scanned::Unreadable(_)), !is_gone);
        }
    }
}
