//! Writes an archive after a run has changed its unpacked files.
//!
//! *Promise*: the old archive is replaced only if the run is complete: a run that was interrupted or failed has changed only
//! the scratch directory.

use std::io;
use std::sync::Arc;

use crate::archive::{Archive, Archives, Written};
use crate::error::{ArchiveProblem, Error, Result};
use crate::execute::Outcome;
use crate::fs::FileTime;
use crate::layout::IndexTime;
use crate::oci::Digest;
use crate::plan::{GroupPlan, Plan};
use crate::progress::Progress;

use super::LayoutGroup;

/// The archive that a run works on.
pub(super) struct Target<'a> {
    archives: &'a Archives,
    archive: Arc<Archive>,
}

/// Whether the executed plan is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    /// It is.
    Done,
    /// Another program has replaced the archive: it must be planned again.
    Again,
}

impl<'a> Target<'a> {
    /// Returns the archive of an open group; `None`: it is a directory.
    pub(super) fn of(group: &'a LayoutGroup) -> Option<Self> {
        let (archives, archive) = group.archive()?;
        Some(Self { archives, archive })
    }

    /// Refuses operations that an archive does not support, before anything is changed.
    ///
    /// # Errors
    /// [`Error::Archive`].
    pub(super) fn refuse_impossible(&self, group: &LayoutGroup, executes: bool) -> Result<()> {
        if group.trash().is_some() {
            return Err(Error::Archive {
                path: group.path().to_owned(),
                what: ArchiveProblem::NoTrash,
            });
        }
        let options = self.archives.options();
        self.archive.refuse_unless_writable(options, executes)
    }

    /// Records in a plan by how much the archive gets shorter.
    ///
    /// # Errors
    /// [`Error::Edit`] if the plan cannot be applied to the archive.
    pub(super) fn note(&self, plan: &mut GroupPlan) -> Result<()> {
        let packed = self.archive.packed();
        for plan in &mut plan.layouts {
            let change = plan.archive_change(packed)?;
            if let Some(shorter) = self.archive.shorter_by(&change, self.archives.options()) {
                plan.note_archive(shorter);
            }
        }
        Ok(())
    }

    /// Writes the new archive, and records in the outcome by how much it is shorter.
    ///
    /// # Errors
    /// The error of writing it; the old archive is then unchanged.
    pub(super) fn finish(
        &self,
        plan: &Plan,
        outcome: &mut Outcome,
        group: &LayoutGroup,
        progress: &dyn Progress,
    ) -> Result<Finish> {
        if outcome.interrupted {
            return Err(Error::Interrupted);
        }
        if let Some(error) = outcome.late.take() {
            return Err(error);
        }
        if let Some((_, error)) = outcome.failed.pop() {
            return Err(scratch(group, &error));
        }
        let options = self.archives.options();
        let new = plan.writes.blobs.iter().map(|blob| blob.digest.clone());
        let new: Vec<Digest> = new.collect();
        let time = match (&plan.writes.index, plan.writes.index_time) {
            _ if !self.archive.is_replaced(options) => FileTime::New,
            (Some(_), IndexTime::AsBefore) => FileTime::AsBefore,
            (Some(_), IndexTime::At(time)) => FileTime::At(time),
            (None, _) => FileTime::New,
        };
        let planned = plan.archive_change(self.archive.packed())?;
        let archive = &self.archive;
        let written = archive.write(&planned, &new, time, options, progress)?;
        // The unpacked files are no longer those of the archive.
        self.archives.forget(group.path());
        match written {
            Written::Yes(shorter) => {
                if let Some(shorter) = shorter {
                    outcome.done.packing_bytes = outcome.done.packing_for(shorter);
                }
                Ok(Finish::Done)
            }
            Written::Changed => Ok(Finish::Again),
        }
    }
}

fn scratch(group: &LayoutGroup, error: &io::Error) -> Error {
    Error::Archive {
        path: group.path().to_owned(),
        what: ArchiveProblem::Scratch(error.to_string()),
    }
}
