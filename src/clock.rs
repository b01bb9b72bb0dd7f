//! The system clock, which decides when protections expire.
//!
//! Everything else takes the current time as a parameter. A time passed by a caller must not end a protection, so the two
//! places that end one also read this clock.

use jiff::Timestamp;

/// Returns the time of the system clock.
#[expect(
    clippy::disallowed_methods,
    reason = "only the system clock ends protections"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
