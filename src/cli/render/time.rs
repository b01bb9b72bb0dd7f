//! Times relative to now, worded as in docker.

use std::time::Duration;

use jiff::Timestamp;
use ocisweep::parse::size::human_duration;

/// Returns how long ago a time was: `3 days ago`.
pub fn ago(now: Timestamp, time: Timestamp) -> String {
    format!("{} ago", human_duration(between(time, now)))
}

/// Returns when a time will be: `in 3 days`.
pub fn until(now: Timestamp, time: Timestamp) -> String {
    format!("in {}", human_duration(between(now, time)).to_lowercase())
}

/// Returns the time between two times; zero if the end comes first.
fn between(begin: Timestamp, end: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(begin)).unwrap_or_default()
}
