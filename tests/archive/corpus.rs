//! Every recorded layout as an archive: the same decisions, the same words and the same JSON as of its directory.
//!
//! The archive and the directory have the same name, each in a directory of its own in which the program is run, so that not
//! even a path differs. One number does: what is reclaimed of a plain archive is the difference of the files' lengths.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::pack::{Format, Member, compress, decompress, members, pack_case, through};
use crate::support::environment::memory_dir;
use crate::support::{CaseLayout, Cmd, Run, cases, for_each};

/// Cases that are refused for what they are, or for links that an archive cannot have.
const OTHERS: [&str; 4] = [
    "skopeo-dir",
    "skopeo-dir-v2s2",
    "skopeo-shared",
    "lxc-shared",
];

/// The name of the layout in every test.
const NAME: &str = "layout";

fn layouts() -> Vec<CaseLayout> {
    let cases = cases().into_iter();
    cases
        .filter(|case| !OTHERS.contains(&case.name.as_str()))
        .flat_map(|case| case.layouts)
        .collect()
}

/// A layout as a directory, and the same as an archive.
struct Pair {
    temp: TempDir,
    plain: Vec<u8>,
    packed: Vec<u8>,
    format: Format,
}

impl Pair {
    fn new(case: &CaseLayout, format: Format) -> Self {
        let temp = memory_dir();
        let plain = pack_case(case);
        let packed = compress(&plain, format);
        for side in ["directory", "archive"] {
            fs::create_dir(temp.path().join(side)).expect("a directory");
        }
        let pair = Self {
            temp,
            plain,
            packed,
            format,
        };
        pair.reset();
        pair
    }

    fn directory(&self) -> PathBuf {
        self.temp.path().join("directory")
    }

    fn archive(&self) -> PathBuf {
        self.temp.path().join("archive")
    }

    /// Puts both back as they were.
    fn reset(&self) {
        let directory = self.directory().join(NAME);
        if directory.exists() {
            fs::remove_dir_all(&directory).expect("it can be removed");
        }
        fs::create_dir(&directory).expect("a directory");
        let to = directory.to_str().expect("a path of a test");
        // The crate of that name takes the year 1970 for no time.
        through(&["tar", "-xp", "-C", to], &self.plain);
        fs::write(self.archive().join(NAME), &self.packed).expect("it can be written");
    }

    /// Runs one command on both.
    fn run(&self, args: &[&str]) -> (Run, Run) {
        let run = |side: PathBuf| Cmd::new(args).current_dir(&side).run();
        (run(self.directory()), run(self.archive()))
    }

    /// Runs a command on both, and compares everything that it says but for the sum of a plain archive. Returns the run
    /// on the archive.
    #[track_caller]
    fn same(&self, args: &[&str]) -> Run {
        let (directory, archive) = self.run(args);
        assert_eq!(
            directory.code,
            archive.code,
            "{}{}",
            directory.all(),
            archive.all()
        );
        assert_eq!(
            self.words(&directory.stdout),
            self.words(&archive.stdout),
            "{}",
            archive.all()
        );
        assert_eq!(directory.stderr, archive.stderr, "{}", archive.all());
        archive
    }

    /// Returns an output without what differs on purpose.
    fn words(&self, text: &str) -> String {
        if self.format != Format::Plain {
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

    /// Compares what both are after a run, and the archive with what it was.
    #[track_caller]
    fn same_files(&self, label: &str) {
        let new = fs::read(self.archive().join(NAME)).expect("the archive is there");
        let new = decompress(&new, self.format);
        let unpacked = memory_dir();
        let mut archive = tar::Archive::new(&*new);
        archive.unpack(unpacked.path()).expect("it can be unpacked");
        let files = files(&self.directory().join(NAME));
        // Notes for later runs are made in directories only.
        let files: BTreeMap<_, _> = files
            .into_iter()
            .filter(|(path, _)| !path.starts_with(".ocisweep"))
            .collect();
        let packed = self::files(unpacked.path());
        let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&files), names(&packed), "{label}");
        assert!(files == packed, "{label}: contents differ");
        same_members(&members(&self.plain), &members(&new), label);
    }
}

/// Removes the sums of what is reclaimed.
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

/// Compares the members of the new archive with those of the old one: the same blocks in the same order, without what went; of
/// edited documents all but size and checksum; and new blobs.
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

