//! Separate file systems for tests: in memory, or in a file on a loop device.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::environment::{has_tools, is_root, memory_dir, skip};
use crate::support::run::new_command;

/// A mounted file system, which is unmounted when this is dropped.
#[derive(Debug)]
pub(crate) struct Mount {
    /// The type and options of the mount.
    args: Vec<String>,
    point: PathBuf,
    is_mounted: bool,
    /// Dropped last: it contains everything above.
    _home: TempDir,
}

impl Mount {
    /// Mounts one in memory. `None`: that is not possible here.
    #[track_caller]
    pub(crate) fn tmpfs(size: &str) -> Option<Self> {
        let size = format!("size={size}");
        Self::new(memory_dir(), &["-t", "tmpfs", "-o", &size, "none"])
    }

    /// Makes a file system of this kind in a file, with these options of its `mkfs`, and mounts it. `None`: that is not
    /// possible here.
    #[track_caller]
    pub(crate) fn disk(kind: &str, mebibytes: u64, options: &[&str]) -> Option<Self> {
        let mkfs = format!("mkfs.{kind}");
        if !has_tools(&[&mkfs]) {
            return None;
        }
        let home = memory_dir();
        let image = home.path().join("image");
        File::create(&image)
            .and_then(|file| file.set_len(mebibytes << 20))
            .expect("a sparse file can be made");
        let made = new_command(&mkfs)
            .args(options)
            .arg("-q")
            .arg(&image)
            .output();
        let made = made.expect("mkfs can be started");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let image = image.to_str().expect("paths of the tests are UTF-8");
        Self::new(home, &["-t", kind, "-o", "loop", image])
    }

    /// Mounts an overlay of which this directory is the lower layer. `None`: that is not possible here.
    #[track_caller]
    pub(crate) fn overlay(lower: &Path) -> Option<Self> {
        let home = memory_dir();
        let [upper, work] = ["upper", "work"].map(|name| home.path().join(name));
        for dir in [&upper, &work] {
            fs::create_dir(dir).expect("a directory can be made");
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        Self::new(home, &["-t", "overlay", "-o", &options, "none"])
    }

    #[track_caller]
    fn new(home: TempDir, args: &[&str]) -> Option<Self> {
        if !is_root() {
            skip("only root can mount");
            return None;
        }
        let point = home.path().join("mount");
        fs::create_dir(&point).expect("a directory can be made");
        let mut mount = Self {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            point,
            is_mounted: false,
            _home: home,
        };
        match mount.mount() {
            Ok(()) => Some(mount),
            Err(why) => {
                skip(&format!("cannot mount {args:?}: {why}"));
                None
            }
        }
    }

    /// Returns where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.point
    }

    /// Mounts it, at first and after a crash.
    pub(crate) fn mount(&mut self) -> Result<(), String> {
        let mut command = new_command("mount");
        command.args(&self.args).arg(&self.point);
        run(command)?;
        self.is_mounted = true;
        Ok(())
    }

    /// Unmounts it.
    pub(crate) fn unmount(&mut self) {
        run_when_idle(|| {
            let mut command = new_command("umount");
            command.arg(&self.point);
            command
        });
        self.is_mounted = false;
    }

    /// Makes it read-only.
    pub(crate) fn seal(&self) {
        run_when_idle(|| {
            let mut command = new_command("mount");
            command.args(["-o", "remount,ro"]).arg(&self.point);
            command
        });
    }

    /// Fills it to the last byte. Returns the directory of the filling files.
    pub(crate) fn fill(&self) -> PathBuf {
        let ballast = self.point.join("ballast");
        fs::create_dir(&ballast).expect("the directory can be made");
        // Several files, since some file systems reserve a little space that only small writes get.
        for number in 0..4096 {
            let path = ballast.join(number.to_string());
            let made = OpenOptions::new().create_new(true).append(true).open(path);
            let Ok(mut file) = made else { break };
            let mut has_written = false;
            for chunk in [1 << 20, 4096, 1] {
                has_written |= write_until_full(&mut file, &vec![b'x'; chunk]);
            }
            if file.sync_all().is_err() || !has_written {
                break;
            }
        }
        ballast
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.is_mounted {
            let mut command = new_command("umount");
            command.arg("--lazy").arg(&self.point);
            // If it cannot be unmounted, it is left mounted; the test has already reported its result.
            drop(run(command));
        }
    }
}

/// Writes until nothing more fits; returns `true` if anything did.
fn write_until_full(file: &mut File, bytes: &[u8]) -> bool {
    let mut has_written = false;
    loop {
        match file.write(bytes) {
            Ok(written) => has_written |= written > 0,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                return has_written;
            }
        }
    }
}

/// Runs a command that needs an idle file system. A program that another test starts has copies of all open files of this process for
/// a moment, between `fork` and `exec`; nothing tells when it is over.
#[track_caller]
fn run_when_idle(command: impl Fn() -> Command) {
    let mut result = run(command());
    for _ in 0..500 {
        if !result.as_ref().is_err_and(|why| why.contains("busy")) {
            break;
        }
        thread::sleep(Duration::from_millis(20));
        result = run(command());
    }
    result.expect("the file system is idle");
}

fn run(mut command: Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}", said.trim()))
}
