//! Every recorded layout as an archive: the same decisions, text and JSON as for its directory.
//!
//! A sample compares every fifth command in one of the formats; both vary between layouts and commands.
//!
//! The archive and the directory have the same name, each in its own working directory, so that not even a path differs. One
//! number does: the reclaimed bytes of a plain archive are the difference of the file lengths.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::pack::{Format, Member, compress, decompress, members, pack_case, through};
use crate::support::environment::memory_dir;
use crate::support::extent::{Extent, extent, takes};
use crate::support::{CaseLayout, Cmd, Run, cases, for_each};

/// Cases that are refused because of their kind, or because of links that an archive cannot contain.
const OTHERS: [&str; 4] = [
    "skopeo-dir",
    "skopeo-dir-v2s2",
    "skopeo-shared",
    "lxc-shared",
];

const FORMATS: [Format; 3] = [Format::Plain, Format::Gzip, Format::Zstd];

/// The name of the layout in every test.
const NAME: &str = "layout";

/// The layouts, and the number of each.
fn layouts() -> Vec<(usize, CaseLayout)> {
    let cases = cases().into_iter();
    cases
        .filter(|case| !OTHERS.contains(&case.name.as_str()))
        .flat_map(|case| case.layouts)
        .enumerate()
        .collect()
}

/// Returns the formats in which the command at `position` is compared for the layout of a number: all three, or in a sample one.
fn formats(number: usize, position: usize) -> Vec<Format> {
    let turn = number.wrapping_add(position);
    FORMATS
        .into_iter()
        .enumerate()
        .filter(|(at, _)| extent() > Extent::Sample || *at == turn % FORMATS.len())
        .map(|(_, format)| format)
        .collect()
}

/// Returns `true` if the command at `position` is compared for the layout of a number.
fn is_taken(number: usize, position: usize) -> bool {
    takes(number.wrapping_add(position), 5, 1)
}

/// A layout as a directory, and the same as an archive of each format.
struct Copies {
    temp: TempDir,
    packed: BTreeMap<Format, Vec<u8>>,
}

impl Copies {
    fn new(case: &CaseLayout) -> Self {
        let temp = memory_dir();
        let plain = pack_case(case);
        let packed = FORMATS.map(|format| (format, compress(&plain, format)));
        let copies = Self {
            temp,
            packed: packed.into(),
        };
        fs::create_dir(copies.directory()).expect("a directory");
        for format in FORMATS {
            fs::create_dir(copies.place(format)).expect("a directory");
        }
        copies.reset();
        copies
    }

    fn directory(&self) -> PathBuf {
        self.temp.path().join("directory")
    }

    /// The directory in which the archive of a format is.
    fn place(&self, format: Format) -> PathBuf {
        self.temp.path().join(format!("{format:?}"))
    }

    fn packed(&self, format: Format) -> &[u8] {
        self.packed.get(&format).expect("each format is there")
    }

    /// Returns the current bytes of an archive.
    fn archive(&self, format: Format) -> Vec<u8> {
        fs::read(self.place(format).join(NAME)).expect("the archive is there")
    }

    /// Restores all of them.
    fn reset(&self) {
        let directory = self.directory().join(NAME);
        if directory.exists() {
            fs::remove_dir_all(&directory).expect("it can be removed");
        }
        fs::create_dir(&directory).expect("a directory");
        let to = directory.to_str().expect("a path of a test");
        // The `tar` crate treats the year 1970 as no time.
        through(&["tar", "-xp", "-C", to], self.packed(Format::Plain));
        for (format, bytes) in &self.packed {
            fs::write(self.place(*format).join(NAME), bytes).expect("it can be written");
        }
    }

    /// Runs a command on the directory and on the archives of these formats, and compares the complete output except the sum
    /// of a plain archive. Returns the runs on the archives.
    #[track_caller]
    fn same(&self, args: &[&str], formats: &[Format]) -> Vec<Run> {
        let run = |side: &Path| Cmd::new(args).current_dir(side).run();
        let directory = run(&self.directory());
        let compare = |format: &Format| {
            let archive = run(&self.place(*format));
            let context = || format!("{format:?}\n{}{}", directory.all(), archive.all());
            assert_eq!(directory.code, archive.code, "{}", context());
            assert_eq!(
                words(&directory.stdout, *format),
                words(&archive.stdout, *format),
                "{}",
                context()
            );
            assert_eq!(directory.stderr, archive.stderr, "{}", context());
            archive
        };
        formats.iter().map(compare).collect()
    }