/// Returns the IDs of the images, and a digest of each kind to ask for.
fn digests(pair: &Pair) -> (Vec<String>, Vec<String>) {
    let ids = pair.same(&["ls", NAME, "-q", "--no-trunc"]);
    let ids = ids.stdout.lines().map(str::to_owned).collect();
    let blobs = pair.same(&["blobs", NAME, "--live"]);
    let digest = |path: &str| {
        let (_, blob) = path.split_once("/blobs/")?;
        Some(blob.replace('/', ":"))
    };
    let blobs = blobs.stdout.lines().filter_map(digest);
    (ids, blobs.collect())
}

#[test]
fn the_archive_of_a_layout_is_read_as_its_directory_is() {
    for_each(layouts(), CaseLayout::label, |case| {
        let pair = Pair::new(case, Format::Plain);
        for args in [
            &["ls", NAME][..],
            &["ls", NAME, "--digests", "--format", "json"],
            &["ls", NAME, "--tree"],
            &["df", NAME],
            &["df", NAME, "-v", "--format", "json"],
            &["check", NAME],
            &["check", NAME, "--quick", "--format", "json"],
            &["blobs", NAME, "--unreferenced"],
            &["blobs", NAME, "--live"],
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
        ] {
            pair.same(args);
        }
        let (ids, blobs) = digests(&pair);
        for digest in ids.iter().take(1).chain(blobs.iter().take(2)) {
            pair.same(&["why", NAME, digest]);
        }
        let now = fs::read(pair.archive().join(NAME)).expect("it is there");
        assert!(now == pair.packed, "reading changed the archive");
    });
}

#[test]
fn a_compressed_archive_is_read_as_its_directory_is() {
    for format in [Format::Gzip, Format::Zstd] {
        for_each(layouts(), CaseLayout::label, |case| {
            let pair = Pair::new(case, format);
            pair.same(&["ls", NAME, "--digests", "--format", "json"]);
            pair.same(&["df", NAME, "--format", "json"]);
            pair.same(&["check", NAME, "--format", "json"]);
        });
    }
}

/// Slims a layout in every way, each time from the start.
fn slims(case: &CaseLayout, format: Format) {
    let pair = Pair::new(case, format);
    let (ids, _) = digests(&pair);
    let mut commands: Vec<Vec<&str>> = vec![
        vec!["gc", NAME, "--grace", "0"],
        vec!["gc", NAME, "--format", "json"],
        vec!["prune", NAME, "-f", "--grace", "0"],
    ];
    if let Some(id) = ids.first() {
        commands.push(vec!["rm", NAME, "-f", id]);
        commands.push(vec!["rm", NAME, "-f", id, "--only-platform", "linux/amd64"]);
        if format == Format::Plain {
            for mode in ["sparse", "hollow"] {
                let only = ["--only-platform", "linux/amd64", "--platform-mode", mode];
                commands.push([&["rm", NAME, "-f", id][..], &only].concat());
            }
            let last = [
                "prune",
                NAME,
                "-a",
                "-f",
                "--keep-last",
                "1",
                "--format",
                "json",
            ];
            commands.push(last.to_vec());
        }
    }
    for args in commands {
        let label = format!("{args:?}");
        pair.reset();
        let dry = pair.same(&[&args[..], &["-n"]].concat());
        let now = fs::read(pair.archive().join(NAME)).expect("it is there");
        assert!(now == pair.packed, "{label}: a dry run changed the archive");
        let done = pair.same(&args);
        pair.same_files(&label);
        let new = fs::metadata(pair.archive().join(NAME)).expect("it is there");
        if format == Format::Plain && args.contains(&"json") {
            let sum = |run: &Run| {
                let json = run.json();
                let totals = json.get("totals").and_then(|it| it.get("reclaimed_bytes"));
                totals.and_then(Value::as_u64)
            };
            let shorter = (pair.packed.len() as u64).checked_sub(new.len());
            assert_eq!(sum(&done), shorter, "{}", done.all());
            assert_eq!(sum(&dry), shorter, "{}", dry.all());
        }
    }
}

#[test]
fn the_archive_of_a_layout_is_slimmed_as_its_directory_is() {
    for_each(layouts(), CaseLayout::label, |case| {
        slims(case, Format::Plain);
    });
}

#[test]
fn a_gzip_archive_is_slimmed_as_its_directory_is() {
    for_each(layouts(), CaseLayout::label, |case| {
        slims(case, Format::Gzip);
    });
}

#[test]
fn a_zstd_archive_is_slimmed_as_its_directory_is() {
    for_each(layouts(), CaseLayout::label, |case| {
        slims(case, Format::Zstd);
    });
}
