//! Files in which a run records what it did, for administrators.

use std::path::PathBuf;

use clap::Args as ClapArgs;

/// A log of changes.
#[derive(Debug, ClapArgs)]
pub struct AuditArgs {
    /// Append to FILE, as lines of JSON, who changed what and why: flushed to disk before the first change, and again after
    /// the last; nothing is changed if that fails
    #[arg(long, value_name = "FILE")]
    pub audit_log: Option<PathBuf>,
}

/// Numbers for a monitoring system.
#[derive(Debug, ClapArgs)]
pub struct MetricsArgs {
    /// Replace FILE with the numbers of this run in the format of Prometheus, for the textfile collector of node_exporter
    #[arg(long, value_name = "FILE")]
    pub metrics: Option<PathBuf>,
}
