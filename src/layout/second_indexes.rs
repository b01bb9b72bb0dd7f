//! Second indexes: other JSON files in the root directory of a layout that list descriptors.
//!
//! *Promise*: the content of a file decides; names only exclude files with another meaning. FIFOs, devices and directories
//! are never opened. This module writes nothing: these files belong to other tools.
//!
//! *Failure*: a file that seems to list blobs and cannot be read or parsed is read again a few times, since some writers
//! rewrite in place. After that its contents are unknown: commands that only read report it and continue, and marking
//! refuses.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FileType, Stat};

use super::entries::each_entry;
use super::temp_files::LOCK_FILE;
use super::{Layout, MAX_SMALL_FILE_BYTES, PARSE_ATTEMPTS, PARSE_PAUSE, temp_files};
use crate::error::Result;
use crate::fs::{Links, SwapName, is_absence, open_file, real_path, stat_at, stat_of};
use crate::oci::descriptor::Link;
use crate::oci::second_index::{begins_like_json, parse, seems_to_list};
use crate::oci::{Algorithm, Digest};

/// The maximum number of second indexes. kitops has two for each repository.
const MAX_FILES: usize = 10_000;

/// The number of bytes that are read to decide whether a file begins like JSON.
const HEAD_BYTES: u64 = 512;

/// A file beside `index.json` that lists descriptors.
#[derive(Debug, Clone)]
pub struct SecondIndex {
    /// Its name in the root directory of the layout.
    pub file: PathBuf,
    /// The descriptors that it lists, at least one; or the reason why they are unknown.
    pub links: Result<Vec<Link>, String>,
    /// The digest of its bytes, for the fingerprint of the state.
    pub(super) content: Digest,
}

impl SecondIndex {
    /// Returns its name, for messages.
    #[must_use]
    pub fn label(&self) -> String {
        self.file.to_string_lossy().into_owned()
    }

    /// Returns the bytes of its name.
    pub(super) fn name(&self) -> &[u8] {
        self.file.as_os_str().as_bytes()
    }

    /// Returns the digests that it lists.
    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.links.iter().flatten().map(|link| &link.digest)
    }
}

/// Second indexes that the user ignores.
#[derive(Debug, Clone, Default)]
pub struct IgnoredIndexes(Arc<[Ignored]>);

#[derive(Debug)]
struct Ignored {
    file: PathBuf,
    was_found: AtomicBool,
}

impl IgnoredIndexes {
    /// Makes a list from names of files in the root directory of a layout, or paths to them.
    #[must_use]
    pub fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let ignored = files.into_iter().map(|file| Ignored {
            file,
            was_found: AtomicBool::new(false),
        });
        Self(ignored.collect())
    }

    /// Returns the names and paths as given.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|ignored| ignored.file.as_path())
    }

    /// Returns those that were not found in any layout so far.
    pub fn unused(&self) -> impl Iterator<Item = &Path> {
        let unused = self.0.iter();
        unused
            .filter(|ignored| !ignored.was_found.load(Ordering::Relaxed))
            .map(|ignored| ignored.file.as_path())
    }

    /// Returns `true` if a file of a layout is ignored. A name means that file in every layout, a path one file.
    fn contains(&self, layout: &Path, name: &OsStr) -> bool {
        let mut is_ignored = false;
        for ignored in &*self.0 {
            if ignored.file.file_name() != Some(name) {
                continue;
            }
            let is_meant = match ignored.file.parent() {
                None => true,
                Some(parent) if parent == Path::new("") => true,
                Some(parent) => match (real_path(parent), real_path(layout)) {
                    (Ok(parent), Ok(layout)) => parent == layout,
                    _ => false,
                },
            };
            if is_meant {
                ignored.was_found.store(true, Ordering::Relaxed);
                is_ignored = true;
            }
        }
        is_ignored
    }
}

/// The kind of a file.
enum FileContent {
    /// It lists nothing, or is another kind of file.
    Other,
    Lists(Vec<Link>, Digest),
    /// Its contents are unknown. Without a digest, its bytes are unknown as well.
    Unknown(String, Option<Digest>),
    /// It cannot be parsed, and does not seem to list anything.
    Torn,
}

impl Layout {
    /// Ignores some second indexes from now on.
    #[must_use]
    pub fn ignoring(mut self, ignored: &IgnoredIndexes) -> Self {
        self.ignored = ignored.clone();
        self
    }

    /// Returns the second indexes that are ignored.
    #[must_use]
    pub const fn ignored(&self) -> &IgnoredIndexes {
        &self.ignored
    }

