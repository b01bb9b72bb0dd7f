//! `check --since-run FILE`: the blobs that earlier runs verified, a line of JSON each.
//!
//! *Order*: lines are appended and flushed to disk while blobs are read. At the end the file is replaced by one without
//! superseded lines. A crash loses what was verified since the last flush; a truncated line is ignored. A crash while the
//! file is replaced leaves at worst a temporary file `.ocisweep-…` beside it.
//!
//! *Failure*: what cannot be recorded is read again by the next run. A damaged blob gets a line that records the damage,
//! because an older line may record that it is intact.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ocisweep::fs::{AppendFile, Disk, FileTime, Fs as _};
use ocisweep::oci::Digest;
use ocisweep::report::check::{FileVersion, Verified};
use serde::{Deserialize, Serialize};

use crate::cli::replaced::directory_of;

/// The version of the lines.
const VERSION: u32 = 1;

/// The beginning of every line, and so of every record.
const HEAD: &[u8] = b"{\"ocisweep_verified\":1,\"digest\":\"";

/// The limits of one write: lines, verified bytes, and time. After a run that is killed, the next one reads no more than
/// that again.
const MAX_PENDING: usize = 1024;
const MAX_UNWRITTEN_BYTES: u64 = 4 << 30;
const MAX_UNWRITTEN_TIME: Duration = Duration::from_secs(10);

/// A line.
#[derive(Debug, Serialize, Deserialize)]
struct RecordLine<'a> {
    ocisweep_verified: u32,
    #[serde(borrow)]
    digest: Cow<'a, str>,
    size: u64,
    /// The mtime and the ctime, in nanoseconds since 1970.
    modified: i64,
    changed: i64,
    device: u64,
    inode: u64,
    #[serde(borrow)]
    layout: Cow<'a, str>,
    /// The start of the run that verified it; `null`: it is damaged.
    #[serde(borrow)]
    verified: Option<Cow<'a, str>>,
}

/// A file of a blob: its digest, device and inode.
type RecordKey = (Digest, u64, u64);

/// The record of a blob.
#[derive(Debug, Clone, Copy)]
struct RecordEntry {
    len: u64,
    modified: i64,
    changed: i64,
    verified: Timestamp,
    /// The number of its layout.
    layout: u32,
    /// This run found the file.
    is_seen: bool,
}

/// The record of a run.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    now: Timestamp,
    log: AppendFile,
    state: Mutex<RecordState>,
}

#[derive(Debug)]
struct RecordState {
    entries: HashMap<RecordKey, RecordEntry>,
    /// Layouts by number, and their numbers: a registry has thousands of layouts.
    layouts: Vec<String>,
    numbers: HashMap<String, u32>,
    /// The layout that is being checked.
    layout: u32,
    /// Layouts that this run has checked to the end.
    checked: HashSet<u32>,
    /// Lines in the file.
    lines: usize,
    pending: Vec<u8>,
    pending_lines: usize,
    unwritten_bytes: u64,
    written: Instant,
    /// The error of writing lines. No more are written.
    failure: Option<io::Error>,
}

/// Why a record cannot be used.
#[derive(Debug)]
pub enum Unusable {
    /// It cannot be read or written, or is something else.
    Io(io::Error),
    /// Another run uses it.
    Busy,
}

