//! Several groups in one run: what they have in common.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::layout::discover::sharing;

use super::LayoutGroup;

/// Which layouts of a run use the same blobs without a store. Each of them would treat as garbage what only the other one needs.
#[derive(Debug)]
pub struct Sharing {
    /// For each group, its path and that of another one.
    refused: Vec<Option<(PathBuf, PathBuf)>>,
}

impl Sharing {
    /// Compares the directories of blobs of all groups.
    #[must_use]
    pub fn of(groups: &[LayoutGroup]) -> Self {
        let paths: Vec<PathBuf> = groups.iter().map(|group| group.path().to_owned()).collect();
        let found = groups.iter().zip(sharing(&paths));
        // A store refuses what it shares with layouts that are not in its group.
        let refused = found.map(|(group, other)| match group.paths() {
            (None, _) => Some((group.path().to_owned(), other?)),
            (Some(_), _) => None,
        });
        Self {
            refused: refused.collect(),
        }
    }

    /// Refuses the group with this number if it shares its blobs with another one of the run.
    ///
    /// # Errors
    /// [`Error::SharedWith`].
    pub fn refuse(&self, number: usize) -> Result<()> {
        match self.refused.get(number) {
            Some(Some((path, other))) => Err(Error::SharedWith {
                path: path.clone(),
                other: other.clone(),
            }),
            Some(None) | None => Ok(()),
        }
    }
}
