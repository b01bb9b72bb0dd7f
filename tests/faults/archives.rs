//! Kills and errors while an archive is read and replaced: the old archive or the new one exists, complete, and another run
//! finishes the work.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;

use crate::kill::{changes, count, is_taken};
use crate::stall::Stalled;
use crate::strace::{Recording, args};
use crate::support::LayoutBuilder;
use crate::support::environment::{has_strace, skip};
use crate::support::extent::{Extent, extent, takes};
use crate::support::run::new_command;

/// Every system call that unpacks, writes or replaces an archive.
const CALLS: [&str; 13] = [
    "openat",
    "write",
    "copy_file_range",
    "ftruncate",
    "utimensat",
    "mkdirat",
    "unlinkat",
    "linkat",
    "renameat",
    "renameat2",
    "fsync",
    "fchmod",
    "flock",
];

/// An archive in a directory of its own, and a directory for temporary files.
struct Fixture {
    temp: TempDir,
}

impl Fixture {
    fn new(bytes: &[u8]) -> Self {
        let temp = TempDir::new().expect("a temporary directory");
        for name in ["tmp", "images"] {
            fs::create_dir(temp.path().join(name)).expect("a directory");
        }
        fs::write(temp.path().join("images/app.tar"), bytes).expect("it can be written");
        Self { temp }
    }

    fn archive(&self) -> PathBuf {
        self.temp.path().join("images/app.tar")
    }

    fn args(&self) -> Vec<OsString> {
        let path = self.archive();
        args([
            "rm".as_ref(),
            path.as_os_str(),
            "app:1".as_ref(),
            "--grace".as_ref(),
            "0".as_ref(),
        ])
    }

    /// Runs the command, with an injection if there is one; returns its exit status.
    fn run(&self, injection: Option<&str>) -> (Option<i32>, String) {
        let program = env!("CARGO_BIN_EXE_ocisweep");
        let mut command = match injection {
            None => new_command(program),
            Some(injection) => {
                let name = injection.split(':').next().unwrap_or_default();
                let mut command = new_command("strace");
                command.args(["-f", "-qq", "-o", "/dev/null"]);
                command.args(["-e", &format!("trace={name}")]);
                command.args(["-e", &format!("inject={injection}")]);
                // Stops only at these calls; otherwise a signal would never be delivered.
                if injection.contains(":error=") {
                    command.arg("--seccomp-bpf");
                }
                command.arg(program);
                command
            }
        };
        let output = command
            .args(self.args())
            .env("TMPDIR", self.temp.path().join("tmp"))
            .env("RAYON_NUM_THREADS", "1")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .expect("it can be started");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.archive()).expect("the archive is there")
    }

    /// Returns the files beside the archive.
    fn beside(&self) -> Vec<String> {
        let names = fs::read_dir(self.temp.path().join("images")).expect("it can be listed");
        names
            .map(|name| name.expect("it can be listed").file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| name != "app.tar")
            .collect()
    }
}

/// Returns an archive of two images, and the same without the first one.
fn archives() -> (Vec<u8>, Vec<u8>) {
    let mut layout = LayoutBuilder::new();
    for tag in ["app:1", "app:2"] {
        let image = layout.image(
            "linux/amd64",
            tag,
            &[tag.as_bytes(), &[7; 200_000], &[8; 150_000]],
        );
        layout.tag(&image.manifest, tag);
    }
    layout.write();
    let output = new_command("tar")
        .args(["--sort=name", "-cf", "-", "-C"])
        .arg(layout.path())
        .arg(".")
        .output()
        .expect("tar can be started");
    assert!(output.status.success());
    let old = output.stdout;
    let fixture = Fixture::new(&old);
    let (code, said) = fixture.run(None);
    assert_eq!(code, Some(0), "{said}");
    let new = fixture.bytes();
    assert!(new.len() < old.len());
    (old, new)
}

/// Returns the numbers of all calls of each name.
fn numbers(old: &[u8]) -> Vec<(&'static str, u32)> {
    let fixture = Fixture::new(old);
    let tmp = fixture.temp.path().join("tmp");
    let recording = Recording::with_temp(Some(&tmp), &CALLS, &fixture.args());
    recording.run.ok();
    let mut all = Vec::new();
    for name in CALLS {
        let found = recording.numbers(name, &fixture.archive(), |call| {
            changes(call) || call.text.contains("O_TMPFILE")
        });
        all.extend(found.into_iter().map(|number| (name, number)));
    }
    assert!(all.len() > 20, "{}", recording.all());
    all
}

#[track_caller]
fn is_one_of(fixture: &Fixture, old: &[u8], new: &[u8], context: &str) {
    let bytes = fixture.bytes();
    assert!(
        bytes == old || bytes == new,
        "neither old nor new: {context}"
    );
}