    /// Reads the second indexes, by name. `has_save`: `manifest.json` and `repositories` are docker's.
    pub(super) fn read_second_indexes(&self, has_save: bool) -> Result<Vec<SecondIndex>> {
        self.read_second_indexes_with(has_save, || std::thread::sleep(PARSE_PAUSE))
    }

    /// Like [`read_second_indexes`](Self::read_second_indexes), with a function that waits before torn files are read again.
    fn read_second_indexes_with(
        &self,
        has_save: bool,
        mut pause: impl FnMut(),
    ) -> Result<Vec<SecondIndex>> {
        let mut names = self.second_index_names(has_save)?;
        let mut indexes = Vec::new();
        for attempt in 1..=PARSE_ATTEMPTS {
            let is_last = attempt == PARSE_ATTEMPTS;
            let mut again = Vec::new();
            for name in names {
                match self.look_for_list(&name) {
                    FileContent::Other => {}
                    // A complete file of this name is JSON.
                    FileContent::Torn => {
                        if !is_last && is_json_name(&name) {
                            again.push(name);
                        }
                    }
                    FileContent::Unknown(..) if !is_last => again.push(name),
                    found => indexes.extend(second_index(name, found)),
                }
            }
            names = again;
            if names.is_empty() {
                break;
            }
            pause();
        }
        indexes.sort_by(|a: &SecondIndex, b| a.file.cmp(&b.file));
        Ok(capped(indexes))
    }

    /// Like [`read_second_indexes`](Self::read_second_indexes), but reads each file once: a half-written file is another
    /// state.
    pub(crate) fn read_second_indexes_once(&self, has_save: bool) -> Result<Vec<SecondIndex>> {
        let names = self.second_index_names(has_save)?;
        let found = names.into_iter().filter_map(|name| {
            let found = self.look_for_list(&name);
            second_index(name, found)
        });
        Ok(capped(found.collect()))
    }

    /// Returns the names of files that may be second indexes, sorted.
    pub(super) fn second_index_names(&self, has_save: bool) -> Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        each_entry(&self.dir, &self.path, |entry| {
            let is_file = matches!(entry.kind, FileType::RegularFile | FileType::Symlink);
            if is_file && (may_list(entry.name, has_save) || self.is_parked(entry.name)) {
                names.push(PathBuf::from(OsStr::from_bytes(entry.name)));
            }
        })?;
        names.retain(|name| !self.ignored.contains(&self.path, name.as_os_str()));
        names.sort_unstable();
        Ok(names)
    }

    /// Returns `true` if a file belongs to another program, and a killed run has left it under a temporary name. It gets a
    /// regular name before anything is changed; until then, the blobs that it lists are not garbage either.
    fn is_parked(&self, name: &[u8]) -> bool {
        std::str::from_utf8(name).is_ok_and(|name| {
            SwapName::parse(name).is_some()
                && open_file(&self.dir, name, Links::Refuse)
                    .is_ok_and(|file| super::is_parked(name, &file))
        })
    }

    fn look_for_list(&self, name: &Path) -> FileContent {
        let found = self.read_list(name);
        let is_swap = || name.to_str().and_then(SwapName::parse).is_some();
        match found {
            // Refusing the layout would prevent a parked file from getting its name back, under which it is read again.
            FileContent::Torn | FileContent::Unknown(..) if is_swap() => FileContent::Other,
            found => found,
        }
    }

    fn read_list(&self, name: &Path) -> FileContent {
        let failed = |error: io::Error| {
            // Other files are not expected to list anything.
            if is_absence(&error) || !is_json_name(name) {
                FileContent::Other
            } else {
                FileContent::Unknown(format!("it cannot be read: {error}"), None)
            }
        };
        let stat = match stat_at(&self.dir, name, Links::Follow) {
            Ok(stat) => stat,
            Err(error) => return failed(error.into()),
        };
        // Opening a FIFO would wake up its writer.
        if !is_regular(&stat) || self.is_index_itself(name, &stat) {
            return FileContent::Other;
        }
        let opened = open_file(&self.dir, name, Links::Follow)
            .and_then(|file| Ok((stat_of(&file)?, File::from(file))));
        let (stat, mut file) = match opened {
            Ok(opened) => opened,
            Err(error) => return failed(error.into()),
        };
        if !is_regular(&stat) {
            return FileContent::Other;
        }
        let mut bytes = Vec::new();
        if let Err(error) = file.by_ref().take(HEAD_BYTES).read_to_end(&mut bytes) {
            return failed(error);
        }
        if bytes.is_empty() {
            // A writer that rewrites a file in place first truncates it.
            return FileContent::Torn;
        }
        let is_blank = bytes.iter().all(u8::is_ascii_whitespace);
        if !begins_like_json(&bytes) && !is_blank {
            return FileContent::Other;
        }
        let left = MAX_SMALL_FILE_BYTES + 1 - bytes.len() as u64;
        if let Err(error) = file.take(left).read_to_end(&mut bytes) {
            return failed(error);
        }
        if !begins_like_json(&bytes) {
            return FileContent::Other;
        }
        let why = if bytes.len() as u64 > MAX_SMALL_FILE_BYTES {
            format!("it is larger than {MAX_SMALL_FILE_BYTES} bytes")
        } else {
            match parse(&bytes) {
                Ok(links) if links.is_empty() => return FileContent::Other,
                Ok(links) => return FileContent::Lists(links, content_of(&bytes)),
                Err(why) => format!("it lists blobs and is not valid: {why}"),
            }
        };
        // If it is unknown whether a blob exists, it counts as present.
        let is_here = |digest: &Digest| self.has_blob(digest).unwrap_or(true);
        if seems_to_list(&bytes, is_here) {
            FileContent::Unknown(why, Some(content_of(&bytes)))
        } else {
            FileContent::Torn
        }
    }

    /// Returns `true` if a file is `index.json` under another name: one of the two is a link to the other.
    fn is_index_itself(&self, name: &Path, stat: &Stat) -> bool {
        let is_link = |name: &Path| {
            stat_at(&self.dir, name, Links::Refuse)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
        };
        let index = Path::new("index.json");
        let is_same = stat_at(&self.dir, index, Links::Follow)
            .is_ok_and(|index| (index.st_dev, index.st_ino) == (stat.st_dev, stat.st_ino));
        is_same && (is_link(name) || is_link(index))
    }
}

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_file()
}

