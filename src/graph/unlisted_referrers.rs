//! Looking into orphans: cosign and others write referrers that no entry of `index.json` lists.
//!
//! A manifest that no root reaches is live when its `subject` is, with everything below it. The one
//! exception is BuildKit's attestation manifest, which its index always lists: an unlisted one is
//! left from an earlier export. Only orphans that are small and begin like JSON are read.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use rayon::prelude::*;

use super::content::{MAX_PLAUSIBLE_MANIFEST_BYTES, begins_like_json};
use super::read::Step;
use super::{BlobSet, FileTable, Graph};
use crate::error::{Error, Result};
use crate::fs::FileStat;
use crate::fs::{Links, open_file, stat_at, stat_of};
use crate::layout::released::Noted;
use crate::layout::{BlobId, Layout};
use crate::oci::media_type::DOCKER_ATTESTATION;
use crate::oci::signed::{Identity, identify};
use crate::oci::{Digest, Document};
use crate::progress::{Phase, Progress, Running, Total};

/// How many orphans are looked into before what was found is taken over: bounds the memory.
const BATCH: usize = 8192;

/// Larger orphans are looked into in smaller batches, so that a batch of either kind is no more than 64 MiB of documents.
const SMALL_BYTES: u64 = 8 << 10;
const LARGE_BATCH: usize = 16;

/// What looking into one orphan brought.
enum Sniffed {
    /// It is gone meanwhile, or no file any more.
    Gone,
    /// It cannot be read.
    Unreadable(io::Error),
    Plain(FileStat),
    /// It has a `subject`.
    Referrer(FileStat, Box<Referrer>),
    /// It begins like JSON, and is to be looked into in a smaller batch.
    Large,
}

struct Referrer {
    document: Document,
    matches_digest: bool,
}

