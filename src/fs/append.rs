//! A log to which lines are appended.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::{Disk, Fs as _, Links, is_same_file, open_dir, stat_of, try_lock};

/// A file that only grows. It is opened with `O_APPEND`: several processes may write to it, and the bytes of one write call
/// stay together.
#[derive(Debug)]
pub struct AppendFile {
    file: File,
}

impl AppendFile {
    /// Opens a regular file, and creates it if it does not exist. A file that is not empty must begin with `head`: a
    /// mistyped path must not append to something else.
    ///
    /// # Errors
    /// Those of `open` and `fsync`; a file of another kind or with another beginning.
    pub fn open(path: &Path, head: &[u8]) -> io::Result<Self> {
        // A FIFO without a reader would block.
        let flags =
            OFlags::RDWR | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let open = |flags| {
            let mode = Mode::from_raw_mode(0o640);
            retry_on_intr(|| rustix::fs::openat(CWD, path, flags, mode))
        };
        let file = match open(flags) {
            Err(Errno::NOENT) => open(flags | OFlags::CREATE)?,
            opened => opened?,
        };
        let file = File::from(file);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut start = Vec::new();
        (&file).take(head.len() as u64).read_to_end(&mut start)?;
        if !head.starts_with(&start) {
            let why = "it exists and is another kind of file; give another name";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        if metadata.len() == 0 {
            // The name must survive a power loss, like the lines.
            let directory = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            let directory = open_dir(CWD, directory, Links::Follow)?;
            Disk.sync_dir(directory.as_fd())?;
        }
        Ok(Self { file })
    }

    /// Locks the file until it is closed, for a writer that replaces it. Returns `false` if another process has locked it, or
    /// has replaced it since it was opened. A file system without locks has no other writer.
    ///
    /// # Errors
    /// Those of `flock` and `stat`.
    pub fn try_lock(&self, path: &Path) -> io::Result<bool> {
        match try_lock(&self.file) {
            Ok(()) | Err(Errno::NOTSUP | Errno::NOSYS | Errno::NOLCK) => {}
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let opened = stat_of(&self.file)?;
        let there = retry_on_intr(|| rustix::fs::stat(path))?;
        Ok(is_same_file(&opened, &there))
    }

    /// Appends complete lines. After a line that was truncated by a crash, they begin on a new one.
    ///
    /// # Errors
    /// Those of `write`. Some of the lines may then be in the file.
    pub fn append(&self, lines: &[u8]) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        let mut last = [b'\n'];
        if let Some(at) = len.checked_sub(1) {
            self.file.read_exact_at(&mut last, at)?;
        }
        if last == *b"\n" {
            (&self.file).write_all(lines)
        } else {
            (&self.file).write_all(&[b"\n", lines].concat())
        }
    }

    /// Flushes everything that was appended to disk.
    ///
    /// # Errors
    /// Those of `fsync`.
    pub fn sync(&self) -> io::Result<()> {
        Disk.sync(self.file.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_after_a_truncated_line_begin_on_a_new_one() {
        let temp = tempfile::tempdir().expect("a directory can be made");
        let path = temp.path().join("log");
        std::fs::write(&path, "{\"a\":1}\n{\"a\":").expect("a file can be written");
        let log = AppendFile::open(&path, b"{\"a\":").expect("the file is a log");
        log.append(b"{\"a\":2}\n").expect("the line can be written");
        log.append(b"{\"a\":3}\n").expect("the line can be written");
        log.sync().expect("the file can be flushed");
        let text = std::fs::read_to_string(&path).expect("the file can be read");
        assert_eq!(text, "{\"a\":1}\n{\"a\":\n{\"a\":2}\n{\"a\":3}\n");
    }

    #[test]
    fn one_writer_has_the_lock() {
        let temp = tempfile::tempdir().expect("a directory can be made");
        let path = temp.path().join("log");
        let open = || AppendFile::open(&path, b"{").expect("the file can be opened");
        let is_locked = |log: &AppendFile| log.try_lock(&path).expect("it can be locked");
        let (first, second) = (open(), open());
        assert!(is_locked(&first));
        assert!(!is_locked(&second));
        drop(first);
        assert!(is_locked(&second));
        std::fs::write(temp.path().join("new"), "").expect("a file can be written");
        std::fs::rename(temp.path().join("new"), &path).expect("it can be renamed");
        let third = open();
        drop(second);
        assert!(is_locked(&third));
        let replaced = open();
        drop(third);
        std::fs::remove_file(&path).expect("it can be removed");
        std::fs::write(&path, "").expect("a file can be written");
        assert!(!is_locked(&replaced), "it was replaced");
    }

    #[test]
    fn other_files_are_refused_and_not_changed() {
        let temp = tempfile::tempdir().expect("a directory can be made");
        let path = temp.path().join("index.json");
        std::fs::write(&path, "{\"schemaVersion\":2}").expect("a file can be written");
        AppendFile::open(&path, b"{\"schema_version\":").expect_err("that is not a log");
        let text = std::fs::read_to_string(&path).expect("the file can be read");
        assert_eq!(text, "{\"schemaVersion\":2}");
        AppendFile::open(temp.path(), b"{").expect_err("that is a directory");
        let fifo = temp.path().join("fifo");
        rustix::fs::mknodat(
            CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .expect("a FIFO can be made");
        AppendFile::open(&fifo, b"{").expect_err("that is a FIFO");
    }
}