/// Returns `true` for the names of JSON files.
pub(crate) fn is_json_name(name: &Path) -> bool {
    name.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

fn content_of(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

fn second_index(file: PathBuf, found: FileContent) -> Option<SecondIndex> {
    match found {
        FileContent::Other | FileContent::Torn => None,
        FileContent::Lists(links, content) => Some(SecondIndex {
            file,
            links: Ok(links),
            content,
        }),
        FileContent::Unknown(why, content) => Some(SecondIndex {
            content: content.unwrap_or_else(|| content_of(why.as_bytes())),
            file,
            links: Err(why),
        }),
    }
}

/// Limits the number of indexes. Beyond the limit one is marked as unknown, so that every sweep is refused.
fn capped(mut indexes: Vec<SecondIndex>) -> Vec<SecondIndex> {
    if let Some(first) = indexes.get_mut(MAX_FILES) {
        first.links = Err(format!(
            "it is one of more than {MAX_FILES} files that list blobs"
        ));
        indexes.truncate(MAX_FILES + 1);
    }
    indexes
}

/// Returns `true` if a file of this name in the root directory of a layout may be a second index.
pub(crate) fn may_list(name: &[u8], has_save: bool) -> bool {
    let Ok(name) = std::str::from_utf8(name) else {
        return true;
    };
    match name {
        "index.json" | "oci-layout" | LOCK_FILE | "index.lock" => false,
        "manifest.json" | "repositories" => !has_save,
        _ => !is_temporary(name),
    }
}

/// Returns `true` for the temporary files of writers. hauler's are named like a dated copy of `index.json`, but with more
/// digits.
fn is_temporary(name: &str) -> bool {
    let dated = name
        .strip_prefix("index-")
        .and_then(|rest| rest.strip_suffix(".json"));
    temp_files::in_root(name, false).is_some()
        && dated.is_none_or(|digits| matches!(digits.len(), 9 | 10))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const LIST: &str = r#"{"manifests":[{"mediaType":"t","digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":1}]}"#;

    fn layout() -> (tempfile::TempDir, Layout) {
        let temp = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(temp.path().join("blobs/sha256")).expect("directories");
        fs::write(temp.path().join("index.json"), LIST).expect("a file");
        let layout = Layout::open(temp.path()).expect("a layout");
        (temp, layout)
    }

    fn found(layout: &Layout) -> Vec<String> {
        labels(&layout.read_second_indexes(false).expect("it can be listed"))
    }

    fn labels(indexes: &[SecondIndex]) -> Vec<String> {
        indexes
            .iter()
            .map(|index| match &index.links {
                Ok(links) => format!("{} {}", index.label(), links.len()),
                Err(_) => format!("{} ?", index.label()),
            })
            .collect()
    }

    #[test]
    fn the_content_of_a_file_decides() {
        let (temp, layout) = layout();
        let write = |name: &str, text: &str| {
            fs::write(temp.path().join(name), text).expect("a file");
        };
        for name in [
            "hauler-index.json",
            "without-suffix",
            ".hidden.json",
            "index-20260101.json",
        ] {
            write(name, LIST);
        }
        // Files of writers, of this program, and files that list nothing.
        for name in [
            "oci-layout",
            "index.json.lock",
            "index-123456789.json",
            "index.json.7.tmp",
        ] {
            write(name, LIST);
        }
        write(".ocisweep-aB3dE6", LIST);
        write(
            "plan.json",
            &LIST.replacen('{', r#"{"schema_version":1,"made_at":"x","#, 1),
        );
        write("report.json", r#"{"layers":["sha256:aa"]}"#);
        write("empty.json", "");
        write("notes.txt", "sha256:aa");
        let torn = LIST.trim_end_matches('}');
        write("torn.json", torn);
        write("unrelated.json", "{\"a\":");
        let expected = [
            ".hidden.json 1",
            "hauler-index.json 1",
            "index-20260101.json 1",
            "torn.json ?",
            "without-suffix 1",
        ];
        assert_eq!(found(&layout), expected);
    }

    #[test]
    fn links_are_followed_and_only_files_are_opened() {
        let (temp, layout) = layout();
        let path = |name: &str| temp.path().join(name);
        fs::write(path("list"), LIST).expect("a file");
        symlink("list", path("link.json")).expect("a link");
        symlink("nowhere", path("dangling.json")).expect("a link");
        symlink("circle.json", path("circle.json")).expect("a link");
        symlink("index.json", path("latest.json")).expect("a link");
        symlink("/dev/zero", path("zero.json")).expect("a link");
        fs::create_dir(path("directory.json")).expect("a directory");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path("fifo.json"),
            FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o644),
            0,
        )
        .expect("a FIFO");
        assert_eq!(found(&layout), ["link.json 1", "list 1"]);
        // A hard link keeps its content when `index.json` is replaced.
        fs::hard_link(path("index.json"), path("saved")).expect("a link");
        assert_eq!(found(&layout), ["link.json 1", "list 1", "saved 1"]);
        // `index.json` can be the link.
        fs::rename(path("index.json"), path("real.json")).expect("a rename");
        symlink("real.json", path("index.json")).expect("a link");
        fs::remove_file(path("saved")).expect("it is there");
        fs::remove_file(path("latest.json")).expect("it is there");
        assert_eq!(found(&layout), ["link.json 1", "list 1"]);
    }

    #[test]
    fn a_name_ignores_the_file_in_all_layouts_and_a_path_one_file() {
        let (temp, layout) = layout();
        let (other, other_layout) = self::layout();
        for dir in [&temp, &other] {
            fs::write(dir.path().join("a.json"), LIST).expect("a file");
            fs::write(dir.path().join("b.json"), LIST).expect("a file");
        }
        let ignored = IgnoredIndexes::new([
            PathBuf::from("a.json"),
            temp.path().join("./b.json"),
            PathBuf::from("c.json"),
        ]);
        let layout = layout.ignoring(&ignored);
        let other_layout = other_layout.ignoring(&ignored);
        assert!(found(&layout).is_empty());
        assert_eq!(found(&other_layout), ["b.json 1"]);
        let unused: Vec<_> = ignored.unused().collect();
        assert_eq!(unused, [Path::new("c.json")]);
    }

    #[test]
    fn a_file_that_is_too_large_is_unknown_if_it_names_blobs() {
        let (temp, layout) = layout();
        for (name, text) in [("list.json", LIST), ("other.json", "{}")] {
            let file = fs::File::create(temp.path().join(name)).expect("a file");
            std::io::Write::write_all(&mut &file, text.as_bytes()).expect("it can be written");
            file.set_len(MAX_SMALL_FILE_BYTES + 1).expect("a hole");
        }
        assert_eq!(found(&layout), ["list.json ?"]);
    }

    #[test]
    fn a_torn_file_is_read_again() {
        let (temp, layout) = layout();
        let path = temp.path().join("list.json");
        fs::write(&path, LIST.trim_end_matches('}')).expect("a file");
        let mut pauses = 0;
        let write = || {
            pauses += 1;
            if pauses == 2 {
                fs::write(&path, LIST).expect("a file");
            }
        };
        let indexes = layout.read_second_indexes_with(false, write);
        assert_eq!(labels(&indexes.expect("it can be listed")), ["list.json 1"]);
        assert_eq!(pauses, 2);
    }
}