impl Record {
    /// Opens a record, and creates it if it does not exist. `now` is the start of this run.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn open(path: &Path, now: Timestamp) -> Result<Self, Unusable> {
        let log = AppendFile::open(path, HEAD).map_err(Unusable::Io)?;
        if !log.try_lock(path).map_err(Unusable::Io)? {
            return Err(Unusable::Busy);
        }
        let mut state = RecordState {
            entries: HashMap::new(),
            layouts: Vec::new(),
            numbers: HashMap::new(),
            layout: 0,
            checked: HashSet::new(),
            lines: 0,
            pending: Vec::new(),
            pending_lines: 0,
            unwritten_bytes: 0,
            written: Instant::now(),
            failure: None,
        };
        state.read(path).map_err(Unusable::Io)?;
        Ok(Self {
            path: path.to_owned(),
            now,
            log,
            state: Mutex::new(state),
        })
    }

    /// Begins a layout.
    pub fn begin(&self, layout: &Path) {
        let real = std::fs::canonicalize(layout).unwrap_or_else(|_| layout.to_owned());
        let mut state = self.lock();
        state.layout = state.number_of(&real.to_string_lossy());
    }

    /// The layout was checked to the end: blobs that were not found in it no longer exist.
    pub fn end(&self) {
        let mut state = self.lock();
        let layout = state.layout;
        state.checked.insert(layout);
    }

    /// Writes pending lines, and replaces the file with one without superseded lines.
    ///
    /// # Errors
    /// Those of writing, also of earlier ones. The file is then correct, but incomplete.
    pub fn finish(self) -> io::Result<()> {
        let mut state = self.lock();
        self.flush(&mut state);
        if let Some(error) = state.failure.take() {
            return Err(error);
        }
        let RecordState {
            entries, checked, ..
        } = &mut *state;
        entries.retain(|_, entry| entry.is_seen || !checked.contains(&entry.layout));
        if state.lines <= state.entries.len() {
            return Ok(());
        }
        let mut entries: Vec<(&RecordKey, &RecordEntry)> = state.entries.iter().collect();
        // In the order in which they were verified, as they were appended.
        entries.sort_unstable_by_key(|(key, entry)| (entry.verified, *key));
        let mut bytes = Vec::new();
        for (key, entry) in entries {
            let layout = state.layouts.get(entry.layout as usize);
            let layout = layout.map(String::as_str).unwrap_or_default();
            line(&mut bytes, key, entry, layout, Some(entry.verified));
        }
        if !self.log.try_lock(&self.path)? {
            return Err(io::Error::other("another program has replaced it"));
        }
        let real = std::fs::canonicalize(&self.path)?;
        let Some(name) = real.file_name().and_then(|name| name.to_str()) else {
            // The appended lines are correct as well.
            return Ok(());
        };
        let directory = File::open(directory_of(&real))?;
        Disk.replace(directory.as_fd(), name, &bytes, FileTime::New)
    }

    fn lock(&self) -> MutexGuard<'_, RecordState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&self, state: &mut RecordState) {
        if state.pending.is_empty() || state.failure.is_some() {
            return;
        }
        let written = self.log.append(&state.pending);
        if let Err(error) = written.and_then(|()| self.log.sync()) {
            state.failure = Some(error);
        }
        state.lines += state.pending_lines;
        state.pending.clear();
        state.pending_lines = 0;
        state.unwritten_bytes = 0;
        state.written = Instant::now();
    }
}

impl RecordState {
    /// Reads the lines of a file. Anything that is not a line of a record is ignored: a crash may have truncated it.
    fn read(&mut self, path: &Path) -> io::Result<()> {
        let mut file = BufReader::new(File::open(path)?);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            if file.read_until(b'\n', &mut bytes)? == 0 {
                return Ok(());
            }
            self.lines += 1;
            let Ok(line) = serde_json::from_slice::<RecordLine<'_>>(&bytes) else {
                continue;
            };
            let Ok(digest) = Digest::parse(&line.digest) else {
                continue;
            };
            if line.ocisweep_verified != VERSION {
                continue;
            }
            let key = (digest, line.device, line.inode);
            match line.verified {
                Some(verified) => {
                    let Ok(verified) = verified.parse() else {
                        continue;
                    };
                    let entry = RecordEntry {
                        len: line.size,
                        modified: line.modified,
                        changed: line.changed,
                        verified,
                        layout: self.number_of(&line.layout),
                        is_seen: false,
                    };
                    self.entries.insert(key, entry);
                }
                None => drop(self.entries.remove(&key)),
            }
        }
    }

    /// Returns the number of a layout, known or new.
    fn number_of(&mut self, layout: &str) -> u32 {
        if let Some(number) = self.numbers.get(layout) {
            return *number;
        }
        let number = u32::try_from(self.layouts.len()).unwrap_or(u32::MAX);
        self.layouts.push(layout.to_owned());
        self.numbers.insert(layout.to_owned(), number);
        number
    }
}

