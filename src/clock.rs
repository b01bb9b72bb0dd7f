//! The clock of the system, which ends protections.
//!
//! Everything else takes the current time as a parameter. A protection must not end by the time that a caller passes, so the two
//! places that end one also read this clock.

use jiff::Timestamp;

/// Returns the time of the system's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "only the system clock ends protections"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
