//! Inspects blobs, and verifies their digests.

use std::fs::File;
use std::io::{self, Read as _};

use jiff::Timestamp;
use rayon::prelude::*;
use rustix::fs::{Advice, FileType, fadvise};

use super::Wanted;
use super::since::{FileVersion, Verified};
use crate::error::{Error, Result};
use crate::fs::stat_of;
use crate::layout::BlobId;
use crate::layout::packed::Packed;
use crate::model::snapshot::Snapshot;
use crate::oci::digest::Hasher;
use crate::oci::signed::{Identity, MAX_MANIFEST_BYTES, identify, payload_len};
use crate::oci::{Algorithm, Digest};
use crate::progress::{Phase, Progress, Running, Total};
use crate::threads::{first_batch, read_each, read_each_with, start};

/// The number of bytes that are read at once. A larger buffer is not faster: hashing takes longer than reading.
pub(super) const BUFFER_BYTES: usize = 256 << 10;

/// The number of blobs that are inspected between two checks for cancellation.
const BATCH: usize = 8192;

/// A blob of at most this many bytes is read with one request, and a thread waits for it if it comes from a disk. For longer
/// blobs the kernel reads ahead.
const SMALL_BYTES: u64 = 128 << 10;

/// A blob that is read: its length, its position in the list, and its number.
type Task = (u64, usize, BlobId);

/// The result of inspecting one blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BlobState {
    /// It does not exist.
    Absent,
    /// It does not exist, but a descriptor embeds it.
    Carried,
    /// It exists, with its length in bytes.
    Here(u64, ContentVerdict),
    /// It exists and cannot be read.
    Unreadable(String),
}

/// The result of verifying the content of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentVerdict {
    /// It was not verified, or its algorithm is unknown.
    NotRead,
    /// It was not read; an earlier run verified it.
    Earlier(Timestamp),
    /// It matches its digest.
    Right,
    /// It does not match its digest.
    Wrong,
    /// It is a signed manifest whose payload does not match its digest; the length of the payload in bytes.
    WrongPayload(u64),
}

/// Inspects blobs without reading them. Documents were read and verified already.
///
/// # Errors
/// [`Error::Interrupted`].
pub(super) fn inspect(
    snapshot: &Snapshot,
    ids: &[BlobId],
    record: Option<&dyn Verified>,
    progress: &dyn Progress,
) -> Result<Vec<BlobState>> {
    let mut states = Vec::with_capacity(ids.len());
    for batch in ids.chunks(BATCH) {
        if progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        states.extend(read_each(batch, |id| inspect_one(snapshot, *id, record)));
    }
    Ok(states)
}

fn inspect_one(snapshot: &Snapshot, id: BlobId, record: Option<&dyn Verified>) -> BlobState {
    let Snapshot { layout, graph, .. } = snapshot;
    if graph.is_embedded(id) {
        return BlobState::Carried;
    }
    if let Some(len) = graph.verified_len(id) {
        return BlobState::Here(len, ContentVerdict::Right);
    }
    match layout.stat_blob(graph.digest(id)) {
        Ok(None) => BlobState::Absent,
        Ok(Some(stat)) if !FileType::from_raw_mode(stat.st_mode).is_file() => {
            BlobState::Unreadable("it is not a regular file".to_owned())
        }
        Ok(Some(stat)) => {
            let version = FileVersion::of(&stat);
            let when = record.and_then(|record| record.when(graph.digest(id), &version));
            let verdict = when.map_or(ContentVerdict::NotRead, ContentVerdict::Earlier);
            BlobState::Here(version.len, verdict)
        }
        Err(error) => BlobState::Unreadable(error.to_string()),
    }
}

/// Verifies the digests of blobs, the largest first, so that no thread begins a large one when the others are
/// done. A blob that cannot be read does not stop the others.
///
/// # Errors
/// [`Error::Interrupted`].
pub(super) fn hash(
    snapshot: &Snapshot,
    ids: &[BlobId],
    states: &mut [BlobState],
    wanted: &Wanted<'_>,
    progress: &dyn Progress,
) -> Result<()> {
    let graph = &snapshot.graph;
    let mut tasks: Vec<Task> = Vec::new();
    for (position, (id, state)) in ids.iter().zip(&*states).enumerate() {
        if let BlobState::Here(len, ContentVerdict::NotRead | ContentVerdict::Earlier(_)) = state
            && graph.digest(*id).algorithm().is_some()
            && wanted.is_read(*id, *len)
        {
            tasks.push((*len, position, *id));
        }
    }
    tasks.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let lens = tasks.iter().map(|(len, ..)| *len);
    let bytes = lens.fold(0, u64::saturating_add);
    let total = Total::of(tasks.len()).with_bytes(bytes);
    let _hashing = Running::begin(progress, Phase::Hashing, total);
    let read = |buffer: &mut Vec<u8>, (len, position, id): &Task| {
        let record = wanted.record_of(*id, *len);
        (*position, read(snapshot, *id, record, buffer, progress))
    };
    let buffer = || vec![0; BUFFER_BYTES];
    let small = tasks.partition_point(|(len, ..)| *len > SMALL_BYTES);
    let (large, mut small) = tasks.split_at(small);
    // In this order, each by the next free thread; splitting the list in halves would give all large
    // blobs to one thread.
    let mut found: Vec<(usize, Option<BlobState>)> = Vec::with_capacity(tasks.len());
    if !large.is_empty() {
        start();
        found.par_extend(large.iter().par_bridge().map_init(buffer, read));
    }
    while !small.is_empty() && !progress.is_cancelled() {
        let (batch, rest) = small.split_at(small.len().min(first_batch(BATCH)));
        small = rest;
        found.extend(read_each_with(batch, buffer, read));
    }
    if found.len() < tasks.len() {
        return Err(Error::Interrupted);
    }
    for (position, state) in found {
        let Some(state) = state else {
            return Err(Error::Interrupted);
        };
        if let Some(place) = states.get_mut(position) {
            *place = state;
        }
    }
    Ok(())
}

