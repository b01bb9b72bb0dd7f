//! The system clock, which decides when protections expire.
//!
//! Everything else takes the current time as a parameter. A time passed by a caller must not end a protection, so what ends
//! one also reads this clock: the default grace period, the check of a plan's time, and the runs in the trash, which record it as well.

use jiff::Timestamp;

/// Returns the time of the system clock.
#[expect(
    clippy::disallowed_methods,
    reason = "only the system clock ends protections"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
