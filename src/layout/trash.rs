//! The trash: blobs that runs with `--trash` removed and that can be restored.
//!
//! ```text
//! HOME/.ocisweep/trash/ <run>/run.json               what the run does, written before anything is moved
//! <run>/<algorithm>/<encoded>  blobs
//! ```
//!
//! HOME is the directory of the blobs: the layout, or the store of blobs that several layouts share, so that a rename moves
//! a blob into the trash. *Promise*: the contents are neither roots nor garbage. The names of runs sort by time, and the
//! time of a record's file is the expiry of the run, so that thousands of records do not have to be read to find the expired
//! ones. *Failure*: a run without a record is being deleted, or was killed before it moved anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::FileType;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::Layout;
use super::blob_list::OWN_DIRECTORY;
use super::entries::each_entry;
use crate::error::{Error, Result};
use crate::fs::{FileStat, Links, is_own, modified_of, open_dir, open_file, stat_at};
use crate::oci::{Algorithm, Digest, IndexChange, TextChange};

/// The name of the trash in the directory of this program.
pub(crate) const TRASH: &str = "trash";

/// The name of the record of a run.
pub(crate) const RECORD: &str = "run.json";

/// The largest record that is read, in bytes. A million blobs take 120 MB.
pub(crate) const MAX_RECORD_BYTES: u64 = 512 << 20;

/// Up to this number, blobs are looked up by name in each run; for more of them the runs are listed.
const MAX_LOOKUPS: usize = 32;

/// Options of a run that moves deleted blobs into the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashOptions {
    /// The minimum time for which they are kept.
    pub keep: Duration,
    /// The command, as recorded.
    pub command: String,
}

/// The record of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    pub(crate) schema_version: u32,
    /// The command, for users.
    pub command: String,
    pub(crate) started: String,
    pub(crate) ends: String,
    /// When it was undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<String>,
    /// `true` if it intentionally removed blobs that are still referenced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) sparse: bool,
    /// The planned changes in each layout.
    pub(crate) layouts: Vec<LayoutChange>,
    pub(crate) deletions: Vec<RecordedDeletion>,
}

/// The planned changes of a run in one layout.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayoutChange {
    /// The path of the layout, relative to a shared store; `None`: the trash is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<IndexChange>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) manifest_json: Option<TextChange>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) repositories: Option<TextChange>,
    /// Blobs that the run released, but that were kept because a writer was at work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) released: Vec<String>,
    /// Blobs that removed entries listed and that were already missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) missing: Vec<String>,
}

/// A blob that a run was to move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedDeletion {
    pub(crate) digest: String,
    pub(crate) size: u64,
}

/// A run in the trash.
#[derive(Debug, Clone)]
pub struct TrashedRun {
    /// The name of its directory.
    pub name: String,
    /// Its record; `None`: it is being deleted. Or the reason why the record is unknown.
    pub record: Result<Option<RunRecord>, String>,
    /// The blobs in it, by digest.
    pub blobs: Vec<(Digest, FileStat)>,
}

impl RunRecord {
    /// Returns when the run began.
    #[must_use]
    pub fn started(&self) -> Option<Timestamp> {
        self.started.parse().ok()
    }

    /// Returns when it expires.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        self.ends.parse().ok()
    }

    /// Returns the names that the run removed.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let indexes = self
            .layouts
            .iter()
            .filter_map(|layout| layout.index.as_ref());
        indexes.flat_map(IndexChange::names).collect()
    }

    /// Parses a record.
    ///
    /// # Errors
    /// A description of what is wrong.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if record.schema_version != 1 {
            return Err(format!("schema version {} is not 1", record.schema_version));
        }
        Ok(record)
    }

    /// Returns the text of the record.
    pub(crate) fn to_json(&self) -> String {
        let mut text = serde_json::to_string(self).expect("strings and numbers always serialise");
        text.push('\n');
        text
    }
}

impl TrashedRun {
    /// Returns the bytes that deleting it frees, if no other hard link keeps them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blobs.iter().map(|(_, file)| file.len).sum()
    }

    /// Returns `true` if the run can be undone.
    #[must_use]
    pub fn can_be_undone(&self) -> bool {
        matches!(&self.record, Ok(Some(record)) if record.undone.is_none())
    }

    /// Returns `true` if it has expired at this time.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        match &self.record {
            Ok(None) => true,
            // A run whose record cannot be parsed is kept.
            Err(_) => false,
            Ok(Some(record)) => record.ends().is_some_and(|ends| ends <= now),
        }
    }
}

/// A directory that can contain a trash.
#[derive(Debug, Clone, Copy)]
pub struct Trash<'a> {
    home: &'a OwnedFd,
    path: &'a Path,
}

