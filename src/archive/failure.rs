//! Why an archive was not unpacked.

use std::io;

use super::tar::Problem;

/// Why an archive was not unpacked.
pub(super) enum Failure {
    Archive(Problem),
    Scratch(io::Error),
    Several(Vec<String>),
    /// It needs more space than a scratch directory in memory may use.
    TooLarge,
    Interrupted,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
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
    Failure::Archive(Problem::Bad(why))
}
