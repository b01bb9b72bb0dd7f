//! Why an archive was not unpacked.

use std::io;

use super::tar::TarProblem;

/// Why an archive was not unpacked.
pub(super) enum Failure {
    Archive(TarProblem),
    Scratch(io::Error),
    Several(Vec<String>),
    /// It needs more space than a scratch directory in memory may use.
    TooLarge,
    Interrupted,
}

impl From<TarProblem> for Failure {
    fn from(problem: TarProblem) -> Self {
        Self::Archive(problem)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Archive(error.into())
    }
}

/// Returns an error about the archive.
pub(super) fn bad(why: String) -> Failure {
    Failure::Archive(TarProblem::Bad(why))
}