impl Graph {
    /// Looks into every blob that is not reached, follows the referrers among them, and keeps the
    /// rest as orphans.
    pub(super) fn find_unlisted_referrers(
        &mut self,
        layout: &Layout,
        progress: &dyn Progress,
    ) -> Result<()> {
        let listed = u32::try_from(self.blobs.len()).expect("numbers of blobs fit into 32 bits");
        let reached = self.reached.clone();
        let mut unreached = (0..listed).filter(|id| !reached.contains(*id));
        let count = unreached.clone().count();
        let _scanning = Running::begin(progress, Phase::ScanningOrphans, Total::of(count));
        let mut orphans = FileTable::with_capacity(count);
        loop {
            let batch: Vec<BlobId> = unreached.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                break;
            }
            if progress.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let mut sniffed: Vec<_> = batch
                .par_iter()
                .with_min_len(64)
                .map_init(Vec::new, |buffer, &id| {
                    self.sniff(layout, id, buffer, SMALL_BYTES)
                })
                .collect();
            let is_large = |at: &usize| matches!(sniffed.get(*at), Some(Sniffed::Large));
            let large: Vec<usize> = (0..batch.len()).filter(is_large).collect();
            for large in large.chunks(LARGE_BATCH) {
                let found: Vec<_> = large
                    .par_iter()
                    .filter_map(|at| batch.get(*at))
                    .map(|&id| {
                        self.sniff(layout, id, &mut Vec::new(), MAX_PLAUSIBLE_MANIFEST_BYTES)
                    })
                    .collect();
                for (at, found) in large.iter().zip(found) {
                    if let Some(place) = sniffed.get_mut(*at) {
                        *place = found;
                    }
                }
            }
            progress.advance(batch.len() as u64, 0);
            for (id, sniffed) in batch.into_iter().zip(sniffed) {
                let file = match sniffed {
                    // Nothing is too large in the second round.
                    Sniffed::Gone | Sniffed::Large => continue,
                    Sniffed::Unreadable(error) => {
                        self.unreadable.push((id, error.to_string()));
                        None
                    }
                    Sniffed::Plain(file) => Some(file),
                    Sniffed::Referrer(file, referrer) => {
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
        // A subject that is reached takes its referrers along, those their children, and a child may
        // be the subject of the next: `follow` goes on until nothing is new.
        let found: Vec<_> = self
            .referrers
            .iter()
            .filter(|(subject, _)| self.reached.contains(**subject))
            .flat_map(|(_, referrers)| referrers)
            .map(|&id| Step::referrer(id))
            .collect();
        self.follow(layout, found, progress)?;
        orphans.retain(|id, _| !self.reached.contains(id));
        self.orphans = orphans;
        Ok(())
    }

    fn add_referrer(&mut self, id: BlobId, file: FileStat, document: Document) {
        let subjects: Vec<_> = document.subjects().cloned().collect();
        let node = self.node_of(document, file.len, |_| {});
        let looked = self.push_node(node);
        self.looked.insert(id, looked);
        for subject in subjects {
            let subject = self.intern(subject);
            self.referrers.entry(subject).or_default().push(id);
        }
    }

    fn sniff(&self, layout: &Layout, id: BlobId, buffer: &mut Vec<u8>, most: u64) -> Sniffed {
        let digest = self.blobs.digest(id);
        let Some((dir, name)) = digest.and_then(|digest| layout.place_of_blob(digest)) else {
            return Sniffed::Gone;
        };
        // A link is judged by itself: what it references is not ours, but may be a referrer.
        let link = if self.blobs.is_link(id) {
            match stat_at(dir, name.file(), Links::Refuse) {
                Ok(stat) => FileStat::of(&stat),
                Err(error) => return failed(error),
            }
        } else {
            None
        };
        let follow = if link.is_some() {
            Links::Follow
        } else {
            Links::Refuse
        };
        let file = match open_file(dir, name.file(), follow) {
            Ok(file) => file,
            // A link that leads nowhere, or in a circle, refers to nothing.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP) => {
                return link.map_or(Sniffed::Gone, Sniffed::Plain);
            }
            Err(error) => return failed(error),
        };
        let stat = match stat_of(&file) {
            Ok(stat) => stat,
            Err(error) => return failed(error),
        };
        let Some(target) = FileStat::of(&stat) else {
            return link.map_or(Sniffed::Gone, Sniffed::Plain);
        };
        let facts = link.unwrap_or(target);
        if target.len > MAX_PLAUSIBLE_MANIFEST_BYTES {
            return Sniffed::Plain(facts);
        }
        if target.len > most {
            let head = u64::try_from(HEAD).unwrap_or(u64::MAX);
            return match read_json(File::from(file), target.len.min(head), buffer) {
                Ok(false) => Sniffed::Plain(facts),
                Ok(true) => Sniffed::Large,
                Err(error) => Sniffed::Unreadable(error),
            };
        }
        match read_json(File::from(file), target.len, buffer) {
            Ok(false) => Sniffed::Plain(facts),
            Ok(true) => match referrer(self.digest(id), buffer) {
                Some(referrer) => Sniffed::Referrer(facts, referrer),
                None => Sniffed::Plain(facts),
            },
            Err(error) => Sniffed::Unreadable(error),
        }
    }
}

fn failed(error: rustix::io::Errno) -> Sniffed {
    match error {
        // Removed by somebody else, or replaced by something that is no file.
        rustix::io::Errno::NOENT | rustix::io::Errno::LOOP => Sniffed::Gone,
        _ => Sniffed::Unreadable(error.into()),
    }
}

/// How much of a file tells whether the rest is worth reading, in bytes.
const HEAD: usize = 4096;

/// Reads a file whole if it begins like JSON; says whether it does.
fn read_json(mut file: impl Read, len: u64, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let len = usize::try_from(len).unwrap_or_default();
    buffer.clear();
    fill(&mut file, len.min(HEAD), buffer)?;
    let is_json = begins_like_json(buffer);
    if is_json {
        fill(&mut file, len, buffer)?;
    }
    Ok(is_json)
}

/// Reads on until so many bytes are in the buffer, or the file ends. Whether it does at that length is not asked.
fn fill(file: &mut impl Read, len: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut filled = buffer.len();
    buffer.resize(len, 0);
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(())
}

/// Returns the document if it has a `subject` that counts. What does not parse cannot be a
/// referrer that anybody could read.
///
/// A referrer that does not match its digest is kept all the same, with what it refers to: nothing
/// depends on it, so there is no reason to refuse the sweep, and doubt keeps.
fn referrer(digest: &Digest, bytes: &[u8]) -> Option<Box<Referrer>> {
    let document = Document::scan_deep(bytes).ok()?;
    let is_left_over = document
        .artifact_type
        .as_deref()
        .is_some_and(|artifact_type| artifact_type.eq_ignore_ascii_case(DOCKER_ATTESTATION));
    (!is_left_over && document.subjects().next().is_some()).then(|| {
        Box::new(Referrer {
            document,
            matches_digest: identify(digest, bytes) != Identity::Other,
        })
    })
}

impl Graph {
    /// Protects what a writer may be about to list: an orphan younger than `grace` is kept, and so is what it
    /// references, because the writer has seen that.
    ///
    /// The time of `index.json` decides nothing. Two writers do not know of each other: the one that lists its
    /// image first makes the blobs of the other one look older than the index.
    ///
    /// While a writer is visible, what was released beside one is kept as well.
    ///
    /// A rule replaces an earlier one. Without a rule no sweep can be planned.
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

    /// Does the same where only some of the orphans are orphans: in a pool another layout may reference the rest.
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

    /// Returns the orphans that are younger than the grace period, with their times.
    pub(crate) fn fresh_orphans(&self, rule: GracePolicy) -> impl Iterator<Item = (BlobId, i64)> {
        self.orphans.iter().filter_map(move |(id, file)| {
            let modified = file?.modified;
            rule.is_fresh(modified.into()).then_some((id, modified))
        })
    }

    /// Returns what shows that a writer is at work: its temporary file, or a blob that it has not listed yet.
    fn sign_of_writer(&self, rule: GracePolicy, fresh: &[(BlobId, i64)]) -> Option<Writer> {
        let mut files = self.blobs.temporary.iter().filter(|stray| {
            // A lock file says nothing of blobs: readers make one as well. This program holds the lock while it
            // writes, and never lists again what was removed.
            let name = stray.path.file_name().and_then(|name| name.to_str());
            rule.is_fresh(stray.modified)
                && !stray.is_lock()
                && !name.is_some_and(crate::fs::is_own)
        });
        let newest = || fresh.iter().max_by_key(|(_, modified)| *modified);
        match files.next() {
            Some(stray) => Some(Writer::File(stray.path.clone())),
            None => newest().map(|(id, modified)| Writer::Blob {
                digest: self.digest(*id).clone(),
                modified: *modified,
            }),
        }
    }

    /// Returns the rule by which orphans are protected; `None`: they are not, so that no sweep can be planned.
    #[must_use]
    pub const fn protection(&self) -> Option<GracePolicy> {
        self.flight
    }

    /// Returns the sign of a writer at work that remains when these blobs are listed.
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

    /// Returns the sign of a writer at work, if the grace period is not 0 and there is one.
    #[must_use]
    pub const fn writer(&self) -> Option<&Writer> {
        self.writer.as_ref()
    }

    /// Returns the latest time that the graph takes for the current one, in nanoseconds since 1970.
    pub(crate) fn latest_now(&self) -> i128 {
        let now = self.now.as_nanosecond();
        match self.flight {
            Some(rule) if rule.grace > 0 => now.max(rule.now),
            _ => now,
        }
    }

    /// Refuses to sweep while it is unknown what was released beside a writer, and one is visible.
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

    /// Returns what the notes say of released blobs.
    pub(crate) const fn noted(&self) -> &Noted {
        &self.noted
    }

    /// Returns `true` if any orphan is protected as in flight.
    #[must_use]
    pub fn has_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Says whether, and why, an orphan is protected as in flight.
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

/// When an orphan counts as being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GracePolicy {
    /// The current time, in nanoseconds since 1970, as file systems tell times.
    pub(crate) now: i128,
    /// How long an orphan counts as being written, in nanoseconds; 0 turns the protection off.
    pub(crate) grace: i128,
}

impl GracePolicy {
    /// The grace period where the caller names none.
    pub const HOUR: Duration = Duration::from_secs(60 * 60);

    /// Returns a policy: what is younger than `grace` at `now` counts as being written. A grace period of zero turns the
    /// protection off.
    #[must_use]
    pub fn new(now: Timestamp, grace: Duration) -> Self {
        Self {
            now: now.as_nanosecond(),
            grace: i128::try_from(grace.as_nanos()).unwrap_or(i128::MAX),
        }
    }

    /// Returns the policy that is active where the caller names none. A time in the future ends no protection.
    pub(crate) fn by_default(now: Timestamp) -> Self {
        Self::new(now.min(crate::clock::now()), Self::HOUR)
    }

    /// Returns `true` if what was written at this time may be in use by a writer that has not listed it yet.
    pub(crate) const fn is_fresh(&self, modified: i128) -> bool {
        self.grace > 0 && self.now.saturating_sub(modified) < self.grace
    }
}

/// What shows that a writer is at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writer {
    /// A temporary file or directory of its own, by path relative to the layout.
    File(PathBuf),
    /// A blob that nothing lists yet.
    Blob {
        /// The blob.
        digest: Digest,
        /// When it was written, in nanoseconds since 1970.
        modified: i64,
    },
}

/// Why an orphan is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InFlight {
    /// It is recent.
    Fresh,
    /// A recent orphan references it.
    UsedByFresh,
    /// It was released while a writer was at work, or is referenced by what was, and a writer is at work.
    Released,
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::super::content::tests::Slow;
    use super::*;