#[test]
fn a_run_can_be_killed_at_any_call() {
    if !has_strace() {
        return;
    }
    let (old, new) = archives();
    let mut kills = 0;
    for (name, number) in numbers(&old) {
        kills += 1;
        if !is_taken(kills, false) {
            continue;
        }
        let fixture = Fixture::new(&old);
        let injection = format!("{name}:signal=KILL:when={number}");
        let (code, said) = fixture.run(Some(&injection));
        let context = format!("{injection}\n{said}");
        assert_eq!(code, None, "it was not killed\n{context}");
        is_one_of(&fixture, &old, &new, &context);
        let beside = fixture.beside();
        let is_own = |name: &String| name.starts_with(".ocisweep-");
        assert!(
            beside.len() < 2 && beside.iter().all(is_own),
            "{beside:?}: {context}"
        );
        let (code, said) = fixture.run(None);
        // The image that was already removed no longer exists.
        assert!(matches!(code, Some(0 | 1)), "{context}\n{said}");
        assert!(fixture.bytes() == new, "{context}");
    }
    count(&format!("an archive: {kills} moments of a kill"));
}

#[test]
fn an_error_of_any_call_leaves_the_old_archive_or_the_new_one() {
    if !has_strace() {
        return;
    }
    let (old, new) = archives();
    for (position, (name, number)) in numbers(&old).into_iter().enumerate() {
        for (kind, error) in ["EIO", "ENOSPC"].into_iter().enumerate() {
            let is_taken = position % 2 == kind && takes(position / 2, 3, 1);
            if extent() != Extent::All && !is_taken {
                continue;
            }
            let fixture = Fixture::new(&old);
            let injection = format!("{name}:error={error}:when={number}");
            let (code, said) = fixture.run(Some(&injection));
            let context = format!("{injection}\n{said}");
            is_one_of(&fixture, &old, &new, &context);
            match code {
                Some(0) => assert!(fixture.bytes() == new, "{context}"),
                Some(_) => {
                    assert!(said.contains("ocisweep: "), "{context}");
                    // The very last step only flushes the directory.
                    let is_last = fixture.bytes() == new;
                    assert!(!is_last || name == "fsync" || name == "write", "{context}");
                }
                None => panic!("it was killed: {context}"),
            }
            assert!(
                fixture.beside().is_empty(),
                "{:?}: {context}",
                fixture.beside()
            );
            let left = fs::read_dir(fixture.temp.path().join("tmp")).expect("it can be listed");
            let left = left.count();
            assert!(
                left == 0 || name == "unlinkat",
                "the scratch directory is left: {context}"
            );
        }
    }
}

