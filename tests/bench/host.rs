//! Describes the machine that the numbers were measured on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use crate::parallel;

/// A kind of file system, for the number of threads that delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileSystem {
    pub(crate) name: &'static str,
    /// The number of threads that empty a directory fastest.
    pub(crate) threads: usize,
}

/// The file systems that are known by name: their magic numbers are in `statfs(2)`.
const KNOWN: [(i64, FileSystem); 6] = [
    (
        0xEF53,
        FileSystem {
            name: "ext4",
            threads: 4,
        },
    ),
    (
        0x0102_1994,
        FileSystem {
            name: "tmpfs",
            threads: 4,
        },
    ),
    (
        0x5846_5342,
        FileSystem {
            name: "xfs",
            threads: 1,
        },
    ),
    (
        0x9123_683E,
        FileSystem {
            name: "btrfs",
            threads: 1,
        },
    ),
    (
        0x794C_7630,
        FileSystem {
            name: "overlay",
            threads: 1,
        },
    ),
    (
        0x6969,
        FileSystem {
            name: "nfs",
            threads: 1,
        },
    ),
];

/// Returns the file system of a directory.
pub(crate) fn file_system(dir: &Path) -> io::Result<FileSystem> {
    let own = rustix::fs::openat(
        CWD,
        dir,
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    let stat = rustix::fs::fstatfs(&own)?;
    #[expect(
        clippy::useless_conversion,
        reason = "the type of f_type differs between architectures"
    )]
    let magic = i64::try_from(stat.f_type).unwrap_or_default();
    Ok(KNOWN.into_iter().find(|(known, _)| *known == magic).map_or(
        FileSystem {
            name: "unknown",
            threads: 1,
        },
        |(_, file_system)| file_system,
    ))
}

/// Returns the directory of files in memory, if a million blobs fit into it.
pub(crate) fn memory() -> Option<PathBuf> {
    let dir = Path::new("/dev/shm");
    let stat = rustix::fs::statvfs(dir).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    (free >= 10 << 30 && file_system(dir).ok()?.name == "tmpfs").then(|| dir.to_owned())
}

/// Describes the machine in one line.
pub(crate) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let memory = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(format!(", {} GiB of memory", kib >> 20))
    });
    let cores = match parallel::cores() {
        1 => "1 core".to_owned(),
        cores => format!("{cores} cores"),
    };
    format!(
        "{cores} of {}{}",
        cpu.unwrap_or_else(|| "an unknown CPU".to_owned()),
        memory.unwrap_or_default()
    )
}

/// Returns the version of the kernel.
pub(crate) fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// Returns the load averages of the last 1, 5 and 15 minutes.
pub(crate) fn load() -> String {
    fs::read_to_string("/proc/loadavg").map_or_else(
        |_| "unknown".to_owned(),
        |text| {
            text.split_whitespace()
                .take(3)
                .collect::<Vec<_>>()
                .join(" ")
        },
    )
}