    #[test]
    fn reads_whole_what_begins_like_json_and_nothing_more_of_what_does_not() {
        let mut buffer = b"of the file before".to_vec();
        for len in [0, 1, 2, 40, HEAD - 1, HEAD, HEAD + 1, 3 * HEAD] {
            let mut json = b"  {".to_vec();
            json.resize(len, b'x');
            let is_json = read_json(Slow::new(&json), len as u64, &mut buffer);
            assert_eq!(is_json.expect("no error"), len > 2, "{len}");
            assert_eq!(buffer, json, "{len}");
            let other = vec![b'x'; len];
            let mut slow = Slow::new(&other);
            let is_json = read_json(&mut slow, len as u64, &mut buffer);
            assert!(!is_json.expect("no error"), "{len}");
            assert_eq!(slow.left.len(), len.saturating_sub(HEAD), "{len}");
        }
        // It shrank since it was measured.
        let is_json = read_json(Slow::new(b"{}"), 9000, &mut buffer);
        assert!(is_json.expect("no error"));
        assert_eq!(buffer, b"{}");
    }

    #[test]
    fn what_cannot_be_read_is_said_to_be_so() {
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
    fn what_is_gone_is_no_orphan_and_what_cannot_be_opened_may_be_a_referrer() {
        for (error, is_gone) in [
            (Errno::NOENT, true),
            (Errno::LOOP, true),
            (Errno::ACCESS, false),
            (Errno::IO, false),
        ] {
            let sniffed = failed(error);
            assert_eq!(matches!(sniffed, Sniffed::Gone), is_gone, "{error}");
            assert_eq!(matches!(sniffed, Sniffed::Unreadable(_)), !is_gone);
        }
    }
}
