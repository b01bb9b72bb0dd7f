//! The files of the blobs of a layout, and their bytes, counting each inode once.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::fs::{FileStat, Fs};
use crate::graph::{BlobSet, FileTable, Graph};
use crate::layout::{BlobId, Layout};
use crate::model::snapshot::Snapshot;
use crate::oci::Digest;
use crate::threads::read_each;

/// The most files that are inspected before the results are stored.
const BATCH: usize = 8192;

/// The files of all blobs that can be inspected. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Files(Arc<FileTable>, Option<Unmeasured>);

/// Blobs of unknown size, which sums count as 0 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmeasured {
    /// Their number.
    pub blobs: u64,
    /// The first of them by digest.
    pub first: Digest,
    /// The error of the system for that blob.
    pub why: String,
}

impl Files {
    /// Returns the existing blobs of unknown size, if there are any.
    #[must_use]
    pub const fn unmeasured(&self) -> Option<&Unmeasured> {
        self.1.as_ref()
    }

    /// Returns the file of a blob.
    #[must_use]
    pub fn get(&self, id: BlobId) -> Option<FileStat> {
        self.0.get(id as usize)?.1
    }

    /// Returns the files with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (BlobId, FileStat)> {
        self.0.iter().filter_map(|(id, file)| Some((id, file?)))
    }
}

/// Inspects the file of every blob, in parallel. Orphans were inspected when they were scanned.
#[must_use]
pub fn files(snapshot: &Snapshot, fs: &dyn Fs) -> Files {
    let graph = &snapshot.graph;
    let mut files = FileTable::with_capacity(graph.blobs().len());
    let mut ids = graph.ids().take(graph.blobs().len());
    // Orphans are in the order of the numbers.
    let mut orphans = graph.orphans().peekable();
    let mut failed: Vec<(BlobId, String)> = Vec::new();
    loop {
        let batch: Vec<(BlobId, Option<FileStat>)> = ids
            .by_ref()
            .take(BATCH)
            .map(|id| {
                let orphan = orphans.next_if(|orphan| orphan.id == id);
                (id, orphan.and_then(|orphan| orphan.file))
            })
            .collect();
        if batch.is_empty() {
            let first = failed.iter().min_by_key(|(id, _)| graph.digest(*id));
            let unmeasured = first.map(|(id, why)| Unmeasured {
                blobs: failed.len() as u64,
                first: graph.digest(*id).clone(),
                why: why.clone(),
            });
            return Files(Arc::new(files), unmeasured);
        }
        let unknown = batch.iter().filter(|(_, file)| file.is_none());
        let unknown: Vec<BlobId> = unknown.map(|(id, _)| *id).collect();
        let found = read_each(&unknown, |id| try_stat(&snapshot.layout, graph, *id, fs));
        let mut found = found.into_iter();
        for (id, known) in batch {
            let file = known.or_else(|| {
                found.next()?.unwrap_or_else(|error| {
                    failed.push((id, error.to_string()));
                    None
                })
            });
            files.push(id, file);
        }
    }
}

/// Counts bytes row by row, each inode once.
pub(crate) struct Counted<'a> {
    files: &'a Files,
    seen: BlobSet,
    /// Inodes with several names, and their bytes.
    inodes: BTreeMap<(u64, u64), u64>,
}

impl<'a> Counted<'a> {
    pub(crate) fn new(files: &'a Files) -> Self {
        Self {
            files,
            seen: BlobSet::default(),
            inodes: BTreeMap::new(),
        }
    }

    pub(crate) fn take(&mut self, ids: &BlobSet) -> u64 {
        self.take_if(|id| ids.contains(id))
    }

    /// Returns the counted inodes with several names: device and inode, and bytes.
    pub(crate) fn linked(&self) -> &BTreeMap<(u64, u64), u64> {
        &self.inodes
    }

    pub(crate) fn take_rest(&mut self) -> u64 {
        self.take_if(|_| true)
    }

    fn take_if(&mut self, wanted: impl Fn(BlobId) -> bool) -> u64 {
        let mut sum = 0_u64;
        for (id, file) in self.files.iter() {
            if !wanted(id) || !self.seen.insert(id) {
                continue;
            }
            let inode = (file.device, file.inode);
            let is_new = file.links <= 1 || self.inodes.insert(inode, file.len).is_none();
            if is_new {
                sum = sum.saturating_add(file.len);
            }
        }
        sum
    }
}

/// Returns the stat of a blob's file; `None` if it does not exist or cannot be inspected.
pub(crate) fn stat(layout: &Layout, graph: &Graph, id: BlobId, fs: &dyn Fs) -> Option<FileStat> {
    try_stat(layout, graph, id, fs).ok().flatten()
}

fn try_stat(
    layout: &Layout,
    graph: &Graph,
    id: BlobId,
    fs: &dyn Fs,
) -> io::Result<Option<FileStat>> {
    match layout.place_of_blob(graph.digest(id)) {
        Some((dir, name)) => fs.stat(dir, &name),
        None => Ok(None),
    }
}
