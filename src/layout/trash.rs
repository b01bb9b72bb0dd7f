//! The trash of a layout: what runs with `--trash` took away, and can be put back.
//!
//! ```text
//! .ocisweep/trash/
//!   <run>/run.json               what the run did, written before anything is moved
//!   <run>/<algorithm>/<encoded>  blobs
//! ```
//!
//! *Promise*: what lies here is neither root nor garbage. The names of runs sort by time. *Failure*: a run without a record
//! is one that is being emptied, or was killed before it moved anything.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::Layout;
use super::blob_list::OWN_DIRECTORY;
use super::entries::each_entry;
use crate::error::{Error, Result};
use crate::fs::{FileStat, Links, open_dir, open_file, stat_at};
use crate::oci::{Algorithm, Digest, IndexChange, TextChange};

/// The name of the trash in the directory of this program.
pub(crate) const TRASH: &str = "trash";

/// The name of the record of a run.
pub(crate) const RECORD: &str = "run.json";

/// The largest record that is read, in bytes. A million blobs take 120 MB.
pub(crate) const MAX_RECORD_BYTES: u64 = 512 << 20;

/// That what a run deletes goes into the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashOptions {
    /// How long it stays there at least.
    pub keep: Duration,
    /// What was asked for, as the record says it.
    pub command: String,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    pub(crate) schema_version: u32,
    /// The command, for people.
    pub command: String,
    pub(crate) started: String,
    pub(crate) ends: String,
    /// When it was undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<String>,
    /// It took blobs that are still referenced, on purpose.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) sparse: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<IndexChange>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) manifest_json: Option<TextChange>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) repositories: Option<TextChange>,
    pub(crate) deletions: Vec<RecordedDeletion>,
    /// Blobs that the run released, and that stayed because a writer was at work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) released: Vec<String>,
    /// What removed entries listed and was missing already.
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
#[derive(Debug)]
pub struct TrashedRun {
    /// The name of its directory.
    pub name: String,
    /// What it did; `None`: it is being emptied. Or why that is unknown.
    pub record: Result<Option<RunRecord>, String>,
    /// The blobs that lie there, by digest.
    pub blobs: Vec<(Digest, FileStat)>,
}

impl RunRecord {
    /// Returns when the run began.
    #[must_use]
    pub fn started(&self) -> Option<Timestamp> {
        self.started.parse().ok()
    }

    /// Returns when the trash may be emptied of it.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        self.ends.parse().ok()
    }

    /// Returns the names that the run removed.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.index
            .as_ref()
            .map(IndexChange::names)
            .unwrap_or_default()
    }

    /// Parses a record.
    ///
    /// # Errors
    /// A text that says what is wrong.
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
    /// Returns the bytes that emptying it frees, as far as no other name references them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blobs.iter().map(|(_, file)| file.len).sum()
    }

    /// Returns `true` if the run can be undone.
    #[must_use]
    pub fn can_be_undone(&self) -> bool {
        matches!(&self.record, Ok(Some(record)) if record.undone.is_none())
    }

    /// Returns `true` if the trash may be emptied of it at this time.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        match &self.record {
            Ok(None) => true,
            // What is not understood is kept.
            Err(_) => false,
            Ok(Some(record)) => record.ends().is_some_and(|ends| ends <= now),
        }
    }
}

impl Layout {
    /// Opens the trash; `None`: there is none.
    pub(crate) fn open_trash(&self) -> Result<Option<OwnedFd>> {
        let mut dir = None;
        for name in [OWN_DIRECTORY, TRASH] {
            let parent = dir.as_ref().unwrap_or_else(|| self.dir());
            dir = match open_dir(parent, name, Links::Refuse) {
                Ok(found) => Some(found),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(error) => return Err(Error::read(self.trash_path())(error.into())),
            };
        }
        Ok(dir)
    }

    pub(crate) fn trash_path(&self) -> PathBuf {
        self.path().join(OWN_DIRECTORY).join(TRASH)
    }

    /// Returns the names of the runs in the trash, in the order of time.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub(crate) fn trashed_names(&self) -> Result<Vec<String>> {
        let Some(trash) = self.open_trash()? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        each_entry(&trash, &self.trash_path(), |entry| {
            let name = std::str::from_utf8(entry.name).ok();
            names.extend(name.filter(|name| is_run(name)).map(str::to_owned));
        })?;
        names.sort_unstable();
        Ok(names)
    }

    /// Reads the trash: the runs in the order of time.
    ///
    /// # Errors
    /// [`Error::Read`] when a directory cannot be listed.
    pub fn trashed_runs(&self) -> Result<Vec<TrashedRun>> {
        let Some(trash) = self.open_trash()? else {
            return Ok(Vec::new());
        };
        let names = self.trashed_names()?.into_iter();
        let runs = names.filter_map(|name| self.trashed_run(&trash, name).transpose());
        runs.collect()
    }

    /// Reads one run of the trash; `None`: it is gone.
    pub(crate) fn trashed_run(&self, trash: &OwnedFd, name: String) -> Result<Option<TrashedRun>> {
        let path = self.trash_path().join(&name);
        let dir = match open_dir(trash, &*name, Links::Refuse) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(Error::read(path)(error.into())),
        };
        let mut blobs = Vec::new();
        for algorithm in ALGORITHMS {
            let own = match open_dir(&dir, algorithm.name(), Links::Refuse) {
                Ok(own) => own,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(Error::read(path)(error.into())),
            };
            let mut names = Vec::new();
            each_entry(&own, &path, |entry| names.push(entry.name.to_owned()))?;
            for name in names {
                let digest = Digest::from_hex(algorithm, &name);
                let file = stat_at(&own, &*name, Links::Refuse);
                let file = file.ok().and_then(|stat| FileStat::of(&stat));
                blobs.extend(digest.zip(file));
            }
        }
        blobs.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let record = read_record(&dir);
        Ok(Some(TrashedRun {
            name,
            record,
            blobs,
        }))
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
        // The clock was put back.
        Some(last) if *last >= *own => following(last).unwrap_or(own),
        _ => own,
    }
}

/// Counts the last digits of a name up; a long row of runs in one nanosecond has none that follows.
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
    fn names_of_runs_sort_by_time_even_where_the_clock_is_put_back() {
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
            index: None,
            manifest_json: None,
            repositories: None,
            deletions: Vec::new(),
            released: Vec::new(),
            missing: Vec::new(),
        };
        let text = record.to_json();
        assert_eq!(RunRecord::parse(text.as_bytes()), Ok(record));
        let later = text.replace("\"schema_version\":1", "\"schema_version\":2");
        assert!(RunRecord::parse(later.as_bytes()).is_err());
    }
}
