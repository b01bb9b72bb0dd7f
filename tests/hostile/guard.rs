//! Running the program so that a test ends whatever the program does: under a watchdog, with little memory, on a terminal,
//! as a user without rights, or with a layout that cannot be written.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use crate::support::{Cmd, Run};

/// How long the program may take for anything in these tests. Far more than it needs, also when it is built without
/// optimisation and the machine is busy: what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// How much output is read. A program that prints without end must not take the memory of the test.
const MAX_OUTPUT_BYTES: u64 = 64 << 20;

/// The address space for [`bounded`], in KiB as `ulimit -v` counts: 1 GiB.
const ADDRESS_SPACE_KIB: &str = "1048576";

/// A user that owns nothing, on every system.
pub(crate) const NOBODY: u32 = 65534;

/// What a process left behind, to the byte.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Runs a call under the watchdog.
pub(crate) trait Guarded {
    /// Runs it to the end, or kills it and panics when it takes too long.
    fn guarded(&self) -> Run;
}

impl Guarded for Cmd {
    #[track_caller]
    fn guarded(&self) -> Run {
        let line = format!("{self:?}");
        let output = watch(self.spawn(), &line);
        run_of(line, &output)
    }
}

/// Runs the program with an address space of 1 GiB: what reads a file of that size into memory fails.
#[track_caller]
pub(crate) fn bounded<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
    let mut command = shell(
        &format!("ulimit -v {ADDRESS_SPACE_KIB} && exec \"$@\""),
        &[],
        args,
    );
    // Each thread takes address space for its stack and its heap; how many there are depends on the machine.
    command.env("RAYON_NUM_THREADS", "4");
    run(command)
}

/// Runs a command of the test under the watchdog.
#[track_caller]
pub(crate) fn run(mut command: Command) -> Run {
    let line = format!("{command:?}");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn();
    let child = child.unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
    let output = watch(child, &line);
    run_of(line, &output)
}

/// Makes a command that runs `script` with the program and its arguments as `$@`, after `before`, which are `$1` and so on.
pub(crate) fn shell<S: AsRef<OsStr>>(
    script: &str,
    before: &[&OsStr],
    args: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh"])
        .args(before)
        .arg(env!("CARGO_BIN_EXE_ocisweep"))
        .args(args);
    quiet_environment(&mut command);
    command
}

/// Sets what would make the outcome depend on who runs the tests.
fn quiet_environment(command: &mut Command) {
    command
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .env_remove("COLUMNS");
}

/// Waits for the end of a process whose output is piped.
#[track_caller]
pub(crate) fn watch(mut child: Child, line: &str) -> Output {
    drop(child.stdin.take());
    let stdout = child.stdout.take().map(drain);
    let stderr = child.stderr.take().map(drain);
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if start.elapsed() > PATIENCE {
            child.kill().expect("a child can be killed");
            child.wait().expect("a child can be waited for");
            panic!("it hangs: no end after {} s\n{line}", PATIENCE.as_secs());
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    };
    Output {
        code: status.code(),
        stdout: collect(stdout),
        stderr: collect(stderr),
    }
}

fn drain(stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is what there is.
        let _read = stream.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes);
        bytes
    })
}

fn collect(stream: Option<JoinHandle<Vec<u8>>>) -> Vec<u8> {
    stream.map_or_else(Vec::new, |thread| {
        thread.join().expect("reading a pipe does not panic")
    })
}

/// Makes a [`Run`] of what a process left behind.
pub(crate) fn run_of(line: String, output: &Output) -> Run {
    Run {
        line,
        code: output.code,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Says why a test does less than its name says.
#[expect(
    clippy::print_stderr,
    reason = "a test that is skipped in silence looks like one that passed"
)]
pub(crate) fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

/// Returns `true` if the tests run as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Finds a program on `PATH`.
pub(crate) fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

