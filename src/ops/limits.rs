//! The limits of a budget in bytes: a size, or a part of the file system, in bytes at one moment.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::Space;
use crate::parse::size::Amount;

/// A budget as it is requested.
#[derive(Debug, Clone, Copy, Default)]
pub struct BudgetRequest {
    /// The maximum size: bytes, or a part of the file system.
    pub max_size: Option<Amount>,
    /// The space that must be free on the file system.
    pub min_free: Option<Amount>,
}

/// A budget in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// The maximum number of remaining bytes.
    pub max_size: Option<u64>,
    /// The space that must be free on the file system.
    pub free: Option<FreeSpace>,
}

/// The free space of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeSpace {
    /// The bytes that must be free.
    pub wanted: u64,
    /// The bytes that were free, for a user without privileges, when the limits were read.
    pub available: u64,
}

/// Why the limits of several layouts are unknown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// A file system cannot be read.
    #[error(transparent)]
    Layout(#[from] Error),
    /// The limit depends on the file system, and the layouts are on several.
    #[error(
        "`{}` and `{}` are on different file systems",
        first.display(),
        other.display()
    )]
    FileSystems {
        /// The first layout.
        first: PathBuf,
        /// The first layout on another file system.
        other: PathBuf,
    },
}

impl BudgetRequest {
    /// Returns `true` if there is a limit.
    #[must_use]
    pub const fn is_given(&self) -> bool {
        self.max_size.is_some() || self.min_free.is_some()
    }

    /// Returns `true` if a limit depends on the file system.
    fn depends_on_disk(&self) -> bool {
        let is_part = |amount| matches!(amount, Amount::Part(_));
        self.min_free.is_some() || self.max_size.is_some_and(is_part)
    }

    /// Returns the limits of a layout or an archive, which depend on its file system as it is now.
    ///
    /// # Errors
    /// [`Error::Read`] if the file system cannot be read.
    pub fn limits(&self, layout: &Path) -> Result<Limits> {
        if !self.depends_on_disk() {
            return Ok(Limits {
                max_size: self.max_size.map(|amount| amount.of(0)),
                free: None,
            });
        }
        let place = place_of(layout);
        let space = match Space::of(&place) {
            Ok(space) => space,
            Err(source) => return Err(Error::read(&place)(source)),
        };
        let free = self.min_free.map(|amount| FreeSpace {
            wanted: amount.of(space.total),
            available: space.available,
        });
        Ok(Limits {
            max_size: self.max_size.map(|amount| amount.of(space.total)),
            free,
        })
    }

    /// Returns the limits of several layouts together.
    ///
    /// # Errors
    /// [`LimitsError::FileSystems`] if they depend on the file system and the layouts are on several; [`Error::Read`].
    pub fn limits_together(&self, layouts: &[PathBuf]) -> Result<Limits, LimitsError> {
        let Some(first) = layouts.first() else {
            return Ok(Limits::default());
        };
        if self.depends_on_disk() {
            let device = |layout: &PathBuf| match fs::metadata(place_of(layout)) {
                Ok(found) => Ok(found.dev()),
                Err(source) => Err(Error::read(layout)(source)),
            };
            let own = device(first)?;
            for layout in layouts {
                if device(layout)? != own {
                    return Err(LimitsError::FileSystems {
                        first: first.clone(),
                        other: layout.clone(),
                    });
                }
            }
        }
        Ok(self.limits(first)?)
    }
}

impl Limits {
    /// Returns the bytes to free so that the file system reaches its limit.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        let free = self.free?;
        Some(free.wanted.saturating_sub(free.available))
    }
}

/// Returns the directory of the blobs of a layout. For an archive, the directory that contains it, since its file is
/// replaced.
fn place_of(layout: &Path) -> PathBuf {
    let blobs = layout.join("blobs");
    if blobs.is_dir() {
        blobs
    } else {
        layout.to_owned()
    }
}
