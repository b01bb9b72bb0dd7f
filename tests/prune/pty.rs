//! Calls on a terminal, with somebody who answers.

use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use crate::prune::skip;
use crate::support::Run;

/// The variable that makes an absent program a failure.
const REQUIRE: &str = "OCISWEEP_REQUIRE_TOOLS";

/// Runs the program on a terminal, types `answer`, and ends the input. Everything that appears on the terminal is in `stdout`.
/// `None`: there is no way to make a terminal here.
#[track_caller]
pub(crate) fn on_terminal<S: AsRef<OsStr>>(
    args: impl IntoIterator<Item = S>,
    answer: &str,
) -> Option<Run> {
    with_redirection(args, "", answer)
}

/// As [`on_terminal`], with a redirection of the shell behind the command.
#[track_caller]
pub(crate) fn with_redirection<S: AsRef<OsStr>>(
    args: impl IntoIterator<Item = S>,
    redirection: &str,
    answer: &str,
) -> Option<Run> {
    let (line, mut child) = spawn(args, redirection)?;
    let mut stdin = child.stdin.take().expect("standard input is piped");
    // Whoever does not ask does not read either.
    let _ignored = stdin.write_all(answer.as_bytes());
    drop(stdin);
    Some(finish(line, child, Vec::new()))
}

/// As [`on_terminal`], but types `answer` only when the question is there and `meanwhile` is done.
#[track_caller]
pub(crate) fn when_asked<S: AsRef<OsStr>>(
    args: impl IntoIterator<Item = S>,
    meanwhile: impl FnOnce(),
    answer: &str,
) -> Option<Run> {
    let (line, mut child) = spawn(args, "")?;
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let stdout = child.stdout.as_mut().expect("standard output is piped");
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !seen.windows(5).any(|window| window == b"[y/N]") {
        match stdout.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => seen.extend_from_slice(&buffer[..count]),
        }
    }
    meanwhile();
    let _ignored = stdin.write_all(answer.as_bytes());
    drop(stdin);
    Some(finish(line, child, seen))
}

fn finish(line: String, child: Child, mut seen: Vec<u8>) -> Run {
    let output = child.wait_with_output().expect("`script` ends");
    seen.extend(output.stdout);
    Run {
        line,
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&seen).replace("\r\n", "\n"),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[track_caller]
fn spawn<S: AsRef<OsStr>>(
    args: impl IntoIterator<Item = S>,
    redirection: &str,
) -> Option<(String, Child)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|directory| directory.join("script").is_file()) {
        let reason = "no `script` on PATH, so there is no terminal to ask on";
        assert!(
            std::env::var_os(REQUIRE).is_none_or(|value| value != "1"),
            "{REQUIRE}=1, but {reason}"
        );
        skip(reason);
        return None;
    }
    let words: Vec<String> = std::iter::once(OsString::from(env!("CARGO_BIN_EXE_ocisweep")))
        .chain(args.into_iter().map(|arg| arg.as_ref().to_owned()))
        .map(|word| {
            let word = word.into_string().expect("paths of the tests are UTF-8");
            format!("'{}'", word.replace('\'', r"'\''"))
        })
        .collect();
    // The size is set inside, because a new terminal has none.
    let line = format!(
        "stty cols 200 rows 50 -echo; exec {} {redirection}",
        words.join(" ")
    );
    let child = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("TERM", "xterm")
        .env("NO_COLOR", "1")
        .env_remove("COLUMNS")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("`script` can be started");
    Some((line, child))
}
