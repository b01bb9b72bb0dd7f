//! Exit statuses, in one place.

use std::process::ExitCode;

use ocisweep::{Error, ErrorKind};

/// How a run ended. Of several layouts the worst counts.
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
/// The command line makes no sense.
pub const USAGE: Exit = Exit { status: 2, rank: 3 };
/// The size budget cannot be reached.
pub const BUDGET: Exit = Exit { status: 5, rank: 3 };
/// Another process works on the layout.
pub const BUSY: Exit = Exit { status: 6, rank: 4 };
/// Something cannot be read or written.
pub const IO: Exit = Exit { status: 4, rank: 5 };
/// Refused, nothing was changed.
pub const REFUSED: Exit = Exit { status: 3, rank: 6 };
/// A signal asked to stop.
pub const INTERRUPTED: Exit = Exit {
    status: 130,
    rank: 7,
};

impl Exit {
    /// Returns the worse of two.
    pub const fn and(self, other: Self) -> Self {
        if other.rank > self.rank { other } else { self }
    }

    /// Returns the status for `main`.
    pub fn code(self) -> ExitCode {
        ExitCode::from(self.status)
    }

    /// Returns how an error ends a run.
    pub const fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Refused => REFUSED,
            ErrorKind::Busy => BUSY,
            ErrorKind::Interrupted => INTERRUPTED,
            _ => IO,
        }
    }
}
