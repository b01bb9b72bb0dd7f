//! Environments of a run: another user, a terminal, little memory, mounts, programs that may be absent.
//!
//! Tests that are impossible on this machine are skipped, and the reason is printed. With `OCISWEEP_REQUIRE_TOOLS=1` an
//! absent program is a failure.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, lchown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use tempfile::TempDir;

use super::pty::{END_OF_INPUT, Pty};
use super::run::{Output, PROGRAM, Run, new_command, run, try_run, wait_for_screen};

/// The variable that makes an absent program a failure.
const REQUIRE: &str = "OCISWEEP_REQUIRE_TOOLS";

/// The address space for [`bounded`], in KiB as `ulimit -v` counts: 1 GiB.
const ADDRESS_SPACE_KIB: &str = "1048576";

/// The space that must be free in `/dev/shm` for tests to use it, in bytes: in containers it often has 64 MiB.
const ENOUGH_MEMORY: u64 = 2 << 30;

/// A user that owns nothing, on every system.
pub(crate) const NOBODY: u32 = 65534;

/// Creates a temporary directory in memory, or in `TMPDIR`: on a real disk, thousands of runs would wait for their syncs.
/// Tests that depend on the order or the attributes of a real file system use [`disk_dir`].
pub(crate) fn memory_dir() -> TempDir {
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |found| found.f_bavail * found.f_frsize);
    if std::env::var_os("TMPDIR").is_none()
        && free > ENOUGH_MEMORY
        && let Ok(directory) = TempDir::new_in(memory)
    {
        return directory;
    }
    disk_dir()
}

/// Creates a temporary directory in the default place of the system.
pub(crate) fn disk_dir() -> TempDir {
    TempDir::new().expect("a temporary directory can be made")
}

/// Prints why a test checks less than its name promises.
#[expect(
    clippy::print_stderr,
    reason = "a test that is skipped silently looks like one that passed"
)]
pub(crate) fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

/// Prints why a test is skipped, or panics if no program may be absent.
#[track_caller]
pub(crate) fn skip_unless_required(reason: &str) {
    assert!(
        std::env::var_os(REQUIRE).is_none_or(|value| value != "1"),
        "{REQUIRE}=1, but {reason}"
    );
    skip(reason);
}

/// Returns `true` if all of these programs are on `PATH`; otherwise the test is skipped.
#[track_caller]
pub(crate) fn has_tools(tools: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_absent = |tool: &&str| {
        !std::env::split_paths(&path).any(|directory| directory.join(*tool).is_file())
    };
    let absent: Vec<&str> = tools.iter().copied().filter(is_absent).collect();
    if !absent.is_empty() {
        skip_unless_required(&format!("not on PATH: {}", absent.join(", ")));
    }
    absent.is_empty()
}

/// Returns `true` if `strace` exists and may trace.
#[track_caller]
pub(crate) fn has_strace() -> bool {
    if !has_tools(&["strace"]) {
        return false;
    }
    let mut probe = new_command("strace");
    let args = "-f -qq -o /dev/null -e trace=unlinkat true";
    probe.args(args.split(' '));
    let probe = run(probe);
    if probe.code != Some(0) {
        skip(&format!(
            "`strace` may not trace on this machine: {}",
            probe.stderr
        ));
    }
    probe.code == Some(0)
}

/// Returns `true` if the tests run as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Disables progress: on a busy machine any work can last longer than the half second after which a terminal shows progress.
pub(crate) const NO_PROGRESS: &str = "--progress=never";

/// Copies a program in another process: a file that this process opens for writing may stay open for a moment in a child of
/// another test, and a file that is open for writing cannot be executed.
#[track_caller]
pub(crate) fn install(program: &Path, at: &Path) {
    let mut install = new_command("install");
    install.args(["-m", "755", "--"]).args([program, at]);
    run(install).ok();
}

/// Writes an executable script.
#[track_caller]
pub(crate) fn install_script(text: &str, at: &Path) {
    let source = at.with_extension("source");
    fs::write(&source, text).expect("a file can be written");
    install(&source, at);
    fs::remove_file(source).expect("it is there");
}

