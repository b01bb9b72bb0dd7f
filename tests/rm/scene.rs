//! Calling `rm`, and what is promised of every call: [`rm`] is used by nearly all tests here, so that each of them checks that a
//! dry run says what the run does, that the lines are true, and that nothing which is still listed loses a blob.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::support::snapshot::What;
use crate::support::{Cmd, Desc, Image, Json, LayoutBuilder, Run, Snapshot};
use crate::support::{assert_same, blobs, snapshot, without_directory_times};

/// Runs `rm LAYOUT ARGS…` and returns how that went. Beside it, it panics unless
/// - a dry run changes nothing, ends alike, and says the same with "would", as text and as JSON;
/// - `Deleted:` stands for the blobs that are gone, each once, and for no other;
/// - everything that is listed afterwards still has every blob that it had;
/// - no other file differs, and neither lock nor temporary file is left;
/// - nothing at all differs after exit codes of refusals.
#[track_caller]
pub(crate) fn rm(layout: &LayoutBuilder, args: &[&str]) -> Run {
    checked(layout, args, Walk::Everything)
}

/// As [`rm`], for calls that make an image sparse on purpose: that what is listed is whole is left to the test.
#[track_caller]
pub(crate) fn rm_sparse(layout: &LayoutBuilder, args: &[&str]) -> Run {
    checked(layout, args, Walk::Nothing)
}

/// Begins a call of `rm` without any checks.
pub(crate) fn bare<S: AsRef<OsStr>>(layout: &Path, args: impl IntoIterator<Item = S>) -> Cmd {
    Cmd::new(["rm"]).arg(layout).args(args)
}

/// Whether what is listed has to be whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    Everything,
    Nothing,
}

#[track_caller]
fn checked(layout: &LayoutBuilder, args: &[&str], walk: Walk) -> Run {
    let path = layout.path();
    let before = snapshot(path);
    let links_before = links(path);

    let dry = bare(path, args).arg("-n").run();
    assert_same(&before, &snapshot(path), &dry.all());
    let dry_json = bare(path, args).args(["-n", "--format", "json"]).run();
    assert_same(&before, &snapshot(path), &dry_json.all());

    let twin = path.with_file_name("twin-of-the-layout");
    copy(path, &twin);
    let json = bare(&twin, args).args(["--format", "json"]).run();
    fs::remove_dir_all(&twin).expect("the twin can be removed");
    let run = bare(path, args).run();
    let all = format!("{}{}{}{}", run.all(), dry.all(), dry_json.all(), json.all());

    for other in [&dry, &dry_json, &json] {
        assert_eq!(other.code, run.code, "exit codes\n{all}");
    }
    assert_eq!(as_if_done(&dry), run.stdout, "what the dry run says\n{all}");
    let quiet = dry.stderr.replace("would release", "released");
    assert_eq!(quiet, run.stderr, "errors of the dry run\n{all}");
    if run.stdout.is_empty() && matches!(run.code, Some(2 | 3 | 6)) {
        assert_same(&before, &snapshot(path), &all);
        return run;
    }
    assert_eq!(
        as_if_done_json(&dry_json.json()),
        without_paths(&json.json()),
        "what the dry run says\n{all}"
    );
    check_files(path, &before, &run, &all);
    check_items(&json, &run, &all);
    if walk == Walk::Everything {
        check_whole(path, &before, &links_before, &all);
    }
    run
}

/// Returns what a dry run says in the words of a run.
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
                    let size = size.expect("a dry run says that nothing was changed");
                    format!("Total reclaimed space: {size}\n")
                }
                None => format!("{line}\n"),
            }
        })
        .collect()
}

fn as_if_done_json(report: &Value) -> Value {
    let text = without_paths(report).to_string();
    let text = text
        .replace("\"would-", "\"")
        .replace("\"dry_run\":true", "\"dry_run\":false");
    serde_json::from_str(&text).expect("the words are no syntax")
}

fn without_paths(report: &Value) -> Value {
    let mut report = report.clone();
    let layouts = report.pointer_mut("/layouts").and_then(Value::as_array_mut);
    for layout in layouts.into_iter().flatten() {
        if let Some(path) = layout.pointer_mut("/path") {
            *path = Value::Null;
        }
    }
    report
}