    /// Compares the directory with an archive after a run, and the archive with the original.
    #[track_caller]
    fn same_files(&self, format: Format, label: &str) {
        let new = decompress(&self.archive(format), format);
        let unpacked = memory_dir();
        let mut archive = tar::Archive::new(&*new);
        archive.unpack(unpacked.path()).expect("it can be unpacked");
        let files = files(&self.directory().join(NAME));
        // Records for later runs are written in directories only.
        let files: BTreeMap<_, _> = files
            .into_iter()
            .filter(|(path, _)| !path.starts_with(".ocisweep"))
            .collect();
        let packed = self::files(unpacked.path());
        let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&files), names(&packed), "{label}");
        assert!(files == packed, "{label}: contents differ");
        let old = members(self.packed(Format::Plain));
        same_members(&old, &members(&new), label);
    }

    /// Panics unless all archives are unchanged.
    #[track_caller]
    fn unchanged(&self, what: &str) {
        for format in FORMATS {
            let is_same = self.archive(format) == self.packed(format);
            assert!(is_same, "{what} changed the {format:?} archive");
        }
    }
}

/// Returns an output without intended differences.
fn words(text: &str, format: Format) -> String {
    if format != Format::Plain {
        return text.to_owned();
    }
    if let Ok(mut json) = serde_json::from_str::<Value>(text) {
        without_sums(&mut json);
        return json.to_string();
    }
    let is_sum = |line: &&str| {
        line.starts_with("Total reclaimed space:") || line.starts_with("Would reclaim ")
    };
    text.lines()
        .filter(|line| !is_sum(line))
        .fold(String::new(), |all, line| all + line + "\n")
}

/// Removes the sums of reclaimed bytes.
fn without_sums(json: &mut Value) {
    match json {
        Value::Object(fields) => {
            fields.remove("reclaimed_bytes");
            fields.values_mut().for_each(without_sums);
        }
        Value::Array(items) => items.iter_mut().for_each(without_sums),
        _ => {}
    }
}

fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("it can be listed") {
            let path = entry.expect("it can be listed").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let inside = path.strip_prefix(root).expect("it lies below").to_owned();
                found.insert(inside, fs::read(&path).expect("it can be read"));
            }
        }
    }
    found
}

/// Compares the members of the new archive with those of the old one: the same blocks in the same order, without removed
/// ones; edited documents equal except for size and checksum; and new blobs.
#[track_caller]
fn same_members(old: &[Member], new: &[Member], label: &str) {
    let paths: BTreeSet<&str> = new.iter().map(|member| &*member.path).collect();
    let known: BTreeSet<&str> = old.iter().map(|member| &*member.path).collect();
    let mut left = old.iter().filter(|member| paths.contains(&*member.path));
    for member in new {
        if !known.contains(&*member.path) {
            assert!(
                member.path.starts_with("blobs/"),
                "{label}: {}",
                member.path
            );
            continue;
        }
        let before = left.next();
        let before = before.unwrap_or_else(|| panic!("{label}: {} is new", member.path));
        assert_eq!(before.path, member.path, "{label}: the order");
        let is_document = ["index.json", "manifest.json", "repositories"].contains(&&*member.path);
        if is_document && before.content != member.content {
            let without_size = |header: &[u8]| {
                let mut header = header.to_vec();
                let at = header.len() - 512;
                header[at + 124..at + 136].fill(0);
                header[at + 148..at + 156].fill(0);
                header
            };
            assert_eq!(
                without_size(&before.header),
                without_size(&member.header),
                "{label}: {}",
                member.path
            );
        } else {
            assert!(before == member, "{label}: {} differs", member.path);
        }
    }
    assert_eq!(left.next(), None, "{label}");
}

/// Returns the IDs of the images, and a digest of each kind as an argument.
fn digests(copies: &Copies, formats: &[Format]) -> (Vec<String>, Vec<String>) {
    let lines = |args: &[&str]| -> Vec<String> {
        let runs = copies.same(args, formats);
        let run = runs.first().expect("one for each format");
        run.stdout.lines().map(str::to_owned).collect()
    };
    let ids = lines(&["ls", NAME, "-q", "--no-trunc"]);
    let blobs = lines(&["blobs", NAME, "--live"]);
    let digest = |path: &String| {
        let (_, blob) = path.split_once("/blobs/")?;
        Some(blob.replace('/', ":"))
    };
    (ids, blobs.iter().filter_map(digest).collect())
}