/// Returns the program, [without progress](NO_PROGRESS), and its arguments as words of a shell.
pub(crate) fn shell_line<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let words = [PROGRAM, NO_PROGRESS]
        .map(OsString::from)
        .into_iter()
        .chain(args.into_iter().map(|arg| arg.as_ref().to_owned()))
        .map(|word| {
            let word = word.into_string().expect("paths of the tests are UTF-8");
            format!("'{}'", word.replace('\'', r"'\''"))
        });
    words.collect::<Vec<_>>().join(" ")
}

/// Creates a command that runs `script` with the program and its arguments as `$@`, after `before`, which are `$1` and so
/// on.
pub(crate) fn shell<S: AsRef<OsStr>>(
    script: &str,
    before: &[&OsStr],
    args: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = new_command("sh");
    command
        .args(["-c", script, "sh"])
        .args(before)
        .arg(PROGRAM)
        .args(args);
    command
}

/// Runs the program with an address space of 1 GiB: reading a file of that size into memory fails.
#[track_caller]
pub(crate) fn bounded<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
    let script = format!("ulimit -v {ADDRESS_SPACE_KIB} && exec \"$@\"");
    let mut command = shell(&script, &[], args);
    // Each thread needs address space for its stack and its heap; the number of threads depends on the machine.
    command.env("RAYON_NUM_THREADS", "4");
    run(command)
}

/// Runs the program with stacks of 1 MiB and 256 KiB, so that a recursion of a few thousand calls overflows.
#[track_caller]
pub(crate) fn with_small_stack<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
    let mut command = shell("ulimit -s 1024 && exec \"$@\"", &[], args);
    command.env("RUST_MIN_STACK", "262144");
    run(command)
}

/// A command on a terminal of its own.
pub(crate) struct Terminal {
    line: String,
    child: Child,
    person: File,
    seen: Vec<u8>,
}

impl Terminal {
    /// Starts a shell command line. `None`: no terminal can be created on this machine.
    #[track_caller]
    pub(crate) fn start(
        line: &str,
        directory: &Path,
        environment: &[(&str, &str)],
    ) -> Option<Self> {
        Some(Self::on(Pty::open()?, line, directory, environment))
    }

    /// Starts the program without colours on 200 columns, followed by a redirection of the shell.
    #[track_caller]
    pub(crate) fn program<S: AsRef<OsStr>>(
        args: impl IntoIterator<Item = S>,
        redirection: &str,
    ) -> Option<Self> {
        let pty = Pty::open()?.sized(200, 50).without_echo();
        let line = format!("exec {} {redirection}", shell_line(args));
        Some(Self::on(pty, &line, Path::new("."), &[("NO_COLOR", "1")]))
    }

    #[track_caller]
    fn on(pty: Pty, line: &str, directory: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = pty.shell(line);
        command
            .current_dir(directory)
            .envs(environment.iter().copied());
        let (child, person) = pty.start(command);
        Self {
            line: line.to_owned(),
            child,
            person,
            seen: Vec::new(),
        }
    }

    /// Reads until the question is displayed.
    pub(crate) fn wait_for_question(mut self) -> Self {
        let mut buffer = [0; 4096];
        while !self.seen.windows(5).any(|window| window == b"[y/N]") {
            match self.person.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(count) => self.seen.extend(buffer.iter().take(count)),
            }
        }
        self
    }

    /// Types `answer`, ends the input, and returns every byte that appears on the terminal.
    #[track_caller]
    pub(crate) fn bytes(mut self, answer: &str) -> Output {
        // The first end of input submits an unfinished line.
        let keys = [answer.as_bytes(), &[END_OF_INPUT, END_OF_INPUT]].concat();
        // A program that does not read its input may have ended already; that is no failure of the test.
        let _ignored = self.person.write_all(&keys);
        let mut output = wait_for_screen(self.child, self.person, &self.line);
        output.stdout.splice(0..0, self.seen);
        output
    }

    /// Types `answer`, ends the input, and returns what appears on the terminal, with the line ends of files.
    #[track_caller]
    pub(crate) fn answer(self, answer: &str) -> Run {
        let line = self.line.clone();
        let mut run = Run::of(line, &self.bytes(answer));
        run.stdout = run.stdout.replace("\r\n", "\n");
        run
    }
}

