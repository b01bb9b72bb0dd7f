//! [`rm`]: an `rm` with every check, and its output.

use std::ffi::OsStr;
use std::path::Path;

use super::files::entries;
use super::invariants::{Invariants, human};
use super::{Cmd, Desc, Json, LayoutBuilder, Run};

/// Runs `rm LAYOUT ARGS…` with all checks of [`checked`](super::checked).
#[track_caller]
pub(crate) fn rm(layout: &LayoutBuilder, args: &[&str]) -> Run {
    let path = layout.path();
    Invariants::of(path, &bare(path, args)).check().run
}

/// As [`rm`], for calls that make an image sparse on purpose: the test itself checks whether the listed images are complete.
#[track_caller]
pub(crate) fn rm_sparse(layout: &LayoutBuilder, args: &[&str]) -> Run {
    let path = layout.path();
    let call = bare(path, args);
    Invariants::of(path, &call).may_be_sparse().check().run
}

/// Creates a call of `rm` without checks.
pub(crate) fn bare<S: AsRef<OsStr>>(layout: &Path, args: impl IntoIterator<Item = S>) -> Cmd {
    Cmd::new(["rm"]).arg(layout).args(args)
}

/// Returns the arguments that drop a platform of `multi:1`.
pub(crate) const fn dropping<'a>(platform: &'a str, mode: &'a str) -> [&'a str; 5] {
    ["multi:1", "--platform", platform, "--platform-mode", mode]
}

/// Panics unless `index.json` has exactly these entries.
#[track_caller]
pub(crate) fn assert_entries(layout: &LayoutBuilder, expected: &[Desc], run: &Run) {
    let expected: Vec<String> = expected
        .iter()
        .map(|desc| Json::from(desc).text().to_owned())
        .collect();
    assert_eq!(
        entries(layout.path()),
        expected,
        "entries left\n{}",
        run.all()
    );
}

/// Panics unless standard output is these lines, and the total if anything may have been deleted. Lines about platforms, and
/// those that explain why an image is kept, have tests of their own.
#[track_caller]
pub(crate) fn assert_output(run: &Run, untagged: &[&str], deleted: &[&Desc]) {
    let mut text: String = untagged
        .iter()
        .map(|name| format!("Untagged: {}\n", familiar(name)))
        .collect();
    for desc in deleted {
        text.push_str(&format!("Deleted: {}\n", desc.digest));
    }
    if !deleted.is_empty() {
        let sum = deleted.iter().map(|desc| desc.size).sum();
        text.push_str(&format!("Total reclaimed space: {}\n", human(sum)));
    }
    assert_eq!(without_dropped(&run.stdout), text, "output\n{}", run.all());
}

/// Returns a name as docker and `ls` show it.
pub(crate) fn familiar(name: &str) -> &str {
    let hosts = ["index.docker.io/", "docker.io/"];
    let mut hosts = hosts.iter().filter_map(|host| name.strip_prefix(host));
    let name = hosts.next().unwrap_or(name);
    let official = name.strip_prefix("library/");
    official.filter(|rest| !rest.contains('/')).unwrap_or(name)
}

/// Returns output without the lines about platforms and those that explain why an image is kept.
pub(crate) fn without_dropped(stdout: &str) -> String {
    stdout
        .lines()
        .filter(|line| !line.starts_with("Dropped: ") && !line.starts_with("kept: "))
        .map(|line| format!("{line}\n"))
        .collect()
}
