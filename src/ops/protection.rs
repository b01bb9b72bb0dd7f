//! What protects a layout from a run: the grace period, the age of temporary files, and the clock.

use std::time::Duration;

use jiff::Timestamp;

use crate::graph::GracePolicy;
use crate::plan::SweepOptions;

/// The ages below which files are kept.
#[derive(Debug, Clone, Copy)]
pub struct Protection {
    /// The time used to decide whether protections have expired.
    pub now: Timestamp,
    /// The rule by which an orphan counts as in flight.
    pub in_flight: GracePolicy,
    /// The options of the sweep.
    pub sweep: SweepOptions,
}

impl Protection {
    /// The default minimum age of a temporary file to delete.
    pub const TEMP_AGE: Duration = Duration::from_secs(24 * 60 * 60);

    /// Returns the default protection: orphans newer than an hour and temporary files newer than a day are kept.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self::with(now, now, Duration::from_secs(60 * 60), Self::TEMP_AGE)
    }

    /// Returns a protection with these ages. `started` is the start of the run; `execute` refuses a plan for a future time.
    #[must_use]
    pub fn with(now: Timestamp, started: Timestamp, grace: Duration, temp_age: Duration) -> Self {
        Self {
            now,
            in_flight: GracePolicy::new(now, grace),
            sweep: SweepOptions::new(now, started, temp_age),
        }
    }
}