impl Layout {
    /// Returns the trash, which may not exist: that of the shared store, if the layout was opened in one.
    #[must_use]
    pub fn trash(&self) -> Trash<'_> {
        match (&self.blob_dirs().store, &self.blob_dirs().root) {
            (Some(store), Some(root)) => Trash::in_home(root, store),
            _ => Trash::in_home(self.dir(), self.path()),
        }
    }
}

impl<'a> Trash<'a> {
    pub(super) const fn in_home(home: &'a OwnedFd, path: &'a Path) -> Self {
        Self { home, path }
    }

    /// Returns the directory that contains the trash.
    pub(crate) const fn home(&self) -> &'a OwnedFd {
        self.home
    }

    /// Returns the path of the layout, or of the shared store.
    #[must_use]
    pub const fn owner(&self) -> &'a Path {
        self.path
    }

    /// Returns the path of the trash.
    pub(crate) fn path(&self) -> PathBuf {
        self.path.join(OWN_DIRECTORY).join(TRASH)
    }

    /// Opens it; `None`: it does not exist.
    pub(crate) fn open(&self) -> Result<Option<OwnedFd>> {
        let mut dir = None;
        for name in [OWN_DIRECTORY, TRASH] {
            let parent = dir.as_ref().unwrap_or(self.home);
            dir = match open_dir(parent, name, Links::Refuse) {
                Ok(found) => Some(found),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(error) => return Err(Error::read(self.path())(error.into())),
            };
        }
        Ok(dir)
    }

    /// Returns the names of the runs, in the order of time.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn names(&self) -> Result<Vec<String>> {
        match self.open()? {
            Some(dir) => self.names_in(&dir),
            None => Ok(Vec::new()),
        }
    }

    fn names_in(&self, dir: &OwnedFd) -> Result<Vec<String>> {
        let mut names = Vec::new();
        each_entry(dir, &self.path(), |entry| {
            let name = std::str::from_utf8(entry.name).ok();
            names.extend(name.filter(|name| is_run(name)).map(str::to_owned));
        })?;
        names.sort_unstable();
        Ok(names)
    }

    /// Reads everything in it: the runs in the order of time.
    ///
    /// # Errors
    /// [`Error::Read`] when a directory cannot be listed.
    pub fn runs(&self) -> Result<Vec<TrashedRun>> {
        let Some(dir) = self.open()? else {
            return Ok(Vec::new());
        };
        let names = self.names_in(&dir)?.into_iter();
        let runs = names.filter_map(|name| self.run(&dir, name).transpose());
        runs.collect()
    }

    /// Reads one run; `None`: it no longer exists.
    pub(crate) fn run(&self, trash: &OwnedFd, name: String) -> Result<Option<TrashedRun>> {
        let Some(dir) = self.open_run(trash, &name)? else {
            return Ok(None);
        };
        let blobs = self.blobs_in(&dir, &name)?;
        let record = read_record(&dir);
        Ok(Some(TrashedRun {
            name,
            record,
            blobs,
        }))
    }

    /// Returns the blobs of all runs.
    ///
    /// # Errors
    /// [`Error::Read`] when a directory cannot be listed.
    pub fn blobs(&self) -> Result<Vec<(Digest, FileStat)>> {
        let mut blobs = Vec::new();
        let Some(trash) = self.open()? else {
            return Ok(blobs);
        };
        for name in self.names_in(&trash)? {
            if let Some(dir) = self.open_run(&trash, &name)? {
                blobs.extend(self.blobs_in(&dir, &name)?);
            }
        }
        Ok(blobs)
    }

    /// Returns `true` if there is a run other than those that are being deleted.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn has_run(&self) -> Result<bool> {
        let Some(trash) = self.open()? else {
            return Ok(false);
        };
        for name in self.names_in(&trash)?.into_iter().rev() {
            let dir = self.open_run(&trash, &name)?;
            if dir.is_some_and(|dir| !matches!(read_record(&dir), Ok(None))) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn open_run(&self, trash: &OwnedFd, name: &str) -> Result<Option<OwnedFd>> {
        match open_dir(trash, name, Links::Refuse) {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::read(self.path().join(name))(error.into())),
        }
    }

    fn blobs_in(&self, dir: &OwnedFd, name: &str) -> Result<Vec<(Digest, FileStat)>> {
        let mut blobs = Vec::new();
        for algorithm in ALGORITHMS {
            let Some((own, names)) = self.list(dir, name, algorithm)? else {
                continue;
            };
            for name in names {
                let digest = Digest::from_hex(algorithm, &name);
                let file = stat_at(&own, &*name, Links::Refuse);
                let file = file.ok().and_then(|stat| FileStat::of(&stat));
                blobs.extend(digest.zip(file));
            }
        }
        blobs.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(blobs)
    }

    /// Lists the blobs of an algorithm in a run.
    fn list(
        &self,
        dir: &OwnedFd,
        name: &str,
        algorithm: Algorithm,
    ) -> Result<Option<(OwnedFd, Vec<Vec<u8>>)>> {
        let path = || self.path().join(name);
        let own = match open_dir(dir, algorithm.name(), Links::Refuse) {
            Ok(own) => own,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(Error::read(path())(error.into())),
        };
        let mut names = Vec::new();
        each_entry(&own, &path(), |entry| names.push(entry.name.to_owned()))?;
        Ok(Some((own, names)))
    }

    /// Returns the path of a run relative to the layout, or to the shared store.
    pub(crate) fn relative(&self, run: &str) -> PathBuf {
        Path::new(OWN_DIRECTORY).join(TRASH).join(run)
    }

    /// Opens a blob of a run.
    pub(crate) fn open_blob(&self, run: &str, digest: &Digest) -> std::io::Result<OwnedFd> {
        let trash = self.open().map_err(std::io::Error::other)?;
        let trash = trash.ok_or(std::io::ErrorKind::NotFound)?;
        let name = digest.blob_name();
        let dir = open_dir(&trash, run, Links::Refuse)?;
        let dir = open_dir(&dir, name.directory(), Links::Refuse)?;
        Ok(open_file(&dir, name.file(), Links::Refuse)?)
    }

    /// Returns files that no run has created, by path relative to the layout or to the shared store.
    pub(crate) fn foreign(&self) -> Result<Vec<PathBuf>> {
        let mut foreign = Vec::new();
        let Some(trash) = self.open()? else {
            return Ok(foreign);
        };
        let path = self.relative("");
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        each_entry(&trash, &self.path(), |entry| {
            let is_dir = entry.kind == FileType::Directory;
            if !is_dir || !std::str::from_utf8(entry.name).is_ok_and(is_run) {
                foreign.push(path.join(text(entry.name)));
            }
        })?;
        for name in self.names_in(&trash)? {
            let Ok(dir) = open_dir(&trash, &*name, Links::Refuse) else {
                continue;
            };
            let path = path.join(&name);
            each_entry(&dir, &self.path().join(&name), |entry| {
                let own = std::str::from_utf8(entry.name).unwrap_or_default();
                let is_known = match entry.kind {
                    FileType::Directory => ALGORITHMS.iter().any(|known| known.name() == own),
                    FileType::RegularFile => own == RECORD || is_own(own),
                    _ => false,
                };
                if !is_known {
                    foreign.push(path.join(text(entry.name)));
                }
            })?;
            for algorithm in ALGORITHMS {
                let Ok(own) = open_dir(&dir, algorithm.name(), Links::Refuse) else {
                    continue;
                };
                let path = path.join(algorithm.name());
                each_entry(&own, &self.path().join(&name), |entry| {
                    let is_blob = entry.kind == FileType::RegularFile
                        && Digest::from_hex(algorithm, entry.name).is_some();
                    // A blob that was a link is one here as well.
                    let is_blob = is_blob || entry.kind == FileType::Symlink;
                    if !is_blob {
                        foreign.push(path.join(text(entry.name)));
                    }
                })?;
            }
        }
        foreign.sort();
        Ok(foreign)
    }

    /// Returns the names of the runs that may have expired at this time: their records decide. No record is read for this.
    pub(crate) fn perhaps_expired(&self, now: Timestamp) -> Result<(Vec<String>, Option<String>)> {
        let Some(trash) = self.open()? else {
            return Ok((Vec::new(), None));
        };
        let mut names = self.names_in(&trash)?;
        let last = names.last().cloned();
        names.retain(|name| {
            let record = stat_at(&trash, &*format!("{name}/{RECORD}"), Links::Refuse);
            record.is_ok_and(|stat| modified_of(&stat) <= now.as_nanosecond()) || record.is_err()
        });
        Ok((names, last))
    }

    /// Finds blobs: for each the latest run that has it, and its size. `only` is the run to search; otherwise runs that
    /// intentionally removed referenced blobs are skipped.
    pub(crate) fn find(
        &self,
        wanted: &BTreeSet<Digest>,
        only: Option<&str>,
    ) -> Result<BTreeMap<Digest, (String, u64)>> {
        let mut found = BTreeMap::new();
        let Some(trash) = self.open()? else {
            return Ok(found);
        };
        let names = match only {
            Some(only) => vec![only.to_owned()],
            None => self.names_in(&trash)?,
        };
        for name in names.into_iter().rev() {
            if found.len() == wanted.len() {
                break;
            }
            let Some(dir) = self.open_run(&trash, &name)? else {
                continue;
            };
            let here = self.found_in(&dir, &name, wanted)?;
            let is_sparse = || matches!(read_record(&dir), Ok(Some(record)) if record.sparse);
            if here.is_empty() || only.is_none() && is_sparse() {
                continue;
            }
            for (digest, len) in here {
                found.entry(digest).or_insert_with(|| (name.clone(), len));
            }
        }
        Ok(found)
    }

    fn found_in(
        &self,
        dir: &OwnedFd,
        name: &str,
        wanted: &BTreeSet<Digest>,
    ) -> Result<Vec<(Digest, u64)>> {
        let mut found = Vec::new();
        for algorithm in ALGORITHMS {
            let of_it = |digest: &&Digest| digest.algorithm() == Some(algorithm);
            let count = wanted.iter().filter(of_it).count();
            let (own, here) = match count {
                0 => continue,
                1..=MAX_LOOKUPS => match open_dir(dir, algorithm.name(), Links::Refuse) {
                    Ok(own) => (own, wanted.iter().filter(of_it).cloned().collect()),
                    Err(Errno::NOENT) => continue,
                    Err(error) => {
                        return Err(Error::read(self.path().join(name))(error.into()));
                    }
                },
                _ => match self.list(dir, name, algorithm)? {
                    None => continue,
                    Some((own, names)) => {
                        let digests = names
                            .iter()
                            .filter_map(|name| Digest::from_hex(algorithm, name));
                        let here: Vec<_> =
                            digests.filter(|digest| wanted.contains(digest)).collect();
                        (own, here)
                    }
                },
            };
            for digest in here {
                let file = stat_at(&own, digest.blob_name().file(), Links::Refuse);
                let file = file.ok().and_then(|stat| FileStat::of(&stat));
                found.extend(file.map(|file| (digest, file.len)));
            }
        }
        Ok(found)
    }
}

