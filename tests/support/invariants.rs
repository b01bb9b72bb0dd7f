//! Invariants of every call that deletes. [`checked`] runs a command four times and compares: dry and for real, as text and
//! as JSON, and the disk before and after.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;

use super::removed::familiar;
use super::run::{items, total};
use super::snapshot::copy_dir;
use super::{Cmd, Files, Run, Snapshot, assert_same, snapshot, without_directory_times};

/// The result of a call that passed every check.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// The run on the layout itself.
    pub(crate) run: Run,
    /// The report of the run.
    pub(crate) json: Value,
    /// All runs, for messages.
    pub(crate) all: String,
}

/// A command on a layout, with what is checked around it.
#[derive(Clone, Debug)]
pub(crate) struct Invariants<'a> {
    layout: &'a Path,
    call: Cmd,
    execute: &'static [&'static str],
    is_json: bool,
    may_be_sparse: bool,
}

/// Runs a command that deletes and returns the result. It panics unless
/// - a dry run changes nothing, ends with the same exit code, and prints the same with "would", as text and as JSON;
/// - text, JSON and disk agree: each deleted file is reported once, and no other; names and totals are the same;
/// - everything that is still listed, held or named by docker's `manifest.json` has every blob that it had;
/// - no other file differs, and neither lock nor temporary file is left;
/// - nothing at all differs after exit codes of refusals.
#[track_caller]
pub(crate) fn checked(layout: &Path, call: &Cmd) -> Checked {
    Invariants::of(layout, call).check()
}

impl<'a> Invariants<'a> {
    /// Takes a call without `-n` and `--format`.
    pub(crate) fn of(layout: &'a Path, call: &Cmd) -> Self {
        Self {
            layout,
            call: call.clone(),
            execute: &[],
            is_json: false,
            may_be_sparse: false,
        }
    }

    /// Adds arguments that only the real run gets.
    pub(crate) fn execute(mut self, args: &'static [&'static str]) -> Self {
        self.execute = args;
        self
    }

    /// Runs it with JSON on the layout itself and as text on a copy, instead of the reverse.
    pub(crate) fn in_json(mut self) -> Self {
        self.is_json = true;
        self
    }

    /// For calls that make an image sparse on purpose: the test itself checks whether the listed images are complete.
    pub(crate) fn may_be_sparse(mut self) -> Self {
        self.may_be_sparse = true;
        self
    }

    fn cmd(&self, args: &[&str], is_json: bool) -> Cmd {
        let format: &[&str] = if is_json { &["--format", "json"] } else { &[] };
        self.call.clone().args(args).args(format)
    }

    /// Runs the command with all checks.
    #[track_caller]
    pub(crate) fn check(&self) -> Checked {
        let before = snapshot(self.layout);
        let files = Files::of(self.layout);
        let [dry, dry_json] = [false, true].map(|is_json| {
            let dry = self.cmd(&["-n"], is_json).run();
            assert_same(&before, &snapshot(self.layout), &dry.all());
            dry
        });
        let twin = self.layout.with_file_name("twin-of-the-layout");
        copy_dir(self.layout, &twin);
        let other = self.cmd(self.execute, !self.is_json);
        let other = other.replacing_arg(self.layout, &twin).run();
        fs::remove_dir_all(&twin).expect("the twin can be removed");
        let run = self.cmd(self.execute, self.is_json).run();
        let all = format!(
            "{}{}{}{}",
            run.all(),
            dry.all(),
            dry_json.all(),
            other.all()
        );
        for other in [&dry, &dry_json, &other] {
            assert_eq!(other.code, run.code, "exit codes\n{all}");
        }
        let after = snapshot(self.layout);
        let (text, json) = if self.is_json {
            (&other, &run)
        } else {
            (&run, &other)
        };
        let paths =
            |text: &str| text.replace(&*twin.to_string_lossy(), &self.layout.to_string_lossy());
        assert_eq!(as_if_done(&dry), paths(&text.stdout), "the dry run\n{all}");
        let errors = dry.stderr.replace("would release", "released");
        assert_eq!(errors, paths(&text.stderr), "errors of the dry run\n{all}");
        if run.code == Some(3) || run.stdout.is_empty() && matches!(run.code, Some(2 | 6)) {
            assert_same(&before, &after, &all);
        }
        if json.stdout.is_empty() {
            let json = Value::Null;
            return Checked { run, json, all };
        }
        let json = json.json();
        let dry_json = as_if_done_json(&dry_json.json());
        assert_eq!(dry_json, as_if_done_json(&json), "the dry run\n{all}");
        check_text(text, &json, &all);
        check_files(&before, &after, text, &json, &all);
        assert_no_litter(self.layout, &all);
        if !self.may_be_sparse {
            let now = self.call.now();
            check_whole(&files, &Files::of(self.layout), now, &all);
        }
        Checked { run, json, all }
    }
}

