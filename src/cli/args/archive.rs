//! Flags for layouts that are archives.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use ocisweep::archive::Compression;

/// Where and how a command that changes an archive writes the new one.
#[derive(Debug, ClapArgs)]
pub struct ArchiveArgs {
    /// Write the new archive to FILE and keep the old one; - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Compress the new archive with gzip, zstd or none; default: as the old one
    #[arg(long, value_name = "FORMAT")]
    pub compress: Option<CompressionName>,
}

/// How a new archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompressionName {
    None,
    Gzip,
    Zstd,
}

impl From<CompressionName> for Compression {
    fn from(name: CompressionName) -> Self {
        match name {
            CompressionName::None => Self::None,
            CompressionName::Gzip => Self::Gzip,
            CompressionName::Zstd => Self::Zstd,
        }
    }
}
