//! Looking at blobs, and reading them in full.

use std::fs::File;
use std::io::{self, Read as _};

use rayon::prelude::*;
use rustix::fs::FileType;

use crate::error::{Error, Result};
use crate::fs::stat_of;
use crate::graph::MAX_PLAUSIBLE_MANIFEST_BYTES;
use crate::layout::BlobId;
use crate::model::snapshot::Snapshot;
use crate::oci::digest::Hasher;
use crate::oci::signed::{Identity, identify, payload_len};
use crate::progress::{Phase, Progress, Running, Total};

/// How much is read at once, in bytes. More brings nothing: hashing is the slower half.
const BUFFER_BYTES: usize = 256 << 10;

/// How many blobs are looked at between two questions whether to stop.
const BATCH: usize = 8192;

/// What was found of one blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// It is not there.
    Absent,
    /// It is not there, but a descriptor carries it.
    Carried,
    /// It is there, with so many bytes.
    Here(u64, Verdict),
    /// It is there and cannot be read.
    Unreadable(String),
}

/// What is known of the content of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was not compared, or its algorithm is unknown.
    NotRead,
    /// It has its digest.
    Right,
    /// It has another one.
    Wrong,
    /// It is a signed manifest, and its payload, which has another one, is so many bytes long.
    WrongPayload(u64),
}

/// Looks at blobs without reading them. What was read as a document already is known.
///
/// # Errors
/// [`Error::Interrupted`].
pub(super) fn look(view: &Snapshot, ids: &[BlobId], progress: &dyn Progress) -> Result<Vec<Look>> {
    let mut looks = Vec::with_capacity(ids.len());
    for batch in ids.chunks(BATCH) {
        if progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let found: Vec<Look> = batch
            .par_iter()
            .with_min_len(64)
            .map(|id| look_at(view, *id))
            .collect();
        looks.extend(found);
    }
    Ok(looks)
}

fn look_at(view: &Snapshot, id: BlobId) -> Look {
    let Snapshot { layout, graph, .. } = view;
    if graph.is_embedded(id) {
        return Look::Carried;
    }
    if let Some(len) = graph.verified_len(id) {
        return Look::Here(len, Verdict::Right);
    }
    match layout.stat_blob(graph.digest(id)) {
        Ok(None) => Look::Absent,
        Ok(Some(stat)) if !FileType::from_raw_mode(stat.st_mode).is_file() => {
            Look::Unreadable("it is not a regular file".to_owned())
        }
        Ok(Some(stat)) => {
            let len = u64::try_from(stat.st_size).unwrap_or_default();
            Look::Here(len, Verdict::NotRead)
        }
        Err(error) => Look::Unreadable(error.to_string()),
    }
}

/// Reads blobs in full, the largest first, so that no thread begins a large one when the others are
/// done. A blob that cannot be read does not stop the others.
///
/// # Errors
/// [`Error::Interrupted`].
pub(super) fn hash(
    view: &Snapshot,
    ids: &[BlobId],
    looks: &mut [Look],
    is_wanted: impl Fn(BlobId, u64) -> bool,
    progress: &dyn Progress,
) -> Result<()> {
    let graph = &view.graph;
    let mut tasks: Vec<(u64, usize, BlobId)> = Vec::new();
    for (position, (id, look)) in ids.iter().zip(&*looks).enumerate() {
        if let Look::Here(len, Verdict::NotRead) = look
            && graph.digest(*id).algorithm().is_some()
            && is_wanted(*id, *len)
        {
            tasks.push((*len, position, *id));
        }
    }
    tasks.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let bytes = tasks
        .iter()
        .map(|(len, ..)| *len)
        .fold(0, u64::saturating_add);
    let total = Total::of(tasks.len()).with_bytes(bytes);
    let _hashing = Running::begin(progress, Phase::Hashing, total);
    // One by one in this order, whoever is free; splitting the list in halves would give all large
    // ones to one thread.
    let found: Vec<(usize, Option<Look>)> = tasks
        .into_iter()
        .par_bridge()
        .map_init(
            || vec![0; BUFFER_BYTES],
            |buffer, (_, position, id)| (position, read(view, id, buffer, progress)),
        )
        .collect();
    for (position, look) in found {
        let Some(look) = look else {
            return Err(Error::Interrupted);
        };
        if let Some(place) = looks.get_mut(position) {
            *place = look;
        }
    }
    Ok(())
}

/// Reads one blob to its end. `None`: somebody asked to stop.
fn read(view: &Snapshot, id: BlobId, buffer: &mut [u8], progress: &dyn Progress) -> Option<Look> {
    let digest = view.graph.digest(id);
    let Some(algorithm) = digest.algorithm() else {
        return Some(Look::Here(0, Verdict::NotRead));
    };
    let unreadable = |error: io::Error| Some(Look::Unreadable(error.to_string()));
    let file = match view.layout.open_blob(digest) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(Look::Absent),
        Err(error) => return unreadable(error),
    };
    match stat_of(&file) {
        // Somebody may have put another kind of file there meanwhile; a FIFO would never end.
        Ok(stat) if !FileType::from_raw_mode(stat.st_mode).is_file() => {
            return Some(Look::Unreadable("it is not a regular file".to_owned()));
        }
        Ok(_) => {}
        Err(error) => return unreadable(error.into()),
    }
    let mut file = File::from(file);
    let mut hasher = Hasher::new(algorithm);
    let mut len = 0_u64;
    loop {
        if progress.is_cancelled() {
            return None;
        }
        match file.read(buffer) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(buffer.get(..read).unwrap_or_default());
                len = len.saturating_add(read as u64);
                progress.advance(0, read as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return unreadable(error),
        }
    }
    progress.advance(1, 0);
    let verdict = if hasher.finish() == *digest {
        Verdict::Right
    } else {
        of_payload(view, id, len)
    };
    Some(Look::Here(len, verdict))
}

/// Compares the payload of a blob that has another digest than its name, where it is a signed manifest. What the marking
/// understood is known already; this is for blobs whose descriptor calls them layers, for orphans and for damage.
fn of_payload(view: &Snapshot, id: BlobId, len: u64) -> Verdict {
    if len > MAX_PLAUSIBLE_MANIFEST_BYTES {
        return Verdict::Wrong;
    }
    let digest = view.graph.digest(id);
    let mut bytes = Vec::new();
    let file = view.layout.open_blob(digest).map(File::from);
    let read = file.and_then(|file| file.take(len).read_to_end(&mut bytes));
    if read.is_err() {
        return Verdict::Wrong;
    }
    match (identify(digest, &bytes), payload_len(&bytes)) {
        (Identity::Whole | Identity::Payload(_), _) => Verdict::Right,
        (Identity::Other, Some(len)) => Verdict::WrongPayload(len),
        (Identity::Other, None) => Verdict::Wrong,
    }
}