/// Runs the program on a terminal and returns every byte that it wrote there, with the exit code. `None`: there is no way to
/// make a terminal here.
#[track_caller]
pub(crate) fn on_terminal<S: AsRef<OsStr>>(
    args: impl IntoIterator<Item = S>,
) -> Option<(Option<i32>, Vec<u8>)> {
    if !on_path("script") {
        skip("no `script` on PATH, so there is no terminal to write to");
        return None;
    }
    // On a busy machine a progress line would appear, whose control characters are no stranger's.
    let program = [env!("CARGO_BIN_EXE_ocisweep"), "--progress", "never"];
    let words: Vec<String> = program
        .into_iter()
        .map(OsString::from)
        .chain(args.into_iter().map(|arg| arg.as_ref().to_owned()))
        .map(|word| {
            let word = word.into_string().expect("paths of the tests are UTF-8");
            format!("'{}'", word.replace('\'', r"'\''"))
        })
        .collect();
    let mut command = Command::new("script");
    // The size is set inside, because a new terminal has none.
    let inner = format!("stty cols 100 rows 40; exec {}", words.join(" "));
    command.args(["-qec", &inner, "/dev/null"]);
    quiet_environment(&mut command);
    // Colours are escape sequences too; without them any escape sequence is one that came from a stranger.
    command.env("NO_COLOR", "1").env("TERM", "xterm");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let line = format!("{command:?}");
    let output = watch(command.spawn().expect("`script` can be started"), &line);
    Some((output.code, output.stdout))
}

/// A copy of the program that everybody may run, since the build directory may be private.
#[derive(Debug)]
pub(crate) struct Unprivileged {
    program: PathBuf,
}

impl Unprivileged {
    /// Gives `directory` with everything below to a user without rights, so that permissions mean something. For a test that
    /// is not run by root nothing has to be done.
    pub(crate) fn owning(directory: &Path) -> Self {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_ocisweep"));
        if !is_root() {
            return Self { program };
        }
        let copy = directory.join("ocisweep-of-everybody");
        fs::copy(&program, &copy).expect("the program can be copied");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))
            .expect("the copy can be made executable");
        let mut open = vec![directory.to_owned()];
        while let Some(path) = open.pop() {
            std::os::unix::fs::lchown(&path, Some(NOBODY), Some(NOBODY))
                .expect("root can give a file away");
            let is_directory = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
            if is_directory {
                let names = fs::read_dir(&path).expect("root can list a directory");
                open.extend(names.map(|name| name.expect("root can list a directory").path()));
            }
        }
        chown(directory, Some(NOBODY), Some(NOBODY)).expect("root can give a directory away");
        Self { program: copy }
    }

    /// Runs the program as that user. `None`: that user cannot reach it here.
    #[track_caller]
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Option<Run> {
        let mut command = Command::new(&self.program);
        command.args(args);
        quiet_environment(&mut command);
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let line = format!("{command:?}");
        match command.spawn() {
            Ok(child) => Some(run_of(line.clone(), &watch(child, &line))),
            Err(error) => {
                skip(&format!("cannot run as another user: {error}"));
                None
            }
        }
    }
}

/// Runs the program with `layout` mounted read-only, in a mount namespace that goes with the process. `None`: that needs
/// rights that are not here.
#[track_caller]
pub(crate) fn read_only<S: AsRef<OsStr>>(
    layout: &Path,
    args: impl IntoIterator<Item = S>,
) -> Option<Run> {
    const MOUNT: &str = r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 99
        touch "$1/is-writable" 2>/dev/null && exit 98
        shift && exec "$@""#;
    let inside = shell(MOUNT, &[layout.as_os_str()], args);
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg(inside.get_program()).args(inside.get_args());
    quiet_environment(&mut command);
    if !on_path("unshare") {
        skip("no `unshare` on PATH, so nothing can be mounted");
        return None;
    }
    let run = run(command);
    // 1 without any word of ours is `unshare` that is not allowed to.
    let is_refused = run.code == Some(1) && run.stderr.starts_with("unshare:");
    if matches!(run.code, Some(98 | 99)) || is_refused {
        skip(&format!("cannot mount read-only: {}", run.stderr.trim()));
        return None;
    }
    Some(run)
}