/// Returns the output of a dry run with the words of a real run.
fn as_if_done(dry: &Run) -> String {
    dry.stdout
        .lines()
        .map(|line| {
            let line = line
                .replacen("Would untag:", "Untagged:", 1)
                .replacen("Would drop:", "Dropped:", 1)
                .replacen("Would delete:", "Deleted:", 1)
                .replacen("Would rewrite:", "Rewritten:", 1);
            match line.strip_prefix("Would reclaim ") {
                Some(rest) => {
                    let size = rest.strip_suffix("; nothing was changed");
                    let size = size.expect("a dry run ends with `nothing was changed`");
                    format!("Total reclaimed space: {size}\n")
                }
                None => format!("{line}\n"),
            }
        })
        .collect()
}

/// Returns a report with the words of a real run, without the path of the layout.
fn as_if_done_json(report: &Value) -> Value {
    fn convert(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    match (key.as_str(), value.as_str()) {
                        ("action", Some(action)) => {
                            *value = action.trim_start_matches("would-").into();
                        }
                        ("dry_run", _) => *value = false.into(),
                        _ => convert(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(convert),
            _ => {}
        }
    }
    let mut report = report.clone();
    convert(&mut report);
    let layouts = report.pointer_mut("/layouts").and_then(Value::as_array_mut);
    for layout in layouts.into_iter().flatten() {
        if let Some(path) = layout.pointer_mut("/path") {
            *path = Value::Null;
        }
    }
    report
}

/// Panics unless JSON lists the same names and blobs as the text, in the same order, with their sum as the total. A prune
/// lists images: the text contains all their names, and also those of their referrers and those that kept images lose.
#[track_caller]
fn check_text(text: &Run, json: &Value, all: &str) {
    let mut names = Vec::new();
    let mut of_images = Vec::new();
    let mut blobs = Vec::new();
    let mut sum = 0;
    for item in items(json) {
        let field = |key: &str| item.get(key).and_then(Value::as_str);
        let line = |name: &Value| {
            let name = name.as_str().unwrap_or_default();
            format!("Untagged: {}", familiar(name))
        };
        let named = item.get("names").and_then(Value::as_array);
        let named = named.into_iter().flatten().map(line);
        match field("action") {
            Some("untag") => names.extend(named),
            Some("remove") => of_images.extend(named),
            Some("delete") => {
                blobs.extend(field("digest").map(|digest| format!("Deleted: {digest}")));
                sum += item.get("size").and_then(Value::as_u64).unwrap_or(0);
            }
            _ => {}
        }
    }
    let lines = |start: &str| -> Vec<&str> {
        let lines = text.stdout.lines();
        lines.filter(|line| line.starts_with(start)).collect()
    };
    if !text.line.contains(" -q") {
        let untagged = lines("Untagged: ");
        if json.get("command").and_then(Value::as_str) == Some("prune") {
            let missing = of_images
                .iter()
                .find(|name| !untagged.contains(&name.as_str()));
            assert_eq!(missing, None, "an image is removed without a line\n{all}");
        } else {
            assert_eq!(names, untagged, "names and lines\n{all}");
        }
        assert_eq!(blobs, lines("Deleted: sha"), "blobs and lines\n{all}");
    }
    if total(json, "linked_bytes") == 0 {
        let net = sum.saturating_sub(total(json, "written_bytes"));
        assert_eq!(total(json, "reclaimed_bytes"), net, "the total\n{all}");
        let last = text.stdout.lines().last().unwrap_or_default();
        if let Some(size) = last.strip_prefix("Total reclaimed space: ") {
            assert_eq!(size, human(net), "the last line\n{all}");
        }
    }
}

/// Panics unless exactly the deleted files are reported, each once, and no other file has changed.
#[track_caller]
fn check_files(before: &Snapshot, after: &Snapshot, text: &Run, json: &Value, all: &str) {
    let is_own = |path: &Path| path.starts_with(".ocisweep");
    let gone: BTreeMap<PathBuf, u64> = before
        .iter()
        .filter(|(path, _)| !after.contains_key(*path) && !is_own(path))
        .map(|(path, stat)| (path.clone(), stat.size))
        .collect();
    let mut reported = BTreeMap::new();
    for item in items(json) {
        let field = |key: &str| item.get(key).and_then(Value::as_str);
        let path = match (field("action"), field("digest"), field("path")) {
            (Some("delete"), Some(digest), _) => format!("blobs/{}", digest.replacen(':', "/", 1)),
            (Some("delete"), None, Some(path)) => path.to_owned(),
            _ => continue,
        };
        let size = item.get("size").and_then(Value::as_u64);
        let size = size.expect("an item has a size");
        let is_first = reported.insert(PathBuf::from(path), size).is_none();
        assert!(is_first, "{item} is reported twice\n{all}");
    }
    assert_eq!(gone, reported, "deleted and reported files\n{all}");
    // Only edited files may differ.
    let is_edited = |path: &Path| {
        let names = ["index.json", "manifest.json", "repositories"];
        names.iter().any(|name| path == Path::new(name)) || is_own(path)
    };
    let is_new_index = |path: &Path| {
        let is_blob = path.starts_with("blobs") && path.components().count() == 3;
        is_blob && !before.contains_key(path) && text.stdout.contains("Rewritten: ")
    };
    let rest = |picture: &Snapshot| {
        let mut picture = without_directory_times(picture);
        picture
            .retain(|path, _| !gone.contains_key(path) && !is_edited(path) && !is_new_index(path));
        picture
    };
    assert_same(&rest(before), &rest(after), all);
    let is_new_list = |path: &&PathBuf| !before.contains_key(*path) && !is_own(path);
    let made: Vec<&PathBuf> = after.keys().filter(is_new_list).collect();
    assert!(
        made.iter().all(|path| is_new_index(path)),
        "new files: {made:?}\n{all}"
    );
}

/// Panics unless everything that is listed, held or saved still has every blob that it had.
#[track_caller]
fn check_whole(before: &Files, after: &Files, now: Timestamp, all: &str) {
    let is_active = |hold: &Value| {
        let field = |key: &str| hold.get(key).and_then(Value::as_str);
        let until = field("until").map(|until| until.parse::<Timestamp>().expect("a time"));
        until.is_none_or(|until| until > now)
            && field("while").is_none_or(|path| Path::new(path).exists())
    };
    for (digest, path) in after.reachable(before, is_active) {
        assert!(
            before.blob(&digest).is_none() || after.blob(&digest).is_some(),
            "{digest} is lost, which {path} references\n{all}"
        );
    }
}

/// Panics if a lock file or a temporary file of the program exists.
#[track_caller]
pub(crate) fn assert_no_litter(path: &Path, all: &str) {
    let litter: Vec<PathBuf> = snapshot(path)
        .into_keys()
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(".ocisweep-") || name == "index.json.lock"
        })
        .collect();
    assert!(litter.is_empty(), "left behind: {litter:?}\n{all}");
}

/// Returns a number of bytes as docker writes it: four significant digits, without zeros at the end.
pub(crate) fn human(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes}B");
    }
    // The quotient is rounded as a binary number: as such, 10805 bytes are less than 10.805 kB.
    let scale: u64 = match bytes {
        ..1_000_000 => 1000,
        1_000_000..1_000_000_000 => 1_000_000,
        _ => 1_000_000_000,
    };
    let quotient = format!("{:.3e}", bytes as f64 / scale as f64);
    let (digits, exponent) = quotient.split_once('e').expect("a number with exponent");
    let digits: u64 = digits.replace('.', "").parse().expect("four digits");
    let exponent: u32 = exponent.parse().expect("the quotient is at least 1");
    let rounded = digits * 10_u64.pow(exponent) * (scale / 1000);
    let (scale, name) = match rounded {
        ..1_000_000 => (1000, "kB"),
        1_000_000..1_000_000_000 => (1_000_000, "MB"),
        _ => (1_000_000_000, "GB"),
    };
    // More digits than four are zeros after rounding.
    let text = format!(
        "{}.{:09}",
        rounded / scale,
        rounded % scale * (1_000_000_000 / scale)
    );
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{name}")
}