#[test]
fn archives_are_read_like_directories() {
    for_each(
        layouts(),
        |(_, case)| case.label(),
        |(number, case)| {
            let copies = Copies::new(case);
            let commands = [
                &["ls", NAME, "--digests", "--format", "json"][..],
                &["df", NAME, "--format", "json"],
                &["check", NAME, "--format", "json"],
            ];
            for (position, args) in commands.into_iter().enumerate() {
                if is_taken(*number, position) {
                    copies.same(args, &formats(*number, position));
                }
            }
            let plain = &[Format::Plain];
            let more = [
                &["ls", NAME][..],
                &["ls", NAME, "--tree"],
                &["df", NAME],
                &["df", NAME, "-v", "--format", "json"],
                &["check", NAME],
                &["check", NAME, "--quick", "--format", "json"],
                &["blobs", NAME, "--unreferenced"],
                &["gc", NAME, "-n"],
                &[
                    "prune",
                    NAME,
                    "-a",
                    "-n",
                    "-v",
                    "--allow-empty",
                    "--keep-last",
                    "1",
                ],
            ];
            for (position, args) in more.into_iter().enumerate() {
                if is_taken(*number, position) {
                    copies.same(args, plain);
                }
            }
            let (ids, blobs) = digests(&copies, &formats(*number, commands.len()));
            for digest in ids.iter().take(1).chain(blobs.iter().take(2)) {
                copies.same(&["why", NAME, digest], plain);
            }
            copies.unchanged("reading");
        },
    );
}

/// Slims a layout in every way, each time from the start.
#[test]
fn archives_are_slimmed_like_directories() {
    for_each(
        layouts(),
        |(_, case)| case.label(),
        |(number, case)| {
            let copies = Copies::new(case);
            let id = first_id(&copies);
            let mut commands = vec![
                vec!["gc", NAME, "--grace", "0"],
                vec!["gc", NAME, "--format", "json"],
                vec!["prune", NAME, "-f", "--grace", "0"],
            ];
            let drop = |id| ["rm", NAME, "-f", id, "--only-platform", "linux/amd64"];
            if let Some(id) = &id {
                commands.push(vec!["rm", NAME, "-f", id]);
                commands.push(drop(id).to_vec());
            }
            for (position, args) in commands.into_iter().enumerate() {
                if is_taken(*number, position) {
                    slims(&copies, &formats(*number, position), &args);
                }
            }
            if let Some(id) = id.as_ref().filter(|_| is_taken(*number, 0)) {
                for mode in ["sparse", "hollow"] {
                    let args = [&drop(id)[..], &["--platform-mode", mode]].concat();
                    slims(&copies, &[Format::Plain], &args);
                }
                let last = ["-a", "-f", "--keep-last", "1", "--format", "json"];
                let args = [&["prune", NAME][..], &last].concat();
                slims(&copies, &[Format::Plain], &args);
            }
        },
    );
}

/// Returns the ID of an image.
fn first_id(copies: &Copies) -> Option<String> {
    let args = ["ls", NAME, "-q", "--no-trunc"];
    let ids = Cmd::new(args).current_dir(&copies.directory()).run();
    ids.stdout.lines().next().map(str::to_owned)
}

/// Runs a command on the directory and on the archives, first as a dry run.
fn slims(copies: &Copies, formats: &[Format], args: &[&str]) {
    let label = format!("{args:?}");
    copies.reset();
    let dry = copies.same(&[args, &["-n"]].concat(), formats);
    copies.unchanged(&format!("{label}: a dry run"));
    let done = copies.same(args, formats);
    for (format, (dry, done)) in formats.iter().zip(dry.iter().zip(&done)) {
        copies.same_files(*format, &format!("{format:?} {label}"));
        let new = copies.archive(*format);
        if *format == Format::Plain && args.contains(&"json") {
            let sum = |run: &Run| {
                let json = run.json();
                let totals = json.get("totals").and_then(|it| it.get("reclaimed_bytes"));
                totals.and_then(Value::as_u64)
            };
            let old = copies.packed(*format).len();
            let shorter = old.checked_sub(new.len()).map(|len| len as u64);
            assert_eq!(sum(done), shorter, "{}", done.all());
            assert_eq!(sum(dry), shorter, "{}", dry.all());
        }
    }
}
