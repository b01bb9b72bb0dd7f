//! The clock of the system, which ends protections.
//!
//! Everything else takes the current time as a parameter. A protection must not end by the time that a caller passes, so what ends
//! one also reads this clock: the default grace period, the check of a plan's time, and the runs in the trash, which record it as well.

use jiff::Timestamp;

/// Returns the time of the system's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "protections end by the clock of the system alone"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