/// Reads one blob to its end; `None` if it was cancelled.
fn read(
    snapshot: &Snapshot,
    id: BlobId,
    record: Option<&dyn Verified>,
    buffer: &mut [u8],
    progress: &dyn Progress,
) -> Option<BlobState> {
    let digest = snapshot.graph.digest(id);
    let Some(algorithm) = digest.algorithm() else {
        return Some(BlobState::Here(0, ContentVerdict::NotRead));
    };
    let packed = snapshot.layout.packed();
    if let Some(packed) = packed.filter(|packed| packed.is_hole(digest)) {
        let state = in_archive(snapshot, packed, id);
        let len = match &state {
            BlobState::Here(len, _) => *len,
            _ => 0,
        };
        progress.advance(1, len);
        return Some(state);
    }
    let unreadable = |error: io::Error| Some(BlobState::Unreadable(error.to_string()));
    let file = match snapshot.layout.open_blob(digest) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(BlobState::Absent),
        Err(error) => return unreadable(error),
    };
    // Before it is read: a file that is written while it is read has another version.
    let stat = match stat_of(&file) {
        // It may have been replaced by another kind of file; reading a FIFO would never end.
        Ok(stat) if !FileType::from_raw_mode(stat.st_mode).is_file() => {
            return Some(BlobState::Unreadable("it is not a regular file".to_owned()));
        }
        Ok(stat) => stat,
        Err(error) => return unreadable(error.into()),
    };
    if stat.st_size > SMALL_BYTES.cast_signed() {
        // Twice the read-ahead: 2 GB of layers took 2.7 s instead of 4.7 s (ext4, 2 threads, 2026-11-29). A file system that
        // ignores or refuses the hint is read as well.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
    }
    let add = |is_intact| {
        if let Some(record) = record {
            record.add(digest, &FileVersion::of(&stat), is_intact);
        }
    };
    let (found, len) = match hash_rest(&mut File::from(file), algorithm, buffer, progress) {
        Ok(hashed) => hashed?,
        Err(error) => {
            add(false);
            return unreadable(error);
        }
    };
    let verdict = if found == *digest {
        ContentVerdict::Right
    } else {
        of_payload(snapshot, id, len)
    };
    add(verdict == ContentVerdict::Right);
    Some(BlobState::Here(len, verdict))
}

/// Returns the digest and the length of the rest of a file; `None` if it was cancelled.
pub(super) fn hash_rest(
    file: &mut File,
    algorithm: Algorithm,
    buffer: &mut [u8],
    progress: &dyn Progress,
) -> io::Result<Option<(Digest, u64)>> {
    let mut hasher = Hasher::new(algorithm);
    let mut len = 0_u64;
    loop {
        if progress.is_cancelled() {
            return Ok(None);
        }
        match file.read(buffer) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(buffer.get(..read).unwrap_or_default());
                len = len.saturating_add(read as u64);
                progress.advance(0, read as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    progress.advance(1, 0);
    Ok(Some((hasher.finish(), len)))
}

/// Returns the result for a hole from the time when its archive was read. Signed manifests are not holes: they were
/// unpacked.
fn in_archive(snapshot: &Snapshot, packed: &Packed, id: BlobId) -> BlobState {
    let digest = snapshot.graph.digest(id);
    let len = match snapshot.layout.stat_blob(digest) {
        Ok(Some(stat)) => u64::try_from(stat.st_size).unwrap_or_default(),
        Ok(None) => return BlobState::Absent,
        Err(error) => return BlobState::Unreadable(error.to_string()),
    };
    let verdict = match packed.has_digest(digest) {
        Some(true) => ContentVerdict::Right,
        Some(false) => ContentVerdict::Wrong,
        None => ContentVerdict::NotRead,
    };
    BlobState::Here(len, verdict)
}

/// Verifies the payload of a blob that does not match its digest, in case it is a signed manifest. Marking has already
/// verified manifests; this is for blobs that their descriptor declares as layers, for orphans and for damage.
fn of_payload(snapshot: &Snapshot, id: BlobId, len: u64) -> ContentVerdict {
    if len > MAX_MANIFEST_BYTES {
        return ContentVerdict::Wrong;
    }
    let digest = snapshot.graph.digest(id);
    let mut bytes = Vec::new();
    let file = snapshot.layout.open_blob(digest).map(File::from);
    let read = file.and_then(|file| file.take(len).read_to_end(&mut bytes));
    if read.is_err() {
        return ContentVerdict::Wrong;
    }
    match (identify(digest, &bytes), payload_len(&bytes)) {
        (Identity::Whole | Identity::Payload(_), _) => ContentVerdict::Right,
        (Identity::Other, Some(len)) => ContentVerdict::WrongPayload(len),
        (Identity::Other, None) => ContentVerdict::Wrong,
    }
}