/// The algorithms whose blobs are swept.
pub(crate) const ALGORITHMS: [Algorithm; 3] =
    [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];

fn read_record(dir: &OwnedFd) -> Result<Option<RunRecord>, String> {
    let file = match open_file(dir, RECORD, Links::Refuse) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(std::io::Error::from(error).to_string()),
    };
    let mut bytes = Vec::new();
    let read = file.take(MAX_RECORD_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_RECORD_BYTES {
        return Err(format!("it is larger than {MAX_RECORD_BYTES} bytes"));
    }
    RunRecord::parse(&bytes).map(Some)
}

/// Makes the name of a run, later than another one.
pub(crate) fn name_of_run(now: Timestamp, last: Option<&str>) -> String {
    let name = |time: Timestamp| {
        let digits = time.strftime("%Y%m%d-%H%M%S");
        format!("{digits}-{:09}", time.subsec_nanosecond().max(0))
    };
    let own = name(now);
    match last {
        // The clock was set back.
        Some(last) if *last >= *own => following(last).unwrap_or(own),
        _ => own,
    }
}

/// Increments the last digits of a name; `None` after too many runs in one nanosecond.
fn following(name: &str) -> Option<String> {
    let (head, nanoseconds) = name.rsplit_once('-')?;
    let next = nanoseconds.parse::<u64>().ok()? + 1;
    Some(format!("{head}-{next:09}"))
}