/// Panics unless the files are those that the lines speak of.
#[track_caller]
fn check_files(path: &Path, before: &Snapshot, run: &Run, all: &str) {
    let after = snapshot(path);
    let is_blob = |path: &Path| path.starts_with("blobs") && path.components().count() == 3;
    let gone: BTreeSet<String> = before
        .keys()
        .filter(|path| is_blob(path) && !after.contains_key(*path))
        .map(|path| digest_of_path(path))
        .collect();
    if !run.line.contains(" -q") {
        let lines: Vec<String> = run
            .stdout
            .lines()
            .filter_map(|line| line.strip_prefix("Deleted: "))
            .map(str::to_owned)
            .collect();
        let listed: BTreeSet<String> = lines.iter().cloned().collect();
        assert_eq!(listed, gone, "what is gone, and what is said\n{all}");
        assert_eq!(listed.len(), lines.len(), "a blob is deleted twice\n{all}");
    }
    // Documents that are edited may differ, and nothing else.
    let is_edited = |path: &Path| {
        ["index.json", "manifest.json", "repositories"]
            .iter()
            .any(|name| path == Path::new(name))
            || path.starts_with(".ocisweep")
    };
    let others = |picture: &Snapshot| -> Snapshot {
        without_directory_times(picture)
            .into_iter()
            .filter(|(path, _)| !is_edited(path))
            .filter(|(path, _)| !(is_blob(path) && gone.contains(&digest_of_path(path))))
            .filter(|(path, _)| !is_blob(path) || before.contains_key(path))
            .collect()
    };
    assert_same(&others(before), &others(&after), all);
    let names: Vec<&PathBuf> = after
        .keys()
        .filter(|path| !before.contains_key(*path) && !path.starts_with(".ocisweep"))
        .collect();
    let is_new_index = |path: &Path| is_blob(path) && run.stdout.contains("Rewritten: ");
    assert!(
        names.iter().all(|path| is_new_index(path)),
        "new files: {names:?}\n{all}"
    );
    assert_no_litter(path, all);
}

/// Panics if a lock file or a temporary file of the program is there.
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

/// Panics unless JSON lists the same names and blobs as the lines do, in the same order, with true totals.
#[track_caller]
fn check_items(json: &Run, run: &Run, all: &str) {
    let report = json.json();
    let items = report
        .pointer("/layouts/0/items")
        .and_then(Value::as_array)
        .unwrap_or_else(|| panic!("no items\n{all}"));
    let listed: Vec<String> = items
        .iter()
        .filter_map(|item| {
            let text = |key: &str| item.get(key).and_then(Value::as_str);
            match text("action")? {
                "untag" => {
                    let name = item.pointer("/names/0")?.as_str()?;
                    Some(format!("Untagged: {name}"))
                }
                "delete" => Some(format!("Deleted: {}", text("digest")?)),
                _ => None,
            }
        })
        .collect();
    let lines: Vec<&str> = run
        .stdout
        .lines()
        .filter(|line| line.starts_with("Untagged: ") || line.starts_with("Deleted: "))
        .collect();
    if !run.line.contains(" -q") {
        assert_eq!(listed, lines, "items and lines\n{all}");
    }
    let sum: u64 = items
        .iter()
        .filter(|item| item.get("action").and_then(Value::as_str) == Some("delete"))
        .filter_map(|item| item.get("size").and_then(Value::as_u64))
        .sum();
    let total = report
        .pointer("/totals/reclaimed_bytes")
        .and_then(Value::as_u64);
    assert_eq!(total, Some(sum), "the total\n{all}");
    if let Some(line) = run.stdout.lines().last()
        && let Some(size) = line.strip_prefix("Total reclaimed space: ")
    {
        assert_eq!(size, human(sum), "the last line\n{all}");
    }
}

/// Panics unless everything that is listed still has every blob that it had, and its new documents are there.
#[track_caller]
fn check_whole(
    path: &Path,
    before: &Snapshot,
    links_before: &BTreeMap<String, BTreeSet<String>>,
    all: &str,
) {
    let mut links_now = links_before.clone();
    links_now.extend(links(path));
    let here = blobs(path);
    let mut queue: Vec<String> = entries(path)
        .iter()
        .filter_map(|entry| field(entry, "digest"))
        .collect();
    let mut seen = BTreeSet::new();
    while let Some(digest) = queue.pop() {
        if !seen.insert(digest.clone()) {
            continue;
        }
        let file = Path::new("blobs").join(digest.replacen(':', "/", 1));
        assert!(
            !before.contains_key(&file) || here.contains_key(&digest),
            "{digest} is lost, though something leads to it\n{all}"
        );
        queue.extend(links_now.get(&digest).into_iter().flatten().cloned());
        // Who is about it stays with it, listed or not.
        for (other, links) in &links_now {
            if links.contains(&format!("subject of {other}"))
                && links.contains(&digest)
                && here.contains_key(other)
            {
                queue.push(other.clone());
            }
        }
    }
}

