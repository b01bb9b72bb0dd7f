//! Finds the process that holds a lock, for messages.
//!
//! *Failure*: if the kernel does not report it, or reports it for another namespace, the holder is unknown. Nothing depends
//! on it.

use std::os::fd::AsFd;
use std::path::Path;

use crate::fs::stat_of;

/// Returns the message for a locked file.
pub(super) fn locked_by_another(path: &Path, file: impl AsFd) -> String {
    let by = holder(file).unwrap_or_else(|| "another process".to_owned());
    format!("`{}` is locked by {by}", path.display())
}

/// Returns the process that holds a lock on a file: `process 1234 (buildkitd)`.
fn holder(file: impl AsFd) -> Option<String> {
    let stat = stat_of(file).ok()?;
    let (major, minor) = (
        rustix::fs::major(stat.st_dev),
        rustix::fs::minor(stat.st_dev),
    );
    let file = format!("{major:02x}:{minor:02x}:{}", stat.st_ino);
    // The kernel returns the list in pieces, and a list that changes in between can lack a line.
    let process = (0..3).find_map(|_| {
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        process_in(&locks, &file)
    })?;
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).ok();
    Some(match name.as_deref().map(str::trim_end) {
        Some(name) if !name.is_empty() => format!("process {process} ({name})"),
        _ => format!("process {process}"),
    })
}

/// Finds in the text of `/proc/locks` the process that holds a lock on a file.
fn process_in(locks: &str, file: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        // `1: FLOCK  ADVISORY  WRITE 1234 08:02:131085 0 EOF`; a waiting one has `->` after the number.
        let mut words = line.split_whitespace().skip(1);
        let (_kind, _mode, _access) = (words.next()?, words.next()?, words.next()?);
        let process = words.next()?.parse().ok()?;
        (words.next()? == file && process != 0).then_some(process)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_by_file_and_waiting_processes_are_ignored() {
        let locks = "1: FLOCK  ADVISORY  WRITE 11 08:02:131085 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 22 08:02:131086 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 33 08:02:131087 0 EOF\n\
                     3: POSIX  ADVISORY  READ 0 08:02:131088 0 EOF\n";
        assert_eq!(process_in(locks, "08:02:131086"), Some(22));
        assert_eq!(process_in(locks, "08:02:131087"), None);
        assert_eq!(
            process_in(locks, "08:02:131088"),
            None,
            "of another namespace"
        );
        assert_eq!(process_in(locks, "08:02:1"), None);
        assert_eq!(process_in("garbage", "08:02:1"), None);
    }

    #[test]
    fn a_lock_of_this_process_names_it() {
        let temp = tempfile::tempdir().expect("a directory can be made");
        let path = temp.path().join("lock");
        let file = std::fs::File::create(&path).expect("a file can be made");
        let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&file, exclusive).expect("no other process holds it");
        let text = locked_by_another(&path, &file);
        let process = format!("is locked by process {} (", std::process::id());
        assert!(text.contains(&process), "{text}");
    }
}