impl Verified for Record {
    fn when(&self, digest: &Digest, file: &FileVersion) -> Option<Timestamp> {
        let key = (digest.clone(), file.device, file.inode);
        let mut state = self.lock();
        let layout = state.layout;
        let entry = state.entries.get_mut(&key)?;
        let is_same =
            (entry.len, entry.modified, entry.changed) == (file.len, file.modified, file.changed);
        is_same.then(|| {
            entry.is_seen = true;
            entry.layout = layout;
            entry.verified
        })
    }

    fn add(&self, digest: &Digest, file: &FileVersion, is_intact: bool) {
        let key = (digest.clone(), file.device, file.inode);
        let mut guard = self.lock();
        let state = &mut *guard;
        let entry = RecordEntry {
            len: file.len,
            modified: file.modified,
            changed: file.changed,
            verified: self.now,
            layout: state.layout,
            is_seen: true,
        };
        let before = if is_intact {
            state.entries.insert(key.clone(), entry)
        } else {
            state.entries.remove(&key)
        };
        if is_intact || before.is_some() {
            let layout = state.layouts.get(entry.layout as usize);
            let layout = layout.map(String::as_str).unwrap_or_default();
            let verified = is_intact.then_some(self.now);
            line(&mut state.pending, &key, &entry, layout, verified);
            state.pending_lines += 1;
        }
        state.unwritten_bytes = state.unwritten_bytes.saturating_add(file.len);
        if state.pending_lines >= MAX_PENDING
            || state.unwritten_bytes >= MAX_UNWRITTEN_BYTES
            || state.written.elapsed() >= MAX_UNWRITTEN_TIME
        {
            self.flush(state);
        }
    }
}

/// Appends a line.
fn line(
    bytes: &mut Vec<u8>,
    (digest, device, inode): &RecordKey,
    entry: &RecordEntry,
    layout: &str,
    verified: Option<Timestamp>,
) {
    let line = RecordLine {
        ocisweep_verified: VERSION,
        digest: digest.to_string().into(),
        size: entry.len,
        modified: entry.modified,
        changed: entry.changed,
        device: *device,
        inode: *inode,
        layout: layout.into(),
        verified: verified.map(|time| time.to_string().into()),
    };
    serde_json::to_writer(&mut *bytes, &line).expect("numbers and strings are JSON");
    bytes.push(b'\n');
}

/// Returns the layout or the shared store that contains a path: a record in it would be taken for a blob or a list of
/// images. Layouts that were not given count as well.
pub fn owner_of(path: &Path, layouts: &[&Path], store: Option<&Path>) -> Option<PathBuf> {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let directory = directory_of(path);
    // A link may point to a file elsewhere, even one that does not exist yet.
    let target = std::fs::read_link(path).ok().map(|to| directory.join(to));
    let places: Vec<PathBuf> = [
        real(directory),
        target.and_then(|target| real(directory_of(&target))),
        real(path).map(|file| directory_of(&file).to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let is_below = |directory: &Path| {
        let directory = real(directory);
        let is_in = |place: &PathBuf| directory.as_ref().is_some_and(|it| place.starts_with(it));
        places.iter().any(is_in)
    };
    // Their blobs may be elsewhere, behind a link.
    let owns = |layout: &&Path| {
        let is_beside_index = real(layout).is_some_and(|layout| places.contains(&layout));
        is_beside_index || is_below(&layout.join("blobs"))
    };
    let given = layouts.iter().copied().find(owns);
    let given = given.or(store.filter(|store| is_below(store)));
    let given = given.map(Path::to_owned);
    given.or_else(|| places.iter().find_map(|place| layout_of(place)))
}

/// Returns the layout whose index, blobs or own files are in a directory.
fn layout_of(place: &Path) -> Option<PathBuf> {
    let is_layout = |directory: &&Path| {
        let has = |name| directory.join(name).exists();
        has("index.json") || has("oci-layout")
    };
    let own = place.ancestors().filter(|inner| {
        let name = inner.file_name();
        name.is_some_and(|name| name == "blobs" || name == ".ocisweep")
    });
    let mut places = own.filter_map(Path::parent).chain([place]);
    places.find(is_layout).map(Path::to_owned)
}