/// Returns `true` if a name is that of a run.
fn is_run(name: &str) -> bool {
    let mut parts = name.split('-');
    let mut is_next = |len: usize| {
        let part = parts.next().unwrap_or_default();
        part.len() >= len && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    is_next(8) && is_next(6) && is_next(9) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_runs_sort_by_time_even_if_the_clock_is_set_back() {
        let time: Timestamp = "2026-11-29T10:03:31.5Z".parse().expect("a time");
        let name = name_of_run(time, None);
        assert_eq!(name, "20261129-100331-500000000");
        assert!(is_run(&name));
        let mut last = name;
        for _ in 0..3 {
            let next = name_of_run(time, Some(&last));
            assert!(next > last && is_run(&next), "{next}");
            last = next;
        }
        let later: Timestamp = "2026-11-29T10:03:32Z".parse().expect("a time");
        assert_eq!(name_of_run(later, Some(&last)), "20261129-100332-000000000");
        for other in [
            "",
            "notes",
            "2026-1-1",
            "20261129-100331",
            "20261129-100331-5x0000000",
        ] {
            assert!(!is_run(other), "{other}");
        }
    }

    #[test]
    fn reads_back_its_own_records_and_refuses_those_of_later_versions() {
        let record = RunRecord {
            schema_version: 1,
            command: "gc images".to_owned(),
            started: "2026-11-29T10:03:31Z".to_owned(),
            ends: "2026-12-13T10:03:31Z".to_owned(),
            undone: None,
            sparse: false,
            layouts: vec![LayoutChange::default()],
            deletions: Vec::new(),
        };
        let text = record.to_json();
        assert_eq!(RunRecord::parse(text.as_bytes()), Ok(record));
        let later = text.replace("\"schema_version\":1", "\"schema_version\":2");
        assert!(RunRecord::parse(later.as_bytes()).is_err());
    }
}
