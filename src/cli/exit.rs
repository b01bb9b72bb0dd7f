//! Exit statuses, in one place.

use std::process::ExitCode;

use ocisweep::{Error, ErrorKind};

/// The result of a run.
///
/// With several layouts, the worst one counts. From best to worst: 0, 10, 1, 5, 2, 6, 4, 3, 130. A refused layout needs a
/// person to inspect it; other errors may not recur in the next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    status: u8,
    /// Larger is worse.
    rank: u8,
}

/// Done, or nothing to do.
pub const DONE: Exit = Exit { status: 0, rank: 0 };
/// `--dry-run --exit-code`: something would change.
pub const WOULD_CHANGE: Exit = Exit {
    status: 10,
    rank: 1,
};
/// Not everything was done.
pub const INCOMPLETE: Exit = Exit { status: 1, rank: 2 };
/// The command line is invalid.
pub const USAGE: Exit = Exit { status: 2, rank: 4 };
/// The size budget cannot be reached.
pub const BUDGET: Exit = Exit { status: 5, rank: 3 };
/// Another process works on the layout.
pub const BUSY: Exit = Exit { status: 6, rank: 5 };
/// Something cannot be read or written.
pub const IO: Exit = Exit { status: 4, rank: 6 };
/// Refused, nothing was changed.
pub const REFUSED: Exit = Exit { status: 3, rank: 7 };
/// A signal stopped the run.
pub const INTERRUPTED: Exit = Exit {
    status: 130,
    rank: 8,
};

impl Exit {
    /// Returns the worse of two.
    pub const fn and(self, other: Self) -> Self {
        if other.rank > self.rank { other } else { self }
    }

    /// Returns the result of one of several layouts, as a word.
    pub const fn state(self) -> &'static str {
        match self.status {
            0 => "done",
            10 => "would change",
            1 => "incomplete",
            2 => "usage-error",
            3 => "refused",
            5 => "over budget",
            6 => "busy",
            130 => "interrupted",
            _ => "failed",
        }
    }

    /// Returns the status as a number.
    pub const fn status(self) -> u8 {
        self.status
    }

    /// Returns the status for `main`.
    pub fn code(self) -> ExitCode {
        ExitCode::from(self.status)
    }

    /// Returns the exit for an error.
    pub const fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Refused => REFUSED,
            ErrorKind::Busy => BUSY,
            ErrorKind::Interrupted => INTERRUPTED,
            _ => IO,
        }
    }
}