/// A copy of the program that everybody may run, since the build directory may be private.
#[derive(Debug)]
pub(crate) struct Unprivileged {
    program: PathBuf,
    directory: PathBuf,
    /// Holds the copy, since programs in memory often may not be executed.
    _copy: Option<TempDir>,
}

impl Unprivileged {
    /// Changes the owner of `directory` and everything below to an unprivileged user, so that permissions take effect.
    /// Without root there is nothing to do.
    pub(crate) fn owning(directory: &Path) -> Self {
        let mut program = PathBuf::from(PROGRAM);
        let mut copy = None;
        if is_root() {
            let place = disk_dir();
            program = place.path().join("ocisweep");
            fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755))
                .expect("others can read it");
            install(Path::new(PROGRAM), &program);
            copy = Some(place);
            give_away(directory);
        }
        Self {
            program,
            directory: directory.to_owned(),
            _copy: copy,
        }
    }

    /// Runs the program as that user, in the directory. `None`: that user cannot access it on this machine.
    #[track_caller]
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Option<Run> {
        let args: Vec<S> = args.into_iter().collect();
        let run = || {
            let mut command = new_command(&self.program);
            command.args(&args).current_dir(&self.directory);
            if is_root() {
                command.uid(NOBODY).gid(NOBODY);
            }
            try_run(command)
        };
        let mut result = run();
        // A process that another test was starting when the program was copied may have it open for writing until it runs.
        let is_busy =
            |error: &std::io::Error| error.kind() == std::io::ErrorKind::ExecutableFileBusy;
        for _ in 0..100 {
            if !result.as_ref().is_err_and(is_busy) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            result = run();
        }
        match result {
            Ok(run) => Some(run),
            Err(error) => {
                skip(&format!("cannot run as another user: {error}"));
                None
            }
        }
    }
}

/// Changes the owner of a directory and everything below to [`NOBODY`].
fn give_away(path: &Path) {
    lchown(path, Some(NOBODY), Some(NOBODY)).expect("root can change the owner of a file");
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        for name in fs::read_dir(path).expect("root can list a directory") {
            give_away(&name.expect("root can list a directory").path());
        }
    }
}

/// Runs the program in a mount namespace of its own, after `script`, which ends with 99 if it cannot mount. `None`: the
/// privileges for that are missing.
#[track_caller]
pub(crate) fn in_namespace<S: AsRef<OsStr>>(
    directory: &Path,
    script: &str,
    before: &[&OsStr],
    args: impl IntoIterator<Item = S>,
) -> Option<Run> {
    if !has_tools(&["unshare"]) {
        return None;
    }
    let inside = shell(script, before, args);
    let mut command = new_command("unshare");
    command.arg("--mount").current_dir(directory);
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg(inside.get_program()).args(inside.get_args());
    let run = run(command);
    let is_refused = run.code == Some(1) && run.stderr.starts_with("unshare:");
    if run.code == Some(99) || is_refused {
        skip(&format!("cannot mount: {}", run.stderr.trim()));
        return None;
    }
    Some(run)
}

/// Runs the program with `layout` mounted read-only.
#[track_caller]
pub(crate) fn read_only<S: AsRef<OsStr>>(
    layout: &Path,
    args: impl IntoIterator<Item = S>,
) -> Option<Run> {
    const MOUNT: &str = r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 99
        touch "$1/is-writable" 2>/dev/null && exit 99
        shift && exec "$@""#;
    in_namespace(Path::new("."), MOUNT, &[layout.as_os_str()], args)
}

/// Runs the program in a directory, with a file system at `at` that holds a copy of `copied`.
#[track_caller]
pub(crate) fn with_mount(directory: &Path, at: &str, copied: &str, args: &[&str]) -> Option<Run> {
    const MOUNT: &str = r#"mount -t tmpfs tmpfs "$1" && cp -r "$2" "$1"/ || exit 99
        shift 2 && exec "$@""#;
    in_namespace(directory, MOUNT, &[at.as_ref(), copied.as_ref()], args)
}
