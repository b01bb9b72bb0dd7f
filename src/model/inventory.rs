//! The files of the blobs of a layout, and their bytes, counting each inode once.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::fs::{FileStat, Fs};
use crate::graph::{BlobSet, FileTable, FileTables, Graph};
use crate::layout::{BlobId, Layout};
use crate::model::snapshot::Snapshot;
use crate::oci::Digest;
use crate::threads::read_each;

/// The maximum number of files that are inspected before the results are stored.
const BATCH: usize = 8192;

/// The files of all blobs that can be inspected. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Those of orphans are the graph's.
    tables: FileTables,
    /// The blobs of the layout have the numbers below this.
    listed: BlobId,
    unmeasured: Option<Unmeasured>,
}

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
        self.unmeasured.as_ref()
    }

    /// Returns the file of a blob.
    #[must_use]
    pub fn get(&self, id: BlobId) -> Option<FileStat> {
        self.tables.get(id)
    }

    /// Returns the files with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (BlobId, FileStat)> {
        (0..self.listed).filter_map(|id| Some((id, self.get(id)?)))
    }

    pub(crate) const fn tables(&self) -> &FileTables {
        &self.tables
    }
}

/// Inspects the file of every blob, in parallel. Orphans were inspected when they were scanned.
#[must_use]
pub fn files(snapshot: &Snapshot, fs: &dyn Fs) -> Files {
    let graph = &snapshot.graph;
    let listed = graph.blobs().ids().end;
    let orphans = graph.orphan_files();
    let mut files = FileTable::with_capacity(graph.blobs().len() - orphans.len());
    let mut unknown = graph.blobs().ids().filter(|id| orphans.get(*id).is_none());
    let mut failed: Vec<(BlobId, String)> = Vec::new();
    loop {
        let batch: Vec<BlobId> = unknown.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        let found = read_each(&batch, |id| try_stat(&snapshot.layout, graph, *id, fs));
        for (id, found) in batch.into_iter().zip(found) {
            let file = found.unwrap_or_else(|error| {
                failed.push((id, error.to_string()));
                None
            });
            files.push(id, file);
        }
    }
    let first = failed.iter().min_by_key(|(id, _)| graph.digest(*id));
    Files {
        tables: FileTables::new(Arc::clone(orphans), Arc::new(files)),
        listed,
        unmeasured: first.map(|(id, why)| Unmeasured {
            blobs: failed.len() as u64,
            first: graph.digest(*id).clone(),
            why: why.clone(),
        }),
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
        for id in (0..self.files.listed).filter(|id| wanted(*id)) {
            let Some(file) = self.files.get(id).filter(|_| self.seen.insert(id)) else {
                continue;
            };
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