/// Reads what every JSON blob of a layout refers to, without any of the program's own code. What it is about is marked.
fn links(layout: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for (digest, size) in blobs(layout) {
        if size > 1 << 20 {
            continue;
        }
        let Ok(bytes) = fs::read(blob_path(layout, &digest)) else {
            continue;
        };
        let Ok(document) = serde_json::from_slice::<Value>(&bytes) else {
            continue;
        };
        let mut found = BTreeSet::new();
        for key in ["manifests", "layers", "blobs"] {
            let list = document.get(key).and_then(Value::as_array);
            for item in list.into_iter().flatten() {
                let digest = item.get("digest").and_then(Value::as_str);
                found.extend(digest.map(str::to_owned));
            }
        }
        for key in ["config", "subject"] {
            let target = document
                .pointer(&format!("/{key}/digest"))
                .and_then(Value::as_str);
            found.extend(target.map(str::to_owned));
            if key == "subject" && target.is_some() {
                found.insert(format!("subject of {digest}"));
            }
        }
        all.insert(digest, found);
    }
    all
}

/// Returns the path of a blob.
pub(crate) fn blob_path(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replacen(':', "/", 1))
}

fn digest_of_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    let text = text.strip_prefix("blobs/").unwrap_or(&text);
    text.replacen('/', ":", 1)
}

/// Copies a layout with modes, owners, times and links.
pub(crate) fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "the layout can be copied"
    );
}

/// Returns the entries of `index.json`, each as the text that stands there.
pub(crate) fn entries(layout: &Path) -> Vec<String> {
    let text = fs::read_to_string(layout.join("index.json")).expect("index.json can be read");
    let fields: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(&text).expect("index.json is an object");
    let manifests = fields.get("manifests").expect("index.json has entries");
    let list: Option<Vec<Box<RawValue>>> =
        serde_json::from_str(manifests.get()).expect("the entries are an array");
    let list = list.unwrap_or_default();
    list.iter().map(|entry| entry.get().to_owned()).collect()
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

/// Returns a text field of a JSON object.
pub(crate) fn field(entry: &str, key: &str) -> Option<String> {
    let entry: Value = serde_json::from_str(entry).ok()?;
    Some(entry.get(key)?.as_str()?.to_owned())
}

/// Panics unless standard output is these lines, and the total if anything may have been deleted. The lines that name
/// platforms, and those that say what keeps an image, are left to the tests of these.
#[track_caller]
pub(crate) fn assert_output(run: &Run, untagged: &[&str], deleted: &[&Desc]) {
    let mut text: String = untagged
        .iter()
        .map(|name| format!("Untagged: {name}\n"))
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

/// Returns output without the lines that name platforms and what keeps an image.
pub(crate) fn without_dropped(stdout: &str) -> String {
    stdout
        .lines()
        .filter(|line| !line.starts_with("Dropped: ") && !line.starts_with("kept: "))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Returns an image in the order in which `rm` deletes it: manifest, config, layers from the top down.
pub(crate) fn parts(image: &Image) -> Vec<&Desc> {
    let mut parts = vec![&image.manifest, &image.config];
    parts.extend(image.layers.iter().rev());
    parts
}

/// Returns `true` if a blob is there.
pub(crate) fn has(layout: &LayoutBuilder, desc: &Desc) -> bool {
    layout.join(&desc.blob_path()).exists()
}

/// Panics unless all of these are there.
#[track_caller]
pub(crate) fn assert_here<'a>(
    layout: &LayoutBuilder,
    descs: impl IntoIterator<Item = &'a Desc>,
    run: &Run,
) {
    for desc in descs {
        assert!(has(layout, desc), "{} is gone\n{}", desc.digest, run.all());
    }
}

/// Returns a number of bytes as docker writes it; enough for the small blobs of tests.
pub(crate) fn human(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes}B");
    }
    assert!(bytes < 1_000_000, "the blobs of tests are small");
    let digits = bytes.to_string().len();
    // Four significant digits, without zeros at the end.
    let unit = 10_u64.pow(u32::try_from(digits.saturating_sub(4)).expect("few digits"));
    let rounded = bytes.saturating_add(unit / 2) / unit * unit;
    let text = format!("{}.{:03}", rounded / 1000, rounded % 1000);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}kB")
}

/// Returns an entry as docker and BuildKit write it: with the full name, and its tag beside it.
pub(crate) fn dockered(desc: &Desc, name: &str) -> Desc {
    let (_, tag) = name.rsplit_once(':').expect("a name with a tag");
    desc.clone().named(name).tagged(tag)
}

/// Returns the first 12 hexadecimal digits of a digest.
pub(crate) fn short(desc: &Desc) -> &str {
    desc.hex().get(..12).expect("a digest has 64 digits")
}

/// Returns `true` if something is a plain file.
pub(crate) fn is_file(picture: &Snapshot, name: &str) -> bool {
    picture
        .get(Path::new(name))
        .is_some_and(|stat| stat.what == What::File)
}
