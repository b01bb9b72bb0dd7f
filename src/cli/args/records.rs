//! Files in which a run records what it did, for those who operate the machine.

use std::path::PathBuf;

use clap::Args as ClapArgs;

/// A log of changes.
#[derive(Debug, ClapArgs)]
pub struct AuditArgs {
    /// Append to FILE, as lines of JSON, who deletes what and why: flushed to disk before the first change, and again after the
    /// last; nothing is changed if that fails
    #[arg(long, value_name = "FILE")]
    pub audit_log: Option<PathBuf>,
}
