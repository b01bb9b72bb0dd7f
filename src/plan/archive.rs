//! The changes that a plan makes to the archive of its layout.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt as _;

use crate::layout::archive_change::ArchiveChange;
use crate::layout::packed::Packed;
use crate::oci::Digest;

use super::{Deletion, Plan};
use crate::error::{Error, Result};

impl Plan {
    /// Returns the changes to the archive after the plan.
    ///
    /// # Errors
    /// [`Error::Edit`] if its `manifest.json` cannot be edited.
    pub(crate) fn archive_change(&self, packed: &Packed) -> Result<ArchiveChange> {
        if let Some(classic) = &packed.classic {
            let digests = self.sweep.iter();
            let digests = digests.filter_map(|deletion| self.blobs.digest(deletion.id));
            let gone: HashSet<String> = digests.map(Digest::path_in_layout).collect();
            let change = classic.change(
                &packed.by_path,
                |path| gone.contains(path),
                self.writes.manifest_json.as_deref(),
                self.writes.repositories.as_deref(),
            );
            return change.map_err(|why| Error::Edit {
                path: self.layout.join("manifest.json"),
                why,
            });
        }
        let mut change = self.dropped(packed, self.sweep.iter());
        for file in &self.temporary {
            let path = file.path.as_os_str().as_bytes();
            let own = packed.in_layout(path).map(|(number, _)| number);
            change.dropped.extend(own);
            if file.is_dir {
                let below = [&packed.whole(path), &b"/"[..]].concat();
                let inside = packed.by_path.iter();
                let inside = inside.filter(|(path, _)| path.starts_with(&below));
                change.dropped.extend(inside.map(|(_, number)| *number));
            }
        }
        let texts = [
            (
                "index.json",
                self.writes.index.as_ref().map(|it| it.text().len()),
            ),
            (
                "manifest.json",
                self.writes.manifest_json.as_ref().map(String::len),
            ),
            (
                "repositories",
                self.writes.repositories.as_ref().map(String::len),
            ),
        ];
        for (name, len) in texts {
            if let (Some(len), Some((number, _))) = (len, packed.in_layout(name.as_bytes())) {
                change.edited.insert(number, len as u64);
            }
        }
        for blob in &self.writes.blobs {
            let (path, len) = (blob.digest.path_in_layout(), blob.bytes.len() as u64);
            match packed.in_layout(path.as_bytes()) {
                Some((number, _)) => drop(change.edited.insert(number, len)),
                None => drop(change.added.insert(packed.whole(path.as_bytes()), len)),
            }
        }
        Ok(change)
    }

    /// Returns the change if only these blobs were deleted.
    pub(crate) fn dropped(
        &self,
        packed: &Packed,
        deletions: impl Iterator<Item = Deletion>,
    ) -> ArchiveChange {
        let mut change = ArchiveChange::default();
        for deletion in deletions {
            let digest = self.blobs.digest(deletion.id);
            let found =
                digest.and_then(|digest| packed.in_layout(digest.path_in_layout().as_bytes()));
            change.dropped.extend(found.map(|(number, _)| number));
        }
        change
    }

    /// Records by how many bytes the archive of the layout gets shorter, if it is not compressed.
    pub(crate) fn note_archive(&mut self, shorter: i128) {
        self.packing = 0;
        let totals = self.totals();
        self.packing = totals.packing_for(shorter);
    }
}