/// Returns `true` if this process ignores a signal, and so do those that it starts.
fn is_ignored(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

/// After a terminating signal, the scratch directory is removed; after SIGKILL, the next run removes it.
#[test]
fn signals_leave_no_scratch_directory() {
    if !has_strace() {
        return;
    }
    let (old, new) = archives();
    for (number, signal) in [
        (1, "HUP"),
        (2, "INT"),
        (3, "QUIT"),
        (15, "TERM"),
        (9, "KILL"),
    ] {
        if is_ignored(number) {
            skip(&format!("SIG{signal} is ignored here, as under `nohup`"));
            continue;
        }
        let fixture = Fixture::new(&old);
        let tmp = fixture.temp.path().join("tmp");
        let left = || fs::read_dir(&tmp).expect("it can be listed").count();
        // While the archive is unpacked.
        let injection = format!("utimensat:signal={signal}:when=1");
        let (code, said) = fixture.run(Some(&injection));
        let context = format!("{injection}\n{said}");
        assert!(fixture.bytes() == old, "{context}");
        if signal == "KILL" {
            assert_eq!((code, left()), (None, 1), "{context}");
        } else {
            assert_eq!((code, left()), (Some(130), 0), "{context}");
        }
        let (code, said) = fixture.run(None);
        assert_eq!((code, left()), (Some(0), 0), "{signal}: {said}");
        assert!(fixture.bytes() == new, "{signal}: {said}");
    }
}

/// The unpacked files of an archive are removed once it is processed, and not at the end of the run.
#[test]
fn each_archive_is_freed_once_it_is_processed() {
    if !has_strace() {
        return;
    }
    let (bytes, _) = archives();
    let fixture = Fixture::new(&bytes);
    let second = fixture.temp.path().join("images/web.tar");
    fs::copy(fixture.archive(), &second).expect("it can be copied");
    let tmp = fixture.temp.path().join("tmp");
    for words in [
        &["df"][..],
        &["ls"],
        &["check"],
        &["blobs", "--roots"],
        &["gc", "-n"],
        &["prune", "-n", "-a", "--keep", "*:2"],
        &["prune", "-n", "-a", "--max-size", "1GB"],
        &["prune", "-f", "--grace", "0"],
    ] {
        let mut call = args(words);
        call.extend([fixture.archive().into(), second.clone().into()]);
        let calls = ["unlink", "rmdir", "unlinkat", "write"];
        let recording = Recording::with_temp(Some(&tmp), &calls, &call);
        recording.run.ok();
        let prints =
            |call: &crate::strace::Call| call.name == "write" && call.text.starts_with("(1,");
        let before = recording.calls.iter().take_while(|call| !prints(call));
        let removed = before.filter(|call| {
            let is_dir = call.name == "rmdir" || call.text.contains("AT_REMOVEDIR");
            is_dir && call.text.contains(".ocisweep-scratch-")
        });
        assert_eq!(removed.count(), 2, "{words:?}: {}", recording.all());
    }
}

/// `nohup` and the background of a shell.
#[test]
fn ignored_signals_remain_ignored() {
    if !has_strace() {
        return;
    }
    let (old, new) = archives();
    for signal in ["HUP", "QUIT"] {
        let fixture = Fixture::new(&old);
        let script = format!("trap '' {signal}; exec \"$0\" \"$@\"");
        let inject = format!("inject=utimensat:signal={signal}:when=1");
        let output = new_command("sh")
            .args(["-c", &script, "strace", "-f", "-qq", "-o", "/dev/null"])
            .args(["-e", "trace=utimensat", "-e", &inject])
            .arg(env!("CARGO_BIN_EXE_ocisweep"))
            .args(fixture.args())
            .env("TMPDIR", fixture.temp.path().join("tmp"))
            .output()
            .expect("it can be started");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{signal}: {said}");
        assert!(fixture.bytes() == new, "{signal}: {said}");
    }
}

#[test]
fn a_full_disk_for_scratch_or_for_the_new_archive_changes_nothing() {
    let (old, _) = archives();
    let fixture = Fixture::new(&old);
    let program = env!("CARGO_BIN_EXE_ocisweep");
    // No file may become larger than a few blocks.
    let limited = |blocks: u32| {
        let output = new_command("sh")
            .arg("-c")
            .arg(format!(
                "trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""
            ))
            .arg(program)
            .args(fixture.args())
            .env("TMPDIR", fixture.temp.path().join("tmp"))
            .output()
            .expect("it can be started");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    for (blocks, why) in [(0, "unpack"), (500, "cannot write")] {
        let (code, said) = limited(blocks);
        assert_eq!(code, Some(4), "{said}");
        assert!(said.contains(why), "{said}");
        assert!(fixture.bytes() == old);
        assert!(fixture.beside().is_empty());
    }
}

#[test]
fn an_archive_that_another_program_replaces_is_read_again() {
    if !has_strace() {
        return;
    }
    let (old, new) = archives();
    let fixture = Fixture::new(&old);
    let path = fixture.archive();
    // The new archive has a name, and the old one is about to be compared with the one that was read.
    let tmp = fixture.temp.path().join("tmp");
    let stalled = Stalled::after_in(&tmp, "linkat", 1, &fixture.args()).expect("it is stopped");
    replace(&path, &old);
    let run = stalled.go_on();
    run.ok();
    assert!(fixture.bytes() == new, "{}", run.all());
}

#[test]
fn files_missing_from_the_scratch_directory_are_not_omitted_from_the_archive() {
    if !has_strace() {
        return;
    }
    let (old, _) = archives();
    let fixture = Fixture::new(&old);
    let tmp = fixture.temp.path().join("tmp");
    // The lock is taken after everything was read, that of the scratch directory before.
    let stalled = Stalled::after_in(&tmp, "flock", 2, &fixture.args()).expect("it is stopped");
    let scratch = fs::read_dir(&tmp).expect("it can be listed").next();
    let scratch = scratch.expect("it is there").expect("it is there").path();
    let blobs = fs::read_dir(scratch.join("blobs/sha256")).expect("it can be listed");
    // A layer that both images have.
    let shared = blobs
        .map(|blob| blob.expect("it can be listed").path())
        .find(|blob| fs::metadata(blob).is_ok_and(|found| found.len() == 200_000));
    fs::remove_file(shared.expect("it is there")).expect("it can be removed");
    let run = stalled.go_on();
    run.exits(4).warns("vanished");
    assert!(fixture.bytes() == old);
}

/// Puts another file of the same content into its place.
fn replace(path: &Path, bytes: &[u8]) {
    let other = path.with_extension("other");
    fs::write(&other, bytes).expect("it can be written");
    fs::rename(&other, path).expect("it can be renamed");
}
